# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the messages about a file system: each cause has its own advice."""

from __future__ import annotations

import errno
import fcntl
import os
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.plugins.module_utils._store.failures import explain
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    SingleSession,
)


def failing(code: int) -> t.Callable[..., t.NoReturn]:
    """Return a function that fails with this code."""

    def fail(*_arguments: object, **_options: object) -> t.NoReturn:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP], ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_named_and_nothing_is_sent(
    single_session: SingleSession, store_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    record = single_session.have("expired")
    monkeypatch.setattr(fcntl, "flock", failing(code))
    with pytest.raises(StoreError, match="does not support locks") as caught:
        single_session.request()
    assert caught.value.message.startswith(f"The store {store_path} cannot be used")
    assert "local disk, or a Redis store" in caught.value.message
    assert (caught.value.code, caught.value.retryable) == ("StoreUnavailable", False)
    assert single_session.requests() == 0
    assert single_session.stored().record == record


ADVICE = {
    errno.ENOSPC: ("Free space", False),
    errno.EDQUOT: ("Free space", False),
    errno.EMFILE: ("ulimit -n", True),
    errno.ENFILE: ("ulimit -n", True),
    errno.EFBIG: ("ulimit -f", False),
    errno.EROFS: ("for writing", False),
    errno.EIO: ("Check the disk", False),
    errno.ENAMETOOLONG: ("shorter path", False),
    errno.ESTALE: ("file server", True),
    errno.ENOTCONN: ("mounted", True),
    errno.ETIMEDOUT: ("file server", True),
    errno.EACCES: ("can write to", False),
    errno.EPERM: ("can write to", False),
    errno.ENOENT: ("can write to", False),
}


@pytest.mark.parametrize("code", ADVICE, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["open", "fstat", "listdir"])
def test_each_cause_has_its_advice(
    single_session: SingleSession, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    single_session.have("current")
    single_session.store.close()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(code))
        with pytest.raises(StoreError) as caught:
            with single_session.store.lock("0" * 64, time.monotonic() + 10):
                list(single_session.store.keys())
    advice, retryable = ADVICE[code]
    assert os.strerror(code) in caught.value.message
    assert advice in caught.value.message
    assert (caught.value.code, caught.value.retryable) == ("StoreUnavailable", retryable)


def test_the_message_names_the_file_that_failed(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path / "store"))
    with store.lock("0" * 64, time.monotonic() + 10):
        pass
    (tmp_path / "store" / f"{'0' * 64}.record").symlink_to("elsewhere")
    with pytest.raises(StoreError, match=f"store/{'0' * 64}.record is a symbolic link"):
        store.read("0" * 64)
    error = explain(OSError(errno.EACCES, os.strerror(errno.EACCES), "name"), "/srv/store")
    assert "(Permission denied: /srv/store/name)" in error.message
    assert "(Permission denied)" in explain(OSError(errno.EACCES, os.strerror(errno.EACCES), 7), "/srv/store").message


@pytest.mark.parametrize("kind", ["link", "file", "pipe"])
def test_something_else_in_place_of_the_store_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "store"
    if kind == "link":
        (tmp_path / "target").mkdir(mode=0o700)
        path.symlink_to("target")
    elif kind == "file":
        path.touch()
    else:
        os.mkfifo(path)
    expected = {"link": "a symbolic link", "file": "a file", "pipe": "a named pipe"}[kind]
    for act in ("read", "lock"):
        with pytest.raises(StoreError) as caught:
            store = DirectoryStore(str(path))
            if act == "read":
                store.read("0" * 64)
            else:
                with store.lock("0" * 64, time.monotonic() + 10):
                    pass
        assert caught.value.message.startswith(f"{path} is {expected}, but must be a directory. Set store to ")
        assert caught.value.code == "StoreUnsafe"
        assert ("the directory that it points to" in caught.value.message) == (kind == "link")
