# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make` asks the package index only when necessary, names it if it cannot be reached, and shows the demo without its own tools."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
ADVICE = "from the package index. Check the network, or pip's configuration (pip config list)."
NO_INDEX = "ERROR: No matching distribution found for {} (from versions: none)"
# Takes the place of the Python that has nox. Logs its arguments, and fails as the files tell it.
STUB = r"""#!/bin/sh
cd "${0%%/.nox/*}"
case $* in
*"pip config list"*) exit ;;
esac
echo "$*" >>calls
report=$(echo "$*" | sed -n 's/.*--report \([^ ]*\).*/\1/p')
test ! -e session-says || cat session-says
case $* in
*"pip install"*)
    cat pip-output
    exit "$(cat pip-status)"
    ;;
*--no-install*)
    echo '{"sessions": [{"result": "success"}]}' >"$report"
    ;;
*)
    echo '{"sessions": [{"result": "success"}]}' >"$report"
    test ! -e session-fails || { cat session-fails; echo '{"sessions": []}' >"$report"; exit 1; }
    ;;
esac
"""


class Checkout(t.NamedTuple):
    """A copy of this checkout."""

    path: Path

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command with an empty home folder, and without settings that say where packages are."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "XDG_"))}
        home = {"HOME": str(self.path / "home"), "XDG_CONFIG_DIRS": os.devnull, "PIP_CONFIG_FILE": os.devnull}
        return subprocess.run(
            command,
            cwd=self.path,
            env={**kept, **home, **variables},
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        """Do what ``make`` does with a target and a single Python."""
        return self.run(sys.executable, "tests/tools/jobs.py", "", target, PYTHONS=f"{VERSION} {sys.executable}")

    def make_lint(self) -> subprocess.CompletedProcess[str]:
        """Do what ``make lint`` does."""
        return self.make("lint")

    def calls(self) -> str:
        """Return the calls of pip and nox since the last time."""
        calls = (self.path / "calls").read_text()
        (self.path / "calls").unlink()
        return calls

    def age(self, hours: float) -> None:
        """Make everything look as if it had been installed hours ago."""
        for stamp in self.path.glob(".nox/*/installed"):
            os.utime(stamp, (time.time() - hours * 3600,) * 2)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Return a copy of what `make` needs of this checkout, in which nothing is installed."""
    (tmp_path / "home").mkdir()
    for name in ("noxfile.py", "antsibull-nox.toml", "tests/tools"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        (tmp_path / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, tmp_path / name)
    return Checkout(tmp_path)


@pytest.fixture
def installed(checkout: Checkout) -> Checkout:
    """Return a checkout in which `make lint` has just run."""
    python = checkout.path / f".nox/nox-{VERSION}/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(STUB)
    python.chmod(0o700)
    (python.parents[1] / "installed").touch()
    (checkout.path / "pip-output").touch()
    (checkout.path / "pip-status").write_text("0")
    assert checkout.make_lint().returncode == 0
    assert "--no-install" not in checkout.calls()
    return checkout


def test_a_new_clone_without_a_package_index_says_what_it_sets_up_and_names_the_index(checkout: Checkout) -> None:
    index = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    ended = checkout.run("sh", "tests/tools/run.sh", "", "lint", **index)
    assert ended.returncode
    assert "Setting up .nox/nox-3." in ended.stdout
    assert f"Could not download nox {ADVICE}" in ended.stdout


def test_the_index_is_not_asked_again_within_a_day(installed: Checkout) -> None:
    installed.age(hours=23)
    assert installed.make_lint().returncode == 0
    calls = installed.calls()
    assert "pip install" not in calls
    assert "--no-install" in calls


def test_packages_are_upgraded_after_a_day(installed: Checkout) -> None:
    installed.age(hours=25)
    assert installed.make_lint().returncode == 0
    calls = installed.calls()
    assert "pip install --upgrade" in calls
    assert "--no-install" not in calls
    assert installed.make_lint().returncode == 0
    assert "--no-install" in installed.calls()


@pytest.mark.parametrize(
    ("status", "output", "package"),
    [("1", NO_INDEX.format("nox"), "nox"), ("0", "WARNING: Retrying after connection broken", "packages")],
)
def test_installed_packages_are_used_while_the_index_cannot_be_reached(
    installed: Checkout, status: str, output: str, package: str
) -> None:
    installed.age(hours=72)
    (installed.path / "pip-output").write_text(output)
    (installed.path / "pip-status").write_text(status)
    for _run in range(2):  # The next run tries again.
        ended = installed.make_lint()
        assert ended.returncode == 0
        calls = installed.calls()
        assert "pip install --upgrade" in calls
        assert "--no-install" in calls
        assert (
            f"Could not download {package} {ADVICE}\nThe packages that were installed earlier are used." in ended.stdout
        )


@pytest.mark.parametrize("name", ["noxfile.py", "antsibull-nox.toml", "tests/unit/requirements.txt"])
def test_packages_are_installed_if_a_file_that_names_them_has_changed(installed: Checkout, name: str) -> None:
    (installed.path / name).parent.mkdir(exist_ok=True)
    with (installed.path / name).open("a") as file:
        file.write("# one more package\n")
    assert installed.make_lint().returncode == 0
    assert "--no-install" not in installed.calls()


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        (NO_INDEX.format("ruff"), f"Could not download ruff {ADVICE}"),
        ("WARNING: Retrying (Retry(total=4)) after connection broken", f"Could not download packages {ADVICE}"),
        ("ERROR: Cannot install ruff because of a conflict", "pip failed, see above."),
    ],
)
def test_a_job_whose_packages_cannot_be_downloaded_names_the_index(
    installed: Checkout, output: str, advice: str
) -> None:
    for stamp in installed.path.glob(".nox/lint/installed"):
        stamp.unlink()
    (installed.path / "session-fails").write_text(
        f"{output}\nnox > Command python -m pip install ruff -U failed with exit code 1\n"
    )
    for _run in range(2):  # A failure is not taken for an installation.
        ended = installed.make_lint()
        assert ended.returncode
        assert ended.stdout.splitlines()[-2:] == [advice, "0 passed, 1 failed, 0 skipped"]
        assert "--no-install" not in installed.calls()


def test_the_demo_shows_only_its_own_output_and_when_it_installs_packages(installed: Checkout) -> None:
    (installed.path / "session-says").write_text("nox > Running session demo\nPLAY [demo]\n")
    installing = " First installing its packages in .nox/demo. This takes a minute."
    for first in (installing, ""):
        assert installed.make("demo").stdout.splitlines() == [f"Starting demo.{first}", "PLAY [demo]"]


def test_the_demo_shows_what_nox_says_if_it_fails(installed: Checkout) -> None:
    (installed.path / "session-fails").write_text("nox > Python interpreter 3.99 not found\n")
    ended = installed.make("demo")
    assert ended.returncode
    assert "nox > Python interpreter 3.99 not found" in ended.stdout
