# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for tests of the Redis store: real servers, and one whose replies a test can set."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    RedisServers,
    require_redis,
)

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fake_redis import FakeRedis


@pytest.fixture
def servers(tmp_path: Path) -> t.Iterator[RedisServers]:
    """Return a function that starts servers."""
    require_redis()
    started = RedisServers(tmp_path)
    yield started
    started.stop()


@pytest.fixture
def fake() -> t.Iterator[FakeRedis]:
    """Return a server whose replies a test can set."""
    require_redis()
    from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fake_redis import FakeRedis

    with FakeRedis() as server:
        yield server
        server.shutdown()
