# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Create the directory of a store, and lock files in it.

All functions raise :class:`OSError`, which is an :class:`UnsafeFile` if another user could change a file or a directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from .._model.exceptions import LockTimeout
from .._runtime.signals import signal_pending
from .._runtime.timeouts import Backoff
from .files import check_folder, check_way, open_folder, open_private
from .locked_session import LOCKED

_POLL = 0.02
"""How many seconds a task waits between two attempts to take a lock, on average."""


def make_folder(path: str) -> int:
    """Open a directory and return its descriptor. Create it and its parents if missing, with mode 0700 under any umask."""
    with contextlib.suppress(FileNotFoundError):
        return open_folder(path)
    parent = os.path.dirname(path)
    if os.path.isdir(parent):
        check_way(parent)
    else:
        os.close(make_folder(parent))
    with contextlib.suppress(FileExistsError):  # another task may create it at the same time
        os.mkdir(path, 0o700)
    try:
        folder = open_folder(path)
    except PermissionError:
        _make_accessible(path)
        folder = open_folder(path)
    os.fchmod(folder, 0o700)
    return folder


def _make_accessible(path: str) -> None:
    """Restore the owner's access to a new directory if the umask removed it, without following a link."""
    access = getattr(os, "O_PATH", os.O_RDONLY)  # only Linux can open a directory that is not readable
    folder = os.open(path, access | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        check_folder(folder, path)
        os.chmod(f"/proc/self/fd/{folder}", 0o700)
    finally:
        os.close(folder)


def lock_file(name: str, folder: int, deadline: float) -> int:
    """Open and lock a file in an open directory, and return its descriptor. Closing it releases the lock.

    Raises :class:`LockTimeout` at ``deadline`` (of :func:`time.monotonic`).
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
        # The file was removed in the meantime, and other tasks lock a new one.
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
