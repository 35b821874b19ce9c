"""Staging's data in a deployed branch: what keeps them, and what copies them afresh."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import psutil
import pytest

from tests.clone import ROOT, Clone, get, get_json
from tests.e2e.looks import (
    RENAMED,
    TESTERS,
    containers,
    deployed,
    is_as_the_tester_left_it,
    query,
)

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
BOTH_WAYS = True
LIGHT = True


@pytest.fixture(scope="module", autouse=True)
def branch(clone: Clone) -> None:
    """A branch, deployed."""
    clone.stage_megabytes = 5
    clone.branch("feature/rename", {"note.txt": "another commit"})
    deployed(clone.invoke("deploy-test", "--branch", "feature/rename"))


def test_a_task_that_was_killed_comes_back_with_what_testers_did(clone: Clone) -> None:
    (before,) = clone.status()
    query(clone, RENAMED, TESTERS)
    killed = containers(clone)
    for process in killed:
        with suppress(psutil.NoSuchProcess):  # it ends with the first process of its container
            process.kill()
    again: dict[str, Any] = {}
    end = time.monotonic() + 60
    while time.monotonic() < end and not (again.get("data_copied_at") and get(before["url"])[0] == 200):
        again = clone.status()[0]
    assert again == before  # its data are as old as they were, and so says the new task's log
    assert is_as_the_tester_left_it(clone)
    assert not {process.pid for process in killed} & {process.pid for process in containers(clone)}


def test_copy_db_brings_stagings_rows_back_while_the_service_goes_on(clone: Clone) -> None:
    (before,) = clone.status()
    running = [process.pid for process in containers(clone)]
    assert is_as_the_tester_left_it(clone)
    noted = json.loads((clone.folder / ".sandbox/last-copy.json").read_text())  # by the deploy, for `check`
    assert noted["web test sandbox"]["seconds"] > 0
    ran = clone.invoke("copy-db")
    assert ran.code != 0
    assert "--yes" in ran.err
    ran = clone.do("copy-db", "--yes", "--json")
    assert not is_as_the_tester_left_it(clone)
    shown = json.loads(ran.out)["data_copied_at"]
    assert shown > before["data_copied_at"]
    (after,) = clone.status()
    assert after == {**before, "data_copied_at": shown}
    assert [process.pid for process in containers(clone)] == running
    assert 'Cloned the golden copy of "stage" to "test"' in ran.err


def test_copy_db_ends_with_the_exit_code_and_the_reason_of_the_copy(clone: Clone) -> None:
    query(clone, RENAMED, TESTERS)
    registry = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
    (role,) = query(clone, "SELECT 'stage_copy_marks_' || current_user")[0]
    ((marks,),) = query(clone, registry, role)
    query(clone, f'COMMENT ON DATABASE "{role}" IS NULL')
    ran = clone.invoke("copy-db", "--yes")
    query(clone, f"COMMENT ON DATABASE \"{role}\" IS '{marks}'")
    assert ran.code == 3, ran.err
    assert "--mark-disposable" in ran.err.splitlines()[-1]
    assert is_as_the_tester_left_it(clone)


def test_a_redeploy_of_another_commit_copies_afresh(clone: Clone) -> None:
    assert is_as_the_tester_left_it(clone)
    clone.branch("feature/rename", {"notes.txt": "one more commit"}, start="feature/rename")
    deployed(clone.invoke("deploy-test", "--branch", "feature/rename"))
    assert not is_as_the_tester_left_it(clone)


def test_a_failed_deploy_of_a_branchs_own_slot_gives_its_data_back(clone: Clone) -> None:
    mine = "SELECT id FROM shop_product WHERE name = %s"
    clone.branch("own", {"note.txt": "one"})
    deployed(clone.invoke("deploy-test", "--branch", "own", "--isolated"))
    query(clone, RENAMED, TESTERS, database="test_own")
    clone.branch("own", {"demo/pause.txt": "no number"}, start="own")
    ran = clone.invoke("deploy-test", "--branch", "own", "--isolated")
    assert ran.code == 4
    assert "serves again. Its data are those of before, with what testers entered" in ran.err
    assert query(clone, mine, TESTERS, database="test_own")
    clone.do("teardown", "--branch", "own", "--yes")
    assert query(clone, "SELECT datname FROM pg_database WHERE starts_with(datname, 'test_own')") == []


def test_the_literal_chain_with_a_reset_in_front_still_works(clone: Clone) -> None:
    manifest = (ROOT / "copilot/web/manifest.yml").read_text()
    copying = "'python manage.py copy_stage_db && "
    assert manifest.count(copying) == 1
    literal = "'python manage.py reset_db --noinput --close-sessions && python manage.py copy_stage_db && "
    clone.branch("feature/literal", {"copilot/web/manifest.yml": manifest.replace(copying, literal)})
    ran = clone.do("deploy-test", "--branch", "feature/literal", "--json")
    found = json.loads(ran.out)
    assert found["data_copied_at"]
    assert get_json(found["url"] + "/status.json")["branch"] == "feature/literal"
    assert query(clone, "SELECT count(*) FROM shop_product") == [[1]]
