# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test which record wins if a session is copied to another store, and that nothing is lost."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.copy import Target, _Item, combine, copy_sessions
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.fleet import read_requested, read_stored
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive, merge_keep_alive
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import UNREADABLE, Note, new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record, StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._runtime import signals
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.two_slot_writer import TwoSlotWriter
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import (
    CURRENT,
    STALE,
    Fleet,
    ends,
    outcome_of,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    file_of,
    leave_note,
    put,
    session_at,
    write_file,
)

NOW = 1_800_000_000.0
SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
LATER = 50
DAY = 86400
KEEP_ALIVE = KeepAlive("k1sesame", NOW, NOW)


def record_of(token: str, at: float = 0, *, validity: float = 900, spent: str = "") -> Record:
    """Return a record whose token was obtained so many seconds after NOW, and that has used up ``spent``."""
    record = next_record(None, SESSION, spent or None, token, NOW + at, validity, None)
    return record._replace(passed=())


def note_of(token: str) -> Note:
    """Return the note of a request that may have used up a token."""
    return new_note(None, fingerprint(token), "")


def combined(source: Record, target: Record | None, *notes: Note | None) -> StoredState | None:
    """Return what is stored after a copy, for the notes of the source and the target."""
    first, second = (*notes, None, None)[:2]
    return combine(StoredState(source, first), StoredState(target, second), NOW + LATER)


# Which record wins


def test_a_session_that_is_only_in_the_source_is_copied_unchanged():
    source = record_of("v1a")._replace(keep_alive=KEEP_ALIVE, session_id="s-1", uuid="u-1", ended="InvalidLoginToken")
    assert combined(source, None) == StoredState(source)


def test_a_target_with_the_same_token_stays_as_it_is():
    source = record_of("v1a")
    assert combined(source, source) is None
    ended = source._replace(keep_alive=KEEP_ALIVE).ended_with("InvalidLoginToken")
    assert combined(source, ended) is None
    assert combined(ended, ended) is None


def test_a_target_with_the_same_token_learns_that_it_was_rejected():
    source = record_of("v1a").ended_with("InvalidLoginToken")
    assert combined(source, record_of("v1a")) == StoredState(source)
    note = note_of("v1b")
    assert combined(source, record_of("v1a"), None, note) == StoredState(source, note)


def test_a_target_with_the_same_token_gets_the_refusals_of_its_keep_alive_token():
    plain = record_of("v1a")._replace(keep_alive=KEEP_ALIVE)
    refused = plain._replace(keep_alive=KEEP_ALIVE.refused(NOW + 1))
    assert combined(refused, plain) == StoredState(refused)
    assert combined(plain, refused) is None


@pytest.mark.parametrize(
    ("source", "target", "wins"),
    [
        (record_of("v1b", spent="v1a"), record_of("v1a", LATER), "source"),
        (record_of("v1a", LATER), record_of("v1b", spent="v1a"), "target"),
        (record_of("v1b", -2000, spent="v1a"), record_of("v1a"), "source"),
        (record_of("v1a"), record_of("v1b", -2000, spent="v1a").ended_with("X"), "target"),
        (record_of("v1a", LATER), record_of("v1b"), "source"),
        (record_of("v1a"), record_of("v1b", LATER), "target"),
        (record_of("v1a"), record_of("v1b"), "target"),
        (record_of("v1a", LATER).ended_with("X"), record_of("v1b"), "target"),
        (record_of("v1a"), record_of("v1b", LATER).ended_with("X"), "source"),
        (record_of("v1a", -10, validity=1), record_of("v1b", -800), "target"),
        (record_of("v1a", DAY), record_of("v1b"), "target"),
        (record_of("v1a"), record_of("v1b", DAY), "source"),
        (record_of("v1a", DAY), record_of("v1b").ended_with("X"), "source"),
        (record_of("v1a", DAY, spent="v1b"), record_of("v1b"), "source"),
        (record_of("v1a", LATER, spent="v1b"), record_of("v1b", spent="v1a"), "source"),
        (record_of("v1a", spent="v1b"), record_of("v1b", LATER, spent="v1a"), "target"),
    ],
    ids=[
        "the source has refreshed the token of the target, whose clock is ahead",
        "the target has refreshed the token of the source, whose clock is ahead",
        "the source has refreshed the token of the target, and expired",
        "the target has refreshed the token of the source, and ended",
        "the login in the source was later",
        "the login in the target was later",
        "both logins were at the same time",
        "the later login, in the source, has ended",
        "the later login, in the target, has ended",
        "the later login, in the source, has expired",
        "the source is from the future",
        "the target is from the future",
        "the source is from the future, but the login in the target has ended",
        "the source is from the future, but has refreshed the token of the target",
        "each knows the other, and the source is later",
        "each knows the other, and the target is later",
    ],
)
def test_the_newer_token_wins(source, target, wins):
    found = combined(source, target)
    if wins == "target":
        assert found is None
        return
    assert found is not None and found.record is not None
    assert found.record.login_token == source.login_token
    assert (found.record.ended, found.record.expires_at) == (source.ended, source.expires_at)


def test_the_winner_knows_the_tokens_that_it_replaces_and_keeps_what_only_the_other_has():
    target = record_of("v1b", spent="v1old")._replace(passed=(fingerprint("v1passed"),), uuid="u-1")
    target = target._replace(keep_alive=KEEP_ALIVE)
    found = combined(record_of("v1a", LATER, spent="v1first"), target)
    assert found is not None and found.record is not None
    assert all(found.record.knows(token) for token in ("v1a", "v1b", "v1old", "v1passed", "v1first"))
    assert (found.record.uuid, found.record.keep_alive) == ("u-1", KEEP_ALIVE)
    assert combined(record_of("v1a", LATER, spent="v1first"), found.record) is None


def test_the_keep_alive_token_of_the_winner_replaces_that_of_the_other():
    own = KeepAlive("k2sesame", NOW, NOW)
    found = combined(record_of("v1a", LATER)._replace(keep_alive=own), record_of("v1b")._replace(keep_alive=KEEP_ALIVE))
    assert found is not None and found.record is not None
    assert found.record.keep_alive == own


def test_the_newer_keep_alive_token_remains_with_its_refusals():
    newer = KeepAlive("k2sesame", NOW + 1, NOW + 1).refused(NOW + 2)
    planted = KeepAlive("k3sesame", NOW + DAY, NOW + DAY)
    for own in (KEEP_ALIVE, newer._replace(refusals=0, refused_at=0.0), planted, None):
        found = combined(record_of("v1a", LATER)._replace(keep_alive=own), record_of("v1b")._replace(keep_alive=newer))
        assert found is not None and found.record is not None
        assert found.record.keep_alive == newer


REFUSED = KEEP_ALIVE.refused(NOW + 10)
REFUSED_TWICE = REFUSED.refused(NOW + 20)
ACCEPTED = KEEP_ALIVE._replace(accepted_at=NOW + 30)


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [
        (REFUSED, REFUSED_TWICE, REFUSED_TWICE),
        (REFUSED_TWICE, REFUSED._replace(refused_at=NOW + 25), REFUSED_TWICE._replace(refused_at=NOW + 25)),
        (REFUSED_TWICE, ACCEPTED, ACCEPTED),
        (REFUSED_TWICE, ACCEPTED.refused(NOW + 40), ACCEPTED.refused(NOW + 40)),
        (REFUSED, KEEP_ALIVE._replace(accepted_at=NOW + 5), REFUSED._replace(accepted_at=NOW + 5)),
        (REFUSED, KEEP_ALIVE._replace(accepted_at=NOW + DAY), REFUSED),
        (REFUSED, KEEP_ALIVE.refused(NOW + DAY), REFUSED),
    ],
    ids=[
        "more refusals",
        "a later refusal",
        "accepted since",
        "accepted and refused since",
        "accepted before",
        "accepted in the future",
        "refused in the future",
    ],
)
def test_all_that_is_known_of_a_keep_alive_token_is_merged(one, other, merged):
    assert merge_keep_alive(one, other, NOW + LATER) == merge_keep_alive(other, one, NOW + LATER) == merged


def test_the_lineage_of_a_merged_record_is_bounded():
    many = tuple(fingerprint(f"v1-{number}") for number in range(64))
    source = record_of("v1a", LATER)._replace(lineage=many, passed=many[:16])
    target = record_of("v1b")._replace(lineage=many[::-1], passed=many[16:32])
    found = combined(source, target)
    assert found is not None and found.record is not None
    assert (len(found.record.lineage), len(found.record.passed)) == (64, 16)


# Notes


def test_a_token_whose_outcome_is_unknown_stays_so():
    source, note = record_of("v1a"), note_of("v1a")
    assert combined(source, None, note) == StoredState(source, note)
    assert combined(source, source, note) == StoredState(source, note)
    assert combined(source, source, note, note) is None
    assert combined(source, record_of("v1b", -LATER), note, note_of("v1b")) == StoredState(
        source._replace(lineage=(fingerprint("v1b"),)), note
    )


def test_a_note_about_another_token_is_not_copied():
    assert combined(record_of("v1a"), None, note_of("v1b")) == StoredState(record_of("v1a"))


@pytest.mark.parametrize("note", [note_of("v1a"), UNREADABLE], ids=["of the token", "unreadable"])
def test_a_note_of_the_target_that_covers_the_copied_token_remains(note):
    source = record_of("v1a")
    assert combined(source, None, None, note) == StoredState(source, note)
    found = combined(source, record_of("v1b", -LATER), None, note)
    assert found is not None and found.note == note
    assert combined(source, record_of("v1b", -LATER), None, note_of("v1b")) == found._replace(note=None)


def test_notes_of_both_stores_that_cover_the_copied_token_are_merged():
    source = record_of("v1a")
    one, other = (new_note(note_of(token), fingerprint("v1a"), "") for token in ("v1x", "v1y"))
    found = combined(source, None, one, other)
    assert found is not None and found.record == source
    assert all(found.may_be_spent(token) for token in ("v1a", "v1x", "v1y")) and not found.may_be_spent("v1b")
    assert combined(source, source, one, found.note) is None
    everything = combined(source, None, UNREADABLE, other)
    assert everything is not None and everything.may_be_spent("v1b")


def test_without_a_record_a_note_means_nothing():
    assert combine(StoredState(None, note_of("v1a")), StoredState(), NOW) is None


# Copies of a directory


@pytest.fixture(name="target")
def fixture_target(tmp_path):
    """Return the store to copy to."""
    return DirectoryStore(str(tmp_path / "target"))


def copy(fleet: Fleet, target: DirectoryStore, *users: str, check: bool = False, **options: t.Any) -> t.Any:
    """Copy the sessions of users, by default all sessions, and return the reports."""
    readings = (
        read_requested(fleet.store, fleet.token_requests(*users)) if users else read_stored(fleet.store, TokenRequest)
    )
    where = Target(target, time.monotonic() + options.pop("seconds", 30), **options)
    return list(copy_sessions(readings, fleet.store.name, where, max_parallel=2, check=check))


def state_of(store: DirectoryStore, fleet: Fleet, name: str) -> StoredState:
    """Return the state of a user's session in a store."""
    return store.read(fleet.session(name).key)


def files_in(store: DirectoryStore) -> dict[str, tuple[bytes, int]]:
    """Return the content and the modification time of each file of a store."""
    files = Path(store.name).iterdir()
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def test_a_copy_has_all_states_and_the_source_is_not_changed(fleet, target):
    records = fleet.have({"alice": CURRENT, "bob": STALE, "carol": CURRENT})
    put(fleet.store, records["carol"]._replace(keep_alive=KEEP_ALIVE, session_id="s-1").ended_with("InvalidLoginToken"))
    leave_note(fleet.store, fleet.session("bob"), records["bob"].login_token)
    before = files_in(fleet.store)
    reports = copy(fleet, target)
    assert files_in(fleet.store) == before
    assert all(outcome_of(report).copied for report in reports)
    for name in records:
        assert state_of(target, fleet, name) == state_of(fleet.store, fleet, name)
    assert state_of(target, fleet, "bob").may_be_spent(records["bob"].login_token)
    assert not any(outcome_of(report).changed for report in copy(fleet, target))
    assert fleet.requests() == 0


def test_a_request_in_progress_in_the_source_causes_a_warning(fleet, target):
    records = fleet.have({"alice": CURRENT, "bob": CURRENT})
    leave_note(fleet.store, fleet.session("bob"), records["bob"].login_token)
    warned = {report.session.end_user_id: report.warnings for report in copy(fleet, target)}
    assert warned["alice"] == ()
    assert "Stop all tasks" in warned["bob"][0]


def test_records_that_cannot_be_read_are_reported_and_do_not_stop_others(fleet, target):
    fleet.have({"alice": CURRENT, "bob": CURRENT, "carol": CURRENT})
    for name, data in {"alice": b"[]", "bob": b'{"format": 2}'}.items():
        write_file(file_of(Path(fleet.store.name), fleet.session(name)), data)
    reports = copy(fleet, target)
    keys = {name: fleet.session(name).key for name in ("alice", "bob")}
    assert ends(reports) == {keys["alice"]: "DamagedRecord", keys["bob"]: "NewerFormat", "carol": "refreshed"}
    named = ends(copy(fleet, target, "alice", "bob", "carol", "dave"))
    assert named == {"alice": "DamagedRecord", "bob": "NewerFormat", "carol": "unchanged", "dave": "NoLoginToken"}


def test_a_damaged_record_of_the_target_is_set_aside(fleet, target):
    fleet.have({"alice": CURRENT, "bob": CURRENT})
    copy(fleet, target)
    file = file_of(Path(target.name), fleet.session("alice"))
    write_file(file, b"[]")
    (predicted,) = (report for report in copy(fleet, target, check=True) if report.warnings)
    assert "would be set aside" in predicted.warnings[0]
    assert outcome_of(predicted).copied
    (report,) = (report for report in copy(fleet, target) if report.warnings)
    assert "was set aside" in report.warnings[0]
    assert state_of(target, fleet, "alice").record == fleet.stored("alice")
    assert len(list(Path(target.name).glob("*.damaged-*"))) == 1


def test_a_newer_format_in_the_target_is_not_replaced(fleet, target):
    fleet.have({"alice": CURRENT})
    copy(fleet, target)
    file = file_of(Path(target.name), fleet.session("alice"))
    write_file(file, b'{"format": 2}')
    before = files_in(target)
    assert ends(copy(fleet, target)) == {"alice": "NewerFormat"}
    assert files_in(target) == before


def test_check_mode_predicts_and_writes_nothing(fleet, target):
    fleet.have({"alice": CURRENT, "bob": CURRENT})
    copy(fleet, target, "alice")
    before = files_in(target)
    predicted = {report.session.end_user_id: outcome_of(report).copied for report in copy(fleet, target, check=True)}
    assert predicted == {"alice": False, "bob": True}
    assert files_in(target) == before


def test_a_store_that_must_not_hold_keep_alive_tokens_gets_none(fleet, target):
    records = fleet.have({"alice": CURRENT, "bob": CURRENT})
    put(fleet.store, records["alice"]._replace(keep_alive=KEEP_ALIVE))
    for check in (True, False):
        reports = copy(fleet, target, check=check, accepts_keep_alive=False)
        assert ends(reports) == {"alice": "InvalidOption", "bob": "refreshed"}
    assert state_of(target, fleet, "alice").record is None


def test_a_damaged_record_is_not_set_aside_for_a_session_that_cannot_be_copied(fleet, target):
    record = fleet.have({"alice": CURRENT})["alice"]
    copy(fleet, target)
    put(fleet.store, record._replace(keep_alive=KEEP_ALIVE))
    write_file(file_of(Path(target.name), fleet.session("alice")), b"[]")
    item = _Item(0, record.session, state_of(fleet.store, fleet, "alice"))
    where = Target(target, time.monotonic() + 30, accepts_keep_alive=False)
    with pytest.raises(OptionError):
        where.copy(item, print)
    assert not list(Path(target.name).glob("*.damaged-*"))


def test_a_token_that_another_task_saves_in_the_meantime_is_not_replaced(fleet, target, monkeypatch):
    record = fleet.have({"alice": CURRENT})["alice"]
    newer = next_record(record, record.session, record.login_token, "v1newer", time.time(), None, None)
    lock = DirectoryStore.lock

    def save_first(store, *arguments):
        monkeypatch.setattr(DirectoryStore, "lock", lock)
        put(target, newer)
        return lock(store, *arguments)

    monkeypatch.setattr(DirectoryStore, "lock", save_first)
    (report,) = copy(fleet, target)
    assert not outcome_of(report).changed
    assert state_of(target, fleet, "alice").record == newer


@pytest.mark.parametrize("writes", range(4))
def test_an_interrupted_copy_is_completed_by_the_next_one(fleet, target, monkeypatch, writes):
    records = fleet.have({"alice": CURRENT, "bob": CURRENT})
    leave_note(fleet.store, fleet.session("bob"), records["bob"].login_token)
    left, write = [writes], TwoSlotWriter.write

    def write_or_fail(slots, value):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        write(slots, value)

    with monkeypatch.context() as patched:
        patched.setattr(TwoSlotWriter, "write", write_or_fail)
        assert "StoreUnavailable" in ends(copy(fleet, target)).values()
    for name, record in records.items():
        state = state_of(target, fleet, name)
        assert state.record in (None, record)
        assert state.record is None or name == "alice" or state.may_be_spent(record.login_token)
    assert set(ends(copy(fleet, target)).values()) <= {"refreshed", "unchanged"}
    for name in records:
        assert state_of(target, fleet, name) == state_of(fleet.store, fleet, name)


def test_after_the_deadline_nothing_more_is_copied(fleet, target):
    fleet.have({"alice": CURRENT, "bob": CURRENT})
    assert ends(copy(fleet, target, seconds=-1)) == dict.fromkeys(("alice", "bob"), "DeadlineExceeded")
    assert not Path(target.name).exists()


def test_after_a_signal_nothing_more_is_copied(fleet, target, monkeypatch):
    fleet.have({"alice": CURRENT, "bob": CURRENT})
    monkeypatch.setattr(signals, "_received", [15])
    monkeypatch.setattr(signals, "_deliver", lambda: None)
    assert ends(copy(fleet, target)) == dict.fromkeys(("alice", "bob"), "Interrupted")
    assert not Path(target.name).exists()
