"""The life of a branch where no Copilot is installed: the tests run in this order."""

from __future__ import annotations

import json

import pytest

from tests.clone import Clone, get_json
from tests.e2e.looks import deployed, stacks

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]  # tests/e2e/test_slot.py deploys so at each push
LIGHT = True


@pytest.fixture(scope="module", autouse=True)
def without_copilot(clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The templates are committed, and Copilot is gone."""
    clone.stage_megabytes, clone.environments = 5, ""
    clone.leave_copilot(tmp_path_factory.mktemp("python"))
    clone.branch("feature/own", {"note.txt": "a branch beside"})


def test_a_branch_is_served_and_its_data_and_logs_are_at_hand(clone: Clone) -> None:
    url = deployed(clone.invoke("deploy-test", "--branch", "main"))
    assert get_json(url + "/status.json")["commit"] == clone.git("rev-parse", "main")
    (before,) = clone.status()
    clone.do("copy-db", "--yes")
    assert clone.status()[0]["data_copied_at"] > before["data_copied_at"]
    assert "copy_stage_db" in clone.do("logs", "--container", "startup", "--limit", "200").out


def test_a_branch_has_a_service_of_its_own_beside_it_for_a_while(clone: Clone) -> None:
    url = deployed(clone.invoke("deploy-test", "--branch", "feature/own", "--isolated"))
    assert get_json(url + "/status.json")["branch"] == "feature/own"
    ran = clone.invoke("exec", "--branch", "feature/own", "--command", "echo 'a, b'; exit 7")
    assert (ran.code, ran.out) == (4, "a, b\n"), ran.err
    ran = clone.do("teardown", "--branch", "feature/own", "--yes", "--json")
    (receipt,) = json.loads(ran.out)
    assert receipt["left"] == []
    kinds = {part["kind"] for part in receipt["gone"]}
    assert {"stack", "database", "repository", "service", "lease"} <= kinds


def test_nothing_is_left_of_it(clone: Clone) -> None:
    clone.do("teardown", "--all", "--yes")
    assert not [name for name in stacks(clone) if "web" in name]
