# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connect store, service and keeper with the settings from the options."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import threading
import time
import typing as t

from .._keeper.keeper import Keeper
from .._model.endpoint import parse_proxy
from .._model.exceptions import ServiceError, WuyingError
from .._store.base import Store
from . import credentials
from .argument_spec import service_spec
from .options import DAY, GetOption, read_boolean, read_ca_path, read_number
from .store_options import open_store

if t.TYPE_CHECKING:
    from .._service.client import ServiceClient


@contextlib.contextmanager
def open_keeper(
    get_option: GetOption,
    warn: t.Callable[[str], None],
    *,
    connections: int = 1,
    max_qps: float | None = None,
) -> t.Iterator[Keeper]:
    """Yield a keeper over the store and the service that the options name. Its deadline counts from this call.

    The service client opens at most ``connections`` connections and sends at most ``max_qps`` requests per second. At the
    end of the block, ``warn`` is called with each warning about the whole task. Raises :class:`WuyingError`.
    """
    deadline = read_deadline(get_option)
    find_keys = credentials.from_options(get_option)
    # The scope is everything that can decide the result of a refresh. Tasks share a failure only if their scopes are equal.
    variables = [os.environ.get(name) for name in credentials.VARIABLES]
    scope = repr([[get_option(name) for name in service_spec()], variables])
    warnings: dict[str, str] = {}
    settings = {"connections": connections, "max_qps": max_qps, "warnings": warnings, **_read_settings(get_option)}
    with contextlib.ExitStack() as opened:
        store = opened.enter_context(contextlib.closing(open_store(get_option, deadline)))

        def open_client() -> ServiceClient:
            try:
                # Imported here, so that a task that sends no request loads no HTTP library. Everything is loaded before a token is spent.
                from .._keeper import obtain  # noqa: F401
                from .._service.client import ServiceClient
            except OSError as error:
                message = f"The HTTP client could not be loaded ({os.strerror(error.errno or errno.EIO)}). Run the task again. "
                message += "If the error persists, raise the limit of open files (ulimit -n) and check the disk."
                raise ServiceError(message, code="MissingLibrary", retryable=True) from None
            return opened.enter_context(ServiceClient(None, **settings))

        def connect() -> ServiceClient:
            keys = find_keys(deadline)
            client = connect_unsigned()
            from ..signer import Credentials

            client.credentials = keys and Credentials(*keys)
            client.credentials_advice = credentials.describe(get_option, keys)
            return client

        connect_unsigned = _once(open_client)
        keeper = Keeper(store, _once(connect), connect_unsigned, scope=scope, deadline=deadline, warnings=warnings)
        try:
            yield keeper
        finally:
            for warning in keeper.task_warnings().values():
                warn(warning)


def open_store_only(get_option: GetOption) -> contextlib.closing[Store]:
    """Return a context manager for the store that the options name. Raises :class:`WuyingError`."""
    return contextlib.closing(open_store(get_option, read_deadline(get_option)))


def read_deadline(get_option: GetOption) -> float:
    """Return the deadline of the task (of :func:`time.monotonic`), counted from this call. Raises :class:`OptionError`."""
    return time.monotonic() + read_number(get_option, "deadline", 0.001, DAY)


def _read_settings(get_option: GetOption) -> dict[str, t.Any]:
    proxy = get_option("proxy")
    return {
        "signature_version": get_option("signature_version"),
        "timeout": read_number(get_option, "timeout", 0.001, DAY),
        "retries": int(read_number(get_option, "retries", 0, 100)),
        "validate_certs": read_boolean(get_option, "validate_certs"),
        "ca_path": read_ca_path(get_option, "ca_path"),
        "proxy": None if proxy is None else parse_proxy(str(proxy)),
    }


def _once(connect: t.Callable[[], ServiceClient]) -> t.Callable[[], ServiceClient]:
    """Return a function that calls ``connect`` once, and returns its result or raises its error each time, in any thread."""
    lock = threading.Lock()

    @functools.lru_cache(maxsize=None)
    def client_or_error() -> ServiceClient | WuyingError:
        try:
            return connect()
        except WuyingError as error:
            return error

    def connect_once() -> ServiceClient:
        with lock:
            client = client_or_error()
        if isinstance(client, WuyingError):
            raise client.with_traceback(None)
        return client

    return connect_once
