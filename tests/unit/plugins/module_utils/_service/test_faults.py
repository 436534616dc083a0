# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever peers and networks do: one clear sentence, in time, the record as it was, and a token served while it lives."""

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
    TokenRequest,
)
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    LoginRequired,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import (
    Record,
    next_record,
)
from ansible_collections.wuying.workspace.plugins.module_utils._service import client, retry
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.plugins.module_utils.signer import Credentials
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils._service.test_response import (
    TABLE,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.faulty_server import (
    RefreshResult,
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
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.house import (
    SECONDS_LEFT,
    put,
    session_at,
)

ELSEWHERE = "ecd.cn-hangzhou.aliyuncs.com"
KEY = Credentials("LTAI5tExample", "the/secret+of=the key", "the+security/token==")
TOKEN = "v1+the/login=token&18101ac6a9e69c66b04a16303168046"
NEXT = "v1+the/next=token&0c27bab6c205b2fdfac93be59a3aefa4b"
REQUEST_ID = "1CBAFFAB-B697-4049-A9B1-67E1FC5F0000"
TIMEOUT = 0.5
"""What an attempt may take, in seconds, where the fault is one of time."""
PATIENCE = 10
"""By how many seconds a busy machine may be late; no fault of time ends by itself before that."""


# What a peer may say


def body(**fields: t.Any) -> bytes:
    """Return the body of an answer."""
    return json.dumps({"RequestId": REQUEST_ID, **fields}).encode()


GOOD = body(LoginToken=NEXT)
HTML = f"<html>{TOKEN}</html>".encode()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNKNOWN_LENGTH = b"HTTP/1.1 200 OK\r\n\r\n"
BOMB = 100 * gzip.compress(bytes(1 << 20))


def stating(length: object, data: bytes = GOOD) -> bytes:
    """Return an answer that states a length of its own."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n%s" % (str(length).encode(), data)


def ok(data: bytes, *headers: str) -> bytes:
    """Return an answer with status 200."""
    return response("200 OK", *headers, body=data)


def bringing(token: t.Any) -> bytes:
    """Return an answer that has something in the token's place, and the good one elsewhere."""
    return ok(body(LoginToken=token, Message=NEXT))


def then_silent(data: bytes) -> RefreshResult:
    """Return an answer that stops without end."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(data)
        silent(connection)

    return answer


def endlessly_interim(connection: socket.socket) -> None:
    """Say for ever that the answer is about to come."""
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.01)


class Well:
    """A service without a fault, which counts what it is asked for."""

    def __init__(self) -> None:
        self.requests = 0

    def grant(self, connection: socket.socket) -> None:
        """Carry the exchange out."""
        self.requests += 1
        connection.sendall(ok(GOOD))

    def refuse(self, connection: socket.socket) -> None:
        """Say that the token is dead."""
        self.requests += 1
        connection.sendall(response("400 Bad", body=body(Code="InvalidLoginToken", Message=TOKEN)))


# Where a fault lies


@dataclasses.dataclass
class Scene:
    """Where requests go, how, how the fault is mended, and which server no token may reach."""

    endpoint: str
    mend: t.Callable[[RefreshResult], None]
    settings: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    forbidden: Wire | None = None


class Tools(t.NamedTuple):
    """What scenes are made with."""

    start: t.Callable[..., Wire]
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def certify(self, kind: str, name: str, days: int = 7) -> tuple[str, t.Any]:
        """Make a certificate of a folder of its own."""
        folder = self.folder / kind
        folder.mkdir()
        return make_certificate(folder, name, days)


Build = t.Callable[[Tools], Scene]


def peer(answer: RefreshResult, *, reads: bool = True) -> Build:
    """Have the service misbehave."""

    def build(tools: Tools) -> Scene:
        wire = tools.start(answer, reads=reads)

        def mend(well: RefreshResult) -> None:
            wire.answer, wire.reads = well, True

        return Scene(wire.url, mend)

    return build


def nobody(tools: Tools) -> Scene:
    """Have nobody listen."""
    port = closed_port()
    return Scene(f"http://127.0.0.1:{port}", lambda well: void(tools.start(well, port=port)))


def void(_value: object) -> None:
    """Return nothing, whatever is passed."""


def name_service(look_up: t.Callable[..., t.Any]) -> Build:
    """Have the name service misbehave."""

    def build(tools: Tools) -> Scene:
        ca_path, context = tools.certify("good", "no-such-host.invalid")
        wire = tools.start(b"", context)
        tools.monkeypatch.setattr(socket, "getaddrinfo", look_up)

        def mend(well: RefreshResult) -> None:
            wire.answer = well
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", wire.port))]
            tools.monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)

        return Scene(f"https://no-such-host.invalid:{wire.port}", mend, {"ca_path": ca_path})

    return build


def unknown_name(*_arguments: t.Any, **options: t.Any) -> t.Any:
    """Know no name."""
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def hanging_look_up(*_arguments: t.Any, **options: t.Any) -> t.Any:
    """Take longer than anybody waits."""
    threading.Event().wait(2 * PATIENCE)
    raise socket.gaierror(socket.EAI_AGAIN, "Try again")


def certificate(name: str = "127.0.0.1", *, days: int = 7, vouched: bool = True) -> Build:
    """Have the service show a certificate that should convince nobody."""

    def build(tools: Tools) -> Scene:
        good, good_context = tools.certify("good", "127.0.0.1")
        bad, bad_context = tools.certify("bad", name, days)
        known = tools.folder / "ca.pem"
        paths = [good, bad] if vouched else [good]
        known.write_bytes(b"".join(Path(path).read_bytes() for path in paths))
        wire = tools.start(ok(GOOD), bad_context)

        def mend(well: RefreshResult) -> None:
            wire.answer, wire.context = well, good_context

        return Scene(wire.url, mend, {"ca_path": str(known)})

    return build


def authority(data: bytes | None) -> Build:
    """Have something else than CA certificates to verify the service with, or nothing."""

    def build(tools: Tools) -> Scene:
        good, context = tools.certify("good", "127.0.0.1")
        known = tools.folder / "ca.pem"
        if data is not None:
            known.write_bytes(data)
        wire = tools.start(ok(GOOD), context)

        def mend(well: RefreshResult) -> None:
            wire.answer = well
            known.write_bytes(Path(good).read_bytes())

        return Scene(wire.url, mend, {"ca_path": str(known)})

    return build


def handshake(answer: RefreshResult) -> Build:
    """Have the service misbehave where it should shake hands."""

    def build(tools: Tools) -> Scene:
        good, context = tools.certify("good", "127.0.0.1")
        wire = tools.start(answer, reads=False)

        def mend(well: RefreshResult) -> None:
            wire.answer, wire.reads, wire.context = well, True, context

        return Scene(f"https://127.0.0.1:{wire.port}", mend, {"ca_path": good})

    return build


def proxy(answer: RefreshResult | None) -> Build:
    """Have a proxy misbehave, or not be there."""

    def build(tools: Tools) -> Scene:
        ca_path, context = tools.certify("good", ELSEWHERE)
        wire = tools.start(answer) if answer is not None else None
        port = closed_port() if wire is None else wire.port

        def mend(well: RefreshResult) -> None:
            def tunnel(connection: socket.socket) -> None:
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                with context.wrap_socket(connection, server_side=True) as inside:
                    if read_head(inside) and callable(well):
                        well(inside)

            if wire is None:
                tools.start(tunnel, port=port)
            else:
                wire.answer = tunnel

        settings = {"proxy": f"http://127.0.0.1:{port}", "ca_path": ca_path}
        return Scene(f"https://{ELSEWHERE}", mend, settings, forbidden=wire)

    return build


def impostor(tools: Tools) -> Scene:
    """Have a proxy pass itself off as the service."""
    context = tools.certify("bad", ELSEWHERE)[1]
    scene = proxy(b"")(tools)

    def pretend(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection, server_side=True) as inside:
            read_head(inside)

    assert scene.forbidden is not None
    scene.forbidden.answer = pretend
    return scene


def redirect(status: int, *, away: bool) -> Build:
    """Have the service send us on, to itself or to another host."""

    def build(tools: Tools) -> Scene:
        other = tools.start(ok(GOOD))
        scene = peer(b"")(tools)
        target = other.url if away else scene.endpoint
        location = f"Location: {target}/?LoginToken={quote(NEXT, safe='')}"
        said = body(Code="InvalidLoginToken", LoginToken=NEXT)
        scene.mend(response(f"{status} Moved", location, body=said))
        scene.forbidden = other
        return scene

    return build


# The matrix


class Fault(t.NamedTuple):
    """A fault, and what is to come of it. ``doubt``: the service may have carried the exchange out."""

    build: Build
    code: str
    says: str
    retryable: bool = True
    doubt: bool = True
    refused: bool = False


def lost(answer: RefreshResult, **how: t.Any) -> Fault:
    """Return a fault that breaks the connection off."""
    return Fault(peer(answer, **how), "ConnectionLost", "before its response was complete")


def late(answer: RefreshResult) -> Fault:
    """Return a fault that takes too long."""
    return Fault(peer(answer), "Timeout", "did not respond in time")


def unreadable(answer: RefreshResult) -> Fault:
    """Return a fault of which no login token can be read."""
    return Fault(peer(answer), "InvalidResponse", "did not contain a valid login token")


def unreachable(build: Build, code: str, says: str, *, retryable: bool = True) -> Fault:
    """Return a fault that keeps the request from being sent."""
    return Fault(build, code, says, retryable, doubt=False)


def unproxied(status: str) -> Fault:
    """Return the fault of a proxy that refuses."""
    return unreachable(proxy(response(status)), "ProxyFailed", "through the proxy")


def untrusted(build: Build) -> Fault:
    """Return a fault of a certificate."""
    return unreachable(build, "TlsFailed", "could not be verified", retryable=False)


FAULTS: dict[str, Fault] = {
    "connection-refused": unreachable(nobody, "ConnectionFailed", "could not be reached"),
    "name-unknown": unreachable(
        name_service(unknown_name), "NameNotResolved", "could not be resolved"
    ),
    "look-up-hangs": unreachable(
        name_service(hanging_look_up), "Timeout", "did not respond in time"
    ),
    "certificate-expired": untrusted(certificate(days=-1)),
    "certificate-self-signed": untrusted(certificate(vouched=False)),
    "certificate-wrong-name": untrusted(certificate(ELSEWHERE)),
    "authority-missing": unreachable(
        authority(None), "TlsFailed", "Check ca_path", retryable=False
    ),
    "authority-garbage": untrusted(authority(b"garbage")),
    "handshake-in-the-clear": untrusted(handshake(ok(GOOD))),
    "handshake-reset": unreachable(
        handshake(resetting), "ConnectionFailed", "could not be reached"
    ),
    "handshake-stalls": unreachable(handshake(silent), "Timeout", "did not respond in time"),
    "proxy-absent": unreachable(proxy(None), "ProxyFailed", "through the proxy"),
    "proxy-forbids": unproxied("403 Forbidden"),
    "proxy-wants-a-login": unproxied("407 Proxy Authentication Required"),
    "proxy-fails": unproxied("502 Bad Gateway"),
    "proxy-stalls": unreachable(proxy(silent), "Timeout", "did not respond in time"),
    "proxy-impersonates": untrusted(impostor),
    "reset-before-reading": lost(resetting_unread, reads=False),
    "reset-after-reading": lost(resetting),
    "closed-without-answer": lost(b""),
    "stall-before-headers": late(silent),
    "drip-of-status": late(dripping(b"")),
    "drip-of-headers": late(dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ")),
    "drip-of-body": late(dripping(stating(1 << 20))),
    "interim-without-end": late(endlessly_interim),
    "stall-after-body": late(then_silent(UNKNOWN_LENGTH + GOOD)),
    "truncated": lost(stating(len(GOOD), GOOD[:-20])),
    "truncated-unknown-length": unreadable(UNKNOWN_LENGTH + GOOD[:-20]),
    "length-too-short": unreadable(stating(len(GOOD) - 20)),
    "length-too-long": lost(stating(len(GOOD) + 20)),
    "length-too-long-and-stall": late(then_silent(stating(len(GOOD) + 20))),
    "lengths-differ": lost(stating(f"{len(GOOD)}\r\nContent-Length: 5")),
    "chunk-garbage": lost(CHUNKED + b"xyz\r\n" + GOOD),
    "chunk-cut": lost(CHUNKED + b"fff\r\n" + GOOD),
    "chunk-negative": lost(flooding(CHUNKED + b"-1\r\n")),
    "chunk-without-end": unreadable(flooding(CHUNKED + b"ffffffffffffffff\r\n")),
    "gzip-bomb": unreadable(ok(BOMB, "Content-Encoding: gzip")),
    "body-of-100-mib": unreadable(flooding(stating(100 << 20))),
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
    "token-number": unreadable(bringing(42)),
    "token-boolean": unreadable(bringing(True)),
    "token-null": unreadable(bringing(None)),
    "token-list": unreadable(bringing([NEXT])),
    "token-object": unreadable(bringing({"LoginToken": NEXT})),
    "token-empty": unreadable(bringing("")),
    "token-blank": unreadable(bringing(" ")),
    "token-of-two-lines": unreadable(bringing(f"{NEXT}\r\n{NEXT}")),
    "token-with-nul": unreadable(bringing(f"{NEXT}\0")),
    "token-not-ascii": unreadable(bringing(f"{NEXT}é")),
    "token-of-a-megabyte": unreadable(bringing("v" * 1000000)),
    "token-of-two-megabytes": unreadable(bringing("v" * 2000000)),
    "status-500": Fault(
        peer(response("500 Error", body=HTML)), "ServiceUnavailable", "temporarily unavailable"
    ),
    "status-502": Fault(
        peer(response("502 Bad", body=GOOD)), "ServiceUnavailable", "temporarily unavailable"
    ),
    "status-429": Fault(
        peer(response("429 Slow", body=HTML)), "Throttling", "throttling requests", doubt=False
    ),
    "status-403": Fault(
        peer(response("403 Forbidden", body=HTML)),
        "InvalidResponse",
        "HTTP status 403",
        retryable=False,
        doubt=False,
    ),
    "status-200-with-code": Fault(
        peer(ok(body(Code="InternalError", Message=TOKEN))),
        "InternalError",
        "temporarily unavailable",
    ),
    "status-200-with-permission": Fault(
        peer(ok(body(Code="Forbidden.RAM", Message=TOKEN))),
        "Forbidden.RAM",
        "ecd:RefreshLoginToken",
        retryable=False,
        doubt=False,
    ),
    **{
        f"redirect-{status}-{'away' if away else 'home'}": Fault(
            redirect(status, away=away),
            "InvalidResponse",
            "redirects to another URL",
            retryable=False,
            doubt=False,
        )
        for status in (301, 302, 303, 307, 308)
        for away in (False, True)
    },
    **{
        f"{code}-{status}": Fault(
            peer(response(f"{status} Said", body=body(Code=code, Message=f"{TOKEN} {NEXT}"))),
            code,
            "must log in again" if refused else says,
            retryable,
            doubt,
            refused,
        )
        for (code, status), (says, retryable, doubt, refused) in TABLE.items()
    },
}
TRANSIENT = [name for name, fault in FAULTS.items() if fault.retryable]
LASTING = [*{FAULTS[name].code: name for name in reversed(TRANSIENT)}.values()]
"""One fault of each code that may be tried again."""


# Asking


class Stage:
    """A session, its store, and a service out of order."""

    def __init__(self, store: DirectoryStore, endpoint: str, credentials: Credentials) -> None:
        self.store, self.session = store, session_at(endpoint)
        self.credentials, self.settings = credentials, t.cast("dict[str, t.Any]", {})
        self.warnings: list[str] = []
        self.took = 0.0

    def have(self, state: str, token: str = TOKEN) -> Record:
        """Keep a record in the given state."""
        now, left = time.time(), SECONDS_LEFT[state]
        record = next_record(None, self.session, "v1first", token, now, 900, None)
        record = record._replace(obtained_at=now + left - 900, expires_at=now + left)
        put(self.store, record)
        return record

    def kept(self) -> Record | None:
        """Return the record that is kept, having seen that its note shows nothing."""
        kept = self.store.read(self.session.key)
        if kept.note is not None:
            assert_hidden(kept.note.dump().decode())
        return kept.record

    def ask(self, *, deadline: float = 30, retries: int = 0, **options: t.Any) -> Outcome:
        """Ask as a task does."""
        clock = options.pop("clock", time.time)
        settings = {"retries": retries, "clock": clock, **self.settings}
        begun = time.monotonic()
        with ServiceClient(self.credentials, **settings) as service:
            keeper = Keeper(
                self.store, lambda: service, scope="a way", deadline=begun + deadline, clock=clock
            )
            try:
                return keeper.ensure(TokenRequest(self.session, **options), self.warnings.append)
            finally:
                self.took = time.monotonic() - begun

    def fail(self, **options: t.Any) -> WuyingError:
        """Return how a task fails, having seen that it says so clearly and shows no secret."""
        with pytest.raises(WuyingError) as caught:
            self.ask(**options)
        error = caught.value
        assert_clear(error.message, sentences=4 if isinstance(error, LoginRequired) else 3)
        trace = "".join(traceback.format_exception(type(error), error, None))
        assert_hidden(trace, repr(error), str(vars(error)), str(error.as_result()))
        return error


def assert_clear(message: str, *, sentences: int) -> None:
    """Fail where a message is no plain prose of so many sentences."""
    assert re.fullmatch(r"[A-Z][ -~]{20,400}\.", message)
    assert message.count(". ") < sentences
    assert not re.search(r"Traceback|Error\(|Exception|urllib3|http\.client|Errno| at 0x", message)


def forms_of(secret: str) -> set[str]:
    """Return a secret as it may be written, and how it begins."""
    data, percent = secret.encode(), quote(secret, safe="")
    forms = {secret, percent, quote(percent, safe=""), quote(secret), quote_plus(secret)}
    forms |= {json.dumps(secret)[1:-1], secret[:16], data.hex()}
    for shift in range(3):  # base64 of a text looks different after one or two other bytes
        plain = base64.b64encode(bytes(shift) + data).decode()[4 if shift else 0 : -4]
        forms |= {plain, plain.replace("+", "-").replace("/", "_")}
    return forms


SECRETS = [TOKEN, NEXT, KEY.access_key_secret, str(KEY.security_token)]
MARKS = set().union(*map(forms_of, SECRETS))


def assert_hidden(*texts: str) -> None:
    """Fail where a text has a token, a secret, a signature or a query in it."""
    for text in texts:
        assert not [mark for mark in MARKS if mark in text]
        assert not re.search(r"Signature=|LoginToken=|Nonce=|x-acs-", text)


@pytest.fixture(autouse=True)
def _nothing_logged(monkeypatch, caplog, capfd):
    """See for each test that nothing secret is logged or printed; have attempts follow each other quickly."""
    monkeypatch.setattr(retry, "BACKOFF", 0.001)
    caplog.set_level(logging.DEBUG)
    yield
    printed = capfd.readouterr()
    assert_hidden(caplog.text, printed.out, printed.err)
    assert "Traceback" not in printed.err


@pytest.fixture(name="play")
def fixture_play(tmp_path, store_path, monkeypatch):
    """Return a function that sets a fault up; afterwards no token has reached who must not have it."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    scenes: list[Scene] = []
    with wires() as start:

        def play(fault: str) -> tuple[Stage, Scene]:
            scene = FAULTS[fault].build(Tools(start, folder, monkeypatch))
            scenes.append(scene)
            stage = Stage(DirectoryStore(str(store_path)), scene.endpoint, KEY)
            timeout = TIMEOUT if FAULTS[fault].code == "Timeout" else PATIENCE
            stage.settings = {"timeout": timeout, **scene.settings}
            return stage, scene

        yield play
        for wire in [scene.forbidden for scene in scenes if scene.forbidden is not None]:
            assert_hidden(*wire.heads)


@pytest.mark.parametrize("name", FAULTS)
def test_while_the_token_lives(play, name: str) -> None:
    fault, (stage, _scene) = FAULTS[name], play(name)
    record = stage.have("stale")
    if fault.retryable:
        assert stage.ask() == (False, record, record, None)
        (warning,) = stage.warnings
        assert fault.says in warning
        assert_clear(warning, sentences=5)
        assert_hidden(warning)
    else:
        error = stage.fail()
        assert (error.code, error.retryable) == (fault.code, False)
        assert fault.says in error.message
    assert stage.took < stage.settings["timeout"] + PATIENCE
    assert stage.kept() == (record.ended_with(fault.code) if fault.refused else record)


@pytest.mark.parametrize("name", FAULTS)
def test_when_no_token_lives_and_the_next_answer_is_a_refusal(play, name: str) -> None:
    fault, (stage, scene), well = FAULTS[name], play(name), Well()
    record = stage.have("expired")
    error = stage.fail()
    assert (error.code, error.retryable) == (fault.code, fault.retryable)
    assert fault.says in error.message
    assert stage.took < stage.settings["timeout"] + PATIENCE
    assert stage.kept() == (record.ended_with(fault.code) if fault.refused else record)
    scene.mend(well.refuse)
    stage.settings["timeout"] = PATIENCE
    error = stage.fail(force=True)
    assert error.code == ("OutcomeUnknown" if fault.doubt else "InvalidLoginToken")
    assert "must log in again" in error.message
    assert (error.retryable, error.http_status, error.request_id) == (False, 400, REQUEST_ID)
    assert stage.kept() == record.ended_with(error.code)
    assert well.requests == 1


@pytest.mark.parametrize("name", FAULTS)
def test_the_next_task_when_all_is_well_again(play, name: str) -> None:
    fault, (stage, scene), well = FAULTS[name], play(name), Well()
    record = stage.have("current")
    stage.fail(force=True)
    scene.mend(well.grant)
    stage.settings["timeout"] = PATIENCE
    if fault.refused:
        assert stage.fail().code == "SessionEnded"
    else:
        outcome = stage.ask()
        assert outcome.changed == fault.doubt
        assert outcome.record == stage.kept()
        assert (outcome.record == record) != fault.doubt
    assert well.requests == fault.doubt


@pytest.mark.parametrize("name", LASTING)
def test_a_fault_that_lasts_is_over_by_the_deadline(play, monkeypatch, name: str) -> None:
    fault, (stage, _scene) = FAULTS[name], play(name)
    record = stage.have("expired")
    stage.settings["timeout"] = 60
    monkeypatch.setattr(client, "LEAST_TIME", TIMEOUT / 10)
    error = stage.fail(deadline=TIMEOUT, retries=100000)
    assert error.code in (fault.code, "Timeout")  # the last attempt may end with the deadline
    assert error.retryable
    assert stage.took < TIMEOUT + PATIENCE
    assert stage.kept() == record


# The emulator's faults, with a service that lets an exchanged token die

# name of a fault, its parameters: the code that it ends with, whether to try again, whether the token is then dead
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


def at_emulator(emulator: t.Any, store_path: Path) -> Stage:
    """Return a stage at an emulator."""
    key = Credentials(emulator.access_key_id, emulator.access_key_secret)
    stage = Stage(DirectoryStore(str(store_path)), emulator.url, key)
    stage.settings = {"timeout": PATIENCE}
    return stage


@pytest.mark.parametrize(("name", "parameters"), EMULATED)
def test_a_fault_of_the_emulator(start_emulator, store_path, name: str, parameters: str) -> None:
    code, retryable, dead = EMULATED[name, parameters]
    emulator = start_emulator("--rotate")
    stage = at_emulator(emulator, store_path)
    stage.settings["timeout"] = TIMEOUT if code == "Timeout" else PATIENCE
    record = stage.have("stale", emulator.issue())
    emulator.fault(name, **json.loads(parameters))
    if retryable:
        assert stage.ask() == (False, record, record, None)
        assert_clear(stage.warnings[0], sentences=5)
    else:
        assert stage.fail().code == code
    assert stage.took < stage.settings["timeout"] + PATIENCE
    assert stage.kept() == record
    stage.settings["timeout"] = PATIENCE
    if dead:
        assert stage.fail().code == "OutcomeUnknown"
    else:
        assert stage.ask().record == stage.kept() != record


def test_every_fault_of_the_emulator_is_among_them(emulator) -> None:
    known = set(emulator.control("GET", "")["faults"])
    assert known == {name for name, _parameters in EMULATED} | {"skew"}


# The clock


@pytest.mark.parametrize("whose", ["ours", "the service's"])
@pytest.mark.parametrize("seconds", [-1200, 1200])
def test_a_clock_that_is_off_by_20_minutes(emulator, store_path, seconds: int, whose: str) -> None:
    stage = at_emulator(emulator, store_path)
    ours = seconds if whose == "ours" else 0
    if whose != "ours":
        emulator.fault("skew", seconds=seconds)
    before = time.time() + ours
    outcome = stage.ask(login_token=emulator.issue(), clock=lambda: time.time() + ours)
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
def test_a_clock_that_is_off_and_a_date_that_is_no_help(store_path, date: str) -> None:
    refusal = response("400 Bad", f"Date: {date}", body=body(Code="InvalidTimeStamp.Expired"))
    with wires() as start:
        wire = start(refusal)
        stage = Stage(DirectoryStore(str(store_path)), wire.url, KEY)
        stage.settings = {"timeout": PATIENCE}
        record = stage.have("stale")
        error = stage.fail(retries=3)
    assert (error.code, error.retryable) == ("InvalidTimeStamp.Expired", False)
    assert "Set this host's clock" in error.message
    assert len(wire.heads) in (1, 2)
    assert stage.kept() == record


# Answers to nobody's question


@pytest.mark.parametrize("late", [False, True])
def test_an_answer_that_nobody_asked_for_is_not_the_next_one_s(store_path, late: bool) -> None:
    answers = [ok(body(LoginToken=f"v1token{number}")) for number in range(4)]
    sent = threading.Event()

    def answer_twice(connection: socket.socket) -> None:
        first, second = answers.pop(0), answers.pop(0)
        connection.sendall(first if late else first + second)
        if late:
            time.sleep(0.05)
            connection.sendall(second)
        sent.set()

    with wires() as start:
        session, end = session_at(start(answer_twice).url), time.monotonic() + 4 * PATIENCE
        with ServiceClient(KEY, timeout=PATIENCE, retries=0) as service:
            first = service.refresh(session, TOKEN, end).login_token
            assert sent.wait(PATIENCE)
            second = service.refresh(session, TOKEN, end).login_token
    assert (first, second) == ("v1token0", "v1token2")
