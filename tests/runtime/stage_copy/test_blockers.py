"""Who keeps the target from being replaced is named before a row is moved; the target stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from django_testenv.stage_copy import blockers, swap
from django_testenv.stage_copy.database import Database
from django_testenv.stage_copy.engine import fill
from django_testenv.stage_copy.model import Moved, Progress
from django_testenv.stage_copy.options import Options
from django_testenv.stage_copy.problems import Failed, Refused
from tests.runtime.stage_copy.copies import PASSWORD, Attempt, Copies, make_roles, run_command
from tests.runtime.stage_copy.servers import postgres_server
from tests.runtime.stage_copy.transfers import make_target, only_error, require_untouched

SOURCE = "blockers"


@pytest.fixture(scope="module")
def own() -> Iterator[Copies]:
    """A target's server that prepares transactions, and whose roles are ours alone."""
    with postgres_server(max_prepared_transactions="2") as server:
        made = make_roles(server, server)
        server.create_role("visitor", PASSWORD)
        made.make_source(SOURCE, "CREATE TABLE person (id int PRIMARY KEY)")
        yield made


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "_TRIES", 1)  # each takes Postgres five seconds
    monkeypatch.setattr(blockers, "_PAUSE", 0.1)


def test_sessions_and_prepared_transactions_of_others_are_named_at_once(
    own: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    target, server = make_target(own), own.target_server
    with server.connect(target) as connection:
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE half_done ()")
        connection.execute("PREPARE TRANSACTION 'half done'")
    with server.connect(target, "visitor", PASSWORD) as visitor:
        assert run_command(own, SOURCE, target, {}, "--allow-writable-source") == Refused.exit_code
        who = f'session {visitor.info.backend_pid} of role "visitor"'
        prepared = 'prepared transaction "half done" of role "rdsadmin"'
        assert only_error(capsys).startswith(
            f'database "{target}" cannot be replaced while these use it: {who}, {prepared}: close them'
        )
        assert visitor.execute("SELECT current_user").fetchone() == ("visitor",)
    server.run("ROLLBACK PREPARED 'half done'", database=target)
    require_untouched(own, target)
    assert Attempt(own, SOURCE, target).run().how == "copied"


def test_a_session_that_comes_while_rows_flow_is_named_as_well(own: Copies) -> None:
    target, server = make_target(own), own.target_server
    came: list[Any] = []

    def visited(source: Database, into: Database, options: Options, progress: Progress) -> Moved:
        came.append(server.connect(target, "visitor", PASSWORD))
        return fill(source, into, options, progress)

    with pytest.raises(Failed) as raised:
        Attempt(own, SOURCE, target, fill=visited).run()
    with closing(came[0]):
        assert f'session {came[0].info.backend_pid} of role "visitor"' in str(raised.value)
        require_untouched(own, target)


def test_a_role_that_may_end_sessions_ends_those_of_others(own: Copies) -> None:
    target, server = make_target(own), own.target_server
    server.run("GRANT pg_signal_backend TO tester")
    try:
        with closing(server.connect(target, "visitor", PASSWORD)):
            assert Attempt(own, SOURCE, target).run().how == "copied"
    finally:
        server.run("REVOKE pg_signal_backend FROM tester")


class Pooled:
    """A connection through a pooler: it tells a number of its own, and statements go to these processes."""

    def __init__(self, *processes: int) -> None:
        self.info = SimpleNamespace(backend_pid=1)
        self._processes = list(processes)

    def execute(self, _: str) -> Any:
        process = self._processes.pop(0) if len(self._processes) > 1 else self._processes[0]
        return SimpleNamespace(fetchone=lambda: (process,))

    def close(self) -> None:
        self._processes = []


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [([7], [7], True), ([7, 8], [9], True), ([7], [8, 7], True), ([7], [8], False), ([1], [8], False)],
)
def test_a_pooler_that_shares_sessions_is_refused(first: list[int], second: list[int], refused: bool) -> None:  # noqa: FBT001
    connection: Any = Pooled(*first)
    if not refused:
        blockers.require_sessions(connection, lambda: Pooled(*second), "default")  # type: ignore[arg-type, return-value]
        return
    with pytest.raises(Refused, match="leads through a pooler that shares sessions"):
        blockers.require_sessions(connection, lambda: Pooled(*second), "default")  # type: ignore[arg-type, return-value]
