# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that signatures match the documentation of the service and its official signers."""

from __future__ import annotations

import calendar
import hashlib
import os
import time
import types
import typing as t
from unittest import mock
from urllib.parse import parse_qsl

import pytest
from alibabacloud_openapi_util.client import Client as OpenApiUtil
from alibabacloud_tea_openapi.utils import Utils as TeaOpenApi
from aliyunsdkcore.auth.composer import rpc_signature_composer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.wuying.workspace.plugins.module_utils import signer
from ansible_collections.wuying.workspace.plugins.module_utils._model.encoding import (
    format_timestamp,
)

KEY = signer.Credentials("testid", "testsecret")
STS = signer.Credentials("STS.id", "secret", "CAIS/security+token==")
DESCRIBE_REGIONS = {
    "Timestamp": "2016-02-23T12:46:24Z",
    "Format": "XML",
    "AccessKeyId": "testid",
    "Action": "DescribeRegions",
    "SignatureMethod": "HMAC-SHA1",
    "SignatureNonce": "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf",
    "Version": "2014-05-26",
    "SignatureVersion": "1.0",
}
V3_HOST = "ecs.cn-shanghai.aliyuncs.com"
V3_PARAMETERS = {
    "ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd",
    "RegionId": "cn-shanghai",
}
V3_KEY = signer.Credentials("YourAccessKeyId", "YourAccessKeySecret")
V3_SIGNATURE = "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
PARAMETERS = {"RegionId": "cn-hangzhou", "EndUserId": "alice", "LoginToken": "v1 +/~*é"}

NIGHTLY = os.environ.get("FUZZ") == "nightly"
many = settings(
    max_examples=20000 if NIGHTLY else 1000,
    derandomize=not NIGHTLY,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
text = st.text(max_size=10)
own_names = {"Action", "Version", "Timestamp", "Signature", "SignatureNonce", "SignatureMethod"}
own_names |= {"SignatureVersion", "AccessKeyId", "SecurityToken"}
names = text.filter(lambda name: name not in own_names)
maps = st.lists(st.tuples(names, text), max_size=4).map(dict)
timestamps = st.integers(min_value=0, max_value=4102444800)


def seconds(stamp: str) -> int:
    """Convert a time stamp to seconds since 1970."""
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))


def renamed(form: dict[str, str]) -> dict[str, str]:
    """Return a form with names that no query has."""
    return {f"form {name}": value for name, value in form.items()}


def query_of(request: signer.SignedRequest) -> dict[str, str]:
    """Return the query of a request, decoded."""
    return dict(parse_qsl(request.query, keep_blank_values=True))


def signature_in(request: signer.SignedRequest) -> str:
    """Return the signature of a V3 request."""
    return request.headers["authorization"].rpartition("Signature=")[2]


def sign_v1(**changes: t.Any) -> signer.SignedRequest:
    """Sign the default V1 request with these changes."""
    arguments: dict[str, t.Any] = {
        "action": "RefreshLoginToken",
        "version": "2020-10-02",
        "parameters": PARAMETERS,
        "credentials": STS,
        "timestamp": 1700000000,
        "nonce": "nonce-0",
        "form": {"SessionId": "s"},
    }
    return signer.sign_v1(**{**arguments, **changes})


def sign_v3(**changes: t.Any) -> signer.SignedRequest:
    """Sign the default V3 request with these changes."""
    arguments: dict[str, t.Any] = {
        "action": "RefreshLoginToken",
        "version": "2020-10-02",
        "parameters": PARAMETERS,
        "credentials": STS,
        "timestamp": 1700000000,
        "nonce": "nonce-0",
        "host": "ecd.cn-hangzhou.aliyuncs.com",
        "body": b"body",
        "content_type": "text/plain",
    }
    return signer.sign_v3(**{**arguments, **changes})


def test_v1_signs_the_published_request_of_describe_regions():
    signed = signer.sign_v1(
        "DescribeRegions",
        "2014-05-26",
        {"Format": "XML"},
        KEY,
        seconds("2016-02-23T12:46:24Z"),
        "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf",
        method="GET",
    )
    assert query_of(signed) == {**DESCRIBE_REGIONS, "Signature": "OLeaidS1JvxuMvnyHOwuJ+uX5qY="}


def test_v1_signs_the_published_request_with_the_parameter_time_stamp():
    parameters = dict(DESCRIBE_REGIONS)
    parameters["TimeStamp"] = parameters.pop("Timestamp")
    signature = signer.v1_signature("GET", parameters, "testsecret")
    assert signature == "CT9X0VtwR86fNWSnsc6v8YGOjuE="


def test_v1_signs_the_published_request_with_chinese_text_and_json():
    signed = signer.sign_v1(
        "SendSms",
        "2017-05-25",
        {
            "Format": "XML",
            "OutId": "123",
            "PhoneNumbers": "15300000001",
            "RegionId": "cn-hangzhou",
            "SignName": "阿里云短信测试专用",
            "TemplateCode": "SMS_71390007",
            "TemplateParam": '{"customer":"test"}',
        },
        signer.Credentials("testId", "testSecret"),
        seconds("2017-07-12T02:42:19Z"),
        "45e25e9b-0a6f-4070-8c85-2956eda1b466",
        method="GET",
    )
    assert query_of(signed)["Signature"] == "zJDF+Lrzhj/ThnlvIToysFRq6t4="


def sign_run_instances():
    """Sign the request of the documentation."""
    nonce = "3156853299f313e23d1673dc12e1703d"
    signed_at = seconds("2023-10-26T10:22:32Z")
    return signer.sign_v3("RunInstances", "2014-05-26", V3_PARAMETERS, V3_KEY, signed_at, nonce, host=V3_HOST)


def test_v3_signs_the_published_request_of_run_instances():
    signed = sign_run_instances()
    signed_headers = "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version"
    assert signed.headers["authorization"] == (
        f"ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders={signed_headers},Signature={V3_SIGNATURE}"
    )


def test_v3_signs_the_published_hash_of_the_canonical_request(monkeypatch):
    signed = []

    def record(_key, message, _algorithm):
        signed.append(message)
        return b""

    monkeypatch.setattr(signer, "_hmac", record)
    sign_run_instances()
    assert signed == ["ACS3-HMAC-SHA256\n7ea06492da5221eba5297e897ce16e55f964061054b7695beedaac1145b1e259"]


@many
@given(parameters=maps, method=st.sampled_from(["GET", "POST"]), secret=text, token=text, form=maps)
def test_v1_agrees_with_the_official_signers(parameters, method, secret, token, form):
    signed = signer.sign_v1(
        "Action",
        "2020-10-02",
        parameters,
        signer.Credentials("id", secret, token),
        1700000000,
        "nonce",
        method=method,
        form=renamed(form),
    )
    query = query_of(signed)
    signature = query.pop("Signature")
    everything = {**query, **dict(parse_qsl(signed.body.decode("ascii"), keep_blank_values=True))}
    assert signature == TeaOpenApi.get_rpcsignature(everything, method, secret)
    assert signature == OpenApiUtil.get_rpcsignature(everything, method, secret)


@settings(many, max_examples=500)
@given(parameters=maps, secret=text, timestamp=timestamps, form=maps)
def test_v1_sends_the_same_query_as_the_sdk_core(parameters, secret, timestamp, form):
    # The SDK adds an empty SignatureType; that parameter is the only difference to ours.
    parameters = {"Format": "JSON", **parameters, "SignatureType": ""}
    form = renamed(form)
    ours = signer.sign_v1(
        "Action",
        "2020-10-02",
        parameters,
        signer.Credentials("id", secret),
        timestamp,
        "nonce",
        form=form,
    )
    stamp = format_timestamp(timestamp)
    with mock.patch.multiple(rpc_signature_composer.helper, get_iso_8061_date=lambda: stamp, get_uuid=lambda: "nonce"):
        url, _to_sign = rpc_signature_composer.get_signed_url(
            {**parameters, "Action": "Action", "Version": "2020-10-02"},
            "id",
            secret,
            parameters["Format"],
            "POST",
            form,
        )
    theirs = dict(parse_qsl(url.partition("?")[2], keep_blank_values=True))
    assert query_of(ours) == theirs


@many
@given(
    parameters=maps,
    secret=text,
    token=text,
    body=st.binary(max_size=20),
    content_type=st.none() | text,
    timestamp=timestamps,
)
def test_v3_agrees_with_the_official_signers(parameters, secret, token, body, content_type, timestamp):
    signed = signer.sign_v3(
        "Action",
        "2020-10-02",
        parameters,
        signer.Credentials("id", secret, token),
        timestamp,
        "nonce",
        host="127.0.0.1:8080",
        body=body,
        content_type=content_type,
    )
    headers = dict(signed.headers)
    authorization = headers.pop("authorization")
    request = types.SimpleNamespace(method="POST", pathname="/", query=parameters, headers=headers)
    for official in (TeaOpenApi, OpenApiUtil):
        payload = official.hex_encode(official.hash(body, "ACS3-HMAC-SHA256"))
        assert headers["x-acs-content-sha256"] == payload
        theirs = official.get_authorization(request, "ACS3-HMAC-SHA256", payload, "id", secret)
        assert authorization == theirs


@settings(many, max_examples=300)
@given(parameters=maps)
def test_the_query_has_the_signed_parameters(parameters):
    assert query_of(sign_v3(parameters=parameters)) == parameters
    sent = query_of(sign_v1(parameters={f"x{name}": value for name, value in parameters.items()}))
    assert {name[1:]: value for name, value in sent.items() if name[0] == "x"} == parameters


@pytest.mark.parametrize(
    "changes",
    [
        {"action": "RefreshLoginTokem"},
        {"version": "2020-10-03"},
        {"parameters": {**PARAMETERS, "EndUserId": "alicf"}},
        {"parameters": {**PARAMETERS, "DirectoryId": ""}},
        {"credentials": STS._replace(access_key_id="STS.ie")},
        {"credentials": STS._replace(access_key_secret="secreu")},
        {"credentials": STS._replace(security_token="CAIS/security+token=")},
        {"timestamp": 1700000001},
        {"nonce": "nonce-1"},
        {"method": "GET"},
    ],
    ids="-".join,
)
def test_one_changed_character_changes_both_signatures(changes):
    assert query_of(sign_v1(**changes))["Signature"] != query_of(sign_v1())["Signature"]
    assert signature_in(sign_v3(**changes)) != signature_in(sign_v3())


def test_a_changed_form_changes_the_v1_signature():
    changed = query_of(sign_v1(form={"SessionId": "t"}))["Signature"]
    assert changed != query_of(sign_v1())["Signature"]


@pytest.mark.parametrize("changes", [{"host": "localhost"}, {"body": b"bodz"}, {"content_type": "text/html"}])
def test_a_changed_host_body_or_content_type_changes_the_v3_signature(changes):
    assert signature_in(sign_v3(**changes)) != signature_in(sign_v3())


def test_v1_signs_a_form_that_is_sent_in_the_body():
    signed = sign_v1(form={"LoginToken": "a b&c=d", "EndUserId": "爱"})
    assert signed.body == b"EndUserId=%E7%88%B1&LoginToken=a%20b%26c%3Dd"
    assert signed.headers["content-type"] == "application/x-www-form-urlencoded"


def test_without_a_form_a_v1_request_has_no_body_and_no_headers():
    signed = sign_v1(form=None)
    assert (signed.body, signed.headers) == (b"", {})


def test_v1_sends_the_security_token_in_the_query():
    assert query_of(sign_v1())["SecurityToken"] == STS.security_token
    assert "SecurityToken" not in query_of(sign_v1(credentials=KEY))


def test_v3_sends_and_signs_the_security_token_in_headers():
    headers = sign_v3().headers
    assert headers["x-acs-security-token"] == STS.security_token
    assert headers["x-acs-accesskey-id"] == STS.access_key_id
    signed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert set(signed) == set(headers) - {"authorization"}
    assert "x-acs-security-token" not in sign_v3(credentials=KEY).headers


def test_v3_sends_the_hash_of_the_body():
    hashed = sign_v3(body=b"body").headers["x-acs-content-sha256"]
    assert hashed == hashlib.sha256(b"body").hexdigest()
    assert sign_v3(body=b"").headers["x-acs-content-sha256"].startswith("e3b0c442")


def test_an_anonymous_v1_request_is_the_same_without_key_and_signature():
    signed, anonymous = query_of(sign_v1()), query_of(sign_v1(credentials=None))
    about_keys = {"AccessKeyId", "SecurityToken", "Signature"}
    about_keys |= {"SignatureMethod", "SignatureVersion"}
    assert anonymous == {name: signed[name] for name in signed if name not in about_keys}


def test_an_anonymous_v3_request_is_the_same_without_key_and_signature():
    signed, anonymous = sign_v3(), sign_v3(credentials=None)
    about_keys = {"authorization", "x-acs-accesskey-id", "x-acs-security-token"}
    assert anonymous.query == signed.query
    assert set(anonymous.headers) == set(signed.headers) - about_keys


def test_parameters_cannot_override_those_of_the_signer():
    overriding = {"Action": "DeleteDesktops", "Version": "1999-01-01", "SignatureNonce": "old"}
    query = query_of(sign_v1(parameters={**PARAMETERS, **overriding}))
    assert (query["Action"], query["Version"]) == ("RefreshLoginToken", "2020-10-02")
    assert query["SignatureNonce"] == "nonce-0"


@pytest.mark.parametrize("sign", [sign_v1, sign_v3])
def test_the_same_input_gives_the_same_output(sign):
    parameters = dict(PARAMETERS)
    assert sign(parameters=parameters) == sign(parameters=parameters) == sign()
    assert parameters == PARAMETERS


@pytest.mark.parametrize("sign", [sign_v1, sign_v3])
def test_the_order_of_parameters_does_not_matter(sign):
    backwards = dict(reversed(list(PARAMETERS.items())))
    assert sign(parameters=backwards) == sign()


@pytest.mark.parametrize("sign", [sign_v1, sign_v3])
def test_time_stamps_have_whole_seconds(sign):
    assert sign(timestamp=1700000000.999) == sign()


@pytest.mark.parametrize("value", [KEY, STS, sign_v1(), sign_v3()], ids=type)
def test_credentials_and_signed_requests_hide_their_values_in_repr(value):
    shown = {repr(value), str(value), f"{value}", f"{[value]}"}
    for text_shown in shown:
        assert text_shown.strip("[]") in ("Credentials(...)", "SignedRequest(...)")


def test_time_stamps_are_utc_to_the_second():
    assert format_timestamp(0) == "1970-01-01T00:00:00Z"
    assert format_timestamp(1698315752.75) == "2023-10-26T10:22:32Z"
