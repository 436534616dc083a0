# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read Retry-After headers, and decide how long to wait before another attempt."""

from __future__ import annotations

import email.utils
import random
import re
import typing as t

BACKOFF = 0.5
"""The longest wait before the second attempt, in seconds. It doubles with each further attempt."""
BACKOFF_LIMIT = 16.0
RETRY_AFTER_LIMIT = 86400.0
_RANDOM = random.SystemRandom()


def backoff(retry: int, retry_after: float) -> float:
    """Return the seconds to wait before a retry (the first is 0): a random part, plus the time that the service asked for."""
    longest = min(BACKOFF_LIMIT, BACKOFF * 2**retry)
    return retry_after + _RANDOM.uniform(0, longest)


def read_retry_after(headers: t.Mapping[str, str]) -> float:
    """Return how many seconds the service asks clients to wait, at most :data:`RETRY_AFTER_LIMIT`.

    Alibaba Cloud's own header counts first, then the standard one, which holds seconds or a date.
    """
    milliseconds, standard = headers.get("x-acs-retry-after", ""), headers.get("retry-after", "")
    seconds = 0.0
    if _is_number(milliseconds):
        seconds = int(milliseconds) / 1000
    elif _is_number(standard):
        seconds = float(standard)
    else:
        until, now = read_date(standard), read_date(headers.get("date", ""))
        if until is not None and now is not None:
            seconds = max(0.0, until - now)
    return min(seconds, RETRY_AFTER_LIMIT)


def read_date(text: str) -> float | None:
    """Return an HTTP date in seconds since 1970 (UTC), or None if it is not valid."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,12}", text) is not None
