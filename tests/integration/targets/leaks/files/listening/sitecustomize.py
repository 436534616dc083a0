# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Loaded into every Python process of a run, by PYTHONPATH: writes down all that is logged, whoever logs it."""

from __future__ import annotations

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

FOLDER = os.environ.get("LEAKS_LISTEN", "")
"""Where to write what is logged."""
PLANT = os.environ.get("LEAKS_PLANT", "")
"""What to let slip."""
SECRETS = os.environ.get("LEAKS_SECRETS", "")
"""Where the emulator is to write the secrets that it makes."""
TOKEN_SIZE, SECRET_SIZE = 64, 15
"""The random bytes in a login token of the emulator's and, at the least, in any other of its secrets."""
AWKWARD = "\"/+&<\\%='"
"""What different ways of writing a secret write differently."""


def append(path: str, text: str) -> None:
    """Add a line to a file that only we may read."""
    with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as file:
        file.write(f"{text}\n")


def listen_to_libraries() -> None:
    """Turn all debug logging on, and write down what gets past the filters of loggers."""
    call_handlers = logging.Logger.callHandlers

    def write_down(logger: logging.Logger, record: logging.LogRecord) -> None:
        if record.name != "ansible":  # that is what goes into ANSIBLE_LOG_PATH
            append(f"{FOLDER}/logged", f"{record.getMessage()} {record.__dict__!r}")
        call_handlers(logger, record)

    logging.Logger.callHandlers = write_down
    # Each by its name, since core sets the level of the root.
    for name in ("", "urllib3", "requests", "redis", "asyncio", "charset_normalizer"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    http.client.HTTPConnection.debuglevel = 1


def listen_to_modules() -> None:
    """Write down what modules send to syslog and to systemd's journal, and send nothing there."""

    def to_syslog(*arguments: Any) -> None:
        append(f"{FOLDER}/syslog", repr(arguments))

    def to_journal(*arguments: Any, **fields: Any) -> None:
        append(f"{FOLDER}/journal", repr((arguments, fields)))
        raise OSError  # so that core goes on to syslog

    syslog.openlog = syslog.syslog = to_syslog
    systemd, journal, daemon = map(types.ModuleType, ("systemd", "journal", "daemon"))
    systemd.journal, systemd.daemon = journal, daemon
    journal.send = journal.sendv = to_journal
    daemon.booted = lambda: True
    sys.modules.update({"systemd": systemd, "systemd.journal": journal, "systemd.daemon": daemon})


def plant(leak: str) -> None:
    """Let a secret slip, for a test of the test."""
    if leak == "library":
        put_request = http.client.HTTPConnection.putrequest

        def tell_and_put(connection: Any, method: str, url: str, *rest: Any, **more: Any) -> None:
            logging.getLogger("urllib3.connectionpool").debug("%s %s", method, url)
            put_request(connection, method, url, *rest, **more)

        http.client.HTTPConnection.putrequest = tell_and_put
        logging.Logger.addFilter = lambda *_arguments: None
    elif leak == "exception":
        quote = urllib.parse.quote

        def fail(text: Any, *arguments: Any, **settings: Any) -> str:
            if str(text).startswith("v1"):
                raise LookupError(f"cannot encode {text}")
            return quote(text, *arguments, **settings)

        urllib.parse.quote = fail
    elif leak == "death":
        http.client.HTTPConnection.getresponse = lambda *_arguments: os.kill(os.getpid(), 9)


def tell_secrets() -> None:
    """Have what the emulator makes as a secret be hard to write, and written down."""

    def make(size: int) -> str:
        made = f"{os.urandom(3).hex()}{AWKWARD}{os.urandom(size - 9).hex()}{AWKWARD}"
        append(SECRETS, json.dumps(f"v1{made}" if size == TOKEN_SIZE else made))
        return made

    def make_but_no_name(size: int) -> str:
        return os.urandom(size).hex() if size < SECRET_SIZE else make(size)

    secrets.token_hex, secrets.token_urlsafe = make_but_no_name, make


if FOLDER:
    listen_to_libraries()
    listen_to_modules()
    plant(PLANT)
if SECRETS:
    tell_secrets()
