# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Search files and file names for secrets, in every encoding in which logs may contain them.

Prints the places as JSON, never a secret itself.
"""

from __future__ import annotations

import argparse
import base64
import html
import json
import re
import sys
from pathlib import Path
from typing import Iterator
from urllib.parse import quote

END = 16
"""The number of characters at either end of a secret that count as a leak."""
START = 8
"""The number of bytes by which search patterns are indexed."""


def as_json(text: str) -> str:
    """Return text as JSON without the quotes."""
    return json.dumps(text)[1:-1]


def as_repr(text: str) -> set[str]:
    """Return text as Python shows it within other text, without and with quotes."""
    return {repr(text)[1:-1], repr(text + "'\"")[1:-1][: -len("\\'\"")]}


def as_base64(data: bytes) -> Iterator[str]:
    """Yield the base64 of data at each offset, without characters that depend on adjacent bytes."""
    for skipped in range(3):
        whole = (skipped + len(data)) * 8 // 6
        found = base64.b64encode(bytes(skipped) + data).decode()[-(-skipped * 8 // 6) : whole]
        yield found
        yield found.translate(str.maketrans("+/", "-_"))


def encodings(text: str) -> dict[str, set[str]]:
    """Return text in every known encoding, by the name of the encoding."""
    percent = {quote(text, safe=safe) for safe in ("", "~", "/", "/:?&=+", "!*'()")}
    percent |= {each.replace("%20", "+") for each in percent}
    percent |= {re.sub("%..", lambda match: match[0].lower(), each) for each in percent}
    return {
        "plain": {text},
        "percent": percent,
        "twice percent": {quote(each, safe="") for each in percent},
        "base64": set(as_base64(text.encode())),
        "json": {as_json(text), as_json(text).replace("/", "\\/"), json.dumps(text, ensure_ascii=False)[1:-1]},
        "twice json": {as_json(as_json(text))},
        "repr": {*as_repr(text), ascii(text)[1:-1], as_json(repr(text)[1:-1])},
        "twice repr": {twice for once in as_repr(text) for twice in as_repr(once)},
        "html": {html.escape(text), html.escape(text, quote=False)},
    }


def patterns(secret: str) -> dict[bytes, str]:
    """Return the encoded beginning and end of a secret, each with the name of its encoding."""
    found: dict[bytes, str] = {}
    for piece in (secret[:END], secret[-END:]):
        for encoding, texts in encodings(piece).items():
            for text in texts:
                found.setdefault(text.encode(), encoding)
    return found


class Scanner:
    """Searches for many secrets in one pass, and for one-time codes that are no part of a longer number."""

    def __init__(self, secrets: set[str], codes: list[str]) -> None:
        self.codes = re.compile(f"(?<![0-9A-Za-z.])({'|'.join(codes)})(?![0-9A-Za-z])".encode())
        self.encodings = {pattern: encoding for secret in secrets for pattern, encoding in patterns(secret).items()}
        self.by_start: dict[bytes, list[bytes]] = {}
        for pattern in self.encodings:
            self.by_start.setdefault(pattern[:START], []).append(pattern)

    def find(self, line: bytes) -> tuple[int, str] | None:
        """Return the position and the encoding of the first secret in a line."""
        for place in range(len(line) - START):
            for pattern in self.by_start.get(line[place : place + START], ()):
                if line.startswith(pattern, place):
                    return place, self.encodings[pattern]
        code = self.codes.search(line)
        return (code.start(), "code") if code else None

    def search(self, data: bytes) -> Iterator[tuple[str, str]]:
        """Yield the encoding and the beginning of each line that contains a secret."""
        for line in data.splitlines():
            found = self.find(line)
            if found:
                yield found[1], self.beginning(line[: found[0]])

    def beginning(self, text: bytes) -> str:
        """Return the words of a log line up to the first value, without numbers and times."""
        words = re.sub(r"[0-9.:]+", "", text.decode(errors="replace"))
        return " ".join(re.split(r"[{(\['\"=/]", words)[0].split())

    def walk(self, top: Path, leave_out: list[Path]) -> Iterator[dict[str, str]]:
        """Yield the secrets in the names below a folder, and in the files that are not excluded."""
        for path in sorted(top.rglob("*")):
            place = str(path.relative_to(top))
            if self.find(place.encode()):
                yield {"place": "the name of a file", "encoding": "name", "line": ""}
            elif path.is_file() and not any(part in (path, *path.parents) for part in leave_out):
                yield from self.read(path, place)

    def read(self, path: Path, place: str) -> Iterator[dict[str, str]]:
        """Yield the secrets in a file."""
        for encoding, line in self.search(path.read_bytes()):
            yield {"place": place, "encoding": encoding, "line": line}


def check_self() -> None:
    """Check that the search finds a secret in each encoding, and nothing else."""
    secret = "ü \"a/+&<\\%='4b7" + "".join(f"{number:03x}" for number in range(40)) + "?\"\\+'& /=😀"
    scanner = Scanner({secret, "another secret"}, ["123456"])
    for written in (secret, secret[:END], secret[-END:]):
        for encoding, texts in encodings(written).items():
            for text in texts:
                if not list(scanner.search(f"before\nx {text} y\nafter".encode())):
                    sys.exit(f"A secret encoded as {encoding} was not found.")
    for padding in range(8):
        longer = base64.b64encode(b"x" * padding + secret.encode() + b"tail"[: padding // 2])
        if not list(scanner.search(longer)):
            sys.exit("A secret within a longer base64 text was not found.")
    if list(scanner.search(f"{secret[1:END]} and {quote(secret)[: END - 1]}".encode())):
        sys.exit("The search found a secret in text without secrets.")
    if not list(scanner.search(b"AuthenticationCode=123456&")) or list(scanner.search(b"a123456 1234567 0.123456")):
        sys.exit("The search confuses a code with other numbers.")


def read_secrets(file: Path) -> set[str]:
    """Return the secrets of a file."""
    return {json.loads(line) for line in file.read_text().splitlines()}


def main() -> None:
    """Parse the command line and search the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("top", type=Path, help="folder to search; other paths are relative to it")
    add("--secrets", required=True, help="file of secrets, one JSON string per line")
    add("--code", action="append", required=True, help="one-time code that was passed")
    add("--returned", required=True, help="file of secrets that a run returned")
    add("--shown", action="append", default=[], help="file that may contain those")
    add("--leave-out", action="append", default=[], help="file or folder to exclude")
    options = parser.parse_args()
    check_self()
    top = options.top
    secrets, returned = read_secrets(top / options.secrets), read_secrets(top / options.returned)
    if not secrets > returned or min(map(len, secrets)) < 2 * END - 2:
        sys.exit("There is no secret to search for, or one is too short for a reliable search.")
    leave_out = [top / name for name in options.leave_out + options.shown]
    hits = list(Scanner(secrets, options.code).walk(top, leave_out))
    for name in options.shown:
        hits += Scanner(secrets - returned, options.code).read(top / name, name)
    print(json.dumps({"secrets": len(secrets), "hits": hits}))


if __name__ == "__main__":
    main()
