# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open sockets to Redis, and bound every reply by a time and a size."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
import typing as t

from .._runtime.timeouts import run_with_timeout
from .failures import UnexpectedReply

try:
    import redis

    if redis.VERSION[0] < 5:
        raise ImportError
    from redis._parsers import _RESP2Parser
except Exception as error:  # Damaged packages raise any exception.
    IMPORT_ERROR: Exception | None = error
else:
    IMPORT_ERROR = None

LONGEST_TIMEOUT = 5.0

_this_thread = threading.local()


class ReplyTooLarge(Exception):
    """A reply exceeds the limits."""


class ConnectTimeout(socket.timeout):
    """The connection could not be opened in time. With TLS, this includes the handshake."""


class _Limit(t.NamedTuple):
    end: float
    """When the command must be done, in the time of :func:`time.monotonic`."""
    timeout: float
    """How many seconds one reply may take."""
    size: int = 256 * 1024
    """How many bytes one reply may have, whatever lengths the server announces. A session has at most 64 KiB."""
    lines: int = 10_000
    """How many lines one reply may have. Short items need much more memory than they take in the reply."""

    def end_of_step(self) -> float:
        """Return when a step that begins now must be done, such as opening a connection or reading a reply."""
        return min(self.end, time.monotonic() + self.timeout)


@contextlib.contextmanager
def time_limit(end: float, timeout: float) -> t.Iterator[None]:
    """Limit all connections that this thread uses within the block: each reply to ``timeout``, and all of them to ``end``."""
    _this_thread.limit = _Limit(end, timeout)
    try:
        yield
    finally:
        _this_thread.limit = None


@contextlib.contextmanager
def large_replies() -> t.Iterator[None]:
    """Within the block, also read replies about many sessions or slots. Only one thread at a time should do so."""
    limit = current_limit()
    _this_thread.limit = limit._replace(size=8 * 1024 * 1024, lines=50_000)
    try:
        yield
    finally:
        _this_thread.limit = limit


def current_limit() -> _Limit:
    """Return the limit of this thread."""
    limit: _Limit | None = getattr(_this_thread, "limit", None)
    if limit is None:
        raise RuntimeError("a connection is used outside a time limit")
    return limit


def remaining(end: float) -> float:
    """Return the seconds until ``end``. Raises :class:`socket.timeout` if there are none."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise socket.timeout
    return seconds


class _BoundedSocket:
    """A socket that reads at most one reply of limited time and size for all that was sent last."""

    def __init__(self, opened: t.Any) -> None:
        self._socket = opened
        self._expect_reply()
        self._first: bytes | None = None
        """What was read first, until more is read. A server that refuses clients says why, and closes the connection."""

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._socket, name)

    def sendall(self, data: t.Any) -> None:
        self._expect_reply()
        self._socket.settimeout(remaining(self._end))
        try:
            self._socket.sendall(data)
        except ConnectionError:
            if self._first is not None:  # Otherwise read first.
                raise

    def recv(self, size: int) -> bytes:
        if self._socket.gettimeout() != 0:
            self._socket.settimeout(remaining(self._end))
        elif self._first is None:  # The library asks whether the connection is still usable.
            raise BlockingIOError(errno.EWOULDBLOCK, "")
        data = b""
        with contextlib.suppress(ConnectionError):
            data = self._socket.recv(size)
        self._size -= len(data)
        self._lines -= data.count(b"\n")
        if self._size < 0 or self._lines < 0:
            raise ReplyTooLarge
        if self._first is None and data[:1] not in b"+-:$*":
            raise UnexpectedReply
        if not data and self._first and self._first.startswith(b"-"):
            raise ConnectionError(self._first.decode("latin-1"))
        self._first = data if self._first is None else b""
        return data

    def _expect_reply(self) -> None:
        limit = current_limit()
        self._end, self._size, self._lines = limit.end_of_step(), limit.size, limit.lines


class _Bounded:
    """A connection of the library with such a socket."""

    def _connect(self) -> t.Any:
        # Do not tell the server the library's name. That takes two more replies, and hides the error of a server that refuses clients.
        self.lib_name: t.Any = None
        self.lib_version: t.Any = None
        self.driver_info: t.Any = None
        try:
            # In a thread, because name resolution has no timeout.
            opened = run_with_timeout(remaining(current_limit().end_of_step()), super()._connect)  # type: ignore[misc]
        except TimeoutError:
            raise ConnectTimeout from None
        return _BoundedSocket(opened)


if IMPORT_ERROR is None:

    class Parser(_RESP2Parser):
        """The library's parser in Python. That of hiredis allocates an array of any size that a server announces."""

    Parser.EXCEPTION_CLASSES = {
        **_RESP2Parser.EXCEPTION_CLASSES,
        # In version 5 of the library, only its client for clusters knows these.
        "ASK": redis.exceptions.AskError,
        "CLUSTERDOWN": redis.exceptions.ClusterDownError,
        "MOVED": redis.exceptions.MovedError,
        "TRYAGAIN": redis.exceptions.TryAgainError,
    }

    class Connection(_Bounded, redis.Connection):
        """A TCP connection."""

    class TlsConnection(_Bounded, redis.SSLConnection):
        """A TCP connection with TLS."""

    class UnixConnection(_Bounded, redis.UnixDomainSocketConnection):
        """A connection to a socket on this host."""
