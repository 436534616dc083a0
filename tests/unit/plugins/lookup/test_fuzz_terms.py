# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Arbitrary terms cause either a result or an Ansible error without a secret."""

from __future__ import annotations

import os
import typing as t
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.wuying.workspace.tests.unit.plugins.lookup.lookup_setup import (
    IDENTITY,
    AnsibleError,
    LookupRunner,
)

NIGHTLY = os.environ.get("FUZZ") == "nightly"
PROFILE = settings(
    max_examples=20000 if NIGHTLY else 300,
    deadline=None,
    database=None,
    derandomize=not NIGHTLY,
    print_blob=NIGHTLY,
    suppress_health_check=list(HealthCheck),
)
SECRET = "v1/Sesame+open=0123456789abcdef"
KEYS = [*IDENTITY, "end_user_id", "directory_id", "session_id", "endpoint", "login_token"]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=10),
    st.binary(max_size=5),
    st.sampled_from(["alice", "", "\ud800", 10**400]),
    st.builds(object),
)
names = st.one_of(st.sampled_from(KEYS), scalars)
values = st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(names, scalars))
secrets = st.fixed_dictionaries(
    {},
    optional={
        "login_token": st.sampled_from([SECRET, f"{SECRET}\n", [SECRET], {"x": SECRET}]),
        "endpoint": st.sampled_from([f"https://{SECRET}@x", f"http://x/{SECRET}", [SECRET]]),
    },
)
term_keys = st.dictionaries(st.sampled_from(KEYS), values, max_size=3)
terms = st.one_of(
    scalars,
    st.builds(lambda own, secret: {**own, **secret}, term_keys, secrets),
    st.dictionaries(names, values, max_size=2),
    st.lists(st.one_of(scalars, term_keys), max_size=2),
    st.tuples(values),
    st.sets(st.integers(), max_size=2),
)


class NoEmulator:
    """A closed port, because nothing is sent in check mode."""

    url = "http://127.0.0.1:9"
    access_key_id = access_key_secret = "none"


def message_of(runner: LookupRunner, terms: list[t.Any], **options: t.Any) -> str:
    """Look up tokens in check mode and return the error message, if any."""
    try:
        runner.look_up(*terms, variables={"ansible_check_mode": True}, **options)
    except AnsibleError as error:
        return str(error)
    return ""


@PROFILE
@given(terms=st.lists(terms, max_size=3), token=st.sampled_from([None, SECRET, f"{SECRET} "]))
def test_any_term_is_accepted_or_refused(
    tmp_path_factory: pytest.TempPathFactory, terms: list[t.Any], token: str | None
) -> None:
    runner = LookupRunner(NoEmulator(), tmp_path_factory.getbasetemp())
    message = message_of(runner, terms, login_token=token)
    assert len(message) < 1000
    assert SECRET not in message
    assert quote(SECRET, safe="") not in message
