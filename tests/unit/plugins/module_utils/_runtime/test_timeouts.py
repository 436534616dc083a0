# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A call that cannot be cut off is waited for only so long."""

from __future__ import annotations

import threading
import time

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._runtime.timeouts import call_within


def test_what_the_call_returns_is_returned():
    value = object()
    assert call_within(10, lambda: value) is value


def test_none_is_returned_as_well():
    assert call_within(10, lambda: None) is None


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(3), KeyboardInterrupt()], ids=type)
def test_what_the_call_raises_is_raised(error):
    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        call_within(10, fail)
    assert caught.value is error


def test_a_call_that_hangs_is_left_behind_when_the_time_is_over():
    never = threading.Event()
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        call_within(0.05, lambda: never.wait(30))
    assert 0.05 <= time.monotonic() - begun < 10
    never.set()


@pytest.mark.parametrize("seconds", [0, -1])
def test_without_time_left_nobody_waits(seconds):
    never = threading.Event()
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        call_within(seconds, lambda: never.wait(30))
    assert time.monotonic() - begun < 10
    never.set()


def test_a_call_left_behind_does_not_keep_the_process_alive():
    never, threads = threading.Event(), []

    def hang():
        threads.append(threading.current_thread())
        never.wait(30)

    with pytest.raises(TimeoutError):
        call_within(0.05, hang)
    assert threads[0].daemon
    never.set()
