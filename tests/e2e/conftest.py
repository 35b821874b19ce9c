from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clone import Clone
from tests.e2e.looks import fail

WAYS = ["copilot", pytest.param("cloudformation", marks=pytest.mark.nightly)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a module that says BOTH_WAYS once more in the night, without Copilot."""
    if "way" in metafunc.fixturenames and getattr(metafunc.module, "BOTH_WAYS", False):
        metafunc.parametrize("way", WAYS, indirect=True, scope="module")


@pytest.fixture(scope="module")
def way(request: pytest.FixtureRequest) -> str:
    """Return the way to deploy, as DEPLOY_WITH names it."""
    return str(getattr(request, "param", "copilot"))


@pytest.fixture(scope="module")
def clone(
    request: pytest.FixtureRequest, way: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clone]:
    """A clone whose sandbox serves the demo, or what starts in a moment where the module says LIGHT."""
    made = Clone(tmp_path_factory.mktemp("clone"), is_light=getattr(request.module, "LIGHT", False))
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
