from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clone import Clone


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    made = Clone(tmp_path_factory.mktemp("clone"))
    yield made
    made.stop()
