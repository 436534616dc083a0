# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Helpers for tests of many sessions in a real store, with a real emulator."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import typing as t

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import Outcome, TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.fleet import (
    Report,
    keep_all,
    read_requested,
    read_stored,
)
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import WuyingError
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import Store
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import put, session_at

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.tests.unit.conftest import Emulator

STALE, EXPIRED, CURRENT = 100, -5, 800


@dataclasses.dataclass
class Fleet:
    """The store of many sessions, and the emulator that issued their tokens."""

    store: Store
    emulator: Emulator

    def session(self, name: str) -> Session:
        """Return the session of a user."""
        return session_at(self.emulator.url)._replace(end_user_id=name)

    def token_requests(self, *names: str, **options: t.Any) -> list[TokenRequest]:
        """Return the requests of a task for the sessions of users."""
        return [TokenRequest(self.session(name), **options) for name in names]

    def have(self, seconds_left: t.Mapping[str, float]) -> dict[str, Record]:
        """Save records that are valid for so many seconds. The service accepts their tokens."""
        users = [self.session(name).identity() for name in seconds_left]
        for user in users:
            del user["endpoint"]
        records, now = {}, time.time()
        for (name, left), token in zip(seconds_left.items(), self.emulator.control("POST", "tokens", users)):
            session, token = self.session(name), token["login_token"]
            record = next_record(None, session, f"v1first-of-{name}", token, now, 900, None)
            records[name] = record._replace(obtained_at=now + left - 900, expires_at=now + left)
            put(self.store, records[name])
        return records

    @contextlib.contextmanager
    def keeper(
        self, *, seconds: float = 30, retries: int = 0, timeout: float = 5, **service: t.Any
    ) -> t.Iterator[Keeper]:
        """Return a keeper that sends anonymous requests."""
        deadline = time.monotonic() + seconds
        with ServiceClient(None, timeout=timeout, retries=retries, connections=8, **service) as opened:
            yield Keeper(self.store, lambda: opened, scope="", deadline=deadline)

    def keep(
        self,
        requests: t.Sequence[TokenRequest] | None = None,
        *,
        max_parallel: int = 8,
        rekey: bool = False,
        check: bool = False,
        **options: t.Any,
    ) -> list[Report]:
        """Keep the requested sessions valid, by default all stored ones. Return the reports in the order of their arrival."""
        with self.keeper(**options) as keeper:
            readings = (
                read_stored(self.store, TokenRequest) if requests is None else read_requested(self.store, requests)
            )
            return list(keep_all(keeper, readings, max_parallel=max_parallel, rekey=rekey, check=check))

    def stored(self, name: str) -> Record | None:
        """Return the record of a user."""
        return self.store.read(self.session(name).key).record

    def users(self) -> list[str]:
        """Return the users of the requests that the service received, in order."""
        return [entry["end_user_id"] for entry in self.emulator.journal()["entries"]]

    def requests(self) -> int:
        """Return the number of requests that the service received."""
        return int(self.emulator.journal()["requests"])


def ends(reports: t.Iterable[Report]) -> dict[str, str]:
    """Return how the session of each user ended."""
    return {report.session.end_user_id if report.session else report.key: end_of(report) for report in reports}


def outcome_of(report: Report) -> Outcome:
    """Return the outcome of a session, or raise its error."""
    if isinstance(report.result, WuyingError):
        raise report.result
    return report.result


def end_of(report: Report) -> str:
    """Return ``refreshed``, ``unchanged`` or the code of the error."""
    if isinstance(report.result, WuyingError):
        return report.result.code
    return "refreshed" if report.result.changed else "unchanged"
