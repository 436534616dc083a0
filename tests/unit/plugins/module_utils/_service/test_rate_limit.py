# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pace of requests: bounded, slower for all when the service is busy, and faster again."""

from __future__ import annotations

import os
import signal
import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._runtime import timeouts
from ansible_collections.wuying.workspace.plugins.module_utils._runtime.signals import hold_signals
from ansible_collections.wuying.workspace.plugins.module_utils._service import rate_limit
from ansible_collections.wuying.workspace.plugins.module_utils._service.rate_limit import (
    RateLimiter,
    RateLimiters,
)
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import (
    STALE,
    Fleet,
    ends,
)

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.tests.unit.conftest import Emulator

QPS = 100


class Clock:
    """A clock that goes on only while somebody waits: how long a pace takes depends on no machine."""

    def __init__(self) -> None:
        self._now = 1000.0

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    def soon(self, seconds: float = 20) -> float:
        """Return a deadline."""
        return self._now + seconds

    def seconds_for(self, pace: RateLimiter, turns: int) -> float:
        """Return how long so many turns take."""
        begin = self._now
        assert all(pace.acquire(self.soon()) for _turn in range(turns))
        return self._now - begin


@pytest.fixture(name="clock")
def fixture_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock by which paces go."""
    clock = Clock()
    monkeypatch.setattr(rate_limit, "time", clock)
    monkeypatch.setattr(timeouts, "time", clock)
    return clock


@pytest.fixture(name="settled")
def fixture_settled(clock: Clock) -> RateLimiter:
    """Return a pace of 100 requests a second, which it has kept up for a while."""
    pace = pace_of(QPS)
    clock.seconds_for(pace, 40)
    return pace


def soon(seconds: float = 20) -> float:
    """Return a deadline by the clock of the host."""
    return time.monotonic() + seconds


def pace_of(max_qps: float | None = None) -> RateLimiter:
    """Return the pace of one endpoint."""
    return RateLimiters(max_qps).of("https://a.example.com")


@pytest.fixture(name="stop")
def fixture_stop() -> t.Iterator[t.Callable[[], None]]:
    """Return a function that has this process told to stop in a moment, while signals are held."""
    handler = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    timers: list[threading.Timer] = []

    def stop() -> None:
        timers.append(threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)))
        timers[-1].start()

    with hold_signals():
        yield stop
    for timer in timers:
        timer.join(10)
    signal.signal(signal.SIGTERM, handler)


def test_without_a_limit_turns_come_at_once(clock: Clock) -> None:
    assert clock.seconds_for(pace_of(), 1000) == 0


def test_the_first_turn_comes_at_once_whatever_the_limit(clock: Clock) -> None:
    assert clock.seconds_for(pace_of(0.01), 1) == 0


def test_max_qps_bounds_the_rate(clock: Clock) -> None:
    assert clock.seconds_for(pace_of(QPS), 21) == pytest.approx(20 / QPS)


def test_max_qps_bounds_the_rate_of_all_threads_together() -> None:
    pace, begin = pace_of(QPS), time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _turn: pace.acquire(soon()), range(21)))
    assert time.monotonic() - begin >= 20 / QPS


def test_a_busy_service_holds_all_threads() -> None:
    pace, ended = pace_of(), []
    pace.slow_down(0.4)
    begin = time.monotonic()

    def acquire() -> None:
        assert pace.acquire(soon())
        ended.append(time.monotonic() - begin)

    threads = [threading.Thread(target=acquire) for _thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(ended) == 4
    assert min(ended) >= 0.39


def test_a_shorter_wish_does_not_end_a_longer_one(clock: Clock) -> None:
    pace = pace_of()
    pace.slow_down(0.4)
    pace.slow_down(0)
    assert clock.seconds_for(pace, 1) == pytest.approx(0.4)


def test_a_busy_service_doubles_the_interval_between_requests(clock: Clock, settled: RateLimiter) -> None:
    settled.slow_down(0)
    assert clock.seconds_for(settled, 10) == pytest.approx(2 * 10 / QPS, rel=0.1)


def test_without_a_limit_the_interval_that_doubles_is_the_one_that_was_kept(clock: Clock) -> None:
    pace = pace_of()
    for _turn in range(40):
        assert pace.acquire(clock.soon())
        clock.sleep(1 / QPS)
    pace.slow_down(0)
    assert 1.9 * 9 / QPS <= clock.seconds_for(pace, 10) < 4 * 9 / QPS


def test_those_who_were_on_their_way_slow_down_once_together(clock: Clock, settled: RateLimiter) -> None:
    for _answer in range(8):
        settled.slow_down(0.1)
    assert clock.seconds_for(settled, 10) == pytest.approx(0.1 + 2 * 9 / QPS, rel=0.1)


def test_a_service_that_stays_busy_slows_down_further(clock: Clock, settled: RateLimiter) -> None:
    settled.slow_down(0)
    settled.acquire(clock.soon())
    settled.slow_down(0)
    assert clock.seconds_for(settled, 6) == pytest.approx(4 * 6 / QPS, rel=0.1)


def test_exchanges_narrow_the_interval_again_and_never_beyond_the_limit(clock: Clock) -> None:
    pace = pace_of(4)
    assert pace.acquire(clock.soon())
    pace.slow_down(0)
    for _exchange in range(5):
        pace.speed_up()
    assert 1.2 / 4 <= clock.seconds_for(pace, 1) < 1.9 / 4
    for _exchange in range(500):
        pace.speed_up()
    assert clock.seconds_for(pace, 1) == pytest.approx(1 / 4)


def test_a_long_time_of_throttling_does_not_slow_the_pace_to_a_crawl(clock: Clock, settled: RateLimiter) -> None:
    for _refusal in range(30):
        settled.slow_down(0)
        clock.sleep(0.001)
    assert clock.seconds_for(settled, 2) < 2


def test_a_service_that_is_busy_from_the_beginning_does_not_stop_everything_for_long(
    clock: Clock,
) -> None:
    pace = pace_of()
    assert pace.acquire(clock.soon())
    pace.slow_down(0)
    assert pace.acquire(clock.soon(0.5))


def test_a_busy_endpoint_holds_no_other(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", bytes)  # Some endpoints share a pace, but not these then.
    paces = RateLimiters()
    for number in range(3):
        pace = paces.of(f"https://busy-{number}.example.com")
        assert pace.acquire(clock.soon())
        pace.slow_down(86400)
        assert not pace.acquire(clock.soon())
    assert clock.seconds_for(paces.of("https://a.example.com"), 1000) == 0


def test_max_qps_bounds_the_rate_of_all_endpoints_together(clock: Clock) -> None:
    paces = RateLimiters(QPS)
    begin = clock.monotonic()
    for turn in range(21):
        assert paces.of(f"https://{turn % 7}.example.com").acquire(clock.soon())
    assert clock.monotonic() - begin == pytest.approx(20 / QPS)


def test_a_turn_after_the_deadline_is_given_up_at_once(clock: Clock) -> None:
    pace = pace_of()
    pace.slow_down(10)
    begin = clock.monotonic()
    assert not pace.acquire(clock.soon(5))
    assert clock.monotonic() == begin


def test_after_the_deadline_there_is_no_turn() -> None:
    assert not pace_of().acquire(time.monotonic() - 0.01)


def test_a_signal_ends_the_waiting_for_a_turn(stop: t.Callable[[], None]) -> None:
    pace = pace_of()
    pace.slow_down(10)
    begin = time.monotonic()
    stop()
    assert not pace.acquire(soon(20))
    assert 0.05 < time.monotonic() - begin < 2


def test_a_fleet_that_is_throttled_gets_through_with_few_requests_in_vain(
    start_emulator: t.Callable[..., Emulator], tmp_path: Path
) -> None:
    fleet = Fleet(DirectoryStore(str(tmp_path / "store")), start_emulator("--qps", "50"))
    names = [f"user-{number}" for number in range(150)]
    fleet.have(dict.fromkeys(names, STALE))
    reports = fleet.keep(seconds=60, retries=3)
    assert ends(reports) == dict.fromkeys(names, "exchanged")
    assert fleet.requests() < 1.6 * len(names)
    assert any(entry["status"] == 429 for entry in fleet.emulator.journal()["entries"])


def test_an_endpoint_that_is_busy_for_a_day_stops_the_exchanges_of_no_other(
    start_emulator: t.Callable[..., Emulator], tmp_path: Path
) -> None:
    fleet = Fleet(DirectoryStore(str(tmp_path / "store")), start_emulator())
    names = [f"user-{number}" for number in range(40)]
    fleet.have(dict.fromkeys(names, STALE))
    other = fleet.session("busy")._replace(endpoint=fleet.emulator.url.replace("127.0.0.1", "localhost"))
    asks = [TokenRequest(other, login_token="v1whatever"), *fleet.token_requests(*names)]
    fleet.emulator.fault("throttle", retry_after=86_400_000)
    reports = fleet.keep(asks, max_parallel=1, retries=3)
    assert ends(reports) == {"busy": "Throttling.User", **dict.fromkeys(names, "exchanged")}
