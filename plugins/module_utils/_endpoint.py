# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this file is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Endpoints: the URLs that tokens are sent to."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from ._errors import OptionError

_REGION = re.compile(r"[a-z0-9-]+")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def default_endpoint(region_id: str) -> str:
    """Return the endpoint of a region. Raises :class:`OptionError` where ``region_id`` is no part of a host name."""
    if not _REGION.fullmatch(region_id):
        raise OptionError(
            "region_id must consist of lower-case letters, digits and hyphens only, such as cn-hangzhou."
        )
    return f"https://ecd.{region_id}.aliyuncs.com"


def parse_endpoint(text: str) -> str:
    """Return an endpoint normalised to scheme, host and, where it is not the scheme's own, port.

    Raises :class:`OptionError` where it has anything else, or sends tokens in the clear to another host.
    """
    try:
        parts = urlsplit(text)
        port, host = parts.port, (parts.hostname or "").lower()
    except ValueError:
        raise OptionError(
            "endpoint must be a URL such as https://ecd.cn-hangzhou.aliyuncs.com."
        ) from None
    if parts.scheme not in ("https", "http") or text != text.strip() or not text.isprintable():
        raise OptionError("endpoint must begin with https:// and name a host.")
    if "@" in parts.netloc:
        raise OptionError("endpoint must have no user name or password in it.")
    if parts.path not in ("", "/") or "?" in text or "#" in text:
        raise OptionError("endpoint must have no path, query or fragment.")
    if port == 0 or parts.netloc.endswith(":") or not (_HOST.fullmatch(host) or _is_ipv6(host)):
        raise OptionError(
            "endpoint must name a host by ASCII letters, digits, dots and hyphens, or by its address."
        )
    name = f"[{host}]" if ":" in host else host
    if port is not None and port != {"https": 443, "http": 80}[parts.scheme]:
        name = f"{name}:{port}"
    endpoint = f"{parts.scheme}://{name}"
    if parts.scheme == "http" and not is_loopback(endpoint):
        raise OptionError(
            "endpoint must begin with https://; plain http is for loopback addresses only."
        )
    return endpoint


def host_of(endpoint: str) -> str:
    """Return what the ``Host`` header of a request to an endpoint says."""
    return endpoint.partition("://")[2]


def is_loopback(endpoint: str) -> bool:
    """Say whether an endpoint is on this very host, by its name or address."""
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return "%" not in host
