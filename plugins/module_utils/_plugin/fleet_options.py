# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn the options of many sessions into token requests."""

from __future__ import annotations

import typing as t

from .._keeper.decision import TokenRequest
from .._model.endpoint import parse_endpoint
from .._model.exceptions import OptionError
from .._model.session import Session
from .argument_spec import IDENTITY
from .options import GetOption, overridden_by, read_refresh_before, read_request, read_validity

MOST_TOKENS = 1000
"""How many login tokens a task can pass. The time that ansible-core takes to hide them grows with the square of their number."""


def read_requests(get_option: GetOption, sessions: t.Sequence[t.Mapping[str, t.Any]]) -> list[TokenRequest]:
    """Return a token request for each session, with the other options as defaults. Raises :class:`OptionError`."""
    tokens = sum(bool(session.get("login_token")) for session in sessions)
    if tokens > MOST_TOKENS:
        raise OptionError(
            f"sessions contains {tokens} login tokens, but the time that Ansible takes to hide them grows with the square of "
            f"their number. Pass at most {MOST_TOKENS} in one task. Later tasks read the tokens from the store."
        )
    requests = []
    for number, own in enumerate(sessions):
        try:
            requests.append(read_request(overridden_by(get_option, own)))
        except OptionError as error:
            raise OptionError(f"sessions[{number}]: {error.message}", code=error.code) from None
    return requests


def read_filters(filters: t.Any) -> t.Callable[[Session], bool]:
    """Return a function that returns True if a session matches ``filters``. Raises :class:`OptionError`."""
    filters = filters or {}
    if not isinstance(filters, dict):
        raise OptionError("filters must be a dictionary.")
    wanted: dict[str, set[str]] = {}
    for name, value in filters.items():
        if name not in IDENTITY:
            raise OptionError(f"filters contains an unknown key. Valid keys are {', '.join(IDENTITY)}.")
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(each, str) for each in values):
            raise OptionError(f"The value of {name} in filters must be a string or a non-empty list of strings.")
        wanted[name] = {parse_endpoint(each) for each in values} if name == "endpoint" else set(values)

    def matches(session: Session) -> bool:
        return all(getattr(session, name) in values for name, values in wanted.items())

    return matches


def read_selection(get_option: GetOption) -> t.Callable[[Session], TokenRequest | None]:
    """Return a function that returns the token request of a stored session, None if ``filters`` excludes it.

    Raises :class:`OptionError`.
    """
    matches = read_filters(get_option("filters"))
    validity, refresh_before = read_validity(get_option), read_refresh_before(get_option)

    def request_for(session: Session) -> TokenRequest | None:
        return TokenRequest(session, validity=validity, refresh_before=refresh_before) if matches(session) else None

    return request_for
