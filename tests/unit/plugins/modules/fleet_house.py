# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of the modules for many sessions share: a fleet, and a module to run on its store as Ansible runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils import basic

from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import Fleet


class House(Fleet):
    """An emulator, a store, and the module to run between them."""

    def __init__(
        self,
        module: types.ModuleType,
        emulator: t.Any,
        path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        super().__init__(DirectoryStore(str(path)), emulator)
        self.path, self.module = path, module
        self._monkeypatch, self._capfd = monkeypatch, capfd
        self.printed = ""
        self.identity = {name: value for name, value in self.session("").identity().items() if name != "end_user_id"}
        self.options: dict[str, t.Any] = {
            **self.identity,
            "store": str(path),
            "access_key_id": emulator.access_key_id,
            "access_key_secret": emulator.access_key_secret,
            "retries": 0,
        }

    def encryption(self, *keys: str) -> None:
        """Have this fleet keep its records under certain keys."""
        from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import (
            Encryption,
        )

        self.store = DirectoryStore(str(self.path), Encryption(keys))

    def arguments(self, check: bool, options: t.Mapping[str, t.Any]) -> bytes:
        """Return what Ansible would pass to the module; options that are None are left out."""
        given = {**self.options, **options, "_ansible_check_mode": check}
        if "inject_invocation" in basic.PASS_VARS:
            given["_ansible_inject_invocation"] = True
        present = {name: value for name, value in given.items() if value is not None}
        return json.dumps({"ANSIBLE_MODULE_ARGS": present}).encode()

    def run(self, *, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """Run the module in this process and return its result."""
        arguments = self.arguments(check, options)
        self._monkeypatch.setattr(basic, "_ANSIBLE_ARGS", arguments)
        self._monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        self._monkeypatch.setattr(basic, "_global_warnings", {}, raising=False)
        self._capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            self.module.main()
        output = self._capfd.readouterr()
        result: dict[str, t.Any] = json.loads(output.out)
        result.pop("_ansible_new_secrets", None)  # what core is to mask, for nobody else to see
        self.printed = json.dumps(result) + output.err
        assert bool(left.value.code) == bool(result.get("failed"))
        return result

    def start_process(self, *flags: str, **options: t.Any) -> subprocess.Popen[bytes]:
        """Start the module as a process; its result comes from its output."""
        root = str(Path(str(self.module.__file__)).parents[5])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])}
        process = subprocess.Popen(
            [sys.executable, *flags, str(self.module.__file__)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(self.arguments(False, options))
        process.stdin.close()
        process.stdin = None
        return process


def by_user(result: t.Mapping[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """Return the sessions of a result by their users, those without an identity by their keys."""
    return {each["session"]["end_user_id"] if "session" in each else each["key"]: each for each in result["sessions"]}


def warnings_of(result: t.Mapping[str, t.Any]) -> list[str]:
    """Return the texts of the warnings of a result, whatever the version of ansible-core."""
    return [str(warning) for warning in result.get("warnings", [])]
