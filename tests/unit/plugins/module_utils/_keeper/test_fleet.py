# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many sessions at once: who comes first, whom a failure stops, and what a deadline and a signal leave behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper import pool
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import (
    Outcome,
    TokenRequest,
)
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.fleet import (
    keep_all,
    read_requested,
    read_stored,
)
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model.encoding import dump_line
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    OptionError,
    StoreError,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin import wiring
from ansible_collections.wuying.workspace.plugins.module_utils._runtime.signals import (
    defer_signals,
    hold_signals,
)
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import Store
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import (
    CURRENT,
    EXPIRED,
    STALE,
    Fleet,
    end_of,
    ends,
    outcome_of,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.house import (
    file_of,
    put,
    write_file,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    RedisServers,
    require_redis,
)

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.tests.unit.conftest import Emulator

FORK = multiprocessing.get_context("fork")


@pytest.fixture(name="encrypted")
def fixture_sealed(emulator: Emulator, store_path: Path) -> t.Callable[..., Fleet]:
    """Return a function that returns the fleet as whoever has certain keys sees it."""
    pytest.importorskip("cryptography")
    from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import (
        Encryption,
    )

    return lambda *keys: Fleet(DirectoryStore(str(store_path), Encryption(keys) if keys else None), emulator)


def new_key() -> str:
    """Return a key for ``store_key``."""
    from cryptography.fernet import Fernet

    return str(Fernet.generate_key().decode("ascii"))


def record_file(fleet: Fleet, store_path: Path, name: str) -> Path:
    """Return the file that has a user's record."""
    return file_of(store_path, fleet.session(name))


# Who comes first


def test_the_token_that_expires_first_is_exchanged_first(fleet: Fleet) -> None:
    fleet.have({"late": 250, "dead": EXPIRED, "soon": 20, "later": 280, "early": 120})
    fleet.keep(max_parallel=1)
    assert fleet.users() == ["dead", "soon", "early", "late", "later"]


def test_a_user_who_logged_in_comes_before_all_whose_tokens_expire(fleet: Fleet) -> None:
    fleet.have({"dead": EXPIRED, "again": CURRENT, "soon": 20})
    new = [TokenRequest(fleet.session(name), login_token=fleet.emulator.issue(name)) for name in ("again", "new")]
    fleet.keep([*fleet.token_requests("soon", "dead"), *new], max_parallel=1)
    assert set(fleet.users()[:2]) == {"again", "new"}
    assert fleet.users()[2:] == ["dead", "soon"]


def test_a_token_that_the_session_knows_is_no_reason_to_come_first(fleet: Fleet) -> None:
    fleet.have({"dead": EXPIRED, "known": 50})
    requests = [
        *fleet.token_requests("known", login_token="v1first-of-known"),
        *fleet.token_requests("dead"),
    ]
    fleet.keep(requests, max_parallel=1)
    assert fleet.users() == ["dead", "known"]


def test_current_sessions_are_reported_before_anything_is_sent(fleet: Fleet) -> None:
    fleet.have({"stale": STALE, "current": CURRENT})
    with fleet.keeper() as keeper:
        reports = keep_all(keeper, read_requested(fleet.store, fleet.token_requests("stale", "current")))
        assert ends([next(reports)]) == {"current": "served"}
        assert fleet.requests() == 0
        assert ends(reports) == {"stale": "exchanged"}


def test_current_sessions_are_served_without_a_request(fleet: Fleet) -> None:
    records = fleet.have(dict.fromkeys("abcd", CURRENT))
    reports = fleet.keep()
    assert ends(reports) == dict.fromkeys("abcd", "served")
    assert {outcome_of(report).record for report in reports} == set(records.values())
    assert fleet.requests() == 0


def test_due_sessions_are_exchanged_side_by_side(fleet: Fleet) -> None:
    names = [f"user-{number}" for number in range(4)]
    fleet.have(dict.fromkeys(names, STALE))
    fleet.emulator.fault("drip", interval=0.001, count=None)
    begin = time.monotonic()
    fleet.keep(max_parallel=1)
    alone = time.monotonic() - begin
    fleet.have(dict.fromkeys(names, STALE))
    begin = time.monotonic()
    assert ends(fleet.keep(max_parallel=8)) == dict.fromkeys(names, "exchanged")
    assert time.monotonic() - begin < alone / 2


def test_no_more_sessions_than_max_parallel_are_under_way(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.have(dict.fromkeys("abcdefgh", STALE))
    under_way: list[int] = [0]
    most, guard, refresh = [0], threading.Lock(), Keeper.refresh

    def counted(*arguments: t.Any) -> t.Any:
        with guard:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        try:
            time.sleep(0.02)
            return refresh(*arguments)
        finally:
            with guard:
                under_way[0] -= 1

    monkeypatch.setattr(Keeper, "refresh", counted)
    fleet.keep(max_parallel=3)
    assert most == [3]


def test_reports_tell_the_place_of_each_session_among_those_asked_for(fleet: Fleet) -> None:
    fleet.have({"current": CURRENT, "stale": STALE, "dead": EXPIRED})
    reports = fleet.keep(fleet.token_requests("stale", "current", "nobody", "dead"))
    places = {report.session.end_user_id: report.position for report in reports if report.session}
    assert places == {"stale": 0, "current": 1, "nobody": 2, "dead": 3}


def test_the_sessions_of_the_store_are_those_that_are_asked_something_of(fleet: Fleet) -> None:
    fleet.have(dict.fromkeys("abc", STALE))
    with fleet.keeper() as keeper:
        readings = read_stored(
            fleet.store,
            lambda session: None if session.end_user_id == "b" else TokenRequest(session),
        )
        assert set(ends(keep_all(keeper, readings))) == {"a", "c"}
    assert sorted(fleet.users()) == ["a", "c"]


def test_an_empty_store_has_nothing_to_keep_and_nothing_is_made(fleet: Fleet, store_path: Path) -> None:
    assert fleet.keep() == []
    assert not store_path.exists()


# Failures


def test_one_failure_does_not_stop_the_others(fleet: Fleet) -> None:
    fleet.have({"refused": EXPIRED, "a": STALE, "b": STALE})
    fleet.emulator.fault("error", code="InvalidLoginToken", status=400)
    reports = fleet.keep(fleet.token_requests("a", "nobody", "refused", "b"), max_parallel=1)
    assert ends(reports) == {
        "nobody": "NoLoginToken",
        "refused": "InvalidLoginToken",
        "a": "exchanged",
        "b": "exchanged",
    }


def test_a_session_that_is_asked_for_twice_is_exchanged_once(fleet: Fleet) -> None:
    fleet.have({"alice": STALE})
    reports = fleet.keep(fleet.token_requests(*["alice"] * 8))
    assert len(reports) == 8
    assert len({outcome_of(report).record for report in reports}) == 1
    assert fleet.requests() == 1


def test_a_new_login_that_is_passed_twice_is_exchanged_once(rotating: Fleet) -> None:
    token = rotating.emulator.issue("alice")
    reports = rotating.keep(rotating.token_requests("alice", "alice", login_token=token))
    assert sorted(outcome_of(report).changed for report in reports) == [False, True]
    assert rotating.requests() == 1


@pytest.mark.parametrize("max_parallel", [1, 8])
def test_a_session_that_is_asked_for_twice_fails_once(fleet: Fleet, max_parallel: int) -> None:
    fleet.have({"alice": EXPIRED})
    fleet.emulator.fault("status", count=None)
    reports = fleet.keep(fleet.token_requests("alice", "alice", "alice"), max_parallel=max_parallel)
    assert [end_of(report) for report in reports] == ["ServiceUnavailable"] * 3
    assert fleet.requests() == 1


def test_stale_tokens_are_served_with_a_warning_each_where_the_service_fails(
    fleet: Fleet,
) -> None:
    fleet.have({"a": STALE, "b": STALE, "dead": EXPIRED})
    fleet.emulator.fault("status", count=None)
    reports = fleet.keep()
    assert ends(reports) == {"a": "served", "b": "served", "dead": "ServiceUnavailable"}
    assert sorted(len(report.warnings) for report in reports) == [0, 1, 1]


def test_records_that_cannot_be_read_are_reported_by_key_and_others_go_on(fleet: Fleet, store_path: Path) -> None:
    fleet.have({"damaged": STALE, "newer": STALE, "a": STALE, "b": CURRENT})
    keys = {name: fleet.session(name).key for name in ("damaged", "newer")}
    record_file(fleet, store_path, "damaged").write_bytes(b"{")
    newer = {"format": 99, "session": fleet.session("newer").identity()}
    write_file(record_file(fleet, store_path, "newer"), dump_line(newer))
    reports = fleet.keep()
    assert ends(reports) == {
        keys["damaged"]: "DamagedRecord",
        keys["newer"]: "NewerFormat",
        "a": "exchanged",
        "b": "served",
    }
    assert record_file(fleet, store_path, "damaged").read_bytes() == b"{"


def test_a_damaged_record_is_set_aside_with_a_warning_where_its_user_logged_in_again(
    fleet: Fleet, store_path: Path
) -> None:
    fleet.have({"alice": STALE})
    record_file(fleet, store_path, "alice").write_bytes(b"{")
    (report,) = fleet.keep(fleet.token_requests("alice", login_token=fleet.emulator.issue("alice")))
    assert ends([report]) == {"alice": "exchanged"}
    assert "set aside" in report.warnings[0]
    assert [path.read_bytes() for path in store_path.glob("*.damaged-*")] == [b"{"]


def test_a_connection_that_cannot_be_made_fails_each_due_session_and_is_tried_once(
    fleet: Fleet,
) -> None:
    fleet.have({"a": STALE, "b": EXPIRED, "c": CURRENT, "d": STALE})
    calls: list[int] = []

    def connect() -> t.NoReturn:
        calls.append(1)
        time.sleep(0.1)
        raise OptionError("There are no credentials.", code="MissingCredentials")

    keeper = Keeper(fleet.store, wiring._once(connect), scope="", deadline=time.monotonic() + 20)
    reports = list(keep_all(keeper, read_stored(fleet.store, TokenRequest)))
    missing = dict.fromkeys("abd", "MissingCredentials")
    assert ends(reports) == {**missing, "c": "served"}
    assert calls == [1]
    assert all(fleet.store.read(fleet.session(name).key).note is None for name in "abd")


def test_the_service_is_connected_to_once_by_many_threads(fleet: Fleet) -> None:
    fleet.have(dict.fromkeys("abcdefgh", STALE))
    calls: list[int] = []
    with fleet.keeper() as plain:

        def connect() -> t.Any:
            calls.append(1)
            time.sleep(0.1)
            return plain._connect()

        keeper = Keeper(fleet.store, wiring._once(connect), scope="", deadline=time.monotonic() + 20)
        reports = list(keep_all(keeper, read_stored(fleet.store, TokenRequest)))
    assert ends(reports) == dict.fromkeys("abcdefgh", "exchanged")
    assert calls == [1]


# Check mode


def test_check_mode_predicts_everything_and_sends_and_writes_nothing(fleet: Fleet, store_path: Path) -> None:
    fleet.have({"stale": STALE, "dead": EXPIRED, "current": CURRENT, "damaged": STALE})
    record_file(fleet, store_path, "damaged").write_bytes(b"{")
    before = {path.name: path.read_bytes() for path in store_path.iterdir()}
    requests = fleet.token_requests("stale", "dead", "current", "nobody")
    token = fleet.emulator.issue("new")
    requests += [
        *fleet.token_requests("new", login_token=token),
        *fleet.token_requests("damaged", login_token=token),
    ]
    reports = fleet.keep(requests, check=True)
    assert ends(reports) == {
        "stale": "exchanged",
        "dead": "exchanged",
        "current": "served",
        "nobody": "NoLoginToken",
        "new": "exchanged",
        "damaged": "exchanged",
    }
    assert "would be set aside" in reports[-1].warnings[0]
    assert fleet.requests() == 0
    assert {path.name: path.read_bytes() for path in store_path.iterdir()} == before


def test_check_mode_predicts_which_records_are_written_anew_and_writes_none(
    encrypted: t.Callable[..., Fleet], store_path: Path
) -> None:
    old, new = new_key(), new_key()
    encrypted(old).have({"a": CURRENT})
    encrypted(new).have({"b": CURRENT})
    before = {path.name: path.read_bytes() for path in store_path.iterdir()}
    reports = encrypted(new, old).keep(check=True, rekey=True)
    rekeyed = {report.session.end_user_id: report.rekeyed for report in reports if report.session}
    assert rekeyed == {"a": True, "b": False}
    assert {path.name: path.read_bytes() for path in store_path.iterdir()} == before


# The deadline


def test_after_the_deadline_the_living_are_served_with_a_warning_and_others_fail(
    fleet: Fleet,
) -> None:
    fleet.have({"a": STALE, "dead": EXPIRED, "c": STALE, "current": CURRENT})
    reports = fleet.keep(seconds=-1)
    assert ends(reports) == {
        "a": "served",
        "c": "served",
        "dead": "DeadlineExceeded",
        "current": "served",
    }
    warned = {report.session.end_user_id for report in reports if report.warnings and report.session}
    assert warned == {"a", "c"}
    assert all(fleet.store.read(report.key).note is None for report in reports)
    assert fleet.requests() == 0


def test_a_service_that_stalls_holds_a_fleet_no_longer_than_the_deadline(fleet: Fleet) -> None:
    fleet.have(dict.fromkeys("abcdefgh", STALE))
    fleet.emulator.fault("stall", count=None)
    begin = time.monotonic()
    reports = fleet.keep(seconds=2, max_parallel=2, timeout=30, retries=3)
    assert time.monotonic() - begin < 4
    assert ends(reports) == dict.fromkeys("abcdefgh", "served")
    assert all("deadline" in report.warnings[0] for report in reports if report.key not in _sent(fleet))
    assert fleet.requests() == 2


def _sent(fleet: Fleet) -> set[str]:
    """Return the keys of the sessions that the service saw."""
    return {fleet.session(name).key for name in fleet.users()}


# A signal


def keep_as_a_program(fleet: Fleet, result: Path) -> None:
    """Keep the fleet as a task does that is told to stop: it writes down how its sessions fared, and then dies."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with defer_signals():
        reports = fleet.keep(max_parallel=3, timeout=30)
        result.write_text(json.dumps(ends(reports)), encoding="utf-8")


def test_a_signal_has_those_finish_that_began_and_no_other_begin_and_no_token_is_lost(
    rotating: Fleet, tmp_path: Path
) -> None:
    names = [f"user-{number}" for number in range(12)]
    before = rotating.have(dict.fromkeys(names, STALE))
    rotating.emulator.fault("drip", interval=0.004, carried_out=True, count=None)
    result = tmp_path / "result.json"
    process = FORK.Process(target=keep_as_a_program, args=(rotating, result))
    process.start()
    end = time.monotonic() + 20
    while rotating.requests() < 3:
        assert time.monotonic() < end
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    process.join(30)
    assert process.exitcode == -signal.SIGTERM
    ended = json.loads(result.read_text(encoding="utf-8"))
    begun = set(rotating.users())
    assert 3 <= len(begun) < 12
    assert {name for name, end in ended.items() if end == "exchanged"} == begun
    assert {end for name, end in ended.items() if name not in begun} == {"Interrupted"}
    assert {name for name in names if rotating.stored(name) != before[name]} == begun
    rotating.emulator.clear()
    again = rotating.keep(rotating.token_requests(*names, force=True))
    assert ends(again) == dict.fromkeys(names, "exchanged")


def test_a_signal_before_the_first_turn_leaves_all_as_it_was(fleet: Fleet) -> None:
    told: list[int] = []
    handler = signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    fleet.have({"a": STALE, "b": EXPIRED, "c": CURRENT})
    try:
        with fleet.keeper() as keeper:
            reports = keep_all(keeper, read_requested(fleet.store, fleet.token_requests("c", "a", "b")))
            got = [next(reports)]
            with hold_signals():
                os.kill(os.getpid(), signal.SIGTERM)
                got += reports
            assert told == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert ends(got) == {"c": "served", "a": "Interrupted", "b": "Interrupted"}
    assert all(isinstance(each.result, WuyingError) and each.result.retryable for each in got[1:])
    assert fleet.requests() == 0


# Threads


def soon_as_few(threads: int) -> bool:
    """Say whether no more threads are left; those that were told to end may take a moment."""
    end = time.monotonic() + 2
    while threading.active_count() > threads and time.monotonic() < end:
        time.sleep(0.01)
    return threading.active_count() <= threads


def test_no_thread_is_left_afterwards(fleet: Fleet) -> None:
    fleet.have(dict.fromkeys("abcdefgh", STALE))
    before = threading.active_count()
    fleet.keep()
    assert soon_as_few(before)


def test_no_thread_is_left_where_nobody_wants_the_rest_of_the_reports(fleet: Fleet) -> None:
    fleet.have(dict.fromkeys("abcdefgh", STALE))
    before = threading.active_count()
    with fleet.keeper() as keeper:
        reports = keep_all(keeper, read_stored(fleet.store, TokenRequest))
        next(reports)
        t.cast(t.Any, reports).close()
        assert not [each for each in threading.enumerate() if "ThreadPool" in each.name]
    assert soon_as_few(before)


def test_an_error_that_nobody_foresaw_is_one_session_s_failure(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.have(dict.fromkeys("abcd", STALE))

    refresh = Keeper.refresh

    def fail(keeper: Keeper, request: TokenRequest, *arguments: t.Any) -> Outcome:
        if request.session.end_user_id == "b":
            raise KeyError("v1secret")
        return refresh(keeper, request, *arguments)

    monkeypatch.setattr(Keeper, "refresh", fail)
    results = {report.session.end_user_id: report.result for report in fleet.keep() if report.session}
    failed = results.pop("b")
    assert isinstance(failed, WuyingError)
    assert (failed.code, failed.retryable) == ("Unforeseen", True)
    assert "KeyError" in failed.message
    assert "v1secret" not in failed.message
    assert all(isinstance(result, Outcome) and result.changed for result in results.values())


def test_with_fewer_threads_than_wanted_all_is_done_all_the_same(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.have(dict.fromkeys("abcdefgh", STALE))
    start, started = threading.Thread.start, []

    def start_some(thread: threading.Thread) -> None:
        if "ThreadPool" in thread.name:
            started.append(thread)
            if len(started) > 1:
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    reports = list(fleet.keep())
    assert sum(isinstance(report.result, Outcome) and report.result.changed for report in reports) == 8


def test_a_failure_holds_no_frames(fleet: Fleet) -> None:
    fleet.have(dict.fromkeys("abcd", STALE))
    fleet.emulator.fault("error", code="InvalidLoginToken", count=None)
    failures = [report.result for report in fleet.keep()]
    assert len(failures) == 4
    assert all(isinstance(each, WuyingError) and each.__traceback__ is None for each in failures)


def test_a_session_that_is_forgotten_before_its_turn_is_no_failure(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.have({"a": STALE})
    refresh = Keeper.refresh

    def forget_first(keeper: Keeper, request: TokenRequest, *arguments: t.Any) -> Outcome:
        keeper.delete(request.session.key)
        return refresh(keeper, request, *arguments)

    monkeypatch.setattr(Keeper, "refresh", forget_first)
    (report,) = fleet.keep()
    assert report.result == Outcome(False)
    assert fleet.stored("a") is None


# Another key


def test_records_under_another_key_or_none_are_written_anew_also_those_that_ended(
    encrypted: t.Callable[..., Fleet], store_path: Path
) -> None:
    old, new = new_key(), new_key()
    encrypted().have({"plain": CURRENT})
    ended = encrypted(old).have({"ended": CURRENT})["ended"].ended_with("InvalidLoginToken")
    put(encrypted(old).store, ended)
    encrypted(old).have({"old": CURRENT})
    encrypted(new).have({"new": CURRENT})
    reports = encrypted(new, old).keep(rekey=True)
    assert ends(reports) == {
        "plain": "served",
        "ended": "SessionEnded",
        "old": "served",
        "new": "served",
    }
    rekeyed = {report.session.end_user_id for report in reports if report.rekeyed and report.session}
    assert rekeyed == {"plain", "ended", "old"}
    only_new = encrypted(new)
    assert {name for name in ("plain", "ended", "old", "new") if only_new.stored(name)} == {
        "plain",
        "ended",
        "old",
        "new",
    }
    assert only_new.stored("ended") == ended
    again = encrypted(new, old).keep(rekey=True)
    assert not any(report.rekeyed for report in again)


def test_a_record_that_is_written_anew_needs_no_service(
    encrypted: t.Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_TURNS", 10)
    first, second = new_key(), new_key()
    names = [f"user-{number}" for number in range(40)]
    encrypted(first).have(dict.fromkeys(names, CURRENT))
    fleet = encrypted(second, first)

    def fail() -> t.NoReturn:
        raise AssertionError("credentials were asked for")

    keeper = Keeper(fleet.store, fail, scope="", deadline=time.monotonic() + 30)
    reports = list(keep_all(keeper, read_stored(fleet.store, TokenRequest), rekey=True))
    assert ends(reports) == dict.fromkeys(names, "served")
    assert all(report.rekeyed for report in reports)


def test_a_token_that_could_not_be_kept_is_not_written_under_the_first_key(
    encrypted: t.Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = new_key(), new_key()
    encrypted(first).have({"alice": STALE})
    fleet = encrypted(second, first)

    def fail(_slot: object, _record: object) -> t.NoReturn:
        raise StoreError("The disk is gone.")

    monkeypatch.setattr(f"{DirectoryStore.__module__}._SessionFile.save", fail)
    (report,) = fleet.keep(rekey=True)
    assert outcome_of(report).not_saved is not None
    assert not report.rekeyed


def test_what_nobody_foresaw_while_a_record_is_written_anew_is_a_warning_of_the_session(
    encrypted: t.Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = new_key(), new_key()
    encrypted(first).have({"alice": CURRENT, "bob": CURRENT})
    fleet = encrypted(second, first)

    def fail(_slot: object, _record: object) -> t.NoReturn:
        raise MemoryError

    monkeypatch.setattr(f"{DirectoryStore.__module__}._SessionFile.reencrypt", fail)
    reports = fleet.keep(rekey=True)
    assert ends(reports) == {"alice": "served", "bob": "served"}
    assert all("unforeseen" in report.warnings[0] for report in reports)


def test_without_rekey_no_record_is_written_anew(encrypted: t.Callable[..., Fleet], store_path: Path) -> None:
    old = new_key()
    fleet = encrypted(old)
    fleet.have({"a": CURRENT})
    before = record_file(fleet, store_path, "a").read_bytes()
    assert ends(encrypted(new_key(), old).keep()) == {"a": "served"}
    assert record_file(fleet, store_path, "a").read_bytes() == before


def test_a_record_under_a_key_that_is_not_at_hand_is_reported_and_others_go_on(
    encrypted: t.Callable[..., Fleet], store_path: Path
) -> None:
    old, new = new_key(), new_key()
    fleet = encrypted(old)
    fleet.have({"a": STALE})
    before = record_file(fleet, store_path, "a").read_bytes()
    encrypted(new).have({"b": STALE})
    reports = encrypted(new).keep(rekey=True)
    assert ends(reports) == {fleet.session("a").key: "WrongStoreKey", "b": "exchanged"}
    assert record_file(fleet, store_path, "a").read_bytes() == before


def test_a_record_that_somebody_holds_keeps_no_other_session_from_its_exchange(
    encrypted: t.Callable[..., Fleet],
) -> None:
    old, new = new_key(), new_key()
    encrypted(old).have({**dict.fromkeys("abcd", STALE), "held": CURRENT})
    fleet = encrypted(new, old)
    with encrypted(old).store.lock(fleet.session("held").key, time.monotonic() + 5):
        reports = fleet.keep(rekey=True, seconds=3)
    assert ends(reports) == {**dict.fromkeys("abcd", "exchanged"), "held": "served"}
    held = next(each for each in reports if each.session == fleet.session("held"))
    assert not held.rekeyed
    assert "could not be written anew" in held.warnings[0]


def test_who_waits_for_a_lock_ends_at_a_signal(fleet: Fleet, store_path: Path) -> None:
    fleet.have({"a": EXPIRED, "b": STALE})
    handler = signal.signal(signal.SIGTERM, lambda *_signal: None)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    begun = time.monotonic()
    try:
        others, soon = DirectoryStore(str(store_path)), time.monotonic() + 5
        first, second = (others.lock(fleet.session(name).key, soon) for name in "ab")
        with first, second:
            reports = fleet.keep(seconds=60)
    finally:
        timer.join()
        signal.signal(signal.SIGTERM, handler)
    assert time.monotonic() - begun < 20
    assert ends(reports) == {"a": "DeadlineExceeded", "b": "served"}


# Redis


@pytest.fixture(name="redis")
def fixture_redis(emulator: Emulator, tmp_path: Path) -> t.Iterator[tuple[t.Any, t.Callable[..., Fleet]]]:
    """Return a Redis server, and a function that returns the fleet whose records are in it, as a task sees it."""
    require_redis()
    from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import (
        parse_address,
    )
    from ansible_collections.wuying.workspace.plugins.module_utils._redis.store import RedisStore

    servers = RedisServers(tmp_path)
    server = servers()
    stores: list[Store] = []

    def open_fleet(seconds: float = 60) -> Fleet:
        stores.append(
            RedisStore(
                parse_address(server.address),
                username=None,
                password=None,
                ca_path=None,
                deadline=time.monotonic() + seconds,
            )
        )
        return Fleet(stores[-1], emulator)

    yield server, open_fleet
    for store in stores:
        store.close()
    servers.stop()


@pytest.fixture(name="redis_fleet")
def fixture_redis_fleet(redis: tuple[t.Any, t.Callable[..., Fleet]]) -> Fleet:
    """Return a fleet whose records are in Redis."""
    return redis[1]()


def test_with_a_redis_that_hangs_the_deadline_holds_for_all(
    redis: tuple[t.Any, t.Callable[..., Fleet]],
) -> None:
    server, open_fleet = redis
    names = [f"user-{number}" for number in range(60)]
    open_fleet().have(dict.fromkeys(names, STALE))
    fleet = open_fleet(seconds=3)
    with fleet.keeper(seconds=3) as keeper:
        readings = list(read_requested(fleet.store, fleet.token_requests(*names)))
        server.pause()
        begun = time.monotonic()
        try:
            reports = list(keep_all(keeper, readings))
        finally:
            server.resume()
    assert time.monotonic() - begun < 12
    assert set(ends(reports).values()) == {"StoreUnavailable"}


def test_with_redis_the_same_happens(redis_fleet: Fleet) -> None:
    names = [f"user-{number}" for number in range(30)]
    redis_fleet.have({**dict.fromkeys(names, STALE), "dead": EXPIRED, "first": -50, "current": CURRENT})
    reports = redis_fleet.keep(max_parallel=1)
    exchanged = dict.fromkeys([*names, "dead", "first"], "exchanged")
    assert ends(reports) == {**exchanged, "current": "served"}
    assert redis_fleet.users()[:2] == ["first", "dead"]
    again = redis_fleet.keep(redis_fleet.token_requests(*names, "nobody"))
    assert ends(again) == {**dict.fromkeys(names, "served"), "nobody": "NoLoginToken"}
    assert redis_fleet.requests() == 32


def test_with_redis_many_threads_exchange_each_session_once(redis_fleet: Fleet) -> None:
    names = [f"user-{number}" for number in range(30)]
    redis_fleet.have(dict.fromkeys(names, STALE))
    before = threading.active_count()
    reports = redis_fleet.keep(redis_fleet.token_requests(*names, *names))
    assert len(reports) == 60
    assert set(ends(reports).values()) <= {"exchanged", "served"}
    assert sorted(redis_fleet.users()) == sorted(names)
    redis_fleet.store.close()
    assert soon_as_few(before)


def test_with_redis_many_processes_exchange_each_session_once(
    redis: tuple[t.Any, t.Callable[..., Fleet]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, open_fleet = redis
    monkeypatch.setattr(pool, "_TURNS", 10)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1}, raising=False)
    server.client().config_set("appendonly", "no")
    names = [f"user-{number}" for number in range(40)]
    before = open_fleet().have(dict.fromkeys(names, STALE))
    fleet = open_fleet()
    assert ends(fleet.keep()) == dict.fromkeys(names, "exchanged")
    assert fleet.requests() == len(names)
    assert all(fleet.stored(name) != before[name] for name in names)
    # What each process has noticed of the store is said once.
    (warning,) = fleet.store.warnings
    assert "does not save data to disk" in warning


def test_with_redis_the_living_are_served_after_the_deadline(redis_fleet: Fleet) -> None:
    redis_fleet.have({"a": STALE, "dead": EXPIRED})
    reports = redis_fleet.keep(seconds=-1)
    assert ends(reports) == {"a": "served", "dead": "DeadlineExceeded"}
    assert redis_fleet.requests() == 0
