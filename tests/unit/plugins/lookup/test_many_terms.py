# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many sessions in one lookup, and an encrypted store."""

from __future__ import annotations

import importlib
import json
import threading
import time
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session, fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.tests.unit.plugins.lookup.lookup_setup import (
    IDENTITY,
    AnsibleError,
    trust_as_template,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import read_file

UTILS = "ansible_collections.wuying.workspace.plugins.module_utils"
NAMES = [f"user-{number}" for number in range(8)]


def save_records(runner: t.Any, seconds_left: t.Mapping[str, float]) -> dict[str, str]:
    """Save records whose tokens are valid for so many seconds, and return the tokens."""
    store, now, tokens = DirectoryStore(str(runner.store)), time.time(), {}
    for name, left in seconds_left.items():
        session = Session(endpoint=runner.emulator.url, end_user_id=name, **IDENTITY)
        tokens[name] = runner.emulator.issue(name)
        record = next_record(None, session, "v1first", tokens[name], now, 900, None)
        record = record._replace(obtained_at=now + left - 900, expires_at=now + left)
        with store.lock(session.key, time.monotonic() + 10) as locked:
            locked.write_note(new_note(None, fingerprint(tokens[name]), "a test"))
            locked.save(record)
    store.close()
    return tokens


def new_key() -> str:
    """Return a key for ``store_key``."""
    fernet = pytest.importorskip("cryptography.fernet")
    return str(fernet.Fernet.generate_key().decode("ascii"))


def test_many_terms_are_refreshed_in_parallel(runner):
    save_records(runner, dict.fromkeys([*NAMES, "alone"], 100))
    runner.emulator.fault("drip", interval=0.002, count=None)
    begin = time.monotonic()
    runner.look_up("alone")
    alone = time.monotonic() - begin
    begin = time.monotonic()
    runner.look_up(*NAMES)
    assert time.monotonic() - begin < 4 * alone


def test_tokens_are_returned_in_the_order_of_the_terms(runner):
    left = {"late": 250.0, "current": 800.0, "expired": -5.0, "soon": 20.0}
    current = save_records(runner, left)["current"]
    tokens = dict(zip(left, runner.look_up(*left)))
    issued = {entry["end_user_id"]: entry["issued"] for entry in runner.emulator.journal()["entries"]}
    assert tokens.pop("current") == current
    assert {name: fingerprint(token)[:12] for name, token in tokens.items()} == issued
    assert list(left)[1] not in issued


def test_a_session_that_is_named_twice_is_refreshed_once(runner):
    save_records(runner, {"alice": 100, "bob": 100})
    tokens = runner.look_up("alice", "bob", "alice", {"end_user_id": "alice"})
    assert tokens[0] == tokens[2] == tokens[3] != tokens[1]
    assert runner.requests() == 2


def test_a_failing_term_fails_the_lookup_but_does_not_stop_other_terms(runner):
    save_records(runner, {"alice": 100, "bob": -5})
    assert "NoLoginToken" in runner.failure_of("alice", "nobody", "bob")
    assert runner.requests() == 2
    runner.emulator.clear()
    assert len(runner.look_up("alice", "bob")) == 2
    assert runner.requests() == 0


def test_an_unsaved_token_is_lost_if_another_term_fails(runner, warnings, monkeypatch):
    errors = importlib.import_module(f"{UTILS}._model.exceptions")

    def save(_slot, _record):
        raise errors.StoreError("The disk is gone.")

    files = importlib.import_module(f"{UTILS}._store.locked_file").LockedFile
    monkeypatch.setattr(files, "save", save)
    alice = {"end_user_id": "alice", "login_token": runner.emulator.issue()}
    assert "NoLoginToken" in runner.failure_of(alice, "nobody")
    assert runner.emulator.journal()["exchanges"] == 1
    (warning,) = (text for text in warnings if text.startswith("alice: "))
    assert "is lost" in warning
    assert "The user must log in again" in warning


def test_the_error_names_the_first_failing_term(runner):
    message = runner.failure_of("first", "second")
    assert "first" in message
    assert "second" not in message


def test_each_stale_token_is_returned_with_a_warning_if_the_refresh_fails(runner, warnings):
    stored = save_records(runner, {"alice": 100, "bob": 100})
    runner.emulator.fault("status", count=None)
    assert runner.look_up("bob", "alice") == [stored["bob"], stored["alice"]]
    assert sum("ServiceUnavailable" in text for text in warnings) == 2


def test_check_mode_returns_many_valid_tokens_and_sends_nothing(runner):
    stored = save_records(runner, {"alice": 100, "bob": 800})
    tokens = runner.look_up("bob", "alice", variables={"ansible_check_mode": True})
    assert tokens == [stored["bob"], stored["alice"]]
    assert runner.requests() == 0


def test_no_thread_is_left_after_a_lookup(runner):
    save_records(runner, dict.fromkeys(NAMES, 100))
    before = threading.active_count()
    runner.look_up(*NAMES)
    end = time.monotonic() + 2
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() == before


# An encrypted store


def envelopes(runner: t.Any) -> list[set[str]]:
    """Return the keys of each record's JSON."""
    return [set(json.loads(read_file(path).record)) for path in runner.store.glob("*.record")]


@pytest.mark.parametrize("as_list", [True, False])
def test_a_store_key_can_be_a_string_or_a_list(runner, as_list):
    key = new_key()
    store_key = [key] if as_list else key
    tokens = [runner.start(name, store_key=store_key) for name in ("alice", "bob")]
    assert envelopes(runner) == [{"envelope", "key", "payload"}] * 2
    assert runner.look_up("alice", "bob", store_key=store_key) == tokens
    assert runner.requests() == 0


@pytest.mark.parametrize("as_list", [True, False])
def test_a_store_key_can_come_from_a_templated_variable(runner, as_list):
    key = new_key()
    token = runner.start(store_key=key)
    template = trust_as_template("{{ the_key }}")
    variables = {"wuying_store_key": [template] if as_list else template, "the_key": key}
    assert runner.look_up("alice", variables=variables) == [token]


def test_an_unencrypted_record_is_refused_with_a_key(runner):
    token = runner.start()
    with pytest.raises(AnsibleError, match=r"rekey=true.*\(error_code: NotEncrypted\)") as caught:
        runner.look_up("alice", store_key=new_key())
    assert token not in str(caught.value)
    assert runner.look_up("alice") == [token]


def test_store_keys_can_come_from_the_environment(runner, monkeypatch):
    old, new = new_key(), new_key()
    token = runner.start(store_key=old)
    monkeypatch.setenv("WUYING_TOKEN_STORE_KEY", f"{new}, {old}")
    monkeypatch.setenv("WUYING_TOKEN_STORE", str(runner.store))
    assert runner.look_up("alice") == [token]
    assert runner.look_up("alice", store=None) == [token]


def test_all_keys_decrypt_and_the_first_encrypts(runner):
    old, new = new_key(), new_key()
    token = runner.start(store_key=old)
    assert runner.look_up("alice", store_key=[new, old]) == [token]
    runner.start("bob", store_key=[new, old])
    assert len(runner.look_up("bob", store_key=new)) == 1
    assert "WrongStoreKey" in runner.failure_of("alice", store_key=new)


@pytest.mark.parametrize("store_key", ["another", None])
def test_a_record_without_a_matching_key_is_an_error_and_is_not_changed(runner, store_key):
    runner.start(store_key=new_key())
    before = [path.read_bytes() for path in runner.store.glob("*.record")]
    message = runner.failure_of("alice", store_key=store_key and new_key())
    assert "WrongStoreKey" in message
    assert [path.read_bytes() for path in runner.store.glob("*.record")] == before
    assert runner.requests() == 0


@pytest.mark.parametrize("store_key", ["sesame", ["sesame"], [["sesame"]], {"sesame": 1}])
def test_a_malformed_key_is_refused_without_showing_it(runner, store_key):
    message = runner.failure_of("alice", store_key=store_key)
    assert "store_key" in message
    assert "sesame" not in message
