# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where records are kept: what every store does, and the one that keeps nothing."""

from __future__ import annotations

import abc
import contextlib
import typing as t

from .._model.encoding import DamagedRecord
from .._model.exceptions import StoreError
from .._model.record import Record, load_record

if t.TYPE_CHECKING:
    from .._model.note import Note
    from .encryption import Encryption

ENVELOPE = b'{"envelope":'
"""How an encrypted record begins."""


class StoredState(t.NamedTuple):
    """What a store holds of a session.

    ``damage`` says why a record that is there cannot be read; ``outdated``, that another key than the first of ``store_key``, or
    none, protects it, or what is still there of one before it.
    """

    record: Record | None = None
    note: Note | None = None
    damage: str | None = None
    needs_reencryption: bool = False

    def may_be_spent(self, token: str) -> bool:
        """Say whether ``token`` may have been exchanged without its successor being kept."""
        return self.note is not None and self.note.may_be_spent(token)

    def snapshot(self) -> Snapshot:
        """Return what tells this state from a later one."""
        return Snapshot(None if self.record is None else hash(self.record), self.note)


class Snapshot(t.NamedTuple):
    """What an asker found before it waited: small, since a fleet of sessions waits at once. ``record`` is a hash."""

    record: int | None
    note: Note | None


class LockedSession(abc.ABC):
    """One session's place in a store, held under its exclusive lock. All methods raise :class:`StoreError`."""

    @abc.abstractmethod
    def read(self) -> StoredState:
        """Return what is held now."""

    @abc.abstractmethod
    def set_aside(self) -> str:
        """Move a damaged record out of the way, keep it, and return where."""

    @abc.abstractmethod
    def write_note(self, note: Note) -> None:
        """Note durably that an exchange begins, and reserve the space of the record that it will bring."""

    @abc.abstractmethod
    def save(self, record: Record) -> None:
        """Put the record in place, durably and at once, and take the note away."""

    @abc.abstractmethod
    def save_failure(self, note: Note) -> None:
        """Note how the exchange failed; the record stays."""

    @abc.abstractmethod
    def reencrypt(self, record: Record) -> None:
        """Write the record that was read anew, under the first key; the note stays."""

    @abc.abstractmethod
    def delete(self) -> bool:
        """Remove record and note; say whether there was a record."""


class Store(abc.ABC):
    """Keeps the records of sessions under their keys, one exchange at a time for each.

    Safe to share between threads. All methods raise :class:`StoreError`.
    """

    def __init__(self, name: str, encryption: Encryption | None = None) -> None:
        """Take what the store is called in messages, and what encrypts records, None to keep them in the clear."""
        self.name = name
        self._encryption = encryption
        self.encrypted = encryption is not None
        self.warnings: list[str] = []
        """What the user should know of the store itself, each once."""

    @abc.abstractmethod
    def read(self, key: str) -> StoredState:
        """Return what is held of a session, without waiting, writing or creating anything."""

    @abc.abstractmethod
    def keys(self) -> t.Iterator[str]:
        """Return the keys of all sessions that have a record, in no order."""

    @abc.abstractmethod
    def lock(self, key: str, deadline: float) -> t.ContextManager[LockedSession]:
        """Hold the session's exclusive lock; :class:`LockTimeout` at ``deadline`` (of :func:`time.monotonic`)."""

    def read_many(self, keys: t.Iterable[str]) -> t.Iterator[StoredState | StoreError]:
        """Read many sessions, in their order. What is wrong with a single one is returned in its place."""
        for key in keys:
            try:
                yield self.read(key)
            except StoreError as error:
                yield error

    def warn_of(self, *warnings: str) -> None:
        """Add to what the user should know of the store, what is not said yet."""
        self.warnings += [warning for warning in warnings if warning not in self.warnings]

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of all that is open."""

    def dump_record(self, record: Record) -> bytes:
        """Write a record as it is stored."""
        data = record.dump()
        return data if self._encryption is None else self._encryption.encrypt(data)

    def load_state(self, data: bytes | None, note: Note | None, key: str) -> StoredState:
        """Read a record as it is stored, None where there is none."""
        if data is None:
            return StoredState(None, note)
        try:
            return StoredState(
                load_record(self._decrypt(data), key),
                note,
                needs_reencryption=self.needs_reencryption_of(data),
            )
        except DamagedRecord as error:
            return StoredState(None, note, str(error))

    def needs_reencryption_of(self, data: bytes) -> bool:
        """Say whether another key than the first protects a record as it is stored, or none where there is a key."""
        return self._encryption is not None and not self._encryption.is_first(data)

    def _decrypt(self, data: bytes) -> bytes:
        if not data.startswith(ENVELOPE):
            return data
        if self._encryption is None:
            raise StoreError(
                "The record of the session is encrypted: pass the key that it was written with as store_key.",
                code="WrongStoreKey",
            )
        return self._encryption.decrypt(data)


class NoStore(Store, LockedSession):
    """Keeps nothing."""

    def __init__(self) -> None:
        super().__init__("none")

    def read(self, key: str = "") -> StoredState:
        return StoredState()

    def keys(self) -> t.Iterator[str]:
        return iter(())

    @contextlib.contextmanager
    def lock(self, key: str, deadline: float) -> t.Iterator[LockedSession]:
        yield self

    def set_aside(self) -> str:
        raise StoreError("Nothing is kept, so nothing can be damaged.")

    def write_note(self, note: Note) -> None:
        """Nothing is kept."""

    def save(self, record: Record) -> None:
        """Nothing is kept."""

    def save_failure(self, note: Note) -> None:
        """Nothing is kept."""

    def reencrypt(self, record: Record) -> None:
        """Nothing is kept."""

    def delete(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing is open."""
