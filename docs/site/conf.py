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

from docutils import nodes

if t.TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "wuying.workspace"
author = "The wuying.workspace authors"
project_copyright = f"2026 {author}"
html_title = project
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

# Generated pages link to these labels of Ansible's documentation. The build needs no network, so it loads no inventory.
ANSIBLE = "https://docs.ansible.com/ansible/latest/reference_appendices/"
ANSIBLE_LABELS = {
    "ansible_configuration_settings": ANSIBLE + "config.html#ansible-configuration-settings",
    "common_return_values": ANSIBLE + "common_return_values.html#common-return-values",
}
GUIDES = Path(__file__).resolve().parents[1] / "docsite" / "rst"
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
    name = (GUIDES / path).resolve().relative_to(GUIDES.parents[2]).as_posix()
    for pattern, page in PAGES.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(page)
    return REPOSITORY + name


def drop_contents(_app: Sphinx, document: nodes.document) -> None:
    """Remove the tables of contents of generated pages, because the theme shows one beside each page."""
    for topic in list(document.findall(nodes.topic)):
        if "contents" in topic["classes"]:
            topic.parent.remove(topic)
            for title in document.findall(nodes.title):
                title.attributes.pop("refid", None)  # the link back to it


def setup(app: Sphinx) -> None:
    """Connect the functions above to Sphinx's events."""
    app.connect("builder-inited", copy_pictures)
    app.connect("missing-reference", resolve)
    app.connect("doctree-read", link_pages)
    app.connect("doctree-read", drop_contents)
