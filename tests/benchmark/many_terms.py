# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look up login tokens with Ansible's plugin loader, and print the seconds per term, by the number of terms."""

from __future__ import annotations

import json
import statistics
import sys
import time
import typing as t

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, lookup_loader
from ansible.template import Templar

TURNS = {1: 200, 100: 30, 10_000: 3}


def look_up(users: list[str], options: dict[str, t.Any]) -> dict[int, float]:
    """Return the median of the seconds per term, by the number of terms."""
    init_plugin_loader([])
    loader = DataLoader()

    def once(terms: list[str]) -> float:
        start = time.perf_counter()
        lookup = lookup_loader.get("wuying.workspace.wuying_login_token", loader=loader, templar=Templar(loader=loader))
        if len(lookup.run(terms, {}, **options)) != len(terms):
            sys.exit("The lookup did not return a token for each term.")
        return (time.perf_counter() - start) / len(terms)

    once(users[:1])
    return {
        terms: statistics.median(once(users[:terms]) for _turn in range(turns))
        for terms, turns in TURNS.items()
        if terms <= len(users)
    }


if __name__ == "__main__":
    print(json.dumps(look_up(**json.load(sys.stdin))))
