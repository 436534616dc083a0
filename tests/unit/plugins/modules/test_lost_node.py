# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules for many sessions, with a Redis Cluster that has lost one of its nodes."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from ansible_collections.wuying.workspace.plugins.modules import (
    wuying_login_token_info,
    wuying_login_tokens,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fake_redis import (
    open_store,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fleet import STALE, Fleet
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    RedisServers,
    require_redis,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.modules.module_setup import (
    ModuleRunner,
    options_for,
)

NAMES = [f"user-{number:03}" for number in range(60)]
DEADLINE = 6


class Cluster:
    """A cluster of three nodes with stale sessions, and how many of them one of the nodes has."""

    def __init__(self, emulator, folder):
        self.emulator = emulator
        self.servers = RedisServers(folder)
        self.nodes = self.servers.cluster()
        for node in self.nodes:
            node.client().config_set("cluster-require-full-coverage", "no")
        self.address = f"redis+cluster://127.0.0.1:{self.nodes[0].port}"
        self.fleet = Fleet(open_store(self.address, 60), emulator)
        self.fleet.have(dict.fromkeys(NAMES, STALE))
        self.lost, self.others = self.nodes[1], (self.nodes[0], self.nodes[2])
        self.name = f"127.0.0.1:{self.lost.port}"
        self.lost_count = len(self.lost.client().keys("wuying.workspace:*}"))
        assert 0 < self.lost_count < len(NAMES)

    def wait_until_down(self):
        """Wait until the other nodes know that the node is down."""
        end = time.monotonic() + 30
        while not all("fail" in str(node.client().cluster("nodes")) for node in self.others):
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.fixture(name="cluster")
def fixture_cluster(emulator, tmp_path):
    """Return a cluster."""
    require_redis()
    started = Cluster(emulator, tmp_path)
    yield started
    started.lost.resume()
    started.fleet.store.close()
    started.servers.stop()


@pytest.fixture(name="run")
def fixture_run(cluster, monkeypatch, capfd):
    """Return a function that runs a module with the cluster, and asserts that it ends in time."""

    def run(module, **options):
        defaults = {**options_for(cluster.emulator, cluster.address), "deadline": DEADLINE}
        begun = time.monotonic()
        result = ModuleRunner(module, defaults, monkeypatch, capfd).run(**options)
        assert time.monotonic() - begun < options.get("deadline", DEADLINE) + 2
        return result

    return run


@pytest.fixture(name="lose", params=["killed", "hanging"])
def fixture_lose(request, cluster):
    """Return a function that makes a node fail."""

    def lose():
        if request.param == "hanging":
            cluster.lost.pause()
        else:
            cluster.lost.kill()
            cluster.wait_until_down()

    return lose


def assert_names_the_node(cluster, entry):
    """Check that an entry is the error of the lost node."""
    assert entry["error_code"] == "StoreUnavailable"
    assert entry["msg"].startswith(f"The Redis server {cluster.name} ")


def test_stored_sessions_of_other_nodes_are_refreshed(cluster, lose, run):
    lose()
    result = run(wuying_login_tokens, results="all")
    rest = len(NAMES) - cluster.lost_count
    assert (result["counts"]["refreshed"], result["counts"]["failed"]) == (rest, 1)
    (failed,) = (entry for entry in result["sessions"] if entry["failed"])
    assert "key" not in failed and "session" not in failed
    assert failed["retryable"] is True
    assert_names_the_node(cluster, failed)
    assert cluster.name in result["msg"]
    assert len(cluster.fleet.users()) == rest


def test_requested_sessions_of_other_nodes_are_refreshed(cluster, lose, run):
    lose()
    identity = {name: value for name, value in cluster.fleet.session("").identity().items() if name != "end_user_id"}
    result = run(wuying_login_tokens, results="all", sessions=[{**identity, "end_user_id": name} for name in NAMES])
    assert result["counts"]["refreshed"] == len(NAMES) - cluster.lost_count
    failed = [entry for entry in result["sessions"] if entry["failed"]]
    assert len(failed) == cluster.lost_count
    for entry in failed:
        assert entry["session"]["end_user_id"] in NAMES
        assert_names_the_node(cluster, entry)


@pytest.mark.parametrize("filters", [None, {"end_user_id": NAMES[:30]}])
def test_sessions_of_other_nodes_are_listed(cluster, lose, run, filters):
    lose()
    result = run(wuying_login_token_info, filters=filters)
    *listed, lost = result["sessions"]
    assert {entry["state"] for entry in listed} == {"stale"}
    names = {entry["session"]["end_user_id"] for entry in listed}
    assert names <= set(NAMES[:30] if filters else NAMES)
    if not filters:
        assert len(names) == len(NAMES) - cluster.lost_count
    assert sorted(lost) == ["error_code", "msg", "state"]
    assert lost["state"] == "unreachable"
    assert_names_the_node(cluster, lost)
    assert result["counts"] == {**dict.fromkeys(result["counts"], 0), "stale": len(listed), "unreachable": 1}


def later(cluster, *steps):
    """Take steps in another thread when the service has received a few requests, each a second after the one before."""

    def run():
        end = time.monotonic() + 60
        while cluster.fleet.requests() < 8 and time.monotonic() < end:
            time.sleep(0.02)
        for number, step in enumerate(steps):
            time.sleep(bool(number))
            with contextlib.suppress(Exception):
                step()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("how", ["killed", "hanging", "busy"])
def test_a_node_that_is_lost_during_a_run_does_not_hold_up_the_others(cluster, run, how):
    client = cluster.lost.client()
    client.config_set("lua-time-limit", 100)
    act = {"killed": cluster.lost.kill, "hanging": cluster.lost.pause}
    later(cluster, act.get(how, lambda: client.eval("while true do end", 0)))
    result = run(wuying_login_tokens, results="all", max_qps=20, deadline=15)
    failed = [entry for entry in result["sessions"] if entry["failed"]]
    rest = len(NAMES) - cluster.lost_count
    assert result["counts"]["refreshed"] >= rest
    assert 0 < len(failed) <= cluster.lost_count
    for entry in failed:
        assert entry["error_code"] in ("StoreUnavailable", "NotKept")
        assert cluster.name in entry["msg"]


def test_sessions_of_a_node_that_recovers_are_refreshed(cluster, run):
    thread = later(cluster, cluster.lost.pause, lambda: None, cluster.lost.resume)
    result = run(wuying_login_tokens, max_qps=20, deadline=60)
    thread.join()
    assert result["counts"]["refreshed"] == len(NAMES)


def test_a_cluster_without_any_node_fails_as_a_whole(cluster, run):
    for node in cluster.nodes:
        node.kill()
    for module in (wuying_login_tokens, wuying_login_token_info):
        result = run(module)
        assert result["failed"] and "sessions" not in result
        assert (result["error_code"], result["retryable"]) == ("StoreUnavailable", True)
