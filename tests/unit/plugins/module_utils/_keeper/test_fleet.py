# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test many sessions at once: their order, failures, deadlines and signals."""

from __future__ import annotations

import collections
import json
import multiprocessing
import os
import signal
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper import fleet as fleet_file
from ansible_collections.wuying.workspace.plugins.module_utils._keeper import workers
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import Outcome, TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.fleet import (
    keep_all,
    read_requested,
    read_stored,
)
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model.encoding import dump_line
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    LockTimeout,
    OptionError,
    StoreError,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin import wiring
from ansible_collections.wuying.workspace.plugins.module_utils._runtime.signals import defer_signals, hold_signals
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import Store
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.locked_file import LockedFile
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import (
    CURRENT,
    EXPIRED,
    STALE,
    Fleet,
    end_of,
    ends,
    outcome_of,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    RedisServers,
    require_redis,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import file_of, put, write_file

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.tests.unit.conftest import Emulator

FORK = multiprocessing.get_context("fork")


@pytest.fixture(name="encrypted")
def fixture_encrypted(emulator: Emulator, store_path: Path) -> t.Callable[..., Fleet]:
    """Return a function that opens the sessions with the given keys."""
    pytest.importorskip("cryptography")
    from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import Encryption

    return lambda *keys, **options: Fleet(
        DirectoryStore(str(store_path), Encryption(keys, **options) if keys else None), emulator
    )


def new_key() -> str:
    """Return a key for ``store_key``."""
    from cryptography.fernet import Fernet

    return str(Fernet.generate_key().decode("ascii"))


def record_file(fleet: Fleet, store_path: Path, name: str) -> Path:
    """Return the file of a user's record."""
    return file_of(store_path, fleet.session(name))


# Order


def test_the_token_that_expires_first_is_refreshed_first(fleet: Fleet) -> None:
    fleet.have({"late": 250, "expired": EXPIRED, "soon": 20, "later": 280, "early": 120})
    fleet.keep(max_parallel=1)
    assert fleet.users() == ["expired", "soon", "early", "late", "later"]


def test_a_new_login_comes_before_tokens_that_expire(fleet: Fleet) -> None:
    fleet.have({"expired": EXPIRED, "again": CURRENT, "soon": 20})
    new = [TokenRequest(fleet.session(name), login_token=fleet.emulator.issue(name)) for name in ("again", "new")]
    fleet.keep([*fleet.token_requests("soon", "expired"), *new], max_parallel=1)
    assert set(fleet.users()[:2]) == {"again", "new"}
    assert fleet.users()[2:] == ["expired", "soon"]


def test_a_known_token_does_not_come_first(fleet: Fleet) -> None:
    fleet.have({"expired": EXPIRED, "known": 50})
    requests = [
        *fleet.token_requests("known", login_token="v1first-of-known"),
        *fleet.token_requests("expired"),
    ]
    fleet.keep(requests, max_parallel=1)
    assert fleet.users() == ["expired", "known"]


def test_current_sessions_are_reported_before_anything_is_sent(fleet: Fleet) -> None:
    fleet.have({"stale": STALE, "current": CURRENT})
    with fleet.keeper() as keeper:
        reports = keep_all(keeper, read_requested(fleet.store, fleet.token_requests("stale", "current")))
        assert ends([next(reports)]) == {"current": "unchanged"}
        assert fleet.requests() == 0
        assert ends(reports) == {"stale": "refreshed"}


def test_current_sessions_need_no_request(fleet: Fleet) -> None:
    records = fleet.have(dict.fromkeys("abcd", CURRENT))
    reports = fleet.keep()
    assert ends(reports) == dict.fromkeys("abcd", "unchanged")
    assert {outcome_of(report).record for report in reports} == set(records.values())
    assert fleet.requests() == 0


def test_due_sessions_are_refreshed_in_parallel(fleet: Fleet) -> None:
    names = [f"user-{number}" for number in range(4)]
    fleet.have(dict.fromkeys(names, STALE))
    fleet.emulator.fault("drip", interval=0.001, count=None)
    begin = time.monotonic()
    fleet.keep(max_parallel=1)
    alone = time.monotonic() - begin
    fleet.have(dict.fromkeys(names, STALE))
    begin = time.monotonic()
    assert ends(fleet.keep(max_parallel=8)) == dict.fromkeys(names, "refreshed")
    assert time.monotonic() - begin < alone / 2


def test_no_more_than_max_parallel_sessions_are_refreshed_at_a_time(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.have(dict.fromkeys("abcdefgh", STALE))
    running: list[int] = [0]
    most, guard, obtain = [0], threading.Lock(), Keeper.obtain

    def counted(*arguments: t.Any) -> t.Any:
        with guard:
            running[0] += 1
            most[0] = max(most[0], running[0])
        try:
            time.sleep(0.02)
            return obtain(*arguments)
        finally:
            with guard:
                running[0] -= 1

    monkeypatch.setattr(Keeper, "obtain", counted)
    fleet.keep(max_parallel=3)
    assert most == [3]


def test_reports_have_the_position_of_each_session_in_the_request(fleet: Fleet) -> None:
    fleet.have({"current": CURRENT, "stale": STALE, "expired": EXPIRED})
    reports = fleet.keep(fleet.token_requests("stale", "current", "nobody", "expired"))
    places = {report.session.end_user_id: report.position for report in reports if report.session}
    assert places == {"stale": 0, "current": 1, "nobody": 2, "expired": 3}


def test_stored_sessions_without_a_request_are_skipped(fleet: Fleet) -> None:
    fleet.have(dict.fromkeys("abc", STALE))
    with fleet.keeper() as keeper:
        readings = read_stored(
            fleet.store,
            lambda session: None if session.end_user_id == "b" else TokenRequest(session),
        )
        assert set(ends(keep_all(keeper, readings))) == {"a", "c"}
    assert sorted(fleet.users()) == ["a", "c"]


def test_nothing_is_created_in_an_empty_store(fleet: Fleet, store_path: Path) -> None:
    assert fleet.keep() == []
    assert not store_path.exists()


# Refusals


CODES = """
    Forbidden.SubUser Forbidden.AccountLocked Forbidden NoPermission.Ecd NotAuthorized UnauthorizedOperation AccessDenied
    User.AccessDenied OperationDenied PolicyDenied Account.Arrearage InvalidAccountStatus.NotEnoughBalance OverduePayment
    Account.InDebt ServiceNotOpen Product.NotEnabled OperationConflict Resource.Conflict ConcurrentModification
    OperationInProgress UserLocked EndUser.Locked AccountFrozen OfficeSiteSuspended QuotaExceeded RequestLimitExceeded
    TooManyRequests ServerBusy FlowControl.User Throttled.Later SomethingElse EntityNotExist.User IdempotentParameterMismatch
    UnsupportedOperation IncorrectStatus DryRunOperation InvalidEndUserId.NotFound InvalidParameter.Format MissingUser
    RealNameRequired
""".split()  # noqa: SIM905


@pytest.mark.parametrize("status", [400, 403, 409, 503])
@pytest.mark.parametrize("force", [False, True])
def test_no_unknown_code_ends_a_session_with_a_valid_token(fleet: Fleet, status: int, force: bool) -> None:
    assert len(set(CODES)) == 40
    records = fleet.have(dict.fromkeys(CODES, CURRENT if force else STALE))
    fleet.emulator.control("POST", "faults", [{"fault": "error", "code": code, "status": status} for code in CODES])
    reports = fleet.keep([TokenRequest(fleet.session(code), force=force) for code in CODES], max_parallel=1)
    assert {end_of(report) for report in reports} <= ({"unchanged"} if not force else {*CODES})
    assert fleet.requests() == 40
    assert {code: fleet.stored(code) for code in CODES} == records
    assert set(ends(fleet.keep([TokenRequest(fleet.session(code), force=True) for code in CODES])).values()) == {
        "refreshed"
    }


def test_2000_sessions_recover_in_the_run_after_a_refusal_of_everything(fleet: Fleet) -> None:
    """Half of the tokens are stale, and half have expired."""
    refusals = [
        ("Forbidden.SubUser", 403),
        ("SomethingElse", 403),
        ("Account.Arrearage", 400),
        ("OperationConflict", 409),
    ]
    fleet.have({f"user-{number}": STALE if number % 2 else EXPIRED for number in range(2000)})
    for code, status in refusals:
        fleet.emulator.fault("error", code=code, status=status, count=500)
    first = fleet.keep(max_parallel=16)
    failed = [end_of(report) for report in first if end_of(report) != "unchanged"]
    assert (len(first), len(failed)) == (2000, 1000)
    assert set(failed) <= {code for code, _status in refusals}
    assert not any(report.result.login_needed for report in first if isinstance(report.result, WuyingError))
    assert collections.Counter(map(end_of, fleet.keep(max_parallel=16))) == {"refreshed": 2000}


# Failures


def test_one_failure_does_not_stop_the_others(fleet: Fleet) -> None:
    fleet.have({"refused": EXPIRED, "a": STALE, "b": STALE})
    fleet.emulator.fault("error", code="InvalidLoginToken", status=400)
    reports = fleet.keep(fleet.token_requests("a", "nobody", "refused", "b"), max_parallel=1)
    assert ends(reports) == {
        "nobody": "NoLoginToken",
        "refused": "InvalidLoginToken",
        "a": "refreshed",
        "b": "refreshed",
    }


def test_a_session_requested_twice_is_refreshed_once(fleet: Fleet) -> None:
    fleet.have({"alice": STALE})
    reports = fleet.keep(fleet.token_requests(*["alice"] * 8))
    assert len(reports) == 8
    assert len({outcome_of(report).record for report in reports}) == 1
    assert fleet.requests() == 1


def test_a_new_login_passed_twice_is_refreshed_once(rotating: Fleet) -> None:
    token = rotating.emulator.issue("alice")
    reports = rotating.keep(rotating.token_requests("alice", "alice", login_token=token))
    assert sorted(outcome_of(report).changed for report in reports) == [False, True]
    assert rotating.requests() == 1


@pytest.mark.parametrize("max_parallel", [1, 8])
def test_a_session_requested_twice_fails_with_one_request(fleet: Fleet, max_parallel: int) -> None:
    fleet.have({"alice": EXPIRED})
    fleet.emulator.fault("status", count=None)
    reports = fleet.keep(fleet.token_requests("alice", "alice", "alice"), max_parallel=max_parallel)
    assert [end_of(report) for report in reports] == ["ServiceUnavailable"] * 3
    assert fleet.requests() == 1


def test_each_stale_token_is_returned_with_a_warning_if_the_service_fails(
    fleet: Fleet,
) -> None:
    fleet.have({"a": STALE, "b": STALE, "expired": EXPIRED})
    fleet.emulator.fault("status", count=None)
    reports = fleet.keep()
    assert ends(reports) == {"a": "unchanged", "b": "unchanged", "expired": "ServiceUnavailable"}
    assert sorted(len(report.warnings) for report in reports) == [0, 1, 1]


def test_unreadable_records_are_reported_by_key_and_do_not_stop_others(fleet: Fleet, store_path: Path) -> None:
    fleet.have({"damaged": STALE, "newer": STALE, "a": STALE, "b": CURRENT})
    keys = {name: fleet.session(name).key for name in ("damaged", "newer")}
    record_file(fleet, store_path, "damaged").write_bytes(b"{")
    newer = {"format": 99, "session": fleet.session("newer").identity()}
    write_file(record_file(fleet, store_path, "newer"), dump_line(newer))
    reports = fleet.keep()
    assert ends(reports) == {
        keys["damaged"]: "DamagedRecord",
        keys["newer"]: "NewerFormat",
        "a": "refreshed",
        "b": "unchanged",
    }
    assert record_file(fleet, store_path, "damaged").read_bytes() == b"{"
    for name, key in keys.items():
        (error,) = (report.result for report in reports if report.key == key)
        assert isinstance(error, WuyingError)
        assert str(record_file(fleet, store_path, name)) in error.message


def test_a_new_login_sets_a_damaged_record_aside_with_a_warning(fleet: Fleet, store_path: Path) -> None:
    fleet.have({"alice": STALE})
    record_file(fleet, store_path, "alice").write_bytes(b"{")
    (report,) = fleet.keep(fleet.token_requests("alice", login_token=fleet.emulator.issue("alice")))
    assert ends([report]) == {"alice": "refreshed"}
    assert "set aside" in report.warnings[0]
    assert [path.read_bytes() for path in store_path.glob("*.damaged-*")] == [b"{"]


def test_a_failed_connect_is_tried_once_and_fails_each_due_session(
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
    assert ends(reports) == {**dict.fromkeys("acd", "unchanged"), "b": "MissingCredentials"}
    reasons = {
        report.session and report.session.end_user_id: outcome_of(report).not_refreshed
        for report in reports
        if end_of(report) == "unchanged"
    }
    assert {name: reason and reason.code for name, reason in reasons.items()} == {
        "a": "MissingCredentials",
        "c": None,
        "d": "MissingCredentials",
    }
    assert calls == [1]
    assert all(fleet.store.read(fleet.session(name).key).note is None for name in "abd")


def test_many_threads_connect_to_the_service_once(fleet: Fleet) -> None:
    fleet.have(dict.fromkeys("abcdefgh", STALE))
    calls: list[int] = []
    with fleet.keeper() as plain:

        def connect() -> t.Any:
            calls.append(1)
            time.sleep(0.1)
            return plain._connect()

        keeper = Keeper(fleet.store, wiring._once(connect), scope="", deadline=time.monotonic() + 20)
        reports = list(keep_all(keeper, read_stored(fleet.store, TokenRequest)))
    assert ends(reports) == dict.fromkeys("abcdefgh", "refreshed")
    assert calls == [1]


# Check mode


def test_check_mode_predicts_everything_and_sends_and_writes_nothing(fleet: Fleet, store_path: Path) -> None:
    fleet.have({"stale": STALE, "expired": EXPIRED, "current": CURRENT, "damaged": STALE})
    record_file(fleet, store_path, "damaged").write_bytes(b"{")
    before = {path.name: path.read_bytes() for path in store_path.iterdir()}
    requests = fleet.token_requests("stale", "expired", "current", "nobody")
    token = fleet.emulator.issue("new")
    requests += [
        *fleet.token_requests("new", login_token=token),
        *fleet.token_requests("damaged", login_token=token),
    ]
    reports = fleet.keep(requests, check=True)
    assert ends(reports) == {
        "stale": "refreshed",
        "expired": "refreshed",
        "current": "unchanged",
        "nobody": "NoLoginToken",
        "new": "refreshed",
        "damaged": "refreshed",
    }
    assert "would be set aside" in reports[-1].warnings[0]
    assert fleet.requests() == 0
    assert {path.name: path.read_bytes() for path in store_path.iterdir()} == before


def test_check_mode_predicts_which_records_would_be_re_encrypted(
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


def test_after_the_deadline_valid_tokens_are_returned_with_a_warning(
    fleet: Fleet,
) -> None:
    fleet.have({"a": STALE, "expired": EXPIRED, "c": STALE, "current": CURRENT})
    reports = fleet.keep(seconds=0)
    assert ends(reports) == {
        "a": "unchanged",
        "c": "unchanged",
        "expired": "DeadlineExceeded",
        "current": "unchanged",
    }
    warned = {report.session.end_user_id for report in reports if report.warnings and report.session}
    assert warned == {"a", "c"}
    assert all(fleet.store.read(report.key).note is None for report in reports)
    assert fleet.requests() == 0


def test_a_stalled_service_does_not_exceed_the_deadline(fleet: Fleet) -> None:
    fleet.have(dict.fromkeys("abcdefgh", STALE))
    fleet.emulator.fault("stall", count=None)
    begin = time.monotonic()
    reports = fleet.keep(seconds=2, max_parallel=2, timeout=30, retries=3)
    assert time.monotonic() - begin < 4
    assert ends(reports) == dict.fromkeys("abcdefgh", "unchanged")
    assert all("deadline" in report.warnings[0] for report in reports if report.key not in _sent(fleet))
    assert fleet.requests() == 2


def _sent(fleet: Fleet) -> set[str]:
    """Return the keys of the sessions that the service received."""
    return {fleet.session(name).key for name in fleet.users()}


# A signal


def keep_as_a_program(fleet: Fleet, result: Path) -> None:
    """Refresh the sessions as a task that is stopped by a signal. Write how each ended, then exit by the signal."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with defer_signals():
        reports = fleet.keep(max_parallel=3, timeout=30)
        result.write_text(json.dumps(ends(reports)), encoding="utf-8")


def test_sessions_in_progress_finish_at_a_signal_and_no_token_is_lost(rotating: Fleet, tmp_path: Path) -> None:
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
    assert {name for name, end in ended.items() if end == "refreshed"} == begun
    assert {end for name, end in ended.items() if name not in begun} == {"Interrupted"}
    assert {name for name in names if rotating.stored(name) != before[name]} == begun
    rotating.emulator.clear()
    again = rotating.keep(rotating.token_requests(*names, force=True))
    assert ends(again) == dict.fromkeys(names, "refreshed")


def test_a_signal_before_the_first_session_changes_nothing(fleet: Fleet) -> None:
    received: list[int] = []
    handler = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    fleet.have({"a": STALE, "b": EXPIRED, "c": CURRENT})
    try:
        with fleet.keeper() as keeper:
            reports = keep_all(keeper, read_requested(fleet.store, fleet.token_requests("c", "a", "b")))
            got = [next(reports)]
            with hold_signals():
                os.kill(os.getpid(), signal.SIGTERM)
                got += reports
            assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert ends(got) == {"c": "unchanged", "a": "Interrupted", "b": "Interrupted"}
    assert all(isinstance(each.result, WuyingError) and each.result.retryable for each in got[1:])
    assert fleet.requests() == 0


# Threads


def no_more_threads_than(threads: int) -> bool:
    """Return True if no more threads run, after a moment at most."""
    end = time.monotonic() + 2
    while threading.active_count() > threads and time.monotonic() < end:
        time.sleep(0.01)
    return threading.active_count() <= threads


def test_no_thread_remains(fleet: Fleet) -> None:
    fleet.have(dict.fromkeys("abcdefgh", STALE))
    before = threading.active_count()
    fleet.keep()
    assert no_more_threads_than(before)


def test_no_thread_remains_if_the_caller_wants_no_more_reports(fleet: Fleet) -> None:
    fleet.have(dict.fromkeys("abcdefgh", STALE))
    before = threading.active_count()
    with fleet.keeper() as keeper:
        reports = keep_all(keeper, read_stored(fleet.store, TokenRequest))
        next(reports)
        t.cast(t.Any, reports).close()
        assert not [each for each in threading.enumerate() if "ThreadPool" in each.name]
    assert no_more_threads_than(before)


def test_an_unexpected_error_fails_one_session_only(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.have(dict.fromkeys("abcd", STALE))

    obtain = Keeper.obtain

    def fail(keeper: Keeper, request: TokenRequest, *arguments: t.Any) -> Outcome:
        if request.session.end_user_id == "b":
            raise KeyError("v1secret")
        return obtain(keeper, request, *arguments)

    monkeypatch.setattr(Keeper, "obtain", fail)
    results = {report.session.end_user_id: report.result for report in fleet.keep() if report.session}
    failed = results.pop("b")
    assert isinstance(failed, WuyingError)
    assert (failed.code, failed.retryable) == ("Unforeseen", True)
    assert "KeyError" in failed.message
    assert "v1secret" not in failed.message
    assert all(isinstance(result, Outcome) and result.changed for result in results.values())


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (StoreError("The server does not respond.", retryable=True), 2),
        (StoreError("The server refuses this user."), 1),
        (LockTimeout("The session is locked."), 1),
    ],
)
def test_sessions_of_a_failed_server_are_tried_once_more_at_the_end(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, error: StoreError, attempts: int
) -> None:
    monkeypatch.setattr(fleet_file, "_PAUSE", 0.01)
    fleet.have(dict.fromkeys("abcd", STALE))
    obtain, asked = Keeper.obtain, []

    def fail_once(keeper: Keeper, request: TokenRequest, *arguments: t.Any) -> Outcome:
        user = request.session.end_user_id
        asked.append(user)
        if user in "ab" and asked.count(user) == 1:
            raise error
        return obtain(keeper, request, *arguments)

    monkeypatch.setattr(Keeper, "obtain", fail_once)
    end = "refreshed" if attempts == 2 else error.code
    assert ends(fleet.keep(max_parallel=1)) == {"a": end, "b": end, "c": "refreshed", "d": "refreshed"}
    assert collections.Counter(asked) == {"a": attempts, "b": attempts, "c": 1, "d": 1}
    assert set(asked[4:]) == set("ab" if attempts == 2 else "")


def test_everything_is_done_with_fewer_threads_than_requested(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_failure_keeps_no_traceback(fleet: Fleet) -> None:
    fleet.have(dict.fromkeys("abcd", STALE))
    fleet.emulator.fault("error", code="InvalidLoginToken", count=None)
    failures = [report.result for report in fleet.keep()]
    assert len(failures) == 4
    assert all(isinstance(each, WuyingError) and each.__traceback__ is None for each in failures)


def test_a_session_that_another_task_deletes_is_no_failure(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.have({"a": STALE})
    obtain = Keeper.obtain

    def delete_first(keeper: Keeper, request: TokenRequest, *arguments: t.Any) -> Outcome:
        keeper.delete(request.session.key)
        return obtain(keeper, request, *arguments)

    monkeypatch.setattr(Keeper, "obtain", delete_first)
    (report,) = fleet.keep()
    assert report.result == Outcome(False)
    assert fleet.stored("a") is None


# Re-encryption


def test_records_with_another_key_or_none_are_re_encrypted(encrypted: t.Callable[..., Fleet], store_path: Path) -> None:
    old, new = new_key(), new_key()
    encrypted().have({"plain": CURRENT})
    ended = encrypted(old).have({"ended": CURRENT})["ended"].ended_with("InvalidLoginToken")
    put(encrypted(old).store, ended)
    encrypted(old).have({"old": CURRENT})
    encrypted(new).have({"new": CURRENT})
    reports = encrypted(new, old, accepts_unencrypted=True).keep(rekey=True)
    assert ends(reports) == {
        "plain": "unchanged",
        "ended": "SessionEnded",
        "old": "unchanged",
        "new": "unchanged",
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


def test_re_encryption_needs_no_service(encrypted: t.Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_MIN_ITEMS", 10)
    first, second = new_key(), new_key()
    names = [f"user-{number}" for number in range(40)]
    encrypted(first).have(dict.fromkeys(names, CURRENT))
    fleet = encrypted(second, first)

    def fail() -> t.NoReturn:
        raise AssertionError("credentials were requested")

    keeper = Keeper(fleet.store, fail, scope="", deadline=time.monotonic() + 30)
    reports = list(keep_all(keeper, read_stored(fleet.store, TokenRequest), rekey=True))
    assert ends(reports) == dict.fromkeys(names, "unchanged")
    assert all(report.rekeyed for report in reports)


def test_a_token_that_could_not_be_saved_does_not_count_as_re_encrypted(
    encrypted: t.Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = new_key(), new_key()
    encrypted(first).have({"alice": STALE})
    fleet = encrypted(second, first)

    def fail(_slot: object, _record: object) -> t.NoReturn:
        raise StoreError("The disk is gone.")

    monkeypatch.setattr(f"{LockedFile.__module__}.LockedFile.save", fail)
    (report,) = fleet.keep(rekey=True)
    assert outcome_of(report).not_saved is not None
    assert not report.rekeyed


def test_an_unexpected_error_during_re_encryption_is_a_warning(
    encrypted: t.Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = new_key(), new_key()
    encrypted(first).have({"alice": CURRENT, "bob": CURRENT})
    fleet = encrypted(second, first)

    def fail(_slot: object, _record: object) -> t.NoReturn:
        raise MemoryError

    monkeypatch.setattr(f"{LockedFile.__module__}.LockedFile.rewrite", fail)
    reports = fleet.keep(rekey=True)
    assert ends(reports) == {"alice": "unchanged", "bob": "unchanged"}
    assert all("unexpected" in report.warnings[0] for report in reports)


def test_without_rekey_no_record_is_re_encrypted(encrypted: t.Callable[..., Fleet], store_path: Path) -> None:
    old = new_key()
    fleet = encrypted(old)
    fleet.have({"a": CURRENT})
    before = record_file(fleet, store_path, "a").read_bytes()
    assert ends(encrypted(new_key(), old).keep()) == {"a": "unchanged"}
    assert record_file(fleet, store_path, "a").read_bytes() == before


def test_a_record_with_a_missing_key_is_reported_and_does_not_stop_others(
    encrypted: t.Callable[..., Fleet], store_path: Path
) -> None:
    old, new = new_key(), new_key()
    fleet = encrypted(old)
    fleet.have({"a": STALE})
    before = record_file(fleet, store_path, "a").read_bytes()
    encrypted(new).have({"b": STALE})
    reports = encrypted(new).keep(rekey=True)
    assert ends(reports) == {fleet.session("a").key: "WrongStoreKey", "b": "refreshed"}
    assert record_file(fleet, store_path, "a").read_bytes() == before


def test_a_locked_session_does_not_delay_others(
    encrypted: t.Callable[..., Fleet],
) -> None:
    old, new = new_key(), new_key()
    encrypted(old).have({**dict.fromkeys("abcd", STALE), "held": CURRENT})
    fleet = encrypted(new, old)
    with encrypted(old).store.lock(fleet.session("held").key, time.monotonic() + 5):
        reports = fleet.keep(rekey=True, seconds=3)
    assert ends(reports) == {**dict.fromkeys("abcd", "refreshed"), "held": "unchanged"}
    held = next(each for each in reports if each.session == fleet.session("held"))
    assert not held.rekeyed
    assert "Could not re-encrypt the record" in held.warnings[0]


def test_waiting_for_a_lock_ends_at_a_signal(fleet: Fleet, store_path: Path) -> None:
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
    assert ends(reports) == {"a": "DeadlineExceeded", "b": "unchanged"}


# Redis


@pytest.fixture(name="redis")
def fixture_redis(emulator: Emulator, tmp_path: Path) -> t.Iterator[tuple[t.Any, t.Callable[..., Fleet]]]:
    """Return a Redis server, and a function that opens the sessions stored in it as a task does."""
    require_redis()
    from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import parse_address
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
    """Return sessions that are stored in Redis."""
    return redis[1]()


def test_a_hanging_redis_does_not_exceed_the_deadline(
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
    # Those that were not begun only timed out.
    assert {"StoreUnavailable"} <= set(ends(reports).values()) <= {"StoreUnavailable", "DeadlineExceeded"}


def test_the_same_happens_with_redis(redis_fleet: Fleet) -> None:
    names = [f"user-{number}" for number in range(30)]
    redis_fleet.have({**dict.fromkeys(names, STALE), "expired": EXPIRED, "first": -50, "current": CURRENT})
    reports = redis_fleet.keep(max_parallel=1)
    refreshed = dict.fromkeys([*names, "expired", "first"], "refreshed")
    assert ends(reports) == {**refreshed, "current": "unchanged"}
    assert redis_fleet.users()[:2] == ["first", "expired"]
    again = redis_fleet.keep(redis_fleet.token_requests(*names, "nobody"))
    assert ends(again) == {**dict.fromkeys(names, "unchanged"), "nobody": "NoLoginToken"}
    assert redis_fleet.requests() == 32


def test_with_redis_many_threads_refresh_each_session_once(redis_fleet: Fleet) -> None:
    names = [f"user-{number}" for number in range(30)]
    redis_fleet.have(dict.fromkeys(names, STALE))
    before = threading.active_count()
    reports = redis_fleet.keep(redis_fleet.token_requests(*names, *names))
    assert len(reports) == 60
    assert set(ends(reports).values()) <= {"refreshed", "unchanged"}
    assert sorted(redis_fleet.users()) == sorted(names)
    redis_fleet.store.close()
    assert no_more_threads_than(before)


def test_with_redis_many_processes_refresh_each_session_once(
    redis: tuple[t.Any, t.Callable[..., Fleet]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, open_fleet = redis
    monkeypatch.setattr(workers, "_MIN_ITEMS", 10)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1}, raising=False)
    server.client().config_set("appendonly", "no")
    names = [f"user-{number}" for number in range(40)]
    before = open_fleet().have(dict.fromkeys(names, STALE))
    fleet = open_fleet()
    with fleet.keeper() as keeper:
        assert ends(keep_all(keeper, read_stored(fleet.store, TokenRequest))) == dict.fromkeys(names, "refreshed")
    assert fleet.requests() == len(names)
    assert all(fleet.stored(name) != before[name] for name in names)
    # A warning of several processes about the store is shown once.
    (warning,) = keeper.task_warnings().values()
    assert "does not save data to disk" in warning


def test_with_redis_valid_tokens_are_returned_after_the_deadline(redis_fleet: Fleet) -> None:
    redis_fleet.have({"a": STALE, "expired": EXPIRED})
    reports = redis_fleet.keep(seconds=0)
    assert ends(reports) == {"a": "unchanged", "expired": "DeadlineExceeded"}
    assert redis_fleet.requests() == 0
