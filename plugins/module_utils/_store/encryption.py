# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Encrypt records and notes with Fernet, in an envelope that names the key."""

from __future__ import annotations

import base64
import hashlib
import typing as t

from .._model.encoding import dump_line, load_object
from .._model.exceptions import DamagedRecord, OptionError, StoreError
from .failures import explain_import, is_library_failure

CRYPTOGRAPHY_IMPORT_ERROR: BaseException | None = None
try:
    from cryptography.fernet import Fernet, InvalidToken
except BaseException as error:
    if not is_library_failure(error):
        raise
    CRYPTOGRAPHY_IMPORT_ERROR = error

_FORMAT = 1
_BLOCK = 16
"""How many bytes AES encrypts at a time: the content is padded to a multiple of it."""


class Encryption:
    """Encrypts with the first of its keys, and decrypts with all of them."""

    def __init__(self, keys: t.Sequence[str], *, accepts_unencrypted: bool = False) -> None:
        """Take Fernet keys: 32 bytes each, in URL-safe base64. Raises :class:`OptionError` or :class:`StoreError`.

        With ``accepts_unencrypted``, the store also reads records that are not encrypted.
        """
        self.accepts_unencrypted = accepts_unencrypted
        if CRYPTOGRAPHY_IMPORT_ERROR is not None:
            raise explain_import(CRYPTOGRAPHY_IMPORT_ERROR, "cryptography", StoreError)
        try:
            self._keys = {_key_name(key): Fernet(key) for key in keys}
        except ValueError:
            raise OptionError(
                "store_key must consist of keys of 32 bytes in URL-safe base64. To create one, run "
                "python3 -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
            ) from None
        self._first = next(iter(self._keys))
        self._header = {"envelope": _FORMAT, "key": self._first}
        self._start = dump_line(self._header)[:-2]

    def encrypt(self, data: bytes) -> bytes:
        """Encrypt data with the first key."""
        payload = self._keys[self._first].encrypt(data).decode("ascii")
        return dump_line({**self._header, "payload": payload})

    def encrypted_size(self, length: int) -> int:
        """Return by how many bytes an envelope grows at most if its content grows by ``length`` bytes."""
        return 4 * (length + _BLOCK) // 3 + _BLOCK

    def decrypt(self, data: bytes) -> bytes:
        """Decrypt data with the key that the envelope names.

        Raises :class:`StoreError` if there is no such key or a newer version of the collection wrote the envelope, and
        :class:`DamagedRecord` if the data were modified.
        """
        envelope = load_object(data)
        version, key, payload = (envelope.get(field) for field in ("envelope", "key", "payload"))
        if isinstance(version, int) and version > _FORMAT:
            raise StoreError(
                "A newer version of wuying.workspace wrote this record. Update wuying.workspace on this host.",
                code="NewerFormat",
            )
        if version != _FORMAT or not (isinstance(key, str) and isinstance(payload, str)):
            raise DamagedRecord("its encryption envelope is malformed")
        if key not in self._keys:
            raise StoreError(
                "The record of this session is encrypted with a key that is not in store_key. "
                "Add the key that it was encrypted with.",
                code="WrongStoreKey",
            )
        try:
            return self._keys[key].decrypt(payload.encode("utf-8", "surrogatepass"))
        except InvalidToken:
            raise DamagedRecord("its encrypted data were modified") from None

    def uses_first_key(self, data: bytes) -> bool:
        """Return True if the first key encrypted the data. This does not decrypt them, because every reader calls it."""
        return data.startswith(self._start)


def _key_name(key: str) -> str:
    """Return a fingerprint that identifies a key without revealing it, ignoring white space around the key."""
    secret = base64.urlsafe_b64decode(key)
    return hashlib.sha256(b"wuying.workspace store key " + secret).hexdigest()[:16]
