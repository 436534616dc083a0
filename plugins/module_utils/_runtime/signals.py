# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hold the signals that end a task while a token is in flight."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import typing as t

_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)  # Ansible's keyword timeout uses SIGALRM.
_received: list[int] = []
_handlers: dict[signal.Signals, t.Any] = {}
_depth = 0


@contextlib.contextmanager
def hold_signals() -> t.Iterator[None]:
    """Hold the signals that end a task, and deliver them after the block. Ignored signals stay ignored.

    Only the main thread can set signal handlers. In other threads this does nothing: the main thread holds the signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not _handlers:
        for number in _HELD:
            if signal.getsignal(number) is not signal.SIG_IGN:
                _handlers[number] = signal.signal(number, lambda received, _frame: _received.append(received))
    with defer_signals():
        yield


@contextlib.contextmanager
def defer_signals() -> t.Iterator[None]:
    """Deliver the signals that :func:`hold_signals` holds in the block after this block, such as after the result is printed."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            _deliver()


def signal_pending() -> bool:
    """Return True if a signal was received and is held. The task should then finish soon."""
    return bool(_received)


def _deliver() -> None:
    for number, handler in _handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
    _handlers.clear()
    received, _received[:] = list(_received), []
    if received:
        sys.stdout.flush()  # The signal may end the process, which would lose a printed result.
    for pending in received:
        signal.raise_signal(pending)
