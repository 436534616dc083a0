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

DOUBTED_LENGTH = 16
"""How many tokens a note doubts by name; one more, and it doubts every token."""


class Attempt(t.NamedTuple):
    """The note of an exchange: that it began and, once it failed, how. It goes when the answer is kept.

    ``fingerprint`` is that of the token that goes in; ``way``, by whose credentials. ``doubted`` has the fingerprints
    of tokens that the service may have taken without our knowing its answer; None stands for every token.
    """

    id: str
    fingerprint: str
    way: str
    doubted: tuple[str, ...] | None
    failure: dict[str, t.Any] | None = None

    def doubts(self, token: str) -> bool:
        """Say whether ``token`` may have been exchanged without its successor being kept."""
        return self.doubted is None or fingerprint(token) in self.doubted

    def failed(self, error: WuyingError, *, unknown: bool) -> Attempt:
        """Return the note of how the exchange failed, for those who wait for it."""
        doubted = self.doubted
        if doubted is not None and not unknown:
            doubted = tuple(mark for mark in doubted if mark != self.fingerprint)
        failure = {"message": error.message, **error.as_result()}
        return self._replace(doubted=doubted, failure=failure)

    def error(self) -> WuyingError | None:
        """Return the failure that is noted, for another caller to share."""
        if self.failure is None:
            return None
        fields = dict(self.failure)
        return WuyingError(fields.pop("message"), code=fields.pop("error_code"), **fields)

    def dump(self) -> bytes:
        """Write the note as one line of JSON, for :func:`load_attempt`."""
        return dump_line({"note": FORMAT, **self._asdict()})


def begin(previous: Attempt | None, token: str, way: str) -> Attempt:
    """Return the note of an exchange of ``token`` that is about to begin; doubts of the ``previous`` one stay."""
    mark = fingerprint(token)
    doubted: tuple[str, ...] | None = () if previous is None else previous.doubted
    if doubted is not None and mark not in doubted:
        doubted = (*doubted, mark) if len(doubted) < DOUBTED_LENGTH else None
    return Attempt(os.urandom(16).hex(), mark, way, doubted)


UNREADABLE = Attempt(id="", fingerprint="", way="", doubted=None)


def load_attempt(data: bytes) -> Attempt:
    """Read what :meth:`Attempt.dump` wrote; what cannot be read is a note all the same, one that doubts every token."""
    try:
        fields = load_object(data)
        if fields.pop("note", None) != FORMAT:
            return UNREADABLE
        attempt = Attempt(**{**fields, "doubted": _as_marks(fields["doubted"])})
        attempt.error()
    except (DamagedRecord, KeyError, TypeError, ValueError):
        return UNREADABLE
    return attempt


def _as_marks(value: t.Any) -> tuple[str, ...] | None:
    if value is None or not isinstance(value, list):
        return None
    return tuple(str(mark) for mark in value)
