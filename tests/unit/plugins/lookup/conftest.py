# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for the tests of the lookup."""

from __future__ import annotations

import sys
import typing as t

import pytest

PACKAGE = "ansible_collections"


@pytest.fixture(autouse=True, scope="module")
def _collections():
    """Make Ansible find this collection, unless the test runner has done so."""
    # Imported here, because the tests are skipped without a controller.
    from ansible.plugins import loader
    from ansible.utils.collection_loader import AnsibleCollectionConfig

    from ansible_collections.wuying.workspace.tests.unit.plugins.lookup.lookup_setup import ROOT

    if AnsibleCollectionConfig.collection_finder is not None:
        yield
        return
    plain = {name: sys.modules[name] for name in sys.modules if name.startswith(PACKAGE)}
    for name in plain:
        del sys.modules[name]
    loader.init_plugin_loader([str(ROOT)])
    yield
    t.cast(t.Any, AnsibleCollectionConfig.collection_finder)._remove()
    # Other tests must not use modules that Ansible loaded, because each class would exist twice.
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]
    sys.modules.update(plain)


@pytest.fixture(name="runner")
def fixture_runner(emulator, tmp_path):
    """Return a runner with an empty store."""
    from ansible_collections.wuying.workspace.tests.unit.plugins.lookup.lookup_setup import (
        LookupRunner,
    )

    return LookupRunner(emulator, tmp_path)


@pytest.fixture(name="warnings")
def fixture_warnings(monkeypatch):
    """Return a list that collects the warnings that Ansible shows."""
    from ansible.utils.display import Display

    shown: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda _display, text, *_args, **_kwargs: shown.append(text))
    return shown


@pytest.fixture(name="configure")
def fixture_configure(monkeypatch, tmp_path):
    """Return a function that sets options of the lookup in ``ansible.cfg``."""
    from ansible import constants

    def configure(**options: t.Any) -> None:
        lines = [f"{name} = {value}\n" for name, value in options.items()]
        path = tmp_path / "ansible.cfg"
        path.write_text("[wuying_login_token_lookup]\n" + "".join(lines), encoding="utf-8")
        manager = t.cast(t.Any, constants).config
        monkeypatch.setattr(manager, "_config_file", str(path))
        monkeypatch.delitem(manager._parsers, str(path), raising=False)

    return configure
