# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that no reader returns a token that its writer has not synced to the disk yet."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record, StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._store import two_slot_file
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    SingleSession,
    put,
    session_at,
)

FORK = multiprocessing.get_context("fork")
SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")


def record_of(token: str) -> Record:
    """Return a current record."""
    return next_record(None, SESSION, "v1first", token, time.time(), 900, None)


@pytest.fixture
def store(store_path: Path) -> DirectoryStore:
    """Return a store with a record that is on the disk."""
    store = DirectoryStore(str(store_path))
    put(store, record_of("v1old"))
    return store


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of the files that this process syncs from now on, by their inodes."""
    synced: list[int] = []
    sync = two_slot_file._sync

    def record(file: int) -> None:
        synced.append(os.fstat(file).st_ino)
        sync(file)

    monkeypatch.setattr(two_slot_file, "_sync", record)
    return synced


class Writer:
    """A process that has written a record and is still syncing it, until it is released or killed."""

    def __init__(self, store: DirectoryStore, record: Record) -> None:
        self._written, self._released = FORK.Event(), FORK.Event()
        self._process = FORK.Process(target=self._write, args=(store, record))
        self._process.start()
        assert self._written.wait(20)

    def _write(self, store: DirectoryStore, record: Record) -> None:
        sync = two_slot_file._sync

        def sync_slowly(file: int) -> None:
            self._written.set()
            assert self._released.wait(60)
            sync(file)

        with store.lock(SESSION.key, time.monotonic() + 20) as locked:
            locked.write_note(new_note(None, fingerprint("v1old"), "a test"))
            two_slot_file._sync = sync_slowly
            locked.save(record)

    def release(self) -> None:
        """Let the process finish."""
        self._released.set()
        self._process.join(20)
        assert self._process.exitcode == 0

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.join(20)
        assert self._process.exitcode == -signal.SIGKILL


def test_a_reader_syncs_a_token_whose_writer_is_slow(store: DirectoryStore, syncs: list[int]) -> None:
    new = record_of("v1new")
    writer = Writer(store, new)
    (inode,) = {entry.inode() for entry in os.scandir(store.name) if entry.name.endswith(".record")}
    assert store.read(SESSION.key).record == new
    assert list(store.read_many([SESSION.key]))
    assert syncs == [inode] * 2
    writer.release()
    assert store.read(SESSION.key).record == new
    assert syncs == [inode] * 2


def test_readers_sync_a_token_whose_writer_was_killed(store: DirectoryStore, syncs: list[int]) -> None:
    new = record_of("v1new")
    Writer(store, new).kill()
    with store.lock(SESSION.key, time.monotonic() + 10) as locked:
        assert locked.read().record == new
    assert store.read(SESSION.key).record == new
    assert len(syncs) == 2
    put(store, record_of("v1newer"))
    syncs.clear()
    store.read(SESSION.key)
    assert syncs == []


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_token_that_cannot_be_synced_is_not_returned(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    Writer(store, record_of("v1new")).kill()

    def fail(_file: int) -> t.NoReturn:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(two_slot_file, "_sync", fail)
    single_session = SingleSession(store, t.cast(t.Any, None), SESSION)
    keeper = single_session.keeper()
    for act in (
        lambda: keeper.ensure(TokenRequest(SESSION), single_session.warnings.append),
        lambda: keeper.obtain(TokenRequest(SESSION), StoredState().snapshot(), single_session.warnings.append),
        single_session.predict,
    ):
        with pytest.raises(StoreError, match=os.strerror(code)) as caught:
            act()
        assert caught.value.code == "StoreUnavailable"
        assert "v1new" not in caught.value.message


def test_reading_synced_records_syncs_nothing(store: DirectoryStore, syncs: list[int]) -> None:
    sessions = [SESSION._replace(end_user_id=f"user-{number}") for number in range(20)]
    for session in sessions:
        put(store, record_of("v1new")._replace(session=session))
    syncs.clear()
    assert all(store.read(session.key).record for session in sessions)
    assert all(isinstance(stored, tuple) for stored in store.read_many(session.key for session in sessions))
    assert syncs == []


@pytest.mark.parametrize("granularity", [100, 1000, 10**9])
def test_a_file_system_with_coarse_times_syncs_each_time(
    store: DirectoryStore, syncs: list[int], monkeypatch: pytest.MonkeyPatch, granularity: int
) -> None:
    utime = os.utime

    def set_coarse_times(file: int, *, ns: tuple[int, int]) -> None:
        access, change = (time - time % granularity for time in ns)
        utime(file, ns=(access, change))

    monkeypatch.setattr(os, "utime", set_coarse_times)
    put(store, record_of("v1new"))
    syncs.clear()
    store.read(SESSION.key)
    assert len(syncs) == 1


def test_a_file_system_without_times_keeps_tokens(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> t.NoReturn:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "utime", fail)
    new = record_of("v1new")
    put(store, new)
    assert store.read(SESSION.key).record == new
