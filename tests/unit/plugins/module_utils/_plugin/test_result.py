# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A task shows when a token expires, and the token itself only if requested."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils import basic

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import Outcome
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import (
    Session,
    fingerprint,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import session_spec
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.module import Module
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.result import (
    compare,
    describe,
    mask,
)

SESSION = Session("https://ecd.cn-hangzhou.aliyuncs.com", "cn-hangzhou", "office", "alice", "client")
OLD = Record(SESSION, "v1old", 1700000000.25, 1700000900.25, "old-request")
PLACEHOLDER = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
NEW = Record(SESSION, "v1new", 1700000700.5, 1700001600.5, "new-request", session_id="new-session")


def test_a_refresh_is_described_by_its_record():
    assert describe(Outcome(True, OLD, NEW), 1700000701, return_token=True) == {
        "changed": True,
        "login_token": "v1new",
        "request_id": "new-request",
        "session_id": "new-session",
        "obtained_at": "2023-11-14T22:25:00Z",
        "expires_at": "2023-11-14T22:40:00Z",
        "remaining": 899,
        "session": {
            "endpoint": "https://ecd.cn-hangzhou.aliyuncs.com",
            "region_id": "cn-hangzhou",
            "office_site_id": "office",
            "end_user_id": "alice",
            "client_id": "client",
        },
        "source": "refresh",
        "stays_logged_in": False,
    }


def test_the_source_of_a_token_from_a_login_is_login():
    result = describe(Outcome(True, OLD, NEW, logged_in=True), 1700000701, return_token=True)
    assert (result["changed"], result["source"], result["login_token"]) == (True, "login", "v1new")


def test_no_result_contains_a_keep_alive_token():
    record = NEW._replace(keep_alive=KeepAlive("ka-sesame", 1700000700.5, 1700000700.5))
    outcome = Outcome(True, record, record, logged_in=True)
    assert "sesame" not in repr([describe(outcome, 1700000701, return_token=True), compare(outcome, predicted=False)])


def test_the_source_of_a_stored_token_is_store():
    result = describe(Outcome(False, OLD, OLD), 1700000001, return_token=True)
    assert (result["changed"], result["source"], result["login_token"]) == (False, "store", "v1old")


def test_the_token_is_left_out_unless_requested():
    result = describe(Outcome(True, OLD, NEW), 1700000701, return_token=False)
    assert "login_token" not in result
    assert "v1" not in json.dumps(result)


def test_without_a_record_the_result_contains_only_changed():
    assert describe(Outcome(True, OLD), 1700000701, return_token=True) == {"changed": True}


def test_an_expired_token_has_no_time_remaining():
    assert describe(Outcome(False, OLD, OLD), 1800000000, return_token=True)["remaining"] == 0


def test_the_diff_shows_expiries_and_short_fingerprints():
    assert compare(Outcome(True, OLD, NEW), predicted=False) == {
        "before": {"expires_at": "2023-11-14T22:28:20Z", "fingerprint": fingerprint("v1old")[:12]},
        "after": {"expires_at": "2023-11-14T22:40:00Z", "fingerprint": fingerprint("v1new")[:12]},
    }


def test_the_diff_without_a_record_is_empty():
    assert compare(Outcome(True, None, NEW), predicted=False)["before"] == {}
    assert compare(Outcome(True, OLD, None), predicted=False)["after"] == {}


def test_the_diff_of_an_unchanged_record_shows_no_change():
    for predicted in (False, True):
        diff = compare(Outcome(False, OLD, OLD), predicted=predicted)
        assert diff["before"] == diff["after"]


def test_the_diff_of_a_predicted_refresh_does_not_show_the_old_token_again():
    diff = compare(Outcome(True, OLD, OLD), predicted=True)
    assert diff["before"] != diff["after"]
    assert fingerprint("v1old")[:12] not in json.dumps(diff["after"])


@pytest.mark.parametrize("outcome", [Outcome(True, OLD, NEW), Outcome(False, OLD, OLD)])
@pytest.mark.parametrize("predicted", [False, True])
def test_no_diff_shows_a_token(outcome, predicted):
    assert "v1" not in json.dumps(compare(outcome, predicted=predicted))


def exit_with(monkeypatch, capsys, token, **arguments):
    """Return the result of a module with these arguments that returns a token."""
    data = dict(arguments)
    if "inject_invocation" in basic.PASS_VARS:
        data["_ansible_inject_invocation"] = True
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": data}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    secret = {"type": "str", "no_log": True}
    spec = {
        "name": {"type": "str"},
        "any": {"type": "raw"},
        "login_token": secret,
        "access_key_secret": secret,
    }
    module = Module(argument_spec=spec)
    with pytest.raises(SystemExit):
        module.execute(lambda: module.exit_json(login_token=token))
    result = json.loads(capsys.readouterr().out)
    result.pop("_ansible_new_secrets", None)  # secrets that ansible-core is to mask
    return result


def test_a_passed_token_is_returned_uncensored(monkeypatch, capsys):
    result = exit_with(monkeypatch, capsys, "v1passed", login_token="v1passed")
    assert result["login_token"] == "v1passed"


def test_a_token_that_contains_a_secret_is_returned_uncensored(monkeypatch, capsys):
    result = exit_with(monkeypatch, capsys, "v1passed", access_key_secret="pass")
    assert result["login_token"] == "v1passed"


def test_the_invocation_shows_no_secret(monkeypatch, capsys):
    result = exit_with(
        monkeypatch,
        capsys,
        "v1passed",
        login_token="v1passed",
        access_key_secret="sesame",
        name="n",
    )
    del result["login_token"]
    shown = json.dumps(result)
    assert "v1passed" not in shown
    assert "sesame" not in shown
    assert result["invocation"]["module_args"]["name"] == "n"


@pytest.mark.parametrize(
    "value",
    [
        "https://user:sesame@ecd.aliyuncs.com",
        "https://user:ses/ame@ecd.aliyuncs.com/sesame",
        "https://sesame@ecd.aliyuncs.com",
        "redis+cluster://:sesame@127.0.0.1:6379,127.0.0.2:6379",
        "https:/user:sesame@ecd.aliyuncs.com",
        "user:sesame\n@ecd.aliyuncs.com",
    ],
)
def test_the_invocation_shows_no_user_info_of_a_url(monkeypatch, capsys, value):
    result = exit_with(monkeypatch, capsys, "v1", name=value, any=[{"of": [value, 7]}, True])
    shown = result["invocation"]["module_args"]
    assert shown["name"] == PLACEHOLDER
    assert shown["any"] == [{"of": [PLACEHOLDER, 7]}, True]


@pytest.mark.parametrize(
    "value",
    ["https://[::1]:8443", "alice@example.com", "/home/alice@example.com/store", "cn-hangzhou+dir"],
)
def test_the_invocation_shows_values_without_secrets(monkeypatch, capsys, value):
    result = exit_with(monkeypatch, capsys, "v1", name=value, any={"of": [value]})
    shown = result["invocation"]["module_args"]
    assert (shown["name"], shown["any"]) == (value, {"of": [value]})


def test_the_invocation_hides_the_value_of_an_unknown_name(monkeypatch, capsys):
    entry = {"end_user_id": "alice", "login_tokn": "v1sesame", "login_token": "v1sesame"}
    data: dict[str, t.Any] = {
        "sessions": [entry],
        "login_tokn": ["v1sesame"],
        "filters": {"end_user_id": "bob", "x": "sesame"},
    }
    data["_ansible_inject_invocation"] = True
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": data}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    sessions = {"type": "list", "elements": "dict", "options": session_spec()}
    with pytest.raises(SystemExit):
        Module(argument_spec={"sessions": sessions, "filters": {"type": "dict"}, "store": {"type": "str"}})
    result = json.loads(capsys.readouterr().out)
    assert "login_tokn" in result["msg"]
    # Since 2.22, a module tells the controller which texts to hide.
    assert "sesame" not in json.dumps({name: value for name, value in result.items() if "secrets" not in name})
    shown = result["invocation"]["module_args"]
    assert shown["filters"] == {"end_user_id": "bob", "x": PLACEHOLDER}
    assert shown["sessions"][0]["end_user_id"] == "alice"


def test_a_masked_token_is_the_same_plain_text():
    masked = mask("v1passed")
    assert masked == "v1passed"
    assert masked.__class__ is str
