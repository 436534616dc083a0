# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sign requests to Alibaba Cloud's RPC services, with signature V1 or V3.

The functions do no I/O and use neither a clock nor random numbers: the caller passes the time stamp and the nonce.
This file is public. Other collections may import it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import typing as t
from urllib.parse import quote

from ._model.encoding import format_timestamp

V3_ALGORITHM = "ACS3-HMAC-SHA256"

_is_unreserved = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch


class Credentials(t.NamedTuple):
    """An access key pair, with a security token if it is a temporary pair from STS."""

    access_key_id: str
    access_key_secret: str
    security_token: str | None = None

    def __repr__(self) -> str:
        return "Credentials(...)"


class SignedRequest(t.NamedTuple):
    """The query (percent-encoded, without ``?``), headers and body of a signed request."""

    query: str
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        return "SignedRequest(...)"


def sign_v1(
    action: str,
    version: str,
    parameters: t.Mapping[str, str],
    credentials: Credentials | None,
    timestamp: float,
    nonce: str,
    *,
    method: str = "POST",
    form: t.Mapping[str, str] | None = None,
) -> SignedRequest:
    """Sign a request with ``HMAC-SHA1``. The parameters and the signature are in the query, ``form`` in the body.

    ``timestamp`` is in seconds since 1970 (UTC). Without ``credentials`` the request is anonymous, which means that it
    has no key and no signature. ``parameters`` may override ``Format``.
    Follows "Request syntax and signature method V2" of Alibaba Cloud's SDK documentation (``SignatureVersion`` 1.0).
    """
    form = form or {}
    query = {
        "Format": "json",
        **parameters,
        "Action": action,
        "Version": version,
        "Timestamp": format_timestamp(timestamp),
        "SignatureNonce": nonce,
    }
    if credentials is not None:
        query["SignatureMethod"] = "HMAC-SHA1"
        query["SignatureVersion"] = "1.0"
        query["AccessKeyId"] = credentials.access_key_id
        if credentials.security_token:
            query["SecurityToken"] = credentials.security_token
        query["Signature"] = v1_signature(method, {**query, **form}, credentials.access_key_secret)
    headers = {"content-type": "application/x-www-form-urlencoded"} if form else {}
    return SignedRequest(_encode_query(query), headers, _encode_query(form).encode("ascii"))


def sign_v3(
    action: str,
    version: str,
    parameters: t.Mapping[str, str],
    credentials: Credentials | None,
    timestamp: float,
    nonce: str,
    *,
    host: str,
    method: str = "POST",
    body: bytes = b"",
    content_type: str | None = None,
) -> SignedRequest:
    """Sign a request with ``ACS3-HMAC-SHA256``. The parameters are in the query, the signature in the headers.

    ``timestamp`` is in seconds since 1970 (UTC). ``host`` is the ``Host`` header, which includes the port unless it is
    the scheme's default. Without ``credentials`` the request is anonymous: it has no ``Authorization`` header.
    Follows "V3 request structure and signature" of Alibaba Cloud's SDK documentation.
    """
    headers = {
        "host": host,
        "x-acs-action": action,
        "x-acs-version": version,
        "x-acs-date": format_timestamp(timestamp),
        "x-acs-signature-nonce": nonce,
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
    }
    if content_type is not None:
        headers["content-type"] = content_type
    if credentials is not None:
        if credentials.security_token:
            headers["x-acs-accesskey-id"] = credentials.access_key_id
            headers["x-acs-security-token"] = credentials.security_token
        signature = v3_signature(method, parameters, headers, credentials.access_key_secret)
        headers["authorization"] = (
            f"{V3_ALGORITHM} Credential={credentials.access_key_id},"
            f"SignedHeaders={';'.join(sorted(headers))},Signature={signature}"
        )
    return SignedRequest(_encode_query(parameters), headers, body)


def v1_signature(method: str, parameters: t.Mapping[str, str], access_key_secret: str) -> str:
    """Return the V1 signature, in base64, of all ``parameters`` of a request, including those of a form body."""
    parameters = {name: value for name, value in parameters.items() if name != "Signature"}
    # Only these three characters change when the encoded query is encoded once more.
    query = _encode_query(parameters).replace("%", "%25").replace("&", "%26").replace("=", "%3D")
    string_to_sign = f"{method}&%2F&{query}"
    return base64.b64encode(_hmac(access_key_secret + "&", string_to_sign, "sha1")).decode("ascii")


def v3_signature(
    method: str, parameters: t.Mapping[str, str], headers: t.Mapping[str, str], access_key_secret: str
) -> str:
    """Return the V3 signature, in lowercase hex, of a request.

    ``headers`` are the headers to sign, with lowercase names, including ``x-acs-content-sha256`` (the hash of the body).
    Like the official signers, this percent-encodes the values of ``parameters`` but not their names.
    """
    query = "&".join([f"{name}={_encode(value)}" for name, value in sorted(parameters.items())])
    names = sorted(headers)
    lines = "".join([f"{name}:{headers[name].strip()}\n" for name in names])
    body_hash = headers["x-acs-content-sha256"]
    canonical_request = f"{method}\n/\n{query}\n{lines}\n{';'.join(names)}\n{body_hash}"
    request_hash = hashlib.sha256(canonical_request.encode("utf-8")).hexdigest()
    return _hmac(access_key_secret, f"{V3_ALGORITHM}\n{request_hash}", "sha256").hex()


def _encode(text: str) -> str:
    return text if _is_unreserved(text) else quote(text, safe="~")


def _encode_query(parameters: t.Mapping[str, str]) -> str:
    return "&".join([f"{_encode(name)}={_encode(value)}" for name, value in sorted(parameters.items())])


def _hmac(key: str, message: str, algorithm: str) -> bytes:
    return hmac.digest(key.encode("utf-8"), message.encode("utf-8"), algorithm)
