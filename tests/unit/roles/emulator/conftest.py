# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Start emulators as processes, and send requests to them."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest

SCRIPT = Path(__file__).parents[4] / "roles" / "emulator" / "files" / "emulator.py"
ALICE = {
    "region_id": "cn-hangzhou",
    "client_id": "f4a0dc8e-1702-4728-9a60-95b27a35c0de",
    "office_site_id": "cn-hangzhou+dir-2381910001",
    "end_user_id": "alice",
}


class Reply(NamedTuple):
    """The response: status, headers, and the body, parsed if it is JSON."""

    status: int
    headers: dict[str, str]
    body: Any


class Emulator:
    """A running emulator, and requests for the session of Alice."""

    alice = ALICE

    def __init__(self, process: subprocess.Popen[str], facts: dict[str, Any]) -> None:
        self.process, self.facts = process, facts
        self.url: str = facts["url"]
        self.host = urlsplit(self.url).netloc
        self.control_path = urlsplit(facts["control_url"]).path
        self.keys = {name: facts[name] for name in ("access_key_id", "access_key_secret")}

    def connect(self, timeout: float = 10) -> http.client.HTTPConnection:
        """Open a connection, over TLS if the emulator uses it."""
        if self.facts["ca_path"] is None:
            return http.client.HTTPConnection(self.host, timeout=timeout)
        trust = ssl.create_default_context(cafile=self.facts["ca_path"])
        return http.client.HTTPSConnection(self.host, timeout=timeout, context=trust)

    def send(self, method: str, target: str, body: str | None = None, **headers: str) -> Reply:
        """Send one request over a new connection."""
        connection = self.connect()
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            text = response.read()
            is_json = response.headers.get_content_type() == "application/json"
            received = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, received, json.loads(text) if is_json else text)
        finally:
            connection.close()

    def control(self, method: str, path: str, payload: Any = None) -> Any:
        """Call a control, which must succeed, and return the body of its response."""
        reply = self.send(method, f"{self.control_path}/{path}", json.dumps(payload))
        assert reply.status == 200, reply.body
        return reply.body

    def issue(self, **identity: str) -> str:
        """Issue a first token for Alice; the arguments override fields of her identity."""
        token: str = self.control("POST", "tokens", {**ALICE, **identity})["login_token"]
        return token

    def queue_fault(self, fault: str, **parameters: Any) -> None:
        """Queue a fault."""
        self.control("POST", "faults", {"fault": fault, **parameters})

    def journal(self) -> Any:
        """Read the journal."""
        return self.control("GET", "journal")

    def set_users(self, **users: Any) -> None:
        """Add or replace users."""
        self.control("POST", "users", users)

    def set_options(self, **options: Any) -> None:
        """Change options of logins."""
        self.control("POST", "options", options)

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self.control("POST", "clock", {"advance": seconds})

    def logins(self) -> Any:
        """Read the counts of logins."""
        return self.control("GET", "logins")

    def parameters(self, token: str) -> dict[str, str]:
        """Return the parameters of RefreshLoginToken for Alice."""
        return {
            "Action": "RefreshLoginToken",
            "Version": "2020-10-02",
            "RegionId": ALICE["region_id"],
            "ClientId": ALICE["client_id"],
            "OfficeSiteId": ALICE["office_site_id"],
            "EndUserId": ALICE["end_user_id"],
            "LoginToken": token,
        }

    def exchange(self, token: str, **changes: str | None) -> Reply:
        """Exchange a token without a signature; arguments override parameters, None removes them."""
        parameters = {**self.parameters(token), **changes}
        sent = {name: value for name, value in parameters.items() if value is not None}
        return self.send("POST", f"/?{urlencode(sent)}")

    def log_in(self, stage: str = "ADPassword", **parameters: str | None) -> Reply:
        """Send a stage of a login for Alice; arguments add or override parameters, None removes them."""
        login = {**self.parameters(""), "Action": "GetLoginToken", "LoginToken": None, "CurrentStage": stage}
        sent = {name: value for name, value in {**login, **parameters}.items() if value is not None}
        return self.send("POST", f"/?{urlencode(sent)}")


def start(folder: Path, *arguments: str, **constants: float) -> Emulator:
    """Start an emulator, with other values of its constants, and wait until it listens."""
    ready_file = folder / "ready.json"
    program = [str(SCRIPT)]
    if constants:
        load = f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import emulator"
        program = ["-c", f"{load}; vars(emulator).update({constants}); emulator.main()"]
    command = [sys.executable, *program, "--ready-file", str(ready_file), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 20
    while not ready_file.exists():
        assert process.poll() is None and time.monotonic() < deadline, "the emulator did not start"
        time.sleep(0.02)
    return Emulator(process, json.loads(ready_file.read_text(encoding="utf-8")))


@pytest.fixture(name="script")
def fixture_script() -> str:
    """Return the path of the emulator."""
    return str(SCRIPT)


@pytest.fixture(name="start_emulator")
def fixture_start_emulator(tmp_path: Path) -> Iterator[Callable[..., Emulator]]:
    """Return a function that starts an emulator with the given arguments and constants."""
    started: list[Emulator] = []

    def starter(*arguments: str, **constants: float) -> Emulator:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(start(folder, *arguments, **constants))
        return started[-1]

    yield starter
    for emulator in started:
        emulator.process.terminate()
        emulator.process.communicate(timeout=10)


@pytest.fixture(name="emulator")
def fixture_emulator(start_emulator: Callable[..., Emulator]) -> Emulator:
    """Return an emulator with default options."""
    return start_emulator()
