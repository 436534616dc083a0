# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the access key from options, the environment or the provider chain."""

from __future__ import annotations

import os
import re
import typing as t

from .._model.exceptions import OptionError
from .._model.session import TOKEN_LENGTH, is_token

Keys = t.Tuple[str, str, t.Optional[str]]
"""An access key's ID, its secret and, for a temporary key from STS, its security token."""

OPTIONS = ("access_key_id", "access_key_secret", "security_token")
VARIABLES = tuple(f"ALIBABA_CLOUD_{name.upper()}" for name in OPTIONS)
_KEY_ID = r"(LTAI|STS\.)[A-Za-z0-9]{4,60}"


def from_options(get_option: t.Callable[[str], t.Any]) -> t.Callable[[float], Keys | None]:
    """Return a function that finds the credentials when they are needed. Its argument is the deadline (of :func:`time.monotonic`).

    The function returns None for anonymous requests. It raises :class:`OptionError` or :class:`ServiceError`. An incomplete set of
    options raises :class:`OptionError` at once.
    """
    method = get_option("auth_method")
    if method == "anonymous":
        return lambda deadline: None
    if method == "provider_chain":
        return _from_provider_chain
    given = [get_option(name) or None for name in OPTIONS]
    if any(given):
        credentials = _checked(given, OPTIONS)
        return lambda deadline: credentials
    return lambda deadline: _from_environment()


def describe(get_option: t.Callable[[str], t.Any], keys: Keys | None) -> str:
    """Return what to check if the service rejects these keys. An ID that may be a misplaced secret is not shown."""
    if keys is None:
        return "Requests are anonymous. Choose another auth_method."
    shown = keys[0] if re.fullmatch(_KEY_ID, keys[0]) else "it does not begin with LTAI or STS"
    if get_option("auth_method") == "provider_chain":
        return f"Check the source of the access key ID ({shown}) in the provider chain."
    names = OPTIONS if any(get_option(name) for name in OPTIONS) else VARIABLES
    return f"Check {names[0]} ({shown})" + (f", {names[1]} and {names[2]}." if keys[2] else f" and {names[1]}.")


def _from_environment() -> Keys:
    given = [os.environ.get(name) or None for name in VARIABLES]
    if not any(given):
        raise OptionError(
            "The login token must be refreshed, but no credentials are set. Set access_key_id and access_key_secret, "
            f"or {VARIABLES[0]} and {VARIABLES[1]} in the environment, or choose another auth_method.",
            code="MissingCredentials",
        )
    return _checked(given, VARIABLES)


def _from_provider_chain(deadline: float) -> Keys:
    from .provider_chain import find_keys  # here, because few tasks use it

    names = [f"The provider chain's {name}" for name in ("access key ID", "secret", "security token")]
    return _checked(find_keys(deadline), names)


def _checked(given: t.Sequence[str | None], names: t.Sequence[str]) -> Keys:
    key_id, secret, security_token = given
    key_id_name, secret_name, token_name = names
    if not key_id or not secret:
        if key_id:
            problem = f"{key_id_name} is set but {secret_name} is not. Set both, or neither."
        elif secret:
            problem = f"{secret_name} is set but {key_id_name} is not. Set both, or neither."
        else:
            problem = f"{token_name} is set but {key_id_name} and {secret_name} are not. Set all three, or none."
        raise OptionError(problem, code="MissingCredentials")
    for name, value in zip(names, given):
        if value and not is_token(value):  # the same form as a login token
            raise OptionError(
                f"{name} must be ASCII text without white space, of at most {TOKEN_LENGTH} characters. Check it for a line break."
            )
    return key_id, secret, security_token
