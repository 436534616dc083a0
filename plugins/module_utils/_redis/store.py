# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records in Redis: shared by many hosts, locked by leases, and guarded against writers that come too late."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
import typing as t

from .._model.exceptions import LockTimeout, StoreError
from .._model.record import Record
from .._model.session import fingerprint
from .._model.stored_state import StoredState
from .._runtime.signals import signal_pending
from .._runtime.timeouts import Backoff
from .._store.base import LOCKED, LockedSession, Store
from . import lease as leases
from . import scripts
from .batch import read_fields, read_hash, read_names
from .connection import Connection
from .failures import FULL, READ_ONLY, UNAVAILABLE
from .replication import Replication

if t.TYPE_CHECKING:
    from .._model.note import Note
    from .._store.encryption import Encryption
    from .address import Address

LIFETIME = 30 * 86400.0
"""For how many seconds a record is kept after its token has expired, and what was set aside or noted."""
GONE = 86400.0
"""For how many seconds it is remembered that a session was forgotten: longer than any task has for its exchange."""
_RECORD = re.compile(rb"wuying\.workspace:\{([0-9a-f]{64})\}")
_FIELDS = ("record", "note")
_CHUNK = 500
_FIRST_PAUSE = 0.04
_LONGEST_PAUSE = 0.15


class RedisStore(Store):
    """Keeps each session in a hash that is named after the session's key: ``record``, its ``mark``, ``note`` and ``attempt``.

    ``mark`` is the fingerprint of the record's token. Beside the hash, ``:lock`` names the holder of the lock, as long as its lease
    runs, and ``:gone`` tells writers that are late that the session was forgotten.
    """

    def __init__(
        self,
        address: Address,
        *,
        username: str | None,
        password: str | None,
        ca_path: str | None,
        deadline: float,
        encryption: Encryption | None = None,
    ) -> None:
        super().__init__(str(address), encryption)
        self._connection = Connection(
            address, username=username, password=password, ca_path=ca_path, deadline=deadline
        )
        self._replication = Replication(self._connection, self.warnings.append)
        self._leases = leases.Leases(self._refresh)

    def read(self, key: str) -> StoredState:
        return self.load_state(key, *read_hash(self._connection, scripts.name(key), *_FIELDS))

    def read_many(self, keys: t.Iterable[str]) -> t.Iterator[StoredState | StoreError]:
        waiting = iter(keys)
        for chunk in iter(lambda: list(itertools.islice(waiting, _CHUNK)), []):
            names = [scripts.name(key) for key in chunk]
            for key, found in zip(chunk, read_fields(self._connection, names, *_FIELDS)):
                try:
                    if isinstance(found, Exception):
                        raise self._connection.explain(found)
                    yield self.load_state(key, *found)
                except StoreError as error:
                    yield error

    def keys(self) -> t.Iterator[str]:
        # All of them before the first, so that none comes twice, and a lost connection does no harm.
        for name in read_names(self._connection, scripts.PREFIX):
            match = _RECORD.fullmatch(name)
            if match:
                yield match[1].decode("ascii")

    @contextlib.contextmanager
    def lock(self, key: str, deadline: float) -> t.Iterator[LockedSession]:
        held = _LockedHash(self, self._connection, self._replication, key, deadline)
        held.wait()
        with self._leases.renewed(key, held.owner):
            try:
                self._replication.look(scripts.name(key))
                yield held
            finally:
                held.release()

    def close(self) -> None:
        self._leases.close()
        self._connection.close()

    def _refresh(self, key: str, owner: str) -> None:
        self._connection.call(
            scripts.call(key, scripts.RENEW, owner, _milliseconds(leases.LEASE)), retries=0
        )


class _LockedHash(LockedSession):
    """A session's hash under its lock."""

    def __init__(
        self,
        store: RedisStore,
        connection: Connection,
        replication: Replication,
        key: str,
        deadline: float,
    ) -> None:
        self.owner = os.urandom(16).hex()
        self._store = store
        self._connection = connection
        self._replication = replication
        self._key = key
        self._deadline = deadline
        self._found: tuple[bytes | None, bytes | None] | None = None
        self._mark: bytes | str = ""
        self._gone: bytes | str = ""
        self._attempt = ""

    def wait(self) -> None:
        """Take the lock, as soon as it is free."""
        backoff = Backoff(self._deadline, _FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            reply = self._run(scripts.ACQUIRE, self.owner, _milliseconds(leases.LEASE))
            if reply[0]:
                _acquired, record, note, mark, gone = reply
                self._found = (record, note)
                self._mark, self._gone = mark or "", gone or ""
                return
            if signal_pending() or not backoff.wait():
                raise LockTimeout(LOCKED)

    def release(self) -> None:
        """Give the lock back; where that cannot be told, its lease runs out."""
        with contextlib.suppress(StoreError):
            self._run(scripts.RELEASE, self.owner)

    def read(self) -> StoredState:
        if self._found is None:
            return self._store.read(self._key)
        return self._store.load_state(self._key, *self._found)

    def set_aside(self) -> str:
        aside = f"{scripts.name(self._key)}:damaged-{time.time_ns()}"
        self._write(scripts.SET_ASIDE, self.owner, _milliseconds(LIFETIME), third=aside)
        self._mark = ""
        return aside

    def write_note(self, note: Note) -> None:
        self._attempt = note.id
        self._write(
            scripts.WRITE_NOTE,
            self.owner,
            self._mark,
            note.dump(),
            note.id,
            _milliseconds(LIFETIME),
        )

    def save(self, record: Record) -> None:
        mark = fingerprint(record.login_token)
        lifetime = _milliseconds(max(record.expires_at - time.time(), 0) + LIFETIME)
        data = self._store.dump_record(record)
        self._insist(scripts.SAVE, self._gone, self._mark, mark, data, lifetime, self._attempt)
        self._mark = mark
        self._replication.wait_for_replica(scripts.name(self._key), lifetime)

    def save_failure(self, note: Note) -> None:
        self._write(scripts.SAVE_FAILURE, note.dump(), note.id, even_if_full=True)

    def reencrypt(self, record: Record) -> None:
        self._write(scripts.REENCRYPT, self.owner, self._mark, self._store.dump_record(record))

    def delete(self) -> bool:
        gone = os.urandom(16).hex()
        there = self._write(
            scripts.DELETE, self.owner, gone, _milliseconds(GONE), even_if_full=True
        )
        self._mark, self._gone = "", f"{gone}{there}"
        return bool(there)

    def _insist(self, script: str, *arguments: t.Any) -> None:
        """Write until the deadline what a token was spent for: a server may come back, or another take its place."""
        backoff = Backoff(self._deadline, _LONGEST_PAUSE, _LONGEST_PAUSE)
        while True:
            try:
                self._write(script, *arguments, even_if_full=True)
                return
            except StoreError as error:
                temporary = error.code in (UNAVAILABLE, READ_ONLY, FULL)
                if not temporary or signal_pending() or not backoff.wait():
                    raise

    def _write(
        self, script: str, *arguments: t.Any, third: str | None = None, even_if_full: bool = False
    ) -> t.Any:
        try:
            answer = self._run(script, *arguments, third=third)
        except StoreError as error:
            if not even_if_full or error.code != FULL:
                raise
            answer = self._run(script, *arguments, third=third, even_if_full=True)
        self._found = None
        scripts.raise_refusal(answer)
        return answer

    def _run(self, script: str, *arguments: t.Any, **settings: t.Any) -> t.Any:
        return self._connection.call(scripts.call(self._key, script, *arguments, **settings))


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
