# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task shows of an outcome: the way out."""

from __future__ import annotations

import re
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._keeper.decision import Outcome
from .._model.exceptions import OptionError, WuyingError
from .._model.record import Record
from .._model.session import fingerprint
from .argument_spec import Spec

try:
    from ansible.module_utils.secrets import register_secret
except ImportError:  # before ansible-core 2.22

    def register_secret(value: str, /) -> str:
        """Leave a secret unregistered: this ansible-core has nowhere to register it."""
        return value


_PLACEHOLDER = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
_MAY_HOLD_SECRETS = frozenset({"store", "endpoint", "proxy", "filters"})
_USER_INFO = re.compile(r":.*@", re.DOTALL)
"""A URL with user info, or what was to become one."""


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


class Module(AnsibleModule):
    """A module that shows no secret among its parameters, whatever the way out, core's own refusals of them included.

    Core may show them as C(invocation), from 2.22 on as they are.
    """

    def exit_json(self, **kwargs: t.Any) -> t.NoReturn:
        """Leave with a result."""
        self.conceal()
        super().exit_json(**kwargs)

    def fail_json(self, msg: str, **kwargs: t.Any) -> t.NoReturn:
        """Leave with an error."""
        self.conceal()
        super().fail_json(msg, **kwargs)

    def conceal(self, names: frozenset[str] = frozenset()) -> None:
        """Take out secret options, those with ``names``, and all that may be a URL with user info."""
        self.params = _without_secrets(self.params, self.argument_spec, names)


def fail(module: Module, error: WuyingError) -> None:
    """Leave with an error. An option that was refused is not shown: it may have a secret where none belongs."""
    if isinstance(error, OptionError):
        module.conceal(_MAY_HOLD_SECRETS)
    module.fail_json(msg=error.message, **error.as_result())


def uncensor(module: Module, tokens: t.Sequence[str]) -> None:
    """Have ``module`` return tokens as they are, where core would censor what equals a secret that was passed in."""
    text = "\n".join(tokens)
    module.no_log_values = {value for value in module.no_log_values if str(value) not in text}
    for token in tokens:
        mask(token)


def mask(token: str) -> str:
    """Return a token, from now on masked in all that core prints, where core can do that (2.22 and later)."""
    return str(register_secret(token))


def _without_secrets(value: t.Any, spec: Spec, names: frozenset[str]) -> t.Any:
    if isinstance(value, str):
        return _PLACEHOLDER if _USER_INFO.search(value) else value
    if isinstance(value, list):
        return [_without_secrets(element, spec, names) for element in value]
    if not isinstance(value, dict):
        return value
    shown = {}
    for name, item in value.items():
        option = spec.get(name, {})
        secret = item is not None and (option.get("no_log") or name in names)
        shown[name] = (
            _PLACEHOLDER if secret else _without_secrets(item, option.get("options", {}), names)
        )
    return shown


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
