# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every supported ansible-core: its sanity tests, units and integration targets, three at a time."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from .counts import Count
from .environments import PYTHONS, ROOT, say

CORES = ("2.18", "2.19", "2.20", "2.21", "2.22.0rc1")
"""Oldest first."""
PYTHON_VERSIONS = tuple(f"3.{minor}" for minor in range(8, 16))
"""What these run with, on controllers or targets."""
AT_A_TIME = 3
EXCLUDED = tuple(f"--exclude={target}" for target in ("docs", "store_redis", "store_redis_killed"))
"""What runs with the oldest and the newest core only: it takes long, and no core has a part in it."""
LAST_LINES = 60
"""How much of a failed job's output is printed once more at the end of all."""
_COUNT = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped")


class Job(NamedTuple):
    """A stage for one ansible-core. None of those that run at the same time share an environment."""

    stage: str
    core: str = ""
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.stage, self.core, *self.arguments)).strip()


class End(NamedTuple):
    """How a job ended."""

    job: Job
    tests: Count
    seconds: float
    output: str


def test_all() -> int:
    """Run every job; print each one's output when it ends, that of failures again in the end, and a sum of all."""
    start = time.monotonic()
    say(f"Pythons at hand: {', '.join(PYTHONS)}")
    missing = [version for version in PYTHON_VERSIONS if version not in PYTHONS]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        ends = [end for queue in pool.map(run_queue, plan_queues()) for end in queue]
    for end in ends:
        if end.tests.failed:
            last_lines = "\n".join(end.output.splitlines()[-LAST_LINES:])
            say(f"\n########## once more, what {end.job} said last ##########\n{last_lines}")
    say("\n===== summary =====")
    total = Count()
    for end in ends:
        say(f"{end.job!s:32} {end.tests} ({end.seconds:.0f} s)")
        total = total.plus(end.tests)
    say(f"Not at hand, and so not tested with: Python {', '.join(missing) or 'none'}.")
    say(f"All of it took {(time.monotonic() - start) / 60:.0f} minutes.")
    say(str(total))
    return 1 if total.failed else 0


def plan_queues() -> list[list[Job]]:
    """Plan what comes one after the other, since it shares something; the longest queues come first.

    Each Python at hand runs the units once, with one of the cores.
    """
    targets = sorted(PYTHONS, key=lambda version: int(version.split(".")[1]))
    shares: dict[str, list[str]] = {core: [] for core in CORES}
    for number, version in enumerate(targets):
        # The oldest with the oldest: not every core runs with every Python.
        shares[CORES[number * len(CORES) // len(targets)]].append(version)
    units = [
        Job("units", core, tuple(f"--with={version}" for version in share))
        for core, share in shares.items()
    ]
    integration = [
        Job("integration", core, () if core in (CORES[0], CORES[-1]) else EXCLUDED)
        for core in reversed(CORES)
    ]
    sanity = [Job("sanity", core) for core in CORES]
    return [[Job("checks"), Job("docs"), *units], *([job] for job in integration), sanity]


def run_queue(jobs: Sequence[Job]) -> list[End]:
    """Run jobs one after the other."""
    return [run_job(job) for job in jobs]


def run_job(job: Job) -> End:
    """Run a job in a process of its own, and print what it printed."""
    start = time.monotonic()
    command = (sys.executable, "-m", "tools", f"--core={job.core}", job.stage, *job.arguments)
    ended = subprocess.run(
        command,
        check=False,
        cwd=ROOT / "tests",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    seconds = time.monotonic() - start
    say(f"\n########## {job} ##########\n{ended.stdout}")
    found = _COUNT.fullmatch(ended.stdout.rstrip().rpartition("\n")[2])
    count = Count(*map(int, found.groups())) if found else Count()
    if ended.returncode and not count.failed:
        count = count.plus(Count(failed=1))
    say(f"########## {job}: {count} ({seconds:.0f} s) ##########")
    return End(job, count, seconds, ended.stdout)
