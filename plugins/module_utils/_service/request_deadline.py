# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bounds what an HTTP request takes, in full: whatever a peer does, a watchdog cuts it off when its time is over."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import typing as t

from .._runtime.timeouts import run_with_timeout

_WATCH = 0.02
"""How often, in seconds, it is looked whether a request is out of time."""


class RequestDeadline:
    """One request on its way: its target, when it must be over, its socket, and whether any of it has left this host."""

    def __init__(self, seconds: float, target: str = "/") -> None:
        self.target = target
        self.end = time.monotonic() + seconds
        self._guard = threading.Lock()
        self._line: socket.socket | None = None
        self._adopted: list[socket.socket] = []
        self.expired = False
        self.resolved = True
        self.sent = False

    def remaining(self) -> float:
        """Return the seconds that are left; :class:`TimeoutError` where none are."""
        remaining = self.end - time.monotonic()
        if self.expired or remaining <= 0:
            raise TimeoutError
        return remaining

    def is_over(self) -> bool:
        """Say whether its time is over."""
        return self.expired or time.monotonic() >= self.end

    def use(self, line: socket.socket) -> None:
        """Tell which socket to cut off when the time is over."""
        with self._guard:
            self._line = line

    def leave(self) -> None:
        """Let go of the socket before somebody else uses it: the answer has been read."""
        with self._guard:
            self._line = None

    def adopt(self, line: socket.socket) -> None:
        """Take over a socket whose connection is closed: its answer may still be read, and is to end in time."""
        with self._guard:
            self._adopted.append(line)

    def close(self) -> None:
        """Let go of all sockets."""
        with self._guard:
            self._line = None
            for line in self._adopted:
                line.close()

    def expire(self) -> None:
        """Cut the request off wherever it is: no reader waits for a peer that drips byte by byte."""
        with self._guard:
            self.expired = True
            if self._line is not None:
                with contextlib.suppress(OSError):
                    self._line.shutdown(socket.SHUT_RDWR)

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, none where there are none."""

        def look_up() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return [str(entry[4][0]) for entry in found]

        addresses: list[str] = []
        with contextlib.suppress(socket.gaierror, UnicodeError):
            addresses = run_with_timeout(self.remaining(), look_up)
        self.resolved = bool(addresses)
        return addresses


class Watchdog:
    """Cuts off requests that are out of time: one thread, from the first request until it is closed."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._requests: set[RequestDeadline] = set()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watch(self, request: RequestDeadline) -> t.Iterator[None]:
        """Watch over a request that this thread sends within the block.

        Raises :class:`RuntimeError` where there is no thread to be had.
        """
        with self._guard:
            if self._thread is None:
                thread = threading.Thread(target=self._run, daemon=True)
                thread.start()
                self._thread = thread
            self._requests.add(request)
        _current.request = request
        try:
            yield
        finally:
            _current.request = None
            with self._guard:
                self._requests.discard(request)
            request.close()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(_WATCH):
            now = time.monotonic()
            with self._guard:
                late = [request for request in self._requests if request.end <= now]
            for request in late:
                request.expire()


class _Current(threading.local):
    """The request that this thread sends."""

    request: RequestDeadline | None = None


_current = _Current()


def current_request() -> RequestDeadline | None:
    """Return the request that this thread sends."""
    return _current.request
