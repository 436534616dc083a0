# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module that lists the sessions in a store."""

from __future__ import annotations

import calendar
import errno
import time

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.encoding import dump_line
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._store import directory
from ansible_collections.wuying.workspace.plugins.module_utils._store.files import open_private
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_token_info
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import (
    CURRENT,
    EXPIRED,
    STALE,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    file_of,
    leave_note,
    put,
    write_file,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.modules.module_setup import (
    FleetRunner,
    by_user,
)

STATES = ("current", "stale", "expired", "ended")
UNREADABLE = ("damaged", "locked", "unencrypted", "newer", "unreadable", "unreachable")
NO_SESSIONS = dict.fromkeys((*STATES, *UNREADABLE), 0)


@pytest.fixture(name="fleet")
def fixture_fleet(emulator, tmp_path, monkeypatch, capfd):
    """Return a fleet with an empty store."""
    return FleetRunner(wuying_login_token_info, emulator, tmp_path / "store", monkeypatch, capfd)


@pytest.fixture(name="full")
def fixture_full(fleet):
    """Return a fleet with one session in each state."""
    records = fleet.have({"current": CURRENT, "stale": STALE, "expired": EXPIRED, "ended": 500})
    put(fleet.store, records["ended"].ended_with("InvalidLoginToken"))
    fleet.have({"damaged": CURRENT})
    file_of(fleet.path, fleet.session("damaged")).write_bytes(b"{")
    return fleet


def seconds(stamp: str) -> int:
    """Return a time of a result in seconds since 1970."""
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))


def test_a_missing_store_is_empty_and_is_not_created(fleet):
    result = fleet.run()
    assert (result["sessions"], result["counts"], result["changed"]) == ([], NO_SESSIONS, False)
    assert not fleet.path.exists()


def test_each_session_is_listed_with_its_state(full):
    result = full.run()
    states = {name: entry["state"] for name, entry in by_user(result).items()}
    damaged = full.session("damaged").key
    assert states == {
        **{name: name for name in ("current", "stale", "expired", "ended")},
        damaged: "damaged",
    }
    assert result["counts"] == {**NO_SESSIONS, **dict.fromkeys((*STATES, "damaged"), 1)}


def test_sessions_are_sorted_by_expiry_with_damaged_records_last(full):
    names = list(by_user(full.run()))
    assert names == ["expired", "stale", "ended", "current", full.session("damaged").key]


@pytest.mark.parametrize(
    ("limit", "expected"), [(0, []), (2, ["expired", "stale"]), (9, ["expired", "stale", "ended", "current"])]
)
def test_a_limit_selects_the_sessions_that_expire_first_and_everything_is_counted(full, limit, expected):
    result = full.run(limit=limit)
    damaged = [full.session("damaged").key] if limit else []
    assert list(by_user(result)) == [*expected, *damaged]
    assert (result["counts"], result["next_expiry"]) == (full.run()["counts"], full.run()["next_expiry"])


def test_a_limit_applies_to_records_that_cannot_be_read(full):
    full.have({"damaged-too": CURRENT})
    file_of(full.path, full.session("damaged-too")).write_bytes(b"{")
    result = full.run(limit=1)
    assert [entry["state"] for entry in result["sessions"]] == ["expired", "damaged"]
    assert result["counts"]["damaged"] == 2


def test_a_limit_below_zero_is_refused(full):
    assert full.run(limit=-1)["error_code"] == "InvalidOption"


def test_the_next_expiry_is_that_of_the_first_valid_token(full):
    assert seconds(full.run()["next_expiry"]) == int(full.stored("stale").expires_at)


def test_without_a_valid_token_there_is_no_next_expiry(fleet):
    fleet.have({"expired": EXPIRED})
    assert fleet.run()["next_expiry"] is None


def test_an_entry_contains_identity_key_age_and_expiry(full):
    entry = by_user(full.run())["stale"]
    record = full.stored("stale")
    assert entry["session"] == record.session.identity()
    assert entry["key"] == record.session.key
    assert seconds(entry["obtained_at"]) == int(record.obtained_at)
    assert seconds(entry["expires_at"]) == int(record.expires_at)
    assert STALE - 10 < entry["remaining"] <= STALE
    assert entry["outcome_unknown"] is False
    assert set(by_user(full.run())["expired"]) == set(entry)
    assert by_user(full.run())["expired"]["remaining"] == 0


def test_a_damaged_record_is_described_and_not_changed(full):
    before = {path.name: path.read_bytes() for path in full.path.iterdir()}
    entry = full.run()["sessions"][-1]
    key = full.session("damaged").key
    assert sorted(entry) == ["error_code", "key", "msg", "state"]
    assert (entry["key"], entry["state"], entry["error_code"]) == (key, "damaged", "DamagedRecord")
    assert "its content is corrupt" in entry["msg"] and key in entry["msg"]
    assert {path.name: path.read_bytes() for path in full.path.iterdir()} == before


def test_an_interrupted_refresh_is_reported_as_outcome_unknown(fleet):
    records = fleet.have({"alice": CURRENT, "bob": CURRENT})
    leave_note(fleet.store, fleet.session("alice"), records["alice"].login_token)
    leave_note(fleet.store, fleet.session("bob"), "v1another")
    shown = by_user(fleet.run())
    assert shown["alice"]["outcome_unknown"] is True
    assert shown["alice"]["state"] == "current"
    assert shown["bob"]["outcome_unknown"] is False


def test_refresh_before_decides_which_tokens_are_stale(full):
    assert by_user(full.run(refresh_before=50))["stale"]["state"] == "current"
    assert by_user(full.run(refresh_before=50))["current"]["state"] == "current"


@pytest.mark.parametrize("check", [True, False])
def test_the_module_returns_no_token_changes_nothing_and_sends_nothing(full, check):
    result = full.run(check=check)
    assert result["changed"] is False
    assert not any("login_token" in entry for entry in result["sessions"])
    for name in ("current", "stale", "expired", "ended"):
        record = full.stored(name)
        assert record.login_token not in full.printed
        assert not any(mark in full.printed for mark in record.lineage)
    assert full.requests() == 0


def test_no_credentials_are_needed(full):
    result = full.run(access_key_id=None, access_key_secret=None, region_id=None)
    assert len(result["sessions"]) == 5


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"end_user_id": "stale"}, ["stale"]),
        ({"end_user_id": ["current", "ended", "nobody"]}, ["ended", "current"]),
        ({"end_user_id": "stale", "region_id": ["cn-shanghai"]}, []),
    ],
)
def test_filters_select_sessions_and_damaged_records_are_always_listed(full, filters, expected):
    names = list(by_user(full.run(filters=filters)))
    assert names == [*expected, full.session("damaged").key]


def test_an_endpoint_filter_matches_other_spellings(full):
    url = full.emulator.url.replace("http://", "HTTP://") + "/"
    assert len(full.run(filters={"endpoint": [url]})["sessions"]) == 5


@pytest.mark.parametrize("filters", [{"state": "sesame"}, {"end_user_id": []}])
def test_a_malformed_filter_is_refused_without_showing_its_value(full, filters):
    result = full.run(filters=filters)
    assert result["error_code"] == "InvalidOption"
    assert "sesame" not in result["msg"]


@pytest.mark.parametrize("name", ["endpoint", "proxy"])
def test_options_without_effect_show_no_user_info_of_a_url(full, name):
    result = full.run(**{name: "http://user:sesame@127.0.0.1:3128"})
    assert result["counts"]["current"] == 1
    assert "module_args" in result["invocation"]
    assert "sesame" not in full.printed


def test_store_none_is_refused(fleet):
    result = fleet.run(store="none")
    assert result["error_code"] == "InvalidOption"
    assert "store=none" in result["msg"]


def test_a_store_that_cannot_be_used_is_an_error(fleet):
    fleet.path.write_text("no directory", encoding="utf-8")
    result = fleet.run()
    assert (result["error_code"], result["retryable"]) == ("StoreUnsafe", False)


@pytest.fixture(name="mixed")
def fixture_mixed(fleet, monkeypatch):
    """Return a fleet with 1,000 sessions, and one record of each kind that cannot be read."""
    fernet = pytest.importorskip("cryptography.fernet")
    names = [f"user-{number:03}" for number in range(1000)]
    fleet.have(
        {**dict.fromkeys(names, CURRENT), "damaged": STALE, "newer": STALE, "unreadable": STALE, "unsafe": STALE}
    )
    fleet.encrypt_with(fernet.Fernet.generate_key().decode("ascii"))
    fleet.have({"locked": STALE})
    file_of(fleet.path, fleet.session("damaged")).write_bytes(b"{")
    write_file(file_of(fleet.path, fleet.session("newer")), dump_line({"format": 99}))
    file_of(fleet.path, fleet.session("unsafe")).chmod(0o644)
    unreadable = file_of(fleet.path, fleet.session("unreadable")).name

    def open_or_fail(name, folder, flags):
        if name == unreadable:
            raise OSError(errno.EIO, "sesame")
        return open_private(name, folder, flags)

    monkeypatch.setattr(f"{directory.__name__}.open_private", open_or_fail)
    return fleet


@pytest.mark.parametrize("filters", [None, {"end_user_id": "user-000"}])
def test_records_that_cannot_be_read_do_not_hide_the_others(mixed, filters):
    result = mixed.run(filters=filters)
    count = 1 if filters else 1000
    assert result["counts"] == {**NO_SESSIONS, "current": count, "damaged": 1, "locked": 1, "newer": 1, "unreadable": 2}
    listed, others = result["sessions"][:count], result["sessions"][count:]
    assert {entry["state"] for entry in listed} == {"current"}
    assert {entry["key"]: (entry["state"], entry["error_code"]) for entry in others} == {
        mixed.session("damaged").key: ("damaged", "DamagedRecord"),
        mixed.session("locked").key: ("locked", "WrongStoreKey"),
        mixed.session("newer").key: ("newer", "NewerFormat"),
        mixed.session("unreadable").key: ("unreadable", "StoreUnavailable"),
        mixed.session("unsafe").key: ("unreadable", "StoreUnsafe"),
    }
    assert all(sorted(entry) == ["error_code", "key", "msg", "state"] and entry["msg"] for entry in others)
    assert "sesame" not in mixed.printed


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("DamagedRecord", "damaged"),
        ("WrongStoreKey", "locked"),
        ("NotEncrypted", "unencrypted"),
        ("NewerFormat", "newer"),
        ("StoreUnavailable", "unreadable"),
        ("DeadlineExceeded", "unreadable"),
        ("AnotherCode", "unreadable"),
    ],
)
def test_each_error_of_a_record_is_a_state(code, state):
    entry = wuying_login_token_info.describe_error("k", StoreError("A message.", code=code))
    assert entry == {"key": "k", "state": state, "error_code": code, "msg": "A message."}
    assert state in wuying_login_token_info.STATES


def test_encrypted_records_are_listed_only_with_the_right_store_key(fleet):
    fernet = pytest.importorskip("cryptography.fernet")
    key, other = (fernet.Fernet.generate_key().decode("ascii") for _key in range(2))
    fleet.encrypt_with(key)
    fleet.have({"alice": CURRENT})
    assert list(by_user(fleet.run(store_key=[other, key]))) == ["alice"]
    assert key not in fleet.printed
    for keys in (other, None):
        (entry,) = fleet.run(store_key=keys)["sessions"]
        assert (entry["state"], entry["error_code"]) == ("locked", "WrongStoreKey")
