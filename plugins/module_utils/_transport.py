# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this file is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One HTTP request over ``requests``, bounded in time and size, direct or by proxy, never redirected.

Only ``_service.py`` imports this file, and nothing else imports ``requests``.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import ssl
import threading
import time
import traceback
import typing as t

from ._bounded import call_within
from ._endpoint import is_loopback
from ._errors import ServiceError
from .signer import SignedRequest

try:
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter
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


class _Attempt:
    """One request on its way: when it must be over, its socket, and whether any of it has left this host."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._guard = threading.Lock()
        self._socket: socket.socket | None = None
        self.expired = False
        self.resolved = True
        self.sent = False

    def remaining(self) -> float:
        """Return the seconds that are left; :class:`TimeoutError` where none are."""
        remaining = self._end - time.monotonic()
        if self.expired or remaining <= 0:
            raise TimeoutError
        return remaining

    def use(self, used: socket.socket | None) -> None:
        """Tell which socket to cut off when the time is over."""
        with self._guard:
            self._socket = used

    def expire(self) -> None:
        """Cut the request off wherever it is: no reader waits for a peer that drips byte by byte."""
        with self._guard:
            self.expired = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, none where there are none in time."""

        def look_up() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return [str(entry[4][0]) for entry in found]

        try:
            addresses = call_within(self.remaining(), look_up)
        except (OSError, UnicodeError):
            addresses = []
        self.resolved = bool(addresses)
        return addresses


class _Current(threading.local):
    """The attempt that this thread is making."""

    attempt: _Attempt | None = None


_current = _Current()


def _attempt() -> _Attempt:
    if _current.attempt is None:
        raise RuntimeError("a connection is used outside an attempt")
    return _current.attempt


class _Silence(logging.Filter):
    """Keep the library's log lines about our requests from everybody: they show the whole URL, token included."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _current.attempt is None


if REQUESTS_IMPORT_ERROR is None:
    for _name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry"):
        logging.getLogger(_name).addFilter(_Silence())

    class _Watched(HTTPConnection):
        """A connection that obeys its attempt."""

        debuglevel = 0
        _connecting = False

        def _new_conn(self) -> socket.socket:
            attempt = _attempt()
            for address in attempt.resolve(self._dns_host, self.port or 0):
                with contextlib.suppress(OSError):
                    opened = create_connection(
                        (address, self.port or 0),
                        attempt.remaining(),
                        socket_options=self.socket_options,
                    )
                    attempt.use(opened)
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
            attempt = _attempt()
            if not self._connecting:
                attempt.use(self.sock)
                attempt.remaining()
                attempt.sent = True
            super().send(data)

    class _WatchedTls(_Watched, HTTPSConnection):
        """The same over TLS."""

    class _Pool(HTTPConnectionPool):
        ConnectionCls = _Watched

    class _TlsPool(HTTPSConnectionPool):
        ConnectionCls = _WatchedTls

    class _Adapter(HTTPAdapter):
        """Has ``requests`` use the connections above, by proxy too."""

        def init_poolmanager(self, *args: t.Any, **kwargs: t.Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

        def proxy_manager_for(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            manager = super().proxy_manager_for(*args, **kwargs)
            manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
            return manager


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
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(pool_maxsize=connections))
        if not validate_certs:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def post(self, endpoint: str, request: SignedRequest, seconds: float) -> Reply:
        """Send one request and read its answer within ``seconds``, all in all.

        Raises :class:`ServiceError`, whose message names the endpoint only: the library's own would show the URL.
        """
        attempt = _Attempt(seconds)
        timer = threading.Timer(seconds, attempt.expire)
        timer.daemon = True
        timer.start()
        _current.attempt = attempt
        try:
            return self._send(endpoint, request, seconds)
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            OSError,
            ValueError,
        ) as error:
            failure = _explain(error, attempt, endpoint)
        finally:
            timer.cancel()
            attempt.use(None)
            _current.attempt = None
        raise failure

    def _send(self, endpoint: str, request: SignedRequest, seconds: float) -> Reply:
        url = f"{endpoint}/?{request.query}"
        headers = {**_HEADERS, **request.headers}
        with self._session.send(
            requests.Request("POST", url, headers, data=request.body).prepare(),
            stream=True,
            timeout=seconds,
            allow_redirects=False,
            **self._settings(endpoint),
        ) as response:
            content = response.raw.read(BODY_LIMIT + 1, decode_content=False)
            names = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status_code, names, content)

    def _settings(self, endpoint: str) -> dict[str, t.Any]:
        # Proxies and certificates come from the environment here, a .netrc never: only other ways of sending read it.
        proxies = {"http": self._proxy, "https": self._proxy} if self._proxy else {}
        verify = (self._ca_path or True) if self._validate_certs else False
        settings = self._session.merge_environment_settings(endpoint, proxies, True, verify, None)
        direct = is_loopback(endpoint)
        return {"proxies": {} if direct else settings["proxies"], "verify": settings["verify"]}


def _explain(error: Exception, attempt: _Attempt, endpoint: str) -> ServiceError:
    code, retryable = "ConnectionLost", True
    if attempt.expired or isinstance(error, (TimeoutError, requests.Timeout)):
        code, what = "Timeout", "did not answer in time: try again later, or raise timeout"
    elif not attempt.resolved:
        code, what = (
            "NameNotResolved",
            "has a name that cannot be resolved: check region_id, endpoint and DNS",
        )
    elif isinstance(error, requests.exceptions.SSLError) and not attempt.sent:
        code, what = (
            "TlsFailed",
            "could not be verified: check endpoint, ca_path and its certificate",
        )
        retryable = not _is_untrusted(error)
    elif isinstance(error, requests.exceptions.ProxyError):
        code, what = (
            "ProxyFailed",
            "cannot be reached by the proxy: check proxy and the proxy variables",
        )
    elif not attempt.sent:
        code, what = "ConnectionFailed", "cannot be reached: check endpoint, proxy and the network"
    else:
        what = "broke the connection off before its answer was complete: try again"
    message = f"The endpoint {endpoint} {what}."
    return ServiceError(message, code=code, retryable=retryable, sent=attempt.sent)


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
