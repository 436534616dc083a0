# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The security page says what is so, and names only tests that there are."""

from __future__ import annotations

import ast
import re
import typing as t
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils._service.test_faults import (
    FAULTS,
)

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "docsite" / "rst" / "security.rst"
CASE = re.compile(r"``test_faults\.py\[([^\]]+)\]``")
TEST = re.compile(r"``(test_\w+\.py)::(test_\w+)``")
FOLDER = re.compile(r"``(tests/[\w/]+)``")


class Row(t.NamedTuple):
    """A row of the tables of faults."""

    fault: str
    sees: str
    tests: str


def read_rows() -> list[Row]:
    """Return the rows of all tables of faults."""
    text = PAGE.read_text(encoding="utf-8")
    faults = text.partition("\nFaults\n---")[2].partition("\nWhat is left to you\n---")[0]
    found = re.findall(
        r"^ {3}\* - (.+?)\n {5}- (.+?)\n {5}- (.+?)\n(?= {3}\*|\n)", faults, re.M | re.S
    )
    return [Row(*row) for row in found if row[0] != "Fault"]


ROWS = read_rows()
NAMES = {
    (path.name, node.name)
    for path in (ROOT / "tests").rglob("test_*.py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef)
}


def cases_of(row: Row) -> list[str]:
    """Return the rows of the matrix that a row names."""
    patterns = CASE.findall(row.tests)
    return [name for name in FAULTS if any(fnmatchcase(name, pattern) for pattern in patterns)]


def test_there_are_at_least_40_rows_and_each_fault_has_one() -> None:
    assert len(ROWS) >= 40
    assert len({row.fault for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault[:60])
def test_a_row_names_tests_and_only_those_that_there_are(row: Row) -> None:
    cases, tests, folders = (each.findall(row.tests) for each in (CASE, TEST, FOLDER))
    assert len(cases) + len(tests) + len(folders) == row.tests.count("``") / 2 > 0
    assert [
        pattern
        for pattern in cases
        if not cases_of(row._replace(tests=f"``test_faults.py[{pattern}]``"))
    ] == []
    assert [name for name in tests if name not in NAMES] == []
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


@pytest.mark.parametrize(
    "row", [row for row in ROWS if CASE.search(row.tests)], ids=lambda row: row.fault[:60]
)
def test_a_row_says_what_the_matrix_says(row: Row) -> None:
    for name in cases_of(row):
        fault = FAULTS[name]
        assert f"``{fault.code}``" in row.sees or row.sees.startswith("Its code")
        assert ("served" in row.sees, "fails" in row.sees) == (fault.retryable, not fault.retryable)
        assert ("in doubt" in row.sees) == fault.doubt
        assert ("the record ends" in row.sees) == fault.refused


def test_every_row_of_the_matrix_is_on_the_page() -> None:
    assert {name for row in ROWS for name in cases_of(row)} == set(FAULTS)
