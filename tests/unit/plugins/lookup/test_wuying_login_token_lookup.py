# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lookup, found by its full name as templates find it."""

from __future__ import annotations

import importlib

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint

# Where there is no controller this skips.
from ansible_collections.wuying.workspace.tests.unit.plugins.lookup.lookup_house import (
    IDENTITY,
    NAME,
    AnsibleError,
    loader,
    trust_as_template,
)

PACKAGE = "ansible_collections"

# Terms


def test_a_term_is_an_end_user_whose_current_token_is_returned(house):
    token = house.start()
    assert house.look_up("alice") == [token]
    assert house.requests() == 0


def test_a_login_token_starts_the_session(house):
    token = house.emulator.issue()
    (current,) = house.look_up("alice", login_token=token)
    assert current not in ("", token)
    assert house.emulator.journal()["entries"][0]["issued"] == fingerprint(current)[:12]


def test_a_session_that_nobody_started_is_an_error(house):
    message = house.failure_of("alice")
    assert "NoLoginToken" in message
    assert "login_token" in message
    assert house.requests() == 0


def test_a_term_may_be_a_dictionary(house):
    token = house.start()
    assert house.look_up({"end_user_id": "alice"}) == [token]


def test_a_dictionary_starts_its_session_with_its_own_token(house):
    terms = [{"end_user_id": name, "login_token": house.emulator.issue(name)} for name in ("alice", "bob")]
    tokens = house.look_up(*terms)
    assert len(set(tokens)) == 2
    assert house.look_up("bob", "alice") == tokens[::-1]


def test_the_keys_of_a_dictionary_come_before_the_options(house):
    identity = {
        "region_id": "cn-shanghai",
        "client_id": "another-client",
        "office_site_id": "another-office",
        "directory_id": "a-directory",
        "session_id": "a-session",
        "endpoint": house.emulator.url,
    }
    token = house.emulator.issue("bob", **{k: v for k, v in identity.items() if k != "endpoint"})
    term = {"end_user_id": "bob", **identity, "login_token": token}
    (current,) = house.look_up(term, endpoint="https://no-such-host.invalid")
    assert house.look_up("bob", **identity) == [current]


def test_the_end_user_of_dictionaries_that_name_none_is_the_option(house):
    token = house.start()
    assert house.look_up({"client_id": IDENTITY["client_id"]}, end_user_id="alice") == [token]


def test_a_list_as_a_term_stands_for_its_elements(house):
    alice, bob = house.start("alice"), house.start("bob")
    assert house.look_up(["alice", {"end_user_id": "bob"}]) == [alice, bob]
    assert house.look_up(["bob"], "alice", ("bob",)) == [bob, alice, bob]


def test_many_terms_are_served_in_their_order(house):
    names = [f"user-{number}" for number in range(8)]
    tokens = {name: house.start(name) for name in names}
    shuffled = names[3:] + names[:3]
    assert house.look_up(*shuffled) == [tokens[name] for name in shuffled]


def test_an_empty_list_of_sessions_has_no_tokens(house):
    assert house.look_up([]) == []


def test_without_a_term_the_lookup_asks_for_one(house):
    assert "Name at least one session" in house.failure_of(end_user_id="alice")


@pytest.mark.parametrize("term", [None, 7, True, b"alice", [["alice"]], {"alice"}])
def test_a_term_of_another_type_is_an_error(house, term):
    assert "A term must be" in house.failure_of(term)


def test_a_dictionary_with_an_unknown_key_is_an_error_that_shows_no_value(house):
    message = house.failure_of({"end_user_id": "alice", "access_key_secret": "sesame"})
    assert "A term has a key" in message
    assert "sesame" not in message


def test_a_dictionary_without_an_end_user_is_an_error(house):
    assert "end_user_id" in house.failure_of({"region_id": "cn-hangzhou"})


def test_one_wrong_term_keeps_all_others_from_being_sent(house):
    house.keep(100)
    house.failure_of("alice", {"end_user_id": "bob\n"})
    assert house.requests() == 0


@pytest.mark.parametrize("terms", [("alice", "bob"), (["alice", "bob"],)])
def test_one_login_token_does_not_go_with_several_terms(house, terms):
    message = house.failure_of(*terms, login_token="v1sesame")
    assert "single term" in message
    assert "sesame" not in message
    assert house.requests() == 0


# Exchanging


def test_a_stale_token_is_exchanged(house):
    record = house.keep(100)
    (token,) = house.look_up("alice")
    assert token != record.login_token
    assert house.look_up("alice") == [token]
    assert house.requests() == 1


def test_a_stale_token_that_cannot_be_exchanged_now_is_served_with_a_warning(house, warnings):
    record = house.keep(100)
    house.emulator.fault("status")
    assert house.look_up("alice") == [record.login_token]
    assert any("ServiceUnavailable" in text for text in warnings)
    assert record.login_token not in "".join(warnings)


def test_a_token_that_cannot_be_kept_is_returned_with_a_warning(house, warnings, monkeypatch):
    utils = f"{PACKAGE}.wuying.workspace.plugins.module_utils"
    errors = importlib.import_module(f"{utils}._model.exceptions")

    def save(_slot, _record):
        raise errors.StoreError("The disk is gone.")

    files = importlib.import_module(f"{utils}._store.directory")._SessionFile
    monkeypatch.setattr(files, "save", save)
    (token,) = house.look_up("alice", login_token=house.emulator.issue())
    assert house.emulator.journal()["entries"][0]["issued"] == fingerprint(token)[:12]
    assert any("The disk is gone." in text for text in warnings)
    assert token not in "".join(warnings)


def test_a_failure_names_the_service_s_code_and_shows_no_secret(house):
    token = house.emulator.issue()
    house.emulator.fault("error", code="SignatureDoesNotMatch", message=f"signed: {token}")
    message = house.failure_of("alice", login_token=token)
    assert "SignatureDoesNotMatch" in message
    assert token not in message
    assert house.emulator.access_key_secret not in message


def test_the_cause_of_a_failure_is_not_chained_to_it(house):
    with pytest.raises(AnsibleError) as caught:
        house.look_up("alice", login_token="v1never-issued")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


# Check mode


CHECK = {"ansible_check_mode": True}


def test_check_mode_serves_a_current_token(house):
    token = house.start()
    assert house.look_up("alice", variables=CHECK) == [token]


def test_check_mode_serves_a_stale_token_and_sends_nothing(house):
    record = house.keep(100)
    assert house.look_up("alice", variables=CHECK) == [record.login_token]
    assert house.requests() == 0


@pytest.mark.parametrize("seconds", [None, -5])
def test_check_mode_fails_where_no_token_lives(house, seconds):
    if seconds is not None:
        house.keep(seconds)
    token = house.emulator.issue() if seconds is None else None
    message = house.failure_of("alice", login_token=token, variables=CHECK)
    assert "check mode" in message
    assert house.requests() == 0
    assert house.store.exists() == (seconds is not None)


# Options


def test_an_unknown_keyword_is_an_error_that_names_it_and_not_its_value(house):
    message = house.failure_of("alice", end_user="sesame")
    assert "'end_user'" in message
    assert "end_user_id" in message
    assert "sesame" not in message


@pytest.mark.parametrize("name", ["state", "force", "return_token"])
def test_what_only_the_module_does_is_no_option_of_the_lookup(house, name):
    assert f"'{name}' is not an option" in house.failure_of("alice", **{name: True})


def test_a_lookup_needs_a_store(house):
    assert "store" in house.failure_of("alice", store="none", login_token="v1sesame")
    assert "store" in house.failure_of("alice", store=None, variables={"wuying_store": "none"})
    assert house.requests() == 0


def test_options_come_from_variables(house):
    token = house.start()
    variables = {f"wuying_{name}": value for name, value in house.options.items()}
    assert house.look_up("alice", variables=variables, **dict.fromkeys(house.options)) == [token]


def test_variables_are_rendered(house):
    token = house.start()
    variables = {
        "wuying_region_id": trust_as_template("{{ region }}"),
        "region": trust_as_template("cn-{{ city }}"),
        "city": "hangzhou",
        "wuying_store": trust_as_template("{{ folder ~ '/store' }}"),
        "folder": str(house.store.parent),
        "wuying_retries": trust_as_template("{{ 1 + 1 }}"),
    }
    nothing = dict.fromkeys(["region_id", "store", "retries"])
    assert house.look_up("alice", variables=variables, **nothing) == [token]


def test_variables_that_are_not_asked_for_are_not_rendered(house):
    token = house.start()
    variables = {"wuying_something": trust_as_template("{{ undefined_variable }}")}
    assert house.look_up("alice", variables=variables) == [token]


def test_a_keyword_comes_before_a_variable(house):
    token = house.start()
    assert house.look_up("alice", variables={"wuying_region_id": "cn-shanghai"}) == [token]


def test_a_login_token_may_come_from_a_variable(house):
    variables = {"wuying_login_token": house.emulator.issue()}
    assert house.look_up("alice", variables=variables) == house.look_up("alice")


def test_the_store_may_come_from_the_environment(house, monkeypatch):
    token = house.start()
    monkeypatch.setenv("WUYING_TOKEN_STORE", str(house.store))
    assert house.look_up("alice", store=None) == [token]


def test_a_login_token_of_the_environment_does_not_count(house, monkeypatch):
    monkeypatch.setenv("WUYING_LOGIN_TOKEN", house.emulator.issue())
    assert "NoLoginToken" in house.failure_of("alice")
    assert house.requests() == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("region_id", "cn-hangzhou\n"),
        ("endpoint", "http://sesame.example.com"),
        ("validity", -1),
        ("deadline", float("nan")),
        ("store", "relative/sesame"),
        ("proxy", "http://user:sesame@127.0.0.1"),
        ("login_token", "sesame\n"),
    ],
)
def test_a_malformed_option_is_an_error_that_does_not_show_it(house, name, value):
    message = house.failure_of("alice", **{name: value})
    assert name in message
    assert "sesame" not in message
    assert "InvalidOption" in message
    assert house.requests() == 0


NO_BOOLEANS = ["", "treu", "enabled", "2", 2, -1, 0.5, [], ["no"], {}]


@pytest.mark.parametrize("value", NO_BOOLEANS)
@pytest.mark.parametrize("by_keyword", [True, False])
def test_whatever_is_no_boolean_does_not_turn_verification_off(house, value, by_keyword):
    given = {"validate_certs": value}
    given = given if by_keyword else {"variables": {"wuying_validate_certs": value}}
    message = house.failure_of("alice", login_token=house.emulator.issue(), **given)
    assert "validate_certs must be true or false. (error_code: InvalidOption)" in message
    assert house.requests() == 0


@pytest.mark.parametrize("value", ["", "treu", "enabled", "2"])
def test_whatever_is_no_boolean_in_the_configuration_does_not_turn_verification_off(house, configure, value):
    configure(validate_certs=value)
    message = house.failure_of("alice", login_token=house.emulator.issue())
    assert "validate_certs must be true or false." in message
    assert house.requests() == 0


@pytest.mark.parametrize("value", [True, False, "yes", "no", "True", "off", 1, 0, None])
def test_a_boolean_is_taken_however_it_is_written(house, configure, value):
    token = house.start()
    variables = {} if value is None else {"wuying_validate_certs": value}
    assert house.look_up("alice", validate_certs=value) == [token]
    assert house.look_up("alice", variables=variables) == [token]
    configure(validate_certs="true" if value is None else value)
    assert house.look_up("alice") == [token]


def test_a_missing_part_of_the_identity_is_an_error(house):
    assert "region_id" in house.failure_of("alice", region_id=None)


# Credentials


def test_credentials_may_come_from_variables(house):
    sts = {f"wuying_{name}": value for name, value in house.emulator.sts.items()}
    nothing = {"access_key_id": None, "access_key_secret": None}
    assert house.look_up("alice", login_token=house.emulator.issue(), variables=sts, **nothing)
    assert house.emulator.journal()["entries"][0]["signature"] == "v3"


def test_a_security_token_of_a_variable_never_joins_a_key_of_keywords(house):
    variables = {"wuying_security_token": house.emulator.sts["security_token"]}
    assert house.look_up("alice", login_token=house.emulator.issue(), variables=variables)
    assert house.emulator.journal()["exchanges"] == 1


def test_half_a_set_of_keywords_is_not_completed_by_variables(house):
    variables = {"wuying_access_key_secret": house.emulator.access_key_secret}
    message = house.failure_of(
        "alice",
        login_token=house.emulator.issue(),
        access_key_secret=None,
        variables=variables,
    )
    assert "access_key_id is set but access_key_secret is not" in message
    assert house.requests() == 0


def test_credentials_come_from_the_environment_where_nothing_else_gives_any(house, monkeypatch):
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", house.emulator.access_key_id)
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", house.emulator.access_key_secret)
    nothing = {"access_key_id": None, "access_key_secret": None}
    assert house.look_up("alice", login_token=house.emulator.issue(), **nothing)


def test_a_current_session_needs_no_credentials(house):
    token = house.start()
    nothing = {"access_key_id": None, "access_key_secret": None}
    assert house.look_up("alice", **nothing) == [token]


def test_secrets_have_no_key_in_the_configuration_file(house):
    lookup = loader.lookup_loader.get(NAME)
    secrets = (
        "login_token",
        "access_key_secret",
        "security_token",
        "store_password",
        "store_key",
    )
    options = lookup.option_definitions
    assert not [name for name in secrets if options[name].get("ini")]
    plain = set(options) - {*secrets, "_terms"}
    assert [name for name in sorted(plain) if not options[name].get("ini")] == []
    assert [n for n in sorted(set(options) - {"_terms"}) if not options[n].get("vars")] == []


NUMBERS = ("validity", "refresh_before", "timeout", "retries", "deadline")
TEXTS = (
    *("login_token", "access_key_id", "access_key_secret", "security_token", "store_password"),
    *("store_username", "store_key", "store", "store_ca_path", "ca_path", "proxy", "endpoint"),
    *("auth_method", "signature_version", "end_user_id", "region_id", "client_id"),
    *("office_site_id", "directory_id", "session_id"),
)


def given(name, value, by_keyword):
    """Return the arguments with which a lookup is given an option."""
    return {name: value} if by_keyword else {name: None, "variables": {f"wuying_{name}": value}}


@pytest.mark.parametrize("value", [{"changed": True, "login_token": "v1sesame"}, [["v1sesame"]]])
@pytest.mark.parametrize("by_keyword", [True, False])
@pytest.mark.parametrize("name", TEXTS)
def test_what_is_no_text_is_not_quoted(house, name, by_keyword, value):
    message = house.failure_of("alice", **given(name, value, by_keyword))
    assert f"{name} must be a text" in message
    assert "sesame" not in message


@pytest.mark.parametrize("value", ["sesame", {"sesame": 1}, ["sesame"], True, 10**400])
@pytest.mark.parametrize("by_keyword", [True, False])
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_not_quoted(house, name, by_keyword, value):
    message = house.failure_of("alice", **given(name, value, by_keyword))
    assert f"{name} must be a number" in message
    assert "sesame" not in message


@pytest.mark.parametrize("by_keyword", [True, False])
@pytest.mark.parametrize(
    ("name", "choices"),
    [("auth_method", "access_key, provider_chain, anonymous"), ("signature_version", "v3, v1")],
)
def test_what_is_none_of_the_choices_is_not_quoted(house, name, by_keyword, choices):
    message = house.failure_of("alice", **given(name, "sesame", by_keyword))
    assert f"{name} must be one of these: {choices}." in message
    assert "sesame" not in message


def test_all_options_of_the_lookup_are_texts_or_numbers_but_one():
    options = loader.lookup_loader.get(NAME).option_definitions
    assert set(options) - {"_terms"} == {*NUMBERS, *TEXTS, "validate_certs"}


def test_a_variable_that_holds_the_lookup_itself_is_an_error(house):
    template_of_itself = trust_as_template(f"{{{{ lookup('{NAME}', 'alice') }}}}")
    variables = {"wuying_login_token": template_of_itself}
    assert "this very lookup" in house.failure_of("alice", variables=variables)
