# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that answer as no Redis does: an error that says so, and never taken for a success."""

from __future__ import annotations

import contextlib
import itertools
import socket
import socketserver
import threading
import time
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.stored_state import (
    StoredState,
)
from ansible_collections.wuying.workspace.plugins.module_utils._redis import scripts
from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import parse_address
from ansible_collections.wuying.workspace.plugins.module_utils._redis.store import RedisStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import LockedSession
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.faulty_server import wires
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.house import (
    House,
    session_at,
)

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.tests.unit.conftest import Emulator

pytest.importorskip("redis", reason="the Python package redis is not installed")

SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
RECORD = next_record(None, SESSION, "v1first", "v1second", time.time(), 900, None)
ATTEMPT = new_note(None, "v1first", "a test")
NOTHING = b"$-1\r\n"
DONE = b"$4\r\ndone\r\n"
ODD = {
    "a number": b":5\r\n",
    "no items": b"*0\r\n",
    "nothing": NOTHING,
    "no list": b"*-1\r\n",
    "numbers": b"*2\r\n:1\r\n:2\r\n",
    "lists": b"*2\r\n*1\r\n:1\r\n*0\r\n",
    "errors": b"*2\r\n-ERR one\r\n-ERR another\r\n",
    "a status": b"+OK\r\n",
    "a text": b"$3\r\nyes\r\n",
    "one item": b"*1\r\n$-1\r\n",
    "three items": b"*3\r\n$-1\r\n$-1\r\n$-1\r\n",
}
"""What no command of the store is answered with."""


class Puppet(socketserver.ThreadingTCPServer):
    """A server that speaks as Redis does, and answers each command, or script, with what a test wrote."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.answers: dict[bytes, bytes] = {
            b"HMGET": b"*2\r\n" + NOTHING * 2,
            b"SCAN": b"*2\r\n$1\r\n0\r\n*0\r\n",
            scripts.ACQUIRE.encode(): b"*5\r\n:1\r\n" + NOTHING * 4,
            scripts.DELETE.encode(): b":0\r\n",
        }
        self.asked: list[bytes] = []
        self.address = f"redis://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class _Talk(socketserver.StreamRequestHandler):
    server: Puppet

    def handle(self) -> None:
        for line in iter(self.rfile.readline, b""):
            command = [self._read_item() for _item in range(int(line[1:]))]
            what = command[1] if command[0] == b"EVAL" else command[0]
            self.server.asked.append(what)
            usual = DONE if command[0] == b"EVAL" else b"+OK\r\n"
            self.wfile.write(self.server.answers.get(what, usual))

    def _read_item(self) -> bytes:
        length = int(self.rfile.readline()[1:])
        return self.rfile.read(length + 2)[:-2]


@pytest.fixture(name="puppet")
def fixture_puppet() -> t.Iterator[Puppet]:
    """Return a server that answers as Redis does, as long as nothing else is said."""
    with Puppet() as server:
        yield server
        server.shutdown()


def open_store(address: str) -> RedisStore:
    """Return a store that gives up soon."""
    return RedisStore(
        parse_address(address),
        username=None,
        password=None,
        ca_path=None,
        deadline=time.monotonic() + 2,
    )


@pytest.fixture(name="store")
def fixture_store(puppet: Puppet) -> t.Iterator[RedisStore]:
    """Return a store on the server."""
    with contextlib.closing(open_store(puppet.address)) as store:
        yield store


def fails(action: t.Callable[[], object]) -> None:
    """See that an action fails, at once and with what there is to say."""
    begin = time.monotonic()
    with pytest.raises(StoreError, match="does not answer as Redis does: check store") as caught:
        action()
    assert time.monotonic() - begin < 1
    assert (caught.value.code, caught.value.retryable) == ("StoreUnavailable", False)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def lock(store: RedisStore) -> t.ContextManager[LockedSession]:
    """Hold the session's lock."""
    return store.lock(SESSION.key, time.monotonic() + 0.3)


def test_who_answers_as_redis_does_is_believed(store: RedisStore) -> None:
    assert store.read(SESSION.key) == StoredState()
    assert list(store.read_many([SESSION.key] * 3)) == [StoredState()] * 3
    assert list(store.keys()) == []
    with lock(store) as locked:
        assert locked.read() == StoredState()
        locked.write_note(ATTEMPT)
        locked.save(RECORD)
        assert not locked.delete()
    assert store.warnings == []


@pytest.mark.parametrize("odd", ODD)
def test_a_hash_of_another_shape_is_an_error(puppet: Puppet, store: RedisStore, odd: str) -> None:
    puppet.answers[b"HMGET"] = ODD[odd]
    fails(lambda: store.read(SESSION.key))
    fails(lambda: list(store.read_many([SESSION.key])))
    fails(lambda: list(store.read_many([f"{number:064x}" for number in range(3)])))


def test_one_hash_of_another_shape_among_many_is_an_error(
    puppet: Puppet, store: RedisStore
) -> None:
    puppet.answers[b"HMGET"] = b"*2\r\n" + NOTHING * 2 + ODD["a number"]
    fails(lambda: list(store.read_many([f"{n:064x}" for n in range(4)])))


@pytest.mark.parametrize(
    "odd",
    [
        *ODD.values(),
        b"*2\r\n$1\r\n0\r\n:3\r\n",
        b"*2\r\n$1\r\n0\r\n*1\r\n:3\r\n",
        b"*2\r\n$1\r\n0\r\n*1\r\n*0\r\n",
        b"*2\r\n$1\r\n0\r\n*1\r\n$-1\r\n",
        b"*2\r\n$1\r\nx\r\n*0\r\n",
    ],
)
def test_names_of_another_shape_are_an_error(puppet: Puppet, store: RedisStore, odd: bytes) -> None:
    puppet.answers[b"SCAN"] = odd
    fails(lambda: list(store.keys()))


@pytest.mark.parametrize(
    "odd",
    [
        *ODD.values(),
        DONE,
        b"*1\r\n:1\r\n",
        b"*1\r\n:2\r\n",
        b"*5\r\n:1\r\n:1\r\n" + NOTHING * 3,
        b"*5\r\n$1\r\n1\r\n" + NOTHING * 4,
    ],
)
def test_a_lock_is_not_held_by_an_answer_of_another_shape(
    puppet: Puppet, store: RedisStore, odd: bytes
) -> None:
    puppet.answers[scripts.ACQUIRE.encode()] = odd
    fails(lambda: lock(store).__enter__())


WRITES: dict[str, tuple[str, t.Callable[[LockedSession], object]]] = {
    "write_note": (scripts.WRITE_NOTE, lambda locked: locked.write_note(ATTEMPT)),
    "save": (scripts.SAVE, lambda locked: locked.save(RECORD)),
    "save_failure": (scripts.SAVE_FAILURE, lambda locked: locked.save_failure(ATTEMPT)),
    "reencrypt": (scripts.REENCRYPT, lambda locked: locked.reencrypt(RECORD)),
    "set aside": (scripts.SET_ASIDE, lambda locked: locked.set_aside()),
    "delete": (scripts.DELETE, lambda locked: locked.delete()),
}


ODD_ALWAYS = [*ODD.values(), b":-1\r\n", b"$4\r\nDONE\r\n", b"$0\r\n\r\n"]
ANOTHER_S = [
    ("write_note", b":1\r\n"),
    ("save", b"$4\r\nlost\r\n"),
    ("delete", DONE),
    ("delete", b":2\r\n"),
]
"""Answers of other scripts than the one that was run."""


@pytest.mark.parametrize(("write", "odd"), [*itertools.product(WRITES, ODD_ALWAYS), *ANOTHER_S])
def test_no_answer_of_another_shape_or_of_another_script_passes_for_a_success(
    puppet: Puppet, store: RedisStore, write: str, odd: bytes
) -> None:
    script, act = WRITES[write]
    puppet.answers[script.encode()] = odd
    with lock(store) as locked:
        fails(lambda: act(locked))


@pytest.mark.parametrize("odd", [NOTHING, b":1\r\n", b"+OK\r\n"])
def test_a_token_that_was_not_kept_by_an_odd_answer_is_handed_out(
    puppet: Puppet, store: RedisStore, emulator: Emulator, odd: bytes
) -> None:
    puppet.answers[scripts.SAVE.encode()] = odd
    house = House(store, emulator, session_at(emulator.url))
    request = TokenRequest(house.session, emulator.issue())
    outcome = house.keeper(seconds=1).ensure(request, house.warnings.append)
    assert outcome.record is not None and outcome.not_saved is not None
    assert "does not answer as Redis does" in outcome.not_saved.message


@pytest.mark.parametrize("odd", [NOTHING, b":1\r\n", b"+OK\r\n"])
def test_nothing_is_sent_where_an_odd_answer_is_all_that_noted_it(
    puppet: Puppet, store: RedisStore, emulator: Emulator, odd: bytes
) -> None:
    puppet.answers[scripts.WRITE_NOTE.encode()] = odd
    house = House(store, emulator, session_at(emulator.url))
    fails(lambda: house.request(emulator.issue()))
    assert house.requests() == 0


def test_a_server_that_has_just_been_started_and_still_loads_says_so(
    puppet: Puppet, store: RedisStore
) -> None:
    puppet.answers[b"HMGET"] = b"-LOADING Redis is loading the dataset in memory\r\n"
    with pytest.raises(StoreError, match="is still loading its data: try again") as caught:
        store.read(SESSION.key)
    assert (caught.value.code, caught.value.retryable) == ("StoreUnavailable", True)


def test_something_that_speaks_http_is_no_redis() -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        connection.close()

    with wires() as start:
        wire = start(answer, reads=False)
        with contextlib.closing(open_store(f"redis://127.0.0.1:{wire.port}")) as store:
            fails(lambda: store.read(SESSION.key))
