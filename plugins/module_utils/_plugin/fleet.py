# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn options of many sessions into requests, and reports into a result."""

from __future__ import annotations

import typing as t

from .._keeper.decision import TokenRequest
from .._model.endpoint import parse_endpoint
from .._model.exceptions import OptionError, WuyingError
from .._model.session import ACCOUNT_PREFIX, Session
from .argument_spec import IDENTITY, LOGIN_SECRETS, session_spec
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
    from .summary import Errors

MOST_SECRETS = 1000
"""How many secrets of sessions a task can pass. The time that ansible-core takes to hide them grows with the square of their number."""
_MESSAGE, _PART = 2000, 500
"""The sizes of a message and of a part of it, in bytes."""
_UNKNOWN = {
    "unreadable": ("record", "{} cannot be read", 1),
    "unlisted": ("server", "The sessions of {} cannot be listed", 3),
    "account": ("account", "The logins of {} cannot be copied or re-encrypted", 1),
}
"""What failed if the sessions are not known, how to say that, and how many messages to show. Those about servers name them."""

MOST_FAILED = 10_000
"""How many sessions from the store that failed are returned. Someone who can write to the store could add very many."""


def read_requests(get_option: GetOption, sessions: t.Sequence[t.Mapping[str, t.Any]]) -> list[TokenRequest]:
    """Return a token request for each session, with the other options as defaults. Raises :class:`OptionError`."""
    secrets = sum(bool(session.get(name)) for session in sessions for name in ("login_token", *LOGIN_SECRETS))
    if secrets > MOST_SECRETS:
        raise OptionError(
            f"sessions contains {secrets:,} login tokens, passwords and other secrets, but a task accepts at most {MOST_SECRETS:,}, because "
            "Ansible takes too long to hide more. Split the list into several tasks."
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
    wanted = read_wanted(filters)

    def matches(session: Session) -> bool:
        return all(getattr(session, name) in values for name, values in wanted.items())

    return matches


def read_selection(get_option: GetOption) -> t.Callable[[Session], TokenRequest | None]:
    """Return a function from a stored session to its token request, None if it is filtered out. Raises :class:`OptionError`."""
    matches = read_filters(get_option("filters"))
    settings = (bool(get_option("force")), read_validity(get_option), read_refresh_before(get_option))

    def request_for(session: Session) -> TokenRequest | None:
        return TokenRequest(session, None, *settings) if matches(session) else None

    return request_for


class FleetResult:
    """Counts sessions by outcome and collects the entries to return. The reports themselves are not stored."""

    def __init__(self, results: str, *, return_token: bool, copies: bool = False) -> None:
        """Collect the entries that ``results`` selects: ``failed``, ``all`` or ``none``. ``copies`` is True for a copy to another store."""
        self._results = results
        self._return_token = return_token
        self._entries: list[tuple[int, dict[str, t.Any]]] = []
        self._errors: dict[str, Errors] = {}
        self._retryable = True
        self._otherwise_warned = 0
        self._returned = 0
        self._other_warning = ""
        """The first of these warnings."""
        ends = ("refreshed", "logged_in", "unchanged", "not_refreshed", "failed")
        names = ("total", *ends, "login_needed", "warned", "rekeyed")
        self.counts = dict.fromkeys((*names, "copied", "accounts") if copies else names, 0)

    def add(self, report: Report, now: float) -> None:
        """Count a session and, if it is to be returned, add its entry. ``now`` is in seconds since 1970 (UTC)."""
        outcome = None if isinstance(report.result, WuyingError) else report.result
        if report.session is None and outcome is not None:  # the entry of an account
            self.counts["accounts" if outcome.copied else "rekeyed"] += 1
            return
        failure = report.result if isinstance(report.result, WuyingError) else report.result.not_saved
        not_refreshed = outcome and outcome.not_refreshed
        name = report.session.end_user_id if report.session else report.key
        end = "unchanged"
        if outcome is not None and outcome.changed:
            end = "copied" if outcome.copied else "logged_in" if outcome.logged_in else "refreshed"
        if failure is not None:
            end = "failed"
            self._add_error(_kind_of(report), name, failure)
            self._retryable = self._retryable and failure.retryable
            self.counts["login_needed"] += failure.login_needed
        elif not_refreshed is not None:
            end = "not_refreshed"
            self._add_error(end, name, not_refreshed)
        self.counts["total"] += 1
        self.counts[end] += 1
        self.counts["warned"] += bool(report.warnings)
        self.counts["rekeyed"] += report.rekeyed
        if len(report.warnings) > (not_refreshed is not None):
            others = (
                text for text in report.warnings if not_refreshed is None or not text.endswith(not_refreshed.message)
            )
            self._other_warning = self._other_warning or f"{name}: {next(others, report.warnings[-1])}"
            self._otherwise_warned += 1
        only_copy = outcome is not None and failure is not None
        noteworthy = self._results == "failed" and (failure is not None or report.warnings)
        selected = noteworthy or self._results == "all"
        if selected and (noteworthy or report.session is None):
            self._returned += 1
            selected = self._returned <= MOST_FAILED
        if only_copy or selected:
            entry: dict[str, t.Any] = {"changed": False}
            if outcome is not None:
                entry = describe(outcome, now, return_token=self._return_token or only_copy)
            if only_copy:
                entry["kept"] = False
            entry["failed"] = failure is not None
            self._entries.append((report.position, _complete(entry, report, failure or not_refreshed)))

    @property
    def sessions(self) -> int:
        """The number of sessions whose records could be read."""
        return self.counts["total"] - sum(self._errors[kind].count for kind in _UNKNOWN if kind in self._errors)

    def warnings(self) -> t.Iterator[str]:
        """Yield warnings about sessions that have warnings."""
        if "not_refreshed" in self._errors:
            errors = self._errors["not_refreshed"]
            end = "could not be refreshed. Their stored tokens are still valid"
            yield errors.describe(end, self.counts["total"], _MESSAGE)
        if self._otherwise_warned:
            from .summary import cut

            kind = "other warnings" if "not_refreshed" in self._errors else "warnings"
            text = f"Sessions with {kind}: {self._otherwise_warned:,} of {self.counts['total']:,}. {cut(self._other_warning, _PART)}"
            if self._otherwise_warned > 1:
                text += " The others are in sessions of the result, with results=failed or results=all."
            yield text

    def as_result(self) -> dict[str, t.Any]:
        """Return the result of the task, with the sessions in the order in which they were requested."""
        return {
            "changed": any(
                self.counts.get(name) for name in ("refreshed", "logged_in", "rekeyed", "copied", "accounts")
            ),
            "counts": self.counts,
            "sessions": [entry for _position, entry in sorted(self._entries, key=lambda positioned: positioned[0])],
        }

    def failure(self, fail_on: str, *, filtered: bool) -> dict[str, t.Any] | None:
        """Return the error of the task, None if ``fail_on`` (``any``, ``all`` or ``none``) lets it succeed."""
        failed, total = self.counts["failed"], self.counts["total"]
        if not failed or fail_on == "none" or (fail_on == "all" and failed < total):
            return None
        kinds = [kind for kind in ("failed", *_UNKNOWN) if kind in self._errors]
        parts = [self._errors[kind].describe_unknown(*_UNKNOWN[kind], _PART) for kind in kinds if kind in _UNKNOWN]
        if "failed" in kinds:
            size = _MESSAGE - _PART * len(parts)
            parts.insert(0, self._errors["failed"].describe("failed", self.sessions, size))
        elif filtered and not self.sessions and "unlisted" not in kinds:
            parts.insert(0, "No session matches filters.")
        code = self._errors[kinds[0]].codes()[0]
        return {"msg": " ".join(parts), "error_code": code, "retryable": self._retryable}

    def _add_error(self, kind: str, name: str, error: WuyingError) -> None:
        from .summary import Errors  # here, because most tasks have no errors

        self._errors.setdefault(kind, Errors()).add(name, error)


def _kind_of(report: Report) -> str:
    """Return what failed: a session, or what is not known to be one."""
    if report.session is not None:
        return "failed"
    return "account" if report.key.startswith(ACCOUNT_PREFIX) else "unreadable" if report.key else "unlisted"


def read_wanted(filters: t.Any) -> dict[str, set[str]]:
    """Return the values that ``filters`` allows for parts of an identity. Raises :class:`OptionError`."""
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
    return wanted


def _complete(entry: dict[str, t.Any], report: Report, error: WuyingError | None) -> dict[str, t.Any]:
    """Return an entry with its session, error, and warnings."""
    if report.session is not None:
        entry["session"] = report.session.identity()
    elif report.key:
        entry["key"] = report.key
    entry["login_needed"] = False
    if error is not None:
        request_id = entry.get("request_id") or error.request_id
        entry.update({**error.as_result(), "request_id": request_id, "msg": message_of(error)})
    if report.rekeyed:
        entry["rekeyed"] = True
    return {**entry, "warnings": list(report.warnings)}
