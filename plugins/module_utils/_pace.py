# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this file is **PRIVATE** to the collection. It can have breaking changes at any time.

"""When the next request may go: one pace for all threads and processes, which slow down together when the service is busy."""

from __future__ import annotations

import time

from ._shared import Shared
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

_INTERVAL, _AVERAGE, _LAST, _HELD_UNTIL = range(4)


class Pace:
    """Gives out the turns at which requests may be sent. Safe to share between threads, and between processes that are forked after :meth:`share`.

    Times are those of :func:`time.monotonic`.
    """

    def __init__(self, max_qps: float | None = None) -> None:
        """Give out at most ``max_qps`` turns a second, None for as many as are wanted."""
        self._least = 1 / max_qps if max_qps else 0.0
        self._state = Shared(4)
        self.share = self._state.share
        with self._state as state:
            state[_INTERVAL] = self._least

    def take_turn(self, deadline: float) -> bool:
        """Wait for a turn; say whether to go on, or to give up, for it comes after the deadline or a signal waits."""
        while True:
            with self._state as state:
                now = time.monotonic()
                turn = max(now, state[_HELD_UNTIL], state[_LAST] + state[_INTERVAL])
                if turn > deadline:
                    return False
                passed = min(turn - state[_LAST], _SLOWEST)
                state[_AVERAGE] += (1 - _MEMORY) * (passed - state[_AVERAGE])
                state[_LAST] = turn
            if turn <= now:
                return True
            if not pause(turn - now):
                return False
            with self._state as state:
                if time.monotonic() >= state[_HELD_UNTIL]:
                    return True

    def slow_down(self, seconds: float) -> None:
        """Give out no turn for some seconds, and fewer ones afterwards: the service is busy."""
        with self._state as state:
            now = time.monotonic()
            if now >= state[_HELD_UNTIL]:  # those who were on their way say nothing new
                slower = _SLOWER * max(state[_INTERVAL], state[_AVERAGE])
                state[_INTERVAL] = min(slower, max(_SLOWEST, _SLOWER * self._least))
            state[_HELD_UNTIL] = max(state[_HELD_UNTIL], now + seconds)

    def speed_up(self) -> None:
        """Give out more turns again: the service has carried out an exchange."""
        with self._state as state:
            state[_INTERVAL] = max(self._least, state[_INTERVAL] * _FASTER)


def pause(seconds: float) -> bool:
    """Wait; say whether to go on, or to finish because a signal waits."""
    end = time.monotonic() + seconds
    while not signal_waits():
        remaining = end - time.monotonic()
        if remaining <= 0:
            return True
        time.sleep(min(remaining, _TICK))
    return False
