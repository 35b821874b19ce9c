"""Look for personal data in a sample of each column. The source's server looks: no value leaves it.

Each signal is SQL over one value `v`, a text. A pattern that numbers match by chance (cards, IBANs, bare
telephone numbers) counts by its share of what looks like it at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from . import personal_names

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

# Addresses of nobody, paths (git@host:path), names of files (icon@2x.png) and our own fakes are none.
_EMAIL = (
    r"(?<![\w.%+/-])(?!(?:no-?reply|do-?not-?reply|support|info|admin|root|webmaster|postmaster|git)@)"
    r"[\w.%+'-]+@(?:[\w-]+\.)+(?!(?:png|jpe?g|gif|svg|webp|css|js|map|invalid)\M)[a-z]{2,}(?![\w/-])(?!:\S)"
)
_PHONE_ANYWHERE = (
    r"(?<![\w+.])\+(?!(?:28|83|89)\d{13}(?!\d))[1-9](?:[ ().\/-]{0,3}\d){7,14}(?!\d)"
    r"|(?<![\w.+-])(?:\+?00?1[ .-]|1[ .-])?(?:\([2-9]\d{2}\)\s?|[2-9]\d{2}[ .-])\d{3}[.-]\d{4}(?![\w.-]\w)"
)
_PHONE_WHOLE = (
    r"^\s*(?:(?:\+?00?1[ .-]|1[ .-])?(?:\([2-9]\d{2}\)\s?|[2-9]\d{2}[ .-])\d{3}[ .-]\d{4}"
    r"|\(?00?[1-9]\d{0,4}[ )/.-]+\d[\d ()/.-]{4,12}\d|\+[1-9]\d{7,14})(?: ?(?:x|ext\.?) ?\d+)?\s*$"
)
_DATE = r"^\s*\d{1,4}[-/. ]{1,2}\d{1,2}[-/. ]{1,2}\d{1,4}(?:[T ]\d{1,2}:|\s*$)"
_PHONE_BARE = r"^(?:1?[2-9]\d{2}[2-9]\d{6}(?:x\d+)?|0[1-9]\d{8,9}|00[1-9]\d{9,12})$"
_V4 = (
    r"(?<![\w./-])(?!127\.|255\.|0\.|24\d\.|25\d\.)(?=[\d.]*(?:[4-9]\d|\d{3}))"
    r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w-]|\.\d|/\d)"
)
_V6 = (
    r"(?<![\w:])(?!2001:0?db8:fa4e)(?:[23][0-9a-f]{3}|fe80|fd[0-9a-f]{2})"
    r":(?:[0-9a-f]{0,4}:){1,6}[0-9a-f]{0,4}(?![\w:])"
)
_DIGITS = r"(?<![\w.+-])\d(?:[ -]{0,2}\d){12,18}(?![\w.])"
_BRANDS = (  # https://en.wikipedia.org/wiki/Payment_card_number
    r"^(?:4\d{15}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|6(?:011|5\d\d)\d{12}|35\d{14}|3[068]\d{12})$"
)
_IBAN = r"(?<![\w])[a-z]{2}\d\d(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,3})?(?![\w])"
# Letters of an IBAN by country. https://www.swift.com/standards/data-standards/iban-international-bank-account-number
_IBAN_LETTERS = (
    "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27"
    "GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22"
    "MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28"
    "TL23TN24TR26UA29VA22VG24XK20YE30"
)
# Equal values are looked at once: a document has the same keys in every row. A signal is null for none.
_SIGNALS = sql.SQL(r"""
SELECT k, sum(times)::bigint,
    sum(times) FILTER (WHERE v LIKE '%@%' AND v ~* {email}),
    sum(times) FILTER (WHERE v ~ '\d\d' AND v ~ {anywhere}),
    sum(times) FILTER (WHERE v ~ '\d\d' AND v !~ {date} AND v ~ {whole}
        AND length(regexp_replace(v, '\D', '', 'g')) BETWEEN 8 AND 18),
    sum(times) FILTER (WHERE v ~ {bare}),
    sum(times) FILTER (WHERE v ~ '\d\.\d' AND v ~ {v4} OR v LIKE '%:%' AND v ~* {v6}),
    sum(times) FILTER (WHERE v ~ {digits}),
    sum(times) FILTER (WHERE v ~ {digits} AND EXISTS (
        SELECT FROM regexp_matches(v, {digits}, 'g') m, regexp_replace(m[1], '\D', '', 'g') digits
        WHERE CASE WHEN digits ~ {brands} THEN (
            SELECT sum(CASE WHEN n % 2 = 1 THEN d::int WHEN d::int > 4 THEN 2 * d::int - 9
                ELSE 2 * d::int END) % 10
            FROM regexp_split_to_table(reverse(digits), '') WITH ORDINALITY x(d, n)) = 0 ELSE false END)),
    sum(times) FILTER (WHERE v ~* {iban}),
    sum(times) FILTER (WHERE v ~* {iban} AND EXISTS (
        SELECT FROM regexp_matches(v, {iban}, 'gi') m, upper(replace(m[1], ' ', '')) packed,
            substr(packed, 1, substring({countries} FROM left(packed, 2) || '(\d\d)')::int) number
        WHERE CASE WHEN number ~ '^[A-Z]{{2}}\d\d[A-Z0-9]{{8}}' THEN (
            SELECT string_agg(CASE WHEN c BETWEEN '0' AND '9' THEN c ELSE (ascii(c) - 55)::text END, ''
                ORDER BY n)
            FROM regexp_split_to_table(substr(number, 5) || left(number, 4), '') WITH ORDINALITY x(c, n)
        )::numeric % 97 = 1 ELSE false END)),
    sum(times) FILTER (WHERE is_key AND EXISTS (
        SELECT FROM translate(replace(v, 'ß', 'ss'), {accented}, {plain}) plain,
            lower(regexp_replace(plain, '([a-z0-9])([A-Z])', '\1_\2', 'g')) key
        WHERE key ~ {keys} AND key !~ {about}))
FROM (SELECT k, v, is_key, count(*) AS times FROM vals GROUP BY k, v, is_key) different GROUP BY k
""")
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
    personal_names.PEOPLE
    | personal_names.word_set("admin test tester demo root system null none new first last")
)
_STEMS = [
    f"{language}_stem"
    for language in ("english", "german", "french", "spanish", "dutch", "italian", "portuguese", "swedish")
]
# Types whose text can hold none of it; of the others the text is read, whatever they are.
_MUTE = personal_names.word_set(
    "bool int2 int4 float4 float8 money date time timetz timestamp timestamptz interval uuid oid xid xid8 "
    "macaddr macaddr8 bit varbit point line lseg box path polygon circle geometry geography raster vector "
    "pg_lsn txid_snapshot"
)
_NUMBERS = ("int8", "numeric")
_DOCUMENTS = ("json", "jsonb", "hstore")
_PART = r'"((?:[^"\\]|\\.)*)"(\s*(?::|=>))?|(\d{12,19})'  # of a document: a text, a key, or a long number


def _any_of(words: Iterable[str]) -> str:
    return "|".join(sorted(words))


def _keys() -> str:
    pairs = [
        *("_".join(pair) for pair in personal_names.PAIRS),
        *("".join(pair) for pair in personal_names.PAIRS),
    ]
    people = _any_of(personal_names.PEOPLE - {"account"})
    words, stems = _any_of([*personal_names.PERSONAL, *pairs]), _any_of(personal_names.STEMS)
    return rf"(^|_)(({words})s?(_|\d|$)|({stems}))|^({people})_?name$"


_LITERALS = {
    name: sql.Literal(value)
    for name, value in {
        "email": _EMAIL,
        "anywhere": _PHONE_ANYWHERE,
        "whole": _PHONE_WHOLE,
        "date": _DATE,
        "bare": _PHONE_BARE,
        "v4": _V4,
        "v6": _V6,
        "digits": _DIGITS,
        "brands": _BRANDS,
        "iban": _IBAN,
        "countries": _IBAN_LETTERS,
        "accented": f" -{personal_names.ACCENTED}{personal_names.ACCENTED.upper()}",
        "plain": f"__{personal_names.PLAIN}{personal_names.PLAIN.upper()}",
        "keys": _keys(),
        "about": f"_({_any_of(personal_names.ABOUT)})$",
    }.items()
}


@dataclass(frozen=True)
class _Counts:
    """The number of a sample's values that show each signal."""

    filled: int
    email: int
    phone: int
    phone_whole: int
    phone_bare: int
    address: int
    long_number: int
    card: int
    code: int
    iban: int
    key: int

    def why(self, type_: Type, *, keys: bool) -> str:
        often = max(1, self.filled // 200)
        phones = max(self.phone, self.phone_whole)
        if self.phone_bare >= 10 and self.phone_bare >= 0.95 * self.filled:  # noqa: PLR2004  of random ids 0.64
            phones = max(phones, self.phone_bare)
        found = {
            "an e-mail address": self.email,
            "a telephone number": phones if phones >= often else 0,
            "an IBAN": self.iban if 5 * self.iban >= self.code else 0,
            "a card number": self.card if 2 * self.card >= self.long_number else 0,
            "an IP address": self.address if self.address >= often else 0,
            "a key that looks personal": self.key if keys else 0,
        }
        for what, count in found.items():
            if count and (what == "a card number" or type_.scalar not in _NUMBERS):
                return f"{count} of {self.filled} sampled values have {what}"
        return ""


def why(
    source: Connection,
    table: Table,
    columns: Sequence[str],
    types: Types,
    people: sql.Composable | None,
    in_part: Mapping[str, sql.Composable],
) -> dict[str, str]:
    """Return why columns of a table look personal by a sample of their values, by column.

    `people` is what `people_query` returns. `in_part` has the SQL for columns that rules change in part: what
    is left counts, without the keys of documents. Raise psycopg.Error.
    """
    found: dict[str, str] = {}
    wanted = [name for name in columns if _readable(types.get((table.oid, name)))]
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        of_some = [types[table.oid, name] for name in some]
        sample = _sample(table, some, of_some, in_part)
        for number, *sums in source.execute(sample + _SIGNALS.format(**_LITERALS)).fetchall():
            counts = _Counts(*(int(each or 0) for each in sums))
            if reason := counts.why(of_some[number], keys=some[number] not in in_part):
                found[some[number]] = reason
        if people is None:
            continue
        stems = _STEMS if any(type_.name == "tsvector" for type_ in of_some) else []
        names = _NAMES.format(people=people, stems=sql.Literal(stems), nobody=sql.Literal(_NOBODY))
        for number, filled, named, one_name in source.execute(sample + names).fetchall():
            one_name = one_name if 3 * one_name >= filled and (one_name > 2 or one_name == filled) else 0  # noqa: PLR2004, PLW2901
            if hits := max(named, one_name):
                found.setdefault(some[number], f"{hits} of {filled} sampled values have the name of a user")
    return found


def people_query(tables: Iterable[Table]) -> sql.Composable | None:
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


def _readable(type_: Type | None) -> bool:
    return type_ is not None and type_.scalar not in _MUTE


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
