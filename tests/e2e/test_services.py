"""A worker beside the page, made of its own service's manifest: each branch's tasks are done by its own."""

from __future__ import annotations

import time

import pytest

from copilot_testenv.core.git import slug
from tests.clone import Clone, get, get_json
from tests.e2e.looks import deployed

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
BOTH_WAYS = True
LIGHT = True
BRANCHES = ("feature/one", "feature/two")
# The queue is a list in Redis, as Celery's is.
WSGI = """import json
import os
from pathlib import Path

import redis

FILE = Path(__file__).parent.parent / "deployment.json"
DEPLOYMENT = FILE.read_bytes() if FILE.exists() else b"{}"


def application(environ, start_response):
    store = redis.Redis(os.environ["REDIS_HOST"], decode_responses=True)
    body = DEPLOYMENT
    if environ["PATH_INFO"] == "/queue":
        store.rpush("tasks", environ["QUERY_STRING"])
    elif environ["PATH_INFO"] == "/done":
        body = json.dumps(store.lrange("done", 0, -1)).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
"""
WORK = """import json
import os
from pathlib import Path

import redis

branch = json.loads((Path(__file__).parent.parent / "deployment.json").read_text())["branch"]
store = redis.Redis(os.environ["REDIS_HOST"], decode_responses=True, socket_timeout=None)
print("waiting for tasks", flush=True)
while True:
    _, task = store.blpop("tasks")
    store.rpush("done", f"{task} by {branch}{os.environ.get('DATABASE_SUFFIX', '')}")
"""
WORKER = """name: worker
type: Worker Service
image: {build: Dockerfile}
command: python demo/work.py
variables: {REDIS_HOST: queue.stage.example.com}
secrets:
  DATABASE_URL: /copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/DATABASE_URL
"""


@pytest.fixture(scope="module", autouse=True)
def project(clone: Clone, way: str) -> None:
    """A shop whose worker is a service in stage, and a sidecar in test."""
    clone.stage_megabytes = 5
    files = {
        "demo/wsgi.py": WSGI,
        "demo/work.py": WORK,
        "copilot/worker/manifest.yml": WORKER,
        "copilot-testenv.toml": 'services = ["web", "worker"]\n',
    }
    for path, text in files.items():
        (clone.folder / path).parent.mkdir(exist_ok=True)
        (clone.folder / path).write_text(text)
    clone.with_copilot("sidecar-config", "--from-service", "worker", "--env", "test")
    if way == "cloudformation":
        clone.package()
    clone.commit("The worker is a sidecar in test")
    for name in BRANCHES:
        clone.branch(name, {"note.txt": name})


def test_a_task_queued_in_the_page_is_done_by_that_branchs_own_worker_and_nobody_elses(clone: Clone) -> None:
    deployed(clone.invoke("deploy-test", "--branch", "main"))
    urls = {name: deployed(clone.invoke("deploy-test", "--branch", name, "--isolated")) for name in BRANCHES}
    for number in range(3):
        for name, url in urls.items():
            assert get(f"{url}/queue?{name}-{number}")[0] == 200
    for name, url in urls.items():
        suffix = "_" + slug(name).replace("-", "_")
        wanted = [f"{name}-{number} by {name}{suffix}" for number in range(3)]
        end = time.monotonic() + 10
        while (done := get_json(f"{url}/done")) != wanted and time.monotonic() < end:
            time.sleep(0.2)
        assert done == wanted
