# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write a play that gives each option of each plugin an empty value or another type of text, run it, and check what it sends.

The options are those that ansible-doc lists, so a new option is covered, or fails the test because it has no value here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Iterator

import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from recorder import Recorder

NAME = "wuying.workspace.wuying_login_token"
ONE, MANY, INFO = NAME, f"{NAME}s", f"{NAME}_info"
PASSWORD = "a vault password"
VAULT = VaultLib([("default", VaultSecret(PASSWORD.encode()))])
IDENTITY = {"region_id": "cn-hangzhou", "client_id": "1001", "office_site_id": "1002"}
EXTRA = {"directory_id": "1003"}
KEYS = {"access_key_id": "1005", "access_key_secret": "1006", "security_token": "1007"}
TOKEN = "1008"
WITH_TOKEN = {"login_token": TOKEN, "session_id": "1004"}
SECRETS = {"password": "1010", "authentication_code": "101100", "totp_secret": "JBSWY3DPEHPK3PXP"}
LOGIN = {**SECRETS, "stay_logged_in": "true", "uuid": "1009"}
"""The options of a login with a password."""
FULL = {"DirectoryId": "1003", "SessionId": "1004", "x-acs-security-token": "1007"}
"""What a request has in addition if all options are given."""
LOGGED_IN = {"CurrentStage": "ADPassword", "Password": "1010", "KeepAlive": "true", "Uuid": "1009"}
"""What a login has in addition."""


class Tagged(str):
    """A value with a tag of YAML: encrypted, or unsafe."""

    tag = ""


class Vault(Tagged):
    """An encrypted value."""

    tag = "!vault"


class Unsafe(Tagged):
    """A value that is never a template."""

    tag = "!unsafe"


def represent(dumper: yaml.SafeDumper, value: Tagged) -> yaml.ScalarNode:
    """Return a value with its tag."""
    text = VAULT.encrypt(str(value)).decode() if isinstance(value, Vault) else str(value)
    return dumper.represent_scalar(value.tag, text)


for each in (Vault, Unsafe):
    yaml.SafeDumper.add_representer(each, represent)

EMPTY: dict[str, tuple[Any, str]] = {
    "null": (None, "none"),
    "empty": ("", "''"),
    "encrypted": (Vault(""), "empty_vault"),
    "template": ("{{ none }}", "dummy | default(none)"),
    "omitted": ("{{ dummy | default(omit) }}", "dummy | default(omit)"),
}
"""Values that do not count as given, in YAML and as an expression."""
TYPES: dict[str, Any] = {
    "encrypted": Vault,
    "unsafe": Unsafe,
    "template": lambda text: f"{{{{ '{text}' }}}}",
    "number": lambda text: int(text) if text.isdigit() else text,
}
"""Types in which text can be given."""


class Play:
    """The tasks of a play, and the parameters that each of their requests must have, by user."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.endpoint, self.folder = endpoint, folder
        self.tasks: list[dict[str, Any]] = []
        self.expected: dict[str, dict[str, str]] = {}

    def user(self, **more: str) -> str:
        """Return a new user, whose request has the usual parameters and ``more``."""
        name = str(9000 + len(self.expected))
        self.expected[name] = more
        return name

    def add(self, title: str, **task: Any) -> None:
        """Add a task."""
        self.tasks.append({"name": title, **task})

    def check(self, title: str, *that: str, **task: Any) -> None:
        """Add a task that checks expressions."""
        self.add(title, **{"ansible.builtin.assert": {"that": list(that), "quiet": True}}, **task)

    def look_up(self, title: str, *calls: str, **task: Any) -> None:
        """Add a task that looks up tokens."""
        self.check(f"lookup: {title}", *(f"{call} is match('v1recorded')" for call in calls), **task)

    def refuse(self, title: str, says: str, call: str, **task: Any) -> None:
        """Add a task whose lookup must fail with a message."""
        self.fail(f"lookup: {title}", says, **{"ansible.builtin.debug": {"msg": f"{{{{ {call} }}}}"}}, **task)

    def fail(self, title: str, says: str, **task: Any) -> None:
        """Add a task that must fail with a message."""
        self.add(title, register="failed", ignore_errors=True, **task)
        self.check(f"{title}, which failed", "failed is failed", f"{says!r} in failed.msg")


def read_options() -> dict[str, set[str]]:
    """Return the options of each plugin."""
    found = {}
    for kind, names in (("module", (ONE, MANY, INFO)), ("lookup", (NAME,))):
        output = subprocess.run(
            ["ansible-doc", "--json", "--type", kind, *names], stdout=subprocess.PIPE, check=True
        ).stdout.decode()
        for name, plugin in json.loads(output[output.index("{") :]).items():
            found["lookup" if kind == "lookup" else name] = set(plugin["doc"]["options"]) - {"_terms"}
    return found


def values_of(names: set[str], play: Play) -> dict[str, str]:
    """Return a value of each option as text."""
    values = {
        **IDENTITY,
        **EXTRA,
        **KEYS,
        **WITH_TOKEN,
        **LOGIN,
        "endpoint": play.endpoint,
        "validity": "900",
        "refresh_before": "300",
        "store": str(play.folder / "store"),
        "store_username": "a-user",
        "store_password": "a-password",
        "store_ca_path": str(play.folder),
        "auth_method": "access_key",
        "signature_version": "v3",
        "timeout": "10",
        "retries": "0",
        "deadline": "60",
        "validate_certs": "true",
        "ca_path": str(play.folder),
        "proxy": "http://127.0.0.1:1",
        "state": "present",
        "force": "true",
        "return_token": "true",
        "max_parallel": "1",
        "max_qps": "100",
        "results": "all",
        "fail_on": "any",
        "rekey": "false",
    }
    names = names - {"end_user_id", "store_key", "sessions", "filters", "copy_from"}
    if names - set(values):
        sys.exit(f"Add values of {', '.join(sorted(names - set(values)))} to this test.")
    return {name: values[name] for name in names}


def add_empty_module_options(play: Play, options: dict[str, set[str]]) -> None:
    """Add tasks that give empty values to the modules."""
    required = {**IDENTITY, "endpoint": play.endpoint}
    kept = {*required, "end_user_id", "login_token", "store_key", "sessions", "filters"}
    for kind, (value, _expression) in EMPTY.items():
        empty = {name: dict.fromkeys(names - kept, value) for name, names in options.items()}
        identity = dict.fromkeys([*IDENTITY, *EXTRA, "endpoint"], value)
        user, other = play.user(), play.user()

        task = {**empty[ONE], **required, "end_user_id": play.user(), "login_token": TOKEN, "force": True}
        play.add(f"one: {kind}", **{ONE: task})

        sessions = [
            {**identity, **dict.fromkeys(["session_id", *LOGIN], value), "end_user_id": user, "login_token": TOKEN},
            {"end_user_id": other, "login_token": TOKEN},
        ]
        task = {**empty[MANY], **required, "sessions": sessions, "filters": value, "end_user_id": value}
        play.add(f"many: {kind}", **{MANY: task}, register="many")
        play.check(f"many: {kind}, which refreshed", "many.counts.refreshed == 2")

        source = dict.fromkeys(["store_username", "store_password", "store_ca_path"], value)
        source["store"] = f"{play.folder}/wuying.workspace/login_tokens"
        play.add(
            f"many: {kind} source", **{MANY: {"store": f"{play.folder}/{kind}", "copy_from": source}}, register="many"
        )
        play.check(f"many: {kind} source, which was copied", "many.counts.copied > 1")

        task = {**empty[INFO], "filters": {**identity, "end_user_id": [user, value]}}
        play.add(f"info: {kind}", **{INFO: task}, register="info")
        play.check(f"info: {kind}, which listed", "info.sessions | length == 1")

        task = {**dict.fromkeys([*IDENTITY, "end_user_id"], value), "endpoint": play.endpoint}
        missing = "missing required arguments: client_id, end_user_id, office_site_id, region_id"
        play.fail(f"one: {kind} identity", missing, **{ONE: task})
        task = {**IDENTITY, "end_user_id": "nobody", "endpoint": value}
        play.fail(f"one: {kind} endpoint", "https://ecd.cn-hangzhou.aliyuncs.com", **{ONE: task})
    keys: tuple[Any, ...] = ("", [], [""], ["", "x"], "{{ ['', ''] | select | list }}", Vault(""))
    for module, key in [*((ONE, key) for key in keys), (MANY, []), (INFO, [])]:
        task = {**required, "end_user_id": "nobody", "store_key": key}
        play.fail(f"store_key {key!r}", "store_key is empty", **{module: task})


def add_typed_module_options(play: Play, options: dict[str, set[str]]) -> None:
    """Add tasks that give text of other types to the modules."""
    for kind, typed in TYPES.items():
        typed_of = {name: typed(text) for name, text in values_of(options[ONE] | options[MANY], play).items()}
        identity = {name: typed_of[name] for name in [*IDENTITY, *EXTRA]}
        user, other = play.user(**FULL), play.user(**FULL)

        alone = play.user(**FULL)
        task = {name: typed_of[name] for name in options[ONE] & set(typed_of) - set(SECRETS)}
        play.add(f"one: {kind} text", **{ONE: {**task, "end_user_id": typed(alone)}}, register="one")
        play.check(f"one: {kind} text, which refreshed", f"one.session.end_user_id == {alone!r}")

        task = {name: typed_of[name] for name in options[MANY] & set(typed_of) - set(identity)}
        session = {**identity, **{name: typed_of[name] for name in WITH_TOKEN}}
        sessions = [{**session, "end_user_id": typed(user)}, {**session, "end_user_id": typed(other)}]
        play.add(f"many: {kind} text", **{MANY: {**task, "sessions": sessions}}, register="many")
        play.check(f"many: {kind} text, which refreshed", "many.counts.refreshed == 2")

        alone = play.user(**LOGGED_IN)
        task = {name: typed_of[name] for name in [*IDENTITY, *LOGIN, "endpoint", "store"]}
        play.add(f"one: {kind} login", **{ONE: {**task, "end_user_id": typed(alone)}}, register="one")
        play.check(f"one: {kind} login, which succeeded", "one.source == 'login'")

        task = {
            **identity,
            "endpoint": play.endpoint,
            "store": typed_of["store"],
            "sessions": [typed(user), typed(other)],
        }
        play.add(f"many: {kind} users", **{MANY: task}, register="many")
        play.check(f"many: {kind} users, which are unchanged", "many.counts.unchanged == 2")

        source = {name: typed_of[name] for name in ["store", "store_username", "store_password", "store_ca_path"]}
        task = {"store": typed(f"{play.folder}/typed-{kind}"), "copy_from": source}
        play.add(f"many: {kind} source", **{MANY: task}, register="many")
        play.check(f"many: {kind} source, which was copied", "many.counts.copied > 1")

        task = {"store": typed_of["store"], "filters": {**identity, "end_user_id": [typed(user), typed("nobody")]}}
        play.add(f"info: {kind} text", **{INFO: task}, register="info")
        play.check(f"info: {kind} text, which listed", "info.sessions | length == 1")


def call(term: str, keywords: dict[str, str]) -> str:
    """Return an expression that looks up a token."""
    arguments = "".join(f", {name}={expression}" for name, expression in keywords.items())
    return f"lookup({NAME!r}, {term}{arguments})"


def add_empty_lookup_options(play: Play, options: set[str]) -> None:
    """Add tasks that give empty values to the lookup."""
    required = {**IDENTITY, "endpoint": play.endpoint}
    in_variables = {f"wuying_{name}": value for name, value in required.items()}
    rest = sorted(options - {*required, "end_user_id", "login_token", "store_key"})
    token = {"login_token": repr(TOKEN)}
    for name in rest:  # one at a time, because all at once could hide an error
        calls = [call(repr(play.user()), {name: expression, **token}) for _value, expression in EMPTY.values()]
        play.look_up(f"empty {name}", *calls, vars=in_variables)
    for kind, (value, expression) in EMPTY.items():
        keywords = {**dict.fromkeys(required, expression), **token, "store_key": "none"}
        play.look_up(f"{kind} keywords", call(repr(play.user()), keywords), vars=in_variables)

        variables = {f"wuying_{name}": value for name in [*rest, "end_user_id", "login_token"]}
        play.look_up(f"{kind} variables", call(repr(play.user()), token), vars={**variables, **in_variables})

        own = "".join(f", {name!r}: {expression}" for name in [*IDENTITY, *EXTRA, "endpoint", "session_id"])
        term = f"{{'end_user_id': {play.user()!r}, 'login_token': {TOKEN!r}{own}}}"
        play.look_up(f"{kind} keys of a term", call(term, {}), vars=in_variables)

        for term in (expression, f"[{expression}]"):
            play.refuse(f"{kind} term", "A term must be", call(term, {"end_user_id": "'nobody'"}), vars=in_variables)
        missing = "missing: region_id, client_id, office_site_id"
        play.refuse(f"{kind} identity", missing, call("'nobody'", dict.fromkeys(IDENTITY, expression)))
        identity = {f"wuying_{name}": text for name, text in IDENTITY.items()}
        default = "https://ecd.cn-hangzhou.aliyuncs.com"
        play.refuse(f"{kind} endpoint", default, call("'nobody'", {"endpoint": expression}), vars=identity)
    for key in ("''", "[]", "['']", "['x', none]", "['', ''] | select | list"):
        empty = "store_key is empty"
        play.refuse(f"store_key {key}", empty, call("'nobody'", {"store_key": key}), vars=in_variables)
        variables = {**in_variables, "wuying_store_key": f"{{{{ {key} }}}}"}
        play.refuse(f"wuying_store_key {key}", empty, call("'nobody'", {}), vars=variables)


def add_typed_lookup_options(play: Play, options: set[str]) -> None:
    """Add tasks that give text of other types to the lookup."""
    for kind, typed in TYPES.items():
        values = {name: typed(text) for name, text in values_of(options, play).items()}
        variables = {f"typed_{name}": value for name, value in values.items()}
        first, second, third = (play.user(**FULL) for _number in range(3))

        keywords = {name: f"typed_{name}" for name in values}
        play.look_up(f"{kind} keywords", call("user", keywords), vars={**variables, "user": typed(first)})

        as_options = {f"wuying_{name}": value for name, value in values.items()}
        play.look_up(f"{kind} variables", call("[user]", {}), vars={**as_options, "user": typed(second)})

        own = ", ".join(f"{name!r}: typed_{name}" for name in [*IDENTITY, *EXTRA, "endpoint", *WITH_TOKEN])
        term = f"{{'end_user_id': user, {own}}}"
        keywords = {name: f"typed_{name}" for name in [*KEYS, "store"]}
        play.look_up(f"{kind} keys of a term", call(term, keywords), vars={**variables, "user": typed(third)})

        own_values = {name: values[name] for name in [*IDENTITY, *EXTRA, "endpoint"]}
        variables["term"] = {"end_user_id": typed(third), **own_values}
        play.look_up(f"{kind} term", call("term", {"store": "typed_store"}), vars=variables)


def differences(play: Play, recorder: Recorder) -> Iterator[str]:
    """Yield where the requests differ from those that were expected."""
    usual = {"RegionId": "cn-hangzhou", "ClientId": "1001", "OfficeSiteId": "1002"}
    requests = {request.get("EndUserId", ""): request for request in recorder.requests()}
    if len(requests) != len(recorder.connections):
        yield f"There are {len(recorder.connections)} requests for {len(requests)} users."
    for user in sorted({*requests, *play.expected}):
        sent = {name: text for name, text in requests.get(user, {}).items() if name[:1].isupper() or "token" in name}
        more = play.expected.get(user, {})
        is_login = "CurrentStage" in more
        if sent != {**usual, **({} if is_login else {"LoginToken": TOKEN}), "EndUserId": user, **more}:
            yield f"The request for {user} is {sent}."
        authorization = requests.get(user, {}).get("authorization", "")
        if bool(authorization) if is_login else "Credential=1005," not in authorization:
            yield f"The request for {user} is {'signed' if is_login else 'not signed with the access key'}."


def main() -> None:
    """Run the play, and check what was sent."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        play, options = Play(f"http://{recorder.address}", Path(folder)), read_options()
        in_lookup = options.pop("lookup")
        add_empty_module_options(play, options)
        add_typed_module_options(play, options)
        add_empty_lookup_options(play, in_lookup)
        add_typed_lookup_options(play, in_lookup)
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "empty_vault": Vault(""),
        }
        tasks = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": play.tasks}
        files = {"play.yml": yaml.safe_dump([tasks], width=1000, sort_keys=False), "password": PASSWORD}
        for name, text in files.items():
            Path(folder, name).write_text(text)
        environment = {
            **os.environ,
            **{f"ALIBABA_CLOUD_{name.upper()}": text for name, text in KEYS.items() if name != "security_token"},
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_PIPELINING": "1",
            "XDG_STATE_HOME": folder,
        }
        command = ["ansible-playbook", f"--vault-password-file={folder}/password", f"{folder}/play.yml"]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        print(done.stdout.decode())
        found = list(differences(play, recorder))
    if done.returncode or found:
        sys.exit("\n".join(["A task failed." if done.returncode else "", *found]))


if __name__ == "__main__":
    main()
