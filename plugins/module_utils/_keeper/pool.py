# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turns that are taken side by side: by threads and, where there are many turns, by those of several processes.

Python runs one thread of a process at a time, so more processors are put to use by more processes only.
"""

from __future__ import annotations

import collections
import contextlib
import os
import typing as t

from .._runtime.shared import Shared
from .._runtime.signals import signal_pending

T = t.TypeVar("T")
Turn = t.Callable[[int], T]

_LOOK = 0.05
"""How often, in seconds, it is looked for turns that have ended: to be woken for each would cost the workers time."""
_THREADS = 2
"""How many threads a process has at least, before there is another."""
_TURNS = 100
"""How many turns a process has at least: to start one takes as long as some of them."""


class Numbers:
    """Gives out the numbers below ``end``, each once and in their order, to threads, and to processes where it is shared."""

    def __init__(self, end: int) -> None:
        self._end = end
        self._next = Shared(1)
        self.share = self._next.share
        self.until_signal = False
        """Whether this process is given none any more once it was told to stop."""

    def __iter__(self) -> Numbers:
        return self

    def __next__(self) -> int:
        if self.until_signal and signal_pending():
            raise StopIteration
        with self._next as numbers:
            number = int(numbers[0])
            if number >= self._end:
                raise StopIteration
            numbers[0] = number + 1
        return number

    def stop(self) -> None:
        """Give out no more."""
        with self._next as numbers:
            numbers[0] = self._end


def count_processes(turns: int, parallel: int) -> int:
    """Return how many processes are worth while for so many turns, of which so many are taken at a time."""
    # Where it is not Linux, a process that was forked must not use all of what the system offers.
    if not hasattr(os, "sched_getaffinity"):
        return 1
    # One more than processors, since each waits for its disk and for the service now and then.
    processors = len(os.sched_getaffinity(0)) + 1
    return max(1, min(processors, parallel // _THREADS, turns // _TURNS))


def take_turns(turn: Turn[T], turns: int, parallel: int, processes: int, lost: Turn[T]) -> t.Iterator[T]:
    """Yield what ``turn`` returns for each number below ``turns``, in the order in which they end.

    They are begun in the order of their numbers, ``parallel`` at a time. ``turn`` must not raise. ``lost`` returns what is yielded for the
    turns that a process had taken that died, and for those that nobody took, since all processes died or were told to stop: a signal that is
    held in this process is passed on to them.
    """
    numbers = Numbers(turns)
    working = _start(turn, numbers, parallel, processes) if processes > 1 else {}
    if working:
        yield from _gather(working, numbers, turns, lost)
    else:
        for batch in _by_threads(turn, numbers, min(turns, parallel)):
            yield from batch


def _by_threads(turn: Turn[T], numbers: Numbers, threads: int) -> t.Generator[list[T], None, None]:
    """Yield lists of what ``turn`` returns for the numbers that are given out to this process."""
    if threads <= 1:
        for number in numbers:
            yield [turn(number)]
        return
    # Imported here, so that a task that exchanges one token or none pays for no threads.
    from concurrent.futures import ThreadPoolExecutor, wait

    ended: collections.deque[T] = collections.deque()

    def work() -> None:
        for number in numbers:
            ended.append(turn(number))

    with ThreadPoolExecutor(threads) as pool:
        working = set()
        # Where no more threads are to be had, those that there are do the work, or this one.
        with contextlib.suppress(RuntimeError):
            for _thread in range(threads):
                working.add(pool.submit(work))
        if not working:
            work()
        try:
            while working or ended:
                done, working = wait(working, _LOOK)
                batch = [ended.popleft() for _turn in range(len(ended))]
                if batch:
                    yield batch
                for worker in done:
                    worker.result()
        except BaseException:
            numbers.stop()  # Where nobody listens any more, nothing more is begun.
            raise


def _gather(working: dict[t.Any, t.Any], numbers: Numbers, turns: int, lost: Turn[T]) -> t.Iterator[T]:
    """Yield what processes report, and ``lost`` for what none of them has reported in the end."""
    import gc
    from multiprocessing.connection import wait

    reported = bytearray(turns)
    told = False
    try:
        while working:
            for receiver in t.cast("list[t.Any]", wait(list(working), _LOOK)):
                try:
                    batch = receiver.recv()
                except (EOFError, OSError):
                    receiver.close()
                    working.pop(receiver).join()
                    continue
                for number, end in batch:
                    if not reported[number]:
                        reported[number] = True
                        yield end
            if signal_pending() and not told:
                told = True
                for process in working.values():
                    process.terminate()
    finally:
        numbers.stop()
        for receiver, process in working.items():
            receiver.close()
            process.join()
        gc.unfreeze()
    for number in range(turns):
        if not reported[number]:
            yield lost(number)


def _start(turn: Turn[T], numbers: Numbers, parallel: int, processes: int) -> dict[t.Any, t.Any]:
    """Start processes, as many as there are to be had, and return them by the connections over which they report."""
    # Imported here, so that hardly any task pays for it.
    import gc
    import multiprocessing

    started: dict[t.Any, t.Any] = {}
    if not numbers.share():
        return started
    context = multiprocessing.get_context("fork")
    gc.collect()
    gc.freeze()  # What there is stays where it is, in memory that all share.
    # Some processes may have none of their own, and at times nobody may have more of them.
    with contextlib.suppress(Exception):
        for place in range(processes):
            receiver, sender = context.Pipe(duplex=False)
            threads = len(range(place, parallel, processes))
            process = context.Process(
                target=_report,
                args=(turn, numbers, threads, sender, [receiver, *started]),
                daemon=True,
            )
            with contextlib.closing(sender):
                process.start()
            started[receiver] = process
    if not started:
        gc.unfreeze()
    return started


def _report(turn: Turn[T], numbers: Numbers, threads: int, sender: t.Any, inherited: list[t.Any]) -> None:
    """Take turns, and send what each number brought. Nothing is printed, whatever happens: nobody knows what is in it."""
    for receiver in inherited:
        receiver.close()  # Otherwise nobody would notice when nobody listens any more.
    numbers.until_signal = True
    batches = _by_threads(lambda number: (number, turn(number)), numbers, threads)
    with contextlib.suppress(Exception), contextlib.closing(sender), contextlib.closing(batches):
        for batch in batches:
            sender.send(batch)
