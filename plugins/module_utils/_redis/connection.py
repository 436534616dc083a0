# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connect to Redis, and run commands with timeouts and retries."""

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

_SHORTEST_TIMEOUT, _LONGEST_TIMEOUT = 0.1, 5.0
_RETRIES, _FIRST_PAUSE, _LONGEST_PAUSE = 4, 0.05, 0.5


class Connection:
    """Runs commands on a Redis server, cluster or Sentinel group. Connects at the first command. Safe to share between threads."""

    def __init__(
        self, address: Address, *, username: str | None, password: str | None, ca_path: str | None, deadline: float
    ) -> None:
        """After ``deadline`` (of :func:`time.monotonic`) nothing is tried again. Raises :class:`StoreError`."""
        if REDIS_IMPORT_ERROR is not None:
            raise StoreError(missing_required_lib("redis"), code="MissingLibrary")
        self.timeout = _SHORTEST_TIMEOUT
        self.address = address
        self._credentials: dict[str, t.Any] = {"username": username or None, "password": password or None}
        self._ca_path = ca_path
        self._deadline = deadline
        self._last_failure: StoreError | None = None
        """The last retryable failure. After the deadline it is raised again without another wait for the server."""
        self._lock = threading.Lock()
        self._clients: list[t.Any] = []
        """The client that runs the commands, and then those of the Sentinels."""

    def run(self, command: t.Callable[[t.Any], T], retries: int = _RETRIES) -> T:
        """Call ``command`` with a client and return its result. It must be idempotent, because it is retried.

        Raises :class:`StoreError`, whose message quotes neither the library nor the server.
        """
        backoff = Backoff(self._deadline, _FIRST_PAUSE, _LONGEST_PAUSE)
        if self._last_failure is not None and time.monotonic() >= self._deadline:
            raise self._last_failure.with_traceback(None)
        while True:
            result = self._try(command)
            if not isinstance(result, StoreError):
                return result
            if not retries or not result.retryable or not backoff.wait() or time.monotonic() >= self._deadline:
                self._last_failure = result if result.retryable else None
                raise result
            retries -= 1

    def node(self, client: t.Any, name: str) -> tuple[str, t.Any]:
        """Return the server that stores a key: its name and a client."""
        if self.address.kind != CLUSTER:
            return "", client
        node = client.get_node_from_key(name)
        return str(node.name), client.get_redis_connection(node)

    def close(self) -> None:
        """Close all connections, including those that wait for a reply."""
        with self._lock:
            clients, self._clients = self._clients, []
        for client in clients:
            client.close()

    def _try(self, command: t.Callable[[t.Any], T]) -> T | StoreError:
        # The failure is returned and not raised here, so that its context does not show the library's error. All exceptions
        # are caught, because an unforeseen one must not lose a new token.
        try:
            return command(self._connected_client())
        except Exception as error:
            return explain(error, self.address)

    def _connected_client(self) -> t.Any:
        with self._lock:
            if not self._clients:
                remaining = self._deadline - time.monotonic()
                self.timeout = max(_SHORTEST_TIMEOUT, min(_LONGEST_TIMEOUT, remaining / 4))
                self._clients = self._connect()
            return self._clients[0]

    def _connect(self) -> list[t.Any]:
        address = self.address
        # The library must not retry, because its versions differ in how they do and none knows the deadline.
        common: dict[str, t.Any] = {
            "socket_timeout": self.timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "max_connections": 10000,
        }
        if address.path is not None:
            return [redis.Redis(unix_socket_path=address.path, db=address.db, **common, **self._credentials)]
        common.update(socket_connect_timeout=self.timeout, **self._tls_options())
        hosts = self._resolvable_hosts()
        if address.kind == CLUSTER:
            nodes: list[t.Any] = [redis.cluster.ClusterNode(*host) for host in hosts]
            cluster: t.Any = redis.RedisCluster(startup_nodes=nodes, **common, **self._credentials)
            cluster.cluster_error_retry_attempts = 0  # used by version 5 in place of "retry"
            return [cluster]
        if address.kind == SENTINEL:
            group: t.Any = redis.sentinel.Sentinel(
                hosts, sentinel_kwargs=common, db=address.db, **common, **self._credentials
            )
            return [group.master_for(address.service), *group.sentinels]
        ((host, port),) = hosts
        return [redis.Redis(host=host, port=port, db=address.db, **common, **self._credentials)]

    def _resolvable_hosts(self) -> list[Host]:
        """Return the hosts whose names can be resolved in time. The library resolves names without a timeout."""
        found = []
        for host in self.address.hosts:
            with contextlib.suppress(OSError, UnicodeError):
                run_with_timeout(self.timeout, functools.partial(socket.getaddrinfo, *host))
                found.append(host)
        if not found:
            raise OSError
        return found

    def _tls_options(self) -> dict[str, t.Any]:
        if not self.address.tls:
            return {}
        is_folder = self._ca_path is not None and os.path.isdir(self._ca_path)
        return {
            "ssl": True,
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_ca_path" if is_folder else "ssl_ca_certs": self._ca_path,
        }


def is_refusal(error: object) -> bool:
    """Return True if the server refused this one command and the connection still works."""
    return isinstance(error, redis.ResponseError) and not isinstance(error, redis.exceptions.ClusterError)


def is_redirection(error: object) -> bool:
    """Return True if another node of the cluster has the key."""
    return isinstance(error, redis.exceptions.AskError)
