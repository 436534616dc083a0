# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test full disks, read-only folders, limits and signals: no token is lost and the record stays intact."""

from __future__ import annotations

import errno
import fcntl
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
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError, WuyingError
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import (
    LONGEST_KEEP_ALIVE_TOKEN,
    KeepAlive,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import LINEAGE_LENGTH
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session, fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._service.response import RefreshResult
from ansible_collections.wuying.workspace.plugins.module_utils._store import two_slot_file
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.two_slot_file import SLOT_SIZE
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    SingleSession,
    leave_note,
    unmeasured,
)

ROOT = Path(str(two_slot_file.__file__)).parents[6]
FORK = multiprocessing.get_context("fork")
NOBODY = 65534
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, and be another user")


@pytest.fixture(name="single_session")
def fixture_session(rotating_session: SingleSession) -> SingleSession:
    """Return a session whose service invalidates a token at its refresh."""
    return rotating_session


@pytest.fixture
def folder_of_nobody() -> t.Iterator[Path]:
    """Return a folder of another user that this user can reach."""
    folder = tempfile.mkdtemp()
    os.chown(folder, NOBODY, -1)
    yield Path(folder)
    shutil.rmtree(folder)


def become_nobody() -> None:
    """Switch this process to another user."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


class Result(t.NamedTuple):
    """The result of a request: ``refreshed``, ``returned`` or an error's code, and its message or the reason for ``returned``."""

    code: str
    message: str = ""


def result_of(single_session: SingleSession, login_token: str | None = None, **options: t.Any) -> Result:
    """Send a request and return its result."""
    try:
        outcome = single_session.request(login_token, **options)
    except WuyingError as error:
        return Result(error.code, error.message)
    if outcome.not_saved is not None:
        return Result(outcome.not_saved.code, outcome.not_saved.message)
    if outcome.not_refreshed is not None:
        return Result("returned", outcome.not_refreshed.message)
    return Result("refreshed" if outcome.changed else "returned")


def in_a_process(prepare: t.Callable[[], object], act: t.Callable[[], Result]) -> Result:
    """Run a function in a process of its own, because the preparation cannot be undone."""
    results: t.Any = FORK.SimpleQueue()

    def run() -> None:
        try:
            prepare()
            result = act()
        except BaseException as error:  # a traceback would be lost in the process
            result = Result(repr(error))
        results.put(result)

    process = FORK.Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    return t.cast(Result, results.get())


def of_bob(single_session: SingleSession) -> SingleSession:
    """Return the session of another session, which has no record."""
    return SingleSession(
        single_session.store, single_session.emulator, single_session.session._replace(end_user_id="bob")
    )


def assert_refused(single_session: SingleSession, code: str, text: str, login_token: str | None = None) -> None:
    """Check that a request fails with this error, sends nothing and does not change the record."""
    before, requests = single_session.stored().record, single_session.requests()
    result = result_of(single_session, login_token, force=True)
    assert result.code == code
    assert text in result.message
    assert (single_session.stored().record, single_session.requests()) == (before, requests)
    assert single_session.warnings == []


@pytest.fixture(name="mounted")
def fixture_mounted(tmp_path: Path) -> t.Iterator[t.Callable[[str], Path]]:
    """Return a function that mounts a small disk with the given options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("the command mount is missing")
        if done.returncode:
            pytest.skip("this user cannot mount a disk")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Fill a disk with one file."""
    with path.open("ab", buffering=0) as file:
        with pytest.raises(OSError, match="No space left"):
            while True:
                file.write(b"x" * 4096)


@only_root
def test_on_a_full_disk_known_sessions_refresh_and_new_ones_spend_nothing(
    single_session: SingleSession, mounted: t.Callable[[str], Path]
) -> None:
    disk = mounted("size=256k,mode=700")
    single_session.store = DirectoryStore(str(disk / "store"))
    single_session.have("stale")
    bob = of_bob(single_session)
    token = single_session.emulator.issue("bob")
    fill(disk / "filler")
    assert [result_of(single_session, force=True).code for _round in range(10)] == ["refreshed"] * 10
    assert_refused(bob, "StoreUnavailable", "No space left", token)
    assert {path.suffix for path in (disk / "store").glob(f"{bob.session.key}.*")} == {".lock"}
    (disk / "filler").unlink()
    assert result_of(bob, token) == ("refreshed", "")


@only_root
def test_a_record_too_large_for_a_full_disk_fails_before_the_request(
    single_session: SingleSession, mounted: t.Callable[[str], Path]
) -> None:
    disk = mounted("size=256k,mode=700")
    single_session.store = DirectoryStore(str(disk / "store"))
    single_session.have("stale")
    fill(disk / "filler")
    assert [result_of(single_session, force=True).code for _round in range(90)] == ["refreshed"] * 90
    record = single_session.stored().record
    assert record is not None
    assert len(record.lineage) == LINEAGE_LENGTH
    with single_session.store.lock(single_session.session.key, time.monotonic() + 5) as locked:
        locked.save(record._replace(keep_alive=KeepAlive("k" * LONGEST_KEEP_ALIVE_TOKEN, 1.0, time.time())))
    assert_refused(single_session, "StoreUnavailable", "No space left")
    (disk / "filler").unlink()
    assert result_of(single_session, force=True) == ("refreshed", "")


@only_root
def test_a_long_token_that_is_passed_has_space_for_its_successor(
    single_session: SingleSession, mounted: t.Callable[[str], Path]
) -> None:
    disk = mounted("size=1m,mode=700")

    class LongTokens(ServiceClient):
        """A service whose tokens are as long as the first one, and that fills the disk."""

        def refresh(
            self, session: Session, login_token: str, deadline: float, *, session_id: str | None = None
        ) -> RefreshResult:
            fill(disk / "filler")
            return RefreshResult(login_token[::-1], None, time.time())

    store = DirectoryStore(str(disk / "store"))
    keeper = Keeper(store, lambda: LongTokens(None), scope="", deadline=time.monotonic() + 20)
    token = "v1" + 6000 * "x"
    outcome = keeper.ensure(TokenRequest(single_session.session, token), print)
    assert outcome.not_saved is None
    assert outcome.record == store.read(single_session.session.key).record
    assert outcome.record is not None and outcome.record.login_token == token[::-1]


@only_root
def test_on_btrfs_a_full_disk_costs_no_token(single_session: SingleSession, tmp_path: Path) -> None:
    image, disk = tmp_path / "image", tmp_path / "btrfs"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(128 * 1024 * 1024)
    for command in (("mkfs.btrfs", "--quiet", "--mixed", image), ("mount", "-o", "loop", image, disk)):
        try:
            subprocess.run(command, capture_output=True, check=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            pytest.skip("no Btrfs file system can be mounted here")
    try:
        (disk / "store").mkdir(0o700)
        single_session.store = DirectoryStore(str(disk / "store"))
        before = single_session.have("stale")
        with single_session.store.lock(single_session.session.key, time.monotonic() + 5) as locked:
            locked.write_note(new_note(None, fingerprint(before.login_token), ""), 2000)
            for _round in range(3):  # A sync can free space.
                fill(disk / "filler")
                os.sync()
            record = before._replace(login_token="v1" + 500 * "x")
            locked.save(record)
        assert single_session.stored().record == record
        single_session.store.close()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@only_root
def test_without_free_inodes_a_new_session_spends_nothing(
    single_session: SingleSession, mounted: t.Callable[[str], Path]
) -> None:
    disk = mounted("size=1m,mode=700,nr_inodes=4")  # the root, the store, and two files
    single_session.store = DirectoryStore(str(disk / "store"))
    single_session.have("stale")
    assert result_of(single_session) == ("refreshed", "")
    bob, token = of_bob(single_session), single_session.emulator.issue("bob")
    assert_refused(bob, "StoreUnavailable", "No space left", token)


@only_root
def test_on_a_read_only_disk_valid_tokens_are_returned_and_none_is_spent(
    single_session: SingleSession, mounted: t.Callable[[str], Path]
) -> None:
    disk = mounted("size=1m,mode=700")
    single_session.store = DirectoryStore(str(disk / "store"))
    single_session.have("current")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert result_of(single_session) == ("returned", "")
    assert_refused(single_session, "StoreUnavailable", "Read-only")


@only_root
@unmeasured
def test_in_a_read_only_folder_known_sessions_refresh_new_ones_do_not(
    single_session: SingleSession, folder_of_nobody: Path
) -> None:
    single_session.have("stale")
    single_session.request()  # This imports everything that a refresh needs.
    folder = folder_of_nobody / "store"
    single_session.store = DirectoryStore(str(folder))
    bob, token = of_bob(single_session), single_session.emulator.issue("bob")
    first = single_session.emulator.issue()
    assert in_a_process(become_nobody, lambda: result_of(single_session, first)).code == "refreshed"
    folder.chmod(0o500)
    assert in_a_process(become_nobody, lambda: result_of(single_session, force=True)).code == "refreshed"
    requests = single_session.requests()
    result = in_a_process(become_nobody, lambda: result_of(bob, token))
    assert result.code == "StoreUnavailable"
    assert "Permission denied" in result.message
    assert single_session.requests() == requests
    folder.chmod(0o700)
    assert in_a_process(become_nobody, lambda: result_of(bob, token)).code == "refreshed"


@only_root
@unmeasured
@pytest.mark.parametrize("umask", [0o277, 0o400, 0o700, 0o777], ids=oct)
def test_a_umask_that_removes_the_owners_rights_does_no_harm(
    single_session: SingleSession, folder_of_nobody: Path, umask: int
) -> None:
    single_session.have("stale")
    single_session.request()  # This imports everything that a refresh needs.
    single_session.store = DirectoryStore(str(folder_of_nobody / "parent" / "store"))

    def set_umask_and_become_nobody() -> None:
        os.umask(umask)
        become_nobody()

    token = single_session.emulator.issue()
    assert in_a_process(set_umask_and_become_nobody, lambda: result_of(single_session, token)).code == "refreshed"
    assert in_a_process(set_umask_and_become_nobody, lambda: result_of(single_session, force=True)).code == "refreshed"
    made = [path for path in folder_of_nobody.rglob("*") if path.is_dir()]
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o700] * 2


@pytest.mark.parametrize("limit", [0, 100, SLOT_SIZE - 1, SLOT_SIZE, SLOT_SIZE + 100, SLOT_SIZE + 8192])
@unmeasured
def test_a_low_file_size_limit_spends_nothing(single_session: SingleSession, limit: int) -> None:
    bob, token = of_bob(single_session), single_session.emulator.issue("bob")
    for has_note in (False, True):  # The note changes the slot of the record.
        record = single_session.have("stale")
        if has_note:
            leave_note(single_session.store, single_session.session, record.login_token)
        requests = single_session.requests()
        for each, passed in ((single_session, None), (bob, token)):
            result = in_a_process(
                lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
                functools.partial(result_of, each, passed),
            )
            assert result.code == ("returned" if passed is None else "StoreUnavailable")
            assert "ulimit -f" in result.message
        assert single_session.requests() == requests
        assert single_session.stored().record == record
        assert result_of(single_session) == ("refreshed", "")
    assert result_of(bob, token) == ("refreshed", "")


@unmeasured
def test_a_sufficient_file_size_limit_has_no_effect(single_session: SingleSession) -> None:
    single_session.have("stale")
    result = in_a_process(
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2 * SLOT_SIZE, 2 * SLOT_SIZE)),
        lambda: result_of(single_session),
    )
    assert result == ("refreshed", "")


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "_sync"])
@pytest.mark.parametrize("code", [errno.EDQUOT, errno.EIO])
def test_a_quota_or_disk_failure_before_the_request_spends_nothing(
    single_session: SingleSession, store_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    bob, token = of_bob(single_session), single_session.emulator.issue("bob")

    def fail(file: int, *_arguments: object) -> None:
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:  # not a reader, who syncs too
            raise OSError(code, os.strerror(code))

    single_session.have("stale")
    with monkeypatch.context() as patch:
        patch.setattr(os if hasattr(os, call) else two_slot_file, call, fail)
        assert_refused(bob, "StoreUnavailable", os.strerror(code), token)
        if call != "posix_fallocate":
            assert_refused(single_session, "StoreUnavailable", os.strerror(code))
    assert {path.suffix for path in store_path.glob(f"{bob.session.key}.*")} == {".lock"}
    assert result_of(bob, token) == ("refreshed", "")
    assert result_of(single_session) == ("refreshed", "")


def lowest_free() -> int:
    """Return the lowest free file descriptor."""
    lowest = os.dup(0)
    os.close(lowest)
    return lowest


def limit_open_files(number: int) -> None:
    """Limit this process to this number of further files."""
    lowest = lowest_free()  # Open files above it count too.
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + number, lowest + number))


@unmeasured
def test_with_too_many_open_files_nothing_is_spent(single_session: SingleSession) -> None:
    single_session.have("stale")
    single_session.request()  # This imports everything that a refresh needs.
    codes = []
    for spare in range(12):
        single_session.have("stale")
        requests = single_session.requests()

        result = in_a_process(functools.partial(limit_open_files, spare), lambda: result_of(single_session))
        codes.append(result.code)
        if result.code != "refreshed":
            assert "Traceback" not in result.message
            assert single_session.requests() == requests
            assert result_of(single_session) == ("refreshed", "")
    assert codes[0] == "StoreUnavailable"
    assert codes[-1] == "refreshed"


SAVE_A_TOKEN = """
import sys, time
sys.path[:0] = PATH
from ansible_collections.wuying.workspace.plugins.modules import wuying_login_token
from ansible_collections.wuying.workspace.plugins.module_utils._keeper import obtain
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.store_options import open_store
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import session_at

session, deadline, step, events = session_at("https://ecd.cn-hangzhou.aliyuncs.com"), time.monotonic() + 30, "open", []
sys.addaudithook(lambda event, arguments: event in ("import", "open") and step == "save" and events.append(arguments[0]))
print("ready", flush=True)
sys.stdin.readline()
try:
    store = open_store({"store": STORE, "store_key": KEYS}.get, deadline)
    with store.lock(session.key, deadline) as locked:
        locked.read()
        locked.write_note(obtain.new_note(None, obtain.fingerprint("v1first"), ""))
        step = "save"
        locked.save(obtain.next_record(None, session, "v1first", "v1second", time.time(), 900, None))
        step = "saved"
except StoreError as error:
    print(error.retryable, error.message)
print(step, *events)
"""


def save_a_token(store: Path, key: str | None, spare: int | None) -> list[str]:
    """Save a token in a new process, with so many files to open. Return what it prints."""
    constants = {"PATH": [str(ROOT), *sys.path], "STORE": str(store), "KEYS": [key] if key else None}
    script = "\n".join([*(f"{name} = {value!r}" for name, value in constants.items()), SAVE_A_TOKEN])
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if spare is not None:
        limit = 3 + spare  # The standard streams are open.
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (limit, limit))
    output, errors = process.communicate("\n", timeout=60)
    assert errors == ""
    assert process.returncode == 0
    return output.splitlines()


@pytest.fixture(name="key", params=["unencrypted", "encrypted"])
def fixture_key(request: pytest.FixtureRequest) -> str | None:
    """Return the key of the store, or None."""
    if request.param == "unencrypted":
        return None
    return str(pytest.importorskip("cryptography.fernet").Fernet.generate_key().decode())


@unmeasured
def test_with_too_many_open_files_imports_fail_before_the_note_or_not_at_all(store_path: Path, key: str | None) -> None:
    steps = []
    for spare in range(10):
        *messages, last = save_a_token(store_path, key, spare)
        steps.append(last)
        if last != "saved":
            assert last == "open"
            assert messages[0].startswith("True ")
            assert "ulimit -n" in messages[0]
        shutil.rmtree(store_path, ignore_errors=True)
    assert steps[0] == "open"
    assert steps[-1] == "saved"


@unmeasured
def test_between_the_note_and_the_new_token_nothing_is_imported_or_opened(store_path: Path, key: str | None) -> None:
    assert save_a_token(store_path, key, None) == ["saved"]


def test_the_error_for_too_many_open_files_names_the_limit(single_session: SingleSession) -> None:
    single_session.have("current")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free(), limits[1]))
    try:
        with pytest.raises(StoreError, match="ulimit -n") as caught:
            single_session.stored()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (caught.value.code, caught.value.retryable) == ("StoreUnavailable", True)
    assert result_of(single_session) == ("returned", "")


def refresh_until_signal(single_session: SingleSession, output: int) -> None:
    """Refresh until a signal ends this process. Write a byte after each refresh."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Python ignores exceptions in a finalizer, including KeyboardInterrupt.
    sys.unraisablehook = lambda _raised: os._exit(131)
    deadline = time.monotonic() + 60
    try:
        with ServiceClient(None, timeout=5, retries=0) as service:
            keeper = Keeper(single_session.store, lambda: service, scope="", deadline=deadline)
            while True:
                keeper.ensure(TokenRequest(single_session.session, force=True), single_session.warnings.append)
                os.write(output, b"x")
    except KeyboardInterrupt:
        os._exit(130)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_at_any_time_loses_no_token(single_session: SingleSession, number: signal.Signals) -> None:
    chance = random.Random(number)
    single_session.have("current")
    for _round in range(15):
        reading, output = os.pipe()
        process = FORK.Process(target=refresh_until_signal, args=(single_session, output))
        process.start()
        assert os.read(reading, 1) == b"x"
        time.sleep(chance.uniform(0, 0.02))
        os.kill(t.cast(int, process.pid), number)
        process.join(30)
        os.close(reading)
        os.close(output)
        assert process.exitcode == (130 if number == signal.SIGINT else -number)
    record, note, damage = single_session.stored()[:3]
    assert record is not None
    assert (note, damage) == (None, None)
    known = {mark[:12] for mark in (*record.lineage, fingerprint(record.login_token))}
    issued = [entry["issued"] for entry in single_session.emulator.journal()["entries"]]
    assert set(issued[-60:]) <= known
    assert result_of(single_session, force=True) == ("refreshed", "")
