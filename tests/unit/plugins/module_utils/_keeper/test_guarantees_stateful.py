# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the keeper with a model of the guarantees: any requests, in any order, with a moving clock, faults and kills.

The model is the table of the design in its own words. After each step, keeper and store must have the same result, requests and stored
state as the model, and no token may be returned that is not stored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
import typing as t

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import Outcome, TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model import next_record as _next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.account import AccountEntry
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    LockTimeout,
    OptionError,
    Refused,
    ServiceError,
    StoreError,
    TokenRejected,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import Note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record, Snapshot, StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._service.response import RefreshResult
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import ENVELOPE, Store
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import Encryption
from ansible_collections.wuying.workspace.plugins.module_utils._store.locked_session import FirstNote, LockedSession
from ansible_collections.wuying.workspace.plugins.module_utils._store.no_store import NoStore
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.memory_store import MemoryStore
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import session_at

pytest.importorskip("cryptography", reason="the Python package cryptography is not installed")

NIGHTLY = os.environ.get("FUZZ") == "nightly"
PROFILE = settings(
    max_examples=2000 if NIGHTLY else 100,
    stateful_step_count=50,
    deadline=None,
    database=None,
    derandomize=not NIGHTLY,
    print_blob=NIGHTLY,
    suppress_health_check=list(HealthCheck),
)
QUICK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""The place of the folders of thousands of examples: memory, because an fsync costs nothing there."""
START = 1_800_000_000.0
KEYS = ["QUFB" * 10 + "QUE=", "QkJC" * 10 + "QkI="]
ALICE = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
SESSIONS = [
    ALICE,
    ALICE._replace(end_user_id="bob"),
    ALICE._replace(endpoint="https://ecd-vpc.example.com"),
]
USED, PASSED = 4, 2
"""The lengths of the lineage in this test: short, so that some tokens are dropped from it."""
MOST_SPENT = 16

# The results of a request other than the code of an error.
UNCHANGED, REFRESHED, NOT_SAVED, KILLED = "unchanged", "refreshed", "not saved", "killed"

# The faults of the service: whether the failure is temporary, whether the token may be spent, and the code.
FAULTS: dict[str, tuple[bool, bool, str]] = {
    "busy": (True, False, "Throttling"),
    "lost": (True, True, "ConnectionLost"),
    "answer lost": (True, True, "ConnectionLost"),
    "forbidden": (False, False, "Forbidden.RAM"),
    "lost, then forbidden": (False, True, "Forbidden.RAM"),
    "unclear": (False, False, "SomethingElse"),
    "lost, then unclear": (False, True, "SomethingElse"),
}
UNCLEAR = ("unclear", "lost, then unclear")
"""The faults whose code does not say if the token is the reason."""
SPENDING = ("answer lost", "answer lost, then again")
REFUSED = "refused"
NO_KEYS = "no keys"
# The faults of the store.
LOCKED, FULL, MANY_FILES, NOT_WRITTEN = "locked", "full", "too many files", "not written"
KILLED_BEFORE_NOTE, KILLED_AFTER_NOTE = "killed before the note", "killed after the note"
KILLED_BEFORE_WRITING, KILLED_AFTER_WRITING = "killed before writing", "killed after writing"

FULL_CODE, BROKEN_CODE = "DiskFull", "DiskBroken"


class ProcessKilled(BaseException):
    """The process is killed. No code that runs afterwards may catch this."""


# A service and stores with faults


class FakeService:
    """A service with the known behavior: the tokens that it accepts, its fault, and its requests."""

    def __init__(self, rotate: bool) -> None:
        self.rotate = rotate
        self.now = START
        self.trouble: str | None = None
        self.issued: list[str] = []
        self.alive: dict[str, Session] = {}
        self.log: list[tuple[Session, str]] = []

    def log_in(self, session: Session) -> str:
        """Issue a token."""
        token = self.coming()
        self.issued.append(token)
        self.alive[token] = session
        return token

    def coming(self, later: int = 0) -> str:
        """Return the token that is issued next, or some tokens later."""
        return f"v1/the+token={len(self.issued) + later:04}"

    def takes(self, session: Session, token: str) -> bool:
        """Return True if a token is valid."""
        return self.alive.get(token) == session

    def refresh(self, session: Session, token: str, deadline: float, *, session_id: str | None = None) -> RefreshResult:
        """Refresh a token, or fail."""
        self.log.append((session, token))
        trouble = self.trouble
        if trouble in SPENDING and self.takes(session, token):
            self._redeem(session, token)
        if trouble in FAULTS:
            retryable, sent, code = FAULTS[trouble]
            kind = Refused if trouble in UNCLEAR else ServiceError
            raise kind("Something went wrong.", code=code, retryable=retryable, outcome_unknown=sent)
        if trouble == REFUSED or not self.takes(session, token):
            sent = trouble in SPENDING
            raise TokenRejected("It was refused.", code="InvalidLoginToken", outcome_unknown=sent)
        return RefreshResult(self._redeem(session, token), None, self.now)

    def _redeem(self, session: Session, token: str) -> str:
        if self.rotate:
            del self.alive[token]
        return self.log_in(session)


class FragileStore(Store):
    """A store that fails or kills its process at a chosen point."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.name)
        self.store = store
        self.trouble: str | None = None
        self.locks = self.writes = 0

    def read(self, key: str) -> StoredState:
        return self.store.read(key)

    def keys(self, prefix: str = "") -> t.Iterator[str | StoreError]:
        return self.store.keys(prefix)

    @contextlib.contextmanager
    def lock(self, key: str, deadline: float, first_note: FirstNote | None = None) -> t.Iterator[LockedSession]:
        self.locks += 1
        if self.trouble == LOCKED:
            raise LockTimeout("It took too long.")
        with self.store.lock(key, deadline) as locked:
            yield FragileSession(self, locked)

    def close(self) -> None:
        self.store.close()


class FragileSession(LockedSession):
    """A locked session in such a store."""

    def __init__(self, store: FragileStore, locked: LockedSession) -> None:
        self.store, self.locked = store, locked

    def read(self) -> StoredState:
        return self.locked.read()

    def set_aside(self) -> str:
        return self.locked.set_aside()

    def write_note(self, note: Note, growth: int = 0) -> None:
        if self.store.trouble in (FULL, MANY_FILES):
            again = self.store.trouble == MANY_FILES
            raise StoreError("There is no space.", code=FULL_CODE, retryable=again)
        with self._write(KILLED_BEFORE_NOTE, KILLED_AFTER_NOTE):
            self.locked.write_note(note, growth)

    def save(self, record: Record, note: Note | None = None) -> None:
        with self._write(KILLED_BEFORE_WRITING, KILLED_AFTER_WRITING):
            self.locked.save(record, note)

    def save_failure(self, note: Note) -> None:
        with self._write(KILLED_BEFORE_WRITING, KILLED_AFTER_WRITING):
            self.locked.save_failure(note)

    def rewrite(self, record: Record) -> None:
        with self._write(KILLED_BEFORE_WRITING, KILLED_AFTER_WRITING):
            self.locked.rewrite(record)

    def write_entry(self, entry: AccountEntry) -> None:
        if self.store.trouble in (FULL, MANY_FILES):
            raise StoreError("There is no space.", code=FULL_CODE, retryable=self.store.trouble == MANY_FILES)
        self.locked.write_entry(entry)

    def delete(self) -> bool:
        return self.locked.delete()

    @contextlib.contextmanager
    def _write(self, before: str, after: str) -> t.Iterator[None]:
        trouble = self.store.trouble
        if trouble == before:
            raise ProcessKilled
        if trouble == NOT_WRITTEN and before == KILLED_BEFORE_WRITING:
            raise StoreError("The disk is broken.", code=BROKEN_CODE)
        self.store.writes += 1
        yield
        if trouble == after:
            raise ProcessKilled


# The model


class Result(t.NamedTuple):
    """The result of a request, the returned token, whether to try again or to log in, and whether the user is warned."""

    end: str
    token: str | None = None
    retryable: bool = False
    warned: bool = False
    login_needed: bool = False


class Failure(t.NamedTuple):
    """The failure of a refresh."""

    token: str
    scope: str
    code: str
    retryable: bool
    login_needed: bool


@dataclasses.dataclass
class SessionState:
    """The state of a session by the design."""

    token: str | None = None
    obtained_at: float = 0.0
    expires_at: float = 0.0
    ended: str | None = None
    used: list[str] = dataclasses.field(default_factory=list)
    passed: list[str] = dataclasses.field(default_factory=list)
    damaged: bool = False
    encrypted_with: str = ""
    version: int = 0
    note: int | None = None
    failure: Failure | None = None
    possibly_spent: list[str] = dataclasses.field(default_factory=list)

    def knows(self, token: str) -> bool:
        """Known means that T is the stored token or in its lineage."""
        return self.token is not None and token in (self.token, *self.used, *self.passed)

    def may_be_spent(self, token: str | None) -> bool:
        """A note without a result means that the outcome of its token is unknown."""
        return token in self.possibly_spent or len(self.possibly_spent) > MOST_SPENT

    def state(self, now: float, refresh_before: float) -> str:
        """Current, stale, expired or ended."""
        left = self.expires_at - now
        if self.ended:
            return "ended"
        if left <= 0:
            return "expired"
        if self.obtained_at > now + 60:
            return "stale"
        half = (self.expires_at - self.obtained_at) / 2
        return "current" if left > min(refresh_before, half) else "stale"

    def is_valid(self, now: float) -> bool:
        """Return True if the stored token is still valid."""
        return self.token is not None and not self.ended and now < self.expires_at

    def clear_record(self) -> None:
        """Delete the record."""
        self.token = self.ended = None
        self.used, self.passed, self.damaged = [], [], False
        self.version += 1

    def clear_note(self) -> None:
        """Delete the note."""
        self.note = self.failure = None
        self.possibly_spent = []


class Model:
    """The table of guarantees, for all sessions."""

    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.now = START
        self.states = {session: SessionState() for session in SESSIONS}
        self.sent: list[tuple[Session, str]] = []
        self.first_key = KEYS[0]
        self.notes = 0

    def ensure(self, request: TokenRequest, scope: str, fault: str | None, trouble: str | None) -> Result:
        """Return the result of a request that does not wait for a lock."""
        session_state = self.states[request.session]
        snapshot = (session_state.version, session_state.note)
        return self.without_refresh(request) or self.after_waiting(request, snapshot, scope, fault, trouble)

    def without_refresh(self, request: TokenRequest) -> Result | None:
        """Return the result of a request that needs no refresh, else None."""
        if self.states[request.session].damaged:
            return None
        todo = self.decide(request)
        return todo if isinstance(todo, Result) else None

    def decide(self, request: TokenRequest) -> Result | str:
        """Return the row of the table: the result, or the token to refresh."""
        session_state = self.states[request.session]
        if self.passes_unknown_token(request):
            return t.cast(str, request.login_token)
        if session_state.token is None:
            return Result("NoLoginToken", login_needed=True)
        if request.force:
            return session_state.token
        state = session_state.state(self.now, request.refresh_before)
        if state == "ended":
            code = session_state.ended if session_state.ended == "OutcomeUnknown" else "SessionEnded"
            return Result(code, login_needed=True)
        if state == "current" and not session_state.may_be_spent(session_state.token):
            return Result(UNCHANGED, session_state.token)
        return session_state.token

    def passes_unknown_token(self, request: TokenRequest) -> bool:
        """Return True if a token was passed that is not known."""
        return request.login_token is not None and not self.states[request.session].knows(request.login_token)

    def after_waiting(
        self,
        request: TokenRequest,
        snapshot: tuple[int, int | None],
        scope: str,
        fault: str | None,
        trouble: str | None,
    ) -> Result:
        """Return the result of a request that needed a refresh when it read the ``snapshot`` of record and note."""
        session_state = self.states[request.session]
        if fault == NO_KEYS and snapshot[1] is None:
            return self.stored_token_or(request, Result("MissingCredentials"))
        if trouble == LOCKED:
            return self.stored_token_or(request, Result("DeadlineExceeded", retryable=True))
        warned = session_state.damaged
        if session_state.damaged:
            session_state.clear_record()
        elif session_state.token is not None and session_state.version != snapshot[0]:
            # It shares the outcome of the refresh that it waited for.
            request = request._replace(force=False)
        todo = self.decide(request)
        if isinstance(todo, Result):
            return todo._replace(warned=warned)
        failure = session_state.failure
        if failure and session_state.note != snapshot[1] and (failure.token, failure.scope) == (todo, scope):
            error = Result(failure.code, retryable=failure.retryable, login_needed=failure.login_needed)
            end = self.stored_token_or(request, error)
        elif fault == NO_KEYS:
            end = self.stored_token_or(request, Result("MissingCredentials"))
        else:
            end = self.refresh(request, todo, scope, fault, trouble)
        return end._replace(warned=warned or end.warned)

    def stored_token_or(self, request: TokenRequest, error: Result) -> Result:
        """Return the stored token with a warning after any failure but a rejection, if it is valid and was requested."""
        session_state = self.states[request.session]
        requested = not request.force and not self.passes_unknown_token(request)
        if not error.login_needed and requested and session_state.is_valid(self.now):
            return Result(UNCHANGED, session_state.token, warned=True)
        return error

    def refresh(self, request: TokenRequest, token: str, scope: str, fault: str | None, trouble: str | None) -> Result:
        """Return the result of a refresh."""
        session_state = self.states[request.session]
        login = self.passes_unknown_token(request)
        if trouble in (FULL, MANY_FILES):
            return self.stored_token_or(request, Result(FULL_CODE, retryable=trouble == MANY_FILES))
        if trouble == KILLED_BEFORE_NOTE:
            return Result(KILLED)
        possibly_spent = session_state.may_be_spent(token)
        self.notes += 1
        session_state.note, session_state.failure = self.notes, None
        if token not in session_state.possibly_spent:
            session_state.possibly_spent.append(token)
        if trouble == KILLED_AFTER_NOTE:
            return Result(KILLED)
        self.sent.append((request.session, token))
        transient, sent, code = FAULTS.get(fault or "", (False, fault in SPENDING, ""))
        good = self.service.takes(request.session, token) and fault != REFUSED
        if good and fault in SPENDING and self.service.rotate:
            good = False
        if fault not in FAULTS and good:
            return self.keep(request, token, self.service.coming(int(fault in SPENDING)), trouble)
        expired = not login and session_state.expires_at <= self.now
        rejected = fault not in FAULTS or (fault in UNCLEAR and (login or expired))
        unknown = sent or possibly_spent
        if rejected:
            code = "OutcomeUnknown" if unknown else code or "InvalidLoginToken"
        if trouble == KILLED_BEFORE_WRITING:
            return Result(KILLED)
        if trouble != NOT_WRITTEN:
            if rejected and expired and session_state.ended != code:
                session_state.ended = code
                session_state.encrypted_with = self.first_key
                session_state.version += 1
                session_state.clear_note()
            else:
                session_state.failure = Failure(token, scope, code, transient, rejected)
                if not unknown and len(session_state.possibly_spent) <= MOST_SPENT:
                    session_state.possibly_spent.remove(token)
        if trouble == KILLED_AFTER_WRITING:
            return Result(KILLED)
        return self.stored_token_or(request, Result(code, retryable=transient, login_needed=rejected))

    def keep(self, request: TokenRequest, token: str, successor: str, trouble: str | None) -> Result:
        """The service issued a token: store it before it is returned."""
        if trouble == KILLED_BEFORE_WRITING:
            return Result(KILLED)
        if trouble == NOT_WRITTEN:
            return Result(NOT_SAVED, successor)
        session_state = self.states[request.session]
        if self.passes_unknown_token(request):
            session_state.passed = newest(session_state.passed, token, PASSED)
        if session_state.token is not None and session_state.token != token:
            session_state.used = newest(session_state.used, session_state.token, USED)
        session_state.used = newest(session_state.used, token, USED)
        before = session_state.token is not None
        session_state.token, session_state.ended = successor, None
        kept = session_state.expires_at - session_state.obtained_at if before else 900
        session_state.obtained_at, session_state.expires_at = self.now, self.now + (request.validity or kept)
        session_state.encrypted_with = self.first_key
        session_state.version += 1
        session_state.clear_note()
        return Result(KILLED) if trouble == KILLED_AFTER_WRITING else Result(REFRESHED, successor)

    def predict(self, request: TokenRequest) -> Result:
        """Check mode: predict from the record, and return its token only if it is valid."""
        session_state = self.states[request.session]
        if session_state.damaged:
            nothing = request.login_token is None
            return Result("NoLoginToken" if nothing else REFRESHED, warned=True, login_needed=nothing)
        todo = self.decide(request)
        if isinstance(todo, Result):
            return todo
        shown = session_state.is_valid(self.now) and not self.passes_unknown_token(request)
        return Result(REFRESHED, session_state.token if shown else None)

    def delete(self, session: Session, *, check: bool, trouble: str | None) -> Result:
        """Absent: delete the record, and send nothing."""
        session_state = self.states[session]
        exists = session_state.token is not None or session_state.damaged
        if not check and (exists or session_state.note is not None):
            if trouble == LOCKED:
                return Result("DeadlineExceeded", retryable=True)
            session_state.clear_record()
            session_state.clear_note()
        return Result(REFRESHED if exists else UNCHANGED)

    def reencrypt(self, session: Session, trouble: str | None) -> Result:
        """Encrypt a record with the first key, unless it already is."""
        session_state = self.states[session]
        if trouble == LOCKED:
            return Result("DeadlineExceeded", retryable=True)
        if session_state.token is None or session_state.encrypted_with == self.first_key:
            return Result(UNCHANGED)
        if trouble == KILLED_BEFORE_WRITING:
            return Result(KILLED)
        if trouble == NOT_WRITTEN:
            return Result(BROKEN_CODE)
        session_state.encrypted_with = self.first_key
        return Result(KILLED) if trouble == KILLED_AFTER_WRITING else Result(REFRESHED)


def newest(tokens: list[str], token: str, length: int) -> list[str]:
    """Add a token, and keep the newest ones only."""
    return [*(each for each in tokens if each != token), token][-length:]


# Comparison of both


def rarely(*values: str) -> st.SearchStrategy[str | None]:
    """Draw None most of the time."""
    return st.sampled_from([None, None, None, *values])


sessions = st.sampled_from([ALICE, ALICE, ALICE, *SESSIONS])
scopes = st.sampled_from(["one key", "another key"])
faults = st.one_of(st.none(), rarely(*FAULTS, *SPENDING, REFUSED, NO_KEYS))
writing = (NOT_WRITTEN, KILLED_BEFORE_WRITING, KILLED_AFTER_WRITING)
troubles = st.one_of(st.none(), rarely(LOCKED, FULL, MANY_FILES, KILLED_BEFORE_NOTE, KILLED_AFTER_NOTE, *writing))
passed_tokens = st.one_of(st.none(), st.just("new"), st.integers(0, 30))
validities = st.sampled_from([900, 100, None, None])
moves = st.sampled_from([0, 0, 0, 0, 0, 1, 99, 100, 450, 599, 600, 601, 899, 900, 5000, -1, -60, -61, -500])
Drawn = t.Dict[str, t.Any]
requests = st.fixed_dictionaries(
    {
        "session": sessions,
        "after": moves,
        "passed": passed_tokens,
        "force": st.sampled_from([False, False, True]),
        "validity": validities,
        "refresh_before": st.sampled_from([300, 0, 10**6]),
    }
)


class Waiter(t.NamedTuple):
    """A task that needs a refresh and waits for the lock."""

    request: TokenRequest
    scope: str
    snapshot: Snapshot
    model_snapshot: tuple[int, int | None]


class Machine(RuleBasedStateMachine):
    """Keeper, store and service beside the model."""

    waiters = Bundle("waiters")

    def __init__(self) -> None:
        super().__init__()
        self.opened = contextlib.ExitStack()
        for name, length in (("LINEAGE_LENGTH", USED), ("PASSED_LENGTH", PASSED)):
            self.opened.callback(setattr, _next_record, name, getattr(_next_record, name))
            setattr(_next_record, name, length)
        self.warnings: list[str] = []
        self.started = False

    def open_store(self, encryption: Encryption) -> Store:
        """Open the store again. Its records stay."""
        raise NotImplementedError

    @initialize(rotate=st.booleans())
    def new_note(self, rotate: bool) -> None:
        self.service = FakeService(rotate)
        self.model = Model(self.service)
        self.store = FragileStore(self.open_store(Encryption(KEYS)))
        self.started = True
        for session in SESSIONS[:2]:
            self.log_in(session, 900)

    def teardown(self) -> None:
        if self.started:
            self.store.close()
        self.opened.close()

    # Rules

    @rule(drawn=requests, scope=scopes, fault=faults, trouble=troubles)
    def request(self, drawn: Drawn, scope: str, fault: str | None, trouble: str | None) -> None:
        self.ensure(self.read(drawn), scope, fault, trouble)

    @rule(session=sessions, validity=validities)
    def log_in(self, session: Session, validity: int | None) -> None:
        self.ensure(TokenRequest(session, self.service.log_in(session), validity=validity))

    @rule(session=sessions, after=moves, fault=faults)
    def request_simply(self, session: Session, after: int, fault: str | None) -> None:
        passed = None if self.model.states[session].token else "new"
        self.ensure(self.read({"session": session, "after": after, "passed": passed}), fault=fault)

    @rule(session=sessions, trouble=st.sampled_from([KILLED_AFTER_NOTE, *writing]))
    def force_with_fault(self, session: Session, trouble: str) -> None:
        self.ensure(TokenRequest(session, force=True), trouble=trouble)

    @rule(target=waiters, drawn=requests, scope=scopes)
    def request_and_wait(self, drawn: Drawn, scope: str) -> t.Any:
        return self.begin_to_wait(self.read(drawn), scope) or multiple()

    @rule(waiter=consumes(waiters), fault=faults, trouble=troubles)
    def finish_waiting(self, waiter: Waiter, fault: str | None, trouble: str | None) -> None:
        self.refresh(waiter, fault, trouble)

    @rule(
        drawn=requests,
        pair=st.tuples(scopes, scopes),
        fault=faults,
        after=moves,
        other_fault=faults,
    )
    def request_together(
        self,
        drawn: Drawn,
        pair: tuple[str, str],
        fault: str | None,
        after: int,
        other_fault: str | None,
    ) -> None:
        request = self.read(drawn)
        waiter = self.begin_to_wait(request, pair[0])
        self.ensure(request, pair[1], fault)
        self.advance(after)
        if waiter is not None:
            self.refresh(waiter, other_fault)

    @rule(drawn=requests, scope=scopes)
    def check(self, drawn: Drawn, scope: str) -> None:
        request = self.read(drawn)
        stored = self.store.read(request.session.key)
        work = (self.store.locks, self.store.writes)
        expected = self.model.predict(request)
        keeper = self.keeper(scope)
        self.compare(
            expected,
            lambda: keeper.predict(request, stored, self.warnings.append),
            stored.record,
            stored=False,
        )
        assert (self.store.locks, self.store.writes) == work

    @rule(session=sessions, check=st.booleans(), trouble=rarely(LOCKED))
    def delete(self, session: Session, check: bool, trouble: str | None) -> None:
        before = self.store.read(session.key).record
        expected = self.model.delete(session, check=check, trouble=trouble)
        self.store.trouble = trouble
        keeper = self.keeper("one key")
        self.compare(expected, lambda: keeper.delete(session.key, check=check), before)

    @rule(passed=st.sampled_from([True, True, False]), fault=rarely("busy", REFUSED), session=sessions)
    def request_without_store(self, session: Session, passed: bool, fault: str | None) -> None:
        request = TokenRequest(session, self.service.log_in(session) if passed else None)
        expected = Result("NoLoginToken", login_needed=True)
        if request.login_token is not None:
            self.model.sent.append((session, request.login_token))
            expected = Result(REFRESHED, self.service.coming())
            if fault is not None:
                refused = fault == REFUSED
                code = "InvalidLoginToken" if refused else FAULTS[fault][2]
                expected = Result(code, retryable=not refused, login_needed=refused)
        self.service.trouble = fault
        keeper = self.keeper("one key", NoStore())
        self.compare(expected, lambda: keeper.ensure(request, self.warnings.append), None, stored=False)

    @rule(session=sessions, order=st.permutations(KEYS), trouble=rarely(LOCKED, *writing))
    def reencrypt(self, session: Session, order: list[str], trouble: str | None) -> None:
        self.store.close()
        self.store = FragileStore(self.open_store(Encryption(order)))
        self.model.first_key = order[0]
        before = self.store.read(session.key).record
        expected = self.model.reencrypt(session, trouble)
        self.store.trouble = trouble
        keeper = self.keeper("one key")
        self.compare(expected, lambda: Outcome(keeper.reencrypt(session.key), before), before)

    @rule(session=sessions)
    def service_forgets(self, session: Session) -> None:
        alive = self.service.alive
        self.service.alive = {token: each for token, each in alive.items() if each != session}

    # Invariants

    @invariant()
    def the_same_requests_were_sent(self) -> None:
        if self.started:
            assert self.service.log == self.model.sent

    @invariant()
    def the_same_state_is_stored(self) -> None:
        for session in SESSIONS if self.started else ():
            session_state, stored = self.model.states[session], self.store.read(session.key)
            assert (stored.damage is not None) == session_state.damaged
            assert (stored.note is not None) == (session_state.note is not None)
            assert [token for token in self.service.issued if stored.may_be_spent(token)] == [
                token for token in self.service.issued if session_state.may_be_spent(token)
            ]
            record = stored.record
            if record is None:
                assert session_state.token is None or session_state.damaged
                continue
            assert record.session == session
            assert (record.login_token, record.obtained_at, record.expires_at, record.ended) == (
                session_state.token,
                session_state.obtained_at,
                session_state.expires_at,
                session_state.ended,
            )
            assert [token for token in self.service.issued if record.knows(token)] == [
                token for token in self.service.issued if session_state.knows(token)
            ]
            assert stored.needs_reencryption == (session_state.encrypted_with != self.model.first_key)

    # Helpers

    def ensure(
        self,
        request: TokenRequest,
        scope: str = "one key",
        fault: str | None = None,
        trouble: str | None = None,
    ) -> None:
        """Request a token without any other task."""
        without_refresh = self.model.without_refresh(request) is not None
        locks = self.store.locks
        before = self.store.read(request.session.key).record
        expected = self.model.ensure(request, scope, fault, trouble)
        self.service.trouble, self.store.trouble = fault, trouble
        keeper = self.keeper(scope)
        self.compare(expected, lambda: keeper.ensure(request, self.warnings.append), before)
        assert not without_refresh or self.store.locks == locks

    def begin_to_wait(self, request: TokenRequest, scope: str) -> Waiter | None:
        """Request a token. Return the task that waits if a refresh is due."""
        session_state = self.model.states[request.session]
        stored = self.store.read(request.session.key)
        keeper = self.keeper(scope)
        expected = self.model.without_refresh(request)
        if expected is None:
            assert keeper.return_stored(request, stored) is None
            return Waiter(request, scope, stored.snapshot(), (session_state.version, session_state.note))
        self.compare(expected, lambda: t.cast(Outcome, keeper.return_stored(request, stored)), stored.record)
        return None

    def refresh(self, waiter: Waiter, fault: str | None = None, trouble: str | None = None) -> None:
        """Continue a task that waited for the lock."""
        request, scope, snapshot, model_snapshot = waiter
        before = self.store.read(request.session.key).record
        expected = self.model.after_waiting(request, model_snapshot, scope, fault, trouble)
        self.service.trouble, self.store.trouble = fault, trouble
        keeper = self.keeper(scope)
        self.compare(expected, lambda: keeper.obtain(request, snapshot, self.warnings.append), before)

    def advance(self, seconds: int) -> None:
        """Move the clock."""
        self.service.now += seconds
        self.model.now += seconds

    def read(self, drawn: Drawn) -> TokenRequest:
        """Advance the clock, and return the request that was drawn. Its token is a new one or any that was ever issued."""
        options = dict(drawn)
        passed, session = options.pop("passed"), options["session"]
        self.advance(options.pop("after"))
        token = None
        if passed == "new" or (passed is not None and not self.service.issued):
            token = self.service.log_in(session)
        elif passed is not None:
            token = self.service.issued[-1 - passed % len(self.service.issued)]
        return TokenRequest(login_token=token, **options)

    def keeper(self, scope: str, store: Store | None = None) -> Keeper:
        """Return a keeper like that of a task."""
        return Keeper(
            store or self.store,
            self.connect,
            scope=scope,
            deadline=time.monotonic() + 60,
            clock=lambda: self.model.now,
        )

    def connect(self) -> ServiceClient:
        if self.service.trouble == NO_KEYS:
            raise OptionError("There are no credentials.", code="MissingCredentials")
        return t.cast(ServiceClient, self.service)

    def compare(
        self,
        expected: Result,
        work: t.Callable[[], Outcome],
        before: Record | None,
        *,
        stored: bool = True,
    ) -> None:
        """Compare the result of an action. With ``stored``, a token that is returned must be in the store."""
        self.warnings.clear()
        text, outcome = "", None
        try:
            outcome = work()
        except ProcessKilled:
            got = Result(KILLED, warned=bool(self.warnings))
            expected = expected._replace(warned=got.warned)
        except WuyingError as error:
            text = f"{error.message} {error.as_result()}"
            got = Result(error.code, None, error.retryable, bool(self.warnings), error.login_needed)
        else:
            end = REFRESHED if outcome.changed else UNCHANGED
            end = end if outcome.not_saved is None else NOT_SAVED
            record = outcome.record
            token = None if record is None else record.login_token
            got = Result(end, token, False, bool(self.warnings))
            assert outcome.not_refreshed is None or (got.warned and not outcome.changed)
            assert outcome.before == before
            if stored and record is not None and outcome.not_saved is None:
                assert self.store.read(record.session.key).record == record
        self.service.trouble = self.store.trouble = None
        assert got == expected
        if got.login_needed and got.end != "NoLoginToken":
            assert "log in again" in text
        text += f"{self.warnings} {outcome!r}"
        assert not [token for token in self.service.issued if token in text]


class WithDirectory(Machine):
    """The comparison with a directory store."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = self.opened.enter_context(tempfile.TemporaryDirectory(dir=QUICK))

    def open_store(self, encryption: Encryption) -> Store:
        return DirectoryStore(os.path.join(self.folder, "store"), encryption)


class WithMemory(Machine):
    """The comparison with a store in memory. Its records can also be damaged."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}

    def open_store(self, encryption: Encryption) -> Store:
        return MemoryStore(self.files, encryption)

    @rule(session=sessions, damage=st.sampled_from([ENVELOPE, ENVELOPE + b"1}", *SESSIONS]))
    def damage(self, session: Session, damage: bytes | Session) -> None:
        session_state = self.model.states[session]
        if isinstance(damage, Session):
            anothers = damage != session and self.model.states[damage].token
            damage = self.files[damage.key] if anothers else ENVELOPE
        if session_state.token is not None:
            self.files[session.key] = damage
            session_state.clear_record()
            session_state.damaged = True


@pytest.mark.parametrize("machine", [WithDirectory, WithMemory])
def test_any_sequence_of_events_keeps_the_guarantees(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=PROFILE)
