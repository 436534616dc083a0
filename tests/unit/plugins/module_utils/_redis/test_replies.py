# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test replies that Redis never sends: each is an error and never a success."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._redis import scripts
from ansible_collections.wuying.workspace.plugins.module_utils._redis.failures import explain
from ansible_collections.wuying.workspace.plugins.module_utils._redis.store import RedisStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.locked_session import LockedSession
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fake_redis import (
    DONE,
    NOTHING,
    FakeRedis,
    open_store,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.faulty_server import wires
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    SingleSession,
    session_at,
)

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.tests.unit.conftest import Emulator

redis = pytest.importorskip("redis", reason="the Python package redis is not installed")

SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
RECORD = next_record(None, SESSION, "v1first", "v1second", time.time(), 900, None)
NOTE = new_note(None, fingerprint("v1first"), "a test")
UNEXPECTED = {
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
"""Replies that no command of the store gets."""


@pytest.fixture(name="server")
def fixture_server(fake: FakeRedis) -> FakeRedis:
    """Return a server that replies as Redis does until a test sets other replies."""
    return fake


@pytest.fixture(name="store")
def fixture_store(server: FakeRedis) -> t.Iterator[RedisStore]:
    """Return a store on the server."""
    with contextlib.closing(open_store(server.address)) as store:
        yield store


def assert_fails(action: t.Callable[[], object]) -> None:
    """Check that an action fails at once with the error for unexpected replies."""
    begin = time.monotonic()
    with pytest.raises(
        StoreError, match="does not respond like a Redis server. Check the host and port in store"
    ) as caught:
        action()
    assert time.monotonic() - begin < 1
    assert (caught.value.code, caught.value.retryable) == ("StoreUnavailable", False)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def lock(store: RedisStore) -> t.ContextManager[LockedSession]:
    """Lock the session."""
    return store.lock(SESSION.key, time.monotonic() + 0.3)


def test_replies_of_redis_are_accepted(store: RedisStore) -> None:
    assert store.read(SESSION.key) == StoredState()
    assert list(store.read_many([SESSION.key] * 3)) == [StoredState()] * 3
    assert list(store.keys()) == []
    with lock(store) as locked:
        assert locked.read() == StoredState()
        locked.write_note(NOTE)
        locked.save(RECORD)
        assert not locked.delete()
    assert store.warnings == []


@pytest.mark.parametrize("reply", UNEXPECTED)
def test_an_unexpected_hash_is_an_error(server: FakeRedis, store: RedisStore, reply: str) -> None:
    server.replies[b"HMGET"] = UNEXPECTED[reply]
    assert_fails(lambda: store.read(SESSION.key))
    assert_fails(lambda: list(store.read_many([SESSION.key])))
    assert_fails(lambda: list(store.read_many([f"{number:064x}" for number in range(3)])))


def test_one_unexpected_hash_among_many_is_an_error(server: FakeRedis, store: RedisStore) -> None:
    server.replies[b"HMGET"] = b"*2\r\n" + NOTHING * 2 + UNEXPECTED["a number"]
    assert_fails(lambda: list(store.read_many([f"{n:064x}" for n in range(4)])))


@pytest.mark.parametrize(
    "reply",
    [
        *UNEXPECTED.values(),
        b"*2\r\n$1\r\n0\r\n:3\r\n",
        b"*2\r\n$1\r\n0\r\n*1\r\n:3\r\n",
        b"*2\r\n$1\r\n0\r\n*1\r\n*0\r\n",
        b"*2\r\n$1\r\n0\r\n*1\r\n$-1\r\n",
        b"*2\r\n$1\r\nx\r\n*0\r\n",
    ],
)
def test_unexpected_names_are_an_error(server: FakeRedis, store: RedisStore, reply: bytes) -> None:
    server.replies[b"SCAN"] = reply
    assert_fails(lambda: list(store.keys()))


@pytest.mark.parametrize(
    "reply",
    [
        *UNEXPECTED.values(),
        DONE,
        b"*1\r\n:1\r\n",
        b"*1\r\n:2\r\n",
        b"*5\r\n:1\r\n:1\r\n" + NOTHING * 3,
        b"*5\r\n$1\r\n1\r\n" + NOTHING * 4,
    ],
)
def test_an_unexpected_reply_does_not_grant_the_lock(server: FakeRedis, store: RedisStore, reply: bytes) -> None:
    server.replies[scripts.ACQUIRE.encode()] = reply
    assert_fails(lambda: lock(store).__enter__())


WRITES: dict[str, tuple[str, t.Callable[[LockedSession], object]]] = {
    "write_note": (scripts.WRITE_NOTE, lambda locked: locked.write_note(NOTE)),
    "save": (scripts.SAVE, lambda locked: locked.save(RECORD)),
    "save_failure": (scripts.SAVE_FAILURE, lambda locked: locked.save_failure(NOTE)),
    "reencrypt": (scripts.REWRITE, lambda locked: locked.rewrite(RECORD)),
    "set aside": (scripts.SET_ASIDE, lambda locked: locked.set_aside()),
    "delete": (scripts.DELETE, lambda locked: locked.delete()),
}


UNEXPECTED_FOR_WRITES = [*UNEXPECTED.values(), b":-1\r\n", b"$4\r\nDONE\r\n", b"$0\r\n\r\n"]
FROM_OTHER_SCRIPTS = [
    ("write_note", b":1\r\n"),
    ("save", b"$4\r\nlost\r\n"),
    ("delete", DONE),
    ("delete", b":2\r\n"),
]
"""Replies of other scripts than the one that was run."""


@pytest.mark.parametrize(("write", "reply"), [*itertools.product(WRITES, UNEXPECTED_FOR_WRITES), *FROM_OTHER_SCRIPTS])
def test_an_unexpected_reply_to_a_write_is_not_a_success(
    server: FakeRedis, store: RedisStore, write: str, reply: bytes
) -> None:
    script, act = WRITES[write]
    server.replies[script.encode()] = reply
    with lock(store) as locked:
        assert_fails(lambda: act(locked))


@pytest.mark.parametrize("reply", [NOTHING, b":1\r\n", b"+OK\r\n"])
def test_a_token_is_returned_if_the_reply_to_saving_it_is_unexpected(
    server: FakeRedis, emulator: Emulator, reply: bytes
) -> None:
    server.replies[scripts.SAVE.encode()] = reply
    with contextlib.closing(open_store(server.address, 6)) as store:
        single_session = SingleSession(store, emulator, session_at(emulator.url))
        request = TokenRequest(single_session.session, emulator.issue())
        outcome = single_session.keeper(seconds=5).ensure(request, single_session.warnings.append)
    assert outcome.record is not None and outcome.not_saved is not None
    assert "does not respond like a Redis server" in outcome.not_saved.message


@pytest.mark.parametrize("reply", [NOTHING, b":1\r\n", b"+OK\r\n"])
def test_nothing_is_sent_if_the_reply_to_the_note_is_unexpected(
    server: FakeRedis, store: RedisStore, emulator: Emulator, reply: bytes
) -> None:
    server.replies[scripts.WRITE_NOTE.encode()] = reply
    single_session = SingleSession(store, emulator, session_at(emulator.url))
    assert_fails(lambda: single_session.request(emulator.issue()))
    assert single_session.requests() == 0


def test_a_server_that_is_still_loading_is_a_retryable_error(server: FakeRedis, store: RedisStore) -> None:
    server.replies[b"HMGET"] = b"-LOADING Redis is loading the dataset in memory\r\n"
    with pytest.raises(StoreError, match="is still loading its data. Try again") as caught:
        store.read(SESSION.key)
    assert (caught.value.code, caught.value.retryable) == ("StoreUnavailable", True)


def test_a_web_server_is_not_taken_for_redis() -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        connection.close()

    with wires() as start:
        wire = start(answer, reads=False)
        with contextlib.closing(open_store(f"redis://127.0.0.1:{wire.port}")) as store:
            assert_fails(lambda: store.read(SESSION.key))


@pytest.mark.parametrize("name", ["TimeoutError", "SSLError", "AuthenticationError", "OutOfMemoryError"])
def test_a_class_name_in_the_text_of_a_server_is_not_a_cause(name: str) -> None:
    error = explain(redis.ResponseError(f"ERR {name}"), "localhost:6379")
    assert (error.code, error.retryable) == ("StoreUnavailable", False)
    assert "refuses a command" in error.message


def test_refused_records_are_not_read_a_second_time(server: FakeRedis, store: RedisStore) -> None:
    server.replies[b"HMGET"] = b"-NOPERM no\r\n"
    keys = [session_at(f"https://{number}.example.com").key for number in range(20)]
    assert all(isinstance(each, StoreError) for each in store.read_many(keys))
    assert server.received.count(b"HMGET") == len(keys)
