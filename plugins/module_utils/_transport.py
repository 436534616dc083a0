# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this file is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One HTTP request over ``requests``, bounded in time and size, direct or by proxy, never redirected.

Only ``_service.py`` imports this file, and nothing else imports ``requests``.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import traceback
import typing as t

from ._endpoint import is_loopback
from ._errors import ServiceError
from ._silence import silence
from ._watchdog import Watchdog, Watched, current_request
from .signer import SignedRequest

try:
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter
    from requests.structures import CaseInsensitiveDict
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.exceptions import NewConnectionError
    from urllib3.util.connection import create_connection
except ImportError:
    REQUESTS_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    REQUESTS_IMPORT_ERROR = None

BODY_LIMIT = 1024 * 1024
"""The most bytes of an answer that are read."""

_HEADERS = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": "ansible-wuying.workspace",
}


class Reply(t.NamedTuple):
    """What the other side answered. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


if REQUESTS_IMPORT_ERROR is None:

    class _Connection(HTTPConnection):
        """A connection that obeys its attempt. In the clear it leads to this very host only, whatever its name says."""

        debuglevel = 0
        _connecting = False
        _line: socket.socket | None = None
        """A second handle of the socket, which stays good under any number of layers of TLS."""

        def _new_conn(self) -> socket.socket:
            attempt = _sending()
            addresses = attempt.resolve(self._dns_host, self.port or 0)
            if not isinstance(self, HTTPSConnection):
                addresses = [each for each in addresses if ipaddress.ip_address(each).is_loopback]
            for position, address in enumerate(addresses):
                try:
                    opened = create_connection(
                        (address, self.port or 0),
                        attempt.remaining() / (len(addresses) - position),
                        socket_options=self.socket_options,
                    )
                except OSError:
                    continue
                self._line = opened.dup()
                attempt.use(self._line)
                opened.settimeout(attempt.remaining())
                return opened
            attempt.remaining()
            raise NewConnectionError(self, "no address answered")

        def connect(self) -> None:
            self._connecting = True
            super().connect()
            self._connecting = False

        def send(self, data: t.Any) -> None:
            if self.sock is None:
                self.connect()
            attempt = _sending()
            if self._line is not None:
                attempt.use(self._line)
            attempt.remaining()
            if not self._connecting:
                attempt.sent = True
            super().send(data)

        def close(self) -> None:
            super().close()
            line, self._line = self._line, None
            request = current_request()
            if line is not None and request is not None:
                request.adopt(line)
            elif line is not None:
                line.close()

    class _TlsConnection(_Connection, HTTPSConnection):
        """The same over TLS."""

    class _Pool(HTTPConnectionPool):
        ConnectionCls = _Connection

    class _TlsPool(HTTPSConnectionPool):
        ConnectionCls = _TlsConnection

    class _Adapter(HTTPAdapter):
        """Has ``requests`` use the connections above, by proxy too, and finds the way to an endpoint once."""

        def __init__(self, connections: int) -> None:
            super().__init__(pool_maxsize=connections)
            self._pools: dict[str, t.Any] = {}

        def get_connection_with_tls_context(
            self, request: requests.PreparedRequest, *args: t.Any, **kwargs: t.Any
        ) -> t.Any:
            endpoint, _slash, _query = str(request.url).partition("/?")
            if endpoint not in self._pools:
                pool = super().get_connection_with_tls_context(request, *args, **kwargs)
                self._pools[endpoint] = pool
            return self._pools[endpoint]

        def close(self) -> None:
            self._pools.clear()
            super().close()

        def request_url(self, request: requests.PreparedRequest, _proxies: t.Any) -> str:
            _endpoint, _slash, query = str(request.url).partition("/?")
            return f"/?{query}"

        def build_response(self, _request: requests.PreparedRequest, response: t.Any) -> t.Any:
            return response

        def init_poolmanager(self, *args: t.Any, **kwargs: t.Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

        def proxy_manager_for(self, proxy: str, **kwargs: t.Any) -> t.Any:
            if proxy.lower().startswith("socks"):
                raise ServiceError(
                    "SOCKS proxies are not supported: name an HTTP proxy by proxy or HTTPS_PROXY, or none.",
                    code="ProxyFailed",
                )
            manager = super().proxy_manager_for(proxy, **kwargs)
            manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
            return manager


def _sending() -> Watched:
    request = current_request()
    if request is None:
        raise RuntimeError("a connection is used outside a request")
    return request


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
            self._session.mount(scheme, _Adapter(connections))
        self._settings: dict[str, dict[str, t.Any]] = {}
        if not validate_certs:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def close(self) -> None:
        """Close all connections."""
        self._watchdog.close()
        self._session.close()

    def post(self, endpoint: str, request: SignedRequest, seconds: float) -> Reply:
        """Send one request and read its answer within ``seconds``, all in all.

        Raises :class:`ServiceError`, whose message names the endpoint only: the library's own would show the URL.
        """
        attempt = Watched(seconds)
        try:
            with self._watchdog.watch(attempt), silence():
                reply = self._send(endpoint, request, seconds)
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

    def _send(self, endpoint: str, request: SignedRequest, seconds: float) -> Reply:
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url = "POST", f"{endpoint}/?{request.query}"
        prepared.body = request.body or None
        length = str(len(request.body))
        prepared.headers = CaseInsensitiveDict(
            {**_HEADERS, "Content-Length": length, **request.headers}
        )
        if endpoint not in self._settings:
            self._settings[endpoint] = self._find_settings(endpoint)
        # Through the adapter, since a session reads the whole of a redirect's body, and a .netrc for its target.
        response: t.Any = self._session.get_adapter(endpoint).send(
            prepared, stream=True, timeout=seconds, cert=None, **self._settings[endpoint]
        )
        try:
            names = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, names, _read_body(response))
        finally:
            _sending().leave()
            response.close()
            response.release_conn()

    def _find_settings(self, endpoint: str) -> dict[str, t.Any]:
        # Proxies and certificates come from the environment here, a .netrc never: only other ways of sending read it.
        proxies = {"http": self._proxy, "https": self._proxy} if self._proxy else {}
        verify = (self._ca_path or True) if self._validate_certs else False
        settings = self._session.merge_environment_settings(endpoint, proxies, True, verify, None)
        direct = is_loopback(endpoint)
        return {"proxies": {} if direct else settings["proxies"], "verify": settings["verify"]}


def _is_delimited(reply: Reply) -> bool:
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


def _explain(error: Exception, attempt: Watched, endpoint: str) -> ServiceError:
    code, retryable = "ConnectionLost", True
    if attempt.expired or isinstance(error, (TimeoutError, socket.timeout, requests.Timeout)):
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
