# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open the store that the options name: a directory, Redis, or none."""

from __future__ import annotations

import os
import sys
import typing as t

from .._model.exceptions import OptionError, StoreError
from .._store.base import NoStore, Store
from .._store.directory import DirectoryStore
from .._store.failures import explain_import
from .options import GetOption, can_be_encoded, read_ca_path, read_text

if t.TYPE_CHECKING:
    from .._redis.address import Address
    from .._store.encryption import Encryption


def open_store(get_option: GetOption, deadline: float, *, accepts_unencrypted: bool = False) -> Store:
    """Return the store. A Redis store gives up at ``deadline`` (of :func:`time.monotonic`). Raises :class:`WuyingError`.

    With ``accepts_unencrypted``, a store with keys also reads records that are not encrypted.
    """
    place = _read_place(get_option("store"))
    encryption = _open_encryption(get_option("store_key"), accepts_unencrypted=accepts_unencrypted)
    if place is None:
        return NoStore()
    if isinstance(place, str):
        return DirectoryStore(place, encryption)
    # Imported here, so that tasks with a directory store do not load it.
    from .._redis.store import RedisStore

    login = {name: read_text(get_option, f"store_{name}") for name in ("username", "password")}
    ca_path = read_ca_path(get_option, "store_ca_path")
    return RedisStore(place, **login, ca_path=ca_path, deadline=deadline, encryption=encryption)


def _read_place(address: t.Any) -> Address | str | None:
    """Return a Redis address or the path of a directory, None if nothing is stored. Raises :class:`OptionError`."""
    if address is None or address == "":
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
    path = os.path.expandvars(os.path.expanduser(text)) if text.isprintable() else ""
    if not os.path.isabs(path) or not path.isprintable():
        raise OptionError("store must be the absolute path of a directory, a Redis URL, or 'none'.")
    return os.path.normpath(path)


def _open_encryption(value: t.Any, *, accepts_unencrypted: bool) -> Encryption | None:
    keys = [value] if isinstance(value, str) else value
    if not keys:
        return None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise OptionError("store_key must be a string or a list of strings.")
    if "" in keys:
        raise OptionError("store_key contains an empty key. Check store_key and WUYING_TOKEN_STORE_KEY.")
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
