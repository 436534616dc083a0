# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for tests of keeper and stores."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import Fleet
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    SingleSession,
    session_at,
)

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.tests.unit.conftest import Emulator


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """Return the path of the store."""
    return tmp_path / "store"


@pytest.fixture
def single_session(emulator: Emulator, store_path: Path) -> SingleSession:
    """Return a session whose service still accepts a token after its refresh."""
    return SingleSession(DirectoryStore(str(store_path)), emulator, session_at(emulator.url))


@pytest.fixture
def rotating_session(start_emulator: t.Callable[..., Emulator], store_path: Path) -> SingleSession:
    """Return a session whose service rejects a token after its refresh."""
    emulator = start_emulator("--rotate")
    return SingleSession(DirectoryStore(str(store_path)), emulator, session_at(emulator.url))


@pytest.fixture
def fleet(emulator: Emulator, store_path: Path) -> Fleet:
    """Return sessions that are stored in a directory."""
    return Fleet(DirectoryStore(str(store_path)), emulator)


@pytest.fixture
def rotating(start_emulator: t.Callable[..., Emulator], store_path: Path) -> Fleet:
    """Return sessions whose service rejects a token after its refresh."""
    return Fleet(DirectoryStore(str(store_path)), start_emulator("--rotate"))
