# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure how fast one task refreshes a fleet of sessions, compared with plain HTTP requests."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.wuying.workspace.tests.benchmark import memory, servers

HERE = Path(__file__).resolve().parent
PARALLEL = 8
OTHERS = (2, 4, 16)
"""Further values of max_parallel for the fleet of OTHERS_SIZE sessions."""
OTHERS_SIZE = 10_000
LARGE = 100_000
LIMIT = 1800
"""The maximum duration of one run in seconds."""
HEAD = "store      sessions  parallel  a second   ceiling  share  s/1,000  emulator  peak MiB  current s   faster  KiB each"


class Line(t.NamedTuple):
    """The results for one fleet: the medians of its rounds."""

    store: str
    sessions: int
    parallel: int
    seconds: float
    ceiling: float
    """Requests per second."""
    share: float
    """The ratio to the ceiling, within each round."""
    emulator: float
    """Processor use of the emulator; 1 is one processor."""
    peak: float
    """Peak memory in MiB."""
    current: float
    """Seconds for the same task when all sessions are current."""
    faster: float
    used: float
    """KiB of the store for each session, on the disk or in the memory of Redis."""

    @property
    def rate(self) -> float:
        """Sessions per second."""
        return self.sessions / self.seconds

    @property
    def per_thousand(self) -> float:
        """Seconds for 1,000 sessions."""
        return 1000 * self.seconds / self.sessions

    def __str__(self) -> str:
        return (
            f"{self.store:9} {self.sessions:9,} {self.parallel:9} {self.rate:9.0f} {self.ceiling:9.0f} {self.share:6.0%} "
            f"{self.per_thousand:8.2f} {self.emulator:9.0%} {self.peak:9.1f} {self.current:10.2f} {self.faster:8.1f} {self.used:9.1f}"
        )


class Task(t.NamedTuple):
    """The result of one run of the module, its duration in seconds and its peak memory in MiB."""

    seconds: float
    peak: float
    http: list[str]
    result: dict[str, t.Any]


def measure(folder: Path, sizes: t.Sequence[int], rounds: int) -> list[Line]:
    """Measure fleets of all sizes in all stores; print a table and return its lines."""
    print(f"\nOne task over a fleet of stale sessions, signed V3: medians of {rounds} rounds")
    print(HEAD, flush=True)
    stores = [servers.directory, *([servers.redis] if servers.has_redis() else [])]
    lines: list[Line] = []
    libraries: set[str] = set()
    for open_store in stores:
        for size in sizes:
            for parallel in sorted({PARALLEL, *(OTHERS if size == OTHERS_SIZE else ())}):
                turns = rounds if size < LARGE else 1
                measured = [one_round(folder, open_store, size, parallel) for _turn in range(turns)]
                lines.append(_median([line for line, _http in measured]))
                libraries.update(name for _line, http in measured for name in http)
                print(lines[-1], flush=True)
    print(f"HTTP libraries imported if all sessions are current: {', '.join(libraries) or 'none'}")
    for first, last in _growths(lines):
        print(
            f"{first.store}: seconds per 1,000 sessions, {last.sessions:,} / {first.sessions:,}: "
            f"{last.per_thousand / first.per_thousand:.2f}"
        )
    return lines


def one_round(
    folder: Path,
    open_store: t.Callable[[Path], t.ContextManager[servers.Store]],
    size: int,
    parallel: int,
) -> tuple[Line, list[str]]:
    """Measure a fleet between two measurements of the ceiling; return its line and the HTTP libraries of a current run."""
    with servers.emulator(folder) as emulator, open_store(folder) as store:
        empty = store.used()
        servers.fill(emulator, store, size)
        requests = min(max(size, 1000), 5000)
        before = ceiling(emulator, requests, parallel)
        exchanges, used = emulator.exchanges(), servers.processor_time(emulator.pid)
        stale = run_task(emulator, store, parallel)
        used = servers.processor_time(emulator.pid) - used
        exchanges = emulator.exchanges() - exchanges
        if not exchanges == stale.result["counts"]["refreshed"] == size:
            sys.exit(f"Not every session was refreshed once: {stale.result['counts']}")
        after = ceiling(emulator, requests, parallel)
        current = run_task(emulator, store, parallel)
        used_by_store = store.used() - empty
        if current.result["counts"]["unchanged"] != size:
            sys.exit(f"Not every session was current: {current.result['counts']}")
    at_most = 2 * requests / (before + after)
    line = Line(
        store=store.name,
        sessions=size,
        parallel=parallel,
        seconds=stale.seconds,
        ceiling=at_most,
        share=size / stale.seconds / at_most,
        emulator=used / stale.seconds,
        peak=stale.peak,
        current=current.seconds,
        faster=stale.seconds / current.seconds,
        used=used_by_store / size / 1024,
    )
    return line, current.http


def run_task(
    emulator: servers.Emulator, store: servers.Store, parallel: int, own: t.Mapping[str, t.Any] | None = None
) -> Task:
    """Run the module's process over all sessions of a store. ``own`` are further options."""
    options = {
        **emulator.options(),
        "store": store.address,
        "max_parallel": parallel,
        "deadline": LIMIT,
        **(own or {}),
    }
    start = time.perf_counter()
    with start_script("one_task.py") as process, memory.watched(process.pid) as peak:
        output, errors = communicate(process, {"ANSIBLE_MODULE_ARGS": options})
        seconds = time.perf_counter() - start
    facts = json.loads(errors.splitlines()[-1])
    # The peak of the first process is exact. The peak of all processes is sampled.
    return Task(seconds, max(facts["peak"], *peak), facts["http"], json.loads(output))


def ceiling(emulator: servers.Emulator, requests: int, connections: int) -> float:
    """Return the seconds that a number of prepared requests takes."""
    users = [f"ceiling-{number}" for number in range(requests)]
    options = {
        "url": emulator.url,
        "key": (emulator.access_key_id, emulator.access_key_secret),
        "identity": servers.IDENTITY,
        "sessions": list(zip(users, emulator.issue(users), strict=True)),
        "connections": connections,
    }
    return float(run_script("ceiling.py", options))


def run_script(script: str, options: dict[str, t.Any]) -> str:
    """Run a script of this folder as a process; return its output."""
    with start_script(script) as process:
        return communicate(process, options)[0]


def start_script(script: str) -> subprocess.Popen[str]:
    """Start a script of this folder in a new process group."""
    return subprocess.Popen(
        (sys.executable, HERE / script),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH", "")},
    )


def communicate(process: subprocess.Popen[str], options: dict[str, t.Any]) -> tuple[str, str]:
    """Send options to a script as JSON; return its output and its errors."""
    output, errors = process.communicate(json.dumps(options), LIMIT)
    if process.returncode:
        sys.exit(output + errors)
    return output, errors


def _median(lines: list[Line]) -> Line:
    numbers = zip(*(line[3:] for line in lines), strict=True)
    return Line(*lines[0][:3], *map(statistics.median, numbers))


def _growths(lines: list[Line]) -> list[tuple[Line, Line]]:
    """For each store, pair the line of 1,000 sessions with that of the largest fleet."""
    usual = [line for line in lines if line.parallel == PARALLEL]
    return [
        (first, last)
        for first in usual
        if first.sessions == 1000
        for last in usual
        if last.store == first.store and last.sessions == max(line.sessions for line in usual)
    ]
