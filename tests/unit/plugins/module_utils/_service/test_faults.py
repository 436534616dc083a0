# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that every fault of a service, proxy or network ends in time with a clear message, and leaves the record intact."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import logging
import re
import socket
import threading
import time
import traceback
import typing as t
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import (
    Outcome,
    PasswordLogin,
    TokenRequest,
)
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model.account import UNKNOWN, account_of
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import LoginRequired, WuyingError
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._service import client, retry
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.module_utils.signer import Credentials
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils._service.test_response import NAMED, TABLE
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.faulty_server import (
    Script,
    Wire,
    closed_port,
    dripping,
    flooding,
    make_certificate,
    read_head,
    resetting,
    resetting_unread,
    response,
    silent,
    wires,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    SECONDS_LEFT,
    put,
    session_at,
)

ELSEWHERE = "ecd.cn-hangzhou.aliyuncs.com"
KEY = Credentials("LTAI5tExample", "the/secret+of=the key", "the+security/token==")
TOKEN = "v1+the/login=token&18101ac6a9e69c66b04a16303168046"
NEXT = "v1+the/next=token&0c27bab6c205b2fdfac93be59a3aefa4b"
PASSWORD = "the pass+word/of=alice & 100% {{ secret }} 爱丽丝"
KEEP_ALIVE = "k1+the/keep=alive&token%9f27bab6c205b2fdfac93be59a3aefa4b"
REQUEST_ID = "1CBAFFAB-B697-4049-A9B1-67E1FC5F0000"
TIMEOUT = 0.5
"""Timeout of an attempt in seconds, for faults that end in a timeout."""
MARGIN = 10
"""How many seconds a busy machine may need in addition. No delay in these tests ends before that by itself."""


# Responses


def body(**fields: t.Any) -> bytes:
    """Return the body of a response."""
    return json.dumps({"RequestId": REQUEST_ID, **fields}).encode()


GOOD = body(LoginToken=NEXT)
HTML = f"<html>{TOKEN}</html>".encode()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNKNOWN_LENGTH = b"HTTP/1.1 200 OK\r\n\r\n"
BOMB = 100 * gzip.compress(bytes(1 << 20))


def with_length(length: object, data: bytes = GOOD) -> bytes:
    """Return a response with the given content length."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n%s" % (str(length).encode(), data)


def ok(data: bytes, *headers: str) -> bytes:
    """Return a response with status 200."""
    return response("200 OK", *headers, body=data)


def with_token(token: t.Any) -> bytes:
    """Return a response with this value as its token. Another field contains a valid token."""
    return ok(body(LoginToken=token, Message=NEXT))


def then_silent(data: bytes) -> Script:
    """Return a response that stops without closing the connection."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(data)
        silent(connection)

    return answer


def endless_interim_responses(connection: socket.socket) -> None:
    """Send interim responses endlessly."""
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.01)


class HealthyService:
    """A service without faults that counts requests."""

    def __init__(self) -> None:
        self.requests = 0

    def accept(self, connection: socket.socket) -> None:
        """Return the next token."""
        self.requests += 1
        connection.sendall(ok(GOOD))

    def reject(self, connection: socket.socket) -> None:
        """Reject the token."""
        self.requests += 1
        connection.sendall(response("400 Bad", body=body(Code="InvalidLoginToken", Message=TOKEN)))


# Setups


@dataclasses.dataclass
class Setup:
    """A faulty environment: its endpoint and settings, how to repair it, and a server that must not receive a token."""

    endpoint: str
    repair: t.Callable[[Script], None]
    settings: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    forbidden: Wire | None = None


class Tools(t.NamedTuple):
    """The means to build a setup."""

    start: t.Callable[..., Wire]
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def certify(self, kind: str, name: str, days: int = 7) -> tuple[str, t.Any]:
        """Make a certificate in a new folder."""
        folder = self.folder / kind
        folder.mkdir()
        return make_certificate(folder, name, days)


Build = t.Callable[[Tools], Setup]


def service_that(answer: Script, *, reads: bool = True) -> Build:
    """Build a service that misbehaves."""

    def build(tools: Tools) -> Setup:
        wire = tools.start(answer, reads=reads)

        def repair(healthy: Script) -> None:
            wire.answer, wire.reads = healthy, True

        return Setup(wire.url, repair)

    return build


def not_listening(tools: Tools) -> Setup:
    """Build an endpoint on which no server listens."""
    port = closed_port()
    return Setup(f"http://127.0.0.1:{port}", lambda healthy: discard(tools.start(healthy, port=port)))


def discard(_value: object) -> None:
    """Ignore a value."""


def name_service(look_up: t.Callable[..., t.Any]) -> Build:
    """Build a name service that misbehaves."""

    def build(tools: Tools) -> Setup:
        ca_path, context = tools.certify("good", "no-such-host.invalid")
        wire = tools.start(b"", context)
        tools.monkeypatch.setattr(socket, "getaddrinfo", look_up)

        def repair(healthy: Script) -> None:
            wire.answer = healthy
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", wire.port))]
            tools.monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)

        return Setup(f"https://no-such-host.invalid:{wire.port}", repair, {"ca_path": ca_path})

    return build


def unknown_name(*_arguments: t.Any, **options: t.Any) -> t.Any:
    """Fail because the name is unknown."""
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def hanging_look_up(*_arguments: t.Any, **options: t.Any) -> t.Any:
    """Take longer than any timeout."""
    threading.Event().wait(2 * MARGIN)
    raise socket.gaierror(socket.EAI_AGAIN, "Try again")


def certificate(name: str = "127.0.0.1", *, days: int = 7, vouched: bool = True) -> Build:
    """Build a service with an invalid certificate."""

    def build(tools: Tools) -> Setup:
        good, good_context = tools.certify("good", "127.0.0.1")
        bad, bad_context = tools.certify("bad", name, days)
        known = tools.folder / "ca.pem"
        paths = [good, bad] if vouched else [good]
        known.write_bytes(b"".join(Path(path).read_bytes() for path in paths))
        wire = tools.start(ok(GOOD), bad_context)

        def repair(healthy: Script) -> None:
            wire.answer, wire.context = healthy, good_context

        return Setup(wire.url, repair, {"ca_path": str(known)})

    return build


def authority(data: bytes | None) -> Build:
    """Build a CA file that is invalid, or missing."""

    def build(tools: Tools) -> Setup:
        good, context = tools.certify("good", "127.0.0.1")
        known = tools.folder / "ca.pem"
        if data is not None:
            known.write_bytes(data)
        wire = tools.start(ok(GOOD), context)

        def repair(healthy: Script) -> None:
            wire.answer = healthy
            known.write_bytes(Path(good).read_bytes())

        return Setup(wire.url, repair, {"ca_path": str(known)})

    return build


def handshake(answer: Script) -> Build:
    """Build a service that misbehaves in the TLS handshake."""

    def build(tools: Tools) -> Setup:
        good, context = tools.certify("good", "127.0.0.1")
        wire = tools.start(answer, reads=False)

        def repair(healthy: Script) -> None:
            wire.answer, wire.reads, wire.context = healthy, True, context

        return Setup(f"https://127.0.0.1:{wire.port}", repair, {"ca_path": good})

    return build


def proxy(answer: Script | None) -> Build:
    """Build a proxy that misbehaves, or does not exist."""

    def build(tools: Tools) -> Setup:
        ca_path, context = tools.certify("good", ELSEWHERE)
        wire = tools.start(answer) if answer is not None else None
        port = closed_port() if wire is None else wire.port

        def repair(healthy: Script) -> None:
            def tunnel(connection: socket.socket) -> None:
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                with context.wrap_socket(connection, server_side=True) as inside:
                    if read_head(inside) and callable(healthy):
                        healthy(inside)

            if wire is None:
                tools.start(tunnel, port=port)
            else:
                wire.answer = tunnel

        settings = {"proxy": f"http://127.0.0.1:{port}", "ca_path": ca_path}
        return Setup(f"https://{ELSEWHERE}", repair, settings, forbidden=wire)

    return build


def impostor(tools: Tools) -> Setup:
    """Build a proxy that impersonates the service."""
    context = tools.certify("bad", ELSEWHERE)[1]
    setup = proxy(b"")(tools)

    def pretend(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection, server_side=True) as inside:
            read_head(inside)

    assert setup.forbidden is not None
    setup.forbidden.answer = pretend
    return setup


def redirect(status: int, *, away: bool) -> Build:
    """Build a service that redirects, to itself or to another host."""

    def build(tools: Tools) -> Setup:
        other = tools.start(ok(GOOD))
        setup = service_that(b"")(tools)
        target = other.url if away else setup.endpoint
        location = f"Location: {target}/?LoginToken={quote(NEXT, safe='')}"
        said = body(Code="InvalidLoginToken", LoginToken=NEXT)
        setup.repair(response(f"{status} Moved", location, body=said))
        setup.forbidden = other
        return setup

    return build


# Faults


class Fault(t.NamedTuple):
    """A fault and its expected result.

    ``doubt``: the outcome of the request is unknown. ``refused``: whether the service's code names the token, or may concern it.
    """

    build: Build
    code: str
    message: str
    retryable: bool = True
    doubt: bool = True
    refused: str | None = None


def lost(answer: Script, **how: t.Any) -> Fault:
    """Return a fault that ends the connection early."""
    return Fault(service_that(answer, **how), "ConnectionLost", "before its response was complete")


def late(answer: Script) -> Fault:
    """Return a fault that ends in a timeout."""
    return Fault(service_that(answer), "Timeout", "did not respond in time")


def unreadable(answer: Script) -> Fault:
    """Return a fault whose response contains no valid login token."""
    return Fault(service_that(answer), "InvalidResponse", "did not contain a valid login token")


def unreachable(build: Build, code: str, message: str, *, retryable: bool = True) -> Fault:
    """Return a fault because of which the request is not sent."""
    return Fault(build, code, message, retryable, doubt=False)


def unproxied(status: str) -> Fault:
    """Return the fault of a proxy that refuses the tunnel."""
    return unreachable(proxy(response(status)), "ProxyFailed", f"refused the connection (HTTP status {status[:3]})")


def untrusted(build: Build, message: str) -> Fault:
    """Return the fault of an invalid certificate."""
    return unreachable(build, "TlsFailed", message, retryable=False)


FAULTS: dict[str, Fault] = {
    "connection-refused": unreachable(not_listening, "ConnectionFailed", "could not be reached"),
    "name-unknown": unreachable(name_service(unknown_name), "NameNotResolved", "could not be resolved"),
    "look-up-hangs": unreachable(name_service(hanging_look_up), "Timeout", "did not respond in time"),
    "certificate-expired": untrusted(certificate(days=-1), "has expired"),
    "certificate-self-signed": untrusted(certificate(vouched=False), "is self-signed, or its CA is not in ca_path"),
    "certificate-wrong-name": untrusted(certificate(ELSEWHERE), "is for another host"),
    "authority-missing": untrusted(authority(None), "Check ca_path"),
    "authority-garbage": untrusted(authority(b"garbage"), "Check endpoint and ca_path"),
    "handshake-in-the-clear": untrusted(handshake(ok(GOOD)), "A TLS connection to the endpoint"),
    "handshake-reset": unreachable(handshake(resetting), "ConnectionFailed", "could not be reached"),
    "handshake-stalls": unreachable(handshake(silent), "Timeout", "did not respond in time"),
    "proxy-absent": unreachable(proxy(None), "ProxyFailed", "from the option proxy did not accept the connection"),
    "proxy-forbids": unproxied("403 Forbidden"),
    "proxy-wants-a-login": unproxied("407 Proxy Authentication Required"),
    "proxy-fails": unproxied("502 Bad Gateway"),
    "proxy-stalls": unreachable(proxy(silent), "Timeout", "did not respond in time"),
    "proxy-impersonates": untrusted(impostor, "is self-signed, or its CA is not in ca_path"),
    "reset-before-reading": lost(resetting_unread, reads=False),
    "reset-after-reading": lost(resetting),
    "closed-without-answer": lost(b""),
    "stall-before-headers": late(silent),
    "drip-of-status": late(dripping(b"")),
    "drip-of-headers": late(dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ")),
    "drip-of-body": late(dripping(with_length(1 << 20))),
    "interim-without-end": late(endless_interim_responses),
    "stall-after-body": late(then_silent(UNKNOWN_LENGTH + GOOD)),
    "truncated": lost(with_length(len(GOOD), GOOD[:-20])),
    "truncated-unknown-length": unreadable(UNKNOWN_LENGTH + GOOD[:-20]),
    "length-too-short": unreadable(with_length(len(GOOD) - 20)),
    "length-too-long": lost(with_length(len(GOOD) + 20)),
    "length-too-long-and-stall": late(then_silent(with_length(len(GOOD) + 20))),
    "lengths-differ": lost(with_length(f"{len(GOOD)}\r\nContent-Length: 5")),
    "chunk-garbage": lost(CHUNKED + b"xyz\r\n" + GOOD),
    "chunk-cut": lost(CHUNKED + b"fff\r\n" + GOOD),
    "chunk-negative": lost(flooding(CHUNKED + b"-1\r\n")),
    "chunk-without-end": unreadable(flooding(CHUNKED + b"ffffffffffffffff\r\n")),
    "gzip-bomb": unreadable(ok(BOMB, "Content-Encoding: gzip")),
    "body-of-100-mib": unreadable(flooding(with_length(100 << 20))),
    "body-without-end": unreadable(flooding(UNKNOWN_LENGTH)),
    "headers-too-long": lost(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100000 + b"\r\n\r\n"),
    "headers-too-many": lost(b"HTTP/1.1 200 OK\r\n" + b"X-Many: x\r\n" * 1000 + b"\r\n"),
    "no-http": lost(f"SSH-2.0-{TOKEN}\r\n".encode()),
    "binary": lost(bytes(range(256)) * 20),
    "nested-lists": unreadable(ok(b"[" * 500000)),
    "nested-objects": unreadable(ok(b'{"LoginToken":' * 50000)),
    "empty-body": unreadable(ok(b"")),
    "non-json": unreadable(ok(HTML)),
    "non-utf-8": unreadable(ok(GOOD + b"\xff")),
    "shape-list": unreadable(ok(json.dumps([NEXT]).encode())),
    "shape-string": unreadable(ok(json.dumps(NEXT).encode())),
    "shape-number": unreadable(ok(b"4" * 5000)),
    "shape-null": unreadable(ok(b"null")),
    "shape-nested": unreadable(ok(body(Data={"LoginToken": NEXT}))),
    "token-missing": unreadable(ok(body(Message=NEXT))),
    "token-number": unreadable(with_token(42)),
    "token-boolean": unreadable(with_token(True)),
    "token-null": unreadable(with_token(None)),
    "token-list": unreadable(with_token([NEXT])),
    "token-object": unreadable(with_token({"LoginToken": NEXT})),
    "token-empty": unreadable(with_token("")),
    "token-blank": unreadable(with_token(" ")),
    "token-of-two-lines": unreadable(with_token(f"{NEXT}\r\n{NEXT}")),
    "token-with-nul": unreadable(with_token(f"{NEXT}\0")),
    "token-not-ascii": unreadable(with_token(f"{NEXT}é")),
    "token-of-a-megabyte": unreadable(with_token("v" * 1000000)),
    "token-of-two-megabytes": unreadable(with_token("v" * 2000000)),
    "status-500": Fault(
        service_that(response("500 Error", body=HTML)),
        "ServiceUnavailable",
        "temporarily unavailable",
    ),
    "status-502": Fault(
        service_that(response("502 Bad", body=GOOD)),
        "ServiceUnavailable",
        "temporarily unavailable",
    ),
    "status-429": Fault(
        service_that(response("429 Slow", body=HTML)),
        "Throttling",
        "is limiting requests",
        doubt=False,
    ),
    "status-403": Fault(
        service_that(response("403 Forbidden", body=HTML)),
        "InvalidResponse",
        "HTTP status 403",
        retryable=False,
        doubt=False,
    ),
    "status-200-with-code": Fault(
        service_that(ok(body(Code="InternalError", Message=TOKEN))),
        "InternalError",
        "temporarily unavailable",
    ),
    "status-200-with-permission": Fault(
        service_that(ok(body(Code="Forbidden.RAM", Message=TOKEN))),
        "Forbidden.RAM",
        "ecd:RefreshLoginToken",
        retryable=False,
        doubt=False,
    ),
    **{
        f"redirect-{status}-{'away' if away else 'home'}": Fault(
            redirect(status, away=away),
            "InvalidResponse",
            "redirected the request",
            retryable=False,
            doubt=False,
        )
        for status in (301, 302, 303, 307, 308)
        for away in (False, True)
    },
    **{
        f"{code}-{status}": Fault(
            service_that(response(f"{status} Said", body=body(Code=code, Message=f"{TOKEN} {NEXT}"))),
            code,
            "must log in again" if refused == NAMED else message,
            retryable,
            doubt,
            refused,
        )
        for (code, status), (message, retryable, doubt, refused) in TABLE.items()
    },
}
TRANSIENT = [name for name, fault in FAULTS.items() if fault.retryable]
ONE_OF_EACH_CODE = [*{FAULTS[name].code: name for name in reversed(TRANSIENT)}.values()]
"""One fault for each retryable code."""


# Tasks


class Situation:
    """A session, its store, and a faulty service."""

    def __init__(self, store: DirectoryStore, endpoint: str, credentials: Credentials) -> None:
        self.store, self.session = store, session_at(endpoint)
        self.credentials, self.settings = credentials, t.cast("dict[str, t.Any]", {})
        self.warnings: list[str] = []
        self.seconds_taken = 0.0

    def store_record(self, state: str, token: str = TOKEN) -> Record:
        """Store a record with the given state and return it."""
        now, left = time.time(), SECONDS_LEFT[state]
        record = next_record(None, self.session, "v1first", token, now, 900, None)
        record = record._replace(obtained_at=now + left - 900, expires_at=now + left)
        put(self.store, record)
        return record

    def stored_record(self) -> Record | None:
        """Return the stored record, after checking that the note shows no secret."""
        stored = self.store.read(self.session.key)
        if stored.note is not None:
            assert_hidden(stored.note.dump().decode())
        return stored.record

    def run_task(self, *, deadline: float = 30, retries: int = 0, **options: t.Any) -> Outcome:
        """Ensure a valid token as a task does."""
        clock = options.pop("clock", time.time)
        settings = {"retries": retries, "clock": clock, **self.settings}
        begun = time.monotonic()
        with ServiceClient(self.credentials, **settings) as service:
            keeper = Keeper(self.store, lambda: service, scope="a test", deadline=begun + deadline, clock=clock)
            try:
                return keeper.ensure(TokenRequest(self.session, **options), self.warnings.append)
            finally:
                self.seconds_taken = time.monotonic() - begun

    def failure_of_task(self, **options: t.Any) -> WuyingError:
        """Return the error of a failing task, after checking that it is clear and shows no secret."""
        with pytest.raises(WuyingError) as caught:
            self.run_task(**options)
        error = caught.value
        assert_clear(error.message, sentences=4 if isinstance(error, LoginRequired) else 3)
        trace = "".join(traceback.format_exception(type(error), error, None))
        assert_hidden(trace, repr(error), str(vars(error)), str(error.as_result()))
        return error


def assert_clear(message: str, *, sentences: int) -> None:
    """Fail unless a message is plain text of at most so many sentences."""
    assert re.fullmatch(r"[A-Z][ -~]{20,400}\.", message)
    assert message.count(". ") < sentences
    assert not re.search(r"Traceback|Error\(|Exception|urllib3|http\.client|Errno| at 0x", message)


def forms_of(secret: str) -> set[str]:
    """Return a secret in several encodings, and its beginning."""
    data, percent = secret.encode(), quote(secret, safe="")
    forms = {secret, percent, quote(percent, safe=""), quote(secret), quote_plus(secret)}
    forms |= {json.dumps(secret)[1:-1], secret[:16], data.hex()}
    for shift in range(3):  # base64 depends on the position of the text
        plain = base64.b64encode(bytes(shift) + data).decode()[4 if shift else 0 : -4]
        forms |= {plain, plain.replace("+", "-").replace("/", "_")}
    return forms


SECRETS = [TOKEN, NEXT, PASSWORD, KEEP_ALIVE, KEY.access_key_secret, str(KEY.security_token)]
MARKS = set().union(*map(forms_of, SECRETS))


def assert_hidden(*texts: str) -> None:
    """Fail if a text contains a token, a secret, a signature or a query."""
    for text in texts:
        assert not [mark for mark in MARKS if mark in text]
        assert not re.search(r"Signature=|LoginToken=|Password=|KeepAliveToken=|Nonce=|x-acs-", text)


@pytest.fixture(autouse=True)
def _nothing_logged(monkeypatch, caplog, capfd):
    """Shorten the waits between attempts. After each test, check that no secret was logged or printed."""
    monkeypatch.setattr(retry, "BACKOFF", 0.001)
    caplog.set_level(logging.DEBUG)
    yield
    printed = capfd.readouterr()
    assert_hidden(caplog.text, printed.out, printed.err)
    assert "Traceback" not in printed.err


@pytest.fixture(name="set_up")
def fixture_set_up(tmp_path, store_path, monkeypatch):
    """Return a function that sets up a fault. After the test, check that no token reached a forbidden server."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    setups: list[Setup] = []
    with wires() as start:

        def set_up(fault: str) -> tuple[Situation, Setup]:
            setup = FAULTS[fault].build(Tools(start, folder, monkeypatch))
            setups.append(setup)
            situation = Situation(DirectoryStore(str(store_path)), setup.endpoint, KEY)
            timeout = TIMEOUT if FAULTS[fault].code == "Timeout" else MARGIN
            situation.settings = {"timeout": timeout, **setup.settings}
            return situation, setup

        yield set_up
        for wire in [setup.forbidden for setup in setups if setup.forbidden is not None]:
            assert_hidden(*wire.heads)


@pytest.mark.parametrize("name", FAULTS)
def test_a_stale_token_is_returned_after_any_failure_but_its_rejection(set_up, name: str) -> None:
    fault, (situation, _setup) = FAULTS[name], set_up(name)
    record = situation.store_record("stale")
    if fault.refused == NAMED:
        error = situation.failure_of_task()
        assert (error.code, error.retryable, error.login_needed) == (fault.code, False, True)
        assert fault.message in error.message
    else:
        outcome = situation.run_task()
        assert outcome[:4] == (False, record, record, None)
        reason, (warning,) = outcome.not_refreshed, situation.warnings
        assert reason is not None
        assert (reason.code, reason.retryable, reason.login_needed) == (fault.code, fault.retryable, False)
        assert fault.message in warning
        assert_clear(warning, sentences=5)
        assert_hidden(warning)
    assert situation.seconds_taken < situation.settings["timeout"] + MARGIN
    assert situation.stored_record() == record


@pytest.mark.parametrize("name", FAULTS)
def test_a_rejection_after_a_failure_names_an_unknown_outcome(set_up, name: str) -> None:
    fault, (situation, setup), healthy = FAULTS[name], set_up(name), HealthyService()
    record = situation.store_record("expired")
    error = situation.failure_of_task()
    assert (error.code, error.retryable) == (fault.code, fault.retryable)
    assert error.login_needed == bool(fault.refused)
    assert ("must log in again" if fault.refused else fault.message) in error.message
    assert situation.seconds_taken < situation.settings["timeout"] + MARGIN
    assert situation.stored_record() == (record.ended_with(fault.code) if fault.refused else record)
    setup.repair(healthy.reject)
    situation.settings["timeout"] = MARGIN
    error = situation.failure_of_task(force=True)
    assert error.code == ("OutcomeUnknown" if fault.doubt else "InvalidLoginToken")
    assert "must log in again" in error.message
    assert (error.retryable, error.http_status, error.request_id) == (False, 400, REQUEST_ID)
    assert situation.stored_record() == record.ended_with(error.code)
    assert healthy.requests == 1


@pytest.mark.parametrize("name", FAULTS)
def test_the_next_task_recovers_from_a_failure(set_up, name: str) -> None:
    fault, (situation, setup), healthy = FAULTS[name], set_up(name), HealthyService()
    record = situation.store_record("current")
    situation.failure_of_task(force=True)
    setup.repair(healthy.accept)
    situation.settings["timeout"] = MARGIN
    outcome = situation.run_task()
    assert outcome.changed == fault.doubt
    assert outcome.record == situation.stored_record()
    assert (outcome.record == record) != fault.doubt
    assert healthy.requests == fault.doubt


NOT_JUDGED = ("ConnectionFailed", "NameNotResolved", "TlsFailed", "ProxyFailed")
"""The codes of faults before a request is sent."""
ON_LOOPBACK = [name for name in FAULTS if name not in ("name-unknown", "look-up-hangs")]
"""A password starts no session at any other endpoint that is not that of the region."""


@pytest.mark.parametrize("name", ON_LOOPBACK)
def test_a_password_is_not_sent_again_after_a_fault(set_up, name: str) -> None:
    fault, (situation, setup), healthy = FAULTS[name], set_up(name), HealthyService()
    login = PasswordLogin(PASSWORD)
    error = situation.failure_of_task(password_login=login)
    entry = situation.store.read(account_of(situation.session).key).entry
    assert entry is not None
    assert_hidden(entry.dump().decode())
    waits = bool(entry.attempts)
    sent = fault.code not in NOT_JUDGED and name != "handshake-stalls" and "proxy" not in name
    judged = not re.search(r"Throttling|ServiceUnavailable|TimeStamp", name)
    assert waits == (error.blocked_until is not None)
    assert waits or not (sent and judged)
    assert not waits or entry.attempts[0].outcome == UNKNOWN or not error.retryable
    setup.repair(healthy.accept)
    situation.settings["timeout"] = 5
    if waits:
        assert situation.failure_of_task(password_login=login).code == "LoginBlocked"
    else:
        assert situation.run_task(password_login=login).logged_in
    assert healthy.requests == (not waits)


@pytest.mark.parametrize("name", FAULTS)
def test_a_keep_alive_token_survives_every_fault(set_up, name: str) -> None:
    situation, setup = set_up(name)
    healthy = HealthyService()
    record = situation.store_record("expired").ended_with("InvalidLoginToken")
    record = record._replace(keep_alive=KeepAlive(KEEP_ALIVE, record.obtained_at, record.obtained_at))
    put(situation.store, record)
    error = situation.failure_of_task()
    after = situation.stored_record()
    assert after is not None
    assert after.keep_alive is not None
    assert after.keep_alive.token == KEEP_ALIVE
    assert after._replace(keep_alive=None) == record._replace(keep_alive=None)
    assert bool(after.keep_alive.refusals) == (error.blocked_until is not None)
    setup.repair(healthy.accept)
    situation.settings["timeout"] = 5
    if after.keep_alive.refusals:
        assert situation.failure_of_task().login_needed
    outcome = situation.run_task(clock=lambda: time.time() + 3601)
    assert (outcome.changed, outcome.logged_in) == (True, True)


@pytest.mark.parametrize("name", ONE_OF_EACH_CODE)
def test_a_lasting_fault_ends_by_the_deadline(set_up, monkeypatch, name: str) -> None:
    fault, (situation, _setup) = FAULTS[name], set_up(name)
    record = situation.store_record("expired")
    situation.settings["timeout"] = 60
    monkeypatch.setattr(client, "LEAST_TIME", TIMEOUT / 10)
    error = situation.failure_of_task(deadline=TIMEOUT, retries=100000)
    assert error.code in (fault.code, "Timeout")  # the deadline may end the last attempt
    assert error.retryable
    assert situation.seconds_taken < TIMEOUT + MARGIN
    assert situation.stored_record() == record


# Faults of the emulator, with a service whose tokens are valid for one refresh

# Name of a fault and its parameters: the error code, whether it is retryable, whether the token is spent
EMULATED: dict[tuple[str, str], tuple[str, bool, bool]] = {
    ("refuse", "{}"): ("ConnectionLost", True, False),
    ("reset", '{"carried_out": false}'): ("ConnectionLost", True, False),
    ("reset", '{"carried_out": true}'): ("ConnectionLost", True, True),
    ("stall", '{"carried_out": false}'): ("Timeout", True, False),
    ("stall", '{"carried_out": true}'): ("Timeout", True, True),
    ("drip", "{}"): ("Timeout", True, True),
    ("truncate", "{}"): ("ConnectionLost", True, True),
    ("status", '{"status": 503}'): ("ServiceUnavailable", True, False),
    ("status", '{"status": 502, "carried_out": true}'): ("ServiceUnavailable", True, True),
    ("throttle", '{"retry_after": null}'): ("Throttling.User", True, False),
    ("throttle", '{"retry_after": 3600000}'): ("Throttling.User", True, False),
    ("redirect", "{}"): ("InvalidResponse", False, False),
    ("non_json", '{"carried_out": true}'): ("InvalidResponse", True, True),
    ("oversized", '{"carried_out": true}'): ("InvalidResponse", True, True),
    ("wrong_type", '{"carried_out": true}'): ("InvalidResponse", True, True),
    ("code", '{"carried_out": true}'): ("InternalError", True, True),
    ("error", '{"code": "InvalidParameter"}'): ("InvalidParameter", False, False),
}


def situation_at(emulator: t.Any, store_path: Path) -> Situation:
    """Return a situation with an emulator as the service."""
    key = Credentials(emulator.access_key_id, emulator.access_key_secret)
    situation = Situation(DirectoryStore(str(store_path)), emulator.url, key)
    situation.settings = {"timeout": MARGIN}
    return situation


@pytest.mark.parametrize(("name", "parameters"), EMULATED)
def test_a_fault_of_the_emulator(start_emulator, store_path, name: str, parameters: str) -> None:
    code, retryable, spent = EMULATED[name, parameters]
    emulator = start_emulator("--rotate")
    situation = situation_at(emulator, store_path)
    situation.settings["timeout"] = TIMEOUT if code == "Timeout" else MARGIN
    record = situation.store_record("stale", emulator.issue())
    emulator.fault(name, **json.loads(parameters))
    outcome = situation.run_task()
    assert outcome[:4] == (False, record, record, None)
    assert outcome.not_refreshed is not None
    assert (outcome.not_refreshed.code, outcome.not_refreshed.retryable) == (code, retryable)
    assert_clear(situation.warnings[0], sentences=5)
    assert situation.seconds_taken < situation.settings["timeout"] + MARGIN
    assert situation.stored_record() == record
    situation.settings["timeout"] = MARGIN
    if spent:
        assert situation.failure_of_task().code == "OutcomeUnknown"
    else:
        assert situation.run_task().record == situation.stored_record() != record


def test_every_fault_of_the_emulator_is_covered(emulator) -> None:
    known = set(emulator.control("GET", "")["faults"])
    # The clock is below, and answers about locked accounts, which only logins get, are in the tests of logins.
    assert known == {name for name, _parameters in EMULATED} | {"skew", "locked"}


# The clock


@pytest.mark.parametrize("whose", ["ours", "the service's"])
@pytest.mark.parametrize("seconds", [-1200, 1200])
def test_a_clock_difference_of_20_minutes_is_corrected(emulator, store_path, seconds: int, whose: str) -> None:
    situation = situation_at(emulator, store_path)
    ours = seconds if whose == "ours" else 0
    if whose != "ours":
        emulator.fault("skew", seconds=seconds)
    before = time.time() + ours
    outcome = situation.run_task(login_token=emulator.issue(), clock=lambda: time.time() + ours)
    assert outcome.record is not None
    assert before <= outcome.record.obtained_at <= time.time() + ours
    assert outcome.record.expires_at == outcome.record.obtained_at + 900
    assert [entry["exchanged"] for entry in emulator.journal()["entries"]] == [False, True]


DATES = [
    "",
    "soon",
    "Mon, 01 Jan 0001 00:00:00 GMT",
    "Mon, 01 Jan 0001 00:00:00 +2359",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Fri, 31 Dec 99999 23:59:59 GMT",
    f"{TOKEN}, 1 Jan",
]


@pytest.mark.parametrize("date", DATES)
def test_a_clock_difference_with_an_invalid_date_fails(store_path, date: str) -> None:
    refusal = response("400 Bad", f"Date: {date}", body=body(Code="InvalidTimeStamp.Expired"))
    with wires() as start:
        wire = start(refusal)
        situation = Situation(DirectoryStore(str(store_path)), wire.url, KEY)
        situation.settings = {"timeout": MARGIN}
        record = situation.store_record("expired")
        error = situation.failure_of_task(retries=3)
    assert (error.code, error.retryable) == ("InvalidTimeStamp.Expired", False)
    assert "Set this host's clock" in error.message
    assert len(wire.heads) in (1, 2)
    assert situation.stored_record() == record


# Unrequested responses


@pytest.mark.parametrize("delayed", [False, True])
def test_an_unrequested_response_is_not_used_for_the_next_request(store_path, delayed: bool) -> None:
    answers = [ok(body(LoginToken=f"v1token{number}")) for number in range(4)]
    sent = threading.Event()

    def answer_twice(connection: socket.socket) -> None:
        first, second = answers.pop(0), answers.pop(0)
        connection.sendall(first if delayed else first + second)
        if delayed:
            time.sleep(0.05)
            connection.sendall(second)
        sent.set()

    with wires() as start:
        session, end = session_at(start(answer_twice).url), time.monotonic() + 4 * MARGIN
        with ServiceClient(KEY, timeout=MARGIN, retries=0) as service:
            first = service.refresh(session, TOKEN, end).login_token
            assert sent.wait(MARGIN)
            second = service.refresh(session, TOKEN, end).login_token
    assert (first, second) == ("v1token0", "v1token2")
