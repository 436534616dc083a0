# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Create users who can log in. Their passwords look like templates, and contain characters that encodings change."""

from __future__ import annotations

import base64
import itertools
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

CODE = "860317"
"""A one-time code, which is not right."""


def new_password() -> str:
    """Return a password whose beginning and end are random."""
    return f"ü+/&<=%{{{{{secrets.token_hex(8)} }}}}\\\"'😀%s"


def new_totp_secret() -> str:
    """Return a TOTP secret, which is base32."""
    return base64.b32encode(os.urandom(20)).decode()


def sessions(name: str, count: int, *, totp: bool = False) -> list[dict[str, str]]:
    """Return sessions of users, each with a password and if needed a TOTP secret."""
    return [
        {
            "end_user_id": f"{name}-{number}",
            "password": new_password(),
            **({"totp_secret": new_totp_secret()} if totp else {}),
        }
        for number in range(count)
    ]


def main() -> None:
    """Write the users for the emulator and the logins of the runs to files in a folder, and their secrets to another file."""
    folder, faults = Path(sys.argv[1]), int(sys.argv[2])
    password, totp_secret = new_password(), new_totp_secret()
    lists = {
        "many": sessions("many", 10),
        "faults": sessions("fault", faults),
        "code_faults": sessions("code", faults, totp=True),
        "keep_alive_faults": sessions("keep", faults),
    }
    own_fields: dict[str, dict[str, Any]] = {
        "grace": {},
        "heidi": {"totp_secret": totp_secret},
        "judy": {},
        "totp": {"totp_secret": totp_secret},
        "bind": {"mfa_bind": True},
        "risk": {"risk": True},
        "change": {"change_password": True},
    }
    users = {name: {"password": password, **fields} for name, fields in own_fields.items()}
    created = [password, totp_secret]
    for session in itertools.chain.from_iterable(lists.values()):
        fields = dict(session)
        users[fields.pop("end_user_id")] = fields
        created += fields.values()
    logins = {"password": password, "totp_secret": totp_secret, "code": CODE, **lists}
    for name, content in (("users", users), ("logins", logins)):
        with open(os.open(folder / f"{name}.json", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(content, file)
    with open(folder / "secrets", "a") as file:
        file.writelines(f"{json.dumps(secret)}\n" for secret in created)


if __name__ == "__main__":
    main()
