# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store in memory, whose bytes a test can see and change."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.wuying.workspace.plugins.module_utils._model.note import (
    Attempt,
    load_attempt,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import Kept, Slot, Store

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import Seal


class MemoryStore(Store):
    """Keeps records in ``files`` under their keys, and notes under ``note KEY``."""

    def __init__(self, files: dict[str, bytes], seal: Seal | None) -> None:
        super().__init__("in memory", seal)
        self.files = files

    def read(self, key: str) -> Kept:
        note = self.files.get(f"note {key}")
        return self.load_kept(
            self.files.get(key), None if note is None else load_attempt(note), key
        )

    def keys(self) -> t.Iterator[str]:
        return (name for name in self.files if " " not in name)

    @contextlib.contextmanager
    def lock(self, key: str, deadline: float) -> t.Iterator[Slot]:
        yield MemorySlot(self, key)

    def close(self) -> None:
        """Nothing is open."""


class MemorySlot(Slot):
    """A session's place in memory."""

    def __init__(self, store: MemoryStore, key: str) -> None:
        self.store, self.key = store, key

    def read(self) -> Kept:
        return self.store.read(self.key)

    def set_aside(self) -> str:
        self.store.files[f"aside {self.key}"] = self.store.files.pop(self.key)
        return "a safe place"

    def begin(self, attempt: Attempt) -> None:
        self.store.files[f"note {self.key}"] = attempt.dump()

    def keep(self, record: Record) -> None:
        self.reseal(record)
        del self.store.files[f"note {self.key}"]

    def fail(self, attempt: Attempt) -> None:
        self.begin(attempt)

    def reseal(self, record: Record) -> None:
        self.store.files[self.key] = self.store.dump_record(record)

    def forget(self) -> bool:
        self.store.files.pop(f"note {self.key}", None)
        return self.store.files.pop(self.key, None) is not None
