# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that two directory stores contain the same records, notes and entries, and that a file contains none of their tokens."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import zlib
from pathlib import Path
from typing import Any, Iterator

SLOT = 65536


def read(path: Path) -> list[Any]:
    """Return the newest record and note of a file."""
    data, values = path.read_bytes(), []
    for slot in (data[:SLOT], data[SLOT:]):
        head, _newline, rest = slot.partition(b"\n")
        checksum, _space, length = head.partition(b" ")
        value = rest[: int(length or 0)]
        if value and checksum == b"%08x" % zlib.crc32(value):
            counter, record, note, _end = value.split(b"\n")
            values.append((int(counter), [json.loads(line or b"null") for line in (record, note)]))
    return max(values, key=lambda each: each[0])[1]


def is_empty(value: list[Any]) -> bool:
    """Return True for what is not copied: a note without a record, and an account whose last login was completed."""
    record = value[0]
    return not record or ("account_format" in record and not record["attempts"])


def fingerprint(secret: str) -> str:
    """Return a text that can be shown instead of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def secrets_in(record: dict[str, Any]) -> Iterator[str]:
    """Yield the login token and the keep-alive token of a record."""
    if "login_token" in record:
        yield record["login_token"]
        yield from (record["keep_alive"] or [])[:1]


stores = [{path.name: read(path) for path in Path(folder).glob("*.record")} for folder in sys.argv[1:3]]
one, other = ({name: value for name, value in store.items() if not is_empty(value)} for store in stores)
for name in sorted({*one, *other}):
    if one.get(name) != other.get(name):
        sys.exit(f"{name} differs: {[fingerprint(json.dumps(store.get(name))) for store in stores]}")
output = Path(sys.argv[3]).read_text()
tokens = set(re.findall(r"[0-9A-Za-z_-]{16,}", output))
for record, _note in one.values():
    for secret in secrets_in(record):
        if secret in tokens or (len(one) < 1000 and secret in output):
            sys.exit("The output contains a token.")
print(len(one), "records are equal")
