# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make the next record of a session, after a refresh or a login."""

from __future__ import annotations

from .encoding import stored_length
from .keep_alive import KeepAlive
from .record import Record
from .session import Session, fingerprint

LINEAGE_LENGTH = 64
"""The number of fingerprints of used-up tokens that a record keeps."""
PASSED_LENGTH = 16
"""The number of fingerprints of tokens passed by users that a record keeps in addition to the lineage."""
DEFAULT_VALIDITY = 900
LONGEST_SESSION_ID = 256
"""How many bytes of the service's ID of a login are stored at most."""
_ROOM = 768
"""How many bytes are reserved for a new token at least. Tokens have about 100 characters."""
_OTHER_GROWTH = 512
"""By how many bytes a record grows beside its tokens and its identity: names, times, fingerprints and the ID of the request."""


def next_record(
    previous: Record | None,
    session: Session,
    spent: str | None,
    login_token: str,
    obtained_at: float,
    validity: float | None,
    request_id: str | None,
) -> Record:
    """Return the record after a request that used up ``spent``, if any, and returned ``login_token``, see :func:`next_validity`.

    If ``previous`` does not know ``spent``, a user passed it: its fingerprint is in ``passed`` as well, and the service's ID of
    the previous login no longer applies.
    """
    expires_at = obtained_at + next_validity(previous, validity)
    record = Record(session, login_token, obtained_at, expires_at, request_id)
    passed = spent is not None and (previous is None or not previous.knows(spent))
    if previous is not None:
        record = record._replace(
            lineage=_with_newest(previous.lineage, previous.login_token, LINEAGE_LENGTH),
            passed=previous.passed,
            session_id=None if passed else previous.session_id,
            uuid=previous.uuid,
            keep_alive=previous.keep_alive,
        )
    if spent is None:
        return record
    if passed:
        return with_passed(record, spent)
    return record._replace(lineage=_with_newest(record.lineage, spent, LINEAGE_LENGTH))


def next_validity(previous: Record | None, validity: float | None) -> float:
    """Return the validity of the next token: the requested one, that of the record, or the default."""
    return validity or (DEFAULT_VALIDITY if previous is None else previous.validity)


def possible_growth(
    previous: Record | None, session: Session, uuid: str | None, sent: str | None, *, may_log_in: bool
) -> int:
    """Return by how many bytes the next record can be longer than the previous one. The store reserves them before a request.

    A new token can be twice as long as the stored one, and as the one that is ``sent``.
    """
    growth = _OTHER_GROWTH + max(_room(previous and previous.login_token), _room(sent))
    if may_log_in:
        growth += LONGEST_SESSION_ID + _room(previous and previous.keep_alive and previous.keep_alive.token)
    if previous is None:
        growth += stored_length(session.identity())
    return growth + stored_length(uuid)


def with_passed(record: Record, token: str) -> Record:
    """Return the record after the service rejected a token that a user passed."""
    return record._replace(
        lineage=_with_newest(record.lineage, token, LINEAGE_LENGTH),
        passed=_with_newest(record.passed, token, PASSED_LENGTH),
    )


def after_login(record: Record, session_id: str | None, keep_alive_token: str | None, *, accepted: bool) -> Record:
    """Return the record of a token that a login issued, with everything that the service issued with it.

    ``accepted`` is True if the service accepted the stored keep-alive token. It remains unless there is a new one.
    """
    keep_alive = record.keep_alive
    if keep_alive_token:
        keep_alive = KeepAlive(keep_alive_token, record.obtained_at, record.obtained_at)
    elif keep_alive is not None and accepted:
        keep_alive = KeepAlive(keep_alive.token, keep_alive.obtained_at, record.obtained_at)
    return record._replace(session_id=session_id, keep_alive=keep_alive)


def _with_newest(fingerprints: tuple[str, ...], token: str, length: int) -> tuple[str, ...]:
    """Return the newest ``length`` fingerprints after that of ``token`` was added as the newest."""
    newest = fingerprint(token)
    return (*(each for each in fingerprints if each != newest), newest)[-length:]


def _room(token: str | None) -> int:
    return max(_ROOM, 2 * stored_length(token))
