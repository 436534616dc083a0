# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who can configure the lookup, and which values count as given."""

from __future__ import annotations

import importlib
import re
import socket
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import argument_spec
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.lookup_options import VARIABLE_OF

# Skips the tests on a Python without a controller.
from ansible_collections.wuying.workspace.tests.unit.plugins.lookup.lookup_setup import (
    NAME,
    OMIT,
    loader,
    trust_as_template,
)

OPTIONS = sorted([*argument_spec(), "login_token", "session_id"])
SECRETS = ("store_password", "store_key")
OMITTED = trust_as_template("{{ nosuch | default(omit) }}")


def store_at(listener: socket.socket) -> str:
    """Return the URL of a Redis store at a listener."""
    return f"redis://127.0.0.1:{listener.getsockname()[1]}"


def test_the_tests_of_this_file_cover_all_options():
    assert set(loader.lookup_loader.get(NAME).option_definitions) == {*OPTIONS, "_terms"}


def test_the_documentation_names_the_variable_of_each_option():
    options = dict(loader.lookup_loader.get(NAME).option_definitions)
    del options["_terms"]
    assert {name: option["vars"] for name, option in options.items()} == {
        name: [{"name": variable}] for name, variable in VARIABLE_OF.items()
    }


# Facts


def with_facts(**facts: t.Any) -> dict[str, t.Any]:
    """Return the variables of a host that returned facts."""
    return {**facts, "ansible_facts": facts}


@pytest.mark.parametrize("option", OPTIONS)
def test_no_option_can_be_a_fact_of_the_host(runner, option):
    token = runner.start()
    fact = f"wuying_{option}"
    assert f"{fact} is a fact of the host" in runner.failure_of("alice", variables=with_facts(**{fact: "sesame"}))
    given = runner.options.get(option)
    message = runner.failure_of("alice", variables=with_facts(**{fact: "sesame"}), **{option: given} if given else {})
    assert "InvalidOption" in message
    assert "sesame" not in message
    assert runner.look_up("alice", variables={"ansible_facts": {"ansible_local": {fact: "sesame"}}}) == [token]
    assert runner.requests() == 0


def test_a_fact_that_redefines_omit_is_refused(runner):
    assert "omit is a fact of the host" in runner.failure_of("alice", variables=with_facts(omit="sesame"))


@pytest.mark.parametrize(
    "value", [{"changed": True}, {"failed": False}, {"ansible_facts": {}}, "sesame", ["sesame"], 7]
)
def test_facts_that_another_variable_hides_are_refused(runner, value):
    message = runner.failure_of("alice", variables={"wuying_store": "sesame", "ansible_facts": value})
    assert "ansible_facts does not contain the facts of the host" in message
    assert "sesame" not in message


def test_other_facts_do_no_harm(runner):
    token = runner.start()
    variables = {**with_facts(hostname="sesame", wuying="x", wuying_other="y"), "wuying_region_id": "cn-hangzhou"}
    assert runner.look_up("alice", variables=variables, region_id=None) == [token]
    assert runner.look_up("alice", variables={"ansible_facts": None}) == [token]


# One origin for a store and its secrets


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("by", ["keyword", "variable", "ansible.cfg"])
def test_a_secret_in_the_environment_is_not_sent_to_another_store(runner, listener, monkeypatch, configure, name, by):
    monkeypatch.setenv(f"WUYING_TOKEN_{name.upper()}", "sesame")
    store = store_at(listener)
    if by == "ansible.cfg":
        configure(store=store)
    given = {"store": store} if by == "keyword" else {"store": None}
    message = runner.failure_of("alice", variables={"wuying_store": store} if by == "variable" else {}, **given)
    assert f"WUYING_TOKEN_{name.upper()} is set, but" in message
    assert "sesame" not in message


def test_the_environment_precedes_ansible_cfg(runner, monkeypatch, configure, tmp_path):
    token = runner.start()
    configure(store=str(tmp_path / "elsewhere"), store_username="sesame")
    assert "NoLoginToken" in runner.failure_of("alice", store=None)
    monkeypatch.setenv("WUYING_TOKEN_STORE", str(runner.store))
    monkeypatch.setenv("WUYING_TOKEN_STORE_USERNAME", "u")
    assert runner.look_up("alice", store=None) == [token]
    monkeypatch.setenv("WUYING_TOKEN_STORE", "")
    assert "NoLoginToken" in runner.failure_of("alice", store=None)


def test_a_store_and_its_secrets_can_come_from_variables(runner, listener, monkeypatch):
    monkeypatch.setenv("WUYING_TOKEN_STORE", store_at(listener))
    monkeypatch.setenv("WUYING_TOKEN_STORE_PASSWORD", "sesame")
    token = runner.start()
    variables = {"wuying_store": str(runner.store), "wuying_store_password": "own"}
    assert runner.look_up("alice", store=None, variables=variables) == [token]


def test_an_empty_key_in_the_environment_is_named(runner, monkeypatch):
    monkeypatch.setenv("WUYING_TOKEN_STORE_KEY", "")
    assert "WUYING_TOKEN_STORE_KEY is set and empty" in runner.failure_of("alice")


# The configuration file


def test_the_configuration_file_is_read_once_for_each_process(runner, configure, monkeypatch):
    token = runner.start()
    configure(timeout="11", retries="2")
    manager, asked = importlib.import_module("ansible.constants").config, []
    read = manager.get_config_value

    def read_and_record(name, *arguments, **keywords):
        asked.append(name)
        return read(name, *arguments, **keywords)

    monkeypatch.setattr(manager, "get_config_value", read_and_record)
    for _turn in range(2):
        asked.clear()
        assert runner.look_up("alice", retries=None, variables={"wuying_deadline": 7}) == [token]
        counts = {name: asked.count(name) for name in ("timeout", "retries", "deadline", "store")}
        if not _turn:
            assert counts == {"timeout": 1, "retries": 1, "deadline": 1, "store": 0}
    assert counts == {"timeout": 0, "retries": 0, "deadline": 1, "store": 0}


def test_an_invalid_value_in_ansible_cfg_is_an_error_each_time_unless_it_is_overridden(runner, configure):
    token = runner.start()
    configure(timeout="sesame")
    for _turn in range(2):
        assert "timeout" in runner.failure_of("alice")
        assert runner.look_up("alice", timeout=10) == [token]
        assert runner.look_up("alice", variables={"wuying_timeout": 10}) == [token]


# Variables cannot disable encryption


@pytest.mark.parametrize("value", [False, "no", trust_as_template("{{ false }}")])
def test_a_variable_disables_verification_for_loopback_only(runner, value):
    token = runner.start()
    variables = {"wuying_validate_certs": value}
    assert runner.look_up("alice", variables=variables) == [token]
    refused = "wuying_validate_certs can disable the verification"
    assert refused in runner.failure_of("alice", endpoint="https://ecd.invalid", variables=variables)
    terms = ["alice", {"end_user_id": "bob", "endpoint": "https://ecd.invalid"}]
    assert refused in runner.failure_of(*terms, variables=variables)
    for allowed in ({"validate_certs": False}, {"variables": {"wuying_validate_certs": True}}):
        assert "NoLoginToken" in runner.failure_of("alice", endpoint="https://ecd.invalid", **allowed)


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_a_variable_names_no_store_without_tls_except_on_loopback(runner, monkeypatch, scheme):
    store, unreachable = f"{scheme}://redis.invalid", "StoreUnavailable|DeadlineExceeded"
    message = runner.failure_of("alice", store=None, variables={"wuying_store": store})
    assert "wuying_store names a Redis server without TLS" in message
    for allowed in ({"store": store}, {"store": None, "variables": {"wuying_store": f"{scheme}://127.0.0.1:1"}}):
        assert re.search(unreachable, runner.failure_of("alice", deadline=0.5, **allowed))
    monkeypatch.setenv("WUYING_TOKEN_STORE", store)
    for same in ({}, {"wuying_store": store}):
        assert re.search(unreachable, runner.failure_of("alice", deadline=0.5, store=None, variables=same))


# Values that were not given


@pytest.mark.parametrize("option", [name for name in OPTIONS if name != "store_key"])
def test_an_empty_value_of_any_option_is_not_given(runner, option):
    token = runner.start()
    related = ("access_key_id", "access_key_secret") if option in ("access_key_id", "access_key_secret") else (option,)
    plain = {**runner.options, "end_user_id": "alice"}
    for empty in ("", None, OMIT, trust_as_template("{{ none }}"), OMITTED):
        # An empty keyword leaves the variable in force, and an empty variable the rest.
        variables = {f"wuying_{name}": plain[name] for name in related if name in plain}
        if empty in ("", None, OMIT):
            keywords = dict.fromkeys(related, empty)
            assert runner.look_up("alice", variables=variables, **keywords) == [token]
        assert runner.look_up("alice", variables={f"wuying_{name}": empty for name in related}) == [token]


@pytest.mark.parametrize("option", ["ca_path", "store_ca_path", "proxy", "directory_id", "validate_certs"])
def test_an_empty_value_in_ansible_cfg_is_not_given(runner, configure, option):
    token = runner.start()
    configure(**{option: ""})
    assert runner.look_up("alice") == [token]


def test_an_empty_ca_path_is_not_the_current_directory(runner, monkeypatch):
    seen = []
    wiring = importlib.import_module("ansible_collections.wuying.workspace.plugins.module_utils._plugin.wiring")
    read = wiring._read_settings

    def read_and_record(get_option):
        seen.append(read(get_option))
        return seen[-1]

    monkeypatch.setattr(wiring, "_read_settings", read_and_record)
    runner.start(variables={"wuying_ca_path": ""}, ca_path="")
    assert [settings["ca_path"] for settings in seen] == [None]


@pytest.mark.parametrize("value", ["", [], [""], trust_as_template("{{ ['', ''] | select | list }}")])
def test_an_empty_store_key_is_an_error(runner, value):
    given = [{"variables": {"wuying_store_key": value}}]
    if value != trust_as_template("{{ ['', ''] | select | list }}"):
        given.append({"store_key": value})
    for each in given:
        assert "store_key is empty" in runner.failure_of("alice", **each)


def test_a_null_element_of_store_key_is_an_error(runner):
    assert "store_key is empty" in runner.failure_of("alice", store_key=["sesame", None])


def test_a_null_or_omitted_store_key_is_not_given(runner):
    token = runner.start()
    assert runner.look_up("alice", store_key=None) == [token]
    assert runner.look_up("alice", variables={"wuying_store_key": OMITTED}) == [token]


def test_empty_values_of_a_term_are_not_given(runner):
    token = runner.start()
    names = ("region_id", "client_id", "office_site_id", "directory_id", "session_id", "endpoint", "login_token")
    for empty in ("", None, OMIT):
        assert runner.look_up({"end_user_id": "alice", **dict.fromkeys(names, empty)}) == [token]
    assert runner.look_up({"end_user_id": ""}, end_user_id="alice") == [token]
    assert runner.requests() == 0


def test_integers_are_text(runner):
    token = runner.start("1001")
    assert runner.look_up(1001) == runner.look_up([1001]) == runner.look_up({"end_user_id": 1001}) == [token]
    issued = runner.emulator.issue("alice", client_id="7", directory_id="8")
    current = runner.look_up("alice", client_id=7, variables={"wuying_directory_id": 8}, login_token=issued)
    assert runner.look_up("alice", client_id="7", directory_id="8") == current
    assert runner.look_up({"end_user_id": "alice", "client_id": 7, "directory_id": 8}) == current


@pytest.mark.parametrize("value", [f"x{OMIT}", "x<<Omit>>"])
def test_omit_as_a_part_of_a_value_is_an_error(runner, value):
    for given in ({"client_id": value}, {"client_id": None, "variables": {"wuying_client_id": value}}):
        assert "client_id contains the value of omit" in runner.failure_of("alice", **given)
    assert "client_id contains the value of omit" in runner.failure_of({"end_user_id": "alice", "client_id": value})
    assert "end_user_id contains the value of omit" in runner.failure_of(value)


# Secrets are registered first


@pytest.fixture(name="registered")
def fixture_registered(monkeypatch):
    """Return a list of the secrets that the lookup registers."""
    registered: list[str] = []
    result = importlib.import_module("ansible_collections.wuying.workspace.plugins.module_utils._plugin.result")

    def register(text):
        registered.append(text)
        return text

    monkeypatch.setattr(result, "register_secret", register)
    return registered


def test_secrets_are_registered_before_anything_can_fail(runner, registered):
    secrets = {
        **{name: f"sesame-{name}" for name in ("login_token", "access_key_secret", "security_token", "store_password")},
        "store_key": ["sesame-key1", "sesame-key2"],
    }
    term = {"end_user_id": "bob", "login_token": "sesame-term"}
    runner.failure_of([term], "alice", nosuch="x", **secrets)
    assert {text for text in registered if text.startswith("sesame")} == {
        *(value for value in secrets.values() if isinstance(value, str)),
        *secrets["store_key"],
        "sesame-term",
    }


def test_secrets_in_variables_and_the_environment_are_registered(runner, registered, monkeypatch):
    monkeypatch.setenv("WUYING_TOKEN_STORE", str(runner.store))
    monkeypatch.setenv("WUYING_TOKEN_STORE_PASSWORD", "sesame-password")
    runner.failure_of("alice", variables={"wuying_login_token": "sesame token"})
    assert {"sesame-password", "sesame token"} <= set(registered)
