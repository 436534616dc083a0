# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Sphinx builds the documentation; `make docs` runs it."""

from __future__ import annotations

import typing as t

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
# The labels of Ansible's own documentation that generated pages point to. No inventory is fetched: the build needs no network.
ANSIBLE = "https://docs.ansible.com/ansible/latest/reference_appendices/"
ANSIBLE_LABELS = {
    "ansible_configuration_settings": ANSIBLE + "config.html#ansible-configuration-settings",
    "common_return_values": ANSIBLE + "common_return_values.html#common-return-values",
}


def resolve(
    _app: Sphinx, _env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Point a label of Ansible's to its page."""
    address = ANSIBLE_LABELS.get(node["reftarget"])
    return address and nodes.reference("", content.astext(), refuri=address, internal=False)


def drop_contents(_app: Sphinx, document: nodes.document) -> None:
    """Leave out the tables of contents of generated pages, since the theme shows one beside each page."""
    for topic in list(document.findall(nodes.topic)):
        if "contents" in topic["classes"]:
            topic.parent.remove(topic)
            for title in document.findall(nodes.title):
                title.attributes.pop("refid", None)  # the way back to it


def setup(app: Sphinx) -> None:
    """Take part in the build."""
    app.connect("missing-reference", resolve)
    app.connect("doctree-read", drop_contents)
