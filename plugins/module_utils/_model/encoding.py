# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Encode stored values as one JSON object per line, times as ISO 8601, and durations in words."""

from __future__ import annotations

import json
import time
import typing as t

from .exceptions import DamagedRecord

FORMAT = 1
"""The format version of records and notes."""
CLOCK_TOLERANCE = 60.0
"""A stored time that is more than this many seconds in the future is from before the clock was set back."""
LATEST_TIME = 253402300799.0
"""The last second of the year 9999: ISO 8601 has four digits for the year."""

canonical_json = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def dump_line(value: t.Mapping[str, t.Any]) -> bytes:
    """Encode a value as one line of canonical JSON, in ASCII."""
    return canonical_json(value).encode("ascii") + b"\n"


def stored_length(value: t.Any) -> int:
    """Return how many bytes a value takes in a record, without the quotes of a text. A character beyond ASCII takes up to 12."""
    return len(canonical_json(value)) - 2 * isinstance(value, str)


def load_object(data: bytes) -> dict[str, t.Any]:
    """Decode a JSON object. Raises :class:`DamagedRecord`."""
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise DamagedRecord("it is not JSON") from None
    if not isinstance(value, dict):
        raise DamagedRecord("it is not a JSON object")
    return value


def format_timestamp(timestamp: float) -> str:
    """Format seconds since 1970 as ISO 8601 in UTC, such as ``2026-01-31T23:59:59Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(timestamp))


def in_words(seconds: float) -> str:
    """Return a duration in its two largest units, such as ``1 hour 2 minutes``."""
    rest = abs(seconds)
    unit = 3600 if rest >= 86400 else 60 if rest >= 3600 else 1
    rest = round(rest / unit) * unit
    words = []
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        count, rest = divmod(rest, size)
        if count:
            words.append(f"{count:,} {name}{'' if count == 1 else 's'}")
    return " ".join(words) or "0 seconds"
