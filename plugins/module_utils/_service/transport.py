# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Send one HTTP request with its headers, and explain why it failed.

Only ``client.py`` imports this file. Redirects are not followed.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import ssl
import time
import typing as t

from .._model.endpoint import is_loopback
from .._model.exceptions import RAISE_FILE_LIMIT, RAISE_THREAD_LIMIT, ServiceError
from .._runtime.timeouts import NoThreadError
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
    "Timeout": "The {where} did not respond in time. Try again later, or increase timeout or deadline.",
    "NameNotResolved": "The host name of the {host} could not be resolved. Check region_id, endpoint, proxy and DNS.",
    "TlsFailed": "A TLS connection to the {where} could not be established. Check endpoint and {trust}.",
    "ProxyFailed": "The {host} {problem}, so the endpoint {endpoint} could not be reached. Check the proxy and the setting that names it.",
    "ConnectionFailed": "The {where} could not be reached. Check endpoint, proxy and the network.",
    "ConnectionLost": "The {where} closed the connection before its response was complete. Try again.",
}
_UNKNOWN_CA = (
    "is self-signed, or its CA is not in {trust}. If you trust it, set ca_path to a file with the certificate of its CA"
)
_OUTDATED = "has expired or is not valid yet. Renew it, or correct the clock of this host"
_WRONG_NAME = "is for another host. Check endpoint and proxy"
_CERTIFICATE = {
    **dict.fromkeys((18, 19, 20, 21), _UNKNOWN_CA),
    **dict.fromkeys((9, 10), _OUTDATED),
    **dict.fromkeys((62, 64), _WRONG_NAME),
}
"""Why a certificate was not accepted, by OpenSSL's number of the error."""
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PROXY = re.compile(r"(?:https?://)?(?:[^/?#@]*@)?((?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]+)?)/?")


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
            except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
                failure = self._explain(error, attempt, endpoint)
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
                f"The CA certificates to verify the endpoint with do not exist. Check {self._trust()}.",
                code="TlsFailed",
            )
        return {"proxies": {} if is_loopback(endpoint) else settings["proxies"], "verify": ca_path}

    def _explain(self, error: Exception, attempt: RequestDeadline, endpoint: str) -> ServiceError:
        """Return the error for a failed attempt. Its message contains no text of the libraries."""
        causes, retryable, message = list(_causes(error)), True, None
        if time.monotonic() >= attempt.end:  # checked first, because the libraries raise various errors then
            code = "Timeout"
        elif any(isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE) for cause in causes):
            code, message = "ConnectionFailed", f"Too many files are open. {RAISE_FILE_LIMIT}"
        elif any(isinstance(cause, NoThreadError) for cause in causes):
            code, message = "ConnectionFailed", f"No thread can be started. {RAISE_THREAD_LIMIT}"
        elif not attempt.resolved:
            code = "NameNotResolved"
        elif isinstance(error, requests.exceptions.SSLError) and not attempt.sent:
            code = "TlsFailed"
            # A handshake that was cut off may succeed later.
            retryable = any(isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) for cause in causes)
            problems = (_CERTIFICATE.get(getattr(cause, "verify_code", 0)) for cause in causes)
            message = next(
                (f"The TLS certificate of the {{where}} {problem}." for problem in problems if problem), None
            )
        elif isinstance(error, requests.exceptions.ProxyError):
            code = "ProxyFailed"
        else:
            code = "ConnectionLost" if attempt.sent else "ConnectionFailed"
        status = re.search(r"Tunnel connection failed: ([1-5][0-9]{2})\b", str(causes[-1]))
        proxy = self._proxy_of(endpoint)
        message = (message or _MESSAGES[code]).format(
            endpoint=endpoint,
            host=proxy or f"endpoint {endpoint}",
            where=f"endpoint {endpoint}" + (proxy and f" (through the {proxy})"),
            trust=self._trust(),
            problem=f"refused the connection (HTTP status {status[1]})" if status else "did not accept the connection",
        )
        return ServiceError(message, code=code, retryable=retryable, outcome_unknown=attempt.sent)

    def _proxy_of(self, endpoint: str) -> str:
        """Return which proxy leads to an endpoint and which setting names it, without user info. Empty if there is none."""
        proxy = requests.utils.select_proxy(endpoint, self._settings.get(endpoint, {}).get("proxies"))
        if not proxy:
            return ""
        shown = _PROXY.fullmatch(proxy)
        variables = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
        source = "the option proxy" if self._proxy else next(filter(os.environ.get, variables), "the system's settings")
        return f"proxy {f'{shown[1]} ' if shown else ''}from {source}"

    def _trust(self) -> str:
        """Return which setting names the CA certificates."""
        default = "the CA certificates of the Python package requests"
        return "ca_path" if self._ca_path else next(filter(os.environ.get, _CA_VARIABLES), default)


def _read_body(response: t.Any) -> bytes:
    """Return the body, or the first ``BODY_LIMIT + 1`` bytes of it. An incomplete body is an error only if it is shorter."""
    body = b""
    while len(body) <= BODY_LIMIT:
        piece = response.read(BODY_LIMIT + 1 - len(body), decode_content=False)
        if not piece:
            break
        body += piece
    return body


def _causes(error: BaseException | None) -> t.Iterator[BaseException]:
    """Yield an error and the errors that caused it, which the libraries chain or wrap."""
    while error is not None:
        yield error
        wrapped = (each for each in error.args if isinstance(each, BaseException))
        error = error.__cause__ or error.__context__ or next(wrapped, None)
