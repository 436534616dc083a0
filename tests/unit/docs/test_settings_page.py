# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables of the settings page are generated from the documentation of the plugins.

To write them, run: WRITE_TABLES=1 make units ARGS=tests/unit/docs/test_settings_page.py
To add a setting, first add a row with its name to one of the tables.
"""

from __future__ import annotations

import os
import re
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.wuying.workspace.plugins.doc_fragments import service, session, store
from ansible_collections.wuying.workspace.plugins.lookup import wuying_login_token as lookup
from ansible_collections.wuying.workspace.plugins.module_utils._plugin import argument_spec, credentials, store_options
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_token as one
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_token_info as info
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_tokens as many

Option = t.Dict[str, t.Any]

PAGE = Path(__file__).parents[3] / "docs/docsite/rst/guide_settings.rst"
PLUGINS = {"one": one, "many": many, "info": info, "lookup": lookup}
FRAGMENTS = {"session": session, "store": store, "service": service}
VARIABLES = {**store_options.VARIABLES, **dict(zip(credentials.OPTIONS, credentials.VARIABLES))}
ROW = re.compile(r"^   \* - ``(\w+)``.*\n(?:     .*\n)*", re.M)
NOT_SET = re.compile(r"If (?:not|neither is|none of them is) set, (.*)\.", re.S)
ENVIRONMENT = "environment variable"


def read_options(plugin: t.Any) -> dict[str, Option]:
    """Return the options of a plugin, including those of its documentation fragments."""
    documentation = yaml.safe_load(plugin.DOCUMENTATION)
    layers = [documentation["options"]]
    for name in documentation["extends_documentation_fragment"]:
        fragment, _dot, section = name.removeprefix("wuying.workspace.").partition(".")
        if fragment in FRAGMENTS:
            text = getattr(FRAGMENTS[fragment].ModuleDocFragment, section.upper() or "DOCUMENTATION")
            layers.append(yaml.safe_load(text)["options"])
    options: dict[str, Option] = {}
    for layer in reversed(layers):  # as ansible-core does, the first one wins
        for name, option in layer.items():
            options[name] = {**options.get(name, {}), **option}
    options.pop("_terms", None)
    return options


OPTIONS = {name: read_options(plugin) for name, plugin in PLUGINS.items()}
SETTINGS = sorted({name for options in OPTIONS.values() for name in options})


def describe(name: str) -> list[str]:
    """Return the cells of a setting."""
    users = {plugin: options[name] for plugin, options in OPTIONS.items() if name in options}
    in_lookup = users.get("lookup", {})
    return [
        f"``{name}`` *secret*" if name in argument_spec.SECRETS else f"``{name}``",
        "all" if len(users) == len(PLUGINS) else ", ".join(users),
        describe_default(users),
        "yes" if in_lookup.get("vars") else "–",
        "yes" if in_lookup.get("ini") else "–",
        describe_environment(name, users),
    ]


def describe_default(users: dict[str, Option]) -> str:
    """Return what applies if a setting is not set: its default, or what its documentation says."""
    if next(iter(users.values())).get("required"):
        return "Required"
    defaults: dict[str, list[str]] = {}
    for plugin, option in users.items():
        if option.get("default") is not None:
            defaults.setdefault(str(option["default"]).lower().removesuffix(".0"), []).append(plugin)
    if defaults:
        usual = max(defaults, key=lambda value: len(defaults[value]))
        others = [f"``{value}`` for *{'*, *'.join(defaults[value])}*" for value in defaults if value != usual]
        return "; ".join([f"``{usual}``", *others])
    texts = [text for text in find_texts(users) if ENVIRONMENT not in text]
    text = re.sub(r"\b[A-Z]\(([^)]+)\)", r"``\1``", texts[0]) if texts else "–"
    return text[0].upper() + text[1:]


def find_texts(users: dict[str, Option]) -> list[str]:
    """Return the paragraphs that say what applies if a setting is not set."""
    paragraphs = [paragraph for option in users.values() for paragraph in option["description"]]
    return [found[1] for paragraph in paragraphs if (found := NOT_SET.match(paragraph))]


def describe_environment(name: str, users: dict[str, Option]) -> str:
    """Return the environment variables that a setting is read from, and the plugins that read them if not all do."""
    if name in VARIABLES:
        return f"``{VARIABLES[name]}``"
    variables: dict[str, list[str]] = {}
    for plugin, option in users.items():
        for text in find_texts({plugin: option}):
            for variable in re.findall(r"\bE\((\w+)\)", text) if ENVIRONMENT in text else ():
                variables.setdefault(variable, []).append(plugin)
    cells = [
        f"``{variable}``" if len(plugins) == len(users) else f"``{variable}`` for *{'*, *'.join(plugins)}*"
        for variable, plugins in variables.items()
    ]
    return ", ".join(cells) or "–"


def render_row(name: str) -> str:
    """Return the row of a setting."""
    first, *others = describe(name)
    return f"   * - {first}\n" + "".join(f"     - {cell}\n" for cell in others)


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    written = ROW.sub(lambda row: render_row(row[1]), page)
    if os.environ.get("WRITE_TABLES"):
        PAGE.write_text(written, encoding="utf-8")
    elif page != written:
        pytest.fail(f"The tables are not up to date. {(__doc__ or '').splitlines()[2]}")


def test_each_setting_has_one_row() -> None:
    assert sorted(ROW.findall(PAGE.read_text(encoding="utf-8"))) == SETTINGS
    assert len(SETTINGS) > 30


@pytest.mark.parametrize("name", [name for name in OPTIONS["lookup"] if name not in argument_spec.LOGIN_SECRETS])
def test_variables_and_keys_of_the_lookup_have_the_names_that_the_page_says(name: str) -> None:
    option = OPTIONS["lookup"][name]
    assert [variable["name"] for variable in option["vars"]] == [f"wuying_{name}"]
    expected = [] if name in argument_spec.SECRETS else [{"section": "wuying_login_token_lookup", "key": name}]
    assert option.get("ini", []) == expected


@pytest.mark.parametrize("name", VARIABLES)
def test_the_documentation_names_the_environment_variables_of_the_code(name: str) -> None:
    texts = str([option["description"] for options in OPTIONS.values() for option in options.values()])
    assert f"E({VARIABLES[name]})" in texts


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("deadline", ["``deadline``", "all", "``60``; ``900`` for *many*", "yes", "yes", "–"]),
        ("region_id", ["``region_id``", "all", "Required", "yes", "yes", "–"]),
        (
            "store_key",
            ["``store_key`` *secret*", "all", "Records are not encrypted", "yes", "–", "``WUYING_TOKEN_STORE_KEY``"],
        ),
        (
            "login_token",
            ["``login_token`` *secret*", "one, lookup", "–", "yes", "–", "``WUYING_LOGIN_TOKEN`` for *one*"],
        ),
        ("state", ["``state``", "one", "``present``", "–", "–", "–"]),
    ],
)
def test_cells_are_read_from_the_documentation(name: str, cells: list[str]) -> None:
    assert describe(name) == cells
