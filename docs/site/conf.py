# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sphinx configuration of the documentation site, which `make docs` builds."""

from __future__ import annotations

import re
import shutil
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from docutils import nodes
from sphinx.addnodes import index

if t.TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "wuying.workspace"
author = "The wuying.workspace authors"
project_copyright = f"2026 {author}"
GUIDES = Path(__file__).resolve().parents[1] / "docsite" / "rst"
ROOT = GUIDES.parents[2]
release = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
html_title = f"{project} {release}"
extensions = ["sphinx_antsibull_ext"]
antsibull_ext_color_scheme = "default-autodark"
default_role = "any"
highlight_language = "yaml+jinja"
nitpicky = True
html_theme = "furo"
pygments_style = "friendly"
pygments_dark_style = "github-dark"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_use_index = False
# antsibull-docs always writes these. The home page takes their place.
exclude_patterns = ["collections/environment_variables.rst", "collections/wuying/workspace/index.rst"]

# Generated pages link to these labels of Ansible's documentation. The build needs no network, so it loads no inventory.
ANSIBLE = "https://docs.ansible.com/ansible/latest/reference_appendices/"
ANSIBLE_LABELS = {
    "common_return_values": ANSIBLE + "common_return_values.html#common-return-values",
}
REPOSITORY = "https://github.com/wuying-workspace/wuying.workspace/blob/main/"
# Guides link to files of the repository, so that the links work on a code host. These files have a page on the site.
PAGES = {
    r"docs/docsite/rst/(\w+)\.rst": r"\1.html",
    r"plugins/modules/(\w+)\.py": r"../\1_module.html",
    r"plugins/lookup/(\w+)\.py": r"../\1_lookup.html",
    r"roles/(\w+)/README\.md": r"../\1_role.html",
    r"CHANGELOG\.md": "../changelog.html",
}


def resolve(
    _app: Sphinx, _env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Link a label of Ansible's documentation to its page."""
    address = ANSIBLE_LABELS.get(node["reftarget"])
    return address and nodes.reference("", content.astext(), refuri=address, internal=False)


def copy_pictures(app: Sphinx) -> None:
    """Copy the guides' pictures beside the generated pages, because antsibull-docs copies only text."""
    folder = Path(app.srcdir) / "collections/wuying/workspace/docsite"
    for picture in GUIDES.glob("*.svg"):
        shutil.copy2(picture, folder)


def name_changelog(_app: Sphinx, name: str, content: list[str]) -> None:
    """Replace the title of the changelog, in which antsibull-docs spells the name of the collection with capitals."""
    if name.endswith("/changelog"):
        content[0] = content[0].replace("Wuying.Workspace Release Notes", "Changelog")


def link_pages(app: Sphinx, document: nodes.document) -> None:
    """Turn a guide's links to files of the repository into links to pages of the site."""
    if "/docsite/" not in app.env.docname:
        return
    for reference in document.findall(nodes.reference):
        address = urlsplit(reference.get("refuri", ""))
        if address.path and not address.scheme:
            page = find_page(address.path)
            reference["refuri"] = f"{page}#{address.fragment}" if address.fragment else page
            reference["internal"] = not page.startswith(REPOSITORY)


def find_page(path: str) -> str:
    """Return the address of the page for a file, relative to a guide; files without a page are on the code host."""
    name = (GUIDES / path).resolve().relative_to(ROOT).as_posix()
    for pattern, page in PAGES.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(page)
    return REPOSITORY + name


def index_names(app: Sphinx, document: nodes.document) -> None:
    """Make the search lead to the row of a guide's table if a word is the name in the row's first cell."""
    if "/docsite/" not in app.env.docname:
        return
    seen = set()
    for row in document.findall(nodes.row):
        for name in list(row[0].findall(nodes.literal)):
            anchor = nodes.make_id(f"row-{name.astext()}")
            if anchor not in seen:
                seen.add(anchor)
                row["ids"].append(anchor)
                row[0].insert(0, index(entries=[("single", name.astext(), anchor, "main", None)]))


def mark_contents(app: Sphinx, document: nodes.document) -> None:
    """Give the tables of contents of generated pages the class with which the theme accepts them. They lead to the examples.

    The one of the changelog is removed, because the theme shows the same beside the page.
    """
    for topic in list(document.findall(nodes.topic)):
        if "contents" in topic["classes"]:
            topic["classes"].append("this-will-duplicate-information-and-it-is-still-useful-here")
            if app.env.docname.endswith("/changelog"):
                topic.parent.remove(topic)
                for title in document.findall(nodes.title):
                    title.attributes.pop("refid", None)  # the link back to it


def setup(app: Sphinx) -> None:
    """Connect the functions above to Sphinx's events."""
    app.connect("builder-inited", copy_pictures)
    app.connect("source-read", name_changelog)
    app.connect("missing-reference", resolve)
    app.connect("doctree-read", link_pages)
    app.connect("doctree-read", index_names)
    app.connect("doctree-read", mark_contents)
