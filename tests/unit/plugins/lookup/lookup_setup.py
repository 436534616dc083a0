# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the lookup against an emulator and a directory store."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

import pytest

try:
    from ansible import template
    from ansible.errors import AnsibleError
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins import loader
except ImportError:  # a Python that supports targets only
    pytest.skip("lookups run on the controller only", allow_module_level=True)

from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session, fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._store import directory as _directory_store
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore

__all__ = [
    "IDENTITY",
    "NAME",
    "OMIT",
    "ROOT",
    "AnsibleError",
    "LookupRunner",
    "loader",
    "trust_as_template",
]

NAME = "wuying.workspace.wuying_login_token"
ROOT = Path(_directory_store.__file__).parents[6]
IDENTITY = {
    "region_id": "cn-hangzhou",
    "client_id": "f4a0dc8e-1702-4728-9a60-95b27a35c0de",
    "office_site_id": "cn-hangzhou+dir-2381910001",
}


# Before ansible-core 2.19, templates need no trust.
trust_as_template: t.Any = getattr(template, "trust_as_template", str)
OMIT = "__omit_place_holder__d553cdb8330ea73d531082cb370ee4e5575ca9ce"
"""The value of the variable ``omit`` before ansible-core 2.19."""


class LookupRunner:
    """Runs the lookup with default options."""

    def __init__(self, emulator: t.Any, folder: Path) -> None:
        self.emulator, self.store = emulator, folder / "store"
        self.options: dict[str, t.Any] = {
            **IDENTITY,
            "endpoint": emulator.url,
            "store": str(self.store),
            "access_key_id": emulator.access_key_id,
            "access_key_secret": emulator.access_key_secret,
            "retries": 0,
        }

    def look_up(self, *terms: t.Any, variables: t.Any = None, **options: t.Any) -> list[str]:
        """Look up tokens. Options that are None are not passed."""
        given = {**self.options, **options}
        given = {name: value for name, value in given.items() if value is not None}
        variables = {**({"omit": OMIT} if trust_as_template is str else {}), **(variables or {})}
        templar = template.Templar(loader=DataLoader(), variables=variables)
        lookup = loader.lookup_loader.get(NAME, loader=DataLoader(), templar=templar)
        tokens = lookup.run(list(terms), variables=variables, **given)
        assert all(type(token).__mro__[-2] is str for token in tokens)
        return [str(token) for token in tokens]

    def failure_of(self, *terms: t.Any, **arguments: t.Any) -> str:
        """Return the error message of a lookup that fails."""
        with pytest.raises(AnsibleError) as caught:
            self.look_up(*terms, **arguments)
        return str(caught.value)

    def start(self, end_user_id: str = "alice", **options: t.Any) -> str:
        """Start a session and return its current token."""
        token = self.emulator.issue(end_user_id)
        (current,) = self.look_up(end_user_id, login_token=token, **options)
        self.emulator.clear()
        return current

    def save_record(self, seconds: float, like: Record | None = None) -> Record:
        """Save a record of Alice whose token is valid for ``seconds``, perhaps with the validity of another record."""
        session = Session(endpoint=self.emulator.url, end_user_id="alice", **IDENTITY)
        now = time.time()
        record = next_record(like, session, "v1first", self.emulator.issue(), now, None, None)
        record = record._replace(obtained_at=now + seconds - record.validity, expires_at=now + seconds)
        with DirectoryStore(str(self.store)).lock(session.key, time.monotonic() + 10) as locked:
            locked.write_note(new_note(None, fingerprint(record.login_token), "a test"))
            locked.save(record)
        return record

    def requests(self) -> int:
        """Return the number of requests that the service received."""
        return int(self.emulator.journal()["requests"])
