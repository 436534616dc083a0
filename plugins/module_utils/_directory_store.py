# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this file is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Records in a directory: private, durable, and locked by flock(2)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import time
import typing as t

from ._errors import LockTimeout, StoreError
from ._private_files import make_folder, open_folder, open_private, reserve
from ._session import DamagedRecord, Record, Session, load_record
from ._store import Kept, Slot, Store

if t.TYPE_CHECKING:
    from ._attempt import Attempt

RESERVED = 65536
"""How many bytes are reserved for a record before its token is sent for: more than any record has."""
_READ_LIMIT = 2 * RESERVED
_POLL = 0.02
_NOT_PLAIN = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR)


class DirectoryStore(Store):
    """Keeps each session in files of a private directory that are named after the session's key.

    ``KEY.json`` is the record. ``KEY.next`` is what comes next: the note of an exchange, in the space that is reserved
    for the record which then takes its place and, with one rename, that of the old one. ``KEY.lock`` is locked by
    flock(2) and never removed.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, session: Session) -> Kept:
        try:
            folder = open_folder(self._path)
        except FileNotFoundError:
            return Kept()
        except OSError as error:
            raise _unavailable(self._path, error) from None
        try:
            return _Files(folder, self._path, session).read()
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def lock(self, session: Session, deadline: float) -> t.Iterator[Slot]:
        with contextlib.ExitStack() as stack:
            try:
                folder = make_folder(self._path)
                stack.callback(os.close, folder)
                lock = open_private(f"{session.key}.lock", folder, os.O_RDWR | os.O_CREAT)
                stack.callback(os.close, lock)
                _wait_for(lock, deadline)
            except OSError as error:
                raise _unavailable(self._path, error) from None
            files = _Files(folder, self._path, session)
            stack.callback(files.close)
            yield files


class _Files(Slot):
    """A session's files in an open folder."""

    def __init__(self, folder: int, path: str, session: Session) -> None:
        self._folder = folder
        self._path = path
        self._session = session
        self._record = f"{session.key}.json"
        self._next = f"{session.key}.next"
        self._reserved: int | None = None

    def close(self) -> None:
        if self._reserved is not None:
            os.close(self._reserved)
            self._reserved = None

    def read(self) -> Kept:
        # The note comes first: where it is gone by now, the record that its exchange brought is there.
        with self._errors():
            note = self._load(self._next)
            data = self._load(self._record)
        # A file that holds nothing, or only reserved space, is from before the note was written.
        line = (note or b"").split(b"\n", 1)[0].strip(b"\0")
        attempt = _load_note(line) if line else None
        if data is None:
            return Kept(None, attempt)
        try:
            return Kept(load_record(data, self._session), attempt)
        except DamagedRecord as error:
            return Kept(None, attempt, str(error))

    def set_aside(self) -> str:
        aside = f"{self._session.key}.damaged-{time.time_ns()}"
        with self._errors():
            os.rename(self._record, aside, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)
        return os.path.join(self._path, aside)

    def begin(self, attempt: Attempt) -> None:
        with self._errors():
            self._reserved = open_private(self._next, self._folder, os.O_RDWR | os.O_CREAT)
            size = os.fstat(self._reserved).st_size
            try:
                reserve(self._reserved, RESERVED)
            except OSError:
                os.ftruncate(self._reserved, size)
                if not size:
                    self._remove(self._next)
                raise
            self._write(attempt.dump())
            os.fsync(self._reserved)
            os.fsync(self._folder)

    def keep(self, record: Record) -> None:
        with self._errors():
            self._write_whole(record.dump())
            os.fsync(self._next_file())
            os.rename(self._next, self._record, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)

    def fail(self, attempt: Attempt) -> None:
        with self._errors():
            self._write_whole(attempt.dump())

    def forget(self) -> bool:
        with self._errors():
            there = self._remove(self._record)
            self._remove(self._next)
            os.fsync(self._folder)
        return there

    def _load(self, name: str) -> bytes | None:
        try:
            file = open_private(name, self._folder, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(file, "rb") as stream:
            return stream.read(_READ_LIMIT)

    def _next_file(self) -> int:
        if self._reserved is None:
            raise StoreError("Nothing can be kept before an exchange has begun.")
        return self._reserved

    def _write_whole(self, data: bytes) -> None:
        self._write(data)
        os.ftruncate(self._next_file(), len(data))

    def _write(self, data: bytes) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self._next_file(), data[done:], done)

    def _remove(self, name: str) -> bool:
        try:
            os.unlink(name, dir_fd=self._folder)
        except FileNotFoundError:
            return False
        return True

    @contextlib.contextmanager
    def _errors(self) -> t.Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _unavailable(self._path, error) from None


def _load_note(line: bytes) -> Attempt:
    from ._attempt import load_attempt  # here, since hardly any reader meets a note

    return load_attempt(line)


def _unavailable(path: str, error: OSError) -> StoreError:
    if error.errno in _NOT_PLAIN:
        return StoreError(
            f"The store {path}, or a file in it, is not a plain directory or file: choose another store.",
            code="StoreUnsafe",
        )
    reason = os.strerror(error.errno or errno.EIO)
    return StoreError(
        f"The store {path} cannot be used ({reason}): make it a directory that the user who runs the task "
        "can write to and that has space left, or choose another store."
    )


def _wait_for(lock: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise LockTimeout(
                    "Another task is still exchanging this session's login token, and the deadline has passed: "
                    "try again later, or raise deadline."
                ) from None
            time.sleep(min(remaining, _POLL * random.uniform(0.5, 1.5)))  # noqa: S311
