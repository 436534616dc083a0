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
_MIN_ITEMS = 100
"""The items that make another process worthwhile. Starting one takes as long as several items."""
_ITEMS_PER_THREAD = 16
"""The size of a chunk at most. Threads are idle at the end of a chunk, and a killed process fails its whole chunk."""
_MIN_CHUNKS = 8
"""The chunks for each process at least, so that all processes finish at about the same time."""

_work: tuple[t.Any, int]
"""In a worker process: its function and its number of threads."""
_busy = threading.Lock()
"""In a worker process: held while it works."""


def count_processes(items: int, parallel: int) -> int:
    """Return how many processes to use for so many items, ``parallel`` at a time."""
    # On systems other than Linux, a forked process cannot use everything that the system offers.
    if not hasattr(os, "sched_getaffinity"):
        return 1
    # One more than processors, because each process sometimes waits for its disk or the service. Each has at least two threads.
    return max(1, min(len(os.sched_getaffinity(0)) + 1, parallel // 2, items // _MIN_ITEMS))


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
) -> t.Generator[Result, None, None]:
    """Yield the result of ``function`` for each item. Begin items in order, ``parallel`` at a time. Empties the list ``items``.

    ``function`` must not raise. ``prepare`` is called in each new process with its number and the number of processes. When a signal is
    pending, no more items are begun. ``not_done`` returns the result for an item that was not begun or whose process was killed.
    """
    if processes > 1:
        size = _chunk_size(len(items), parallel, processes)
        # Pickled items need less memory, and processes share it: they would copy the memory of objects.
        chunks = collections.deque(pickle.dumps(items[start : start + size]) for start in range(0, len(items), size))
        items.clear()
        pools = _start_processes(function, parallel, processes, prepare)
        if pools:
            yield from _run_in_processes(pools, chunks, not_done)
            return
        items = [item for chunk in chunks for item in pickle.loads(chunk)]  # noqa: S301
    waiting = collections.deque(items)
    for results in _run_in_threads(function, waiting, min(len(items), parallel)):
        yield from results
    yield from map(not_done, waiting)


def _run_in_threads(
    function: t.Callable[[Item], Result], waiting: collections.deque[Item], threads: int
) -> t.Iterator[list[Result]]:
    """Yield results as they come. Items that are not begun because of a signal remain in ``waiting``."""
    results: collections.deque[Result] = collections.deque()

    def work() -> None:
        with contextlib.suppress(IndexError):  # raised by popleft if nothing is left
            while not signal_pending():
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
                    done, running = wait(running, _POLL)
                    yield [results.popleft() for _result in range(len(results))]
                    for future in done:
                        future.result()
            except BaseException:
                waiting.clear()  # The caller wants no more results, so no more items are begun.
                raise
    while waiting and not signal_pending():  # One thread is enough, or the system allows no other.
        yield [function(waiting.popleft())]


def _run_in_processes(
    pools: dict[t.Any, int], chunks: collections.deque[bytes], not_done: t.Callable[[t.Any], Result]
) -> t.Iterator[Result]:
    """Give each process one chunk at a time."""
    from concurrent.futures import FIRST_COMPLETED, wait

    idle = list(pools)
    running: dict[t.Any, tuple[t.Any, bytes]] = {}

    def stop() -> None:  # The processes then finish the items that they have begun, and begin no more.
        for pool, _chunk in running.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pools[pool], signal.SIGTERM)

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
                try:
                    results, rest = future.result()
                except Exception:  # The process was killed.
                    yield from map(not_done, pickle.loads(chunk))  # noqa: S301
                    continue
                yield from results
                if rest:  # Only that process received a signal. The other processes do the rest.
                    chunks.appendleft(pickle.dumps(rest))
                else:
                    idle.append(pool)
            if signal_pending():
                stop()
    finally:
        stop()
        for pool in pools:
            pool.shutdown()
    for chunk in chunks:
        yield from map(not_done, pickle.loads(chunk))  # noqa: S301


def _start_processes(
    function: t.Callable[[Item], Result], parallel: int, processes: int, prepare: t.Callable[[int, int], None]
) -> dict[t.Any, int]:
    """Start as many processes as the system allows. Return a pool for each, because a pool fails as a whole."""
    pools: dict[t.Any, int] = {}
    gc.collect()
    gc.freeze()  # Otherwise the garbage collector writes to all objects, so that each process copies them.
    with contextlib.suppress(Exception):
        # Imported here, because few tasks need several processes.
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        for number in range(processes):
            work = function, len(range(number, parallel, processes))
            pool = ProcessPoolExecutor(1, get_context("fork"), _prepare_process, (work, prepare, number, processes))
            pools[pool] = pool.submit(os.getpid).result()
    gc.unfreeze()
    return pools


def _prepare_process(work: tuple[t.Any, int], prepare: t.Callable[[int, int], None], *place: int) -> None:
    global _work
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - errors may contain secrets
    _work = work
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    prepare(*place)


def _exit_with_parent() -> None:
    """When the parent process has ended, finish the items that were begun and exit."""
    import multiprocessing

    t.cast(t.Any, multiprocessing.parent_process()).join()
    os.kill(os.getpid(), signal.SIGTERM)
    with _busy:
        os._exit(1)


def _run_chunk(chunk: bytes) -> tuple[list[t.Any], list[t.Any]]:
    """Return the results of a chunk, and the items that were not begun because of a signal."""
    function, threads = _work
    with _busy:
        waiting = collections.deque(pickle.loads(chunk))  # noqa: S301
        results = [result for batch in _run_in_threads(function, waiting, threads) for result in batch]
        return results, list(waiting)
