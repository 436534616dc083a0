# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Send one HTTP request with its headers, and explain why it failed.

Only ``client.py`` imports this file. Redirects are not followed.
"""

from __future__ import annotations

import http.client
import os
import ssl
import time
import typing as t

from .._model.endpoint import is_loopback
from .._model.exceptions import ServiceError
from ..signer import SignedRequest
from .connections import REQUESTS_IMPORT_ERROR, RequestDeadline

if REQUESTS_IMPORT_ERROR is None:
    import requests
    import urllib3

    from .connections import Adapter

BODY_LIMIT = 1024 * 1024
"""A response with a longer body is not used. One byte more is read, so that it is noticed."""

_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "ansible-wuying.workspace"}
_MESSAGES = {
    "Timeout": "The endpoint {} did not respond in time. Try again later, or increase timeout or deadline.",
    "NameNotResolved": "The host name of the endpoint {} or of its proxy could not be resolved. Check region_id, endpoint, proxy and DNS.",
    "TlsFailed": "The TLS certificate of the endpoint {} could not be verified. Check endpoint, ca_path and the certificate.",
    "ProxyFailed": "The endpoint {} could not be reached through the proxy. Check proxy and the proxy environment variables.",
    "ConnectionFailed": "The endpoint {} could not be reached. Check endpoint, proxy and the network.",
    "ConnectionLost": "The endpoint {} closed the connection before its response was complete. Try again.",
}


class Response(t.NamedTuple):
    """A response of the service. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Transport:
    """Sends requests and keeps the connections open for the next ones. Safe to share between threads."""

    def __init__(
        self, *, proxy: str | None = None, validate_certs: bool = True, ca_path: str | None = None, connections: int = 1
    ) -> None:
        """Keep at most ``connections`` open for each endpoint."""
        self._proxy = proxy
        self._ca_path = ca_path
        self._validate_certs = validate_certs
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, Adapter(connections))
        self._settings: dict[str, dict[str, t.Any]] = {}
        if not validate_certs:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def post(self, endpoint: str, request: SignedRequest, seconds: float) -> Response:
        """Send one request and read the response, within ``seconds`` in total.

        Raises :class:`ServiceError`. Its message names only the endpoint, because the messages of the library contain the URL.
        """
        attempt = RequestDeadline(seconds, f"/?{request.query}")
        with attempt.applied():
            try:
                return self._send(endpoint, request, seconds)
            # RuntimeError: no thread could be started
            except (
                urllib3.exceptions.HTTPError,
                http.client.HTTPException,
                OSError,
                RuntimeError,
                ValueError,
            ) as error:
                failure = _explain(error, attempt, endpoint)
            raise failure  # outside of the except block, so that no traceback shows the library's error

    def _send(self, endpoint: str, request: SignedRequest, seconds: float) -> Response:
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url = "POST", f"{endpoint}/"
        prepared.body = request.body or None
        prepared.headers = t.cast(t.Any, {**_HEADERS, "Content-Length": str(len(request.body)), **request.headers})
        if endpoint not in self._settings:
            self._settings[endpoint] = self._find_settings(endpoint)
        # Sent through the adapter. A session would read the body of a redirect, and a .netrc for its target.
        response: t.Any = self._session.get_adapter(endpoint).send(
            prepared, stream=True, timeout=seconds, cert=None, **self._settings[endpoint]
        )
        response.enforce_content_length = True  # urllib3 1 does not by default
        try:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Response(response.status, headers, _read_body(response))
        finally:
            response.close()
            response.release_conn()

    def _find_settings(self, endpoint: str) -> dict[str, t.Any]:
        # This reads proxies and CA certificates from the environment, but no .netrc.
        proxies = {"http": self._proxy, "https": self._proxy} if self._proxy else {}
        verify = (self._ca_path or True) if self._validate_certs else False
        settings = self._session.merge_environment_settings(endpoint, proxies, True, verify, None)
        ca_path = settings["verify"]
        if isinstance(ca_path, str) and not os.path.exists(ca_path):
            raise ServiceError(
                "The CA certificates for verifying the endpoint do not exist. "
                "Check ca_path, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE.",
                code="TlsFailed",
            )
        return {"proxies": {} if is_loopback(endpoint) else settings["proxies"], "verify": ca_path}


def _read_body(response: t.Any) -> bytes:
    """Return the body, or the first ``BODY_LIMIT + 1`` bytes of it. An incomplete body is an error only if it is shorter."""
    body = b""
    while len(body) <= BODY_LIMIT:
        piece = response.read(BODY_LIMIT + 1 - len(body), decode_content=False)
        if not piece:
            break
        body += piece
    return body


def _explain(error: Exception, attempt: RequestDeadline, endpoint: str) -> ServiceError:
    retryable = True
    if time.monotonic() >= attempt.end:  # checked first, because the libraries raise various errors then
        code = "Timeout"
    elif not attempt.resolved:
        code = "NameNotResolved"
    elif isinstance(error, requests.exceptions.SSLError) and not attempt.sent:
        code, retryable = "TlsFailed", _was_cut_off(error)
    elif isinstance(error, requests.exceptions.ProxyError):
        code = "ProxyFailed"
    else:
        code = "ConnectionLost" if attempt.sent else "ConnectionFailed"
    return ServiceError(_MESSAGES[code].format(endpoint), code=code, retryable=retryable, outcome_unknown=attempt.sent)


def _was_cut_off(error: BaseException | None) -> bool:
    """Return True if the TLS handshake failed because the connection was closed."""
    while error is not None:
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return True
        error = error.__cause__ or error.__context__
    return False
