# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that browsers and other users cannot control the emulator, and that no request can harm it."""

from __future__ import annotations

import http.client
import json
import socket
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HUGE = "1" + "0" * 5000
NOT_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e300", "-1e300", HUGE, f"-{HUGE}", '"1"', "true", "[]", "{}"]
NOT_TEXTS = ["1", "1.5", "false", "[]", "{}", "[" * 900 + "]" * 900]
NOT_ASCII = ['"a\\r\\nX-Evil: 1"', '"a\\nb"', '"\\u0000"', '"\\u007f"', '"\\u00fc"', '"\\u4e2d"', '"\\ud800"', '""']
NEVER = {  # type of a field: JSON values that it must not accept
    "boolean": ["0", "1", "1.0", '"true"', "null", "[]", "{}"],
    "integer": [*NOT_NUMBERS, "1.5", "200.0"],
    "number": NOT_NUMBERS,
    "text with a length": NOT_TEXTS,
    "printable ASCII text with a length": [*NOT_TEXTS, *NOT_ASCII],
}
NULLABLE = {"count", "code", "retry_after", "operation", "stage", "end_user_id", "totp_secret"}
USER_FIELDS = {"password", "totp_secret", "mfa_bind", "risk", "change_password", "keep_alive"}
FIXED = {"fault", "operation", "profile", "locked_answer"}  # Their choices have no limits to test.


def assert_serves(emulator: Any) -> None:
    """Assert that the emulator still exchanges tokens, after all faults are deleted."""
    emulator.control("DELETE", "faults")
    assert emulator.exchange(emulator.issue()).status == 200


def control_of(emulator: Any, field: str) -> tuple[str, dict[str, Any]]:
    """Return a control and a body of it that may contain a field."""
    if field in emulator.alice or field in ("directory_id", "session_id"):
        return "tokens", emulator.alice
    if field in USER_FIELDS:
        return "users", {"password": "x"}
    if field == "advance":
        return "clock", {}
    if field in emulator.control("GET", "options"):
        return "options", {}
    faults = emulator.control("GET", "")["faults"]
    name = "skew" if field == "seconds of skew" else next((f for f in faults if field in faults[f]), "refuse")
    return "faults", {"fault": name}


def hostile_values(field: str, kind: str, low: float, high: float) -> list[str]:
    """Return values, as JSON, that a field must not accept."""
    values = NEVER[kind] + ([] if field in NULLABLE or kind == "boolean" else ["null"])
    if "text" in kind:
        return [*values, json.dumps("x" * (int(high) + 1))]
    return values if kind == "boolean" else [*values, str(low - 1), str(high + 1)]


def test_no_field_of_a_control_accepts_a_hostile_value(emulator):
    limits = emulator.control("GET", "")["limits"]
    for field, (kind, low, high) in limits.items():
        control, body = control_of(emulator, field)
        name = field.split()[0]
        for value in hostile_values(field, kind, low, high):
            item = {**body, name: "VALUE"}
            text = json.dumps({"alice": item} if control == "users" else item).replace('"VALUE"', value)
            reply = emulator.send("POST", f"{emulator.control_path}/{control}", text)
            assert (reply.status, list(reply.body)) == (400, ["error"]), (field, value[:50])
        assert_serves(emulator)
    emulator.process.terminate()
    assert emulator.process.communicate(timeout=10)[0] == ""


def test_each_field_has_a_limit(emulator):
    index = emulator.control("GET", "")
    parameters = {name for fault in index["faults"].values() for name in fault} | set(index["selectors"])
    fields = {*emulator.alice, "directory_id", "session_id", "fault", "count", *parameters}
    fields |= {*emulator.control("GET", "options"), *USER_FIELDS, "advance"}
    assert {field.split()[0] for field in index["limits"]} == fields


def test_requests_are_answered_at_the_limits_of_each_field(emulator):
    index = emulator.control("GET", "")
    token = emulator.issue(end_user_id="x" * 256)
    assert emulator.exchange(token, EndUserId="x" * 256).status == 200
    for name, defaults in index["faults"].items():
        for parameter, default in defaults.items():
            kind, *limits = index["limits"].get(f"{parameter} of {name}", index["limits"][parameter])
            if name in ("stall", "drip") or kind == "boolean" or parameter in FIXED:
                continue
            for limit in limits:
                value = "~" * int(limit) if "text" in kind else type(default or 0)(limit)
                emulator.queue_fault(name, **{parameter: value})
                emulator.exchange(token)
                assert_serves(emulator)


@pytest.mark.parametrize("seconds", [-315_360_000, 315_360_000])
def test_the_clock_can_be_ten_years_off(emulator, seconds):
    emulator.queue_fault("skew", seconds=seconds)
    date = parsedate_to_datetime(emulator.exchange(emulator.issue()).headers["date"])
    emulator.control("DELETE", "faults")
    now = parsedate_to_datetime(emulator.exchange(emulator.issue()).headers["date"])
    assert abs((date - now).total_seconds() - seconds) < 60


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_that_forbids_a_body_has_none(emulator, status):
    emulator.queue_fault("status", status=status)
    with socket.create_connection(emulator.host.split(":"), timeout=10) as connection:
        connection.sendall(f"GET / HTTP/1.0\r\nHost: {emulator.host}\r\n\r\n".encode())
        reply = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert reply.startswith(f"HTTP/1.1 {status} ".encode()) and reply.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("control", ["tokens", "faults", "users", "options", "clock"])
@pytest.mark.parametrize(
    "body",
    ["[" * 100_000, '{"fault":' * 100_000, "[" * 100_000 + "]" * 100_000, HUGE, "\xff", "\x00", ""],
    ids=["lists", "objects", "closed lists", "number", "no UTF-8", "null byte", "empty"],
)
def test_a_body_that_is_not_an_object_is_refused(emulator, control, body):
    reply = emulator.send("POST", f"{emulator.control_path}/{control}", body)
    assert (reply.status, list(reply.body)) == (400, ["error"])
    assert_serves(emulator)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    control=st.sampled_from(["tokens", "faults", "users", "options"]),
    fields=st.dictionaries(
        st.sampled_from(
            [
                *("fault", "count", "seconds", "status", "code", "location", "end_user_id", "client_id", "x"),
                *("operation", "stage", "profile", "lock_after", "alice"),
            ]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["skew", "redirect"]),
            lambda children: st.lists(children) | st.dictionaries(st.text(), children),
        ),
    ),
)
def test_any_object_is_obeyed_or_refused(emulator, control, fields):
    if fields.get("fault") == "stall":
        del fields["fault"]
    reply = emulator.send("POST", f"{emulator.control_path}/{control}", json.dumps(fields))
    assert reply.status in (200, 400)
    emulator.send("POST", "/")
    assert_serves(emulator)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "http://localhost@evil.example"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Host": "localhost.evil.example"},
        {"Host": ""},
        {"Host": "127.0.0.1\tevil.example"},
    ],
)
def test_a_request_of_a_foreign_page_is_refused(emulator, headers):
    token = emulator.issue()
    for target in (f"{emulator.control_path}/journal", f"/?{urlencode(emulator.parameters(token))}"):
        for method in ("GET", "POST"):
            reply = emulator.send(method, target, **headers)
            assert (reply.status, list(reply.body)) == (403, ["error"])
    assert emulator.journal()["requests"] == 0


@pytest.mark.parametrize(
    "headers",
    [{"Host": "localhost:1"}, {"Host": "[::1]:8700"}, {"Host": "127.0.0.1"}, {"Origin": "http://localhost:3000"}],
)
def test_a_request_to_another_name_of_this_machine_is_served(emulator, headers):
    reply = emulator.send("POST", f"/?{urlencode(emulator.parameters(emulator.issue()))}", **headers)
    assert reply.status == 200
    assert emulator.send("GET", f"{emulator.control_path}/journal", **headers).body["requests"] == 1


def test_a_control_needs_the_key_of_this_emulator(start_emulator):
    emulator, other = start_emulator(), start_emulator()
    folder, key = emulator.control_path.rsplit("/", 1)
    for path in (folder, f"{folder}/", f"{folder}/{key[:-1]}", f"{folder}/{key.swapcase()}", other.control_path):
        for control in ("/journal", "/tokens", "/faults", "/users", "/logins", "/options", "/clock", "/locks", "/"):
            for method in ("GET", "POST", "DELETE"):
                reply = emulator.send(method, path + control, "{}")
                assert (reply.status, list(reply.body)) == (403, ["error"])
    assert len(key) >= 32


def test_only_the_newest_tokens_are_remembered(start_emulator):
    emulator = start_emulator(MAX_REMEMBERED=3)
    tokens = [item["login_token"] for item in emulator.control("POST", "tokens", [emulator.alice] * 4)]
    assert emulator.exchange(tokens[0]).status == 400
    assert emulator.exchange(tokens[3]).status == 200


def test_the_number_of_queued_faults_is_limited(start_emulator):
    emulator = start_emulator(MAX_FAULTS=3)
    emulator.control("POST", "faults", [{"fault": "refuse"}] * 2)
    reply = emulator.send("POST", f"{emulator.control_path}/faults", json.dumps([{"fault": "reset"}] * 2))
    assert reply.status == 400 and "At most 3" in reply.body["error"]
    assert emulator.control("POST", "faults", {"fault": "refuse"}) == {"queued": 3}


def test_the_journal_shortens_long_values(emulator):
    emulator.exchange("x" * 50_000, EndUserId="x" * 1000, ClientId="x" * 1000)
    (entry,) = emulator.journal()["entries"]
    assert entry["end_user_id"] == entry["client_id"] == "x" * 256
    assert len(json.dumps(entry)) < 1000


@pytest.mark.parametrize(
    ("target", "size"), [("/", (1 << 17) + 1), ("/_emulator/wrong/tokens", (1 << 17) + 1), ("/tokens", (1 << 22) + 1)]
)
def test_a_body_over_the_limit_is_refused_before_it_is_sent(emulator, target, size):
    target = target if target == "/" or "wrong" in target else emulator.control_path + target
    for header in (f"Content-Length: {size}", "Transfer-Encoding: chunked"):
        with socket.create_connection(emulator.host.split(":"), timeout=10) as connection:
            head = f"POST {target} HTTP/1.1\r\nHost: {emulator.host}\r\n{header}\r\n\r\n"
            connection.sendall(f"{head}{size:x}\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_sends_too_slowly_is_disconnected(start_emulator):
    emulator = start_emulator(CLIENT_TIMEOUT=0.3)
    for start in ("", "POST / HTTP/1.1\r\nHost: ", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", "POST"):
        with socket.create_connection(emulator.host.split(":"), timeout=10) as connection:
            connection.sendall(start.encode())
            assert connection.recv(100) == b""
    assert_serves(emulator)


def test_a_client_that_does_not_read_is_disconnected(start_emulator):
    emulator = start_emulator(CLIENT_TIMEOUT=0.3)
    emulator.queue_fault("oversized", bytes=1 << 24)
    with socket.create_connection(emulator.host.split(":"), timeout=10) as connection:
        target = f"/?{urlencode(emulator.parameters(emulator.issue()))}"
        connection.sendall(f"POST {target} HTTP/1.1\r\nHost: {emulator.host}\r\n\r\n".encode())
        while emulator.journal()["requests"] == 0:
            pass
        with pytest.raises(ConnectionError):
            while True:
                connection.sendall(b"x" * 4096)
    assert_serves(emulator)


def test_the_number_of_connections_is_limited(start_emulator):
    emulator = start_emulator(MAX_CONNECTIONS=3)
    first, *others = [emulator.connect() for _connection in range(3)]
    for connection in (first, *others):
        connection.request("GET", "/")
        connection.getresponse().read()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        emulator.send("GET", "/")
    first.close()
    while True:
        try:
            assert emulator.send("GET", "/").status == 404
            break
        except (http.client.RemoteDisconnected, ConnectionError):
            continue
    for connection in others:
        connection.close()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=200), tail=st.sampled_from([b"", b"\r\n\r\n", b" / HTTP/1.1\r\nHost: localhost\r\n\r\n"])
)
def test_any_bytes_are_answered_or_the_connection_is_closed(emulator, data, tail):
    with socket.create_connection(emulator.host.split(":"), timeout=10) as connection:
        connection.sendall(data + tail)
        connection.shutdown(socket.SHUT_WR)
        reply = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert reply == b"" or reply.startswith(b"HTTP/1.1 4")
    assert_serves(emulator)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    profile=st.sampled_from(["captured", "strict", "lenient"]),
    stages=st.lists(
        st.fixed_dictionaries(
            {"CurrentStage": st.sampled_from(["ADPassword", "MFAVerify", "KeepAliveVerify", "x"])},
            optional={
                "EndUserId": st.sampled_from(["alice", "bob", "ALICE"]),
                "Password": st.sampled_from(["alice", "bob", "\x00", "é"]),
                "SessionId": st.sampled_from(["KNOWN", "x"]),
                "AuthenticationCode": st.text(max_size=7),
                "KeepAlive": st.sampled_from(["true", "false"]),
                "KeepAliveToken": st.sampled_from(["KNOWN", "x"]),
                "DirectoryId": st.text(max_size=3),
            },
        ),
        max_size=4,
    ),
)
def test_any_sequence_of_logins_is_answered(emulator, profile, stages):
    bob = {"password": "bob", "totp_secret": "JBSWY3DPEHPK3PXP"}
    emulator.control("POST", "users", {"alice": "alice", "bob": bob})
    emulator.set_options(profile=profile)
    known = dict(emulator.log_in(EndUserId="alice", Password="alice", KeepAlive="true").body)
    for stage in stages:
        sent = {name: known.get(name) or "x" if value == "KNOWN" else value for name, value in stage.items()}
        reply = emulator.log_in(sent.pop("CurrentStage"), **sent)
        assert reply.status in (200, 400)
        known.update(reply.body)
