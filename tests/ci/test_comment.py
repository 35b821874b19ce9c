"""Check that a comment starts a task only for those who may write, and that its text is nothing but data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from copilot_testenv import cli
from copilot_testenv.ci import comment
from copilot_testenv.core.errors import Failed, Refused, SettingsError, UsageError, UserError
from tests.ci.pull_requests import github, pull
from tests.ci.test_outputs import read_github_output
from tests.forges import TOKEN, Forge


def asked(here: Forge, folder: Path, text: str = "/deploy", **pulled: Any) -> dict[str, str]:
    """The outputs that this comment of Ada's on pull request 12 leads to."""
    here.pulls = here.pulls or [pull(12, **pulled)]
    event = {"issue": {"number": 12}, "comment": {"id": 5, "user": {"login": "ada"}, "body": text}}
    return read_github_output(ran(here, folder, event))


def ran(here: Forge, folder: Path, event: object) -> str:
    (folder / "event.json").write_text(json.dumps(event))
    output = folder / "output"
    output.touch()
    files = {"GITHUB_EVENT_PATH": str(folder / "event.json"), "GITHUB_OUTPUT": str(output)}
    said: list[str] = []
    try:
        comment.read({**github(here), **files}, said.append)
    except UserError:
        assert output.read_text() == ""
        raise
    return output.read_text()


@pytest.fixture(autouse=True)
def writer(here: Forge) -> None:
    here.permissions = {"ada": "write"}


@pytest.mark.parametrize(
    ("text", "task", "until"),
    [
        ("/deploy", "deploy", ""),
        ("/wake", "wake", ""),
        ("  /teardown \r\nThanks!", "teardown", ""),
        ("/extend 3d", "extend", "3d"),
        ("/extend  friday 18:00 Europe/London", "extend", "friday 18:00 Europe/London"),
    ],
)
def test_a_command_becomes_outputs_with_the_pull_requests_branch(
    here: Forge, tmp_path: Path, text: str, task: str, until: str
) -> None:
    assert asked(here, tmp_path, text) == {"task": task, "branch": "feature/x", "until": until}
    assert here.reactions == ["eyes"]


@pytest.mark.parametrize(
    "text",
    [
        "", "deploy", "/deploy now", "/deploy; curl evil.example", "/deploy$(id)", "/extend",
        "/extend --keep", "/extend 3d;id", "/extend `id`", "/extend 3d\x00", f"/extend {'9' * 80}", "/DEPLOY",
        "/logs", "see\n/deploy",
    ],
)  # fmt: skip
def test_any_other_text_is_a_usage_error_and_has_no_output(here: Forge, tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="/deploy, /wake, /teardown or /extend 3d"):
        asked(here, tmp_path, text)
    assert here.reactions == ["confused"]


@pytest.mark.parametrize("permission", ["read", "triage", "none", "unforeseen"])
def test_who_may_not_write_is_refused(here: Forge, tmp_path: Path, permission: str) -> None:
    here.permissions = {"ada": permission}
    with pytest.raises(Refused, match="ada may not write to acme/shop"):
        asked(here, tmp_path)
    assert here.reactions == ["confused"]


@pytest.mark.parametrize("text", ["/deploy", "/teardown", "/extend 3d"])
def test_a_forks_pull_request_is_refused_also_for_an_owner(here: Forge, tmp_path: Path, text: str) -> None:
    here.permissions = {"ada": "admin"}
    with pytest.raises(Refused, match="is from a fork"):
        asked(here, tmp_path, text, repository="stranger/shop")
    here.pulls[0]["head"]["repo"] = None  # the fork was deleted
    with pytest.raises(Refused, match="is from a fork"):
        asked(here, tmp_path, text)


def test_a_closed_pull_request_can_only_be_torn_down(here: Forge, tmp_path: Path) -> None:
    for text in ("/deploy", "/extend 3d"):
        with pytest.raises(Refused, match="is closed"):
            asked(here, tmp_path, text, state="closed")
    assert asked(here, tmp_path, "/teardown")["task"] == "teardown"


@pytest.mark.parametrize("branch", ["-x", "a b", "a..b", "x\nMORE=1"])
def test_a_name_that_git_does_not_allow_is_refused(here: Forge, tmp_path: Path, branch: str) -> None:
    with pytest.raises(UsageError, match="cannot be a Git branch"):
        asked(here, tmp_path, branch=branch)


@pytest.mark.parametrize("fault", [403, 404, 500, "closes", "garbage", "odd"])
def test_where_github_does_not_answer_nothing_is_started(
    here: Forge, tmp_path: Path, fault: str | int
) -> None:
    here.fault = fault
    with pytest.raises(Failed, match="could not be asked") as raised:
        asked(here, tmp_path)
    assert TOKEN not in str(raised.value)


def test_a_reaction_that_github_refuses_does_not_stop_the_command(here: Forge, tmp_path: Path) -> None:
    here.reads_only = True
    assert asked(here, tmp_path)["task"] == "deploy"
    assert here.reactions == []


@pytest.mark.parametrize("event", [{}, [], {"issue": {"number": "x"}, "comment": {}}])
def test_another_event_is_a_settings_error(here: Forge, tmp_path: Path, event: object) -> None:
    with pytest.raises(SettingsError, match="not a comment"):
        ran(here, tmp_path, event)
    assert here.asked == []


def test_the_command_outside_of_a_job_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert cli.main(["comment"]) == 2
    said = capsys.readouterr().err
    assert "not a job of GitHub Actions" in said
    assert "Traceback" not in said
