# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make` refuses what it cannot do, counts what was skipped and what failed, and reads nothing but settings from pip."""

from __future__ import annotations

import importlib.util
import json
import sys
import typing as t
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools/jobs.py"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., t.Any]:
    """Return a function that imports jobs.py on a machine with some Pythons."""

    def import_file(*versions: str) -> t.Any:
        monkeypatch.setenv("PYTHONS", "\n".join(f"{version} {sys.executable}" for version in versions))
        spec = importlib.util.spec_from_file_location("jobs", SCRIPT)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "jobs", module)
        spec.loader.exec_module(module)
        return module

    return import_file


@pytest.mark.parametrize(
    ("core", "target", "arguments", "version", "message"),
    [
        ("2.18", "test", [], "3.13", "make test accepts neither CORE nor ARGS"),
        ("", "ci", ["-k", "x"], "3.13", "make ci accepts neither CORE nor ARGS"),
        ("", "test-all", [], "3.14", "make test-all needs one of the Pythons 3.11, 3.12, 3.13 for ansible-core 2.18"),
    ],
)
def test_what_cannot_be_done_is_refused(
    load: t.Callable[..., t.Any], core: str, target: str, arguments: list[str], version: str, message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        load(version).main(core, target, *arguments)


@pytest.mark.parametrize(
    ("status", "printed", "passed", "failed", "skipped"),
    [
        (0, "", 3, 0, 0),
        (0, '    "msg": "SKIPPED: the Redis store is not tested"\n', 3, 0, 1),
        (1, "FATAL: The 2 integration test(s) listed below (out of 5) failed. See error output", 3, 2, 0),
        (1, "", 3, 1, 0),
    ],
)
def test_skipped_parts_and_failed_targets_are_counted(
    load: t.Callable[..., t.Any], tmp_path: Path, status: int, printed: str, passed: int, failed: int, skipped: int
) -> None:
    data = tmp_path / "collection/ansible_collections/wuying/workspace/tests/output/data"
    data.mkdir(parents=True)
    (data / "integration-1.json").write_text(json.dumps({"targets": dict.fromkeys("abc")}))
    counted = load("3.13").count_tests(tmp_path, status, printed)
    assert (counted["passed"], counted["failed"], counted["skipped"]) == (passed, failed, skipped)


def test_a_job_that_runs_no_test_has_failed(load: t.Callable[..., t.Any], tmp_path: Path) -> None:
    assert load("3.13").count_tests(tmp_path, 0, "") == {"failed": 1}


def test_a_warning_of_pip_is_not_a_setting(
    load: t.Callable[..., t.Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = load("3.13")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text("#!/bin/sh\necho 'WARNING: not owned' >&2\necho \"global.timeout='5'\"\n")
    (tmp_path / "bin/python").chmod(0o700)
    monkeypatch.setattr(jobs, "VENV", tmp_path)
    assert jobs.read_pip_settings().get("global", "timeout") == "5"
