# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make the records of the named users, or all records, in a directory store look older."""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path

PAGE = 65536

folder, seconds, users = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
for path in folder.glob("*.record"):
    with path.open("rb+") as file:
        pages = []
        for offset in (0, PAGE):
            file.seek(offset)
            checksum, length = file.readline().partition(b" ")[::2]
            data = file.read(int(length or 0))
            if checksum == b"%08x" % zlib.crc32(data):
                number, line, note, _end = data.split(b"\n")
                pages.append((int(number), offset, json.loads(line or b"{}"), note))
        count, place, record, note = max(pages)
        if "session" in record and (not users or record["session"]["end_user_id"] in users):
            record["obtained_at"] -= seconds
            record["expires_at"] -= seconds
            data = b"%d\n%s\n%s\n" % (count, json.dumps(record).encode(), note)
            file.seek(place)
            file.write(b"%08x %d\n%s" % (zlib.crc32(data), len(data), data))
