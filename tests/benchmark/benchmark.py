# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the collection: against Ansible's own modules, the official signers, and what HTTP allows one process at most.

Usage: python tests/benchmark/benchmark.py [--only SECTION ...] [--pairs N] [--rounds N] [--sizes N ...] [--write-docs]

README.md says what each line means. Needs Linux, ansible-core, the packages of requirements.txt and, for Redis, redis-server.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.environ.get("ANSIBLE_COLLECTIONS_PATH", ""))

from ansible_collections.wuying.workspace.tests.benchmark import (
    fleet,
    lookups,
    page,
    plot,
    signatures,
    tasks,
)

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = ("tasks", "plural", "fleet", "lookup", "signatures")
PAGE = ROOT / "docs/docsite/rst/speed.rst"


def main() -> None:
    """Print a table for each section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--pairs", type=int, default=10, help="how often pairs are run (10)")
    parser.add_argument("--rounds", type=int, default=3, help="how often a fleet is run (3)")
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=int,
        default=[100, 1000, 10_000, 100_000],
        help="how many sessions a fleet has; one of 100,000 or more is run once only",
    )
    parser.add_argument(
        "--write-docs", action="store_true", help="write the page of the documentation on speed"
    )
    asked = parser.parse_args()
    if asked.write_docs and not {"plural", "fleet", "lookup"} <= set(asked.only):
        parser.error("--write-docs needs the sections plural, fleet and lookup")
    (ROOT / "build").mkdir(exist_ok=True)  # on a real disk, where a temporary folder may be memory
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=ROOT / "build") as name:
        folder, most = Path(name), min(max(asked.sizes), 10_000)
        if "tasks" in asked.only:
            tasks.compare_tasks(folder, asked.pairs)
        rates = tasks.compare_plural(folder, asked.rounds, most) if "plural" in asked.only else []
        lines = fleet.measure(folder, asked.sizes, asked.rounds) if "fleet" in asked.only else []
        terms = lookups.measure(folder, most) if "lookup" in asked.only else {}
    if asked.write_docs:
        PAGE.write_text(page.write(lines, rates, terms), encoding="utf-8")
        PAGE.with_suffix(".svg").write_text(plot.draw(lines), encoding="utf-8")
        print(f"\n{PAGE.relative_to(ROOT)} was written.")
    if "signatures" in asked.only:
        signatures.compare(asked.pairs)


if __name__ == "__main__":
    main()
