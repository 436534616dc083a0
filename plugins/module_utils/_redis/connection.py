# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run commands on the servers of Redis, with timeouts and retries."""

from __future__ import annotations

import contextlib
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
from .outages import Outages
from .topology import Topology

with contextlib.suppress(Exception):  # sockets.IMPORT_ERROR is the reason.
    import redis.backoff
    import redis.retry

T = t.TypeVar("T")
Command = t.Callable[[t.Any], T]
"""A function that runs commands with the library's client of a server. It must be idempotent, because it is retried."""

_GRACE = 1.0
"""How many seconds after the deadline the last command ends. Saving a new token takes at most as long, whenever it begins."""
_RETRIES, _FIRST_PAUSE, _LONGEST_PAUSE = 4, 0.05, 0.5
_TOO_LATE = "Timed out before the Redis server {} could be used. Try again later or increase deadline."


class Connection:
    """Runs commands on a Redis server, cluster or Sentinel group. Connects at the first command. Safe to share between threads."""

    def __init__(
        self, address: Address, *, username: str | None, password: str | None, ca_path: str | None, deadline: float
    ) -> None:
        """After ``deadline`` (of :func:`time.monotonic`) nothing is tried again, and soon nothing is sent. Raises :class:`StoreError`."""
        if sockets.IMPORT_ERROR is not None:
            raise explain_import(sockets.IMPORT_ERROR, str(address))
        self.deadline = deadline
        self.end = deadline + _GRACE
        """When all commands must be done, except those that save a new token."""
        self.address = address
        self._options = self._connection_options(ca_path)
        self._login = {"db": address.db, "username": username or None, "password": password or None}
        facts = {"single": address.kind != CLUSTER, "tls": address.tls, "username": username}
        self._facts = (address.kind, *(fact for fact, is_true in facts.items() if is_true))
        self._topology = Topology(address, self._ask, self._facts)
        self._outages = Outages()
        self._lock = threading.Lock()
        self._clients: dict[tuple[Host, bool], t.Any] = {}

    def run(self, command: Command[T], slot: int = 0, retries: int | None = None, end: float | None = None) -> T:
        """Run a command on the server of a slot, and return its result.

        By default, retry a few times, and until the deadline while the server is busy. If one of several servers fails, one thread
        tries it again. The commands of other threads fail early, so that they can go on with other servers. A command that has an
        ``end`` of its own is sent in any case, and retried until then. Raises :class:`StoreError`, whose message quotes neither
        the library nor the server.
        """
        return self._repeat(lambda: self._send(command, slot), slot, retries, end)

    def end_of_save(self) -> float:
        """Return when a new token must be saved if saving it begins now."""
        return max(time.monotonic() + _GRACE, self.end)

    def servers(self) -> dict[str, int]:
        """Return one slot of each server that stores sessions, by the server's name."""
        self._repeat(self._topology.owners, None, None, None)
        return self._topology.servers

    @property
    def has_several_servers(self) -> bool:
        """True if several servers store sessions, as far as is known."""
        return len(self._topology.servers) > 1

    def server(self, slot: int | None) -> str:
        """Return the name of a slot's server in messages, or the address."""
        return self._topology.server(slot)

    def explain(self, error: Exception, slot: int | None) -> StoreError:
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

    def _repeat(self, act: t.Callable[[], T], slot: int | None, retries: int | None, end: float | None) -> T:
        last = self.deadline if end is None else end
        backoff = Backoff(last, _FIRST_PAUSE, _LONGEST_PAUSE)
        if self.has_several_servers and self._outages.error(self.server(slot)):
            retries = 0  # One try shows whether a server that failed works again.
        left = _RETRIES if retries is None else retries
        try:
            while True:
                result = self._try(act, slot, end)
                if not isinstance(result, StoreError):
                    return result
                if self._skip(slot, end) is None:
                    waits = retries is None and isinstance(result, Busy) and not signal_pending()
                    goes_on = result.retryable and (left or waits)
                    left -= not waits
                else:
                    goes_on = self._outages.may_end_soon(self.server(slot))
                if not goes_on or not backoff.wait() or time.monotonic() >= last:
                    raise result
        finally:
            self._outages.give_up()

    def _try(self, act: t.Callable[[], T], slot: int | None, end: float | None) -> T | StoreError:
        # The failure is returned and not raised here, so that its context does not show the library's error. All exceptions
        # are caught, because an unforeseen one must not lose a new token.
        skipped = self._skip(slot, end)
        if skipped is not None:
            return skipped
        timeout = max(_GRACE, min(sockets.LONGEST_TIMEOUT, (self.deadline - time.monotonic()) / 4))
        try:
            with sockets.time_limit(self.end if end is None else end, timeout):
                result = act()
        except Exception as error:
            failure, server = self.explain(error, slot), self.server(slot)
            if failure.retryable:
                self._topology.forget(slot)
                if isinstance(failure, Busy) or not isinstance(error, redis.ResponseError):
                    self._outages.add(server, failure)
            return failure
        self._outages.remove(self.server(slot))
        return result

    def _skip(self, slot: int | None, end: float | None) -> StoreError | None:
        """Return the error of a command that this thread must not send, or None if it may send the command."""
        now, server = time.monotonic(), self.server(slot)
        if now >= (self.end if end is None else end):
            late = StoreError(_TOO_LATE.format(server), code="DeadlineExceeded", retryable=True)
            return self._outages.error(server) or late
        if end is not None:
            return None
        if now >= self.deadline:
            return self._outages.error(server)
        return self._outages.check(server) if self.has_several_servers else None

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
