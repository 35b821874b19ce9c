"""Values that the database thinks equal stay equal, whatever their columns' width, type and collation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from django_testenv.stage_copy.problems import Misconfigured
from tests.runtime.stage_copy.test_fakes import copied, got

if TYPE_CHECKING:
    from tests.runtime.stage_copy.copies import Copies

CASES = "('Bob@x.com'), ('ann@x.com'), ('Zoe Q')"
OTHERS = "('bOB@X.com'), ('ANN@x.com'), ('zoe q')"
FILLED = "SELECT 'Person' || i || '@corp.com' FROM generate_series(1, 60) i"


def joined(copies: Copies, name: str, one: str, other: str) -> int:
    [(count,)] = got(copies, name, f"SELECT count(*)::int FROM {one} a JOIN {other} b ON a.email = b.email")
    return int(count)


@pytest.mark.parametrize("rule", ["email", "name", "username", "phone"])
def test_joins_between_columns_of_any_width_keep_their_count_with_keys_and_without(
    copies: Copies, rule: str
) -> None:
    tables = {"a": "varchar(254)", "b": "varchar(30)", "c": "text", "d": "char(40)", "e": "varchar(22)"}
    statements = []
    for table, type_ in tables.items():
        key = " REFERENCES c" if table == "b" else " PRIMARY KEY" if table == "c" else ""
        statements += [f"CREATE TABLE {table} (email {type_}{key})", f"INSERT INTO {table} {FILLED}"]
    statements = [*statements[4:6], *statements[:4], *statements[6:]]
    name = copied(copies, {f"{table}.email": rule for table in tables}, *statements)
    for table in tables:
        assert joined(copies, name, table, "c") == 60
    assert got(copies, name, "SELECT count(*) FROM c WHERE email ILIKE 'person%'") == [(0,)]


def test_a_key_gives_its_rule_to_the_columns_that_it_links(copies: Copies) -> None:
    name = copied(
        copies,
        {"person.email": "email"},
        "CREATE TABLE person (email varchar(90) PRIMARY KEY)",
        f"INSERT INTO person {FILLED}",
        "CREATE TABLE visit (id int, email varchar(30) REFERENCES person) PARTITION BY RANGE (id)",
        "CREATE TABLE visit_old PARTITION OF visit FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE visit_new PARTITION OF visit FOR VALUES FROM (10) TO (100)",
        f"INSERT INTO visit SELECT row_number() OVER (), email FROM ({FILLED}) p(email)",
        "CREATE TABLE note (email text REFERENCES person, of_mail text REFERENCES person (email))",
        "INSERT INTO note SELECT email, email FROM person",
    )
    assert joined(copies, name, "visit", "person") == 60
    assert got(copies, name, "SELECT count(*) FROM note WHERE email = of_mail AND email LIKE 'u%'") == [(60,)]


@pytest.mark.parametrize("rule", ["keep", "name", {"call": "shlex.quote"}])
def test_linked_columns_with_different_rules_are_refused(copies: Copies, rule: object) -> None:
    with pytest.raises(Misconfigured, match="are linked by a foreign key"):
        copied(
            copies,
            {"person.email": "email", "note.email": rule},
            "CREATE TABLE person (email text PRIMARY KEY)",
            "CREATE TABLE note (email text REFERENCES person)",
        )


def test_a_reference_may_be_nulled_alone_and_is_nulled_with_what_it_refers_to(copies: Copies) -> None:
    statements = (
        "CREATE TABLE person (id int, email text UNIQUE)",
        "INSERT INTO person VALUES (1, 'a@corp.com'), (2, 'b@corp.com')",
        "CREATE TABLE note (email text REFERENCES person (email))",
        "INSERT INTO note VALUES ('a@corp.com')",
    )
    name = copied(copies, {"note.email": "null"}, *statements)
    assert got(copies, name, "SELECT count(person.email), count(note.email) FROM person, note") == [(2, 0)]
    name = copied(copies, {"person.email": "null"}, *statements)
    assert got(copies, name, "SELECT count(person.email), count(note.email) FROM person, note") == [(0, 0)]


def require_equal_as_before(copies: Copies, rule: str, type_: str, other: str, *before: str) -> None:
    """Copy values that differ in case alone; what was equal is, and what was different is."""
    name = copied(
        copies,
        {f"{table}.email": rule for table in ("person", "visit", "log", "narrow")},
        *before,
        f"CREATE TABLE person (email {type_} PRIMARY KEY)",
        f"INSERT INTO person VALUES {CASES}",
        f"CREATE TABLE visit (email {other})",
        f"INSERT INTO visit VALUES {OTHERS}, {CASES}",
        "CREATE TABLE log (email text UNIQUE)",  # the case counts there
        f"INSERT INTO log VALUES {CASES}, {OTHERS}",
        "CREATE TABLE narrow (email varchar(25))",
        f"INSERT INTO narrow VALUES {CASES}",
    )
    for query in (
        "SELECT count(*) FROM person JOIN visit ON person.email = visit.email",
        "SELECT count(DISTINCT email) FROM visit",
        "SELECT count(*) FROM log JOIN narrow ON log.email = narrow.email",
        'SELECT count(*) FROM person JOIN log ON (person.email::text COLLATE "C") = log.email',
        "SELECT count(DISTINCT lower(email)) FROM log",
    ):
        assert got(copies, name, query) == copies.rows(
            copies.source_server, name.removesuffix("_copy"), query
        ), query


@pytest.mark.parametrize("rule", ["email", "name", "username"])
@pytest.mark.parametrize("other", ["citext", "text"])
def test_what_citext_thinks_equal_stays_equal_and_what_text_thinks_different_stays_different(
    copies: Copies, rule: str, other: str
) -> None:
    require_equal_as_before(copies, rule, "citext", other)


def test_a_named_group_has_a_width_of_its_own(copies: Copies) -> None:
    old = {"fake": "email", "group": "old"}
    name = copied(
        copies,
        {"person.email": "email", "visit.email": "email", "old.email": old, "older.email": old},
        *(
            f"CREATE TABLE {table} (email varchar({width})); INSERT INTO {table} {FILLED}"
            for table, width in {"person": 90, "visit": 60, "old": 90, "older": 22}.items()
        ),
    )
    assert joined(copies, name, "person", "visit") == joined(copies, name, "old", "older") == 60
    assert joined(copies, name, "person", "old") == 0
