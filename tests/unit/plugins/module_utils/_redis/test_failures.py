# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that each cause for which Redis cannot be used is named, with every version of the library."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._redis import connection, scripts
from ansible_collections.wuying.workspace.plugins.module_utils._redis.store import RedisStore
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.fake_redis import (
    FakeRedis,
    open_store,
    read_or_raise,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.faulty_server import (
    closed_port,
    make_certificate,
    wires,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.redis_server import (
    Certificates,
    RedisServer,
    RedisServers,
    make_certificates,
    require_redis,
)
from ansible_collections.wuying.workspace.tests.unit.plugins.module_utils.single_session import session_at

SESSION = session_at("https://ecd.cn-hangzhou.aliyuncs.com")
DENIED, TLS, DOWN = "StoreAccessDenied", "TlsFailed", "StoreUnavailable"


def lock(store: RedisStore) -> None:
    """Lock the session and release it."""
    with store.lock(SESSION.key, time.monotonic() + 1):
        pass


ACTIONS: tuple[t.Callable[[RedisStore], object], ...] = (
    lambda store: store.read(SESSION.key),
    lambda store: read_or_raise(store, SESSION.key, SESSION._replace(end_user_id="bob").key),
    lambda store: list(store.keys()),
    lock,
)


def assert_fails(
    address: str,
    code: str,
    message: str,
    *,
    retryable: bool = False,
    actions: t.Sequence[t.Callable[[RedisStore], object]] = ACTIONS,
    **options: t.Any,
) -> None:
    """Check that all actions fail with an error that contains ``message``, in time, and without text of the library."""
    seconds = 1 if retryable else 10  # The others are not retried.
    for action in actions:
        begun = time.monotonic()
        with contextlib.closing(open_store(address, seconds, **options)) as store:
            with pytest.raises(StoreError) as caught:
                action(store)
        error = caught.value
        assert message in error.message
        assert error.message.startswith(("The Redis server ", "The Redis Cluster "))
        assert (error.code, error.retryable) == (code, retryable)
        assert error.__cause__ is None and error.__context__ is None
        assert not any(text in error.message for text in ("sesame", "rror", "Err"))
        assert time.monotonic() - begun < seconds + 5


# Access

NO_PASSWORD = "requires a password. Set store_password, and store_username if the server has users."
WRONG_PASSWORD = (
    "does not accept this password. Check store_password. If the server has users, set store_username, too."
)
WRONG_LOGIN = "does not accept this user name and password. Check store_username and store_password"
NEEDLESS = "has no password. Omit store_password, or set a password on the server."


@pytest.mark.parametrize(
    ("login", "message"),
    [
        ({}, NO_PASSWORD),
        ({"password": ""}, NO_PASSWORD),
        ({"password": "sesame-wrong"}, WRONG_PASSWORD),
        ({"password": "sesame\n"}, WRONG_PASSWORD),
        ({"username": "ansible", "password": "sesame-wrong"}, WRONG_LOGIN),
        ({"username": "nobody", "password": "sesame"}, WRONG_LOGIN),
        ({"username": "disabled", "password": "sesame"}, WRONG_LOGIN),
        ({"username": "ansible"}, WRONG_LOGIN),
    ],
)
def test_a_wrong_login_is_named(servers: RedisServers, login: dict[str, t.Any], message: str) -> None:
    server = servers("--requirepass", "sesame")
    client = server.client(password="sesame")
    client.execute_command("ACL", "SETUSER", "ansible", "on", ">sesame", "allkeys", "allcommands")
    client.execute_command("ACL", "SETUSER", "disabled", "off", ">sesame", "allkeys", "allcommands")
    assert_fails(server.address, DENIED, message, **login)
    assert_fails(f"{server.address}/3", DENIED, message, **login)
    assert_fails(f"unix://{server.socket}", DENIED, message, **login)


def test_a_password_for_a_server_without_one_is_named(servers: RedisServers) -> None:
    assert_fails(servers().address, DENIED, NEEDLESS, password="sesame")


def test_a_missing_right_is_named(servers: RedisServers) -> None:
    server = servers()
    server.client().execute_command("ACL", "SETUSER", "few", "on", ">sesame", "~other:*", "+get")
    message = "denied this user access to a command or key"
    assert_fails(server.address, DENIED, message, username="few", password="sesame")


def test_protected_mode_is_named(fake: FakeRedis) -> None:
    fake.greeting = (
        b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the "
        b"default user. In this mode connections are only accepted from the loopback interface.\r\n"
    )
    assert_fails(fake.address, DENIED, "accepts only clients on its own host, because it is in protected mode")
    assert_fails(fake.address, DENIED, "protected mode", password="sesame")


def test_a_socket_that_cannot_be_opened_is_named(servers: RedisServers, tmp_path: Path) -> None:
    assert_fails(f"unix://{tmp_path}/none", DOWN, "cannot be reached. Check store and", retryable=True)
    if os.geteuid():
        server = servers()
        Path(server.socket).chmod(0)
        assert_fails(f"unix://{server.socket}", DENIED, "this user may not open its socket")


# TLS


@pytest.fixture(name="certificates")
def fixture_certificates(tmp_path: Path) -> t.Callable[..., Certificates]:
    """Return a function that makes certificates."""
    pytest.importorskip("cryptography")
    return lambda name, *hosts: make_certificates(tmp_path, name, *hosts)


def test_a_server_that_expects_tls_is_named(servers: RedisServers, certificates: t.Callable[..., Certificates]) -> None:
    server = servers(*certificates("mine", "127.0.0.1").options(), tls=True)
    message = "check whether it expects TLS. If so, store begins with rediss."
    assert_fails(server.address, DOWN, message, retryable=True)
    assert_fails(server.address, DOWN, message, retryable=True, password="sesame")


def test_a_server_that_does_not_use_tls_is_named(servers: RedisServers) -> None:
    address = servers().address.replace("redis:", "rediss:")
    assert_fails(address, DOWN, "For a server without TLS, store begins with redis instead of rediss.", retryable=True)


def test_a_server_that_replies_to_tls_without_it_is_named(fake: FakeRedis) -> None:
    fake.greeting = b"-ERR unknown command\r\n"
    assert_fails(fake.address.replace("redis:", "rediss:"), TLS, "does not use TLS on this port.")


def test_an_unknown_ca_and_another_name_are_named(
    servers: RedisServers, certificates: t.Callable[..., Certificates]
) -> None:
    mine, elsewhere = certificates("mine", "127.0.0.1"), certificates("elsewhere", "192.0.2.1")
    address = f"rediss://127.0.0.1:{servers(*mine.options(), tls=True).port}"
    unknown = "its certificate is signed by an unknown CA. Set store_ca_path"
    for ca_path in (None, str(elsewhere.ca), str(elsewhere.folder)):
        assert_fails(address, TLS, unknown, ca_path=ca_path)
    assert_fails(address, TLS, "could not be verified. Check store, store_ca_path and", ca_path=str(mine.key))
    server = servers(*elsewhere.options(), tls=True)
    other_name = "its certificate is for another name. Check the host in store"
    assert_fails(f"rediss://127.0.0.1:{server.port}", TLS, other_name, ca_path=str(elsewhere.ca))


def test_an_expired_certificate_is_named(tmp_path: Path) -> None:
    path, context = make_certificate(tmp_path, "127.0.0.1", days=-1)
    with wires() as start:
        wire = start(b"", context)
        message = "its certificate has expired. Renew the certificate."
        assert_fails(f"rediss://127.0.0.1:{wire.port}", TLS, message, ca_path=path)


def test_a_server_that_requires_a_client_certificate_is_named(
    servers: RedisServers, certificates: t.Callable[..., Certificates]
) -> None:
    mine = certificates("mine", "127.0.0.1")
    server = servers(*mine.options()[:-1], "yes", tls=True)
    messages: list[str] = []
    for _attempt in range(10):  # The server's reason may be lost with the connection.
        with contextlib.closing(open_store(f"rediss://127.0.0.1:{server.port}", ca_path=str(mine.ca))) as store:
            with pytest.raises(StoreError) as caught:
                store.read(SESSION.key)
        messages.append(caught.value.message)
        if "requires a client certificate, which is not supported" in messages[-1]:
            return
    pytest.fail(str(messages))


# Servers of another kind


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail.example.com ESMTP\r\n",
        b"J\x00\x00\x00\x0a8.0.36\x00",
        b"\x15\x03\x03\x00\x02\x02\x46",
        b":abc\r\n",
        b"$x\r\n",
        b"*1\r\n" * 5000,
    ],
)
def test_a_server_that_is_not_redis_is_named(fake: FakeRedis, greeting: bytes) -> None:
    fake.greeting = greeting
    message = "does not respond like a Redis server. Check the host and port in store."
    assert_fails(fake.address, DOWN, message)
    assert_fails(fake.address, DOWN, message, password="sesame")


def test_a_proxy_that_closes_connections_is_named() -> None:
    require_redis()
    with wires() as start:
        wire = start(lambda connection: connection.close(), reads=False)
        assert_fails(f"redis://127.0.0.1:{wire.port}", DOWN, "closed the connection. Try again.", retryable=True)


def test_a_proxy_that_refuses_commands_is_named(fake: FakeRedis) -> None:
    for name in (b"HMGET", b"SCAN", scripts.ACQUIRE.encode()):
        fake.replies[name] = b"-ERR unsupported command\r\n"
    assert_fails(fake.address, DOWN, "does not offer a command that the store needs")


def test_a_cluster_and_a_single_server_are_not_confused(servers: RedisServers) -> None:
    single = servers()
    node = servers("--cluster-enabled", "yes")
    other = f"redis+cluster://127.0.0.1:{single.port}"
    assert_fails(other, DOWN, "is not a cluster. Use redis:// or rediss:// in store.")
    assert_fails(f"{other},127.0.0.1:{closed_port()}", DOWN, "is not a cluster.")
    assert_fails(f"{node.address}/3", DOWN, "is part of a cluster. Use redis+cluster://")
    message = f"The Redis Cluster 127.0.0.1:{node.port} has no node for some sessions, "
    assert_fails(f"redis+cluster://127.0.0.1:{node.port}", DOWN, message, retryable=True)


# What a server replies instead of executing a command


def test_a_database_that_does_not_exist_is_named(servers: RedisServers) -> None:
    message = "has no database with the number in store. Use another number, or increase databases on the server."
    assert_fails(f"{servers().address}/99", DOWN, message)


@pytest.mark.parametrize("name", ["EVAL", "HMGET", "SCAN"])
def test_a_disabled_command_is_named(servers: RedisServers, name: str) -> None:
    server = servers("--rename-command", name, "")
    action = {"EVAL": lock, "HMGET": ACTIONS[0], "SCAN": ACTIONS[2]}[name]
    message = "does not offer a command that the store needs. Use Redis 6 or later, and enable EVAL"
    assert_fails(server.address, DOWN, message, actions=[action])


@contextlib.contextmanager
def script_running(server: RedisServer) -> t.Iterator[None]:
    """Run an endless script as another client, until the block ends."""
    server.client().config_set("busy-reply-threshold", 1)
    text = b"while true do end"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(server.socket)
        client.sendall(b"*3\r\n$4\r\nEVAL\r\n$%d\r\n%s\r\n$1\r\n0\r\n" % (len(text), text))
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(server.socket)
            reply = b""
            while not reply.startswith(b"-BUSY"):
                other.sendall(b"PING\r\n")
                reply = other.recv(1000)
            yield
            other.sendall(b"SCRIPT KILL\r\n")
            assert other.recv(1000) == b"+OK\r\n"


def test_a_script_of_another_client_is_named(servers: RedisServers) -> None:
    server = servers()
    with script_running(server):
        for address in (f"{server.address}/3", f"unix://{server.socket}"):
            assert_fails(address, DOWN, "is busy with the script of another client. Try again later", retryable=True)


def test_a_task_waits_for_the_script_of_another_client(servers: RedisServers) -> None:
    server = servers()
    with contextlib.closing(open_store(server.address, 30)) as store, contextlib.ExitStack() as script:
        script.enter_context(script_running(server))
        # Longer than a task retries after other failures
        timer = threading.Timer(3, script.close)
        timer.start()
        assert list(store.read_many([SESSION.key])) == [store.read(SESSION.key)]
        lock(store)
        timer.join(10)


def test_a_signal_ends_the_wait_for_a_script(servers: RedisServers, monkeypatch: pytest.MonkeyPatch) -> None:
    server = servers()
    monkeypatch.setattr(connection, "signal_pending", lambda: True)
    begun = time.monotonic()
    with script_running(server), contextlib.closing(open_store(server.address, 60)) as store:
        with pytest.raises(StoreError, match="is busy with the script"):
            store.read(SESSION.key)
    assert time.monotonic() - begun < 20


REPLIES = {
    "LOADING Redis is loading the dataset in memory": "is still loading its data. Try again.",
    "ERR max number of clients reached": "has too many clients. Try again later, or increase maxclients on the server.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": "is a replica that has lost its primary. Try again.",
}


@pytest.mark.parametrize("reply", REPLIES)
def test_a_server_that_is_not_available_says_why(fake: FakeRedis, reply: str) -> None:
    for name in (b"HMGET", b"SCAN", scripts.ACQUIRE.encode()):
        fake.replies[name] = f"-{reply}\r\n".encode()
    assert_fails(fake.address, DOWN, REPLIES[reply], retryable=True)


# Sentinels


def sentinel_for(servers: RedisServers, primary: RedisServer, *options: str) -> RedisServer:
    """Start a Sentinel that knows a server as ``mine``."""
    sentinel = servers("--sentinel", *options)
    with require_redis().Redis(port=sentinel.port) as client:
        client.execute_command("SENTINEL", "MONITOR", "mine", "127.0.0.1", primary.port, 1)
        client.execute_command("SENTINEL", "SET", "mine", "down-after-milliseconds", 200)
    return sentinel


def test_sentinels_with_a_password_are_named(servers: RedisServers) -> None:
    primary = servers()
    sentinel = sentinel_for(servers, primary)
    with require_redis().Redis(port=sentinel.port) as client:
        client.execute_command("ACL", "SETUSER", "default", "resetpass", ">sesame")
    address = f"redis+sentinel://127.0.0.1:{closed_port()},127.0.0.1:{sentinel.port}/mine"
    message = "cannot be found, because its Sentinels require a password, which is not supported."
    assert_fails(address, DENIED, message)
    assert_fails(address, DENIED, message, username="default", password="sesame")
    with contextlib.closing(
        open_store(f"{address.rpartition('/')[0]},127.0.0.1:{sentinel_for(servers, primary).port}/mine")
    ) as store:
        assert list(store.keys()) == []


def test_sentinels_that_do_not_respond_are_named(servers: RedisServers) -> None:
    message = "cannot be found, because none of its Sentinels responds."
    hosts = [f"127.0.0.1:{closed_port()}", "no-such-host.invalid"]
    for names in (hosts[0], ",".join(hosts)):
        assert_fails(f"redis+sentinel://{names}/mine", DOWN, message, retryable=True)
    sentinel = sentinel_for(servers, servers())
    sentinel.pause()
    try:
        assert_fails(f"redis+sentinel://127.0.0.1:{sentinel.port},{hosts[0]}/mine", DOWN, message, retryable=True)
    finally:
        sentinel.resume()


def test_a_name_that_sentinels_do_not_know_is_named(servers: RedisServers) -> None:
    sentinel = sentinel_for(servers, servers())
    address = f"redis+sentinel://127.0.0.1:{closed_port()},127.0.0.1:{sentinel.port}"
    assert_fails(f"{address}/other", DOWN, "is unknown to its Sentinels. Check the name in store.")


def test_hosts_that_are_not_sentinels_are_named(servers: RedisServers) -> None:
    address = f"redis+sentinel://127.0.0.1:{servers().port}/mine"
    assert_fails(address, DOWN, "cannot be found, because the hosts in store are not Sentinels.")


def test_a_primary_that_is_down_is_named(servers: RedisServers) -> None:
    primary = servers()
    sentinel = sentinel_for(servers, primary)
    primary.kill()
    with require_redis().Redis(port=sentinel.port, decode_responses=True) as client:
        end = time.monotonic() + 20
        while "s_down" not in str(client.execute_command("SENTINEL", "MASTER", "mine")):
            assert time.monotonic() < end
            time.sleep(0.05)
    address = f"redis+sentinel://127.0.0.1:{sentinel.port}/mine"
    assert_fails(address, DOWN, "has no working primary at the moment, according to its Sentinels.", retryable=True)


# The host of the task


def test_an_unknown_host_and_a_closed_port_are_named() -> None:
    require_redis()
    message = "cannot be reached, because its host name is unknown."
    for host in ("no-such-host.invalid", "a" * 70, "a..b"):
        assert_fails(f"redis://{host}", DOWN, message, retryable=True, actions=ACTIONS[:1])
    address = f"redis://127.0.0.1:{closed_port()}"
    assert_fails(address, DOWN, "cannot be reached. Check store and the network.", retryable=True)


@contextlib.contextmanager
def no_free_descriptors() -> t.Iterator[None]:
    """Let this process open no more files within the block."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as file:
        used = file.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("kind", ["server", "socket", "cluster", "sentinel", "tls"])
def test_too_many_open_files_are_named(servers: RedisServers, kind: str) -> None:
    server = servers()
    address = {
        "server": server.address,
        "socket": f"unix://{server.socket}",
        "cluster": f"redis+cluster://127.0.0.1:{server.port}",
        "sentinel": f"redis+sentinel://127.0.0.1:{server.port}/mine",
        "tls": f"rediss://127.0.0.1:{server.port}",
    }[kind]
    with no_free_descriptors():
        assert_fails(address, DOWN, "because too many files are open. Raise the limit of open files", retryable=True)


def test_a_limit_of_threads_is_named(servers: RedisServers, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_thread: t.Any) -> None:
        raise RuntimeError("can't start new thread")

    server = servers()
    address = server.address
    monkeypatch.setattr(threading.Thread, "start", fail)
    message = "because no thread can be started. Raise the limit of processes and threads"
    for each in (address, f"unix://{server.socket}", address.replace("redis://", "redis+cluster://")):
        assert_fails(each, DOWN, message, retryable=True, actions=ACTIONS[:1])


def import_with(folder: Path) -> StoreError:
    """Return the error of a store in a process that finds the library in ``folder``."""
    script = (
        "import time\n"
        "from ansible_collections.wuying.workspace.plugins.module_utils._redis.store import RedisStore\n"
        "from ansible_collections.wuying.workspace.plugins.module_utils._redis.address import parse_address\n"
        "try:\n"
        "    RedisStore(parse_address('redis://h'), username=None, password=None, ca_path=None, deadline=time.monotonic())\n"
        "except Exception as error:\n"
        "    print(error.code, error.message, sep='|', end='')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=False, text=True, timeout=60
    )
    assert not run.returncode, run.stderr
    code, _separator, message = run.stdout.partition("|")
    return StoreError(message, code=code)


@pytest.mark.parametrize("version", ["2.10.6", "3.5.3", "4.3.4", "4.6.0"])
@pytest.mark.parametrize("source", ["VERSION = ({version})", "import distutils_that_is_gone"])
def test_an_old_library_is_named(tmp_path: Path, version: str, source: str) -> None:
    numbers = version.replace(".", ", ")
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "__init__.py").write_text(source.format(version=numbers))
    (tmp_path / f"redis-{version}.dist-info").mkdir()
    (tmp_path / f"redis-{version}.dist-info" / "METADATA").write_text(f"Name: redis\nVersion: {version}\n")
    error = import_with(tmp_path)
    assert error.code == "MissingLibrary"
    assert f"redis 5 or later is required, but {version} is installed" in error.message


@pytest.mark.parametrize(
    "source",
    ["(", *(f"raise {name}('sesame')" for name in ("ImportError", "KeyError", "SystemError"))],
)
def test_a_library_that_cannot_be_imported_is_named(tmp_path: Path, source: str) -> None:
    (tmp_path / "redis.py").write_text(source)
    error = import_with(tmp_path)
    assert error.code == "MissingLibrary"
    assert "Failed to import the required Python library (redis)" in error.message
    assert "sesame" not in error.message


def test_too_many_open_files_while_the_library_is_imported_are_named(tmp_path: Path) -> None:
    (tmp_path / "redis.py").write_text("import errno\nraise OSError(errno.EMFILE, 'sesame')")
    error = import_with(tmp_path)
    assert "because too many files are open" in error.message and "sesame" not in error.message
