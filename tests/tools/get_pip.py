# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Install pip from Python's ensurepip, in place of the bootstrap script that ansible-test downloads.

ansible-test runs the script in each of its virtual environments, with the arguments of "pip install".
"""

from __future__ import annotations

import subprocess
import sys

# In a process of its own, because ensurepip disables pip's configuration in its process.
subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True)
arguments = [name for name in sys.argv[1:] if name not in ("--no-setuptools", "--no-wheel")]
install = [sys.executable, "-m", "pip", "install", "--upgrade", *arguments]
sys.exit(subprocess.run(install, check=False).returncode)
