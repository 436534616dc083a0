# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to Redis, bounded in time.

Only files of the Redis store import this file.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import time
import traceback
import typing as t

from ansible.module_utils.basic import missing_required_lib

from .._model.exceptions import StoreError
from .._runtime.timeouts import Backoff, run_with_timeout
from .address import CLUSTER, SENTINEL, Address, Host
from .failures import explain

try:
    import redis
    import redis.cluster
    import redis.sentinel
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError:
    REDIS_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    REDIS_IMPORT_ERROR = None

T = t.TypeVar("T")

_LEAST_TIMEOUT, _TIMEOUT = 0.1, 5.0
_RETRIES, _FIRST_PAUSE, _LONGEST_PAUSE = 4, 0.05, 0.5


class Connection:
    """Runs commands on a Redis server, cluster or group; connects when it is first used. Safe to share between threads."""

    def __init__(
        self,
        address: Address,
        *,
        username: str | None,
        password: str | None,
        ca_path: str | None,
        deadline: float,
    ) -> None:
        """``deadline`` is the instant of :func:`time.monotonic` after which nothing is tried again. Raises :class:`StoreError`."""
        if REDIS_IMPORT_ERROR is not None:
            raise StoreError(missing_required_lib("redis"), code="MissingLibrary")
        self.timeout = _LEAST_TIMEOUT
        self.address = address
        self._login = {"username": username or None, "password": password or None}
        self._ca_path = ca_path
        self._deadline = deadline
        self._lost: StoreError | None = None
        """Why the server was out of reach last: once the deadline has passed, nobody waits for it again."""
        self._guard = threading.Lock()
        self._client: t.Any = None
        self._sentinels: list[t.Any] = []

    def call(self, work: t.Callable[[t.Any], T], retries: int = _RETRIES) -> T:
        """Return what ``work`` makes of a client. It must be harmless to repeat, for it is after a fault that passes.

        Raises :class:`StoreError`, which shows nothing of what the library or the server say.
        """
        backoff = Backoff(self._deadline, _FIRST_PAUSE, _LONGEST_PAUSE)
        if self._lost is not None and time.monotonic() >= self._deadline:
            raise self._lost.with_traceback(None)
        while True:
            answer, failure = self._try(work)
            if failure is None:
                return t.cast(T, answer)
            if not retries or not failure.retryable or not backoff.wait():
                self._lost = failure if failure.retryable else None
                raise failure
            retries -= 1

    def explain(self, error: Exception) -> StoreError:
        """Return what an error of the library means."""
        return explain(error, self.address)

    def node(self, client: t.Any, name: str) -> tuple[str, t.Any]:
        """Return the server that holds a key: something that names it, and a client of its own."""
        if self.address.kind != CLUSTER:
            return "", client
        node = client.get_node_from_key(name)
        return str(node.name), client.get_redis_connection(node)

    def close(self) -> None:
        """Close all connections, also those on which an answer is awaited."""
        with self._guard:
            clients, self._client, self._sentinels = [self._client, *self._sentinels], None, []
        for client in clients:
            if client is not None:
                client.close()

    def _try(self, work: t.Callable[[t.Any], T]) -> tuple[T | None, StoreError | None]:
        # Returned, so that what is raised has no trace of it; and any, lest one that nobody foresaw costs a new token.
        try:
            return work(self._connected()), None
        except Exception as error:
            return None, self.explain(error)

    def _connected(self) -> t.Any:
        with self._guard:
            if self._client is None:
                remaining = self._deadline - time.monotonic()
                self.timeout = max(_LEAST_TIMEOUT, min(_TIMEOUT, remaining / 4))
                self._client = self._connect()
            return self._client

    def _connect(self) -> t.Any:
        # It is tried again here and not in the library, where the versions differ and none knows the deadline.
        common: dict[str, t.Any] = {
            "socket_timeout": self.timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "max_connections": 10000,
        }
        address, login, library = self.address, self._login, t.cast(t.Any, redis)
        if address.path is not None:
            return library.Redis(unix_socket_path=address.path, db=address.db, **common, **login)
        common.update(socket_connect_timeout=self.timeout, **self._tls())
        hosts = self._resolvable_hosts()
        if address.kind == CLUSTER:
            nodes = [library.cluster.ClusterNode(*host) for host in hosts]
            cluster = library.RedisCluster(startup_nodes=nodes, **common, **login)
            cluster.cluster_error_retry_attempts = 0  # what version 5 goes by instead of "retry"
            return cluster
        if address.kind == SENTINEL:
            group = library.sentinel.Sentinel(
                hosts, sentinel_kwargs=common, db=address.db, **common, **login
            )
            self._sentinels = list(group.sentinels)
            return group.master_for(address.service)
        ((host, port),) = hosts
        return library.Redis(host=host, port=port, db=address.db, **common, **login)

    def _resolvable_hosts(self) -> list[Host]:
        """Return the hosts whose names have an address, found in time: the library's own look-up knows no end."""
        found = []
        for host in self.address.hosts:
            with contextlib.suppress(OSError, UnicodeError):
                run_with_timeout(self.timeout, functools.partial(socket.getaddrinfo, *host))
                found.append(host)
        if not found:
            raise OSError
        return found

    def _tls(self) -> dict[str, t.Any]:
        if not self.address.tls:
            return {}
        where = "ssl_ca_path" if self._ca_path and os.path.isdir(self._ca_path) else "ssl_ca_certs"
        return {
            "ssl": True,
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            where: self._ca_path,
        }
