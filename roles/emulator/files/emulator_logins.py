# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Emulate the GetLoginToken operation of WUYING Workspace: users, stages, keep-alive tokens and locks.

The service does not document the error codes of refused logins, when users are locked, the format and the
lifetime of keep-alive tokens, and the details of stages that need a person. All of these are invented here. The
profiles are three guesses at the behavior of the service.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import math
import re
import secrets
import struct
import uuid
from collections import Counter, OrderedDict
from typing import Any, Callable, NamedTuple, NoReturn, Tuple

from emulator_base import Refused, check_fields, fingerprint, make_room

USER_FIELDS = ("password", "totp_secret", "mfa_bind", "risk", "change_password", "stage", "keep_alive")
STAGE_OF_FLAG = dict(zip(("mfa_bind", "risk", "change_password"), ("MFABind", "TokenVerify", "ChangePassword")))
NEEDED = {  # stage: its required parameters
    "ADPassword": ("EndUserId", "Password"),
    "MFAVerify": ("SessionId", "AuthenticationCode"),
    "KeepAliveVerify": ("KeepAliveToken",),
}
OTHER = "other"  # any other stage
PARAMETERS = (
    *("RegionId", "ClientId", "OfficeSiteId", "DirectoryId", "CurrentStage", "EndUserId", "Password", "SessionId"),
    *("AuthenticationCode", "KeepAlive", "KeepAliveToken", "TokenCode", "OldPassword", "NewPassword", "Uuid"),
    *("ClientType", "ClientOS", "ClientVersion", "ClientName", "AvailableFeatures"),
)
TEXTS = (
    "LoginToken",
    "NextStage",
    "SessionId",
    "EndUserId",
    "Email",
    "Phone",
    "Label",
    "Secret",
    "QrCodePng",
    "Reason",
)
FIELDS = (*TEXTS, "KeepAliveToken", "TenantId", "RiskVerifyInfo", "PasswordStrategy", "Props")
TOTALS = ("signed", "with_body", "with_both_sites", "refreshes_with_wrong_session_id")
TENANT_ID = 1_234_567_890_123_456
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNgAAAAAgAB5Sfe/AAAAABJRU5ErkJggg=="
TIME_STEP = 30  # seconds for which an MFA device shows a code
LOGIN_TIMEOUT = 15 * 60  # seconds that a login may take (invented)
MAX_USERS = 100_000

Session = Tuple[str, str, str, str]
"""The region, client, office site and user of a session."""


class User(NamedTuple):
    """A user. ``stage`` is a stage that needs a person, and follows the others."""

    name: str
    password: str
    totp_secret: bytes | None
    stage: str
    keep_alive: bool


class Account:
    """A user and the state of the user's logins."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.failures = 0
        self.locked_until = 0.0
        self.used_steps: set[int] = set()


class Login(NamedTuple):
    """A login that has passed its first stage."""

    account: Account
    session: Session
    keep_alive: bool
    next_stage: str
    expires_at: float


class KeepAliveToken(NamedTuple):
    """The user, client and office site of a keep-alive token, and when it expires."""

    end_user: str
    client: str
    office_site: str
    expires_at: float


class LoginRefused(Refused):
    """The service refuses a login, with an error code or with other fields in its response."""

    def __init__(self, code: str, status: int | None = None, fields: dict[str, Any] | None = None) -> None:
        super().__init__(code)
        self.status, self.fields = status or self.status, fields


def same_user(name: str) -> str:
    """Return the same text for all spellings of a name, because the case does not matter (invented)."""
    return name.casefold()


def read_session(sent: dict[str, str]) -> Session:
    """Return the region, client, office site and user of a request. DirectoryId is an old name of OfficeSiteId."""
    office_site = sent.get("OfficeSiteId") or sent.get("DirectoryId", "")
    return sent["RegionId"], sent["ClientId"], office_site, sent.get("EndUserId", "")


def totp(secret: bytes, step: int) -> str:
    """Return the code of a time step: RFC 6238 with SHA-1 and six digits."""
    digest = hmac.digest(secret, struct.pack(">Q", step), "sha1")
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


def is_equal(one: str, other: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def is_asked(sent: dict[str, str]) -> bool:
    """Return True if a request asks for a keep-alive token. Python's official SDK sends True, others true."""
    return sent.get("KeepAlive", "").lower() == "true"


def read_totp_secret(text: str) -> bytes:
    """Return the bytes of a base32 secret, which may have spaces and lower case, and no padding."""
    digits = text.replace(" ", "").upper().rstrip("=")
    with contextlib.suppress(ValueError):
        if secret := base64.b32decode(digits + "=" * (-len(digits) % 8)):
            return secret
    raise ValueError("The field totp_secret must be base32.")


def read_user(name: str, item: Any) -> User:
    """Return a user from the body of a control request: a password, or an object."""
    item = {"password": item} if isinstance(item, str) else item
    check_fields(item, "A user", USER_FIELDS)
    if not 1 <= len(name) <= 256 or "password" not in item:
        raise ValueError("A user needs a name of 1 to 256 characters, and a password.")
    if re.search("[\ud800-\udfff]", name + item["password"]):
        raise ValueError("The name and the password of a user must be valid Unicode.")
    totp_secret = read_totp_secret(item["totp_secret"]) if item.get("totp_secret") else None
    stages = [stage for flag, stage in STAGE_OF_FLAG.items() if item.get(flag)] + [item.get("stage")]
    stages = [stage for stage in stages if stage]
    if len(stages) > 1:
        raise ValueError("A user can have only one of the fields mfa_bind, risk, change_password and stage.")
    if totp_secret and stages == ["MFABind"]:
        raise ValueError("A user with a totp_secret has a device, so mfa_bind must be false.")
    return User(name, item["password"], totp_secret, "".join(stages), item.get("keep_alive", True))


def belongs(session: Session, known: Session) -> bool:
    """Return True if a request belongs to a session. It may leave out the user."""
    return session[:3] == known[:3] and same_user(session[3] or known[3]) == same_user(known[3])


def describe_stage(stage: str) -> dict[str, Any]:
    """Return the fields of a response that describe a stage that needs a person. Their values are invented."""
    if stage == "MFABind":
        return {"Secret": base64.b32encode(secrets.token_bytes(20)).decode(), "QrCodePng": PNG}
    if stage == "TokenVerify":
        return {"RiskVerifyInfo": {"Email": "u***@example.com", "Locked": "false", "LastLockDuration": 0}}
    if stage == "ChangePassword":
        return {"PasswordStrategy": {"TenantPasswordLength": "10", "TenantAlternativeChars": ["!", "#"]}}
    return {}


def locked_fields(duration: int) -> dict[str, Any]:
    """Return the fields of a response that tells that the user is locked. The unit, seconds, is invented."""
    return {"RiskVerifyInfo": {"Locked": "true", "LastLockDuration": duration}}


def show_count(count: Counter[str]) -> dict[str, Any]:
    """Return a count with its fields in order, zeros included."""
    calls = {stage: count[stage] for stage in (*NEEDED, OTHER)}
    return {"calls": calls, "completed": count["completed"], "refused": count["refused"]}


class Logins:
    """The users, their unfinished logins, their keep-alive tokens, and counts of all logins.

    ``now`` is the clock for expiry, ``clock`` the one for codes. ``issue_token`` issues a login token
    for a session and a SessionId. At most ``limit`` values of each kind are remembered.
    """

    def __init__(
        self,
        options: dict[str, Any],
        limit: int,
        now: Callable[[], float],
        clock: Callable[[], float],
        issue_token: Callable[[Session, str], str],
    ) -> None:
        self.options, self.limit = options, limit
        self.now, self.clock, self.issue_token = now, clock, issue_token
        self.accounts: dict[str, Account] = {}
        self.unfinished: OrderedDict[str, Login] = OrderedDict()
        self.keep_alive_tokens: OrderedDict[str, KeepAliveToken] = OrderedDict()
        self.delete_counts()

    def delete_counts(self) -> None:
        """Forget all counts."""
        self.totals = dict.fromkeys(TOTALS, 0)
        self.counts: OrderedDict[str, Counter[str]] = OrderedDict()

    def name_of(self, sent: dict[str, str]) -> str:
        """Return the name of the user whose login a request belongs to, in one spelling if the user exists."""
        login, name = self.unfinished.get(sent.get("SessionId", "")), sent.get("EndUserId", "")
        account = self.accounts.get(same_user(name)) or (login.account if login and not name else None)
        return account.user.name if account else name[:256]

    def count(self, name: str, event: str) -> None:
        """Count an event for a user: a request for a stage, or the outcome of one."""
        if name not in self.counts:
            make_room(self.counts, self.limit, lambda _count: False)
            self.counts[name] = Counter()
        self.counts[name][event] += 1

    def count_request(self, sent: dict[str, str], is_signed: bool, has_body: bool) -> dict[str, Any]:
        """Count a request when it arrives, whatever becomes of it, and return the fields for its journal entry."""
        stage, used = sent.get("CurrentStage", ""), sent.get("KeepAliveToken")
        self.count(self.name_of(sent), stage if stage in NEEDED else OTHER)
        self.totals["signed"] += is_signed
        self.totals["with_body"] += has_body
        self.totals["with_both_sites"] += bool(sent.get("OfficeSiteId") and sent.get("DirectoryId"))
        return {
            "stage": stage[:64] or None,
            "outcome": None,
            "parameters": [name for name in PARAMETERS if name in sent],
            "with_body": has_body,
            "keep_alive": sent.get("KeepAlive", "")[:16] or None,
            "uuid": sent.get("Uuid", "")[:256] or None,
            "keep_alive_used": fingerprint(used)[:12] if used else None,
            "keep_alive_issued": None,
        }

    def show_counts(self, _payload: Any) -> dict[str, Any]:
        """Return how many logins were requested, completed and refused, in total and by user."""
        total: Counter[str] = Counter()
        for count in self.counts.values():
            total.update(count)
        users = {name: show_count(count) for name, count in self.counts.items()}
        return {**show_count(total), **self.totals, "users": users}

    def show_users(self, _payload: Any) -> dict[str, Any]:
        """Return the users without their secrets."""
        return {
            account.user.name: {
                "totp": account.user.totp_secret is not None,
                "stage": account.user.stage or None,
                "keep_alive": account.user.keep_alive,
                "failures": account.failures,
                "locked": account.locked_until > self.now(),
            }
            for account in self.accounts.values()
        }

    def set_users(self, payload: Any) -> dict[str, Any]:
        """Add users, or replace and unlock them: an object with a password, or an object of fields, for each name."""
        if not isinstance(payload, dict):
            raise ValueError("The users must be an object.")
        users = [read_user(name, item) for name, item in payload.items()]
        added = {same_user(user.name): Account(user) for user in users}
        if len(added) < len(users):
            raise ValueError("The names of two users differ only in case.")
        if len({*self.accounts, *added}) > MAX_USERS:
            raise ValueError(f"At most {MAX_USERS} users can exist.")
        self.accounts.update(added)
        return {"users": len(self.accounts)}

    def delete_users(self, _payload: Any) -> dict[str, Any]:
        """Delete all users."""
        self.accounts.clear()
        return {}

    def delete_locks(self, _payload: Any) -> dict[str, Any]:
        """Unlock all users, and forget their failures."""
        for account in self.accounts.values():
            account.failures, account.locked_until = 0, 0.0
        return {}

    def delete_keep_alive_tokens(self, _payload: Any) -> dict[str, Any]:
        """Invalidate all keep-alive tokens."""
        self.keep_alive_tokens.clear()
        return {}

    def log_in(self, sent: dict[str, str], entry: dict[str, Any]) -> dict[str, Any]:
        """Run one stage of a login, and return the fields of the response."""
        stage = sent.get("CurrentStage", "")
        site = "DirectoryId" if sent.get("DirectoryId") else "OfficeSiteId"
        for name in ("RegionId", "ClientId", site, "CurrentStage", *NEEDED.get(stage, ())):
            if not sent.get(name):
                raise Refused(f"Missing{name}", f"{name} is mandatory for this action.")
        if stage == "ADPassword":
            login = self.verify_password(sent)
        elif stage == "MFAVerify":
            login = self.verify_code(sent)
        elif stage == "KeepAliveVerify":
            login = self.verify_keep_alive_token(sent)
        else:
            raise LoginRefused("InvalidCurrentStage")
        session_id = sent["SessionId"] if stage == "MFAVerify" else str(uuid.uuid4())
        fields: dict[str, Any] = {"SessionId": session_id}
        if login.next_stage:
            make_room(self.unfinished, self.limit, lambda known: known.expires_at <= self.now())
            self.unfinished[session_id] = login
            entry["outcome"] = "next_stage"
            fields.update(NextStage=login.next_stage, **describe_stage(login.next_stage))
        else:
            if stage != "KeepAliveVerify":
                login.account.failures = 0
            token = self.issue_token(login.session, session_id)
            entry.update(outcome="completed", issued=fingerprint(token)[:12])
            fields.update(LoginToken=token, EndUserId=login.account.user.name, TenantId=TENANT_ID)
            fields.update(self.renew_keep_alive_token(login, sent, entry))
        if self.options["profile"] == "strict" and stage == "MFAVerify":
            del fields["SessionId"]  # the first response had it
        return self.shape(fields)

    def verify_password(self, sent: dict[str, str]) -> Login:
        """Verify the password of a user."""
        account = self.accounts.get(same_user(sent["EndUserId"]))
        if account is None:
            raise LoginRefused("EndUserNotFound")
        self.refuse_if_locked(account)
        if not is_equal(account.user.password, sent["Password"]):
            self.fail(account, "InvalidPassword")
        next_stage = "MFAVerify" if account.user.totp_secret else account.user.stage
        return Login(account, read_session(sent), is_asked(sent), next_stage, self.now() + LOGIN_TIMEOUT)

    def verify_code(self, sent: dict[str, str]) -> Login:
        """Verify the code of an MFA device; a code is valid for one step more on either side, and only once."""
        login, session = self.unfinished.get(sent["SessionId"]), read_session(sent)
        if login is None or login.expires_at <= self.now() or not belongs(session, login.session):
            raise LoginRefused("InvalidSessionId")
        account, step = login.account, int(self.clock() // TIME_STEP)
        if self.accounts.get(same_user(account.user.name)) is not account:  # deleted or replaced
            raise LoginRefused("InvalidSessionId")
        if login.next_stage != "MFAVerify" or account.user.totp_secret is None:
            raise LoginRefused("InvalidCurrentStage")
        self.refuse_if_locked(account)
        account.used_steps = {used for used in account.used_steps if abs(used - step) <= 1}
        for candidate in (step - 1, step, step + 1):
            is_right = is_equal(totp(account.user.totp_secret, candidate), sent["AuthenticationCode"])
            if is_right and candidate not in account.used_steps:
                break
        else:
            self.fail(account, "InvalidAuthenticationCode")
        account.used_steps.add(candidate)
        del self.unfinished[sent["SessionId"]]
        # In the profile strict, only the request that completes a login can ask for a keep-alive token.
        keep_alive = is_asked(sent) or (login.keep_alive and self.options["profile"] != "strict")
        return login._replace(keep_alive=keep_alive, next_stage=account.user.stage)

    def verify_keep_alive_token(self, sent: dict[str, str]) -> Login:
        """Verify a keep-alive token, which takes the place of a password and a code."""
        known, session = self.keep_alive_tokens.get(fingerprint(sent["KeepAliveToken"])), read_session(sent)
        if known is None or known.expires_at <= self.now():
            raise LoginRefused("InvalidKeepAliveToken")
        region, client, office_site, end_user = session
        client = known.client if self.options["profile"] == "lenient" else client
        account = self.accounts.get(same_user(known.end_user))
        bound_to = (region, known.client, known.office_site, known.end_user)
        if account is None or not belongs((region, client, office_site, end_user), bound_to):
            raise LoginRefused("InvalidKeepAliveToken")
        self.refuse_if_locked(account)
        session = (*session[:3], end_user or account.user.name)
        return Login(account, session, is_asked(sent), "", math.inf)

    def refuse_if_locked(self, account: Account) -> None:
        """Refuse any login while a user is locked."""
        if account.locked_until <= self.now():
            if account.locked_until:  # the lock has ended
                account.failures, account.locked_until = 0, 0.0
            return
        if self.options["locked_answer"] == "risk_verify_info":
            raise LoginRefused("UserLocked", fields=locked_fields(int(self.options["lock_duration"])))
        raise LoginRefused("UserLocked", 200 if self.options["locked_answer"] == "code" else None)

    def fail(self, account: Account, code: str) -> NoReturn:
        """Refuse a wrong password or code, and lock the user after too many."""
        account.failures += 1
        if self.options["lock_after"] and account.failures >= self.options["lock_after"]:
            account.locked_until = self.now() + (self.options["lock_duration"] or math.inf)
        raise LoginRefused(code)

    def renew_keep_alive_token(self, login: Login, sent: dict[str, str], entry: dict[str, Any]) -> dict[str, str]:
        """Issue a keep-alive token if the login asked for one and the user may have one."""
        profile = self.options["profile"]
        used = sent["KeepAliveToken"] if sent["CurrentStage"] == "KeepAliveVerify" else ""
        if not login.keep_alive:
            return {}
        if not login.account.user.keep_alive:
            return {"KeepAliveToken": ""} if profile == "captured" else {}
        if used and profile == "strict":
            del self.keep_alive_tokens[fingerprint(used)]
        token = used if used and profile == "lenient" else f"k1{secrets.token_hex(64)}"
        _region, client, office_site, _end_user = login.session
        now, name = self.now(), login.account.user.name
        make_room(self.keep_alive_tokens, self.limit, lambda known: known.expires_at <= now)
        known = KeepAliveToken(name, client, office_site, now + self.options["keep_alive_lifetime"])
        self.keep_alive_tokens[fingerprint(token)] = known
        self.keep_alive_tokens.move_to_end(fingerprint(token))
        entry["keep_alive_issued"] = fingerprint(token)[:12]
        return {"KeepAliveToken": token}

    def shape(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return a response with its absent fields as the profile has them."""
        if self.options["profile"] == "captured":
            return {**dict.fromkeys(TEXTS, ""), **fields}
        return {**dict.fromkeys(FIELDS), **fields} if self.options["profile"] == "lenient" else fields
