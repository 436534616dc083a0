# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Summarize the errors of many sessions by their codes, in a text of limited size."""

from __future__ import annotations

from .._model.exceptions import WuyingError

_CODES = 3
"""How many codes are named, the most frequent ones first, and how many sessions of each."""
_NAME, _CODE, _MESSAGES = 24, 64, 900
"""The sizes of a name, of a code, and of all messages together, in bytes."""


class Errors:
    """Counts errors by their codes. Of each code, the first message and a few names are stored."""

    def __init__(self) -> None:
        self.count = 0
        self._by_code: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, error: WuyingError) -> None:
        """Add the error of a session."""
        self.count += 1
        self._counts[error.code] = self._counts.get(error.code, 0) + 1
        texts = self._by_code.setdefault(error.code, [error.message])
        if len(texts) <= _CODES:
            texts.append(name)

    def codes(self) -> list[str]:
        """Return all codes, the most frequent one first."""
        return sorted(self._counts, key=self._counts.__getitem__, reverse=True)

    def describe(self, end: str, total: int) -> str:
        """Return how many of the ``total`` sessions ended so, and for each of the most frequent codes a few names and the message."""
        codes = self.codes()
        shown = codes[:_CODES]
        parts = [f"{self.count:,} of {_plural(total, 'session')} {end}."]
        parts += [f"{_cut(code, _CODE)}: {self._describe(code, _MESSAGES // len(shown))}" for code in shown]
        others = sum(self._counts[code] for code in codes[_CODES:])
        return " ".join([*parts, f"Other errors: {others:,}."] if others else parts)

    def describe_records(self) -> str:
        """Return how many records cannot be read, the most frequent codes, and the message of the first one."""
        codes = self.codes()
        named = ", ".join(_cut(code, _CODE) for code in codes[:_CODES])
        message = _cut(self._by_code[codes[0]][0], _MESSAGES // _CODES)
        return f"{_plural(self.count, 'record')} cannot be read ({named}). {message}"

    def _describe(self, code: str, size: int) -> str:
        message, *names = self._by_code[code]
        count = self._counts[code]
        more = f" and {count - len(names):,} more" if count > len(names) else ""
        return f"{count:,} ({', '.join(_cut(name, _NAME) for name in names)}{more}). {_cut(message, size)}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _cut(text: str, size: int) -> str:
    """Return a text of at most so many bytes in UTF-8."""
    data = text.encode("utf-8", "replace")
    return text if len(data) <= size else data[: size - 3].decode("utf-8", "ignore") + "…"
