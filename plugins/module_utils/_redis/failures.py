# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Explain failures of Redis: what went wrong, and what to do next."""

from __future__ import annotations

import re
import ssl
import typing as t

from .._model.exceptions import StoreError
from .address import CLUSTER, Address

try:
    import redis
    from redis.sentinel import MasterNotFoundError
except ImportError:
    pass  # Connection reports the missing library before any function of this file is called.


class ServerFailure(StoreError):
    """The server cannot do its work. It may recover, or another server may take its place."""


class OutOfMemory(ServerFailure):
    """The server has no memory left for a write."""


class UnexpectedReply(Exception):
    """The reply to a command has a shape that Redis never sends."""


def check_fields(reply: object, count: int) -> list[bytes | None]:
    """Return ``count`` fields of a hash, None for each missing one. Raises :class:`UnexpectedReply`."""
    if not isinstance(reply, list) or len(reply) != count:
        raise UnexpectedReply
    if not all(field is None or isinstance(field, bytes) for field in reply):
        raise UnexpectedReply
    return reply


def is_refusal(error: Exception) -> bool:
    """Return True if the server refused this one command and the connection still works."""
    return isinstance(error, redis.ResponseError) and not isinstance(error, redis.exceptions.ClusterError)


def is_redirection(error: Exception) -> bool:
    """Return True if the error names another node of the cluster, which has the key."""
    return isinstance(error, redis.exceptions.AskError)


class _Error:
    """An error of the library with its causes, and whether the address is that of a cluster."""

    def __init__(self, error: BaseException, address: Address) -> None:
        self._chain = list(_chain(error))
        self._text = " ".join(map(str, self._chain))
        self.in_cluster = address.kind == CLUSTER

    def is_a(self, *kinds: t.Any) -> bool:
        """Return True if the error or one of its causes is an instance of one of the classes."""
        return any(isinstance(error, kinds) for error in self._chain)

    def says(self, pattern: str) -> bool:
        """Return True if the text of the error or of one of its causes matches the pattern."""
        return re.search(pattern, self._text) is not None

    def is_tls_failure(self) -> bool:
        """Return True if TLS failed although the connection was not lost."""
        lost = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLWantReadError)
        return any(isinstance(error, ssl.SSLError) and not isinstance(error, lost) for error in self._chain)


class _Cause(t.NamedTuple):
    """A possible cause and the error to raise. ``message`` comes after "The Redis server X"."""

    applies: t.Callable[[_Error], bool]
    message: str
    retryable: bool = False
    code: str = ServerFailure.code
    kind: type[StoreError] = ServerFailure


# The first cause that applies counts. The text of an error is needed beside its class, because an error within a script
# arrives as a plain ResponseError, and because versions of the library differ in the classes that they use.
_CAUSES = (
    _Cause(
        lambda error: (
            error.is_a(redis.AuthenticationError)
            or error.says(
                "NOAUTH|WRONGPASS|[Aa]uthentication required|invalid username-password|without any password configured"
            )
        ),
        "refuses access. Check store_username and store_password.",
        code="StoreAccessDenied",
        kind=StoreError,
    ),
    _Cause(
        lambda error: (
            error.is_a(redis.exceptions.NoPermissionError)
            or error.says("NOPERM|ACL failure|has no permissions|user executing the script can't")
        ),
        "refuses this user a command or a key. Grant the user the rights that the Redis guide lists.",
        code="StoreAccessDenied",
        kind=StoreError,
    ),
    _Cause(
        lambda error: error.is_a(redis.ReadOnlyError) or error.says("READONLY"),
        "is a read-only replica. Set store to the primary, or use redis+sentinel:// or redis+cluster://.",
        code="StoreReadOnly",
    ),
    _Cause(
        lambda error: error.is_a(redis.exceptions.OutOfMemoryError) or error.says("OOM "),
        "has no memory left. Increase its maxmemory or remove data.",
        code="StoreFull",
        kind=OutOfMemory,
    ),
    _Cause(
        _Error.is_tls_failure,
        "could not be verified. Check store, store_ca_path and the server's certificate.",
        code="TlsFailed",
        kind=StoreError,
    ),
    _Cause(
        lambda error: not error.in_cluster and (error.is_a(redis.exceptions.AskError) or error.says("MOVED")),
        "is part of a cluster. Use redis+cluster:// or rediss+cluster:// in store.",
    ),
    _Cause(
        lambda error: error.says("luster mode is not enabled|cluster support disabled"),
        "is not a cluster. Use redis:// or rediss:// in store.",
    ),
    _Cause(
        lambda error: error.is_a(UnexpectedReply, redis.InvalidResponse),
        "does not reply as Redis does. Check store.",
    ),
    _Cause(
        lambda error: error.says("MISCONF"),
        "cannot save to its disk and accepts no writes. Check its log.",
    ),
    _Cause(
        lambda error: error.says("WRONGTYPE"),
        "stores another type of value under the session's key. Remove that key.",
    ),
    _Cause(
        lambda error: error.is_a(redis.BusyLoadingError) or error.says("LOADING"),
        "is still loading its data. Try again.",
        retryable=True,
    ),
    _Cause(
        lambda error: error.is_a(MasterNotFoundError),
        "is unknown to its Sentinels or has no primary. Check store, or try again.",
        retryable=True,
    ),
    _Cause(
        lambda error: (
            error.is_a(redis.exceptions.ClusterError, redis.exceptions.TryAgainError)
            or error.says("CLUSTERDOWN|MASTERDOWN|TRYAGAIN|NOREPLICAS|[Ss]lots? .*not covered")
        ),
        "has nodes or replicas that are not available. Try again.",
        retryable=True,
    ),
    _Cause(
        lambda error: error.is_a(redis.TimeoutError, TimeoutError),
        "did not reply in time. Try again later, or check the port and whether the server expects TLS.",
        retryable=True,
    ),
    _Cause(
        lambda error: error.is_a(redis.ResponseError),
        "refuses a command that the store needs. Use Redis 6 or later, and check the server's log.",
    ),
)
_UNREACHABLE = _Cause(lambda error: True, "cannot be reached. Check store and the network.", retryable=True)


def explain(error: Exception, address: Address) -> StoreError:
    """Return the error to raise for an error of the library. The message does not quote the library or the server."""
    found = _Error(error, address)
    cause = next((cause for cause in _CAUSES if cause.applies(found)), _UNREACHABLE)
    message = f"The Redis server {address} {cause.message}"
    return cause.kind(message, code=cause.code, retryable=cause.retryable)


def _chain(error: BaseException | None) -> t.Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
