# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Start the emulator and Redis for a benchmark, and fill stores with sessions."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import typing as t
import urllib.request
from pathlib import Path
from unittest import mock

from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import LINEAGE_LENGTH
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session, fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._redis import scripts
from ansible_collections.wuying.workspace.plugins.module_utils._store import two_slot_file
from ansible_collections.wuying.workspace.plugins.module_utils._store.two_slot_file import SlotValue
from ansible_collections.wuying.workspace.plugins.module_utils._store.two_slot_writer import TwoSlotWriter

EMULATOR = Path(__file__).resolve().parents[2] / "roles/emulator/files/emulator.py"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
VALIDITY = 7200
REFRESH_BEFORE = 3600
STORE_KEY = "QUFB" * 10 + "QUE="
"""Keep-alive tokens are stored in Redis only if they are encrypted."""
REMEMBERED = 3_000_000
"""How many tokens the emulator remembers, enough for each session of a million to have its old one and the next."""
BATCH = 10_000
START = 30
"""The maximum start time of a server in seconds."""
IDENTITY = {
    "region_id": "cn-hangzhou",
    "client_id": "client-1",
    "office_site_id": "cn-hangzhou+dir-2381912345",
}


class Emulator(t.NamedTuple):
    """A running emulator."""

    pid: int
    url: str
    control_url: str
    access_key_id: str
    access_key_secret: str

    def options(self) -> dict[str, t.Any]:
        """Return the module options for this emulator and the sessions that ``fill`` creates."""
        return {
            "endpoint": self.url,
            "access_key_id": self.access_key_id,
            "access_key_secret": self.access_key_secret,
            "validity": VALIDITY,
            "refresh_before": REFRESH_BEFORE,
        }

    def issue(self, users: t.Sequence[str]) -> list[str]:
        """Return a first login token for each user."""
        body = json.dumps([{**IDENTITY, "end_user_id": user} for user in users]).encode()
        issued = self.control("tokens", body)
        return [each["login_token"] for each in issued]

    def exchanges(self) -> int:
        """Return the number of exchanges."""
        return int(self.control("journal")["exchanges"])

    def control(self, control: str, body: bytes | None = None) -> t.Any:
        """Call a control and return its response."""
        request = urllib.request.Request(f"{self.control_url}/{control}", body)
        with DIRECT.open(request, timeout=60) as response:
            return json.load(response)


class Store(t.NamedTuple):
    """A store: its name in tables, its address for the option ``store``, and functions."""

    name: str
    address: str
    save: t.Callable[[list[Record]], None]
    """Saves records."""
    used: t.Callable[[], int]
    """Returns the bytes that the store uses, on the disk or in the memory of Redis."""


@contextlib.contextmanager
def emulator(folder: Path) -> t.Iterator[Emulator]:
    """Run an emulator during the block."""
    ready = folder / "ready.json"
    load = f"import sys; sys.path.insert(0, {str(EMULATOR.parent)!r}); import emulator"
    program = f"{load}; emulator.MAX_REMEMBERED = {REMEMBERED}; emulator.main()"
    command = (sys.executable, "-c", program, "--ready-file", ready, "--validity", str(VALIDITY))
    with _server(command, ready.exists) as pid:
        facts = json.loads(ready.read_text(encoding="utf-8"))
        yield Emulator(pid, *(facts[name] for name in Emulator._fields[1:]))


@contextlib.contextmanager
def directory(folder: Path) -> t.Iterator[Store]:
    """Create a directory store for the block."""
    path = folder / "store"
    path.mkdir(0o700)

    def save(records: list[Record]) -> None:
        for record in records:
            # The same files as after earlier refreshes: both slots are written, and there is a lock file.
            with _new_file(path / f"{record.session.key}.record") as file:
                slots = TwoSlotWriter(file)
                data = record.dump().rstrip()
                slots.reserve(len(data))
                for _slot in range(2):
                    slots.write(SlotValue(data))
            with _new_file(path / f"{record.session.key}.lock"):
                pass

    def used() -> int:
        with os.scandir(path) as files:
            return sum(file.stat().st_blocks * 512 for file in files)

    try:
        # Records are not synced one by one. fill() syncs once at the end.
        with mock.patch.object(two_slot_file, "_sync"):
            yield Store("directory", str(path), save, used)
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def _new_file(path: Path) -> t.Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def redis(folder: Path) -> t.Iterator[Store]:
    """Run a Redis server that writes to disk before it replies."""
    from redis import Redis
    from redis.exceptions import ConnectionError as RedisNotReady

    data = folder / "redis"
    data.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {
        "bind": "127.0.0.1",
        "port": port,
        "dir": data,
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "logfile": data / "log",
    }
    settings = [(f"--{name}", str(value)) for name, value in options.items()]
    command = ["redis-server", *itertools.chain(*settings)]
    client = Redis(port=port)

    def is_ready() -> bool:
        try:
            return bool(client.ping())
        except RedisNotReady:
            return False

    def save(records: list[Record]) -> None:
        pipeline = client.pipeline(transaction=False)
        for record in records:
            name = scripts.hash_name(record.session.key)
            mark = fingerprint(record.login_token)
            pipeline.hset(name, mapping={"record": record.dump(), "fingerprint": mark})
            pipeline.expire(name, 30 * 86400)
        pipeline.execute()

    def used() -> int:
        return int(client.info("memory")["used_memory"])

    try:
        with _server(command, is_ready):
            yield Store("Redis", f"redis://127.0.0.1:{port}", save, used)
    finally:
        client.close()
        shutil.rmtree(data)


def has_redis() -> bool:
    """Return True if redis-server is installed, otherwise print a message."""
    if shutil.which("redis-server") is None:
        print("SKIPPED: the Redis store, because redis-server is not installed", flush=True)
        return False
    return True


def fill(emulator: Emulator, store: Store, count: int, *, stale: bool = True) -> list[str]:
    """Fill a store with sessions that have the maximum lineage; return their users."""
    users = [f"user-{number:06}" for number in range(count)]
    lineage = tuple(fingerprint(str(number)) for number in range(LINEAGE_LENGTH))
    # Stale tokens expire late enough that none expires during the benchmark.
    expires_at = time.time() + (REFRESH_BEFORE - 600 if stale else VALIDITY)
    for start in range(0, count, BATCH):
        batch = users[start : start + BATCH]
        store.save(
            [
                Record(
                    Session(endpoint=emulator.url, end_user_id=user, **IDENTITY),
                    token,
                    obtained_at=expires_at + number % 500 - VALIDITY,
                    expires_at=expires_at + number % 500,
                    request_id="1CBAFFAB-B697-4049-A9B1-67E1FC5F0000",
                    lineage=lineage,
                    passed=lineage[:1],
                )
                for number, (user, token) in enumerate(zip(batch, emulator.issue(batch), strict=True), start)
            ]
        )
    os.sync()
    return users


def processor_time(pid: int) -> float:
    """Return the processor time of a process in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _server(command: t.Sequence[t.Any], is_ready: t.Callable[[], bool]) -> t.Iterator[int]:
    end = time.monotonic() + START
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            while not is_ready():
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit(f"{command[0]} did not start.")
                time.sleep(0.02)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(START)
            except subprocess.TimeoutExpired:
                process.kill()
