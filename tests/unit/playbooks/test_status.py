# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook status shows a table of limited size, with the most urgent sessions first.

The module is replaced by one that returns a given result. tests/integration/targets/role_keep_alive runs the real one.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.tests.unit.playbooks.playbook_run import (
    arguments_of,
    message_in,
    run_playbook,
)

HEADING = "USER   OFFICE    STATE    TIME LEFT    REPAIRS ITSELF"


class Run(t.NamedTuple):
    """The end of a run of the playbook."""

    status: int
    output: str
    lines: list[str]


def entry(user: str, state: str, remaining: int = 0, **values: t.Any) -> dict[str, t.Any]:
    """Return the entry of a session."""
    session = {"end_user_id": user, "office_site_id": "office-1"}
    settings = {"outcome_unknown": False, "stays_logged_in": False}
    return {"session": session, "state": state, "remaining": remaining, **settings, **values}


def stays(blocked_until: str | None = None) -> dict[str, t.Any]:
    """Return the values of a session that stays logged in."""
    return {"stays_logged_in": True, "keep_alive_blocked_until": blocked_until}


def listed(*sessions: dict[str, t.Any], accounts: t.Sequence[t.Any] = (), **counts: int) -> dict[str, t.Any]:
    """Return a result of the module."""
    return {"changed": False, "sessions": sessions, "counts": counts, "accounts": accounts, "next_expiry": None}


def waiting(user: str) -> dict[str, str]:
    """Return an account with a blocked password."""
    return {"end_user_id": user, "office_site_id": "office-1", "blocked_until": "2026-01-31T09:00:00Z"}


@pytest.fixture
def play(tmp_path: Path) -> t.Callable[..., Run]:
    """Return a function that runs the playbook with a result of the module and extra variables."""

    def run(result: dict[str, t.Any], **variables: t.Any) -> Run:
        ended = run_playbook(tmp_path, "wuying.workspace.status", {"wuying_login_token_info": result}, **variables)
        return Run(ended.returncode, ended.stdout, message_in(ended.stdout))

    return run


def test_the_most_urgent_sessions_come_first(play: t.Callable[..., Run]) -> None:
    run = play(
        listed(
            entry("a", "ended", **stays()),
            entry("bob", "ended"),
            entry("c", "expired", **stays("2026-01-31T09:00:00Z")),
            entry("dave", "stale", 135),
            entry("e", "current", 59, **stays()),
            entry("f", "current", 28742, outcome_unknown=True),
            {
                "key": "0c6c",
                "state": "damaged",
                "error_code": "DamagedRecord",
                "msg": "The record 0c6c is damaged. Delete it.",
            },
            {"key": "9e1f", "state": "locked", "error_code": "WrongStoreKey", "msg": "No key fits."},
            current=2,
            stale=1,
            expired=1,
            ended=2,
            damaged=1,
            locked=1,
        )
    )
    assert run.status == 0, run.output
    assert run.lines == [
        "8 sessions: 2 current, 1 stale, 1 expired, 2 ended, 1 damaged, 1 locked",
        "USER  OFFICE    STATE                     TIME LEFT   REPAIRS ITSELF",
        "?     ?         damaged                   -           no",
        "?     ?         locked                    -           ?",
        "bob   office-1  ended                     -           no",
        "a     office-1  ended                     -           yes",
        "c     office-1  expired                   -           after 2026-01-31T09:00:00Z",
        "dave  office-1  stale                     2 min 15 s  no",
        "e     office-1  current                   59 s        yes",
        "f     office-1  current, outcome unknown  7 h 59 min  no",
        "Damaged: The record 0c6c is damaged. Delete it.",
        "Locked: No key fits.",
    ]


def test_accounts_whose_logins_are_blocked_are_listed(play: t.Callable[..., Run]) -> None:
    run = play(
        listed(entry("alice", "current", 600), accounts=[waiting(f"user-{number}") for number in range(30)], current=1)
    )
    assert run.lines[:3] == ["1 session: 1 current", HEADING, "alice  office-1  current  10 min 00 s  no"]
    assert run.lines[3] == "A password of user-0 (office-1) is blocked until 2026-01-31T09:00:00Z."
    assert len(run.lines) == 24
    assert run.lines[-1] == "10 more accounts with a blocked password."


def test_the_output_of_a_large_fleet_is_limited(play: t.Callable[..., Run], tmp_path: Path) -> None:
    damaged = {"key": "0c6c", "state": "damaged", "error_code": "DamagedRecord", "msg": "It is damaged."}
    many = [
        entry(
            "u" * 200 + str(number),
            "current",
            600,
            session={"end_user_id": "\N{GRINNING FACE}" * 99, "office_site_id": "o" * 99},
        )
        for number in range(40)
    ]
    run = play(listed(*many, *[damaged] * 40, current=99_960, damaged=40))
    assert len(run.lines) == 1 + 1 + 40 + 1 + 3
    assert run.lines[-4] == "99960 more. To show them, set status_limit or status_filters."
    assert max(map(len, run.lines)) < 120
    # The module returns the sessions that expire first, and others may be more urgent.
    assert int(arguments_of(tmp_path)["limit"]) == 1000


def test_the_variables_are_passed_to_the_module(play: t.Callable[..., Run], tmp_path: Path) -> None:
    filters = {"region_id": "cn-hangzhou"}
    run = play(
        listed(entry("alice", "current", 600), entry("bob", "current", 700), current=2),
        status_limit=1,
        status_filters=filters,
        wuying_refresh_before=60,
        wuying_store="/srv/tokens",
    )
    assert run.lines[-1] == "1 more. To show them, set status_limit or status_filters."
    arguments = arguments_of(tmp_path)
    assert (arguments["filters"], arguments["store"]) == (filters, "/srv/tokens")
    assert int(arguments["refresh_before"]) == 60  # Before ansible-core 2.19, a template results in text.


@pytest.mark.parametrize(
    ("limit", "shown", "passed"), [("", 40, 1000), (None, 40, 1000), (1, 1, 1000), ("2000", 50, 2000)]
)
def test_the_limit_is_that_of_the_table(
    play: t.Callable[..., Run], tmp_path: Path, limit: t.Any, shown: int, passed: int
) -> None:
    lost = [entry(f"user-{number}", "expired", **stays()) for number in range(49)]
    run = play(listed(*lost, entry("zoe", "expired"), expired=50), status_limit=limit)
    assert int(arguments_of(tmp_path)["limit"]) == passed
    assert run.lines[2].split() == ["zoe", "office-1", "expired", "-", "no"]
    assert len([line for line in run.lines if "office-1" in line]) == shown


@pytest.mark.parametrize("limit", [0, "0"])
def test_a_limit_of_zero_shows_only_the_counts(play: t.Callable[..., Run], limit: t.Any) -> None:
    run = play(listed(entry("zoe", "expired"), expired=1), status_limit=limit)
    assert (run.status, "zoe" in run.output) == (0, False)
    assert run.lines[-1] == "1 more. To show them, set status_limit or status_filters."


@pytest.mark.parametrize("limit", [-1, "abc", 1.5, [1]])
def test_a_limit_that_is_no_number_is_refused(play: t.Callable[..., Run], tmp_path: Path, limit: t.Any) -> None:
    run = play(listed(current=0), status_limit=limit)
    assert run.status == 2
    assert "status_limit must be a whole number that is not negative." in run.output
    assert not (tmp_path / "results.json.arguments").exists()


def test_an_empty_store_is_explained(play: t.Callable[..., Run]) -> None:
    run = play(listed(current=0))
    assert run.status == 0
    assert run.lines[0] == "0 sessions"
    assert run.lines[1].startswith("No session in the store was selected. Check wuying_store or WUYING_TOKEN_STORE")


def test_a_store_that_cannot_be_read_fails(play: t.Callable[..., Run]) -> None:
    run = play({"failed": True, "msg": "The store cannot be used. Check it."})
    assert run.status == 2
    assert "The store cannot be used. Check it." in run.output


def test_a_misspelled_variable_is_refused(play: t.Callable[..., Run]) -> None:
    run = play(listed(current=0), status_limits=5)
    assert run.status == 2
    assert "This playbook has no variable status_limits. Did you mean status_limit?" in run.output
