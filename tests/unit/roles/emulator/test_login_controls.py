# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the controls for logins: users, options, counts, the journal, faults and the clock."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import subprocess
import sys
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from emulator_logins import Logins

PASSWORD = "pa55 word"
TOTP_SECRET = "JBSWY3DPEHPK3PXP"
OPTIONS = {
    "profile": "captured",
    "keep_alive_lifetime": 864000,
    "lock_after": 5,
    "lock_duration": 0,
    "locked_answer": "risk_verify_info",
}


def fingerprint(token: str) -> str:
    """Return the fingerprint of a token as in the journal."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]


def clock_of(emulator: Any) -> float:
    """Return the time of a response in seconds since the epoch."""
    date = emulator.send("GET", f"{emulator.control_path}/").headers["date"]
    return parsedate_to_datetime(date).timestamp()


def test_counts_are_zero_before_the_first_login(emulator):
    assert emulator.logins() == {
        "calls": {"ADPassword": 0, "MFAVerify": 0, "KeepAliveVerify": 0, "other": 0},
        "completed": 0,
        "refused": 0,
        "signed": 0,
        "with_body": 0,
        "with_both_sites": 0,
        "refreshes_with_wrong_session_id": 0,
        "users": {},
    }


def test_logins_are_counted_by_user_and_stage(emulator):
    emulator.set_users(alice=PASSWORD)
    token = emulator.log_in(Password=PASSWORD, KeepAlive="true").body["KeepAliveToken"]
    for reply_to in ("ALICE", "nobody"):
        emulator.log_in(EndUserId=reply_to, Password="wrong")
    emulator.log_in("KeepAliveVerify", KeepAliveToken=token)
    emulator.log_in("KeepAliveVerify", KeepAliveToken="wrong")
    emulator.log_in("TokenVerify", TokenCode="1")
    counts = emulator.logins()
    assert counts["calls"] == {"ADPassword": 3, "MFAVerify": 0, "KeepAliveVerify": 2, "other": 1}
    assert (counts["completed"], counts["refused"]) == (2, 4)
    assert counts["users"]["alice"] == {
        "calls": {"ADPassword": 2, "MFAVerify": 0, "KeepAliveVerify": 2, "other": 1},
        "completed": 2,
        "refused": 3,
    }
    assert counts["users"]["nobody"]["refused"] == 1 and len(counts["users"]) == 2


def test_a_request_that_lacks_a_parameter_is_no_refused_login(emulator):
    emulator.log_in(Password=None)
    emulator.log_in(Password=PASSWORD, Version="1")
    counts = emulator.logins()
    assert (counts["calls"]["ADPassword"], counts["refused"]) == (2, 0)


def test_a_directory_beside_the_office_site_is_counted(emulator):
    emulator.set_users(alice=PASSWORD)
    emulator.log_in(Password=PASSWORD, DirectoryId="x")
    emulator.log_in(Password=PASSWORD)
    assert emulator.logins()["with_both_sites"] == 1


def test_deleting_the_journal_resets_the_counts(emulator):
    before = emulator.logins()
    emulator.log_in(Password=PASSWORD)
    emulator.control("DELETE", "journal")
    assert emulator.logins() == before


def test_the_journal_contains_a_login(emulator):
    emulator.set_users(alice=PASSWORD)
    first = emulator.log_in(Password=PASSWORD, KeepAlive="true", Uuid="a device")
    second = emulator.log_in("KeepAliveVerify", KeepAliveToken=first.body["KeepAliveToken"])
    journal = emulator.journal()
    entries = journal["entries"]
    assert entries[0].pop("at") <= time.time()
    assert entries[0] == {
        "operation": "GetLoginToken",
        "stage": "ADPassword",
        "outcome": "completed",
        "end_user_id": "alice",
        "client_id": emulator.alice["client_id"],
        "session_id": None,
        "uuid": "a device",
        "method": "POST",
        "signature": "anonymous",
        "parameters": [
            *("RegionId", "ClientId", "OfficeSiteId", "CurrentStage", "EndUserId", "Password", "KeepAlive", "Uuid"),
        ],
        "with_body": False,
        "keep_alive": "true",
        "keep_alive_used": None,
        "keep_alive_issued": fingerprint(first.body["KeepAliveToken"]),
        "status": 200,
        "code": None,
        "request_id": first.body["RequestId"],
        "used": None,
        "issued": fingerprint(first.body["LoginToken"]),
        "exchanged": False,
        "fault": None,
    }
    assert entries[1]["keep_alive_used"] == entries[0]["keep_alive_issued"]
    assert entries[1]["issued"] == fingerprint(second.body["LoginToken"])
    assert (journal["requests"], journal["exchanges"]) == (2, 0)


def test_the_journal_contains_the_session_id_of_a_refresh(emulator):
    emulator.set_users(alice=PASSWORD)
    body = emulator.log_in(Password=PASSWORD).body
    emulator.exchange(body["LoginToken"], SessionId=body["SessionId"])
    assert emulator.journal()["entries"][1]["session_id"] == body["SessionId"]


def test_controls_show_no_secret(emulator):
    emulator.set_users(alice={"password": PASSWORD, "totp_secret": TOTP_SECRET})
    body = emulator.log_in(Password=PASSWORD).body
    emulator.log_in("MFAVerify", SessionId=body["SessionId"], AuthenticationCode="135790")
    emulator.log_in("KeepAliveVerify", KeepAliveToken="k1secret")
    shown = [emulator.control("GET", control) for control in ("", "journal", "logins", "users", "options")]
    text = json.dumps(shown)
    assert not [secret for secret in (PASSWORD, TOTP_SECRET, "135790", "k1secret") if secret in text]


def test_users_are_listed_without_their_secrets(emulator):
    emulator.set_users(alice={"password": PASSWORD, "totp_secret": TOTP_SECRET, "risk": True}, bob=PASSWORD)
    emulator.log_in(Password="wrong")
    assert emulator.control("GET", "users") == {
        "alice": {"totp": True, "stage": "TokenVerify", "keep_alive": True, "failures": 1, "locked": False},
        "bob": {"totp": False, "stage": None, "keep_alive": True, "failures": 0, "locked": False},
    }


def test_users_are_added_to_those_that_exist(emulator):
    assert emulator.control("POST", "users", {"alice": "1"}) == {"users": 1}
    assert emulator.control("POST", "users", {"Alice": "2", "bob": "3"}) == {"users": 2}
    assert emulator.log_in(Password="2").body["EndUserId"] == "Alice"
    emulator.control("DELETE", "users")
    assert emulator.control("GET", "users") == {}


@pytest.mark.parametrize("secret", [TOTP_SECRET.lower(), "JBSW Y3DP EHPK 3PXP", "JBSWY3DP======", "MFRGG", None])
def test_a_totp_secret_may_be_written_in_any_way(emulator, secret):
    emulator.set_users(alice={"password": PASSWORD, "totp_secret": secret})
    assert emulator.control("GET", "users")["alice"]["totp"] is (secret is not None)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({}, "A user needs a name of 1 to 256 characters, and a password."),
        (1, "A user must be an object."),
        ({"password": PASSWORD, "surname": "x"}, "A user has no field surname."),
        ({"password": ""}, "The field password must be of type text with a length from 1 to 256."),
        ({"password": "\ud800"}, "The name and the password of a user must be valid Unicode."),
        ({"password": PASSWORD, "totp_secret": "1"}, "The field totp_secret must be base32."),
        ({"password": PASSWORD, "totp_secret": "ÄÖ"}, "The field totp_secret must be base32."),
        ({"password": PASSWORD, "totp_secret": " = "}, "The field totp_secret must be base32."),
        (
            {"password": PASSWORD, "risk": True, "stage": "x"},
            "A user can have only one of the fields mfa_bind, risk, change_password and stage.",
        ),
        (
            {"password": PASSWORD, "mfa_bind": True, "totp_secret": TOTP_SECRET},
            "A user with a totp_secret has a device, so mfa_bind must be false.",
        ),
    ],
)
def test_an_invalid_user_is_an_error_and_nothing_changes(emulator, user, message):
    reply = emulator.send("POST", f"{emulator.control_path}/users", json.dumps({"bob": PASSWORD, "alice": user}))
    assert (reply.status, reply.body) == (400, {"error": message})
    assert emulator.control("GET", "users") == {}


@pytest.mark.parametrize("names", [["alice", "ALICE"], [""], ["x" * 257], ["\ud800"]])
def test_an_invalid_name_is_an_error(emulator, names):
    reply = emulator.send("POST", f"{emulator.control_path}/users", json.dumps(dict.fromkeys(names, PASSWORD)))
    assert reply.status == 400 and reply.body["error"].endswith(".")


def test_users_come_from_a_file(start_emulator, tmp_path):
    file = tmp_path / "users.json"
    file.write_text(json.dumps({"alice": PASSWORD, "bob": {"password": "x", "risk": True}}))
    emulator = start_emulator("--users", str(file))
    assert emulator.log_in(Password=PASSWORD).body["LoginToken"]
    assert emulator.control("GET", "users")["bob"]["stage"] == "TokenVerify"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Cannot read the users from users.json: No such file or directory."),
        (b'{"alice": "secret', "The users in users.json are not valid. It is not JSON."),
        (b'{"alice": "secret\xff"}', "The users in users.json are not valid. It is not JSON."),
        (b"[" * 100_000, "The users in users.json are not valid. "),
        (b'["secret"]', "The users in users.json are not valid. The users must be an object."),
        (
            b'{"alice": {"password": "secret", "pin": 1}}',
            "The users in users.json are not valid. A user has no field pin.",
        ),
    ],
)
def test_a_wrong_file_of_users_is_an_error_of_one_line(script, tmp_path, content, message):
    if content is not None:
        (tmp_path / "users.json").write_bytes(content)
    command = [sys.executable, script, "--ready-file", str(tmp_path / "r"), "--users", str(tmp_path / "users.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(message) and "secret" not in done.stderr
    assert not (tmp_path / "r").exists()


def test_options_of_logins_can_be_changed(start_emulator):
    emulator = start_emulator("--lock-after=7", "--profile=strict")
    assert emulator.control("GET", "options") == {**OPTIONS, "lock_after": 7, "profile": "strict"}
    changed = emulator.control("POST", "options", {"profile": "lenient", "lock_duration": 1.5})
    assert changed == {**OPTIONS, "lock_after": 7, "profile": "lenient", "lock_duration": 1.5}


@pytest.mark.parametrize("change", [{"profile": "x"}, {"locked_answer": None}, {"validity": 1}, [], None])
def test_a_wrong_option_is_an_error_and_nothing_changes(emulator, change):
    body = json.dumps({"lock_after": 1, **change} if isinstance(change, dict) else change)
    reply = emulator.send("POST", f"{emulator.control_path}/options", body)
    assert reply.status == 400 and reply.body["error"].endswith(".")
    assert emulator.control("GET", "options") == OPTIONS


def test_the_profile_can_change_at_any_time(emulator):
    emulator.set_users(alice=PASSWORD)
    for profile, absent in (("captured", ""), ("lenient", None), ("strict", "absent")):
        emulator.set_options(profile=profile)
        assert emulator.log_in(Password=PASSWORD).body.get("Email", "absent") == absent


def try_log_in(emulator: Any, stage: str, **parameters: str) -> int | None:
    """Log in, and return the status or None if there is no response."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        status: int = emulator.log_in(stage, **parameters).status
        return status
    return None


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"operation": "GetLoginToken"}, [200, 503, 503, 503]),
        ({"operation": "RefreshLoginToken"}, [503, 200, 200, 400]),
        ({"stage": "ADPassword"}, [200, 503, 503, 400]),
        ({"stage": "KeepAliveVerify"}, [200, 200, 200, 503]),
        ({"end_user_id": "bob"}, [200, 200, 503, 400]),
        ({"stage": "ADPassword", "end_user_id": "alice"}, [200, 503, 200, 400]),
        ({"operation": None, "stage": None, "end_user_id": None}, [503, 503, 503, 503]),
    ],
)
def test_a_fault_applies_only_to_selected_requests(emulator, selector, expected):
    emulator.set_users(alice=PASSWORD, bob=PASSWORD)
    emulator.queue_fault("status", count=None, **selector)
    statuses = [
        emulator.exchange(emulator.issue()).status,
        emulator.log_in(Password=PASSWORD).status,
        emulator.log_in(EndUserId="bob", Password=PASSWORD).status,
        emulator.log_in("KeepAliveVerify", KeepAliveToken="x").status,
    ]
    assert statuses == expected


def test_faults_for_others_stay_in_the_queue(emulator):
    emulator.set_users(alice=PASSWORD)
    faults = [{"fault": "status", "operation": "GetLoginToken", "status": status} for status in (500, 502)]
    emulator.control("POST", "faults", [*faults, {"fault": "status", "status": 504}])
    token = emulator.issue()
    assert [emulator.exchange(token).status for _request in range(2)] == [504, 200]
    assert [emulator.log_in(Password=PASSWORD).status for _login in range(3)] == [500, 502, 200]


@pytest.mark.parametrize(
    "fault", [{"operation": "x"}, {"stage": 1}, {"end_user_id": "x" * 257}, {"fault": "skew", "stage": "x"}]
)
def test_a_wrong_selector_is_an_error(emulator, fault):
    reply = emulator.send("POST", f"{emulator.control_path}/faults", json.dumps({"fault": "reset", **fault}))
    assert reply.status == 400 and reply.body["error"].endswith(".")


@pytest.mark.parametrize(
    ("fault", "status", "field"),
    [
        ({"fault": "error", "status": 403, "code": "Forbidden.User"}, 403, "Code"),
        ({"fault": "code", "code": "Forbidden.User"}, 200, "Code"),
        ({"fault": "locked", "last_lock_duration": 60}, 200, "RiskVerifyInfo"),
    ],
)
def test_the_next_logins_can_be_refused(emulator, fault, status, field):
    emulator.set_users(alice=PASSWORD)
    emulator.control("POST", "faults", {"operation": "GetLoginToken", "count": 2, **fault})
    replies = [emulator.log_in(Password=PASSWORD) for _login in range(3)]
    assert [reply.status for reply in replies] == [status, status, 200]
    expected = {"Code": "Forbidden.User", "RiskVerifyInfo": {"Locked": "true", "LastLockDuration": 60}}[field]
    assert replies[1].body[field] == expected and replies[2].body["LoginToken"]
    assert emulator.logins()["users"]["alice"]["refused"] == 2
    assert emulator.logins()["completed"] == 1
    assert emulator.control("GET", "users")["alice"]["failures"] == 0


@pytest.mark.parametrize(
    "fault",
    [
        *({"fault": name} for name in ("refuse", "reset", "truncate", "status", "throttle", "redirect", "non_json")),
        *({"fault": "stall", "seconds": 0.1}, {"fault": "wrong_type"}, {"fault": "error", "status": 500}),
    ],
    ids=lambda fault: fault["fault"],
)
def test_a_failure_of_the_service_is_no_refused_login(emulator, fault):
    emulator.set_users(alice=PASSWORD)
    emulator.control("POST", "faults", {"operation": "GetLoginToken", **fault})
    try_log_in(emulator, "ADPassword", Password=PASSWORD)
    counts, (entry,) = emulator.logins(), emulator.journal()["entries"]
    assert (counts["calls"]["ADPassword"], counts["refused"]) == (1, 0)
    assert (entry["fault"], entry["operation"]) == (fault["fault"], "GetLoginToken")


@pytest.mark.parametrize("fault", ["reset", "truncate", "status", "non_json", "error", "code", "locked"])
@pytest.mark.parametrize("carried_out", [True, False])
def test_a_lost_answer_spends_a_keep_alive_token_only_if_carried_out(start_emulator, fault, carried_out):
    emulator = start_emulator("--profile=strict")
    emulator.set_users(alice=PASSWORD)
    token = emulator.log_in(Password=PASSWORD, KeepAlive="true").body["KeepAliveToken"]
    emulator.queue_fault(fault, carried_out=carried_out, stage="KeepAliveVerify")
    try_log_in(emulator, "KeepAliveVerify", KeepAliveToken=token, KeepAlive="true")
    assert emulator.logins()["completed"] == 1 + carried_out
    entry = emulator.journal()["entries"][-1]
    assert (entry["outcome"] == "completed", bool(entry["keep_alive_issued"])) == (carried_out, carried_out)
    assert emulator.log_in("KeepAliveVerify", KeepAliveToken=token).status == (400 if carried_out else 200)


def test_the_clock_can_be_moved_forward(emulator):
    before = emulator.control("GET", "clock")
    assert before["advanced"] == 0 and abs(before["now"] - time.time()) < 60
    moved = [emulator.control("POST", "clock", {"advance": seconds}) for seconds in (1200, 3456000)]
    assert [clock["advanced"] for clock in moved] == [1200, 3457200]
    for now in (moved[1]["now"], clock_of(emulator)):
        assert abs(now - time.time() - 3457200) < 60


def test_login_tokens_expire_by_the_clock(emulator):
    emulator.set_users(alice=PASSWORD)
    tokens = [emulator.issue(), emulator.log_in(Password=PASSWORD).body["LoginToken"]]
    emulator.advance(840)
    assert [emulator.exchange(token).status for token in tokens] == [200, 200]
    emulator.advance(61)
    assert [emulator.exchange(token).body["Code"] for token in tokens] == ["InvalidLoginToken"] * 2


def test_deleting_the_faults_does_not_move_the_clock_back(emulator):
    emulator.advance(1200)
    emulator.queue_fault("skew", seconds=86400)
    assert emulator.control("GET", "clock")["now"] - time.time() > 87000
    emulator.control("DELETE", "faults")
    assert 1100 < emulator.control("GET", "clock")["now"] - time.time() < 1300


def test_skew_does_not_let_anything_expire(emulator):
    token = emulator.issue()
    emulator.queue_fault("skew", seconds=86400)
    assert emulator.exchange(token).status == 200


@pytest.mark.parametrize("payload", [{"advance": -1}, {"advance": "1"}, {"advance": None}, {"seconds": 1}, {}, None])
def test_the_clock_moves_only_forward(emulator, payload):
    reply = emulator.send("POST", f"{emulator.control_path}/clock", json.dumps(payload))
    assert reply.status == 400 and emulator.control("GET", "clock")["advanced"] == 0


def test_the_clock_moves_by_ten_years_at_most(emulator):
    emulator.advance(315_360_000)
    reply = emulator.send("POST", f"{emulator.control_path}/clock", '{"advance": 1}')
    assert (reply.status, list(reply.body)) == (400, ["error"])
    assert emulator.exchange(emulator.issue()).status == 200


def test_login_tokens_can_be_invalidated(emulator):
    token = emulator.issue()
    emulator.control("DELETE", "tokens")
    assert emulator.exchange(token).body["Code"] == "InvalidLoginToken"


def test_what_is_remembered_of_logins_is_limited(start_emulator):
    emulator = start_emulator(MAX_REMEMBERED=3)
    names = [f"user-{number}" for number in range(4)]
    emulator.control("POST", "users", dict.fromkeys(names, PASSWORD))
    bodies = [emulator.log_in(EndUserId=name, Password=PASSWORD, KeepAlive="true").body for name in names]
    replies = [
        emulator.log_in("KeepAliveVerify", EndUserId=name, KeepAliveToken=body["KeepAliveToken"]).status
        for name, body in zip(names, bodies)
    ]
    assert replies == [400, 200, 200, 200]
    assert len(emulator.logins()["users"]) == 3


def test_long_values_of_a_login_are_shortened(emulator):
    long = dict.fromkeys(("EndUserId", "ClientId", "SessionId", "Uuid", "KeepAlive"), "x" * 1000)
    emulator.log_in("x" * 1000, **long)
    assert len(json.dumps(emulator.journal()["entries"])) < 2500
    assert list(emulator.logins()["users"]) == ["x" * 256]


def test_a_login_does_not_become_slower_with_many_sessions():
    options = {**OPTIONS, "profile": "strict"}
    logins = Logins(options, 300_000, time.monotonic, time.time, lambda _session, _session_id: "v1")
    logins.set_users({"alice": PASSWORD})
    login = {"RegionId": "r", "OfficeSiteId": "s", "EndUserId": "alice", "KeepAlive": "true"}

    def start(number: int) -> dict[str, str]:
        sent = {**login, "ClientId": str(number), "CurrentStage": "ADPassword", "Password": PASSWORD}
        token = logins.log_in(sent, {})["KeepAliveToken"]
        return {**login, "ClientId": str(number), "CurrentStage": "KeepAliveVerify", "KeepAliveToken": token}

    def fastest(sessions: list[dict[str, str]]) -> float:
        times = []
        for first in range(0, len(sessions), 50):
            started = time.perf_counter()
            for sent in sessions[first : first + 50]:
                logins.log_in(sent, {})
            times.append(time.perf_counter() - started)
        return min(times)

    few = fastest([start(number) for number in range(500)])
    many = fastest([start(number) for number in range(10_000)])
    assert len(logins.keep_alive_tokens) == 10_500 and many < 3 * few
