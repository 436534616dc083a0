# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guides and the Markdown pages read well on a code host, which renders them with docutils alone."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import docutils.core
import pytest
from docutils import nodes

ROOT = Path(__file__).parents[3]
GUIDES = sorted((ROOT / "docs/docsite/rst").glob("*.rst"))
PAGES = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "roles").rglob("*.md"),
        *(ROOT / "tests/benchmark").rglob("*.md"),
        *(ROOT / "tests/unit").rglob("*.md"),
    )
    if path.name != "CHANGELOG.md"  # antsibull-changelog writes it
)
REPOSITORY = re.compile(r"https://github\.com/wuying-workspace/wuying\.workspace/(?:blob|tree)/main/")
BLOCK = re.compile(r"^( *)```.*?^\1```$", re.M | re.S)
SPAN = re.compile(r"`[^`\n]+`")
SETTINGS = {
    "_disable_config": True,
    "raw_enabled": False,
    "file_insertion_enabled": False,
    "report_level": 2,  # warnings
    "halt_level": 5,
    "warning_stream": False,  # the messages are in the document
    "syntax_highlight": "none",
}


def render(text: str, path: Path) -> nodes.document:
    """Return the document that docutils makes of a page."""
    document: nodes.document = docutils.core.publish_doctree(text, source_path=str(path), settings_overrides=SETTINGS)
    return document


def find_faults(text: str, path: Path) -> list[str]:
    """Return the markup that a code host does not render, and the dead links."""
    document = render(text, path)
    faults = [message.astext() for message in document.findall(nodes.system_message)]
    # Single backticks mean a title here, but a link on the site.
    faults += [f"`{node.astext()}`" for node in document.findall(nodes.title_reference)]
    addresses = [node["uri"] for node in document.findall(nodes.image)]
    addresses += [node["refuri"] for node in document.findall(nodes.reference) if "refuri" in node]
    return faults + [address for address in addresses if not leads_somewhere(address, path)]


def leads_somewhere(address: str, page: Path) -> bool:
    """Return True if an address is on another site, or is an existing file and anchor in this repository."""
    address = REPOSITORY.sub(str(ROOT) + "/", address)
    url = urlsplit(address)
    if url.scheme:
        return True
    target = page.parent / unquote(url.path) if url.path else page
    return target.exists() and (not url.fragment or url.fragment in find_places(target))


def find_places(page: Path) -> set[str]:
    """Return the anchors of a page."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".rst":
        return {identifier for section in render(text, page).findall(nodes.section) for identifier in section["ids"]}
    titles = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_is_plain_restructuredtext_whose_links_work(guide: Path) -> None:
    assert find_faults(guide.read_text(encoding="utf-8"), guide) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_of_a_page_work(page: Path) -> None:
    addresses = re.findall(r"\]\(([^)\s]+)\)", SPAN.sub("", BLOCK.sub("", page.read_text(encoding="utf-8"))))
    assert [address for address in addresses if not leads_somewhere(address, page)] == []


def test_there_are_guides_and_pages() -> None:
    assert len(GUIDES) >= 12
    assert {"README.md", "CONTRIBUTING.md", "SECURITY.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize(
    "text",
    [
        "See :ref:`the page on Redis <ansible_collections.wuying.workspace.docsite.guide_redis>`.",
        "Set :ansopt:`wuying.workspace.wuying_login_token#module:store`.",
        "See `guide_redis`.",
        "See `Redis <guide_rediss.rst>`__.",
        "See `Redis <guide_redis.rst#no-such-place>`__.",
        "See `the license <https://github.com/wuying-workspace/wuying.workspace/blob/main/LICENCE>`__.",
        ".. raw:: html\n\n    <svg></svg>",
        ".. ansible-option:: store\n\n    Where records are.",
        ".. image:: no_such_picture.svg",
        ".. include:: guide_redis.rst",
    ],
    ids=lambda text: text.splitlines()[0],
)
def test_faults_are_found_in_text_that_a_code_host_does_not_render(text: str) -> None:
    assert len(find_faults(text + "\n", GUIDES[0])) >= 1
