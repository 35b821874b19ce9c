"""Fakes have the form that their column, Django and the world of mails and telephones want, and hide all."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.validators import EmailValidator

from django_testenv.stage_copy.problems import Misconfigured

if TYPE_CHECKING:
    from tests.runtime.stage_copy.copies import Copies

numbers = itertools.count()


def copied(copies: Copies, mask: Mapping[str, object], *statements: str) -> str:
    """Make a source with these statements and copy it with these rules; the target's name."""
    name = f"fakes{next(numbers)}x"
    copies.make_source(name, "CREATE EXTENSION citext", *statements)
    target = name if copies.source_server is not copies.target_server else f"{name}_copy"
    copies.fill(name, target, {"mask": mask, "verify": True})
    return target


def got(copies: Copies, name: str, query: str) -> list[tuple[Any, ...]]:
    return copies.rows(copies.target_server, name, query)


def test_fakes_are_valid_where_django_and_the_world_look(copies: Copies) -> None:
    mask = {f"person.{kind}": kind for kind in ("email", "username", "phone", "ip", "name")}
    name = copied(
        copies,
        mask,
        "CREATE TABLE person (id int, email varchar(254) UNIQUE, username varchar(150) UNIQUE, "
        "phone varchar(20) UNIQUE, ip inet, name text)",
        "INSERT INTO person SELECT i, 'Raw' || i || '@corp.com', 'raw ' || i, '+49 170 ' || i, "
        "'10.1.0.0'::inet + i, 'Raw Person' || i FROM generate_series(1, 20000) i",
        "INSERT INTO person (id, ip) VALUES (0, '2a02:8071::17/64')",
    )
    rows = got(copies, name, "SELECT email, username, phone, ip, name FROM person WHERE id BETWEEN 1 AND 300")
    for email, username, phone, ip, person in rows:
        EmailValidator()(email)
        assert email.endswith("@example.invalid")
        UnicodeUsernameValidator()(username)
        assert re.fullmatch(r"\+(28|83|89)\d{13}", phone)  # of E.164's 15 digits, in codes of no country
        assert ip in ipaddress.ip_network("240.0.0.0/4")
        assert "raw" not in f"{email}{username}{person}".lower()
    [(other,)] = got(copies, name, "SELECT ip FROM person WHERE id = 0")
    assert str(other).startswith("2001:db8:")
    assert str(other).endswith("/64")


@pytest.mark.parametrize(
    ("type_", "rule", "fits"),
    [
        ("varchar(16)", "email", False),
        ("varchar(21)", "email", True),
        ("varchar(30)", "email", True),
        ("varchar(254)", "email", True),
        ("char(40)", "email", True),
        ("citext", "email", True),
        ("varchar(14)", "phone", False),
        ("varchar(15)", "phone", True),
        ("bigint", "phone", True),
        ("numeric(15)", "phone", True),
        ("numeric(9)", "phone", False),
        ("varchar(13)", "name", True),
        ("varchar(14)", "username", True),
        ("varchar(15)", "ip", True),
        ("boolean", "email", False),
    ],
)
def test_a_fake_fits_its_column_whole_or_is_refused_beforehand(
    copies: Copies, type_: str, rule: str, *, fits: bool
) -> None:
    value = "i" if type_ in ("bigint", "numeric(15)", "numeric(9)") else "'v' || i"
    value = "true" if type_ == "boolean" else value
    statements = (
        f"CREATE TABLE t (id int, v {type_}{'' if rule == 'ip' or type_ == 'boolean' else ' UNIQUE'})",
        f"INSERT INTO t SELECT i, {value} FROM generate_series(1, 3000) i",
    )
    if not fits:
        with pytest.raises(Misconfigured, match=r"can hold no|too short"):
            copied(copies, {"t.v": rule}, *statements)
        return
    name = copied(copies, {"t.v": rule}, *statements)
    assert got(copies, name, "SELECT count(*) FROM t WHERE v::text ~ '^v?[0-9]{1,4}$'") == [(0,)]
    if rule == "email":
        domains = got(copies, name, "SELECT DISTINCT regexp_replace(v::text, '.*@', '') FROM t")
        assert domains in ([("example.invalid",)], [("x.invalid",)], [("a.test",)])


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("varchar(3)", "four"),
        ("char(2)", "abc"),
        ("numeric(5,2)", "1.234"),
        ("int", "many"),
        ("date", "2020-02-31"),
        ("jsonb", "no json"),
        ("short", "four"),
        ("bit(3)", "10101"),
        ("varchar(3)[]", ["four"]),
    ],
)
def test_a_constant_that_does_not_fit_is_refused_beforehand(
    copies: Copies, type_: str, value: object
) -> None:
    with pytest.raises(Misconfigured, match="does not fit"):
        copied(
            copies,
            {"t.v": {"value": value}},
            "CREATE DOMAIN short AS varchar(3)",
            f"CREATE TABLE t (v {type_})",
        )


def test_one_constant_for_a_unique_column_is_refused_beforehand(copies: Copies) -> None:
    statements = "CREATE TABLE t (v text UNIQUE)", "INSERT INTO t VALUES ('a')"
    name = copied(copies, {"t.v": {"value": "x"}}, *statements)
    assert got(copies, name, "TABLE t") == [("x",)]
    with pytest.raises(Misconfigured, match="is unique"):
        copied(copies, {"t.v": {"value": "x"}}, *statements, "INSERT INTO t VALUES ('b')")


def test_constants_arrive_as_they_are_written(copies: Copies) -> None:
    values: dict[str, tuple[str, object, object]] = {
        "a": ("jsonb", {"x": [1, None, "é"]}, {"x": [1, None, "é"]}),
        "b": ("text", {"x": True}, '{"x": true}'),
        "c": ("text[]", ["x", "a,b"], ["x", "a,b"]),
        "d": ("boolean", False, False),
        "e": ("char(4)", "ab", "ab  "),
        "f": ("json", [1], [1]),
        "g": ("int[]", [1, 2], [1, 2]),
        "h": ("bytea", b"\0x", b"\0x"),
    }
    fields = ", ".join(f"{name} {type_}" for name, (type_, _, _) in values.items())
    mask = {f"t.{name}": {"value": value} for name, (_, value, _) in values.items()}
    name = copied(copies, mask, f"CREATE TABLE t ({fields})", "INSERT INTO t DEFAULT VALUES")
    [row] = got(copies, name, "SELECT * FROM t")
    assert list(row) == [expected for _, _, expected in values.values()]


def test_rules_reach_into_arrays_and_documents(copies: Copies) -> None:
    paths = {"customer.email": "email", "items[*].name": "name", "notes": "null", "by.*": "phone", "ip": "ip"}
    document = (
        '{"customer": {"email": "ada@corp.com", "vip": true}, "items": [{"name": "Ada", "n": 1}, {"n": 2}],'
        '"notes": "Ada", "by": {"x": "+491701", "y": 491702, "z": null}, "ip": ["10.1.1.1"], "left": "as is"}'
    )
    mask = {"t.tags": "email", "t.plain": "email", "t.ips": "ip"}
    name = copied(
        copies,
        {**mask, "t.data": {"json": paths}, "t.old": {"json": paths}},
        "CREATE TABLE t (id int, tags varchar(60)[], data jsonb, old json, plain text, ips inet[])",
        f"INSERT INTO t SELECT 1, ARRAY['ada@corp.com', NULL, ''], j::jsonb, j::json, 'ada@corp.com', "
        f"ARRAY['10.1.1.1'::inet] FROM (VALUES ('{document}')) v(j)",
        "INSERT INTO t VALUES (2, '{}', '[1]', 'null', NULL, NULL), (3, NULL, NULL, NULL, '', '{}')",
    )  # fmt: skip
    (_, tags, data, old, plain, ips), *others = got(copies, name, "SELECT * FROM t ORDER BY id")
    assert tags == [plain, None, ""]
    assert data == old
    assert data["customer"] == {"email": plain, "vip": True}
    assert data["left"] == "as is"
    assert (data["notes"], data["by"]["z"], data["items"][1]) == (None, None, {"n": 2})
    assert data["items"][0]["name"] not in ("Ada", None)
    assert all(data["by"][key].startswith("+") for key in "xy")
    assert data["ip"] == [str(ip) for ip in ips]
    assert others == [(2, [], [1], None, None, None), (3, None, None, None, "", [])]
    assert "corp" not in str(data)


def test_dates_are_shifted_by_days_and_those_of_one_person_alike(copies: Copies) -> None:
    name = copied(
        copies,
        {
            "t.born": {"shift": "30d"},
            "t.a": {"shift": "2w", "by": "who"},
            "t.b": {"shift": "2w", "by": "who"},
        },
        "CREATE TABLE t (id int, who int, born date, a timestamptz, b timestamp)",
        "INSERT INTO t SELECT i, i / 4, date '2000-01-01' + i, now() + i * interval '1 h', now() FROM "
        "generate_series(1, 200) i",
        "INSERT INTO t VALUES (0, NULL, 'infinity', NULL, NULL)",
        "CREATE TABLE original AS TABLE t",
        "GRANT SELECT ON original TO reader",
    )
    query = (
        "SELECT count(*), count(*) FILTER (WHERE t.born = o.born), max(abs(t.born - o.born)), "
        "count(DISTINCT (o.who, t.a - o.a)), count(DISTINCT o.who), "
        "count(*) FILTER (WHERE t.a - o.a <> t.b - o.b) FROM t JOIN original o USING (id) WHERE id > 0"
    )
    [(count, same, most, shifts, people, apart)] = got(copies, name, query)
    assert (count, same, shifts, apart) == (200, 0, people, 0)
    assert 20 < most <= 30
    assert got(copies, name, "SELECT born = 'infinity', a FROM t WHERE id = 0") == [(True, None)]
