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
    from .._model.note import Attempt
    from .encryption import Seal

ENVELOPE = b'{"envelope":'
"""How an encrypted record begins."""


class Kept(t.NamedTuple):
    """What a store holds of a session.

    ``damage`` says why a record that is there cannot be read; ``outdated``, that another key than the first of ``store_key``, or
    none, protects it, or what is still there of one before it.
    """

    record: Record | None = None
    attempt: Attempt | None = None
    damage: str | None = None
    outdated: bool = False

    def doubts(self, token: str) -> bool:
        """Say whether ``token`` may have been exchanged without its successor being kept."""
        return self.attempt is not None and self.attempt.doubts(token)

    def seen(self) -> Seen:
        """Return what tells this state from a later one."""
        return Seen(None if self.record is None else hash(self.record), self.attempt)


class Seen(t.NamedTuple):
    """What an asker found before it waited: small, since a fleet of sessions waits at once. ``record`` is a hash."""

    record: int | None
    attempt: Attempt | None


class Slot(abc.ABC):
    """One session's place in a store, held under its exclusive lock. All methods raise :class:`StoreError`."""

    @abc.abstractmethod
    def read(self) -> Kept:
        """Return what is held now."""

    @abc.abstractmethod
    def set_aside(self) -> str:
        """Move a damaged record out of the way, keep it, and return where."""

    @abc.abstractmethod
    def begin(self, attempt: Attempt) -> None:
        """Note durably that an exchange begins, and reserve the space of the record that it will bring."""

    @abc.abstractmethod
    def keep(self, record: Record) -> None:
        """Put the record in place, durably and at once, and take the note away."""

    @abc.abstractmethod
    def fail(self, attempt: Attempt) -> None:
        """Note how the exchange failed; the record stays."""

    @abc.abstractmethod
    def reseal(self, record: Record) -> None:
        """Write the record that was read anew, under the first key; the note stays."""

    @abc.abstractmethod
    def forget(self) -> bool:
        """Remove record and note; say whether there was a record."""


class Store(abc.ABC):
    """Keeps the records of sessions under their keys, one exchange at a time for each.

    Safe to share between threads. All methods raise :class:`StoreError`.
    """

    def __init__(self, place: str, seal: Seal | None = None) -> None:
        """Take what the store is called in messages, and what encrypts records, None to keep them in the clear."""
        self.place = place
        self._seal = seal
        self.sealed = seal is not None
        self.warnings: list[str] = []
        """What the user should know of the store itself, each once."""

    @abc.abstractmethod
    def read(self, key: str) -> Kept:
        """Return what is held of a session, without waiting, writing or creating anything."""

    @abc.abstractmethod
    def keys(self) -> t.Iterator[str]:
        """Return the keys of all sessions that have a record, in no order."""

    @abc.abstractmethod
    def lock(self, key: str, deadline: float) -> t.ContextManager[Slot]:
        """Hold the session's exclusive lock; :class:`LockTimeout` at ``deadline`` (of :func:`time.monotonic`)."""

    def read_many(self, keys: t.Iterable[str]) -> t.Iterator[Kept | StoreError]:
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
        return data if self._seal is None else self._seal.close(data)

    def load_kept(self, data: bytes | None, attempt: Attempt | None, key: str) -> Kept:
        """Read a record as it is stored, None where there is none."""
        if data is None:
            return Kept(None, attempt)
        try:
            return Kept(
                load_record(self._unseal(data), key),
                attempt,
                outdated=self.is_outdated(data),
            )
        except DamagedRecord as error:
            return Kept(None, attempt, str(error))

    def is_outdated(self, data: bytes) -> bool:
        """Say whether another key than the first protects a record as it is stored, or none where there is a key."""
        return self._seal is not None and not self._seal.is_first(data)

    def _unseal(self, data: bytes) -> bytes:
        if not data.startswith(ENVELOPE):
            return data
        if self._seal is None:
            raise StoreError(
                "The record of the session is encrypted: pass the key that it was written with as store_key.",
                code="WrongStoreKey",
            )
        return self._seal.open(data)


class NoStore(Store, Slot):
    """Keeps nothing."""

    def __init__(self) -> None:
        super().__init__("none")

    def read(self, key: str = "") -> Kept:
        return Kept()

    def keys(self) -> t.Iterator[str]:
        return iter(())

    @contextlib.contextmanager
    def lock(self, key: str, deadline: float) -> t.Iterator[Slot]:
        yield self

    def set_aside(self) -> str:
        raise StoreError("Nothing is kept, so nothing can be damaged.")

    def begin(self, attempt: Attempt) -> None:
        """Nothing is kept."""

    def keep(self, record: Record) -> None:
        """Nothing is kept."""

    def fail(self, attempt: Attempt) -> None:
        """Nothing is kept."""

    def reseal(self, record: Record) -> None:
        """Nothing is kept."""

    def forget(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing is open."""
