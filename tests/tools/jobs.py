# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run sessions of the noxfile, several at a time, and add up their tests.

run.sh starts this file with the newest Python and passes the available Pythons in PYTHONS, newest first. Each job has
a folder in .nox with its virtual environments, its home folder and its copy of the collection.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
NOX = ROOT / ".nox"
VENV = NOX / "nox"
PYTHONS = dict(line.split(" ", 1) for line in os.environ["PYTHONS"].splitlines())
SUPPORTED = tuple(f"3.{minor}" for minor in range(8, 16))
"""The Pythons that the collection supports, on controllers or targets."""
CORES = ("2.18", "2.19", "2.20", "2.21", "2.22.0rc1")
CHECKS = (
    "lint",
    "docs",
    "build-import-check",
    "docs-check",
    "ansible-lint",
    "execution-environment",
    "extra-checks",
    "license-check",
)
AT_A_TIME = (os.cpu_count() or 1) + 1  # some tests wait more than they compute
LAST_LINES = 60
"""How much of a failed job's output is repeated at the end."""
# User settings that would change what is tested. The demo uses some of them, to run against the service.
FOREIGN = re.compile(r"(ANSIBLE|GIT)_.*|PYTHON.*|VIRTUAL_ENV")
ACCOUNT = re.compile(r"(XDG|WUYING|ALIBABA_CLOUD)_.*")
UNREACHABLE = re.compile(
    "Retrying|ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|Temporary failure"
)


class Count(NamedTuple):
    """Number of tests by result."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def plus(self, other: Count) -> Count:
        """Add two counts, result by result."""
        return Count(*map(sum, zip(self, other, strict=True)))

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


class Job(NamedTuple):
    """A nox session, with an ansible-core other than the newest if core is set."""

    session: str
    core: str = ""
    arguments: tuple[str, ...] = ()
    part: str = ""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.session, self.core, self.part)))


def plan(name: str, core: str, arguments: tuple[str, ...]) -> list[Job]:
    """Return the jobs that a target of the Makefile consists of, longest first."""
    oldest = list(PYTHONS)[-1]
    newest = [Job("integration"), Job("units"), Job("sanity"), *map(Job, CHECKS)]
    if name == "test":
        return newest
    if name == "ci":
        sanity = ("--test=compile", "--test=import", "--test=validate-modules")
        targets = ("module_wuying_login_token", "lookup_wuying_login_token")
        return [
            *newest[:2],
            Job("units", CORES[0], (oldest,)),
            Job("integration", CORES[0], targets),
            Job("sanity", CORES[0], sanity),
            *newest[2:],
        ]
    if name == "test-all":
        # Each Python runs the unit tests with one core, the oldest with the oldest.
        order = list(reversed(PYTHONS))
        shares: dict[str, list[str]] = {core: [] for core in CORES}
        for number, version in enumerate(order):
            shares[CORES[number * len(CORES) // len(order)]].append(version)
        # These take long and do not depend on the core.
        excluded = tuple(f"--exclude={t}" for t in ("docs", "store_redis", "store_redis_killed"))
        ends = (CORES[0], CORES[-1])
        return [
            *(Job("integration", core, () if core in ends else excluded) for core in CORES),
            *(Job("units", core, tuple(share) or (order[-1],)) for core, share in shares.items()),
            *(Job("sanity", core) for core in CORES),
            *map(Job, CHECKS),
        ]
    if name == "units" and arguments:
        return [Job("pytest", core, arguments)]
    return [Job("formatters" if name == "format" else name, core, arguments)]


def main() -> int:
    """Run the jobs of a target. The last line sums up their tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", default="", metavar="VERSION", help="such as 2.18 or 2.22.0rc1")
    parser.add_argument("target", help="a target of the Makefile")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="for the tool")
    asked = parser.parse_args()
    if " " in str(ROOT):
        sys.exit(f"ansible-test does not work in a folder with a space in its path: {ROOT}")
    start = time.monotonic()
    say(f"Available Pythons: {', '.join(PYTHONS)}")
    install_nox()
    jobs = plan(asked.target, asked.core, tuple(asked.arguments))
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        ends = list(pool.map(lambda job: run(job, quiet=len(jobs) > 1), jobs))
    if len(jobs) > 1:
        for job, count, _seconds, lines in ends:
            if count.failed:
                say(f"\n##### last lines of {job} #####\n{''.join(lines[-LAST_LINES:])}")
        say("\n##### summary #####")
        for job, count, seconds, _lines in ends:
            say(f"{job!s:24} {count} ({seconds:.0f} s)")
        missing = ", ".join(version for version in SUPPORTED if version not in PYTHONS)
        say(f"Not tested with Python {missing}: not available here." if missing else "")
        say(f"Total time: {(time.monotonic() - start) / 60:.1f} minutes")
    total = Count()
    for _job, count, _seconds, _lines in ends:
        total = total.plus(count)
    say(str(total))
    return 1 if total.failed else 0


def run(job: Job, quiet: bool) -> tuple[Job, Count, float, list[str]]:
    """Run a job and return its tests, its seconds and its output. With quiet, print the output when it ends."""
    folder = NOX / str(job)
    with locked(str(job)):
        start = time.monotonic()
        for old in (folder / "collection", folder / "junit", folder / "report.json"):
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        command = [str(VENV / "bin/python"), "-m", "nox", "--envdir", str(folder)]
        command += ["--report", str(folder / "report.json"), "--reuse-existing-virtualenvs"]
        lines = []
        with subprocess.Popen(
            [*command, "--session", job.session, "--", *job.arguments],
            cwd=ROOT,
            env=environment(job, folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if not quiet:
                    print(line, end="", flush=True)
        count = count_tests(folder, process.returncode)
    seconds = time.monotonic() - start
    if quiet:
        say(f"\n##### {job}: {count} ({seconds:.0f} s) #####\n{''.join(lines)}")
    return job, count, seconds, lines


def count_tests(folder: Path, status: int) -> Count:
    """Count the tests of a job, or its sessions if they have none. Breaking off or running no test is a failure."""
    count = Count()
    tests = "collection/ansible_collections/*/*/tests/output"
    patterns = (f"{tests}/junit/*-sanity-*.xml", f"{tests}/junit/*-units.xml", "junit/*.xml")
    for file in (file for pattern in patterns for file in folder.glob(pattern)):
        for case in ElementTree.parse(file).iter("testcase"):
            failed = case.find("failure") is not None or case.find("error") is not None
            skipped = not failed and case.find("skipped") is not None
            count = count.plus(Count(not (failed or skipped), failed, skipped))
    for file in folder.glob(f"{tests}/data/integration-*.json"):
        count = count.plus(Count(len(json.loads(file.read_text())["targets"])))
    report = folder / "report.json"
    if not (folder / "collection").exists() and not (folder / "junit").exists() and report.exists():
        for session in json.loads(report.read_text())["sessions"]:
            passed = session["result"] == "success"
            count = count.plus(Count(passed, not passed))
    failed_otherwise = not count.failed and (status != 0 or not count.passed)
    return count.plus(Count(failed=failed_otherwise))


def environment(job: Job, folder: Path) -> dict[str, str]:
    """Return the variables of a job: a home folder of its own, every Python on PATH, no settings of the user."""
    home = folder / "home"
    copy_pip_settings(home)
    own = {"CI": "false" if job.session == "formatters" else "true", "CORE": job.core}
    own |= {"GIT_CONFIG_GLOBAL": str(Path.home() / ".gitconfig")}  # may declare this checkout safe
    own |= {"VIRTUALENV_OVERRIDE_APP_DATA": str(NOX / "cache/virtualenv")}
    # The demo continues the user's session, whose store has the only copy of the next token.
    with_account = job.session == "demo" and bool(os.environ.get("WUYING_LOGIN_TOKEN"))
    own |= {} if with_account else {"HOME": str(home)}
    # Real folders come first, because ansible-test uses the first python3.x that it finds.
    folders = dict.fromkeys(str(Path(python).parent) for python in PYTHONS.values())
    own |= {"PATH": os.pathsep.join((*folders, str(VENV / "bin"), os.environ.get("PATH", "")))}
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name == "PYTHONS" or not FOREIGN.fullmatch(name)
        if with_account or not ACCOUNT.fullmatch(name)
    }
    return {**inherited, **own}


def copy_pip_settings(home: Path) -> None:
    """Write the user's pip settings to a configuration file, because ansible-test passes on no variables."""
    settings = configparser.RawConfigParser()
    settings.read_dict({"global": {"cache-dir": str(NOX / "cache/pip")}})
    listing = subprocess.check_output(
        [VENV / "bin/python", "-m", "pip", "config", "list"], text=True
    )
    for line in sorted(listing.splitlines(), reverse=True):  # variables come last, and win
        name, literal = line.split("=", 1)
        section, option = name.rsplit(".", 1)
        section = "global" if section == ":env:" else section
        settings.read_dict({section: {option: ast.literal_eval(literal)}})
    index = urlsplit(settings.get("global", "index-url", fallback="")).hostname or ""
    bypass = bool(index) and urllib.request.proxy_bypass(index)
    fallbacks = {
        "cert": os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE"),
        "proxy": None if bypass else urllib.request.getproxies().get("https"),
    }
    for option, value in fallbacks.items():
        if value and not settings.has_option("global", option):
            settings.set("global", option, value)
    path = home / ".config/pip/pip.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Private, because the address of an index may contain a password.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        settings.write(file)
    os.replace(file.name, path)


def install_nox() -> None:
    """Create the virtual environment that contains nox, if it is missing or older than a week."""
    stamp = VENV / "installed"
    with locked("nox"):
        fresh = stamp.exists() and time.time() - stamp.stat().st_mtime < 7 * 24 * 3600
        if fresh and stamp.read_text() == os.environ["PYTHONS"]:
            return
        python = next(iter(PYTHONS.values()))
        say(f"Setting up {VENV.relative_to(ROOT)} with {python}: nox, antsibull-nox, ansible-core")
        shutil.rmtree(VENV, ignore_errors=True)
        subprocess.run([python, "-m", "venv", VENV], check=True)
        # antsibull-nox calls the ansible-galaxy of ansible-core.
        pip = (VENV / "bin/python", "-m", "pip", "install", "--quiet", "--no-input")
        packages = ("nox", "antsibull-nox", "ansible-core")
        ended = subprocess.run((*pip, *packages), check=False, stderr=subprocess.PIPE, text=True)
        if ended.returncode:
            reason = (
                "The package index cannot be reached" if UNREACHABLE.search(ended.stderr) else ""
            )
            sys.exit(
                f"{ended.stderr}\n{reason or 'nox cannot be installed'}. Check `pip config list`."
            )
        stamp.write_text(os.environ["PYTHONS"])


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Wait until no other run in this checkout uses the same folder."""
    NOX.mkdir(exist_ok=True)
    with (NOX / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another run of {name} in this checkout.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """Print immediately, so that the output of tools stays in order."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
