"""Look for personal data in a sample of each column. The source's server looks: no value leaves it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from . import personal_numbers, personal_patterns, personal_people, personal_words
from .personal_words import word_set

if TYPE_CHECKING:
    from .column_types import Type, Types
    from .database import Connection
    from .model import Table

_ROWS, _VALUES = 2000, 100_000  # of a table's sample
_PAGES = 200  # of 8 KiB; a larger table is sampled at random, too
_LETTERS = 20_000  # of a value
_PARTS = 200  # of an array or a JSON document
_PEOPLE = 2000  # of a table of users
_AT_ONCE = 60  # columns in one query
_FEW_DATES, _YOUNGEST, _OLDEST, _APART = 5, 4, 110, 12  # births: dates, and years


def _sum(condition: sql.Composable) -> sql.Composable:
    return sql.SQL("sum(times) FILTER (WHERE {})").format(condition)


# Equal values are looked at once: a document has the same keys in every row. A count is null for none. The
# three parts run one after the other: Postgres keeps 32 regular expressions, and compiles what is more anew.
_COUNTS = sql.SQL(
    r"""
, different AS MATERIALIZED (SELECT k, v, is_key, count(*) AS times FROM vals GROUP BY k, v, is_key)
{people}
SELECT 'numbers', k, ARRAY[{numbers}]::bigint[], 0, 0, 0
FROM (SELECT k, v, times, regexp_replace(v, '\D', '', 'g') AS d FROM different
    WHERE NOT is_key AND v ~ {number}) x GROUP BY k
UNION ALL
SELECT 'patterns', k, ARRAY[{patterns}]::bigint[], sum(times)::bigint, min({year}), max({year})
FROM different GROUP BY k
UNION ALL
SELECT 'people', k, ARRAY[{of_people}]::bigint[], 0, 0, 0 FROM named GROUP BY k
"""
).format(
    people=personal_people.NAMED,
    of_people=personal_people.COUNTS,
    year=personal_patterns.YEAR,
    patterns=sql.SQL(", ").join(map(_sum, personal_patterns.CONDITIONS.values())),
    numbers=sql.SQL(", ").join(map(_sum, personal_numbers.CONDITIONS)),
    number=sql.Literal(personal_numbers.ANY),
)
# The words of a value are looked up among those of the users' names: a first and a last name of one person,
# near to each other; or the whole value is one name, or what a user logs in with. A search index has stems.
_NAMES = sql.SQL(r"""
, people AS MATERIALIZED ({people}), words AS MATERIALIZED (
    SELECT DISTINCT p.id, part, word FROM people p, LATERAL (VALUES (1, p.first), (2, p.last)) x(part, w),
        LATERAL (SELECT lower(w) AS word UNION ALL
            SELECT unnest(ts_lexize(d::regdictionary, lower(w))) FROM unnest({stems}::text[]) d) y
    WHERE length(w) > 2 AND lower(w) <> ALL ({nobody})
), logins AS MATERIALIZED (
    SELECT DISTINCT lower(login) AS word FROM people
    WHERE length(login) > 3 AND lower(login) <> ALL ({nobody})
), tokens AS MATERIALIZED (
    SELECT k, r, n, t FROM vals, regexp_split_to_table(lower(left(v, 4000)), '[^[:alpha:]''-]+')
        WITH ORDINALITY x(t, n) WHERE length(t) > 2
), named AS (
    SELECT a.k, count(DISTINCT a.r) AS rows FROM tokens a JOIN words f ON f.word = a.t AND f.part = 1
    JOIN words l ON l.id = f.id AND l.part = 2 JOIN tokens b ON b.k = a.k AND b.r = a.r AND b.t = l.word
    WHERE abs(b.n - a.n) <= 3 GROUP BY a.k
)
SELECT k, count(*), coalesce((SELECT rows FROM named WHERE named.k = vals.k), 0),
    count(*) FILTER (WHERE lower(btrim(v)) IN (SELECT word FROM words UNION SELECT word FROM logins))
FROM vals GROUP BY k
""")
_NOBODY = sorted(
    personal_words.PEOPLE | word_set("admin test tester demo root system null none new first last")
)
_STEMS = [
    f"{language}_stem"
    for language in ("english", "german", "french", "spanish", "dutch", "italian", "portuguese", "swedish")
]
# Types whose text can hold none of it; of the others the text is read, whatever they are.
_MUTE = word_set(
    "bool int2 int4 float4 float8 money date time timetz timestamp timestamptz interval uuid oid xid xid8 "
    "macaddr macaddr8 bit varbit point line lseg box path polygon circle geometry geography raster vector "
    "pg_lsn txid_snapshot"
)
_NUMBERS = ("int8", "numeric")
_DOCUMENTS = ("json", "jsonb", "hstore")
_PART = r'"((?:[^"\\]|\\.)*)"(\s*(?::|=>))?|(\d{12,19})'  # of a document: a text, a key, or a long number


@dataclass(frozen=True)
class Subject:
    """Hold what is known of a table before its content is looked at."""

    types: Types
    users: sql.Composable | None  # what `users_query` returns
    of_people: bool  # its rows are people
    likely_names: frozenset[str]  # columns whose names hint at names of people
    things: frozenset[str]  # columns whose names hint at names of places or companies
    # SQL for columns that rules change in part: what is left counts, without keys
    in_part: Mapping[str, sql.Composable]


def why(source: Connection, table: Table, columns: Sequence[str], subject: Subject) -> dict[str, str]:
    """Return why columns look personal by a sample of their values, by column. Raise psycopg.Error."""
    found: dict[str, str] = {}
    questions = _in_encoding_of(source, _COUNTS)
    wanted = [name for name in columns if _readable(subject.types.get((table.oid, name)), subject)]
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        of_some = [subject.types[table.oid, name] for name in some]
        sample = _sample(table, some, of_some, subject.in_part)
        rows = source.execute(sample + questions).fetchall()
        filled = {number: facts[0] for of_what, number, _, *facts in rows if of_what == "patterns"}
        for of_what, number, sums, _, *years in rows:
            counts, name = [int(each or 0) for each in sums], some[number]
            if reason := _reason(of_what, counts, filled[number], years, name, of_some[number], subject):
                found.setdefault(name, reason)
        if subject.users is not None:
            for name, reason in _of_users(source, sample, some, of_some, subject.users):
                found.setdefault(name, reason)
    return found


def _in_encoding_of(source: Connection, query: sql.Composed) -> sql.Composable:
    """Return the query, without letters that a database of another encoding than UTF-8 may not have."""
    if source.info.parameter_status("server_encoding") == "UTF8":
        return query
    return sql.SQL(re.sub(r"[^\x00-\x7f]", "\x01", query.as_string(source)))


def _reason(
    of_what: str,
    counts: list[int],
    filled: int,
    years: list[int | None],
    name: str,
    type_: Type,
    subject: Subject,
) -> str:
    """Return why a column looks personal by the counts of one part of the query; empty if it does not."""
    if of_what == "numbers":
        return personal_numbers.why(counts)
    if of_what == "people":
        names = personal_people.Counts(filled, *counts)
        return personal_people.why(names, likely=name in subject.likely_names, things=name in subject.things)
    patterns = dict(zip(personal_patterns.CONDITIONS, counts))
    reason = personal_patterns.why(
        patterns, filled, whole_numbers=type_.scalar in _NUMBERS, keys=name not in subject.in_part
    )
    if not reason and subject.of_people and _are_births(patterns["day"], filled, *years):
        return f"{filled} sampled dates are of the years {years[0]} to {years[1]}, in a table of people"
    return reason


def _are_births(days: int, filled: int, first: int | None, last: int | None) -> bool:
    """Return True if the sample is of days that lie 4 to 110 years back, and not all near each other."""
    if first is None or last is None or days < max(_FEW_DATES, filled):
        return False
    now = dt.datetime.now(dt.timezone.utc).year
    return first >= now - _OLDEST and last <= now - _YOUNGEST and last - first >= _APART


def _of_users(
    source: Connection,
    sample: sql.Composed,
    columns: Sequence[str],
    types: Sequence[Type],
    users: sql.Composable,
) -> Iterator[tuple[str, str]]:
    """Yield the columns that have names of users, and why."""
    stems = _STEMS if any(type_.name == "tsvector" for type_ in types) else []
    names = _NAMES.format(people=users, stems=sql.Literal(stems), nobody=sql.Literal(_NOBODY))
    for number, filled, named, one_name in source.execute(sample + names).fetchall():
        alone = 3 * one_name >= filled and (one_name > 2 or one_name == filled)  # noqa: PLR2004  2 by chance
        if hits := max(named, one_name if alone else 0):
            yield columns[number], f"{hits} of {filled} sampled values have the name of a user"


def users_query(tables: Iterable[Table]) -> sql.Composable | None:
    """Return a query for the names of the users in tables like Django's; None if there is no such table."""
    queries = []
    for table in tables:
        names = {column.name for column in table.columns}
        if "password" not in names or not names & {
            "first_name",
            "last_name",
            "username",
            "name",
            "full_name",
        }:
            continue
        whole = next((name for name in ("full_name", "name") if name in names), None)
        first = "first_name" if "first_name" in names else whole
        last = "last_name" if "last_name" in names else whole
        queries.append(
            sql.SQL("(SELECT {}, {}, {} FROM ONLY {} LIMIT {})").format(
                sql.SQL("substring({}::text FROM '[[:alpha:]''-]+')").format(_column(first)),
                sql.SQL("substring({}::text FROM '([[:alpha:]''-]+)[^[:alpha:]]*$')").format(_column(last)),
                sql.SQL("{}::text").format(_column("username" if "username" in names else None)),
                sql.Identifier(table.schema, table.name),
                sql.Literal(_PEOPLE),
            )
        )
    if not queries:
        return None
    return sql.SQL("SELECT row_number() OVER () AS id, p.* FROM ({}) p(first, last, login)").format(
        sql.SQL(" UNION ALL ").join(queries)
    )


def _column(name: str | None) -> sql.Composable:
    return sql.Identifier(name) if name else sql.SQL("NULL")


def _readable(type_: Type | None, subject: Subject) -> bool:
    if type_ is None:
        return False
    return type_.scalar not in _MUTE or (type_.scalar == "date" and subject.of_people)


def _sample(
    table: Table, columns: Sequence[str], types: Sequence[Type], in_part: Mapping[str, sql.Composable]
) -> sql.Composed:
    """Return the beginning of a query: vals has k, the column's number, r, the row's, v and is_key."""
    rows = min(_ROWS, max(_VALUES // len(columns), 100))
    names = sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(in_part.get(column, sql.Identifier(column)), sql.Identifier(column))
        for column in columns
    )
    name = sql.Identifier(table.schema, table.name)
    first = sql.SQL("(SELECT {} FROM ONLY {} LIMIT {})").format(names, name, sql.Literal(rows))
    if table.pages > _PAGES:
        share = max(min(100.0, 100.0 * _PAGES / table.pages), 0.001)
        first += sql.SQL(
            " UNION ALL (SELECT {} FROM ONLY {} TABLESAMPLE SYSTEM ({}) REPEATABLE (15) LIMIT {})"
        ).format(names, name, sql.Literal(share), sql.Literal(rows))
    parts = [
        sql.SQL("SELECT {}, x.v, x.is_key FROM ({}) x(v, is_key)").format(
            sql.Literal(number), _texts(sql.Identifier("p", column), type_)
        )
        for number, (column, type_) in enumerate(zip(columns, types))
    ]
    return sql.SQL(
        "WITH picked AS MATERIALIZED (SELECT row_number() OVER () AS r_of_sample, s.* FROM ({}) s), "
        "vals AS MATERIALIZED (SELECT u.k, p.r_of_sample AS r, u.v, u.is_key FROM picked p, LATERAL ({}) "
        "u(k, v, is_key) WHERE u.v <> '') "
    ).format(first, sql.SQL(" UNION ALL ").join(parts))


def _texts(value: sql.Identifier, type_: Type) -> sql.Composed:
    """Return a query for the texts in one value of this type, and True for each that is a document's key."""
    if type_.name == "tsvector":
        return sql.SQL(
            "SELECT coalesce((SELECT string_agg(lexeme, ' ' ORDER BY at) FROM unnest({0}) l, "
            "unnest(l.positions) at), array_to_string(tsvector_to_array({0}), ' ')), false"
        ).format(value)
    text = sql.SQL("{}::text").format(value)
    if type_.name == "bytea":
        text = sql.SQL("encode(substr({}, 1, {}), 'escape')").format(value, sql.Literal(_LETTERS))
    if type_.name in _DOCUMENTS:
        return sql.SQL(
            "SELECT coalesce(m[1], m[3]), m[2] IS NOT NULL "
            "FROM regexp_matches(left({}, {}), {}, 'g') m LIMIT {}"
        ).format(text, sql.Literal(_LETTERS), sql.Literal(_PART), sql.Literal(_PARTS))
    if type_.element:
        return sql.SQL("SELECT left(e, {}), false FROM unnest({}::text[]) e LIMIT {}").format(
            sql.Literal(_LETTERS), value, sql.Literal(_PARTS)
        )
    return sql.SQL("SELECT left({}, {}), false").format(text, sql.Literal(_LETTERS))
