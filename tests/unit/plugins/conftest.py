# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Import the shared code once, before ansible-test runs each test in a fork of this process."""

from __future__ import annotations

import importlib
from pathlib import Path

ROOT = Path(__file__).parents[3]


def pytest_collection_finish() -> None:
    """Import all of module_utils. Otherwise each fork compiles what its test imports late, because Ansible's loader keeps no bytecode."""
    for path in sorted((ROOT / "plugins/module_utils").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        importlib.import_module(f"ansible_collections.wuying.workspace.{name}")
