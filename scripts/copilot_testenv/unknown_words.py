"""Let Invoke name the nearest task or flag to a word that it does not know, and all tasks without a word."""

from __future__ import annotations

import difflib
import re
from typing import Any

from invoke.exceptions import Exit, ParseError
from invoke.program import Program

_UNKNOWN = re.compile(r"No idea what (?P<word>.+) is!", re.DOTALL)
_tasks: set[str] = set()


def know(task: str) -> None:
    """Remember the name of a task, to suggest it; from then on Invoke's errors have suggestions.

    Invoke prints the error itself and has no hook for its words, and a `tasks.py` cannot give it another
    Program. Source: `Program.run` and `no_tasks_given` of invoke 2.2.
    """
    _tasks.add(task)
    ParseError.__str__ = _fitted  # type: ignore[method-assign]
    Program.no_tasks_given = _list  # type: ignore[method-assign,assignment]


def _list(program: Program) -> None:
    """Show the tasks, as `invoke --list` does, in the place of Invoke's own flags."""
    program.list_tasks()
    raise Exit


def _fitted(error: Any) -> str:
    from copilot_testenv.core.terminal import fitted  # noqa: PLC0415 - `invoke --list` stays fast

    return fitted(_text(error))


def _text(error: Any) -> str:
    """Return the message of an error of Invoke's parser."""
    message = str(error.args[0]) if error.args else ""
    if not (found := _UNKNOWN.fullmatch(message)):
        return message
    word = "".join(letter for letter in found["word"].strip("'\"") if letter.isprintable())[:100]
    task = error.context.name if error.context else None
    flags = [flag for flag in error.context.flags if flag.startswith("--")] if task and error.context else []
    if not task:
        kind = "flag of Invoke" if word.startswith("-") else "task"
        return f"There is no {kind} {word}{_nearest(word, _tasks)}. `invoke --list` shows the tasks."
    shows = f"`invoke {task} --help` shows its flags."
    if word.startswith("-"):
        return f"{task} has no flag {word}{_nearest(word, flags)}. {shows}"
    return f"{word} is no task{_nearest(word, _tasks)}; if it is a value for {task}, name its flag. {shows}"


def _nearest(word: str, known: list[str] | set[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
