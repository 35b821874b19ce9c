"""Checks whose functions read other tables hold for the copy, in whatever order rows arrive."""

from __future__ import annotations

import pytest

from django_testenv.stage_copy.problems import Failed
from tests.runtime.stage_copy.copies import Copies

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
