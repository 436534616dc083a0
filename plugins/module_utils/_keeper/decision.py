# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decide by the state of a record whether to refresh, and which token. Judge if a failure rejects it."""

from __future__ import annotations

import typing as t

from .._model.exceptions import LoginRequired, Refused, ServiceError, TokenRejected, WuyingError
from .._model.record import CURRENT, ENDED, Record, StoredState
from .._model.session import Session

OUTCOME_UNKNOWN = "OutcomeUnknown"
NO_RECORD = "NoLoginToken"
DEFAULT_REFRESH_BEFORE = 300
ANSWER_LOST = "An earlier refresh of the login token was interrupted, its response is lost, and the service now rejects the token."
LOG_IN = "The user must log in again. Pass the new token as login_token."


class TokenRequest(t.NamedTuple):
    """A request for a session's token. ``validity`` and ``refresh_before`` are in seconds.

    Without ``validity``, a new token has the validity that is stored with the session.
    """

    session: Session
    login_token: str | None = None
    force: bool = False
    validity: float | None = None
    refresh_before: float = DEFAULT_REFRESH_BEFORE

    def is_login(self, record: Record | None) -> bool:
        """Return True if a token was passed that is not the one of ``record`` and not in its lineage."""
        return self.login_token is not None and (record is None or not record.knows(self.login_token))


class Outcome(t.NamedTuple):
    """The record before and after a request.

    If a new token could not be saved, ``not_saved`` is the reason. If the stored token is returned because it could not be
    refreshed, ``not_refreshed`` is the reason.
    """

    changed: bool
    before: Record | None = None
    record: Record | None = None
    not_saved: WuyingError | None = None
    not_refreshed: WuyingError | None = None

    def without_lineage(self) -> Outcome:
        """Return the outcome without the lineage of its records, which makes up most of its size."""
        before, record = (each and each.without_lineage() for each in (self.before, self.record))
        return self._replace(before=before, record=record)


def decide(request: TokenRequest, stored: StoredState, now: float, store_name: str) -> str | None:
    """Return the token to refresh, or None to return the stored one. The state is that in the store called ``store_name``.

    ===========  =====================  ==================================================
    record       login_token            decision
    ===========  =====================  ==================================================
    any or none  passed, unknown        refresh the token that was passed
    none         not passed             raise LoginRequired
    current      not passed or known    return the stored token; refresh it if a note says
                                        that it may be spent, or with ``force``
    stale        not passed or known    refresh the stored token
    expired      not passed or known    refresh the stored token
    ended        not passed or known    raise LoginRequired; refresh with ``force``
    ===========  =====================  ==================================================

    Raises :class:`LoginRequired` if there is no token to refresh.
    """
    record, session = stored.record, request.session
    if request.is_login(record):
        return request.login_token
    if record is None:
        message = (
            f"{not_stored(session, store_name)} Pass login_token to start the session. "
            "If it was already started, check the options that identify the session, the store and the OS user."
        )
        if store_name == "none":
            message = "store=none stores no token. Pass login_token, or set store to a directory or a Redis URL."
        raise LoginRequired(message, code=NO_RECORD)
    state = record.state(now, request.refresh_before)
    if state == ENDED and not request.force:
        if record.ended == OUTCOME_UNKNOWN:
            raise LoginRequired(f"The session has ended. {ANSWER_LOST} {LOG_IN}", code=OUTCOME_UNKNOWN)
        raise LoginRequired(f"The session has ended because the service rejected its login token. {LOG_IN}")
    if state == CURRENT and not request.force and not stored.may_be_spent(record.login_token):
        return None
    return record.login_token


def judge(
    error: ServiceError, request: TokenRequest, record: Record | None, now: float, *, unknown: bool
) -> tuple[WuyingError, bool]:
    """Return the failure to report after a refresh failed with ``error``, and True if the session has ended.

    ``record`` and ``now`` are those of the decision. With ``unknown``, the service may have used up the token before. A token is
    rejected if the code names it. An expired or passed token is also rejected by a refusal that may concern it.
    Only a rejected token that is stored and has expired ends its session.
    """
    passed = request.is_login(record)
    expired = not passed and record is not None and now >= record.expires_at
    named = isinstance(error, TokenRejected)
    if not named and not (isinstance(error, Refused) and (passed or expired)):
        return error, False
    which = "the login_token that was passed" if passed else "the session's login token"
    reason, code = f"The service {'rejected' if named else 'refused to refresh'} {which} ({error.code}).", error.code
    if unknown:
        reason, code = ANSWER_LOST, OUTCOME_UNKNOWN
    if passed:
        reason += (
            " The passed token may have expired or already been used. Check that it belongs to this session. "
            "If it comes from WUYING_LOGIN_TOKEN, check that the variable belongs to this session, too."
        )
    failure = LoginRequired(f"{reason} {LOG_IN}", code=code, http_status=error.http_status, request_id=error.request_id)
    return failure, expired


def not_stored(session: Session, store_name: str) -> str:
    """Return the sentence that there is no record of a session."""
    return (
        f"No login token is stored for {session.end_user_id} (client {session.client_id}, endpoint {session.endpoint}) "
        f"in {store_name}."
    )
