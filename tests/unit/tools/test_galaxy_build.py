# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A build of the collection contains its own files, and none of the secrets that often lie in a checkout."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("LICENSES", "changelogs", "docs/docsite", "extensions", "meta", "playbooks", "plugins", "roles")
"""The folders of the collection that are published."""
DOCUMENTS = re.compile(r"(CHANGELOG\.(md|rst)(\.license)?|COPYING|README\.md|REUSE\.toml|SECURITY\.md)")
"""The files that are published beside them."""
NOT_PUBLISHED = re.compile(r"changelogs/(config\.yaml|fragments/.*)")
TOP_LEVEL = ("TOKEN", "docker-compose.yml", "export.txt", "extra-vars.yml", "play.yml", "rotate.yml")
"""Files that are not published if they are beside the folders of the collection."""
STRAY = (
    "Credentials.yml",
    "Passwords.txt",
    "Secrets.yml",
    "Vault.yml",
    "token",
    "token.txt",
    ".env",
    ".env.production",
    ".netrc",
    ".vault_pass",
    ".ssh/config",
    ".idea/workspace.xml",
    "ansible.cfg",
    "credentials.json",
    "dump.rdb",
    "fleet.ini",
    "group_vars/all.yml",
    "host_vars/localhost/main.yml",
    "hosts",
    "hosts.yml",
    "id_ed25519",
    "id_rsa",
    "id_rsa.pub",
    "inventory",
    "inventory.yml",
    "inventories/production/hosts.yml",
    "keys.txt.gpg",
    "my-secret.txt",
    "password.txt",
    "play.retry",
    "private.pem",
    "production.key",
    "production_inventory.yml",
    "secrets.yml",
    "store.tar.gz",
    "terraform.tfstate",
    "tls.crt",
    "tokens.json",
    "trace.log",
    "vault.yml",
    "vault-password",
    "venv/pyvenv.cfg",
    "wuying-workspace-0.0.1.tar.gz",
    "core.py~",
    "main.yml.orig",
    "main.yml.bak",
)
"""Files that developers and operators keep in a checkout, by mistake or not."""


def list_tracked() -> list[str]:
    """Return the files that git tracks or would add."""
    command = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    listing = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [name for name in listing.splitlines() if (ROOT / name).is_file()]


def is_published(name: str) -> bool:
    """Return True if a tracked file belongs into the collection."""
    in_folder = name.startswith(tuple(folder + "/" for folder in FOLDERS)) and not NOT_PUBLISHED.fullmatch(name)
    return in_folder or DOCUMENTS.fullmatch(name) is not None


def build(checkout: Path) -> set[str]:
    """Build the collection, and return the files in it."""
    galaxy = (sys.executable, "-m", "ansible.cli.galaxy")
    command = ("collection", "build", checkout, "--output-path", checkout.parent)
    subprocess.run((*galaxy, *command), check=True, stdout=subprocess.PIPE)
    (archive,) = checkout.parent.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        return {member.name for member in files if not member.isdir()} - {"MANIFEST.json", "FILES.json"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of this checkout, without what git ignores."""
    for name in list_tracked():
        (tmp_path / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / "checkout" / name)
    return tmp_path / "checkout"


def plant(folder: Path, names: t.Sequence[str] = STRAY) -> t.Iterator[Path]:
    """Put stray files into a folder, and yield those that are new there."""
    for name in names:
        if not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("secret")
            yield folder / name


def test_a_build_contains_the_files_of_the_collection_and_no_stray_file(checkout: Path) -> None:
    published = set(filter(is_published, list_tracked()))
    folders = {checkout, *((checkout / name).parent for name in published)}
    planted = [path for folder in sorted(folders) for path in plant(folder)]
    planted += plant(checkout, TOP_LEVEL)
    assert len(planted) > 20 * len(STRAY)
    assert build(checkout) == published
