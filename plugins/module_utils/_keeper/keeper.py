# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keeper: looks at the record, and serves it or has its token exchanged, one exchange at a time for a session."""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._model.exceptions import LockTimeout, WuyingError
from .._model.record import ENDED, EXPIRED, Record, Snapshot, StoredState
from .._model.session import fingerprint
from .._store.base import LockedSession, Store
from .decision import Outcome, Plan, TokenRequest, decide, is_new_login

if t.TYPE_CHECKING:
    from .._service.client import ServiceClient


Warn = t.Callable[[str], None]


class Keeper:
    """Keeps sessions current over one store and one service. Safe to share between threads."""

    def __init__(
        self,
        store: Store,
        connect: t.Callable[[], ServiceClient],
        *,
        scope: str,
        deadline: float,
        clock: t.Callable[[], float] = time.time,
    ) -> None:
        """Take the store, and ``connect``, which gives the service once an exchange is due.

        ``way`` has all that decides how an exchange fares, such as credentials: only who goes the same way shares a failure. Of
        it only some digits of its hash are kept. ``deadline`` is the instant of :func:`time.monotonic` by which everything has ended.
        """
        self.store = store
        self._connect = connect
        self._scope = fingerprint(scope)[:12]
        self._deadline = deadline
        self._clock = clock

    def prepare_to_fork(self) -> bool:
        """Have processes that are forked from now on use the same credentials, and keep one pace; say whether they do."""
        with contextlib.suppress(Exception):  # Each session that is due says what is missing.
            return self._connect().share_pace()
        return False

    def ensure(self, request: TokenRequest, warn: Warn) -> Outcome:
        """Return the session's current token, exchanged where that is needed.

        Raises :class:`WuyingError`. Where a token was exchanged but not kept, the outcome says so.
        """
        stored = self.store.read(request.session.key)
        return self.return_stored(request, stored) or self.refresh(request, stored.snapshot(), warn)

    def return_stored(self, request: TokenRequest, stored: StoredState) -> Outcome | None:
        """Return the record where that is all to do, None where an exchange is due. Raises :class:`WuyingError`."""
        if stored.damage or self._decide(request, stored).token is not None:
            return None
        return Outcome(False, stored.record, stored.record)

    def refresh(self, request: TokenRequest, snapshot: Snapshot, warn: Warn) -> Outcome:
        """Exchange the session's token, unless somebody else has done so since it was ``seen``. Raises :class:`WuyingError`."""
        if snapshot.note is None:
            self._connect()  # What is missing for an exchange is said before anything is written.
        key = request.session.key
        try:
            if time.monotonic() >= self._deadline:
                raise LockTimeout(
                    "The deadline passed before it was the session's turn: try again later, or raise deadline."
                )
            with self.store.lock(key, self._deadline) as locked:
                return self._refresh_locked(request, snapshot, locked, warn)
        except LockTimeout as error:
            return self._return_stored_or_raise(request, self.store.read(key), error, warn)

    def predict(self, request: TokenRequest, stored: StoredState, warn: Warn) -> Outcome:
        """Say what :meth:`ensure` would do, as far as ``kept`` tells; write nothing, send nothing."""
        if stored.damage:
            warn(f"The record of the session is damaged ({stored.damage}) and would be set aside.")
        plan = self._decide(request, stored)
        if plan.token is None:
            return Outcome(False, stored.record, stored.record)
        lives = stored.record and not plan.login and _lives(stored.record, self._clock())
        return Outcome(True, stored.record, stored.record if lives else None)

    def delete(self, key: str, *, check: bool = False) -> Outcome:
        """Remove what is kept of a session; with ``check``, only say whether there is a record."""
        stored = self.store.read(key)
        there = stored.record is not None or stored.damage is not None
        if not check and (there or stored.note):
            with self.store.lock(key, self._deadline) as locked:
                there = locked.delete()
        return Outcome(there, stored.record)

    def reencrypt(self, key: str) -> bool:
        """Write a record anew under the first key; say whether it was under another."""
        with self.store.lock(key, self._deadline) as locked:
            stored = locked.read()
            if stored.record is None or not stored.needs_reencryption:
                return False
            locked.reencrypt(stored.record)
            return True

    def _decide(self, request: TokenRequest, stored: StoredState) -> Plan:
        return decide(request, stored, self._clock(), self.store.name)

    def _refresh_locked(self, request: TokenRequest, snapshot: Snapshot, locked: LockedSession, warn: Warn) -> Outcome:
        stored = locked.read()
        if stored.damage:
            place = locked.set_aside()
            warn(f"The record of the session is damaged ({stored.damage}); it was set aside as {place}.")
        elif stored.record is not None and hash(stored.record) != snapshot.record:
            # An exchange ended after we asked: its outcome is as new as that of a forced one.
            request = request._replace(force=False)
        plan = self._decide(request, stored)
        if plan.token is None:
            return Outcome(False, stored.record, stored.record)
        shared = self._shared_failure(plan.token, snapshot, stored)
        if shared is not None:
            return self._return_stored_or_raise(request, stored, shared, warn)
        service = self._connect()
        # Imported here, so that a task that finds its token current pays for nothing that only an exchange needs.
        from .refresh import refresh

        try:
            return refresh(request, plan, stored, locked, service, scope=self._scope, deadline=self._deadline)
        except WuyingError as error:
            return self._return_stored_or_raise(request, stored, error, warn)

    def _shared_failure(self, token: str, snapshot: Snapshot, stored: StoredState) -> WuyingError | None:
        """Return how an exchange of the same token, by the same credentials, failed since we asked."""
        note = stored.note
        if note is None or note == snapshot.note:
            return None
        same = note.fingerprint == fingerprint(token) and note.scope == self._scope
        return note.error() if same else None

    def _return_stored_or_raise(
        self, request: TokenRequest, stored: StoredState, error: WuyingError, warn: Warn
    ) -> Outcome:
        record, now = stored.record, self._clock()
        login = request.login_token is not None and is_new_login(request.login_token, record)
        if not error.retryable or request.force or login or record is None or not _lives(record, now):
            raise error
        warn(
            "The login token could not be exchanged; the kept one is served as long as it lives "
            f"({record.remaining(now)} s). {error.message}"
        )
        return Outcome(False, record, record)


def _lives(record: Record, now: float) -> bool:
    return record.state(now, 0) not in (EXPIRED, ENDED)
