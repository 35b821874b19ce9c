"""One clone, one sandbox, from the first deploy to the last teardown: the tests run in this order."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import yaml

from tests import light
from tests.clone import Clone, get, get_json, interrupt
from tests.e2e.looks import (
    RENAMED,
    TESTERS,
    columns,
    containers,
    deployed,
    is_as_the_tester_left_it,
    make_conflicting_branches,
    migration,
    processes,
    query,
    stacks,
)

pytestmark = pytest.mark.e2e
BOTH_WAYS = True


@pytest.fixture(scope="module", autouse=True)
def branches(clone: Clone) -> None:
    """Two branches whose migrations conflict, one that cannot migrate, one without the runtime patches."""
    make_conflicting_branches(clone)
    clone.branch(
        "feature/broken",
        {
            "demo/shop/migrations/0002_broken.py": migration(
                'migrations.RunSQL("ALTER TABLE shop_no_such_table ADD COLUMN x int")'
            )
        },
    )
    clone.branch("light", light.FILES)
    clone.branch("feature/unpatched", {"copilot/web/overrides/cfn.patches.yml": "[]\n"}, start="light")
    clone.branch("feature/slow", {"demo/pause.txt": "120"}, start="light")
    clone.branch("feature/other", {"demo/pause.txt": "3"}, start="light")


def rendered(clone: Clone, environment: str) -> dict[str, Any]:
    """The containers, by name, of the task definition that Copilot renders for an environment."""

    class Loader(yaml.SafeLoader):
        """Reads CloudFormation's own tags as nothing: only plain values are looked at."""

    Loader.add_multi_constructor("!", lambda *_: None)
    ran = clone.copilot("svc", "package", "--app=demo", "--name=web", f"--env={environment}", "--tag=x")
    assert ran.code == 0, ran.err
    template = yaml.load(ran.out.split("\nStackName:")[0], Loader)  # noqa: S506 - a subclass of SafeLoader
    containers = template["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"]
    # The main container's name is a reference to the service's.
    return {container["Name"] or "web": container for container in containers}


def test_the_first_deploy_of_a_fresh_clone_serves_the_branch_with_stagings_rows(clone: Clone) -> None:
    ran = clone.invoke("deploy-test", "--branch", "main")
    url = deployed(ran)
    assert "nothing leaves it" in ran.err.splitlines()[0]
    status, page = get(url)
    commit = clone.git("rev-parse", "main")
    assert status == 200
    assert "main" in page
    assert commit[:7] in page
    facts = get_json(url + "/status.json")
    assert (facts["branch"], facts["commit"]) == ("main", commit)
    assert all(rows > 0 for rows in facts["rows"].values())
    assert len(facts["rows"]) >= 5
    assert facts["data_copied_at"]
    here = f"http://127.0.0.1:{urlsplit(url).port}/"  # a bare system may not know localhost
    with urllib.request.urlopen(here, timeout=10) as answer:
        assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"


def test_the_page_is_readable_in_a_browser(clone: Clone, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if not browser and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine: install it to see the page in a browser")
    assert browser
    url = clone.status()[0]["url"]
    picture = tmp_path / "page.png"
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1000,900",
         f"--screenshot={picture}", "--dump-dom", url],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert clone.git("rev-parse", "--short=7", "main") in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 10_000
    if os.environ.get("SCREENSHOT"):
        shutil.copy(picture, os.environ["SCREENSHOT"])


def test_redis_counts_visits_in_its_sidecar(clone: Clone) -> None:
    url = clone.status()[0]["url"]
    before = get_json(url + "/status.json")["counter"]
    get(url)
    assert get_json(url + "/status.json")["counter"] == before + 1


def test_status_is_one_json_document_with_every_field(clone: Clone) -> None:
    ran = clone.invoke("status", "--json")
    (found,) = json.loads(ran.out)
    assert set(found) == {
        "branch", "commit", "slug", "environment", "service", "url", "database", "deployed_by",
        "deployed_at", "expires_at", "data_copied_at", "isolated", "target", "hours", "asleep", "state",
        "page", "failed_deploy", "services", "urls", "other_pages",
    }  # fmt: skip
    assert (found["state"], found["page"]["status"], found["failed_deploy"]) == ("live", 200, None)
    assert (found["branch"], found["environment"], found["service"]) == ("main", "test", "web")
    assert found["deployed_by"] == "ada@example.org"
    assert found["target"] == "sandbox"
    assert found["commit"] == clone.git("rev-parse", "main")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["expires_at"])
    assert "main" in clone.invoke("status").out


def test_an_unchanged_redeploy_is_recognised_and_says_what_it_did(clone: Clone) -> None:
    before = {process.pid for process in containers(clone)}
    ran = clone.invoke("deploy-test", "--branch", "main")
    deployed(ran)
    assert "Unchanged" in ran.err
    assert "no task was started" in ran.err
    assert before <= {process.pid for process in containers(clone)}


def test_a_slot_that_slept_wakes_with_its_data(clone: Clone) -> None:
    before = clone.status()
    query(clone, RENAMED, TESTERS)
    clone.do("sleep")
    assert [each["asleep"] for each in clone.status()] == [True]
    assert get(before[0]["url"])[0] == 503
    assert get(clone.do("wake").out.strip())[0] == 200
    assert clone.status() == before
    assert is_as_the_tester_left_it(clone)


def test_branches_whose_migrations_conflict_take_turns(clone: Clone) -> None:
    for branch, has in (("feature/rename", "summary"), ("feature/drop", "sku")):
        ran = clone.do("deploy-test", "--branch", branch, "--json")
        found = json.loads(ran.out)
        facts = get_json(found["url"] + "/status.json")
        assert (facts["branch"], facts["commit"]) == (branch, clone.git("rev-parse", branch))
        assert facts["migrations"]["shop"] == f"0002_{branch.split('/')[1]}"
        assert get(found["url"] + "/healthz")[0] == 200
        assert facts["rows"]["shop_customer"] > 0
        assert has in columns(clone, "shop_product")
        assert "description" not in columns(clone, "shop_product")


def test_a_migration_that_fails_exits_4_with_its_own_error(clone: Clone) -> None:
    query(clone, RENAMED, TESTERS)
    ran = clone.invoke("deploy-test", "--branch", "feature/broken")
    assert ran.code == 4
    assert ran.out == ""
    assert 'relation "shop_no_such_table" does not exist' in ran.err
    assert "`startup` ended with exit code 1" in ran.err
    assert "each further try of ECS would fail in the same way" in ran.err
    assert "ECS tries again" not in ran.err
    failed = clone.status()[0]["failed_deploy"]
    assert (failed["branch"], failed["commit"]) == (
        "feature/broken",
        clone.git("rev-parse", "feature/broken"),
    )
    assert 'relation "shop_no_such_table" does not exist' in failed["reason"]
    assert "Circuit Breaker" not in ran.err  # it only follows from the container's end
    assert str(clone.folder) not in ran.err  # the log has the image's paths
    assert "Its log: `invoke logs --container startup --all-tasks`." in ran.err
    assert stacks(clone)["demo-test-web"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "serves again. Its data are those of before, with what testers entered" in ran.err
    assert is_as_the_tester_left_it(clone)
    assert "description" not in columns(clone, "shop_product")  # as the branch before has migrated it


def test_the_next_good_deploy_works_without_copilot_too(clone: Clone) -> None:
    """Over the stack that Copilot made, which Copilot changes afterwards and deletes."""
    ran = clone.invoke("deploy-test", "--branch", "feature/rename", DEPLOY_WITH="cloudformation")
    assert "ended with exit code" not in ran.err  # the failed tasks of the deploy before are not its own
    assert get_json(deployed(ran) + "/status.json")["branch"] == "feature/rename"
    assert clone.status()[0]["failed_deploy"] is None


def test_a_branch_beside_the_shared_slot_has_its_own_data_which_copy_db_renews(clone: Clone) -> None:
    served = clone.status()[0]["branch"]
    url = deployed(clone.invoke("deploy-test", "--branch", "light", "--isolated"))
    assert get(url)[0] == 200
    ran = clone.do("copy-db", "--branch", "light", "--yes", "--json")
    assert json.loads(ran.out)["database"] == "test_light"
    assert clone.do("open", "--branch", "light").out.strip().rstrip("/") == url
    ran = clone.invoke("exec", "--branch", "light", "--command", "echo 'a, b: #'$DATABASE_SUFFIX; exit 7")
    assert (ran.code, ran.out) == (4, "a, b: #_light\n"), ran.err
    assert "The one-off task ended with exit code 7" in ran.err
    clone.do("teardown", "--branch", "light", "--yes")
    assert [each["branch"] for each in clone.status()] == [served]


def test_logs_come_by_container(clone: Clone) -> None:
    ran = clone.do("logs", "--container", "startup", "--limit", "200")
    assert "Applying shop.0002_rename" in ran.out
    assert "static files" in ran.out
    assert "Ready to accept connections" in clone.invoke("logs", "--container", "redis").out


@pytest.mark.nightly
def test_plan_changes_nothing(clone: Clone) -> None:
    before = stacks(clone), clone.status()
    for words in (("deploy-test", "--branch", "main"), ("teardown",), ("copy-db",), ("create-env",),
                  ("extend", "--branch", "feature/rename", "--keep")):  # fmt: skip
        clone.do(*words, "--plan")
    assert (stacks(clone), clone.status()) == before


@pytest.mark.nightly
def test_a_template_without_the_runtime_patches_fails_with_awss_words(clone: Clone) -> None:
    clone.invoke("teardown", "--yes")
    ran = clone.invoke("deploy-test", "--branch", "feature/unpatched")
    assert ran.code == 4
    assert "The runtime parameter of nodejs20.x is no longer supported" in ran.err
    deployed(clone.invoke("deploy-test", "--branch", "light"))


def test_ctrl_c_during_a_deploy_ends_in_a_settled_stack_and_130(clone: Clone) -> None:
    before = clone.status()[0]["branch"]
    process = clone.start("deploy-test", "--branch", "feature/other")
    assert process.stderr
    said = []
    for line in process.stderr:
        said.append(line)
        if " s  copying" in line or " s  migrating" in line:
            interrupt(process)
            break
    out, rest = process.communicate(timeout=120)
    assert process.returncode == 130, "".join(said) + rest
    assert out == ""
    assert "Interrupted: the deploy is rolled back" in rest
    assert f"has been rolled back. {before} at " in rest
    assert stacks(clone)["demo-test-web"] == "UPDATE_ROLLBACK_COMPLETE"
    url = clone.status()[0]["url"]
    assert get_json(url + "/status.json")["branch"] == before


@pytest.mark.nightly
def test_a_deploy_that_takes_too_long_is_rolled_back_and_exits_4(clone: Clone) -> None:
    ran = clone.invoke("deploy-test", "--branch", "feature/slow", DEPLOY_TIMEOUT="6s")
    assert ran.code == 4
    assert "DEPLOY_TIMEOUT" in ran.err
    assert not stacks(clone)["demo-test-web"].endswith("IN_PROGRESS")


@pytest.mark.nightly
def test_the_base_chain_works_in_stage_and_redis_runs_in_test_only(clone: Clone) -> None:
    ran = clone.copilot(
        "deploy", "--app=demo", "--name=web", "--env=stage", "--deploy-env=false", "--tag=base"
    )
    assert ran.code == 0, ran.out + ran.err
    assert stacks(clone)["demo-stage-web"] == "CREATE_COMPLETE"
    shown = json.loads(clone.copilot("svc", "show", "--app=demo", "--name=web", "--json").out)
    url = next(route["url"] for route in shown["routes"] if route["environment"] == "stage")
    assert get(url.rstrip("/") + "/healthz")[0] == 200
    # Health asks database and Redis, and both were reached by what stage's addons have exported.
    given = {
        (each["container"], each["name"]): each.get("valueFrom") or each.get("value")
        for each in (*shown["secrets"], *shown["variables"])
        if each["environment"] == "stage"
    }
    for container in ("web", "startup"):
        assert given[container, "DATABASE_URL"].startswith("arn:aws:secretsmanager:")
        assert given[container, "REDIS_HOST"].startswith("127.83.")
    test = rendered(clone, "test")
    assert set(test) == {"web", "startup", "redis"}
    assert test["startup"]["Command"][2] == (
        "python manage.py copy_stage_db && python manage.py migrate --noinput && "
        "python manage.py collectstatic --noinput"
    )
    for name in ("stage", "production"):
        base = rendered(clone, name)
        assert set(base) == {"web", "startup"}
        assert base["startup"]["Command"][2] == (
            "python manage.py migrate --noinput && python manage.py collectstatic --noinput"
        )


@pytest.mark.nightly
def test_a_sandbox_that_was_killed_is_noticed_and_started_again_with_no_orphan(clone: Clone) -> None:
    if clone.deploy_with == "cloudformation":
        pytest.skip("the sandbox makes its environments with Copilot, which this clone has left")
    before = {process.pid for process in processes(clone)}
    lines = [" ".join(process.cmdline()) for process in processes(clone)]
    assert any("-cache/valkey" in line for line in lines)  # "ElastiCache"
    server = json.loads((clone.folder / ".sandbox" / "server.json").read_text())["pid"]
    os.kill(server, signal.SIGKILL)
    ran = clone.invoke("deploy-test", "--branch", "light")
    deployed(ran)
    assert "had ended without being stopped" in ran.err
    alive = {process.pid for process in psutil.process_iter()}
    assert not before & alive


def test_teardown_removes_the_slot_and_leaves_stage_and_production_alone(clone: Clone) -> None:
    words = ("--app=demo", "--name=web", "--env=stage", "--deploy-env=false", "--tag=base")
    ran = clone.copilot("deploy", *words)
    assert ran.code == 0, ran.out + ran.err
    url = clone.status()[0]["url"]
    untouched = {
        name: status for name, status in stacks(clone).items() if "stage" in name or "production" in name
    }
    assert {"demo-stage-web", "demo-stage", "demo-production"} <= set(untouched)
    ran = clone.invoke("teardown")
    assert ran.code == 3
    assert get(url)[0] == 200
    ran = clone.do("teardown", "--yes", "--json")
    (receipt,) = json.loads(ran.out)
    gone = [(thing["kind"], thing["name"]) for thing in receipt["gone"]]
    assert gone[:2] == [("service", "web"), ("stack", "demo-test-web")]
    assert receipt["remains"]
    left = stacks(clone)
    assert "demo-test-web" not in left
    assert "demo-test" in left
    assert untouched == {name: left.get(name) for name in untouched}
    tasks = {process.environ()["SANDBOX_TASK"] for process in containers(clone)}
    assert len(tasks) <= 2  # stage's two
    assert get(url)[0] == 0
    again = clone.invoke("teardown", "--yes")
    assert again.code == 0
    assert "nothing to tear down" in again.err
    assert clone.status() == []


def test_stopping_the_sandbox_leaves_no_process(clone: Clone) -> None:
    ran = clone.invoke("sandbox", "--stop")
    assert ran.code == 0
    time.sleep(0.2)
    assert processes(clone) == []
    assert "did not run" in clone.invoke("sandbox", "--stop").err
    assert clone.status() == []
