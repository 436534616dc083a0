# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Summarize the errors of many sessions by their codes, in a text of limited size."""

from __future__ import annotations

from .._model.exceptions import WuyingError

_CODES = 3
"""How many codes are named, the most frequent ones first, and how many sessions of each."""
_NAME, _CODE = 24, 64
"""The sizes of a name and of a code, in bytes."""


class Errors:
    """Counts errors by their codes. The first few messages, and of each code the first message and a few names are stored."""

    def __init__(self) -> None:
        self.count = 0
        self._by_code: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}
        self._messages: list[str] = []

    def add(self, name: str, error: WuyingError) -> None:
        """Add the error of a session."""
        self.count += 1
        self._counts[error.code] = self._counts.get(error.code, 0) + 1
        if len(self._messages) < _CODES and error.message not in self._messages:
            self._messages.append(error.message)
        texts = self._by_code.setdefault(error.code, [error.message])
        if len(texts) <= _CODES:
            texts.append(name)

    def codes(self) -> list[str]:
        """Return all codes, the most frequent one first."""
        return sorted(self._counts, key=self._counts.__getitem__, reverse=True)

    def describe(self, end: str, total: int, size: int) -> str:
        """Return how many of the ``total`` sessions ended so, and for each of the most frequent codes a few names and the message.

        The text has at most ``size`` bytes. The messages share the space that the rest leaves.
        """
        codes = self.codes()
        first = f"{self.count:,} of {_plural(total, 'session')} {end}."
        shown = [f"{cut(code, _CODE)}: {self._count_and_names(code)}." for code in codes[:_CODES]]
        others = sum(self._counts[code] for code in codes[_CODES:])
        last = [f"Other errors: {others:,}."] if others else []
        size -= sum(_size(part) + 2 for part in [first, *shown, *last])
        for index, code in enumerate(codes[:_CODES]):
            message = cut(self._by_code[code][0], size // (len(shown) - index))
            shown[index] += f" {message}"
            size -= _size(message)
        return " ".join([first, *shown, *last])

    def describe_unknown(self, noun: str, problem: str, most: int, size: int) -> str:
        """Return, in at most ``size`` bytes, how many have the ``problem``, the most frequent codes, and the first ``most`` messages."""
        codes = self.codes()
        named = ", ".join(cut(code, _CODE) for code in codes[:_CODES])
        text = f"{problem.format(_plural(self.count, noun))} ({named}). "
        messages = self._messages[:most] if most > 1 else self._by_code[codes[0]][:1]
        share = (size - _size(text)) // len(messages) - 1
        return text + " ".join(cut(message, share) for message in messages)

    def _count_and_names(self, code: str) -> str:
        _message, *names = self._by_code[code]
        count = self._counts[code]
        more = f" and {count - len(names):,} more" if count > len(names) else ""
        return f"{count:,} ({', '.join(cut(name, _NAME) for name in names)}{more})"


def cut(text: str, size: int) -> str:
    """Return a text of at most so many bytes in UTF-8. If it is longer, leave out its middle, because its end says what to do."""
    data = text.encode("utf-8", "replace")
    if len(data) <= size:
        return text
    half = (size - 5) // 2
    head, tail = data[:half].decode("utf-8", "ignore"), data[-half:].decode("utf-8", "ignore")
    # Whole words, so that the key of a record is complete or absent.
    if " " in head and " " in tail:
        return f"{head.rpartition(' ')[0]} … {tail.partition(' ')[2]}"
    return f"{head}…{tail}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
