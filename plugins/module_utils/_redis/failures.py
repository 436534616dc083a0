# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What errors of the Redis library, and of its servers, mean. Only files of the Redis store import this one."""

from __future__ import annotations

import re
import ssl
import typing as t

from .._model.exceptions import StoreError
from .address import CLUSTER, Address
from .replies import UnexpectedReply

try:
    import redis
    from redis.sentinel import MasterNotFoundError
except ImportError:
    pass  # Who is without it has been told by then.

UNAVAILABLE, READ_ONLY, FULL = "StoreUnavailable", "StoreReadOnly", "StoreFull"
_ACCESS_DENIED = "StoreAccessDenied"
_UNKNOWN = re.compile(
    "NOAUTH|WRONGPASS|[Aa]uthentication required|invalid username-password|without any password configured"
)
_DENIED = re.compile("NOPERM|ACL failure|has no permissions|user executing the script can't")


def is_refusal(error: Exception) -> bool:
    """Say whether it is an answer of the server's to this one command, the connection being sound."""
    return isinstance(error, redis.ResponseError) and not isinstance(
        error, redis.exceptions.ClusterError
    )


def is_redirection(error: Exception) -> bool:
    """Say whether it names another server of the cluster, which has the answer."""
    return isinstance(error, redis.exceptions.AskError)


def explain(error: Exception, address: Address) -> StoreError:
    """Return what an error of the library means; nothing of what it or the server say is shown."""
    chain = list(_chain(error))
    words = " ".join(str(each) for each in chain)
    code, retryable = UNAVAILABLE, False

    def is_a(*kinds: t.Any) -> bool:
        return any(isinstance(each, kinds) for each in chain)

    if is_a(redis.AuthenticationError) or _UNKNOWN.search(words):
        code, what = _ACCESS_DENIED, "refuses access: check store_username and store_password"
    elif is_a(redis.exceptions.NoPermissionError) or _DENIED.search(words):
        code, what = (
            _ACCESS_DENIED,
            "refuses this user a command or a key: give the user the rights that the guide to Redis names",
        )
    elif is_a(redis.ReadOnlyError) or "READONLY" in words:
        code, what = (
            READ_ONLY,
            "is a read-only replica: name the primary, or use redis+sentinel:// or redis+cluster://",
        )
    elif is_a(redis.exceptions.OutOfMemoryError) or "OOM " in words:
        code, what = FULL, "has no memory left: raise its maxmemory, or remove something"
    elif _is_tls_failure(chain):
        code, what = (
            "TlsFailed",
            "could not be verified: check store, store_ca_path and its certificate",
        )
    elif address.kind != CLUSTER and (is_a(redis.exceptions.AskError) or "MOVED" in words):
        what = "is part of a cluster: use redis+cluster:// or rediss+cluster://"
    elif "luster mode is not enabled" in words or "cluster support disabled" in words:
        what = "is no cluster: use redis:// or rediss://"
    elif is_a(UnexpectedReply, redis.InvalidResponse):
        what = "does not answer as Redis does: check store"
    elif "MISCONF" in words:
        what = "cannot save to its disk and takes no writes: look at its log"
    elif "WRONGTYPE" in words:
        what = "holds something else under the name of the session: remove it"
    else:
        retryable, what = _explain_passing(is_a, words)
    return StoreError(f"The Redis server {address} {what}.", code=code, retryable=retryable)


def _explain_passing(is_a: t.Callable[..., bool], words: str) -> tuple[bool, str]:
    if is_a(redis.BusyLoadingError) or "LOADING" in words:
        return True, "is still loading its data: try again"
    if is_a(MasterNotFoundError):
        return True, "has no primary that its Sentinels know: check store, or try again"
    if is_a(redis.exceptions.ClusterError, redis.exceptions.TryAgainError) or re.search(
        "CLUSTERDOWN|MASTERDOWN|TRYAGAIN|NOREPLICAS|[Ss]lots? .*not covered", words
    ):
        return True, "has not all its nodes at work: try again"
    if is_a(redis.TimeoutError, TimeoutError):
        return (
            True,
            "did not answer in time: try again later, or check its port, and whether it is one of TLS",
        )
    if is_a(redis.ResponseError):
        return (
            False,
            "refuses a command of the store: it must be version 6 or later; look at its log",
        )
    return True, "cannot be reached: check store and the network"


def _is_tls_failure(chain: t.Sequence[BaseException]) -> bool:
    cut_off = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLWantReadError)
    return any(isinstance(each, ssl.SSLError) and not isinstance(each, cut_off) for each in chain)


def _chain(error: BaseException | None) -> t.Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
