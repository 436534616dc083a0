# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read all sessions, or all accounts, of a store."""

from __future__ import annotations

import itertools
import typing as t

from .._model.exceptions import StoreError
from .._model.record import StoredState
from .._model.session import ACCOUNT_PREFIX
from .base import Store

if t.TYPE_CHECKING:
    from .._model.account import AccountEntry


def read_all(store: Store) -> t.Iterator[tuple[str, StoredState | StoreError]]:
    """Read all sessions: the key of each, and its state or error. A damaged record is an error, too.

    The error of a part that cannot be listed, or not be read in time, has an empty key, and comes last.
    """
    failures: list[StoreError] = []

    def without_failures(found: t.Iterator[str | StoreError]) -> t.Iterator[str]:
        for key in found:
            if isinstance(key, StoreError):
                failures.append(key)
            else:
                yield key

    keys, names = itertools.tee(without_failures(store.keys()))
    for key, stored in zip(names, store.read_many(keys)):
        if isinstance(stored, StoreError) and stored.code == "DeadlineExceeded":
            message = f"{1 + sum(1 for _name in names):,} sessions could not be read in time. Try again later or increase deadline."
            failures.append(StoreError(message, code=stored.code, retryable=True))
            break
        if isinstance(stored, StoredState) and stored.damage:
            message = f"A record is damaged ({stored.damage}), so its session is unknown. Delete it, and ask users without a session to log in again."
            yield key, StoreError(message, code="DamagedRecord")
        else:
            yield key, stored
    yield from (("", failure) for failure in failures)


def read_accounts(store: Store) -> t.Iterator[AccountEntry]:
    """Read the entries of all accounts, except those that cannot be read."""
    for stored in store.read_many(key for key in store.keys(ACCOUNT_PREFIX) if isinstance(key, str)):
        if isinstance(stored, StoredState) and stored.entry is not None:
            yield stored.entry
