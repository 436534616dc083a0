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
import re
import threading
import time
import typing as t

from ._errors import LockTimeout, StoreError
from ._private_files import (
    check_folder,
    make_folder,
    open_folder,
    open_private,
    read_private,
    reserve,
)
from ._session import Record
from ._signals import signal_waits
from ._store import LOCKED, Kept, Slot, Store

if t.TYPE_CHECKING:
    from ._attempt import Attempt
    from ._seal import Seal

RESERVED = 65536
"""How many bytes are reserved for a record before its token is sent for: more than any record has."""
_READ_LIMIT = 2 * RESERVED
_POLL = 0.02
_RECORD = re.compile(r"([0-9a-f]{64})\.json")
_NOT_PLAIN = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR)


class DirectoryStore(Store):
    """Keeps each session in files of a private directory that are named after the session's key.

    ``KEY.json`` is the record. ``KEY.next`` is what comes next: the note of an exchange, in the space that is reserved
    for the record which then takes its place and, with one rename, that of the old one. ``KEY.lock`` is locked by
    flock(2) and never removed.
    """

    def __init__(self, path: str, seal: Seal | None = None) -> None:
        super().__init__(seal)
        self._path = path
        self._guard = threading.Lock()
        self._opened: int | None = None

    def read(self, key: str) -> Kept:
        folder = self._folder(make=False)
        return Kept() if folder is None else _Files(self, folder, self._path, key).read()

    def keys(self) -> t.Iterator[str]:
        folder = self._folder(make=False)
        try:
            names = [] if folder is None else os.listdir(folder)
        except OSError as error:
            raise _unavailable(self._path, error) from None
        for name in names:
            match = _RECORD.fullmatch(name)
            if match:
                yield match[1]

    @contextlib.contextmanager
    def lock(self, key: str, deadline: float) -> t.Iterator[Slot]:
        folder = t.cast(int, self._folder(make=True))
        with contextlib.ExitStack() as stack:
            try:
                lock = open_private(f"{key}.lock", folder, os.O_RDWR | os.O_CREAT)
                stack.callback(os.close, lock)
                _wait_for(lock, deadline)
            except OSError as error:
                raise _unavailable(self._path, error) from None
            files = _Files(self, folder, self._path, key)
            stack.callback(files.close)
            yield files

    def close(self) -> None:
        with self._guard:
            if self._opened is not None:
                os.close(self._opened)
                self._opened = None

    def _folder(self, *, make: bool) -> int | None:
        """Return the open folder, None where there is none. It stays open, and is looked at again each time."""
        with self._guard:
            try:
                if self._opened is not None and not check_folder(self._opened, self._path):
                    self._opened = None  # left open, for another thread may be at work in it
                if self._opened is None:
                    self._opened = make_folder(self._path) if make else open_folder(self._path)
            except OSError as error:
                if not make and error.errno == errno.ENOENT:
                    return None
                raise _unavailable(self._path, error) from None
            return self._opened


class _Files(Slot):
    """A session's files in an open folder."""

    def __init__(self, store: Store, folder: int, path: str, key: str) -> None:
        self._store = store
        self._folder = folder
        self._path = path
        self._key = key
        self._record = f"{key}.json"
        self._next = f"{key}.next"
        self._draft = f"{key}.reseal"
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
        return self._store.load_kept(data, _load_note(line) if line else None, self._key)

    def set_aside(self) -> str:
        aside = f"{self._key}.damaged-{time.time_ns()}"
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
            _write(self._reserved, attempt.dump())
            # Writes the name of a new file as well, on the file systems of Linux; the folder itself waits for the record.
            os.fsync(self._reserved)

    def keep(self, record: Record) -> None:
        with self._errors():
            self._write_whole(self._store.dump_record(record))
            os.fsync(self._next_file())
            os.rename(self._next, self._record, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)

    def fail(self, attempt: Attempt) -> None:
        with self._errors():
            self._write_whole(attempt.dump())

    def reseal(self, record: Record) -> None:
        data = self._store.dump_record(record)
        with self._errors():
            file = open_private(self._draft, self._folder, os.O_RDWR | os.O_CREAT)
            try:
                os.ftruncate(file, 0)
                _write(file, data)
                os.fsync(file)
                os.rename(
                    self._draft, self._record, src_dir_fd=self._folder, dst_dir_fd=self._folder
                )
                os.fsync(self._folder)
            except OSError:
                self._remove(self._draft)
                raise
            finally:
                os.close(file)

    def forget(self) -> bool:
        with self._errors():
            there = self._remove(self._record)
            self._remove(self._next)
            self._remove(self._draft)
            os.fsync(self._folder)
        return there

    def _load(self, name: str) -> bytes | None:
        try:
            return read_private(name, self._folder, _READ_LIMIT)
        except FileNotFoundError:
            return None

    def _next_file(self) -> int:
        if self._reserved is None:
            raise StoreError("Nothing can be kept before an exchange has begun.")
        return self._reserved

    def _write_whole(self, data: bytes) -> None:
        _write(self._next_file(), data)
        os.ftruncate(self._next_file(), len(data))

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


def _write(file: int, data: bytes) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done:], done)


def _load_note(line: bytes) -> Attempt:
    from ._attempt import load_attempt  # here, since hardly any reader meets a note

    return load_attempt(line)


def _unavailable(path: str, error: OSError) -> StoreError:
    if error.errno in _NOT_PLAIN:
        return StoreError(
            f"The store {path}, or a file in it, is not a plain directory or file: choose another store.",
            code="StoreUnsafe",
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return StoreError(
            "Too many files are open: lower max_parallel, or raise the limit of open files (ulimit -n).",
            retryable=True,
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
            if remaining <= 0 or signal_waits():
                raise LockTimeout(LOCKED) from None
            time.sleep(min(remaining, _POLL * random.uniform(0.5, 1.5)))  # noqa: S311
