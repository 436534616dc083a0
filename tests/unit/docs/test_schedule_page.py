# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page about schedules lists the metrics and options that exist, and its check for Nagios works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/docsite/rst/guide_schedule.rst").read_text(encoding="utf-8")
METRICS = (ROOT / "playbooks/templates/keep_alive_metrics.j2").read_text(encoding="utf-8")
ROLE = ROOT / "roles/keep_alive"


def names_of_metrics() -> set[str]:
    """Return the names of the metrics that keep_alive writes."""
    found = re.findall(r"metric\((run ~ )?'(\w+)'", METRICS)
    return {("wuying_keep_alive_" if in_run else "") + name for in_run, name in found}


def find_block(first_line: str) -> str:
    """Return the code block that starts with a line."""
    found = re.search(rf"\n((?: {{4}}{re.escape(first_line)}\n)(?: {{4}}.*\n|\n)+)", PAGE)
    assert found is not None
    return textwrap.dedent(found[1])


def test_each_metric_is_on_the_page() -> None:
    rows = re.findall(r"^   \* - ``(wuying_\w+)``$", PAGE, re.M)
    assert sorted(rows) == sorted(names_of_metrics())
    assert len(rows) == 9


def test_each_variable_of_the_report_and_the_metrics_has_its_default_on_the_page() -> None:
    play = yaml.safe_load((ROOT / "playbooks/keep_alive.yml").read_text(encoding="utf-8"))[0]
    written = {name: value for name, value in play["vars"].items() if re.search("_report_|_metrics_", name)}
    rows = dict(re.findall(r"^   \* - ``(keep_alive_\w+)``\n     - (?:``\"(.*)\"``|none)$", PAGE, re.M))
    assert rows == written


def test_the_alert_rules_use_metrics_that_exist() -> None:
    (group,) = yaml.safe_load(find_block("groups:"))["groups"]
    expressions = [rule["expr"] for rule in group["rules"]]
    assert len(expressions) == 6
    assert {name for text in expressions for name in re.findall(r"wuying_\w+", text)} <= names_of_metrics()


@pytest.mark.parametrize(
    ("report", "age", "status", "output"),
    [
        ({"success": True, "message": "total: 6, unchanged: 6"}, 0, 0, "OK: total: 6, unchanged: 6"),
        ({"success": False, "message": 'A "b".', "x": ["success", True]}, 0, 2, 'CRITICAL: A \\"b\\".'),
        ({"success": True, "message": "total: 6"}, 900, 2, "CRITICAL: no run in the last 10 minutes"),
        (None, 0, 2, "CRITICAL: no run in the last 10 minutes"),
    ],
)
def test_the_check_for_nagios_reports_failures_and_missing_runs(
    tmp_path: Path, report: dict[str, object] | None, age: int, status: int, output: str
) -> None:
    path = tmp_path / "report.json"
    if report is not None:
        path.write_text(json.dumps({"accounts": [], **report, "time": "z"}, indent=4, sort_keys=True))
        os.utime(path, (time.time() - age,) * 2)
    script = find_block("cat >check_wuying <<'END'").replace("/var/lib/wuying-report/report.json", str(path))
    run = subprocess.run(("sh", "-c", script), cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (run.stdout, run.stderr, run.returncode) == (output + "\n", "", status)


def test_the_options_of_the_role_are_documented_alike() -> None:
    texts = [(ROLE / name).read_text(encoding="utf-8") for name in ("defaults/main.yml", "meta/argument_specs.yml")]
    defaults, spec = (yaml.safe_load(text) for text in texts)
    options = spec["argument_specs"]["main"]["options"]
    readme = (ROLE / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`|(.*?)) \|", readme, re.M)
    assert [name for name, *_rest in rows] == list(defaults) == list(options)
    for name, value, _text in rows:
        if name != "keep_alive_service_command":
            assert defaults[name] == options[name]["default"]
            assert value == (
                defaults[name] if isinstance(defaults[name], str) and defaults[name] else json.dumps(defaults[name])
            )
