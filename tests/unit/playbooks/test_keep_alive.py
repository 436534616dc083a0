# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook keep_alive fails if it should, and its output is what an operator needs in a mail.

The module is replaced by one that returns a given result. tests/integration/targets/keep_alive runs the real one.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import jinja2
import pytest
import yaml

from ansible_collections.wuying.workspace.tests.unit.playbooks.playbook_run import (
    PLAYBOOKS,
    arguments_of,
    counted,
    message_in,
    run_playbook,
)

KEY = "0c6c1e5b0f7e0d3f2f1b8f6f0f6e7a4d6f9d2c1b0a9f8e7d6c5b4a3f2e1d0c9b"


class Run(t.NamedTuple):
    """The end of a run of a playbook."""

    status: int
    output: str
    report: list[str]


def entry(user: str, code: str = "ConnectionFailed", **values: t.Any) -> dict[str, t.Any]:
    """Return the entry of a session that was not kept valid."""
    error = {"error_code": code, "msg": f"Could not refresh the token of {user}. Check the network."}
    return {"session": {"end_user_id": user}, "failed": True, "login_needed": False, "warnings": [], **error, **values}


FAILED = entry("alice")
ENDED = entry("alice", "SessionEnded", login_needed=True)
NOT_NAMED = entry("alice", "EndpointNotNamed")
NOT_REFRESHED = entry("alice", failed=False)
NOT_SAVED = entry("alice", "NotKept", kept=False, login_token="v1only")
UNREADABLE = {name: value for name, value in entry("alice", "DamagedRecord", key=KEY).items() if name != "session"}
UNLISTED = {name: value for name, value in UNREADABLE.items() if name != "key"}
WARNED = {name: value for name, value in NOT_REFRESHED.items() if name not in ("error_code", "msg")}


@pytest.fixture
def play(tmp_path: Path) -> t.Callable[..., Run]:
    """Return a function that runs a playbook with a result of the modules and extra variables."""

    def run(
        counts: dict[str, int], sessions: t.Sequence[t.Any] = (), playbook: str = "keep_alive", **variables: t.Any
    ) -> Run:
        result = {"changed": False, "counts": counts, "sessions": sessions}
        name = playbook if playbook.endswith(".yml") else f"wuying.workspace.{playbook}"
        results = {"wuying_login_token": result, "wuying_login_tokens": result}
        ended = run_playbook(tmp_path, name, results, **variables)
        return Run(ended.returncode, ended.stdout, message_in(ended.stdout))

    return run


def test_a_run_without_failures_shows_one_line_of_counts(play: t.Callable[..., Run]) -> None:
    run = play(counted(total=20, refreshed=3, unchanged=17))
    assert run.status == 0, run.output
    assert run.report == ["total: 20, refreshed: 3, unchanged: 17"]


@pytest.mark.parametrize(
    ("number", "line"),
    [(1, "1 session was repaired by a login."), (3, "3 sessions were repaired by a login.")],
)
def test_sessions_that_were_repaired_are_reported(play: t.Callable[..., Run], number: int, line: str) -> None:
    run = play(counted(total=20, logged_in=number, unchanged=20 - number), keep_alive_fail_on="all")
    assert run.status == 0, run.output
    assert run.report == [f"total: 20, logged_in: {number}, unchanged: {20 - number}", line]


def test_an_outage_fails_although_stored_tokens_are_still_valid(play: t.Callable[..., Run]) -> None:
    sessions = [entry(user, failed=False) for user in ("alice", "bob", "carol", "dave")]
    run = play(counted(total=20, unchanged=16, not_refreshed=4), sessions)
    assert run.status == 2
    assert run.report == ["total: 20, unchanged: 16, not_refreshed: 4"]  # The module warns, with the reasons.
    assert "Failed: 0, not refreshed: 4. See the warnings and the task 'Report the outcome'." in run.output


def test_a_store_without_sessions_fails_unless_that_is_intended(play: t.Callable[..., Run]) -> None:
    run = play(counted(), keep_alive_fail_on="none")
    assert run.status == 2
    assert "No session in the store was selected. Check wuying_store or WUYING_TOKEN_STORE" in run.report[1]
    assert "No session was selected. See the task 'Report the outcome'." in run.output
    assert play(counted(), keep_alive_allow_empty="true").status == 0


def test_users_who_must_log_in_are_named(play: t.Callable[..., Run]) -> None:
    sessions = [entry("bob", "InvalidLoginToken", login_needed=True), entry("carol", "Timeout")]
    sessions.append(entry("alice", "InvalidLoginToken", login_needed=True))
    sessions[1]["msg"] = "A message is complete if there are few codes." * 3
    run = play(counted(total=9, refreshed=6, failed=3, login_needed=2), sessions, keep_alive_fail_on="all")
    assert run.status == 0
    assert run.report[1].startswith("InvalidLoginToken: 2 (bob, alice). ")
    assert run.report[2].endswith(sessions[1]["msg"])
    assert run.report[3:] == ["Must log in again: bob, alice"]


def test_a_record_that_cannot_be_read_is_named_by_its_key(play: t.Callable[..., Run]) -> None:
    damaged = {**entry("nobody", "DamagedRecord"), "key": KEY}
    del damaged["session"]
    run = play(counted(total=2, unchanged=1, failed=1), [damaged])
    assert run.status == 2
    assert f"DamagedRecord: 1 ({KEY})." in run.report[1]


def unlisted(server: str) -> dict[str, t.Any]:
    """Return the entry of a server whose sessions cannot be listed."""
    each = entry("", "StoreUnavailable", msg=f"{server} cannot be reached. Check store and the network.")
    del each["session"]
    return each


def test_servers_whose_sessions_cannot_be_listed_are_in_the_report(play: t.Callable[..., Run]) -> None:
    servers = [unlisted(f"The Redis server node-{number}.example.com:6379") for number in range(3)]
    run = play(counted(total=4, unchanged=1, failed=3), servers)
    names = "node-0.example.com:6379, node-1.example.com:6379 and 1 more"
    assert run.report[1].startswith(f"StoreUnavailable: 3 ({names}). The Redis server node-0")
    assert "No session in the store was selected" not in run.output
    assert play(counted(total=1, failed=1), [unlisted("It")]).report[1].startswith("StoreUnavailable: 1 (a server). It")


@pytest.mark.parametrize("fail_on", ["", None])
def test_an_empty_fail_on_is_any(play: t.Callable[..., Run], tmp_path: Path, fail_on: t.Any) -> None:
    run = play(counted(total=9, refreshed=8, not_refreshed=1), [NOT_REFRESHED], keep_alive_fail_on=fail_on)
    assert run.status == 2
    assert "Failed: 0, not refreshed: 1." in run.output
    assert arguments_of(tmp_path)["fail_on"] == "none"


def test_the_messages_of_three_codes_are_complete_if_they_fit(play: t.Callable[..., Run]) -> None:
    sessions = [entry(f"user-{number}", f"Code{number}", msg=f"{'Happened. ' * 14}Do {number}.") for number in range(3)]
    run = play(counted(total=20, unchanged=17, failed=3), sessions)
    assert [line.partition("). ")[2] for line in run.report[1:]] == [each["msg"] for each in sessions]


def test_a_long_message_is_cut_in_the_middle_and_between_words(play: t.Callable[..., Run]) -> None:
    message = f"The record {KEY} is damaged. {KEY * 20} Delete it. {'Happened. ' * 20}Do this."
    run = play(counted(total=1, failed=1), [entry("alice", msg=message)])
    assert len(run.report[1]) < 700
    assert run.report[1].startswith(f"ConnectionFailed: 1 (alice). The record {KEY} is damaged. ... ")
    assert run.report[1].endswith(" Happened. Do this.")


def test_warnings_do_not_fail_the_run(play: t.Callable[..., Run]) -> None:
    warned = {"session": {"end_user_id": "alice"}, "failed": False, "warnings": ["The record was damaged."]}
    run = play(counted(total=2, unchanged=2, warned=1), [warned])
    assert (run.status, run.report) == (0, ["total: 2, unchanged: 2, warned: 1"])


def test_the_only_copy_of_a_token_is_shown(play: t.Callable[..., Run]) -> None:
    lost = entry("alice", "NotKept", kept=False, login_token="v1c27bab6c205b2fdfac9")
    run = play(counted(total=2, unchanged=1, failed=1), [lost])
    assert run.report[-1] == "The only copy of the token of alice, which could not be saved: v1c27bab6c205b2fdfac9"
    run = play(counted(total=1, failed=1), [{**lost, "session_id": "an ID"}])
    assert run.report[-1].endswith(": v1c27bab6c205b2fdfac9 (session_id an ID)")


@pytest.mark.parametrize(("length", "letter"), [(4, ""), (256, ""), (256, "\N{GRINNING FACE}")])
def test_a_thousand_failures_print_less_than_2_kb(play: t.Callable[..., Run], length: int, letter: str) -> None:
    sessions = [
        entry(
            f"{letter * length}{number:0{length}}",
            f"Code{number % 9:0{length // 8}}",
            login_needed=number % 2 == 0,
            msg=f"Too {letter * length}long. " * 50,
        )
        for number in range(1000)
    ]
    run = play(counted(total=1000, failed=1000, login_needed=500), sessions)
    assert run.status == 2
    assert len(run.output.encode()) < 2048, run.output
    assert "total: 1000, failed: 1000, login_needed: 500" in run.report
    assert "6 more error codes" in run.report
    assert run.report[-1].endswith(" and 495 more")


@pytest.mark.parametrize("wrong", ["al", "ALL", "any,all", "never"])
def test_an_invalid_fail_on_is_passed_to_the_module_which_refuses_it(
    play: t.Callable[..., Run], tmp_path: Path, wrong: str
) -> None:
    play(counted(total=1), keep_alive_fail_on=wrong)
    assert arguments_of(tmp_path)["fail_on"] == wrong


def test_the_playbook_can_be_imported_from_a_project(play: t.Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project/fleet.yml").write_text("- import_playbook: wuying.workspace.keep_alive\n")
    assert play(counted(total=1, unchanged=1), playbook="project/fleet.yml").report == ["total: 1, unchanged: 1"]


@pytest.mark.parametrize(
    ("playbook", "name", "known"),
    [
        ("keep_alive", "keepalive_max_qps", "keep_alive_max_qps"),
        ("keep_alive", "keep_alive_failon", "keep_alive_fail_on"),
        ("keep_alive", "keep_alive_filter", "keep_alive_filters"),
        ("keep_alive", "keepalive", "keep_alive_rekey"),
        ("refresh", "refresh_before", "refresh_refresh_before"),
        ("refresh", "refresh_forced", "refresh_force"),
    ],
)
def test_a_misspelled_variable_is_refused_and_the_closest_is_named(
    play: t.Callable[..., Run], playbook: str, name: str, known: str
) -> None:
    run = play(counted(total=1, unchanged=1), playbook=playbook, **{name: "5"})
    assert run.status == 2
    assert f"This playbook has no variable {name}. Did you mean {known}?" in run.output


def test_variables_of_other_software_are_accepted(play: t.Callable[..., Run]) -> None:
    others = {
        "keepalived_instances": [],
        "nginx_keepalive_timeout": 5,
        "wuying_users": [],
        "keep_alive_service_name": "x",
    }
    assert play(counted(total=1, unchanged=1), **others).status == 0


def test_each_variable_of_the_play_is_known() -> None:
    play = yaml.safe_load((PLAYBOOKS / "keep_alive.yml").read_text(encoding="utf-8"))[0]
    assert list(play["vars"]) == play["tasks"][0]["vars"]["names_known"]


@pytest.mark.parametrize(
    ("counts", "entries", "any_", "all_"),
    [
        ({"refreshed": 3, "unchanged": 6}, [], False, False),
        ({"unchanged": 9, "warned": 9}, [WARNED] * 9, False, False),
        ({"not_refreshed": 1, "unchanged": 8}, [NOT_REFRESHED], True, True),
        ({"not_refreshed": 9}, [NOT_REFRESHED] * 9, True, True),
        ({"failed": 9}, [FAILED] * 9, True, True),
        ({"failed": 4, "not_refreshed": 2, "unchanged": 3}, [FAILED] * 4 + [NOT_REFRESHED] * 2, True, True),
        ({"refreshed": 1, "failed": 4, "not_refreshed": 4}, [FAILED] * 4 + [NOT_REFRESHED] * 4, True, False),
        ({"refreshed": 1, "failed": 8, "login_needed": 8}, [ENDED] * 8, True, False),
        ({"unchanged": 8, "failed": 1, "login_needed": 1}, [ENDED], True, False),
        ({"unchanged": 7, "failed": 2, "login_needed": 1}, [ENDED, FAILED], True, True),
        ({"failed": 9, "login_needed": 9}, [ENDED] * 9, True, True),
        ({"unchanged": 8, "failed": 1}, [UNREADABLE], True, False),
        ({"unchanged": 8, "failed": 1}, [NOT_NAMED], True, False),
        ({"refreshed": 8, "failed": 1}, [UNREADABLE], True, False),
        ({"refreshed": 8, "failed": 1}, [UNLISTED], True, True),
        ({"refreshed": 8, "failed": 1}, [NOT_SAVED], True, True),
        ({"unchanged": 7, "failed": 1, "not_refreshed": 1}, [UNREADABLE, NOT_REFRESHED], True, True),
        ({"failed": 9, "login_needed": 1}, [ENDED] + [UNREADABLE] * 8, True, True),
        ({"logged_in": 1, "failed": 4, "not_refreshed": 4}, [FAILED] * 4 + [NOT_REFRESHED] * 4, True, False),
    ],
)
def test_fail_on_decides_when_the_run_fails(
    counts: dict[str, int], entries: list[dict[str, t.Any]], any_: bool, all_: bool
) -> None:
    block = yaml.safe_load((PLAYBOOKS / "keep_alive.yml").read_text(encoding="utf-8"))[0]["tasks"][-1]
    engine = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # evaluates an expression
    engine.filters["bool"] = bool
    variables: dict[str, t.Any] = {"counts": counted(total=9, **counts), "keep_alive_allow_empty": False}
    variables["fleet"] = {"counts": variables["counts"], "sessions": entries}
    for name in ("lost", "unlisted", "due"):
        variables[name] = engine.from_string(block["vars"][name]).render(variables)
    problem = engine.from_string(block["vars"]["problem"])
    fails = {fail_on: bool(problem.render(variables, keep_alive_fail_on=fail_on)) for fail_on in ("any", "all", "none")}
    assert fails == {"any": any_, "all": all_, "none": False}
