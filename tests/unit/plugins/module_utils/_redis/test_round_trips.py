# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the scripts that do two things at once: lock a session and write its note, and save its record and release the lock."""

from __future__ import annotations

import contextlib
import time
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import ServiceError, StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record, with_passed
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record, StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._redis import lease, scripts
from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import parse_address
from ansible_collections.wuying.workspace.plugins.module_utils._redis.store import RedisStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.locked_session import FirstNote
from ansible_collections.wuying.workspace.tests.unit.conftest import Emulator
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    RedisServer,
    RedisServers,
    require_redis,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    SingleSession,
    put,
    session_at,
)

SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
NAME = scripts.hash_name(SESSION.key)
NOTE = new_note(None, fingerprint("v1second"), "a test")
FIRST = FirstNote(fingerprint("v1second"), NOTE)
Open = t.Callable[[], RedisStore]


def record_of(token: str = "v1second", previous: Record | None = None) -> Record:
    """Return the record of a token that was just issued."""
    return next_record(previous, SESSION, None, token, time.time(), 900, None)


def soon() -> float:
    """Return a deadline."""
    return time.monotonic() + 20


@pytest.fixture(name="nodes", params=["server", "cluster"])
def fixture_nodes(request: pytest.FixtureRequest, servers: RedisServers) -> list[RedisServer]:
    """Return a server, or the nodes of a cluster."""
    return [servers()] if request.param == "server" else servers.cluster()


@pytest.fixture(name="open_store")
def fixture_open_store(nodes: list[RedisServer]) -> t.Iterator[Open]:
    """Return a function that opens a store."""
    scheme = "redis" if len(nodes) == 1 else "redis+cluster"
    address = f"{scheme}://127.0.0.1:{nodes[0].port}"
    with contextlib.ExitStack() as opened:

        def open_store() -> RedisStore:
            access: dict[str, t.Any] = dict.fromkeys(("username", "password", "ca_path"))
            store = RedisStore(parse_address(address), deadline=time.monotonic() + 60, **access)
            return opened.enter_context(contextlib.closing(store))

        yield open_store


@pytest.fixture(name="store")
def fixture_store(open_store: Open) -> RedisStore:
    """Return a store."""
    return open_store()


class LostReplies:
    """Loses the reply to the first run of a script, and calls a function before it is run again."""

    def __init__(self, script: str, before_retry: t.Callable[[], None] | None = None) -> None:
        self.script = script
        self.lost = 0
        self._before_retry = before_retry

    def __call__(self, key: str, script: str, *arguments: t.Any, **options: t.Any) -> t.Callable[[t.Any], t.Any]:
        command = COMMAND(key, script, *arguments, **options)

        def run(client: t.Any) -> t.Any:
            reply = command(client)
            if script != self.script or self.lost:
                return reply
            self.lost += 1
            if self._before_retry is not None:
                self._before_retry()
            raise require_redis().ConnectionError("The reply is lost.")

        return run


COMMAND = scripts.command


def node_of_session(nodes: list[RedisServer]) -> t.Any:
    """Return a client of the node that has the session."""
    for node in nodes:
        with contextlib.suppress(require_redis().ResponseError):  # another node has the session
            node.client().exists(NAME)
            return node.client()
    raise AssertionError("no node has the session")


def raw_note(nodes: list[RedisServer]) -> bytes | None:
    """Return the note in the store."""
    return t.cast("bytes | None", node_of_session(nodes).hget(NAME, "note"))


@pytest.mark.parametrize("script", ["", "ACQUIRE", "RELEASE"])
def test_a_note_that_is_not_used_is_removed_with_the_lock(
    nodes: list[RedisServer], store: RedisStore, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    put(store, record_of())
    lost = LostReplies(getattr(scripts, script, ""))
    monkeypatch.setattr(scripts, "command", lost)
    with store.lock(SESSION.key, soon(), FIRST) as locked:
        assert locked.noted == NOTE and raw_note(nodes)
        stored = locked.read()
        assert stored.record is not None and stored.note is None
    assert not raw_note(nodes)
    assert lost.lost == bool(script)
    with store.lock(SESSION.key, soon()):
        assert store.read(SESSION.key).note is None


def test_a_session_without_a_record_gets_a_note_with_the_lock(store: RedisStore) -> None:
    with store.lock(SESSION.key, soon(), FIRST._replace(fingerprint="")) as locked:
        assert locked.noted == NOTE
        locked.write_note(NOTE)
    assert store.read(SESSION.key) == StoredState(note=NOTE)


@pytest.mark.parametrize("script", ["", "ACQUIRE"])
def test_a_note_that_is_used_stays_until_the_record_is_saved(
    nodes: list[RedisServer], store: RedisStore, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    put(store, record_of())
    monkeypatch.setattr(scripts, "command", LostReplies(getattr(scripts, script, "")))
    with store.lock(SESSION.key, soon(), FIRST) as locked:
        locked.write_note(NOTE)
    stored = store.read(SESSION.key)
    assert stored.note == NOTE and stored.may_be_spent("v1second")
    with store.lock(SESSION.key, soon()) as locked:
        locked.write_note(new_note(NOTE, fingerprint("v1second"), "a test"))
        locked.save_and_release(record_of("v1third", stored.record))
    assert not raw_note(nodes)


@pytest.mark.parametrize("seen", ["", fingerprint("v1another")])
def test_no_note_is_written_for_a_token_that_has_changed(store: RedisStore, seen: str) -> None:
    put(store, record_of())
    with store.lock(SESSION.key, soon(), FIRST._replace(fingerprint=seen)) as locked:
        assert locked.noted is None
    assert store.read(SESSION.key).note is None


def test_the_note_of_another_task_is_not_replaced(store: RedisStore) -> None:
    put(store, record_of())
    with store.lock(SESSION.key, soon()) as locked:
        locked.write_note(NOTE)
    with store.lock(SESSION.key, soon(), FirstNote(*FIRST)._replace(note=NOTE._replace(id="another"))) as locked:
        assert locked.noted is None and locked.read().note == NOTE
    assert store.read(SESSION.key).note == NOTE


def test_a_task_that_waits_for_the_lock_does_not_write_its_note(store: RedisStore, open_store: Open) -> None:
    put(store, record_of())
    other = open_store()
    with store.lock(SESSION.key, soon()):
        with pytest.raises(StoreError):
            with other.lock(SESSION.key, time.monotonic() + 0.3, FIRST):
                pass
        assert store.read(SESSION.key).note is None


def test_another_note_than_the_first_one_replaces_it(store: RedisStore) -> None:
    put(store, record_of())
    note = NOTE._replace(id="another", fingerprint=fingerprint("v1passed"))
    with store.lock(SESSION.key, soon(), FIRST) as locked:
        locked.write_note(note)
    assert store.read(SESSION.key).note == note


def test_no_token_is_sent_after_the_lock_was_lost(
    store: RedisStore, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, record_of())
    with store.lock(SESSION.key, soon(), FIRST) as locked:
        monkeypatch.setattr(lease, "LEASE", 0.05)
        time.sleep(0.1)
        locked.write_note(NOTE)  # The lock is still held, although nobody could know.
    monkeypatch.setattr(store._leases, "_renew", lambda *_any: None)
    with store.lock(SESSION.key, soon(), FIRST._replace(note=NOTE._replace(id="unused"))) as locked:
        assert locked.noted is None  # The note above was used.
    put(store, record_of())
    with store.lock(SESSION.key, soon(), FIRST) as locked:
        time.sleep(0.1)
        with open_store().lock(SESSION.key, soon()):
            with pytest.raises(StoreError, match="lost the session's lock"):
                locked.write_note(NOTE)


def test_a_note_that_is_not_used_is_removed_after_the_lock_was_lost(
    nodes: list[RedisServer], store: RedisStore, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, record_of())
    monkeypatch.setattr(lease, "LEASE", 0.05)
    monkeypatch.setattr(store._leases, "_renew", lambda *_any: None)
    first = store.lock(SESSION.key, soon(), FIRST)
    first.__enter__()
    time.sleep(0.1)
    monkeypatch.setattr(lease, "LEASE", 30.0)
    with open_store().lock(SESSION.key, soon()):
        assert raw_note(nodes)
        first.__exit__(None, None, None)
        assert not raw_note(nodes)
        with pytest.raises(StoreError, match="Another task"):
            with store.lock(SESSION.key, time.monotonic() + 0.3):
                pass


def test_without_the_right_to_remove_notes_nothing_is_written(servers: RedisServers) -> None:
    server = servers()
    client = server.client()
    client.acl_setuser("few", enabled=True, passwords=["+sesame"], keys=["*"], commands=["+@all", "-hdel"])
    access: dict[str, t.Any] = {"username": "few", "password": "sesame", "ca_path": None}
    with contextlib.closing(RedisStore(parse_address(server.address), deadline=soon(), **access)) as store:
        with pytest.raises(StoreError) as caught:
            with store.lock(SESSION.key, soon(), FIRST._replace(fingerprint="")):
                pass
    assert caught.value.code == "StoreAccessDenied"
    assert client.keys() == []


def test_a_full_server_refuses_the_first_note_and_the_lock(nodes: list[RedisServer], store: RedisStore) -> None:
    put(store, record_of())
    before = store.read(SESSION.key)
    for node in nodes:
        node.client().config_set("maxmemory", "1")
    with pytest.raises(StoreError, match="no memory left") as caught:
        with store.lock(SESSION.key, soon(), FIRST):
            pass
    assert caught.value.code == "StoreFull"
    assert store.read(SESSION.key) == before
    for node in nodes:
        node.client().config_set("maxmemory", "0")
    with store.lock(SESSION.key, time.monotonic() + 1, FIRST) as locked:
        assert locked.noted == NOTE


def test_on_a_full_server_no_token_is_spent(servers: RedisServers, single_session: SingleSession) -> None:
    server = servers()
    access: dict[str, t.Any] = dict.fromkeys(("username", "password", "ca_path"))
    with contextlib.closing(RedisStore(parse_address(server.address), deadline=soon(), **access)) as store:
        single_session.store = store
        before = single_session.have("expired")
        server.client().config_set("maxmemory", "1")
        with pytest.raises(StoreError, match="no memory left"):
            single_session.request()
        assert single_session.requests() == 0
        server.client().config_set("maxmemory", "0")
        outcome = single_session.request()
        assert outcome.changed and outcome.before == before and outcome.not_saved is None


@pytest.mark.parametrize("script", ["", "SAVE"])
def test_a_save_after_a_lost_reply_keeps_what_another_task_changed_since(
    store: RedisStore, open_store: Open, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    put(store, record_of())
    other = open_store()

    def pass_a_token() -> None:
        record = other.read(SESSION.key).record
        assert record is not None
        put(other, with_passed(record, "v1passed"))

    lost = LostReplies(getattr(scripts, script, ""), pass_a_token)
    monkeypatch.setattr(scripts, "command", lost)
    with store.lock(SESSION.key, soon(), FIRST) as locked:
        locked.write_note(NOTE)
        locked.save_and_release(record_of("v1third", locked.read().record))
    if not lost.lost:
        pass_a_token()
    record = store.read(SESSION.key).record
    assert record is not None
    assert record.login_token == "v1third" and record.knows("v1passed")


def test_saving_the_last_record_releases_the_lock(store: RedisStore, open_store: Open) -> None:
    put(store, record_of())
    other = open_store()
    with store.lock(SESSION.key, soon(), FIRST) as locked:
        locked.write_note(NOTE)
        locked.save_and_release(record_of("v1third"))
        with other.lock(SESSION.key, time.monotonic() + 1) as seen:
            assert seen.read().record == store.read(SESSION.key).record
            with pytest.raises(StoreError, match="lost the session's lock"):
                locked.write_note(NOTE._replace(id="late"))
        # The end of the block must not release the lock of another task.
        other_lock = other.lock(SESSION.key, soon())
        other_lock.__enter__()
    with pytest.raises(StoreError, match="Another task"):
        with store.lock(SESSION.key, time.monotonic() + 0.3):
            pass
    other_lock.__exit__(None, None, None)


def test_a_record_whose_save_was_not_confirmed_is_saved_again(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = LostReplies(scripts.SAVE)
    monkeypatch.setattr(scripts, "command", lost)
    with store.lock(SESSION.key, soon()) as locked:
        locked.save_and_release(record_of())
    assert lost.lost == 1
    assert store.read(SESSION.key).record is not None


@pytest.mark.parametrize("knows", [True, False])
def test_a_token_was_saved_if_another_task_has_used_it_since(
    store: RedisStore, open_store: Open, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    other = open_store()
    record = record_of()

    def refresh() -> None:
        newer = record_of("v1third", record if knows else None)
        with other.lock(SESSION.key, soon()) as theirs:
            theirs.write_note(NOTE)
            theirs.save_and_release(newer)

    monkeypatch.setattr(scripts, "command", LostReplies(scripts.SAVE, refresh))
    with store.lock(SESSION.key, soon()) as locked:
        if knows:
            locked.save_and_release(record)
        else:
            with pytest.raises(StoreError, match="saved a newer login token"):
                locked.save_and_release(record)
    stored = store.read(SESSION.key).record
    assert stored is not None and stored.login_token == "v1third"


@pytest.mark.parametrize("is_last", [True, False])
def test_a_token_is_saved_if_the_server_lost_its_last_writes(
    nodes: list[RedisServer], store: RedisStore, is_last: bool
) -> None:
    first = record_of("v1first")
    second = record_of("v1second", first)
    put(store, first)
    client = node_of_session(nodes)
    before = client.dump(NAME)
    put(store, second)
    with store.lock(SESSION.key, soon()) as locked:
        locked.write_note(NOTE)
        client.restore(NAME, 0, before, replace=True)  # as after a crash, or a failover to a replica that is behind
        third = record_of("v1third", second)
        (locked.save_and_release if is_last else locked.save)(third)
    assert store.read(SESSION.key).record == third


def test_a_refresh_takes_two_scripts_and_two_writes(
    nodes: list[RedisServer], store: RedisStore, emulator: Emulator
) -> None:
    single_session = SingleSession(store, emulator, session_at(emulator.url))
    single_session.have("stale")
    for node in nodes:
        node.client().config_resetstat()
    assert single_session.request().changed
    calls: dict[str, int] = {}
    for node in nodes:
        for name, each in node.client().info("commandstats").items():
            calls[name] = calls.get(name, 0) + each["calls"]
    assert calls["cmdstat_eval"] == 2
    assert "cmdstat_del" not in calls
    # Scripts read the record with the lock, so this is one more than the only call of the client.
    assert calls["cmdstat_hmget"] == 2


def test_a_refresh_without_credentials_leaves_no_note(store: RedisStore, emulator: Emulator) -> None:
    single_session = SingleSession(store, emulator, session_at(emulator.url))
    record = single_session.have("stale")
    # With a keep-alive token, credentials are looked for with the lock.
    record = record._replace(keep_alive=KeepAlive("ka-kept", time.time(), time.time()))
    put(store, record)

    def connect() -> t.NoReturn:
        raise ServiceError("There are no credentials.", code="MissingCredentials")

    keeper = Keeper(store, connect, scope="", deadline=soon())
    outcome = keeper.ensure(TokenRequest(single_session.session), single_session.warnings.append)
    assert outcome.record == record and not outcome.changed
    assert single_session.stored() == StoredState(record)
