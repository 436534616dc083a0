# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that a process killed at any time of a refresh loses no token that was returned, and that any loss is reported.

The service refuses a token after its refresh. A token can be lost only between the service's answer and its write to the store.
"""

from __future__ import annotations

import collections
import fcntl
import functools
import itertools
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import typing as t
from pathlib import Path
from unittest import mock

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import WuyingError
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._store import two_slot_file
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    SingleSession,
    unmeasured,
)

FORK = multiprocessing.get_context("fork")
NIGHTLY = os.environ.get("FUZZ") == "nightly"
KILLS = 20
"""The number of processes that a test kills, one after the other."""
LONGEST = 0.03
"""A process is killed within this many seconds: enough for some refreshes, or for a part of a slow answer."""
DRIP = 0.0001


@pytest.fixture(name="single_session")
def fixture_session(rotating_session: SingleSession) -> SingleSession:
    """Return a session whose service refuses a token after its refresh."""
    return rotating_session


def check_loss(
    single_session: SingleSession, store_path: Path, returned: t.Sequence[str] = (), login_token: str | None = None
) -> bool:
    """Check that a kill lost no token. Return True if it came in the known window and the next task reported the loss."""
    stored = single_session.stored()
    assert stored.damage is None, "a record is neither the old one nor the new one"
    for token in returned:
        assert stored.record is not None and stored.record.knows(token), "a returned token is lost"
    if store_path.exists():
        assert {path.suffix for path in store_path.iterdir()} <= {".lock", ".record"}
        with single_session.store.lock(single_session.session.key, time.monotonic()) as locked:
            assert locked.read() == stored
    try:
        record_next, code = single_session.request(login_token).record, None
    except WuyingError as error:
        record_next, code = single_session.stored().record, error.code
    record = single_session.stored().record
    assert record == record_next
    assert code in (None, "OutcomeUnknown")
    entries = single_session.emulator.journal()["entries"]
    known = [fingerprint(record.login_token), *record.lineage] if record else []
    issued = {entry["issued"] for entry in entries if entry["exchanged"]}
    unknown = issued - {mark[:12] for mark in known}
    assert len(unknown) == (code is not None), "a token that the service issued is lost, and no error reports it"
    assert single_session.warnings == []
    if code is not None:
        assert single_session.request(single_session.emulator.issue()).changed
    return code is not None


def refresh_forever(single_session: SingleSession, returned: int) -> None:
    """Refresh in a loop, and write each returned token to the pipe."""
    while True:
        outcome = single_session.request(force=True)
        assert outcome.record is not None and outcome.not_saved is None
        os.write(returned, outcome.record.login_token.encode() + b"\n")


def kill_at_random(single_session: SingleSession, seconds: float, *, drip: bool) -> list[str]:
    """Kill a process that refreshes, so many seconds after its first refresh. Return the tokens that it wrote."""
    reading, returned = os.pipe()
    process = FORK.Process(target=refresh_forever, args=(single_session, returned))
    process.start()
    os.close(returned)
    with open(reading, encoding="ascii") as lines:
        first = lines.readline().strip()
        if drip:
            single_session.emulator.fault("drip", interval=DRIP, count=None)
        time.sleep(seconds)
        process.kill()
        process.join(20)
        assert process.exitcode == -signal.SIGKILL
        return [first, *lines.read().splitlines()]


@pytest.mark.parametrize("batch", range(25 if NIGHTLY else 2))
def test_a_kill_at_any_time_loses_a_token_only_in_the_known_window(
    single_session: SingleSession, store_path: Path, batch: int
) -> None:
    chance = random.Random(None if NIGHTLY else batch)
    single_session.have("current")
    windows = 0
    for number in range(KILLS):
        single_session.emulator.clear()
        returned = kill_at_random(single_session, chance.uniform(0, LONGEST), drip=bool(number % 2))
        single_session.emulator.control("DELETE", "faults")
        windows += check_loss(single_session, store_path, returned)
    print(f"{KILLS} kills, {windows} of them in the known window")
    assert windows < KILLS


# One kill at each call

CALLS: list[tuple[t.Any, str]] = [
    (os, "open"),
    (os, "fstat"),
    (os, "pread"),
    (os, "posix_fallocate"),
    (os, "pwrite"),
    (os, "fsync"),
    (os, "close"),
    (two_slot_file, "_sync"),
    (fcntl, "flock"),
    (socket.socket, "connect"),
    (socket.socket, "sendall"),
    (socket.socket, "recv_into"),
]


def with_hooks(act: t.Callable[[], object], hook: t.Callable[..., object]) -> None:
    """Act with a hook in place of each call of a refresh. The hook gets the name, the real function and the arguments."""
    patches = []
    for module, name in CALLS:
        real = getattr(module, name)

        def run(*arguments: t.Any, _name: str = name, _real: t.Any = real, **keywords: t.Any) -> t.Any:
            return hook(_name, _real, *arguments, **keywords)

        patches.append(mock.patch.object(module, name, run))
    for patch in patches:
        patch.start()
    try:
        act()
    finally:
        for patch in patches:
            patch.stop()


def calls_of(act: t.Callable[[], object]) -> list[str]:
    """Return the names of the calls that are made, in order."""
    names: list[str] = []

    def hook(name: str, real: t.Any, *arguments: t.Any, **keywords: t.Any) -> object:
        names.append(name)
        return real(*arguments, **keywords)

    with_hooks(act, hook)
    return names


def kill_in(act: t.Callable[[], object], name: str, when: int, written: float) -> list[str] | None:
    """Act in a process that is killed in call number ``when`` of that name, after a part of its data is written.

    Return the names of the calls before, or None if there were fewer calls of that name.
    """
    reading, telling = os.pipe()
    before: list[str] = []

    def hook(called: str, real: t.Any, *arguments: t.Any, **keywords: t.Any) -> object:
        if called != name or before.count(name) < when - 1:
            before.append(called)
            return real(*arguments, **keywords)
        if name == "pwrite":
            file, data, offset = arguments
            real(file, data[: int(len(data) * written)], offset)
        if name == "sendall":
            connection, data = arguments
            real(connection, data[: int(len(data) * written)])
        os.write(telling, " ".join(before).encode())
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    process = FORK.Process(target=with_hooks, args=(act, hook))
    process.start()
    os.close(telling)
    process.join(30)
    with open(reading, encoding="ascii") as returned:
        before = returned.read().split()
    if process.exitcode == 0:
        return None
    assert process.exitcode == -signal.SIGKILL
    return before


TORN = [0, 0.01, 0.5, 0.99]


@pytest.mark.parametrize("new", [False, True], ids=["a known session", "a new session"])
def test_a_kill_at_each_call_leaves_the_old_record_or_the_new_one(
    single_session: SingleSession, store_path: Path, new: bool
) -> None:
    def prepare() -> str | None:
        single_session.emulator.clear()
        shutil.rmtree(store_path, ignore_errors=True)
        if new:
            return single_session.emulator.issue()
        single_session.have("stale")
        return None

    single_session.request(prepare())
    token = prepare()
    names = calls_of(functools.partial(single_session.request, token))
    assert names.count("pwrite") == names.count("_sync") == 2
    assert names.count("posix_fallocate") == (2 if new else 0)
    kills: t.Counter[str] = collections.Counter()
    for name in sorted(set(names)):
        for written in TORN if name in ("pwrite", "sendall") else [0]:
            for when in itertools.count(1):
                token = prepare()
                before = kill_in(functools.partial(single_session.request, token), name, when, written)
                if before is None:
                    break
                # The window is from the end of the request to the complete write of the answer.
                asked = before.count("sendall") == names.count("sendall")
                lost = check_loss(single_session, store_path, login_token=token)
                assert lost == (asked and before.count("pwrite") < 2)
                kills[name] += 1
    assert kills.keys() == set(names)
    assert kills["pwrite"] == 2 * len(TORN) and kills["_sync"] == 2
    assert kills["sendall"] == names.count("sendall") * len(TORN)
    assert kills["posix_fallocate"] == (2 if new else 0)


# The same at each system call

STRACE = shutil.which("strace")
SYSTEM_CALLS = (
    "openat",
    "flock",
    "fstat",
    "pread64",
    "fallocate",
    "pwrite64",
    "fdatasync",
    "fsync",
    "socket",
    "connect",
    "sendto",
    "recvfrom",
)
"""The system calls of a refresh. The first refresh of a session makes all of them."""


def trace(act: t.Callable[[], object], *options: str) -> int | None:
    """Act in a process under strace. Return its exit code, or None if strace is not permitted."""
    reading, going = os.pipe()

    def wait_and_act() -> None:
        os.close(going)
        os.read(reading, 1)
        act()

    process = FORK.Process(target=wait_and_act)
    process.start()
    os.close(reading)
    assert process.pid is not None
    tracer = subprocess.Popen([str(STRACE), "-f", "-qq", "-p", str(process.pid), *options], stderr=subprocess.DEVNULL)
    status = Path(f"/proc/{process.pid}/status")
    end = time.monotonic() + 20
    while "TracerPid:\t0\n" in status.read_text() and tracer.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.001)
    traced = tracer.poll() is None
    os.close(going)
    process.join(30)
    tracer.wait(30)
    return process.exitcode if traced else None


@pytest.mark.skipif(STRACE is None, reason="strace is not installed: no kill at each system call")
@unmeasured
def test_a_kill_at_each_system_call_leaves_the_old_or_the_new_record(
    single_session: SingleSession, store_path: Path
) -> None:
    single_session.have("stale")
    single_session.request()  # so that all imports are done
    kills: dict[str, int] = {}
    windows = 0
    for name in SYSTEM_CALLS:
        for when in itertools.count(1):
            single_session.emulator.clear()
            shutil.rmtree(store_path)
            single_session.have("stale")
            injected = f"inject={name}:signal=SIGKILL:when={when}"
            ended = trace(single_session.request, "-o", os.devnull, "-e", f"trace={name}", "-e", injected)
            if ended is None:
                pytest.skip("this user is not permitted to use strace")
            if ended == 0:  # It made fewer such calls.
                break
            assert ended == -signal.SIGKILL
            kills[name] = when
            windows += check_loss(single_session, store_path)
    assert kills["pwrite64"] == kills["fdatasync"] == 2
    assert kills.keys() >= {"openat", "flock", "pread64", "connect", "sendto", "recvfrom"}
    assert 0 < windows < sum(kills.values())
