# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the time per term of a lookup with many terms."""

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.wuying.workspace.tests.benchmark import fleet, servers


def measure(folder: Path, most: int) -> dict[int, float]:
    """Look up current tokens in a separate process; print and return the seconds per term, by the number of terms."""
    print("\nThe lookup, all current      ms a term   to a single term", flush=True)
    with servers.emulator(folder) as emulator, servers.directory(folder) as store:
        users = servers.fill(emulator, store, most, stale=False)
        options = {**emulator.options(), **servers.IDENTITY, "store": store.address}
        output = fleet.run_script("many_terms.py", {"users": users, "options": options})
    costs = {int(terms): cost for terms, cost in json.loads(output).items()}
    for terms, cost in costs.items():
        print(f"{terms:20,} terms {1000 * cost:11.3f} {cost / costs[1]:18.2f}")
    return costs
