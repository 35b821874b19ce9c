"""More objects than one transaction may lock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtime.stage_copy.copies import PASSWORD, Copies, make_roles
from tests.runtime.stage_copy.servers import postgres_server

LOCKS = 10  # for each of the target's 40 sessions: 400 in all, and a little more
SCHEMAS, TABLES = 6, 100


@pytest.fixture(scope="module")
def many() -> Iterator[Copies]:
    with (
        postgres_server(max_locks_per_transaction="16") as source,
        postgres_server(max_locks_per_transaction=str(LOCKS)) as target,
    ):
        yield make_roles(source, target)


@pytest.mark.nightly
def test_more_tables_arrive_than_a_transaction_may_lock(many: Copies) -> None:
    """As a project with tenants has them: schema by schema the same tables."""
    many.make_source("many")
    with many.source_server.connect("many", "owner", PASSWORD) as connection:
        for number in range(SCHEMAS):
            space = f"tenant{number}"
            tables = "".join(
                f"CREATE TABLE {space}.t{n} (id serial PRIMARY KEY, other int"
                f"{f' REFERENCES {space}.t{n - 1}' if n else ''});"
                f"CREATE INDEX ON {space}.t{n} (other); INSERT INTO {space}.t{n} (other) VALUES (1);"
                for n in range(TABLES)
            )
            for part in (f"CREATE SCHEMA {space}; GRANT USAGE ON SCHEMA {space} TO reader;", *_parts(tables)):
                connection.execute(part.encode())
            for kind in ("TABLES", "SEQUENCES"):
                connection.execute(f"GRANT SELECT ON ALL {kind} IN SCHEMA {space} TO reader".encode())
    moved = many.fill("many", "many", {"verify": True})
    assert len(moved.rows) == sum(moved.rows.values()) == SCHEMAS * TABLES
    query = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated"
    assert many.rows(many.target_server, "many", query) == [(SCHEMAS * (TABLES - 1),)]


def _parts(statements: str) -> Iterator[str]:
    every = statements.split(";")
    for start in range(0, len(every), 60):
        if part := ";".join(every[start : start + 60]).strip():
            yield part
