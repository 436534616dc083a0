# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read and check one option value.

No message repeats a value: it may be a secret that was put into the wrong option.
"""

from __future__ import annotations

import os
import typing as t

from ansible.module_utils.common.validation import check_type_bool

from .._model.exceptions import OptionError
from .._model.session import is_token

GetOption = t.Callable[[str], t.Any]
"""Returns the value of an option by its name, None if it was not given."""

_LONGEST_ID = 256
DAY = 86400
"""Seconds of a day."""


def overridden_by(get_option: GetOption, own: t.Mapping[str, t.Any]) -> GetOption:
    """Return the options of one session among many: its own values first, then those that all share."""
    return lambda name: get_option(name) if own.get(name) is None else own[name]


def read_id(get_option: GetOption, name: str) -> str:
    """Return a required part of the identity. Raises :class:`OptionError`."""
    value = get_option(name)
    if value is None:
        raise OptionError(f"{name} is missing: pass it, or for a lookup set the variable wuying_{name}.")
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_ID or not value.isprintable():
        raise OptionError(f"{name} must be a text of 1 to {_LONGEST_ID} printable characters.")
    return value


def read_optional_id(get_option: GetOption, name: str) -> str | None:
    """Return an optional part of the identity, None if it was not given. Raises :class:`OptionError`."""
    return read_id(get_option, name) if get_option(name) else None


def read_token(value: t.Any) -> str | None:
    """Return a login token, None if none was given. Raises :class:`OptionError`."""
    if value is None or value == "":
        return None
    if not is_token(value):
        raise OptionError(
            "login_token must be the token's text alone, in ASCII and without white space: check for a line break in it."
        )
    return str(value)


def read_number(get_option: GetOption, name: str, least: float, most: float) -> float:
    """Return a number from ``least`` to ``most``. Raises :class:`OptionError`."""
    value = get_option(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise OptionError(f"{name} must be a number from {least:,.12g} to {most:,.12g}.")
    return value


def read_boolean(get_option: GetOption, name: str) -> bool:
    """Return a boolean by the rules that ansible-core applies to modules. Raises :class:`OptionError`.

    For lookups ansible-core itself takes everything that it does not know as false.
    """
    try:
        return bool(check_type_bool(get_option(name)))
    except TypeError:
        raise OptionError(f"{name} must be true or false.") from None


def read_text(get_option: GetOption, name: str) -> str | None:
    """Return a text that can be sent as UTF-8, None if it was not given. Raises :class:`OptionError`."""
    value = get_option(name)
    if value is None:
        return None
    if not isinstance(value, str) or not can_be_encoded(value, "utf-8"):
        raise OptionError(f"{name} must be a text that UTF-8 can encode.")
    return value


def read_ca_path(get_option: GetOption, name: str) -> str | None:
    """Return the path of CA certificates, None if it was not given. Raises :class:`OptionError`."""
    value = get_option(name)
    if value is None:
        return None
    if not isinstance(value, str) or not (os.path.isfile(value) or os.path.isdir(value)):
        raise OptionError(f"{name} must be an existing file or directory of CA certificates.")
    return value


def can_be_encoded(text: str, encoding: str) -> bool:
    """Return True if every character of a text exists in an encoding."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
