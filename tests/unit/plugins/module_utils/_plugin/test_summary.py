# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The result of many sessions is summarized by error code, with counts and a few names, in a text of limited size."""

from __future__ import annotations

import itertools

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import Outcome
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.fleet import Report
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    LoginRequired,
    ServiceError,
    StoreError,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.fleet import FleetResult

NOW = 1_800_000_000.0
UNREACHABLE = ServiceError(
    "The endpoint could not be reached. Check the network.", code="ConnectionFailed", retryable=True
)
ENDED = LoginRequired("The session has ended. The user must log in again.")
LOCKED = StoreError("The record is encrypted. Set store_key.", code="WrongStoreKey")
NOT_SAVED = StoreError("The token could not be saved.", code="NotKept")


def session_of(name: str) -> Session:
    """Return the session of a user."""
    return Session("https://ecd.cn-hangzhou.aliyuncs.com", "cn-hangzhou", "office", name, "client")


def record_of(name: str) -> Record:
    """Return a record of a user that is still valid."""
    return Record(session_of(name), "v1", NOW - 800, NOW + 100)


class Fleet:
    """Collects reports into a result."""

    def __init__(self) -> None:
        self.result = FleetResult("all", return_token=False)
        self._positions = itertools.count()

    def add(self, result: Outcome | WuyingError, *names: str, warnings: tuple[str, ...] = ()) -> Fleet:
        """Add the report of each user."""
        for name in names:
            self.result.add(Report(next(self._positions), "key", session_of(name), result, warnings), NOW)
        return self

    def returned(self, reason: WuyingError, *names: str) -> Fleet:
        """Add sessions whose stored tokens were returned because they could not be refreshed."""
        for name in names:
            record = record_of(name)
            self.add(Outcome(False, record, record, not_refreshed=reason), name, warnings=(reason.message,))
        return self

    def unreadable(self, error: WuyingError, count: int = 1) -> Fleet:
        """Add records that cannot be read."""
        for _record in range(count):
            self.result.add(Report(next(self._positions), "k" * 64, None, error), NOW)
        return self

    def message(self, fail_on: str = "any", *, filtered: bool = False) -> str:
        """Return the message of the failing task."""
        failure = self.result.failure(fail_on, filtered=filtered)
        assert failure is not None
        return str(failure["msg"])


def users(number: int, first: int = 0) -> list[str]:
    """Return the names of many users."""
    return [f"user-{position}" for position in range(first, first + number)]


def test_a_failure_is_one_sentence_by_code_with_counts_and_names():
    fleet = Fleet().add(ENDED, "dave", "erin").add(UNREACHABLE, "alice", "bob", "carol", *users(987))
    fleet.add(Outcome(False, record_of("frank"), record_of("frank")), *users(1008, 1000))
    assert fleet.message() == (
        "992 of 2,000 sessions failed. ConnectionFailed: 990 (alice, bob, carol and 987 more). The endpoint could not be reached. "
        "Check the network. SessionEnded: 2 (dave, erin). The session has ended. The user must log in again."
    )
    failure = fleet.result.failure("any", filtered=False)
    assert failure is not None and failure["error_code"] == "ConnectionFailed"


def test_only_the_most_frequent_codes_are_described():
    fleet = Fleet()
    for number, count in enumerate([1, 4, 2, 3, 1]):
        fleet.add(ServiceError(f"Problem {number}.", code=f"Code{number}"), *users(count))
    message = fleet.message()
    assert [message.index(f"Code{number}: {count}") for number, count in ((1, 4), (3, 3), (2, 2))] == sorted(
        message.index(f"Code{number}: ") for number in (1, 3, 2)
    )
    assert "Code0" not in message
    assert message.endswith("Other errors: 2.")


@pytest.mark.parametrize("letter", ["a", "é", "用", "\N{GRINNING FACE}"])
@pytest.mark.parametrize("codes", [1, 3, 1000])
def test_a_thousand_failures_take_less_than_2_kb_whatever_their_names_and_messages(letter, codes):
    fleet = Fleet().unreadable(StoreError(letter * 5000, code="C" * 250), 1000)
    fleet.result.add(Report(0, "", None, StoreError(letter * 5000, code="C" * 250)), NOW)
    for number in range(1000):
        name = letter * 250 + str(number)
        fleet.add(ServiceError(f"{name} {letter * 3000}", code=f"{'C' * 200}{number % codes}"), name)
        fleet.returned(ServiceError(f"{name} {letter * 3000}", code=f"{'D' * 200}{number % codes}"), name)
        fleet.add(Outcome(True), name, warnings=(letter * 5000,))
    message, (warning, other) = fleet.message(), fleet.result.warnings()
    assert len(message.encode()) < 2048
    assert len(warning.encode()) < 2048
    assert len(other.encode()) < 700
    assert message.startswith("1,000 of 3,000 sessions failed. CCC")
    assert "1,000 records cannot be read (CCC" in message
    entries = fleet.result.as_result()["sessions"]
    assert {len(entry["session"]["end_user_id"]) for entry in entries if "session" in entry} == {251, 252, 253}
    assert min(len(entry["msg"]) for entry in entries if "msg" in entry) >= 3000


@pytest.mark.parametrize(
    ("filtered", "expected"),
    [
        (
            True,
            "No session matches filters. 1 record cannot be read (WrongStoreKey). The record is encrypted. Set store_key.",
        ),
        (False, "1 record cannot be read (WrongStoreKey). The record is encrypted. Set store_key."),
    ],
)
def test_a_record_that_cannot_be_read_is_no_session_that_failed(filtered, expected):
    assert Fleet().unreadable(LOCKED).message("all", filtered=filtered) == expected


def test_records_that_cannot_be_read_are_named_after_sessions_that_failed():
    damaged = StoreError("It is damaged.", code="DamagedRecord")
    fleet = Fleet().unreadable(damaged, 1).unreadable(LOCKED, 2).add(UNREACHABLE, "alice").add(Outcome(True), "bob")
    assert fleet.message(filtered=True) == (
        "1 of 2 sessions failed. ConnectionFailed: 1 (alice). The endpoint could not be reached. Check the network. "
        "3 records cannot be read (WrongStoreKey, DamagedRecord). The record is encrypted. Set store_key."
    )
    assert (fleet.result.counts["failed"], fleet.result.counts["total"], fleet.result.sessions) == (4, 5, 2)


def test_each_session_is_counted_under_one_outcome_and_the_counts_add_up():
    record = record_of("carol")
    fleet = Fleet().add(Outcome(True, record, record), "alice").add(Outcome(False, record, record), "bob")
    fleet.returned(UNREACHABLE, "carol", "dave").add(ENDED, "erin").unreadable(LOCKED)
    fleet.add(Outcome(True, record, record, not_saved=NOT_SAVED), "frank")
    counts = fleet.result.counts
    assert counts == {
        "total": 7,
        "refreshed": 1,
        "unchanged": 1,
        "not_refreshed": 2,
        "failed": 3,
        "login_needed": 1,
        "warned": 2,
        "rekeyed": 0,
    }
    assert counts["total"] == sum(counts[name] for name in ("refreshed", "unchanged", "not_refreshed", "failed"))
    entries = fleet.result.as_result()["sessions"]
    assert [entry["failed"] for entry in entries] == [False, False, False, False, True, True, True]
    assert [entry["login_needed"] for entry in entries] == [False, False, False, False, True, False, False]


def test_a_warning_about_sessions_that_were_not_refreshed_names_the_reason():
    fleet = Fleet().returned(UNREACHABLE, "alice", "bob").add(Outcome(True), "carol", warnings=("It was set aside.",))
    first, second = fleet.result.warnings()
    assert first == (
        "2 of 3 sessions could not be refreshed. Their stored tokens are still valid. ConnectionFailed: 2 (alice, bob). "
        "The endpoint could not be reached. Check the network."
    )
    assert second == "Sessions with other warnings: 1 of 3. carol: It was set aside."


def test_the_first_warning_of_a_session_is_shown_and_the_result_has_the_others():
    fleet = Fleet().add(Outcome(True), "alice", "bob", warnings=("It was set aside.", "Another."))
    (warning,) = fleet.result.warnings()
    assert warning == (
        "Sessions with warnings: 2 of 2. alice: It was set aside. "
        "The others are in sessions of the result, with results=failed or results=all."
    )


def test_the_warning_of_a_session_that_was_not_refreshed_is_shown_once():
    record = record_of("alice")
    warnings = ("It was set aside.", f"Could not refresh it. {UNREACHABLE.message}")
    fleet = Fleet().add(Outcome(False, record, record, not_refreshed=UNREACHABLE), "alice", warnings=warnings)
    _first, second = fleet.result.warnings()
    assert second == "Sessions with other warnings: 1 of 1. alice: It was set aside."


def test_a_server_whose_sessions_cannot_be_listed_is_no_record():
    fleet = Fleet().unreadable(LOCKED).add(Outcome(True), "bob")
    for _server in range(2):
        fleet.result.add(Report(9, "", None, UNREACHABLE), NOW)
    assert fleet.message() == (
        "1 record cannot be read (WrongStoreKey). The record is encrypted. Set store_key. "
        "The sessions of 2 servers cannot be listed (ConnectionFailed). The endpoint could not be reached. Check the network."
    )
    assert (fleet.result.counts["failed"], fleet.result.counts["total"], fleet.result.sessions) == (3, 4, 1)


def test_the_first_servers_whose_sessions_cannot_be_listed_are_named():
    fleet = Fleet()
    messages = [
        f"The Redis server node-{number}.example.com:6379 cannot be reached. Check the network." for number in range(5)
    ]
    for message in messages:
        fleet.result.add(Report(9, "", None, StoreError(message)), NOW)
    first = " ".join(messages[:3])
    expected = f"The sessions of 5 servers cannot be listed (StoreUnavailable). {first}"
    assert fleet.message(filtered=True) == expected  # whether a session matches is unknown


def test_three_messages_of_usual_length_are_complete():
    fleet = Fleet().unreadable(LOCKED)
    messages = [f"{'It happened. ' * 16}Do {number}." for number in range(3)]
    for number, message in enumerate(messages):
        fleet.add(ServiceError(message, code=f"InvalidCode{number}"), *users(4 + number, 100))
    assert all(message in fleet.message() for message in messages)


def test_a_long_message_is_cut_in_the_middle_and_a_key_is_complete():
    key = "0123456789abcdef" * 4
    message = f"A record is damaged (/home/user/{key}.record: it is not JSON). {'It happened. ' * 99}Delete it."
    text = Fleet().unreadable(StoreError(message, code="DamagedRecord")).message()
    assert len(text) <= 500
    assert text.startswith(
        f"1 record cannot be read (DamagedRecord). A record is damaged (/home/user/{key}.record: it is"
    )
    assert text.endswith(" happened. Delete it.")
    assert " … " in text
