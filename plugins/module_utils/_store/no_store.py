# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Store nothing: the store of a task with store=none."""

from __future__ import annotations

import contextlib
import typing as t

from .._model.exceptions import StoreError
from .._model.record import Record, StoredState
from .base import Store
from .locked_session import FirstNote, LockedSession

if t.TYPE_CHECKING:
    from .._model.account import AccountEntry
    from .._model.note import Note


class NoStore(Store, LockedSession):
    """Stores nothing."""

    def __init__(self) -> None:
        super().__init__("none")

    def read(self, key: str = "") -> StoredState:
        return StoredState()

    def keys(self, prefix: str = "") -> t.Iterator[str]:
        return iter(())

    @contextlib.contextmanager
    def lock(self, key: str, deadline: float, first_note: FirstNote | None = None) -> t.Iterator[LockedSession]:
        yield self

    def set_aside(self) -> str:
        raise StoreError("There is no record to set aside.")

    def write_note(self, note: Note, growth: int = 0) -> None:
        """Store nothing."""

    def save(self, record: Record, note: Note | None = None) -> None:
        """Store nothing."""

    def save_failure(self, note: Note) -> None:
        """Store nothing."""

    def rewrite(self, record: Record) -> None:
        """Store nothing."""

    def write_entry(self, entry: AccountEntry) -> None:
        """Store nothing."""

    def delete(self) -> bool:
        return False

    def close(self) -> None:
        """Do nothing."""
