# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a blocking call with a timeout, and wait between attempts until a deadline."""

from __future__ import annotations

import random
import threading
import time
import typing as t

from .signals import signal_pending

T = t.TypeVar("T")

_RANDOM = random.SystemRandom()
_TICK = 0.1
"""How often, in seconds, a sleep checks for a signal."""


class NoThreadError(OSError):
    """No thread could be started, because the host or container allows no more processes and threads."""


def run_with_timeout(seconds: float, function: t.Callable[[], T]) -> T:
    """Return or raise what ``function`` does, or raise :class:`TimeoutError` after ``seconds``. Raises :class:`NoThreadError`.

    The function runs in a thread, because a call such as a name lookup cannot be interrupted. After a timeout the thread is abandoned.
    """
    results: list[tuple[t.Any, BaseException | None]] = []

    def run() -> None:
        try:
            results.append((function(), None))
        except BaseException as error:  # raised again in the caller's thread
            results.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        raise NoThreadError("no thread can be started") from None
    thread.join(max(0.0, seconds))
    if not results:
        raise TimeoutError
    value, error = results[0]
    if error is not None:
        raise error
    return t.cast(T, value)


class Backoff:
    """Waits between attempts: each wait has jitter and is twice as long as the one before, up to a limit."""

    def __init__(self, deadline: float, first: float, longest: float) -> None:
        """Take the deadline (of :func:`time.monotonic`), and the first and the longest wait in seconds."""
        self._deadline = deadline
        self._pause = first
        self._longest = longest

    def wait(self) -> bool:
        """Wait before the next attempt, at most until the deadline. Return False if the deadline had passed before."""
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            return False
        time.sleep(min(remaining, self._pause * _RANDOM.uniform(0.5, 1.5)))
        self._pause = min(2 * self._pause, self._longest)
        return True


def sleep_unless_signalled(seconds: float) -> bool:
    """Sleep and return True, or return False as soon as a signal is pending."""
    end = time.monotonic() + seconds
    while not signal_pending():
        remaining = end - time.monotonic()
        if remaining <= 0:
            return True
        time.sleep(min(remaining, _TICK))
    return False
