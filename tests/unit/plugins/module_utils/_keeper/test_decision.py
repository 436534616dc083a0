# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test each row of the table of guarantees: which request follows from the record and the options."""

from __future__ import annotations

import itertools
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import (
    KEEP_ALIVE,
    PASSWORD,
    REFRESH,
    RETURN,
    Outcome,
    PasswordLogin,
    Step,
    TokenRequest,
    decide,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.encoding import format_timestamp
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    NO_RECORD,
    OUTCOME_UNKNOWN,
    LoginRefused,
    LoginRequired,
    OptionError,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record, StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import session_at

NOW = 1_800_000_000.0
HOUR, DAY = 3600, 86400
SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
LOGIN = PasswordLogin("Sesame, open!")
STORED, USED, UNKNOWN, KEPT = "v1stored", "v1used", "v1unknown", "ka-kept"
SECONDS_LEFT = {"current": 800, "stale": 100, "expired": -5, "ended": -5}
REJECTED = LoginRequired("The service rejected the token.", code="InvalidLoginToken")


def keep_alive_of(kind: str) -> KeepAlive | None:
    """Return a keep-alive token by its kind. One that waits is also old."""
    if kind == "none":
        return None
    accepted_at = NOW - (DAY if kind == "ready" else 4 * DAY)
    refusals = 1 if kind == "waiting" else 0
    return KeepAlive(KEPT, NOW - 9 * DAY, accepted_at, refusals, (NOW - 10) * refusals)


def record_of(state: str, keep_alive: str = "none") -> Record | None:
    """Return a record by its state, with one token in its lineage."""
    if state == "none":
        return None
    record = next_record(None, SESSION, USED, STORED, NOW, 900, None)
    left = SECONDS_LEFT[state]
    record = record._replace(obtained_at=NOW + left - 900, expires_at=NOW + left, keep_alive=keep_alive_of(keep_alive))
    return record.ended_with("InvalidLoginToken") if state == "ended" else record


def request_of(token: str | None = None, password: str = "no", force: str = "no", **options: t.Any) -> TokenRequest:
    """Return a request. Only the single module forces a login, and only if a password is passed."""
    login = LOGIN._replace(force=force == "login") if password == "yes" else None
    return TokenRequest(SESSION, token, force=force != "no", password_login=login, **options)


def next_step(request: TokenRequest, record: Record | None, failed: dict[str, WuyingError] | None = None) -> str:
    """Return the next step in words: its kind and the token that it sends, or the code of an error."""
    try:
        step = decide(request, StoredState(record), NOW, "the store", failed)
    except WuyingError as error:
        return error.code
    words = {None: "", STORED: " the stored token", USED: " the used token", UNKNOWN: " the passed token", KEPT: ""}
    return f"{step.kind}{words[step.token]}"


# The table. A star stands for any value, and each combination of values matches exactly one row.

RECORDS = ("none", "current", "stale", "expired", "ended")
TOKENS = {"none": None, "stored": STORED, "used": USED, "unknown": UNKNOWN}
KEEP_ALIVES = ("none", "ready", "waiting", "old")
TABLE = """
# record               token             keep-alive           password force        -> step
  *                    *                 *                    yes      login        -> password login
  *                    unknown           *                    no       no,refresh   -> refresh the passed token
  *                    unknown           *                    yes      no,refresh   -> refresh the passed token
  none                 none              none                 no       no,refresh   -> NoLoginToken
  none                 none              none                 yes      no,refresh   -> password login
  current              none,stored,used  *                    *        no           -> return
  current              none,stored,used  none,ready,waiting   *        refresh      -> refresh the stored token
  current              none,stored,used  old                  *        refresh      -> keep-alive login
  stale,expired        none,stored,used  none,ready,waiting   *        no,refresh   -> refresh the stored token
  stale,expired        none,stored,used  old                  *        no,refresh   -> keep-alive login
  ended                none,stored,used  ready,old            *        no           -> keep-alive login
  ended                none,stored,used  none,waiting         yes      no           -> password login
  ended                none,stored,used  none,waiting         no       no           -> SessionEnded
  ended                none,stored,used  none,ready,waiting   *        refresh      -> refresh the stored token
  ended                none,stored,used  old                  *        refresh      -> keep-alive login
"""
ROWS = [line.replace("->", "").split(None, 5) for line in TABLE.strip().splitlines()[1:]]
COMBINATIONS = [
    values
    for values in itertools.product(RECORDS, TOKENS, KEEP_ALIVES, ("no", "yes"), ("no", "refresh", "login"))
    if not (values[0] == "none" and (values[1] in ("stored", "used") or values[2] != "none"))
    and not (values[3] == "no" and values[4] == "login")
]


@pytest.mark.parametrize("values", COMBINATIONS, ids="-".join)
def test_the_step_is_that_of_the_table(values):
    rows = [row for row in ROWS if all(cell == "*" or each in cell.split(",") for each, cell in zip(values, row))]
    assert len(rows) == 1
    record, token, keep_alive, password, force = values
    assert next_step(request_of(TOKENS[token], password, force), record_of(record, keep_alive)) == rows[0][-1]


def test_the_table_covers_every_combination_and_each_row_is_needed():
    assert len(COMBINATIONS) == 10 + 4 * 4 * 4 * 5
    steps = {row[-1] for row in ROWS}
    assert {RETURN, PASSWORD, KEEP_ALIVE, "NoLoginToken", "SessionEnded"} < steps


# After other steps have failed

REFUSED = LoginRefused("The service refused it.")


@pytest.mark.parametrize("state", ["stale", "expired", "ended"])
@pytest.mark.parametrize(
    ("keep_alive", "password", "failed", "step"),
    [
        ("ready", "yes", [REFRESH], KEEP_ALIVE),
        ("old", "yes", [REFRESH], KEEP_ALIVE),
        ("ready", "yes", [REFRESH, KEEP_ALIVE], PASSWORD),
        ("waiting", "yes", [REFRESH], PASSWORD),
        ("none", "yes", [REFRESH], PASSWORD),
        ("ready", "no", [REFRESH], KEEP_ALIVE),
        ("ready", "no", [REFRESH, KEEP_ALIVE], "SessionEnded"),
        ("waiting", "no", [REFRESH], "SessionEnded"),
        ("none", "no", [REFRESH], "SessionEnded"),
        ("none", "yes", [REFRESH, PASSWORD], "SessionEnded"),
        ("ready", "yes", [REFRESH, KEEP_ALIVE, PASSWORD], "SessionEnded"),
    ],
)
def test_after_a_rejected_refresh_the_login_follows(state, keep_alive, password, failed, step):
    for force in ("no", "refresh"):
        request = request_of(password=password, force=force)
        assert next_step(request, record_of(state, keep_alive), dict.fromkeys(failed, REJECTED)) == step


def test_a_current_token_that_the_service_rejected_is_not_returned():
    assert next_step(request_of(), record_of("current", "ready"), {REFRESH: REJECTED}) == KEEP_ALIVE
    assert next_step(request_of(), record_of("current"), {REFRESH: REJECTED}) == "SessionEnded"


@pytest.mark.parametrize("state", ["stale", "expired"])
def test_after_a_failed_renewal_the_stored_token_is_refreshed(state):
    step = next_step(request_of(password="yes"), record_of(state, "old"), {KEEP_ALIVE: REFUSED})
    assert step == "refresh the stored token"


def test_an_ended_session_whose_keep_alive_token_fails_needs_the_password():
    assert next_step(request_of(password="yes"), record_of("ended", "old"), {KEEP_ALIVE: REFUSED}) == PASSWORD
    assert next_step(request_of(), record_of("ended", "old"), {KEEP_ALIVE: REFUSED}) == "SessionEnded"


# Notes, ages and clocks


@pytest.mark.parametrize("password", ["no", "yes"])
def test_a_current_token_that_may_be_spent_is_refreshed(password):
    record = record_of("current", "ready")
    for token, kind in ((STORED, REFRESH), (USED, RETURN)):
        stored = StoredState(record, new_note(None, fingerprint(token), "a test"))
        assert decide(request_of(password=password), stored, NOW, "the store").kind == kind


def test_a_note_without_a_record_means_nothing():
    stored = StoredState(None, new_note(None, fingerprint(STORED), "a test"))
    with pytest.raises(LoginRequired) as caught:
        decide(request_of(), stored, NOW, "the store")
    assert caught.value.code == NO_RECORD


@pytest.mark.parametrize(
    ("age", "step"),
    [
        (3 * DAY, "refresh the stored token"),
        (3 * DAY + 1, KEEP_ALIVE),
        (-3 * DAY - 1, KEEP_ALIVE),
        (-60, "refresh the stored token"),
    ],
)
def test_a_keep_alive_token_is_renewed_when_it_is_older_than_three_days(age, step):
    record = t.cast(Record, record_of("stale"))._replace(keep_alive=KeepAlive(KEPT, NOW - age, NOW - age))
    assert next_step(request_of(), record) == step


@pytest.mark.parametrize(
    ("refusals", "seconds", "step"),
    [
        (1, HOUR - 1, "SessionEnded"),
        (1, HOUR, KEEP_ALIVE),
        (2, HOUR, "SessionEnded"),
        (2, DAY - 1, "SessionEnded"),
        (2, DAY, KEEP_ALIVE),
        (3, DAY - 1, "SessionEnded"),
        (3, DAY, KEEP_ALIVE),
        (1, -60, "SessionEnded"),
        (1, -DAY, KEEP_ALIVE),
    ],
)
def test_a_refused_keep_alive_token_waits_an_hour_and_then_24_hours(refusals, seconds, step):
    keep_alive = KeepAlive(KEPT, NOW - DAY, NOW - DAY, refusals, NOW - seconds)
    assert next_step(request_of(), t.cast(Record, record_of("ended"))._replace(keep_alive=keep_alive)) == step


def test_a_record_from_the_future_is_stale():
    record = t.cast(Record, record_of("current"))
    later = record._replace(obtained_at=NOW + 61, expires_at=NOW + 961)
    assert next_step(request_of(), later) == "refresh the stored token"


# Endpoints


@pytest.mark.parametrize(
    ("endpoint", "step"),
    [
        ("https://ecd.cn-hangzhou.aliyuncs.com", PASSWORD),
        ("http://127.0.0.1:8080", PASSWORD),
        ("https://localhost", PASSWORD),
        ("https://ecd.cn-beijing.aliyuncs.com", "InvalidOption"),
        ("https://ecd-vpc.cn-hangzhou.aliyuncs.com", "InvalidOption"),
        ("https://ecd.example.com", "InvalidOption"),
    ],
)
def test_a_password_starts_a_session_at_another_endpoint_with_force_only(endpoint, step):
    session = SESSION._replace(endpoint=endpoint)
    for force in ("no", "refresh"):
        assert next_step(request_of(password="yes", force=force)._replace(session=session), None) == step
    forced = request_of(password="yes", force="login")._replace(session=session)
    assert next_step(forced, None) == PASSWORD


def test_a_stored_session_at_another_endpoint_logs_in():
    session = SESSION._replace(endpoint="https://ecd.example.com")
    record = t.cast(Record, record_of("ended"))._replace(session=session)
    assert next_step(request_of(password="yes")._replace(session=session), record) == PASSWORD


def test_the_error_for_another_endpoint_names_the_endpoint_and_force():
    session = SESSION._replace(endpoint="https://ecd.example.com")
    with pytest.raises(OptionError, match=r"https://ecd\.example\.com is not the endpoint.*force=true") as caught:
        decide(request_of(password="yes")._replace(session=session), StoredState(), NOW, "the store")
    assert "Sesame" not in caught.value.message


# Errors without a request


def test_without_a_record_the_error_asks_for_a_token_or_a_password():
    with pytest.raises(
        LoginRequired, match="Pass login_token or password to wuying_login_token to start the session"
    ) as caught:
        decide(request_of(), StoredState(), NOW, "/a/store")
    assert "No login token is stored for alice" in caught.value.message and "/a/store" in caught.value.message
    assert (caught.value.login_needed, caught.value.retryable, caught.value.blocked_until) == (True, False, None)


def test_without_a_store_the_error_asks_for_a_token():
    with pytest.raises(LoginRequired, match="store=none stores no token. Pass login_token"):
        decide(request_of(), StoredState(), NOW, "none")


def test_the_error_of_an_ended_session_says_until_when_the_keep_alive_token_waits():
    with pytest.raises(LoginRequired, match="Or pass password or a new login_token to wuying_login_token") as caught:
        decide(request_of(), StoredState(record_of("ended", "waiting")), NOW, "the store")
    until = format_timestamp(NOW - 10 + HOUR)
    assert caught.value.blocked_until == until
    assert f"is sent again after {until}" in caught.value.message
    with pytest.raises(LoginRequired) as caught:
        decide(request_of(), StoredState(record_of("ended")), NOW, "the store")
    assert caught.value.blocked_until is None


def test_a_session_that_ended_with_a_lost_answer_says_so():
    record = t.cast(Record, record_of("expired")).ended_with(OUTCOME_UNKNOWN)
    with pytest.raises(LoginRequired, match="response was lost") as caught:
        decide(request_of(), StoredState(record), NOW, "the store")
    assert caught.value.code == OUTCOME_UNKNOWN


# Requests, steps and outcomes


@pytest.mark.parametrize(
    ("request_", "record", "must_send"),
    [
        (request_of(), "current", False),
        (request_of(STORED), "current", False),
        (request_of(USED), "stale", False),
        (request_of(UNKNOWN), "current", True),
        (request_of(STORED), "none", True),
        (request_of(), "none", False),
        (request_of(password="yes"), "stale", False),
        (request_of(force="refresh"), "current", True),
        (request_of(password="yes", force="login")._replace(force=False), "current", True),
    ],
)
def test_a_stored_token_is_not_enough_with_force_or_a_new_token(request_, record, must_send):
    assert request_.must_send(record_of(record)) == must_send


def test_without_force_neither_a_refresh_nor_a_login_is_forced():
    request = request_of(password="yes", force="login", validity=7, uuid="a device").without_force()
    assert request == request_of(password="yes", validity=7, uuid="a device")
    assert request_of(force="refresh").without_force() == request_of()


def test_the_text_of_a_password_login_and_a_step_contains_no_secret():
    assert "Sesame" not in f"{LOGIN!r}{LOGIN}{request_of(password='yes')!r}"
    assert KEPT not in f"{Step(KEEP_ALIVE, KEPT)!r}"
    assert KEPT not in f"{keep_alive_of('ready')!r}{record_of('stale', 'ready')!r}"


def test_an_outcome_without_lineage_is_otherwise_the_same():
    record = record_of("stale", "ready")
    outcome = Outcome(True, None, record, logged_in=True).without_lineage()
    assert outcome.record == t.cast(Record, record)._replace(lineage=(), passed=())
    assert outcome._replace(record=record) == Outcome(True, None, record, logged_in=True)
