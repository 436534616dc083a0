# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test edited, replaced and malicious files: an error or a warning, and no token is lost or leaked."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import threading
import time
import typing as t
import zlib
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.fleet import (
    keep_all,
    read_stored,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    NO_RECORD,
    OptionError,
    StoreError,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import (
    Record,
    StoredState,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.store_options import (
    open_store,
)
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import (
    DirectoryStore,
)
from ansible_collections.wuying.workspace.plugins.module_utils._store.two_slot_file import SLOT_SIZE
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    SingleSession,
    file_of,
    put,
    read_file,
    write_file,
)

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


def slot_with(counter: bytes, record: bytes, note: bytes = b"") -> bytes:
    """Return a slot with any counter and a valid checksum."""
    data = counter + b"\n" + record.rstrip() + b"\n" + note + b"\n"
    return b"%08x %d\n%s" % (zlib.crc32(data), len(data), data)


def assert_hides(record: Record, *texts: str) -> None:
    """Check that no text contains a part of a record's token."""
    assert not [text for text in texts if record.login_token[:16] in text]


def assert_survives(single_session: SingleSession, record: Record) -> str:
    """Check that a request succeeds or fails, and that a new token then succeeds. Return how the request ended."""
    messages = single_session.warnings
    try:
        single_session.predict()
        end = "refreshed" if single_session.request().changed else "returned"
    except WuyingError as error:
        end = error.code
        messages.append(error.message)
    assert_hides(record, *messages)
    outcome = single_session.request(single_session.emulator.issue(), force=True)
    assert outcome.changed
    assert single_session.stored().record == outcome.record
    assert single_session.stored().note is None
    return end


# Files that were edited by hand


@pytest.mark.parametrize(
    "length",
    [
        0,
        1,
        8,
        9,
        12,
        13,
        14,
        15,
        100,
        500,
        SLOT_SIZE - 1,
        SLOT_SIZE,
        SLOT_SIZE + 1,
        SLOT_SIZE + 20,
        SLOT_SIZE + 400,
    ],
)
def test_a_truncated_file_is_set_aside_or_its_other_slot_is_used(
    single_session: SingleSession, store_path: Path, length: int
) -> None:
    record = single_session.have("current")
    file = file_of(store_path, single_session.session)
    os.truncate(file, length)
    assert_survives(single_session, record)
    aside = list(store_path.glob("*.damaged-*"))
    assert len(aside) == len([text for text in single_session.warnings if "was set aside" in text])
    assert {stat.S_IMODE(path.stat().st_mode) for path in store_path.iterdir()} == {0o600}


EDITS: dict[str, t.Callable[[bytes], bytes]] = {
    "binary": lambda data: bytes(range(256)) * 512,
    "zeros": lambda data: bytes(len(data)),
    "the newest slot damaged": lambda data: b"x" + data[1:],
    "the older slot damaged": lambda data: data[:SLOT_SIZE] + b"x" + data[SLOT_SIZE + 1 :],
    "both damaged": lambda data: data.replace(b'"', b"'"),
    "the newest slot twice": lambda data: data[:SLOT_SIZE] + data[:SLOT_SIZE],
    "the older slot twice": lambda data: data[SLOT_SIZE:].ljust(SLOT_SIZE, b"\0") + data[SLOT_SIZE:],
    "slots swapped": lambda data: data[SLOT_SIZE:].ljust(SLOT_SIZE, b"\0") + data[:SLOT_SIZE],
    "windows newlines": lambda data: data.replace(b"\n", b"\r\n"),
    "a text": lambda data: b"please do not edit\n",
    "no newline": lambda data: b"0" * 2 * SLOT_SIZE,
    "a length of a thousand digits": lambda data: b"00000000 " + b"9" * 1000 + b"\n",
    "a length below zero": lambda data: b"00000000 -1\n" + data,
    "a third slot": lambda data: data.ljust(2 * SLOT_SIZE, b"\0") + b"\xff" * SLOT_SIZE,
}


@pytest.mark.parametrize("edit", sorted(EDITS))
def test_an_edited_file_loses_no_later_token(single_session: SingleSession, store_path: Path, edit: str) -> None:
    record = single_session.have("current")
    file = file_of(store_path, single_session.session)
    file.write_bytes(EDITS[edit](file.read_bytes()))
    assert_survives(single_session, record)


@pytest.mark.parametrize(
    "number",
    [0, -2, 2, 10**17, 10**18 - 2, 2**63, 2**64, 10**100, 10**4000],
    ids=["0", "-2", "2", "10^17", "10^18-2", "2^63", "2^64", "10^100", "10^4000"],
)
def test_an_unusual_counter_loses_no_later_token(single_session: SingleSession, store_path: Path, number: int) -> None:
    record = single_session.have("current")
    digits = b"1" + b"0" * 4000 if number == 10**4000 else b"%d" % number
    slot = slot_with(digits, record.dump())
    file = file_of(store_path, single_session.session)
    file.write_bytes(slot.ljust(SLOT_SIZE, b"\0") + slot)
    if number == 10**18 - 2:
        for _round in range(2):
            with pytest.raises(StoreError, match="too large"):
                single_session.request(force=True)
        assert single_session.requests() == 0
        assert single_session.stored().record == record
    else:
        assert_survives(single_session, record)


def test_a_file_of_terabytes_is_read_as_fast_as_any(single_session: SingleSession, store_path: Path) -> None:
    record = single_session.have("stale")
    os.truncate(file_of(store_path, single_session.session), 1 << 42)
    start = time.monotonic()
    assert_survives(single_session, record)
    assert time.monotonic() - start < 10


FIELDS: dict[str, dict[str, t.Any]] = {
    "times that are no numbers": {"obtained_at": float("nan"), "expires_at": float("nan")},
    "an expiry that is no number": {"expires_at": float("nan")},
    "an infinite expiry": {"expires_at": float("inf")},
    "an infinite start": {"obtained_at": float("-inf")},
    "a time of a thousand digits": {"expires_at": 10**1000},
    "the far future": {"obtained_at": 4e9, "expires_at": 4e9 + 900},
    "the latest time": {"expires_at": 253402300799},
    "the earliest time": {"obtained_at": 0, "expires_at": 1},
    "an expiry before its start": {"obtained_at": 5, "expires_at": 1},
    "times below zero": {"obtained_at": -5, "expires_at": -1},
    "format 0": {"format": 0},
    "format -1": {"format": -1},
    "no format": {"format": None},
    "a text as format": {"format": "1"},
    "a token that is none": {"login_token": "two words"},
    "a token with a newline": {"login_token": "v1x\n"},
    "no token": {"login_token": ""},
    "a token of bytes": {"login_token": ["v1"]},
    "a lineage of numbers": {"lineage": [1, 2]},
    "a lineage of lists": {"lineage": [["x"]]},
    "a lineage that is none": {"lineage": None},
    "another field": {"sesame": 1},
    "a field called self": {"self": 1},
    "format 1000": {"format": 1000},
    "a format of a thousand digits": {"format": 10**1000},
    "a session that is a list": {"session": []},
    "a session with more": {"session": {"sesame": "x"}},
    "an error code that is no text": {"ended": 7},
    "a request id that is no text": {"request_id": {}},
}


ENDS = {"the earliest time": "refreshed", "the far future": "refreshed", "the latest time": "returned"}
"""How a request ends that finds such a record. Any other is damaged."""


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_record_with_edited_fields_loses_no_later_token(
    single_session: SingleSession, store_path: Path, name: str
) -> None:
    record = single_session.have("current")
    fields = {**json.loads(record.dump()), **FIELDS[name]}
    file = file_of(store_path, single_session.session)
    write_file(file, json.dumps(fields).encode())
    end = ENDS.get(name, NO_RECORD)
    assert (single_session.stored().damage is not None) == (end == NO_RECORD)
    assert assert_survives(single_session, record) == end


@pytest.mark.parametrize("version", [2, 999])
def test_a_record_of_a_newer_format_is_an_error_and_is_unchanged(
    single_session: SingleSession, store_path: Path, version: int
) -> None:
    record = single_session.have("current")
    data = json.dumps({**json.loads(record.dump()), "format": version}).encode()
    file = file_of(store_path, single_session.session)
    write_file(file, data)
    for request in ({}, {"force": True}, {"login_token": single_session.emulator.issue()}):
        with pytest.raises(StoreError, match="A newer version of wuying.workspace wrote this record") as caught:
            single_session.request(**request)
        assert caught.value.code == "NewerFormat"
        assert len(caught.value.message) < 300
    assert single_session.requests() == 0
    assert read_file(file).record == data


NOTES = {
    "binary": b"\xff\xfe",
    "nested": b"[" * 50000,
    "a failure that is a text": b'{"note": 1, "id": "", "fingerprint": "", "scope": "", "possibly_spent": [], "failure": "x"}',
    "a failure of another shape": b'{"note": 1, "id": "", "fingerprint": "", "scope": "", "possibly_spent": [], "failure": {"sesame": 1}}',
    "unusual numbers": b'{"note": 1, "id": 1, "fingerprint": NaN, "scope": -1, "possibly_spent": [Infinity], "failure": null}',
    "another field": b'{"note": 1, "possibly_spent": [], "sesame": 1}',
    "a newer format": b'{"note": 2}',
}


@pytest.mark.parametrize("name", sorted(NOTES))
def test_an_edited_note_leads_to_a_refresh(single_session: SingleSession, store_path: Path, name: str) -> None:
    record = single_session.have("stale")
    write_file(file_of(store_path, single_session.session), record.dump(), NOTES[name])
    assert single_session.request().changed
    assert single_session.stored().note is None
    assert_hides(record, *single_session.warnings)


def test_the_record_of_another_session_is_never_returned(single_session: SingleSession, store_path: Path) -> None:
    mallory = single_session.session._replace(end_user_id="mallory")
    record = single_session.have("current")
    put(single_session.store, record._replace(session=mallory, login_token="v1mallory"))
    os.replace(file_of(store_path, mallory), file_of(store_path, single_session.session))
    with pytest.raises(WuyingError, match="Pass login_token or password to wuying_login_token to start"):
        single_session.request()
    assert single_session.requests() == 0
    assert "belongs to another session" in single_session.warnings[0]
    assert_hides(record, *single_session.warnings)


# Records with another endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://192.0.2.1",
        "https://ecd.cn-hangzhou.aliyuncs.com@192.0.2.1",
        "https://user:sesame@192.0.2.1",
        "https://192.0.2.1/path",
        "https://192.0.2.1?x=",
        "https://192.0.2.1#",
        "https://192.0.2.1\\@ecd.cn-hangzhou.aliyuncs.com",
        "https://192.0.2.1\r\nHost: ecd.cn-hangzhou.aliyuncs.com",
        "HTTPS://192.0.2.1",
        "https://192.0.2.1:443",
        "file:///etc/passwd",
        "//192.0.2.1",
        "",
        "\ud800",
    ],
    ids=ascii,
)
def test_a_record_with_a_forbidden_endpoint_is_set_aside(
    single_session: SingleSession, store_path: Path, endpoint: str
) -> None:
    record = single_session.have("stale")
    session = single_session.session._replace(endpoint=endpoint)
    write_file(file_of(store_path, session), record._replace(session=session).dump())
    reports = keep_all(single_session.keeper(), read_stored(single_session.store, TokenRequest), max_parallel=2)
    results = {report.key: report.result for report in reports}
    refused = results[session.key]
    assert isinstance(refused, WuyingError)
    assert "damaged" in refused.message
    assert_hides(record, refused.message)
    assert not isinstance(results[single_session.session.key], WuyingError)
    assert single_session.requests() == 1


# The folder of the store


def lock_in_default_store() -> None:
    """Take the lock of a session in the default store."""
    options = {"store": None, "store_key": None, "deadline": 60.0}
    store = open_store(options.get, time.monotonic() + 10)
    with store.lock("0" * 64, time.monotonic() + 1):
        pass
    store.close()


@pytest.mark.parametrize("name", ["HOME", "XDG_STATE_HOME"])
@pytest.mark.parametrize(
    "value",
    ["new\nline", "escape\x1b[2J", "\udcff", "\u202eevil"],
    ids=["newline", "escape", "bytes", "direction"],
)
def test_an_unprintable_state_folder_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.setenv(name, str(tmp_path / value))
    with pytest.raises(OptionError, match="^store is required") as caught:
        lock_in_default_store()
    assert caught.value.message.isprintable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["HOME", "XDG_STATE_HOME"])
def test_a_state_folder_that_is_a_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(name, str(tmp_path / "file"))
    with pytest.raises(StoreError, match="is a file"):
        lock_in_default_store()


@pytest.mark.parametrize("name", ["TMPDIR", "TEMP", "TMP", "PWD"])
def test_folders_for_temporary_files_are_not_used(
    single_session: SingleSession, store_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / "everybody").mkdir(mode=0o777)
    monkeypatch.setenv(name, str(tmp_path / "everybody"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    single_session.have("stale")
    assert single_session.request().changed
    assert list((tmp_path / "everybody").iterdir()) == []
    assert len(list(store_path.iterdir())) == 2


def test_created_parent_folders_are_private_under_any_umask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a" / "b"))
    before = os.umask(0)
    try:
        lock_in_default_store()
    finally:
        os.umask(before)
    made = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert len(made) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}


@only_root
def test_a_folder_of_another_user_is_refused_even_for_root(single_session: SingleSession, store_path: Path) -> None:
    """Root could write to it, but so could the other user."""
    record = single_session.have("stale")
    os.chown(store_path, 65534, -1)
    with pytest.raises(StoreError, match="belongs to another user") as caught:
        DirectoryStore(str(store_path)).read(single_session.session.key)
    with pytest.raises(StoreError, match="belongs to another user"):
        single_session.request()
    assert_hides(record, caught.value.message)
    assert single_session.requests() == 0


# Files and folders that are replaced between check and use


@pytest.mark.parametrize("what", ["record", "lock"])
def test_a_file_replaced_by_a_link_is_not_followed(
    single_session: SingleSession, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    record = single_session.have("stale")
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    target.chmod(0o600)
    file = store_path / f"{single_session.session.key}.{what}"
    real = os.open

    def swap(path: t.Any, *arguments: t.Any, **keywords: t.Any) -> int:
        if str(path).endswith(f".{what}") and not file.is_symlink():
            file.unlink()
            file.symlink_to(target)
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(StoreError, match=f"{file} is a symbolic link, but must be a plain file") as caught:
        single_session.request(force=True)
    assert_hides(record, caught.value.message)
    assert target.read_bytes() == b"precious"
    assert single_session.requests() == 0


def test_files_that_are_swapped_continuously_are_never_followed(
    single_session: SingleSession, store_path: Path, tmp_path: Path
) -> None:
    record = single_session.have("current")
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    target.chmod(0o600)  # so that only the link is a reason to refuse it
    file = file_of(store_path, single_session.session)
    good, link = store_path / "good", store_path / "link"
    file.rename(good)
    link.symlink_to(target)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for source in (link, good):
                spare = store_path / "spare"
                os.link(source, spare, follow_symlinks=False)
                os.replace(spare, file)

    thread = threading.Thread(target=swap)
    thread.start()
    codes: set[str] = set()
    reads, end = 0, time.monotonic() + 20
    try:
        while reads < 300 or (not codes and time.monotonic() < end):
            reads += 1
            try:
                assert single_session.store.read(single_session.session.key) in (StoredState(), StoredState(record))
            except StoreError as error:
                codes.add(error.code)
    finally:
        done.set()
        thread.join(20)
    assert codes == {"StoreUnsafe"}
    assert target.read_bytes() == b"precious"


def test_a_folder_replaced_by_a_link_is_never_written_to(
    single_session: SingleSession, store_path: Path, tmp_path: Path
) -> None:
    single_session.have("stale")
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    with single_session.store.lock(single_session.session.key, time.monotonic() + 10) as locked:
        store_path.rename(tmp_path / "ours")
        store_path.symlink_to(theirs)
        locked.write_note(new_note(None, fingerprint("v1second"), ""))
    assert list(theirs.iterdir()) == []
    with pytest.raises(StoreError, match="is a symbolic link, but must be a directory"):
        DirectoryStore(str(store_path)).read(single_session.session.key)
