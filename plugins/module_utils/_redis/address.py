# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse the URL of a Redis server, cluster or Sentinel group."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .._model.endpoint import is_loopback
from .._model.exceptions import OptionError

Host = t.Tuple[str, int]

SERVER, SOCKET, CLUSTER, SENTINEL = "server", "socket", "cluster", "sentinel"
_SCHEMES = {
    "redis": (SERVER, False),
    "rediss": (SERVER, True),
    "unix": (SOCKET, False),
    "redis+cluster": (CLUSTER, False),
    "rediss+cluster": (CLUSTER, True),
    "redis+sentinel": (SENTINEL, False),
    "rediss+sentinel": (SENTINEL, True),
}
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,253}|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{1,5}))?")
_DATABASE = re.compile(r"[0-9]{1,5}")
_SERVICE = re.compile(r"[A-Za-z0-9._-]+")


class Address(t.NamedTuple):
    """An address of Redis. ``service`` is the name by which the Sentinels in ``hosts`` know their group of servers."""

    kind: str
    tls: bool = False
    hosts: tuple[Host, ...] = ()
    path: str | None = None
    service: str | None = None
    db: int = 0

    @property
    def is_exposed(self) -> bool:
        """True if a password or token would travel over the network unencrypted."""
        names = (f"[{name}]" if ":" in name else name.lower() for name, _port in self.hosts)
        return not self.tls and not all(is_loopback(f"http://{name}") for name in names)

    def __str__(self) -> str:
        """Return the name of the server in messages."""
        if self.path is not None:
            return self.path
        hosts = ", ".join(map(name_of, self.hosts))
        return hosts if self.service is None else f"{self.service} of {hosts}"


def name_of(host: Host) -> str:
    """Return the name of a host in messages."""
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def parse_address(text: str) -> Address:
    """Read an address. Raises :class:`OptionError`, which does not quote the address, because it may contain a password."""
    scheme, _separator, rest = text.partition("://")
    if scheme not in _SCHEMES:
        raise OptionError(
            "store must be the absolute path of a directory, the address of a Redis server (redis://, rediss://, "
            "unix://, redis+cluster://, redis+sentinel://), or 'none'."
        )
    if "@" in rest:
        raise OptionError("store must not contain a user name or password. Use store_username and store_password.")
    if "?" in rest or "#" in rest:
        raise OptionError("store must not contain a query or a fragment.")
    kind, tls = _SCHEMES[scheme]
    if kind == SOCKET:
        if not rest.startswith("/") or not rest.isprintable():
            raise OptionError("store must contain the absolute path of a socket after unix://.")
        return Address(SOCKET, path=rest)
    names, _slash, path = rest.partition("/")
    service, default_port = None, 6379
    if kind == SENTINEL:
        default_port = 26379
        service, _slash, path = path.partition("/")
        if not _SERVICE.fullmatch(service):
            raise OptionError(
                "store must name the Sentinels and the service that they monitor, as in redis+sentinel://HOST:PORT,HOST:PORT/SERVICE."
            )
    hosts = tuple(_parse_host(name, default_port) for name in names.split(","))
    if kind == CLUSTER and path not in ("", "0"):
        raise OptionError("store must not name a database of a Redis cluster, because a cluster has only one.")
    if kind == SERVER and len(hosts) > 1:
        raise OptionError(
            "store must name a single Redis server. For more hosts use redis+cluster:// or redis+sentinel://."
        )
    if path and not _DATABASE.fullmatch(path):
        raise OptionError("store must end with the number of a database, or omit it.")
    return Address(kind, tls, hosts, service=service, db=int(path or 0))


def _parse_host(text: str, port: int) -> Host:
    match = _HOST.fullmatch(text)
    if match is None:
        raise OptionError("store must name a Redis server as HOST or HOST:PORT. Write an IPv6 address in brackets.")
    name = match["name"]
    if match["ipv6"] is not None:
        try:
            name = str(ipaddress.IPv6Address(match["ipv6"]))
        except ValueError:
            raise OptionError("store must contain a valid IPv6 address in the brackets.") from None
    if match["port"] is not None:
        port = int(match["port"])
    if not 0 < port < 65536:
        raise OptionError("store must contain a port from 1 to 65535.")
    return name, port
