# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run sessions of the noxfile, several at a time, and add up their tests.

run.sh starts this file with the newest Python and passes the available Pythons in PYTHONS, newest first. Each job has
a folder in .nox with its virtual environments, its home folder and its copy of the collection.
"""

from __future__ import annotations

import ast
import configparser
import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess  # nosec B404 # starts pip and nox, without a shell
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from xml.etree import ElementTree  # nosec B405 # reads reports that our own tests wrote

ROOT = Path(__file__).resolve().parents[2]
NOX = ROOT / ".nox"
VENV = NOX / f"nox-{sys.version_info[0]}.{sys.version_info[1]}"
PACKAGES = ("nox", "antsibull-nox", "ansible-core")  # antsibull-nox calls ansible-galaxy
PYTHONS = dict(line.split(" ", 1) for line in os.environ["PYTHONS"].splitlines())
SUPPORTED = [f"3.{minor}" for minor in range(8, 16)]
CORES = ("2.18", "2.19", "2.20", "2.21", "2.22.0rc1")
FOR_OLDEST = {"3.11", "3.12", "3.13"}  # the Pythons that can run the oldest core
SUITES = ("test", "ci", "test-all")
SESSIONS = {"lint": ("lint", "security"), "format": ("formatters",)}  # of a target with another name
CHECKS = ["lint", "build-import-check", "docs", "docs-check", "ansible-lint", "extra-checks"]
CHECKS += ["license-check", "execution-environment"]
TARGETS = sorted(path.name for path in ROOT.glob("tests/integration/targets/*"))
TARGETS = [name for name in TARGETS if not name.startswith("setup_")]
AT_A_TIME = (os.cpu_count() or 1) + 1  # some tests wait more than they compute
NOX_SAYS = "nox > "  # The demo shows what nox says only if it fails.
DURATION = "This takes a minute."
# User settings that would change the tests. The demo needs those of the account to run against the service.
FOREIGN = re.compile(r"(ANSIBLE|GIT)_.*|PYTHON(?!S$).*|VIRTUAL_ENV")
ACCOUNT = re.compile(r"(XDG|WUYING|ALIBABA_CLOUD)_.*|HOME")
# Packages are upgraded once a day, and when a file changes that names them.
RECIPE = "".join(
    path.read_text()
    for name in ("noxfile.py", "antsibull-nox.toml", "docs/site/requirements.txt", "tests/*/requirements.txt")
    for path in sorted(ROOT.glob(name))
)
PIP_FAILED = re.compile(r"-m pip install .* failed with exit code")
UNREACHABLE = re.compile(r"Retrying|ConnectionError|Timeout|ProxyError|Temporary failure|from versions: none")


class Job(NamedTuple):
    """A nox session, or those that SESSIONS names. If core is not set, it uses the newest ansible-core."""

    session: str
    core: str = ""
    arguments: Sequence[str] = ()
    part: str = ""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.session, self.core, self.part)))

    @property
    def folder(self) -> Path:
        """The folder with everything that belongs to the job."""
        return NOX / str(self)

    @property
    def installed(self) -> float:
        """The time when the packages of the job were installed, 0 if they were not."""
        stamp = self.folder / "installed"
        return stamp.stat().st_mtime if stamp.exists() and stamp.read_text() == RECIPE else 0.0


class End(NamedTuple):
    """The end of a job: its number of tests by result, its seconds, its output."""

    job: Job
    tests: Counter[str]
    seconds: float
    output: str


def plan(target: str, core: str, arguments: Sequence[str]) -> list[Job]:
    """Return the jobs of a Makefile target, longest first."""
    newest = [
        Job("units", "", ("controller", "project", "newest")),
        Job("integration", "", TARGETS[1::3], "1"),
        Job("integration", "", TARGETS[::3], "2"),
        Job("integration", "", TARGETS[2::3], "3"),
        Job("sanity"),
        *map(Job, CHECKS),
    ]
    if target == "test":
        return newest
    if target == "ci":
        sanity = ("--test=compile", "--test=import", "--test=validate-modules")
        targets = ("module_wuying_login_token", "lookup_wuying_login_token", "not_given", "trust")
        return [
            *newest[:2],
            Job("units", CORES[0], ("controller", "oldest")),
            *newest[2:4],
            Job("sanity", CORES[0], sanity),
            Job("integration", CORES[0], targets),
            *newest[4:],
        ]
    if target == "test-all":
        # Each Python runs the unit tests with one core, the oldest with the oldest.
        shares = {core: ["controller"] for core in CORES}
        shares[CORES[-2]].append("project")
        for number, version in enumerate(reversed(PYTHONS)):
            shares[CORES[number * len(CORES) // len(PYTHONS)]].append(version)
        # These take long and do not depend on the core.
        skipped = [f"--exclude={name}" for name in ("docs", "store_redis", "store_redis_killed")]
        ends = (CORES[0], CORES[-1])
        return [
            *(Job("integration", core, () if core in ends else skipped) for core in CORES),
            *(Job("units", core, share) for core, share in shares.items()),
            *(Job("sanity", core) for core in CORES),
            Job("redis-versions"),
            *map(Job, CHECKS),
        ]
    return [Job("pytest" if target == "units" and arguments else target, core, arguments)]


def main(core: str, target: str, *arguments: str) -> int:
    """Run the jobs of a target. The last line of the output is the sum of their tests, except for the demo."""
    if " " in str(ROOT) or os.pathsep in str(ROOT):
        sys.exit(f"ansible-test does not work in a folder with a space or a colon in its path: {ROOT}")
    if target in SUITES and (core or arguments):
        sys.exit(f"make {target} accepts neither CORE nor ARGS. Use them with make sanity, units or integration.")
    if target in ("ci", "test-all") and not FOR_OLDEST & set(PYTHONS):
        sys.exit(f"make {target} needs one of the Pythons {', '.join(sorted(FOR_OLDEST))} for ansible-core {CORES[0]}.")
    start = time.monotonic()
    if target != "demo":
        say(f"Available Pythons: {', '.join(PYTHONS)}")
    jobs = plan(target, core, arguments)
    yesterday = time.time() - 24 * 3600
    with locked("nox"):
        outdated = any(0.0 < job.installed < yesterday for job in jobs)
        if not install_nox(upgrade=outdated):
            yesterday = 0.0  # so that jobs use the packages that they have
    settings = read_pip_settings()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        ends = list(pool.map(lambda job: run(job, settings, yesterday, alone=len(jobs) == 1), jobs))
    if len(jobs) > 1:
        for end in ends:
            if end.tests["failed"]:
                last = "\n".join(end.output.splitlines()[-60:])
                say(f"\n##### last lines of {end.job}, which failed #####\n{last}")
        say("\n##### summary #####")
        for end in ends:
            say(f"{end.job!s:24} {describe(end.tests)} ({end.seconds:.0f} s)")
        missing = [version for version in SUPPORTED if version not in PYTHONS]
        say(f"Not available here, and not tested: Python {', '.join(missing) or 'none'}")
        say(f"Total time: {(time.monotonic() - start) / 60:.1f} minutes")
    total = sum((end.tests for end in ends), Counter())
    if target != "demo":
        say(describe(total))
    return 1 if total["failed"] else 0


def run(job: Job, pip_settings: configparser.RawConfigParser, yesterday: float, alone: bool) -> End:
    """Run a job, and install its packages first unless that was done later than yesterday.

    Print its output immediately if it runs alone, otherwise when it ends.
    """
    folder = job.folder
    with locked(str(job)):
        start = time.monotonic()
        first = "" if job.installed else f" First installing its packages in {folder.relative_to(ROOT)}. {DURATION}"
        say(f"Starting {job}.{first}")
        for old in ("collection", "junit"):
            shutil.rmtree(folder / old, ignore_errors=True)
        report = folder / "report.json"
        report.unlink(missing_ok=True)
        nox = (VENV / "bin/python", "-m", "nox", "--envdir", folder, "--report", report)
        reuse = ["--reuse-existing-virtualenvs"] + ["--no-install"] * (job.installed > yesterday)
        options = (*reuse, "--session", *SESSIONS.get(job.session, (job.session,)), "--", *job.arguments)
        lines = []
        with subprocess.Popen(  # nosec B603 # the arguments come from the developer
            (*nox, *options),
            cwd=ROOT,
            env=environment(job, folder / "home", pip_settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                lines.append(line)
                shown = alone and not (job.session == "demo" and line.startswith(NOX_SAYS))
                print(line if shown else "", end="", flush=True)
        if job.session == "demo" and process.returncode:
            print("".join(line for line in lines if line.startswith(NOX_SAYS)), end="")
        output = "".join(lines)
        tests = count_tests(folder, process.returncode, output)
        if PIP_FAILED.search(output):
            lines.append(explain(output))
            print(lines[-1] if alone else "", end="", flush=True)
        elif report.exists() and not job.installed > yesterday:
            (folder / "installed").write_text(RECIPE)
    end = End(job, tests, time.monotonic() - start, "".join(lines))
    if not alone:
        say(f"\n##### {job}: {describe(tests)} ({end.seconds:.0f} s) #####\n{end.output}")
    return end


def count_tests(folder: Path, status: int, printed: str) -> Counter[str]:
    """Count the tests of a job, or its sessions if they are checks. A job that breaks off or runs no test has failed.

    Of integration targets, parts can be skipped. They print that, and ansible-test prints the number of failed targets.
    """
    tests: Counter[str] = Counter()
    output = "collection/ansible_collections/*/*/tests/output"
    for junit in (f"{output}/junit/*-sanity-*.xml", f"{output}/junit/*-units.xml", "junit/*.xml"):
        for file in folder.glob(junit):
            for case in ElementTree.parse(file).iter("testcase"):  # nosec B314 # see above
                ends = {element.tag for element in case} & {"failure", "error", "skipped"}
                tests["failed" if ends - {"skipped"} else "skipped" if ends else "passed"] += 1
    for file in folder.glob(f"{output}/data/integration-*.json"):
        tests["passed"] += len(json.loads(file.read_text())["targets"])
        tests["skipped"] += len(re.findall(r'"msg": "SKIPPED: ', printed))
        tests["failed"] += sum(map(int, re.findall(r"The ([0-9]+) integration test\(s\) listed below", printed)))
    report = folder / "report.json"
    if report.exists() and not any((folder / name).exists() for name in ("collection", "junit")):
        for session in json.loads(report.read_text())["sessions"]:
            tests["passed" if session["result"] == "success" else "failed"] += 1
    if not tests["failed"] and (status or not tests.total()):
        tests["failed"] += 1
    return tests


def describe(tests: Counter[str]) -> str:
    """Describe the number of tests as test runners do."""
    return ", ".join(f"{tests[result]} {result}" for result in ("passed", "failed", "skipped"))


def environment(job: Job, home: Path, pip_settings: configparser.RawConfigParser) -> dict[str, str]:
    """Return the variables of a job: a home folder of its own, every Python on PATH, no user settings."""
    configuration = home / ".config/pip/pip.conf"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.touch(mode=0o600)  # the address of an index may contain a password
    with configuration.open("w") as file:
        pip_settings.write(file)
    # Real folders come first, because ansible-test uses the first python3.x that it finds.
    folders = dict.fromkeys(str(Path(python).parent) for python in PYTHONS.values())
    colored = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    # Like the user, the demo continues the session in the store, which has the only copy of the next token.
    account = job.session == "demo" and "WUYING_LOGIN_TOKEN" in os.environ
    foreign = (FOREIGN,) if account else (FOREIGN, ACCOUNT)
    names = [name for name in os.environ if not any(each.fullmatch(name) for each in foreign)]
    return {
        "HOME": str(home),
        **{name: os.environ[name] for name in names},
        "CI": "false" if job.session == "format" else "true",  # in CI, they only check
        "CORE": job.core,
        **({"ANSIBLE_FORCE_COLOR": "1"} if job.session == "demo" and colored else {}),
        "NOX_ENABLE_STALENESS_CHECK": "1",  # the newest Python may be another than last time
        "GIT_CONFIG_GLOBAL": str(Path.home() / ".gitconfig"),  # may declare this checkout safe
        "PATH": os.pathsep.join((*folders, str(VENV / "bin"), os.environ.get("PATH", ""))),
    }


def install_nox(upgrade: bool) -> bool:
    """Install nox, or upgrade it. Return False if it is installed but the package index cannot be reached."""
    stamp = VENV / "installed"
    if stamp.exists() and not upgrade:
        return True
    options = ["--upgrade", "--quiet", "--no-input"]
    if stamp.exists():
        options += ["--retries", "1"]  # If the index does not respond, pip says so and keeps what is installed.
    else:
        say(f"Setting up {VENV.relative_to(ROOT)}: {', '.join(PACKAGES)}. {DURATION}")
        created = call(sys.executable, "-m", "venv", "--clear", VENV)
        if created.returncode:
            sys.exit(created.stdout)
    pip = call(VENV / "bin/python", "-m", "pip", "install", *options, *PACKAGES)
    failed = pip.returncode != 0 or (stamp.exists() and UNREACHABLE.search(pip.stdout) is not None)
    if not failed:
        stamp.touch()
    elif not stamp.exists():
        sys.exit(f"{pip.stdout}{explain(pip.stdout)}")
    else:
        say(f"{explain(pip.stdout)}The packages that were installed earlier are used.")
    return not failed


def call(*command: str | Path, errors: int = subprocess.STDOUT) -> subprocess.CompletedProcess[str]:
    """Run a command and return its output, including error messages unless they go elsewhere."""
    pipe: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": errors, "text": True}
    return subprocess.run(command, check=False, **pipe)  # nosec B603 # the commands are in this file


def explain(output: str) -> str:
    """Return the probable cause of a failure of pip."""
    if not UNREACHABLE.search(output):
        return "pip failed, see above.\n"
    found = re.search(r"No matching distribution found for (\S+)", output)
    package = found[1] if found else "packages"
    return f"Could not download {package} from the package index. Check the network, or pip's configuration (pip config list).\n"


def read_pip_settings() -> configparser.RawConfigParser:
    """Read the user's pip settings, variables included, because ansible-test does not pass variables on."""
    settings = configparser.RawConfigParser()
    settings.read_dict({"global": {"cache-dir": str(NOX / "cache")}})
    listing = call(VENV / "bin/python", "-m", "pip", "config", "list", errors=subprocess.DEVNULL).stdout
    for line in sorted(listing.splitlines(), reverse=True):  # ":env:" comes last and wins
        name, literal = line.split("=", 1)
        section, option = name.replace(":env:", "global").rsplit(".", 1)
        settings.read_dict({section: {option: ast.literal_eval(literal)}})
    index = urlsplit(settings.get("global", "index-url", fallback="")).hostname
    direct = bool(index and urllib.request.proxy_bypass(index))
    fallbacks = {
        "cert": os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE"),
        "proxy": None if direct else urllib.request.getproxies().get("https"),
    }
    for option, value in fallbacks.items():
        if value and not settings.has_option("global", option):
            settings.set("global", option, value)
    return settings


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
    sys.exit(main(*sys.argv[1:]))
