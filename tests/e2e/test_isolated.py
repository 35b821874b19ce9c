"""Branches side by side: each with a service, a URL, a database and a Redis of its own."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from copilot_testenv.core.git import slug
from tests import light
from tests.clone import Clone, Ran, get, get_json
from tests.e2e.looks import deployed, make_conflicting_branches, query, stacks

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
BOTH_WAYS = True
FULL = ("feature/rename", "feature/drop")  # the others start in a moment: see tests/light.py
BRANCHES = ("light", *FULL, "feature/more", "feature/note")
LONG, SHORT = "5d", "1h"
SLOW = {"environment": 1, "clean-up": 4, "rule-priority": 0.2}  # seconds


@pytest.fixture(scope="module", autouse=True)
def served(clone: Clone) -> dict[str, str]:
    """Five branches, two of them with migrations that conflict, deployed at once by separate processes."""
    clone.stage_megabytes = 5
    make_conflicting_branches(clone)
    for name in ("light", "feature/more", "feature/note"):
        clone.branch(name, {**light.FILES, "note.txt": name})
    clone.invoke("sandbox")
    # An environment's updates take their time, as on AWS: what changes it without its lease would be met.
    (clone.folder / ".sandbox" / "timing.json").write_text(json.dumps(SLOW))
    runs = {
        name: clone.start(
            "deploy-test", "--branch", name, "--isolated",
            DEPLOY_TTL=SHORT if name in {"light", "feature/note"} else LONG,
        )
        for name in BRANCHES
    }  # fmt: skip
    ended = {name: (*run.communicate(timeout=280), run.returncode) for name, run in runs.items()}
    return {name: deployed(Ran(code, out, err, 0)) for name, (out, err, code) in ended.items()}


def isolated(clone: Clone) -> list[bool]:
    return [each["isolated"] for each in clone.status()]


def database(name: str) -> str:
    return f"test_{slug(name).replace('-', '_')}"


def services(clone: Clone) -> set[str]:
    return {
        line.split()[0] for line in clone.copilot("svc", "ls", "--app", "demo").out.splitlines()[2:] if line
    }


def tear_down(clone: Clone, moved: str = "timedelta()", **flags: Any) -> Ran:
    """A teardown, by a clock that was moved."""
    code = (
        "from datetime import datetime, timedelta\n"
        "from copilot_testenv.deploys import teardown\nfrom copilot_testenv.menu import session\n"
        "class Moved(datetime):\n"
        "    @classmethod\n"
        f"    def now(cls, zone=None): return datetime.now(zone) + {moved}\n"
        "teardown.datetime = Moved\n"
        f"teardown.teardown(session(), teardown.Options(yes=True, json=True, **{flags!r}))"
    )
    done = subprocess.run(
        [clone.python, "-c", code],
        cwd=clone.folder, env=clone.importing(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr, 0)


def test_five_branches_are_served_side_by_side_each_with_its_own_data_and_redis(
    clone: Clone, served: dict[str, str]
) -> None:
    assert len(set(served.values())) == 5
    assert all(url.startswith(f"http://{slug(name)}.localhost:") for name, url in served.items())
    for name, url in served.items():
        assert get_json(f"{url}/status.json")["branch"] == name
    for visits, name in enumerate(FULL, 1):
        for _ in range(visits):
            assert get(f"{served[name]}/")[0] == 200
        found = get_json(f"{served[name]}/status.json")
        # Its deploy looked once; no other branch's visits are counted in its Redis.
        assert found["counter"] == 1 + visits
        assert sum(found["rows"].values()) > 1000
        assert found["migrations"]["shop"] == f"0002_{name.removeprefix('feature/')}"
    query(clone, "UPDATE shop_product SET name = 'mine'", database=database("feature/drop"))
    mine = "SELECT count(*) > 0 FROM shop_product WHERE name = 'mine'"
    assert [name for name in BRANCHES if query(clone, mine, database=database(name)) == [[True]]] == [
        "feature/drop"
    ]


def test_status_shows_all_of_them_and_each_can_be_asked_for(clone: Clone, served: dict[str, str]) -> None:
    found = {each["branch"]: each for each in clone.status()}
    assert {name: each["url"].rstrip("/") for name, each in found.items()} == served
    for name, each in found.items():
        assert each["isolated"]
        assert each["slug"] == slug(name)
        assert each["service"] == f"web-{slug(name)}"
        assert each["database"] == database(name)
        assert each["data_copied_at"]
    page = clone.folder / "status.html"
    assert clone.invoke("status", "--html", str(page)).code == 0
    assert all(url in page.read_text() for url in served.values())
    page.unlink()
    ran = clone.invoke("logs", "--branch", "feature/rename", "--container", "startup")
    assert ran.code == 0
    assert "0002_rename" in ran.out


def test_the_shared_slot_is_one_more_beside_them(clone: Clone, served: dict[str, str]) -> None:
    shared = deployed(clone.invoke("deploy-test", "--branch", "light"))
    assert shared.startswith("http://localhost:")
    assert get_json(f"{shared}/status.json")["branch"] == "light"
    assert [each["isolated"] for each in clone.status()] == [False] + 5 * [True]
    clone.do("teardown", "--yes")
    assert all(get(url)[0] == 200 for url in served.values())
    assert isolated(clone) == 5 * [True]


def test_copy_db_renews_one_branchs_data_and_no_others(clone: Clone) -> None:
    change = "UPDATE shop_product SET name = 'note' WHERE id = (SELECT min(id) FROM shop_product)"
    query(clone, change, database=database("feature/note"))
    ran = clone.do("copy-db", "--branch", "feature/drop", "--yes", "--json")
    assert json.loads(ran.out)["database"] == database("feature/drop")
    assert (
        query(clone, "SELECT 1 FROM shop_product WHERE name = 'mine'", database=database("feature/drop"))
        == []
    )
    others = query(clone, "SELECT 1 FROM shop_product WHERE name = 'note'", database=database("feature/note"))
    assert others == [[1]]


def test_one_is_torn_down_and_the_others_still_serve(clone: Clone, served: dict[str, str]) -> None:
    clone.do("extend", "--branch", "feature/more", "--keep")
    ran = clone.do("teardown", "--branch", "feature/drop", "--yes", "--json")
    (receipt,) = json.loads(ran.out)
    own = f"web-{slug('feature/drop')}"
    gone = {(thing["kind"], thing["name"]) for thing in receipt["gone"]}
    templates = {name for kind, name in gone if kind == "templates"}
    assert any(name.endswith(f"/manual/templates/demo-test-{own}/") for name in templates)
    of_functions = {each for each in gone if each[1].startswith(f"/aws/lambda/demo-test-{own}-")}
    assert len(of_functions) == 2
    assert {each for each in gone if each[0] != "templates"} - of_functions == {
        ("service", own), ("stack", f"demo-test-{own}"), ("log group", f"/copilot/demo-test-{own}"),
        ("stack", f"task-demo-test-{own}-copy-db"), ("database", database("feature/drop")),
        ("repository", f"demo/{own}"), ("lease", own),
    }  # fmt: skip
    assert receipt["left"] == []
    assert own not in services(clone)
    assert f"demo-test-{own}" not in stacks(clone)
    assert get(served["feature/drop"])[0] != 200
    assert all(get(url)[0] == 200 for name, url in served.items() if name != "feature/drop")
    clone.do("teardown", "--branch", "feature/drop", "--yes")


def test_by_a_moved_clock_exactly_those_that_have_expired_go(clone: Clone, served: dict[str, str]) -> None:
    ran = tear_down(clone, expired=True)
    assert (ran.code, json.loads(ran.out)) == (0, [])
    ran = tear_down(clone, "timedelta(hours=2)", expired=True)
    assert ran.code == 0, ran.err
    assert {receipt["branch"] for receipt in json.loads(ran.out)} == {"light", "feature/note"}
    assert all(get(served[name])[0] == 200 for name in ("feature/rename", "feature/more"))
    ran = tear_down(clone, "timedelta(days=6)", expired=True)
    assert {receipt["branch"] for receipt in json.loads(ran.out)} == {"feature/rename"}
    assert get(served["feature/more"])[0] == 200  # it was kept


def test_what_no_deployment_accounts_for_is_shown_and_removed(clone: Clone, served: dict[str, str]) -> None:
    deployed(clone.invoke("deploy-test", "--branch", "feature/note", "--isolated"))
    own = f"web-{slug('feature/note')}"
    ran = clone.copilot("svc", "delete", "--app", "demo", "--name", own, "--env", "test", "--yes")
    assert ran.code == 0, ran.out
    query(clone, f"CREATE DATABASE {database('lost')}")
    ran = clone.invoke("teardown", "--orphans")
    assert ran.code == 3, ran.err
    assert f"the rest of {own}" in ran.err
    ran = clone.do("teardown", "--orphans", "--yes", "--json")
    (receipt,) = json.loads(ran.out)
    assert {"kind": "database", "name": database("feature/note")} in receipt["gone"]
    assert own not in services(clone)
    # Nobody of ours made that one.
    assert query(clone, "SELECT datname FROM pg_database WHERE datname ~ '^test_'") == [
        [database("feature/more")], [database("lost")]
    ]  # fmt: skip
    assert get(served["feature/more"])[0] == 200
    assert "nothing to tear down" in clone.invoke("teardown", "--orphans", "--yes").err


def test_a_branch_never_takes_a_service_of_the_projects_own(clone: Clone) -> None:
    manifest = (
        (clone.folder / "copilot/web/manifest.yml").read_text().replace("name: web\n", "name: web-admin\n")
    )
    clone.branch("with-admin", {"copilot/web-admin/manifest.yml": manifest})
    folder = clone.folder / "admin"
    clone.git("worktree", "add", "--quiet", str(folder), "with-admin")
    words = ("svc", "init", "--app", "demo", "--name", "web-admin", "--svc-type", "Load Balanced Web Service")
    assert clone.copilot(*words, folder=folder).code == 0
    clone.branch("admin", light.FILES)
    ran = clone.invoke("deploy-test", "--branch", "admin", "--isolated")
    assert ran.code == 3, ran.err
    assert "has a service web-admin that these tasks did not make" in ran.err
    ran = clone.invoke("teardown", "--branch", "admin", "--yes")
    assert ran.code == 0
    assert "web-admin" in services(clone)


def test_all_are_torn_down_at_once_and_nothing_is_left(clone: Clone) -> None:
    ran = clone.do("teardown", "--all", "--yes", "--json")
    receipts = json.loads(ran.out)
    assert receipts
    assert all(receipt["left"] == [] for receipt in receipts)
    assert {name for name in stacks(clone) if "web" in name} == set()
    assert services(clone) == {"web", "web-admin"}
    assert clone.status() == []
