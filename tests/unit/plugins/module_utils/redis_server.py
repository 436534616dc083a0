# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real Redis servers for the tests, each a process of its own with a folder of its own."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import random
import shutil
import signal
import socket
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

DURABLE = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")


def require_redis() -> t.Any:
    """Return the package, or skip the test where it or the server is missing."""
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed")
    return pytest.importorskip("redis", reason="the Python package redis is not installed")


def free_port() -> int:
    """Return a port that nobody listens on, nor on that of a cluster's bus beside it.

    Both are below those that systems give to clients: none of these takes it before the server does.
    """
    for _turn in range(200):
        port = random.randrange(10000, 22000)
        with contextlib.suppress(OSError), socket.socket() as probe, socket.socket() as bus:
            probe.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + 10000))
            return port
    raise AssertionError("no port is free")


class RedisServer:
    """A Redis server on loopback."""

    def __init__(
        self, folder: Path, *options: str, host: str = "127.0.0.1", tls: bool = False
    ) -> None:
        """Start it, with ``options`` of its command line."""
        self._redis = require_redis()
        self.folder = folder
        self.port = free_port()
        self.host = host
        self.socket = f"/tmp/wuying-redis-{self.port}.sock"
        self._is_sentinel = "--sentinel" in options
        self._command = ["redis-server"]
        if self._is_sentinel:
            self._command.append(str(folder / "sentinel.conf"))
        self._command += [
            "--tls-port" if tls else "--port",
            str(self.port),
            *(["--port", "0"] if tls else []),
        ]
        self._command += ["--bind", host, "--dir", str(folder), *options]
        if not self._is_sentinel:
            self._command += ["--unixsocket", self.socket]
        self.start()

    @property
    def address(self) -> str:
        """The address of the server."""
        return f"redis://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def start(self) -> None:
        """Start it (again), and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, "the Redis server did not start"
            time.sleep(0.01)

    def _answers(self) -> bool:
        """Say whether it answers anything: it listens before it has found all that it needs."""
        family = socket.AF_INET if self._is_sentinel else socket.AF_UNIX
        with contextlib.suppress(OSError), socket.socket(family) as line:
            line.settimeout(1)
            line.connect((self.host, self.port) if self._is_sentinel else self.socket)
            line.sendall(b"PING\r\n")
            return bool(line.recv(1))
        return False

    def client(self, **options: t.Any) -> t.Any:
        """Return a client for looking behind the scenes."""
        return self._redis.Redis(unix_socket_path=self.socket, **options)

    def pause(self) -> None:
        """Stop it as it is."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait(20)

    def stop(self) -> None:
        """End it, and remove its socket."""
        self.kill()
        Path(self.socket).unlink(missing_ok=True)


class RedisServers:
    """Starts servers, and ends them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[RedisServer] = []

    def __call__(self, *options: str, **arguments: t.Any) -> RedisServer:
        """Start a server that keeps what it is told, unless the options say otherwise."""
        folder = self._folder / f"redis-{len(self._started)}"
        folder.mkdir()
        if "--sentinel" in options:
            (folder / "sentinel.conf").touch()
        else:
            options = (*DURABLE, *options)
        self._started.append(RedisServer(folder, *options, **arguments))
        return self._started[-1]

    def cluster(self, nodes: int = 3) -> list[RedisServer]:
        """Start a cluster and wait until it works."""
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        servers = [self(*options) for _node in range(nodes)]
        names = [f"{server.host}:{server.port}" for server in servers]
        subprocess.run(
            ["redis-cli", "--cluster", "create", *names, "--cluster-yes"],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )
        end = time.monotonic() + 20
        while not all(
            server.client().cluster("info")["cluster_state"] == "ok" for server in servers
        ):
            assert time.monotonic() < end, "the cluster does not work"
            time.sleep(0.02)
        return servers

    def stop(self) -> None:
        """End all servers."""
        for server in self._started:
            server.stop()


class Certificates(t.NamedTuple):
    """A CA, and a server's certificate that it signed. ``folder`` has the CA as OpenSSL looks it up in a folder."""

    folder: Path
    ca: Path
    certificate: Path
    key: Path

    def options(self) -> tuple[str, ...]:
        """Return what has a server use them."""
        files = (
            "--tls-cert-file",
            self.certificate,
            "--tls-key-file",
            self.key,
            "--tls-ca-cert-file",
            self.ca,
        )
        return (*map(str, files), "--tls-auth-clients", "no")


def make_certificates(folder: Path, name: str, *hosts: str) -> Certificates:
    """Make a CA, and a certificate for addresses of a server."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = folder / name
    folder.mkdir()
    now = datetime.datetime.now(datetime.timezone.utc)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _key in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA {name}")])

    def sign(subject: x509.Name, public: t.Any, extension: t.Any, critical: bool) -> bytes:
        builder = x509.CertificateBuilder(
            ca_name, subject, public, x509.random_serial_number(), now, now + datetime.timedelta(1)
        )
        subject_key = x509.SubjectKeyIdentifier.from_public_key(public)
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=critical,
            crl_sign=critical,
            encipher_only=False,
            decipher_only=False,
        )
        for each, is_critical in (
            (extension, critical),
            (subject_key, False),
            (issuer_key, False),
            (usage, True),
        ):
            builder = builder.add_extension(each, is_critical)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    made = Certificates(folder, folder / "ca.pem", folder / "server.pem", folder / "server.key")
    made.ca.write_bytes(sign(ca_name, ca_key.public_key(), x509.BasicConstraints(True, None), True))
    names = x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address(host)) for host in hosts]
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Redis")])
    made.certificate.write_bytes(sign(subject, key.public_key(), names, False))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    subprocess.run(["openssl", "rehash", str(folder)], check=True, timeout=30)
    return made
