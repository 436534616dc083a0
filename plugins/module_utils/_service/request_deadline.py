# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The deadline of one HTTP request, and how far the request got."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import typing as t

from .._runtime.timeouts import run_with_timeout


class RequestDeadline:
    """One HTTP request: its target, its deadline, and whether any part of it was sent."""

    def __init__(self, seconds: float, target: str = "/") -> None:
        self.target = target
        self.end = time.monotonic() + seconds
        self.resolved = True
        self.sent = False

    def remaining(self) -> float:
        """Return the seconds that are left. Raises :class:`TimeoutError` if there are none."""
        remaining = self.end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining

    def is_over(self) -> bool:
        """Return True if the deadline has passed."""
        return time.monotonic() >= self.end

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, or an empty list if it has none."""

        def look_up() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return [str(entry[4][0]) for entry in found]

        addresses: list[str] = []
        with contextlib.suppress(socket.gaierror, UnicodeError):
            addresses = run_with_timeout(self.remaining(), look_up)
        self.resolved = bool(addresses)
        return addresses


class _ThisThread(threading.local):
    request: RequestDeadline | None = None


_this_thread = _ThisThread()


@contextlib.contextmanager
def sending(request: RequestDeadline) -> t.Iterator[None]:
    """Apply the deadline to all connections that this thread uses within the block."""
    _this_thread.request = request
    try:
        yield
    finally:
        _this_thread.request = None


def current_request() -> RequestDeadline:
    """Return the request that this thread is sending. Raises :class:`RuntimeError` if there is none."""
    if _this_thread.request is None:
        raise RuntimeError("a connection is used outside a request")
    return _this_thread.request
