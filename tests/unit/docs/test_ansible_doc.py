# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``ansible-doc`` lists short descriptions that differ, and says which options of the info module have no effect."""

from __future__ import annotations

import importlib
import typing as t
from pathlib import Path
from types import SimpleNamespace

import yaml

from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import argument_spec
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_token_info as info

ROOT = Path(__file__).parents[3]
PACKAGE = "ansible_collections.wuying.workspace.plugins"
SHOWN = 36
"""How many characters of a short description ``ansible-doc --list`` shows at 80 columns, beside the longest name."""
NO_EFFECT = "This option has no effect in this module."
STORE = {"store", "store_username", "store_password", "store_ca_path", "store_key"}


def read_short_descriptions() -> list[str]:
    """Return the short descriptions of all plugins."""
    paths = [path for kind in ("modules", "lookup") for path in sorted((ROOT / "plugins" / kind).glob("*.py"))]
    modules = [importlib.import_module(f"{PACKAGE}.{path.parent.name}.{path.stem}") for path in paths]
    return [yaml.safe_load(module.DOCUMENTATION)["short_description"] for module in modules]


def read_descriptions() -> dict[str, list[str]]:
    """Return the description of each option of the info module. As in ansible-core, the first one counts."""
    documentation = yaml.safe_load(info.DOCUMENTATION)
    options = {name: option["description"] for name, option in documentation["options"].items()}
    for name in documentation["extends_documentation_fragment"]:
        _namespace, _collection, file, *section = name.split(".")
        fragment = importlib.import_module(f"{PACKAGE}.doc_fragments.{file}").ModuleDocFragment
        text = getattr(fragment, section[0].upper() if section else "DOCUMENTATION")
        for option, value in yaml.safe_load(text)["options"].items():
            options.setdefault(option, value.get("description", []))
    return options


def test_short_descriptions_differ_and_are_shown_in_full() -> None:
    texts = read_short_descriptions()
    assert len(set(texts)) == len(texts) >= 4
    assert [text for text in texts if len(text) > SHOWN] == []


def test_an_option_of_the_info_module_without_effect_has_one_line_that_says_so(tmp_path: Path) -> None:
    read: set[str] = set()
    values = {"store": str(tmp_path / "store"), "deadline": 60.0, "refresh_before": 300}

    def get_option(name: str) -> t.Any:
        read.add(name)
        return values.get(name)

    module: t.Any = SimpleNamespace(params=SimpleNamespace(get=get_option))
    assert info.run(module)["sessions"] == []
    without_effect = {name for name, lines in read_descriptions().items() if lines[0].startswith(NO_EFFECT)}
    assert read & without_effect == set()
    assert {name for name, lines in read_descriptions().items() if name in without_effect and len(lines) > 1} == set()
    assert set(argument_spec(one_session=False)) - without_effect == {"refresh_before", "deadline", *STORE}
