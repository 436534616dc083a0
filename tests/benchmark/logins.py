# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure how fast one task heals a fleet whose login tokens are lost, compared with refreshing it."""

from __future__ import annotations

import json
import statistics
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.wuying.workspace.tests.benchmark import fleet, servers

PASSWORD = "password of a benchmark"
SECRETS = 1000
"""The number of passwords that one task accepts."""
VALIDITY = 1
"""For how many seconds tokens are valid by the clock of the tasks, so that each task has to refresh all of them."""


class Rates(t.NamedTuple):
    """Sessions refreshed and healed per second with a store, and the ratio of the two within a round."""

    store: str
    refreshed: float
    healed: float
    ratio: float

    def __str__(self) -> str:
        return f"{self.store:9} {self.refreshed:19.0f} {self.healed:17.0f} {self.ratio:7.2f}"


def measure(folder: Path, size: int, rounds: int) -> list[Rates]:
    """Measure refreshes and logins in turn, for each store; print a table and return its lines."""
    lines: list[Rates] = []
    print(
        f"\nOne task over {size:,} sessions that stay logged in, refreshed and healed in turn: medians of {rounds} rounds"
    )
    print("store      refreshed a second   healed a second   ratio", flush=True)
    for open_store in (servers.directory, *([servers.redis] if servers.has_redis() else [])):
        with servers.emulator(folder) as emulator, open_store(folder) as store:
            log_in(emulator, store, size)
            pairs = [one_round(emulator, store, size) for _round in range(rounds)]
        refreshed, healed = (size / statistics.median(seconds) for seconds in zip(*pairs, strict=True))
        ratio = statistics.median(refresh / heal for refresh, heal in pairs)
        lines.append(Rates(store.name, refreshed, healed, ratio))
        print(lines[-1], flush=True)
    return lines


def log_in(emulator: servers.Emulator, store: servers.Store, size: int) -> None:
    """Log in all users with a password."""
    users = [f"user-{number:06}" for number in range(size)]
    emulator.control("users", json.dumps(dict.fromkeys(users, PASSWORD)).encode())
    for start in range(0, size, SECRETS):
        sessions = [{"end_user_id": user, "password": PASSWORD} for user in users[start : start + SECRETS]]
        done = run(emulator, store, sessions=sessions, stay_logged_in=True, **servers.IDENTITY)
        expect(done, "logged_in", len(sessions))


def one_round(emulator: servers.Emulator, store: servers.Store, size: int) -> tuple[float, float]:
    """Return the seconds of a task that refreshes all sessions, and of one that heals them."""
    time.sleep(VALIDITY)
    refresh = run(emulator, store)
    expect(refresh, "refreshed", size)
    time.sleep(VALIDITY)
    emulator.control("clock", json.dumps({"advance": servers.VALIDITY + 1}).encode())
    heal = run(emulator, store)
    expect(heal, "logged_in", size)
    return refresh.seconds, heal.seconds


def run(emulator: servers.Emulator, store: servers.Store, **options: t.Any) -> fleet.Task:
    """Run the module over the sessions of a store."""
    own = {"validity": VALIDITY, "store_key": servers.STORE_KEY, **options}
    return fleet.run_task(emulator, store, fleet.PARALLEL, own)


def expect(task: fleet.Task, count: str, size: int) -> None:
    """Exit with an error unless all sessions ended in the expected way."""
    if task.result["counts"][count] != size:
        sys.exit(f"Not every session was {count}: {task.result['counts']} {task.result.get('msg')}")
