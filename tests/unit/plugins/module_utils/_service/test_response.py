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
    Refused,
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
NAMED, POSSIBLE = "names the token", "may concern the token"
# (code, HTTP status): (part of the message, retryable, outcome unknown, whether the refusal concerns the token)
TABLE = {
    ("MissingParameter", 400): (REQUEST, False, False, POSSIBLE),
    ("MissingEndUserId", 400): (REQUEST, False, False, POSSIBLE),
    ("InvalidParameter", 400): (REQUEST, False, False, POSSIBLE),
    ("InvalidRegionId.NotFound", 404): (REQUEST, False, False, POSSIBLE),
    ("InvalidAccessKeyId.NotFound", 404): (CREDENTIALS, False, False, None),
    ("InvalidAccessKeyId.NotFound", 400): (CREDENTIALS, False, False, None),
    ("InvalidAccessKeyId.Inactive", 400): (CREDENTIALS, False, False, None),
    ("IncompleteSignature", 400): (CREDENTIALS, False, False, None),
    ("SignatureDoesNotMatch", 400): (CREDENTIALS, False, False, None),
    ("SignatureDoesNotMatch", 403): (CREDENTIALS, False, False, None),
    ("InvalidSecurityToken.Expired", 400): (CREDENTIALS, False, False, None),
    ("InvalidSecurityToken.Malformed", 403): (CREDENTIALS, False, False, None),
    ("InvalidSecurityToken.MismatchWithAccessKey", 400): (CREDENTIALS, False, False, None),
    ("SignatureNonceUsed", 400): (LATER, True, False, None),
    ("InvalidTimeStamp.Expired", 400): ("clock", False, False, None),
    ("Forbidden.RAM", 403): (PERMISSION, False, False, None),
    ("NoPermission", 403): (PERMISSION, False, False, None),
    ("Throttling", 400): (LATER, True, False, None),
    ("Throttling", 429): (LATER, True, False, None),
    ("Throttling.User", 429): (LATER, True, False, None),
    ("Throttling.Api", 400): (LATER, True, False, None),
    ("ServiceUnavailable", 503): (LATER, True, True, None),
    ("ServiceUnavailable", 500): (LATER, True, True, None),
    ("InternalError", 500): (LATER, True, True, None),
    ("InternalError", 200): (LATER, True, True, None),
    ("SomethingElse", 500): (LATER, True, True, None),
    ("InvalidAction.NotFound", 404): (ENDPOINT_OPTIONS, False, False, None),
    ("InvalidApi.NotFound", 404): (ENDPOINT_OPTIONS, False, False, None),
    ("InvalidProduct.NotFound", 404): (ENDPOINT_OPTIONS, False, False, None),
    ("InvalidLoginToken", 400): ("rejected the login token", False, False, NAMED),
    ("InvalidLoginToken.Expired", 403): ("rejected the login token", False, False, NAMED),
    ("LoginTokenExpired", 400): ("rejected the login token", False, False, NAMED),
    ("SomethingElse", 400): (REQUEST, False, False, POSSIBLE),
    ("SomethingElse", 200): (REQUEST, False, False, POSSIBLE),
    ("Forbidden.SubUser", 403): (PERMISSION, False, False, None),
    ("SomethingElse", 403): (PERMISSION, False, False, None),
    ("InvalidAccountStatus.NotEnoughBalance", 400): ("overdue bills", False, False, None),
    ("SomethingElse", 402): ("overdue bills", False, False, None),
    ("OperationConflict", 400): ("in progress", True, False, None),
    ("SomethingElse", 409): ("in progress", True, False, None),
    ("EndUser.Locked", 400): ("to unlock it", False, False, None),
    ("SomethingElse", 423): ("to unlock it", False, False, None),
    ("QuotaExceeded.Desktop", 400): (LATER, True, False, None),
    ("SomethingElse", 429): (LATER, True, False, None),
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


def concern_of(error: ServiceError) -> str | None:
    """Return whether an error concerns the login token."""
    if isinstance(error, TokenRejected):
        return NAMED
    return POSSIBLE if isinstance(error, Refused) else None


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
    message, retryable, outcome_unknown, concern = TABLE[code, status]
    error = failure_of(make_response(status, Code=code, RequestId=REQUEST_ID, Message=SPENT))
    assert message in error.message
    assert code in error.message
    assert (error.retryable, error.outcome_unknown, concern_of(error)) == (retryable, outcome_unknown, concern)
    assert (error.code, error.http_status, error.request_id) == (code, status, REQUEST_ID)
    assert isinstance(error, Throttled) == ("is limiting requests" in error.message)
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


# Codes that the service does not document

CREDENTIALS_ADVICE = "Check the access key."

FAMILIES = {
    PERMISSION: """
        Forbidden Forbidden.SubUser Forbidden.RefreshLoginToken NoPermission.RefreshLoginToken NotAuthorized UnauthorizedOperation
        Unauthorized.Role User.AccessDenied OperationDenied.NetworkPolicy PermissionDenied ForbiddenIpAddress NotAllowed.Region
        UserNotInTheWhiteList ExplicitDeny NoPrivilege InsufficientPrivileges.Refresh AccessRestricted IpRestricted RiskControl
        Login.SecurityRisk SourceIpRejected AccessRefused
    """,
    CREDENTIALS_ADVICE: """
        AuthFailure AuthFailed AuthenticationFailure Unauthenticated InvalidCredentials CredentialExpired
    """,
    ENDPOINT_OPTIONS: "UnsupportedOperation Operation.NotSupported UnsupportedHTTPMethod",
    "overdue bills": """
        Account.Arrearage OverduePayment InvalidAccountStatus.NotEnoughBalance Forbidden.AccountOverdue InDebt PaymentRequired
        NotPaid Order.NotPaid InsufficientFunds CreditInsufficient PackageExpired Service_Expired SubscriptionExpired
        ServiceNotOpen Product.NotEnabled NotActivated.Ecd USER_UNPAID RealNameAuthenticationError
    """,
    "in progress": """
        OperationConflict Resource.Conflict ConcurrentModification OperationInProgress SessionProcessing ResourceInUse DuplicateRequest
        RepeatedRequest IncorrectStatus IncorrectDesktopStatus InvalidState OfficeSiteUpdating Desktop.Pending
    """,
    "to unlock it": """
        UserInBlacklist Black_List.User UserBanned UserLocked EndUser.Locked AccountFrozen OfficeSiteSuspended EndUserDisabled
        Forbidden.AccountLocked
    """,
    LATER: """
        QuotaExceeded Quota.LoginToken RequestLimitExceeded LimitExceeded.Session TooManyRequests FrequentRequests ServerBusy
        FlowControl.User ThrottlingException Request.Throttled SlowDown TooFast QPSOver FreqControl Overload SystemOverloaded TryAgainLater
        PleaseRetry
    """,
}
OTHER_FAMILIES = {
    "failures": """
        RequestTimeout SystemTimeout Gateway.TimedOut Timeout OperationTimeOut UnknownError SystemException SystemFailure UnderMaintenance
        Maintenance DatabaseError DBError DbException OperationFailed ServerException BackendError RpcError Error Failure OutOfService ServiceDown
    """,
    "possibly about the token": """
        InvalidParameter MissingParameter InvalidRegionId.NotFound InvalidEndUserId SessionExpired Expired SessionTimeout LoginTimeout
        InvalidAdminUser LoginUser.NotFound DomainUserNotFound DuplicateLogin NotLogin RefreshLoginTokenFailed InvalidClientId
    """,
}
FAILURES, MAYBE_TOKEN = (codes.split() for codes in OTHER_FAMILIES.values())
CODES = {code: message for message, codes in FAMILIES.items() for code in codes.split()}


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 409, 412, 422, 429])
def test_a_code_about_permission_payment_conflict_lock_or_rate_is_not_about_the_token(status):
    assert len(CODES) >= 40
    for code, message in CODES.items():
        with pytest.raises(ServiceError) as caught:
            read_response(make_response(status, Code=code), ENDPOINT, [SPENT], 0.0, CREDENTIALS_ADVICE)
        error = caught.value
        assert (concern_of(error), error.code, error.outcome_unknown) == (None, code, False)
        assert message in error.message
        assert code in error.message


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 408, 409, 412, 422, 429])
def test_a_code_about_a_failure_leaves_the_outcome_unknown(status):
    for code in FAILURES:
        error = failure_of(make_response(status, Code=code))
        assert (concern_of(error), error.retryable, error.outcome_unknown) == (None, True, True), code
        assert f"({code}). Try again later." in error.message


@pytest.mark.parametrize("code", MAYBE_TOKEN)
def test_any_other_code_may_concern_the_token(code):
    assert concern_of(failure_of(make_response(400, Code=code))) == POSSIBLE


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 507, 599])
def test_no_code_of_a_server_error_is_about_the_token(status):
    for code in (*CODES, *FAILURES, "SomethingElse", "InvalidLoginToken", "InvalidParameter"):
        error = failure_of(make_response(status, Code=code))
        assert concern_of(error) is None
        assert error.retryable
        assert error.outcome_unknown != code.startswith("Throttling")


@pytest.mark.parametrize(
    ("statuses", "concern"),
    [
        ((200, 201, 400, 401, 404, 410, 412, 422), POSSIBLE),
        ((402, 403, 409, 423), None),
        ((405, 406, 407, 408, 411, 413, 414, 415, 426, 429, 431), None),
        ((300, 302, 307), None),
    ],
)
def test_the_status_decides_if_an_unknown_code_may_concern_the_token(statuses, concern):
    for status in statuses:
        error = failure_of(make_response(status, Code="SomethingElse"))
        assert (concern_of(error), error.outcome_unknown) == (concern, False)


@pytest.mark.parametrize(
    "code",
    [
        "InvalidLoginToken",
        "LoginTokenExpired",
        "LoginToken.NotFound",
        "InvalidParameter.LoginToken",
        "INVALID_LOGIN_TOKEN",
        "Forbidden.LoginToken",
        "InvalidLogintoken.Expired",
        "Unauthorized.LoginToken",
        "LoginToken.Timeout",
        "LoginTokenInUse",
        "LoginToken.IncorrectStatus",
        "AuthFailure.LoginToken",
        "LoginTokenInBlacklist",
        "Login_Token.Restricted",
        "DuplicateLoginToken",
        "OperationFailed.LoginTokenExpired",
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 409, 410])
def test_a_code_that_names_the_login_token_rejects_it(code, status):
    assert concern_of(failure_of(make_response(status, Code=code))) == NAMED


@pytest.mark.parametrize("code", ["MissingLoginToken", "RefreshLoginTokenFailed", "InvalidApi.GetLoginToken"])
def test_a_missing_token_or_the_name_of_the_operation_is_not_a_rejection(code):
    assert concern_of(failure_of(make_response(400, Code=code))) != NAMED


@pytest.mark.parametrize("code", ["OK", "Success"])
def test_a_code_of_success_without_a_token_is_an_invalid_response(code):
    error = failure_of(make_response(200, Code=code))
    assert (concern_of(error), error.retryable, error.outcome_unknown) == (None, True, True)


def test_a_code_that_is_part_of_a_secret_is_used_but_not_shown():
    error = failure_of(make_response(400, Code="InvalidLoginToken"), "v1-InvalidLoginToken")
    assert (concern_of(error), error.code) == (NAMED, "InvalidResponse")
    assert "InvalidLoginToken" not in error.message


# Advice about credentials


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("InvalidAccessKeyId.NotFound", "does not know the access key"),
        ("InvalidAccessKeyId.Inactive", "it is disabled"),
        ("MissingAccessKeyId", "does not know the access key"),
        ("SignatureDoesNotMatch", "signature"),
        ("IncompleteSignature", "signature"),
        ("InvalidSecurityToken.Expired", "security token"),
        ("InvalidSecurityToken.MismatchWithAccessKey", "security token"),
    ],
)
def test_rejected_credentials_name_the_problem_and_where_they_come_from(code, problem):
    with pytest.raises(ServiceError) as caught:
        read_response(make_response(403, Code=code), ENDPOINT, [SPENT], 0.0, "Check the advice.")
    assert problem in caught.value.message
    assert caught.value.message.endswith(f"({code}). Check the advice.")


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


@pytest.mark.parametrize("status", [200, 201, 202, 203, 206, 226, 299])
@pytest.mark.parametrize(
    "body",
    [
        '{"LoginToken": "%s", "Code": "Throttling", "Message": "sorry"}',
        '{"LoginToken": "%s", "Code": 200, "RequestId": ["odd"], "Success": false, "Data": {"LoginToken": null}}',
        '\r\n\t {"LoginToken": "%s", "Message": "a\nb\t\x00"} \n',
        '{"LOGINTOKEN": "%s", "Number": NaN}',
        '{"LoginToken": "%s", "Message": "成功 \xe9"}',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be", "gb18030", "latin-1"])
def test_any_2xx_response_with_a_token_is_a_success(status, body, encoding):
    data = (body % NEXT).encode(encoding, "ignore")
    result = read_response(Response(status, {"content-type": "text/html"}, data), ENDPOINT, [SPENT], 7.0)
    assert (result.login_token, result.request_id, result.sent_at) == (NEXT, None, 7.0)


@pytest.mark.parametrize("status", [300, 302, 400, 403, 404, 429, 500, 503])
def test_a_token_with_any_other_status_is_not_accepted(status):
    error = failure_of(make_response(status, LoginToken=NEXT))
    assert NEXT not in error.message
    assert concern_of(error) is None


@pytest.mark.parametrize("token", [f"{NEXT} ", f"\ufeff{NEXT}", f"{NEXT}\n", f"{NEXT}é"])
def test_nothing_but_the_token_is_read_liberally(token):
    assert failure_of(make_response(201, LoginToken=token)).code == "InvalidResponse"


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
