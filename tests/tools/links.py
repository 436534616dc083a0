# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that every link between the pages of a site leads to an existing file and anchor."""

from __future__ import annotations

import re
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

pages = {
    path.resolve(): re.findall(r'\s(id|name|href|src)="([^"]*)"', path.read_text("utf-8"))
    for path in Path(sys.argv[1]).rglob("*.html")
}
anchors = {
    path: {"", *(unescape(value) for name, value in attributes if name in ("id", "name"))}
    for path, attributes in pages.items()
}
broken = set()
for path, attributes in pages.items():
    for link in (unescape(value) for name, value in attributes if name in ("href", "src")):
        url = urlsplit(urljoin(path.as_uri(), link))
        target = Path(unquote(url.path))
        no_anchor = target in anchors and unquote(url.fragment) not in anchors[target]
        if url.scheme == "file" and (no_anchor or not target.is_file()):
            broken.add(f"{path.name}: {link}")
sys.exit("\n".join(sorted(broken)) or None)
