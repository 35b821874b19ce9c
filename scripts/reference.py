"""docs/reference.md, written from the tasks: `python scripts/reference.py` renews it."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.loader import FilesystemLoader

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts")]  # this runs in a clone, and nothing need be installed

from copilot_testenv.menu import SHORT_FLAGS  # noqa: E402 - see above

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invoke import Argument, Task

FILE = ROOT / "docs" / "reference.md"
COMMAND = "python scripts/reference.py"
_HEAD = f"""\
# Reference of the tasks

<!-- `{COMMAND}` writes this page from tasks.py: change the docstrings and help texts there. -->

Values are given by flags only, never by their position. `invoke TASK --help`, or `-h`, prints what stands
here and does nothing. A short flag means the same on each task: {{short}}.

[settings.md](settings.md) has the settings and the exit codes.
"""
_EXAMPLE = re.compile(r"^Example: (.+)$", re.MULTILINE)
_DEFAULT = re.compile(r"(.+) \((?:default: (.+)|no default)\)\.", re.DOTALL)


def text() -> str:
    """Return the page. The order is that of tasks.py, so the same tasks give the same bytes."""
    module, _ = FilesystemLoader(start=str(ROOT)).load(
        "tasks"
    )  # afresh: Invoke takes a help text out as it reads it
    tasks = [found for found in vars(module).values() if hasattr(found, "get_arguments")]
    short = ", ".join(f"`-{letter}` for `--{name}`" for name, letter in sorted(SHORT_FLAGS.items()))
    return "\n".join([_HEAD.format(short=short), *(line for task in tasks for line in _section(task))])


def _section(task: Task[Any]) -> Iterator[str]:
    said = inspect.getdoc(task) or ""
    summary = _EXAMPLE.sub("", said).strip()
    (example,) = _EXAMPLE.findall(said)
    yield from (f"## {task.name.replace('_', '-')}", "", summary, "", "```console", f"$ {example}", "```", "")
    yield from ("| flag | default | does |", "|---|---|---|")
    for argument in task.get_arguments():
        found = _DEFAULT.fullmatch(argument.help or "")
        if not found:
            raise ValueError(f"The help of {task.name} {argument.name} does not end with its default.")
        yield f"| {_names(argument)} | {_cell(found[2] or 'no default')} | {_cell(found[1])} |"
    yield ""


def _names(argument: Argument) -> str:
    value = " VALUE" if argument.takes_value else ""
    short = [f"`-{letter}`" for letter in argument.nicknames]
    return ", ".join([f"`--{argument.names[0]}{value}`", *short])


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


if __name__ == "__main__":
    FILE.write_text(text())
    print(f"{FILE.relative_to(ROOT)} is written.")  # noqa: T201 - a script's one line
