# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps what libraries log of our requests from everybody: they show whole URLs, tokens and signatures included."""

from __future__ import annotations

import contextlib
import logging
import threading
import typing as t

_LOGGERS = [
    logging.getLogger(name)
    for name in (
        "urllib3.connection",
        "urllib3.connectionpool",
        "urllib3.poolmanager",
        "urllib3.response",
        "urllib3.util.retry",
        # Of the provider chain: with DEBUG=sdk in the environment the first two print all URLs and headers.
        "alibabacloud-tea",
        "darabonba-core",
        "credentials",
    )
]


class _Silence(logging.Filter):
    """Drops what is logged by a thread that asked for silence."""

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(self.here, "wanted", False)


_silence = _Silence()


@contextlib.contextmanager
def silence() -> t.Iterator[None]:
    """Drop what this thread has libraries log within the block."""
    for logger in _LOGGERS:
        logger.addFilter(_silence)
    _silence.here.wanted = True
    try:
        yield
    finally:
        _silence.here.wanted = False
