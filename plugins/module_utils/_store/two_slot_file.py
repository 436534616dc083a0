# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file of two pages that holds one value: it is replaced whole, durably, and in place.

Each write goes to the page of the older value, with a number one higher and a checksum. So whatever ends a write, the
newest page that is whole holds the value from before it or the one from after it. Nothing is created, removed or
renamed, and no space is taken: the two costs of a file that replaces another, and the two ways in which it can fail.
"""

from __future__ import annotations

import errno
import os
import re
import typing as t
import zlib

SLOT_SIZE = 65536
"""Where the second page begins, and how long a page may be. Space that is not used is not taken."""
GROWTH = 12288
"""By how many bytes a value may grow in a write for which space was reserved: by a token, and a note."""
HEADROOM = 16384
"""How many bytes are taken beyond a value where space is reserved, so that it need not be done each time."""

_USUAL = 8192
"""How many bytes of a page are read at first: a record with its note is hardly ever longer."""
_DIGITS = 18
"""How long a page's number may be: no writer gets there, but a hand might."""

_NUMBER = re.compile(rb"[^\n]*\n([0-9]{1,%d})\n" % _DIGITS)

_sync: t.Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class SlotValue(t.NamedTuple):
    """A session's record and the note of its exchange, a line each; empty where there is none."""

    record: bytes = b""
    note: bytes = b""


class TwoSlotFile:
    """The two pages of an open file. Who writes holds a lock since before they were opened."""

    def __init__(self, file: int) -> None:
        """Read the file's newest value."""
        self._file = file
        self._number = 0
        self.value = self._read()
        """An empty one where none was ever written, None where neither page is whole."""

    @property
    def older(self) -> SlotValue | None:
        """What the other page still holds, which the next write replaces: None where it is there and not whole."""
        slot = self._slot(1 - self._number % 2)
        return slot.value if slot.length else SlotValue()

    def reserve(self) -> None:
        """Have the space allocated for two writes of values that are up to :data:`GROWTH` bytes longer than this one."""
        import resource  # here, since only an exchange needs it

        length = sum(map(len, self.value or ()))
        needed = min(SLOT_SIZE, length + GROWTH)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY and limit < SLOT_SIZE + needed:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if self._number + 2 >= 10**_DIGITS:
            raise OSError(errno.EOVERFLOW, os.strerror(errno.EOVERFLOW))
        status = os.fstat(self._file)
        if status.st_blocks * 512 < 2 * needed or status.st_size > 2 * SLOT_SIZE:
            for place in (0, 1):
                _allocate(self._file, place * SLOT_SIZE, min(SLOT_SIZE, length + HEADROOM))

    def write(self, value: SlotValue) -> None:
        """Replace the value, durably."""
        number = self._number + 1
        place = number % 2
        data = _dump(number, value)
        if len(data) > SLOT_SIZE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        # What was longer leaves nothing behind, nor does a write that fails halfway.
        data = data.ljust(self._slot(place).length, b"\0")
        _write(self._file, data, place * SLOT_SIZE)
        _sync(self._file)
        self._number, self.value = number, value

    def _read(self) -> SlotValue | None:
        # Who reads without a lock may meet a write in either page, but not twice.
        for _time in range(2):
            starts = [self._start(place) for place in (0, 1)]
            # A page that is whole has the number that it claims: where the newer one is, the older is not looked at.
            newer = int(_claimed_number(starts[1]) > _claimed_number(starts[0]))
            slots: dict[int, _Slot] = {}
            for place in (newer, 1 - newer):
                slot = slots[place] = self._slot(place, starts[place])
                if slot.value is not None:
                    self._number = slot.number
                    return slot.value
            if not slots[0].length:  # The first write goes to the second page: it has not ended.
                return SlotValue()
        return None

    def _start(self, place: int) -> bytes:
        return os.pread(self._file, _USUAL, place * SLOT_SIZE)

    def _slot(self, place: int, start: bytes | None = None) -> _Slot:
        data = self._start(place) if start is None else start
        slot = _load(data)
        if slot.value is None and len(data) == _USUAL:
            slot = _load(
                data + os.pread(self._file, SLOT_SIZE - _USUAL, place * SLOT_SIZE + _USUAL)
            )
        return slot if slot.number % 2 == place else slot._replace(value=None)


class _Slot(t.NamedTuple):
    """What a page holds, and how long it is. It has no value where it is not whole."""

    number: int
    value: SlotValue | None
    length: int


def _dump(number: int, value: SlotValue) -> bytes:
    data = b"%d\n%s\n%s\n" % (number, value.record, value.note)
    return b"%08x %d\n%s" % (zlib.crc32(data), len(data), data)


def _claimed_number(slot: bytes) -> int:
    match = _NUMBER.match(slot)
    return int(match[1]) if match else 0


def _load(slot: bytes) -> _Slot:
    head, _newline, rest = slot.partition(b"\n")
    checksum, _space, length = head.partition(b" ")
    try:
        data = rest[: int(length)]
        if checksum == b"%08x" % zlib.crc32(data):
            number, record, note, _end = data.split(b"\n")
            if number.isdigit() and len(number) <= _DIGITS:
                return _Slot(int(number), SlotValue(record, note), len(head) + 1 + len(data))
    except ValueError:
        pass
    return _Slot(0, None, len(slot.rstrip(b"\0")))


def _write(file: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done:], offset + done)


def _allocate(file: int, offset: int, size: int) -> None:
    """Have bytes allocated on the disk for a file, without changing what it holds."""
    try:
        os.posix_fallocate(file, offset, size)
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", None) not in (None, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        start = max(offset, os.fstat(file).st_size)
        _write(file, bytes(max(0, offset + size - start)), start)
