# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test what is stored and sent in each step of a login, with a service whose answers are scripted."""

from __future__ import annotations

import copy
import multiprocessing
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper import login as login_file
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import (
    Outcome,
    PasswordLogin,
    TokenRequest,
)
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.login_limit import MOST_REFUSED, LoginLimit
from ansible_collections.wuying.workspace.plugins.module_utils._model.account import (
    REFUSED,
    AccountEntry,
    account_of,
    new_entry,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    LoginBlocked,
    LoginNeedsPerson,
    LoginRefused,
    LoginsStopped,
    OptionError,
    ServiceError,
    Throttled,
    TokenRejected,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record, StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._model.totp import STEP, compute_code, read_secret
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._service.login import (
    KEEP_ALIVE,
    MFA,
    PASSWORD,
    LoginAnswer,
)
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import put, session_at

NOW = 1_800_000_000.0
HOUR, DAY = 3600, 86400
SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
ACCOUNT = account_of(SESSION)
SECRET = "Sesame, open!"
DONE = LoginAnswer("v1new", None, NOW, None, "an ID", "ka-new")
NEEDS_CODE = LoginAnswer("", None, NOW, MFA, "an ID")
TOTP_SECRET = "GEZDGNBVGY3TQOJQ"
REJECTED = TokenRejected("The service rejected the login token.", code="InvalidLoginToken", http_status=400)
REFUSED_LOGIN = LoginRefused("The service refused it.", code="InvalidPassword", http_status=403)


class Site:
    """A store, a clock, and a service that gives one scripted answer after the other, or raises it."""

    timeout = 1.0

    def __init__(self, folder: Path) -> None:
        self.store = DirectoryStore(str(folder / "store"))
        self.now = NOW
        self.answers: list[t.Any] = []
        self.sent: list[tuple[str, dict[str, str | None]]] = []
        self.warnings: list[str] = []

    def refresh(self, _session: object, login_token: str, _deadline: float, *, session_id: str | None) -> t.Any:
        """Take a login token."""
        return self._answer("refresh", {"LoginToken": login_token, "SessionId": session_id})

    def log_in(
        self,
        _session: object,
        stage: str,
        parameters: t.Mapping[str, str | None],
        _deadline: float,
        known_secrets: t.Sequence[str],
    ) -> t.Any:
        """Take a stage of a login."""
        self.known_secrets = set(known_secrets)
        return self._answer(stage, {name: value for name, value in parameters.items() if value is not None})

    def _answer(self, kind: str, parameters: t.Mapping[str, str | None]) -> t.Any:
        self.sent.append((kind, dict(parameters)))
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise copy.copy(answer)
        return answer

    def keeper(self, scope: str = "") -> Keeper:
        """Return the keeper of a task."""
        service = t.cast(ServiceClient, self)
        deadline = time.monotonic() + 120
        return Keeper(self.store, lambda: service, scope=scope, deadline=deadline, clock=lambda: self.now)

    def request(self, *answers: t.Any, session: t.Any = SESSION, **options: t.Any) -> Outcome:
        """Request a token as a task does, from a service that gives these answers."""
        self.answers = list(answers)
        outcome = self.keeper().ensure(TokenRequest(session, **options), self.warnings.append)
        assert not self.answers
        return outcome

    def failure(self, *answers: t.Any, **options: t.Any) -> WuyingError:
        """Return the error of a request."""
        with pytest.raises(WuyingError) as caught:
            self.request(*answers, **options)
        assert not self.answers
        return caught.value

    def entry(self) -> AccountEntry:
        """Return the stored entry of the account."""
        return t.cast(AccountEntry, self.store.read(ACCOUNT.key).entry)

    def record(self) -> Record:
        """Return the stored record."""
        return t.cast(Record, self.store.read(SESSION.key).record)

    def have(self, seconds_left: float, keep_alive: KeepAlive | None = None, **fields: t.Any) -> Record:
        """Store a record that is valid for so many seconds."""
        record = next_record(None, SESSION, "v1first", "v1stored", self.now + seconds_left - 900, 900, None)
        record = record._replace(keep_alive=keep_alive, **fields)
        put(self.store, record)
        return record


@pytest.fixture(name="site")
def fixture_site(tmp_path: Path) -> Site:
    """Return a site without a record."""
    return Site(tmp_path)


def login(**options: t.Any) -> dict[str, t.Any]:
    """Return the options of a request with a password."""
    return {"password_login": PasswordLogin(options.pop("password", SECRET), **options)}


def kinds(site: Site) -> list[str]:
    """Return the kinds of the requests that were sent."""
    return [kind for kind, _parameters in site.sent]


@pytest.mark.parametrize(
    "error", [OptionError("No access key."), ServiceError("No answer.", code="STS", retryable=True)]
)
def test_a_refused_keep_alive_token_waits_even_if_no_refresh_is_possible(site: Site, error: WuyingError) -> None:
    site.have(100, KeepAlive("ka-stored", NOW - 4 * DAY, NOW - 4 * DAY))

    def connect() -> t.NoReturn:
        raise copy.copy(error)

    service = t.cast(ServiceClient, site)
    for _task in range(3):
        site.answers = [REFUSED_LOGIN]
        keeper = Keeper(
            site.store, connect, lambda: service, scope="", deadline=time.monotonic() + 120, clock=lambda: site.now
        )
        outcome = keeper.ensure(TokenRequest(SESSION), site.warnings.append)
        assert outcome.not_refreshed is not None and outcome.not_refreshed.message == error.message
    assert kinds(site) == [KEEP_ALIVE]
    keep_alive = site.record().keep_alive
    assert keep_alive is not None and (keep_alive.refusals, keep_alive.refused_at) == (1, NOW)
    note = site.store.read(SESSION.key).note
    assert note is None or note.failure is not None


# Waits


def test_an_attempt_in_the_future_waits_from_the_first_task_that_sees_it(site: Site) -> None:
    site.failure(REFUSED_LOGIN, **login())
    site.now -= 400 * DAY  # The clock was wrong and is set back.
    assert isinstance(site.failure(**login()), LoginBlocked)
    assert site.entry().attempts[0].at == site.now
    site.now += HOUR - 1
    assert isinstance(site.failure(**login()), LoginBlocked)
    site.now += 1
    assert site.request(DONE, **login()).logged_in


def test_a_wait_does_not_rewrite_an_entry_that_is_unchanged(site: Site) -> None:
    site.failure(REFUSED_LOGIN, **login())
    entry = site.entry()
    path = Path(site.store.name) / f"{ACCOUNT.key}.record"
    before = path.read_bytes()
    site.now += 60
    assert isinstance(site.failure(**login()), LoginBlocked)
    assert (path.read_bytes(), site.entry()) == (before, entry)


def test_a_second_request_for_a_code_is_a_refusal_of_the_code(site: Site) -> None:
    stage = LoginAnswer("", "a request", NOW, MFA, "an ID")
    error = site.failure(stage, stage, **login(authentication_code="287082"))
    assert isinstance(error, LoginRefused)
    assert (error.code, error.stage, error.request_id) == ("LoginRefused", MFA, "a request")
    assert "another one-time code" in error.message
    assert [attempt.outcome for attempt in site.entry().attempts] == [REFUSED]
    assert kinds(site) == [PASSWORD, MFA]
    assert site.sent[1][1] == {"SessionId": "an ID", "AuthenticationCode": "287082"}


def test_the_session_id_of_the_first_answer_is_kept_if_the_last_has_none(site: Site) -> None:
    stage = LoginAnswer("", None, NOW, MFA, "first ID")
    site.request(stage, DONE._replace(session_id=None), **login(authentication_code="287082"))
    assert site.sent[1][1]["SessionId"] == site.record().session_id == "first ID"
    site.request(stage, DONE, **login(authentication_code="287083", force=True))
    assert site.record().session_id == "an ID"


def test_a_missing_code_is_asked_for_each_time_and_sends_nothing(site: Site) -> None:
    first = site.failure(LoginAnswer("", None, NOW, MFA, "an ID"), **login())
    again = site.failure(**login())
    for error in (first, again):
        assert isinstance(error, LoginNeedsPerson)
        assert error.stage == MFA and "Pass totp_secret or authentication_code with the password" in error.message
    assert kinds(site) == [PASSWORD]


# Codes of a time step


def code_of(step: int) -> str:
    """Return the code of a time step."""
    return compute_code(read_secret(TOTP_SECRET), step)


@pytest.fixture(name="waits")
def fixture_waits(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list of the seconds that logins wait for a time step. The clock moves on instead."""
    waits: list[float] = []

    def sleep(seconds: float) -> bool:
        waits.append(seconds)
        site.now += seconds
        return True

    monkeypatch.setattr(login_file, "sleep_unless_signalled", sleep)
    return waits


@pytest.mark.parametrize(("left", "is_late"), [(30, False), (3, False), (2.5, True), (0.5, True)])
def test_a_step_with_less_than_three_seconds_left_is_not_used(
    site: Site, waits: list[float], left: float, is_late: bool
) -> None:
    step = NOW // STEP + is_late
    site.now = NOW + STEP - left
    assert site.request(NEEDS_CODE, DONE, **login(totp_secret=TOTP_SECRET)).logged_in
    assert waits == [left] * is_late
    assert site.sent[1][1]["AuthenticationCode"] == code_of(int(step))
    assert site.entry().step == step


def test_the_step_is_that_of_the_clock_of_the_service(site: Site, waits: list[float]) -> None:
    site.request(NEEDS_CODE._replace(clock_offset=3600.0), DONE, **login(totp_secret=TOTP_SECRET))
    assert site.sent[1][1]["AuthenticationCode"] == code_of(int(NOW + 3600) // STEP)
    assert waits == []


def test_a_step_is_stored_before_its_code_is_sent_and_never_used_again(
    site: Site, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int | None] = []
    real = site.log_in

    def log_in(*arguments: t.Any) -> t.Any:
        steps.append(site.entry().step)
        return real(*arguments)

    monkeypatch.setattr(site, "log_in", log_in)
    first = int(NOW // STEP)
    for _login in range(2):
        site.request(NEEDS_CODE, DONE, **login(totp_secret=TOTP_SECRET, force=True))
    assert steps == [None, first, first, first + 1]
    assert [sent.get("AuthenticationCode") for _kind, sent in site.sent] == [
        None,
        code_of(first),
        None,
        code_of(first + 1),
    ]
    assert waits == [STEP]


def test_a_signal_during_the_wait_for_a_step_ends_the_login(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_file, "sleep_unless_signalled", lambda _seconds: False)
    site.now = NOW + STEP - 1
    error = site.failure(NEEDS_CODE, **login(totp_secret=TOTP_SECRET))
    assert (error.code, error.retryable) == ("Interrupted", True)
    assert kinds(site) == [PASSWORD]
    assert site.entry().attempts == ()


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (REFUSED_LOGIN, [REFUSED]),
        (ServiceError("It was lost.", code="ConnectionLost", outcome_unknown=True), ["unknown"]),
        (Throttled("It was throttled."), []),
        (ServiceError("Not reached.", code="ConnectionFailed", retryable=True), []),
    ],
)
def test_an_attempt_is_stored_before_the_password_is_sent(
    site: Site, error: ServiceError, attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def log_in(*_arguments: object) -> t.NoReturn:
        seen.append([attempt.outcome for attempt in site.entry().attempts])
        raise copy.copy(error)

    monkeypatch.setattr(site, "log_in", log_in)
    failure = site.failure(**login())
    assert seen == [["unknown"]]
    assert [attempt.outcome for attempt in site.entry().attempts] == attempts
    assert (failure.blocked_until is not None) == bool(attempts)
    assert ("this password is not sent again before" in failure.message) == bool(attempts)


def test_a_completed_login_removes_the_attempts(site: Site) -> None:
    site.failure(REFUSED_LOGIN, **login(password="another"))
    assert site.request(DONE, **login()).logged_in
    assert site.entry().attempts == ()


def test_all_secrets_that_the_service_knows_are_hidden_in_each_answer(site: Site) -> None:
    site.have(-5, KeepAlive("ka-kept", NOW - DAY, NOW - DAY, 1, NOW - 10), ended="InvalidLoginToken")
    token = site.record().login_token
    site.failure(NEEDS_CODE, REFUSED_LOGIN, **login(totp_secret=TOTP_SECRET))
    assert kinds(site) == [PASSWORD, MFA]
    assert site.known_secrets == {token, "ka-kept", SECRET, "GEZDGNBVGY3TQOJQ"}


# Keep-alive tokens


def test_an_accepted_keep_alive_token_without_a_successor_stays_and_is_young(site: Site) -> None:
    kept = KeepAlive("ka-kept", NOW - 9 * DAY, NOW - 4 * DAY, 1, NOW - 2 * HOUR)
    site.have(100, kept)
    outcome = site.request(DONE._replace(keep_alive_token=None), **login(stay_logged_in=True))
    assert outcome.logged_in
    assert site.record().keep_alive == KeepAlive("ka-kept", NOW - 9 * DAY, NOW)
    assert site.warnings == []
    assert kinds(site) == [KEEP_ALIVE]


def test_a_password_login_without_a_new_keep_alive_token_leaves_the_refused_one(site: Site) -> None:
    kept = KeepAlive("ka-kept", NOW - DAY, NOW - DAY, 1, NOW - 10)
    site.have(-5, kept, ended="InvalidLoginToken")
    assert site.request(DONE._replace(keep_alive_token=None), **login(stay_logged_in=True)).logged_in
    assert site.record().keep_alive == kept
    assert len(site.warnings) == 1 and "issued no keep-alive token" in site.warnings[0]


@pytest.mark.parametrize("code", [{}, {"authentication_code": "287082"}])
def test_a_session_that_stays_logged_in_asks_for_a_keep_alive_token_with_a_password(
    site: Site, code: dict[str, str]
) -> None:
    site.have(-5, KeepAlive("ka-kept", NOW - DAY, NOW - DAY, 1, NOW - 10), ended="InvalidLoginToken")
    stages = [LoginAnswer("", None, NOW, MFA, "an ID")] if code else []
    site.request(*stages, DONE, **login(**code))
    assert [parameters.get("KeepAlive") for _kind, parameters in site.sent] == ["true"] * (len(stages) + 1)
    assert site.record().keep_alive == KeepAlive("ka-new", NOW, NOW)


def test_a_session_that_does_not_stay_logged_in_asks_for_no_keep_alive_token(site: Site) -> None:
    site.request(DONE._replace(keep_alive_token=None), **login())
    assert site.sent == [(PASSWORD, {"Password": SECRET})]
    assert (site.record().keep_alive, site.warnings) == (None, [])


def test_a_new_keep_alive_token_replaces_the_old_one(site: Site) -> None:
    site.have(-5, KeepAlive("ka-kept", NOW - DAY, NOW - DAY, 2, NOW - 2 * DAY), ended="InvalidLoginToken")
    assert site.request(DONE).logged_in
    assert site.record().keep_alive == KeepAlive("ka-new", NOW, NOW)
    assert site.record().session_id == "an ID"
    assert site.sent == [(KEEP_ALIVE, {"KeepAliveToken": "ka-kept", "KeepAlive": "true"})]


def test_a_login_after_a_passed_token_may_spend_the_stored_one(site: Site) -> None:
    record = site.have(400, KeepAlive("ka-kept", NOW - 4 * DAY, NOW - 4 * DAY))
    lost = ServiceError("It was lost.", code="ConnectionLost", outcome_unknown=True)
    error = site.failure(REJECTED, lost, REJECTED, login_token="v1dead", force=True)
    assert kinds(site) == ["refresh", KEEP_ALIVE, "refresh"]
    assert error.code == "OutcomeUnknown"
    assert site.store.read(SESSION.key).may_be_spent(record.login_token)


@pytest.mark.parametrize(("refusals", "wait"), [(0, HOUR), (1, DAY), (2, DAY)])
def test_a_refused_keep_alive_token_waits(site: Site, refusals: int, wait: int) -> None:
    kept = KeepAlive("ka-kept", NOW - DAY, NOW - DAY, refusals, NOW - 3 * DAY)
    site.have(-5, kept, ended="InvalidLoginToken")
    error = site.failure(REFUSED_LOGIN)
    assert error.login_needed
    assert site.record().keep_alive == kept._replace(refusals=refusals + 1, refused_at=NOW)
    site.now += wait - 1
    assert site.failure().login_needed
    site.now += 1
    assert site.request(DONE).logged_in


# Failures that tasks share


def waiting(site: Site, snapshot: StoredState, *answers: t.Any, **options: t.Any) -> Outcome:
    """Request a token as a task that has waited for the lock since a snapshot."""
    site.answers = list(answers)
    return site.keeper().obtain(TokenRequest(SESSION, **options), snapshot.snapshot(), site.warnings.append)


def test_a_task_with_a_password_does_not_share_the_failure_of_one_without(site: Site) -> None:
    site.have(100)
    before = site.store.read(SESSION.key)
    assert site.failure(REJECTED).code == "InvalidLoginToken"
    with pytest.raises(WuyingError, match="Or pass password"):
        waiting(site, before)
    assert kinds(site) == ["refresh"]
    assert waiting(site, before, REJECTED, DONE, **login()).logged_in


def test_a_task_with_a_code_does_not_share_the_failure_of_one_without(site: Site) -> None:
    before = site.store.read(SESSION.key)
    stage = LoginAnswer("", None, NOW, MFA, "an ID")
    assert isinstance(site.failure(stage, **login()), LoginNeedsPerson)
    with pytest.raises(WuyingError, match="Pass totp_secret or authentication_code"):
        waiting(site, before, **login())
    assert waiting(site, before, stage, DONE, **login(authentication_code="287082")).logged_in


def test_tasks_with_one_password_share_its_failure_and_others_do_not(site: Site) -> None:
    before = site.store.read(SESSION.key)
    assert site.failure(REFUSED_LOGIN, **login(password="wrong")).code == "InvalidPassword"
    with pytest.raises(WuyingError) as caught:
        waiting(site, before, **login(password="wrong"))
    assert (caught.value.code, kinds(site)) == ("InvalidPassword", [PASSWORD])
    assert waiting(site, before, DONE, **login()).logged_in


# Passed tokens


def test_a_rejected_token_at_another_endpoint_is_the_error_despite_a_password(site: Site) -> None:
    session = SESSION._replace(endpoint="https://ecd.example.com")
    error = site.failure(REJECTED, session=session, login_token="v1passed", **login())
    assert (error.code, error.login_needed) == ("InvalidLoginToken", True)
    assert kinds(site) == ["refresh"]


def test_a_rejected_token_with_a_password_starts_the_session(site: Site) -> None:
    outcome = site.request(REJECTED, DONE, login_token="v1passed", session_id="old ID", **login())
    assert (outcome.logged_in, kinds(site)) == (True, ["refresh", PASSWORD])
    assert site.sent[0][1]["SessionId"] == "old ID"
    assert site.record().knows("v1passed") and site.record().session_id == "an ID"


# The limit of refused logins in a task

PERSON = LoginNeedsPerson("A person is needed.", stage="MFABind")
CODE = LoginNeedsPerson("A code is needed.", stage=MFA)


@pytest.mark.parametrize("error", [REFUSED_LOGIN, PERSON])
def test_no_more_logins_are_sent_after_20_refusals(error: WuyingError) -> None:
    limit = LoginLimit()
    for _login in range(MOST_REFUSED):
        limit.check()
        limit.count(error)
    with pytest.raises(LoginsStopped) as caught:
        limit.check()
    assert (MOST_REFUSED, caught.value.retryable, caught.value.login_needed) == (20, True, False)


@pytest.mark.parametrize(
    "error",
    [
        CODE,
        LoginBlocked("It waits."),
        Throttled("It was throttled."),
        ServiceError("It was lost.", outcome_unknown=True),
        LoginsStopped("It was stopped."),
    ],
)
def test_other_failures_do_not_count_as_refusals(error: WuyingError) -> None:
    limit = LoginLimit()
    for _login in range(300):
        limit.count(error)
    limit.check()


def test_after_an_accepted_login_refusals_stop_nothing() -> None:
    limit = LoginLimit()
    limit.count(None)
    for _login in range(600):
        limit.count(REFUSED_LOGIN)
    limit.check()


def test_the_limit_counts_the_logins_of_all_processes() -> None:
    limit = LoginLimit()
    fork = multiprocessing.get_context("fork")
    for _process in range(MOST_REFUSED):
        process = fork.Process(target=limit.count, args=(REFUSED_LOGIN,))
        process.start()
        process.join(30)
    with pytest.raises(LoginsStopped):
        limit.check()
    process = fork.Process(target=limit.count, args=(None,))
    process.start()
    process.join(30)
    limit.check()


def test_a_stopped_login_leaves_no_entry_and_keeps_the_keep_alive_token(site: Site) -> None:
    kept = KeepAlive("ka-kept", NOW - DAY, NOW - DAY)
    site.have(-5, kept, ended="InvalidLoginToken")
    keeper = site.keeper()
    keeper.login_limit = LoginLimit()
    for _login in range(MOST_REFUSED):
        keeper.login_limit.count(REFUSED_LOGIN)
    for session in (SESSION, SESSION._replace(client_id="another")):
        with pytest.raises(LoginsStopped):
            keeper.ensure(TokenRequest(session, **login()), site.warnings.append)
    assert (site.sent, site.record().keep_alive) == ([], kept)
    assert site.store.read(ACCOUNT.key) == StoredState()


def test_a_new_entry_is_used_only_for_its_account(site: Site) -> None:
    other = account_of(SESSION._replace(end_user_id="bob"))
    with site.store.lock(ACCOUNT.key, time.monotonic() + 10) as locked:
        locked.write_entry(new_entry(other))
    assert site.request(DONE, **login()).logged_in
    assert any("set aside" in warning for warning in site.warnings)
