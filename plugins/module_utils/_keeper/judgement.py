# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judge the failure of a step: whether another step follows or an error, and whether the session has ended.

Only a task that sends a request imports this file.
"""

from __future__ import annotations

import typing as t

from .._model.exceptions import (
    OUTCOME_UNKNOWN,
    ClockSkew,
    LockTimeout,
    LoginRefused,
    LoginRequired,
    LoginsStopped,
    OptionError,
    Refused,
    ServiceError,
    Throttled,
    TokenRejected,
    WuyingError,
)
from .._model.record import Record, StoredState
from .advice import ANSWER_LOST, LOG_IN, wait_of_keep_alive
from .decision import PASSWORD, REFRESH, Failed, Step, TokenRequest, possible_login


class Verdict(t.NamedTuple):
    """The consequence of a failure. It is reported, unless the task ``goes_on`` with another step.

    ``ended`` is the code with which the service rejected the stored token if the session has ended with that.
    """

    failure: WuyingError
    goes_on: bool = False
    ended: str | None = None


def judge(
    error: WuyingError,
    step: Step,
    request: TokenRequest,
    stored: StoredState,
    now: float,
    failed: Failed,
    *,
    unknown: bool,
) -> Verdict:
    """Return the consequence of the failure of a step. ``stored``, ``now`` and ``failed`` are those of the decision.

    With ``unknown``, the service may have used up the login token before. A login token is rejected if the code names it. An
    expired or passed token is also rejected by a refusal that may concern it. If a login is possible, it also follows any other
    refusal of an expired token. Only a rejected token that is stored and has expired ends its session.
    """
    record = stored.record
    if step.kind != REFRESH:
        return _judge_login(error, step, request, record, now, failed)
    passed = request.passes_new_token(record)
    expired = not passed and record is not None and now >= record.expires_at
    can_log_in = possible_login(request, record, now, failed) is not None
    named = isinstance(error, TokenRejected)
    if not named and not (isinstance(error, Refused) and (passed or expired)):
        return Verdict(error, goes_on=expired and can_log_in and _is_refusal(error))
    which = "the login_token that was passed" if passed else "the session's login token"
    reason, code = f"The service {'rejected' if named else 'refused to refresh'} {which} ({error.code}).", error.code
    if unknown:
        reason, code = ANSWER_LOST, OUTCOME_UNKNOWN
    if passed:
        reason += " Check that it belongs to this session. If it does, it may have expired or been used before."
    details: dict[str, t.Any] = {"http_status": error.http_status, "request_id": error.request_id}
    failure = LoginRequired(f"{reason} {LOG_IN}", code=code, **details, **wait_of_keep_alive(record, now))
    return Verdict(failure, can_log_in, code if expired else None)


def _judge_login(
    error: WuyingError, step: Step, request: TokenRequest, record: Record | None, now: float, failed: Failed
) -> Verdict:
    refresh_failed = failed.get(REFRESH)
    has_ended = record is not None and now >= record.expires_at and isinstance(refresh_failed, LoginRequired)
    ended = refresh_failed.code if has_ended and refresh_failed is not None else None
    if step.kind == PASSWORD or record is None:
        return Verdict(error, ended=ended)
    refused = isinstance(error, LoginRefused)
    if refresh_failed is None and (record.ended is None or request.force):  # This was a renewal.
        not_sent = isinstance(error, (LoginsStopped, LockTimeout, OptionError))
        return Verdict(error, goes_on=refused or not_sent or _is_unknown(error))
    if not refused:
        return Verdict(error, ended=ended)
    message = f"The session has ended. {error.message} {LOG_IN}"
    details: dict[str, t.Any] = {
        "http_status": error.http_status,
        "request_id": error.request_id,
        "stage": error.stage,
    }
    failure = LoginRequired(message, code=error.code, **details, **wait_of_keep_alive(record, now))
    return Verdict(failure, request.password_login is not None, ended)


def _is_refusal(error: WuyingError) -> bool:
    """Return True if the service refused a refresh for another reason than its clock or limits."""
    status = error.http_status or 0
    unclear = isinstance(error, (ClockSkew, Throttled)) or _is_unknown(error)
    return status // 100 in (2, 4) and not unclear


def _is_unknown(error: WuyingError) -> bool:
    return isinstance(error, ServiceError) and error.outcome_unknown
