from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from django_testenv.stage_copy.column_types import Type
from django_testenv.stage_copy.links import Links
from django_testenv.stage_copy.masking import Masks, Selection, prepare
from django_testenv.stage_copy.model import Column, Table
from django_testenv.stage_copy.options import Golden, Options
from django_testenv.stage_copy.problems import Misconfigured
from tests.runtime.stage_copy.copies import PASSWORD

if TYPE_CHECKING:
    from tests.runtime.stage_copy.copies import Copies


def table(*columns: Column, name: str = "shop_customer", ancestors: tuple[str, ...] = ()) -> Table:
    return Table(1, "public", name, columns, pages=1, size=1, estimate=1, ancestors=ancestors)


def options(**setting: object) -> Options:
    return Options.read(setting, key="made-up")


def masks(found: Table, **setting: object) -> Masks:
    """The rules for one table without foreign keys, of types that say their length alone."""
    names = {"character varying": "varchar"}
    types = {}
    for column in found.columns:
        base, _, length = column.type.rstrip(")").partition("(")
        facts = (base, column.type, names.get(base, base))
        types[found.oid, column.name] = Type(*facts, length=int(length) if length else None)
    return Masks([found], types, Links(), options(**setting))


def select(found: Table, **setting: object) -> Selection:
    return masks(found, **setting).select(found)


EMAIL = Column("email", "character varying(120)")


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"exclude": []}, "did you mean 'exclude_data'?"),
        ({"exclude_data": "one"}, "is not a list of names"),
        ({"mask": []}, "is not a dictionary"),
        ({"mask": {"a.b": "e-mail"}}, "is not a rule"),
        ({"mask": {"a.b": {"fake": "mail"}}}, "is not a rule"),
        ({"mask": {"a.b": {"shift": "often"}}}, "write a number of days, weeks or years"),
        ({"mask": {"a.b": {"json": "email"}}}, "customer.email"),
        ({"mask": {"a.b": {"json": {"items[0].x": "email"}}}}, "is no path"),
        ({"mask": {"a.b": {"json": {"x": {"shift": "1d"}}}}}, "within JSON a rule may be"),
        ({"mask": {"a.b": {"call": "nowhere.at_all"}}}, "cannot be imported"),
        ({"mask": {"a.b": {"call": "os.path"}}}, "is not a function"),
        ({"golden": True}, "is not a dictionary"),
        ({"golden": {"max_age": "soon"}}, "write a number and a unit"),
        ({"golden": {"age": "1h"}}, "has no 'age'"),
        ({"jobs": 0}, "must be a whole number"),
        ({"jobs": True}, "must be a whole number"),
        ({"verify": "yes"}, "must be True or False"),
        ({"split": 1}, "is not an option any more: take it out"),
    ],
)
def test_a_setting_that_says_nothing_sensible_is_one_clear_line(setting: dict[str, object], why: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        Options.read(setting, key="made-up")
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_setting_is_read_and_the_key_is_not_shown() -> None:
    read = options(golden={"max_age": "90m", "spare": True}, jobs=4, mask_key="of-the-project")
    assert read.golden == Golden(5400, spare=True)
    assert read.jobs == 4
    assert "of-the-project" not in repr(read)
    assert read.mask_key not in repr(read)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"exclude_data": ["shop_custmer"]}, "did you mean"),
        ({"mask": {"shop_custmer.email": "email"}}, "did you mean"),
        ({"mask": {"shop_customer.emial": "email"}}, "did you mean 'email'?"),
        ({"mask": {"shop_customer.code": "email"}}, "too short"),
        ({"mask": {"shop_customer.code": "phone"}}, "too short"),
        ({"mask": {"shop_customer.id": "null"}}, "may not be null"),
        ({"mask": {"shop_customer.made": "null"}}, "is generated"),
        ({"mask": {"shop_customer.id": "email"}}, 'can hold no "email"'),
        ({"mask": {"shop_customer.email": {"shift": "3d"}}}, "needs a date"),
        ({"mask": {"shop_customer.born": {"shift": "3d", "by": "emial"}}}, "did you mean 'email'?"),
        ({"mask": {"shop_customer.email": {"json": {"a": "null"}}}}, 'need "json" or "jsonb"'),
    ],
)
def test_a_rule_that_fits_no_column_is_refused_with_the_nearest_name(
    setting: dict[str, object], why: str
) -> None:
    found = table(
        EMAIL,
        Column("code", "character varying(8)"),
        Column("id", "bigint", nullable=False),
        Column("made", "text", generated=True),
        Column("born", "date"),
    )
    with pytest.raises(Misconfigured, match=why):
        select(found, **setting)


@pytest.mark.parametrize("entry", ["shop_customer", "public.shop_customer", "shop_*", "people", "app.people"])
def test_rows_stay_behind_by_name_by_glob_and_by_what_a_table_is_part_of(entry: str) -> None:
    assert select(table(ancestors=("app.people",)), exclude_data=[entry]).excluded


def test_a_mask_of_a_partitioned_table_is_one_of_its_partitions() -> None:
    found = select(table(EMAIL, ancestors=("public.people",)), mask={"people.email": "email"})
    assert found.kinds == {"email": "email"}


def test_no_expression_is_compiled_which_takes_a_server_with_llvm_ten_seconds_a_table(copies: Copies) -> None:
    with copies.source_server.connect() as connection:
        connection.execute("SET jit = on")
        prepare(connection, options())
        assert connection.execute("SHOW jit").fetchone() == ("off",)


def test_the_source_never_sends_what_a_rule_replaces(copies: Copies) -> None:
    """The target's server logs and stores no raw value: it is replaced in the query that staging runs."""
    server, began = copies.source_server, time.time() - 1
    server.run("CREATE DATABASE masked OWNER owner")
    with server.connect("masked", "owner", PASSWORD) as connection:
        connection.execute("CREATE TABLE person (id int PRIMARY KEY, email varchar(60) UNIQUE)")
        connection.execute(
            "INSERT INTO person SELECT i, 'raw' || i || '@example.com' FROM generate_series(1, 50) i"
        )
        connection.execute(
            "CREATE TABLE more AS SELECT id, ARRAY[email] AS tags, json_build_object('m', email) AS doc, "
            "jsonb_build_array(email) AS list, 'raw@' || email AS gone, email AS said FROM person"
        )
        connection.execute("ALTER TABLE more ADD FOREIGN KEY (said) REFERENCES person (email)")
        connection.execute("CREATE INDEX ON more (lower(said)); ANALYZE")
        connection.execute(
            "CREATE MATERIALIZED VIEW seen AS SELECT email, doc FROM person JOIN more USING (id)"
        )
        connection.execute("GRANT SELECT ON person, more, seen TO reader")
    documents = {"more.doc": {"json": {"m": "email"}}, "more.list": {"json": {"[*]": "name"}}}
    rules = {"person.email": "email", "more.tags": "email", "more.gone": "null", **documents}
    copies.fill("masked", "masked", {"mask": rules, "verify": True})
    for path in copies.target_server.data.rglob("*"):
        if path.is_file() and path.stat().st_mtime > began:
            assert b"raw17@example.com" not in path.read_bytes(), path


def test_rows_that_refer_to_rows_left_behind_are_refused_unless_the_reference_is_masked(
    copies: Copies,
) -> None:
    server = copies.source_server
    server.run("CREATE DATABASE referring OWNER owner")
    with server.connect("referring", "owner", PASSWORD) as connection:
        connection.execute("CREATE TABLE log (id int PRIMARY KEY)")
        connection.execute("CREATE TABLE item (id int PRIMARY KEY, log_id int REFERENCES log)")
        connection.execute("INSERT INTO log VALUES (1)")
        connection.execute("INSERT INTO item VALUES (1, 1)")
        connection.execute("GRANT SELECT ON log, item TO reader")
    with pytest.raises(Misconfigured, match=r"public\.item \(log_id\) refers to them"):
        copies.fill("referring", "referring", {"exclude_data": ["log"]})
    copies.fill("referring", "referring", {"exclude_data": ["log"], "mask": {"item.log_id": "null"}})
    assert copies.rows(copies.target_server, "referring", "SELECT * FROM item") == [(1, None)]
