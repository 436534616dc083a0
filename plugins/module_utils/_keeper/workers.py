# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a function for many items in threads, and in several processes if needed.

Python runs one thread of a process at a time, so that only more processes use more processors.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import threading
import typing as t

from .._runtime.signals import signal_pending

Item = t.TypeVar("Item")
Result = t.TypeVar("Result")

_POLL = 0.05
"""How often, in seconds, to collect results and to check for a signal. Waking up for each result would slow the threads down."""
_MIN_THREADS = 2
"""The threads that a process must have to be worth starting."""
_MIN_ITEMS = 100
"""The items that a process must have to be worth starting: starting one takes as long as some of them."""
_ITEMS_PER_THREAD = 16
"""The items of a chunk for each thread. Threads are idle at the end of a chunk; if a process is killed, its chunk fails."""
_CHUNKS = 8
"""The chunks that each process gets at least, so that all processes finish at about the same time."""

_process: dict[str, t.Any] = {}
"""The function, the number of threads and the lock of a worker process."""


def count_processes(items: int, parallel: int) -> int:
    """Return how many processes to use for so many items, ``parallel`` at a time."""
    # On systems other than Linux, a forked process cannot use everything that the system offers.
    if not hasattr(os, "sched_getaffinity"):
        return 1
    # One more than processors, because each process sometimes waits for its disk or the service.
    processors = len(os.sched_getaffinity(0)) + 1
    return max(1, min(processors, parallel // _MIN_THREADS, items // _MIN_ITEMS))


def run_all(
    function: t.Callable[[Item], Result],
    items: t.Sequence[Item],
    parallel: int,
    processes: int = 1,
    *,
    lost: t.Callable[[Item], Result],
    prepare: t.Callable[[int, int], None] = lambda number, processes: None,
) -> t.Iterator[Result]:
    """Yield the result of ``function`` for each item as they end. Begin items in order, ``parallel`` at a time.

    ``function`` must not raise. ``prepare`` is called in each new process with its number and the number of processes. When a signal is
    pending, no more items are begun. ``lost`` returns the result of items that were not begun or whose process died.
    """
    waiting = collections.deque(items)
    pools = _start_processes(function, parallel, processes, prepare) if processes > 1 else {}
    if pools:
        chunk = min(_ITEMS_PER_THREAD * parallel, len(waiting) // _CHUNKS) // processes
        yield from _run_in_processes(pools, waiting, max(1, chunk), lost)
    else:
        for results in _run_in_threads(function, waiting, min(len(waiting), parallel)):
            yield from results
    yield from map(lost, waiting)


def _run_in_threads(
    function: t.Callable[[Item], Result], waiting: collections.deque[Item], threads: int
) -> t.Generator[list[Result], None, None]:
    """Yield results as they come. Items that were not begun because of a signal remain in ``waiting``."""
    if threads <= 1:
        while waiting and not signal_pending():
            yield [function(waiting.popleft())]
        return
    # Imported here, so that a task with one session loads no thread pool.
    from concurrent.futures import ThreadPoolExecutor, wait

    results: collections.deque[Result] = collections.deque()

    def work() -> None:
        with contextlib.suppress(IndexError):  # raised by popleft if nothing is left
            while not signal_pending():
                item = waiting.popleft()
                results.append(function(item))

    with ThreadPoolExecutor(threads) as pool:
        running = set()
        # If the system allows fewer threads, these do the work. If it allows none, this one does.
        with contextlib.suppress(RuntimeError):
            for _thread in range(threads):
                running.add(pool.submit(work))
        if not running:
            work()
        try:
            while running or results:
                done, running = wait(running, _POLL)
                yield [results.popleft() for _result in range(len(results))]
                for future in done:
                    future.result()
        except BaseException:
            waiting.clear()  # The caller wants no more results, so that no more items are begun.
            raise


def _run_in_processes(
    pools: dict[t.Any, int],
    waiting: collections.deque[Item],
    size: int,
    lost: t.Callable[[Item], Result],
) -> t.Iterator[Result]:
    """Hand out chunks of items, one at a time to each pool of one process."""
    from concurrent.futures import FIRST_COMPLETED, wait

    idle = list(pools)
    running: dict[t.Any, tuple[t.Any, list[Item]]] = {}
    stopped = False
    try:
        while True:
            while idle and waiting and not signal_pending():
                pool = idle.pop()
                chunk = [waiting.popleft() for _item in range(min(size, len(waiting)))]
                try:
                    running[pool.submit(_run_chunk, chunk)] = pool, chunk
                except Exception:  # The process died while it was idle.
                    waiting.extendleft(reversed(chunk))
            if not running:
                return
            for future in wait(running, _POLL, FIRST_COMPLETED).done:
                pool, chunk = running.pop(future)
                try:
                    results = future.result()
                except Exception:  # The process died.
                    yield from map(lost, chunk)
                    continue
                yield from results
                if len(results) == len(chunk):
                    idle.append(pool)
                else:  # A signal to that process only: the other processes do the rest.
                    waiting.extendleft(reversed(chunk[len(results) :]))
            if signal_pending() and not stopped:
                stopped = True
                _stop(pools[pool] for pool, _chunk in running.values())
    finally:
        _stop(pools[pool] for pool, _chunk in running.values())
        for pool in pools:
            pool.shutdown()


def _stop(processes: t.Iterable[int]) -> None:
    """Make processes finish the items that they have begun, and begin no more."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)


def _start_processes(
    function: t.Callable[[Item], Result],
    parallel: int,
    processes: int,
    prepare: t.Callable[[int, int], None],
) -> dict[t.Any, int]:
    """Start processes, as many as the system allows. Return their process IDs by the pool of each.

    Each has a pool of its own, because a pool fails as a whole if one of its processes dies.
    """
    pools: dict[t.Any, int] = {}
    with contextlib.suppress(Exception):
        # Imported here, because few tasks need several processes.
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        for number in range(processes):
            pool = ProcessPoolExecutor(
                1,
                get_context("fork"),
                _prepare_process,
                (function, len(range(number, parallel, processes)), prepare, number, processes),
            )
            pools[pool] = pool.submit(os.getpid).result()
    return pools


def _prepare_process(
    function: t.Callable[[Item], Result],
    threads: int,
    prepare: t.Callable[[int, int], None],
    number: int,
    processes: int,
) -> None:
    import gc
    import sys

    gc.freeze()  # The garbage collector writes to the objects that it examines: that would copy all memory of the parent.
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - an error may contain secrets
    _process.update(function=function, threads=threads, busy=threading.Lock())
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    prepare(number, processes)


def _run_chunk(chunk: list[Item]) -> list[t.Any]:
    """Return the results of the first items of a chunk, up to those that a signal stopped."""
    with _process["busy"]:
        batches = _run_in_threads(_process["function"], collections.deque(chunk), _process["threads"])
        return [result for batch in batches for result in batch]


def _exit_with_parent() -> None:
    """Wait until the parent process has ended, then finish the items that were begun and exit."""
    import multiprocessing

    t.cast(t.Any, multiprocessing.parent_process()).join()
    _stop([os.getpid()])
    with _process["busy"]:
        os._exit(1)
