# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all modules have in common: empty options, secrets in the environment, ``async``, and uncensored results."""

from __future__ import annotations

import json
import types
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._plugin import module as module_file
from ansible_collections.wuying.workspace.plugins.modules import (
    wuying_login_token,
    wuying_login_token_info,
    wuying_login_tokens,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import CURRENT, STALE
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import put
from ansible_collections.wuying.workspace.tests.unit.plugins.modules.module_setup import FleetRunner

MODULES = {"one": wuying_login_token, "many": wuying_login_tokens, "info": wuying_login_token_info}
OWN: dict[str, dict[str, t.Any]] = {
    "one": {"end_user_id": "alice"},
    "many": {"results": "all", "return_token": True},
    "info": {},
}
"""The options that make each module list the session of Alice, with all that it can return."""


@pytest.fixture(name="runner", params=MODULES)
def fixture_runner(request, emulator, tmp_path, monkeypatch, capfd):
    """Return a runner of each module, with the current session of Alice in its store."""
    runner = FleetRunner(MODULES[request.param], emulator, tmp_path / "store", monkeypatch, capfd)
    runner.options.update(OWN[request.param])
    record = runner.have({"alice": CURRENT})["alice"]
    put(runner.store, record._replace(request_id="1CBAFFAB-B697-4049-A9B1-67E1FC5F0000"))
    return runner


def session_of(result: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return what a result contains of the session of Alice, without the time that is left."""
    (entry,) = result.get("sessions", [result])
    return {name: entry[name] for name in ("session", "key", "login_token", "request_id", "state") if name in entry}


def spec_of(module: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """Return the argument spec of a module."""
    specs: list[dict[str, t.Any]] = []
    with monkeypatch.context() as patched:
        patched.setattr(module, "Module", lambda argument_spec, **_more: specs.append(argument_spec))
        with pytest.raises(AttributeError):
            module.main()
    return specs[0]


# Options that were not given


@pytest.mark.parametrize("value", ["", "__omit_place_holder__d553cdb8330ea73d531082cb370ee4e5575ca9ce"])
def test_an_empty_option_is_not_set(runner, monkeypatch, value):
    expected = session_of(runner.run())
    spec = spec_of(runner._module, monkeypatch)
    empty = {name: value for name in spec if name not in {*runner.options, "store_key"}}
    assert len(empty) > 10
    assert session_of(runner.run(**empty)) == expected
    assert session_of(runner.run(retries=value, access_key_id=value, access_key_secret=value)) == expected


@pytest.mark.parametrize("value", ["", [], [""]])
def test_an_empty_store_key_is_an_error(runner, monkeypatch, value):
    for in_environment in (None, "sesame"):
        if in_environment:
            monkeypatch.setenv("WUYING_TOKEN_STORE", str(runner.path))
            monkeypatch.setenv("WUYING_TOKEN_STORE_KEY", in_environment)
        result = runner.run(store_key=value)
        assert result["error_code"] == "InvalidOption"
        assert result["msg"].startswith("store_key is empty")


def test_a_missing_option_is_named_also_if_it_is_empty(emulator, tmp_path, monkeypatch, capfd):
    runner = FleetRunner(wuying_login_token, emulator, tmp_path / "store", monkeypatch, capfd)
    result = runner.run(client_id="", region_id="")
    assert result["msg"] == "missing required arguments: client_id, end_user_id, region_id"


def test_a_misspelled_option_is_refused_even_if_it_is_empty(runner):
    assert "officesite_id" in runner.run(officesite_id="")["msg"]


def test_omit_as_a_part_of_an_option_is_an_error_that_shows_no_option(runner):
    result = runner.run(client_id="x<<Omit>>", store_password="sesame")
    assert result["error_code"] == "InvalidOption"
    assert result["msg"].startswith("client_id contains the value of omit")
    assert "sesame" not in runner.printed


def test_sessions_can_be_strings_and_integers(emulator, tmp_path, monkeypatch, capfd):
    runner = FleetRunner(wuying_login_tokens, emulator, tmp_path / "store", monkeypatch, capfd)
    runner.have({"alice": CURRENT, "1001": CURRENT, "7": CURRENT})
    result = runner.run(sessions=["alice", 1001, {"end_user_id": 7}], results="all")
    assert [entry["session"]["end_user_id"] for entry in result["sessions"]] == ["alice", "1001", "7"]
    assert result["counts"]["unchanged"] == 3
    assert runner.run(filters={"end_user_id": [1001, 7]}, results="all")["counts"]["total"] == 2


def test_an_empty_user_of_an_entry_is_that_of_the_task(emulator, tmp_path, monkeypatch, capfd):
    runner = FleetRunner(wuying_login_tokens, emulator, tmp_path / "store", monkeypatch, capfd)
    runner.have({"alice": CURRENT})
    assert runner.run(sessions=[{"end_user_id": ""}], end_user_id="alice")["counts"]["unchanged"] == 1


def test_a_token_in_a_string_for_a_session_is_never_shown(emulator, tmp_path, monkeypatch, capfd):
    runner = FleetRunner(wuying_login_tokens, emulator, tmp_path / "store", monkeypatch, capfd)
    for text in ('{"end_user_id": "alice", "login_token": "v1sesame"}', "end_user_id=alice login_token=v1sesame"):
        for sessions in (text, [text], f"[{text}]", [[text]]):
            assert runner.run(sessions=sessions)["error_code"] == "InvalidOption"
            assert "sesame" not in runner.printed
    assert runner.requests() == 0


# One origin for a store and its secrets


@pytest.mark.parametrize("name", ["WUYING_TOKEN_STORE_PASSWORD", "WUYING_TOKEN_STORE_KEY"])
@pytest.mark.parametrize("in_environment", [None, "rediss://redis.example.com"])
def test_a_secret_in_the_environment_is_not_sent_to_another_store(runner, listener, monkeypatch, name, in_environment):
    monkeypatch.setenv(name, "sesame-secret")
    if in_environment:
        monkeypatch.setenv("WUYING_TOKEN_STORE", in_environment)
    result = runner.run(store=f"redis://127.0.0.1:{listener.getsockname()[1]}")
    assert result["error_code"] == "InvalidOption"
    assert name in result["msg"]
    assert "sesame" not in runner.printed


def test_a_store_and_its_key_can_come_from_the_environment(runner, monkeypatch):
    fernet = pytest.importorskip("cryptography.fernet")
    key = fernet.Fernet.generate_key().decode("ascii")
    runner.encrypt_with(key)
    runner.have({"alice": CURRENT})
    runner.run()
    assert "WrongStoreKey" in runner.printed
    monkeypatch.setenv("WUYING_TOKEN_STORE_KEY", key)
    assert "WUYING_TOKEN_STORE_KEY" in runner.run()["msg"]
    monkeypatch.setenv("WUYING_TOKEN_STORE", str(runner.path))
    for store in (None, str(runner.path)):
        assert session_of(runner.run(store=store))["session"]["end_user_id"] == "alice"
        assert key not in runner.printed


def test_an_empty_key_in_the_environment_is_named(runner, monkeypatch):
    monkeypatch.setenv("WUYING_TOKEN_STORE_KEY", "")
    assert runner.run()["msg"].startswith("WUYING_TOKEN_STORE_KEY is set and empty")


# async


def test_async_is_refused_if_ansible_core_would_store_secrets(runner, monkeypatch):
    monkeypatch.setenv("ANSIBLE_ASYNC_DIR", "~/.ansible_async")
    monkeypatch.setattr(module_file, "MASKS_SECRETS", True)
    result = runner.run(store_password="sesame-password", force=True)
    assert result["error_code"] == "InvalidOption"
    assert "Remove async" in result["msg"]
    assert "sesame" not in runner.printed
    assert runner.requests() == 0
    monkeypatch.setattr(module_file, "MASKS_SECRETS", False)
    assert "error_code" not in runner.run()


# Results are never censored


@pytest.mark.parametrize("option", ["store_password", "security_token"])
def test_a_result_is_not_censored_if_it_contains_a_secret(runner, option):
    others = {"access_key_id": "a", "access_key_secret": "b"} if option == "security_token" else {}
    expected = session_of(runner.run(**others))
    values = [str(value) for value in (*expected["session"].values(), *expected.values())]
    for value in values:
        for secret in (value, value[:3], value[1:-1]):
            if " " not in secret:
                assert session_of(runner.run(**others, **{option: secret})) == expected


def test_a_returned_token_that_was_passed_is_not_censored(emulator, tmp_path, monkeypatch, capfd):
    runner = FleetRunner(wuying_login_tokens, emulator, tmp_path / "store", monkeypatch, capfd)
    token = runner.have({"alice": CURRENT})["alice"].login_token
    sessions = [{"end_user_id": "alice", "login_token": token}]
    assert runner.run(sessions=sessions, return_token=True)["sessions"][0]["login_token"] == token


def test_a_message_with_a_name_is_not_censored(emulator, tmp_path, monkeypatch, capfd):
    runner = FleetRunner(wuying_login_tokens, emulator, tmp_path / "store", monkeypatch, capfd)
    result = runner.run(sessions=["nobody"], store_password="nob")
    assert "nobody" in result["msg"]
    assert "nobody" in result["sessions"][0]["msg"]


# WUYING_LOGIN_TOKEN


@pytest.mark.parametrize("token", [None, "v1sesame"])
def test_many_sessions_do_not_read_the_variable_of_the_login_token(emulator, tmp_path, monkeypatch, capfd, token):
    if token:
        monkeypatch.setenv("WUYING_LOGIN_TOKEN", token)
    runner = FleetRunner(wuying_login_tokens, emulator, tmp_path / "store", monkeypatch, capfd)
    runner.have({"bob": STALE})
    result = runner.run(sessions=["alice", "bob"], fail_on="none")
    (failed,) = (entry for entry in result["sessions"] if entry["failed"])
    assert ("WUYING_LOGIN_TOKEN is set, but" in failed["msg"]) == (token is not None)
    assert runner.requests() == 1
    assert "sesame" not in json.dumps(result)
