# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask the provider chain of alibabacloud-credentials for an access key."""

from __future__ import annotations

import threading
import time
import typing as t

from .._model.exceptions import RAISE_THREAD_LIMIT, MissingLibraryError, ServiceError
from .._runtime.timeouts import NoThreadError, run_with_timeout
from .._store.failures import explain_import, is_library_failure

_LOGGERS = (
    # With DEBUG=sdk in the environment, the first two print all URLs and headers.
    "alibabacloud-tea",
    "darabonba-core",
    "credentials",
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
)


def find_keys(deadline: float) -> tuple[str, str, str | None]:
    """Return the access key ID, the secret and the security token that the chain finds before ``deadline`` (of :func:`time.monotonic`).

    Raises :class:`ServiceError`.
    """
    # The error does not repeat the package's messages, which may contain a secret or a signed URL.
    timed_out = False
    try:
        found = run_with_timeout(deadline - time.monotonic(), _ask_provider_chain)
    except NoThreadError:
        message = f"No thread can be started to ask the provider chain. {RAISE_THREAD_LIMIT}"
        raise ServiceError(message, code="MissingCredentials", retryable=True) from None
    except ImportError as error:
        raise explain_import(error.__cause__ or error, "alibabacloud-credentials", MissingLibraryError) from None
    except BaseException as error:
        if not is_library_failure(error):
            raise
        found, timed_out = None, isinstance(error, TimeoutError)
    if found is None or not found.access_key_id or not found.access_key_secret:
        raise ServiceError(
            "The provider chain of alibabacloud-credentials did not respond before the deadline. Try again or increase deadline."
            if timed_out
            else "The provider chain of alibabacloud-credentials returned no access key. Configure one of its sources, or choose another auth_method.",
            code="MissingCredentials",
            retryable=timed_out,
        )
    return found.access_key_id, found.access_key_secret, found.security_token


def _ask_provider_chain() -> t.Any:
    """Call the package, and drop the log messages of this thread, which would contain secrets and signed URLs."""
    import logging  # here, because few tasks use the provider chain

    asking_thread = threading.get_ident()

    def is_of_another_thread(_record: logging.LogRecord) -> bool:
        return threading.get_ident() != asking_thread

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(is_of_another_thread)
    try:
        try:
            from alibabacloud_credentials.client import Client
        except BaseException as error:  # A broken package can raise anything.
            raise ImportError from error
        return Client().get_credential()
    finally:
        for logger in loggers:
            logger.removeFilter(is_of_another_thread)
