# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Log in: send the stages, and let secrets that were refused wait, so that no account is locked.

Only a task that sends a request imports this file.
"""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._model.account import ANY_MARK, CODE_MISSING, REFUSED, UNKNOWN, AccountEntry, account_of, new_entry
from .._model.encoding import format_timestamp
from .._model.exceptions import LockTimeout, LoginBlocked, LoginNeedsPerson, LoginRefused, ServiceError, StoreError
from .._model.totp import STEP, compute_code, read_secret
from .._runtime.timeouts import sleep_unless_signalled
from .._service.login import KEEP_ALIVE, MFA, PASSWORD, LoginAnswer
from .._store.base import Store
from .._store.locked_session import LockedSession

if t.TYPE_CHECKING:
    from .._model.record import Record
    from .._model.session import Session
    from .._service.client import ServiceClient
    from .decision import PasswordLogin, TokenRequest, Warn

_LEAST_OF_STEP = 3
"""A code is not sent with fewer seconds left of its time step."""
_ADVICE = {
    MFA: "Pass totp_secret or authentication_code with the password.",
    "MFABind": "The user must log in once with the WUYING client and bind an MFA device.",
    "TokenVerify": "The service considers the login risky. The user must log in with the WUYING client, or the administrator must disable "
    "the verification of risky logins for the office network.",
    "ChangePassword": "The user must log in with the WUYING client and change the password.",
}
_OTHER_STAGE = "The user must log in with the WUYING client."


class Login:
    """A login of one session. Its record is None if there is none."""

    def __init__(
        self,
        request: TokenRequest,
        record: Record | None,
        service: ServiceClient,
        deadline: float,
        clock: t.Callable[[], float],
    ) -> None:
        self._session = request.session
        self._service = service
        self._deadline = deadline
        self._clock = clock
        self._uuid = request.uuid or (record and record.uuid)
        keep_alive, login = record and record.keep_alive, request.password_login
        self._has_keep_alive = keep_alive is not None
        secrets = (
            request.login_token,
            record and record.login_token,
            keep_alive and keep_alive.token,
            *(login or ())[:2],
        )
        self._secrets = [secret for secret in secrets if secret]

    def with_keep_alive(self, token: str) -> LoginAnswer:
        """Log in with a keep-alive token, and ask for the next one. Raises :class:`ServiceError` and :class:`LockTimeout`."""
        self._check_time(1)
        answer = self._send(KEEP_ALIVE, KeepAliveToken=token, KeepAlive="true")
        if answer.next_stage is None:
            return answer
        raise LoginRefused(
            f"The stored keep-alive token is not enough, because the service asks for another stage ({answer.next_stage}).",
            request_id=answer.request_id,
            stage=answer.next_stage,
        )

    def with_password(self, login: PasswordLogin, store: Store, warn: Warn) -> LoginAnswer:
        """Log in with a password and if needed a one-time code, under the lock of the account.

        The attempt is stored before anything is sent. Raises :class:`LoginBlocked`, :class:`ServiceError` and :class:`StoreError`.
        """
        account = account_of(self._session)
        with store.lock(account.key, self._deadline) as locked:
            stored = locked.read()
            if stored.damage:
                warn(
                    f"The entry of the account is damaged ({stored.damage}). It was set aside as {locked.set_aside()}."
                )
            now = self._clock()
            entry = (stored.entry or new_entry(account)).as_of(now)
            if stored.entry is not None and entry != stored.entry:
                locked.write_entry(entry)  # Attempts in the future count from now, not from each later task.
            mark = entry.mark(_secret(login))
            check_wait(entry, mark, self._session, login, now)
            self._check_time(2 if has_code(login) else 1, STEP if login.totp_secret else 0)
            attempt = _Attempt(locked, entry.with_attempt(mark, now, UNKNOWN))
            try:
                answer = self._send_stages(login, attempt)
            except (ServiceError, LockTimeout) as error:
                attempt.end(_after_failure(attempt.entry, error))
                blocked_until = attempt.entry.blocked_until(self._clock(), mark)
                if blocked_until is not None:
                    error.blocked_until = format_timestamp(blocked_until)
                    error.message += (
                        f" To protect the account, this password is not sent again before {error.blocked_until}."
                    )
                raise
            attempt.end(attempt.entry._replace(attempts=()))
            return answer

    def _send_stages(self, login: PasswordLogin, attempt: _Attempt) -> LoginAnswer:
        keep_alive = "true" if login.stay_logged_in or self._has_keep_alive else None
        attempt.write()
        answer = self._send(PASSWORD, Password=login.password, KeepAlive=keep_alive)
        if answer.next_stage == MFA and has_code(login):
            code = login.authentication_code
            if login.totp_secret:
                step = _wait_for_step(attempt.entry.step, lambda: self._clock() + answer.clock_offset)
                attempt.write(step)
                code = compute_code(read_secret(login.totp_secret), step)
            first_id = answer.session_id
            answer = self._send(MFA, SessionId=first_id, AuthenticationCode=code, KeepAlive=keep_alive)
            answer = answer._replace(session_id=answer.session_id or first_id)
            if answer.next_stage == MFA:
                raise LoginRefused(
                    "The service asks for another one-time code. Check authentication_code or totp_secret.",
                    request_id=answer.request_id,
                    stage=MFA,
                )
        if answer.next_stage is not None:
            raise _needs_person(answer.next_stage, answer.request_id)
        return answer

    def _send(self, stage: str, **parameters: str | None) -> LoginAnswer:
        parameters["Uuid"] = self._uuid
        return self._service.log_in(self._session, stage, parameters, self._deadline, self._secrets)

    def _check_time(self, stages: int, wait: float = 0) -> None:
        """Raise :class:`LockTimeout` if the deadline does not leave the time-out for each stage, and the wait."""
        seconds = stages * self._service.timeout + wait
        if self._deadline - time.monotonic() < seconds:
            raise LockTimeout(
                f"A login may take {seconds:,.12g} s, but less time is left. Nothing was sent. Try again later or increase deadline."
            )


def check_wait(entry: AccountEntry, mark: str, session: Session, login: PasswordLogin, now: float) -> None:
    """Raise an error if a login must wait. A forced one need not."""
    if login.force:
        return
    if entry.needs_code(mark) and not has_code(login):
        raise _needs_person(MFA, None)
    blocked_until = entry.blocked_until(now, mark)
    if blocked_until is not None:
        until = format_timestamp(blocked_until)
        waits, advice = "this password is not sent again", "Pass the right one, wait"
        if entry.blocked_until(now, ANY_MARK) == blocked_until:
            waits, advice = "no password is sent for it", "Check the password, then wait"
        raise LoginBlocked(
            f"An earlier login of {session.end_user_id} was refused, or its outcome is unknown. To protect the account, {waits} before {until}. "
            f"{advice}, or run wuying_login_token with password and force=true.",
            blocked_until=until,
        )


def predict_wait(request: TokenRequest, login: PasswordLogin, store: Store, now: float) -> None:
    """Raise the error that a login with a password would raise because it must wait."""
    entry = store.read(account_of(request.session).key).entry
    if entry is not None:
        entry = entry.as_of(now)
        check_wait(entry, entry.mark(_secret(login)), request.session, login, now)


def mark_of(request: TokenRequest, store: Store) -> str:
    """Return the mark of the secret in a request if anything is stored of the account, and whether a code comes with it."""
    login, entry = request.password_login, None
    if login is None:
        return ""
    with contextlib.suppress(StoreError):
        entry = store.read(account_of(request.session).key).entry
    return f"{entry.mark(_secret(login)) if entry else 'new'} {has_code(login)}"


def has_code(login: PasswordLogin) -> bool:
    """Return True if a one-time code comes with the password."""
    return bool(login.totp_secret or login.authentication_code)


class _Attempt:
    """The last attempt in the entry of a locked account."""

    def __init__(self, locked: LockedSession, entry: AccountEntry) -> None:
        self._locked = locked
        self.entry = entry

    def write(self, step: int | None = None) -> None:
        """Store the attempt before a secret is sent, if needed with the time step of a code. Raises :class:`StoreError`."""
        if step is not None:
            self.entry = self.entry._replace(step=step)
        self._locked.write_entry(self.entry)

    def end(self, entry: AccountEntry) -> None:
        """Store how the attempt ended. If that fails, its outcome remains unknown, which is safe."""
        self.entry = entry
        with contextlib.suppress(StoreError):
            self._locked.write_entry(entry)


def _after_failure(entry: AccountEntry, error: ServiceError | LockTimeout) -> AccountEntry:
    """Return the entry after its last attempt failed."""
    if isinstance(error, LoginNeedsPerson) and error.stage == MFA:
        return entry.with_outcome(CODE_MISSING)
    if isinstance(error, (LoginRefused, LoginNeedsPerson)):
        return entry.with_outcome(REFUSED)
    is_unknown = isinstance(error, ServiceError) and error.outcome_unknown
    return entry if is_unknown else entry.without_last()


def _wait_for_step(used: int | None, clock: t.Callable[[], float]) -> int:
    """Wait until a time step has begun that was not used before and is not about to end, and return it."""
    while True:
        now = clock()
        step, left = int(now // STEP), STEP - now % STEP
        if step != used and left >= _LEAST_OF_STEP:
            return step
        if not sleep_unless_signalled(left):
            raise ServiceError(
                "The task was stopped before the login was complete.", code="Interrupted", retryable=True
            )


def _needs_person(stage: str, request_id: str | None) -> LoginNeedsPerson:
    return LoginNeedsPerson(
        f"The login is not complete, because the service asks for the stage {stage}. {_ADVICE.get(stage, _OTHER_STAGE)}",
        stage=stage,
        request_id=request_id,
    )


def _secret(login: PasswordLogin) -> str:
    """Return the secrets that a refusal concerns. A one-time code is different each time, so it does not count."""
    return f"{login.password}\n{login.totp_secret or ''}"
