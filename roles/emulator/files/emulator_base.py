# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shared parts of the emulator: errors of the service, checks of fields, and bounded memory."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any, Callable

OPERATIONS = ("RefreshLoginToken", "GetLoginToken")
PROFILES = ("captured", "strict", "lenient")
LOCKED_ANSWERS = ("risk_verify_info", "error", "code")
THROTTLED = "Throttling.User"
ERRORS = {  # error code: (HTTP status, message); the status of other codes is 400
    "IncompleteSignature": (400, "The request signature does not conform to the standard."),
    "InvalidAccessKeyId.NotFound": (404, "Specified access key is not found."),
    "InvalidAction.NotFound": (404, "Specified api is not found."),
    "InvalidSecurityToken.Malformed": (400, "Specified SecurityToken is malformed."),
    "InvalidSecurityToken.MismatchWithAccessKey": (400, "SecurityToken and AccessKeyId differ."),
    "InvalidTimeStamp.Expired": (400, "Specified time stamp or date value is expired."),
    "InvalidTimeStamp.Format": (400, "Specified time stamp or date value is malformed."),
    "InvalidVersion": (400, "Specified parameter Version is not valid."),
    "SignatureNonceUsed": (400, "Specified signature nonce was used already."),
    THROTTLED: (429, "Request was denied due to user flow control."),
    # Invented, because the service documents no code for a rejected token or a refused login.
    "EndUserNotFound": (400, "Specified EndUserId is not found."),
    "InvalidAuthenticationCode": (400, "Specified AuthenticationCode is wrong or was used already."),
    "InvalidCurrentStage": (400, "Specified CurrentStage is unknown, or is not the next stage of the login."),
    "InvalidKeepAliveToken": (400, "Specified KeepAliveToken is invalid or has expired."),
    "InvalidLoginToken": (400, "Specified LoginToken is invalid or has expired."),
    "InvalidPassword": (400, "Specified Password is wrong."),
    "InvalidSessionId": (400, "Specified SessionId is unknown, has expired, or belongs to another login."),
    "UserLocked": (400, "The user is locked."),
}
TYPES: dict[str, set[type]] = {
    "boolean": {bool},
    "integer": {int},
    "number": {int, float},
    "text with a length": {str},
    "printable ASCII text with a length": {str},
}
LIMITS: dict[str, tuple[str, float, float]] = {  # field of a control request: its type and range
    "region_id": ("text with a length", 0, 256),
    "client_id": ("text with a length", 0, 256),
    "office_site_id": ("text with a length", 0, 256),
    "end_user_id": ("text with a length", 0, 256),
    "directory_id": ("text with a length", 0, 256),
    "session_id": ("text with a length", 0, 256),
    "fault": ("text with a length", 1, 16),
    "operation": ("text with a length", 1, 64),
    "stage": ("text with a length", 1, 64),
    "count": ("integer", 1, 1_000_000),
    "carried_out": ("boolean", False, True),
    "seconds": ("number", 0, 3600),
    "seconds of skew": ("number", -315_360_000, 315_360_000),
    "interval": ("number", 0, 60),
    "status": ("integer", 200, 599),
    "code": ("printable ASCII text with a length", 1, 8192),
    "message": ("text with a length", 0, 65_536),
    "location": ("printable ASCII text with a length", 1, 8192),
    "retry_after": ("integer", 0, 86_400_000),
    "bytes": ("integer", 0, 1 << 24),
    "last_lock_duration": ("integer", 0, 1_000_000_000),
    "password": ("text with a length", 1, 256),
    "totp_secret": ("text with a length", 1, 256),
    "mfa_bind": ("boolean", False, True),
    "risk": ("boolean", False, True),
    "change_password": ("boolean", False, True),
    "keep_alive": ("boolean", False, True),
    "profile": ("text with a length", 1, 16),
    "keep_alive_lifetime": ("number", 0.1, 1_000_000_000),
    "lock_after": ("integer", 0, 1_000_000),
    "lock_duration": ("number", 0, 1_000_000_000),
    "locked_answer": ("text with a length", 1, 16),
    "advance": ("number", 0, 315_360_000),
}
CHOICES = {"operation": OPERATIONS, "profile": PROFILES, "locked_answer": LOCKED_ANSWERS}
NULLABLE = {"count", "code", "retry_after", "operation", "stage", "end_user_id", "totp_secret"}


class Refused(Exception):
    """The service rejects a request with an error code."""

    def __init__(self, code: str, message: str = "", retry_after: int | None = None) -> None:
        self.code, self.retry_after = code, retry_after
        self.status, known_message = ERRORS.get(code, (400, ""))
        super().__init__(message or known_message)


def fingerprint(text: str) -> str:
    """Return the SHA-256 of a text in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def make_room(remembered: OrderedDict[str, Any], limit: int, is_old: Callable[[Any], bool]) -> None:
    """Forget old entries, and if there are too many, the oldest."""
    while remembered and (len(remembered) >= limit or is_old(next(iter(remembered.values())))):
        remembered.popitem(last=False)


def as_list(payload: Any) -> list[Any]:
    """Return a list as it is, and anything else as a list of one item."""
    return payload if isinstance(payload, list) else [payload]


def check_field(name: str, value: Any, limits: tuple[str, float, float]) -> None:
    """Raise a ValueError unless the value of a field has the right type and is in range."""
    kind, low, high = limits
    is_valid = value is None and name in NULLABLE
    if type(value) in TYPES[kind]:
        is_valid = low <= (len(value) if isinstance(value, str) else value) <= high
        is_valid = is_valid and ("ASCII" not in kind or (value.isascii() and value.isprintable()))
    if not is_valid:
        raise ValueError(f"The field {name} must be of type {kind} from {low} to {high}.")
    if value is not None and value not in CHOICES.get(name, (value,)):
        raise ValueError(f"The field {name} must be one of {', '.join(CHOICES[name])}.")


def check_fields(item: Any, what: str, known: Any) -> None:
    """Raise a ValueError unless an item is an object whose fields are known and valid."""
    if not isinstance(item, dict):
        raise ValueError(f"{what} must be an object.")
    if unknown := sorted(set(item) - set(known)):
        raise ValueError(f"{what} has no field {unknown[0]}.")
    for name, value in item.items():
        check_field(name, value, LIMITS[name])
