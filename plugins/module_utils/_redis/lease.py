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
    """Renews leases in one thread for each server, until :meth:`close`. Safe to share between threads."""

    def __init__(self, renew: t.Callable[[str, str], None]) -> None:
        """``renew`` renews the lease of a key and its owner. It may raise :class:`StoreError`."""
        self._renew = renew
        self._lock = threading.Lock()
        self._held: dict[str, tuple[str, str]] = {}
        """The server and the key of each owner."""
        self._pid = os.getpid()
        self._threads: dict[str, threading.Thread] = {}
        self._stop = threading.Event()

    @contextlib.contextmanager
    def renewing(self, key: str, owner: str, server: str) -> t.Iterator[None]:
        """Renew a lease within the block. It does not wait for leases of other servers."""
        with self._lock:
            if self._pid != os.getpid():
                # In a forked process: the parent renews its own leases, and threads are not inherited.
                self._pid = os.getpid()
                self._held.clear()
                self._threads.clear()
            self._held[owner] = server, key
            if server not in self._threads:
                self._start(server)
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(owner, None)

    def close(self) -> None:
        """Stop the threads and wait for their end."""
        with self._lock:
            threads, self._threads = self._threads, {}
            self._stop.set()
            self._stop = threading.Event()
        for thread in threads.values():
            thread.join()

    def _start(self, server: str) -> None:
        thread = threading.Thread(target=self._run, args=(server, self._stop), daemon=True)
        # Without a thread the lease expires. A writer that is late because of this gets an error.
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._threads[server] = thread

    def _run(self, server: str, stop: threading.Event) -> None:
        while not stop.wait(LEASE / 3):
            with self._lock:
                held = [(owner, key) for owner, (its_server, key) in self._held.items() if its_server == server]
            for owner, key in held:
                if stop.is_set():
                    return
                with contextlib.suppress(StoreError):
                    self._renew(key, owner)
