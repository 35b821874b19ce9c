from __future__ import annotations

import io
import itertools
import json
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from django_testenv.stage_copy import disposable_registry, progress
from django_testenv.stage_copy.progress import Bars, Lines
from tests.runtime.stage_copy.copies import PASSWORD, run_command

if TYPE_CHECKING:
    from pathlib import Path

    from django_testenv.stage_copy.model import Progress
    from tests.runtime.stage_copy.copies import Copies

SHOP = "progress_shop"
MB = 1 << 20
numbers = itertools.count(1)


@dataclass
class Told:
    """Lines, and the clock that says when the next one is due."""

    lines: list[str] = field(default_factory=list)
    now: float = 0

    def progress(self) -> Lines:
        return Lines(self.lines.append, lambda: self.now)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        """What was written, less the codes that move the cursor and colour."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal()


def test_a_phase_tells_percent_bytes_rate_time_left_and_rows_every_five_seconds() -> None:
    told = Told()
    with told.progress() as one:
        one.phase("rows", total=100 * MB)
        for told.now in range(1, 13):
            one.advance(amount=2 * MB, rows=1500)
    assert told.lines == [
        "rows: 10 %, 10 MB of 100 MB, 2 MB/s, about 45 s left (7,500 rows)",
        "rows: 20 %, 20 MB of 100 MB, 2 MB/s, about 40 s left (15,000 rows)",
    ]


def test_each_phase_begins_anew() -> None:
    told = Told()
    with told.progress() as one:
        one.phase("rows", total=10 * MB)
        told.now = 4
        one.advance(amount=10 * MB, rows=9)
        one.phase("verification", total=4 * MB)
        told.now = 8
        one.advance(amount=MB)
        told.now = 9
        one.advance(amount=MB)
    assert told.lines == ["verification: 50 %, 2 MB of 4 MB, 410 kB/s, about 5 s left"]


def test_what_somebody_says_is_told_at_once_and_as_it_is() -> None:
    told = Told()
    with told.progress() as one:
        one.say("[bold] 100 % of {it}")
        assert told.lines == ["[bold] 100 % of {it}"]


def test_nothing_is_foretold_before_anything_is_done_and_where_nobody_counts() -> None:
    told = Told()
    with told.progress() as one:
        one.phase("rows", total=5000 * MB)
        told.now = 60
        one.advance(amount=0)
        one.phase("clone")
        told.now = 120
        one.advance(amount=MB)
    assert told.lines == ["rows: 0 %, 0 kB of 4.88 GB", "clone:"]


def test_no_line_is_long_however_large_the_database() -> None:
    told = Told()
    with told.progress() as one:
        one.phase("indexes and foreign keys", total=1 << 60)
        told.now = 1_000_000
        one.advance(amount=1, rows=10**12)
        told.now = 2_000_000
        one.advance(amount=(1 << 60) - 1, rows=10**13)
    assert len(told.lines) == 2
    assert "100 %" in told.lines[1]
    assert max(map(len, told.lines)) <= 200


def tell_of_a_copy(one: Progress) -> None:
    one.phase("rows", total=8 * MB)
    one.advance(amount=2 * MB, rows=1234)
    one.say("[red]extension[/red] stays behind")
    one.advance(amount=2 * MB, rows=1)


def test_a_terminal_gets_a_live_line_that_is_gone_at_the_end(terminal: Terminal) -> None:
    said: list[str] = []
    bars = progress.choose(terminal, said.append)
    assert type(bars) is Bars
    with bars as one:
        tell_of_a_copy(one)
        bars._live.refresh()
    text = terminal.text()
    assert re.search(r"rows: 50 %, 4 MB of 8 MB, [\d.]+ [kMG]B/s, about \d+ s left \(1,235 rows\)", text)
    assert "[red]extension[/red] stays behind\n" in text
    assert said == []
    after_the_last_line = terminal.getvalue().rpartition("rows)")[2]
    assert "\x1b[2K" in after_the_last_line  # the line is erased


@pytest.mark.parametrize("missing", ["rich.console", "rich.live"])
def test_a_terminal_gets_plain_lines_where_rich_is_not_installed(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    said: list[str] = []
    lines = progress.choose(terminal, said.append)
    assert type(lines) is Lines
    with lines as one:
        one.say("a line")
    assert (said, terminal.getvalue()) == (["a line"], "")


def test_a_log_gets_plain_lines() -> None:
    log, said = io.StringIO(), list[str]()
    lines = progress.choose(log, said.append)
    assert type(lines) is Lines
    with lines as one:
        tell_of_a_copy(one)
    assert (said, log.getvalue()) == (["[red]extension[/red] stays behind"], "")


@pytest.fixture(scope="module", autouse=True)
def shop(copies: Copies) -> None:
    copies.make_source(
        SHOP,
        "CREATE TABLE note (id int PRIMARY KEY, words text)",
        "INSERT INTO note SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 3000) n",
    )


@pytest.fixture
def target(copies: Copies) -> str:
    """The name of a target that is marked."""
    name = f"progress{next(numbers)}x"
    with copies.target_server.connect(role="tester", password=PASSWORD) as connection:
        disposable_registry.mark(connection, name)
    return name


def test_a_programs_answer_is_one_document_and_all_else_is_on_stderr(
    copies: Copies, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "release.json").write_text(json.dumps({"branch": "b", "commit": "c", "deploy": 7}))
    setting = {"release_file": str(tmp_path / "release.json")}
    receipts = []
    for how in ("copied", "kept"):
        assert run_command(copies, SHOP, target, setting, "--json") == 0
        said = capsys.readouterr()
        receipts.append(json.loads(said.out))
        assert said.out.count("\n") == 1
        assert receipts[-1]["how"] == how
        assert receipts[-1]["release"] == {"branch": "b", "commit": "c", "deploy": "7"}
        last = f'copy_stage_db: data of {receipts[0]["copied_at"]} in "{target}"'
        last += ", kept" if how == "kept" else ""
        assert said.err.splitlines()[-1] == last
        # What `invoke check` compares with the grace period; nothing was copied the second time.
        assert bool(re.search(r"^copy_stage_db: the copy took \d+\.\d s$", said.err, re.MULTILINE)) == (
            how == "copied"
        )
    assert receipts[0]["rows"] == receipts[1]["rows"] == 3000


def test_a_persons_answer_is_one_sentence(
    copies: Copies, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "release.json").write_text('{"deploy": "one"}')
    setting = {"release_file": str(tmp_path / "release.json")}
    assert run_command(copies, SHOP, target, setting) == 0
    assert re.fullmatch(
        rf'Copied "{SHOP}" to "{target}": 1 tables, 3000 rows, 2 MB in \d+\.\d\d s, [\d.]+ [kMG]B/s\.\n',
        capsys.readouterr().out,
    )
    assert run_command(copies, SHOP, target, setting) == 0
    assert re.fullmatch(
        rf'Kept "{target}": its data of \S+ were copied for this release\. --fresh copies them again\.\n',
        capsys.readouterr().out,
    )


def test_a_copy_tells_how_far_it_is_in_short_plain_lines(
    copies: Copies, target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_EVERY", 0)
    assert run_command(copies, SHOP, target, {"verify": True}) == 0
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\r" not in said
    lines = said.splitlines()
    assert all(line.startswith("copy_stage_db: ") for line in lines)
    assert max(map(len, lines)) <= 200
    state = r"copy_stage_db: {}: 100 %, (\d MB) of \1, [\d.]+ [kMG]B/s, about 0 s left{}"
    assert any(re.fullmatch(state.format("rows", r" \(3,000 rows\)"), line) for line in lines)
    assert any(re.fullmatch(state.format("verification", ""), line) for line in lines)
