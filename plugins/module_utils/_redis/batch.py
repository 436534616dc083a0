# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read many sessions from Redis at once."""

from __future__ import annotations

import functools
import typing as t

from .connection import Connection, is_redirection, is_refusal
from .failures import check_fields


def read_hashes(connection: Connection, names: t.Sequence[str], *fields: str) -> list[t.Any]:
    """Return the fields of each hash, or the error with which the server refuses to read it. Raises :class:`StoreError`."""
    found: dict[str, t.Any] = {}
    connection.run(functools.partial(_read_missing, connection, names, fields, found))
    return [found[name] for name in names]


def _read_missing(
    connection: Connection, names: t.Sequence[str], fields: t.Sequence[str], found: dict[str, t.Any], client: t.Any
) -> None:
    """Add the hashes to ``found`` that an earlier call did not read. Stop at the first server that fails.

    The library's own pipeline for clusters would wait for that server again for each of its keys.
    """
    missing = [name for name in dict.fromkeys(names) if name not in found]
    # Read the first one by itself, because only then a cluster's client learns which node replaced one that failed.
    for name in missing[:1]:
        found[name] = _read_one(client, name, fields)
    batches: dict[str, tuple[t.Any, list[str]]] = {}
    for name in missing[1:]:
        node, server = connection.node(client, name)
        batches.setdefault(node, (server, []))[1].append(name)
    for server, batch in batches.values():
        pipeline = server.pipeline(transaction=False)
        for name in batch:
            pipeline.hmget(name, *fields)
        for name, reply in zip(batch, pipeline.execute(raise_on_error=False)):
            if is_redirection(reply):
                found[name] = _read_one(client, name, fields)
            elif isinstance(reply, Exception) and not is_refusal(reply):
                raise reply  # It concerns the connection.
            else:
                found[name] = reply if is_refusal(reply) else check_fields(reply, len(fields))


def _read_one(client: t.Any, name: str, fields: t.Sequence[str]) -> t.Any:
    """Return the fields of a hash, or the error with which the server refuses to read it."""
    try:
        return check_fields(client.hmget(name, *fields), len(fields))
    except Exception as error:
        if not is_refusal(error):
            raise
        return error
