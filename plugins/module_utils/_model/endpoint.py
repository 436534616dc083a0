# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse endpoints, the URLs that tokens are sent to, and the URLs of proxies."""

from __future__ import annotations

import functools
import re
import socket

from .exceptions import OptionError

_REGION = r"[a-z0-9-]+"
_REGION_WITH_ENDPOINT = r"[a-z]{2}(-[a-z0-9]+)+"
"""Matches the regions with a default endpoint. Names such as ``ecd.oss-cn-hangzhou.aliyuncs.com`` can belong to other people."""
# Underscores are for proxies: names within a network often have them.
_URL = (
    r"(?P<scheme>https?)://"
    r"(?P<host>[a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:]*:[0-9a-f:.]*\])"
    r"(:(?P<port>[1-9][0-9]{0,4}))?/?"
)
_OCTET = r"(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
_LOOPBACK = rf"https?://(localhost|127(\.{_OCTET}){{3}}|\[::1\])(:[0-9]+)?/?"
_LONGEST_HOST = 253
LOGIN_NEEDS_TLS = "validate_certs=false allows logins at loopback endpoints only. Remove it, and set ca_path to the CA of the endpoint."
_PORTS = {"https": "443", "http": "80"}


def check_region(region_id: str) -> None:
    """Raise :class:`OptionError` if ``region_id`` cannot be a region."""
    if not re.fullmatch(_REGION, region_id):
        raise OptionError("region_id must consist of lowercase letters, digits and hyphens, such as cn-hangzhou.")


def default_endpoint(region_id: str) -> str:
    """Return the endpoint of a region. Raises :class:`OptionError` if ``region_id`` does not look like a region of Alibaba Cloud."""
    check_region(region_id)
    if not re.fullmatch(_REGION_WITH_ENDPOINT, region_id):
        raise OptionError(
            "region_id must have two letters before its first hyphen, such as cn-hangzhou, unless endpoint is set, too."
        )
    return f"https://ecd.{region_id}.aliyuncs.com"


def parse_endpoint(text: str) -> str:
    """Return an endpoint normalized to scheme, host and, unless it is the scheme's default, port.

    Raises :class:`OptionError` if it has any other part, or would send tokens unencrypted to another host. One pattern
    covers the whole URL, so that no other parser can read a different host in it.
    """
    match = _match("endpoint", text)
    if match is None or "_" in match["host"]:
        raise OptionError(
            "endpoint must consist of https://, a host name or IP address, and optionally a port. "
            "It must not contain a path, a query or white space."
        )
    scheme, host, port = match["scheme"], match["host"], match["port"]
    if not _has_valid_address(host):
        raise OptionError("endpoint must contain a valid IPv6 address in its brackets.")
    if scheme == "http" and not is_loopback(match[0]):
        raise OptionError("endpoint must start with https://. Plain http is allowed for loopback addresses only.")
    return f"{scheme}://{host}" if port in (None, _PORTS[scheme]) else f"{scheme}://{host}:{port}"


def parse_proxy(text: str) -> str:
    """Return the URL of a proxy unchanged. Raises :class:`OptionError` if it has more than a scheme, host and port."""
    match = _match("proxy", text)
    if match is None or match["scheme"] != "http" or not _has_valid_address(match["host"]):
        raise OptionError(
            "proxy must consist of http://, a host name or IP address, and optionally a port, such as http://proxy.example.com:3128. "
            "https:// proxies are not supported."
        )
    return text


@functools.lru_cache(maxsize=64)
def is_endpoint(text: str) -> bool:
    """Return True if a text is a normalized endpoint."""
    try:
        return parse_endpoint(text) == text
    except OptionError:
        return False


def host_of(endpoint: str) -> str:
    """Return the ``Host`` header of requests to an endpoint."""
    return endpoint.partition("://")[2]


def is_loopback(endpoint: str) -> bool:
    """Return True if an endpoint is a loopback address."""
    return re.fullmatch(_LOOPBACK, endpoint) is not None


def is_default_or_loopback(endpoint: str, region_id: str) -> bool:
    """Return True if an endpoint is that of its region, or a loopback address."""
    return is_loopback(endpoint) or (
        re.fullmatch(_REGION_WITH_ENDPOINT, region_id) is not None and endpoint == default_endpoint(region_id)
    )


def _match(option: str, text: str) -> re.Match[str] | None:
    if "@" in text:
        raise OptionError(f"{option} must not contain a user name or password.")
    match = re.fullmatch(_URL, text.lower()) if text.isascii() else None
    if match is None or int(match["port"] or 0) > 65535 or len(match["host"]) > _LONGEST_HOST:
        return None
    return match


def _has_valid_address(host: str) -> bool:
    try:
        if host.startswith("["):
            socket.inet_pton(socket.AF_INET6, host[1:-1])
    except OSError:
        return False
    return True
