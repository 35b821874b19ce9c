"""Build the SQL with which the source's server replaces values.

A fake comes from a keyed hash of the value, folded: values that differ in case only get fakes that differ in
case only. So what `citext` or a case-insensitive collation thinks equal stays equal, and what `text` thinks
different stays different. Nobody without the key can try out values to find the original.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from psycopg import sql

from .rules import Path, Rule, as_json

KEY = "stage_copy.key"
_DIGITS_OF_HASH = sql.SQL("encode(sc_s.h, 'hex')")
UNLIMITED = 1000  # characters; the width of a group without a narrower column
# With 13 letters, two of a million different values get the same fake with a probability of one in 9,000, and
# with 20 letters never. The copy fails then if the column is unique.
_MOST, _FEWEST = 20, 13
_CONSONANTS = "bcdfghjklmnpqrst"  # without vowels no word arises by chance
# Two letters for each byte of a hash, in four ways to write them. A server finds these by their place; to
# translate digits into letters takes it five times as long.
_PAIRS = "".join(
    (one.upper() if way & 1 else one) + (two.upper() if way & 2 else two)
    for way in range(4)
    for one in _CONSONANTS
    for two in _CONSONANTS
)
# Top-level domains that RFC 2606 reserves, so no mail can ever arrive.
_DOMAINS = ("@example.invalid", "@x.invalid", "@a.test")
_FIRST = ("Ada", "Ben", "Cleo", "Dario", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kaia", "Liam",
          "Mira", "Noah", "Olga", "Pavel")  # fmt: skip
_LONGEST = max(map(len, _FIRST))
# Country codes that are assigned to nobody: numbers of E.164's form that nobody can be called at.
# https://www.itu.int/dms_pub/itu-t/opb/sp/T-SP-E.164D-2016-PDF-E.pdf
_SPARE = [str(code + digit) for code in (280, 830, 890) for digit in range(10)]
_DIGITS, _FEWEST_DIGITS = 12, 11  # after the country code
NEEDED = {
    "email": len(_DOMAINS[-1]) + 1 + _FEWEST,
    "name": _FEWEST,
    "phone": 4 + _FEWEST_DIGITS,
    "username": 1 + _FEWEST,
    "ip": len("255.255.255.255"),
}  # characters that a column must have room for


@dataclass(frozen=True)
class Group:
    """Columns in which equal values get the same fake: one width, and one meaning of equal."""

    width: int = UNLIMITED  # characters of the narrowest column
    collation: str = ""  # as SQL, the nondeterministic one that says what is equal
    ignores_case: bool = True  # of that collation

    def folded(self, value: sql.Composable) -> sql.Composable:
        """Return SQL for a text that is the same for values which are equal."""
        if not self.collation:
            return sql.SQL('lower({}::text COLLATE "default")').format(value)
        one, two = (
            sql.SQL("hashtextextended({}::text COLLATE {}, {})::text").format(
                value, sql.SQL(self.collation), sql.Literal(seed)
            )
            for seed in (11, 13)
        )  # such a collation's hash is that of its sort key
        return sql.SQL("{} || '.' || {}").format(one, two)


Groups = Callable[[Rule], Group]


def hashed(text: sql.Composable) -> sql.Composable:
    """Return SQL for the keyed hash of a text, in 64 hexadecimal digits.

    It is of the text's bytes as they are stored: in a database in SQL_ASCII they may be no text in UTF-8.
    """
    return sql.SQL("encode({}, 'hex')").format(_digest(text))


def _digest(text: sql.Composable) -> sql.Composable:
    return sql.SQL(
        'sha256(convert_to(current_setting({}) || ({}) COLLATE "C", getdatabaseencoding()))'
    ).format(sql.Literal(KEY), text)


def number(digits: sql.Composable, below: int) -> sql.Composable:
    """Return SQL for a number from 0 up to, but without, `below`, of the first 15 hexadecimal digits."""
    return sql.SQL("(('x' || left({}, 15))::bit(60)::bigint % {})").format(digits, sql.Literal(below))


def text(kind: str, value: sql.Composable, group: Group) -> sql.Composable:
    """Return SQL for the fake of `value`, which may not be null, as a text."""
    # The value is named in a query of its own without FROM, where no name of ours can hide a column.
    return sql.SQL(
        '(SELECT {fake} FROM (SELECT {value}::text COLLATE "C" AS t, {hash} AS h, {pairs}::bytea AS p '
        "OFFSET 0) sc_s)"
    ).format(
        fake=_FAKES[kind](group),
        value=value,
        hash=_digest(group.folded(value)),
        pairs=sql.Literal(_PAIRS),
    )


def _letters(count: int, case: str = "") -> sql.Composable:
    """Return SQL for letters that the hash draws; `case` is SQL for bytes that draw their case."""
    pairs = sql.SQL(" || ").join(
        sql.SQL("substring(sc_s.p, 1 + 2 * (get_byte(sc_s.h, {at}){case}), {length})").format(
            at=sql.Literal(at),
            case=sql.SQL(f" + 256 * (get_byte({case}, {at}) & 3)" if case else ""),
            length=sql.Literal(min(2, count - 2 * at)),
        )
        for at in range(-(-count // 2))
    )
    return sql.SQL("convert_from({}, getdatabaseencoding())").format(pairs)


def _cased(group: Group, count: int) -> sql.Composable:
    """Return SQL for letters whose case is that of the value, or drawn by it if it is of both."""
    letters = _letters(count)
    if group.collation and not group.ignores_case:
        return letters
    drawn = sql.SQL("(SELECT {} FROM (SELECT {} AS e OFFSET 0) sc_q)").format(
        _letters(count, "sc_q.e"), _digest(sql.SQL("sc_s.t"))
    )
    if group.collation:  # it may think more equal than case: what it does must still differ as texts
        return drawn
    return sql.SQL(
        'CASE WHEN sc_s.t = lower(sc_s.t COLLATE "default") THEN {letters} '
        'WHEN sc_s.t = initcap(sc_s.t COLLATE "default") THEN initcap({letters}) ELSE {drawn} END'
    ).format(letters=letters, drawn=drawn)


def _email(group: Group) -> sql.Composable:
    domain = next(d for d in _DOMAINS if group.width - len(d) - 1 >= _FEWEST)
    count = min(_MOST, group.width - len(domain) - 1)
    return sql.SQL("'u' || {} || {}").format(_cased(group, count), sql.Literal(domain))


def _username(group: Group) -> sql.Composable:
    return sql.SQL("'u' || {}").format(_cased(group, min(_MOST, group.width - 1)))


def _name(group: Group) -> sql.Composable:
    if group.width < _LONGEST + 1 + _FEWEST:
        return _cased(group, min(_MOST, group.width))
    count = min(_FEWEST + 3, group.width - _LONGEST - 1)
    first = sql.SQL("({}::text[])[1 + get_byte(sc_s.h, 31) % {}]").format(
        sql.Literal(list(_FIRST)), sql.Literal(len(_FIRST))
    )
    return sql.SQL("{} || ' ' || {}").format(first, _cased(group, count))


def _phone(group: Group) -> sql.Composable:
    count = min(_DIGITS, group.width - 4)
    return sql.SQL("'+' || ({}::text[])[1 + {}] || lpad({}::text, {}, '0')").format(
        sql.Literal(_SPARE),
        number(sql.SQL("right({}, 15)").format(_DIGITS_OF_HASH), len(_SPARE)),
        number(_DIGITS_OF_HASH, 10**count),
        sql.Literal(count),
    )


def _ip(group: Group) -> sql.Composable:
    # 240.0.0.0/4 is reserved, 2001:db8::/32 is for documentation: RFC 1112, RFC 3849.
    octets = sql.SQL(" || '.' || ").join(
        sql.SQL("get_byte(sc_s.h, {})").format(sql.Literal(at)) for at in (10, 11, 12)
    )
    four = sql.SQL("240 + {} || '.' || {}").format(number(_DIGITS_OF_HASH, 15), octets)
    if group.width < len("2001:db8:fa4e:") + 24:
        return four
    groups = sql.SQL(" || ':' || ").join(
        sql.SQL("substr({}, {}, 4)").format(_DIGITS_OF_HASH, sql.Literal(at)) for at in range(1, 21, 4)
    )
    return sql.SQL(
        "CASE WHEN strpos(sc_s.t, ':') > 0 THEN host(('2001:db8:fa4e:' || {})::inet) ELSE {} END"
    ).format(groups, four)


_FAKES: Mapping[str, Callable[[Group], sql.Composable]] = {
    "email": _email,
    "name": _name,
    "phone": _phone,
    "username": _username,
    "ip": _ip,
}


def shifted(value: sql.Composable, by: sql.Composable, days: int, *, is_date: bool) -> sql.Composable:
    """Return SQL for a date or time that is moved by up to `days` days, and never by none."""
    drawn = number(hashed(sql.SQL("{}::text").format(by)), 2 * days)
    step = sql.SQL(
        "(SELECT (CASE WHEN sc_d.d < {0} THEN sc_d.d - {0} ELSE sc_d.d - {0} + 1 END)::int "
        "FROM (SELECT {1} AS d OFFSET 0) sc_d)"
    )
    moved = step.format(sql.Literal(days), drawn)
    return sql.SQL("{} + {}" if is_date else "{} + make_interval(days => {})").format(value, moved)


def json(value: sql.Composable, paths: Mapping[Path, Rule], groups: Groups) -> sql.Composable:
    """Return SQL for a jsonb document with rules applied at these paths; what is not there stays away."""
    if () in paths:
        return _leaf(value, paths[()], groups)
    by_step: dict[str, dict[Path, Rule]] = {}
    for path, rule in paths.items():
        by_step.setdefault(path[0], {})[path[1:]] = rule
    changed = value
    for step, rest in by_step.items():
        changed = _step(changed, step, rest, groups)
    return changed


def _step(value: sql.Composable, step: str, rest: Mapping[Path, Rule], groups: Groups) -> sql.Composable:
    inner = sql.SQL("sc_j.j")
    if step == "[*]":
        changed, kind = json(sql.SQL("sc_x.x"), rest, groups), "array"
        made = sql.SQL(
            "(SELECT coalesce(jsonb_agg({} ORDER BY sc_x.n), '[]') "
            "FROM jsonb_array_elements(sc_j.j) WITH ORDINALITY sc_x(x, n))"
        ).format(changed)
    elif step == "*":
        changed, kind = json(sql.SQL("sc_x.x"), rest, groups), "object"
        made = sql.SQL(
            "(SELECT coalesce(jsonb_object_agg(sc_x.k, {}), '{{}}') FROM jsonb_each(sc_j.j) sc_x(k, x))"
        ).format(changed)
    else:
        key, kind = sql.Literal(step), "object"
        changed = json(sql.SQL("(sc_j.j -> {})").format(key), rest, groups)
        made = sql.SQL(
            "CASE WHEN jsonb_exists(sc_j.j, {key}) THEN sc_j.j || jsonb_build_object({key}, {changed}) "
            "ELSE sc_j.j END"
        ).format(key=key, changed=changed)
    return sql.SQL(
        "(SELECT CASE WHEN jsonb_typeof({inner}) = {kind} THEN {made} ELSE {inner} END "
        "FROM (SELECT {value} AS j OFFSET 0) sc_j)"
    ).format(inner=inner, kind=sql.Literal(kind), made=made, value=value)


def _leaf(value: sql.Composable, rule: Rule, groups: Groups) -> sql.Composable:
    """Return SQL for what replaces a value in a document; what a fake cannot stand for becomes null."""
    if rule.kind == "null":
        return sql.SQL("CASE WHEN {} IS NOT NULL THEN 'null'::jsonb END").format(value)
    if rule.kind == "value":
        constant = sql.Literal(as_json(rule.value))
        return sql.SQL("CASE WHEN {} IS NOT NULL THEN {}::jsonb END").format(value, constant)

    def fake(one: sql.Composable) -> sql.Composable:
        faked = text(rule.kind, sql.SQL("({} #>> '{{}}')").format(one), groups(rule))
        return sql.SQL(
            "CASE WHEN jsonb_typeof({one}) IN ('null', 'boolean') OR {one} = '\"\"' THEN {one} "
            "WHEN jsonb_typeof({one}) IN ('string', 'number') THEN to_jsonb({fake}::text) "
            "ELSE 'null'::jsonb END"
        ).format(one=one, fake=faked)

    return sql.SQL(
        "(SELECT CASE WHEN jsonb_typeof(sc_l.j) = 'array' THEN (SELECT "
        "coalesce(jsonb_agg({each} ORDER BY sc_y.n), '[]') "
        "FROM jsonb_array_elements(sc_l.j) WITH ORDINALITY sc_y(x, n)) ELSE {one} END "
        "FROM (SELECT {value} AS j OFFSET 0) sc_l)"
    ).format(each=fake(sql.SQL("sc_y.x")), one=fake(sql.SQL("sc_l.j")), value=value)
