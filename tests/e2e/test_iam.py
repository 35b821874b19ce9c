"""The tasks with the rights of the CI role and no others: the tests run in this order."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from copilot_testenv.aws import Aws
from tests import ci_role
from tests.clone import Clone, get, get_json
from tests.e2e.looks import deployed, run, stacks, told

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
LIGHT = True
BOTH_WAYS = True


@pytest.fixture(scope="module", autouse=True)
def switch(clone: Clone) -> Path:
    """Production is served; then everybody is the CI role."""
    clone.stage_megabytes = 5
    words = ("--app=demo", "--name=web", "--env=production", "--deploy-env=false", "--tag=base")
    clone.do("sandbox")
    ran = clone.copilot("deploy", *words)
    assert ran.code == 0, ran.out + ran.err
    policy = ci_role.policy(Aws(clone.variables()).client("cloudformation"))
    file = clone.folder / ".sandbox/iam.json"
    file.write_text(ci_role.switch(policy))
    return file


def test_a_branch_is_deployed_and_its_address_known(clone: Clone) -> None:
    url = deployed(clone.invoke("deploy-test", "--branch", "main"))
    assert get_json(url + "/status.json")["branch"] == "main"
    (found,) = clone.status()
    assert (found["branch"], found["url"]) == ("main", url)
    again = clone.do("deploy-test", "--branch", "main")
    assert "Unchanged" in again.err


def test_its_logs_its_data_and_its_end_are_at_hand(clone: Clone) -> None:
    ran = clone.do("logs", "--container", "startup", "--limit", "200")
    assert "copy_stage_db" in ran.out
    before = clone.status()[0]["data_copied_at"]
    clone.do("copy-db", "--yes")
    assert clone.status()[0]["data_copied_at"] > before
    clone.do("extend", "--branch", "main", "--keep")
    assert clone.status()[0]["expires_at"] is None


def test_the_page_is_written_by_a_policy_of_its_own_alone(clone: Clone, switch: Path) -> None:
    policy, page = switch.read_text(), ("status", "--html", "s3://acme-status/index.html")
    switch.unlink()
    run(clone, "target.aws.client('s3').create_bucket(Bucket='acme-status')\n")
    cloudformation = Aws(clone.variables()).client("cloudformation")
    role, own = ci_role.policy(cloudformation), ci_role.policy(cloudformation, "ci-page.json")
    switch.write_text(policy)
    told(clone.invoke(*page), 4, "s3")
    switch.write_text(ci_role.switch(role, own))
    for _ in range(2):  # where it is new, and where it replaces itself
        told(clone.invoke(*page), 0, "s3://acme-status/index.html shows 1 deployment")
    told(clone.invoke("status", "--html", "s3://acme-status/other.html"), 4, "Forbidden")
    switch.write_text(policy)


def test_a_branch_has_a_service_of_its_own_for_a_while(clone: Clone) -> None:
    clone.branch("feature/own", {"notes.txt": "one more"})
    ran = clone.do("deploy-test", "--branch", "feature/own", "--isolated", "--json")
    found = json.loads(ran.out)
    assert found["isolated"]
    assert found["service"] != "web"
    parts = urlsplit(found["url"])
    assert parts.hostname == f"{found['slug']}.localhost"
    assert get(f"http://localhost:{parts.port}/healthz")[0] == 200
    assert [each["branch"] for each in clone.status()] == ["main", "feature/own"]
    ran = clone.do("teardown", "--branch", "feature/own", "--yes", "--json")
    (receipt,) = json.loads(ran.out)
    assert receipt["left"] == []
    assert {"kind": "repository", "name": f"demo/{found['service']}"} in receipt["gone"]
    assert [each["branch"] for each in clone.status()] == ["main"]


def test_the_account_is_looked_at_with_the_rights_of_its_own_policy_alone(clone: Clone, switch: Path) -> None:
    policy = switch.read_text()
    switch.unlink()
    own = ci_role.policy(Aws(clone.variables()).client("cloudformation"), "check-account.json")
    switch.write_text(ci_role.switch(own))
    ran = clone.invoke("check", "--account")
    assert ran.code == 2, ran.out + ran.err  # stage's network is not joined to test's
    assert {line.partition(":")[0] for line in ran.out.splitlines()} == {"copy-route", "copy-security-group"}
    told(clone.invoke("deploy-test", "--branch", "main", "--force"), 4, "is not authorized")
    switch.write_text(policy)
    assert "could not be looked at" in clone.invoke("check", "--account").out


def test_production_is_out_of_reach(clone: Clone) -> None:
    ran = clone.copilot("svc", "delete", "--app=demo", "--name=web", "--env=production", "--yes")
    assert ran.code != 0
    assert "sts:AssumeRole on resource: arn:aws:iam::123456789012:role/demo-production-" in ran.out + ran.err
    ran = clone.invoke("deploy-test", "--branch", "main", TEST_ENV="production")
    assert ran.code == 3
    # A separator that is none, and a list that leaves production out.
    for setting, code in (("production;prod;stage", 2), ("qa", 3)):
        ran = clone.invoke("teardown", "--yes", PROTECTED_ENVS=setting, TEST_ENV="production")
        told(ran, code, "_ENV")


CHANGES = (
    ("deploy-test", "--branch", "main", "--force"),
    ("teardown", "--yes"),
    ("teardown", "--all", "--yes"),
    ("copy-db", "--yes"),
    ("extend", "--branch", "main", "--until", "3d"),
)


def test_what_plain_copilot_has_deployed_stays(clone: Clone) -> None:
    """It leaves no tags of these tasks, so they are taken away here; the address is served all the while."""
    url = clone.status()[0]["url"]
    change = (
        "found = cloudformation.describe_stacks(StackName='demo-test-web')['Stacks'][0]\n"
        "names = [each['ParameterKey'] for each in found['Parameters']]\n"
        "def tag(tags):\n"
        "    cloudformation.update_stack(\n"
        "        StackName='demo-test-web', UsePreviousTemplate=True, Tags=tags,\n"
        "        Capabilities=['CAPABILITY_IAM', 'CAPABILITY_NAMED_IAM', 'CAPABILITY_AUTO_EXPAND'],\n"
        "        Parameters=[{'ParameterKey': name, 'UsePreviousValue': True} for name in names])\n"
        "    cloudformation.get_waiter('stack_update_complete').wait(\n"
        "        StackName='demo-test-web', WaiterConfig={'Delay': 1})\n"
    )
    mine = "tag([each for each in found['Tags'] if each['Key'].startswith('copilot-')])\n"
    before = run(clone, change + mine + "print(json.dumps(found['Tags']))\n")
    for words in CHANGES:
        ran = clone.invoke(*words)
        if "--branch" in words and words[0] == "extend":
            told(ran, 4, "main is not deployed")
        else:
            told(ran, 0 if "--all" in words else 3, "copilot svc delete --app demo --name web --env test")
    assert get(url + "/healthz")[0] == 200
    run(clone, f"{change}tag(json.loads({before!r}))\n")


def test_without_the_mark_nothing_is_changed_and_the_role_cannot_set_it(clone: Clone, switch: Path) -> None:
    record = "ResourceType='Parameter', ResourceId='/copilot/applications/demo/environments/test'"
    unmark = f"remove_tags_from_resource({record}, TagKeys=['copilot-testenv-disposable'])"
    policy = switch.read_text()
    switch.unlink()
    run(clone, f"target.aws.client('ssm').{unmark}\n")
    switch.write_text(policy)
    mark = ("create-env", "--mark-disposable", "test", "--confirm", "test", "--yes")
    for words in (
        *CHANGES,
        ("teardown", "--orphans", "--plan"),
        ("deploy-test", "--branch", "main", "--plan"),
    ):
        told(clone.invoke(*words), 3, "invoke " + " ".join(mark[:-1]))
    told(clone.invoke(*mark), 4, "ssm:AddTagsToResource")
    switch.unlink()
    told(clone.invoke(*mark), 0, "test is marked as disposable")
    switch.write_text(policy)


def test_teardown_leaves_nothing_of_test_and_all_of_production(clone: Clone, switch: Path) -> None:
    url = clone.status()[0]["url"]
    for name in ("feature/one", "feature/two"):
        clone.branch(name, {"notes.txt": name})
        clone.do("deploy-test", "--branch", name, "--isolated")
    ran = clone.do("teardown", "--all", "--yes", "--json")
    assert re.search("^Deleted: demo-test-web-feature-one", ran.err, re.MULTILINE)
    assert "together:" not in ran.err  # nothing was refused
    receipts = json.loads(ran.out)
    assert [receipt["left"] for receipt in receipts] == [[], [], []]
    gone = [thing for receipt in receipts for thing in receipt["gone"]]
    assert {"kind": "stack", "name": "demo-test-web"} in gone
    assert {"kind": "stack", "name": "task-demo-test-web-copy-db"} in gone
    assert get(url)[0] == 0
    assert clone.status() == []
    clone.do("teardown", "--expired", "--yes")
    switch.unlink()
    left = stacks(clone)
    assert left["demo-production-web"] == "CREATE_COMPLETE"
    assert not [name for name in left if name.startswith(("demo-test-web", "task-"))]
    shown = json.loads(clone.copilot("svc", "show", "--app=demo", "--name=web", "--json").out)
    (route,) = shown["routes"]
    assert get(route["url"].rstrip("/") + "/healthz")[0] == 200
