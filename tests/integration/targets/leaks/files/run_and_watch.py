# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a command and save its output, command lines and environments, as other processes can see them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def record(folder: Path, seen: set[bytes]) -> None:
    """Write new command lines and environments of the processes of a run to files."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended or belongs to another user
        if f"LEAKS_CAPTURE={folder}/".encode() not in environment.split(b"\0"):
            continue
        for name, data in (("commands", command), ("environments", environment)):
            if data not in seen:
                seen.add(data)
                with open(folder / name, "ab") as file:
                    file.write(data.replace(b"\0", b" ") + b"\n")


def main() -> int:
    """Run the command and return its exit code."""
    folder, environments = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    for name in ("home", "tmp"):
        (folder / name).mkdir(mode=0o700, parents=True)
    variables = {**environments["*"], **environments.get(folder.name, {})}
    for name, value in variables.items():
        if value.startswith("./"):
            variables[name] = f"{folder}/{value[2:]}"
    seen: set[bytes] = set()
    with open(folder / "output", "wb") as output:
        started = subprocess.Popen(
            sys.argv[3:],
            cwd=folder,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while started.poll() is None:
            record(folder, seen)
            time.sleep(0.05)
    return started.returncode


if __name__ == "__main__":
    sys.exit(main())
