# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store in memory. Tests can read and change its bytes."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.wuying.workspace.plugins.module_utils._model.account import AccountEntry
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import Note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record, StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import Store
from ansible_collections.wuying.workspace.plugins.module_utils._store.locked_session import FirstNote, LockedSession

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import Encryption


class MemoryStore(Store):
    """Stores records in ``files`` under their keys, and notes under ``note KEY``."""

    def __init__(self, files: dict[str, bytes], encryption: Encryption | None) -> None:
        super().__init__("in memory", encryption)
        self.files = files

    def read(self, key: str) -> StoredState:
        return self.load_state(key, self.files.get(key), self.files.get(f"note {key}"))

    def keys(self, prefix: str = "") -> t.Iterator[str]:
        return (name for name in self.files if " " not in name and name[:-64] == prefix)

    @contextlib.contextmanager
    def lock(self, key: str, deadline: float, first_note: FirstNote | None = None) -> t.Iterator[LockedSession]:
        yield MemorySession(self, key)

    def close(self) -> None:
        """Nothing is open."""


class MemorySession(LockedSession):
    """A session in memory."""

    def __init__(self, store: MemoryStore, key: str) -> None:
        self.store, self.key = store, key

    def read(self) -> StoredState:
        return self.store.read(self.key)

    def set_aside(self) -> str:
        self.store.files[f"aside {self.key}"] = self.store.files.pop(self.key)
        return "a safe place"

    def write_note(self, note: Note, growth: int = 0) -> None:
        self.store.files[f"note {self.key}"] = self.store.dump(note)

    def save(self, record: Record, note: Note | None = None) -> None:
        self.rewrite(record)
        del self.store.files[f"note {self.key}"]
        if note is not None:
            self.write_note(note)

    def save_failure(self, note: Note) -> None:
        self.write_note(note)

    def rewrite(self, record: Record) -> None:
        self.store.files[self.key] = self.store.dump(record)

    def write_entry(self, entry: AccountEntry) -> None:
        self.store.files[self.key] = self.store.dump(entry)

    def delete(self) -> bool:
        self.store.files.pop(f"note {self.key}", None)
        return self.store.files.pop(self.key, None) is not None
