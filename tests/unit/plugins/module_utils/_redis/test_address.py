# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test how addresses of Redis are read, and which are refused without being quoted."""

from __future__ import annotations

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError
from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import (
    Address,
    parse_address,
)


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("redis://h", Address("server", hosts=(("h", 6379),)), "h:6379"),
        ("redis://h/", Address("server", hosts=(("h", 6379),)), "h:6379"),
        ("redis://h:1/2", Address("server", hosts=(("h", 1),), db=2), "h:1"),
        ("rediss://a-b.c", Address("server", True, (("a-b.c", 6379),)), "a-b.c:6379"),
        ("redis://[::1]:7", Address("server", hosts=(("::1", 7),)), "[::1]:7"),
        ("redis://[FE80::0:1]", Address("server", hosts=(("fe80::1", 6379),)), "[fe80::1]:6379"),
        ("unix:///run/r.sock", Address("socket", path="/run/r.sock"), "/run/r.sock"),
        (
            "redis+cluster://a:1,b",
            Address("cluster", hosts=(("a", 1), ("b", 6379))),
            "a:1, b:6379",
        ),
        ("rediss+cluster://a/0", Address("cluster", True, (("a", 6379),)), "a:6379"),
        (
            "redis+sentinel://a,[::1]:2/my.name/3",
            Address("sentinel", hosts=(("a", 26379), ("::1", 2)), service="my.name", db=3),
            "my.name of a:26379, [::1]:2",
        ),
        (
            "rediss+sentinel://a/n",
            Address("sentinel", True, (("a", 26379),), service="n"),
            "n of a:26379",
        ),
    ],
)
def test_an_address_is_read_and_named_in_messages(text: str, address: Address, name: str) -> None:
    assert parse_address(text) == address
    assert str(parse_address(text)) == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("http://secret", "absolute path of a directory"),
        ("redis:secret", "absolute path of a directory"),
        ("REDIS://secret", "absolute path of a directory"),
        ("redis+tls://secret", "absolute path of a directory"),
        ("redis://:secret@h", "Use store_username and store_password"),
        ("redis://u:se/cr?et@h", "Use store_username and store_password"),
        ("redis+cluster://a,u:secret@b", "Use store_username and store_password"),
        ("unix://secret@/run/r.sock", "Use store_username and store_password"),
        ("redis://h?password=secret", "must not contain a query"),
        ("redis://h#secret", "must not contain a query"),
        ("unix:///run/r.sock?db=1", "must not contain a query"),
        ("unix://run/r.sock", "absolute path of a socket"),
        ("unix://", "absolute path of a socket"),
        ("unix:///run/\x00", "absolute path of a socket"),
        ("redis://", "HOST"),
        ("redis:///1", "HOST"),
        ("redis://:6379", "HOST"),
        ("redis://h:", "HOST"),
        ("redis://h:x", "HOST"),
        ("redis://secret host", "HOST"),
        ("redis://::1", "HOST"),
        ("redis://h\n", "HOST"),
        ("redis://h:0", "port from 1 to 65535"),
        ("redis://h:65536", "port from 1 to 65535"),
        ("redis://[:::1]", "IPv6 address"),
        ("redis://h/x", "number of a database"),
        ("redis://h/1/2", "number of a database"),
        ("redis://h/-1", "number of a database"),
        ("redis://h/\N{SUPERSCRIPT TWO}", "number of a database"),
        ("redis://a,b", "single Redis server"),
        ("redis+cluster://a,", "HOST"),
        ("redis+cluster://a/1", "must not name a database"),
        ("redis+sentinel://a", "the service that they monitor"),
        ("redis+sentinel://a/", "the service that they monitor"),
        ("redis+sentinel://a/my name", "the service that they monitor"),
        ("redis+sentinel://a/n/x", "number of a database"),
        ("redis+sentinel:///n", "HOST"),
    ],
)
def test_an_invalid_address_is_refused_and_not_quoted(text: str, reason: str) -> None:
    with pytest.raises(OptionError, match=reason) as caught:
        parse_address(text)
    assert caught.value.message.startswith("store must ")
    assert "secret" not in caught.value.message
    assert caught.value.__cause__ is None
