"""A worker that is a service of its own: it is deployed, rolled back and torn down with its branch's page.

Its queue is in the Redis of the page's task, which it reaches by service discovery.
"""

from __future__ import annotations

import json
import time

import pytest

from copilot_testenv.core.git import slug
from tests.clone import Clone, get, get_json
from tests.e2e.looks import deployed, stacks
from tests.e2e.test_services import WSGI
from tests.sandbox.fake_control_plane import require

pytestmark = pytest.mark.e2e
LIGHT = True
BOTH_CONTAINERS = True
WORK = """import json
import os
import time
from pathlib import Path

import redis

me = json.loads((Path(__file__).parent.parent / "deployment.json").read_text())["branch"]
store = redis.Redis(os.environ["REDIS_HOST"], decode_responses=True)
print("waiting for tasks", flush=True)
while True:
    try:
        if found := store.blpop("tasks", timeout=1):
            store.rpush("done", f"{found[1]} by {me}{os.environ.get('DATABASE_SUFFIX', '')}")
    except redis.ConnectionError:  # the page's task is replaced, and its Redis with it
        time.sleep(0.2)
"""
WORKER = """name: worker
type: Worker Service
image: {build: Dockerfile}
command: python demo/work.py
secrets:
  DATABASE_URL: /copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/DATABASE_URL
  SECRET_KEY: /copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/SECRET_KEY
environments:
  test:
    variables: {REDIS_HOST: web.test.demo.local}
"""
PATCHES = """- op: replace
  path: /Resources/EnvControllerFunction/Properties/Runtime
  value: nodejs24.x
"""
BROKEN = 'raise RuntimeError("no broker")\n'


@pytest.fixture(scope="module", autouse=True)
def project(clone: Clone) -> None:
    """A shop whose worker is a service of its own, also in test."""
    require("namespace")  # service discovery
    clone.stage_megabytes = 5
    files = {
        "demo/wsgi.py": WSGI,
        "demo/work.py": WORK,
        "copilot/worker/manifest.yml": WORKER,
        "copilot/worker/overrides/cfn.patches.yml": PATCHES,
        "copilot-testenv.toml": 'own_services = ["worker"]\n',
    }
    for path, text in files.items():
        (clone.folder / path).parent.mkdir(exist_ok=True)
        (clone.folder / path).write_text(text)
    clone.commit("The worker is a service of its own")
    clone.branch("feature/broken", {"demo/work.py": BROKEN})
    for name in ("feature/one", "feature/two", "feature/three"):
        clone.branch(name, {"note.txt": name})


def done(url: str, number: int) -> list[str]:
    """The tasks that a page says are done, once there are that many, or after ten seconds."""
    end = time.monotonic() + 10
    while len(found := get_json(f"{url}/done")) < number and time.monotonic() < end:
        time.sleep(0.2)
    return found  # type: ignore[no-any-return]


def services(clone: Clone) -> set[str]:
    return {name for name in stacks(clone) if "-worker" in name or "-web" in name}


def test_a_worker_is_deployed_with_its_page_and_a_failing_one_brings_both_back(clone: Clone) -> None:
    url = deployed(clone.invoke("deploy-test", "--branch", "main"))
    assert get(f"{url}/queue?one")[0] == 200
    assert done(url, 1) == ["one by main"]
    assert clone.status()[0]["services"] == ["web", "worker"]
    ran = clone.invoke("logs", "--service", "worker")
    assert ran.code == 0, ran.err
    assert "waiting for tasks" in ran.out
    ran = clone.invoke("deploy-test", "--branch", "feature/broken")
    assert ran.code == 4
    assert "RuntimeError: no broker" in ran.err
    assert "main at" in ran.err
    assert "serves again" in ran.err
    assert get_json(url)["branch"] == "main"
    assert get(f"{url}/queue?two")[0] == 200
    assert done(url, 1) == ["two by main"]
    assert clone.status()[0]["branch"] == "main"
    (receipt,) = json.loads(clone.do("teardown", "--yes", "--json").out)
    assert receipt["left"] == []
    assert receipt["services"] == ["web", "worker"]
    assert services(clone) == set()


@pytest.mark.nightly
@pytest.mark.timeout(600)  # four slots
def test_each_isolated_branchs_tasks_are_done_by_its_own_worker_in_both_ways_to_deploy(clone: Clone) -> None:
    deployed(clone.invoke("deploy-test", "--branch", "main"))
    ways = {"feature/one": "copilot", "feature/two": "cloudformation", "feature/three": "copilot"}
    urls = {
        name: deployed(clone.invoke("deploy-test", "--branch", name, "--isolated", DEPLOY_WITH=way))
        for name, way in ways.items()
    }
    for number in range(3):
        for name, url in urls.items():
            assert get(f"{url}/queue?{name}-{number}")[0] == 200
    for name, url in urls.items():
        by = f"{name}_{slug(name).replace('-', '_')}"
        assert done(url, 3) == [f"{name}-{number} by {by}" for number in range(3)]
    clone.do("sleep", "--branch", "feature/one")
    assert clone.invoke("deploy-test", "--branch", "feature/one", "--isolated").code == 0
    assert get(f"{urls['feature/one']}/queue?{'feature/one'}-3")[0] == 200
    assert len(done(urls["feature/one"], 1)) == 1
    clone.branch("feature/two", {"demo/work.py": BROKEN}, start="feature/two")
    ran = clone.invoke("deploy-test", "--branch", "feature/two", "--isolated", DEPLOY_WITH="cloudformation")
    assert ran.code == 4
    assert "feature/two at" in ran.err
    assert "serves again" in ran.err
    receipts = json.loads(clone.do("teardown", "--all", "--yes", "--json").out)
    assert len(receipts) == 4
    assert all(receipt["left"] == [] for receipt in receipts)
    assert services(clone) == set()
    assert clone.status() == []


@pytest.mark.nightly
def test_a_first_deploy_whose_worker_fails_leaves_nothing_that_runs(clone: Clone) -> None:
    deployed(clone.invoke("deploy-test", "--branch", "main"))
    ran = clone.invoke("deploy-test", "--branch", "feature/broken", "--isolated")
    assert ran.code == 4
    assert "Nothing is served" in ran.err
    assert services(clone) == {"demo-test-web", "demo-test-worker"}
    clone.do("teardown", "--branch", "feature/broken", "--yes")
    clone.do("teardown", "--yes")
    assert services(clone) == set()


@pytest.mark.nightly
def test_without_copilot_a_branch_has_its_own_worker_too(
    clone: Clone, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone.leave_copilot(tmp_path_factory.mktemp("python"))
    name = "feature/four"
    clone.branch(name, {"note.txt": "four"})
    deployed(clone.invoke("deploy-test", "--branch", "main"))
    url = deployed(clone.invoke("deploy-test", "--branch", name, "--isolated"))
    assert get(f"{url}/queue?one")[0] == 200
    assert done(url, 1) == [f"one by {name}_{slug(name).replace('-', '_')}"]
    clone.do("teardown", "--all", "--yes")
    assert services(clone) == set()
