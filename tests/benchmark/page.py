# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the measurements as a page of the documentation: plain reStructuredText, which a code host renders too."""

from __future__ import annotations

import math
import typing as t
from pathlib import Path

from ansible_collections.wuying.workspace.tests.benchmark import simulation
from ansible_collections.wuying.workspace.tests.benchmark.controller import Plan
from ansible_collections.wuying.workspace.tests.benchmark.fleet import Line
from ansible_collections.wuying.workspace.tests.benchmark.logins import Rates
from ansible_collections.wuying.workspace.tests.benchmark.tasks import Rate

LICENCE = "".join(f"  {line[2:]}" for line in Path(__file__).read_text(encoding="utf-8").splitlines(True)[:3])
HEAD = f"""\
..
{LICENCE}
..
  The benchmark writes this page and speed.svg: make benchmark ARGS=--write-docs

.. _ansible_collections.wuying.workspace.docsite.speed:

Performance of a fleet
======================

These figures were measured on a machine with two processors, which also runs the service's emulator. The stores are on its disk, and Redis syncs each
change to disk before it responds. Run ``make benchmark`` to measure your own machine. The
`README of the benchmark <../../../tests/benchmark/README.md>`__ explains the method.

Stale sessions in one task
--------------------------

The *ceiling* is the number of requests that Python's ``requests`` can send from one process to the same emulator, with as many connections. All requests are
prepared and signed beforehand. This test makes no decisions and stores nothing. A task uses three processes if ``max_parallel`` is 8 or more, two if it is
4, and one if it is 2, but at most one for each 100 due sessions. The ceiling also depends on ``max_parallel``, because more threads in one process wait
longer for each other.

.. figure:: speed.svg
   :alt: Two charts by the number of stale sessions in one task, for the directory store, Redis and the ceiling. The upper one shows sessions a second,
         the lower one seconds per 1,000 sessions. The table below has the values.
"""
FLEET = """
The table has the figures for ``max_parallel: 8``, and for 10,000 sessions also for other values. The memory is the total of all processes of the task. The
next column is the time that the same task takes when it runs again at once and finds all sessions current. It then sends no request, and loads no HTTP
library. The last column is the space that the store needs for a session, on the disk or in the memory of Redis.

"""
LOGINS = """
Lost sessions
-------------

If the service no longer accepts the tokens of a fleet, one task logs all sessions in again with their keep-alive tokens. These are the medians for fleets of
10,000 sessions that stay logged in. Their records are encrypted.

"""
CONTROLLERS = """
How many controllers
--------------------

One controller with two processors keeps 10,000 sessions current with the default ``max_parallel: 8``, and 100,000 with ``max_parallel: 64``.

A controller must refresh all sessions that are due before their tokens expire. A simulation in the repository of the collection finds how many controllers a
fleet needs. The table has its results for tokens that are valid for 15 minutes, with a run every 4 minutes and ``refresh_before: 450``. Each controller has
two processors and a directory with an equal part of the fleet. The latency of the service is 50 ms, and 1% of the requests take longer than 500 ms. Sessions
that were started *together* all become due just after a run, which is the worst case. Sessions that were started *evenly* become due one after the other. Each
plan has the fewest controllers with which all tokens stay valid for at least 30 more seconds.

"""
ADVICE = """
To plan a fleet:

* Increase ``max_parallel`` first. Each of the parallel refreshes waits for the service most of the time.
* The largest number of requests a second must be within the limit of your account. If it is not, set ``max_qps`` on each controller to its share of the limit.
* In Redis, each controller reads the records of the whole fleet, and then refreshes those that ``filters`` selects. Reading 1,000,000 records takes about 50
  seconds, so several stores need fewer controllers than one.
* Started together, sessions need more controllers. Start a large fleet in parts, a few minutes apart.

The simulation assumes that nothing fails, and its tasks were up to 14% faster than measured ones. To simulate your own latency, limit, schedule and
store, run ``make simulation``, as the `README of the benchmark <../../../tests/benchmark/README.md>`__ says.
"""
LOOPS = """
One task, or a loop
-------------------

These are whole runs of ``ansible-playbook`` with a directory store. A loop spends most of its time on Ansible's overhead of starting a module for each item.

"""
TERMS = """
Lookups with many terms
-----------------------

All tokens are current. A lookup opens the store once, however many terms it has.

"""


SIMULATED = (
    "Sessions",
    "Started",
    "``max_parallel``",
    "Controllers",
    "Seconds of the longest run",
    "Lowest validity in seconds",
    "Most requests a second",
)


def write(
    lines: t.Sequence[Line], heals: t.Sequence[Rates], rates: t.Sequence[Rate], terms: t.Mapping[int, float]
) -> str:
    """Return the page. Its picture is the file that :func:`plot.draw` draws."""
    fleet = [
        (
            line.store,
            f"{line.sessions:,}",
            str(line.parallel),
            f"{line.rate:,.0f}",
            f"{line.share:.0%}",
            f"{line.peak:.0f}",
            f"{line.current:.2f}",
            f"{line.used:.1f}",
        )
        for line in lines
    ]
    columns = (
        "Store",
        "Sessions",
        "``max_parallel``",
        "Refreshed a second",
        "Share of the ceiling",
        "Memory in MiB",
        "Seconds if all are current",
        "KiB a session",
    )
    logins = [(each.store, f"{each.refreshed:,.0f}", f"{each.healed:,.0f}") for each in heals]
    loops = [(rate.name, f"{rate.rate:,.1f}", f"{rate.to_uri:,.1f}") for rate in rates]
    lookups = [(f"{count:,}", f"{1000 * seconds:.2f}") for count, seconds in terms.items()]
    return "".join(
        (
            HEAD,
            FLEET,
            table(columns, fleet),
            LOGINS,
            table(("Store", "Refreshed a second", "Logged in a second"), logins),
            controllers(),
            LOOPS,
            table(("Run", "Sessions a second", "Relative to a loop of ``uri`` tasks"), loops),
            TERMS,
            table(("Terms", "Milliseconds a term"), lookups),
        )
    )


def controllers(sizes: t.Sequence[int] = (10_000, 100_000, 1_000_000)) -> str:
    """Return the section about the number of controllers. Simulating the largest fleet takes about a minute."""
    return "".join((CONTROLLERS, table(SIMULATED, [row for size in sizes for row in simulated(size)]), ADVICE))


def _smallest(plan: Plan) -> tuple[Plan, simulation.Result]:
    """Return the plan with the smallest number of controllers that is enough, and its result."""
    return next(each for each in simulation.find_controllers(plan) if each[1].is_enough)


def simulated(size: int) -> t.Iterator[tuple[str, ...]]:
    """Yield a row for each way to run a fleet."""
    for started, spread, parallel in (("together", 0.0, 8), ("together", 0.0, 64), ("evenly", math.inf, 64)):
        plan = Plan(sessions=size, max_parallel=parallel, refresh_before=450, spread=spread)
        plan, result = _smallest(plan)
        yield (
            f"{size:,}",
            started,
            str(parallel),
            str(plan.controllers),
            f"{result.longest_run:.0f}",
            f"{result.lowest:.0f}",
            f"{result.peak:,}",
        )


def table(head: t.Sequence[str], rows: t.Sequence[t.Sequence[str]]) -> str:
    """Return a table."""
    cells = [f"   {'*' if column == 0 else ' '} - {cell}" for row in (head, *rows) for column, cell in enumerate(row)]
    return "\n".join((".. list-table::", "   :header-rows: 1", "", *cells, ""))
