# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Virtual environments, the variables for Ansible's tools, and trees of the collection: all inside the checkout.

Virtual environments are made in .venv, the rest in build.
"""

from __future__ import annotations

import ast
import configparser
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
HOME = BUILD / "home"
VENVS = ROOT / ".venv"
os.environ.setdefault("PIP_CACHE_DIR", str(BUILD / "cache" / "pip"))
PYTHONS = dict(line.split(" ", 1) for line in os.environ.get("PYTHONS", "").splitlines())
"""The Pythons at hand, newest first, as run.sh has found them."""
# Settings of the user that would change what is tested; the tests set their own.
FOREIGN = re.compile(r"(ANSIBLE|XDG|WUYING|ALIBABA_CLOUD|GIT)_.*|PYTHON.*|VIRTUAL_ENV")


class Core(NamedTuple):
    """A virtual environment with ansible-core, and what that core supports."""

    name: str
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


def make_core(wanted: str, purpose: str) -> Core:
    """Install ansible-core for a purpose, under the newest Python that may control it.

    2.18 stands for its newest patch release, 2.22.0rc1 for itself, nothing for the newest release. Each purpose has an environment
    of its own, so that they do not get into each other's way.
    """
    name = wanted or "newest"
    series = ".*" if re.fullmatch(r"\d+\.\d+", wanted) else ""
    requirement = f"ansible-core=={wanted}{series}" if wanted else "ansible-core"
    for version in PYTHONS:
        if int(version.split(".")[1]) < 11:
            break
        venv = make_venv(f"{name}-{purpose}", version)
        try:
            install(venv, requirement)
        except subprocess.CalledProcessError:
            say(f"Python {version} cannot install {requirement}.")
            continue
        show = "from ansible.release import __version__ as release; print(release)"
        core = Core(
            name, venv, output_of(venv / "bin" / "python", "-c", show).strip(), version, (), ()
        )
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
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)  # the address of an index may hold a password
    with part.open("w") as file:
        config.write(file)
    part.replace(path)


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
            shutil.copyfile(Path(__file__).with_name("get_pip.py"), part)
            part.replace(script)


def provide_key_pair() -> None:
    """Put in place the SSH keys that ansible-test would make: two runs that begin at the same time collide in that."""
    key = HOME / ".ansible/test/id_rsa"
    tool = shutil.which("ssh-keygen")
    if tool is None or key.with_suffix(".pub").exists():
        return
    key.parent.mkdir(parents=True, exist_ok=True)
    key.unlink(missing_ok=True)
    run(tool, "-q", "-m", "PEM", "-t", "rsa", "-N", "", "-f", key)


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


def copy_collection(core: Core, stage: str) -> Path:
    """Copy what git knows or would add to a place where ansible-test takes it for a collection."""
    place = BUILD / core.name / stage
    tree = place / "ansible_collections/wuying/workspace"
    shutil.rmtree(place, ignore_errors=True)
    listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in output_of(*listing).split("\0"):
        if name and os.path.lexists(ROOT / name):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
    run("git", "init", "--quiet", cwd=tree)
    run("git", "add", "--all", "--force", cwd=tree)
    return tree


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Wait for another run in this checkout that does the same, or prepares something that all share."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another run in this checkout to end ({name}).")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
