# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the tests of the lookup."""

from __future__ import annotations

import sys
import typing as t

import pytest

PACKAGE = "ansible_collections"


@pytest.fixture(autouse=True, scope="module")
def _collections():
    """Have Ansible find this collection, where the runner of the tests does not see to it."""
    # Imported here, since the tests are skipped where there is no controller.
    from ansible.plugins import loader
    from ansible.utils.collection_loader import AnsibleCollectionConfig

    from ansible_collections.wuying.workspace.tests.unit.plugins.lookup.lookup_house import ROOT

    if AnsibleCollectionConfig.collection_finder is not None:
        yield
        return
    plain = {name: sys.modules[name] for name in sys.modules if name.startswith(PACKAGE)}
    for name in plain:
        del sys.modules[name]
    loader.init_plugin_loader([str(ROOT)])
    yield
    t.cast(t.Any, AnsibleCollectionConfig.collection_finder)._remove()
    # What Ansible has loaded must not be mixed with what other tests have: classes would be there twice.
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]
    sys.modules.update(plain)


@pytest.fixture(name="house")
def fixture_house(emulator, tmp_path):
    """Return a house with an empty store."""
    from ansible_collections.wuying.workspace.tests.unit.plugins.lookup.lookup_house import House

    return House(emulator, tmp_path)


@pytest.fixture(name="warnings")
def fixture_warnings(monkeypatch):
    """Return a list of the warnings that Ansible shows."""
    from ansible.utils.display import Display

    shown: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda _display, text, *_args, **_kwargs: shown.append(text))
    return shown


@pytest.fixture(name="configure")
def fixture_configure(monkeypatch, tmp_path):
    """Return a function that has ``ansible.cfg`` give options to the lookup."""
    from ansible import constants

    def configure(**options: t.Any) -> None:
        lines = [f"{name} = {value}\n" for name, value in options.items()]
        path = tmp_path / "ansible.cfg"
        path.write_text("[wuying_login_token_lookup]\n" + "".join(lines), encoding="utf-8")
        manager = t.cast(t.Any, constants).config
        monkeypatch.setattr(manager, "_config_file", str(path))
        monkeypatch.delitem(manager._parsers, str(path), raising=False)

    return configure
