# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Listen on loopback in place of the service, a proxy or Redis, record every byte, and answer."""

from __future__ import annotations

import json
import socketserver
import threading
from typing import Any
from urllib.parse import parse_qsl, urlsplit


class Recorder:
    """A server that records what it receives. It grants each refresh, and accepts each command of Redis."""

    def __init__(self) -> None:
        self.connections: list[bytearray] = []
        """The bytes of each connection."""
        recorder = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                recorder.serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def serve(self, connection: Any) -> None:
        """Record a connection, and answer a request of HTTP or each command of Redis."""
        received = bytearray()
        self.connections.append(received)
        while chunk := connection.recv(65536):
            received += chunk
            if received.startswith(b"*"):
                connection.sendall(b"+OK\r\n")
            elif b"\r\n\r\n" in received:
                body = json.dumps({"RequestId": "1CBAFFAB", "LoginToken": f"v1recorded{len(self.connections)}"})
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
                connection.sendall(f"{head}\r\nConnection: close\r\n\r\n{body}".encode())
                return

    def requests(self) -> list[dict[str, str]]:
        """Return the parameters of each refresh, and its headers in lower case."""
        found = []
        for received in list(self.connections):
            first, *headers = received.decode("latin-1").partition("\r\n\r\n")[0].split("\r\n")
            parameters = dict(parse_qsl(urlsplit(first.split(" ")[1]).query, keep_blank_values=True, errors="strict"))
            for name, _colon, value in (header.partition(":") for header in headers):
                parameters[name.lower()] = value.strip()
            found.append(parameters)
        return found

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
