"""What would end a copy is known in seconds: the plan lists it, and a copy refuses before rows are moved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from django_testenv.stage_copy import blockers, forecast
from django_testenv.stage_copy.problems import Failed, Refused
from tests.runtime.stage_copy.copies import PASSWORD, Copies, Told, make_roles, run_command
from tests.runtime.stage_copy.servers import postgres_server
from tests.runtime.stage_copy.transfers import beside, make_target, only_error, require_untouched

SOURCE, CROWDED = "preflight", "preflight_crowded"


@pytest.fixture(scope="module")
def own() -> Iterator[Copies]:
    with postgres_server(max_locks_per_transaction="10", max_connections="20") as server:
        made = make_roles(server, server)
        server.create_role("visitor", PASSWORD)
        made.make_source(
            SOURCE,
            "CREATE TABLE person (id serial PRIMARY KEY)",
            "CREATE TABLE closed (id int PRIMARY KEY)",
            "CREATE SCHEMA shut",
            "CREATE TABLE shut.inner (id serial)",
            "CREATE TABLE rows_hidden (id int)",
            "ALTER TABLE rows_hidden ENABLE ROW LEVEL SECURITY",
            "SELECT lo_from_bytea(77, 'not to be read')",
            "CREATE MATERIALIZED VIEW bad AS SELECT 1 AS one",
            "REVOKE ALL ON closed FROM reader",
        )
        server.run("REVOKE ALL ON closed FROM reader", database=SOURCE)
        yield made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockers, "_PAUSE", 0.1)
    nothing = forecast.Forecast(to_run=[], unknown_here=[])
    monkeypatch.setattr(forecast, "make", lambda _: nothing)  # it needs a project


def plan(copies: Copies, source: str, target: str, setting: object, capsys: Any) -> dict[str, Any]:
    assert run_command(copies, source, target, setting, "--plan", "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_plan_and_the_copy_name_all_that_may_not_be_read(
    own: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    target = make_target(own)
    unreadable = (
        '"reader" may not read table public.closed, shut.inner: GRANT USAGE on the schemas and SELECT on the '
        'tables, or leave them behind: STAGE_COPY["skip"] = ["table public.closed"]'
    )
    hidden = (
        'row-level security hides rows of table public.rows_hidden from "reader": ALTER ROLE reader BYPASSRLS'
    )
    rights = [unreadable, hidden, '"reader" may not read large object 77: GRANT SELECT on it']
    with own.target_server.connect(target, "visitor", PASSWORD) as visitor:
        found = plan(own, SOURCE, target, {}, capsys)
        who = f'session {visitor.info.backend_pid} of role "visitor"'
    assert sorted(found["obstacles"][:-1]) == sorted(rights)
    assert who in found["obstacles"][-1]
    assert run_command(own, SOURCE, target, {}) == Refused.exit_code
    assert sorted(only_error(capsys).split("; ")) == sorted(rights)
    require_untouched(own, target)


def test_the_plan_makes_the_schema_on_trial_and_leaves_nothing_of_it(
    own: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    target, server = make_target(own), own.source_server
    server.run(
        "GRANT USAGE ON SCHEMA shut TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA shut, public TO reader",
        "GRANT SELECT ON ALL SEQUENCES IN SCHEMA shut TO reader; GRANT SELECT ON LARGE OBJECT 77 TO reader",
        "ALTER ROLE reader BYPASSRLS",
        "CREATE ROLE of_policy",
        "CREATE POLICY hides ON person TO of_policy USING (true)",
        f"ALTER DATABASE {target} SET log_statement = 'ddl'",
        database=SOURCE,
    )
    assert plan(own, SOURCE, target, {}, capsys)["obstacles"] == []
    server.run("CREATE OPERATOR FAMILY family USING btree", database=SOURCE)
    found = plan(own, SOURCE, target, {}, capsys)
    assert len(found["obstacles"]) == 1
    assert found["obstacles"][0].startswith(
        "the schema could not be restored: operator family public.family: "
    )
    require_untouched(own, target)
    found = plan(own, SOURCE, target, {"skip": ["operator family family"]}, capsys)
    assert (found["obstacles"], found["left"]) == (
        [],
        [
            f"the setting log_statement of database {target} is lost: the target's role may not set it",
            "operator family public.family",
        ],
    )
    assert beside(own, target) == []
    assert run_command(own, SOURCE, target, {"skip": ["operator family family"]}) == 0


def test_a_server_without_room_for_the_locks_is_told_how_many_it_needs(
    own: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    own.make_source(CROWDED)
    with own.source_server.connect(CROWDED, "owner", PASSWORD) as connection:
        for part in range(3):
            tables = "".join(f"CREATE TABLE t{part}_{n} ();" for n in range(70))
            connection.execute(tables.encode())
    own.source_server.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", database=CROWDED)
    [said] = plan(own, CROWDED, make_target(own), {}, capsys)["obstacles"]
    assert said == (
        "staging has 210 tables, and its server has room for 200 locks: "
        "set max_locks_per_transaction to 12 there"
    )


def test_a_standby_says_before_rows_are_moved_which_tables_it_cannot_read(copies: Copies) -> None:
    """Rows of unlogged tables do not reach a standby."""
    with postgres_server() as server:
        make_roles(server, server).make_source(
            "standby",
            "CREATE TABLE person AS SELECT generate_series(1, 9) AS id",
            "CREATE UNLOGGED TABLE fleeting (id serial PRIMARY KEY)",
        )
        server.stop()
        (server.data / "standby.signal").touch()
        server.start()
        both, told = Copies(server, copies.target_server), Told()
        with pytest.raises(Failed) as raised:
            both.fill("standby", "of_standby", told=told)
        assert str(raised.value) == (
            "staging is a standby, which lacks the rows of the unlogged table public.fleeting: copy from its "
            'primary, or leave these rows behind: STAGE_COPY["exclude_data"] = ["public.fleeting"]'
        )
        assert "rows" not in told.phases
        setting = {"exclude_data": ["fleeting"], "verify": True}
        assert both.fill("standby", "of_standby", setting).rows == {"public.person": 9}
