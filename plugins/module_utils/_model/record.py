# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Define the record of a session: tokens, lineage, and whether it is current, stale or expired."""

from __future__ import annotations

import math
import typing as t

from .encoding import CLOCK_TOLERANCE, FORMAT, LATEST_TIME, dump_line, load_object
from .endpoint import is_endpoint
from .exceptions import DamagedRecord, StoreError, is_code
from .session import Session, fingerprint, is_token, load_session

if t.TYPE_CHECKING:
    from .account import AccountEntry
    from .keep_alive import KeepAlive
    from .note import Note

LONGEST_VALIDITY = 366 * 86400
"""The validity of a token is a whole number of seconds, from 1 to this one."""

CURRENT, STALE, EXPIRED, ENDED = "current", "stale", "expired", "ended"


class Record(t.NamedTuple):
    """The stored state of a session. Times are in seconds since 1970 (UTC) by the clock of the host that refreshed the token."""

    session: Session
    login_token: str
    obtained_at: float
    expires_at: float
    request_id: str | None = None
    lineage: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    ended: str | None = None
    """The error code with which the service rejected the token, or None if it did not."""
    session_id: str | None = None
    """The service's ID of the login that the token comes from. Every refresh sends it."""
    uuid: str | None = None
    """The identifier of the device, which logins send."""
    keep_alive: KeepAlive | None = None

    def __repr__(self) -> str:
        return "Record(...)"

    def knows(self, token: str) -> bool:
        """Return True if ``token`` is the stored token or one that the session has used up."""
        return token == self.login_token or fingerprint(token) in (*self.lineage, *self.passed)

    @property
    def validity(self) -> float:
        """For how many seconds the token was valid when it was obtained."""
        return min(max(1, round(self.expires_at - self.obtained_at)), LONGEST_VALIDITY)

    def state(self, now: float, refresh_before: float) -> str:
        """Return ``current``, ``stale``, ``expired`` or ``ended``, as of ``now``.

        ``refresh_before``, in seconds, is capped at half of the token's validity.
        """
        if self.ended is not None:
            return ENDED
        if now >= self.expires_at:
            return EXPIRED
        if self.obtained_at > now + CLOCK_TOLERANCE:
            return STALE
        margin = min(refresh_before, (self.expires_at - self.obtained_at) / 2)
        return CURRENT if self.expires_at - now > margin else STALE

    def is_valid(self, now: float) -> bool:
        """Return True if the token has not expired, and the service has not rejected it."""
        return self.state(now, 0) not in (EXPIRED, ENDED)

    def remaining(self, now: float) -> int:
        """Return for how many whole seconds the token is valid at most."""
        return max(0, math.floor(min(self.expires_at - now, self.expires_at - self.obtained_at)))

    def without_lineage(self) -> Record:
        """Return the record without the fingerprints of earlier tokens."""
        return self._replace(lineage=(), passed=())

    def ended_with(self, code: str) -> Record:
        """Return the record after the service rejected its token with ``code``."""
        return self._replace(ended=code)

    def dump(self) -> bytes:
        """Encode the record as one line of JSON, for :func:`load_record`."""
        return dump_line({"format": FORMAT, **self._asdict(), "session": self.session.identity()})


class StoredState(t.NamedTuple):
    """The stored record and note of a session, or the entry of an account.

    ``damage`` is the reason why an existing record cannot be read. ``needs_reencryption`` is True if the record, or an
    older copy of it, is not encrypted with the first key in ``store_key``.
    """

    record: Record | None = None
    note: Note | None = None
    damage: str | None = None
    needs_reencryption: bool = False
    entry: AccountEntry | None = None

    def may_be_spent(self, token: str) -> bool:
        """Return True if the service may have used up ``token`` although its successor is not stored."""
        return self.note is not None and self.note.may_be_spent(token)

    def snapshot(self) -> Snapshot:
        """Return a value that shows later whether the state has changed."""
        record = self.record
        if record is None:
            return Snapshot(None, self.note)
        return Snapshot(hash(record), self.note, record.keep_alive is not None, fingerprint(record.login_token))


class Snapshot(t.NamedTuple):
    """The state that a caller saw before it waited for the lock. ``record`` is a hash, to save memory in a large fleet.

    ``fingerprint`` is that of the login token, empty if there is no record.
    """

    record: int | None
    note: Note | None
    has_keep_alive: bool = False
    fingerprint: str = ""


def load_record(data: bytes, key: str) -> Record:
    """Decode the output of :meth:`Record.dump`.

    Raises :class:`DamagedRecord` if it is not a record of the session with this key, and :class:`StoreError` if a newer
    version of the collection wrote it.
    """
    fields = load_object(data)
    version = fields.pop("format", None)
    if isinstance(version, int) and FORMAT < version <= 999:  # a larger number is damage
        raise StoreError(
            "A newer version of wuying.workspace wrote this record. Update wuying.workspace on this host.",
            code="NewerFormat",
        )
    if version != FORMAT:
        raise DamagedRecord("its format version is missing or invalid")
    session = load_session(fields.pop("session", None))
    if session is None:
        raise DamagedRecord("its identity is malformed")
    if session.key != key:
        raise DamagedRecord("it belongs to another session")
    if not is_endpoint(session.endpoint):
        raise DamagedRecord("its endpoint is not allowed")
    try:
        fields.update(lineage=tuple(fields["lineage"]), passed=tuple(fields["passed"]))
        if fields.get("keep_alive") is not None:
            from .keep_alive import KeepAlive  # here, because many sessions have none

            fields["keep_alive"] = KeepAlive(*fields["keep_alive"])
        record = Record(session=session, **fields)
    except (KeyError, TypeError):
        raise DamagedRecord("a field is missing or unknown") from None
    if not _is_well_formed(record):
        raise DamagedRecord("a field has an invalid value")
    return record


def _is_well_formed(record: Record) -> bool:
    texts = (record.request_id, record.session_id, record.uuid)
    return (
        is_token(record.login_token)
        and all(isinstance(time, (int, float)) for time in (record.obtained_at, record.expires_at))
        and 0 <= record.obtained_at < record.expires_at <= LATEST_TIME
        and all(text is None or (isinstance(text, str) and text.isprintable()) for text in texts)
        and (record.ended is None or is_code(record.ended))
        and {str}.issuperset(map(type, (*record.lineage, *record.passed)))
        and (record.keep_alive is None or record.keep_alive.is_valid())
    )
