# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How safe a record is in Redis: what to warn of, and whether a replica has it."""

from __future__ import annotations

import contextlib
import threading
import typing as t

from .._model.exceptions import StoreError
from .connection import Connection

_WAIT = 1000
"""For how many milliseconds a replica has the time to confirm that it has a record."""


class Replication:
    """Looks after the servers that hold the records. Safe to share between threads."""

    def __init__(self, connection: Connection, warn: t.Callable[[str], None]) -> None:
        """``warn`` is told each thing once."""
        self._connection = connection
        self._warn = warn
        self._guard = threading.Lock()
        self._said: set[str] = set()
        self._replicas: dict[str, int] = {}

    def look(self, name: str) -> None:
        """Look once at the server that holds a key: whether it may lose records, and whether it has replicas."""
        with contextlib.suppress(StoreError):
            self._connection.call(lambda client: self._look(client, name))

    def wait_for_replica(self, name: str, lifetime: int) -> None:
        """Wait until a replica, where there is one, has what was written under a key, which lives ``lifetime`` ms."""
        with contextlib.suppress(StoreError):
            if self._connection.call(lambda client: self._is_safe(client, name, lifetime)):
                return
        self._say(
            f"No replica of the Redis server {self._connection.address} confirmed in time that it has the new login token, "
            "which is lost if the server fails before one has it: look at its replicas."
        )

    def _look(self, client: t.Any, name: str) -> None:
        node, server = self._connection.node(client, name)
        if node in self._replicas:
            return
        pipeline = server.pipeline(transaction=False)
        for section in ("persistence", "memory", "replication"):
            pipeline.info(section)
        pipeline.config_get("save")
        persistence, memory, replication, save = (
            answer if isinstance(answer, dict) else {}
            for answer in pipeline.execute(raise_on_error=False)
        )
        self._replicas[node] = replication.get("connected_slaves", 0)
        points = save.get("save", save.get(b"save"))
        if persistence.get("aof_enabled") == 0 and points in ("", b""):
            self._say(
                f"The Redis server {self._connection.address} writes nothing to a disk, so that all sessions end with it: "
                "set appendonly to yes."
            )
        policy = memory.get("maxmemory_policy", "noeviction")
        if memory.get("maxmemory", 0) > 0 and policy != "noeviction":
            self._say(
                f"The Redis server {self._connection.address} may drop login tokens when its memory is full "
                f"(maxmemory-policy {policy}): set maxmemory-policy to noeviction."
            )

    def _is_safe(self, client: t.Any, name: str, lifetime: int) -> bool:
        node, server = self._connection.node(client, name)
        if not self._replicas.get(node):
            return True
        # WAIT counts what its own connection wrote, and all that was written before: writing the same again is enough.
        pipeline = server.pipeline(transaction=False)
        pipeline.pexpire(name, lifetime)
        pipeline.wait(1, min(_WAIT, int(self._connection.timeout * 800)))
        acknowledged = int(pipeline.execute()[1])
        if not acknowledged:
            self._replicas.pop(node, None)
            self._look(client, name)
        return acknowledged > 0

    def _say(self, warning: str) -> None:
        with self._guard:
            if warning not in self._said:
                self._said.add(warning)
                self._warn(warning)
