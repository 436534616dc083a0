# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure tasks and lookups, compared with Ansible's modules."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.wuying.workspace.tests.benchmark import servers

SESSION = {**servers.IDENTITY, "end_user_id": "alice"}
ITEMS = 20
LOOKUPS = 1000
MODULE = "wuying.workspace.wuying_login_token"


class Cost(t.NamedTuple):
    """The wall-clock time and processor time of a command in seconds."""

    wall: float
    processor: float


class Rate(t.NamedTuple):
    """Sessions per second of a playbook, and the ratios to the two loops."""

    name: str
    rate: float
    to_uri: float
    to_loop: float

    def __str__(self) -> str:
        return f"{self.name:60} {self.rate:6.1f} {self.to_uri:7.1f} {self.to_loop:12.1f}"


def compare_tasks(folder: Path, pairs: int) -> None:
    """Print the ratios of tasks and lookups to Ansible's modules."""
    with servers.emulator(folder) as emulator:
        playbooks = write_playbooks(folder, emulator)
        print(f"{'median of the ratios of ' + str(pairs) + ' pairs':62} wall  processor")
        for title, ours, theirs, expected in playbooks:
            before = emulator.exchanges()
            compare(title, pairs, ours, theirs)
            if emulator.exchanges() - before != expected * (pairs + 1):
                sys.exit(f"The service did not receive {expected} requests for each pair of: {title}")


def compare_plural(folder: Path, rounds: int, sessions: int) -> list[Rate]:
    """Print and return the sessions per second of one task and of loops of tasks."""
    rates: list[tuple[float, float, float]] = []
    for _turn in range(rounds):
        with servers.emulator(folder) as emulator, servers.directory(folder) as store:
            token = emulator.issue([SESSION["end_user_id"]])[0]
            options = {**emulator.options(), "store": store.address}
            first = {**options, **SESSION, "login_token": token, "return_token": False}
            play(write(folder / "first.yml", MODULE, first))
            uri = play(write_uri(folder, emulator.url, token))
            force = {**options, **SESSION, "force": True, "return_token": False}
            loop = play(write(folder / "force.yml", MODULE, force, ITEMS))
            servers.fill(emulator, store, sessions)
            before = emulator.exchanges()
            one = play(write(folder / "plural.yml", f"{MODULE}s", options))
            if emulator.exchanges() - before != sessions:
                sys.exit("The task for many sessions did not refresh each stale session once.")
            rates.append((ITEMS / uri.wall, ITEMS / loop.wall, sessions / one.wall))
    print(f"\n{'sessions a second, each as a run of ansible-playbook':62} rate  to uri  to its loop")
    names = (
        f"ansible.builtin.uri, {ITEMS} items",
        f"wuying_login_token, {ITEMS} items",
        f"wuying_login_tokens, one task, {sessions:,} stale sessions",
    )
    compared = [
        Rate(name, *(statistics.median(values) for values in zip(*ratios, strict=True)))
        for name, ratios in zip(
            names,
            (
                [(each[place], each[place] / each[0], each[place] / each[1]) for each in rates]
                for place in range(len(names))
            ),
            strict=True,
        )
    ]
    print(*compared, sep="\n", flush=True)
    return compared


def compare(title: str, pairs: int, ours: Path, theirs: Path) -> None:
    """Run two playbooks alternately and print the ratios of their times."""
    play(ours)
    play(theirs)
    costs = [(play(ours), play(theirs)) for _turn in range(pairs)]
    wall = statistics.median(mine.wall / other.wall for mine, other in costs)
    processor = statistics.median(mine.processor / other.processor for mine, other in costs)
    print(f"{title:62} {wall:.2f}  {processor:.2f}", flush=True)


def play(playbook: Path) -> Cost:
    """Run a playbook and return its times."""
    start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(["ansible-playbook", playbook], check=False, capture_output=True, text=True, timeout=600)
    end, total = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        sys.exit(run.stdout + run.stderr)
    return Cost(end - start, total.ru_utime - used.ru_utime + total.ru_stime - used.ru_stime)


def write_playbooks(folder: Path, emulator: servers.Emulator) -> list[tuple[str, Path, Path, int]]:
    """Write the pairs of playbooks; return each pair with its title and the requests that the service receives from it."""
    token = emulator.issue([SESSION["end_user_id"]])[0]
    options = {**emulator.options(), **SESSION, "store": f"{folder}/alice"}
    module = {**options, "return_token": False}
    (folder / "file.txt").write_text("x" * 130)
    keywords = ", ".join(f"{name}={value!r}" for name, value in options.items() if name != "end_user_id")
    play(write(folder / "first.yml", MODULE, {**module, "login_token": token}))
    return [
        (
            f"an unchanged task / ansible.builtin.ping, {ITEMS} items",
            write(folder / "unchanged.yml", MODULE, module, ITEMS),
            write(folder / "ping.yml", "ansible.builtin.ping", {}, ITEMS),
            0,
        ),
        (
            f"a task that refreshes / ansible.builtin.uri, {ITEMS} items",
            write(folder / "force.yml", MODULE, {**module, "force": True}, ITEMS),
            write_uri(folder, emulator.url, token),
            2 * ITEMS,
        ),
        (
            f"{LOOKUPS} lookups of a current token / ansible.builtin.file",
            write_template(folder, "token", f"'{MODULE}', 'alice', {keywords}"),
            write_template(folder, "file", f"'ansible.builtin.file', '{folder}/file.txt'"),
            0,
        ),
    ]


def write_uri(folder: Path, url: str, token: str) -> Path:
    """Write a playbook that posts an unsigned RefreshLoginToken request in a loop."""
    request = {
        "url": f"{url}/",
        "use_proxy": False,
        "method": "POST",
        "body_format": "form-urlencoded",
        "body": {
            "Action": "RefreshLoginToken",
            "Version": "2020-10-02",
            "RegionId": SESSION["region_id"],
            "ClientId": SESSION["client_id"],
            "OfficeSiteId": SESSION["office_site_id"],
            "EndUserId": SESSION["end_user_id"],
            "LoginToken": token,
        },
    }
    return write(folder / "uri.yml", "ansible.builtin.uri", request, ITEMS)


def write(path: Path, module: str, options: dict[str, t.Any], items: int = 1) -> Path:
    """Write a playbook with one task in a loop."""
    task = {"name": "Run", module: options, "loop": list(range(items))}
    play = {"name": "Run", "hosts": "localhost", "gather_facts": False, "tasks": [task]}
    path.write_text(json.dumps([play]))
    return path


def write_template(folder: Path, name: str, arguments: str) -> Path:
    """Write a playbook that renders a template with many lookups."""
    template = folder / f"{name}.j2"
    template.write_text("{% for n in range(" + str(LOOKUPS) + ") %}{{ lookup(" + arguments + ") }}\n{% endfor %}")
    options = {"src": str(template), "dest": f"{folder}/{name}.rendered", "mode": "0600"}
    return write(folder / f"{name}.yml", "ansible.builtin.template", options)
