# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Remember which servers failed, so that not all threads wait for them."""

from __future__ import annotations

import threading
import time

from .._model.exceptions import StoreError

_PATIENCE = 1.0
"""For how many seconds other threads wait for the one that tries a failed server."""
_PAUSE = 5.0
"""For how many seconds no thread tries a server after one has given up."""


class _Outage:
    """A server that failed. One thread tries it, until it gives up. ``since`` is when it began to try, or gave up."""

    def __init__(self, error: StoreError) -> None:
        self.error = error
        self.thread: int | None = threading.get_ident()
        self.since = time.monotonic()


class Outages:
    """The servers that failed, by their names. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outages: dict[str, _Outage] = {}

    def add(self, server: str, error: StoreError) -> None:
        """Remember the error of a server. If it worked before, this thread is the one that tries it again."""
        with self._lock:
            self._outages.setdefault(server, _Outage(error)).error = error

    def remove(self, server: str) -> None:
        """Forget the errors of a server that works again."""
        with self._lock:
            self._outages.pop(server, None)

    def error(self, server: str) -> StoreError | None:
        """Return the last error of a server, None if it works."""
        outage = self._outages.get(server)
        return None if outage is None else outage.error.with_traceback(None)

    def check(self, server: str) -> StoreError | None:
        """Return the error of a failed server, but None if this thread is the one that tries it."""
        with self._lock:
            outage = self._outages.get(server)
            if outage is None:
                return None
            if outage.thread is None and time.monotonic() >= outage.since + _PAUSE:
                outage.thread, outage.since = threading.get_ident(), time.monotonic()
            return None if outage.thread == threading.get_ident() else outage.error.with_traceback(None)

    def may_end_soon(self, server: str) -> bool:
        """Return True unless a thread has given up the server, or has tried it for long."""
        with self._lock:
            outage = self._outages.get(server)
            return outage is None or (outage.thread is not None and time.monotonic() < outage.since + _PATIENCE)

    def give_up(self) -> None:
        """Let another thread try the servers that this thread tried without success, after a pause."""
        with self._lock:
            for outage in self._outages.values():
                if outage.thread == threading.get_ident():
                    outage.thread, outage.since = None, time.monotonic()
