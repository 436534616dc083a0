# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server with the protocol of Redis, whose replies a test sets."""

from __future__ import annotations

import socketserver
import threading
import time
import typing as t

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._redis import scripts
from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import parse_address
from ansible_collections.wuying.workspace.plugins.module_utils._redis.store import RedisStore

NOTHING = b"$-1\r\n"
DONE = b"$4\r\ndone\r\n"
NO_KEYS = b"*2\r\n$1\r\n0\r\n*0\r\n"


class FakeRedis(socketserver.ThreadingTCPServer):
    """Replies as Redis does, unless a test sets other replies for the names of commands or the texts of scripts."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.replies: dict[bytes, bytes] = {
            b"HMGET": b"*2\r\n" + NOTHING * 2,
            b"SCAN": NO_KEYS,
            scripts.ACQUIRE.encode(): b"*5\r\n:1\r\n" + NOTHING * 4,
            scripts.DELETE.encode(): b":0\r\n",
        }
        self.greeting = b""
        """What the server sends before it closes a connection without reading from it."""
        self.pauses: dict[bytes, float] = {}
        """How many seconds the replies to some commands take."""
        self.received: list[bytes] = []
        self.port = int(self.server_address[1])
        self.address = f"redis://127.0.0.1:{self.port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class _Conversation(socketserver.StreamRequestHandler):
    server: FakeRedis

    def handle(self) -> None:
        if self.server.greeting:
            self.wfile.write(self.server.greeting)
            return
        for line in iter(self.rfile.readline, b""):
            command = [self._read_item() for _item in range(int(line[1:]))]
            name = command[1] if command[0] == b"EVAL" else command[0]
            self.server.received.append(name)
            time.sleep(self.server.pauses.get(name, 0))
            default = DONE if command[0] == b"EVAL" else b"+OK\r\n"
            self.wfile.write(self.server.replies.get(name, default))

    def _read_item(self) -> bytes:
        length = int(self.rfile.readline()[1:])
        return self.rfile.read(length + 2)[:-2]


def open_store(address: str, seconds: float = 2, **options: t.Any) -> RedisStore:
    """Return a store whose deadline is so many seconds from now."""
    settings = {"username": None, "password": None, "ca_path": None, "deadline": time.monotonic() + seconds}
    return RedisStore(parse_address(address), **{**settings, **options})


def read_or_raise(store: RedisStore, *keys: str) -> None:
    """Read sessions at once, and raise the first error."""
    for stored in store.read_many(keys):
        if isinstance(stored, StoreError):
            raise stored
