# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Credentials: from options, the environment, or a provider chain."""

from __future__ import annotations

import os
import typing as t

from .._model.exceptions import OptionError

Keys = t.Tuple[str, str, t.Optional[str]]
"""An access key's ID, its secret and, where the key is a temporary one of STS, its security token."""

OPTIONS = ("access_key_id", "access_key_secret", "security_token")
VARIABLES = (
    "ALIBABA_CLOUD_ACCESS_KEY_ID",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "ALIBABA_CLOUD_SECURITY_TOKEN",
)


def from_options(get_option: t.Callable[[str], t.Any]) -> t.Callable[[float], Keys | None]:
    """Return a function of the deadline (of :func:`time.monotonic`) that finds the credentials once they are needed.

    The function returns None where requests are to be anonymous, and raises :class:`OptionError` or
    :class:`ServiceError`. Half a set of options is an :class:`OptionError` at once.
    """
    method = get_option("auth_method")
    if method == "anonymous":
        return lambda deadline: None
    if method == "provider_chain":
        return _from_provider_chain
    given = [get_option(name) or None for name in OPTIONS]
    if any(given):
        credentials = _checked(given, "access_key_id and access_key_secret")
        return lambda deadline: credentials
    return lambda deadline: _from_environment()


def _from_environment() -> Keys:
    given = [os.environ.get(name) or None for name in VARIABLES]
    if not any(given):
        raise OptionError(
            "An exchange is due and there are no credentials: set access_key_id and access_key_secret, "
            f"or {VARIABLES[0]} and {VARIABLES[1]} in the environment, "
            "or choose another auth_method.",
            code="MissingCredentials",
        )
    return _checked(given, f"{VARIABLES[0]} and {VARIABLES[1]}")


def _checked(given: t.Sequence[str | None], names: str) -> Keys:
    access_key_id, access_key_secret, security_token = given
    if not access_key_id or not access_key_secret:
        raise OptionError(
            f"{names} go together, and a security token goes with them: half a set of credentials is given.",
            code="MissingCredentials",
        )
    for value in (access_key_id, access_key_secret, security_token or "-"):
        if (
            not isinstance(value, str)
            or not value.isascii()
            or not value.isprintable()
            or " " in value
        ):
            raise OptionError(
                f"{names} and the security token must be ASCII text without white space."
            )
    return access_key_id, access_key_secret, security_token


def _from_provider_chain(deadline: float) -> Keys:
    from .provider_chain import ask_provider_chain  # here, since hardly any task takes it

    return _checked(ask_provider_chain(deadline), "The provider chain's access key ID and secret")
