# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings page agrees with the documentation of the plugins."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.wuying.workspace.plugins.doc_fragments import service, session, store
from ansible_collections.wuying.workspace.plugins.lookup import wuying_login_token as lookup
from ansible_collections.wuying.workspace.plugins.module_utils._plugin import argument_spec
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_token as one
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_token_info as info
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_tokens as many

PAGE = Path(__file__).parents[3] / "docs/docsite/rst/guide_settings.rst"
PLUGINS = {"one": one, "many": many, "info": info, "lookup": lookup}
FRAGMENTS = {"session": session, "store": store, "service": service}
SECRETS = set(argument_spec.SECRETS)
BY_ACCESS_KEY = {
    name: "ALIBABA_CLOUD_" + name.upper() for name in ("access_key_id", "access_key_secret", "security_token")
}


class Row(t.NamedTuple):
    """A row of one of the page's tables."""

    name: str
    secret: bool
    default: str
    plugins: set[str]


def read_rows() -> dict[str, Row]:
    """Return the rows of all tables by setting."""
    pattern = r"^ {3}\* - ``(\w+)``( \*secret\*)?\n {5}- (.+)\n {5}- (.+)\n"
    found = re.findall(pattern, PAGE.read_text(encoding="utf-8"), re.M)
    return {
        name: Row(
            name,
            bool(secret),
            default,
            set(PLUGINS) if plugins == "all" else set(plugins.split(", ")),
        )
        for name, secret, default, plugins in found
    }


def read_options(plugin: t.Any) -> dict[str, dict[str, t.Any]]:
    """Return the options of a plugin, including those of its documentation fragments."""
    documentation = yaml.safe_load(plugin.DOCUMENTATION)
    options: dict[str, dict[str, t.Any]] = {}
    for name in documentation["extends_documentation_fragment"]:
        fragment, _dot, section = name.removeprefix("wuying.workspace.").partition(".")
        if fragment in FRAGMENTS and not section:
            text = FRAGMENTS[fragment].ModuleDocFragment.DOCUMENTATION
            options.update(yaml.safe_load(text)["options"])
    for name, option in documentation["options"].items():
        options[name] = {**options.get(name, {}), **option}
    options.pop("_terms", None)
    return options


ROWS = read_rows()
OPTIONS = {name: read_options(plugin) for name, plugin in PLUGINS.items()}
SETTINGS = sorted({name for options in OPTIONS.values() for name in options})


def test_each_setting_has_a_row() -> None:
    assert sorted(ROWS) == SETTINGS
    assert len(ROWS) > 30


@pytest.mark.parametrize("name", SETTINGS)
def test_a_row_names_the_plugins_that_use_the_setting(name: str) -> None:
    assert ROWS[name].plugins == {plugin for plugin, options in OPTIONS.items() if name in options}
    assert ROWS[name].secret == (name in SECRETS)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_row_names_each_default(name: str) -> None:
    defaults = {
        str(options[name].get("default")).lower().removesuffix(".0") for options in OPTIONS.values() if name in options
    } - {"none"}
    named = re.findall(r"``([a-z]\w*)``|\b(\d+)\b", ROWS[name].default)
    if defaults:
        assert {text or number for text, number in named} == defaults
    else:
        assert not any(number for _text, number in named)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_row_names_each_environment_variable(name: str) -> None:
    texts = [str(options[name]["description"]) for options in OPTIONS.values() if name in options]
    variables = set(re.findall(r"\bE\((\w+)\)", " ".join(texts)))
    if name == "auth_method":  # its description names the variables of other options
        assert variables == set(BY_ACCESS_KEY.values())
        variables = set()
    if name in BY_ACCESS_KEY:
        variables = {BY_ACCESS_KEY[name]}
    assert set(re.findall(r"\b[A-Z_]{6,}\b", ROWS[name].default)) == variables
