# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the guarantees with Redis: many processes and hosts, clocks that differ, and tasks that are suspended or killed."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import typing as t
import warnings

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import Outcome, TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.fleet import keep_all, read_requested
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session, fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._redis import lease
from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import parse_address
from ansible_collections.wuying.workspace.plugins.module_utils._redis.store import RedisStore
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import RedisServers
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    SingleSession,
    put,
    session_at,
)

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.tests.unit.conftest import Emulator

FORK = multiprocessing.get_context("fork")
SESSIONS, THREADS = 500, 16
CLOCKS = (0, 10, 20, 30)
"""By how many seconds the clock of each process is off."""


def open_at(address: str, seconds: float = 90) -> RedisStore:
    """Open a store."""
    return RedisStore(
        parse_address(address),
        username=None,
        password=None,
        ca_path=None,
        deadline=time.monotonic() + seconds,
    )


def _get(results: t.Any) -> t.Any:
    end = time.monotonic() + 30
    while results.empty():
        assert time.monotonic() < end
        time.sleep(0.01)
    return results.get()


@pytest.fixture
def single_session(servers: RedisServers, start_emulator: t.Callable[..., Emulator]) -> t.Iterator[SingleSession]:
    """Return a session in Redis, at an emulator where a refresh invalidates the old token at once."""
    emulator = start_emulator("--rotate")
    store = open_at(servers().address)
    yield SingleSession(store, emulator, session_at(emulator.url))
    store.close()


def test_32_processes_with_one_stale_session_send_one_refresh(
    single_session: SingleSession,
) -> None:
    single_session.have("stale")
    results: t.Any = FORK.Queue()

    def request() -> None:
        results.put(single_session.request().record)

    processes = [FORK.Process(target=request) for _process in range(32)]
    for process in processes:
        process.start()
    got = [results.get(timeout=60) for _process in processes]
    for process in processes:
        process.join(60)
    assert got == [single_session.stored().record] * 32
    journal = single_session.emulator.journal()
    assert (journal["requests"], journal["exchanges"]) == (1, 1)


def test_a_task_suspended_past_its_lease_cannot_overwrite_a_newer_token(
    servers: RedisServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE", 0.5)
    address = servers().address
    session = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
    old, newer, late = (
        next_record(None, session, "v1first", f"v1{name}", time.time(), 900, None) for name in ("old", "newer", "late")
    )
    results: t.Any = FORK.SimpleQueue()
    store = open_at(address)
    put(store, old)
    store.close()

    def hold() -> None:
        mine = open_at(address)
        try:
            with mine.lock(session.key, time.monotonic() + 30) as locked:
                locked.write_note(new_note(None, fingerprint(old.login_token), "a test"))
                results.put("noted")
                os.kill(os.getpid(), signal.SIGSTOP)
                locked.save(late)
        except StoreError as error:
            results.put(error.code)
        mine.close()

    process = FORK.Process(target=hold)
    process.start()
    assert process.pid is not None
    try:
        assert _get(results) == "noted"
        os.waitpid(process.pid, os.WUNTRACED)
        put(store, newer)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert _get(results) == "NewerRecord"
    process.join(20)
    assert store.read(session.key) == StoredState(newer)
    store.close()


def test_the_lock_of_a_killed_process_is_free_after_its_lease(
    single_session: SingleSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE", 0.5)
    single_session.have("stale")
    held = FORK.Event()

    def hold() -> None:
        with single_session.store.lock(single_session.session.key, time.monotonic() + 10):
            held.set()
            time.sleep(60)

    process = FORK.Process(target=hold)
    process.start()
    assert held.wait(20)
    time.sleep(1)  # The lease is renewed while the process runs.
    process.kill()
    process.join(20)
    assert single_session.request().changed


def test_a_process_killed_before_it_saves_leaves_its_note(
    single_session: SingleSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE", 0.5)
    record = single_session.have("stale")

    def request_and_be_killed() -> None:
        from ansible_collections.wuying.workspace.plugins.module_utils._redis import store as store_module

        store_module._LockedHash.save = lambda *_any: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore
        single_session.request()

    process = FORK.Process(target=request_and_be_killed)
    process.start()
    process.join(30)
    stored = single_session.stored()
    assert stored.record == record and stored.may_be_spent(record.login_token)


class Network:
    """Simulated hosts: network namespaces on a bridge, each with the emulator on its own loopback address."""

    def __init__(self, hosts: int, port: int) -> None:
        """Create the hosts. ``port`` is the emulator's port."""
        suffix = f"{os.getpid() % 46656:x}"
        self._bridge = f"wyb{suffix}"
        self.hosts = [f"wy{suffix}n{number}" for number in range(hosts)]
        self._prefix = f"10.213.{os.getpid() % 256}"
        self.address = f"{self._prefix}.1"
        self._forwarders: list[t.Any] = []
        try:
            self._make(port)
        except BaseException:
            self.remove()
            raise

    def enter(self, host: str) -> None:
        """Move the current thread to a host."""
        with open(f"/var/run/netns/{host}", "rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0x40000000):
                raise OSError(ctypes.get_errno(), "setns")

    def remove(self) -> None:
        """Remove hosts, bridge and forwarders."""
        for forwarder in self._forwarders:
            forwarder.kill()
            forwarder.join(10)
        for host in self.hosts:
            _ip("netns", "del", host, check=False)
        _ip("link", "del", self._bridge, check=False)

    def _make(self, port: int) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self.address}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for number, host in enumerate(self.hosts):
            _ip("netns", "add", host)
            outside = f"{host}v"
            _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", host)
            _ip("link", "set", outside, "master", self._bridge, "up")
            _ip("-n", host, "addr", "add", f"{self._prefix}.{number + 2}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _ip("-n", host, "link", "set", device, "up")
            ready = FORK.Event()
            forwarder = FORK.Process(target=self._forward, args=(host, port, ready), daemon=True)
            forwarder.start()
            self._forwarders.append(forwarder)
            assert ready.wait(20)

    def _forward(self, host: str, port: int, ready: t.Any) -> None:
        """Forward connections from the host's loopback to ours. A socket stays in the namespace in which it was created."""
        listener: list[socket.socket] = []

        def listen() -> None:
            self.enter(host)
            listener.append(socket.create_server(("127.0.0.1", port), backlog=64))

        thread = threading.Thread(target=listen)
        thread.start()
        thread.join(10)
        ready.set()
        while True:
            near, _peer = listener[0].accept()
            far = socket.create_connection(("127.0.0.1", port))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        for data in iter(lambda: source.recv(65536), b""):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True, timeout=20)


@pytest.fixture
def rotating_emulator(start_emulator: t.Callable[..., Emulator]) -> Emulator:
    """Return an emulator where a refresh invalidates the old token at once."""
    return start_emulator("--rotate")


@pytest.fixture
def network(rotating_emulator: Emulator) -> t.Iterator[Network | None]:
    """Return three more hosts, or None with a warning if this host cannot create any."""
    made: Network | None = None
    try:
        if not shutil.which("ip"):
            raise OSError("no ip")
        made = Network(3, int(rotating_emulator.url.rpartition(":")[2]))
    except (OSError, subprocess.SubprocessError):
        warnings.warn(
            "network namespaces cannot be created here, so all processes run on one host",
            stacklevel=1,
        )
    yield made
    if made is not None:
        made.remove()


def test_500_stale_sessions_are_refreshed_once_by_4_processes(
    servers: RedisServers, rotating_emulator: Emulator, network: Network | None
) -> None:
    emulator = rotating_emulator
    here = "127.0.0.1" if network is None else network.address
    server = servers("--protected-mode", "no", host=here)
    sessions = [session_at(emulator.url)._replace(end_user_id=f"user{number}") for number in range(SESSIONS)]
    _log_in(emulator, sessions, server.address)
    start, results = FORK.Event(), FORK.Queue()
    hosts = [None, *(network.hosts if network else [None] * 3)]
    processes = [
        FORK.Process(target=_keep_all, args=(network, host, server.address, sessions, ahead, start, results))
        for host, ahead in zip(hosts, CLOCKS)
    ]
    for process in processes:
        process.start()
    start.set()
    got = [results.get(timeout=120) for _process in processes]
    for process in processes:
        process.join(30)
    assert [len(tokens) for tokens in got] == [SESSIONS] * 4
    assert got[1:] == got[:1] * 3
    journal = emulator.journal()
    assert (journal["requests"], journal["exchanges"]) == (SESSIONS, SESSIONS)


def _log_in(emulator: Emulator, sessions: list[Session], address: str) -> None:
    identities = [
        {name: value for name, value in session.identity().items() if name != "endpoint"} for session in sessions
    ]
    store = open_at(address)
    now = time.time()
    for session, issued in zip(sessions, emulator.control("POST", "tokens", identities)):
        put(
            store,
            next_record(None, session, "v1first", issued["login_token"], now - 800, 900, None),
        )
    assert store.warnings == []
    store.close()


def _keep_all(
    network: Network | None,
    host: str | None,
    address: str,
    sessions: list[Session],
    ahead: float,
    start: t.Any,
    results: t.Any,
) -> None:
    if network is not None and host is not None:
        network.enter(host)

    def clock() -> float:
        return time.time() + ahead

    store = open_at(address)
    with ServiceClient(None, retries=0, timeout=60, connections=THREADS, clock=clock) as service:
        keeper = Keeper(store, lambda: service, scope="", deadline=time.monotonic() + 90, clock=clock)
        start.wait(60)
        requests = [TokenRequest(session) for session in sessions]
        tokens: dict[str, str] = {}
        for report in keep_all(keeper, read_requested(store, requests), max_parallel=THREADS):
            if isinstance(report.result, Outcome) and report.result.record is not None:
                tokens[report.key] = report.result.record.login_token
            else:
                print(report)
    store.close()
    results.put(tokens)
