# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Interpret responses to a stage of a login.

The service publishes no codes of refused logins. So every answer is a refusal unless it certainly is something else.
"""

from __future__ import annotations

import re
import typing as t

from .._model.exceptions import ClockSkew, LoginRefused, ServiceError, Throttled
from .._model.session import is_token
from .response import CODE, REQUEST_ID, read_fields, safe_value
from .retry import read_date, read_retry_after

if t.TYPE_CHECKING:
    from .transport import Response

PASSWORD, MFA, KEEP_ALIVE = "ADPassword", "MFAVerify", "KeepAliveVerify"
"""The stages of a login that need no person."""
KNOWN_STAGES = (PASSWORD, MFA, KEEP_ALIVE, "MFABind", "TokenVerify", "ChangePassword")
"""The stages that WUYING documents. Their names are shown even if they are part of a secret."""
_STAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_SHORTEST_HIDDEN = 6
"""A shorter password occurs in request IDs by chance."""
_REFUSED = {
    PASSWORD: "The service refused the user name or the password ({code}). Check password, end_user_id and office_site_id.",
    MFA: "The service refused the one-time code ({code}). Check authentication_code or totp_secret.",
    KEEP_ALIVE: "The service refused the stored keep-alive token ({code}).",
}
_LOCKED = "The service reports that the account is locked ({code}). Ask the administrator of the Alibaba Cloud account to unlock it."


class LoginAnswer(t.NamedTuple):
    """The answer to a stage of a login. The login is complete if ``next_stage`` is None.

    ``sent_at`` is in seconds since 1970 (UTC), and ``clock_offset`` is how many seconds the service's clock is ahead of this host's.
    """

    login_token: str
    request_id: str | None
    sent_at: float
    next_stage: str | None = None
    session_id: str | None = None
    keep_alive_token: str | None = None
    clock_offset: float = 0.0

    def __repr__(self) -> str:
        return "LoginAnswer(...)"


def read_login(
    response: Response, endpoint: str, stage: str, secrets: t.Sequence[str], sent_at: float, now: float
) -> LoginAnswer:
    """Return the answer to a stage that was sent at ``sent_at`` with these secrets. Raises :class:`ServiceError`.

    Only a failure with ``outcome_unknown`` may have been counted as an attempt to log in, and :class:`LoginRefused` certainly was.
    """
    status, fields = response.status, read_fields(response.body)
    token, next_stage, code = fields.get("logintoken"), fields.get("nextstage"), fields.get("code")
    hidden = [*secrets, *(each for each in (token, fields.get("keepalivetoken")) if isinstance(each, str))]
    request_id = safe_value(
        fields.get("requestid"), REQUEST_ID, [each for each in hidden if len(each) >= _SHORTEST_HIDDEN]
    )
    details: dict[str, t.Any] = {"http_status": status, "request_id": request_id, "stage": stage}
    if not 200 <= status < 300 or not (token or (next_stage and not code)):
        raise _explain(response, fields, endpoint, hidden, details)
    if next_stage:
        if next_stage not in KNOWN_STAGES:
            next_stage = safe_value(next_stage, _STAGE, hidden) or "unknown"
    elif not is_token(token):
        raise ServiceError(
            f"The response from {endpoint} contained a malformed login token. Try again.",
            code="InvalidResponse",
            retryable=True,
            outcome_unknown=True,
            **details,
        )
    date = read_date(response.headers.get("date", ""))
    return LoginAnswer(
        login_token=_text(token) or "",
        request_id=request_id,
        sent_at=sent_at,
        next_stage=next_stage or None,
        session_id=_text(fields.get("sessionid")),
        keep_alive_token=_text(fields.get("keepalivetoken")),
        clock_offset=0.0 if date is None else date - now,
    )


def _explain(
    response: Response, fields: dict[str, t.Any], endpoint: str, secrets: t.Sequence[str], details: dict[str, t.Any]
) -> ServiceError:
    """Return the error for an answer that is not a token and not a stage."""
    status, code = response.status, fields.get("code")
    code = code if isinstance(code, str) else ""
    shown = safe_value(code, CODE, secrets)
    details["code"] = shown
    if code.startswith("Throttling"):
        error: ServiceError = Throttled(
            f"The endpoint {endpoint} is limiting requests ({shown}). Try again later, or send fewer requests.",
            **details,
        )
        error.retry_after = read_retry_after(response.headers)
    elif re.match("(Invalid|Illegal)TimeStamp", code, re.IGNORECASE):
        error = ClockSkew(
            f"The clocks of this host and of the service differ ({shown}). Set this host's clock.",
            server_time=read_date(response.headers.get("date", "")),
            **details,
        )
    elif status >= 500 or not (code or "requestid" in fields):
        details["code"] = shown or ("ServiceUnavailable" if status >= 500 else "InvalidResponse")
        error = ServiceError(
            f"The login failed, because {endpoint} responded with HTTP status {status} ({details['code']}). "
            "Check region_id, endpoint and proxy if this persists.",
            retryable=True,
            outcome_unknown=code != "ServiceUnavailable",
            **details,
        )
        error.retry_after = read_retry_after(response.headers)
    else:
        risk = fields.get("riskverifyinfo")
        locked = isinstance(risk, dict) and "true" in [
            str(value).lower() for name, value in risk.items() if name.lower() == "locked"
        ]
        details["code"] = shown or ("AccountLocked" if locked else LoginRefused.code)
        message = _LOCKED if locked else _REFUSED[details["stage"]]
        error = LoginRefused(message.format(code=details["code"]), **details)
    return error


def _text(value: t.Any) -> str | None:
    """Return a value that the service issued, None if it is absent, empty or not a printable text."""
    return value if isinstance(value, str) and value and value.isprintable() else None
