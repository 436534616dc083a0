# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The simulation of a fleet behaves as its parts, its arithmetic and its measurements say."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.wuying.workspace.plugins.module_utils._keeper import workers
from ansible_collections.wuying.workspace.plugins.module_utils._service import rate_limit
from ansible_collections.wuying.workspace.tests.benchmark import calibration, page, simulation
from ansible_collections.wuying.workspace.tests.benchmark.controller import Controller, Limiter, Plan, count_processes

ROOT = Path(__file__).parents[3]
IDEAL = Plan(sessions=1000, latency=0, write_time=0, start_time=0, read_time=0, refresh_time=0.001)
"""Only refreshes take time."""
SLOW = Plan(sessions=2000, validity=90, refresh_before=30, interval=20, reserve=0)
"""Tokens expire soon, so that a small fleet needs several controllers."""
LIMITED = dataclasses.replace(SLOW, sessions=600, max_parallel=64, service_limit=100)


def test_the_limiter_allows_the_same_times_as_that_of_the_service_client(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]

    def sleep(seconds: float) -> bool:
        clock[0] += seconds
        return True

    monkeypatch.setattr(rate_limit, "time", t.cast(t.Any, type("Clock", (), {"monotonic": lambda: clock[0]})))
    monkeypatch.setattr(rate_limit, "sleep_unless_signalled", sleep)
    rng = random.Random(5)
    for max_qps in (math.inf, 40.0, 0.5):
        real, simulated = rate_limit.RateLimiters(max_qps).of("https://e"), Limiter(max_qps)
        for _request in range(300):
            now = clock[0]
            assert real.acquire(math.inf)
            assert simulated.acquire(now) == pytest.approx(clock[0])
            if rng.random() < 0.3:
                wait = rng.uniform(0, 2)
                real.slow_down(wait)
                simulated.slow_down(clock[0], wait)
            else:
                real.speed_up()
                simulated.speed_up()
            clock[0] += rng.expovariate(20)


@pytest.mark.parametrize("processors", [1, 2, 8])
def test_a_task_uses_as_many_processes_as_the_module(monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(processors)))
    for parallel in (1, 2, 4, 8, 64):
        for items in (0, 99, 100, 250, 10_000):
            plan = Plan(processors=processors, max_parallel=parallel)
            assert count_processes(plan, items) == workers.count_processes(items, parallel)
            assert count_processes(dataclasses.replace(plan, max_qps=50), items) == 1


@pytest.mark.parametrize(("parallel", "seconds"), [(1, 1.0), (2, 1.0), (4, 0.5), (8, 0.5)])
def test_without_latency_a_run_takes_the_processor_time(parallel: int, seconds: float) -> None:
    plan = dataclasses.replace(IDEAL, max_parallel=parallel)
    assert simulation.refresh_all(plan) == pytest.approx(seconds, rel=0.02)


def test_a_slow_run_is_simulated_to_its_end() -> None:
    plan = dataclasses.replace(IDEAL, sessions=1000, max_qps=1, deadline=10_000)
    assert simulation.refresh_all(plan) == pytest.approx(1000, rel=0.01)


def test_an_emulator_on_the_controller_uses_its_processors() -> None:
    plan = dataclasses.replace(IDEAL, service_time=0.0005)
    assert simulation.refresh_all(plan) == pytest.approx(0.75, rel=0.02)


@pytest.mark.parametrize("parallel", [1, 8, 16])
def test_parallel_refreshes_wait_for_the_service_at_the_same_time(parallel: int) -> None:
    plan = Plan(sessions=96, max_parallel=parallel, latency=1, latency_p99=1, start_time=0)
    assert simulation.refresh_all(plan) == pytest.approx(96 / parallel, rel=0.02)


def test_the_threads_of_a_process_wait_at_the_end_of_each_chunk() -> None:
    in_chunks = Plan(sessions=3000, max_parallel=16, processors=7, latency=0.1, latency_p99=2)
    in_one_process = dataclasses.replace(in_chunks, max_qps=1e9)
    assert simulation.refresh_all(in_chunks) > 1.05 * simulation.refresh_all(in_one_process)


def test_each_primary_serves_the_writes_of_all_controllers_in_turn() -> None:
    plan = dataclasses.replace(IDEAL, max_parallel=64, write_time=0.01, refresh_time=0)
    assert simulation.refresh_all(dataclasses.replace(plan, primaries=1)) == pytest.approx(20, rel=0.05)
    assert simulation.refresh_all(dataclasses.replace(plan, primaries=4)) == pytest.approx(5, rel=0.05)
    shared = dataclasses.replace(plan, primaries=4, controllers=2)
    assert simulation.refresh_all(shared) == pytest.approx(5, rel=0.05)
    assert simulation.refresh_all(plan) == pytest.approx(1000 * 0.02 / 64, rel=0.1)


def test_in_redis_each_controller_reads_the_sessions_of_all() -> None:
    plan = dataclasses.replace(IDEAL, controllers=10, read_time=0.01, refresh_time=0)
    assert simulation.refresh_all(plan) == pytest.approx(1)
    assert simulation.refresh_all(dataclasses.replace(plan, primaries=1)) == pytest.approx(10)


@pytest.mark.parametrize("max_qps", [0.7, 10, 55.5])
def test_the_rate_never_exceeds_max_qps(max_qps: float) -> None:
    plan = dataclasses.replace(IDEAL, sessions=200, max_qps=max_qps, deadline=10_000)
    assert simulation.refresh_all(plan) >= (plan.sessions - 1) / max_qps
    assert simulation.simulate(dataclasses.replace(plan, validity=2000)).peak <= math.floor(max_qps) + 1


def test_the_result_depends_on_the_seed_only() -> None:
    first = simulation.simulate(SLOW)
    assert simulation.simulate(SLOW) == first
    assert simulation.simulate(dataclasses.replace(SLOW, seed=2)) != first


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    plan=st.builds(
        Plan,
        sessions=st.integers(1, 600),
        max_parallel=st.integers(1, 16),
        validity=st.just(90.0),
        refresh_before=st.sampled_from([30.0, 45.0]),
        interval=st.sampled_from([10.0, 20.0, 25.0]),
        latency=st.just(0.1),
        latency_p99=st.just(0.1),
        spread=st.sampled_from([0.0, 20.0]),
        primaries=st.sampled_from([0, 1, 3]),
        write_time=st.sampled_from([0.0002, 0.005]),
    ),
    more=st.integers(2, 5),
)
def test_more_controllers_never_make_the_lowest_validity_worse(plan: Plan, more: int) -> None:
    one, several = (simulation.simulate(dataclasses.replace(plan, controllers=number)) for number in (1, more))
    assert several.lowest >= one.lowest - 0.5


def test_the_fewest_controllers_are_found() -> None:
    results = simulation.find_controllers(SLOW)
    enough = [plan.controllers for plan, result in results if result.is_enough]
    assert enough[0] > 2
    assert not simulation.simulate(dataclasses.replace(SLOW, controllers=enough[0] - 1)).is_enough
    assert [plan.controllers for plan, _result in results] == sorted(plan.controllers for plan, _result in results)
    assert simulation.recommend(results).startswith(f"Use {enough[0]} controllers without max_qps:")


def test_a_limit_below_the_need_lets_tokens_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "MOST", 8)
    # At least 600 requests in the 60 seconds after which tokens are due again.
    results = simulation.find_controllers(dataclasses.replace(LIMITED, service_limit=8))
    assert [(plan.controllers, result.lowest) for plan, result in results] == [(1, 0), (2, 0), (4, 0), (8, 0)]
    assert simulation.recommend(results).startswith("No plan is enough: with 8 controllers, tokens expire, or nearly.")


def test_max_qps_is_recommended_if_the_service_would_throttle() -> None:
    assert simulation.simulate(LIMITED).throttled
    plan, result = simulation.choose_limit(LIMITED)
    assert (plan.max_qps, result.is_enough) == (90, True)
    assert simulation.recommend([(plan, result)]).startswith("Use 1 controller with max_qps: 90 on each:")
    assert simulation.choose_limit(dataclasses.replace(LIMITED, service_limit=5000))[0].max_qps == math.inf


def test_a_throttled_task_slows_down_to_the_limit() -> None:
    controller = Controller(dataclasses.replace(LIMITED, sessions=2000, service_limit=50))
    controller.expires_at = [30.0] * 2000
    controller.run()
    assert 0 < controller.throttled < 400
    assert sum(controller.requests.values()) > 1000
    assert all(count <= 100 for second, count in controller.requests.items() if second > 3)


def test_sessions_that_a_run_does_not_begin_before_its_deadline_are_due_in_the_next_one() -> None:
    plan = dataclasses.replace(IDEAL, sessions=5000, refresh_time=0.01, deadline=5, validity=900)
    controller = Controller(plan)
    controller.expires_at = [300.0] * 5000
    controller.run()
    assert controller.now == pytest.approx(5, abs=0.2)
    assert controller.expires_at.count(300.0) == pytest.approx(4000, abs=50)


@pytest.mark.parametrize("name", ["sessions", "controllers", "max_parallel", "service_limit", "interval"])
def test_an_impossible_number_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        Plan(**{name: 0})


def test_the_command_prints_a_table_and_a_recommendation() -> None:
    run = run_command("--sessions", "1000", "--spread", "inf", "--primaries", "3")
    assert run.stdout.splitlines()[0].split()[:2] == ["controllers", "max_qps"]
    assert run.stdout.splitlines()[1].split()[:2] == ["1", "none"]
    assert run.stdout.splitlines()[2].startswith("Use 1 controller without max_qps: no request is throttled")
    assert run_command("--sessions", "1000", "--controllers", "7").stdout.splitlines()[1].split()[0] == "7"
    assert "--latency-p99" in run_command("--help").stdout
    refused = run_command("--latency", "2")
    assert (refused.returncode, "latency_p99 must be at least latency" in refused.stderr) == (2, True)


def test_the_simulation_is_close_to_measured_rates() -> None:
    lines = run_command("--check").stdout.splitlines()
    assert len(lines) == 1 + len(simulation.MEASURED)
    for line in lines[1:]:
        assert abs(int(line.split()[-1].rstrip("%"))) <= 15


def test_the_costs_of_a_fleet_explain_its_duration() -> None:
    costs = calibration.Costs(empty=0.1, current=0.6, stale=14.6, used=8, emulator=2)
    plan = dataclasses.replace(calibration.derive_plan(costs, 10_000), max_parallel=1)
    assert (plan.refresh_time, plan.service_time, plan.write_time) == pytest.approx((0.0008, 0.0002, 0.0002))
    assert simulation.refresh_all(plan) == pytest.approx(costs.stale)


def test_the_page_shows_the_results_of_the_simulation() -> None:
    text = (ROOT / "docs/docsite/rst/speed.rst").read_text(encoding="utf-8")
    small = page.controllers([10_000])
    assert small.removesuffix(page.ADVICE) in text
    assert page.ADVICE in text


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the simulation as a command."""
    variables = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(Path(simulation.__file__).parents[5])}
    command = (sys.executable, str(ROOT / "tests/benchmark/simulation.py"), *arguments)
    return subprocess.run(command, check=False, capture_output=True, text=True, env=variables)
