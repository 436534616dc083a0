# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that a request goes only to its endpoint, ends in time, and is not logged."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import logging
import multiprocessing
import os
import queue
import socket
import ssl
import threading
import time
import traceback
import typing as t
from urllib.parse import quote, quote_plus

import pytest
from urllib3.util.connection import create_connection

from ansible_collections.wuying.workspace.plugins.module_utils._model.endpoint import host_of
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    ServiceError,
    TokenRejected,
)
from ansible_collections.wuying.workspace.plugins.module_utils._service import (
    connections,
)
from ansible_collections.wuying.workspace.plugins.module_utils._service import (
    transport as _transport,
)
from ansible_collections.wuying.workspace.plugins.module_utils._service.transport import (
    BODY_LIMIT,
    Response,
    Transport,
)
from ansible_collections.wuying.workspace.plugins.module_utils.signer import (
    Credentials,
    SignedRequest,
    sign_v1,
    sign_v3,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.faulty_server import (
    closed_port,
    dripping,
    flooding,
    headers_of,
    keeping_alive,
    make_certificate,
    read_head,
    resetting,
    response,
    silent,
    wires,
)

ELSEWHERE = "https://ecd.cn-hangzhou.aliyuncs.com"
KEY = Credentials("LTAI5tExample", "the/secret+of=the key", "the+security/token==")
TOKEN = "v1+the/login=token&18101ac6a9e69c66b04a16303168046"
NONCE = "8f14e45fceea167a5a36dedd4bea2543"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Some: Thing\r\n\r\n{}"
FORK = multiprocessing.get_context("fork")
TIME_LIMIT = 15
"""How many seconds a step may take that normally takes less than one."""


def sign(endpoint: str, credentials: Credentials | None = KEY) -> SignedRequest:
    """Return a signed refresh request."""
    call = ("RefreshLoginToken", "2020-10-02", {"LoginToken": TOKEN, "EndUserId": "alice"})
    return sign_v3(*call, credentials, 1700000000, NONCE, host=host_of(endpoint))


def open_transport(**settings: t.Any) -> Transport:
    """Return a transport with default settings, overridden by the arguments."""
    usual = {"proxy": None, "validate_certs": True, "ca_path": None, "connections": 2}
    return Transport(**{**usual, **settings})


def post(endpoint: str, seconds: float = TIME_LIMIT, **settings: t.Any) -> Response:
    """Send one request with a new transport."""
    transport = open_transport(**settings)
    try:
        return transport.post(endpoint, sign(endpoint), seconds)
    finally:
        transport.close()


def failure_of(endpoint: str, seconds: float = TIME_LIMIT, **settings: t.Any) -> ServiceError:
    """Return the error of a failing request, after checking that it shows no secret."""
    begun = time.monotonic()
    with pytest.raises(ServiceError) as caught:
        post(endpoint, seconds, **settings)
    assert time.monotonic() - begun < seconds + TIME_LIMIT
    error = caught.value
    assert_hidden("".join(traceback.format_exception(type(error), error, None)), str(error.as_result()))
    assert endpoint in error.message
    return error


def assert_hidden(*texts: str) -> None:
    """Fail if a text contains the token, a secret, the signature, the nonce or the query."""
    signed = sign(ELSEWHERE)
    secrets = [TOKEN, KEY.access_key_secret, str(KEY.security_token), NONCE, signed.query]
    for secret in secrets:
        encoded = base64.b64encode(secret.encode()).decode()
        forms = [secret, quote(secret), quote(secret, safe=""), quote_plus(secret), encoded]
        for text in texts:
            assert not any(form in text for form in forms)
    for text in texts:
        assert "Signature=" not in text


class Recorder(logging.Handler):
    """Records log messages."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Record a message."""
        self.lines.append(self.format(record))


@pytest.fixture(autouse=True)
def log(capfd):
    """Yield the log messages. After each test, check that no secret was logged or printed."""
    root, recorder = logging.getLogger(), Recorder()
    level = root.level
    root.addHandler(recorder)
    root.setLevel(logging.DEBUG)
    yield recorder.lines
    root.removeHandler(recorder)
    root.setLevel(level)
    printed = capfd.readouterr()
    assert_hidden(*recorder.lines, printed.out, printed.err)
    assert "Traceback" not in printed.err


@pytest.fixture(name="start_wire")
def fixture_start_wire():
    """Return a function that starts a scripted server."""
    with wires() as start:
        yield start


@pytest.fixture(name="certified", scope="module")
def fixture_certified(tmp_path_factory):
    """Return a certificate for 127.0.0.1 and a TLS context for a server."""
    return make_certificate(tmp_path_factory.mktemp("certified"), "127.0.0.1")


@pytest.fixture(name="misnamed", scope="module")
def fixture_misnamed(tmp_path_factory):
    """Return a certificate for another name and a TLS context for a server."""
    return make_certificate(tmp_path_factory.mktemp("misnamed"), "ecd.cn-hangzhou.aliyuncs.com")


def test_status_headers_and_body_of_the_response_are_returned(start_wire):
    reply = post(start_wire(GOOD).url)
    assert (reply.status, reply.body) == (200, b"{}")
    assert reply.headers["x-some"] == "Thing"


def test_the_request_is_sent_as_it_was_signed(start_wire):
    wire = start_wire(GOOD)
    post(wire.url)
    signed = sign(wire.url)
    assert wire.heads[0].startswith(f"POST /?{signed.query} HTTP/1.1\r\n")
    sent = headers_of(wire.heads[0])
    assert {name: sent[name] for name in signed.headers} == signed.headers


def test_a_body_is_sent_as_it_was_signed(start_wire):
    received = []

    def answer(connection: socket.socket) -> None:
        received.append(connection.recv(100))
        connection.sendall(GOOD)

    wire = start_wire(answer)
    transport = open_transport()
    form = {"SessionId": "s 1"}
    transport.post(wire.url, sign_v1("A", "V", {}, KEY, 0, NONCE, form=form), TIME_LIMIT)
    transport.close()
    assert received == [b"SessionId=s%201"]
    assert headers_of(wire.heads[0])["content-type"] == "application/x-www-form-urlencoded"


def test_the_request_asks_for_uncompressed_json(start_wire):
    wire = start_wire(GOOD)
    post(wire.url)
    headers = headers_of(wire.heads[0])
    assert (headers["accept"], headers["accept-encoding"]) == ("application/json", "identity")


def test_no_cookie_is_ever_sent_back(start_wire):
    def answer(connection: socket.socket) -> None:
        connection.sendall(response("200 OK", "Set-Cookie: tracking=1; Path=/", body=b"{}"))

    wire = start_wire(answer)
    transport = open_transport()
    for _time in range(2):
        transport.post(wire.url, sign(wire.url), TIME_LIMIT)
    transport.close()
    assert len(wire.heads) == 2
    assert "cookie" not in headers_of(wire.heads[1])


def test_a_connection_is_reused_for_the_next_request(start_wire):
    wire = start_wire(keeping_alive(GOOD))
    transport = open_transport()
    for _time in range(3):
        transport.post(wire.url, sign(wire.url), TIME_LIMIT)
    transport.close()
    assert (len(wire.heads), wire.connections) == (3, 1)


def test_a_connection_that_the_server_closed_is_replaced(start_wire):
    wire = start_wire(GOOD)
    transport = open_transport()
    for _time in range(3):
        assert transport.post(wire.url, sign(wire.url), TIME_LIMIT).status == 200
        time.sleep(0.05)
    transport.close()
    assert wire.connections == 3


def test_a_closed_transport_has_no_connection_left(start_wire):
    ended = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(GOOD)
        if not connection.recv(1):
            ended.set()

    wire = start_wire(answer)
    transport = open_transport()
    transport.post(wire.url, sign(wire.url), TIME_LIMIT)
    assert not ended.is_set()
    transport.close()
    assert ended.wait(TIME_LIMIT)


def test_the_next_address_is_tried_if_one_does_not_accept_connections(start_wire, monkeypatch):
    wire = start_wire(GOOD)
    addresses = ["127.0.0.3", "127.0.0.1"]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (name, wire.port)) for name in addresses]
    real = socket.getaddrinfo

    def look_up(host, *args, **kwargs):
        return found if host == "localhost" else real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert post(f"http://localhost:{wire.port}").status == 200


# Failures before anything is sent


def test_a_refused_connection_is_retryable_and_sent_nothing():
    error = failure_of(f"http://127.0.0.1:{closed_port()}")
    assert (error.code, error.retryable, error.outcome_unknown) == ("ConnectionFailed", True, False)
    assert not isinstance(error, TokenRejected)


def test_a_failed_name_lookup_is_retryable_and_sent_nothing():
    error = failure_of("https://no-such-host.invalid", 20)
    assert error.code in ("NameNotResolved", "Timeout")  # if there is no name server
    assert (error.retryable, error.outcome_unknown) == (True, False)


def test_a_failed_name_lookup_has_its_own_code(monkeypatch):
    def look_up(*_args, **_kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    error = failure_of(ELSEWHERE)
    assert (error.code, error.retryable, error.outcome_unknown) == ("NameNotResolved", True, False)


def test_a_host_name_that_cannot_be_encoded_is_not_resolved():
    error = failure_of(f"https://{'a' * 64}.invalid")
    assert (error.code, error.outcome_unknown) == ("NameNotResolved", False)


def test_a_hanging_name_lookup_times_out(monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: never.wait(60))
    error = failure_of(ELSEWHERE, 0.2)
    never.set()
    assert (error.retryable, error.outcome_unknown) == (True, False)


def test_a_connection_that_is_not_accepted_times_out():
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _time in range(4):  # fill the backlog
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        error = failure_of(f"http://127.0.0.1:{listener.getsockname()[1]}", 0.3)
    assert error.code in ("ConnectionFailed", "Timeout")
    assert (error.retryable, error.outcome_unknown) == (True, False)


def limit_open_files(spare: int) -> None:
    """Allow this process to open only so many more files."""
    import resource

    opened = [os.open(os.devnull, os.O_RDONLY) for _file in range(spare + 8)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened[-1] + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for file in opened[:spare]:
        os.close(file)


@pytest.mark.parametrize("spare", range(4))
@pytest.mark.parametrize("kind", ["plain", "tls", "name"])
def test_too_many_open_files_are_said_and_sent_nothing(start_wire, certified, spare, kind):
    ca_path, context = certified
    wire = start_wire(GOOD, None if kind == "plain" else context)
    endpoint = wire.url if kind != "name" else f"https://localhost:{wire.port}"
    results: t.Any = FORK.SimpleQueue()

    def run() -> None:
        limit_open_files(spare)
        try:
            open_transport(ca_path=ca_path).post(endpoint, sign(endpoint), TIME_LIMIT)
            results.put(("sent", True, True, ""))
        except ServiceError as error:
            results.put((error.code, error.retryable, error.outcome_unknown, error.message))

    process = FORK.Process(target=run)
    process.start()
    result = results.get()
    process.join(TIME_LIMIT)
    if result[0] == "ConnectionFailed":
        assert result[1:3] == (True, False)
        assert result[3].startswith("Too many files are open.")
        assert wire.heads == []
    else:
        assert spare > 0, result
        assert result[0] == ("TlsFailed" if kind == "name" else "sent")


def test_a_limit_of_threads_is_named_and_sent_nothing(start_wire, monkeypatch):
    wire = start_wire(GOOD)

    def fail(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, pytest.raises(ServiceError) as caught:
        patch.setattr(threading.Thread, "start", fail)
        post(wire.url)
    error = caught.value
    assert (error.code, error.retryable, error.outcome_unknown) == ("ConnectionFailed", True, False)
    assert error.message.startswith("No thread can be started. Raise the limit of processes and threads")
    assert wire.heads == []


# Failures after sending


def test_the_outcome_is_unknown_after_a_reset_connection(start_wire):
    error = failure_of(start_wire(resetting).url)
    assert (error.code, error.retryable, error.outcome_unknown) == ("ConnectionLost", True, True)


def test_the_outcome_is_unknown_if_the_connection_closes_without_response(start_wire):
    error = failure_of(start_wire(b"").url)
    assert (error.code, error.retryable, error.outcome_unknown) == ("ConnectionLost", True, True)


@pytest.mark.parametrize(
    "answer",
    [
        silent,
        dripping(b""),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n"),
    ],
    ids=["silence", "status", "chunk"],
)
def test_a_slow_response_times_out(start_wire, answer):
    begun = time.monotonic()
    error = failure_of(start_wire(answer).url, 0.3)
    assert 0.3 <= time.monotonic() - begun < TIME_LIMIT
    assert (error.code, error.retryable, error.outcome_unknown) == ("Timeout", True, True)


@pytest.mark.parametrize("length", ["X-Slow: ", "Content-Length: 1000000\r\n\r\n", "\r\n"])
@pytest.mark.parametrize("interim", ["", "HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_response_that_drips_byte_by_byte_times_out(start_wire, interim, length):
    answer = dripping(f"{interim}HTTP/1.1 200 OK\r\n{length}".encode())
    begun = time.monotonic()
    error = failure_of(start_wire(answer).url, 0.3)
    assert 0.3 <= time.monotonic() - begun < TIME_LIMIT
    assert (error.code, error.retryable, error.outcome_unknown) == ("Timeout", True, True)


def test_a_complete_response_is_valid_even_if_the_deadline_passes_then(start_wire, monkeypatch):
    read = _transport._read_body

    def read_slowly(stream: t.Any) -> bytes:
        body = read(stream)
        time.sleep(0.8)
        return body

    monkeypatch.setattr(_transport, "_read_body", read_slowly)
    assert post(start_wire(GOOD).url, 0.4).status == 200


INTERIM = [b"100 Continue\r\n\r\n", b"102 Processing\r\n\r\n", b"103 Early\r\nLink: </>\r\n\r\n"]


@pytest.mark.parametrize("interim", INTERIM, ids=lambda interim: interim[:3].decode())
def test_the_response_after_interim_responses_is_read(start_wire, interim):
    reply = post(start_wire(b"HTTP/1.1 " + interim + b"HTTP/1.1 " + interim + GOOD).url)
    assert (reply.status, reply.body, reply.headers["x-some"]) == (200, b"{}", "Thing")


@pytest.mark.parametrize("interim", INTERIM, ids=lambda interim: interim[:3].decode())
def test_endless_interim_responses_time_out(start_wire, interim):
    def answer(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"HTTP/1.1 " + interim)
            time.sleep(0.01)

    error = failure_of(start_wire(answer).url, 0.3)
    assert (error.code, error.outcome_unknown) == ("Timeout", True)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 2",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: x\r\n" * 1000 + b"\r\n",
        b"\x00\x01\x02\x03" * 50,
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_an_incomplete_or_malformed_response_is_an_error(start_wire, answer):
    error = failure_of(start_wire(answer).url)
    assert (error.code, error.retryable, error.outcome_unknown) == ("ConnectionLost", True, True)


def test_no_more_than_the_stated_length_of_a_body_is_read(start_wire):
    reply = post(start_wire(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}{}{}").url)
    assert reply.body == b"{}"


def test_a_body_of_the_maximum_size_is_read_completely(start_wire):
    reply = post(start_wire(response("200 OK", body=b"x" * BODY_LIMIT)).url)
    assert len(reply.body) == BODY_LIMIT


def test_one_byte_more_than_the_maximum_is_read_of_an_endless_body(start_wire):
    reply = post(start_wire(flooding(b"HTTP/1.1 200 OK\r\n\r\n")).url)
    assert len(reply.body) == BODY_LIMIT + 1


def test_the_size_limit_applies_to_an_endless_chunk(start_wire):
    taken = []

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
        for _time in range(64):
            connection.sendall(b"x" * 1024 * 1024)
            taken.append(1)

    error = failure_of(start_wire(answer).url)
    assert (error.code, error.retryable, error.outcome_unknown) == ("ConnectionLost", True, True)
    assert len(taken) < 32


def test_a_compressed_body_is_not_decompressed(start_wire):
    packed = gzip.compress(b"{}" * 1000000)
    reply = post(start_wire(response("200 OK", "Content-Encoding: gzip", body=packed)).url)
    assert reply.body == packed


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_sends_the_token_nowhere(start_wire, status):
    target = start_wire(GOOD)
    wire = start_wire(response(f"{status} Moved", f"Location: {target.url}/?token"))
    assert post(wire.url).status == status
    assert len(wire.heads) == 1
    assert (target.heads, target.connections) == ([], 0)


# TLS


def test_a_certificate_is_verified_with_the_given_ca(start_wire, certified):
    ca_path, context = certified
    wire = start_wire(GOOD, context)
    assert post(wire.url, ca_path=ca_path).status == 200


def test_the_ca_can_come_from_the_environment(start_wire, certified, monkeypatch):
    ca_path, context = certified
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_path)
    assert post(start_wire(GOOD, context).url).status == 200


def test_an_untrusted_certificate_fails_before_anything_is_sent(start_wire, certified):
    wire = start_wire(GOOD, certified[1])
    error = failure_of(wire.url)
    assert (error.code, error.retryable, error.outcome_unknown) == ("TlsFailed", False, False)
    assert wire.heads == []


def test_a_certificate_for_another_name_fails_before_anything_is_sent(start_wire, misnamed):
    ca_path, context = misnamed
    wire = start_wire(GOOD, context)
    error = failure_of(wire.url, ca_path=ca_path)
    assert (error.code, error.retryable, error.outcome_unknown) == ("TlsFailed", False, False)
    assert wire.heads == []


@pytest.mark.parametrize(
    ("setting", "source"),
    [
        ("ca_path", "ca_path"),
        ("REQUESTS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
        ("CURL_CA_BUNDLE", "CURL_CA_BUNDLE"),
        (None, "the CA certificates of the Python package requests"),
    ],
)
def test_an_unknown_ca_is_said_with_the_setting_that_names_the_known_ones(
    start_wire, certified, misnamed, monkeypatch, setting, source
):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    options = {"ca_path": misnamed[0]} if setting == "ca_path" else {}
    if setting not in (None, "ca_path"):
        monkeypatch.setenv(setting, misnamed[0])
    error = failure_of(start_wire(GOOD, certified[1]).url, **options)
    assert f"is self-signed, or its CA is not in {source}. If you trust it, set ca_path " in error.message


def test_an_expired_certificate_is_said(start_wire, tmp_path):
    ca_path, context = make_certificate(tmp_path, "127.0.0.1", -3)
    error = failure_of(start_wire(GOOD, context).url, ca_path=ca_path)
    assert "has expired or is not valid yet. Renew it, or correct the clock of this host." in error.message


def test_any_certificate_is_accepted_without_validation(start_wire, misnamed, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", misnamed[0])
    assert post(start_wire(GOOD, misnamed[1]).url, validate_certs=False).status == 200


def raw_server(stack: contextlib.ExitStack, behave: t.Callable[[socket.socket], None]) -> int:
    """Start a server that handles one connection without reading a request. Return its port."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def return_stored() -> None:
        with contextlib.suppress(OSError):
            connection = listener.accept()[0]
            with connection:
                behave(connection)

    threading.Thread(target=return_stored, daemon=True).start()
    return int(listener.getsockname()[1])


def assert_is_handshake(received: bytes) -> None:
    """Fail if a server received anything but the start of a TLS handshake."""
    assert received[:1] == b"\x16"
    assert_hidden(received.decode("latin-1"))


def test_nothing_is_sent_to_a_server_without_tls():
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def behave(connection: socket.socket) -> None:
        connection.sendall(GOOD)
        data = b""
        try:
            while len(data) < 100_000:
                piece = connection.recv(10_000)
                if not piece:
                    break
                data += piece
        finally:  # also if the client resets the connection
            received.put(data)

    with contextlib.ExitStack() as stack:
        error = failure_of(f"https://127.0.0.1:{raw_server(stack, behave)}")
    assert (error.code, error.retryable, error.outcome_unknown) == ("TlsFailed", False, False)
    assert_is_handshake(received.get(timeout=20))


def test_nothing_is_sent_if_the_handshake_is_reset():
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def behave(connection: socket.socket) -> None:
        received.put(connection.recv(10_000))
        resetting(connection)

    with contextlib.ExitStack() as stack:
        error = failure_of(f"https://127.0.0.1:{raw_server(stack, behave)}")
    assert (error.retryable, error.outcome_unknown) == (True, False)
    assert_is_handshake(received.get(timeout=20))


def test_a_handshake_that_the_server_ends_is_retryable():
    def behave(connection: socket.socket) -> None:
        connection.recv(100_000)  # all of it, because closing with unread data resets the connection

    with contextlib.ExitStack() as stack:
        error = failure_of(f"https://127.0.0.1:{raw_server(stack, behave)}")
    assert (error.code, error.retryable, error.outcome_unknown) == ("TlsFailed", True, False)


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x03\x40\x00"], ids=["silence", "drip"])
def test_a_slow_handshake_times_out(start):
    def behave(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            time.sleep(0.02)
            connection.sendall(start[:1])

    with contextlib.ExitStack() as stack:
        error = failure_of(f"https://127.0.0.1:{raw_server(stack, behave)}", 0.3)
    assert (error.code, error.retryable, error.outcome_unknown) == ("Timeout", True, False)


def test_a_tls_record_that_drips_byte_by_byte_times_out(start_wire, certified):
    ca_path, context = certified

    def answer(connection: socket.socket) -> None:
        received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(received, to_send, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(to_send.read())
                received.write(connection.recv(65536))
        connection.sendall(to_send.read())
        tls.write(GOOD + b" " * 10000)
        for byte in to_send.read():
            connection.sendall(bytes([byte]))
            time.sleep(0.02)

    wire = start_wire(answer, reads=False)
    error = failure_of(f"https://127.0.0.1:{wire.port}", 0.5, ca_path=ca_path)
    assert (error.code, error.outcome_unknown) == ("Timeout", True)


def test_a_handshake_gets_only_the_time_that_is_left(start_wire, certified, monkeypatch):
    timeouts: list[float] = []
    connect, handshake = create_connection, ssl.SSLSocket.do_handshake

    def connect_slowly(*args: t.Any, **kwargs: t.Any) -> socket.socket:
        opened = connect(*args, **kwargs)
        time.sleep(1)
        return opened

    def note_timeout(sock: ssl.SSLSocket, *args: t.Any) -> None:
        if not sock.server_side:
            timeouts.append(sock.gettimeout() or 0.0)
        handshake(sock, *args)

    monkeypatch.setattr(connections, "create_connection", connect_slowly)
    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", note_timeout)
    failure_of(start_wire(GOOD, certified[1]).url, 5)
    assert 0 < timeouts[0] <= 4


# Proxies and other settings of the environment


def test_nothing_is_sent_if_the_proxy_is_unreachable():
    error = failure_of(ELSEWHERE, proxy=f"http://127.0.0.1:{closed_port()}")
    assert (error.code, error.retryable, error.outcome_unknown) == ("ProxyFailed", True, False)


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad"])
def test_a_proxy_that_refuses_the_tunnel_gets_no_token(start_wire, status):
    wire = start_wire(response(status))
    error = failure_of(ELSEWHERE, proxy=wire.url)
    assert (error.code, error.retryable, error.outcome_unknown) == ("ProxyFailed", True, False)
    assert wire.heads[0].startswith("CONNECT ecd.cn-hangzhou.aliyuncs.com:443 ")
    assert_hidden(wire.heads[0])


def test_a_silent_proxy_times_out(start_wire):
    error = failure_of(ELSEWHERE, 0.3, proxy=start_wire(silent).url)
    assert (error.code, error.retryable, error.outcome_unknown) == ("Timeout", True, False)


def test_a_proxy_that_drips_byte_by_byte_times_out(start_wire):
    wire = start_wire(dripping(b"HTTP/1.1 200 OK\r\nX-Slow: "))
    error = failure_of(ELSEWHERE, 0.3, proxy=wire.url)
    assert (error.code, error.retryable, error.outcome_unknown) == ("Timeout", True, False)


def test_the_endpoint_behind_a_proxy_is_verified(start_wire, misnamed):
    ca_path, context = misnamed  # the certificate of ELSEWHERE
    inside = []

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection, server_side=True) as tunnel:
            inside.append(read_head(tunnel))
            tunnel.sendall(GOOD)

    wire = start_wire(answer)
    assert post(ELSEWHERE, proxy=wire.url, ca_path=ca_path).body == b"{}"
    assert_hidden(wire.heads[0])
    assert TOKEN in inside[0] or quote(TOKEN, safe="") in inside[0]


def test_a_proxy_cannot_impersonate_the_endpoint(start_wire, certified):
    ca_path, context = certified
    inside = []

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection, server_side=True) as tunnel:
            inside.append(read_head(tunnel))

    error = failure_of(ELSEWHERE, proxy=start_wire(answer).url, ca_path=ca_path)
    assert (error.code, error.outcome_unknown) == ("TlsFailed", False)
    assert not any(inside)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_from_the_environment_is_used(start_wire, monkeypatch, name):
    wire = start_wire(response("403 Forbidden"))
    monkeypatch.setenv(name, wire.url)
    assert failure_of(ELSEWHERE).code == "ProxyFailed"
    assert len(wire.heads) == 1


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "the option proxy"])
@pytest.mark.parametrize("state", ["absent", "refuses", "silent"])
def test_a_failure_names_the_proxy_and_its_setting(start_wire, monkeypatch, name, state):
    port = closed_port() if state == "absent" else start_wire(silent if state == "silent" else response("403 No")).port
    options = {}
    if name == "the option proxy":
        options["proxy"] = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("HTTPS_PROXY", "http://other.example.com:3128")
    else:
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}/")
    error = failure_of(ELSEWHERE, 0.3 if state == "silent" else TIME_LIMIT, **options)
    assert error.code == ("Timeout" if state == "silent" else "ProxyFailed")
    assert f"proxy 127.0.0.1:{port} from {name}" in error.message
    assert ("(HTTP status 403)" in error.message) == (state == "refuses")


@pytest.mark.parametrize(
    ("user_info", "shown"),
    [
        ("user:sesame@", True),
        ("sesame@", True),
        ("us%65r:s%2Fesame%40@", True),
        ("user:ses/ame@", False),
        ("user:ses?ame@", False),
        ("user:ses#ame@", False),
        ("user:ses@ame@", False),
    ],
)
def test_the_user_info_of_a_proxy_is_never_shown(monkeypatch, user_info, shown):
    port = closed_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://{user_info}127.0.0.1:{port}")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [])
    with pytest.raises(ServiceError) as caught:
        post(ELSEWHERE)
    message = caught.value.message.replace("The host name", "")
    assert not any(part in message for part in ("user", "us%", "ses", "ame", "@"))
    assert (f" 127.0.0.1:{port} " in message) == shown
    assert "HTTPS_PROXY" in message


@pytest.mark.parametrize("scheme", ["socks4", "socks5", "SOCKS5H", "https", "HTTPS"])
def test_environment_proxies_other_than_http_are_refused(start_wire, monkeypatch, scheme):
    wire = start_wire(GOOD)
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://127.0.0.1:{wire.port}")
    with pytest.raises(ServiceError, match="is not an http:// proxy") as caught:
        post(ELSEWHERE)
    error = caught.value
    assert (error.code, error.retryable, error.outcome_unknown) == ("ProxyFailed", False, False)
    assert wire.connections == 0


def test_the_proxy_option_overrides_the_environment(start_wire, monkeypatch):
    given, other = start_wire(response("403 Forbidden")), start_wire(response("403 Forbidden"))
    monkeypatch.setenv("HTTPS_PROXY", other.url)
    failure_of(ELSEWHERE, proxy=given.url)
    assert (len(given.heads), len(other.heads)) == (1, 0)


def test_no_proxy_disables_a_proxy_from_the_environment(start_wire, monkeypatch):
    wire = start_wire(response("403 Forbidden"))
    monkeypatch.setenv("HTTPS_PROXY", wire.url)
    monkeypatch.setenv("NO_PROXY", "aliyuncs.com")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [])
    assert failure_of(ELSEWHERE).code == "NameNotResolved"
    assert wire.connections == 0


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_loopback_requests_ignore_a_proxy_from_the_environment(start_wire, monkeypatch, name):
    proxy, wire = start_wire(GOOD), start_wire(GOOD)
    monkeypatch.setenv(name, proxy.url)
    assert post(wire.url).status == 200
    assert (proxy.connections, wire.connections) == (0, 1)


def test_loopback_requests_ignore_the_proxy_option(start_wire):
    proxy, wire = start_wire(GOOD), start_wire(GOOD)
    assert post(wire.url, proxy=proxy.url).status == 200
    assert (proxy.connections, wire.connections) == (0, 1)


def test_a_connection_outside_a_request_is_refused(start_wire):
    wire = start_wire(GOOD)
    with contextlib.closing(open_transport()) as transport, pytest.raises(RuntimeError):
        transport._session.post(wire.url)
    assert wire.connections == 0


@pytest.mark.parametrize("place", ["HOME", "NETRC"])
def test_a_netrc_is_never_read(start_wire, monkeypatch, tmp_path, place):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login alice password sesame\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    if place == "NETRC":
        monkeypatch.setenv("NETRC", str(netrc))
    wire = start_wire(GOOD)
    for request in (sign(wire.url, None), sign(wire.url)):
        transport = open_transport()
        transport.post(wire.url, request, TIME_LIMIT)
        transport.close()
    assert "authorization" not in headers_of(wire.heads[0])
    assert headers_of(wire.heads[1])["authorization"].startswith("ACS3-HMAC-SHA256 ")


# Log messages and threads


def test_log_messages_of_other_code_are_not_dropped(start_wire, log):
    post(start_wire(GOOD).url)
    logging.getLogger("urllib3.connectionpool").debug("a request of other code")
    assert log[-1:] == ["a request of other code"]


def test_header_lines_that_cannot_be_parsed_are_not_logged(start_wire, log):
    wire = start_wire(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + TOKEN.encode() + b"\r\n\r\n{}")
    assert post(wire.url).body == b"{}"
    assert not [line for line in log if "Failed to parse" in line]


def test_debug_output_of_the_standard_library_stays_off(start_wire, monkeypatch, capfd):
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    post(start_wire(GOOD).url)
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


def test_a_timeout_in_one_thread_does_not_disturb_other_threads(start_wire):
    def answer(connection: socket.socket) -> None:
        time.sleep(0.3)
        connection.sendall(GOOD)

    slow, stuck = start_wire(answer), start_wire(silent)
    transport = open_transport(connections=8)
    outcomes: list[int | str] = []

    def ask(url: str, seconds: float) -> None:
        try:
            outcomes.append(transport.post(url, sign(url), seconds).status)
        except ServiceError as error:
            outcomes.append(error.code)

    calls = [(slow.url, TIME_LIMIT)] * 6 + [(stuck.url, 0.1)] * 2
    threads = [threading.Thread(target=ask, args=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIME_LIMIT)
    transport.close()
    assert sorted(map(str, outcomes)) == ["200"] * 6 + ["Timeout"] * 2


def test_the_deadline_of_a_request_does_not_affect_the_next_one(start_wire):
    wire = start_wire(keeping_alive(GOOD))
    transport = open_transport()
    transport.post(wire.url, sign(wire.url), 0.2)
    time.sleep(0.4)
    assert transport.post(wire.url, sign(wire.url), TIME_LIMIT).status == 200
    transport.close()
    assert wire.connections == 1
