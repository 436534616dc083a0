# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the controls, the journal and the process of the emulator."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest


def fingerprint(token: str) -> str:
    """Return the fingerprint of a token as in the journal."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]


def test_the_index_lists_the_controls(emulator):
    assert "POST /tokens" in emulator.control("GET", "")["controls"]


def test_an_unknown_control_is_not_found(emulator):
    assert emulator.send("GET", f"{emulator.control_path}/nothing").status == 404


def test_a_login_that_a_client_adds_from_its_netrc_does_not_matter(emulator):
    reply = emulator.send("GET", f"{emulator.control_path}/journal", Authorization="Basic YWxpY2U6c2VjcmV0")
    assert reply.status == 200


def test_one_request_issues_thousands_of_tokens(emulator):
    identities = [{**emulator.alice, "end_user_id": f"user-{number}"} for number in range(5000)]
    tokens = emulator.control("POST", "tokens", identities)
    assert len({item["login_token"] for item in tokens}) == 5000
    assert emulator.exchange(tokens[4321]["login_token"], EndUserId="user-4321").status == 200


@pytest.mark.parametrize("body", ["not JSON", "null", '"alice"', "{}"])
def test_input_that_is_not_an_identity_is_an_error(emulator, body):
    reply = emulator.send("POST", f"{emulator.control_path}/tokens", body)
    assert reply.status == 400 and list(reply.body) == ["error"]


@pytest.mark.parametrize("change", [{"end_user_id": ""}, {"client_id": 1}, {"surname": "x"}])
def test_an_identity_with_an_invalid_field_is_an_error(emulator, change):
    body = json.dumps([emulator.alice, {**emulator.alice, **change}])
    reply = emulator.send("POST", f"{emulator.control_path}/tokens", body)
    assert reply.status == 400 and list(reply.body) == ["error"]


def test_the_journal_contains_an_exchange(emulator):
    token = emulator.issue()
    before, reply = time.time(), emulator.exchange(token)
    journal = emulator.journal()
    (entry,) = journal["entries"]
    assert (journal["requests"], journal["exchanges"]) == (1, 1)
    assert before <= entry.pop("at") <= time.time()
    assert entry == {
        "operation": "RefreshLoginToken",
        "session_id": None,
        "end_user_id": emulator.alice["end_user_id"],
        "client_id": emulator.alice["client_id"],
        "method": "POST",
        "signature": "anonymous",
        "status": 200,
        "code": None,
        "request_id": reply.body["RequestId"],
        "used": fingerprint(token),
        "issued": fingerprint(reply.body["LoginToken"]),
        "exchanged": True,
        "fault": None,
    }


def test_the_journal_contains_a_refusal(emulator):
    emulator.exchange("unknown", EndUserId=None)
    (entry,) = emulator.journal()["entries"]
    assert (entry["status"], entry["code"]) == (400, "MissingEndUserId")
    assert (entry["end_user_id"], entry["exchanged"], entry["issued"]) == (None, False, None)


def test_the_journal_contains_a_fault(emulator):
    emulator.queue_fault("status", status=503, code="ServiceUnavailable")
    emulator.exchange(emulator.issue())
    (entry,) = emulator.journal()["entries"]
    assert (entry["fault"], entry["status"]) == ("status", 503)
    assert (entry["code"], entry["exchanged"]) == ("ServiceUnavailable", False)


def test_the_journal_contains_no_token(emulator):
    tokens = [emulator.issue()]
    for _exchange in range(3):
        tokens.append(emulator.exchange(tokens[-1]).body["LoginToken"])
    text = json.dumps(emulator.journal())
    assert not any(token in text for token in tokens)


def test_the_journal_can_be_emptied(emulator):
    emulator.exchange(emulator.issue())
    emulator.control("DELETE", "journal")
    assert emulator.journal() == {"requests": 0, "exchanges": 0, "entries": []}


def test_controls_are_not_in_the_journal(emulator):
    emulator.issue()
    assert emulator.journal()["requests"] == 0


def test_tls_uses_the_certificate_of_the_ca_file(start_emulator):
    pytest.importorskip("cryptography")
    emulator = start_emulator("--tls")
    assert emulator.url.startswith("https://127.0.0.1:")
    assert emulator.exchange(emulator.issue()).status == 200


@pytest.mark.parametrize("arguments", [[], ["--tls"]])
def test_no_file_remains_after_the_emulator_stopped(start_emulator, arguments):
    if arguments:
        pytest.importorskip("cryptography")
    emulator = start_emulator(*arguments)
    folder = Path(emulator.process.args[3]).parent
    assert len(list(folder.iterdir())) == 1 + len(arguments)
    emulator.process.terminate()
    assert emulator.process.wait(timeout=10) == 0
    assert list(folder.iterdir()) == []


def test_an_interrupt_stops_the_emulator_during_a_request(start_emulator):
    emulator = start_emulator()
    emulator.queue_fault("stall", seconds=60)
    connection = emulator.connect()
    connection.request("GET", "/")
    while not emulator.journal()["requests"]:
        time.sleep(0.01)
    emulator.process.send_signal(signal.SIGINT)
    assert emulator.process.wait(timeout=10) == 0
    connection.close()


def test_only_the_owner_can_read_the_ready_file(emulator):
    ready_file = Path(emulator.process.args[3])
    assert stat.S_IMODE(os.stat(ready_file).st_mode) == 0o600


def test_the_emulator_prints_nothing(start_emulator):
    emulator = start_emulator()
    emulator.exchange(emulator.issue())
    emulator.exchange("unknown")
    connection = emulator.connect()
    connection.request("GET", "/")
    connection.getresponse().read()
    emulator.process.terminate()
    assert emulator.process.communicate(timeout=10)[0] == ""
    connection.close()


def test_each_emulator_has_its_own_credentials(start_emulator):
    one, other = start_emulator(), start_emulator()
    assert one.keys["access_key_secret"] != other.keys["access_key_secret"]


def failure_of(script: str, *arguments: str) -> str:
    """Return the message of an emulator that does not start, which must be one line."""
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    return done.stderr


def test_a_used_port_is_an_error_of_one_line(emulator, script, tmp_path):
    port = emulator.host.split(":")[1]
    message = failure_of(script, "--ready-file", str(tmp_path / "r"), "--port", port)
    assert (
        message == f"Cannot listen on port {port}: Address already in use. Choose another port, or 0 for a free one.\n"
    )
    assert not (tmp_path / "r").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen on all ports")
def test_a_privileged_port_is_an_error_of_one_line(script, tmp_path):
    message = failure_of(script, "--ready-file", str(tmp_path / "r"), "--port", "1")
    assert message.startswith("Cannot listen on port 1: Permission denied. ")


@pytest.mark.parametrize(
    ("option", "values", "allowed"),
    [
        ("--port", ["", "True", "-1", "65536", "1.5", "9" * 5000], "an integer from 0 to 65535"),
        ("--validity", ["None", "nan", "inf", "1e300", "0"], "a number from 0.1 to 1000000000"),
        ("--qps", ["x", "nan", "-inf", "-0.1", "1000001"], "a number from 0 to 1000000"),
        ("--keep-alive-lifetime", ["x", "0"], "a number from 0.1 to 1000000000"),
        ("--lock-after", ["x", "-1", "1.5"], "an integer from 0 to 1000000"),
        ("--lock-duration", ["nan", "-1"], "a number from 0 to 1000000000"),
    ],
)
def test_a_number_out_of_range_is_an_error_of_one_line(script, tmp_path, option, values, allowed):
    for value in values:
        message = failure_of(script, "--ready-file", str(tmp_path / "r"), f"{option}={value}")
        assert message == f"argument {option}: must be {allowed}.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--ready-file"],
        ["--ready-file=r", "--anonymous=x"],
        ["--ready-file=r", "--profile=x"],
        ["--ready-file=r", "--locked-answer=x"],
        ["--ready-file=r", "x"],
    ],
)
def test_a_wrong_command_line_is_an_error_of_one_line(script, arguments):
    assert failure_of(script, *arguments).endswith(".\n")


@pytest.mark.parametrize("arguments", [[], ["--tls"]])
def test_a_ready_file_that_cannot_be_written_is_an_error_of_one_line(script, tmp_path, arguments):
    if arguments:
        pytest.importorskip("cryptography")
    message = failure_of(script, "--ready-file", str(tmp_path / "missing" / "r"), *arguments)
    assert message == "Cannot write the files next to r: No such file or directory.\n"


def test_tls_without_cryptography_is_an_error_of_one_line(script, tmp_path):
    (tmp_path / "cryptography.py").write_text("raise ImportError")
    command = [sys.executable, script, "--ready-file", str(tmp_path / "ready.json"), "--tls"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (
        1,
        "emulator_tls (--tls) requires the Python package cryptography. Install it on the target host.\n",
    )
