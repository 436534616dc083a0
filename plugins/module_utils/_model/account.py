# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Define an account and its stored logins, and how long a login must wait so that no account is locked."""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import typing as t

from .encoding import CLOCK_TOLERANCE, FORMAT, canonical_json, dump_line, load_object
from .endpoint import is_endpoint
from .exceptions import DamagedRecord, StoreError
from .keep_alive import FIRST_WAIT, LONGER_WAIT
from .session import ACCOUNT_PREFIX, LONGEST_ID, Session, is_id, sha256
from .totp import STEP

ENTRY_LIFETIME = 30 * 86400.0
"""How many seconds an attempt to log in is remembered."""
SHORTEST_WAIT = 300.0
"""How many seconds a secret waits after a login with an unknown outcome. It doubles with each further one, up to an hour."""
MOST_REFUSALS, REFUSALS_PERIOD = 3, 86400.0
"""After so many refusals within this many seconds, an account waits with any secret."""
_MOST_ATTEMPTS = 128
"""How many attempts an entry holds: more than all refusals that are possible in its lifetime without force."""

UNKNOWN, REFUSED, CODE_MISSING = "unknown", "refused", "code missing"
"""The outcomes of an attempt. A password whose code was missing was accepted, and waits until a code comes with it."""
ANY_MARK = ""
"""The mark of an attempt from another store, with a secret that cannot be recognized here. It counts for every secret."""


class Account(t.NamedTuple):
    """One end user of one office site at one endpoint, on any client. The case of the user does not matter."""

    endpoint: str
    office_site_id: str
    end_user_id: str

    @property
    def key(self) -> str:
        """The key of the account's entry in a store."""
        return ACCOUNT_PREFIX + sha256(canonical_json(self._asdict()))


def account_of(session: Session) -> Account:
    """Return the account that a session logs in to."""
    return Account(session.endpoint, session.office_site_id, session.end_user_id.casefold())


class Attempt(t.NamedTuple):
    """A login that was not completed: the mark of its secret, when it was sent (in seconds since 1970, UTC), and its outcome."""

    mark: str
    at: float
    outcome: str


class AccountEntry(t.NamedTuple):
    """The stored state of an account: its logins that were not completed, and the last time step of a one-time code.

    ``salt`` is random and in hex.
    """

    account: Account
    salt: str
    attempts: tuple[Attempt, ...] = ()
    step: int | None = None

    def __repr__(self) -> str:
        return "AccountEntry(...)"

    def mark(self, secret: str) -> str:
        """Return 16 bits of a keyed hash of a secret: enough to notice a change, too little to test guesses."""
        salt = bytes.fromhex(self.salt)
        return hmac.new(salt, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:4]

    def as_of(self, now: float) -> AccountEntry:
        """Return the entry without forgotten attempts. Those in the future count from ``now``, because the clock was set back."""
        attempts = tuple(
            each._replace(at=min(each.at, now)) for each in self.attempts if each.at > now - ENTRY_LIFETIME
        )
        return self._replace(attempts=attempts)

    def with_attempt(self, mark: str, now: float, outcome: str) -> AccountEntry:
        """Return the entry with another attempt. A full entry drops the oldest unknown outcome, which waits for at most an hour."""
        attempts = list(self.attempts)
        if len(attempts) >= _MOST_ATTEMPTS:
            attempts.remove(next((each for each in attempts if each.outcome == UNKNOWN), attempts[0]))
        return self._replace(attempts=(*attempts, Attempt(mark, now, outcome)))

    def with_outcome(self, outcome: str) -> AccountEntry:
        """Return the entry with another outcome of the last attempt."""
        *others, last = self.attempts
        return self._replace(attempts=(*others, last._replace(outcome=outcome)))

    def without_last(self) -> AccountEntry:
        """Return the entry without the last attempt."""
        return self._replace(attempts=self.attempts[:-1])

    def merged_with(self, other: AccountEntry, now: float) -> AccountEntry:
        """Return the entry with the attempts of another one of the same account. No wait of this one ends.

        Marks depend on the salt. If the salts differ, the attempts of the other entry count for every secret. A time step in the
        future is ignored, because it would replace the one that was used.
        """
        salt = self.salt if self.attempts else other.salt
        refused = {each[:2] for each in other.attempts if each.outcome == REFUSED}
        own = [each for each in self.attempts if each.outcome != UNKNOWN or each[:2] not in refused]
        known = {(each.at, outcome) for each in self.attempts for outcome in (each.outcome, UNKNOWN)}
        new = [each for each in other.attempts if each[1:] not in known]
        if other.salt != salt:
            new = [each._replace(mark=ANY_MARK) for each in new]
        steps = [entry.step for entry in (self, other) if entry.step is not None and entry.step <= now // STEP]
        merged = AccountEntry(self.account, salt, (*new, *own), max(steps, default=self.step))
        # With the tolerance, the clocks of two hosts may differ, and a second copy still recognizes the attempts of the first.
        attempts = merged.as_of(now + CLOCK_TOLERANCE).attempts
        kept = sorted(attempts, key=lambda each: each.outcome != UNKNOWN)[-_MOST_ATTEMPTS:]
        return merged._replace(attempts=tuple(sorted(kept, key=lambda each: each.at)))

    def needs_code(self, mark: str) -> bool:
        """Return True if the service accepted the password with this mark and asked for a code that was not passed."""
        return bool(self._times(mark, CODE_MISSING))

    def blocked_until(self, now: float, mark: str | None = None) -> float | None:
        """Return until when no login may be sent, in seconds since 1970 (UTC), or None.

        Without ``mark``, that is the longest wait of any secret that was used. The waits are in the section Login of the design page.
        """
        marks = {each.mark for each in self.attempts} if mark is None else {mark}
        end = max([self._account_wait(), *(self._secret_wait(each) for each in marks)])
        return end if now < end else None

    def dump(self) -> bytes:
        """Encode the entry as one line of JSON, for :func:`load_entry`."""
        return dump_line({"account_format": FORMAT, **self._asdict(), "account": self.account._asdict()})

    def _times(self, mark: str, outcome: str) -> list[float]:
        """Return when the secret with this mark was sent, for the attempts with this outcome."""
        return [each.at for each in self.attempts if each.mark in (mark, ANY_MARK) and each.outcome == outcome]

    def _secret_wait(self, mark: str) -> float:
        refused, unknown = self._times(mark, REFUSED), self._times(mark, UNKNOWN)
        ends = [-math.inf]
        if refused:
            ends.append(max(refused) + (FIRST_WAIT if len(refused) == 1 else LONGER_WAIT))
        if unknown:
            ends.append(max(unknown) + min(FIRST_WAIT, SHORTEST_WAIT * 2 ** (len(unknown) - 1)))
        return max(ends)

    def _account_wait(self) -> float:
        refused = sorted(each.at for each in self.attempts if each.outcome == REFUSED)[-MOST_REFUSALS:]
        if len(refused) < MOST_REFUSALS or refused[-1] - refused[0] >= REFUSALS_PERIOD:
            return -math.inf
        return refused[0] + REFUSALS_PERIOD


def new_entry(account: Account) -> AccountEntry:
    """Return the entry of an account without any attempt."""
    return AccountEntry(account, os.urandom(16).hex())


def load_entry(data: bytes, key: str) -> AccountEntry:
    """Decode the output of :meth:`AccountEntry.dump`.

    Raises :class:`DamagedRecord` if it is not the entry of the account with this key, and :class:`StoreError` if a newer version
    of the collection wrote it.
    """
    fields = load_object(data)
    version = fields.pop("account_format", None)
    if isinstance(version, int) and FORMAT < version <= 999:  # a larger number is damage
        raise StoreError(
            "A newer version of wuying.workspace wrote this entry. Update wuying.workspace on this host.",
            code="NewerFormat",
        )
    try:
        entry = AccountEntry(**{**fields, "account": Account(**fields["account"])})
        entry = entry._replace(attempts=tuple(Attempt(*each) for each in fields["attempts"]))
        valid = (
            version == FORMAT
            and _is_account(entry.account)
            and entry.account.key == key
            and len(bytes.fromhex(entry.salt)) >= 16
        )
        valid = valid and all(map(_is_attempt, entry.attempts)) and (entry.step is None or isinstance(entry.step, int))
    except (KeyError, TypeError, ValueError, OverflowError):
        valid = False
    if not valid:
        raise DamagedRecord("it is not the entry of this account")
    return entry


def _is_account(account: Account) -> bool:
    # A character has at most three if its case is folded.
    return (
        is_endpoint(account.endpoint) and is_id(account.office_site_id) and is_id(account.end_user_id, 3 * LONGEST_ID)
    )


def _is_attempt(attempt: Attempt) -> bool:
    return (
        isinstance(attempt.mark, str)
        and isinstance(attempt.at, (int, float))
        and math.isfinite(attempt.at)
        and attempt.outcome in (UNKNOWN, REFUSED, CODE_MISSING)
    )
