# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes that are killed at any instant of an exchange: what was told is kept, and what is lost is said.

The service lets an exchanged token die at once. The one open window is from the service's answer until it is written.
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
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.house import (
    House,
    unmeasured,
)

FORK = multiprocessing.get_context("fork")
NIGHTLY = os.environ.get("FUZZ") == "nightly"
KILLS = 20
"""How many processes a test kills, one after the other."""
LONGEST = 0.03
"""The seconds within which a process is killed: in them it makes some exchanges, or hears a part of one answer."""
DRIP = 0.0001


@pytest.fixture(name="house")
def fixture_house(rotating_house: House) -> House:
    """Return a house whose service lets an exchanged token die at once."""
    return rotating_house


def look(house: House, store_path: Path, told: t.Sequence[str] = (), login_token: str | None = None) -> bool:
    """See that nothing is lost after a kill; say whether it came in the open window, and the next task said so."""
    stored = house.stored()
    assert stored.damage is None, "a record is neither the old one nor the new one"
    for token in told:
        assert stored.record is not None and stored.record.knows(token), "a token that was told is lost"
    if store_path.exists():
        assert {path.suffix for path in store_path.iterdir()} <= {".lock", ".record"}
        with house.store.lock(house.session.key, time.monotonic()) as locked:
            assert locked.read() == stored
    try:
        told_next, code = house.request(login_token).record, None
    except WuyingError as error:
        told_next, code = house.stored().record, error.code
    record = house.stored().record
    assert record == told_next
    assert code in (None, "OutcomeUnknown")
    entries = house.emulator.journal()["entries"]
    known = [fingerprint(record.login_token), *record.lineage] if record else []
    issued = {entry["issued"] for entry in entries if entry["exchanged"]}
    unknown = issued - {mark[:12] for mark in known}
    assert len(unknown) == (code is not None), "a token that the service gave out is lost, and nobody was told"
    assert house.warnings == []
    if code is not None:
        assert house.request(house.emulator.issue()).changed
    return code is not None


def exchange_for_ever(house: House, told: int) -> None:
    """Exchange again and again, and tell each token once it is returned."""
    while True:
        outcome = house.request(force=True)
        assert outcome.record is not None and outcome.not_saved is None
        os.write(told, outcome.record.login_token.encode() + b"\n")


def kill_at_random(house: House, seconds: float, *, drip: bool) -> list[str]:
    """Kill a process that exchanges, so many seconds after its first exchange; return what it told."""
    reading, told = os.pipe()
    process = FORK.Process(target=exchange_for_ever, args=(house, told))
    process.start()
    os.close(told)
    with open(reading, encoding="ascii") as lines:
        first = lines.readline().strip()
        if drip:
            house.emulator.fault("drip", interval=DRIP, count=None)
        time.sleep(seconds)
        process.kill()
        process.join(20)
        assert process.exitcode == -signal.SIGKILL
        return [first, *lines.read().splitlines()]


@pytest.mark.parametrize("batch", range(25 if NIGHTLY else 2))
def test_a_kill_at_any_instant_loses_no_token_but_in_the_one_window_where_the_next_task_says_so(
    house: House, store_path: Path, batch: int
) -> None:
    chance = random.Random(None if NIGHTLY else batch)
    house.have("current")
    windows = 0
    for number in range(KILLS):
        house.emulator.clear()
        told = kill_at_random(house, chance.uniform(0, LONGEST), drip=bool(number % 2))
        house.emulator.control("DELETE", "faults")
        windows += look(house, store_path, told)
    print(f"{KILLS} kills, {windows} of them in the open window")
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
    """Act, and have each call that an exchange makes go by a hook, which gets its name, itself and its arguments."""
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
    """Return the names of the calls that an act makes, in their order."""
    names: list[str] = []

    def hook(name: str, real: t.Any, *arguments: t.Any, **keywords: t.Any) -> object:
        names.append(name)
        return real(*arguments, **keywords)

    with_hooks(act, hook)
    return names


def die_in(act: t.Callable[[], object], name: str, when: int, written: float) -> list[str] | None:
    """Act in a process that is killed in its call number ``when`` of that name; of what it writes there, a part is written.

    Return the names of the calls before; None where it made fewer of that name.
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
    with open(reading, encoding="ascii") as told:
        before = told.read().split()
    if process.exitcode == 0:
        return None
    assert process.exitcode == -signal.SIGKILL
    return before


TORN = [0, 0.01, 0.5, 0.99]


@pytest.mark.parametrize("new", [False, True], ids=["a known session", "a new session"])
def test_a_kill_at_each_call_of_an_exchange_leaves_the_old_record_or_the_new_one(
    house: House, store_path: Path, new: bool
) -> None:
    def prepare() -> str | None:
        house.emulator.clear()
        shutil.rmtree(store_path, ignore_errors=True)
        if new:
            return house.emulator.issue()
        house.have("stale")
        return None

    house.request(prepare())
    token = prepare()
    names = calls_of(functools.partial(house.request, token))
    assert names.count("pwrite") == names.count("_sync") == 2
    assert names.count("posix_fallocate") == (2 if new else 0)
    kills: t.Counter[str] = collections.Counter()
    for name in sorted(set(names)):
        for written in TORN if name in ("pwrite", "sendall") else [0]:
            for when in itertools.count(1):
                token = prepare()
                before = die_in(functools.partial(house.request, token), name, when, written)
                if before is None:
                    break
                # The window is from the end of the request to the write of the answer, of which a part is none.
                asked = before.count("sendall") == names.count("sendall")
                lost = look(house, store_path, login_token=token)
                assert lost == (asked and before.count("pwrite") < 2)
                kills[name] += 1
    assert kills.keys() == set(names)
    assert kills["pwrite"] == 2 * len(TORN) and kills["_sync"] == 2
    assert kills["sendall"] == names.count("sendall") * len(TORN)
    assert kills["posix_fallocate"] == (2 if new else 0)


# The same by what the kernel sees

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
"""Those of an exchange; one that is new to the store makes all of them."""


def trace(act: t.Callable[[], object], *options: str) -> int | None:
    """Act in a process that strace looks at; return how it ended, None where it may not be looked at."""
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
    looked_at = tracer.poll() is None
    os.close(going)
    process.join(30)
    tracer.wait(30)
    return process.exitcode if looked_at else None


@pytest.mark.skipif(STRACE is None, reason="strace is not installed: no kill at each system call")
@unmeasured
def test_a_kill_at_each_system_call_of_an_exchange_leaves_the_old_record_or_the_new_one(
    house: House, store_path: Path
) -> None:
    house.have("stale")
    house.request()  # All that is imported for an exchange is so from here on.
    kills: dict[str, int] = {}
    windows = 0
    for name in SYSTEM_CALLS:
        for when in itertools.count(1):
            house.emulator.clear()
            shutil.rmtree(store_path)
            house.have("stale")
            injected = f"inject={name}:signal=SIGKILL:when={when}"
            ended = trace(house.request, "-o", os.devnull, "-e", f"trace={name}", "-e", injected)
            if ended is None:
                pytest.skip("this user may look at no process with strace")
            if ended == 0:  # It made fewer such calls.
                break
            assert ended == -signal.SIGKILL
            kills[name] = when
            windows += look(house, store_path)
    assert kills["pwrite64"] == kills["fdatasync"] == 2
    assert kills.keys() >= {"openat", "flock", "pread64", "connect", "sendto", "recvfrom"}
    assert 0 < windows < sum(kills.values())
