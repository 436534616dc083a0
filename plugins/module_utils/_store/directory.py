# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records in a directory: private, durable, and locked by flock(2)."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
import time
import typing as t

from .._model.exceptions import StoreError
from .._model.record import Record
from .base import Kept, Slot, Store
from .file_lock import lock_file
from .files import check_folder, make_folder, open_folder, open_private
from .two_slot_file import Pages, Value

if t.TYPE_CHECKING:
    from .._model.note import Attempt
    from .encryption import Seal

_RECORD = re.compile(r"([0-9a-f]{64})\.record")
_NOT_PLAIN = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR)


class DirectoryStore(Store):
    """Keeps each session in files of a private directory that are named after the session's key.

    ``KEY.record`` has two pages that hold the record, and the note of its exchange. ``KEY.lock`` is locked by flock(2) and
    never removed.
    """

    def __init__(self, path: str, seal: Seal | None = None) -> None:
        super().__init__(path, seal)
        self._path = path
        self.errors = _Errors(path)
        self._guard = threading.Lock()
        self._opened: int | None = None

    def read(self, key: str) -> Kept:
        folder = self._folder(make=False)
        if folder is None:
            return Kept()
        with contextlib.closing(_File(self, folder, key, os.O_RDONLY)) as file:
            return file.read()

    def keys(self) -> t.Iterator[str]:
        folder = self._folder(make=False)
        with self.errors:
            names = [] if folder is None else os.listdir(folder)
        for name in names:
            match = _RECORD.fullmatch(name)
            if match:
                yield match[1]

    @contextlib.contextmanager
    def lock(self, key: str, deadline: float) -> t.Iterator[Slot]:
        folder = t.cast(int, self._folder(make=True))
        with self.errors:
            lock = lock_file(f"{key}.lock", folder, deadline)
        try:
            with contextlib.closing(_File(self, folder, key, os.O_RDWR)) as file:
                yield file
        finally:
            os.close(lock)

    def close(self) -> None:
        with self._guard:
            if self._opened is not None:
                os.close(self._opened)
                self._opened = None

    def path_of(self, name: str) -> str:
        """Return the whole path of a file of the store."""
        return os.path.join(self._path, name)

    def _folder(self, *, make: bool) -> int | None:
        """Return the open folder, None where there is none. It stays open, and is looked at again each time."""
        with self._guard, self.errors:
            try:
                if self._opened is not None and not check_folder(self._opened, self._path):
                    self._opened = None  # left open, for another thread may be at work in it
                if self._opened is None:
                    self._opened = make_folder(self._path) if make else open_folder(self._path)
            except FileNotFoundError:
                if make:
                    raise
            return self._opened


class _File(Slot):
    """A session's file in an open folder: opened when it is first looked at, made when an exchange begins."""

    def __init__(self, store: DirectoryStore, folder: int, key: str, flags: int) -> None:
        self._store = store
        self._folder = folder
        self._key = key
        self._name = f"{key}.record"
        self._flags = flags
        self._opened: tuple[int, Pages] | None = None
        self._outdated = False

    def close(self) -> None:
        if self._opened is not None:
            os.close(self._opened[0])
            self._opened = None

    def read(self) -> Kept:
        with self._store.errors:
            try:
                pages = self._open()
            except FileNotFoundError:
                return Kept()
        value = pages.value
        if value is None:
            return Kept(None, _load_note(b""), "neither of its pages is whole")
        attempt = _load_note(value.note) if value.note else None
        kept = self._store.load_kept(value.record or None, attempt, self._key)
        if kept.record is not None and self._store.sealed and self._leaves_behind(pages):
            kept = kept._replace(outdated=True)
        self._outdated = kept.outdated
        return kept

    def _leaves_behind(self, pages: Pages) -> bool:
        """Say whether a record is left that is not under the first key: who wrote one that is may have died before it wrote both pages."""
        with self._store.errors:
            older = pages.older
        return older is None or (bool(older.record) and self._store.is_outdated(older.record))

    def set_aside(self) -> str:
        aside = f"{self._key}.damaged-{time.time_ns()}"
        with self._store.errors:
            os.rename(self._name, aside, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)
        self.close()
        return self._store.path_of(aside)

    def begin(self, attempt: Attempt) -> None:
        with self._store.errors:
            pages = self._open(os.O_CREAT)
            fresh = pages.value == Value()
            try:
                pages.reserve()
                self._write(note=attempt.dump())
            except OSError:
                if fresh:
                    self._remove()
                raise

    def keep(self, record: Record) -> None:
        with self._store.errors:
            if self._opened is not None and not os.fstat(self._opened[0]).st_nlink:
                self.close()  # Somebody has removed it.
            for _page in range(1 + self._outdated):  # Neither is left under another key.
                self._write(self._store.dump_record(record), b"")

    def fail(self, attempt: Attempt) -> None:
        with self._store.errors:
            self._write(note=attempt.dump())

    def reseal(self, record: Record) -> None:
        with self._store.errors:
            for _page in range(2):
                self._write(self._store.dump_record(record))

    def forget(self) -> bool:
        with self._store.errors:
            try:
                value = self._open().value
            except FileNotFoundError:
                return False
            self._remove()
            os.fsync(self._folder)
        return value is None or bool(value.record)

    def _open(self, flags: int = 0) -> Pages:
        if self._opened is None:
            file = open_private(self._name, self._folder, self._flags | flags)
            self._opened = file, Pages(file)
        return self._opened[1]

    def _write(self, record: bytes | None = None, note: bytes | None = None) -> None:
        """Write a line, or both; what is not given stays."""
        pages = self._open(os.O_CREAT)
        before = pages.value or Value()
        pages.write(
            Value(
                before.record if record is None else record.rstrip(),
                before.note if note is None else note.rstrip(),
            )
        )
        if before == Value():
            os.fsync(self._folder)

    def _remove(self) -> None:
        self.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._folder)


class _Errors:
    """Has what goes wrong with files within the block be a :class:`StoreError`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing has gone wrong yet."""

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        if isinstance(error, OSError):
            raise _unavailable(self._path, error) from None


def _load_note(line: bytes) -> Attempt:
    from .._model.note import load_attempt  # here, since hardly any reader meets a note

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
    if error.errno == errno.EFBIG:
        return StoreError(
            f"A file in the store {path} would be larger than this user's files may be: raise the limit of the size "
            "of files (ulimit -f), or choose another store."
        )
    reason = os.strerror(error.errno or errno.EIO)
    return StoreError(
        f"The store {path} cannot be used ({reason}): make it a directory that the user who runs the task "
        "can write to and that has space left, or choose another store."
    )
