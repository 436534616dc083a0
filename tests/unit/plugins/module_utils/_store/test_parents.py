# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that no other user can replace the directory of a store: its parents are safe, as OpenSSH's StrictModes requires."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import tempfile
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.store_options import (
    open_store,
)
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    unmeasured,
)

PACKAGE = str(DirectoryStore.__module__).rpartition(".")[0]
FORK = multiprocessing.get_context("fork")
NOBODY, STAFF, PRIMARY = 65534, 50, 1234
KEY = "0" * 64
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away, and be another user")


@pytest.fixture(name="parent")
def fixture_parent() -> t.Iterator[Path]:
    """Return a directory that every user can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "parent").mkdir(mode=0o755)
    yield folder / "parent"
    shutil.rmtree(folder)


def use(path: Path) -> str:
    """Read a session of the store, lock it, and read it again as a later task. Return the error, which is always the same."""
    errors, codes = set(), set()
    for act in ("read", "lock", "read"):
        store = DirectoryStore(str(path))
        try:
            if act == "read":
                store.read(KEY)
            else:
                with store.lock(KEY, time.monotonic() + 10):
                    pass
        except StoreError as error:
            errors.add(error.message)
            codes.add((error.code, error.retryable))
        finally:
            store.close()
    assert len(errors) <= 1
    assert codes <= {("StoreUnsafe", False)}
    return "".join(errors)


def as_user(user: int, group: int, act: t.Callable[[], str]) -> str:
    """Run a function as another user, who may not be able to read the files of the collection."""
    for name in ("locked_file", "locks"):
        importlib.import_module(f"{PACKAGE}.{name}")
    receiver, sender = FORK.Pipe(duplex=False)

    def run() -> None:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
        sender.send(act())

    process = FORK.Process(target=run)
    process.start()
    process.join(20)
    assert process.exitcode == 0
    return str(receiver.recv())


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("exists", [True, False], ids=["existing store", "new store"])
@pytest.mark.parametrize("mode", [0o777, 0o757, 0o702])
def test_a_parent_that_others_can_write_to_is_refused(parent: Path, mode: int, exists: bool, depth: int) -> None:
    path = parent.joinpath(*["below"] * (depth - 1), "store")
    if exists:
        assert use(path) == ""
    parent.chmod(mode)
    before = sorted(parent.rglob("*"))
    message = use(path)
    assert message.startswith(f"{parent} is writable by other users")
    assert "Remove their permission" in message
    assert sorted(parent.rglob("*")) == before


@pytest.mark.parametrize("mode", [0o1777, 0o1757, 0o755, 0o700, 0o711])
def test_a_parent_that_is_sticky_or_not_writable_for_others_is_used(parent: Path, mode: int) -> None:
    parent.chmod(mode)
    assert use(parent / "below" / "store") == ""


@only_root
@unmeasured
@pytest.mark.parametrize(
    ("owner", "group", "mode", "accepted"),
    [
        (0, 0, 0o755, True),
        (0, 0, 0o775, True),  # of the root group, as in containers with an arbitrary user
        (0, STAFF, 0o775, False),
        (0, STAFF, 0o1775, True),
        (NOBODY, PRIMARY, 0o775, True),  # of the group that each user has on many systems
        (NOBODY, STAFF, 0o770, False),
        (NOBODY, STAFF, 0o750, True),
        (12345, PRIMARY, 0o755, False),
        (12345, PRIMARY, 0o1777, False),
        (12345, 0, 0o755, False),
    ],
)
def test_owner_and_group_of_a_parent_decide(parent: Path, owner: int, group: int, mode: int, accepted: bool) -> None:
    path = parent / "below" / "store"
    path.parent.mkdir(mode=0o755)
    os.chown(path.parent, NOBODY, PRIMARY)
    os.chown(parent, owner, group)
    parent.chmod(mode)
    message = as_user(NOBODY, PRIMARY, lambda: use(path))
    assert (message == "") == accepted
    assert accepted or message.startswith(f"{parent} ")
    assert path.exists() == accepted


@only_root
@unmeasured
def test_an_arbitrary_user_of_a_container_can_use_a_home_of_the_root_group(parent: Path) -> None:
    parent.chmod(0o775)
    assert as_user(1000680000, 0, lambda: use(parent / ".local" / "state" / "store")) == ""


@only_root
@pytest.mark.parametrize("variable", ["HOME", "XDG_STATE_HOME", "store"])
def test_root_creates_nothing_in_the_home_of_another_user(
    parent: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    os.chown(parent, NOBODY, NOBODY)
    monkeypatch.setenv(variable, str(parent))
    options = {"store": str(parent / "store") if variable == "store" else None}
    store = open_store(options.get, time.monotonic() + 10)
    with pytest.raises(StoreError, match=f"{parent} belongs to another user") as caught, store.lock(KEY, 0):
        pass
    assert caught.value.code == "StoreUnsafe"
    assert "use -H instead of -E" in caught.value.message
    assert list(parent.iterdir()) == []


# Symbolic links


def test_a_link_of_the_user_or_of_root_is_followed(parent: Path) -> None:
    (parent / "target").mkdir()
    for number, target in enumerate(["target", "../parent/target", f"{parent}/target", "link-0", "./target/."]):
        (parent / f"link-{number}").symlink_to(target)
        assert use(parent / f"link-{number}" / "store") == ""
    assert (parent / "target" / "store").is_dir()


@only_root
def test_a_link_of_another_user_is_refused_wherever_it_is(parent: Path) -> None:
    parent.chmod(0o1777)
    (parent / "target").mkdir()
    (parent / "theirs").symlink_to("target")
    (parent / "ours").symlink_to("theirs")
    os.chown(parent / "theirs", NOBODY, NOBODY, follow_symlinks=False)
    for name in ("theirs", "ours"):
        assert use(parent / name / "store").startswith(f"{parent / 'theirs'} belongs to another user")
        assert use(parent / name / "below" / "store").startswith(f"{parent / 'theirs'} belongs to another user")
    assert list((parent / "target").iterdir()) == []


@pytest.mark.parametrize("target", ["unsafe/target", "../parent/unsafe/target", "other"])
def test_a_link_through_an_unsafe_directory_is_refused(parent: Path, target: str) -> None:
    (parent / "unsafe" / "target").mkdir(parents=True)
    (parent / "unsafe" / "back").symlink_to(parent)
    (parent / "other").symlink_to("unsafe/back/unsafe/target")
    (parent / "link").symlink_to(target)
    (parent / "unsafe").chmod(0o777)
    message = use(parent / "link" / "store")
    assert "unsafe is writable by other users" in message
    assert list((parent / "unsafe" / "target").iterdir()) == []


@pytest.mark.parametrize("target", ["nowhere", "link", "file"])
def test_a_link_that_leads_to_no_directory_is_an_error(parent: Path, target: str) -> None:
    (parent / "file").touch()
    (parent / "link").symlink_to(target)
    with pytest.raises(StoreError, match="link") as caught:
        with DirectoryStore(str(parent / "link" / "store")).lock(KEY, time.monotonic() + 10):
            pass
    assert caught.value.code == "StoreUnsafe"
