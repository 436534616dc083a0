# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One exchange: sign it, send it, read the answer, and try again where that makes sense.

Only ``_options.py`` imports this file, and only when an exchange is due: an unchanged task is to be as fast as a ping.
"""

from __future__ import annotations

import os
import random
import time
import typing as t

from ansible.module_utils.basic import missing_required_lib

from .._model.endpoint import host_of
from .._model.exceptions import MissingLibraryError, ServiceError
from .._model.session import Session
from .._runtime.timeouts import sleep_unless_signalled
from ..signer import Credentials, SignedRequest, sign_v1, sign_v3
from . import transport as _transport
from .connections import REQUESTS_IMPORT_ERROR
from .rate_limit import RateLimiters
from .response import RefreshResult, read_response

ACTION = "RefreshLoginToken"
API_VERSION = "2020-10-02"
BACKOFF = 0.5
"""The longest wait before the first further attempt, in seconds; it doubles with each."""
BACKOFF_LIMIT = 16.0
LEAST_TIME = 1.0
"""How many seconds, or a tenth of ``timeout``, an attempt must have: one that is cut off may cost the token."""

_PARAMETERS = {
    "region_id": "RegionId",
    "client_id": "ClientId",
    "office_site_id": "OfficeSiteId",
    "end_user_id": "EndUserId",
    "directory_id": "DirectoryId",
    "session_id": "SessionId",
}


class ServiceClient:
    """Exchanges login tokens, over connections that it keeps until it is closed."""

    def __init__(
        self,
        credentials: Credentials | None,
        *,
        signature_version: str = "v3",
        timeout: float = 10,
        retries: int = 3,
        validate_certs: bool = True,
        ca_path: str | None = None,
        proxy: str | None = None,
        connections: int = 1,
        max_qps: float | None = None,
        clock: t.Callable[[], float] = time.time,
    ) -> None:
        """Take credentials, None for anonymous requests; ``timeout`` is in seconds and bounds one attempt in full.

        ``retries`` counts the attempts after the first, ``max_qps`` bounds the requests a second. Raises :class:`MissingLibraryError`.
        """
        if REQUESTS_IMPORT_ERROR is not None:
            raise MissingLibraryError(missing_required_lib("requests"))
        self._credentials = credentials
        self._secrets = tuple(filter(None, credentials[1:])) if credentials else ()
        self._signature_version = signature_version
        self._timeout = timeout
        self._retries = retries
        self._clock = clock
        self._clock_offsets: dict[str, float] = {}
        """By how many seconds the clocks of endpoints are ahead of this one, where they said so."""
        self._paces = RateLimiters(max_qps)
        self._transport = _transport.Transport(
            proxy=proxy, validate_certs=validate_certs, ca_path=ca_path, connections=connections
        )

    def __enter__(self) -> ServiceClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._transport.close()

    def use_share(self, number: int, processes: int) -> None:
        """Send at most the share of ``max_qps`` that process ``number`` of several has. Call it before the first request."""
        self._paces.use_share(number, processes)

    def refresh(self, session: Session, login_token: str, deadline: float) -> RefreshResult:
        """Exchange a login token for the next, before ``deadline`` of :func:`time.monotonic`.

        Every attempt has a time stamp and a nonce of its own. Raises :class:`ServiceError`; its ``sent`` covers all
        attempts that were made.
        """
        sent = clock_corrected = False
        retries = self._retries
        failure = ServiceError(
            "No time was left for an exchange before the deadline, or the task was told to stop: "
            "try again later, or raise deadline.",
            code="DeadlineExceeded",
            retryable=True,
        )
        endpoint, pace = session.endpoint, self._paces.of(session.endpoint)
        last_begin = deadline - min(LEAST_TIME, self._timeout / 10)
        while pace.acquire(last_begin):
            try:
                answer = self._attempt(session, login_token, deadline)
            except ServiceError as error:
                failure = error
            else:
                pace.speed_up()
                return answer
            sent = failure.sent = sent or failure.sent
            wait, again = 0.0, False
            if failure.server_time is not None and not clock_corrected:
                self._clock_offsets[endpoint] = failure.server_time - self._clock()
                clock_corrected = again = True
            elif failure.retryable:
                wait, again = _backoff(self._retries - retries, failure.wait), retries > 0
                retries -= 1
            if failure.busy:
                pace.slow_down(wait)
            if not again or last_begin - time.monotonic() <= wait:
                break
            if not failure.busy and not sleep_unless_signalled(wait):
                break
        raise failure

    def _attempt(self, session: Session, login_token: str, deadline: float) -> RefreshResult:
        seconds = max(0.001, min(self._timeout, deadline - time.monotonic()))
        sent_at = self._clock()
        offset = self._clock_offsets.get(session.endpoint, 0.0)
        signed = self._sign(session, login_token, sent_at + offset)
        reply = self._transport.post(session.endpoint, signed, seconds)
        return read_response(reply, session.endpoint, (login_token, *self._secrets), sent_at)

    def _sign(self, session: Session, login_token: str, timestamp: float) -> SignedRequest:
        identity = session.identity()
        parameters = {
            name: identity[field] for field, name in _PARAMETERS.items() if field in identity
        }
        parameters["LoginToken"] = login_token
        nonce = os.urandom(16).hex()
        call = (ACTION, API_VERSION, parameters, self._credentials, timestamp, nonce)
        if self._signature_version == "v1":
            return sign_v1(*call)
        return sign_v3(*call, host=host_of(session.endpoint))


def _backoff(attempt: int, wish: float) -> float:
    """Return the seconds to wait before a further attempt: full jitter, on top of what the service wishes."""
    return wish + random.uniform(0, min(BACKOFF_LIMIT, BACKOFF * 2**attempt))  # noqa: S311
