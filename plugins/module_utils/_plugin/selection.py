# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Select the accounts that a task processes, and refuse endpoints that only a record names."""

from __future__ import annotations

import typing as t

from .._keeper.decision import TokenRequest
from .._model.account import Account, account_of
from .._model.endpoint import is_default_or_loopback, parse_endpoint
from .._model.exceptions import StoreError
from .fleet import read_wanted
from .options import GetOption

if t.TYPE_CHECKING:
    from .._keeper.fleet import Reading


def read_named_endpoints(get_option: GetOption) -> set[str]:
    """Return the endpoints that ``endpoint`` and ``filters`` name. Raises :class:`OptionError`."""
    named = read_wanted(get_option("filters")).get("endpoint", set())
    endpoint = get_option("endpoint")
    return named | {parse_endpoint(str(endpoint))} if endpoint else named


def refuse_unnamed(readings: t.Iterable[Reading], named: t.Container[str]) -> t.Iterator[Reading]:
    """Replace each state whose session has an endpoint of its own, which the task does not name, by an error.

    Someone who can write to the store could otherwise choose where the task sends signed requests.
    """
    for key, request, stored in readings:
        if request is None or request.session.endpoint in named or is_default_or_loopback(*request.session[:2]):
            yield key, request, stored
        else:
            message = f"The record of this session names the endpoint {request.session.endpoint}, which is not that of its region. "
            message += (
                "Nothing was sent. If the endpoint is correct, set endpoint to it (wuying_endpoint in the playbook keep_alive). "
                "To allow several, list all endpoints of the fleet in filters. Otherwise, delete the record."
            )
            yield key, request, StoreError(message, code="EndpointNotNamed")


def read_account_selection(
    get_option: GetOption, requests: t.Sequence[TokenRequest] | None
) -> t.Callable[[Account], bool]:
    """Return a function that returns True for accounts of the requested sessions, or of sessions that ``filters`` may select.

    Raises :class:`OptionError`.
    """
    if requests is not None:
        return {account_of(request.session) for request in requests}.__contains__
    wanted = {name: values for name, values in read_wanted(get_option("filters")).items() if name in Account._fields}
    if "end_user_id" in wanted:
        wanted["end_user_id"] = {user.casefold() for user in wanted["end_user_id"]}
    return lambda account: all(getattr(account, name) in values for name, values in wanted.items())
