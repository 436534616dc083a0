# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the directory store: permissions, refusals, locking and durability."""

from __future__ import annotations

import os
import stat
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import LockTimeout, StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import (
    LINEAGE_LENGTH,
    PASSED_LENGTH,
    next_record,
    possible_growth,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import StoredState
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._store import two_slot_file
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import Encryption
from ansible_collections.wuying.workspace.plugins.module_utils._store.two_slot_writer import LEAST_SPACE
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    file_of,
    largest_record,
    leave_note,
    put,
    session_at,
    write_file,
)

SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
RECORD = next_record(None, SESSION, "v1first", "v1second", 1000.0, 900, None)


@pytest.fixture
def store(store_path: Path) -> DirectoryStore:
    """Return a store whose folder does not exist yet."""
    return DirectoryStore(str(store_path))


def soon(seconds: float = 10) -> float:
    """Return a deadline."""
    return time.monotonic() + seconds


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_folder_is_0700_and_files_are_0600_under_any_umask(store: DirectoryStore, store_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        put(store, RECORD)
        leave_note(store, SESSION, "v1second")
    finally:
        os.umask(before)
    assert stat.S_IMODE(store_path.stat().st_mode) == 0o700
    files = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in store_path.iterdir()}
    assert files == {".record": 0o600, ".lock": 0o600}


def test_file_names_consist_of_the_session_key_only(store: DirectoryStore, store_path: Path) -> None:
    put(store, RECORD)
    assert sorted(path.name for path in store_path.iterdir()) == [
        f"{SESSION.key}.lock",
        f"{SESSION.key}.record",
    ]
    assert len(SESSION.key) == 64
    assert set(SESSION.key) <= set("0123456789abcdef")


def test_a_stored_record_is_read_again(store: DirectoryStore) -> None:
    put(store, RECORD)
    assert store.read(SESSION.key) == StoredState(RECORD)


def test_reading_creates_nothing(store: DirectoryStore, store_path: Path) -> None:
    assert store.read(SESSION.key) == StoredState()
    assert not store_path.exists()


def test_missing_parent_folders_are_created(tmp_path: Path) -> None:
    put(DirectoryStore(str(tmp_path / "a" / "b" / "store")), RECORD)
    assert (tmp_path / "a" / "b" / "store" / f"{SESSION.key}.record").exists()


@pytest.fixture(name="create_first")
def fixture_create_first(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[int], None]:
    """Return a function that simulates another task that creates the folder first, with a given mode."""
    make = os.mkdir

    def create_first(mode: int) -> None:
        def create_twice(path: str, own_mode: int) -> None:
            make(path)
            os.chmod(path, mode)
            make(path, own_mode)

        monkeypatch.setattr(os, "mkdir", create_twice)

    return create_first


def test_a_folder_that_another_task_creates_first_is_used(
    store: DirectoryStore, create_first: t.Callable[[int], None]
) -> None:
    create_first(0o700)
    put(store, RECORD)
    assert store.read(SESSION.key).record == RECORD


def test_a_folder_created_first_with_access_for_others_is_refused(
    store: DirectoryStore, create_first: t.Callable[[int], None]
) -> None:
    create_first(0o777)
    _is_refused(store, "is accessible to other users")


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777, 0o720, 0o702])
def test_a_folder_that_other_users_can_access_is_refused(store: DirectoryStore, store_path: Path, mode: int) -> None:
    store_path.mkdir()
    store_path.chmod(mode)
    _is_refused(store, "is accessible to other users")


@pytest.mark.parametrize("suffix", ["record", "lock"])
@pytest.mark.parametrize("mode", [0o640, 0o602])
def test_a_file_that_other_users_can_access_is_refused(
    store: DirectoryStore, store_path: Path, suffix: str, mode: int
) -> None:
    put(store, RECORD)
    leave_note(store, SESSION, "v1second")
    (store_path / f"{SESSION.key}.{suffix}").chmod(mode)
    with pytest.raises(StoreError, match="is accessible to other users") as caught:
        with store.lock(SESSION.key, soon()) as locked:
            locked.read()
    assert caught.value.code == "StoreUnsafe"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("what", ["folder", "record", "lock"])
def test_a_folder_or_file_of_another_user_is_refused(store: DirectoryStore, store_path: Path, what: str) -> None:
    put(store, RECORD)
    leave_note(store, SESSION, "v1second")
    os.chown(store_path if what == "folder" else store_path / f"{SESSION.key}.{what}", 12345, -1)
    with pytest.raises(StoreError, match="belongs to another user") as caught:
        with store.lock(SESSION.key, soon()) as locked:
            locked.read()
    assert caught.value.code == "StoreUnsafe"


def test_a_symbolic_link_in_place_of_the_folder_is_refused(
    store: DirectoryStore, store_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    store_path.symlink_to(tmp_path / "elsewhere")
    _is_refused(store, f"{store_path} is a symbolic link, but must be a directory")


def test_a_file_in_place_of_the_folder_is_refused(store: DirectoryStore, store_path: Path) -> None:
    store_path.touch(mode=0o600)
    _is_refused(store, f"{store_path} is a file, but must be a directory")


@pytest.mark.parametrize("suffix", ["record", "lock"])
@pytest.mark.parametrize("kind", ["symbolic link", "named pipe", "directory", "socket"])
def test_anything_but_a_plain_file_is_refused_without_blocking(
    store: DirectoryStore, store_path: Path, tmp_path: Path, suffix: str, kind: str
) -> None:
    store_path.mkdir(mode=0o700)
    path = store_path / f"{SESSION.key}.{suffix}"
    if kind == "symbolic link":
        (tmp_path / "elsewhere").touch(mode=0o600)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "named pipe":
        os.mkfifo(path, 0o600)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    else:
        path.mkdir(mode=0o700)
    with pytest.raises(StoreError, match=f"{path} is a {kind}, but must be a plain file") as caught:
        with store.lock(SESSION.key, soon()) as locked:
            locked.read()
            locked.write_note(new_note(None, fingerprint("v1second"), ""))
    assert caught.value.code == "StoreUnsafe"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_an_error(store: DirectoryStore, store_path: Path) -> None:
    store_path.mkdir(mode=0o500)
    _is_refused(store, "Permission denied")


def test_a_folder_that_cannot_be_created_is_an_error() -> None:
    _is_refused(DirectoryStore("/proc/1/no/such/store"), "cannot be used")


def test_a_second_task_waits_for_the_lock(store: DirectoryStore) -> None:
    order: list[str] = []

    def hold() -> None:
        with store.lock(SESSION.key, soon()):
            order.append("second")

    with store.lock(SESSION.key, soon()):
        thread = threading.Thread(target=hold)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_waiting_for_the_lock_ends_at_the_deadline(store: DirectoryStore) -> None:
    with store.lock(SESSION.key, soon()):
        start = time.monotonic()
        with pytest.raises(LockTimeout), store.lock(SESSION.key, soon(0.2)):
            pass
        assert 0.2 <= time.monotonic() - start < 5


def test_sessions_do_not_wait_for_each_other(store: DirectoryStore) -> None:
    other = SESSION._replace(end_user_id="bob")
    with store.lock(SESSION.key, soon()), store.lock(other.key, soon(0.1)):
        pass


def test_the_lock_file_is_never_removed(store: DirectoryStore, store_path: Path) -> None:
    lock = store_path / f"{SESSION.key}.lock"
    put(store, RECORD)
    inode = lock.stat().st_ino
    with store.lock(SESSION.key, soon()) as locked:
        assert locked.delete()
    put(store, RECORD)
    assert lock.stat().st_ino == inode


def test_a_task_whose_lock_file_was_removed_locks_the_new_one(store: DirectoryStore, store_path: Path) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store.lock(SESSION.key, soon()):
            held.set()
            done.wait(10)

    with store.lock(SESSION.key, soon()):
        thread = threading.Thread(target=hold)
        thread.start()
        time.sleep(0.1)
        (store_path / f"{SESSION.key}.lock").unlink()
    assert held.wait(10)
    try:
        with pytest.raises(LockTimeout), store.lock(SESSION.key, soon(0.1)):
            pass
    finally:
        done.set()
        thread.join(10)


def test_space_is_reserved_before_the_note(store: DirectoryStore, store_path: Path) -> None:
    leave_note(store, SESSION, "v1second")
    assert file_of(store_path, SESSION).stat().st_blocks * 512 >= 2 * LEAST_SPACE


def test_a_refresh_of_a_known_session_allocates_no_space(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, RECORD)

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    newer = RECORD._replace(login_token="v1" + "x" * 1000)
    put(store, newer)
    assert store.read(SESSION.key) == StoredState(newer)


def test_a_new_session_without_space_leaves_no_record_file(
    store: DirectoryStore, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="No space left"):
        leave_note(store, SESSION, "v1second")
    assert [path.suffix for path in store_path.iterdir()] == [".lock"]


def test_the_largest_record_is_stored_and_read_again(store: DirectoryStore) -> None:
    record = largest_record()
    put(store, record)
    assert store.read(record.session.key).record == record
    leave_note(store, record.session, "v1second")
    assert store.read(record.session.key).record == record
    assert store.read(record.session.key).may_be_spent("v1second")


def test_each_step_is_synced_before_the_next_one(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def traced(module: t.Any, name: str) -> None:
        call = getattr(module, name)

        def run(*arguments: object, **keywords: object) -> object:
            is_folder = stat.S_ISDIR(os.fstat(t.cast(int, arguments[0])).st_mode)
            steps.append(f"{name} of the folder" if is_folder else name)
            return call(*arguments, **keywords)

        monkeypatch.setattr(module, name, run)

    for module, name in (
        (os, "posix_fallocate"),
        (os, "pwrite"),
        (two_slot_file, "_sync"),
        (os, "fsync"),
    ):
        traced(module, name)
    with store.lock(SESSION.key, soon()) as locked:
        locked.write_note(new_note(None, fingerprint("v1first"), ""))
        assert steps == ["posix_fallocate"] * 2 + ["pwrite", "_sync", "fsync of the folder"]
        steps.clear()
        locked.save(RECORD)
        assert steps == ["pwrite", "_sync"]
    steps.clear()
    put(store, RECORD)
    assert steps == ["pwrite", "_sync"] * 2


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("keep_alive", [None, KeepAlive("k" * 100, 1.0, 2.0)], ids=["", "keep-alive"])
def test_a_session_with_a_full_lineage_takes_16_kib(
    store_path: Path, encrypted: bool, keep_alive: KeepAlive | None
) -> None:
    encryption = None
    if encrypted:
        fernet = pytest.importorskip("cryptography.fernet")
        encryption = Encryption([fernet.Fernet.generate_key().decode("ascii")])
    store = DirectoryStore(str(store_path), encryption)
    lineage = tuple(fingerprint(str(number)) for number in range(LINEAGE_LENGTH))
    record = RECORD._replace(
        login_token="v1" + 100 * "x",
        request_id="123e4567-e89b-12d3-a456-426614174000",
        lineage=lineage,
        passed=lineage[:PASSED_LENGTH],
        session_id="s" * 36,
        uuid="u" * 36,
        keep_alive=keep_alive,
    )
    for _round in range(3):
        with store.lock(SESSION.key, soon()) as locked:
            growth = possible_growth(record, SESSION, None, record.login_token, may_log_in=keep_alive is not None)
            locked.write_note(new_note(locked.read().note, fingerprint(record.login_token), "a test"), growth)
            locked.save(record)
    assert sum(path.stat().st_blocks for path in store_path.iterdir()) * 512 <= 16384


def test_a_note_is_read_together_with_the_record(store: DirectoryStore) -> None:
    put(store, RECORD)
    leave_note(store, SESSION, "v1second")
    stored = store.read(SESSION.key)
    assert stored.record == RECORD
    assert stored.may_be_spent("v1second")
    assert not stored.may_be_spent("v1third")


def test_an_empty_file_has_neither_record_nor_note(store: DirectoryStore, store_path: Path) -> None:
    put(store, RECORD)
    file_of(store_path, SESSION).write_bytes(b"")
    assert store.read(SESSION.key) == StoredState()


@pytest.mark.parametrize("content", [RECORD.dump(), RECORD.dump()[:20], b"{}", b"\xff"])
def test_an_unreadable_note_covers_every_token(store: DirectoryStore, store_path: Path, content: bytes) -> None:
    put(store, RECORD)
    write_file(file_of(store_path, SESSION), RECORD.dump(), content)
    assert store.read(SESSION.key).may_be_spent("v1second")
    assert store.read(SESSION.key).record == RECORD


def test_if_neither_slot_is_intact_every_token_may_be_spent(store: DirectoryStore, store_path: Path) -> None:
    put(store, RECORD)
    file = file_of(store_path, SESSION)
    file.write_bytes(file.read_bytes().replace(b'"', b"'"))
    stored = store.read(SESSION.key)
    assert (stored.record, stored.damage) == (None, f"{file}: its content is corrupt")
    assert stored.may_be_spent("v1second")


def test_a_record_is_saved_even_if_its_file_was_removed(store: DirectoryStore, store_path: Path) -> None:
    put(store, RECORD)
    newer = RECORD._replace(login_token="v1third")
    with store.lock(SESSION.key, soon()) as locked:
        locked.write_note(new_note(locked.read().note, fingerprint("v1second"), ""))
        file_of(store_path, SESSION).unlink()
        locked.save(newer)
    assert store.read(SESSION.key) == StoredState(newer)


def test_readers_see_either_the_old_record_or_the_new_one(
    store: DirectoryStore,
) -> None:
    records = [RECORD._replace(login_token=f"v1{n}" * 500) for n in range(50)]
    put(store, records[0])
    done = threading.Event()
    damages, tokens = set(), set()

    def read() -> None:
        while not done.is_set():
            stored = store.read(SESSION.key)
            damages.add(stored.damage)
            tokens.add(stored.record and stored.record.login_token)

    thread = threading.Thread(target=read)
    thread.start()
    end = time.monotonic() + 20
    while len(tokens) < 2 and time.monotonic() < end:
        for record in records:
            put(store, record)
    done.set()
    thread.join(20)
    assert damages == {None}
    assert len(tokens) > 1
    assert tokens <= {record.login_token for record in records}


def test_a_reader_during_a_write_sees_an_intact_record(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, RECORD)
    newer = RECORD._replace(login_token="v1third")
    pread = os.pread
    reads: list[int] = []

    def read_slowly(file: int, size: int, offset: int) -> bytes:
        data = pread(file, size, offset)
        reads.append(offset)
        if len(reads) == 1:
            put(store, newer)
        return data

    monkeypatch.setattr(os, "pread", read_slowly)
    stored = store.read(SESSION.key)
    assert stored.damage is None
    assert stored.record == newer or stored.may_be_spent("v1third")


def test_no_file_descriptor_is_left_open(store: DirectoryStore, store_path: Path) -> None:
    put(store, RECORD)
    before = len(os.listdir("/proc/self/fd"))
    for _round in range(5):
        store.read(SESSION.key)
        put(store, RECORD)
        leave_note(store, SESSION, "v1second")
    file_of(store_path, SESSION).chmod(0o640)
    for _round in range(5):
        with pytest.raises(StoreError):
            store.read(SESSION.key)
    assert len(os.listdir("/proc/self/fd")) == before


def _is_refused(store: DirectoryStore, reason: str) -> None:
    with pytest.raises(StoreError, match=reason), store.lock(SESSION.key, soon()):
        pass
