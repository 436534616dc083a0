# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open sockets and TLS, and bound every read by a deadline and a size.

Only this file and ``transport.py`` import ``requests``.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import ipaddress
import os
import socket
import threading
import time
import typing as t

from .._model.exceptions import ServiceError
from .._runtime.timeouts import run_with_timeout

try:
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.exceptions import NewConnectionError
    from urllib3.util.connection import create_connection
except OSError:  # This says nothing about the package: for example, too many files are open.
    raise
except Exception as error:  # A broken package can raise anything.
    REQUESTS_IMPORT_ERROR: Exception | None = error
else:
    REQUESTS_IMPORT_ERROR = None

RESPONSE_LIMIT = 4 * 1024 * 1024
"""How many bytes are read from the socket for one response, whatever length the response states."""

_INTERIM = range(102, 200)
_this_thread = threading.local()


class RequestDeadline:
    """One HTTP request: its target, its deadline, and how far it got: if the host was found, and if any part was sent."""

    def __init__(self, seconds: float, target: str) -> None:
        self.target = target
        self.end = time.monotonic() + seconds
        self.resolved = True
        self.sent = False

    @contextlib.contextmanager
    def applied(self) -> t.Iterator[None]:
        """Apply the deadline to all connections that this thread uses within the block."""
        _this_thread.request = self
        try:
            yield
        finally:
            _this_thread.request = None

    def remaining(self) -> float:
        """Return the seconds that are left. Raises :class:`TimeoutError` if there are none."""
        remaining = self.end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, or an empty list if it has none. Raises :class:`OSError` if too many files are open."""
        found: list[t.Any] = []
        with contextlib.suppress(socket.gaierror, UnicodeError):
            found = run_with_timeout(self.remaining(), lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        if not found:
            os.close(os.open(os.devnull, os.O_RDONLY))  # A failed lookup does not say that too many files are open.
        self.resolved = bool(found)
        return [entry[4][0] for entry in found]


def _current_request() -> RequestDeadline:
    request: RequestDeadline | None = getattr(_this_thread, "request", None)
    if request is None:
        raise RuntimeError("a connection is used outside a request")
    return request


class _LimitedReader(io.RawIOBase):
    """Reads a response from a socket until the size limit or the deadline of the request is reached."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        super().__init__()
        self._raw = raw
        self._sock = sock
        self._left = RESPONSE_LIMIT

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int | None:
        self._sock.settimeout(_current_request().remaining())
        count = self._raw.readinto(memoryview(buffer)[: self._left])
        self._left -= count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    """A final response of limited size.

    The base class reads a chunk of negative length until the connection ends, and skips no interim response except status 100.
    """

    def __init__(self, sock: socket.socket, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_LimitedReader(self.fp.detach(), sock))

    def begin(self) -> None:
        super().begin()
        while self.status in _INTERIM:
            self.headers = self.msg = t.cast(t.Any, None)
            super().begin()
        # urllib3 logs header lines that cannot be parsed. They may contain a token.
        self.headers.defects.clear()
        self.headers.set_payload("")


if REQUESTS_IMPORT_ERROR is None:

    class _Connection(HTTPConnection):
        """A connection that keeps the deadline of the current request. Without TLS it only leads to loopback addresses."""

        debuglevel = 0
        response_class = _BoundedResponse
        _connecting = False

        def _new_conn(self) -> socket.socket:
            request = _current_request()
            addresses = request.resolve(self._dns_host, self.port or 0)
            if not isinstance(self, HTTPSConnection):
                addresses = [each for each in addresses if ipaddress.ip_address(each).is_loopback]
            failure: OSError | None = None
            for position, address in enumerate(addresses):
                seconds = request.remaining() / (len(addresses) - position)
                try:
                    opened = create_connection((address, self.port or 0), seconds, socket_options=self.socket_options)
                    opened.settimeout(request.remaining())  # for the TLS handshake
                    return opened
                except OSError as error:
                    failure = error
            request.remaining()
            raise NewConnectionError(self, "no address answered") from failure

        def connect(self) -> None:
            self._connecting = True
            super().connect()
            self._connecting = False

        def _tunnel(self) -> None:
            super()._tunnel()
            self.sock.settimeout(_current_request().remaining())  # for the TLS handshake

        def putrequest(self, method: str, url: str, *args: t.Any, **kwargs: t.Any) -> None:
            url = _current_request().target  # exactly as it was signed
            super().putrequest(method, url, *args, **kwargs)

        def send(self, data: t.Any) -> None:
            if self.sock is None:
                self.connect()
            request = _current_request()
            self.sock.settimeout(request.remaining())
            if not self._connecting:
                request.sent = True
            super().send(data)

    class _TlsConnection(_Connection, HTTPSConnection):
        """The same with TLS."""

    class _Pool(HTTPConnectionPool):
        ConnectionCls = _Connection

    class _TlsPool(HTTPSConnectionPool):
        ConnectionCls = _TlsConnection

    _POOLS = {"http": _Pool, "https": _TlsPool}

    class Adapter(HTTPAdapter):
        """Makes ``requests`` use these connections, with or without a proxy, and looks up the pool of an endpoint once."""

        def __init__(self, connections: int) -> None:
            super().__init__(pool_maxsize=connections)
            self._pools: dict[str, t.Any] = {}

        def get_connection_with_tls_context(self, request: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
            if request.url not in self._pools:
                self._pools[request.url] = super().get_connection_with_tls_context(request, *args, **kwargs)
            return self._pools[request.url]

        def close(self) -> None:
            self._pools.clear()
            super().close()

        def request_url(self, _request: t.Any, _proxies: t.Any) -> str:
            return "/"  # The connection sends the signed target. The library would encode it again, and log it.

        def build_response(self, _request: t.Any, response: t.Any) -> t.Any:
            return response

        def init_poolmanager(self, *args: t.Any, **kwargs: t.Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = _POOLS

        def proxy_manager_for(self, proxy: str, **kwargs: t.Any) -> t.Any:
            # With an https:// proxy, TLS runs inside TLS, and no socket timeout would bound a read.
            if not proxy.lower().startswith("http://"):
                raise ServiceError(
                    "The proxy from the environment is not an http:// proxy. Correct HTTPS_PROXY or ALL_PROXY, or set proxy.",
                    code="ProxyFailed",
                )
            manager = super().proxy_manager_for(proxy, **kwargs)
            manager.pool_classes_by_scheme = _POOLS
            return manager
