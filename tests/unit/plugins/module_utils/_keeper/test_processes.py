# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the guarantees with many processes, and with processes that are killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import time
import typing as t
from pathlib import Path
from unittest import mock

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import LoginRequired, WuyingError
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record, StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session, fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._service.response import RefreshResult
from ansible_collections.wuying.workspace.plugins.module_utils._store import two_slot_file
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.locked_session import FirstNote, LockedSession
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import SingleSession

PROCESSES = 64
FORK = multiprocessing.get_context("fork")


class GatheringStore(DirectoryStore):
    """A directory whose readers wait until all processes have read."""

    def __init__(self, path: str, all_have_read: t.Any) -> None:
        super().__init__(path)
        self._all_have_read = all_have_read

    def read(self, key: str) -> StoredState:
        stored = super().read(key)
        self._all_have_read.wait(60)
        return stored


def request_in_processes(single_session: SingleSession) -> list[tuple[str, str]]:
    """Request the token in 64 processes at the same time. Return the token or the error code of each."""
    all_have_read = FORK.Barrier(PROCESSES)
    results: t.Any = FORK.Queue()

    def request() -> None:
        single_session.store = GatheringStore(single_session.store.name, all_have_read)
        try:
            outcome = single_session.keeper(retries=1).ensure(
                TokenRequest(single_session.session), single_session.warnings.append
            )
        except WuyingError as error:
            results.put(("error", error.code))
        else:
            results.put(("token", outcome.record.login_token if outcome.record else ""))

    processes = [FORK.Process(target=request) for _time in range(PROCESSES)]
    for process in processes:
        process.start()
    got = [results.get(timeout=60) for _process in processes]
    for process in processes:
        process.join(60)
    return got


def test_64_processes_send_one_request_for_one_stale_session(
    rotating_session: SingleSession,
) -> None:
    rotating_session.have("stale")
    got = request_in_processes(rotating_session)
    journal = rotating_session.emulator.journal()
    assert (journal["requests"], journal["exchanges"]) == (1, 1)
    record = rotating_session.stored().record
    assert record is not None
    assert got == [("token", record.login_token)] * PROCESSES


def test_64_processes_send_one_tasks_retries_to_a_failing_service(single_session: SingleSession) -> None:
    single_session.have("expired")
    single_session.emulator.fault("status", status=503, code="ServiceUnavailable", count=None)
    assert request_in_processes(single_session) == [("error", "ServiceUnavailable")] * PROCESSES
    assert single_session.requests() <= 2


class RecordingStore(DirectoryStore):
    """A directory that remembers the tokens that this process has saved."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.tokens: list[str] = []

    @contextlib.contextmanager
    def lock(self, key: str, deadline: float, first_note: FirstNote | None = None) -> t.Iterator[LockedSession]:
        with super().lock(key, deadline) as locked:
            save = locked.save

            def save_and_remember(record: Record) -> None:
                save(record)
                self.tokens.append(record.login_token)

            with mock.patch.object(locked, "save", save_and_remember):
                yield locked


class Span(t.NamedTuple):
    """The time of a request, by the clock of the host."""

    end_user_id: str
    began: float
    ended: float


class RecordingService(ServiceClient):
    """A service that remembers the times of the requests of this process."""

    spans: list[Span]

    def refresh(
        self, session: Session, login_token: str, deadline: float, *, session_id: str | None = None
    ) -> RefreshResult:
        began = time.monotonic()
        try:
            return super().refresh(session, login_token, deadline, session_id=session_id)
        finally:
            self.spans.append(Span(session.end_user_id, began, time.monotonic()))


class Race(t.NamedTuple):
    """The actions of a process: the tokens that were returned and those that were stored, its errors, its requests."""

    returned: list[str]
    stored: list[str]
    errors: list[str]
    spans: list[Span]


RACERS = 8
RACE_SECONDS = 2.0
USERS = ("alice", "bob", "carol")
ACTS = ("request", "request", "force", "force", "log in", "delete", "predict")


def race(path: str, sessions: list[Session], logins: list[tuple[Session, str]], seed: int) -> Race:
    """Request, force, log in, delete and predict in random order, for some seconds."""
    store, chance = RecordingStore(path), random.Random(seed)
    returned: list[str] = []
    errors: list[str] = []
    end = time.monotonic() + RACE_SECONDS
    service = RecordingService(None, timeout=20, retries=0)
    service.spans = []
    with service:
        keeper = Keeper(store, lambda: service, scope="", deadline=end + 40)
        while time.monotonic() < end:
            request, act = TokenRequest(chance.choice(sessions)), chance.choice(ACTS)
            if act == "log in" and logins:
                request = TokenRequest(*logins.pop())
            stored = store.read(request.session.key)
            try:
                if act == "delete":
                    keeper.delete(request.session.key)
                    continue
                if act == "predict":
                    outcome = keeper.predict(request, stored, errors.append)
                else:
                    outcome = keeper.ensure(request._replace(force=act == "force"), errors.append)
            except WuyingError as error:
                errors.append(error.code)
                continue
            if outcome.not_saved is not None:
                errors.append(outcome.not_saved.code)
            elif outcome.record is not None:
                returned.append(outcome.record.login_token)
        return Race(returned, store.tokens, errors, service.spans)


def test_competing_processes_lose_no_token_and_mix_up_nothing(
    rotating_session: SingleSession, store_path: Path
) -> None:
    single_session = rotating_session
    sessions = [single_session.session._replace(end_user_id=name) for name in USERS]
    identities = [session.identity() for session in sessions * RACERS * 2]
    for identity in identities:
        del identity["endpoint"]
    issued = [entry["login_token"] for entry in single_session.emulator.control("POST", "tokens", identities)]
    logins = list(zip(sessions * RACERS * 2, issued))
    single_session.emulator.fault("drip", interval=0, count=None)
    results: t.Any = FORK.Queue()

    def run(number: int) -> None:
        try:
            results.put(race(str(store_path), sessions, logins[number::RACERS], number))
        except Exception as error:  # a traceback would be lost in the process
            results.put(Race([], [], [repr(error)], []))

    processes = [FORK.Process(target=run, args=(number,)) for number in range(RACERS)]
    for process in processes:
        process.start()
    races = [results.get(timeout=60) for _process in processes]
    for process in processes:
        process.join(60)
    # The only failure is a request for a session that another process has just deleted.
    assert {error for each in races for error in each.errors} <= {"NoLoginToken"}
    stored = {token for each in races for token in each.stored}
    returned = {token for each in races for token in each.returned}
    assert returned and returned <= stored
    # No process sent a used-up token, and every issued token was stored.
    entries = single_session.emulator.journal()["entries"]
    assert all(entry["exchanged"] and entry["status"] == 200 for entry in entries)
    assert {entry["issued"] for entry in entries} == {fingerprint(token)[:12] for token in stored}
    for session in sessions:
        name = session.end_user_id
        spans = sorted(span for each in races for span in each.spans if span.end_user_id == name)
        assert len(spans) == sum(entry["end_user_id"] == name for entry in entries) > 1
        assert all(one.ended <= other.began for one, other in zip(spans, spans[1:]))
        found = single_session.store.read(session.key)
        assert (found.damage, found.note) == (None, None)
        assert found.record is None or found.record.login_token in stored
        with single_session.store.lock(session.key, time.monotonic()) as locked:
            assert locked.read() == found


def run_and_kill(
    single_session: SingleSession, monkeypatch: pytest.MonkeyPatch, call: str, number: int, written: float
) -> None:
    """Request in a process that is killed in its first or second call of that name, after a part of its data is written."""
    module = os if hasattr(os, call) else two_slot_file
    real = getattr(module, call)
    calls: list[object] = []

    def kill_itself(file: int, *arguments: t.Any) -> t.Any:
        calls.append(None)
        if len(calls) < number:
            return real(file, *arguments)
        if arguments:
            data, offset = arguments
            real(file, data[: int(len(data) * written)], offset)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(module, call, kill_itself)
        process = FORK.Process(target=single_session.request)
        process.start()
        process.join(60)
    assert process.exitcode == -signal.SIGKILL


# The part of the record that was written when the process was killed.
TORN = [0, 0.3, 0.9]


@pytest.mark.parametrize("written", TORN)
def test_a_kill_before_the_answer_is_saved_is_an_unknown_outcome(
    rotating_session: SingleSession, monkeypatch: pytest.MonkeyPatch, written: float
) -> None:
    record = rotating_session.have("stale")
    run_and_kill(rotating_session, monkeypatch, "pwrite", 2, written)
    assert rotating_session.stored().record == record
    with pytest.raises(LoginRequired, match="log in again") as caught:
        rotating_session.request()
    assert caught.value.code == "OutcomeUnknown"
    assert rotating_session.request(rotating_session.emulator.issue()).changed


@pytest.mark.parametrize("written", TORN)
def test_a_session_recovers_from_the_same_kill_if_tokens_do_not_rotate(
    single_session: SingleSession, monkeypatch: pytest.MonkeyPatch, written: float
) -> None:
    record = single_session.have("stale")
    run_and_kill(single_session, monkeypatch, "pwrite", 2, written)
    assert single_session.stored().record == record
    assert single_session.request().changed
    assert single_session.stored().note is None


def test_a_kill_after_the_answer_is_written_loses_nothing(
    rotating_session: SingleSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = rotating_session.have("stale")
    run_and_kill(rotating_session, monkeypatch, "_sync", 2, 0)
    outcome = rotating_session.request()
    assert not outcome.changed
    assert outcome.record != record
    assert rotating_session.request(force=True).changed


@pytest.mark.parametrize("written", TORN)
def test_a_kill_before_the_note_sends_nothing_and_leaves_no_doubt(
    rotating_session: SingleSession, monkeypatch: pytest.MonkeyPatch, written: float
) -> None:
    record = rotating_session.have("current")
    with monkeypatch.context() as patch:
        patch.setattr(
            SingleSession,
            "request",
            lambda single_session: single_session.keeper().ensure(
                TokenRequest(single_session.session, force=True), single_session.warnings.append
            ),
        )
        run_and_kill(rotating_session, monkeypatch, "pwrite", 1, written)
    assert rotating_session.requests() == 0
    assert rotating_session.request()[:4] == (False, record, record, None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM])
def test_a_signal_waits_until_the_answer_is_saved(single_session: SingleSession, number: signal.Signals) -> None:
    single_session.have("stale")
    single_session.emulator.fault("drip", interval=0.005, carried_out=True)
    process = FORK.Process(target=_request_as_a_program, args=(single_session,))
    process.start()
    end = time.monotonic() + 20
    while single_session.stored().note is None:
        assert time.monotonic() < end
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(30)
    assert process.exitcode == (1 if number == signal.SIGINT else -number)
    stored = single_session.stored()
    assert stored.note is None
    assert stored.record is not None
    assert stored.record.state(time.time(), 300) == "current"


def test_a_signal_ends_the_retries(single_session: SingleSession) -> None:
    single_session.have("stale")
    single_session.emulator.fault("throttle", retry_after=20000, count=None)
    process = FORK.Process(target=_request_as_a_program, args=(single_session,), kwargs={"retries": 5})
    process.start()
    end = time.monotonic() + 20
    while not single_session.requests():
        assert time.monotonic() < end
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    process.join(10)
    assert process.exitcode == -signal.SIGTERM
    assert single_session.requests() == 1


def _request_as_a_program(single_session: SingleSession, retries: int = 0) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    single_session.keeper(seconds=60, retries=retries).ensure(
        TokenRequest(single_session.session), single_session.warnings.append
    )


def test_a_lock_is_released_if_its_process_is_killed(single_session: SingleSession) -> None:
    single_session.have("stale")
    held = FORK.Event()

    def hold() -> None:
        with single_session.store.lock(single_session.session.key, time.monotonic() + 10):
            held.set()
            time.sleep(60)

    process = FORK.Process(target=hold)
    process.start()
    assert held.wait(20)
    process.kill()
    process.join(20)
    assert single_session.request().changed
