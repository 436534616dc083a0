# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lookup accepts no password, and sends stored keep-alive tokens only to the endpoint that issued them."""

from __future__ import annotations

import time
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore

# Skips the tests on a Python without a controller.
from ansible_collections.wuying.workspace.tests.unit.plugins.lookup.lookup_setup import LookupRunner

SECRETS = {
    "password": "sesame-Pa55w0rd",
    "totp_secret": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
    "authentication_code": "123456",
    "stay_logged_in": "true",
    "uuid": "sesame-device",
}
ELSEWHERE = "https://ecd-vpc.example.com"


@pytest.fixture(name="closed")
def fixture_closed(runner, listener, monkeypatch):
    """Return a runner whose user can log in, and a proxy to other hosts, where nothing must arrive."""
    runner.emulator.set_users(alice=SECRETS["password"])
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listener.getsockname()[1]}")
    return runner


def save(runner: LookupRunner, **changes: t.Any) -> Record:
    """Save a record with a keep-alive token, which has ended unless it is changed."""
    record, now = runner.save_record(-100), time.time()
    record = record._replace(keep_alive=KeepAlive("k1stored", now, now), ended="InvalidLoginToken")._replace(**changes)
    with DirectoryStore(str(runner.store)).lock(record.session.key, time.monotonic() + 10) as locked:
        locked.write_note(new_note(None, fingerprint(record.login_token), "a test"))
        locked.save(record)
    return record


# Secrets of logins


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_of_a_login_is_no_keyword(closed, name):
    message = closed.failure_of("alice", **{name: SECRETS[name]})
    assert f"'{name}' is not an option of this lookup" in message
    assert SECRETS[name] not in message or name == "stay_logged_in"
    assert closed.requests() == 0


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("nested", [True, False])
def test_a_secret_of_a_login_is_no_key_of_a_term(closed, name, nested):
    term = {"end_user_id": "alice", name: SECRETS[name]}
    message = closed.failure_of([term] if nested else term)
    assert "A term has an unknown key" in message
    assert SECRETS[name] not in message or name == "stay_logged_in"
    assert closed.requests() == 0


@pytest.mark.parametrize("name", ["password", "totp_secret", "authentication_code"])
def test_the_error_about_a_secret_of_a_login_names_the_module(closed, name):
    for message in (closed.failure_of("alice", **{name: "sesame"}), closed.failure_of({name: "sesame"})):
        assert "wuying_login_token and stay_logged_in=true" in message
        assert "store_password" not in message
        assert "sesame" not in message


def test_variables_with_secrets_of_a_login_are_not_read(closed):
    variables = {f"wuying_{name}": value for name, value in SECRETS.items()}
    for more in ({}, {"ansible_facts": variables}):
        assert "NoLoginToken" in closed.failure_of("alice", variables={**variables, **more})
    assert closed.requests() == 0


def test_the_environment_gives_no_password(closed, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(f"WUYING_{name.upper()}", value)
    assert "NoLoginToken" in closed.failure_of("alice")
    assert closed.requests() == 0


# Stored keep-alive tokens


def test_a_stored_keep_alive_token_is_sent_without_credentials(closed):
    save(closed)
    message = closed.failure_of("alice", access_key_id=None, access_key_secret=None)
    assert "InvalidKeepAliveToken" in message
    assert "k1stored" not in message
    counts = closed.emulator.logins()
    assert (counts["calls"]["KeepAliveVerify"], counts["signed"], closed.requests()) == (1, 0, 1)


@pytest.mark.parametrize("by", ["keyword", "variable", "term"])
def test_another_endpoint_gets_no_stored_token(closed, by):
    save(closed)
    term = {"end_user_id": "alice", "endpoint": ELSEWHERE} if by == "term" else "alice"
    variables = {"wuying_endpoint": ELSEWHERE} if by == "variable" else {}
    options: dict[str, t.Any] = {} if by == "term" else {"endpoint": ELSEWHERE if by == "keyword" else None}
    assert "NoLoginToken" in closed.failure_of(term, variables=variables, **options)
    assert closed.requests() == 0


@pytest.mark.parametrize("name", ["endpoint", "store", "proxy", "validate_certs", "ca_path"])
def test_a_fact_does_not_choose_where_a_stored_token_is_sent(closed, name):
    save(closed)
    facts = {f"wuying_{name}": {"endpoint": ELSEWHERE, "proxy": "http://127.0.0.1:1"}.get(name, "sesame")}
    message = closed.failure_of("alice", variables={**facts, "ansible_facts": facts})
    assert "is a fact of the host" in message
    assert closed.requests() == 0


@pytest.mark.parametrize("by", ["keyword", "variable"])
def test_a_stored_token_is_not_sent_without_verification(closed, by):
    record = save(closed)
    save(closed, session=record.session._replace(endpoint=ELSEWHERE))
    variables = {"wuying_validate_certs": False} if by == "variable" else {}
    options = {"validate_certs": False} if by == "keyword" else {}
    message = closed.failure_of("alice", endpoint=ELSEWHERE, variables=variables, **options)
    assert "loopback endpoints only" in message
    assert "k1stored" not in message
    assert closed.requests() == 0


def test_check_mode_sends_no_stored_token(closed):
    save(closed)
    assert "CheckMode" in closed.failure_of("alice", variables={"ansible_check_mode": True})
    assert closed.requests() == 0
