# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the emulator grants and refuses, as the service does."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import re
import time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode

import pytest

REQUIRED = ("RegionId", "ClientId", "OfficeSiteId", "EndUserId", "LoginToken")


def v1_signed(emulator: Any, **changes: str | None) -> Any:
    """Send an exchange that is signed V1, signing whatever the arguments made of it."""
    parameters = {
        **emulator.parameters(emulator.issue()),
        "AccessKeyId": emulator.keys["access_key_id"],
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "SignatureNonce": "a nonce",
        "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **changes,
    }
    parameters = {name: value for name, value in parameters.items() if value is not None}
    query = urlencode(sorted(parameters.items()), quote_via=quote, safe="~")
    text = f"GET&%2F&{quote(query, safe='~')}".encode()
    secret = f"{emulator.keys['access_key_secret']}&".encode()
    signature = base64.b64encode(hmac.new(secret, text, hashlib.sha1).digest()).decode()
    return emulator.send("GET", f"/?{query}&Signature={quote(signature)}")


def test_a_success_has_a_request_id_and_a_token_of_the_service_s_look(emulator):
    reply = emulator.exchange(emulator.issue())
    assert reply.status == 200
    assert re.fullmatch("[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", reply.body["RequestId"])
    assert re.fullmatch("v1[0-9a-f]{128}", reply.body["LoginToken"])


def test_an_error_has_the_shape_of_the_service_s(emulator):
    reply = emulator.exchange("unknown")
    assert set(reply.body) == {"RequestId", "HostId", "Code", "Message", "Recommend"}


def test_a_token_can_be_exchanged_again_without_rotation(emulator):
    token = emulator.issue()
    assert [emulator.exchange(token).status for _attempt in range(2)] == [200, 200]


def test_a_rotated_token_is_refused(start_emulator):
    emulator = start_emulator("--rotate")
    token = emulator.issue()
    emulator.exchange(token)
    reply = emulator.exchange(token)
    assert (reply.status, reply.body["Code"]) == (400, "InvalidLoginToken")


def test_the_token_that_a_rotation_gave_is_good(start_emulator):
    emulator = start_emulator("--rotate")
    token = emulator.exchange(emulator.issue()).body["LoginToken"]
    assert emulator.exchange(token).status == 200


def test_an_expired_token_is_refused(start_emulator):
    emulator = start_emulator("--validity", "0.1")
    token = emulator.issue()
    time.sleep(0.2)
    assert emulator.exchange(token).body["Code"] == "InvalidLoginToken"


def test_an_unknown_token_is_refused(emulator):
    assert emulator.exchange("v1unknown").body["Code"] == "InvalidLoginToken"


@pytest.mark.parametrize("name", ["RegionId", "ClientId", "OfficeSiteId", "EndUserId"])
def test_a_token_of_another_session_is_refused(emulator, name):
    reply = emulator.exchange(emulator.issue(), **{name: "another"})
    assert reply.body["Code"] == "InvalidLoginToken"


@pytest.mark.parametrize(
    ("option", "name"), [("directory_id", "DirectoryId"), ("session_id", "SessionId")]
)
def test_an_optional_part_of_the_identity_counts_where_it_was_given(emulator, option, name):
    token = emulator.issue(**{option: "one"})
    assert emulator.exchange(token).status == 400
    assert emulator.exchange(token, **{name: "another"}).status == 400
    assert emulator.exchange(token, **{name: "one"}).status == 200


def test_a_refused_exchange_does_not_spend_the_token(start_emulator):
    emulator = start_emulator("--rotate")
    token = emulator.issue()
    emulator.exchange(token, EndUserId="another")
    assert emulator.exchange(token).status == 200


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_parameter_is_named(emulator, name, value):
    reply = emulator.exchange(emulator.issue(), **{name: value})
    assert (reply.status, reply.body["Code"]) == (400, f"Missing{name}")


@pytest.mark.parametrize("action", ["RefreshLogintoken", "", None])
def test_another_action_is_not_found(emulator, action):
    reply = emulator.exchange(emulator.issue(), Action=action)
    assert (reply.status, reply.body["Code"]) == (404, "InvalidAction.NotFound")


def test_another_version_is_refused(emulator):
    assert (
        emulator.exchange(emulator.issue(), Version="2020-10-01").body["Code"] == "InvalidVersion"
    )


def test_another_path_is_not_found(emulator):
    target = f"/other?{urlencode(emulator.parameters(emulator.issue()))}"
    assert emulator.send("POST", target).body["Code"] == "InvalidAction.NotFound"


def test_a_get_is_as_good_as_a_post(emulator):
    assert (
        emulator.send("GET", f"/?{urlencode(emulator.parameters(emulator.issue()))}").status == 200
    )


def test_parameters_may_come_in_a_form(emulator):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (
        emulator.send("POST", "/", urlencode(emulator.parameters(emulator.issue())), **form).status
        == 200
    )


def test_anonymous_callers_can_be_denied(start_emulator):
    emulator = start_emulator("--anonymous", "deny")
    reply = emulator.exchange(emulator.issue())
    assert (reply.status, reply.body["Code"]) == (400, "IncompleteSignature")
    assert v1_signed(emulator).status == 200


@pytest.mark.parametrize(
    "name", ["AccessKeyId", "SignatureMethod", "SignatureVersion", "SignatureNonce", "Timestamp"]
)
def test_a_v1_signature_without_one_of_its_fields_is_incomplete(emulator, name):
    assert v1_signed(emulator, **{name: None}).body["Code"] == "IncompleteSignature"


def test_credentials_of_another_scheme_are_refused(emulator):
    target = f"/?{urlencode(emulator.parameters(emulator.issue()))}"
    reply = emulator.send("POST", target, Authorization="Basic YWxpY2U6c2VjcmV0")
    assert reply.body["Code"] == "IncompleteSignature"


def test_a_security_token_with_a_key_that_has_none_is_refused(emulator):
    reply = v1_signed(emulator, SecurityToken=emulator.facts["sts"]["security_token"])
    assert reply.body["Code"] == "InvalidSecurityToken.MismatchWithAccessKey"


def test_a_time_stamp_of_another_format_is_refused(emulator):
    assert v1_signed(emulator, Timestamp="now").body["Code"] == "InvalidTimeStamp.Format"


def test_a_used_nonce_is_refused(emulator):
    assert v1_signed(emulator).status == 200
    assert v1_signed(emulator).body["Code"] == "SignatureNonceUsed"


def test_a_refused_signature_does_not_use_its_nonce_up(emulator):
    emulator.misbehave("skew", seconds=3600)
    assert v1_signed(emulator).body["Code"] == "InvalidTimeStamp.Expired"
    emulator.control("DELETE", "faults")
    assert v1_signed(emulator).status == 200


def test_the_date_of_an_answer_is_the_service_s_clock(emulator):
    emulator.misbehave("skew", seconds=-7200)
    date = parsedate_to_datetime(emulator.exchange(emulator.issue()).headers["date"])
    behind = datetime.datetime.now(datetime.timezone.utc) - date
    assert 7195 < behind.total_seconds() < 7205


def test_more_requests_than_the_limit_are_throttled_and_told_when_to_come_back(start_emulator):
    emulator = start_emulator("--qps", "2")
    token = emulator.issue()
    replies = [emulator.exchange(token) for _attempt in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 429, 429]
    assert replies[3].body["Code"] == "Throttling.User"
    assert 0 < int(replies[3].headers["x-acs-retry-after"]) <= 500


def test_a_throttled_request_is_served_when_it_comes_back_as_told(start_emulator):
    emulator = start_emulator("--qps", "5")
    token = emulator.issue()
    while (reply := emulator.exchange(token)).status == 200:
        pass
    time.sleep(int(reply.headers["x-acs-retry-after"]) / 1000)
    assert emulator.exchange(token).status == 200


def test_many_requests_go_over_one_connection(emulator):
    connection, token = emulator.connect(), emulator.issue()
    target = f"/?{urlencode(emulator.parameters(token))}"
    for _attempt in range(3):
        connection.request("POST", target)
        response = connection.getresponse()
        response.read()
        assert (response.status, response.will_close) == (200, False)
    connection.close()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked", 411),
        ("POST / HTTP/1.1\r\nContent-Length: 1048577", 413),
        ("POST / HTTP/1.1\r\nContent-Length: -1", 400),
        ("nonsense", 400),
        ("GET / HTTP/1.1\r\nX: " + "x" * 70_000, 431),
    ],
)
def test_what_cannot_be_read_is_refused(emulator, head, status):
    connection = emulator.connect()
    connection.connect()
    connection.sock.sendall(f"{head}\r\n\r\n".encode())
    assert connection.sock.recv(100).startswith(f"HTTP/1.1 {status} ".encode())
    connection.close()


def test_a_session_keeps_its_identity_along_the_chain(start_emulator):
    emulator = start_emulator("--rotate")
    token = emulator.issue()
    for _exchange in range(5):
        token = emulator.exchange(token).body["LoginToken"]
    assert emulator.exchange(token, EndUserId="bob").status == 400
