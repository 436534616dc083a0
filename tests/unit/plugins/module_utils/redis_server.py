# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real Redis servers for the tests, each with its own process and folder."""

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
    """Return the library, or skip the test if the library or the server is not installed."""
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed")
    return pytest.importorskip("redis", reason="the Python package redis is not installed")


def free_port() -> int:
    """Return a free port whose port for the cluster bus is free too.

    Both are below the ports that systems assign to clients, so that no client can take one before the server does.
    """
    for _attempt in range(200):
        port = random.randrange(10000, 22000)
        with contextlib.suppress(OSError), socket.socket() as probe, socket.socket() as bus:
            probe.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + 10000))
            return port
    raise AssertionError("no port is free")


class RedisServer:
    """A Redis server on loopback."""

    def __init__(self, folder: Path, *options: str, host: str = "127.0.0.1", tls: bool = False) -> None:
        """Start a server with command line ``options``."""
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
        """Start or restart the server, and wait until it replies."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while not self._replies():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, "the Redis server did not start"
            time.sleep(0.01)

    def _replies(self) -> bool:
        """Return True if the server replies. It listens before it is ready."""
        family = socket.AF_INET if self._is_sentinel else socket.AF_UNIX
        with contextlib.suppress(OSError), socket.socket(family) as line:
            line.settimeout(1)
            line.connect((self.host, self.port) if self._is_sentinel else self.socket)
            line.sendall(b"PING\r\n")
            return bool(line.recv(1))
        return False

    def client(self, **options: t.Any) -> t.Any:
        """Return a client that sees the server's data directly."""
        return self._redis.Redis(unix_socket_path=self.socket, **options)

    def pause(self) -> None:
        """Suspend the process."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the process."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait(20)

    def stop(self) -> None:
        """Kill the process and remove its socket."""
        self.kill()
        Path(self.socket).unlink(missing_ok=True)


class RedisServers:
    """Starts servers and stops all of them at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[RedisServer] = []

    def __call__(self, *options: str, **arguments: t.Any) -> RedisServer:
        """Start a server that saves every write to disk unless ``options`` change that."""
        folder = self._folder / f"redis-{len(self._started)}"
        folder.mkdir()
        if "--sentinel" in options:
            (folder / "sentinel.conf").touch()
        else:
            options = (*DURABLE, *options)
        self._started.append(RedisServer(folder, *options, **arguments))
        return self._started[-1]

    def cluster(self, nodes: int = 3) -> list[RedisServer]:
        """Start a cluster and wait until it is available."""
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
        while not all(server.client().cluster("info")["cluster_state"] == "ok" for server in servers):
            assert time.monotonic() < end, "the cluster is not available"
            time.sleep(0.02)
        return servers

    def stop(self) -> None:
        """Stop all servers."""
        for server in self._started:
            server.stop()


class Certificates(t.NamedTuple):
    """A CA and a server certificate that it signed. ``folder`` contains the CA in the form that OpenSSL expects in a folder."""

    folder: Path
    ca: Path
    certificate: Path
    key: Path

    def options(self) -> tuple[str, ...]:
        """Return the server options to use the certificate."""
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
    """Make a CA and a certificate for the addresses of a server."""
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
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host)) for host in hosts])
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
