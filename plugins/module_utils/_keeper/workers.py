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
import pickle  # nosec B403 - see _unpickle
import signal
import struct
import sys
import time
import typing as t

from .._runtime.signals import signal_pending
from .threads import POLL, is_over, run_in_threads

Item = t.TypeVar("Item")
Result = t.TypeVar("Result")

_MIN_ITEMS = 100
"""The items that make another process worthwhile. Starting one takes as long as several items."""
_ITEMS_PER_THREAD = 16
"""The size of a chunk at most. Threads are idle at the end of a chunk."""
_MIN_CHUNKS = 8
"""The chunks for each process at least, so that all processes finish at about the same time."""

_GRACE = 5
"""How long, in seconds, a process may take after the deadline, or stop in the middle of a message. Then it is killed."""


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
    deadline: float,
    not_done: t.Callable[[t.Iterable[Item], bool], t.Iterable[Result]],
) -> t.Generator[Result, None, None]:
    """Yield the result of ``function`` for each item. Begin items in order, ``parallel`` at a time. Empties the list ``items``.

    ``function`` must not raise, and must return by ``deadline`` (of :func:`time.monotonic`). A process that does not is killed soon
    after. No more items are begun after the deadline, or when a signal is pending. ``not_done`` returns the results for items
    that were not begun or, if its second argument is True, whose process was killed. Several processes begin the items of a few chunks at a time, in order.
    """
    if processes > 1:
        size = _chunk_size(len(items), parallel, processes)
        blocks = (items[start : start + size * processes] for start in range(0, len(items), size * processes))
        # Pickled items need less memory, and processes share it: they would copy the memory of objects.
        chunks = collections.deque(
            pickle.dumps(block[number::processes]) for block in blocks for number in range(min(processes, len(block)))
        )
        items.clear()
        workers = _start_processes(function, parallel, processes, deadline)
        if workers:
            yield from _run_in_processes(workers, chunks, deadline, not_done)
            return
        items = [item for chunk in chunks for item in _unpickle(chunk)]
    waiting = collections.deque(items)
    for results in run_in_threads(function, waiting, min(len(items), parallel), lambda: is_over(deadline)):
        yield from results
    yield from not_done(waiting, False)


class _Chunk:
    """A chunk of items that a process is working on, and the numbers of those whose results have arrived."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.began = time.monotonic()
        self.done: set[int] = set()

    def missing(self) -> list[t.Any]:
        """Return the items without a result."""
        return [item for number, item in enumerate(_unpickle(self.data)) if number not in self.done]


def _run_in_processes(
    workers: dict[t.Any, t.Any],
    chunks: collections.deque[bytes],
    deadline: float,
    not_done: t.Callable[[t.Iterable[t.Any], bool], t.Iterable[Result]],
) -> t.Iterator[Result]:
    """Send each process one chunk at a time."""
    from multiprocessing.connection import wait

    idle = list(workers)
    running: dict[t.Any, _Chunk] = {}
    try:
        while True:
            while idle and chunks and not is_over(deadline):
                pipe, data = idle.pop(), chunks.popleft()
                try:
                    pipe.send_bytes(data)
                    running[pipe] = _Chunk(data)
                except OSError:  # The process was killed or stopped while it was idle.
                    chunks.appendleft(data)
            if not running:
                break
            for pipe in t.cast("list[t.Any]", wait(list(running), POLL)):
                chunk = running[pipe]
                try:
                    results, ended = pipe.recv()
                except (EOFError, OSError):  # The process was killed, or stopped in the middle of a message.
                    workers[pipe].kill()
                    yield from not_done(running.pop(pipe).missing(), True)
                    continue
                chunk.done.update(number for number, _result in results)
                yield from (result for _number, result in results)
                if ended:
                    rest = running.pop(pipe).missing()
                    if rest:  # Only that process received a signal, and other processes do the rest. Or the deadline has passed.
                        chunks.appendleft(pickle.dumps(rest))
                    else:
                        idle.append(pipe)
            now, signalled = time.monotonic(), signal_pending()
            for pipe, chunk in running.items():
                process = workers[pipe]
                if signalled:  # The process holds the signal, and finishes the items that it has begun.
                    process.terminate()
                if signalled or now >= deadline:
                    _resume(process)
                if now >= max(deadline, chunk.began) + _GRACE:
                    process.kill()
    finally:
        for pipe in running:
            workers[pipe].terminate()
        for pipe, process in workers.items():
            pipe.close()
            _resume(process)
            now = time.monotonic()
            process.join((max(deadline - now, 0) if pipe in running else 0) + _GRACE)
            process.kill()
            process.join()
    yield from not_done((item for data in chunks for item in _unpickle(data)), False)


def _unpickle(data: bytes) -> list[t.Any]:
    """Return the items of a chunk, which only the processes of this task send to each other."""
    return t.cast("list[t.Any]", pickle.loads(data))  # noqa: S301 # nosec B301


def _resume(process: t.Any) -> None:
    """Let a process that someone has stopped continue, so that it can store what it received."""
    if process.is_alive():
        os.kill(process.pid, signal.SIGCONT)


def _start_processes(
    function: t.Callable[[Item], Result], parallel: int, processes: int, deadline: float
) -> dict[t.Any, t.Any]:
    """Start as many processes as the system allows, and return each by a pipe whose ends only it and its parent hold."""
    workers: dict[t.Any, t.Any] = {}
    gc.collect()
    gc.freeze()  # Otherwise the garbage collector writes to all objects, so that each process copies them.
    with contextlib.suppress(Exception):
        # Imported here, because few tasks need several processes.
        import socket
        from multiprocessing import get_context

        context, parent = get_context("fork"), os.getpid()
        for number in range(processes):
            ours, theirs = context.Pipe()
            with socket.socket(fileno=os.dup(ours.fileno())) as options:
                for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                    options.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", _GRACE, 0))
            threads = len(range(number, parallel, processes))
            arguments = (
                function,
                threads,
                theirs,
                [ours, *workers],
                lambda: is_over(deadline) or os.getppid() != parent,
            )
            with contextlib.closing(theirs):
                process = context.Process(target=_work, args=arguments, daemon=True)
                process.start()
            workers[ours] = process
    gc.unfreeze()
    return workers


def _work(
    function: t.Callable[[Item], Result], threads: int, pipe: t.Any, inherited: list[t.Any], stop: t.Callable[[], bool]
) -> None:
    """Do the chunks that come through a pipe until it is closed. Return results with the numbers of their items as they come."""
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - errors may contain secrets
    for other in inherited:
        other.close()

    def run(numbered: tuple[int, Item]) -> tuple[int, Result]:
        return numbered[0], function(numbered[1])

    with contextlib.suppress(EOFError, OSError):
        while True:
            waiting = collections.deque(enumerate(_unpickle(pipe.recv_bytes())))
            for results in run_in_threads(run, waiting, threads, stop):
                if results:
                    pipe.send((results, False))
            pipe.send(([], True))
