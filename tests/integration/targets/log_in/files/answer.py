# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a command in a pseudo-terminal, and answer its prompts. Print its output, and exit with its status.

Usage: answer.py COMMAND ..., with a list of prompts and answers, [[prompt, answer], ...], as JSON on standard input. The answer
``totp:SECRET`` is the current code of a base32 secret.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import pty
import struct
import sys
import time


def one_time_code(secret: str) -> str:
    """Return the current code of a secret, see RFC 6238."""
    digest = hmac.new(base64.b32decode(secret), struct.pack(">Q", int(time.time()) // 30), "sha1").digest()
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 10**6:06d}"


answers = json.load(sys.stdin)
pid, terminal = pty.fork()
if not pid:
    os.execvp(sys.argv[1], sys.argv[1:])
output, answered = b"", 0
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:  # On Linux, this is the end of the output.
        break
    if not data:
        break
    output += data
    if answers and answers[0][0].encode() in output[answered:]:
        _prompt, answer = answers.pop(0)
        answered = len(output)
        if answer.startswith("totp:"):
            answer = one_time_code(answer[len("totp:") :])
        os.write(terminal, answer.encode() + b"\n")
status = os.waitpid(pid, 0)[1]
print(output.decode(errors="replace").replace("\r\n", "\n"))
sys.exit(f"No prompt contained: {answers[0][0]}" if answers else os.WEXITSTATUS(status))
