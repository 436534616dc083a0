# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Emulate the operations RefreshLoginToken and GetLoginToken of WUYING Workspace on a loopback address.

The emulator validates each request, including its signature, and responds as the service does. Its
control API issues tokens, sets users and simulates faults. The control URL in the ready file contains a
key, and lists the controls. The emulator stores only fingerprints of sessions and tokens, but the
passwords and TOTP secrets of its users as they are. It needs Python 3.8 or later, the files
emulator_base.py and emulator_logins.py next to it, and the package cryptography for --tls.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import calendar
import contextlib
import hashlib
import hmac
import json
import math
import os
import re
import secrets
import signal
import socket
import ssl
import struct
import sys
import time
import uuid
from collections import OrderedDict, deque
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from functools import lru_cache, partial
from http.client import responses
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Callable, Mapping, NamedTuple, NoReturn
from urllib.parse import parse_qsl, quote

from emulator_base import (
    CHOICES,
    LIMITS,
    LOCKED_ANSWERS,
    PROFILES,
    THROTTLED,
    Refused,
    as_list,
    check_field,
    check_fields,
    fingerprint,
    make_room,
)
from emulator_logins import LoginRefused, Logins, Session, locked_fields

IDENTITY = {  # field of the control API: parameter of the service
    "region_id": "RegionId",
    "client_id": "ClientId",
    "office_site_id": "OfficeSiteId",
    "end_user_id": "EndUserId",
    "directory_id": "DirectoryId",
    "session_id": "SessionId",
}
OPTIONAL = {"directory_id", "session_id"}
REQUIRED = ("RegionId", "ClientId", "OfficeSiteId", "EndUserId", "LoginToken")
START = re.compile(r"([A-Za-z]{1,16}) ([^ ?]+)(?:\?([^ ]*))? HTTP/(1\.[01])")
HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1])(:\d{1,5})?")
ORIGIN = re.compile(f"https?://{HOST.pattern}")
SIZES = {10: re.compile("[0-9]{1,9}"), 16: re.compile("[0-9A-Fa-f]{1,9}")}  # by their base
CLOCK_TOLERANCE = 15 * 60  # seconds
CLIENT_TIMEOUT = 60  # seconds that a client may take to send a request and to read the response
MAX_HEAD, MAX_BODY, MAX_CONTROL_BODY = 1 << 16, 1 << 17, 1 << 22  # bytes
MAX_PARAMETERS, MAX_CONNECTIONS, MAX_FAULTS = 256, 512, 1000
MAX_REMEMBERED = 300_000  # tokens, and nonces
CONTROL_URL = "Use control_url in the ready file, or the fact emulator_control_url of the role."
AUTHORIZATION = re.compile("ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([^,]+),Signature=([^,]+)")
SIGNED_V3 = {"host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"}
FAULTS: dict[str, dict[str, Any]] = {  # fault: its parameters and their defaults
    "refuse": {},
    "reset": {"carried_out": False},
    "stall": {"carried_out": False, "seconds": 60},
    "drip": {"carried_out": True, "interval": 1},
    "truncate": {"carried_out": True},
    "status": {"carried_out": False, "status": 503, "code": None},
    "throttle": {"carried_out": False, "status": 429, "code": THROTTLED, "retry_after": None},
    "redirect": {"carried_out": False, "status": 302, "location": "http://127.0.0.1:9/"},
    "non_json": {"carried_out": False, "status": 200},
    "oversized": {"carried_out": False, "bytes": (2 << 20) + 1},
    "wrong_type": {"carried_out": False},
    "code": {"carried_out": False, "status": 200, "code": "InternalError"},
    "error": {"carried_out": False, "status": 400, "code": "InvalidParameter", "message": ""},
    "locked": {"carried_out": False, "operation": "GetLoginToken", "last_lock_duration": 0},
    "skew": {"seconds": 0},
}
SELECTORS: dict[str, Any] = {"operation": None, "stage": None, "end_user_id": None}
REFUSALS = ("error", "code", "locked")
LOGIN_OPTIONS = ("profile", "keep_alive_lifetime", "lock_after", "lock_duration", "locked_answer")
NO_FAULT: dict[str, Any] = {"fault": None, "carried_out": True}
NO_RESPONSE, SLOW = ("refuse", "reset", "stall"), ("stall", "drip")

percent_encode = lru_cache(maxsize=1024)(partial(quote, safe="~"))


class Token(NamedTuple):
    """The fingerprint of a token's session, when the token expires, and the SessionId if a login issued it."""

    session: str
    expires_at: float
    session_id: str | None = None


class Request(NamedTuple):
    """One HTTP request; ``parameters`` combines those of the query string and of a form body."""

    id: str
    method: str
    path: str
    headers: dict[str, str]
    query: dict[str, str]
    parameters: dict[str, str]
    body: bytes
    keep_alive: bool


class Response(NamedTuple):
    """One HTTP response; a body that is not text is sent as JSON."""

    status: int
    body: Any
    headers: Mapping[str, Any] = MappingProxyType({})


class Signature(NamedTuple):
    """A signature as sent, and a function that computes the correct one from the secret."""

    access_key_id: str
    timestamp: str
    nonce: str
    value: str
    security_token: str
    sign: Callable[[str], tuple[str, str]]


class MalformedRequest(Exception):
    """The request cannot be parsed; the first argument is the HTTP status of the response."""


def new_token() -> str:
    """Return a login token in the format of the service."""
    return f"v1{secrets.token_hex(64)}"


@lru_cache(maxsize=16)
def parse_timestamp(timestamp: str) -> int:
    """Return a time stamp as seconds since the epoch; cached, because requests often share one."""
    return calendar.timegm(time.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ"))


def canonical_query(parameters: dict[str, str]) -> str:
    """Sort and percent-encode parameters as both signature versions require."""
    return "&".join(f"{percent_encode(key)}={percent_encode(parameters[key])}" for key in sorted(parameters))


def sign_v1(request: Request, secret: str) -> tuple[str, str]:
    """Return the V1 signature of a request and the string to sign."""
    signed = {key: value for key, value in request.parameters.items() if key != "Signature"}
    text = f"{request.method}&%2F&{percent_encode(canonical_query(signed))}"
    digest = hmac.digest(f"{secret}&".encode(), text.encode(), "sha1")
    return base64.b64encode(digest).decode(), text


def sign_v3(request: Request, names: list[str], secret: str) -> tuple[str, str]:
    """Return the V3 signature of a request and the string to sign, as error messages show it."""
    body = hashlib.sha256(request.body).hexdigest()
    # The header with the hash of the body must be right, too.
    sent = {**request.headers, "x-acs-content-sha256": body}
    headers = "".join(f"{name}:{sent.get(name, '')}\n" for name in names)
    parts = (
        request.method,
        request.path,
        canonical_query(request.query),
        headers,
        ";".join(names),
        body,
    )
    text = "\n".join(parts)
    to_sign = f"ACS3-HMAC-SHA256\n{hashlib.sha256(text.encode('latin-1')).hexdigest()}"
    signature = hmac.digest(secret.encode(), to_sign.encode(), "sha256").hex()
    return signature, f"{to_sign},server canonical request is:{text}"


def read_v1_signature(request: Request) -> Signature:
    """Read the V1 signature of a request."""
    sent = request.parameters
    if (sent.get("SignatureMethod"), sent.get("SignatureVersion")) != ("HMAC-SHA1", "1.0"):
        raise Refused("IncompleteSignature")
    names = ("AccessKeyId", "Timestamp", "SignatureNonce", "Signature", "SecurityToken")
    key_id, timestamp, nonce, value, security_token = (sent.get(name, "") for name in names)
    return Signature(key_id, timestamp, nonce, value, security_token, partial(sign_v1, request))


def read_v3_signature(request: Request) -> Signature:
    """Read the V3 signature of a request, which must cover all required headers."""
    headers = request.headers
    match = AUTHORIZATION.fullmatch(headers["authorization"])
    required = SIGNED_V3 | {name for name in headers if name.startswith("x-acs-")}
    required |= {"content-type"} & set(headers)
    if not match or not required.issubset(names := sorted(match[2].split(";"))):
        raise Refused("IncompleteSignature")
    timestamp, nonce, security_token = (
        headers.get(f"x-acs-{name}", "") for name in ("date", "signature-nonce", "security-token")
    )
    sign = partial(sign_v3, request, names)
    return Signature(match[1], timestamp, nonce, match[3], security_token, sign)


def signature_version(request: Request) -> str:
    """Return v1, v3 or anonymous."""
    if "authorization" in request.headers:
        return "v3"
    return "v1" if {"AccessKeyId", "Signature"} & set(request.parameters) else "anonymous"


def requested_operation(request: Request) -> str:
    """Return the operation that a request names."""
    return request.parameters.get("Action") or request.headers.get("x-acs-action", "")


def error_response(request: Request, status: int, code: str, message: str, retry_after: Any) -> Response:
    """Return an error in the format of the service; ``retry_after`` is in milliseconds."""
    body = {
        "RequestId": request.id,
        "HostId": request.headers.get("host", ""),
        "Code": code,
        "Message": message,
        "Recommend": f"https://api.aliyun.com/troubleshoot?q={percent_encode(code)}&product=ecd",
    }
    return Response(status, body, {} if retry_after is None else {"x-acs-retry-after": retry_after})


def apply_fault(response: Response, request: Request, fault: dict[str, Any]) -> Response:
    """Change a response as a fault requires."""
    name, code, status = fault["fault"], fault.get("code"), fault.get("status", 200)
    if code:
        return error_response(request, status, code, fault.get("message", ""), fault.get("retry_after"))
    if "status" in fault:
        page = "<html><body>This is not JSON.</body></html>"
        return Response(status, page, {"Location": fault["location"]} if "location" in fault else {})
    if name == "oversized":
        return response._replace(body={**response.body, "Padding": "x" * fault["bytes"]})
    if name == "wrong_type":
        return Response(200, {"RequestId": request.id, "LoginToken": 42})
    return response


def serialize(response: Response, clock: float, keep_alive: bool) -> bytes:
    """Return the bytes of a response; ``clock`` is the time for its Date header."""
    text = isinstance(response.body, str)
    body = (response.body if text else json.dumps(response.body)).encode()
    body = b"" if response.status in (204, 304) else body
    headers = {
        "Date": formatdate(clock, usegmt=True),
        "Content-Type": "text/html" if text else "application/json;charset=utf-8",
        "Content-Length": len(body),
        "Connection": "keep-alive" if keep_alive else "close",
        **response.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reason = responses.get(response.status, "Unknown")
    return f"HTTP/1.1 {response.status} {reason}\r\n{lines}\r\n".encode("latin-1", "replace") + body


async def read_until(reader: asyncio.StreamReader, end: bytes) -> str:
    """Read up to a separator."""
    try:
        return (await reader.readuntil(end))[: -len(end)].decode("latin-1")
    except asyncio.LimitOverrunError:
        raise MalformedRequest(431) from None


async def read_bytes(reader: asyncio.StreamReader, size: str, base: int, limit: int) -> bytes:
    """Read as many bytes as Content-Length or the first line of a chunk says."""
    if not SIZES[base].fullmatch(size):
        raise MalformedRequest(400)
    if int(size, base) > limit:
        raise MalformedRequest(413)
    return await reader.readexactly(int(size, base))


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str], limit: int) -> bytes:
    """Read the body of a request, which may arrive in chunks."""
    if "transfer-encoding" not in headers:
        return await read_bytes(reader, headers.get("content-length", "0"), 10, limit)
    if "content-length" in headers or headers["transfer-encoding"].lower() != "chunked":
        raise MalformedRequest(400)
    body, chunk = bytearray(), b"first"
    while chunk:
        line = await read_until(reader, b"\r\n")
        chunk = await read_bytes(reader, line.partition(";")[0].strip(), 16, limit)
        if await read_until(reader, b"\r\n"):
            raise MalformedRequest(400)
        body += chunk
        limit -= len(line) + len(chunk)
    return bytes(body)


def read_parameters(text: str) -> dict[str, str]:
    """Return the parameters of a query string or of a form."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS))
    except ValueError:  # too many
        raise MalformedRequest(400) from None


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, control_path: str) -> Request:
    """Read one request from a connection."""
    start, *lines = (await read_until(reader, b"\r\n\r\n")).split("\r\n")
    match = START.fullmatch(start)
    if match is None:
        raise MalformedRequest(400)
    method, path, raw_query, version = match.groups()
    headers: dict[str, str] = {}
    for line in lines:
        name, _colon, value = line.partition(":")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    limit = MAX_CONTROL_BODY if path.startswith(control_path) else MAX_BODY
    body = await read_body(reader, headers, limit)
    query, form = read_parameters(raw_query or ""), {}
    if headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        form = read_parameters(body.decode("utf-8", "replace"))
    keep_alive = version == "1.1" and headers.get("connection", "").lower() != "close"
    request_id = str(uuid.uuid4()).upper()
    return Request(request_id, method, path, headers, query, {**query, **form}, body, keep_alive)


def is_foreign(headers: dict[str, str]) -> bool:
    """Return True if a browser sent the request for a page of another host."""
    return not (HOST.fullmatch(headers.get("host", "")) and ORIGIN.fullmatch(headers.get("origin", "http://localhost")))


async def send_response(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes, fault: dict[str, Any]
) -> None:
    """Send a response, or disturb the connection as a fault requires."""
    name = fault["fault"]
    if name == "stall":  # until the client closes the connection, at most
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(reader.read(1), fault["seconds"])
    if name == "reset":
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    elif name == "drip":
        for position in range(len(data)):
            writer.write(data[position : position + 1])
            await writer.drain()
            await asyncio.sleep(fault["interval"])
    elif name == "truncate":
        head, blank, body = data.partition(b"\r\n\r\n")
        writer.write(head + blank + body[: len(body) // 2])
    elif name not in NO_RESPONSE:
        writer.write(data)
    await writer.drain()
    if name == "truncate" or name in NO_RESPONSE:
        writer.close()


def read_identity(item: Any) -> str:
    """Return the fingerprint of a session from the body of a control request."""
    check_fields(item, "An identity", IDENTITY)
    if missing := [name for name in IDENTITY if name not in OPTIONAL and not item.get(name)]:
        raise ValueError(f"An identity needs the field {missing[0]}.")
    return fingerprint(repr([item.get(name, "") for name in IDENTITY]))


def read_fault(item: Any) -> dict[str, Any]:
    """Return a fault with its defaults from the body of a control request."""
    name = item.get("fault") if isinstance(item, dict) else None
    if not isinstance(name, str) or name not in FAULTS:
        raise ValueError(f"The field fault must be one of {', '.join(FAULTS)}.")
    selectors = {} if name == "skew" else SELECTORS
    if unknown := sorted(set(item) - {"fault", "count"} - set(FAULTS[name]) - set(selectors)):
        raise ValueError(f"The fault {name} has no parameter {unknown[0]}.")
    for key, value in item.items():
        check_field(key, value, LIMITS.get(f"{key} of {name}", LIMITS[key]))
    return {"fault": name, "count": 1, **selectors, **FAULTS[name], **item}


class Emulator:
    """The emulated service: its access keys, tokens, logins, nonces, journal and queued faults.

    ``options`` are those that a control can change.
    """

    def __init__(
        self, validity: float, rotate: bool, qps: float, allow_anonymous: bool, options: dict[str, Any]
    ) -> None:
        self.validity, self.rotate, self.qps = validity, rotate, qps
        self.allow_anonymous, self.options = allow_anonymous, options
        self.logins = logins = Logins(options, MAX_REMEMBERED, self.now, self.clock, self.issue_after_login)
        self.operations: dict[str, Callable[[Request, dict[str, Any]], dict[str, Any]]] = {
            "RefreshLoginToken": self.refresh_login_token,
            "GetLoginToken": self.get_login_token,
        }
        self.control_path = f"/_emulator/{secrets.token_urlsafe(32)}"
        self.controls: dict[str, Callable[[Any], Any]] = {
            "GET /": self.show_controls,
            "POST /tokens": self.issue_tokens,
            "DELETE /tokens": self.delete_tokens,
            "GET /journal": self.show_journal,
            "DELETE /journal": self.delete_journal,
            "POST /faults": self.queue_faults,
            "DELETE /faults": self.delete_faults,
            "GET /users": logins.show_users,
            "POST /users": logins.set_users,
            "DELETE /users": logins.delete_users,
            "GET /logins": logins.show_counts,
            "DELETE /locks": logins.delete_locks,
            "DELETE /keep_alive_tokens": logins.delete_keep_alive_tokens,
            "GET /options": self.show_options,
            "POST /options": self.set_options,
            "GET /clock": self.show_clock,
            "POST /clock": self.advance_clock,
        }
        self.connections = 0
        self.keys: dict[str, tuple[str, str]] = {}
        self.tokens: OrderedDict[str, Token] = OrderedDict()
        self.nonces: OrderedDict[str, float] = OrderedDict()
        self.faults: deque[dict[str, Any]] = deque()
        self.skew = self.advanced = 0.0
        self.allowance, self.allowed_at = max(qps, 1.0), time.monotonic()
        self.delete_journal()

    def new_access_key(self, prefix: str, security_token: str) -> dict[str, str]:
        """Create an access key, which is temporary if it has a security token."""
        key_id, secret = f"{prefix}{secrets.token_hex(10)}", secrets.token_hex(15)
        self.keys[key_id] = (secret, security_token)
        return {"access_key_id": key_id, "access_key_secret": secret}

    def clock(self) -> float:
        """Return the time by the clock of the service, in seconds since the epoch."""
        return time.time() + self.advanced + self.skew

    def now(self) -> float:
        """Return the time by which everything expires, in seconds; skew does not change it."""
        return time.monotonic() + self.advanced

    def issue_token(self, session: str, session_id: str | None = None) -> str:
        """Issue a login token, and forget expired ones."""
        now, token = self.now(), new_token()
        make_room(self.tokens, MAX_REMEMBERED, lambda known: known.expires_at <= now)
        self.tokens[fingerprint(token)] = Token(session, now + self.validity, session_id)
        return token

    def issue_after_login(self, session: Session, session_id: str) -> str:
        """Issue the first token of a session that began with a login."""
        return self.issue_token(fingerprint(repr([*session, "", ""])), session_id)

    def exchange_token(self, sent: dict[str, str]) -> str:
        """Exchange a login token for the next one."""
        used = fingerprint(sent["LoginToken"])
        known = self.tokens.get(used)
        if known is None or known.expires_at <= self.now():
            raise Refused("InvalidLoginToken")
        # After a login, DirectoryId does not matter, and the SessionId is checked below.
        bound_to = REQUIRED[:4] if known.session_id is not None else IDENTITY.values()
        identity = [sent.get(name, "") if name in bound_to else "" for name in IDENTITY.values()]
        if known.session != fingerprint(repr(identity)):
            raise Refused("InvalidLoginToken")
        if known.session_id not in (None, sent.get("SessionId")):
            self.logins.totals["refreshes_with_wrong_session_id"] += 1
            if self.options["profile"] == "strict":
                raise Refused("InvalidSessionId")
        if self.rotate:
            del self.tokens[used]
        return self.issue_token(known.session, known.session_id)

    def check_rate_limit(self) -> None:
        """Reject a request that exceeds the rate limit."""
        if not self.qps:
            return
        now = time.monotonic()
        earned = (now - self.allowed_at) * self.qps
        self.allowance, self.allowed_at = min(max(self.qps, 1.0), self.allowance + earned), now
        if self.allowance < 1:
            milliseconds = (1 - self.allowance) / self.qps * 1000
            raise Refused(THROTTLED, retry_after=math.ceil(min(milliseconds, LIMITS["retry_after"][2])))
        self.allowance -= 1

    def check_signature(self, signature: Signature) -> None:
        """Reject a wrong access key, security token, time stamp, signature or nonce."""
        if not all((signature.access_key_id, signature.timestamp, signature.nonce, signature.value)):
            raise Refused("IncompleteSignature")
        if signature.access_key_id not in self.keys:
            raise Refused("InvalidAccessKeyId.NotFound")
        secret, security_token = self.keys[signature.access_key_id]
        if signature.security_token not in {token for _secret, token in self.keys.values()}:
            raise Refused("InvalidSecurityToken.Malformed")
        if signature.security_token != security_token:
            raise Refused("InvalidSecurityToken.MismatchWithAccessKey")
        self.check_timestamp(signature.timestamp)
        expected, signed = signature.sign(secret)
        if not hmac.compare_digest(expected.encode(), signature.value.encode()):
            message = "Specified signature does not match our calculation."
            message = f"{message} server string to sign is:{signed}"
            raise Refused("SignatureDoesNotMatch", message)
        self.use_nonce(signature.nonce)

    def check_timestamp(self, timestamp: str) -> None:
        """Reject a time stamp that is off by more than 15 minutes."""
        try:
            signed_at = parse_timestamp(timestamp)
        except ValueError:
            raise Refused("InvalidTimeStamp.Format") from None
        if abs(self.clock() - signed_at) > CLOCK_TOLERANCE:
            raise Refused("InvalidTimeStamp.Expired")

    def use_nonce(self, nonce: str) -> None:
        """Reject a used nonce; forget those whose time stamps are rejected by now."""
        now, used = self.now(), fingerprint(nonce)
        make_room(self.nonces, MAX_REMEMBERED, lambda used_at: used_at <= now - 2 * CLOCK_TOLERANCE)
        if used in self.nonces:
            raise Refused("SignatureNonceUsed")
        self.nonces[used] = now

    def check_request(self, request: Request) -> str:
        """Check what all operations have in common, and return the requested operation."""
        self.check_rate_limit()
        sent, operation = request.parameters, requested_operation(request)
        if request.method not in ("POST", "GET") or request.path != "/" or operation not in self.operations:
            raise Refused("InvalidAction.NotFound")
        if (sent.get("Version") or request.headers.get("x-acs-version")) != "2020-10-02":
            raise Refused("InvalidVersion")
        signed_with = signature_version(request)
        if signed_with == "v3":
            self.check_signature(read_v3_signature(request))
        elif signed_with == "v1":
            self.check_signature(read_v1_signature(request))
        elif operation == "RefreshLoginToken" and not self.allow_anonymous:
            raise Refused("IncompleteSignature")
        return operation

    def refresh_login_token(self, request: Request, entry: dict[str, Any]) -> dict[str, Any]:
        """Run RefreshLoginToken, and return the fields of the response."""
        for name in REQUIRED:
            if not request.parameters.get(name):
                raise Refused(f"Missing{name}", f"{name} is mandatory for this action.")
        token = self.exchange_token(request.parameters)
        entry.update(exchanged=True, issued=fingerprint(token)[:12])
        self.exchanges += 1
        return {"LoginToken": token}

    def get_login_token(self, request: Request, entry: dict[str, Any]) -> dict[str, Any]:
        """Run GetLoginToken, and return the fields of the response."""
        return self.logins.log_in(request.parameters, entry)

    def carry_out(self, request: Request, entry: dict[str, Any]) -> Response:
        """Run the requested operation, and record its effect in the journal entry."""
        try:
            operation = self.operations[self.check_request(request)]
            return Response(200, {"RequestId": request.id, **operation(request, entry)})
        except Refused as refusal:
            if isinstance(refusal, LoginRefused):
                entry["outcome"] = "refused"
                if refusal.fields is not None:
                    return Response(200, {"RequestId": request.id, **self.logins.shape(refusal.fields)})
            code, retry_after = refusal.code, refusal.retry_after
            return error_response(request, refusal.status, code, str(refusal), retry_after)

    def next_fault(self, selection: dict[str, Any]) -> dict[str, Any]:
        """Return the first fault that applies to a request, and count it down."""
        for fault in self.faults:
            if all(fault[name] in (None, value) for name, value in selection.items()):
                break
        else:
            return NO_FAULT
        if fault["count"] is not None:
            fault["count"] -= 1
            if not fault["count"]:
                self.faults.remove(fault)
        return fault

    def handle_request(self, request: Request) -> tuple[Response, dict[str, Any]]:
        """Return the response to a request to the service, and the fault to simulate."""
        sent, operation, signature = request.parameters, requested_operation(request), signature_version(request)
        selection = {"operation": operation, "stage": sent.get("CurrentStage"), "end_user_id": sent.get("EndUserId")}
        fault, token, is_login = self.next_fault(selection), sent.get("LoginToken"), operation == "GetLoginToken"
        entry = {
            "at": time.time(),
            "operation": operation[:64] or None,
            "end_user_id": sent.get("EndUserId", "")[:256] or None,
            "client_id": sent.get("ClientId", "")[:256] or None,
            "session_id": sent.get("SessionId", "")[:256] or None,
            "method": request.method,
            "signature": signature,
            "status": None,
            "code": None,
            "request_id": request.id,
            "used": fingerprint(token)[:12] if token else None,
            "issued": None,
            "exchanged": False,
            "fault": fault["fault"],
        }
        self.requests += 1
        self.entries.append(entry)
        if is_login:
            name = self.logins.name_of(sent)
            entry.update(self.logins.count_request(sent, signature != "anonymous", bool(request.body)))
        if fault.get("carried_out"):
            response = self.carry_out(request, entry)
        else:
            response = Response(200, {"RequestId": request.id, "LoginToken": new_token()})
        if fault["fault"] == "locked":
            fields = self.logins.shape(locked_fields(fault["last_lock_duration"]))
            response = Response(200, {"RequestId": request.id, **fields})
        response = apply_fault(response, request, fault)
        if is_login and fault["fault"] in REFUSALS and response.status < 500 and not entry["outcome"]:
            entry["outcome"] = "refused"
        if is_login and entry["outcome"] in ("completed", "refused"):
            self.logins.count(name, entry["outcome"])
        if fault["fault"] not in NO_RESPONSE:
            code = response.body.get("Code") if isinstance(response.body, dict) else None
            entry.update(status=response.status, code=code)
        return response, fault

    def handle_control(self, request: Request) -> Response:
        """Return the response to a request to the control API."""
        path, control = request.path[: len(self.control_path)], request.path[len(self.control_path) :]
        if not hmac.compare_digest(path.encode("latin-1"), self.control_path.encode()):
            return Response(403, {"error": f"The control key is missing or wrong. {CONTROL_URL}"})
        handler = self.controls.get(f"{request.method} {control}")
        if handler is None:
            return Response(404, {"error": "No such control. GET / lists them."})
        try:
            payload = json.loads(request.body) if request.method == "POST" else None
            return Response(200, handler(payload))
        except (ValueError, RecursionError) as problem:
            return Response(400, {"error": str(problem)})

    def show_controls(self, _payload: Any) -> dict[str, Any]:
        """List the controls, the faults with their parameters and defaults, and the types and ranges of fields."""
        controls = {route: handler.__doc__ for route, handler in self.controls.items()}
        return {"controls": controls, "faults": FAULTS, "selectors": SELECTORS, "limits": LIMITS, "choices": CHOICES}

    def issue_tokens(self, payload: Any) -> Any:
        """Issue a first login token for an identity, or for each identity of a list."""
        sessions = [read_identity(item) for item in as_list(payload)]
        tokens = [{"login_token": self.issue_token(session)} for session in sessions]
        return tokens if isinstance(payload, list) else tokens[0]

    def delete_tokens(self, _payload: Any) -> dict[str, Any]:
        """Invalidate all login tokens."""
        self.tokens.clear()
        return {}

    def show_journal(self, _payload: Any) -> dict[str, Any]:
        """Return the number of requests and exchanges, and the newest 10,000 requests."""
        entries = list(self.entries)
        return {"requests": self.requests, "exchanges": self.exchanges, "entries": entries}

    def delete_journal(self, _payload: Any = None) -> dict[str, Any]:
        """Empty the journal, and reset its counts and those of logins."""
        self.requests = self.exchanges = 0
        self.logins.delete_counts()
        self.entries: deque[dict[str, Any]] = deque(maxlen=10_000)
        return {}

    def queue_faults(self, payload: Any) -> dict[str, Any]:
        """Queue a fault, or a list of faults, for the next requests; skew applies at once."""
        faults = [read_fault(item) for item in as_list(payload)]
        if len(self.faults) + len(faults) > MAX_FAULTS:
            raise ValueError(f"At most {MAX_FAULTS} faults can be queued.")
        for fault in faults:
            if fault["fault"] == "skew":
                self.skew = fault["seconds"]
            else:
                self.faults.append(fault)
        return {"queued": len(self.faults)}

    def delete_faults(self, _payload: Any) -> dict[str, Any]:
        """Delete all faults and reset the clock."""
        self.faults.clear()
        self.skew = 0.0
        return {}

    def show_options(self, _payload: Any) -> dict[str, Any]:
        """Return the options of logins."""
        return self.options

    def set_options(self, payload: Any) -> dict[str, Any]:
        """Change options of logins, and return all of them."""
        check_fields(payload, "An object of options", self.options)
        self.options.update(payload)
        return self.options

    def show_clock(self, _payload: Any) -> dict[str, Any]:
        """Return the time in seconds since the epoch, and by how many seconds the clock was moved forward."""
        return {"now": self.clock(), "advanced": self.advanced}

    def advance_clock(self, payload: Any) -> dict[str, Any]:
        """Move the clock forward by a number of seconds, so that everything expires earlier."""
        check_fields(payload, "A clock", ("advance",))
        if not payload:
            raise ValueError("A clock needs the field advance.")
        advanced = self.advanced + payload["advance"]
        if advanced > LIMITS["advance"][2]:
            raise ValueError(f"The clock can be moved forward by at most {LIMITS['advance'][2]} seconds in total.")
        self.advanced = advanced
        return self.show_clock(None)

    def respond(self, request: Request) -> tuple[Response, dict[str, Any]]:
        """Return the response to a request, and the fault to simulate."""
        if is_foreign(request.headers):
            error = "The headers Host and Origin must name 127.0.0.1 or localhost."
            return Response(403, {"error": error}), NO_FAULT
        if request.path.startswith("/_emulator"):
            return self.handle_control(request), NO_FAULT
        return self.handle_request(request)

    async def handle_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to the requests of one connection."""
        self.connections += 1
        start_timer = partial(asyncio.get_running_loop().call_later, CLIENT_TIMEOUT, writer.transport.abort)
        timer = start_timer()
        try:
            while self.connections <= MAX_CONNECTIONS and not writer.is_closing():
                request = await read_request(reader, writer, self.control_path)
                response, fault = self.respond(request)
                if fault["fault"] in SLOW:
                    timer.cancel()
                await send_response(reader, writer, serialize(response, self.clock(), request.keep_alive), fault)
                timer.cancel()
                if not request.keep_alive:
                    break
                timer = start_timer()
        except MalformedRequest as problem:
            response = Response(problem.args[0], {"error": "The request could not be parsed."})
            writer.write(serialize(response, self.clock(), False))
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the client closed the connection, or the emulator stops
        finally:
            self.connections -= 1
            timer.cancel()
            writer.close()


def write_private(path: Path, text: str) -> None:
    """Write a file atomically, readable by its owner only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(draft, "x", encoding="utf-8", opener=partial(os.open, mode=0o600)) as file:
        file.write(text)
    draft.replace(path)


def make_certificate() -> tuple[str, str]:
    """Return a self-signed certificate for loopback addresses, valid for a week, and its key."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        sys.exit("emulator_tls (--tls) requires the Python package cryptography. Install it on the target host.")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    addresses = [x509.IPAddress(ip_address(address)) for address in ("127.0.0.1", "::1")]
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses])
    now, number = datetime.now(timezone.utc), x509.random_serial_number()
    draft = x509.CertificateBuilder(name, name, key.public_key(), number, now, now + timedelta(7))
    certificate = draft.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    unencrypted = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem).decode(), key.private_bytes(pem, *unencrypted).decode()


def make_tls_context(certificate_file: Path) -> ssl.SSLContext:
    """Create a certificate and its TLS context; only the certificate remains on disk."""
    certificate, key = make_certificate()
    key_file = certificate_file.with_suffix(".key")
    write_private(certificate_file, certificate)
    write_private(key_file, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    key_file.unlink()
    return context


def read_users(emulator: Emulator, path: Path) -> None:
    """Set the users from a JSON file."""
    try:
        emulator.logins.set_users(json.loads(path.read_bytes()))
    except OSError as problem:
        sys.exit(f"Cannot read the users from {path.name}: {problem.strerror}.")
    except (ValueError, RecursionError) as problem:
        reason = "It is not JSON." if isinstance(problem, (json.JSONDecodeError, UnicodeDecodeError)) else str(problem)
        sys.exit(f"The users in {path.name} are not valid. {reason}")


async def run(options: argparse.Namespace, ca_path: Path | None) -> None:
    """Run the server until SIGTERM or SIGINT."""
    login_options = {name: getattr(options, name) for name in LOGIN_OPTIONS}
    emulator = Emulator(options.validity, options.rotate, options.qps, options.anonymous == "allow", login_options)
    if options.users:
        read_users(emulator, options.users)
    context = make_tls_context(ca_path) if ca_path else None
    serve = emulator.handle_connection
    try:
        server = await asyncio.start_server(serve, "127.0.0.1", options.port, limit=MAX_HEAD, backlog=1024, ssl=context)
    except OSError as problem:
        advice = "Choose another port, or 0 for a free one."
        sys.exit(f"Cannot listen on port {options.port}: {os.strerror(problem.errno or 0)}. {advice}")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    security_token = secrets.token_urlsafe(96)
    port = server.sockets[0].getsockname()[1]
    url = f"{'https' if ca_path else 'http'}://127.0.0.1:{port}"
    ready = {
        "url": url,
        "control_url": url + emulator.control_path,
        "pid": os.getpid(),
        "ca_path": str(ca_path) if ca_path else None,
        **emulator.new_access_key("LTAI", ""),
        "sts": {
            **emulator.new_access_key("STS.", security_token),
            "security_token": security_token,
        },
    }
    write_private(options.ready_file, json.dumps(ready))
    await stop.wait()
    server.close()
    options.ready_file.unlink(missing_ok=True)


class Parser(argparse.ArgumentParser):
    """Reports a wrong option in one line, which the role includes in its message."""

    def error(self, message: str) -> NoReturn:
        """Exit with the message."""
        sys.exit(f"{message}.")


def number(kind: type[float], low: float, high: float) -> Callable[[str], float]:
    """Return a function that parses a number of the command line."""

    def parse(text: str) -> float:
        with contextlib.suppress(ValueError):
            if low <= (value := kind(text)) <= high:
                return value
        raise argparse.ArgumentTypeError(f"must be {'an integer' if kind is int else 'a number'} from {low} to {high}")

    return parse


def main() -> None:
    """Parse the command line, run the server, and clean up."""
    parser = Parser(description="Emulate RefreshLoginToken and GetLoginToken of WUYING Workspace on 127.0.0.1.")
    add = parser.add_argument
    add("--port", type=number(int, 0, 65535), default=0, help="port to listen on (default: a free port)")
    add("--ready-file", type=Path, required=True, help="write URLs and credentials here")
    add("--tls", action="store_true", help="HTTPS; the certificate is next to the ready file")
    add("--validity", type=number(float, 0.1, 10**9), default=900, help="login token validity in seconds (900)")
    add("--rotate", action="store_true", help="invalidate a token when it is exchanged")
    add("--qps", type=number(float, 0, 10**6), default=0, help="rate limit in requests per second (none)")
    add("--anonymous", choices=("allow", "deny"), default="allow", help="unsigned requests (allow)")
    add("--users", type=Path, help="JSON file with the users that can log in (none)")
    add(
        "--profile",
        choices=PROFILES,
        default="captured",
        help="how GetLoginToken behaves where that is unknown (captured)",
    )
    add("--keep-alive-lifetime", type=number(float, 0.1, 10**9), default=864_000, help="in seconds (864000)")
    add(
        "--lock-after",
        type=number(int, 0, 10**6),
        default=5,
        help="wrong passwords or codes that lock a user; 0: any (5)",
    )
    add("--lock-duration", type=number(float, 0, 10**9), default=0, help="in seconds; 0: until unlocked (0)")
    add("--locked-answer", choices=LOCKED_ANSWERS, default=LOCKED_ANSWERS[0], help="response to a locked user")
    options = parser.parse_args()
    options.ready_file = options.ready_file.absolute()
    ca_path = options.ready_file.with_suffix(".ca.pem") if options.tls else None
    try:
        asyncio.run(run(options, ca_path))
    except OSError as problem:
        sys.exit(f"Cannot write the files next to {options.ready_file.name}: {problem.strerror}.")
    finally:
        if ca_path:
            ca_path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
