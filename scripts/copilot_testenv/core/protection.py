"""Recognize names of production or staging, in any spelling.

There are two copies of this file, in the tasks and in the runtime, which is shipped without the tasks. A test
compares them with each other and with docs/iam.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

# An environment is protected if its name, or a part of it between dashes, begins with one of PREFIXES or ends
# with one of ENDINGS.
DENIED = ("live", "prod", "stag")  # the CI role denies these too; docs/iam/ci-role.json has no room for more
PREFIXES = (*DENIED, "main", "master", "prd", "preprod", "stg", "uat")
ENDINGS = ("live", "prd", "prod", "production", "stage", "staging", "stg", "uat")
# A test database's name often contains the project's name: `backstage_test`, `main_test`, `test_products`
# pass.
_DATABASE_WHOLE = ("main", "master")
_DATABASE_PREFIXES = tuple(word for word in PREFIXES if word not in _DATABASE_WHOLE)
_DATABASE_ENDINGS = ("prd", "prod", "production", "staging")
_PRODUCT = re.compile(r"produc(?:t(?!ion)|e)")
# Cyrillic, Greek and Armenian letters that look like Latin ones.
_LOOK_ALIKES = str.maketrans(
    "\u0430\u0432\u0433\u0501\u0435\u04bb\u0456\u0458\u043a\u04cf\u043c\u043d\u043f\u043e\u0440\u051b\u0455"
    "\u0442\u0443\u0475\u051d\u0445"
    "\u03b1\u03b2\u03b5\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c3\u03c4\u03c5\u03c7"
    "\u0561\u0563\u0570\u0578\u0585\u057d",
    "abrdehijklmhnopqstyvwxabenikmvopotuxaqhnou",
)
_LATIN = re.compile(r"LATIN (?:SMALL LETTER|LETTER SMALL CAPITAL) (?:DOTLESS )?([A-Z])(?: WITH .+)?")
# Digits in place of letters: pr0d, l1ve, 5tage. The digit 1 can be an l or an i.
_DIGITS = (str.maketrans("0134578", "oleastb"), str.maketrans("0134578", "oieastb"))


def folded(name: str) -> str:
    """Return the name in lower case Latin letters, digits and dashes, whatever its spelling.

    Accents, spaces and invisible characters are removed, look-alike letters become Latin ones, and separators
    become dashes. A letter that looks like no Latin one stays.
    """
    return "".join(_folded(unicodedata.normalize("NFKD", name).casefold()))


def _folded(text: str) -> Iterator[str]:
    for letter in unicodedata.normalize("NFKD", text).translate(_LOOK_ALIKES):
        if letter.isascii():
            if not letter.isspace() and letter.isprintable():
                yield letter if letter.isalnum() else "-"
            continue
        kind = unicodedata.category(letter)
        latin = _LATIN.fullmatch(unicodedata.name(letter, ""))
        if latin:
            yield latin[1].lower()
        elif kind[0] in "PS":
            yield "-"
        elif kind[0] in "LN":
            yield letter


def protector(name: str, more: Iterable[str] = ()) -> str:
    """Return the rule that protects an environment of that name; empty where it is not protected.

    It is `prod…` or `…prod` where a part of the name begins or ends with that word. The names in `more` are
    protected, and so are all names that begin with one of them: then it is that name.
    """
    for text in _readings(name):
        for part in (*_parts(text), text.replace("-", "")):
            if word := _begins(part, PREFIXES):
                return f"{word}…"
        for part in _parts(text):
            if word := _ends(part, ENDINGS):
                return f"…{word}"
        for other in more:
            start = folded(other).replace("-", "")
            if start and text.replace("-", "").startswith(start):
                return other
    return ""


def database_protector(name: str) -> str:
    """Return the word in a database's name that forbids to delete it; empty where there is none."""
    for text in _readings(name):
        if text in _DATABASE_WHOLE:
            return text
        for part in _parts(text):
            if _PRODUCT.match(part):
                continue
            if word := _begins(part, _DATABASE_PREFIXES) or _ends(part, _DATABASE_ENDINGS):
                return word
    return ""


def _readings(name: str) -> Iterator[str]:
    plain = folded(name)
    yield from dict.fromkeys((plain, *(plain.translate(digits) for digits in _DIGITS)))


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r"[-\d]+", text) if part]


def _begins(part: str, words: Iterable[str]) -> str:
    return next((word for word in words if part.startswith(word)), "")


def _ends(part: str, words: Iterable[str]) -> str:
    return next((word for word in words if part.endswith(word)), "")
