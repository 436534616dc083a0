# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From options to a session, a question and a keeper: the way in, for the modules and the lookup alike.

Everything is checked here, before anything is sent or written. Each message names the option and never its value.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import typing as t

from ansible.module_utils.common.validation import check_type_bool

from .._keeper.decision import Ask
from .._keeper.keeper import Keeper
from .._model.endpoint import default_endpoint, parse_endpoint, parse_proxy
from .._model.exceptions import OptionError, WuyingError
from .._model.session import Session, is_token
from .._store.base import Store
from . import credentials as _credentials
from .argument_spec import SERVICE_SPEC
from .store_options import GetOption, open_store, read_ca_path

if t.TYPE_CHECKING:
    from .._service.client import Service

_LONGEST_ID = 256
_DAY = 86400
_YEAR = 366 * _DAY


def read_ask(get_option: GetOption) -> Ask:
    """Return what is asked of which session. Raises :class:`OptionError`."""
    return Ask(
        session=_read_session(get_option),
        login_token=_read_token(get_option("login_token")),
        validity=read_validity(get_option),
        refresh_before=read_refresh_before(get_option),
    )


def read_validity(get_option: GetOption) -> float:
    """Return for how many seconds a new token lives. Raises :class:`OptionError`."""
    return read_number(get_option, "validity", 1, _YEAR)


def read_refresh_before(get_option: GetOption) -> float:
    """Return with how many seconds to live a token is stale. Raises :class:`OptionError`."""
    return read_number(get_option, "refresh_before", 0, _YEAR)


def with_own(get_option: GetOption, own: t.Mapping[str, t.Any]) -> GetOption:
    """Return the options of one session among many: what it has of its own, else what all have."""
    return lambda name: get_option(name) if own.get(name) is None else own[name]


@contextlib.contextmanager
def open_keeper(
    get_option: GetOption,
    warn: t.Callable[[str], None],
    *,
    connections: int = 1,
    max_qps: float | None = None,
) -> t.Iterator[Keeper]:
    """Return a keeper over the store and the service that the options name; it counts its deadline from here.

    The service keeps so many ``connections`` and is sent at most ``max_qps`` requests a second. ``warn`` is told at the end what there is
    to say of the store. Raises :class:`WuyingError`.
    """
    deadline = _deadline(get_option)
    find_keys = _credentials.from_options(get_option)
    proxy = get_option("proxy")
    settings: dict[str, t.Any] = {
        "signature_version": get_option("signature_version"),
        "timeout": read_number(get_option, "timeout", 0.001, _DAY),
        "retries": int(read_number(get_option, "retries", 0, 100)),
        "validate_certs": _read_boolean(get_option, "validate_certs"),
        "ca_path": read_ca_path(get_option, "ca_path"),
        "proxy": None if proxy is None else parse_proxy(str(proxy)),
        "connections": connections,
        "max_qps": max_qps,
    }
    with contextlib.ExitStack() as opened:
        store = opened.enter_context(contextlib.closing(open_store(get_option, deadline)))

        def connect() -> Service:
            keys = find_keys(deadline)
            # Imported here, so that a task that sends nothing pays for no HTTP library.
            from .._service.client import Service
            from ..signer import Credentials

            return opened.enter_context(Service(keys and Credentials(*keys), **settings))

        try:
            yield Keeper(store, _once(connect), way=_way(get_option), deadline=deadline)
        finally:
            for warning in store.warnings:
                warn(warning)


def open_store_only(get_option: GetOption) -> contextlib.closing[Store]:
    """Return the store that the options name, to be closed at the end of a block. Raises :class:`WuyingError`."""
    return contextlib.closing(open_store(get_option, _deadline(get_option)))


def _deadline(get_option: GetOption) -> float:
    return time.monotonic() + read_number(get_option, "deadline", 0.001, _DAY)


def _once(connect: t.Callable[[], Service]) -> t.Callable[[], Service]:
    """Have a function called once, by whatever thread comes first; all get what it returned or raised."""
    guard = threading.Lock()
    ends: list[Service | WuyingError] = []

    def connect_once() -> Service:
        with guard:
            if not ends:
                try:
                    ends.append(connect())
                except WuyingError as error:
                    ends.append(error)
        if isinstance(ends[0], WuyingError):
            raise ends[0].with_traceback(None)
        return ends[0]

    return connect_once


def _way(get_option: GetOption) -> str:
    """Return all that decides how an exchange fares: who goes another way must not share its failures."""
    environment = [os.environ.get(name) for name in _credentials.VARIABLES]
    return repr([[get_option(name) for name in SERVICE_SPEC], environment])


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


def read_number(get_option: GetOption, name: str, least: float, most: float) -> float:
    """Return the number that an option gives, from ``least`` to ``most``. Raises :class:`OptionError`."""
    value = get_option(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise OptionError(f"{name} must be a number from {least:,.12g} to {most:,.12g}.")
    return value


def _read_boolean(get_option: GetOption, name: str) -> bool:
    """Return what an option says, by the rules that core has for modules. For lookups it takes whatever it does not know for false."""
    try:
        return bool(check_type_bool(get_option(name)))
    except TypeError:
        raise OptionError(f"{name} must be true or false.") from None
