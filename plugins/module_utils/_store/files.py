# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Folders and files that belong to this user alone: opened first, then checked on what is open."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from .._model.exceptions import StoreError


def open_folder(path: str) -> int:
    """Open a folder and return its descriptor. Raises :class:`StoreError` where others have a hand in it."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        check_folder(folder, path)
    except StoreError:
        os.close(folder)
        raise
    return folder


def check_folder(folder: int, path: str) -> bool:
    """Say whether an open folder is still there. Raises :class:`StoreError` where others have a hand in it."""
    status = os.fstat(folder)
    _check_private(status, f"The store {path}", "700")
    return status.st_nlink > 0


def make_folder(path: str) -> int:
    """Open a folder, made where it is missing with mode 0700 whatever the umask, as are its parents."""
    with contextlib.suppress(FileNotFoundError):
        return open_folder(path)
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        os.close(make_folder(parent))
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return open_folder(path)
    try:
        folder = open_folder(path)
    except PermissionError:
        _let_open(path)
        folder = open_folder(path)
    os.fchmod(folder, 0o700)
    return folder


def _let_open(path: str) -> None:
    """Give one's own new folder the rights that the umask took even from its owner; no link is followed."""
    look = getattr(os, "O_PATH", os.O_RDONLY)  # only Linux opens what may not be read
    folder = os.open(path, look | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        check_folder(folder, path)
        os.chmod(f"/proc/self/fd/{folder}", 0o700)
    finally:
        os.close(folder)


def open_private(name: str, folder: int, flags: int) -> int:
    """Open a plain file in an open folder and return its descriptor; one that is made has mode 0600."""
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        _check_private(status, f"The store's file {name}", "600")
        if flags & os.O_CREAT and stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(file, 0o600)
    except (OSError, StoreError):
        os.close(file)
        raise
    return file


def _check_private(status: os.stat_result, what: str, mode: str) -> None:
    if status.st_uid != os.geteuid():
        reason = "belongs to another user"
    elif status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        reason = "is open to other users"
    else:
        return
    raise StoreError(
        f"{what} {reason}: give it to the user who runs the task, with mode {mode}, or choose another store.",
        code="StoreUnsafe",
    )
