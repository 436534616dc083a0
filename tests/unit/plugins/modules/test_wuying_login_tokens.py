# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module for many sessions, run as Ansible runs it: options in as JSON, a result out as JSON."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.encoding import dump_line
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_tokens
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import (
    CURRENT,
    EXPIRED,
    STALE,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.house import (
    file_of,
    read_file,
    write_file,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.modules.fleet_house import (
    House,
    by_user,
    warnings_of,
)

PLACEHOLDER = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
NOBODY = {"access_key_id": None, "access_key_secret": None}
MIXED = {"stale": STALE, "dead": EXPIRED, "current": CURRENT}


@pytest.fixture(name="house")
def fixture_house(emulator, store_path, monkeypatch, capfd):
    """Return a house with an empty store."""
    return House(wuying_login_tokens, emulator, store_path, monkeypatch, capfd)


@pytest.fixture(name="store_path")
def fixture_store_path(tmp_path):
    """Return where the store of a test lies."""
    return tmp_path / "store"


def new_key() -> str:
    """Return a key for ``store_key``."""
    fernet = pytest.importorskip("cryptography.fernet")
    return str(fernet.Fernet.generate_key().decode("ascii"))


def users(*names: str, **options: t.Any) -> list[dict[str, t.Any]]:
    """Return sessions of users for the option."""
    return [{"end_user_id": name, **options} for name in names]


def logins(house: House, *names: str) -> list[dict[str, t.Any]]:
    """Return sessions of users who have just logged in."""
    return [{"end_user_id": name, "login_token": house.emulator.issue(name)} for name in names]


def counts(**some: int) -> dict[str, int]:
    """Return counts that are zero but for some."""
    names = ("total", "refreshed", "unchanged", "failed", "warned", "rekeyed")
    return {**dict.fromkeys(names, 0), **some}


# The sessions of a task, and those of the store


def test_sessions_are_started_with_their_tokens_and_then_kept(house):
    sessions = logins(house, "alice", "bob")
    first = house.run(sessions=sessions)
    assert first["changed"] is True
    assert first["counts"] == counts(total=2, refreshed=2)
    second = house.run(sessions=sessions)
    assert second["changed"] is False
    assert second["counts"] == counts(total=2, unchanged=2)
    assert house.requests() == 2


def test_without_sessions_those_of_the_store_are_kept_current(house):
    house.have(MIXED)
    result = house.run(max_parallel=1)
    assert result["changed"] is True
    assert result["counts"] == counts(total=3, refreshed=2, unchanged=1)
    assert result["sessions"] == []
    assert house.users()[0] == "dead"
    assert house.run()["changed"] is False


def test_current_sessions_need_neither_tokens_nor_credentials_nor_a_service(house):
    house.have({"alice": CURRENT, "bob": CURRENT})
    result = house.run(**NOBODY, endpoint=None, region_id=None)
    assert (result["changed"], result["counts"]) == (False, counts(total=2, unchanged=2))


def test_validity_and_refresh_before_count_for_the_sessions_of_the_store(house):
    house.have(MIXED)
    result = house.run(refresh_before=50, validity=5000, results="all")
    assert result["counts"] == counts(total=3, refreshed=1, unchanged=2)
    assert 4900 < by_user(result)["dead"]["remaining"] <= 5000


def test_what_a_session_lacks_comes_from_the_options_of_the_task(house):
    sessions = [{"client_id": "another-client", "session_id": "s-1"}, {"end_user_id": "bob"}]
    house.run(
        sessions=[
            {
                **sessions[0],
                "login_token": house.emulator.issue("carol", client_id="another-client", session_id="s-1"),
            },
            {**sessions[1], "login_token": house.emulator.issue("bob")},
        ],
        end_user_id="carol",
    )
    result = house.run(sessions=sessions, end_user_id="carol", results="all")
    carol, bob = (entry["session"] for entry in result["sessions"])
    assert carol == {
        **house.identity,
        "end_user_id": "carol",
        "client_id": "another-client",
        "session_id": "s-1",
    }
    assert bob == {**house.identity, "end_user_id": "bob"}


def test_the_token_of_the_environment_is_nobodys(house, monkeypatch):
    monkeypatch.setenv("WUYING_LOGIN_TOKEN", house.emulator.issue("alice"))
    assert house.run(sessions=users("alice"))["error_code"] == "NoLoginToken"


def test_no_sessions_at_all_is_nothing_to_do_and_no_reason_to_take_the_store_s(house):
    house.have(MIXED)
    result = house.run(sessions=[])
    assert (result["changed"], result["counts"]) == (False, counts())
    assert house.requests() == 0


def test_an_empty_store_is_worth_a_warning_and_nothing_is_made(house):
    result = house.run()
    assert result["counts"] == counts()
    assert any("no session" in warning for warning in warnings_of(result))
    assert not house.path.exists()


def test_sessions_are_shown_in_the_order_in_which_they_were_asked_for(house):
    names = ["stale", "nobody", "current", "dead", "also-nobody"]
    house.have(MIXED)
    result = house.run(sessions=users(*names), results="all", fail_on="none")
    assert [entry["session"]["end_user_id"] for entry in result["sessions"]] == names


# Filters


@pytest.fixture(name="three")
def fixture_three(house):
    """Return a house with three stale sessions."""
    house.have(dict.fromkeys(["alice", "bob", "carol"], STALE))
    return house


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["alice", "bob", "carol"]),
        ({"end_user_id": "bob"}, ["bob"]),
        ({"end_user_id": ["carol", "alice", "nobody"]}, ["alice", "carol"]),
        ({"end_user_id": "bob", "region_id": "cn-hangzhou"}, ["bob"]),
        ({"end_user_id": "bob", "region_id": "cn-shanghai"}, []),
        ({"session_id": "s-1"}, []),
    ],
)
def test_filters_say_which_sessions_of_the_store_to_take(three, filters, expected):
    result = three.run(filters=filters)
    assert result["counts"]["total"] == len(expected)
    assert sorted(three.users()) == expected


def test_an_endpoint_is_the_same_however_it_is_written(three):
    url = three.emulator.url.replace("http://", "HTTP://") + "/"
    assert three.run(filters={"endpoint": url, "end_user_id": "bob"})["counts"]["total"] == 1


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"login_token": "sesame"}, "these keys only"),
        ({"user": "sesame"}, "these keys only"),
        ({"end_user_id": []}, "end_user_id"),
        ({"end_user_id": [7]}, "end_user_id"),
        ({"end_user_id": None}, "end_user_id"),
        ({"end_user_id": {"sesame": 1}}, "end_user_id"),
        ({"endpoint": "http://sesame.example.com"}, "endpoint"),
    ],
)
def test_a_malformed_filter_is_an_error_that_shows_no_value(three, filters, said):
    result = three.run(filters=filters)
    assert result["error_code"] == "InvalidOption"
    assert said in result["msg"]
    assert "sesame" not in result["msg"]
    assert three.requests() == 0


def test_filters_do_not_go_with_sessions(three):
    result = three.run(filters={"end_user_id": "bob"}, sessions=users("alice"))
    assert result["failed"] is True
    assert "mutually exclusive" in result["msg"]
    assert three.requests() == 0


# What is shown


@pytest.mark.parametrize(
    ("results", "shown"),
    [("failed", ["nobody"]), ("all", ["stale", "nobody", "current"]), ("none", [])],
)
def test_results_says_which_sessions_are_shown(house, results, shown):
    house.have(MIXED)
    result = house.run(sessions=users("stale", "nobody", "current"), results=results, fail_on="none")
    assert list(by_user(result)) == shown
    assert result["counts"] == counts(total=3, refreshed=1, unchanged=1, failed=1)


def test_a_session_that_is_served_with_a_warning_is_shown_among_the_failed(house):
    house.have(MIXED)
    house.emulator.fault("status", count=None)
    result = house.run(fail_on="none")
    shown = by_user(result)
    assert set(shown) == {"stale", "dead"}
    assert shown["stale"]["failed"] is False
    assert "ServiceUnavailable" in shown["stale"]["warnings"][0]
    assert result["counts"] == counts(total=3, unchanged=2, failed=1, warned=1)
    assert any("warnings of 1 session" in warning for warning in warnings_of(result))


def test_an_entry_tells_how_its_session_fared(house):
    records = house.have(MIXED)
    shown = by_user(house.run(results="all"))
    assert shown["current"]["source"] == "store"
    assert (shown["current"]["changed"], shown["stale"]["changed"]) == (False, True)
    assert shown["stale"]["source"] == "refresh"
    assert 700 < shown["current"]["remaining"] <= CURRENT
    assert shown["current"]["failed"] is False
    assert shown["current"]["warnings"] == []
    assert shown["stale"]["session"] == house.session("stale").identity()
    requests = {entry["request_id"] for entry in house.emulator.journal()["entries"]}
    assert shown["stale"]["request_id"] in requests
    assert not any("login_token" in entry or "key" in entry for entry in shown.values())
    assert not any(record.login_token in house.printed for record in records.values())


def test_an_entry_of_a_failed_session_tells_why(house):
    house.have({"dead": EXPIRED})
    house.emulator.fault("error", code="InvalidLoginToken", status=400)
    result = house.run()
    entry = by_user(result)["dead"]
    assert (entry["failed"], entry["changed"]) == (True, False)
    assert (entry["error_code"], entry["http_status"]) == ("InvalidLoginToken", 400)
    assert entry["retryable"] is False
    assert "log in again" in entry["msg"]
    assert entry["request_id"] == house.emulator.journal()["entries"][0]["request_id"]
    assert "login_token" not in entry


def test_return_token_puts_the_current_tokens_into_the_result(house):
    records = house.have(MIXED)
    shown = by_user(house.run(results="all", return_token=True))
    assert shown["current"]["login_token"] == records["current"].login_token
    issued = {entry["issued"] for entry in house.emulator.journal()["entries"]}
    assert {fingerprint(shown[name]["login_token"])[:12] for name in ("stale", "dead")} == issued
    assert records["stale"].login_token not in house.printed


@pytest.mark.parametrize("results", ["none", "failed", None])
def test_tokens_that_are_asked_for_are_there_whatever_is_shown_else(house, results):
    records = house.have({"a": CURRENT, "b": CURRENT})
    result = house.run(return_token=True, results=results)
    tokens = [entry["login_token"] for entry in result["sessions"]]
    assert sorted(tokens) == sorted(record.login_token for record in records.values())


def test_a_store_that_keeps_nothing_leaves_no_token_out(house):
    result = house.run(sessions=logins(house, "a", "b"), store="none", return_token=True)
    issued = [entry["issued"] for entry in house.emulator.journal()["entries"]]
    given = [fingerprint(entry["login_token"])[:12] for entry in result["sessions"]]
    assert sorted(given) == sorted(issued)


def test_without_a_store_no_session_is_named_twice(house):
    sessions = logins(house, "a")
    result = house.run(sessions=[*sessions, *sessions], store="none", return_token=True)
    assert result["error_code"] == "InvalidOption"
    assert "twice" in result["msg"]
    assert house.requests() == 0


def test_a_token_that_equals_the_one_that_was_passed_in_is_not_censored(house):
    house.run(sessions=logins(house, "alice", "bob"))
    tokens = [house.stored(name).login_token for name in ("alice", "bob")]
    sessions = [{"end_user_id": name, "login_token": token} for name, token in zip(("alice", "bob"), tokens)]
    result = house.run(sessions=sessions, results="all", return_token=True)
    assert [entry["login_token"] for entry in result["sessions"]] == tokens
    arguments = json.dumps(result.get("invocation", {}))
    assert not any(token in arguments for token in tokens)


@pytest.mark.parametrize("return_token", [True, False])
def test_neither_a_result_nor_its_invocation_has_a_secret_that_was_passed_in(house, return_token):
    sessions, sts, key = logins(house, "alice", "bob"), house.emulator.sts, new_key()
    result = house.run(
        sessions=[*sessions, *users("carol")],
        results="all",
        return_token=return_token,
        fail_on="none",
        store_password="sesame-password",
        store_key=[key],
        **sts,
    )
    assert result["counts"] == counts(total=3, refreshed=2, failed=1)
    secrets = [session["login_token"] for session in sessions]
    secrets += [sts["access_key_secret"], sts["security_token"], "sesame-password", key]
    assert not any(secret in house.printed for secret in secrets)
    assert result["invocation"]["module_args"]["sessions"][0]["end_user_id"] == "alice"


def test_no_failure_has_a_secret_in_it(house):
    sessions = logins(house, "alice", "bob")
    house.emulator.fault("error", code="SignatureDoesNotMatch", message=sessions[0]["login_token"], count=None)
    result = house.run(sessions=sessions, **house.emulator.sts)
    assert result["counts"]["failed"] == 2
    shown = json.dumps({**result, "invocation": None})
    for session in sessions:
        assert session["login_token"] not in shown
    assert house.emulator.sts["access_key_secret"] not in shown


# When the task fails


@pytest.mark.parametrize(
    ("fail_on", "names", "fails"),
    [
        ("any", ["current"], False),
        ("any", ["current", "nobody"], True),
        ("all", ["current", "nobody"], False),
        ("all", ["nobody", "also-nobody"], True),
        ("all", [], False),
        ("none", ["nobody"], False),
    ],
)
def test_fail_on_says_when_the_task_fails(house, fail_on, names, fails):
    house.have(MIXED)
    result = house.run(sessions=users(*names), fail_on=fail_on)
    assert bool(result.get("failed")) == fails
    assert result["counts"]["total"] == len(names)


def test_a_failing_task_names_the_first_that_failed_and_how_many(house):
    house.have(MIXED)
    result = house.run(sessions=users("current", "nobody", "also-nobody"))
    assert result["msg"].startswith("2 of 3 sessions failed. The first is nobody: Nothing is kept")
    assert result["error_code"] == "NoLoginToken"
    assert result["retryable"] is False
    assert result["changed"] is False


def test_a_failing_task_is_changed_where_others_were_exchanged(house):
    house.have(MIXED)
    result = house.run(sessions=users("nobody", "stale"))
    assert (result["failed"], result["changed"]) == (True, True)


@pytest.mark.parametrize(("names", "retryable"), [(["dead"], True), (["dead", "nobody"], False)])
def test_a_failing_task_is_retryable_where_all_failures_are(house, names, retryable):
    house.have(MIXED)
    house.emulator.fault("status")
    assert house.run(sessions=users(*names))["retryable"] is retryable


def test_without_credentials_each_due_session_fails_and_others_are_served(house):
    house.have(MIXED)
    result = house.run(**NOBODY)
    assert result["counts"] == counts(total=3, unchanged=1, failed=2)
    assert {entry["error_code"] for entry in result["sessions"]} == {"MissingCredentials"}
    assert house.requests() == 0
    assert not any(read_file(path).note for path in house.path.glob("*.record"))


def test_a_record_that_cannot_be_read_is_shown_by_its_key_and_others_go_on(house):
    house.have({"alice": STALE, "bob": STALE})
    key = house.session("bob").key
    write_file(file_of(house.path, house.session("bob")), dump_line({"format": 99}))
    result = house.run(filters={"end_user_id": "alice"})
    assert result["counts"] == counts(total=2, refreshed=1, failed=1)
    entry = by_user(result)[key]
    assert entry["error_code"] == "NewerFormat"
    assert entry["key"] == key
    assert "session" not in entry
    assert key in result["msg"]


def test_a_store_that_cannot_be_used_fails_the_task(house):
    house.path.write_text("no directory", encoding="utf-8")
    result = house.run()
    assert result["error_code"] == "StoreUnsafe"
    assert "counts" not in result


@pytest.mark.parametrize("return_token", [True, False])
@pytest.mark.parametrize("results", ["none", "failed"])
def test_tokens_that_cannot_be_kept_are_handed_out_in_any_case(house, results, return_token):
    house.emulator.fault("drip", interval=0.003, count=None)
    sessions = logins(house, "alice", "bob")

    def take_the_store_away() -> None:
        end = time.monotonic() + 30
        while house.requests() < 2 and time.monotonic() < end:
            time.sleep(0.01)
        shutil.rmtree(house.path)

    thread = threading.Thread(target=take_the_store_away)
    thread.start()
    result = house.run(sessions=sessions, results=results, return_token=return_token, fail_on="none", timeout=30)
    thread.join(30)
    assert result["counts"] == counts(total=2, failed=2)
    issued = {entry["end_user_id"]: entry["issued"] for entry in house.emulator.journal()["entries"]}
    for name, entry in by_user(result).items():
        assert (entry["failed"], entry["kept"], entry["changed"]) == (True, False, True)
        assert entry["error_code"] == "NotKept"
        assert entry["request_id"]
        assert fingerprint(entry["login_token"])[:12] == issued.pop(name)
        assert entry["login_token"] not in entry["msg"]
    assert not issued


# Check mode


def test_check_mode_predicts_and_sends_and_writes_nothing(house):
    house.have(MIXED)
    before = {path.name: path.read_bytes() for path in house.path.iterdir()}
    result = house.run(check=True, results="all")
    assert result["changed"] is True
    assert result["counts"] == counts(total=3, refreshed=2, unchanged=1)
    assert {name: entry["changed"] for name, entry in by_user(result).items()} == {
        "stale": True,
        "dead": True,
        "current": False,
    }
    assert house.requests() == 0
    assert {path.name: path.read_bytes() for path in house.path.iterdir()} == before


def test_check_mode_shows_only_tokens_that_live(house):
    records = house.have(MIXED)
    shown = by_user(house.run(check=True, results="all", return_token=True))
    assert shown["stale"]["login_token"] == records["stale"].login_token
    assert "login_token" not in shown["dead"]
    assert shown["dead"]["session"]["end_user_id"] == "dead"


def test_check_mode_creates_nothing(house):
    assert house.run(check=True, sessions=logins(house, "alice"))["changed"] is True
    assert not house.path.exists()


URL = "https://user:sesame@ecd.cn-hangzhou.aliyuncs.com"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"sessions": [{"end_user_id": "alice", "endpoint": URL}]}, "InvalidOption"),
        ({"sessions": [{"end_user_id": "alice", "endpoint": "sesame"}]}, "InvalidOption"),
        ({"filters": {"endpoint": [URL]}}, "InvalidOption"),
        ({"filters": {"end_user_id": "alice"}, "endpoint": URL}, None),
        ({"proxy": URL, "max_parallel": "many"}, None),
        ({"sessions": [{"endpoint": URL, "login_token": "v1sesame"}, 7]}, None),
        ({"sessions": {"endpoint": URL}}, None),
    ],
)
def test_no_invocation_has_the_user_info_of_a_url(house, options, code):
    result = house.run(**options)
    assert result.get("error_code") == code
    assert result["invocation"]["module_args"]["store"] == (PLACEHOLDER if code else str(house.path))
    assert "sesame" not in json.dumps(result["invocation"])


# Options


@pytest.mark.parametrize(
    ("name", "value"),
    [("end_user_id", "sesame\n"), ("login_token", "sesame sesame"), ("region_id", "sesame.com")],
)
def test_a_malformed_session_is_an_error_that_names_its_place_and_not_its_value(house, name, value):
    house.have(MIXED)
    result = house.run(sessions=[*users("stale"), {"end_user_id": "bob", name: value}])
    assert (result["error_code"], result["retryable"]) == ("InvalidOption", False)
    assert result["msg"].startswith(f"sessions[1]: {name} ")
    assert "sesame" not in result["msg"]
    assert house.requests() == 0


def test_a_session_without_a_part_that_every_session_has_is_an_error(house):
    result = house.run(sessions=[{"client_id": "c"}])
    assert result["msg"].startswith("sessions[0]: end_user_id is missing")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_parallel", 0),
        ("max_parallel", 257),
        ("max_qps", 0),
        ("max_qps", -1),
        ("max_qps", "nan"),
        ("validity", 0),
        ("refresh_before", -1),
        ("deadline", -1),
        ("deadline", 86401),
    ],
)
def test_a_number_out_of_bounds_is_refused_before_anything_is_sent(house, name, value):
    house.have(MIXED)
    result = house.run(**{name: value})
    assert result["error_code"] == "InvalidOption"
    assert name in result["msg"]
    assert house.requests() == 0


@pytest.mark.parametrize("tokens", [1001, 3000])
def test_more_than_1000_tokens_are_an_error_within_seconds(house, tokens):
    sessions = [{"end_user_id": f"user-{number}", "login_token": f"v1{number:064}"} for number in range(tokens)]
    begin = time.monotonic()
    result = house.run(sessions=sessions)
    assert time.monotonic() - begin < 10
    assert result["error_code"] == "InvalidOption"
    assert "1000" in result["msg"]
    assert sessions[7]["login_token"] not in house.printed
    assert house.requests() == 0


def test_1000_tokens_go_and_sessions_without_one_do_not_count(house):
    sessions = [{"end_user_id": f"user-{number}", "login_token": f"v1{number:064}"} for number in range(1000)]
    result = house.run(sessions=[*sessions, *users("nobody")], check=True, fail_on="none")
    assert result["counts"] == counts(total=1001, refreshed=1000, failed=1)


def test_without_a_store_every_run_exchanges_and_nothing_is_kept(house, tmp_path):
    sessions = logins(house, "alice", "bob")
    none = {"store": "none", "return_token": True, "results": "all"}
    first = house.run(sessions=sessions, **none)
    assert first["counts"] == counts(total=2, refreshed=2)
    again = [{"end_user_id": name, "login_token": entry["login_token"]} for name, entry in by_user(first).items()]
    assert house.run(sessions=again, **none)["changed"] is True
    assert house.requests() == 4
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "options",
    [
        {"return_token": True},
        {"return_token": False, "sessions": users("alice", login_token="v1x")},
        {"return_token": True, "filters": {"end_user_id": "alice"}},
    ],
)
def test_without_a_store_there_must_be_sessions_and_their_tokens_returned(house, options):
    result = house.run(store="none", **options)
    assert result["error_code"] == "InvalidOption"
    assert "store=none" in result["msg"]
    assert house.requests() == 0


def test_rekey_needs_a_key(house):
    result = house.run(rekey=True)
    assert result["error_code"] == "InvalidOption"
    assert "store_key" in result["msg"]


def test_rekey_writes_all_records_anew_and_says_of_which(house):
    old, new = new_key(), new_key()
    house.have({"plain": CURRENT})
    house.encryption(old)
    house.have({"old": CURRENT})
    house.encryption(new)
    house.have({"new": CURRENT})
    result = house.run(store_key=[new, old], rekey=True, results="all")
    assert (result["changed"], result["counts"]) == (True, counts(total=3, unchanged=3, rekeyed=2))
    rekeyed = {name: entry.get("rekeyed", False) for name, entry in by_user(result).items()}
    assert rekeyed == {"plain": True, "old": True, "new": False}
    assert house.run(store_key=new)["counts"] == counts(total=3, unchanged=3)
    again = house.run(store_key=[new, old], rekey=True)
    assert (again["changed"], again["counts"]["rekeyed"]) == (False, 0)


@pytest.mark.parametrize("protection", ["none", "the old key"])
def test_rekey_ends_what_an_earlier_one_that_was_cut_off_left_behind(house, monkeypatch, protection):
    old, new = new_key(), new_key()
    if protection == "the old key":
        house.encryption(old)
    house.have({"alice": CURRENT})
    (file,) = house.path.glob("*.record")
    before = read_file(file).record[-400:]
    pwrite = os.pwrite
    written: list[int] = []

    def write_once(*arguments):
        if written:
            raise OSError(5, "Input/output error")
        written.append(pwrite(*arguments))
        return written[-1]

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", write_once)
        cut_off = house.run(store_key=[new, old], rekey=True)
    assert cut_off["counts"] == counts(total=1, unchanged=1, warned=1)
    assert before in file.read_bytes()
    result = house.run(store_key=[new, old], rekey=True)
    assert (result["changed"], result["counts"]["rekeyed"]) == (True, 1)
    assert before not in file.read_bytes()
    assert house.run(store_key=[new], rekey=True)["counts"] == counts(total=1, unchanged=1)


def test_max_qps_bounds_the_requests_of_the_task(house):
    house.have({f"user-{number}": STALE for number in range(11)})
    begin = time.monotonic()
    house.run(max_qps=20)
    assert time.monotonic() - begin >= 0.5


def test_after_the_deadline_the_living_are_served_with_a_warning(house):
    house.have(MIXED)
    house.emulator.fault("stall", count=None)
    begin = time.monotonic()
    result = house.run(deadline=0.5, max_parallel=1, fail_on="none", timeout=30)
    assert time.monotonic() - begin < 5
    assert result["counts"] == counts(total=3, unchanged=2, failed=1, warned=1)


# A process of its own


def modules_of(said: bytes) -> set[str]:
    """Return the names of the modules that a process imported."""
    return {line.rpartition("|")[2].strip() for line in said.decode().splitlines()}


def test_a_task_that_finds_all_current_imports_no_http_library_and_no_threads(house):
    heavy = {"requests", "urllib3", "http.client", "concurrent.futures.thread", "cryptography"}
    house.have({"alice": CURRENT, "bob": CURRENT})
    out, said = house.start_process("-X", "importtime").communicate(timeout=60)
    assert json.loads(out)["counts"] == counts(total=2, unchanged=2)
    assert not heavy & modules_of(said)
    house.have({"alice": STALE, "bob": STALE})
    out, said = house.start_process("-X", "importtime").communicate(timeout=60)
    assert json.loads(out)["counts"] == counts(total=2, refreshed=2)
    assert heavy - {"cryptography"} <= modules_of(said)


def test_a_task_that_is_told_to_stop_says_how_its_sessions_fared_and_then_stops(house):
    house.have({f"user-{number}": STALE for number in range(8)})
    house.emulator.fault("drip", interval=0.004, count=None)
    process = house.start_process(max_parallel=2, results="all", timeout=30)
    end = time.monotonic() + 30
    while house.requests() < 2 and time.monotonic() < end:
        time.sleep(0.005)
    process.terminate()
    out, said = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert said == b""
    result = json.loads(out)
    begun = set(house.users())
    fared = {name: "exchanged" if entry["changed"] else entry["error_code"] for name, entry in by_user(result).items()}
    assert {name for name, how in fared.items() if how == "exchanged"} == begun
    assert {how for name, how in fared.items() if name not in begun} == {"Interrupted"}
    assert len(fared) == 8
    assert result["retryable"] is True
