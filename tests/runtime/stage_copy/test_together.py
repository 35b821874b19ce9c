"""Tiny tables, whose rows are moved several at a time."""

from __future__ import annotations

import pytest

from django_testenv.stage_copy.problems import Failed
from django_testenv.stage_copy.rows import Pump
from tests.runtime.stage_copy.copies import Copies

TABLES = 40


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many tables were moved together, each time."""
    found: list[int] = []
    copy = Pump.copy_together

    def counted(self: Pump, pieces: list[tuple[object, ...]]) -> list[tuple[int, int]]:
        found.append(len(pieces))
        return copy(self, pieces)  # type: ignore[arg-type]

    monkeypatch.setattr(Pump, "copy_together", counted)
    return found


def test_tiny_tables_arrive_together_with_their_indexes(copies: Copies, at_once: list[int]) -> None:
    copies.make_source(
        "together",
        *(
            f"CREATE TABLE t{n} (id int PRIMARY KEY, word text UNIQUE, rest text)"
            if n % 3
            else f"CREATE TABLE t{n} (id int)"
            for n in range(TABLES)
        ),
        *(f"INSERT INTO t{n} (id) SELECT g FROM generate_series(1, {n}) g" for n in range(TABLES)),
        "CREATE TABLE without_columns ()",
        "INSERT INTO without_columns DEFAULT VALUES",
        "UPDATE t4 SET rest = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1500) n)",
    )
    moved = copies.fill("together", "arrived_together", {"verify": True, "mask": {"t5.word": "null"}})
    assert moved.rows == {
        **{f"public.t{n}": n for n in range(TABLES)},
        "public.without_columns": 1,
    }
    assert at_once == [16, 16, 9]
    query = "SELECT count(*), bool_and(indisvalid) FROM pg_index WHERE indrelid::regclass::text ~ '^t[0-9]'"
    expected = copies.rows(copies.source_server, "together", query)
    assert copies.rows(copies.target_server, "arrived_together", query) == expected
    query = "SELECT md5(string_agg(t::text, ' ' ORDER BY id)) FROM t4 t"
    expected = copies.rows(copies.source_server, "together", query)
    assert copies.rows(copies.target_server, "arrived_together", query) == expected


def test_of_tables_that_are_moved_together_the_one_that_fails_is_named(
    copies: Copies, at_once: list[int]
) -> None:
    copies.make_source(
        "together_failing",
        *(f"CREATE TABLE t{n} (id int PRIMARY KEY, word text)" for n in range(5)),
        *(f"INSERT INTO t{n} VALUES (1, 'same'), (2, 'same')" for n in range(5)),
        "CREATE INDEX words ON t3 (word)",
    )
    copies.source_server.run(
        "UPDATE pg_index SET indisunique = true WHERE indexrelid = 'words'::regclass",
        database="together_failing",
    )
    with pytest.raises(Failed) as raised:
        copies.fill("together_failing", "failed_together")
    assert at_once == [5]
    assert "public.t3" in str(raised.value)
    assert '"words"' in str(raised.value)
