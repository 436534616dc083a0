# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Disks that are full, folders that are read-only, limits, signals: no token is spent for nothing, and the record stays."""

from __future__ import annotations

import errno
import functools
import multiprocessing
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    StoreError,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._store import two_slot_file
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.plugins.module_utils._store.two_slot_file import SLOT_SIZE
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.house import (
    House,
    leave_note,
    unmeasured,
)

FORK = multiprocessing.get_context("fork")
NOBODY = 65534
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, and be another user")


@pytest.fixture(name="house")
def fixture_house(rotating_house: House) -> House:
    """Return a house whose service lets an exchanged token die at once."""
    return rotating_house


@pytest.fixture
def nobodys() -> t.Iterator[Path]:
    """Return a folder of another user, in a place where that user may go."""
    folder = tempfile.mkdtemp()
    os.chown(folder, NOBODY, -1)
    yield Path(folder)
    shutil.rmtree(folder)


def be_nobody() -> None:
    """Have this process be another user's."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


class End(t.NamedTuple):
    """How an ask ended: ``exchanged`` or ``served``, else an error's code, and its message."""

    how: str
    message: str = ""


def end_of(house: House, login_token: str | None = None, **options: t.Any) -> End:
    """Ask, and return how that ended."""
    try:
        outcome = house.request(login_token, **options)
    except WuyingError as error:
        return End(error.code, error.message)
    if outcome.not_saved is not None:
        return End(outcome.not_saved.code, outcome.not_saved.message)
    return End("exchanged" if outcome.changed else "served")


def in_a_process(prepare: t.Callable[[], object], act: t.Callable[[], End]) -> End:
    """Act in a process that is prepared in a way that cannot be undone."""
    results: t.Any = FORK.SimpleQueue()

    def run() -> None:
        try:
            prepare()
            result = act()
        except BaseException as error:  # a traceback would be lost in the process
            result = End(repr(error))
        results.put(result)

    process = FORK.Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    return t.cast(End, results.get())


def of_bob(house: House) -> House:
    """Return the house of another session, which is new to the store."""
    return House(house.store, house.emulator, house.session._replace(end_user_id="bob"))


def is_refused(house: House, code: str, text: str, login_token: str | None = None) -> None:
    """See that an ask sends nothing, leaves the record as it was, and says what is wrong."""
    before, requests = house.stored().record, house.requests()
    end = end_of(house, login_token, force=True)
    assert end.how == code
    assert text in end.message
    assert (house.stored().record, house.requests()) == (before, requests)
    assert house.warnings == []


@pytest.fixture(name="mounted")
def fixture_mounted(tmp_path: Path) -> t.Iterator[t.Callable[[str], Path]]:
    """Return a function that mounts a small disk, with options of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount: no disk to fill")
        if done.returncode:
            pytest.skip("this user may mount nothing, root or not: no disk to fill")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Fill a disk with a file."""
    with path.open("wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left"):
            while True:
                file.write(b"x" * 4096)


@only_root
def test_on_a_full_disk_known_sessions_refresh_and_new_ones_spend_nothing(
    house: House, mounted: t.Callable[[str], Path]
) -> None:
    disk = mounted("size=256k,mode=700")
    house.store = DirectoryStore(str(disk / "store"))
    house.have("stale")
    bob = of_bob(house)
    token = house.emulator.issue("bob")
    fill(disk / "filler")
    assert [end_of(house, force=True).how for _turn in range(10)] == ["exchanged"] * 10
    is_refused(bob, "StoreUnavailable", "No space left", token)
    assert {path.suffix for path in (disk / "store").glob(f"{bob.session.key}.*")} == {".lock"}
    (disk / "filler").unlink()
    assert end_of(bob, token) == ("exchanged", "")


@only_root
def test_a_record_too_large_for_a_full_disk_fails_before_the_request(
    house: House, mounted: t.Callable[[str], Path]
) -> None:
    disk = mounted("size=256k,mode=700")
    house.store = DirectoryStore(str(disk / "store"))
    house.have("stale")
    fill(disk / "filler")
    ends = [end_of(house, force=True).how for _turn in range(90)]
    assert set(ends) == {"exchanged", "StoreUnavailable"}
    assert house.requests() == ends.count("exchanged") == ends.index("StoreUnavailable")
    (disk / "filler").unlink()
    assert end_of(house, force=True) == ("exchanged", "")


@only_root
def test_without_free_inodes_a_new_session_spends_nothing(
    house: House, mounted: t.Callable[[str], Path]
) -> None:
    disk = mounted("size=1m,mode=700,nr_inodes=4")  # the root, the store, and two files
    house.store = DirectoryStore(str(disk / "store"))
    house.have("stale")
    assert end_of(house) == ("exchanged", "")
    bob, token = of_bob(house), house.emulator.issue("bob")
    is_refused(bob, "StoreUnavailable", "No space left", token)


@only_root
def test_on_a_read_only_disk_valid_tokens_are_returned_and_none_is_spent(
    house: House, mounted: t.Callable[[str], Path]
) -> None:
    disk = mounted("size=1m,mode=700")
    house.store = DirectoryStore(str(disk / "store"))
    house.have("current")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert end_of(house) == ("served", "")
    is_refused(house, "StoreUnavailable", "Read-only")


@only_root
@unmeasured
def test_in_a_read_only_folder_known_sessions_refresh_new_ones_do_not(
    house: House, nobodys: Path
) -> None:
    house.have("stale")
    house.request()  # All that is imported for an exchange is so from here on.
    folder = nobodys / "store"
    house.store = DirectoryStore(str(folder))
    bob, token = of_bob(house), house.emulator.issue("bob")
    first = house.emulator.issue()
    assert in_a_process(be_nobody, lambda: end_of(house, first)).how == "exchanged"
    folder.chmod(0o500)
    assert in_a_process(be_nobody, lambda: end_of(house, force=True)).how == "exchanged"
    requests = house.requests()
    end = in_a_process(be_nobody, lambda: end_of(bob, token))
    assert end.how == "StoreUnavailable"
    assert "Permission denied" in end.message
    assert house.requests() == requests
    folder.chmod(0o700)
    assert in_a_process(be_nobody, lambda: end_of(bob, token)).how == "exchanged"


@only_root
@unmeasured
@pytest.mark.parametrize("umask", [0o277, 0o400, 0o700, 0o777], ids=oct)
def test_a_umask_that_removes_the_owners_rights_does_no_harm(
    house: House, nobodys: Path, umask: int
) -> None:
    house.have("stale")
    house.request()  # All that is imported for an exchange is so from here on.
    house.store = DirectoryStore(str(nobodys / "parent" / "store"))

    def be_restricted() -> None:
        os.umask(umask)
        be_nobody()

    token = house.emulator.issue()
    assert in_a_process(be_restricted, lambda: end_of(house, token)).how == "exchanged"
    assert in_a_process(be_restricted, lambda: end_of(house, force=True)).how == "exchanged"
    made = [path for path in nobodys.rglob("*") if path.is_dir()]
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o700] * 2


@pytest.mark.parametrize(
    "limit", [0, 100, SLOT_SIZE - 1, SLOT_SIZE, SLOT_SIZE + 100, SLOT_SIZE + 8192]
)
@unmeasured
def test_a_low_file_size_limit_spends_nothing(house: House, limit: int) -> None:
    bob, token = of_bob(house), house.emulator.issue("bob")
    for note_stands in (False, True):  # It changes which page the record goes to.
        record = house.have("stale")
        if note_stands:
            leave_note(house.store, house.session, record.login_token)
        requests = house.requests()
        for each, passed in ((house, None), (bob, token)):
            end = in_a_process(
                lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
                functools.partial(end_of, each, passed),
            )
            assert end.how == "StoreUnavailable"
            assert "ulimit -f" in end.message
        assert house.requests() == requests
        assert house.stored().record == record
        assert end_of(house) == ("exchanged", "")
    assert end_of(bob, token) == ("exchanged", "")


@unmeasured
def test_a_sufficient_file_size_limit_has_no_effect(house: House) -> None:
    house.have("stale")
    end = in_a_process(
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2 * SLOT_SIZE, 2 * SLOT_SIZE)),
        lambda: end_of(house),
    )
    assert end == ("exchanged", "")


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "_sync"])
@pytest.mark.parametrize("code", [errno.EDQUOT, errno.EIO])
def test_a_quota_or_disk_failure_before_the_request_spends_nothing(
    house: House, store_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    bob, token = of_bob(house), house.emulator.issue("bob")

    def fail(*_arguments: object) -> t.NoReturn:
        raise OSError(code, os.strerror(code))

    house.have("stale")
    with monkeypatch.context() as patch:
        patch.setattr(os if hasattr(os, call) else two_slot_file, call, fail)
        is_refused(bob, "StoreUnavailable", os.strerror(code), token)
        if call != "posix_fallocate":
            is_refused(house, "StoreUnavailable", os.strerror(code))
    assert {path.suffix for path in store_path.glob(f"{bob.session.key}.*")} == {".lock"}
    assert end_of(bob, token) == ("exchanged", "")
    assert end_of(house) == ("exchanged", "")


def lowest_free() -> int:
    """Return the lowest number that no open file has."""
    lowest = os.dup(0)
    os.close(lowest)
    return lowest


def leave_files(number: int) -> None:
    """Have so many files left that can be opened."""
    lowest = lowest_free()  # Files that are open above it count too.
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + number, lowest + number))


@unmeasured
def test_with_too_many_open_files_nothing_is_spent(house: House) -> None:
    house.have("stale")
    house.request()  # All that is imported for an exchange is so from here on.
    ends = []
    for spare in range(12):
        house.have("stale")
        requests = house.requests()

        end = in_a_process(functools.partial(leave_files, spare), lambda: end_of(house))
        ends.append(end.how)
        if end.how != "exchanged":
            assert "Traceback" not in end.message
            assert house.requests() == requests
            assert end_of(house) == ("exchanged", "")
    assert ends[0] == "StoreUnavailable"
    assert ends[-1] == "exchanged"


def test_the_error_for_too_many_open_files_names_the_limit(house: House) -> None:
    house.have("current")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free(), limits[1]))
    try:
        with pytest.raises(StoreError, match="ulimit -n") as caught:
            house.stored()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (caught.value.code, caught.value.retryable) == ("StoreUnavailable", True)
    assert end_of(house) == ("served", "")


def exchange_until_told(house: House, told: int) -> None:
    """Exchange again and again, as a program that a signal ends."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Python ignores what is raised in a finalizer, an interrupt too.
    sys.unraisablehook = lambda _raised: os._exit(131)
    deadline = time.monotonic() + 60
    try:
        with ServiceClient(None, timeout=5, retries=0) as service:
            keeper = Keeper(house.store, lambda: service, scope="", deadline=deadline)
            while True:
                keeper.ensure(TokenRequest(house.session, force=True), house.warnings.append)
                os.write(told, b"x")
    except KeyboardInterrupt:
        os._exit(130)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_at_any_time_loses_no_token(house: House, number: signal.Signals) -> None:
    chance = random.Random(number)
    house.have("current")
    for _turn in range(15):
        reading, told = os.pipe()
        process = FORK.Process(target=exchange_until_told, args=(house, told))
        process.start()
        assert os.read(reading, 1) == b"x"
        time.sleep(chance.uniform(0, 0.02))
        os.kill(t.cast(int, process.pid), number)
        process.join(30)
        os.close(reading)
        os.close(told)
        assert process.exitcode == (130 if number == signal.SIGINT else -number)
    record, note, damage, _needs_reencryption = house.stored()
    assert record is not None
    assert (note, damage) == (None, None)
    known = {mark[:12] for mark in (*record.lineage, fingerprint(record.login_token))}
    issued = [entry["issued"] for entry in house.emulator.journal()["entries"]]
    assert set(issued[-60:]) <= known
    assert end_of(house, force=True) == ("exchanged", "")
