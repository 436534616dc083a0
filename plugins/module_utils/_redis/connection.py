# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run commands on the servers of Redis, with timeouts and retries."""

from __future__ import annotations

import os
import threading
import time
import typing as t

from .._model.exceptions import StoreError
from .._runtime.signals import signal_pending
from .._runtime.timeouts import Backoff
from . import sockets
from .address import CLUSTER, SENTINEL, SOCKET, Address, Host
from .failures import Busy, explain, explain_import
from .topology import Topology

if sockets.IMPORT_ERROR is None:
    import redis.backoff
    import redis.retry

T = t.TypeVar("T")
Command = t.Callable[[t.Any], T]
"""A function that runs commands with the library's client of a server. It must be idempotent, because it is retried."""

_GRACE = 1.0
"""How many seconds a command has that begins at the deadline, such as one that saves a new token."""
_RETRIES, _FIRST_PAUSE, _LONGEST_PAUSE = 4, 0.05, 0.5


class Connection:
    """Runs commands on a Redis server, cluster or Sentinel group. Connects at the first command. Safe to share between threads."""

    def __init__(
        self, address: Address, *, username: str | None, password: str | None, ca_path: str | None, deadline: float
    ) -> None:
        """After ``deadline`` (of :func:`time.monotonic`) nothing is tried again. Raises :class:`StoreError`."""
        if sockets.IMPORT_ERROR is not None:
            raise explain_import(sockets.IMPORT_ERROR, str(address))
        self.deadline = deadline
        self.address = address
        self._options = self._connection_options(ca_path)
        self._login = {"db": address.db, "username": username or None, "password": password or None}
        facts = {"single": address.kind != CLUSTER, "tls": address.tls, "username": username}
        self._facts = (address.kind, *(fact for fact, is_true in facts.items() if is_true))
        self._topology = Topology(address, self._ask, self._facts)
        self._failures: dict[str, StoreError] = {}
        """The failure of each server that did not reply. After the deadline it is raised again without another wait."""
        self._lock = threading.Lock()
        self._clients: dict[tuple[Host, bool], t.Any] = {}

    def run(self, command: Command[T], slot: int = 0, retries: int | None = None) -> T:
        """Run a command on the server of a slot, and return its result.

        By default, retry a few times, and until the deadline while the server is busy. Raises :class:`StoreError`, whose message
        quotes neither the library nor the server.
        """
        return self._repeat(lambda: self._send(command, slot), slot, retries)

    def servers(self) -> dict[str, int]:
        """Return one slot of each server that stores sessions, by the server's name."""
        self._repeat(self._topology.owners, 0, None)
        return self._topology.servers

    def server(self, slot: int) -> str:
        """Return the name of a slot's server in messages."""
        return self._topology.server(slot)

    def explain(self, error: Exception, slot: int) -> StoreError:
        """Return the error to raise for an error of the library."""
        return explain(error, self.server(slot), self._facts)

    def concerns_slot(self, error: object) -> bool:
        """Return True if a node of a cluster replied that it does not serve the slot of the key, or not completely."""
        kinds = (redis.exceptions.AskError, redis.exceptions.ClusterDownError, redis.exceptions.TryAgainError)
        return self.address.kind == CLUSTER and isinstance(error, kinds)

    def close(self) -> None:
        """Close all connections, including those that wait for a reply."""
        with self._lock:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.connection_pool.disconnect()

    def _repeat(self, act: t.Callable[[], T], slot: int, retries: int | None) -> T:
        backoff = Backoff(self.deadline, _FIRST_PAUSE, _LONGEST_PAUSE)
        left = _RETRIES if retries is None else retries
        while True:
            result = self._try(act, slot, retries is None)
            if not isinstance(result, StoreError):
                return result
            waits = retries is None and isinstance(result, Busy) and not signal_pending()
            if not (result.retryable and (left or waits)) or not backoff.wait() or time.monotonic() >= self.deadline:
                raise result
            left -= not waits

    def _try(self, act: t.Callable[[], T], slot: int, may_be_late: bool) -> T | StoreError:
        # The failure is returned and not raised here, so that its context does not show the library's error. All exceptions
        # are caught, because an unforeseen one must not lose a new token.
        now, server = time.monotonic(), self.server(slot)
        if now >= self.deadline and server in self._failures:
            return self._failures[server].with_traceback(None)
        end = (max(now, self.deadline) if may_be_late else self.deadline) + _GRACE
        try:
            with sockets.time_limit(end, max(_GRACE, min(sockets.LONGEST_TIMEOUT, (self.deadline - now) / 4))):
                result = act()
        except Exception as error:
            failure, server = self.explain(error, slot), self.server(slot)
            if failure.retryable:
                self._topology.forget(slot)
                if not isinstance(error, redis.ResponseError):
                    self._failures[server] = failure
            return failure
        self._failures.pop(self.server(slot), None)
        return result

    def _send(self, command: Command[T], slot: int) -> T:
        host = self._topology.owner(slot)
        try:
            return command(self._client(host))
        except redis.exceptions.AskError as error:
            if self.address.kind != CLUSTER:
                raise
            redirection = error
        target = self._client((redirection.host or host[0], redirection.port))
        if isinstance(redirection, redis.exceptions.MovedError):
            self._topology.forget(slot)
            return command(target)
        with target.client() as asking:  # It uses one connection, because ASKING concerns the next command only.
            asking.execute_command("ASKING")
            return command(asking)

    def _ask(self, host: Host, *command: str | None) -> t.Any:
        with sockets.large_replies():
            return self._client(host, is_sentinel=self.address.kind == SENTINEL).execute_command(*command)

    def _client(self, host: Host, *, is_sentinel: bool = False) -> t.Any:
        with self._lock:
            client = self._clients.get((host, is_sentinel))
            if client is None:
                options = {**self._options, **({} if is_sentinel else self._login)}
                options.update({"path": host[0]} if self.address.kind == SOCKET else {"host": host[0], "port": host[1]})
                pool: t.Any = redis.ConnectionPool(**options)
                client = self._clients[host, is_sentinel] = redis.Redis(connection_pool=pool)
            return client

    def _connection_options(self, ca_path: str | None) -> dict[str, t.Any]:
        # The library must not retry, because its versions differ in how they do and none knows the deadline.
        options: dict[str, t.Any] = {
            "connection_class": sockets.UnixConnection if self.address.kind == SOCKET else sockets.Connection,
            "parser_class": sockets.Parser,
            "socket_timeout": sockets.LONGEST_TIMEOUT,
            "retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0),
            "protocol": 2,
            "max_connections": 10000,
        }
        if self.address.tls:
            is_folder = ca_path is not None and os.path.isdir(ca_path)
            options["connection_class"] = sockets.TlsConnection
            options.update(ssl_cert_reqs="required", ssl_check_hostname=True)
            options["ssl_ca_path" if is_folder else "ssl_ca_certs"] = ca_path
        return options
