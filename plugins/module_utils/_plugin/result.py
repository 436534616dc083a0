# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn the outcome of one session into a result and a diff."""

from __future__ import annotations

import os
import typing as t

from .._keeper.decision import Outcome
from .._model.encoding import format_timestamp
from .._model.exceptions import NO_RECORD, WuyingError
from .._model.record import Record
from .._model.session import fingerprint
from .argument_spec import SECRETS

try:
    from ansible.module_utils.secrets import register_secret
except ImportError:
    register_secret = str
MASKS_SECRETS = register_secret is not str
"""True if ansible-core can mask secrets in its output, as it can since 2.22."""


def describe(outcome: Outcome, now: float, *, return_token: bool) -> dict[str, t.Any]:
    """Return the result of a task. ``now`` is in seconds since 1970 (UTC)."""
    result: dict[str, t.Any] = {"changed": outcome.changed}
    record = outcome.record
    if record is not None:
        result.update(
            request_id=record.request_id,
            session_id=record.session_id,
            obtained_at=format_timestamp(record.obtained_at),
            expires_at=format_timestamp(record.expires_at),
            remaining=record.remaining(now),
            session=record.session.identity(),
            source=_source(outcome),
            stays_logged_in=record.keep_alive is not None,
        )
        if return_token:
            result["login_token"] = mask(record.login_token)
    return result


def compare(outcome: Outcome, *, predicted: bool) -> dict[str, t.Any]:
    """Return the diff of a task, with the expiry and a short fingerprint of each token."""
    after = _summary(outcome.record)
    if predicted and outcome.changed:
        after = {"expires_at": "after the request", "fingerprint": "after the request"}
    return {"before": _summary(outcome.before), "after": after}


def message_of(error: WuyingError) -> str:
    """Return the message of an error in a plugin that does not read WUYING_LOGIN_TOKEN."""
    if error.code == NO_RECORD and os.environ.get("WUYING_LOGIN_TOKEN"):
        return f"{error.message} WUYING_LOGIN_TOKEN is set, but only the module wuying_login_token reads it."
    return error.message


def mask(token: str) -> str:
    """Return a token after registering it as a secret, which ansible-core 2.22 and later mask in all output."""
    return str(register_secret(token))


def mask_secrets(options: t.Mapping[str, t.Any]) -> None:
    """Register the secrets among some options."""
    for name in SECRETS:
        value = options.get(name)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                mask(text)


def _source(outcome: Outcome) -> str:
    """Return where the token of a result comes from."""
    if outcome.copied:
        return "copy"
    if not outcome.changed or outcome.record == outcome.before:
        return "store"
    return "login" if outcome.logged_in else "refresh"


def _summary(record: Record | None) -> dict[str, str]:
    if record is None:
        return {}
    return {"expires_at": format_timestamp(record.expires_at), "fingerprint": fingerprint(record.login_token)[:12]}
