# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Odd passwords, user names and tokens, the same ones in each run."""

from __future__ import annotations

import random

ALPHABETS = (
    "%+&=#?/;:@ ",
    "'\"`\\$(){}[]<>|*~^!,._-",
    "%0123456789abcdefABCDEF",
    "äöüßéñçøåœ",
    "密码用户令牌アイウ한국어",
    "🔑😀👩‍💻",
    "АаБбВвرמש",
    "e\u0301a\u0308n\u0303",
    "{{ }}{% %}{# #}",
    "abcXYZ019",
)
CHOSEN = (
    *("+", "%", "%2B", "%25", "%%%", "a+b c%20d", " leading", "trailing ", " ", "&Action=x", "=", "?a=b&c=d", "#"),
    *("true", "null", "None", "0", "-1", "1e3", "~", "~/x", "$HOME", "`id`", "'", '"', "\\", "\\n", "a'b\"c"),
    *("{{ lookup('x') }}", "{% raw %}", "<b>", "\ufeffx", "ﬀ", "\u2126", "x" * 200, "+" * 200, "🔑" * 200),
)


def printable(text: str) -> str:
    """Return a text without the characters that are not printable, such as joiners."""
    return "".join(filter(str.isprintable, text))


def odd_texts(count: int) -> list[str]:
    """Return so many different odd texts of 1 to 200 printable characters."""
    chance = random.Random(20261129)
    texts = dict.fromkeys(map(printable, CHOSEN))
    while len(texts) < count:
        letters = "".join(chance.sample(ALPHABETS, chance.randint(1, 4)))
        length = chance.choice([1, 2, 3, 8, 20, 64, 199, 200])
        texts[printable("".join(chance.choice(letters) for _character in range(length))) or "x"] = None
    return list(texts)[:count]
