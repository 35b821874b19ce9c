"""Layouts that are not all in one folder, adopted, deployed and fetched by the adopted tasks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clone import get
from tests.e2e.looks import deployed
from tests.e2e.test_adopt import Adopted
from tests.shapes.repositories import PAGE, SHAPES

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]


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


@pytest.mark.timeout(900)  # all verbs of one sandbox, beside other tests
@pytest.mark.parametrize("project", ["four folders, the context is the top"], indirect=True)
def test_four_folders_are_served_copied_isolated_and_torn_down(project: Adopted) -> None:
    url = deployed(project.invoke("deploy-test", "--branch", "main"))
    assert get(f"{url}/") == (200, PAGE)
    assert get(f"{url}/healthz") == (200, "ok\n")
    project.do("copy-db", "--yes")
    isolated = deployed(project.invoke("deploy-test", "--branch", "main", "--isolated"))
    assert get(f"{isolated}/") == (200, PAGE)
    project.do("teardown", "--all", "--yes")
    assert project.status() == []
    assert project.git("status", "--porcelain") == ""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "project",
    ["four folders, the context is manage.py's", "everything copied, manage.py not where it starts"],
    indirect=True,
)
def test_a_layout_is_served(project: Adopted) -> None:
    url = deployed(project.invoke("deploy-test", "--branch", "main"))
    assert get(f"{url}/") == (200, PAGE)
