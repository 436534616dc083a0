# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast one task keeps a fleet of sessions current, against the ceiling of HTTP."""

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
"""How many sessions of one fleet are taken at a time besides."""
OTHERS_SIZE = 10_000
LARGE = 100_000
LIMIT = 1800
"""For how many seconds one run may last."""
HEAD = (
    "store      sessions  parallel  a second   ceiling  share  s/1,000  emulator  peak MiB  "
    "current s   faster"
)


class Line(t.NamedTuple):
    """What was measured of a fleet of one size; the medians of the rounds."""

    store: str
    sessions: int
    parallel: int
    seconds: float
    ceiling: float
    """Requests a second."""
    share: float
    """Of the ceiling, within each round."""
    emulator: float
    """The emulator's share of one processor."""
    peak: float
    """MiB."""
    current: float
    """Seconds for the same sessions once more, all current."""
    faster: float

    @property
    def rate(self) -> float:
        """Sessions a second."""
        return self.sessions / self.seconds

    @property
    def per_thousand(self) -> float:
        """Seconds for 1,000 sessions."""
        return 1000 * self.seconds / self.sessions

    def __str__(self) -> str:
        return (
            f"{self.store:9} {self.sessions:9,} {self.parallel:9} {self.rate:9.0f} {self.ceiling:9.0f} {self.share:6.0%} "
            f"{self.per_thousand:8.2f} {self.emulator:9.0%} {self.peak:9.1f} {self.current:10.2f} {self.faster:8.1f}"
        )


class Task(t.NamedTuple):
    """What one run of the module's process took."""

    seconds: float
    peak: float
    http: list[str]
    result: dict[str, t.Any]


def measure(folder: Path, sizes: t.Sequence[int], rounds: int) -> list[Line]:
    """Print a table of fleets of all sizes, in all stores; return its lines."""
    print(f"\nOne task over a fleet of stale sessions, signed V3: medians of {rounds} rounds")
    print(HEAD, flush=True)
    stores = [servers.directory, *([servers.redis] if servers.has_redis() else [])]
    lines: list[Line] = []
    libraries: set[str] = set()
    for stock in stores:
        for size in sizes:
            for parallel in sorted({PARALLEL, *(OTHERS if size == OTHERS_SIZE else ())}):
                turns = rounds if size < LARGE else 1
                measured = [one_round(folder, stock, size, parallel) for _turn in range(turns)]
                lines.append(_median([line for line, _http in measured]))
                libraries.update(name for _line, http in measured for name in http)
                print(lines[-1], flush=True)
    print(
        f"HTTP libraries that a task imports when all is current: {', '.join(libraries) or 'none'}"
    )
    for first, last in _growths(lines):
        print(
            f"{first.store}: seconds per 1,000 sessions, {last.sessions:,} / {first.sessions:,}: "
            f"{last.per_thousand / first.per_thousand:.2f}"
        )
    return lines


def one_round(
    folder: Path,
    make_stock: t.Callable[[Path], t.ContextManager[servers.Stock]],
    size: int,
    parallel: int,
) -> tuple[Line, list[str]]:
    """Measure a fleet once, between two measurements of the ceiling; return also what HTTP a current fleet imported."""
    with servers.emulator(folder) as emulator, make_stock(folder) as stock:
        servers.fill(emulator, stock, size)
        requests = min(max(size, 1000), 5000)
        before = ceiling(emulator, requests, parallel)
        exchanged, used = emulator.exchanges(), servers.processor_time(emulator.pid)
        stale = run_task(emulator, stock, parallel)
        used = servers.processor_time(emulator.pid) - used
        exchanged = emulator.exchanges() - exchanged
        if not exchanged == stale.result["counts"]["exchanged"] == size:
            sys.exit(f"Not every session was exchanged once: {stale.result['counts']}")
        after = ceiling(emulator, requests, parallel)
        current = run_task(emulator, stock, parallel)
        if current.result["counts"]["served"] != size:
            sys.exit(f"Not every session was current: {current.result['counts']}")
    at_most = 2 * requests / (before + after)
    line = Line(
        store=stock.name,
        sessions=size,
        parallel=parallel,
        seconds=stale.seconds,
        ceiling=at_most,
        share=size / stale.seconds / at_most,
        emulator=used / stale.seconds,
        peak=stale.peak,
        current=current.seconds,
        faster=stale.seconds / current.seconds,
    )
    return line, current.http


def run_task(emulator: servers.Emulator, stock: servers.Stock, parallel: int) -> Task:
    """Run the module's process over all sessions of a store."""
    options = {
        **emulator.options(),
        "store": stock.store,
        "max_parallel": parallel,
        "deadline": LIMIT,
    }
    start = time.perf_counter()
    with start_script("one_task.py") as process, memory.watched(process.pid) as peak:
        output, errors = talk(process, {"ANSIBLE_MODULE_ARGS": options})
        seconds = time.perf_counter() - start
    facts = json.loads(errors.splitlines()[-1])
    # The first process by itself is known to the byte, all together are looked at now and then.
    return Task(seconds, max(facts["peak"], *peak), facts["http"], json.loads(output))


def ceiling(emulator: servers.Emulator, requests: int, connections: int) -> float:
    """Return for how many seconds so many prepared requests are sent."""
    users = [f"ceiling-{number}" for number in range(requests)]
    asked = {
        "url": emulator.url,
        "key": (emulator.access_key_id, emulator.access_key_secret),
        "identity": servers.IDENTITY,
        "sessions": list(zip(users, emulator.issue(users), strict=True)),
        "connections": connections,
    }
    return float(run_script("ceiling.py", asked))


def run_script(script: str, asked: dict[str, t.Any]) -> str:
    """Run a script of this folder in a process of its own; return what it prints."""
    with start_script(script) as process:
        return talk(process, asked)[0]


def start_script(script: str) -> subprocess.Popen[str]:
    """Start a script of this folder, in a group of processes of its own."""
    return subprocess.Popen(
        (sys.executable, HERE / script),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH", "")},
    )


def talk(process: subprocess.Popen[str], asked: dict[str, t.Any]) -> tuple[str, str]:
    """Tell a script what is asked of it; return its output and its errors."""
    output, errors = process.communicate(json.dumps(asked), LIMIT)
    if process.returncode:
        sys.exit(output + errors)
    return output, errors


def _median(lines: list[Line]) -> Line:
    numbers = zip(*(line[3:] for line in lines), strict=True)
    return Line(*lines[0][:3], *map(statistics.median, numbers))


def _growths(lines: list[Line]) -> list[tuple[Line, Line]]:
    """Pair the line of 1,000 sessions, of each store, with that of the most."""
    usual = [line for line in lines if line.parallel == PARALLEL]
    return [
        (first, last)
        for first in usual
        if first.sessions == 1000
        for last in usual
        if last.store == first.store and last.sessions == max(line.sessions for line in usual)
    ]
