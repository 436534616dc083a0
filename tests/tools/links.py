# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""See that every link between the pages of a site leads to a file, and to a place in it."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit


class Page(HTMLParser):
    """The places of a page, and where its links lead."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the identifiers and addresses of an element."""
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.places.add(value or "")
            elif name in ("href", "src"):
                self.links.add(value or "")


def find_dead_links(site: Path) -> list[str]:
    """Name each link that leads nowhere, with the page that has it."""
    pages = {path.resolve().as_uri(): Page(path) for path in sorted(site.rglob("*.html"))}
    dead = []
    for address, page in pages.items():
        for link in sorted(page.links):
            target, _hash, place = urljoin(address, link).partition("#")
            url = urlsplit(target)
            if url.scheme != "file":
                continue
            found = Path(unquote(url.path)).is_file()
            target = target.partition("?")[0]
            if not found or (
                place and target in pages and unquote(place) not in pages[target].places
            ):
                dead.append(f"{address.rsplit('/', 1)[1]}: {link}")
    return dead


if __name__ == "__main__":
    sys.exit("\n".join(find_dead_links(Path(sys.argv[1]))) or None)
