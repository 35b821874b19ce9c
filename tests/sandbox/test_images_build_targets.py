"""What pip installs into a folder of its own is apart from the environment."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import pytest

from copilot_sandbox.agent.namespace import Way
from copilot_sandbox.images import pip_targets
from copilot_sandbox.model import Image
from tests.sandbox.builds import Project, run
from tests.sandbox.fake_control_plane import FakeControlPlane, container, running_agent, service, until

pytestmark = pytest.mark.usefixtures("_no_index")

TARGET = """
FROM python:3
RUN pip install tiny && pip install --target /opt/x other
ENV LIBRARIES=/opt/x
WORKDIR /app
"""
LOOK = """
import importlib.util, os, sys
print("tiny" if importlib.util.find_spec("tiny") else "no tiny")
print("other" if importlib.util.find_spec("other") else "no other")
sys.path.append(os.environ["LIBRARIES"])
import other
other.main()
print(sorted(os.listdir(os.environ["LIBRARIES"])))
"""


@pytest.mark.parametrize("option", ["--target /opt/x", "-t /opt/x", "-t/opt/x", "--target=/opt/../opt/x/"])
def test_a_target_is_named_in_each_of_pips_ways(option: str) -> None:
    assert pip_targets.target_of(["pip", "install", *option.split(), "other"], "/app") == "/opt/x"


def test_a_target_is_apart_from_the_environment_and_a_container_finds_it_by_its_variable_alone(
    project: Project, tmp_path: Path
) -> None:
    image = project.build(TARGET)

    assert image.venv
    assert not list(image.venv.glob("lib/*/site-packages/other*"))
    assert list(image.venv.glob("lib/*/site-packages/tiny*"))
    assert (image.root / "opt/x/other.py").resolve().is_relative_to(image.venv / "targets")
    assert image.paths == ("/app", "/opt/x", "/usr/local/bin")
    assert project.said[-1] == "sandbox: 2 pip install step(s) done in a new virtual environment"
    for way in get_args(Way):
        *found, listed = looked(way, tmp_path / way, image)
        assert found == ["tiny", "no other", "this is other"]
        assert "'other.py'" in listed


def looked(way: Way, folder: Path, image: Image) -> list[str]:
    """What a container of the image says of its packages."""
    plane = FakeControlPlane()
    plane.wanted = [service(container("web", ("python", "-c", LOOK)))]
    with running_agent(plane, folder, way, image=image):
        until(lambda: len(plane.lines("web")) >= 4)
    return plane.lines("web")[:4]


@pytest.mark.nightly
def test_a_target_goes_with_the_stage_that_it_is_copied_from(project: Project) -> None:
    image = project.build(
        "FROM python:3 AS build\nWORKDIR /deps\nRUN pip install --target . tiny\n"
        "FROM python:3\nCOPY --from=build /deps /srv/libraries\nCOPY --from=build /deps/tiny.py /srv/\n"
    )

    assert (image.root / "srv/libraries/tiny.py").read_text().startswith("def main")
    assert not (image.root / "deps").exists()


def test_a_target_that_the_interpreter_looks_in_is_the_environment(project: Project) -> None:
    packages = "/usr/local/lib/python3.13/site-packages"
    direct = f"FROM python:3\nRUN pip install --target {packages} tiny\n"
    build = "FROM python:3 AS build\nRUN pip install -t /deps tiny\n"
    for dockerfile in (direct, f"{build}FROM python:3\nCOPY --from=build /deps {packages}\n"):
        assert run(project.build(dockerfile), "tiny") == "this is tiny\n"


@pytest.mark.nightly
def test_what_the_image_has_at_a_target_stays_and_equal_images_have_one_digest(
    project: Project, tmp_path: Path
) -> None:
    project.put("own.py", "own")
    dockerfile = (
        "FROM x\nRUN pip install --target /opt/x tiny\nCOPY own.py /opt/x/tiny.py\nCOPY own.py /opt/x/\n"
    )
    image = project.build(dockerfile)
    project.state = tmp_path / "another"

    assert (image.root / "opt/x/tiny.py").read_text() == "own"
    assert (image.root / "opt/x/own.py").read_text() == "own"
    assert (image.root / "opt/x/bin/tiny").exists()
    assert project.build(dockerfile).digest == image.digest


@pytest.mark.nightly
def test_a_target_is_linked_anew_where_the_environments_have_moved(project: Project, tmp_path: Path) -> None:
    dockerfile = "FROM x\nRUN pip install --target /opt/x tiny\n"
    project.build(dockerfile)
    (project.state / "venvs").rename(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    (tmp_path / "elsewhere").mkdir()
    (project.state / "venvs").symlink_to(tmp_path / "elsewhere")
    image = project.build(dockerfile)

    assert (image.root / "opt/x/tiny.py").resolve().is_relative_to(tmp_path / "elsewhere")
