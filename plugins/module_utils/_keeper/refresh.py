# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Refresh a token: write a note, send the request, store the result."""

from __future__ import annotations

import contextlib

from .._model.exceptions import ServiceError, StoreError
from .._model.note import new_note
from .._model.record import StoredState, next_record
from .._runtime.signals import hold_signals
from .._service.client import ServiceClient
from .._store.base import LockedSession
from .decision import Outcome, TokenRequest, judge

_NEXT_STEPS = {
    "NewerRecord": "Discard the token that could not be saved.",
    "SessionForgotten": "To start the session again, pass this token as login_token.",
}
"""What to do with a token that could not be saved, by the reason. For other reasons, the store must be fixed first."""


def refresh(
    request: TokenRequest,
    token: str,
    stored: StoredState,
    locked: LockedSession,
    service: ServiceClient,
    *,
    scope: str,
    deadline: float,
    now: float,
) -> Outcome:
    """Refresh a token and save the new one in the locked session. ``stored`` is its state, and ``now`` the time of the decision.

    Raises :class:`WuyingError`, after a note of the failure was stored for the tasks that wait.
    """
    before, session = stored.record, request.session
    note = new_note(stored.note, token, scope)
    with hold_signals():
        locked.write_note(note)
        try:
            result = service.refresh(session, token, deadline)
        except ServiceError as error:
            unknown = error.outcome_unknown or stored.may_be_spent(token)
            failure, ended = judge(error, request, before, now, unknown=unknown)
            # If this cannot be written, the first note remains. The outcome is then unknown, which is safe.
            with contextlib.suppress(StoreError):
                # If the record already ended like this, only a note shows the tasks that wait that this is a new failure.
                if ended and before is not None and before.ended != failure.code:
                    locked.save(before.ended_with(failure.code))
                else:
                    locked.save_failure(note.failed(failure, unknown=unknown))
            raise failure from None
        record = next_record(
            before, session, token, result.login_token, result.sent_at, request.validity, result.request_id
        )
        try:
            locked.save(record)
        except StoreError as error:
            message = "The login token was refreshed but could not be saved. This result contains the only copy. "
            next_step = _NEXT_STEPS.get(error.code, "Fix the store, then pass this token as login_token.")
            message += f"{error.message} {next_step}"
            return Outcome(True, before, record, StoreError(message, code="NotKept"))
    return Outcome(True, before, record)
