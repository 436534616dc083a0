# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this file is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a task shows of an outcome: the way out."""

from __future__ import annotations

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._errors import OptionError, WuyingError
from ._promise import Outcome
from ._record import Record
from ._session import fingerprint

try:
    from ansible.module_utils.secrets import register_secret
except ImportError:  # before ansible-core 2.22

    def register_secret(value: str, /) -> str:
        """Leave a secret unregistered: this ansible-core has nowhere to register it."""
        return value


_PLACEHOLDER = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
_MAY_HOLD_SECRETS = ("store", "endpoint", "proxy", "filters")


def describe(outcome: Outcome, now: float, *, return_token: bool) -> dict[str, t.Any]:
    """Return an outcome as the result of a task."""
    result: dict[str, t.Any] = {"changed": outcome.changed}
    record = outcome.record
    if record is not None:
        result.update(
            request_id=record.request_id,
            obtained_at=iso(record.obtained_at),
            expires_at=iso(record.expires_at),
            remaining=record.remaining(now),
            session=record.session.identity(),
            source="store" if record == outcome.before else "service",
        )
        if return_token:
            result["login_token"] = record.login_token
    return result


def compare(outcome: Outcome, *, predicted: bool) -> dict[str, t.Any]:
    """Return an outcome as a diff: when the tokens expire and the beginning of their fingerprints."""
    after = _summary(outcome.record)
    if predicted and outcome.changed:
        after = {"expires_at": "after the exchange", "fingerprint": "after the exchange"}
    return {"before": _summary(outcome.before), "after": after}


def fail(module: AnsibleModule, error: WuyingError) -> None:
    """Leave with an error. An option that was refused is not shown: it may have a secret where none belongs."""
    conceal(module)
    if isinstance(error, OptionError):
        for name in _MAY_HOLD_SECRETS:
            if module.params.get(name) is not None:
                module.params[name] = _PLACEHOLDER
    module.fail_json(msg=error.message, **error.as_result())


def conceal(module: AnsibleModule) -> None:
    """Take the secrets that were passed in out of the parameters, which core may show as C(invocation), from 2.22 on as they are."""
    _overwrite_secrets(module.argument_spec, module.params)


def uncensor(module: AnsibleModule, tokens: t.Sequence[str]) -> None:
    """Have ``module`` return tokens as they are, where core would censor what equals a secret that was passed in."""
    text = "\n".join(tokens)
    module.no_log_values = {value for value in module.no_log_values if str(value) not in text}
    for token in tokens:
        mask(token)


def mask(token: str) -> str:
    """Return a token, from now on masked in all that core prints, where core can do that (2.22 and later)."""
    return str(register_secret(token))


def _overwrite_secrets(spec: dict[str, t.Any], params: dict[str, t.Any]) -> None:
    for name, option in spec.items():
        value = params.get(name)
        if value is None:
            continue
        if option.get("no_log"):
            params[name] = _PLACEHOLDER
        elif "options" in option:
            for element in value:
                _overwrite_secrets(option["options"], element)


def iso(seconds: float) -> str:
    """Return a time in seconds since 1970 as ISO 8601, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _summary(record: Record | None) -> dict[str, str]:
    if record is None:
        return {}
    return {
        "expires_at": iso(record.expires_at),
        "fingerprint": fingerprint(record.login_token)[:12],
    }
