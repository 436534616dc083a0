# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the speed of the collection, compared with Ansible's modules, the official signers and plain HTTP requests.

Usage: python tests/benchmark/benchmark.py [--only SECTION ...] [--pairs N] [--rounds N] [--sizes N ...] [--write-docs]

README.md explains each section and column. Needs Linux, ansible-core, the packages of requirements.txt and, for Redis, redis-server.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.environ.get("ANSIBLE_COLLECTIONS_PATH", ""))

from ansible_collections.wuying.workspace.tests.benchmark import (
    calibration,
    fleet,
    logins,
    lookups,
    page,
    plot,
    signatures,
    tasks,
)

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = ("tasks", "plural", "fleet", "logins", "lookup", "simulation", "signatures")
PAGE = ROOT / "docs/docsite/rst/speed.rst"


def main() -> None:
    """Print a table for each section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--pairs", type=int, default=10, help="repetitions of each pair (10)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each fleet (3)")
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=int,
        default=[100, 1000, 10_000, 100_000],
        help="numbers of sessions in a fleet; 100,000 or more are measured once",
    )
    parser.add_argument("--write-docs", action="store_true", help="write the documentation page about speed")
    options = parser.parse_args()
    if options.write_docs and not {"plural", "fleet", "logins", "lookup"} <= set(options.only):
        parser.error("--write-docs needs the sections plural, fleet, logins and lookup")
    # The stores must be on a real disk, but a temporary folder can be in memory.
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=ROOT / "build") as name:
        folder, most = Path(name), min(max(options.sizes), 10_000)
        if "tasks" in options.only:
            tasks.compare_tasks(folder, options.pairs)
        rates = tasks.compare_plural(folder, options.rounds, most) if "plural" in options.only else []
        lines = fleet.measure(folder, options.sizes, options.rounds) if "fleet" in options.only else []
        heals = logins.measure(folder, most, options.rounds) if "logins" in options.only else []
        if "simulation" in options.only:
            calibration.measure(folder, most, options.rounds)
        terms = lookups.measure(folder, most) if "lookup" in options.only else {}
    if options.write_docs:
        PAGE.write_text(page.write(lines, heals, rates, terms), encoding="utf-8")
        PAGE.with_suffix(".svg").write_text(plot.draw(lines), encoding="utf-8")
        print(f"\nWrote {PAGE.relative_to(ROOT)}.")
    if "signatures" in options.only:
        signatures.compare(options.pairs)


if __name__ == "__main__":
    main()
