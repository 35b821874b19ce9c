"""Deploy, extend and tear down a branch as comments say, and compare what GitHub is told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ci.pull_requests import github, pull
from tests.ci.test_outputs import read_github_output
from tests.clone import Clone
from tests.e2e.looks import deployed
from tests.forges import TOKEN, Forge, forge

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
BOTH_WAYS = True
LIGHT = True


@pytest.fixture(scope="module")
def here(clone: Clone) -> Iterator[Forge]:
    clone.stage_megabytes, clone.environments = 5, ""
    clone.branch("feature/x", {"note.txt": "a change"})
    with forge() as running:
        running.pulls = [pull(12)]
        running.permissions = {"ada": "write"}
        yield running


def test_the_pull_request_follows_its_branch_from_deploy_to_teardown(
    clone: Clone, here: Forge, tmp_path: Path
) -> None:
    def states() -> list[list[str]]:
        return [[status["state"] for status in one["statuses"]] for one in here.deployments]

    variables = github(here)
    output = tmp_path / "output"
    url = deployed(clone.invoke("deploy-test", *commented(clone, here, tmp_path, "/deploy"), **variables))
    assert states() == [["in_progress", "success"]]
    (shown,) = here.deployments
    assert shown["ref"] == clone.git("rev-parse", "feature/x")
    assert shown["environment"] == "demo-test-web"
    assert shown["statuses"][1]["environment_url"] == url

    ran = clone.invoke("deploy-test", "--branch", "feature/x", **variables, GITHUB_OUTPUT=str(output))
    assert "Unchanged" in ran.err
    assert states() == [["in_progress", "success", "inactive"], ["in_progress", "success"]]
    assert int(read_github_output(output.read_text())["auto_stop_in"].removesuffix("min")) > 0

    until = commented(clone, here, tmp_path, "/extend 2099-01-01 12:00")
    clone.do("extend", *until, **variables)
    (told,) = here.bodies(12)
    assert "2099-01-01T12:00:00Z" in told

    clone.do("teardown", "--branch", "feature/x", "--expired", "--yes", **variables)
    assert states()[-1] == ["in_progress", "success"]  # it has not expired
    clone.do("teardown", *commented(clone, here, tmp_path, "/teardown"), "--yes", **variables)
    assert states()[-1] == ["in_progress", "success", "inactive"]
    assert "no longer served" in here.bodies(12)[0]
    assert here.reactions == ["eyes"] * 3


def test_a_deploy_that_is_refused_is_a_failure_there_and_keeps_its_exit_code(
    clone: Clone, here: Forge
) -> None:
    clone.branch("feature/bad", {"Dockerfile": "FROM scratch\nRUN exit 7\n"})
    ran = clone.invoke("deploy-test", "--branch", "feature/bad", **github(here))
    assert ran.code == 4
    assert [status["state"] for status in here.deployments[-1]["statuses"]] == ["in_progress", "failure"]
    assert TOKEN not in ran.err + ran.out


def commented(clone: Clone, here: Forge, folder: Path, text: str) -> list[str]:
    """The flags that the workflow's steps get from this comment of Ada's."""
    event = {"issue": {"number": 12}, "comment": {"id": 5, "user": {"login": "ada"}, "body": text}}
    (folder / "event.json").write_text(json.dumps(event))
    output = folder / "comment"
    output.write_text("")
    files = {"GITHUB_EVENT_PATH": str(folder / "event.json"), "GITHUB_OUTPUT": str(output)}
    done = subprocess.run(
        [sys.executable, "-m", "copilot_testenv.cli", "comment"],
        cwd=clone.folder, env=clone.importing(**github(here), **files), check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert TOKEN not in done.stderr + done.stdout
    found = read_github_output(output.read_text())
    assert f"/{found['task']}" == text.split(maxsplit=1)[0]
    return ["--branch", found["branch"], *(("--until", found["until"]) if found["until"] else ())]
