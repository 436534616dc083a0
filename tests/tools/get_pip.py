# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stand-in for the bootstrap script that ansible-test downloads: pip from Python's own ensurepip.

ansible-test runs it in each of its virtual environments, with the arguments of "pip install".
environments.py puts it in place where the download is impossible.
"""

from __future__ import annotations

import subprocess
import sys

UNKNOWN_TO_PIP = ("--no-setuptools", "--no-wheel")


def main(arguments: list[str]) -> int:
    """Install pip, then let it install what the arguments name."""
    wanted = [argument for argument in arguments if argument not in UNKNOWN_TO_PIP]
    # In a process of its own, because ensurepip switches pip's configuration off in its process.
    subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True)
    install = [sys.executable, "-m", "pip", "install", "--upgrade"]
    return subprocess.run(install + wanted, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
