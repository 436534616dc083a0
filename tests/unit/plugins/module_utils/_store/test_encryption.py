# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test encrypted records: they can be read with their keys only."""

from __future__ import annotations

import base64
import contextlib
import errno
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import time
import typing as t
import urllib.parse
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.encoding import dump_line
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    DamagedRecord,
    OptionError,
    StoreError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.store_options import open_store
from ansible_collections.wuying.workspace.plugins.module_utils._store import encryption
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import Store
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import Encryption
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

pytest.importorskip("cryptography", reason="the Python package cryptography is not installed")

FORK = multiprocessing.get_context("fork")
PATH = [str(Path(str(encryption.__file__)).parents[6]), *sys.path]
SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
TOKEN = "v1/Sesame+open=" + "0123456789abcdef" * 4 + "****"
"""It is different in base64 and percent-encoded."""


def new_key() -> str:
    """Return a key for ``store_key``."""
    from cryptography.fernet import Fernet

    return str(Fernet.generate_key().decode("ascii"))


def record_of(token: str = TOKEN) -> Record:
    """Return a fresh record."""
    return next_record(None, SESSION, "v1first", token, time.time(), 900, "a-request")


def forms(token: str) -> set[bytes]:
    """Return the forms of a token: plain, percent-encoded, and in base64 at every alignment."""
    found = {token.encode(), urllib.parse.quote(token, safe="").encode()}
    for before in range(3):
        whole = base64.b64encode(b"x" * before + token.encode())
        inner = whole[4 if before else 0 : -4]
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


@pytest.fixture(name="store_with")
def fixture_store_with(store_path: Path) -> t.Callable[..., DirectoryStore]:
    """Return a function that opens the directory store with the given keys."""
    return lambda *keys, **options: DirectoryStore(str(store_path), Encryption(keys, **options) if keys else None)


@pytest.fixture(name="file")
def fixture_file(store_path: Path) -> Path:
    """Return the file of the session."""
    return file_of(store_path, SESSION)


def failure_of(store: Store) -> str:
    """Return the code of the error that reading the record raises."""
    with pytest.raises(StoreError) as caught:
        store.read(SESSION.key)
    assert "store_key" in caught.value.message
    assert not caught.value.retryable
    return caught.value.code


# Encrypt and decrypt


@pytest.mark.parametrize(
    "data",
    [b"", b"{}\n", record_of().dump(), bytes(range(256)) * 300],
    ids=["nothing", "little", "record", "much"],
)
def test_encrypted_data_decrypt_to_the_same_data(data: bytes) -> None:
    encryption = Encryption([new_key()])
    assert encryption.decrypt(encryption.encrypt(data)) == data


def test_an_encrypted_record_is_read_unchanged(store_with: t.Callable[..., DirectoryStore]) -> None:
    store, record = store_with(new_key()), record_of()
    put(store, record)
    stored = store.read(SESSION.key)
    assert (stored.record, stored.needs_reencryption, stored.damage) == (record, False, None)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_slot_that_cannot_be_read_is_an_error(
    store_with: t.Callable[..., DirectoryStore], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = store_with(new_key())
    put(store, record_of())
    pread, reads = os.pread, itertools.count(1)

    def fail_once(file: int, size: int, offset: int) -> bytes:
        if next(reads) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(file, size, offset)

    monkeypatch.setattr(os, "pread", fail_once)
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(StoreError, match=os.strerror(errno.EIO)):
        store.read(SESSION.key)
    assert os.listdir("/proc/self/fd") == descriptors
    assert next(reads) == number + 1


def test_encrypting_the_same_data_twice_gives_different_results() -> None:
    encryption = Encryption([new_key()])
    assert encryption.encrypt(b"x") != encryption.encrypt(b"x")


def test_the_first_key_encrypts_and_all_of_them_decrypt(
    store_with: t.Callable[..., DirectoryStore],
) -> None:
    first, second, third = new_key(), new_key(), new_key()
    record = record_of()
    put(store_with(first, second), record)
    assert store_with(first).read(SESSION.key).record == record
    assert failure_of(store_with(second)) == "WrongStoreKey"
    for keys in [(third, first), (second, third, first)]:
        stored = store_with(*keys).read(SESSION.key)
        assert stored.record == record
        assert stored.needs_reencryption


def test_white_space_around_a_key_is_ignored() -> None:
    key = new_key()
    assert Encryption([f" {key}\n"]).decrypt(Encryption([key]).encrypt(b"x")) == b"x"
    assert Encryption([key]).uses_first_key(Encryption([f"{key}\n"]).encrypt(b"x"))


# Without the key, nothing can be read


@pytest.mark.parametrize("instant", ["saved", "noted", "failed", "reencrypted", "damaged"])
def test_no_file_of_the_store_reveals_a_token(
    store_with: t.Callable[..., DirectoryStore], store_path: Path, file: Path, instant: str
) -> None:
    old, new = new_key(), new_key()
    store = store_with(old)
    put(store, record_of())
    if instant in ("noted", "failed"):
        leave_note(store, SESSION, TOKEN)
    if instant == "failed":
        with store.lock(SESSION.key, time.monotonic() + 10) as locked:
            note = t.cast(t.Any, locked.read().note)
            locked.write_note(note)
            locked.save_failure(note.failed(StoreError("It failed."), unknown=True))
    if instant == "reencrypted":
        with store_with(new, old).lock(SESSION.key, time.monotonic() + 10) as locked:
            locked.rewrite(t.cast(Record, locked.read().record))
    if instant == "damaged":
        file.write_bytes(file.read_bytes()[:-20])
        with store.lock(SESSION.key, time.monotonic() + 10) as locked:
            locked.set_aside()
    everything = b"".join(path.name.encode() + path.read_bytes() for path in store_path.iterdir())
    assert len(everything) > 100
    for shape in (*forms(TOKEN), b"alice", b"a-request", SESSION.client_id.encode()):
        assert shape not in everything
    # The encrypted data are in base64, so search the decoded data too.
    payloads = re.findall(rb'"payload":"([A-Za-z0-9_=-]+)', everything)
    assert payloads
    for payload in payloads:
        decoded = base64.urlsafe_b64decode(payload + b"==")
        assert len(decoded) > 50
        assert not any(form in decoded for form in forms(TOKEN))


def test_the_same_search_finds_an_unencrypted_token(store_with: t.Callable[..., DirectoryStore], file: Path) -> None:
    put(store_with(), record_of())
    assert any(form in file.read_bytes() for form in forms(TOKEN))
    for before in range(3):
        encoded = base64.urlsafe_b64encode(b"x" * before + file.read_bytes())
        assert any(form in encoded for form in forms(TOKEN))


def test_the_envelope_does_not_reveal_the_key(store_with: t.Callable[..., DirectoryStore], file: Path) -> None:
    key = new_key()
    put(store_with(key), record_of())
    envelope = json.loads(read_file(file).record)
    raw = base64.urlsafe_b64decode(key)
    assert set(envelope) == {"envelope", "key", "payload"}
    assert len(envelope["key"]) == 16
    assert envelope["key"] not in (key, raw.hex(), key.lower())
    for part in (key, raw):
        plain = hashlib.sha256(part.encode() if isinstance(part, str) else part).hexdigest()
        assert envelope["key"] not in plain
    data = file.read_bytes()
    assert key.encode() not in data
    assert raw not in data
    assert raw.hex().encode() not in data


# Without the right key


@pytest.mark.parametrize("keys", ["another", "none"])
def test_a_record_with_an_unknown_key_is_an_error_and_is_unchanged(
    store_with: t.Callable[..., DirectoryStore], store_path: Path, file: Path, keys: str
) -> None:
    put(store_with(new_key()), record_of())
    before = {path.name: path.read_bytes() for path in store_path.iterdir()}
    store = store_with(*([new_key()] if keys == "another" else []))
    assert failure_of(store) == "WrongStoreKey"
    with store.lock(SESSION.key, time.monotonic() + 10) as locked:
        with pytest.raises(StoreError):
            locked.read()
    assert {path.name: path.read_bytes() for path in store_path.iterdir()} == before


@pytest.mark.parametrize("keys", ["another", "none"])
def test_a_new_token_or_force_does_not_overwrite_an_undecryptable_record(
    emulator: Emulator,
    store_with: t.Callable[..., DirectoryStore],
    store_path: Path,
    keys: str,
) -> None:
    session = session_at(emulator.url)
    single_session = SingleSession(store_with(new_key()), emulator, session)
    single_session.have("stale")
    before = file_of(store_path, session).read_bytes()
    single_session.store = store_with(*([new_key()] if keys == "another" else []))
    for request in ({}, {"force": True}, {"login_token": emulator.issue()}):
        with pytest.raises(StoreError) as caught:
            single_session.request(**request)
        assert caught.value.code == "WrongStoreKey"
    assert single_session.requests() == 0
    assert file_of(store_path, session).read_bytes() == before


# Damage


def tampered(envelope: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """Return envelopes with one modification each."""
    encrypted = envelope["payload"]
    flipped = "A" if encrypted[60] != "A" else "B"
    return {
        "a character": {**envelope, "payload": encrypted[:60] + flipped + encrypted[61:]},
        "its end": {**envelope, "payload": encrypted[:-8]},
        "all of it": {**envelope, "payload": ""},
        "no text": {**envelope, "payload": 7},
        "no ASCII": {**envelope, "payload": "é" * 200},
        "a surrogate": {**envelope, "payload": "\ud800"},
        "no key": {**envelope, "key": None},
        "a list as key": {**envelope, "key": []},
        "no version": {**envelope, "envelope": "one"},
    }


CHANGES = list(tampered({"payload": "x" * 80}))


@pytest.mark.parametrize("change", CHANGES)
def test_a_modified_envelope_is_damaged_and_set_aside(
    emulator: Emulator,
    store_with: t.Callable[..., DirectoryStore],
    store_path: Path,
    change: str,
) -> None:
    session = session_at(emulator.url)
    single_session = SingleSession(store_with(new_key()), emulator, session)
    record = single_session.have("current")
    path = file_of(store_path, session)
    write_file(path, dump_line(tampered(json.loads(read_file(path).record))[change]))
    data = path.read_bytes()
    stored = single_session.stored()
    assert stored.record is None
    assert stored.damage
    assert record.login_token not in stored.damage
    outcome = single_session.request(emulator.issue())
    assert outcome.changed
    assert "set aside" in single_session.warnings[0]
    assert [aside.read_bytes() for aside in store_path.glob("*.damaged-*")] == [data]
    assert single_session.stored().record == outcome.record


def test_a_record_of_another_session_is_damaged_despite_the_right_key(
    store_with: t.Callable[..., DirectoryStore], store_path: Path, file: Path
) -> None:
    store = store_with(new_key())
    put(store, record_of())
    other = SESSION._replace(end_user_id="bob")
    write_file(file_of(store_path, other), read_file(file).record)
    assert store.read(other.key).damage == f"{file_of(store_path, other)}: it belongs to another session"


def test_an_envelope_that_names_another_of_the_keys_is_damaged(
    store_with: t.Callable[..., DirectoryStore], file: Path
) -> None:
    first, second = new_key(), new_key()
    put(store_with(first), record_of())
    payload = json.loads(read_file(file).record)["payload"]
    put(store_with(second), record_of())
    write_file(file, dump_line({**json.loads(read_file(file).record), "payload": payload}))
    assert store_with(second, first).read(SESSION.key).damage


def test_an_envelope_of_a_newer_format_is_an_error_and_is_unchanged(
    store_with: t.Callable[..., DirectoryStore], file: Path
) -> None:
    store = store_with(new_key())
    put(store, record_of())
    write_file(file, dump_line({**json.loads(read_file(file).record), "envelope": 2}))
    data = file.read_bytes()
    with pytest.raises(StoreError) as caught:
        store.read(SESSION.key)
    assert caught.value.code == "NewerFormat"
    assert file.read_bytes() == data


def test_an_envelope_without_a_record_is_damaged() -> None:
    encryption = Encryption([new_key()])
    with pytest.raises(DamagedRecord):
        Encryption([new_key()]).decrypt(b'{"envelope":')
    store = DirectoryStore("/nowhere", encryption)
    stored = store.load_state(SESSION.key, encryption.encrypt(b"no JSON"), None)
    assert stored.damage == f"/nowhere/{SESSION.key}.record: it is not JSON"


# From unencrypted to encrypted, and from one key to the next


def test_rekey_encrypts_an_unencrypted_record_when_it_refreshes_it(
    emulator: Emulator, store_with: t.Callable[..., DirectoryStore], store_path: Path
) -> None:
    session, key = session_at(emulator.url), new_key()
    single_session = SingleSession(store_with(), emulator, session)
    record = single_session.have("current")
    single_session.store = store_with(key, accepts_unencrypted=True)
    assert single_session.request().record == record
    assert single_session.stored().needs_reencryption
    path = file_of(store_path, session)
    assert record.login_token.encode() in path.read_bytes()
    new = single_session.request(force=True).record
    assert new is not None
    assert not single_session.stored().needs_reencryption
    for token in (record.login_token, new.login_token):
        assert token.encode() not in path.read_bytes()
    assert read_file(path).record.startswith(b'{"envelope":')


def test_a_rejected_record_is_encrypted_too(emulator: Emulator, store_with: t.Callable[..., DirectoryStore]) -> None:
    single_session = SingleSession(store_with(), emulator, session_at(emulator.url))
    single_session.have("expired")
    single_session.store = store_with(new_key(), accepts_unencrypted=True)
    emulator.fault("error", code="InvalidLoginToken", status=400)
    with pytest.raises(Exception, match="log in again"):
        single_session.request()
    stored = single_session.stored()
    assert stored.record is not None and stored.record.ended
    assert not stored.needs_reencryption


def test_reencryption_keeps_the_note(
    store_with: t.Callable[..., DirectoryStore],
) -> None:
    old, new, record = new_key(), new_key(), record_of()
    put(store_with(old), record)
    leave_note(store_with(old), SESSION, TOKEN)
    store = store_with(new, old)
    with store.lock(SESSION.key, time.monotonic() + 10) as locked:
        locked.rewrite(record)
    stored = store_with(new).read(SESSION.key)
    assert stored.record == record
    assert stored.may_be_spent(TOKEN)


def test_a_failed_reencryption_leaves_the_record_unchanged(
    store_with: t.Callable[..., DirectoryStore], store_path: Path, file: Path
) -> None:
    old, new = new_key(), new_key()
    put(store_with(old), record_of())
    before = file.read_bytes()
    store = store_with(new, old)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with store.lock(SESSION.key, time.monotonic() + 10) as locked:
        record = t.cast(Record, locked.read().record)
        # As on a full disk, a part is written and then nothing more. This limit applies to root too.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            with pytest.raises(StoreError) as caught:
                locked.rewrite(record)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.code == "StoreUnavailable"
    assert file.read_bytes() == before
    assert sorted(path.suffix for path in store_path.iterdir()) == [".lock", ".record"]


def fail_at_write(number: int, written: float, fail: t.Callable[[], object]) -> None:
    """Make the write with this number fail in this process after a part of it was written."""
    pwrite, numbers = os.pwrite, []

    def write(file: int, data: t.Any, offset: int) -> int:
        numbers.append(number)
        if len(numbers) < number:
            return pwrite(file, data, offset)
        pwrite(file, data[: int(len(data) * written)], offset)
        fail()
        raise OSError(5, "Input/output error")

    os.pwrite = t.cast(t.Any, write)


@pytest.mark.parametrize("written", [0, 0.01, 0.05])
@pytest.mark.parametrize("how", ["killed", "I/O error"])
@pytest.mark.parametrize("act", ["rekey", "refresh"])
@pytest.mark.parametrize("protection", ["unencrypted", "the old key"])
def test_an_interrupted_reencryption_is_detected_and_completed(
    store_with: t.Callable[..., DirectoryStore],
    file: Path,
    protection: str,
    act: str,
    how: str,
    written: float,
) -> None:
    old, new, record = new_key(), new_key(), record_of()
    put(store_with(old) if protection == "the old key" else store_with(), record)
    remains = read_file(file).record[-500:] if protection == "the old key" else TOKEN.encode()
    store, current = store_with(new, old), record
    rekeying = store_with(new, old, accepts_unencrypted=True)
    if act == "refresh":
        current = next_record(record, SESSION, TOKEN, "v1next", time.time(), 900, None)

    def reencrypt_and_fail() -> None:
        kill = functools.partial(os.kill, os.getpid(), signal.SIGKILL)
        fail_at_write(2 if act == "rekey" else 3, written, kill if how == "killed" else lambda: None)
        with contextlib.suppress(StoreError), rekeying.lock(SESSION.key, time.monotonic() + 10) as locked:
            assert locked.read().record == record
            if act == "rekey":
                locked.rewrite(record)
            else:
                locked.write_note(new_note(None, fingerprint(TOKEN), "a test"))
                locked.save(current)

    process = FORK.Process(target=reencrypt_and_fail)
    process.start()
    process.join(20)
    assert process.exitcode == (-signal.SIGKILL if how == "killed" else 0)
    assert read_file(file).record.startswith(b'{"envelope":')
    assert remains in file.read_bytes()
    stopped = file.read_bytes()
    for repair in ("rekey", "refresh"):
        file.write_bytes(stopped)
        keeper = SingleSession(store, t.cast(t.Any, None), SESSION).keeper()
        stored = store.read(SESSION.key)
        assert (stored.record, stored.needs_reencryption) == (current, True)
        if repair == "rekey":
            assert keeper.reencrypt(SESSION.key)
        else:
            with store.lock(SESSION.key, time.monotonic() + 10) as locked:
                assert locked.read() == stored
                locked.write_note(new_note(None, fingerprint(current.login_token), "a test"))
                locked.save(current)
        assert remains not in file.read_bytes()
        assert store_with(new).read(SESSION.key).record == current
        assert not keeper.reencrypt(SESSION.key)


@pytest.mark.parametrize("key", [True, False], ids=["a key", "no key"])
def test_a_record_encrypted_with_the_first_key_needs_no_reencryption(
    store_with: t.Callable[..., DirectoryStore], key: bool
) -> None:
    store, record = store_with(*[new_key()] * key), record_of()
    for _round in range(2):
        put(store, record)
        assert not store.read(SESSION.key).needs_reencryption
    leave_note(store, SESSION, TOKEN)
    assert not store.read(SESSION.key).needs_reencryption
    with store.lock(SESSION.key, time.monotonic() + 10) as locked:
        locked.rewrite(record)
    assert not store.read(SESSION.key).needs_reencryption


# Redis


def test_redis_does_not_reveal_a_token(tmp_path: Path) -> None:
    require_redis()
    servers = RedisServers(tmp_path)
    server, key = servers(), new_key()
    options = {"store": server.address, "store_key": [key]}
    try:
        with contextlib.closing(open_store(options.get, time.monotonic() + 20)) as store:
            record = record_of()
            put(store, record)
            leave_note(store, SESSION, TOKEN)
            assert store.read(SESSION.key).record == record
            client = server.client()
            everything = b"".join(
                name + client.dump(name) + b"".join(client.hgetall(name).values()) for name in client.scan_iter()
            )
        everything += b"".join(path.read_bytes() for path in server.folder.rglob("*") if path.is_file())
        for other in (None, [new_key()]):
            with contextlib.closing(open_store({**options, "store_key": other}.get, time.monotonic() + 20)) as store:
                assert failure_of(store) == "WrongStoreKey"
    finally:
        servers.stop()
    assert len(everything) > 500
    assert not any(form in everything for form in (*forms(TOKEN), b"alice"))


# The option


def open_with(value: t.Any, store_path: Path) -> Store:
    """Open the store with a value of ``store_key``."""
    return open_store({"store": str(store_path), "store_key": value}.get, time.monotonic() + 10)


@pytest.mark.parametrize(
    "value",
    [
        "sesame",
        "sesame" * 20,
        "sésame",
        ["sesame"],
        base64.urlsafe_b64encode(b"sesame" * 5).decode(),
        "",
        [""],
        [None],
        [7],
    ],
)
def test_a_malformed_key_is_an_error_that_does_not_show_it(store_path: Path, value: t.Any) -> None:
    with pytest.raises(OptionError, match="store_key") as caught:
        open_with(value, store_path)
    for secret in ("sesame", "sésame", "c2VzYW1l"):
        assert secret not in caught.value.message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_store_key_may_be_a_string_or_a_list(store_path: Path) -> None:
    key = new_key()
    put(open_with(key, store_path), record_of())
    for value in (key, [key], [new_key(), key]):
        assert open_with(value, store_path).read(SESSION.key).record is not None


def test_without_a_key_cryptography_is_not_imported(store_path: Path) -> None:
    script = f"""
import sys, time
sys.path[:0] = {PATH!r}
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.store_options import open_store
open_store({{"store": {str(store_path)!r}}}.get, time.monotonic() + 10).read("0" * 64)
assert not [name for name in sys.modules if name.startswith("cryptography")]
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


BROKEN = {
    "missing": "import sesame",
    "a syntax error": "def",
    "an attribute error": "import os; os.sesame",
    "a library that cannot be opened": "raise OSError(2, 'sesame')",
    "an exit": "raise SystemExit('sesame')",
    "a panic of Rust code": "raise type('PanicException', (BaseException,), {})('sesame')",
}


@pytest.mark.parametrize("code", list(BROKEN.values()), ids=list(BROKEN))
def test_without_a_working_package_the_error_names_it_and_the_python(store_path: Path, code: str) -> None:
    package = store_path.parent / "cryptography"
    package.mkdir()
    (package / "__init__.py").write_text(code)
    script = f"""
import sys, time
sys.path[:0] = {[str(package.parent), *PATH]!r}
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.store_options import open_store
try:
    open_store({{"store": {str(store_path)!r}, "store_key": [{new_key()!r}]}}.get, time.monotonic() + 10)
except StoreError as error:
    print(error.code, error.message)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, timeout=30, capture_output=True)
    output = done.stdout.decode()
    assert output.startswith("MissingLibrary")
    assert "cryptography" in output
    assert sys.executable in output
    assert ("installed but broken" in output) == (code != BROKEN["missing"])
    assert "sesame" not in output
    assert done.stderr == b""
    assert not store_path.exists()


@pytest.mark.parametrize("interruption", ["KeyboardInterrupt()", "type('TaskTimeoutError', (BaseException,), {})()"])
def test_an_interruption_is_no_failure_of_the_package(store_path: Path, interruption: str) -> None:
    package = store_path.parent / "cryptography"
    package.mkdir()
    (package / "__init__.py").write_text(f"raise {interruption}")
    script = f"""
import sys
sys.path[:0] = {[str(package.parent), *PATH]!r}
try:
    from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import Encryption
except BaseException as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, timeout=30, capture_output=True)
    assert done.stdout.decode().strip() in interruption
    assert done.stdout
