"""A made-up database whose columns are known to be personal or not, for measuring what finds them.

Half of the personal columns have names that say nothing: only their content does. The others have a telling
name. Columns that are not personal have names and values that come near.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass

from psycopg import sql

_FIRST = [
    "Ada",
    "Bea",
    "Chidi",
    "Dmitri",
    "Elena",
    "Farah",
    "Goran",
    "Hana",
    "Imre",
    "Jalal",
    "Katrin",
    "Leandro",
    "Mika",
    "Nadia",
    "Odile",
    "Piotr",
    "Quentin",
    "Rosa",
    "Sven",
]
_LAST = [
    "Abeng",
    "Baudelaire",
    "Castellanos",
    "Dvorak",
    "Eriksen",
    "Fontaine",
    "Grigorescu",
    "Haverkamp",
    "Ibarra",
    "Jankowski",
    "Kowalczyk",
    "Lindqvist",
    "Moreau",
]
_WORDS = [
    "ship",
    "paint",
    "order",
    "green",
    "winter",
    "cable",
    "ready",
    "metal",
    "late",
    "harbour",
    "update",
    "valve",
    "counter",
    "label",
    "signal",
    "parcel",
    "route",
]
_HOSTS = ["corp.com", "firm.co.uk", "mailbox.org", "post.de", "example.com", "uni-wien.ac.at"]
_IBANS = {"DE": 18, "NL": 14, "GB": 18, "FR": 23, "AT": 16, "ES": 20}


class Maker:
    """Makes values, all from one seed."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)  # noqa: S311  a test's
        self.people = [(first, last) for first in _FIRST for last in _LAST if self.r.random() < 0.4]

    def digits(self, count: int) -> str:
        return "".join(self.r.choice(string.digits) for _ in range(count))

    def some(self, count: int) -> str:
        return " ".join(self.r.choice(_WORDS) for _ in range(count))

    def person(self) -> str:
        return " ".join(self.r.choice(self.people))

    def email(self) -> str:
        first, last = self.r.choice(self.people)
        form = self.r.choice(["{0}.{1}", "{1}", "{0}_{1}+x", "{0}{2}"])
        return f"{form.format(first, last, self.digits(2)).lower()}@{self.r.choice(_HOSTS)}"

    def phone(self) -> str:
        r, d = self.r, self.digits
        area, line = f"{r.randint(2, 9)}{d(2)}", f"{r.randint(200, 999)}-{d(4)}"
        return r.choice(
            [
                f"+49 {r.randint(150, 179)} {d(7)}",
                f"+44 20 {d(4)} {d(4)}",
                f"+1 ({area}) {line}",
                f"({area}) {line}",
                f"{area}-{line}",
                f"0{r.randint(30, 89)}/{d(3)} {d(4)}",
                f"+336{d(8)}",
                f"0{r.randint(1, 6)} {d(2)} {d(2)} {d(2)} {d(2)}",
            ]
        )

    def iban(self) -> str:
        country, length = self.r.choice(sorted(_IBANS.items()))
        account = self.digits(length)
        number = "".join(str(int(letter, 36)) for letter in f"{account}{country}00")
        packed = f"{country}{98 - int(number) % 97:02}{account}"
        return (
            packed if self.r.random() < 0.5 else " ".join(packed[i : i + 4] for i in range(0, len(packed), 4))
        )

    def card(self) -> str:
        body = self.r.choice(["4", "51", "2221", "55"])
        body += self.digits(15 - len(body))
        total = 0
        for at, digit in enumerate(reversed(body)):
            value = int(digit) * (2 - at % 2)
            total += value - 9 if value > 9 else value
        packed = f"{body}{-total % 10}"
        return packed if self.r.random() < 0.5 else "-".join(packed[i : i + 4] for i in range(0, 16, 4))

    def ip(self) -> str:
        if self.r.random() < 0.2:
            return f"2a02:{self.digits(3)}:{self.digits(4)}::{self.digits(2)}"
        return ".".join(str(self.r.randint(*ends)) for ends in ((11, 223), (0, 255), (0, 255), (1, 254)))

    def personal(self) -> Callable[[], str]:
        return self.r.choice([self.email, self.phone, self.iban, self.card, self.ip, self.person])

    def harmless(self) -> Callable[[], str]:
        r, d = self.r, self.digits
        return r.choice(
            [
                lambda: self.some(4),
                lambda: f"{r.randint(1, 20)}.{r.randint(0, 20)}.{r.randint(0, 12)}",
                lambda: f"{r.randint(1, 9)}.{r.randint(0, 9)}.{r.randint(0, 30)}.{r.randint(0, 9)}",
                lambda: f"20{d(2)}-0{r.randint(1, 9)}-1{d(1)} 1{d(1)}:00:00+00:00",
                lambda: f"17{d(8)}",
                lambda: f"17{d(11)}",
                lambda: d(16),
                lambda: f"SKU-{d(4)}-{d(6)}",
                lambda: f"{r.getrandbits(128):032x}",
                lambda: f"https://{r.choice(_HOSTS)}/{self.some(1)}/{d(6)}",
                lambda: f"icon-{self.some(1)}@2x.png",
                lambda: f"git@{r.choice(_HOSTS)}:team/{self.some(1)}.git",
                lambda: f"support@{r.choice(_HOSTS)}",
                lambda: f"Mozilla/5.0 Chrome/1{d(2)}.0.0.0 Safari/537.36",
                lambda: f"{d(10)}",
                lambda: f"40{d(11)}",
                lambda: f"{r.randint(1, 31):02}-0{r.randint(1, 9)}-20{d(2)}",
                lambda: f"AB{d(14)}",
                lambda: f"+{d(2)}.{d(3)}",
                lambda: f"{r.uniform(-90, 90):.6f}",
                lambda: f"978{d(10)}",
                lambda: f"10.0.{r.randint(0, 9)}.0/24",
            ]
        )


_NEUTRAL = ["field_{n}", "data_{n}", "value{n}", "extra_{n}", "info{n}", "blob_{n}", "payload_{n}", "col{n}"]
_TELLING = """
    ssn:text salary:numeric cardNumber:text birthday:date phonenumber:text emailAddress:text
    ipaddress:text customer_name:text bank_account:text dateOfBirth:date mobile_no:text homephone:text
    social_security_no:text national_id:text taxId:text passport_number:text zipcode:text
    street_address:text billing_name:text recipientName:text last_name:text creditCardNumber:text
    iban:text accountNumber:text client_ip:text api_key:text access_token:text monthly_wage:numeric
    vorname:text geburtsdatum:date telefon:text prenom:text apellido:text gender:text
    driver_license:text userName:text nickname:text emergency_contact:text passwordhash:text
    latitude:float8 faxno:text patient_name:text ssn:int8 phone:int8
    """
_NEAR = """
    product_name:text file_name:text email_verified:bool email_count:int4 phones:int4 card_type:text
    token_count:int8 address_type:text email_template:text hostname:text tax_rate:numeric
    created_at:timestamptz last_login:timestamptz slug:text company_name:text event_name:text
    shipping_method:text relationship:text tooltip:text emailed_at:timestamptz scorecard:text
    citation:text capacity:text velocity:numeric recipe:text ownership:text author_id:int8
    discount:numeric mailing_list_id:int4 phone_model:text street_view_enabled:bool namespace:text
    pinned:bool spin:text tracing:text shipment:text accountable:bool birthright:text zip_file:text
    username_policy:text password_expires:date
"""


@dataclass(frozen=True)
class Made:
    """A column: its name in its table, its type, whether it is personal, and its values."""

    name: str
    type: str
    personal: bool
    values: list[object]


def columns(seed: int, count: int) -> tuple[Maker, list[Made]]:
    """Make that many columns, half of them personal."""
    make = Maker(seed)
    return make, [_column(make, number, personal=number % 2 == 0) for number in range(count)]


def _column(make: Maker, number: int, *, personal: bool) -> Made:
    r = make.r
    rows = r.choice([12, 40, 150])
    if r.random() < 0.5:
        name, type_ = r.choice((_TELLING if personal else _NEAR).split()).split(":")
        return Made(f"{name}__{number}", type_, personal, [_plain(make, type_) for _ in range(rows)])
    value = make.personal() if personal else make.harmless()
    type_ = r.choice(["text", "text", "varchar(400)", "text[]", "jsonb", "json", "tsvector", "citext"])
    share = r.choice([1.0, 1.0, 0.3])  # a text among others has it
    values = [_wrapped(make, value() if r.random() <= share else make.some(5), type_) for _ in range(rows)]
    if share < 1 and personal:
        values[0] = _wrapped(make, f"{make.some(3)}, {value()}, {make.some(2)}", type_)
    return Made(r.choice(_NEUTRAL).format(n=number), type_, personal, values)


def _plain(make: Maker, type_: str) -> object:
    made = {
        "date": "2001-02-03",
        "timestamptz": "2001-02-03T04:05Z",
        "bool": "true",
        "numeric": "12.5",
        "float8": "1.5",
        "int4": str(make.r.randint(0, 90)),
        "int8": str(make.r.randint(0, 90)),
    }
    return made.get(type_) or make.some(1)


def _wrapped(make: Maker, value: str, type_: str) -> object:
    if type_.endswith("[]"):
        return [make.some(1), value]
    if type_.startswith("json"):
        return json.dumps({"k": {"list": [make.some(2), value]}, "n": make.r.randint(0, 9)})
    return value


def create(connection: object, make: Maker, made: list[Made]) -> dict[tuple[str, str], Made]:
    """Make tables of ten columns each, and Django's users; the columns by table and name."""
    run = connection.execute  # type: ignore[attr-defined]
    run(
        "CREATE TABLE auth_user (id int PRIMARY KEY, username text, first_name text, last_name text, "
        "email text, password text)"
    )
    for number, (first, last) in enumerate(make.people):
        run(
            "INSERT INTO auth_user VALUES (%s, %s, %s, %s, '', '!')",
            [number, f"{first}{number}".lower(), first, last],
        )
    places = {}
    for start in range(0, len(made), 10):
        some = made[start : start + 10]
        table = f"app_part{start}"
        names = [one.name.partition("__")[0] for one in some]
        unique = [name if names.count(name) == 1 else f"{name}{i}" for i, name in enumerate(names)]
        fields = [
            sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(c.type))
            for n, c in zip(unique, some, strict=True)
        ]
        run(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(table), sql.SQL(", ").join(fields)))
        for row in range(max(len(one.values) for one in some)):
            values = [one.values[row] if row < len(one.values) else None for one in some]
            casts = [
                sql.SQL(
                    "to_tsvector('english', {})"
                    if one.type == "tsvector"
                    else "{}::text::" + one.type
                    if not isinstance(value, list)
                    else "{}"
                ).format(sql.Literal(value))
                for one, value in zip(some, values, strict=True)
            ]
            run(
                sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(table), sql.SQL(", ").join(casts))
            )
        places.update({(f"public.{table}", name): one for name, one in zip(unique, some, strict=True)})
    return places
