# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One exchange under the lock: noted before it begins, kept before it is told, or its failure noted for who waits."""

from __future__ import annotations

import contextlib
import typing as t

from .._model.exceptions import LoginRequired, ServiceError, StoreError, TokenRejected, WuyingError
from .._model.note import Note, new_note
from .._model.record import StoredState, next_record
from .._runtime.signals import hold_signals
from .._service.client import ServiceClient
from .._service.response import RefreshResult
from .._store.base import LockedSession
from .decision import (
    ANSWER_LOST,
    LOG_IN,
    OUTCOME_UNKNOWN,
    Outcome,
    Plan,
    TokenRequest,
)


def refresh(
    request: TokenRequest,
    plan: Plan,
    stored: StoredState,
    locked: LockedSession,
    service: ServiceClient,
    *,
    scope: str,
    deadline: float,
) -> Outcome:
    """Exchange the token of ``plan`` and keep the answer in ``slot``, whose lock is held and which holds ``kept``.

    Raises :class:`WuyingError`, after it was noted.
    """
    token = t.cast(str, plan.token)
    note = new_note(stored.note, token, scope)
    with hold_signals():
        locked.write_note(note)
        try:
            answer = service.refresh(request.session, token, deadline)
        except ServiceError as error:
            failure = _note_failure(error, plan, stored, note, locked)
        else:
            return _keep(request, token, answer, stored, locked)
    raise failure


def _keep(
    request: TokenRequest,
    token: str,
    answer: RefreshResult,
    stored: StoredState,
    locked: LockedSession,
) -> Outcome:
    record = next_record(
        stored.record,
        request.session,
        token,
        answer.login_token,
        answer.sent_at,
        request.validity,
        answer.request_id,
    )
    try:
        locked.save(record)
    except StoreError as error:
        message = f"A new login token was exchanged but could not be kept: this is the only copy. {error.message}"
        return Outcome(True, stored.record, record, StoreError(message, code="NotKept"))
    return Outcome(True, stored.record, record)


def _note_failure(
    error: ServiceError, plan: Plan, stored: StoredState, note: Note, locked: LockedSession
) -> WuyingError:
    unknown = error.outcome_unknown or stored.may_be_spent(t.cast(str, plan.token))
    rejected = isinstance(error, TokenRejected)
    failure = _refused(error, unknown=unknown, login=plan.login) if rejected else error
    # The note of the beginning stays where this cannot be written: the outcome is then unknown, which is safe.
    with contextlib.suppress(StoreError):
        record = stored.record if rejected and not plan.login else None
        # A record that ended just so before would not show those who wait that it was tried again: the note does.
        if record is not None and record.ended != failure.code:
            locked.save(record.ended_with(failure.code))
        else:
            locked.save_failure(note.failed(failure, unknown=unknown and not rejected))
    return failure


def _refused(error: ServiceError, *, unknown: bool, login: bool) -> LoginRequired:
    what = "the login_token that was passed in" if login else "the session's login token"
    reason = ANSWER_LOST if unknown else f"the service refused {what} ({error.code})."
    check = (
        " It may have expired, or been exchanged already: check also that it is one of this very session, and that "
        "WUYING_LOGIN_TOKEN in the environment is not another's."
        if login
        else ""
    )
    return LoginRequired(
        f"{reason[0].upper()}{reason[1:]}{check} {LOG_IN}",
        code=OUTCOME_UNKNOWN if unknown else error.code,
        http_status=error.http_status,
        request_id=error.request_id,
    )
