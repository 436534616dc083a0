# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Explain why a Python library cannot be used."""

from __future__ import annotations

import errno
import os
import typing as t

from .._model.exceptions import RAISE_FILE_LIMIT, WuyingError

Error = t.TypeVar("Error", bound=WuyingError)


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
