# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read and check options, and turn those of a session into a token request.

Everything is checked before anything is sent or written. No message repeats a value, because it may be a misplaced secret.
"""

from __future__ import annotations

import os
import re
import sys
import typing as t
from collections.abc import Mapping

from ansible.module_utils.common.validation import check_type_bool

from .._keeper.decision import PasswordLogin, TokenRequest
from .._model.endpoint import check_region, default_endpoint, parse_endpoint
from .._model.exceptions import OptionError
from .._model.record import LONGEST_VALIDITY
from .._model.session import LONGEST_ID, Session, is_id, is_token
from .argument_spec import LOGIN_SECRETS, SECRET_VARIABLES

GetOption = t.Callable[[str], t.Any]
"""Returns the value of an option by its name, None if it was not given."""

DAY = 86400
_REQUIRED = ("region_id", "client_id", "office_site_id", "end_user_id")
_VARIABLE = r"(?a)\$(?:(\w+)|\{([^}]*)\})"
"""Matches what :func:`os.path.expandvars` replaces."""
_NOT_ONLY_A_USER = r"[]\[{}=:\n\r]"
_OMITTED = re.compile(r"__omit_place_holder__[0-9a-f]*|<<Omit>>")
"""Matches the text of ``omit``, before ansible-core 2.19 and since."""


def given(values: t.Mapping[str, t.Any], spec: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the options that were given: without null, omitted values and empty strings, and with encrypted text decrypted.

    An empty ``store_key`` remains, because it is an error, and so do names that are not in ``spec``. Raises :class:`OptionError`.
    """
    found = {}
    for name, value in values.items():
        if name in spec:
            value = _plain(name, value)
            if value is None or (value == "" and name != "store_key"):
                continue
            if "options" in spec[name] and spec[name].get("type") == "dict":
                if not isinstance(value, Mapping):
                    raise OptionError(f"{name} must be a dictionary.")
                value = given(value, spec[name]["options"])
            elif "options" in spec[name] and isinstance(value, (list, str)):
                sessions = [text.strip(" ") for text in value.split(",")] if isinstance(value, str) else value
                value = [own_options(f"{name}[{at}]", each, spec[name]["options"]) for at, each in enumerate(sessions)]
        found[name] = value
    return found


def own_options(name: str, session: t.Any, spec: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the options that were given for one session by a dictionary or an ``end_user_id``.

    A string that may be more than an ``end_user_id`` is refused, because results show users, and it may contain a token. Raises
    :class:`OptionError`.
    """
    if isinstance(session, Mapping):
        return given({key: as_text(value) for key, value in session.items()}, spec)
    session = as_text(_plain("end_user_id", session))
    if not session or not isinstance(session, str):
        raise OptionError(f"{name} must be an end_user_id or a dictionary, and not empty.")
    if re.search(_NOT_ONLY_A_USER, session):
        raise OptionError(
            f"{name} is a string with a line break or one of []{{}}=:, so it may be more than an end_user_id. Pass a dictionary instead, "
            "such as {end_user_id: alice}. To convert JSON text to dictionaries, use the filter from_json."
        )
    return {"end_user_id": session}


def as_text(value: t.Any) -> t.Any:
    """Return an integer as text, and any other value unchanged."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def did_you_mean(name: t.Any, names: t.Iterable[str], otherwise: str) -> str:
    """Return a sentence with the name that is most similar to a misspelled one, or ``otherwise`` if none is."""
    import difflib  # here, because few tasks fail

    similar = difflib.get_close_matches(str(name).lower(), names, 1)
    return f"Did you mean {similar[0]}?" if similar else otherwise


def overridden_by(get_option: GetOption, own: t.Mapping[str, t.Any]) -> GetOption:
    """Return the options of one session. Its own values override those of the task or lookup.

    The ``session_id`` of the task or lookup belongs to its ``login_token``, so it is not combined with a token of the session.
    """
    own = {"session_id": "", **own} if own.get("login_token") else own
    return lambda name: get_option(name) if own.get(name) is None else own[name]


def read_request(
    get_option: GetOption, advice: str = "Set them in the entry or as options of the task."
) -> TokenRequest:
    """Return the token request of one session. Raises :class:`OptionError`.

    ``advice`` is for missing options. It can contain ``{variables}``, the variables of the lookup.
    """
    missing = [name for name in _REQUIRED if get_option(name) is None]
    if missing:
        variables = ", ".join(f"wuying_{name}" for name in missing)
        raise OptionError(f"Required options are missing: {', '.join(missing)}. {advice.format(variables=variables)}")
    region_id = _read_id(get_option, "region_id")
    check_region(region_id)
    endpoint = get_option("endpoint")
    session = Session(
        endpoint=default_endpoint(region_id) if endpoint is None else parse_endpoint(str(endpoint)),
        region_id=region_id,
        office_site_id=_read_id(get_option, "office_site_id"),
        end_user_id=_read_id(get_option, "end_user_id"),
        client_id=_read_id(get_option, "client_id"),
        directory_id=_read_id(get_option, "directory_id") if get_option("directory_id") else None,
    )
    token = get_option("login_token")
    if token not in (None, "") and not is_token(token):
        raise OptionError(
            "login_token must contain only the token, as ASCII text without white space. Check it for a line break."
        )
    return TokenRequest(
        session,
        str(token) if token else None,
        force=bool(get_option("force")),
        validity=read_validity(get_option),
        refresh_before=read_refresh_before(get_option),
        session_id=_read_id(get_option, "session_id") if get_option("session_id") else None,
        uuid=_read_id(get_option, "uuid") if get_option("uuid") else None,
        password_login=_read_login(get_option, session),
    )


def read_validity(get_option: GetOption) -> float | None:
    """Return the validity of a new token in seconds, None if it stays as it is. Raises :class:`OptionError`."""
    return None if get_option("validity") is None else read_number(get_option, "validity", 1, LONGEST_VALIDITY)


def read_refresh_before(get_option: GetOption) -> float:
    """Return how many seconds before its expiry a token becomes stale. Raises :class:`OptionError`."""
    return read_number(get_option, "refresh_before", 0, 366 * DAY)


def read_number(get_option: GetOption, name: str, least: float, most: float) -> float:
    """Return a number between ``least`` and ``most``, inclusive. Raises :class:`OptionError`."""
    value = get_option(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise OptionError(f"{name} must be a number from {least:,.12g} to {most:,.12g}.")
    return value


def read_boolean(get_option: GetOption, name: str) -> bool:
    """Return a boolean by the rules for modules. Lookups read an unknown value as false. Raises :class:`OptionError`."""
    try:
        return bool(check_type_bool(get_option(name)))
    except TypeError:
        raise OptionError(f"{name} must be true or false.") from None


def read_text(get_option: GetOption, name: str) -> str | None:
    """Return a string in one line that can be encoded as UTF-8, None if it was not given. Raises :class:`OptionError`."""
    value = get_option(name)
    if value is None:
        return None
    if not isinstance(value, str) or not can_be_encoded(value, "utf-8"):
        raise OptionError(f"{name} must be a string that can be encoded as UTF-8.")
    if "\n" in value or "\r" in value:
        raise OptionError(f"{name} contains a line break. Check the end of the file or vault entry that it comes from.")
    return value


def read_ca_path(get_option: GetOption, name: str) -> str | None:
    """Return the path of CA certificates, None if it was not given. Raises :class:`OptionError`."""
    value = get_option(name)
    if value is None:
        return None
    path = expand_path(name, value) if isinstance(value, str) else ""
    if os.path.isfile(path) or os.path.isdir(path):
        return path
    raise OptionError(f"{name} must be an existing file or directory of CA certificates.")


def expand_path(name: str, text: str) -> str:
    """Return a path with ``~`` and environment variables expanded, but a malformed path unchanged.

    A variable with a secret is refused, because everybody can see paths. Raises :class:`OptionError`.
    """
    if not text.isprintable() or not can_be_encoded(text, sys.getfilesystemencoding()):
        return text
    text = os.path.expanduser(text)
    values = [os.environ.get(match[1] or match[2], "") for match in re.finditer(_VARIABLE, text)]
    for variable in SECRET_VARIABLES:
        secret = os.environ.get(variable)
        if secret and any(secret in value for value in values):
            raise OptionError(
                f"{name} contains an environment variable whose value includes the secret in {variable}. "
                "Paths are not secret. Use another path."
            )
    return os.path.expandvars(text)


def can_be_encoded(text: str, encoding: str) -> bool:
    """Return True if a text can be encoded."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _read_id(get_option: GetOption, name: str) -> str:
    value = get_option(name)
    if not is_id(value):
        raise OptionError(f"{name} must be a string of 1 to {LONGEST_ID} printable characters.")
    return str(value)


def _read_login(get_option: GetOption, session: Session) -> PasswordLogin | None:
    if not any(get_option(name) for name in (*LOGIN_SECRETS, "stay_logged_in")):
        return None
    from .login_options import read_login  # here, because most tasks pass no password

    return read_login(
        get_option,
        session,
        *(read_text(get_option, name) for name in ("password", "totp_secret")),
        stay_logged_in=read_boolean(get_option, "stay_logged_in"),
        validate_certs=read_boolean(get_option, "validate_certs"),
    )


def _plain(name: str, value: t.Any) -> t.Any:
    """Return a value with encrypted text decrypted, and None for an omitted one. Raises :class:`OptionError`."""
    if isinstance(value, (list, tuple)):
        return ["" if each is None else each for each in (_plain(name, element) for element in value)]
    if type(value).__name__ == "_OmitType":
        return None
    if getattr(value, "__ENCRYPTED__", False):  # Before ansible-core 2.19, it is not a string.
        value = str(value)
    omitted = _OMITTED.search(value) if isinstance(value, str) else None
    if omitted and omitted[0] != value:
        raise OptionError(f"{name} contains the value of omit as a part. Use omit only for a whole value.")
    return None if omitted else value
