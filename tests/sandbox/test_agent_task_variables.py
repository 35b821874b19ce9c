"""The variables that a container finds: its own, its files', its secrets, and the way to AWS."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from copilot_sandbox.agent import confined
from copilot_sandbox.agent.container import without_key
from tests.sandbox.fake_control_plane import (
    FakeControlPlane,
    container,
    over,
    running_agent,
    service,
    shell,
)

ROLE_KEY = {
    "AWS_ACCESS_KEY_ID": "role",
    "AWS_SECRET_ACCESS_KEY": "s",
    "AWS_SESSION_TOKEN": "t",
    "AWS_REGION": "r",
}
SHOW = shell("echo $ONE $TWO $KEY $AWS_REGION $AWS_ACCESS_KEY_ID; cat $AWS_CA_BUNDLE")


def supply(variable: str, name: str, environment: str, stored: str | None) -> tuple[str | None, str]:
    """Make up one value, and none for another variable."""
    assert environment == "test"
    if variable == "KEY":
        return (stored or f"made up for {name}"), "it is made up"
    return None, " Give it in the file."


def test_files_secrets_and_the_key_of_the_role_reach_a_container(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("the authority\n")
    plane.files["arn:aws:s3:::b/one.env"] = "ONE=file\nTWO=file\n"
    one = container(
        "web",
        SHOW,
        environment={"TWO": "own", "COPILOT_ENVIRONMENT_NAME": "test"},
        environment_files=("arn:aws:s3:::b/one.env",),
        secrets={"KEY": "/k"},
    )
    plane.wanted = [service(one, circuit_breaker=True)]
    options: dict[str, Any] = {"supply": supply, "aws": lambda _role: (ROLE_KEY, tmp_path / "ca.pem")}
    with running_agent(plane, tmp_path, **options) as agent:
        if agent.way != "namespace":
            pytest.skip("no network namespaces here")
        task = over(plane)
    assert plane.lines("web", task.id) == ["file own made up for /k r role", "the authority"]


def test_what_has_no_value_stops_the_task_and_says_where_to_give_it(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    variables = {"COPILOT_ENVIRONMENT_NAME": "test"}
    plane.wanted = [
        service(container("web", SHOW, environment=variables, secrets={"OTHER": "/o"}), circuit_breaker=True)
    ]
    with running_agent(plane, tmp_path, "loopback", supply=supply):
        task = over(plane)
    assert str(task.stopped_reason).endswith(
        "The parameter /o could not be found (variable OTHER of container web). Give it in the file."
    )


def test_a_file_that_is_not_there_stops_the_task(plane: FakeControlPlane, tmp_path: Path) -> None:
    one = container("web", SHOW, environment_files=("arn:aws:s3:::b/none.env",))
    plane.wanted = [service(one, circuit_breaker=True)]
    with running_agent(plane, tmp_path, "loopback"):
        task = over(plane)
    assert "arn:aws:s3:::b/none.env does not exist" in str(task.stopped_reason)


def test_a_key_of_the_projects_own_comes_without_the_roles_token() -> None:
    assert without_key(ROLE_KEY, {"AWS_ACCESS_KEY_ID"}) == {"AWS_REGION": "r"}
    assert without_key(ROLE_KEY, {"OTHER"}) == ROLE_KEY


def test_variables_of_a_branch_are_set_only_once_its_command_is_confined(tmp_path: Path) -> None:
    if confined.obstacle() is not None:
        pytest.skip("no namespaces here")
    wanted = {"LD_PRELOAD": "/of/the/branch.so", "SANDBOX_OWNER": "here"}
    started = confined.carried(wanted)
    assert "LD_PRELOAD" not in started
    assert started["SANDBOX_OWNER"] == "here"
    with confined.confined(["/usr/bin/env"], readable=[], writable=[tmp_path]) as words:
        done = subprocess.run(words, cwd=tmp_path, env=started, check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) == {f"{name}={value}" for name, value in wanted.items()}
