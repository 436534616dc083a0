# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Return the stored token of a session, or obtain a new one."""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._model.exceptions import NotEncrypted
from .._model.record import Snapshot, StoredState
from .._model.session import fingerprint
from .._store.base import Store
from .decision import DEFAULT_REFRESH_BEFORE, PASSWORD, RETURN, Outcome, Step, TokenRequest, Warn, decide

if t.TYPE_CHECKING:
    from .._service.client import ServiceClient
    from .login_limit import LoginLimit
    from .means import Means

_TOO_LARGE = (
    "refresh_before is {:,.12g} s, but tokens are valid for {:,.12g} s, and at most half of that counts. "
    "Tokens are refreshed {:,.12g} s before they expire. Lower refresh_before, or set validity if tokens are valid for longer."
)


class Keeper:
    """Keeps sessions valid with one store and one service. Safe to share between threads."""

    def __init__(
        self,
        store: Store,
        connect: t.Callable[[], ServiceClient],
        connect_unsigned: t.Callable[[], ServiceClient] | None = None,
        *,
        scope: str,
        deadline: float,
        clock: t.Callable[[], float] = time.time,
        warnings: dict[str, str] | None = None,
    ) -> None:
        """Take the store, and ``connect``, which returns the service when a refresh is needed.

        ``connect_unsigned`` returns the service when a login is needed, without looking for credentials. ``scope`` is everything
        that decides how a request ends, such as credentials. Only keepers with the same scope share a failure. Only a few digits
        of its hash are stored. ``deadline`` (of :func:`time.monotonic`) is when everything must be done.
        ``warnings`` are about the whole task, by subject. The service may add some too.
        """
        self.store = store
        self._connect = connect
        self._connect_unsigned = connect_unsigned or connect
        self._scope = fingerprint(scope)[:12]
        self.deadline = deadline
        self._clock = clock
        self._warnings = {} if warnings is None else warnings
        self.login_limit: LoginLimit | None = None

    def connect(self) -> bool:
        """Find the credentials now, before processes are forked. Return False if that fails."""
        with contextlib.suppress(Exception):  # Each session that is due reports the error.
            self._connect()
            return True
        return False

    def limit_logins(self) -> None:
        """Stop the logins of this task, and of processes that it forks later, if the service refuses them one after the other."""
        from .login_limit import LoginLimit

        self.login_limit = LoginLimit()

    def task_warnings(self) -> dict[str, str]:
        """Return the warnings about the whole task, one for each subject. Those of the store are subjects of their own."""
        return {**dict(zip(self.store.warnings, self.store.warnings)), **self._warnings}

    def add_task_warnings(self, warnings: t.Mapping[str, str]) -> None:
        """Add warnings of another process, except about subjects that have one."""
        for subject, warning in warnings.items():
            self._warnings.setdefault(subject, warning)

    def ensure(self, request: TokenRequest, warn: Warn) -> Outcome:
        """Return a valid token of the session. Refresh it or log in first if needed.

        Raises :class:`WuyingError`. If a new token was not saved, ``not_saved`` of the outcome is the reason.
        """
        stored = self.store.read(request.session.key)
        return self.return_stored(request, stored) or self.obtain(request, stored.snapshot(), warn)

    def return_stored(self, request: TokenRequest, stored: StoredState) -> Outcome | None:
        """Return the stored token, or None if a new one is needed. Raises :class:`WuyingError`."""
        if stored.damage or self._decide(request, stored).kind != RETURN:
            return None
        return Outcome(False, stored.record, stored.record)

    def obtain(self, request: TokenRequest, snapshot: Snapshot, warn: Warn) -> Outcome:
        """Refresh the token or log in, unless another task has done so since the snapshot. Raises :class:`WuyingError`."""
        from .locking import lock_and_obtain  # here, because most tasks find a current token

        return lock_and_obtain(request, snapshot, self.means(), warn)

    def return_late(self, request: TokenRequest, stored: StoredState, warn: Warn) -> Outcome:
        """Return the stored token of a session that was due after the deadline. Raises :class:`LockTimeout` if it is not valid."""
        from .locking import return_late

        return return_late(request, stored, self.means(), warn)

    def predict(self, request: TokenRequest, stored: StoredState, warn: Warn) -> Outcome:
        """Return what :meth:`ensure` would return, as far as the store shows it. Write and send nothing."""
        if stored.damage:
            warn(f"The record of the session is damaged ({stored.damage}) and would be set aside.")
        record, step = stored.record, self._decide(request, stored)
        if step.kind == RETURN:
            return Outcome(False, record, record)
        if step.kind == PASSWORD and request.password_login is not None:
            from .login import predict_wait  # here, because most tasks log in to no account

            predict_wait(request, request.password_login, self.store, self._clock())
        valid = record is not None and not request.passes_new_token(record) and record.is_valid(self._clock())
        return Outcome(True, record, record if valid else None)

    def delete(self, key: str, *, check: bool = False) -> Outcome:
        """Delete the record of a session. With ``check``, only return whether there is one."""
        try:
            stored = self.store.read(key)
        except NotEncrypted as error:  # Such a record is to be deleted, not returned.
            stored = StoredState(damage=error.message)
        exists = stored.record is not None or stored.damage is not None
        if not check and (exists or stored.note):
            with self.store.lock(key, self.deadline) as locked:
                exists = locked.delete()
        return Outcome(exists, stored.record)

    def reencrypt(self, key: str) -> bool:
        """Encrypt the record of a session, or the entry of an account, with the first key. Return False if it already was."""
        with self.store.lock(key, self.deadline) as locked:
            stored = locked.read()
            if not stored.needs_reencryption:
                return False
            if stored.record is not None:
                locked.rewrite(stored.record)
            elif stored.entry is not None:
                for _slot in range(2):  # The older slot of a file has an older entry.
                    locked.write_entry(stored.entry)
            return True

    def _decide(self, request: TokenRequest, stored: StoredState) -> Step:
        if request.refresh_before > DEFAULT_REFRESH_BEFORE:
            from .._model.next_record import next_validity  # here, because few tasks set it

            validity = next_validity(stored.record, request.validity)
            if request.refresh_before > validity / 2:
                self._warnings.setdefault(
                    "refresh_before", _TOO_LARGE.format(request.refresh_before, validity, validity / 2)
                )
        return decide(request, stored, self._clock(), self.store.name)

    def means(self) -> Means:
        """Return the store, the service and the settings, as they are now."""
        from .means import Means

        return Means(
            self.store,
            self._connect,
            self._connect_unsigned,
            self._scope,
            self.deadline,
            self._clock,
            self.login_limit,
        )
