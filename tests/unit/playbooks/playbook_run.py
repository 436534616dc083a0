# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a playbook of the collection with modules that return given results."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

PLAYBOOKS = Path(__file__).parents[3] / "playbooks"
COUNTS = (
    "total",
    "refreshed",
    "logged_in",
    "unchanged",
    "not_refreshed",
    "failed",
    "login_needed",
    "warned",
    "rekeyed",
)
STUB = """#!/usr/bin/python
# WANT_JSON
import json, os, sys
with open(sys.argv[1]) as file, open(os.environ["RESULTS"] + ".arguments", "w") as copy:
    arguments = json.load(file)
    json.dump(arguments, copy)
result = json.load(open(os.environ["RESULTS"]))["MODULE"]
print(json.dumps({**result, "invocation": {"module_args": arguments}}))
"""


def run_playbook(
    folder: Path, name: str, results: dict[str, t.Any], *arguments: str, **variables: t.Any
) -> subprocess.CompletedProcess[str]:
    """Run a playbook without a terminal, with the results of its modules by name, extra arguments and extra variables."""
    collection = folder / "ansible_collections/wuying/workspace"
    if not collection.exists():
        (collection / "plugins/modules").mkdir(parents=True)
        (collection / "playbooks").symlink_to(PLAYBOOKS)
    for module in results:
        (collection / f"plugins/modules/{module}.py").write_text(STUB.replace("MODULE", module))
    (folder / "results.json").write_text(json.dumps(results))
    return subprocess.run(
        (sys.executable, "-m", "ansible.cli.playbook", name, f"--extra-vars={json.dumps(variables)}", *arguments),
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_COLLECTIONS_PATH": str(folder),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_NOCOLOR": "1",
            "RESULTS": str(folder / "results.json"),
            "TZ": "Asia/Shanghai",  # Times are in UTC, whatever the time zone of the controller is.
        },
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def arguments_of(folder: Path) -> dict[str, t.Any]:
    """Return the options that the last module received. Raises :class:`FileNotFoundError` if none was called."""
    arguments: dict[str, t.Any] = json.loads((folder / "results.json.arguments").read_text())
    return arguments


def message_in(output: str) -> list[str]:
    """Return the lines of the message that a playbook displayed as a list."""
    found = re.search(r'"msg": (\[\n.*?\n    \])', output, re.DOTALL)
    lines: list[str] = json.loads(found[1]) if found else []
    return lines


def counted(**counts: int) -> dict[str, int]:
    """Return the counts of a result of ``wuying_login_tokens``."""
    return {**dict.fromkeys(COUNTS, 0), **counts}
