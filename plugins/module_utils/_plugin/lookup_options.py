# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check the keywords, variables and terms of a lookup, before ansible-core converts them.

No message repeats a value, because it may be a misplaced secret.
"""

from __future__ import annotations

import os
import typing as t
from collections.abc import Mapping

from .._keeper.decision import TokenRequest
from .._model.endpoint import is_loopback
from .._model.exceptions import OptionError
from .argument_spec import LOGIN_SECRETS, argument_spec, session_spec
from .options import GetOption, did_you_mean, own_options, read_boolean
from .store_options import VARIABLES, is_exposed

_TERM_SPEC = session_spec()
VARIABLE_OF = {option: f"wuying_{option}" for option in {**argument_spec(), **_TERM_SPEC}}
"""The variable of each option of the lookup."""
_NOT_FACTS = ("ansible_facts", "changed", "failed")
"""The names that a registered result has, or a fact that hides the others, but not the facts of a host."""
_NO_LOGIN = "Lookups accept no secrets of a login. Log in once with wuying_login_token and stay_logged_in=true. Lookups can then repair the session."


def explain_name(name: t.Any, names: t.Iterable[str], otherwise: str) -> str:
    """Return what to do about an unknown name: use a module for a secret of a login, or the most similar name, or ``otherwise``."""
    return _NO_LOGIN if name in LOGIN_SECRETS else did_you_mean(name, names, otherwise)


def refuse_facts(variables: Mapping[str, t.Any]) -> None:
    """Refuse options from facts, because they override variables and each host chooses its own. Raises :class:`OptionError`."""
    facts = variables.get("ansible_facts") or {}
    if not isinstance(facts, Mapping) or any(name in facts for name in _NOT_FACTS):
        raise OptionError(
            "ansible_facts does not contain the facts of the host, so this lookup cannot check that they do not configure it. "
            "Rename the variable ansible_facts that a task registers or sets, or the fact of this name."
        )
    for name in ("omit", *VARIABLE_OF.values()):
        if name in facts:
            raise OptionError(
                f"{name} is a fact of the host, and a host must not configure this lookup. Find out who sets the fact. "
                "If it is a set_fact task with cacheable, remove cacheable and clear the fact cache."
            )


def check_value(name: str, option: Mapping[str, t.Any], value: t.Any) -> None:
    """Refuse a value that ansible-core would refuse with a message that repeats it. Raises :class:`OptionError`."""
    kind, choices = option["type"], option.get("choices")
    if value is None or kind == "raw":
        return
    hint = f"Check its value or the variable wuying_{name}."
    if kind in ("int", "float"):
        if not _is_number(value):
            raise OptionError(f"{name} must be a number. {hint}")
        return
    texts = value if kind == "list" and isinstance(value, list) else [value]
    if any(isinstance(text, (Mapping, list, tuple, set)) for text in texts):
        raise OptionError(f"{name} must be a string. {hint}")
    if choices and value not in choices:
        raise OptionError(f"{name} must be one of: {', '.join(choices)}. {hint}")


def read_term(term: t.Any) -> dict[str, t.Any]:
    """Return the options of the session that a term names. Raises :class:`OptionError`."""
    if isinstance(term, Mapping):
        for key in term:
            if key not in _TERM_SPEC:
                hint = explain_name(key, _TERM_SPEC, f"Valid keys are {', '.join(_TERM_SPEC)}.")
                raise OptionError(f"A term has an unknown key. {hint}")
    return own_options("A term", term, _TERM_SPEC)


def check_variables(get_option: GetOption, from_variables: set[str], requests: list[TokenRequest]) -> None:
    """Refuse variables that disable encryption, because any inventory, role or host can set them. Raises :class:`OptionError`."""
    on_loopback = all(is_loopback(request.session.endpoint) for request in requests)
    if "validate_certs" in from_variables and not on_loopback and not read_boolean(get_option, "validate_certs"):
        raise OptionError(
            "The variable wuying_validate_certs can disable the verification of certificates for loopback endpoints only. "
            "For other endpoints, pass validate_certs as a keyword."
        )
    store = get_option("store")
    if "store" in from_variables and store != os.environ.get(VARIABLES["store"]) and is_exposed(store):
        raise OptionError(
            "The variable wuying_store names a Redis server without TLS that is not on loopback. Use rediss://, or set the store "
            f"with the keyword store, in ansible.cfg or in {VARIABLES['store']}."
        )


def _is_number(value: t.Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(value, bool)
