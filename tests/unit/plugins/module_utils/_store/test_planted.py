# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test records and notes that were planted in a store with keys by someone who does not have a key."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import Outcome, TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._model.encoding import canonical_json
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    OUTCOME_UNKNOWN,
    DamagedRecord,
    ServiceError,
    StoreError,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import load_note, new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import StoredState, load_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import parse_address
from ansible_collections.wuying.workspace.plugins.module_utils._redis.store import RedisStore
from ansible_collections.wuying.workspace.plugins.module_utils._service.response import CODE
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import Store
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import Encryption
from ansible_collections.wuying.workspace.plugins.module_utils._store.two_slot_file import SlotValue
from ansible_collections.wuying.workspace.plugins.module_utils._store.two_slot_writer import TwoSlotWriter
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    RedisServers,
    require_redis,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import (
    SingleSession,
    file_of,
    leave_note,
    put,
    read_file,
    session_at,
    write_file,
)

if t.TYPE_CHECKING:
    from ansible_collections.wuying.workspace.tests.unit.conftest import Emulator

fernet = pytest.importorskip("cryptography.fernet", reason="the Python package cryptography is not installed")

KEY = str(fernet.Fernet.generate_key().decode())
SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
TOKEN = "v1planted" + "0123456789abcdef" * 4
PLANTED = next_record(None, SESSION, "v1first", TOKEN, time.time(), 900, None).dump()


@dataclasses.dataclass
class Place:
    """A store of either kind, which a test opens with keys and writes to without them."""

    open: t.Callable[..., Store]
    plant: t.Callable[[bytes, bytes], None]
    """Write any bytes as the record and the note of the session."""
    location: str


@pytest.fixture(name="place", params=["directory", "redis"])
def fixture_place(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[Place]:
    """Return a store of each kind."""
    with contextlib.ExitStack() as closing:

        def encryption(keys: t.Sequence[str], **options: bool) -> Encryption | None:
            return Encryption(keys, **options) if keys else None

        if request.param == "directory":
            path = tmp_path / "store"
            file = file_of(path, SESSION)

            def open_directory(*keys: str, **options: bool) -> Store:
                return DirectoryStore(str(path), encryption(keys, **options))

            def plant_file(record: bytes, note: bytes) -> None:
                path.mkdir(mode=0o700, exist_ok=True)
                write_file(file, record, note)

            yield Place(open_directory, plant_file, str(file))
            return
        require_redis()
        servers = RedisServers(tmp_path)
        closing.callback(servers.stop)
        server = servers()
        name = f"wuying.workspace:{{{SESSION.key}}}"

        def open_redis(*keys: str, **options: bool) -> Store:
            access = {"username": None, "password": None, "ca_path": None}
            deadline = time.monotonic() + 30
            store = RedisStore(
                parse_address(server.address), deadline=deadline, encryption=encryption(keys, **options), **access
            )
            return closing.enter_context(contextlib.closing(store))

        def plant_hash(record: bytes, note: bytes) -> None:
            client = server.client()
            client.delete(name)
            client.hset(name, mapping={"record": record, **({"note": note} if note else {})})

        yield Place(open_redis, plant_hash, name)


# Records

UNENCRYPTED = {
    "a record": PLANTED,
    "an ended record": PLANTED.replace(b'"ended":null', b'"ended":"InvalidLoginToken"'),
    "a record whose identity begins as an envelope does": json.dumps({"session": {"envelope": 1}}).encode(),
    "an envelope after a space": b' {"envelope":1,"key":"0","payload":"0"}',
    "a record of a newer format": b'{"format":2}',
    "no JSON": b"\xff\xfe",
    "an empty object": b"{}",
}


@pytest.mark.parametrize("record", list(UNENCRYPTED.values()), ids=list(UNENCRYPTED))
def test_with_a_key_whatever_is_not_encrypted_is_an_error(place: Place, record: bytes) -> None:
    place.plant(record, b"")
    store = place.open(KEY)
    errors = list(store.read_many([SESSION.key]))
    with pytest.raises(StoreError) as caught:
        store.read(SESSION.key)
    errors.append(caught.value)
    with store.lock(SESSION.key, time.monotonic() + 10) as locked, pytest.raises(StoreError) as caught:
        locked.read()
    errors.append(caught.value)
    for error in errors:
        assert isinstance(error, StoreError)
        assert (error.code, error.retryable) == ("NotEncrypted", False)
        for part in ("rekey=true", "planted", "state=absent", place.location):
            assert part in error.message
        assert TOKEN[:16] not in error.message


def test_rekey_reads_unencrypted_records(place: Place) -> None:
    place.plant(PLANTED, b"")
    stored = place.open(KEY, accepts_unencrypted=True).read(SESSION.key)
    assert stored.record is not None
    assert (stored.record.login_token, stored.needs_reencryption) == (TOKEN, True)


def test_without_a_key_unencrypted_records_are_read(place: Place) -> None:
    place.plant(PLANTED, b"")
    stored = place.open().read(SESSION.key)
    assert stored.record is not None
    assert not stored.needs_reencryption


def test_an_older_unencrypted_copy_is_no_error(tmp_path: Path) -> None:
    """It is what a killed rekey leaves in a directory."""
    store = DirectoryStore(str(tmp_path / "store"), Encryption([KEY]))
    record = load_record(PLANTED, SESSION.key)
    (tmp_path / "store").mkdir(mode=0o700)
    file = file_of(tmp_path / "store", SESSION)
    write_file(file, PLANTED)
    with file.open("rb+") as opened:
        TwoSlotWriter(opened.fileno()).write(SlotValue(store.dump(record).rstrip()))
    assert store.read(SESSION.key) == StoredState(record, needs_reencryption=True)
    with store.lock(SESSION.key, time.monotonic() + 10) as locked:
        assert locked.read().needs_reencryption
        locked.rewrite(record)
    assert store.read(SESSION.key) == StoredState(record)
    assert TOKEN.encode() not in file.read_bytes()


@pytest.mark.parametrize("request_options", [{}, {"force": True}, {"login_token": "v1other"}], ids=str)
def test_a_planted_record_stops_every_request_and_is_unchanged(
    emulator: Emulator, tmp_path: Path, request_options: dict[str, t.Any]
) -> None:
    session = session_at(emulator.url)
    single_session = SingleSession(DirectoryStore(str(tmp_path / "store")), emulator, session)
    single_session.have("stale")
    file = file_of(tmp_path / "store", session)
    before = file.read_bytes()
    single_session.store = DirectoryStore(str(tmp_path / "store"), Encryption([KEY]))
    with pytest.raises(StoreError) as caught:
        single_session.request(**request_options)
    assert caught.value.code == "NotEncrypted"
    assert single_session.requests() == 0
    assert file.read_bytes() == before
    assert single_session.warnings == []


@pytest.mark.parametrize("record", [PLANTED, b"{}"], ids=["a record", "no record"])
def test_a_planted_record_can_be_deleted(place: Place, record: bytes) -> None:
    place.plant(record, b"")
    store = place.open(KEY)
    keeper = SingleSession(store, t.cast(t.Any, None), SESSION).keeper()
    for check in (True, False):
        assert keeper.delete(SESSION.key, check=check) == Outcome(True)
    assert not keeper.delete(SESSION.key).changed
    assert store.read(SESSION.key) == StoredState()


# Notes

FAILURE = ServiceError("Run this command to repair it.", code="Throttling", http_status=429, request_id="a-request")
FAILED = new_note(None, fingerprint(TOKEN), "a scope").failed(FAILURE, unknown=False)


def test_a_planted_note_only_leads_to_a_refresh(place: Place) -> None:
    store = place.open(KEY)
    record = store.dump(load_record(PLANTED, SESSION.key))
    for note in (FAILED.dump(), Encryption([str(fernet.Fernet.generate_key().decode())]).encrypt(FAILED.dump())):
        place.plant(record.rstrip(), note.rstrip())
        stored = store.read(SESSION.key)
        assert stored.record is not None
        assert stored.note is not None
        assert stored.may_be_spent(TOKEN)
        assert stored.note.error() is None


def test_the_note_of_another_task_with_the_key_is_read(place: Place) -> None:
    put(place.open(KEY), load_record(PLANTED, SESSION.key))
    with place.open(KEY).lock(SESSION.key, time.monotonic() + 10) as locked:
        locked.write_note(FAILED._replace(failure=None))
        locked.save_failure(FAILED)
    for keys in ([KEY], [str(fernet.Fernet.generate_key().decode()), KEY]):
        assert place.open(*keys).read(SESSION.key).note == FAILED


def test_a_note_is_stored_encrypted(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path / "store"), Encryption([KEY]))
    leave_note(store, SESSION, TOKEN)
    data = read_file(file_of(tmp_path / "store", SESSION)).note
    assert data.startswith(b'{"envelope":')
    assert fingerprint(TOKEN).encode() not in data


def test_the_failure_in_a_planted_note_is_not_shown(emulator: Emulator, tmp_path: Path) -> None:
    single_session = SingleSession(
        DirectoryStore(str(tmp_path / "store"), Encryption([KEY])), emulator, session_at(emulator.url)
    )
    record = single_session.have("stale")
    snapshot = single_session.stored().snapshot()
    file = file_of(tmp_path / "store", single_session.session)
    keeper = single_session.keeper()
    planted = new_note(None, fingerprint(record.login_token), keeper._scope).failed(FAILURE, unknown=False)
    write_file(file, read_file(file).record, planted.dump())
    outcome = keeper.obtain(TokenRequest(single_session.session), snapshot, single_session.warnings.append)
    assert outcome.changed
    assert single_session.warnings == []


def edited(**failure: t.Any) -> bytes:
    """Return a note whose failure was edited."""
    note = json.loads(FAILED.dump())
    note["failure"].update(failure)
    return json.dumps(note).encode()


@pytest.mark.parametrize("field", ["message", "error_code", "request_id"])
@pytest.mark.parametrize(
    "text",
    ["two\nlines", "\x1b[2J", "\u202eevil", "x" * 2001, ["a list"], {"an": "object"}, 1.5],
    ids=["newline", "escape", "direction", "long", "list", "object", "float"],
)
def test_a_failure_that_this_collection_cannot_have_written_is_not_shown(field: str, text: t.Any) -> None:
    note = load_note(edited(**{field: text}))
    assert note.error() is None
    assert note.may_be_spent("any token")


@pytest.mark.parametrize(
    "field",
    [
        {"message": 5},
        {"message": None},
        {"error_code": 7},
        {"error_code": None},
        {"error_code": "two words"},
        {"error_code": ""},
        {"request_id": 7},
        {"request_id": "x" * 65},
        {"http_status": "400"},
        {"http_status": True},
        {"http_status": 7},
        {"retryable": None},
        {"retryable": "yes"},
        {"login_needed": 1},
        {"other": None},
    ],
)
def test_a_failure_with_a_field_of_another_type_is_not_shown(field: dict[str, t.Any]) -> None:
    note = load_note(edited(**field))
    assert note.error() is None
    assert note.may_be_spent("any token")


@pytest.mark.parametrize("name", ["id", "fingerprint", "scope"])
def test_a_note_with_a_field_of_another_type_covers_every_token(name: str) -> None:
    note = load_note(json.dumps({**json.loads(FAILED.dump()), name: [1]}).encode())
    assert (note.error(), note.possibly_spent) == (None, None)


IDENTITY = {**SESSION.identity(), "directory_id": "dir"}


@pytest.mark.parametrize("name", [name for name in IDENTITY if name != "endpoint"])
@pytest.mark.parametrize(
    "value",
    ["", "two\nlines", "\x1b[2J", "\u202eevil", "\ud800", "x" * 257, 7, None, ["a"]],
    ids=lambda value: repr(value)[:12],
)
def test_a_record_with_an_identity_that_no_option_allows_is_damaged(name: str, value: t.Any) -> None:
    identity = {**IDENTITY, name: value}
    record = json.dumps({**json.loads(PLANTED), "session": identity}).encode()
    with pytest.raises(DamagedRecord, match="its identity is malformed"):
        load_record(record, fingerprint(canonical_json(identity)))


def test_an_endpoint_may_be_longer_than_other_parts_of_an_identity() -> None:
    session = SESSION._replace(endpoint=f"https://{'x' * 253}:8443")
    record = json.dumps({**json.loads(PLANTED), "session": session.identity()}).encode()
    assert load_record(record, session.key).session == session


@pytest.mark.parametrize("code", ["", "{{ 1 + 1 }}", "x", "A" * 201, "A\n", ["A"]], ids=lambda value: repr(value)[:12])
def test_a_record_that_ended_with_anything_but_an_error_code_is_damaged(code: t.Any) -> None:
    with pytest.raises(DamagedRecord, match="a field has an invalid value"):
        load_record(json.dumps({**json.loads(PLANTED), "ended": code}).encode(), SESSION.key)


@pytest.mark.parametrize(
    "code", [OUTCOME_UNKNOWN, "InvalidLoginToken.Expired_1", "A" + ("b" * 63) + ("." + "c" * 32) * 3]
)
def test_every_code_that_this_collection_stores_is_an_error_code(code: str) -> None:
    assert CODE.fullmatch(code)
    record = load_record(PLANTED, SESSION.key).ended_with(code)
    assert load_record(record.dump(), SESSION.key) == record


def test_a_failure_that_this_collection_wrote_is_shown() -> None:
    error = load_note(FAILED.dump()).error()
    assert isinstance(error, WuyingError)
    assert (error.message, error.as_result()) == (FAILURE.message, FAILURE.as_result())
    assert load_note(edited(message="ü" * 2000)).error() is not None
