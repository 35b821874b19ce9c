"""Tell numbers of people by their check digits, or by a form that nothing else has: SQL over one text `v`.

A number without separators passes a check by chance, once in ten or a hundred times: so such numbers count by
their share of what has the form at all.
"""

from __future__ import annotations

from psycopg import sql

_DATE = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"  # month and day


def _weighted(weights: str) -> str:
    """Return SQL for the sum of the digits of `d`, each times its weight."""
    return " + ".join(
        f"({weight}) * substr(d, {at}, 1)::int"
        for at, weight in enumerate(weights.split(), 1)
        if weight != "0"
    )


def luhn(digits: str) -> str:
    """Return SQL that is true if the number passes Luhn's check."""
    return (
        "(SELECT sum(CASE WHEN n % 2 = 1 THEN c::int WHEN c::int > 4 THEN 2 * c::int - 9 "  # noqa: S608  SQL alone
        "ELSE 2 * c::int END) % 10"
        f" FROM regexp_split_to_table(reverse({digits}), '') WITH ORDINALITY x(c, n)) = 0"
    )


def _steuer_id() -> str:
    """Return SQL for the check of ISO 7064, MOD 11, 10."""
    product = "10"
    for at in range(1, 11):
        product = f"(((substr(d, {at}, 1)::int + {product} + 9) % 10 + 1) * 2 % 11)"
    return f"(11 - {product}) % 10 = substr(d, 11, 1)::int"


def _cpf(at: int) -> str:
    weights = " ".join(str(weight) for weight in range(at, 1, -1))
    return f"({_weighted(weights)}) * 10 % 11 % 10 = substr(d, {at}, 1)::int"


# What it is, its form, and a check over its digits `d`.
# https://en.wikipedia.org/wiki/National_identification_number
_DAY = r"(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])"  # day and month
_CNP = _weighted("2 7 9 1 4 6 3 5 8 2 7 9")
_CHECKED = {
    "a Dutch BSN": (r"^\d{9}$", f"({_weighted('9 8 7 6 5 4 3 2 -1')}) % 11 = 0 AND d <> '000000000'"),
    "a Polish PESEL": (
        r"^\d\d(?:[028][1-9]|[139][0-2])(?:0[1-9]|[12]\d|3[01])\d{5}$",
        f"({_weighted('1 3 7 9 1 3 7 9 1 3 1')}) % 10 = 0",
    ),
    "a Brazilian CPF": (r"^\d{3}\.?\d{3}\.?\d{3}-?\d\d$", f"{_cpf(10)} AND {_cpf(11)} AND d !~ '^(.)\\1*$'"),
    "a Turkish identity number": (
        r"^[1-9]\d{9}[02468]$",
        (
            f"(({_weighted('7 -1 7 -1 7 -1 7 -1 7')}) % 10 + 10) % 10 = substr(d, 10, 1)::int "
            f"AND ({_weighted('1 1 1 1 1 1 1 1 1 1')}) % 10 = substr(d, 11, 1)::int"
        ),
    ),
    "a German tax identification number": (r"^[1-9]\d{10}$", _steuer_id()),
    "a Norwegian identity number": (
        rf"^{_DAY}\d{{7}}$",
        (
            f"({_weighted('3 7 6 1 8 9 4 5 2 1 0')}) % 11 = 0 "
            f"AND ({_weighted('5 4 3 2 7 6 5 4 3 2 1')}) % 11 = 0"
        ),
    ),
    "a French social security number": (
        r"^[12] ?\d\d ?(?:0[1-9]|1[0-2]|[2-9]\d) ?\d\d ?\d{3} ?\d{3} ?\d\d$",
        "left(d, 13)::bigint % 97 = 97 - right(d, 2)::int",
    ),
    "a Swedish personal number": (
        rf"^(?:19|20)?\d\d{_DATE}[-+]?\d{{4}}$",
        luhn("right(d, 10)"),
    ),
    "a Romanian CNP": (
        rf"^[1-8]\d\d{_DATE}\d{{6}}$",
        f"(CASE ({_CNP}) % 11 WHEN 10 THEN 1 ELSE ({_CNP}) % 11 END) = substr(d, 13, 1)::int",
    ),
    "a Chinese identity number": (
        rf"^\d{{6}}(?:19|20)\d\d{_DATE}\d{{3}}[\dX]$",
        (
            f"({_weighted('7 9 10 5 8 4 2 1 6 3 7 9 10 5 8 4 2')} + CASE right(v, 1) WHEN 'X' THEN 10 "
            "ELSE right(d, 1)::int END) % 11 = 1"
        ),
    ),
    "a Spanish DNI": (
        r"^[XYZ\d]-?\d{7}-?[A-Z]$",
        (
            "substr('TRWAGMYFPDXBNJZSQVHLCKE', (translate(left(v, 1), 'XYZ', '012') "
            "|| right(d, 7))::int % 23 + 1, 1) = right(v, 1)"
        ),
    ),
}
# Forms that are enough.
_FORMS = {
    "an Italian codice fiscale": r"^[A-Z]{6}\d\d[ABCDEHLMPRST]\d\d[A-Z]\d{3}[A-Z]$",
    "a US social security number": r"^(?!000|666|9)\d{3}-\d\d-\d{4}$",
    "a British national insurance number": r"^[A-CEGHJ-PR-TW-Z]{2}(?: ?\d\d){3} ?[A-D]$",
    "a Danish CPR number": rf"^{_DAY}\d\d-\d{{4}}$",
    "a Finnish identity code": rf"^{_DAY}\d\d[-+A]\d{{3}}[0-9A-FHJ-NPR-Y]$",
    "a Czech birth number": r"^\d\d[0-7]\d[0-3]\d/\d{3,4}$",
    "a Belgian national number": r"^\d\d\.\d\d\.\d\d-\d{3}\.\d\d$",
    "a Swiss AHV number": r"^756\.\d{4}\.\d{4}\.\d\d$",
    "a Mexican CURP": r"^[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z\d]\d$",
    "an Indian PAN": r"^[A-Z]{3}P[A-Z]\d{4}[A-Z]$",
    "a German social insurance number": rf"^\d\d{_DAY}\d\d[A-Z]\d{{3}}$",
    "a passport's machine-readable zone": r"^[PIACV][A-Z<][A-Z<]{3}[A-Z]+<[A-Z<]*<[A-Z<]*",
}
ANY = r"^[A-Z0-9][A-Z0-9<+./ -]{7,43}"  # begins what has one of the forms
_ENOUGH, _SHARE = 6, 0.9  # numbers with right check digits, and their share of all that have the form
_FEW = 3  # numbers with a form of their own


def _conditions() -> list[sql.Composable]:
    """Return the SQL of the form, and of a right number, for each kind, over `v` and its digits `d`."""
    found: list[sql.Composable] = []
    for form, check in _CHECKED.values():
        has_form = sql.SQL("v ~ {}").format(sql.Literal(form))
        found += [has_form, sql.SQL("CASE WHEN {} THEN {} ELSE false END").format(has_form, sql.SQL(check))]
    for form in _FORMS.values():
        has_form = sql.SQL("v ~ {}").format(sql.Literal(form))
        found += [has_form, has_form]
    return found


CONDITIONS = _conditions()


def why(counts: list[int]) -> str:
    """Return why a column looks personal by the counts of CONDITIONS; empty if it does not."""
    for what, form, right in zip((*_CHECKED, *_FORMS), counts[::2], counts[1::2]):
        if right >= (_FEW if what in _FORMS else _ENOUGH) and right >= _SHARE * form:
            digits = "" if what in _FORMS else " and the check digits"
            return f"{right} sampled values have the form{digits} of {what}"
    return ""
