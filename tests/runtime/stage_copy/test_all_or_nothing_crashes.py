"""A server that crashes, or ends one session, ends the copy in one line; the target is old or new."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from django_testenv.stage_copy.disposable_registry import beside
from tests.runtime.stage_copy.copies import PASSWORD, Copies, make_roles
from tests.runtime.stage_copy.scenes import (
    BANK,
    PHASES,
    SHOP,
    Scene,
    deploys,
    make_source,
    source_database,
    spread,
)
from tests.runtime.stage_copy.servers import postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", autouse=True)
def bank(copies: Copies) -> Iterator[None]:
    with source_database(copies.source_server, BANK):
        yield


@pytest.fixture(scope="module")
def own_servers() -> Iterator[Copies]:
    """Servers that may crash without a test of another module noticing."""
    with postgres_server() as source, postgres_server(durable=True) as target:
        made = make_roles(source, target)
        make_source(source, SHOP)
        yield made


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param(PHASES[:2], id="each phase"),
        pytest.param(3 * spread(10), id="swept", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize("which_server", ["source", "target"])
def test_a_server_that_crashes_ends_the_copy_in_one_line_and_leaves_the_target_old_or_new(
    own_servers: Copies, tmp_path: Path, which_server: str, moments: list[str | float]
) -> None:
    server = own_servers.source_server if which_server == "source" else own_servers.target_server
    with contextlib.closing(Scene(own_servers, SHOP, "crashed", tmp_path)) as scene:
        _, seconds = scene.complete(next(deploys))
        problems: list[str] = []
        phases: set[str] = set()
        for number, moment in enumerate(moments):
            if number >= 10 and len(problems) >= 3 and len(phases) > 1:  # a busy machine meets few phases
                break
            old, new = scene.known, scene.change_source(deploy := next(deploys))
            copying = scene.start(deploy)
            copying.wait_for(moment, seconds)
            server.crash()
            code = copying.end()
            server.start()
            which = scene.which(old, new)
            if code:
                problems.append(copying.problem)
                phases.add(copying.phase)
                assert which == "old" or which_server == "target"
            else:
                assert which == "new"
            if number % 2:
                how, needed = scene.complete(deploy)
                assert how == ("kept" if which == "new" else "copied")
                seconds = seconds if how == "kept" else needed
    assert len(problems) >= min(3, len(moments))
    assert len(phases) >= 2, phases


@pytest.mark.parametrize(
    ("which_server", "command"), [("source", "COPY TO"), ("target", "COPY FROM")], ids=["source", "target"]
)
def test_one_session_that_is_ended_while_rows_flow_ends_the_copy_in_one_line_and_the_target_stays(
    copies: Copies, tmp_path: Path, which_server: str, command: str
) -> None:
    server = copies.source_server if which_server == "source" else copies.target_server
    database = BANK if which_server == "source" else beside("ended")[0]
    ending = """SELECT pg_terminate_backend(pid) FROM pg_stat_progress_copy
        JOIN pg_stat_activity a USING (pid) WHERE a.datname = %s AND command = %s AND query ~ 'ledger'"""
    with contextlib.closing(Scene(copies, BANK, "ended", tmp_path)) as scene:
        with copies.target_server.connect(role="tester", password=PASSWORD) as connection:
            connection.execute("CREATE DATABASE ended")
        copies.target_server.run("CREATE TABLE work AS SELECT 'a tester''s' AS what", database="ended")
        old = scene.arrived()
        copying = scene.start(next(deploys))
        with server.connect() as connection:
            while not connection.execute(ending, [database, command]).fetchone():
                assert copying.running
        assert copying.end() == 4
        # A server that waits to send a row ends without a word.
        assert re.search(
            "ledger could not be copied: .*(terminating connection due|closed the connection)",
            copying.problem,
        )
        assert scene.arrived() == old
        scene.require_nothing_left()
