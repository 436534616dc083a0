# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections that obey the request which they carry: they end in time, lead where they should, and read no more than they must.

Only this file and ``_transport.py`` import ``requests``.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import traceback
import typing as t

from .._model.exceptions import ServiceError
from .request_deadline import RequestDeadline, current_request

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

ANSWER_LIMIT = 4 * 1024 * 1024
"""The most bytes that are taken off the wire for an answer, whatever it says of its length."""


_INTERIM = range(102, 200)


class _Limited(io.RawIOBase):
    """What comes off the wire, which ends after so many bytes."""

    def __init__(self, wire: io.RawIOBase) -> None:
        super().__init__()
        self._wire = wire
        self._left = ANSWER_LIMIT

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int | None:
        count = self._wire.readinto(memoryview(buffer)[: self._left])
        self._left -= count or 0
        return count

    def close(self) -> None:
        self._wire.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    """A final answer of bounded size.

    The library reads a chunk of negative length to its end, which may never come, and of interim answers passes over one kind only.
    """

    def __init__(self, sock: socket.socket, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Limited(self.fp.detach()))

    def begin(self) -> None:
        super().begin()
        while self.status in _INTERIM:
            self.headers = self.msg = t.cast(t.Any, None)
            super().begin()


if REQUESTS_IMPORT_ERROR is None:

    class _Connection(HTTPConnection):
        """A connection that obeys its attempt. In the clear it leads to this very host only, whatever its name says."""

        debuglevel = 0
        response_class = _BoundedResponse
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

        def putrequest(
            self,
            method: str,
            url: str,
            skip_host: bool = False,
            skip_accept_encoding: bool = False,
        ) -> None:
            url = _sending().target  # As it was signed, to the letter.
            super().putrequest(method, url, skip_host, skip_accept_encoding)

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

    class Adapter(HTTPAdapter):
        """Has ``requests`` use the connections above, by proxy too, and finds the way to an endpoint once."""

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
            return "/"  # The library would read and encode it anew: the connection knows the whole of it.

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


def _sending() -> RequestDeadline:
    request = current_request()
    if request is None:
        raise RuntimeError("a connection is used outside a request")
    return request
