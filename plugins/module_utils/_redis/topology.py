# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the server that stores a session: a single one, the primary that Sentinels name, or a node of a cluster.

The library's own clients for Sentinels and clusters differ between versions, know no deadline, and trust every reply.
"""

from __future__ import annotations

import binascii
import re
import threading
import typing as t

from .address import CLUSTER, SENTINEL, SERVER, SOCKET, Address, Host, name_of
from .failures import UnexpectedReply, explain
from .sockets import current_limit, remaining

SLOTS = 16384
_MOST_NODES = 1000
"""How many nodes of a cluster store sessions. Redis recommends no more."""
"""The number of slots of a cluster. Each key belongs to one of them, and each slot to a node."""
_HOST = re.compile(rb"[A-Za-z0-9._:-]{1,253}")
_DOWN = {b"s_down", b"o_down"}

Owners = t.List[t.Optional[Host]]
"""The server of each slot, None if it has none. A list of one server stands for all slots."""


class NoPrimary(Exception):
    """Sentinels know the primary, but it does not work."""


class NoNode(Exception):
    """No node of the cluster serves the slot."""


def slot_of(key: str) -> int:
    """Return the slot of a session in a cluster."""
    return binascii.crc_hqx(key.encode("ascii"), 0) % SLOTS


class Topology:
    """Knows which server stores which session. Safe to share between threads."""

    def __init__(self, address: Address, ask: t.Callable[..., t.Any], facts: tuple[str, ...]) -> None:
        """``ask`` sends a command to a host that is a Sentinel or a node of a cluster, and returns the reply."""
        self._address = address
        self._ask = ask
        self._facts = ("sentinels", *facts) if address.kind == SENTINEL else facts
        self._lock = threading.Lock()
        self._hosts = list(address.hosts)
        """The hosts that may know the servers, the most reliable ones first."""
        self._owners: Owners = [None]
        if address.kind == SERVER:
            self._owners = [*address.hosts]
        elif address.kind == SOCKET:
            self._owners = [(address.path or "", 0)]
        self.servers = {str(address): 0}
        """One slot of each server that stores sessions, by its name in messages."""
        self._is_known = address.kind not in (CLUSTER, SENTINEL)

    def owners(self) -> Owners:
        """Return the server of each slot. Ask for them if they are not known."""
        if not self._is_known:
            if not self._lock.acquire(timeout=remaining(current_limit().end_of_step())):
                raise TimeoutError
            try:
                if not self._is_known:
                    self._find()
            finally:
                self._lock.release()
        return self._owners

    def owner(self, slot: int) -> Host:
        """Return the server of a slot."""
        owners = self.owners()
        owner = owners[slot % len(owners)]
        if owner is None:
            raise NoNode
        return owner

    def server(self, slot: int | None) -> str:
        """Return the name of a slot's server in messages. Without a slot, or until it is known, that is the address."""
        if slot is None or len(self._owners) == 1:
            return str(self._address)
        owner = self._owners[slot]
        return f"at {self._address}" if owner is None else name_of(owner)

    def forget(self, slot: int | None) -> None:
        """Ask again before the next command, because the server of a slot failed. Ask that server last."""
        if self._address.kind in (CLUSTER, SENTINEL):
            failed = None if slot is None else self._owners[slot % len(self._owners)]
            self._hosts = sorted(self._hosts, key=lambda host: host == failed)
            self._is_known = False

    def _find(self) -> None:
        failures = []
        for host in self._hosts:
            try:
                if self._address.kind == CLUSTER:
                    self._owners = self._read_slots(host)
                    slots = {owner: slot for slot, owner in enumerate(self._owners) if owner}
                    self._hosts = list(dict.fromkeys((host, *slots, *self._address.hosts)))
                    self.servers = {name_of(owner): slot for owner, slot in slots.items()}
                else:
                    self._owners = self._read_primary(host)
                self._is_known = True
                return
            except Exception as error:
                failures.append(explain(error, str(self._address), self._facts))
        # A failure that lasts tells more than one that may pass.
        raise next((each for each in failures if not each.retryable), failures[0])

    def _read_slots(self, host: Host) -> Owners:
        owners: Owners = [None] * SLOTS
        left = SLOTS
        for first, last, (name, port, *_id), *_replicas in self._ask(host, "CLUSTER", "SLOTS"):
            left -= last + 1 - first
            if not 0 <= first <= last < SLOTS or left < 0 or any(owners[first : last + 1]):
                raise UnexpectedReply
            if name != b"?":  # a host name that the node does not know
                owners[first : last + 1] = [_read_host(name or host[0].encode("ascii"), port)] * (last + 1 - first)
        if len(set(owners) - {None}) > _MOST_NODES:
            raise UnexpectedReply
        if not any(owners):
            raise NoNode
        return owners

    def _read_primary(self, host: Host) -> Owners:
        reply = self._ask(host, "SENTINEL", "MASTER", self._address.service)
        found = dict(zip(reply[::2], reply[1::2]))
        if _DOWN.intersection(found[b"flags"].split(b",")):
            raise NoPrimary
        return [_read_host(found[b"ip"], found[b"port"])]


def _read_host(name: bytes, port: t.Any) -> Host:
    if not _HOST.fullmatch(name) or not 0 < int(port) < 65536:
        raise UnexpectedReply
    return name.decode("ascii"), int(port)
