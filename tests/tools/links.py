# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that every link between the pages of a site leads to an existing file and anchor, and that pages load nothing from other sites."""

from __future__ import annotations

import re
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

SITE = Path(sys.argv[1])
LOADED = re.compile(r"""<(?:link|script|img|iframe|use)\b[^>]*\s(?:href|src)=["']?((?:https?:)?//[^"'\s>]+)""")
LOADED_BY_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s;]+)""")

texts = {path.resolve(): path.read_text("utf-8") for path in SITE.rglob("*.html")}
pages = {path: re.findall(r'\s(id|name|href|src)="([^"]*)"', text) for path, text in texts.items()}
anchors = {
    path: {"", *(unescape(value) for name, value in attributes if name in ("id", "name"))}
    for path, attributes in pages.items()
}
faults = set()
for path, attributes in pages.items():
    for link in (unescape(value) for name, value in attributes if name in ("href", "src")):
        url = urlsplit(urljoin(path.as_uri(), link))
        target = Path(unquote(url.path))
        no_anchor = target in anchors and unquote(url.fragment) not in anchors[target]
        if url.scheme == "file" and (no_anchor or not target.is_file()):
            faults.add(f"{path.name}: {link}")
styles = {path: path.read_text("utf-8") for suffix in ("css", "svg") for path in SITE.rglob(f"*.{suffix}")}
for pattern, files in ((LOADED, texts), (LOADED_BY_STYLE, texts | styles)):
    for path, text in files.items():
        faults.update(f"{path.name} loads {address}" for address in pattern.findall(text))
sys.exit("\n".join(sorted(faults)) or None)
