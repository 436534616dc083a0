# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn options of many sessions into requests, and reports into a result."""

from __future__ import annotations

import typing as t

from .._keeper.decision import TokenRequest
from .._model.endpoint import parse_endpoint
from .._model.exceptions import OptionError, WuyingError
from .._model.session import Session
from .argument_spec import IDENTITY, session_spec
from .options import (
    GetOption,
    as_text,
    did_you_mean,
    given,
    overridden_by,
    read_refresh_before,
    read_request,
    read_validity,
)
from .result import describe, message_of

if t.TYPE_CHECKING:
    from .._keeper.fleet import Report

MOST_TOKENS = 1000
"""How many login tokens a task can pass. The time that ansible-core takes to hide them grows with the square of their number."""


def read_requests(get_option: GetOption, sessions: t.Sequence[t.Mapping[str, t.Any]]) -> list[TokenRequest]:
    """Return a token request for each session, with the other options as defaults. Raises :class:`OptionError`."""
    tokens = sum(bool(session.get("login_token")) for session in sessions)
    if tokens > MOST_TOKENS:
        raise OptionError(
            f"Pass at most {MOST_TOKENS} login tokens in one task. Later tasks read the tokens from the store. sessions contains {tokens}, "
            "but the time that Ansible takes to hide them grows with the square of their number."
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
    for name in filters:
        if name not in IDENTITY:
            hint = did_you_mean(name, IDENTITY, f"Valid keys are {', '.join(IDENTITY)}.")
            raise OptionError(f"filters contains an unknown key. {hint}")
    wanted: dict[str, set[str]] = {}
    for name, value in given(filters, session_spec()).items():
        values = [as_text(each) for each in (value if isinstance(value, list) else [value]) if each != ""]
        if not values or not all(isinstance(each, str) for each in values):
            raise OptionError(f"The value of {name} in filters must be a string or a non-empty list of strings.")
        wanted[name] = {parse_endpoint(each) for each in values} if name == "endpoint" else set(values)

    def matches(session: Session) -> bool:
        return all(getattr(session, name) in values for name, values in wanted.items())

    return matches


def read_selection(get_option: GetOption) -> t.Callable[[Session], TokenRequest | None]:
    """Return a function from a stored session to its token request, None if it is filtered out. Raises :class:`OptionError`."""
    matches = read_filters(get_option("filters"))
    validity, refresh_before = read_validity(get_option), read_refresh_before(get_option)

    def request_for(session: Session) -> TokenRequest | None:
        return TokenRequest(session, validity=validity, refresh_before=refresh_before) if matches(session) else None

    return request_for


class FleetResult:
    """Counts sessions by outcome and collects the entries to return. The reports themselves are not stored."""

    def __init__(self, results: str, *, return_token: bool) -> None:
        """Collect the entries that ``results`` selects: ``failed``, ``all`` or ``none``."""
        self._results = results
        self._return_token = return_token
        self._entries: list[tuple[int, dict[str, t.Any]]] = []
        self._first_error: tuple[int, str, WuyingError] | None = None
        self._retryable = True
        self.counts = dict.fromkeys(("total", "refreshed", "unchanged", "failed", "warned", "rekeyed"), 0)

    def add(self, report: Report, now: float) -> None:
        """Count a session and, if it is to be returned, add its entry. ``now`` is in seconds since 1970 (UTC)."""
        outcome = None if isinstance(report.result, WuyingError) else report.result
        error = report.result if isinstance(report.result, WuyingError) else report.result.not_saved
        changed = outcome is not None and outcome.changed
        self.counts["total"] += 1
        self.counts["failed" if error else "refreshed" if changed else "unchanged"] += 1
        self.counts["warned"] += bool(report.warnings)
        self.counts["rekeyed"] += report.rekeyed
        if error is not None:
            self._retryable = self._retryable and error.retryable
            if self._first_error is None or report.position < self._first_error[0]:
                name = report.key if report.session is None else report.session.end_user_id
                self._first_error = (report.position, name, error)
        only_copy = outcome is not None and error is not None
        noteworthy = self._results == "failed" and (error is not None or report.warnings)
        if only_copy or noteworthy or self._results == "all":
            entry: dict[str, t.Any] = {"changed": False}
            if outcome is not None:
                entry = describe(outcome, now, return_token=self._return_token or only_copy)
            if only_copy:
                entry["kept"] = False
            self._entries.append((report.position, _complete(entry, report, error)))

    @property
    def warning(self) -> str | None:
        """A warning if sessions have warnings, else None."""
        if not self.counts["warned"]:
            return None
        return (
            f"{self.counts['warned']} of {self.counts['total']} sessions have warnings, for example because a stale token "
            "could not be refreshed. See sessions in the result, with results=failed or results=all."
        )

    def as_result(self) -> dict[str, t.Any]:
        """Return the result of the task, with the sessions in the order in which they were requested."""
        return {
            "changed": bool(self.counts["refreshed"] or self.counts["rekeyed"]),
            "counts": self.counts,
            "sessions": [entry for _position, entry in sorted(self._entries, key=lambda positioned: positioned[0])],
        }

    def failure(self, fail_on: str) -> dict[str, t.Any] | None:
        """Return the error of the task, None if ``fail_on`` (``any``, ``all`` or ``none``) lets it succeed."""
        failed, total = self.counts["failed"], self.counts["total"]
        if self._first_error is None or fail_on == "none" or (fail_on == "all" and failed < total):
            return None
        _position, name, error = self._first_error
        return {
            "msg": f"{failed} of {total} sessions failed. First error, for {name}: {message_of(error)}",
            "error_code": error.code,
            "retryable": self._retryable,
        }


def _complete(entry: dict[str, t.Any], report: Report, error: WuyingError | None) -> dict[str, t.Any]:
    """Return an entry with its session, error, and warnings."""
    if report.session is None:
        entry["key"] = report.key
    else:
        entry["session"] = report.session.identity()
    if error is not None:
        request_id = entry.get("request_id") or error.request_id
        entry.update({**error.as_result(), "request_id": request_id, "msg": message_of(error)})
    if report.rekeyed:
        entry["rekeyed"] = True
    return {**entry, "failed": error is not None, "warnings": list(report.warnings)}
