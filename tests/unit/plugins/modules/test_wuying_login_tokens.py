# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module for many sessions."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper import workers
from ansible_collections.wuying.workspace.plugins.module_utils._model.encoding import dump_line
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_tokens
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import (
    CURRENT,
    EXPIRED,
    STALE,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    file_of,
    put,
    read_file,
    write_file,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.modules.module_setup import (
    PLACEHOLDER,
    FleetRunner,
    by_user,
    warnings_of,
)

NO_CREDENTIALS = {"access_key_id": None, "access_key_secret": None}
MIXED = {"stale": STALE, "expired": EXPIRED, "current": CURRENT}


@pytest.fixture(name="fleet")
def fixture_fleet(emulator, store_path, monkeypatch, capfd):
    """Return a fleet with an empty store."""
    return FleetRunner(wuying_login_tokens, emulator, store_path, monkeypatch, capfd)


@pytest.fixture(name="store_path")
def fixture_store_path(tmp_path):
    """Return the path of the store."""
    return tmp_path / "store"


def new_key() -> str:
    """Return a key for ``store_key``."""
    fernet = pytest.importorskip("cryptography.fernet")
    return str(fernet.Fernet.generate_key().decode("ascii"))


def users(*names: str, **options: t.Any) -> list[dict[str, t.Any]]:
    """Return an entry of ``sessions`` for each user."""
    return [{"end_user_id": name, **options} for name in names]


def logins(fleet: FleetRunner, *names: str) -> list[dict[str, t.Any]]:
    """Return an entry of ``sessions`` with a new login token for each user."""
    return [{"end_user_id": name, "login_token": fleet.emulator.issue(name)} for name in names]


def counts(**some: int) -> dict[str, int]:
    """Return counts in which all others are zero."""
    ends = ("refreshed", "logged_in", "unchanged", "not_refreshed", "failed")
    names = ("total", *ends, "login_needed", "warned", "rekeyed")
    return {**dict.fromkeys(names, 0), **some}


# Sessions from the option and from the store


def test_sessions_are_started_with_their_tokens_and_then_kept_current(fleet):
    sessions = logins(fleet, "alice", "bob")
    first = fleet.run(sessions=sessions)
    assert first["changed"] is True
    assert first["counts"] == counts(total=2, refreshed=2)
    second = fleet.run(sessions=sessions)
    assert second["changed"] is False
    assert second["counts"] == counts(total=2, unchanged=2)
    assert fleet.requests() == 2


def test_without_sessions_all_sessions_of_the_store_are_refreshed(fleet):
    fleet.have(MIXED)
    result = fleet.run(max_parallel=1)
    assert result["changed"] is True
    assert result["counts"] == counts(total=3, refreshed=2, unchanged=1)
    assert result["sessions"] == []
    assert fleet.users()[0] == "expired"
    assert fleet.run()["changed"] is False


def test_current_sessions_need_no_token_no_credentials_and_no_service(fleet):
    fleet.have({"alice": CURRENT, "bob": CURRENT})
    result = fleet.run(**NO_CREDENTIALS, endpoint=None, region_id=None)
    assert (result["changed"], result["counts"]) == (False, counts(total=2, unchanged=2))


def test_validity_and_refresh_before_apply_to_stored_sessions(fleet):
    fleet.have(MIXED)
    result = fleet.run(refresh_before=50, validity=5000, results="all")
    assert result["counts"] == counts(total=3, refreshed=1, unchanged=2)
    assert 4900 < by_user(result)["expired"]["remaining"] <= 5000


def test_sessions_inherit_missing_values_from_the_options_of_the_task(fleet):
    own = {"client_id": "another-client", "directory_id": "d-1"}
    sessions = [{**own, "session_id": "s-1"}, {"end_user_id": "bob"}]
    fleet.run(
        sessions=[
            {
                **sessions[0],
                "login_token": fleet.emulator.issue("carol", **own, session_id="s-1"),
            },
            {**sessions[1], "login_token": fleet.emulator.issue("bob")},
        ],
        end_user_id="carol",
    )
    result = fleet.run(sessions=sessions, end_user_id="carol", results="all")
    carol, bob = result["sessions"]
    assert carol["session"] == {**fleet.identity, "end_user_id": "carol", **own}
    assert bob["session"] == {**fleet.identity, "end_user_id": "bob"}
    assert (carol["session_id"], bob["session_id"]) == ("s-1", None)


def test_a_login_token_from_the_environment_is_ignored(fleet, monkeypatch):
    monkeypatch.setenv("WUYING_LOGIN_TOKEN", fleet.emulator.issue("alice"))
    assert fleet.run(sessions=users("alice"))["error_code"] == "NoLoginToken"


def test_an_empty_list_of_sessions_does_not_select_stored_sessions(fleet):
    fleet.have(MIXED)
    result = fleet.run(sessions=[])
    assert (result["changed"], result["counts"]) == (False, counts())
    assert fleet.requests() == 0


def test_an_empty_store_causes_a_warning_and_is_not_created(fleet):
    result = fleet.run()
    assert result["counts"] == counts()
    assert any("No session in the store was selected" in warning for warning in warnings_of(result))
    assert not fleet.path.exists()


def test_sessions_are_returned_in_the_order_of_the_option(fleet):
    names = ["stale", "nobody", "current", "expired", "also-nobody"]
    fleet.have(MIXED)
    result = fleet.run(sessions=users(*names), results="all", fail_on="none")
    assert [entry["session"]["end_user_id"] for entry in result["sessions"]] == names


# Filters


@pytest.fixture(name="three")
def fixture_three(fleet):
    """Return a fleet with three stale sessions."""
    fleet.have(dict.fromkeys(["alice", "bob", "carol"], STALE))
    return fleet


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["alice", "bob", "carol"]),
        ({"end_user_id": "bob"}, ["bob"]),
        ({"end_user_id": ["carol", "alice", "nobody"]}, ["alice", "carol"]),
        ({"end_user_id": "bob", "region_id": "cn-hangzhou"}, ["bob"]),
        ({"end_user_id": "bob", "region_id": "cn-shanghai"}, []),
        ({"directory_id": "d-1"}, []),
    ],
)
def test_filters_select_sessions_of_the_store(three, filters, expected):
    result = three.run(filters=filters)
    assert result["counts"]["total"] == len(expected)
    assert sorted(three.users()) == expected


def test_an_endpoint_filter_matches_other_spellings(three):
    url = three.emulator.url.replace("http://", "HTTP://") + "/"
    assert three.run(filters={"endpoint": url, "end_user_id": "bob"})["counts"]["total"] == 1


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"login_token": "sesame"}, "Valid keys are"),
        ({"session_id": "sesame"}, "an unknown key"),
        ({"user": "sesame"}, "unknown key"),
        ({"officesite_id": "sesame"}, "Did you mean office_site_id?"),
        ({"end_user_id": []}, "end_user_id"),
        ({"end_user_id": [7.5]}, "end_user_id"),
        ({"end_user_id": {"sesame": 1}}, "end_user_id"),
        ({"endpoint": "http://sesame.example.com"}, "endpoint"),
    ],
)
def test_a_malformed_filter_is_refused_without_showing_its_value(three, filters, message):
    result = three.run(filters=filters)
    assert result["error_code"] == "InvalidOption"
    assert message in result["msg"]
    assert "sesame" not in result["msg"]
    assert three.requests() == 0


def test_filters_cannot_be_combined_with_sessions(three):
    result = three.run(filters={"end_user_id": "bob"}, sessions=users("alice"))
    assert result["failed"] is True
    assert "mutually exclusive" in result["msg"]
    assert three.requests() == 0


# Results


@pytest.mark.parametrize(
    ("results", "shown"),
    [("failed", ["nobody"]), ("all", ["stale", "nobody", "current"]), ("none", [])],
)
def test_results_selects_the_returned_sessions(fleet, results, shown):
    fleet.have(MIXED)
    result = fleet.run(sessions=users("stale", "nobody", "current"), results=results, fail_on="none")
    assert list(by_user(result)) == shown
    assert result["counts"] == counts(total=3, refreshed=1, unchanged=1, failed=1, login_needed=1)


def test_a_session_with_a_warning_is_returned_like_a_failed_one(fleet):
    fleet.have(MIXED)
    fleet.emulator.fault("status", count=None)
    result = fleet.run(fail_on="none")
    shown = by_user(result)
    assert set(shown) == {"stale", "expired"}
    assert "ServiceUnavailable" in shown["stale"]["warnings"][0]
    assert result["counts"] == counts(total=3, unchanged=1, not_refreshed=1, failed=1, warned=1)
    (warning,) = warnings_of(result)
    summary = (
        "1 of 3 sessions could not be refreshed. Their stored tokens are still valid. ServiceUnavailable: 1 (stale). "
    )
    assert summary in warning


def test_a_session_whose_stored_token_was_returned_shows_why(fleet):
    fleet.have({"stale": STALE, "current": CURRENT})
    fleet.emulator.fault("error", code="Forbidden.SubUser", status=403)
    shown = by_user(fleet.run(results="all"))
    stale, current = shown["stale"], shown["current"]
    assert (stale["failed"], stale["changed"], stale["source"]) == (False, False, "store")
    assert (stale["error_code"], stale["http_status"], stale["retryable"]) == ("Forbidden.SubUser", 403, False)
    assert stale["login_needed"] is False
    assert "ecd:RefreshLoginToken" in stale["msg"]
    assert (current["failed"], current["login_needed"], "error_code" in current) == (False, False, False)


def test_an_entry_describes_the_result_of_its_session(fleet):
    records = fleet.have(MIXED)
    shown = by_user(fleet.run(results="all"))
    assert shown["current"]["source"] == "store"
    assert (shown["current"]["changed"], shown["stale"]["changed"]) == (False, True)
    assert shown["stale"]["source"] == "refresh"
    assert 700 < shown["current"]["remaining"] <= CURRENT
    assert shown["current"]["failed"] is False
    assert shown["current"]["warnings"] == []
    assert shown["stale"]["session"] == fleet.session("stale").identity()
    requests = {entry["request_id"] for entry in fleet.emulator.journal()["entries"]}
    assert shown["stale"]["request_id"] in requests
    assert not any("login_token" in entry or "key" in entry for entry in shown.values())
    assert not any(record.login_token in fleet.printed for record in records.values())


def test_an_entry_of_a_failed_session_contains_the_error(fleet):
    fleet.have({"expired": EXPIRED})
    fleet.emulator.fault("error", code="InvalidLoginToken", status=400)
    result = fleet.run()
    entry = by_user(result)["expired"]
    assert (entry["failed"], entry["changed"]) == (True, False)
    assert (entry["error_code"], entry["http_status"]) == ("InvalidLoginToken", 400)
    assert entry["retryable"] is False
    assert "log in again" in entry["msg"]
    assert entry["request_id"] == fleet.emulator.journal()["entries"][0]["request_id"]
    assert "login_token" not in entry


def test_return_token_adds_current_tokens_to_the_result(fleet):
    records = fleet.have(MIXED)
    shown = by_user(fleet.run(results="all", return_token=True))
    assert shown["current"]["login_token"] == records["current"].login_token
    issued = {entry["issued"] for entry in fleet.emulator.journal()["entries"]}
    assert {fingerprint(shown[name]["login_token"])[:12] for name in ("stale", "expired")} == issued
    assert records["stale"].login_token not in fleet.printed


@pytest.mark.parametrize("results", ["none", "failed", None])
def test_return_token_returns_all_sessions_despite_results(fleet, results):
    records = fleet.have({"a": CURRENT, "b": CURRENT})
    result = fleet.run(return_token=True, results=results)
    tokens = [entry["login_token"] for entry in result["sessions"]]
    assert sorted(tokens) == sorted(record.login_token for record in records.values())


def test_without_a_store_all_tokens_are_returned(fleet):
    result = fleet.run(sessions=logins(fleet, "a", "b"), store="none", return_token=True)
    issued = [entry["issued"] for entry in fleet.emulator.journal()["entries"]]
    given = [fingerprint(entry["login_token"])[:12] for entry in result["sessions"]]
    assert sorted(given) == sorted(issued)


def test_without_a_store_a_session_cannot_be_named_twice(fleet):
    sessions = logins(fleet, "a")
    result = fleet.run(sessions=[*sessions, *sessions], store="none", return_token=True)
    assert result["error_code"] == "InvalidOption"
    assert "twice" in result["msg"]
    assert fleet.requests() == 0


def test_a_returned_token_that_equals_a_passed_one_is_not_censored(fleet):
    fleet.run(sessions=logins(fleet, "alice", "bob"))
    tokens = [fleet.stored(name).login_token for name in ("alice", "bob")]
    sessions = [{"end_user_id": name, "login_token": token} for name, token in zip(("alice", "bob"), tokens)]
    result = fleet.run(sessions=sessions, results="all", return_token=True)
    assert [entry["login_token"] for entry in result["sessions"]] == tokens
    arguments = json.dumps(result.get("invocation", {}))
    assert not any(token in arguments for token in tokens)


@pytest.mark.parametrize("return_token", [True, False])
def test_results_and_invocations_contain_no_passed_secret(fleet, return_token):
    sessions, sts, key = logins(fleet, "alice", "bob"), fleet.emulator.sts, new_key()
    result = fleet.run(
        sessions=[*sessions, *users("carol")],
        results="all",
        return_token=return_token,
        fail_on="none",
        store_password="sesame-password",
        store_key=[key],
        **sts,
    )
    assert result["counts"] == counts(total=3, refreshed=2, failed=1, login_needed=1)
    secrets = [session["login_token"] for session in sessions]
    secrets += [sts["access_key_secret"], sts["security_token"], "sesame-password", key]
    assert not any(secret in fleet.printed for secret in secrets)
    assert result["invocation"]["module_args"]["sessions"][0]["end_user_id"] == "alice"


def test_failures_contain_no_secret(fleet):
    sessions = logins(fleet, "alice", "bob")
    fleet.emulator.fault("error", code="SignatureDoesNotMatch", message=sessions[0]["login_token"], count=None)
    result = fleet.run(sessions=sessions, **fleet.emulator.sts)
    assert result["counts"]["failed"] == 2
    assert result["invocation"]["module_args"]["sessions"][0]["end_user_id"] == "alice"
    secrets = [session["login_token"] for session in sessions] + list(fleet.emulator.sts.values())[1:]
    assert not any(secret in fleet.printed for secret in secrets)


# Failures


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
def test_fail_on_decides_when_the_task_fails(fleet, fail_on, names, fails):
    fleet.have(MIXED)
    result = fleet.run(sessions=users(*names), fail_on=fail_on)
    assert bool(result.get("failed")) == fails
    assert result["counts"]["total"] == len(names)


def test_a_failing_task_counts_failures_by_code_and_names_sessions(fleet):
    fleet.have(MIXED)
    result = fleet.run(sessions=users("current", "nobody", "also-nobody"))
    assert result["msg"].startswith(
        "2 of 3 sessions failed. NoLoginToken: 2 (nobody, also-nobody). No login token is stored"
    )
    assert result["error_code"] == "NoLoginToken"
    assert result["retryable"] is False
    assert result["changed"] is False


def test_a_failing_task_is_changed_if_other_sessions_were_refreshed(fleet):
    fleet.have(MIXED)
    result = fleet.run(sessions=users("nobody", "stale"))
    assert (result["failed"], result["changed"]) == (True, True)


@pytest.mark.parametrize(("names", "retryable"), [(["expired"], True), (["expired", "nobody"], False)])
def test_a_failing_task_is_retryable_if_all_failures_are(fleet, names, retryable):
    fleet.have(MIXED)
    fleet.emulator.fault("status")
    assert fleet.run(sessions=users(*names))["retryable"] is retryable


def test_without_credentials_only_expired_sessions_fail(fleet):
    fleet.have(MIXED)
    result = fleet.run(**NO_CREDENTIALS)
    assert result["counts"] == counts(total=3, unchanged=1, not_refreshed=1, failed=1, warned=1)
    assert {entry["error_code"] for entry in result["sessions"]} == {"MissingCredentials"}
    assert fleet.requests() == 0
    assert not any(read_file(path).note for path in fleet.path.glob("*.record"))


def test_an_unreadable_record_is_returned_by_key_and_does_not_stop_others(fleet):
    fleet.have({"alice": STALE, "bob": STALE})
    key = fleet.session("bob").key
    write_file(file_of(fleet.path, fleet.session("bob")), dump_line({"format": 99}))
    result = fleet.run(filters={"end_user_id": "alice"})
    assert result["counts"] == counts(total=2, refreshed=1, failed=1)
    entry = by_user(result)[key]
    assert entry["error_code"] == "NewerFormat"
    assert entry["key"] == key
    assert "session" not in entry
    assert result["msg"].startswith("1 record cannot be read (NewerFormat). ")


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"end_user_id": "nobody"}, "No session matches filters. 1 record cannot be read (NewerFormat). "),
        (None, "1 record cannot be read"),
    ],
)
def test_no_session_that_matches_is_said_beside_a_record_that_cannot_be_read(fleet, filters, message):
    fleet.have({"bob": STALE})
    write_file(file_of(fleet.path, fleet.session("bob")), dump_line({"format": 99}))
    result = fleet.run(filters=filters, fail_on="all")
    assert result["counts"] == counts(total=1, failed=1)
    assert result["msg"].startswith(message)
    assert not warnings_of(result)


def test_only_sessions_whose_users_must_log_in_are_marked_so(fleet):
    fleet.have({"ended": EXPIRED, "denied": EXPIRED, "stale": STALE, "damaged": STALE})
    fleet.emulator.fault("error", code="InvalidLoginToken", status=400)
    fleet.run(sessions=users("ended"), fail_on="none")
    file_of(fleet.path, fleet.session("damaged")).write_bytes(b"damaged")
    fleet.emulator.fault("error", code="Forbidden.SubUser", status=403, count=None)
    result = fleet.run(results="all")
    assert result["counts"] == counts(total=4, failed=3, not_refreshed=1, login_needed=1, warned=1)
    marked = {name: entry["login_needed"] for name, entry in by_user(result).items()}
    assert marked == {"ended": True, "denied": False, "stale": False, fleet.session("damaged").key: False}


def test_a_store_that_cannot_be_used_fails_the_task(fleet):
    fleet.path.write_text("no directory", encoding="utf-8")
    result = fleet.run()
    assert result["error_code"] == "StoreUnsafe"
    assert "counts" not in result


@pytest.mark.parametrize("return_token", [True, False])
@pytest.mark.parametrize("results", ["none", "failed"])
def test_tokens_that_cannot_be_saved_are_always_returned(fleet, results, return_token):
    fleet.emulator.fault("drip", interval=0.003, count=None)
    sessions = logins(fleet, "alice", "bob")

    def remove_the_store() -> None:
        end = time.monotonic() + 30
        while fleet.requests() < 2 and time.monotonic() < end:
            time.sleep(0.01)
        shutil.rmtree(fleet.path)

    thread = threading.Thread(target=remove_the_store)
    thread.start()
    result = fleet.run(sessions=sessions, results=results, return_token=return_token, fail_on="none", timeout=30)
    thread.join(30)
    assert result["counts"] == counts(total=2, failed=2)
    issued = {entry["end_user_id"]: entry["issued"] for entry in fleet.emulator.journal()["entries"]}
    for name, entry in by_user(result).items():
        assert (entry["failed"], entry["kept"], entry["changed"]) == (True, False, True)
        assert entry["error_code"] == "NotKept"
        assert entry["request_id"]
        assert fingerprint(entry["login_token"])[:12] == issued.pop(name)
        assert entry["login_token"] not in entry["msg"]
    assert not issued


# Check mode


def test_check_mode_predicts_results_and_sends_and_writes_nothing(fleet):
    fleet.have(MIXED)
    before = {path.name: path.read_bytes() for path in fleet.path.iterdir()}
    result = fleet.run(check=True, results="all")
    assert result["changed"] is True
    assert result["counts"] == counts(total=3, refreshed=2, unchanged=1)
    assert {name: entry["changed"] for name, entry in by_user(result).items()} == {
        "stale": True,
        "expired": True,
        "current": False,
    }
    assert fleet.requests() == 0
    assert {path.name: path.read_bytes() for path in fleet.path.iterdir()} == before


def test_check_mode_returns_only_valid_tokens(fleet):
    records = fleet.have(MIXED)
    shown = by_user(fleet.run(check=True, results="all", return_token=True))
    assert shown["stale"]["login_token"] == records["stale"].login_token
    assert "login_token" not in shown["expired"]
    assert shown["expired"]["session"]["end_user_id"] == "expired"


def test_check_mode_creates_nothing(fleet):
    assert fleet.run(check=True, sessions=logins(fleet, "alice"))["changed"] is True
    assert not fleet.path.exists()


URL = "https://user:sesame@ecd.cn-hangzhou.aliyuncs.com"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"sessions": [{"end_user_id": "alice", "endpoint": URL}]}, "InvalidOption"),
        ({"sessions": [{"end_user_id": "alice", "endpoint": "sesame"}]}, "InvalidOption"),
        ({"filters": {"endpoint": [URL]}}, "InvalidOption"),
        ({"filters": {"end_user_id": "alice"}, "endpoint": URL}, "InvalidOption"),
        ({"proxy": URL, "max_parallel": "many"}, None),
        ({"sessions": [{"endpoint": URL, "login_token": "v1sesame"}], "max_parallel": "many"}, None),
        ({"sessions": {"endpoint": URL}}, None),
    ],
)
def test_invocations_show_no_user_info_of_a_url(fleet, options, code):
    result = fleet.run(**options)
    assert result.get("error_code") == code
    assert result["invocation"]["module_args"]["store"] == (PLACEHOLDER if code else str(fleet.path))
    assert "sesame" not in json.dumps(result["invocation"])


# Endpoints of records


ELSEWHERE = "https://ecd-vpc.example.com"


@pytest.fixture(name="proxied")
def fixture_proxied(fleet, monkeypatch):
    """Return a fleet with a session at a foreign endpoint, where nothing is reachable, and one at loopback."""
    fleet.have({"alice": STALE})
    record = fleet.stored("alice")
    planted = record.session._replace(endpoint=ELSEWHERE, end_user_id="planted")
    put(fleet.store, record._replace(session=planted))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    return fleet


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"filters": {"end_user_id": ["alice", "planted"]}}, {"force": True, "rekey": False}]
)
def test_a_stored_endpoint_that_the_task_does_not_name_is_refused(proxied, options, check):
    result = proxied.run(**options, check=check, results="all", endpoint=None)
    shown = by_user(result)
    assert (shown["planted"]["error_code"], shown["planted"]["failed"]) == ("EndpointNotNamed", True)
    assert (shown["planted"]["retryable"], shown["planted"]["login_needed"]) == (False, False)
    assert ELSEWHERE in shown["planted"]["msg"]
    assert "set endpoint to it (wuying_endpoint in the playbook keep_alive)" in shown["planted"]["msg"]
    assert shown["alice"]["changed"] is True
    assert proxied.users() == ([] if check else ["alice"])


@pytest.mark.parametrize(
    "options",
    [
        {"endpoint": ELSEWHERE},
        {"endpoint": "HTTPS://ECD-vpc.example.com:443/"},
        {"filters": {"endpoint": ELSEWHERE}},
        {"filters": {"endpoint": [ELSEWHERE, "https://other.example.com"]}},
        {"sessions": [{"end_user_id": "planted", "endpoint": ELSEWHERE}]},
        {"sessions": [{"end_user_id": "planted"}], "endpoint": ELSEWHERE},
    ],
)
def test_an_endpoint_that_the_task_names_is_used(proxied, options):
    entry = by_user(proxied.run(**{"endpoint": None, **options}, results="all"))["planted"]
    assert (entry["error_code"], entry["failed"]) == ("ProxyFailed", False)


def test_the_endpoint_of_a_region_need_not_be_named(fleet, monkeypatch):
    fleet.have({"alice": STALE})
    record = fleet.stored("alice")
    for region, endpoint in (
        ("cn-hangzhou", "cn-hangzhou"),
        ("cn-hangzhou", "cn-beijing"),
        ("cn-hangzhou.evil.com/", "cn-hangzhou"),
    ):
        session = record.session._replace(
            endpoint=f"https://ecd.{endpoint}.aliyuncs.com", region_id=region, end_user_id=f"{region} {endpoint}"
        )
        put(fleet.store, record._replace(session=session))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    shown = by_user(fleet.run(results="all", endpoint=None))
    codes = {name: entry.get("error_code") for name, entry in shown.items()}
    assert codes == {
        "alice": None,
        "cn-hangzhou cn-hangzhou": "ProxyFailed",
        "cn-hangzhou cn-beijing": "EndpointNotNamed",
        "cn-hangzhou.evil.com/ cn-hangzhou": "EndpointNotNamed",
    }


# Force, validity, and warnings about the whole task


def test_force_refreshes_current_and_ended_sessions(fleet):
    records = fleet.have(MIXED)
    put(fleet.store, records["expired"].ended_with("SomethingElse"))
    assert fleet.run(fail_on="none")["counts"] == counts(total=3, refreshed=1, unchanged=1, failed=1, login_needed=1)
    assert fleet.run(force=True, check=True)["counts"] == counts(total=3, refreshed=3)
    assert fleet.run(force=True, filters={"end_user_id": ["current", "expired"]})["counts"] == counts(
        total=2, refreshed=2
    )
    assert fleet.run(force=True, sessions=users("stale"))["counts"] == counts(total=1, refreshed=1)


@pytest.mark.parametrize("named", [False, True])
def test_the_validity_of_each_record_stays(fleet, named):
    sessions = [{**session, "end_user_id": name} for name, session in zip("ab", logins(fleet, "a", "b"))]
    fleet.run(sessions=sessions[:1], validity=28800)
    fleet.run(sessions=sessions[1:])
    again = [{**session, "login_token": fleet.emulator.issue(session["end_user_id"])} for session in sessions]
    result = fleet.run(force=True, results="all", **({"sessions": again} if named else {}))
    remaining = {name: entry["remaining"] for name, entry in by_user(result).items()}
    assert 28700 < remaining["a"] <= 28800
    assert 800 < remaining["b"] <= 900


def test_a_large_refresh_before_causes_one_warning(fleet):
    fleet.have(MIXED)
    fleet.have({f"user-{number}": CURRENT for number in range(20)})
    for options in ({}, {"check": True}, {"sessions": users("stale", "current")}):
        (warning,) = warnings_of(fleet.run(refresh_before=3600, **options))
        assert "3,600 s" in warning
        assert "900 s" in warning
    assert warnings_of(fleet.run(refresh_before=450)) == []


@pytest.mark.parametrize(("seconds", "words"), [(3720, "1 hour 2 minutes behind"), (-90000, "1 day 1 hour ahead of")])
def test_a_wrong_clock_causes_one_warning_for_all_sessions_and_processes(fleet, monkeypatch, seconds, words):
    monkeypatch.setattr(workers, "_MIN_ITEMS", 5)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1, 2}, raising=False)
    fleet.emulator.fault("skew", seconds=seconds)
    fleet.have({f"user-{number}": STALE for number in range(40)})
    result = fleet.run()
    assert result["counts"] == counts(total=40, refreshed=40)
    (warning,) = warnings_of(result)
    assert f"The clock of this host is {words} the clock of the service." in warning


# Options


@pytest.mark.parametrize(
    ("name", "value"),
    [("end_user_id", "sesame\n"), ("login_token", "sesame sesame"), ("region_id", "sesame.com")],
)
def test_a_malformed_session_is_refused_by_position_without_its_value(fleet, name, value):
    fleet.have(MIXED)
    result = fleet.run(sessions=[*users("stale"), {"end_user_id": "bob", name: value}])
    assert (result["error_code"], result["retryable"]) == ("InvalidOption", False)
    assert result["msg"].startswith(f"sessions[1]: {name} ")
    assert "sesame" not in result["msg"]
    assert fleet.requests() == 0


def test_a_session_without_a_required_value_is_refused(fleet):
    result = fleet.run(sessions=["alice", {"client_id": "c"}], office_site_id=None)
    assert result["msg"].startswith("sessions[0]: Required options are missing: office_site_id. Set them in the entry ")
    result = fleet.run(sessions=[{"office_site_id": "o"}], client_id="")
    assert result["msg"].startswith("sessions[0]: Required options are missing: client_id, end_user_id.")


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
def test_a_number_out_of_range_is_refused_before_anything_is_sent(fleet, name, value):
    fleet.have(MIXED)
    result = fleet.run(**{name: value})
    assert result["error_code"] == "InvalidOption"
    assert name in result["msg"]
    assert fleet.requests() == 0


@pytest.mark.parametrize("tokens", [1001, 3000])
def test_more_than_1000_tokens_are_refused_within_seconds(fleet, tokens):
    sessions = [{"end_user_id": f"user-{number}", "login_token": f"v1{number:064}"} for number in range(tokens)]
    begin = time.process_time()
    result = fleet.run(sessions=sessions)
    assert time.process_time() - begin < 10
    assert result["error_code"] == "InvalidOption"
    assert result["msg"].startswith(
        f"sessions contains {tokens:,} login tokens, passwords and other secrets, but a task accepts at most 1,000, "
    )
    assert sessions[7]["login_token"] not in fleet.printed
    assert fleet.requests() == 0


def test_1000_tokens_are_accepted_and_sessions_without_one_not_counted(fleet):
    sessions = [{"end_user_id": f"user-{number}", "login_token": f"v1{number:064}"} for number in range(1000)]
    result = fleet.run(sessions=[*sessions, *users("nobody")], check=True, fail_on="none")
    assert result["counts"] == counts(total=1001, refreshed=1000, failed=1, login_needed=1)


def test_without_a_store_every_run_refreshes_and_stores_nothing(fleet, tmp_path):
    sessions = logins(fleet, "alice", "bob")
    none = {"store": "none", "return_token": True, "results": "all"}
    first = fleet.run(sessions=sessions, **none)
    assert first["counts"] == counts(total=2, refreshed=2)
    again = [{"end_user_id": name, "login_token": entry["login_token"]} for name, entry in by_user(first).items()]
    assert fleet.run(sessions=again, **none)["changed"] is True
    assert fleet.requests() == 4
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "options",
    [
        {"return_token": True},
        {"return_token": False, "sessions": users("alice", login_token="v1x")},
        {"return_token": True, "filters": {"end_user_id": "alice"}},
    ],
)
def test_without_a_store_sessions_and_return_token_are_required(fleet, options):
    result = fleet.run(store="none", **options)
    assert result["error_code"] == "InvalidOption"
    assert "store=none" in result["msg"]
    assert fleet.requests() == 0


def test_rekey_needs_store_key(fleet):
    result = fleet.run(rekey=True)
    assert result["error_code"] == "InvalidOption"
    assert "store_key" in result["msg"]


def test_rekey_reencrypts_and_reports_records(fleet):
    old, new = new_key(), new_key()
    fleet.have({"plain": CURRENT})
    fleet.encrypt_with(old)
    fleet.have({"old": CURRENT})
    fleet.encrypt_with(new)
    fleet.have({"new": CURRENT})
    refused = fleet.run(store_key=[new, old])
    assert (refused["error_code"], refused["counts"]) == ("NotEncrypted", counts(total=3, failed=1, unchanged=2))
    (entry,) = refused["sessions"]
    assert f"{fleet.path}/{entry['key']}.record" in entry["msg"]
    result = fleet.run(store_key=[new, old], rekey=True, results="all")
    assert (result["changed"], result["counts"]) == (True, counts(total=3, unchanged=3, rekeyed=2))
    rekeyed = {name: entry.get("rekeyed", False) for name, entry in by_user(result).items()}
    assert rekeyed == {"plain": True, "old": True, "new": False}
    assert fleet.run(store_key=new)["counts"] == counts(total=3, unchanged=3)
    again = fleet.run(store_key=[new, old], rekey=True)
    assert (again["changed"], again["counts"]["rekeyed"]) == (False, 0)


@pytest.mark.parametrize("protection", ["none", "the old key"])
def test_rekey_completes_an_earlier_interrupted_rekey(fleet, monkeypatch, protection):
    old, new = new_key(), new_key()
    if protection == "the old key":
        fleet.encrypt_with(old)
    fleet.have({"alice": CURRENT})
    (file,) = fleet.path.glob("*.record")
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
        cut_off = fleet.run(store_key=[new, old], rekey=True)
    assert cut_off["counts"] == counts(total=1, unchanged=1, warned=1)
    assert before in file.read_bytes()
    result = fleet.run(store_key=[new, old], rekey=True)
    assert (result["changed"], result["counts"]["rekeyed"]) == (True, 1)
    assert before not in file.read_bytes()
    assert fleet.run(store_key=[new], rekey=True)["counts"] == counts(total=1, unchanged=1)


def test_max_qps_limits_the_request_rate(fleet):
    fleet.have({f"user-{number}": STALE for number in range(11)})
    begin = time.monotonic()
    fleet.run(max_qps=20)
    assert time.monotonic() - begin >= 0.5


def test_valid_tokens_are_returned_with_a_warning_after_the_deadline(fleet):
    fleet.have(MIXED)
    fleet.emulator.fault("stall", count=None)
    begin = time.monotonic()
    result = fleet.run(deadline=0.5, max_parallel=1, fail_on="none", timeout=30)
    assert time.monotonic() - begin < 5
    assert result["counts"] == counts(total=3, unchanged=1, not_refreshed=1, failed=1, warned=1)


# The module as a process


def modules_of(err: bytes) -> set[str]:
    """Return the names of the modules that a process with ``-X importtime`` imported."""
    return {line.rpartition("|")[2].strip() for line in err.decode().splitlines()}


def test_an_unchanged_task_imports_no_http_library_and_no_threads(fleet):
    heavy = {"requests", "urllib3", "http.client", "concurrent.futures.thread", "cryptography"}
    fleet.have({"alice": CURRENT, "bob": CURRENT})
    out, err = fleet.start_process("-X", "importtime").communicate(timeout=60)
    assert json.loads(out)["counts"] == counts(total=2, unchanged=2)
    assert not heavy & modules_of(err)
    fleet.have({"alice": STALE, "bob": STALE})
    out, err = fleet.start_process("-X", "importtime").communicate(timeout=60)
    assert json.loads(out)["counts"] == counts(total=2, refreshed=2)
    assert heavy - {"cryptography"} <= modules_of(err)


def test_a_stopped_task_returns_its_results_before_it_exits(fleet):
    fleet.have({f"user-{number}": STALE for number in range(8)})
    fleet.emulator.fault("drip", interval=0.004, count=None)
    process = fleet.start_process(max_parallel=2, results="all", timeout=30)
    end = time.monotonic() + 30
    while fleet.requests() < 2 and time.monotonic() < end:
        time.sleep(0.005)
    process.terminate()
    out, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert err == b""
    result = json.loads(out)
    started = set(fleet.users())
    outcomes = {
        name: "refreshed" if entry["changed"] else entry["error_code"] for name, entry in by_user(result).items()
    }
    assert {name for name, outcome in outcomes.items() if outcome == "refreshed"} == started
    assert {outcome for name, outcome in outcomes.items() if name not in started} == {"Interrupted"}
    assert len(outcomes) == 8
    assert result["retryable"] is True
