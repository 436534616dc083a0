# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Interpret responses of the service and their error codes."""

from __future__ import annotations

import json
import re
import typing as t

from .._model.exceptions import ClockSkew, ServiceError, Throttled, TokenRejected
from .._model.session import is_token
from .retry import read_date, read_retry_after

if t.TYPE_CHECKING:
    from .transport import Response

_CODE = re.compile(r"[A-Z][A-Za-z]{1,63}(\.[A-Z][A-Za-z0-9]{0,31}){0,3}")
_REQUEST_ID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_PIECE = 8
_SEPARATORS = dict.fromkeys(map(ord, ".-"))

_ENDPOINT = ("InvalidAction.NotFound", "InvalidApi.NotFound", "InvalidProduct.NotFound")
_CREDENTIALS = ("InvalidAccessKeyId", "IncompleteSignature", "SignatureDoesNotMatch", "InvalidSecurityToken")
_PERMISSION = ("Forbidden.RAM", "NoPermission")
_UNAVAILABLE = ("ServiceUnavailable", "InternalError")
_NOT_ABOUT_TOKENS = (405, 406, 407, 408, 411, 413, 414, 415, 426, 429, 431)
"""Statuses that concern the form of a request or the load, never a login token."""


class RefreshResult(t.NamedTuple):
    """The next login token, and the time just before the request was sent, in seconds since 1970 (UTC)."""

    login_token: str
    request_id: str | None
    sent_at: float

    def __repr__(self) -> str:
        return "RefreshResult(...)"


def read_response(response: Response, endpoint: str, secrets: t.Sequence[str], sent_at: float) -> RefreshResult:
    """Return the result of a refresh. Raises :class:`ServiceError` if the response contains no login token.

    This follows the error table of the service's API reference. The code of a rejected login token is not published: a code that
    is not in the table, with a status from 400 to 499, counts as one. Of the body only ``Code`` and ``RequestId`` are shown, if they have the
    usual form and contain no part of ``secrets``: the token that was sent and the secrets of the credentials.
    """
    fields = _fields(response.body)
    token = fields.get("logintoken")
    hidden = [*secrets, token] if isinstance(token, str) else secrets
    request_id = _safe_value(fields.get("requestid"), _REQUEST_ID, hidden)
    if response.status == 200 and is_token(token):
        return RefreshResult(t.cast(str, token), request_id, sent_at)
    code = _safe_value(fields.get("code"), _CODE, hidden)
    error = _explain("" if code is None or 300 <= response.status < 400 else code, response, endpoint)
    error.http_status, error.request_id = response.status, request_id
    raise error


def _explain(code: str, response: Response, endpoint: str) -> ServiceError:
    """Return the error for a response without a login token. An empty code counts as none."""
    status = response.status
    kind: type[ServiceError] = ServiceError
    details: dict[str, t.Any] = {"retry_after": read_retry_after(response.headers)}
    if code.startswith("Throttling"):
        kind = Throttled
        message = f"The service is throttling requests ({code}). Try again later, or send fewer requests."
    elif code.startswith("SignatureNonceUsed"):
        details["retryable"] = True
        message = f"The service has already received a request with this nonce ({code}). Try again later."
    elif code.startswith(_UNAVAILABLE) or status >= 500:
        code = code or "ServiceUnavailable"
        details.update(retryable=True, outcome_unknown=True)
        message = f"The service is temporarily unavailable ({code}). Try again later."
    elif code.startswith("InvalidTimeStamp."):
        kind, details = ClockSkew, {"server_time": read_date(response.headers.get("date", ""))}
        message = f"The clocks of this host and of the service differ ({code}). Set this host's clock."
    elif code in _ENDPOINT:
        message = f"The endpoint {endpoint} does not offer this API ({code}). Check region_id and endpoint."
    elif code.startswith(_CREDENTIALS):
        message = f"The service rejected the credentials ({code}). "
        message += "Check the access key, security_token and auth_method."
    elif code.startswith(_PERMISSION):
        message = f"The service denied the credentials permission to refresh login tokens ({code}). "
        message += "Grant them the RAM action ecd:RefreshLoginToken."
    elif code.startswith("Missing") or (code.startswith("Invalid") and "LoginToken" not in code):
        message = f"The service rejected the request ({code}). Check the options that identify the session."
    elif "LoginToken" in code or (code and status >= 400 and status not in _NOT_ABOUT_TOKENS):
        kind, message = TokenRejected, f"The service rejected the login token ({code})."
    elif status in (408, 429):
        kind, code = Throttled, Throttled.code
        message = f"The endpoint {endpoint} is throttling requests (HTTP status {status}). Try again later."
    else:
        code = "InvalidResponse"
        if status < 300:  # without retry_after, which belongs to an error
            details = {"retryable": True, "outcome_unknown": True}
            message = f"The response from {endpoint} did not contain a valid login token. Try again."
        elif status < 400:
            message = f"The endpoint {endpoint} redirected the request. Redirects are not followed. "
            message += "Check region_id, endpoint and proxy."
        else:
            message = f"The endpoint {endpoint} responded with HTTP status {status} and no known error code. "
            message += "Check region_id, endpoint and proxy."
    return kind(message, code=code, **details)


def _fields(body: bytes) -> dict[str, t.Any]:
    """Return the fields of a JSON object, with names in lower case. Anything else has no fields."""
    try:
        value = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        value = None
    return {name.lower(): item for name, item in value.items()} if isinstance(value, dict) else {}


def _safe_value(value: t.Any, shape: re.Pattern[str], secrets: t.Iterable[str]) -> str | None:
    """Return a value if it may be shown: it has the right form and shares nothing with a secret. Else return None."""
    if not isinstance(value, str) or not shape.fullmatch(value):
        return None
    plain = _plain(value)
    # A common part of 2 * _PIECE - 1 or more characters contains at least one of these pieces.
    pieces = [plain[at : at + _PIECE] for at in range(0, max(1, len(plain) - _PIECE + 1), _PIECE)]
    for secret in filter(None, map(_plain, secrets)):
        if secret in plain or any(piece in secret for piece in pieces):
            return None
    return value


def _plain(text: str) -> str:
    """Return a text in lower case and without the separators that a code or request ID may contain."""
    return text.translate(_SEPARATORS).lower()
