# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Define the identity of a session, and the format and fingerprint of a token."""

from __future__ import annotations

import functools
import hashlib
import sys
import typing as t

from .encoding import canonical_json

ACCOUNT_PREFIX = "account-"
"""The start of the keys of accounts in a store. Those of sessions have no prefix."""
TOKEN_LENGTH = 8192
"""The number of characters that a login token may have."""
LONGEST_ID = 256
"""The number of characters that a part of an identity may have."""


def fingerprint(token: str) -> str:
    """Return the first 128 bits of the SHA-256 of a token, in hex. They are stored and shown instead of the token."""
    return sha256(token)[:32]


def sha256(text: str) -> str:
    """Return the SHA-256 of a text in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def is_token(value: object) -> bool:
    """Return True if a value can be a login token: ASCII without white space, of limited length."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= TOKEN_LENGTH
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )


def is_id(value: object, longest: int = LONGEST_ID) -> bool:
    """Return True if a value can be a part of an identity: printable characters, of limited length."""
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


class Session(t.NamedTuple):
    """One end user on one client at one endpoint."""

    endpoint: str
    region_id: str
    office_site_id: str
    end_user_id: str
    client_id: str
    directory_id: str | None = None

    def identity(self) -> dict[str, str]:
        """Return the identity of the session, without the optional parts that are not set."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    @property
    @functools.lru_cache(maxsize=256)  # noqa: B019 - few sessions stay in memory
    def key(self) -> str:
        """The SHA-256, in hex, of the identity as canonical JSON."""
        return sha256(canonical_json(self.identity()))


def load_session(identity: object) -> Session | None:
    """Return the session with this :meth:`Session.identity`, or None if it is not the identity of a session."""
    # An endpoint can be longer. It has a check of its own.
    if not isinstance(identity, dict) or not all(
        is_id(part) or (name == "endpoint" and isinstance(part, str)) for name, part in identity.items()
    ):
        return None
    try:
        # Interned, because the sessions of a fleet share most parts of their identities.
        return Session(**{name: sys.intern(value) for name, value in identity.items()})
    except TypeError:
        return None
