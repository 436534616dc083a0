# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this file is **PRIVATE** to the collection. It can have breaking changes at any time.

"""SIGINT and SIGTERM wait while a token is out of the store's hands."""

from __future__ import annotations

import contextlib
import signal
import threading
import typing as t

_HELD = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []


@contextlib.contextmanager
def signals_held() -> t.Iterator[None]:
    """Hold SIGINT and SIGTERM until the end of the block, then deliver what came.

    Handlers are the main thread's to set: in any other thread the block runs as it is, and the main thread
    holds the signals for all.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.signal(number, _note) for number in _HELD}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        received = list(_received)
        _received.clear()
        for waiting in received:
            signal.raise_signal(waiting)


def signal_waits() -> bool:
    """Say whether a signal came that is held: time to finish."""
    return bool(_received)


def _note(number: int, _frame: object) -> None:
    _received.append(number)
