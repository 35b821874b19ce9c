"""A branch's own code gets nothing of the machine from its container."""

from __future__ import annotations

import json
import socket
import subprocess

import pytest

from tests.attacks.hostile_containers import ATTACKS, PLANTED, SCRIPT, walled
from tests.sandbox.fake_control_plane import (
    FakeControlPlane,
    container,
    python,
    running_agent,
    service,
    until,
)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """All attacks, run once in a container of a task."""
    folder = tmp_path_factory.mktemp("attacked")
    home, state, project = folder / "home", folder / "project/.sandbox", folder / "project"
    for each in (home, state, project / ".git"):
        each.mkdir(parents=True)
    for file in (home / "secret", state / "server.json", project / ".env", project / ".git/config"):
        file.write_text(PLANTED)
    server = subprocess.Popen(["sleep", "120"], env={"PLANTED_IN_THE_SERVER": PLANTED})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        words = python(
            "-c", SCRIPT, str(home), str(state / "server.json"), str(project), str(server.pid), port
        )
        plane = FakeControlPlane(wanted=[service(container("web", words))])
        with running_agent(plane, folder):
            until(lambda: plane.lines("web"), 60)
    server.kill()
    server.wait()
    found: dict[str, object] = json.loads(plane.lines("web")[0])
    return found


@walled
@pytest.mark.parametrize("name", ATTACKS)
def test_a_container_gets_nothing_of_the_machine(attacked: dict[str, object], name: str) -> None:
    assert not attacked[name]


@walled
def test_what_is_a_containers_own_works_and_no_attack_was_forgotten(attacked: dict[str, object]) -> None:
    near = {name: got for name, got in attacked.items() if name.startswith("near miss")}
    assert all(near.values())
    named_by_folder = {name for name in attacked if name.startswith("write in /") and name not in ATTACKS}
    assert set(attacked) - set(near) - named_by_folder == set(ATTACKS)
    assert not any(attacked[name] for name in named_by_folder)
    assert PLANTED not in json.dumps(attacked)
