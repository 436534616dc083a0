# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make records in a directory older: of the users that are named, or of all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

folder, seconds, users = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
for file in folder.glob("*.json"):
    record = json.loads(file.read_text())
    if not users or record["session"]["end_user_id"] in users:
        record["obtained_at"] -= seconds
        record["expires_at"] -= seconds
        file.write_text(json.dumps(record))
