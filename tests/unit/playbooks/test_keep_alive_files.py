# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook keep_alive writes a report and metrics, which show the outcome of each run and contain no token.

The modules are replaced by one that returns given results. tests/integration/targets/role_keep_alive runs the real ones.
"""

from __future__ import annotations

import calendar
import json
import os
import time
import typing as t
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ansible_collections.wuying.workspace.tests.unit.playbooks.playbook_run import counted, run_playbook

ACCOUNT = {
    "endpoint": "https://e",
    "office_site_id": "office-1",
    "end_user_id": "alice",
    "blocked_until": "2026-01-31T09:00:00Z",
}
STORE = {
    "changed": False,
    "counts": {"current": 8, "stale": 1, "ended": 0},
    "sessions": [],
    "next_expiry": "2026-01-31T08:15:00Z",
    "accounts": [ACCOUNT],
}
TOKEN = "v1c27bab6c205b2fdfac9"
Samples = t.Dict[str, t.Dict[str, float]]


class Run(t.NamedTuple):
    """The end of a run, and the files that it left. Samples have the value of their second label as key."""

    status: int
    output: str
    report: dict[str, t.Any]
    metrics: Samples


def kept(**counts: int) -> dict[str, t.Any]:
    """Return a result of the module with these counts."""
    return {"changed": False, "counts": counted(**counts), "sessions": []}


def entry(user: str, code: str, **values: t.Any) -> dict[str, t.Any]:
    """Return the entry of a session that was not kept valid."""
    session = {"session": {"end_user_id": user}, "failed": True, "login_needed": False, "warnings": ["It failed."]}
    return {**session, "error_code": code, "msg": "It failed.", **values}


GOOD = kept(total=9, refreshed=2, unchanged=7)
OUTAGE = {
    **kept(total=9, unchanged=5, not_refreshed=3, failed=1, login_needed=1),
    "sessions": [
        *(entry(f"user-{number}", "ServiceUnavailable", failed=False) for number in range(3)),
        entry("alice", "SessionEnded", login_needed=True),
    ],
}
NO_STORE = {
    "failed": True,
    "msg": "The store cannot be used. Check it.",
    "error_code": "StoreUnavailable",
    "retryable": True,
}


def read_samples(text: str) -> Samples:
    """Return the samples of some metrics, as Prometheus reads them."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        assert (family.type, bool(family.documentation)) == ("gauge", True)
        for sample in family.samples:
            assert sample.labels.pop("schedule") == "wuying"
            (label,) = sample.labels.values() or ("",)
            assert label not in samples.setdefault(sample.name, {})
            samples[sample.name][label] = sample.value
    return samples


@pytest.fixture
def play(tmp_path: Path) -> t.Callable[..., Run]:
    """Return a function that runs the playbook with results of the modules and extra variables."""
    (tmp_path / "out").mkdir()
    paths = {
        "keep_alive_report_path": f"{tmp_path}/out/report.json",
        "keep_alive_metrics_path": f"{tmp_path}/out/wuying.prom",
    }

    def run(
        fleet: dict[str, t.Any],
        store: dict[str, t.Any] | None = None,
        *arguments: str,
        playbook: str = "wuying.workspace.keep_alive",
        **variables: t.Any,
    ) -> Run:
        results = {"wuying_login_tokens": fleet, "wuying_login_token_info": STORE if store is None else store}
        ended = run_playbook(tmp_path, playbook, results, *arguments, **{**paths, **variables})
        report, metrics = (Path(path) for path in paths.values())
        return Run(
            ended.returncode,
            ended.stdout,
            json.loads(report.read_text()) if report.exists() else {},
            read_samples(metrics.read_text()) if metrics.exists() else {},
        )

    return run


def seconds(stamp: str) -> int:
    """Return a time of the report in seconds since 1970."""
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))


def test_a_good_run_writes_the_state_of_the_fleet(play: t.Callable[..., Run], tmp_path: Path) -> None:
    start = int(time.time())
    run = play(GOOD)
    assert run.status == 0, run.output
    at = seconds(run.report["time"])
    assert start <= at <= time.time()
    assert run.report == {
        "time": run.report["time"],
        "success": True,
        "message": "total: 9, refreshed: 2, unchanged: 7",
        "last_success": run.report["time"],
        "counts": GOOD["counts"],
        "errors": {},
        "sessions": [],
        "states": STORE["counts"],
        "next_expiry": STORE["next_expiry"],
        "accounts": [ACCOUNT],
        "accounts_waiting": 1,
    }
    (written,) = run.metrics["wuying_keep_alive_last_run_timestamp_seconds"].values()
    assert start <= written <= time.time()
    assert run.metrics == {
        "wuying_sessions": STORE["counts"],
        "wuying_accounts_waiting": {"": 1},
        "wuying_next_expiry_timestamp_seconds": {"": seconds(str(STORE["next_expiry"]))},
        "wuying_keep_alive_sessions": {"refreshed": 2, "logged_in": 0, "unchanged": 7, "not_refreshed": 0, "failed": 0},
        "wuying_keep_alive_login_needed": {"": 0},
        "wuying_keep_alive_last_run_success": {"": 1},
        "wuying_keep_alive_last_run_timestamp_seconds": {"": written},
        "wuying_keep_alive_last_success_timestamp_seconds": {"": written},
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.json", "wuying.prom"]
    assert [path.stat().st_mode & 0o777 for path in sorted((tmp_path / "out").iterdir())] == [0o600, 0o644]


def test_an_outage_is_in_both_files_while_tokens_are_still_valid(play: t.Callable[..., Run]) -> None:
    run = play(OUTAGE)
    assert run.status == 2
    assert run.report["success"] is False
    assert (
        run.report["message"]
        == "Failed: 1, not refreshed: 3. total: 9, unchanged: 5, not_refreshed: 3, failed: 1, login_needed: 1"
    )
    assert run.report["errors"] == {"ServiceUnavailable": 3, "SessionEnded": 1}
    assert [each["session"]["end_user_id"] for each in run.report["sessions"]] == [
        "user-0",
        "user-1",
        "user-2",
        "alice",
    ]
    assert run.metrics["wuying_keep_alive_errors"] == {"ServiceUnavailable": 3, "SessionEnded": 1}
    assert run.metrics["wuying_keep_alive_last_run_success"] == {"": 0}
    assert run.metrics["wuying_keep_alive_sessions"]["not_refreshed"] == 3
    assert run.metrics["wuying_keep_alive_login_needed"] == {"": 1}
    assert run.report["last_success"] is None
    assert "wuying_keep_alive_last_success_timestamp_seconds" not in run.metrics


def test_the_time_of_the_last_good_run_survives_failing_runs(play: t.Callable[..., Run]) -> None:
    good = play(GOOD)
    time.sleep(1.1)
    for fleet in (OUTAGE, NO_STORE):
        bad = play(fleet)
        assert bad.status == 2
        assert bad.report["time"] > good.report["time"]
        assert bad.report["last_success"] == good.report["time"]
        name = "wuying_keep_alive_last_success_timestamp_seconds"
        assert bad.metrics[name] == good.metrics[name]
    assert play(GOOD).report["last_success"] > good.report["time"]


def test_a_run_that_fails_as_a_whole_writes_both_files(play: t.Callable[..., Run]) -> None:
    run = play(NO_STORE, NO_STORE)
    assert run.status == 2
    assert (run.report["success"], run.report["message"]) == (False, NO_STORE["msg"])
    assert run.report["errors"] == {"StoreUnavailable": 1}
    assert [run.report[name] for name in ("counts", "states", "next_expiry", "accounts_waiting")] == [None] * 4
    assert run.metrics["wuying_keep_alive_errors"] == {"StoreUnavailable": 1}
    assert "wuying_sessions" not in run.metrics
    assert "wuying_keep_alive_sessions" not in run.metrics


def test_what_fail_on_tolerates_is_a_success(play: t.Callable[..., Run]) -> None:
    run = play(OUTAGE, keep_alive_fail_on="none")
    assert (run.status, run.report["success"], run.report["errors"]["ServiceUnavailable"]) == (0, True, 3)


def test_an_empty_store_is_no_success_unless_that_is_intended(play: t.Callable[..., Run]) -> None:
    empty = {**STORE, "counts": {"current": 0}, "next_expiry": None, "accounts": []}
    run = play(kept(), empty)
    assert (run.status, run.report["success"], run.report["message"]) == (2, False, "No session was selected.")
    assert "wuying_next_expiry_timestamp_seconds" not in run.metrics
    assert play(kept(), empty, keep_alive_allow_empty=True).report["success"] is True


def test_no_token_gets_into_the_files(play: t.Callable[..., Run], tmp_path: Path) -> None:
    lost = entry("alice", "NotKept", kept=False, login_token=TOKEN, session_id="sesame", warnings=[TOKEN])
    run = play({**kept(total=1, failed=1), "sessions": [lost]})
    assert run.report["sessions"] == [
        {
            "session": {"end_user_id": "alice"},
            "failed": True,
            "login_needed": False,
            "error_code": "NotKept",
            "msg": "It failed.",
        }
    ]
    texts = [path.read_text() for path in (tmp_path / "out").iterdir()]
    assert len(texts) == 2 and not any(secret in text for text in texts for secret in (TOKEN, "sesame"))
    assert f"could not be saved: {TOKEN}" in run.output  # as before


def test_labels_are_escaped(play: t.Callable[..., Run]) -> None:
    code = 'A"b\\c\nd}e,f="g" 1'
    run = play({**kept(total=1, failed=1), "sessions": [entry("alice", code)]})
    assert run.metrics["wuying_keep_alive_errors"] == {code: 1}
    assert run.report["errors"] == {code: 1}


def test_the_report_has_a_limited_size(play: t.Callable[..., Run]) -> None:
    sessions = [entry(f"user-{number}", "Timeout") for number in range(1000)]
    run = play({**kept(total=1000, failed=1000), "sessions": sessions}, {**STORE, "accounts": [ACCOUNT] * 500})
    assert (len(run.report["sessions"]), len(run.report["accounts"])) == (100, 100)
    assert (run.report["errors"], run.report["accounts_waiting"]) == ({"Timeout": 1000}, 500)
    assert run.metrics["wuying_accounts_waiting"] == {"": 500}


def test_a_file_that_cannot_be_written_is_reported_and_does_not_stop_the_rest(
    play: t.Callable[..., Run], tmp_path: Path
) -> None:
    run = play(GOOD, keep_alive_report_path=f"{tmp_path}/missing/report.json")
    assert run.status == 2
    assert "total: 9, refreshed: 2, unchanged: 7" in run.output
    assert f"{tmp_path}/missing does not exist" in run.output
    assert (run.report, run.metrics["wuying_keep_alive_last_run_success"]) == ({}, {"": 1})


@pytest.mark.parametrize(
    "variables", [{"keep_alive_report_path": "report.json"}, {"keep_alive_metrics_path": "/tmp/metrics.txt"}]
)
def test_an_unsuitable_path_is_reported(play: t.Callable[..., Run], variables: dict[str, str]) -> None:
    run = play(GOOD, **variables)
    assert run.status == 2
    assert "total: 9, refreshed: 2, unchanged: 7" in run.output
    assert "must be absolute paths, and the latter must end in .prom" in " ".join(run.output.split())


@pytest.mark.parametrize("not_set", ["", None])
def test_one_file_is_enough_and_its_mode_can_be_set(
    play: t.Callable[..., Run], tmp_path: Path, not_set: str | None
) -> None:
    run = play(GOOD, keep_alive_metrics_path=not_set, keep_alive_report_mode="0640")
    assert (run.status, run.metrics) == (0, {})
    (report,) = (tmp_path / "out").iterdir()
    assert (report.name, report.stat().st_mode & 0o777) == ("report.json", 0o640)
    assert play(GOOD, keep_alive_report_path=not_set).metrics


def test_temporary_files_of_another_run_are_left_alone(play: t.Callable[..., Run], tmp_path: Path) -> None:
    others = [tmp_path / "out" / name for name in ("report.json.new", "wuying.prom.new")]
    for other in others:
        other.write_text("another run")
    run = play(GOOD)
    assert (run.status, run.report["success"]) == (0, True), run.output
    assert [other.read_text() for other in others] == ["another run"] * 2
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_no_temporary_file_is_left_if_its_mode_cannot_be_set(play: t.Callable[..., Run], tmp_path: Path) -> None:
    run = play(GOOD, keep_alive_report_mode="u=rwq", keep_alive_metrics_mode="")
    assert (run.status, run.metrics["wuying_keep_alive_last_run_success"]) == (2, {"": 1}), run.output
    (metrics,) = (tmp_path / "out").iterdir()
    assert (metrics.name, metrics.stat().st_mode & 0o777) == ("wuying.prom", 0o644)


def test_no_temporary_file_is_left_if_a_file_cannot_be_replaced(
    play: t.Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mv").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "mv").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    run = play(GOOD)
    assert (run.status, list((tmp_path / "out").iterdir())) == (2, []), run.output


def test_without_paths_and_in_check_mode_nothing_is_written(play: t.Callable[..., Run], tmp_path: Path) -> None:
    assert play(GOOD, keep_alive_metrics_path="", keep_alive_report_path="").status == 0
    assert play(GOOD, STORE, "--check").status == 0
    assert list((tmp_path / "out").iterdir()) == []


def test_a_playbook_that_imports_this_one_writes_both_files(play: t.Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project/fleet.yml").write_text("- import_playbook: wuying.workspace.keep_alive\n")
    run = play(GOOD, playbook="project/fleet.yml")
    assert (run.status, run.report["success"]) == (0, True), run.output
    assert run.metrics["wuying_keep_alive_last_run_success"] == {"": 1}
