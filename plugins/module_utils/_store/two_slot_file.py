# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replace a value in place and durably, in a file with two slots.

Each write goes to the slot with the older value, with a higher counter and a checksum. If it is interrupted, the other
slot still holds the previous value. Replacing the file by a rename would need space for a second file, which a full disk
does not have after a token was spent. It would also sync twice: the file and its directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
import typing as t
import zlib

SLOT_SIZE = 65536
"""The size of a slot, and the offset of the second one. Unused space in it is not allocated."""
GROWTH = 16384
"""How many bytes longer a value may become in the writes that space is reserved for: two more tokens, and a note."""
HEADROOM = 20480
"""How many bytes are allocated beyond a value, so that most reservations have nothing to do."""
_FIRST_READ = 8192
"""How many bytes of a slot are read first. A record and its note are rarely longer."""
_DIGITS = 18
"""The longest counter, in digits. No writer reaches it, but an edited file might."""
_HEAD = re.compile(rb"([0-9a-f]{8}) ([0-9]{1,5})\n([0-9]{1,%d})\n" % _DIGITS)
"""The checksum and the length of what follows, and the first line of that: the counter."""

_SECOND = 10**9
_SYNCED = 1
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

    def reserve(self) -> None:
        """Allocate the space for two writes of values that are up to :data:`GROWTH` bytes longer than this one."""
        import resource  # here, because only a refresh needs it

        length = sum(map(len, self.value or ()))
        needed = min(SLOT_SIZE, length + GROWTH)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY and limit < SLOT_SIZE + needed:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if self._counter + 2 >= 10**_DIGITS:
            raise OSError(errno.EOVERFLOW, os.strerror(errno.EOVERFLOW))
        status = os.fstat(self._file)
        if status.st_blocks * 512 < 2 * needed or status.st_size > 2 * SLOT_SIZE:
            for offset in (0, SLOT_SIZE):
                _allocate(self._file, offset, min(SLOT_SIZE, length + HEADROOM))

    def sync(self) -> None:
        """Make the value that was read durable. Its writer may still be about to do so, or was killed before it could."""
        if os.fstat(self._file).st_mtime_ns % _SECOND != _SYNCED:
            _sync(self._file)

    def write(self, value: SlotValue) -> None:
        """Replace the value, durably."""
        counter = self._counter + 1
        index = counter % 2
        data = b"%d\n%s\n%s\n" % (counter, value.record, value.note)
        data = b"%08x %d\n%s" % (zlib.crc32(data), len(data), data)
        if len(data) > SLOT_SIZE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        # Zeros overwrite the rest of a longer value, even if that was written only in part.
        data = data.ljust(self._read_slot(index).length, b"\0")
        _write(self._file, data, index * SLOT_SIZE)
        _sync(self._file)
        with contextlib.suppress(OSError):  # Without the mark, each reader syncs the file again.
            now = time.time_ns()
            os.utime(self._file, ns=(now, now - now % _SECOND + _SYNCED))
        self._counter, self.value = counter, value

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


def _write(file: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done:], offset + done)


def _allocate(file: int, offset: int, size: int) -> None:
    """Allocate space on the disk for a part of a file, without changing its content."""
    try:
        os.posix_fallocate(file, offset, size)
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", None) not in (None, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        # This system or file system cannot allocate: write zeros after the end of the file.
        start = max(offset, os.fstat(file).st_size)
        _write(file, bytes(max(0, offset + size - start)), start)
