# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the Redis store with real servers: records, locks, refusals and failures."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.account import account_of, new_entry
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    LockTimeout,
    ServiceError,
    StoreError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import Note, new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record, StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session, fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._redis import connection as connection_module
from ansible_collections.wuying.workspace.plugins.module_utils._redis import lease, replication
from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import parse_address
from ansible_collections.wuying.workspace.plugins.module_utils._redis.scripts import hash_name
from ansible_collections.wuying.workspace.plugins.module_utils._redis.store import RedisStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import Encryption
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    Certificates,
    RedisServer,
    RedisServers,
    make_certificates,
    require_redis,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    largest_record,
    leave_note,
    put,
    session_at,
)

SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
NAME = f"wuying.workspace:{{{SESSION.key}}}"
DAY = 86400


def soon(seconds: float = 10) -> float:
    """Return a deadline that many seconds from now."""
    return time.monotonic() + seconds


def record_of(session: Session = SESSION, token: str = "v1second") -> Record:
    """Return the record of a token that was just issued."""
    return next_record(None, session, "v1first", token, time.time(), 900, None)


def note_of(token: str = "v1first") -> Note:
    """Return the note of a refresh."""
    return new_note(None, fingerprint(token), "a test")


@pytest.fixture
def server(servers: RedisServers) -> RedisServer:
    """Return a new server."""
    return servers()


Open = t.Callable[..., RedisStore]


@pytest.fixture
def open_store() -> t.Iterator[Open]:
    """Return a function that opens a store at an address."""
    opened: list[RedisStore] = []

    def open_at(address: str, seconds: float = 30, **options: t.Any) -> RedisStore:
        settings = {"username": None, "password": None, "ca_path": None, "deadline": soon(seconds)}
        opened.append(RedisStore(parse_address(address), **{**settings, **options}))
        return opened[-1]

    yield open_at
    for store in opened:
        store.close()


@pytest.fixture
def store(server: RedisServer, open_store: Open) -> RedisStore:
    """Return a store on the server."""
    return open_store(server.address)


def a_saved_record_is_read_back(store: RedisStore, session: Session) -> None:
    record = record_of(session)
    put(store, record)
    assert store.read(session.key) == StoredState(record)
    with store.lock(session.key, soon()) as locked:
        assert locked.read() == StoredState(record)


def the_largest_record_is_saved(store: RedisStore, session: Session) -> None:
    for record in (largest_record(session), largest_record()):
        put(store, record)
        assert store.read(record.session.key).record == record


def a_new_session_has_no_record(store: RedisStore, session: Session) -> None:
    assert store.read(session.key) == StoredState()
    with store.lock(session.key, soon()) as locked:
        assert locked.read() == StoredState()
        assert not locked.delete()


def a_note_stays_until_the_new_token_is_saved(store: RedisStore, session: Session) -> None:
    put(store, record_of(session))
    leave_note(store, session, "v1second")
    stored = store.read(session.key)
    assert stored.record is not None and stored.may_be_spent("v1second") and not stored.may_be_spent("v1third")
    put(store, record_of(session, "v1third"))
    assert store.read(session.key) == StoredState(store.read(session.key).record)


def a_failure_is_saved_in_the_note(store: RedisStore, session: Session) -> None:
    put(store, record_of(session))
    note = note_of("v1second")
    failed = note.failed(ServiceError("It failed.", code="Throttling"), unknown=False)
    with store.lock(session.key, soon()) as locked:
        locked.write_note(note)
        locked.save_failure(failed)
        assert locked.read().note == failed
    assert store.read(session.key) == StoredState(store.read(session.key).record, failed)


def an_ended_record_replaces_the_record_of_its_token(store: RedisStore, session: Session) -> None:
    record = record_of(session)
    put(store, record)
    put(store, record.ended_with("InvalidLoginToken"))
    assert store.read(session.key) == StoredState(record.ended_with("InvalidLoginToken"))


def a_removed_session_has_no_record_and_can_start_again(store: RedisStore, session: Session) -> None:
    put(store, record_of(session))
    leave_note(store, session, "v1second")
    with store.lock(session.key, soon()) as locked:
        assert locked.delete()
        assert locked.read() == StoredState()
    assert store.read(session.key) == StoredState()
    assert session.key not in set(store.keys())
    put(store, record_of(session))
    assert store.read(session.key).record is not None


def a_second_task_waits_for_the_lock(store: RedisStore, session: Session) -> None:
    order: list[str] = []

    def hold() -> None:
        with store.lock(session.key, soon()):
            order.append("second")

    with store.lock(session.key, soon()):
        thread = threading.Thread(target=hold)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def waiting_for_the_lock_ends_at_the_deadline(store: RedisStore, session: Session) -> None:
    with store.lock(session.key, soon()):
        start = time.monotonic()
        with pytest.raises(LockTimeout, match="Another task is still using this session"):
            with store.lock(session.key, soon(0.2)):
                pass
        assert 0.2 <= time.monotonic() - start < 5


def many_sessions_are_read_in_order(store: RedisStore, session: Session) -> None:
    sessions = [session._replace(client_id=f"c{number}") for number in range(12)]
    for each in sessions[::2]:
        put(store, record_of(each))
    keys = [each.key for each in sessions]
    found = [t.cast(StoredState, stored).record for stored in store.read_many(iter(keys * 60))]
    expected = [each if position % 2 == 0 else None for position, each in enumerate(sessions)]
    assert [record and record.session for record in found] == expected * 60
    assert set(keys[::2]) <= set(store.keys())
    assert not set(keys[1::2]) & set(store.keys())


BASICS = (
    a_saved_record_is_read_back,
    the_largest_record_is_saved,
    a_new_session_has_no_record,
    a_note_stays_until_the_new_token_is_saved,
    a_failure_is_saved_in_the_note,
    an_ended_record_replaces_the_record_of_its_token,
    a_removed_session_has_no_record_and_can_start_again,
    a_second_task_waits_for_the_lock,
    waiting_for_the_lock_ends_at_the_deadline,
    many_sessions_are_read_in_order,
)


@pytest.mark.parametrize("behaviour", BASICS)
def test_store_on_a_server(store: RedisStore, behaviour: t.Callable[[RedisStore, Session], None]) -> None:
    behaviour(store, SESSION)
    assert store.warnings == []


def test_store_on_a_cluster(servers: RedisServers, open_store: Open) -> None:
    nodes = servers.cluster()
    store = open_store(f"redis+cluster://127.0.0.1:1,127.0.0.1:{nodes[1].port}")
    for number, behaviour in enumerate(BASICS):
        behaviour(store, SESSION._replace(end_user_id=f"user {number}"))
    assert all(node.client().dbsize() for node in nodes)
    assert store.warnings == []
    with pytest.raises(StoreError, match=r"is part of a cluster. Use redis\+cluster://") as caught:
        names = [SESSION._replace(end_user_id=f"{number}").key for number in range(64)]
        for stored in open_store(nodes[0].address).read_many(names):
            if isinstance(stored, StoreError):
                raise stored
    assert not caught.value.retryable


def test_a_cluster_address_of_a_single_server_is_an_error(server: RedisServer, open_store: Open) -> None:
    store = open_store(f"redis+cluster://127.0.0.1:{server.port}", seconds=1)
    assert_fails(store, "StoreUnavailable", "is not a cluster. Use redis://")


def test_in_a_cluster_that_is_down_every_session_fails(servers: RedisServers, open_store: Open) -> None:
    nodes = servers.cluster()
    store = open_store(f"redis+cluster://127.0.0.1:{nodes[0].port}", seconds=1)
    keys = session_keys(6)
    assert list(store.read_many(keys)) == [StoredState()] * len(keys)
    for node in nodes:
        node.client().cluster("DELSLOTS", 0)
    end = soon()
    while any(node.client().cluster("info")["cluster_state"] == "ok" for node in nodes):
        assert time.monotonic() < end
        time.sleep(0.02)
    for error in store.read_many(keys):
        assert isinstance(error, StoreError)
        assert (error.code, error.retryable) == ("StoreUnavailable", True)


def session_keys(count: int) -> list[str]:
    """Return the keys of sessions, which a cluster spreads over all its nodes."""
    return [SESSION._replace(end_user_id=f"user {number}").key for number in range(count)]


def node_of(nodes: list[RedisServer], key: str) -> RedisServer:
    """Return the node of a cluster that stores a session."""
    with require_redis().RedisCluster("127.0.0.1", nodes[0].port) as client:
        port = client.get_node_from_key(f"wuying.workspace:{{{key}}}").port
    return next(node for node in nodes if node.port == port)


def test_a_hanging_cluster_node_is_an_error_in_time(servers: RedisServers, open_store: Open) -> None:
    nodes = servers.cluster()
    keys = session_keys(60)
    hanging = node_of(nodes, keys[1])

    def first_error(items: t.Iterable[object]) -> None:
        raise next(item for item in items if isinstance(item, StoreError))

    def lock(store: RedisStore) -> None:
        with store.lock(keys[1], soon(2)):
            pass

    actions: list[t.Callable[[RedisStore], object]] = [
        lambda store: first_error(store.read_many(keys)),
        lambda store: first_error(store.keys()),
        lambda store: store.read(keys[1]),
        lock,
    ]
    ended = []

    def end(store: RedisStore, action: t.Callable[[RedisStore], object]) -> None:
        with pytest.raises(StoreError, match=f"The Redis server 127.0.0.1:{hanging.port} did not reply") as caught:
            action(store)
        ended.append((time.monotonic() - store._connection.deadline, caught.value))

    stores = [open_store(nodes[0].address.replace(":", "+cluster:", 1), 2) for _each in actions]
    for store in stores:
        assert list(store.read_many(keys)) == [StoredState()] * len(keys)
    threads = [threading.Thread(target=end, args=each) for each in zip(stores, actions)]
    hanging.pause()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        hanging.resume()
    assert len(ended) == len(actions)
    assert max(late for late, _error in ended) < 2
    assert {(error.code, error.retryable) for _late, error in ended} == {("StoreUnavailable", True)}


def test_only_the_sessions_of_an_unassigned_cluster_slot_fail(servers: RedisServers, open_store: Open) -> None:
    nodes = servers.cluster()
    keys = session_keys(6)
    store = open_store(nodes[0].address.replace(":", "+cluster:", 1), seconds=3)
    assert list(store.read_many(keys)) == [StoredState()] * len(keys)
    slot = nodes[0].client().cluster("keyslot", f"wuying.workspace:{{{keys[1]}}}")
    for node in nodes:
        node.client().config_set("cluster-require-full-coverage", "no")
        node.client().cluster("delslots", slot)
    for opened in (store, open_store(nodes[0].address.replace(":", "+cluster:", 1), seconds=3)):
        first, error, *rest = opened.read_many(keys)
        assert [first, *rest] == [StoredState()] * 5
        # The client knows that, or a node says so.
        assert isinstance(error, StoreError) and re.match(
            r"The Redis Cluster (at )?127[.0-9]+:\d+ has no", error.message
        )
        assert (error.code, error.retryable) == ("StoreUnavailable", True)


def test_many_sessions_are_read_while_their_slots_migrate(servers: RedisServers, open_store: Open) -> None:
    nodes = servers.cluster()
    store = open_store(nodes[0].address.replace(":", "+cluster:", 1))
    sessions = [SESSION._replace(end_user_id=f"user {number}") for number in range(12)]
    for session in sessions:
        put(store, record_of(session))
    expected = [StoredState(store.read(session.key).record) for session in sessions]

    def found() -> list[StoredState | StoreError]:
        return list(store.read_many(session.key for session in sessions))

    source = node_of(nodes, sessions[0].key)
    target = next(node for node in nodes if node is not source)
    names = [f"wuying.workspace:{{{session.key}}}" for session in sessions if node_of(nodes, session.key) is source]
    target_id, source_id = (node.client().cluster("myid") for node in (target, source))
    for name in names:
        slot = source.client().cluster("keyslot", name)
        target.client().cluster("setslot", slot, "importing", source_id)
        source.client().cluster("setslot", slot, "migrating", target_id)
        source.client().migrate("127.0.0.1", target.port, [name], 0, 5000)
    assert found() == expected
    for name in names:
        for node in (target, source):
            slot = node.client().cluster("keyslot", name)
            node.client().cluster("setslot", slot, "node", target_id)
    assert len(names) > 1
    assert found() == expected


def test_many_sessions_are_read_from_the_replica_of_a_failed_node(servers: RedisServers, open_store: Open) -> None:
    nodes = servers.cluster()
    keys = session_keys(30)
    lost = node_of(nodes, keys[1])
    known = next(node for node in nodes if node is not lost)
    replica = servers("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    replica.client().cluster("meet", "127.0.0.1", known.port)
    primary = lost.client().cluster("myid").decode("ascii")
    wait_until(lambda: primary in str(replica.client().cluster("nodes")))
    replica.client().cluster("replicate", primary)
    wait_until(lambda: replica.client().info("replication")["master_link_status"] == "up")
    store = open_store(known.address.replace(":", "+cluster:", 1))
    assert list(store.read_many(keys)) == [StoredState()] * len(keys)
    lost.kill()
    replica.client().cluster("failover", "takeover")
    wait_until(lambda: node_of([known, replica, *nodes], keys[1]) is replica)
    assert list(store.read_many(keys)) == [StoredState()] * len(keys)


def wait_until(condition: t.Callable[[], object]) -> None:
    """Wait until a condition is true."""
    end = soon(20)
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_store_through_a_sentinel(servers: RedisServers, open_store: Open) -> None:
    primary = servers("--requirepass", "secret")
    sentinel = servers("--sentinel")
    with require_redis().Redis(port=sentinel.port) as client:
        client.execute_command("SENTINEL", "MONITOR", "mine", "127.0.0.1", primary.port, 1)
        client.execute_command("SENTINEL", "SET", "mine", "auth-pass", "secret")
    sentinels = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}"
    store = open_store(f"{sentinels}/mine", password="secret")
    a_saved_record_is_read_back(store, SESSION)
    assert_fails(open_store(f"{sentinels}/other", seconds=1), "StoreUnavailable", "unknown to its Sentinels")


def test_a_store_follows_its_sentinels_to_another_primary(servers: RedisServers, open_store: Open) -> None:
    primaries = [servers(), servers()]
    sentinel = servers("--sentinel")
    store = open_store(f"redis+sentinel://127.0.0.1:{sentinel.port}/mine")
    with require_redis().Redis(port=sentinel.port) as client:
        client.execute_command("SENTINEL", "MONITOR", "mine", "127.0.0.1", primaries[0].port, 1)
        put(store, record_of())
        assert primaries[0].client().exists(NAME) and not primaries[1].client().exists(NAME)
        client.execute_command("SENTINEL", "REMOVE", "mine")
        client.execute_command("SENTINEL", "MONITOR", "mine", "127.0.0.1", primaries[1].port, 1)
    primaries[0].client().replicaof("127.0.0.1", 1)
    put(store, record_of(token="v1third"))
    assert b"v1third" in primaries[1].client().hget(NAME, "record")


def test_store_over_a_socket(server: RedisServer, open_store: Open) -> None:
    a_saved_record_is_read_back(open_store(f"unix://{server.socket}"), SESSION)


@pytest.fixture
def certificates(tmp_path: Path) -> t.Callable[..., Certificates]:
    """Return a function that makes certificates."""
    pytest.importorskip("cryptography")
    return lambda name, *hosts: make_certificates(tmp_path, name, *hosts)


def test_store_over_tls_with_a_private_ca(
    servers: RedisServers, open_store: Open, certificates: t.Callable[..., Certificates]
) -> None:
    mine, other = certificates("mine", "127.0.0.1"), certificates("other", "127.0.0.1")
    elsewhere = certificates("elsewhere", "192.0.2.1")
    server = servers(*mine.options(), tls=True)
    address = f"rediss://127.0.0.1:{server.port}"
    a_saved_record_is_read_back(open_store(address, ca_path=str(mine.ca)), SESSION)
    a_saved_record_is_read_back(open_store(address, ca_path=str(mine.folder)), SESSION._replace(end_user_id="bob"))
    for ca_path in (str(other.ca), None):
        assert_fails(open_store(address, ca_path=ca_path), "TlsFailed", "could not be verified", retryable=False)
    wrong_host = servers(*elsewhere.options(), tls=True)
    store = open_store(f"rediss://127.0.0.1:{wrong_host.port}", ca_path=str(elsewhere.ca))
    assert_fails(store, "TlsFailed", "could not be verified")


def test_store_in_another_database(server: RedisServer, open_store: Open) -> None:
    a_saved_record_is_read_back(open_store(f"{server.address}/3"), SESSION)
    assert server.client(db=3).exists(NAME)
    assert not server.client().dbsize()


def test_keys_are_named_after_the_session_and_expire(server: RedisServer, store: RedisStore) -> None:
    put(store, record_of())
    leave_note(store, SESSION._replace(end_user_id="bob"), "v1")
    client = server.client()
    names = {name.decode() for name in client.scan_iter()}
    assert names == {NAME, NAME.replace(SESSION.key, SESSION._replace(end_user_id="bob").key)}
    assert 30 * DAY < client.ttl(NAME) <= 30 * DAY + 900
    assert 0 < min(client.ttl(name) for name in names) <= 30 * DAY
    with store.lock(SESSION.key, soon()) as locked:
        assert 29 < client.pttl(f"{NAME}:lock") / 1000 <= 30
        locked.delete()
    assert set(client.keys(f"{NAME}*")) == {f"{NAME}:gone".encode()}
    assert 30 < client.ttl(f"{NAME}:gone") <= DAY


def test_a_long_expired_record_is_saved(store: RedisStore) -> None:
    record = record_of()._replace(obtained_at=1000.0, expires_at=1900.0)
    put(store, record)
    assert store.read(SESSION.key).record == record


def test_reading_writes_nothing(server: RedisServer, store: RedisStore) -> None:
    assert store.read(SESSION.key) == StoredState()
    assert list(store.read_many([SESSION.key])) == [StoredState()]
    assert list(store.keys()) == []
    assert server.client().info("stats")["total_commands_processed"] < 20
    assert not server.client().dbsize()


def test_a_damaged_record_is_set_aside_and_its_note_stays(server: RedisServer, store: RedisStore) -> None:
    put(store, record_of())
    leave_note(store, SESSION, "v1second")
    client = server.client()
    client.hset(NAME, "record", b"{}")
    assert store.read(SESSION.key).damage
    with store.lock(SESSION.key, soon()) as locked:
        stored = locked.read()
        place = locked.set_aside()
        assert locked.read() == StoredState(None, stored.note)
        locked.write_note(new_note(stored.note, fingerprint("v1third"), ""))
        locked.save(record_of(token="v1fourth"))
    assert place.startswith(f"{NAME}:damaged-")
    assert client.hget(place, "record") == b"{}"
    assert 0 < client.ttl(place) <= 30 * DAY + 900
    assert store.read(SESSION.key) == StoredState(store.read(SESSION.key).record)
    assert list(store.keys()) == [SESSION.key]


def test_the_error_of_one_record_is_returned_in_its_place(server: RedisServer, store: RedisStore) -> None:
    put(store, record_of())
    newer = SESSION._replace(end_user_id="newer")
    other = SESSION._replace(end_user_id="other")
    client = server.client()
    client.hset(NAME.replace(SESSION.key, newer.key), "record", b'{"format":99}')
    client.set(NAME.replace(SESSION.key, other.key), "a string")
    first, second, third = store.read_many([newer.key, other.key, SESSION.key])
    assert isinstance(first, StoreError) and first.code == "NewerFormat"
    assert isinstance(second, StoreError) and "stores another type of value" in second.message
    assert "wuying.workspace:{KEY}" in second.message
    assert isinstance(third, StoredState) and third.record is not None


def test_no_token_is_readable_in_encrypted_records(server: RedisServer, open_store: Open) -> None:
    pytest.importorskip("cryptography")
    from cryptography.fernet import Fernet

    first, second = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    store = open_store(server.address, encryption=Encryption([first]))
    record = record_of(token="v1" + "Plain" * 20)
    put(store, record)
    leave_note(store, SESSION, record.login_token)
    client = server.client()
    everything = b"".join(client.dump(name) + b"".join(client.hgetall(name).values()) for name in client.scan_iter())
    assert b"Plain" not in everything and b"alice" not in everything
    assert b"Plain" not in (server.folder / "appendonlydir" / "appendonly.aof.1.incr.aof").read_bytes()
    assert store.read(SESSION.key).record == record
    with pytest.raises(StoreError, match="store_key"):
        open_store(server.address).read(SESSION.key)
    rekeyed = open_store(server.address, encryption=Encryption([second, first]))
    assert rekeyed.read(SESSION.key).needs_reencryption
    with rekeyed.lock(SESSION.key, soon()) as locked:
        locked.rewrite(record)
    assert rekeyed.read(SESSION.key).may_be_spent(record.login_token)
    assert not rekeyed.read(SESSION.key).needs_reencryption
    assert client.ttl(NAME) > 30 * DAY


def test_only_one_thread_of_several_stores_holds_the_lock(server: RedisServer, open_store: Open) -> None:
    stores = [open_store(server.address) for _store in range(4)]
    inside: list[int] = []
    most: list[int] = []

    def work(store: RedisStore) -> None:
        for _round in range(3):
            with store.lock(SESSION.key, soon(30)):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.002)
                inside.pop()

    threads = [threading.Thread(target=work, args=(store,)) for store in stores * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1] * 48


def test_a_running_task_keeps_its_lock_past_the_lease(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE", 0.6)
    with store.lock(SESSION.key, soon()) as locked:
        time.sleep(1.5)
        with pytest.raises(LockTimeout), store.lock(SESSION.key, soon(0.1)):
            pass
        locked.write_note(note_of())
        locked.save(record_of())


@pytest.fixture
def expire_lease(server: RedisServer) -> t.Callable[[], None]:
    """Return a function that ends the lease of the session's lock, as if its owner had been suspended."""
    client = server.client()

    def expire() -> None:
        assert client.pexpire(f"{NAME}:lock", 1)
        while client.exists(f"{NAME}:lock"):
            time.sleep(0.001)

    return expire


def test_a_task_without_its_lock_cannot_write_a_note(store: RedisStore, expire_lease: t.Callable[[], None]) -> None:
    with store.lock(SESSION.key, soon()) as locked:
        expire_lease()
        with pytest.raises(StoreError, match="lost the session's lock") as caught:
            locked.write_note(note_of())
    assert caught.value.code == "LockLost" and caught.value.retryable
    assert store.read(SESSION.key) == StoredState()


def test_no_note_is_written_after_a_late_writer_saved_a_newer_token(
    store: RedisStore, expire_lease: t.Callable[[], None]
) -> None:
    put(store, record_of(token="v1old"))
    with store.lock(SESSION.key, soon()) as locked:
        locked.write_note(note_of("v1old"))
        expire_lease()
        with store.lock(SESSION.key, soon()) as second:
            locked.save(record_of(token="v1new"))
            with pytest.raises(StoreError, match="newer login token") as caught:
                second.write_note(note_of("v1old"))
    assert caught.value.code == "NewerRecord" and caught.value.retryable
    assert store.read(SESSION.key) == StoredState(store.read(SESSION.key).record)


@pytest.mark.parametrize("known", [True, False])
def test_a_late_writer_does_not_overwrite_a_newer_record(
    store: RedisStore, expire_lease: t.Callable[[], None], known: bool
) -> None:
    if known:
        put(store, record_of(token="v1old"))
    newer = record_of(token="v1newer")
    with store.lock(SESSION.key, soon()) as locked:
        locked.write_note(note_of("v1old"))
        expire_lease()
        put(store, newer)
        with pytest.raises(StoreError, match="saved a newer login token of this session") as caught:
            locked.save(record_of(token="v1late"))
        locked.save_failure(note_of("v1old"))
    assert caught.value.code == "NewerRecord"
    assert store.read(SESSION.key) == StoredState(newer)


def test_a_task_that_lost_only_its_lock_saves_its_record(store: RedisStore, expire_lease: t.Callable[[], None]) -> None:
    put(store, record_of(token="v1old"))
    record = record_of(token="v1new")
    with store.lock(SESSION.key, soon()) as locked:
        locked.write_note(note_of("v1old"))
        expire_lease()
        with store.lock(SESSION.key, soon()):
            locked.save(record)
    assert store.read(SESSION.key) == StoredState(record)


def test_a_record_is_saved_after_the_old_one_was_lost(server: RedisServer, store: RedisStore) -> None:
    put(store, record_of(token="v1old"))
    record = record_of(token="v1new")
    with store.lock(SESSION.key, soon()) as locked:
        locked.write_note(note_of("v1old"))
        server.client().flushall()
        locked.save(record)
    assert store.read(SESSION.key) == StoredState(record)


def test_saving_the_same_record_twice_is_no_error(store: RedisStore) -> None:
    record = record_of(token="v1new")
    with store.lock(SESSION.key, soon()) as locked:
        locked.write_note(note_of())
        locked.save(record)
        locked._fingerprint = ""  # type: ignore[attr-defined]
        locked.save(record)
    assert store.read(SESSION.key) == StoredState(record)


def test_a_removed_session_refuses_a_late_writer_and_can_start_again(
    store: RedisStore, expire_lease: t.Callable[[], None]
) -> None:
    put(store, record_of(token="v1old"))
    with store.lock(SESSION.key, soon()) as locked:
        locked.write_note(note_of("v1old"))
        expire_lease()
        with store.lock(SESSION.key, soon()) as other:
            assert other.delete()
        with pytest.raises(StoreError, match="removed this session") as caught:
            locked.save(record_of(token="v1late"))
    assert caught.value.code == "SessionForgotten"
    assert store.read(SESSION.key) == StoredState()
    put(store, record_of(token="v1again"))
    assert store.read(SESSION.key).record is not None


def test_no_lease_is_renewed_after_the_store_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "LEASE", 0.03)
    renewing, renewed = threading.Event(), []

    def renew(key: str, _owner: str) -> None:
        renewed.append(key)
        renewing.set()
        assert leases._stop.wait(10)

    leases = lease.Leases(renew)
    with leases.renewing("first", "me", "a"), leases.renewing("second", "me too", "a"):
        assert renewing.wait(10)
        leases.close()
    assert len(renewed) == 1


def test_leases_of_one_server_do_not_wait_for_those_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE", 0.03)
    hanging, resume, renewed = threading.Event(), threading.Event(), threading.Semaphore(0)

    def renew(key: str, _owner: str) -> None:
        if key == "stopped":
            hanging.set()
            assert resume.wait(20)
        else:
            renewed.release()

    leases = lease.Leases(renew)
    with leases.renewing("stopped", "me", "a"), leases.renewing("stopped", "me too", "a"):
        assert hanging.wait(10)
        with leases.renewing("healthy", "i", "b"):
            for _time in range(3):
                assert renewed.acquire(timeout=10)
    resume.set()
    leases.close()


def test_a_stopped_node_costs_no_lock_of_another_node(
    servers: RedisServers, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE", 3.0)
    nodes = servers.cluster()
    keys = session_keys(60)
    for node in nodes:
        node.client().config_set("cluster-require-full-coverage", "no")
    stopped = node_of(nodes, keys[0])
    store = open_store(nodes[0].address.replace(":", "+cluster:", 1), seconds=60)
    with contextlib.ExitStack() as held:
        there = [key for key in keys if node_of(nodes, key) is stopped][:8]
        (here, *_rest) = (key for key in keys if node_of(nodes, key) is not stopped)
        for key in (*there, here):
            held.enter_context(store.lock(key, soon()))
        stopped.pause()
        try:
            end = soon(8)
            while time.monotonic() < end:
                assert node_of_lock(nodes, here, stopped)
                time.sleep(0.1)
        finally:
            stopped.resume()


def node_of_lock(nodes: list[RedisServer], key: str, stopped: RedisServer) -> RedisServer | None:
    """Return the node that has the lock of a session, other than the stopped one."""
    name = f"wuying.workspace:{{{key}}}:lock"
    for node in nodes:
        with contextlib.suppress(require_redis().ResponseError):  # MOVED
            if node is not stopped and node.client().exists(name):
                return node
    return None


def test_close_ends_threads_and_connections(server: RedisServer, store: RedisStore) -> None:
    before = threading.active_count()
    put(store, record_of())
    assert threading.active_count() == before + 1
    store.close()
    assert threading.active_count() == before
    end = soon(5)
    while server.client().info("clients")["connected_clients"] > 1:
        assert time.monotonic() < end
    put(store, record_of(token="v1third"))


def assert_fails(store: RedisStore, code: str, reason: str, *, retryable: bool | None = None) -> None:
    """Check that reading, listing and saving fail with the same error."""
    for action in (
        lambda: store.read(SESSION.key),
        lambda: list(store.keys()),
        lambda: put(store, record_of()),
    ):
        with pytest.raises(StoreError, match=reason) as caught:
            action()
        assert caught.value.code == code
        assert "secret" not in caught.value.message
        assert caught.value.__cause__ is None and caught.value.__context__ is None
        if retryable is not None:
            assert caught.value.retryable == retryable


GUIDE = Path(__file__).parents[5] / "docs/docsite/rst/guide_redis.rst"
RIGHTS = re.findall(r"^ +user ansible on >PASSWORD (.+)", GUIDE.read_text(encoding="utf-8"), re.M)[0]
"""The rights that the guide lists."""


@pytest.mark.parametrize("kind", ["server", "cluster"])
def test_a_user_with_the_rights_of_the_guide_can_do_everything(
    servers: RedisServers, open_store: Open, kind: str
) -> None:
    nodes = servers.cluster() if kind == "cluster" else [servers()]
    rights = RIGHTS.split() + (["+cluster|slots", "+asking"] if kind == "cluster" else [])
    for node in nodes:
        node.client().execute_command("ACL", "SETUSER", "ansible", "on", ">secret", *rights)
        node.client().execute_command("ACL", "SETUSER", "default", "off")
    address = nodes[0].address.replace("redis:", "redis+cluster:" if len(nodes) > 1 else "redis:")
    store = open_store(address, username="ansible", password="secret")
    for number, behaviour in enumerate(BASICS):
        behaviour(store, SESSION._replace(end_user_id=f"user {number}"))
    assert store.warnings == []


def test_a_user_without_a_required_right_is_an_error(server: RedisServer, open_store: Open) -> None:
    for name, rights in (
        ("few", "~wuying.workspace:* +eval +scan +hmget"),
        ("none", ""),
        ("other", "~x:* +@all"),
    ):
        server.client().execute_command("ACL", "SETUSER", name, "on", ">secret", *rights.split())
        store = open_store(server.address, username=name, password="secret")
        with pytest.raises(StoreError, match="denied this user access to a command") as caught:
            put(store, record_of())
        assert (caught.value.code, caught.value.retryable) == ("StoreAccessDenied", False)


def test_a_missing_right_to_save_is_found_before_the_token_is_spent(server: RedisServer, open_store: Open) -> None:
    refused = []
    for right in RIGHTS.split():
        client = server.client()
        client.flushall()
        rights = [each for each in RIGHTS.split() if each != right]
        client.execute_command("ACL", "SETUSER", right, "on", ">secret", *rights)
        store = open_store(server.address, username=right, password="secret")
        with contextlib.suppress(StoreError), store.lock(SESSION.key, soon()) as locked:
            refused.append(right)
            locked.write_note(note_of())
            refused.pop()
            locked.save(record_of())
            assert client.hget(NAME, "record") and not client.hget(NAME, "note")
            refused.append("")
    assert {"+hset", "+hget", "+hdel", "+pexpire"} <= set(refused)
    assert {"+rename", "+wait", "+info", "+scan"}.isdisjoint(refused)
    assert len(refused) == len([each for each in RIGHTS.split() if each not in NEEDED_TO_LOCK])


NEEDED_TO_LOCK = {"~wuying.workspace:*", "+eval", "+get", "+set", "+hmget"}


def test_a_read_only_replica_can_be_read_but_not_written(servers: RedisServers, open_store: Open) -> None:
    primary = servers("--repl-diskless-sync-delay", "0")
    put(open_store(primary.address), record_of())
    replica = servers("--replicaof", "127.0.0.1", str(primary.port))
    store = open_store(replica.address)
    wait_until(lambda: store.read(SESSION.key).record)
    with pytest.raises(StoreError, match="is a read-only replica") as caught:
        put(store, record_of())
    assert caught.value.code == "StoreReadOnly"


def start_with_replica(servers: RedisServers) -> tuple[RedisServer, RedisServer]:
    """Return a primary and its replica, after the first write was replicated."""
    primary = servers("--repl-diskless-sync-delay", "0")
    replica = servers("--replicaof", "127.0.0.1", str(primary.port))
    client = primary.client()
    # The primary learns only once a second that the link to its replica is up.
    wait_until(lambda: client.set("written", 1) and client.wait(1, 1000))
    return primary, replica


def test_save_waits_for_a_replica_and_warns_once_if_it_does_not_confirm(
    servers: RedisServers, open_store: Open
) -> None:
    primary, replica = start_with_replica(servers)
    store = open_store(primary.address)
    for number in range(20):
        put(store, record_of(token=f"v1{number}"))
        assert f"v1{number}".encode() in replica.client().hget(NAME, "record")
    assert store.warnings == []
    replica.pause()
    put(store, record_of(token="v1unseen"))
    put(store, record_of(token="v1unseen2"))
    replica.resume()
    (warning,) = store.warnings
    assert "No replica of the Redis server" in warning
    assert store.read(SESSION.key).record is not None


def test_the_entry_of_an_account_waits_for_a_replica_too(servers: RedisServers, open_store: Open) -> None:
    primary, replica = start_with_replica(servers)
    store, account = open_store(primary.address), account_of(SESSION)
    with store.lock(account.key, time.monotonic() + 30) as locked:
        for step in range(20):
            entry = new_entry(account)._replace(step=step)
            locked.write_entry(entry)
            assert replica.client().hget(hash_name(account.key), "record") == entry.dump()
        assert store.warnings == []
        replica.pause()
        locked.write_entry(new_entry(account))
    replica.resume()
    (warning,) = store.warnings
    assert "No replica of the Redis server" in warning


def test_after_a_replica_hung_saves_wait_again_only_after_a_pause(
    servers: RedisServers, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, replica = start_with_replica(servers)
    store = open_store(primary.address)
    put(store, record_of())

    def waits() -> int:
        return int(primary.client().info("commandstats")["cmdstat_wait"]["calls"])

    replica.pause()
    before = waits()
    for number in range(200):
        put(store, record_of(SESSION._replace(end_user_id=f"user {number}")))
    assert waits() == before + 1
    monkeypatch.setattr(replication, "_PAUSE", 0.0)
    store = open_store(primary.address)
    for number in range(3):
        put(store, record_of(token=f"v1{number}"))
    replica.resume()
    assert waits() == before + 4
    (warning,) = store.warnings
    assert "No replica of the Redis server" in warning


def test_a_full_server_refuses_a_note_but_saves_a_new_token(server: RedisServer, store: RedisStore) -> None:
    put(store, record_of())
    client = server.client()
    with store.lock(SESSION.key, soon()) as locked:
        locked.write_note(note_of("v1second"))
        client.config_set("maxmemory", "1")
        locked.save(record_of(token="v1third"))
    assert t.cast(Record, store.read(SESSION.key).record).login_token == "v1third"
    with pytest.raises(StoreError, match="no memory left") as caught:
        put(store, record_of(token="v1fourth"))
    assert caught.value.code == "StoreFull"


def test_a_server_that_cannot_save_fails_before_a_token_is_spent(servers: RedisServers, open_store: Open) -> None:
    server = servers("--save", "3600 1000000")
    store = open_store(server.address)
    put(store, record_of())
    (server.folder / "dump.rdb").mkdir()  # so that no snapshot can be written
    client = server.client()
    client.bgsave()
    end = soon(20)
    while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
        assert time.monotonic() < end
        time.sleep(0.02)
    with pytest.raises(StoreError, match="cannot save to its disk") as caught:
        put(store, record_of(token="v1third"))
    assert (caught.value.code, caught.value.retryable) == ("StoreUnavailable", False)
    assert t.cast(Record, store.read(SESSION.key).record).login_token == "v1second"


def test_settings_that_may_lose_tokens_cause_one_warning(servers: RedisServers, open_store: Open) -> None:
    server = servers("--appendonly", "no", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    store = open_store(server.address)
    store.read(SESSION.key)
    assert store.warnings == []
    put(store, record_of())
    put(store, record_of())
    first, second = store.warnings
    assert "does not save data to disk" in first and "Set appendonly to yes" in first
    assert "maxmemory-policy is allkeys-lru" in second
    server.client().config_set("save", "60 1")
    server.client().config_set("maxmemory", "0")
    store = open_store(server.address)
    put(store, record_of())
    assert store.warnings == []


def test_a_record_is_saved_if_the_server_restarts_before_the_deadline(server: RedisServer, store: RedisStore) -> None:
    record = record_of(token="v1new")
    with store.lock(SESSION.key, soon(20)) as locked:
        locked.write_note(note_of())
        server.kill()
        timer = threading.Timer(0.8, server.start)
        timer.start()
        locked.save(record)
    timer.join(10)
    assert store.read(SESSION.key) == StoredState(record)


def test_a_server_that_stays_down_is_an_error_at_the_deadline(server: RedisServer, open_store: Open) -> None:
    store = open_store(server.address, seconds=1.5)
    start = time.monotonic()
    with store.lock(SESSION.key, soon(1.5)) as locked:
        locked.write_note(note_of())
        server.kill()
        with pytest.raises(StoreError, match="cannot be reached") as caught:
            locked.save(record_of())
    assert 1 < time.monotonic() - start < 4
    assert (caught.value.code, caught.value.retryable) == ("StoreUnavailable", True)
    assert_fails(store, "StoreUnavailable", "cannot be reached", retryable=True)


def test_a_hanging_server_is_an_error_in_time(server: RedisServer, open_store: Open) -> None:
    store = open_store(server.address, seconds=1)
    server.pause()
    start = time.monotonic()
    with pytest.raises(StoreError, match="did not reply in time") as caught:
        store.read(SESSION.key)
    server.resume()
    assert time.monotonic() - start < 3
    assert caught.value.retryable


def test_an_unknown_host_name_is_an_error_in_time(
    server: RedisServer, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store("redis://no-such-host.invalid", seconds=1)
    assert_fails(store, "StoreUnavailable", "cannot be reached", retryable=True)
    resolve = socket.getaddrinfo

    def hang(host: str, *arguments: t.Any, **options: t.Any) -> t.Any:
        if host == "slow.invalid":
            time.sleep(20)
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    assert_fails(open_store("redis://slow.invalid", seconds=1), "StoreUnavailable", "cannot be reached")
    assert time.monotonic() - start < 5


def test_every_command_can_be_repeated_after_a_lost_reply(
    server: RedisServer, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = connection_module.Connection._try

    def run_twice(*arguments: t.Any) -> t.Any:
        run(*arguments)
        return run(*arguments)

    monkeypatch.setattr(connection_module.Connection, "_try", run_twice)
    for number, behaviour in enumerate(BASICS):
        behaviour(store, SESSION._replace(end_user_id=f"user {number}"))
    put(store, record_of())
    server.client().hset(NAME, "record", b"{}")
    with store.lock(SESSION.key, soon()) as locked:
        locked.set_aside()
        locked.write_note(note_of())
        locked.save(record_of(token="v1new"))
        locked.rewrite(record_of(token="v1new"))
    assert len(server.client().keys(f"{NAME}:damaged-*")) == 1
    assert not server.client().exists(f"{NAME}:lock")


def test_a_forked_process_does_not_renew_the_leases_of_its_parent(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.lock(SESSION.key, soon()):
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with store.lock(SESSION._replace(end_user_id="bob").key, soon()):
            assert len(store._leases._held) == 1


def test_missing_replicas_are_an_error_before_a_token_is_spent(server: RedisServer, open_store: Open) -> None:
    store = open_store(server.address, seconds=1)
    put(store, record_of())
    server.client().config_set("min-replicas-to-write", 1)
    with pytest.raises(StoreError, match="has too few replicas") as caught:
        put(store, record_of())
    assert (caught.value.code, caught.value.retryable) == ("StoreUnavailable", True)
    assert store.read(SESSION.key).record is not None


def test_a_record_is_saved_if_a_failover_ends_before_the_deadline(server: RedisServer, store: RedisStore) -> None:
    record = record_of(token="v1new")
    client = server.client()
    with store.lock(SESSION.key, soon(20)) as locked:
        locked.write_note(note_of())
        client.replicaof("127.0.0.1", 1)
        timer = threading.Timer(0.5, client.replicaof, ("NO", "ONE"))
        timer.start()
        locked.save(record)
    timer.join(10)
    assert store.read(SESSION.key) == StoredState(record)


def test_an_unforeseen_exception_while_saving_is_a_store_error(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: t.Any) -> t.NoReturn:
        raise AttributeError("v1secret")

    with store.lock(SESSION.key, soon(1)) as locked:
        locked.write_note(note_of())
        monkeypatch.setattr(require_redis().Redis, "eval", fail)
        with pytest.raises(StoreError) as caught:
            locked.save(record_of())
    assert caught.value.code == "StoreUnavailable" and "secret" not in caught.value.message
