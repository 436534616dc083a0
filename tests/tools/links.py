# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that every link between the pages of a site leads to an existing file and anchor."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit


class Page(HTMLParser):
    """The anchors and links of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors = {""}
        self.links: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the anchors and links of an element."""
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value or "")
            elif name in ("href", "src"):
                self.links.add(value or "")


def find_broken_links(site: Path) -> list[str]:
    """Return the broken links, each with the page that contains it."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    broken = []
    for path, page in pages.items():
        for link in sorted(page.links):
            url = urlsplit(urljoin(path.as_uri(), link))
            target = Path(unquote(url.path))
            missing_anchor = target in pages and unquote(url.fragment) not in pages[target].anchors
            if url.scheme == "file" and (missing_anchor or not target.is_file()):
                broken.append(f"{path.name}: {link}")
    return broken


if __name__ == "__main__":
    sys.exit("\n".join(find_broken_links(Path(sys.argv[1]))) or None)
