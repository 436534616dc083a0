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
import fcntl
import os
import resource
import struct
import time
import zlib

from .two_slot_file import DIGITS, SECOND, SLOT_SIZE, SYNCED, SlotValue, TwoSlotFile

LEAST_SPACE = 8192
"""How many bytes of a slot are allocated at least. A record with a full lineage and its note usually need about 4,000."""
_HEAD_LENGTH = 64
"""How many bytes the checksum, the length, the counter and the newlines of a slot have at most."""
_GET_FLAGS, _SET_FLAGS, _NO_COPY = 0x80086601, 0x40086602, 0x00800000
"""FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and FS_NOCOW_FL of Linux."""
_BLOCK = 4096
"""The unit, in bytes, in which most file systems allocate space."""


class TwoSlotWriter(TwoSlotFile):
    """The slots of an open file. A writer must hold a lock since before it created this object."""

    def reserve(self, length: int) -> None:
        """Allocate the space for two writes of values that are up to ``length`` bytes long."""
        size = min(SLOT_SIZE, max(LEAST_SPACE, -(-(length + _HEAD_LENGTH) // _BLOCK) * _BLOCK))
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY and limit <= SLOT_SIZE + size:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if self._counter + 2 >= 10**DIGITS:
            raise OSError(errno.EOVERFLOW, os.strerror(errno.EOVERFLOW))
        status = os.fstat(self._file)
        if not status.st_size:
            _overwrite_in_place(self._file)
        # XFS may count blocks behind the end of the file.
        if status.st_blocks * 512 < 2 * size or not SLOT_SIZE + size <= status.st_size <= 2 * SLOT_SIZE:
            for index in (0, 1):
                self._allocate(index, size)

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
        self._sync()
        with contextlib.suppress(OSError):  # Without the mark, each reader syncs the file again.
            now = time.time_ns()
            os.utime(self._file, ns=(now, now - now % SECOND + SYNCED))
        self._counter, self.value = counter, value

    def _allocate(self, index: int, size: int) -> None:
        """Allocate space on the disk for a slot, without changing its content."""
        try:
            os.posix_fallocate(self._file, index * SLOT_SIZE, size)
        except (AttributeError, OSError) as error:
            if getattr(error, "errno", None) not in (None, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            # This system or file system cannot allocate. Only zeros follow the content of a slot, so they can be written again.
            length = self._read_slot(index).length
            _write(self._file, bytes(max(0, size - length)), index * SLOT_SIZE + length)


def _overwrite_in_place(file: int) -> None:
    """Turn off copy-on-write for a new file on Btrfs, where each write would otherwise need new space."""
    with contextlib.suppress(OSError):
        (flags,) = struct.unpack("l", fcntl.ioctl(file, _GET_FLAGS, bytes(struct.calcsize("l"))))
        fcntl.ioctl(file, _SET_FLAGS, struct.pack("l", flags | _NO_COPY))


def _write(file: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done:], offset + done)
