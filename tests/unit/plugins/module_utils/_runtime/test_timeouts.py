# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test timeouts of blocking calls and waits between attempts."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._runtime.signals import (
    hold_signals,
)
from ansible_collections.wuying.workspace.plugins.module_utils._runtime.timeouts import (
    Backoff,
    run_with_timeout,
    sleep_unless_signalled,
)


def test_the_return_value_of_the_call_is_returned():
    value = object()
    assert run_with_timeout(10, lambda: value) is value


def test_none_is_returned_too():
    assert run_with_timeout(10, lambda: None) is None


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(3), KeyboardInterrupt()], ids=type)
def test_the_error_of_the_call_is_raised(error):
    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        run_with_timeout(10, fail)
    assert caught.value is error


def test_a_call_that_hangs_is_abandoned_after_the_timeout():
    event = threading.Event()
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        run_with_timeout(0.05, lambda: event.wait(30))
    assert 0.05 <= time.monotonic() - start < 10
    event.set()


@pytest.mark.parametrize("seconds", [0, -1])
def test_without_time_left_there_is_no_wait(seconds):
    event = threading.Event()
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        run_with_timeout(seconds, lambda: event.wait(30))
    assert time.monotonic() - start < 10
    event.set()


def test_an_abandoned_call_does_not_keep_the_process_running():
    event, threads = threading.Event(), []

    def hang():
        threads.append(threading.current_thread())
        event.wait(30)

    with pytest.raises(TimeoutError):
        run_with_timeout(0.05, hang)
    assert threads[0].daemon
    event.set()


def test_a_sleep_takes_its_time():
    start = time.monotonic()
    assert sleep_unless_signalled(0.25)
    assert 0.25 <= time.monotonic() - start < 5


def test_a_held_signal_ends_a_sleep():
    handler = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    start = time.monotonic()
    with hold_signals():
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        assert not sleep_unless_signalled(10)
    assert 0.05 < time.monotonic() - start < 2
    timer.join(10)
    signal.signal(signal.SIGTERM, handler)


def test_waits_double_up_to_the_longest_with_jitter(monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    backoff = Backoff(time.monotonic() + 60, first=1, longest=4)
    assert all(backoff.wait() for _attempt in range(5))
    for wait, middle in zip(waits, (1, 2, 4, 4, 4)):
        assert 0.5 * middle <= wait <= 1.5 * middle


def test_a_wait_ends_at_the_deadline():
    start = time.monotonic()
    backoff = Backoff(start + 0.1, first=10, longest=10)
    assert backoff.wait(), "there is one attempt at the deadline"
    assert 0.1 <= time.monotonic() - start < 5
    assert not backoff.wait()
    assert not Backoff(start, first=10, longest=10).wait()
    assert time.monotonic() - start < 5
