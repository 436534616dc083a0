# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decide by the state of a record whether to refresh or to log in."""

from __future__ import annotations

import typing as t

from .._model.endpoint import is_default_or_loopback
from .._model.exceptions import WuyingError
from .._model.record import CURRENT, ENDED, Record, StoredState
from .._model.session import Session

Warn = t.Callable[[str], None]
DEFAULT_REFRESH_BEFORE = 300
RETURN, REFRESH, KEEP_ALIVE, PASSWORD = "return", "refresh", "keep-alive login", "password login"
"""The kinds of steps. After one of the logins, the session has a new token."""


class PasswordLogin(t.NamedTuple):
    """How to log in with a password. With ``force``, log in even if it is not necessary or must wait."""

    password: str
    totp_secret: str | None = None
    authentication_code: str | None = None
    stay_logged_in: bool = False
    force: bool = False

    def __repr__(self) -> str:
        return "PasswordLogin(...)"


class TokenRequest(t.NamedTuple):
    """A request for a session's token. ``validity`` and ``refresh_before`` are in seconds.

    Without ``validity``, a new token has the validity that is stored with the session. ``session_id`` belongs to ``login_token``.
    ``rejected`` is a passed token that the service has rejected.
    """

    session: Session
    login_token: str | None = None
    force: bool = False
    validity: float | None = None
    refresh_before: float = DEFAULT_REFRESH_BEFORE
    session_id: str | None = None
    uuid: str | None = None
    password_login: PasswordLogin | None = None
    rejected: str | None = None

    def without_force(self) -> TokenRequest:
        """Return the request if a current token is enough for it."""
        login = self.password_login
        return self._replace(force=False, password_login=login and login._replace(force=False))

    def must_send(self, record: Record | None) -> bool:
        """Return True if the stored token is not enough, even if no new one can be obtained."""
        forced_login = self.password_login is not None and self.password_login.force
        return self.force or forced_login or self.passes_new_token(record)

    def passes_new_token(self, record: Record | None) -> bool:
        """Return True if a token was passed that is not the one of ``record`` and not in its lineage."""
        return self.login_token is not None and (record is None or not record.knows(self.login_token))


class Outcome(t.NamedTuple):
    """The record before and after a request.

    If a new token could not be saved, ``not_saved`` is the reason. If the stored token is returned because it could not be
    refreshed, ``not_refreshed`` is the reason. ``logged_in`` is True if the new token comes from a login, and ``copied`` if it
    comes from another store.
    """

    changed: bool
    before: Record | None = None
    record: Record | None = None
    not_saved: WuyingError | None = None
    not_refreshed: WuyingError | None = None
    logged_in: bool = False
    copied: bool = False

    def without_lineage(self) -> Outcome:
        """Return the outcome without the lineage of its records, which makes up most of its size."""
        before, record = (each and each.without_lineage() for each in (self.before, self.record))
        return self._replace(before=before, record=record)


class Step(t.NamedTuple):
    """What to do next. ``token`` is the login token to refresh, or the keep-alive token to log in with."""

    kind: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Step({self.kind})"


Failed = t.Mapping[str, WuyingError]
"""The failures of the steps that were taken before, by kind, see ``judgement.py``."""


def decide(
    request: TokenRequest, stored: StoredState, now: float, store_name: str, failed: Failed | None = None
) -> Step:
    """Return the next step. The state is that in the store called ``store_name``.

    ===========  =====================  ====================================================
    record       login_token            step
    ===========  =====================  ====================================================
    any or none  any                    log in with the password, if that is forced
    any or none  passed, unknown        refresh the token that was passed
    none         not passed             log in
    current      not passed or known    return the stored token; refresh it if a note says
                                        that it may be spent, or with ``force``
    stale        not passed or known    refresh the stored token
    expired      not passed or known    refresh the stored token
    ended        not passed or known    log in; refresh with ``force``
    ===========  =====================  ====================================================

    Log in with the keep-alive token, else with the password. A keep-alive token that needs renewal replaces the refresh of a stored
    token by a login. After a refresh in ``failed``, log in. Raises :class:`LoginRequired` if no step is possible.
    """
    record, session = stored.record, request.session
    failed = failed or {}
    login = possible_login(request, record, now, failed)
    if request.password_login is not None and request.password_login.force:
        return Step(PASSWORD)
    if request.passes_new_token(record):
        return Step(REFRESH, request.login_token)
    if record is None:
        if login is None:
            from .advice import no_record, other_endpoint  # here, because most tasks find a token

            raise no_record(session, store_name) if request.password_login is None else other_endpoint(session)
        return login
    state = record.state(now, request.refresh_before)
    if (state == ENDED and not request.force) or REFRESH in failed:
        if login is None:
            from .advice import session_ended

            raise session_ended(record, now)
        return login
    if state == CURRENT and not request.force and not stored.may_be_spent(record.login_token):
        return Step(RETURN)
    if _is_renewal(login, record, now):
        return t.cast(Step, login)
    return Step(REFRESH, record.login_token)


def possible_login(request: TokenRequest, record: Record | None, now: float, failed: Failed) -> Step | None:
    """Return the login that is possible, None if there is none. A session without a record sends no password to another endpoint."""
    keep_alive = record and record.keep_alive
    if keep_alive and KEEP_ALIVE not in failed and keep_alive.blocked_until(now) is None:
        return Step(KEEP_ALIVE, keep_alive.token)
    if request.password_login is None or PASSWORD in failed:
        return None
    may_start = record is not None or is_default_or_loopback(request.session.endpoint, request.session.region_id)
    return Step(PASSWORD) if may_start else None


def _is_renewal(login: Step | None, record: Record, now: float) -> bool:
    """Return True if a login should replace the refresh of a record, so that its keep-alive token does not expire."""
    keep_alive = record.keep_alive
    return login is not None and login.kind == KEEP_ALIVE and keep_alive is not None and keep_alive.needs_renewal(now)
