"""Each shape of a foreign repository, adopted, checked, deployed, fetched, copied and torn down.

In processes, and in real containers where root has Podman; there the base images are made of this machine's
files, so no registry is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests import engine_images
from tests.clone import get
from tests.e2e.looks import deployed
from tests.e2e.test_adopt import Adopted
from tests.engine_images import NO_ENGINE
from tests.shapes.repositories import PAGE, SHAPES

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nightly,
    pytest.mark.timeout(900),  # all verbs of one sandbox, beside other tests
]


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adopted]:
    """The shape that the test names, adopted and committed."""
    top, shape = tmp_path_factory.mktemp("top"), SHAPES[request.param]
    shape.write(top)
    project = Adopted(top / shape.workspace, tmp_path_factory.mktemp("installed"))
    try:
        project.adopt()
        project.commit("Adopted")
        yield project
    finally:
        project.stop()


@pytest.fixture
def left_to_do(request: pytest.FixtureRequest) -> set[str]:
    """The files that `adopt` leaves to the owner of the shape."""
    return {step.partition(":")[0] for step in SHAPES[request.node.callspec.params["project"]].steps}


@pytest.fixture(scope="module")
def bases() -> Iterator[None]:
    """The base images that the shapes' Dockerfiles ask for."""
    with engine_images.shapes_bases():
        yield


@pytest.mark.parametrize("project", SHAPES, indirect=True)
def test_a_shape_is_checked_served_copied_isolated_and_torn_down(
    project: Adopted, left_to_do: set[str]
) -> None:
    do_all(project, left_to_do)


@NO_ENGINE
@pytest.mark.usefixtures("bases")
@pytest.mark.parametrize(
    "project", [name for name, shape in SHAPES.items() if not shape.needs_registry], indirect=True
)
def test_a_shape_is_served_in_real_containers(project: Adopted, left_to_do: set[str]) -> None:
    project.containers = "engine"
    do_all(project, left_to_do)


def do_all(project: Adopted, left_to_do: set[str]) -> None:
    checked = project.invoke("check", "--json")
    errors = {each["path"] for each in json.loads(checked.out) if each["severity"] == "error"}
    assert errors <= left_to_do, checked.out  # adopt has named these as steps to do by hand
    url = deployed(project.invoke("deploy-test", "--branch", "main"))
    assert get(f"{url}/") == (200, PAGE)
    assert get(f"{url}/healthz") == (200, "ok\n")
    project.do("copy-db", "--yes")
    isolated = deployed(project.invoke("deploy-test", "--branch", "main", "--isolated"))
    assert get(f"{isolated}/") == (200, PAGE)
    project.do("teardown", "--all", "--yes")
    assert project.status() == []
    assert project.git("status", "--porcelain") == ""
