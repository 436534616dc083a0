# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turns that are taken by the threads of several processes: each once, whatever happens to a process."""

from __future__ import annotations

import collections
import gc
import multiprocessing
import os
import select
import signal
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper import pool
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.fleet import (
    Report,
    keep_all,
    read_stored,
)
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.packed import Packed
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.pool import (
    count_processes,
    take_turns,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError
from ansible_collections.wuying.workspace.plugins.module_utils._runtime import shared
from ansible_collections.wuying.workspace.plugins.module_utils._runtime.shared import Shared
from ansible_collections.wuying.workspace.plugins.module_utils._runtime.signals import (
    defer_signals,
    hold_signals,
    signal_pending,
)
from ansible_collections.wuying.workspace.plugins.module_utils._service import client
from ansible_collections.wuying.workspace.plugins.module_utils._service.rate_limit import (
    RateLimiters,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import (
    STALE,
    Fleet,
    end_of,
    ends,
    outcome_of,
)

FORK = multiprocessing.get_context("fork")
TURNS = 400
LOST = "lost"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def take(turn: t.Callable[[int], t.Any], *, turns: int = TURNS, parallel: int = 8, processes: int = 2) -> list[t.Any]:
    """Take turns by several processes; return what they brought."""
    return list(take_turns(turn, turns, parallel, processes, lambda number: (number, LOST)))


def number_and_process(number: int) -> tuple[int, int]:
    time.sleep(0.001)
    return number, os.getpid()


# Who does what


def test_each_turn_is_taken_once_by_several_processes() -> None:
    ends = take(number_and_process)
    assert sorted(number for number, _process in ends) == list(range(TURNS))
    assert len({process for _number, process in ends}) == 2
    assert os.getpid() not in {process for _number, process in ends}


def test_turns_begin_in_the_order_of_their_numbers() -> None:
    taken: dict[tuple[int, int], list[tuple[float, int]]] = collections.defaultdict(list)
    for number, worker, now in take(lambda number: (number, (os.getpid(), threading.get_ident()), time.monotonic())):
        taken[worker].append((now, number))
    assert sum(map(len, taken.values())) == TURNS
    for turns in taken.values():
        numbers = [number for _now, number in sorted(turns)]
        assert numbers == sorted(numbers)


def test_no_more_turns_than_wanted_are_taken_at_a_time() -> None:
    under_way, most = Shared(2), 9
    assert under_way.share()

    def turn(number: int) -> int:
        with under_way as numbers:
            numbers[0] += 1
            numbers[1] = max(numbers[1], numbers[0])
        time.sleep(0.005)
        with under_way as numbers:
            numbers[0] -= 1
        return number

    take(turn, parallel=most, processes=2)
    with under_way as numbers:
        assert numbers[1] == most


@pytest.mark.parametrize(
    ("turns", "parallel", "processors", "processes"),
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
def test_there_are_as_many_processes_as_are_worth_while(
    monkeypatch: pytest.MonkeyPatch, turns: int, parallel: int, processors: int, processes: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(processors)), raising=False)
    assert count_processes(turns, parallel) == processes


def test_where_nobody_says_how_many_processors_there_are_one_process_does_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert count_processes(100_000, 64) == 1


@pytest.mark.parametrize("error", [OSError("no process"), AssertionError("daemonic")])
def test_where_no_process_can_be_had_this_one_does_all(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_process: object) -> None:
        raise error

    monkeypatch.setattr(multiprocessing.get_context("fork").Process, "start", fail)
    assert {process for _number, process in take(number_and_process)} == {os.getpid()}
    assert gc.get_freeze_count() == 0, "what there is stays out of reach of the garbage collector"


def test_where_processes_cannot_share_numbers_this_one_does_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_method: str) -> t.NoReturn:
        raise OSError

    monkeypatch.setattr(multiprocessing, "get_context", fail)
    assert not Shared(1).share()
    assert {process for _number, process in take(number_and_process)} == {os.getpid()}


def test_where_no_thread_can_be_had_this_one_takes_each_turn_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_thread: threading.Thread) -> t.NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    ends = take(lambda number: (number, threading.get_ident()), processes=1)
    assert ends == [(number, threading.get_ident()) for number in range(TURNS)]


# Processes that die, and those that are left


def test_what_a_process_had_that_was_killed_is_lost_and_the_others_do_the_rest(
    tmp_path: Path,
) -> None:
    def turn(number: int) -> tuple[int, int]:
        if number == 100:
            (tmp_path / "killed").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return number_and_process(number)

    ends = take(turn)
    assert collections.Counter(number for number, _end in ends) == dict.fromkeys(range(TURNS), 1)
    lost = {number for number, end in ends if end == LOST}
    assert 100 in lost
    last = {end for number, end in ends if number >= TURNS - 100}
    assert len(last) == 1 and int((tmp_path / "killed").read_text()) not in last


def test_where_all_processes_die_all_that_is_left_is_lost() -> None:
    def turn(number: int) -> tuple[int, int]:
        os.kill(os.getpid(), signal.SIGKILL)
        return number, 0

    assert sorted(take(turn)) == [(number, LOST) for number in range(TURNS)]


def test_what_goes_wrong_in_a_process_is_printed_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    def turn(number: int) -> int:
        raise ValueError("v1secret")

    assert sorted(take(turn)) == [(number, LOST) for number in range(TURNS)]
    assert capfd.readouterr() == ("", "")


def test_no_process_is_left_where_nobody_wants_the_rest() -> None:
    begun = Shared(1)
    assert begun.share()

    def turn(number: int) -> int:
        with begun as numbers:
            numbers[0] += 1
        time.sleep(0.01)
        return number

    ends = take_turns(turn, 100_000, 8, 2, lambda number: number)
    next(ends)
    t.cast("t.Generator[int, None, None]", ends).close()
    assert not multiprocessing.active_children()
    with begun as numbers:
        assert numbers[0] < 1000


def with_much(number: int) -> tuple[int, bytes]:
    """Return more than a pipe takes before it is read, after some turns."""
    time.sleep(0.001)
    return number, bytes(20_000)


def test_no_process_waits_for_a_listener_that_has_gone() -> None:
    ends = take_turns(with_much, 100_000, 8, 2, lambda number: (number, b""))
    next(ends)
    time.sleep(0.5)  # The pipes are full by now.
    start = time.monotonic()
    t.cast("t.Generator[t.Any, None, None]", ends).close()
    assert time.monotonic() - start < 10
    assert not multiprocessing.active_children()


def test_processes_end_soon_after_the_one_that_forked_them_was_killed() -> None:
    alive, line = os.pipe()

    def work() -> None:
        os.close(alive)
        take(with_much, turns=100_000)

    process = FORK.Process(target=work)
    process.start()
    os.close(line)
    time.sleep(0.5)
    process.kill()
    process.join(10)
    readable, _writable, _exceptional = select.select([alive], [], [], 20)
    assert readable and os.read(alive, 1) == b"", "a process is left"
    os.close(alive)


def test_a_process_that_is_told_to_stop_by_somebody_else_leaves_the_rest_to_the_others() -> None:
    def turn(number: int) -> tuple[int, int]:
        if number == 20:
            os.kill(os.getpid(), signal.SIGTERM)
        return number_and_process(number)

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with hold_signals():
            ends = take(turn)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sorted(number for number, _end in ends) == list(range(TURNS))
    assert LOST not in {end for _number, end in ends}
    assert len({end for number, end in ends if number >= TURNS - 100}) == 1


def test_a_number_that_is_given_out_twice_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given = pool.Numbers.__next__

    def again(numbers: pool.Numbers) -> int:
        number = given(numbers)
        return number - 1 if number % 10 == 9 else number

    monkeypatch.setattr(pool.Numbers, "__next__", again)
    ends = take(number_and_process)
    assert sorted(number for number, _end in ends) == list(range(TURNS))
    assert [number for number, end in sorted(ends, key=str) if end == LOST] != []


def test_a_signal_reaches_all_processes() -> None:
    def turn(number: int) -> tuple[int, bool]:
        if number == 20:
            os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(0.005)
        return number, signal_pending()

    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_signal: heard.append(True))
    try:
        with hold_signals():
            ends = dict(take(turn))
            assert not heard
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [True]
    assert sorted(ends) == list(range(TURNS))
    assert not ends[0]
    assert ends[TURNS - 1] == LOST, "a turn was taken after the signal"


# What they share


def test_a_lock_whose_holder_died_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_PATIENCE", 0.05)
    numbers_ = Shared(1)
    assert numbers_.share()

    def die() -> None:
        with numbers_:
            os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=die)
    process.start()
    process.join(10)
    start = time.monotonic()
    with numbers_ as numbers:
        numbers[0] = 1.0
    assert time.monotonic() - start >= 0.05
    monkeypatch.undo()
    for _time in range(100):  # From then on nobody waits.
        with numbers_ as numbers:
            numbers[0] += 1.0
    assert time.monotonic() - start < 3


def test_a_lock_that_somebody_lost_patience_with_holds_again_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared, "_PATIENCE", 0.05)
    numbers_ = Shared(1)
    assert numbers_.share()
    thread = threading.Thread(target=numbers_.__enter__)
    with numbers_:
        thread.start()
        thread.join()
    monkeypatch.setattr(numbers_, "_patience", 60)
    order: list[int] = []

    def hold(place: int) -> None:
        with numbers_:
            order.append(place)
            time.sleep(0.01)
            order.append(place)

    threads = [threading.Thread(target=hold, args=(place,)) for place in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert order[0] == order[1] and order[2] == order[3] and order[4] == order[5]


def test_numbers_that_were_there_before_are_shared_too() -> None:
    numbers_ = Shared(2)
    with numbers_ as numbers:
        numbers[1] = 0.5
    assert numbers_.share()
    with numbers_ as numbers:
        assert list(numbers) == [0.0, 0.5]


def test_processes_keep_one_pace() -> None:
    paces = RateLimiters(max_qps=100)
    assert paces.share()
    pace = paces.of("https://a.example.com")
    deadline = time.monotonic() + 10
    start = time.monotonic()
    take(lambda number: pace.acquire(deadline), turns=50)
    assert time.monotonic() - start >= 0.48


def test_a_process_that_is_told_to_slow_down_holds_the_others_too() -> None:
    paces = RateLimiters()
    assert paces.share()
    pace = paces.of("https://a.example.com")
    process = FORK.Process(target=pace.slow_down, args=(60,))
    process.start()
    process.join(30)
    assert not pace.acquire(time.monotonic() + 1)


def test_values_that_are_packed_are_those_that_were_given() -> None:
    values = [(number, f"user-{number}", {"warnings": ()}) for number in range(1234)]
    packed = Packed(values)
    assert len(packed) == len(values)
    assert list(packed) == values
    assert [packed[number] for number in (0, 49, 50, 1233)] == [values[number] for number in (0, 49, 50, 1233)]
    assert list(Packed([])) == []


# A fleet


@pytest.fixture(name="processes")
def fixture_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a small fleet be kept by several processes."""
    monkeypatch.setattr(pool, "_TURNS", 10)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1}, raising=False)


@pytest.fixture(name="names")
def fixture_names() -> list[str]:
    return [f"user-{number:03}" for number in range(60)]


@pytest.mark.usefixtures("processes")
def test_a_fleet_that_is_kept_by_processes_is_exchanged_once_and_kept(rotating: Fleet, names: list[str]) -> None:
    before = rotating.have(dict.fromkeys(names, STALE))
    reports = rotating.keep()
    assert {end_of(report) for report in reports} == {"exchanged"}
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
def test_where_the_service_cannot_be_connected_to_one_process_tells_each_session(
    fleet: Fleet, names: list[str]
) -> None:
    fleet.have(dict.fromkeys(names, STALE))
    asked: list[int] = []

    def connect() -> t.NoReturn:
        asked.append(os.getpid())
        raise OptionError("There are no credentials.", code="MissingCredentials")

    keeper = Keeper(fleet.store, connect, scope="", deadline=time.monotonic() + 30)
    reports = list(keep_all(keeper, read_stored(fleet.store, TokenRequest)))
    assert ends(reports) == dict.fromkeys(names, "MissingCredentials")
    assert asked == [os.getpid()] * (1 + len(names)), "a process was forked"


@pytest.mark.usefixtures("processes")
def test_the_sessions_of_a_process_that_was_killed_fail_and_the_others_are_kept(
    fleet: Fleet, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.have(dict.fromkeys(names, STALE))
    refresh = client.ServiceClient.refresh

    def die_at(service: t.Any, session: t.Any, *arguments: t.Any) -> t.Any:
        if session.end_user_id == names[10]:
            os.kill(os.getpid(), signal.SIGKILL)
        return refresh(service, session, *arguments)

    monkeypatch.setattr(client.ServiceClient, "refresh", die_at)
    reports = fleet.keep()
    by_name = {report.session.end_user_id: report for report in reports if report.session}
    assert len(by_name) == len(reports) == len(names)
    assert end_of(by_name[names[10]]) == "Interrupted"
    assert t.cast(t.Any, by_name[names[10]].result).retryable
    assert {end_of(report) for report in reports} == {"exchanged", "Interrupted"}
    monkeypatch.undo()
    again = fleet.keep()
    assert {end_of(report) for report in again} <= {"exchanged", "served"}


@pytest.mark.usefixtures("processes")
def test_a_signal_has_all_processes_finish_what_they_have_begun(rotating: Fleet, names: list[str]) -> None:
    rotating.have(dict.fromkeys(names, STALE))
    rotating.emulator.fault("drip", interval=0.004, carried_out=True, count=None)
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    try:
        with defer_signals():
            timer.start()
            reports: list[Report] = rotating.keep(timeout=30)
            assert not heard
    finally:
        timer.join()
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    ended = ends(reports)
    begun = set(rotating.users())
    assert {name for name, end in ended.items() if end == "exchanged"} == begun
    assert {end for name, end in ended.items() if name not in begun} == {"Interrupted"}
    assert len(reports) == len(ended) == len(names)
