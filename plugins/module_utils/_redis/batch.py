# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""List the sessions in Redis, and read many of them at once.

If one of several servers fails, only its own sessions do.
"""

from __future__ import annotations

import contextlib
import functools
import re
import time
import typing as t

from .._model.exceptions import StoreError
from .connection import Connection
from .failures import check_fields
from .scripts import PREFIX, hash_name
from .sockets import ReplyTooLarge, large_replies
from .topology import slot_of

Fields = t.List[t.Optional[bytes]]

_SCAN_COUNT = 10_000
"""How many keys a server examines for each reply to SCAN."""
_MOST_KEYS = 1_000_000
_TOO_MANY_KEYS = (
    "The sessions of the Redis server {} could not be listed in time, because it has many keys or responds slowly. "
    "Increase deadline, or give the store its own database or server."
)
_NOT_LISTED = (
    "The sessions of {:,} more Redis servers could not be listed in time. Try again later or increase deadline."
)
_TOO_LATE = "Timed out before this session could be read. Try again later or increase deadline."


class _Keys:
    """The keys of very many sessions or accounts with the same prefix, in little memory and each of them once."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._name = re.compile(re.escape(f"{PREFIX}{{{prefix}").encode("ascii") + rb"([0-9a-f]{64})\}")
        self._parts = [bytearray() for _part in range(256)]
        self._count = 0

    def add(self, names: t.Iterable[bytes]) -> None:
        for match in filter(None, map(self._name.fullmatch, names)):
            key = bytes.fromhex(match[1].decode("ascii"))
            self._parts[hash(key) % len(self._parts)] += key  # A hash, because someone may have chosen the keys.
            self._count += 1
        if self._count > _MOST_KEYS:
            raise StoreError(f"The store contains more than {_MOST_KEYS:,} sessions. Use several databases or servers.")

    def __iter__(self) -> t.Iterator[str]:
        for part in self._parts:
            yield from {self._prefix + part[start : start + 32].hex() for start in range(0, len(part), 32)}


def list_keys(connection: Connection, prefix: str) -> t.Iterator[str | StoreError]:
    """Return the keys of all sessions or accounts with this prefix, and the errors of servers that cannot be listed.

    The error of the only server is raised.
    """
    servers = connection.servers()
    retries = _retries(connection)
    # All keys are read before the first is returned, so that none is returned twice and a lost connection can be retried.
    found, are_all_lost = _Keys(prefix), True
    failures: list[StoreError] = []
    for number, (server, slot) in enumerate(servers.items()):
        if failures and time.monotonic() >= connection.deadline:
            message = _NOT_LISTED.format(len(servers) - number)
            failures.append(StoreError(message, code="DeadlineExceeded", retryable=True))
            break
        try:
            if not connection.run(functools.partial(_scan, found, connection.deadline), slot, retries):
                raise StoreError(_TOO_MANY_KEYS.format(server), code="DeadlineExceeded", retryable=True)
        except StoreError as error:
            failures.append(error)
        else:
            are_all_lost = False
    if are_all_lost:
        raise failures[0]
    yield from failures  # first, because a reader whose time is over stops
    yield from found


def _scan(found: _Keys, deadline: float, client: t.Any) -> bool:
    """Add the keys on a server. Return False if the deadline comes first."""
    cursor = None
    while cursor != 0:
        if time.monotonic() >= deadline:
            return False
        with large_replies():
            cursor, names = client.scan(cursor or 0, match=f"{PREFIX}*", count=_SCAN_COUNT)
        found.add(names)
    return True


def read_hashes(
    connection: Connection, keys: t.Sequence[str], fields: t.Sequence[str], lost: dict[str, StoreError], end: float
) -> list[Fields | StoreError]:
    """Return the fields of each session's hash, or the error of that session. Begin no command after ``end``.

    ``lost`` contains the errors of servers that failed. They are not asked again, and others are added. The error of the only
    server is raised.
    """
    retries = _retries(connection)
    groups: dict[str, list[str]] = {}
    for key in dict.fromkeys(keys):
        groups.setdefault(connection.server(slot_of(key)), []).append(key)
    found: dict[str, Fields | StoreError] = {}
    for server, group in groups.items():
        if server not in lost and time.monotonic() < end:
            try:
                read = functools.partial(_read_at_once, connection, group, fields, found)
                connection.run(read, slot_of(group[0]), retries)
            except StoreError as error:
                if retries is None:
                    raise
                lost[server] = error.with_traceback(None)
        for key in group:
            if key not in found:
                found[key] = _read_alone(connection, key, fields, lost, retries, end)
    return [found[key] for key in keys]


def _read_alone(
    connection: Connection,
    key: str,
    fields: t.Sequence[str],
    lost: dict[str, StoreError],
    retries: int | None,
    end: float,
) -> Fields | StoreError:
    """Return the fields of a session that could not be read with others, or its error."""
    slot = slot_of(key)
    if connection.server(slot) in lost:
        return lost[connection.server(slot)]
    if time.monotonic() >= end:
        return StoreError(_TOO_LATE, code="DeadlineExceeded", retryable=True)
    try:
        return connection.run(functools.partial(read_one, key, fields), slot, retries)
    except StoreError as error:
        if error.retryable:
            lost[connection.server(slot)] = error
        return error.with_traceback(None)


def _read_at_once(
    connection: Connection,
    keys: t.Sequence[str],
    fields: t.Sequence[str],
    found: dict[str, Fields | StoreError],
    client: t.Any,
) -> None:
    """Read sessions in one round trip. Leave out those whose slots the server does not serve, or all if the replies are too large."""
    missing = [key for key in keys if key not in found]
    pipeline = client.pipeline(transaction=False)
    for key in missing:
        pipeline.hmget(hash_name(key), *fields)
    with contextlib.suppress(ReplyTooLarge), large_replies():
        for key, reply in zip(missing, pipeline.execute(raise_on_error=False)):
            if connection.concerns_slot(reply):
                continue
            if not isinstance(reply, Exception):
                found[key] = check_fields(reply, len(fields))
                continue
            failure = connection.explain(reply, slot_of(key))
            if failure.retryable:
                raise failure
            found[key] = failure


def read_one(key: str, fields: t.Sequence[str], client: t.Any) -> Fields:
    """Return the fields of a session's hash."""
    try:
        return check_fields(client.hmget(hash_name(key), *fields), len(fields))
    except ReplyTooLarge:
        return [b""] * len(fields)  # Whatever this is, it is a damaged record with a note that covers every token.


def _retries(connection: Connection) -> int | None:
    """Return how often to retry: by default, but one of several servers must not use up the time of the others."""
    return 1 if connection.has_several_servers else None
