# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open, check and lock private files and directories.

All functions raise :class:`OSError`, which is an :class:`UnsafeFile` if another user could change a file or a directory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat

from .._model.exceptions import LockTimeout
from .._runtime.signals import signal_pending
from .._runtime.timeouts import Backoff
from .base import LOCKED
from .failures import UnsafeFile

_POLL = 0.02


def open_folder(path: str) -> int:
    """Open a directory and return its descriptor."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        check_folder(folder, path)
        _check_way(os.path.dirname(path))
    except OSError:
        os.close(folder)
        raise
    return folder


def check_folder(folder: int, path: str) -> bool:
    """Return True if an open directory still exists. Other users must not own it or have access."""
    status = os.fstat(folder)
    _check_private(status, path)
    return status.st_nlink > 0


def make_folder(path: str) -> int:
    """Open a directory and return its descriptor. Create it and its parents if missing, with mode 0700 under any umask."""
    with contextlib.suppress(FileNotFoundError):
        return open_folder(path)
    parent = os.path.dirname(path)
    if os.path.isdir(parent):
        _check_way(parent)
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


def open_private(name: str, folder: int, flags: int) -> int:
    """Open a plain file in an open directory and return its descriptor. A new file gets mode 0600."""
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), name)
        _check_private(status, name)
        if flags & os.O_CREAT and stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(file, 0o600)
    except OSError:
        os.close(file)
        raise
    return file


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


def _check_private(status: os.stat_result, path: str) -> None:
    if status.st_uid != os.geteuid():
        reason = "belongs to another user"
    elif status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        reason = "is accessible to other users"
    else:
        return
    mode = "700" if stat.S_ISDIR(status.st_mode) else "600"
    advice = f"Set its owner to the user who runs the task and its mode to {mode}, or choose another store."
    raise UnsafeFile(errno.EPERM, f"{reason}. {advice}", path)


def _check_way(path: str) -> None:
    """Check that no other user could replace a directory, one of its parents, or a symbolic link on the way to it."""
    parent = os.path.dirname(path)
    if parent != path:
        _check_way(parent)
    status = os.lstat(path)
    if status.st_uid not in (0, os.geteuid()):
        reason = "belongs to another user, who could replace the store below it"
        advice = "Choose a store whose parent directories belong to root or to the user who runs the task. With sudo, use -H instead of -E."
        raise UnsafeFile(errno.EPERM, f"{reason}. {advice}", path)
    if stat.S_ISLNK(status.st_mode):
        _check_way(os.path.join(parent, os.readlink(path)))
    elif _is_writable_for_others(status):
        reason = "is writable by other users, who could replace the store below it"
        advice = "Remove their permission to write to it, or choose another store."
        raise UnsafeFile(errno.EPERM, f"{reason}. {advice}", path)


def _is_writable_for_others(status: os.stat_result) -> bool:
    """Return True if other users can rename the entries of a directory. Groups that only root or this user is in do not count."""
    group = stat.S_IWGRP if status.st_gid not in (0, os.getegid()) else 0
    return bool(status.st_mode & (group | stat.S_IWOTH)) and not status.st_mode & stat.S_ISVTX
