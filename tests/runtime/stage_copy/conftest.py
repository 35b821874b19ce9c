"""Two servers and the newest tools, for the tests of the engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.runtime.stage_copy.copies import make_roles
from tests.runtime.stage_copy.servers import BIN, postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.runtime.stage_copy.copies import Copies


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put pg_dump and pg_restore on PATH that are as new as the servers."""
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")


@pytest.fixture(scope="session")
def copies() -> Iterator[Copies]:
    with postgres_server() as source, postgres_server() as target:
        yield make_roles(source, target)
