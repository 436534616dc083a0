# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the code blocks of a page as a reader would, against the emulator.

A block of YAML that the text before it names becomes a file of that name. Other plays and tasks run at once, with what a
reader's own ansible.cfg, inventory and module_defaults would say. Then the commands of the page run, in one shell. A block
that is none of these must be among those that are left out.
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
    r"^ *\.\. code(?:-block)?:: (\S+)\n((?:\n|[ ]+[^\n]*\n)+)|^( *)```(\S*)\n(.*?)^\3```$",
    re.M | re.S,
)
CRONTAB = re.compile(r"^(?:\S+ ){5}(?:/\S+/)?(?=ansible)", re.M)
NAME = re.compile(r"``?([\w/-]+\.yml)``?[^`]*\Z")
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
# What is left out, and who reads or tests it instead.
LEFT_OUT = re.compile(
    r"""
    ^(\$\ )?make\ (?!demo$)         # the suite itself, which runs this test too
    |^ansible-builder\ |^images:$   # make execution-environment: what it builds needs a registry of images
    |^(fields|env|file):$           # AWX
    |^minor_changes:$               # antsibull-changelog
    |^user\ ansible\                 # test_redis_store.py
    |community\.hashi_vault         # a collection that is not here
    """,
    re.M | re.X,
)
# What is to be installed must be here already; an environment of the reader's own borrows it.
PREAMBLE = """
set -euxo pipefail
trap 'kill $(jobs -p) 2>/dev/null || :' EXIT
cp -R ~/.ansible/collections/ansible_collections/wuying/workspace checkout
rm -rf checkout/.git
git init --quiet checkout
git -C checkout checkout --quiet -b main
git -C checkout add --all
git -C checkout -c user.name=reader -c user.email=reader@example.com commit --quiet --message checkout
pip() {
    test "$1" = install
    python3 -c 'if True:
        import glob, importlib.metadata, sys, sysconfig
        for requirement in sys.argv[2:]:
            print(requirement, importlib.metadata.version(requirement.partition(">")[0]))
        for folder in glob.glob("~/wuying/lib/python3*/site-packages"):
            with open(folder + "/borrowed.pth", "w") as path:
                path.write(sysconfig.get_path("purelib"))' "$@"
}
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
            "~/wuying": self.folder / "venv",
            "/etc/thin-client/login-token": self.folder / "login-token",
            "/opt/release/install": "sleep 1",
            "delay: 60": "delay: 1",
            "https://github.com/wuying-workspace/wuying.workspace.git": f"file://{self.folder}/checkout",
            "rediss://redis.example.com": self.folder / "store",
            "--port 8700": "--port " + os.environ["FREE_PORT"],
            "127.0.0.1:8700": "127.0.0.1:" + os.environ["FREE_PORT"],
            "python3 ": sys.executable + " ",
            # The inventory has the endpoint of who has an account; who has none uses the demo's own.
            "make demo": "ansible-playbook wuying.workspace.demo --inventory inventory/hosts",
            '-a "region_id=': f'-a "endpoint={self.emulator} region_id=',
            "collection build": "collection build checkout",
            # From here on there is no collection but the one that was installed.
            "ansible-galaxy collection install": "export ANSIBLE_COLLECTIONS_PATH=$PWD/installed\n"
            "ansible-galaxy collection install",
        }.items():
            text = text.replace(old, str(new))
        text = re.sub(r"(\w+)=(?:…|\.{3})", r'\1="$OWN_\1"', text)
        return re.sub(r"read -rs (\w+)", r'\g<0> <<<"$OWN_\1"', text)


def read_blocks(text: str) -> list[tuple[str, str, str]]:
    """Give language, name and code of each block that is not left out."""
    blocks = []
    for found in BLOCK.finditer(text):
        language, code = found[1] or found[4] or "", found[2] or found[5]
        name = NAME.search(text[: found.start()].rstrip().rpartition("\n\n")[2])
        if not LEFT_OUT.search(textwrap.dedent(code)):
            blocks.append((language, name[1] if name else "", textwrap.dedent(code).strip() + "\n"))
    return blocks


def to_commands(language: str, code: str) -> str:
    """Make commands of a shell of a block; give none for what is no such block."""
    if language == "console":
        code = "".join(re.findall(r"^\$ ((?:.*\\\n)*.*\n)", code, re.M))
    elif CRONTAB.search(code):
        return f"(set -o allexport\n{CRONTAB.sub('', code)})\n"
    elif language != "bash":
        return ""
    # Who has an account is another reader than who has none.
    return f"(\n{code})\n" if "read -rs" in code else code


def to_plays(content: list[dict[str, Any]], defaults: dict[str, str]) -> list[dict[str, Any]]:
    """Make plays of tasks, and add the reader's own defaults to plays."""
    if not any("hosts" in item or "import_playbook" in item for item in content):
        identity = {name: ALICE[name] for name in ("region_id", "office_site_id", "client_id")}
        content = [{"hosts": "alice", "gather_facts": False, "tasks": content}]
        defaults = {**identity, **defaults}
    for play in content:
        if "hosts" in play:
            group = play.setdefault("module_defaults", {}).setdefault("group/wuying.workspace.wuying", {})
            group.update(defaults)
    return content


def run_page(reader: Reader, page: Path) -> int:
    """Run the blocks of a page; give how many ran. Raises :class:`subprocess.CalledProcessError`."""
    blocks = read_blocks(page.read_text(encoding="utf-8"))
    if not blocks:
        return 0
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
    in_shell = {
        **os.environ,
        "ANSIBLE_NOCOLOR": "1",
        "OWN_WUYING_CLIENT_ID": identity["client_id"],
        "OWN_WUYING_LOGIN_TOKEN": reader.log_in(**identity),
        "OWN_WUYING_OFFICE_SITE_ID": identity["office_site_id"],
        "XDG_STATE_HOME": str(reader.folder / "state"),
    }
    in_play = {
        **in_shell,
        "ANSIBLE_INVENTORY": str(reader.folder / "inventory/hosts"),
        "WUYING_LOGIN_TOKEN": reader.log_in(**identity),
    }

    def run(environment: dict[str, str], *command: str) -> None:
        subprocess.run(command, check=True, cwd=reader.folder, env=environment, timeout=300)

    def play(content: list[dict[str, Any]]) -> None:
        (reader.folder / "block.yml").write_text(json.dumps(to_plays(content, defaults)))
        run(in_play, "ansible-playbook", "block.yml")

    alice = {"wuying.workspace.wuying_login_token": {**identity, "return_token": False}}
    play([{"name": "Start the session that pages take for granted", **alice}])
    script = PREAMBLE
    for language, name, code in blocks:
        print(f"===== {page.name}: {language} {name} =====\n{code}", flush=True)
        if commands := to_commands(language, code):
            script += commands
        elif not language.startswith("yaml"):
            raise ValueError(f"Run this block, or say why it is left out: {language}\n{code}")
        elif name:
            (reader.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (reader.folder / name).write_text(reader.adapt(code))
        else:
            play(yaml.safe_load(reader.adapt(code)))
    run(in_shell, "bash", "-c", reader.adapt(script))
    return len(blocks)


if __name__ == "__main__":
    asked = Path(sys.argv[1])
    print(run_page(Reader(Path(sys.argv[2]), Path.cwd(), sys.argv[3]), asked), "blocks ran")
