# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Warn about servers that may lose records, and wait for replicas."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
import time
import typing as t

from .._model.exceptions import StoreError
from .connection import Connection

_REPLICA_TIMEOUT = 800
"""How long, in milliseconds, a save waits until a replica has the record. Any reply may take longer than this."""
_PAUSE = 10.0
"""For how many seconds no save waits again after no replica has confirmed one."""


class Replication:
    """Checks the servers that store the records. Safe to share between threads."""

    def __init__(self, connection: Connection, add_warning: t.Callable[[str], None]) -> None:
        """``add_warning`` may be called again with the same warning, but by one thread at a time."""
        self._connection = connection
        self._add_warning = add_warning
        self._lock = threading.Lock()
        self._replicas: dict[str, int] = {}
        """The number of replicas of each server."""
        self._wait_after: dict[str, float] = {}

    def check(self, slot: int) -> None:
        """Check the server of a slot, once: whether it may lose records, and whether it has replicas."""
        server = self._connection.server(slot)
        if server not in self._replicas:
            with contextlib.suppress(StoreError):
                self._connection.run(functools.partial(self._check, server), slot)

    def wait_for_replica(self, name: str, slot: int, lifetime: int) -> None:
        """Wait until a replica has the new value of a key, if the server has replicas. ``lifetime`` is the key's, in milliseconds."""
        server = self._connection.server(slot)
        if not self._replicas.get(server) or time.monotonic() < self._wait_after.get(server, 0):
            return
        with contextlib.suppress(StoreError):
            if self._connection.run(functools.partial(self._is_replicated, name, lifetime), slot):
                return
        self._wait_after[server] = time.monotonic() + _PAUSE
        self._replicas.pop(server, None)
        self.check(slot)
        self._warn(
            f"No replica of the Redis server {self._connection.address} confirmed the new login token in time. "
            "If the server fails before a replica has the token, it is lost. Check the server's replicas."
        )

    def _check(self, server: str, client: t.Any) -> None:
        pipeline = client.pipeline(transaction=False)
        for section in ("persistence", "memory", "replication"):
            pipeline.info(section)
        pipeline.config_get("save")
        persistence, memory, replication, config = (
            reply if isinstance(reply, dict) else {} for reply in pipeline.execute(raise_on_error=False)
        )
        self._replicas[server] = replication.get("connected_slaves", 0)
        snapshots = config.get("save", config.get(b"save"))
        if persistence.get("aof_enabled") == 0 and snapshots in ("", b""):
            self._warn(
                f"The Redis server {self._connection.address} does not save data to disk, so all sessions are lost when it stops. "
                "Set appendonly to yes."
            )
        policy = memory.get("maxmemory_policy", "noeviction")
        if memory.get("maxmemory", 0) > 0 and policy != "noeviction" and re.fullmatch("[a-z-]{1,30}", policy):
            self._warn(
                f"The Redis server {self._connection.address} may delete login tokens when its memory is full, "
                f"because its maxmemory-policy is {policy}. Set maxmemory-policy to noeviction."
            )

    def _is_replicated(self, name: str, lifetime: int, client: t.Any) -> bool:
        # WAIT covers only writes of its own connection and earlier ones. PEXPIRE is such a write and changes nothing.
        pipeline = client.pipeline(transaction=False)
        pipeline.pexpire(name, lifetime)
        pipeline.wait(1, _REPLICA_TIMEOUT)
        return int(pipeline.execute()[1]) > 0

    def _warn(self, warning: str) -> None:
        with self._lock:
            self._add_warning(warning)
