# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Define the interface of a store."""

from __future__ import annotations

import abc
import typing as t

from .._model.exceptions import DamagedRecord, NotEncrypted, StoreError
from .._model.record import StoredState, load_record
from .._model.session import ACCOUNT_PREFIX

if t.TYPE_CHECKING:
    from .._model.account import AccountEntry
    from .._model.note import Note
    from .._model.record import Record
    from .encryption import Encryption
    from .locked_session import FirstNote, LockedSession

ENVELOPE = b'{"envelope":'
"""The first bytes of encrypted data."""


class Store(abc.ABC):
    """Stores the records of sessions and the entries of accounts by their keys, with one lock for each of them.

    Safe to share between threads. All methods raise :class:`StoreError`.
    """

    def __init__(self, name: str, encryption: Encryption | None = None) -> None:
        """Take the store's name in messages. Without ``encryption``, records are stored unencrypted."""
        self.name = name
        self.encrypted = encryption is not None
        self.warnings: list[str] = []
        """Warnings about the store itself, each of them once."""
        self._encryption = encryption

    @abc.abstractmethod
    def read(self, key: str) -> StoredState:
        """Return the stored state of a session or account, without waiting, writing or creating anything."""

    def location(self, key: str) -> str:
        """Return the name of a session's record in messages."""
        return f"{key} in {self.name}"

    def exists(self) -> bool:
        """Return False if nothing was ever stored here, as far as is known without a connection."""
        return True

    @abc.abstractmethod
    def keys(self, prefix: str = "") -> t.Iterator[str | StoreError]:
        """Return the keys of all sessions that have a record, in any order, and an error for each part that cannot be listed.

        With the prefix of accounts, return their keys instead.
        """

    @abc.abstractmethod
    def lock(self, key: str, deadline: float, first_note: FirstNote | None = None) -> t.ContextManager[LockedSession]:
        """Take the exclusive lock of a session or account. Raises :class:`LockTimeout` at ``deadline`` (of :func:`time.monotonic`).

        If that saves time, store ``first_note`` with the lock, see :attr:`LockedSession.noted`.
        """

    def read_many(self, keys: t.Iterable[str]) -> t.Iterator[StoredState | StoreError]:
        """Read many sessions, in order. The error of one session is returned in its place."""
        for key in keys:
            try:
                yield self.read(key)
            except StoreError as error:
                yield error

    def add_warnings(self, *warnings: str) -> None:
        """Add warnings about the store, unless they were added before."""
        self.warnings += [warning for warning in warnings if warning not in self.warnings]

    @abc.abstractmethod
    def close(self) -> None:
        """Close all files and connections."""

    def dump(self, value: Record | Note | AccountEntry) -> bytes:
        """Encode a value as it is stored."""
        data = value.dump()
        return self._encryption.encrypt(data) if self._encryption else data

    def stored_size(self, length: int) -> int:
        """Return how many bytes ``length`` bytes of an encoded value take in the store."""
        return self._encryption.encrypted_size(length) if self._encryption else length

    def load_state(self, key: str, record: bytes | None, note: bytes | None) -> StoredState:
        """Decode a stored record and note, each None if there is none. Of an account, ``record`` is the entry."""
        if key.startswith(ACCOUNT_PREFIX):
            return StoredState() if record is None else self._load_account(key, record)
        loaded_note = None
        if note is not None:
            from .._model.note import UNREADABLE, load_note  # here, because most sessions have no note

            try:
                loaded_note = load_note(self._decrypt(note))
            except (DamagedRecord, StoreError):
                loaded_note = UNREADABLE
        if record is None:
            return StoredState(note=loaded_note)
        try:
            loaded = load_record(self._decrypt(record), key)
        except DamagedRecord as error:
            return StoredState(note=loaded_note, damage=f"{self.location(key)}: {error}")
        except StoreError as error:
            raise type(error)(f"{error.message} The record is {self.location(key)}.", code=error.code) from None
        return StoredState(loaded, loaded_note, needs_reencryption=self.needs_reencryption(record))

    def _load_account(self, key: str, entry: bytes) -> StoredState:
        """Decode the entry of an account. One that this store cannot decrypt is damaged, because another key may have been dropped."""
        from .._model.account import load_entry  # here, because most tasks log in to no account

        try:
            loaded = load_entry(self._decrypt(entry), key)
            return StoredState(entry=loaded, needs_reencryption=self.needs_reencryption(entry))
        except DamagedRecord as error:
            reason = str(error)
        except StoreError as error:
            if error.code == "NewerFormat":
                raise
            reason = "it is not encrypted with a key in store_key"
        return StoredState(damage=f"{self.location(key)}: {reason}")

    def needs_reencryption(self, data: bytes) -> bool:
        """Return True if the store has keys and the first one did not encrypt this stored record."""
        return self._encryption is not None and not self._encryption.uses_first_key(data)

    def _decrypt(self, data: bytes) -> bytes:
        if not data.startswith(ENVELOPE):
            if self._encryption is None or self._encryption.accepts_unencrypted:
                return data
            raise NotEncrypted(
                "The record of this session is not encrypted, but store_key is set. If it was stored before store_key was set, run "
                "wuying_login_tokens with rekey=true once. Otherwise, someone who can write to the store may have planted it. "
                "Delete it, with state=absent if you know its session."
            )
        if self._encryption is None:
            raise StoreError(
                "The record of this session is encrypted. Set store_key to the key that it was encrypted with.",
                code="WrongStoreKey",
            )
        return self._encryption.decrypt(data)
