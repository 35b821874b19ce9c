"""Tell by a column's name and type whether it holds personal data, or secrets that must not leave staging."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING

from . import personal_words as words_of
from .personal_words import word_set

if TYPE_CHECKING:
    from .model import Column, Table

_SHORT_PARTS = word_set(
    "id no nr ip of num tel fax dob zip ssn sex gsm geb plz api key tax cvc otp dni cpf bsn pin"
)  # of words like phoneno
_LONG_PART = 4  # letters of any other part
_GLUE = word_set(
    "year line remote host peer hash value text of the a no nr id number code num name user date my is old "
    "new home work primary secondary main last"
)
# Beside a person's name these say nothing: name_of_the_customer, attendee_name_cached.
_AROUND_NAMES = word_set(
    "of the full de del di da complet completo cached raw display search clean lower upper normalized "
    "original local latin ascii plain new old previous current kana text"
)
_OF_NAMES = ("emergency", "billing", "shipping", "last", "first")
_NOT_A_PERSONS_NAME = word_set("account billing shipping emergency lead profile staff player operator")
_OF_TABLES = words_of.PEOPLE - {"account", "tenant"}  # which may be a company's
_LONG_PEOPLE = tuple(word for word in _OF_TABLES if len(word) > 5)  # noqa: PLR2004  "shopcustomer"
_NOT_PEOPLES_ADDRESSES = word_set(
    "netmask subnet network gateway cidr mask range dns broadcast prefix bind listen server node router "
    "switch"
)
_PLACES = words_of.PLACES | words_of.WORDS[words_of.PLACE]
_BY_MEANING = {
    meaning: (
        frozenset(word for word in words if "*" not in word),
        re.compile("|".join(word.replace("*", ".*") for word in sorted(words) if "*" in word) or "(?!)"),
    )
    for meaning, words in words_of.WORDS.items()
}
_PAIRS_BY_MEANING = {
    meaning: frozenset(
        tuple("number" if word in words_of.ORDINALS else word for word in pair) for pair in pairs
    )
    for meaning, pairs in words_of.PAIRS.items()
}
_PAIRS = frozenset(pair for pairs in _PAIRS_BY_MEANING.values() for pair in pairs)
_VOCABULARY = (
    frozenset(word.strip("*") for words in words_of.WORDS.values() for word in words)
    | words_of.ALONE
    | words_of.PEOPLE
    | words_of.OF_PEOPLE
    | words_of.MEASURES
    | (words_of.NAMES - word_set("ad adi"))
    | _GLUE
    | words_of.ABOUT
    | frozenset(word for pair in _PAIRS for word in pair)
) - word_set("at on a is my as d o")

# Letters that Unicode does not take apart into a plain one and an accent.
_LETTERS = {ord(letter): plain for letter, plain in zip("ßıøłđæœ", ("ss", "i", "o", "l", "d", "ae", "oe"))}
# Those that keys of documents and names of people have, for SQL's translate().
ACCENTED = "áàâäãåăąçćčéèêëęěğíìîïıłñńňóòôöõøőřşșśšťțúùûüůűýźżž"
PLAIN = "aaaaaaaaccceeeeeegiiiiilnnnooooooorssssttuuuuuuyzzz"

_OF_EACH = "a fact about a person, in a table of people"
_PLURAL = re.compile(r"(?<=.{4})(?:s|e?s|e?n|e|e?rn?|m[ae]r|na|i|y|ow|a|innen|l[ae]ri?|nen|te?r?)$")
_NEVER = re.compile(r"^(boolean|oid|xid|interval|regclass)")
_NUMBER = re.compile(r"^(integer|smallint|bigint|numeric|real|double precision|money)")
# Of these types, only what has this meaning is personal.
_ONLY = ((re.compile(r"^(date|time)"), words_of.BIRTH), (re.compile(r"^uuid"), words_of.SECRET))
_ON_THE_MAP = ("lat", "lng", "lon")
_NOT_SHORT = word_set("card call post data code titul titulo")
_MAY_BE_SHORT = [
    word.strip("*")
    for meaning in (words_of.NAME, words_of.BIRTH, words_of.ADDRESS, words_of.PHONE, words_of.NUMBER)
    for word in words_of.WORDS[meaning]
]
_TEXT = re.compile(r"^(text|character|citext|name|json)")


def why(table: Table, column: Column, more: Iterable[str] = ()) -> str:
    """Return why the column looks personal by its name or type; empty if it does not.

    `more` are words or globs of the project that make a name look personal.
    """
    words = split(column.name)
    for word in more:
        if fnmatchcase("_".join(words), word.casefold()) or word.casefold() in words:
            return f'STAGE_COPY["personal"] has "{word}"'
    plain = [word for word in words if not word.isdigit()]
    if column.type.startswith("inet"):
        return "" if _NOT_PEOPLES_ADDRESSES & set(plain) else "an IP address, by its type"
    meaning = _meaning(table, column, plain) if plain else ""
    return f"its name: {meaning}" if meaning else ""


def of_people(table: Table) -> bool:
    """Return True if the rows of the table are people, by its name or by the names of other columns."""
    return any(_is_person(_words(name)[-1]) for name in _names(table) if _words(name)) or _has_a_person(table)


def may_name_people(column: Column) -> bool:
    """Return True if the column's name makes names of people likely: `driver`, `owner`, `name`."""
    words = split(column.name)
    return bool(words) and (
        words[-1] in words_of.NAMES | words_of.ALONE or words[-1] == "by" or any(map(_is_person, words))
    )


def names_things(table: Table, column: Column) -> bool:
    """Return True if the column's name, or the table's of a plain `name`, is that of a place or a company."""
    words, things = _words(column.name), words_of.THINGS | _PLACES
    plain = set(words) <= words_of.NAMES and any(
        _among(word, things) for name in _names(table) for word in _words(name)[-1:]
    )
    return bool(words) and not _is_person(words[-1]) and (plain or any(_among(one, things) for one in words))


def _meaning(table: Table, column: Column, words: list[str]) -> str:
    """Return what the column holds of a person, by its name; empty for nothing."""
    counted = words[0] in words_of.ORDINALS and _is_plural(column, words)
    if _NEVER.match(column.type) or counted or (len(words) > 1 and words[0] in words_of.BEFORE):
        return ""
    meaning, _ = _first_meaning(words)
    if meaning in (words_of.PLACE, words_of.COORDINATES) and _is_of_places(table):
        return ""
    for types, only in _ONLY:
        if types.match(column.type):
            return meaning if meaning == only else ""
    if words[-1] in words_of.ABOUT and _pair(words[-2:]) not in _PAIRS:
        return _meaning_beside_about(table, column, words, meaning)
    if _NUMBER.match(column.type):
        return _meaning_of_number(table, column, words)
    return meaning or _meaning_of_text(table, words)


def _meaning_beside_about(table: Table, column: Column, words: list[str], meaning: str) -> str:
    """Return what `passport_id`, `photo_url` and `height` hold of a person; empty for `email_template`."""
    if words[-1] in words_of.MEASURES and of_people(table):
        return _meaning_of_number(table, column, words) if _NUMBER.match(column.type) else ""
    if words[-1] == "id" and meaning in (words_of.NUMBER, words_of.EMAIL) and _TEXT.match(column.type):
        return meaning
    pictures = words[-1] in ("url", "uri") and words[-2:-1] and words[-2] in words_of.OF_PEOPLE
    return _OF_EACH if pictures and of_people(table) else ""


def _meaning_of_text(table: Table, words: list[str]) -> str:
    """Return what a text holds of a person by all its words together, and by its table."""
    last, core = words[-1], [word for word in words if not _is_person(word)] or words
    if last in words_of.ALONE and not (last in _ON_THE_MAP and _is_of_places(table)):
        return words_of.FAMILY if last in words_of.PEOPLE else f'"{last}"'
    if _is_a_persons_name(table, words):
        return words_of.NAME
    if _is_of_a_house(table, words):
        return words_of.ADDRESS
    if last == "by" and words[:-1] and words[-2].endswith("ed") and words[-2] not in words_of.NO_DOERS:
        return "who did something"
    people = of_people(table) or len(core) < len(words)
    if core[-1] in ("path", "file") and core[:-1]:
        core = core[:-1]
    if not people or any(_among(word, words_of.THINGS) for word in core):
        return ""
    return _OF_EACH if core[-1] in words_of.OF_PEOPLE or _is_short_for(core[-1]) else ""


def _meaning_of_number(table: Table, column: Column, words: list[str]) -> str:
    """Return what a number holds of a person: `phones` is a count, `phone` is none."""
    meaning, word = _first_meaning(words, words_of.NUMBERS)
    if words[-1] in words_of.SEXES:
        return words_of.STATUS
    if any(_is_person(part) for name in _names(table) for part in _words(name)):
        if words_of.MEASURES & set(words):
            return _OF_EACH
        meaning = meaning or _first_meaning(words, [words_of.HEALTH])[0]
    if not meaning and words[-1] in {*_ON_THE_MAP, "zip", "pin"} and not _is_of_places(table):
        meaning = f'"{words[-1]}"'
    small = column.type == "smallint" and meaning != words_of.BIRTH
    if not small and _is_of_a_house(table, words):
        return words_of.ADDRESS
    if small or _is_plural(column, words) or word in words_of.NOT_IN_NUMBERS:
        return ""
    return meaning


def _is_plural(column: Column, words: list[str]) -> bool:
    return column.name.casefold().rstrip("_0123456789").endswith((words[-1] + "s", words[-1] + "es"))


def _first_meaning(words: list[str], among: Iterable[str] = tuple(words_of.WORDS)) -> tuple[str, str]:
    """Return the first meaning of a word, or of two together, and the word that has it; empty for none."""
    for at, word in enumerate(words):
        pair, joined = _pair(words[at : at + 2]), _pair([word, *words[at + 2 : at + 3]])
        if joined in _PAIRS and _AROUND_NAMES & set(words[at + 1 : at + 2]):  # permis_de_conduire
            pair = joined
        for meaning in among:
            if pair in _PAIRS_BY_MEANING.get(meaning, ()):
                taken_back = words_of.MORE_ABOUT & set(words[at + 2 :])
            elif word in _BY_MEANING[meaning][0] or _BY_MEANING[meaning][1].fullmatch(word):
                taken_back = words_of.MORE_ABOUT & set(words[at + 1 :])
            else:
                continue
            return ("", "") if taken_back else (meaning, word)
    return "", ""


def _is_short_for(word: str) -> bool:
    """Return True for `cogn`, which is short for cognome."""
    long = len(word) >= _LONG_PART and word not in _NOT_SHORT
    return long and any(known.startswith(word) for known in _MAY_BE_SHORT)


def _pair(words: list[str]) -> tuple[str, ...]:
    """Return two words with one word for all that mean "number", as pairs have it: acct_no is acct_number."""
    return tuple("number" if word in words_of.ORDINALS else word for word in words)


def _is_of_a_house(table: Table, words: list[str]) -> bool:
    """Return True for `house_number` and `nr_lokalu`, and for `numero` in a table that has `via`."""
    if len(words) == 1 and words[0] in words_of.ORDINALS | {"via"}:
        others = [set(_words(column.name)) for column in table.columns]
        return any(other & (words_of.STREETS | words_of.HOUSES) for other in others if other != set(words))
    return any(
        {one, other} & words_of.ORDINALS and {one, other} & (words_of.HOUSES | words_of.STREETS)
        for one, other in zip(words, words[1:])
    )


def _is_person(word: str) -> bool:
    """Return True for a word for people: `customer`, `shopcustomer`, `consignee`, `medlemmer`, `klienci`."""
    return (
        _among(word, _OF_TABLES)
        or re.sub("ci$", "t", re.sub("cy$", "k", word)) in _OF_TABLES
        or (
            word.endswith((*_LONG_PEOPLE, "ee")) and len(word) > _LONG_PART and word not in words_of.NO_PEOPLE
        )
    )


def _is_a_persons_name(table: Table, words: list[str]) -> bool:
    """Return True for `customer_name`, `name_of_customer`, `l_name`, and for `name` in a table of people."""
    initial = words[:1] in (["f"], ["l"], ["m"]) and words[1:2] and words[1] in words_of.NAMES
    short = words in (["first"], ["last"]) or bool(initial)
    if not words_of.NAMES & set(words) and not short:
        return False
    people = [part for name in _names(table) for part in _words(name) if _is_person(part)]
    others = [word for word in words if word not in words_of.NAMES | _AROUND_NAMES]
    others = [word for word in others if not any(person.startswith(word) for person in people)]  # nom_etu
    if others and all(_is_person(one) or one in _OF_NAMES for one in others):
        return set(others) - _NOT_A_PERSONS_NAME != set() or bool({"billing", "shipping"} & set(others))
    of_person = bool(people) or _has_a_person(table)
    return (of_person and (not others or short)) or (short and len(words) > 1)


def _among(word: str, words: frozenset[str]) -> bool:
    """Return True if the word, or what it is the plural of, is one of the words."""
    return word in words or _PLURAL.sub("", word) in words


def _names(table: Table) -> list[str]:
    return [table.name, *(one.rpartition(".")[2] for one in table.ancestors)]


def _words(name: str) -> list[str]:
    return [word for word in split(name) if not word.isdigit()]


def _is_of_places(table: Table) -> bool:
    return any(_among(word, _PLACES) for name in _names(table) for word in _words(name)[-1:])


@lru_cache(maxsize=256)
def _has_a_person(table: Table) -> bool:
    """Return True if a column has a person's first or last name, birth, status or password."""
    of_persons = (words_of.NAME, words_of.BIRTH, words_of.STATUS)
    names = [_words(column.name) for column in table.columns]
    return any(_first_meaning(words, of_persons)[0] or "password" in words for words in names)


@lru_cache(maxsize=4096)
def _split(name: str) -> tuple[str, ...]:
    plain = unicodedata.normalize("NFKD", name.translate(_LETTERS))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])", "_", plain)
    found: list[str] = []
    for word in re.split(r"[^a-z0-9]+", spaced.casefold()):
        if word:
            found += [_singular(part) for part in (_segments(word) or [word])]
    return tuple(found)


def split(name: str) -> list[str]:
    """Return the words of a name: of `firstName`, `first_name`, `FIRSTNAME` and `firstname` the same two."""
    return list(_split(name))


def _singular(word: str) -> str:
    for ending, instead in (("esses", "ess"), ("ies", "y"), ("s", "")):
        if word.endswith(ending) and len(word) > 3 and word not in _VOCABULARY:  # noqa: PLR2004  "ids" is "id"
            one = word[: -len(ending)] + instead
            return one if one in _VOCABULARY else word
    return word


def _segments(word: str) -> list[str]:
    """Return the known words that a word is joined of: `phonenumber`; empty if it is no such word."""
    if word in _VOCABULARY or len(word) < 5 or _has_meaning(word):  # noqa: PLR2004  nothing shorter is two words
        return []
    best: list[list[str] | None] = [[]] + [None] * len(word)
    for end in range(2, len(word) + 1):
        for start in range(end - 1):
            before, part = best[start], word[start:end]
            if before is None or not _is_part(part):
                continue
            now = best[end]
            if now is None or len(before) + 1 < len(now):
                best[end] = [*before, part]
    return best[-1] or []


def _has_meaning(word: str) -> bool:
    return any(stems.fullmatch(word) for _, stems in _BY_MEANING.values())


def _is_part(part: str) -> bool:
    return part in _SHORT_PARTS or (len(part) >= _LONG_PART and _singular(part) in _VOCABULARY)


def keys() -> str:
    """Return a regular expression for the keys of documents that mean personal data: first_name, telefon."""
    words = {word for of_one in words_of.WORDS.values() for word in of_one if "*" not in word}
    joined = {between.join(pair) for pair in _PAIRS for between in ("_", "")}
    stems = {
        re.sub(r"\*$", "", word).replace("*", "[a-z0-9]*")
        for of_one in words_of.WORDS.values()
        for word in of_one
        if word.endswith("*")
    }
    people = "|".join(sorted(words_of.PEOPLE - {"account"}))
    whole, begun = "|".join(sorted(words | joined)), "|".join(sorted(stems))
    return rf"(^|_)(({whole})s?(_|\d|$)|({begun}))|^({people})_?name$"
