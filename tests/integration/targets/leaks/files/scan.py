# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Search text, files and their names for secrets, written in any of the ways in which they get into logs.

Prints what it found as JSON, never a secret itself.
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
"""How many characters of either end of a secret give it away."""
START = 8
"""By how many bytes what is looked for is told apart first."""


def as_json(text: str) -> str:
    """Write text as it is between the quotes of a JSON string."""
    return json.dumps(text)[1:-1]


def as_base64(data: bytes) -> Iterator[str]:
    """Write what base64 makes of data wherever they begin, less what their neighbours have a part in."""
    for skipped in range(3):
        whole = (skipped + len(data)) * 8 // 6
        found = base64.b64encode(bytes(skipped) + data).decode()[-(-skipped * 8 // 6) : whole]
        yield found
        yield found.translate(str.maketrans("+/", "-_"))


def ways_to_write(text: str) -> dict[str, set[str]]:
    """Write text in every way that is known here."""
    percent = {quote(text, safe=safe) for safe in ("", "~", "/", "/:?&=+", "!*'()")}
    percent |= {re.sub("%..", lambda match: match[0].lower(), each) for each in percent}
    return {
        "plain": {text},
        "percent": percent,
        "twice percent": {quote(each, safe="") for each in percent},
        "base64": set(as_base64(text.encode())),
        "json": {as_json(text), as_json(text).replace("/", "\\/")},
        "twice json": {as_json(as_json(text))},
        "repr": {
            repr(text)[1:-1],
            repr(text + "'\"")[1:-1][: -len("\\'\"")],
            as_json(repr(text)[1:-1]),
        },
        "html": {html.escape(text), html.escape(text, quote=False)},
    }


def needles(secret: str) -> dict[bytes, str]:
    """Return all to look for of a secret, its beginning and its end, each with the way in which it is written."""
    found: dict[bytes, str] = {}
    for piece in (secret[:END], secret[-END:]):
        for scope, texts in ways_to_write(piece).items():
            for text in texts:
                found.setdefault(text.encode(), scope)
    return found


class Scanner:
    """Finds any of many secrets in one go."""

    def __init__(self, secrets: set[str]) -> None:
        self.ways = {needle: scope for secret in secrets for needle, scope in needles(secret).items()}
        self.by_start: dict[bytes, list[bytes]] = {}
        for needle in self.ways:
            self.by_start.setdefault(needle[:START], []).append(needle)

    def find(self, line: bytes) -> tuple[int, bytes] | None:
        """Return where the first secret begins in a line, and how it is written."""
        for place in range(len(line) - START):
            for needle in self.by_start.get(line[place : place + START], ()):
                if line.startswith(needle, place):
                    return place, needle
        return None

    def search(self, data: bytes) -> Iterator[tuple[str, str]]:
        """Yield for each line with a secret in it the way it is written, and with what the line begins."""
        for line in data.splitlines():
            found = self.find(line)
            if found:
                yield self.ways[found[1]], self.beginning(line[: found[0]])

    def beginning(self, text: bytes) -> str:
        """Return what tells one line of a log from another: its words up to the first value, less numbers and times."""
        words = re.sub(r"[0-9.:]+", "", text.decode(errors="replace"))
        return " ".join(re.split(r"[{(\['\"=/]", words)[0].split())

    def walk(self, top: Path, leave_out: list[Path]) -> Iterator[dict[str, str]]:
        """Yield what is found in the names below a folder, and in the files that are not to be left out."""
        for path in sorted(top.rglob("*")):
            place = str(path.relative_to(top))
            if self.find(place.encode()):
                yield {"place": "the name of a file", "way": "name", "line": ""}
            elif path.is_file() and not any(part in (path, *path.parents) for part in leave_out):
                yield from self.read(path, place)

    def read(self, path: Path, place: str) -> Iterator[dict[str, str]]:
        """Yield what is found in a file."""
        for scope, line in self.search(path.read_bytes()):
            yield {"place": place, "way": scope, "line": line}


def check_self() -> None:
    """See that each way is found where a secret was written so, and that nothing is found where there is none."""
    secret = "v1\"a/+&<\\%='4b7" + "".join(f"{number:03x}" for number in range(40)) + "?\"\\+'&~/="
    scanner = Scanner({secret, "another one of no importance"})
    for written in (secret, secret[:END], secret[-END:]):
        for scope, texts in ways_to_write(written).items():
            for text in texts:
                if not list(scanner.search(f"before\nx {text} y\nafter".encode())):
                    sys.exit(f"A secret written as {scope} is not found.")
    for padding in range(8):
        longer = base64.b64encode(b"x" * padding + secret.encode() + b"tail"[: padding // 2])
        if not list(scanner.search(longer)):
            sys.exit("A secret within a longer text in base64 is not found.")
    if list(scanner.search(f"{secret[1:END]} and {quote(secret)[: END - 1]}".encode())):
        sys.exit("Something is found where no secret is.")


def read_secrets(file: Path) -> set[str]:
    """Return the secrets of a file."""
    return {json.loads(line) for line in file.read_text().splitlines()}


def main() -> None:
    """Read the command line, and search."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("top", type=Path, help="the folder to search; all others are in it")
    add("--secrets", required=True, help="a file of secrets, each as JSON on a line of its own")
    add("--told", required=True, help="a file of those that were asked for")
    add("--shown", action="append", default=[], help="a file which may have those in it")
    add("--leave-out", action="append", default=[], help="a file or folder not to search")
    options = parser.parse_args()
    check_self()
    top = options.top
    secrets, told = read_secrets(top / options.secrets), read_secrets(top / options.told)
    if not secrets > told or min(map(len, secrets)) < 2 * END - 2:
        sys.exit("There is no secret to look for, or one so short that it may be there by chance.")
    leave_out = [top / name for name in options.leave_out + options.shown]
    hits = list(Scanner(secrets).walk(top, leave_out))
    for name in options.shown:
        hits += Scanner(secrets - told).read(top / name, name)
    print(json.dumps({"secrets": len(secrets), "hits": hits}))


if __name__ == "__main__":
    main()
