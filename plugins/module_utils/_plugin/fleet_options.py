# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the options of plugins that deal with many sessions to what is asked of which."""

from __future__ import annotations

import typing as t

from .._keeper.decision import TokenRequest
from .._model.endpoint import parse_endpoint
from .._model.exceptions import OptionError
from .._model.session import Session
from .argument_spec import IDENTITY, Spec
from .option_values import GetOption, overridden_by
from .options import read_refresh_before, read_request, read_validity

MOST_TOKENS = 1000
"""How many login tokens may be passed at once: the time that core takes to hide them grows with the square of their number."""


def sessions_spec() -> Spec:
    """Return the argument spec of an option that lists sessions."""
    spec: Spec = {name: {"type": "str"} for name in IDENTITY}
    spec["login_token"] = {"type": "str", "no_log": True}
    return {"sessions": {"type": "list", "elements": "dict", "options": spec}}


def read_requests(get_option: GetOption, sessions: t.Sequence[t.Mapping[str, t.Any]]) -> list[TokenRequest]:
    """Return what is asked of which sessions, where the other options are the defaults of each. Raises :class:`OptionError`."""
    tokens = sum(bool(session.get("login_token")) for session in sessions)
    if tokens > MOST_TOKENS:
        raise OptionError(
            f"sessions has {tokens} login tokens, and Ansible takes a time to hide them that grows with the square of their "
            f"number: pass at most {MOST_TOKENS} in a task. Once they are in the store, later tasks need none."
        )
    requests = []
    for number, own in enumerate(sessions):
        try:
            requests.append(read_request(overridden_by(get_option, own)))
        except OptionError as error:
            raise OptionError(f"sessions[{number}]: {error.message}", code=error.code) from None
    return requests


def read_filters(filters: t.Any) -> t.Callable[[Session], bool]:
    """Return a function that says whether a session is one of those that ``filters`` let through. Raises :class:`OptionError`."""
    wanted: dict[str, set[str]] = {}
    if not isinstance(filters or {}, dict):
        raise OptionError("filters must be a dictionary.")
    for name, value in (filters or {}).items():
        if name not in IDENTITY:
            raise OptionError(f"filters may have these keys only: {', '.join(IDENTITY)}.")
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(each, str) for each in values):
            raise OptionError(f"filters must have a text or a list of texts as {name}.")
        wanted[name] = {parse_endpoint(each) for each in values} if name == "endpoint" else set(values)

    def matches(session: Session) -> bool:
        return all(getattr(session, name) in values for name, values in wanted.items())

    return matches


def read_selection(get_option: GetOption) -> t.Callable[[Session], TokenRequest | None]:
    """Return a function that says what is asked of a session of the store, if anything. Raises :class:`OptionError`."""
    matches = read_filters(get_option("filters"))
    validity, refresh_before = read_validity(get_option), read_refresh_before(get_option)

    def request_for(session: Session) -> TokenRequest | None:
        request = TokenRequest(session, validity=validity, refresh_before=refresh_before)
        return request if matches(session) else None

    return request_for
