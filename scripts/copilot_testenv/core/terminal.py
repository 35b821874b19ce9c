"""Show lines on standard error and data on standard output, and ask questions whose default is no."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import ClassVar, Protocol

from copilot_testenv.core import display
from copilot_testenv.core.errors import Refused

SILENCE_SECONDS = 30.0


class Report(Protocol):
    """Show and ask in the workflows: Terminal, or FakeReport in tests."""

    def say(self, line: str) -> None:
        """Print a line for a person on standard error."""

    def data(self, text: str) -> None:
        """Print the task's result on standard output."""

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows on standard output: as a table, or a block for each row where the terminal is narrow."""

    def ask(self, question: str) -> bool:
        """Return True if the answer is yes; without a terminal the answer is no."""

    def waiting(self, for_what: str) -> AbstractContextManager[None]:
        """Show in this block that a long operation runs: a spinner on a terminal, else one plain line."""


def as_json(document: object) -> str:
    return display.json_text(json.dumps(display.plain(document), indent=2, ensure_ascii=False))


def confirm(report: Report, question: str, *, yes: bool) -> None:
    """Raise Refused unless `yes` was given or the answer is yes."""
    if not yes and not report.ask(question):
        if sys.stdin.isatty():
            raise Refused("Nothing was changed, because you did not answer yes.")
        raise Refused("Nothing was changed: this asks a question, and nobody can answer it here. Use --yes.")


def _safe(text: str) -> str:
    """Return a cell that may hold a branch's own words as one line without secrets."""
    return display.line(display.masked(text))


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a block for each row, under its first cell."""
    width = max(map(len, columns[1:]), default=0)
    for row in rows:
        yield ""
        yield row[0]
        yield from (
            f"  {name:{width}}  {cell}" for name, cell in zip(columns[1:], row[1:], strict=True) if cell
        )


# A command in a sentence: it stays in one row, so that it can be copied.
_COMMAND = re.compile("`[^`\n]*`")
_SPACE = "\0"  # in a command, while rows are made; no text that is shown has this letter


def fitted(text: str) -> str:
    """Return a message in rows that fit the terminal of standard error, broken between words.

    An address, a path or a command that is longer than a row stays whole. Without a terminal nothing changes.
    """
    if not sys.stderr.isatty():
        return text
    width = shutil.get_terminal_size().columns
    rows = (row for line in text.split("\n") for row in _wrapped(line, width))
    return "\n".join(rows)


def _wrapped(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    kept = _COMMAND.sub(lambda command: command[0].replace(" ", _SPACE), line.lstrip())
    rows = textwrap.wrap(
        kept,
        width,
        initial_indent=indent,
        expand_tabs=False,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
        subsequent_indent=f"{indent}  " if indent else "",
    )
    return [row.replace(_SPACE, " ") for row in rows]


class Patience:
    """Say from time to time what this program waits for, so that it is never silent for long."""

    def __init__(self, say: Callable[[str], None], what: str) -> None:
        self._say = say
        self._what = what
        self._begun = self._last_said = time.monotonic()

    def tell(self, reason: str = "") -> None:
        """Say it again, with the reason of the moment, if SILENCE_SECONDS have passed since the last time."""
        now = time.monotonic()
        if now - self._last_said >= SILENCE_SECONDS:
            self._last_said = now
            because = f": {reason}" if reason else ""
            self._say(f"  still waiting: {self._what}{because} ({now - self._begun:.0f} s)")


def thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Show the error that ended a thread through Terminal, because it may contain a password."""
    Terminal().say("".join(traceback.format_exception(failure.exc_value)))


class Terminal:
    """The real Report; everything that it shows passes through copilot_testenv.core.display.

    rich is imported only when it is used, so that `invoke --list` stays fast.
    """

    has_answered: ClassVar[bool] = False  # this process has printed the task's result

    def say(self, line: str) -> None:
        with suppress(BrokenPipeError):  # a closed standard error must not stop a deploy
            print(fitted(display.block(line)), file=sys.stderr, flush=True)  # noqa: T201 - this is the place that prints

    def data(self, text: str) -> None:
        Terminal.has_answered = True
        print(display.seen(text), flush=True)  # noqa: T201 - this is the place that prints

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich.console import Console  # noqa: PLC0415 - see the class
        from rich.table import Table  # noqa: PLC0415 - see the class
        from rich.text import Text  # noqa: PLC0415 - see the class

        title, cells = _safe(title), [[_safe(cell) for cell in row] for row in rows]
        table = Table(title=Text(title), title_justify="left")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))  # Text, so that no branch's name is read as markup
        if not sys.stdout.isatty():  # wide, so that no cell is cut and every cell can be copied
            Console(width=240).print(table)
            return
        console = Console()
        natural = console.measure(table, options=console.options.update(width=10_000)).maximum
        if natural <= console.width:
            console.print(table)
            return
        # A line of a block may be longer than the terminal: it wraps it, and it is still copied whole.
        self.data("\n".join([title, *_blocks(columns, cells), ""]))

    def ask(self, question: str) -> bool:
        if not sys.stdin.isatty():
            return False
        self.say(f"{question} [y/N]")
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    @contextmanager
    def waiting(self, for_what: str) -> Iterator[None]:
        if not sys.stderr.isatty():
            self.say(f"{for_what} …")
            yield
            return
        from rich.console import Console  # noqa: PLC0415 - see the class
        from rich.text import Text  # noqa: PLC0415 - see the class

        with Console(stderr=True).status(Text(display.block(for_what))):
            yield
