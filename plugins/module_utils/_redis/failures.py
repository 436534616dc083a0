# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Explain failures of Redis: what went wrong, and what to do next."""

from __future__ import annotations

import contextlib
import errno
import re
import ssl
import sys
import typing as t

from ansible.module_utils.basic import missing_required_lib

from .._model.exceptions import StoreError

_LONGEST_FIELD = 65536
"""How many bytes of a field are kept. No record is that large, so one that is cut off counts as damaged."""
_LONGEST_TEXT = 10_000


class ServerFailure(StoreError):
    """The server cannot do its work. It may recover, or another server may take its place."""


class OutOfMemory(ServerFailure):
    """The server has no memory left for a write."""


class Busy(ServerFailure):
    """The server replies that it does not execute commands at the moment."""


class UnexpectedReply(Exception):
    """The reply to a command has a shape that Redis never sends."""


def check_fields(reply: object, count: int) -> list[bytes | None]:
    """Return ``count`` fields of a hash, None for each missing one. Raises :class:`UnexpectedReply`."""
    if not isinstance(reply, list) or len(reply) != count:
        raise UnexpectedReply
    if not all(field is None or isinstance(field, bytes) for field in reply):
        raise UnexpectedReply
    return [field and field[:_LONGEST_FIELD] for field in reply]


class _Kind(t.NamedTuple):
    """What all failures of a kind have in common."""

    error: type[StoreError] = ServerFailure
    code: str = ServerFailure.code
    retryable: bool = False
    subject: str = "server"


_KINDS = {
    "denied": _Kind(StoreError, "StoreAccessDenied"),
    "tls": _Kind(StoreError, "TlsFailed"),
    "read-only": _Kind(code="StoreReadOnly"),
    "full": _Kind(OutOfMemory, "StoreFull"),
    "busy": _Kind(Busy, retryable=True),
    "temporary": _Kind(retryable=True),
    "cluster": _Kind(retryable=True, subject="Cluster"),
    "permanent": _Kind(),
}
_CAUSES = r"""
denied: <sentinels>.*(<AuthenticationError>|<NoPermissionError>|NOAUTH|NOPERM)
    cannot be found, because its Sentinels require a password, which is not supported. Let clients query them without one.
denied: protected mode
    accepts only clients on its own host, because it is in protected mode and has no password. Set one, and pass it as store_password.
denied: without any password configured|no password is set
    has no password. Omit store_password, or set a password on the server.
denied: NOAUTH|[Aa]uthentication required|unauthenticated multibulk length
    requires a password. Set store_password, and store_username if the server has users.
denied: <username>.*(<AuthenticationError>|WRONGPASS|invalid username-password)
    does not accept this user name and password. Check store_username and store_password, and that the user is enabled.
denied: <AuthenticationError>|WRONGPASS|invalid username-password
    does not accept this password. Check store_password. If the server has users, set store_username, too.
denied: <NoPermissionError>|NOPERM|ACL failure|has no permissions|user executing the script can't
    denied this user access to a command or key. Grant the permissions that the Redis guide lists.
denied: <socket>.*(<EACCES>|<EPERM>)
    cannot be reached, because this user may not open its socket. Check the owner and mode of the socket.
tls: certificate has expired
    could not be verified, because its certificate has expired. Renew the certificate.
tls: [Hh]ostname mismatch|IP address mismatch|doesn't match
    could not be verified, because its certificate is for another name. Check the host in store, or the server's certificate.
tls: self.signed certificate|unable to get (local )?issuer
    could not be verified, because its certificate is signed by an unknown CA. Set store_ca_path to the certificate of that CA.
tls: certificate required
    requires a client certificate, which is not supported. Set tls-auth-clients to no on the server.
tls: WRONG_VERSION_NUMBER|wrong version number
    does not use TLS on this port. Check the port in store. For a server without TLS, store begins with redis instead of rediss.
tls: <SSLError>|<tls>.*(<ENOENT>|<EACCES>)
    could not be verified. Check store, store_ca_path and the server's certificate.
temporary: <gaierror>|<UnicodeError>
    cannot be reached, because its host name is unknown. Check store and the name servers.
temporary: <NoThreadError>
    cannot be reached, because no thread can be started. Raise the limit of processes and threads (ulimit -u, and pids of a container), or stop some of them.
temporary: <EMFILE>|<ENFILE>
    cannot be reached, because too many files are open. Raise the limit of open files (ulimit -n). In wuying_login_tokens, you can lower max_parallel instead.
permanent: <sentinels>.*[Nn]o such master
    is unknown to its Sentinels. Check the name in store.
permanent: <sentinels>.*unknown command
    cannot be found, because the hosts in store are not Sentinels. Check their ports, which are usually 26379.
temporary: <NoPrimary>
    has no working primary at the moment, according to its Sentinels. Try again.
permanent: <single>.*(<AskError>|MOVED)|not allowed in cluster mode
    is part of a cluster. Use redis+cluster:// or rediss+cluster:// in store.
permanent: luster mode is not enabled|cluster support disabled
    is not a cluster. Use redis:// or rediss:// in store.
permanent: <ReplyTooLarge>
    sent a reply that is too large. Check the host and port in store, and remove keys that do not belong to the store.
permanent: <UnexpectedReply>|<InvalidResponse>|<ValueError>|<TypeError>|<KeyError>|<RecursionError>
    does not respond like a Redis server. Check the host and port in store.
permanent: DB index is out of range|invalid DB index
    has no database with the number in store. Use another number, or increase databases on the server.
permanent: un(known|supported) command
    does not offer a command that the store needs. Use Redis 6 or later, and enable EVAL and the other commands that the Redis guide lists.
permanent: MISCONF
    cannot save to its disk and accepts no writes. Check its log.
permanent: WRONGTYPE
    stores another type of value under the session's key, which is named wuying.workspace:{KEY}. Remove that key.
full: <OutOfMemoryError>|\bOOM\b
    has no memory left. Increase its maxmemory or remove data.
temporary: <sentinel>.*(<ReadOnlyError>|READONLY)
    is not the primary any more. Try again when the failover is complete.
read-only: <ReadOnlyError>|READONLY
    is a read-only replica. Set store to the primary, or use redis+sentinel:// or redis+cluster://.
busy: \bBUSY\b
    is busy with the script of another client. Try again later, or stop the script with SCRIPT KILL.
busy: <BusyLoadingError>|LOADING
    is still loading its data. Try again.
temporary: max number of clients
    has too many clients. Try again later, or increase maxclients on the server.
temporary: NOREPLICAS
    has too few replicas. Try again. If this persists, check its replicas.
temporary: MASTERDOWN|<MasterDownError>
    is a replica that has lost its primary. Try again. If this persists, check the primary.
cluster: <ClusterError>|<TryAgainError>|<AskError>|<NoNode>|CLUSTERDOWN|TRYAGAIN
    has no node for some sessions, because a node is missing or slots are being moved. Try again. If this persists, check the cluster.
permanent: <ResponseError>
    refuses a command that the store needs. Use Redis 6 or later, and check the server's log.
temporary: <sentinels>
    cannot be found, because none of its Sentinels responds. Check store, the network, and whether the Sentinels run.
temporary: <tls>.*<ConnectTimeout>
    cannot be reached in time. Check store and the network. For a server without TLS, store begins with redis instead of rediss.
temporary: <ConnectTimeout>
    cannot be reached in time. Check store and the network.
temporary: <TimeoutError>
    did not reply in time. Try again later, or check the port and whether the server expects TLS.
temporary: <tls>.*(<ConnectionResetError>|<BrokenPipeError>|closed by server)
    closed the connection. Try again. If it closes each connection, check whether it requires a client certificate, which is not supported.
temporary: <ConnectionResetError>|<BrokenPipeError>|closed by server
    closed the connection. Try again. If it closes each connection, check whether it expects TLS. If so, store begins with rediss.
temporary:
    cannot be reached. Check store and the network.
"""
"""The kind and the pattern of each cause, and below it the message, which follows "The Redis server X" or "The Redis Cluster X". The first match counts.

A pattern searches one line: what is true of the connection, the classes and ``errno`` names of the errors, all in angle brackets, and
their texts. Texts matter because an error within a script arrives as a plain ResponseError, and because versions of the library
differ in the classes that they use.
"""


_ROWS = re.findall(r"^(\S+):(?: (.+))?\n    (.+)$", _CAUSES, re.MULTILINE)


def explain(error: Exception, server: str, facts: t.Iterable[str] = ()) -> StoreError:
    """Return the error to raise for an error of the library. The message does not quote the library or the server.

    ``facts`` are words for what is true of the connection.
    """
    if isinstance(error, StoreError):
        return error
    errors = list(_chain(error))
    # These mean that a TLS connection was lost, and not that TLS failed.
    lost = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLWantReadError)
    words = [*facts, *(kind.__name__ for each in errors if not isinstance(each, lost) for kind in type(each).__mro__)]
    system_errors = (each for each in errors if isinstance(each, OSError) and not isinstance(each, ssl.SSLError))
    words += [errno.errorcode.get(each.errno or 0, "") for each in system_errors]
    texts = " ".join(map(str, errors))[:_LONGEST_TEXT].replace("<", "")
    line = "".join(f"<{word}>" for word in words) + texts
    kind, message = next((_KINDS[kind], message) for kind, cause, message in _ROWS if re.search(cause, line, re.DOTALL))
    return kind.error(f"The Redis {kind.subject} {server} {message}", code=kind.code, retryable=kind.retryable)


def explain_import(error: Exception, server: str) -> StoreError:
    """Return the error to raise if the library cannot be imported."""
    if isinstance(error, OSError):
        return explain(error, server)
    message = missing_required_lib("redis")
    with contextlib.suppress(Exception):
        from importlib.metadata import version  # here, because it is slow

        found = version("redis")
        if int(found.partition(".")[0]) < 5:
            message = f"The Python package redis 5 or later is required, but {found} is installed for {sys.executable}. Upgrade it."
    return StoreError(message, code="MissingLibrary")


def _chain(error: BaseException | None) -> t.Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
