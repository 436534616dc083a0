# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limit requests to max_qps, and slow down while an endpoint throttles."""

from __future__ import annotations

import math
import threading
import time

from .._runtime.timeouts import sleep_unless_signalled

_SLOWER, _FASTER = 2.0, 0.95
"""The factors by which throttling widens the interval between requests, and by which each refresh narrows it again."""
_WEIGHT = 0.1
"""The weight of the latest interval in the average interval."""
_LONGEST = 0.25
"""The longest interval in seconds, unless max_qps needs a longer one. The service can ask for a longer wait (Retry-After)."""


class RateLimiters:
    """The rate limiters of all endpoints. Safe to share between threads."""

    def __init__(self, max_qps: float | None = None) -> None:
        """Allow at most ``max_qps`` requests a second to all endpoints together, any number if None."""
        self.lock = threading.Lock()
        self.interval = 1 / max_qps if max_qps else 0.0
        self.last = -math.inf
        self._limiters: dict[str, RateLimiter] = {}

    def of(self, endpoint: str) -> RateLimiter:
        """Return the rate limiter of an endpoint."""
        with self.lock:
            return self._limiters.setdefault(endpoint, RateLimiter(self))


class RateLimiter:
    """Limits the rate of requests to one endpoint. Times are those of :func:`time.monotonic`."""

    def __init__(self, total: RateLimiters) -> None:
        self.total = total
        self.interval = self.average = 0.0
        self.last = self.blocked_until = -math.inf

    def acquire(self, deadline: float) -> bool:
        """Wait until a request may be sent. Return False if that is after the deadline, or if a signal is pending."""
        total = self.total
        while True:
            with total.lock:
                now = time.monotonic()
                due = max(now, total.last + total.interval, self.last + self.interval, self.blocked_until)
                if due > deadline:
                    return False
                self.average += _WEIGHT * (min(due - self.last, _LONGEST) - self.average)
                total.last = self.last = due
            if due > now and not sleep_unless_signalled(due - now):
                return False
            if time.monotonic() >= self.blocked_until:
                return True

    def slow_down(self, seconds: float) -> None:
        """Allow no request for some seconds and fewer afterwards, because the service throttles."""
        with self.total.lock:
            now, least = time.monotonic(), self.total.interval
            if now >= self.blocked_until:  # Later responses to requests already sent count once.
                interval = _SLOWER * max(least, self.interval, self.average)
                self.interval = min(interval, max(_LONGEST, _SLOWER * least))
            self.blocked_until = max(self.blocked_until, now + seconds)

    def speed_up(self) -> None:
        """Allow more requests again, because the service has carried one out."""
        with self.total.lock:
            self.interval *= _FASTER
