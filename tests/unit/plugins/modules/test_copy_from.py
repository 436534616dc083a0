# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option ``copy_from``: a store becomes the copy of another, without a request and without a token in any output."""

from __future__ import annotations

import json
import shutil
import signal
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.account import (
    ANY_MARK,
    REFUSED,
    AccountEntry,
    Attempt,
    account_of,
    new_entry,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import ACCOUNT_PREFIX
from ansible_collections.wuying.workspace.plugins.module_utils._plugin import progress
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.module import Module
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import Store
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_tokens
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import CURRENT, STALE
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    RedisServers,
    require_redis,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    file_of,
    leave_note,
    put,
    read_file,
    write_file,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.modules.module_setup import (
    FleetRunner,
    by_user,
    warnings_of,
)

KEEP_ALIVE = "k1sesame"


@pytest.fixture(name="fleet")
def fixture_fleet(emulator, tmp_path, monkeypatch, capfd):
    """Return a runner whose source has three sessions: one is current, one is stale with a note, and one can repair itself."""
    runner = FleetRunner(wuying_login_tokens, emulator, tmp_path / "source", monkeypatch, capfd)
    runner.options.update(store=str(tmp_path / "target"), copy_from={"store": str(tmp_path / "source")})
    return runner


@pytest.fixture(name="redis")
def fixture_redis(tmp_path):
    """Return the address of a Redis server."""
    require_redis()
    servers = RedisServers(tmp_path)
    yield servers().address
    servers.stop()


def new_key() -> str:
    """Return a key for ``store_key``."""
    fernet = pytest.importorskip("cryptography.fernet")
    return str(fernet.Fernet.generate_key().decode("ascii"))


def fill(fleet: FleetRunner, *, keep_alive: bool = True) -> dict[str, Record]:
    """Save three sessions, one of which has a note and one a keep-alive token, and the entry of an account."""
    records = fleet.have({"alice": CURRENT, "bob": STALE, "carol": CURRENT})
    now = time.time()
    if keep_alive:
        records["carol"] = records["carol"]._replace(keep_alive=KeepAlive(KEEP_ALIVE, now, now), session_id="s-1")
        put(fleet.store, records["carol"])
    leave_note(fleet.store, fleet.session("bob"), records["bob"].login_token)
    put_entry(fleet.store, entry_of(fleet, "dave"))
    return records


def entry_of(fleet: FleetRunner, name: str) -> AccountEntry:
    """Return the entry of an account whose login was refused."""
    return new_entry(account_of(fleet.session(name)))._replace(attempts=(Attempt("abcd", time.time(), REFUSED),))


def put_entry(store: Store, entry: AccountEntry) -> None:
    """Save the entry of an account."""
    with store.lock(entry.account.key, time.monotonic() + 10) as locked:
        locked.write_entry(entry)


def content(store: Store) -> dict[str, t.Any]:
    """Return the record and note of each session, and the entry of each account, without the names of keys."""
    keys = [*store.keys(), *store.keys(ACCOUNT_PREFIX)]
    return {str(key): store.read(str(key))._replace(needs_reencryption=False) for key in keys}


def counts(**some: int) -> dict[str, int]:
    """Return the counts of a copy in which all others are zero."""
    names = ("total", "refreshed", "logged_in", "unchanged", "not_refreshed", "failed", "login_needed", "warned")
    return {**dict.fromkeys((*names, "rekeyed", "copied", "accounts"), 0), **some}


def target_of(fleet: FleetRunner) -> DirectoryStore:
    """Return the store to copy to."""
    return DirectoryStore(fleet.options["store"])


def test_a_copy_has_everything_and_a_second_one_changes_nothing(fleet):
    records = fill(fleet)
    first = fleet.run()
    assert (first["changed"], first["counts"]) == (True, counts(total=3, copied=3, accounts=1, warned=1))
    assert content(target_of(fleet)) == content(fleet.store)
    assert fleet.stored("alice") == records["alice"]
    second = fleet.run()
    assert (second["changed"], second["counts"]) == (False, counts(total=3, unchanged=3))
    assert "warnings" not in second
    assert fleet.requests() == 0


def test_check_mode_predicts_a_copy_and_creates_nothing(fleet):
    fill(fleet)
    predicted = fleet.run(check=True)
    assert (predicted["changed"], predicted["counts"]) == (True, counts(total=3, copied=3, accounts=1, warned=1))
    assert not Path(fleet.options["store"]).exists()
    assert fleet.run()["counts"] == predicted["counts"]
    assert fleet.run(check=True)["changed"] is False


def test_a_copied_session_says_where_its_token_comes_from_and_returns_none(fleet):
    records = fill(fleet)
    entry = by_user(fleet.run(results="all"))["alice"]
    assert (entry["changed"], entry["failed"], entry["source"]) == (True, False, "copy")
    assert "login_token" not in entry
    assert all(record.login_token not in fleet.printed for record in records.values())
    assert KEEP_ALIVE not in fleet.printed


def test_sessions_continue_in_the_target(fleet):
    fill(fleet)
    fleet.run()
    result = fleet.run(copy_from=None, results="all")
    assert result["counts"]["refreshed"] == 1
    assert fleet.users() == ["bob"]


def test_sessions_and_filters_select_what_is_copied(fleet):
    fill(fleet)
    put_entry(fleet.store, entry_of(fleet, "alice"))
    assert fleet.run(filters={"end_user_id": "ALICE"})["counts"] == counts(accounts=1)
    assert fleet.run(sessions=["alice"])["counts"] == counts(total=1, copied=1)
    assert fleet.run(filters={"end_user_id": ["dave", "bob"]})["counts"] == counts(
        total=1, copied=1, accounts=1, warned=1
    )
    missing = fleet.run(sessions=["alice", "nobody"])
    assert missing["error_code"] == "NoLoginToken"
    assert missing["counts"]["unchanged"] == 1


def test_an_empty_source_causes_a_warning(fleet, tmp_path):
    (tmp_path / "source").mkdir(mode=0o700)
    warning = "No session in copy_from was selected. Check copy_from.store, filters and the user who runs the task."
    assert warning in str(warnings_of(fleet.run())[0])


def test_a_source_that_does_not_exist_is_an_error(fleet, tmp_path):
    for check in (False, True):
        result = fleet.run(check=check)
        assert (result["failed"], result["error_code"]) == (True, "InvalidOption")
        assert "copy_from: the directory in store does not exist." in result["msg"]
    assert not (tmp_path / "source").exists()


def test_an_older_token_does_not_replace_a_newer_one(fleet):
    fill(fleet)
    fleet.run()
    fleet.run(copy_from=None, force=True)
    before = content(target_of(fleet))
    assert fleet.run()["changed"] is False
    assert content(target_of(fleet)) == before


def test_a_refresh_in_the_source_after_a_copy_is_copied_too(fleet):
    fill(fleet)
    fleet.run()
    source = {"store": fleet.options["copy_from"]["store"], "copy_from": None}
    assert fleet.run(**source, force=True, filters={"end_user_id": ["alice", "bob"]})["counts"]["refreshed"] == 2
    assert fleet.run()["counts"]["copied"] == 2
    assert content(target_of(fleet)) == content(fleet.store)


def test_unreadable_records_and_entries_are_reported_and_do_not_stop_others(fleet):
    fill(fleet)
    write_file(file_of(fleet.path, fleet.session("alice")), b"[]")
    write_file(fleet.path / f"{account_of(fleet.session('dave')).key}.record", b"[]")
    result = fleet.run()
    assert (result["failed"], result["changed"], result["error_code"]) == (True, True, "DamagedRecord")
    assert result["counts"] == counts(total=4, copied=2, failed=2, warned=1)
    assert "1 record cannot be read" in result["msg"]
    assert "The logins of 1 account cannot be copied" in result["msg"]
    assert {entry["key"] for entry in result["sessions"] if "key" in entry} == {
        fleet.session("alice").key,
        account_of(fleet.session("dave")).key,
    }


@pytest.mark.parametrize("copies", [True, False])
def test_a_long_task_logs_its_progress_without_names_and_tokens(fleet, monkeypatch, copies):
    records = fleet.have({f"user-{number}": STALE for number in range(20)})
    lines: list[str] = []
    monkeypatch.setattr(progress, "_FIRST", 0.0)
    monkeypatch.setattr(Module, "log", lambda _module, line, **_more: lines.append(line))
    fleet.run(**({} if copies else {"store": str(fleet.path), "copy_from": None}))
    logged = [line for line in lines if "sessions processed" in line]
    assert [line.partition(" sessions")[0] for line in logged] == [f"{number} of 20" for number in range(2, 21, 2)]
    assert logged[-1].endswith("copied 20" if copies else "refreshed 20")
    assert all("user-" not in line and "v1" not in line for line in logged)
    assert all(record.login_token not in line for record in records.values() for line in lines)


# Keys


def test_each_store_has_its_own_key(fleet):
    old, new = new_key(), new_key()
    fleet.encrypt_with(old)
    fill(fleet)
    source = {**fleet.options["copy_from"], "store_key": old}
    locked = fleet.run(store_key=new)
    assert (locked["error_code"], locked["counts"]["failed"]) == ("WrongStoreKey", 3 + 1)
    assert fleet.run(store_key=new, copy_from=source)["counts"]["copied"] == 3
    fleet.path = Path(fleet.options["store"])
    copied = content(fleet.store)
    fleet.encrypt_with(new)
    assert content(fleet.store) == copied
    other = fleet.run(store_key=old, copy_from=source)
    assert (other["changed"], other["counts"]["failed"]) == (False, 3 + 1)
    assert content(fleet.store) == copied
    assert old not in fleet.printed and new not in fleet.printed


def test_an_unencrypted_record_of_an_encrypted_source_is_refused(fleet):
    fill(fleet)
    result = fleet.run(copy_from={**fleet.options["copy_from"], "store_key": new_key()})
    assert (result["error_code"], result["changed"]) == ("NotEncrypted", False)
    assert "copy_from: The record of this session is not encrypted" in json.dumps(result)


# Redis


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_directory_is_copied_to_redis_and_back(fleet, redis, tmp_path, encrypted):
    fill(fleet, keep_alive=encrypted)
    key = new_key() if encrypted else None
    assert fleet.run(store=redis, store_key=key)["counts"]["copied"] == 3
    assert fleet.run(store=redis, store_key=key)["changed"] is False
    back = {"store": redis, **({"store_key": key} if key else {})}
    assert fleet.run(copy_from=back)["counts"] == counts(total=3, copied=3, accounts=1, warned=1)
    assert content(target_of(fleet)) == content(fleet.store)
    assert fleet.requests() == 0


def test_without_store_key_redis_gets_no_keep_alive_token(fleet, redis):
    fill(fleet)
    result = fleet.run(store=redis)
    assert (result["error_code"], result["counts"]["copied"]) == ("InvalidOption", 2)
    assert "store_key" in result["msg"]


def test_notes_in_redis_are_replaced_by_those_of_the_source(fleet, redis):
    records = fill(fleet, keep_alive=False)
    fleet.run(store=redis)
    token = records["bob"].login_token
    back = FleetRunner.run(fleet, copy_from={"store": redis})
    assert back["counts"]["copied"] == 3
    assert target_of(fleet).read(fleet.session("bob").key).may_be_spent(token)
    newer = records["bob"]._replace(login_token="v1newer", obtained_at=time.time())
    put(fleet.store, newer)
    fleet.run(store=redis)
    shutil.rmtree(fleet.options["store"])
    fleet.run(copy_from={"store": redis})
    assert target_of(fleet).read(fleet.session("bob").key).note is None


def test_a_redis_server_that_cannot_be_used_fails_the_task(fleet):
    require_redis()
    fill(fleet)
    for options in ({"store": "redis://127.0.0.1:1"}, {"copy_from": {"store": "redis://127.0.0.1:1"}}):
        result = fleet.run(**options)
        assert result["error_code"] == "StoreUnavailable"
        assert "counts" not in result


# Accounts


def test_the_entries_of_both_stores_are_merged(fleet):
    ours, theirs = entry_of(fleet, "dave"), entry_of(fleet, "dave")
    put_entry(fleet.store, theirs)
    put_entry(target_of(fleet), ours)
    assert fleet.run()["counts"] == counts(accounts=1)
    merged = target_of(fleet).read(ours.account.key).entry
    assert merged is not None
    assert set(merged.attempts) == {*ours.attempts, theirs.attempts[0]._replace(mark=ANY_MARK)}
    assert fleet.run()["changed"] is False


def test_an_entry_without_a_failed_login_is_not_copied(fleet):
    put_entry(fleet.store, new_entry(account_of(fleet.session("erin"))))
    assert fleet.run()["changed"] is False
    put_entry(fleet.store, new_entry(account_of(fleet.session("erin")))._replace(step=7))
    assert fleet.run()["counts"]["accounts"] == 1


def test_a_damaged_entry_of_the_target_is_not_replaced(fleet):
    fill(fleet)
    fleet.run()
    file = Path(fleet.options["store"]) / f"{account_of(fleet.session('dave')).key}.record"
    write_file(file, b"[]")
    result = fleet.run()
    assert (result["error_code"], result["changed"]) == ("DamagedRecord", False)
    assert read_file(file).record == b"[]"


def test_rekey_reencrypts_entries_of_accounts(fleet):
    old, new = new_key(), new_key()
    put_entry(fleet.store, entry_of(fleet, "plain"))
    fleet.encrypt_with(old)
    put_entry(fleet.store, entry_of(fleet, "old"))
    before = content(DirectoryStore(fleet.options["copy_from"]["store"]))
    rekey = {"store": str(fleet.path), "copy_from": None, "rekey": True, "store_key": [new, old]}
    assert fleet.run(check=True, **rekey)["counts"]["rekeyed"] == 2
    result = fleet.run(**rekey)
    assert (result["changed"], result["counts"]["rekeyed"], result["counts"]["total"]) == (True, 2, 0)
    again = fleet.run(**{**rekey, "store_key": new})
    assert (again["changed"], again["counts"]["failed"]) == (False, 0)
    for file in fleet.path.glob("*.record"):
        assert b"account_format" not in file.read_bytes()
    fleet.encrypt_with(new)
    assert content(fleet.store).keys() == before.keys()
    assert all(state.entry is not None for state in content(fleet.store).values())


def test_results_are_not_lost_if_accounts_cannot_be_listed(fleet, monkeypatch):
    key = new_key()
    fleet.encrypt_with(key)
    fleet.have({"alice": STALE})
    keys = DirectoryStore.keys

    def fail_for_accounts(store, prefix=""):
        if prefix:
            raise StoreError("The store is gone.")
        return keys(store)

    monkeypatch.setattr(DirectoryStore, "keys", fail_for_accounts)
    result = fleet.run(store=str(fleet.path), copy_from=None, rekey=True, store_key=key)
    assert (result["failed"], result["counts"]["refreshed"]) == (True, 1)
    assert "The store is gone." in result["msg"]


def test_rekey_reports_entries_of_accounts_with_an_unknown_key(fleet):
    fleet.encrypt_with(new_key())
    put_entry(fleet.store, entry_of(fleet, "dave"))
    result = fleet.run(store=str(fleet.path), copy_from=None, rekey=True, store_key=new_key())
    assert (result["error_code"], result["counts"]["failed"]) == ("DamagedRecord", 1)
    assert "not encrypted with a key in store_key" in result["msg"]


def test_a_source_in_redis_needs_only_rights_to_read(fleet, tmp_path):
    require_redis()
    fill(fleet, keep_alive=False)
    servers = RedisServers(tmp_path)
    try:
        server = servers()
        fleet.run(store=server.address)
        rights = ("reset", "on", ">sesame", "~wuying.workspace:*", "+scan", "+hmget")
        server.client().execute_command("ACL", "SETUSER", "reader", *rights)
        source = {"store": server.address, "store_username": "reader", "store_password": "sesame"}
        assert fleet.run(copy_from=source)["counts"]["copied"] == 3
        assert "sesame" not in fleet.printed
        assert fleet.run(copy_from={**source, "store_password": "other"})["error_code"] == "StoreAccessDenied"
    finally:
        servers.stop()


# Options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"force": True}, "force cannot be combined with copy_from"),
        ({"rekey": True, "store_key": "x"}, "rekey cannot be combined with copy_from"),
        ({"return_token": True}, "return_token cannot be combined with copy_from"),
        ({"copy_from": {"store": "none"}}, "copy_from needs two stores"),
        ({"copy_from": {"store": "sesame"}}, "copy_from: store must be the absolute path"),
        ({"copy_from": {"store": "redis://a:sesame@b"}}, "copy_from: store must not contain a user name"),
        ({"copy_from": {"store": "/tmp/x", "store_key": ""}}, "copy_from: store_key is empty"),
        ({"copy_from": {"store": "/tmp/x", "store_key": "sesame"}}, "copy_from: store_key must consist"),
        ({"copy_from": {"store_key": "sesame"}}, "missing required arguments: store found in copy_from"),
        ({"copy_from": {"store": "/tmp/x", "storekey": "sesame"}}, "Unsupported parameters"),
        ({"copy_from": '{"store": "/tmp/x", "store_password": "sesame"}'}, "copy_from must be a dictionary"),
        ({"copy_from": "store=/tmp/x,store_password=sesame"}, "copy_from must be a dictionary"),
        ({"copy_from": ["sesame"]}, "copy_from must be a dictionary"),
        ({"copy_from": "/tmp/sesame"}, "copy_from must be a dictionary"),
    ],
)
def test_a_wrong_option_is_refused_without_its_value(fleet, options, says):
    fill(fleet)
    result = fleet.run(**options)
    assert result["failed"] is True
    assert says in result["msg"]
    assert "sesame" not in fleet.printed
    assert not Path(fleet.options["store"]).exists()


def test_store_none_cannot_be_a_target(fleet):
    sessions = [{"end_user_id": "alice", "login_token": "v1sesame"}]
    result = fleet.run(store="none", sessions=sessions, return_token=True)
    assert "copy_from needs two stores" in result["msg"]


@pytest.mark.parametrize("name", ["source", "source/", "../copied/source", "a link"])
def test_the_same_store_is_refused(fleet, tmp_path, name):
    fill(fleet)
    if name == "a link":
        (tmp_path / name).symlink_to(tmp_path)
        name += "/source"
    result = fleet.run(store=str(tmp_path / name).replace("copied", tmp_path.name))
    assert "the same store" in result["msg"]


def test_the_same_redis_store_is_refused(fleet):
    require_redis()
    result = fleet.run(store="redis://127.0.0.1", copy_from={"store": "redis://127.0.0.1:6379/0"})
    assert "the same store" in result["msg"]


@pytest.mark.parametrize("value", [None, "", "__omit_place_holder__d553cdb8330ea73d531082cb370ee4e5575ca9ce"])
def test_empty_options_of_the_source_are_not_given(fleet, value):
    fill(fleet)
    empty = dict.fromkeys(("store_username", "store_password", "store_ca_path"), value)
    keyed = {} if value == "" else {"store_key": value}
    assert fleet.run(copy_from={**fleet.options["copy_from"], **empty, **keyed})["counts"]["copied"] == 3
    assert fleet.run(store=str(fleet.path), copy_from=value)["counts"]["total"] == 3


def test_the_environment_belongs_to_the_target(fleet, monkeypatch):
    key = new_key()
    fill(fleet)
    monkeypatch.setenv("WUYING_TOKEN_STORE", fleet.options["store"])
    monkeypatch.setenv("WUYING_TOKEN_STORE_KEY", key)
    assert fleet.run(store=None)["counts"]["copied"] == 3
    fleet.path = Path(fleet.options["store"])
    fleet.encrypt_with(key)
    assert fleet.stored("alice") is not None


def test_a_password_in_the_environment_is_not_sent_to_the_source(fleet, listener, monkeypatch):
    require_redis()
    monkeypatch.setenv("WUYING_TOKEN_STORE", fleet.options["store"])
    monkeypatch.setenv("WUYING_TOKEN_STORE_PASSWORD", "sesame")
    monkeypatch.setenv("WUYING_TOKEN_STORE_KEY", "sesame")
    source = f"redis://127.0.0.1:{listener.getsockname()[1]}"
    result = fleet.run(store=None, copy_from={"store": source}, deadline=1)
    assert result["error_code"] == "InvalidOption"
    assert "sesame" not in fleet.printed


def test_invocations_show_no_secret_of_the_source(fleet):
    fill(fleet)
    source = {**fleet.options["copy_from"], "store_password": "sesame-password"}
    fleet.run(copy_from=source)
    assert "sesame" not in fleet.printed
    assert "sesame" not in json.dumps(fleet.run(copy_from={**source, "store_key": "sesame-key"}))


# The module as a process


def test_a_copy_imports_no_http_library(fleet):
    fill(fleet)
    out, err = fleet.start_process("-X", "importtime").communicate(timeout=60)
    assert json.loads(out)["counts"]["copied"] == 3
    loaded = {line.rpartition("|")[2].strip() for line in err.decode().splitlines()}
    assert not loaded & {"requests", "urllib3", "http.client", "multiprocessing"}


def test_a_killed_copy_is_completed_by_the_next_one(fleet):
    fleet.have({f"user-{number}": CURRENT for number in range(300)})
    process = fleet.start_process(max_parallel=2)
    target = Path(fleet.options["store"])
    end = time.monotonic() + 30
    while len(list(target.glob("*.record"))) < 20 and time.monotonic() < end:
        time.sleep(0.002)
    process.kill()
    process.communicate(timeout=30)
    states = content(target_of(fleet))
    assert {state.record for state in states.values()} <= {None, *(s.record for s in content(fleet.store).values())}
    result = fleet.run()
    assert 0 < result["counts"]["copied"] < 300
    assert content(target_of(fleet)) == content(fleet.store)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_copy_returns_its_counts_and_is_completed_by_the_next_one(fleet, number):
    # A shell ignores SIGINT for commands in the background, and they inherit that.
    signal.signal(number, signal.SIG_DFL)
    fleet.have({f"user-{number}": CURRENT for number in range(300)})
    target = Path(fleet.options["store"])
    with target_of(fleet).lock(fleet.session("user-0").key, time.monotonic() + 10):
        process = fleet.start_process(max_parallel=1)
        end = time.monotonic() + 30
        while len(list(target.glob("*.lock"))) < 2 and time.monotonic() < end:
            time.sleep(0.002)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == -number
    assert b"v1" not in err  # Python prints a traceback for SIGINT, after the result
    result = json.loads(out)
    assert result["failed"] is True
    assert result["counts"]["copied"] + result["counts"]["failed"] == 300
    assert result["counts"]["failed"] > 0
    assert result["retryable"] is True
    assert "Interrupted" in result["msg"]
    assert fleet.run()["counts"] == counts(
        total=300, copied=result["counts"]["failed"], unchanged=result["counts"]["copied"]
    )
    assert content(target_of(fleet)) == content(fleet.store)
