# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How records are encrypted at rest: Fernet of the package ``cryptography``, in an envelope that names the key.

Only imported where ``store_key`` is given.
"""

from __future__ import annotations

import base64
import hashlib
import traceback
import typing as t

from ansible.module_utils.basic import missing_required_lib

from .._model.encoding import DamagedRecord, dump_line, load_object
from .._model.exceptions import OptionError, StoreError

try:
    from cryptography.fernet import Fernet, InvalidToken
except ImportError:
    CRYPTOGRAPHY_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    CRYPTOGRAPHY_IMPORT_ERROR = None

_ENVELOPE = 1
_MAKE_A_KEY = (
    "python3 -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
)


class Encryption:
    """Encrypts with the first of its keys, and decrypts with any of them."""

    def __init__(self, keys: t.Sequence[str]) -> None:
        """Take Fernet keys: 32 bytes each, in URL-safe base64. Raises :class:`OptionError` or :class:`StoreError`."""
        if CRYPTOGRAPHY_IMPORT_ERROR is not None:
            raise StoreError(missing_required_lib("cryptography"), code="MissingLibrary")
        try:
            self._keys = {_name(key): Fernet(key) for key in keys}
        except ValueError:
            raise OptionError(
                f"store_key must have keys of 32 bytes in URL-safe base64; this makes one: {_MAKE_A_KEY}"
            ) from None
        self._first = _name(keys[0])
        self._start = dump_line({"envelope": _ENVELOPE, "key": self._first})[:-2]

    def encrypt(self, data: bytes) -> bytes:
        """Encrypt with the first key."""
        encrypted = self._keys[self._first].encrypt(data).decode("ascii")
        return dump_line({"envelope": _ENVELOPE, "key": self._first, "payload": encrypted})

    def decrypt(self, data: bytes) -> bytes:
        """Decrypt with whatever key the envelope names.

        Raises :class:`StoreError` where that key is not at hand or a newer version of the collection wrote the envelope, and
        :class:`DamagedRecord` where the rest does not fit the key.
        """
        envelope = load_object(data)
        version, name, encrypted = (envelope.get(part) for part in ("envelope", "key", "payload"))
        if isinstance(version, int) and version > _ENVELOPE:
            raise StoreError(
                "A newer version of wuying.workspace encrypted the record of the session: use that version, or one after it.",
                code="NewerFormat",
            )
        if version != _ENVELOPE or not (isinstance(name, str) and isinstance(encrypted, str)):
            raise DamagedRecord("its envelope cannot be read")
        if name not in self._keys:
            raise StoreError(
                "The record of the session is encrypted with another key than those of store_key: "
                "add the key that it was written with.",
                code="WrongStoreKey",
            )
        try:
            return self._keys[name].decrypt(encrypted.encode("utf-8", "surrogatepass"))
        except InvalidToken:
            raise DamagedRecord("what its envelope holds was changed") from None

    def is_first(self, data: bytes) -> bool:
        """Say whether the first key encrypted these data. They are not read, since each reader of each record asks this."""
        return data.startswith(self._start)


def _name(key: str) -> str:
    """Return a fingerprint that names a key, with white space around it or without, and does not give it away."""
    secret = base64.urlsafe_b64decode(key)
    return hashlib.sha256(b"wuying.workspace store key " + secret).hexdigest()[:16]
