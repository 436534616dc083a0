# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test what follows from each kind of failure: another step, an error, or the end of the session."""

from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import (
    KEEP_ALIVE,
    PASSWORD,
    REFRESH,
    PasswordLogin,
    Step,
    TokenRequest,
)
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.judgement import Verdict, judge
from ansible_collections.wuying.workspace.plugins.module_utils._model.encoding import format_timestamp
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    OUTCOME_UNKNOWN,
    ClockSkew,
    LockTimeout,
    LoginBlocked,
    LoginNeedsPerson,
    LoginRefused,
    LoginRequired,
    LoginsStopped,
    MissingLibraryError,
    OptionError,
    Refused,
    ServiceError,
    StoreError,
    Throttled,
    TokenRejected,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record, StoredState
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import session_at

NOW = 1_800_000_000.0
SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
STORED, USED, UNKNOWN, KEPT = "v1stored", "v1used", "v1unknown", "ka-kept"
SECONDS_LEFT = {"current": 800, "stale": 100, "expired": -5, "ended": -5}
NAMED = TokenRejected("Rejected.", code="InvalidLoginToken", http_status=400, request_id="an ID")
UNNAMED = Refused("Refused.", code="InvalidParameter", http_status=404, request_id="an ID")
FAILURES: dict[str, WuyingError] = {
    "named": NAMED,
    "unnamed": UNNAMED,
    "unnamed in a 2xx": Refused("Refused.", code="SomethingElse", http_status=200),
    "credentials": ServiceError("Credentials.", code="InvalidAccessKeyId.NotFound", http_status=404),
    "permission": ServiceError("Permission.", code="NoPermission", http_status=403),
    "no endpoint": ServiceError("Endpoint.", code="InvalidAction.NotFound", http_status=404),
    "clock": ClockSkew("Clock.", code="InvalidTimeStamp.Expired", http_status=400),
    "throttled": Throttled("Throttled.", code="Throttling.User", http_status=429),
    "throttled as 400": Throttled("Throttled.", code="Throttling.Api", http_status=400),
    "unavailable": ServiceError("5xx.", http_status=503, retryable=True, outcome_unknown=True),
    "internal, not reached": ServiceError("5xx.", http_status=500, retryable=True),
    "no answer": ServiceError("Lost.", code="ConnectionLost", retryable=True, outcome_unknown=True),
    "no token in a 2xx": ServiceError("Odd.", http_status=200, retryable=True, outcome_unknown=True),
    "redirect": ServiceError("Redirect.", http_status=302),
    "not connected": ServiceError("Not connected.", code="ConnectionFailed", retryable=True),
    "no library": MissingLibraryError("Missing."),
}
NO_REFUSAL = [
    *("clock", "throttled", "throttled as 400", "unavailable", "internal, not reached", "no answer"),
    *("no token in a 2xx", "redirect", "not connected", "no library"),
]
"""The failures after which no login follows, because they say nothing about the token."""


def record_of(state: str, keep_alive: str = "none") -> Record | None:
    """Return a record by its state and the kind of its keep-alive token."""
    if state == "none":
        return None
    left = SECONDS_LEFT[state]
    record = next_record(None, SESSION, USED, STORED, NOW, 900, None)
    record = record._replace(obtained_at=NOW + left - 900, expires_at=NOW + left)
    if keep_alive != "none":
        refusals = 1 if keep_alive == "waiting" else 0
        kept = KeepAlive(KEPT, NOW - 999, NOW - 999, refusals, NOW - 10)
        record = record._replace(keep_alive=kept)
    return record.ended_with("InvalidLoginToken") if state == "ended" else record


def judged(
    kind: str,
    error: WuyingError,
    state: str,
    *,
    keep_alive: str = "none",
    password: bool = False,
    token: str | None = None,
    force: bool = False,
    failed: t.Mapping[str, WuyingError] | None = None,
    unknown: bool = False,
) -> Verdict:
    """Return the verdict on a step that failed with a copy of an error."""
    request = TokenRequest(SESSION, token, force, password_login=PasswordLogin("Sesame") if password else None)
    stored = StoredState(record_of(state, keep_alive))
    step = Step(kind, {REFRESH: token or STORED, KEEP_ALIVE: KEPT}.get(kind))
    return judge(copy.copy(error), step, request, stored, NOW, failed or {}, unknown=unknown)


def is_login_needed(verdict: Verdict) -> bool:
    """Return True if the failure says that the user must log in."""
    return isinstance(verdict.failure, LoginRequired)


# A stored token was refreshed

LOGINS: list[tuple[dict[str, t.Any], bool]] = [
    ({}, False),
    ({"keep_alive": "waiting"}, False),
    ({"keep_alive": "ready"}, True),
    ({"password": True}, True),
    ({"keep_alive": "waiting", "password": True}, True),
]
"""Ways to log in, and whether a login is possible."""


@pytest.mark.parametrize(("ways", "possible"), LOGINS)
@pytest.mark.parametrize("state", ["current", "stale", "expired", "ended"])
def test_a_token_that_the_service_names_is_rejected_in_any_state(state, ways, possible):
    verdict = judged(REFRESH, NAMED, state, force=state in ("current", "ended"), **ways)
    assert is_login_needed(verdict)
    assert verdict.goes_on == possible
    assert verdict.ended == ("InvalidLoginToken" if state in ("expired", "ended") else None)
    assert (verdict.failure.code, verdict.failure.http_status, verdict.failure.request_id) == (
        "InvalidLoginToken",
        400,
        "an ID",
    )


@pytest.mark.parametrize(("ways", "possible"), LOGINS)
@pytest.mark.parametrize("kind", ["unnamed", "unnamed in a 2xx"])
def test_a_refusal_that_may_concern_an_expired_token_rejects_it(kind, ways, possible):
    verdict = judged(REFRESH, FAILURES[kind], "expired", **ways)
    assert (is_login_needed(verdict), verdict.goes_on) == (True, possible)
    assert verdict.ended == FAILURES[kind].code


@pytest.mark.parametrize(("ways", "_possible"), LOGINS)
@pytest.mark.parametrize("state", ["current", "stale"])
@pytest.mark.parametrize("kind", sorted(set(FAILURES) - {"named"}))
def test_no_other_failure_rejects_a_token_that_is_still_valid(kind, state, ways, _possible):
    verdict = judged(REFRESH, FAILURES[kind], state, **ways)
    assert verdict == Verdict(verdict.failure)
    assert (type(verdict.failure), verdict.failure.code) == (type(FAILURES[kind]), FAILURES[kind].code)


@pytest.mark.parametrize(("ways", "possible"), LOGINS)
@pytest.mark.parametrize("kind", ["credentials", "permission", "no endpoint"])
def test_after_any_4xx_for_an_expired_token_a_login_follows(kind, ways, possible):
    verdict = judged(REFRESH, FAILURES[kind], "expired", **ways)
    assert (is_login_needed(verdict), verdict.goes_on, verdict.ended) == (False, possible, None)
    assert verdict.failure.code == FAILURES[kind].code


@pytest.mark.parametrize(("ways", "_possible"), LOGINS)
@pytest.mark.parametrize("kind", NO_REFUSAL)
def test_after_a_failure_that_is_no_refusal_no_login_follows(kind, ways, _possible):
    verdict = judged(REFRESH, FAILURES[kind], "expired", **ways)
    assert (is_login_needed(verdict), verdict.goes_on, verdict.ended) == (False, False, None)
    assert verdict.failure.code == FAILURES[kind].code


@pytest.mark.parametrize("state", ["current", "stale", "expired"])
def test_a_rejection_after_a_lost_answer_says_that_the_answer_was_lost(state):
    verdict = judged(REFRESH, NAMED, state, unknown=True)
    assert (verdict.failure.code, verdict.goes_on) == (OUTCOME_UNKNOWN, False)
    assert "The response to an earlier attempt to refresh the login token was lost" in verdict.failure.message
    assert verdict.ended == (OUTCOME_UNKNOWN if state == "expired" else None)
    assert judged(REFRESH, NAMED, state, unknown=True, password=True).goes_on


def test_a_lost_answer_alone_rejects_no_token():
    for kind in NO_REFUSAL:
        verdict = judged(REFRESH, FAILURES[kind], "expired", unknown=True)
        assert (verdict.failure.code, verdict.ended) == (FAILURES[kind].code, None)


@pytest.mark.parametrize("error", [NAMED, UNNAMED])
def test_a_rejection_says_what_to_do_and_until_when_a_keep_alive_token_waits(error):
    verdict = judged(REFRESH, error, "expired", keep_alive="waiting")
    assert verdict.failure.blocked_until == format_timestamp(NOW - 10 + 3600)
    assert (
        "The user must log in again, for example with the playbook wuying.workspace.log_in." in verdict.failure.message
    )
    words = "rejected" if error is NAMED else "refused to refresh"
    assert verdict.failure.message.startswith(f"The service {words} the session's login token ({error.code}).")
    assert judged(REFRESH, error, "expired").failure.blocked_until is None


# A token that was passed


@pytest.mark.parametrize(("ways", "possible"), [*LOGINS[:1], *LOGINS[3:4]])
@pytest.mark.parametrize("state", ["none", "current", "stale", "expired", "ended"])
@pytest.mark.parametrize("kind", ["named", "unnamed", "unnamed in a 2xx"])
def test_a_refusal_that_may_concern_a_passed_token_rejects_it(kind, state, ways, possible):
    verdict = judged(REFRESH, FAILURES[kind], state, token=UNKNOWN, **ways)
    assert (is_login_needed(verdict), verdict.goes_on, verdict.ended) == (True, possible, None)
    assert verdict.failure.code == FAILURES[kind].code
    assert "the login_token that was passed" in verdict.failure.message
    assert "Check that it belongs to this session. If it does, it may have expired or been used before." in (
        verdict.failure.message
    )


@pytest.mark.parametrize("state", ["none", "current", "stale", "expired", "ended"])
@pytest.mark.parametrize("kind", ["credentials", "permission", "no endpoint", *NO_REFUSAL])
def test_no_other_failure_rejects_a_passed_token(kind, state):
    for ways, _possible in LOGINS:
        verdict = judged(REFRESH, FAILURES[kind], state, token=UNKNOWN, **ways)
        assert (is_login_needed(verdict), verdict.goes_on, verdict.ended) == (False, False, None)


def test_a_known_token_counts_as_the_stored_one():
    for token in (STORED, USED):
        assert judged(REFRESH, UNNAMED, "expired", token=token).ended == "InvalidParameter"


# A keep-alive token

LOGIN_FAILURES: dict[str, WuyingError] = {
    "refused": LoginRefused("Refused.", code="InvalidKeepAliveToken", http_status=403, stage="KeepAliveVerify"),
    "another stage": LoginRefused("Another stage.", stage="MFAVerify"),
    "unavailable": FAILURES["unavailable"],
    "no answer": FAILURES["no answer"],
    "not connected": FAILURES["not connected"],
    "throttled": FAILURES["throttled"],
    "clock": FAILURES["clock"],
    "not enough time": LockTimeout("Too late."),
    "not verified": OptionError("Not verified."),
    "stopped": LoginsStopped("Stopped."),
    "store": StoreError("Full."),
}
RENEWED_OTHERWISE = {
    "refused",
    "another stage",
    "unavailable",
    "no answer",
    "not enough time",
    "not verified",
    "stopped",
}
"""The failures of a renewal after which the stored token is refreshed."""


@pytest.mark.parametrize("password", [False, True])
@pytest.mark.parametrize("state", ["stale", "expired"])
@pytest.mark.parametrize("kind", sorted(LOGIN_FAILURES))
def test_a_renewal_that_fails_is_followed_by_a_refresh_or_fails(kind, state, password):
    verdict = judged(KEEP_ALIVE, LOGIN_FAILURES[kind], state, keep_alive="ready", password=password)
    assert (verdict.goes_on, verdict.ended) == (kind in RENEWED_OTHERWISE, None)
    assert verdict.failure.code == LOGIN_FAILURES[kind].code
    forced = judged(KEEP_ALIVE, LOGIN_FAILURES[kind], "ended", keep_alive="ready", password=password, force=True)
    assert forced.goes_on == verdict.goes_on


REJECTED = LoginRequired("Rejected.", code="InvalidLoginToken")
DENIED = ServiceError("Denied.", code="NoPermission", http_status=403)


@pytest.mark.parametrize("password", [False, True])
@pytest.mark.parametrize("kind", ["refused", "another stage"])
@pytest.mark.parametrize("state", ["stale", "expired", "ended"])
def test_only_after_a_refused_keep_alive_token_the_password_is_next(state, kind, password):
    failed = {} if state == "ended" else {REFRESH: REJECTED}
    verdict = judged(KEEP_ALIVE, LOGIN_FAILURES[kind], state, keep_alive="ready", password=password, failed=failed)
    assert (is_login_needed(verdict), verdict.goes_on) == (True, password)
    assert verdict.ended == ("InvalidLoginToken" if state == "expired" else None)
    assert (verdict.failure.code, verdict.failure.stage) == (
        LOGIN_FAILURES[kind].code,
        LOGIN_FAILURES[kind].stage,
    )
    assert LOGIN_FAILURES[kind].message in verdict.failure.message


@pytest.mark.parametrize("state", ["stale", "expired", "ended"])
@pytest.mark.parametrize("kind", sorted(set(LOGIN_FAILURES) - {"refused", "another stage"}))
def test_any_other_failure_of_a_keep_alive_token_keeps_it_for_the_next_task(kind, state):
    failed = {} if state == "ended" else {REFRESH: REJECTED}
    verdict = judged(KEEP_ALIVE, LOGIN_FAILURES[kind], state, keep_alive="ready", password=True, failed=failed)
    assert (is_login_needed(verdict), verdict.goes_on) == (False, False)
    assert verdict.failure.code == LOGIN_FAILURES[kind].code
    assert verdict.ended == ("InvalidLoginToken" if state == "expired" else None)


def test_a_session_whose_token_was_not_rejected_does_not_end_with_its_login():
    verdict = judged(KEEP_ALIVE, LOGIN_FAILURES["refused"], "expired", keep_alive="ready", failed={REFRESH: DENIED})
    assert (verdict.ended, verdict.goes_on) == (None, False)


# A password

PASSWORD_FAILURES: dict[str, WuyingError] = {
    **LOGIN_FAILURES,
    "blocked": LoginBlocked("Blocked.", blocked_until="2027-01-15T08:00:00Z"),
    "a person": LoginNeedsPerson("A person.", stage="MFABind"),
}


@pytest.mark.parametrize("kind", sorted(PASSWORD_FAILURES))
@pytest.mark.parametrize("state", ["none", "stale", "expired", "ended"])
def test_nothing_follows_a_failed_password_login(state, kind):
    error = PASSWORD_FAILURES[kind]
    failed = {REFRESH: REJECTED} if state in ("stale", "expired") else {}
    verdict = judged(PASSWORD, error, state, keep_alive="ready", password=True, failed=failed)
    assert not verdict.goes_on
    assert (type(verdict.failure), verdict.failure.as_result()) == (type(error), error.as_result())
    assert verdict.ended == ("InvalidLoginToken" if state == "expired" else None)


def test_an_expired_token_that_was_not_rejected_does_not_end_with_a_password():
    verdict = judged(PASSWORD, LOGIN_FAILURES["refused"], "expired", password=True, failed={REFRESH: DENIED})
    assert verdict.ended is None


# Secrets


@pytest.mark.parametrize("kind", [REFRESH, KEEP_ALIVE, PASSWORD])
def test_no_verdict_shows_a_secret(kind):
    for error in (*FAILURES.values(), *PASSWORD_FAILURES.values()):
        for state in ("stale", "expired", "ended"):
            failed = {REFRESH: REJECTED} if kind != REFRESH else {}
            verdict = judged(kind, error, state, keep_alive="ready", password=True, failed=failed)
            shown = f"{verdict!r} {verdict.failure} {verdict.failure.as_result()}"
            assert not [secret for secret in (STORED, USED, KEPT, "Sesame") if secret in shown]
