# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the emulator with the official SDKs for Node, which npm installs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent / "node"
ENVIRONMENT = dict(os.environ)
"""As it was before a fixture removed the home folder and the proxies, which npm may need."""
UNREACHABLE = re.compile(
    r"\b(EAI_AGAIN|ECONN\w+|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|ERR_SOCKET_TIMEOUT|ETIMEDOUT|E(403|407|5\d\d))\b"
)
INSTALL = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--no-update-notifier"]
# npm's own cache serves later runs.
INSTALL += ["--prefer-offline", "--fetch-retries=2", "--fetch-retry-maxtimeout=1000", "--fetch-retry-mintimeout=1000"]


@pytest.fixture(name="node_folder")
def fixture_node_folder(tmp_path: Path) -> Path:
    """Return a folder with the SDKs and the script that uses them."""
    if missing := [name for name in ("node", "npm") if not shutil.which(name)]:
        pytest.skip(f"the official Node SDKs are not tested, because {missing[0]} is not installed")
    folder = Path(shutil.copytree(FOLDER, tmp_path / "node"))
    done = subprocess.run(
        INSTALL, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode and (reason := UNREACHABLE.search(done.stderr)):
        pytest.skip(f"the official Node SDKs are not tested, because npm cannot reach its registry: {reason[0]}")
    assert done.returncode == 0, done.stderr
    return folder


def tokens_by_way(emulator: Any, folder: Path, action: str, parameters: dict[str, str]) -> dict[str, str]:
    """Get a login token in every way that the SDKs offer."""
    sts = emulator.facts["sts"]
    key = {"accessKeyId": emulator.keys["access_key_id"], "accessKeySecret": emulator.keys["access_key_secret"]}
    temporary = {"accessKeyId": sts["access_key_id"], "accessKeySecret": sts["access_key_secret"]}
    temporary["securityToken"] = sts["security_token"]
    keys = {"key": key, "sts": temporary, "anonymous": {}}
    request = json.dumps({"host": emulator.host, "keys": keys, "action": action, "parameters": parameters})
    command = ["node", "exchange.js", request]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    tokens: dict[str, str] = json.loads(done.stdout)
    return tokens


def test_the_node_sdks_exchange_tokens_and_log_in_in_every_way(emulator, node_folder):
    name = "alice ü+&=*~'()!/"
    emulator.set_users(**{name: name[::-1]})
    refresh = {**emulator.parameters(emulator.issue(end_user_id=name)), "EndUserId": name}
    del refresh["Action"], refresh["Version"]  # the SDKs add them
    login = {**refresh, "CurrentStage": "ADPassword", "Password": name[::-1], "KeepAlive": "true"}
    del login["LoginToken"]
    for action, parameters in (("RefreshLoginToken", refresh), ("GetLoginToken", login)):
        emulator.control("DELETE", "journal")
        tokens = tokens_by_way(emulator, node_folder, action, parameters)
        assert {way: token for way, token in tokens.items() if not re.fullmatch("v1[0-9a-f]{128}", token)} == {}
        entries = [(entry["operation"], entry["method"], entry["signature"]) for entry in emulator.journal()["entries"]]
        expected = []
        for way in tokens:
            _package, kind, method, _place, signature = way.split()
            expected.append((action, method, "anonymous" if kind == "anonymous" else signature))
        assert entries == expected and len(entries) == 40
        counts = (emulator.journal()["exchanges"], emulator.logins()["completed"])
        assert counts == ((40, 0) if action == "RefreshLoginToken" else (0, 40))
