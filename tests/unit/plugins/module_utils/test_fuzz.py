# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test random responses, stored bytes and options: no traceback, no secret in a message, no endless wait."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import socket
import time
import typing as t
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import (
    Outcome,
    PasswordLogin,
    TokenRequest,
)
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.keeper import Keeper
from ansible_collections.wuying.workspace.plugins.module_utils._model.account import (
    REFUSED,
    UNKNOWN,
    account_of,
    new_entry,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    ClockSkew,
    LoginRefused,
    Refused,
    ServiceError,
    TokenRejected,
    WuyingError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import load_note, new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import fingerprint, is_token
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import (
    IDENTITY,
    argument_spec,
    login_spec,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.fleet import (
    read_filters,
    read_requests,
    read_selection,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.options import read_request
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.result import compare, describe
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.wiring import open_keeper
from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import parse_address
from ansible_collections.wuying.workspace.plugins.module_utils._service import connections as connections_module
from ansible_collections.wuying.workspace.plugins.module_utils._service.client import ServiceClient
from ansible_collections.wuying.workspace.plugins.module_utils._service.login import (
    KEEP_ALIVE,
    MFA,
    PASSWORD,
    LoginAnswer,
    read_login,
)
from ansible_collections.wuying.workspace.plugins.module_utils._service.response import RefreshResult, read_response
from ansible_collections.wuying.workspace.plugins.module_utils._service.transport import Response
from ansible_collections.wuying.workspace.plugins.module_utils._store.base import ENVELOPE
from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import Encryption
from ansible_collections.wuying.workspace.plugins.module_utils._store.listing import read_accounts
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.memory_store import MemoryStore
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import session_at

pytest.importorskip("cryptography", reason="the Python package cryptography is not installed")

NIGHTLY = os.environ.get("FUZZ") == "nightly"
PROFILE = settings(
    max_examples=20000 if NIGHTLY else 300,
    deadline=None,
    database=None,
    derandomize=not NIGHTLY,
    print_blob=NIGHTLY,
    suppress_health_check=list(HealthCheck),
)
ENDPOINT = "http://127.0.0.1:9"
SESSION = session_at(ENDPOINT)
ACCOUNT = account_of(SESSION)
DEEP = b"[" * 100000
SECRET = "v1/Sesame+open=" + "0123456789abcdef" * 4 + "**"
"""It is different in base64 and percent-encoded."""
NEXT = "v1c27bab6c205b2fdfac93be59a3aefa4b09b4c5f4af8ba4ddb5d4a2c1a7"
FORMS = [
    SECRET,
    quote(SECRET, safe=""),
    quote_plus(quote(SECRET, safe="")),
    json.dumps(SECRET)[1:-1],
    base64.b64encode(SECRET.encode()).decode().rstrip("="),
    base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    SECRET.encode().hex(),
]
LONGEST_MESSAGE = 1000
KEYS = ["QUFB" * 10 + "QUE=", "QkJC" * 10 + "QkI="]
NOW = 1_800_000_000.0
RECORD = next_record(None, SESSION, "v1first", SECRET, NOW, 900, "1CBAFFAB-B697-4049-A9B1-67E1FC5F0000")
RECORD = RECORD._replace(session_id="an ID", keep_alive=KeepAlive(f"ka-{SECRET}", NOW, NOW, 1, NOW))
NOTE = new_note(None, fingerprint(SECRET), "a test")
FAILED = NOTE.failed(ServiceError("It was busy.", code="Throttling", retryable=True), unknown=True)


def check(error: WuyingError) -> None:
    """Check that an error has a message of limited length that contains no secret."""
    assert isinstance(error.message, str)
    assert 0 < len(error.message) <= LONGEST_MESSAGE
    shown = f"{error} {error!r} {json.dumps(error.as_result())}"
    assert not [form for form in FORMS if form in shown]
    if isinstance(error, ServiceError):
        assert 0 <= error.retry_after <= 86400
    if isinstance(error, ClockSkew):
        assert error.server_time is None or math.isfinite(error.server_time)


@contextlib.contextmanager
def only_wuying_errors() -> t.Iterator[None]:
    """Suppress errors of this collection after checking them. Other errors are raised."""
    try:
        yield
    except WuyingError as error:
        check(error)


# Inputs

numbers = st.one_of(st.integers(), st.sampled_from([0, -1, 2, 10**18, 10**400]), st.floats(), st.booleans())
any_text = st.text(st.characters(), max_size=20)
words = st.sampled_from([*FORMS, SECRET[:40], f"x{SECRET}x", NEXT, "", " ", "\0", "é", "\ud800"])
json_values: st.SearchStrategy[t.Any] = st.recursive(
    st.one_of(st.none(), numbers, any_text, words),
    lambda values: st.one_of(st.lists(values, max_size=3), st.dictionaries(any_text, values, max_size=3)),
    max_leaves=6,
)
pieces = st.one_of(
    st.binary(min_size=1, max_size=4),
    st.sampled_from([b"\0", b"\xff", b'"', b"{", b"}", b"[", b"[" * 20000, b"9" * 5000, b"NaN", b"1e999"]),
    st.sampled_from([b"-", b"null", b"true", b"\\ud800", b"\r\n", b",", b":", b"\n\n", b"\xef\xbb\xbf"]),
)


def mostly(value: t.Any, *others: st.SearchStrategy[t.Any]) -> st.SearchStrategy[t.Any]:
    """Draw a value half of the time."""
    return st.booleans().flatmap(lambda plain: st.just(value) if plain else st.one_of(*others))


@st.composite
def mutated(draw: st.DrawFn, bases: st.SearchStrategy[bytes]) -> bytes:
    """Draw bytes with changes in a few places."""
    data = draw(bases)
    for _round in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3]))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 0, 1, 5, len(data)])))
        data = data[:start] + draw(st.one_of(st.just(b""), pieces)) + data[end:]
    return data


def as_json(value: t.Any) -> bytes:
    """Write a value as JSON."""
    return json.dumps(value).encode()


# Responses

names = st.sampled_from(
    [
        "Code",
        "code",
        "LoginToken",
        "loginToken",
        "RequestId",
        "Message",
        "Data",
        "NextStage",
        "SessionId",
        "RiskVerifyInfo",
    ]
)
codes = st.sampled_from(
    [
        "InvalidLoginToken",
        "SignatureDoesNotMatch",
        "Throttling.User",
        "InvalidTimeStamp.Expired",
        "InternalError",
        "Forbidden.RAM",
        "MissingEndUserId",
        "InvalidAction.NotFound",
        "SomethingElse",
    ]
)
request_ids = st.just("1CBAFFAB-B697-4049-A9B1-67E1FC5F0000")
changes = st.dictionaries(names, st.one_of(words, st.just("A" * 9000), json_values), max_size=2)
fields = st.builds(
    lambda code, request_id, changes: {
        **({"LoginToken": NEXT} if code is None else {"Code": code, "Message": SECRET}),
        "RequestId": request_id,
        **changes,
    },
    st.one_of(st.none(), codes),
    request_ids,
    mostly({}, changes),
)
bodies = st.one_of(
    fields.map(as_json),
    mutated(fields.map(as_json)),
    mutated(json_values.map(as_json)),
    st.binary(max_size=60),
)
statuses = mostly(200, st.sampled_from([400, 403, 404, 429, 500, 503, 302]), st.integers(100, 999))
dates = st.sampled_from(
    [
        "Tue, 14 Nov 2023 22:13:20 GMT",
        "Mon, 01 Jan 0001 00:00:00 +1400",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Tue, 14 Nov 2023 22:13:20 +9999999999",
        "14 Nov 2023",
        "Tue, 99 Nov 20230 99:99:99 GMT",
    ]
)
header_values = st.one_of(
    dates,
    st.integers().map(str),
    st.sampled_from(["9" * 12, "9" * 400, "1e9", "٣", "0", "-1"]),
    mutated(dates.map(str.encode)).map(lambda value: value.decode("latin-1")),
)
header_names = st.sampled_from(["date", "retry-after", "x-acs-retry-after", "content-type"])
headers = st.dictionaries(header_names, header_values, max_size=3)


@PROFILE
@given(status=statuses, headers=headers, body=bodies)
@example(status=200, headers={}, body=DEEP)
@example(status=429, headers={"x-acs-retry-after": "9" * 12}, body=b"")
@example(status=503, headers={"retry-after": "9" * 12}, body=b"")
@example(status=503, headers={"date": "14 Nov 2023", "retry-after": "14 Nov 9023"}, body=b"")
def test_any_response_contains_a_token_or_is_an_error(status, headers, body):
    with only_wuying_errors():
        answer = read_response(Response(status, headers, body), ENDPOINT, [SECRET], NOW)
        assert is_token(answer.login_token)
        assert 200 <= status < 300


@PROFILE
@given(status=statuses, headers=headers, body=bodies, stage=st.sampled_from([PASSWORD, MFA, KEEP_ALIVE]))
@example(status=200, headers={}, body=DEEP, stage=PASSWORD)
@example(status=200, headers={}, body=as_json({"NextStage": FORMS[4][:60]}), stage=PASSWORD)
@example(status=200, headers={"date": "Mon, 01 Jan 0001 00:00:00 +1400"}, body=as_json({"LoginToken": NEXT}), stage=MFA)
def test_any_response_to_a_login_is_a_token_a_stage_or_an_error(status, headers, body, stage):
    with only_wuying_errors():
        answer = read_login(Response(status, headers, body), ENDPOINT, stage, [SECRET], NOW, NOW)
        assert 200 <= status < 300
        assert is_token(answer.login_token) or answer.next_stage
        assert answer.next_stage is None or not [form for form in FORMS if form in answer.next_stage]
        assert math.isfinite(answer.clock_offset)


class SocketPairs:
    """Replaces the connections to a server: each one contains a response and then ends."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._opened: list[socket.socket] = []

    def __call__(self, *_arguments: t.Any, **options: t.Any) -> socket.socket:
        mine, theirs = socket.socketpair()
        self._opened += [mine, theirs]
        theirs.setblocking(False)
        theirs.sendall(self._answer)
        theirs.shutdown(socket.SHUT_WR)
        return mine

    def close(self) -> None:
        """Close all connections."""
        for each in self._opened:
            each.close()


response_lines = st.sampled_from(
    [
        b"Content-Length: 60",
        b"Content-Length: 5",
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999",
        b"Transfer-Encoding: chunked",
        b"Content-Encoding: gzip",
        b"Connection: close",
        b"Location: http://127.0.0.1:1/",
        b"Date: Tue, 14 Nov 2023 22:13:20 GMT",
        b"X-Acs-Retry-After: 100",
        b"X" * 70000,
        b"Set-Cookie: a=b",
    ]
)

some_lines = st.lists(response_lines, max_size=3)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """Draw the bytes of an HTTP response, valid or not."""
    body = draw(bodies)
    lines = [b"HTTP/1.1 %d Reason" % draw(statuses), *draw(mostly([], some_lines))]
    framing = draw(st.sampled_from(["length", "length", "chunks", "none"]))
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "chunks":
        lines.append(b"Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return b"\r\n".join([*lines, b"", body])


@PROFILE
@given(
    response=st.one_of(responses(), mutated(responses())),
    signature_version=st.sampled_from(["v3", "v1"]),
)
def test_any_bytes_on_the_wire_end_a_refresh_with_a_token_or_an_error(response, signature_version):
    connections = SocketPairs(response)
    with pytest.MonkeyPatch.context() as patch, contextlib.closing(connections):
        patch.setattr(connections_module, "create_connection", connections)
        began = time.monotonic()
        with ServiceClient(None, retries=0, signature_version=signature_version) as service:
            with only_wuying_errors():
                answer = service.refresh(SESSION, SECRET, began + 20)
                assert isinstance(answer, RefreshResult)
                assert is_token(answer.login_token)
        assert time.monotonic() - began < 15


# Records

# Messages may quote a stored identity, so it must not contain a secret in this test.
stored_values = json_values.filter(lambda value: not any(form in json.dumps(value) for form in FORMS))
RECORD_FIELDS = {"format": 1, **RECORD._asdict(), "session": SESSION.identity()}
record_names = st.sampled_from([*RECORD_FIELDS, "other"])
changed_fields = st.dictionaries(record_names, stored_values, max_size=2).map(
    lambda changes: as_json({**RECORD_FIELDS, **changes})
)
removed_fields = st.sets(record_names, max_size=1).map(
    lambda names: as_json({name: RECORD_FIELDS[name] for name in RECORD_FIELDS if name not in names})
)
envelopes = st.builds(
    lambda data, changes: as_json({**json.loads(Encryption(KEYS[:1]).encrypt(data)), **changes}),
    st.just(RECORD.dump()),
    st.dictionaries(st.sampled_from(["envelope", "key", "payload"]), stored_values, max_size=2),
).map(lambda data: data.replace(b'{"envelope": ', b'{"envelope":'))
whole = st.one_of(st.just(RECORD.dump()), changed_fields, removed_fields, envelopes)
stored = st.one_of(whole, whole, mutated(whole), st.binary(max_size=60))
NOTES = [json.loads(NOTE.dump()), json.loads(FAILED.dump())]
notes = st.one_of(
    st.none(),
    mutated(
        st.builds(
            lambda note, changes: as_json({**note, **changes}),
            st.sampled_from(NOTES),
            st.dictionaries(st.sampled_from([*NOTES[0], "other"]), stored_values, max_size=2),
        )
    ),
    st.binary(max_size=60),
    st.builds(
        lambda changes: as_json({**NOTES[1], "failure": {**NOTES[1]["failure"], **changes}}),
        st.dictionaries(st.sampled_from([*NOTES[1]["failure"], "other"]), stored_values, max_size=2),
    ),
)
key_lists = st.sampled_from([None, KEYS[:1], KEYS[1:], KEYS])


ENTRY = new_entry(ACCOUNT).with_attempt("aaaa", NOW - 10, REFUSED).with_attempt("bbbb", NOW, UNKNOWN)
ENTRY_FIELDS = json.loads(ENTRY.dump())
entries = st.one_of(
    st.just(ENTRY.dump()),
    mutated(
        st.dictionaries(st.sampled_from([*ENTRY_FIELDS, "other"]), stored_values, max_size=2).map(
            lambda changes: as_json({**ENTRY_FIELDS, **changes})
        )
    ),
    st.binary(max_size=60),
)


@PROFILE
@given(data=entries, keys=key_lists, now=st.floats(0, 4e9))
@example(data=DEEP, keys=None, now=NOW)
def test_any_stored_bytes_are_an_entry_of_an_account_or_damage(data, keys, now):
    store = MemoryStore({ACCOUNT.key: data}, keys and Encryption(keys))
    with only_wuying_errors():
        stored = store.read(ACCOUNT.key)
        assert (stored.entry is None) == (stored.damage is not None)
        if stored.entry is not None:
            assert stored.entry.account == ACCOUNT
            until = stored.entry.as_of(now).blocked_until(now)
            assert until is None or now < until <= now + 86400
    assert len(list(read_accounts(store))) <= 1


class FakeService:
    """A service that refreshes every token and accepts every login, or always fails."""

    timeout = 0.01

    def __init__(self, error: ServiceError | None) -> None:
        self.error = error

    def refresh(self, *_arguments: t.Any, **_options: t.Any) -> RefreshResult:
        """Raise the error, or return the next token."""
        if self.error is not None:
            raise self.error
        return RefreshResult(NEXT, None, NOW)

    def log_in(self, *_arguments: t.Any) -> LoginAnswer:
        """Raise the error, or return the next token."""
        return LoginAnswer(*self.refresh())


def show(outcome: Outcome) -> None:
    """Check that the result of a task contains no secret."""
    shown = describe(outcome, NOW, return_token=False)
    text = json.dumps([shown, compare(outcome, predicted=False)])
    assert not [form for form in FORMS if form in text]


@PROFILE
@given(data=stored, keys=key_lists)
@example(data=DEEP, keys=None)
@example(data=ENVELOPE + DEEP, keys=KEYS)
@example(data=Encryption(KEYS).encrypt(b"").replace(b'"payload":"', b'"payload":"\\ud800'), keys=KEYS)
def test_any_stored_bytes_are_a_record_damage_or_an_error(data, keys):
    store = MemoryStore({SESSION.key: data}, keys and Encryption(keys))
    with only_wuying_errors():
        stored = store.read(SESSION.key)
        assert (stored.record is None) == (stored.damage is not None)
        assert SECRET not in (stored.damage or "")
        if stored.record is not None:
            assert stored.record.session == SESSION
            assert is_token(stored.record.login_token)
            assert isinstance(hash(stored.snapshot()), int)
            again = store.load_state(SESSION.key, store.dump(stored.record), None)
            assert again.record == stored.record


@PROFILE
@given(data=notes)
@example(data=DEEP)
def test_any_stored_bytes_are_a_note(data):
    note = load_note(data or b"")
    assert isinstance(note.may_be_spent(SECRET), bool)
    following = new_note(note, fingerprint(SECRET), "a test")
    assert following.may_be_spent(SECRET)
    assert load_note(following.dump()) == following
    error = note.error()
    assert error is None or isinstance(error, WuyingError)


@PROFILE
@given(
    data=stored,
    note=notes,
    keys=key_lists,
    token=st.sampled_from([None, SECRET, "v1first", "v1new"]),
    force=st.booleans(),
    login=st.sampled_from([None, PasswordLogin(SECRET), PasswordLogin(SECRET, force=True)]),
    entry=st.one_of(st.none(), entries),
    now=st.sampled_from([NOW, NOW + 700, NOW + 1000, NOW - 100, NOW + 9000, NOW + 9e5]),
    error=st.sampled_from(
        [
            None,
            ServiceError("It is busy.", retryable=True),
            TokenRejected("It was refused.", code="InvalidLoginToken"),
            Refused("It was refused.", code="SomethingElse"),
            LoginRefused("It was refused.", code="SomethingElse"),
        ]
    ),
)
def test_a_keeper_copes_with_any_stored_bytes(data, note, keys, token, force, login, entry, now, error):
    files = {SESSION.key: data, f"note {SESSION.key}": note, ACCOUNT.key: entry}
    files = {name: each for name, each in files.items() if each is not None}
    store = MemoryStore(files, keys and Encryption(keys))
    warnings: list[str] = []
    service = t.cast(ServiceClient, FakeService(error))
    keeper = Keeper(store, lambda: service, scope="", deadline=time.monotonic() + 60, clock=lambda: now)
    request = TokenRequest(SESSION, token, force, password_login=login)
    with only_wuying_errors():
        snapshot = store.read(SESSION.key)
        with only_wuying_errors():
            show(keeper.predict(request, snapshot, warnings.append))
        with only_wuying_errors():
            show(keeper.ensure(request, warnings.append))
        # A caller that saw another state before it waited for the lock shares its failure.
        with only_wuying_errors():
            show(keeper.obtain(request, snapshot._replace(note=None).snapshot(), warnings.append))
        show(keeper.delete(SESSION.key))
    assert not [form for form in FORMS if form in "".join(warnings)]


# Options

any_values: st.SearchStrategy[t.Any] = st.one_of(
    json_values,
    st.binary(max_size=5),
    st.tuples(any_text),
    st.sets(st.integers(), max_size=2),
    st.builds(object),
    st.dictionaries(st.one_of(st.none(), st.integers(), st.tuples()), json_values, max_size=2),
)
hosts = st.sampled_from(["localhost", "[::1]", "[::g]", "[1.2.3]", "a,b", "h:1", "h:99999", "h:٣", "", "ü"])
addresses = st.builds(
    "{}{}{}".format,
    st.sampled_from(["redis://", "rediss+cluster://", "redis+sentinel://", "unix://", "x://", ""]),
    hosts,
    st.sampled_from(["", "/0", "/x", "/service/1", f"?password={SECRET}", f"#{SECRET}", "/\0"]),
)
mutated_addresses = mutated(addresses.map(str.encode)).map(lambda value: value.decode("utf-8", "surrogateescape"))
paths = st.sampled_from(["/tmp/x", "~/x", "~nobody/x", "~\0", "~\ud800", "$HOME/x", "${\ud800}", "/\0"])
VALID: dict[str, st.SearchStrategy[t.Any]] = {
    "region_id": st.just("cn-hangzhou"),
    "client_id": st.just("client"),
    "office_site_id": st.just("office"),
    "end_user_id": st.just("alice"),
    "endpoint": mostly(ENDPOINT, st.sampled_from([None, "https://example.com:443", f"https://{SECRET}@x"])),
    "validity": st.just(900),
    "refresh_before": st.just(300),
    "store": mostly(None, st.just("none"), addresses, mutated_addresses, paths),
    "store_key": mostly(None, st.sampled_from([KEYS, KEYS[0], [SECRET], ["é"], ["QUFB"], []])),
    "auth_method": st.sampled_from(["access_key", "anonymous"]),
    "access_key_id": st.sampled_from([None, "id", "é"]),
    "access_key_secret": st.sampled_from([None, SECRET, f"{SECRET} "]),
    "security_token": st.sampled_from([None, SECRET]),
    "signature_version": st.just("v3"),
    "timeout": st.just(10.0),
    "retries": st.just(3),
    "deadline": st.just(60.0),
    "validate_certs": st.booleans(),
    "proxy": mostly(None, st.sampled_from(["http://127.0.0.1:9", f"http://{SECRET}@x", f"https://{SECRET}"])),
    "login_token": st.sampled_from([None, "", SECRET, f"{SECRET}\n"]),
    "password": st.sampled_from([None, None, SECRET, f"{SECRET}\n", "x" * 1025]),
    "totp_secret": mostly(None, st.sampled_from([SECRET, "JBSWY3DPEHPK3PXP", "otpauth://totp/a?secret=JBSWY3DP"])),
    "authentication_code": mostly(None, st.sampled_from(["012345", 123456, SECRET])),
    "stay_logged_in": st.booleans(),
    "filters": mostly(None, st.dictionaries(st.sampled_from([*IDENTITY, "x"]), any_values, max_size=2)),
}
OPTIONS = [*argument_spec(), *login_spec(), "filters"]
options = st.builds(
    lambda valid, changes: {**valid, **changes},
    st.fixed_dictionaries({name: VALID.get(name, st.none()) for name in OPTIONS}),
    mostly({}, st.dictionaries(st.sampled_from(OPTIONS), st.one_of(words, any_values), max_size=2)),
)
own_options = st.dictionaries(st.sampled_from([*IDENTITY, *login_spec()]), st.one_of(words, any_values), max_size=3)


@PROFILE
@given(options=options)
def test_any_option_is_accepted_or_refused(options):
    get_option = options.get
    with only_wuying_errors():
        request = read_request(get_option)
        assert request.login_token is None or is_token(request.login_token)
        assert request.session.key
    with only_wuying_errors():
        read_selection(get_option)(SESSION)
    with only_wuying_errors():
        with open_keeper(get_option, print) as keeper:
            assert isinstance(keeper, Keeper)


@PROFILE
@given(options=options, sessions=st.lists(own_options, max_size=3))
def test_any_list_of_sessions_is_accepted_or_refused(options, sessions):
    with only_wuying_errors():
        requests = read_requests({**options, "login_token": None}.get, sessions)
        assert len(requests) == len(sessions)


@PROFILE
@given(filters=st.one_of(VALID["filters"], any_values))
def test_any_filter_is_accepted_or_refused(filters):
    with only_wuying_errors():
        assert isinstance(read_filters(filters)(SESSION), bool)


@PROFILE
@given(address=st.one_of(addresses, any_text, words))
def test_any_redis_address_is_accepted_or_refused(address):
    with only_wuying_errors():
        parsed = parse_address(address)
        assert str(parsed)
        assert all(0 < port < 65536 for _name, port in parsed.hosts)
