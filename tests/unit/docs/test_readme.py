# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""README is short, begins with the demo and the tests, and names everything that the collection contains."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.+)$", README, re.M)


def find_contents() -> set[str]:
    """Return the names of all modules, lookups, playbooks and roles."""
    files = [path for kind in ("modules", "lookup") for path in (ROOT / "plugins" / kind).glob("*.py")]
    folders = [path.parent for path in ROOT.glob("roles/*/tasks")]
    return {path.stem for path in (*files, *ROOT.glob("playbooks/*.yml"), *folders)}


def test_readme_has_at_most_120_lines() -> None:
    assert len(README.splitlines()) <= 120


def test_the_first_command_is_the_demo_and_the_second_one_runs_the_tests() -> None:
    assert COMMANDS[:2] == ["make demo", "make ci"]
    assert re.search(r"^exec make (?:--\S+ )*ci\b", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.M)


def test_readme_names_each_module_lookup_playbook_and_role() -> None:
    names = set(re.findall(r"`(?:wuying\.workspace\.)?(\w+)`", README))
    assert len(find_contents()) >= 8
    assert find_contents() - names == set()


def test_the_first_screen_shows_yaml_the_demo_and_the_status() -> None:
    screen = "\n".join(README.split("-->", 1)[1].splitlines()[:45])
    assert all(text in screen for text in ("```yaml", "**You need**", "**It does not**", "**Status:**", "$ make demo"))
