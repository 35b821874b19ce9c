"""Addresses that are not in the settings: service files, password files and variables of libpq."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from django_testenv.stage_copy.database import Database
from django_testenv.stage_copy.problems import Failed
from tests.runtime.stage_copy.copies import PASSWORD, Copies, run_for
from tests.runtime.stage_copy.transfers import make_target

SOURCE, FUNCTIONS = "addresses", "addresses_functions"


@pytest.mark.parametrize("engine", ["django.db.backends.postgresql", "psqlextra.backend"])
def test_services_and_a_password_file_lead_to_both_databases(
    copies: Copies,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    engine: str,
) -> None:
    source = f"{SOURCE}_{engine.partition('.')[0]}"
    copies.make_source(source, "CREATE TABLE person AS SELECT generate_series(1, 9) AS id")
    target = make_target(copies)
    services = tmp_path / "services"
    services.write_text(
        f"[staging]\nhost={copies.source_server.socket}\nuser=reader\ndbname={source}\n"
        f"[testing]\nhost={copies.target_server.socket}\nuser=tester\ndbname={target}\n"
    )
    passwords = tmp_path / "passwords"
    passwords.write_text(f"*:*:*:reader:{PASSWORD}\n*:*:*:tester:{PASSWORD}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("PGDATABASE", "no_such_database")
    stage = {"ENGINE": engine, "OPTIONS": {"service": "staging", "passfile": str(passwords)}}
    default = {"ENGINE": engine, "OPTIONS": {"service": "testing", "passfile": str(passwords)}}
    assert run_for({"stage": stage, "default": default}, "--json") == 0, capsys.readouterr().err
    receipt = json.loads(capsys.readouterr().out)
    assert (receipt["source"], receipt["target"], receipt["rows"]) == (source, target, 9)


def test_a_function_that_relies_on_search_path_is_told_as_the_reason(copies: Copies) -> None:
    copies.make_source(
        FUNCTIONS,
        "CREATE TABLE kind (id int)",
        """CREATE FUNCTION known(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
           'BEGIN RETURN EXISTS (SELECT FROM kind WHERE id = $1); END'""",
        "CREATE TABLE item (id int CHECK (known(id)))",
        "INSERT INTO kind VALUES (1)",
        "INSERT INTO item VALUES (1)",
    )
    with pytest.raises(Failed, match="it may rely on search_path, which is empty in a copy"):
        copies.fill(FUNCTIONS, "addressed")


def test_a_password_of_the_settings_is_not_in_pg_dumps_arguments() -> None:
    entry = {"NAME": "shop", "USER": "me", "PASSWORD": "pw-of-nobody", "OPTIONS": {"sslpassword": "another"}}
    database = Database.from_django("stage", entry)
    assert "dbname=shop" in database.conninfo()
    assert "pw-of-nobody" not in database.conninfo()
    assert "another" not in database.conninfo()
    assert database.environment()["PGPASSWORD"] == "pw-of-nobody"
