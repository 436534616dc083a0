# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A record: a value that knows how old it is and which tokens it has seen. No I/O."""

from __future__ import annotations

import math
import typing as t

from .encoding import FORMAT, DamagedRecord, dump_line, load_object
from .endpoint import is_endpoint
from .exceptions import StoreError
from .session import Session, fingerprint, is_token, load_session

LINEAGE_LENGTH = 64
"""How many fingerprints of used-up tokens a record remembers."""
PASSED_LENGTH = 16
"""How many fingerprints of tokens that users passed in a record remembers, apart from the lineage."""
CLOCK_TOLERANCE = 60.0
"""By how many seconds a record may lie in the future before it counts as stale."""
END_OF_TIME = 253402300799.0
_LAST_FORMAT = 999
"""A greater number is none that a version of the collection has written."""

CURRENT, STALE, EXPIRED, ENDED = "current", "stale", "expired", "ended"


class Record(t.NamedTuple):
    """What is kept of a session. Times are in seconds since 1970 (UTC) by the clock of whoever made the exchange."""

    session: Session
    login_token: str
    obtained_at: float
    expires_at: float
    request_id: str | None = None
    lineage: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    ended: str | None = None
    """The error code with which the service refused the token, once it has."""

    def __repr__(self) -> str:
        return "Record(...)"

    def knows(self, token: str) -> bool:
        """Say whether a token is this record's or one that the session has used up."""
        if token == self.login_token:
            return True
        mark = fingerprint(token)
        return mark in self.lineage or mark in self.passed

    def state(self, now: float, refresh_before: float) -> str:
        """Return ``current``, ``stale``, ``expired`` or ``ended``, as of ``now``.

        ``refresh_before``, in seconds, counts as at most half of the record's lifetime.
        """
        if self.ended is not None:
            return ENDED
        if now >= self.expires_at:
            return EXPIRED
        if self.obtained_at > now + CLOCK_TOLERANCE:
            return STALE
        margin = min(refresh_before, (self.expires_at - self.obtained_at) / 2)
        return CURRENT if self.expires_at - now > margin else STALE

    def remaining(self, now: float) -> int:
        """Return the whole seconds that the token may still live: an upper bound."""
        return max(0, math.floor(min(self.expires_at - now, self.expires_at - self.obtained_at)))

    def without_lineage(self) -> Record:
        """Return the record without the fingerprints of the tokens that came before."""
        return self._replace(lineage=(), passed=())

    def ended_with(self, code: str) -> Record:
        """Return the record of a token that the service refused with ``code``."""
        return self._replace(ended=code)

    def dump(self) -> bytes:
        """Write the record as one line of JSON, for :func:`load_record`."""
        return dump_line({"format": FORMAT, **self._asdict(), "session": self.session.identity()})


def next_record(
    previous: Record | None,
    session: Session,
    spent: str,
    login_token: str,
    obtained_at: float,
    validity: float,
    request_id: str | None,
) -> Record:
    """Return the record after an exchange of ``spent`` for ``login_token``, which lives ``validity`` seconds.

    A token that ``previous`` does not know was passed in by a user and is remembered as such.
    """
    lineage: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    used = [fingerprint(spent)]
    if previous is not None:
        lineage, passed = previous.lineage, previous.passed
        if previous.login_token != spent:
            used.insert(0, fingerprint(previous.login_token))
    if previous is None or not previous.knows(spent):
        passed = newest(passed, fingerprint(spent), length=PASSED_LENGTH)
    return Record(
        session=session,
        login_token=login_token,
        obtained_at=obtained_at,
        expires_at=obtained_at + validity,
        request_id=request_id,
        lineage=newest(lineage, *used, length=LINEAGE_LENGTH),
        passed=passed,
    )


def load_record(data: bytes, key: str) -> Record:
    """Read what :meth:`Record.dump` wrote.

    Raises :class:`DamagedRecord` where it is not a record of the session with that key, and :class:`StoreError` where a
    newer version of the collection wrote it.
    """
    fields = load_object(data)
    version = fields.pop("format", None)
    if isinstance(version, int) and FORMAT < version <= _LAST_FORMAT:
        raise StoreError(
            f"The record of the session has format {version}, newer than this version of wuying.workspace "
            f"reads ({FORMAT}): use the version that wrote it, or one after it.",
            code="NewerFormat",
        )
    if version != FORMAT:
        raise DamagedRecord("it has no format version")
    session = load_session(fields.pop("session", None))
    if session is None or session.key != key:
        raise DamagedRecord("it belongs to another session")
    if not is_endpoint(session.endpoint):
        raise DamagedRecord("its endpoint is none that a token may be sent to")
    try:
        record = Record(
            session=session,
            **{**fields, "lineage": tuple(fields["lineage"]), "passed": tuple(fields["passed"])},
        )
    except (KeyError, TypeError):
        raise DamagedRecord("its fields are not those of a record") from None
    if not _is_sound(record):
        raise DamagedRecord("a field has a value that no record has")
    return record


def newest(marks: tuple[str, ...], *added: str, length: int) -> tuple[str, ...]:
    """Return ``marks`` with ``added`` as the newest, cut to the newest ``length``."""
    return (*(mark for mark in marks if mark not in added), *added)[-length:]


def _is_sound(record: Record) -> bool:
    marks = (*record.lineage, *record.passed)
    return (
        is_token(record.login_token)
        and _is_time(record.obtained_at)
        and _is_time(record.expires_at)
        and record.obtained_at < record.expires_at
        and (record.request_id is None or isinstance(record.request_id, str))
        and (record.ended is None or isinstance(record.ended, str))
        and {str}.issuperset(map(type, marks))
    )


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= END_OF_TIME
