# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this file is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Many sessions through one keeper: those that are due are exchanged side by side, earliest expiry first."""

from __future__ import annotations

import collections
import itertools
import typing as t

from ._errors import StoreError, WuyingError
from ._keeper import Keeper
from ._promise import Ask, Outcome
from ._session import Session
from ._signals import signal_waits, signals_held
from ._store import Kept, Seen, Store

MAX_PARALLEL = 8
"""How many sessions are exchanged at a time where nobody says otherwise."""

_LOOK = 0.05

Reading = t.Tuple[str, t.Optional[Ask], t.Union[Kept, StoreError]]
"""A session's key, what is asked of it, and what the store holds of it. Without an ask there is an error."""


class Report(t.NamedTuple):
    """How a session fared: the outcome, or the error. ``position`` is its place among those that were asked for."""

    position: int
    key: str
    session: Session | None
    result: Outcome | WuyingError
    warnings: tuple[str, ...] = ()
    resealed: bool = False


class _Due(t.NamedTuple):
    """A session that needs an exchange. It is small, since a fleet of them waits at once."""

    expires_at: float
    position: int
    ask: Ask
    seen: Seen
    resealed: bool


def read_asked(store: Store, asks: t.Sequence[Ask]) -> t.Iterator[Reading]:
    """Read the sessions that are asked for."""
    keys = [ask.session.key for ask in asks]
    return zip(keys, asks, store.read_many(keys))


def read_stored(store: Store, ask_for: t.Callable[[Session], Ask | None]) -> t.Iterator[Reading]:
    """Read all sessions that the store has a record of and that ``ask_for`` asks something of.

    Nobody knows whose a record is that cannot be read: it comes as an error, whatever is asked for.
    """
    reading, naming = itertools.tee(store.keys())
    for key, kept in zip(naming, store.read_many(reading)):
        if isinstance(kept, StoreError):
            yield key, None, kept
        elif kept.damage:
            yield key, None, _damaged(key, kept.damage)
        elif kept.record is not None:
            ask = ask_for(kept.record.session)
            if ask is not None:
                yield key, ask, kept


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
    due: list[_Due] = []
    for position, (key, ask, kept) in enumerate(readings):
        session = ask and ask.session
        resealed = False
        warnings: list[str] = []
        try:
            if isinstance(kept, StoreError) or ask is None:
                raise t.cast(StoreError, kept)
            if rekey and kept.outdated:
                resealed = check or keeper.reseal(key)
            if check:
                outcome: Outcome | None = keeper.predict(ask, kept, warnings.append)
            else:
                outcome = keeper.serve(ask, kept)
        except WuyingError as error:
            yield Report(position, key, session, error, tuple(warnings), resealed)
            continue
        if outcome is None:
            due.append(_Due(_expiry(ask, kept), position, ask, kept.seen(), resealed))
        else:
            yield Report(position, key, session, outcome, tuple(warnings), resealed)
    due.sort(key=lambda each: each.expires_at, reverse=True)
    with signals_held():
        yield from _take_turns(lambda: _renew(keeper, due.pop()), len(due), max_parallel)


def _expiry(ask: Ask, kept: Kept) -> float:
    """Return when the token dies that is to be exchanged; one that was passed in has an unknown age and comes first."""
    if kept.record is None or (ask.login_token and not kept.record.knows(ask.login_token)):
        return 0.0
    return kept.record.expires_at


def _renew(keeper: Keeper, due: _Due) -> Report:
    warnings: list[str] = []
    result: Outcome | WuyingError
    try:
        if signal_waits():
            raise WuyingError(
                "The task was told to stop before it was the session's turn: run it again.",
                code="Interrupted",
                retryable=True,
            )
        result = keeper.renew(due.ask, due.seen, warnings.append)
    except WuyingError as error:
        result = error
    session = due.ask.session
    return Report(due.position, session.key, session, result, tuple(warnings), due.resealed)


def _take_turns(turn: t.Callable[[], Report], turns: int, threads: int) -> t.Iterator[Report]:
    """Yield what so many turns return, in the order in which they end."""
    if min(turns, threads) <= 1:
        for _turn in range(turns):
            yield turn()
        return
    # Imported here, so that a task that exchanges one token or none pays for no threads.
    from concurrent.futures import ThreadPoolExecutor, wait

    numbers = iter(range(turns))
    ended: collections.deque[Report] = collections.deque()

    def work() -> None:
        for _number in numbers:
            ended.append(turn())

    with ThreadPoolExecutor(min(turns, threads)) as pool:
        working = {pool.submit(work) for _thread in range(min(turns, threads))}
        while working or ended:
            # Looked after now and then, since to be woken for each report would cost the workers time.
            done, working = wait(working, _LOOK)
            while ended:
                yield ended.popleft()
            for worker in done:
                worker.result()


def _damaged(key: str, reason: str) -> StoreError:
    return StoreError(
        f"The record {key} is damaged ({reason}): remove it, or log its user in again and pass login_token.",
        code="DamagedRecord",
    )
