# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the two-slot file: an interrupted write leaves either the old value or the new one."""

from __future__ import annotations

import contextlib
import os
import random
import typing as t
import zlib
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._store import two_slot_file
from ansible_collections.wuying.workspace.plugins.module_utils._store.two_slot_file import SLOT_SIZE, SlotValue
from ansible_collections.wuying.workspace.plugins.module_utils._store.two_slot_writer import LEAST_SPACE, TwoSlotWriter

EMPTY = SlotValue()


@pytest.fixture(name="path")
def fixture_path(tmp_path: Path) -> Path:
    """Return an empty file."""
    path = tmp_path / "file"
    path.touch()
    return path


@contextlib.contextmanager
def opened(path: Path) -> t.Iterator[TwoSlotWriter]:
    """Open a two-slot file."""
    file = os.open(path, os.O_RDWR)
    try:
        yield TwoSlotWriter(file)
    finally:
        os.close(file)


def value_of(path: Path) -> SlotValue | None:
    """Open a file and return its value."""
    with opened(path) as slots:
        return slots.value


def numbered(number: int, length: int = 10) -> SlotValue:
    """Return a value that contains a number."""
    return SlotValue(b"record %d " % number + b"r" * length, b"note %d" % number)


def test_a_new_file_has_an_empty_value(path: Path) -> None:
    assert value_of(path) == EMPTY
    with opened(path) as slots:
        slots.reserve(1)
    assert value_of(path) == EMPTY


@pytest.mark.parametrize(
    "value",
    [
        EMPTY,
        SlotValue(b"record"),
        SlotValue(note=b"note"),
        SlotValue(b"record", b"note"),
        SlotValue(b"\0" * 9),
    ],
    ids=["nothing", "record", "note", "both", "zeros"],
)
def test_the_value_written_last_is_read(path: Path, value: SlotValue) -> None:
    with opened(path) as slots:
        for number in range(5):
            slots.write(numbered(number))
        slots.write(value)
        assert slots.value == value
    assert value_of(path) == value


@pytest.mark.parametrize("length", [1, LEAST_SPACE - 100, LEAST_SPACE, LEAST_SPACE + 1, SLOT_SIZE - 100])
def test_a_value_can_fill_a_slot(path: Path, length: int) -> None:
    with opened(path) as slots:
        for number in range(3):
            slots.write(numbered(number, length))
            assert value_of(path) == numbered(number, length)


def test_a_value_that_is_too_long_is_an_error_and_changes_nothing(path: Path) -> None:
    with opened(path) as slots:
        slots.write(numbered(1))
        before = path.read_bytes()
        with pytest.raises(OSError, match="too large"):
            slots.write(SlotValue(b"r" * SLOT_SIZE))
        assert slots.value == numbered(1)
    assert path.read_bytes() == before


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("how", ["from the beginning", "to the end", "blocks", "bytes"])
def test_a_torn_write_leaves_the_old_value_or_the_new_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, how: str, seed: int
) -> None:
    generator = random.Random(seed)
    with opened(path) as slots:
        for number in range(generator.randint(1, 3)):
            slots.write(numbered(number, generator.randint(0, 9000)))
        before, after = slots.value, numbered(99, generator.randint(0, 9000))
        pwrite = os.pwrite

        def torn(file: int, data: bytes, offset: int) -> t.NoReturn:
            there = os.pread(file, len(data), offset).ljust(len(data), b"\0")
            pwrite(file, mixed(there, data, how, generator), offset)
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "pwrite", torn)
        with pytest.raises(KeyboardInterrupt):
            slots.write(after)
    assert value_of(path) in (before, after)


def mixed(old: bytes, new: bytes, how: str, generator: random.Random) -> bytes:
    """Return a mixture of old and new data, as after an interrupted write."""
    middle = generator.randint(0, len(new))
    if how == "from the beginning":
        return new[:middle] + old[middle:]
    if how == "to the end":
        return old[:middle] + new[middle:]
    size = 512 if how == "blocks" else 1
    return b"".join(generator.choice((old, new))[start : start + size] for start in range(0, len(new), size))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("how", ["from the beginning", "to the end", "blocks", "bytes"])
def test_a_file_whose_first_write_was_torn_is_empty(path: Path, how: str, seed: int) -> None:
    with opened(path) as slots:
        slots.reserve(1)
        slots.write(numbered(1, 3000))
        data = path.read_bytes()[SLOT_SIZE:]
    torn = mixed(bytes(len(data)), data, how, random.Random(seed))
    path.write_bytes(bytes(SLOT_SIZE) + torn)
    assert value_of(path) in (EMPTY, numbered(1, 3000))
    with opened(path) as slots:
        slots.write(numbered(2))
    assert value_of(path) == numbered(2)


@pytest.mark.parametrize(
    "counter",
    [b"-1", b"+1", b" 1", b"1_1", b"", b"x", b"1" * 19, b"1" * 5000, "١".encode()],
    ids=["negative", "sign", "space", "underscore", "none", "letter", "large", "huge", "Arabic"],
)
def test_a_slot_with_an_invalid_counter_is_not_intact(path: Path, counter: bytes) -> None:
    data = counter + b"\nrecord\nnote\n"
    slot = b"%08x %d\n%s" % (zlib.crc32(data), len(data), data)
    path.write_bytes(slot.ljust(SLOT_SIZE, b"\0") + slot)
    assert value_of(path) is None


def test_the_highest_counter_is_an_error_before_a_write(path: Path) -> None:
    data = b"%d\nrecord\nnote\n" % (10**18 - 1)
    slot = b"%08x %d\n%s" % (zlib.crc32(data), len(data), data)
    path.write_bytes(bytes(SLOT_SIZE) + slot)
    with opened(path) as slots, pytest.raises(OSError, match="too large"):
        slots.reserve(1)
    assert value_of(path) == (b"record", b"note")


def test_space_allocated_elsewhere_in_the_file_does_not_count(path: Path) -> None:
    with path.open("rb+") as file:
        file.seek(3 * SLOT_SIZE)
        file.write(b"x" * 4 * SLOT_SIZE)
    before = path.stat().st_blocks
    with opened(path) as slots:
        slots.reserve(1)
    assert (path.stat().st_blocks - before) * 512 >= 2 * LEAST_SPACE


def test_a_write_after_a_torn_one_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path) as slots:
        slots.write(numbered(1))

        def torn(file: int, data: bytes, offset: int) -> int:
            monkeypatch.undo()
            os.pwrite(file, data[:20], offset)
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "pwrite", torn)
        with pytest.raises(OSError, match="Input/output"):
            slots.write(numbered(2))
        assert slots.value == numbered(1)
        slots.write(numbered(3))
    assert value_of(path) == numbered(3)


def test_slots_in_the_wrong_places_are_not_intact(path: Path) -> None:
    with opened(path) as slots:
        slots.write(numbered(1))
        slots.write(numbered(2))
    data = path.read_bytes()
    path.write_bytes(data[SLOT_SIZE:].ljust(SLOT_SIZE, b"\0") + data[:SLOT_SIZE])
    assert value_of(path) is None


@pytest.mark.parametrize("damage", [b"{", b"\xff" * 10, b"\n" * 10, b"00000000 0\n", b"x" * 200000])
def test_other_content_is_not_a_value(path: Path, damage: bytes) -> None:
    path.write_bytes(damage)
    assert value_of(path) is None


def test_a_shorter_value_overwrites_a_longer_one_completely(path: Path) -> None:
    with opened(path) as slots:
        for _slot in range(2):
            slots.write(SlotValue(b"secret" * 500))
        for _slot in range(2):
            slots.write(SlotValue(b"short"))
    assert b"secret" not in path.read_bytes()


def test_a_shorter_value_overwrites_a_longer_torn_one_completely(path: Path) -> None:
    with opened(path) as slots:
        for _slot in range(2):
            slots.write(SlotValue(b"secret" * 500))
    with path.open("rb+") as file:
        file.write(b"torn")
    for _slot in range(2):
        with opened(path) as slots:
            slots.write(SlotValue(b"short"))
    assert b"secret" not in path.read_bytes()


def assert_values(path: Path, slots: TwoSlotWriter, value: SlotValue, older: SlotValue | None) -> None:
    """Check the values of both slots, for the writer and for a new reader."""
    with opened(path) as again:
        for each in (slots, again):
            assert each.value == value
            assert each.older == older


def test_the_value_in_the_other_slot_is_returned_as_older(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite

    def torn(file: int, data: bytes, offset: int) -> t.NoReturn:
        pwrite(file, data[:9], offset)
        raise KeyboardInterrupt

    with opened(path) as slots:
        assert_values(path, slots, EMPTY, EMPTY)
        slots.reserve(1)
        slots.write(numbered(1))
        assert_values(path, slots, numbered(1), EMPTY)
        slots.write(numbered(2))
        assert_values(path, slots, numbered(2), numbered(1))
        monkeypatch.setattr(os, "pwrite", torn)
        with pytest.raises(KeyboardInterrupt):
            slots.write(numbered(3))
        assert_values(path, slots, numbered(2), None)


def test_the_reserved_space_is_enough_for_two_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path) as slots:
        slots.write(numbered(1, 5000))
        slots.reserve(15000)
        before = path.stat().st_blocks
        for number in (2, 3):
            slots.write(numbered(number, 14900))
        assert path.stat().st_blocks == before
        monkeypatch.delattr(os, "posix_fallocate")
        slots.reserve(30000)
        assert path.stat().st_blocks >= before + 2 * 12000 // 512


def test_without_posix_fallocate_zeros_are_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    with opened(path) as slots:
        slots.reserve(1)
        assert slots.value == EMPTY
        assert path.stat().st_blocks * 512 >= 2 * LEAST_SPACE
        slots.write(numbered(1))
        slots.reserve(1)
    assert value_of(path) == numbered(1)


def test_a_write_is_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(two_slot_file, "_sync", lambda _file: synced.append(path.read_bytes()))
    with opened(path) as slots:
        slots.write(numbered(1))
    assert [b"record 1" in data for data in synced] == [True]
