# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A few numbers that threads share and, where that was asked for, processes that are forked from this one."""

from __future__ import annotations

import contextlib
import threading
import typing as t

_PATIENCE = 1.0
"""For how many seconds the lock of processes is waited for, which is held for an instant: whoever died with it must not stop the others."""


class Shared:
    """Numbers under a lock, all of them zero at first: ``with shared as numbers``."""

    def __init__(self, count: int) -> None:
        self._guard: t.Any = threading.Lock()
        self._patience = -1.0  # A thread does not die with a lock.
        self._numbers: t.MutableSequence[float] = [0.0] * count

    def share(self) -> bool:
        """Have processes share the numbers that are forked from now on; say whether this system can do that.

        No other thread may use them meanwhile.
        """
        try:
            # Imported here, so that hardly any task pays for it.
            import multiprocessing

            context = multiprocessing.get_context("fork")
            guard, numbers = context.Lock(), context.RawArray("d", list(self._numbers))
        except (ImportError, OSError, ValueError):
            return False
        self._guard, self._numbers, self._patience = guard, numbers, _PATIENCE
        return True

    def __enter__(self) -> t.MutableSequence[float]:
        """Have the numbers to oneself within the block; but where a process was stopped in the middle of its own, not quite."""
        self._guard.acquire(timeout=self._patience)
        return self._numbers

    def __exit__(self, *_error: object) -> None:
        # Whoever lost patience gives the lock back in the place of who died with it.
        with contextlib.suppress(ValueError):
            self._guard.release()
