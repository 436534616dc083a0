# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for all unit tests: emulators that run as processes, and a socket where nothing must arrive."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import socket
import sys
import time
import typing as t
import urllib.request
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "roles" / "emulator" / "files" / "emulator.py"
FORK = multiprocessing.get_context("fork")
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Ignores proxies. Created once, because that takes longer than a request."""
IDENTITY = {
    "region_id": "cn-hangzhou",
    "client_id": "f4a0dc8e-1702-4728-9a60-95b27a35c0de",
    "office_site_id": "cn-hangzhou+dir-2381910001",
}


class Emulator:
    """A running emulator and its controls."""

    def __init__(self, process: multiprocessing.process.BaseProcess, facts: dict[str, t.Any]) -> None:
        self._process = process
        self.url: str = facts["url"]
        self._control_url: str = facts["control_url"]
        self.ca_path: str | None = facts["ca_path"]
        self.access_key_id: str = facts["access_key_id"]
        self.access_key_secret: str = facts["access_key_secret"]
        self.sts: dict[str, str] = facts["sts"]

    def control(self, method: str, path: str, body: t.Any = None) -> t.Any:
        """Call a control and return the body of its response."""
        request = urllib.request.Request(
            f"{self._control_url}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with DIRECT.open(request, timeout=30) as response:
            return json.loads(response.read() or b"null")

    def issue(self, end_user_id: str = "alice", **identity: str) -> str:
        """Log in a user and return the first token of the session."""
        session = {**IDENTITY, "end_user_id": end_user_id, **identity}
        return str(self.control("POST", "tokens", session)["login_token"])

    def journal(self) -> dict[str, t.Any]:
        """Return the journal of requests to the service."""
        return dict(self.control("GET", "journal"))

    def set_users(self, **users: t.Any) -> None:
        """Add or replace users who can log in: a password, or a dictionary, for each name."""
        self.control("POST", "users", users)

    def logins(self) -> dict[str, t.Any]:
        """Return the counts of logins."""
        return dict(self.control("GET", "logins"))

    def advance(self, seconds: float) -> None:
        """Move the clock of the emulator forward."""
        self.control("POST", "clock", {"advance": seconds})

    def clear(self) -> None:
        """Empty the journal and delete all faults."""
        self.control("DELETE", "journal")
        self.control("DELETE", "faults")

    def fault(self, name: str, **parameters: t.Any) -> None:
        """Queue a fault for the next request."""
        self.control("POST", "faults", {"fault": name, **parameters})

    def stop(self) -> None:
        """Stop the emulator."""
        self._process.terminate()
        self._process.join(30)
        assert self._process.exitcode is not None, "the emulator did not exit"


def _load_emulator() -> t.Any:
    """Import the emulator once, because tests fork hundreds of emulators and an import takes longer."""
    sys.path.append(str(SCRIPT.parent))  # of the files that it imports
    spec = importlib.util.spec_from_file_location("wuying_emulator", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EMULATOR = _load_emulator()


def _serve(*arguments: str) -> None:
    """Run the emulator with command-line arguments in this process."""
    sys.argv[1:] = arguments
    EMULATOR.main()


def _start(folder: Path, *arguments: str) -> Emulator:
    ready = folder / "ready.json"
    options = ("--port", "0", "--ready-file", str(ready), *arguments)
    process = FORK.Process(target=_serve, args=options, daemon=True)
    process.start()
    end = time.monotonic() + 30
    while not ready.exists():
        assert process.is_alive(), "the emulator exited"
        assert time.monotonic() < end, "the emulator did not start"
        time.sleep(0.005)
    return Emulator(process, json.loads(ready.read_text()))


@pytest.fixture
def start_emulator(
    tmp_path_factory: pytest.TempPathFactory,
) -> t.Iterator[t.Callable[..., Emulator]]:
    """Return a function that starts an emulator with the given arguments for one test."""
    started: list[Emulator] = []

    def start(*arguments: str) -> Emulator:
        started.append(_start(tmp_path_factory.mktemp("emulator"), *arguments))
        return started[-1]

    yield start
    for emulator in started:
        emulator.stop()


@pytest.fixture
def emulator(start_emulator: t.Callable[..., Emulator]) -> Emulator:
    """Return an emulator with an empty journal and no faults.

    Each test starts its own, because ansible-test runs each test in a separate process.
    """
    return start_emulator()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the credentials, proxies and stores of the environment from tests."""
    for name in os.environ:
        if name.startswith(("WUYING_", "ALIBABA_CLOUD_", "XDG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def listener() -> t.Iterator[socket.socket]:
    """Return a socket that listens on loopback, where nothing must arrive."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()
