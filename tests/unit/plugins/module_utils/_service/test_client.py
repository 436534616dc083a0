# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that a refresh is signed, sent, retried if that makes sense, and finished by its deadline."""

from __future__ import annotations

import base64
import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import typing as t
from pathlib import Path
from urllib.parse import parse_qs, quote, quote_plus

import pytest
from ansible.module_utils.basic import missing_required_lib

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    ServiceError,
    TokenRejected,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session
from ansible_collections.wuying.workspace.plugins.module_utils._runtime.signals import hold_signals
from ansible_collections.wuying.workspace.plugins.module_utils._service import client, retry
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._service.response import (
    RefreshResult,
)
from ansible_collections.wuying.workspace.plugins.module_utils._service.transport import Transport
from ansible_collections.wuying.workspace.plugins.module_utils.signer import (
    Credentials,
    SignedRequest,
)

ROOT = Path(client.__file__).parents[6]
IDENTITY = {
    "region_id": "cn-hangzhou",
    "client_id": "f4a0dc8e-1702-4728-9a60-95b27a35c0de",
    "office_site_id": "cn-hangzhou+dir-2381910001",
    "end_user_id": "alice",
}
TIME_LIMIT = 15
"""How many seconds a step may take that normally takes less than one."""

# Name of a fault, its parameters, the resulting error code
TRANSIENT = [
    ("refuse", {}, "ConnectionLost"),
    ("reset", {}, "ConnectionLost"),
    ("non_json", {}, "InvalidResponse"),
    ("oversized", {}, "InvalidResponse"),
    ("wrong_type", {}, "InvalidResponse"),
    ("status", {"status": 500}, "ServiceUnavailable"),
    ("status", {"status": 503}, "ServiceUnavailable"),
    ("throttle", {}, "Throttling.User"),
    ("throttle", {"status": 400, "code": "Throttling.Api"}, "Throttling.Api"),
    ("code", {}, "InternalError"),
    ("error", {"code": "SignatureNonceUsed"}, "SignatureNonceUsed"),
    ("error", {"code": "ServiceUnavailable", "status": 503}, "ServiceUnavailable"),
]
PERMANENT = [
    ("redirect", {}, "InvalidResponse"),
    ("status", {"status": 403}, "InvalidResponse"),
    ("error", {"code": "MissingEndUserId"}, "MissingEndUserId"),
    ("error", {"code": "InvalidParameter"}, "InvalidParameter"),
    ("error", {"code": "SignatureDoesNotMatch", "status": 403}, "SignatureDoesNotMatch"),
    ("error", {"code": "InvalidSecurityToken.Expired"}, "InvalidSecurityToken.Expired"),
    ("error", {"code": "NoPermission", "status": 403}, "NoPermission"),
    ("error", {"code": "InvalidAction.NotFound", "status": 404}, "InvalidAction.NotFound"),
    ("error", {"code": "InvalidLoginToken"}, "InvalidLoginToken"),
]
EVERY_FAULT = [
    *TRANSIENT,
    *PERMANENT,
    ("stall", {"seconds": 30}, "Timeout"),
    ("truncate", {}, None),
    ("error", {"code": "InvalidTimeStamp.Expired"}, "InvalidTimeStamp.Expired"),
]


def name_fault(value: t.Any) -> str:
    """Return a short name for a fault or its parameters."""
    return "-".join(map(str, value.values())) if isinstance(value, dict) else str(value)


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch):
    """Shorten the waits between attempts."""
    monkeypatch.setattr(retry, "BACKOFF", 0.001)


@pytest.fixture(name="requests_sent")
def fixture_requests_sent(monkeypatch):
    """Return a list to which every signed request is appended."""
    sent: list[SignedRequest] = []
    send = Transport.post

    def post(transport, endpoint, request, seconds):
        sent.append(request)
        return send(transport, endpoint, request, seconds)

    monkeypatch.setattr(Transport, "post", post)
    return sent


def key_of(emulator: t.Any) -> Credentials:
    """Return the access key of an emulator."""
    return Credentials(emulator.access_key_id, emulator.access_key_secret)


def session_at(endpoint: str, **identity: str) -> Session:
    """Return a session at an endpoint."""
    return Session(endpoint=endpoint, **{**IDENTITY, **identity})


def refresh(
    emulator: t.Any,
    token: str | None = None,
    *,
    seconds: float = TIME_LIMIT,
    credentials: Credentials | None = None,
    clock: t.Callable[[], float] = time.time,
    **settings: t.Any,
) -> RefreshResult:
    """Refresh a token with a new client."""
    key = credentials or key_of(emulator)
    token = token or emulator.issue()
    settings = {"timeout": 5, "retries": 0, **settings}
    with ServiceClient(key, clock=clock, **settings) as service:
        return service.refresh(session_at(emulator.url), token, time.monotonic() + seconds)


def failure_of(emulator: t.Any, *arguments: t.Any, **settings: t.Any) -> ServiceError:
    """Return the error of a failing refresh."""
    with pytest.raises(ServiceError) as caught:
        refresh(emulator, *arguments, **settings)
    return caught.value


def count(emulator: t.Any) -> int:
    """Return how many requests an emulator has received."""
    return int(emulator.journal()["requests"])


def nonces(requests: list[SignedRequest]) -> list[str]:
    """Return the nonces of V3 requests."""
    return [request.headers["x-acs-signature-nonce"] for request in requests]


def dates(requests: list[SignedRequest]) -> list[str]:
    """Return the time stamps of V3 requests."""
    return [request.headers["x-acs-date"] for request in requests]


# Requests


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_a_signed_refresh_returns_the_next_token(emulator, version):
    token = emulator.issue()
    result = refresh(emulator, token, signature_version=version)
    assert result.login_token not in ("", token)
    entry = emulator.journal()["entries"][0]
    assert (entry["signature"], entry["exchanged"]) == (version, True)
    assert entry["request_id"] == result.request_id


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_temporary_credentials_sign_with_their_security_token(emulator, version):
    credentials = Credentials(**emulator.sts)
    assert refresh(emulator, credentials=credentials, signature_version=version).login_token
    assert emulator.journal()["entries"][0]["signature"] == version


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_a_request_without_credentials_is_anonymous(emulator, version):
    with ServiceClient(None, signature_version=version) as service:
        session, end = session_at(emulator.url), time.monotonic() + TIME_LIMIT
        assert service.refresh(session, emulator.issue(), end).login_token
    assert emulator.journal()["entries"][0]["signature"] == "anonymous"


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_the_whole_identity_and_the_session_id_are_sent_in_the_query(emulator, requests_sent, version):
    identity = {"end_user_id": "爱 & co", "directory_id": "dir+1/2"}
    token = emulator.issue(**identity, session_id="s=1")
    with ServiceClient(key_of(emulator), signature_version=version) as service:
        session = session_at(emulator.url, **identity)
        assert service.refresh(session, token, time.monotonic() + TIME_LIMIT, session_id="s=1").login_token
    sent = {name: value for name, (value,) in parse_qs(requests_sent[0].query).items()}
    assert {
        "RegionId": "cn-hangzhou",
        "ClientId": IDENTITY["client_id"],
        "OfficeSiteId": IDENTITY["office_site_id"],
        "EndUserId": "爱 & co",
        "DirectoryId": "dir+1/2",
        "SessionId": "s=1",
        "LoginToken": token,
    }.items() <= sent.items()
    assert requests_sent[0].body == b""


def test_unset_optional_parameters_are_not_sent(emulator, requests_sent):
    refresh(emulator)
    assert set(parse_qs(requests_sent[0].query)) == {
        "RegionId",
        "ClientId",
        "OfficeSiteId",
        "EndUserId",
        "LoginToken",
    }


def test_the_time_of_a_result_is_just_before_the_request_was_sent(emulator):
    before = time.time()
    sent_at = refresh(emulator).sent_at
    assert before <= sent_at <= emulator.journal()["entries"][0]["at"]


def test_a_token_is_sent_only_to_a_host_with_a_verified_certificate(start_emulator):
    emulator = start_emulator("--tls")
    error = failure_of(emulator, "v1unknown", ca_path=emulator.ca_path)
    assert (error.code, isinstance(error, TokenRejected)) == ("InvalidLoginToken", True)
    assert failure_of(emulator, "v1unknown").code == "TlsFailed"


def test_threads_can_share_a_client(emulator):
    tokens_received: list[str] = []
    tokens = [emulator.issue() for _number in range(12)]
    end = time.monotonic() + TIME_LIMIT
    with ServiceClient(key_of(emulator), connections=4) as service:

        def work(token: str) -> None:
            tokens_received.append(service.refresh(session_at(emulator.url), token, end).login_token)

        threads = [threading.Thread(target=work, args=(token,)) for token in tokens]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIME_LIMIT)
    assert len(set(tokens_received)) == len(tokens)
    assert emulator.journal()["exchanges"] == len(tokens)


# Retries


@pytest.mark.parametrize(("fault", "parameters", "code"), TRANSIENT, ids=name_fault)
def test_a_temporary_failure_is_retried(emulator, fault, parameters, code):
    emulator.fault(fault, **parameters)
    assert refresh(emulator, retries=1).login_token
    assert count(emulator) == 2


@pytest.mark.parametrize(("fault", "parameters", "code"), TRANSIENT, ids=name_fault)
def test_a_lasting_failure_ends_after_all_retries(emulator, fault, parameters, code):
    emulator.fault(fault, count=None, **parameters)
    error = failure_of(emulator, retries=2)
    assert (error.code, error.retryable, isinstance(error, TokenRejected)) == (code, True, False)
    assert count(emulator) == 3


@pytest.mark.parametrize(("fault", "parameters", "code"), PERMANENT, ids=name_fault)
def test_a_permanent_failure_is_not_retried(emulator, fault, parameters, code):
    emulator.fault(fault, **parameters)
    error = failure_of(emulator, retries=3)
    assert (error.code, error.retryable) == (code, False)
    assert count(emulator) == 1


def test_without_retries_there_is_one_attempt(emulator):
    emulator.fault("throttle")
    assert failure_of(emulator, retries=0).code == "Throttling.User"
    assert count(emulator) == 1


def test_the_timeout_applies_to_each_attempt(emulator):
    emulator.fault("stall", seconds=30)
    assert refresh(emulator, retries=1, timeout=0.3).login_token
    assert count(emulator) == 2


def test_each_attempt_has_its_own_nonce_and_time_stamp(emulator, requests_sent):
    emulator.fault("status", count=3)
    ticks = itertools.count(int(time.time()))
    refresh(emulator, retries=3, clock=lambda: next(ticks))
    assert len(requests_sent) == 4
    assert len(set(nonces(requests_sent))) == 4
    assert len(set(dates(requests_sent))) == 4


def test_retries_send_the_same_token_and_parameters(emulator, requests_sent):
    emulator.fault("reset", count=2)
    refresh(emulator, retries=2)
    assert len({request.query for request in requests_sent}) == 1


def test_an_unknown_outcome_is_kept_after_a_later_rejection(emulator):
    emulator.fault("reset")
    emulator.fault("error", code="InvalidLoginToken")
    error = failure_of(emulator, retries=1)
    assert (error.code, isinstance(error, TokenRejected), error.outcome_unknown) == (
        "InvalidLoginToken",
        True,
        True,
    )


def test_the_outcome_of_a_rejection_is_known(emulator):
    error = failure_of(emulator, "v1unknown")
    assert (error.code, isinstance(error, TokenRejected), error.outcome_unknown) == (
        "InvalidLoginToken",
        True,
        False,
    )


def test_the_outcome_of_a_refused_connection_is_known(start_emulator):
    emulator = start_emulator()
    emulator.stop()
    error = failure_of(emulator, "v1", retries=2)
    assert (error.code, error.outcome_unknown, error.retryable) == ("ConnectionFailed", False, True)


@pytest.mark.parametrize(("attempt", "longest"), [(0, 0.5), (1, 1), (3, 4), (5, 16), (99, 16)])
def test_the_back_off_doubles_up_to_a_limit_and_adds_to_retry_after(monkeypatch, attempt, longest):
    monkeypatch.setattr(retry, "BACKOFF", 0.5)
    waits = [retry.backoff(attempt, 2.0) for _time in range(300)]
    assert min(waits) >= 2.0
    assert max(waits) <= 2.0 + longest
    assert max(waits) - min(waits) > longest / 2


def test_a_retry_waits_as_long_as_the_service_asks(emulator):
    emulator.fault("throttle", retry_after=400)
    assert refresh(emulator, retries=1).login_token
    first, second = emulator.journal()["entries"]
    assert 0.4 <= second["at"] - first["at"] < TIME_LIMIT


def test_a_retry_after_beyond_the_deadline_fails_at_once(emulator):
    emulator.fault("throttle", retry_after=60000)
    begun = time.monotonic()
    error = failure_of(emulator, retries=3, seconds=30)
    assert time.monotonic() - begun < TIME_LIMIT
    assert (error.code, error.retryable) == ("Throttling.User", True)
    assert count(emulator) == 1


# The clock


@pytest.mark.parametrize("version", ["v1", "v3"])
@pytest.mark.parametrize("seconds", [-7200, 7200])
def test_a_wrong_clock_is_corrected_by_the_time_of_the_service(emulator, seconds, version):
    emulator.fault("skew", seconds=seconds)
    before = time.time()
    result = refresh(emulator, signature_version=version)
    assert count(emulator) == 2
    assert before <= result.sent_at <= time.time()


def test_a_clock_correction_applies_to_the_next_refresh(emulator):
    emulator.fault("skew", seconds=7200)
    end = time.monotonic() + TIME_LIMIT
    with ServiceClient(key_of(emulator)) as service:
        for _time in range(2):
            service.refresh(session_at(emulator.url), emulator.issue(), end)
    assert count(emulator) == 3


def test_a_clock_correction_applies_to_one_endpoint_only(emulator, start_emulator):
    emulator.fault("skew", seconds=7200)
    other = start_emulator()
    end = time.monotonic() + TIME_LIMIT
    with ServiceClient(None) as service:
        service.credentials = key_of(emulator)
        service.refresh(session_at(emulator.url), emulator.issue(), end)
        service.credentials = key_of(other)
        service.refresh(session_at(other.url), other.issue(), end)
    assert (count(emulator), count(other)) == (2, 1)


def test_the_clock_is_corrected_only_once(emulator):
    emulator.fault("error", code="InvalidTimeStamp.Expired", count=None)
    error = failure_of(emulator, retries=3)
    assert (error.code, error.retryable) == ("InvalidTimeStamp.Expired", False)
    assert count(emulator) == 2


# The deadline


def test_nothing_is_sent_after_the_deadline(emulator):
    error = failure_of(emulator, seconds=-1)
    assert (error.code, error.retryable, error.outcome_unknown) == ("DeadlineExceeded", True, False)
    assert count(emulator) == 0


def test_an_attempt_ends_at_the_deadline_if_that_is_before_the_timeout(emulator, monkeypatch):
    monkeypatch.setattr(client, "LEAST_TIME", 0.01)
    emulator.fault("stall", seconds=60)
    begun = time.monotonic()
    error = failure_of(emulator, seconds=0.3, timeout=30, retries=3)
    assert time.monotonic() - begun < TIME_LIMIT
    assert (error.code, error.outcome_unknown) == ("Timeout", True)
    assert error.message.endswith("The login token may already have been used.")


def test_retries_end_at_the_deadline(emulator, monkeypatch):
    monkeypatch.setattr(retry, "BACKOFF", 0.2)
    monkeypatch.setattr(client, "LEAST_TIME", 0.01)
    emulator.fault("status", count=None)
    begun = time.monotonic()
    error = failure_of(emulator, seconds=0.5, retries=100)
    assert time.monotonic() - begun < TIME_LIMIT
    assert error.code == "ServiceUnavailable"


@pytest.mark.parametrize(("seconds", "timeout"), [(0.9, 60), (0.45, 5)])
def test_no_attempt_starts_that_could_be_cut_off(emulator, seconds, timeout):
    error = failure_of(emulator, seconds=seconds, timeout=timeout, retries=3)
    assert (error.code, error.retryable, error.outcome_unknown) == ("DeadlineExceeded", True, False)
    assert count(emulator) == 0


def test_no_retry_starts_that_could_be_cut_off(emulator):
    emulator.fault("throttle", retry_after=3000, count=None)
    begun = time.monotonic()
    error = failure_of(emulator, seconds=3.5, timeout=60, retries=3)
    assert time.monotonic() - begun < 3
    assert (error.code, error.retryable) == ("Throttling.User", True)
    assert count(emulator) == 1


def test_a_pending_signal_ends_the_retries(emulator, monkeypatch):
    monkeypatch.setattr(retry, "BACKOFF", 60)
    monkeypatch.setattr(retry, "BACKOFF_LIMIT", 60)
    emulator.fault("status", count=None)
    received, errors, token = [], [], emulator.issue()
    handler = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    begun = time.monotonic()
    try:
        timer.start()
        with hold_signals():
            errors.append(failure_of(emulator, token, retries=100, seconds=300))
    finally:
        timer.join()
        signal.signal(signal.SIGTERM, handler)
    assert time.monotonic() - begun < 2 * TIME_LIMIT
    assert errors[0].code == "ServiceUnavailable"
    assert received == [signal.SIGTERM]


# Secrets


def forms_of(secret: str) -> set[str]:
    """Return a secret unchanged, percent-encoded and in base64."""
    encoded = {base64.b64encode(secret.encode()).decode().rstrip("=")}
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)} | encoded


def assert_hidden(shown: str, secrets: t.Iterable[str]) -> None:
    """Fail if the text contains one of the secrets."""
    for secret in secrets:
        assert not any(form in shown for form in forms_of(secret))


@pytest.mark.parametrize("version", ["v1", "v3"])
@pytest.mark.parametrize(("fault", "parameters", "code"), EVERY_FAULT, ids=name_fault)
def test_no_failure_shows_a_secret(emulator, requests_sent, caplog, capfd, version, fault, parameters, code):
    caplog.set_level(logging.DEBUG)
    token, credentials = emulator.issue(), Credentials(**emulator.sts)
    if fault == "error":
        parameters = {**parameters, "message": f"{token} {credentials.access_key_secret}"}
    emulator.fault(fault, count=None, **parameters)
    error = failure_of(emulator, token, credentials=credentials, retries=1, timeout=1, signature_version=version)
    assert code in (None, error.code)
    secrets = [token, credentials.access_key_secret, str(credentials.security_token)]
    for request in requests_sent:
        query = {name: value for name, (value,) in parse_qs(request.query).items()}
        secrets += [request.query, query.get("Signature") or signature_v3(request)]
        secrets += [query.get("SignatureNonce") or nonces([request])[0]]
    printed = capfd.readouterr()
    shown = "".join(traceback.format_exception(type(error), error, None))
    assert_hidden(f"{shown} {error.as_result()} {error!r} {vars(error)}", secrets)
    assert_hidden(caplog.text + printed.out + printed.err, secrets)


def signature_v3(request: SignedRequest) -> str:
    """Return the signature of a V3 request."""
    return request.headers["authorization"].rpartition("Signature=")[2]


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_the_string_to_sign_in_a_response_is_not_shown(emulator, version):
    token = emulator.issue()
    wrong = Credentials(emulator.access_key_id, "wrong")
    error = failure_of(emulator, token, credentials=wrong, signature_version=version)
    assert error.code == "SignatureDoesNotMatch"
    assert_hidden(f"{error.message} {error.as_result()}", [token, "string to sign"])


def test_a_successful_refresh_shows_no_token(emulator, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    token = emulator.issue()
    result = refresh(emulator, token)
    printed = capfd.readouterr()
    assert_hidden(caplog.text + printed.out + printed.err, [token, result.login_token])
    assert_hidden(f"{result!r} {result}", [result.login_token])


# The HTTP library


def run_python(code: str) -> str:
    """Run Python code in a new process and return its output."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PACKAGE = "ansible_collections.wuying.workspace.plugins.module_utils"


def test_without_requests_the_error_says_what_to_install():
    printed = run_python(
        f"""
import sys
sys.modules["requests"] = None
from {PACKAGE}._model.exceptions import MissingLibraryError
from {PACKAGE}._service.client import ServiceClient
try:
    ServiceClient(None)
except MissingLibraryError as error:
    print(error.message, error.outcome_unknown, error.retryable, error.code)
"""
    )
    usual = missing_required_lib("requests").partition(" on ")[0]
    assert usual and printed.startswith(usual)
    assert printed.rstrip().endswith("False False MissingLibrary")


@pytest.mark.parametrize(
    "statement",
    [
        "raise AttributeError('sesame')",
        "raise RuntimeError('sesame')",
        "raise ValueError('sesame')",
        "sesame = ",
        "1 / 0",
        "import sys; sys.modules.clear.sesame",
        "class X(object, metaclass=7): pass",
    ],
)
@pytest.mark.parametrize("package", ["requests", "urllib3"])
def test_a_broken_package_is_named_without_a_traceback(tmp_path, statement, package):
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(statement)
    printed = run_python(
        f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from {PACKAGE}._model.exceptions import MissingLibraryError
from {PACKAGE}._service.client import ServiceClient
try:
    ServiceClient(None)
except MissingLibraryError as error:
    print(error.message, error.outcome_unknown, error.retryable, error.code)
"""
    )
    assert "Python package requests" in printed
    assert "is broken: " in printed
    assert sys.executable in printed
    assert "sesame" not in printed
    assert printed.rstrip().endswith("False False MissingLibrary")


def test_returning_stored_tokens_loads_no_http_library():
    loaded = run_python(
        f"import sys, {PACKAGE}._plugin.wiring, {PACKAGE}._plugin.result; print(*sorted(sys.modules))"
    ).split()
    assert f"{PACKAGE}._keeper.keeper" in loaded
    not_loaded = {"requests", "urllib3", "http.client", f"{PACKAGE}._service.client"}
    assert not not_loaded & set(loaded)
