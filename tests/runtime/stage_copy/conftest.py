"""Two servers and the newest tools, for the tests of the engine; a shared database, for those of branches."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from django_testenv.stage_copy import disposable_registry
from tests.runtime.stage_copy.branches import STAGE, Shared, numbers
from tests.runtime.stage_copy.copies import Copies, make_roles
from tests.runtime.stage_copy.servers import BIN, postgres_server


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put pg_dump and pg_restore on PATH that are as new as the servers."""
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")


@pytest.fixture(scope="session")
def copies() -> Iterator[Copies]:
    with postgres_server() as source, postgres_server() as target:
        yield make_roles(source, target)


@pytest.fixture(scope="session")
def staging(copies: Copies) -> None:
    """What the tests of branches copy."""
    copies.make_source(
        STAGE,
        "CREATE TABLE person (id int PRIMARY KEY, email text UNIQUE)",
        "INSERT INTO person SELECT n, n || '@example.com' FROM generate_series(1, 200) n",
    )


@pytest.fixture
def unmarked(copies: Copies, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shared:
    made = Shared(copies, f"branches{next(numbers)}x", monkeypatch, capsys)
    made.make(made.name)
    return made


@pytest.fixture
def shared(unmarked: Shared) -> Shared:
    with unmarked.connect() as server:
        disposable_registry.mark(server, unmarked.name)
    return unmarked
