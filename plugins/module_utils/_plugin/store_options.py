# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open the store that the options name: a directory, Redis, or none."""

from __future__ import annotations

import os
import sys
import typing as t

from .._model.exceptions import OptionError, StoreError
from .._store.base import Store
from .._store.directory import DirectoryStore
from .._store.failures import explain_import
from .options import GetOption, can_be_encoded, expand_path, read_ca_path, read_text
from .result import mask_secrets

if t.TYPE_CHECKING:
    from .._redis.address import Address
    from .._store.encryption import Encryption

VARIABLES = {
    name: f"WUYING_TOKEN_{name.upper()}" for name in ("store", "store_username", "store_password", "store_key")
}
"""The environment variables of the options that describe a store."""


def add_environment(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the options in :data:`VARIABLES`, with those that were not given from the environment.

    A store and its secrets have one origin: the environment completes only a store that is in the environment or the default one.
    Otherwise, somebody who can set ``store`` would get the password. Raises :class:`OptionError`.
    """
    own = {name: options.get(name) for name in VARIABLES}
    found: dict[str, t.Any] = {name: os.environ.get(variable) or None for name, variable in VARIABLES.items()}
    store = own["store"] or found["store"]
    if store != "none" and own["store_key"] is None and os.environ.get(VARIABLES["store_key"]) == "":
        raise OptionError(
            f"{VARIABLES['store_key']} is set and empty. Set it to a key, or unset it to store tokens unencrypted."
        )
    if store == found["store"]:
        if found["store_key"]:
            found["store_key"] = [key.strip() for key in found["store_key"].split(",")]
        mask_secrets(found)
        return {name: found[name] if value is None else value for name, value in own.items()}
    for name, used in (("store_key", store != "none"), ("store_password", "://" in str(store))):
        if found[name] and own[name] is None and used:
            raise OptionError(
                f"{VARIABLES[name]} is set, but this store was not named by {VARIABLES['store']}, so the variable is not used. "
                f"Pass {name} together with store, or name the store in {VARIABLES['store']} instead."
            )
    return own


def open_store(get_option: GetOption, deadline: float) -> Store:
    """Return the store. A Redis store gives up at ``deadline`` (of :func:`time.monotonic`). Raises :class:`WuyingError`.

    With the option ``rekey``, a store with keys also reads records that are not encrypted.
    """
    place = read_place(get_option("store"))
    encryption = _open_encryption(get_option("store_key"), accepts_unencrypted=bool(get_option("rekey")))
    if place is None:
        from .._store.no_store import NoStore  # imported here, because few tasks store nothing

        return NoStore()
    if isinstance(place, str):
        return DirectoryStore(place, encryption)
    # Imported here, so that tasks with a directory store do not load it.
    from .._redis.store import RedisStore

    login = {name: read_text(get_option, f"store_{name}") for name in ("username", "password")}
    ca_path = read_ca_path(get_option, "store_ca_path")
    return RedisStore(place, **login, ca_path=ca_path, deadline=deadline, encryption=encryption)


def is_exposed(store: t.Any) -> bool:
    """Return True if a store's password would travel over the network unencrypted. Raises :class:`OptionError`."""
    place = read_place(store)
    return place is not None and not isinstance(place, str) and place.is_exposed


def read_place(address: t.Any) -> Address | str | None:
    """Return a Redis address or the path of a directory, None if nothing is stored. Raises :class:`OptionError`."""
    if address is None:
        return _default_directory()
    if address == "none":
        return None
    text = str(address)
    if text.isprintable() and not can_be_encoded(text, sys.getfilesystemencoding()):
        raise OptionError(
            "store contains characters that the locale of this host cannot encode. Choose another path or a UTF-8 locale, such as C.UTF-8."
        )
    if "://" in text:
        from .._redis.address import parse_address

        return parse_address(text)
    path = expand_path("store", text)
    if not os.path.isabs(path) or not path.isprintable():
        raise OptionError("store must be the absolute path of a directory, a Redis URL, or 'none'.")
    return os.path.normpath(path)


def _open_encryption(value: t.Any, *, accepts_unencrypted: bool) -> Encryption | None:
    if value is None:
        return None
    keys = [value] if isinstance(value, str) else value
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise OptionError("store_key must be a string or a list of strings.")
    if not all(keys) or not keys:
        raise OptionError(
            f"store_key is empty or contains an empty key. Check it and {VARIABLES['store_key']}. To store tokens unencrypted, omit it."
        )
    try:
        from .._store.encryption import Encryption  # imported here, because few stores are encrypted
    except OSError as error:
        raise explain_import(error, "cryptography", StoreError) from None

    return Encryption(keys, accepts_unencrypted=accepts_unencrypted)


def _default_directory() -> str:
    # The XDG Base Directory Specification says to ignore a relative path.
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
    if not os.path.isabs(base) or not base.isprintable():
        raise OptionError(
            "store is required, because this user has no usable home directory. Set it to an absolute path or a Redis URL."
        )
    return os.path.join(base, "wuying.workspace", "login_tokens")
