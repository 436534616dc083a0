# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Define the note that is stored before a request that may spend a token."""

from __future__ import annotations

import os
import re
import typing as t

from .encoding import FORMAT, dump_line, load_object
from .exceptions import DamagedRecord, WuyingError, is_code
from .session import fingerprint

_LONGEST_TEXT = 2000
"""The longest text of a failure that is shown, in characters."""
_REQUEST_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_STAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z")
POSSIBLY_SPENT_LENGTH = 16
"""The number of possibly spent tokens that a note lists. With one more, it covers every token."""


class Note(t.NamedTuple):
    """The note of a refresh or login. It is removed when the new token is stored.

    ``fingerprint`` is that of the login token that may be spent, and ``scope`` that of the settings it is sent with. ``possibly_spent`` has
    the fingerprints of tokens that the service may have used up although no response arrived; None means every token.
    ``failure`` describes how the refresh failed.
    """

    id: str
    fingerprint: str
    scope: str
    possibly_spent: tuple[str, ...] | None
    failure: dict[str, t.Any] | None = None

    def may_be_spent(self, token: str) -> bool:
        """Return True if the service may have used up ``token`` although its successor is not stored."""
        return self.possibly_spent is None or fingerprint(token) in self.possibly_spent

    def failed(self, error: WuyingError, *, unknown: bool) -> Note:
        """Return the note after a failure; ``unknown`` if the service may have used up the token."""
        possibly_spent = self.possibly_spent
        if possibly_spent is not None and not unknown:
            possibly_spent = tuple(each for each in possibly_spent if each != self.fingerprint)
        failure = {"message": error.message, "token_rejected": error.token_rejected, **error.as_result()}
        return self._replace(possibly_spent=possibly_spent, failure=failure)

    def merged_with(self, other: Note) -> Note:
        """Return the note that also lists the possibly spent tokens of another one."""
        if self.possibly_spent is None or other.possibly_spent is None:
            return self._replace(possibly_spent=None)
        return self._replace(possibly_spent=_bounded((*self.possibly_spent, *other.possibly_spent)))

    def error(self) -> WuyingError | None:
        """Return the failure as an error that another caller can raise, or None if there is no failure."""
        if self.failure is None:
            return None
        fields = dict(self.failure)
        return WuyingError(fields.pop("message"), code=fields.pop("error_code"), **fields)

    def dump(self) -> bytes:
        """Encode the note as one line of JSON, for :func:`load_note`."""
        return dump_line({"note": FORMAT, **self._asdict()})


def new_note(previous: Note | None, sent: str, scope: str) -> Note:
    """Return the note of a request that is about to start. It keeps the previous note's possibly spent tokens.

    ``sent`` is the fingerprint of the login token that the request may spend, empty if there is none.
    """
    possibly_spent: tuple[str, ...] | None = () if previous is None else previous.possibly_spent
    if sent and possibly_spent is not None:
        possibly_spent = _bounded((*possibly_spent, sent))
    return Note(os.urandom(16).hex(), sent, scope, possibly_spent)


def _bounded(possibly_spent: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the fingerprints, each once, or None, which covers every token, if there are too many."""
    once = tuple(dict.fromkeys(possibly_spent))
    return once if len(once) <= POSSIBLY_SPENT_LENGTH else None


UNREADABLE = Note(id="", fingerprint="", scope="", possibly_spent=None)


def load_note(data: bytes) -> Note:
    """Decode the output of :meth:`Note.dump`. Anything else becomes a note that covers every token."""
    try:
        fields = load_object(data)
        if fields.pop("note", None) != FORMAT:
            return UNREADABLE
        listed = fields["possibly_spent"]
        fields["possibly_spent"] = tuple(map(str, listed)) if isinstance(listed, list) else None
        note = Note(**fields)
        note.error()  # raises an exception if the failure lacks a field
        if not all(isinstance(text, str) for text in (note.id, note.fingerprint, note.scope)):
            return UNREADABLE
        if not all(_FAILURE_FIELDS[name](value) for name, value in (note.failure or {}).items()):
            return UNREADABLE
    except (DamagedRecord, KeyError, TypeError, ValueError):
        return UNREADABLE
    return note


def _is_text(value: t.Any) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST_TEXT


def _is_flag(value: t.Any) -> bool:
    return isinstance(value, bool)


_FAILURE_FIELDS: dict[str, t.Callable[[t.Any], bool]] = {
    "message": _is_text,
    "error_code": is_code,
    "http_status": lambda value: value is None or (isinstance(value, int) and 100 <= value <= 999),
    "request_id": lambda value: value is None or (isinstance(value, str) and bool(_REQUEST_ID.fullmatch(value))),
    "retryable": _is_flag,
    "login_needed": _is_flag,
    "token_rejected": _is_flag,
    "stage": lambda value: isinstance(value, str) and bool(_STAGE.fullmatch(value)),
    "blocked_until": lambda value: isinstance(value, str) and bool(_TIMESTAMP.fullmatch(value)),
}
"""The checks of the fields of a failure. All fields are shown, and another program may have written them."""
