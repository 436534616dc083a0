# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Explain why a session has no token, and what to do."""

from __future__ import annotations

import typing as t

from .._model.encoding import format_timestamp
from .._model.exceptions import NO_RECORD, OUTCOME_UNKNOWN, LoginRequired, OptionError
from .._model.record import Record
from .._model.session import Session

ANSWER_LOST = (
    "The response to an earlier attempt to refresh the login token was lost, and the service now rejects the token."
)
LOG_IN = (
    "The user must log in again, for example with the playbook wuying.workspace.log_in. "
    "Or pass password or a new login_token to wuying_login_token."
)


def not_stored(session: Session, store_name: str) -> str:
    """Return the sentence that there is no record of a session."""
    return (
        f"No login token is stored for {session.end_user_id} (client {session.client_id}, endpoint {session.endpoint}) "
        f"in {store_name}."
    )


def no_record(session: Session, store_name: str) -> LoginRequired:
    """Return the error of a session without a record that cannot log in."""
    message = (
        f"{not_stored(session, store_name)} Pass login_token or password to wuying_login_token to start the session. "
        "If it was already started, check the options that identify the session, the store and the OS user."
    )
    if store_name == "none":
        message = "store=none stores no token. Pass login_token, or set store to a directory or a Redis URL."
    return LoginRequired(message, code=NO_RECORD)


def other_endpoint(session: Session) -> OptionError:
    """Return the error of a password that is not sent to an endpoint which no record confirms."""
    return OptionError(
        f"No login token is stored for {session.end_user_id}, and {session.endpoint} is not the endpoint of its region. To send "
        "the password there, use wuying_login_token with force=true."
    )


def session_ended(record: Record, now: float) -> LoginRequired:
    """Return the error of a session that has ended and cannot log in."""
    reason, code = "because the service rejected its login token.", LoginRequired.code
    if record.ended == OUTCOME_UNKNOWN:
        reason, code = f"because a response was lost. {ANSWER_LOST}", OUTCOME_UNKNOWN
    wait = wait_of_keep_alive(record, now)
    if wait:
        reason += (
            f" The service refused the stored keep-alive token, which is sent again after {wait['blocked_until']}."
        )
    return LoginRequired(f"The session has ended {reason} {LOG_IN}", code=code, **wait)


def wait_of_keep_alive(record: Record | None, now: float) -> dict[str, t.Any]:
    """Return until when the keep-alive token of a record must wait, as details of an error. Nothing if it need not."""
    keep_alive = record and record.keep_alive
    blocked_until = keep_alive and keep_alive.blocked_until(now)
    return {"blocked_until": format_timestamp(blocked_until)} if blocked_until else {}
