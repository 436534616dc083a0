# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test how the emulator logs users in: passwords, codes, keep-alive tokens, stages that need a person, and locks."""

from __future__ import annotations

import base64
import re
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from emulator_logins import FIELDS, TEXTS, totp

PASSWORD = "pa55 word"
TOTP_SECRET = "JBSWY3DPEHPK3PXP"
DEVICE = {"password": PASSWORD, "totp_secret": TOTP_SECRET}
PROFILES = ["captured", "strict", "lenient"]
RFC_VECTORS = [  # the last six of the eight digits of RFC 6238, appendix B
    (59, "287082"),
    (1111111109, "081804"),
    (1111111111, "050471"),
    (1234567890, "005924"),
    (2000000000, "279037"),
    (20000000000, "353130"),
]


def code(steps: int = 0) -> str:
    """Return the code that the device of Alice shows now, or some steps later; wait if it is about to change."""
    if (left := 30 - time.time() % 30) < 3:
        time.sleep(left)
    return totp(base64.b32decode(TOTP_SECRET), int(time.time() // 30) + steps)


def refusal(reply: Any) -> tuple[int, str]:
    """Return the status and the code of an error."""
    return reply.status, reply.body["Code"]


def first_keep_alive_token(emulator: Any) -> str:
    """Log Alice in with her password, and return a keep-alive token."""
    emulator.set_users(alice=PASSWORD)
    token: str = emulator.log_in(Password=PASSWORD, KeepAlive="true").body["KeepAliveToken"]
    return token


def keep_alive(emulator: Any, token: str, **parameters: Any) -> Any:
    """Log Alice in with a keep-alive token, and ask for the next one."""
    return emulator.log_in("KeepAliveVerify", KeepAliveToken=token, **{"KeepAlive": "true", **parameters})


@pytest.fixture(params=PROFILES, name="profile")
def fixture_profile(request: Any) -> Any:
    """Return the name of each profile."""
    return request.param


@pytest.mark.parametrize(("seconds", "expected"), RFC_VECTORS)
def test_codes_are_those_of_rfc_6238(seconds, expected):
    assert totp(b"12345678901234567890", seconds // 30) == expected


def test_without_users_every_user_is_unknown(emulator):
    assert refusal(emulator.log_in(Password=PASSWORD)) == (400, "EndUserNotFound")


def test_a_password_login_returns_a_token_that_can_be_refreshed(start_emulator, profile):
    emulator = start_emulator("--profile", profile, "--rotate")
    emulator.set_users(alice=PASSWORD)
    body = emulator.log_in(Password=PASSWORD).body
    assert re.fullmatch("v1[0-9a-f]{128}", body["LoginToken"]) and not body.get("NextStage")
    token = body["LoginToken"]
    for _refresh in range(2):
        reply = emulator.exchange(token, SessionId=body["SessionId"])
        assert reply.status == 200
        token = reply.body["LoginToken"]


def test_absent_fields_are_empty_texts_in_the_profile_captured(emulator):
    emulator.set_users(alice=PASSWORD)
    body = emulator.log_in(Password=PASSWORD).body
    assert set(body) == {"RequestId", "TenantId", *TEXTS}
    assert {name for name, value in body.items() if value == ""} == {
        *("NextStage", "Email", "Phone", "Label", "Secret", "QrCodePng", "Reason"),
    }


def test_absent_fields_are_absent_in_the_profile_strict(start_emulator):
    emulator = start_emulator("--profile=strict")
    emulator.set_users(alice=PASSWORD)
    body = emulator.log_in(Password=PASSWORD).body
    assert set(body) == {"RequestId", "LoginToken", "SessionId", "EndUserId", "TenantId"}


def test_absent_fields_are_null_in_the_profile_lenient(start_emulator):
    emulator = start_emulator("--profile=lenient")
    emulator.set_users(alice=PASSWORD)
    body = emulator.log_in(Password=PASSWORD).body
    assert set(body) == {"RequestId", *FIELDS} and "" not in body.values()
    assert body["KeepAliveToken"] is body["NextStage"] is None


@pytest.mark.parametrize("password", ["wrong", PASSWORD.upper(), f"{PASSWORD} ", "ü"])
def test_a_wrong_password_is_refused(emulator, password):
    emulator.set_users(alice=PASSWORD)
    assert refusal(emulator.log_in(Password=password)) == (400, "InvalidPassword")


def test_any_characters_can_be_in_names_and_passwords(emulator):
    for text in ("ü+&=*~'()!/", "100% {{ sure }}", '"quoted"', "无影", "𝔘", "x" * 200):
        emulator.set_users(**{text: text})
        assert emulator.log_in(EndUserId=text, Password=text).body["EndUserId"] == text


def test_the_case_of_a_name_does_not_matter(emulator):
    emulator.set_users(Alice=PASSWORD)
    body = emulator.log_in(EndUserId="ALICE", Password=PASSWORD).body
    assert body["EndUserId"] == "Alice"
    assert emulator.exchange(body["LoginToken"], EndUserId="ALICE").status == 200


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        *(("ADPassword", name) for name in ("RegionId", "ClientId", "OfficeSiteId", "EndUserId", "Password")),
        *(("MFAVerify", name) for name in ("SessionId", "AuthenticationCode")),
        ("KeepAliveVerify", "KeepAliveToken"),
        ("", "CurrentStage"),
    ],
)
def test_a_missing_parameter_of_a_stage_is_named(emulator, stage, name):
    login = dict.fromkeys(("Password", "SessionId", "AuthenticationCode", "KeepAliveToken"), "x")
    assert refusal(emulator.log_in(stage, **{**login, name: None})) == (400, f"Missing{name}")


@pytest.mark.parametrize("stage", ["MFABind", "TokenVerify", "ChangePassword", "adpassword", "x" * 300])
def test_a_stage_that_is_not_emulated_is_refused(emulator, stage):
    assert refusal(emulator.log_in(stage)) == (400, "InvalidCurrentStage")


def test_a_login_works_with_directory_id_instead_of_office_site_id(emulator):
    emulator.set_users(alice=PASSWORD)
    site = emulator.alice["office_site_id"]
    token = emulator.log_in(Password=PASSWORD, OfficeSiteId=None, DirectoryId=site).body["LoginToken"]
    assert emulator.exchange(token).status == 200


def test_a_refresh_after_a_login_may_name_the_directory(emulator):
    emulator.set_users(alice=PASSWORD)
    token = emulator.log_in(Password=PASSWORD).body["LoginToken"]
    assert emulator.exchange(token, DirectoryId="any").status == 200


@pytest.mark.parametrize("name", ["RegionId", "ClientId", "OfficeSiteId", "EndUserId"])
def test_the_token_of_a_login_is_bound_to_its_session(emulator, name):
    emulator.set_users(alice=PASSWORD)
    token = emulator.log_in(Password=PASSWORD).body["LoginToken"]
    assert refusal(emulator.exchange(token, **{name: "other"})) == (400, "InvalidLoginToken")


@pytest.mark.parametrize("session_id", [None, "other"])
def test_only_the_profile_strict_needs_the_session_id(start_emulator, profile, session_id):
    emulator = start_emulator("--profile", profile)
    emulator.set_users(alice=PASSWORD)
    token = emulator.log_in(Password=PASSWORD).body["LoginToken"]
    reply = emulator.exchange(token, SessionId=session_id)
    assert refusal(reply) == (400, "InvalidSessionId") if profile == "strict" else reply.status == 200
    assert emulator.logins()["refreshes_with_wrong_session_id"] == 1


def test_a_code_completes_a_login(start_emulator, profile):
    emulator = start_emulator("--profile", profile)
    emulator.set_users(alice=DEVICE)
    first = emulator.log_in(Password=PASSWORD).body
    assert first["NextStage"] == "MFAVerify" and not first.get("LoginToken")
    second = emulator.log_in("MFAVerify", SessionId=first["SessionId"], AuthenticationCode=code()).body
    assert second["LoginToken"] and not second.get("NextStage")
    assert second.get("SessionId") == (None if profile == "strict" else first["SessionId"])
    assert emulator.exchange(second["LoginToken"], SessionId=first["SessionId"]).status == 200


def verify(emulator: Any, digits: str, **parameters: str | None) -> Any:
    """Log Alice in with her password and then with a code."""
    session_id = emulator.log_in(Password=PASSWORD).body["SessionId"]
    return emulator.log_in("MFAVerify", **{"SessionId": session_id, "AuthenticationCode": digits, **parameters})


def test_codes_of_neighboring_steps_are_accepted(emulator):
    emulator.set_users(alice=DEVICE)
    assert [verify(emulator, code(steps)).status for steps in (0, 1)] == [200, 200]
    emulator.advance(30)
    emulator.set_users(alice=DEVICE)
    assert verify(emulator, code(0)).status == 200


@pytest.mark.parametrize("steps", [-3, 3])
def test_codes_of_distant_steps_are_refused(emulator, steps):
    emulator.set_users(alice=DEVICE)
    assert refusal(verify(emulator, code(steps))) == (400, "InvalidAuthenticationCode")


def test_codes_follow_the_clock_of_the_emulator(emulator):
    emulator.set_users(alice=DEVICE)
    emulator.advance(3600)
    assert refusal(verify(emulator, code())) == (400, "InvalidAuthenticationCode")
    assert verify(emulator, code(120)).status == 200


@pytest.mark.parametrize("digits", ["12345", "1234567", "abcdef", "１２３４５６"])
def test_a_malformed_code_is_refused(emulator, digits):
    emulator.set_users(alice=DEVICE)
    assert refusal(verify(emulator, digits)) == (400, "InvalidAuthenticationCode")


def test_a_code_is_accepted_once(emulator):
    emulator.set_users(alice=DEVICE)
    digits = code()
    assert verify(emulator, digits).status == 200
    assert refusal(verify(emulator, digits)) == (400, "InvalidAuthenticationCode")


@pytest.mark.parametrize(
    "change",
    [{"SessionId": "unknown"}, {"ClientId": "other"}, {"OfficeSiteId": "other"}, {"EndUserId": "bob"}],
)
def test_a_code_for_another_login_is_refused(emulator, change):
    emulator.set_users(alice=DEVICE, bob=DEVICE)
    assert refusal(verify(emulator, code(), **change)) == (400, "InvalidSessionId")


def test_a_code_needs_no_user(emulator):
    emulator.set_users(alice=DEVICE)
    body = verify(emulator, code(), EndUserId=None).body
    assert emulator.exchange(body["LoginToken"]).status == 200
    assert emulator.logins()["users"]["alice"]["completed"] == 1


def test_a_login_that_takes_over_15_minutes_is_refused(emulator):
    emulator.set_users(alice=DEVICE)
    session_id = emulator.log_in(Password=PASSWORD).body["SessionId"]
    emulator.advance(901)
    reply = emulator.log_in("MFAVerify", SessionId=session_id, AuthenticationCode=code(30))
    assert refusal(reply) == (400, "InvalidSessionId")


def test_a_completed_login_cannot_be_completed_again(emulator):
    emulator.set_users(alice=DEVICE)
    session_id = emulator.log_in(Password=PASSWORD).body["SessionId"]
    first = emulator.log_in("MFAVerify", SessionId=session_id, AuthenticationCode=code())
    second = emulator.log_in("MFAVerify", SessionId=session_id, AuthenticationCode=code(1))
    assert first.status == 200 and refusal(second) == (400, "InvalidSessionId")


def test_replacing_a_user_ends_unfinished_logins(emulator):
    emulator.set_users(alice=DEVICE)
    session_id = emulator.log_in(Password=PASSWORD).body["SessionId"]
    emulator.set_users(alice=DEVICE)
    reply = emulator.log_in("MFAVerify", SessionId=session_id, AuthenticationCode=code())
    assert refusal(reply) == (400, "InvalidSessionId")


@pytest.mark.parametrize(
    ("field", "stage", "described"),
    [
        ({"mfa_bind": True}, "MFABind", {"Secret", "QrCodePng"}),
        ({"risk": True}, "TokenVerify", {"RiskVerifyInfo"}),
        ({"change_password": True}, "ChangePassword", {"PasswordStrategy"}),
        ({"stage": "SomeStage"}, "SomeStage", set()),
    ],
)
def test_a_stage_that_needs_a_person_follows_the_others(start_emulator, profile, field, stage, described):
    emulator = start_emulator("--profile", profile)
    emulator.set_users(alice={"password": PASSWORD, **field})
    body = emulator.log_in(Password=PASSWORD).body
    assert body["NextStage"] == stage and body["SessionId"] and not body.get("LoginToken")
    assert {name for name in FIELDS if body.get(name)} == {"NextStage", "SessionId", *described}
    if stage != "MFABind":
        emulator.set_users(alice={**DEVICE, **field})
        assert verify(emulator, code()).body["NextStage"] == stage
    assert emulator.logins()["completed"] == emulator.logins()["refused"] == 0


@pytest.mark.parametrize(
    ("asked", "is_issued"),
    [("true", True), ("True", True), ("TRUE", True), ("false", False), ("1", False), ("", False), (None, False)],
)
def test_a_keep_alive_token_is_issued_only_on_request(emulator, asked, is_issued):
    emulator.set_users(alice=PASSWORD)
    body = emulator.log_in(Password=PASSWORD, KeepAlive=asked).body
    assert ("KeepAliveToken" in body) is is_issued
    assert not is_issued or re.fullmatch("k1[0-9a-f]{128}", body["KeepAliveToken"])


def test_a_request_for_a_keep_alive_token_is_remembered_unless_strict(start_emulator, profile):
    emulator = start_emulator("--profile", profile)
    emulator.set_users(alice=DEVICE)
    session_id = emulator.log_in(Password=PASSWORD, KeepAlive="true").body["SessionId"]
    body = emulator.log_in("MFAVerify", SessionId=session_id, AuthenticationCode=code()).body
    assert bool(body.get("KeepAliveToken")) is (profile != "strict")
    assert verify(emulator, code(1), KeepAlive="true").body["KeepAliveToken"]


def test_a_user_can_be_denied_keep_alive_tokens(start_emulator, profile):
    emulator = start_emulator("--profile", profile)
    token = first_keep_alive_token(emulator)
    emulator.set_users(alice={"password": PASSWORD, "keep_alive": False})
    bodies = [emulator.log_in(Password=PASSWORD, KeepAlive="true").body, keep_alive(emulator, token).body]
    expected = {"captured": "", "strict": "absent", "lenient": None}[profile]
    assert [body.get("KeepAliveToken", "absent") for body in bodies] == [expected, expected]
    assert bodies[1]["LoginToken"]


def test_a_keep_alive_token_takes_the_place_of_password_and_code(start_emulator, profile):
    emulator = start_emulator("--profile", profile)
    emulator.set_users(alice=DEVICE)
    token = verify(emulator, code(), KeepAlive="true").body["KeepAliveToken"]
    body = emulator.log_in("KeepAliveVerify", KeepAliveToken=token, EndUserId=None).body
    assert not body.get("KeepAliveToken")
    assert emulator.exchange(body["LoginToken"], SessionId=body["SessionId"]).status == 200
    assert emulator.log_in("KeepAliveVerify", KeepAliveToken=token).status == 200


def test_a_keep_alive_token_rotates_in_the_profile_strict(start_emulator):
    emulator = start_emulator("--profile=strict")
    first = first_keep_alive_token(emulator)
    second = keep_alive(emulator, first).body["KeepAliveToken"]
    assert refusal(keep_alive(emulator, first)) == (400, "InvalidKeepAliveToken")
    assert keep_alive(emulator, second).status == 200


def test_the_old_keep_alive_token_stays_valid_in_the_profile_captured(emulator):
    first = first_keep_alive_token(emulator)
    second = keep_alive(emulator, first).body["KeepAliveToken"]
    assert second != first
    assert keep_alive(emulator, first).status == keep_alive(emulator, second).status == 200


def test_a_keep_alive_token_is_renewed_in_the_profile_lenient(start_emulator):
    emulator = start_emulator("--profile=lenient")
    token = first_keep_alive_token(emulator)
    for _week in range(4):
        emulator.advance(7 * 86400)
        assert keep_alive(emulator, token).body["KeepAliveToken"] == token
    emulator.advance(7 * 86400)
    assert keep_alive(emulator, token, KeepAlive=None).body["KeepAliveToken"] is None
    emulator.advance(4 * 86400)
    assert refusal(keep_alive(emulator, token)) == (400, "InvalidKeepAliveToken")


@pytest.mark.parametrize(("arguments", "days"), [([], 10), (["--keep-alive-lifetime=86400"], 1)])
def test_a_keep_alive_token_expires(start_emulator, arguments, days):
    emulator = start_emulator(*arguments)
    token = first_keep_alive_token(emulator)
    emulator.advance(days * 86400 - 60)
    assert emulator.log_in("KeepAliveVerify", KeepAliveToken=token).status == 200
    emulator.advance(61)
    assert refusal(keep_alive(emulator, token)) == (400, "InvalidKeepAliveToken")


@pytest.mark.parametrize("name", ["EndUserId", "OfficeSiteId", "ClientId"])
def test_a_keep_alive_token_is_bound_to_user_site_and_client(start_emulator, profile, name):
    emulator = start_emulator("--profile", profile)
    emulator.set_users(bob=PASSWORD)
    reply = keep_alive(emulator, first_keep_alive_token(emulator), **{name: "bob"})
    is_accepted = name == "ClientId" and profile == "lenient"
    assert reply.status == 200 if is_accepted else refusal(reply) == (400, "InvalidKeepAliveToken")


@pytest.mark.parametrize("token", ["unknown", None])
def test_a_password_login_ignores_a_keep_alive_token(start_emulator, profile, token):
    emulator = start_emulator("--profile", profile)
    used = first_keep_alive_token(emulator)
    body = emulator.log_in(Password=PASSWORD, KeepAlive="true", KeepAliveToken=token or used).body
    assert body["KeepAliveToken"] not in ("unknown", used)
    assert keep_alive(emulator, used).status == 200


@pytest.mark.parametrize("control", ["users", "keep_alive_tokens"])
def test_keep_alive_tokens_can_be_invalidated(emulator, control):
    token = first_keep_alive_token(emulator)
    emulator.control("DELETE", control)
    assert refusal(keep_alive(emulator, token)) == (400, "InvalidKeepAliveToken")


def test_a_keep_alive_token_survives_a_new_password(emulator):
    token = first_keep_alive_token(emulator)
    emulator.set_users(alice="another password")
    assert keep_alive(emulator, token).status == 200


def lock(emulator: Any, **options: Any) -> Any:
    """Lock Alice by a wrong password, and return the next response."""
    emulator.set_options(lock_after=1, **options)
    emulator.set_users(alice=DEVICE)
    emulator.log_in(Password="wrong")
    return emulator.log_in(Password=PASSWORD)


def test_a_user_is_locked_after_five_wrong_passwords(emulator):
    emulator.set_users(alice=PASSWORD, bob=PASSWORD)
    assert [emulator.log_in(Password="wrong").status for _login in range(5)] == [400] * 5
    assert emulator.log_in(Password=PASSWORD).body["RiskVerifyInfo"]["Locked"] == "true"
    assert emulator.log_in(EndUserId="bob", Password=PASSWORD).status == 200
    users = emulator.control("GET", "users")
    assert (users["alice"]["locked"], users["alice"]["failures"], users["bob"]["locked"]) == (True, 5, False)


def test_wrong_passwords_and_codes_count_together(start_emulator):
    emulator = start_emulator("--lock-after=4", "--locked-answer=error")
    emulator.set_users(alice=DEVICE)
    used = code()
    verify(emulator, used)
    replies = [emulator.log_in(Password="wrong"), verify(emulator, "000000"), verify(emulator, used)]
    replies += [emulator.log_in(Password="wrong"), emulator.log_in(Password=PASSWORD)]
    assert [reply.body["Code"] for reply in replies] == [
        *("InvalidPassword", "InvalidAuthenticationCode", "InvalidAuthenticationCode", "InvalidPassword", "UserLocked"),
    ]


def test_a_completed_login_resets_the_failures(emulator):
    emulator.set_users(alice=PASSWORD)
    for _round in range(3):
        for _failure in range(4):
            emulator.log_in(Password="wrong")
        assert emulator.log_in(Password=PASSWORD).body["LoginToken"]


def test_a_keep_alive_token_does_not_reset_the_failures(emulator):
    token = first_keep_alive_token(emulator)
    for _failure in range(5):
        emulator.log_in(Password="wrong")
        if not emulator.control("GET", "users")["alice"]["locked"]:
            assert emulator.log_in("KeepAliveVerify", KeepAliveToken=token).body["LoginToken"]
    assert emulator.control("GET", "users")["alice"]["locked"]


def test_a_right_password_alone_does_not_reset_the_failures(emulator):
    emulator.set_options(locked_answer="error")
    emulator.set_users(alice=DEVICE)
    for _failure in range(5):
        verify(emulator, "000000")
    assert refusal(emulator.log_in(Password=PASSWORD)) == (400, "UserLocked")


@pytest.mark.parametrize(("answer", "status"), [("error", 400), ("code", 200)])
def test_a_locked_user_gets_the_chosen_error(emulator, answer, status):
    assert refusal(lock(emulator, locked_answer=answer)) == (status, "UserLocked")


def test_a_locked_user_gets_no_error_by_default(start_emulator, profile):
    emulator = start_emulator("--profile", profile)
    reply = lock(emulator, lock_duration=1800)
    assert reply.status == 200 and "Code" not in reply.body and not reply.body.get("LoginToken")
    assert reply.body["RiskVerifyInfo"] == {"Locked": "true", "LastLockDuration": 1800}
    assert emulator.logins()["refused"] == 2


def test_a_lock_ends_after_its_duration(emulator):
    lock(emulator, lock_duration=1800)
    emulator.advance(1790)
    assert not emulator.log_in(Password=PASSWORD).body["NextStage"]
    emulator.advance(11)
    assert emulator.log_in(Password=PASSWORD).body["NextStage"] == "MFAVerify"
    assert emulator.control("GET", "users")["alice"]["failures"] == 0


def test_a_lock_without_a_duration_does_not_end(emulator):
    lock(emulator, locked_answer="error")
    emulator.advance(100_000_000)
    assert refusal(emulator.log_in(Password=PASSWORD)) == (400, "UserLocked")


def test_a_user_can_be_unlocked(emulator):
    lock(emulator)
    emulator.control("DELETE", "locks")
    assert emulator.log_in(Password=PASSWORD).body["NextStage"] == "MFAVerify"


def test_a_new_password_unlocks_a_user(emulator):
    lock(emulator)
    emulator.set_users(alice="another password")
    assert emulator.log_in(Password="another password").body["LoginToken"]


def test_locks_can_be_turned_off(emulator):
    emulator.set_options(lock_after=0)
    emulator.set_users(alice=PASSWORD)
    for _failure in range(10):
        emulator.log_in(Password="wrong")
    assert emulator.log_in(Password=PASSWORD).body["LoginToken"]


def test_a_locked_user_cannot_log_in_with_a_code_or_a_keep_alive_token(emulator):
    token = first_keep_alive_token(emulator)
    emulator.set_options(lock_after=1, locked_answer="error")
    emulator.set_users(alice=DEVICE)
    session_id = emulator.log_in(Password=PASSWORD).body["SessionId"]
    emulator.log_in(Password="wrong")
    assert refusal(keep_alive(emulator, token)) == (400, "UserLocked")
    reply = emulator.log_in("MFAVerify", SessionId=session_id, AuthenticationCode=code())
    assert refusal(reply) == (400, "UserLocked")


def test_a_locked_user_can_refresh_tokens(emulator):
    emulator.set_users(alice=PASSWORD)
    token = emulator.log_in(Password=PASSWORD).body["LoginToken"]
    for _failure in range(6):
        emulator.log_in(Password="wrong")
    assert emulator.exchange(token).status == 200


def test_logins_are_unsigned_even_if_refreshes_must_be_signed(start_emulator):
    emulator = start_emulator("--anonymous=deny")
    emulator.set_users(alice=PASSWORD)
    token = emulator.log_in(Password=PASSWORD).body["LoginToken"]
    assert refusal(emulator.exchange(token)) == (400, "IncompleteSignature")


def test_the_signature_of_a_signed_login_is_verified(emulator):
    emulator.set_users(alice=PASSWORD)
    assert refusal(emulator.log_in(Password=PASSWORD, AccessKeyId="x")) == (400, "IncompleteSignature")
    assert emulator.logins()["signed"] == 1


def test_logins_count_for_the_rate_limit(start_emulator):
    emulator = start_emulator("--qps=1")
    emulator.set_users(alice=PASSWORD)
    assert [emulator.log_in(Password=PASSWORD).status for _login in range(2)] == [200, 429]
    assert (emulator.logins()["calls"]["ADPassword"], emulator.logins()["refused"]) == (2, 0)


def test_parameters_of_a_login_can_be_in_a_form(emulator):
    emulator.set_users(alice=PASSWORD)
    login = {**emulator.parameters(""), "Action": "GetLoginToken", "CurrentStage": "ADPassword", "Password": PASSWORD}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert emulator.send("POST", "/", urlencode(login), **form).body["LoginToken"]
    assert emulator.logins()["with_body"] == 1
