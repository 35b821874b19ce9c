"""Columns that look personal are found by name, by table, by type and by what is in them."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from django_testenv.stage_copy import catalogue, personal, personal_names, personal_tables
from django_testenv.stage_copy.model import Column, Table
from django_testenv.stage_copy.options import Options
from tests.runtime.stage_copy import corpus
from tests.runtime.stage_copy.copies import PASSWORD, run_command
from tests.runtime.stage_copy.transfers import make_target, only_error

if TYPE_CHECKING:
    from tests.runtime.stage_copy.copies import Copies


def table(name: str = "shop_thing", *columns: Column) -> Table:
    return Table(1, "public", name, columns, pages=1, size=1, estimate=1)


def looks(name: str, type_: str, of: str = "shop_thing") -> bool:
    return bool(personal_names.why(table(of), Column(name, type_)))


def looks_in(of: str, column: str) -> bool:
    name, type_ = column.split(":")
    return looks(name, type_, of)


PERSONAL = [
    "ssn:integer",
    "salary:numeric",
    "card_number:bigint",
    "birthday:date",
    "phonenumber:text",
    "emailaddress:text",
    "ipaddress:text",
    "customer_name:text",
    "bank_account:text",
    "contactEmail:text",
    "HomePhone2:text",
    "firstname:text",
    "FIRST_NAME:text",
    "dateofbirth:date",
    "zip_code:text",
    "nationalId:text",
    "tax_id:text",
    "accountno:text",
    "prénom:text",
    "geburtsdatum:date",
    "reset_token:uuid",
    "last_ip:inet",
    "client:inet",
    "acctNumber:text",
    "remoteaddr:text",
    "recovery_codes:text",
    "apikey:text",
    "birthyear:integer",
    "userName:text",
    "creditcardnumber:text",
    "nextOfKin:text",
    "mothersMaidenName:text",
    "postal_code:text",
    "steueridentifikationsnummer:text",
    "notfallKontakt:text",
    "geb_datum:date",
    "staatsangehörigkeit:text",
    "mot_de_passe:text",
    "numéro_sécurité_sociale:text",
    "salaire_brut:numeric",
    "contraseña:text",
    "números_telefónicos:text",
    "cuenta_bancaria:text",
    "ad_soyad:text",
    "doğum_tarihi:date",
    "tc_kimlik_no:bigint",
    "şifre:text",
    "nazwiskoPanieńskie:text",
    "telemóvel:text",
    "huisnummer:text",
    "kodPocztowy:text",
    "gatuadress:text",
    "miejscowość:text",
    "partita_iva:text",
    "personeelsnummer:text",
    "conta_bancária:text",
    "obywatelstwo:text",
    "nome_completo:text",
    "intestatario:text",
    "apelido:text",
    "kundentelefonnummer:text",  # a compound
    "patientengeburtsdatum:date",
    "tel_nummer:text",  # every word for "number"
    "numero_cuenta:text",
    "passport_id:text",  # no foreign key, as a text
    "email_id:text",
    "l_name:text",
    "attendee_name_cached:text",
    "consignee_name:text",  # "ee" is a person
    "nr_lokalu:text",
    "death_date:date",
    "approved_by:text",
    "applicant_sex:smallint",
]
NOT = [
    "nombre_producto:text",
    "nom_produit:text",
    "ürün_ad\u0131:text",
    "ad_id:text",
    "fecha_envio:date",
    "teslim_tarihi:date",
    "rechnungsnummer:text",
    "title:text",
    "email_verified:boolean",
    "phones:bigint",
    "card_type:text",
    "token_count:integer",
    "address_type:text",
    "ship:text",
    "product_name:text",
    "last_login:timestamp",
    "author_id:uuid",
    "tax_rate:numeric",
    "relationship:text",
    "recipe:text",
    "zip_file:text",
    "email_template:text",
    "hostname:text",
    "created_at:date",
    "name:text",
    "nullable:text",
    "citation:text",
    "capacity:text",
    "support:text",
    "nazwa:text",
    "compte_de_résultat:text",
    "has_email:text",  # a word before takes it back
    "tipo_direccion:text",
    "max_addresses:text",
    "num_phones:integer",
    "email_template_body:text",  # a word between, too
    "phone_type_other:text",
    "signature_checksum:text",
    "avatar_url:text",
    "passport_id:integer",
    "committee_name:text",
    "placeholder_name:text",
    "sorted_by:text",
    "powered_by:text",
    "bic:text",
    "blood_bank:text",
    "phone:smallint",
    "netmask:inet",
    "note:text",
    "numero:text",
    "age:integer",
    "data:text",
]


@pytest.mark.parametrize("column", PERSONAL)
def test_a_name_that_means_personal_data_is_known_however_it_is_written(column: str) -> None:
    assert looks(*column.split(":"))


@pytest.mark.parametrize("column", NOT)
def test_a_name_that_only_comes_near_is_none(column: str) -> None:
    assert not looks(*column.split(":"))


@pytest.mark.parametrize(
    "of", ["customers", "shop_customer", "crm_person", "userprofile", "shopcustomer", "pessoas"]
)
def test_a_name_in_a_table_of_people_is_a_persons(of: str) -> None:
    assert looks("name", "text", of)
    assert not looks("title", "text", of)
    assert not looks("name", "text", "shop_product")


@pytest.mark.parametrize(
    ("of", "column", "thing"),
    [("empleado", "nombre", "producto"), ("personnes", "nom", "produit"), ("müşteri", "ad\u0131", "ürün")],
)
def test_the_words_for_a_name_are_those_of_more_languages(of: str, column: str, thing: str) -> None:
    assert looks(column, "text", of)
    assert not looks(column, "text", thing)


@pytest.mark.parametrize(
    ("column", "beside"),
    [
        ("nome:text", "cognome:text"),
        ("numero:text", "calle:text"),
        ("note:text", "date_of_birth:date"),
        ("photo_url:text", "gender:text"),
        ("cogn:text", "data_nascita:date"),
    ],
)
def test_a_table_is_known_to_be_of_people_by_its_other_columns(column: str, beside: str) -> None:
    columns = [Column(name, type_) for name, _, type_ in (each.partition(":") for each in (column, beside))]
    assert personal_names.why(table("thing", *columns), columns[0])
    assert not personal_names.why(table("thing", columns[0]), columns[0])


@pytest.mark.parametrize("column", ["height:integer", "sick_note:text", "avatar_url:text", "altura:numeric"])
def test_a_table_of_people_says_of_each_what_means_nothing_elsewhere(column: str) -> None:
    assert looks_in("patients", column)
    assert looks_in("pracownicy", column)
    assert not looks_in("shop_product", column)


@pytest.mark.parametrize("column", ["city:text", "latitude:numeric", "lat:numeric"])
def test_the_town_and_the_position_of_a_place_are_nobodys(column: str) -> None:
    assert looks_in("profile", column)
    assert not looks_in("weather_stations", column)
    assert not looks_in("venue", column)


def test_the_reason_says_what_the_name_means() -> None:
    telling = {"strasse": "an address", "geb_datum": "a birth or a death", "iban": "an account or a card"}
    for name, meaning in telling.items():
        assert personal_names.why(table(), Column(name, "text")) == f"its name: {meaning}"


@pytest.mark.parametrize("key", ["prénom", "Straße", "doğumTarihi", "vorName", "apellidos"])
def test_a_key_of_a_document_is_known_with_its_accents(copies: Copies, key: str) -> None:
    with copies.source_server.connect() as connection:
        connection.execute(
            "CREATE TABLE doc AS SELECT jsonb_build_object(%s::text, 'x', 'größe', 4) AS v", [key]
        )
        try:
            options = Options.read({}, key="made-up")
            found = personal.findings(connection, catalogue.tables(connection), options)
        finally:
            connection.execute("DROP TABLE doc")
    assert [one.why.partition(" have ")[2] for one in found] == ["a key that looks personal"]


def test_words_and_globs_of_the_project_count_too() -> None:
    nick = Column("nick", "text")
    assert personal_names.why(table("t", nick), nick, ["ni*"]) == 'STAGE_COPY["personal"] has "ni*"'


@pytest.mark.parametrize(
    "where",
    ["django_admin_log.object_repr", "django_session.session_data", "account_emailconfirmation.key",
     "socialaccount_socialaccount.extra_data", "social_auth_usersocialauth.uid", "authtoken_token.key"],
)  # fmt: skip
def test_the_tables_of_django_and_of_common_packages_are_known(where: str) -> None:
    name, _, column = where.partition(".")
    assert personal_tables.why(table(name), Column(column, "text"))
    assert not personal_tables.why(table(name), Column("id", "integer"))


@contextlib.contextmanager
def staging(copies: Copies, name: str, *statements: str) -> Iterator[str]:
    copies.make_source(
        name,
        "CREATE EXTENSION citext",
        "CREATE TABLE auth_user (id int, password text, username text, first_name text, last_name text)",
        "INSERT INTO auth_user VALUES (1, '!', 'adal', 'Ada', 'Lovelace'), (2, '!', 'mb', 'Mia', 'Baker')",
        *statements,
    )
    try:
        yield name
    finally:
        copies.source_server.run(f"DROP DATABASE {name} WITH (FORCE)")


VALUES = {
    "an e-mail address": "write to ada@corp.com soon",
    "a telephone number": "call +49 170 1234567 now",
    "an IBAN": "to DE89 3704 0044 0532 0130 00 please",
    "a card number": "with 4111 1111 1111 1111 today",
    "an IP address": "came from 203.0.113.77 twice",
    "the name of a user": "seen by Lovelace, Ada again",
}
MADE = {
    "a": ("text", "{}::text"),
    "b": ("text[]", "ARRAY['other', {}::text]"),
    "c": ("jsonb", "jsonb_build_object('k', jsonb_build_array('x', {}::text))"),
    "d": ("json", "json_build_object('k', {}::text)"),
    "e": ("tsvector", "to_tsvector('english', {})"),
    "f": ("varchar(90)", "{}::text"),
    "g": ("citext", "{}::text"),
    "h": ("bytea", "convert_to({}::text, 'UTF8')"),
}


def test_what_is_in_a_column_is_found_whatever_its_type(copies: Copies) -> None:
    tables = []
    for number, value in enumerate(VALUES.values()):
        fields = ", ".join(f"{name} {type_}" for name, (type_, _) in MADE.items())
        made = ", ".join(expression.format(f"'{value}'") for _, expression in MADE.values())
        tables += [f"CREATE TABLE t{number} ({fields})", f"INSERT INTO t{number} SELECT {made}"]
        tables += [f"INSERT INTO t{number} (a) SELECT 'nothing here ' || i FROM generate_series(1, 30) i"]
    with (
        staging(copies, "in_columns", *tables) as name,
        copies.source_server.connect(name, "reader", PASSWORD) as source,
    ):
        found = personal.findings(source, catalogue.tables(source), Options.read({}, key="made-up"))
    reasons = {(one.table, one.column): one.why for one in found}
    for number, what in enumerate(VALUES):
        for column in MADE:
            assert reasons.pop((f"public.t{number}", column)).endswith(what), (what, column)
    assert {of for of, _ in reasons} == {"public.auth_user"}


def test_of_a_partitioned_table_each_column_is_reported_once_by_the_name_that_a_rule_has(
    copies: Copies,
) -> None:
    with (
        staging(
            copies,
            "in_partitions",
            "CREATE TABLE visit (id int, remark text, phone text, data jsonb) PARTITION BY RANGE (id)",
            "CREATE TABLE visit_a PARTITION OF visit FOR VALUES FROM (0) TO (10)",
            "CREATE TABLE visit_b PARTITION OF visit FOR VALUES FROM (10) TO (20)",
            """INSERT INTO visit VALUES (1, 'x', '', '{"a": "ada@corp.com", "b": "ada@corp.com"}')""",
            "INSERT INTO visit VALUES (11, 'write to ada@corp.com', '', NULL)",
        ) as name,
        copies.source_server.connect(name, "reader", PASSWORD) as source,
    ):
        tables = catalogue.tables(source)
        for paths, left in ({"a": "email"}, True), ({"a": "email", "b": "email"}, False):
            options = Options.read({"mask": {"visit.data": {"json": paths}}}, key="made-up")
            found = personal.findings(source, tables, options)
            columns = [one.column for one in found if one.table == "public.visit"]
            assert sorted(columns) == (["data"] if left else []) + ["phone", "remark"]


def test_the_refusal_says_table_column_and_why_and_shows_no_value(
    copies: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    users = {f"auth_user.{name}": "name" for name in ("username", "first_name", "last_name")}
    mask = {**users, "auth_user.password": {"value": "!"}}
    with staging(
        copies,
        "refused_mask",
        "CREATE TABLE django_admin_log (id int, object_repr text)",
        "CREATE TABLE doc (id int, body text, search tsvector)",
        "INSERT INTO doc VALUES (1, 'ada@corp.com', 'ada')",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    ) as name:
        target = make_target(copies)
        assert run_command(copies, name, target, {"mask": mask}, "--require-mask") == 3
        error = only_error(capsys)
        assert "public.django_admin_log.object_repr (what an administrator changed)" in error
        assert "public.doc.body (1 of 1 sampled values have an e-mail address)" in error
        assert "ada@corp" not in error
        mask |= {"django_admin_log.object_repr": "null", "doc.body": "null"}
        assert run_command(copies, name, target, {"mask": mask}, "--require-mask") == 3
        assert "public.doc.search (a search index beside columns that have rules" in only_error(capsys)
        mask["doc.search"] = "null"
        assert run_command(copies, name, target, {"mask": mask}, "--require-mask") == 0


@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.nightly)])
def test_of_three_hundred_made_up_columns_nearly_all_are_judged_rightly(copies: Copies, times: int) -> None:
    for _ in range(times):
        judge_made_up_columns(copies, secrets.randbelow(10**6))  # a new database each time


def judge_made_up_columns(copies: Copies, seed: int) -> None:
    name = f"corpus{seed}"
    copies.make_source(name, "CREATE EXTENSION citext")
    try:
        with copies.source_server.connect(name) as source:
            with source.transaction():
                places = corpus.create(source, *corpus.columns(seed, 300))
            found = personal.findings(source, catalogue.tables(source), Options.read({}, key="made-up"))
    finally:
        copies.source_server.run(f"DROP DATABASE {name} WITH (FORCE)")
    reported = {(one.table, one.column) for one in found if one.table != "public.auth_user"}
    right = {place for place, made in places.items() if made.personal}
    assert len(right & reported) >= 0.95 * len(right), (seed, sorted(right - reported))
    assert len(right & reported) >= 0.8 * len(reported), (seed, sorted(reported - right))
