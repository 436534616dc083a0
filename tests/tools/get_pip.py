# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Install pip from Python's ensurepip, in place of the bootstrap script that ansible-test downloads.

ansible-test runs the script in each of its virtual environments, with the arguments of "pip install".
"""

from __future__ import annotations

import subprocess  # nosec B404 # starts this Python only
import sys

arguments = [name for name in sys.argv[1:] if name not in ("--no-setuptools", "--no-wheel")]
# In processes of their own, because ensurepip disables pip's configuration in its process.
for command in (["ensurepip", "--default-pip"], ["pip", "install", "--upgrade", *arguments]):
    ended = subprocess.run([sys.executable, "-m", *command], check=False)  # nosec B603 # ansible-test passes the arguments
    if ended.returncode:
        sys.exit(ended.returncode)
