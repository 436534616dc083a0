# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: wuying_login_token
author:
  - The wuying.workspace authors (@wuying-workspace)
short_description: Look up a valid login token
version_added: 0.1.0
description:
  - Returns the current login token of one or more sessions of WUYING Workspace (cloud desktops of Alibaba Cloud).
  - The lookup reads the token from the store of the module M(wuying.workspace.wuying_login_token). If the token is stale, the lookup
    refreshes it first. Use the lookup where you use the token, so that the token is always current.
  - If the service no longer accepts the token, and the record contains a keep-alive token, the lookup logs in with it. See the option
    C(stay_logged_in) of the module. The lookup accepts no password, because lookups are evaluated repeatedly and for each host.
  - The lookup runs on the controller. It uses the store, the environment, and the Python package C(requests) of the controller and the user
    who runs Ansible. It does not see records that a module wrote on another host.
  - Ansible evaluates a lookup again for each host, each loop item, and each use of a variable whose value contains it. After the first time,
    the token is current, and no request is sent.
  - In check mode, the lookup sends and writes nothing. It returns a stored token that is still valid, and fails if there is none. It
    recognizes check mode only if the whole run is in check mode (C(--check)), because Ansible does not pass the C(check_mode) keyword of a
    task to lookups.
extends_documentation_fragment:
  - wuying.workspace.session.lookup
  - wuying.workspace.session
  - wuying.workspace.store.lookup
  - wuying.workspace.store
  - wuying.workspace.service.lookup
  - wuying.workspace.service
options:
  _terms:
    description:
      - The sessions whose tokens to return, in this order.
      - A term is an O(end_user_id) or a dictionary. A dictionary can contain O(end_user_id), O(region_id), O(client_id), O(office_site_id),
        O(directory_id), O(endpoint), O(login_token), and O(session_id) for its session. Values that it does not contain are taken from the
        options of the lookup.
      - A string with a line break or one of the characters C([]{}=:) is refused, because it may be JSON or YAML text with a token. Pass such an
        O(end_user_id) in a dictionary.
      - If a term is a list, its elements are used as terms.
    type: list
    elements: raw
    required: true
  end_user_id:
    description:
      - The end user of each dictionary term that does not contain its own.
    type: str
    vars:
      - name: wuying_end_user_id
    ini:
      - section: wuying_login_token_lookup
        key: end_user_id
  login_token:
    description:
      - The login token to start the session with. You can use this option only with a single term. With several terms, put each token in a
        dictionary.
      - The variable applies to every lookup that can see it, whatever its term. Pass the keyword instead, or set the variable for one
        task only.
      - The environment variable E(WUYING_LOGIN_TOKEN) is not used, because its token could be used for the wrong user.
    type: str
    vars:
      - name: wuying_login_token
  session_id:
    description:
      - The C(SessionId) that the service issued with O(login_token). It is stored with that token and sent with each refresh of the session.
      - It has no effect without O(login_token), or if the session has already used that token. For a token in a dictionary, put its
        ID in the same dictionary.
      - If not set, none is sent.
    type: str
    vars:
      - name: wuying_session_id
    ini:
      - section: wuying_login_token_lookup
        key: session_id
notes:
  - A null value, an omitted value, and an empty string mean that an option is not set. The only exception is O(store_key), which must not be empty.
  - A host must not configure the lookup. If one of its variables, such as C(wuying_store), is a fact of the host, the lookup fails. This includes
    C(set_fact) with C(cacheable=true).
  - The lookup reads the environment of the C(ansible-playbook) process. The C(environment) keyword of a task has no effect on it. The
    C(WUYING_TOKEN_) variables precede C(ansible.cfg). For O(access_key_id), O(ca_path), and O(proxy), C(ansible.cfg) precedes the environment.
  - Pass secrets as variables. If a template in C(when), C(loop), C(until), or C(failed_when) fails, ansible-core 2.19 and later shows its source with
    all literals, even with C(no_log=true).
  - If a new token is obtained but cannot be saved, the lookup returns it with a warning. The returned token is then the only copy.
  - O(store=none) is an error, because lookups are evaluated repeatedly.
  - Secrets can be set by variables, but not in C(ansible.cfg).
  - On ansible-core 2.22 and later, the token is registered as a secret, and Ansible masks it in all output. On earlier versions, only
    C(no_log=true) hides it. On 2.18, C(no_log=true) also hides the error messages of the lookup.
  - Error messages contain an C(error_code). It is one of the codes of M(wuying.workspace.wuying_login_token), C(CheckMode) if the token
    would have to be refreshed in check mode, C(Interrupted) if the lookup was stopped before the session was processed, or C(Unforeseen) for an
    unexpected error.
  - If a template contains a token, Ansible can show the token in diffs and at higher verbosity. Set C(no_log=true) on tasks that write
    tokens.
seealso:
  - module: wuying.workspace.wuying_login_token
    description: Logs in, starts a session, forces a refresh, or deletes the session's record.
"""

EXAMPLES = r"""
---
# If a token must be refreshed, credentials are read from the controller's environment variables ALIBABA_CLOUD_ACCESS_KEY_ID and
# ALIBABA_CLOUD_ACCESS_KEY_SECRET.
- name: Write the current token of alice to a file
  ansible.builtin.copy:
    content: "{{ lookup('wuying.workspace.wuying_login_token', 'alice', region_id='cn-hangzhou', client_id=client,
      office_site_id='cn-hangzhou+dir-2381912345') }}"
    dest: "{{ token_file }}"
    mode: "0600"
  no_log: true
  vars:
    client: f4a0dc8e-1702-4728-9a60-95b27a350000

# You can also set the variables in group_vars.
- name: Look up the token with options from variables
  ansible.builtin.copy:
    content: "{{ lookup('wuying.workspace.wuying_login_token', 'alice') }}"
    dest: "{{ token_file }}"
    mode: "0600"
  no_log: true
  vars:
    wuying_region_id: cn-hangzhou
    wuying_office_site_id: cn-hangzhou+dir-2381912345
    wuying_client_id: f4a0dc8e-1702-4728-9a60-95b27a350000

- name: Look up the tokens of several sessions, each with its own client
  ansible.builtin.set_fact:
    tokens: "{{ query('wuying.workspace.wuying_login_token', sessions, region_id='cn-hangzhou',
      office_site_id='cn-hangzhou+dir-2381912345') }}"
  no_log: true
  vars:
    sessions:
      - end_user_id: alice
        client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
      - end_user_id: bob
        client_id: 0b6ea3f2-58a7-4f0e-9d2c-6f1f1e2d0000
"""

RETURN = r"""
_raw:
  description:
    - The current login tokens, one for each session, in the order of the terms.
  type: list
  elements: str
"""

import contextlib
import functools
import os
import typing as t
from collections.abc import Mapping
from contextvars import ContextVar

from ansible import constants
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.fleet import (
    MAX_PARALLEL,
    Report,
    keep_all,
    read_requested,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    LoginRequired,
    OptionError,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin import credentials
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.lookup_options import (
    VARIABLE_OF,
    check_value,
    check_variables,
    explain_name,
    read_term,
    refuse_facts,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.options import (
    GetOption,
    given,
    overridden_by,
    read_request,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.result import (
    mask,
    mask_secrets,
    message_of,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.store_options import (
    VARIABLES,
    add_environment,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.wiring import open_keeper

_LOST = (
    "The login token was refreshed but could not be saved. It is lost, because the lookup of another session failed. "
    "The user must log in again."
)
_COPY = "This result contains the only copy."

try:
    from ansible.errors import AnsibleValueOmittedError
except ImportError:  # before ansible-core 2.19

    class AnsibleValueOmittedError(Exception):  # type: ignore[no-redef]
        """A whole variable was omitted."""


display = Display()
_is_rendering = ContextVar("_is_rendering", default=False)


class LookupModule(LookupBase):
    """The lookup P(wuying.workspace.wuying_login_token#lookup)."""

    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        """Return the current login tokens of the sessions that ``terms`` name."""
        try:
            return self._look_up(terms, variables or {}, kwargs)
        except WuyingError as error:
            message = f"wuying_login_token: {message_of(error)} (error_code: {error.code})"
        # Raised outside of the block, so that the cause is not chained.
        raise AnsibleLookupError(message)

    def _look_up(self, terms: list[t.Any], variables: dict[str, t.Any], keywords: dict[str, t.Any]) -> list[str]:
        if not terms:
            raise OptionError("The lookup needs at least one session. Pass an end_user_id as its first argument.")
        flat = [item for term in terms for item in (term if isinstance(term, (list, tuple)) else [term])]
        # Before anything can fail, because since 2.19 ansible-core quotes the line of a failing template.
        for secrets in (keywords, *(item for item in flat if isinstance(item, Mapping))):
            mask_secrets(secrets)
        get_option, from_variables = self._read_options(variables, keywords)
        requests = _read_requests(get_option, flat)
        check_variables(get_option, from_variables, requests)
        check = bool(variables.get("ansible_check_mode", False))
        connections = min(len(requests), MAX_PARALLEL)
        with open_keeper(get_option, display.warning, connections=connections) as keeper:
            reports = list(keep_all(keeper, read_requested(keeper.store, requests), check=check))
        return _tokens(sorted(reports, key=lambda report: report.position))

    def _read_options(self, variables: dict[str, t.Any], keywords: dict[str, t.Any]) -> tuple[GetOption, set[str]]:
        """Return the options from keywords, variables, the environment and the configuration file, and the names of
        those that are from variables. Raises :class:`OptionError`.
        """
        options = self.option_definitions
        for name in keywords:
            if name not in VARIABLE_OF:
                hint = explain_name(name, VARIABLE_OF, "The documentation of the lookup lists its options.")
                raise OptionError(f"'{name}' is not an option of this lookup. {hint}")
        refuse_facts(variables)
        own = given(keywords, options)
        rendered = given(self._render(variables, own), options)
        mask_secrets(rendered)
        direct = {name: self._read_value(name, options[name], value) for name, value in {**rendered, **own}.items()}
        # An environment variable precedes the configuration file. Credentials from keywords are never combined with others.
        hidden = {name for name, variable in VARIABLES.items() if name not in direct and os.environ.get(variable)}
        if any(name in own for name in credentials.OPTIONS):
            hidden.update(name for name in credentials.OPTIONS if name not in own)
        file = constants.config.get_config_value("CONFIG_FILE")
        values = {
            name: direct[name] if name in direct else _configured(self._load_name, name, file)
            for name in VARIABLE_OF
            if name not in hidden
        }
        values.update(add_environment(values))
        return values.get, set(rendered)

    def _read_value(self, name: str, option: dict[str, t.Any], value: t.Any) -> t.Any:
        """Return the value of a keyword or variable, converted to the type of the option. Raises :class:`OptionError`."""
        if isinstance(value, str) and option["type"] == "str" and "choices" not in option:
            return value
        check_value(name, option, value)
        self.set_option(name, value)
        return self.get_option(name)

    def _render(self, variables: dict[str, t.Any], own: t.Container[str]) -> dict[str, t.Any]:
        """Return the rendered variables of the options that are not in ``own``. Raises :class:`OptionError`."""
        if _is_rendering.get():
            raise OptionError(
                "A variable that this lookup reads an option from, such as wuying_login_token, contains this lookup itself. "
                "Rename the variable."
            )
        templar: t.Any = self._templar
        rendered = {}
        before = _is_rendering.set(True)
        try:
            for option, name in VARIABLE_OF.items():
                if name in variables and option not in own:
                    with contextlib.suppress(AnsibleValueOmittedError):
                        rendered[option] = templar.template(variables[name])
        finally:
            _is_rendering.reset(before)
        return rendered


@functools.lru_cache(maxsize=None)
def _configured(plugin: str, name: str, file: str | None) -> t.Any:
    """Return the value of an option in a configuration file, or its default. ansible-core reads the file once for each process."""
    value = constants.config.get_config_value(name, file, "lookup", plugin)
    if value == "":  # not given
        value = constants.config.get_configuration_definition(name, "lookup", plugin).get("default")
    return value


def _read_requests(get_option: GetOption, terms: list[t.Any]) -> list[TokenRequest]:
    """Return a token request for each term. Raises :class:`OptionError`."""
    if get_option("login_token") is not None and len(terms) > 1:
        raise OptionError(
            "login_token works with a single term only. With several terms, put each token in a dictionary."
        )
    if get_option("store") == "none":
        raise OptionError(
            "store must not be 'none' in a lookup, because lookups are evaluated repeatedly. "
            "Set it to a directory or a Redis URL."
        )
    advice = "Pass them as keywords or set {variables}."
    return [read_request(overridden_by(get_option, read_term(term)), advice) for term in terms]


def _tokens(reports: list[Report]) -> list[str]:
    """Show all warnings and return all tokens. Raises the error of the first session that failed."""
    results = [_token_or_error(report) for report in reports]
    errors = [result for result in results if isinstance(result, WuyingError)]
    for report in reports:
        prefix = f"{_name_of(report)}: " if len(reports) > 1 else ""
        for warning in (*report.warnings, *_not_saved(report, lost=bool(errors))):
            display.warning(f"{prefix}{warning}")
    if errors:
        raise errors[0]
    return [mask(result) for result in results if isinstance(result, str)]


def _token_or_error(report: Report) -> str | WuyingError:
    """Return the token of a session, or the reason why there is none."""
    if isinstance(report.result, WuyingError):
        return report.result
    if report.result.record is None:
        return LoginRequired(
            f"No valid login token is stored for {_name_of(report)}, and check mode does not refresh tokens. "
            "Run without --check first.",
            code="CheckMode",
        )
    return report.result.record.login_token


def _not_saved(report: Report, *, lost: bool) -> list[str]:
    """Return a warning if a token could not be saved. If ``lost``, the lookup does not return it either."""
    if isinstance(report.result, WuyingError) or report.result.not_saved is None:
        return []
    return [_LOST if lost else report.result.not_saved.message.replace(_COPY, "This lookup returns the only copy.")]


def _name_of(report: Report) -> str:
    return report.key if report.session is None else report.session.end_user_id
