# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy the entries of accounts to another store, so that no login is sent too early, or re-encrypt them."""

from __future__ import annotations

import time
import typing as t

from .._model.account import Account, AccountEntry, new_entry
from .._model.exceptions import StoreError, WuyingError
from .._model.record import StoredState
from .._model.session import ACCOUNT_PREFIX
from .._runtime.signals import hold_signals, signal_pending
from .._store.base import Store
from .decision import Outcome
from .fleet import Report, catch
from .keeper import Keeper
from .threads import is_over

Selects = t.Callable[[Account], bool]
"""Returns True if an account is to be processed."""


def copy_accounts(
    source: Store,
    target: Store,
    selects: Selects,
    *,
    deadline: float,
    check: bool = False,
    clock: t.Callable[[], float] = time.time,
) -> t.Iterator[Report]:
    """Copy the entries of accounts, and report each that the target did not have, or that fails. The source is only read.

    An entry in the target gets the attempts of both. With ``check``, change nothing. ``deadline`` is of :func:`time.monotonic`.
    """

    def copy(key: str, stored: StoredState) -> bool:
        entry = _merge(stored, target.read(key), clock())
        if entry is None or check:
            return entry is not None
        with target.lock(key, deadline) as locked:
            entry = _merge(stored, locked.read(), clock())
            if entry is not None:
                locked.write_entry(entry)
        return entry is not None

    for key, failure in _process(source, selects, copy, deadline):
        yield Report(0, key, None, failure or Outcome(True, copied=True))


def reencrypt_accounts(keeper: Keeper, selects: Selects, *, check: bool = False) -> t.Iterator[Report]:
    """Encrypt the entries of accounts with the first key, and report each that was not, or that fails."""

    def reencrypt(key: str, stored: StoredState) -> bool:
        return stored.needs_reencryption and (check or keeper.reencrypt(key))

    for key, failure in _process(keeper.store, selects, reencrypt, keeper.deadline):
        yield Report(0, key, None, failure or Outcome(False), rekeyed=failure is None)


def _merge(source: StoredState, target: StoredState, now: float) -> AccountEntry | None:
    """Return the entry to write to the target, None if it stays as it is. Raises :class:`StoreError`."""
    _check(target)
    if source.entry is None:
        return None
    existing = target.entry or new_entry(source.entry.account)
    entry = existing.merged_with(source.entry, now)
    has_new = (entry.attempts, entry.step) != (existing.attempts, existing.step)
    return entry if has_new else None


def _check(stored: StoredState) -> None:
    """Raise :class:`StoreError` if an entry cannot be read."""
    if stored.damage:
        message = (
            f"The entry of an account cannot be read ({stored.damage}). Add its key to store_key, or delete the entry."
        )
        raise StoreError(message, code="DamagedRecord")


def _process(
    store: Store, selects: Selects, change: t.Callable[[str, StoredState], bool], deadline: float
) -> t.Iterator[tuple[str, WuyingError | None]]:
    """Call a function for each selected account. Yield the key of each that it changes, and the error of each that fails."""

    def process(key: str, stored: StoredState | StoreError) -> bool:
        if isinstance(stored, StoreError):
            raise stored
        _check(stored)
        if stored.entry is None or not selects(stored.entry.account):
            return False
        if is_over(deadline):
            code = "Interrupted" if signal_pending() else "DeadlineExceeded"
            message = "The task was stopped or timed out before this account could be processed. Run it again."
            raise WuyingError(message, code=code, retryable=True)
        return change(key, stored)

    try:
        with hold_signals():
            listed = list(store.keys(ACCOUNT_PREFIX))
            yield from (("", failure) for failure in listed if isinstance(failure, StoreError))
            keys = [key for key in listed if isinstance(key, str)]
            for key, stored in zip(keys, store.read_many(keys)):
                result = catch(process, key, stored)
                if result is not False:
                    yield key, result if isinstance(result, WuyingError) else None
    except StoreError as error:  # Reported, and not raised, because the results of the sessions must not be lost.
        yield "", error.with_traceback(None)
