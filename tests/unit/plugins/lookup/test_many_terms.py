# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many sessions in one lookup, and a store that is encrypted."""

from __future__ import annotations

import importlib
import json
import threading
import time
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import (
    Session,
    fingerprint,
)
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.lookup.lookup_house import (
    IDENTITY,
    trust_as_template,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.house import read_file

UTILS = "ansible_collections.wuying.workspace.plugins.module_utils"
NAMES = [f"user-{number}" for number in range(8)]


def keep(house: t.Any, seconds_left: t.Mapping[str, float]) -> dict[str, str]:
    """Keep records whose tokens have so many seconds to live; return the tokens."""
    store, now, tokens = DirectoryStore(str(house.store)), time.time(), {}
    for name, left in seconds_left.items():
        session = Session(endpoint=house.emulator.url, end_user_id=name, **IDENTITY)
        tokens[name] = house.emulator.issue(name)
        record = next_record(None, session, "v1first", tokens[name], now, 900, None)
        record = record._replace(obtained_at=now + left - 900, expires_at=now + left)
        with store.lock(session.key, time.monotonic() + 10) as locked:
            locked.write_note(new_note(None, tokens[name], "a test"))
            locked.save(record)
    store.close()
    return tokens


def new_key() -> str:
    """Return a key for ``store_key``."""
    fernet = pytest.importorskip("cryptography.fernet")
    return str(fernet.Fernet.generate_key().decode("ascii"))


def test_many_terms_are_exchanged_side_by_side(house):
    keep(house, dict.fromkeys([*NAMES, "alone"], 100))
    house.emulator.fault("drip", interval=0.002, count=None)
    begin = time.monotonic()
    house.look_up("alone")
    alone = time.monotonic() - begin
    begin = time.monotonic()
    house.look_up(*NAMES)
    assert time.monotonic() - begin < 4 * alone


def test_the_tokens_come_in_the_order_of_the_terms_whoever_was_exchanged_first(house):
    left = {"late": 250.0, "current": 800.0, "dead": -5.0, "soon": 20.0}
    current = keep(house, left)["current"]
    tokens = dict(zip(left, house.look_up(*left)))
    issued = {entry["end_user_id"]: entry["issued"] for entry in house.emulator.journal()["entries"]}
    assert tokens.pop("current") == current
    assert {name: fingerprint(token)[:12] for name, token in tokens.items()} == issued
    assert list(left)[1] not in issued


def test_a_session_that_is_named_twice_is_exchanged_once(house):
    keep(house, {"alice": 100, "bob": 100})
    tokens = house.look_up("alice", "bob", "alice", {"end_user_id": "alice"})
    assert tokens[0] == tokens[2] == tokens[3] != tokens[1]
    assert house.requests() == 2


def test_one_term_that_fails_fails_the_lookup_and_stops_no_other(house):
    keep(house, {"alice": 100, "bob": -5})
    assert "NoLoginToken" in house.failure_of("alice", "nobody", "bob")
    assert house.requests() == 2
    house.emulator.clear()
    assert len(house.look_up("alice", "bob")) == 2
    assert house.requests() == 0


def test_a_token_that_could_not_be_kept_is_lost_where_another_term_fails(house, warnings, monkeypatch):
    errors = importlib.import_module(f"{UTILS}._model.exceptions")

    def save(_slot, _record):
        raise errors.StoreError("The disk is gone.")

    files = importlib.import_module(f"{UTILS}._store.directory")._SessionFile
    monkeypatch.setattr(files, "save", save)
    alice = {"end_user_id": "alice", "login_token": house.emulator.issue()}
    assert "NoLoginToken" in house.failure_of(alice, "nobody")
    assert house.emulator.journal()["exchanges"] == 1
    (warning,) = (text for text in warnings if text.startswith("alice: "))
    assert "is lost" in warning
    assert "the user must log in again" in warning


def test_of_several_that_fail_the_first_term_is_named(house):
    message = house.failure_of("first", "second")
    assert "first" in message
    assert "second" not in message


def test_stale_tokens_that_cannot_be_exchanged_are_served_with_a_warning_each(house, warnings):
    stored = keep(house, {"alice": 100, "bob": 100})
    house.emulator.fault("status", count=None)
    assert house.look_up("bob", "alice") == [stored["bob"], stored["alice"]]
    assert sum("ServiceUnavailable" in text for text in warnings) == 2


def test_check_mode_serves_many_that_live_and_sends_nothing(house):
    stored = keep(house, {"alice": 100, "bob": 800})
    tokens = house.look_up("bob", "alice", variables={"ansible_check_mode": True})
    assert tokens == [stored["bob"], stored["alice"]]
    assert house.requests() == 0


def test_no_thread_is_left_afterwards(house):
    keep(house, dict.fromkeys(NAMES, 100))
    before = threading.active_count()
    house.look_up(*NAMES)
    end = time.monotonic() + 2
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() == before


# An encrypted store


def envelopes(house: t.Any) -> list[set[str]]:
    """Return the keys of each record's JSON."""
    return [set(json.loads(read_file(path).record)) for path in house.store.glob("*.record")]


@pytest.mark.parametrize("as_list", [True, False])
def test_a_store_key_goes_as_a_text_and_as_a_list(house, as_list):
    key = new_key()
    store_key = [key] if as_list else key
    tokens = [house.start(name, store_key=store_key) for name in ("alice", "bob")]
    assert envelopes(house) == [{"envelope", "key", "payload"}] * 2
    assert house.look_up("alice", "bob", store_key=store_key) == tokens
    assert house.requests() == 0


@pytest.mark.parametrize("as_list", [True, False])
def test_a_store_key_comes_from_a_variable_that_may_be_a_template(house, as_list):
    key = new_key()
    token = house.start(store_key=key)
    template = trust_as_template("{{ the_key }}")
    variables = {"wuying_store_key": [template] if as_list else template, "the_key": key}
    assert house.look_up("alice", variables=variables) == [token]


def test_the_keys_of_a_store_come_from_the_environment(house, monkeypatch):
    old, new = new_key(), new_key()
    token = house.start(store_key=old)
    monkeypatch.setenv("WUYING_TOKEN_STORE_KEY", f"{new}, {old}")
    assert house.look_up("alice") == [token]


def test_a_second_key_reads_and_the_first_writes(house):
    old, new = new_key(), new_key()
    token = house.start(store_key=old)
    assert house.look_up("alice", store_key=[new, old]) == [token]
    house.start("bob", store_key=[new, old])
    assert len(house.look_up("bob", store_key=new)) == 1
    assert "WrongStoreKey" in house.failure_of("alice", store_key=new)


@pytest.mark.parametrize("store_key", ["another", None])
def test_a_record_whose_key_is_not_at_hand_is_an_error_and_stays(house, store_key):
    house.start(store_key=new_key())
    before = [path.read_bytes() for path in house.store.glob("*.record")]
    message = house.failure_of("alice", store_key=store_key and new_key())
    assert "WrongStoreKey" in message
    assert [path.read_bytes() for path in house.store.glob("*.record")] == before
    assert house.requests() == 0


@pytest.mark.parametrize("store_key", ["sesame", ["sesame"], [["sesame"]], {"sesame": 1}])
def test_a_malformed_key_is_an_error_that_does_not_show_it(house, store_key):
    message = house.failure_of("alice", store_key=store_key)
    assert "store_key" in message
    assert "sesame" not in message
