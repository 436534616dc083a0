# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test which record wins if a session is copied to another store, and that nothing is lost."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.copy import Target, combine, copy_sessions
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.fleet import read_requested, read_stored
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import Note, new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record, StoredState, next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._runtime import signals
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.two_slot_file import TwoSlotFile
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import (
    CURRENT,
    STALE,
    Fleet,
    TokenRequest,
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
    return combine(StoredState(source, first), StoredState(target, second), NOW + 1)


# Which record wins


def test_a_session_that_is_only_in_the_source_is_copied_unchanged():
    source = record_of("v1a")._replace(keep_alive=KEEP_ALIVE, session_id="s-1", uuid="u-1", ended="InvalidLoginToken")
    assert combined(source, None) == StoredState(source)


def test_a_target_with_the_same_token_stays_as_it_is():
    source = record_of("v1a")
    assert combined(source, source) is None
    assert combined(source, source.ended_with("InvalidLoginToken")) is None
    assert combined(source.ended_with("InvalidLoginToken"), source) is None


LATER = 100


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
    left, write = [writes], TwoSlotFile.write

    def write_or_fail(slots, value):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        write(slots, value)

    with monkeypatch.context() as patched:
        patched.setattr(TwoSlotFile, "write", write_or_fail)
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
