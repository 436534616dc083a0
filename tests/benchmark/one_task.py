# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the module wuying_login_tokens once, as Ansible's wrapper does, and report its memory.

Reads the arguments as JSON from standard input. The last line of standard error is JSON: the peak memory in MiB, and the
imported HTTP libraries.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from ansible.module_utils import basic

from ansible_collections.wuying.workspace.plugins.modules import wuying_login_tokens

HTTP = ("requests", "urllib3", "http.client", "httpx", "aiohttp")

if __name__ == "__main__":
    basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
    basic._ANSIBLE_PROFILE = "legacy"
    try:
        wuying_login_tokens.main()
    finally:
        # VmHWM counts this program only. ru_maxrss includes the process before exec.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        peak = int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024
        libraries = [name for name in HTTP if name in sys.modules]
        print("\n" + json.dumps({"peak": peak, "http": libraries}), file=sys.stderr)
