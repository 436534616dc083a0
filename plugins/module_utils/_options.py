# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this file is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From options to a session, a question and a keeper: the way in, for the modules and the lookup alike.

Everything is checked here, before anything is sent or written. Each message names the option and never its value.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
import typing as t

from ansible.module_utils.basic import env_fallback

from . import _credentials
from ._directory_store import DirectoryStore
from ._endpoint import default_endpoint, parse_endpoint
from ._errors import OptionError
from ._keeper import Keeper
from ._promise import Ask
from ._session import Session, is_token
from ._store import NoStore, Store

if t.TYPE_CHECKING:
    from ._service import Service

GetOption = t.Callable[[str], t.Any]

_Spec = t.Dict[str, t.Dict[str, t.Any]]

_SESSION_SPEC: _Spec = {
    "region_id": {"type": "str", "required": True},
    "client_id": {"type": "str", "required": True},
    "office_site_id": {"type": "str", "required": True},
    "end_user_id": {"type": "str", "required": True},
    "directory_id": {"type": "str"},
    "session_id": {"type": "str"},
    "endpoint": {"type": "str"},
    "validity": {"type": "int", "default": 900},
    "refresh_before": {"type": "int", "default": 300},
}
_STORE_SPEC: _Spec = {
    "store": {"type": "str", "fallback": (env_fallback, ["WUYING_TOKEN_STORE"])},
    "store_username": {
        "type": "str",
        "fallback": (env_fallback, ["WUYING_TOKEN_STORE_USERNAME"]),
    },
    "store_password": {
        "type": "str",
        "no_log": True,
        "fallback": (env_fallback, ["WUYING_TOKEN_STORE_PASSWORD"]),
    },
}
_SERVICE_SPEC: _Spec = {
    "auth_method": {
        "type": "str",
        "default": "access_key",
        "choices": ["access_key", "provider_chain", "anonymous"],
    },
    "access_key_id": {"type": "str"},
    "access_key_secret": {"type": "str", "no_log": True},
    "security_token": {"type": "str", "no_log": True},
    "signature_version": {"type": "str", "default": "v3", "choices": ["v3", "v1"]},
    "timeout": {"type": "float", "default": 10.0},
    "retries": {"type": "int", "default": 3},
    "deadline": {"type": "float", "default": 60.0},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "proxy": {"type": "str"},
}
_LONGEST_ID = 256
_DAY = 86400
_YEAR = 366 * _DAY


def argument_spec() -> _Spec:
    """Return the argument spec of the options that all modules share."""
    return {
        name: dict(option)
        for spec in (_SESSION_SPEC, _STORE_SPEC, _SERVICE_SPEC)
        for name, option in spec.items()
    }


def read_ask(get_option: GetOption) -> Ask:
    """Return what is asked of which session. Raises :class:`OptionError`."""
    return Ask(
        session=_read_session(get_option),
        login_token=_read_token(get_option("login_token")),
        validity=_number(get_option, "validity", 1, _YEAR),
        refresh_before=_number(get_option, "refresh_before", 0, _YEAR),
    )


@contextlib.contextmanager
def open_keeper(get_option: GetOption, warn: t.Callable[[str], None]) -> t.Iterator[Keeper]:
    """Return a keeper over the store and the service that the options name; it counts its deadline from here.

    Raises :class:`OptionError`.
    """
    deadline = time.monotonic() + _number(get_option, "deadline", 0.001, _DAY)
    store = _open_store(get_option)
    find_keys = _credentials.from_options(get_option)
    settings: dict[str, t.Any] = {
        "signature_version": get_option("signature_version"),
        "timeout": _number(get_option, "timeout", 0.001, _DAY),
        "retries": int(_number(get_option, "retries", 0, 100)),
        "validate_certs": get_option("validate_certs"),
        "ca_path": _read_ca_path(get_option("ca_path")),
        "proxy": _read_proxy(get_option("proxy")),
    }
    with contextlib.ExitStack() as opened:

        @functools.lru_cache(maxsize=None)
        def connect() -> Service:
            keys = find_keys(deadline)
            # Imported here, so that a task that sends nothing pays for no HTTP library.
            from ._service import Service
            from .signer import Credentials

            return opened.enter_context(Service(keys and Credentials(*keys), **settings))

        yield Keeper(store, connect, way=_way(get_option), deadline=deadline, warn=warn)


def _way(get_option: GetOption) -> str:
    """Return all that decides how an exchange fares: who goes another way must not share its failures."""
    environment = [os.environ.get(name) for name in _credentials.VARIABLES]
    return repr([[get_option(name) for name in _SERVICE_SPEC], environment])


def _read_session(get_option: GetOption) -> Session:
    region_id = _read_id(get_option, "region_id")
    default, endpoint = default_endpoint(region_id), get_option("endpoint")
    return Session(
        endpoint=default if endpoint is None else parse_endpoint(str(endpoint)),
        region_id=region_id,
        office_site_id=_read_id(get_option, "office_site_id"),
        end_user_id=_read_id(get_option, "end_user_id"),
        client_id=_read_id(get_option, "client_id"),
        directory_id=_read_optional_id(get_option, "directory_id"),
        session_id=_read_optional_id(get_option, "session_id"),
    )


def _read_optional_id(get_option: GetOption, name: str) -> str | None:
    return _read_id(get_option, name) if get_option(name) else None


def _read_id(get_option: GetOption, name: str) -> str:
    value = get_option(name)
    if value is None:
        raise OptionError(
            f"{name} is missing: pass it, or for a lookup set the variable wuying_{name}."
        )
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_ID or not value.isprintable():
        raise OptionError(f"{name} must be a text of 1 to {_LONGEST_ID} printable characters.")
    return value


def _read_token(value: t.Any) -> str | None:
    if value is None or value == "":
        return None
    if not is_token(value):
        raise OptionError(
            "login_token must be the token's text alone, in ASCII and without white space: check for a line break in it."
        )
    return str(value)


def _number(get_option: GetOption, name: str, least: float, most: float) -> float:
    value = get_option(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise OptionError(f"{name} must be a number from {least} to {most}.")
    return value


def _open_store(get_option: GetOption) -> Store:
    address = get_option("store")
    if address is None or address == "":
        return DirectoryStore(_default_directory())
    scheme, separator, rest = str(address).partition("://")
    if address == "none":
        return NoStore()
    if separator and scheme in ("redis", "rediss", "unix"):
        if "@" in rest:
            raise OptionError(
                "store must have no user name or password in it: use store_username and store_password."
            )
        raise OptionError(
            "store must be a directory or 'none': this version keeps no records in Redis yet."
        )
    path = os.path.expandvars(os.path.expanduser(str(address)))
    if separator or not os.path.isabs(path) or not path.isprintable():
        raise OptionError("store must be the absolute path of a directory, or 'none'.")
    return DirectoryStore(os.path.normpath(path))


def _default_directory() -> str:
    # By the XDG Base Directory Specification a relative path in the variable is as good as none.
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
    if not os.path.isabs(base):
        raise OptionError(
            "store must be given: this user has no home directory to keep records in."
        )
    return os.path.join(base, "wuying.workspace", "login_tokens")


def _read_ca_path(value: t.Any) -> str | None:
    if value is None:
        return None
    if not (os.path.isfile(value) or os.path.isdir(value)):
        raise OptionError("ca_path must be an existing file or directory of CA certificates.")
    return str(value)


def _read_proxy(value: t.Any) -> str | None:
    if value is None:
        return None
    proxy = str(value)
    scheme, separator, rest = proxy.partition("://")
    if not separator or scheme not in ("http", "https") or not rest or not proxy.isprintable():
        raise OptionError("proxy must be a URL such as http://proxy.example.com:3128.")
    if "@" in rest:
        raise OptionError("proxy must have no user name or password in it.")
    return proxy
