# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check the layout of the code: packages, the direction of imports, the length of files, and the tree in CONTRIBUTING."""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import graphlib
import pytest

PLUGINS = Path(__file__).parents[3] / "plugins"
UTILS = PLUGINS / "module_utils"
FILES = sorted(PLUGINS.rglob("*.py"))
CONTRIBUTING = PLUGINS.parent / "CONTRIBUTING.md"
PACKAGES = ("_plugin", "_keeper", "_service", "_store", "_redis", "_model", "_runtime")
DOCUMENTATION = {"DOCUMENTATION", "EXAMPLES", "RETURN"}
ALLOWED: dict[str, set[str]] = {
    "_runtime": set(),
    "_model": set(),
    "signer": {"_model"},
    "_store": {"_model", "_runtime"},
    "_redis": {"_store", "_model", "_runtime"},
    "_service": {"_model", "_runtime", "signer"},
    "_keeper": {"_store", "_service", "_model", "_runtime"},
    "_plugin": {"_keeper", "_store", "_redis", "_service", "_model", "_runtime", "signer"},
}
"""The packages, and which others each may import: plugin -> keeper -> store | service -> model."""
LIBRARIES = {
    "requests": {"_service"},
    "urllib3": {"_service"},
    "redis": {"_redis"},
    "cryptography": {"_store"},
    "alibabacloud_credentials": {"_plugin"},
    "concurrent": {"_keeper"},
    "multiprocessing": {"_keeper"},
}


def package_of(path: Path) -> str:
    """Return the package of a file of ``module_utils``; ``signer`` is one of its own."""
    return path.stem if path.parent == UTILS else path.parent.name


def imports_of(path: Path) -> t.Iterator[str]:
    """Yield the dotted names that a file imports, also in functions and for type hints; ours relative to ``plugins``."""
    here = path.relative_to(PLUGINS).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").replace("ansible_collections.wuying.workspace.plugins.", "")
            if node.level:
                module = ".".join((*here[: len(here) + 1 - node.level], module)).strip(".")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def own_imports(path: Path) -> set[Path]:
    """Return the files of this collection that a file imports."""
    candidates = (PLUGINS / (name.replace(".", "/") + ".py") for name in imports_of(path))
    return {candidate for candidate in candidates if candidate.is_file()}


def test_module_utils_holds_the_signer_and_the_packages() -> None:
    names = {path.name for path in UTILS.iterdir() if path.name != "__pycache__"}
    assert names == {"signer.py", *ALLOWED} - {"signer"}


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_a_package_imports_only_packages_below_it(package: str) -> None:
    files = [path for path in FILES if UTILS in path.parents and package_of(path) == package]
    imported = {package_of(found) for path in files for found in own_imports(path)}
    assert files
    assert imported - {package} <= ALLOWED[package]


def test_packages_have_at_most_five_levels() -> None:
    levels: dict[str, int] = {}
    for package in graphlib.TopologicalSorter(ALLOWED).static_order():
        levels[package] = 1 + max((levels[below] for below in ALLOWED[package]), default=0)
    assert max(levels.values()) <= 5


def test_files_do_not_import_each_other_in_a_circle() -> None:
    graph = {path: own_imports(path) for path in FILES}
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PLUGINS).with_suffix("")))
def test_a_file_has_at_most_250_lines_beside_its_documentation(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    documentation = sum(
        t.cast(int, node.end_lineno) - node.lineno
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and DOCUMENTATION.intersection(map(ast.unparse, node.targets))
    )
    assert len(text.splitlines()) - documentation <= 250


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_library_is_imported_by_one_package_only(library: str) -> None:
    importing = {
        package_of(path) for path in FILES if any(name.partition(".")[0] == library for name in imports_of(path))
    }
    assert importing == LIBRARIES[library]


def describe(path: Path) -> str:
    """Return a line of the tree: the name of a file, and the first line of its docstring without the full stop."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first, stop, _rest = docstring.partition("\n")[0].rpartition(".")
    assert stop, f"{path} does not begin with a sentence"
    return f"{path.name:19} {first}"


def test_the_tree_in_contributing_has_the_first_line_of_each_file() -> None:
    lines = ["plugins/module_utils/", f"  {describe(UTILS / 'signer.py')}"]
    for package in PACKAGES:
        lines += [f"  {package}/", *(f"    {describe(path)}" for path in sorted((UTILS / package).glob("*.py")))]
    assert set(PACKAGES) == set(ALLOWED) - {"signer"}
    assert "\n".join(lines) in CONTRIBUTING.read_text(encoding="utf-8")
