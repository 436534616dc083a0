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
from .base import LockedSession, Store, StoredState
from .file_lock import lock_file
from .files import check_folder, make_folder, open_folder, open_private
from .two_slot_file import SlotValue, TwoSlotFile

if t.TYPE_CHECKING:
    from .._model.note import Note
    from .encryption import Encryption

_RECORD = re.compile(r"([0-9a-f]{64})\.record")
_NOT_PLAIN = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR)


class DirectoryStore(Store):
    """Keeps each session in files of a private directory that are named after the session's key.

    ``KEY.record`` has two pages that hold the record, and the note of its exchange. ``KEY.lock`` is locked by flock(2) and
    never removed.
    """

    def __init__(self, path: str, encryption: Encryption | None = None) -> None:
        super().__init__(path, encryption)
        self._path = path
        self.errors = _Errors(path)
        self._guard = threading.Lock()
        self._opened: int | None = None

    def read(self, key: str) -> StoredState:
        folder = self._folder(make=False)
        if folder is None:
            return StoredState()
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
    def lock(self, key: str, deadline: float) -> t.Iterator[LockedSession]:
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


class _File(LockedSession):
    """A session's file in an open folder: opened when it is first looked at, made when an exchange begins."""

    def __init__(self, store: DirectoryStore, folder: int, key: str, flags: int) -> None:
        self._store = store
        self._folder = folder
        self._key = key
        self._name = f"{key}.record"
        self._flags = flags
        self._opened: tuple[int, TwoSlotFile] | None = None
        self._needs_reencryption = False

    def close(self) -> None:
        if self._opened is not None:
            os.close(self._opened[0])
            self._opened = None

    def read(self) -> StoredState:
        with self._store.errors:
            try:
                slots = self._open()
            except FileNotFoundError:
                return StoredState()
        value = slots.value
        if value is None:
            return StoredState(None, _load_note(b""), "neither of its pages is whole")
        note = _load_note(value.note) if value.note else None
        stored = self._store.load_state(value.record or None, note, self._key)
        if stored.record is not None and self._store.encrypted and self._leaves_old_data(slots):
            stored = stored._replace(needs_reencryption=True)
        self._needs_reencryption = stored.needs_reencryption
        return stored

    def _leaves_old_data(self, slots: TwoSlotFile) -> bool:
        """Say whether a record is left that is not under the first key: who wrote one that is may have died before it wrote both pages."""
        with self._store.errors:
            older = slots.older
        return older is None or (
            bool(older.record) and self._store.needs_reencryption_of(older.record)
        )

    def set_aside(self) -> str:
        aside = f"{self._key}.damaged-{time.time_ns()}"
        with self._store.errors:
            os.rename(self._name, aside, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)
        self.close()
        return self._store.path_of(aside)

    def write_note(self, note: Note) -> None:
        with self._store.errors:
            slots = self._open(os.O_CREAT)
            fresh = slots.value == SlotValue()
            try:
                slots.reserve()
                self._write(note=note.dump())
            except OSError:
                if fresh:
                    self._remove()
                raise

    def save(self, record: Record) -> None:
        with self._store.errors:
            if self._opened is not None and not os.fstat(self._opened[0]).st_nlink:
                self.close()  # Somebody has removed it.
            for _slot in range(1 + self._needs_reencryption):  # Neither is left under another key.
                self._write(self._store.dump_record(record), b"")

    def save_failure(self, note: Note) -> None:
        with self._store.errors:
            self._write(note=note.dump())

    def reencrypt(self, record: Record) -> None:
        with self._store.errors:
            for _slot in range(2):
                self._write(self._store.dump_record(record))

    def delete(self) -> bool:
        with self._store.errors:
            try:
                value = self._open().value
            except FileNotFoundError:
                return False
            self._remove()
            os.fsync(self._folder)
        return value is None or bool(value.record)

    def _open(self, flags: int = 0) -> TwoSlotFile:
        if self._opened is None:
            file = open_private(self._name, self._folder, self._flags | flags)
            self._opened = file, TwoSlotFile(file)
        return self._opened[1]

    def _write(self, record: bytes | None = None, note: bytes | None = None) -> None:
        """Write a line, or both; what is not given stays."""
        slots = self._open(os.O_CREAT)
        before = slots.value or SlotValue()
        slots.write(
            SlotValue(
                before.record if record is None else record.rstrip(),
                before.note if note is None else note.rstrip(),
            )
        )
        if before == SlotValue():
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


def _load_note(line: bytes) -> Note:
    from .._model.note import load_note  # here, since hardly any reader meets a note

    return load_note(line)


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
