# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Explain failures of the file system and of imports: what went wrong, and what to do next."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import typing as t

from .._model.exceptions import RAISE_FILE_LIMIT, StoreError, WuyingError

Error = t.TypeVar("Error", bound=WuyingError)

_OTHER_TYPE = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR)
_TYPES = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}
_SPACE = "Free space, or choose another store."
_LOCKS = "Its file system does not support locks. Use a directory on a local disk, or a Redis store."
_SERVER = "Check that its file system is mounted and that its file server responds, then run the task again."
_ADVICE = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EMFILE: RAISE_FILE_LIMIT,
    errno.ENFILE: RAISE_FILE_LIMIT,
    errno.EFBIG: "Raise the file size limit of this user (ulimit -f), or choose another store.",
    errno.ENOLCK: _LOCKS,
    errno.ENOSYS: _LOCKS,
    errno.EOPNOTSUPP: _LOCKS,
    errno.ENOTSUP: _LOCKS,
    errno.EROFS: "Mount its file system for writing, or choose another store.",
    errno.EIO: "Check the disk and the log of the system, or choose another store.",
    errno.ENAMETOOLONG: "Choose a store with a shorter path.",
    errno.ESTALE: _SERVER,
    errno.ENOTCONN: _SERVER,
    errno.ETIMEDOUT: _SERVER,
    errno.EHOSTDOWN: _SERVER,
}
_DEFAULT_ADVICE = "Use a directory that the user who runs the task can write to, or choose another store."
_TEMPORARY = (errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN)


class UnsafeFile(OSError):
    """Another user could change a file or a directory. Its ``strerror`` says why and what to do."""


@contextlib.contextmanager
def store_errors(store: str) -> t.Iterator[None]:
    """Raise each :class:`OSError`, and each failed import, of the block as the :class:`StoreError` of a directory store."""
    try:
        yield
    except (OSError, ImportError) as error:
        raise explain(error, store) from None


def explain(error: OSError | ImportError, store: str) -> StoreError:
    """Return the error of a directory store at the path ``store``."""
    if isinstance(error, ImportError):  # The standard library is there, so its file could not be opened.
        error = OSError(errno.EMFILE, "")
    place = os.path.join(store, error.filename) if isinstance(error.filename, str) else store
    if isinstance(error, UnsafeFile):
        return StoreError(f"{place} {error.strerror}", code="StoreUnsafe")
    if error.errno in _OTHER_TYPE:
        return StoreError(_other_type(place, store), code="StoreUnsafe")
    code = error.errno or errno.EIO
    where = "" if place == store else f": {place}"
    message = f"The store {store} cannot be used ({os.strerror(code)}{where}). {_ADVICE.get(code, _DEFAULT_ADVICE)}"
    return StoreError(message, retryable=code in _TEMPORARY)


def explain_import(error: BaseException, library: str, kind: type[Error]) -> Error:
    """Return the error for a library that cannot be imported, of the given class. It does not repeat the message of ``error``."""
    from ansible.module_utils.basic import missing_required_lib

    if any(os.strerror(code) in str(error) for code in (errno.EMFILE, errno.ENFILE)):
        message = (
            f"The Python library {library} could not be loaded because too many files are open. {RAISE_FILE_LIMIT}"
        )
        return kind(message, code="MissingLibrary", retryable=True)
    message = missing_required_lib(library)
    if not isinstance(error, ImportError):
        message += f" The library is installed but broken ({type(error).__name__}). Install it again."
    return kind(message, code="MissingLibrary")


def is_library_failure(error: BaseException) -> bool:
    """Return True if a library raised this, not a signal handler. A panic of its Rust code is not an :class:`Exception`."""
    return isinstance(error, (Exception, SystemExit)) or type(error).__name__ == "PanicException"


def _other_type(place: str, store: str) -> str:
    try:
        found = _TYPES.get(stat.S_IFMT(os.lstat(place).st_mode), "a special file")
    except OSError:
        return (
            f"A parent directory of {place} is a file, or a symbolic link that leads nowhere. Check the path in store."
        )
    if os.path.dirname(place) == store:
        return f"{place} is {found}, but must be a plain file. Find out who created it, then delete it."
    advice = "the directory that it points to" if found == _TYPES[stat.S_IFLNK] else "the path of a directory"
    return f"{place} is {found}, but must be a directory. Set store to {advice}."
