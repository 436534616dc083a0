# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sessions of nox: the checks that antsibull-nox.toml describes, ansible-test, and what else CI checks.

`make` starts them with all that they need; `nox --list` shows them.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path

import antsibull_nox
import nox

CORES = ["2.18", "2.19", "2.20", "2.21", "2.22.0rc1"]
GUIDE = Path("docs/docsite/rst/guide_awx.rst")

antsibull_nox.load_antsibull_nox_toml()


@nox.session(name="ansible-test", python=False, default=False)
@nox.parametrize("stage", ["sanity", "units", "integration"])
@nox.parametrize("core", CORES)
def ansible_test(session: nox.Session, core: str, stage: str) -> None:
    """Run a stage of ansible-test for an ansible-core, as `make STAGE CORE=...` does."""
    command = ("sh", "tests/tools/run.sh", f"--core={core}", stage)
    session.run(*command, *session.posargs, external=True)


@nox.session(name="execution-environment", default=False)
def execution_environment(session: nox.Session) -> None:
    """Have ansible-builder accept the definition of the guide to AWX, and the requirements of the collection."""
    session.install("ansible-builder")
    folder = Path("build/execution-environment")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = re.search(
        r"``execution-environment\.yml``.*?\.\. code-block:: yaml\n\n(.*?)\n\n\S",
        GUIDE.read_text(),
        re.DOTALL,
    )
    if found is None:
        session.error(f"{GUIDE} has no definition of an execution environment.")
    definition = folder / "execution-environment.yml"
    definition.write_text(textwrap.dedent(found[1]) + "\n")
    command = ("ansible-builder", "create", "--file", definition, "--context", folder / "context")
    session.run(*map(str, command))
    session.run("ansible-builder", "introspect", "--user-pip=meta/ee-requirements.txt", str(folder))


if __name__ == "__main__":
    nox.main()
