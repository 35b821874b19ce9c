"""The same for nondeterministic collations, which the server of PyPI's wheel lacks: with Debian's server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.runtime.stage_copy import servers
from tests.runtime.stage_copy.copies import Copies, make_roles
from tests.runtime.stage_copy.test_fakes import copied, got
from tests.runtime.stage_copy.test_links import require_equal_as_before

DEBIANS = next(Path("/usr/lib/postgresql").glob("*/bin/initdb"), Path("/nonexistent/initdb")).parent
CI = "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
AI = "CREATE COLLATION ai (provider = icu, locale = 'und-u-ks-level1-kc-true', deterministic = false)"
pytestmark = pytest.mark.skipif(not DEBIANS.exists(), reason="Debian's Postgres is not installed")


class Debians(servers.PostgresServer):
    """A server of the system's package."""

    def start(self) -> None:
        words = ["-clisten_addresses=", f"-cunix_socket_directories={self.socket}", "-cfsync=off"]
        words += ["-cshared_buffers=32MB", "-cautovacuum=off"]
        with (self.socket / "log").open("ab") as log:
            self.process = subprocess.Popen(
                servers._as_nobody([str(DEBIANS / "postgres"), "-D", str(self.data), *words]),
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd="/",
            )
        self._wait_until_ready()


@contextmanager
def debians() -> Iterator[Debians]:
    server = Debians(servers._home())
    password = server.socket / "password"
    password.write_text(servers.SUPERUSER_PASSWORD)
    password.chmod(0o644)
    words = ["-U", servers.SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "--no-sync"]
    made = [str(DEBIANS / "initdb"), "-D", str(server.data), f"--pwfile={password}", *words]
    subprocess.run(servers._as_nobody(made), check=True, capture_output=True, cwd="/")
    try:
        server.start()
        yield server
    finally:
        server.crash()
        subprocess.run(["rm", "-r", str(server.socket)], check=True)


@pytest.fixture(scope="module")
def icu() -> Iterator[Copies]:
    with ExitStack() as stack:
        one = stack.enter_context(debians())
        yield make_roles(one, one)


@pytest.fixture(autouse=True)
def their_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{DEBIANS}:{os.environ['PATH']}")


@pytest.mark.parametrize("rule", ["email", "name"])
@pytest.mark.parametrize("other", ["text COLLATE ci", "text"])
def test_what_a_collation_that_ignores_case_thinks_equal_stays_equal(
    icu: Copies, rule: str, other: str
) -> None:
    require_equal_as_before(icu, rule, "text COLLATE ci", other, CI)


@pytest.mark.nightly
def test_a_collation_that_minds_case_and_no_accents_keeps_its_keys(icu: Copies) -> None:
    name = copied(
        icu,
        {"person.email": "name"},
        AI,
        "CREATE TABLE person (email text COLLATE ai PRIMARY KEY)",
        "INSERT INTO person VALUES ('Müller'), ('Weiß'), ('müller')",
        "CREATE TABLE visit (email text REFERENCES person)",
        "INSERT INTO visit VALUES ('Muller'), ('Müller'), ('muller')",
    )
    query = "SELECT count(*), count(DISTINCT person.email) FROM person JOIN visit USING (email)"
    assert got(icu, name, query) == [(3, 2)]
