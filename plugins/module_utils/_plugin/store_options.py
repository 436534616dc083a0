# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the options that all plugins share to the store that they name."""

from __future__ import annotations

import os
import sys
import typing as t

from .._model.exceptions import OptionError
from .._store.base import NoStore, Store
from .._store.directory import DirectoryStore

if t.TYPE_CHECKING:
    from .._redis.address import Address
    from .._store.encryption import Seal

GetOption = t.Callable[[str], t.Any]


def open_store(get_option: GetOption, deadline: float) -> Store:
    """Return the store; a Redis store ends all it does at ``deadline`` (of :func:`time.monotonic`). Raises :class:`WuyingError`."""
    place = _read_place(get_option("store"))
    seal = _open_seal(get_option("store_key"))
    if place is None:
        return NoStore()
    if isinstance(place, str):
        return DirectoryStore(place, seal)
    # Imported here, so that whoever keeps records in files pays for no other way of keeping them.
    from .._redis.store import RedisStore

    return RedisStore(
        place,
        username=_read_login(get_option, "store_username"),
        password=_read_login(get_option, "store_password"),
        ca_path=read_ca_path(get_option, "store_ca_path"),
        deadline=deadline,
        seal=seal,
    )


def _read_place(address: t.Any) -> Address | str | None:
    """Return the address of Redis or the path of a directory, None where nothing is kept. Raises :class:`OptionError`."""
    if address is None or address == "":
        return _default_directory()
    if address == "none":
        return None
    text = str(address)
    if text.isprintable() and not _can_be_encoded(text, sys.getfilesystemencoding()):
        raise OptionError(
            "store has characters that this host's locale cannot write: choose another path, or a locale with UTF-8, such as LC_ALL=C.UTF-8."
        )
    if "://" in text:
        from .._redis.address import parse_address

        return parse_address(text)
    path = os.path.expandvars(os.path.expanduser(text)) if text.isprintable() else ""
    if not os.path.isabs(path) or not path.isprintable():
        raise OptionError(
            "store must be the absolute path of a directory, the address of a Redis server, or 'none'."
        )
    return os.path.normpath(path)


def _read_login(get_option: GetOption, name: str) -> str | None:
    value = get_option(name)
    if value is None:
        return None
    if not isinstance(value, str) or not _can_be_encoded(value, "utf-8"):
        raise OptionError(f"{name} must be a text that UTF-8 can encode.")
    return value


def _can_be_encoded(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _open_seal(value: t.Any) -> Seal | None:
    keys = [value] if isinstance(value, str) else value
    if not keys:
        return None
    if not isinstance(keys, list) or not all(isinstance(key, str) and key for key in keys):
        raise OptionError("store_key must be a text or a list of texts, none of them empty.")
    from .._store.encryption import Seal  # here, since most stores are in the clear

    return Seal(keys)


def _default_directory() -> str:
    # By the XDG Base Directory Specification a relative path in the variable is as good as none.
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
    if not os.path.isabs(base) or not base.isprintable():
        raise OptionError(
            "store must be given: this user has no home directory to keep records in, or one with an odd name."
        )
    return os.path.join(base, "wuying.workspace", "login_tokens")


def read_ca_path(get_option: GetOption, name: str) -> str | None:
    """Return the path of CA certificates that an option names. Raises :class:`OptionError`."""
    value = get_option(name)
    if value is None:
        return None
    if not isinstance(value, str) or not (os.path.isfile(value) or os.path.isdir(value)):
        raise OptionError(f"{name} must be an existing file or directory of CA certificates.")
    return value
