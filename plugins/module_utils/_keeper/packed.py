# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values that wait for their turn in little memory, and that processes share without copying it."""

from __future__ import annotations

import functools
import typing as t

T = t.TypeVar("T")

_CHUNK = 50
"""How many values are packed together: they have much in common."""


class Packed(t.Sequence[T]):
    """A sequence of values that are packed until somebody looks at them. Safe to share between threads.

    To look at an object of Python's changes it, and a process that does so copies the memory around it from the one it was forked from.
    """

    def __init__(self, values: t.Sequence[T]) -> None:
        import pickle  # here, since hardly any task has so much to do

        self._length = len(values)
        self._chunks = [
            pickle.dumps(values[start : start + _CHUNK], pickle.HIGHEST_PROTOCOL)
            for start in range(0, self._length, _CHUNK)
        ]
        # What is looked at is close together; the whole is never to be unpacked.
        self._unpacked = functools.lru_cache(maxsize=8)(self._unpack)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: t.Any) -> t.Any:
        return self._unpacked(number // _CHUNK)[number % _CHUNK]

    def _unpack(self, chunk: int) -> t.Sequence[T]:
        import pickle

        values: t.Sequence[T] = pickle.loads(self._chunks[chunk])  # noqa: S301 - it was packed above
        return values
