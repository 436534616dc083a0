# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Define one exception for each kind of failure that callers treat differently.

A message says in our own words what happened and what to do next. It never contains a token, a secret, a signed URL
or text from the service: of a response it shows only ``Code`` and ``RequestId``.
"""

from __future__ import annotations

import re
import typing as t

RAISE_FILE_LIMIT = (
    "Raise the limit of open files (ulimit -n). In wuying_login_tokens, you can lower max_parallel instead."
)
"""What to do if too many files are open."""
RAISE_THREAD_LIMIT = (
    "Raise the limit of processes and threads (ulimit -u, and pids of a container), or stop some of them."
)
"""What to do if no thread can be started."""

OUTCOME_UNKNOWN = "OutcomeUnknown"
"""The code of a session that has ended because a response was lost."""
NO_RECORD = "NoLoginToken"
"""The code of a session without a record."""

_CODE = r"[A-Z][A-Za-z0-9_.]{0,199}"


def is_code(value: object) -> bool:
    """Return True if a stored value can be the code of an error, of the service or of this collection."""
    return isinstance(value, str) and re.fullmatch(_CODE, value) is not None


class WuyingError(Exception):
    """An error that is reported to the user.

    ``code`` is the service's ``Code`` if it returned one, otherwise a code of this collection. ``retryable`` is True if
    the same task may succeed later without any change. ``login_needed`` is True if only a person can continue the session:
    the user must log in again, or a new token must be passed. ``stage`` is the stage of a login that failed, and ``blocked_until`` is
    when the next login may be sent (ISO 8601, UTC). ``token_rejected`` is True if the service no longer accepts the stored token.
    """

    code = "Unforeseen"
    retryable = False
    login_needed = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        login_needed: bool | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        stage: str | None = None,
        blocked_until: str | None = None,
        token_rejected: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.code if code is None else code
        self.retryable = self.retryable if retryable is None else retryable
        self.login_needed = self.login_needed if login_needed is None else login_needed
        self.http_status = http_status
        self.request_id = request_id
        self.stage = stage
        self.blocked_until = blocked_until
        self.token_rejected = token_rejected

    def as_result(self) -> dict[str, t.Any]:
        """Return the values that a failing task returns in addition to its message."""
        about_login = {"stage": self.stage, "blocked_until": self.blocked_until}
        return {
            "error_code": self.code,
            "http_status": self.http_status,
            "request_id": self.request_id,
            "retryable": self.retryable,
            "login_needed": self.login_needed,
            **{name: value for name, value in about_login.items() if value is not None},
        }


class OptionError(WuyingError):
    """An option is missing, malformed, or conflicts with another. Nothing was sent or written."""

    code = "InvalidOption"


class StoreError(WuyingError):
    """The store cannot be used or is not safe to use. No token was spent."""

    code = "StoreUnavailable"


class NotEncrypted(StoreError):
    """A stored record is not encrypted although the store has keys, so anyone who can write to the store may have created it."""

    code = "NotEncrypted"


class DamagedRecord(Exception):
    """The stored data are not a record of this session. The message gives the reason and quotes none of the data."""


class LockTimeout(StoreError):
    """The session's lock was not free before the deadline. Nothing was sent."""

    code = "DeadlineExceeded"
    retryable = True


class ServiceError(WuyingError):
    """A request to the service failed.

    ``outcome_unknown`` is True if the service may have processed the request, or an earlier attempt of it. ``retry_after`` is
    how many seconds the service asks clients to wait before the next attempt.
    """

    code = "ServiceError"

    def __init__(
        self, message: str, *, outcome_unknown: bool = False, retry_after: float = 0.0, **details: t.Any
    ) -> None:
        super().__init__(message, **details)
        self.outcome_unknown = outcome_unknown
        self.retry_after = retry_after


class Throttled(ServiceError):
    """The service asks all clients to send fewer requests. This request was not processed."""

    code = "Throttling"
    retryable = True


class Refused(ServiceError):
    """The service refused the request. The reason may be the login token: its code does not say."""


class TokenRejected(Refused):
    """The service does not accept this login token any more: its code names the token."""


class LoginRefused(ServiceError):
    """The service refused a login. Trying again with the same secret could lock the account."""

    code = "LoginRefused"


class LoginNeedsPerson(ServiceError):
    """A login reached a stage that only a person can pass, or that needs a code that was not passed."""

    code = "LoginNeedsPerson"
    login_needed = True


class LoginBlocked(WuyingError):
    """A login must wait, because the service refused an earlier one or its outcome is unknown. Nothing was sent."""

    code = "LoginBlocked"


class LoginsStopped(WuyingError):
    """The service refused many logins of this task and accepted none, so no more are sent."""

    code = "LoginsStopped"
    retryable = True


class ClockSkew(ServiceError):
    """The service rejected the time stamp of the request.

    ``server_time`` is the service's time in seconds since 1970 (UTC), or None if the response had no valid date.
    """

    def __init__(self, message: str, *, server_time: float | None = None, **details: t.Any) -> None:
        super().__init__(message, **details)
        self.server_time = server_time


class MissingLibraryError(ServiceError):
    """A Python package that is needed to send requests is not installed. Nothing was sent."""

    code = "MissingLibrary"


class LoginRequired(WuyingError):
    """The session cannot be continued without a new token: the user must log in again."""

    code = "SessionEnded"
    login_needed = True
