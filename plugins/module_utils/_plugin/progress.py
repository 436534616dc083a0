# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Log the progress of a long task to the system log: one line for each tenth of the sessions."""

from __future__ import annotations

import time
import typing as t

from .._model.encoding import in_words
from .._runtime.signals import signal_pending

_FIRST = 5.0
"""After how many seconds the first line is logged. Shorter tasks log nothing."""


class Progress:
    """Counts the sessions that a task has processed since :meth:`begin`."""

    def __init__(self, log: t.Callable[[str], None], clock: t.Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._start = clock()
        self._total = self._done = self._tenths = 0

    def begin(self, total: int) -> None:
        """Take the number of sessions that are to be processed."""
        self._total = total

    def step(self, counts: t.Mapping[str, int]) -> None:
        """Count a session, and log a line if it completes a tenth. ``counts`` are the results so far."""
        self._done += bool(self._total)
        tenths = 10 * self._done // max(self._total, 1)
        if tenths > self._tenths and self._clock() - self._start >= _FIRST and not signal_pending():
            self._write("", counts)
        self._tenths = tenths

    def end(self, counts: t.Mapping[str, int]) -> None:
        """Log a line if a signal stopped the task. Ansible shows no result of a task if it is stopped itself."""
        if signal_pending():
            self._write("Stopped by a signal. ", counts)

    def _write(self, reason: str, counts: t.Mapping[str, int]) -> None:
        results = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count and name != "total")
        seconds = in_words(self._clock() - self._start)
        self._log(
            f"{reason}{self._done:,} of {self._total:,} sessions processed in {seconds}: {results or 'no results'}"
        )
