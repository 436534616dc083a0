# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The AnsibleModule of this collection, which drops empty parameters and hides secret ones."""

from __future__ import annotations

import os
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._model.exceptions import OptionError, WuyingError
from .._runtime.signals import defer_signals
from .argument_spec import IDENTITY, Spec
from .options import given
from .result import MASKS_SECRETS
from .store_options import add_environment

_PLACEHOLDER = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
_MAY_HOLD_SECRETS = frozenset({"store", "endpoint", "proxy", "filters"})
_UNKNOWN = {"no_log": True}
"""The option that an unknown name is: perhaps a misspelled secret one."""
_KEYS: dict[str, Spec] = {"filters": {name: {} for name in IDENTITY}}
"""The keys that dictionaries without suboptions may have."""
_USER_INFO = re.compile(r":.*@", re.DOTALL)
"""Matches a URL with user info, even if it is malformed."""


class Module(AnsibleModule):
    """A module whose results and errors show no secret parameter.

    This includes the parameters that ansible-core returns as ``invocation``. Since 2.22 it does not censor them.
    """

    def execute(self, task: t.Callable[[], None]) -> None:
        """Run a task, which exits with a result. If it raises :class:`WuyingError`, exit with that error.

        Signals that end the process wait until the result is printed.
        """
        # Results contain no secret but the token. Before 2.22, ansible-core would also censor a user whose name contains a password.
        self.no_log_values = set()
        with defer_signals():
            try:
                self.params.update(add_environment(self.params))
                task()
            except WuyingError as error:
                # A rejected option is not shown, because it may contain a secret that was put into the wrong option.
                if isinstance(error, OptionError):
                    self._hide_secrets(_MAY_HOLD_SECRETS)
                self.fail_json(msg=error.message, **error.as_result())

    def exit_json(self, **kwargs: t.Any) -> t.NoReturn:
        """Exit with a result."""
        self._hide_secrets()
        super().exit_json(**kwargs)

    def fail_json(self, msg: str, **kwargs: t.Any) -> t.NoReturn:
        """Exit with an error."""
        self._hide_secrets()
        super().fail_json(msg, **kwargs)

    def _load_params(self) -> None:
        """Read the parameters that were given. ansible-core validates and converts them afterwards."""
        super()._load_params()
        try:
            # Refused here, because the secrets among the parameters are registered next.
            if MASKS_SECRETS and "ANSIBLE_ASYNC_DIR" in os.environ:
                raise OptionError(
                    "This version of ansible-core writes the secrets of an async task to a file that other users can read. "
                    "Remove async. If the task does not use it, unset ANSIBLE_ASYNC_DIR."
                )
            self.params = given(self.params, self.argument_spec)
        except OptionError as error:
            self.params = {}
            self.fail_json(error.message, **error.as_result())

    def _log_invocation(self) -> None:
        """Log the parameters without those that are secret. In a list, ansible-core would miss one with a quote or backslash."""
        params = self.params
        self._hide_secrets()
        super()._log_invocation()
        self.params = params

    def _hide_secrets(self, names: frozenset[str] = frozenset()) -> None:
        """Replace secret and unknown parameters, the parameters in ``names``, and values that may be URLs with user info."""
        self.params = _without_secrets(self.params, self.argument_spec, names)


def _without_secrets(value: t.Any, spec: Spec | None, names: frozenset[str]) -> t.Any:
    """Return a value without secrets. ``spec`` is None for a dictionary that may have any keys."""
    if isinstance(value, str):
        return _PLACEHOLDER if _USER_INFO.search(value) else value
    if isinstance(value, list):
        return [_without_secrets(element, spec, names) for element in value]
    if not isinstance(value, dict):
        return value
    shown = {}
    for name, item in value.items():
        option = {} if spec is None else spec.get(name, _UNKNOWN)
        secret = item is not None and (option.get("no_log") or name in names)
        inner = option.get("options", _KEYS.get(name))
        shown[name] = _PLACEHOLDER if secret else _without_secrets(item, inner, names)
    return shown
