# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Warn about servers that may lose records, and wait for replicas."""

from __future__ import annotations

import contextlib
import threading
import typing as t

from .._model.exceptions import StoreError
from .connection import Connection

_REPLICA_TIMEOUT = 1000
"""How long, in milliseconds, a save waits until a replica has the record."""


class Replication:
    """Checks the servers that store the records. Safe to share between threads."""

    def __init__(self, connection: Connection, add_warning: t.Callable[[str], None]) -> None:
        """``add_warning`` may be called again with the same warning, but by one thread at a time."""
        self._connection = connection
        self._add_warning = add_warning
        self._lock = threading.Lock()
        self._replicas: dict[str, int] = {}

    def check(self, name: str) -> None:
        """Check the server that stores a key, once: whether it may lose records, and whether it has replicas."""
        with contextlib.suppress(StoreError):
            self._connection.run(lambda client: self._check(client, name))

    def wait_for_replica(self, name: str, lifetime: int) -> None:
        """Wait until a replica has the new value of a key, if the server has replicas. ``lifetime`` is the key's, in milliseconds."""
        with contextlib.suppress(StoreError):
            if self._connection.run(lambda client: self._is_replicated(client, name, lifetime)):
                return
        self._warn(
            f"No replica of the Redis server {self._connection.address} confirmed the new login token in time. "
            "If the server fails before a replica has the token, it is lost. Check the server's replicas."
        )

    def _check(self, client: t.Any, name: str) -> None:
        node, server = self._connection.node(client, name)
        if node in self._replicas:
            return
        pipeline = server.pipeline(transaction=False)
        for section in ("persistence", "memory", "replication"):
            pipeline.info(section)
        pipeline.config_get("save")
        persistence, memory, replication, config = (
            reply if isinstance(reply, dict) else {} for reply in pipeline.execute(raise_on_error=False)
        )
        self._replicas[node] = replication.get("connected_slaves", 0)
        snapshots = config.get("save", config.get(b"save"))
        if persistence.get("aof_enabled") == 0 and snapshots in ("", b""):
            self._warn(
                f"The Redis server {self._connection.address} does not save data to disk, so all sessions are lost when it stops. "
                "Set appendonly to yes."
            )
        policy = memory.get("maxmemory_policy", "noeviction")
        if memory.get("maxmemory", 0) > 0 and policy != "noeviction":
            self._warn(
                f"The Redis server {self._connection.address} may delete login tokens when its memory is full, "
                f"because its maxmemory-policy is {policy}. Set maxmemory-policy to noeviction."
            )

    def _is_replicated(self, client: t.Any, name: str, lifetime: int) -> bool:
        node, server = self._connection.node(client, name)
        if not self._replicas.get(node):
            return True
        # WAIT covers only writes of its own connection and earlier ones. PEXPIRE is such a write and changes nothing.
        pipeline = server.pipeline(transaction=False)
        pipeline.pexpire(name, lifetime)
        pipeline.wait(1, min(_REPLICA_TIMEOUT, int(self._connection.timeout * 800)))
        acknowledged = int(pipeline.execute()[1])
        if not acknowledged:
            self._replicas.pop(node, None)
            self._check(client, name)
        return acknowledged > 0

    def _warn(self, warning: str) -> None:
        with self._lock:
            self._add_warning(warning)
