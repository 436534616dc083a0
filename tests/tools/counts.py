# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many tests had which end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from .environments import say


class Count(NamedTuple):
    """How many tests had which end."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def plus(self, other: Count) -> Count:
        """Add up, name by name."""
        return Count(*map(sum, zip(self, other, strict=True)))

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def settle(stage: str, count: Count, succeeded: bool) -> Count:
    """Make sure that a tool which broke off, or which ran nothing, counts as a failure."""
    if not succeeded and not count.failed:
        say(f"{stage} failed, but not in a test: see above.")
        return count.plus(Count(failed=1))
    if not count.passed and not count.failed:
        say(f"{stage} ran no test.")
        return count.plus(Count(failed=1))
    return count


def count_junit(files: Iterable[Path]) -> Count:
    """Add up JUnit files."""
    count = Count()
    for file in files:
        for case in ElementTree.parse(file).iter("testcase"):
            failed = case.find("failure") is not None or case.find("error") is not None
            skipped = not failed and case.find("skipped") is not None
            count = count.plus(Count(not (failed or skipped), failed, skipped))
    return count


def skip_reason(file: Path) -> str:
    """Say why the one test of a JUnit file did not run; empty where it did."""
    skipped = ElementTree.parse(file).find(".//skipped")
    return "" if skipped is None else skipped.text or "no reason given"
