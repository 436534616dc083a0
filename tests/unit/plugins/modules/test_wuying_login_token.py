# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module for one session."""

from __future__ import annotations

import calendar
import json
import os
import shutil
import signal
import stat
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session, fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._store import encryption
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_token
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    RedisServers,
    require_redis,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.modules.module_setup import (
    PLACEHOLDER,
    ModuleRunner,
    options_for,
    warnings_of,
)

IDENTITY = {
    "region_id": "cn-hangzhou",
    "client_id": "f4a0dc8e-1702-4728-9a60-95b27a35c0de",
    "office_site_id": "cn-hangzhou+dir-2381910001",
    "end_user_id": "alice",
}


class SessionRunner(ModuleRunner):
    """Runs the module for the session of Alice."""

    def __init__(self, emulator: t.Any, folder: Path, monkeypatch: t.Any, capfd: t.Any) -> None:
        self.emulator, self.store = emulator, folder / "store"
        options = {**IDENTITY, **options_for(emulator, self.store)}
        super().__init__(wuying_login_token, options, monkeypatch, capfd)

    def start(self, **options: t.Any) -> dict[str, t.Any]:
        """Start the session of Alice."""
        result = self.run(login_token=self.emulator.issue(), **options)
        assert "failed" not in result
        self.emulator.clear()
        return result

    def save_record(self, seconds: float) -> Record:
        """Save a record whose token the service accepts and which is valid for ``seconds``."""
        now, session = time.time(), Session(endpoint=self.emulator.url, **IDENTITY)
        record = next_record(None, session, "v1first", self.emulator.issue(), now, 900, None)
        record = record._replace(obtained_at=now + seconds - 900, expires_at=now + seconds)
        with DirectoryStore(str(self.store)).lock(session.key, time.monotonic() + 10) as locked:
            locked.write_note(new_note(None, fingerprint(record.login_token), "a test"))
            locked.save(record)
        return record

    def requests(self) -> int:
        """Return the number of requests that the service received."""
        return int(self.emulator.journal()["requests"])


@pytest.fixture(name="runner")
def fixture_runner(emulator, tmp_path, monkeypatch, capfd):
    """Return a runner with an empty store."""
    return SessionRunner(emulator, tmp_path, monkeypatch, capfd)


def new_key() -> str:
    """Return a key for ``store_key``."""
    fernet = pytest.importorskip("cryptography.fernet")
    return str(fernet.Fernet.generate_key().decode("ascii"))


def seconds(stamp: str) -> int:
    """Return a time of a result in seconds since 1970."""
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))


# Start a session and keep it current


def test_a_new_session_needs_a_login_token(runner):
    result = runner.run()
    assert (result["failed"], result["error_code"]) == (True, "NoLoginToken")
    assert "login_token" in result["msg"]
    assert runner.requests() == 0


def test_a_token_starts_the_session(runner):
    token = runner.emulator.issue()
    before = int(time.time())
    result = runner.run(login_token=token)
    assert result["changed"] is True
    assert result["login_token"] not in ("", token)
    assert result["source"] == "refresh"
    assert result["request_id"] == runner.emulator.journal()["entries"][0]["request_id"]
    assert before <= seconds(result["obtained_at"]) <= time.time()
    assert seconds(result["expires_at"]) - seconds(result["obtained_at"]) == 900
    assert 800 < result["remaining"] <= 900
    assert result["session"] == {**IDENTITY, "endpoint": runner.emulator.url}


def test_the_same_task_again_changes_and_sends_nothing(runner):
    token = runner.emulator.issue()
    first = runner.run(login_token=token)
    runner.emulator.clear()
    second = runner.run(login_token=token)
    assert (second["changed"], second["source"]) == (False, "store")
    assert second["login_token"] == first["login_token"]
    assert second["expires_at"] == first["expires_at"]
    assert runner.requests() == 0


def test_a_current_session_needs_neither_token_nor_credentials(runner):
    first = runner.start()
    second = runner.run(access_key_id=None, access_key_secret=None)
    assert (second["changed"], second["login_token"]) == (False, first["login_token"])


def test_a_stale_token_is_refreshed(runner):
    record = runner.save_record(100)
    result = runner.run()
    assert (result["changed"], result["source"]) == (True, "refresh")
    assert result["login_token"] != record.login_token


def test_the_validity_of_a_record_is_that_of_its_refresh(runner):
    runner.start(validity=5000)
    result = runner.run(validity=100)
    assert seconds(result["expires_at"]) - seconds(result["obtained_at"]) == 5000
    assert result["changed"] is False


@pytest.mark.parametrize("passed", [False, True])
def test_a_refresh_without_validity_keeps_that_of_the_session(runner, passed):
    runner.start(validity=28800)
    result = runner.run(force=True, login_token=runner.emulator.issue() if passed else None)
    assert result["changed"] is True
    assert seconds(result["expires_at"]) - seconds(result["obtained_at"]) == 28800


def test_a_large_refresh_before_causes_a_warning_with_both_numbers(runner):
    runner.start()
    warnings = warnings_of(runner.run(refresh_before=3600))
    assert len(warnings) == 1
    assert "3,600 s" in warnings[0]
    assert "900 s" in warnings[0]
    assert warnings_of(runner.run(refresh_before=450)) == []
    assert warnings_of(runner.run(refresh_before=300, validity=100, force=True)) == []


@pytest.mark.parametrize("seconds_ahead", [3720, -3720])
def test_a_wrong_clock_causes_one_warning(runner, seconds_ahead):
    runner.emulator.fault("skew", seconds=seconds_ahead)
    (warning,) = warnings_of(runner.run(login_token=runner.emulator.issue()))
    words = "behind" if seconds_ahead > 0 else "ahead of"
    assert f"The clock of this host is 1 hour 2 minutes {words} the clock of the service." in warning
    assert warnings_of(runner.run()) == []


def test_force_refreshes_a_current_token(runner):
    first = runner.start()
    second = runner.run(force=True)
    assert (second["changed"], second["source"]) == (True, "refresh")
    assert second["login_token"] != first["login_token"]
    assert runner.requests() == 1


def test_a_session_is_identified_by_its_whole_identity(runner):
    runner.start()
    assert runner.run(end_user_id="bob")["error_code"] == "NoLoginToken"
    assert runner.run(client_id="another")["error_code"] == "NoLoginToken"
    assert runner.run(directory_id="another")["error_code"] == "NoLoginToken"


def test_a_session_id_goes_with_the_token_that_it_was_issued_with(runner):
    started = runner.run(login_token=runner.emulator.issue(session_id="s-1"), session_id="s-1")
    assert (started["changed"], started["session_id"]) == (True, "s-1")
    for options in ({}, {"session_id": "another"}, {"session_id": "another", "login_token": started["login_token"]}):
        result = runner.run(**options)
        assert (result["login_token"], result["session_id"]) == (started["login_token"], "s-1")
    refreshed = runner.run(force=True, session_id="another")
    assert (refreshed["source"], refreshed["session_id"]) == ("refresh", "s-1")
    again = runner.run(login_token=runner.emulator.issue())
    assert (again["changed"], again["session_id"]) == (True, None)


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_requests_are_signed_with_the_chosen_version(runner, version):
    runner.run(login_token=runner.emulator.issue(), signature_version=version)
    assert runner.emulator.journal()["entries"][0]["signature"] == version


def test_an_anonymous_refresh_needs_no_credentials(runner):
    anonymous = {"auth_method": "anonymous", "access_key_id": None, "access_key_secret": None}
    result = runner.run(login_token=runner.emulator.issue(), **anonymous)
    assert result["changed"] is True
    assert runner.emulator.journal()["entries"][0]["signature"] == "anonymous"


# Delete a record


def test_absent_deletes_the_record_and_sends_nothing(runner):
    runner.start()
    result = runner.run(state="absent")
    assert result["changed"] is True
    assert runner.run()["error_code"] == "NoLoginToken"
    assert runner.requests() == 0


def test_absent_changes_nothing_without_a_record(runner):
    assert runner.run(state="absent")["changed"] is False
    assert not runner.store.exists()


@pytest.mark.parametrize("check", [False, True])
def test_absent_without_a_record_says_so(runner, check):
    runner.start()
    result = runner.run(state="absent", end_user_id="bob", check=check)
    assert result["changed"] is False
    assert result["msg"].startswith(f"No login token is stored for bob (client {IDENTITY['client_id']}, ")
    assert "Nothing was deleted. Check the options that identify the session." in result["msg"]
    assert "msg" not in runner.run(state="absent", check=check)
    assert ("msg" in runner.run(state="absent")) == (not check)


def test_absent_needs_no_credentials_and_returns_no_token(runner):
    token = runner.start()["login_token"]
    result = runner.run(state="absent", access_key_id=None, access_key_secret=None)
    assert "login_token" not in result
    assert token not in runner.printed
    assert result["diff"]["after"] == {}
    assert result["diff"]["before"]["fingerprint"] == fingerprint(token)[:12]


def test_absent_in_check_mode_deletes_nothing(runner):
    runner.start()
    result = runner.run(state="absent", check=True)
    assert (result["changed"], result["diff"]["after"]) == (True, {})
    assert runner.run()["changed"] is False


@pytest.mark.parametrize("check", [True, False], ids=["check mode", "no check mode"])
@pytest.mark.parametrize("record", ["unencrypted", "damaged"])
def test_absent_deletes_a_record_that_cannot_be_used(runner, check, record):
    options: dict[str, t.Any] = {}
    if record == "unencrypted":
        options["store_key"] = new_key()
    token = runner.save_record(800).login_token
    (file,) = runner.store.glob("*.record")
    if record == "damaged":
        file.write_bytes(b"{")
    result = runner.run(state="absent", check=check, **options)
    assert result["changed"] is True
    assert token not in runner.printed
    assert file.exists() == check
    assert runner.requests() == 0


# Check mode


def test_check_mode_predicts_the_start_of_a_session(runner):
    result = runner.run(login_token=runner.emulator.issue(), check=True)
    assert result["changed"] is True
    assert "login_token" not in result
    assert runner.requests() == 0
    assert not runner.store.exists()


def test_check_mode_fails_if_the_task_would_fail(runner):
    assert runner.run(check=True)["error_code"] == "NoLoginToken"


def test_check_mode_returns_a_current_token(runner):
    token = runner.start()["login_token"]
    result = runner.run(check=True)
    assert (result["changed"], result["login_token"]) == (False, token)
    assert result["diff"]["before"] == result["diff"]["after"]


def test_check_mode_predicts_a_refresh_and_returns_a_valid_token(runner):
    record = runner.save_record(100)
    result = runner.run(check=True)
    assert (result["changed"], result["login_token"]) == (True, record.login_token)
    assert result["diff"]["before"] != result["diff"]["after"]
    assert runner.requests() == 0


def test_check_mode_does_not_return_an_expired_token(runner):
    record = runner.save_record(-5)
    result = runner.run(check=True)
    assert result["changed"] is True
    assert record.login_token not in runner.printed


def test_check_mode_predicts_a_forced_refresh(runner):
    runner.start()
    assert runner.run(force=True, check=True)["changed"] is True
    assert runner.requests() == 0


# Results, diffs and invocations


def test_the_diff_shows_expiries_and_fingerprints_and_no_token(runner):
    old = runner.start()["login_token"]
    result = runner.run(force=True)
    diff = result["diff"]
    assert diff["before"]["fingerprint"] == fingerprint(old)[:12]
    assert diff["after"]["fingerprint"] == fingerprint(result["login_token"])[:12]
    assert diff["after"]["expires_at"] == result["expires_at"]
    assert old not in runner.printed
    assert result["login_token"] not in json.dumps(diff)


def test_return_token_false_leaves_the_token_out_of_the_result(runner):
    first = runner.run(login_token=runner.emulator.issue(), return_token=False)
    assert first["changed"] is True
    assert "login_token" not in first
    printed = runner.printed
    token = runner.run()["login_token"]
    assert token not in printed


def test_a_returned_token_that_equals_a_passed_one_is_not_censored(runner):
    token = runner.start()["login_token"]
    result = runner.run(login_token=token)
    assert (result["changed"], result["login_token"]) == (False, token)
    assert result["invocation"]["module_args"]["login_token"] == PLACEHOLDER


def test_a_returned_token_that_contains_a_secret_is_not_censored(runner):
    token = runner.start()["login_token"]
    assert runner.run(store_password=token[3:9])["login_token"] == token


def test_results_and_invocations_contain_no_secret(runner):
    sts, token = runner.emulator.sts, runner.emulator.issue()
    result = runner.run(login_token=token, store_password="sesame-password", **sts)
    assert result["changed"] is True
    for secret in (token, sts["access_key_secret"], sts["security_token"], "sesame-password"):
        assert secret not in runner.printed
    assert result["invocation"]["module_args"]["login_token"] == PLACEHOLDER
    assert result["invocation"]["module_args"]["end_user_id"] == "alice"


def test_failures_contain_no_secret(runner):
    token = runner.emulator.issue()
    runner.emulator.fault("error", code="SignatureDoesNotMatch", message=f"signed: {token}")
    result = runner.run(login_token=token, **runner.emulator.sts)
    assert result["failed"] is True
    assert result["invocation"]["module_args"]["end_user_id"] == "alice"
    for secret in (token, *list(runner.emulator.sts.values())[1:]):
        assert secret not in runner.printed


def test_a_refused_store_url_is_not_shown_without_cryptography(runner, monkeypatch):
    monkeypatch.setattr(encryption, "CRYPTOGRAPHY_IMPORT_ERROR", ImportError())
    result = runner.run(store="redis://user:sesame@127.0.0.1", store_key=["key"])
    assert result["error_code"] == "InvalidOption"
    assert "store_password" in result["msg"]
    assert "sesame" not in runner.printed


# Records that cannot be used


def test_an_unencrypted_record_is_an_error_that_names_it_and_rekey(runner):
    record = runner.save_record(-5)
    for options in ({}, {"force": True}, {"login_token": runner.emulator.issue()}):
        result = runner.run(store_key=new_key(), **options)
        assert (result["error_code"], result["retryable"]) == ("NotEncrypted", False)
        assert "rekey=true" in result["msg"]
        assert f"{runner.store}/{record.session.key}.record" in result["msg"]
        assert record.login_token not in runner.printed
    assert runner.requests() == 0


@pytest.mark.parametrize("check", [True, False], ids=["check mode", "no check mode"])
def test_the_warning_about_a_damaged_record_names_its_file(runner, check):
    key = runner.save_record(800).session.key
    (file,) = runner.store.glob("*.record")
    file.write_bytes(b"{")
    result = runner.run(login_token=runner.emulator.issue(), check=check)
    assert f"({runner.store}/{key}.record: its content is corrupt)" in warnings_of(result)[0]


# Failures


def test_a_failure_returns_the_error_code_and_whether_it_is_retryable(runner):
    runner.emulator.fault("throttle")
    result = runner.run(login_token=runner.emulator.issue())
    assert result["failed"] is True
    assert (result["error_code"], result["http_status"]) == ("Throttling.User", 429)
    assert result["retryable"] is True
    assert result["request_id"] == runner.emulator.journal()["entries"][0]["request_id"]
    assert "Throttling.User" in result["msg"]


def test_a_failure_without_a_response_has_no_status_and_no_request_id(runner):
    runner.emulator.fault("reset")
    result = runner.run(login_token=runner.emulator.issue())
    assert (result["error_code"], result["retryable"]) == ("ConnectionLost", True)
    assert result["http_status"] is None
    assert result["request_id"] is None


def test_the_user_must_log_in_again_if_the_service_refuses_the_token(runner):
    result = runner.run(login_token="v1never-issued")
    assert (result["failed"], result["retryable"]) == (True, False)
    assert (result["error_code"], result["http_status"]) == ("InvalidLoginToken", 400)
    assert "log in again" in result["msg"]


@pytest.mark.parametrize(
    ("code", "status", "login_needed"),
    [
        ("InvalidLoginToken", 400, True),
        ("SomethingElse", 400, True),
        ("Forbidden.SubUser", 403, False),
        ("Throttling", 429, False),
    ],
)
def test_every_failure_shows_if_the_user_must_log_in(runner, code, status, login_needed):
    assert runner.run()["login_needed"] is True
    assert runner.run(region_id="sesame\n")["login_needed"] is False
    runner.save_record(-5)
    runner.emulator.fault("error", code=code, status=status)
    failed = runner.run()
    assert (failed["error_code"], failed["login_needed"]) == (code, login_needed)
    assert runner.run(force=not login_needed).get("login_needed") is (True if login_needed else None)


@pytest.mark.parametrize(
    ("code", "key_id", "shown"),
    [
        ("InvalidAccessKeyId.NotFound", "LTAI5tWrongOne", "LTAI5tWrongOne"),
        ("SignatureDoesNotMatch", "STS.NUWrongOne", "STS.NUWrongOne"),
        ("InvalidAccessKeyId.Inactive", "Sesame30CharactersLikeASecret0", "it does not begin with LTAI or STS"),
        ("InvalidSecurityToken.Expired", "v1-sesame/token", "it does not begin with LTAI or STS"),
    ],
)
@pytest.mark.parametrize("origin", ["options", "environment"])
def test_rejected_credentials_are_named_by_their_setting(runner, monkeypatch, code, key_id, shown, origin):
    values = [key_id, "the-sesame-secret", "the-sesame-sts"]
    names = ["access_key_id", "access_key_secret", "security_token"]
    options: dict[str, t.Any] = dict(zip(names, values))
    if origin == "environment":
        options = dict.fromkeys(names)
        names = [f"ALIBABA_CLOUD_{name.upper()}" for name in names]
        for name, value in zip(names, values):
            monkeypatch.setenv(name, value)
    runner.emulator.fault("error", code=code, status=400)
    result = runner.run(login_token=runner.emulator.issue(), **options)
    assert result["error_code"] == code
    assert result["msg"].endswith(f"Check {names[0]} ({shown}), {names[1]} and {names[2]}.")
    assert "esame" not in result["msg"]


def test_rejected_anonymous_requests_name_the_option(runner):
    runner.emulator.fault("error", code="MissingAccessKeyId", status=400)
    anonymous = {"auth_method": "anonymous", "access_key_id": None, "access_key_secret": None}
    assert "Choose another auth_method." in runner.run(login_token=runner.emulator.issue(), **anonymous)["msg"]


def test_a_refresh_without_credentials_sends_nothing(runner):
    result = runner.run(login_token=runner.emulator.issue(), access_key_id=None, access_key_secret=None)
    assert result["error_code"] == "MissingCredentials"
    assert runner.requests() == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("region_id", "cn-hangzhou\n"),
        ("endpoint", "http://sesame.example.com"),
        ("end_user_id", "sesame\n"),
        ("login_token", "sesame\n"),
        ("validity", 0),
        ("refresh_before", -1),
        ("timeout", 0),
        ("retries", -1),
        ("deadline", -1),
        ("store", "relative/sesame"),
        ("store", "redis://user:sesame@127.0.0.1"),
        ("proxy", "http://user:sesame@127.0.0.1:3128"),
        ("ca_path", "/no/such/sesame.pem"),
        ("security_token", "sesame\n"),
    ],
)
def test_a_malformed_option_fails_before_anything_is_sent_or_written(runner, name, value):
    options = {"login_token": runner.emulator.issue(), name: value}
    result = runner.run(**options)
    assert (result["error_code"], result["retryable"]) == ("InvalidOption", False)
    assert name.replace("_", " ") in result["msg"].replace("_", " ")
    assert "sesame" not in result["msg"]
    assert runner.requests() == 0
    assert not runner.store.exists()


@pytest.mark.parametrize("name", IDENTITY)
def test_the_four_parts_of_every_identity_are_required(runner, name):
    result = runner.run(**{name: None})
    assert result["failed"] is True
    assert f"missing required arguments: {name}" in result["msg"]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("name", ["timeout", "deadline"])
def test_infinite_and_nan_time_limits_are_refused(runner, name, value):
    result = runner.run(**{name: value})
    assert result["error_code"] == "InvalidOption"
    assert name in result["msg"]


# No store, and an unusable store


def test_without_a_store_every_run_refreshes_and_stores_nothing(runner, tmp_path):
    first = runner.run(store="none", login_token=runner.emulator.issue())
    second = runner.run(store="none", login_token=first["login_token"])
    assert (first["changed"], second["changed"]) == (True, True)
    assert second["login_token"] not in ("", first["login_token"])
    assert second["source"] == "refresh"
    assert runner.requests() == 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_a_store_a_token_is_required(runner):
    result = runner.run(store="none")
    assert (result["error_code"], result["msg"].partition(".")[0]) == ("NoLoginToken", "store=none stores no token")
    assert runner.requests() == 0


@pytest.mark.parametrize("options", [{"state": "absent"}, {"return_token": False}])
def test_without_a_store_absent_and_return_token_false_are_refused(runner, options):
    result = runner.run(store="none", login_token=runner.emulator.issue(), **options)
    assert result["error_code"] == "InvalidOption"
    assert "store=none" in result["msg"]
    assert runner.requests() == 0


@pytest.mark.parametrize("return_token", [True, False])
def test_a_token_that_cannot_be_saved_is_returned_by_the_failing_task(runner, return_token):
    runner.emulator.fault("drip", interval=0.003)
    token = runner.emulator.issue()

    def remove_the_store() -> None:
        end = time.monotonic() + 30
        while not runner.requests() and time.monotonic() < end:
            time.sleep(0.01)
        shutil.rmtree(runner.store)

    thread = threading.Thread(target=remove_the_store)
    thread.start()
    result = runner.run(login_token=token, return_token=return_token, timeout=30)
    thread.join(30)
    entry = runner.emulator.journal()["entries"][0]
    assert (result["failed"], result["kept"], result["changed"]) == (True, False, True)
    assert fingerprint(result["login_token"])[:12] == entry["issued"]
    assert (result["error_code"], result["retryable"]) == ("NotKept", False)
    assert result["request_id"] == entry["request_id"]
    assert result["login_token"] not in result["msg"]
    assert token not in runner.printed


def test_a_store_that_is_a_file_fails_before_a_token_is_spent(runner):
    runner.store.write_text("not a directory", encoding="utf-8")
    result = runner.run(login_token=runner.emulator.issue())
    assert result["error_code"] == "StoreUnsafe"
    assert runner.requests() == 0


# The environment


def test_token_store_and_credentials_can_come_from_the_environment(runner, monkeypatch):
    monkeypatch.setenv("WUYING_LOGIN_TOKEN", runner.emulator.issue())
    monkeypatch.setenv("WUYING_TOKEN_STORE", str(runner.store))
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", runner.emulator.access_key_id)
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", runner.emulator.access_key_secret)
    nothing = {"store": None, "access_key_id": None, "access_key_secret": None}
    assert runner.run(**nothing)["changed"] is True
    assert runner.run(**nothing)["changed"] is False
    assert list(runner.store.glob("*.record"))


def test_an_option_overrides_the_environment(runner, monkeypatch, tmp_path):
    monkeypatch.setenv("WUYING_LOGIN_TOKEN", "v1never-issued")
    monkeypatch.setenv("WUYING_TOKEN_STORE", str(tmp_path / "elsewhere"))
    assert runner.run(login_token=runner.emulator.issue())["changed"] is True
    assert not (tmp_path / "elsewhere").exists()


def test_a_security_token_from_the_environment_is_not_used_with_options(runner, monkeypatch):
    monkeypatch.setenv("ALIBABA_CLOUD_SECURITY_TOKEN", runner.emulator.sts["security_token"])
    assert runner.run(login_token=runner.emulator.issue())["changed"] is True


# The module as a process


def run_process(runner: SessionRunner, *flags: str, **options: t.Any) -> tuple[int, dict[str, t.Any], str]:
    """Run the module as a process and return its exit code, its result, and its standard error."""
    process = runner.start_process(*flags, **options)
    out, err = process.communicate(timeout=60)
    return process.returncode, json.loads(out), err.decode()


def test_the_process_prints_its_result_and_nothing_else(runner):
    code, result, err = run_process(runner, login_token=runner.emulator.issue())
    assert (code, result["changed"], err) == (0, True, "")


def test_the_process_fails_with_an_exit_code(runner):
    code, result, err = run_process(runner)
    assert (code, result["error_code"], err) == (1, "NoLoginToken", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("store", "/nowhere/王/sesame"),
        ("store", "~王/sesame"),
        ("store", "${王}/sesame"),
        ("store", "unix:///run/王/sesame.sock"),
        ("ca_path", "/nowhere/王/sesame.pem"),
        ("store_ca_path", "/nowhere/王/sesame.pem"),
    ],
)
def test_a_path_that_the_locale_cannot_encode_is_refused(runner, monkeypatch, name, value):
    in_ascii(monkeypatch)
    others = {"store": "rediss://127.0.0.1"} if name == "store_ca_path" else {}
    status, result, errors = run_process(runner, **{**others, name: value})
    # Libraries warn about an old Python.
    assert (status, "Traceback" in errors, "sesame" in errors) == (1, False, False)
    assert result["error_code"] == "InvalidOption"
    assert result["msg"].startswith(f"{name} ")
    assert ("locale" in result["msg"]) == (name == "store")
    assert "sesame" not in result["msg"]


def test_a_home_directory_that_the_locale_cannot_encode_is_refused(runner, monkeypatch):
    in_ascii(monkeypatch)
    monkeypatch.setenv("HOME", "/home/王")
    status, result, errors = run_process(runner, store=None)
    assert (status, errors) == (1, "")
    assert result["error_code"] == "InvalidOption"
    assert result["msg"].startswith("store is required")


def in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the locale of new processes to ASCII."""
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("statement", "retryable", "message"),
    [
        ("raise AttributeError('sesame')", False, "The Python package requests on this host is broken: AttributeError"),
        ("raise OSError(24, 'sesame')", True, "The HTTP client could not be loaded (Too many open files)."),
        ("raise ImportError('sesame')", False, "Failed to import the required Python library (requests)"),
    ],
)
def test_a_package_that_cannot_be_imported_costs_no_token(runner, tmp_path, monkeypatch, statement, retryable, message):
    (tmp_path / "requests").mkdir()
    (tmp_path / "requests" / "__init__.py").write_text(statement)
    monkeypatch.syspath_prepend(tmp_path)
    record = runner.save_record(100)
    code, result, err = run_process(runner)
    assert (code, err, result["login_token"]) == (0, "", record.login_token)
    assert any(message in str(warning) for warning in result["warnings"])
    code, result, err = run_process(runner, force=True)
    assert (code, err) == (1, "")
    assert (result["error_code"], result["retryable"]) == ("MissingLibrary", retryable)
    assert result["msg"].startswith(message)
    assert "sesame" not in json.dumps(result)
    assert "Traceback" not in json.dumps(result)
    assert runner.requests() == 0


def test_a_stale_token_is_returned_with_a_warning_if_the_refresh_fails(runner):
    record = runner.save_record(100)
    runner.emulator.fault("status")
    _code, result, _err = run_process(runner)
    assert (result["changed"], result["source"]) == (False, "store")
    assert result["login_token"] == record.login_token
    assert result["remaining"] <= 100
    assert any("ServiceUnavailable" in str(warning) for warning in result["warnings"])


@pytest.mark.parametrize("code", [None, "InvalidLoginToken"])
def test_warnings_about_redis_are_shown_on_success_and_on_failure(runner, tmp_path, code):
    require_redis()
    servers = RedisServers(tmp_path)
    if code is not None:
        runner.emulator.fault("error", code=code)
    try:
        store = servers("--appendonly", "no").address
        result = runner.run(login_token=runner.emulator.issue(), store=store)
    finally:
        servers.stop()
    assert result.get("error_code") == code
    assert any("Set appendonly to yes" in str(warning) for warning in result["warnings"])


def test_files_are_private_even_with_a_permissive_umask(runner):
    umask = os.umask(0)
    try:
        code, _result, _err = run_process(runner, login_token=runner.emulator.issue())
    finally:
        os.umask(umask)
    assert code == 0
    assert stat.S_IMODE(runner.store.stat().st_mode) == 0o700
    modes = {stat.S_IMODE(path.stat().st_mode) for path in runner.store.iterdir()}
    assert modes == {0o600}


def test_an_unchanged_task_imports_no_http_library(runner):
    libraries = {"requests", "urllib3", "http.client"}
    _code, first, err = run_process(runner, "-X", "importtime", force=True, login_token=runner.emulator.issue())
    assert first["changed"]
    assert libraries <= {line.rpartition("|")[2].strip() for line in err.splitlines()}
    _code, second, err = run_process(runner, "-X", "importtime")
    assert not second["changed"]
    assert not libraries & {line.rpartition("|")[2].strip() for line in err.splitlines()}


def test_a_signal_waits_until_the_only_copy_of_a_token_is_printed(runner):
    token = runner.emulator.issue()
    runner.emulator.fault("drip", interval=0.005, carried_out=True)
    process = runner.start_process(store="none", login_token=token)
    end = time.monotonic() + 20
    while not runner.requests():
        assert time.monotonic() < end
    process.terminate()
    assert process.stdout is not None
    result = json.loads(process.stdout.read())
    assert process.wait(20) == -signal.SIGTERM
    assert result["changed"]
    assert result["login_token"] != token
