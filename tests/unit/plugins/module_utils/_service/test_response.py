# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that responses are interpreted by the error table, and that only code and request ID are shown."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    ClockSkew,
    ServiceError,
    Throttled,
    TokenRejected,
)
from ansible_collections.wuying.workspace.plugins.module_utils._service.response import (
    RefreshResult,
    read_response,
)
from ansible_collections.wuying.workspace.plugins.module_utils._service.transport import Response

ENDPOINT = "https://ecd.cn-hangzhou.aliyuncs.com"
REQUEST_ID = "1CBAFFAB-B697-4049-A9B1-67E1FC5F0000"
SPENT = "v18101ac6a9e69c66b04a163031680463660b4b216cd758f34b60b9ad6a7c7f7334b83dd8f75eef4209"
NEXT = "v1c27bab6c205b2fdfac93be59a3aefa4b09b4c5f4af8ba4ddb5d4a2c1a7"
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
DATE_SECONDS = 1700000000

CREDENTIALS = "access key"
PERMISSION = "ecd:RefreshLoginToken"
REQUEST = "options that identify the session"
ENDPOINT_OPTIONS = "region_id and endpoint"
LATER = "Try again later"
# (code, HTTP status): (part of the message, retryable, outcome unknown, token rejected)
TABLE = {
    ("MissingParameter", 400): (REQUEST, False, False, False),
    ("MissingEndUserId", 400): (REQUEST, False, False, False),
    ("InvalidParameter", 400): (REQUEST, False, False, False),
    ("InvalidRegionId.NotFound", 404): (REQUEST, False, False, False),
    ("InvalidAccessKeyId.NotFound", 404): (CREDENTIALS, False, False, False),
    ("InvalidAccessKeyId.NotFound", 400): (CREDENTIALS, False, False, False),
    ("InvalidAccessKeyId.Inactive", 400): (CREDENTIALS, False, False, False),
    ("IncompleteSignature", 400): (CREDENTIALS, False, False, False),
    ("SignatureDoesNotMatch", 400): (CREDENTIALS, False, False, False),
    ("SignatureDoesNotMatch", 403): (CREDENTIALS, False, False, False),
    ("InvalidSecurityToken.Expired", 400): (CREDENTIALS, False, False, False),
    ("InvalidSecurityToken.Malformed", 403): (CREDENTIALS, False, False, False),
    ("InvalidSecurityToken.MismatchWithAccessKey", 400): (CREDENTIALS, False, False, False),
    ("SignatureNonceUsed", 400): (LATER, True, False, False),
    ("InvalidTimeStamp.Expired", 400): ("clock", False, False, False),
    ("Forbidden.RAM", 403): (PERMISSION, False, False, False),
    ("NoPermission", 403): (PERMISSION, False, False, False),
    ("Throttling", 400): (LATER, True, False, False),
    ("Throttling", 429): (LATER, True, False, False),
    ("Throttling.User", 429): (LATER, True, False, False),
    ("Throttling.Api", 400): (LATER, True, False, False),
    ("ServiceUnavailable", 503): (LATER, True, True, False),
    ("ServiceUnavailable", 500): (LATER, True, True, False),
    ("InternalError", 500): (LATER, True, True, False),
    ("InternalError", 200): (LATER, True, True, False),
    ("SomethingElse", 500): (LATER, True, True, False),
    ("InvalidAction.NotFound", 404): (ENDPOINT_OPTIONS, False, False, False),
    ("InvalidApi.NotFound", 404): (ENDPOINT_OPTIONS, False, False, False),
    ("InvalidProduct.NotFound", 404): (ENDPOINT_OPTIONS, False, False, False),
    ("InvalidLoginToken", 400): ("rejected the login token", False, False, True),
    ("InvalidLoginToken.Expired", 403): ("rejected the login token", False, False, True),
    ("LoginTokenExpired", 400): ("rejected the login token", False, False, True),
    ("SomethingElse", 400): ("rejected the login token", False, False, True),
}


def make_response(status: int = 200, headers: dict[str, str] | None = None, **fields: t.Any) -> Response:
    """Return a JSON response."""
    return Response(status, headers or {}, json.dumps(fields).encode("utf-8"))


def read(response: Response, token_sent: str = SPENT) -> RefreshResult:
    """Read a response to a refresh."""
    return read_response(response, ENDPOINT, [token_sent], 1234.5)


def failure_of(response: Response, token_sent: str = SPENT) -> ServiceError:
    """Return the error that a response raises."""
    with pytest.raises(ServiceError) as caught:
        read(response, token_sent)
    return caught.value


def test_the_token_in_a_response_is_returned():
    result = read(make_response(LoginToken=NEXT, RequestId=REQUEST_ID))
    assert (result.login_token, result.request_id, result.sent_at) == (NEXT, REQUEST_ID, 1234.5)


def test_lowercase_field_names_are_accepted():
    result = read(make_response(loginToken=NEXT, requestId=REQUEST_ID))
    assert (result.login_token, result.request_id) == (NEXT, REQUEST_ID)
    assert failure_of(make_response(400, code="Throttling")).code == "Throttling"


def test_the_text_form_of_a_result_hides_the_token():
    result = read(make_response(LoginToken=NEXT))
    assert NEXT not in f"{result!r}{result}{[result]}"


@pytest.mark.parametrize(("code", "status"), TABLE)
def test_each_code_is_handled_as_in_the_table(code, status):
    message, retryable, outcome_unknown, rejected = TABLE[code, status]
    error = failure_of(make_response(status, Code=code, RequestId=REQUEST_ID, Message=SPENT))
    assert message in error.message
    assert code in error.message
    assert (error.retryable, error.outcome_unknown, isinstance(error, TokenRejected)) == (
        retryable,
        outcome_unknown,
        rejected,
    )
    assert (error.code, error.http_status, error.request_id) == (code, status, REQUEST_ID)
    assert isinstance(error, Throttled) == code.startswith("Throttling")
    assert isinstance(error, ClockSkew) == code.startswith("InvalidTimeStamp")


@pytest.mark.parametrize(("code", "status"), TABLE)
def test_no_error_shows_the_message_of_the_service(code, status):
    error = failure_of(make_response(status, Code=code, Message=f"signed: {SPENT}", Recommend=SPENT))
    assert SPENT not in f"{error!r} {error} {error.as_result()}"


def test_a_code_without_a_token_is_a_failure_with_any_status():
    assert failure_of(make_response(200, Code="Forbidden.RAM")).code == "Forbidden.RAM"


@pytest.mark.parametrize(
    "code",
    [
        "",
        "throttling",
        "Throttling; see https://example.com/",
        "Throttling\n",
        "<b>Throttling</b>",
        f"Invalid.{SPENT}",
        "X" * 200,
        "Invalid.A.B.C.D",
        SPENT,
    ],
)
def test_a_malformed_code_is_not_shown(code):
    error = failure_of(make_response(400, Code=code))
    assert (error.code, isinstance(error, TokenRejected)) == ("InvalidResponse", False)
    assert not code or code not in error.message


@pytest.mark.parametrize("status", [200, 302, 405, 408, 413, 429, 431])
def test_an_unknown_code_rejects_no_token_if_the_status_is_unrelated(
    status,
):
    error = failure_of(make_response(status, Code="SomethingElse"))
    assert not isinstance(error, TokenRejected)
    assert error.outcome_unknown == (status == 200)
    assert error.retryable == (status in (200, 408, 429))


def test_a_missing_token_parameter_is_not_a_rejection():
    assert not isinstance(failure_of(make_response(400, Code="MissingLoginToken")), TokenRejected)


def test_a_request_id_that_is_the_token_is_not_shown():
    token = "1CBAFFAB-B697-4049-A9B1-67E1FC5F0000"
    result = read_response(make_response(200, LoginToken="v1next", RequestId=token), ENDPOINT, [token], 0.0)
    assert result.request_id is None


@pytest.mark.parametrize("token_sent", ["SesameOpen", "TheTokenSesameOpenItIs"])
def test_a_code_that_is_part_of_the_token_is_not_shown(token_sent):
    error = failure_of(make_response(400, Code="SesameOpen"), token_sent)
    assert "SesameOpen" not in f"{error.message} {error.as_result()}"


SECURITY_TOKEN = "CAISabc29635b13022205797fe1b226"


@pytest.mark.parametrize("secret", [SPENT, NEXT, SECURITY_TOKEN])
@pytest.mark.parametrize("size", [15, 31])
def test_no_piece_of_a_secret_is_shown_even_with_separators(secret, size):
    piece = secret[-size:]
    code = f"Ab.X{piece[:9]}.{piece[9:].capitalize()}"
    response = make_response(400, LoginToken=NEXT, Code=code, RequestId=REQUEST_ID)
    with pytest.raises(ServiceError) as caught:
        read_response(response, ENDPOINT, [SPENT, SECURITY_TOKEN], 0.0)
    shown = f"{caught.value!r} {caught.value} {caught.value.as_result()}"
    assert code not in shown
    assert caught.value.code == "InvalidResponse"


def test_a_request_id_that_contains_part_of_a_token_is_not_shown():
    token = "v1" + "0123456789abcdef" * 8
    request_id = "23456789-abcd-ef01-2345-6789ABCDEF01"
    response = make_response(200, LoginToken=NEXT, RequestId=request_id)
    assert read_response(response, ENDPOINT, ["v1other"], 0.0).request_id == request_id
    assert read_response(response, ENDPOINT, ["v1other", token], 0.0).request_id is None
    response = make_response(200, LoginToken=token, RequestId=request_id)
    assert read_response(response, ENDPOINT, ["v1other"], 0.0).request_id is None


@pytest.mark.parametrize("request_id", [None, 7, "", "no-uuid", SPENT, REQUEST_ID + "\n", ["x"]])
def test_a_malformed_request_id_is_not_shown(request_id):
    assert read(make_response(LoginToken=NEXT, RequestId=request_id)).request_id is None
    assert failure_of(make_response(400, Code="Throttling", RequestId=request_id)).request_id is None


@pytest.mark.parametrize(
    "token",
    [None, 42, True, "", " ", "two words", "line\nbreak", "nul\0", ["v1"], {"v": 1}, "v" * 1000000],
    ids=lambda token: repr(token)[:20],
)
def test_a_malformed_token_is_not_accepted(token):
    error = failure_of(make_response(LoginToken=token, RequestId=REQUEST_ID))
    assert (error.code, error.retryable, error.outcome_unknown) == ("InvalidResponse", True, True)
    assert error.request_id == REQUEST_ID
    assert not isinstance(error, TokenRejected)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b"{",
        b'{"LoginToken": "v1',
        b"null",
        b"42",
        b'"v1token"',
        b'["LoginToken"]',
        b"\xff\xfe\x00",
        b"[" * 200000,
        b'{"a":' * 200000,
        b'{"LoginToken": NaN}',
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_not_a_json_object_contains_no_token(body):
    error = failure_of(Response(200, {}, body))
    assert (error.code, error.retryable, error.outcome_unknown) == ("InvalidResponse", True, True)


def test_a_token_is_accepted_with_status_200_only():
    error = failure_of(make_response(500, LoginToken=NEXT))
    assert (error.code, error.retryable, error.outcome_unknown) == (
        "ServiceUnavailable",
        True,
        True,
    )
    assert NEXT not in error.message


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_a_5xx_status_is_retryable_and_its_outcome_unknown(status):
    error = failure_of(Response(status, {}, b"<html>"))
    assert (error.code, error.retryable, error.outcome_unknown) == (
        "ServiceUnavailable",
        True,
        True,
    )
    assert error.http_status == status


@pytest.mark.parametrize("status", [408, 429])
def test_status_408_and_429_are_throttling(status):
    error = failure_of(Response(status, {"retry-after": "7"}, b""))
    assert (error.code, error.retryable, error.outcome_unknown) == ("Throttling", True, False)
    assert error.retry_after == 7
    assert isinstance(error, Throttled)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_permanent_error(status):
    location = f"https://example.com/?token={SPENT}"
    error = failure_of(Response(status, {"location": location}, b""))
    assert (error.retryable, error.outcome_unknown, isinstance(error, TokenRejected)) == (
        False,
        False,
        False,
    )
    assert "redirected the request" in error.message
    assert "example.com" not in error.message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 407, 418])
def test_a_4xx_status_without_a_code_rejects_no_token(status):
    error = failure_of(Response(status, {}, b"<html>Access denied</html>"))
    assert (error.code, error.retryable, isinstance(error, TokenRejected)) == (
        "InvalidResponse",
        False,
        False,
    )
    assert ENDPOINT in error.message


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, 0),
        ({"x-acs-retry-after": "1500"}, 1.5),
        ({"x-acs-retry-after": "0"}, 0),
        ({"retry-after": "3"}, 3),
        ({"x-acs-retry-after": "1500", "retry-after": "9"}, 1.5),
        ({"x-acs-retry-after": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT", "date": DATE}, 30),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:10 GMT", "date": DATE}, 0),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "1e3"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "inf"}, 0),
        ({"retry-after": "9" * 400}, 0),
        ({"retry-after": "\N{ARABIC-INDIC DIGIT ONE}"}, 0),
        ({"retry-after": "Tue, 99 Nov 2023 22:13:10 GMT", "date": DATE}, 0),
        ({"retry-after": "999999999999"}, 86400),
        ({"x-acs-retry-after": "999999999999"}, 86400),
    ],
)
@pytest.mark.parametrize(("status", "code"), [(429, "Throttling"), (503, "ServiceUnavailable")])
def test_both_retry_after_headers_are_read(status, code, headers, wait):
    assert failure_of(make_response(status, headers, Code=code)).retry_after == wait


def test_the_time_of_the_service_is_read_from_the_date_header():
    error = failure_of(make_response(400, {"date": DATE}, Code="InvalidTimeStamp.Expired"))
    assert isinstance(error, ClockSkew)
    assert error.server_time == DATE_SECONDS


@pytest.mark.parametrize("date", ["", "yesterday", "Tue, 99 Nov 2023 22:13:20 GMT"])
def test_the_clock_is_not_corrected_without_a_valid_date(date):
    error = failure_of(make_response(400, {"date": date}, Code="InvalidTimeStamp.Expired"))
    assert isinstance(error, ClockSkew)
    assert error.server_time is None


def test_other_errors_do_not_correct_the_clock():
    error = failure_of(make_response(400, {"date": DATE}, Code="Throttling"))
    assert not isinstance(error, ClockSkew)
