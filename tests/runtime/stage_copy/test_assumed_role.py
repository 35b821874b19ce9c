"""Where the project's settings assume a role, the copy belongs to that role."""

from __future__ import annotations

import json

import pytest

from django_testenv.stage_copy.problems import Failed
from tests.runtime.stage_copy.copies import PASSWORD, Copies, run_command
from tests.runtime.stage_copy.transfers import beside, numbers, only_error

SOURCE = "assumed"
OWNERS = """
SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()
"""


@pytest.fixture(scope="module", autouse=True)
def source(copies: Copies) -> None:
    copies.make_source(
        SOURCE,
        "CREATE TABLE person (id serial PRIMARY KEY)",
        "INSERT INTO person SELECT FROM generate_series(1, 9)",
        "CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql RETURN $1 * 2",
        "CREATE VIEW people AS SELECT * FROM person",
        "SELECT lo_from_bytea(1, 'large')",
        "GRANT SELECT ON LARGE OBJECT 1 TO reader",
    )
    server = copies.target_server
    server.run("CREATE ROLE makes_none NOLOGIN", "CREATE ROLE makes_some NOLOGIN CREATEDB")
    server.run("GRANT makes_none, makes_some TO tester", "CREATE ROLE of_others NOLOGIN")


@pytest.mark.parametrize("role", ["makes_none", "makes_some"])
@pytest.mark.parametrize("golden", [None, pytest.param({}, marks=pytest.mark.nightly)])
def test_all_of_the_copy_belongs_to_the_role_that_the_settings_assume(
    copies: Copies, role: str, golden: object, capsys: pytest.CaptureFixture[str]
) -> None:
    target = f"assumed{next(numbers)}x"
    server, options = copies.target_server, {"assume_role": role}
    with server.connect(role="tester", password=PASSWORD) as connection:
        connection.execute(f"CREATE DATABASE {target} OWNER {role}".encode())
    marking = ("--mark-disposable", target, "--confirm", target)
    assert run_command(copies, SOURCE, target, {}, *marking, options=options) == 0, capsys.readouterr().err
    setting = {"golden": golden}
    for _ in range(2):
        code = run_command(copies, SOURCE, target, setting, "--json", "--fresh", options=options)
        said = capsys.readouterr()
        assert code == 0, said.err
        assert json.loads(said.out.splitlines()[-1])["left"] == []
        assert copies.rows(server, target, OWNERS) == [(role,)]
        query = "SELECT pg_get_userbyid(lomowner)::text FROM pg_largeobject_metadata"
        assert copies.rows(server, target, query) == [(role,)]
    assert beside(copies, target) == []


def test_a_role_that_may_not_be_assumed_is_named(copies: Copies, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(copies, SOURCE, "any", {}, options={"assume_role": "of_others"}) == Failed.exit_code
    assert 'permission denied to set role "of_others"' in only_error(capsys)
