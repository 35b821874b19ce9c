"""Functions of checks, generated columns and indexes may read other tables, in whatever order rows arrive."""

from __future__ import annotations

import pytest

from django_testenv.stage_copy.problems import Failed
from tests.runtime.stage_copy.copies import PASSWORD, Copies

SOURCE, BROKEN = "checks", "checks_broken"
STATEMENTS = (
    "CREATE TABLE kind (id int PRIMARY KEY)",
    "INSERT INTO kind SELECT generate_series(1, 5)",
    """CREATE FUNCTION known(int) RETURNS bool LANGUAGE sql STABLE
       RETURN EXISTS (SELECT FROM public.kind WHERE id = $1)""",
    "CREATE FUNCTION known_too(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN public.known($1); END'",
    "CREATE DOMAIN kind_id AS int CONSTRAINT known CHECK (known(VALUE))",
    "CREATE DOMAIN in_arrays AS int CHECK (VALUE > 0)",
    """CREATE TABLE item (id int PRIMARY KEY, kind kind_id, words text, kinds in_arrays[],
       CONSTRAINT "known ""too"", once more" CHECK (known_too(kind)))""",
    """COMMENT ON CONSTRAINT "known ""too"", once more" ON item IS 'it''s read'""",
    "CREATE TABLE parent (kind int, CONSTRAINT of_parent CHECK (known(kind)))",
    "CREATE TABLE child (more int CHECK (known(more)) NO INHERIT) INHERITS (parent)",
    "CREATE TABLE measured (kind int CHECK (known(kind))) PARTITION BY LIST (kind)",
    "CREATE TABLE measured_1 PARTITION OF measured DEFAULT",
    "INSERT INTO item SELECT n, 1 + n % 5, repeat('it comes first ', 90) FROM generate_series(1, 99) n",
    "INSERT INTO child SELECT 1 + n % 5, 2 FROM generate_series(1, 999) n",
    "INSERT INTO measured SELECT 1 + n % 5 FROM generate_series(1, 999) n",
)


def test_a_check_that_reads_another_table_comes_with_it(copies: Copies) -> None:
    copies.make_source(SOURCE, *STATEMENTS)
    copies.fill(SOURCE, "checked", {"jobs": 1, "verify": True})
    sent = copies.schema(copies.source_server, SOURCE)
    assert copies.schema(copies.target_server, "checked") == sent


def test_a_check_that_the_rows_break_is_named(copies: Copies) -> None:
    copies.make_source(BROKEN, *STATEMENTS, "DELETE FROM kind WHERE id = 3")
    with pytest.raises(Failed) as raised:
        copies.fill(BROKEN, "checked")
    assert str(raised.value) == (
        "the values of the domain public.kind_id could not be copied: check constraint known: "
        'column "kind" of table "item" contains values that violate the new constraint'
    )


def test_a_check_that_is_not_valid_for_a_parent_is_so_for_children_made_later(copies: Copies) -> None:
    """A table that is made below calls it valid; a dump makes the table first."""
    copies.make_source(
        "checks_below",
        "CREATE TABLE parent (kind int)",
        "CREATE TABLE measured (kind int) PARTITION BY LIST (kind)",
        "INSERT INTO parent VALUES (-1)",
        *(
            f"ALTER TABLE {name} ADD CONSTRAINT of_{name} CHECK (kind > 0) NOT VALID"
            for name in ("parent", "measured")
        ),
        "CREATE TABLE child () INHERITS (parent)",
        "CREATE TABLE grandchild (CONSTRAINT own CHECK (kind < 100)) INHERITS (child)",
        "CREATE TABLE measured_1 PARTITION OF measured DEFAULT",
        "INSERT INTO grandchild VALUES (1)",
        "INSERT INTO measured VALUES (1)",
    )
    copies.fill("checks_below", "checked_below", {"verify": True})
    sent = copies.schema(copies.source_server, "checks_below")
    assert copies.schema(copies.target_server, "checked_below") == sent


@pytest.mark.parametrize(
    ("setting", "rows"),
    [
        ({"jobs": 1, "mask": {"item.words": {"value": "masked"}}}, 990),
        pytest.param({"jobs": 4}, 990, marks=pytest.mark.nightly),
        pytest.param({"exclude_data": ["item", "measured*"]}, 0, marks=pytest.mark.nightly),
    ],
)
def test_generated_columns_and_indexes_get_what_their_functions_read_in_other_tables(
    copies: Copies, setting: dict[str, object], rows: int
) -> None:
    """Such a function is called immutable and is not; pg_dump gets it right if that table comes first."""
    source = "checks_rates"
    if not copies.has_source(source):
        copies.make_source(
            source,
            "CREATE TABLE a_rate (kind int PRIMARY KEY, rate int)",
            "INSERT INTO a_rate SELECT n, n * 10 FROM generate_series(1, 5) n",
            """CREATE FUNCTION rate_of(int) RETURNS int LANGUAGE sql IMMUTABLE
               AS 'SELECT rate FROM public.a_rate WHERE kind = $1'""",
            """CREATE TABLE item (id int, kind int, words text,
               rate int GENERATED ALWAYS AS (rate_of(kind)) STORED NOT NULL)""",
            "INSERT INTO item SELECT n, 1 + n % 5, repeat('first ', 200) FROM generate_series(1, 990) n",
            "CREATE INDEX by_rate ON item (rate_of(kind))",
            "CREATE TABLE measured (LIKE item INCLUDING ALL) PARTITION BY LIST (kind)",
            "CREATE TABLE measured_1 PARTITION OF measured DEFAULT",
            "INSERT INTO measured SELECT * FROM (SELECT id, kind, words FROM item) item",
            "CREATE INDEX of_one_rate ON measured (id) WHERE rate_of(kind) = 30",
        )
    copies.fill(source, "checked_rates", setting)
    assert copies.schema(copies.target_server, "checked_rates") == copies.schema(copies.source_server, source)
    with copies.target_server.connect("checked_rates", "tester", PASSWORD) as connection:
        for table in ("item", "measured"):
            query = f"SELECT count(*) FROM {table} WHERE rate = kind * 10"
            assert connection.execute(query.encode()).fetchone() == (rows,)
        connection.execute("SET enable_seqscan = off")
        for table in ("item", "measured"):
            query = f"SELECT count(*) FROM {table} WHERE rate_of(kind) = 30 AND id > 0"
            assert connection.execute(query.encode()).fetchone() == (rows / 5,)
