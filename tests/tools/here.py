# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs with the collection as it is in this checkout: the demo, the benchmark, and fuzzing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .counts import Count, count_junit, settle
from .environments import BUILD, ROOT, Core, environment, install

FUZZING = ("test_fuzz", "test_fuzz_terms", "test_promise_stateful", "test_crashes")


def collection_environment(core: Core) -> dict[str, str]:
    """Give the variables for Ansible with a collection path that leads here, and a configuration of its own."""
    link = BUILD / "path/ansible_collections/wuying/workspace"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(ROOT)
    configuration = BUILD / "path/ansible.cfg"
    configuration.write_text("[inventory]\nunparsed_warning = false\n")
    return {
        **environment(core),
        "ANSIBLE_COLLECTIONS_PATH": str(BUILD / "path"),
        "ANSIBLE_CONFIG": str(configuration),
        "ANSIBLE_INVENTORY": os.devnull,
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }


def demo(core: Core, _arguments: Sequence[str]) -> int:
    """Play the demo: against the emulator or, where the user's login token is set, as the user against the service."""
    install(core.venv, "requests", "cryptography")
    own = {}
    if os.environ.get("WUYING_LOGIN_TOKEN"):
        names = ("WUYING_", "ALIBABA_CLOUD_", "XDG_STATE_HOME")
        own = {name: value for name, value in os.environ.items() if name.startswith(names)}
        own["HOME"] = str(Path.home())  # the store has the only copy of the next token
    play = (core.venv / "bin/python", core.venv / "bin/ansible-playbook", "wuying.workspace.demo")
    variables = {**collection_environment(core), **own}
    return subprocess.run(play, check=False, env=variables).returncode


def benchmark(core: Core, arguments: Sequence[str]) -> int:
    """Print the table of the benchmark."""
    folder = ROOT / "tests/benchmark"
    install(core.venv, "--requirement", str(folder / "requirements.txt"))
    command = (str(core.venv / "bin/python"), str(folder / "benchmark.py"), *arguments)
    return subprocess.run(command, check=False, env=collection_environment(core)).returncode


def fuzz(core: Core, arguments: Sequence[str]) -> Count:
    """Run the tests that make up their input, each with as much of it as is good for a night, and other input each time."""
    install(core.venv, "pytest", "pytest-xdist", "-r", str(ROOT / "tests/unit/requirements.txt"))
    variables = {
        **collection_environment(core),
        "FUZZ": "nightly",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(BUILD / "hypothesis"),
        "PYTHONPATH": str(BUILD / "path"),
    }
    tree = BUILD / "path/ansible_collections/wuying/workspace"
    junit = BUILD / "fuzz.xml"
    options = ("--import-mode=importlib", "-c", os.devnull, "--rootdir", tree)
    # What tests print is shown: how many of their kills came in the open window.
    output = ("--quiet", "-rP", "--junit-xml", junit, "--hypothesis-show-statistics")
    command = (core.venv / "bin/python", "-m", "pytest", "-p", "no:cacheprovider", "-n", "auto")
    paths = [path for name in FUZZING for path in tree.glob(f"tests/unit/**/{name}.py")]
    # Each folder by itself: once Ansible has loaded a plugin, the modules of the collection are there twice.
    folders = {path.parent: sorted(p for p in paths if p.parent == path.parent) for path in paths}
    count, succeeded = Count(), True
    for chosen in [arguments] if arguments else folders.values():
        junit.unlink(missing_ok=True)
        ended = subprocess.run(
            (*command, *options, *output, *chosen), check=False, cwd=tree, env=variables
        )
        count = count.plus(count_junit([junit] if junit.exists() else []))
        succeeded = succeeded and ended.returncode == 0
    return settle("fuzz", count, succeeded)
