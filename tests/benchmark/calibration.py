# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the simulation with measured fleets, after one fleet without parallel refreshes has shown what a session costs."""

from __future__ import annotations

import dataclasses
import os
import resource
import statistics
import sys
import typing as t
from pathlib import Path

from ansible_collections.wuying.workspace.tests.benchmark import fleet, servers, simulation
from ansible_collections.wuying.workspace.tests.benchmark.controller import Plan


class Costs(t.NamedTuple):
    """The duration and the processor time of tasks, in seconds."""

    empty: float
    """The duration with an empty store."""
    current: float
    """The duration if all sessions are current."""
    stale: float
    """The duration if all sessions are stale."""
    used: float
    """How much more processor time the task with stale sessions uses than that with current ones."""
    emulator: float
    """The processor time of the emulator while all sessions are stale."""


def measure(folder: Path, size: int, rounds: int) -> None:
    """Measure fleets with a directory store; print their rates next to those of the simulation."""
    print(f"\nThe simulation of {size:,} stale sessions in a directory: medians of {rounds} rounds", flush=True)
    plan = derive_plan(measure_costs(folder, size, 1, rounds), size)
    for name in ("start_time", "read_time", "refresh_time", "service_time", "write_time"):
        print(f"{name:12} {1000 * getattr(plan, name):8.3f} ms, measured with max_parallel: 1")
    print(simulation.COMPARED, flush=True)
    for parallel in (2, fleet.PARALLEL):
        rate = size / measure_costs(folder, size, parallel, rounds).stale
        print(simulation.compare_rates(dataclasses.replace(plan, max_parallel=parallel), rate), flush=True)


def measure_costs(folder: Path, size: int, parallel: int, rounds: int) -> Costs:
    """Return the medians of several rounds with a value of max_parallel."""
    measured = [measure_round(folder, size, parallel) for _round in range(rounds)]
    return Costs(*map(statistics.median, zip(*measured, strict=True)))


def measure_round(folder: Path, size: int, parallel: int) -> Costs:
    """Refresh all sessions of a new store once."""
    with servers.emulator(folder) as emulator, servers.directory(folder) as store:
        empty = fleet.run_task(emulator, store, parallel)
        servers.fill(emulator, store, size)
        times = [(processor_time(), servers.processor_time(emulator.pid))]
        stale = fleet.run_task(emulator, store, parallel)
        times.append((processor_time(), servers.processor_time(emulator.pid)))
        current = fleet.run_task(emulator, store, parallel)
        times.append((processor_time(), servers.processor_time(emulator.pid)))
    if not stale.result["counts"]["refreshed"] == current.result["counts"]["unchanged"] == size:
        sys.exit(f"Not every session was refreshed once: {stale.result['counts']}, {current.result['counts']}")
    (before, idle), (between, busy), (after, _end) = times
    return Costs(empty.seconds, current.seconds, stale.seconds, (between - before) - (after - between), busy - idle)


def processor_time() -> float:
    """Return the processor time of all children that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def derive_plan(costs: Costs, size: int) -> Plan:
    """Return a plan with the costs of a task that refreshes one session at a time.

    While neither the task nor the emulator use a processor, the task waits for its disk.
    """
    waiting = costs.stale - costs.current - costs.used - costs.emulator
    return Plan(
        sessions=size,
        processors=len(os.sched_getaffinity(0)),
        latency=0.0,
        start_time=costs.empty,
        read_time=(costs.current - costs.empty) / size,
        refresh_time=costs.used / size,
        service_time=costs.emulator / size,
        write_time=max(0.0, waiting / size / 2),
    )
