# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The troubleshooting page has a row for each error code of the plugins, and for each kind of code of the service."""

from __future__ import annotations

import ast
import re
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model import exceptions
from ansible_collections.wuying.workspace.plugins.module_utils._service import response

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/docsite/rst/troubleshooting.rst").read_text(encoding="utf-8")
WORDS = re.compile(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*")
# Texts of the same form in the plugins that are no error codes: stages, operations and parameters of the service, and names in Python.
NO_CODES = set(
    re.findall(
        r"\w+",
        """
    ADPassword ChangePassword KeepAliveVerify MFABind MFAVerify TokenVerify
    GetLoginToken RefreshLoginToken
    AccessKey AccessKeyId Action AuthenticationCode CurrentStage DirectoryId Format KeepAliveToken LoginToken Password
    SecurityToken SessionId Signature SignatureMethod SignatureNonce SignatureVersion Timestamp Uuid Version
    Answer Cluster Error Item PanicException Result
        """,
    )
)


def read_table(section: str) -> list[list[str]]:
    """Return the first column of the table in a section: the codes of each row."""
    text = PAGE.split(f"\n{section}\n---", 1)[1].split("\n\n.. list-table::", 1)[1]
    rows = re.findall(r"^   \* - (.+)\n     - .+", text.split("\n\n", 2)[1], re.M)
    return [re.findall(r"``([\w.]+)``", row) for row in rows][1:]


def find_texts() -> set[str]:
    """Return all texts in plugins and extensions that look like an error code."""
    return {
        node.value
        for folder in ("plugins", "extensions")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and WORDS.fullmatch(node.value)
    }


def find_meaning(code: str) -> t.Any:
    """Return the meaning of an error code of the service."""
    return next(meaning for pattern, meaning in response._TABLE if re.search(pattern, f"400 {code}", re.IGNORECASE))


ROWS = read_table("Error codes")
TEXTS = find_texts()
SERVICE_ROWS = read_table("Codes of the service")
# These are about responses without a code.
MEANINGS = {meaning for _pattern, meaning in response._TABLE} - {
    response._NO_TOKEN,
    response._REDIRECT,
    response._GATEWAY,
}


def test_each_code_of_the_plugins_has_one_row() -> None:
    assert sorted(code for row in ROWS for code in row) == sorted(TEXTS - NO_CODES)
    assert len(ROWS) > 35


def test_rows_are_sorted_and_complete() -> None:
    assert sorted(ROWS) == ROWS
    assert all(len(row) == 1 for row in ROWS)


def test_a_text_that_is_no_code_still_exists() -> None:
    assert sorted(NO_CODES - TEXTS) == []


def test_each_class_of_errors_has_a_row() -> None:
    classes = [each for each in vars(exceptions).values() if isinstance(each, type)]
    codes = {each.code for each in classes if issubclass(each, exceptions.WuyingError)}
    assert len(codes) > 10
    assert codes <= {code for row in ROWS for code in row}


@pytest.mark.parametrize("row", SERVICE_ROWS, ids=lambda row: row[0])
def test_the_codes_of_a_row_have_one_meaning(row: list[str]) -> None:
    assert len({find_meaning(code) for code in row}) == 1


def test_each_meaning_has_one_row() -> None:
    meanings = [find_meaning(row[0]) for row in SERVICE_ROWS]
    assert len(set(meanings)) == len(meanings)
    assert set(meanings) == MEANINGS


@pytest.mark.parametrize("word", ["revoke", "migrate", "monitor", "upgrade", "leaked token"])
def test_an_operator_finds_a_word(word: str) -> None:
    assert re.search(rf"\b{word}\b", PAGE, re.I)
