# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open private files and directories, and check that no other user could change them.

All functions raise :class:`OSError`, which is an :class:`UnsafeFile` if another user could change a file or a directory.
"""

from __future__ import annotations

import errno
import os
import stat

from .failures import UnsafeFile


def open_folder(path: str) -> int:
    """Open a directory and return its descriptor."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        check_folder(folder, path)
        check_way(os.path.dirname(path))
    except OSError:
        os.close(folder)
        raise
    return folder


def check_folder(folder: int, path: str) -> bool:
    """Return True if an open directory still exists. Other users must not own it or have access."""
    status = os.fstat(folder)
    _check_private(status, path)
    return status.st_nlink > 0


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


def _check_private(status: os.stat_result, path: str) -> None:
    if status.st_uid != os.geteuid():
        reason = "belongs to another user"
    elif status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        reason = "is accessible to other users"
    else:
        return
    mode = "0700" if stat.S_ISDIR(status.st_mode) else "0600"
    advice = f"Set its owner to the user who runs the task and its mode to {mode}, or choose another store."
    raise UnsafeFile(errno.EPERM, f"{reason}. {advice}", path)


def check_way(path: str) -> None:
    """Check that no other user could replace a directory, one of its parents, or a symbolic link on the way to it."""
    parent = os.path.dirname(path)
    if parent != path:
        check_way(parent)
    status = os.lstat(path)
    if status.st_uid not in (0, os.geteuid()):
        reason = "belongs to another user, who could replace the store below it"
        advice = "Choose a store whose parent directories belong to root or to the user who runs the task. With sudo, use -H instead of -E."
        raise UnsafeFile(errno.EPERM, f"{reason}. {advice}", path)
    if stat.S_ISLNK(status.st_mode):
        check_way(os.path.join(parent, os.readlink(path)))
    elif _is_writable_for_others(status):
        reason = "is writable by other users, who could replace the store below it"
        advice = "Remove their permission to write to it, or choose another store."
        raise UnsafeFile(errno.EPERM, f"{reason}. {advice}", path)


def _is_writable_for_others(status: os.stat_result) -> bool:
    """Return True if other users can rename the entries of a directory. Groups that only root or this user is in do not count."""
    group = stat.S_IWGRP if status.st_gid not in (0, os.getegid()) else 0
    return bool(status.st_mode & (group | stat.S_IWOTH)) and not status.st_mode & stat.S_ISVTX
