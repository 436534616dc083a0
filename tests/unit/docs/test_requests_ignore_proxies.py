# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests to the emulator in playbooks, roles, guides and tests ignore the proxies of the environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for folder in ("docs", "playbooks", "roles", "tests/benchmark", "tests/integration", ".")
    for path in ((ROOT / folder).rglob("*.*") if folder != "." else ROOT.glob("*.md"))
    if path.suffix in (".md", ".rst", ".yml", ".py")
}
TASK = re.compile(r"^( *)(?:- )?ansible\.builtin\.uri:\n((?:\1 +.*\n|\n)*)", re.M)
COMMAND = re.compile(r"^.*\bcurl +-.*$", re.M)
OPENER = re.compile(r"\burllib\.request\.(?:urlopen|build_opener)\b.*")


def requests_in(text: str) -> list[str]:
    """Return the tasks, commands and Python calls that send a request."""
    tasks = [found[2] for found in TASK.finditer(text)]
    return [*tasks, *COMMAND.findall(text), *OPENER.findall(text)]


def ignores_proxies(request: str) -> bool:
    """Return True if a request ignores proxies and the configuration file of curl."""
    return any(each in request for each in ("use_proxy: false\n", "curl -qs --noproxy '*' ", "ProxyHandler({})"))


@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if requests_in(text)])
def test_every_request_ignores_proxies(name: str) -> None:
    assert [request for request in requests_in(TEXTS[name]) if not ignores_proxies(request)] == []


def test_the_requests_are_found() -> None:
    assert sum(len(requests_in(text)) for text in TEXTS.values()) >= 60
    assert {"README.md", "playbooks/demo.yml"} <= set(TEXTS)


@pytest.mark.parametrize(
    "text",
    [
        "- name: Read\n  ansible.builtin.uri:\n    url: x\n  register: y\n",
        "- name: Read\n  ansible.builtin.uri:\n    url: x\n\n- use_proxy: false\n",
        "    token=$(curl -s http://127.0.0.1:8700/)\n",
        "urllib.request.urlopen(request)\n",
        "urllib.request.build_opener()\n",
    ],
)
def test_a_request_that_uses_proxies_is_found(text: str) -> None:
    assert [ignores_proxies(request) for request in requests_in(text)] == [False]
