# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Define how long a lock in Redis lasts, and renew it while it is held."""

from __future__ import annotations

import contextlib
import os
import threading
import typing as t

from .._model.exceptions import StoreError

LEASE = 30.0
"""How long, in seconds, a lock stays after the last renewal. It is renewed after a third of that time."""


class Leases:
    """Renews leases in one thread, which runs from the first lease until :meth:`close`. Safe to share between threads."""

    def __init__(self, renew: t.Callable[[str, str], None]) -> None:
        """``renew`` renews the lease of a key and its owner. It may raise :class:`StoreError`."""
        self._renew = renew
        self._lock = threading.Lock()
        self._held: dict[str, str] = {}
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    @contextlib.contextmanager
    def renewing(self, key: str, owner: str) -> t.Iterator[None]:
        """Renew a lease within the block."""
        with self._lock:
            if self._pid != os.getpid():
                # In a forked process: the parent renews its own leases, and threads are not inherited.
                self._pid, self._thread = os.getpid(), None
                self._held.clear()
            self._held[owner] = key
            if self._thread is None:
                self._start()
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(owner, None)

    def close(self) -> None:
        """Stop the thread and wait for its end."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop.set()
        if thread is not None:
            thread.join()

    def _start(self) -> None:
        self._stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(self._stop,), daemon=True)
        # Without a thread the lease expires. A writer that is late because of this gets an error.
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(LEASE / 3):
            with self._lock:
                held = list(self._held.items())
            for owner, key in held:
                if stop.is_set():
                    return
                with contextlib.suppress(StoreError):
                    self._renew(key, owner)
