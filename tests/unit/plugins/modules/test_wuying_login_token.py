# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module, run as Ansible runs it: options in as JSON, a result out as JSON."""

from __future__ import annotations

import calendar
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils import basic

from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import (
    Record,
    next_record,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import (
    Session,
    fingerprint,
)
from ansible_collections.wuying.workspace.plugins.module_utils._store import encryption
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_token
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    RedisServers,
    require_redis,
)

ROOT = Path(wuying_login_token.__file__).parents[5]
PLACEHOLDER = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
IDENTITY = {
    "region_id": "cn-hangzhou",
    "client_id": "f4a0dc8e-1702-4728-9a60-95b27a35c0de",
    "office_site_id": "cn-hangzhou+dir-2381910001",
    "end_user_id": "alice",
}


class House:
    """An emulator, a store, and the module to run between them."""

    def __init__(self, emulator: t.Any, folder: Path, monkeypatch: t.Any, capfd: t.Any) -> None:
        self.emulator, self.store = emulator, folder / "store"
        self._monkeypatch, self._capfd = monkeypatch, capfd
        self.printed = ""
        self.options: dict[str, t.Any] = {
            **IDENTITY,
            "endpoint": emulator.url,
            "store": str(self.store),
            "access_key_id": emulator.access_key_id,
            "access_key_secret": emulator.access_key_secret,
            "retries": 0,
        }

    def arguments(self, check: bool, options: dict[str, t.Any]) -> bytes:
        """Return what Ansible would pass to the module; options that are None are left out."""
        given = {**self.options, **options, "_ansible_check_mode": check}
        given["_ansible_diff"] = True
        if "inject_invocation" in basic.PASS_VARS:
            given["_ansible_inject_invocation"] = True
        present = {name: value for name, value in given.items() if value is not None}
        return json.dumps({"ANSIBLE_MODULE_ARGS": present}).encode()

    def run(self, *, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """Run the module in this process and return its result."""
        arguments = self.arguments(check, options)
        self._monkeypatch.setattr(basic, "_ANSIBLE_ARGS", arguments)
        self._monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        self._capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            wuying_login_token.main()
        output = self._capfd.readouterr()
        result: dict[str, t.Any] = json.loads(output.out)
        result.pop("_ansible_new_secrets", None)  # what core is to mask, for nobody else to see
        self.printed = json.dumps(result) + output.err
        assert bool(left.value.code) == bool(result.get("failed"))
        return result

    def start(self, **options: t.Any) -> dict[str, t.Any]:
        """Start the session of Alice."""
        result = self.run(login_token=self.emulator.issue(), **options)
        assert "failed" not in result
        self.emulator.clear()
        return result

    def keep(self, seconds: float) -> Record:
        """Keep a record whose token, which the service takes, has so many seconds to live."""
        now, session = time.time(), Session(endpoint=self.emulator.url, **IDENTITY)
        record = next_record(None, session, "v1first", self.emulator.issue(), now, 900, None)
        record = record._replace(obtained_at=now + seconds - 900, expires_at=now + seconds)
        with DirectoryStore(str(self.store)).lock(session.key, time.monotonic() + 10) as locked:
            locked.write_note(new_note(None, record.login_token, "a test"))
            locked.save(record)
        return record

    def requests(self) -> int:
        """Return how many requests the service has seen."""
        return int(self.emulator.journal()["requests"])


@pytest.fixture(name="house")
def fixture_house(emulator, tmp_path, monkeypatch, capfd):
    """Return a house with an empty store."""
    return House(emulator, tmp_path, monkeypatch, capfd)


def seconds(stamp: str) -> int:
    """Return a time of a result as seconds since 1970."""
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))


# Starting a session and keeping it current


def test_a_session_that_nobody_started_needs_a_token(house):
    result = house.run()
    assert (result["failed"], result["error_code"]) == (True, "NoLoginToken")
    assert "login_token" in result["msg"]
    assert house.requests() == 0


def test_a_token_starts_the_session(house):
    token = house.emulator.issue()
    before = int(time.time())
    result = house.run(login_token=token)
    assert result["changed"] is True
    assert result["login_token"] not in ("", token)
    assert result["source"] == "refresh"
    assert result["request_id"] == house.emulator.journal()["entries"][0]["request_id"]
    assert before <= seconds(result["obtained_at"]) <= time.time()
    assert seconds(result["expires_at"]) - seconds(result["obtained_at"]) == 900
    assert 800 < result["remaining"] <= 900
    assert result["session"] == {**IDENTITY, "endpoint": house.emulator.url}


def test_the_same_task_again_changes_and_sends_nothing(house):
    token = house.emulator.issue()
    first = house.run(login_token=token)
    house.emulator.clear()
    second = house.run(login_token=token)
    assert (second["changed"], second["source"]) == (False, "store")
    assert second["login_token"] == first["login_token"]
    assert second["expires_at"] == first["expires_at"]
    assert house.requests() == 0


def test_a_current_session_needs_neither_token_nor_credentials(house):
    first = house.start()
    second = house.run(access_key_id=None, access_key_secret=None)
    assert (second["changed"], second["login_token"]) == (False, first["login_token"])


def test_a_stale_token_is_exchanged(house):
    record = house.keep(100)
    result = house.run()
    assert (result["changed"], result["source"]) == (True, "refresh")
    assert result["login_token"] != record.login_token


def test_the_validity_of_a_record_is_that_of_its_exchange(house):
    house.start(validity=5000)
    result = house.run(validity=100)
    assert seconds(result["expires_at"]) - seconds(result["obtained_at"]) == 5000
    assert result["changed"] is False


def test_force_exchanges_a_current_token(house):
    first = house.start()
    second = house.run(force=True)
    assert (second["changed"], second["source"]) == (True, "refresh")
    assert second["login_token"] != first["login_token"]
    assert house.requests() == 1


def test_the_session_is_that_of_its_whole_identity(house):
    house.start()
    assert house.run(end_user_id="bob")["error_code"] == "NoLoginToken"
    assert house.run(session_id="another")["error_code"] == "NoLoginToken"


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_the_signature_version_is_the_one_that_is_chosen(house, version):
    house.run(login_token=house.emulator.issue(), signature_version=version)
    assert house.emulator.journal()["entries"][0]["signature"] == version


def test_an_anonymous_exchange_needs_no_credentials(house):
    anonymous = {"auth_method": "anonymous", "access_key_id": None, "access_key_secret": None}
    result = house.run(login_token=house.emulator.issue(), **anonymous)
    assert result["changed"] is True
    assert house.emulator.journal()["entries"][0]["signature"] == "anonymous"


# Forgetting


def test_absent_forgets_the_session_and_sends_nothing(house):
    house.start()
    result = house.run(state="absent")
    assert result["changed"] is True
    assert house.run()["error_code"] == "NoLoginToken"
    assert house.requests() == 0


def test_absent_changes_nothing_where_nothing_is_kept(house):
    assert house.run(state="absent")["changed"] is False
    assert not house.store.exists()


def test_absent_needs_no_credentials_and_returns_no_token(house):
    token = house.start()["login_token"]
    result = house.run(state="absent", access_key_id=None, access_key_secret=None)
    assert "login_token" not in result
    assert token not in house.printed
    assert result["diff"]["after"] == {}
    assert result["diff"]["before"]["fingerprint"] == fingerprint(token)[:12]


def test_absent_in_check_mode_only_says_so(house):
    house.start()
    result = house.run(state="absent", check=True)
    assert (result["changed"], result["diff"]["after"]) == (True, {})
    assert house.run()["changed"] is False


# Check mode


def test_check_mode_predicts_the_start_of_a_session(house):
    result = house.run(login_token=house.emulator.issue(), check=True)
    assert result["changed"] is True
    assert "login_token" not in result
    assert house.requests() == 0
    assert not house.store.exists()


def test_check_mode_fails_where_the_task_would(house):
    assert house.run(check=True)["error_code"] == "NoLoginToken"


def test_check_mode_serves_a_current_token(house):
    token = house.start()["login_token"]
    result = house.run(check=True)
    assert (result["changed"], result["login_token"]) == (False, token)
    assert result["diff"]["before"] == result["diff"]["after"]


def test_check_mode_predicts_an_exchange_and_serves_what_lives(house):
    record = house.keep(100)
    result = house.run(check=True)
    assert (result["changed"], result["login_token"]) == (True, record.login_token)
    assert result["diff"]["before"] != result["diff"]["after"]
    assert house.requests() == 0


def test_check_mode_returns_no_token_that_is_dead(house):
    record = house.keep(-5)
    result = house.run(check=True)
    assert result["changed"] is True
    assert record.login_token not in house.printed


def test_check_mode_predicts_a_forced_exchange(house):
    house.start()
    assert house.run(force=True, check=True)["changed"] is True
    assert house.requests() == 0


# What is shown


def test_the_diff_shows_expiries_and_fingerprints_and_no_token(house):
    old = house.start()["login_token"]
    result = house.run(force=True)
    diff = result["diff"]
    assert diff["before"]["fingerprint"] == fingerprint(old)[:12]
    assert diff["after"]["fingerprint"] == fingerprint(result["login_token"])[:12]
    assert diff["after"]["expires_at"] == result["expires_at"]
    assert old not in house.printed
    assert result["login_token"] not in json.dumps(diff)


def test_the_token_stays_out_of_the_result_where_nobody_wants_it(house):
    first = house.run(login_token=house.emulator.issue(), return_token=False)
    assert first["changed"] is True
    assert "login_token" not in first
    printed = house.printed
    token = house.run()["login_token"]
    assert token not in printed


def test_a_token_that_equals_the_one_that_was_passed_in_is_not_censored(house):
    token = house.start()["login_token"]
    result = house.run(login_token=token)
    assert (result["changed"], result["login_token"]) == (False, token)
    assert result["invocation"]["module_args"]["login_token"] == PLACEHOLDER


def test_a_token_that_contains_another_secret_is_not_cut(house):
    token = house.start()["login_token"]
    assert house.run(store_password=token[3:9])["login_token"] == token


def test_neither_a_result_nor_its_invocation_has_a_secret_in_it(house):
    sts, token = house.emulator.sts, house.emulator.issue()
    result = house.run(login_token=token, store_password="sesame-password", **sts)
    assert result["changed"] is True
    for secret in (token, sts["access_key_secret"], sts["security_token"], "sesame-password"):
        assert secret not in house.printed
    assert result["invocation"]["module_args"]["login_token"] == PLACEHOLDER
    assert result["invocation"]["module_args"]["end_user_id"] == "alice"


def test_no_failure_has_a_secret_in_it(house):
    token = house.emulator.issue()
    house.emulator.fault("error", code="SignatureDoesNotMatch", message=f"signed: {token}")
    result = house.run(login_token=token, **house.emulator.sts)
    assert result["failed"] is True
    result.pop("invocation")  # it is core's to censor that of a failure, and it does
    shown = json.dumps(result)
    for secret in (token, *list(house.emulator.sts.values())[1:]):
        assert secret not in shown


def test_the_address_of_a_store_that_is_refused_is_not_shown_without_the_package_for_its_key(house, monkeypatch):
    monkeypatch.setattr(encryption, "CRYPTOGRAPHY_IMPORT_ERROR", "It is not installed.")
    result = house.run(store="redis://user:sesame@127.0.0.1", store_key=["key"])
    assert result["error_code"] == "InvalidOption"
    assert "store_password" in result["msg"]
    assert "sesame" not in house.printed


# Failures


def test_a_failure_says_what_happened_and_whether_to_try_again(house):
    house.emulator.fault("throttle")
    result = house.run(login_token=house.emulator.issue())
    assert result["failed"] is True
    assert (result["error_code"], result["http_status"]) == ("Throttling.User", 429)
    assert result["retryable"] is True
    assert result["request_id"] == house.emulator.journal()["entries"][0]["request_id"]
    assert "Throttling.User" in result["msg"]


def test_a_failure_without_an_answer_has_neither_status_nor_request_id(house):
    house.emulator.fault("reset")
    result = house.run(login_token=house.emulator.issue())
    assert (result["error_code"], result["retryable"]) == ("ConnectionLost", True)
    assert result["http_status"] is None
    assert result["request_id"] is None


def test_a_token_that_the_service_refuses_sends_the_user_to_log_in(house):
    result = house.run(login_token="v1never-issued")
    assert (result["failed"], result["retryable"]) == (True, False)
    assert (result["error_code"], result["http_status"]) == ("InvalidLoginToken", 400)
    assert "log in again" in result["msg"]


def test_without_credentials_an_exchange_fails_before_anything_is_sent(house):
    result = house.run(login_token=house.emulator.issue(), access_key_id=None, access_key_secret=None)
    assert result["error_code"] == "MissingCredentials"
    assert house.requests() == 0


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
def test_a_malformed_option_fails_before_anything_is_sent_or_made(house, name, value):
    options = {"login_token": house.emulator.issue(), name: value}
    result = house.run(**options)
    assert (result["error_code"], result["retryable"]) == ("InvalidOption", False)
    assert name.replace("_", " ") in result["msg"].replace("_", " ")
    assert "sesame" not in result["msg"]
    assert house.requests() == 0
    assert not house.store.exists()


@pytest.mark.parametrize("name", IDENTITY)
def test_the_four_parts_of_every_identity_are_required(house, name):
    result = house.run(**{name: None})
    assert result["failed"] is True
    assert f"missing required arguments: {name}" in result["msg"]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("name", ["timeout", "deadline"])
def test_a_time_limit_that_is_no_number_is_refused(house, name, value):
    result = house.run(**{name: value})
    assert result["error_code"] == "InvalidOption"
    assert name in result["msg"]


# No store, and a store that fails


def test_without_a_store_every_run_exchanges_and_nothing_is_kept(house, tmp_path):
    first = house.run(store="none", login_token=house.emulator.issue())
    second = house.run(store="none", login_token=first["login_token"])
    assert (first["changed"], second["changed"]) == (True, True)
    assert second["login_token"] not in ("", first["login_token"])
    assert second["source"] == "refresh"
    assert house.requests() == 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_a_store_a_token_is_required(house):
    assert house.run(store="none")["error_code"] == "NoLoginToken"
    assert house.requests() == 0


@pytest.mark.parametrize("options", [{"state": "absent"}, {"return_token": False}])
def test_without_a_store_there_is_nothing_to_forget_and_the_token_must_be_returned(house, options):
    result = house.run(store="none", login_token=house.emulator.issue(), **options)
    assert result["error_code"] == "InvalidOption"
    assert "store=none" in result["msg"]
    assert house.requests() == 0


@pytest.mark.parametrize("return_token", [True, False])
def test_a_token_that_cannot_be_kept_is_handed_out_all_the_same(house, return_token):
    house.emulator.fault("drip", interval=0.003)
    token = house.emulator.issue()

    def take_the_store_away() -> None:
        end = time.monotonic() + 30
        while not house.requests() and time.monotonic() < end:
            time.sleep(0.01)
        shutil.rmtree(house.store)

    thread = threading.Thread(target=take_the_store_away)
    thread.start()
    result = house.run(login_token=token, return_token=return_token, timeout=30)
    thread.join(30)
    entry = house.emulator.journal()["entries"][0]
    assert (result["failed"], result["kept"], result["changed"]) == (True, False, True)
    assert fingerprint(result["login_token"])[:12] == entry["issued"]
    assert (result["error_code"], result["retryable"]) == ("NotKept", False)
    assert result["request_id"] == entry["request_id"]
    assert result["login_token"] not in result["msg"]
    assert token not in house.printed


def test_a_store_that_is_no_directory_fails_before_a_token_is_spent(house):
    house.store.write_text("not a directory", encoding="utf-8")
    result = house.run(login_token=house.emulator.issue())
    assert result["error_code"] == "StoreUnsafe"
    assert house.requests() == 0


# The environment


def test_the_environment_gives_token_store_and_credentials(house, monkeypatch):
    monkeypatch.setenv("WUYING_LOGIN_TOKEN", house.emulator.issue())
    monkeypatch.setenv("WUYING_TOKEN_STORE", str(house.store))
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", house.emulator.access_key_id)
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", house.emulator.access_key_secret)
    nothing = {"store": None, "access_key_id": None, "access_key_secret": None}
    assert house.run(**nothing)["changed"] is True
    assert house.run(**nothing)["changed"] is False
    assert list(house.store.glob("*.record"))


def test_an_option_comes_before_the_environment(house, monkeypatch, tmp_path):
    monkeypatch.setenv("WUYING_LOGIN_TOKEN", "v1never-issued")
    monkeypatch.setenv("WUYING_TOKEN_STORE", str(tmp_path / "elsewhere"))
    assert house.run(login_token=house.emulator.issue())["changed"] is True
    assert not (tmp_path / "elsewhere").exists()


def test_a_security_token_of_the_environment_never_joins_a_key_of_options(house, monkeypatch):
    monkeypatch.setenv("ALIBABA_CLOUD_SECURITY_TOKEN", house.emulator.sts["security_token"])
    assert house.run(login_token=house.emulator.issue())["changed"] is True


# A process of its own


def run_process(house: House, *flags: str, **options: t.Any) -> tuple[int, dict[str, t.Any], str]:
    """Run the module as a process; return its exit code, its result and what it says else."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, *flags, wuying_login_token.__file__],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = process.communicate(house.arguments(False, options), timeout=60)
    return process.returncode, json.loads(out), err.decode()


def test_as_a_process_it_prints_its_result_and_nothing_else(house):
    code, result, said = run_process(house, login_token=house.emulator.issue())
    assert (code, result["changed"], said) == (0, True, "")


def test_as_a_process_it_fails_with_an_exit_code(house):
    code, result, said = run_process(house)
    assert (code, result["error_code"], said) == (1, "NoLoginToken", "")


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
def test_a_path_that_the_locale_cannot_write_is_refused(house, monkeypatch, name, value):
    in_ascii(monkeypatch)
    others = {"store": "rediss://127.0.0.1"} if name == "store_ca_path" else {}
    status, result, errors = run_process(house, **{**others, name: value})
    # Libraries warn of a Python that is old.
    assert (status, "Traceback" in errors, "sesame" in errors) == (1, False, False)
    assert result["error_code"] == "InvalidOption"
    assert result["msg"].startswith(f"{name} ")
    assert ("locale" in result["msg"]) == (name == "store")
    assert "sesame" not in result["msg"]


def test_a_home_that_the_locale_cannot_write_is_refused(house, monkeypatch):
    in_ascii(monkeypatch)
    monkeypatch.setenv("HOME", "/home/王")
    status, result, errors = run_process(house, store=None)
    assert (status, errors) == (1, "")
    assert result["error_code"] == "InvalidOption"
    assert result["msg"].startswith("store must be given")


def in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have processes take names of files for ASCII."""
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)


def test_a_stale_token_that_cannot_be_exchanged_now_is_served_with_a_warning(house):
    record = house.keep(100)
    house.emulator.fault("status")
    _code, result, _said = run_process(house)
    assert (result["changed"], result["source"]) == (False, "store")
    assert result["login_token"] == record.login_token
    assert result["remaining"] <= 100
    assert any("ServiceUnavailable" in str(warning) for warning in result["warnings"])


@pytest.mark.parametrize("code", [None, "InvalidLoginToken"])
def test_what_there_is_to_say_of_a_redis_store_is_a_warning_however_the_task_ends(house, tmp_path, code):
    require_redis()
    servers = RedisServers(tmp_path)
    if code is not None:
        house.emulator.fault("error", code=code)
    try:
        store = servers("--appendonly", "no").address
        result = house.run(login_token=house.emulator.issue(), store=store)
    finally:
        servers.stop()
    assert result.get("error_code") == code
    assert any("Set appendonly to yes" in str(warning) for warning in result["warnings"])


def test_as_a_process_it_keeps_its_files_private_whatever_the_umask(house):
    umask = os.umask(0)
    try:
        code, _result, _said = run_process(house, login_token=house.emulator.issue())
    finally:
        os.umask(umask)
    assert code == 0
    assert stat.S_IMODE(house.store.stat().st_mode) == 0o700
    modes = {stat.S_IMODE(path.stat().st_mode) for path in house.store.iterdir()}
    assert modes == {0o600}


def test_an_unchanged_task_imports_no_http_library(house):
    libraries = {"requests", "urllib3", "http.client"}
    _code, first, said = run_process(house, "-X", "importtime", force=True, login_token=house.emulator.issue())
    assert first["changed"]
    assert libraries <= {line.rpartition("|")[2].strip() for line in said.splitlines()}
    _code, second, said = run_process(house, "-X", "importtime")
    assert not second["changed"]
    assert not libraries & {line.rpartition("|")[2].strip() for line in said.splitlines()}


def test_a_signal_waits_until_the_only_copy_of_a_token_is_out(house):
    token = house.emulator.issue()
    house.emulator.fault("drip", interval=0.005, carried_out=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, wuying_login_token.__file__],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(house.arguments(False, {"store": "none", "login_token": token}))
    process.stdin.close()
    end = time.monotonic() + 20
    while not house.requests():
        assert time.monotonic() < end
    process.terminate()
    assert process.stdout is not None
    result = json.loads(process.stdout.read())
    assert process.wait(20) == -signal.SIGTERM
    assert result["changed"]
    assert result["login_token"] != token
