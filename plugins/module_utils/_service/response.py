# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Interpret responses to a refresh, and error codes."""

from __future__ import annotations

import base64
import json
import re
import typing as t

from .._model.exceptions import ClockSkew, Refused, ServiceError, Throttled, TokenRejected
from .._model.session import is_token
from .retry import read_date, read_retry_after

if t.TYPE_CHECKING:
    from .transport import Response

CODE = re.compile(r"[A-Z][A-Za-z0-9_]{1,63}(\.[A-Za-z][A-Za-z0-9_]{0,31}){0,3}")
REQUEST_ID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_PIECE = 8
_SEPARATORS = dict.fromkeys(map(ord, "._-"))
_SHORTEST_FORM = 6
"""An encoded secret that is shorter occurs in other texts by chance."""
_is_hex = re.compile(r"[0-9a-f]*").fullmatch


class _Meaning(t.NamedTuple):
    """The meaning of a response without a login token. ``code`` is shown if the response has no code that may be shown."""

    message: str
    kind: type[ServiceError] = ServiceError
    code: str = "InvalidResponse"
    retryable: bool | None = None
    outcome_unknown: bool = False


_OWNER = "the administrator of the Alibaba Cloud account"
_LIMITED = _Meaning(
    f"The endpoint {{endpoint}} is limiting requests ({{code}}). Try again later, send fewer requests, or ask {_OWNER} to raise the limit.",
    Throttled,
    Throttled.code,
)
_NONCE = _Meaning(
    "The service has already received a request with this nonce ({code}). Try again later.", retryable=True
)
_UNAVAILABLE = _Meaning(
    "The service is temporarily unavailable ({code}). Try again later.",
    code="ServiceUnavailable",
    retryable=True,
    outcome_unknown=True,
)
_FAILED = _Meaning(
    "The service failed to process the request ({code}). Try again later.",
    code="ServiceUnavailable",
    retryable=True,
    outcome_unknown=True,
)
_CLOCK = _Meaning("The clocks of this host and of the service differ ({code}). Set this host's clock.", ClockSkew)
_ENDPOINT = _Meaning("The endpoint {endpoint} does not offer this API ({code}). Check region_id and endpoint.")
_SECURITY_TOKEN = _Meaning("The service rejected the security token of the access key ({code}). {advice}")
_ACCESS_KEY = _Meaning("The service does not know the access key, or it is disabled ({code}). {advice}")
_CREDENTIALS = _Meaning("The service did not accept the credentials of the request ({code}). {advice}")
_SIGNATURE = _Meaning("The service rejected the signature that the access key created ({code}). {advice}")
_CONFLICT = _Meaning(
    "Another operation on the session or its user is in progress ({code}). Try again later.", retryable=True
)
_LOCKED = _Meaning(f"The account, the user or the office network is locked ({{code}}). Ask {_OWNER} to unlock it.")
_UNPAID = _Meaning(
    f"The Alibaba Cloud account cannot use the service ({{code}}). Ask {_OWNER} to activate the service, to verify the account, and to pay overdue bills."
)
_DENIED = _Meaning(
    f"The service denied permission to refresh login tokens ({{code}}). Ask {_OWNER} to grant the RAM action ecd:RefreshLoginToken."
)
_REJECTED = _Meaning("The service rejected the login token ({code}).", TokenRejected)
_REFUSED = _Meaning("The service rejected the request ({code}). Check the options that identify the session.", Refused)
_NO_TOKEN = _Meaning(
    "The response from {endpoint} did not contain a valid login token. Try again.",
    retryable=True,
    outcome_unknown=True,
)
_REDIRECT = _Meaning(
    "The endpoint {endpoint} redirected the request. Redirects are not followed. Check region_id, endpoint and proxy."
)
_GATEWAY = _Meaning(
    "The endpoint {endpoint} responded with HTTP status {status} and no known error code. Check region_id, endpoint and proxy."
)
_TABLE = (
    (r" Throttling", _LIMITED),
    (r" SignatureNonceUsed", _NONCE),
    (r"^5| Internal| SystemError|Unavailable", _UNAVAILABLE),
    (r" (Invalid|Illegal)TimeStamp", _CLOCK),
    (r" Invalid(Action|Api|Product|Version)\b", _ENDPOINT),
    (r"SecurityToken|StsToken", _SECURITY_TOKEN),
    (r"AccessKey", _ACCESS_KEY),
    (r"Signature", _SIGNATURE),
    (r"Throttl|TooMany|Frequen|FlowControl|Limit|Quota|Exceed|Busy", _LIMITED),
    (r"Conflict|Concurren|InProgress|InProcess|Processing", _CONFLICT),
    (r"(?<!C)Lock|Frozen|Freeze|Suspend|Disabled", _LOCKED),
    (r"Overdue|Arrear|Debt|Payment|Unpaid|Balance(?!r)|RealName|Not_?(Open|Enable|Activ|Purchase|Subscri)", _UNPAID),
    # The name of the token, but not as a part of the operation's name.
    (r" (?!Missing).*(?<!Refresh)(?<!\bGet)Login_?Token", _REJECTED),
    # From here on, codes that name the token reject it.
    (r"Credential|Auth_?Fail|Authenticat", _CREDENTIALS),
    (r"Forbid|Permission|Authoriz|Authoris|Denied|Deny|NotAllow|Polic|WhiteList", _DENIED),
    (r"Privilege|Restrict|Risk|SecurityControl|(Access|Operation|Ip)_?(Refus|Reject)", _DENIED),
    (r"Black_?List|Banned", _LOCKED),
    (r"Not_?Paid|Fund|Credit|(Package|Service|Instance|Subscription|Resource|Order|License)_?Expire", _UNPAID),
    (r"In_?Use(?!r)|(Duplicat|Repeat)(?!\w*Login)|Incorrect\w*Stat(e|us)|Invalid_?Stat(e|us)", _CONFLICT),
    (r"Updating|Pending|Initializing|Upgrading", _CONFLICT),
    (r"SlowDown|TooFast|QPS|Freq|Over_?(Load|Request|Flow)|Try_?Again|Retry", _LIMITED),
    # A timeout of the session or the login may concern the token.
    (r"(?<!Session)(?<!Login)(?<!Token)Time_?d?_?out|Maint(enance|ain)|OutOfService|NullPointer", _FAILED),
    (r"(System|Server|Service|Backend|Upstream|Dependency|Network)_?(Error|Exception|Fail|Fault|Stop|Down)", _FAILED),
    (r"(Database|\bDb|Connection|Rpc|Unknown|Operation|Call|Invoke|Dispatch)_?(Error|Exception|Fail|Fault)", _FAILED),
    (r" (Error|Exception|Fail|Failed|Failure)$", _FAILED),
    (r"Unsupported|Not_?Support", _ENDPOINT),
    (r"^402 .", _UNPAID),
    (r"^403 .", _DENIED),
    (r"^409 .", _CONFLICT),
    (r"^423 .", _LOCKED),
    (r"^(408|429) ", _LIMITED),
    (r"^2.. ((OK|Success)$|$)", _NO_TOKEN),
    (r"^(405|406|407|411|413|414|415|426|431) ", _GATEWAY),  # about the form of the request
    (r"^(2|4).. .", _REFUSED),
    (r"^3", _REDIRECT),
    (r"", _GATEWAY),
)
"""The meaning of ``STATUS CODE``: that of the first pattern that it contains. Most tasks need and compile none of them.

These are the codes that the service documents, and families of codes that Alibaba Cloud's services have in common. The code of a
rejected login token is not documented.
"""


class RefreshResult(t.NamedTuple):
    """The next login token, and the time just before the request was sent, in seconds since 1970 (UTC)."""

    login_token: str
    request_id: str | None
    sent_at: float

    def __repr__(self) -> str:
        return "RefreshResult(...)"


def read_response(
    response: Response, endpoint: str, secrets: t.Sequence[str], sent_at: float, credentials_advice: str = ""
) -> RefreshResult:
    """Return the result of a refresh. Raises :class:`ServiceError` if the response contains no login token.

    Of the body only ``Code`` and ``RequestId`` are shown, if they have the usual form and contain no part of ``secrets``: the token that
    was sent and the secrets of the credentials. ``credentials_advice`` says what to check if the service rejects these.
    """
    status, fields = response.status, read_fields(response.body)
    token, code = fields.get("logintoken"), fields.get("code")
    hidden = [*secrets, token] if isinstance(token, str) else secrets
    request_id = safe_value(fields.get("requestid"), REQUEST_ID, hidden)
    if 200 <= status < 300 and is_token(token):
        return RefreshResult(t.cast(str, token), request_id, sent_at)
    if not isinstance(code, str) or not CODE.fullmatch(code) or 300 <= status < 400:
        code = ""
    meaning = next(meaning for pattern, meaning in _TABLE if re.search(pattern, f"{status} {code}", re.IGNORECASE))
    shown = safe_value(code, CODE, hidden) or meaning.code
    error = meaning.kind(
        meaning.message.format(code=shown, endpoint=endpoint, status=status, advice=credentials_advice),
        code=shown,
        retryable=meaning.retryable,
        outcome_unknown=meaning.outcome_unknown,
        http_status=status,
        request_id=request_id,
    )
    if status >= 300 or code:  # Without an error, the header says nothing about another attempt.
        error.retry_after = read_retry_after(response.headers)
    if isinstance(error, ClockSkew):
        error.server_time = read_date(response.headers.get("date", ""))
    raise error


def read_fields(body: bytes) -> dict[str, t.Any]:
    """Return the fields of a JSON object, with names in lower case. Anything else has no fields."""
    try:
        # Only the token matters, so other fields may have characters of any encoding.
        value = json.loads(body.decode(json.detect_encoding(body), "replace"), strict=False)
    except (ValueError, RecursionError):
        value = None
    return {name.lower(): item for name, item in value.items()} if isinstance(value, dict) else {}


def safe_value(value: t.Any, shape: re.Pattern[str], secrets: t.Iterable[str]) -> str | None:
    """Return a value if it may be shown: it has the right form and shares nothing with a secret in any encoding. Else return None."""
    if not isinstance(value, str) or not shape.fullmatch(value):
        return None
    plain = _plain(value)
    # A common part of 2 * _PIECE - 1 or more characters contains at least one of these pieces.
    pieces = [plain[at : at + _PIECE] for at in range(0, max(1, len(plain) - _PIECE + 1), _PIECE)]
    for secret in secrets:
        bare = _plain(secret)
        if bare and (bare in plain or any(piece in bare for piece in pieces)):
            return None
        for form in _encodings(secret, plain):
            if form in plain or (len(plain) >= _PIECE and any(piece in form for piece in pieces)):
                return None
    return value


def _encodings(secret: str, plain: str) -> t.Iterator[str]:
    """Yield a secret in the encodings that ``plain`` may contain: in hex, and in base64 wherever it begins in a longer text."""
    data = secret.encode("utf-8", "surrogatepass")
    forms = [data.hex()]
    if not _is_hex(plain):  # base64 takes time, and every request ID is hex
        for skipped in range(3):
            text = base64.urlsafe_b64encode(bytes(skipped) + data).decode("ascii")
            # Only characters that depend on nothing but the secret.
            forms.append(_plain(text[(skipped * 8 + 5) // 6 : (skipped + len(data)) * 8 // 6]))
    yield from (form for form in forms if len(form) >= _SHORTEST_FORM)


def _plain(text: str) -> str:
    """Return a text in lower case and without the separators that a code or request ID may contain."""
    return text.translate(_SEPARATORS).lower()
