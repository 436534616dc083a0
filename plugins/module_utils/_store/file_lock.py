# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lock that a process holds on a file, and that goes with it: flock(2)."""

from __future__ import annotations

import fcntl
import os

from .._model.exceptions import LOCKED, LockTimeout
from .._runtime.signals import signal_pending
from .._runtime.timeouts import Backoff
from .files import open_private

_POLL = 0.02


def lock_file(name: str, folder: int, deadline: float) -> int:
    """Return a lock file of an open folder, open and locked; :class:`LockTimeout` at ``deadline`` (of :func:`time.monotonic`).

    One that somebody removed meanwhile would keep nobody out: then the new one is locked.
    """
    while True:
        lock = open_private(name, folder, os.O_RDWR | os.O_CREAT)
        try:
            _wait_for(lock, deadline)
            if os.fstat(lock).st_nlink:
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _wait_for(lock: int, deadline: float) -> None:
    backoff = Backoff(deadline, _POLL, _POLL)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if signal_pending() or not backoff.wait():
                raise LockTimeout(LOCKED) from None
