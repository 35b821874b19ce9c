"""A second web service, `api`: each branch has its own, with an address, and the two know each other's."""

from __future__ import annotations

import json

import pytest

from tests.clone import Clone, get, get_json
from tests.e2e.looks import deployed, stacks

pytestmark = pytest.mark.e2e
LIGHT = True
BOTH_CONTAINERS = True
PATCHES = "copilot/web/overrides/cfn.patches.yml"
WSGI = """import json
import os
from pathlib import Path

FILE = Path(__file__).parent.parent / "deployment.json"
DEPLOYMENT = json.loads(FILE.read_text()) if FILE.exists() else {}
NAMES = ("WEB_URL", "API_URL", "DEPLOYMENT_HOST")
ROLE = os.environ.get("ROLE", "page")
BODY = {**DEPLOYMENT, "is": ROLE, **{name: os.environ.get(name) for name in NAMES}}


def application(environ, start_response):
    status = "200 OK"
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(BODY).encode()]
"""
API = """name: api
type: Load Balanced Web Service
http:
  path: api
  deregistration_delay: 5s
  healthcheck: {path: /healthz, interval: 5s, timeout: 3s, healthy_threshold: 2}
image: {build: Dockerfile, port: 8000}
variables: {ROLE: api}
secrets:
  DATABASE_URL: /copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/DATABASE_URL
  SECRET_KEY: /copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/SECRET_KEY
environments:
  test:
    http: {allowed_source_ips: ['127.0.0.0/8']}
"""
BROKEN = WSGI.replace(
    'status = "200 OK"', 'status = "500 Wrong" if ROLE + environ["PATH_INFO"] == "api/api" else "200 OK"'
)


@pytest.fixture(scope="module", autouse=True)
def project(clone: Clone) -> None:
    """A shop whose API is a web service of its own, also in test."""
    clone.stage_megabytes = 5
    files = {
        "demo/wsgi.py": WSGI,
        "copilot/api/manifest.yml": API,
        "copilot/api/overrides/cfn.patches.yml": (clone.folder / PATCHES).read_text(),
        "copilot-testenv.toml": 'service = "web"\nown_services = ["api"]\n',
    }
    for path, text in files.items():
        (clone.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (clone.folder / path).write_text(text)
    clone.commit("The API is a web service of its own")
    for name in ("feature/one", "feature/two", "feature/three"):
        clone.branch(name, {"note.txt": name})
    clone.branch("feature/broken", {"demo/wsgi.py": BROKEN})


def check_own(urls: dict[str, str], branch: str) -> None:
    """Look at both addresses of an isolated branch: each page is its own, and knows both."""
    assert set(urls) == {"web", "api"}
    for name, role in (("web", "page"), ("api", "api")):
        body = get_json(urls[name])
        assert (body["is"], body["branch"]) == (role, branch)
        assert body["WEB_URL"] == urls["web"].rstrip("/")
        assert urls["api"] == f"{body['API_URL']}/api"
        assert f"//{body['DEPLOYMENT_HOST']}:" in urls["web"]


def test_each_branchs_two_web_services_have_addresses_and_know_each_others(clone: Clone) -> None:
    url = deployed(clone.invoke("deploy-test", "--branch", "main"))
    assert get_json(url)["is"] == "page"
    assert get_json(f"{url}/api/")["is"] == "api"
    found = json.loads(clone.do("deploy-test", "--branch", "feature/one", "--isolated", "--json").out)
    assert found["urls"]["web"] == found["url"]
    check_own(found["urls"], "feature/one")
    assert get_json(f"{url}/api/")["branch"] == "main"
    receipts = json.loads(clone.do("teardown", "--all", "--yes", "--json").out)
    assert all(receipt["left"] == [] for receipt in receipts)
    assert not {name for name in stacks(clone) if "-api" in name or "-web" in name}


@pytest.mark.nightly
def test_a_slot_with_two_web_services_is_shown_sleeps_and_wakes_as_a_whole(clone: Clone) -> None:
    url = deployed(clone.invoke("deploy-test", "--branch", "main"))
    (row,) = clone.status()
    assert row["urls"] == {"web": url, "api": f"{url}/api"}
    assert row["other_pages"]["api"]["status"] == 200
    assert clone.do("open", "--service", "api").out == f"{url}/api\n"
    assert clone.do("exec", "--service", "api", "--command", "echo I am $ROLE").out == "I am api\n"
    clone.do("sleep")
    assert {get(url)[0], get(f"{url}/api")[0]} == {503}
    clone.do("wake")
    assert {get(url)[0], get(f"{url}/api")[0]} == {200}
    ran = clone.invoke("deploy-test", "--branch", "feature/broken")
    assert ran.code == 4
    assert f"{url}/api cannot be used: it answers 500" in ran.err
    assert clone.status()[0]["branch"] == "feature/broken"
    (receipt,) = json.loads(clone.do("teardown", "--yes", "--json").out)
    assert (receipt["left"], receipt["services"]) == ([], ["web", "api"])


@pytest.mark.nightly
def test_by_cloudformation_and_without_copilot_each_branchs_web_services_know_each_other_too(
    clone: Clone, tmp_path_factory: pytest.TempPathFactory
) -> None:
    deployed(clone.invoke("deploy-test", "--branch", "main"))
    words = ("deploy-test", "--isolated", "--json", "--branch")
    check_own(
        json.loads(clone.do(*words, "feature/two", DEPLOY_WITH="cloudformation").out)["urls"], "feature/two"
    )
    clone.leave_copilot(tmp_path_factory.mktemp("python"))
    clone.branch("feature/three", {"note.txt": "three"})
    check_own(json.loads(clone.do(*words, "feature/three").out)["urls"], "feature/three")
    clone.do("teardown", "--all", "--yes")
    assert not {name for name in stacks(clone) if "-api" in name or "-web" in name}
