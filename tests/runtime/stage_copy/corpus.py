"""A made-up database whose columns are known to be personal or not, for measuring what finds them.

Half of the personal columns have names that say nothing: only their content does. The others have a telling
name, composed of what it means, in one of ten languages, of what people write before and after it, and of how
they join words. Columns that are not personal have names and values that come near, composed as well.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tests.runtime.stage_copy import made_people

_WORDS = """
    ship paint order green winter cable ready metal late harbour update valve counter label signal parcel
    route
""".split()  # noqa: SIM905  a list of words
_HOSTS = ["corp.com", "firm.co.uk", "mailbox.org", "post.de", "example.com", "uni-wien.ac.at"]
_IBANS = {"DE": 18, "NL": 14, "GB": 18, "FR": 23, "AT": 16, "ES": 20}


class Maker:
    """Makes values, all from one seed."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)  # noqa: S311  a test's
        self.people = [pair for pair in made_people.PAIRS if self.r.random() < 0.4]

    def digits(self, count: int) -> str:
        return made_people.digits(self.r, count)

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
        packed = made_people.luhn(body + self.digits(15 - len(body)))
        return packed if self.r.random() < 0.5 else "-".join(packed[i : i + 4] for i in range(0, 16, 4))

    def ip(self) -> str:
        if self.r.random() < 0.2:
            return f"2a02:{self.digits(3)}:{self.digits(4)}::{self.digits(2)}"
        return ".".join(str(self.r.randint(*ends)) for ends in ((11, 223), (0, 255), (0, 255), (1, 254)))

    def personal(self, type_: str) -> Callable[[], str]:
        """Choose what a column of the type has; what stands alone in its value only where it may."""
        r = self.r
        anywhere = [self.email, self.phone, self.iban, self.card, self.ip, self.person]
        number = r.choice(list(made_people.NUMBERS.values()))
        whole = [lambda: number(r), lambda: made_people.street(r), lambda: made_people.login(r)]
        return r.choice(anywhere if type_ == "tsvector" else [*anywhere, *whole])

    def harmless(self) -> Callable[[], str]:
        r, d = self.r, self.digits
        return r.choice(
            [
                lambda: self.some(4),
                lambda: self.some(2).title(),
                lambda: f"{self.some(1).title()} {r.choice(['GmbH', 'Ltd', 'SA', 'Group'])}",
                lambda: f"{r.randint(1, 20)}.{r.randint(0, 20)}.{r.randint(0, 12)}",
                lambda: f"{r.randint(1, 9)}.{r.randint(0, 9)}.{r.randint(0, 30)}.{r.randint(0, 9)}",
                lambda: f"20{d(2)}-0{r.randint(1, 9)}-1{d(1)} 1{d(1)}:00:00+00:00",
                lambda: f"17{d(8)}",
                lambda: f"17{d(11)}",
                lambda: d(16),
                lambda: f"1{d(8)}",
                lambda: f"1{d(10)}",
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
                lambda: f"Row {r.randint(1, 40)}, Seat {r.randint(1, 60)}",
                lambda: f"{self.some(1)}-{self.some(1)}-{r.randint(1, 99)}",
            ]
        )


_NEUTRAL = ["field_{n}", "data_{n}", "value{n}", "extra_{n}", "info{n}", "blob_{n}", "payload_{n}", "col{n}"]
# What a name says, by the types that it has then.
_MEANINGS = {
    "text": """
        first_name last_name full_name surname street street_address postal_code zip_code phone mobile_phone
        home_phone email e_mail ssn passport_number national_id tax_id iban bank_account card_number gender
        nationality username password api_key access_token ip_address birth_place vorname nachname strasse plz
        telefon geburtsort anschrift kontonummer passwort prenom nom_famille adresse code_postal courriel
        numero_secu mot_de_passe apellidos correo_electronico direccion codigo_postal telefono contrasena
        cognome indirizzo codice_fiscale cellulare achternaam voornaam geboorteplaats rekeningnummer
        wachtwoord imie nazwisko adres pesel haslo soyad dogum_yeri tc_kimlik_no sifre sobrenome endereco cpf
        senha efternamn fornamn personnummer losenord gatuadress religion blood_group marital_status
        """,
    "date": "birthday date_of_birth birth_date geburtsdatum date_naissance fecha_nacimiento data_nascita "
    "geboortedatum data_urodzenia dogum_tarihi data_nascimento fodelsedatum date_of_death",
    "numeric": "salary monthly_wage gehalt salaire salario stipendio wynagrodzenie maas",
    "int8": "ssn phone card_number bsn telefon",
}
_BEFORE = ["", "", "", "customer_", "billing_", "primary_", "old_", "contact_", "kunden_", "client_"]
_AFTER = ["", "", "", "_1", "_2", "_old", "_raw", "_text"]
# What makes something else of a personal word, or of a thing that has a name.
_NEAR = {
    "text": "{thing}_name {personal}_template {personal}_type {personal}_format {personal}_label "
    "{personal}_status {personal}_provider {personal}_regex has_{personal} show_{personal} "
    "tipo_{personal} max_{personal} "
    "{thing}_code {thing}_title {thing}_url {thing} {thing}_version {thing}_note",
    "bool": "{personal}_verified {personal}_required has_{personal}",
    "int4": "{personal}_count {personal}_id {personal}_length {thing}_id {thing}_count",
    "timestamptz": "{personal}_changed_at {thing}_created_at {personal}_verified_at",
    "numeric": "{thing}_price {thing}_weight {personal}_cost",
}
_PERSONAL_WORDS = ["email", "phone", "address", "first_name", "username", "card", "street", "iban"]
_THINGS = """
    product file event company category hotel project server team shipment recipe tooltip citation capacity
    scorecard namespace ownership invoice warehouse course template campaign vehicle release
""".split()  # noqa: SIM905  a list of words


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
        name, type_ = _telling(r) if personal else _near(r)
        return Made(f"{name}__{number}", type_, personal, [_plain(make, type_) for _ in range(rows)])
    type_ = r.choice(["text", "text", "varchar(400)", "text[]", "jsonb", "json", "tsvector", "citext"])
    value = make.personal(type_) if personal else make.harmless()
    share = r.choice([1.0, 1.0, 0.3])  # a text among others has it
    values = [_wrapped(make, value() if r.random() <= share else make.some(5), type_) for _ in range(rows)]
    if share < 1 and personal:
        values[0] = _wrapped(make, f"{make.some(3)}, {value()}, {make.some(2)}", type_)
    return Made(r.choice(_NEUTRAL).format(n=number), type_, personal, values)


def _telling(r: random.Random) -> tuple[str, str]:
    type_ = r.choices(list(_MEANINGS), [8, 2, 1, 1])[0]
    meaning = r.choice(_MEANINGS[type_].split())
    return _joined(r, f"{r.choice(_BEFORE)}{meaning}{r.choice(_AFTER)}"), type_


def _near(r: random.Random) -> tuple[str, str]:
    type_ = r.choices(list(_NEAR), [8, 1, 2, 1, 1])[0]
    form = r.choice(_NEAR[type_].split())
    return _joined(r, form.format(thing=r.choice(_THINGS), personal=r.choice(_PERSONAL_WORDS))), type_


def _joined(r: random.Random, name: str) -> str:
    """Join the words as people do: street_address, streetAddress, StreetAddress, STREET_ADDRESS."""
    camel = string.capwords(name, "_").replace("_", "")
    return r.choice([name, name, camel, camel[0].lower() + camel[1:], name.upper()])


def _plain(make: Maker, type_: str) -> object:
    made = {
        "date": "2001-02-03",
        "timestamptz": "2001-02-03T04:05Z",
        "bool": "true",
        "numeric": "12.5",
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


def create(
    connection: psycopg.Connection[tuple[object, ...]], make: Maker, made: list[Made]
) -> dict[tuple[str, str], Made]:
    """Make tables of ten columns each, and Django's users; the columns by table and name."""
    run, cursor = connection.execute, connection.cursor()
    run(
        "CREATE TABLE auth_user (id int PRIMARY KEY, username text, first_name text, last_name text, "
        "email text, password text)"
    )
    cursor.executemany(
        "INSERT INTO auth_user VALUES (%s, %s, %s, %s, '', '!')",
        [(at, f"{first}{at}".lower(), first, last) for at, (first, last) in enumerate(make.people)],
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
        casts = [
            sql.SQL("to_tsvector('english', %s)" if one.type == "tsvector" else f"%s::text::{one.type}")
            if not one.type.endswith("[]")
            else sql.SQL("%s::text[]")
            for one in some
        ]
        cursor.executemany(
            sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(table), sql.SQL(", ").join(casts)),
            [
                [one.values[row] if row < len(one.values) else None for one in some]
                for row in range(max(len(one.values) for one in some))
            ],
        )
        places.update({(f"public.{table}", name): one for name, one in zip(unique, some, strict=True)})
    return places
