# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Store records in Redis, shared by many hosts."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import time
import typing as t

from .._model.exceptions import LockTimeout, StoreError
from .._model.record import Record, StoredState
from .._model.session import fingerprint
from .._runtime.signals import signal_pending
from .._runtime.timeouts import Backoff
from .._store.base import Store
from .._store.locked_session import LOCKED, FirstNote, LockedSession
from . import lease as leases
from . import scripts
from .batch import Fields, list_keys, read_hashes, read_one
from .connection import Connection
from .failures import OutOfMemory, ServerFailure
from .replication import Replication
from .topology import slot_of

if t.TYPE_CHECKING:
    from .._model.account import AccountEntry
    from .._model.note import Note
    from .._store.encryption import Encryption
    from .address import Address

_DAY = 86400 * 1000
_RECORD_LIFETIME = 30 * _DAY
"""How long, in milliseconds, Redis keeps a record after its token has expired, a note, and a damaged record."""
_TOMBSTONE_LIFETIME = _DAY
"""How long, in milliseconds, Redis remembers that a session was removed: longer than any refresh takes."""
_FIELDS = ("record", "note")
_CHUNK = 150
"""How many sessions are read at once: 7 MiB if all records have their greatest size, which is below the limit of a reply."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.04, 0.15


class RedisStore(Store):
    """Stores each session and account in a hash that is named after its key.

    Its fields are ``record`` (or the entry of an account), ``fingerprint`` (of the record's token), ``note`` and ``note_id``. The key ``:lock`` names the owner
    of the lock until the lease expires. The key ``:gone`` is a tombstone, so that no late writer restores a removed session.
    """

    def __init__(
        self, address: Address, *, deadline: float, encryption: Encryption | None = None, **access: str | None
    ) -> None:
        """Take in ``access`` the ``username``, the ``password`` and the ``ca_path`` of the connection."""
        super().__init__(str(address), encryption)
        self._connection = Connection(address, deadline=deadline, **access)
        self._replication = Replication(self._connection, self.add_warnings)
        self._leases = leases.Leases(self._renew_lease)

    def read(self, key: str, end: float | None = None) -> StoredState:
        found = self._connection.run(functools.partial(read_one, key, _FIELDS), slot_of(key), end=end)
        return self.load_state(key, *found)

    def read_many(self, keys: t.Iterable[str]) -> t.Iterator[StoredState | StoreError]:
        remaining = iter(keys)
        lost: dict[str, StoreError] = {}
        connection, end = self._connection, self._connection.end
        if time.monotonic() < connection.deadline:
            connection.servers()  # Find them, because sessions are read by server.
            end = connection.deadline
        for chunk in iter(lambda: list(itertools.islice(remaining, _CHUNK)), []):
            for key, found in zip(chunk, read_hashes(connection, chunk, _FIELDS, lost, end)):
                try:
                    yield found if isinstance(found, StoreError) else self.load_state(key, *found)
                except StoreError as error:
                    yield error

    def location(self, key: str) -> str:
        return scripts.hash_name(key)

    def keys(self, prefix: str = "") -> t.Iterator[str | StoreError]:
        return list_keys(self._connection, prefix)

    @contextlib.contextmanager
    def lock(self, key: str, deadline: float, first_note: FirstNote | None = None) -> t.Iterator[LockedSession]:
        locked = _LockedHash(self, self._connection, self._replication, key, deadline)
        locked.acquire(first_note)
        with self._leases.renewing(key, locked.owner, self._connection.server(slot_of(key))):
            try:
                self._replication.check(slot_of(key))
                yield locked
            finally:
                locked.release()

    def close(self) -> None:
        self._leases.close()
        self._connection.close()

    def _renew_lease(self, key: str, owner: str) -> None:
        command = scripts.command(key, scripts.RENEW, owner, int(leases.LEASE * 1000))
        self._connection.run(command, slot_of(key), retries=0, end=self._connection.end)


class _LockedHash(LockedSession):
    """A session's hash whose lock this task holds."""

    def __init__(
        self, store: RedisStore, connection: Connection, replication: Replication, key: str, deadline: float
    ) -> None:
        self.owner = os.urandom(16).hex()
        self._store = store
        self._connection = connection
        self._replication = replication
        self._key = key
        self._deadline = deadline
        self._found: Fields | None = None
        """Record and note as read with the lock, until the first write."""
        self._fingerprint: bytes | str = ""
        self._tombstone: bytes | str = ""
        self._note_id = ""
        self._acquired_at = 0.0
        self._is_last = self._is_released = False
        self._end: float | None = None
        """When a new token must be saved and the lock released."""

    def acquire(self, first_note: FirstNote | None) -> None:
        """Wait for the lock until the deadline. Raises :class:`LockTimeout`."""
        backoff = Backoff(self._deadline, _FIRST_PAUSE, _LONGEST_PAUSE)
        more: tuple[t.Any, ...] = ()
        if first_note is not None:
            more = (first_note.fingerprint, self._store.dump(first_note.note), first_note.note.id, _RECORD_LIFETIME)
        while True:
            self._acquired_at = time.time()  # The monotonic clock stops while the host is suspended.
            acquired, *values = self._run(scripts.ACQUIRE, self.owner, int(leases.LEASE * 1000), *more)
            if acquired:
                record, note_found, token_fingerprint, tombstone = values
                self._found = [record, note_found]
                self._fingerprint, self._tombstone = token_fingerprint or "", tombstone or ""
                if first_note is not None and acquired == 2:
                    self.noted = first_note.note
                return
            if signal_pending() or not backoff.wait():
                raise LockTimeout(LOCKED)

    def release(self) -> None:
        """Release the lock, and remove a note that was stored with it and not used. If the server cannot be reached, the lease expires."""
        unused = self.noted.id if self.noted and not self._note_id else ""
        if not self._is_released:
            with contextlib.suppress(StoreError):
                self._run(scripts.RELEASE, self.owner, unused)

    def read(self) -> StoredState:
        if self._found is None:
            return self._store.read(self._key, self._end)
        return self._store.load_state(self._key, *self._found)

    def set_aside(self) -> str:
        name = f"{scripts.hash_name(self._key)}:damaged-{time.time_ns()}"
        self._write(scripts.SET_ASIDE, self.owner, _RECORD_LIFETIME, third_key=name)
        self._fingerprint = ""
        return name

    def write_note(self, note: Note, growth: int = 0) -> None:
        # If the note was stored with the lock, writing it again only checks that the lock was not lost in the meantime.
        if note != self.noted or not 0 <= time.time() - self._acquired_at < leases.LEASE / 3:
            self._write(
                scripts.WRITE_NOTE, self.owner, self._fingerprint, self._store.dump(note), note.id, _RECORD_LIFETIME
            )
        self._note_id = note.id

    def save(self, record: Record, note: Note | None = None) -> None:
        self._end = self._connection.end_of_save()
        try:
            self._save(record, note)
        except StoreError as error:
            stored = self.read().record if error.code == "NewerRecord" else None
            if self._is_last and stored is not None and stored.knows(record.login_token):
                return  # The first reply was lost, the lock was free, and another task has refreshed the token since.
            if stored is None or not record.knows(stored.login_token):
                raise
            self._fingerprint = fingerprint(stored.login_token)  # It is older: the server lost its last writes.
            self._save(record, note)

    def _save(self, record: Record, note: Note | None) -> None:
        new_fingerprint, lifetime = fingerprint(record.login_token), _lifetime(record)
        fingerprints = self._fingerprint, new_fingerprint
        data, releaser = self._store.dump(record), self.owner if self._is_last else ""
        new_note = (self._store.dump(note), note.id) if note else ("", "")
        self._write_until_deadline(
            scripts.SAVE, self._tombstone, *fingerprints, data, lifetime, self._note_id, releaser, *new_note
        )
        self._fingerprint = new_fingerprint
        self._replication.wait_for_replica(scripts.hash_name(self._key), slot_of(self._key), lifetime)

    def save_and_release(self, record: Record) -> None:
        self._is_last = True
        self.save(record)
        self._is_released = True

    def save_failure(self, note: Note) -> None:
        self._write(scripts.SAVE_FAILURE, self._store.dump(note), note.id, even_if_full=True)

    def rewrite(self, record: Record) -> None:
        self._write(scripts.REWRITE, self.owner, self._fingerprint, self._store.dump(record), _lifetime(record))

    def write_entry(self, entry: AccountEntry) -> None:
        self._write(scripts.REWRITE, self.owner, "", self._store.dump(entry), _RECORD_LIFETIME)
        self._replication.wait_for_replica(scripts.hash_name(self._key), slot_of(self._key), _RECORD_LIFETIME)

    def delete(self) -> bool:
        tombstone = os.urandom(16).hex()
        existed = self._write(scripts.DELETE, self.owner, tombstone, _TOMBSTONE_LIFETIME, even_if_full=True)
        self._fingerprint, self._tombstone = "", f"{tombstone}{existed}"
        return bool(existed)

    def _write_until_deadline(self, script: str, *arguments: t.Any) -> None:
        """Write, and retry until the deadline if the server fails, because the token of this write is already spent."""
        backoff = Backoff(self._deadline, _LONGEST_PAUSE, _LONGEST_PAUSE)
        while True:
            try:
                self._write(script, *arguments, even_if_full=True)
                return
            except ServerFailure:
                if signal_pending() or not backoff.wait():
                    raise

    def _write(self, script: str, *arguments: t.Any, third_key: str | None = None, even_if_full: bool = False) -> t.Any:
        """Run a script that writes, and return its reply. Raises :class:`StoreError` if it refuses to write."""
        try:
            reply = self._run(script, *arguments, third_key=third_key)
        except OutOfMemory:
            if not even_if_full:
                raise
            reply = self._run(script, *arguments, third_key=third_key, even_if_full=True)
        self._found = None
        scripts.raise_refusal(reply)
        return reply

    def _run(self, script: str, *arguments: t.Any, **options: t.Any) -> t.Any:
        command = scripts.command(self._key, script, *arguments, **options)
        return self._connection.run(command, slot_of(self._key), end=self._end)


def _lifetime(record: Record) -> int:
    """Return how long Redis keeps a record, in milliseconds."""
    return int(max(record.expires_at - time.time(), 0) * 1000) + _RECORD_LIFETIME
