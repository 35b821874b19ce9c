"""What is written to the source meanwhile arrives whole or not at all, and waits for nobody."""

from __future__ import annotations

import contextlib
import random
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.runtime.stage_copy.copies import PASSWORD, Copies
from tests.runtime.stage_copy.copying import PATIENCE
from tests.runtime.stage_copy.scenes import BANK, Scene, deploys, source_database
from tests.runtime.stage_copy.servers import BIN, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNBALANCED = """SELECT id, balance, posted FROM account
    FULL JOIN (SELECT account, sum(amount) AS posted FROM ledger GROUP BY 1) l ON l.account = id
    WHERE balance IS DISTINCT FROM posted"""
HELD = """SELECT DISTINCT locktype, mode FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE usename = 'reader' AND database = (SELECT oid FROM pg_database WHERE datname = %(database)s)
    AND locktype <> 'virtualxid' AND (relation IS NULL OR relation >= 16384)"""  # FirstNormalObjectId
BLOCKED = """SELECT blocked.usename::text, blocker.usename::text,
        coalesce(extract(epoch FROM clock_timestamp() - waitstart), 0)::float
    FROM pg_locks JOIN pg_stat_activity blocked USING (pid)
    CROSS JOIN LATERAL unnest(pg_blocking_pids(pid)) AS blocking (other)
    JOIN pg_stat_activity blocker ON blocker.pid = other
    WHERE NOT granted AND blocked.datname = %(database)s"""


@pytest.fixture(scope="module", autouse=True)
def bank(copies: Copies) -> Iterator[None]:
    with source_database(copies.source_server, BANK):
        yield


@dataclass
class Writers:
    """Threads that move money between accounts and open accounts, each time in two tables at once."""

    server: PostgresServer
    count: int = 2
    commits: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _errors: list[BaseException] = field(default_factory=list)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [
            threading.Thread(target=self._work, args=[number], daemon=True) for number in range(self.count)
        ]
        for thread in threads:
            thread.start()
        try:
            deadline = time.monotonic() + PATIENCE
            while not self.commits:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(PATIENCE)
        assert self._errors == []
        assert not any(thread.is_alive() for thread in threads)

    def _work(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311  which accounts is no secret
        try:
            with self.server.connect(BANK, "owner", PASSWORD) as connection:
                post = "INSERT INTO ledger (account, amount, memo) VALUES (%s, %s, 'written meanwhile')"
                while not self._over.is_set():
                    amount = chance.randint(1, 50)
                    giver, taker = sorted(chance.sample(range(1, 25001), 2))
                    with connection.transaction():
                        for account, change in ((giver, -amount), (taker, amount)):
                            connection.execute(
                                "UPDATE account SET balance = balance + %s WHERE id = %s", [change, account]
                            )
                            connection.execute(post, [account, change])
                    with connection.transaction():
                        opened = connection.execute(
                            "INSERT INTO account SELECT nextval('opened'), %s RETURNING id", [amount]
                        ).fetchone()
                        assert opened
                        connection.execute(post, [opened[0], amount])
                    self.commits += 1
        except BaseException as error:  # noqa: BLE001  it is looked at in the test's thread
            self._errors.append(error)


@dataclass
class Seen:
    """What a look at the source's locks every few milliseconds has found."""

    held: set[tuple[str, str]] = field(default_factory=set)  # by the reader: what kind, which mode
    waits: dict[tuple[str, str], float] = field(default_factory=dict)  # seconds; who waited, and for whom

    @property
    def longest_for_the_reader(self) -> float:
        return max((wait for (_, other), wait in self.waits.items() if other == "reader"), default=0)


def watch(server: PostgresServer, goes_on: Callable[[Seen], bool]) -> Seen:
    seen = Seen()
    with server.connect() as connection:
        while goes_on(seen):
            seen.held.update(connection.execute(HELD, {"database": BANK}).fetchall())  # type: ignore[arg-type]  # both are text
            for waiter, other, wait in connection.execute(BLOCKED, {"database": BANK}).fetchall():
                pair = (str(waiter), str(other))
                seen.waits[pair] = max(seen.waits.get(pair, 0), float(str(wait)))
            time.sleep(0.003)
    return seen


@pytest.mark.nightly_from(1)
@pytest.mark.parametrize("setting", [{}, {"jobs": 4, "verify": True}], ids=["whole", "in pieces"])
def test_what_is_written_meanwhile_arrives_whole_or_not_at_all_and_waits_for_nobody(
    copies: Copies, tmp_path: Path, setting: dict[str, object]
) -> None:
    piece = 128 if setting else None
    written = "SELECT count(*), (SELECT last_value FROM ledger_id_seq) - max(id) FROM ledger"
    source, target = copies.source_server, copies.target_server
    with contextlib.closing(Scene(copies, BANK, "balanced", tmp_path, setting, piece)) as scene:
        writers = Writers(source)
        with writers.at_work():
            [(before, _)] = copies.rows(source, BANK, written)
            copying = scene.start(next(deploys))
            during_copy = watch(source, lambda _: copying.running)
            assert copying.end() == 0, copying.lines
            [(after, _)] = copies.rows(source, BANK, written)
            during_dump = watch_pg_dump(copies)
        [(arrived, ahead)] = copies.rows(target, "balanced", written)
        assert copies.rows(target, "balanced", UNBALANCED) == []
        assert before < arrived < after
        assert ahead >= 0
        scene.require_nothing_left()
    assert ("relation", "AccessShareLock") in during_copy.held
    assert during_copy.held <= during_dump.held
    assert during_copy.longest_for_the_reader <= during_dump.longest_for_the_reader == 0


def watch_pg_dump(copies: Copies) -> Seen:
    with subprocess.Popen(
        [BIN / "pg_dump", "--format=custom"],
        env=copies.database(BANK, reader=True).environment(),
        stdout=subprocess.DEVNULL,
    ) as dumping:
        seen = watch(copies.source_server, lambda _: dumping.poll() is None)
    assert dumping.returncode == 0
    return seen


def test_a_writer_that_waited_for_the_reader_would_be_seen(copies: Copies) -> None:
    server = copies.source_server

    def write() -> None:
        with server.connect(BANK, "owner", PASSWORD) as connection:
            connection.execute("BEGIN; LOCK TABLE account; COMMIT")

    writer = threading.Thread(target=write, daemon=True)
    with server.connect(BANK, "reader", PASSWORD) as reader, reader.transaction():
        reader.execute("SELECT FROM account LIMIT 1")
        writer.start()
        deadline = time.monotonic() + PATIENCE
        seen = watch(server, lambda seen: not seen.longest_for_the_reader and time.monotonic() < deadline)
    writer.join(PATIENCE)
    assert seen.waits.keys() == {("owner", "reader")}
    assert seen.held == {("relation", "AccessShareLock")}
