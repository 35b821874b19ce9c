"""Branches in real containers of an engine: what Podman builds and runs, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot_sandbox.agent.engine import OWNER_LABEL
from tests import engine_images
from tests.clone import Clone, get, get_json
from tests.e2e.looks import TESTERS, deployed, query, told
from tests.engine_images import NO_ENGINE

pytestmark = [
    pytest.mark.e2e,
    NO_ENGINE,
]

# Run in a container, and for the command that fills staging.
REACH = """
import json, os, ssl, urllib.error, urllib.request
import psycopg

rds = json.loads(os.environ["DB_CREDENTIALS"])
with psycopg.connect(host=rds["host"], port=rds["port"], user=rds["username"], password=rds["password"],
                     dbname=rds["dbname"], sslmode="require") as connection:
    found = {"database": connection.execute("SELECT current_database()").fetchone()[0]}
found |= {"key": len(os.environ["STRIPE_KEY"]), "file": os.environ["FROM_FILE"]}
if "AWS_CA_BUNDLE" in os.environ:
    trusted = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
    try:
        urllib.request.urlopen("https://sts.us-east-1.amazonaws.com/", timeout=20, context=trusted)
    except urllib.error.HTTPError as error:
        found["aws"] = error.code  # this call is not signed
    found["signs"] = os.environ.keys() >= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
print(json.dumps(found))
"""
SECRETS = """env_file: web.env
variables:
  REDIS_PORT: '6379'
secrets:
  STRIPE_KEY: /shop/STRIPE_KEY
  DB_CREDENTIALS: {secretsmanager: shop/rds}
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    engine_images.make()
    made = Clone(tmp_path_factory.mktemp("clone"))
    made.stage_megabytes, made.containers = 5, "engine"
    (made.folder / "Dockerfile").write_text(engine_images.DOCKERFILE)
    (made.folder / "demo/reach.py").write_text(REACH)
    (made.folder / "web.env").write_text("FROM_FILE=1\n")
    manifest = made.folder / "copilot/web/manifest.yml"
    text = manifest.read_text()
    manifest.write_text(text.replace("variables:\n  REDIS_PORT: '6379'\nsecrets:\n", SECRETS, 1))
    (made.folder / ".env").write_text(
        "SANDBOX_STAGE_COMMAND=python -m demo.reach && python manage.py migrate --noinput "
        "&& python manage.py fill_stage --megabytes {megabytes}\n"
    )
    made.commit("An image without apt, and secrets")
    yield made
    made.stop()


BURN = """
import time
end = time.monotonic() + 1
while time.monotonic() < end:
    pass
print(time.process_time())
"""


def podman(*words: str) -> list[str]:
    done = subprocess.run(["podman", *words], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def of_clone(clone: Clone, *words: str) -> list[str]:
    return podman(*words, "--filter", f"label={OWNER_LABEL}={clone.folder / '.sandbox'}")


def running(clone: Clone) -> set[str]:
    names = of_clone(clone, "ps", "--format", "{{.Names}}")
    return {name.rpartition("-")[2] for name in names}


def test_a_branch_is_built_and_run_by_the_engine(clone: Clone) -> None:
    started = clone.do("sandbox")
    assert "branches are built and run in containers of podman" in started.err
    ran = clone.do("deploy-test", "--branch", "main", "--json")
    document = json.loads(ran.out)
    url = document["url"].rstrip("/")
    assert get(f"{url}/")[0] == 200
    found = get_json(f"{url}/status.json")
    assert (found["branch"], found["counter"]) == ("main", 2)
    assert sum(found["rows"].values()) > 1000
    assert running(clone) == {"web", "redis"}


def test_its_containers_get_the_secrets_and_reach_the_database_and_the_embedded_aws(clone: Clone) -> None:
    (web,) = (each for each in of_clone(clone, "ps", "--format", "{{.Names}}") if each.endswith("-web"))
    (found,) = podman("exec", web, "python3", "-m", "demo.reach")
    assert json.loads(found) == {"database": "test", "key": 43, "file": "1", "aws": 403, "signs": True}
    (log,) = (clone.folder / ".sandbox").rglob("fill.log")
    filling = {"database": "stage", "key": 43, "file": "1", "aws": 403, "signs": False}  # with no task's role
    assert json.loads(log.read_text().splitlines()[0]) == filling


def test_its_containers_are_confined_and_limited(clone: Clone) -> None:
    (web,) = (each for each in of_clone(clone, "ps", "--format", "{{.Names}}") if each.endswith("-web"))
    (redis,) = (each for each in of_clone(clone, "ps", "--format", "{{.Names}}") if each.endswith("-redis"))
    (found,) = json.loads("\n".join(podman("inspect", web)))
    assert (found["HostConfig"]["Memory"], found["HostConfig"]["NanoCpus"]) == (512 * 2**20, 0)
    assert 0.05 < float(podman("exec", web, "python3", "-c", BURN)[0]) < 0.4  # of a processor
    assert "10001" in podman("exec", web, "id")[0]
    spaces = {podman("exec", name, "ls", "-l", "/proc/self/ns/net")[0].split()[-1] for name in (web, redis)}
    assert len(spaces) == 1
    assert spaces != {os.readlink("/proc/self/ns/net")}  # noqa: PTH115 - its target is no path
    interfaces = [line.split(":")[0].strip() for line in podman("exec", web, "cat", "/proc/net/dev")[2:]]
    assert interfaces == ["lo"]
    secret = query(clone, "SELECT 1")  # Postgres answers from outside as well
    assert secret == [[1]]
    assert not [line for line in podman("inspect", web) if "demo-data" in line]


@pytest.mark.nightly
def test_its_log_its_copy_and_its_neighbour_are_as_with_processes(clone: Clone) -> None:
    ran = clone.do("logs", "--container", "startup", "--limit", "200")
    assert "copy_stage_db" in ran.out
    query(clone, "UPDATE shop_product SET name = %s", TESTERS)
    ran = clone.do("copy-db", "--yes", "--json")
    assert json.loads(ran.out)["database"] == "test"
    assert query(clone, "SELECT 1 FROM shop_product WHERE name = %s", TESTERS) == []
    clone.branch("feature/own", {"notes.txt": "one more"})
    url = deployed(clone.invoke("deploy-test", "--branch", "feature/own", "--isolated"))
    assert get_json(f"{url}/status.json")["branch"] == "feature/own"
    clone.do("teardown", "--branch", "feature/own", "--yes")
    assert [each["branch"] for each in clone.status()] == ["main"]
    assert running(clone) == {"web", "redis"}


@pytest.mark.nightly
def test_a_dockerfile_that_reaches_files_of_this_machine_is_not_built(clone: Clone) -> None:
    clone.branch("hostile", {"Dockerfile": 'FROM dir:/etc\nCMD ["true"]\n'})
    told(clone.invoke("deploy-test", "--branch", "hostile"), 4, "dir:/etc names an image by a transport")


@pytest.mark.nightly
def test_an_image_that_nobody_can_pull_is_said_by_its_name(clone: Clone) -> None:
    manifest = (clone.folder / "copilot/web/manifest.yml").read_text()
    missing = manifest.replace(engine_images.REDIS, "registry.invalid/redis:7")
    assert missing != manifest
    clone.branch("unknown", {"copilot/web/manifest.yml": missing})
    told(
        clone.invoke("deploy-test", "--branch", "unknown"), 4, "CannotPullContainerError", "registry.invalid"
    )
    clone.do("deploy-test", "--branch", "main", "--force")


@pytest.mark.nightly
def test_after_the_server_was_killed_no_container_is_left_and_the_next_deploy_starts_anew(
    clone: Clone,
) -> None:
    pid = json.loads((clone.folder / ".sandbox/server.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    ran = clone.do("status")
    assert "had ended without being stopped" in ran.err
    assert running(clone) == set()
    url = deployed(clone.invoke("deploy-test", "--branch", "main"))
    assert get(f"{url}/")[0] == 200


@pytest.mark.nightly
def test_a_reset_removes_containers_volumes_and_images(clone: Clone) -> None:
    assert of_clone(clone, "volume", "ls", "--quiet")
    assert of_clone(clone, "images", "--quiet")
    clone.do("teardown", "--yes")
    assert running(clone) == set()
    clone.do("sandbox", "--reset", "--yes")
    assert of_clone(clone, "ps", "--all", "--quiet") == []
    assert of_clone(clone, "volume", "ls", "--quiet") == []
    assert of_clone(clone, "images", "--quiet") == []


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("dockerfile", "reason"),
    [
        ("FROM registry.invalid/python:3.12\n", "podman cannot pull registry.invalid/python:3.12"),
        (f"FROM {engine_images.PYTHON}\nRUN exit 3\n", "podman could not build the image of Dockerfile"),
    ],
)
def test_where_the_engine_cannot_build_the_project_it_runs_as_processes_and_that_is_said(
    tmp_path: Path, dockerfile: str, reason: str
) -> None:
    engine_images.make()
    made = Clone(tmp_path, is_light=True)
    own = (made.folder / "Dockerfile").read_text()
    (made.folder / "Dockerfile").write_text(dockerfile + own[own.index("\n", own.index("\nFROM") + 1) :])
    made.commit("An image that Podman cannot build")
    made.stage_megabytes, made.containers = 1, "auto"
    try:
        ran = made.do("sandbox")
        assert f"containers run as processes of this machine, without an engine: {reason}" in ran.err
        made.do("sandbox", "--stop")
        made.containers = "engine"
        told(made.invoke("sandbox"), 4, f"No container engine can be used: {reason}")
    finally:
        made.stop()
