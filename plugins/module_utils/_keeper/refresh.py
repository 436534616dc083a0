# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One exchange under the lock: noted before it begins, kept before it is told, or its failure noted for who waits."""

from __future__ import annotations

import contextlib
import typing as t

from .._model.exceptions import LoginRequired, ServiceError, StoreError, WuyingError
from .._model.note import Attempt, begin
from .._model.record import succeed
from .._runtime.signals import signals_held
from .._service.client import Service
from .._service.response import Answer
from .._store.base import Kept, Slot
from .decision import ANSWER_LOST, LOG_IN, LOGIN_VARIABLE, OUTCOME_UNKNOWN, Ask, Outcome, Plan


def exchange(
    ask: Ask, plan: Plan, kept: Kept, slot: Slot, service: Service, *, way: str, deadline: float
) -> Outcome:
    """Exchange the token of ``plan`` and keep the answer in ``slot``, whose lock is held and which holds ``kept``.

    Raises :class:`WuyingError`, after it was noted.
    """
    token = t.cast(str, plan.token)
    attempt = begin(kept.attempt, token, way)
    with signals_held():
        slot.begin(attempt)
        try:
            answer = service.exchange(ask.session, token, deadline)
        except ServiceError as error:
            failure = _note_failure(error, plan, kept, attempt, slot)
        else:
            return _keep(ask, token, answer, kept, slot)
    raise failure


def _keep(ask: Ask, token: str, answer: Answer, kept: Kept, slot: Slot) -> Outcome:
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
        message = f"A new login token was exchanged but could not be kept: this is the only copy. {error.message}"
        return Outcome(True, kept.record, record, StoreError(message, code="NotKept"))
    return Outcome(True, kept.record, record)


def _note_failure(
    error: ServiceError, plan: Plan, kept: Kept, attempt: Attempt, slot: Slot
) -> WuyingError:
    unknown = error.sent or kept.doubts(t.cast(str, plan.token))
    failure = _refused(error, unknown=unknown, login=plan.login) if error.refused else error
    # The note of the beginning stays where this cannot be written: the outcome is then unknown, which is safe.
    with contextlib.suppress(StoreError):
        record = kept.record if error.refused and not plan.login else None
        # A record that ended just so before would not show those who wait that it was tried again: the note does.
        if record is not None and record.ended != failure.code:
            slot.keep(record.as_ended(failure.code))
        else:
            slot.fail(attempt.failed(failure, unknown=unknown and not error.refused))
    return failure


def _refused(error: ServiceError, *, unknown: bool, login: bool) -> LoginRequired:
    what = "the login_token that was passed in" if login else "the session's login token"
    reason = ANSWER_LOST if unknown else f"the service refused {what} ({error.code})."
    check = (
        f" It may have expired, or been exchanged already: check also that it is one of this very session, and that "
        f"{LOGIN_VARIABLE} in the environment is not another's."
        if login
        else ""
    )
    return LoginRequired(
        f"{reason[0].upper()}{reason[1:]}{check} {LOG_IN}",
        code=OUTCOME_UNKNOWN if unknown else error.code,
        http_status=error.http_status,
        request_id=error.request_id,
    )
