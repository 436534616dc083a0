# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the rate limit of requests, and how it adapts to throttling."""

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
    """A clock that advances only during sleeps, so that the tests do not depend on the speed of the machine."""

    def __init__(self) -> None:
        self._now = 1000.0

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Advance the clock."""
        self._now += seconds

    def soon(self, seconds: float = 20) -> float:
        """Return a deadline."""
        return self._now + seconds

    def seconds_for(self, limiter: RateLimiter, requests: int) -> float:
        """Return how long the rate limiter takes for a number of requests."""
        begin = self._now
        assert all(limiter.acquire(self.soon()) for _request in range(requests))
        return self._now - begin


@pytest.fixture(name="clock")
def fixture_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that the rate limiters use."""
    clock = Clock()
    monkeypatch.setattr(rate_limit, "time", clock)
    monkeypatch.setattr(timeouts, "time", clock)
    return clock


@pytest.fixture(name="settled")
def fixture_settled(clock: Clock) -> RateLimiter:
    """Return a rate limiter after a while of 100 requests a second."""
    limiter = rate_limiter(QPS)
    clock.seconds_for(limiter, 40)
    return limiter


def soon(seconds: float = 20) -> float:
    """Return a deadline of the real clock."""
    return time.monotonic() + seconds


def rate_limiter(max_qps: float | None = None) -> RateLimiter:
    """Return the rate limiter of one endpoint."""
    return RateLimiters(max_qps).of("https://a.example.com")


@pytest.fixture(name="stop")
def fixture_stop() -> t.Iterator[t.Callable[[], None]]:
    """Return a function that sends SIGTERM to this process in a moment. Signals are held."""
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


def test_without_a_limit_requests_are_sent_at_once(clock: Clock) -> None:
    assert clock.seconds_for(rate_limiter(), 1000) == 0


def test_the_first_request_is_sent_at_once(clock: Clock) -> None:
    assert clock.seconds_for(rate_limiter(0.01), 1) == 0


def test_max_qps_bounds_the_rate(clock: Clock) -> None:
    assert clock.seconds_for(rate_limiter(QPS), 21) == pytest.approx(20 / QPS)


def test_max_qps_bounds_the_rate_of_all_threads_together() -> None:
    limiter, begin = rate_limiter(QPS), time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _request: limiter.acquire(soon()), range(21)))
    assert time.monotonic() - begin >= 20 / QPS


def test_throttling_stops_all_threads() -> None:
    limiter, ended = rate_limiter(), []
    limiter.slow_down(0.4)
    begin = time.monotonic()

    def acquire() -> None:
        assert limiter.acquire(soon())
        ended.append(time.monotonic() - begin)

    threads = [threading.Thread(target=acquire) for _thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(ended) == 4
    assert min(ended) >= 0.39


def test_a_shorter_retry_after_does_not_end_a_longer_one(clock: Clock) -> None:
    limiter = rate_limiter()
    limiter.slow_down(0.4)
    limiter.slow_down(0)
    assert clock.seconds_for(limiter, 1) == pytest.approx(0.4)


def test_throttling_doubles_the_interval_between_requests(clock: Clock, settled: RateLimiter) -> None:
    settled.slow_down(0)
    assert clock.seconds_for(settled, 10) == pytest.approx(2 * 10 / QPS, rel=0.1)


def test_without_a_limit_throttling_doubles_the_average_interval(clock: Clock) -> None:
    limiter = rate_limiter()
    for _request in range(40):
        assert limiter.acquire(clock.soon())
        clock.sleep(1 / QPS)
    limiter.slow_down(0)
    assert 1.9 * 9 / QPS <= clock.seconds_for(limiter, 10) < 4 * 9 / QPS


def test_several_throttled_requests_slow_down_once(clock: Clock, settled: RateLimiter) -> None:
    for _answer in range(8):
        settled.slow_down(0.1)
    assert clock.seconds_for(settled, 10) == pytest.approx(0.1 + 2 * 9 / QPS, rel=0.1)


def test_repeated_throttling_slows_down_further(clock: Clock, settled: RateLimiter) -> None:
    settled.slow_down(0)
    settled.acquire(clock.soon())
    settled.slow_down(0)
    assert clock.seconds_for(settled, 6) == pytest.approx(4 * 6 / QPS, rel=0.1)


def test_refreshes_narrow_the_interval_again_but_not_below_the_limit(clock: Clock) -> None:
    limiter = rate_limiter(4)
    assert limiter.acquire(clock.soon())
    limiter.slow_down(0)
    for _exchange in range(5):
        limiter.speed_up()
    assert 1.2 / 4 <= clock.seconds_for(limiter, 1) < 1.9 / 4
    for _exchange in range(500):
        limiter.speed_up()
    assert clock.seconds_for(limiter, 1) == pytest.approx(1 / 4)


def test_long_throttling_does_not_widen_the_interval_without_bound(clock: Clock, settled: RateLimiter) -> None:
    for _refusal in range(30):
        settled.slow_down(0)
        clock.sleep(0.001)
    assert clock.seconds_for(settled, 2) < 2


def test_throttling_of_the_first_request_does_not_stop_others_for_long(
    clock: Clock,
) -> None:
    limiter = rate_limiter()
    assert limiter.acquire(clock.soon())
    limiter.slow_down(0)
    assert limiter.acquire(clock.soon(0.5))


def test_throttling_by_one_endpoint_does_not_slow_others(clock: Clock) -> None:
    limiters = RateLimiters()
    for number in range(3):
        limiter = limiters.of(f"https://busy-{number}.example.com")
        assert limiter.acquire(clock.soon())
        limiter.slow_down(86400)
        assert not limiter.acquire(clock.soon())
    assert clock.seconds_for(limiters.of("https://a.example.com"), 1000) == 0


def test_max_qps_bounds_the_rate_of_all_endpoints_together(clock: Clock) -> None:
    limiters = RateLimiters(QPS)
    begin = clock.monotonic()
    for number in range(21):
        assert limiters.of(f"https://{number % 7}.example.com").acquire(clock.soon())
    assert clock.monotonic() - begin == pytest.approx(20 / QPS)


def test_a_wait_beyond_the_deadline_is_given_up_at_once(clock: Clock) -> None:
    limiter = rate_limiter()
    limiter.slow_down(10)
    begin = clock.monotonic()
    assert not limiter.acquire(clock.soon(5))
    assert clock.monotonic() == begin


def test_no_request_is_allowed_after_the_deadline() -> None:
    assert not rate_limiter().acquire(time.monotonic() - 0.01)


def test_a_signal_ends_the_wait(stop: t.Callable[[], None]) -> None:
    limiter = rate_limiter()
    limiter.slow_down(10)
    begin = time.monotonic()
    stop()
    assert not limiter.acquire(soon(20))
    assert 0.05 < time.monotonic() - begin < 2


def test_throttled_sessions_succeed_with_few_wasted_requests(
    start_emulator: t.Callable[..., Emulator], tmp_path: Path
) -> None:
    fleet = Fleet(DirectoryStore(str(tmp_path / "store")), start_emulator("--qps", "50"))
    names = [f"user-{number}" for number in range(150)]
    fleet.have(dict.fromkeys(names, STALE))
    reports = fleet.keep(seconds=60, retries=3)
    assert ends(reports) == dict.fromkeys(names, "refreshed")
    assert fleet.requests() < 1.6 * len(names)
    assert any(entry["status"] == 429 for entry in fleet.emulator.journal()["entries"])


def test_an_endpoint_that_throttles_for_a_day_does_not_stop_others(
    start_emulator: t.Callable[..., Emulator], tmp_path: Path
) -> None:
    fleet = Fleet(DirectoryStore(str(tmp_path / "store")), start_emulator())
    names = [f"user-{number}" for number in range(40)]
    fleet.have(dict.fromkeys(names, STALE))
    other = fleet.session("busy")._replace(endpoint=fleet.emulator.url.replace("127.0.0.1", "localhost"))
    requests = [TokenRequest(other, login_token="v1whatever"), *fleet.token_requests(*names)]
    fleet.emulator.fault("throttle", retry_after=86_400_000)
    reports = fleet.keep(requests, max_parallel=1, retries=3)
    assert ends(reports) == {"busy": "Throttling.User", **dict.fromkeys(names, "refreshed")}
