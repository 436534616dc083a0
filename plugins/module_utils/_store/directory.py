# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Store records as private files in a directory."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
import typing as t

from .._model.record import Record, StoredState
from .base import LockedSession, Store
from .failures import explain
from .files import check_folder, lock_file, make_folder, open_folder, open_private
from .two_slot_file import SlotValue, TwoSlotFile

if t.TYPE_CHECKING:
    from .._model.account import AccountEntry
    from .._model.keep_alive import KeepAlive
    from .._model.note import Note
    from .encryption import Encryption

_RECORD = re.compile(r"(account-)?[0-9a-f]{64}\.record")


class DirectoryStore(Store):
    """Stores each session and account in files of a private directory that are named after its key.

    ``KEY.record`` is a two-slot file with the record and the note. ``KEY.lock`` is locked with flock(2) and never removed.
    """

    def __init__(self, path: str, encryption: Encryption | None = None) -> None:
        super().__init__(path, encryption)
        self._mutex = threading.Lock()
        self._folder: int | None = None

    def read(self, key: str) -> StoredState:
        folder = self._open_folder(create=False)
        if folder is None:
            return StoredState()
        with contextlib.closing(_SessionFile(self, folder, key, os.O_RDONLY)) as file:
            return file.read()

    def location(self, key: str) -> str:
        return os.path.join(self.name, f"{key}.record")

    def exists(self) -> bool:
        return self._open_folder(create=False) is not None

    def keys(self, prefix: str = "") -> t.Iterator[str]:
        folder = self._open_folder(create=False)
        with self.errors():
            names = [] if folder is None else os.listdir(folder)
        for name in names:
            match = _RECORD.fullmatch(name)
            if match and (match[1] or "") == prefix:
                yield name.partition(".")[0]

    @contextlib.contextmanager
    def lock(self, key: str, deadline: float) -> t.Iterator[LockedSession]:
        folder = t.cast(int, self._open_folder(create=True))
        with self.errors():
            lock = lock_file(f"{key}.lock", folder, deadline)
        try:
            with contextlib.closing(_SessionFile(self, folder, key, os.O_RDWR)) as file:
                yield file
        finally:
            os.close(lock)

    def close(self) -> None:
        with self._mutex:
            if self._folder is not None:
                os.close(self._folder)
                self._folder = None

    @contextlib.contextmanager
    def errors(self) -> t.Iterator[None]:
        """Raise each :class:`OSError`, and each failed import, of the block as a :class:`StoreError`."""
        try:
            yield
        except (OSError, ImportError) as error:
            raise explain(error, self.name) from None

    def _open_folder(self, *, create: bool) -> int | None:
        """Return the open directory, or None if there is none. It stays open, and is checked again each time."""
        with self._mutex, self.errors():
            if self._folder is not None and not check_folder(self._folder, self.name):
                # The directory was removed. It is not closed, because another thread may be using it.
                self._folder = None
            if self._folder is None and create:
                self._folder = make_folder(self.name)
            elif self._folder is None:
                with contextlib.suppress(FileNotFoundError):
                    self._folder = open_folder(self.name)
            return self._folder


class _SessionFile(LockedSession):
    """The file of a session or account in an open directory. It is opened when first needed, and created by the first note or entry."""

    def __init__(self, store: DirectoryStore, folder: int, key: str, flags: int) -> None:
        self._store = store
        self._folder = folder
        self._key = key
        self._name = f"{key}.record"
        self._flags = flags
        self._file: int | None = None
        self._slots: TwoSlotFile | None = None
        self._needs_reencryption = False
        self._keep_alive: KeepAlive | None = None

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = self._slots = None

    def read(self) -> StoredState:
        with self._store.errors():
            try:
                slots = self._open()
            except FileNotFoundError:
                return StoredState()
            if slots.value is None:
                # No note can be read either, and an empty one covers every token.
                stored = self._store.load_state(self._key, None, b"")
                return stored._replace(damage=f"{self._store.location(self._key)}: its content is corrupt")
            record, note = slots.value
            stored = self._store.load_state(self._key, record or None, note or None)
            slots.sync()
            if (stored.record or stored.entry) is not None and self._store.encrypted:
                # A task that was killed before it had written both slots may have left an old copy in the other one.
                older = slots.older
                if older is None or (older.record and self._store.needs_reencryption(older.record)):
                    stored = stored._replace(needs_reencryption=True)
            self._needs_reencryption = stored.needs_reencryption
            self._keep_alive = stored.record and stored.record.keep_alive
            return stored

    def set_aside(self) -> str:
        aside = f"{self._key}.damaged-{time.time_ns()}"
        with self._store.errors():
            os.rename(self._name, aside, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)
        self.close()
        return os.path.join(self._store.name, aside)

    def write_note(self, note: Note) -> None:
        self._reserve_and_write(note=self._store.dump(note))

    def write_entry(self, entry: AccountEntry) -> None:
        self._reserve_and_write(record=self._store.dump(entry))

    def save(self, record: Record, note: Note | None = None) -> None:
        with self._store.errors():
            if self._file is not None and not os.fstat(self._file).st_nlink:
                self.close()  # The file was removed: write a new one.
            # Both slots are written if the other one is not encrypted with the first key, or has an older keep-alive token.
            replaces = self._keep_alive is not None and (
                record.keep_alive is None or record.keep_alive.token != self._keep_alive.token
            )
            for _slot in range(2 if self._needs_reencryption or replaces else 1):
                self._write(record=self._store.dump(record), note=self._store.dump(note) if note else b"")

    def save_failure(self, note: Note) -> None:
        with self._store.errors():
            self._write(note=self._store.dump(note))

    def rewrite(self, record: Record) -> None:
        with self._store.errors():
            for _slot in range(2):
                self._write(record=self._store.dump(record))

    def delete(self) -> bool:
        with self._store.errors():
            try:
                value = self._open().value
            except FileNotFoundError:
                return False
            self._remove()
            os.fsync(self._folder)
        return value is None or bool(value.record)

    def _open(self, flags: int = 0) -> TwoSlotFile:
        if self._file is None:
            self._file = open_private(self._name, self._folder, self._flags | flags)
        if self._slots is None:
            self._slots = TwoSlotFile(self._file)
        return self._slots

    def _reserve_and_write(self, **lines: bytes) -> None:
        """Write lines, and reserve the space of the next value. A new file is removed if that fails."""
        with self._store.errors():
            slots = self._open(os.O_CREAT)
            is_new = slots.value == SlotValue()
            try:
                slots.reserve()
                self._write(**lines)
            except OSError:
                if is_new:
                    self._remove()
                raise

    def _write(self, **lines: bytes) -> None:
        """Write the ``record``, the ``note`` or both. A line that is not passed stays as it is."""
        slots = self._open(os.O_CREAT)
        before = slots.value or SlotValue()
        slots.write(before._replace(**{name: line.rstrip() for name, line in lines.items()}))
        if before == SlotValue():
            os.fsync(self._folder)

    def _remove(self) -> None:
        self.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._folder)
