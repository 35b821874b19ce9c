"""Addons as `copilot storage init` writes them, deployed by the real Copilot with the real Postgres."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from copilot_sandbox.control_plane import ControlPlaneServer
from copilot_sandbox.databases import Databases
from copilot_sandbox.postgres import PostgresServer, remove
from copilot_sandbox.seed import seed
from copilot_sandbox.workspace import Workspace
from tests.sandbox.cloud import Agent, Cloud
from tests.sandbox.real_copilot import COPILOT, DOCKER, FakeAgent

pytestmark = pytest.mark.skipif(not COPILOT, reason="there is no Copilot to run")

AURORA = ("-t", "Aurora", "--engine", "PostgreSQL", "--initial-db", "main")
STORES = (
    ("-n", "db", *AURORA, "--lifecycle", "workload"),
    ("-n", "old-db", *AURORA, "--serverless-version", "v1", "--lifecycle", "workload"),
    ("-n", "shared", *AURORA, "--lifecycle", "environment"),
    ("-n", "my-media", "-t", "S3", "--lifecycle", "workload"),
    ("-n", "files", "-t", "S3", "--lifecycle", "environment"),
    ("-n", "things", "-t", "DynamoDB", "--partition-key", "id:S", "--no-sort", "--lifecycle", "workload"),
)
MANIFEST = """name: web
type: Load Balanced Web Service
image: {location: 'public.ecr.aws/docker/library/busybox:1.37', port: 80}
http: {path: /}
network:
  vpc:
    security_groups: [{from_cfn: 'shop-${COPILOT_ENVIRONMENT_NAME}-sharedSecurityGroup'}]
variables: {FILES: {from_cfn: 'shop-${COPILOT_ENVIRONMENT_NAME}-filesBucketName'}}
secrets: {SHARED_SECRET: {from_cfn: 'shop-${COPILOT_ENVIRONMENT_NAME}-sharedAuroraSecret'}}
"""

IMPORTING = """
Resources:
  Topic:
    Type: AWS::SNS::Topic
    Properties:
      DisplayName: !ImportValue {'Fn::Sub': '${App}-${Env}-EnvironmentSecurityGroup'}
"""


@pytest.fixture(scope="module")
def said() -> list[str]:
    """Return what was said while the environment was made."""
    return []


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, said: list[str]) -> Iterator[Cloud]:
    folder, state = tmp_path_factory.mktemp("shop"), tmp_path_factory.mktemp("state")
    files = {
        ".workspace": "application: shop\n",
        "environments/test/manifest.yml": "name: test\ntype: Environment\n",
        "web/manifest.yml": MANIFEST,
    }
    for name, text in files.items():
        (folder / "copilot" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "copilot" / name).write_text(text)
    server = PostgresServer(state)
    server.start()
    databases = Databases(server)
    databases.prepare()
    agent = FakeAgent()  # Copilot waits for a deployment whose tasks are reported to run
    plane = agent.plane = ControlPlaneServer(
        0, state, agent, lambda _: 8100, databases, accept_runtime=lambda _runtime: None
    )
    plane.start()
    tasks = threading.Thread(target=agent.run)
    tasks.start()
    programs = state / "bin"
    programs.mkdir()
    (programs / "docker").write_text(DOCKER)
    (programs / "docker").chmod(0o755)
    variables = {**plane.environment(), "PATH": f"{programs}:{os.environ['PATH']}", "GIT_DIR": os.devnull}
    try:
        workspace = Workspace(folder, "shop", "web")
        for words in STORES:
            # Copilot looks up the environments' manifests, and the application in AWS.
            if words is STORES[0]:
                assert seed(workspace, variables, [], bare=True) == {}
            run(folder, variables, "storage", "init", "--workload", "web", *words)
        (folder / "copilot/environments/addons/topic.yml").write_text(IMPORTING)
        assert seed(workspace, variables, ["test"], say=said.append) == {}
        run(folder, variables, "svc", "deploy", "--name", "web", "--env", "test")
        yield Cloud(plane, Agent())
    finally:
        agent.stopping.set()
        tasks.join()
        plane.stop()
        server.stop()
        remove(state)
        shutil.rmtree(folder)


def run(folder: Path, variables: dict[str, str], *words: str) -> None:
    done = subprocess.run(
        [COPILOT, *words], check=False, cwd=folder, env={**os.environ, **variables},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_each_secret_of_aurora_leads_to_the_environments_database(cloud: Cloud) -> None:
    (service,) = cloud.plane.services()
    container = service.task_definition.containers[-1]
    assert {"DB_SECRET", "OLDDB_SECRET", "SHARED_SECRET"} <= set(container.secrets)
    for variable in ("DB_SECRET", "OLDDB_SECRET", "SHARED_SECRET"):
        found = json.loads(cloud.plane.secret(container.secrets[variable]))
        assert found["dbClusterIdentifier"]
        with psycopg.connect(
            host=found["host"], port=found["port"], user=found["username"], password=found["password"],
            dbname=found["dbname"],
        ) as connection:  # fmt: skip
            assert connection.execute("SELECT current_database()").fetchone() == ("test",)


def test_buckets_and_tables_are_there_and_named_by_the_variables(cloud: Cloud) -> None:
    (service,) = cloud.plane.services()
    variables = service.task_definition.containers[-1].environment
    buckets = {each["Name"] for each in cloud.client("s3").list_buckets()["Buckets"]}
    assert {variables["MYMEDIA_NAME"], variables["FILES"]} <= buckets
    assert variables["THINGS_NAME"] == "shop-test-web-things"
    cloud.client("dynamodb").put_item(TableName=variables["THINGS_NAME"], Item={"id": {"S": "1"}})


def test_addons_that_import_what_their_environment_exports_are_made_in_a_second_step(
    cloud: Cloud, said: list[str]
) -> None:
    (topic,) = (each["TopicArn"] for each in cloud.client("sns").list_topics()["Topics"])
    attributes = cloud.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]
    assert attributes["DisplayName"].startswith("sg-")
    assert [line for line in said if "it was made without them, then with them" in line] == said
