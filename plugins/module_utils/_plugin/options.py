# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn the options of one session into a token request.

Everything is checked here, before anything is sent or written.
"""

from __future__ import annotations

from .._keeper.decision import TokenRequest
from .._model.endpoint import default_endpoint, parse_endpoint
from .._model.session import Session
from .option_values import DAY, GetOption, read_id, read_number, read_optional_id, read_token

_YEAR = 366 * DAY


def read_request(get_option: GetOption) -> TokenRequest:
    """Return the token request of one session. Raises :class:`OptionError`."""
    return TokenRequest(
        session=_read_session(get_option),
        login_token=read_token(get_option("login_token")),
        validity=read_validity(get_option),
        refresh_before=read_refresh_before(get_option),
    )


def read_validity(get_option: GetOption) -> float:
    """Return the validity of a new token in seconds. Raises :class:`OptionError`."""
    return read_number(get_option, "validity", 1, _YEAR)


def read_refresh_before(get_option: GetOption) -> float:
    """Return how many seconds before its expiry a token becomes stale. Raises :class:`OptionError`."""
    return read_number(get_option, "refresh_before", 0, _YEAR)


def _read_session(get_option: GetOption) -> Session:
    region_id = read_id(get_option, "region_id")
    default, endpoint = default_endpoint(region_id), get_option("endpoint")
    return Session(
        endpoint=default if endpoint is None else parse_endpoint(str(endpoint)),
        region_id=region_id,
        office_site_id=read_id(get_option, "office_site_id"),
        end_user_id=read_id(get_option, "end_user_id"),
        client_id=read_id(get_option, "client_id"),
        directory_id=read_optional_id(get_option, "directory_id"),
        session_id=read_optional_id(get_option, "session_id"),
    )
