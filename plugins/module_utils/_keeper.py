# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this file is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The keeper decides: serve the record, or exchange its token. This is the only place that knows the promise."""

from __future__ import annotations

import contextlib
import time
import typing as t

from . import _attempt
from ._attempt import Attempt
from ._errors import LockTimeout, LoginRequired, ServiceError, StoreError, WuyingError
from ._session import CURRENT, ENDED, EXPIRED, Record, Session, fingerprint, succeed
from ._signals import signals_held
from ._store import Kept, Slot, Store

if t.TYPE_CHECKING:
    from ._answer import Answer
    from ._service import Service

OUTCOME_UNKNOWN = "OutcomeUnknown"
_UNKNOWN = "an earlier exchange of its login token was cut short, the answer is lost, and the service refuses the token now."
_REFUSED = "the service refused its login token."
_LOG_IN = "The user must log in again; pass the new token as login_token."


class Ask(t.NamedTuple):
    """What a caller wants of a session. ``validity`` and ``refresh_before`` are in seconds."""

    session: Session
    login_token: str | None = None
    force: bool = False
    validity: float = 900
    refresh_before: float = 300


class Outcome(t.NamedTuple):
    """What came of it: the record before and after; ``not_kept`` says why only the caller has the new token."""

    changed: bool
    before: Record | None = None
    record: Record | None = None
    not_kept: WuyingError | None = None


class Plan(t.NamedTuple):
    """The token to exchange, or None to serve the record; ``login`` where the token begins the session anew."""

    token: str | None = None
    login: bool = False


def decide(ask: Ask, kept: Kept, now: float) -> Plan:
    """Return what the promise has us do. Raises :class:`LoginRequired` where no token is left to try."""
    record = kept.record
    if ask.login_token is not None and _is_login(ask.login_token, record):
        return Plan(ask.login_token, login=True)
    if record is None:
        raise LoginRequired(
            "Nothing is kept of this session: pass login_token once to start it.",
            code="NoLoginToken",
        )
    if not ask.force:
        state = record.state(now, ask.refresh_before)
        if state == ENDED:
            raise _ended(record)
        if state == CURRENT and not kept.doubts(record.login_token):
            return Plan()
    return Plan(record.login_token)


class Keeper:
    """Keeps sessions current over one store and one service. Safe to share between threads."""

    def __init__(
        self,
        store: Store,
        connect: t.Callable[[], Service],
        *,
        way: str,
        deadline: float,
        warn: t.Callable[[str], None],
        clock: t.Callable[[], float] = time.time,
    ) -> None:
        """Take the store, and ``connect``, which gives the service once an exchange is due.

        ``way`` names, without secrets, whose credentials the service is asked with: only who goes the same way shares a
        failure. ``deadline`` is the instant of :func:`time.monotonic` by which everything has ended.
        """
        self._store = store
        self._connect = connect
        self._way = fingerprint(way)[:12]
        self._deadline = deadline
        self._warn = warn
        self._clock = clock

    def ensure(self, ask: Ask) -> Outcome:
        """Return the session's current token, exchanged where that is needed.

        Raises :class:`WuyingError`. Where a token was exchanged but not kept, the outcome says so.
        """
        seen = self._store.read(ask.session)
        if not seen.damage and decide(ask, seen, self._clock()).token is None:
            return Outcome(False, seen.record, seen.record)
        service = self._connect()
        try:
            with self._store.lock(ask.session, self._deadline) as slot:
                return self._ensure_locked(ask, seen, slot, service)
        except LockTimeout as error:
            return self._serve_or_raise(ask, seen, error)

    def predict(self, ask: Ask) -> Outcome:
        """Say what :meth:`ensure` would do, as far as the store tells; write nothing, send nothing."""
        kept = self._store.read(ask.session)
        if kept.damage:
            self._warn(
                f"The record of the session is damaged ({kept.damage}) and would be set aside."
            )
        plan = decide(ask, kept, self._clock())
        if plan.token is None:
            return Outcome(False, kept.record, kept.record)
        lives = kept.record and not plan.login and _lives(kept.record, self._clock())
        return Outcome(True, kept.record, kept.record if lives else None)

    def forget(self, session: Session, *, check: bool = False) -> Outcome:
        """Remove what is kept of a session; with ``check``, only say whether there is a record."""
        kept = self._store.read(session)
        there = kept.record is not None or kept.damage is not None
        if not check and (there or kept.attempt):
            with self._store.lock(session, self._deadline) as slot:
                there = slot.forget()
        return Outcome(there, kept.record)

    def _ensure_locked(self, ask: Ask, seen: Kept, slot: Slot, service: Service) -> Outcome:
        kept = slot.read()
        if kept.damage:
            place = slot.set_aside()
            self._warn(
                f"The record of the session is damaged ({kept.damage}); it was set aside as {place}."
            )
        elif kept.record is not None and kept.record != seen.record:
            # An exchange ended after we asked: its outcome is as new as that of a forced one.
            ask = ask._replace(force=False)
        plan = decide(ask, kept, self._clock())
        if plan.token is None:
            return Outcome(False, kept.record, kept.record)
        shared = self._shared_failure(plan.token, seen, kept)
        if shared is not None:
            return self._serve_or_raise(ask, kept, shared)
        return self._exchange(ask, plan, kept, slot, service)

    def _shared_failure(self, token: str, seen: Kept, kept: Kept) -> WuyingError | None:
        """Return how an exchange of the same token, by the same credentials, failed since we asked."""
        attempt = kept.attempt
        if attempt is None or attempt == seen.attempt:
            return None
        same = attempt.fingerprint == fingerprint(token) and attempt.way == self._way
        return attempt.error() if same else None

    def _exchange(self, ask: Ask, plan: Plan, kept: Kept, slot: Slot, service: Service) -> Outcome:
        token = t.cast(str, plan.token)
        attempt = _attempt.begin(kept.attempt, token, self._way)
        with signals_held():
            slot.begin(attempt)
            try:
                answer = service.exchange(ask.session, token, self._deadline)
            except ServiceError as error:
                failure = self._note_failure(error, plan, kept, attempt, slot)
            else:
                return self._keep(ask, token, answer, kept, slot)
        return self._serve_or_raise(ask, kept, failure)

    def _keep(self, ask: Ask, token: str, answer: Answer, kept: Kept, slot: Slot) -> Outcome:
        record = succeed(
            kept.record,
            ask.session,
            token,
            answer.login_token,
            answer.sent_at,
            ask.validity,
            answer.request_id,
        )
        try:
            slot.keep(record)
        except StoreError as error:
            message = f"A new login token was exchanged but could not be kept; use this one. {error.message}"
            return Outcome(True, kept.record, record, StoreError(message, code="NotKept"))
        return Outcome(True, kept.record, record)

    def _note_failure(
        self, error: ServiceError, plan: Plan, kept: Kept, attempt: Attempt, slot: Slot
    ) -> WuyingError:
        unknown = error.sent or kept.doubts(t.cast(str, plan.token))
        failure = _refused(error, unknown=unknown, login=plan.login) if error.refused else error
        # The note of the beginning stays where this cannot be written: the outcome is then unknown, which is safe.
        with contextlib.suppress(StoreError):
            if error.refused and not plan.login and kept.record is not None:
                slot.keep(kept.record.as_ended(failure.code))
            else:
                slot.fail(attempt.failed(failure, unknown=unknown and not error.refused))
        return failure

    def _serve_or_raise(self, ask: Ask, kept: Kept, error: WuyingError) -> Outcome:
        record, now = kept.record, self._clock()
        login = ask.login_token is not None and _is_login(ask.login_token, record)
        if not error.retryable or ask.force or login or record is None or not _lives(record, now):
            raise error
        self._warn(
            "The login token could not be exchanged; the kept one is served as long as it lives "
            f"({record.remaining(now)} s). {error.message}"
        )
        return Outcome(False, record, record)


def _is_login(token: str, record: Record | None) -> bool:
    return record is None or not record.knows(token)


def _lives(record: Record, now: float) -> bool:
    return record.state(now, 0) not in (EXPIRED, ENDED)


def _ended(record: Record) -> LoginRequired:
    unknown = record.ended == OUTCOME_UNKNOWN
    return LoginRequired(
        f"The session has ended: {_UNKNOWN if unknown else _REFUSED} {_LOG_IN}",
        code=OUTCOME_UNKNOWN if unknown else None,
    )


def _refused(error: ServiceError, *, unknown: bool, login: bool) -> LoginRequired:
    what = "the login_token that was passed in" if login else "the session's login token"
    reason = _UNKNOWN if unknown else f"the service refused {what} ({error.code})."
    return LoginRequired(
        f"{reason[0].upper()}{reason[1:]} {_LOG_IN}",
        code=OUTCOME_UNKNOWN if unknown else error.code,
        http_status=error.http_status,
        request_id=error.request_id,
    )
