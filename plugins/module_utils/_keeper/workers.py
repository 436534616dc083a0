# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a function for many items, in threads and if needed in processes.

Python runs one thread of a process at a time, so using more processors takes more processes.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import os
import pickle
import signal
import sys
import threading
import typing as t

from .._runtime.signals import signal_pending

Item = t.TypeVar("Item")
Result = t.TypeVar("Result")

_POLL = 0.05
"""How often, in seconds, to collect results and to check for a signal. Waking up for each result would slow the threads down."""
_MIN_THREADS = 2
_MIN_ITEMS = 100
"""The threads and items that make another process worthwhile. Starting one takes as long as several items."""
_ITEMS_PER_THREAD = 16
"""The size of a chunk at most. Threads are idle at the end of a chunk, and a killed process fails its whole chunk."""
_MIN_CHUNKS = 8
"""The chunks for each process at least, so that all processes finish at about the same time."""

_process: dict[str, t.Any] = {}
"""In a worker process: its function, its number of threads, and the lock that it holds while it works."""


def count_processes(items: int, parallel: int) -> int:
    """Return how many processes to use for so many items, ``parallel`` at a time."""
    # On systems other than Linux, a forked process cannot use everything that the system offers.
    if not hasattr(os, "sched_getaffinity"):
        return 1
    # One more than processors, because each process sometimes waits for its disk or the service.
    processors = len(os.sched_getaffinity(0)) + 1
    return max(1, min(processors, parallel // _MIN_THREADS, items // _MIN_ITEMS))


def _chunk_size(items: int, parallel: int, processes: int) -> int:
    threads = -(-parallel // processes)
    return max(threads, min(_ITEMS_PER_THREAD * threads, items // (_MIN_CHUNKS * processes)))


def run_all(
    function: t.Callable[[Item], Result],
    items: list[Item],
    parallel: int,
    processes: int = 1,
    *,
    not_done: t.Callable[[Item], Result],
    prepare: t.Callable[[int, int], None] = lambda number, processes: None,
) -> t.Iterator[Result]:
    """Yield the result of ``function`` for each item. Begin items in order, ``parallel`` at a time. Empties the list ``items``.

    ``function`` must not raise. ``prepare`` is called in each new process with its number and the number of processes. When a signal is
    pending, no more items are begun. ``not_done`` returns the result for an item that was not begun or whose process was killed.
    """
    if processes > 1:
        size = _chunk_size(len(items), parallel, processes)
        starts = range(0, len(items), size)
        # Pickled items need less memory, and processes share it: they would copy the memory of objects.
        chunks = collections.deque(pickle.dumps(items[start : start + size]) for start in starts)
        items.clear()
        gc.collect()
        gc.freeze()  # Otherwise the garbage collector writes to all objects, so that each process copies them.
        try:
            pools = _start_processes(function, parallel, processes, prepare)
            if pools:
                yield from _run_in_processes(pools, chunks, not_done)
                return
        finally:
            gc.unfreeze()
        items = [item for chunk in chunks for item in pickle.loads(chunk)]  # noqa: S301
    waiting = collections.deque(items)
    for results in _run_in_threads(function, waiting, min(len(items), parallel)):
        yield from results
    yield from map(not_done, waiting)


def _run_in_threads(
    function: t.Callable[[Item], Result], waiting: collections.deque[Item], threads: int
) -> t.Generator[list[Result], None, None]:
    """Yield results as they come. Items that are not begun because of a signal remain in ``waiting``."""
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
            waiting.clear()  # The caller wants no more results, so no more items are begun.
            raise


def _run_in_processes(
    pools: dict[t.Any, int],
    chunks: collections.deque[bytes],
    not_done: t.Callable[[t.Any], Result],
) -> t.Iterator[Result]:
    """Give each process one chunk at a time."""
    from concurrent.futures import FIRST_COMPLETED, wait

    idle, stopped = list(pools), False
    running: dict[t.Any, tuple[t.Any, bytes]] = {}
    try:
        while True:
            while idle and chunks and not signal_pending():
                pool, chunk = idle.pop(), chunks.popleft()
                try:
                    running[pool.submit(_run_chunk, chunk)] = pool, chunk
                except Exception:  # The process was killed while it was idle.
                    chunks.appendleft(chunk)
            if not running:
                break
            for future in wait(running, _POLL, FIRST_COMPLETED).done:
                pool, chunk = running.pop(future)
                items = pickle.loads(chunk)  # noqa: S301
                try:
                    results = future.result()
                except Exception:  # The process was killed.
                    yield from map(not_done, items)
                    continue
                yield from results
                if len(results) == len(items):
                    idle.append(pool)
                else:  # Only that process received a signal. The other processes do the rest.
                    chunks.appendleft(pickle.dumps(items[len(results) :]))
            if signal_pending() and not stopped:
                stopped = True
                _stop(pools[pool] for pool, _chunk in running.values())
    finally:
        _stop(pools[pool] for pool, _chunk in running.values())
        for pool in pools:
            pool.shutdown()
    for chunk in chunks:
        yield from map(not_done, pickle.loads(chunk))  # noqa: S301


def _stop(processes: t.Iterable[int]) -> None:
    """Signal processes to finish the items that they have begun, and to begin no more."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)


def _start_processes(
    function: t.Callable[[Item], Result],
    parallel: int,
    processes: int,
    prepare: t.Callable[[int, int], None],
) -> dict[t.Any, int]:
    """Start as many processes as the system allows. Return a pool for each, because a pool fails as a whole."""
    pools: dict[t.Any, int] = {}
    with contextlib.suppress(Exception):
        # Imported here, because few tasks need several processes.
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        for number in range(processes):
            threads = len(range(number, parallel, processes))
            arguments = (function, threads, prepare, number, processes)
            pool = ProcessPoolExecutor(1, get_context("fork"), _prepare_process, arguments)
            pools[pool] = pool.submit(os.getpid).result()
    return pools


def _prepare_process(
    function: t.Callable[[Item], Result],
    threads: int,
    prepare: t.Callable[[int, int], None],
    *place: int,
) -> None:
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - errors may contain secrets
    _process.update(function=function, threads=threads, busy=threading.Lock())
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    prepare(*place)


def _run_chunk(chunk: bytes) -> list[t.Any]:
    """Return the results of the items of a chunk that were begun: after a signal, of the first ones only."""
    with _process["busy"]:
        waiting = collections.deque(pickle.loads(chunk))  # noqa: S301
        batches = _run_in_threads(_process["function"], waiting, _process["threads"])
        return [result for batch in batches for result in batch]


def _exit_with_parent() -> None:
    """When the parent process has ended, finish the items that were begun and exit."""
    import multiprocessing

    t.cast(t.Any, multiprocessing.parent_process()).join()
    _stop([os.getpid()])
    with _process["busy"]:
        os._exit(1)
