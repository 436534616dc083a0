# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many sessions through one keeper: those that are due are exchanged side by side, earliest expiry first."""

from __future__ import annotations

import itertools
import math
import typing as t

from .._model.exceptions import LoginRequired, StoreError, WuyingError
from .._model.record import Snapshot, StoredState
from .._model.session import Session
from .._runtime.signals import hold_signals, signal_pending
from .._store.base import Store
from .decision import NO_RECORD, Outcome, TokenRequest
from .keeper import Keeper, Warn
from .packed import Packed
from .pool import count_processes, take_turns

TOLD_TO_STOP = "The task was told to stop before it was the session's turn: run it again."
MAX_PARALLEL = 8
"""How many sessions are exchanged at a time where nobody says otherwise."""

T = t.TypeVar("T")
Reading = t.Tuple[str, t.Optional[TokenRequest], t.Union[StoredState, StoreError]]
"""A session's key, what is asked of it, and what the store holds of it. Without an ask there is an error."""


class Report(t.NamedTuple):
    """How a session fared: the outcome, or the error. ``position`` is its place among those that were asked for."""

    position: int
    key: str
    session: Session | None
    result: Outcome | WuyingError
    warnings: tuple[str, ...] = ()
    rekeyed: bool = False
    store_warnings: tuple[str, ...] = ()
    """What there is to say of the store itself, as far as the process knows that had the session."""


class _Turn(t.NamedTuple):
    """A session whose token is due, or whose record is to be written anew. It is small, since a fleet of them waits at once."""

    order: tuple[float, int]
    request: TokenRequest
    snapshot: Snapshot
    result: Outcome | WuyingError | None
    needs_reencryption: bool


def read_requested(store: Store, requests: t.Sequence[TokenRequest]) -> t.Iterator[Reading]:
    """Read the sessions that are asked for."""
    keys = [request.session.key for request in requests]
    return zip(keys, requests, store.read_many(keys))


def read_stored(store: Store, request_for: t.Callable[[Session], TokenRequest | None]) -> t.Iterator[Reading]:
    """Read all sessions that the store has a record of and that ``ask_for`` asks something of.

    Nobody knows whose a record is that cannot be read: it comes as an error, whatever is asked for.
    """
    reading, naming = itertools.tee(store.keys())
    for key, stored in zip(naming, store.read_many(reading)):
        if isinstance(stored, StoreError):
            yield key, None, stored
        elif stored.damage:
            yield key, None, _damaged(key, stored.damage)
        elif stored.record is not None:
            request = request_for(stored.record.session)
            if request is not None:
                yield key, request, stored


def keep_all(
    keeper: Keeper,
    readings: t.Iterable[Reading],
    *,
    max_parallel: int = MAX_PARALLEL,
    rekey: bool = False,
    check: bool = False,
) -> t.Iterator[Report]:
    """Keep sessions current, and report of each as soon as it is done. No failure of one stops the others.

    With ``rekey`` records that are not under the first key are written anew. With ``check`` everything is predicted from the
    store, and nothing sent or written. A signal that says stop is held until the sessions that were begun are done; the
    others fail as ``Interrupted``.
    """
    turns: list[_Turn] = []
    for position, (key, request, stored) in enumerate(readings):
        if request is None or isinstance(stored, StoreError):
            yield Report(position, key, request and request.session, t.cast(StoreError, stored))
            continue
        warnings: list[str] = []
        needs_reencryption = rekey and stored.needs_reencryption
        result: Outcome | WuyingError | None
        if check:
            result = _catch(keeper.predict, request, stored, warnings.append)
        else:
            result = _catch(keeper.return_stored, request, stored)
        if result is None or (needs_reencryption and not check):
            order = (_expiry(request, stored) if result is None else math.inf, position)
            turns.append(_Turn(order, request, stored.snapshot(), result, needs_reencryption))
        else:
            yield Report(position, key, request.session, result, tuple(warnings), needs_reencryption)
    turns.sort(key=lambda turn: turn.order)
    processes = count_processes(sum(turn.result is None for turn in turns), max_parallel)
    if processes > 1 and not keeper.prepare_to_fork():
        processes = 1
    waiting: t.Sequence[_Turn] = turns if processes == 1 else Packed(turns)
    turns = []
    with hold_signals():
        for report in take_turns(
            lambda number: _take_turn(keeper, waiting[number]),
            len(waiting),
            max_parallel,
            processes,
            lambda number: _lose_turn(waiting[number]),
        ):
            keeper.store.add_warnings(*report.store_warnings)
            yield report


def _catch(function: t.Callable[..., T], *arguments: t.Any) -> T | WuyingError:
    """Return what a function returns or raises, without the memory that a traceback holds.

    What nobody foresaw is one session's failure too: others may have the only copies of their tokens.
    """
    try:
        return function(*arguments)
    except WuyingError as error:
        failure = error
    except Exception as error:
        failure = WuyingError(
            f"Something unforeseen went wrong ({type(error).__name__}): report it, and run the task again.",
            code="Unforeseen",
            retryable=True,
        )
    failure.__context__ = None
    return failure.with_traceback(None)


def _expiry(request: TokenRequest, stored: StoredState) -> float:
    """Return when the token dies that is to be exchanged; one that was passed in has an unknown age and comes first."""
    if stored.record is None or (request.login_token and not stored.record.knows(request.login_token)):
        return 0.0
    return stored.record.expires_at


def _take_turn(keeper: Keeper, turn: _Turn) -> Report:
    warnings: list[str] = []
    request, key, end = turn.request, turn.request.session.key, turn.result
    if end is None:
        end = _catch(_refresh, keeper, request, turn.snapshot, warnings.append)
    rekeyed = turn.needs_reencryption and _reencrypt(keeper, key, end, warnings.append)
    said = tuple(keeper.store.warnings)
    if isinstance(end, Outcome):
        end = end.without_lineage()
    return Report(turn.order[1], key, request.session, end, tuple(warnings), rekeyed, said)


def _reencrypt(keeper: Keeper, key: str, end: Outcome | WuyingError, warn: Warn) -> bool:
    """Write a record anew under the first key, where the session's end did not do so; say whether it was written."""
    if isinstance(end, Outcome) and end.changed:
        return end.not_saved is None
    written = _catch(keeper.reencrypt, key)
    if isinstance(written, WuyingError):
        warn(f"The record could not be written anew under the first key. {written.message}")
        return False
    return written


def _refresh(keeper: Keeper, request: TokenRequest, snapshot: Snapshot, warn: Warn) -> Outcome:
    if signal_pending():
        raise WuyingError(TOLD_TO_STOP, code="Interrupted", retryable=True)
    try:
        return keeper.refresh(request, snapshot, warn)
    except LoginRequired as error:
        if error.code == NO_RECORD and request.login_token is None and snapshot.record is not None:
            return Outcome(False)  # It was there when we looked: somebody has forgotten it since.
        raise


def _lose_turn(turn: _Turn) -> Report:
    died = "The process that had the session ended before its time, for the want of memory perhaps: run the task again."
    reason = TOLD_TO_STOP if signal_pending() else died
    error = WuyingError(reason, code="Interrupted", retryable=True)
    return Report(turn.order[1], turn.request.session.key, turn.request.session, error)


def _damaged(key: str, reason: str) -> StoreError:
    return StoreError(
        f"The record {key} is damaged ({reason}): remove it, or log its user in again and pass login_token.",
        code="DamagedRecord",
    )
