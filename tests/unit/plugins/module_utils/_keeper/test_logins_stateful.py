# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare logins with an oracle: any requests, with a moving clock, refusals, lost answers, kills, and accounts that wait.

An oracle, which is the section Login of the design in its own words, reads the stored record before each step. It predicts the requests
that are sent, and the result. The bounds of password logins are also checked without it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
import typing as t
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import (
    Outcome,
    PasswordLogin,
    TokenRequest,
)
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model.account import account_of
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    LoginRefused,
    ServiceError,
    Throttled,
    TokenRejected,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._service.login import (
    KEEP_ALIVE,
    PASSWORD,
    LoginAnswer,
)
from ansible_collections.wuying.workspace.plugins.module_utils._service.response import RefreshResult
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import Store
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    RedisServer,
    RedisServers,
    require_redis,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import session_at

NIGHTLY = os.environ.get("FUZZ") == "nightly"
PROFILE = settings(
    max_examples=2000 if NIGHTLY else 100,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=not NIGHTLY,
    print_blob=NIGHTLY,
    suppress_health_check=list(HealthCheck),
)
QUICK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
START = 1_800_000_000.0
MINUTE, HOUR, DAY = 60, 3600, 86400
ALICE = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
SESSIONS = [ALICE, ALICE._replace(client_id="another-client"), ALICE._replace(end_user_id="bob")]
"""The first two log in to the same account."""
RIGHT = "the right password"
REFUSED, LOST, LOST_AFTER, BUSY, PERSON = "refused", "lost", "answer lost", "busy", "a person is needed"
KILLED = "killed"


class ProcessKilled(BaseException):
    """The process is killed. No code that runs afterwards may catch this."""


class Service:
    """A service with passwords, login tokens, and keep-alive tokens that it may replace with each login."""

    timeout = 0.001

    def __init__(self, rotate: bool) -> None:
        self.rotate = rotate
        self.now = START
        self.issued = 0
        self.alive: dict[str, Session] = {}
        self.keep_alive: dict[str, Session] = {}
        self.faults: dict[str, str] = {}
        self.log: list[tuple[str, Session, str]] = []
        self.session_ids: list[str | None] = []

    def new(self, kind: str) -> str:
        """Return a new token of a kind."""
        self.issued += 1
        return f"{kind}{self.issued:05}"

    def refresh(self, session: Session, token: str, deadline: float, *, session_id: str | None = None) -> RefreshResult:
        """Exchange a token, or fail."""
        self.log.append(("refresh", session, token))
        self.session_ids.append(session_id)
        good = self.alive.get(token) == session
        fault = self._fault("refresh")
        if good and self.faults.get("refresh") not in (LOST, BUSY, REFUSED, KILLED):
            if self.rotate:
                del self.alive[token]
            self.alive[self.new("v1")] = session
        if fault:
            raise fault
        if not good:
            raise TokenRejected("It was rejected.", code="InvalidLoginToken", http_status=400)
        return RefreshResult(list(self.alive)[-1], None, self.now)

    def log_in(
        self, session: Session, stage: str, parameters: t.Mapping[str, str | None], *_more: t.Any
    ) -> LoginAnswer:
        """Take a stage of a login, or fail."""
        secret = parameters["KeepAliveToken" if stage == KEEP_ALIVE else "Password"] or ""
        self.log.append((stage, session, secret))
        good = self.keep_alive.get(secret) == session if stage == KEEP_ALIVE else secret == RIGHT
        fault = self._fault(stage)
        token = keep_alive = None
        if good and self.faults.get(stage) not in (LOST, BUSY, REFUSED, PERSON, KILLED):
            token = self.new("v1")
            self.alive[token] = session
            if parameters["KeepAlive"] == "true" and (self.rotate or stage == PASSWORD):
                keep_alive = self.new("ka")
                self.keep_alive = {name: each for name, each in self.keep_alive.items() if each != session}
                self.keep_alive[keep_alive] = session
        if fault:
            raise fault
        if self.faults.get(stage) == PERSON:
            return LoginAnswer("", None, self.now, "MFABind")
        if token is None:
            raise LoginRefused("It was refused.", http_status=403)
        return LoginAnswer(token, None, self.now, None, f"id-of-{token}", keep_alive)

    def _fault(self, kind: str) -> BaseException | None:
        fault = self.faults.get(kind)
        if fault == KILLED:
            return ProcessKilled()
        if fault in (LOST, LOST_AFTER):
            return ServiceError("It was lost.", code="ConnectionLost", retryable=True, outcome_unknown=True)
        if fault == BUSY:
            return Throttled("It is busy.", code="Throttling")
        if fault == REFUSED:
            refused = TokenRejected("It was rejected.", code="InvalidLoginToken", http_status=400)
            return refused if kind == "refresh" else LoginRefused("It was refused.", http_status=400)
        return None


# The oracle: the section Login of the design in its own words


@dataclasses.dataclass
class Attempts:
    """The password logins of an account that were not completed: the secret, the time, and the outcome of each."""

    entries: list[tuple[str, float, str]] = dataclasses.field(default_factory=list)

    def waits(self, secret: str, now: float) -> bool:
        """Return True if no login with this secret may be sent now."""
        recent = [(each, min(at, now), end) for each, at, end in self.entries if now - at < 30 * DAY]
        refused = [at for each, at, end in recent if each == secret and end == "refused"]
        unknown = [at for each, at, end in recent if each == secret and end == "unknown"]
        if refused and now < max(refused) + (HOUR if len(refused) == 1 else DAY):
            return True
        if unknown and now < max(unknown) + min(5 * MINUTE * 2 ** (len(unknown) - 1), HOUR):
            return True
        return len([at for _secret, at, end in recent if end == "refused" and now - at < DAY]) >= 3


class Oracle:
    """The requests that a task sends, and how it ends, by the record that is stored before."""

    def __init__(self, service: Service, request: TokenRequest, stored: StoredState, attempts: Attempts) -> None:
        self.service = service
        self.now = service.now
        self.request = request
        self.record = stored.record
        self.maybe_spent = stored.record is not None and stored.may_be_spent(stored.record.login_token)
        self.attempts = attempts
        self.sent: list[tuple[str, str]] = []

    def end(self) -> str:
        """Return ``refresh``, ``login``, ``stored`` or the code of an error. Collect the requests in ``sent``."""
        request, login, token = self.request, self.request.password_login, self.request.login_token
        if login and login.force:
            return self.password(login)
        if token and not (self.record and self.record.knows(token)):
            end = self.send("refresh", token, self.service.alive.get(token) == request.session)
            if end == "good":
                return "refresh"
            if end != "rejected":
                return end
            if not (self.keep_alive_is_ready() or login):
                return "InvalidLoginToken"
        return self.without_passed_token()

    def without_passed_token(self) -> str:
        """Follow the rows of the table in which no unknown token was passed."""
        record, request, login = self.record, self.request, self.request.password_login
        if record is None:
            return self.log_in("NoLoginToken")
        if record.ended and not request.force:
            return self.log_in("OutcomeUnknown" if record.ended == "OutcomeUnknown" else "SessionEnded")
        age = self.now - record.obtained_at
        is_current = -60 <= age < 600 and not record.ended
        is_valid = age < 900 and not record.ended
        if is_current and not request.force and not self.maybe_spent:
            return "stored"
        ready = self.keep_alive_is_ready()
        tried = False
        if ready and record.keep_alive and abs(self.now - record.keep_alive.accepted_at) > 3 * DAY:
            end = self.keep_alive(record.keep_alive.token)
            if end == "good":
                return "login"
            if end not in ("rejected", "ConnectionLost"):
                return self.stored_or(end, is_valid)
            self.maybe_spent = self.maybe_spent or end == "ConnectionLost"
            tried = True
        end = self.send("refresh", record.login_token, self.service.alive.get(record.login_token) == request.session)
        if end == "good":
            return "refresh"
        if end != "rejected":
            return self.stored_or(end, is_valid)
        if (ready and not tried) or login:
            return self.log_in("", tried=tried)
        return "OutcomeUnknown" if self.maybe_spent else "InvalidLoginToken"

    def stored_or(self, end: str, is_valid: bool) -> str:
        """Any failure but a rejection returns the stored token while it is valid."""
        return "stored" if is_valid and not self.request.force and end != KILLED else end

    def log_in(self, otherwise: str, *, tried: bool = False) -> str:
        """Log in with the keep-alive token, and only if that is rejected with the password."""
        login = self.request.password_login
        if self.keep_alive_is_ready() and not tried and self.record and self.record.keep_alive:
            end = self.keep_alive(self.record.keep_alive.token)
            if end == "good":
                return "login"
            if end != "rejected" or not login:
                return "LoginRefused" if end == "rejected" else end
        return self.password(login) if login else otherwise

    def keep_alive_is_ready(self) -> bool:
        """Refused once, a keep-alive token waits an hour, and then 24 hours."""
        keep_alive = self.record and self.record.keep_alive
        if not keep_alive:
            return False
        wait = {0: 0, 1: HOUR}.get(keep_alive.refusals, DAY)
        return not wait or not keep_alive.refused_at <= self.now + 60 or self.now >= keep_alive.refused_at + wait

    def keep_alive(self, token: str) -> str:
        """Log in with a keep-alive token."""
        return self.send(KEEP_ALIVE, token, self.service.keep_alive.get(token) == self.request.session)

    def password(self, login: PasswordLogin) -> str:
        """Log in with a password, unless it must wait. Remember the attempt."""
        attempts = self.attempts
        attempts.entries = [(secret, min(at, self.now), end) for secret, at, end in attempts.entries]
        if not login.force and attempts.waits(login.password, self.now):
            return "LoginBlocked"
        end = self.send(PASSWORD, login.password, login.password == RIGHT)
        if end == "good":
            attempts.entries = []
            return "login"
        if end in ("rejected", "LoginNeedsPerson"):
            attempts.entries.append((login.password, self.now, "refused"))
        elif end != "Throttling":
            attempts.entries.append((login.password, self.now, "unknown"))
        return "LoginRefused" if end == "rejected" else end

    def send(self, kind: str, secret: str, good: bool) -> str:
        """Return how a request ends."""
        self.sent.append((kind, secret))
        fault = self.service.faults.get(kind, "")
        ends = {
            LOST: "ConnectionLost",
            LOST_AFTER: "ConnectionLost",
            BUSY: "Throttling",
            REFUSED: "rejected",
            KILLED: KILLED,
        }
        if fault == PERSON:
            return "rejected" if kind == KEEP_ALIVE else "LoginNeedsPerson"
        return ends.get(fault) or ("good" if good else "rejected")


# Comparison of both

sessions = st.sampled_from([ALICE, ALICE, *SESSIONS])
moves = st.sampled_from(
    [0, 0, 1, 100, 299, 300, 301, 601, 901, 901, 3599, 3601, 7201, DAY, 4 * DAY, 11 * DAY, -100, -5000]
)
passwords = st.sampled_from([None, None, RIGHT, RIGHT, "wrong", "another wrong one"])
faults = st.fixed_dictionaries(
    {},
    optional={
        "refresh": st.sampled_from([LOST, LOST_AFTER, BUSY, REFUSED, KILLED]),
        KEEP_ALIVE: st.sampled_from([LOST, LOST_AFTER, BUSY, REFUSED, PERSON, KILLED]),
        PASSWORD: st.sampled_from([LOST, LOST_AFTER, BUSY, REFUSED, PERSON, KILLED]),
    },
)


class Machine(RuleBasedStateMachine):
    """Keeper, store and service beside the oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = contextlib.ExitStack()
        self.warnings: list[str] = []

    def open_store(self) -> Store:
        """Open an empty store."""
        raise NotImplementedError

    @initialize(rotate=st.booleans())
    def begin(self, rotate: bool) -> None:
        self.service = Service(rotate)
        self.store = self.open_store()
        self.attempts = {"alice": Attempts(), "bob": Attempts()}
        self.passwords_sent: list[tuple[str, str, float, bool]] = []

    def teardown(self) -> None:
        self.opened.close()

    @rule(
        session=sessions,
        after=moves,
        password=passwords,
        stay=st.booleans(),
        passed=st.sampled_from([None, None, "new", "dead"]),
        force=st.sampled_from([False, False, False, True]),
        force_login=st.sampled_from([False, False, False, True]),
        troubles=st.one_of(st.just({}), faults),
    )
    def request(
        self,
        session: Session,
        after: int,
        password: str | None,
        stay: bool,
        passed: str | None,
        force: bool,
        force_login: bool,
        troubles: dict[str, str],
    ) -> None:
        self.service.now += after
        token = None
        if passed is not None:
            token = self.service.new("v1")
            if passed == "new":
                self.service.alive[token] = session
        login = None if password is None else PasswordLogin(password, stay_logged_in=stay, force=force_login)
        self.compare(TokenRequest(session, token, force, password_login=login), troubles)

    @rule(session=sessions, after=st.sampled_from([901, 7201, 4 * DAY]))
    def the_controller_was_down(self, session: Session, after: int) -> None:
        """Without any fault, a session with a keep-alive token that the service knows repairs itself."""
        self.service.now += after
        record = self.store.read(session.key).record
        self.service.alive = {token: each for token, each in self.service.alive.items() if each != session}
        keep_alive = record and record.keep_alive
        repairs = keep_alive and keep_alive.refusals == 0 and self.service.keep_alive.get(keep_alive.token) == session
        end = self.compare(TokenRequest(session), {})
        assert not repairs or end == "login"

    @rule(session=sessions)
    def the_service_forgets(self, session: Session) -> None:
        self.service.alive = {token: each for token, each in self.service.alive.items() if each != session}
        self.service.keep_alive = {token: each for token, each in self.service.keep_alive.items() if each != session}

    @rule(session=sessions)
    def delete(self, session: Session) -> None:
        self.keeper().delete(session.key)
        assert self.store.read(session.key).record is None

    @invariant()
    def passwords_stay_within_their_bounds(self) -> None:
        """Count the password logins that were not forced and not accepted, without any model of the store."""
        for user in ("alice", "bob"):
            sent = [each for each in getattr(self, "passwords_sent", []) if each[0] == user]
            times = [at for _user, _secret, at, forced in sent if not forced]
            if any(later < earlier for earlier, later in zip(times, times[1:])) or any(each[3] for each in sent):
                continue  # The clock was set back, or a person took over.
            for at in times:
                assert sum(at - DAY < each <= at for each in times) <= 3

    def keeper(self) -> Keeper:
        """Return a keeper like that of a task."""
        service = t.cast(ServiceClient, self.service)
        deadline = time.monotonic() + 60
        return Keeper(self.store, lambda: service, scope="", deadline=deadline, clock=lambda: self.service.now)

    def compare(self, request: TokenRequest, troubles: dict[str, str]) -> str:
        """Send a request, and compare what happens with the oracle. Return how it ended."""
        session, service = request.session, self.service
        before = self.store.read(session.key)
        service.faults = troubles
        user = session.end_user_id
        oracle = Oracle(service, request, before, self.attempts[user])
        expected = oracle.end()
        begin = len(service.log)
        shown, outcome = "", None
        try:
            outcome = self.keeper().ensure(request, self.warnings.append)
            end = ("login" if outcome.logged_in else "refresh") if outcome.changed else "stored"
        except ProcessKilled:
            end = KILLED
        except WuyingError as error:
            end, shown = error.code, f"{error.message} {error.as_result()}"
        assert [(kind, secret) for kind, _session, secret in service.log[begin:]] == oracle.sent
        assert {each for _kind, each, _secret in service.log[begin:]} <= {session}
        assert end == expected
        self.check_stored(request, outcome, end)
        forced = bool(request.password_login and request.password_login.force)
        if any(kind == PASSWORD for kind, _secret in oracle.sent) and end in ("LoginRefused", "LoginNeedsPerson"):
            self.passwords_sent.append((user, request.password_login.password, service.now, forced))  # type: ignore[union-attr]
        shown += f"{self.warnings} {outcome!r}"
        secrets = [*service.alive, *service.keep_alive, RIGHT, "wrong", "another wrong one"]
        assert not [secret for secret in secrets if len(secret) > 5 and secret in shown]
        return end

    def check_stored(self, request: TokenRequest, outcome: Outcome | None, end: str) -> None:
        """Check that a token is stored before it is returned, with what belongs to it."""
        stored = self.store.read(request.session.key)
        if outcome is not None:
            assert stored.record == outcome.record
        if end in ("refresh", "login") and stored.record is not None:
            assert stored.note is None
            assert self.service.alive.get(stored.record.login_token) == request.session
            if end == "login":
                assert stored.record.session_id == f"id-of-{stored.record.login_token}"
        entry = self.store.read(account_of(request.session).key).entry
        waiting = self.attempts[request.session.end_user_id].entries
        oldest = self.service.now - 30 * DAY
        remembered = [each.outcome for each in (entry.attempts if entry else ()) if each.at > oldest]
        assert remembered == [end for _secret, at, end in waiting if at > oldest]


class WithDirectory(Machine):
    """The comparison with a directory store."""

    def open_store(self) -> Store:
        folder = self.opened.enter_context(tempfile.TemporaryDirectory(dir=QUICK))
        return self.opened.enter_context(contextlib.closing(DirectoryStore(os.path.join(folder, "store"))))


class WithRedis(Machine):
    """The comparison with a Redis server."""

    server: t.ClassVar[RedisServer]

    def open_store(self) -> Store:
        from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import parse_address
        from ansible_collections.wuying.workspace.plugins.module_utils._redis.store import RedisStore

        self.server.client().flushall()
        access = dict.fromkeys(("username", "password", "ca_path"))
        store = RedisStore(parse_address(self.server.address), deadline=time.monotonic() + 3600, **access)
        return self.opened.enter_context(contextlib.closing(store))


def test_any_sequence_of_logins_keeps_the_guarantees_in_a_directory() -> None:
    run_state_machine_as_test(WithDirectory, settings=PROFILE)


def test_any_sequence_of_logins_keeps_the_guarantees_in_redis(tmp_path: Path) -> None:
    require_redis()
    servers = RedisServers(tmp_path)
    try:
        WithRedis.server = servers("--appendonly", "no")
        run_state_machine_as_test(WithRedis, settings=PROFILE)
    finally:
        servers.stop()
