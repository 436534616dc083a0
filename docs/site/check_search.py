# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that the search of a site finds what operators look for. It reads the index as the search page in a browser does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.search import js_index
from sphinx.search.en import SearchEnglish

TROUBLESHOOTING = Path(__file__).resolve().parents[1] / "docsite/rst/troubleshooting.rst"
# For each query, a page that must be among the results.
QUERIES = {
    "install": "index",
    **dict.fromkeys(("leaked token", "migrate", "monitor", "revoke", "upgrade"), "troubleshooting"),
    "wuying_store": "wuying_login_token_lookup",
    "WUYING_TOKEN_STORE": "guide_settings",
}
# For each name, a page with a table that has a row for it. The search lists the row first.
ROWS = {
    **dict.fromkeys(re.findall(r"^   \* - ``([A-Z]\w+)``$", TROUBLESHOOTING.read_text("utf-8"), re.MULTILINE), "troubleshooting"),
    **dict.fromkeys(("max_qps", "store_key"), "guide_settings"),
}

with (Path(sys.argv[1]) / "searchindex.js").open(encoding="utf-8") as file:
    INDEX = js_index.load(file)
LANGUAGE = SearchEnglish({})


def find_pages(query: str) -> set[str]:
    """Return the names of the pages that contain all words of a query."""
    results = []
    for word in filter(LANGUAGE.word_filter, LANGUAGE.split(query.lower())):
        found = [INDEX[terms].get(LANGUAGE.stem(word), []) for terms in ("terms", "titleterms")]
        results.append({page for pages in found for page in (pages if isinstance(pages, list) else [pages])})
    return get_names(set.intersection(*results))


def find_rows(name: str) -> set[str]:
    """Return the names of the pages that have a row for a name."""
    return get_names({page for page, _row, _main in INDEX["indexentries"].get(name.lower(), [])})


def get_names(pages: set[int]) -> set[str]:
    """Return the names of pages, without their directories."""
    return {INDEX["docnames"][page].rpartition("/")[2] for page in pages}


missing = [f"{query}: {page}" for query, page in QUERIES.items() if page not in find_pages(query)]
missing += [f"row {name}: {page}" for name, page in ROWS.items() if page not in find_rows(name)]
sys.exit("\n".join(["The search does not find:", *missing]) if missing else None)
