# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the Makefile runs: ansible-test and the checks of antsibull-nox, and an honest sum of both.

Started by run.sh, which finds the Pythons at hand and passes them in PYTHONS, newest first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from . import here, matrix, stages
from .counts import Count
from .documentation import build_site
from .environments import (
    PYTHONS,
    ROOT,
    Core,
    locked,
    make_core,
    provide_bootstrap,
    provide_key_pair,
    say,
    write_pip_configuration,
)

Stage = Callable[[Core, Sequence[str]], Count]

TEST: dict[str, Stage] = {
    "checks": stages.checks,
    "sanity": stages.sanity,
    "units": stages.units,
    "integration": stages.integration,
}
"""What `make test` does, in this order."""
STAGES: dict[str, Stage] = {
    **TEST,
    "coverage": stages.coverage,
    "docs": build_site,
    "format": stages.reformat,
    "fuzz": here.fuzz,
}
ERRANDS: dict[str, Callable[[Core, Sequence[str]], int]] = {
    "demo": here.demo,
    "benchmark": here.benchmark,
}
"""What ends with something else than a count of tests."""


def main() -> int:
    """Do what was asked for; end with one line that sums up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", default="", metavar="VERSION", help="such as 2.18 or 2.22.0rc1")
    parser.add_argument("job", choices=["test", "test-all", *STAGES, *ERRANDS])
    asked, arguments = parser.parse_known_args()
    if " " in str(ROOT) and asked.job not in ERRANDS:
        raise SystemExit(f"ansible-test does not work in a folder with a space in its path: {ROOT}")
    if asked.job == "test-all":
        return matrix.test_all()
    if asked.job in ERRANDS:
        return ERRANDS[asked.job](prepare(asked.core, "errands"), arguments)
    jobs = TEST if asked.job == "test" else {asked.job: STAGES[asked.job]}
    results = {name: run_stage(name, stage, asked.core, arguments) for name, stage in jobs.items()}
    say("\n===== summary =====")
    total = Count()
    for name, count in results.items():
        say(f"{name:12} {count}")
        total = total.plus(count)
    say(str(total))
    return 1 if total.failed else 0


def run_stage(name: str, stage: Stage, wanted: str, arguments: Sequence[str]) -> Count:
    """Run a stage, once no other run in this checkout is at it."""
    with locked(f"{name}-{wanted}" if name == "integration" else name):
        core = prepare(wanted, name)
        say(f"\n===== {name} =====")
        say(f"ansible-core {core.release} with Python {core.python}; at hand: {', '.join(PYTHONS)}")
        start = time.monotonic()
        count = stage(core, arguments)
        say(f"{name}: {count} ({time.monotonic() - start:.0f} s)")
    return count


def prepare(wanted: str, purpose: str) -> Core:
    """Give an ansible-core that has what it needs to install more."""
    core = make_core(wanted, purpose)
    with locked("home"):
        write_pip_configuration(core)
        provide_bootstrap(core)
        provide_key_pair()
    return core


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} failed, see above.")
