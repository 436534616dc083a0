# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Define the interface of a session or an account in a store, while its lock is held."""

from __future__ import annotations

import abc
import typing as t

if t.TYPE_CHECKING:
    from .._model.account import AccountEntry
    from .._model.note import Note
    from .._model.record import Record, StoredState

LOCKED = (
    "Another task is still using this session or account, and this task timed out or was interrupted. "
    "Try again later or increase deadline."
)


class FirstNote(t.NamedTuple):
    """A note to store together with the lock, if there is none and the login token has this ``fingerprint``, empty for no record."""

    fingerprint: str
    note: Note


class LockedSession(abc.ABC):
    """A session or an account in a store, under its exclusive lock. All methods raise :class:`StoreError`."""

    noted: Note | None = None
    """The note that was stored together with the lock. It is removed with the lock unless it is written again."""

    @abc.abstractmethod
    def read(self) -> StoredState:
        """Return the stored state."""

    @abc.abstractmethod
    def set_aside(self) -> str:
        """Move a damaged record or entry to another name, and return that name."""

    @abc.abstractmethod
    def write_note(self, note: Note, growth: int = 0) -> None:
        """Store the note of a request durably, and reserve the space of a record that is up to ``growth`` bytes longer."""

    @abc.abstractmethod
    def save(self, record: Record, note: Note | None = None) -> None:
        """Replace the record and the note durably and atomically. Without ``note``, remove the note."""

    def save_and_release(self, record: Record) -> None:
        """Save the record as the last change of the session. If that saves time, release the lock at once."""
        self.save(record)

    @abc.abstractmethod
    def save_failure(self, note: Note) -> None:
        """Store the note of a failed request. The record stays as it is."""

    @abc.abstractmethod
    def rewrite(self, record: Record) -> None:
        """Write a record that has the same token as the one that was read. The note stays as it is."""

    @abc.abstractmethod
    def write_entry(self, entry: AccountEntry) -> None:
        """Replace the entry of an account durably and atomically, unless the lock was lost."""

    @abc.abstractmethod
    def delete(self) -> bool:
        """Remove the record and the note. Return True if there was a record."""
