# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Log in at a real emulator: stages, healing, accounts that wait, fleets, processes, and both stores."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
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
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.fleet import Report, keep_all, read_stored
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.login_limit import MOST_REFUSED
from ansible_collections.wuying.workspace.plugins.module_utils._model.account import account_of
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    LoginBlocked,
    StoreError,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session
from ansible_collections.wuying.workspace.plugins.module_utils._model.totp import compute_code
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import Store
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.locked_file import LockedFile
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    RedisServers,
    require_redis,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import session_at

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.tests.unit.conftest import Emulator

FORK = multiprocessing.get_context("fork")
MINUTE, HOUR, DAY = 60, 3600, 86400
RIGHT, WRONG = "Pa55w0rd-of-alice", "a-wrong-password"
TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


@dataclasses.dataclass
class Site:
    """An emulator with users, and a store. Both have a clock that a test moves forward."""

    emulator: Emulator
    open_store: t.Callable[[float], Store]
    ahead: float = 0.0
    warnings: list[str] = dataclasses.field(default_factory=list)

    def users(self, **users: t.Any) -> None:
        """Add users, or replace them."""
        self.emulator.control("POST", "users", users)

    def advance(self, seconds: float) -> None:
        """Move both clocks."""
        self.ahead += seconds
        self.emulator.control("POST", "clock", {"advance": seconds})

    def session(self, name: str = "alice", client: str = "a-client") -> Session:
        """Return the session of a user on a client."""
        return session_at(self.emulator.url)._replace(end_user_id=name, client_id=client)

    @contextlib.contextmanager
    def keeper(self, *, seconds: float = 60, retries: int = 0) -> t.Iterator[Keeper]:
        """Return a keeper that refreshes without a signature."""
        deadline = time.monotonic() + seconds
        with contextlib.closing(self.open_store(deadline)) as store:
            with ServiceClient(None, timeout=10, retries=retries, connections=8, clock=self.clock) as service:
                yield Keeper(store, lambda: service, scope="", deadline=deadline, clock=self.clock)

    def clock(self) -> float:
        """Return the time of the tasks."""
        return time.time() + self.ahead

    def request(
        self, password: str | None = None, session: Session | None = None, *, seconds: float = 60, **options: t.Any
    ) -> Outcome:
        """Request a token as a task does."""
        names = ("totp_secret", "authentication_code", "stay_logged_in", "force_login")
        login = {name: options.pop(name) for name in names if name in options}
        force = login.pop("force_login", False)
        password_login = None if password is None else PasswordLogin(password, force=force, **login)
        request = TokenRequest(session or self.session(), password_login=password_login, **options)
        with self.keeper(seconds=seconds) as keeper:
            return keeper.ensure(request, self.warnings.append)

    def code(self, password: str | None = None, session: Session | None = None, **options: t.Any) -> str:
        """Return how a request ends: the origin of the token, or the code of the error."""
        try:
            outcome = self.request(password, session, **options)
        except WuyingError as error:
            return error.code
        return ("login" if outcome.logged_in else "refresh") if outcome.changed else "store"

    def keep(self, *, max_parallel: int = 8) -> list[Report]:
        """Keep all stored sessions valid, as the schedule does."""
        with self.keeper() as keeper:
            return list(keep_all(keeper, read_stored(keeper.store, TokenRequest), max_parallel=max_parallel))

    def refuse(self, answer: str, count: int | None = 1) -> None:
        """Let the service refuse logins: with a 4xx, with a code in HTTP 200, or with the news that the account is locked."""
        fault = {"4xx": "error", "code": "code", "locked": "locked"}[answer]
        code = {} if answer == "locked" else {"code": "SomethingIsWrong"}
        self.emulator.fault(fault, operation="GetLoginToken", count=count, **code)

    def logins(self) -> dict[str, t.Any]:
        """Return the counts of the emulator."""
        return dict(self.emulator.control("GET", "logins"))

    def calls(self, stage: str = "ADPassword") -> int:
        """Return how many requests there were for a stage."""
        return int(self.logins()["calls"][stage])


@pytest.fixture
def site(start_emulator: t.Callable[..., Emulator], tmp_path: Path) -> Site:
    """Return an emulator with the user alice, and a directory store."""
    path = str(tmp_path / "store")
    site = Site(start_emulator("--rotate"), lambda deadline: DirectoryStore(path))
    site.users(alice=RIGHT)
    return site


@pytest.fixture
def redis_site(start_emulator: t.Callable[..., Emulator], tmp_path: Path) -> t.Iterator[Site]:
    """Return an emulator with the user alice, and a Redis store."""
    require_redis()
    from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import parse_address
    from ansible_collections.wuying.workspace.plugins.module_utils._redis.store import RedisStore

    servers = RedisServers(tmp_path)
    address = parse_address(servers().address)
    access = dict.fromkeys(("username", "password", "ca_path"))
    site = Site(start_emulator("--rotate"), lambda deadline: RedisStore(address, deadline=deadline, **access))
    site.users(alice=RIGHT)
    yield site
    servers.stop()


@pytest.fixture(params=["site", "redis_site"])
def any_site(request: pytest.FixtureRequest) -> Site:
    """Return a site with each kind of store."""
    return t.cast(Site, request.getfixturevalue(request.param))


def in_processes(count: int, work: t.Callable[[int], list[str]]) -> list[str]:
    """Return all results of as many processes."""
    results: t.Any = FORK.Queue()

    def run(number: int) -> None:
        found = ["the process failed"]
        try:
            found = work(number)
        finally:
            results.put(found)

    processes = [FORK.Process(target=run, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    found = [each for _process in processes for each in results.get(timeout=180)]
    for process in processes:
        process.join(60)
    return found


# From nothing to a token, and healing


def test_a_password_starts_a_session(any_site: Site) -> None:
    outcome = any_site.request(RIGHT)
    assert (outcome.changed, outcome.logged_in) == (True, True)
    assert outcome.record is not None and outcome.record.keep_alive is None
    assert any_site.code(RIGHT) == "store"
    any_site.advance(700)
    assert any_site.code(RIGHT) == "refresh"
    counts = any_site.logins()
    assert (counts["calls"]["ADPassword"], counts["completed"], counts["refused"]) == (1, 1, 0)
    assert (counts["signed"], counts["with_body"], counts["with_both_sites"]) == (0, 0, 0)


@pytest.mark.parametrize("profile", ["captured", "strict", "lenient"])
def test_a_session_stays_logged_in_through_an_outage(any_site: Site, profile: str) -> None:
    any_site.emulator.control("POST", "options", {"profile": profile})
    assert any_site.code(RIGHT, stay_logged_in=True) == "login"
    for _outage in range(3):
        any_site.advance(20 * MINUTE)
        outcome = any_site.request()
        assert (outcome.changed, outcome.logged_in) == (True, True)
        any_site.advance(700)
        assert any_site.code() == "refresh"
    assert any_site.calls() == 1
    assert any_site.logins()["refreshes_with_wrong_session_id"] == 0


def test_a_session_without_a_keep_alive_token_heals_with_the_password(any_site: Site) -> None:
    assert any_site.code(RIGHT) == "login"
    any_site.advance(20 * MINUTE)
    assert any_site.code() == "InvalidLoginToken"
    assert any_site.code() == "SessionEnded"
    assert any_site.code(RIGHT) == "login"


def test_a_password_and_a_totp_secret_log_in_again_and_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.users(alice={"password": RIGHT, "totp_secret": TOTP_SECRET})
    slept: list[float] = []

    def sleep(seconds: float) -> bool:
        slept.append(seconds)
        site.advance(seconds + 0.01)
        return True

    monkeypatch.setattr(login_file, "sleep_unless_signalled", sleep)
    sessions = [site.session(client=f"client-{number}") for number in range(4)]
    assert [site.code(RIGHT, session, totp_secret=TOTP_SECRET) for session in sessions] == ["login"] * 4
    assert site.logins()["refused"] == 0
    assert 3 <= len(slept) <= 5
    assert all(0 < seconds <= 30 for seconds in slept)


def test_a_code_that_a_person_enters_completes_a_login(site: Site) -> None:
    site.users(alice={"password": RIGHT, "totp_secret": TOTP_SECRET})
    key = b"Hello!\xde\xad\xbe\xef" * 2
    assert (
        site.code(RIGHT, authentication_code=compute_code(key, int(site.clock() // 30)), stay_logged_in=True) == "login"
    )
    site.advance(20 * MINUTE)
    assert site.code() == "login"


def test_a_missing_code_is_no_refusal_and_the_password_waits_for_it(site: Site) -> None:
    site.users(alice={"password": RIGHT, "totp_secret": TOTP_SECRET})
    with pytest.raises(WuyingError) as caught:
        site.request(RIGHT)
    assert (caught.value.code, caught.value.stage, caught.value.login_needed) == ("LoginNeedsPerson", "MFAVerify", True)
    for days in (0, 1, 1, 7):
        site.advance(days * DAY)
        assert site.code(RIGHT) == "LoginNeedsPerson"
    assert site.calls() == 1
    assert site.code(RIGHT, totp_secret=TOTP_SECRET, seconds=120) == "login"


@pytest.mark.parametrize(
    ("user", "stage"),
    [
        ({"mfa_bind": True}, "MFABind"),
        ({"risk": True}, "TokenVerify"),
        ({"change_password": True}, "ChangePassword"),
        ({"stage": "VerifyForRisk"}, "VerifyForRisk"),
    ],
)
def test_a_stage_that_needs_a_person_counts_as_a_refusal(site: Site, user: dict[str, t.Any], stage: str) -> None:
    site.users(alice={"password": RIGHT, **user})
    with pytest.raises(WuyingError, match=f"the service asks for the stage {stage}[.] .*he user must log in") as caught:
        site.request(RIGHT)
    assert (caught.value.code, caught.value.stage) == ("LoginNeedsPerson", stage)
    assert caught.value.blocked_until is not None
    assert site.code(RIGHT) == "LoginBlocked"
    assert site.calls() == 1


def test_the_service_may_issue_no_keep_alive_token(site: Site) -> None:
    site.users(alice={"password": RIGHT, "keep_alive": False})
    assert site.code(RIGHT, stay_logged_in=True) == "login"
    assert any("issued no keep-alive token" in warning for warning in site.warnings)


def test_absent_removes_the_keep_alive_token_from_the_disk(site: Site, tmp_path: Path) -> None:
    site.request(RIGHT, stay_logged_in=True)
    with site.keeper() as keeper:
        keep_alive = t.cast(t.Any, keeper.store.read(site.session().key).record).keep_alive.token
        keeper.delete(site.session().key)
    assert keep_alive not in "".join(path.read_text() for path in (tmp_path / "store").iterdir())


def test_an_older_keep_alive_token_leaves_the_disk_with_the_next_login(site: Site, tmp_path: Path) -> None:
    first = t.cast(t.Any, site.request(RIGHT, stay_logged_in=True).record).keep_alive.token
    site.advance(20 * MINUTE)
    assert site.code() == "login"
    stored = "".join(path.read_text() for path in (tmp_path / "store").iterdir())
    assert "k1" in stored
    assert first not in stored


def test_nothing_in_a_store_tests_a_guess(any_site: Site, tmp_path: Path) -> None:
    any_site.code(WRONG)
    any_site.users(alice={"password": RIGHT, "totp_secret": TOTP_SECRET})
    any_site.code(RIGHT)
    with any_site.keeper() as keeper:
        entry = t.cast(t.Any, keeper.store.read(account_of(any_site.session()).key).entry)
    assert [len(each.mark) for each in entry.attempts] == [4, 4]
    marks = {entry.mark(f"guess {number}") for number in range(20_000)}
    assert len(marks) < 20_000  # Guesses cannot be told apart.
    stored = "".join(path.read_text("latin-1") for path in tmp_path.rglob("*") if path.is_file())
    assert not [secret for secret in (RIGHT, WRONG, TOTP_SECRET) if secret in stored]


# Accounts that wait


def test_sixty_four_processes_with_a_wrong_password_send_one_login(any_site: Site) -> None:
    def work(number: int) -> list[str]:
        return [any_site.code(WRONG)]

    assert set(in_processes(64, work)) <= {"InvalidPassword", "LoginBlocked"}
    assert any_site.calls() == 1
    for wait, calls in ((50 * MINUTE, 1), (2 * HOUR, 2), (2 * HOUR, 2), (2 * DAY, 3), (HOUR, 3), (2 * DAY, 4)):
        any_site.advance(wait)
        in_processes(8, work)
        assert any_site.calls() == calls
    assert any_site.code(RIGHT) == "login"


def test_processes_with_the_right_password_send_one_login_for_each_session(any_site: Site) -> None:
    found = in_processes(16, lambda number: [any_site.code(RIGHT)])
    assert sorted(found) == ["login"] + ["store"] * 15
    assert any_site.calls() == 1


@pytest.mark.parametrize(("password", "logins"), [(WRONG, 100), (RIGHT, 500)])
def test_sessions_of_one_account_share_its_wait(redis_site: Site, password: str, logins: int) -> None:
    names = [f"user-{number}" for number in range(100)]
    redis_site.users(**dict.fromkeys(names, RIGHT))
    sessions = [redis_site.session(name, f"client-{client}") for client in range(5) for name in names]

    def work(number: int) -> list[str]:
        order = sessions[number * 125 :] + sessions[: number * 125]
        with redis_site.keeper(seconds=150) as keeper:
            ends = []
            for session in order:
                try:
                    keeper.ensure(TokenRequest(session, password_login=PasswordLogin(password)), print)
                    ends.append("good")
                except WuyingError as error:
                    ends.append(error.code)
            return ends

    found = in_processes(4, work)
    assert set(found) <= ({"good"} if password == RIGHT else {"InvalidPassword", "LoginBlocked"})
    counts = redis_site.logins()
    assert counts["calls"]["ADPassword"] == logins
    assert {user["calls"]["ADPassword"] for user in counts["users"].values()} == {logins // 100}


def test_three_refusals_block_an_account_whatever_the_password(site: Site) -> None:
    assert site.code("wrong-0") == "InvalidPassword"
    with pytest.raises(LoginBlocked, match="this password is not sent again before .*Pass the right one, wait, or run"):
        site.request("wrong-0")
    assert [site.code(f"wrong-{number}") for number in (1, 2, 3)] == ["InvalidPassword"] * 2 + ["LoginBlocked"]
    with pytest.raises(LoginBlocked, match="no password is sent for it before .*Check the password, then wait"):
        site.request(RIGHT)
    site.advance(DAY + 1)
    assert site.code(RIGHT) == "login"


def test_force_ends_a_wait_and_absent_does_not(site: Site) -> None:
    assert site.code(WRONG) == "InvalidPassword"
    with site.keeper() as keeper:
        keeper.delete(site.session().key)
    assert site.code(WRONG) == "LoginBlocked"
    assert site.code(WRONG, force=True) == "LoginBlocked"
    assert site.code(WRONG, force_login=True) == "InvalidPassword"
    assert site.code(RIGHT, force_login=True) == "login"
    assert site.code(RIGHT, force_login=True) == "login"


def test_check_mode_predicts_a_login_and_a_wait(site: Site) -> None:
    def predict(password: str) -> Outcome:
        request = TokenRequest(site.session(), password_login=PasswordLogin(password))
        with site.keeper() as keeper:
            return keeper.predict(request, keeper.store.read(request.session.key), print)

    assert predict(RIGHT).changed
    assert site.code(WRONG) == "InvalidPassword"
    with pytest.raises(WuyingError) as caught:
        predict(WRONG)
    assert (caught.value.code, caught.value.blocked_until is not None) == ("LoginBlocked", True)
    assert predict(RIGHT).changed
    assert site.calls() == 1


@pytest.mark.parametrize(
    ("fault", "parameters"),
    [
        ("status", {"status": 500}),
        ("status", {"status": 502, "code": "InternalError"}),
        ("reset", {"carried_out": True}),
        ("truncate", {}),
        ("non_json", {}),
        ("non_json", {"status": 403}),
        ("redirect", {"location": "http://127.0.0.1:9/"}),
    ],
)
def test_an_unknown_outcome_lets_the_same_password_wait(site: Site, fault: str, parameters: dict[str, t.Any]) -> None:
    site.emulator.fault(fault, count=None, **parameters)
    first = site.code(RIGHT)
    assert first not in ("login", "LoginBlocked")
    times = [0.0]
    for _minute in range(180):
        site.advance(MINUTE)
        if site.code(RIGHT) != "LoginBlocked":
            times.append(site.ahead)
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert gaps == [5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR]
    site.emulator.control("DELETE", "faults")
    site.advance(HOUR)
    assert site.code(RIGHT) == "login"


@pytest.mark.parametrize(
    ("fault", "parameters"),
    [("throttle", {}), ("status", {"status": 503, "code": "ServiceUnavailable"})],
)
def test_a_login_that_was_not_judged_need_not_wait(site: Site, fault: str, parameters: dict[str, t.Any]) -> None:
    site.emulator.fault(fault, **parameters)
    assert site.code(RIGHT) in ("Throttling.User", "ServiceUnavailable")
    assert site.code(RIGHT) == "login"


@pytest.mark.parametrize("answer", ["4xx", "code", "locked"])
def test_any_other_answer_is_a_refusal(site: Site, answer: str) -> None:
    site.refuse(answer)
    assert site.code(RIGHT) not in ("login", "LoginBlocked")
    assert site.code(RIGHT) == "LoginBlocked"
    site.advance(HOUR + 1)
    assert site.code(RIGHT) == "login"


def test_a_full_store_fails_before_a_password_is_sent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: t.Any) -> None:
        raise StoreError("There is no space.", code="DiskFull")

    monkeypatch.setattr(f"{LockedFile.__module__}.LockedFile.write_entry", fail)
    assert site.code(RIGHT) == "DiskFull"
    assert site.calls() == 0


def test_a_damaged_entry_is_set_aside(site: Site, tmp_path: Path) -> None:
    site.code(WRONG)
    path = tmp_path / "store" / f"{account_of(site.session()).key}.record"
    path.write_bytes(b"not an entry\n" * 10)
    assert site.code(RIGHT) == "login"
    assert any("set aside" in warning for warning in site.warnings)


def test_too_little_time_for_a_login_sends_nothing(site: Site) -> None:
    assert site.code(RIGHT, seconds=5) == "DeadlineExceeded"
    assert site.code(RIGHT, totp_secret=TOTP_SECRET, seconds=30) == "DeadlineExceeded"
    assert site.calls() == 0
    assert site.code(RIGHT) == "login"


# Fleets


def start_fleet(site: Site, count: int) -> None:
    """Log in many users, who stay logged in."""
    names = [f"user-{number}" for number in range(count)]
    site.users(**dict.fromkeys(names, RIGHT))
    with site.keeper() as keeper:
        for name in names:
            login = PasswordLogin(RIGHT, stay_logged_in=True)
            keeper.ensure(TokenRequest(site.session(name), password_login=login), print)


def ends(reports: list[Report]) -> dict[str, int]:
    """Return how many sessions ended how."""
    found: dict[str, int] = {}
    for report in reports:
        result = report.result
        if isinstance(result, WuyingError):
            end = result.code
        else:
            end = "login" if result.logged_in else "refresh" if result.changed else "store"
        found[end] = found.get(end, 0) + 1
    return found


def test_a_lost_fleet_heals_by_itself(any_site: Site) -> None:
    start_fleet(any_site, 250)
    any_site.advance(20 * MINUTE)
    assert ends(any_site.keep()) == {"login": 250}
    assert ends(any_site.keep()) == {"store": 250}
    assert any_site.calls() == 250


def test_a_service_that_refuses_everything_costs_no_fleet(site: Site) -> None:
    start_fleet(site, 250)
    site.advance(20 * MINUTE)
    site.refuse("4xx", count=None)
    for _run in range(4):
        before = site.calls("KeepAliveVerify")
        found = ends(site.keep())
        assert found["LoginsStopped"] >= 250 - 5 * (MOST_REFUSED + 16)
        assert site.calls("KeepAliveVerify") - before <= MOST_REFUSED + 16
        site.advance(3 * MINUTE)
    site.emulator.control("DELETE", "faults")
    healed = ends(site.keep())
    assert healed["login"] >= 250 - 5 * (MOST_REFUSED + 16)
    site.advance(HOUR)
    site.keep()
    assert all(isinstance(report.result, Outcome) for report in site.keep())
    assert site.calls() == 250


def test_healthy_sessions_keep_their_keep_alive_tokens_young(site: Site) -> None:
    start_fleet(site, 5)
    for _day in range(40):
        site.advance(DAY)  # The emulator's login tokens have expired, so each run also heals.
        assert set(ends(site.keep())) == {"login"}
    counts = site.logins()
    assert (counts["calls"]["ADPassword"], counts["refused"]) == (5, 0)


def test_a_schedule_renews_keep_alive_tokens_before_they_expire(site: Site) -> None:
    start_fleet(site, 3)
    renewals = 0
    for _run in range(40 * 24):
        # A schedule of 10 minutes; only every sixth run is played, and the token of the others is refreshed by it.
        site.advance(10 * MINUTE)
        found = ends(site.keep())
        assert "InvalidLoginToken" not in found
        renewals += found.get("login", 0)
        site.ahead += 50 * MINUTE  # by the clock of the tasks only, so that the age of keep-alive tokens grows
        site.emulator.control("POST", "options", {"keep_alive_lifetime": 10 * DAY})
        if renewals >= 6:
            break
    assert renewals >= 3
    site.advance(20 * MINUTE)
    assert ends(site.keep()) == {"login": 3}
    assert site.calls() == 3


def test_a_session_of_another_client_never_gets_a_keep_alive_token(site: Site) -> None:
    site.request(RIGHT, stay_logged_in=True)
    site.advance(20 * MINUTE)
    assert site.code(session=site.session(client="another-client")) == "NoLoginToken"
    assert site.calls("KeepAliveVerify") == 0


def test_a_process_killed_after_sending_leaves_the_attempt(site: Site) -> None:
    site.emulator.fault("stall", seconds=20)

    def work() -> None:
        site.code(WRONG)

    process = FORK.Process(target=work)
    process.start()
    deadline = time.monotonic() + 20
    while not site.calls() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(t.cast(int, process.pid), 9)
    process.join(10)
    assert site.code(WRONG) == "LoginBlocked"
    site.advance(5 * MINUTE + 30)
    assert site.code(RIGHT) == "login"
