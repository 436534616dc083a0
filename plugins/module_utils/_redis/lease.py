# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leases of locks in Redis, renewed as long as their holder lives."""

from __future__ import annotations

import contextlib
import os
import threading
import typing as t

from .._model.exceptions import StoreError

LEASE = 30.0
"""For how many seconds a lock outlives its holder; a living one renews it three times as often."""


class Leases:
    """Renews the leases that are held: one thread, from the first one until it is closed. Safe to share between threads."""

    def __init__(self, refresh: t.Callable[[str, str], None]) -> None:
        """Take what renews the lease of a key and its owner. It may raise :class:`StoreError`."""
        self._refresh = refresh
        self._guard = threading.Lock()
        self._held: dict[str, str] = {}
        self._process = os.getpid()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    @contextlib.contextmanager
    def renewed(self, key: str, owner: str) -> t.Iterator[None]:
        """Renew a lease within the block."""
        with self._guard:
            if self._process != os.getpid():
                # What the parent of this process holds is the parent's to renew, and threads are not inherited.
                self._process, self._thread = os.getpid(), None
                self._held.clear()
            self._held[owner] = key
            if self._thread is None:
                self._start()
        try:
            yield
        finally:
            with self._guard:
                self._held.pop(owner, None)

    def close(self) -> None:
        """End the thread."""
        with self._guard:
            thread, self._thread = self._thread, None
            self._stop.set()
        if thread is not None:
            thread.join()

    def _start(self) -> None:
        self._stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(self._stop,), daemon=True)
        # Without a thread the lease runs out by itself, and who comes too late then is told so.
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(LEASE / 3):
            with self._guard:
                held = list(self._held.items())
            for owner, key in held:
                if stop.is_set():
                    return
                with contextlib.suppress(StoreError):
                    self._refresh(key, owner)
