# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test endpoints: a plain host name or address, and https except for loopback addresses."""

from __future__ import annotations

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.endpoint import (
    default_endpoint,
    host_of,
    is_default_or_loopback,
    is_loopback,
    parse_endpoint,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError

MALFORMED = {
    "empty": "",
    "no scheme": "ecd.cn-hangzhou.aliyuncs.com",
    "no host": "https://",
    "no slashes": "https:ecd.aliyuncs.com",
    "three slashes": "https:///ecd.aliyuncs.com",
    "another scheme": "ftp://ecd.aliyuncs.com",
    "a file": "file:///etc/passwd",
    "user": "https://sesame@ecd.aliyuncs.com",
    "user and password": "https://user:sesame@ecd.aliyuncs.com",
    "empty user": "https://@ecd.aliyuncs.com",
    "user with a slash": "https://user:ses/ame@ecd.aliyuncs.com",
    "path": "https://ecd.aliyuncs.com/sesame",
    "two slashes as path": "https://ecd.aliyuncs.com//",
    "query": "https://ecd.aliyuncs.com/?sesame=1",
    "empty query": "https://ecd.aliyuncs.com?",
    "fragment": "https://ecd.aliyuncs.com#sesame",
    "empty fragment": "https://ecd.aliyuncs.com/#",
    "port 0": "https://ecd.aliyuncs.com:0",
    "port too high": "https://ecd.aliyuncs.com:65536",
    "negative port": "https://ecd.aliyuncs.com:-1",
    "empty port": "https://ecd.aliyuncs.com:",
    "a word as port": "https://ecd.aliyuncs.com:sesame",
    "two ports": "https://ecd.aliyuncs.com:443:443",
    "leading space": " https://ecd.aliyuncs.com",
    "trailing space": "https://ecd.aliyuncs.com ",
    "trailing newline": "https://ecd.aliyuncs.com\n",
    "newline inside": "https://ecd.\naliyuncs.com",
    "tab inside": "https://ecd.\taliyuncs.com",
    "space inside": "https://ecd aliyuncs.com",
    "null": "https://ecd.aliyuncs.com\0.example.com",
    "backslash in host": "https://ecd.aliyuncs.com\\.example.com",
    "backslash as slash": "https:\\\\ecd.aliyuncs.com",
    "backslash before user": "https://example.com\\@ecd.aliyuncs.com",
    "percent": "https://ecd%2ealiyuncs.com",
    "umlaut": "https://écd.aliyuncs.com",
    "chinese": "https://无影.aliyuncs.com",
    "full-width dot": "https://ecd。aliyuncs.com",
    "full-width letters": "https://ｅｃｄ.aliyuncs.com",
    "underscore": "https://ecd_vpc.aliyuncs.com",
    "leading hyphen": "https://-ecd.aliyuncs.com",
    "trailing dot": "https://ecd.aliyuncs.com.",
    "half a bracket": "https://[::1",
    "brackets around a name": "https://[ecd]",
    "brackets around half an address": "https://[2001:db8:1]",
    "brackets around an address with two gaps": "https://[2001::db8::1]",
    "brackets around too long an address": "https://[1:2:3:4:5:6:7:8:9]",
    "zone": "https://[fe80::1%eth0]",
}
UNENCRYPTED = [
    "http://ecd.cn-hangzhou.aliyuncs.com",
    "http://10.0.0.1",
    "http://0.0.0.0",
    "http://128.0.0.1",
    "http://[::2]",
    "http://[::]",
    "http://localhost.example.com",
    "http://127.0.0.1.example.com",
    "http://notlocalhost",
    "http://127.1",
    "http://2130706433",
]


REGIONS = [
    "ap-northeast-1",
    "ap-southeast-1",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "cn-beijing",
    "cn-chengdu",
    "cn-guangzhou",
    "cn-hangzhou",
    "cn-hangzhou-finance",
    "cn-hongkong",
    "cn-nanjing",
    "cn-qingdao",
    "cn-shanghai",
    "cn-shanghai-finance-1",
    "cn-shenzhen",
    "cn-wulanchabu",
    "cn-zhangjiakou",
    "eu-central-1",
    "eu-west-1",
    "me-central-1",
    "me-east-1",
    "us-east-1",
    "us-west-1",
]


@pytest.mark.parametrize("region", ["oss-cn-hangzhou", "oss-us-west-1-internal", "cn", "1-x", "-cn-x"])
def test_a_name_that_may_belong_to_somebody_else_is_no_default_endpoint(region):
    with pytest.raises(OptionError, match=r"^region_id .* unless endpoint is set"):
        default_endpoint(region)
    assert not is_default_or_loopback(f"https://ecd.{region}.aliyuncs.com", region)


@pytest.mark.parametrize("region", REGIONS)
def test_the_endpoint_of_a_region_follows_one_rule(region):
    assert default_endpoint(region) == f"https://ecd.{region}.aliyuncs.com"


@pytest.mark.parametrize(
    "region",
    [
        "",
        " ",
        "cn-hangzhou\n",
        "\ncn-hangzhou",
        "cn-hangzhou ",
        "CN-hangzhou",
        "cn_hangzhou",
        "cn.hangzhou",
        "evil.example.com/",
        "evil.example.com#",
        "a@evil.example.com",
        "a:80",
        "杭州",
        "cn-hangzho\N{LATIN SMALL LETTER U WITH DIAERESIS}",
        "cn-hangzhou\N{ARABIC-INDIC DIGIT ONE}",
        "cn-hangzhou\0",
    ],
)
def test_a_region_that_cannot_be_part_of_a_host_name_is_an_error(region):
    with pytest.raises(OptionError, match=r"^region_id ") as caught:
        default_endpoint(region)
    assert len(region) < 2 or region not in caught.value.message


@pytest.mark.parametrize("text", MALFORMED.values(), ids=list(MALFORMED))
def test_a_malformed_endpoint_is_an_error_that_does_not_show_it(text):
    with pytest.raises(OptionError, match=r"^endpoint ") as caught:
        parse_endpoint(text)
    assert "sesame" not in caught.value.message
    assert len(text) < 9 or text not in caught.value.message


def test_the_error_for_credentials_in_an_endpoint_names_them():
    with pytest.raises(OptionError, match="user name"):
        parse_endpoint("https://user:sesame@ecd.aliyuncs.com")


@pytest.mark.parametrize("text", UNENCRYPTED)
def test_plain_http_is_allowed_for_loopback_addresses_only(text):
    with pytest.raises(OptionError, match="loopback") as caught:
        parse_endpoint(text)
    assert text not in caught.value.message


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("https://ecd.cn-hangzhou.aliyuncs.com", "https://ecd.cn-hangzhou.aliyuncs.com"),
        ("https://ecd.cn-hangzhou.aliyuncs.com/", "https://ecd.cn-hangzhou.aliyuncs.com"),
        ("https://ECD.CN-Hangzhou.aliyuncs.com", "https://ecd.cn-hangzhou.aliyuncs.com"),
        ("HTTPS://ecd.cn-hangzhou.aliyuncs.com", "https://ecd.cn-hangzhou.aliyuncs.com"),
        ("https://ecd.cn-hangzhou.aliyuncs.com:443", "https://ecd.cn-hangzhou.aliyuncs.com"),
        ("https://ecd.cn-hangzhou.aliyuncs.com:80", "https://ecd.cn-hangzhou.aliyuncs.com:80"),
        ("https://10.0.0.1:8443/", "https://10.0.0.1:8443"),
        ("https://e", "https://e"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://127.0.0.1:443", "http://127.0.0.1:443"),
        ("http://127.9.9.9:8080", "http://127.9.9.9:8080"),
        ("http://LOCALHOST:65535", "http://localhost:65535"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
    ],
)
def test_an_endpoint_has_one_spelling(text, endpoint):
    assert parse_endpoint(text) == endpoint
    assert parse_endpoint(endpoint) == endpoint


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("https://ecd.cn-hangzhou.aliyuncs.com", "ecd.cn-hangzhou.aliyuncs.com"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_the_host_header_has_a_port_unless_it_is_the_default(endpoint, host):
    assert host_of(endpoint) == host


@pytest.mark.parametrize(
    ("endpoint", "loopback"),
    [
        ("http://127.0.0.1:8080", True),
        ("https://127.255.0.1", True),
        ("https://[::1]", True),
        ("https://localhost:1", True),
        ("https://localhost.example.com", False),
        ("https://10.0.0.1", False),
        ("https://[fe80::1]", False),
        ("https://ecd.cn-hangzhou.aliyuncs.com", False),
    ],
)
def test_loopback_addresses_are_recognised(endpoint, loopback):
    assert is_loopback(endpoint) is loopback
