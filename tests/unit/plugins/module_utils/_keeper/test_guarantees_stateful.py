# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The promise against a model of it: any asks, in any order, with a moving clock, a failing service, a failing store and deaths.

The model is the design's table in its own words. Whatever happens, keeper and store are to end as it says, send what it says, hold what
it says, and tell no token that they do not hold.
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

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import (
    Outcome,
    TokenRequest,
)
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model import record as _record
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    LockTimeout,
    OptionError,
    ServiceError,
    StoreError,
    TokenRejected,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import Note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import (
    Record,
    Snapshot,
    StoredState,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._service.response import (
    RefreshResult,
)
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import (
    LockedSession,
    NoStore,
    Store,
)
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import Encryption
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.house import session_at
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.memory_store import (
    MemoryStore,
)

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
"""Where folders of thousands of examples lie: in memory, where an fsync costs nothing."""
START = 1_800_000_000.0
KEYS = ["QUFB" * 10 + "QUE=", "QkJC" * 10 + "QkI="]
ALICE = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
SESSIONS = [
    ALICE,
    ALICE._replace(end_user_id="bob"),
    ALICE._replace(endpoint="https://ecd-vpc.example.com"),
]
USED, PASSED = 4, 2
"""How many used-up and passed tokens are remembered here: fewer than else, so that some are forgotten."""
DOUBTED = 16

# How an ask ends, where it is not with the code of an error.
SERVED, EXCHANGED, NOT_KEPT, DIED = "served", "exchanged", "not kept", "died"

# What may be wrong with the service, and what it then says: whether that is transient, whether the token may be spent, the code.
FAULTS: dict[str, tuple[bool, bool, str]] = {
    "busy": (True, False, "Throttling"),
    "lost": (True, True, "ConnectionLost"),
    "answer lost": (True, True, "ConnectionLost"),
    "forbidden": (False, False, "Forbidden.RAM"),
    "lost, then forbidden": (False, True, "Forbidden.RAM"),
}
SPENDING = ("answer lost", "answer lost, then again")
REFUSED = "refused"
NO_KEYS = "no keys"
# What may be wrong with the store.
LOCKED, FULL, MANY_FILES, NOT_WRITTEN = "locked", "full", "too many files", "not written"
DIES_BEFORE_NOTE, DIES_AFTER_NOTE = "dies before the note", "dies after the note"
DIES_BEFORE_WRITING, DIES_AFTER_WRITING = "dies before writing", "dies after writing"

LOGIN_AGAIN = ("InvalidLoginToken", "OutcomeUnknown", "SessionEnded")
FULL_CODE, BROKEN_CODE = "DiskFull", "DiskBroken"


class Death(BaseException):
    """The process is killed: nothing that runs afterwards may see it."""


# The surroundings: a service, and stores


class FakeService:
    """The service as far as it is known: which tokens it takes, what went wrong on the way, and what it was asked."""

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
        """Say whether a token is good."""
        return self.alive.get(token) == session

    def refresh(self, session: Session, token: str, deadline: float) -> RefreshResult:
        """Exchange a token, or fail."""
        self.log.append((session, token))
        trouble = self.trouble
        if trouble in SPENDING and self.takes(session, token):
            self._redeem(session, token)
        if trouble in FAULTS:
            retryable, sent, code = FAULTS[trouble]
            raise ServiceError("Something went wrong.", code=code, retryable=retryable, outcome_unknown=sent)
        if trouble == REFUSED or not self.takes(session, token):
            sent = trouble in SPENDING
            raise TokenRejected("It was refused.", code="InvalidLoginToken", outcome_unknown=sent)
        return RefreshResult(self._redeem(session, token), None, self.now)

    def _redeem(self, session: Session, token: str) -> str:
        if self.rotate:
            del self.alive[token]
        return self.log_in(session)


class FragileStore(Store):
    """A store that fails, or whose process dies, where a test wants it."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.name)
        self.store = store
        self.trouble: str | None = None
        self.locks = self.writes = 0

    def read(self, key: str) -> StoredState:
        return self.store.read(key)

    def keys(self) -> t.Iterator[str]:
        return self.store.keys()

    @contextlib.contextmanager
    def lock(self, key: str, deadline: float) -> t.Iterator[LockedSession]:
        self.locks += 1
        if self.trouble == LOCKED:
            raise LockTimeout("It took too long.")
        with self.store.lock(key, deadline) as locked:
            yield FragileSlot(self, locked)

    def close(self) -> None:
        self.store.close()


class FragileSlot(LockedSession):
    """A place in a fragile store."""

    def __init__(self, store: FragileStore, locked: LockedSession) -> None:
        self.store, self.locked = store, locked

    def read(self) -> StoredState:
        return self.locked.read()

    def set_aside(self) -> str:
        return self.locked.set_aside()

    def write_note(self, note: Note) -> None:
        if self.store.trouble in (FULL, MANY_FILES):
            again = self.store.trouble == MANY_FILES
            raise StoreError("There is no space.", code=FULL_CODE, retryable=again)
        with self._write(DIES_BEFORE_NOTE, DIES_AFTER_NOTE):
            self.locked.write_note(note)

    def save(self, record: Record) -> None:
        with self._write(DIES_BEFORE_WRITING, DIES_AFTER_WRITING):
            self.locked.save(record)

    def save_failure(self, note: Note) -> None:
        with self._write(DIES_BEFORE_WRITING, DIES_AFTER_WRITING):
            self.locked.save_failure(note)

    def reencrypt(self, record: Record) -> None:
        with self._write(DIES_BEFORE_WRITING, DIES_AFTER_WRITING):
            self.locked.reencrypt(record)

    def delete(self) -> bool:
        return self.locked.delete()

    @contextlib.contextmanager
    def _write(self, before: str, after: str) -> t.Iterator[None]:
        trouble = self.store.trouble
        if trouble == before:
            raise Death
        if trouble == NOT_WRITTEN and before == DIES_BEFORE_WRITING:
            raise StoreError("The disk is broken.", code=BROKEN_CODE)
        self.store.writes += 1
        yield
        if trouble == after:
            raise Death


# The model


class End(t.NamedTuple):
    """How an ask ends: with what, which token is told, whether to try again, and whether the user is warned."""

    end: str
    token: str | None = None
    retryable: bool = False
    warned: bool = False


class Failure(t.NamedTuple):
    """How an exchange failed."""

    token: str
    scope: str
    code: str
    retryable: bool


@dataclasses.dataclass
class Held:
    """What there is to know of a session by the design."""

    token: str | None = None
    obtained_at: float = 0.0
    expires_at: float = 0.0
    ended: str | None = None
    used: list[str] = dataclasses.field(default_factory=list)
    passed: list[str] = dataclasses.field(default_factory=list)
    damaged: bool = False
    sealed_with: str = ""
    version: int = 0
    note: int | None = None
    failure: Failure | None = None
    possibly_spent: list[str] = dataclasses.field(default_factory=list)

    def knows(self, token: str) -> bool:
        """Known means that T is the record's token or in its lineage."""
        return self.token is not None and token in (self.token, *self.used, *self.passed)

    def may_be_spent(self, token: str | None) -> bool:
        """A note without an end stands for a token whose fate is unknown."""
        return token in self.possibly_spent or len(self.possibly_spent) > DOUBTED

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

    def lives(self, now: float) -> bool:
        """Say whether the record's token may still be used."""
        return self.token is not None and not self.ended and now < self.expires_at

    def clear_record(self) -> None:
        """There is no record any more."""
        self.token = self.ended = None
        self.used, self.passed, self.damaged = [], [], False
        self.version += 1

    def clear_note(self) -> None:
        """There is no note any more."""
        self.note = self.failure = None
        self.possibly_spent = []


class Promise:
    """The table of the promise, for all sessions."""

    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.now = START
        self.held = {session: Held() for session in SESSIONS}
        self.sent: list[tuple[Session, str]] = []
        self.first_key = KEYS[0]
        self.notes = 0

    def ensure(self, request: TokenRequest, scope: str, fault: str | None, trouble: str | None) -> End:
        """Return how an ask ends that nobody has to wait for."""
        held = self.held[request.session]
        snapshot = (held.version, held.note)
        return self.at_once(request) or self.in_turn(request, snapshot, scope, fault, trouble)

    def at_once(self, request: TokenRequest) -> End | None:
        """Return how an ask ends that needs no exchange."""
        if self.held[request.session].damaged:
            return None
        todo = self.decide(request)
        return todo if isinstance(todo, End) else None

    def decide(self, request: TokenRequest) -> End | str:
        """Return the row of the table: how it ends, or the token to exchange."""
        held = self.held[request.session]
        if self.is_new_login(request):
            return t.cast(str, request.login_token)
        if held.token is None:
            return End("NoLoginToken")
        if request.force:
            return held.token
        state = held.state(self.now, request.refresh_before)
        if state == "ended":
            return End(held.ended if held.ended == "OutcomeUnknown" else "SessionEnded")
        if state == "current" and not held.may_be_spent(held.token):
            return End(SERVED, held.token)
        return held.token

    def is_new_login(self, request: TokenRequest) -> bool:
        """Say whether the user logged in again, or for the first time."""
        return request.login_token is not None and not self.held[request.session].knows(request.login_token)

    def in_turn(
        self,
        request: TokenRequest,
        snapshot: tuple[int, int | None],
        scope: str,
        fault: str | None,
        trouble: str | None,
    ) -> End:
        """Return how an ask ends that has found an exchange to be due, when it had ``seen`` record and note."""
        held = self.held[request.session]
        if fault == NO_KEYS and snapshot[1] is None:
            return End("MissingCredentials")
        if trouble == LOCKED:
            return self.served_or(request, End("DeadlineExceeded", retryable=True))
        warned = held.damaged
        if held.damaged:
            held.clear_record()
        elif held.token is not None and held.version != snapshot[0]:
            request = request._replace(force=False)  # it shares the outcome of the exchange that it waited for
        todo = self.decide(request)
        if isinstance(todo, End):
            return todo._replace(warned=warned)
        failure = held.failure
        if failure and held.note != snapshot[1] and (failure.token, failure.scope) == (todo, scope):
            end = self.served_or(request, End(failure.code, retryable=failure.retryable))
        elif fault == NO_KEYS:
            end = End("MissingCredentials")
        else:
            end = self.refresh(request, todo, scope, fault, trouble)
        return end._replace(warned=warned or end.warned)

    def served_or(self, request: TokenRequest, error: End) -> End:
        """A transient fault: the record is served with a warning where it lives, and where it was asked for."""
        held = self.held[request.session]
        asked_for = not request.force and not self.is_new_login(request)
        if error.retryable and asked_for and held.lives(self.now):
            return End(SERVED, held.token, warned=True)
        return error

    def refresh(self, request: TokenRequest, token: str, scope: str, fault: str | None, trouble: str | None) -> End:
        """Return how an exchange ends."""
        held = self.held[request.session]
        login = self.is_new_login(request)
        if trouble in (FULL, MANY_FILES):
            return self.served_or(request, End(FULL_CODE, retryable=trouble == MANY_FILES))
        if trouble == DIES_BEFORE_NOTE:
            return End(DIED)
        possibly_spent = held.may_be_spent(token)
        self.notes += 1
        held.note, held.failure = self.notes, None
        if token not in held.possibly_spent:
            held.possibly_spent.append(token)
        if trouble == DIES_AFTER_NOTE:
            return End(DIED)
        self.sent.append((request.session, token))
        transient, sent, code = FAULTS.get(fault or "", (False, fault in SPENDING, ""))
        good = self.service.takes(request.session, token) and fault != REFUSED
        if good and fault in SPENDING and self.service.rotate:
            good = False
        if fault not in FAULTS and good:
            return self.keep(request, token, self.service.coming(int(fault in SPENDING)), trouble)
        refused = fault not in FAULTS
        unknown = sent or possibly_spent
        if refused:
            code = "OutcomeUnknown" if unknown else "InvalidLoginToken"
        if trouble == DIES_BEFORE_WRITING:
            return End(DIED)
        if trouble != NOT_WRITTEN:
            if refused and not login and held.ended != code:
                held.ended = code
                held.sealed_with = self.first_key
                held.version += 1
                held.clear_note()
            else:
                held.failure = Failure(token, scope, code, transient)
                if (refused or not unknown) and len(held.possibly_spent) <= DOUBTED:
                    held.possibly_spent.remove(token)
        if trouble == DIES_AFTER_WRITING:
            return End(DIED)
        return self.served_or(request, End(code, retryable=transient))

    def keep(self, request: TokenRequest, token: str, successor: str, trouble: str | None) -> End:
        """The service gave a token: it is kept before it is told."""
        if trouble == DIES_BEFORE_WRITING:
            return End(DIED)
        if trouble == NOT_WRITTEN:
            return End(NOT_KEPT, successor)
        held = self.held[request.session]
        if self.is_new_login(request):
            held.passed = newest(held.passed, token, PASSED)
        if held.token is not None and held.token != token:
            held.used = newest(held.used, held.token, USED)
        held.used = newest(held.used, token, USED)
        held.token, held.ended = successor, None
        held.obtained_at, held.expires_at = self.now, self.now + request.validity
        held.sealed_with = self.first_key
        held.version += 1
        held.clear_note()
        return End(DIED) if trouble == DIES_AFTER_WRITING else End(EXCHANGED, successor)

    def predict(self, request: TokenRequest) -> End:
        """Check mode: predict from the record, and show its token only where it lives."""
        held = self.held[request.session]
        if held.damaged:
            return End("NoLoginToken" if request.login_token is None else EXCHANGED, warned=True)
        todo = self.decide(request)
        if isinstance(todo, End):
            return todo
        shown = held.lives(self.now) and not self.is_new_login(request)
        return End(EXCHANGED, held.token if shown else None)

    def delete(self, session: Session, *, check: bool, trouble: str | None) -> End:
        """Absent: forget it, and send nothing."""
        held = self.held[session]
        there = held.token is not None or held.damaged
        if not check and (there or held.note is not None):
            if trouble == LOCKED:
                return End("DeadlineExceeded", retryable=True)
            held.clear_record()
            held.clear_note()
        return End(EXCHANGED if there else SERVED)

    def reencrypt(self, session: Session, trouble: str | None) -> End:
        """Write a record anew where it is not under the first key."""
        held = self.held[session]
        if trouble == LOCKED:
            return End("DeadlineExceeded", retryable=True)
        if held.token is None or held.sealed_with == self.first_key:
            return End(SERVED)
        if trouble == DIES_BEFORE_WRITING:
            return End(DIED)
        if trouble == NOT_WRITTEN:
            return End(BROKEN_CODE)
        held.sealed_with = self.first_key
        return End(DIED) if trouble == DIES_AFTER_WRITING else End(EXCHANGED)


def newest(tokens: list[str], token: str, length: int) -> list[str]:
    """Remember one more token, and the newest only."""
    return [*(each for each in tokens if each != token), token][-length:]


# Both side by side


def rarely(*values: str) -> st.SearchStrategy[str | None]:
    """Mostly draw nothing."""
    return st.sampled_from([None, None, None, *values])


sessions = st.sampled_from([ALICE, ALICE, ALICE, *SESSIONS])
ways = st.sampled_from(["one key", "another key"])
faults = st.one_of(st.none(), rarely(*FAULTS, *SPENDING, REFUSED, NO_KEYS))
writing = (NOT_WRITTEN, DIES_BEFORE_WRITING, DIES_AFTER_WRITING)
troubles = st.one_of(st.none(), rarely(LOCKED, FULL, MANY_FILES, DIES_BEFORE_NOTE, DIES_AFTER_NOTE, *writing))
passed_tokens = st.one_of(st.none(), st.just("new"), st.integers(0, 30))
validities = st.sampled_from([900, 100])
moves = st.sampled_from([0, 0, 0, 0, 0, 1, 99, 100, 450, 599, 600, 601, 899, 900, 5000, -1, -60, -61, -500])
Asked = t.Dict[str, t.Any]
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
    """Somebody who found that an exchange is due, and waits for the lock."""

    request: TokenRequest
    scope: str
    snapshot: Snapshot
    model_seen: tuple[int, int | None]


class Machine(RuleBasedStateMachine):
    """Keeper, store and a service beside the model of the promise."""

    waiters = Bundle("waiters")

    def __init__(self) -> None:
        super().__init__()
        self.opened = contextlib.ExitStack()
        for name, length in (("LINEAGE_LENGTH", USED), ("PASSED_LENGTH", PASSED)):
            self.opened.callback(setattr, _record, name, getattr(_record, name))
            setattr(_record, name, length)
        self.warnings: list[str] = []
        self.started = False

    def open_store(self, encryption: Encryption) -> Store:
        """Open the store anew: what it holds stays."""
        raise NotImplementedError

    @initialize(rotate=st.booleans())
    def new_note(self, rotate: bool) -> None:
        self.service = FakeService(rotate)
        self.promise = Promise(self.service)
        self.store = FragileStore(self.open_store(Encryption(KEYS)))
        self.started = True
        for session in SESSIONS[:2]:
            self.log_in(session, 900)

    def teardown(self) -> None:
        if self.started:
            self.store.close()
        self.opened.close()

    # What happens

    @rule(asked=requests, scope=ways, fault=faults, trouble=troubles)
    def request(self, asked: Asked, scope: str, fault: str | None, trouble: str | None) -> None:
        self.ensure(self.read(asked), scope, fault, trouble)

    @rule(session=sessions, validity=validities)
    def log_in(self, session: Session, validity: int) -> None:
        self.ensure(TokenRequest(session, self.service.log_in(session), validity=validity))

    @rule(session=sessions, after=moves, fault=faults)
    def ask_plainly(self, session: Session, after: int, fault: str | None) -> None:
        passed = None if self.promise.held[session].token else "new"
        self.ensure(self.read({"session": session, "after": after, "passed": passed}), fault=fault)

    @rule(session=sessions, trouble=st.sampled_from([DIES_AFTER_NOTE, *writing]))
    def force_in_vain(self, session: Session, trouble: str) -> None:
        self.ensure(TokenRequest(session, force=True), trouble=trouble)

    @rule(target=waiters, asked=requests, scope=ways)
    def ask_and_wait(self, asked: Asked, scope: str) -> t.Any:
        return self.begin_to_wait(self.read(asked), scope) or multiple()

    @rule(waiter=consumes(waiters), fault=faults, trouble=troubles)
    def have_waited(self, waiter: Waiter, fault: str | None, trouble: str | None) -> None:
        self.refresh(waiter, fault, trouble)

    @rule(asked=requests, pair=st.tuples(ways, ways), fault=faults, after=moves, other_fault=faults)
    def ask_together(
        self,
        asked: Asked,
        pair: tuple[str, str],
        fault: str | None,
        after: int,
        other_fault: str | None,
    ) -> None:
        request = self.read(asked)
        waiter = self.begin_to_wait(request, pair[0])
        self.ensure(request, pair[1], fault)
        self.let_pass(after)
        if waiter is not None:
            self.refresh(waiter, other_fault)

    @rule(asked=requests, scope=ways)
    def check(self, asked: Asked, scope: str) -> None:
        request = self.read(asked)
        stored = self.store.read(request.session.key)
        work = (self.store.locks, self.store.writes)
        expected = self.promise.predict(request)
        keeper = self.keeper(scope)
        self.compare(
            expected,
            lambda: keeper.predict(request, stored, self.warnings.append),
            stored.record,
            told=False,
        )
        assert (self.store.locks, self.store.writes) == work

    @rule(session=sessions, check=st.booleans(), trouble=rarely(LOCKED))
    def delete(self, session: Session, check: bool, trouble: str | None) -> None:
        before = self.store.read(session.key).record
        expected = self.promise.delete(session, check=check, trouble=trouble)
        self.store.trouble = trouble
        keeper = self.keeper("one key")
        self.compare(expected, lambda: keeper.delete(session.key, check=check), before)

    @rule(passed=st.sampled_from([True, True, False]), fault=rarely("busy", REFUSED), session=sessions)
    def ask_without_store(self, session: Session, passed: bool, fault: str | None) -> None:
        request = TokenRequest(session, self.service.log_in(session) if passed else None)
        expected = End("NoLoginToken")
        if request.login_token is not None:
            self.promise.sent.append((session, request.login_token))
            expected = End(EXCHANGED, self.service.coming())
            if fault is not None:
                refused = fault == REFUSED
                code = "InvalidLoginToken" if refused else FAULTS[fault][2]
                expected = End(code, retryable=not refused)
        self.service.trouble = fault
        keeper = self.keeper("one key", NoStore())
        self.compare(expected, lambda: keeper.ensure(request, self.warnings.append), None, told=False)

    @rule(session=sessions, order=st.permutations(KEYS), trouble=rarely(LOCKED, *writing))
    def reencrypt(self, session: Session, order: list[str], trouble: str | None) -> None:
        self.store.close()
        self.store = FragileStore(self.open_store(Encryption(order)))
        self.promise.first_key = order[0]
        before = self.store.read(session.key).record
        expected = self.promise.reencrypt(session, trouble)
        self.store.trouble = trouble
        keeper = self.keeper("one key")
        self.compare(expected, lambda: Outcome(keeper.reencrypt(session.key), before), before)

    @rule(session=sessions)
    def service_forgets(self, session: Session) -> None:
        alive = self.service.alive
        self.service.alive = {token: each for token, each in alive.items() if each != session}

    # What always holds

    @invariant()
    def sent_is_what_was_promised(self) -> None:
        if self.started:
            assert self.service.log == self.promise.sent

    @invariant()
    def store_holds_what_was_promised(self) -> None:
        for session in SESSIONS if self.started else ():
            held, stored = self.promise.held[session], self.store.read(session.key)
            assert (stored.damage is not None) == held.damaged
            assert (stored.note is not None) == (held.note is not None)
            assert [token for token in self.service.issued if stored.may_be_spent(token)] == [
                token for token in self.service.issued if held.may_be_spent(token)
            ]
            record = stored.record
            if record is None:
                assert held.token is None or held.damaged
                continue
            assert record.session == session
            assert (record.login_token, record.obtained_at, record.expires_at, record.ended) == (
                held.token,
                held.obtained_at,
                held.expires_at,
                held.ended,
            )
            assert [token for token in self.service.issued if record.knows(token)] == [
                token for token in self.service.issued if held.knows(token)
            ]
            assert stored.needs_reencryption == (held.sealed_with != self.promise.first_key)

    # Tools

    def ensure(
        self,
        request: TokenRequest,
        scope: str = "one key",
        fault: str | None = None,
        trouble: str | None = None,
    ) -> None:
        """Ask, alone."""
        at_once = self.promise.at_once(request) is not None
        locks = self.store.locks
        before = self.store.read(request.session.key).record
        expected = self.promise.ensure(request, scope, fault, trouble)
        self.service.trouble, self.store.trouble = fault, trouble
        keeper = self.keeper(scope)
        self.compare(expected, lambda: keeper.ensure(request, self.warnings.append), before)
        assert not at_once or self.store.locks == locks

    def begin_to_wait(self, request: TokenRequest, scope: str) -> Waiter | None:
        """Ask, and return who waits where an exchange is due."""
        held = self.promise.held[request.session]
        stored = self.store.read(request.session.key)
        keeper = self.keeper(scope)
        expected = self.promise.at_once(request)
        if expected is None:
            assert keeper.return_stored(request, stored) is None
            return Waiter(request, scope, stored.snapshot(), (held.version, held.note))
        self.compare(expected, lambda: t.cast(Outcome, keeper.return_stored(request, stored)), stored.record)
        return None

    def refresh(self, waiter: Waiter, fault: str | None = None, trouble: str | None = None) -> None:
        """Have somebody who waited take a turn."""
        request, scope, snapshot, model_seen = waiter
        before = self.store.read(request.session.key).record
        expected = self.promise.in_turn(request, model_seen, scope, fault, trouble)
        self.service.trouble, self.store.trouble = fault, trouble
        keeper = self.keeper(scope)
        self.compare(expected, lambda: keeper.refresh(request, snapshot, self.warnings.append), before)

    def let_pass(self, seconds: int) -> None:
        """Move the clock."""
        self.service.now += seconds
        self.promise.now += seconds

    def read(self, asked: Asked) -> TokenRequest:
        """Let time pass, and make an ask of what was drawn: a token is a new one, or any that was ever issued."""
        options = dict(asked)
        passed, session = options.pop("passed"), options["session"]
        self.let_pass(options.pop("after"))
        token = None
        if passed == "new" or (passed is not None and not self.service.issued):
            token = self.service.log_in(session)
        elif passed is not None:
            token = self.service.issued[-1 - passed % len(self.service.issued)]
        return TokenRequest(login_token=token, **options)

    def keeper(self, scope: str, store: Store | None = None) -> Keeper:
        """Return a keeper as a task has it."""
        return Keeper(
            store or self.store,
            self.connect,
            scope=scope,
            deadline=time.monotonic() + 60,
            clock=lambda: self.promise.now,
        )

    def connect(self) -> ServiceClient:
        if self.service.trouble == NO_KEYS:
            raise OptionError("There are no credentials.", code="MissingCredentials")
        return t.cast(ServiceClient, self.service)

    def compare(
        self,
        expected: End,
        work: t.Callable[[], Outcome],
        before: Record | None,
        *,
        told: bool = True,
    ) -> None:
        """Do something, and see that it ends as expected; a token that is ``told`` is to be the store's."""
        self.warnings.clear()
        said, outcome = "", None
        try:
            outcome = work()
        except Death:
            got = End(DIED, warned=bool(self.warnings))
            expected = expected._replace(warned=got.warned)
        except WuyingError as error:
            said = f"{error.message} {error.as_result()}"
            got = End(error.code, None, error.retryable, bool(self.warnings))
        else:
            end = EXCHANGED if outcome.changed else SERVED
            end = end if outcome.not_saved is None else NOT_KEPT
            record = outcome.record
            token = None if record is None else record.login_token
            got = End(end, token, False, bool(self.warnings))
            assert outcome.before == before
            if told and record is not None and outcome.not_saved is None:
                assert self.store.read(record.session.key).record == record
        self.service.trouble = self.store.trouble = None
        assert got == expected
        if got.end in LOGIN_AGAIN:
            assert "log in again" in said
        said += f"{self.warnings} {outcome!r}"
        assert not [token for token in self.service.issued if token in said]


class OverDirectory(Machine):
    """The promise over a directory."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = self.opened.enter_context(tempfile.TemporaryDirectory(dir=QUICK))

    def open_store(self, encryption: Encryption) -> Store:
        return DirectoryStore(os.path.join(self.folder, "store"), encryption)


class OverMemory(Machine):
    """The promise over memory, where records can be damaged too."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}

    def open_store(self, encryption: Encryption) -> Store:
        return MemoryStore(self.files, encryption)

    @rule(session=sessions, damage=st.sampled_from([b"", b"{", b"[]", *SESSIONS]))
    def damage(self, session: Session, damage: bytes | Session) -> None:
        held = self.promise.held[session]
        if isinstance(damage, Session):
            anothers = damage != session and self.promise.held[damage].token
            damage = self.files[damage.key] if anothers else b""
        if held.token is not None:
            self.files[session.key] = damage
            held.clear_record()
            held.damaged = True


@pytest.mark.parametrize("machine", [OverDirectory, OverMemory])
def test_whatever_happens_ends_as_the_promise_says(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=PROFILE)
