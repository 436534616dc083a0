# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the reports of many sessions to the result of a task."""

from __future__ import annotations

import typing as t

from .._keeper.fleet import Report
from .._model.exceptions import WuyingError
from .result import describe


class Summary:
    """Counts how sessions fared, and keeps the entries of those that the result is to show."""

    def __init__(self, results: str, *, return_token: bool) -> None:
        """Take which sessions to show, ``failed``, ``all`` or ``none``, and whether with their tokens."""
        self._results = results
        self._return_token = return_token
        self._entries: list[tuple[int, dict[str, t.Any]]] = []
        self._first: tuple[int, str, WuyingError] | None = None
        self._retryable = True
        self.counts = dict.fromkeys(("total", "refreshed", "unchanged", "failed", "warned", "rekeyed"), 0)
        self.tokens: list[str] = []

    def add(self, report: Report, now: float) -> None:
        """Take in how a session fared, at the time ``now``."""
        result = report.result
        error = result if isinstance(result, WuyingError) else result.not_saved
        changed = not isinstance(result, WuyingError) and result.changed
        self.counts["total"] += 1
        self.counts["refreshed"] += changed and error is None
        self.counts["unchanged"] += error is None and not changed
        self.counts["failed"] += error is not None
        self.counts["warned"] += bool(report.warnings)
        self.counts["rekeyed"] += report.rekeyed
        if error is not None:
            name = report.key if report.session is None else report.session.end_user_id
            self._retryable = self._retryable and error.retryable
            if self._first is None or report.position < self._first[0]:
                self._first = (report.position, name, error)
        only_copy = not isinstance(result, WuyingError) and result.not_saved is not None
        noteworthy = self._results == "failed" and (error is not None or report.warnings)
        if only_copy or noteworthy or self._results == "all":
            entry = self._entry(report, error, now)
            self._entries.append((report.position, entry))
            if "login_token" in entry:
                self.tokens.append(entry["login_token"])

    @property
    def warning(self) -> str | None:
        """What there is to warn of in all sessions together."""
        warned = self.counts["warned"]
        if not warned:
            return None
        return f"There are warnings of {warned} sessions, such as stale tokens that are served: see sessions in the result."

    def result(self) -> dict[str, t.Any]:
        """Return the result of the task, its sessions in the order in which they were asked for."""
        self._entries.sort(key=_position)
        return {
            "changed": bool(self.counts["refreshed"] or self.counts["rekeyed"]),
            "counts": self.counts,
            "sessions": [entry for _place, entry in self._entries],
        }

    def failure(self, fail_on: str) -> dict[str, t.Any] | None:
        """Return what a failing task says where ``any`` or ``all`` failed, None where it is not to fail."""
        failed, total = self.counts["failed"], self.counts["total"]
        if self._first is None or fail_on == "none" or (fail_on == "all" and failed < total):
            return None
        _place, name, first = self._first
        return {
            "msg": f"{failed} of {total} sessions failed. The first is {name}: {first.message}",
            "error_code": first.code,
            "retryable": self._retryable,
        }

    def _entry(self, report: Report, error: WuyingError | None, now: float) -> dict[str, t.Any]:
        result = report.result
        if isinstance(result, WuyingError):
            entry: dict[str, t.Any] = {"changed": False}
        else:
            return_token = self._return_token or result.not_saved is not None
            entry = describe(result, now, return_token=return_token)
        if report.session is None:
            entry["key"] = report.key
        else:
            entry["session"] = report.session.identity()
        entry["failed"] = error is not None
        entry["warnings"] = list(report.warnings)
        if report.rekeyed:
            entry["rekeyed"] = True
        if error is not None:
            known = {name: value for name, value in entry.items() if value is not None}
            entry = {**error.as_result(), **known, "msg": error.message}
            if "login_token" in entry:
                entry["kept"] = False
        return entry


def _position(item: tuple[t.Any, ...]) -> int:
    return int(item[0])
