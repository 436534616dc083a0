# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test each fault, down to the socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from typing import Any
from urllib.parse import urlencode

import pytest

CAN_CARRY_OUT = [
    ("reset", {}),
    ("stall", {"seconds": 0.2}),
    ("truncate", {}),
    ("status", {}),
    ("throttle", {}),
    ("redirect", {}),
    ("non_json", {}),
    ("oversized", {}),
    ("wrong_type", {}),
    ("code", {}),
    ("error", {}),
]
SILENT = ("reset", "stall")


def raw_exchange(emulator: Any, token: str) -> tuple[bytes, Exception | None]:
    """Exchange a token over a raw socket; return the received bytes and the final error."""
    connection = emulator.connect()
    connection.connect()
    received, error = b"", None
    target = f"/?{urlencode(emulator.parameters(token))}"
    try:
        connection.sock.sendall(f"POST {target} HTTP/1.1\r\nHost: {emulator.host}\r\n\r\n".encode())
        while chunk := connection.sock.recv(1 << 16):
            received += chunk
    except OSError as problem:
        error = problem
    connection.close()
    return received, error


def entry_of(emulator: Any) -> Any:
    """Return the only entry of the journal."""
    journal = emulator.journal()
    assert journal["requests"] == len(journal["entries"]) == 1
    return journal["entries"][0]


def test_refuse_closes_the_connection_without_a_response(emulator):
    emulator.queue_fault("refuse")
    assert raw_exchange(emulator, emulator.issue()) == (b"", None)
    assert entry_of(emulator)["exchanged"] is False


def test_reset_resets_the_connection(emulator):
    emulator.queue_fault("reset")
    received, error = raw_exchange(emulator, emulator.issue())
    assert received == b"" and isinstance(error, ConnectionResetError)


def test_stall_waits_and_closes_the_connection(emulator):
    emulator.queue_fault("stall", seconds=0.5)
    started = time.monotonic()
    assert raw_exchange(emulator, emulator.issue()) == (b"", None)
    assert 0.5 <= time.monotonic() - started < 5


def test_stall_ends_when_the_client_gives_up(start_emulator):
    emulator = start_emulator(MAX_CONNECTIONS=5)
    emulator.queue_fault("stall", seconds=3600, count=10)
    for requests in range(1, 11):
        connection = emulator.connect()
        connection.request("GET", "/")
        while emulator.journal()["requests"] < requests:
            time.sleep(0.01)
        connection.close()


def test_a_stalled_request_does_not_block_others(emulator):
    emulator.queue_fault("stall", seconds=30)
    connection, token = emulator.connect(), emulator.issue()
    connection.request("POST", f"/?{urlencode(emulator.parameters(token))}")
    while not emulator.journal()["requests"]:
        time.sleep(0.01)
    assert emulator.exchange(token).status == 200
    connection.close()


def test_drip_sends_a_valid_response_byte_by_byte(emulator):
    emulator.queue_fault("drip", interval=0.001)
    connection = emulator.connect()
    connection.request("POST", f"/?{urlencode(emulator.parameters(emulator.issue()))}")
    pieces = [connection.sock.recv(1 << 16) for _piece in range(3)]
    rest = b""
    while not rest.endswith(b"}"):
        rest += connection.sock.recv(1 << 16)
    connection.close()
    response = b"".join(pieces) + rest
    assert len(pieces[0]) < 10 and response.startswith(b"HTTP/1.1 200 ")
    assert emulator.exchange(json.loads(response.split(b"\r\n\r\n")[1])["LoginToken"]).status == 200


def test_truncate_sends_half_of_the_body_with_the_full_length(emulator):
    emulator.queue_fault("truncate")
    with pytest.raises(http.client.IncompleteRead) as caught:
        emulator.exchange(emulator.issue())
    assert 0 <= int(caught.value.expected or 0) - len(caught.value.partial) <= 1


def test_status_responds_with_an_html_page(emulator):
    emulator.queue_fault("status", status=502)
    reply = emulator.exchange(emulator.issue())
    assert reply.status == 502 and reply.body.startswith(b"<html>")


def test_status_responds_with_the_given_error_code(emulator):
    emulator.queue_fault("status", status=503, code="ServiceUnavailable")
    reply = emulator.exchange(emulator.issue())
    assert (reply.status, reply.body["Code"]) == (503, "ServiceUnavailable")


def test_throttle_sends_the_given_retry_after(emulator):
    emulator.queue_fault("throttle", retry_after=1500)
    reply = emulator.exchange(emulator.issue())
    assert (reply.status, reply.body["Code"]) == (429, "Throttling.User")
    assert reply.headers["x-acs-retry-after"] == "1500"


def test_throttle_sends_no_retry_after_by_default(emulator):
    emulator.queue_fault("throttle", code="Throttling", status=400)
    reply = emulator.exchange(emulator.issue())
    assert (reply.status, reply.body["Code"]) == (400, "Throttling")
    assert "x-acs-retry-after" not in reply.headers


def test_redirect_responds_with_the_given_location(emulator):
    emulator.queue_fault("redirect", status=307, location="http://127.0.0.1:1/away")
    reply = emulator.exchange(emulator.issue())
    assert (reply.status, reply.headers["location"]) == (307, "http://127.0.0.1:1/away")


def test_non_json_responds_with_a_successful_html_page(emulator):
    emulator.queue_fault("non_json")
    reply = emulator.exchange(emulator.issue())
    assert reply.status == 200 and isinstance(reply.body, bytes)


def test_oversized_sends_more_than_two_mebibytes(emulator):
    emulator.queue_fault("oversized")
    reply = emulator.exchange(emulator.issue())
    assert int(reply.headers["content-length"]) > 2 << 20 and reply.body["LoginToken"]


def test_wrong_type_responds_with_a_number_as_the_token(emulator):
    emulator.queue_fault("wrong_type")
    reply = emulator.exchange(emulator.issue())
    assert reply.status == 200 and isinstance(reply.body["LoginToken"], int)


def test_code_responds_with_success_and_an_error_code(emulator):
    emulator.queue_fault("code", code="InternalError")
    reply = emulator.exchange(emulator.issue())
    assert (reply.status, reply.body["Code"]) == (200, "InternalError")
    assert "LoginToken" not in reply.body


def test_error_responds_with_the_given_error(emulator):
    emulator.queue_fault("error", status=403, code="Forbidden.RAM", message="Not you.")
    reply = emulator.exchange(emulator.issue())
    assert (reply.status, reply.body["Code"], reply.body["Message"]) == (
        403,
        "Forbidden.RAM",
        "Not you.",
    )


@pytest.mark.parametrize(("fault", "parameters"), CAN_CARRY_OUT)
@pytest.mark.parametrize("carried_out", [True, False])
def test_a_fault_spends_the_token_only_if_carried_out(start_emulator, fault, parameters, carried_out):
    emulator = start_emulator("--rotate")
    emulator.queue_fault(fault, carried_out=carried_out, **parameters)
    token = emulator.issue()
    try_exchange(emulator, token)
    entry = entry_of(emulator)
    assert (entry["fault"], entry["exchanged"]) == (fault, carried_out)
    assert (entry["issued"] is not None) is carried_out
    assert (entry["status"] is None) is (fault in SILENT)
    assert emulator.exchange(token).status == (400 if carried_out else 200)


def try_exchange(emulator: Any, token: str) -> None:
    """Exchange a token and ignore connection errors."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        emulator.exchange(token)


def test_faults_apply_to_the_next_requests_in_order(emulator):
    queued = [{"fault": "status", "status": 500, "count": 2}, {"fault": "status", "status": 502}]
    emulator.control("POST", "faults", queued)
    token = emulator.issue()
    assert [emulator.exchange(token).status for _request in range(4)] == [500, 500, 502, 200]


def test_a_fault_without_a_count_applies_until_it_is_deleted(emulator):
    emulator.queue_fault("status", count=None)
    token = emulator.issue()
    assert [emulator.exchange(token).status for _request in range(3)] == [503, 503, 503]
    emulator.control("DELETE", "faults")
    assert emulator.exchange(token).status == 200


@pytest.mark.parametrize("fault", ["refuse", "reset", "stall"])
def test_faults_do_not_affect_the_controls(emulator, fault):
    emulator.queue_fault(fault, count=None)
    assert emulator.control("DELETE", "faults") == {}
    assert emulator.exchange(emulator.issue()).status == 200


def test_a_fault_applies_before_the_signature_is_checked(emulator):
    emulator.queue_fault("status", status=500)
    assert emulator.send("POST", "/", Authorization="nonsense").status == 500


def test_deleting_the_faults_resets_the_clock(emulator):
    emulator.queue_fault("skew", seconds=86400)
    skewed = emulator.exchange(emulator.issue()).headers["date"]
    emulator.control("DELETE", "faults")
    assert emulator.exchange(emulator.issue()).headers["date"][:16] != skewed[:16]


@pytest.mark.parametrize(
    "payload",
    [
        None,
        "refuse",
        {},
        {"fault": "unknown"},
        {"fault": ["refuse"]},
        {"fault": "refuse", "carried_out": True},
        {"fault": "stall", "seconds": "1"},
        {"fault": "status", "status": 500.5},
        {"fault": "reset", "carried_out": 1},
        {"fault": "reset", "count": 0},
        {"fault": "reset", "count": True},
    ],
)
def test_a_malformed_fault_is_an_error_and_nothing_is_queued(emulator, payload):
    body = json.dumps([{"fault": "refuse"}, payload])
    reply = emulator.send("POST", f"{emulator.control_path}/faults", body)
    assert reply.status == 400 and reply.body["error"].endswith(".")
    assert emulator.exchange(emulator.issue()).status == 200
