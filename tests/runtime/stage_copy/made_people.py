"""Made-up people: their names, logins, addresses and numbers with right check digits."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

# Half of them have names that many people have.
_FIRST = [
    "Ada", "Bea", "Chidi", "Dmitri", "Elena", "Farah", "Goran", "Hana", "Imre", "Jalal", "Katrin",
    "Leandro", "Mika", "Nadia", "Odile", "Piotr", "Quentin", "Rosa", "Sven", "Anna", "Thomas", "Maria",
    "Mehmet", "Sophie", "Carlos", "Giulia", "Lars", "Agnieszka", "Fatima", "Michael", "Laura",
]  # fmt: skip
_LAST = [
    "Abeng", "Baudelaire", "Castellanos", "Dvorak", "Eriksen", "Fontaine", "Grigorescu", "Haverkamp",
    "Ibarra", "Jankowski", "Kowalczyk", "Lindqvist", "Moreau", "Schmidt", "García", "Rossi", "Öztürk",
    "Nowak", "Andersson", "Silva", "Jansen", "Dubois", "Weber", "Kaya",
]  # fmt: skip
PAIRS = [(first, last) for first in _FIRST for last in _LAST]
_STREETS = [
    "{n} Church Road", "{n}b Oak Tree Lane", "Goethestraße {n}", "Bahnhofstr. {n}", "{n} rue de la Paix",
    "{n}, avenue Foch", "Calle Mayor, {n}", "Via Garibaldi {n}", "Kerkstraat {n}", "ul. Polna {n}",
    "Rua das Flores, {n}", "Storgatan {n}", "Lale Sok. No: {n}",
]  # fmt: skip


def pair(r: random.Random) -> tuple[str, str]:
    return r.choice(PAIRS)


def person(r: random.Random) -> str:
    return " ".join(pair(r))


def login(r: random.Random) -> str:
    first, last = (name.lower() for name in pair(r))
    plain = f"{first}{r.choice(['.', '_', ''])}{last}".encode("ascii", "ignore").decode()
    return f"{plain}{r.choice(['', r.randint(1, 99)])}"


def street(r: random.Random) -> str:
    return r.choice(_STREETS).format(n=r.randint(1, 180))


def digits(r: random.Random, count: int) -> str:
    return "".join(r.choice(string.digits) for _ in range(count))


def _born(r: random.Random) -> str:
    return f"{r.randint(40, 99)}{r.randint(1, 12):02}{r.randint(1, 28):02}"


def _weighted(number: str, weights: list[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(number, weights, strict=False))


def bsn(r: random.Random) -> str:
    while True:
        number = f"{r.randint(1, 9)}{digits(r, 7)}"
        check = _weighted(number, [9, 8, 7, 6, 5, 4, 3, 2]) % 11
        if check < 10:
            return f"{number}{check}"


def pesel(r: random.Random) -> str:
    number = _born(r) + digits(r, 4)
    return f"{number}{-_weighted(number, [1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10}"


def cpf(r: random.Random) -> str:
    number = digits(r, 9)
    for length in (10, 11):
        number += str(_weighted(number, list(range(length, 1, -1))) * 10 % 11 % 10)
    return f"{number[:3]}.{number[3:6]}.{number[6:9]}-{number[9:]}"


def tckn(r: random.Random) -> str:
    number = f"{r.randint(1, 9)}{digits(r, 8)}"
    number += str(_weighted(number, [7, -1] * 5) % 10)
    return f"{number}{sum(map(int, number)) % 10}"


def steuer_id(r: random.Random) -> str:
    number, product = f"{r.randint(1, 9)}{digits(r, 9)}", 10
    for digit in number:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return f"{number}{(11 - product) % 10}"


def fodselsnummer(r: random.Random) -> str:
    while True:
        number = f"{r.randint(1, 28):02}{r.randint(1, 12):02}{digits(r, 5)}"
        first = -_weighted(number, [3, 7, 6, 1, 8, 9, 4, 5, 2]) % 11
        second = -_weighted(f"{number}{first}", [5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11
        if first < 10 and second < 10:
            return f"{number}{first}{second}"


def nir(r: random.Random) -> str:
    number = f"{r.randint(1, 2)}{r.randint(40, 99)}{r.randint(1, 12):02}{r.randint(1, 95):02}{digits(r, 6)}"
    return f"{number}{97 - int(number) % 97:02}"


def luhn(number: str) -> str:
    """Return the number with its check digit."""
    total = 0
    for at, digit in enumerate(reversed(number)):
        value = int(digit) * (2 - at % 2)
        total += value - 9 if value > 9 else value
    return f"{number}{-total % 10}"


def personnummer(r: random.Random) -> str:
    number = luhn(_born(r) + digits(r, 3))
    return f"{number[:6]}-{number[6:]}"


def cnp(r: random.Random) -> str:
    number = f"{r.randint(1, 2)}{_born(r)}{digits(r, 5)}"
    check = _weighted(number, [2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11
    return f"{number}{1 if check == 10 else check}"


def chinese(r: random.Random) -> str:
    number = f"{r.randint(110000, 659999)}19{_born(r)}{digits(r, 3)}"
    check = _weighted(number, [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]) % 11
    return number + "10X98765432"[check]


def dni(r: random.Random) -> str:
    number = r.randint(10_000_000, 99_999_999)
    return f"{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def codice_fiscale(r: random.Random) -> str:
    letters = "".join(r.choice("BCDFGLMNPRST") for _ in range(6))
    return f"{letters}{r.randint(40, 99)}{r.choice('ABCDEHLMPRST')}{r.randint(1, 28):02}H{digits(r, 3)}Q"


def ssn(r: random.Random) -> str:
    return f"{r.randint(100, 665)}-{r.randint(10, 99)}-{digits(r, 4)}"


NUMBERS: dict[str, Callable[[random.Random], str]] = {
    "a Dutch BSN": bsn,
    "a Polish PESEL": pesel,
    "a Brazilian CPF": cpf,
    "a Turkish identity number": tckn,
    "a German tax identification number": steuer_id,
    "a Norwegian identity number": fodselsnummer,
    "a French social security number": nir,
    "a Swedish personal number": personnummer,
    "a Romanian CNP": cnp,
    "a Chinese identity number": chinese,
    "a Spanish DNI": dni,
    "an Italian codice fiscale": codice_fiscale,
    "a US social security number": ssn,
}
