# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a term of the lookup costs among many."""

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.wuying.workspace.tests.benchmark import fleet, servers


def measure(folder: Path, most: int) -> dict[int, float]:
    """Print what looking up current tokens takes, in a process of its own; return the seconds a term takes, by the number of terms."""
    print("\nThe lookup, all current      ms a term   to a single term", flush=True)
    with servers.emulator(folder) as emulator, servers.directory(folder) as stock:
        users = servers.fill(emulator, stock, most, stale=False)
        options = {**emulator.options(), **servers.IDENTITY, "store": stock.store}
        output = fleet.run_script("many_terms.py", {"users": users, "options": options})
    costs = {int(terms): cost for terms, cost in json.loads(output).items()}
    for terms, cost in costs.items():
        print(f"{terms:20,} terms {1000 * cost:11.3f} {cost / costs[1]:18.2f}")
    return costs
