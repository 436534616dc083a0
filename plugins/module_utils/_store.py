# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this file is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Where records are kept: what every store does, and the one that keeps nothing."""

from __future__ import annotations

import abc
import contextlib
import typing as t

from ._errors import StoreError
from ._session import Record, Session

if t.TYPE_CHECKING:
    from ._attempt import Attempt


class Kept(t.NamedTuple):
    """What a store holds of a session. ``damage`` says why a record that is there cannot be read."""

    record: Record | None = None
    attempt: Attempt | None = None
    damage: str | None = None

    def doubts(self, token: str) -> bool:
        """Say whether ``token`` may have been exchanged without its successor being kept."""
        return self.attempt is not None and self.attempt.doubts(token)


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
    def forget(self) -> bool:
        """Remove record and note; say whether there was a record."""


class Store(abc.ABC):
    """Keeps the records of sessions, one exchange at a time for each."""

    keeps = True

    @abc.abstractmethod
    def read(self, session: Session) -> Kept:
        """Return what is held of a session, without waiting, writing or creating anything."""

    @abc.abstractmethod
    def lock(self, session: Session, deadline: float) -> t.ContextManager[Slot]:
        """Hold the session's exclusive lock; :class:`LockTimeout` at ``deadline`` (of :func:`time.monotonic`)."""


class NoStore(Store, Slot):
    """Keeps nothing."""

    keeps = False

    def read(self, session: Session | None = None) -> Kept:
        return Kept()

    @contextlib.contextmanager
    def lock(self, session: Session, deadline: float) -> t.Iterator[Slot]:
        yield self

    def set_aside(self) -> str:
        raise StoreError("Nothing is kept, so nothing can be damaged.")

    def begin(self, attempt: Attempt) -> None:
        """Nothing is kept."""

    def keep(self, record: Record) -> None:
        """Nothing is kept."""

    def fail(self, attempt: Attempt) -> None:
        """Nothing is kept."""

    def forget(self) -> bool:
        return False
