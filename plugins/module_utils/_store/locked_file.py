# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the file of a session or an account while its lock is held."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from .._model.record import Record, StoredState
from .failures import store_errors
from .files import open_private
from .locked_session import LockedSession
from .session_file import load_slots
from .two_slot_file import SlotValue
from .two_slot_writer import TwoSlotWriter

if t.TYPE_CHECKING:
    from .._model.account import AccountEntry
    from .._model.keep_alive import KeepAlive
    from .._model.note import Note
    from .base import Store


class LockedFile(LockedSession):
    """The file of a session or account in an open directory. It is opened when first needed, and created by the first note or entry."""

    def __init__(self, store: Store, folder: int, key: str) -> None:
        self._store = store
        self._folder = folder
        self._key = key
        self._name = f"{key}.record"
        self._file: int | None = None
        self._slots: TwoSlotWriter | None = None
        self._needs_reencryption = False
        self._keep_alive: KeepAlive | None = None

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = self._slots = None

    def read(self) -> StoredState:
        with store_errors(self._store.name):
            try:
                slots = self._open()
            except FileNotFoundError:
                return StoredState()
            stored = load_slots(self._store, self._key, slots)
        self._needs_reencryption = stored.needs_reencryption
        self._keep_alive = stored.record and stored.record.keep_alive
        return stored

    def set_aside(self) -> str:
        aside = f"{self._key}.damaged-{time.time_ns()}"
        with store_errors(self._store.name):
            os.rename(self._name, aside, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)
        self.close()
        return os.path.join(self._store.name, aside)

    def write_note(self, note: Note, growth: int = 0) -> None:
        self._reserve_and_write(self._store.stored_size(growth), note=self._store.dump(note))

    def write_entry(self, entry: AccountEntry) -> None:
        self._reserve_and_write(0, record=self._store.dump(entry))

    def save(self, record: Record, note: Note | None = None) -> None:
        with store_errors(self._store.name):
            if self._file is not None and not os.fstat(self._file).st_nlink:
                self.close()  # The file was removed: write a new one.
            # Both slots are written if the other one is not encrypted with the first key, or has an older keep-alive token.
            replaces = self._keep_alive is not None and (
                record.keep_alive is None or record.keep_alive.token != self._keep_alive.token
            )
            for _slot in range(2 if self._needs_reencryption or replaces else 1):
                self._write(record=self._store.dump(record), note=self._store.dump(note) if note else b"")

    def save_failure(self, note: Note) -> None:
        with store_errors(self._store.name):
            self._write(note=self._store.dump(note))

    def rewrite(self, record: Record) -> None:
        with store_errors(self._store.name):
            for _slot in range(2):
                self._write(record=self._store.dump(record))

    def delete(self) -> bool:
        with store_errors(self._store.name):
            try:
                value = self._open().value
            except FileNotFoundError:
                return False
            self._remove()
            os.fsync(self._folder)
        return value is None or bool(value.record)

    def _open(self, flags: int = 0) -> TwoSlotWriter:
        if self._file is None:
            self._file = open_private(self._name, self._folder, os.O_RDWR | flags)
        if self._slots is None:
            self._slots = TwoSlotWriter(self._file)
        return self._slots

    def _reserve_and_write(self, growth: int, **lines: bytes) -> None:
        """Write lines, and reserve the space for them and for a record that grows. A new file is removed if that fails."""
        with store_errors(self._store.name):
            slots = self._open(os.O_CREAT)
            value = slots.value or SlotValue()
            next_value = value._replace(**lines)
            try:
                slots.reserve(max(sum(map(len, next_value)), len(next_value.record) + growth))
                self._write(**lines)
            except OSError:
                if value == SlotValue():
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
