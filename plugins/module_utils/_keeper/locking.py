# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lock a session and obtain its token, unless another task has; if that fails, return a stored token that is still valid."""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._model.exceptions import LockTimeout, WuyingError
from .._model.note import new_note
from .._model.record import Snapshot, StoredState
from .._model.session import fingerprint
from .._store.locked_session import FirstNote, LockedSession
from .decision import RETURN, Outcome, TokenRequest, Warn, decide
from .means import Means

_TOO_LATE = "Timed out before this session could be processed. Try again later or increase deadline."


def lock_and_obtain(request: TokenRequest, snapshot: Snapshot, means: Means, warn: Warn) -> Outcome:
    """Lock the session, then refresh its token or log in, unless another task has done so since the snapshot.

    Raises :class:`WuyingError`.
    """
    with contextlib.ExitStack() as held:
        try:
            if snapshot.note is None and not snapshot.has_keep_alive and request.password_login is None:
                means.connect()  # Fail before anything is written, for example if credentials are missing.
            if time.monotonic() >= means.deadline:
                raise LockTimeout(_TOO_LATE)
            locked = held.enter_context(_lock(request, snapshot, means))
        except WuyingError as error:
            return _return_stored_or_raise(request, means.store.read(request.session.key), means, error, warn)
        return obtain_locked(request, snapshot, locked, means, warn)


def return_late(request: TokenRequest, stored: StoredState, means: Means, warn: Warn) -> Outcome:
    """Return the stored token of a session that was due after the deadline. Raises :class:`LockTimeout` if it is not valid."""
    return _return_stored_or_raise(request, stored, means, LockTimeout(_TOO_LATE), warn)


def obtain_locked(
    request: TokenRequest, snapshot: Snapshot, locked: LockedSession, means: Means, warn: Warn
) -> Outcome:
    """Refresh the token of a locked session or log in, unless another task has done so since the snapshot."""
    stored = locked.read()
    if stored.damage:
        set_aside(stored.damage, locked, warn)
    elif stored.record is not None and hash(stored.record) != snapshot.record:
        # A refresh or login ended after this request: its outcome is as new as that of a forced one.
        request = request.without_force()
    now = means.clock()
    step = decide(request, stored, now, means.store.name)
    if step.kind == RETURN:
        return Outcome(False, stored.record, stored.record)
    try:
        # Imported here, because a task that waited for another one often finds a current token.
        from .obtain import obtain, shares

        if stored.note and stored.note != snapshot.note:
            failure = shares(stored.note, step, request, stored.record, means)
            if failure is not None:
                raise failure  # of another task that sent the same request since the snapshot
        return obtain(request, stored, locked, means, now, warn)
    except WuyingError as error:
        return _return_stored_or_raise(request, stored, means, error, warn)


def set_aside(damage: str, locked: LockedSession, warn: Warn) -> None:
    """Move the damaged record of a session to another name, so that a new one can be saved."""
    aside = f"It was set aside as {locked.set_aside()}. Delete it after you have examined it, because it may contain a token."
    warn(f"The record of the session is damaged ({damage}). {aside}")


def _lock(request: TokenRequest, snapshot: Snapshot, means: Means) -> t.ContextManager[LockedSession]:
    """Take the lock, and store the note of a refresh with it if nothing has changed since the snapshot."""
    store, key = means.store, request.session.key
    if snapshot.note is not None or (request.login_token is not None and snapshot.record is not None):
        return store.lock(key, means.deadline)
    sent = snapshot.fingerprint if request.login_token is None else fingerprint(request.login_token)
    first_note = FirstNote(snapshot.fingerprint, new_note(None, sent, means.scope))
    return store.lock(key, means.deadline, first_note)


def _return_stored_or_raise(
    request: TokenRequest, stored: StoredState, means: Means, error: WuyingError, warn: Warn
) -> Outcome:
    record, now = stored.record, means.clock()
    fresh = request.must_send(record)
    if error.login_needed or error.token_rejected or fresh or record is None or not record.is_valid(now):
        raise error
    warn(
        "Could not refresh the login token. Returning the stored token, which is valid for at most another "
        f"{record.remaining(now)} s. {error.message}"
    )
    error.__context__ = None  # It would hold memory, as the traceback does.
    return Outcome(False, record, record, not_refreshed=error.with_traceback(None))
