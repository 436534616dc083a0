# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each option is checked before anything is sent or written, and no message shows its value."""

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
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError, WuyingError
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import (
    argument_spec,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.fleet import (
    read_filters,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.options import (
    expand_path,
    read_ca_path,
    read_request,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.wiring import open_keeper
from ansible_collections.wuying.workspace.plugins.module_utils._service import client
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.plugins.module_utils._store.no_store import NoStore
from ansible_collections.wuying.workspace.plugins.module_utils.signer import Credentials

NAN, INFINITY = float("nan"), float("inf")
REQUIRED = {
    "region_id": "cn-hangzhou",
    "client_id": "f4a0dc8e-1702-4728-9a60-95b27a35c0de",
    "office_site_id": "cn-hangzhou+dir-2381910001",
    "end_user_id": "alice",
}
IDS = ("client_id", "office_site_id", "end_user_id", "directory_id", "session_id", "uuid")


def options(**changes: t.Any) -> t.Callable[[str], t.Any]:
    """Return the options of a task that sets the required options and ``changes``."""
    defaults = {name: spec.get("default") for name, spec in argument_spec().items()}
    values = {"login_token": None, **defaults, **REQUIRED, **changes}
    return values.get


def read(**changes: t.Any) -> TokenRequest:
    """Return the token request of a task."""
    return read_request(options(**changes))


def open_with(**changes: t.Any) -> t.Any:
    """Return the keeper of a task."""
    with open_keeper(options(**changes), print) as keeper:
        return keeper


def test_ids_are_not_changed():
    session = read(directory_id="爱 丽丝").session
    assert session.identity() == {
        **REQUIRED,
        "directory_id": "爱 丽丝",
        "endpoint": "https://ecd.cn-hangzhou.aliyuncs.com",
    }


def test_the_session_id_and_the_uuid_are_no_part_of_the_identity():
    request = read(login_token="v1abc", session_id="爱 丽丝", uuid="a device")
    assert (request.session_id, request.uuid) == ("爱 丽丝", "a device")
    assert request.session == read().session
    assert (read().session_id, read().uuid) == (None, None)


def test_optional_ids_that_are_not_set_are_not_part_of_the_identity():
    assert set(read().session.identity()) == {*REQUIRED, "endpoint"}


def test_the_default_endpoint_contains_the_region():
    assert read(region_id="me-east-1").session.endpoint == "https://ecd.me-east-1.aliyuncs.com"


def test_an_endpoint_is_normalised():
    endpoint = "HTTPS://ECD-VPC.cn-hangzhou.aliyuncs.com:443/"
    assert read(endpoint=endpoint).session.endpoint == "https://ecd-vpc.cn-hangzhou.aliyuncs.com"


def test_times_and_token_are_not_changed():
    request = read(login_token="v1abc", validity=28800, refresh_before=0)
    assert (request.login_token, request.validity, request.refresh_before) == ("v1abc", 28800, 0)
    assert not request.force


def test_the_defaults_are_as_documented():
    request = read()
    assert (request.login_token, request.validity, request.refresh_before) == (None, None, 300)


def assert_refused(name: str, value: t.Any, use: t.Callable[..., t.Any], **others: t.Any) -> OptionError:
    """Assert that a value is refused with a message that names the option but not the value."""
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


@pytest.mark.parametrize("value", ["oss-cn-hangzhou", "cn", "s3-cn-hangzhou", "cn-", "cn--hangzhou"])
def test_a_region_without_a_default_endpoint_needs_an_endpoint(value):
    assert "endpoint" in assert_refused("region_id", value, read).message
    assert read(region_id=value, endpoint="https://ecd.example.com").session.region_id == value


def test_a_malformed_region_id_is_refused_even_with_an_endpoint():
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


def test_all_missing_options_are_named_at_once():
    error = assert_refused("client_id", None, read, office_site_id=None)
    assert "Required options are missing: client_id, office_site_id." in error.message
    assert "Set them in the entry or as options of the task." in error.message


@pytest.mark.parametrize("name", ["directory_id", "session_id", "uuid"])
def test_an_empty_optional_id_is_not_set(name):
    assert read(**{name: ""}) == read()


@pytest.mark.parametrize("name", IDS)
def test_an_id_of_the_maximum_length_is_accepted(name):
    request = read(**{name: "x" * 256})
    assert getattr(request if name in ("session_id", "uuid") else request.session, name) == "x" * 256


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


@pytest.mark.parametrize("value", [-1, 0.5, NAN, INFINITY, -INFINITY, True, False, "900", 1e12])
def test_an_invalid_validity_is_refused(value):
    assert_refused("validity", value, read)


@pytest.mark.parametrize("value", [-1, -0.1, NAN, INFINITY, True, None, "300", 1e12])
def test_an_invalid_refresh_before_is_refused(value):
    assert_refused("refresh_before", value, read)


@pytest.mark.parametrize("name", ["timeout", "deadline"])
@pytest.mark.parametrize("value", [0, -1, NAN, INFINITY, -INFINITY, True, None, "10", 1e12])
def test_an_invalid_time_limit_is_refused(name, value):
    assert_refused(name, value, open_with)


@pytest.mark.parametrize("value", [-1, NAN, INFINITY, True, None, "3", 101])
def test_invalid_retries_are_refused(value):
    assert_refused("retries", value, open_with)


@pytest.mark.parametrize("value", ["", "treu", "2", "sesame", 2, 0.5, [], ["sesame"], {}, None])
def test_validate_certs_must_be_a_boolean(value):
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
def test_an_invalid_store_is_refused(value):
    assert_refused("store", value, open_with)


def test_a_redis_url_opens_a_redis_store():
    store = open_with(store="redis://127.0.0.1:6379/0", store_password="sesame").store
    assert type(store).__name__ == "RedisStore"


@pytest.mark.parametrize("name", ["store_username", "store_password"])
@pytest.mark.parametrize("value", ["sesame\ud800", "\udcffsesame", 7, ["sesame"]])
def test_redis_credentials_that_are_not_unicode_are_refused(name, value):
    assert_refused(name, value, open_with, store="redis://127.0.0.1")


def test_redis_credentials_can_contain_any_character():
    login = {"store_username": "王 🙂", "store_password": "se same\t\0"}
    assert open_with(store="redis://127.0.0.1", **login).store


@pytest.mark.parametrize("name", ["store_username", "store_password"])
@pytest.mark.parametrize("value", ["sesame-sesame\n", "sesame-sesame\r\n", "\nsesame-sesame", "sesame\nsesame"])
def test_a_line_break_in_redis_credentials_is_refused_and_named(name, value):
    assert "line break" in assert_refused(name, value, open_with, store="redis://127.0.0.1").message


@pytest.mark.parametrize("name", ["access_key_id", "access_key_secret", "security_token"])
def test_a_line_break_in_an_access_key_is_refused_and_named(name):
    key = {"access_key_id": "LTAI", "access_key_secret": "s", name: "sesame-sesame\n"}
    with pytest.raises(OptionError, match=f"^{name} .*line break") as caught:
        open_with(**key)
    assert "sesame" not in caught.value.message


def test_user_info_in_a_redis_url_is_refused_and_the_options_are_named():
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
def test_a_valid_proxy_is_not_changed(connected, value):
    with open_keeper(options(auth_method="anonymous", proxy=value), print) as keeper:
        keeper._connect()
    assert connected[0][1]["proxy"] == value


def test_a_missing_ca_path_is_refused(tmp_path):
    assert_refused("ca_path", str(tmp_path / "sesame.pem"), open_with)
    assert_refused("ca_path", ["sesame.pem"], open_with)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_home_and_variables_in_the_path_of_a_ca_are_expanded(monkeypatch, tmp_path, kind):
    path = tmp_path / "ca"
    path.mkdir() if kind == "directory" else path.write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WUYING_BASE", str(tmp_path))
    for text in ("~/ca", "$WUYING_BASE/ca", "${WUYING_BASE}/ca", str(path)):
        assert read_ca_path({"ca_path": text}.get, "ca_path") == str(path)


@pytest.mark.parametrize("value", [{"sesame": 1}, 5, [5]])
def test_a_store_key_that_is_not_a_list_of_strings_is_refused(value):
    assert_refused("store_key", value, open_with)


@pytest.mark.parametrize("value", ["", [], [""], ["sesame", ""], ["", "sesame"]])
def test_an_empty_store_key_is_refused(value):
    assert "is empty" in assert_refused("store_key", value, open_with).message


@pytest.mark.parametrize("value", [5, ["sesame"]])
def test_an_access_key_that_is_not_a_string_is_refused(value):
    with pytest.raises(OptionError, match="access_key_id must be") as caught:
        open_with(access_key_id=value, access_key_secret="sesame")
    assert "sesame" not in caught.value.message


def test_filters_that_are_not_a_dictionary_are_refused():
    assert_refused("filters", ["sesame"], read_filters)


@pytest.mark.parametrize("given", ["access_key_id", "access_key_secret", "security_token"])
def test_incomplete_credentials_are_refused_before_they_are_needed(given):
    with pytest.raises(OptionError, match=f"^{given} is set but") as caught:
        open_with(**{given: "sesame"})
    assert all(name in caught.value.message for name in ("access_key_id", "access_key_secret"))
    assert "sesame" not in caught.value.message


def test_reading_options_creates_nothing(tmp_path):
    store = tmp_path / "store"
    read(login_token="v1")
    open_with(store=str(store))
    assert not store.exists()
    assert list(tmp_path.glob("home/**/*")) == []


# The place of the store


@pytest.fixture(name="stored_in")
def fixture_stored_in(tmp_path):
    """Return a function that returns the folders below ``tmp_path`` in which the store of a task is."""

    def stored_in(**changes: t.Any) -> list[str]:
        with open_keeper(options(**changes), print) as keeper:
            session = read().session
            if isinstance(keeper.store, NoStore):
                return []
            with keeper.store.lock(session.key, time.monotonic() + 10):
                pass
        locks = list(Path(tmp_path).rglob(f"{session.key}.lock"))
        return [str(lock.parent.relative_to(tmp_path)) for lock in locks]

    return stored_in


def test_the_default_store_is_in_the_state_directory_of_the_user(stored_in, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert stored_in() == ["home/.local/state/wuying.workspace/login_tokens"]


def test_the_state_directory_can_be_changed(stored_in, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert stored_in() == ["state/wuying.workspace/login_tokens"]


@pytest.mark.parametrize("value", ["", "relative/state", "~/state"])
def test_a_state_directory_that_is_not_absolute_is_ignored(stored_in, monkeypatch, tmp_path, value):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", value)
    assert stored_in() == ["home/.local/state/wuying.workspace/login_tokens"]


def test_store_is_required_without_a_home_directory(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(OptionError, match="^store is required"):
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
def test_home_and_variables_in_the_store_are_expanded(stored_in, monkeypatch, tmp_path, value):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WUYING_BASE", str(tmp_path))
    assert stored_in(store=value.format(base=tmp_path)) == ["store"]


def test_store_none_stores_nothing(stored_in):
    assert stored_in(store="none") == []
    assert isinstance(open_with(store="none").store, NoStore)


def test_a_path_named_none_is_a_directory(tmp_path):
    assert isinstance(open_with(store=str(tmp_path / "none")).store, DirectoryStore)


# Deadline, service and scope


def test_the_deadline_counts_from_the_opening_of_the_keeper():
    before = time.monotonic()
    keeper = open_with(deadline=5.0)
    assert before + 5 <= keeper.deadline <= time.monotonic() + 5


@pytest.fixture(name="connected")
def fixture_connected(monkeypatch):
    """Return a list that collects the arguments of new service clients."""
    made: list[tuple[t.Any, ...]] = []

    def make(service: t.Any, credentials: t.Any, **settings: t.Any) -> None:
        service.credentials = credentials
        made.append((service, settings))

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
        service = keeper._connect()
    others: dict[str, t.Any] = {"connections": 1, "max_qps": None, "warnings": {}}
    assert connected[0] == (service, {**settings, **others})
    assert service.credentials == Credentials("LTAI5t", "sesame", None)
    assert isinstance(service.credentials, Credentials)
    advice = "Check access_key_id (it does not begin with LTAI or STS) and access_key_secret."
    assert service.credentials_advice == advice


def test_anonymous_requests_are_made_without_credentials(connected):
    with open_keeper(options(auth_method="anonymous"), print) as keeper:
        assert keeper._connect().credentials is None
    assert len(connected) == 2


def test_a_login_needs_no_credentials_and_shares_the_client_of_refreshes(connected):
    with open_keeper(options(), print) as keeper:
        assert keeper._connect_unsigned().credentials is None
        with pytest.raises(WuyingError) as caught:
            keeper._connect()
    assert caught.value.code == "MissingCredentials"
    with open_keeper(options(access_key_id="LTAI5t", access_key_secret="sesame"), print) as keeper:
        assert keeper._connect() is keeper._connect_unsigned()
    assert [len(each) for each in connected] == [2, 1, 2, 1]  # one client of each task, opened and closed


def test_the_service_client_is_opened_once_when_needed_and_closed(connected):
    with open_keeper(options(auth_method="anonymous"), print) as keeper:
        assert connected == []
        assert keeper._connect() is keeper._connect()
        assert len(connected) == 1
    assert connected[1:] == [("closed",)]


def test_no_credentials_are_needed_without_a_request(connected):
    with open_keeper(options(), print):
        pass
    assert connected == []


def test_secret_options_are_declared_as_secret():
    spec = argument_spec()
    secret = {name for name, option in spec.items() if option.get("no_log")}
    assert secret == {"access_key_secret", "security_token", "store_password", "store_key"}


def test_each_caller_gets_its_own_argument_spec():
    argument_spec()["region_id"]["required"] = False
    assert argument_spec()["region_id"]["required"]


def test_deleting_a_record_needs_no_credentials(tmp_path):
    request = read()
    with open_keeper(options(store=str(tmp_path / "store")), print) as keeper:
        assert keeper.delete(request.session.key) == Outcome(False)


def test_an_empty_token_from_the_environment_is_not_set():
    assert read(login_token="").login_token is None


def test_another_secret_or_timeout_makes_another_scope():
    scopes = {
        open_with(**options)._scope
        for options in (
            {},
            {"access_key_id": "a", "access_key_secret": "b"},
            {"access_key_id": "a", "access_key_secret": "c"},
            {"timeout": 1.0},
            {"validate_certs": False},
        )
    }
    assert len(scopes) == 5
    assert all(len(scope) == 12 for scope in scopes)


def test_plain_http_is_refused_for_names_that_look_like_loopback():
    for host in ("127.999.0.1", "127.0.0.08", "127.0.0.1.example.com", "127.1"):
        with pytest.raises(OptionError, match="^endpoint"):
            read(endpoint=f"http://{host}")


# Secrets in paths


@pytest.mark.parametrize(
    "variable",
    [
        "WUYING_LOGIN_TOKEN",
        "WUYING_TOKEN_STORE_PASSWORD",
        "WUYING_TOKEN_STORE_KEY",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
        "ALIBABA_CLOUD_SECURITY_TOKEN",
    ],
)
@pytest.mark.parametrize("path", ["x-${}", "${{{}}}", "$WUYING_BASE/x"])
def test_a_path_with_a_secret_from_the_environment_is_refused(monkeypatch, tmp_path, variable, path):
    monkeypatch.setenv(variable, "sesame-secret")
    monkeypatch.setenv("WUYING_BASE", "of-sesame-secret")
    text = f"{tmp_path}/{path.format(variable)}"
    for expand in (lambda **options: expand_path("store", options["store"]), open_with):
        assert variable in assert_refused("store", text, expand).message
    assert list(tmp_path.iterdir()) == []
    assert (
        variable
        in assert_refused("ca_path", text, lambda ca_path: read_ca_path({"ca_path": ca_path}.get, "ca_path")).message
    )


def test_a_path_may_contain_a_word_that_is_also_a_password(monkeypatch, tmp_path):
    monkeypatch.setenv("WUYING_TOKEN_STORE_PASSWORD", tmp_path.name)
    monkeypatch.setenv("WUYING_BASE", "x")
    assert expand_path("store", f"{tmp_path}/$WUYING_BASE") == f"{tmp_path}/x"
