# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the processes of a group have in use of the memory, all together: what they share counts once."""

from __future__ import annotations

import contextlib
import os
import threading
import typing as t
from pathlib import Path

INTERVAL = 2


@contextlib.contextmanager
def watched(group: int) -> t.Iterator[list[float]]:
    """Look at a group of processes within the block; the list has the most that they had, in MiB."""
    peak = [0.0]
    over = threading.Event()

    def look() -> None:
        while not over.wait(INTERVAL):
            peak[0] = max(peak[0], sum(map(used_by, members(group))))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def members(group: int) -> list[int]:
    """Return the processes of a group."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            if os.getpgid(int(name)) == group:
                found.append(int(name))
    return found


def used_by(process: int) -> float:
    """Return a process's proportional share of memory, in MiB; nothing where it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
