# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Simulate a controller that refreshes its part of a fleet on a schedule.

Each controller runs the module wuying_login_tokens for an equal part of the fleet, and has an equal part of the service's limit and of
Redis, so one of them is simulated. A run reads the records, and then refreshes the sessions that are due, as ``_keeper/workers.py``
and ``_service/client.py`` do: processes that run one thread at a time, chunks, a note and a record that are each written and synced,
max_qps, and retries after a throttling error.

Left out: errors other than throttling, Retry-After headers, logins, lookups, other tasks, overlapping runs, parts of unequal size,
memory, the limit of a disk, and threads that slow each other down.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import heapq
import itertools
import math
import random
import typing as t

from ansible_collections.wuying.workspace.plugins.module_utils._keeper import workers
from ansible_collections.wuying.workspace.plugins.module_utils._service import rate_limit, retry

P99 = 2.326
"""The 99th percentile of the standard normal distribution."""


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A fleet, its controllers, and the service and store that they use. Times are in seconds."""

    sessions: int = dataclasses.field(default=10_000, metadata=_help("sessions of the fleet"))
    controllers: int = dataclasses.field(default=1, metadata=_help("controllers that share the fleet"))
    max_parallel: int = dataclasses.field(default=8, metadata=_help("max_parallel of each task"))
    max_qps: float = dataclasses.field(default=math.inf, metadata=_help("max_qps of each task"))
    validity: float = dataclasses.field(default=900.0, metadata=_help("validity of a token"))
    refresh_before: float = dataclasses.field(default=300.0, metadata=_help("refresh_before of each task"))
    interval: float = dataclasses.field(default=240.0, metadata=_help("interval of the schedule"))
    deadline: float = dataclasses.field(default=900.0, metadata=_help("deadline of each task"))
    retries: int = dataclasses.field(default=3, metadata=_help("retries of each task"))
    spread: float = dataclasses.field(
        default=0.0, metadata=_help("period in which the tokens were obtained; 0: together, inf: evenly")
    )
    latency: float = dataclasses.field(default=0.05, metadata=_help("median latency of the service"))
    latency_p99: float = dataclasses.field(default=0.5, metadata=_help("latency that one of 100 requests exceeds"))
    service_limit: float = dataclasses.field(
        default=math.inf, metadata=_help("requests per second that the service allows for the account")
    )
    primaries: int = dataclasses.field(
        default=0, metadata=_help("primaries of the Redis store; 0: each controller has a directory")
    )
    write_time: float = dataclasses.field(default=0.0002, metadata=_help("duration of a write that is synced"))
    processors: int = dataclasses.field(default=2, metadata=_help("processors of a controller"))
    refresh_time: float = dataclasses.field(default=0.0009, metadata=_help("processor time of a refresh"))
    read_time: float = dataclasses.field(default=0.00005, metadata=_help("processor time to read a session"))
    start_time: float = dataclasses.field(default=1.5, metadata=_help("time to start a run, and to load its libraries"))
    service_time: float = dataclasses.field(
        default=0.0, metadata=_help("processor time of the emulator for a request, if it runs on the controller")
    )
    reserve: float = dataclasses.field(default=30.0, metadata=_help("remaining validity that all tokens must keep"))
    seed: int = dataclasses.field(default=1, metadata=_help("seed of the random numbers"))

    def __post_init__(self) -> None:
        """Raise :class:`ValueError` if an option has an impossible value."""
        positive = (
            "sessions",
            "controllers",
            "processors",
            "max_parallel",
            "max_qps",
            "service_limit",
            "validity",
            "interval",
        )
        for name in positive:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive.")
        if self.latency_p99 < self.latency:
            raise ValueError("latency_p99 must be at least latency.")

    @property
    def margin(self) -> float:
        """The remaining validity at which a token is due."""
        return min(self.refresh_before, self.validity / 2)


class Limiter:
    """Decides when a process may send a request, as :class:`rate_limit.RateLimiter` does."""

    def __init__(self, max_qps: float) -> None:
        self.least = 1 / max_qps
        self.interval = self.average = 0.0
        self.last = self.blocked_until = -math.inf

    def acquire(self, now: float) -> float:
        """Return the time of the next request. If the limiter is then blocked, it must be asked again."""
        due = max(now, self.last + max(self.least, self.interval), self.blocked_until)
        self.average += rate_limit._WEIGHT * (min(due - self.last, rate_limit._LONGEST) - self.average)
        self.last = due
        return due

    def slow_down(self, now: float, seconds: float) -> None:
        """Allow no request for some seconds and fewer afterwards."""
        if now >= self.blocked_until:
            interval = rate_limit._SLOWER * max(self.least, self.interval, self.average)
            self.interval = min(interval, max(rate_limit._LONGEST, rate_limit._SLOWER * self.least))
        self.blocked_until = max(self.blocked_until, now + seconds)

    def speed_up(self) -> None:
        """Allow more requests again."""
        self.interval *= rate_limit._FASTER


class Process:
    """A process of a task. Python runs one of its threads at a time."""

    def __init__(self, threads: int, max_qps: float) -> None:
        self.threads = threads
        self.running = 0
        self.chunk: collections.deque[int] = collections.deque()
        self.limiter = Limiter(max_qps)
        self.free = 0.0
        """When it has a processor for another thread."""


class Controller:
    """One of the controllers of a plan. A thread is a generator that yields the time at which it continues."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.sessions = -(-plan.sessions // plan.controllers)
        # In Redis, each controller reads the sessions of all.
        self.reading = plan.read_time * (plan.sessions if plan.primaries else self.sessions)
        spread = min(plan.spread, plan.validity - plan.margin)
        # The worst case: the first run comes just before the first tokens are due.
        first = plan.margin + plan.start_time + self.reading
        self.expires_at = [first + self.random.uniform(0, spread) for _session in range(self.sessions)]
        self.now = self.longest_run = 0.0
        self.lowest = math.inf
        self.requests: collections.Counter[int] = collections.Counter()
        self.throttled = 0
        self.limit = plan.service_limit / plan.controllers
        self.allowed, self.allowed_at = max(1.0, self.limit), 0.0
        self.processors = [0.0] * plan.processors
        """When each is free, in order."""
        self.primaries = [0.0] * plan.primaries
        self.service = Process(1, math.inf)
        self.chunks: collections.deque[list[int]] = collections.deque()
        self.deadline = 0.0
        self.events: list[tuple[float, int, t.Iterator[float]]] = []
        self.order = itertools.count()

    def run(self, *, to_the_end: bool = False) -> None:
        """Run the task once: read all sessions, and refresh those that are due, by default until a token expires."""
        plan, began = self.plan, self.now
        self.deadline = began + plan.deadline
        step = self.reading / self.sessions
        due_until = began + plan.start_time + plan.margin
        due = [n for n, expires_at in enumerate(self.expires_at) if expires_at <= due_until + n * step]
        due.sort(key=self.expires_at.__getitem__)
        self.now += plan.start_time + self.reading
        number = count_processes(plan, len(due))
        size = workers._chunk_size(len(due), plan.max_parallel, number) * number if number > 1 else max(1, len(due))
        blocks = [due[start : start + size] for start in range(0, len(due), size)]
        self.chunks.extend(block[first::number] for block in blocks for first in range(number))
        for first in range(number):
            self.begin_chunk(Process(len(range(first, plan.max_parallel, number)), plan.max_qps))
        while self.events and (to_the_end or self.lowest > 0):
            self.now, _order, thread = heapq.heappop(self.events)
            self.proceed(thread)
        self.chunks.clear()
        self.longest_run = max(self.longest_run, self.now - began)

    def proceed(self, thread: t.Iterator[float]) -> None:
        """Do the next step of a thread, and schedule the step after it."""
        until = next(thread, None)
        if until is not None:
            heapq.heappush(self.events, (until, next(self.order), thread))

    def begin_chunk(self, process: Process) -> None:
        """Start the threads of a process with its next chunk, if there is any."""
        if self.chunks and self.now < self.deadline:
            process.chunk.extend(self.chunks.popleft())
            process.running = process.threads
            for _thread in range(process.threads):
                self.proceed(self.work(process))

    def work(self, process: Process) -> t.Iterator[float]:
        """Refresh sessions of a chunk. The last thread of a process to finish begins the next chunk."""
        while process.chunk and self.now < self.deadline:
            session = process.chunk.popleft()
            yield self.compute(process, self.plan.refresh_time / 2)
            yield self.write(session)
            sent_at = yield from self.send(process)
            yield self.compute(process, self.plan.refresh_time / 2)
            yield self.write(session)
            if sent_at is not None:
                self.lowest = min(self.lowest, self.expires_at[session] - self.now)
                self.expires_at[session] = sent_at + self.plan.validity
        process.running -= 1
        if not process.running:
            self.begin_chunk(process)

    def send(self, process: Process) -> t.Generator[float, None, float | None]:
        """Send a request until the service accepts it. Return when it was sent, or None if the retries are used up."""
        for attempt in range(self.plan.retries + 1):
            yield process.limiter.acquire(self.now)
            while self.now < process.limiter.blocked_until:
                yield process.limiter.acquire(self.now)
            sent_at = self.now
            self.requests[int(sent_at)] += 1
            is_allowed = self.is_allowed()
            if self.plan.service_time:
                yield self.compute(self.service, self.plan.service_time)
            yield self.now + self.latency()
            if is_allowed:
                process.limiter.speed_up()
                return sent_at
            self.throttled += 1
            longest = min(retry.BACKOFF_LIMIT, retry.BACKOFF * 2**attempt)
            process.limiter.slow_down(self.now, self.random.uniform(0, longest))
        return None

    def is_allowed(self) -> bool:
        """Return True if the service accepts a request now. Its limit is a bucket for the requests of one second."""
        if self.limit == math.inf:
            return True
        self.allowed = min(max(1.0, self.limit), self.allowed + (self.now - self.allowed_at) * self.limit)
        self.allowed_at = self.now
        is_allowed = self.allowed >= 1
        self.allowed -= is_allowed
        return is_allowed

    def latency(self) -> float:
        """Return the latency of a request: log-normal, with the median and the 99th percentile of the plan."""
        median = self.plan.latency
        if not median:
            return 0.0
        return median * math.exp(self.random.gauss(0, math.log(self.plan.latency_p99 / median) / P99))

    def compute(self, process: Process, seconds: float) -> float:
        """Return when a thread has used its process and a processor for some seconds."""
        start = max(self.now, process.free)
        # The one that is free for the shortest time, so that another process can use the others before this one starts.
        processor = max(0, bisect.bisect(self.processors, start) - 1)
        process.free = max(start, self.processors.pop(processor)) + seconds
        bisect.insort(self.processors, process.free)
        return process.free

    def write(self, session: int) -> float:
        """Return when a write is synced. A disk syncs many at once. A primary serves all controllers, one write at a time."""
        if not self.primaries:
            return self.now + self.plan.write_time
        primary = session % len(self.primaries)
        start = max(self.now, self.primaries[primary])
        self.primaries[primary] = start + self.plan.write_time * self.plan.controllers
        return start + self.plan.write_time


def count_processes(plan: Plan, items: int) -> int:
    """Return how many processes a task uses, as :func:`workers.count_processes` does on a controller of the plan."""
    if plan.max_qps < math.inf:
        return 1
    return max(1, min(plan.processors + 1, plan.max_parallel // 2, items // workers._MIN_ITEMS))
