# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the emulator with the official SDKs."""

from __future__ import annotations

import json
from typing import Any, Callable

import pytest
import requests
from alibabacloud_ecd20201002 import models
from alibabacloud_ecd20201002.client import Client as EcdClient
from alibabacloud_tea_openapi.client import Client
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.utils_models import Config, OpenApiRequest, Params
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.auth.credentials import AccessKeyCredential, StsTokenCredential
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest
from aliyunsdkcore.vendored.requests.sessions import Session as VendoredSession
from darabonba.runtime import RuntimeOptions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Keys = dict[str, str]
Exchange = Callable[..., str]
PARAMETERS = {
    "RegionId": "cn-hangzhou",
    "ClientId": "f4a0dc8e-1702-4728-9a60-95b27a35c0de",
    "OfficeSiteId": "cn-hangzhou+dir-2381910001",
    "EndUserId": "alice",
}


def v1_by_tea_openapi(host: str, keys: Keys, parameters: dict[str, str], place: str, method: str = "POST") -> str:
    """Exchange a token with alibabacloud-tea-openapi, signed V1."""
    client = Client(Config(protocol="http", endpoint=host, **keys))
    request = OpenApiRequest(**{place: parameters})
    names = ("RefreshLoginToken", "2020-10-02", "HTTP", method, "AK", "json")
    response = client.do_rpcrequest(*names, request, RuntimeOptions())
    return response["body"]["LoginToken"]


def v3_by_tea_openapi(host: str, keys: Keys, parameters: dict[str, str], place: str, method: str = "POST") -> str:
    """Exchange a token with alibabacloud-tea-openapi, signed V3."""
    client = Client(Config(protocol="http", endpoint=host, **keys))
    params = Params(
        action="RefreshLoginToken",
        version="2020-10-02",
        protocol="HTTP",
        method=method,
        auth_type="AK",
        style="RPC",
        pathname="/",
        req_body_type="formData",
        body_type="json",
    )
    request = OpenApiRequest(**{place: parameters})
    return client.call_api(params, request, RuntimeOptions())["body"]["LoginToken"]


def v1_by_sdk_core(host: str, keys: Keys, parameters: dict[str, str], place: str, method: str = "POST") -> str:
    """Exchange a token with aliyun-python-sdk-core, which signs V1."""
    kind = StsTokenCredential if "security_token" in keys else AccessKeyCredential
    client = AcsClient(region_id="cn-hangzhou", credential=kind(*keys.values()))
    request = CommonRequest(host, "2020-10-02", "RefreshLoginToken")
    request.set_method(method)
    add = request.add_query_param if place == "query" else request.add_body_params
    for name, value in parameters.items():
        add(name, value)
    return json.loads(client.do_action_with_exception(request))["LoginToken"]


EXCHANGES = [v1_by_tea_openapi, v3_by_tea_openapi, v1_by_sdk_core]


def intercepted_request(monkeypatch: pytest.MonkeyPatch, exchange: Exchange, *arguments: Any) -> Any:
    """Return the signed request of an SDK without sending it."""
    intercepted = []

    def intercept(_session: Any, request: Any, **_options: Any) -> None:
        intercepted.append(request)
        raise OSError("intercepted")

    with monkeypatch.context() as patch:
        patch.setattr(requests.Session, "send", intercept)
        patch.setattr(VendoredSession, "send", intercept)
        with pytest.raises(Exception, match="intercepted"):
            exchange(*arguments)
    return intercepted[0]


def send_intercepted(request: Any) -> requests.Response:
    """Send an intercepted request."""
    return requests.request(request.method, request.url, headers=dict(request.headers), data=request.body, timeout=10)


def another(character: str) -> str:
    """Return a digit that differs from a character."""
    return "0" if character != "0" else "1"


def test_the_official_client_exchanges_a_token_unsigned(emulator):
    client = EcdClient(Config(protocol="http", endpoint=emulator.host))
    names = ("region_id", "client_id", "office_site_id", "end_user_id")
    token = emulator.issue()
    request = models.RefreshLoginTokenRequest(login_token=token, **dict(zip(names, PARAMETERS.values())))
    response = client.refresh_login_token(request)
    assert response.body.login_token not in ("", None, token)
    assert emulator.journal()["entries"][0]["signature"] == "anonymous"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("place", ["query", "body"])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_signed_exchange_returns_the_next_token(emulator, exchange, place, method):
    second = exchange(emulator.host, emulator.keys, {**PARAMETERS, "LoginToken": emulator.issue()}, place, method)
    exchange(emulator.host, emulator.keys, {**PARAMETERS, "LoginToken": second}, place, method)
    assert emulator.journal()["exchanges"] == 2
    assert emulator.journal()["entries"][1]["method"] == method


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_signed_form_may_arrive_in_chunks(emulator, monkeypatch, exchange):
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    request = intercepted_request(monkeypatch, exchange, emulator.host, emulator.keys, parameters, "body")
    body = request.body.encode() if isinstance(request.body, str) else request.body
    del request.headers["Content-Length"]
    request.body = (body[start : start + 7] for start in range(0, len(body), 7))
    assert send_intercepted(request).json()["LoginToken"]


@pytest.mark.parametrize("change", [str.upper, str.lower, str.title])
def test_headers_may_be_in_any_case(emulator, monkeypatch, change):
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    request = intercepted_request(monkeypatch, v3_by_tea_openapi, emulator.host, emulator.keys, parameters, "body")
    request.headers = {change(name): value for name, value in request.headers.items()}
    assert send_intercepted(request).json()["LoginToken"]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_sts_credentials_sign_an_exchange(emulator, exchange):
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    assert exchange(emulator.host, emulator.facts["sts"], parameters, "query")


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_journal_names_the_signature_version(emulator, exchange):
    exchange(emulator.host, emulator.keys, {**PARAMETERS, "LoginToken": emulator.issue()}, "query")
    assert emulator.journal()["entries"][0]["signature"] == exchange.__name__[:2]


@pytest.mark.parametrize("exchange", EXCHANGES)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=st.text(min_size=1, max_size=20), place=st.sampled_from(["query", "body"]))
def test_signatures_match_for_all_characters(emulator, exchange, name, place):
    token = emulator.issue(end_user_id=name)
    parameters = {**PARAMETERS, "EndUserId": name, "LoginToken": token}
    assert exchange(emulator.host, emulator.keys, parameters, place)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_request_of_an_sdk_is_valid_once(emulator, monkeypatch, exchange):
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    request = intercepted_request(monkeypatch, exchange, emulator.host, emulator.keys, parameters, "query")
    first, second = send_intercepted(request), send_intercepted(request)
    assert first.json()["LoginToken"]
    assert (second.status_code, second.json()["Code"]) == (400, "SignatureNonceUsed")


@pytest.mark.parametrize("position", [0, 31, 63])
def test_a_v3_signature_changed_in_one_character_is_refused(emulator, monkeypatch, position):
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    request = intercepted_request(monkeypatch, v3_by_tea_openapi, emulator.host, emulator.keys, parameters, "query")
    head, signature = request.headers["Authorization"].split("Signature=")
    changed = signature[:position] + another(signature[position]) + signature[position + 1 :]
    request.headers["Authorization"] = f"{head}Signature={changed}"
    assert send_intercepted(request).json()["Code"] == "SignatureDoesNotMatch"


@pytest.mark.parametrize("exchange", [v1_by_tea_openapi, v1_by_sdk_core])
def test_a_v1_signature_changed_in_one_character_is_refused(emulator, monkeypatch, exchange):
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    request = intercepted_request(monkeypatch, exchange, emulator.host, emulator.keys, parameters, "query")
    start = request.url.index("&Signature=") + len("&Signature=")
    request.url = request.url[:start] + another(request.url[start]) + request.url[start + 1 :]
    assert send_intercepted(request).json()["Code"] == "SignatureDoesNotMatch"


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_parameter_changed_after_signing_is_refused(emulator, monkeypatch, exchange):
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    request = intercepted_request(monkeypatch, exchange, emulator.host, emulator.keys, parameters, "query")
    request.url = request.url.replace("alice", "alicf")
    assert send_intercepted(request).json()["Code"] == "SignatureDoesNotMatch"


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_body_changed_after_signing_is_refused(emulator, monkeypatch, exchange):
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    request = intercepted_request(monkeypatch, exchange, emulator.host, emulator.keys, parameters, "body")
    body = request.body if isinstance(request.body, str) else request.body.decode()
    request.body = body.replace("alice", "alicf")
    assert send_intercepted(request).json()["Code"] == "SignatureDoesNotMatch"


def test_a_v3_header_changed_after_signing_is_refused(emulator, monkeypatch):
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    request = intercepted_request(monkeypatch, v3_by_tea_openapi, emulator.host, emulator.keys, parameters, "query")
    request.headers["user-agent"] += "x"
    assert send_intercepted(request).json()["Code"] == "SignatureDoesNotMatch"


def test_an_unsigned_v3_header_is_refused(emulator, monkeypatch):
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    request = intercepted_request(monkeypatch, v3_by_tea_openapi, emulator.host, emulator.keys, parameters, "query")
    request.headers["x-acs-security-token"] = "added"
    assert send_intercepted(request).json()["Code"] == "IncompleteSignature"


@pytest.mark.parametrize("exchange", [v1_by_tea_openapi, v3_by_tea_openapi])
def test_a_wrong_secret_is_refused_with_the_string_that_was_signed(emulator, exchange):
    keys = {**emulator.keys, "access_key_secret": "wrong"}
    token = emulator.issue()
    with pytest.raises(ClientException, match="server string to sign is:") as caught:
        exchange(emulator.host, keys, {**PARAMETERS, "LoginToken": token}, "query")
    assert caught.value.code == "SignatureDoesNotMatch" and token in str(caught.value)


def test_the_error_shows_the_string_that_was_signed_v1(emulator, monkeypatch):
    keys = {**emulator.keys, "access_key_secret": "wrong"}
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    signed: list[str] = []

    def sign_wrongly(text: str, _secret: str) -> str:
        signed.append(text)
        return "wrong"

    monkeypatch.setattr("aliyunsdkcore.auth.algorithm.sha_hmac1.get_sign_string", sign_wrongly)
    with pytest.raises(ServerException) as caught:
        v1_by_sdk_core(emulator.host, keys, parameters, "query")
    assert caught.value.get_error_msg().split(":", 1)[1] == signed[0]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_unknown_access_key_is_refused(emulator, monkeypatch, exchange):
    keys = {**emulator.keys, "access_key_id": "unknown"}
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    request = intercepted_request(monkeypatch, exchange, emulator.host, keys, parameters, "query")
    response = send_intercepted(request)
    assert (response.status_code, response.json()["Code"]) == (404, "InvalidAccessKeyId.NotFound")


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_unknown_security_token_is_refused(emulator, monkeypatch, exchange):
    keys = {**emulator.facts["sts"], "security_token": "unknown"}
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    request = intercepted_request(monkeypatch, exchange, emulator.host, keys, parameters, "query")
    assert send_intercepted(request).json()["Code"] == "InvalidSecurityToken.Malformed"


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_sts_key_without_its_security_token_is_refused(emulator, monkeypatch, exchange):
    sts = emulator.facts["sts"]
    keys = {name: sts[name] for name in ("access_key_id", "access_key_secret")}
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    request = intercepted_request(monkeypatch, exchange, emulator.host, keys, parameters, "query")
    assert send_intercepted(request).json()["Code"] == "InvalidSecurityToken.MismatchWithAccessKey"


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("seconds", [-1000, 1000])
def test_a_time_stamp_off_by_over_15_minutes_is_refused(emulator, monkeypatch, exchange, seconds):
    emulator.queue_fault("skew", seconds=seconds)
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    request = intercepted_request(monkeypatch, exchange, emulator.host, emulator.keys, parameters, "query")
    assert send_intercepted(request).json()["Code"] == "InvalidTimeStamp.Expired"


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_time_stamp_off_by_less_is_accepted(emulator, exchange):
    emulator.queue_fault("skew", seconds=800)
    parameters = {**PARAMETERS, "LoginToken": emulator.issue()}
    assert exchange(emulator.host, emulator.keys, parameters, "query")
