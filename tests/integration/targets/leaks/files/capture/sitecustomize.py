# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Capture everything that a Python process logs. PYTHONPATH loads this file into every process of a run."""

from __future__ import annotations

import base64
import http.client
import json
import logging
import os
import secrets
import sys
import syslog
import types
import urllib.parse
from typing import Any

FOLDER = os.environ.get("LEAKS_CAPTURE", "")
"""The folder for captured log messages."""
PLANT = os.environ.get("LEAKS_PLANT", "")
"""The leak to plant."""
SECRETS = os.environ.get("LEAKS_SECRETS", "")
"""The file for the secrets that the emulator creates."""
SECRET_SIZE = 15
"""The minimum number of random bytes in a secret of the emulator."""
AWKWARD = "\"/+&<\\%='"
"""Characters that encodings such as JSON, URLs and HTML change."""


def append(path: str, text: str) -> None:
    """Append a line to a file that only its owner can read."""
    with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as file:
        file.write(f"{text}\n")


def capture_loggers() -> None:
    """Enable all debug logging, and capture the records that pass the filters of loggers."""
    call_handlers = logging.Logger.callHandlers

    def capture(logger: logging.Logger, record: logging.LogRecord) -> None:
        if record.name != "ansible":  # the logger that writes to ANSIBLE_LOG_PATH
            append(f"{FOLDER}/logged", f"{record.getMessage()} {record.__dict__!r}")
        call_handlers(logger, record)

    logging.Logger.callHandlers = capture
    # Each logger by name, because ansible-core sets the level of the root logger.
    for name in ("", "urllib3", "requests", "redis", "asyncio", "charset_normalizer"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    http.client.HTTPConnection.debuglevel = 1


def capture_system_logs() -> None:
    """Capture messages to syslog and the systemd journal instead of sending them."""

    def to_syslog(*arguments: Any) -> None:
        append(f"{FOLDER}/syslog", repr(arguments))

    def to_journal(*arguments: Any, **fields: Any) -> None:
        append(f"{FOLDER}/journal", repr((arguments, fields)))
        raise OSError  # so that ansible-core also uses syslog

    syslog.openlog = syslog.syslog = to_syslog
    systemd, journal, daemon = map(types.ModuleType, ("systemd", "journal", "daemon"))
    systemd.journal, systemd.daemon = journal, daemon
    journal.send = journal.sendv = to_journal
    daemon.booted = lambda: True
    sys.modules.update({"systemd": systemd, "systemd.journal": journal, "systemd.daemon": daemon})


def plant(leak: str) -> None:
    """Leak a secret on purpose, to test that the search finds it."""
    if leak == "library":
        put_request = http.client.HTTPConnection.putrequest

        def log_and_put(connection: Any, method: str, url: str, *rest: Any, **more: Any) -> None:
            logging.getLogger("urllib3.connectionpool").debug("%s %s", method, url)
            put_request(connection, method, url, *rest, **more)

        http.client.HTTPConnection.putrequest = log_and_put
        logging.Logger.addFilter = lambda *_arguments: None
    elif leak == "exception":
        quote = urllib.parse.quote

        def fail(text: Any, *arguments: Any, **settings: Any) -> str:
            if str(text).startswith("v1"):
                raise LookupError(f"cannot encode {text}")
            return quote(text, *arguments, **settings)

        urllib.parse.quote = fail
    elif leak == "crash":
        http.client.HTTPConnection.getresponse = lambda *_arguments: os.kill(os.getpid(), 9)


def record_secrets() -> None:
    """Record each secret of the emulator, and add characters that encodings change.

    Tokens are recorded without the prefixes of their kinds.
    """

    def create(size: int) -> str:
        secret = f"{os.urandom(3).hex()}{AWKWARD}{os.urandom(size - 9).hex()}{AWKWARD}"
        append(SECRETS, json.dumps(secret))
        return secret

    def create_secret_or_id(size: int) -> str:
        return os.urandom(size).hex() if size < SECRET_SIZE else create(size)

    def create_bytes(size: int) -> bytes:
        """Create the secret of an MFA device."""
        secret = os.urandom(size)
        append(SECRETS, json.dumps(base64.b32encode(secret).decode()))
        return secret

    secrets.token_hex, secrets.token_urlsafe, secrets.token_bytes = create_secret_or_id, create, create_bytes


if FOLDER:
    capture_loggers()
    capture_system_logs()
    plant(PLANT)
if SECRETS:
    record_secrets()
