# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Endpoints: the URLs that tokens are sent to."""

from __future__ import annotations

import functools
import re
import socket

from .exceptions import OptionError

_REGION = re.compile(r"[a-z0-9-]+")


def _url(characters: str) -> re.Pattern[str]:
    """Return what a URL is that leads to a host and nowhere else, where its name may have these characters."""
    return re.compile(
        r"(?P<scheme>https?)://"
        rf"(?P<host>[a-z0-9]([{characters}]*[a-z0-9])?|\[[0-9a-f:]*:[0-9a-f:.]*\])"
        r"(:(?P<port>[1-9][0-9]{0,4}))?/?"
    )


_ENDPOINT = _url("a-z0-9.-")
_PROXY = _url("a-z0-9._-")  # names within a network often have underscores
_OCTET = r"(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
_LOOPBACK = re.compile(rf"localhost|127(\.{_OCTET}){{3}}|\[::1\]")
_LONGEST_HOST = 253
_PORTS = {"https": "443", "http": "80"}


def default_endpoint(region_id: str) -> str:
    """Return the endpoint of a region. Raises :class:`OptionError` where ``region_id`` is no part of a host name."""
    if not _REGION.fullmatch(region_id):
        raise OptionError(
            "region_id must consist of lower-case letters, digits and hyphens only, such as cn-hangzhou."
        )
    return f"https://ecd.{region_id}.aliyuncs.com"


def parse_endpoint(text: str) -> str:
    """Return an endpoint normalised to scheme, host and, where it is not the scheme's own, port.

    Raises :class:`OptionError` where it has anything else, or sends tokens in the clear to another host. One expression
    says all that an endpoint may be, so that no two readers of URLs can disagree about where it leads.
    """
    if "@" in text:
        raise OptionError("endpoint must have no user name or password in it.")
    match = _match(_ENDPOINT, text)
    if match is None:
        raise OptionError(
            "endpoint must be https://, a host by its name or address, and at most a port: "
            "no path, query or white space."
        )
    scheme, host, port = match["scheme"], match["host"], match["port"]
    if host.startswith("[") and not _is_ipv6(host[1:-1]):
        raise OptionError("endpoint must have an IPv6 address in its brackets.")
    if scheme == "http" and not _LOOPBACK.fullmatch(host):
        raise OptionError(
            "endpoint must begin with https://; plain http is for loopback addresses only."
        )
    return f"{scheme}://{host}" if port in (None, _PORTS[scheme]) else f"{scheme}://{host}:{port}"


def parse_proxy(text: str) -> str:
    """Return the URL of a proxy as it is. Raises :class:`OptionError` where it has anything but scheme, host and port."""
    if "@" in text:
        raise OptionError("proxy must have no user name or password in it.")
    match = _match(_PROXY, text)
    if match is None or (match["host"].startswith("[") and not _is_ipv6(match["host"][1:-1])):
        raise OptionError(
            "proxy must be a URL such as http://proxy.example.com:3128, with a host by its name or address, and at most a port."
        )
    if match["scheme"] == "https":
        raise OptionError("proxy must start with http://. https:// proxies are not supported.")
    return text


@functools.lru_cache(maxsize=64)
def is_endpoint(text: str) -> bool:
    """Say whether a text is an endpoint, normalised."""
    try:
        return parse_endpoint(text) == text
    except OptionError:
        return False


def host_of(endpoint: str) -> str:
    """Return what the ``Host`` header of a request to an endpoint says."""
    return endpoint.partition("://")[2]


def is_loopback(endpoint: str) -> bool:
    """Say whether an endpoint is on this very host, by its name or address."""
    match = _ENDPOINT.fullmatch(endpoint)
    return match is not None and _LOOPBACK.fullmatch(match["host"]) is not None


def _match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    match = pattern.fullmatch(text.lower()) if text.isascii() else None
    if match is None or int(match["port"] or 0) > 65535 or len(match["host"]) > _LONGEST_HOST:
        return None
    return match


def _is_ipv6(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, text)
    except OSError:
        return False
    return True
