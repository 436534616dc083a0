# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Get an access key from the provider chain of alibabacloud-credentials."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import typing as t

from ansible.module_utils.basic import missing_required_lib

from .._model.exceptions import MissingLibraryError, ServiceError
from .._runtime.timeouts import run_with_timeout

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


def ask_provider_chain(deadline: float) -> tuple[str, str, str | None]:
    """Return an access key's ID, its secret and its security token, before ``deadline`` (of :func:`time.monotonic`).

    Raises :class:`ServiceError`. Its message does not repeat the package's messages, which may contain a secret or a signed URL.
    """
    timed_out = False
    try:
        found = run_with_timeout(deadline - time.monotonic(), _ask_provider_chain)
    except ImportError:
        raise MissingLibraryError(missing_required_lib("alibabacloud-credentials")) from None
    except Exception as error:
        found, timed_out = None, isinstance(error, TimeoutError)
    if found is None or not found.access_key_id or not found.access_key_secret:
        raise ServiceError(
            "The provider chain of alibabacloud-credentials returned no access key. "
            "Configure one of its sources, or choose another auth_method.",
            code="MissingCredentials",
            retryable=timed_out,
        )
    return found.access_key_id, found.access_key_secret, found.security_token


def _ask_provider_chain() -> t.Any:
    with _drop_log_messages():
        from alibabacloud_credentials.client import Client

        return Client().get_credential()


@contextlib.contextmanager
def _drop_log_messages() -> t.Iterator[None]:
    """Drop what this thread logs through the package and its HTTP library, because it contains secrets and signed URLs."""
    silent_thread = threading.get_ident()

    def is_of_another_thread(_record: logging.LogRecord) -> bool:
        return threading.get_ident() != silent_thread

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(is_of_another_thread)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_of_another_thread)
