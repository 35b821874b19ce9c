"""Test what a sample shows: names of people, addresses, national numbers, births, profiles and secrets."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from django_testenv.stage_copy import catalogue, personal
from django_testenv.stage_copy.options import Options
from django_testenv.stage_copy.problems import Failed
from tests.runtime.stage_copy import made_people as made
from tests.runtime.stage_copy.copies import PASSWORD

if TYPE_CHECKING:
    from django_testenv.stage_copy.database import Connection
    from tests.runtime.stage_copy.copies import Copies

ROWS = 60
YEAR = dt.datetime.now(dt.UTC).year
Value = Callable[[random.Random], str]
FULL_NAME = "full name, with names that many people have"
POSTAL, SECRET = "a postal address", "a password's hash or a key"


def one_of(*values: str) -> Value:
    return lambda r: r.choice(values)


def sometimes(share: float, value: Value) -> Value:
    return lambda r: value(r) if r.random() < share else "The order has been packed and is ready to ship."


def date(first: int, last: int) -> Value:
    return lambda r: f"{r.randint(first, last)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}"


# A column without a telling name, its values, and the end of the reason; empty where it must not be found.
COLUMNS: dict[str, tuple[Value, str]] = {
    "full_names": (made.person, FULL_NAME),
    "full_names_in_capitals": (lambda r: made.person(r).upper(), FULL_NAME),
    "surnames_first": (lambda r: ", ".join(reversed(made.pair(r))), FULL_NAME),
    "given_names": (lambda r: made.pair(r)[0], "a name that many people have"),
    "logins": (made.login, "the form of a login, with names that many people have"),
    "called_in_a_text": (
        sometimes(0.3, lambda r: f"Told {made.person(r)} that it is late."),
        "a given name beside a surname that many people have",
    ),
    "streets": (made.street, POSTAL),
    "labels_of_parcels": (
        lambda r: f"{made.person(r)}\n{made.street(r)}\n{r.randint(10000, 99999)} Ulm", POSTAL,
    ),
    "towns_after_their_codes": (lambda r: f"Unit {r.randint(1, 9)}, {r.randint(10000, 99999)} Ulm", POSTAL),
    "number_of_a_caller": (
        sometimes(0.2, lambda r: f"Please call 0{r.randint(1501000000, 1799999999)} today"),
        "a telephone number",
    ),
    "profiles": (lambda r: f"https://www.linkedin.com/in/{made.login(r)}", "the address of a profile"),
    "hashes_of_passwords": (lambda r: f"pbkdf2_sha256$600000${r.getrandbits(64):x}$abc=", SECRET),
    "tokens_of_a_service": (lambda r: f"sk_live_{r.getrandbits(96):024x}", SECRET),
    "zones_of_passports": (
        lambda r: "P<UTO" + "<<".join(reversed(made.pair(r))).upper() + "<<<<", "machine-readable zone",
    ),
    **{what.replace(" ", "_"): (number, what) for what, number in made.NUMBERS.items()},
    # What comes near.
    "products": (one_of("Oak Table", "Victoria Sponge Cake", "Rose Soap", "Winter Jacket XL"), ""),
    "companies": (lambda r: f"{made.pair(r)[1]} {r.choice(['GmbH', 'Ltd', '& Sons', 'SA'])}", ""),
    "towns": (one_of("Paris", "Florence", "San Antonio", "Berlin", "Georgia", "Lyon", "Fort Worth"), ""),
    "topics": (one_of("Release Notes", "Reset Your Password", "Weekly Report", "Order Shipped"), ""),
    "slugs": (lambda r: f"{r.choice(['oak', 'winter', 'steel', 'garden'])}-table-{r.randint(1, 99)}", ""),
    "seats": (lambda r: f"Sitzplatz {r.randint(1, 90)}", ""),
    "drives": (lambda r: f"{r.randint(1, 8)} TB Hard Drive", ""),
    "versions": (lambda r: ".".join(str(r.randint(0, 45)) for _ in range(4)), ""),
    "orders": (lambda r: f"{r.randint(100000000, 999999999)}", ""),
    "articles": (lambda r: f"{r.randint(10000000000, 99999999999)}", ""),
    "barcodes": (lambda r: f"40{r.randint(10000000000, 99999999999)}", ""),
    "repositories": (lambda r: f"https://github.com/team/{r.choice('abc')}-{r.randint(1, 9)}", ""),
    "days_of_a_shop": (date(YEAR - 3, YEAR - 1), ""),
    "calls_of_a_function": (lambda r: f"call 0.{r.randint(100000000, 999999999)} of {r.randint(1, 9)}", ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def found(copies: Copies) -> Iterator[dict[tuple[str, str], str]]:
    """Why each column of the databases' tables looks personal."""
    r = random.Random(4)  # noqa: S311  a test's
    copies.make_source("by_content")
    try:
        with copies.source_server.connect("by_content") as source:
            names = list(COLUMNS)
            for start in range(0, len(names), 12):
                some = names[start : start + 12]
                fields = ", ".join(f"value{start + at} text" for at in range(len(some)))
                source.execute(f"CREATE TABLE part{start} ({fields})")
                with source.cursor().copy(f"COPY part{start} FROM STDIN") as copy:
                    for _ in range(ROWS):
                        copy.write_row([COLUMNS[name][0](r) for name in some])
            source.execute("CREATE TABLE patient (first_name text, dn date, since date, ordered date)")
            source.execute("CREATE TABLE volume (title text, dn date)")
            for row in range(ROWS):
                born, since = f"{YEAR - 5 - row}-02-03", f"{YEAR - row % 9}-02-03"
                source.execute("INSERT INTO patient VALUES ('x', %s, %s, %s)", [born, since, since])
                source.execute("INSERT INTO volume VALUES ('x', %s)", [born])
            yield {
                (one.table, one.column): one.why
                for one in personal.findings(
                    source, catalogue.tables(source), Options.read({}, key="made-up")
                )
            }
    finally:
        copies.source_server.run("DROP DATABASE by_content WITH (FORCE)")


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_judged_by_what_is_in_it(found: dict[tuple[str, str], str], name: str) -> None:
    reasons = [why for (_, column), why in found.items() if column == f"value{list(COLUMNS).index(name)}"]
    expected = COLUMNS[name][1]
    assert len(reasons) == bool(expected), reasons
    assert all(why.endswith(expected) and why[0].isdigit() for why in reasons), reasons


def test_dates_of_long_ago_are_births_in_a_table_of_people_alone(found: dict[tuple[str, str], str]) -> None:
    births = {place: why for place, why in found.items() if place[0] in ("public.patient", "public.volume")}
    assert births.pop(("public.patient", "first_name")) == "its name: a person's name"
    assert births == {
        ("public.patient", "dn"): f"{ROWS} sampled dates are of the years {YEAR - 64} to {YEAR - 5}, "
        "in a table of people"
    }


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_source_of_another_encoding_is_looked_at(copies: Copies, encoding: str) -> None:
    source = f"by_content_{encoding.lower()}"
    copies.source_server.run(f"CREATE DATABASE {source} TEMPLATE template0 ENCODING '{encoding}'")
    try:
        with copies.source_server.connect(source) as connection:
            connection.execute("SET client_encoding = UTF8")
            connection.execute(b"CREATE TABLE doc (value1 text, value2 text)")
            for name in ("Anna Weber", "Thomas Koch", "Maria Silva", "Lars Jansen", "Laura Rossi"):
                row = f"INSERT INTO doc VALUES ('grün, ada@corp.com', '{name}')"
                connection.execute(row.encode())
            found = personal.findings(
                connection, catalogue.tables(connection), Options.read({}, key="made-up")
            )
            assert [one.column for one in found] == ["value1", "value2"]
    finally:
        copies.source_server.run(f"DROP DATABASE {source} WITH (FORCE)")


def test_no_reason_shows_a_value(found: dict[tuple[str, str], str]) -> None:
    assert not [why for why in found.values() for first, last in made.PAIRS if f"{first} {last}" in why]


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_tables_are_looked_at_over_as_many_connections_as_staging_allows(
    copies: Copies, allowed: int
) -> None:
    source = f"by_content_at_once{allowed}"
    copies.make_source(
        source,
        *(f"CREATE TABLE doc{n} (value text)" for n in range(9)),
        *(f"INSERT INTO doc{n} VALUES ('ada{n}@corp.com')" for n in range(9)),
    )
    opened: list[Connection] = []

    def connect() -> Connection:
        if len(opened) == allowed:
            raise Failed("too many connections for role")
        opened.append(copies.source_server.connect(source, "reader", PASSWORD))
        return opened[-1]

    options = Options.read({"jobs": 4}, key="made-up")
    with copies.source_server.connect(source, "reader", PASSWORD) as connection:
        tables = catalogue.tables(connection)
        found = personal.findings(connection, tables, options, connect)
        assert found == personal.findings(connection, tables, options)
    assert [one.table for one in found] == [table.qualified for table in tables]
    assert [one.closed for one in opened] == [True] * allowed
