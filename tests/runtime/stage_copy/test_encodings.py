"""Databases of other encodings than UTF-8: names and values arrive, and functions of rules take text."""

from __future__ import annotations

import pytest

from tests.runtime.stage_copy.copies import PASSWORD, Attempt, Copies
from tests.runtime.stage_copy.transfers import make_target


def shout(value: str | None) -> str | None:
    return None if value is None else f"{value}!"


@pytest.mark.parametrize(
    "encoding", ["LATIN1", "SQL_ASCII", pytest.param("WIN1252", marks=pytest.mark.nightly)]
)
def test_what_another_encoding_holds_arrives_byte_for_byte(copies: Copies, encoding: str) -> None:
    source = f"encoded_{encoding.lower()}"
    with copies.source_server.connect(role="owner", password=PASSWORD) as connection:
        connection.execute(f"CREATE DATABASE {source} TEMPLATE template0 ENCODING '{encoding}'".encode())
    with copies.source_server.connect(source, "owner", PASSWORD) as connection:
        connection.execute("SET client_encoding = UTF8")
        connection.execute(
            'CREATE TABLE "tëst" (id serial PRIMARY KEY, "wörds" text, plain text, mail text)'.encode()
        )
        connection.execute("""COMMENT ON TABLE "tëst" IS 'ünter'""".encode())
        row = """INSERT INTO "tëst" ("wörds", plain, mail) VALUES ('grün', 'größer', 'grün')"""
        connection.execute(row.encode())
        if encoding == "SQL_ASCII":
            connection.execute("SET client_encoding = SQL_ASCII")
            connection.execute(
                b'INSERT INTO "t\xc3\xabst" ("w\xc3\xb6rds", plain, mail) '
                b"VALUES ('\xff\xfe is raw', '\xff\xfe too', '\xff')"
            )
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        connection.execute("GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO reader")
    target = make_target(copies)
    setting = {"verify": True, "mask": {"tëst.plain": {"call": f"{__name__}.shout"}, "tëst.mail": "email"}}
    assert Attempt(copies, source, target, setting).run().left == []
    query = """SELECT "wörds"::bytea::text, encode(plain::bytea, 'escape') FROM "tëst" ORDER BY id"""
    about = """SELECT current_setting('server_encoding'), obj_description('"tëst"'::regclass)"""
    found = []
    for server, name in ((copies.source_server, source), (copies.target_server, target)):
        with server.connect(name) as connection:
            connection.execute("SET client_encoding = UTF8")
            found.append(connection.execute(query.encode()).fetchall())
            assert connection.execute(about.encode()).fetchall() == [(encoding, "ünter")]
            invented = connection.execute(
                """SELECT bool_and(mail LIKE '%@%.invalid') FROM "tëst" """.encode()
            )
            assert invented.fetchone() == (server is copies.target_server and name == target,)
    sent, arrived = found
    assert arrived == [(words, None if plain is None else f"{plain}!") for words, plain in sent]
