# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything that a refresh needs is imported and opened before a token is sent, so that no lack of files costs a token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._plugin import options
from ansible_collections.wuying.workspace.tests.unit.conftest import IDENTITY
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.faulty_server import (
    make_certificate,
    response,
    wires,
)

ROOT = Path(str(options.__file__)).parents[6]
"""The folder of ansible_collections."""
PROGRAM = """
import json, sys
from ansible_collections.wuying.workspace.plugins.module_utils._plugin import options, wiring
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import argument_spec
from ansible_collections.wuying.workspace.plugins.module_utils._store.locked_file import LockedFile

given, plant = json.loads(sys.argv[1]), sys.argv[2]
get_option = {**{name: option.get("default") for name, option in argument_spec().items()}, **given}.get
place, seen = "", []


def notice(event, arguments):
    if place and event in ("import", "open", "os.listdir", "os.scandir"):
        seen.append([place, str(arguments[0])])


def mark(owner, name, before=None, after=""):
    real = getattr(owner, name)

    def call(*arguments, **options):
        global place
        if place == plant:
            import wave
        place = place if before is None else before
        try:
            return real(*arguments, **options)
        finally:
            place = after

    setattr(owner, name, call)


sys.addaudithook(notice)
mark(LockedFile, "write_note", after="the note is written")
mark(LockedFile, "save")
mark(LockedFile, "save_failure")
with wiring.open_keeper(get_option, lambda warning: None) as keeper:
    keeper._connect()
    connections = sys.modules[wiring.__package__.replace("_plugin", "_service.connections")]
    mark(connections._Connection, "putrequest", "the token is sent", "the token is sent")
    try:
        end = str(keeper.ensure(options.read_request(get_option), lambda warning: None).changed)
    except wiring.WuyingError as error:
        end = error.code
print(json.dumps([end, seen]))
"""


def run(options: dict[str, t.Any], plant: str = "nowhere") -> tuple[str, list[list[str]]]:
    """Refresh a token in a new process. Return how it ended, and what was imported or opened since the note was written."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(options), plant],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    end, seen = json.loads(done.stdout)
    return end, seen


@pytest.fixture(name="options")
def fixture_options(emulator, tmp_path):
    """Return the options of a task with a new session."""
    return {
        **IDENTITY,
        "end_user_id": "alice",
        "endpoint": emulator.url,
        "store": str(tmp_path / "store"),
        "login_token": emulator.issue(),
        "access_key_id": emulator.access_key_id,
        "access_key_secret": emulator.access_key_secret,
        "retries": 1,
    }


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        (None, "True"),
        ({"fault": "skew", "seconds": 4000}, "True"),
        ({"fault": "throttle", "count": None}, "Throttling.User"),
        ({"fault": "status", "count": None}, "ServiceUnavailable"),
        ({"fault": "error", "code": "InvalidLoginToken"}, "InvalidLoginToken"),
        ({"fault": "reset", "count": None}, "ConnectionLost"),
        ({"fault": "non_json", "count": None}, "InvalidResponse"),
    ],
)
def test_nothing_is_imported_or_opened_while_a_token_is_in_flight(emulator, options, fault, end):
    if fault is not None:
        emulator.control("POST", "faults", fault)
    assert run(options) == (end, [])


@pytest.mark.parametrize("settings", [{"signature_version": "v1"}, {"store_key": 32 * "QUFB" + "QQ=="}])
def test_nothing_is_imported_late_with_other_settings(options, settings):
    if "store_key" in settings:
        fernet = pytest.importorskip("cryptography.fernet")
        settings = {"store_key": [fernet.Fernet.generate_key().decode("ascii")]}
    assert run({**options, **settings}) == ("True", [])


@pytest.mark.parametrize(
    "headers", [(), ("Date: Tue, 14 Nov 2023 22:13:50 GMT", "Retry-After: Tue, 14 Nov 2023 22:13:50 GMT")]
)
def test_nothing_is_imported_late_with_tls_and_a_host_name(options, tmp_path, headers):
    ca_path, context = make_certificate(tmp_path, "localhost")
    body = b'{"LoginToken": "v1next"}'
    with wires() as start:
        wire = start(response("503 Later" if headers else "200 OK", *headers, body=body), context)
        endpoint = f"https://localhost:{wire.port}"
        end = "ServiceUnavailable" if headers else "True"
        assert run({**options, "endpoint": endpoint, "ca_path": ca_path}) == (end, [])


@pytest.mark.parametrize("place", ["the note is written", "the token is sent"])
def test_a_late_import_would_be_noticed(options, place):
    _end, seen = run(options, place)
    assert [place, "wave"] in seen
