# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signals that end a task wait while a token is out of the store's hands."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import typing as t

_HELD = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,  # the terminal was closed
    signal.SIGALRM,  # the task's keyword timeout
)
_received: list[int] = []
_handlers: dict[signal.Signals, t.Any] = {}
_depth = 0


@contextlib.contextmanager
def hold_signals() -> t.Iterator[None]:
    """Hold the signals that end a task until the end of the block, then deliver what came; those that are ignored stay so.

    Handlers are the main thread's to set: in any other thread the block runs as it is, and the main thread
    holds the signals for all.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not _handlers:
        for number in _HELD:
            if signal.getsignal(number) is not signal.SIG_IGN:
                _handlers[number] = signal.signal(number, _note)
    with defer_signals():
        yield


@contextlib.contextmanager
def defer_signals() -> t.Iterator[None]:
    """Have the signals that inner blocks hold be delivered at the end of this one, such as when the result is out."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            _deliver()


def signal_pending() -> bool:
    """Say whether a signal came that is held: time to finish."""
    return bool(_received)


def _deliver() -> None:
    for number, handler in _handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
    _handlers.clear()
    received = list(_received)
    _received.clear()
    if received:
        sys.stdout.flush()  # A signal that ends the process would take a printed result with it.
    for waiting in received:
        signal.raise_signal(waiting)


def _note(number: int, _frame: object) -> None:
    _received.append(number)
