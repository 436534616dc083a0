# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that the stages of a login are sent as given, that every answer is classified, and that none of them shows a secret."""

from __future__ import annotations

import base64
import contextlib
import http.server
import itertools
import json
import threading
import time
import typing as t
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    ClockSkew,
    LoginRefused,
    OptionError,
    ServiceError,
    Throttled,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import after_login, next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import load_record
from ansible_collections.wuying.workspace.plugins.module_utils._service import retry
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._service.login import (
    KEEP_ALIVE,
    MFA,
    PASSWORD,
    LoginAnswer,
    read_login,
)
from ansible_collections.wuying.workspace.plugins.module_utils._service.transport import Response
from ansible_collections.wuying.workspace.plugins.module_utils.signer import Credentials
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.odd_texts import odd_texts
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import session_at

ENDPOINT = "https://ecd.cn-hangzhou.aliyuncs.com"
REQUEST_ID = "1CBAFFAB-B697-4049-A9B1-67E1FC5F0000"
TOKEN = "v1c27bab6c205b2fdfac93be59a3aefa4b09b4c5f4af8ba4ddb5d4a2c1a7"
KEPT = "ka3f1d8a77e05b4ce2a96c1f0db2458e9b7a6350c1d2e3f4a5b6c7d8e9f0a1b2c3"
SECRETS = {PASSWORD: "Sesame, open!", MFA: "287082", KEEP_ALIVE: KEPT}
STAGES = tuple(SECRETS)
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
DATE_SECONDS = 1700000000
CAPTURED: dict[str, t.Any] = {
    "RequestId": REQUEST_ID,
    "LoginToken": TOKEN,
    "NextStage": "",
    "SessionId": "cd45e873-650d-4d70-acb9-f996187a0000",
    "EndUserId": "alice",
    "Email": "",
    "Phone": "",
    "Label": "",
    "TenantId": 1234567890123456,
    "Secret": "",
    "QrCodePng": "",
    "Reason": "",
    "RiskVerifyInfo": {"Email": "", "Phone": "", "Locked": "false", "LastLockDuration": 0},
    "PasswordStrategy": {},
    "Props": {},
}
"""An answer as the service is known to give: absent strings are empty, and there is no KeepAliveToken."""


def make_response(status: int = 200, headers: dict[str, str] | None = None, **fields: t.Any) -> Response:
    """Return a JSON response."""
    return Response(status, headers or {}, json.dumps(fields).encode("utf-8"))


def read(response: Response, stage: str = PASSWORD, *secrets: str) -> LoginAnswer:
    """Read the answer to a stage."""
    return read_login(response, ENDPOINT, stage, secrets or [SECRETS[stage]], 1234.5, DATE_SECONDS - 7.5)


def failure_of(response: Response, stage: str = PASSWORD, *secrets: str) -> ServiceError:
    """Return the error that an answer raises."""
    with pytest.raises(ServiceError) as caught:
        read(response, stage, *secrets)
    return caught.value


# Answers that complete a login, or name the next stage


def test_the_captured_answer_completes_a_login():
    for stage in STAGES:
        assert read(make_response(**CAPTURED), stage) == LoginAnswer(
            TOKEN, REQUEST_ID, 1234.5, None, "cd45e873-650d-4d70-acb9-f996187a0000", None, 0.0
        )


@pytest.mark.parametrize("status", [200, 201, 204, 299])
@pytest.mark.parametrize("next_stage", [{}, {"NextStage": ""}, {"NextStage": None}])
def test_a_token_without_a_next_stage_completes_a_login(status, next_stage):
    answer = read(make_response(status, LoginToken=TOKEN, **next_stage))
    assert answer == LoginAnswer(TOKEN, None, 1234.5)


def test_a_keep_alive_token_is_returned_as_it_is():
    for token in (KEPT, "with space", "密码", "a+b%20&c"):
        assert read(make_response(**CAPTURED, KeepAliveToken=token)).keep_alive_token == token


@pytest.mark.parametrize("value", ["", None, 7, True, [], {}, ["x"], "line\nbreak", "nul\0"])
def test_a_keep_alive_token_or_session_id_that_is_no_text_is_absent(value):
    answer = read(make_response(**{**CAPTURED, "KeepAliveToken": value, "SessionId": value}))
    assert (answer.login_token, answer.keep_alive_token, answer.session_id) == (TOKEN, None, None)


def test_names_of_fields_in_lower_case_are_accepted():
    fields = {name.lower(): value for name, value in {**CAPTURED, "KeepAliveToken": KEPT}.items()}
    answer = read(make_response(**fields))
    assert (answer.login_token, answer.keep_alive_token, answer.request_id) == (TOKEN, KEPT, REQUEST_ID)
    assert answer.session_id == CAPTURED["SessionId"]
    stage = read(make_response(**{**fields, "logintoken": "", "nextstage": MFA}))
    assert stage.next_stage == MFA
    assert failure_of(make_response(400, code="InvalidPassword", requestid=REQUEST_ID)).code == "InvalidPassword"


@pytest.mark.parametrize("code", ["OK", "Success", "200", 200, "SomethingElse"])
def test_a_token_completes_a_login_whatever_the_code(code):
    assert read(make_response(**CAPTURED, Code=code)).login_token == TOKEN


@pytest.mark.parametrize(
    "stage", ["MFAVerify", "MFABind", "TokenVerify", "ChangePassword", "VerifyForRisk", "MFAVerifyV1"]
)
@pytest.mark.parametrize("token", ["", None, TOKEN])
def test_a_next_stage_means_that_the_login_is_not_complete(stage, token):
    answer = read(make_response(**{**CAPTURED, "LoginToken": token, "NextStage": stage}))
    assert (answer.next_stage, answer.session_id, answer.request_id) == (stage, CAPTURED["SessionId"], REQUEST_ID)


@pytest.mark.parametrize(
    "stage",
    ["two words", "a/b", "x" * 65, "1st", "<b>", "stage\n", " ", 7, True, ["MFAVerify"], {"MFAVerify": 1}, "密码"],
)
def test_a_next_stage_that_is_no_name_is_unknown(stage):
    assert read(make_response(**{**CAPTURED, "LoginToken": "", "NextStage": stage})).next_stage == "unknown"


@pytest.mark.parametrize("stage", ["MFAVerify", "MFABind", "TokenVerify", "ChangePassword"])
def test_a_known_stage_is_recognised_even_if_it_is_part_of_a_secret(stage):
    response = make_response(**{**CAPTURED, "LoginToken": "", "NextStage": stage})
    for password in (stage, f"{stage}-2026!", stage.lower(), stage[:4], "e"):
        assert read(response, PASSWORD, password).next_stage == stage


@pytest.mark.parametrize(
    ("date", "offset"), [(DATE, 7.5), ("", 0.0), ("yesterday", 0.0), ("Tue, 99 Nov 2023 22:13:20 GMT", 0.0)]
)
def test_the_clock_of_the_service_is_read_from_the_date_header(date, offset):
    assert read(make_response(200, {"date": date}, **CAPTURED)).clock_offset == offset
    next_stage = make_response(200, {"date": date}, **{**CAPTURED, "LoginToken": "", "NextStage": MFA})
    assert read(next_stage).clock_offset == offset


@pytest.mark.parametrize(
    "token", [42, True, " ", "two words", "line\nbreak", "nul\0", ["v1"], {"v": 1}, "v" * 8193, "é"]
)
def test_a_malformed_token_has_an_unknown_outcome(token):
    error = failure_of(make_response(**{**CAPTURED, "LoginToken": token}))
    assert (error.code, error.retryable, error.outcome_unknown) == ("InvalidResponse", True, True)
    assert not isinstance(error, LoginRefused)
    assert (error.http_status, error.request_id) == (200, REQUEST_ID)


def test_the_text_form_of_an_answer_shows_nothing():
    answer = read(make_response(**CAPTURED, KeepAliveToken=KEPT))
    assert not [secret for secret in (TOKEN, KEPT) if secret in f"{answer!r}{answer}{[answer]}"]


# Refusals

REFUSALS: list[tuple[int, dict[str, t.Any], str]] = [
    (400, {"Code": "InvalidPassword"}, "InvalidPassword"),
    (401, {"Code": "Unauthorized"}, "Unauthorized"),
    (403, {"Code": "Forbidden.User"}, "Forbidden.User"),
    (404, {"Code": "InvalidUser.NotFound"}, "InvalidUser.NotFound"),
    (409, {"Code": "Conflict"}, "Conflict"),
    (429, {"Code": "TooManyWrongPasswords"}, "TooManyWrongPasswords"),
    (400, {"Code": "SignatureNonceUsed"}, "SignatureNonceUsed"),
    (400, {"Code": "ServiceUnavailable"}, "ServiceUnavailable"),
    (200, {"Code": "InvalidPassword"}, "InvalidPassword"),
    (200, {"Code": "InvalidPassword", "LoginToken": "", "NextStage": ""}, "InvalidPassword"),
    (200, {"Code": "InvalidPassword", "NextStage": "ADPassword"}, "InvalidPassword"),
    (200, {"Code": "Success"}, "Success"),
    (302, {"Code": "Moved"}, "Moved"),
    (400, {"Code": "not a code"}, "LoginRefused"),
    (400, {"Code": "lower"}, "LoginRefused"),
    (400, {"Code": ""}, "LoginRefused"),
    (400, {}, "LoginRefused"),
    (200, {}, "LoginRefused"),
    (200, {"LoginToken": "", "NextStage": ""}, "LoginRefused"),
    (200, {"LoginToken": None, "NextStage": None}, "LoginRefused"),
]


@pytest.mark.parametrize(("status", "fields", "code"), REFUSALS)
@pytest.mark.parametrize("stage", STAGES)
def test_any_answer_of_the_service_that_is_nothing_else_is_a_refusal(stage, status, fields, code):
    error = failure_of(make_response(status, RequestId=REQUEST_ID, **fields), stage)
    assert isinstance(error, LoginRefused)
    assert (error.code, error.retryable, error.outcome_unknown) == (code, False, False)
    assert (error.http_status, error.request_id, error.stage) == (status, REQUEST_ID, stage)
    words = {PASSWORD: "the password", MFA: "the one-time code", KEEP_ALIVE: "the stored keep-alive token"}
    assert words[stage] in error.message and f"({code})" in error.message


@pytest.mark.parametrize("status", [302, 400, 403, 429, 500, 503])
@pytest.mark.parametrize("next_stage", ["", MFA])
def test_no_token_or_stage_of_another_status_is_accepted(status, next_stage):
    error = failure_of(make_response(status, **{**CAPTURED, "NextStage": next_stage}))
    assert isinstance(error, LoginRefused) == (status < 500)
    assert error.outcome_unknown == (status >= 500)
    assert TOKEN not in f"{error} {error.as_result()}"


def test_a_code_alone_is_an_answer_of_the_service():
    for status in (200, 400, 403, 404):
        assert isinstance(failure_of(make_response(status, Code="InvalidPassword")), LoginRefused)


@pytest.mark.parametrize("locked", [{"Locked": "true"}, {"Locked": True}, {"Locked": "True"}, {"locked": "true"}])
@pytest.mark.parametrize(("status", "code"), [(200, None), (200, ""), (403, "Forbidden.User"), (200, "UserLocked")])
def test_a_locked_account_is_a_refusal_that_says_so(status, code, locked):
    risk = {"Email": "a***@example.com", "LastLockDuration": 1800, **locked}
    fields = {"RequestId": REQUEST_ID, "LoginToken": "", "Code": code, "RiskVerifyInfo": risk}
    error = failure_of(make_response(status, **fields))
    assert isinstance(error, LoginRefused)
    assert (error.code, error.http_status) == (code or "AccountLocked", status)
    assert "the account is locked" in error.message


@pytest.mark.parametrize(
    "risk", [None, "true", [], ["Locked"], {}, {"Locked": "false"}, {"Locked": None}, {"Locked": 1}]
)
def test_any_other_risk_information_does_not_say_that_an_account_is_locked(risk):
    error = failure_of(make_response(403, RequestId=REQUEST_ID, RiskVerifyInfo=risk))
    assert (type(error), error.code) == (LoginRefused, "LoginRefused")


# Answers that are no refusals


@pytest.mark.parametrize("status", [200, 400, 429, 500, 503])
@pytest.mark.parametrize("code", ["Throttling", "Throttling.User", "Throttling.Api"])
def test_throttling_is_not_counted_as_an_attempt(status, code):
    error = failure_of(make_response(status, {"x-acs-retry-after": "1500"}, Code=code, RequestId=REQUEST_ID))
    assert isinstance(error, Throttled)
    assert (error.code, error.retryable, error.outcome_unknown, error.retry_after) == (code, True, False, 1.5)


@pytest.mark.parametrize("status", [500, 503])
def test_service_unavailable_is_not_counted_as_an_attempt(status):
    error = failure_of(make_response(status, {"retry-after": "3"}, Code="ServiceUnavailable", RequestId=REQUEST_ID))
    assert (error.code, error.retryable, error.outcome_unknown) == ("ServiceUnavailable", True, False)
    assert (error.retry_after, isinstance(error, LoginRefused)) == (3, False)


@pytest.mark.parametrize("code", ["InvalidTimeStamp.Expired", "IllegalTimestamp"])
def test_a_refused_time_stamp_is_not_counted_as_an_attempt(code):
    error = failure_of(make_response(400, {"date": DATE}, Code=code, RequestId=REQUEST_ID))
    assert isinstance(error, ClockSkew)
    assert (error.code, error.outcome_unknown, error.server_time) == (code, False, DATE_SECONDS)


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 599])
@pytest.mark.parametrize("code", ["InternalError", "InvalidPassword", "SomethingElse"])
def test_any_other_5xx_answer_has_an_unknown_outcome(status, code):
    error = failure_of(make_response(status, Code=code, RequestId=REQUEST_ID))
    assert (error.code, error.retryable, error.outcome_unknown) == (code, True, True)
    assert not isinstance(error, LoginRefused)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Access denied</html>",
        b"{",
        b'{"LoginToken": "v1',
        b"null",
        b"42",
        b'"v1token"',
        b'["LoginToken"]',
        b"{}",
        b'{"error": "denied"}',
        b'{"Code": 403}',
        b'{"Message": "no"}',
        b"\xff\xfe\x00",
        b"[" * 200000,
    ],
    ids=lambda body: repr(body[:16]),
)
@pytest.mark.parametrize("status", [200, 204, 301, 302, 307, 400, 401, 403, 404, 407, 418, 429, 500, 502, 503, 504])
def test_an_answer_that_is_not_the_services_has_an_unknown_outcome(status, body):
    for stage in STAGES:
        error = failure_of(Response(status, {"location": f"https://example.com/?p={SECRETS[stage]}"}, body), stage)
        code = "ServiceUnavailable" if status >= 500 else "InvalidResponse"
        assert (error.code, error.retryable, error.outcome_unknown) == (code, True, True)
        assert not isinstance(error, LoginRefused)
        assert "example.com" not in error.message and "denied" not in error.message


# Hostile answers: no secret in what is shown


def bare(text: str) -> str:
    """Return a text in lower case and without separators."""
    return "".join(character for character in text.lower() if character not in "._-")


def forms_of(secret: str) -> list[str]:
    """Return encodings of a secret: each can be echoed, and none may be shown."""
    data = secret.encode("utf-8")
    encoded = [base64.b64encode(prefix + data).decode() for prefix in (b"", b"x", b"yz")]
    urlsafe = [base64.urlsafe_b64encode(prefix + data + b"xyz").decode() for prefix in (b"", b"x", b"yz")]
    plain = [secret, secret.lower(), secret.upper(), secret.swapcase(), secret.capitalize()]
    parted = [f"{secret[:4]}.{secret[4:]}", f"{secret[:3]}_{secret[3:]}"]
    return [
        *plain,
        *parted,
        *encoded,
        *[form.rstrip("=") for form in encoded],
        *urlsafe,
        data.hex(),
        data.hex().upper(),
        quote(secret, safe=""),
        quote_plus(secret),
        quote(quote(secret, safe=""), safe=""),
        json.dumps(secret)[1:-1],
    ]


def shown_of(response: Response, stage: str, secret: str) -> str:
    """Return everything that an answer, or the error that it raises, shows to a user."""
    try:
        answer = read(response, stage, secret)
    except ServiceError as error:
        return f"{error} {error!r} {error.message} {json.dumps(error.as_result())}"
    return f"{answer!r} {answer.next_stage} {answer.request_id}"


def in_a_request_id(form: str) -> str:
    """Return a request ID that contains as much of a text as it can, if that is hex."""
    digits = (bare(form) + "0" * 32)[:32]
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


HOSTILE = {
    PASSWORD: [
        "Sesame0pen",
        "OpenSesame",
        "Sesame, open!",
        "a1b2c3d4e5f6",
        "AbcdefAbcdef",
        "p%40ss+word&",
        "密码Sesame",
        "ZZ99zz88YY77",
    ],
    MFA: ["287082", "000000", "012345"],
    KEEP_ALIVE: [KEPT, "OpenSesameOpenSesame", "k1-0123456789abcdef0123456789abcdef"],
}


@pytest.mark.parametrize(("stage", "secret"), [(stage, each) for stage, secrets in HOSTILE.items() for each in secrets])
def test_no_form_of_a_secret_that_is_echoed_is_shown(stage, secret):
    hidden = {bare(form) for form in forms_of(secret)} | {bare(secret)}
    echoes = [text for form in forms_of(secret) for text in (form, f"A{form}", f"Invalid.{form}", f"Invalid{form}X")]
    for status, echo in itertools.product((200, 400, 403, 503), echoes):
        for fields in (
            {"Code": echo, "RequestId": REQUEST_ID},
            {"Code": "InvalidPassword", "RequestId": in_a_request_id(echo)},
            {"NextStage": echo, "RequestId": in_a_request_id(echo), "LoginToken": ""},
            {"Message": echo, "Recommend": echo, "Reason": echo, "RequestId": echo, "HostId": echo},
            {"RiskVerifyInfo": {"Locked": echo, "Email": echo}, "RequestId": REQUEST_ID},
        ):
            shown = bare(shown_of(make_response(status, **fields), stage, secret))
            assert not [form for form in hidden if form in shown], (status, fields)


@pytest.mark.parametrize("size", [15, 20, 31])
def test_no_long_piece_of_a_keep_alive_token_is_shown(size):
    for start in range(len(KEPT) - size):
        piece = KEPT[start : start + size]
        for echo in (piece, base64.b64encode(piece.encode()).decode().rstrip("="), piece.encode().hex()):
            code = f"Ab.X{echo[:9]}.X{echo[9:]}" if echo == piece else f"X{echo}"
            for name, text in {
                "Code": code[:64],
                "NextStage": f"x{echo}"[:64],
                "RequestId": in_a_request_id(echo),
            }.items():
                response = Response(200, {}, json.dumps({"RequestId": "x", name: text}).encode())
                assert bare(echo)[:15] not in bare(shown_of(response, KEEP_ALIVE, KEPT)), (name, text)


@pytest.mark.parametrize("stage", STAGES)
def test_no_token_that_an_answer_issues_is_shown(stage):
    token, kept = "TokenSesameToken0123", "KeepSesameKeep4567"
    for status in (200, 400, 503):
        for echo in (token, kept):
            response = make_response(status, LoginToken=token, KeepAliveToken=kept, Code=echo, NextStage=echo)
            assert "sesame" not in shown_of(response, stage, SECRETS[stage]).lower()
            response = make_response(status, LoginToken=f"{token}\n", KeepAliveToken=kept, Code=echo, RequestId="x")
            assert "sesame" not in shown_of(response, stage, SECRETS[stage]).lower()


def test_a_short_password_does_not_hide_request_ids():
    for password in ("1", "ab", "abcde"):
        assert read(make_response(**CAPTURED), PASSWORD, password).request_id == REQUEST_ID
        assert failure_of(make_response(403, Code="Zzz", RequestId=REQUEST_ID), PASSWORD, password).request_id


def test_a_short_password_hides_no_codes_by_chance():
    for password in ("7", "x", "Zz", "123"):
        assert (
            failure_of(make_response(403, Code="InvalidPassword.Login"), PASSWORD, password).code
            == "InvalidPassword.Login"
        )


def test_a_code_that_is_part_of_a_secret_is_used_but_not_shown():
    error = failure_of(make_response(400, Code="Throttling.User", RequestId=REQUEST_ID), PASSWORD, "throttling.user")
    assert isinstance(error, Throttled)
    assert "throttling.user" not in f"{error.message} {error.as_result()}".lower()


# Requests


class Sent(t.NamedTuple):
    """A request as the standard library reads it."""

    target: str
    parameters: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Server(http.server.ThreadingHTTPServer):
    """A server that remembers requests, and answers with the next of its answers, or again with the last."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.sent: list[Sent] = []
        self.answers: list[tuple[int, dict[str, t.Any]]] = [(200, CAPTURED)]
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Reads and answers the requests of a server."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def do_POST(self) -> None:
        """Remember a request and answer it."""
        server = t.cast(Server, self.server)
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True, strict_parsing=True, errors="strict")
        assert all(len(values) == 1 for values in query.values())
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        server.sent.append(Sent(self.path, {name: value for name, (value,) in query.items()}, headers, body))
        status, fields = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        data = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, *_arguments: t.Any) -> None:
        """Print nothing."""


@pytest.fixture(name="server")
def fixture_server(monkeypatch):
    """Return a running server. Clients wait only for moments between attempts."""
    monkeypatch.setattr(retry, "BACKOFF", 0.001)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@contextlib.contextmanager
def client(**settings: t.Any) -> t.Iterator[ServiceClient]:
    """Yield a client that has credentials, which logins must not use."""
    with ServiceClient(Credentials("LTAI5t", "sesame", "a security token"), **settings) as service:
        yield service


def log_in(server: Server, service: ServiceClient, stage: str = PASSWORD, **parameters: str | None) -> LoginAnswer:
    """Send a stage of a login."""
    session = session_at(server.url)._replace(directory_id="cn-hangzhou+dir-1")
    return service.log_in(session, stage, parameters or {"Password": "Sesame"}, time.monotonic() + 20)


COMMON = {
    "RegionId": "cn-hangzhou",
    "ClientId": "f4a0dc8e-1702-4728-9a60-95b27a35c0de",
    "OfficeSiteId": "cn-hangzhou+dir-2381910001",
    "EndUserId": "alice",
}


@pytest.mark.parametrize("version", ["v1", "v3"])
@pytest.mark.parametrize(
    ("stage", "parameters"),
    [
        (PASSWORD, {"Password": "Sesame, open!", "KeepAlive": None, "Uuid": None}),
        (PASSWORD, {"Password": "Sesame, open!", "KeepAlive": "true", "Uuid": "a device"}),
        (MFA, {"SessionId": "an ID", "AuthenticationCode": "012345", "KeepAlive": "true"}),
        (KEEP_ALIVE, {"KeepAliveToken": KEPT, "KeepAlive": "true"}),
    ],
)
def test_all_parameters_are_in_the_query_of_an_unsigned_request(server, version, stage, parameters):
    with client(signature_version=version) as service:
        assert log_in(server, service, stage, **parameters).login_token == TOKEN
    (sent,) = server.sent
    own = {name: value for name, value in sent.parameters.items() if name[:1].isupper()}
    given = {name: value for name, value in parameters.items() if value is not None}
    if version == "v1":
        for name in ("Format", "Timestamp", "SignatureNonce"):
            assert own.pop(name)
        assert (own.pop("Action"), own.pop("Version")) == ("GetLoginToken", "2020-10-02")
    else:
        assert sent.headers["x-acs-action"] == "GetLoginToken"
    assert own == {**COMMON, "CurrentStage": stage, **given}
    assert sent.body == b""
    assert not [
        name for name in sent.headers if name in ("authorization", "x-acs-security-token", "x-acs-accesskey-id")
    ]
    assert not [
        part for part in ("LTAI5t", "sesame", "security", "Signature=") if part in f"{sent.target}{sent.headers}"
    ]
    assert not [value for name, value in given.items() if name != "KeepAlive" and value in str(sent.headers)]


def test_keep_alive_is_lower_case_and_a_plus_is_encoded(server):
    with client() as service:
        log_in(server, service, Password="a+b c", KeepAlive="true")
    target = server.sent[0].target
    assert "KeepAlive=true" in target and "Password=a%2Bb%20c" in target
    assert "OfficeSiteId=cn-hangzhou%2Bdir-2381910001" in target
    assert "+" not in target and "DirectoryId" not in target


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_300_odd_texts_arrive_as_they_were_given(server, version):
    texts = odd_texts(300)
    assert len(set(texts)) == 300 and {len(text) for text in texts} >= {1, 200}
    with client(signature_version=version) as service:
        for password, user, token in zip(texts, texts[100:] + texts[:100], texts[200:] + texts[:200]):
            session = session_at(server.url)._replace(end_user_id=user)
            server.answers = [(200, {**CAPTURED, "KeepAliveToken": token})]
            answer = service.log_in(session, PASSWORD, {"Password": password}, time.monotonic() + 20)
            record = next_record(None, session, None, answer.login_token, 0.0, 900, None)
            stored = load_record(
                after_login(record, answer.session_id, answer.keep_alive_token, accepted=False).dump(), session.key
            )
            assert stored.keep_alive is not None
            service.log_in(session, KEEP_ALIVE, {"KeepAliveToken": stored.keep_alive.token}, time.monotonic() + 20)
            first, second = (sent.parameters for sent in server.sent[-2:])
            assert (first["Password"], first["EndUserId"]) == (password, user)
            assert (second["KeepAliveToken"], second["EndUserId"]) == (token, user)


# Repeated requests

NOT_JUDGED = [
    (429, {"Code": "Throttling.User", "RequestId": REQUEST_ID}),
    (503, {"Code": "ServiceUnavailable", "RequestId": REQUEST_ID}),
]
JUDGED = [
    (400, {"Code": "InvalidPassword", "RequestId": REQUEST_ID}),
    (200, {"Code": "InvalidPassword"}),
    (200, {"RequestId": REQUEST_ID, "RiskVerifyInfo": {"Locked": "true"}}),
    (500, {"Code": "InternalError", "RequestId": REQUEST_ID}),
    (502, {}),
    (200, {}),
    (403, {}),
    (302, {}),
    (200, {"LoginToken": "two words"}),
    (409, {"Code": "OperationConflict", "RequestId": REQUEST_ID}),
    (400, {"Code": "SignatureNonceUsed", "RequestId": REQUEST_ID}),
]


@pytest.mark.parametrize("answer", NOT_JUDGED)
@pytest.mark.parametrize("stage", STAGES)
def test_a_request_that_was_not_judged_is_repeated(server, stage, answer):
    server.answers = [answer, answer, (200, CAPTURED)]
    with client(retries=2) as service:
        assert log_in(server, service, stage, Password="Sesame").login_token == TOKEN
    nonces = {sent.headers["x-acs-signature-nonce"] for sent in server.sent}
    assert len(server.sent) == len(nonces) == 3


@pytest.mark.parametrize("answer", JUDGED)
@pytest.mark.parametrize("stage", STAGES)
def test_a_request_that_may_have_been_judged_is_never_repeated(server, stage, answer):
    server.answers = [answer]
    with client(retries=5) as service:
        with pytest.raises(ServiceError) as caught:
            log_in(server, service, stage, Password="Sesame")
    assert len(server.sent) == 1
    assert caught.value.stage == stage


@pytest.mark.parametrize("answer", JUDGED)
def test_after_a_repeated_request_the_last_answer_counts(server, answer):
    server.answers = [*NOT_JUDGED, answer]
    with client(retries=5) as service:
        with pytest.raises(ServiceError) as caught:
            log_in(server, service)
    assert len(server.sent) == 3
    server.answers = [answer]
    with client() as service:
        with pytest.raises(ServiceError) as alone:
            log_in(server, service)
    assert caught.value.as_result() == alone.value.as_result()
    assert caught.value.outcome_unknown == alone.value.outcome_unknown


def test_a_refused_time_stamp_is_corrected_once(server):
    skew = (400, {"Code": "InvalidTimeStamp.Expired", "RequestId": REQUEST_ID})
    server.answers = [skew, (200, CAPTURED)]
    with client(clock=lambda: 1_600_000_000.0, retries=0) as service:
        log_in(server, service)
    first, second = (sent.headers["x-acs-date"] for sent in server.sent)
    assert first == "2020-09-13T12:26:40Z" and second > "2026"
    server.answers = [skew]
    with client(clock=lambda: 1_600_000_000.0, retries=5) as service:
        with pytest.raises(ClockSkew) as caught:
            log_in(server, service)
    assert (len(server.sent), caught.value.outcome_unknown) == (4, False)


def test_no_login_is_sent_without_time_or_to_a_port_where_nobody_listens(server):
    with client() as service:
        with pytest.raises(ServiceError) as caught:
            service.log_in(session_at(server.url), PASSWORD, {"Password": "Sesame"}, time.monotonic())
        assert (caught.value.code, caught.value.outcome_unknown, caught.value.stage) == (
            "DeadlineExceeded",
            False,
            PASSWORD,
        )
    assert server.sent == []
    server.shutdown()  # a thread that still waits for a connection would keep the port open
    server.server_close()
    with client(retries=1) as service:
        with pytest.raises(ServiceError) as caught:
            log_in(server, service)
    assert (caught.value.code, caught.value.outcome_unknown) == ("ConnectionFailed", False)


@pytest.mark.parametrize("endpoint", ["https://ecd.cn-hangzhou.aliyuncs.com", "https://127.0.0.1.example.com"])
@pytest.mark.parametrize("stage", STAGES)
def test_without_verified_certificates_no_login_leaves_loopback(monkeypatch, endpoint, stage):
    monkeypatch.setattr(ServiceClient, "_send", lambda *_arguments, **_more: pytest.fail("A login was sent."))
    with client(validate_certs=False) as service:
        with pytest.raises(OptionError, match="validate_certs=false allows logins at loopback endpoints only"):
            service.log_in(session_at(endpoint), stage, {"Password": "Sesame"}, time.monotonic() + 20)


def test_without_verified_certificates_a_login_is_sent_to_loopback(server):
    with client(validate_certs=False) as service:
        assert log_in(server, service).login_token == TOKEN


def test_no_error_of_a_login_shows_a_parameter(server):
    parameters = {"Password": "Sesame+open", "AuthenticationCode": "287082", "KeepAliveToken": KEPT}
    for answer in (*JUDGED, *NOT_JUDGED):
        server.answers = [answer]
        with client(retries=0) as service:
            with pytest.raises(ServiceError) as caught:
                log_in(server, service, PASSWORD, **parameters)
        shown = f"{caught.value} {caught.value!r} {caught.value.as_result()}"
        assert not [secret for secret in ("Sesame", "287082", KEPT, "a security token") if secret in shown]


def test_no_answer_shows_a_secret_of_an_earlier_request(server):
    server.answers = [(403, {"Code": "Sesame.open", "RequestId": REQUEST_ID})]
    with client() as service:
        with pytest.raises(LoginRefused) as caught:
            service.log_in(
                session_at(server.url), MFA, {"AuthenticationCode": "287082"}, time.monotonic() + 20, ["Sesame.open"]
            )
    assert "Sesame" not in f"{caught.value} {caught.value!r} {caught.value.as_result()}"
