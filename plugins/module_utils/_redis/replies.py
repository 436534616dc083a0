# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shapes of what Redis answers: what has another one is by something else. Only files of the Redis store import this file."""

from __future__ import annotations

import typing as t


class UnexpectedReply(Exception):
    """No Redis server answers so to what it was asked."""


def check_fields(answer: object, count: int) -> list[bytes | None]:
    """Return so many fields of a hash, None for each that it has not. Raises :class:`OddAnswer`."""
    if not isinstance(answer, list) or len(answer) != count:
        raise UnexpectedReply
    if not all(field is None or isinstance(field, bytes) for field in answer):
        raise UnexpectedReply
    return answer


def check_names(answers: t.Iterable[object]) -> set[bytes]:
    """Return the names of keys, of which the library makes one series. Raises :class:`OddAnswer`."""
    try:
        names = set(answers)
    except (TypeError, ValueError):  # the library's, which takes the answers apart
        raise UnexpectedReply from None
    if all(isinstance(name, bytes) for name in names):
        return t.cast(t.Set[bytes], names)
    raise UnexpectedReply
