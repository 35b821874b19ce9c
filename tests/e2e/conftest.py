from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clone import Clone
from tests.e2e.looks import fail


@pytest.fixture(scope="module")
def clone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone whose sandbox serves the demo, or what starts in a moment where the module says LIGHT."""
    made = Clone(tmp_path_factory.mktemp("clone"), is_light=getattr(request.module, "LIGHT", False))
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
