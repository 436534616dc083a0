# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the service's answers mean."""

from __future__ import annotations

import email.utils
import json
import re
import typing as t

from .._model.exceptions import ServiceError
from .._model.session import is_token

if t.TYPE_CHECKING:
    from .transport import Response

_CODE = re.compile(r"[A-Z][A-Za-z]{1,63}(\.[A-Z][A-Za-z0-9]{0,31}){0,3}")
_REQUEST_ID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_LONGEST_WISH = 86400.0
_PIECE = 8
_BETWEEN = dict.fromkeys(map(ord, ".-"))

_CLOCK = "InvalidTimeStamp."
_ENDPOINT = ("InvalidAction.NotFound", "InvalidApi.NotFound", "InvalidProduct.NotFound")
_CREDENTIALS = (
    "InvalidAccessKeyId",
    "IncompleteSignature",
    "SignatureDoesNotMatch",
    "InvalidSecurityToken",
)
_PERMISSION = ("Forbidden.RAM", "NoPermission")
_THROTTLING = "Throttling"
_BUSY = (_THROTTLING, "SignatureNonceUsed")
_UNAVAILABLE = ("ServiceUnavailable", "InternalError")
_HTTP_ITSELF = (405, 406, 407, 408, 411, 413, 414, 415, 426, 429, 431)
"""Statuses that speak of the request's form or of load, and never of a login token."""


class RefreshResult(t.NamedTuple):
    """The next login token, and the instant just before it was asked for, in seconds since 1970 (UTC)."""

    login_token: str
    request_id: str | None
    sent_at: float

    def __repr__(self) -> str:
        return "Answer(...)"


def read_response(
    reply: Response, endpoint: str, secrets: t.Sequence[str], sent_at: float
) -> RefreshResult:
    """Return what an exchange brought. Raises :class:`ServiceError` for everything but a token.

    Follows the error table of the service's API reference, and takes a code that is not in it, with a status from 400 to 499,
    for a refusal of the login token: its code is published nowhere. Of the body nothing but ``Code`` and ``RequestId`` is shown, both
    only in the shape that such values have, and without a part of any of ``secrets``: the token that was exchanged, and those of the credentials.
    """
    fields = _fields(reply.body)
    token = fields.get("logintoken")
    hidden = [*secrets, token] if isinstance(token, str) else secrets
    request_id = _safe_value(fields.get("requestid"), _REQUEST_ID, hidden)
    if reply.status == 200 and is_token(token):
        return RefreshResult(t.cast(str, token), request_id, sent_at)
    shown = _safe_value(fields.get("code"), _CODE, hidden)
    if shown is None or 300 <= reply.status < 400:
        error = _unexpected(reply, endpoint)
    else:
        error = _error(reply, shown, endpoint)
    error.http_status, error.request_id = reply.status, request_id
    raise error


def _error(reply: Response, code: str, endpoint: str) -> ServiceError:
    if code.startswith(_BUSY):
        return ServiceError(
            f"The service takes no more requests for now ({code}): try again later, or ask less often.",
            code=code,
            retryable=True,
            busy=code.startswith(_THROTTLING),
            wait=_retry_after(reply.headers),
        )
    if code.startswith(_UNAVAILABLE) or reply.status >= 500:
        return _unavailable(reply, code)
    if code.startswith(_CLOCK):
        return ServiceError(
            f"The clocks of this host and of the service differ ({code}): set this host's clock.",
            code=code,
            server_time=_date(reply.headers.get("date", "")),
        )
    if code in _ENDPOINT:
        advice = f"The endpoint {endpoint} does not offer this service ({code}): check region_id and endpoint."
    elif code.startswith(_CREDENTIALS):
        advice = f"The service refused the credentials ({code}): check the access key and its security token."
    elif code.startswith(_PERMISSION):
        advice = f"The credentials may not exchange login tokens ({code}): grant them the RAM action ecd:RefreshLoginToken."
    elif code.startswith("Missing") or (code.startswith("Invalid") and "LoginToken" not in code):
        advice = (
            f"The service refused the request ({code}): check the options that name the session."
        )
    elif "LoginToken" not in code and (reply.status < 400 or reply.status in _HTTP_ITSELF):
        return _unexpected(reply, endpoint)
    else:
        return ServiceError(
            f"The service refused the login token ({code}).", code=code, refused=True
        )
    return ServiceError(advice, code=code)


def _unexpected(reply: Response, endpoint: str) -> ServiceError:
    """Return the error for an answer that has neither a token nor a code that says why."""
    status = reply.status
    if status >= 500:
        return _unavailable(reply, "ServiceUnavailable")
    if status in (408, 429):
        return ServiceError(
            f"The endpoint {endpoint} takes no more requests for now (HTTP status {status}): try again later.",
            code=_THROTTLING,
            retryable=True,
            busy=True,
            wait=_retry_after(reply.headers),
        )
    if status >= 400:
        what = f"answered with HTTP status {status} and no known error code"
    elif status >= 300:
        what = "redirects to another place, where no token is sent"
    else:
        return ServiceError(
            f"The endpoint {endpoint} gave an answer with no login token that can be read: try again, the old one may be spent.",
            code="InvalidResponse",
            retryable=True,
            sent=True,
        )
    return ServiceError(
        f"The endpoint {endpoint} {what}: check region_id, endpoint and proxy.",
        code="InvalidResponse",
    )


def _unavailable(reply: Response, code: str) -> ServiceError:
    return ServiceError(
        f"The service is not available for now ({code}): try again later.",
        code=code,
        retryable=True,
        sent=True,
        wait=_retry_after(reply.headers),
    )


def _fields(body: bytes) -> dict[str, t.Any]:
    try:
        value = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return (
        {str(name).lower(): item for name, item in value.items()} if isinstance(value, dict) else {}
    )


def _safe_value(value: t.Any, shape: re.Pattern[str], secrets: t.Iterable[str]) -> str | None:
    """Return a value that may be shown: one of the right shape that has nothing in common with secrets."""
    if not isinstance(value, str) or not shape.fullmatch(value):
        return None
    plain = _letters(value)
    # Of twice as many characters less one that a secret and the value have in common, one of these pieces is a part.
    pieces = [plain[at : at + _PIECE] for at in range(0, max(1, len(plain) - _PIECE + 1), _PIECE)]
    for secret in filter(None, map(_letters, secrets)):
        if secret in plain or any(piece in secret for piece in pieces):
            return None
    return value


def _letters(text: str) -> str:
    """Return a text without what may be put between its letters and digits."""
    return text.translate(_BETWEEN).lower()


def _retry_after(headers: t.Mapping[str, str]) -> float:
    """Return for how many seconds the service asks to be left alone: Alibaba Cloud's header first, then the standard's."""
    milliseconds, seconds = headers.get("x-acs-retry-after", ""), headers.get("retry-after", "")
    if _is_number(milliseconds):
        return min(int(milliseconds) / 1000, _LONGEST_WISH)
    if _is_number(seconds):
        return min(float(seconds), _LONGEST_WISH)
    until, now = _date(seconds), _date(headers.get("date", ""))
    return min(max(until - now, 0.0), _LONGEST_WISH) if until and now else 0.0


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,12}", text) is not None


def _date(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
