# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the code is laid out: imports point one way, no file is long, and libraries are imported where they are used."""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import graphlib
import pytest

PLUGINS = Path(__file__).parents[3] / "plugins"
FILES = sorted(PLUGINS.rglob("*.py"))
DOCUMENTATION = {"DOCUMENTATION", "EXAMPLES", "RETURN"}
LIBRARIES = {
    "requests": {"_connections", "_transport"},
    "urllib3": {"_connections", "_transport"},
    "redis": {"_redis_client", "_redis_errors"},
    "cryptography": {"_seal"},
    "alibabacloud_credentials": {"_provider_chain"},
    "multiprocessing": {"_crew", "_shared"},
}


def imports_of(path: Path) -> t.Iterator[str]:
    """Yield what a file imports, inside of functions and for type hints too: of this collection the file's name alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            own = node.level or module.startswith("ansible_collections.wuying")
            if own and module.rpartition(".")[2] in ("", "module_utils"):
                yield from (alias.name for alias in node.names)
            else:
                yield module.rpartition(".")[2] if own else module


def test_imports_point_one_way() -> None:
    names = {path.stem for path in FILES if path.parent.name == "module_utils"}
    graph = {
        path.stem if path.stem in names else str(path): names.intersection(imports_of(path))
        for path in FILES
        if path.parent.name != "doc_fragments"
    }
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    place = {name: order.index(name) for name in names}
    for below, above in [
        ("signer", "_service"),
        ("_service", "_exchange"),
        ("_store", "_keeper"),
        ("_exchange", "_keeper"),
        ("_keeper", "_options"),
    ]:
        assert place[below] < place[above]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_file_is_longer_than_250_lines_but_for_its_documentation(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    documentation = sum(
        t.cast(int, node.end_lineno) - node.lineno
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        and DOCUMENTATION.intersection(map(ast.unparse, node.targets))
    )
    assert len(text.splitlines()) - documentation <= 250


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_library_is_imported_where_it_is_used_only(library: str) -> None:
    importing = {
        path.stem
        for path in FILES
        if any(name.partition(".")[0] == library for name in imports_of(path))
    }
    assert importing == LIBRARIES[library]


def test_private_files_say_so() -> None:
    private = [path for path in FILES if path.parent.name == "module_utils" and path.stem[0] == "_"]
    assert len(private) > 30
    assert [
        path.name for path in private if "**PRIVATE**" not in path.read_text(encoding="utf-8")
    ] == []
