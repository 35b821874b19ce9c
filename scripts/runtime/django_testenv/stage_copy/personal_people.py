"""Tell names of people in a sample from other words, by names that many people have: in SQL."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from . import people_names, personal_names

_LETTERS = 400  # of a value: what is looked through
# Letters are what is no other sign of ASCII, so any locale and script will do.
_OTHER = r"\u0001-\u0040\u005b-\u0060\u007b-\u007f"
_WORD = (  # with an apostrophe, a hyphen or a point
    rf"(?:(?:d[aei]|v[ao]n|de[nlr]|la|le|dos|das|al|el|bin|ben|zur?|te[nr]|af|[yei]) )*[^{_OTHER}a-z]"
    r"[^\u0001-\u0026\u0028-\u002c\u002f-\u0040\u005b-\u0060\u007b-\u007f]*"
)
_TITLE = (
    r"(?:(?:dr|mr|mrs|ms|miss|prof|ing|herr|frau|mme|m|mlle|sr|sra|srta|sig|dott|dhr|mevr|pan|pani)\.? )*"
)
_WHOLE = rf"^\s*{_TITLE}{_WORD}(?:,? {_WORD}){{1,4}}(?:,? (?:jr|sr|phd|md|dds|dvm|i{{1,3}})\.?)*\s*$"
_ONE = rf"^\s*{_WORD}\s*$"
_LOGIN = r"^@?[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*$"
# Companies and towns, though a person's name may be in theirs.
_NO_PERSON = (
    r"\m(?:gmbh|ag|kg|ohg|inc|llc|llp|plc|ltd|limited|corp|co|group|sons|sa|sas|sarl|srl|spa|snc|sl|bv|nv|vof|ab|as|oy"
    r"|asa|aps|ltda|eireli|me|sti|tic|hastanesi|eczanesi|e\.v|s\.[ap]\.|a\.s|sp|z o\.o|und|and|et|associes"
    r"|fils|hnos|hijos|school|hospital|university|college|church|street|road|museum|foundation|stiftung"
    r"|partners?|associates)\M"
    r"|&|^(?:new|north|south|east|west|port|lake|mount|saint|st|san|santa|santo|sao|bad|fort|el|la|los|las|villa|rio)\M"
)
# Words of a value that are listed; of a login also what it begins with, and what follows an initial. Two
# listed words side by side, one of them a given name, are a pair. OFFSET 0 keeps Postgres from matching an
# expression more than once.
NAMED = sql.SQL(r"""
, listed AS MATERIALIZED (
    SELECT unnest(string_to_array({given}, ' ')) AS word, true AS given
    UNION ALL SELECT unnest(string_to_array({surnames}, ' ')), false
), shown AS MATERIALIZED (
    SELECT row_number() OVER () AS id, k, times, plain, form = 'w' AS whole, form = 'o' AS one,
        form = 'l' AS login
    FROM (SELECT k, times, plain, CASE WHEN length(plain) >= 80 THEN '' WHEN plain ~ {login} THEN 'l'
            WHEN plain ~ {one} THEN 'o' WHEN plain ~ {whole} THEN 'w' ELSE '' END AS form
        FROM (SELECT k, times, CASE WHEN length(v) = octet_length(v) THEN left(v, {letters})
                ELSE translate(left(v, {letters}), {accented}, {plain}) END AS plain
            FROM different WHERE NOT is_key AND length(v) > 2 AND v ~ {letter} OFFSET 0) x OFFSET 0) y
    WHERE form <> '' OR plain ~ {beside} OR plain !~ '[A-Z0-9.,;:/]'
), tokens AS MATERIALIZED (
    SELECT s.id, x.n, l.word, l.given FROM shown s, LATERAL (
        SELECT w, n FROM regexp_split_to_table(s.plain, {between}) WITH ORDINALITY y(w, n)
        UNION ALL SELECT part, -10 FROM (SELECT substring(s.plain FROM '[a-z]+')) z(w),
            LATERAL (SELECT left(w, n) FROM generate_series(5, length(w) - 1) n
                UNION ALL SELECT substr(w, 2)) p(part)
        WHERE s.login AND length(w) BETWEEN 5 AND 30 AND length(part) > 3
    ) x JOIN listed l ON l.word = lower(x.w COLLATE "C")
), hits AS (
    SELECT id, min(word) AS word FROM tokens GROUP BY id
), pairs AS (
    SELECT a.id, min(a.word || b.word) AS pair FROM tokens a JOIN tokens b ON b.id = a.id AND b.n = a.n + 1
    WHERE (a.given OR b.given) AND a.word <> b.word GROUP BY a.id
), named AS MATERIALIZED (
    SELECT k, times, word, one, login, whole AND NOT company AS whole,
        CASE WHEN NOT company THEN pair END AS pair
    FROM shown LEFT JOIN hits USING (id) LEFT JOIN pairs USING (id),
        LATERAL (SELECT word IS NOT NULL AND plain ~* {nobody} AS company) x
)
""").format(
    given=sql.Literal(" ".join(sorted(people_names.GIVEN) + sorted(people_names.GIVEN_IN_OTHER_SCRIPTS))),
    surnames=sql.Literal(" ".join(sorted(people_names.SURNAMES))),
    accented=sql.Literal(personal_names.ACCENTED + personal_names.ACCENTED.upper()),
    plain=sql.Literal(personal_names.PLAIN + personal_names.PLAIN.upper()),
    beside=sql.Literal(rf"[^{_OTHER}a-z][^\s,]+,? [^{_OTHER}a-z]"),
    letter=sql.Literal(f"[^{_OTHER}]"),
    between=sql.Literal(f"[{_OTHER}]+"),
    letters=sql.Literal(_LETTERS),
    whole=sql.Literal(_WHOLE),
    nobody=sql.Literal(_NO_PERSON),
    one=sql.Literal(_ONE),
    login=sql.Literal(_LOGIN),
)


# What is counted of `named`: the fields of Counts after the first.
COUNTS = sql.SQL("""
    sum(times) FILTER (WHERE whole), sum(times) FILTER (WHERE whole AND word IS NOT NULL),
    count(DISTINCT word) FILTER (WHERE whole),
    sum(times) FILTER (WHERE one), sum(times) FILTER (WHERE one AND word IS NOT NULL),
    count(DISTINCT word) FILTER (WHERE one),
    sum(times) FILTER (WHERE login), sum(times) FILTER (WHERE login AND word IS NOT NULL),
    count(DISTINCT word) FILTER (WHERE login),
    sum(times) FILTER (WHERE pair IS NOT NULL), count(DISTINCT pair)
""")


@dataclass(frozen=True)
class Counts:
    """Of a sample's values, how many look like names, how many have a listed word, and different words."""

    filled: int
    whole: int
    whole_listed: int
    whole_words: int
    one: int
    one_listed: int
    one_words: int
    login: int
    login_listed: int
    login_words: int
    pair: int
    pairs: int


def why(counts: Counts, *, likely: bool, things: bool) -> str:
    """Return why a column looks like names of people; empty if it does not.

    `likely`: the column's name hints at them; `things`: it hints at companies or places, which may be called
    after people.
    """
    few = 2 if likely else 4
    share = 0.6 if things else 0.04 if likely else 0.2
    found = {
        "the form of a person's full name, with names that many people have": (
            counts.whole >= 0.5 * counts.filled
            and counts.whole_listed >= share * counts.whole
            and counts.whole_words >= few,
            counts.whole_listed,
        ),
        "a name that many people have": (
            counts.one >= 0.8 * counts.filled
            and counts.one_listed >= (0.6 if things else 0.15 if likely else 0.3) * counts.one
            and counts.one_words >= few + 1,
            counts.one_listed,
        ),
        "the form of a login, with names that many people have": (
            counts.login >= 0.7 * counts.filled
            and counts.login_listed >= (0.1 if likely else 0.3) * counts.login
            and counts.login_words >= few + 1,
            counts.login_listed,
        ),
        "a given name beside a surname that many people have": (
            not things and counts.pair >= 0.01 * counts.filled and counts.pairs >= few,
            counts.pair,
        ),
    }
    for what, (enough, count) in found.items():
        if enough:
            return f"{count} of {counts.filled} sampled values have {what}"
    return ""
