"""Rows with large values pass in pieces: the copy holds none of them, and all arrive equal and frozen."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from django_testenv.stage_copy import sampling
from django_testenv.stage_copy.problems import Failed
from tests.runtime.stage_copy.copies import Copies, make_roles
from tests.runtime.stage_copy.servers import DEBIAN, postgres_server

if TYPE_CHECKING:
    from tests.runtime.stage_copy.servers import PostgresServer

MB = 10**6
SIZE, ROOM = (
    10 * MB,
    16 * MB,
)  # of a large row; that a copy may hold: with such a row in one message it holds 30
ROWS = 1500
numbers = itertools.count()
# Columns, and the values of a large row i; %s is their size in bytes.
SHAPES = {
    "plain": ("a text", "repeat(md5(i::text), %s / 32)"),
    "document": ("a jsonb", "jsonb_build_object('kept', repeat(E'\\t\\\\é', %s / 4), 'name', 'Anna')"),
    "with_call": ("a text, b text", "'called', repeat(E'\\\\\\n\\t\\rä', %s / 6)"),
    "text_only": ("a text, b regtype", "repeat(E'\\\\\\n\\t\\rä', %s / 6), 'text'"),
    "bytes": ("a bytea", "convert_to(repeat(md5(i::text), %s / 32), 'UTF8')"),
    "elements": ("a text[]", "ARRAY[repeat('a,\"', %s / 6), NULL, repeat('é', %s / 4)]"),
    "several": (
        "a text, b bytea, c text, d text, e text",
        (
            "repeat('a', %s / 5), decode(repeat('00ff', %s / 10), 'hex'), repeat(E'\\\\\\r\\n', %s / 15), "
            "repeat('b', %s / 5), repeat('c', %s / 5)"
        ),
    ),
    "columns": (
        ", ".join(f"c{n} text" for n in range(1500)),
        ", ".join(["repeat(md5(i::text), %s / 32 / 300)"] * 300 + ["NULL"] * 1200),
    ),
}
MASK = {
    "plain.email": "email",
    "document.a": {"json": {"name": "name"}},
    "with_call.a": {"call": f"{__name__}.shout"},
    "text_only.email": "email",
}


def made(name: str, size: int) -> Iterator[str]:
    """Yield statements that make a table of 1,500 rows, of which two are large."""
    columns, values = SHAPES[name]
    names = ", ".join(part.split()[0] for part in columns.split(", "))
    yield f"CREATE TABLE {name} (id int PRIMARY KEY, email text, {columns}, last text)"
    few = f"INSERT INTO {name} (id, email, last) SELECT i, i || '@corp.com', repeat('.', 800) "
    yield f"{few} FROM generate_series(1, {ROWS // 2}) i"
    yield (
        f"INSERT INTO {name} (id, email, {names}) "
        f"SELECT i, i || '@corp.com', {values.replace('%s', str(size))} FROM generate_series(-1, 0) i"
    )
    yield f"{few} FROM generate_series({ROWS // 2 + 1}, {ROWS}) i"


def masked(*names: str) -> dict[str, object]:
    return {"mask": {rule: kind for rule, kind in MASK.items() if rule.partition(".")[0] in names}}


def shout(value: str | None) -> str | None:
    return None if value is None else f"{value}!"


def held(work: Callable[[], object]) -> int:
    """Return how many bytes more than before this process holds at the most."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _held("VmRSS")
    work()
    return _held("VmHWM") - before


def _held(kind: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{kind}:"))


def copied(copies: Copies, shapes: Iterable[str], size: int, setting: Mapping[str, object]) -> Ends:
    """Copy tables of these shapes; tell how many bytes that held."""
    ends = Ends(copies, f"large_rows{next(numbers)}")
    copies.make_source(ends.source, *(statement for name in shapes for statement in made(name, size)))
    ends.held = held(lambda: copies.fill(ends.source, ends.target, setting))
    for name in shapes:
        ends.require_same(f"SELECT count(*), min(id), max(id), count(last) FROM {name}")
    return ends


@dataclass
class Ends:
    copies: Copies
    source: str
    held: int = 0

    @property
    def target(self) -> str:
        return f"{self.source}_copy"

    def sent(self, query: str) -> list[tuple[Any, ...]]:
        return self.copies.rows(self.copies.source_server, self.source, query)

    def arrived(self, query: str) -> list[tuple[Any, ...]]:
        return self.copies.rows(self.copies.target_server, self.target, query)

    def require_same(self, query: str) -> None:
        assert self.arrived(query) == self.sent(query)


@pytest.fixture(scope="module")
def older() -> Iterator[PostgresServer]:
    if not (DEBIAN / "postgres").exists():
        pytest.skip("Debian's PostgreSQL is not here")
    with postgres_server(folder=DEBIAN) as server:
        make_roles(server, server)
        yield server


def test_large_rows_of_any_kind_arrive_and_are_not_held(copies: Copies) -> None:
    ends = copied(copies, list(SHAPES)[:4], SIZE, {"mask": MASK})
    assert ends.held < ROOM
    ends.require_same("SELECT id, md5(a) FROM plain ORDER BY id")
    ends.require_same("SELECT id, md5(a ->> 'kept'), email FROM document ORDER BY id")
    ends.require_same("SELECT id, md5(b), email FROM with_call ORDER BY id")
    ends.require_same("SELECT id, md5(a), b FROM text_only ORDER BY id")
    assert ends.arrived("SELECT count(*) FROM document WHERE a ->> 'name' <> 'Anna'") == [(2,)]
    assert ends.arrived("SELECT a, count(*) FROM with_call GROUP BY a ORDER BY a") == [
        ("called!", 2), (None, ROWS)]  # fmt: skip
    for name in ("plain", "text_only"):
        assert ends.arrived(f"SELECT count(*) FROM {name} WHERE email NOT LIKE '%.invalid'") == [(0,)]


@pytest.mark.nightly
@pytest.mark.parametrize("shape", [*SHAPES, "plain, 300 MB"])
def test_a_row_of_100_mb_is_not_held(copies: Copies, shape: str) -> None:
    name, _, more = shape.partition(",")
    ends = copied(copies, [name], (300 if more else 100) * MB, masked(name))
    copies.source_server.run(f"DROP DATABASE {ends.source}")
    copies.target_server.run(f"DROP DATABASE {ends.target}")
    assert ends.held < ROOM


@pytest.mark.nightly
@pytest.mark.parametrize("ways", ["18-18", "15-18", "18-15", "15-15"])
def test_large_rows_pass_between_servers_of_all_versions(
    copies: Copies, older: PostgresServer, ways: str
) -> None:
    source, target = (
        older if way == "15" else server
        for way, server in zip(ways.split("-"), (copies.source_server, copies.target_server), strict=True)
    )
    setting = {"verify": True, "jobs": 1, **masked(*SHAPES)}
    assert copied(Copies(source, target), SHAPES, SIZE, setting).held < ROOM


def test_all_rows_of_a_table_with_large_ones_are_frozen_and_a_table_without_is_read_once(
    copies: Copies,
) -> None:
    ends = Ends(copies, f"large_rows{next(numbers)}")
    few = "FROM generate_series(1, 1500) i"
    copies.make_source(
        ends.source,
        "CREATE TABLE huge (id int, a text, b text)",
        "CREATE TABLE ordinary (id int, a text, b text)",
        *(f"ALTER TABLE {name} ALTER a SET STORAGE EXTERNAL" for name in ("huge", "ordinary")),
        f"INSERT INTO huge SELECT i, repeat('a', CASE i % 700 WHEN 0 THEN 6000000 ELSE 900 END) {few}",
        f"INSERT INTO ordinary SELECT i, repeat('a', CASE i % 700 WHEN 0 THEN 600000 ELSE 900 END) {few}",
    )
    assert copies.fill(ends.source, ends.target).rows == {"public.huge": 1500, "public.ordinary": 1500}
    copies.target_server.run("CREATE EXTENSION pageinspect", database=ends.target)
    for name in ("huge", "ordinary"):
        pages = f"generate_series(0, pg_relation_size('{name}') / 8192 - 1) page"
        rows = f"{pages}, heap_page_items(get_raw_page('{name}', page))"
        frozen = f"SELECT bool_and(t_infomask & 768 = 768), count(*) FROM {rows}"
        assert ends.arrived(frozen) == [(True, 1500)]
    scans = "SELECT relname::text, seq_scan FROM pg_stat_user_tables ORDER BY 1"
    deadline = time.monotonic() + 10
    while ends.sent(scans) != (expected := [("huge", 2), ("ordinary", 1)]):
        assert time.monotonic() < deadline, (ends.sent(scans), expected)
        time.sleep(0.1)


def test_a_sample_takes_its_large_rows_too(copies: Copies) -> None:
    ends = Ends(copies, f"large_rows{next(numbers)}")
    copies.make_source(ends.source, *made("plain", SIZE))
    setting = {"sample": {"plain": "50%"}, "mask": {"plain.email": "email"}, "verify": True}
    ends.held = held(lambda: copies.fill(ends.source, ends.target, setting))
    assert ends.held < ROOM
    [(rows, large)] = ends.arrived("SELECT count(*), count(a) FROM plain")
    assert (rows, 0 <= large <= 2) == (ROWS / 2 + 1, True)


def test_a_large_row_that_the_target_does_not_take_ends_the_copy(copies: Copies) -> None:
    ends = Ends(copies, f"large_rows{next(numbers)}")
    copies.make_source(
        ends.source,
        *made("plain", SIZE),
        "ALTER TABLE plain ADD CHECK (current_database() NOT LIKE '%_copy' OR a IS NULL)",
    )
    with pytest.raises(Failed, match=r"public.plain could not be copied: .*plain_a_check") as raised:
        copies.fill(ends.source, ends.target)
    assert len(str(raised.value)) < 1000


@pytest.mark.nightly
def test_the_places_of_a_samples_rows_are_not_held(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_AT_ONCE", 10_000)
    ends = Ends(copies, f"large_rows{next(numbers)}")
    copies.make_source(
        ends.source,
        "CREATE TABLE small (id int)",
        "INSERT INTO small SELECT generate_series(1, 1000000)",
        "ANALYZE",
    )
    setting = {"sample": {"small": "90%"}, "verify": True}
    ends.held = held(lambda: copies.fill(ends.source, ends.target, setting))
    [(rows,)] = ends.arrived("SELECT count(*) FROM small")
    assert 800_000 < rows < 1_000_000
    assert ends.held < ROOM / 2
