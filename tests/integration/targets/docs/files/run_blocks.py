# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the code blocks of a page as a reader would, against the emulator.

If the text before a YAML block names a file, the block is written to that file. Other plays and tasks run immediately, with
an inventory and module_defaults as a reader would have them. Then all commands of the page run in one shell. Any other
block must match LEFT_OUT.
"""

from __future__ import annotations

import base64
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
CRONTAB = re.compile(r"^(?:\S+ ){5}(?:chronic )?(?:/\S+/)?(?=ansible)", re.M)
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
# Blocks that do not run, and what tests them instead.
LEFT_OUT = re.compile(
    r"""
    ^(\$\ )?make\ (?!demo$)         # the test suite, which runs this test
    |^ansible-builder\ |^images:$   # make execution-environment. Building needs an image registry
    |^(fields|env|file):$           # AWX
    |^plugins/module_utils/$        # test_layout.py
    |^minor_changes:$               # antsibull-changelog
    |^\ +"Version":\ "1",$           # a policy for the service
    |^user\ (ansible|watcher)\       # the unit tests of the Redis store and of the event source
    |ansible-rulebook|^\ +sources:$  # needs Java; the target event_source_sessions runs the example, and its unit tests read the rulebooks
    |keep_alive_service_|^\[Unit\]$  # the target role_keep_alive
    |^(\$\ )?sudo\                 # needs an installed schedule
    |^/opt/wuying/bin/              # asks for passwords
    |^groups:$                      # test_schedule_page.py
    |^ok:\ \[localhost\]           # output
    |wuying\.workspace\.log_in     # needs a terminal; the target log_in runs it in one
    |community\.hashi_vault         # needs another collection
    """,
    re.M | re.X,
)
# Packages to install must already be installed here. A virtual environment of the page uses those.
PREAMBLE = """
set -euxo pipefail
trap 'kill $(jobs -p) 2>/dev/null || :' EXIT
mkdir checkout  # The path of the collection can be a link, and its repository must not be touched.
cp -R ~/.ansible/collections/ansible_collections/wuying/workspace/. checkout
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
    """The folder, the collection and the emulator that a reader uses."""

    collection: Path
    folder: Path
    emulator: str
    control_url: str

    def log_in(self, **identity: str) -> str:
        """Return the first token of a session."""
        request = urllib.request.Request(self.control_url + "/tokens", json.dumps({**ALICE, **identity}).encode())
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            token: str = json.load(answer)["login_token"]
        return token

    def adapt(self, text: str) -> str:
        """Replace paths, addresses and commands of a page by those that exist here."""
        for old, new in {
            "~/.ansible/collections/ansible_collections/wuying/workspace": self.collection,
            "~/wuying": self.folder / "venv",
            "/etc/thin-client/login-token": self.folder / "login-token",
            "/opt/release/install": "sleep 1",
            "delay: 60": "delay: 1",
            "https://github.com/wuying-workspace/wuying.workspace.git": f"file://{self.folder}/checkout",
            "rediss://new-redis.example.com": self.folder / "new-store",
            "rediss://redis.example.com": self.folder / "store",
            "/home/ops/backup": self.folder / "backup",
            "/home/ops/tokens": self.folder / "store",
            "/var/lib/wuying-report/": f"{self.folder}/",
            "/var/lib/node_exporter/": f"{self.folder}/",
            "--port 8700": "--port " + os.environ["FREE_PORT"],
            "127.0.0.1:8700": "127.0.0.1:" + os.environ["FREE_PORT"],
            "python3 ": sys.executable + " ",
            # For a reader with an account, the inventory sets the endpoint. Otherwise the demo starts its own emulator.
            "make demo": "ansible-playbook wuying.workspace.demo",
            "wuying.workspace.demo": "wuying.workspace.demo --inventory inventory/hosts",
            '-a "region_id=': f'-a "endpoint={self.emulator} region_id=',
            # After this command, only the installed collection is used.
            "ansible-galaxy collection install": "export ANSIBLE_COLLECTIONS_PATH=$PWD/installed\n"
            "ansible-galaxy collection install",
        }.items():
            text = text.replace(old, str(new))
        text = re.sub(r"(\w+)=(?:…|\.{3})", r'\1="$OWN_\1"', text)
        return re.sub(r"read -rs (\w+)", r'\g<0> <<<"$OWN_\1"', text)


def read_blocks(text: str) -> list[tuple[str, str, str]]:
    """Return the language, file name and code of each block that does not match LEFT_OUT."""
    blocks = []
    for found in BLOCK.finditer(text):
        language, code = found[1] or found[4] or "", found[2] or found[5]
        name = NAME.search(text[: found.start()].rstrip().rpartition("\n\n")[2])
        if not LEFT_OUT.search(textwrap.dedent(code)):
            blocks.append((language, name[1] if name else "", textwrap.dedent(code).strip() + "\n"))
    return blocks


def to_commands(language: str, code: str) -> str:
    """Return the shell commands of a block, or an empty string if it has none."""
    if language == "console":
        code = "".join(re.findall(r"^\$ ((?:.*\\\n)*.*\n)", code, re.M))
    elif CRONTAB.search(code):
        return f"(set -o allexport\n{CRONTAB.sub('', code)})\n"
    elif language != "bash":
        return ""
    # Readers with and without an account do not share variables.
    return f"(\n{code})\n" if "read -rs" in code else code


def to_plays(content: list[dict[str, Any]], defaults: dict[str, str]) -> list[dict[str, Any]]:
    """Turn tasks into a play, and add the reader's defaults to all plays."""
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
    """Run the blocks of a page and return their number. Raises :class:`subprocess.CalledProcessError`."""
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
    variables["emulator_control_url"] = reader.control_url
    # Ansible does not expand ~ to the HOME of this test.
    variables["ansible_async_dir"] = str(reader.folder / "async")
    variables["redis_password"] = "unused"
    variables["new_store_key"] = base64.urlsafe_b64encode(bytes(32)).decode()
    variables["logins"] = [
        {
            "end_user_id": user,
            "client_id": user,
            "login_token": reader.log_in(end_user_id=user, client_id=user),
        }
        for user in ("bob", "carol")
    ]
    variables["alice_password"] = "unused"
    variables["accounts"] = [{"end_user_id": "erin", "client_id": "erin", "password": "correct horse"}]
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
    play([{"name": "Start the session that the pages use", **alice}])
    script = PREAMBLE
    for language, name, code in blocks:
        print(f"===== {page.name}: {language} {name} =====\n{code}", flush=True)
        if commands := to_commands(language, code):
            script += commands
        elif not language.startswith("yaml"):
            raise ValueError(f"This block neither runs nor matches LEFT_OUT: {language}\n{code}")
        elif name:
            (reader.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (reader.folder / name).write_text(reader.adapt(code))
        else:
            play(yaml.safe_load(reader.adapt(code)))
    run(in_shell, "bash", "-c", reader.adapt(script))
    return len(blocks)


if __name__ == "__main__":
    asked = Path(sys.argv[1])
    print(run_page(Reader(Path(sys.argv[2]), Path.cwd(), *sys.argv[3:]), asked), "blocks ran")
