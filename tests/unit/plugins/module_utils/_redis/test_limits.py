# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that whatever a server sends, a task ends by its deadline and needs little memory."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils import basic

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._redis import batch, scripts, sockets
from ansible_collections.wuying.workspace.plugins.module_utils._redis.failures import check_fields
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fake_redis import (
    FakeRedis,
    open_store,
    read_or_raise,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    RedisServer,
    RedisServers,
    make_certificates,
    require_redis,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    largest_record,
    put,
    session_at,
)

SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
DEADLINE = 2.0
GRACE = 2.0
"""How many seconds a task may need after the deadline."""
MOST_MEMORY = 200
"""In MiB, for the whole process."""

FEW = 600
MANY = 20_000
"""The numbers of sessions."""

Send = t.Callable[[bytes], None]
Attack = t.Callable[[Send, int], None]
"""Replies to a command with a function that sends. The number is that of the command."""


def endless(piece: bytes, head: bytes = b"", pause: float = 0) -> Attack:
    """Return an attack that sends a head and then a piece again and again."""

    def attack(send: Send, _number: int) -> None:
        send(head)
        while True:
            send(piece)
            time.sleep(pause)

    return attack


def page(names: int) -> Attack:
    """Return an attack that sends pages of names of sessions without end."""

    def attack(send: Send, number: int) -> None:
        keys = (hashlib.sha256(b"%d %d" % (number, each)).hexdigest().encode() for each in range(names))
        listed = b"".join(b"$83\r\nwuying.workspace:{%s}\r\n" % key for key in keys)
        send(b"*2\r\n$%d\r\n%d\r\n*%d\r\n" % (len(str(number)), number, names) + listed)

    return attack


ATTACKS: dict[str, Attack] = {
    "a byte now and then": endless(b":", pause=0.2),
    "a bulk string of 20 GB": endless(b"x" * 65536, b"$20000000000\r\n"),
    "an array of 20 GB": endless(b":1\r\n" * 16000, b"*4000000000\r\n"),
    "an array that never comes": endless(b"", b"*4000000000\r\n", 0.2),
    "empty arrays": endless(b"*0\r\n" * 16000, b"*4000000000\r\n"),
    "errors": endless(b"-\r\n" * 16000, b"*4000000000\r\n"),
    "nested arrays": endless(b"*1\r\n" * 16000),
    "arrays in arrays": endless(b"*2\r\n*0\r\n" * 8000),
    "a line without end": endless(b"x" * 65536, b"+"),
    "a list without end": page(0),
    "names without end": page(10_000),
}
KINDS = ("server", "socket", "tls", "cluster", "node", "sentinel", "primary")
"""The kinds of addresses. The server attacks when it is asked for the others, or as a node of a cluster or primary of a Sentinel."""
ON_EVERY_KIND = ("a byte now and then", "a bulk string of 20 GB", "empty arrays", "a line without end")

CLIENT = """
import json, resource, sys, threading, time
from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import parse_address
from ansible_collections.wuying.workspace.plugins.module_utils._redis.store import RedisStore

address, ca_path, seconds = sys.argv[1], sys.argv[2] or None, float(sys.argv[3])
begun, ended = time.monotonic(), {}
store = RedisStore(parse_address(address), username=None, password=None, ca_path=ca_path, deadline=begun + seconds)


def run(name, act):
    try:
        outcome = [str(each) for each in act()][-1:]
    except Exception as error:
        outcome = error.code
    ended[name] = [time.monotonic() - begun, outcome]


def lock():
    with store.lock("a" * 64, time.monotonic() + seconds):
        return ["locked"]


actions = {
    "read": lambda: [store.read("a" * 64)],
    "read_many": lambda: store.read_many("%064x" % number for number in range(500)),
    "keys": store.keys,
    **{"lock %d" % number: lock for number in range(8)},
}
threads = [threading.Thread(target=run, args=each) for each in actions.items()]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps([ended, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


class Attacker:
    """A server that attacks its clients."""

    def __init__(self, attack: Attack, kind: str, folder: Path) -> None:
        self.attack, self.kind = attack, kind
        self.ca_path = ""
        self._context: ssl.SSLContext | None = None
        self._numbers = itertools.count(1)
        if kind == "socket":
            path = folder / "socket"
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
            self.address = f"unix://{path}"
        else:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self._port = self._listener.getsockname()[1]
            schemes = {"tls": "rediss", "cluster": "redis+cluster", "node": "redis+cluster"}
            schemes.update(sentinel="redis+sentinel", primary="redis+sentinel")
            self.address = f"{schemes.get(kind, 'redis')}://127.0.0.1:{self._port}"
            self.address += "/mine" if kind in ("sentinel", "primary") else ""
        if kind == "tls":
            made = make_certificates(folder, "mine", "127.0.0.1")
            self.ca_path = str(made.ca)
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(str(made.certificate), str(made.key))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _peer = self._listener.accept()
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            while True:
                command = connection.recv(1_000_000)
                if not command:
                    break
                port = str(self._port).encode() if self.kind in ("node", "primary") else b""
                if self.kind == "node" and b"SLOTS" in command:
                    connection.sendall(b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%s\r\n" % port)
                elif self.kind == "primary" and b"SENTINEL" in command:
                    words = (b"ip", b"127.0.0.1", b"port", port, b"flags", b"master")
                    connection.sendall(b"*6\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
                else:
                    self.attack(connection.sendall, next(self._numbers))
        connection.close()


@pytest.mark.parametrize(
    ("attack", "kind"),
    [(attack, "server") for attack in ATTACKS] + list(itertools.product(ON_EVERY_KIND, KINDS[1:])),
)
def test_an_attack_ends_by_the_deadline_and_needs_little_memory(tmp_path: Path, attack: str, kind: str) -> None:
    require_redis()
    attacker = Attacker(ATTACKS[attack], kind, tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CLIENT, attacker.address, attacker.ca_path, str(DEADLINE)]
    run = subprocess.run(command, env=environment, capture_output=True, check=False, text=True, timeout=100)
    assert not run.returncode, run.stderr
    ended, memory = json.loads(run.stdout)
    assert len(ended) == 11
    assert max(seconds for seconds, _outcome in ended.values()) < DEADLINE + GRACE
    outcomes = {outcome for name, (_seconds, outcome) in ended.items() if not name.startswith("read")}
    assert outcomes <= {"StoreUnavailable", "DeadlineExceeded"}
    assert memory < MOST_MEMORY


MODULE = """
import importlib, json, resource, sys, time
from ansible.module_utils import basic

module = importlib.import_module("ansible_collections.wuying.workspace.plugins.modules." + sys.argv[1])
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
begun = time.monotonic()
try:
    module.main()
except SystemExit:
    used = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print("\\n", json.dumps([time.monotonic() - begun, max(used)]), file=sys.stderr)
"""
MODULES = ("wuying_login_tokens", "wuying_login_token_info")


def run_module(name: str, address: str, deadline: float, **options: t.Any) -> t.Any:
    """Run a module as a process with a store in Redis, check that it keeps to the limits, and return its result."""
    options.update(store=address, deadline=deadline)
    if "inject_invocation" in basic.PASS_VARS:
        options["_ansible_inject_invocation"] = True
    run = subprocess.run(
        [sys.executable, "-c", MODULE, name],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        capture_output=True,
        check=False,
        text=True,
        timeout=100,
    )
    assert not run.returncode, run.stderr
    seconds, memory = json.loads(run.stderr.splitlines()[-1])  # after the warnings of libraries
    assert seconds < deadline + GRACE
    assert memory < MOST_MEMORY
    return json.loads(run.stdout)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    "attack", ["names without end", "a list without end", "a byte now and then", "a bulk string of 20 GB"]
)
def test_a_module_that_is_attacked_ends_in_time_and_needs_little_memory(
    tmp_path: Path, module: str, attack: str
) -> None:
    require_redis()
    result = run_module(module, Attacker(ATTACKS[attack], "server", tmp_path).address, DEADLINE)
    assert result["failed"] and "sessions" not in result
    assert result["error_code"] in ("StoreUnavailable", "DeadlineExceeded")


def list_names(fake: FakeRedis, count: int) -> None:
    """Let a server list the names of sessions."""
    names = (hashlib.sha256(b"%d" % number).hexdigest().encode() for number in range(count))
    listed = b"".join(b"$83\r\nwuying.workspace:{%s}\r\n" % name for name in names)
    fake.replies[b"SCAN"] = b"*2\r\n$1\r\n0\r\n*%d\r\n" % count + listed


def late_entry(result: t.Any) -> t.Any:
    """Return the only entry of a result, which stands for all sessions that could not be read in time."""
    (entry,) = result["sessions"]
    assert entry["error_code"] == "DeadlineExceeded"
    assert "key" not in entry and "session" not in entry
    return entry


@pytest.mark.parametrize("module", MODULES)
def test_one_entry_stands_for_all_sessions_that_cannot_be_read_in_time(fake: FakeRedis, module: str) -> None:
    list_names(fake, MANY)
    fake.pauses[b"HMGET"] = 0.001
    result = run_module(module, fake.address, DEADLINE)
    message = late_entry(result)["msg"]
    number = int(message.split()[0].replace(",", ""))
    assert 0 < number < MANY
    assert message.endswith("sessions could not be read in time. Try again later or increase deadline.")
    counts = result["counts"]
    assert counts.get("failed", counts.get("unreachable")) == 1


@pytest.mark.parametrize("module", MODULES)
def test_only_so_many_records_that_cannot_be_read_are_returned(fake: FakeRedis, module: str) -> None:
    list_names(fake, MANY)
    fake.replies[b"HMGET"] = b"*2\r\n$1\r\nx\r\n$-1\r\n"
    result = run_module(module, fake.address, 60)
    assert len(result["sessions"]) == 10_000
    assert {entry["error_code"] for entry in result["sessions"]} == {"DamagedRecord"}
    counts = result["counts"]
    assert counts.get("failed", counts.get("damaged")) == MANY


def test_sessions_that_are_due_end_by_the_deadline(servers: RedisServers) -> None:
    server = servers("--appendonly", "no")
    session = session_at("http://127.0.0.1:9")  # where nothing listens
    with contextlib.closing(open_store(server.address, 60)) as store:
        for number in range(FEW):
            own, now = session._replace(end_user_id=f"user {number}"), time.time()
            put(store, next_record(None, own, "v1first", "v1second", now - 800, 900, None))
    result = run_module(MODULES[0], delayed(server, 0.1), 12, fail_on="none", auth_method="anonymous", retries=0)
    counts = result["counts"]
    assert counts["total"] == FEW == counts["not_refreshed"] + counts["failed"]
    assert counts["not_refreshed"]


HOST = b"$9\r\n127.0.0.1\r\n"
SLOTS = {
    "no slots": b"*0\r\n",
    "slots beyond the last": b"*1\r\n*3\r\n:0\r\n:1000000000000\r\n*2\r\n" + HOST + b":7000\r\n",
    "negative slots": b"*1\r\n*3\r\n:-5\r\n:5\r\n*2\r\n" + HOST + b":7000\r\n",
    "slots backwards": b"*1\r\n*3\r\n:5\r\n:4\r\n*2\r\n" + HOST + b":7000\r\n",
    "a port that is too large": b"*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n" + HOST + b":70000\r\n",
    "a port that is a word": b"*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n" + HOST + b"$4\r\nport\r\n",
    "a host with a line break": b"*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$4\r\na\r\nb\r\n:7000\r\n",
    "a host that is a number": b"*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n:5\r\n:7000\r\n",
    "a node without a port": b"*1\r\n*3\r\n:0\r\n:5\r\n*1\r\n" + HOST,
    "slots of two nodes": b"*2\r\n" + b"".join(b"*3\r\n:0\r\n:5\r\n*2\r\n%s:%d\r\n" % (HOST, port) for port in (1, 2)),
    "too many nodes": b"*1001\r\n"
    + b"".join(b"*3\r\n:%d\r\n:%d\r\n*2\r\n%s:%d\r\n" % (slot, slot, HOST, slot + 1) for slot in range(1001)),
    "no list": b"+OK\r\n",
    "a number": b":5\r\n",
    "all slots of an unknown host very often": b"*5000\r\n"
    + b"*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\n?\r\n:7000\r\n" * 5000,
    "all slots very often": b"*5000\r\n" + (b"*3\r\n:0\r\n:16383\r\n*2\r\n" + HOST + b":7000\r\n") * 5000,
}


@pytest.mark.parametrize("slots", SLOTS)
def test_slots_of_a_hostile_cluster_are_an_error_in_time(fake: FakeRedis, slots: str) -> None:
    fake.replies[b"CLUSTER"] = SLOTS[slots]
    begun = time.monotonic()
    with contextlib.closing(open_store(f"redis+cluster://127.0.0.1:{fake.port}", DEADLINE)) as store:
        with pytest.raises(StoreError) as caught:
            store.read(SESSION.key)
    assert time.monotonic() - begun < DEADLINE + GRACE
    assert caught.value.code == "StoreUnavailable"


@pytest.mark.parametrize("ranges", [((5, 9), (0, 20)), ((0, 20), (5, 9)), ((0, 9), (9, 20)), ((5, 9), (0, 5))])
def test_slots_that_overlap_are_not_a_reply_of_redis(fake: FakeRedis, ranges: tuple[tuple[int, int], ...]) -> None:
    entries = [b"*3\r\n:%d\r\n:%d\r\n*2\r\n%s:7000\r\n" % (*slots, HOST) for slots in ranges]
    fake.replies[b"CLUSTER"] = b"*%d\r\n" % len(entries) + b"".join(entries)
    with contextlib.closing(open_store(f"redis+cluster://127.0.0.1:{fake.port}", DEADLINE)) as store:
        with pytest.raises(StoreError, match="does not respond like a Redis server"):
            store.read(SESSION.key)


@pytest.mark.parametrize(
    "reply",
    [
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n$2\r\nip\r\n" + HOST,
        b"*6\r\n$2\r\nip\r\n$3\r\na\nb\r\n$4\r\nport\r\n$1\r\n1\r\n$5\r\nflags\r\n$6\r\nmaster\r\n",
        b"*6\r\n$2\r\nip\r\n" + HOST + b"$4\r\nport\r\n$1\r\nx\r\n$5\r\nflags\r\n$6\r\nmaster\r\n",
        b"*6\r\n$2\r\nip\r\n" + HOST + b"$4\r\nport\r\n$1\r\n0\r\n$5\r\nflags\r\n$6\r\nmaster\r\n",
        b":5\r\n",
    ],
)
def test_replies_of_a_hostile_sentinel_are_an_error(fake: FakeRedis, reply: bytes) -> None:
    fake.replies[b"SENTINEL"] = reply
    with contextlib.closing(open_store(f"redis+sentinel://127.0.0.1:{fake.port}/mine", DEADLINE)) as store:
        with pytest.raises(StoreError, match="does not respond like a Redis server"):
            store.read(SESSION.key)


@pytest.mark.parametrize(
    "reply", ["MOVED 1 127.0.0.1:{port}", "ASK 1 127.0.0.1:{port}", "MOVED 1 127.0.0.1:1", "MOVED", "MOVED x y:z"]
)
def test_a_redirection_without_end_is_an_error_in_time(fake: FakeRedis, reply: str) -> None:
    fake.replies[b"CLUSTER"] = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n%s:%d\r\n" % (HOST, fake.port)
    fake.replies[b"HMGET"] = fake.replies[b"SCAN"] = f"-{reply.format(port=fake.port)}\r\n".encode()
    begun = time.monotonic()
    with contextlib.closing(open_store(f"redis+cluster://127.0.0.1:{fake.port}", DEADLINE)) as store:
        for act in (store.read, lambda key: list(store.keys()), lambda key: read_or_raise(store, key)):
            with pytest.raises(StoreError) as caught:
                act(SESSION.key)
            assert caught.value.code in ("StoreUnavailable", "DeadlineExceeded")
    assert time.monotonic() - begun < DEADLINE + GRACE


def delayed(server: RedisServer, pause: float) -> str:
    """Start a proxy in front of a server, which passes on each reply after a pause, and return its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket, wait: float) -> None:
        with contextlib.suppress(OSError):
            for data in iter(lambda: source.recv(1_000_000), b""):
                time.sleep(wait)
                target.sendall(data)

    def accept() -> None:
        while True:
            near, _peer = listener.accept()
            far = socket.create_connection(("127.0.0.1", server.port))
            threading.Thread(target=pump, args=(near, far, pause), daemon=True).start()
            threading.Thread(target=pump, args=(far, near, 0), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"redis://127.0.0.1:{listener.getsockname()[1]}"


def fill(server: RedisServer, count: int) -> None:
    """Add keys of other programs."""
    script = "for n = 1, ARGV[1] do redis.call('SET', 'other:' .. n, '') end"
    server.client(socket_timeout=60).eval(script, 0, count)


def test_listing_among_many_other_keys_ends_by_the_deadline(
    servers: RedisServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_SCAN_COUNT", 1000)
    server = servers("--appendonly", "no")
    fill(server, 300_000)
    begun = time.monotonic()
    with contextlib.closing(open_store(delayed(server, 0.05), 3)) as store:
        with pytest.raises(StoreError, match="could not be listed in time") as caught:
            list(store.keys())
    assert time.monotonic() - begun < 3 + GRACE
    assert (caught.value.code, caught.value.retryable) == ("DeadlineExceeded", True)
    assert "Increase deadline, or give the store its own database or server." in caught.value.message


def test_sessions_among_many_other_keys_are_listed(servers: RedisServers) -> None:
    server = servers("--appendonly", "no")
    fill(server, 50_000)
    names = {f"wuying.workspace:{{{hashlib.sha256(b'%d' % number).hexdigest()}}}" for number in range(5_000)}
    pipeline = server.client().pipeline(transaction=False)
    for name in names:
        pipeline.hset(name, "record", "x")
        pipeline.set(f"{name}:lock", "x")
    pipeline.execute()
    with contextlib.closing(open_store(server.address, 30)) as store:
        keys = list(store.keys())
    listed = [f"wuying.workspace:{{{key}}}" for key in keys]
    assert len(listed) == len(names)
    assert set(listed) == names


def test_names_that_someone_has_chosen_need_little_memory() -> None:
    keys = batch._Keys("")
    keys.add(b"wuying.workspace:{%064x}" % number for number in range(100_000))
    tracemalloc.start()
    try:
        assert sum(1 for _key in keys) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


def test_keys_are_listed_once_and_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_MOST_KEYS", 1000)
    names = [b"wuying.workspace:{%064x}" % number for number in range(500)]
    keys = batch._Keys("")
    keys.add(names)
    keys.add([*names[::-1], b"wuying.workspace:{x}", b"other"])
    assert sorted(keys) == [f"{number:064x}" for number in range(500)]
    with pytest.raises(StoreError, match="more than 1,000 sessions"):
        keys.add(names)


def test_reading_many_sessions_ends_by_the_deadline(servers: RedisServers) -> None:
    server = servers()
    begun = time.monotonic()
    with contextlib.closing(open_store(delayed(server, 0.2), DEADLINE)) as store:
        found = list(store.read_many(f"{number:064x}" for number in range(10_000)))
    assert time.monotonic() - begun < DEADLINE + GRACE
    read = [each for each in found if isinstance(each, StoredState)]
    late = [each for each in found if isinstance(each, StoreError)]
    assert read and late and len(read) + len(late) == 10_000
    assert {error.code for error in late} == {"DeadlineExceeded"}


@pytest.mark.parametrize("size", [100_000, 20_000_000])
def test_a_record_of_many_megabytes_is_damaged_and_does_not_hide_others(servers: RedisServers, size: int) -> None:
    server = servers()
    large, *good = (SESSION._replace(end_user_id=f"user {number}") for number in range(5))
    with contextlib.closing(open_store(server.address, 30)) as store:
        for session in good:
            put(store, next_record(None, session, "v1first", "v1second", time.time(), 900, None))
        name = f"wuying.workspace:{{{large.key}}}"
        server.client().hset(name, mapping={"record": "x" * size, "note": "x" * size})
        damaged, *others = store.read_many(session.key for session in (large, *good))
        for stored in (damaged, store.read(large.key)):
            assert isinstance(stored, StoredState) and stored.damage and stored.may_be_spent("v1any")
        assert all(isinstance(stored, StoredState) and stored.record for stored in others)
        with store.lock(large.key, time.monotonic() + 10) as locked:
            assert locked.read().damage
            place = locked.set_aside()
    assert server.client().hstrlen(place, "record") == size
    assert not server.client().hexists(name, "record")


def test_the_limits_leave_room_for_the_largest_records() -> None:
    largest = len(largest_record().dump())  # An encrypted record is a third longer.
    from ansible_collections.wuying.workspace.plugins.module_utils._redis import store

    with sockets.time_limit(0, 0):
        assert sockets.current_limit().size > 4 * largest
        with sockets.large_replies():
            assert sockets.current_limit().size > 1.4 * largest * store._CHUNK
            assert sockets.current_limit().lines > 4 * batch._SCAN_COUNT
    assert check_fields([b"x" * largest, None], 2) == [b"x" * largest, None]


def test_after_the_end_of_a_task_nothing_is_sent(fake: FakeRedis) -> None:
    with contextlib.closing(open_store(fake.address, -0.5)) as store:
        store.read(SESSION.key)
        time.sleep(0.6)
        sent = len(fake.received)
        for act in (store.read, lambda key: read_or_raise(store, key), lambda key: list(store.keys())):
            with pytest.raises(StoreError) as caught:
                act(SESSION.key)
            assert (caught.value.code, caught.value.retryable) == ("DeadlineExceeded", True)
        assert len(fake.received) == sent


@pytest.mark.parametrize("pause", [0.0, 10.0])
def test_a_new_token_is_saved_after_the_end_but_within_a_second(fake: FakeRedis, pause: float) -> None:
    fake.pauses[scripts.SAVE.encode()] = pause
    record = next_record(None, SESSION, "v1first", "v1second", time.time(), 900, None)
    with contextlib.closing(open_store(fake.address, 0.1)) as store:
        with store.lock(SESSION.key, time.monotonic() + 1) as locked:
            time.sleep(1.2)
            begun = time.monotonic()
            if pause:
                with pytest.raises(StoreError, match="did not reply in time"):
                    locked.save(record)
            else:
                locked.save(record)
                assert scripts.SAVE.encode() in fake.received
    assert time.monotonic() - begun < 2


def test_a_connection_cannot_be_used_outside_of_a_limit(fake: FakeRedis) -> None:
    with contextlib.closing(open_store(fake.address)) as store:
        client = store._connection._client(("127.0.0.1", fake.port))
        with pytest.raises(RuntimeError, match="outside a time limit"):
            client.get("x")
