# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One HTTP request over ``requests``, bounded in time and size, direct or by proxy, never redirected.

Only ``_service.py`` imports this file.
"""

from __future__ import annotations

import http.client
import os
import ssl
import typing as t

from .._model.endpoint import is_loopback
from .._model.exceptions import ServiceError
from ..signer import SignedRequest
from .connections import REQUESTS_IMPORT_ERROR
from .request_deadline import RequestDeadline, Watchdog
from .silence import silence

if REQUESTS_IMPORT_ERROR is None:
    import requests
    import urllib3

    from .connections import Adapter

BODY_LIMIT = 1024 * 1024
"""The most bytes of an answer that are read."""

_HEADERS = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": "ansible-wuying.workspace",
}


class Response(t.NamedTuple):
    """What the other side answered. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Transport:
    """Sends requests over connections that it keeps. Safe to share between threads."""

    def __init__(
        self,
        *,
        proxy: str | None,
        validate_certs: bool,
        ca_path: str | None,
        connections: int,
    ) -> None:
        """Keep at most ``connections`` open to an endpoint."""
        self._proxy = proxy
        self._ca_path = ca_path
        self._validate_certs = validate_certs
        self._watchdog = Watchdog()
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, Adapter(connections))
        self._settings: dict[str, dict[str, t.Any]] = {}
        if not validate_certs:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def close(self) -> None:
        """Close all connections."""
        self._watchdog.close()
        self._session.close()

    def post(self, endpoint: str, request: SignedRequest, seconds: float) -> Response:
        """Send one request and read its answer within ``seconds``, all in all.

        Raises :class:`ServiceError`, whose message names the endpoint only: the library's own would show the URL.
        """
        attempt = RequestDeadline(seconds, f"/?{request.query}")
        try:
            with self._watchdog.watch(attempt), silence():
                reply = self._send(endpoint, request, attempt, seconds)
            if not attempt.expired or _is_delimited(reply):
                return reply
            failure = _explain(TimeoutError(), attempt, endpoint)
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            OSError,
            RuntimeError,  # no thread to be had
            ValueError,
        ) as error:
            failure = _explain(error, attempt, endpoint)
        raise failure

    def _send(
        self, endpoint: str, request: SignedRequest, attempt: RequestDeadline, seconds: float
    ) -> Response:
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url = "POST", f"{endpoint}/"
        prepared.body = request.body or None
        length = str(len(request.body))
        prepared.headers = t.cast(t.Any, {**_HEADERS, "Content-Length": length, **request.headers})
        if endpoint not in self._settings:
            self._settings[endpoint] = self._find_settings(endpoint)
        # Through the adapter, since a session reads the whole of a redirect's body, and a .netrc for its target.
        response: t.Any = self._session.get_adapter(endpoint).send(
            prepared, stream=True, timeout=seconds, cert=None, **self._settings[endpoint]
        )
        response.enforce_content_length = True  # urllib3 1 does so only where it is told to
        try:
            names = {name.lower(): value for name, value in response.headers.items()}
            return Response(response.status, names, _read_body(response))
        finally:
            attempt.leave()
            response.close()
            response.release_conn()

    def _find_settings(self, endpoint: str) -> dict[str, t.Any]:
        # Proxies and certificates come from the environment here, a .netrc never: only other ways of sending read it.
        proxies = {"http": self._proxy, "https": self._proxy} if self._proxy else {}
        verify = (self._ca_path or True) if self._validate_certs else False
        settings = self._session.merge_environment_settings(endpoint, proxies, True, verify, None)
        direct, authority = is_loopback(endpoint), settings["verify"]
        if isinstance(authority, str) and not os.path.exists(authority):
            raise ServiceError(
                "The CA certificates to verify the endpoint with are not there: "
                "check ca_path, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE.",
                code="TlsFailed",
            )
        return {"proxies": {} if direct else settings["proxies"], "verify": authority}


def _is_delimited(reply: Response) -> bool:
    """Say whether an answer that was read to its end is known to be whole: else it may have been cut off."""
    return "content-length" in reply.headers or "transfer-encoding" in reply.headers


def _read_body(stream: t.Any) -> bytes:
    """Read up to the limit and one byte more; a body that is cut short is an error only where one reads to its end."""
    body = b""
    while len(body) <= BODY_LIMIT:
        piece = stream.read(BODY_LIMIT + 1 - len(body), decode_content=False)
        if not piece:
            break
        body += piece
    return body


def _explain(error: Exception, attempt: RequestDeadline, endpoint: str) -> ServiceError:
    code, retryable = "ConnectionLost", True
    if attempt.is_over():  # what the libraries raise then depends on who notices first
        code, what = "Timeout", "did not answer in time: try again later, or raise timeout"
    elif not attempt.resolved:
        code, what = (
            "NameNotResolved",
            "has a host name that cannot be resolved: check region_id, endpoint and DNS",
        )
    elif isinstance(error, requests.exceptions.SSLError) and not attempt.sent:
        code, what = (
            "TlsFailed",
            "could not be verified: check endpoint, ca_path and its certificate",
        )
        retryable = _was_cut_off(error)
    elif isinstance(error, requests.exceptions.ProxyError):
        code, what = (
            "ProxyFailed",
            "cannot be reached through the proxy: check proxy and the proxy variables",
        )
    elif not attempt.sent:
        code, what = "ConnectionFailed", "cannot be reached: check endpoint, proxy and the network"
    else:
        what = "closed the connection before its answer was complete: try again"
    message = f"The endpoint {endpoint} {what}."
    return ServiceError(message, code=code, retryable=retryable, sent=attempt.sent)


def _was_cut_off(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return True
        error = error.__cause__ or error.__context__
    return False
