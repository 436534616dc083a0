# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Call an operation of the service: sign its parameters, and send it until it succeeds.

Only ``_plugin/wiring.py`` imports this file, and only when a request is due, so that an unchanged task stays fast.
"""

from __future__ import annotations

import os
import sys
import time
import typing as t

from ansible.module_utils.basic import missing_required_lib

from .._model.encoding import in_words
from .._model.endpoint import host_of
from .._model.exceptions import ClockSkew, MissingLibraryError, ServiceError, Throttled
from .._model.session import Session
from .._runtime.timeouts import sleep_unless_signalled
from ..signer import Credentials, SignedRequest, sign_v1, sign_v3
from .connections import REQUESTS_IMPORT_ERROR
from .rate_limit import RateLimiters
from .response import RefreshResult, read_response
from .retry import backoff
from .transport import Transport

ACTION = "RefreshLoginToken"
API_VERSION = "2020-10-02"
LEAST_TIME = 1.0
"""No attempt starts with fewer seconds left than this, or than a tenth of ``timeout`` if that is shorter.

An attempt that is cut off may use up the token.
"""


class ServiceClient:
    """Sends requests to the service. Connections stay open until the client is closed."""

    def __init__(
        self,
        credentials: Credentials | None,
        *,
        signature_version: str = "v3",
        timeout: float = 10,
        retries: int = 3,
        max_qps: float | None = None,
        clock: t.Callable[[], float] = time.time,
        credentials_advice: str = "Check the credentials.",
        warnings: dict[str, str] | None = None,
        **connection_settings: t.Any,
    ) -> None:
        """Store the settings. Without credentials, requests are anonymous.

        ``timeout`` is in seconds and bounds one attempt in total. ``retries`` counts the attempts after the first. ``max_qps`` limits
        the requests per second. ``credentials_advice`` is shown if the service rejects the credentials. A warning about the clock is added
        to ``warnings``. The other settings are those of :class:`Transport`. Raises :class:`MissingLibraryError`.
        """
        if REQUESTS_IMPORT_ERROR is not None:
            raise _missing_requests(REQUESTS_IMPORT_ERROR)
        self._credentials = credentials
        self._secrets = tuple(filter(None, credentials[1:])) if credentials else ()
        self._signature_version = signature_version
        self._timeout = timeout
        self._retries = retries
        self._clock = clock
        self._credentials_advice = credentials_advice
        self._warnings = {} if warnings is None else warnings
        self._clock_offsets: dict[str, float] = {}
        """Seconds that the clock of an endpoint is ahead of this host's clock. Only known after a :class:`ClockSkew`."""
        self._limiters = RateLimiters(max_qps)
        self._transport = Transport(**connection_settings)

    def __enter__(self) -> ServiceClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._transport.close()

    def refresh(self, session: Session, login_token: str, deadline: float) -> RefreshResult:
        """Refresh a login token before ``deadline`` (of :func:`time.monotonic`).

        Every attempt has its own time stamp and nonce. Raises :class:`ServiceError`; its ``outcome_unknown`` covers all attempts.
        """
        endpoint, limiter = session.endpoint, self._limiters.of(session.endpoint)
        last_start = deadline - min(LEAST_TIME, self._timeout / 10)
        retries_used = 0
        outcome_unknown = clock_corrected = False
        failure = ServiceError(
            "The request could not be sent before the deadline, or the task was interrupted. Try again later, or increase deadline.",
            code="DeadlineExceeded",
            retryable=True,
        )
        while limiter.acquire(last_start):
            try:
                result = self._attempt(session, login_token, deadline)
            except ServiceError as error:
                failure = error
            else:
                limiter.speed_up()
                if endpoint in self._clock_offsets:
                    self._warnings.setdefault("clock", _clock_warning(self._clock_offsets[endpoint]))
                return result
            if failure.outcome_unknown:
                outcome_unknown = True
            failure.outcome_unknown = outcome_unknown

            try_again, wait = False, 0.0
            server_time = failure.server_time if isinstance(failure, ClockSkew) else None
            if server_time is not None and not clock_corrected:
                self._clock_offsets[endpoint] = server_time - self._clock()
                try_again = clock_corrected = True
            elif failure.retryable:
                try_again = retries_used < self._retries
                wait = backoff(retries_used, failure.retry_after)
                retries_used += 1
            if isinstance(failure, Throttled):
                limiter.slow_down(wait)
            if not try_again or time.monotonic() + wait >= last_start:
                break
            # After a Throttled error the rate limiter waits, for all threads.
            if not isinstance(failure, Throttled) and not sleep_unless_signalled(wait):
                break
        if outcome_unknown:
            failure.message += " The login token may already have been used."
        raise failure

    def _attempt(self, session: Session, login_token: str, deadline: float) -> RefreshResult:
        seconds = max(0.001, min(self._timeout, deadline - time.monotonic()))
        sent_at = self._clock()
        signed = self._sign(session, login_token, sent_at + self._clock_offsets.get(session.endpoint, 0.0))
        response = self._transport.post(session.endpoint, signed, seconds)
        return read_response(
            response, session.endpoint, (login_token, *self._secrets), sent_at, self._credentials_advice
        )

    def _sign(self, session: Session, login_token: str, timestamp: float) -> SignedRequest:
        identity = {**session.identity(), "login_token": login_token}
        del identity["endpoint"]
        # The parameter of region_id is RegionId.
        parameters = {name.title().replace("_", ""): value for name, value in identity.items()}
        nonce = os.urandom(16).hex()
        call = (ACTION, API_VERSION, parameters, self._credentials, timestamp, nonce)
        if self._signature_version == "v1":
            return sign_v1(*call)
        return sign_v3(*call, host=host_of(session.endpoint))


def _missing_requests(error: Exception) -> MissingLibraryError:
    """Return the error for a package that could not be imported. Its message contains no text of the package."""
    if isinstance(error, ImportError):
        return MissingLibraryError(missing_required_lib("requests"))
    return MissingLibraryError(
        f"The Python package requests on this host is broken: {type(error).__name__} when {sys.executable} imported it. "
        "Install it again, together with urllib3."
    )


def _clock_warning(offset: float) -> str:
    return (
        f"The clock of this host is {in_words(offset)} {'behind' if offset > 0 else 'ahead of'} the clock of the service. "
        "Requests were sent with the time of the service. Correct the clock of this host, because the age of tokens depends on it."
    )
