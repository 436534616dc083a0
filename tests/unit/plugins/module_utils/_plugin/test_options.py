# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every option is checked before anything is sent or written, and no message shows its value."""

from __future__ import annotations

import os
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import (
    Outcome,
    TokenRequest,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import (
    argument_spec,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.fleet_options import (
    read_filters,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.options import read_request
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.wiring import open_keeper
from ansible_collections.wuying.workspace.plugins.module_utils._service import client
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import NoStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.plugins.module_utils.signer import Credentials

NAN, INFINITY = float("nan"), float("inf")
GIVEN = {
    "region_id": "cn-hangzhou",
    "client_id": "f4a0dc8e-1702-4728-9a60-95b27a35c0de",
    "office_site_id": "cn-hangzhou+dir-2381910001",
    "end_user_id": "alice",
}
IDS = ("client_id", "office_site_id", "end_user_id", "directory_id", "session_id")


def options(**changes: t.Any) -> t.Callable[[str], t.Any]:
    """Return the options of a task that gives little, and what is passed, as a module has them."""
    defaults = {name: spec.get("default") for name, spec in argument_spec().items()}
    values = {"login_token": None, **defaults, **GIVEN, **changes}
    return values.__getitem__


def read(**changes: t.Any) -> TokenRequest:
    """Read what a task asks."""
    return read_request(options(**changes))


def open_with(**changes: t.Any) -> t.Any:
    """Return the keeper that a task opens."""
    with open_keeper(options(**changes), print) as keeper:
        return keeper


def test_ids_of_a_session_are_taken_as_they_are():
    session = read(directory_id="dir", session_id="爱 丽丝").session
    assert session.identity() == {
        **GIVEN,
        "directory_id": "dir",
        "session_id": "爱 丽丝",
        "endpoint": "https://ecd.cn-hangzhou.aliyuncs.com",
    }


def test_optional_ids_that_are_not_given_are_no_part_of_the_identity():
    assert set(read().session.identity()) == {*GIVEN, "endpoint"}


def test_the_endpoint_follows_from_the_region():
    assert read(region_id="me-east-1").session.endpoint == "https://ecd.me-east-1.aliyuncs.com"


def test_an_endpoint_that_is_given_counts_in_its_one_spelling():
    endpoint = "HTTPS://ECD-VPC.cn-hangzhou.aliyuncs.com:443/"
    assert read(endpoint=endpoint).session.endpoint == "https://ecd-vpc.cn-hangzhou.aliyuncs.com"


def test_times_and_token_are_taken_as_they_are():
    request = read(login_token="v1abc", validity=28800, refresh_before=0)
    assert (request.login_token, request.validity, request.refresh_before) == ("v1abc", 28800, 0)
    assert not request.force


def test_the_defaults_are_those_of_the_documentation():
    request = read()
    assert (request.login_token, request.validity, request.refresh_before) == (None, 900, 300)


def assert_refused(name: str, value: t.Any, use: t.Callable[..., t.Any], **others: t.Any) -> OptionError:
    """See that a value is an error whose message names the option and does not show it."""
    with pytest.raises(OptionError) as caught:
        use(**{**others, name: value})
    message = caught.value.message
    assert name in message
    assert not isinstance(value, str) or len(value) < 8 or value not in message
    assert "sesame" not in message
    assert caught.value.code in ("InvalidOption", "MissingCredentials")
    assert not caught.value.retryable
    return caught.value


@pytest.mark.parametrize(
    "value",
    ["", " ", "cn-hangzhou\n", "cn-hangzhou/", "CN-HANGZHOU", "sesame.example.com#", None, 7],
)
def test_a_malformed_region_id_is_refused(value):
    assert_refused("region_id", value, read)


def test_a_malformed_region_id_is_refused_beside_an_endpoint_too():
    assert_refused("region_id", "cn_hangzhou", read, endpoint="https://ecd.aliyuncs.com")


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize(
    "value",
    ["line\n", "tab\t", "null\0", "\x7fdelete", "surrogate\udcff", "\u202eevil", "x" * 257, 7],
    ids=lambda value: repr(value)[:12],
)
def test_a_malformed_id_is_refused(name, value):
    assert_refused(name, value, read)


@pytest.mark.parametrize("name", ["client_id", "office_site_id", "end_user_id"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_id_is_refused(name, value):
    assert_refused(name, value, read)


@pytest.mark.parametrize("name", ["directory_id", "session_id"])
def test_an_optional_id_that_is_empty_is_left_out(name):
    assert read(**{name: ""}).session == read().session


@pytest.mark.parametrize("name", IDS)
def test_an_id_of_the_greatest_length_is_taken(name):
    assert getattr(read(**{name: "x" * 256}).session, name) == "x" * 256


@pytest.mark.parametrize(
    "value",
    [
        "",
        "ecd.aliyuncs.com",
        "ftp://sesame.example.com",
        "http://sesame.example.com",
        "https://sesame:sesame@ecd.aliyuncs.com",
        "https://ecd.aliyuncs.com/sesame",
        "https://ecd.aliyuncs.com:99999",
        "https://ecd.aliyuncs.com\\@sesame.example.com",
        "https://ecd.aliyuncs.com\n",
        "https://ecd.阿里云.com",
        7,
    ],
)
def test_a_malformed_endpoint_is_refused(value):
    assert_refused("endpoint", value, read)


@pytest.mark.parametrize(
    "value",
    ["sesame\n", " sesame", "se same", '"sesame"\n', "sesame\0", "s" * 16385, 7, ["sesame"]],
    ids=lambda value: repr(value)[:12],
)
def test_a_malformed_login_token_is_refused(value):
    assert_refused("login_token", value, read)


@pytest.mark.parametrize("value", [-1, 0.5, NAN, INFINITY, -INFINITY, True, False, None, "900", 1e12])
def test_a_validity_that_is_no_sound_number_is_refused(value):
    assert_refused("validity", value, read)


@pytest.mark.parametrize("value", [-1, -0.1, NAN, INFINITY, True, None, "300", 1e12])
def test_a_refresh_before_that_is_no_sound_number_is_refused(value):
    assert_refused("refresh_before", value, read)


@pytest.mark.parametrize("name", ["timeout", "deadline"])
@pytest.mark.parametrize("value", [0, -1, NAN, INFINITY, -INFINITY, True, None, "10", 1e12])
def test_a_time_limit_that_is_no_sound_number_is_refused(name, value):
    assert_refused(name, value, open_with)


@pytest.mark.parametrize("value", [-1, NAN, INFINITY, True, None, "3", 101])
def test_retries_that_are_no_sound_number_are_refused(value):
    assert_refused("retries", value, open_with)


@pytest.mark.parametrize("value", ["", "treu", "2", "sesame", 2, 0.5, [], ["sesame"], {}, None])
def test_whether_to_verify_is_true_or_false_and_nothing_else(value):
    assert_refused("validate_certs", value, open_with)


@pytest.mark.parametrize(
    "value",
    [
        "relative/path",
        "./here",
        "None",
        "NONE",
        "none/",
        "~sesame-nobody/store",
        "~sesame\0/store",
        "~sesame\ud800/store",
        "${sesame\ud800}/store",
        "$WUYING_NOT_SET/store",
        "file:///var/lib/sesame",
        "memory://sesame",
        "REDIS://sesame:6379",
        "redis:sesame",
        "/path/with\nnewline",
        "/path/with\0null",
        "redis://user:sesame@127.0.0.1:6379/0",
        "rediss://:sesame@127.0.0.1",
        "unix://sesame@/run/redis.sock",
        "redis://127.0.0.1:6379/sesame",
        "rediss://127.0.0.1/sesame",
        "unix://run/sesame.sock",
    ],
)
def test_a_store_that_is_no_directory_and_not_none_is_refused(value):
    assert_refused("store", value, open_with)


def test_the_address_of_a_redis_server_is_a_store_in_redis():
    store = open_with(store="redis://127.0.0.1:6379/0", store_password="sesame").store
    assert type(store).__name__ == "RedisStore"


@pytest.mark.parametrize("name", ["store_username", "store_password"])
@pytest.mark.parametrize("value", ["sesame\ud800", "\udcffsesame", 7, ["sesame"]])
def test_a_login_of_redis_that_is_no_unicode_is_refused(name, value):
    assert_refused(name, value, open_with, store="redis://127.0.0.1")


def test_a_login_of_redis_may_have_any_characters():
    login = {"store_username": "王 🙂", "store_password": "se\nsame\0"}
    assert open_with(store="redis://127.0.0.1", **login).store


def test_user_info_in_a_redis_store_is_told_where_it_belongs():
    error = assert_refused("store", "redis://user:sesame@127.0.0.1", open_with)
    assert "store_password" in error.message


@pytest.mark.parametrize(
    "value",
    [
        "",
        "127.0.0.1:3128",
        "socks5://127.0.0.1:1080",
        "https://sesame.example.com:3128",
        "http://",
        "http://user:sesame@127.0.0.1:3128",
        "http://sesame@127.0.0.1:3128",
        "http://127.0.0.1:3128\n",
        "http://[::1",
        "http://[::sesame]",
        "http://[1:2]",
        "http://sesame proxy",
        "http://sesame:99999",
        "http://sesame:0",
        "http://sesame:",
        "http://sesame:port",
        "http://%zzsesame",
        "http://sesame/path",
        "http://sesame?query",
        "http://-sesame",
        "http://代理.example.com",
        "http://" + "sesame." * 700 + "example.com",
        "http://" + "s" * 5000,
        "http:///sesame",
    ],
    ids=lambda value: value[:40],
)
def test_a_malformed_proxy_is_refused(value):
    assert_refused("proxy", value, open_with)


@pytest.mark.parametrize(
    "value",
    [
        "http://proxy",
        "http://proxy.example.com:3128/",
        "http://Proxy.Example.com:65535",
        "http://squid_proxy:3128",
        "http://127.0.0.1:1",
        "http://[2001:db8::1]:3128",
    ],
)
def test_a_proxy_is_taken_as_it_is(connected, value):
    with open_keeper(options(auth_method="anonymous", proxy=value), print) as keeper:
        keeper._connect()
    assert connected[0][1]["proxy"] == value


def test_a_ca_path_that_is_not_there_is_refused(tmp_path):
    assert_refused("ca_path", str(tmp_path / "sesame.pem"), open_with)
    assert_refused("ca_path", ["sesame.pem"], open_with)


@pytest.mark.parametrize("value", [{"sesame": 1}, 5, [5], ["sesame", ""]])
def test_a_store_key_that_is_no_list_of_texts_is_refused(value):
    assert_refused("store_key", value, open_with)


@pytest.mark.parametrize("value", [5, ["sesame"]])
def test_an_access_key_that_is_no_text_is_refused(value):
    with pytest.raises(OptionError, match="access_key_id must be") as caught:
        open_with(access_key_id=value, access_key_secret="sesame")
    assert "sesame" not in caught.value.message


def test_filters_that_are_no_dictionary_are_refused():
    assert_refused("filters", ["sesame"], read_filters)


@pytest.mark.parametrize("given", ["access_key_id", "access_key_secret", "security_token"])
def test_half_a_set_of_credentials_is_refused_before_one_is_needed(given):
    with pytest.raises(OptionError, match=f"^{given} is set but") as caught:
        open_with(**{given: "sesame"})
    assert all(name in caught.value.message for name in ("access_key_id", "access_key_secret"))
    assert "sesame" not in caught.value.message


def test_nothing_is_made_while_options_are_read(tmp_path):
    store = tmp_path / "store"
    read(login_token="v1")
    open_with(store=str(store))
    assert not store.exists()
    assert list(tmp_path.glob("home/**/*")) == []


# Where records are kept


@pytest.fixture(name="kept_in")
def fixture_kept_in(tmp_path):
    """Return a function that says in which folders, of those below one, an ask leaves something."""

    def kept_in(**changes: t.Any) -> list[str]:
        with open_keeper(options(**changes), print) as keeper:
            session = read().session
            if isinstance(keeper.store, NoStore):
                return []
            with keeper.store.lock(session.key, time.monotonic() + 10):
                pass
        locks = list(Path(tmp_path).rglob(f"{session.key}.lock"))
        return [str(lock.parent.relative_to(tmp_path)) for lock in locks]

    return kept_in


def test_records_are_kept_in_the_state_folder_of_the_user(kept_in, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert kept_in() == ["home/.local/state/wuying.workspace/login_tokens"]


def test_the_state_folder_may_be_elsewhere(kept_in, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert kept_in() == ["state/wuying.workspace/login_tokens"]


@pytest.mark.parametrize("value", ["", "relative/state", "~/state"])
def test_a_state_folder_that_is_not_absolute_counts_as_none(kept_in, monkeypatch, tmp_path, value):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", value)
    assert kept_in() == ["home/.local/state/wuying.workspace/login_tokens"]


def test_without_a_home_the_store_must_be_given(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(OptionError, match="^store must be given"):
        open_with()


@pytest.mark.parametrize(
    "value",
    [
        "{base}/store",
        "~/store",
        "$WUYING_BASE/store",
        "${{WUYING_BASE}}/x/../store",
        "{base}//store/",
    ],
)
def test_a_directory_is_taken_with_home_and_variables_expanded(kept_in, monkeypatch, tmp_path, value):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WUYING_BASE", str(tmp_path))
    assert kept_in(store=value.format(base=tmp_path)) == ["store"]


def test_none_keeps_nothing(kept_in):
    assert kept_in(store="none") == []
    assert isinstance(open_with(store="none").store, NoStore)


def test_a_path_named_none_is_a_directory(tmp_path):
    assert isinstance(open_with(store=str(tmp_path / "none")).store, DirectoryStore)


# How the service is reached


def test_the_deadline_counts_from_the_opening():
    before = time.monotonic()
    keeper = open_with(deadline=5.0)
    assert before + 5 <= keeper._deadline <= time.monotonic() + 5


@pytest.fixture(name="connected")
def fixture_connected(monkeypatch):
    """Return a list of what services are made with."""
    made: list[tuple[t.Any, ...]] = []

    def make(service: t.Any, credentials: t.Any, **settings: t.Any) -> None:
        made.append((credentials, settings))

    monkeypatch.setattr(client.ServiceClient, "__init__", make)
    monkeypatch.setattr(client.ServiceClient, "__exit__", lambda *_arguments: made.append(("closed",)))
    return made


def test_settings_reach_the_service(connected, tmp_path):
    settings = {
        "timeout": 2.5,
        "retries": 0,
        "signature_version": "v1",
        "validate_certs": False,
        "ca_path": str(tmp_path),
        "proxy": "http://proxy.example.com:3128",
    }
    given = {"access_key_id": "LTAI5t", "access_key_secret": "sesame", **settings}
    with open_keeper(options(**given), print) as keeper:
        keeper._connect()
    others = {"connections": 1, "max_qps": None}
    assert connected[0] == (Credentials("LTAI5t", "sesame", None), {**settings, **others})
    assert isinstance(connected[0][0], Credentials)


def test_anonymous_requests_are_made_without_credentials(connected):
    with open_keeper(options(auth_method="anonymous"), print) as keeper:
        keeper._connect()
    assert connected[0][0] is None


def test_one_service_is_opened_once_it_is_needed_and_closed_at_the_end(connected):
    with open_keeper(options(auth_method="anonymous"), print) as keeper:
        assert connected == []
        assert keeper._connect() is keeper._connect()
        assert len(connected) == 1
    assert connected[1:] == [("closed",)]


def test_a_service_that_is_not_needed_needs_no_credentials(connected):
    with open_keeper(options(), print):
        pass
    assert connected == []


def test_secrets_are_declared_as_such():
    spec = argument_spec()
    secret = {name for name, option in spec.items() if option.get("no_log")}
    assert secret == {"access_key_secret", "security_token", "store_password", "store_key"}


def test_each_caller_gets_an_argument_spec_of_its_own():
    argument_spec()["region_id"]["required"] = False
    assert argument_spec()["region_id"]["required"]


def test_a_served_record_needs_no_credentials(tmp_path):
    request = read()
    with open_keeper(options(store=str(tmp_path / "store")), print) as keeper:
        assert keeper.delete(request.session.key) == Outcome(False)


def test_an_empty_token_or_store_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert read(login_token="").login_token is None
    assert open_with(store="") is not None


def test_who_has_another_secret_or_timeout_goes_another_way():
    ways = {
        open_with(**options)._scope
        for options in (
            {},
            {"access_key_id": "a", "access_key_secret": "b"},
            {"access_key_id": "a", "access_key_secret": "c"},
            {"timeout": 1.0},
            {"validate_certs": False},
        )
    }
    assert len(ways) == 5
    assert all(len(scope) == 12 for scope in ways)


def test_plain_http_goes_to_no_name_that_looks_like_a_loopback_address():
    for host in ("127.999.0.1", "127.0.0.08", "127.0.0.1.example.com", "127.1"):
        with pytest.raises(OptionError, match="^endpoint"):
            read(endpoint=f"http://{host}")
