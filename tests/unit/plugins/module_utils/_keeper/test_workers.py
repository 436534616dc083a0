# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that threads and processes do each item once, even if a process is killed or stopped."""

from __future__ import annotations

import collections
import gc
import multiprocessing
import os
import pickle
import select
import signal
import threading
import time
import typing as t
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper import workers
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.fleet import (
    Report,
    keep_all,
    read_stored,
)
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.workers import (
    count_processes,
    run_all,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError
from ansible_collections.wuying.workspace.plugins.module_utils._plugin import wiring
from ansible_collections.wuying.workspace.plugins.module_utils._runtime.signals import (
    defer_signals,
    hold_signals,
    signal_pending,
)
from ansible_collections.wuying.workspace.plugins.module_utils._service import client
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import (
    EXPIRED,
    STALE,
    Fleet,
    end_of,
    ends,
    outcome_of,
)

FORK = multiprocessing.get_context("fork")
ITEMS = 400
CHUNK = 25
"""The items that two processes get at a time if there are 400 in all."""
LOST = "lost"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def lost(numbers: t.Iterable[int], _is_killed: bool) -> list[tuple[int, str]]:
    """Return the results of numbers that were not begun."""
    return [(number, LOST) for number in numbers]


def run(
    function: t.Callable[[int], t.Any],
    *,
    items: int = ITEMS,
    parallel: int = 8,
    processes: int = 2,
    seconds: float = 60,
) -> list[t.Any]:
    """Run a function for the numbers below ``items`` in several processes. Return the results."""
    return list(results_of(function, items, parallel=parallel, processes=processes, seconds=seconds))


def results_of(
    function: t.Callable[[int], t.Any], items: int, *, parallel: int = 8, processes: int = 2, seconds: float = 60
) -> t.Generator[t.Any, None, None]:
    """Run a function for the numbers below ``items`` in several processes. Yield the results."""
    deadline = time.monotonic() + seconds
    numbers = list(range(items))
    return run_all(function, numbers, parallel, processes, deadline=deadline, not_done=lost)


def number_and_process(number: int) -> tuple[int, int]:
    time.sleep(0.001)
    return number, os.getpid()


def large_result(number: int) -> tuple[int, bytes]:
    """Return more than fits into a pipe after a few items."""
    time.sleep(0.001)
    return number, bytes(20_000)


# Who does what


def test_several_processes_do_each_item_once() -> None:
    results = run(number_and_process)
    assert sorted(number for number, _process in results) == list(range(ITEMS))
    assert len({process for _number, process in results}) == 2
    assert os.getpid() not in {process for _number, process in results}
    assert gc.get_freeze_count() == 0


def test_each_thread_begins_items_in_the_order_of_their_blocks() -> None:
    begun: dict[tuple[int, int], list[tuple[float, int]]] = collections.defaultdict(list)
    for number, worker, now in run(lambda number: (number, (os.getpid(), threading.get_ident()), time.monotonic())):
        begun[worker].append((now, number))
    assert sum(map(len, begun.values())) == ITEMS
    for items in begun.values():
        blocks = [number // (2 * CHUNK) for _now, number in sorted(items)]
        assert blocks == sorted(blocks)


def test_processes_get_the_items_of_a_few_chunks_at_a_time_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    send_bytes = Connection.send_bytes
    chunks: list[list[int]] = []

    def record(pipe: t.Any, chunk: bytes) -> None:
        chunks.append(pickle.loads(chunk))
        send_bytes(pipe, chunk)

    monkeypatch.setattr(Connection, "send_bytes", record)
    run(number_and_process)
    block = 2 * CHUNK
    assert chunks == [
        list(range(first + number, min(first + block, ITEMS), 2))
        for first in range(0, ITEMS, block)
        for number in (0, 1)
    ]


@pytest.mark.parametrize(
    ("items", "parallel", "processes", "size"),
    [(10_000, 8, 3, 48), (10_000, 256, 3, 416), (1000, 256, 3, 86), (300, 8, 3, 12), (60, 8, 3, 3)],
)
def test_chunks_are_small_but_have_an_item_for_each_thread(
    items: int, parallel: int, processes: int, size: int
) -> None:
    assert workers._chunk_size(items, parallel, processes) == size


def test_no_more_items_than_parallel_are_running() -> None:
    running, most = FORK.Array("d", 2), 9

    def count(number: int) -> int:
        with running.get_lock():
            running[0] += 1
            running[1] = max(running[1], running[0])
        time.sleep(0.005)
        with running.get_lock():
            running[0] -= 1
        return number

    run(count, parallel=most, processes=2)
    assert running[1] == most


@pytest.mark.parametrize(
    ("items", "parallel", "processors", "processes"),
    [
        (100_000, 8, 2, 3),
        (100_000, 8, 64, 4),
        (100_000, 64, 4, 5),
        (100_000, 3, 4, 1),
        (100_000, 4, 4, 2),
        (199, 8, 2, 1),
        (200, 8, 2, 2),
        (300, 8, 2, 3),
        (1, 1, 2, 1),
        (0, 8, 2, 1),
        (100_000, 8, 1, 2),
    ],
)
def test_the_number_of_processes_fits_items_threads_and_processors(
    monkeypatch: pytest.MonkeyPatch, items: int, parallel: int, processors: int, processes: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(processors)), raising=False)
    assert count_processes(items, parallel) == processes


def test_one_process_does_all_if_the_number_of_processors_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert count_processes(100_000, 64) == 1


@pytest.mark.parametrize("error", [OSError("no process"), AssertionError("daemonic")])
def test_this_process_does_all_if_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_process: object) -> None:
        raise error

    monkeypatch.setattr(multiprocessing.get_context("fork").Process, "start", fail)
    results = run(number_and_process)
    assert sorted(results) == [(number, os.getpid()) for number in range(ITEMS)]
    assert gc.get_freeze_count() == 0


def test_one_process_does_all_if_no_second_one_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = multiprocessing.get_context("fork").Process
    start, started = process.start, []

    def start_one(self: t.Any) -> None:
        started.append(self)
        if len(started) > 1:
            raise OSError("no process")
        start(self)

    monkeypatch.setattr(process, "start", start_one)
    results = run(number_and_process)
    assert sorted(results) == [(number, started[0].pid) for number in range(ITEMS)]


def test_this_process_does_all_if_the_system_cannot_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_method: str) -> t.NoReturn:
        raise OSError

    monkeypatch.setattr(multiprocessing, "get_context", fail)
    assert {process for _number, process in run(number_and_process)} == {os.getpid()}


def test_this_thread_does_all_if_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_thread: threading.Thread) -> t.NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    results = run(lambda number: (number, threading.get_ident()), processes=1)
    assert results == [(number, threading.get_ident()) for number in range(ITEMS)]


# Processes that are killed, and those that remain


def test_only_the_chunk_of_a_killed_process_is_lost(tmp_path: Path) -> None:
    def kill_itself(number: int) -> tuple[int, int]:
        if number == 100:
            (tmp_path / "killed").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return number_and_process(number)

    results = run(kill_itself)
    assert collections.Counter(number for number, _result in results) == dict.fromkeys(range(ITEMS), 1)
    lost = {number for number, result in results if result == LOST}
    assert 100 in lost
    assert len(lost) <= CHUNK
    last = {result for number, result in results if number >= ITEMS - 100}
    assert len(last) == 1 and int((tmp_path / "killed").read_text()) not in last


def test_all_items_are_lost_if_all_processes_are_killed() -> None:
    def kill_itself(number: int) -> tuple[int, int]:
        os.kill(os.getpid(), signal.SIGKILL)
        return number, 0

    assert sorted(run(kill_itself)) == [(number, LOST) for number in range(ITEMS)]


def test_nothing_is_lost_if_a_process_is_killed_while_it_is_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send_bytes, pipes = Connection.send_bytes, []

    def send_or_fail(pipe: t.Any, chunk: bytes) -> None:
        pipes.append(pipe)
        if len(pipes) == 6:
            raise BrokenPipeError
        assert len(pipes) < 6 or pipe is not pipes[5]
        send_bytes(pipe, chunk)

    monkeypatch.setattr(Connection, "send_bytes", send_or_fail)
    results = run(number_and_process)
    assert sorted(number for number, _process in results) == list(range(ITEMS))
    assert LOST not in {process for _number, process in results}


def test_a_process_that_is_killed_while_it_writes_is_not_waited_for() -> None:
    results = results_of(large_result, ITEMS)
    first = next(results)
    time.sleep(0.5)  # The results of a chunk do not fit into a pipe, so one process is waiting for its reader.
    for process in t.cast("list[t.Any]", multiprocessing.active_children()):
        process.kill()
    done = dict(t.cast("list[tuple[int, t.Any]]", [first, *results]))
    assert sorted(done) == list(range(ITEMS))
    assert 0 < sum(result != LOST for result in done.values()) <= 2 * CHUNK


def test_an_error_in_a_process_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(number: int) -> int:
        print("v1secret")
        raise ValueError("v1secret")

    assert sorted(run(fail)) == [(number, LOST) for number in range(ITEMS)]
    assert capfd.readouterr() == ("", "")


def test_no_process_remains_if_the_caller_wants_no_more_results() -> None:
    begun = FORK.Value("i")

    def count(number: int) -> int:
        with begun.get_lock():
            begun.value += 1
        time.sleep(0.01)
        return number

    results = results_of(count, 100_000)
    next(results)
    results.close()
    assert not multiprocessing.active_children()
    assert begun.value < 1000


def test_no_process_waits_for_a_caller_that_wants_no_more_results() -> None:
    results = results_of(large_result, 100_000)
    next(results)
    time.sleep(0.5)  # The pipes are full by now.
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 10
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("function", [large_result, number_and_process])
def test_processes_finish_their_items_and_end_if_the_parent_is_killed(
    function: t.Callable[[int], t.Any],
) -> None:
    alive, line = os.pipe()
    counts = FORK.Array("i", 2)

    def count(number: int) -> t.Any:
        with counts.get_lock():
            counts[0] += 1
        result = function(number)
        with counts.get_lock():
            counts[1] += 1
        return result

    def work() -> None:
        os.close(alive)
        with hold_signals():
            run(count, items=100_000, processes=3)

    process = FORK.Process(target=work)
    process.start()
    os.close(line)
    end = time.monotonic() + 20
    while not counts[0] and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.2)
    process.kill()
    process.join(10)
    readable, _writable, _exceptional = select.select([alive], [], [], 20)
    assert readable and os.read(alive, 1) == b"", "a process remains"
    os.close(alive)
    assert 0 < counts[0] == counts[1] < 100_000


def test_the_other_processes_do_the_items_of_one_that_gets_a_signal() -> None:
    def signal_itself(number: int) -> tuple[int, int]:
        if number == 20:
            os.kill(os.getpid(), signal.SIGTERM)
        return number_and_process(number)

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with hold_signals():
            results = run(signal_itself)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sorted(number for number, _process in results) == list(range(ITEMS))
    assert LOST not in {process for _number, process in results}
    assert len({process for number, process in results if number >= ITEMS - 100}) == 1


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("send", ["to the parent", "to all processes"])
def test_all_processes_finish_what_they_began_at_a_signal(processes: int, send: str) -> None:
    """Run in a process group, which a signal can be sent to."""
    receiver, sender = FORK.Pipe(duplex=False)
    begun = FORK.Array("b", ITEMS)
    first_done = FORK.Event()

    def work() -> None:
        os.setpgid(0, 0)
        parent = os.getpid()

        def signal_others(number: int) -> tuple[int, bool]:
            begun[number] = 1
            if number == 20:
                while not first_done.is_set():
                    time.sleep(0.001)
                if send == "to the parent":
                    os.kill(parent, signal.SIGTERM)
                else:
                    os.killpg(0, signal.SIGTERM)
            time.sleep(0.005)
            pending = signal_pending()
            if number == 0:
                first_done.set()
            return number, pending

        received: list[bool] = []
        signal.signal(signal.SIGTERM, lambda *_signal: received.append(True))
        with hold_signals():
            sender.send(run(signal_others, processes=processes))
            assert not received
        sender.send(received)

    process = FORK.Process(target=work)
    process.start()
    assert receiver.poll(20)
    results = dict(receiver.recv())
    assert receiver.poll(20)
    assert receiver.recv() == [True]
    process.join(20)
    assert process.exitcode == 0
    assert sorted(results) == list(range(ITEMS))
    assert {number for number, result in results.items() if result != LOST} == {
        number for number in range(ITEMS) if begun[number]
    }
    assert results[0] is False
    assert results[ITEMS - 1] == LOST, "an item was begun after the signal"


# Processes that are stopped, or that hang


def stop_for_ever() -> t.NoReturn:
    """Stop this process. Stop it again whenever it continues."""
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)


def wait_for_ever() -> t.NoReturn:
    """Block a thread of this process."""
    threading.Event().wait()
    raise AssertionError


@pytest.fixture(name="grace")
def fixture_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time that a process may take after the deadline."""
    monkeypatch.setattr(workers, "_GRACE", 1)


def processor_time(process: int) -> float:
    """Return the processor time of a process, in ticks."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return float(fields[11]) + float(fields[12])


def assert_bounded(start: float) -> None:
    """Check that a test that began at ``start`` did not take long, and that no process remains."""
    assert time.monotonic() - start < 20
    assert not multiprocessing.active_children()


def test_a_stopped_process_finishes_what_it_began_at_the_deadline() -> None:
    begun = FORK.Array("b", ITEMS)

    def stop_itself(number: int) -> tuple[int, int]:
        begun[number] = 1
        if number == 100:
            os.kill(os.getpid(), signal.SIGSTOP)
        return number_and_process(number)

    start = time.monotonic()
    results = run(stop_itself, seconds=2)
    assert_bounded(start)
    assert sorted(number for number, _process in results) == list(range(ITEMS))
    assert {number for number, process in results if process == LOST} == {
        number for number in range(ITEMS) if not begun[number]
    }


@pytest.mark.parametrize("processes", [1, 2])
def test_no_item_is_begun_after_the_deadline(processes: int) -> None:
    def take_long(number: int) -> tuple[int, float]:
        began = time.monotonic()
        time.sleep(0.1)
        return number, began

    end = time.monotonic() + 3
    results = run(take_long, seconds=3, processes=processes)
    assert time.monotonic() < end + workers._GRACE
    assert sorted(number for number, _began in results) == list(range(ITEMS))
    begun = [began for _number, began in results if began != LOST]
    assert begun and max(begun) < end + 0.5
    assert len(begun) < ITEMS


@pytest.mark.usefixtures("grace")
@pytest.mark.parametrize("stay", [stop_for_ever, wait_for_ever])
def test_a_process_that_does_not_continue_is_killed_and_its_other_results_arrive(stay: t.Callable[[], object]) -> None:
    begun = FORK.Array("b", ITEMS)

    def stop_itself(number: int) -> tuple[int, int]:
        begun[number] = 1
        if number == 100:
            time.sleep(0.3)  # The results of the items before it have been sent by then.
            stay()
        return number_and_process(number)

    start = time.monotonic()
    results = run(stop_itself, seconds=2)
    assert_bounded(start)
    assert collections.Counter(number for number, _result in results) == dict.fromkeys(range(ITEMS), 1)
    lost = {number for number, result in results if result == LOST}
    assert 100 in lost
    if stay is wait_for_ever:  # Its other threads go on.
        assert lost == {100}
    assert len(lost) < CHUNK
    assert all(begun[number] for number in range(ITEMS) if number not in lost)


@pytest.mark.usefixtures("grace")
@pytest.mark.parametrize("stay", [stop_for_ever, wait_for_ever])
def test_all_items_are_lost_in_time_if_no_process_continues(stay: t.Callable[[], object]) -> None:
    def stop_itself(number: int) -> tuple[int, str]:
        stay()
        return number, ""

    start = time.monotonic()
    assert sorted(run(stop_itself, seconds=1)) == [(number, LOST) for number in range(ITEMS)]
    assert_bounded(start)


@pytest.mark.usefixtures("grace")
def test_a_process_that_is_stopped_in_the_middle_of_a_message_is_not_waited_for() -> None:
    begun = FORK.Array("i", ITEMS)

    def work(number: int) -> tuple[int, t.Any]:
        begun[number] = os.getpid()
        return number, (os.getpid(), large_result(number))

    results = results_of(work, ITEMS)
    first = next(results)
    (other,) = {process.pid for process in multiprocessing.active_children()} - {first[1][0]}
    # The results of a chunk do not fit into a pipe, so the process soon waits for its reader, and then uses no processor time.
    before = -1.0
    while other not in begun[:] or processor_time(t.cast(int, other)) != before:
        before = processor_time(t.cast(int, other))
        time.sleep(0.5)
    os.kill(t.cast(int, other), signal.SIGSTOP)
    start = time.monotonic()
    done = dict([first, *results])
    assert_bounded(start)
    assert sorted(done) == list(range(ITEMS))
    assert 0 < sum(result == LOST for result in done.values()) <= CHUNK


@pytest.mark.usefixtures("grace")
def test_a_chunk_for_a_stopped_process_is_done_by_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped when it has nothing to do, and the chunk does not fit into its pipe."""
    send_bytes, pipes = Connection.send_bytes, []

    def stop_and_send(pipe: t.Any, chunk: bytes) -> None:
        pipes.append(pipe)
        if len(pipes) == 6:
            chunk += bytes(1_000_000)
            (stopped,) = [process for process in multiprocessing.active_children() if process.pid == owners[pipe]]
            os.kill(t.cast(int, stopped.pid), signal.SIGSTOP)
        send_bytes(pipe, chunk)

    owners: dict[t.Any, int | None] = {}
    start_processes = workers._start_processes

    def start_and_remember(*arguments: t.Any) -> t.Any:
        started = start_processes(*arguments)
        owners.update({pipe: process.pid for pipe, process in started.items()})
        return started

    monkeypatch.setattr(workers, "_start_processes", start_and_remember)
    monkeypatch.setattr(Connection, "send_bytes", stop_and_send)
    start = time.monotonic()
    results = run(number_and_process)
    assert_bounded(start)
    assert sorted(number for number, _result in results) == list(range(ITEMS))
    assert LOST not in [result for _number, result in results]


@pytest.mark.usefixtures("grace")
@pytest.mark.parametrize("stay", [stop_for_ever, wait_for_ever])
def test_a_stopped_process_does_not_stay_if_the_caller_wants_no_more_results(stay: t.Callable[[], object]) -> None:
    def stop_itself(number: int) -> tuple[int, int]:
        if number == 100:
            stay()
        return number_and_process(number)

    results = results_of(stop_itself, 100_000, seconds=2)
    for _result in range(ITEMS):
        next(results)
    start = time.monotonic()
    results.close()
    assert_bounded(start)


def test_a_signal_ends_a_task_with_a_stopped_process_and_nothing_that_was_begun_is_lost() -> None:
    begun = FORK.Array("b", 100_000)
    stopped = FORK.Event()

    def stop_itself(number: int) -> tuple[int, int]:
        begun[number] = 1
        if number == 100:
            stopped.set()
            os.kill(os.getpid(), signal.SIGSTOP)
        return number_and_process(number)

    def send_signal(parent: int) -> None:
        assert stopped.wait(20)
        os.kill(parent, signal.SIGTERM)

    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    thread = threading.Thread(target=send_signal, args=(os.getpid(),))
    start = time.monotonic()
    try:
        thread.start()
        with hold_signals():
            results = run(stop_itself, items=100_000, seconds=600)
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]
    assert_bounded(start)
    assert {number for number, result in results if result != LOST} == {
        number for number in range(100_000) if begun[number]
    }


# Many sessions


@pytest.fixture(name="processes")
def fixture_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use several processes for few sessions."""
    monkeypatch.setattr(workers, "_MIN_ITEMS", 10)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1}, raising=False)


@pytest.fixture(name="names")
def fixture_names() -> list[str]:
    return [f"user-{number:03}" for number in range(60)]


@pytest.mark.usefixtures("processes")
def test_several_processes_refresh_each_session_once(rotating: Fleet, names: list[str]) -> None:
    before = rotating.have(dict.fromkeys(names, STALE))
    reports = rotating.keep()
    assert {end_of(report) for report in reports} == {"refreshed"}
    assert rotating.requests() == len(names)
    for name in names:
        stored = rotating.stored(name)
        assert stored is not None and stored.login_token != before[name].login_token
    assert sorted(report.position for report in reports) == list(range(len(names)))
    for report in reports:
        assert report.session is not None
        stored = rotating.stored(report.session.end_user_id)
        assert stored is not None and outcome_of(report).record == stored.without_lineage()


@pytest.mark.usefixtures("processes")
def test_processes_report_failures_as_they_are(fleet: Fleet, names: list[str]) -> None:
    fleet.have(dict.fromkeys(names, -5))
    fleet.emulator.fault("error", code="Forbidden.RAM", status=403, count=None)
    reports = fleet.keep()
    assert {end_of(report) for report in reports} == {"Forbidden.RAM"}
    for report in reports:
        error = t.cast(t.Any, report.result)
        assert (error.http_status, error.retryable) == (403, False)
        assert "ecd:RefreshLoginToken" in error.message


@pytest.mark.usefixtures("processes")
def test_credentials_are_found_once_for_all_processes(fleet: Fleet, names: list[str]) -> None:
    fleet.have(dict.fromkeys(names, STALE))
    found = FORK.Value("i")
    with fleet.keeper() as plain:

        def connect() -> client.ServiceClient:
            with found.get_lock():
                found.value += 1
            return plain._connect()

        keeper = Keeper(fleet.store, wiring._once(connect), scope="", deadline=time.monotonic() + 30)
        reports = list(keep_all(keeper, read_stored(fleet.store, TokenRequest)))
    assert ends(reports) == dict.fromkeys(names, "refreshed")
    assert found.value == 1


@pytest.mark.usefixtures("processes")
def test_each_session_reports_missing_credentials_and_nothing_is_forked(fleet: Fleet, names: list[str]) -> None:
    fleet.have(dict.fromkeys(names, EXPIRED))
    calls: list[int] = []

    def connect() -> t.NoReturn:
        calls.append(os.getpid())
        raise OptionError("There are no credentials.", code="MissingCredentials")

    keeper = Keeper(fleet.store, connect, scope="", deadline=time.monotonic() + 30)
    reports = list(keep_all(keeper, read_stored(fleet.store, TokenRequest)))
    assert ends(reports) == dict.fromkeys(names, "MissingCredentials")
    assert calls == [os.getpid()] * (1 + len(names)), "a process was forked"


@pytest.mark.usefixtures("processes")
def test_nothing_is_forked_if_one_process_must_send_all(
    fleet: Fleet, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiprocessing.get_context("fork").Process, "start", lambda _process: pytest.fail("forked"))
    fleet.have(dict.fromkeys(names, STALE))
    with fleet.keeper() as keeper:
        reports = list(keep_all(keeper, read_stored(fleet.store, TokenRequest), one_process=True))
    assert ends(reports) == dict.fromkeys(names, "refreshed")


@pytest.mark.usefixtures("processes")
def test_the_sessions_of_a_killed_process_fail_and_others_are_refreshed(
    fleet: Fleet, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.have(dict.fromkeys(names, STALE))
    refresh = client.ServiceClient.refresh

    def kill_at_one(service: t.Any, session: t.Any, *arguments: t.Any, **options: t.Any) -> t.Any:
        if session.end_user_id == names[10]:
            os.kill(os.getpid(), signal.SIGKILL)
        return refresh(service, session, *arguments, **options)

    monkeypatch.setattr(client.ServiceClient, "refresh", kill_at_one)
    reports = fleet.keep()
    by_name = {report.session.end_user_id: report for report in reports if report.session}
    assert len(by_name) == len(reports) == len(names)
    assert end_of(by_name[names[10]]) == "Interrupted"
    assert t.cast(t.Any, by_name[names[10]].result).retryable
    assert {end_of(report) for report in reports} == {"refreshed", "Interrupted"}
    monkeypatch.undo()
    again = fleet.keep()
    assert {end_of(report) for report in again} <= {"refreshed", "unchanged"}


@pytest.mark.usefixtures("processes", "grace")
def test_the_session_of_a_stopped_process_fails_at_the_deadline_and_others_are_refreshed(
    fleet: Fleet, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.have(dict.fromkeys(names, STALE))
    refresh = client.ServiceClient.refresh

    def stop_at_one(service: t.Any, session: t.Any, *arguments: t.Any, **options: t.Any) -> t.Any:
        if session.end_user_id == names[10]:
            stop_for_ever()
        return refresh(service, session, *arguments, **options)

    monkeypatch.setattr(client.ServiceClient, "refresh", stop_at_one)
    start = time.monotonic()
    reports = fleet.keep(seconds=4)
    assert time.monotonic() - start < 20
    by_name = {report.session.end_user_id: report for report in reports if report.session}
    assert len(by_name) == len(reports) == len(names)
    error = t.cast(t.Any, by_name[names[10]].result)
    assert (error.code, error.retryable) == ("Interrupted", True)
    assert "did not finish before the deadline" in error.message
    assert sum(end_of(report) == "refreshed" for report in reports) > len(names) / 2
    monkeypatch.undo()
    again = fleet.keep()
    assert {end_of(report) for report in again} <= {"refreshed", "unchanged"}


@pytest.mark.usefixtures("processes")
def test_all_processes_finish_the_sessions_they_began_at_a_signal(rotating: Fleet, names: list[str]) -> None:
    rotating.have(dict.fromkeys(names, STALE))
    rotating.emulator.fault("drip", interval=0.004, carried_out=True, count=None)
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    try:
        with defer_signals():
            timer.start()
            reports: list[Report] = rotating.keep(timeout=30)
            assert not received
    finally:
        timer.join()
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]
    ended = ends(reports)
    begun = set(rotating.users())
    assert {name for name, end in ended.items() if end == "refreshed"} == begun
    assert {end for name, end in ended.items() if name not in begun} == {"Interrupted"}
    assert len(reports) == len(ended) == len(names)
