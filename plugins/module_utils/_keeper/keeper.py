# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keeper: looks at the record, and serves it or has its token exchanged, one exchange at a time for a session."""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._model.exceptions import LockTimeout, WuyingError
from .._model.record import ENDED, EXPIRED, Record
from .._model.session import fingerprint
from .._store.base import Kept, Seen, Slot, Store
from .decision import Ask, Outcome, Plan, decide, is_login

if t.TYPE_CHECKING:
    from .._service.client import Service


Warn = t.Callable[[str], None]


class Keeper:
    """Keeps sessions current over one store and one service. Safe to share between threads."""

    def __init__(
        self,
        store: Store,
        connect: t.Callable[[], Service],
        *,
        way: str,
        deadline: float,
        clock: t.Callable[[], float] = time.time,
    ) -> None:
        """Take the store, and ``connect``, which gives the service once an exchange is due.

        ``way`` has all that decides how an exchange fares, such as credentials: only who goes the same way shares a failure. Of
        it only some digits of its hash are kept. ``deadline`` is the instant of :func:`time.monotonic` by which everything has ended.
        """
        self.store = store
        self._connect = connect
        self._way = fingerprint(way)[:12]
        self._deadline = deadline
        self._clock = clock

    def prepare_to_fork(self) -> bool:
        """Have processes that are forked from now on use the same credentials, and keep one pace; say whether they do."""
        with contextlib.suppress(Exception):  # Each session that is due says what is missing.
            return self._connect().share_pace()
        return False

    def ensure(self, ask: Ask, warn: Warn) -> Outcome:
        """Return the session's current token, exchanged where that is needed.

        Raises :class:`WuyingError`. Where a token was exchanged but not kept, the outcome says so.
        """
        kept = self.store.read(ask.session.key)
        return self.serve(ask, kept) or self.renew(ask, kept.seen(), warn)

    def serve(self, ask: Ask, kept: Kept) -> Outcome | None:
        """Return the record where that is all to do, None where an exchange is due. Raises :class:`WuyingError`."""
        if kept.damage or self._decide(ask, kept).token is not None:
            return None
        return Outcome(False, kept.record, kept.record)

    def renew(self, ask: Ask, seen: Seen, warn: Warn) -> Outcome:
        """Exchange the session's token, unless somebody else has done so since it was ``seen``. Raises :class:`WuyingError`."""
        if seen.attempt is None:
            self._connect()  # What is missing for an exchange is said before anything is written.
        key = ask.session.key
        try:
            if time.monotonic() >= self._deadline:
                raise LockTimeout(
                    "The deadline passed before it was the session's turn: try again later, or raise deadline."
                )
            with self.store.lock(key, self._deadline) as slot:
                return self._renew_locked(ask, seen, slot, warn)
        except LockTimeout as error:
            return self._serve_or_raise(ask, self.store.read(key), error, warn)

    def predict(self, ask: Ask, kept: Kept, warn: Warn) -> Outcome:
        """Say what :meth:`ensure` would do, as far as ``kept`` tells; write nothing, send nothing."""
        if kept.damage:
            warn(f"The record of the session is damaged ({kept.damage}) and would be set aside.")
        plan = self._decide(ask, kept)
        if plan.token is None:
            return Outcome(False, kept.record, kept.record)
        lives = kept.record and not plan.login and _lives(kept.record, self._clock())
        return Outcome(True, kept.record, kept.record if lives else None)

    def forget(self, key: str, *, check: bool = False) -> Outcome:
        """Remove what is kept of a session; with ``check``, only say whether there is a record."""
        kept = self.store.read(key)
        there = kept.record is not None or kept.damage is not None
        if not check and (there or kept.attempt):
            with self.store.lock(key, self._deadline) as slot:
                there = slot.forget()
        return Outcome(there, kept.record)

    def reseal(self, key: str) -> bool:
        """Write a record anew under the first key; say whether it was under another."""
        with self.store.lock(key, self._deadline) as slot:
            kept = slot.read()
            if kept.record is None or not kept.outdated:
                return False
            slot.reseal(kept.record)
            return True

    def _decide(self, ask: Ask, kept: Kept) -> Plan:
        return decide(ask, kept, self._clock(), self.store.place)

    def _renew_locked(self, ask: Ask, seen: Seen, slot: Slot, warn: Warn) -> Outcome:
        kept = slot.read()
        if kept.damage:
            place = slot.set_aside()
            warn(
                f"The record of the session is damaged ({kept.damage}); it was set aside as {place}."
            )
        elif kept.record is not None and hash(kept.record) != seen.record:
            # An exchange ended after we asked: its outcome is as new as that of a forced one.
            ask = ask._replace(force=False)
        plan = self._decide(ask, kept)
        if plan.token is None:
            return Outcome(False, kept.record, kept.record)
        shared = self._shared_failure(plan.token, seen, kept)
        if shared is not None:
            return self._serve_or_raise(ask, kept, shared, warn)
        service = self._connect()
        # Imported here, so that a task that finds its token current pays for nothing that only an exchange needs.
        from .refresh import exchange

        try:
            return exchange(ask, plan, kept, slot, service, way=self._way, deadline=self._deadline)
        except WuyingError as error:
            return self._serve_or_raise(ask, kept, error, warn)

    def _shared_failure(self, token: str, seen: Seen, kept: Kept) -> WuyingError | None:
        """Return how an exchange of the same token, by the same credentials, failed since we asked."""
        attempt = kept.attempt
        if attempt is None or attempt == seen.attempt:
            return None
        same = attempt.fingerprint == fingerprint(token) and attempt.way == self._way
        return attempt.error() if same else None

    def _serve_or_raise(self, ask: Ask, kept: Kept, error: WuyingError, warn: Warn) -> Outcome:
        record, now = kept.record, self._clock()
        login = ask.login_token is not None and is_login(ask.login_token, record)
        if not error.retryable or ask.force or login or record is None or not _lives(record, now):
            raise error
        warn(
            "The login token could not be exchanged; the kept one is served as long as it lives "
            f"({record.remaining(now)} s). {error.message}"
        )
        return Outcome(False, record, record)


def _lives(record: Record, now: float) -> bool:
    return record.state(now, 0) not in (EXPIRED, ENDED)
