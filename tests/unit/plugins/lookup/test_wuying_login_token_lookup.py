# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lookup, called by its full name."""

from __future__ import annotations

import importlib

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint

# Skips the tests on a Python without a controller.
from ansible_collections.wuying.workspace.tests.unit.plugins.lookup.lookup_setup import (
    IDENTITY,
    NAME,
    AnsibleError,
    loader,
    trust_as_template,
)

PACKAGE = "ansible_collections"

# Terms


def test_a_term_is_an_end_user_whose_current_token_is_returned(runner):
    token = runner.start()
    assert runner.look_up("alice") == [token]
    assert runner.requests() == 0


def test_a_login_token_starts_the_session(runner):
    token = runner.emulator.issue()
    (current,) = runner.look_up("alice", login_token=token)
    assert current not in ("", token)
    assert runner.emulator.journal()["entries"][0]["issued"] == fingerprint(current)[:12]


def test_a_session_without_a_record_is_an_error(runner):
    message = runner.failure_of("alice")
    assert "NoLoginToken" in message
    assert "login_token" in message
    assert runner.requests() == 0


def test_a_term_can_be_a_dictionary(runner):
    token = runner.start()
    assert runner.look_up({"end_user_id": "alice"}) == [token]


def test_a_dictionary_starts_its_session_with_its_own_token(runner):
    terms = [{"end_user_id": name, "login_token": runner.emulator.issue(name)} for name in ("alice", "bob")]
    tokens = runner.look_up(*terms)
    assert len(set(tokens)) == 2
    assert runner.look_up("bob", "alice") == tokens[::-1]


def test_the_keys_of_a_dictionary_override_the_options(runner):
    identity = {
        "region_id": "cn-shanghai",
        "client_id": "another-client",
        "office_site_id": "another-office",
        "directory_id": "a-directory",
        "session_id": "a-session",
        "endpoint": runner.emulator.url,
    }
    token = runner.emulator.issue("bob", **{k: v for k, v in identity.items() if k != "endpoint"})
    term = {"end_user_id": "bob", **identity, "login_token": token}
    (current,) = runner.look_up(term, endpoint="https://no-such-host.invalid")
    assert runner.look_up("bob", **identity) == [current]


def test_a_session_id_belongs_to_the_token_that_it_comes_with(runner):
    with_id = runner.emulator.issue("alice", session_id="a-session")
    term = {"end_user_id": "bob", "login_token": runner.emulator.issue("bob")}
    (bob,) = runner.look_up(term, session_id="a-session")
    (alice,) = runner.look_up("alice", login_token=with_id, session_id="a-session")
    assert runner.look_up("alice", "bob", session_id="another") == [alice, bob]


def test_a_dictionary_without_an_end_user_uses_the_option(runner):
    token = runner.start()
    assert runner.look_up({"client_id": IDENTITY["client_id"]}, end_user_id="alice") == [token]


def test_the_elements_of_a_list_term_are_terms(runner):
    alice, bob = runner.start("alice"), runner.start("bob")
    assert runner.look_up(["alice", {"end_user_id": "bob"}]) == [alice, bob]
    assert runner.look_up(["bob"], "alice", ("bob",)) == [bob, alice, bob]


def test_current_tokens_are_returned_in_the_order_of_the_terms(runner):
    names = [f"user-{number}" for number in range(8)]
    tokens = {name: runner.start(name) for name in names}
    shuffled = names[3:] + names[:3]
    assert runner.look_up(*shuffled) == [tokens[name] for name in shuffled]


@pytest.mark.parametrize(
    "term", ['{"login_token": "v1sesame"}', "end_user_id=alice login_token=v1sesame", "a\nv1sesame"]
)
def test_a_string_that_may_contain_a_token_is_refused(runner, term):
    message = runner.failure_of(term)
    assert "A term is a string with a line break" in message
    assert "sesame" not in message


def test_an_empty_list_of_sessions_has_no_tokens(runner):
    assert runner.look_up([]) == []


def test_a_lookup_without_terms_is_an_error(runner):
    assert "needs at least one session" in runner.failure_of(end_user_id="alice")


@pytest.mark.parametrize("term", [None, "", 7.5, True, b"alice", [["alice"]], {"alice"}])
def test_a_term_of_another_type_or_an_empty_one_is_an_error(runner, term):
    assert "A term must be" in runner.failure_of(term, end_user_id="bob")


def test_an_unknown_key_in_a_term_is_refused_without_showing_its_value(runner):
    message = runner.failure_of({"end_user_id": "alice", "access_key_secret": "sesame"})
    assert "A term has an unknown key" in message
    assert "sesame" not in message


def test_a_dictionary_without_an_end_user_is_an_error(runner):
    assert "end_user_id" in runner.failure_of({"region_id": "cn-hangzhou"})


def test_the_most_similar_key_of_a_term_is_named(runner):
    message = runner.failure_of({"end_user_id": "alice", "officesite_id": "sesame"})
    assert "A term has an unknown key. Did you mean office_site_id?" in message


def test_a_malformed_term_stops_the_lookup_before_anything_is_sent(runner):
    runner.save_record(100)
    runner.failure_of("alice", {"end_user_id": "bob\n"})
    assert runner.requests() == 0


@pytest.mark.parametrize("terms", [("alice", "bob"), (["alice", "bob"],)])
def test_a_login_token_cannot_be_used_with_several_terms(runner, terms):
    message = runner.failure_of(*terms, login_token="v1sesame")
    assert "single term" in message
    assert "sesame" not in message
    assert runner.requests() == 0


# Refresh


def test_a_stale_token_is_refreshed(runner):
    record = runner.save_record(100)
    (token,) = runner.look_up("alice")
    assert token != record.login_token
    assert runner.look_up("alice") == [token]
    assert runner.requests() == 1


def test_a_stale_token_is_returned_with_a_warning_if_the_refresh_fails(runner, warnings):
    record = runner.save_record(100)
    runner.emulator.fault("status")
    assert runner.look_up("alice") == [record.login_token]
    assert any("ServiceUnavailable" in text for text in warnings)
    assert record.login_token not in "".join(warnings)


@pytest.mark.parametrize("code", ["Forbidden.SubUser", "SignatureDoesNotMatch", "SomethingElse"])
def test_a_stale_token_is_returned_with_a_warning_after_a_permanent_failure(runner, warnings, code):
    record = runner.save_record(100)
    runner.emulator.fault("error", code=code)
    assert runner.look_up("alice") == [record.login_token]
    assert any(code in text for text in warnings)


@pytest.mark.parametrize("passed", [False, True])
def test_a_refresh_without_validity_keeps_that_of_the_session(runner, passed):
    runner.start(validity=28800)
    token = runner.emulator.issue() if passed else None
    # The record is stale if half of its validity counts as less than the rest.
    store = importlib.import_module(f"{PACKAGE}.wuying.workspace.plugins.module_utils._store.directory").DirectoryStore
    key = next(store(str(runner.store)).keys())
    record = store(str(runner.store)).read(key).record
    runner.save_record(100, like=record)
    assert runner.look_up("alice", login_token=token)
    after = store(str(runner.store)).read(key).record
    assert after.login_token != record.login_token
    assert after.validity == 28800


def test_a_large_refresh_before_and_a_wrong_clock_cause_one_warning_each(runner, warnings):
    runner.emulator.fault("skew", seconds=-3720)
    terms = [{"end_user_id": name, "login_token": runner.emulator.issue(name)} for name in ("alice", "bob", "carol")]
    runner.look_up(*terms, refresh_before=3600)
    assert sum("refresh_before is 3,600 s, but tokens are valid for 900 s" in text for text in warnings) == 1
    assert sum("1 hour 2 minutes ahead of the clock of the service" in text for text in warnings) == 1
    assert len(warnings) == 2


def test_a_token_that_cannot_be_saved_is_returned_with_a_warning(runner, warnings, monkeypatch):
    utils = f"{PACKAGE}.wuying.workspace.plugins.module_utils"
    errors = importlib.import_module(f"{utils}._model.exceptions")

    def save(_slot, _record):
        raise errors.StoreError("The disk is gone.")

    files = importlib.import_module(f"{utils}._store.locked_file").LockedFile
    monkeypatch.setattr(files, "save", save)
    (token,) = runner.look_up("alice", login_token=runner.emulator.issue())
    assert runner.emulator.journal()["entries"][0]["issued"] == fingerprint(token)[:12]
    assert any("The disk is gone." in text for text in warnings)
    assert token not in "".join(warnings)


def test_a_failure_contains_the_service_s_code_and_no_secret(runner):
    token = runner.emulator.issue()
    runner.emulator.fault("error", code="SignatureDoesNotMatch", message=f"signed: {token}")
    message = runner.failure_of("alice", login_token=token)
    assert "SignatureDoesNotMatch" in message
    assert token not in message
    assert runner.emulator.access_key_secret not in message


def test_the_cause_of_a_failure_is_not_chained_to_it(runner):
    with pytest.raises(AnsibleError) as caught:
        runner.look_up("alice", login_token="v1never-issued")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


# Check mode


CHECK = {"ansible_check_mode": True}


def test_check_mode_returns_a_current_token(runner):
    token = runner.start()
    assert runner.look_up("alice", variables=CHECK) == [token]


def test_check_mode_returns_a_stale_token_and_sends_nothing(runner):
    record = runner.save_record(100)
    assert runner.look_up("alice", variables=CHECK) == [record.login_token]
    assert runner.requests() == 0


@pytest.mark.parametrize("seconds", [None, -5])
def test_check_mode_fails_without_a_valid_token(runner, seconds):
    if seconds is not None:
        runner.save_record(seconds)
    token = runner.emulator.issue() if seconds is None else None
    message = runner.failure_of("alice", login_token=token, variables=CHECK)
    assert "check mode" in message
    assert runner.requests() == 0
    assert runner.store.exists() == (seconds is not None)


# Options


def test_an_unknown_keyword_is_refused_without_showing_its_value(runner):
    message = runner.failure_of("alice", end_user="sesame")
    assert "'end_user'" in message
    assert "end_user_id" in message
    assert "sesame" not in message


@pytest.mark.parametrize("name", ["state", "force", "return_token"])
def test_options_of_the_module_only_are_refused(runner, name):
    message = runner.failure_of("alice", **{name: True})
    assert f"'{name}' is not an option" in message
    assert len(message) < 200


@pytest.mark.parametrize("name", ["officesite_id", "office_siteid", "OfficeSiteId"])
def test_the_most_similar_option_is_named(runner, name):
    assert "Did you mean office_site_id?" in runner.failure_of("alice", **{name: "sesame"})


def test_a_lookup_needs_a_store(runner):
    assert "store" in runner.failure_of("alice", store="none", login_token="v1sesame")
    assert "store" in runner.failure_of("alice", store=None, variables={"wuying_store": "none"})
    assert runner.requests() == 0


def test_options_come_from_variables(runner):
    token = runner.start()
    variables = {f"wuying_{name}": value for name, value in runner.options.items()}
    assert runner.look_up("alice", variables=variables, **dict.fromkeys(runner.options)) == [token]


def test_variables_are_rendered(runner):
    token = runner.start()
    variables = {
        "wuying_region_id": trust_as_template("{{ region }}"),
        "region": trust_as_template("cn-{{ city }}"),
        "city": "hangzhou",
        "wuying_store": trust_as_template("{{ folder ~ '/store' }}"),
        "folder": str(runner.store.parent),
        "wuying_retries": trust_as_template("{{ 1 + 1 }}"),
    }
    nothing = dict.fromkeys(["region_id", "store", "retries"])
    assert runner.look_up("alice", variables=variables, **nothing) == [token]


def test_other_variables_are_not_rendered(runner):
    token = runner.start()
    variables = {"wuying_something": trust_as_template("{{ undefined_variable }}")}
    assert runner.look_up("alice", variables=variables) == [token]


def test_a_keyword_overrides_a_variable(runner):
    token = runner.start()
    assert runner.look_up("alice", variables={"wuying_region_id": "cn-shanghai"}) == [token]


def test_a_login_token_can_come_from_a_variable(runner):
    variables = {"wuying_login_token": runner.emulator.issue()}
    assert runner.look_up("alice", variables=variables) == runner.look_up("alice")


def test_the_store_can_come_from_the_environment(runner, monkeypatch):
    token = runner.start()
    monkeypatch.setenv("WUYING_TOKEN_STORE", str(runner.store))
    assert runner.look_up("alice", store=None) == [token]


def test_a_login_token_from_the_environment_is_ignored(runner, monkeypatch):
    monkeypatch.setenv("WUYING_LOGIN_TOKEN", runner.emulator.issue())
    message = runner.failure_of("alice")
    assert "NoLoginToken" in message
    assert "WUYING_LOGIN_TOKEN is set, but" in message
    assert runner.requests() == 0
    monkeypatch.delenv("WUYING_LOGIN_TOKEN")
    assert "WUYING_LOGIN_TOKEN" not in runner.failure_of("alice")


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
def test_a_malformed_option_is_refused_without_showing_it(runner, name, value):
    message = runner.failure_of("alice", **{name: value})
    assert name in message
    assert "sesame" not in message
    assert "InvalidOption" in message
    assert runner.requests() == 0


NO_BOOLEANS = [" ", "treu", "enabled", "2", 2, -1, 0.5, [], ["no"], {}]


@pytest.mark.parametrize("value", NO_BOOLEANS)
@pytest.mark.parametrize("by_keyword", [True, False])
def test_a_value_that_is_not_a_boolean_does_not_disable_verification(runner, value, by_keyword):
    given = {"validate_certs": value}
    given = given if by_keyword else {"variables": {"wuying_validate_certs": value}}
    message = runner.failure_of("alice", login_token=runner.emulator.issue(), **given)
    assert "validate_certs must be true or false. (error_code: InvalidOption)" in message
    assert runner.requests() == 0


@pytest.mark.parametrize("value", ["treu", "enabled", "2"])
def test_an_invalid_value_in_ansible_cfg_does_not_disable_verification(runner, configure, value):
    configure(validate_certs=value)
    message = runner.failure_of("alice", login_token=runner.emulator.issue())
    assert "validate_certs must be true or false." in message
    assert runner.requests() == 0


@pytest.mark.parametrize("value", [True, False, "yes", "no", "True", "off", 1, 0, None])
def test_all_spellings_of_a_boolean_are_accepted(runner, configure, value):
    token = runner.start()
    variables = {} if value is None else {"wuying_validate_certs": value}
    assert runner.look_up("alice", validate_certs=value) == [token]
    assert runner.look_up("alice", variables=variables) == [token]
    configure(validate_certs="true" if value is None else value)
    assert runner.look_up("alice") == [token]


def test_missing_identity_options_are_all_named_at_once(runner):
    message = runner.failure_of("alice", region_id=None, client_id="")
    assert "Required options are missing: region_id, client_id. Pass them as keywords or set wuying_" in message
    assert "wuying_region_id, wuying_client_id" in message


# Credentials


def test_credentials_can_come_from_variables(runner):
    sts = {f"wuying_{name}": value for name, value in runner.emulator.sts.items()}
    nothing = {"access_key_id": None, "access_key_secret": None}
    assert runner.look_up("alice", login_token=runner.emulator.issue(), variables=sts, **nothing)
    assert runner.emulator.journal()["entries"][0]["signature"] == "v3"


def test_a_security_token_from_a_variable_is_not_used_with_keywords(runner):
    variables = {"wuying_security_token": runner.emulator.sts["security_token"]}
    assert runner.look_up("alice", login_token=runner.emulator.issue(), variables=variables)
    assert runner.emulator.journal()["exchanges"] == 1


def test_incomplete_credential_keywords_are_not_completed_by_variables(runner):
    variables = {"wuying_access_key_secret": runner.emulator.access_key_secret}
    message = runner.failure_of(
        "alice",
        login_token=runner.emulator.issue(),
        access_key_secret=None,
        variables=variables,
    )
    assert "access_key_id is set but access_key_secret is not" in message
    assert runner.requests() == 0


def test_credentials_come_from_the_environment_if_not_set_otherwise(runner, monkeypatch):
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", runner.emulator.access_key_id)
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", runner.emulator.access_key_secret)
    nothing = {"access_key_id": None, "access_key_secret": None}
    assert runner.look_up("alice", login_token=runner.emulator.issue(), **nothing)


def test_a_current_session_needs_no_credentials(runner):
    token = runner.start()
    nothing = {"access_key_id": None, "access_key_secret": None}
    assert runner.look_up("alice", **nothing) == [token]


def test_secrets_cannot_be_set_in_ansible_cfg(runner):
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
    """Return arguments that set an option by keyword or by variable."""
    return {name: value} if by_keyword else {name: None, "variables": {f"wuying_{name}": value}}


@pytest.mark.parametrize("value", [{"changed": True, "login_token": "v1sesame"}, [["v1sesame"]]])
@pytest.mark.parametrize("by_keyword", [True, False])
@pytest.mark.parametrize("name", TEXTS)
def test_a_value_that_is_not_a_string_is_not_shown(runner, name, by_keyword, value):
    message = runner.failure_of("alice", **given(name, value, by_keyword))
    assert f"{name} must be a string" in message
    assert "sesame" not in message


@pytest.mark.parametrize("value", ["sesame", {"sesame": 1}, ["sesame"], True, 10**400])
@pytest.mark.parametrize("by_keyword", [True, False])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_value_that_is_not_a_number_is_not_shown(runner, name, by_keyword, value):
    message = runner.failure_of("alice", **given(name, value, by_keyword))
    assert f"{name} must be a number" in message
    assert "sesame" not in message


@pytest.mark.parametrize("by_keyword", [True, False])
@pytest.mark.parametrize(
    ("name", "choices"),
    [("auth_method", "access_key, provider_chain, anonymous"), ("signature_version", "v3, v1")],
)
def test_a_value_that_is_not_a_choice_is_not_shown(runner, name, by_keyword, choices):
    message = runner.failure_of("alice", **given(name, "sesame", by_keyword))
    assert f"{name} must be one of: {choices}." in message
    assert "sesame" not in message


def test_only_one_lookup_option_is_neither_a_string_nor_a_number():
    options = loader.lookup_loader.get(NAME).option_definitions
    assert set(options) - {"_terms"} == {*NUMBERS, *TEXTS, "validate_certs"}


def test_a_variable_that_contains_the_lookup_itself_is_an_error(runner):
    template_of_itself = trust_as_template(f"{{{{ lookup('{NAME}', 'alice') }}}}")
    variables = {"wuying_login_token": template_of_itself}
    assert "contains this lookup itself" in runner.failure_of("alice", variables=variables)
