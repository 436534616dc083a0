# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the collection against Ansible's own modules and the official signers: ratios within one run.

Usage: python tests/benchmark/benchmark.py [--pairs N]

Each line compares two commands that are run in turn, and gives the median of the ratios of their pairs. Needs ansible-core and
requests, and for the signatures the packages of requirements.txt.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EMULATOR = ROOT / "roles" / "emulator" / "files" / "emulator.py"
SESSION = {
    "region_id": "cn-hangzhou",
    "client_id": "client-1",
    "office_site_id": "cn-hangzhou+dir-2381912345",
    "end_user_id": "alice",
}
ITEMS = 20
LOOKUPS = 1000
SIGNATURES = 5000


class Cost(t.NamedTuple):
    """What a command took, in seconds."""

    wall: float
    processor: float


def main() -> None:
    """Print a table of ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=10, help="how often each pair is run")
    pairs = parser.parse_args().pairs
    (ROOT / "build").mkdir(exist_ok=True)  # on a real disk, where a temporary folder may be memory
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=ROOT / "build") as name:
        folder = Path(name)
        with subprocess.Popen(
            [sys.executable, EMULATOR, "--port", "0", "--ready-file", folder / "ready.json"]
        ) as emulator:
            try:
                playbooks = write_playbooks(folder, wait_for(folder / "ready.json"))
                print(f"{'median of the ratios of ' + str(pairs) + ' pairs':62} wall  processor")
                for what, ours, theirs in playbooks:
                    compare(what, pairs, ours, theirs)
            finally:
                emulator.terminate()
    compare_signers(pairs)


def compare(what: str, pairs: int, ours: Path, theirs: Path) -> None:
    """Run two playbooks in turn and print how much more the first one takes."""
    play(ours)
    play(theirs)
    costs = [(play(ours), play(theirs)) for _turn in range(pairs)]
    wall = statistics.median(mine.wall / other.wall for mine, other in costs)
    processor = statistics.median(mine.processor / other.processor for mine, other in costs)
    print(f"{what:62} {wall:.2f}  {processor:.2f}", flush=True)


def play(playbook: Path) -> Cost:
    """Run a playbook and return what it took."""
    start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(
        ["ansible-playbook", playbook], check=False, capture_output=True, text=True
    )
    end, total = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        sys.exit(run.stdout + run.stderr)
    return Cost(end - start, total.ru_utime - used.ru_utime + total.ru_stime - used.ru_stime)


def wait_for(ready: Path) -> dict[str, t.Any]:
    """Return where the emulator listens."""
    end = time.monotonic() + 30
    while not ready.exists():
        if time.monotonic() > end:
            sys.exit("The emulator did not start.")
        time.sleep(0.05)
    facts = json.loads(ready.read_text(encoding="utf-8"))
    request = urllib.request.Request(
        f"{facts['url']}/_emulator/tokens", method="POST", data=json.dumps(SESSION).encode()
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        facts["token"] = json.load(response)["login_token"]
    return dict(facts)


def write_playbooks(folder: Path, facts: dict[str, t.Any]) -> list[tuple[str, Path, Path]]:
    """Write the playbooks, ours and theirs; return what each pair compares."""
    options = {
        **SESSION,
        "endpoint": facts["url"],
        "access_key_id": facts["access_key_id"],
        "access_key_secret": facts["access_key_secret"],
        "store": f"{folder}/store",
    }
    module = {**options, "return_token": False}
    request = {
        "url": f"{facts['url']}/",
        "method": "POST",
        "body_format": "form-urlencoded",
        "body": {
            "Action": "RefreshLoginToken",
            "Version": "2020-10-02",
            "RegionId": SESSION["region_id"],
            "ClientId": SESSION["client_id"],
            "OfficeSiteId": SESSION["office_site_id"],
            "EndUserId": SESSION["end_user_id"],
            "LoginToken": facts["token"],
        },
    }
    (folder / "file.txt").write_text("x" * 130)
    keywords = ", ".join(
        f"{name}={value!r}" for name, value in options.items() if name != "end_user_id"
    )
    first = folder / "first.yml"
    write(first, "wuying.workspace.wuying_login_token", {**module, "login_token": facts["token"]})
    play(first)
    return [
        (
            f"an unchanged task / ansible.builtin.ping, {ITEMS} items",
            write(folder / "unchanged.yml", "wuying.workspace.wuying_login_token", module, ITEMS),
            write(folder / "ping.yml", "ansible.builtin.ping", {}, ITEMS),
        ),
        (
            f"a task that exchanges / ansible.builtin.uri, {ITEMS} items",
            write(
                folder / "force.yml",
                "wuying.workspace.wuying_login_token",
                {**module, "force": True},
                ITEMS,
            ),
            write(folder / "uri.yml", "ansible.builtin.uri", request, ITEMS),
        ),
        (
            f"{LOOKUPS} lookups of a current token / ansible.builtin.file",
            write_template(
                folder, "token", f"'wuying.workspace.wuying_login_token', 'alice', {keywords}"
            ),
            write_template(folder, "file", f"'ansible.builtin.file', '{folder}/file.txt'"),
        ),
    ]


def write(path: Path, module: str, options: dict[str, t.Any], items: int = 1) -> Path:
    """Write a playbook of one task in a loop."""
    task = {"name": "Run", module: options, "loop": list(range(items))}
    play = {"name": "Run", "hosts": "localhost", "gather_facts": False, "tasks": [task]}
    path.write_text(json.dumps([play]))
    return path


def write_template(folder: Path, name: str, arguments: str) -> Path:
    """Write a playbook that renders a template with many lookups."""
    template = folder / f"{name}.j2"
    template.write_text(
        "{% for n in range(" + str(LOOKUPS) + ") %}{{ lookup(" + arguments + ") }}\n{% endfor %}"
    )
    options = {"src": str(template), "dest": f"{folder}/{name}.rendered", "mode": "0600"}
    return write(folder / f"{name}.yml", "ansible.builtin.template", options)


def compare_signers(pairs: int) -> None:
    """Print how many more signatures a second are made than by the official signers."""
    sys.path.insert(0, os.environ.get("ANSIBLE_COLLECTIONS_PATH", ""))
    from ansible_collections.wuying.workspace.plugins.module_utils import signer

    try:
        from alibabacloud_tea_openapi.utils import Utils
    except ImportError:
        print("SKIPPED: signatures, for alibabacloud-tea-openapi is not installed")
        return
    parameters = {
        "RegionId": "cn-hangzhou",
        "ClientId": "f4a0dc8e-1702-4728-9a60-95b27a350000",
        "OfficeSiteId": "cn-hangzhou+dir-2381912345",
        "EndUserId": "alice",
        "LoginToken": "v1" + "8f" * 64,
    }
    headers = signer.sign_v3("A", "V", parameters, None, 0, "nonce", host="example.com").headers
    call: t.Any = type("Request", (), {})()
    call.method, call.pathname, call.query, call.headers = "POST", "/", parameters, headers
    body_hash = headers["x-acs-content-sha256"]
    signers: list[tuple[str, t.Callable[[], t.Any], t.Callable[[], t.Any]]] = [
        (
            "V1",
            lambda: signer.v1_signature("POST", parameters, "secret"),
            lambda: Utils.get_rpcsignature(parameters, "POST", "secret"),
        ),
        (
            "V3",
            lambda: signer.v3_signature("POST", parameters, headers, "secret"),
            lambda: Utils.get_authorization(call, "ACS3-HMAC-SHA256", body_hash, "id", "secret"),
        ),
    ]
    for version, ours, theirs in signers:
        ratios = [rate(ours) / rate(theirs) for _turn in range(pairs)]
        print(
            f"{version} signatures a second, ours / the official signer's{'':14} {statistics.median(ratios):.2f}"
        )


def rate(sign: t.Callable[[], t.Any]) -> float:
    """Return how many signatures are made a second."""
    start = time.perf_counter()
    for _turn in range(SIGNATURES):
        sign()
    return SIGNATURES / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
