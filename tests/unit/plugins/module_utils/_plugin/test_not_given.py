# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which values count as given, whatever their type, and which names are suggested for misspelled ones."""

from __future__ import annotations

import sys
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import (
    argument_spec,
    session_spec,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.fleet import read_filters
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.options import did_you_mean, given

SESSION = Session("https://ecd.cn-hangzhou.aliyuncs.com", "cn-hangzhou", "office-1", "alice", "client-1")
SPEC = {**argument_spec(), **session_spec(), "sessions": {"options": session_spec()}}
PLACEHOLDER = "__omit_place_holder__d553cdb8330ea73d531082cb370ee4e5575ca9ce"

NOT_ONLY_USERS = (
    '{"end_user_id": "alice", "login_token": "v1sesame"}',
    '[{"end_user_id": "alice", "login_token": "v1sesame"}]',
    "end_user_id=alice login_token=v1sesame",
    "- end_user_id: alice\n  login_token: v1sesame",
    "login_token: v1sesame",
    "alice\nv1sesame",
    "alice\rv1sesame",
    "[v1sesame",
    "v1sesame}",
)


class Omit:
    """The value of ``omit`` since ansible-core 2.19."""


Omit.__name__ = "_OmitType"


class Encrypted(t.Sequence):  # type: ignore[type-arg]
    """An encrypted value before ansible-core 2.19, which is no string."""

    __ENCRYPTED__ = True

    def __init__(self, text):
        self.text = text

    def __len__(self):
        return len(self.text)

    def __getitem__(self, index):
        return self.text[index]

    def __str__(self):
        return self.text


class Tagged(str):
    """A string with tags."""


class TaggedInt(int):
    """An integer with tags."""


@pytest.mark.parametrize(
    "value", [None, "", Tagged(""), Encrypted(""), PLACEHOLDER, Omit()], ids=lambda value: type(value).__name__
)
@pytest.mark.parametrize("name", sorted(set(SPEC) - {"store_key"}))
def test_no_empty_value_of_any_option_is_given(name, value):
    assert given({name: value}, SPEC) == {}


@pytest.mark.parametrize("value", [None, PLACEHOLDER, Omit()], ids=lambda value: type(value).__name__)
def test_a_null_or_omitted_store_key_is_not_given(value):
    assert given({"store_key": value}, SPEC) == {}


@pytest.mark.parametrize(
    ("value", "remains"),
    [("", ""), ([], []), ([None], [""]), (("a", ""), ["a", ""]), (["a", Omit()], ["a", ""]), ([PLACEHOLDER], [""])],
)
def test_an_empty_store_key_remains_to_be_refused(value, remains):
    assert given({"store_key": value}, SPEC) == {"store_key": remains}


@pytest.mark.parametrize(
    "value", [Encrypted("alice"), Tagged("alice"), "alice"], ids=lambda value: type(value).__name__
)
def test_text_is_the_same_in_any_type(value):
    options = {"end_user_id": value, "store_key": [value], "sessions": [value, {"client_id": value}]}
    assert given(options, SPEC) == {
        "end_user_id": "alice",
        "store_key": ["alice"],
        "sessions": [{"end_user_id": "alice"}, {"client_id": "alice"}],
    }


@pytest.mark.parametrize("value", [0, 0.0, False, [], {}, ["alice"], {"a": ""}])
def test_other_values_are_given_unchanged(value):
    assert given({"filters": value}, {"filters": {}}) == {"filters": value}


def test_unknown_names_remain_for_the_caller_to_refuse():
    entry = {"officesite": "", "client_id": None}
    assert given({"stoer": None, "sessions": [entry]}, SPEC) == {"stoer": None, "sessions": [{"officesite": ""}]}


@pytest.mark.parametrize("value", [f"x{PLACEHOLDER}", "<<Omit>>-1", ["a", "x<<Omit>>"]])
def test_omit_as_a_part_of_a_value_is_refused(value):
    with pytest.raises(OptionError, match=r"^client_id contains the value of omit"):
        given({"client_id": value}, SPEC)


def test_an_omitted_part_of_a_session_or_filter_is_refused_too():
    for options in ({"sessions": [{"client_id": "x<<Omit>>"}]}, {"sessions": ["x<<Omit>>"]}):
        with pytest.raises(OptionError, match="value of omit"):
            given(options, SPEC)
    with pytest.raises(OptionError, match="value of omit"):
        read_filters({"client_id": ["a", f"x{PLACEHOLDER}"]})


@pytest.mark.parametrize(
    ("sessions", "entries"),
    [
        ("alice, 1001", [{"end_user_id": "alice"}, {"end_user_id": "1001"}]),
        (["alice", 1001, TaggedInt(7)], [{"end_user_id": "alice"}, {"end_user_id": "1001"}, {"end_user_id": "7"}]),
        ([{"end_user_id": 1001, "client_id": ""}, {}], [{"end_user_id": "1001"}, {}]),
        ([{"end_user_id": ""}, {"end_user_id": "a=b: [1]"}], [{}, {"end_user_id": "a=b: [1]"}]),
        ({"end_user_id": "alice"}, {"end_user_id": "alice"}),
        ([], []),
    ],
)
def test_sessions_are_dictionaries_or_users(sessions, entries):
    assert given({"sessions": sessions}, SPEC) == {"sessions": entries}


@pytest.mark.parametrize("element", [None, "", True, 7.5, ["sesame"]])
def test_other_elements_of_sessions_are_refused(element):
    with pytest.raises(OptionError, match=r"^sessions\[1\] must be an end_user_id or a dictionary") as caught:
        given({"sessions": ["alice", element]}, SPEC)
    assert "sesame" not in caught.value.message


@pytest.mark.parametrize("sessions", ["alice,,bob", "alice, "])
def test_a_comma_too_many_in_sessions_is_refused(sessions):
    with pytest.raises(OptionError, match=r"^sessions\[1\] must be an end_user_id"):
        given({"sessions": sessions}, SPEC)


@pytest.mark.parametrize("text", NOT_ONLY_USERS)
def test_a_string_that_may_contain_a_token_is_no_user(text):
    for sessions in (text, [text], ["alice", Tagged(text)], [Encrypted(text)]):
        with pytest.raises(
            OptionError, match=r"^sessions\[[01]\] is a string with a line break or .* from_json"
        ) as caught:
            given({"sessions": sessions}, SPEC)
        assert "sesame" not in caught.value.message


def test_filters_ignore_keys_and_elements_that_were_not_given():
    matching: list[dict[str, t.Any]] = [
        {},
        {"end_user_id": None, "client_id": "", "region_id": Omit(), "directory_id": PLACEHOLDER},
        {"end_user_id": ["alice", "", None], "client_id": Encrypted(SESSION.client_id)},
    ]
    assert all(read_filters(filters)(SESSION) for filters in matching)
    assert not read_filters({"end_user_id": ["bob", ""]})(SESSION)


def test_integers_in_filters_are_text():
    session = SESSION._replace(end_user_id="1001")
    assert read_filters({"end_user_id": 1001})(session)
    assert read_filters({"end_user_id": [7, TaggedInt(1001)]})(session)
    assert not read_filters({"end_user_id": 7})(session)


@pytest.mark.parametrize("value", [[], [""], [None], True, [7.5], {"sesame": 1}])
def test_a_filter_that_could_match_nothing_is_refused(value):
    with pytest.raises(OptionError, match="end_user_id in filters") as caught:
        read_filters({"end_user_id": value})
    assert "sesame" not in caught.value.message


# Names


@pytest.mark.parametrize("name", ["officesite_id", "OfficeSiteId", "office-site-id", "wuying_office_site_id"])
def test_the_most_similar_name_is_suggested(name):
    assert did_you_mean(name, SPEC, "No.") == "Did you mean office_site_id?"
    with pytest.raises(OptionError, match=r"unknown key. Did you mean office_site_id\?"):
        read_filters({name: "sesame"})


@pytest.mark.parametrize("name", ["xyzzy", 7, None, ("a", "b")])
def test_no_name_is_suggested_for_another_word(name):
    assert did_you_mean(name, SPEC, "No.") == "No."


def test_a_task_without_an_error_does_not_load_difflib(monkeypatch):
    monkeypatch.delitem(sys.modules, "difflib", raising=False)
    read_filters({"end_user_id": "alice"})
    assert "difflib" not in sys.modules
