"""What hangs on the target, and not in it, is there after the swap: rights, settings, owner, comment."""

from __future__ import annotations

import psycopg
import pytest

from django_testenv.stage_copy import copy_metadata
from tests.runtime.stage_copy.copies import PASSWORD, Attempt, Copies
from tests.runtime.stage_copy.transfers import beside, make_target

SOURCE = "attributes"
EVERYTHING = """
SELECT pg_get_userbyid(datdba), datconnlimit, datistemplate, ARRAY(SELECT a::text
    FROM unnest(coalesce(datacl, acldefault('d', datdba))) a ORDER BY 1), ARRAY(
    SELECT setrole::regrole || ' ' || setting FROM pg_db_role_setting, unnest(setconfig) setting
    WHERE setdatabase = d.oid ORDER BY 1) FROM pg_database d WHERE datname = '{}'
"""


@pytest.fixture(scope="module", autouse=True)
def source(copies: Copies) -> None:
    copies.make_source(SOURCE, "CREATE TABLE person (id int PRIMARY KEY)")
    server = copies.target_server
    for name in ("kept_out", "let_in"):
        server.create_role(name, PASSWORD)
    server.run("CREATE ROLE team NOLOGIN CREATEDB", "GRANT team TO tester")
    server.run("GRANT SET ON PARAMETER app.words TO tester")


def hung(copies: Copies, target: str) -> object:
    return copies.rows(copies.target_server, "postgres", EVERYTHING.format(target))


def change(copies: Copies, target: str, *changes: str) -> object:
    copies.target_server.run(*(each.format(f"DATABASE {target}") for each in changes))
    return hung(copies, target)


def test_what_hangs_on_the_target_hangs_on_what_takes_its_place(copies: Copies) -> None:
    target = make_target(copies)
    before = change(
        copies,
        target,
        "REVOKE CONNECT ON {} FROM PUBLIC",
        "GRANT CONNECT, TEMPORARY ON {} TO let_in WITH GRANT OPTION",
        "GRANT CREATE ON {} TO let_in",
        "REVOKE TEMPORARY ON {} FROM tester",
        "ALTER {} CONNECTION LIMIT 7",
        "ALTER {} SET timezone = 'Asia/Kathmandu'",
        """ALTER {} SET search_path = "$user", public, 'odd, "name"'""",
        "ALTER {} SET app.words = 'it''s, a \"value\"'",
        "ALTER {} SET default_transaction_read_only = on",
        "ALTER ROLE tester IN {} SET statement_timeout = '61s'",
        """ALTER ROLE tester IN {} SET search_path = ''""",
        "COMMENT ON {} IS E'the team''s\\nown'",
        "ALTER {} OWNER TO team",
    )
    for _ in range(2):
        assert Attempt(copies, SOURCE, target).run().left == []
        assert hung(copies, target) == before
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        copies.target_server.connect(target, "kept_out", PASSWORD)
    copies.target_server.connect(target, "let_in", PASSWORD).close()
    with copies.target_server.connect() as server:
        assert copy_metadata.words(server, target) == "the team's\nown"
        stamp = copy_metadata.of(server, target)
    assert stamp
    assert stamp["source"] == SOURCE
    assert beside(copies, target) == []


def test_what_the_role_may_not_set_is_in_the_receipt_without_its_value(copies: Copies) -> None:
    target = make_target(copies)
    change(
        copies,
        target,
        "ALTER {} SET log_statement = 'ddl'",
        "ALTER ROLE kept_out IN {} SET app.token = 'hidden-value'",
    )
    attempt = Attempt(copies, SOURCE, target)
    lost = [
        f"the setting {name} of database {target} is lost: the target's role may not set it"
        for name in ("log_statement", "app.token of role kept_out")
    ]
    assert attempt.run().left == attempt.told.lines == lost


def test_a_template_is_replaced_as_well(copies: Copies) -> None:
    target = make_target(copies)
    before = change(copies, target, "ALTER {} IS_TEMPLATE true")
    assert Attempt(copies, SOURCE, target).run().left == []
    assert hung(copies, target) == before
    assert beside(copies, target) == []
    change(copies, target, "ALTER {} IS_TEMPLATE false")


def test_a_branchs_first_database_is_as_closed_as_the_shared_one(copies: Copies) -> None:
    shared = make_target(copies)
    change(copies, shared, "REVOKE CONNECT ON {} FROM PUBLIC", "ALTER {} SET timezone = 'UTC'")
    branch = f"{shared}_branch"
    Attempt(copies, SOURCE, branch, shared=shared).run()
    assert hung(copies, branch) == hung(copies, shared)
