# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Log in to the emulator with the official Python SDK, through every stage and in every profile."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from alibabacloud_ecd20201002 import models
from alibabacloud_ecd20201002.client import Client as EcdClient
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.utils_models import Config
from emulator_logins import totp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PASSWORD = "pa55+word %2B ü"
TOTP_SECRET = "JBSWY3DPEHPK3PXP"


@pytest.fixture(params=["captured", "strict", "lenient"], name="profile")
def fixture_profile(request: Any) -> Any:
    """Return the name of each profile."""
    return request.param


def client_of(emulator: Any, **config: str) -> EcdClient:
    """Return an official client of an emulator."""
    return EcdClient(Config(protocol="http", endpoint=emulator.host, **config))


def log_in(emulator: Any, client: EcdClient, stage: str, **parameters: Any) -> Any:
    """Send a stage of a login for Alice, and return the body of the response."""
    login = {**emulator.alice, "current_stage": stage, **parameters}
    return client.get_login_token(models.GetLoginTokenRequest(**login)).body


def refresh(emulator: Any, client: EcdClient, token: str, session_id: str) -> Any:
    """Refresh a token of Alice, and return the next one."""
    parameters = {**emulator.alice, "login_token": token, "session_id": session_id}
    return client.refresh_login_token(models.RefreshLoginTokenRequest(**parameters)).body.login_token


def code(steps: int) -> str:
    """Return the code of Alice's device, some steps from now; wait if it is about to change."""
    if (left := 30 - time.time() % 30) < 3:
        time.sleep(left)
    return totp(base64.b32decode(TOTP_SECRET), int(time.time() // 30) + steps)


def test_a_password_login_and_two_refreshes(start_emulator, profile):
    emulator = start_emulator("--profile", profile, "--rotate")
    emulator.set_users(alice=PASSWORD)
    client = client_of(emulator)
    body = log_in(emulator, client, "ADPassword", password=PASSWORD)
    assert body.login_token and body.session_id and not body.next_stage and not body.keep_alive_token
    assert (body.end_user_id, body.tenant_id) == ("alice", 1234567890123456)
    second = refresh(emulator, client, body.login_token, body.session_id)
    assert refresh(emulator, client, second, body.session_id)


def test_password_code_keep_alive_token_and_refreshes(start_emulator, profile):
    emulator = start_emulator("--profile", profile, "--rotate")
    emulator.set_users(alice={"password": PASSWORD, "totp_secret": TOTP_SECRET})
    client = client_of(emulator)
    first = log_in(emulator, client, "ADPassword", password=PASSWORD, keep_alive=True)
    assert first.next_stage == "MFAVerify" and not first.login_token
    session_id, digits = first.session_id, code(0)
    answer = log_in(emulator, client, "MFAVerify", session_id=session_id, authentication_code=digits, keep_alive=True)
    assert not answer.next_stage
    assert refresh(emulator, client, answer.login_token, session_id)
    keep_alive_token = answer.keep_alive_token
    for _login in range(2):
        answer = log_in(emulator, client, "KeepAliveVerify", keep_alive_token=keep_alive_token, keep_alive=True)
        assert refresh(emulator, client, answer.login_token, answer.session_id)
        assert (answer.keep_alive_token == keep_alive_token) is (profile == "lenient")
        keep_alive_token = answer.keep_alive_token
    counts = emulator.logins()
    assert counts["calls"] == {"ADPassword": 1, "MFAVerify": 1, "KeepAliveVerify": 2, "other": 0}
    assert (counts["completed"], counts["refused"], counts["refreshes_with_wrong_session_id"]) == (3, 0, 0)


@pytest.mark.parametrize(
    ("field", "stage"), [("mfa_bind", "MFABind"), ("risk", "TokenVerify"), ("change_password", "ChangePassword")]
)
def test_stages_that_need_a_person(start_emulator, profile, field, stage):
    emulator = start_emulator("--profile", profile)
    emulator.set_users(alice={"password": PASSWORD, field: True})
    body = log_in(emulator, client_of(emulator), "ADPassword", password=PASSWORD)
    assert body.next_stage == stage and body.session_id and not body.login_token
    if stage == "MFABind":
        assert len(base64.b32decode(body.secret)) == 20
        assert base64.b64decode(body.qr_code_png).startswith(b"\x89PNG")
    elif stage == "TokenVerify":
        assert (body.risk_verify_info.locked, body.risk_verify_info.last_lock_duration) == ("false", 0)
    else:
        assert body.password_strategy.tenant_password_length == "10"


def test_refused_logins_raise_an_exception(emulator):
    emulator.set_users(alice=PASSWORD)
    for user, stage, field, expected in (
        ("alice", "ADPassword", "password", "InvalidPassword"),
        ("nobody", "ADPassword", "password", "EndUserNotFound"),
        ("alice", "KeepAliveVerify", "keep_alive_token", "InvalidKeepAliveToken"),
    ):
        with pytest.raises(ClientException) as caught:
            log_in(emulator, client_of(emulator), stage, end_user_id=user, **{field: "wrong"})
        assert (caught.value.code, caught.value.status_code) == (expected, 400)


def test_a_locked_user_gets_a_response_that_says_so(start_emulator, profile):
    emulator = start_emulator("--profile", profile, "--lock-after=1", "--lock-duration=600")
    emulator.set_users(alice=PASSWORD)
    emulator.log_in(Password="wrong")
    body = log_in(emulator, client_of(emulator), "ADPassword", password=PASSWORD)
    assert not body.login_token and not body.next_stage
    assert (body.risk_verify_info.locked, body.risk_verify_info.last_lock_duration) == ("true", 600)


@pytest.mark.parametrize("has_key", [True, False])
def test_the_sdk_sends_logins_unsigned_in_the_query(emulator, has_key):
    emulator.set_users(alice=PASSWORD)
    client = client_of(emulator, **(emulator.keys if has_key else {}))
    log_in(emulator, client, "ADPassword", password=PASSWORD, keep_alive=True)
    (entry,) = emulator.journal()["entries"]
    assert (entry["method"], entry["signature"], entry["with_body"]) == ("POST", "anonymous", False)
    assert entry["keep_alive"] == "True"
    counts = emulator.logins()
    assert (counts["signed"], counts["with_body"], counts["with_both_sites"]) == (0, 0, 0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=20))
def test_names_and_passwords_arrive_as_they_are(emulator, text):
    emulator.set_users(**{text: f"{text} "})
    login = {"end_user_id": text, "password": f"{text} "}
    body = log_in(emulator, client_of(emulator), "ADPassword", **login)
    assert body.end_user_id == text
