# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Refresh a token: write a note, send the request, store the result."""

from __future__ import annotations

import contextlib

from .._model.exceptions import LoginRequired, ServiceError, StoreError, TokenRejected, WuyingError
from .._model.note import Note, new_note
from .._model.record import Record, StoredState, next_record
from .._runtime.signals import hold_signals
from .._service.client import ServiceClient
from .._store.base import LockedSession
from .decision import ANSWER_LOST, LOG_IN, OUTCOME_UNKNOWN, Outcome, TokenRequest


def refresh(
    request: TokenRequest,
    token: str,
    stored: StoredState,
    locked: LockedSession,
    service: ServiceClient,
    *,
    scope: str,
    deadline: float,
) -> Outcome:
    """Refresh a token and save the new one in the locked session. ``stored`` is its state.

    Raises :class:`WuyingError`, after a note of the failure was stored for the tasks that wait.
    """
    before, session = stored.record, request.session
    note = new_note(stored.note, token, scope)
    with hold_signals():
        locked.write_note(note)
        try:
            result = service.refresh(session, token, deadline)
        except ServiceError as error:
            unknown = error.outcome_unknown or stored.may_be_spent(token)
            raise _note_failure(error, unknown, request.is_login(before), before, note, locked) from None
        record = next_record(
            before, session, token, result.login_token, result.sent_at, request.validity, result.request_id
        )
        try:
            locked.save(record)
        except StoreError as error:
            message = "The login token was refreshed but could not be saved. This result contains the only copy. "
            message += f"Fix the store, then pass the token as login_token. {error.message}"
            return Outcome(True, before, record, StoreError(message, code="NotKept"))
    return Outcome(True, before, record)


def _note_failure(
    error: ServiceError, unknown: bool, login: bool, record: Record | None, note: Note, locked: LockedSession
) -> WuyingError:
    rejected = isinstance(error, TokenRejected)
    failure = _login_required(error, unknown=unknown, login=login) if rejected else error
    # If this cannot be written, the first note remains. The outcome is then unknown, which is safe.
    with contextlib.suppress(StoreError):
        # If the record already ended like this, only a note shows the tasks that wait that this is a new failure.
        if rejected and not login and record is not None and record.ended != failure.code:
            locked.save(record.ended_with(failure.code))
        else:
            locked.save_failure(note.failed(failure, unknown=unknown and not rejected))
    return failure


def _login_required(error: ServiceError, *, unknown: bool, login: bool) -> LoginRequired:
    reason = ANSWER_LOST
    if not unknown:
        which = "the login_token that was passed" if login else "the session's login token"
        reason = f"The service rejected {which} ({error.code})."
    if login:
        reason += (
            " The passed token may have expired or already been used. Check that it belongs to this session. "
            "If it comes from WUYING_LOGIN_TOKEN, check that the variable belongs to this session, too."
        )
    return LoginRequired(
        f"{reason} {LOG_IN}",
        code=OUTCOME_UNKNOWN if unknown else error.code,
        http_status=error.http_status,
        request_id=error.request_id,
    )
