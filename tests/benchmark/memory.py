# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the memory of all processes in a process group, with shared memory counted once."""

from __future__ import annotations

import contextlib
import os
import threading
import typing as t
from pathlib import Path

INTERVAL = 2
"""The longest interval between two samples, in seconds. The first one is a hundredth of it, because a small fleet takes less than a second."""


@contextlib.contextmanager
def watched(group: int) -> t.Iterator[list[float]]:
    """Sample a process group during the block; the only item of the list is its peak memory in MiB."""
    peak = [0.0]
    finished = threading.Event()

    def sample() -> None:
        interval = INTERVAL / 100
        while not finished.wait(interval):
            peak[0] = max(peak[0], sum(map(used_by, members(group))))
            interval = min(INTERVAL, 1.1 * interval)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        finished.set()
        thread.join()


def members(group: int) -> list[int]:
    """Return the processes of a process group."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            if os.getpgid(int(name)) == group:
                found.append(int(name))
    return found


def used_by(process: int) -> float:
    """Return the proportional set size of a process in MiB, or 0 if the process has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
