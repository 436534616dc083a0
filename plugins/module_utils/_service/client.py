# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Call the operations of the service: sign parameters, and send them until that succeeds.

Only ``_plugin/wiring.py`` imports this file, and only when a request is due, so that an unchanged task stays fast.
"""

from __future__ import annotations

import os
import sys
import time
import typing as t

from ansible.module_utils.basic import missing_required_lib

from .._model.encoding import in_words
from .._model.endpoint import LOGIN_NEEDS_TLS, host_of, is_loopback
from .._model.exceptions import ClockSkew, MissingLibraryError, OptionError, ServiceError, Throttled
from .._model.session import Session
from .._runtime.timeouts import sleep_unless_signalled
from ..signer import Credentials, SignedRequest, sign_v1, sign_v3
from .connections import REQUESTS_IMPORT_ERROR
from .login import LoginAnswer, read_login
from .rate_limit import RateLimiters
from .response import RefreshResult, read_response
from .retry import backoff
from .transport import Response, Transport

Answer = t.TypeVar("Answer")

API_VERSION = "2020-10-02"
SECRET_PARAMETERS = ("Password", "AuthenticationCode", "KeepAliveToken")
"""The parameters of a login that are secrets."""
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
        """Store the settings. Without credentials, requests are anonymous. Logins are so in any case.

        ``timeout`` is in seconds and bounds one attempt in total. ``retries`` counts the attempts after the first. ``max_qps`` limits
        the requests per second. ``credentials_advice`` is shown if the service rejects the credentials. A warning about the clock is added
        to ``warnings``. The other settings are those of :class:`Transport`. Raises :class:`MissingLibraryError`.
        """
        if REQUESTS_IMPORT_ERROR is not None:
            raise _missing_requests(REQUESTS_IMPORT_ERROR)
        self.credentials = credentials
        self.credentials_advice = credentials_advice
        self.timeout = timeout
        self._signature_version = signature_version
        self._retries = retries
        self._clock = clock
        self._warnings = {} if warnings is None else warnings
        self._clock_offsets: dict[str, float] = {}
        """Seconds that the clock of an endpoint is ahead of this host's clock. Only known after a :class:`ClockSkew`."""
        self._limiters = RateLimiters(max_qps)
        self._verifies_certificates = connection_settings.get("validate_certs", True)
        self._transport = Transport(**connection_settings)

    def __enter__(self) -> ServiceClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._transport.close()

    def refresh(
        self, session: Session, login_token: str, deadline: float, *, session_id: str | None = None
    ) -> RefreshResult:
        """Refresh a login token before ``deadline`` (of :func:`time.monotonic`).

        ``session_id`` is the service's ID of the login that the token comes from. Every attempt has its own time stamp and nonce.
        Raises :class:`ServiceError`; its ``outcome_unknown`` covers all attempts.
        """
        parameters = {**_identity(session), "SessionId": session_id, "LoginToken": login_token}
        secrets = (login_token, *filter(None, (self.credentials or ())[1:]))

        def read(response: Response, sent_at: float) -> RefreshResult:
            return read_response(response, session.endpoint, secrets, sent_at, self.credentials_advice)

        call = _Call(session.endpoint, "RefreshLoginToken", parameters, self.credentials)
        try:
            return self._send(call, read, deadline, may_repeat=lambda error: error.retryable)
        except ServiceError as error:
            if error.outcome_unknown:
                error.message += " The login token may already have been used."
            raise

    def log_in(
        self,
        session: Session,
        stage: str,
        parameters: t.Mapping[str, str | None],
        deadline: float,
        known_secrets: t.Sequence[str] = (),
    ) -> LoginAnswer:
        """Send one stage of a login before ``deadline`` (of :func:`time.monotonic`), without a signature.

        ``parameters`` are those of the stage, by the service's names. ``known_secrets`` were sent before, and the answer may repeat
        them. Requests are repeated only if they were certainly not counted as an attempt to log in. Raises :class:`OptionError` and
        :class:`ServiceError`.
        """
        if not self._verifies_certificates and not is_loopback(session.endpoint):
            raise OptionError(LOGIN_NEEDS_TLS)
        identity = _identity(session)
        del identity["DirectoryId"]
        secrets = [*known_secrets, *filter(None, map(parameters.get, SECRET_PARAMETERS))]

        def read(response: Response, sent_at: float) -> LoginAnswer:
            return read_login(response, session.endpoint, stage, secrets, sent_at, self._clock())

        call = _Call(session.endpoint, "GetLoginToken", {**identity, "CurrentStage": stage, **parameters}, None)
        try:
            return self._send(
                call, read, deadline, may_repeat=lambda error: error.retryable and not error.outcome_unknown
            )
        except ServiceError as error:
            error.stage = stage
            raise

    def _send(
        self,
        call: _Call,
        read: t.Callable[[Response, float], Answer],
        deadline: float,
        may_repeat: t.Callable[[ServiceError], bool],
    ) -> Answer:
        """Send a call until it succeeds or must not be repeated."""
        endpoint, limiter = call.endpoint, self._limiters.of(call.endpoint)
        last_start = deadline - min(LEAST_TIME, self.timeout / 10)
        retries_used = 0
        outcome_unknown = clock_corrected = False
        failure = ServiceError(
            "The request could not be sent before the deadline, or the task was interrupted. Try again later, or increase deadline.",
            code="DeadlineExceeded",
            retryable=True,
        )
        while limiter.acquire(last_start):
            try:
                answer = self._attempt(call, read, deadline)
            except ServiceError as error:
                failure = error
            else:
                limiter.speed_up()
                if endpoint in self._clock_offsets:
                    self._warnings.setdefault("clock", _clock_warning(self._clock_offsets[endpoint]))
                return answer
            if failure.outcome_unknown:
                outcome_unknown = True
            failure.outcome_unknown = outcome_unknown

            try_again, wait = False, 0.0
            server_time = failure.server_time if isinstance(failure, ClockSkew) else None
            if server_time is not None and not clock_corrected:
                self._clock_offsets[endpoint] = server_time - self._clock()
                try_again = clock_corrected = True
            elif may_repeat(failure):
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
        raise failure

    def _attempt(self, call: _Call, read: t.Callable[[Response, float], Answer], deadline: float) -> Answer:
        seconds = max(0.001, min(self.timeout, deadline - time.monotonic()))
        sent_at = self._clock()
        signed = self._sign(call, sent_at + self._clock_offsets.get(call.endpoint, 0.0))
        return read(self._transport.post(call.endpoint, signed, seconds), sent_at)

    def _sign(self, call: _Call, timestamp: float) -> SignedRequest:
        parameters = {name: value for name, value in call.parameters.items() if value is not None}
        nonce = os.urandom(16).hex()
        arguments = (call.action, API_VERSION, parameters, call.credentials, timestamp, nonce)
        if self._signature_version == "v1":
            return sign_v1(*arguments)
        return sign_v3(*arguments, host=host_of(call.endpoint))


class _Call(t.NamedTuple):
    """A call of an operation. Without credentials, it is not signed. Parameters that are None are left out."""

    endpoint: str
    action: str
    parameters: t.Mapping[str, str | None]
    credentials: Credentials | None


def _identity(session: Session) -> dict[str, str | None]:
    """Return the parameters that identify a session. That of ``region_id`` is ``RegionId``."""
    identity = session._asdict()
    del identity["endpoint"]
    return {name.title().replace("_", ""): value for name, value in identity.items()}


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
