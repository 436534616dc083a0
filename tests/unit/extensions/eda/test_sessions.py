# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event source that watches the sessions in a store."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import textwrap
import time
import types
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.wuying.workspace.extensions.eda.plugins.event_source import sessions
from ansible_collections.wuying.workspace.plugins.module_utils._model.encoding import format_timestamp
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError, StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import next_record
from ansible_collections.wuying.workspace.plugins.module_utils._model.note import new_note
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session, fingerprint
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.wiring import open_store_only
from ansible_collections.wuying.workspace.plugins.module_utils._store.directory import DirectoryStore
from ansible_collections.wuying.workspace.plugins.module_utils._store.encryption import Encryption
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.odd_texts import odd_texts
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import RedisServers
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import file_of, put, session_at

ALICE = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
BOB = ALICE._replace(end_user_id="bob")
CURRENT, STALE, EXPIRED = 800.0, 20.0, -5.0
KEY = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MDA="
OTHER_KEY = "b3RoZXIwb3RoZXIwb3RoZXIwb3RoZXIwb3RoZXIwb3Q="
SCRIPT = Path(str(sessions.__file__))
GUIDE = (SCRIPT.parents[4] / "docs/docsite/rst/guide_eda.rst").read_text(encoding="utf-8")
TYPES = (*sessions.SITUATIONS[1:], sessions.REPAIRED, sessions.STORE_FAILED, sessions.STORE_RECOVERED)


class Watched:
    """A directory store, and the event source that watches it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = DirectoryStore(str(path))
        self._watcher = self._start()

    def _start(self, **options: t.Any) -> sessions.Watcher:
        return sessions.Watcher(sessions.read_options({"store": str(self.path), **options}))

    def restart(self, **options: t.Any) -> None:
        """Start the source again."""
        self._watcher = self._start(**options)

    def have(self, session: Session, seconds_left: float, **changes: t.Any) -> Record:
        """Save a new token of a session."""
        record = make_record(session, seconds_left)._replace(**changes)
        put(self.store, record)
        return record

    def end(self, record: Record, code: str = "InvalidLoginToken") -> Record:
        """Save that the service has rejected the token of a session."""
        ended = record.ended_with(code)
        put(self.store, ended)
        return ended

    def fail(self, record: Record, token: str, code: str) -> None:
        """Save the failure of a refresh."""
        with self.store.lock(record.session.key, time.monotonic() + 10) as locked:
            note = new_note(None, fingerprint(token), "a test")
            locked.write_note(note)
            locked.save_failure(note.failed(StoreError("It failed.", code=code), unknown=False))

    def delete(self, session: Session) -> None:
        """Delete the record of a session."""
        with self.store.lock(session.key, time.monotonic() + 10) as locked:
            locked.delete()

    def poll(self) -> list[sessions.Event]:
        """Return the events since the last poll."""
        return self._watcher.poll()

    def types(self) -> list[str]:
        """Return the types of the events since the last poll."""
        return [event["type"] for event in self.poll()]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """Return a store with a current session, which the source has seen."""
    watched = Watched(tmp_path / "store")
    watched.have(ALICE, CURRENT)
    assert watched.poll() == []
    return watched


def make_record(session: Session, seconds_left: float) -> Record:
    """Return a record with a new token."""
    return next_record(None, session, None, f"v1token-{time.time_ns()}", time.time() + seconds_left - 900, 900, None)


def keep_alive(**changes: t.Any) -> KeepAlive:
    """Return a keep-alive token."""
    return KeepAlive("v1keep-alive", time.time(), time.time())._replace(**changes)


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Change the clock of the source by so many seconds."""
    real = time.time
    monkeypatch.setattr(sessions, "time", types.SimpleNamespace(time=lambda: real() + seconds))


# Changes of a session


def test_a_current_session_causes_no_event(watched):
    watched.have(ALICE, CURRENT)
    assert watched.poll() == []


@pytest.mark.parametrize(("seconds_left", "expected"), [(46, []), (44, ["stale"]), (1, ["stale"]), (-1, ["expired"])])
def test_a_token_is_stale_if_it_is_valid_for_no_more_than_45_seconds(watched, seconds_left, expected):
    watched.have(ALICE, seconds_left)
    assert watched.types() == expected


def test_refresh_before_sets_when_a_token_is_stale(watched):
    watched.have(ALICE, 90)
    watched.restart(refresh_before=100)
    assert watched.types() == ["stale"]


@pytest.mark.parametrize("seconds_left", [STALE, EXPIRED])
def test_no_event_is_repeated(watched, seconds_left):
    watched.have(ALICE, seconds_left)
    assert len(watched.types()) == 1
    assert watched.poll() == []


def test_a_session_that_gets_worse_causes_one_event_for_each_situation(watched, monkeypatch):
    record = watched.have(ALICE, STALE)
    seen = watched.types()
    set_clock(monkeypatch, STALE + 5)
    seen += watched.types()
    watched.end(record._replace(keep_alive=keep_alive()))
    seen += watched.types()
    watched.end(record._replace(keep_alive=keep_alive(refusals=1, refused_at=time.time())))
    seen += watched.types() + watched.types()
    assert seen == ["stale", "expired", "ended", "login_needed"]


def test_an_ended_session_without_a_keep_alive_token_needs_a_login(watched):
    watched.end(watched.have(ALICE, EXPIRED))
    assert watched.types() == ["login_needed"]


def test_an_ended_session_with_a_keep_alive_token_logs_in_by_itself(watched):
    watched.end(watched.have(ALICE, EXPIRED, keep_alive=keep_alive()))
    (event,) = watched.poll()
    assert (event["type"], event["stays_logged_in"]) == ("ended", True)


def test_a_refused_keep_alive_token_does_not_change_the_situation_when_its_wait_ends(watched, monkeypatch):
    watched.end(watched.have(ALICE, EXPIRED, keep_alive=keep_alive(refusals=1, refused_at=time.time())))
    seen = watched.types()
    set_clock(monkeypatch, 7200)
    assert seen + watched.types() == ["login_needed"]


@pytest.mark.parametrize("seconds_left", [STALE, EXPIRED])
def test_a_new_token_repairs_a_session(watched, seconds_left):
    watched.have(ALICE, seconds_left)
    watched.poll()
    watched.have(ALICE, CURRENT)
    assert watched.types() + watched.types() == ["repaired"]


def test_a_login_repairs_a_session_that_has_ended(watched):
    watched.end(watched.have(ALICE, EXPIRED))
    watched.poll()
    watched.have(ALICE, CURRENT)
    (event,) = watched.poll()
    assert event["type"] == "repaired"
    assert "error_code" not in event


def test_a_new_token_that_is_stale_already_is_reported_again(watched):
    watched.have(ALICE, STALE)
    watched.poll()
    watched.have(ALICE, STALE + 1)
    assert watched.types() == ["stale"]


def test_a_deleted_session_causes_no_event(watched):
    watched.have(BOB, STALE)
    watched.poll()
    watched.delete(BOB)
    assert watched.poll() == []


def test_a_session_that_was_deleted_and_started_again_is_not_repaired(watched):
    watched.have(BOB, STALE)
    watched.poll()
    watched.delete(BOB)
    watched.poll()
    watched.have(BOB, CURRENT)
    assert watched.poll() == []


def test_sessions_that_are_valid_again_are_forgotten(watched):
    for number in range(20):
        watched.have(ALICE._replace(end_user_id=f"user-{number}"), STALE)
    watched.poll()
    assert len(watched._watcher._reported) == 20
    for number in range(20):
        watched.have(ALICE._replace(end_user_id=f"user-{number}"), CURRENT)
    watched.poll()
    assert not watched._watcher._reported


# The start


def test_the_first_read_reports_the_sessions_that_are_not_valid(watched):
    watched.have(BOB, STALE)
    watched.restart()
    (event,) = watched.poll()
    assert (event["type"], event["initial"], event["session"]["end_user_id"]) == ("stale", True, "bob")


def test_a_restart_reports_sessions_again_as_initial(watched):
    watched.have(BOB, STALE)
    first = watched.poll()
    watched.restart()
    second = watched.poll()
    assert [event["initial"] for event in first + second] == [False, True]
    assert watched.poll() == []


def test_sessions_are_initial_if_the_store_cannot_be_read_at_first(watched):
    watched.have(BOB, STALE)
    watched.path.chmod(0o755)
    watched.restart()
    assert watched.types() == ["store_failed"]
    watched.path.chmod(0o700)
    assert [(event["type"], event["initial"]) for event in watched.poll()] == [
        ("stale", True),
        ("store_recovered", True),
    ]


# The clock


def test_a_clock_that_is_set_back_repairs_nothing_and_repeats_nothing(watched, monkeypatch):
    watched.have(BOB, EXPIRED)
    watched.poll()
    set_clock(monkeypatch, -40)
    assert watched.poll() == []
    set_clock(monkeypatch, 0)
    assert watched.poll() == []


def test_tokens_from_the_future_are_stale(watched, monkeypatch):
    set_clock(monkeypatch, -7200)
    (event,) = watched.poll()
    assert (event["type"], event["remaining"]) == ("stale", 900)
    assert watched.poll() == []


# Fields of an event


def test_an_event_describes_the_session(watched):
    record = watched.have(ALICE, EXPIRED)
    assert watched.poll() == [
        {
            "type": "expired",
            "initial": False,
            "key": ALICE.key,
            "session": ALICE.identity(),
            "obtained_at": format_timestamp(record.obtained_at),
            "expires_at": format_timestamp(record.expires_at),
            "remaining": 0,
            "stays_logged_in": False,
        }
    ]


def test_an_ended_session_has_the_code_with_which_the_service_rejected_the_token(watched):
    record = watched.end(watched.have(ALICE, EXPIRED), "OutcomeUnknown")
    watched.fail(record, record.login_token, "ServiceUnavailable")
    assert [event["error_code"] for event in watched.poll()] == ["OutcomeUnknown"]


def test_a_stale_session_has_the_code_of_its_last_refresh(watched):
    record = watched.have(ALICE, STALE)
    watched.fail(record, record.login_token, "ServiceUnavailable")
    assert [event["error_code"] for event in watched.poll()] == ["ServiceUnavailable"]


def test_the_failure_of_another_token_is_not_that_of_the_session(watched):
    record = watched.have(ALICE, STALE)
    watched.fail(record, "v1passed", "InvalidLoginToken")
    assert "error_code" not in watched.poll()[0]


def test_a_refresh_that_is_in_progress_has_no_code(watched):
    record = watched.have(ALICE, STALE)
    with watched.store.lock(ALICE.key, time.monotonic() + 10) as locked:
        locked.write_note(new_note(None, fingerprint(record.login_token), "a test"))
    assert "error_code" not in watched.poll()[0]


def test_events_of_odd_identities_are_json_and_contain_no_secret(watched):
    texts = [text for text in odd_texts(150) if not sessions.TEMPLATE.search(text)]
    secrets: list[str] = []
    for text in texts:
        session = ALICE._replace(end_user_id=text, office_site_id=text, directory_id=text)
        record = watched.have(session, EXPIRED, keep_alive=keep_alive(token=f"v1keep-{len(secrets)}"), uuid="v1uuid")
        put(watched.store, record.ended_with("InvalidLoginToken") if len(secrets) % 2 else record)
        secrets += [record.login_token, fingerprint(record.login_token)]
    events = watched.poll()
    printed = json.dumps(events)
    assert {event["session"]["directory_id"] for event in json.loads(printed)} == set(texts)
    assert not [secret for secret in (*secrets, "v1keep", "v1uuid", "v1token") if secret in printed]


@pytest.mark.parametrize("name", ["{{ lookup('pipe', 'id') }}", "a{%b", "{# c"])
@pytest.mark.parametrize("option", ["end_user_id", "client_id", "office_site_id", "directory_id"])
def test_no_event_contains_a_template(watched, option, name):
    watched.have(ALICE._replace(**{option: name}), EXPIRED)
    watched.have(ALICE._replace(end_user_id="{bob}"), STALE)
    failed, stale = sorted(watched.poll(), key=lambda event: event["type"] == "stale")
    assert (failed["type"], failed["error_code"], stale["type"]) == ("store_failed", "DamagedRecord", "stale")
    assert name not in json.dumps([failed, stale])
    assert watched.poll() == []


def test_filters_select_sessions(watched):
    for session in (ALICE, BOB):
        watched.have(session, STALE)
    watched.restart(filters={"end_user_id": ["bob", "carol"]})
    assert [event["session"]["end_user_id"] for event in watched.poll()] == ["bob"]


# The store


def test_a_store_that_cannot_be_read_is_reported_once_and_watched_on(watched, caplog):
    watched.have(BOB, STALE)
    watched.poll()
    watched.path.chmod(0o755)
    (event,) = watched.poll()
    assert (event["type"], event["error_code"], event["initial"]) == ("store_failed", "StoreUnsafe", False)
    assert str(watched.path) in event["msg"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert watched.poll() == []
    watched.path.chmod(0o700)
    assert watched.types() == ["store_recovered"]


def test_failures_that_alternate_are_reported_once_each(watched):
    watched.have(BOB, STALE)
    watched.poll()
    content = file_of(watched.path, BOB).read_bytes()
    events = []
    for _time in range(3):
        file_of(watched.path, BOB).write_bytes(b"{")
        events += watched.poll()
        watched.path.chmod(0o755)
        events += watched.poll()
        watched.path.chmod(0o700)
    assert [event["error_code"] for event in events] == ["DamagedRecord", "StoreUnsafe"]
    for _read in range(20):  # A damaged record that stays does not hide later failures.
        assert watched.poll() == []
    watched.path.chmod(0o755)
    assert watched.types() == ["store_failed"]
    watched.path.chmod(0o700)
    file_of(watched.path, BOB).write_bytes(content)
    assert watched.types() == ["store_recovered"]


def test_sessions_that_change_while_the_store_cannot_be_read_are_reported_afterwards(watched):
    watched.have(BOB, STALE)
    watched.poll()
    watched.path.chmod(0o755)
    watched.poll()
    watched.path.chmod(0o700)
    watched.have(BOB, CURRENT)
    watched.have(ALICE, EXPIRED)
    assert sorted(watched.types()) == ["expired", "repaired", "store_recovered"]


def test_a_store_without_sessions_is_reported(tmp_path):
    watched = Watched(tmp_path / "store")
    (event,) = watched.poll()
    assert (event["type"], event["error_code"]) == ("store_failed", "NoSession")
    assert not watched.path.exists()
    watched.have(ALICE, CURRENT)
    assert watched.types() == ["store_recovered"]


def test_a_damaged_record_does_not_hide_the_others(watched):
    watched.have(BOB, STALE)
    file_of(watched.path, ALICE).write_bytes(b"{")
    events = watched.poll()
    assert [event["type"] for event in events] == ["stale", "store_failed"]
    assert events[1]["error_code"] == "DamagedRecord"
    watched.have(ALICE, CURRENT)
    assert watched.types() == ["store_recovered"]


def test_a_session_whose_record_is_damaged_for_a_while_is_not_reported_again(watched):
    watched.have(BOB, STALE)
    watched.poll()
    content = file_of(watched.path, BOB).read_bytes()
    file_of(watched.path, BOB).write_bytes(b"{")
    watched.poll()
    file_of(watched.path, BOB).write_bytes(content)
    assert watched.types() == ["store_recovered"]


def test_encrypted_records_are_read(watched):
    watched.store = DirectoryStore(str(watched.path), Encryption([KEY]))
    watched.delete(ALICE)
    watched.have(BOB, STALE)
    watched.restart(store_key=f"{OTHER_KEY}, {KEY}")
    assert watched.types() == ["stale"]


def test_a_wrong_key_is_reported_once_for_all_sessions(watched):
    watched.store = DirectoryStore(str(watched.path), Encryption([KEY]))
    for session in (ALICE, BOB):
        watched.have(session, STALE)
    watched.restart(store_key=[OTHER_KEY])
    (event,) = watched.poll()
    assert (event["type"], event["error_code"]) == ("store_failed", "WrongStoreKey")


def test_a_store_in_redis_is_watched(tmp_path, monkeypatch):
    servers = RedisServers(tmp_path)
    try:
        rights = re.findall(r"user watcher on >PASSWORD (.+)", GUIDE)[0].split()
        server = servers(
            "--user", "default", "on", "nopass", "~*", "+@all", "--user", "watcher", "on", ">redis-secret", *rights
        )
        with open_store_only(sessions.read_options({"store": server.address}).get) as store:
            put(store, make_record(ALICE, STALE))
        monkeypatch.setenv("WUYING_TOKEN_STORE", server.address)
        monkeypatch.setenv("WUYING_TOKEN_STORE_USERNAME", "watcher")
        monkeypatch.setenv("WUYING_TOKEN_STORE_PASSWORD", "redis-secret")
        watcher = sessions.Watcher(sessions.read_options({"deadline": 5}))
        seen = [event["type"] for event in watcher.poll()]
        server.kill()
        (failed,) = watcher.poll()
        server.start()
        seen += [failed["type"], *(event["type"] for event in watcher.poll())]
        assert seen == ["stale", "store_failed", "store_recovered"]
        assert failed["error_code"] == "StoreUnavailable"
        assert "redis-secret" not in json.dumps(failed)
    finally:
        servers.stop()


def test_a_part_of_the_store_that_cannot_be_listed_does_not_end_what_is_known(watched, monkeypatch):
    watched.have(BOB, STALE)
    watched.poll()
    error = StoreError("A node cannot be reached.")
    with monkeypatch.context() as patched:
        patched.setattr(DirectoryStore, "keys", lambda self, prefix="": iter([ALICE.key, error]))
        assert watched.types() == ["store_failed"]
    assert watched.types() == ["store_recovered"]


# Options


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"stor": "/x"}, "'stor' is not an option of this event source. Did you mean store?"),
        ({"login_token": "v1secret"}, "'login_token' is not an option"),
        ({"interval": 0}, "interval must be a number"),
        ({"interval": "often"}, "interval must be a number"),
        ({"refresh_before": -1}, "refresh_before must be a number"),
        ({"deadline": None, "filters": ["alice"]}, "filters must be a dictionary"),
        ({"filters": {"user": "alice"}}, "filters contains an unknown key"),
        ({"store": "none"}, "store=none stores nothing"),
        ({"store": "relative"}, "store must be the absolute path"),
        ({"store": "redis://user:v1secret@localhost"}, "store"),
        ({"store": "/x", "store_key": ""}, "store_key is empty"),
        ({"store": "/x", "store_key": []}, "store_key is empty"),
        ({"store": "redis://localhost", "store_password": 4711}, "store_password must be a string"),
    ],
    ids=str,
)
def test_a_wrong_option_ends_the_source(options, text):
    with pytest.raises(OptionError, match=text) as raised:
        asyncio.run(asyncio.wait_for(sessions.main(asyncio.Queue(), options), 20))
    assert "v1secret" not in str(raised.value)


@pytest.mark.parametrize("variable", ["WUYING_TOKEN_STORE_PASSWORD", "WUYING_TOKEN_STORE_KEY"])
def test_secrets_from_the_environment_belong_to_a_store_from_the_environment(monkeypatch, variable):
    monkeypatch.setenv(variable, KEY)
    with pytest.raises(OptionError, match=f"{variable} is set, but this store was not named by WUYING_TOKEN_STORE"):
        sessions.read_options({"store": "redis://redis.example.com"})


def test_null_and_empty_values_are_not_given(monkeypatch):
    monkeypatch.setenv("WUYING_TOKEN_STORE", "/from/environment")
    options = sessions.read_options({"store": "", "filters": None, "interval": None})
    assert (options["store"], options["filters"], options["interval"]) == ("/from/environment", None, 30)


def test_galaxy_lists_the_source():
    listed = yaml.safe_load((SCRIPT.parents[4] / "meta/extensions.yml").read_text(encoding="utf-8"))["extensions"]
    assert [each["args"]["ext_dir"] for each in listed] == [str(SCRIPT.parent.relative_to(SCRIPT.parents[3]))]


def test_the_documentation_has_all_options_with_their_defaults():
    documented = yaml.safe_load(sessions.DOCUMENTATION)["options"]
    assert {name: option.get("default") for name, option in documented.items()} == sessions.DEFAULTS


def test_the_examples_have_valid_options():
    for example in yaml.safe_load(sessions.EXAMPLES):
        sessions.read_options(example["wuying.workspace.sessions"])


# As ansible-rulebook runs it


def test_changes_are_emitted_until_the_source_is_cancelled(watched):
    """Each change happens after the event of the previous one."""

    async def run() -> t.AsyncIterator[t.Any]:
        queue: asyncio.Queue[t.Any] = asyncio.Queue(1)
        source = asyncio.create_task(sessions.main(queue, {"store": str(watched.path), "interval": 0.1}))
        for session, seconds_left in ((BOB, None), (ALICE, EXPIRED), (ALICE, CURRENT)):
            if seconds_left is not None:
                watched.have(session, seconds_left)
            event = await asyncio.wait_for(queue.get(), 20)
            yield event["type"], event["session"]["end_user_id"], event["initial"]
        source.cancel()
        with pytest.raises(asyncio.CancelledError):
            await source

    async def collect() -> list[t.Any]:
        return [each async for each in run()]

    watched.have(BOB, STALE)
    assert asyncio.run(collect()) == [
        ("stale", "bob", True),
        ("expired", "alice", False),
        ("repaired", "alice", False),
    ]


def test_the_event_loop_runs_while_a_slow_store_is_read(watched, monkeypatch):
    keys = DirectoryStore.keys

    def slow_keys(self: DirectoryStore, prefix: str = "") -> t.Iterator[t.Any]:
        time.sleep(0.5)
        return keys(self, prefix)

    async def count_ticks() -> int:
        source = asyncio.create_task(sessions.main(asyncio.Queue(), {"store": str(watched.path)}))
        ticks = 0
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            await asyncio.sleep(0.01)
            ticks += 1
        source.cancel()
        await asyncio.gather(source, return_exceptions=True)
        return ticks

    monkeypatch.setattr(DirectoryStore, "keys", slow_keys)
    assert asyncio.run(count_ticks()) >= 5


@pytest.mark.parametrize(
    "files", [[], ["wuying/other/galaxy.yml"], ["__init__.py"]], ids=["none", "namespace", "package"]
)
def test_the_source_finds_its_own_collection_beside_others(watched, tmp_path, files):
    """On the path of Python there are no other collections, or some, or those of the package "ansible"."""
    core = tmp_path / "core"
    core.mkdir()
    (core / "ansible").symlink_to(Path(str(sys.modules["ansible"].__file__)).parent)
    for name in files:
        (core / "ansible_collections" / name).parent.mkdir(parents=True)
        (core / "ansible_collections" / name).touch()
    watched.have(ALICE, STALE)
    code = (
        "import asyncio, json, runpy, sys\n"
        "main = runpy.run_path(sys.argv[1])['main']\n"
        "async def run():\n"
        "    queue = asyncio.Queue()\n"
        "    source = asyncio.create_task(main(queue, {'store': sys.argv[2]}))\n"
        "    print(json.dumps(await asyncio.wait_for(queue.get(), 20)))\n"
        "    source.cancel()\n"
        "asyncio.run(run())\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(SCRIPT), str(watched.path)],
        env={**os.environ, "PYTHONPATH": str(core)},
        cwd=tmp_path,
        check=True,
        stdout=subprocess.PIPE,
        timeout=60,
    )
    assert json.loads(done.stdout)["type"] == "stale"


# Rulebooks and the guide


def read_rulebooks() -> list[t.Any]:
    """Return the rulebooks of the collection and of the guide."""
    blocks = re.findall(r"code-block:: yaml\+jinja\n\n((?:\n| +[^\n]*\n)+)", GUIDE)
    texts = [(SCRIPT.parents[2] / "rulebooks/sessions.yml").read_text(encoding="utf-8"), *map(textwrap.dedent, blocks)]
    return [yaml.safe_load(text)[0] for text in texts if "sources:" in text]


def types_of(rulebook: t.Any) -> set[str]:
    """Return the types of events that the conditions of a rulebook name."""
    conditions = [rule["condition"] for rule in rulebook["rules"]]
    return {name for condition in conditions for name in re.findall(r'"(\w+)"', condition)}


def names_in_table(title: str) -> set[str]:
    """Return the names in the first column of a table in the guide."""
    table = GUIDE.split(f"* - {title}\n")[1].split("\n\n")[0]
    return {
        name.removeprefix("event.")
        for row in re.findall(r"\* - (``.*)", table)
        for name in re.findall("``(.*?)``", row)
    }


def test_the_example_reacts_to_every_event_but_the_recovery_of_the_store():
    example = read_rulebooks()[0]
    assert types_of(example) == {*TYPES} - {"store_recovered"}


def test_rulebooks_have_valid_options_and_conditions():
    rulebooks = read_rulebooks()
    assert len(rulebooks) == 3
    for rulebook in rulebooks:
        sessions.read_options(rulebook["sources"][0]["wuying.workspace.sessions"])
        assert types_of(rulebook) <= {*TYPES}


def test_the_guide_lists_all_events_fields_and_options(watched):
    record = watched.end(watched.have(ALICE, EXPIRED))
    assert record.ended
    (event,) = watched.poll()
    assert names_in_table("``event.type``") == {*TYPES}
    assert names_in_table("Field") | {"type"} == set(event)
    assert names_in_table("Option") == set(sessions.DEFAULTS)
