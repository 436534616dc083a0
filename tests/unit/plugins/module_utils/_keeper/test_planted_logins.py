# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Log in with records and entries that were planted or moved by someone who can write to the store but has no key."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import PasswordLogin, TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model.account import (
    REFUSED,
    UNKNOWN,
    AccountEntry,
    Attempt,
    account_of,
    new_entry,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import WuyingError
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session
from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import parse_address
from ansible_collections.wuying.workspace.plugins.module_utils._redis.store import RedisStore
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import Store
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import Encryption
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    RedisServers,
    require_redis,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    put,
    read_file,
    session_at,
    write_file,
)

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.tests.unit.conftest import Emulator

fernet = pytest.importorskip("cryptography.fernet", reason="the Python package cryptography is not installed")

KEY = str(fernet.Fernet.generate_key().decode())
PASSWORD, WRONG = "Pa55w0rd-of-alice", "a-wrong-password"
HOUR, DAY = 3600, 86400


@dataclasses.dataclass
class Place:
    """A store of either kind, with or without a key, and an emulator whose user is alice."""

    emulator: Emulator
    open_store: t.Callable[[str | None], Store]
    read: t.Callable[[str], bytes]
    write: t.Callable[[str, bytes], None]
    """Read or write the record or entry with a key as it is, without a key of the store."""
    store_key: str | None
    ahead: float = 0.0
    warnings: list[str] = dataclasses.field(default_factory=list)

    @property
    def store(self) -> Store:
        """The store as tasks open it."""
        return self.open_store(self.store_key)

    def session(self, name: str = "alice", endpoint: str | None = None) -> Session:
        """Return the session of a user, by default at the emulator."""
        return session_at(endpoint or self.emulator.url)._replace(end_user_id=name)

    def code(self, password: str | None = None, session: Session | None = None, **options: t.Any) -> str:
        """Return how a request ends: the origin of the token, or the code of the error."""
        login = None if password is None else PasswordLogin(password, **options)
        request = TokenRequest(session or self.session(), password_login=login)
        with ServiceClient(None, timeout=5, retries=0, clock=self.clock) as service:
            deadline = time.monotonic() + 60
            keeper = Keeper(self.store, lambda: service, scope="", deadline=deadline, clock=self.clock)
            try:
                outcome = keeper.ensure(request, self.warnings.append)
            except WuyingError as error:
                return error.code
        return ("login" if outcome.logged_in else "refresh") if outcome.changed else "store"

    def clock(self) -> float:
        """Return the time of the tasks."""
        return time.time() + self.ahead

    def calls(self) -> dict[str, int]:
        """Return the number of logins by stage, without stages that nobody called."""
        calls = self.emulator.logins()["calls"]
        return {stage: number for stage, number in calls.items() if number}


@pytest.fixture(params=["directory", "redis"])
def any_place(request: pytest.FixtureRequest, emulator: Emulator, tmp_path: Path) -> t.Iterator[Place]:
    """Return a store of each kind without a key."""
    emulator.set_users(alice=PASSWORD, bob=PASSWORD)

    def encryption(key: str | None) -> Encryption | None:
        return Encryption([key]) if key else None

    if request.param == "directory":
        path = tmp_path / "store"
        path.mkdir(mode=0o700)
        yield Place(
            emulator,
            lambda key: DirectoryStore(str(path), encryption(key)),
            lambda name: read_file(path / f"{name}.record").record,
            lambda name, data: write_file(path / f"{name}.record", data),
            None,
        )
        return
    require_redis()
    with contextlib.ExitStack() as closing:
        servers = RedisServers(tmp_path)
        closing.callback(servers.stop)
        server = servers()
        client = server.client()
        address, access = parse_address(server.address), dict.fromkeys(("username", "password", "ca_path"))

        def open_store(key: str | None) -> Store:
            store = RedisStore(address, deadline=time.monotonic() + 60, encryption=encryption(key), **access)
            return closing.enter_context(contextlib.closing(store))

        def name_of(key: str) -> str:
            return f"wuying.workspace:{{{key}}}"

        def write(key: str, data: bytes) -> None:
            client.delete(name_of(key))
            client.hset(name_of(key), mapping={"record": data})

        yield Place(emulator, open_store, lambda key: bytes(client.hget(name_of(key), "record")), write, None)


@pytest.fixture(params=[None, KEY], ids=["without a key", "with a key"])
def place(request: pytest.FixtureRequest, any_place: Place) -> Place:
    """Return a store of each kind, with and without a key."""
    any_place.store_key = request.param
    return any_place


def lost_record(session: Session, token: str, *, login_token: str = "v1lost") -> Record:
    """Return the record of a session that has ended, so that only a login repairs it."""
    now = time.time()
    record = next_record(None, session, None, login_token, now - 1000, 900, None)
    return record._replace(keep_alive=KeepAlive(token, now - 1000, now - 1000)).ended_with("InvalidLoginToken")


def log_in(place: Place, name: str) -> Record:
    """Log in a user who stays logged in, and return the record with its keep-alive token."""
    assert place.code(PASSWORD, place.session(name), stay_logged_in=True) == "login"
    record = place.store.read(place.session(name).key).record
    assert record is not None and record.keep_alive is not None
    return record


# Records


@pytest.mark.parametrize("password", [None, PASSWORD])
def test_a_record_that_was_moved_gives_no_secret_to_its_endpoint(
    place: Place, listener: socket.socket, password: str | None
) -> None:
    elsewhere = place.session(endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}")
    put(place.store, lost_record(elsewhere, "k1of-the-other-endpoint"))
    place.write(place.session().key, place.read(elsewhere.key))
    assert place.code(password) == ("login" if password else "NoLoginToken")
    assert place.calls() == ({"ADPassword": 1} if password else {})
    assert any("belongs to another session" in warning for warning in place.warnings)


@pytest.mark.parametrize("to_endpoint", [True, False], ids=["a loopback endpoint", "any endpoint"])
def test_a_record_with_another_endpoint_is_not_one_of_the_session(
    place: Place, listener: socket.socket, to_endpoint: bool
) -> None:
    record = log_in(place, "alice")
    endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}" if to_endpoint else "https://ecd.example.com"
    planted = json.loads(record.ended_with("InvalidLoginToken").dump())
    planted["session"]["endpoint"] = endpoint
    place.write(record.session.key, json.dumps(planted).encode())
    assert place.code() == ("NotEncrypted" if place.store_key else "NoLoginToken")
    assert place.calls() == {"ADPassword": 1}


def test_the_keep_alive_token_of_another_session_is_never_sent(place: Place) -> None:
    log_in(place, "bob")
    place.write(place.session().key, place.read(place.session("bob").key))
    assert place.code() == "NoLoginToken"
    assert place.calls() == {"ADPassword": 1}


def test_with_a_key_a_keep_alive_token_cannot_be_planted(place: Place) -> None:
    record = log_in(place, "bob")
    assert record.keep_alive is not None
    planted = lost_record(place.session(), record.keep_alive.token)
    place.write(planted.session.key, planted.dump())
    # The service refuses the token of another user. Without a key, only that protects the session.
    assert place.code() == ("NotEncrypted" if place.store_key else "InvalidKeepAliveToken")
    assert place.calls() == ({"ADPassword": 1} if place.store_key else {"ADPassword": 1, "KeepAliveVerify": 1})


@pytest.mark.parametrize("name", ["token", "session_id", "uuid"])
@pytest.mark.parametrize("value", ["k1\ud800", "k1\r\nHost: evil", "k1\x00", ["k1"], 1], ids=ascii)
def test_a_value_that_this_collection_does_not_store_is_damage(any_place: Place, name: str, value: t.Any) -> None:
    planted = json.loads(lost_record(any_place.session(), "k1").dump())
    if name == "token":
        planted["keep_alive"][0] = value
    else:
        planted[name] = value
    any_place.write(any_place.session().key, json.dumps(planted).encode())
    assert any_place.code() == "NoLoginToken"
    assert any_place.calls() == {}
    assert any("a field has an invalid value" in warning for warning in any_place.warnings)


# Entries of accounts


def entry_of(place: Place, name: str = "alice") -> AccountEntry:
    """Return the entry of a user."""
    entry = place.store.read(account_of(place.session(name)).key).entry
    assert entry is not None
    return entry


def save_entry(place: Place, *attempts: Attempt) -> None:
    """Save an entry of alice with attempts."""
    entry = new_entry(account_of(place.session()))._replace(attempts=attempts)
    with place.store.lock(entry.account.key, time.monotonic() + 10) as locked:
        locked.write_entry(entry)


def test_the_entry_of_another_account_is_set_aside(place: Place) -> None:
    assert place.code(WRONG, place.session("bob")) == "InvalidPassword"
    key = account_of(place.session()).key
    place.write(key, place.read(account_of(place.session("bob")).key))
    assert place.code(WRONG) == "InvalidPassword"
    assert [attempt.outcome for attempt in entry_of(place).attempts] == [REFUSED]
    assert any("not the entry of this account" in warning for warning in place.warnings)


def test_the_record_of_a_session_is_no_entry(place: Place) -> None:
    log_in(place, "bob")
    place.write(account_of(place.session()).key, place.read(place.session("bob").key))
    assert place.code(PASSWORD) == "login"
    assert any("not the entry of this account" in warning for warning in place.warnings)


@pytest.mark.parametrize("key", [None, str(fernet.Fernet.generate_key().decode())], ids=["unencrypted", "other key"])
def test_an_entry_without_the_key_neither_blocks_nor_stops_a_login(any_place: Place, key: str | None) -> None:
    any_place.store_key = key
    assert any_place.code(WRONG) == "InvalidPassword"
    any_place.store_key = KEY
    assert any_place.code(WRONG) == "InvalidPassword"
    assert [attempt.outcome for attempt in entry_of(any_place).attempts] == [REFUSED]
    assert any("not encrypted with a key in store_key" in warning for warning in any_place.warnings)
    assert any_place.code(WRONG) == "LoginBlocked"


@pytest.mark.parametrize("at", [1e300, 10**18])
def test_refusals_in_the_far_future_block_an_account_for_a_day(place: Place, at: float) -> None:
    save_entry(place, *(Attempt(f"{number:04x}", at, REFUSED) for number in range(3)))
    ends = []
    for ahead in (0, 23 * HOUR, 24 * HOUR + 60):
        place.ahead = ahead
        ends.append(place.code(PASSWORD))
    assert ends == ["LoginBlocked", "LoginBlocked", "login"]


@pytest.mark.parametrize(("outcome", "minutes"), [(REFUSED, 60), (UNKNOWN, 5)])
def test_an_attempt_in_the_future_blocks_its_password_from_now_on(place: Place, outcome: str, minutes: int) -> None:
    assert place.code(WRONG) == "InvalidPassword"
    entry = entry_of(place)
    (attempt,) = entry.attempts
    with place.store.lock(entry.account.key, time.monotonic() + 10) as locked:
        locked.read()
        locked.write_entry(entry._replace(attempts=(attempt._replace(at=time.time() + 1000 * DAY, outcome=outcome),)))
    ends = []
    for ahead in (0, minutes * 60 - 60, minutes * 60 + 60):
        place.ahead = ahead
        ends.append(place.code(WRONG))
    assert ends == ["LoginBlocked", "LoginBlocked", "InvalidPassword"]
