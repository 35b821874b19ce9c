"""A topic and a queue of each branch: what one branch's page publishes never reaches another's worker."""

from __future__ import annotations

import pytest

from copilot_testenv.core.git import slug
from tests.clone import Clone, get
from tests.e2e.looks import deployed, stacks
from tests.e2e.test_own_services import PATCHES, WORKER, done
from tests.e2e.test_services import WSGI
from tests.sandbox.fake_control_plane import require

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
LIGHT = True
BRANCHES = ("feature/one", "feature/two")
PUBLISHES = WSGI.replace(
    'store.rpush("tasks", environ["QUERY_STRING"])',
    """topic = json.loads(os.environ["COPILOT_SNS_TOPIC_ARNS"])["orders"]
        boto3.client("sns").publish(TopicArn=topic, Message=environ["QUERY_STRING"])""",
).replace("import redis\n", "import boto3\nimport redis\n")
WORK = """import json
import os
from pathlib import Path

import boto3
import redis

me = json.loads((Path(__file__).parent.parent / "deployment.json").read_text())["branch"]
store = redis.Redis(os.environ["REDIS_HOST"], decode_responses=True)
queue, sqs = os.environ["COPILOT_QUEUE_URI"], boto3.client("sqs")
print("waiting for messages", flush=True)
while True:
    for message in sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages", ()):
        text = json.loads(message["Body"])["Message"]
        store.rpush("done", f"{text} by {me}{os.environ.get('DATABASE_SUFFIX', '')}")
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
"""
KIND = "type: Load Balanced Web Service\n"
PIP = "RUN pip install"


@pytest.fixture(scope="module", autouse=True)
def project(clone: Clone) -> None:
    """A shop whose page publishes to a topic, and whose worker subscribes to it."""
    require("namespace")  # service discovery
    clone.stage_megabytes = 5
    dockerfile, manifest = (
        (clone.folder / name).read_text() for name in ("Dockerfile", "copilot/web/manifest.yml")
    )
    files = {
        "Dockerfile": dockerfile.replace(PIP, f"{PIP} boto3\n{PIP}", 1),
        "demo/wsgi.py": PUBLISHES,
        "demo/work.py": WORK,
        "copilot/web/manifest.yml": manifest.replace(
            KIND, f"{KIND}publish: {{topics: [{{name: orders}}]}}\n", 1
        ),
        "copilot/worker/manifest.yml": f"{WORKER}subscribe: {{topics: [{{name: orders, service: web}}]}}\n",
        "copilot/worker/overrides/cfn.patches.yml": PATCHES,
        "copilot-testenv.toml": 'own_services = ["worker"]\n',
    }
    for path, text in files.items():
        (clone.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (clone.folder / path).write_text(text)
    clone.commit("The page publishes, and the worker subscribes")
    for name in BRANCHES:
        clone.branch(name, {"note.txt": name})


def test_a_message_of_one_branch_never_reaches_another_branchs_worker(clone: Clone) -> None:
    urls = {"main": deployed(clone.invoke("deploy-test", "--branch", "main"))}
    for name in BRANCHES:
        urls[name] = deployed(clone.invoke("deploy-test", "--branch", name, "--isolated"))
    for number in range(3):
        for name, url in urls.items():
            assert get(f"{url}/queue?{name}-{number}")[0] == 200
    for name, url in urls.items():
        suffix = "" if name == "main" else f"_{slug(name).replace('-', '_')}"
        assert sorted(done(url, 3)) == [f"{name}-{number} by {name}{suffix}" for number in range(3)]
    clone.do("teardown", "--all", "--yes")
    assert not {name for name in stacks(clone) if "-worker" in name or "-web" in name}
