# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compute time-based one-time codes, see RFC 6238: SHA-1, 6 digits, steps of 30 seconds."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
import urllib.parse

from .exceptions import OptionError

STEP = 30
"""How many seconds a code is for."""
_DEFAULTS = {"algorithm": "SHA1", "digits": "6", "period": str(STEP)}
_INVALID = (
    "totp_secret must be a secret in base32, or a URI that begins with otpauth://totp/ and has a secret. "
    "Copy it from where the device was set up."
)


def read_secret(text: str) -> bytes:
    """Return the key in a base32 secret or an ``otpauth://totp`` URI. Raises :class:`OptionError`."""
    if text.lower().startswith("otpauth:"):
        text = _secret_in_uri(text)
    text = "".join(text.split()).replace("-", "").rstrip("=").upper()
    try:
        key = base64.b32decode(text + "=" * (-len(text) % 8))
    except ValueError:
        raise OptionError(_INVALID) from None
    if not key:
        raise OptionError(_INVALID)
    return key


def compute_code(key: bytes, step: int) -> str:
    """Return the code of a time step, the number of whole 30 seconds since 1970."""
    digest = hmac.new(key, struct.pack(">Q", step), hashlib.sha1).digest()
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 10**6:06d}"


def _secret_in_uri(uri: str) -> str:
    try:
        parts = urllib.parse.urlsplit(uri)
        query = {name.lower(): values[-1] for name, values in urllib.parse.parse_qs(parts.query).items()}
    except ValueError:
        raise OptionError(_INVALID) from None
    if parts.netloc.lower() != "totp" or "secret" not in query:
        raise OptionError(_INVALID)
    for name, default in _DEFAULTS.items():
        if query.get(name, default).upper().replace("-", "") != default:
            raise OptionError(
                f"The URI in totp_secret has another {name} than {default}. Only codes with SHA-1, 6 digits and a period of 30 seconds are supported."
            )
    return query["secret"]
