# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP connections with a deadline and a size limit.

Only this file and ``transport.py`` import ``requests``.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import traceback
import typing as t

from .._model.exceptions import ServiceError
from .request_deadline import current_request

try:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.exceptions import NewConnectionError
    from urllib3.util.connection import create_connection
except ImportError:
    REQUESTS_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    REQUESTS_IMPORT_ERROR = None

RESPONSE_LIMIT = 4 * 1024 * 1024
"""How many bytes are read from the socket for one response, whatever length the response states."""

_INTERIM = range(102, 200)


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
        self._sock.settimeout(current_request().remaining())
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
            request = current_request()
            addresses = request.resolve(self._dns_host, self.port or 0)
            if not isinstance(self, HTTPSConnection):
                addresses = [each for each in addresses if ipaddress.ip_address(each).is_loopback]
            for position, address in enumerate(addresses):
                try:
                    opened = create_connection(
                        (address, self.port or 0),
                        request.remaining() / (len(addresses) - position),
                        socket_options=self.socket_options,
                    )
                except OSError:
                    continue
                opened.settimeout(request.remaining())  # for the TLS handshake
                return opened
            request.remaining()
            raise NewConnectionError(self, "no address answered")

        def connect(self) -> None:
            self._connecting = True
            super().connect()
            self._connecting = False

        def _tunnel(self) -> None:
            super()._tunnel()
            self.sock.settimeout(current_request().remaining())  # for the TLS handshake

        def putrequest(
            self,
            method: str,
            url: str,
            skip_host: bool = False,
            skip_accept_encoding: bool = False,
        ) -> None:
            url = current_request().target  # exactly as it was signed
            super().putrequest(method, url, skip_host, skip_accept_encoding)

        def send(self, data: t.Any) -> None:
            if self.sock is None:
                self.connect()
            request = current_request()
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

    class Adapter(HTTPAdapter):
        """Makes ``requests`` use these connections, with or without a proxy, and looks up the pool of an endpoint once."""

        def __init__(self, connections: int) -> None:
            super().__init__(pool_maxsize=connections)
            self._pools: dict[str, t.Any] = {}

        def get_connection_with_tls_context(
            self, request: requests.PreparedRequest, *args: t.Any, **kwargs: t.Any
        ) -> t.Any:
            endpoint = str(request.url)
            if endpoint not in self._pools:
                pool = super().get_connection_with_tls_context(request, *args, **kwargs)
                self._pools[endpoint] = pool
            return self._pools[endpoint]

        def close(self) -> None:
            self._pools.clear()
            super().close()

        def request_url(self, _request: requests.PreparedRequest, _proxies: t.Any) -> str:
            return "/"  # The connection sends the signed target. The library would encode it again, and log it.

        def build_response(self, _request: requests.PreparedRequest, response: t.Any) -> t.Any:
            return response

        def init_poolmanager(self, *args: t.Any, **kwargs: t.Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

        def proxy_manager_for(self, proxy: str, **kwargs: t.Any) -> t.Any:
            # With an https:// proxy, TLS runs inside TLS, and no socket timeout would bound a read.
            if not proxy.lower().startswith("http://"):
                raise ServiceError(
                    "Only http:// proxies are supported, not https:// or SOCKS. "
                    "Set proxy or HTTPS_PROXY to an http:// URL, or unset it.",
                    code="ProxyFailed",
                )
            manager = super().proxy_manager_for(proxy, **kwargs)
            manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
            return manager
