# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in, on loopback, for the service that exchanges login tokens (RefreshLoginToken).

It reads and checks every request by itself, down to the signature, answers as the service does, and
misbehaves on request: see GET /_emulator/. Of login tokens it keeps fingerprints only.
Needs Python 3.8 or newer, and for --tls the package cryptography.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import calendar
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
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from functools import lru_cache, partial
from http.client import responses
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Callable, Mapping, NamedTuple, Tuple
from urllib.parse import parse_qsl, quote

IDENTITY = {
    "region_id": "RegionId",
    "client_id": "ClientId",
    "office_site_id": "OfficeSiteId",
    "end_user_id": "EndUserId",
    "directory_id": "DirectoryId",
    "session_id": "SessionId",
}
OPTIONAL = {"directory_id", "session_id"}
REQUIRED = ("RegionId", "ClientId", "OfficeSiteId", "EndUserId", "LoginToken")
CLOCK_TOLERANCE = 15 * 60
MAX_HEAD, MAX_BODY, MAX_CONTROL_BODY = 1 << 16, 1 << 20, 1 << 26
AUTHORIZATION = re.compile(
    "ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([^,]+),Signature=([^,]+)"
)
SIGNED_V3 = {"host", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"}
THROTTLED = "Throttling.User"
REFUSALS = {  # code: (HTTP status, message); of every other code the status is 400
    "IncompleteSignature": (400, "The request signature does not conform to the standard."),
    "InvalidAccessKeyId.NotFound": (404, "Specified access key is not found."),
    "InvalidAction.NotFound": (404, "Specified api is not found."),
    # The service publishes no code for a dead token: this one is a guess.
    "InvalidLoginToken": (400, "Specified LoginToken is invalid or has expired."),
    "InvalidSecurityToken.Malformed": (400, "Specified SecurityToken is malformed."),
    "InvalidSecurityToken.MismatchWithAccessKey": (400, "SecurityToken and AccessKeyId differ."),
    "InvalidTimeStamp.Expired": (400, "Specified time stamp or date value is expired."),
    "InvalidTimeStamp.Format": (400, "Specified time stamp or date value is malformed."),
    "InvalidVersion": (400, "Specified parameter Version is not valid."),
    "SignatureNonceUsed": (400, "Specified signature nonce was used already."),
    THROTTLED: (429, "Request was denied due to user flow control."),
}
FAULTS: dict[str, dict[str, Any]] = {  # each with its parameters and their defaults
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
    "skew": {"seconds": 0},
}
KINDS: dict[type, set[str]] = {
    bool: {"carried_out"},
    float: {"seconds", "interval"},
    int: {"seconds", "interval", "count", "status", "retry_after", "bytes"},
    str: {"fault", "code", "location", "message"},
    type(None): {"count", "code", "retry_after"},
}
NO_FAULT: dict[str, Any] = {"fault": None, "carried_out": True}
SILENT = ("refuse", "reset", "stall")

Identity = Tuple[str, ...]
encode = lru_cache(maxsize=1024)(partial(quote, safe="~"))


@dataclass(frozen=True)
class Token:
    """What is remembered of a login token: whose it is, and when it dies."""

    __slots__ = ("expires_at", "identity")
    identity: Identity
    expires_at: float


class Request(NamedTuple):
    """A request as it came over the wire; ``parameters`` are those of the query and of a form."""

    id: str
    method: str
    path: str
    headers: dict[str, str]
    query: dict[str, str]
    parameters: dict[str, str]
    body: bytes
    keep_alive: bool


class Answer(NamedTuple):
    """An answer before it is put on the wire: a body that is text is sent as it is."""

    status: int
    body: Any
    headers: Mapping[str, Any] = MappingProxyType({})


class Claim(NamedTuple):
    """What the signer of a request says, and how to compute what it should have said."""

    key_id: str
    stamp: str
    nonce: str
    signature: str
    security_token: str
    sign: Callable[[str], tuple[str, str]]


class Refused(Exception):
    """The service refuses a request, with an error code."""

    def __init__(self, code: str, message: str = "", retry_after: int | None = None) -> None:
        self.code, self.retry_after = code, retry_after
        self.status, known_message = REFUSALS.get(code, (400, ""))
        super().__init__(message or known_message)


class Unreadable(Exception):
    """What arrived is no request that can be read; the first argument is the HTTP status."""


def new_token() -> str:
    """Make a login token of the look that the service's have."""
    return f"v1{secrets.token_hex(64)}"


def fingerprint(token: str) -> str:
    """Return the SHA-256 of a token in hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


@lru_cache(maxsize=16)
def read_stamp(stamp: str) -> int:
    """Read a time stamp; requests of the same second have the same."""
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))


def canonical(parameters: dict[str, str]) -> str:
    """Sort and percent-encode parameters as both signature versions want them."""
    return "&".join(f"{encode(key)}={encode(parameters[key])}" for key in sorted(parameters))


def sign_v1(request: Request, secret: str) -> tuple[str, str]:
    """Compute a request's V1 signature, and say what was signed."""
    signed = {key: value for key, value in request.parameters.items() if key != "Signature"}
    text = f"{request.method}&%2F&{encode(canonical(signed))}"
    digest = hmac.digest(f"{secret}&".encode(), text.encode(), "sha1")
    return base64.b64encode(digest).decode(), text


def sign_v3(request: Request, names: list[str], secret: str) -> tuple[str, str]:
    """Compute a request's V3 signature, and say what was signed."""
    headers = "".join(f"{name}:{request.headers.get(name, '')}\n" for name in names)
    body = hashlib.sha256(request.body).hexdigest()
    parts = (request.method, request.path, canonical(request.query), headers, ";".join(names), body)
    text = "\n".join(parts)
    to_sign = f"ACS3-HMAC-SHA256\n{hashlib.sha256(text.encode('latin-1')).hexdigest()}"
    signature = hmac.digest(secret.encode(), to_sign.encode(), "sha256").hex()
    return signature, f"{to_sign},server canonical request is:{text}"


def claim_v1(request: Request) -> Claim:
    """Read the claim of a request signed with V1."""
    sent = request.parameters
    if (sent.get("SignatureMethod"), sent.get("SignatureVersion")) != ("HMAC-SHA1", "1.0"):
        raise Refused("IncompleteSignature")
    names = ("AccessKeyId", "Timestamp", "SignatureNonce", "Signature", "SecurityToken")
    key_id, stamp, nonce, signature, security_token = (sent.get(name, "") for name in names)
    return Claim(key_id, stamp, nonce, signature, security_token, partial(sign_v1, request))


def claim_v3(request: Request) -> Claim:
    """Read the claim of a request signed with V3, which must sign every header that counts."""
    headers = request.headers
    match = AUTHORIZATION.fullmatch(headers["authorization"])
    due = SIGNED_V3 | {name for name in headers if name.startswith("x-acs-")}
    due |= {"content-type"} & set(headers)
    if not match or not due.issubset(names := sorted(match[2].split(";"))):
        raise Refused("IncompleteSignature")
    stamp, nonce, security_token = (
        headers.get(f"x-acs-{name}", "") for name in ("date", "signature-nonce", "security-token")
    )
    return Claim(match[1], stamp, nonce, match[3], security_token, partial(sign_v3, request, names))


def signature_of(request: Request) -> str:
    """Say how a request is signed."""
    if "authorization" in request.headers:
        return "v3"
    return "v1" if {"AccessKeyId", "Signature"} & set(request.parameters) else "anonymous"


def error(request: Request, status: int, code: str, message: str, retry_after: Any) -> Answer:
    """Make an error of the service's shape."""
    body = {
        "RequestId": request.id,
        "HostId": request.headers.get("host", ""),
        "Code": code,
        "Message": message,
        "Recommend": f"https://api.aliyun.com/troubleshoot?q={encode(code)}&product=ecd",
    }
    return Answer(status, body, {} if retry_after is None else {"x-acs-retry-after": retry_after})


def distort(answer: Answer, request: Request, fault: dict[str, Any]) -> Answer:
    """Turn an answer into what a fault makes of it."""
    name, code, status = fault["fault"], fault.get("code"), fault.get("status", 200)
    if code:
        return error(request, status, code, fault.get("message", ""), fault.get("retry_after"))
    if "status" in fault:
        page = "<html><body>This is no JSON.</body></html>"
        return Answer(status, page, {"Location": fault["location"]} if "location" in fault else {})
    if name == "oversized":
        return answer._replace(body={**answer.body, "Padding": "x" * fault["bytes"]})
    if name == "wrong_type":
        return Answer(200, {"RequestId": request.id, "LoginToken": 42})
    return answer


def render(answer: Answer, clock: float, keep_alive: bool) -> bytes:
    """Put an answer into the bytes that go over the wire."""
    text = isinstance(answer.body, str)
    body = (answer.body if text else json.dumps(answer.body)).encode()
    headers = {
        "Date": formatdate(clock, usegmt=True),
        "Content-Type": "text/html" if text else "application/json;charset=utf-8",
        "Content-Length": len(body),
        "Connection": "keep-alive" if keep_alive else "close",
        **answer.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reason = responses.get(answer.status, "Unknown")
    return f"HTTP/1.1 {answer.status} {reason}\r\n{lines}\r\n".encode("latin-1", "replace") + body


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Read one request."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError:
        raise Unreadable(431) from None
    start, *lines = head[:-4].split("\r\n")
    method, _space, rest = start.partition(" ")
    target, _space, version = rest.partition(" ")
    path, _mark, raw_query = target.partition("?")
    headers: dict[str, str] = {}
    for line in lines:
        name, _colon, value = line.partition(":")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers:
        raise Unreadable(411)
    if not version.startswith("HTTP/1.") or not (length.isdecimal() and len(length) < 10):
        raise Unreadable(400)
    if int(length) > (MAX_CONTROL_BODY if path.startswith("/_emulator/") else MAX_BODY):
        raise Unreadable(413)
    body = await reader.readexactly(int(length))
    query = dict(parse_qsl(raw_query, keep_blank_values=True))
    form = {}
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    keep_alive = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    request_id = str(uuid.uuid4()).upper()
    return Request(request_id, method, path, headers, query, {**query, **form}, body, keep_alive)


async def deliver(writer: asyncio.StreamWriter, data: bytes, fault: dict[str, Any]) -> None:
    """Send an answer, or do to the connection what a fault asks for."""
    name = fault["fault"]
    if name == "stall":
        await asyncio.sleep(fault["seconds"])
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
    elif name not in SILENT:
        writer.write(data)
    await writer.drain()
    if name == "truncate" or name in SILENT:
        writer.close()


def as_list(payload: Any) -> list[Any]:
    """Take one thing or a list of them as a list."""
    return payload if isinstance(payload, list) else [payload]


def read_identity(item: Any) -> Identity:
    """Read the identity of a session from control input."""
    if not isinstance(item, dict) or not all(isinstance(value, str) for value in item.values()):
        raise ValueError("An identity must be an object whose values are strings.")
    if unknown := sorted(set(item) - set(IDENTITY)):
        raise ValueError(f"An identity has no {unknown[0]}.")
    if missing := [name for name in IDENTITY if name not in OPTIONAL and not item.get(name)]:
        raise ValueError(f"An identity needs {missing[0]}.")
    return tuple(item.get(name, "") for name in IDENTITY)


def read_fault(item: Any) -> dict[str, Any]:
    """Read a fault from control input."""
    name = item.get("fault") if isinstance(item, dict) else None
    if not isinstance(name, str) or name not in FAULTS:
        raise ValueError(f"A fault must name, as fault, one of {', '.join(FAULTS)}.")
    fault = {"fault": name, "count": 1, **FAULTS[name], **item}
    if unknown := sorted(set(item) - {"fault", "count"} - set(FAULTS[name])):
        raise ValueError(f"The fault {name} has no parameter {unknown[0]}.")
    for key, value in item.items():
        too_few = key == "count" and isinstance(value, int) and value < 1
        if key not in KINDS.get(type(value), ()) or too_few:
            raise ValueError(f"The parameter {key} of the fault {name} has a wrong value.")
    return fault


class Emulator:
    """The service: its keys, tokens and nonces, and what its user does to it."""

    def __init__(self, validity: float, rotate: bool, qps: float, anonymous: bool) -> None:
        self.validity, self.rotate, self.qps, self.anonymous = validity, rotate, qps, anonymous
        self.controls: dict[str, Callable[[Any], Any]] = {
            "GET /_emulator/": self.show_controls,
            "POST /_emulator/tokens": self.issue_tokens,
            "GET /_emulator/journal": self.show_journal,
            "DELETE /_emulator/journal": self.forget_journal,
            "POST /_emulator/faults": self.queue_faults,
            "DELETE /_emulator/faults": self.drop_faults,
        }
        self.keys: dict[str, tuple[str, str]] = {}
        self.tokens: OrderedDict[str, Token] = OrderedDict()
        self.nonces: OrderedDict[str, float] = OrderedDict()
        self.faults: deque[dict[str, Any]] = deque()
        self.skew = 0.0
        self.allowance, self.allowed_at = max(qps, 1.0), time.monotonic()
        self.forget_journal()

    def new_key(self, prefix: str, security_token: str = "") -> dict[str, str]:
        """Make an access key, with a security token or without."""
        key_id, secret = f"{prefix}{secrets.token_hex(10)}", secrets.token_hex(15)
        self.keys[key_id] = (secret, security_token)
        return {"access_key_id": key_id, "access_key_secret": secret}

    def clock(self) -> float:
        """Tell the time as the service sees it."""
        return time.time() + self.skew

    def issue(self, identity: Identity) -> str:
        """Issue a login token, and forget those that have died."""
        now, token = time.monotonic(), new_token()
        while self.tokens and next(iter(self.tokens.values())).expires_at <= now:
            self.tokens.popitem(last=False)
        self.tokens[fingerprint(token)] = Token(identity, now + self.validity)
        return token

    def redeem(self, token: str, identity: Identity) -> str:
        """Exchange a login token for the next."""
        used = fingerprint(token)
        known = self.tokens.get(used)
        if known is None or known.identity != identity or known.expires_at <= time.monotonic():
            raise Refused("InvalidLoginToken")
        if self.rotate:
            del self.tokens[used]
        return self.issue(known.identity)

    def throttle(self) -> None:
        """Refuse what comes faster than the limit of requests allows."""
        if not self.qps:
            return
        now = time.monotonic()
        earned = (now - self.allowed_at) * self.qps
        self.allowance, self.allowed_at = min(max(self.qps, 1.0), self.allowance + earned), now
        if self.allowance < 1:
            wait = math.ceil((1 - self.allowance) / self.qps * 1000)
            raise Refused(THROTTLED, retry_after=wait)
        self.allowance -= 1

    def authenticate(self, claim: Claim) -> None:
        """Refuse a claim whose key, security token, time stamp, signature or nonce is wrong."""
        if not (claim.key_id and claim.stamp and claim.nonce and claim.signature):
            raise Refused("IncompleteSignature")
        if claim.key_id not in self.keys:
            raise Refused("InvalidAccessKeyId.NotFound")
        secret, security_token = self.keys[claim.key_id]
        if claim.security_token not in {token for _secret, token in self.keys.values()}:
            raise Refused("InvalidSecurityToken.Malformed")
        if claim.security_token != security_token:
            raise Refused("InvalidSecurityToken.MismatchWithAccessKey")
        self.check_stamp(claim.stamp)
        expected, signed = claim.sign(secret)
        if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
            message = "Specified signature does not match our calculation."
            message = f"{message} server string to sign is:{signed}"
            raise Refused("SignatureDoesNotMatch", message)
        self.use_nonce(claim.nonce)

    def check_stamp(self, stamp: str) -> None:
        """Refuse a time stamp that is off by more than a quarter of an hour."""
        try:
            signed_at = read_stamp(stamp)
        except ValueError:
            raise Refused("InvalidTimeStamp.Format") from None
        if abs(self.clock() - signed_at) > CLOCK_TOLERANCE:
            raise Refused("InvalidTimeStamp.Expired")

    def use_nonce(self, nonce: str) -> None:
        """Refuse a nonce that was used, and forget those whose time stamps have died anyway."""
        now = time.monotonic()
        while self.nonces and next(iter(self.nonces.values())) <= now - 2 * CLOCK_TOLERANCE:
            self.nonces.popitem(last=False)
        if nonce in self.nonces:
            raise Refused("SignatureNonceUsed")
        self.nonces[nonce] = now

    def exchange(self, request: Request, signature: str) -> str:
        """Do what RefreshLoginToken does."""
        self.throttle()
        sent, headers = request.parameters, request.headers
        action = sent.get("Action") or headers.get("x-acs-action")
        version = sent.get("Version") or headers.get("x-acs-version")
        route = (request.method, request.path, action)
        if route not in (("POST", "/", "RefreshLoginToken"), ("GET", "/", "RefreshLoginToken")):
            raise Refused("InvalidAction.NotFound")
        if version != "2020-10-02":
            raise Refused("InvalidVersion")
        if signature != "anonymous":
            self.authenticate(claim_v3(request) if signature == "v3" else claim_v1(request))
        elif not self.anonymous:
            raise Refused("IncompleteSignature")
        for name in REQUIRED:
            if not sent.get(name):
                raise Refused(f"Missing{name}", f"{name} is mandatory for this action.")
        identity = tuple(sent.get(name, "") for name in IDENTITY.values())
        return self.redeem(sent["LoginToken"], identity)

    def attempt(self, request: Request, entry: dict[str, Any]) -> Answer:
        """Carry a request out, and note in its journal entry whether that was an exchange."""
        try:
            token = self.exchange(request, entry["signature"])
        except Refused as refusal:
            code, retry_after = refusal.code, refusal.retry_after
            return error(request, refusal.status, code, str(refusal), retry_after)
        entry.update(exchanged=True, issued=fingerprint(token)[:12])
        self.exchanges += 1
        return Answer(200, {"RequestId": request.id, "LoginToken": token})

    def next_fault(self) -> dict[str, Any]:
        """Take the next fault of the queue."""
        if not self.faults:
            return NO_FAULT
        fault = self.faults[0]
        if fault["count"] is not None:
            fault["count"] -= 1
            if not fault["count"]:
                self.faults.popleft()
        return fault

    def serve(self, request: Request) -> tuple[Answer, dict[str, Any]]:
        """Answer a request to the service, and say which fault the answer is to suffer."""
        fault, sent = self.next_fault(), request.parameters
        token = sent.get("LoginToken")
        entry = {
            "at": time.time(),
            "end_user_id": sent.get("EndUserId"),
            "client_id": sent.get("ClientId"),
            "method": request.method,
            "signature": signature_of(request),
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
        if fault.get("carried_out"):
            answer = self.attempt(request, entry)
        else:
            answer = Answer(200, {"RequestId": request.id, "LoginToken": new_token()})
        answer = distort(answer, request, fault)
        if fault["fault"] not in SILENT:
            code = answer.body.get("Code") if isinstance(answer.body, dict) else None
            entry.update(status=answer.status, code=code)
        return answer, fault

    def control(self, request: Request) -> Answer:
        """Answer a request to the controls."""
        handler = self.controls.get(f"{request.method} {request.path}")
        if handler is None:
            return Answer(404, {"error": "There is no such control: see GET /_emulator/."})
        try:
            payload = json.loads(request.body) if request.method == "POST" else None
            return Answer(200, handler(payload))
        except ValueError as problem:
            return Answer(400, {"error": str(problem)})

    def show_controls(self, _payload: Any) -> dict[str, Any]:
        """List the controls, and the faults with their parameters."""
        controls = {route: handler.__doc__ for route, handler in self.controls.items()}
        return {"controls": controls, "faults": FAULTS}

    def issue_tokens(self, payload: Any) -> Any:
        """Issue a first login token for an identity, or for each of a list."""
        identities = [read_identity(item) for item in as_list(payload)]
        tokens = [{"login_token": self.issue(identity)} for identity in identities]
        return tokens if isinstance(payload, list) else tokens[0]

    def show_journal(self, _payload: Any) -> dict[str, Any]:
        """Show how many requests and exchanges there were, and the newest 10,000 requests."""
        entries = list(self.entries)
        return {"requests": self.requests, "exchanges": self.exchanges, "entries": entries}

    def forget_journal(self, _payload: Any = None) -> dict[str, Any]:
        """Empty the journal and zero its counts."""
        self.requests = self.exchanges = 0
        self.entries: deque[dict[str, Any]] = deque(maxlen=10_000)
        return {}

    def queue_faults(self, payload: Any) -> dict[str, Any]:
        """Queue a fault, or each of a list, for the next requests; a skew counts at once."""
        for fault in [read_fault(item) for item in as_list(payload)]:
            if fault["fault"] == "skew":
                self.skew = fault["seconds"]
            else:
                self.faults.append(fault)
        return {"queued": len(self.faults)}

    def drop_faults(self, _payload: Any) -> dict[str, Any]:
        """Drop all faults and set the clock right."""
        self.faults.clear()
        self.skew = 0.0
        return {}

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while not writer.is_closing():
                request = await read_request(reader)
                if request.path.startswith("/_emulator/"):
                    answer, fault = self.control(request), NO_FAULT
                else:
                    answer, fault = self.serve(request)
                await deliver(writer, render(answer, self.clock(), request.keep_alive), fault)
                if not request.keep_alive:
                    break
        except Unreadable as problem:
            answer = Answer(problem.args[0], {"error": "This request cannot be read."})
            writer.write(render(answer, self.clock(), False))
        except (OSError, EOFError):
            pass  # the caller went away
        finally:
            writer.close()


def write_private(path: Path, text: str) -> None:
    """Write a file at once and for its owner only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(draft, "x", encoding="utf-8", opener=partial(os.open, mode=0o600)) as file:
        file.write(text)
    draft.replace(path)


def make_certificate() -> tuple[str, str]:
    """Make a certificate that vouches for itself, for a week, and its key."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        sys.exit("--tls needs the Python package cryptography.")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    addresses = [x509.IPAddress(ip_address(address)) for address in ("127.0.0.1", "::1")]
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses])
    now, number = datetime.now(timezone.utc), x509.random_serial_number()
    draft = x509.CertificateBuilder(name, name, key.public_key(), number, now, now + timedelta(7))
    certificate = draft.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    clear = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem).decode(), key.private_bytes(pem, *clear).decode()


def make_tls_context(certificate_file: Path) -> ssl.SSLContext:
    """Make what the server needs for TLS, leaving the certificate but not its key on disk."""
    certificate, key = make_certificate()
    key_file = certificate_file.with_suffix(".key")
    write_private(certificate_file, certificate)
    write_private(key_file, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    key_file.unlink()
    return context


async def run(options: argparse.Namespace, ca_path: Path | None) -> None:
    """Serve until a signal says stop."""
    emulator = Emulator(options.validity, options.rotate, options.qps, options.anonymous == "allow")
    context = make_tls_context(ca_path) if ca_path else None
    server = await asyncio.start_server(
        emulator.converse, "127.0.0.1", options.port, limit=MAX_HEAD, backlog=1024, ssl=context
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    security_token = secrets.token_urlsafe(96)
    port = server.sockets[0].getsockname()[1]
    ready = {
        "url": f"{'https' if ca_path else 'http'}://127.0.0.1:{port}",
        "pid": os.getpid(),
        "ca_path": str(ca_path) if ca_path else None,
        **emulator.new_key("LTAI"),
        "sts": {**emulator.new_key("STS.", security_token), "security_token": security_token},
    }
    write_private(options.ready_file, json.dumps(ready))
    await stop.wait()
    server.close()
    options.ready_file.unlink(missing_ok=True)


def main() -> None:
    """Read the command line, serve, and clean up."""
    parser = argparse.ArgumentParser(description="Serve RefreshLoginToken on 127.0.0.1.")
    add = parser.add_argument
    add("--port", type=int, default=0, help="0, the default, takes a free one")
    add("--ready-file", type=Path, required=True, help="to write, when ready: URL, credentials")
    add("--tls", action="store_true", help="serve HTTPS, the certificate beside the ready file")
    add("--validity", type=float, default=900, help="seconds that a login token lives (900)")
    add("--rotate", action="store_true", help="let a login token die when it is exchanged")
    add("--qps", type=float, default=0, help="requests a second above which to throttle")
    add("--anonymous", choices=("allow", "deny"), default="allow", help="serve unsigned requests?")
    options = parser.parse_args()
    options.ready_file = options.ready_file.absolute()
    ca_path = options.ready_file.with_suffix(".ca.pem") if options.tls else None
    try:
        asyncio.run(run(options, ca_path))
    except OSError as problem:
        sys.exit(f"The emulator cannot serve: {problem}")
    finally:
        if ca_path:
            ca_path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
