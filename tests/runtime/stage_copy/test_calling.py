"""What a rule's function sees and prints stays in a process of its own."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from django_testenv.stage_copy import calling
from django_testenv.stage_copy.masking import Selection
from django_testenv.stage_copy.problems import Failed
from django_testenv.stage_copy.rows import Pump
from tests.hidden import SECRET
from tests.runtime.stage_copy.test_fakes import copied, got
from tests.runtime.stage_copy.transfers import Listener

if TYPE_CHECKING:
    from tests.runtime.stage_copy.copies import Copies


def prints(value: str | None) -> str:
    for file in (sys.stdout, sys.stderr, sys.__stdout__):
        print(value, file=file)
    sys.stdout.flush()
    return "done"


def writes(value: str | None) -> str:
    os.write(1, f"{value}\n".encode())
    os.write(2, f"{value}\n".encode())
    subprocess.run(["echo", str(value)], check=True)
    ctypes.CDLL(None).puts(str(value).encode())
    return "done"


def logs(value: str | None) -> str:
    logging.getLogger("project").error("the value is %s", value)
    logging.critical("the value is %s", value)  # noqa: LOG015
    warnings.warn(f"the value is {value}", stacklevel=1)
    traceback.print_exception(KeyError(value))
    return "done"


def made_up(value: str | None) -> str:
    raise type(str(value), (Exception,), {})


def ends(value: str | None) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return str(value)


class Choked(Exception):
    """An error of the project."""


def chokes(value: str | None) -> str:
    raise Choked(value)


def called(call: Callable[[str | None], Any], *values: str | None) -> list[str | None]:
    with calling.apart({1: Selection(calls={"c": call})}) as selections:
        call = selections[1].calls["c"]  # of pieces of bytes, in another process
        made = [list(call(None if value is None else [value.encode()])) for value in values]
        return [None if text == [None] else b"".join(text).decode() for text in made]


@pytest.mark.parametrize("call", [prints, writes, logs])
def test_what_a_function_prints_writes_logs_and_warns_of_is_lost(
    call: Callable[[str | None], str], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:  # fmt: skip
    handler = logging.FileHandler(tmp_path / "log")
    logging.getLogger().addHandler(handler)
    try:
        assert called(call, SECRET) == ["done"]
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err + caplog.text + (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("call", "kind"),
    [(chokes, "Choked"), (made_up, "an error"), (ends, "nothing: the process of its own ended")],
)
def test_of_an_error_its_class_alone_comes_back(call: Callable[[str | None], str], kind: str) -> None:
    with pytest.raises(calling.CallError) as raised:
        called(call, SECRET)
    assert str(raised.value) == raised.value.kind == kind


def test_results_come_back_as_postgres_reads_them() -> None:
    given = {"a": None, "b": True, "c": 4, "d": {"x": [1]}, "e": b"\0", "f": "é\n\t"}
    expected = [None, "true", "4", '{"x": [1]}', "\\x00", "é\n\t", None]
    assert called(lambda value: given.get(str(value)), *given, None) == expected


def test_a_value_of_many_megabytes_is_no_obstacle() -> None:
    assert called(lambda value: len(str(value)), "x" * 30_000_000) == ["30000000"]


PIECE, COUNT = b"x" * 60_000, 400  # of a large value


def measured(call: Callable[[], int]) -> tuple[int, int]:
    """Return what a call returns, and the bytes that were held at its peak."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_large_value_is_never_held_where_it_passes() -> None:
    """Eleven times it was: a value of 100 MB took more than a gigabyte."""
    pump = Pump.__new__(Pump)
    pump._row = 0
    rest = b"\t\\\\x" + PIECE.hex().encode() + b"\t1\n"
    batches = ([memoryview((b"t" if number == COUNT else b"f") + rest)] for number in range(1, COUNT + 1))
    with calling.apart({1: Selection(calls={"c": lambda value: value})}) as selections:
        calls = selections[1].calls
        size, peak = measured(
            lambda: sum(len(part) for batch in pump._with_calls(batches, calls) for part in batch)
        )
    assert size == len(b"1\t\n") + COUNT * len(PIECE)
    assert peak < 2 << 20


def test_a_large_value_is_held_once_where_its_function_is_called() -> None:
    asked, ask = os.pipe()
    sent = [calling._LENGTH.pack(len(PIECE)), PIECE] * COUNT + [calling._LENGTH.pack(calling._END)]
    with os.fdopen(asked, "rb") as questions, os.fdopen(ask, "wb", buffering=0) as file:
        writer = threading.Thread(target=file.writelines, args=[sent])
        writer.start()
        size, peak = measured(lambda: len(calling._text(questions)[1]))
        writer.join()
    assert size == COUNT * len(PIECE)
    assert peak < 1.3 * size


def test_a_value_whose_source_breaks_off_leaves_the_process_ready_for_the_next() -> None:
    def broken() -> Iterator[bytes]:
        yield b"the first piece"
        raise psycopg.OperationalError("the source broke off")

    with calling.apart({1: Selection(calls={"c": str})}) as selections:
        call = selections[1].calls["c"]
        with pytest.raises(psycopg.OperationalError, match="broke off"):
            list(call(broken()))
        left = call([b"x" * 1_000_000])  # its answer is not read to the end
        assert next(left)
        left.close()
        assert list(call([b"next"])) == [b"next"]


def same(value: str | None) -> str | None:
    """Return what COPY writes; casts write "true", and cut the end of char(3)."""
    if value in ("true", "c"):
        raise Choked
    return value


def test_values_of_any_size_and_type_reach_functions_as_copy_writes_them(copies: Copies) -> None:
    name = copied(
        copies,
        {f"t.{column}": {"call": f"{__name__}.same"} for column in ("v", "b", "c", "a", "r", "piece")},
        "CREATE TYPE pair AS (x int, y int)",
        "CREATE TABLE t (n int, b boolean, c char(3), piece bytea, kept text, a text[], r pair, v text)",
        """INSERT INTO t VALUES (1, 't', 'c', '\\x00ff', 'é', '{a,NULL,"b c"}', NULL, repeat('aé', 70000))""",
        """INSERT INTO t VALUES (2, NULL, NULL, NULL, '', NULL, ROW(NULL, NULL), E'\t\\\n\r')""",
    )
    query = "SELECT t::text FROM t ORDER BY n"
    assert got(copies, name, query) == copies.rows(copies.source_server, name, query)


def test_a_copy_calls_functions_in_another_process_and_leaves_none_behind(
    copies: Copies, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = tmp_path / "pids"
    seen.touch()
    seen.chmod(0o666)

    def rule(value: str | None) -> str:
        with seen.open("a") as file:
            file.write(f"{os.getpid()}\n")
        print(value)  # noqa: T201
        return f"{value}"[::-1]

    statements = ("CREATE TABLE t (id int, v text)", f"INSERT INTO t VALUES (1, '{SECRET}'), (2, NULL)")
    name = copied(copies, {"t.v": rule}, *statements)
    assert got(copies, name, "SELECT v FROM t ORDER BY id") == [(SECRET[::-1],), ("enoN",)]
    assert SECRET not in "".join(capfd.readouterr())
    (pid,) = set(seen.read_text().split())
    assert int(pid) != os.getpid()
    time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(Failed, match=r"its function raised Choked, whose words are not shown"):
        copied(copies, {"t.v": chokes}, *statements)


def test_a_source_that_breaks_off_within_a_value_ends_the_copy_in_one_line(copies: Copies) -> None:
    name, first = "broken_value", 200_000  # bytes of the first row, in hexadecimal digits
    copies.make_source(
        name,
        "CREATE TABLE t (id int, called text, other text)",
        f"INSERT INTO t VALUES (1, 'x', repeat('.', {first // 2}))",
        "INSERT INTO t VALUES (2, repeat('x', 20000000), '')",
    )
    ended: list[tuple[object, ...]] = []

    def cancel() -> None:
        """Cancel the COPY when it sends the second row, of which few pieces have room on the way."""
        query = (
            "SELECT pg_cancel_backend(pid) FROM pg_stat_progress_copy "
            f"WHERE datname = '{name}' AND bytes_processed > {first + 100_000}"
        )
        deadline = time.monotonic() + 10
        while not ended and time.monotonic() < deadline:
            ended.extend(copies.rows(copies.source_server, "postgres", query))

    words = r"^public\.t could not be copied: canceling statement due to user request$"
    with pytest.raises(Failed, match=words):
        copies.fill(name, name, {"mask": {"t.called": lambda value: value}}, Listener(at_rows=cancel))
    assert ended == [(True,)]
