from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import engine_images
from tests.clone import Clone
from tests.e2e.looks import fail
from tests.engine_images import NO_ENGINE

WAYS = ["copilot", pytest.param("cloudformation", marks=pytest.mark.nightly)]
CONTAINERS = ["processes", pytest.param("engine", marks=[pytest.mark.nightly, NO_ENGINE])]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a module once more in the night: BOTH_WAYS without Copilot, BOTH_CONTAINERS with an engine."""
    for name, values, mark in (("way", WAYS, "BOTH_WAYS"), ("containers", CONTAINERS, "BOTH_CONTAINERS")):
        if name in metafunc.fixturenames and getattr(metafunc.module, mark, False):
            metafunc.parametrize(name, values, indirect=True, scope="module")


@pytest.fixture(scope="module")
def way(request: pytest.FixtureRequest) -> str:
    """Return the way to deploy, as DEPLOY_WITH names it."""
    return str(getattr(request, "param", "copilot"))


@pytest.fixture(scope="module")
def containers(request: pytest.FixtureRequest) -> str:
    """Return what runs the sandbox's containers, as SANDBOX_CONTAINERS names it."""
    return str(getattr(request, "param", "processes"))


@pytest.fixture(scope="module")
def clone(
    request: pytest.FixtureRequest, way: str, containers: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clone]:
    """A clone whose sandbox serves the demo, or what starts in a moment where the module says LIGHT."""
    made = Clone(tmp_path_factory.mktemp("clone"), is_light=getattr(request.module, "LIGHT", False))
    made.containers = containers
    if containers == "engine":
        engine_images.make()
        (made.folder / "Dockerfile").write_text(engine_images.DOCKERFILE)
        made.commit("An image without apt")
    if way == "cloudformation":
        made.leave_copilot(tmp_path_factory.mktemp("python"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def two_commits(clone: Clone) -> None:
    """A sandbox that runs, and a branch `other` beside main."""
    clone.stage_megabytes = 5
    clone.branch("other", {"note.txt": "another commit"})
    clone.do("sandbox")


@pytest.fixture
def no_faults(clone: Clone) -> None:
    fail(clone)
