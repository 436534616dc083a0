# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store and its secrets have one origin."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import Spec, argument_spec
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.store_options import (
    VARIABLES,
    add_environment,
    is_exposed,
)

OURS, OTHER = "rediss://ours.example.com", "redis://127.0.0.1:6379"
SECRETS = {"store_password": "sesame-password", "store_key": "sesame-key"}
NOTHING: dict[str, t.Any] = dict.fromkeys(VARIABLES)


@pytest.fixture(name="in_environment")
def fixture_in_environment(monkeypatch):
    """Return a function that sets options in the environment."""

    def in_environment(**options: str) -> None:
        for name, value in options.items():
            monkeypatch.setenv(VARIABLES[name], value)

    return in_environment


def refused(**options: t.Any) -> str:
    """Return the message of the error that options cause."""
    with pytest.raises(OptionError) as caught:
        add_environment({**NOTHING, **options})
    assert "sesame" not in caught.value.message
    return caught.value.message


def test_each_option_has_a_variable_and_no_other_way_into_the_environment():
    spec: Spec = argument_spec()
    assert set(VARIABLES) == {name for name in spec if name.startswith("store")} - {"store_ca_path"}
    assert not [name for name, option in spec.items() if "fallback" in option]


def test_nothing_is_added_without_an_environment():
    options = {"store": OTHER, "store_username": "u", "store_password": "p", "store_key": ["k"]}
    assert add_environment(options) == options
    assert add_environment(NOTHING) == NOTHING


@pytest.mark.parametrize("store", [None, OURS])
def test_a_store_in_the_environment_is_completed_from_it(in_environment, store):
    in_environment(store=OURS, store_username="u", store_password="p", store_key="k1, k2")
    expected = {"store": OURS, "store_username": "u", "store_password": "p", "store_key": ["k1", "k2"]}
    assert add_environment({**NOTHING, "store": store}) == expected


def test_the_default_directory_is_completed_from_the_environment(in_environment):
    in_environment(**SECRETS)
    assert add_environment(NOTHING) == {**NOTHING, **SECRETS, "store_key": ["sesame-key"]}


@pytest.mark.parametrize("name", sorted(set(VARIABLES) - {"store"}))
def test_an_option_overrides_the_environment_and_joins_its_store(in_environment, name):
    in_environment(store=OURS, store_username="u", **SECRETS)
    assert add_environment({**NOTHING, name: "own"})[name] == "own"


@pytest.mark.parametrize("name", sorted(set(VARIABLES) - {"store_key"}))
def test_an_empty_variable_is_not_set(in_environment, name):
    in_environment(**{name: ""})
    assert add_environment(NOTHING) == NOTHING


@pytest.mark.parametrize("in_env", [OURS, None, "none", "/var/lib/tokens"])
@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_in_the_environment_never_joins_another_store(in_environment, name, in_env):
    in_environment(**{name: SECRETS[name]}, **({"store": in_env} if in_env else {}))
    message = refused(store=OTHER)
    assert VARIABLES[name] in message
    assert VARIABLES["store"] in message
    assert f"Pass {name} together with store, or name the store in WUYING_TOKEN_STORE instead." in message


def test_a_user_name_in_the_environment_never_joins_another_store(in_environment):
    in_environment(store=OURS, store_username="u")
    assert add_environment({**NOTHING, "store": OTHER}) == {**NOTHING, "store": OTHER}


def test_a_key_in_the_environment_is_not_dropped_for_another_directory(in_environment):
    in_environment(store_key="sesame-key")
    assert VARIABLES["store_key"] in refused(store="/var/lib/tokens")


@pytest.mark.parametrize(
    ("store", "secrets"),
    [("none", SECRETS), ("/var/lib/tokens", {"store_password": "sesame-password"})],
)
def test_a_secret_that_the_store_does_not_need_is_ignored(in_environment, store, secrets):
    in_environment(**secrets)
    assert add_environment({**NOTHING, "store": store}) == {**NOTHING, "store": store}


def test_another_store_with_its_own_secrets_ignores_the_environment(in_environment):
    in_environment(store=OURS, store_username="u", **SECRETS)
    own = {"store": OTHER, "store_username": None, "store_password": "own", "store_key": ["own"]}
    assert add_environment(own) == own


@pytest.mark.parametrize("options", [{}, {"store": OTHER}, {"store": "/var/lib/tokens"}])
def test_an_empty_key_in_the_environment_is_refused(in_environment, options):
    in_environment(store_key="")
    assert "WUYING_TOKEN_STORE_KEY is set and empty" in refused(**options)


@pytest.mark.parametrize("options", [{"store": "none"}, {"store_key": ["own"]}])
def test_an_empty_key_in_the_environment_that_is_not_used_is_ignored(in_environment, options):
    in_environment(store_key="")
    assert add_environment({**NOTHING, **options}) == {**NOTHING, **options}


@pytest.mark.parametrize(
    ("store", "exposed"),
    [
        ("redis://redis.example.com", True),
        ("redis://192.0.2.1:6379/1", True),
        ("redis://[2001:db8::1]", True),
        ("redis://127.0.0.1.example.com", True),
        ("redis+cluster://127.0.0.1,redis.example.com", True),
        ("redis+sentinel://sentinel.example.com/main", True),
        ("redis://LOCALHOST", False),
        ("redis://127.8.9.10:7000", False),
        ("redis://[0:0::1]", False),
        ("redis+cluster://localhost,127.0.0.1", False),
        ("redis+sentinel://[::1]:26379/main", False),
        ("rediss://redis.example.com", False),
        ("rediss+cluster://redis.example.com", False),
        ("rediss+sentinel://redis.example.com/main", False),
        ("unix:///run/redis.sock", False),
        ("/var/lib/tokens", False),
        ("none", False),
    ],
)
def test_a_store_is_exposed_without_tls_except_on_loopback(store, exposed):
    assert is_exposed(store) == exposed
