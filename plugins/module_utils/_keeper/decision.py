# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of the promise: what is asked, what is held, and what follows from it. Values only, no I/O."""

from __future__ import annotations

import typing as t

from .._model.exceptions import LoginRequired, WuyingError
from .._model.record import CURRENT, ENDED, Record, StoredState
from .._model.session import Session

OUTCOME_UNKNOWN = "OutcomeUnknown"
NO_RECORD = "NoLoginToken"
ANSWER_LOST = "an earlier exchange of the session's login token was cut short, the answer is lost, and the service refuses the token now."
_REFUSED = "the service refused its login token."
LOG_IN = "The user must log in again; pass the new token as login_token."


class TokenRequest(t.NamedTuple):
    """What a caller wants of a session. ``validity`` and ``refresh_before`` are in seconds."""

    session: Session
    login_token: str | None = None
    force: bool = False
    validity: float = 900
    refresh_before: float = 300


class Outcome(t.NamedTuple):
    """What came of it: the record before and after; ``not_kept`` says why only the caller has the new token."""

    changed: bool
    before: Record | None = None
    record: Record | None = None
    not_saved: WuyingError | None = None

    def without_lineage(self) -> Outcome:
        """Return the outcome without the fingerprints that the records remember: a report of it is much smaller."""
        before, record = (each and each.without_lineage() for each in (self.before, self.record))
        return self._replace(before=before, record=record)


class Plan(t.NamedTuple):
    """The token to exchange, or None to serve the record; ``login`` where the token begins the session anew."""

    token: str | None = None
    login: bool = False


def decide(request: TokenRequest, stored: StoredState, now: float, store_name: str) -> Plan:
    """Return what the promise has us do with what is kept in a store, called ``store_name``.

    Raises :class:`LoginRequired` where no token is left to try.
    """
    record = stored.record
    if request.login_token is not None and is_new_login(request.login_token, record):
        return Plan(request.login_token, login=True)
    if record is None:
        raise LoginRequired(
            f"Nothing is kept in the store {store_name} of the session of {request.session.end_user_id} on {request.session.client_id} "
            f"at {request.session.endpoint}: pass login_token once to start it; if it was started already, check that "
            "identity, endpoint, store and user are the same.",
            code=NO_RECORD,
        )
    if not request.force:
        state = record.state(now, request.refresh_before)
        if state == ENDED:
            raise _ended(record)
        if state == CURRENT and not stored.may_be_spent(record.login_token):
            return Plan()
    return Plan(record.login_token)


def is_new_login(token: str, record: Record | None) -> bool:
    """Say whether a token that is passed in begins the session, for the record does not know it."""
    return record is None or not record.knows(token)


def _ended(record: Record) -> LoginRequired:
    unknown = record.ended == OUTCOME_UNKNOWN
    return LoginRequired(
        f"The session has ended: {ANSWER_LOST if unknown else _REFUSED} {LOG_IN}",
        code=OUTCOME_UNKNOWN if unknown else None,
    )
