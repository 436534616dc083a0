# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the table of guarantees row by row, with a real store and a real emulator."""

from __future__ import annotations

import os
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import Outcome, TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.locking import obtain_locked
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    LockTimeout,
    LoginRequired,
    OptionError,
    ServiceError,
    StoreError,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.no_store import NoStore
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    SingleSession,
    file_of,
    leave_note,
    put,
    read_file,
    write_file,
)

# No record


def test_no_record_and_no_login_token_is_an_error_that_asks_for_one(single_session: SingleSession) -> None:
    with pytest.raises(LoginRequired, match="Pass login_token or password to wuying_login_token to start") as caught:
        single_session.request()
    assert caught.value.code == "NoLoginToken"
    assert single_session.requests() == 0


def test_without_a_record_a_passed_token_is_refreshed_and_stored(single_session: SingleSession) -> None:
    token = single_session.emulator.issue()
    outcome = single_session.request(token)
    assert outcome.changed
    assert outcome.record is not None
    assert outcome.record.login_token != token
    assert single_session.stored().record == outcome.record
    assert single_session.emulator.journal()["entries"][0]["used"] == fingerprint(token)[:12]


# A current record


@pytest.mark.parametrize("known", ["nothing", "the record's token", "a used-up token"])
def test_a_current_token_is_returned_without_a_request(single_session: SingleSession, known: str) -> None:
    record = single_session.have("current")
    passed = {"nothing": None, "the record's token": record.login_token}.get(known, "v1first")
    outcome = single_session.request(passed)
    assert outcome == Outcome(False, record, record)
    assert single_session.requests() == 0


def test_a_current_token_is_returned_without_a_lock(single_session: SingleSession) -> None:
    record = single_session.have("current")
    with single_session.store.lock(single_session.session.key, time.monotonic() + 10):
        assert single_session.request() == Outcome(False, record, record)
    assert single_session.warnings == []


# A stale record


@pytest.mark.parametrize("passed", [None, "v1first"])
def test_a_stale_token_is_refreshed(single_session: SingleSession, passed: str | None) -> None:
    record = single_session.have("stale")
    outcome = single_session.request(passed)
    assert outcome.changed
    assert single_session.stored().record == outcome.record != record
    entries = single_session.emulator.journal()["entries"]
    assert [entry["used"] for entry in entries] == [fingerprint(record.login_token)[:12]]


def test_a_stale_token_is_returned_with_a_warning_at_a_temporary_failure(single_session: SingleSession) -> None:
    record = single_session.have("stale")
    single_session.emulator.fault("status", status=503, code="ServiceUnavailable")
    outcome = single_session.request()
    assert outcome[:4] == (False, record, record, None)
    assert outcome.not_refreshed is not None and outcome.not_refreshed.code == "ServiceUnavailable"
    assert "Could not refresh the login token" in single_session.warnings[0]
    assert "ServiceUnavailable" in single_session.warnings[0]


def test_a_stale_token_that_is_rejected_by_name_fails_and_does_not_end_the_session(
    single_session: SingleSession,
) -> None:
    record = single_session.have("stale")
    single_session.emulator.fault("error", code="InvalidLoginToken", status=400)
    with pytest.raises(LoginRequired, match="must log in again") as caught:
        single_session.request()
    assert (caught.value.code, caught.value.http_status, caught.value.login_needed) == ("InvalidLoginToken", 400, True)
    assert single_session.stored().record == record
    assert single_session.request().changed


@pytest.mark.parametrize(
    ("code", "status", "advice"),
    [
        ("SignatureDoesNotMatch", 400, "access key"),
        ("Forbidden.RAM", 403, "ecd:RefreshLoginToken"),
        ("InvalidAction.NotFound", 404, "endpoint"),
        ("Account.Arrearage", 400, "overdue bills"),
        ("SomethingElse", 400, "options that identify the session"),
    ],
)
def test_a_stale_token_is_returned_with_a_warning_after_a_permanent_failure(
    single_session: SingleSession, code: str, status: int, advice: str
) -> None:
    record = single_session.have("stale")
    single_session.emulator.fault("error", code=code, status=status)
    outcome = single_session.request()
    assert outcome[:3] == (False, record, record)
    error = outcome.not_refreshed
    assert error is not None
    assert (error.code, error.retryable, error.login_needed) == (code, False, False)
    assert advice in error.message
    assert error.message in single_session.warnings[0]
    assert single_session.stored().record == record


@pytest.mark.parametrize("state", ["stale", "expired"])
def test_missing_credentials_fail_only_if_no_token_is_valid(single_session: SingleSession, state: str) -> None:
    record = single_session.have(state)
    keeper = single_session.keeper()
    keeper._connect = _no_credentials
    request = TokenRequest(single_session.session)
    if state == "expired":
        with pytest.raises(OptionError, match="no credentials"):
            keeper.ensure(request, single_session.warnings.append)
    else:
        outcome = keeper.ensure(request, single_session.warnings.append)
        assert (outcome.record, str(outcome.not_refreshed)) == (record, "There are no credentials.")
    with pytest.raises(OptionError, match="no credentials"):
        keeper.ensure(request._replace(force=True), single_session.warnings.append)
    assert single_session.stored().note is None


# An expired record


def test_an_expired_token_is_refreshed(single_session: SingleSession) -> None:
    record = single_session.have("expired")
    outcome = single_session.request()
    assert outcome.changed
    assert outcome.before == record


def test_an_expired_token_fails_retryably_at_a_temporary_failure(single_session: SingleSession) -> None:
    single_session.have("expired")
    single_session.emulator.fault("throttle", retry_after=None)
    with pytest.raises(WuyingError) as caught:
        single_session.request()
    assert caught.value.retryable
    assert not single_session.warnings


@pytest.mark.parametrize("code", ["InvalidLoginToken", "SomethingElse", "InvalidParameter", "EntityNotExist.User"])
def test_an_expired_token_that_is_refused_ends_the_session(single_session: SingleSession, code: str) -> None:
    record = single_session.have("expired")
    single_session.emulator.fault("error", code=code, status=400)
    with pytest.raises(LoginRequired, match="must log in again") as caught:
        single_session.request()
    assert (caught.value.code, caught.value.login_needed) == (code, True)
    assert single_session.stored().record == record.ended_with(code)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("Forbidden.SubUser", 403),
        ("SomethingElse", 403),
        ("OverduePayment", 400),
        ("OperationConflict", 409),
        ("UserLocked", 400),
    ],
)
def test_an_expired_token_is_not_ended_by_a_failure_that_is_not_about_it(
    single_session: SingleSession, code: str, status: int
) -> None:
    record = single_session.have("expired")
    single_session.emulator.fault("error", code=code, status=status)
    with pytest.raises(ServiceError) as caught:
        single_session.request()
    assert (caught.value.code, caught.value.login_needed) == (code, False)
    assert single_session.stored().record == record
    assert single_session.request().changed


# An ended record


@pytest.mark.parametrize("passed", [None, "v1first"])
def test_an_ended_session_fails_at_once(single_session: SingleSession, passed: str | None) -> None:
    single_session.have("ended")
    with pytest.raises(LoginRequired, match="must log in again") as caught:
        single_session.request(passed)
    assert caught.value.code == "SessionEnded"
    assert single_session.requests() == 0


# An unknown token


@pytest.mark.parametrize("state", ["current", "stale", "expired", "ended"])
def test_an_unknown_token_is_refreshed_at_once_and_joins_the_lineage(single_session: SingleSession, state: str) -> None:
    record = single_session.have(state)
    token = single_session.emulator.issue()
    outcome = single_session.request(token)
    assert outcome.changed
    assert outcome.record is not None
    assert outcome.record.knows(token)
    assert outcome.record.knows(record.login_token)
    assert outcome.record.ended is None
    assert single_session.requests() == 1
    assert not single_session.request(token).changed


@pytest.mark.parametrize("code", ["InvalidLoginToken", "ServiceUnavailable", "Forbidden.RAM"])
def test_an_unknown_token_that_fails_does_not_change_the_record(single_session: SingleSession, code: str) -> None:
    record = single_session.have("current")
    single_session.emulator.fault("error", code=code, status=400)
    with pytest.raises(WuyingError):
        single_session.request(single_session.emulator.issue())
    assert single_session.stored().record == record
    assert single_session.request().record == record


@pytest.mark.parametrize(
    ("code", "status", "login_needed"),
    [("InvalidLoginToken", 400, True), ("SomethingElse", 400, True), ("Forbidden.SubUser", 403, False)],
)
def test_a_passed_token_is_rejected_by_any_refusal_that_may_concern_it(
    single_session: SingleSession, code: str, status: int, login_needed: bool
) -> None:
    record = single_session.have("current")
    single_session.emulator.fault("error", code=code, status=status)
    with pytest.raises(WuyingError) as caught:
        single_session.request(single_session.emulator.issue())
    assert (caught.value.code, caught.value.login_needed) == (code, login_needed)
    assert ("must log in again" in caught.value.message) == login_needed
    assert single_session.stored().record == record


# Force


@pytest.mark.parametrize("code", ["InvalidLoginToken", "SomethingElse", "Forbidden.SubUser"])
def test_force_fails_at_any_refusal_and_the_current_token_stays(single_session: SingleSession, code: str) -> None:
    record = single_session.have("current")
    single_session.emulator.fault("error", code=code, status=400)
    with pytest.raises(WuyingError) as caught:
        single_session.request(force=True)
    assert (caught.value.code, caught.value.login_needed) == (code, code == "InvalidLoginToken")
    assert single_session.stored().record == record
    assert single_session.request() == Outcome(False, record, record)


@pytest.mark.parametrize("state", ["current", "stale", "expired", "ended"])
@pytest.mark.parametrize("passed", [None, "v1first"])
def test_force_refreshes_the_stored_token_in_every_state(
    single_session: SingleSession, state: str, passed: str | None
) -> None:
    record = single_session.have(state)
    assert single_session.request(passed, force=True).changed
    entries = single_session.emulator.journal()["entries"]
    assert [entry["used"] for entry in entries] == [fingerprint(record.login_token)[:12]]


def test_force_with_an_unknown_token_refreshes_that_token(single_session: SingleSession) -> None:
    single_session.have("current")
    token = single_session.emulator.issue()
    assert single_session.request(token, force=True).changed
    assert single_session.emulator.journal()["entries"][0]["used"] == fingerprint(token)[:12]


def test_force_fails_at_a_temporary_failure_and_keeps_the_record(single_session: SingleSession) -> None:
    record = single_session.have("current")
    single_session.emulator.fault("throttle", retry_after=None)
    with pytest.raises(WuyingError):
        single_session.request(force=True)
    assert single_session.stored().record == record


# Absent


def test_absent_deletes_the_record_and_sends_nothing(single_session: SingleSession) -> None:
    single_session.have("current")
    assert single_session.keeper().delete(single_session.session.key).changed
    assert single_session.stored().record is None
    assert not single_session.keeper().delete(single_session.session.key).changed
    assert single_session.requests() == 0


def test_absent_creates_nothing_if_there_is_no_record(single_session: SingleSession, store_path: Path) -> None:
    assert not single_session.keeper().delete(single_session.session.key).changed
    assert not store_path.exists()


# No store


def test_without_a_store_each_task_refreshes_the_passed_token(single_session: SingleSession) -> None:
    single_session.store = NoStore()
    token = single_session.emulator.issue()
    first, second = single_session.request(token), single_session.request(token)
    assert first.changed
    assert second.changed
    assert single_session.requests() == 2


def test_without_a_store_a_token_is_required(single_session: SingleSession) -> None:
    single_session.store = NoStore()
    with pytest.raises(LoginRequired, match="login_token"):
        single_session.request()


# Check mode


@pytest.mark.parametrize(
    ("state", "changed", "shown"),
    [("current", False, True), ("stale", True, True), ("expired", True, False)],
)
def test_check_mode_predicts_and_returns_only_a_valid_token(
    single_session: SingleSession, state: str, changed: bool, shown: bool
) -> None:
    record = single_session.have(state)
    outcome = single_session.predict()
    assert outcome.changed is changed
    assert outcome.record == (record if shown else None)
    assert single_session.requests() == 0
    assert single_session.stored().record == record


def test_check_mode_predicts_the_refresh_of_an_unknown_token(single_session: SingleSession) -> None:
    single_session.have("current")
    assert single_session.predict(single_session.emulator.issue()) == Outcome(True, single_session.stored().record)


def test_check_mode_fails_if_the_task_would_fail(single_session: SingleSession) -> None:
    with pytest.raises(LoginRequired):
        single_session.predict()
    single_session.have("ended")
    with pytest.raises(LoginRequired):
        single_session.predict()


def test_check_mode_creates_nothing(single_session: SingleSession, store_path: Path) -> None:
    assert single_session.predict("v1first").changed
    assert not single_session.keeper().delete(single_session.session.key, check=True).changed
    assert not store_path.exists()


def test_check_mode_does_not_set_a_damaged_record_aside(single_session: SingleSession, store_path: Path) -> None:
    single_session.have("current")
    path = file_of(store_path, single_session.session)
    path.write_text("{")
    assert single_session.predict("v1first").changed
    assert path.read_text() == "{"
    assert "would be set aside" in single_session.warnings[0]


# Below the table: expiry


def test_a_token_expires_a_validity_after_the_time_before_the_request(single_session: SingleSession) -> None:
    before = time.time()
    single_session.emulator.fault("drip", interval=0.006, carried_out=True)
    record = single_session.request(single_session.emulator.issue(), validity=1000).record
    assert time.time() > before + 1.5
    assert record is not None
    assert record.expires_at == record.obtained_at + 1000
    assert before <= record.obtained_at <= before + 1
    assert time.time() > before + 0.3


@pytest.mark.parametrize("state", ["current", "stale", "expired", "ended"])
@pytest.mark.parametrize("passed", [False, True])
def test_a_refresh_without_validity_keeps_that_of_the_record(
    single_session: SingleSession, state: str, passed: bool
) -> None:
    single_session.request(single_session.emulator.issue(), validity=28800)
    record = single_session.stored().record
    assert record is not None
    age = {"current": 0, "stale": 28750, "expired": 30000}.get(state, 0)
    record = record._replace(obtained_at=record.obtained_at - age, expires_at=record.expires_at - age)
    put(single_session.store, record.ended_with("InvalidLoginToken") if state == "ended" else record)
    token = single_session.emulator.issue() if passed else None
    for _time in range(3):
        changed = single_session.request(token, force=not passed).record
        assert changed is not None and changed != record
        assert (changed.validity, changed.expires_at - changed.obtained_at) == (28800, 28800)
    assert single_session.request(force=True, validity=60).changed
    last = single_session.request(force=True).record
    assert last is not None and last.validity == 60


@pytest.mark.parametrize(
    ("obtained_at", "expires_at", "validity"),
    [(5.0, 5.0000001, 1), (0.0, 253402300799.0, 366 * 86400), (1e9, 1e9 + 900.4, 900), (1e9, 1e9 + 1.6, 2)],
)
def test_an_edited_validity_never_leads_to_a_record_that_cannot_be_read(
    single_session: SingleSession, obtained_at: float, expires_at: float, validity: int
) -> None:
    record = single_session.have("expired")
    put(single_session.store, record._replace(obtained_at=obtained_at, expires_at=expires_at))
    outcome = single_session.request(force=True)
    assert outcome.record is not None and outcome.record.validity == validity
    assert single_session.stored().record == outcome.record


def test_another_validity_does_not_change_a_record(single_session: SingleSession) -> None:
    record = single_session.have("current")
    assert single_session.request(validity=28800).record == record


def test_refresh_before_counts_as_at_most_half_of_the_validity(single_session: SingleSession) -> None:
    single_session.have("current")
    assert not single_session.request(refresh_before=100000).changed
    single_session.have("stale")
    assert single_session.request(refresh_before=100000).changed


@pytest.mark.parametrize(
    ("refresh_before", "validity", "shown"),
    [
        (3600, None, ["3,600 s", "900 s", "450 s"]),
        (451, None, ["451 s", "450 s"]),
        (450, None, []),
        (300, 400, []),
        (301, 400, ["301 s", "400 s", "200 s"]),
        (14401, 28800, ["14,401 s", "28,800 s", "14,400 s"]),
        (14400, 28800, []),
    ],
)
def test_a_refresh_before_of_more_than_half_of_the_validity_causes_one_warning(
    single_session: SingleSession, refresh_before: float, validity: float | None, shown: list[str]
) -> None:
    single_session.have("current")
    keeper = single_session.keeper()
    for force in (False, True):
        request = TokenRequest(single_session.session, force=force, validity=validity, refresh_before=refresh_before)
        keeper.ensure(request, single_session.warnings.append)
        keeper.predict(request, single_session.stored(), single_session.warnings.append)
    warnings = list(keeper.task_warnings().values())
    assert len(warnings) == bool(shown)
    assert all(number in warnings[0] for number in shown)
    assert single_session.warnings == []


def test_a_record_from_the_future_is_stale(single_session: SingleSession) -> None:
    record = single_session.have("current")
    keeper = single_session.keeper()
    keeper._clock = lambda: record.obtained_at - 59
    assert not keeper.ensure(TokenRequest(single_session.session), single_session.warnings.append).changed
    keeper._clock = lambda: record.obtained_at - 61
    assert keeper.ensure(TokenRequest(single_session.session), single_session.warnings.append).changed


# Below the table: one refresh at a time, with a shared outcome


def _request_together(single_session: SingleSession, count: int, **options: t.Any) -> list[t.Any]:
    """Request the token in many threads at the same time. Return their results."""
    barrier = threading.Barrier(count)
    results: list[t.Any] = []

    def request() -> None:
        keeper = single_session.keeper(retries=1)
        barrier.wait()
        try:
            results.append(
                keeper.ensure(TokenRequest(single_session.session, **options), single_session.warnings.append)
            )
        except WuyingError as error:
            results.append(error)

    threads = [threading.Thread(target=request) for _time in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


@pytest.mark.parametrize("force", [False, True])
def test_simultaneous_requests_share_one_refresh(single_session: SingleSession, force: bool) -> None:
    single_session.have("current" if force else "stale")
    single_session.emulator.fault("drip", interval=0.003, carried_out=True)
    outcomes = _request_together(single_session, 16, force=force)
    assert single_session.emulator.journal()["exchanges"] == 1
    assert len({outcome.record.login_token for outcome in outcomes}) == 1
    assert sum(outcome.changed for outcome in outcomes) == 1


def test_simultaneous_requests_with_the_same_new_token_share_one_refresh(single_session: SingleSession) -> None:
    token = single_session.emulator.issue()
    single_session.emulator.fault("drip", interval=0.003, carried_out=True)
    outcomes = _request_together(single_session, 16, login_token=token)
    assert single_session.emulator.journal()["exchanges"] == 1
    assert sum(outcome.changed for outcome in outcomes) == 1


def test_simultaneous_requests_share_the_retries_of_one_task(single_session: SingleSession) -> None:
    single_session.have("expired")
    single_session.emulator.fault("status", status=503, code="ServiceUnavailable", count=None)
    outcomes = _request_together(single_session, 16)
    assert single_session.requests() <= 2
    assert [outcome.code for outcome in outcomes] == ["ServiceUnavailable"] * 16


def test_a_task_that_waited_to_force_an_ended_session_shares_the_refusal(single_session: SingleSession) -> None:
    record = single_session.have("ended")
    snapshot = single_session.stored().snapshot()
    single_session.emulator.fault("error", code="InvalidLoginToken", status=400, count=None)
    request = TokenRequest(single_session.session, force=True)
    with pytest.raises(WuyingError, match="must log in again"):
        single_session.request(force=True)
    with pytest.raises(WuyingError, match="must log in again") as caught:
        single_session.keeper().obtain(request, snapshot, single_session.warnings.append)
    assert caught.value.code == "InvalidLoginToken"
    assert single_session.requests() == 1
    assert single_session.stored().record == record
    with pytest.raises(LoginRequired) as ended:
        single_session.request()
    assert ended.value.code == "SessionEnded"
    assert single_session.requests() == 1


@pytest.mark.parametrize(
    ("state", "passed", "code", "waiting"),
    [
        ("stale", False, "InvalidLoginToken", "InvalidLoginToken"),
        ("stale", False, "SomethingElse", "returned"),
        ("stale", False, "Forbidden.SubUser", "returned"),
        ("expired", False, "InvalidLoginToken", "SessionEnded"),
        ("expired", False, "SomethingElse", "SessionEnded"),
        ("expired", False, "Forbidden.SubUser", "Forbidden.SubUser"),
        ("current", True, "InvalidLoginToken", "InvalidLoginToken"),
        ("current", True, "SomethingElse", "SomethingElse"),
        ("current", True, "Forbidden.SubUser", "Forbidden.SubUser"),
    ],
)
def test_a_task_that_waited_comes_to_the_same_conclusion_about_a_refusal(
    single_session: SingleSession, state: str, passed: bool, code: str, waiting: str
) -> None:
    single_session.have(state)
    snapshot = single_session.stored().snapshot()
    single_session.emulator.fault("error", code=code, status=400, count=None)
    request = TokenRequest(single_session.session, single_session.emulator.issue() if passed else None)
    results: list[tuple[str, bool]] = []
    for ask in (
        lambda: single_session.request(request.login_token),
        lambda: single_session.keeper().obtain(request, snapshot, single_session.warnings.append),
    ):
        try:
            error = ask().not_refreshed
            results.append(("returned", error is not None and error.login_needed))
        except WuyingError as error:
            results.append((error.code, error.login_needed))
    (first, needed), second = results
    assert (first, second) == ("returned" if waiting == "returned" else code, (waiting, needed))
    assert single_session.requests() == 1


def test_a_request_after_a_failure_is_sent(single_session: SingleSession) -> None:
    single_session.have("expired")
    single_session.emulator.fault("status", status=503, code="ServiceUnavailable")
    with pytest.raises(WuyingError):
        single_session.request()
    assert single_session.request().changed


def test_a_task_of_another_scope_does_not_share_a_failure(single_session: SingleSession) -> None:
    single_session.have("expired")
    snapshot = single_session.stored()
    single_session.emulator.fault("error", code="Forbidden.RAM", status=403)
    with pytest.raises(WuyingError):
        single_session.request()
    keeper = single_session.keeper(scope="other credentials")
    with single_session.store.lock(single_session.session.key, time.monotonic() + 10) as locked:
        request = TokenRequest(single_session.session)
        assert obtain_locked(request, snapshot.snapshot(), locked, keeper.means(), print).changed


def test_a_valid_token_is_returned_if_the_lock_takes_too_long(single_session: SingleSession) -> None:
    record = single_session.have("stale")
    with single_session.store.lock(single_session.session.key, time.monotonic() + 10):
        outcome = single_session.keeper(seconds=0.2).ensure(
            TokenRequest(single_session.session), single_session.warnings.append
        )
    assert outcome.record == record
    assert "deadline" in single_session.warnings[0]


def test_a_task_fails_if_the_lock_takes_too_long_and_no_token_is_valid(single_session: SingleSession) -> None:
    single_session.have("expired")
    with single_session.store.lock(single_session.session.key, time.monotonic() + 10):
        with pytest.raises(WuyingError) as caught:
            single_session.keeper(seconds=0.2).ensure(
                TokenRequest(single_session.session), single_session.warnings.append
            )
    assert (caught.value.code, caught.value.retryable) == ("DeadlineExceeded", True)


def test_a_task_that_waited_too_long_returns_the_token_stored_since(
    single_session: SingleSession, store_path: Path
) -> None:
    older = single_session.have("stale")
    newer = older._replace(login_token="v1newer")
    reads: list[StoredState] = []

    class Slow(DirectoryStore):
        def read(self, key: str) -> StoredState:
            reads.append(super().read(key))
            if len(reads) == 1:
                put(DirectoryStore(str(store_path)), newer)
            return reads[-1]

        def lock(self, key: str, deadline: float, first_note: object = None) -> t.NoReturn:
            raise LockTimeout("It took too long.")

    single_session.store = Slow(str(store_path))
    assert (
        single_session.keeper().ensure(TokenRequest(single_session.session), single_session.warnings.append).record
        == newer
    )


def test_a_note_needs_no_credentials_until_a_refresh_is_due(single_session: SingleSession) -> None:
    record = single_session.have("current")
    with single_session.store.lock(single_session.session.key, time.monotonic() + 10) as locked:
        locked.write_note(new_note(None, fingerprint(record.login_token), "a test"))
        keeper = single_session.keeper()
        keeper._connect = _no_credentials
        results: list[Outcome] = []
        thread = threading.Thread(
            target=lambda: results.append(
                keeper.ensure(TokenRequest(single_session.session), single_session.warnings.append)
            )
        )
        thread.start()
        time.sleep(0.1)
        locked.save(record)
    thread.join(20)
    assert results == [Outcome(False, record, record)]


def _no_credentials() -> t.NoReturn:
    raise OptionError("There are no credentials.")


# Below the table: the note


def test_the_note_exists_during_the_request_only(
    single_session: SingleSession,
) -> None:
    record = single_session.have("stale")
    single_session.emulator.fault("drip", interval=0.003, carried_out=True)
    thread = threading.Thread(target=single_session.request)
    thread.start()
    end = time.monotonic() + 20
    while not single_session.stored().may_be_spent(record.login_token):
        assert time.monotonic() < end
    thread.join(20)
    assert single_session.stored().note is None


def test_after_a_note_without_writer_a_current_token_is_refreshed_again(single_session: SingleSession) -> None:
    record = single_session.have("current")
    leave_note(single_session.store, single_session.session, record.login_token)
    assert single_session.request().changed
    assert single_session.requests() == 1


def test_a_note_without_writer_and_a_refusal_are_an_unknown_outcome(
    single_session: SingleSession,
) -> None:
    record = single_session.have("current")
    leave_note(single_session.store, single_session.session, record.login_token)
    single_session.emulator.fault("error", code="InvalidLoginToken", status=400, count=None)
    for number in range(3):
        with pytest.raises(LoginRequired, match="log in again") as caught:
            single_session.request()
        assert caught.value.code == "OutcomeUnknown"
        # The token has not expired, so each task tries it again, and none returns it.
        assert (single_session.requests(), single_session.stored().record) == (number + 1, record)
    expired = record._replace(obtained_at=record.obtained_at - 900, expires_at=record.expires_at - 900)
    put(single_session.store, expired)
    leave_note(single_session.store, single_session.session, record.login_token)
    for _time in range(2):
        with pytest.raises(LoginRequired) as caught:
            single_session.request()
        assert caught.value.code == "OutcomeUnknown"
    assert (single_session.requests(), single_session.stored().record) == (4, expired.ended_with("OutcomeUnknown"))


def test_a_note_about_a_passed_token_does_not_affect_the_record(single_session: SingleSession) -> None:
    record = single_session.have("current")
    token = single_session.emulator.issue()
    leave_note(single_session.store, single_session.session, token)
    assert single_session.request().record == record
    single_session.emulator.fault("error", code="InvalidLoginToken", status=400)
    with pytest.raises(LoginRequired) as caught:
        single_session.request(token)
    assert caught.value.code == "OutcomeUnknown"
    assert single_session.request().record == record


def test_a_note_about_the_stored_token_outlives_another_tokens_failure(
    single_session: SingleSession,
) -> None:
    record = single_session.have("current")
    leave_note(single_session.store, single_session.session, record.login_token)
    single_session.emulator.fault("error", code="InvalidLoginToken", status=400)
    with pytest.raises(LoginRequired):
        single_session.request(single_session.emulator.issue())
    assert single_session.request().changed


def test_a_note_with_too_many_tokens_covers_every_token(single_session: SingleSession) -> None:
    record = single_session.have("current")
    for number in range(20):
        leave_note(single_session.store, single_session.session, f"v1{number}")
        assert single_session.stored().may_be_spent("v10")
    assert single_session.stored().may_be_spent(record.login_token)


def test_a_lost_answer_leaves_the_outcome_unknown(rotating_session: SingleSession) -> None:
    single_session = rotating_session
    single_session.have("expired")
    single_session.emulator.fault("reset", carried_out=True)
    with pytest.raises(WuyingError) as lost:
        single_session.request()
    assert (lost.value.code, lost.value.retryable) == ("ConnectionLost", True)
    with pytest.raises(LoginRequired) as caught:
        single_session.request()
    assert caught.value.code == "OutcomeUnknown"


def test_a_refused_retry_after_a_lost_answer_is_an_unknown_outcome(
    rotating_session: SingleSession,
) -> None:
    single_session = rotating_session
    single_session.have("stale")
    single_session.emulator.fault("reset", carried_out=True)
    with pytest.raises(LoginRequired) as caught:
        single_session.request(retries=1)
    assert caught.value.code == "OutcomeUnknown"


def test_a_session_recovers_from_a_lost_answer_if_tokens_do_not_rotate(single_session: SingleSession) -> None:
    single_session.have("expired")
    single_session.emulator.fault("reset", carried_out=True)
    with pytest.raises(WuyingError):
        single_session.request()
    assert single_session.request().changed


# Below the table: stored before returned


def test_a_store_that_cannot_reserve_space_costs_no_token(
    single_session: SingleSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="No space left"):
        single_session.request(single_session.emulator.issue())
    assert single_session.requests() == 0
    assert single_session.stored() == StoredState()


def test_a_token_that_cannot_be_saved_is_returned(
    single_session: SingleSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = single_session.have("stale")

    pwrite = os.pwrite

    def only_notes(file: int, data: bytes, offset: int) -> int:
        if b'"note":' in data:
            return pwrite(file, data, offset)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pwrite", only_notes)
    outcome = single_session.request()
    assert outcome.record is not None
    assert outcome.record.login_token != record.login_token
    assert outcome.not_saved is not None
    assert outcome.not_saved.code == "NotKept"
    monkeypatch.undo()
    assert single_session.stored().record == record
    assert single_session.stored().may_be_spent(record.login_token)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("StoreUnavailable", "Fix the store, then pass this token as login_token, and its session_id if there is one."),
        ("NewerRecord", "Discard the token that could not be saved."),
        (
            "SessionForgotten",
            "To start the session again, pass this token as login_token, and its session_id if there is one.",
        ),
    ],
)
def test_what_to_do_with_a_token_depends_on_why_it_was_not_saved(
    single_session: SingleSession, monkeypatch: pytest.MonkeyPatch, code: str, advice: str
) -> None:
    single_session.have("stale")

    def refuse(*_arguments: object) -> None:
        raise StoreError("This is the reason.", code=code)

    monkeypatch.setattr(
        "ansible_collections.wuying.workspace.plugins.module_utils._store.locked_file.LockedFile.save", refuse
    )
    outcome = single_session.request()
    assert outcome.not_saved is not None
    assert outcome.not_saved.message.endswith(f"This result contains the only copy. This is the reason. {advice}")


# Below the table: endpoints, lineage


def test_a_token_is_never_sent_to_another_endpoint(
    single_session: SingleSession, start_emulator: t.Callable[..., t.Any]
) -> None:
    single_session.have("stale")
    other = start_emulator()
    single_session.session = single_session.session._replace(endpoint=other.url)
    with pytest.raises(LoginRequired, match="No login token is stored"):
        single_session.request()
    assert other.journal()["requests"] == 0


def test_the_first_token_of_a_playbook_stays_known_after_many_refreshes(
    single_session: SingleSession,
) -> None:
    mine, other = single_session.emulator.issue(), single_session.emulator.issue()
    single_session.request(mine)
    single_session.request(other)
    for _time in range(70):
        single_session.request(force=True)
    record = single_session.stored().record
    assert record is not None
    assert fingerprint(mine) not in record.lineage
    assert not single_session.request(mine).changed
    assert not single_session.request(other).changed


def test_the_lineage_is_bounded(single_session: SingleSession) -> None:
    for _time in range(18):
        single_session.request(single_session.emulator.issue())
    for _time in range(60):
        single_session.request(force=True)
    record = single_session.stored().record
    assert record is not None
    assert len(record.lineage) == 64
    assert len(record.passed) == 16


# A damaged record


@pytest.mark.parametrize("damage", [b"{", b"\xff\xfe", b"[]", b'{"format":1}', b'{"format":"1"}', b"[" * 100000])
def test_a_damaged_record_is_set_aside_and_counts_as_absent(
    single_session: SingleSession, store_path: Path, damage: bytes
) -> None:
    single_session.have("current")
    path = file_of(store_path, single_session.session)
    path.write_bytes(damage)
    with pytest.raises(LoginRequired, match="No login token is stored"):
        single_session.request()
    aside = list(store_path.glob("*.damaged-*"))
    assert [file.read_bytes() for file in aside] == [damage]
    assert str(aside[0]) in single_session.warnings[0]
    assert single_session.request(single_session.emulator.issue()).changed


def test_another_sessions_record_is_set_aside(single_session: SingleSession, store_path: Path) -> None:
    single_session.have("current")
    mine = single_session.session
    single_session.session = mine._replace(end_user_id="bob")
    os.link(file_of(store_path, mine), file_of(store_path, single_session.session))
    with pytest.raises(LoginRequired):
        single_session.request()
    assert "belongs to another session" in single_session.warnings[0]


def test_a_record_of_a_newer_format_is_an_error_and_is_kept(single_session: SingleSession, store_path: Path) -> None:
    single_session.have("current")
    path = file_of(store_path, single_session.session)
    write_file(path, read_file(path).record.replace(b'"format":1', b'"format":2'))
    with pytest.raises(StoreError, match="newer") as caught:
        single_session.request("v1other")
    assert caught.value.code == "NewerFormat"
    assert b'"format":2' in path.read_bytes()
    assert single_session.requests() == 0
