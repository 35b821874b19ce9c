"""Finds the commands of RUN that each container carries out when it starts, because no build here runs them.

They are commands of Django that make files from what the image has. A task already runs the project's code,
in its own file system, so nothing that a build does not trust is run, and no file is read back from it.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from copilot_sandbox.images import pip_targets
from copilot_sandbox.images.stage_state import absolute
from copilot_sandbox.model import StartCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from copilot_sandbox.images.shell_steps import Command
    from copilot_sandbox.images.tree import Tree

_SUBCOMMANDS = frozenset({"collectstatic", "compilemessages"})
NAMED = re.compile(rf"\b(?:{'|'.join(sorted(_SUBCOMMANDS))})\b")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_OF_CONTAINER = frozenset({"HOME", "PATH"})  # the container has its own


def found(command: Command, words: Sequence[str], line: int, tree: Tree) -> StartCommand | None:
    """Return what a container carries out for a command; None if the command is another one.

    `words` are the command's without `env`, `exec` and the like in front. `tree` has the image's files.
    """
    django = _django(words, command.folder, tree)
    if django is None:
        return None
    before = command.words[: len(command.words) - len(words)]
    given = dict(word.split("=", 1) for word in before if _ASSIGNMENT.match(word))  # of `env A=1`
    variables = {**command.variables, **given}
    return StartCommand(
        line=line,
        words=django,
        env={name: value for name, value in variables.items() if name not in _OF_CONTAINER},
        workdir=absolute("/", command.folder),
        may_fail=command.may_fail,
    )


def _django(words: Sequence[str], folder: str, tree: Tree) -> tuple[str, ...] | None:
    """Return the words of a command of Django with the environment's Python; None for another command."""
    program, *rest = words
    name = posixpath.basename(program)
    if name == "django-admin":
        before = [name]
    else:
        before = ["python"]
        if not re.fullmatch(r"python[\d.]*", name):
            rest = [program, *rest]
        while rest and rest[0].startswith("-") and rest[0] != "-m":
            count = 2 if rest[0] in ("-W", "-X") else 1
            before, rest = [*before, *rest[:count]], rest[count:]
        count = 2 if rest[:2] == ["-m", "django"] else 1
        script, rest = rest[:count], rest[count:]
        before += script
        if count == 1 and not (script and _is_file(absolute(folder, script[0]), tree)):
            return None
    return (*before, *rest) if rest and rest[0] in _SUBCOMMANDS else None


def _is_file(path: str, tree: Tree) -> bool:
    entry = tree.get(path)
    return path.endswith(".py") and entry is not None and entry.kind == "file"


def copied(commands: Sequence[StartCommand], source: str, destination: str) -> tuple[StartCommand, ...]:
    """Return the commands of another stage that work on the files which COPY takes from it."""

    def move(path: str) -> str | None:
        return next(iter(pip_targets.moved({path: None}, source, destination)), None)

    return tuple(
        replace(command, workdir=folder, words=tuple(move(word) or word for word in command.words))
        for command in commands
        if (folder := move(command.workdir)) is not None
    )
