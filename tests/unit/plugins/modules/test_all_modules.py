# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all modules have in common: ``async``, and uncensored results."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._plugin import module as module_file
from ansible_collections.wuying.workspace.plugins.modules import (
    wuying_login_token,
    wuying_login_token_info,
    wuying_login_tokens,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import CURRENT
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
    result = runner.run(sessions=[{"end_user_id": "nobody"}], store_password="nob")
    assert "nobody" in result["msg"]
    assert "nobody" in result["sessions"][0]["msg"]
