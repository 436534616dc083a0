# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables of faults in GUARANTEES.md name existing tests, and agree with the matrix of faults."""

from __future__ import annotations

import ast
import importlib
import re
import typing as t
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TESTS = ROOT / "tests"
PAGE = TESTS / "unit" / "GUARANTEES.md"
CASE = re.compile(r"`test_faults\[([^\]]+)\]`")
TEST = re.compile(r"`(test_\w+)`")
FOLDER = re.compile(r"`(tests/[\w/]+)`")


class Row(t.NamedTuple):
    """A row of the tables of faults."""

    fault: str
    sees: str
    tests: str


def read_rows() -> list[Row]:
    """Return the rows of all tables."""
    lines = re.findall(r"^\| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    return [Row(*line.split(" | ")) for line in lines if not line.startswith("Fault | ")]


def load_faults() -> dict[str, t.Any]:
    """Return the matrix of faults, from whichever folder its file is in."""
    (path,) = (TESTS / "unit/plugins").rglob("test_faults.py")
    parts = path.relative_to(ROOT).with_suffix("").parts
    module = importlib.import_module(".".join(("ansible_collections.wuying.workspace", *parts)))
    faults: dict[str, t.Any] = module.FAULTS
    return faults


def find_tests() -> set[str]:
    """Return the names of all test functions below tests."""
    return {
        node.name
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


ROWS = read_rows()
FAULTS = load_faults()
NAMES = find_tests()


def cases_of(tests: str) -> list[str]:
    """Return the rows of the matrix that the column of tests names."""
    patterns = CASE.findall(tests)
    return [name for name in FAULTS if any(fnmatchcase(name, pattern) for pattern in patterns)]


def test_there_are_no_fewer_than_135_rows_and_each_fault_has_one() -> None:
    assert len(ROWS) >= 135
    assert len({row.fault for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault[:60])
def test_a_row_names_only_existing_tests(row: Row) -> None:
    cases, tests, folders = (each.findall(row.tests) for each in (CASE, TEST, FOLDER))
    assert len(cases) + len(tests) + len(folders) == row.tests.count("`") / 2 > 0
    assert [pattern for pattern in cases if not cases_of(f"`test_faults[{pattern}]`")] == []
    assert [name for name in tests if name not in NAMES] == []
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


@pytest.mark.parametrize("row", [row for row in ROWS if CASE.search(row.tests)], ids=lambda row: row.fault[:60])
def test_a_row_agrees_with_the_matrix(row: Row) -> None:
    for name in cases_of(row.tests):
        fault = FAULTS[name]
        assert f"`{fault.code}`" in row.sees or row.sees.startswith("Its code")
        named = fault.refused == "names the token"
        assert ("fails" in row.sees) == named
        assert (", stored token" in row.sees, ", permanent" in row.sees) == (
            not named,
            not named and not fault.retryable,
        )
        assert ("outcome unknown" in row.sees) == fault.doubt
        assert ("session ends" in row.sees) == bool(fault.refused)


def test_every_row_of_the_matrix_is_on_the_page() -> None:
    assert {name for row in ROWS for name in cases_of(row.tests)} == set(FAULTS)
