# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Obtain a token for a locked session: decide, write a note, send, and store. After a failure, decide again.

Only a task that sends a request imports this file.
"""

from __future__ import annotations

import contextlib
import typing as t

from .._model.encoding import stored_length
from .._model.exceptions import LoginRefused, LoginRequired, ServiceError, StoreError, WuyingError
from .._model.keep_alive import LONGEST_KEEP_ALIVE_TOKEN
from .._model.next_record import LONGEST_SESSION_ID, after_login, next_record, possible_growth, with_passed
from .._model.note import Note, new_note
from .._model.record import Record, StoredState
from .._model.session import fingerprint
from .._runtime.signals import hold_signals
from .._service.login import LoginAnswer
from .._service.response import RefreshResult
from .decision import KEEP_ALIVE, REFRESH, RETURN, Outcome, PasswordLogin, Step, TokenRequest, Warn, decide
from .judgement import judge
from .login import Login, mark_of

if t.TYPE_CHECKING:
    from .._service.client import ServiceClient
    from .._store.locked_session import LockedSession
    from .means import Means

_USE_IT = "pass this token as login_token, and its session_id if there is one."
_NEXT_STEPS = {
    "NewerRecord": "Discard the token that could not be saved.",
    "SessionForgotten": f"To start the session again, {_USE_IT}",
}
"""What to do with a token that could not be saved, by the reason. For other reasons, the store must be fixed first."""


def obtain(
    request: TokenRequest, stored: StoredState, locked: LockedSession, means: Means, now: float, warn: Warn
) -> Outcome:
    """Take steps until one of them returns a token, and save it. ``stored`` is the state of the locked session, as of ``now``.

    Raises :class:`WuyingError`, after a note of the failure was stored for the tasks that wait.
    """
    with hold_signals():
        return _Steps(request, stored, locked, means, warn).take_all(now)


def shares(note: Note, step: Step, request: TokenRequest, record: Record | None, means: Means) -> WuyingError | None:
    """Return the failure of another task's request in a note if this step would fail in the same way, else None."""
    if note.fingerprint != _noted(step, record):
        return None
    return note.error() if note.scope == _scope(request, means) else None


def _noted(step: Step, record: Record | None) -> str:
    """Return the fingerprint of the login token that a step may spend, in any case if it logs in."""
    token = step.token if step.kind == REFRESH else record and record.login_token
    return fingerprint(token) if token else ""


def _scope(request: TokenRequest, means: Means) -> str:
    """Return everything that decides how a request ends. Of a password, that is 16 bits of a hash."""
    return means.scope + mark_of(request, means.store)


class _Steps:
    """The steps for one session. Each failure changes the request or the stored state for the next decision."""

    def __init__(
        self, request: TokenRequest, stored: StoredState, locked: LockedSession, means: Means, warn: Warn
    ) -> None:
        self._request = request
        self._stored = stored
        self._before = stored.record
        self._locked = locked
        self._means = means
        self._warn = warn
        self._note: Note | None = None
        self._unknown = False
        self._failed: dict[str, WuyingError] = {}

    def take_all(self, now: float) -> Outcome:
        """Take steps until one of them returns a token or none is left."""
        while True:
            step = decide(self._request, self._stored, now, self._means.store.name, self._failed)
            if step.kind == RETURN:  # A passed token was rejected, but the stored one is current.
                record = t.cast(Record, self._stored.record)
                self._locked.save(record)
                return Outcome(False, self._before, record)
            try:
                service = self._means.connect() if step.kind == REFRESH else self._means.connect_unsigned()
            except WuyingError as error:
                if self._note is not None:  # The results of the steps before must be stored.
                    self._raise(error, None)
                raise
            self._write_note(step)
            try:
                answer = self._refresh(step, service) if step.kind == REFRESH else self._log_in(step, service)
            except WuyingError as error:
                self._fail(step, error, now)
            else:
                return self._save(step, answer)
            now = self._means.clock()

    def _write_note(self, step: Step) -> None:
        """Store a note before the first request, and before one that may spend another login token."""
        noted = _noted(step, self._stored.record)
        if self._note is None or (noted and noted != self._note.fingerprint):
            previous = self._stored.note if self._note is None else self._note
            self._unknown = previous is not None and (
                previous.possibly_spent is None or noted in previous.possibly_spent
            )
            note, first = new_note(previous, noted, self._means.scope), self._locked.noted
            self._note = first if first is not None and first._replace(id=note.id) == note else note
            self._locked.write_note(self._note, self._possible_growth(step))

    def _possible_growth(self, step: Step) -> int:
        """Return by how many bytes the record can grow in this step and those that may follow."""
        request, record = self._request, self._stored.record
        may_log_in = request.password_login is not None or (record is not None and record.keep_alive is not None)
        return possible_growth(record, request.session, request.uuid, step.token, may_log_in=may_log_in)

    def _refresh(self, step: Step, service: ServiceClient) -> RefreshResult:
        request, record = self._request, self._stored.record
        session_id = request.session_id if request.passes_new_token(record) else record and record.session_id
        return service.refresh(request.session, t.cast(str, step.token), self._means.deadline, session_id=session_id)

    def _log_in(self, step: Step, service: ServiceClient) -> LoginAnswer:
        means, request, limit = self._means, self._request, self._means.login_limit
        if limit is not None:
            limit.check()
        login = Login(request, self._stored.record, service, means.deadline, means.clock)
        try:
            if step.kind == KEEP_ALIVE:
                answer = login.with_keep_alive(t.cast(str, step.token))
            else:
                answer = login.with_password(t.cast(PasswordLogin, request.password_login), means.store, self._warn)
        except WuyingError as error:
            if limit is not None:
                limit.count(error)
            raise
        if limit is not None:
            limit.count(None)
        return answer

    def _fail(self, step: Step, error: WuyingError, now: float) -> None:
        """Prepare the next decision, or raise the failure if no step is left."""
        request, stored, record = self._request, self._stored, self._stored.record
        if isinstance(error, ServiceError) and error.outcome_unknown:
            self._unknown = True
        if step.kind == KEEP_ALIVE and isinstance(error, LoginRefused) and record is not None and record.keep_alive:
            record = record._replace(keep_alive=record.keep_alive.refused(now))
            stored = stored._replace(record=record)
        verdict = judge(error, step, request, stored, now, self._failed, unknown=self._unknown)
        if step.kind == REFRESH and request.passes_new_token(record):
            if not verdict.goes_on:
                self._raise(verdict.failure, None)
            self._request = request._replace(login_token=None, rejected=request.login_token)
            record = record and with_passed(record, t.cast(str, request.login_token))
        else:
            self._failed[step.kind] = verdict.failure
        self._stored = stored._replace(record=record)
        if not verdict.goes_on:
            self._raise(verdict.failure, verdict.ended)

    def _raise(self, failure: WuyingError, ended: str | None) -> t.NoReturn:
        """Store the failure and the results of the failed steps, then raise the failure."""
        record, note = self._stored.record, t.cast(Note, self._note)
        failure.token_rejected = isinstance(self._failed.get(REFRESH), LoginRequired)
        # If this cannot be written, the first note remains. The outcome is then unknown, which is safe.
        with contextlib.suppress(StoreError):
            # If the record already ended like this, only a note shows the tasks that wait that this is a new failure.
            if record is not None and ended is not None and record.ended != ended:
                self._locked.save(record.ended_with(ended))
            else:
                if record is not None and record != self._before:
                    self._locked.rewrite(record)
                note = note._replace(scope=_scope(self._request, self._means))
                self._locked.save_failure(note.failed(failure, unknown=self._unknown))
        raise failure from None

    def _save(self, step: Step, answer: RefreshResult | LoginAnswer) -> Outcome:
        request, previous = self._request, self._stored.record
        spent = step.token if step.kind == REFRESH else request.rejected
        token, request_id, sent_at = answer[:3]
        record = next_record(previous, request.session, spent, token, sent_at, request.validity, request_id)
        if isinstance(answer, LoginAnswer):
            accepted = step.kind == KEEP_ALIVE
            record = after_login(record, *self._storable(answer, accepted), accepted=accepted)
        elif request.passes_new_token(previous):
            record = record._replace(session_id=request.session_id)
        record = record._replace(uuid=request.uuid or record.uuid)
        logged_in = step.kind != REFRESH
        try:
            self._locked.save_and_release(record)
        except StoreError as error:
            message = f"The login token was {'issued' if logged_in else 'refreshed'} but could not be saved. This result contains the only copy. "
            next_step = _NEXT_STEPS.get(error.code, f"Fix the store, then {_USE_IT}")
            message += f"{error.message} {next_step}"
            return Outcome(True, self._before, record, StoreError(message, code="NotKept"), logged_in=logged_in)
        return Outcome(True, self._before, record, logged_in=logged_in)

    def _storable(self, answer: LoginAnswer, accepted: bool) -> tuple[str | None, str | None]:
        """Return the service's ID of a login and the keep-alive token, without those that are too long to be stored."""
        session_id, keep_alive_token = answer.session_id, answer.keep_alive_token
        too_long = "The service issued {} of more than {:,} bytes, which was not stored. {}"
        if session_id and stored_length(session_id) > LONGEST_SESSION_ID:
            self._warn(too_long.format("a SessionId", LONGEST_SESSION_ID, "Refreshes are sent without it."))
            session_id = None
        login = self._request.password_login
        if keep_alive_token and stored_length(keep_alive_token) > LONGEST_KEEP_ALIVE_TOKEN:
            self._warn(
                too_long.format("a keep-alive token", LONGEST_KEEP_ALIVE_TOKEN, "The session cannot repair itself.")
            )
            keep_alive_token = None
        elif login is not None and login.stay_logged_in and not keep_alive_token and not accepted:
            self._warn(
                "The service issued no keep-alive token, so the session cannot repair itself. Ask the administrator of the office network "
                "whether users may stay logged in."
            )
        return session_id, keep_alive_token
