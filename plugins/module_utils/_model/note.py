# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The note of an exchange: a value that tells the next caller what is known of it. No I/O."""

from __future__ import annotations

import os
import typing as t

from .encoding import FORMAT, DamagedRecord, dump_line, load_object
from .exceptions import WuyingError
from .session import fingerprint

POSSIBLY_SPENT_LENGTH = 16
"""How many tokens a note doubts by name; one more, and it doubts every token."""


class Note(t.NamedTuple):
    """The note of an exchange: that it began and, once it failed, how. It goes when the answer is kept.

    ``fingerprint`` is that of the token that goes in; ``way``, by whose credentials. ``doubted`` has the fingerprints
    of tokens that the service may have taken without our knowing its answer; None stands for every token.
    """

    id: str
    fingerprint: str
    scope: str
    possibly_spent: tuple[str, ...] | None
    failure: dict[str, t.Any] | None = None

    def may_be_spent(self, token: str) -> bool:
        """Say whether ``token`` may have been exchanged without its successor being kept."""
        return self.possibly_spent is None or fingerprint(token) in self.possibly_spent

    def failed(self, error: WuyingError, *, unknown: bool) -> Note:
        """Return the note of how the exchange failed, for those who wait for it."""
        possibly_spent = self.possibly_spent
        if possibly_spent is not None and not unknown:
            possibly_spent = tuple(mark for mark in possibly_spent if mark != self.fingerprint)
        failure = {"message": error.message, **error.as_result()}
        return self._replace(possibly_spent=possibly_spent, failure=failure)

    def error(self) -> WuyingError | None:
        """Return the failure that is noted, for another caller to share."""
        if self.failure is None:
            return None
        fields = dict(self.failure)
        return WuyingError(fields.pop("message"), code=fields.pop("error_code"), **fields)

    def dump(self) -> bytes:
        """Write the note as one line of JSON, for :func:`load_note`."""
        return dump_line({"note": FORMAT, **self._asdict()})


def new_note(previous: Note | None, token: str, scope: str) -> Note:
    """Return the note of an exchange of ``token`` that is about to begin; doubts of the ``previous`` one stay."""
    mark = fingerprint(token)
    possibly_spent: tuple[str, ...] | None = () if previous is None else previous.possibly_spent
    if possibly_spent is not None and mark not in possibly_spent:
        possibly_spent = (
            (*possibly_spent, mark) if len(possibly_spent) < POSSIBLY_SPENT_LENGTH else None
        )
    return Note(os.urandom(16).hex(), mark, scope, possibly_spent)


UNREADABLE = Note(id="", fingerprint="", scope="", possibly_spent=None)


def load_note(data: bytes) -> Note:
    """Read what :meth:`Attempt.dump` wrote; what cannot be read is a note all the same, one that doubts every token."""
    try:
        fields = load_object(data)
        if fields.pop("note", None) != FORMAT:
            return UNREADABLE
        note = Note(**{**fields, "possibly_spent": _as_marks(fields["possibly_spent"])})
        note.error()
    except (DamagedRecord, KeyError, TypeError, ValueError):
        return UNREADABLE
    return note


def _as_marks(value: t.Any) -> tuple[str, ...] | None:
    if value is None or not isinstance(value, list):
        return None
    return tuple(str(mark) for mark in value)
