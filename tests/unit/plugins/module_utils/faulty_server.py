# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that send scripted bytes, to imitate faulty services, proxies and networks."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import select
import socket
import ssl
import struct
import threading
import time
import typing as t
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Script = t.Union[bytes, t.Callable[[socket.socket], None]]


class Wire:
    """A server that sends the bytes of a test as the response to each request. Its attributes can be changed at any time."""

    def __init__(
        self,
        answer: Script,
        context: ssl.SSLContext | None = None,
        *,
        reads: bool = True,
        port: int = 0,
    ) -> None:
        """Listen, on any port by default. If ``reads`` is false, respond to a connection without reading a request."""
        self.answer, self.context, self.reads = answer, context, reads
        self.heads: list[str] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop accepting connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self.connections += 1
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(30)
        with contextlib.suppress(OSError, ssl.SSLError):
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            while True:
                head = read_head(connection) if self.reads else "unread"
                if not head:
                    break
                self.heads.append(head)
                if isinstance(self.answer, bytes):
                    connection.sendall(self.answer)
                    break
                self.answer(connection)
                if connection.fileno() < 0:
                    break
        connection.close()


@contextlib.contextmanager
def wires() -> t.Iterator[t.Callable[..., Wire]]:
    """Yield a function that starts a server. All of them stop when the block ends."""
    started: list[Wire] = []

    def start(answer: Script, context: ssl.SSLContext | None = None, **settings: t.Any) -> Wire:
        started.append(Wire(answer, context, **settings))
        return started[-1]

    try:
        yield start
    finally:
        for wire in started:
            wire.close()


def read_head(connection: socket.socket) -> str:
    """Read a request without a body."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        if not piece:
            return ""
        data += piece
    return data.decode("latin-1")


def headers_of(head: str) -> dict[str, str]:
    """Return the headers of a request."""
    lines = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
    return {name.lower(): value for name, _colon, value in lines}


def dripping(start: bytes) -> Script:
    """Return a response that starts at once and then continues endlessly, byte by byte."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            time.sleep(0.02)
            connection.sendall(b"x")

    return answer


def flooding(start: bytes) -> Script:
    """Return a response that continues endlessly, as fast as it is read."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(b"x" * 65536)

    return answer


def silent(connection: socket.socket) -> None:
    """Send nothing until the client closes the connection."""
    connection.recv(1)


def resetting(connection: socket.socket) -> None:
    """Reset the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def resetting_unread(connection: socket.socket) -> None:
    """Reset the connection when a request arrives, without reading it."""
    select.select([connection], [], [], 30)
    resetting(connection)


def keeping_alive(data: bytes) -> Script:
    """Return a response after which the connection stays open for the next request."""
    return lambda connection: connection.sendall(data)


def response(status: str, *headers: str, body: bytes = b"") -> bytes:
    """Return a response with the right content length."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def closed_port() -> int:
    """Return a port on which no server listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def make_certificate(folder: Path, name: str, days: int = 7) -> tuple[str, ssl.SSLContext]:
    """Make a self-signed certificate that expires in ``days``. Return its path and a TLS context for a server."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, folder.name)])
    try:
        names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(name))]
    except ValueError:
        names = [x509.DNSName(name)]
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(1 + abs(days)))
        .not_valid_after(now + datetime.timedelta(days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    clear = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public, private = folder / f"{name}.pem", folder / f"{name}.key"
    public.write_bytes(certificate.public_bytes(pem))
    private.write_bytes(key.private_bytes(pem, *clear))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(public), str(private))
    return str(public), context
