# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy sessions to another store, unless it has a newer login token of the session."""

from __future__ import annotations

import functools
import itertools
import time
import typing as t

from .._model.encoding import CLOCK_TOLERANCE
from .._model.exceptions import NO_RECORD, LockTimeout, OptionError, StoreError, WuyingError
from .._model.keep_alive import merge_keep_alive
from .._model.next_record import LINEAGE_LENGTH, PASSED_LENGTH
from .._model.note import Note, new_note
from .._model.record import Record, StoredState
from .._model.session import Session, fingerprint
from .._runtime.signals import hold_signals, signal_pending
from .._store.base import Store
from .advice import not_stored
from .decision import Outcome, Warn
from .fleet import Reading, Report, catch
from .locking import set_aside
from .workers import run_all

_CHUNK = 500
"""How many sessions of the source are in memory at a time."""
_NEEDS_KEY = "Records with a keep-alive token can be copied to Redis only if store_key is set."
_IN_USE = "A refresh or login in the source store is in progress or was interrupted. Stop all tasks that use that store, and copy again."
_NOT_BEGUN = "The task {} before this session could be copied. Run it again. It copies the sessions that are missing."


class _Item(t.NamedTuple):
    """A session of the source. ``position`` is its place among the sessions to copy."""

    position: int
    session: Session
    stored: StoredState


def combine(source: StoredState, target: StoredState, now: float) -> StoredState | None:
    """Return the record and note to write to the target, None if it stays as it is.

    The record with the newer token wins. Of the same token, everything that either store knows is stored.
    """
    record, existing = source.record, target.record
    if record is None:
        return None
    note = _merge_notes(source, target, record.login_token)
    if existing is None:
        return StoredState(record, note)
    if record.login_token == existing.login_token:
        keep_alive = merge_keep_alive(existing.keep_alive, record.keep_alive, now)
        merged = existing._replace(keep_alive=keep_alive, ended=existing.ended or record.ended)
        note = note or target.note
        return None if (merged, note) == (existing, target.note) else StoredState(merged, note)
    return StoredState(_merge(record, existing, now), note) if _is_newer(record, existing, now) else None


def _merge_notes(source: StoredState, target: StoredState, token: str) -> Note | None:
    """Return the note to store with a token: the notes of both stores that say that it may be spent, as one."""
    if target.note is None or not target.may_be_spent(token):
        return source.note if source.may_be_spent(token) else None
    return target.note.merged_with(source.note) if source.note and source.may_be_spent(token) else target.note


def _is_newer(record: Record, other: Record, now: float) -> bool:
    """Return True if the token of a record replaces that of another record of the session.

    That is so if the record has used up the other token. Of two unrelated tokens, from two logins, a valid one replaces one that
    is not, and otherwise the one that was obtained later replaces the other. A time in the future, from a host whose clock was
    wrong, is earlier than all others.
    """
    follows, is_followed = record.knows(other.login_token), other.knows(record.login_token)
    if follows != is_followed:
        return follows
    latest = now + CLOCK_TOLERANCE
    order, other_order = (
        (each.is_valid(now), each.obtained_at <= latest, each.obtained_at) for each in (record, other)
    )
    return order > other_order


def _merge(record: Record, replaced: Record, now: float) -> Record:
    """Return a record that knows also the tokens of the one that it replaces, and keeps fields that only the replaced record has."""
    lineage = (*replaced.lineage, fingerprint(replaced.login_token), *record.lineage)
    passed = (*replaced.passed, *record.passed)
    return record._replace(
        lineage=tuple(dict.fromkeys(lineage))[-LINEAGE_LENGTH:],
        passed=tuple(dict.fromkeys(passed))[-PASSED_LENGTH:],
        uuid=record.uuid or replaced.uuid,
        keep_alive=merge_keep_alive(record.keep_alive, replaced.keep_alive, now),
    )


class Target(t.NamedTuple):
    """The store to copy to. ``deadline`` (of :func:`time.monotonic`) is when the task must be done."""

    store: Store
    deadline: float
    accepts_keep_alive: bool = True
    clock: t.Callable[[], float] = time.time

    def plan(self, item: _Item, existing: StoredState, warn: Warn) -> tuple[Outcome, Note | None]:
        """Return the outcome of a copy if the target has the state ``existing``, and the note to store with its record."""
        state = combine(item.stored, existing, self.clock())
        if state is None or state.record is None:
            return Outcome(False, existing.record, existing.record), None
        if state.record.keep_alive is not None and not self.accepts_keep_alive:
            raise OptionError(_NEEDS_KEY)
        note = item.stored.note
        if note is not None and note.failure is None and note.may_be_spent(state.record.login_token):
            warn(_IN_USE)
        return Outcome(True, existing.record, state.record, copied=True), state.note

    def copy(self, item: _Item, warn: Warn) -> Outcome:
        """Copy a session under its lock in the target. Raises :class:`WuyingError`."""
        with self.store.lock(item.session.key, self.deadline) as locked:
            existing = locked.read()
            outcome, note = self.plan(item, existing, warn)
            if existing.damage:
                set_aside(existing.damage, locked, warn)
            if outcome.changed and outcome.record is not None:
                # As before a refresh: this checks the lock, and reserves the space of the record. If the second write fails, the record
                # of the target is as before, and this note covers the tokens that the note before did.
                locked.write_note(new_note(existing.note, "", ""), len(outcome.record.dump()))
                locked.save(outcome.record, note)
            return outcome


def copy_sessions(
    readings: t.Iterable[Reading], source_name: str, target: Target, *, max_parallel: int, check: bool = False
) -> t.Iterator[Report]:
    """Copy sessions, and report each. The source is only read. A failure of one session does not stop the others.

    With ``check``, predict the reports and change nothing. After a signal or the deadline, no more sessions are copied.
    """
    numbered = enumerate(readings)
    position, done = 0, False
    try:
        for chunk in iter(lambda: list(itertools.islice(numbered, _CHUNK)), []):
            items = []
            for position, (key, request, stored) in chunk:
                error = _unusable(request and request.session, stored, source_name)
                if error is None and request is not None and isinstance(stored, StoredState):
                    items.append(_Item(position, request.session, stored))
                else:
                    yield Report(position, key, request and request.session, t.cast(WuyingError, error))
            yield from _copy_items(items, target, max_parallel, check=check)
            done = True
    except StoreError as error:
        if not done:
            raise
        yield Report(position + 1, "", None, error.with_traceback(None))  # One of the stores failed in the meantime.


def _unusable(session: Session | None, stored: StoredState | StoreError, source_name: str) -> WuyingError | None:
    """Return why a session of the source cannot be copied, None if it can."""
    if isinstance(stored, StoreError):
        stored.message = f"copy_from: {stored.message}"
        return stored
    if stored.damage:
        return StoreError(f"The record of the session is damaged ({stored.damage}).", code="DamagedRecord")
    if stored.record is None and session is not None:
        return WuyingError(f"{not_stored(session, source_name)} Nothing was copied.", code=NO_RECORD)
    return None


def _copy_items(items: list[_Item], target: Target, parallel: int, *, check: bool) -> t.Iterator[Report]:
    """Copy sessions that the target does not have. Only these are locked."""
    due = []
    for item, existing in zip(items, target.store.read_many(item.session.key for item in items)):
        warnings: list[str] = []
        planned = existing if isinstance(existing, StoreError) else catch(target.plan, item, existing, warnings.append)
        if check and isinstance(existing, StoredState) and existing.damage:
            warnings.append(f"The record of the session is damaged ({existing.damage}) and would be set aside.")
        result = planned if isinstance(planned, WuyingError) else planned[0]
        if isinstance(result, WuyingError) or not result.changed or check:
            yield _report(item, result, warnings)
        else:
            due.append(item)
    with hold_signals():
        copy = functools.partial(_copy_item, target)
        yield from run_all(copy, due, parallel, deadline=target.deadline, not_done=_not_begun)


def _copy_item(target: Target, item: _Item) -> Report:
    warnings: list[str] = []
    return _report(item, catch(target.copy, item, warnings.append), warnings)


def _report(item: _Item, result: Outcome | WuyingError, warnings: list[str]) -> Report:
    result = result.without_lineage() if isinstance(result, Outcome) else result
    return Report(item.position, item.session.key, item.session, result, tuple(warnings))


def _not_begun(left: t.Iterable[_Item], _is_killed: bool) -> t.Iterator[Report]:
    for item in left:
        error: WuyingError = LockTimeout(_NOT_BEGUN.format("timed out"))
        if signal_pending():
            error = WuyingError(_NOT_BEGUN.format("was stopped"), code="Interrupted", retryable=True)
        yield _report(item, error, [])
