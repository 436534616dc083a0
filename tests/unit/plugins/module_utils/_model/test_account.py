# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test how long logins to an account must wait, and what is stored of them."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.wuying.workspace.plugins.module_utils._model.account import (
    CODE_MISSING,
    REFUSED,
    UNKNOWN,
    AccountEntry,
    Attempt,
    account_of,
    load_entry,
    new_entry,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    DamagedRecord,
    StoreError,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import session_at

NOW = 1_800_000_000.0
MINUTE, HOUR, DAY = 60, 3600, 86400
SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
ACCOUNT = account_of(SESSION)
NOT_JUDGED = "not judged"
"""The outcome of a login that the service did not receive. Nothing of it is stored."""
NIGHTLY = os.environ.get("FUZZ") == "nightly"
PROFILE = settings(
    max_examples=20000 if NIGHTLY else 200,
    deadline=None,
    database=None,
    derandomize=not NIGHTLY,
    print_blob=NIGHTLY,
)


def entry_with(*attempts: tuple[str, float, str]) -> AccountEntry:
    """Return an entry with attempts: mark, seconds after NOW, and outcome."""
    stored = tuple(Attempt(mark, NOW + after, outcome) for mark, after, outcome in attempts)
    return new_entry(ACCOUNT)._replace(attempts=stored)


def wait(entry: AccountEntry, mark: str | None = "aaaa", after: float = 0.0) -> float | None:
    """Return how many seconds a login that is due so many seconds after NOW must wait, None if it need not."""
    end = entry.as_of(NOW + after).blocked_until(NOW + after, mark)
    return None if end is None else end - NOW - after


# The account


@pytest.mark.parametrize("name", ["alice", "ALICE", "Alice"])
def test_the_case_of_the_user_does_not_matter(name):
    assert account_of(SESSION._replace(end_user_id=name)).key == ACCOUNT.key
    assert account_of(SESSION._replace(end_user_id="STRASSE")) == account_of(SESSION._replace(end_user_id="straße"))


def test_clients_and_directories_of_a_user_share_the_account():
    other = SESSION._replace(client_id="another", directory_id="cn-hangzhou+dir-1", region_id="cn-beijing")
    assert account_of(other) == ACCOUNT


@pytest.mark.parametrize(
    "part", [{"end_user_id": "bob"}, {"office_site_id": "another"}, {"endpoint": "https://ecd.example.com"}]
)
def test_another_user_office_site_or_endpoint_is_another_account(part):
    assert account_of(SESSION._replace(**part)).key != ACCOUNT.key


def test_the_key_of_an_account_is_no_key_of_a_session():
    assert ACCOUNT.key == "account-" + ACCOUNT.key[-64:]
    assert SESSION.key not in ACCOUNT.key


# How long a secret waits


def test_nothing_waits_without_attempts():
    assert new_entry(ACCOUNT).blocked_until(NOW) is None
    assert new_entry(ACCOUNT).blocked_until(NOW, "aaaa") is None


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [
        (1, 5 * MINUTE),
        (2, 10 * MINUTE),
        (3, 20 * MINUTE),
        (4, 40 * MINUTE),
        (5, 60 * MINUTE),
        (6, 60 * MINUTE),
        (64, 60 * MINUTE),
        (1000, 60 * MINUTE),
    ],
)
def test_unknown_outcomes_double_the_wait_from_5_minutes_to_an_hour(attempts, seconds):
    entry = new_entry(ACCOUNT)
    for _attempt in range(attempts):
        entry = entry.with_attempt("aaaa", NOW, UNKNOWN)
    assert wait(entry) == seconds
    assert wait(entry, after=seconds - 1) == 1
    assert wait(entry, after=seconds) is None


def test_the_wait_counts_from_the_last_unknown_outcome():
    assert wait(entry_with(("aaaa", -4000, UNKNOWN), ("aaaa", -100, UNKNOWN))) == 500


def test_a_refused_secret_waits_an_hour_and_then_24_hours():
    once = entry_with(("aaaa", 0, REFUSED))
    assert wait(once) == HOUR
    assert wait(once, after=HOUR - 1) == 1
    assert wait(once, after=HOUR) is None
    twice = once.with_attempt("aaaa", NOW + HOUR, REFUSED)
    assert wait(twice, after=HOUR) == DAY
    assert wait(twice, after=HOUR + DAY - 1) == 1
    assert wait(twice, after=HOUR + DAY) is None


@pytest.mark.parametrize("gap", [HOUR, DAY, 29 * DAY])
def test_a_second_refusal_within_30_days_waits_24_hours(gap):
    entry = entry_with(("aaaa", 0, REFUSED)).as_of(NOW + gap).with_attempt("aaaa", NOW + gap, REFUSED)
    assert wait(entry, after=gap) == DAY


def test_attempts_are_forgotten_after_30_days():
    entry = entry_with(("aaaa", 0, REFUSED), ("bbbb", 0, UNKNOWN), ("cccc", 0, CODE_MISSING), ("dddd", 1, REFUSED))
    assert entry.as_of(NOW + 30 * DAY - 1) == entry
    assert entry.as_of(NOW + 30 * DAY) == entry._replace(attempts=entry.attempts[-1:])
    again = entry.as_of(NOW + 30 * DAY).with_attempt("aaaa", NOW + 30 * DAY, REFUSED)
    assert wait(again, after=30 * DAY) == HOUR


@pytest.mark.parametrize("outcome", [UNKNOWN, REFUSED])
def test_another_secret_need_not_wait(outcome):
    assert wait(entry_with(("aaaa", 0, outcome), ("aaaa", -HOUR, outcome)), "bbbb") is None


def test_refusals_and_unknown_outcomes_of_a_secret_count_separately():
    assert wait(entry_with(("aaaa", -10, REFUSED), ("aaaa", 0, UNKNOWN))) == HOUR - 10
    assert wait(entry_with(("aaaa", -3590, REFUSED), ("aaaa", 0, UNKNOWN))) == 5 * MINUTE


def test_three_refusals_within_24_hours_stop_every_secret():
    entry = entry_with(("aaaa", 0, REFUSED), ("bbbb", HOUR, REFUSED), ("cccc", 2 * HOUR, REFUSED))
    for mark in ("aaaa", "bbbb", "cccc", "dddd", None):
        assert wait(entry, mark, 2 * HOUR) == 22 * HOUR
    assert wait(entry, "dddd", DAY - 1) == 1
    assert wait(entry, "dddd", DAY) is None


def test_three_refusals_of_one_secret_stop_the_others_too():
    entry = entry_with(("aaaa", 0, REFUSED), ("aaaa", 1, REFUSED), ("aaaa", 2, REFUSED))  # the later ones were forced
    assert wait(entry, "bbbb", 2) == DAY - 2


def test_refusals_that_are_further_apart_stop_no_other_secret():
    assert wait(entry_with(("aaaa", 0, REFUSED), ("bbbb", 10, REFUSED)), "dddd", 10) is None
    entry = entry_with(("aaaa", 0, REFUSED), ("bbbb", HOUR, REFUSED), ("cccc", DAY, REFUSED))
    assert wait(entry, "dddd", DAY) is None


def test_only_refusals_stop_every_secret():
    entry = entry_with(*[("aaaa", 0, outcome) for outcome in 9 * [UNKNOWN, CODE_MISSING]], ("bbbb", 0, REFUSED))
    assert wait(entry, "dddd") is None


def test_the_newest_three_refusals_decide_in_any_order():
    attempts = [("aaaa", 0, REFUSED), ("bbbb", 10 * HOUR, REFUSED), ("cccc", 11 * HOUR, REFUSED), ("dddd", 30, REFUSED)]
    for order in itertools.permutations(attempts):
        assert wait(entry_with(*order), "eeee", 12 * HOUR) == 12 * HOUR + 30


def test_without_a_mark_the_longest_wait_of_any_secret_is_returned():
    entry = entry_with(("aaaa", 0, UNKNOWN), ("bbbb", 0, REFUSED), ("cccc", 0, CODE_MISSING))
    assert wait(entry, None) == HOUR


def test_a_password_whose_code_was_missing_waits_for_a_code_only():
    entry = entry_with(("aaaa", 0, CODE_MISSING))
    assert entry.needs_code("aaaa") and not entry.needs_code("bbbb")
    assert wait(entry) is None
    assert entry.as_of(NOW + 29 * DAY).needs_code("aaaa")
    assert not entry_with(("aaaa", 0, REFUSED), ("aaaa", 0, UNKNOWN)).needs_code("aaaa")


@pytest.mark.parametrize(("outcome", "seconds"), [(UNKNOWN, 5 * MINUTE), (REFUSED, HOUR)])
def test_an_attempt_in_the_future_counts_from_now(outcome, seconds):
    entry = entry_with(("aaaa", 400 * DAY, outcome)).as_of(NOW)
    assert entry.attempts == (Attempt("aaaa", NOW, outcome),)
    assert wait(entry) == seconds
    assert wait(entry, after=seconds) is None


def test_refusals_in_the_future_stop_every_secret_for_24_hours():
    entry = entry_with(("aaaa", DAY, REFUSED), ("bbbb", 9 * DAY, REFUSED), ("cccc", 99 * DAY, REFUSED)).as_of(NOW)
    assert wait(entry, "dddd") == DAY


# How an attempt changes an entry


def test_only_the_outcome_of_the_last_attempt_changes():
    entry = entry_with(("aaaa", 0, UNKNOWN), ("aaaa", 1, UNKNOWN))
    assert entry.with_outcome(REFUSED) == entry._replace(
        attempts=(Attempt("aaaa", NOW, UNKNOWN), Attempt("aaaa", NOW + 1, REFUSED))
    )
    assert entry.with_outcome(CODE_MISSING).attempts[-1].outcome == CODE_MISSING
    assert entry.without_last() == entry._replace(attempts=(Attempt("aaaa", NOW, UNKNOWN),))


def test_the_number_of_attempts_is_limited():
    entry = new_entry(ACCOUNT)
    for number in range(1000):
        entry = entry.with_attempt(f"{number:04x}", NOW + number, UNKNOWN)
    assert len(entry.attempts) <= 128
    assert entry.attempts[-1].mark == f"{999:04x}"
    assert len(entry.dump()) < 16384


def test_unknown_outcomes_of_other_secrets_do_not_replace_refusals():
    entry = entry_with(("aaaa", 0, REFUSED), ("aaaa", HOUR, REFUSED), ("cccc", HOUR, CODE_MISSING))
    for number in range(1000):
        entry = entry.with_attempt(f"{number:04x}", NOW + HOUR + number, UNKNOWN)
    assert wait(entry, "aaaa", 2 * HOUR) == 23 * HOUR
    assert entry.needs_code("cccc")
    assert wait(entry.with_attempt("bbbb", NOW + 2 * HOUR, UNKNOWN), "bbbb", 2 * HOUR) == 5 * MINUTE


def test_an_entry_full_of_refusals_keeps_the_newest_attempt():
    entry = new_entry(ACCOUNT)
    for number in range(1000):
        entry = entry.with_attempt("aaaa", NOW + number, UNKNOWN).with_outcome(REFUSED)
    entry = entry.with_attempt("bbbb", NOW + 1000, UNKNOWN)
    assert entry.attempts[-1] == Attempt("bbbb", NOW + 1000, UNKNOWN)
    assert entry.attempts[-2] == Attempt("aaaa", NOW + 999, REFUSED)


# Properties of every sequence of logins

waits = st.one_of(
    st.none(),
    st.sampled_from([0.0, 1.0, 299.0, 300.0, 3599.0, 3600.0, 3601.0, 43200.0, 86399.0, 86400.0, 29.5 * DAY]),
    st.floats(0, 2 * DAY),
)
"""Seconds until the next login. None means until the moment at which it is allowed."""
logins = st.lists(
    st.tuples(waits, st.sampled_from("abc"), st.sampled_from([REFUSED, REFUSED, UNKNOWN, CODE_MISSING, NOT_JUDGED])),
    max_size=40,
)


class Sent(t.NamedTuple):
    """A login that was sent."""

    at: float
    secret: str
    outcome: str


def send(logins: list[tuple[float | None, str, str]]) -> list[Sent]:
    """Send logins as a task does, each with a code, unless they must wait. The entry is stored and loaded each time."""
    now, entry, sent = NOW, new_entry(ACCOUNT), []
    for seconds, secret, outcome in logins:
        entry = load_entry(entry.dump(), ACCOUNT.key)
        mark = entry.mark(secret)
        if seconds is None:
            now = max(now, entry.as_of(now).blocked_until(now, mark) or now)
        else:
            now += seconds
        entry = entry.as_of(now)
        if entry.blocked_until(now, mark) is not None:
            continue
        sent.append(Sent(now, secret, outcome))
        attempt = entry.with_attempt(mark, now, UNKNOWN)
        entry = attempt.without_last() if outcome == NOT_JUDGED else attempt.with_outcome(outcome)
    return sent


@PROFILE
@given(logins)
def test_there_are_never_more_than_three_refusals_in_24_hours(logins):
    refused = [each.at for each in send(logins) if each.outcome == REFUSED]
    assert all(later - earlier >= DAY for earlier, later in zip(refused, refused[3:]))


@PROFILE
@given(logins)
def test_a_refused_secret_is_never_sent_within_its_wait(logins):
    sent = send(logins)
    for secret in "abc":
        of_secret = [each for each in sent if each.secret == secret]
        for number, login in enumerate(of_secret):
            refused = [each.at for each in of_secret[:number] if each.outcome == REFUSED]
            if refused:
                assert login.at - refused[-1] >= HOUR
            if len(refused) > 1 and login.at - refused[-2] < 30 * DAY:
                assert login.at - refused[-1] >= DAY


@PROFILE
@given(logins)
def test_a_secret_with_an_unknown_outcome_is_never_sent_within_its_wait(logins):
    sent = send(logins)
    for secret in "abc":
        of_secret = [each for each in sent if each.secret == secret]
        for number, login in enumerate(of_secret):
            unknown = [
                each.at for each in of_secret[:number] if each.outcome == UNKNOWN and each.at > login.at - 30 * DAY
            ]
            if unknown:
                assert login.at - unknown[-1] >= min(HOUR, 5 * MINUTE * 2 ** (len(unknown) - 1))


@PROFILE
@given(logins, st.lists(st.floats(-400 * DAY, 400 * DAY), min_size=1, max_size=9))
def test_no_wait_is_longer_than_24_hours_whatever_the_clock(logins, jumps):
    entry = new_entry(ACCOUNT)
    for (_seconds, secret, outcome), jump in zip(logins, itertools.cycle(jumps)):
        now = NOW + jump
        entry = entry.as_of(now)
        assert (entry.blocked_until(now) or now) - now <= DAY
        entry = entry.with_attempt(entry.mark(secret), now, UNKNOWN)
        entry = entry if outcome == NOT_JUDGED else entry.with_outcome(outcome)


# What is stored of a secret


def test_16_bits_of_a_keyed_hash_are_stored_of_a_secret():
    entry = new_entry(ACCOUNT)
    marks = {entry.mark(f"password {number}") for number in range(1000)}
    assert all(len(mark) == 4 and int(mark, 16) < 2**16 for mark in marks)
    assert 950 < len(marks) <= 1000
    assert entry.mark("password 1") == entry.mark("password 1")


def test_the_mark_of_a_secret_depends_on_the_salt_of_the_account():
    salts = {new_entry(ACCOUNT).salt for _account in range(100)}
    marks = {new_entry(ACCOUNT).mark("Sesame, open!") for _account in range(100)}
    assert len(salts) == 100 and all(len(bytes.fromhex(salt)) >= 16 for salt in salts)
    assert len(marks) > 90


@pytest.mark.parametrize("secret", ["", "ß", "\ud800", "x" * 2000, "a\nb"])
def test_every_secret_has_a_mark(secret):
    assert len(new_entry(ACCOUNT).mark(secret)) == 4


def test_an_entry_contains_nothing_that_tests_guesses():
    secret = "Sesame, open!"
    entry = new_entry(ACCOUNT)
    entry = entry.with_attempt(entry.mark(secret), NOW, REFUSED)
    stored = entry.dump().decode("ascii")
    for algorithm in ("md5", "sha1", "sha256", "sha512"):
        for salt in (b"", bytes.fromhex(entry.salt), entry.salt.encode()):
            digest = hashlib.new(algorithm, salt + secret.encode())
            assert digest.hexdigest()[:6] not in stored
            assert base64.b64encode(digest.digest()).decode()[:6] not in stored
    assert secret not in stored and "attempts" in stored
    assert repr(entry) == "AccountEntry(...)"


# Loading an entry

ENTRY = entry_with(("aaaa", -10, UNKNOWN), ("bbbb", -20.5, REFUSED), ("cccc", 30, CODE_MISSING))._replace(step=60000000)
FIELDS = json.loads(ENTRY.dump())
DELETED = object()


@pytest.mark.parametrize("entry", [ENTRY, new_entry(ACCOUNT), ENTRY._replace(step=None)])
def test_an_entry_is_loaded_as_it_was_stored(entry):
    data = entry.dump()
    assert data.endswith(b"}\n") and data.count(b"\n") == 1
    assert load_entry(data, ACCOUNT.key) == entry


def test_the_longest_user_is_loaded():
    account = account_of(SESSION._replace(end_user_id="\u0390" * 256))
    assert load_entry(new_entry(account).dump(), account.key).account == account


def test_the_entry_of_another_account_is_damage():
    other = account_of(SESSION._replace(end_user_id="bob"))
    with pytest.raises(DamagedRecord):
        load_entry(ENTRY.dump(), other.key)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            (name, value)
            for name in ("account", "attempts", "salt")
            for value in (DELETED, None, 7, "x", [7], {"x": 7})
        ],
        *[("account_format", value) for value in (DELETED, None, "x", [7], 0, -1, 1000, "1")],
        ("step", "60000000"),
        ("step", 1.5),
        ("step", [1]),
        ("unknown", 1),
        ("account", {**FIELDS["account"], "end_user_id": "ALICE"}),
        ("account", {**FIELDS["account"], "end_user_id": None}),
        *[
            (part, value)
            for part in ("end_user_id", "office_site_id")
            for value in (5, {"a": 1}, "", "x\ny", "x" * 769)
        ],
        *[
            ("endpoint", value)
            for value in t.cast(
                "tuple[t.Any, ...]", (5, [], "", "x", "https://e/x", "http://example.com", "https://e\nx")
            )
        ],
        ("account", {**FIELDS["account"], "client_id": "x"}),
        ("salt", ""),
        ("salt", "00" * 15),
        ("salt", "0" * 33),
        ("salt", "zz" * 16),
        *[
            ("attempts", [["aaaa", NOW, REFUSED], attempt])
            for attempt in (
                [],
                ["aaaa", NOW],
                ["aaaa", NOW, REFUSED, 1],
                [1, NOW, REFUSED],
                [None, NOW, REFUSED],
                ["aaaa", "now", REFUSED],
                ["aaaa", None, REFUSED],
                ["aaaa", float("inf"), REFUSED],
                ["aaaa", float("nan"), REFUSED],
                ["aaaa", 10**400, REFUSED],
                ["aaaa", NOW, "accepted"],
                ["aaaa", NOW, None],
                ["aaaa", NOW, [REFUSED]],
                "abc",
                7,
                None,
            )
        ],
    ],
)
def test_a_field_with_an_invalid_value_is_damage(name, value):
    fields = {**FIELDS, name: value}
    if value is DELETED:
        del fields[name]
    key = ACCOUNT.key
    if name in FIELDS["account"]:
        account = ACCOUNT._replace(**{name: value})
        fields, key = {**FIELDS, "account": account._asdict()}, account.key
    with pytest.raises(DamagedRecord) as caught:
        load_entry(json.dumps(fields).encode(), key)
    assert str(caught.value) == "it is not the entry of this account"


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"null", b"7", b"[]", b"{}", b"\xff", b"\0" * 99, ENTRY.dump()[:-9], b"[" * 100000],
    ids=range(10),  # The salt of the entry is random, and processes must agree on the names of tests.
)
def test_anything_but_a_json_object_is_damage(data):
    with pytest.raises(DamagedRecord):
        load_entry(data, ACCOUNT.key)


def test_an_entry_of_a_newer_version_is_no_damage():
    for version in (FIELDS["account_format"] + 1, 999):
        with pytest.raises(StoreError) as caught:
            load_entry(json.dumps({**FIELDS, "account_format": version, "new": 1}).encode(), ACCOUNT.key)
        assert caught.value.code == "NewerFormat"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from([10**400, "aaaa"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
attempts = st.lists(
    st.tuples(st.text(max_size=5) | json_values, st.floats() | json_values, st.sampled_from([REFUSED, UNKNOWN]))
)


@PROFILE
@given(st.sampled_from(sorted(FIELDS)), json_values | attempts, st.floats(0, 4e9))
def test_whatever_is_loaded_can_be_used(name, value, now):
    try:
        entry = load_entry(json.dumps({**FIELDS, name: value}).encode(), ACCOUNT.key)
    except (DamagedRecord, StoreError):
        return
    entry = entry.as_of(now)
    assert (entry.blocked_until(now) or now) - now <= DAY
    assert load_entry(entry.with_attempt(entry.mark("x"), now, UNKNOWN).dump(), ACCOUNT.key).attempts


# Two entries of one account


OTHER_SALT = "0b" * 16


def merge(target: AccountEntry, source: AccountEntry) -> AccountEntry:
    """Return the entry that a store has after a copy an hour after NOW."""
    return target.merged_with(source, NOW + HOUR)


def test_merged_entries_have_the_attempts_of_both_in_order():
    one = entry_with(("aaaa", 0, REFUSED), ("aaaa", 20, UNKNOWN))
    other = entry_with(("bbbb", 10, REFUSED))._replace(salt=one.salt)
    assert [each.at - NOW for each in merge(one, other).attempts] == [0, 10, 20]
    assert merge(one, other) == merge(other, one)


def test_merging_again_changes_nothing():
    one, other = entry_with(("aaaa", 0, REFUSED)), entry_with(("bbbb", 10, REFUSED))._replace(salt=OTHER_SALT, step=7)
    merged = merge(one, other)
    assert merge(merged, other) == merge(merged, one) == merged
    assert (merged.salt, merged.step) == (one.salt, 7)
    back = merge(other, merged)
    assert merge(merged, back) == merged


def test_the_outcome_of_an_attempt_replaces_an_unknown_one():
    one = entry_with(("aaaa", 0, UNKNOWN))
    ended = one.with_outcome(REFUSED)
    assert merge(one, ended) == merge(ended, one) == ended


def test_refusals_of_both_entries_count_for_the_whole_account():
    one = entry_with(("aaaa", 0, REFUSED), ("bbbb", MINUTE, REFUSED))
    other = entry_with(("cccc", 2 * MINUTE, REFUSED))._replace(salt=OTHER_SALT)
    assert wait(one, "dddd", HOUR) is None
    assert wait(merge(one, other), "dddd", HOUR) == pytest.approx(DAY - HOUR)


def test_a_merged_entry_is_bounded():
    one = entry_with(*(("aaaa", number, UNKNOWN) for number in range(128)))
    other = entry_with(*(("bbbb", number + 0.5, REFUSED) for number in range(128)))._replace(salt=one.salt)
    merged = merge(one, other)
    assert len(merged.attempts) == 128
    assert merged.attempts[-1].at == NOW + 127.5
    assert merge(merged, other) == merge(merged, one) == merged


@pytest.mark.parametrize("outcome", [UNKNOWN, REFUSED, CODE_MISSING])
def test_merging_ends_no_wait_of_entries_with_two_salts(outcome):
    """Each store has a salt of its own. An attempt from the other store counts for every secret."""
    one = entry_with(("aaaa", HOUR - 60, REFUSED), ("aaaa", HOUR - 50, REFUSED))
    other = entry_with(("bbbb", HOUR - 10, outcome))._replace(salt=OTHER_SALT)
    for merged in (merge(one, other), merge(other, one)):
        for mark in ("aaaa", "bbbb"):
            waits = [wait(each, mark, HOUR) or 0 for each in (one, other, merged)]
            assert waits[2] >= max(waits[:2])
        assert merged.needs_code("bbbb") == other.needs_code("bbbb")


def test_attempts_in_the_future_displace_none_of_a_merged_entry():
    one = entry_with(("aaaa", 0, REFUSED), ("aaaa", 60, REFUSED), ("aaaa", 120, UNKNOWN))
    other = entry_with(*((f"{number:04x}", 99 * DAY + number, UNKNOWN) for number in range(128)))
    for salt in (one.salt, OTHER_SALT):
        merged = merge(one, other._replace(salt=salt))
        assert set(one.attempts) <= set(merged.attempts)
        assert len(merged.attempts) == 128
        assert wait(merged, "aaaa", HOUR) == DAY + 60 - HOUR


def test_attempts_of_a_host_whose_clock_is_ahead_are_copied_once():
    one, other = new_entry(ACCOUNT), entry_with(("aaaa", HOUR + 30, REFUSED))
    merged = merge(one, other)
    assert merged.merged_with(other, NOW + 2 * HOUR) == merged == other


def test_forgotten_attempts_are_not_merged():
    assert merge(entry_with(("aaaa", -31 * DAY, REFUSED)), entry_with(("bbbb", -30 * DAY, REFUSED))).attempts == ()


@pytest.mark.parametrize(("own", "expected"), [(None, None), (7, 7), (10**9, 10**9)])
def test_a_step_in_the_future_does_not_replace_the_one_that_was_used(own, expected):
    one = entry_with(("aaaa", 0, UNKNOWN))._replace(step=own)
    assert merge(one, one._replace(step=10**9 + 1)).step == expected
