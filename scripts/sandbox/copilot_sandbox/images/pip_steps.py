"""The pip commands of a RUN step: installs, wheels that are built for a later install, environments."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from copilot_sandbox.images import build_variables, pip_targets, projects
from copilot_sandbox.images.pip_commands import (
    hashed,
    inputs,
    option_value,
    pip_arguments,
    split_tools,
    without_options,
)
from copilot_sandbox.images.shell_steps import Command, Outcome
from copilot_sandbox.images.stage_state import absolute
from copilot_sandbox.images.tree import file_of
from copilot_sandbox.images.venvs import Install

if TYPE_CHECKING:
    from copilot_sandbox.images.stage_state import State
    from copilot_sandbox.images.tree import Tree
    from copilot_sandbox.model import StartCommand

# Commands that install Python packages, in some way.
INSTALLS = re.compile(
    r"\b(pip[\d.]*|pipx|poetry|pipenv|uv|pdm|conda|mamba|micromamba|hatch|rye|flit|easy_install|pip-sync)\b"
    r"[^|;&]*\b(install|sync|update|develop|add|create|export|wheel|requirements)\b"
    r"|\bsetup\.py\b.*\b(install|develop)\b|\b(easy_install|pip-sync)\s"
    r"|\bapt(-get)?\b.*\binstall\b.*\bpython3?-(?!dev\b|pip\b|venv\b|minimal\b|distutils\b|full\b|wheel\b|setuptools\b)\w"
    r"|\bapk\b.*\badd\b.*\bpy3-(?!pip\b|wheel\b|setuptools\b)\w"
)


@dataclass
class StepResult:
    """The installs of a step, the commands that are not run here, and those of them that install packages."""

    installs: list[Install] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    missed: list[tuple[str, str]] = field(default_factory=list)  # command and reason
    managers: set[str] = field(default_factory=set)
    start_commands: list[StartCommand] = field(default_factory=list)


@dataclass
class PipStep:
    """One RUN step. `tree` has the step's mounts besides the stage's own files."""

    state: State
    tree: Tree
    line: int
    result: StepResult = field(default_factory=StepResult)

    def _leave(self, command: Command, reason: str = "") -> Outcome:
        if INSTALLS.search(" ".join(command.words) or command.text):
            self.result.missed.append(
                (command.text, reason or "only pip, poetry, Pipenv, uv and pdm install here")
            )
        else:
            self.result.left.append(command.text)
        return Outcome(assumed=True)

    def _environment(self, path: str) -> None:
        """Remember that a virtual environment is at `path`."""
        self.state.targets[self.state.tree.make_folder(path)] = pip_targets.ENVIRONMENT

    def _place(self, command: Command, folder: str = "") -> projects.Place:
        where = absolute(command.folder, folder) if folder else command.folder
        variables = build_variables.pip_variables(command.variables)
        return projects.Place(self.tree, where, self.line, variables, command.text, self.state.base)

    def _pip(self, command: Command, words: list[str]) -> Outcome:
        wheels = pip_arguments(words, "wheel", "download")
        if wheels is not None:
            target = option_value(words, "-w", "--wheel-dir", "-d", "--dest") or "."
            self._wheels(
                command,
                list(without_options(wheels, "-w", "--wheel-dir", "-d", "--dest")),
                absolute(command.folder, target),
            )
            return Outcome()
        arguments = pip_arguments(words)
        if arguments is None:
            return (
                Outcome()
                if words[1:2] and words[1] in ("config", "cache", "--version", "check", "list")
                else self._leave(command)
            )
        arguments, tools = split_tools(arguments)
        self.result.managers |= tools & set(projects.REQUESTS)
        prefix = option_value(words, "--prefix", "--root")
        if prefix:
            self.state.tree.make_folder(absolute(command.folder, prefix))
        if arguments:
            self._install(command, arguments, pip_targets.target_of(words, command.folder))
        return Outcome()

    def _install(self, command: Command, arguments: tuple[str, ...], target: str = "") -> None:
        arguments = self._from_wheels(command, arguments)
        if not arguments:
            return
        if command.stdin is None and {"/dev/stdin", "-"} & set(arguments):
            self._leave(command, "its input is not known here")
            return
        tree, folder = self.tree, command.folder
        if command.stdin is not None and {"/dev/stdin", "-"} & set(arguments):
            arguments = tuple(
                "/.copilot-sandbox/stdin.txt" if word in ("/dev/stdin", "-") else word for word in arguments
            )
            tree = tree.copy()
            tree.put("/.copilot-sandbox/stdin.txt", file_of(command.stdin.encode()))
        variables = build_variables.pip_variables(command.variables)
        install = Install(
            arguments,
            folder,
            hashed(inputs(arguments, folder, tree)),
            variables,
            self.line,
            target,
            base=self.state.base,
        )
        if command.may_fail:
            install = replace(install, optional="an install that the Dockerfile allows to fail")
        self.result.installs.append(install)
        if target:
            self.state.targets[self.state.tree.make_folder(target)] = install.name

    def _wheels(self, command: Command, arguments: list[str], folder: str) -> None:
        """Remember what wheels a folder would have; they are installed when `pip install` names it."""
        kept = [word for word in arguments if word != "--no-deps"]
        tree = hashed(inputs(tuple(kept), command.folder, self.tree))
        variables = build_variables.pip_variables(command.variables)
        if not kept:
            return
        install = Install(
            tuple(kept), command.folder, tree, variables, self.line, base=self.state.base, shown=command.text
        )
        place = self.state.tree.make_folder(folder)
        self.state.wheels[place] = (*self.state.wheels.get(place, ()), install)

    def _from_wheels(self, command: Command, arguments: tuple[str, ...]) -> tuple[str, ...]:
        """Install the wheels of folders that an install names. Return the arguments without the folders."""
        kept: list[str] = []
        todo = list(arguments)
        while todo:
            word = todo.pop(0)
            name, equals, value = word.partition("=")
            option = name in ("-f", "--find-links")
            if option and not equals and todo:
                value = todo.pop(0)
            path = absolute(command.folder, value if option else posixpath.dirname(word))
            wheels = self.state.wheels.get(path.rstrip("/") or "/")
            if wheels and (option or word.endswith((".whl", "/*"))):
                self.result.installs += [
                    replace(each, line=self.line) for each in wheels if each not in self.result.installs
                ]
            elif option:
                kept += [name, value]
            else:
                kept.append(word)
        return tuple(kept) if any(not word.startswith("-") for word in kept) else ()
