from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clone import Clone
from tests.e2e.looks import fail


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    made = Clone(tmp_path_factory.mktemp("clone"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def two_commits(clone: Clone) -> None:
    """A sandbox that runs, and a branch `other` beside main."""
    clone.stage_megabytes = 5
    clone.branch("other", {"note.txt": "another commit"})
    assert clone.invoke("sandbox").code == 0


@pytest.fixture
def no_faults(clone: Clone) -> None:
    fail(clone)
