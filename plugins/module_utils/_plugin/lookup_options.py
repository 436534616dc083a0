# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check the keywords, variables and terms of a lookup, before ansible-core converts them.

No message repeats a value, because it may be a misplaced secret.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from .._model.exceptions import OptionError
from .argument_spec import session_spec
from .options import did_you_mean, own_options

_TERM_SPEC = session_spec()


def check_value(name: str, option: Mapping[str, t.Any], value: t.Any) -> None:
    """Refuse a value that ansible-core would refuse with a message that repeats it. Raises :class:`OptionError`."""
    kind, choices = option["type"], option.get("choices")
    if value is None or kind == "raw":
        return
    hint = f"Check its value or the variable wuying_{name}."
    if kind in ("int", "float"):
        if not _is_number(value):
            raise OptionError(f"{name} must be a number. {hint}")
        return
    texts = value if kind == "list" and isinstance(value, list) else [value]
    if any(isinstance(text, (Mapping, list, tuple, set)) for text in texts):
        raise OptionError(f"{name} must be a string. {hint}")
    if choices and value not in choices:
        raise OptionError(f"{name} must be one of: {', '.join(choices)}. {hint}")


def read_term(term: t.Any) -> dict[str, t.Any]:
    """Return the options of the session that a term names. Raises :class:`OptionError`."""
    if isinstance(term, Mapping):
        for key in term:
            if key not in _TERM_SPEC:
                hint = did_you_mean(key, _TERM_SPEC, f"Valid keys are {', '.join(_TERM_SPEC)}.")
                raise OptionError(f"A term has an unknown key. {hint}")
    own = own_options(term, _TERM_SPEC)
    if not own and not isinstance(term, Mapping):
        raise OptionError("A term must be an end_user_id or a dictionary, and not empty.")
    return own


def _is_number(value: t.Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(value, bool)
