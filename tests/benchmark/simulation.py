# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find with a simulation how many controllers a fleet needs, so that no token expires and the service throttles no request.

Usage: make simulation ARGS="--sessions N [OPTION ...]"

README.md explains the options and columns. The docstring of controller.py says what is simulated, and what is left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import sys
import typing as t

sys.path.insert(0, os.environ.get("ANSIBLE_COLLECTIONS_PATH", ""))

from ansible_collections.wuying.workspace.tests.benchmark.controller import Controller, Plan

VALIDITIES = 4
"""How many times the validity of a token to simulate."""
MOST = 256
"""The largest number of controllers to try."""
SHARE = 0.9
"""The share of the service's limit to use with max_qps, so that requests that arrive unevenly are not throttled."""
COMPARED = "sessions  parallel  measured per second  simulated per second  difference"
EMULATED: dict[str, t.Any] = {"latency": 0.0, "refresh_time": 0.00082, "service_time": 0.0002, "start_time": 0.25}
"""The options that fit two of the measured rates: 10,000 sessions with a max_parallel of 2 and of 8."""
MEASURED = {
    (1000, 8): 1148,
    (10_000, 2): 1115,
    (10_000, 4): 1591,
    (10_000, 8): 1730,
    (10_000, 16): 1711,
    (100_000, 8): 1565,
}
"""The rates of fleets in a directory that docs/docsite/rst/speed.rst once reported, by the number of sessions and max_parallel."""


class Result(t.NamedTuple):
    """The result of a plan."""

    longest_run: float
    """The duration of the longest run, in seconds."""
    lowest: float
    """The lowest remaining validity of any token, in seconds. The simulation ends when a token expires."""
    peak: float
    """The requests of the whole fleet in the busiest second."""
    throttled: int
    """The number of requests of one controller that were throttled."""

    is_enough: bool
    """Whether all tokens keep more validity than the reserve, and no request is throttled."""


def simulate(plan: Plan) -> Result:
    """Simulate the runs of a controller until a token expires, or for several times the validity of a token."""
    controller = Controller(plan)
    while controller.lowest > 0 and controller.now < VALIDITIES * plan.validity:
        controller.run()
        controller.lowest = min(controller.lowest, min(controller.expires_at) - controller.now)
        controller.now = plan.interval * (controller.now // plan.interval + 1)
    lowest = max(0.0, controller.lowest)
    peak = plan.controllers * max(controller.requests.values(), default=0)
    is_enough = lowest > plan.reserve and not controller.throttled
    return Result(controller.longest_run, lowest, peak, controller.throttled, is_enough)


def refresh_all(plan: Plan) -> float:
    """Return the seconds of one run in which all sessions are due."""
    controller = Controller(plan)
    controller.expires_at = [plan.margin] * controller.sessions
    controller.run(to_the_end=True)
    return controller.now


def compare_rates(plan: Plan, measured: float) -> str:
    """Return a line of :data:`COMPARED` about a run in which all sessions are due."""
    simulated = plan.sessions / refresh_all(plan)
    difference = simulated / measured - 1
    return f"{plan.sessions:8,} {plan.max_parallel:9} {measured:20,.0f} {simulated:20,.0f} {difference:+11.0%}"


def choose_limit(plan: Plan) -> tuple[Plan, Result]:
    """Simulate a plan, and if the service throttles it, the same with the max_qps that avoids this."""
    result = simulate(plan)
    if result.throttled and plan.max_qps == math.inf:
        plan = dataclasses.replace(plan, max_qps=float(f"{SHARE * plan.service_limit / plan.controllers:.3g}"))
        result = simulate(plan)
    return plan, result


def find_controllers(plan: Plan) -> list[tuple[Plan, Result]]:
    """Try numbers of controllers until the smallest that is enough is known. Return the results, fewest controllers first."""
    tried: dict[int, tuple[Plan, Result]] = {}

    def is_enough(controllers: int) -> bool:
        tried[controllers] = choose_limit(dataclasses.replace(plan, controllers=controllers))
        return tried[controllers][1].is_enough

    most = 1
    while not is_enough(most) and most < MOST:
        most *= 2
    least = most // 2
    while most - least > 1 and tried[most][1].is_enough:
        middle = (least + most) // 2
        if is_enough(middle):
            most = middle
        else:
            least = middle
    return [tried[controllers] for controllers in sorted(tried)]


def recommend(results: t.Sequence[tuple[Plan, Result]]) -> str:
    """Return the recommendation: the first plan that is enough."""
    plan, result = next((each for each in results if each[1].is_enough), results[-1])
    controllers = f"{plan.controllers:,} controller{'s' * (plan.controllers > 1)}"
    if result.is_enough:
        limit = "without max_qps" if plan.max_qps == math.inf else f"with max_qps: {plan.max_qps:g} on each"
        return f"Use {controllers} {limit}: no request is throttled, and all tokens stay valid for {result.lowest:.0f} s or more."
    problem = "tokens expire, or nearly" if result.lowest <= plan.reserve else "requests are throttled"
    return (
        f"No plan is enough: with {controllers}, {problem}. Increase refresh_before, max_parallel, the validity of tokens or "
        "the limit of the service, or shorten the interval."
    )


def main() -> None:
    """Print a table of plans, and the recommendation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for field in dataclasses.fields(Plan):
        default = None if field.name == "controllers" else field.default
        shown = "the smallest number that is enough" if default is None else default
        name = "--" + field.name.replace("_", "-")
        parser.add_argument(name, type=type(field.default), default=default, help=f"{field.metadata['help']} ({shown})")
    parser.add_argument("--check", action="store_true", help="compare the simulation with measured rates, and exit")
    options = vars(parser.parse_args())
    if options.pop("check"):
        print(COMPARED)
        for (sessions, parallel), rate in MEASURED.items():
            print(compare_rates(Plan(sessions=sessions, max_parallel=parallel, **EMULATED), rate))
        return
    try:
        if options["controllers"] is None:
            results = find_controllers(Plan(**{**options, "controllers": 1}))
        else:
            results = [choose_limit(Plan(**options))]
    except ValueError as error:
        parser.error(str(error))
    print("controllers  max_qps  longest run s  lowest validity s  peak a second  throttled")
    for plan, result in results:
        lowest = f"{result.lowest:.0f}" if result.lowest > 0 else "expired"
        limit = "none" if plan.max_qps == math.inf else f"{plan.max_qps:g}"
        throttled = "yes" if result.throttled else "no"
        longest = f"{'' if result.lowest > 0 else '>'}{result.longest_run:.0f}"
        print(f"{plan.controllers:11,} {limit:>8} {longest:>14} {lowest:>18} {result.peak:14,} {throttled:>10}")
    print(recommend(results))


if __name__ == "__main__":
    main()
