# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Emit an event when a session is not refreshed in time, ends, needs a login, or is repaired."""

from __future__ import annotations

DOCUMENTATION = r"""
---
author:
  - The wuying.workspace authors (@wuying-workspace)
short_description: Watch WUYING Workspace sessions in a store.
description:
  - An ansible-rulebook event source plugin that reads a store of wuying.workspace at regular intervals, and emits an event for each session whose
    state has changed. It sends no request to the service and writes nothing. No event contains a token.
  - An event has the C(type) C(stale) if a token was not refreshed in time, but is still valid, C(expired) if it has expired, C(ended) if the service
    has rejected it and the session can log in by itself, C(login_needed) if the service has rejected it and the user must log in again, or
    C(repaired) if a session that was in one of these states has a new token.
  - These events contain C(session) (the identity, with the same keys as in the modules), C(key) (the key of the record in the store), C(obtained_at),
    C(expires_at), C(remaining) (the number of seconds for which the token is still valid, at most), and C(stays_logged_in) (whether a keep-alive
    token is stored). They contain C(error_code) if the service rejected the token or the last refresh failed.
  - An event has the C(type) C(store_failed) if the store, or a part of it, cannot be read, and C(store_recovered) if everything can be read again. The
    former contains C(error_code) and C(msg). The source keeps trying, and reports each C(error_code) once, and again if it did not occur for 10 reads.
  - Every event contains C(initial), which is true if the source has just started. It then reports each session that is not valid, because it does not
    know which of them an earlier run has reported. Otherwise, no event is repeated.
options:
  interval:
    description:
      - The number of seconds between the end of a read and the start of the next one.
    type: float
    default: 30
  refresh_before:
    description:
      - A token is reported as C(stale) if it is valid for no more than this number of seconds. The value is capped at half
        of the token's validity.
      - Choose less than the C(refresh_before) of the schedule that refreshes the tokens, minus the interval of that schedule. Otherwise, tokens
        are reported that the next run of the schedule would refresh in time.
    type: int
    default: 45
  filters:
    description:
      - A dictionary that selects the sessions. Its keys can be C(region_id), C(client_id), C(office_site_id), C(end_user_id), C(directory_id), and
        C(endpoint). Each value is a string or a list of strings, one of which must match the session.
      - If not set, all sessions are selected.
    type: dict
  store:
    description:
      - The absolute path of a directory, or the URL of Redis, as in the modules of this collection.
      - If not set, the environment variable E(WUYING_TOKEN_STORE) is used, and if that is not set, the default directory of the user.
    type: str
  store_username:
    description:
      - The user name for a Redis store.
      - If not set, the environment variable E(WUYING_TOKEN_STORE_USERNAME) is used, if O(store) comes from the environment too.
    type: str
  store_password:
    description:
      - The password for a Redis store.
      - If not set, the environment variable E(WUYING_TOKEN_STORE_PASSWORD) is used, if O(store) comes from the environment too. If O(store) comes
        from elsewhere, the source fails if the variable is set, so that its password is never sent to a server that someone else chose.
    type: str
  store_ca_path:
    description:
      - The path of a file or directory of CA certificates, which verify a Redis server that is reached over TLS.
      - If not set, the CA certificates of the operating system are used.
    type: str
  store_key:
    description:
      - One or more keys that decrypt records. A string can contain several keys, separated by commas.
      - If not set, the environment variable E(WUYING_TOKEN_STORE_KEY) is used, if O(store) comes from the environment too or is not set. If O(store)
        comes from elsewhere, the source fails if the variable is set.
    type: list
    elements: str
  deadline:
    description:
      - The number of seconds in which a read of a Redis store must end. Sessions that were not read in time are reported by C(store_failed).
    type: float
    default: 60
requirements:
  - ansible-core in the Python environment of ansible-rulebook
  - redis (redis-py 5 or later), only for a store in Redis
  - cryptography, only for O(store_key)
"""

EXAMPLES = r"""
- wuying.workspace.sessions:
    interval: 30

- wuying.workspace.sessions:
    store: rediss://redis.example.com
    store_username: watcher
    store_password: "{{ redis_password }}"
    store_key: "{{ redis_key }}"
    filters:
      region_id: cn-hangzhou
"""

import asyncio
import logging
import os
import re
import sys
import time
import typing as t
from pathlib import Path

# ansible-rulebook runs this file by its path, so Python may not find the collection that it belongs to.
COLLECTIONS = Path(os.path.abspath(__file__)).parents[6]
sys.path.insert(0, str(COLLECTIONS.parent))

import ansible_collections

if str(COLLECTIONS) not in ansible_collections.__path__:  # The package "ansible" has one of its own.
    ansible_collections.__path__ = [str(COLLECTIONS), *ansible_collections.__path__]

from ansible_collections.wuying.workspace.plugins.module_utils._model.encoding import format_timestamp
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    OptionError,
    StoreError,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import (
    CURRENT,
    ENDED,
    EXPIRED,
    STALE,
    Record,
    StoredState,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.fleet import read_filters
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.options import (
    DAY,
    did_you_mean,
    given,
    read_number,
    read_refresh_before,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.store_options import add_environment
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.wiring import open_store_only
from ansible_collections.wuying.workspace.plugins.module_utils._store.listing import read_all

LOGIN_NEEDED, REPAIRED = "login_needed", "repaired"
STORE_FAILED, STORE_RECOVERED = "store_failed", "store_recovered"
SITUATIONS = (CURRENT, STALE, EXPIRED, ENDED, LOGIN_NEEDED)
"""The situations of a session, the worst one last. All but the first are types of events."""
REMEMBERED_READS = 10
"""For how many reads a failure of the store that no longer occurs is remembered. Failures that alternate are therefore reported once each."""
DEFAULTS: dict[str, t.Any] = {
    "interval": 30,
    "refresh_before": 45,
    "deadline": 60,
    **dict.fromkeys(("filters", "store", "store_username", "store_password", "store_ca_path", "store_key")),
}
"""The options, with their defaults."""

TEMPLATE = re.compile(r"\{[{%#]")
"""Matches the start of a template. A playbook that gets an event as an extra variable would run it."""
_HAS_TEMPLATE = "The identity of a session contains a template, so no event is sent for the session. Find out who wrote its record, and delete it."

Event = t.Dict[str, t.Any]
logger = logging.getLogger("wuying.workspace.sessions")


async def main(queue: asyncio.Queue[Event], args: dict[str, t.Any]) -> None:
    """Put events into the queue until the task is cancelled. Raises :class:`OptionError`."""
    options = read_options(args)
    interval = read_number(options.get, "interval", 0.1, DAY)
    watcher = Watcher(options)
    while True:
        for event in await asyncio.to_thread(watcher.poll):
            await queue.put(event)
        await asyncio.sleep(interval)


def read_options(args: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return all options, with the store and its secrets from the environment if they were not given. Raises :class:`OptionError`."""
    for name in args:
        if name not in DEFAULTS:
            hint = did_you_mean(name, DEFAULTS, f"Its options are {', '.join(DEFAULTS)}.")
            raise OptionError(f"'{name}' is not an option of this event source. {hint}")
    options = {**DEFAULTS, **given(args, {name: {} for name in DEFAULTS})}
    if isinstance(options["store_key"], str):
        options["store_key"] = [key.strip() for key in options["store_key"].split(",")]
    options.update(add_environment(options))
    if options["store"] == "none":
        raise OptionError(
            "store=none stores nothing, so there is nothing to watch. Set store to a directory or a Redis URL."
        )
    return options


class Watcher:
    """Reads a store again and again, and returns the changes as events. It remembers only the sessions that are not valid."""

    def __init__(self, options: t.Mapping[str, t.Any]) -> None:
        """Check the options. Raises :class:`OptionError`."""
        self._options = options
        self._matches = read_filters(options["filters"])
        self._refresh_before = read_refresh_before(options.get)
        self._initial = True
        self._failures: dict[str, int] = {}
        """The reported error codes, and for how many reads they have not occurred."""
        self._reported: dict[str, tuple[int, float]] = {}
        """The worst reported situation of each session that is not valid, and when its token was obtained."""

    def poll(self) -> list[Event]:
        """Read the store and return the events since the last call. Raises :class:`OptionError` during the first one."""
        now, events, found = time.time(), [], False
        failures: dict[str, str] = {}
        gone = set(self._reported)
        try:
            with open_store_only(self._options.get) as store:
                for key, stored in read_all(store):
                    gone.discard(key)
                    if isinstance(stored, StoreError):
                        failures.setdefault(stored.code, stored.message)
                    elif stored.record is not None and self._matches(stored.record.session):
                        found = True
                        if TEMPLATE.search("\n".join(filter(None, stored.record.session))):
                            failures.setdefault("DamagedRecord", _HAS_TEMPLATE)
                            continue
                        event_type = self._compare(key, stored.record, now)
                        if event_type is not None:
                            events.append(self._describe(event_type, key, stored, stored.record, now))
        except WuyingError as error:
            if self._initial and isinstance(error, OptionError):
                raise
            failures.setdefault(error.code, error.message)
        if not failures:
            for key in gone:
                del self._reported[key]
            if not found:
                failures["NoSession"] = (
                    "The store contains no session that matches. Check store and filters, and the user who runs ansible-rulebook."
                )
        events += self._describe_store(failures)
        self._initial = self._initial and not found
        return events

    def _compare(self, key: str, record: Record, now: float) -> str | None:
        """Return the type of the event that a session causes, None if nothing has changed."""
        situation = find_situation(record, now, self._refresh_before)
        severity = SITUATIONS.index(situation)
        reported, obtained_at = self._reported.get(key, (0, None))
        if obtained_at == record.obtained_at:
            if severity <= reported:  # It is lower if the clock was set back. Only a new token repairs a session.
                return None
        elif situation == CURRENT:
            return None if self._reported.pop(key, None) is None else REPAIRED
        self._reported[key] = severity, record.obtained_at
        return situation

    def _describe(self, event_type: str, key: str, stored: StoredState, record: Record, now: float) -> Event:
        event = {
            "type": event_type,
            "initial": self._initial,
            "key": key,
            "session": record.session.identity(),
            "obtained_at": format_timestamp(record.obtained_at),
            "expires_at": format_timestamp(record.expires_at),
            "remaining": record.remaining(now),
            "stays_logged_in": record.keep_alive is not None,
        }
        code = find_error_code(stored, record)
        return event if code is None else {**event, "error_code": code}

    def _describe_store(self, failures: dict[str, str]) -> t.Iterator[Event]:
        """Yield an event for each new failure of the store, or one if there is none any more."""
        for code, message in failures.items():
            if code not in self._failures:
                logger.warning("%s (error_code: %s)", message, code)
                yield {"type": STORE_FAILED, "initial": self._initial, "error_code": code, "msg": message}
        if self._failures and not failures:
            yield {"type": STORE_RECOVERED, "initial": self._initial}
        remembered = {code: reads + 1 for code, reads in self._failures.items() if reads < REMEMBERED_READS}
        self._failures = {**remembered, **dict.fromkeys(failures, 0)} if failures else {}


def find_situation(record: Record, now: float, refresh_before: float) -> str:
    """Return the situation of a session. One that has ended logs in by itself only with a keep-alive token that was not refused."""
    state = record.state(now, refresh_before)
    if state == ENDED and (record.keep_alive is None or record.keep_alive.refusals):
        return LOGIN_NEEDED
    return state


def find_error_code(stored: StoredState, record: Record) -> str | None:
    """Return the code with which the service rejected the token, or of the last refresh if that failed."""
    note = stored.note
    if record.ended is None and note is not None and note.fingerprint == fingerprint(record.login_token):
        return (note.failure or {}).get("error_code")
    return record.ended
