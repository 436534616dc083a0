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


class _Cause(t.NamedTuple):
    """A cause: the classes of its errors, a pattern of texts, and the error. ``message`` follows "The Redis server X"."""

    classes: str
    pattern: str
    message: str
    retryable: bool = False
    code: str = ServerFailure.code
    kind: type[StoreError] = ServerFailure
    in_cluster: bool = True
    """Whether this can be the cause if ``store`` is the address of a cluster."""


# The first cause that matches counts. Texts matter because an error within a script arrives as a plain ResponseError, and because
# versions of the library differ in the classes that they use.
_CAUSES = (
    _Cause(
        "AuthenticationError",
        "NOAUTH|WRONGPASS|[Aa]uthentication required|invalid username-password|without any password configured",
        "denied access. Check store_username and store_password.",
        code="StoreAccessDenied",
        kind=StoreError,
    ),
    _Cause(
        "NoPermissionError",
        "NOPERM|ACL failure|has no permissions|user executing the script can't",
        "denied this user access to a command or key. Grant the permissions that the Redis guide lists.",
        code="StoreAccessDenied",
        kind=StoreError,
    ),
    _Cause(
        "ReadOnlyError",
        "READONLY",
        "is a read-only replica. Set store to the primary, or use redis+sentinel:// or redis+cluster://.",
        code="StoreReadOnly",
    ),
    _Cause(
        "OutOfMemoryError",
        "OOM ",
        "has no memory left. Increase its maxmemory or remove data.",
        code="StoreFull",
        kind=OutOfMemory,
    ),
    _Cause(
        "SSLError",
        "",
        "could not be verified. Check store, store_ca_path and the server's certificate.",
        code="TlsFailed",
        kind=StoreError,
    ),
    _Cause(
        "AskError",
        "MOVED",
        "is part of a cluster. Use redis+cluster:// or rediss+cluster:// in store.",
        in_cluster=False,
    ),
    _Cause(
        "",
        "luster mode is not enabled|cluster support disabled",
        "is not a cluster. Use redis:// or rediss:// in store.",
    ),
    _Cause(
        "UnexpectedReply InvalidResponse", "", "does not respond like a Redis server. Check the host and port in store."
    ),
    _Cause("", "MISCONF", "cannot save to its disk and accepts no writes. Check its log."),
    _Cause("", "WRONGTYPE", "stores another type of value under the session's key. Remove that key."),
    _Cause("BusyLoadingError", "LOADING", "is still loading its data. Try again.", retryable=True),
    _Cause(
        "MasterNotFoundError",
        "",
        "is unknown to its Sentinels or has no primary. Check store, or try again.",
        retryable=True,
    ),
    _Cause(
        "ClusterError TryAgainError",
        "CLUSTERDOWN|MASTERDOWN|TRYAGAIN|NOREPLICAS|[Ss]lots? .*not covered",
        "has nodes or replicas that are not available. Try again.",
        retryable=True,
    ),
    _Cause(
        "TimeoutError",
        "",
        "did not reply in time. Try again later, or check the port and whether the server expects TLS.",
        retryable=True,
    ),
    _Cause(
        "ResponseError", "", "refuses a command that the store needs. Use Redis 6 or later, and check the server's log."
    ),
    _Cause("", "", "cannot be reached. Check store and the network.", retryable=True),
)


def explain(error: Exception, address: Address) -> StoreError:
    """Return the error to raise for an error of the library. The message does not quote the library or the server."""
    errors = list(_causes_of(error))
    # These mean that a TLS connection was lost, and not that TLS failed.
    lost = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLWantReadError)
    classes = {kind.__name__ for each in errors if not isinstance(each, lost) for kind in type(each).__mro__}
    texts = " ".join(map(str, errors))
    for cause in _CAUSES:
        matches = classes.intersection(cause.classes.split()) or (cause.pattern and re.search(cause.pattern, texts))
        if matches and (cause.in_cluster or address.kind != CLUSTER):
            break
    return cause.kind(f"The Redis server {address} {cause.message}", code=cause.code, retryable=cause.retryable)


def _causes_of(error: BaseException | None) -> t.Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
