# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When the next request may go: one pace for all threads and processes, which slow down together when an endpoint is busy."""

from __future__ import annotations

import os
import time
import zlib

from .._runtime.shared import Shared
from .._runtime.timeouts import sleep_unless_signalled

_SLOWER = 2.0
"""By how much a busy service widens the interval between requests."""
_FASTER = 0.95
"""By how much each exchange narrows it again."""
_MEMORY = 0.9
"""How much the average of the intervals owes to the past."""
_SLOWEST = 0.25
"""The widest interval, in seconds: what the service asks for beyond that it says itself."""
_PLACES = 256
"""How many endpoints have a pace of their own; beyond that some share one."""

_INTERVAL, _AVERAGE, _LAST, _HELD_UNTIL = range(4)
_SIZE = 4


class RateLimiters:
    """The paces of all endpoints. Safe to share between threads, and between processes that are forked after :meth:`share`."""

    def __init__(self, max_qps: float | None = None) -> None:
        """Have all paces together give out at most ``max_qps`` turns a second, None for as many as are wanted."""
        self._least = 1 / max_qps if max_qps else 0.0
        self._state = Shared(1 + _SIZE * _PLACES)
        self._salt = os.urandom(8)  # so that nobody can choose with whom to share a pace
        self.share = self._state.share

    def of(self, endpoint: str) -> RateLimiter:
        """Return the pace of an endpoint."""
        place = zlib.crc32(self._salt + endpoint.encode()) % _PLACES
        return RateLimiter(self._state, 1 + _SIZE * place, self._least)


class RateLimiter:
    """Gives out the turns at which requests may be sent to an endpoint. Times are those of :func:`time.monotonic`."""

    def __init__(self, state: Shared, place: int, least: float) -> None:
        """Take the state of all paces, which begins with the last turn of any of them, and where in it this one's is."""
        self._state = state
        self._least = least
        self._interval, self._average, self._last, self._held_until = (
            place + number for number in (_INTERVAL, _AVERAGE, _LAST, _HELD_UNTIL)
        )

    def acquire(self, deadline: float) -> bool:
        """Wait for a turn; say whether to go on, or to give up, for it comes after the deadline or a signal waits."""
        while True:
            with self._state as state:
                now = time.monotonic()
                turn = max(
                    now,
                    state[0] + self._least,
                    state[self._last] + state[self._interval],
                    state[self._held_until],
                )
                if turn > deadline:
                    return False
                passed = min(turn - state[self._last], _SLOWEST)
                state[self._average] += (1 - _MEMORY) * (passed - state[self._average])
                state[0] = state[self._last] = turn
            if turn <= now:
                return True
            if not sleep_unless_signalled(turn - now):
                return False
            with self._state as state:
                if time.monotonic() >= state[self._held_until]:
                    return True

    def slow_down(self, seconds: float) -> None:
        """Give out no turn for some seconds, and fewer ones afterwards: the service is busy."""
        with self._state as state:
            now = time.monotonic()
            if now >= state[self._held_until]:  # those who were on their way say nothing new
                kept = max(self._least, state[self._interval], state[self._average])
                state[self._interval] = min(_SLOWER * kept, max(_SLOWEST, _SLOWER * self._least))
            state[self._held_until] = max(state[self._held_until], now + seconds)

    def speed_up(self) -> None:
        """Give out more turns again: the service has carried out an exchange."""
        with self._state as state:
            state[self._interval] *= _FASTER
