# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Define the stored state of a session: its record and its note, or the damage."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from .note import Note
    from .record import Record


class StoredState(t.NamedTuple):
    """The stored record and note of a session.

    ``damage`` is the reason why an existing record cannot be read. ``needs_reencryption`` is True if the record, or an
    older copy of it, is not encrypted with the first key in ``store_key``.
    """

    record: Record | None = None
    note: Note | None = None
    damage: str | None = None
    needs_reencryption: bool = False

    def may_be_spent(self, token: str) -> bool:
        """Return True if the service may have used up ``token`` although its successor is not stored."""
        return self.note is not None and self.note.may_be_spent(token)

    def snapshot(self) -> Snapshot:
        """Return a value that shows later whether the state has changed."""
        return Snapshot(None if self.record is None else hash(self.record), self.note)


class Snapshot(t.NamedTuple):
    """The state that a caller saw before it waited for the lock. ``record`` is a hash, to save memory in a large fleet."""

    record: int | None
    note: Note | None
