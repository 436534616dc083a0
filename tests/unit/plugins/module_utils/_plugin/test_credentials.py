# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that a set of credentials comes from one source, and is read only when it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import traceback
import types
import typing as t
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    MissingLibraryError,
    OptionError,
    ServiceError,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin import credentials

ID, SECRET, TOKEN = "LTAI5tExample", "sesame-secret", "sesame-security-token"
OPTION_NAMES = {"access_key_id": ID, "access_key_secret": SECRET, "security_token": TOKEN}
VARIABLES = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAI5tFromEnvironment",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "sesame-secret-of-environment",
    "ALIBABA_CLOUD_SECURITY_TOKEN": "sesame-security-token-of-environment",
}


def find(seconds=30.0, **options):
    """Return the credentials as a refresh gets them."""
    options = {"auth_method": "access_key", **options}
    return credentials.from_options(options.get)(time.monotonic() + seconds)


def failure_of(kind, *arguments, **options):
    """Return the error of a failing search, after checking that it shows no secret."""
    with pytest.raises(kind) as caught:
        find(*arguments, **options)
    shown = "".join(traceback.format_exception(kind, caught.value, None))
    assert "sesame" not in shown + str(caught.value.as_result())
    return caught.value


@pytest.fixture(name="environment")
def fixture_environment(monkeypatch):
    """Set the three environment variables of the official tools."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


def test_credentials_are_read_from_options():
    found = find(access_key_id=ID, access_key_secret=SECRET)
    assert found == (ID, SECRET, None)


def test_temporary_credentials_are_read_from_options():
    assert find(**OPTION_NAMES) == (ID, SECRET, TOKEN)


def test_credentials_are_read_from_the_environment_without_options(environment):
    assert find() == tuple(VARIABLES.values())


def test_empty_options_count_as_not_set(environment):
    found = find(access_key_id="", access_key_secret="", security_token="")
    assert found == tuple(VARIABLES.values())


def test_an_empty_security_token_counts_as_not_set(environment, monkeypatch):
    monkeypatch.setenv("ALIBABA_CLOUD_SECURITY_TOKEN", "")
    assert find()[2] is None


def test_a_security_token_from_the_environment_is_not_added_to_options(environment):
    assert find(access_key_id=ID, access_key_secret=SECRET) == (ID, SECRET, None)


@pytest.mark.parametrize(
    "given",
    [
        ["access_key_id"],
        ["access_key_secret"],
        ["security_token"],
        ["access_key_id", "security_token"],
        ["access_key_secret", "security_token"],
    ],
    ids="+".join,
)
def test_an_incomplete_set_of_options_fails_despite_the_environment(environment, given):
    options = {"auth_method": "access_key", **{name: OPTION_NAMES[name] for name in given}}
    with pytest.raises(OptionError, match=r"Set (both, or neither|all three, or none)\.") as caught:
        credentials.from_options(options.get)  # at once, not when a refresh is due
    assert all(name in caught.value.message for name in ("access_key_id", "access_key_secret"))
    assert "sesame" not in caught.value.message


@pytest.mark.parametrize("missing", ["ACCESS_KEY_ID", "ACCESS_KEY_SECRET"])
def test_an_incomplete_environment_fails_when_credentials_are_needed(environment, monkeypatch, missing):
    monkeypatch.delenv(f"ALIBABA_CLOUD_{missing}")
    credentials.from_options({"auth_method": "access_key"}.get)
    error = failure_of(OptionError)
    assert error.code == "MissingCredentials"
    assert f"ALIBABA_CLOUD_{missing}" in error.message


def test_missing_credentials_fail_when_they_are_needed():
    credentials.from_options({"auth_method": "access_key"}.get)
    error = failure_of(OptionError)
    assert (error.code, error.retryable) == ("MissingCredentials", False)
    assert "access_key_id" in error.message
    assert "ALIBABA_CLOUD_ACCESS_KEY_ID" in error.message


@pytest.mark.parametrize("name", OPTION_NAMES)
@pytest.mark.parametrize("flaw", ["sesame\n", " sesame", "ses ame", "sesame\r\nX-Header: x", "sésame", "sesame\0"])
def test_malformed_credentials_are_refused(name, flaw):
    error = failure_of(OptionError, **{**OPTION_NAMES, name: flaw})
    assert error.code == "InvalidOption"


def test_anonymous_ignores_all_credentials(environment):
    assert find(auth_method="anonymous", **OPTION_NAMES) is None


# The provider chain of the package alibabacloud-credentials


@pytest.fixture(name="provide")
def fixture_provide(monkeypatch):
    """Return a function that installs a fake package whose client calls the given function."""

    def provide(get_credential):
        package: t.Any = types.ModuleType("alibabacloud_credentials")
        client: t.Any = types.ModuleType("alibabacloud_credentials.client")
        client.Client = lambda: types.SimpleNamespace(get_credential=get_credential)
        package.client = client
        monkeypatch.setitem(sys.modules, "alibabacloud_credentials", package)
        monkeypatch.setitem(sys.modules, "alibabacloud_credentials.client", client)

    return provide


def found_by_chain(access_key_id=ID, access_key_secret=SECRET, security_token=TOKEN):
    """Return credentials in the form of the package."""
    return types.SimpleNamespace(
        access_key_id=access_key_id,
        access_key_secret=access_key_secret,
        security_token=security_token,
    )


@pytest.mark.parametrize("token", [TOKEN, None, ""])
def test_credentials_are_read_from_the_provider_chain(provide, environment, token):
    provide(lambda: found_by_chain(security_token=token))
    found = find(auth_method="provider_chain")
    assert found[:2] == (ID, SECRET)
    assert (found[2] or None) == (token or None)


def test_options_and_environment_are_not_added_to_the_provider_chain(provide, environment):
    provide(lambda: found_by_chain(security_token=None))
    found = find(auth_method="provider_chain", **OPTION_NAMES)
    assert not found[2]


def test_the_chain_is_not_called_before_credentials_are_needed(provide):
    asked: list[bool] = []

    def get_credential() -> t.Any:
        asked.append(True)
        return found_by_chain()

    provide(get_credential)
    finder = credentials.from_options({"auth_method": "provider_chain"}.get)
    assert asked == []
    finder(time.monotonic() + 30)
    assert asked == [True]


@pytest.mark.parametrize(
    "found",
    [None, found_by_chain(access_key_id=None), found_by_chain(access_key_secret="")],
    ids=["nothing", "no ID", "no secret"],
)
def test_a_chain_without_an_access_key_is_an_error(provide, found):
    provide(lambda: found)
    error = failure_of(ServiceError, auth_method="provider_chain")
    assert (error.code, error.outcome_unknown) == ("MissingCredentials", False)
    assert "provider chain" in error.message


@pytest.mark.parametrize("kind", [ValueError, OSError, RuntimeError, KeyError])
def test_an_error_of_the_chain_is_not_repeated(provide, kind):
    def fail():
        raise kind("https://sts.example.com/?Signature=sesame&AccessKeySecret=sesame")

    provide(fail)
    error = failure_of(ServiceError, auth_method="provider_chain")
    assert error.code == "MissingCredentials"
    assert error.__cause__ is None and error.__context__ is None


def test_a_limit_of_threads_is_named(provide, monkeypatch):
    def fail(_thread):
        raise RuntimeError("can't start new thread")

    provide(lambda: None)
    monkeypatch.setattr(threading.Thread, "start", fail)
    error = failure_of(ServiceError, auth_method="provider_chain")
    assert (error.code, error.retryable) == ("MissingCredentials", True)
    assert error.message.startswith("No thread can be started to ask the provider chain. Raise the limit")


class CredentialsUri(BaseHTTPRequestHandler):
    """A credentials URI, which is one of the sources of the chain."""

    def do_GET(self):
        """Return credentials, and repeat the security token in a header."""
        fields = {"AccessKeyId": ID, "AccessKeySecret": SECRET, "SecurityToken": TOKEN}
        fields.update(Code="Success", Expiration="2099-01-01T00:00:00Z")
        body = json.dumps(fields).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Repeated", TOKEN)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        """Log nothing."""


ASK_THE_CHAIN = """
import logging, time
logging.basicConfig(level=logging.DEBUG)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin import credentials
find = credentials.from_options({"auth_method": "provider_chain"}.get)
print(*map(len, find(time.monotonic() + 30)))
"""


def test_log_messages_of_the_chain_are_dropped(tmp_path):
    pytest.importorskip("alibabacloud_credentials")
    with HTTPServer(("127.0.0.1", 0), CredentialsUri) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        variables = {
            **{name: os.environ[name] for name in os.environ if "ALIBABA" not in name},
            "ALIBABA_CLOUD_CREDENTIALS_URI": f"http://127.0.0.1:{server.server_port}/?sign={TOKEN}",
            "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
            "DEBUG": "sdk",
            "HOME": str(tmp_path),
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        done = subprocess.run(
            [sys.executable, "-c", ASK_THE_CHAIN],
            env=variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        server.shutdown()
    assert done.stdout.split() == [str(len(part)) for part in (ID, SECRET, TOKEN)], done.stderr
    assert TOKEN not in done.stdout + done.stderr


def test_a_hanging_chain_ends_at_the_deadline(provide):
    never = threading.Event()
    provide(lambda: never.wait(60))
    begun = time.monotonic()
    error = failure_of(ServiceError, 0.1, auth_method="provider_chain")
    never.set()
    assert 0.1 <= time.monotonic() - begun < 15
    assert not error.outcome_unknown
    assert "did not respond before the deadline" in error.message


def test_malformed_credentials_from_the_chain_are_refused(provide):
    provide(lambda: found_by_chain(access_key_secret="sesame\n"))
    failure_of(WuyingError, auth_method="provider_chain")


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "alibabacloud_credentials", None)
    error = failure_of(MissingLibraryError, auth_method="provider_chain")
    assert "alibabacloud-credentials" in error.message
    assert error.code == "MissingLibrary"


BROKEN = {
    "a syntax error": "def",
    "an attribute error": "import os; os.sesame",
    "an error that quotes a secret": "raise RuntimeError('sesame')",
    "a missing module": "import sesame",
    "a library that cannot be opened": "raise OSError(2, 'sesame')",
    "an exit": "raise SystemExit('sesame')",
    "a panic of Rust code": "raise type('PanicException', (BaseException,), {})('sesame')",
}


@pytest.mark.parametrize("where", ["import", "call"])
@pytest.mark.parametrize("code", list(BROKEN.values()), ids=list(BROKEN))
def test_a_broken_package_is_an_error_without_its_message(monkeypatch, tmp_path, code, where):
    package = tmp_path / "alibabacloud_credentials"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inner.py").write_text(code)
    client = "class Client:\n    def get_credential(self):\n        from . import inner\n"
    (package / "client.py").write_text("from . import inner\n" if where == "import" else client)
    for name in [name for name in sys.modules if name.startswith("alibabacloud_credentials")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    error = failure_of(ServiceError, auth_method="provider_chain")
    for name in [name for name in sys.modules if name.startswith("alibabacloud_credentials")]:
        del sys.modules[name]
    assert error.code == (
        "MissingLibrary" if where == "import" or code == BROKEN["a missing module"] else "MissingCredentials"
    )
    assert "alibabacloud-credentials" in error.message
    assert error.code == "MissingCredentials" or sys.executable in error.message
    assert "sesame" not in error.message
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__


def test_a_package_that_cannot_be_opened_now_is_a_temporary_error(monkeypatch, tmp_path):
    package = tmp_path / "alibabacloud_credentials"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import errno, os; raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), 'x.so')"
    )
    for name in [name for name in sys.modules if name.startswith("alibabacloud_credentials")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    error = failure_of(MissingLibraryError, auth_method="provider_chain")
    assert "too many files are open" in error.message
    assert "ulimit -n" in error.message
    assert error.retryable


@pytest.mark.parametrize("method", ["access_key", "anonymous"])
def test_the_package_is_not_imported_by_other_methods(monkeypatch, environment, method):
    monkeypatch.setitem(sys.modules, "alibabacloud_credentials", None)
    find(auth_method=method)
