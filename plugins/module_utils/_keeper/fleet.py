# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep many sessions valid, several at a time, earliest expiry first."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import time
import typing as t

from .._model.exceptions import NO_RECORD, LoginRequired, StoreError, WuyingError
from .._model.record import Snapshot, StoredState
from .._model.session import Session
from .._runtime.signals import hold_signals, signal_pending
from .._runtime.timeouts import sleep_unless_signalled
from .._store.base import Store
from .._store.listing import read_all
from .decision import Outcome, TokenRequest, Warn
from .keeper import Keeper
from .threads import is_over
from .workers import count_processes, run_all

MAX_PARALLEL = 8
"""The default number of sessions that are refreshed at a time."""

_GRACE = 1.0
"""For how many seconds after the deadline stored tokens are read that could not be refreshed in time."""
_PAUSE = 5.0
"""How many seconds to wait before sessions whose server failed are tried once more."""
_NOT_REENCRYPTED = "Could not re-encrypt the record with the first key in store_key. "

T = t.TypeVar("T")
Reading = t.Tuple[str, t.Optional[TokenRequest], t.Union[StoredState, StoreError]]
"""A session's key, the request for its token, and the state in the store. Without a request there is an error, and without a key,
it is that of a part of the store that cannot be listed."""


class Report(t.NamedTuple):
    """The outcome of a session, or its error. ``position`` is its place among the sessions that were requested."""

    position: int
    key: str
    session: Session | None
    result: Outcome | WuyingError
    warnings: tuple[str, ...] = ()
    rekeyed: bool = False
    task_warnings: t.Mapping[str, str] = {}
    """The warnings about the whole task of the process that handled the session."""


class _DueSession(t.NamedTuple):
    """A session that needs a new token, or a re-encryption of its record. It is small, because there may be very many."""

    order: tuple[float, int]
    request: TokenRequest
    snapshot: Snapshot
    result: Outcome | WuyingError | None
    needs_reencryption: bool


class _Postponed(t.NamedTuple):
    """A session whose server failed, and its report in case that there is no time to try again."""

    due: _DueSession
    report: Report


def read_requested(store: Store, requests: t.Sequence[TokenRequest]) -> t.Iterator[Reading]:
    """Read the sessions that were requested."""
    keys = [request.session.key for request in requests]
    return zip(keys, requests, store.read_many(keys))


def read_stored(store: Store, request_for: t.Callable[[Session], TokenRequest | None]) -> t.Iterator[Reading]:
    """Read all stored sessions for which ``request_for`` returns a request. Records that cannot be read are always included.

    If a part of the store cannot be listed, its error is included with an empty key.
    """
    for key, stored in read_all(store):
        if isinstance(stored, StoreError):
            yield key, None, stored
        elif stored.record is not None:
            request = request_for(stored.record.session)
            if request is not None:
                yield key, request, stored


def keep_all(
    keeper: Keeper,
    readings: t.Iterable[Reading],
    *,
    max_parallel: int = MAX_PARALLEL,
    one_process: bool = False,
    rekey: bool = False,
    check: bool = False,
    begin: t.Callable[[int], None] = lambda count: None,
) -> t.Iterator[Report]:
    """Keep sessions valid, and report each when it is done. A failure of one session does not stop the others.

    With ``rekey``, re-encrypt records that are not encrypted with the first key. With ``check``, predict the reports and change
    nothing. ``begin`` is called with the number of sessions that are due. After a signal, sessions that were begun are finished, and
    the others fail as ``Interrupted``. After the deadline, no session is begun. Sessions whose server fails are tried once more
    when the others are done.
    """
    due: list[_DueSession] = []
    for position, (key, request, stored) in enumerate(readings):
        if request is None or isinstance(stored, StoreError):
            yield Report(position, key, request and request.session, t.cast(StoreError, stored))
            continue
        warnings: list[str] = []
        needs_reencryption = rekey and stored.needs_reencryption
        result: Outcome | WuyingError | None
        if check:
            result = catch(keeper.predict, request, stored, warnings.append)
        else:
            result = catch(keeper.return_stored, request, stored)
        if result is None or (needs_reencryption and not check):
            expiry = math.inf
            if result is None:  # The age of a new token that was passed is unknown, so it comes first.
                expiry = (
                    0.0 if request.passes_new_token(stored.record) or not stored.record else stored.record.expires_at
                )
            due.append(_DueSession((expiry, position), request, stored.snapshot(), result, needs_reencryption))
        else:
            yield Report(position, key, request.session, result, tuple(warnings), needs_reencryption)
    begin(len(due))
    if not due:
        return
    due.sort(key=lambda session: session.order)
    processes = 1 if one_process else count_processes(sum(session.result is None for session in due), max_parallel)
    if processes > 1 and not keeper.connect():
        processes = 1
    keeper.limit_logins()
    not_done = functools.partial(_not_done, keeper)
    with hold_signals():
        for process in (functools.partial(_process_or_postpone, keeper), functools.partial(_process, keeper)):
            postponed: list[_Postponed] = []
            reports = run_all(process, due, max_parallel, processes, deadline=keeper.deadline, not_done=not_done)
            with contextlib.closing(reports):
                for report in reports:
                    if isinstance(report, _Postponed):
                        postponed.append(report)
                        continue
                    keeper.add_task_warnings(report.task_warnings)
                    yield report
            if not postponed:
                break
            if not sleep_unless_signalled(min(_PAUSE, keeper.deadline - time.monotonic())) or is_over(keeper.deadline):
                yield from (each.report for each in postponed)
                break
            due = [each.due for each in postponed]


def catch(function: t.Callable[..., T], *arguments: t.Any) -> T | WuyingError:
    """Return the result or the error of a function, without the memory that a traceback holds.

    An unforeseen error is a failure of one session only, because others may hold the only copies of their tokens.
    """
    try:
        return function(*arguments)
    except WuyingError as error:
        failure = error
    except Exception as error:
        failure = WuyingError(
            f"An unexpected error occurred ({type(error).__name__}). Run the task again. If the error persists, report it.",
            retryable=True,
        )
    failure.__context__ = None
    return failure.with_traceback(None)


def _process_or_postpone(keeper: Keeper, due: _DueSession) -> Report | _Postponed:
    """Process a session, and postpone it if its server fails and may recover."""
    report = _process(keeper, due)
    failure = report.result.not_refreshed if isinstance(report.result, Outcome) else report.result
    # With any other code, the store works.
    is_lost = isinstance(failure, StoreError) and failure.retryable and failure.code == StoreError.code
    return _Postponed(due, report) if is_lost else report


def _process(keeper: Keeper, due: _DueSession) -> Report:
    warnings: list[str] = []
    session, result = due.request.session, due.result
    if result is None:
        result = catch(_obtain, keeper, due.request, due.snapshot, warnings.append)
    rekeyed = due.needs_reencryption and _reencrypt(keeper, session.key, result, warnings.append)
    if isinstance(result, Outcome):
        result = result.without_lineage()
    return Report(due.order[1], session.key, session, result, tuple(warnings), rekeyed, keeper.task_warnings())


def _reencrypt(keeper: Keeper, key: str, result: Outcome | WuyingError, warn: Warn) -> bool:
    """Encrypt a record with the first key, unless it was just saved. Return True if it is now encrypted with that key."""
    if isinstance(result, Outcome) and result.changed:
        return result.not_saved is None
    written = catch(keeper.reencrypt, key)
    if isinstance(written, WuyingError):
        warn(f"{_NOT_REENCRYPTED}{written.message}")
        return False
    return written


def _obtain(keeper: Keeper, request: TokenRequest, snapshot: Snapshot, warn: Warn) -> Outcome:
    try:
        return keeper.obtain(request, snapshot, warn)
    except LoginRequired as error:
        if error.code == NO_RECORD and request.login_token is None and snapshot.record is not None:
            return Outcome(False)  # Another task has deleted the record since it was read.
        raise


def _not_done(keeper: Keeper, left: t.Iterable[_DueSession], is_killed: bool) -> t.Iterator[Report]:
    """Report sessions that were not begun, or whose process was killed."""
    is_late = time.monotonic() >= keeper.deadline
    if is_late and not is_killed and not signal_pending():
        yield from _too_late(keeper, left)
        return
    reason = "The process that handled this session was killed, possibly because of low memory."
    if signal_pending():
        reason = "The task was stopped before this session could be processed."
    elif is_late:
        reason = "The process that handled this session did not finish before the deadline."
    for due in left:
        error = WuyingError(f"{reason} Run the task again.", code="Interrupted", retryable=True)
        yield Report(due.order[1], due.request.session.key, due.request.session, error)


def _too_late(keeper: Keeper, left: t.Iterable[_DueSession]) -> t.Iterator[Report]:
    """Report sessions that were not begun before the deadline. Return stored tokens that are still valid, as far as there is time."""
    sessions, ahead = itertools.tee(left)
    states = iter(keeper.store.read_many(due.request.session.key for due in ahead))
    for due in sessions:
        warnings: list[str] = []
        result = due.result
        if time.monotonic() >= keeper.deadline + _GRACE:
            states = iter(())
        stored: t.Any = catch(next, states, None)
        if result is None:
            stored = stored if isinstance(stored, StoredState) else StoredState()
            result = catch(keeper.return_late, due.request, stored, warnings.append)
        elif due.needs_reencryption:
            warnings.append(f"{_NOT_REENCRYPTED}The task timed out. Run it again or increase deadline.")
        if isinstance(result, Outcome):
            result = result.without_lineage()
        yield Report(due.order[1], due.request.session.key, due.request.session, result, tuple(warnings))
