# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The site of the documentation."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from .counts import Count
from .environments import (
    BUILD,
    ROOT,
    Core,
    copy_collection,
    environment,
    install,
    make_venv,
    run,
    say,
)


def build_site(core: Core, _arguments: Sequence[str]) -> Count:
    """Build the site of the documentation, and see that its links lead somewhere."""
    tree = copy_collection(core, "docs")
    site = tree / "docs/site"
    venv = make_venv("docs", core.python)
    requirements = ("--requirement", str(site / "requirements.txt"))
    install(venv, f"ansible-core=={core.release}", *requirements)
    own = environment(core._replace(venv=venv))
    variables = {**own, "ANSIBLE_COLLECTIONS_PATH": str(tree.parents[2])}
    shutil.rmtree(BUILD / "docs", ignore_errors=True)
    rst, html = BUILD / "docs/rst", BUILD / "docs/html"
    rst.mkdir(mode=0o700, parents=True)
    python = venv / "bin/python"  # scripts name it by a path that may be too long for them
    generate = ("collection", "--cleanup=everything", "--use-current", "--fail-on-error")
    configuration = f"--config-file={site / 'antsibull-docs.cfg'}"
    if list((tree / "changelogs/fragments").glob("*.yml")):
        run(
            python,
            venv / "bin/antsibull-changelog",
            "release",
            "--update-existing",
            cwd=tree,
            env=variables,
        )
    command = (python, venv / "bin/antsibull-docs", configuration, *generate, f"--dest-dir={rst}")
    run(*command, "wuying.workspace", env=variables)
    shutil.copy2(site / "index.rst", rst)
    options = ("--quiet", "--fail-on-warning", "--keep-going", "--builder=html")
    folders = (f"--conf-dir={site}", f"--doctree-dir={BUILD / 'docs/doctrees'}", rst, html)
    run(python, "-m", "sphinx", *options, *folders, env=variables)
    run(sys.executable, Path(__file__).with_name("links.py"), html)
    say(f"The documentation is in {html.relative_to(ROOT)}/index.html")
    return Count(passed=1)
