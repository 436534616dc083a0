# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Helpers for tests of keeper and stores: a session, its records, and keepers with real stores and emulators."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import Outcome, TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import (
    LONGEST_KEEP_ALIVE_TOKEN,
    KeepAlive,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import (
    LINEAGE_LENGTH,
    PASSED_LENGTH,
    next_record,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record, StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import TOKEN_LENGTH, Session, fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import Store
from ansible_collections.wuying.workspace.plugins.module_utils._store.two_slot_file import SlotValue
from ansible_collections.wuying.workspace.plugins.module_utils._store.two_slot_writer import TwoSlotWriter

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.tests.unit.conftest import Emulator

unmeasured = pytest.mark.skipif("COVERAGE_FILE" in os.environ, reason="measuring coverage writes files")
SECONDS_LEFT = {"current": 800, "stale": 100, "expired": -5}


def put(store: Store, record: Record) -> None:
    """Save a record as the keeper does."""
    with store.lock(record.session.key, time.monotonic() + 10) as locked:
        locked.write_note(new_note(None, fingerprint(record.login_token), "a test"))
        locked.save(record)


def file_of(store_path: Path, session: Session) -> Path:
    """Return the file of a session in a directory store."""
    return store_path / f"{session.key}.record"


def write_file(path: Path, record: bytes, note: bytes = b"") -> None:
    """Write a session's file with any bytes as record and note."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "rb+") as file:
        TwoSlotWriter(file.fileno()).write(SlotValue(record.rstrip(), note.rstrip()))


def read_file(path: Path) -> SlotValue:
    """Return the lines of the record and the note in a session's file."""
    with path.open("rb") as file:
        value = TwoSlotWriter(file.fileno()).value
    assert value is not None
    return value


def leave_note(store: Store, session: Session, token: str) -> None:
    """Leave the note of a refresh whose process was killed."""
    with store.lock(session.key, time.monotonic() + 10) as locked:
        locked.write_note(new_note(locked.read().note, fingerprint(token), "a test"))


@dataclasses.dataclass
class SingleSession:
    """One session's store, and the emulator that issued its tokens."""

    store: Store
    emulator: Emulator
    session: Session
    warnings: list[str] = dataclasses.field(default_factory=list)

    def keeper(
        self,
        *,
        seconds: float = 30,
        retries: int = 0,
        scope: str = "",
        closing: contextlib.ExitStack | None = None,
    ) -> Keeper:
        """Return a keeper that sends anonymous requests. ``closing`` closes their connections."""

        def connect() -> ServiceClient:
            service = ServiceClient(None, timeout=5, retries=retries)
            return service if closing is None else closing.enter_context(service)

        return Keeper(self.store, connect, scope=scope, deadline=time.monotonic() + seconds)

    def request(self, login_token: str | None = None, **options: t.Any) -> Outcome:
        """Request a token as a task does."""
        with contextlib.ExitStack() as closing:
            keeper = self.keeper(retries=options.pop("retries", 0), closing=closing)
            return keeper.ensure(TokenRequest(self.session, login_token, **options), self.warnings.append)

    def predict(self, login_token: str | None = None, **options: t.Any) -> Outcome:
        """Request a token as a task in check mode does."""
        return self.keeper().predict(
            TokenRequest(self.session, login_token, **options), self.stored(), self.warnings.append
        )

    def have(self, state: str) -> Record:
        """Save a record in the given state. The service accepts its token."""
        token = self.emulator.issue()
        now = time.time()
        record = next_record(None, self.session, "v1first", token, now, 900, None)
        left = SECONDS_LEFT.get(state, SECONDS_LEFT["current"])
        record = record._replace(obtained_at=now + left - 900, expires_at=now + left)
        if state == "ended":
            record = record.ended_with("InvalidLoginToken")
        put(self.store, record)
        return record

    def stored(self) -> StoredState:
        """Return the state in the store."""
        return self.store.read(self.session.key)

    def requests(self) -> int:
        """Return the number of requests that the service received."""
        return int(self.emulator.journal()["requests"])


def largest_record(session: Session | None = None) -> Record:
    """Return a record in which everything is as long as possible."""
    field = "😀" * 256
    session = session or Session("https://" + "a" * 253, "r" * 256, *[field] * 4)
    record = next_record(None, session, "v1", "x" * TOKEN_LENGTH, time.time(), 900, "r" * 64)
    return record._replace(
        lineage=("f" * 64,) * LINEAGE_LENGTH,
        passed=("f" * 64,) * PASSED_LENGTH,
        session_id=field,
        uuid=field,
        keep_alive=KeepAlive("k" * LONGEST_KEEP_ALIVE_TOKEN, 1800000000.25, 1800000000.25, 1000, 1800000000.25),
    )


def session_at(endpoint: str) -> Session:
    """Return the session whose tokens the emulator issues."""
    return Session(
        endpoint=endpoint,
        region_id="cn-hangzhou",
        office_site_id="cn-hangzhou+dir-2381910001",
        end_user_id="alice",
        client_id="f4a0dc8e-1702-4728-9a60-95b27a35c0de",
    )
