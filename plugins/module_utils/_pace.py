# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this file is **PRIVATE** to the collection. It can have breaking changes at any time.

"""When the next request may go: one pace for all threads, which slow down together when the service is busy."""

from __future__ import annotations

import threading
import time

from ._signals import signal_waits

_SLOWER = 2.0
"""By how much a busy service widens the interval between requests."""
_FASTER = 0.95
"""By how much each exchange narrows it again."""
_MEMORY = 0.9
"""How much the average of the intervals owes to the past."""
_SLOWEST = 0.25
"""The widest interval, in seconds: what the service asks for beyond that it says itself."""
_TICK = 0.1


class Pace:
    """Gives out the turns at which requests may be sent. Safe to share between threads. Times are those of :func:`time.monotonic`."""

    def __init__(self, max_qps: float | None = None) -> None:
        """Give out at most ``max_qps`` turns a second, None for as many as are wanted."""
        self._guard = threading.Lock()
        self._least = 1 / max_qps if max_qps else 0.0
        self._interval = self._least
        self._average = 0.0
        self._last = 0.0
        self._held_until = 0.0

    def take_turn(self, deadline: float) -> bool:
        """Wait for a turn; say whether to go on, or to give up, for it comes after the deadline or a signal waits."""
        while True:
            with self._guard:
                now = time.monotonic()
                turn = max(now, self._held_until, self._last + self._interval)
                if turn > deadline:
                    return False
                self._average += (1 - _MEMORY) * (min(turn - self._last, _SLOWEST) - self._average)
                self._last = turn
            if turn > now and not pause(turn - now):
                return False
            if time.monotonic() >= self._held_until:
                return True

    def slow_down(self, seconds: float) -> None:
        """Give out no turn for some seconds, and fewer ones afterwards: the service is busy."""
        with self._guard:
            now = time.monotonic()
            if now >= self._held_until:  # those who were on their way say nothing new
                slower = _SLOWER * max(self._interval, self._average)
                self._interval = min(slower, max(_SLOWEST, _SLOWER * self._least))
            self._held_until = max(self._held_until, now + seconds)

    def speed_up(self) -> None:
        """Give out more turns again: the service has carried out an exchange."""
        with self._guard:
            self._interval = max(self._least, self._interval * _FASTER)


def pause(seconds: float) -> bool:
    """Wait; say whether to go on, or to finish because a signal waits."""
    end = time.monotonic() + seconds
    while not signal_waits():
        remaining = end - time.monotonic()
        if remaining <= 0:
            return True
        time.sleep(min(remaining, _TICK))
    return False
