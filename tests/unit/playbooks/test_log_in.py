# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook log_in passes the answers to the module, and reports how the login ended, but no secret.

The module is replaced by one that returns a given result. tests/integration/targets/log_in runs the real one in a terminal.
"""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.tests.unit.playbooks.playbook_run import arguments_of, run_playbook

ALICE = {
    "wuying_region_id": "cn-hangzhou",
    "wuying_office_site_id": "office-1",
    "wuying_client_id": "client-1",
    "wuying_end_user_id": "alice",
}
SECRETS = {"log_in_password": "pa55-word", "log_in_code": "012345"}
LOGGED_IN = {"changed": True, "expires_at": "2026-01-31T08:15:00Z", "stays_logged_in": True}
Play = t.Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Return a function that runs the playbook with a result of the module and extra variables."""

    def run(result: dict[str, t.Any], *arguments: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        return run_playbook(
            tmp_path, "wuying.workspace.log_in", {"wuying_login_token": result}, *arguments, **variables
        )

    return run


def test_the_module_gets_the_secrets_and_logs_in_in_any_case(play: Play, tmp_path: Path) -> None:
    assert play(LOGGED_IN, **ALICE, **SECRETS).returncode == 0
    arguments = arguments_of(tmp_path)
    assert (arguments["password"], arguments["authentication_code"]) == ("pa55-word", "012345")
    assert (arguments["force"], arguments["stay_logged_in"], arguments["return_token"]) == (True, True, False)


@pytest.mark.parametrize(("given", "passed"), [("", True), (None, True), (False, False)])
def test_an_empty_variable_is_not_set(play: Play, tmp_path: Path, given: t.Any, passed: bool) -> None:
    assert play(LOGGED_IN, **ALICE, **SECRETS, log_in_stay_logged_in=given).returncode == 0
    assert arguments_of(tmp_path)["stay_logged_in"] in (passed, str(passed))  # text before ansible-core 2.19


@pytest.mark.parametrize("password", ["[1, 2]", '{"a": 1}', "1e5", "True", " a", "0123", "null"])
def test_a_password_that_looks_like_another_type_is_not_converted(play: Play, tmp_path: Path, password: str) -> None:
    assert play(LOGGED_IN, **ALICE, log_in_password=password).returncode == 0
    assert arguments_of(tmp_path)["password"] == password


def test_a_code_may_contain_a_space(play: Play, tmp_path: Path) -> None:
    play(LOGGED_IN, **ALICE, log_in_password="pa55-word", log_in_code="012 345")
    assert arguments_of(tmp_path)["authentication_code"] == "012345"


@pytest.mark.parametrize("stays", [True, False])
def test_the_end_says_until_when_the_user_is_logged_in(play: Play, stays: bool) -> None:
    result = {
        **LOGGED_IN,
        "stays_logged_in": stays,
        "warnings": ["The service issued no keep-alive token."] * (not stays),
    }
    run = play(result, **ALICE, **SECRETS)
    assert "alice is logged in. The login token is valid until 2026-01-31T08:15:00Z at most." in run.stdout
    assert ("The session stays logged in." in run.stdout) == stays
    assert ("The service issued no keep-alive token." in run.stdout) == (not stays)


def test_a_failure_shows_the_message_of_the_module_and_no_secret(play: Play) -> None:
    run = play({"failed": True, "msg": "The service refused the password. Check it."}, "-vvv", **ALICE, **SECRETS)
    assert run.returncode == 2
    assert "The service refused the password. Check it." in run.stdout
    shown = run.stdout.replace(json.dumps({**ALICE, **SECRETS}), "")  # the command line of this test
    assert not [secret for secret in SECRETS.values() if secret in shown]


def test_a_token_that_could_not_be_saved_is_not_shown(play: Play) -> None:
    lost = {**LOGGED_IN, "failed": True, "kept": False, "msg": "The only copy.", "login_token": "v1sesame"}
    run = play(lost, **ALICE, **SECRETS)
    assert run.returncode == 2
    assert "Fix the store, then run this playbook again." in run.stdout
    assert "sesame" not in run.stdout


def test_without_a_terminal_the_password_must_be_an_extra_variable(play: Play, tmp_path: Path) -> None:
    run = play(LOGGED_IN, **ALICE)
    assert run.returncode == 2
    assert "No password was entered. Run the playbook in a terminal" in run.stdout
    assert not (tmp_path / "results.json.arguments").exists()


def test_the_settings_are_checked_before_a_password_is_asked_for(play: Play) -> None:
    for variables, message in [
        ({**ALICE, "wuying_client_id": ""}, "The session is not identified. Set wuying_client_id, for example"),
        (
            {**ALICE, "log_in_pasword": "x"},
            "This playbook has no variable log_in_pasword. Did you mean log_in_password?",
        ),
    ]:
        run = play(LOGGED_IN, **variables)
        assert run.returncode == 2
        assert message in run.stdout
        assert "Not prompting" not in run.stdout


def test_check_mode_succeeds_without_a_token(play: Play) -> None:
    assert play({"changed": True}, "--check", **ALICE, **SECRETS).returncode == 0
