# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calls that cannot be cut off, such as a look-up of a name, bounded in time."""

from __future__ import annotations

import queue
import threading
import typing as t

T = t.TypeVar("T")


def call_within(seconds: float, function: t.Callable[[], T]) -> T:
    """Return what ``function`` returns, or raise what it raises; :class:`TimeoutError` after ``seconds``.

    It runs in a thread, which is left behind where the time is over.
    """
    outcome: queue.Queue[tuple[t.Any, BaseException | None]] = queue.Queue()

    def run() -> None:
        try:
            outcome.put((function(), None))
        except BaseException as error:  # it is raised again, in the caller's thread
            outcome.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, error = outcome.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return t.cast(T, value)
