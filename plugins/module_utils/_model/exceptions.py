# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can go wrong: one class for each thing that a caller would treat differently.

Every message is one sentence of our own that says what happened and what to do next. None may carry a
token, a secret, a signed URL or text of the service's: of an answer only ``Code`` and ``RequestId`` are shown.
"""

from __future__ import annotations

import typing as t


class WuyingError(Exception):
    """Something a user should read: what happened, in whose words, and whether to try again.

    ``code`` is the service's ``Code`` where it gave one, else one of our own. ``retryable`` says whether the same
    task may succeed later without anything being changed.
    """

    code = "Error"
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.code if code is None else code
        self.retryable = self.retryable if retryable is None else retryable
        self.http_status = http_status
        self.request_id = request_id

    def as_result(self) -> dict[str, t.Any]:
        """Return what a failing task shows beside its message."""
        return {
            "error_code": self.code,
            "http_status": self.http_status,
            "request_id": self.request_id,
            "retryable": self.retryable,
        }


class OptionError(WuyingError):
    """An option is missing, malformed, or does not go with another. Nothing was sent or written."""

    code = "InvalidOption"


class StoreError(WuyingError):
    """The store refuses or cannot work. No token was spent."""

    code = "StoreUnavailable"


LOCKED = (
    "Another task is still exchanging this session's login token, and the deadline has passed, or this task was told to stop: "
    "try again later, or raise deadline."
)


class LockTimeout(StoreError):
    """Another exchange for the session did not end within the deadline. Nothing was sent."""

    code = "DeadlineExceeded"
    retryable = True


class ServiceError(WuyingError):
    """A request to the service failed.

    ``outcome_unknown`` is True if the service may have processed the request, or an earlier attempt of it. ``retry_after`` is
    how many seconds the service asks clients to wait before the next attempt.
    """

    code = "ServiceError"

    def __init__(
        self,
        message: str,
        *,
        outcome_unknown: bool = False,
        retry_after: float = 0.0,
        code: str | None = None,
        retryable: bool | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(
            message, code=code, retryable=retryable, http_status=http_status, request_id=request_id
        )
        self.outcome_unknown = outcome_unknown
        self.retry_after = retry_after


class Throttled(ServiceError):
    """The service asks all clients to send fewer requests. This request was not processed."""

    code = "Throttling"
    retryable = True


class TokenRejected(ServiceError):
    """The service does not accept this login token any more."""


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
    """Nothing that we hold can keep the session going: the user must log in and pass a new token."""

    code = "SessionEnded"
