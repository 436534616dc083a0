# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module as Ansible does: options in as JSON, a result out as JSON."""

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
from ansible.module_utils.common import warnings as core_warnings

from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import Fleet

PLACEHOLDER = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


class ModuleRunner:
    """Runs a module with default options, against an emulator and a directory store."""

    def __init__(
        self,
        module: types.ModuleType,
        options: dict[str, t.Any],
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        self.options = options
        self.printed = ""
        """The output of the last run, including the result."""
        self._module, self._monkeypatch, self._capfd = module, monkeypatch, capfd

    def run(self, *, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """Run the module in this process and return its result."""
        self._monkeypatch.setattr(basic, "_ANSIBLE_ARGS", self._arguments(check, options))
        self._monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        shown: t.Any = core_warnings
        self._monkeypatch.setattr(shown, "_global_warnings", type(shown._global_warnings)())
        self._capfd.readouterr()
        with pytest.raises(SystemExit) as exited:
            self._module.main()
        output = self._capfd.readouterr()
        result: dict[str, t.Any] = json.loads(output.out)
        result.pop("_ansible_new_secrets", None)  # secrets that ansible-core is to mask
        self.printed = json.dumps(result) + output.err
        assert bool(exited.value.code) == bool(result.get("failed"))
        return result

    def start_process(self, *flags: str, **options: t.Any) -> subprocess.Popen[bytes]:
        """Start the module as a process, which prints its result."""
        root = str(Path(str(self._module.__file__)).parents[5])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])}
        process = subprocess.Popen(
            [sys.executable, *flags, str(self._module.__file__)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(self._arguments(False, options))
        process.stdin.close()
        process.stdin = None
        return process

    def _arguments(self, check: bool, options: t.Mapping[str, t.Any]) -> bytes:
        given = {**self.options, **options, "_ansible_check_mode": check, "_ansible_diff": True}
        if "inject_invocation" in basic.PASS_VARS:
            given["_ansible_inject_invocation"] = True
        present = {name: value for name, value in given.items() if value is not None}
        return json.dumps({"ANSIBLE_MODULE_ARGS": present}).encode()


class FleetRunner(Fleet, ModuleRunner):
    """Runs a module for many sessions."""

    def __init__(
        self,
        module: types.ModuleType,
        emulator: t.Any,
        path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        Fleet.__init__(self, DirectoryStore(str(path)), emulator)
        self.path = path
        self.identity = self.session("").identity()
        del self.identity["end_user_id"]
        options = {**self.identity, **options_for(emulator, path)}
        ModuleRunner.__init__(self, module, options, monkeypatch, capfd)

    def encrypt_with(self, *keys: str) -> None:
        """Encrypt the records that the test saves from now on."""
        from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import (
            Encryption,
        )

        self.store = DirectoryStore(str(self.path), Encryption(keys))


def options_for(emulator: t.Any, path: Path) -> dict[str, t.Any]:
    """Return the options of a task that uses an emulator and a directory store."""
    return {
        "endpoint": emulator.url,
        "store": str(path),
        "access_key_id": emulator.access_key_id,
        "access_key_secret": emulator.access_key_secret,
        "retries": 0,
    }


def by_user(result: t.Mapping[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """Return the sessions of a result by user, and those without an identity by key."""
    return {each["session"]["end_user_id"] if "session" in each else each["key"]: each for each in result["sessions"]}


def warnings_of(result: t.Mapping[str, t.Any]) -> list[str]:
    """Return the texts of a result's warnings, with any version of ansible-core."""
    return [str(warning) for warning in result.get("warnings", [])]
