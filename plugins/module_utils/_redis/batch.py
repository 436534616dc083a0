# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hashes read from Redis, many at once, and their names. Only files of the Redis store import this file."""

from __future__ import annotations

import functools
import typing as t

from .connection import Connection
from .failures import is_redirection, is_refusal
from .replies import check_fields, check_names

_SCAN = 1000
"""How many keys a server looks at for each answer."""


def read_names(connection: Connection, start: str) -> set[bytes]:
    """Return the names of all keys that start so. Raises :class:`StoreError`."""
    return connection.call(
        lambda client: check_names(client.scan_iter(match=f"{start}*", count=_SCAN))
    )


def read_hash(connection: Connection, name: str, *fields: str) -> list[bytes | None]:
    """Return the fields of a hash. Raises :class:`StoreError`."""
    return connection.call(lambda client: check_fields(client.hmget(name, *fields), len(fields)))


def read_fields(connection: Connection, names: t.Sequence[str], *fields: str) -> list[t.Any]:
    """Return for each hash its fields, or the error with which its server refuses them. Raises :class:`StoreError`."""
    found: dict[str, t.Any] = {}
    connection.call(functools.partial(_read, connection, names, fields, found))
    return [found[name] for name in names]


def _read(
    connection: Connection,
    names: t.Sequence[str],
    fields: t.Sequence[str],
    found: dict[str, t.Any],
    client: t.Any,
) -> None:
    """Add to ``found`` what an earlier turn did not get; it ends with the first server that is lost.

    A cluster's own pipeline would then ask that server once more for each of its keys, and wait each time.
    """
    missing = [name for name in dict.fromkeys(names) if name not in found]
    # The first alone: only so does a cluster's client learn who took the place of a server that was lost in an earlier turn.
    for name in missing[:1]:
        found[name] = _ask(client, name, fields)
    batches: dict[str, tuple[t.Any, list[str]]] = {}
    for name in missing[1:]:
        node, server = connection.node(client, name)
        batches.setdefault(node, (server, []))[1].append(name)
    for server, batch in batches.values():
        pipeline = server.pipeline(transaction=False)
        for name in batch:
            pipeline.hmget(name, *fields)
        for name, answer in zip(batch, pipeline.execute(raise_on_error=False)):
            if isinstance(answer, Exception):
                if is_redirection(answer):
                    answer = _ask(client, name, fields)
                elif not is_refusal(answer):
                    # What concerns the connection concerns all of them.
                    raise answer
            else:
                answer = check_fields(answer, len(fields))
            found[name] = answer


def _ask(client: t.Any, name: str, fields: t.Sequence[str]) -> t.Any:
    try:
        return check_fields(client.hmget(name, *fields), len(fields))
    except Exception as error:
        if not is_refusal(error):
            raise
        return error
