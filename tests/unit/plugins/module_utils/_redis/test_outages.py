# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that one thread at a time tries a server that failed."""

from __future__ import annotations

import threading
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._redis import outages
from ansible_collections.wuying.workspace.plugins.module_utils._redis.outages import Outages

ERROR = StoreError("The server failed.")


def in_another_thread(function: t.Callable[..., t.Any], *arguments: t.Any) -> t.Any:
    """Return the result of a function that another thread calls."""
    results: list[t.Any] = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)))
    thread.start()
    thread.join()
    return results[0]


@pytest.fixture(name="failed")
def fixture_failed() -> Outages:
    """Return outages of a server that failed for this thread."""
    failed = Outages()
    failed.add("a", ERROR)
    return failed


def test_only_the_thread_that_saw_the_failure_tries_again(failed: Outages) -> None:
    assert failed.check("a") is None
    assert in_another_thread(failed.check, "a") is ERROR
    assert failed.check("b") is None
    assert failed.error("b") is None


def test_a_later_failure_does_not_replace_the_thread(failed: Outages) -> None:
    later = StoreError("The server still fails.")
    in_another_thread(failed.add, "a", later)
    assert failed.check("a") is None
    assert failed.error("a") is later


def test_all_threads_use_a_server_that_works_again(failed: Outages) -> None:
    failed.remove("a")
    failed.remove("b")
    assert in_another_thread(failed.check, "a") is None
    assert failed.error("a") is None


def test_after_a_pause_another_thread_tries(failed: Outages, monkeypatch: pytest.MonkeyPatch) -> None:
    in_another_thread(failed.give_up)
    assert failed.check("a") is None
    failed.give_up()
    assert failed.check("a") is ERROR
    monkeypatch.setattr(outages, "_PAUSE", 0)
    assert in_another_thread(failed.check, "a") is None
    assert failed.check("a") is ERROR


def test_other_threads_wait_only_for_a_short_try(failed: Outages, monkeypatch: pytest.MonkeyPatch) -> None:
    assert failed.may_end_soon("a")
    assert failed.may_end_soon("b")
    monkeypatch.setattr(outages, "_PATIENCE", 0)
    assert not failed.may_end_soon("a")
    monkeypatch.undo()
    failed.give_up()
    assert not failed.may_end_soon("a")
