# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a function for many items in threads, until a signal or the deadline."""

from __future__ import annotations

import collections
import contextlib
import time
import typing as t

from .._runtime.signals import signal_pending

Item = t.TypeVar("Item")
Result = t.TypeVar("Result")

POLL = 0.05
"""How often, in seconds, to collect results and to check for a signal. Waking up for each result would slow the threads down."""


def is_over(deadline: float) -> bool:
    """Return True if no more items are to be begun."""
    return signal_pending() or time.monotonic() >= deadline


def run_in_threads(
    function: t.Callable[[Item], Result], waiting: collections.deque[Item], threads: int, stop: t.Callable[[], bool]
) -> t.Iterator[list[Result]]:
    """Yield results as they come. Items that are not begun because of ``stop`` remain in ``waiting``."""
    results: collections.deque[Result] = collections.deque()

    def work() -> None:
        with contextlib.suppress(IndexError):  # raised by popleft if nothing is left
            while not stop():
                item = waiting.popleft()
                results.append(function(item))

    if threads > 1:
        # Imported here, so that a task with one session loads no thread pool.
        from concurrent.futures import ThreadPoolExecutor, wait

        with ThreadPoolExecutor(threads) as pool:
            running = set()
            with contextlib.suppress(RuntimeError):  # If the system allows fewer threads, these do the work.
                for _thread in range(threads):
                    running.add(pool.submit(work))
            try:
                while running or results:
                    done, running = wait(running, POLL)
                    yield [results.popleft() for _result in range(len(results))]
                    for future in done:
                        future.result()
            except BaseException:
                waiting.clear()  # The caller wants no more results, so no more items are begun.
                raise
    while waiting and not stop():  # One thread is enough, or the system allows no other.
        yield [function(waiting.popleft())]
