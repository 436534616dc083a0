# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the newest value from a file with two slots.

It is in the slot with the higher counter, unless the checksum of that is wrong. The file ``two_slot_writer.py`` says why there are two.
"""

from __future__ import annotations

import os
import re
import typing as t
import zlib

SLOT_SIZE = 65536
"""The size of a slot, and the offset of the second one. Unused space in it is not allocated."""
_FIRST_READ = 8192
"""How many bytes of a slot are read first. A record and its note are rarely longer."""
DIGITS = 18
"""The longest counter, in digits. No writer reaches it, but an edited file might."""
_HEAD = re.compile(rb"([0-9a-f]{8}) ([0-9]{1,5})\n([0-9]{1,%d})\n" % DIGITS)
"""The checksum and the length of what follows, and the first line of that: the counter."""

SECOND = 10**9
SYNCED = 1
"""The nanoseconds in the modification time of a file that was synced after its last write. A write sets the current time instead."""

_sync: t.Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class SlotValue(t.NamedTuple):
    """A session's record and note, each one line without its newline, or empty if there is none."""

    record: bytes = b""
    note: bytes = b""


class TwoSlotFile:
    """The slots of an open file. A writer must hold a lock since before it created this object."""

    def __init__(self, file: int) -> None:
        """Read the newest value of the file."""
        self._file = file
        self._counter = 0
        self.value = self._read()
        """The newest value: empty if none was ever written, None if neither slot is intact."""

    @property
    def older(self) -> SlotValue | None:
        """The value in the other slot, which the next write replaces: None if it is not intact."""
        slot = self._read_slot(1 - self._counter % 2)
        return slot.value if slot.length else SlotValue()

    def sync(self) -> None:
        """Make the value that was read durable. Its writer may still be about to do so, or was killed before it could."""
        if os.fstat(self._file).st_mtime_ns % SECOND != SYNCED:
            self._sync()

    def _sync(self) -> None:
        _sync(self._file)

    def _read(self) -> SlotValue | None:
        # A reader without a lock can find a slot half-written, but then the next attempt finds the new value.
        for _attempt in range(2):
            starts = [self._read_start(index) for index in (0, 1)]
            # The slot with the higher counter is enough if it is intact.
            newer = int(_claimed_counter(starts[1]) > _claimed_counter(starts[0]))
            for index in (newer, 1 - newer):
                slot = self._read_slot(index, starts[index])
                if slot.value is not None:
                    self._counter = slot.counter
                    return slot.value
            if not self._read_slot(0).length:  # The first write goes to slot 1 and was interrupted.
                return SlotValue()
        return None

    def _read_start(self, index: int) -> bytes:
        return os.pread(self._file, _FIRST_READ, index * SLOT_SIZE)

    def _read_slot(self, index: int, start: bytes | None = None) -> _Slot:
        data = self._read_start(index) if start is None else start
        slot = _load(data)
        if slot.value is None and len(data) == _FIRST_READ:
            slot = _load(os.pread(self._file, SLOT_SIZE, index * SLOT_SIZE))
        return slot if slot.counter % 2 == index else slot._replace(value=None)


class _Slot(t.NamedTuple):
    """The content of a slot and its length. The value is None if the slot is not intact."""

    counter: int
    value: SlotValue | None
    length: int


def _claimed_counter(slot: bytes) -> int:
    match = _HEAD.match(slot)
    return int(match[3]) if match else 0


def _load(slot: bytes) -> _Slot:
    match = _HEAD.match(slot)
    if match:
        start = match.start(3)
        data = slot[start : start + int(match[2])]
        if zlib.crc32(data) == int(match[1], 16) and data.count(b"\n") == 3:
            _counter, record, note, _end = data.split(b"\n")
            return _Slot(int(match[3]), SlotValue(record, note), start + len(data))
    return _Slot(0, None, len(slot.rstrip(b"\0")))
