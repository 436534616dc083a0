# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test which requests the emulator accepts and refuses."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import re
import socket
import time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode

import pytest

REQUIRED = ("RegionId", "ClientId", "OfficeSiteId", "EndUserId", "LoginToken")


def exchange_signed_v1(emulator: Any, **changes: str | None) -> Any:
    """Exchange a token, signed with V1; arguments override parameters before signing."""
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


def exchange_signed_v3(emulator: Any, **changes: str | None) -> Any:
    """Exchange a token, signed with V3; arguments override headers before signing, None removes them."""
    headers = {
        "host": emulator.host,
        "x-acs-action": "RefreshLoginToken",
        "x-acs-version": "2020-10-02",
        "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "x-acs-signature-nonce": "a nonce",
        "x-acs-content-sha256": hashlib.sha256(b"").hexdigest(),
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    sent = {name: value for name, value in sorted(headers.items()) if value is not None}
    query = urlencode(sorted(emulator.parameters(emulator.issue()).items()), quote_via=quote, safe="~")
    lines, names = "".join(f"{name}:{value}\n" for name, value in sent.items()), ";".join(sent)
    canonical = f"POST\n/\n{query}\n{lines}\n{names}\n{hashlib.sha256(b'').hexdigest()}"
    to_sign = f"ACS3-HMAC-SHA256\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(emulator.keys["access_key_secret"].encode(), to_sign.encode(), hashlib.sha256).hexdigest()
    key = f"ACS3-HMAC-SHA256 Credential={emulator.keys['access_key_id']},SignedHeaders={names},Signature={signature}"
    return emulator.send("POST", f"/?{query}", authorization=key, **sent)


def test_a_success_has_a_request_id_and_a_token(emulator):
    reply = emulator.exchange(emulator.issue())
    assert reply.status == 200
    assert re.fullmatch("[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", reply.body["RequestId"])
    assert re.fullmatch("v1[0-9a-f]{128}", reply.body["LoginToken"])


def test_an_error_has_the_fields_of_the_service(emulator):
    reply = emulator.exchange("unknown")
    assert set(reply.body) == {"RequestId", "HostId", "Code", "Message", "Recommend"}


def test_a_token_can_be_exchanged_again_without_rotation(emulator):
    token = emulator.issue()
    assert [emulator.exchange(token).status for _request in range(2)] == [200, 200]


def test_a_rotated_token_is_refused(start_emulator):
    emulator = start_emulator("--rotate")
    token = emulator.issue()
    emulator.exchange(token)
    reply = emulator.exchange(token)
    assert (reply.status, reply.body["Code"]) == (400, "InvalidLoginToken")


def test_the_token_after_a_rotation_is_valid(start_emulator):
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


@pytest.mark.parametrize(("option", "name"), [("directory_id", "DirectoryId"), ("session_id", "SessionId")])
def test_a_given_optional_field_is_part_of_the_identity(emulator, option, name):
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
    assert emulator.exchange(emulator.issue(), Version="2020-10-01").body["Code"] == "InvalidVersion"


def test_another_path_is_not_found(emulator):
    target = f"/other?{urlencode(emulator.parameters(emulator.issue()))}"
    assert emulator.send("POST", target).body["Code"] == "InvalidAction.NotFound"


def test_a_get_request_works_like_a_post_request(emulator):
    assert emulator.send("GET", f"/?{urlencode(emulator.parameters(emulator.issue()))}").status == 200


def test_parameters_can_be_in_a_form(emulator):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert emulator.send("POST", "/", urlencode(emulator.parameters(emulator.issue())), **form).status == 200


def test_anonymous_callers_can_be_denied(start_emulator):
    emulator = start_emulator("--anonymous", "deny")
    reply = emulator.exchange(emulator.issue())
    assert (reply.status, reply.body["Code"]) == (400, "IncompleteSignature")
    assert exchange_signed_v1(emulator).status == 200


@pytest.mark.parametrize("name", ["AccessKeyId", "SignatureMethod", "SignatureVersion", "SignatureNonce", "Timestamp"])
def test_a_v1_signature_without_one_of_its_fields_is_incomplete(emulator, name):
    assert exchange_signed_v1(emulator, **{name: None}).body["Code"] == "IncompleteSignature"


def test_a_v3_signature_covers_the_required_headers(emulator):
    assert exchange_signed_v3(emulator).status == 200
    for name in ("x_acs_action", "x_acs_version", "x_acs_date", "x_acs_signature_nonce", "x_acs_content_sha256"):
        assert exchange_signed_v3(emulator, **{name: None}).body["Code"] == "IncompleteSignature"


def test_the_hash_of_the_body_must_be_right_in_a_v3_signature(emulator):
    reply = exchange_signed_v3(emulator, x_acs_content_sha256="0" * 64)
    assert reply.body["Code"] == "SignatureDoesNotMatch"


def test_credentials_of_another_scheme_are_refused(emulator):
    target = f"/?{urlencode(emulator.parameters(emulator.issue()))}"
    reply = emulator.send("POST", target, Authorization="Basic YWxpY2U6c2VjcmV0")
    assert reply.body["Code"] == "IncompleteSignature"


def test_a_security_token_for_a_key_without_one_is_refused(emulator):
    reply = exchange_signed_v1(emulator, SecurityToken=emulator.facts["sts"]["security_token"])
    assert reply.body["Code"] == "InvalidSecurityToken.MismatchWithAccessKey"


def test_a_time_stamp_of_another_format_is_refused(emulator):
    assert exchange_signed_v1(emulator, Timestamp="now").body["Code"] == "InvalidTimeStamp.Format"


def test_a_used_nonce_is_refused(emulator):
    assert exchange_signed_v1(emulator).status == 200
    assert exchange_signed_v1(emulator).body["Code"] == "SignatureNonceUsed"


def test_a_refused_signature_does_not_use_up_its_nonce(emulator):
    emulator.queue_fault("skew", seconds=3600)
    assert exchange_signed_v1(emulator).body["Code"] == "InvalidTimeStamp.Expired"
    emulator.control("DELETE", "faults")
    assert exchange_signed_v1(emulator).status == 200


def test_time_stamps_follow_the_clock_of_the_emulator(emulator):
    emulator.advance(890)
    assert exchange_signed_v1(emulator).status == 200
    emulator.advance(20)
    assert exchange_signed_v1(emulator).body["Code"] == "InvalidTimeStamp.Expired"
    ahead = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 910))
    assert exchange_signed_v1(emulator, Timestamp=ahead, SignatureNonce="another").status == 200


def test_the_date_header_shows_the_clock_of_the_service(emulator):
    emulator.queue_fault("skew", seconds=-7200)
    date = parsedate_to_datetime(emulator.exchange(emulator.issue()).headers["date"])
    behind = datetime.datetime.now(datetime.timezone.utc) - date
    assert 7195 < behind.total_seconds() < 7205


def test_requests_over_the_rate_limit_get_a_retry_after(start_emulator):
    emulator = start_emulator("--qps", "2")
    token = emulator.issue()
    replies = [emulator.exchange(token) for _request in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 429, 429]
    assert replies[3].body["Code"] == "Throttling.User"
    assert 0 < int(replies[3].headers["x-acs-retry-after"]) <= 500


def test_a_tiny_rate_limit_asks_for_a_day_at_most(start_emulator):
    emulator = start_emulator("--qps", "5e-324")
    token = emulator.issue()
    assert [emulator.exchange(token).status, emulator.exchange(token).headers["x-acs-retry-after"]] == [200, "86400000"]


def test_a_throttled_request_succeeds_after_the_retry_after(start_emulator):
    emulator = start_emulator("--qps", "5")
    token = emulator.issue()
    while (reply := emulator.exchange(token)).status == 200:
        pass
    time.sleep(int(reply.headers["x-acs-retry-after"]) / 1000)
    assert emulator.exchange(token).status == 200


def test_one_connection_carries_many_requests(emulator):
    connection, token = emulator.connect(), emulator.issue()
    target = f"/?{urlencode(emulator.parameters(token))}"
    for _request in range(3):
        connection.request("POST", target)
        response = connection.getresponse()
        response.read()
        assert (response.status, response.will_close) == (200, False)
    connection.close()


def raw_reply(emulator: Any, data: bytes) -> bytes:
    """Return the start of the response to some bytes."""
    with socket.create_connection(emulator.host.split(":"), timeout=10) as connection:
        connection.sendall(data)
        return connection.recv(1000)


CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
        (CHUNKED + b"-1\r\n", 400),
        (CHUNKED + b"0x1\r\n", 400),
        (CHUNKED + b"1_0\r\n", 400),
        (CHUNKED + b"\r\n", 400),
        (CHUNKED + b"1\r\nab\r\n", 400),
        (CHUNKED + b"0\r\nTrailer: x\r\n", 400),
        (CHUNKED + b"fffffffff\r\n", 413),
        (CHUNKED + b"10000\r\n" + b"x" * 0x10000 + b"\r\n10000\r\n" + b"x" * 0x10000 + b"\r\n1\r\n", 413),
        (CHUNKED + b"1\r\nx\r\n" * 70_000, 413),
        (CHUNKED + b"1" * 70_000, 431),
        (b"nonsense\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET /" + b"a" * 65_000 + b"\r\n\r\n", 400),
        (b"GET /" + b"?" * 65_000 + b"\r\n\r\n", 400),
        (b"G" * 17 + b" / HTTP/1.1\r\n\r\n", 400),
        (b"GET /?" + b"a&" * 300 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    ],
    ids=lambda value: value if isinstance(value, int) else value[:70].decode(),
)
def test_a_malformed_request_is_refused(emulator, data, status):
    start = time.monotonic()
    assert raw_reply(emulator, data).startswith(f"HTTP/1.1 {status} ".encode())
    assert time.monotonic() - start < 3


def test_a_form_may_arrive_in_chunks_with_extensions(emulator):
    form = urlencode(emulator.parameters(emulator.issue())).encode()
    head = f"POST / HTTP/1.1\r\nhost: {emulator.host}\r\nTRANSFER-ENCODING: Chunked\r\n"
    head += "content-TYPE: Application/X-WWW-Form-Urlencoded; charset=UTF-8\r\n\r\n"
    chunks = f"{5:X};name=value\r\n".encode() + form[:5] + f"\r\n{len(form) - 5:x}\r\n".encode() + form[5:] + b"\r\n"
    assert raw_reply(emulator, head.encode() + chunks + b"0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_a_client_that_waits_for_100_continue_is_told_to_send(emulator):
    form = urlencode(emulator.parameters(emulator.issue())).encode()
    head = f"POST / HTTP/1.1\r\nHost: {emulator.host}\r\nExpect: 100-continue\r\nContent-Length: {len(form)}\r\n"
    with socket.create_connection(emulator.host.split(":"), timeout=10) as connection:
        connection.sendall(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode())
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(form)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_refreshed_tokens_keep_the_identity_of_the_session(start_emulator):
    emulator = start_emulator("--rotate")
    token = emulator.issue()
    for _exchange in range(5):
        token = emulator.exchange(token).body["LoginToken"]
    assert emulator.exchange(token, EndUserId="bob").status == 400
