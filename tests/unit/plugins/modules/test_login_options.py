# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of logins that are refused before anything is sent, in the modules for one and for many sessions."""

from __future__ import annotations

import base64
import json
import time
import typing as t

import pytest
from ansible.module_utils import basic

from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import IDENTITY, login_spec
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_token, wuying_login_tokens
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import put, session_at
from ansible_collections.wuying.workspace.tests.unit.plugins.modules.module_setup import (
    ModuleRunner,
    by_user,
    options_for,
)

PASSWORD = "sesame-Pa55w0rd"
TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
ELSEWHERE = "https://ecd-vpc.example.com"
ONE = pytest.mark.parametrize("task", [False], ids=["one"], indirect=True)
MANY = pytest.mark.parametrize("task", [True], ids=["many"], indirect=True)
OF_SESSION = (*IDENTITY, *login_spec())


class Task:
    """Asks for the session of Alice with either module. Nothing else can be reached but the emulator."""

    def __init__(self, many: bool, emulator: t.Any, path: t.Any, monkeypatch: t.Any, capfd: t.Any) -> None:
        module = wuying_login_tokens if many else wuying_login_token
        self.many, self.emulator, self.path = many, emulator, path
        options = {**session_at(emulator.url).identity(), **options_for(emulator, path)}
        if many:
            for name in IDENTITY:
                options.pop(name, None)
        self.runner = ModuleRunner(module, options, monkeypatch, capfd)

    def run(self, *, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """Run the module, and return the result of the session."""
        if not self.many:
            return self.runner.run(check=check, **options)
        session = {**session_at(self.emulator.url).identity(), "end_user_id": "alice"}
        session.update((name, options.pop(name)) for name in OF_SESSION if name in options)
        result = self.runner.run(check=check, sessions=[session], results="all", **options)
        return dict(result["sessions"][0]) if result.get("sessions") else result

    def refusal(self, **options: t.Any) -> str:
        """Return the message of a task that fails because of an option, without its position in ``sessions``."""
        for check in (True, False):
            result = self.run(check=check, **options)
            assert (result["error_code"], result["retryable"]) == ("InvalidOption", False)
            for value in options.values():
                if isinstance(value, str) and len(value) > 5 and value not in (ELSEWHERE, "redis://127.0.0.1:1"):
                    assert value not in self.runner.printed
                    assert json.dumps(value)[1:-1] not in self.runner.printed
            assert "sesame" not in self.runner.printed
        assert self.emulator.journal()["requests"] == 0
        message = str(result["msg"])
        if self.many and message.startswith("sessions[0]: "):
            message = message[len("sessions[0]: ") :]
        assert "\n" not in message
        return message


@pytest.fixture(name="task", params=[False, True], ids=["one", "many"])
def fixture_task(request, emulator, tmp_path, monkeypatch, capfd):
    """Return a task of each module whose user can log in."""
    emulator.set_users(alice=PASSWORD)
    return Task(request.param, emulator, tmp_path / "store", monkeypatch, capfd)


@pytest.fixture(name="proxied")
def fixture_proxied(task, listener, monkeypatch):
    """Return a task that reaches other hosts through a proxy, where nothing must arrive."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listener.getsockname()[1]}")
    return task


# Bad input


@pytest.mark.parametrize(
    "secret",
    [
        "sesame 0189",
        "sesame-0",
        "=",
        "1",
        "otpauth://totp/sesame",
        "otpauth://totp/sesame?secret=",
        "otpauth://totp/sesame?secret=0189sesame",
        f"otpauth://hotp/sesame?secret={TOTP_SECRET}",
        f"otpauth:totp/sesame?secret={TOTP_SECRET}",
        f"https://totp/sesame?secret={TOTP_SECRET}",
        f"otpauth://[totp/sesame?secret={TOTP_SECRET}",
    ],
)
def test_a_totp_secret_must_be_base32_or_a_uri(task, secret):
    message = task.refusal(password=PASSWORD, totp_secret=secret)
    assert message.startswith("totp_secret must be a secret in base32, or a URI")
    assert TOTP_SECRET not in task.runner.printed


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("algorithm=SHA256", "another algorithm than SHA1"),
        ("digits=8", "another digits than 6"),
        ("period=60", "another period than 30"),
    ],
)
def test_a_uri_for_other_codes_is_refused(task, query, words):
    uri = f"otpauth://totp/sesame?secret={TOTP_SECRET}&{query}"
    assert words in task.refusal(password=PASSWORD, totp_secret=uri)
    assert TOTP_SECRET not in task.runner.printed


@pytest.mark.parametrize("name", ["password", "totp_secret"])
@pytest.mark.parametrize("value", ["sesame-secret\n", "sesame\r\nsecret", "\nsesame-secret"])
def test_a_secret_with_a_line_break_is_refused(task, name, value):
    message = task.refusal(**{"password": PASSWORD, name: value})
    assert message.startswith(f"{name} contains a line break")


def test_a_password_that_is_too_long_is_refused(task):
    assert task.refusal(password="sesame" * 200).startswith("password must have at most 1,024 characters")


def test_a_password_that_cannot_be_encoded_is_refused(task):
    assert task.refusal(password="sesame\ud800").startswith("password must be a string that can be encoded as UTF-8")


@pytest.mark.parametrize("code", ["12345", "1234567", "12345a", "123 456", "١٢٣٤٥٦", "sesame", "123456\n", 12345, 5349])
def test_a_code_must_be_six_digits(task, code):
    message = task.refusal(password=PASSWORD, authentication_code=code)
    assert message.startswith("authentication_code must consist of exactly 6 digits. Quote it")


@pytest.mark.parametrize("options", [{"totp_secret": TOTP_SECRET}, {"authentication_code": "123456"}])
def test_a_second_factor_needs_a_password(task, options):
    (name,) = options
    assert task.refusal(**options).startswith(f"{name} needs password")


@pytest.mark.parametrize("options", [{"password": PASSWORD}, {"stay_logged_in": True, "login_token": "v1sesame-token"}])
def test_a_login_needs_a_store(task, options):
    others = {"return_token": True} if task.many else {}
    assert task.refusal(store="none", **options, **others).startswith("password and stay_logged_in need a store")


def test_staying_logged_in_with_redis_needs_a_key(task):
    message = task.refusal(store="redis://127.0.0.1:1", password=PASSWORD, stay_logged_in=True)
    assert message.startswith("stay_logged_in needs store_key with a Redis store")


@MANY
def test_staying_logged_in_for_the_whole_task_needs_a_key_too(task):
    session = {**session_at(task.emulator.url).identity(), "password": PASSWORD}
    options = {"store": "redis://127.0.0.1:1", "stay_logged_in": True, "deadline": 1}
    assert "stay_logged_in needs store_key" in task.runner.run(sessions=[session], **options)["msg"]
    overridden = {**session, "stay_logged_in": False}
    assert task.runner.run(sessions=[overridden], **options)["error_code"] != "InvalidOption"


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("endpoint", [ELSEWHERE, "https://ecd.cn-beijing.aliyuncs.com"])
def test_a_password_is_not_sent_to_another_endpoint(proxied, endpoint, check):
    result = proxied.run(password=PASSWORD, endpoint=endpoint, check=check)
    assert result["error_code"] == "InvalidOption"
    assert "not the endpoint of its region" in result["msg"]
    assert "use wuying_login_token with force=true" in result["msg"]
    assert PASSWORD not in proxied.runner.printed


@MANY
def test_many_sessions_send_no_password_to_another_endpoint_even_by_force(proxied):
    result = proxied.run(password=PASSWORD, endpoint=ELSEWHERE, force=True)
    assert "not the endpoint of its region" in result["msg"]


@ONE
def test_one_session_sends_a_password_to_another_endpoint_by_force(task, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert task.run(password=PASSWORD, endpoint=ELSEWHERE, force=True)["error_code"] == "ProxyFailed"


@pytest.mark.parametrize("force", [True, False])
def test_a_password_is_not_sent_without_verification(proxied, force):
    endpoint = "https://ecd.cn-hangzhou.aliyuncs.com"
    message = proxied.refusal(password=PASSWORD, endpoint=endpoint, validate_certs=False, force=force)
    assert message.startswith("validate_certs=false allows logins at loopback endpoints only")


def test_a_password_is_sent_to_loopback_without_verification(task):
    assert task.run(password=PASSWORD, validate_certs=False)["source"] == "login"


# The system log


def test_the_system_log_contains_no_secret_with_quotes(task, monkeypatch):
    logged = []
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda _module, *texts, **more: logged.append(f"{texts} {more}"))
    password = "sesame'\"\\"
    task.emulator.set_users(alice=password)
    assert task.run(password=password, totp_secret=TOTP_SECRET)["source"] == "login"
    assert "Invoked with" in logged[0]
    assert not [text for text in logged if "sesame" in text or TOTP_SECRET in text]


# Stored keep-alive tokens


def record_at(endpoint: str, *, age: float, seconds: float, ended: str | None) -> Record:
    """Return a record with a keep-alive token of this age, whose login token is valid for ``seconds``."""
    now = time.time()
    record = next_record(None, session_at(endpoint), None, "v1stored", now + seconds - 900, 900, None)
    return record._replace(ended=ended, keep_alive=KeepAlive("k1stored", now - age, now - age))


@pytest.mark.parametrize("endpoint", ["https://ecd.cn-hangzhou.aliyuncs.com", ELSEWHERE])
def test_a_keep_alive_token_is_not_sent_without_verification(proxied, endpoint):
    put(DirectoryStore(str(proxied.path)), record_at(endpoint, age=1000, seconds=-100, ended="InvalidLoginToken"))
    result = proxied.run(endpoint=endpoint, validate_certs=False)
    assert result["msg"].startswith("validate_certs=false allows logins at loopback endpoints only")
    assert "k1stored" not in proxied.runner.printed


@pytest.mark.parametrize("options", [{"validate_certs": False}, {"timeout": 10, "deadline": 8}], ids=str)
def test_a_renewal_that_is_not_possible_does_not_stop_the_refresh(task, monkeypatch, options):
    """A keep-alive token that cannot be renewed must not cost the login token."""
    endpoint = ELSEWHERE if "validate_certs" in options else task.emulator.url
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    record = record_at(endpoint, age=4 * 86400, seconds=100, ended=None)
    put(DirectoryStore(str(task.path)), record._replace(login_token=task.emulator.issue()))
    result = task.run(endpoint=endpoint, **options)
    if endpoint == ELSEWHERE:
        # A refresh without verification is allowed, but the proxy cannot be reached.
        assert "Check the proxy" in task.runner.printed
        assert "allows logins" not in task.runner.printed
    else:
        assert result["source"] == "refresh"


@MANY
def test_a_stored_endpoint_that_the_task_does_not_name_gets_no_keep_alive_token(proxied):
    record = record_at(ELSEWHERE, age=4 * 86400, seconds=100, ended=None)
    planted = record.session._replace(end_user_id="planted")
    store = DirectoryStore(str(proxied.path))
    put(store, record._replace(session=planted))
    put(store, record._replace(session=planted._replace(end_user_id="ended"), ended="InvalidLoginToken"))
    for options in ({}, {"force": True}, {"filters": {"end_user_id": ["planted", "ended"]}}):
        shown = by_user(proxied.runner.run(**options, results="all"))
        assert {name: entry["error_code"] for name, entry in shown.items()} == dict.fromkeys(
            ("planted", "ended"), "EndpointNotNamed"
        )


# More than 1,000 secrets


def totp_secret(number: int) -> str:
    """Return the TOTP secret of a user."""
    return base64.b32encode(f"sesame-{number:013}".encode()).decode()


@MANY
@pytest.mark.parametrize(("sessions", "names"), [(1001, 1), (501, 2), (334, 3), (1000, 3)])
def test_more_than_1000_secrets_are_refused_within_seconds(task, sessions, names):
    identity = session_at(task.emulator.url).identity()
    entries = []
    for number in range(sessions):
        secrets = {"password": f"sesame-password-{number:013}", "totp_secret": totp_secret(number)}
        secrets["login_token"] = f"v1sesame-{number:064}"
        chosen = list(secrets.items())[:names]
        entries.append({**identity, "end_user_id": f"user-{number}", **dict(chosen)})
    begin = time.process_time()
    result = task.runner.run(sessions=entries)
    assert time.process_time() - begin < 10
    assert result["error_code"] == "InvalidOption"
    assert result["msg"].startswith(f"sessions contains {sessions * names:,} login tokens, passwords and other secrets")
    assert "at most 1,000" in result["msg"]
    assert "sesame" not in task.runner.printed
    assert totp_secret(7) not in task.runner.printed
    assert task.emulator.journal()["requests"] == 0


@MANY
def test_1000_secrets_are_accepted(task):
    identity = session_at(task.emulator.url).identity()
    entries = [
        {
            **identity,
            "end_user_id": f"user-{number}",
            "password": f"sesame-{number:09}",
            "totp_secret": totp_secret(number),
        }
        for number in range(500)
    ]
    result = task.runner.run(sessions=entries, check=True)
    assert result["counts"]["logged_in"] + result["counts"]["refreshed"] == 500
    assert "sesame" not in task.runner.printed
