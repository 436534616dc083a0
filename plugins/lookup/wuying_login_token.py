# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: wuying_login_token
author:
  - The wuying.workspace authors (@wuying-workspace)
short_description: Look up the current login token of a WUYING Workspace session
version_added: 0.1.0
description:
  - Returns the login token that a session of WUYING Workspace (Alibaba Cloud's cloud desktops) has now.
  - Serves the record that the module M(wuying.workspace.wuying_login_token) or an earlier lookup left in the store, and exchanges its
    token for the next when it is stale, and only then. Use it right where the token is used, so that it is always current.
  - The lookup runs on the controller, with the controller's store, environment and C(requests), as the user who runs Ansible. Records that
    a module wrote on another host are not seen.
  - A lookup is evaluated again for each host, each item of a loop and each use of a variable that has it in its value. All but the
    first find a current record then, and send nothing.
  - In check mode the lookup serves a record that lives, and otherwise fails. It sends and writes nothing. It sees check mode only
    where the whole run has it (C(--check)), because Ansible does not tell it of the keyword C(check_mode) of a single task.
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
      - A term is an O(end_user_id), or a dictionary that may have O(end_user_id), O(region_id), O(client_id), O(office_site_id),
        O(directory_id), O(session_id), O(endpoint) and O(login_token) for this one session. What it lacks comes from the options. A list as a
        term stands for its elements.
    type: list
    elements: raw
    required: true
  end_user_id:
    description:
      - The end user of dictionaries that name none.
    type: str
    vars:
      - name: wuying_end_user_id
    ini:
      - section: wuying_login_token_lookup
        key: end_user_id
  login_token:
    description:
      - The token to start the session from, for a single term. With several terms put it into dictionaries.
      - The variable counts for every lookup that it reaches, whatever its term. Set it for one task only, or better pass the keyword.
      - The environment variable E(WUYING_LOGIN_TOKEN) does not count here, because it must never become another user's token.
    type: str
    vars:
      - name: wuying_login_token
notes:
  - Where a token is exchanged but cannot be kept, the lookup returns it with a warning. It is the only copy.
  - The value V(none) for O(store) is an error, since a lookup is evaluated again and again.
  - Secrets are read from variables too, but not from C(ansible.cfg).
  - On ansible-core 2.22 and later the token is registered as a secret, and Ansible masks it in all that it prints. On older versions only
    C(no_log=true) hides the token. On 2.18 it also hides the lookup's error messages.
  - An error names its C(error_code), one of those of M(wuying.workspace.wuying_login_token), or C(CheckMode), where check mode would
    have to exchange.
  - A template that has a token in it shows it in diffs and at higher verbosity. Set C(no_log=true) on tasks that write tokens.
seealso:
  - module: wuying.workspace.wuying_login_token
    description: Starts a session, forces an exchange, forgets a session.
"""

EXAMPLES = r"""
---
# Credentials come from the environment variables ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET of the controller,
# once an exchange is due.
- name: Send the current token of alice to the thin client
  ansible.builtin.copy:
    content: "{{ lookup('wuying.workspace.wuying_login_token', 'alice', region_id='cn-hangzhou', client_id=client,
      office_site_id='cn-hangzhou+dir-2381912345') }}"
    dest: "{{ token_file }}"
    mode: "0600"
  no_log: true
  vars:
    client: f4a0dc8e-1702-4728-9a60-95b27a350000

# Options from variables, such as group_vars: the lookup itself stays short.
- name: Have the options in variables
  ansible.builtin.copy:
    content: "{{ lookup('wuying.workspace.wuying_login_token', 'alice') }}"
    dest: "{{ token_file }}"
    mode: "0600"
  no_log: true
  vars:
    wuying_region_id: cn-hangzhou
    wuying_office_site_id: cn-hangzhou+dir-2381912345
    wuying_client_id: f4a0dc8e-1702-4728-9a60-95b27a350000

- name: Look up several sessions at once, each on a client of its own
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

import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import Outcome
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
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._plugin import credentials
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import IDENTITY
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.option_values import (
    GetOption,
    overridden_by,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.options import read_request
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.result import mask
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.wiring import open_keeper

_TERM_KEYS = (*IDENTITY, "login_token")

display = Display()
_rendering = False


class LookupModule(LookupBase):
    """The lookup P(wuying.workspace.wuying_login_token#lookup)."""

    def run(
        self,
        terms: list[t.Any],
        variables: dict[str, t.Any] | None = None,
        **kwargs: t.Any,
    ) -> list[str]:
        """Return the current login tokens of the sessions that ``terms`` name."""
        try:
            return self._look_up(terms, variables or {}, kwargs)
        except WuyingError as error:
            message = f"wuying_login_token: {error.message} (error_code: {error.code})"
        raise AnsibleLookupError(message)

    def _look_up(self, terms: list[t.Any], variables: dict[str, t.Any], kwargs: dict[str, t.Any]) -> list[str]:
        get_option = self._read_options(variables, kwargs)
        if not terms:
            raise OptionError("Name at least one session: pass an end_user_id as the first argument.")
        flat = [item for term in terms for item in (term if isinstance(term, (list, tuple)) else [term])]
        if get_option("login_token") is not None and len(flat) > 1:
            raise OptionError("login_token belongs to a single term: put it into dictionaries for several terms.")
        if get_option("store") == "none":
            raise OptionError("store must not be 'none': a lookup is evaluated again and again.")
        requests = [read_request(_with_term(get_option, term)) for term in flat]
        check = bool(variables.get("ansible_check_mode", False))
        connections = min(len(requests), MAX_PARALLEL)
        with open_keeper(get_option, display.warning, connections=connections) as keeper:
            reports = sorted(keep_all(keeper, read_requested(keeper.store, requests), check=check))
        return _tokens(reports)

    def _read_options(self, variables: dict[str, t.Any], kwargs: dict[str, t.Any]) -> GetOption:
        known = {name: option for name, option in self.option_definitions.items() if name != "_terms"}
        for name in kwargs:
            if name not in known:
                raise OptionError(f"'{name}' is not an option of this lookup; these are: {', '.join(sorted(known))}.")
        variables_of = {
            name: [variable["name"] for variable in option.get("vars", ())]
            for name, option in known.items()
            if name not in kwargs
        }
        rendered = self._render(variables, [name for names in variables_of.values() for name in names])
        for name, option in known.items():
            for value in (kwargs.get(name), *map(rendered.get, variables_of.get(name, ()))):
                _check(name, option, value)
        self.set_options(var_options=rendered, direct=kwargs)
        # A set of credentials comes from one place: where a keyword gives a part of it, variables give none.
        direct = any(kwargs.get(name) is not None for name in credentials.OPTIONS)

        def get_option(name: str) -> t.Any:
            if direct and name in credentials.OPTIONS and name not in kwargs:
                return None
            return self.get_option(name)

        return get_option

    def _render(self, variables: dict[str, t.Any], names: list[str]) -> dict[str, t.Any]:
        """Render variables, which arrive as templates."""
        global _rendering
        if _rendering:
            raise OptionError(
                "A variable that this lookup reads its options from, such as wuying_login_token, has this very lookup "
                "in its value: give that variable another name."
            )
        templar: t.Any = self._templar
        _rendering = True
        try:
            return {name: templar.template(variables[name]) for name in names if name in variables}
        finally:
            _rendering = False


def _check(name: str, option: Mapping[str, t.Any], value: t.Any) -> None:
    """Refuse what core would refuse too, but quote. Raises :class:`OptionError`."""
    kind, choices = option["type"], option.get("choices")
    if value is None or kind == "raw":
        return
    if kind in ("int", "float"):
        if not _is_number(value):
            raise OptionError(f"{name} must be a number: check what its variable holds.")
        return
    texts = value if kind == "list" and isinstance(value, list) else [value]
    if any(isinstance(text, (Mapping, list, tuple, set)) for text in texts):
        raise OptionError(f"{name} must be a text: check what its variable holds.")
    if choices and value not in choices:
        raise OptionError(f"{name} must be one of these: {', '.join(choices)}.")


def _is_number(value: t.Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(value, bool)


def _with_term(get_option: GetOption, term: t.Any) -> GetOption:
    """Return the options of one session: what its term says, else what the lookup was given."""
    if isinstance(term, str):
        return overridden_by(get_option, {"end_user_id": term})
    if not isinstance(term, Mapping):
        raise OptionError("A term must be an end_user_id or a dictionary that has one.")
    for key in term:
        if key not in _TERM_KEYS:
            raise OptionError(f"A term has a key that is none of these: {', '.join(_TERM_KEYS)}.")
    return overridden_by(get_option, term)


def _tokens(reports: list[Report]) -> list[str]:
    """Return the tokens of all sessions, or raise what stood in the way of the first that has none."""
    failure: WuyingError | None = None
    for report in reports:
        outcome = report.result
        if not isinstance(outcome, WuyingError) and outcome.record is None:
            outcome = LoginRequired(
                "No living token of the session is kept, and check mode exchanges none: run without --check first.",
                code="CheckMode",
            )
        if isinstance(outcome, WuyingError) and failure is None:
            failure = outcome
    for report in reports:
        name = "" if len(reports) == 1 or report.session is None else f"{report.session.end_user_id}: "
        for warning in report.warnings:
            display.warning(f"{name}{warning}")
        outcome = report.result
        if isinstance(outcome, WuyingError) or outcome.not_saved is None:
            continue
        if failure is None:
            display.warning(f"{name}{outcome.not_saved.message}")
        else:
            display.warning(
                f"{name}A new login token was exchanged, could not be kept, and is lost, since the lookup of another session "
                "failed: the user must log in again."
            )
    if failure is not None:
        raise failure
    return [mask(t.cast(Record, t.cast(Outcome, report.result).record).login_token) for report in reports]
