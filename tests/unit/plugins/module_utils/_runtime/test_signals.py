# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test held signals: they are delivered after the block."""

from __future__ import annotations

import os
import signal
import threading
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._runtime.signals import (
    hold_signals,
    signal_pending,
)

HELD = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM]


@pytest.fixture(name="delivered")
def fixture_delivered():
    """Return a list of the signals that have been delivered."""
    numbers = []
    handlers = {number: signal.signal(number, lambda got, _frame: numbers.append(got)) for number in HELD}
    yield numbers
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", HELD)
def test_a_signal_waits_for_the_end_of_the_block(delivered, number):
    with hold_signals():
        os.kill(os.getpid(), number)
        assert signal_pending()
        assert delivered == []
    assert delivered == [number]
    assert not signal_pending()


def test_without_a_signal_none_is_pending_and_none_is_delivered(delivered):
    with hold_signals():
        assert not signal_pending()
    assert delivered == []


def test_two_signals_are_delivered_in_order(delivered):
    with hold_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert delivered == [signal.SIGTERM, signal.SIGINT]


def test_the_handlers_are_restored_after_the_block(delivered):
    before = [signal.getsignal(number) for number in HELD]
    with hold_signals():
        assert [signal.getsignal(number) for number in HELD] != before
    assert [signal.getsignal(number) for number in HELD] == before
    os.kill(os.getpid(), signal.SIGTERM)
    assert delivered == [signal.SIGTERM]


def test_a_block_that_raises_delivers_the_signal_too(delivered):
    with pytest.raises(KeyError), hold_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        raise KeyError("x")
    assert delivered == [signal.SIGTERM]
    assert not signal_pending()


def test_a_signal_in_an_inner_block_waits_for_the_outer_one(delivered):
    with hold_signals():
        with hold_signals():
            os.kill(os.getpid(), signal.SIGTERM)
        assert delivered == []
        assert signal_pending()
    assert delivered == [signal.SIGTERM]


@pytest.mark.parametrize("number", HELD)
def test_an_ignored_signal_stays_ignored(delivered, number):
    signal.signal(number, signal.SIG_IGN)
    with hold_signals():
        os.kill(os.getpid(), number)
        assert not signal_pending()
    assert signal.getsignal(number) is signal.SIG_IGN
    assert delivered == []


def test_sigint_becomes_a_keyboard_interrupt_after_the_block(delivered):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    done = []
    with pytest.raises(KeyboardInterrupt), hold_signals():
        os.kill(os.getpid(), signal.SIGINT)
        done.append(True)
    assert done == [True]


def test_another_thread_sets_no_handlers(delivered):
    before = [signal.getsignal(number) for number in HELD]
    inside: list[t.Any] = []

    def work():
        with hold_signals():
            inside.extend(signal.getsignal(number) for number in HELD)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert inside == before
