# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the code blocks of a page as a reader would, against the emulator.

A block of YAML that the text before it names becomes a file of that name. Other plays and tasks run at once, with what a
reader's own ansible.cfg, inventory and module_defaults would say. Then the commands of the page run, in one shell.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import yaml

BLOCK = re.compile(
    r"^\.\. code-block:: (\S+)\n((?:\n|[ ]+[^\n]*\n)+)|^```(yaml)\n(.*?)^```$", re.M | re.S
)
NAME = re.compile(r"``([\w/-]+\.yml)``[^`]*\Z")
ALICE = {
    "region_id": "cn-hangzhou",
    "office_site_id": "cn-hangzhou+dir-2381912345",
    "client_id": "f4a0dc8e-1702-4728-9a60-95b27a350000",
    "end_user_id": "alice",
}
ALICE_IN_REDIS = {
    **ALICE,
    "office_site_id": "cn-hangzhou+dir-2381910001",
    "client_id": "f4a0dc8e-1702-4728-9a60-95b27a35c0de",
}
# What needs an account, an image registry or a package index, or is tested by its own.
NOT_HERE = re.compile(r"pip install|git clone|read -rs|ansible-builder|^make ", re.M)
PREAMBLE = """
set -euxo pipefail
trap 'kill $(jobs -p) 2>/dev/null || :' EXIT
molecule() {
    export MOLECULE_EPHEMERAL_DIRECTORY=$PWD/ephemeral
    mkdir "$MOLECULE_EPHEMERAL_DIRECTORY"
    for step in prepare converge idempotence verify cleanup; do
        ansible-playbook "molecule/default/${step/idempotence/converge}.yml" | tee "$step.out"
    done
    grep -q 'changed=0 ' idempotence.out
}
"""


class Reader(NamedTuple):
    """Where a reader sits."""

    collection: Path
    folder: Path
    emulator: str

    def log_in(self, **identity: str) -> str:
        """Give the first token of a session."""
        request = urllib.request.Request(
            self.emulator + "/_emulator/tokens", json.dumps({**ALICE, **identity}).encode()
        )
        with urllib.request.urlopen(request) as answer:
            token: str = json.load(answer)["login_token"]
        return token

    def adapt(self, text: str) -> str:
        """Put what is at hand in the place of what a page takes for granted."""
        for old, new in {
            "~/.ansible/collections/ansible_collections/wuying/workspace": self.collection,
            "/etc/thin-client/login-token": self.folder / "login-token",
            "/opt/release/install": "sleep 1",
            "delay: 60": "delay: 1",
            "rediss://redis.example.com": self.folder / "store",
            "--port 8700": "--port " + os.environ["FREE_PORT"],
            "127.0.0.1:8700": "127.0.0.1:" + os.environ["FREE_PORT"],
            "python3 ": sys.executable + " ",
        }.items():
            text = text.replace(old, str(new))
        return text


def read_blocks(text: str) -> list[tuple[str, str, str]]:
    """Give language, name and code of each block."""
    blocks = []
    for found in BLOCK.finditer(text):
        language, code = (found[1], found[2]) if found[1] else (found[3], found[4])
        name = NAME.search(text[: found.start()].rstrip().rpartition("\n\n")[2])
        blocks.append((language, name[1] if name else "", textwrap.dedent(code).strip() + "\n"))
    return blocks


def to_plays(content: list[dict[str, Any]], defaults: dict[str, str]) -> list[dict[str, Any]]:
    """Make plays of tasks, and add the reader's own defaults to plays."""
    if not any("hosts" in item or "import_playbook" in item for item in content):
        identity = {name: ALICE[name] for name in ("region_id", "office_site_id", "client_id")}
        content = [{"hosts": "alice", "gather_facts": False, "tasks": content}]
        defaults = {**identity, **defaults}
    for play in content:
        if "hosts" in play:
            group = play.setdefault("module_defaults", {}).setdefault(
                "group/wuying.workspace.wuying", {}
            )
            group.update(defaults)
    return content


def run_page(reader: Reader, page: Path) -> int:
    """Run the blocks of a page; give how many ran. Raises :class:`subprocess.CalledProcessError`."""
    identity = ALICE_IN_REDIS if page.stem == "guide_redis" else ALICE
    defaults = {
        "endpoint": reader.emulator,
        "store": str(reader.folder / "store"),
        "auth_method": "anonymous",
    }
    variables: dict[str, Any] = {f"wuying_{name}": value for name, value in defaults.items()}
    for name in ("region_id", "office_site_id", "client_id"):
        variables["wuying_" + name] = identity[name]
    variables["emulator_url"] = reader.emulator
    # A HOME of the tests' own is not what Ansible takes ~ for.
    variables["ansible_async_dir"] = str(reader.folder / "async")
    variables["redis_password"] = "unused"
    variables["logins"] = [
        {
            "end_user_id": user,
            "client_id": user,
            "login_token": reader.log_in(end_user_id=user, client_id=user),
        }
        for user in ("bob", "carol")
    ]
    survey = {"client_id": "dave", "end_user_id": "dave"}
    variables.update({"survey_" + name: value for name, value in survey.items()})
    variables["survey_login_token"] = reader.log_in(**survey)
    (reader.folder / "inventory/group_vars").mkdir(parents=True)
    (reader.folder / "inventory/group_vars/all.json").write_text(json.dumps(variables))
    python = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
    (reader.folder / "inventory/hosts").write_text(
        f"[desktops]\nalice {python}\n[thin_clients]\nalice user_of_this_host=alice\n"
    )
    environment = {
        **os.environ,
        "ANSIBLE_INVENTORY": str(reader.folder / "inventory/hosts"),
        "ANSIBLE_NOCOLOR": "1",
        "WUYING_LOGIN_TOKEN": reader.log_in(**identity),
    }

    def play(content: list[dict[str, Any]]) -> None:
        (reader.folder / "block.yml").write_text(json.dumps(to_plays(content, defaults)))
        subprocess.run(
            ("ansible-playbook", "block.yml"),
            check=True,
            cwd=reader.folder,
            env=environment,
            timeout=120,
        )

    alice = {"wuying.workspace.wuying_login_token": {**identity, "return_token": False}}
    play([{"name": "Start the session that pages take for granted", **alice}])
    commands, ran = PREAMBLE, 0
    for language, name, code in read_blocks(page.read_text(encoding="utf-8")):
        code = reader.adapt(code)
        if language == "bash" and not NOT_HERE.search(code):
            commands += code
            ran += 1
        if not language.startswith("yaml"):
            continue
        content = yaml.safe_load(code)
        if name:
            (reader.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (reader.folder / name).write_text(code)
        elif isinstance(content, list):
            print(f"===== {page.name} =====\n{code}", flush=True)
            play(content)
            ran += 1
    del environment["WUYING_LOGIN_TOKEN"], environment["ANSIBLE_INVENTORY"]
    print(f"===== {page.name} =====\n{commands}", flush=True)
    subprocess.run(
        ("bash", "-c", commands), check=True, cwd=reader.folder, env=environment, timeout=300
    )
    return ran


if __name__ == "__main__":
    asked = Path(sys.argv[1])
    print(run_page(Reader(Path(sys.argv[2]), Path.cwd(), sys.argv[3]), asked), "blocks ran")
