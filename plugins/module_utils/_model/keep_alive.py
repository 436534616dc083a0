# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Define a keep-alive token, which logs a session in without a password, and when it is sent."""

from __future__ import annotations

import typing as t

from .encoding import CLOCK_TOLERANCE, LATEST_TIME

LONGEST_KEEP_ALIVE_TOKEN = 2048
"""How many bytes of a keep-alive token are stored at most."""
RENEWAL_AGE = 3 * 86400.0
"""A keep-alive token that the service accepted more than this many seconds ago is renewed."""
FIRST_WAIT, LONGER_WAIT = 3600.0, 86400.0
"""How many seconds a refused secret waits after its first refusal, and after further ones."""


class KeepAlive(t.NamedTuple):
    """A keep-alive token, which logs a session in without a password. Times are in seconds since 1970 (UTC).

    ``accepted_at`` is when the service last issued or accepted it, and ``refusals`` counts how often it refused it since then.
    """

    token: str
    obtained_at: float
    accepted_at: float
    refusals: int = 0
    refused_at: float = 0.0

    def __repr__(self) -> str:
        return "KeepAlive(...)"

    def blocked_until(self, now: float) -> float | None:
        """Return until when the token must not be sent because it was refused, or None. A refusal in the future does not count."""
        if not self.refusals or self.refused_at > now + CLOCK_TOLERANCE:
            return None
        end = self.refused_at + (FIRST_WAIT if self.refusals == 1 else LONGER_WAIT)
        return end if now < end else None

    def needs_renewal(self, now: float) -> bool:
        """Return True if the token should be used to get a new one before it expires."""
        return abs(now - self.accepted_at) > RENEWAL_AGE

    def refused(self, now: float) -> KeepAlive:
        """Return the token after the service refused it."""
        return self._replace(refusals=self.refusals + 1, refused_at=now)

    def is_valid(self) -> bool:
        """Return True if the values, which may be of any type, can be those of a keep-alive token."""
        token, *numbers = self
        return (
            isinstance(token, str)
            and 0 < len(token) <= LONGEST_KEEP_ALIVE_TOKEN
            and token.isprintable()
            and all(isinstance(number, (int, float)) and 0 <= number <= LATEST_TIME for number in numbers)
        )


def merge_keep_alive(one: KeepAlive | None, other: KeepAlive | None, now: float) -> KeepAlive | None:
    """Return the newer of two keep-alive tokens of a session. If they are the same, all refusals since its last acceptance count.

    Times in the future, from a host whose clock was wrong, count less than others.
    """
    if one is None or other is None:
        return one or other
    latest = now + CLOCK_TOLERANCE
    if one.token != other.token:
        return max(one, other, key=lambda each: (each.obtained_at <= latest, each.obtained_at))
    usable = [each for each in (one, other) if max(each.accepted_at, each.refused_at) <= latest] or [one]
    accepted_at = max(each.accepted_at for each in usable)
    refused = [each for each in usable if each.refusals and each.refused_at >= accepted_at]
    return one._replace(
        accepted_at=accepted_at,
        refusals=max((each.refusals for each in refused), default=0),
        refused_at=max((each.refused_at for each in refused), default=0.0),
    )
