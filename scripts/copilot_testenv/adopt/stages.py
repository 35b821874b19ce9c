"""Read a Dockerfile's stages: where lines can be added, and where the image has a file of the context.

Nothing is run here: of variables, the values of ENV and the defaults of ARG are known.
"""

from __future__ import annotations

import fnmatch
import json
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_FROM = re.compile(r"(?i)(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")
_AFTER_BUILD = frozenset({"CMD", "ENTRYPOINT"})  # a stage's last lines; ours must come before these
_INSTALLS = frozenset({"ADD", "COPY", "RUN"})
_ROOT = frozenset({"", "root", "0"})


@dataclass(frozen=True)
class Instruction:
    """An instruction on one line. `begin` and `end` are its lines in the text, from 0, the end excluded."""

    word: str
    rest: str
    begin: int
    end: int


@dataclass(frozen=True)
class Stage:
    """A stage; `base` is the image or stage after FROM, and `number` its position in the file."""

    number: int
    name: str
    base: str
    first: Instruction
    steps: tuple[Instruction, ...]


@dataclass(frozen=True)
class Place:
    """The place in a stage where lines can be added: before line `line`, as `user`; empty means root."""

    line: int
    user: str


@dataclass
class _State:
    """A stage's working folder and user, and where it has the files that are looked for."""

    folder: str = "/"
    user: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stages:
    """The stages of a Dockerfile, of which `target` is built: a name or a number; empty is the last."""

    stages: tuple[Stage, ...]
    target: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def built(self) -> Stage | None:
        """Return the stage that is built; None where there is no such stage."""
        if not self.stages:
            return None
        return self._find(self.target, len(self.stages)) if self.target else self.stages[-1]

    def chain(self, stage: Stage) -> list[Stage]:
        """Return the stages from which it begins, the first one first, and itself."""
        found = [stage]
        while (base := self._find(found[0].base, found[0].number)) is not None:
            found.insert(0, base)
        return found

    def place(self, stage: Stage) -> Place:
        """Return the place after the last step that installs or copies, before CMD and ENTRYPOINT.

        It is before the USER that ends root's part, if no such step follows.
        """
        user = self._state(stage, (), stop=0).user
        for number, step in enumerate(stage.steps):
            is_last = not any(each.word in _INSTALLS for each in stage.steps[number:])
            if step.word == "USER" and user in _ROOT and _user(step) not in _ROOT and is_last:
                return Place(step.begin, "")
            if step.word in _AFTER_BUILD:
                return Place(step.begin, "" if user in _ROOT else user)
            if step.word == "USER":
                user = _user(step)
        return Place((stage.steps or (stage.first,))[-1].end, "" if user in _ROOT else user)

    def folder(self, stage: Stage) -> str:
        """Return the working folder in which a container of the stage starts."""
        return self._state(stage, ()).folder

    def variables(self, stage: Stage) -> Mapping[str, str]:
        """Return the values of ENV, and the defaults of ARG, at the stage's end."""
        return self._state(stage, ()).variables

    def entry_point(self, stage: Stage) -> list[str] | None:
        """Return the words of the ENTRYPOINT that counts; empty for the shell form, None if there is none."""
        steps = [step for each in self.chain(stage) for step in each.steps if step.word == "ENTRYPOINT"]
        if not steps:
            return None
        return _words(steps[-1].rest) if steps[-1].rest.startswith("[") else []

    def where(self, stage: Stage, *paths: str) -> dict[str, str]:
        """Return the place in the image of each of these paths of the build context that is copied there."""
        return self._state(stage, paths).files

    def sources(self) -> Iterator[tuple[Instruction, str]]:
        """Yield each path of the build context that a stage copies by its name alone."""
        for stage in self.stages:
            for number, step in enumerate(stage.steps):
                if step.word not in {"COPY", "ADD"} or re.match(r"(--\S+\s+)*--from=", step.rest):
                    continue
                variables = self._state(stage, (), stop=number).variables
                words = _words(re.sub(r"^(--\S+\s+)+", "", step.rest))[:-1]
                known = [word for word in words if set(_named(word)) <= variables.keys()]
                for word in (_expanded(each, variables) for each in known):
                    if not re.search(r"[*?\[\]]|<<|://", word):
                        yield step, posixpath.normpath(word.lstrip("/") or ".")

    def _find(self, name: str, before: int) -> Stage | None:
        for stage in reversed(self.stages[:before]):
            if stage.name and stage.name == name.lower():
                return stage
        return self.stages[int(name)] if name.isdecimal() and int(name) < before else None

    def _state(self, stage: Stage, paths: tuple[str, ...], stop: int | None = None) -> _State:
        """Follow a stage's instructions, of the last one only the first `stop`."""
        base = self._find(stage.base, stage.number)
        state = _State() if base is None else self._state(base, paths)
        for step in stage.steps[:stop]:
            self._follow(state, stage, step, paths)
        return state

    def _follow(self, state: _State, stage: Stage, step: Instruction, paths: tuple[str, ...]) -> None:
        if step.word == "ARG":
            name, _, default = step.rest.partition("=")
            state.variables[name] = _expanded(default or self.arguments.get(name, ""), state.variables)
        elif step.word == "ENV":
            state.variables.update(_assigned(step.rest, state.variables))
        elif step.word == "WORKDIR":
            state.folder = posixpath.normpath(
                posixpath.join(state.folder, _expanded(step.rest.strip("\"'"), state.variables))
            )
        elif step.word == "USER":
            state.user = _user(step)
        elif step.word in {"COPY", "ADD"}:
            self._copy(state, stage, step, paths)

    def _copy(self, state: _State, stage: Stage, step: Instruction, paths: tuple[str, ...]) -> None:
        flags = re.match(r"(?:--\S+\s+)*", step.rest)
        given = flags[0] if flags else ""
        words = [_expanded(word, state.variables) for word in _words(step.rest[len(given) :])]
        if len(words) < 2:  # noqa: PLR2004 - a source and a destination
            return
        *sources, to = words
        is_folder = to.endswith("/") or to in {".", ".."} or len(sources) > 1
        target = posixpath.normpath(posixpath.join(state.folder, to))
        is_folder |= target == state.folder or any(
            place.startswith(f"{target}/") for place in state.files.values()
        )
        origin = re.search(r"--from=(\S+)", given)
        there = {path: path for path in paths}
        if origin:
            other = self._find(_expanded(origin[1], state.variables), stage.number)
            there = {} if other is None else self.where(other, *paths)
        for path, held in there.items():
            for source in sources:
                if found := _copied(held, source, target, is_folder=is_folder, is_context=not origin):
                    state.files[path] = found


def read(text: str, target: str = "") -> Stages:
    """Return the stages of a Dockerfile's text with Unix line ends."""
    stages: list[Stage] = []
    arguments: dict[str, str] = {}
    for step in _instructions(text):
        if step.word == "FROM":
            found = _FROM.match(_expanded(step.rest, arguments))
            base, name = (found[1], (found[2] or "").lower()) if found else ("", "")
            stages.append(Stage(len(stages), name, base, step, ()))
        elif stages:
            last = stages[-1]
            stages[-1] = Stage(last.number, last.name, last.base, last.first, (*last.steps, step))
        elif step.word == "ARG":
            name, _, default = step.rest.partition("=")
            arguments[name] = default.strip("\"'")
    return Stages(tuple(stages), target, arguments)


def _instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions, without comments and with continuation lines joined."""
    parts: list[str] = []
    begin = 0
    heredoc = ""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if heredoc:
            heredoc = "" if line.strip() == heredoc else heredoc
            continue
        if (parts and not line.strip()) or line.lstrip().startswith("#"):
            continue
        begin = begin if parts else number
        is_open = line.rstrip().endswith("\\")
        parts.append(line.rstrip()[:-1] if is_open else line)
        if is_open and number + 1 < len(lines):
            continue
        word, _, rest = " ".join(parts).strip().partition(" ")
        parts = []
        if word:
            opened = re.search(r"<<-?['\"]?([A-Za-z_]\w*)", rest) if word.upper() in {"RUN", "COPY"} else None
            heredoc = opened[1] if opened else ""
            yield Instruction(word.upper(), " ".join(rest.split()), begin, number + 1)


def _copied(path: str, source: str, target: str, *, is_folder: bool, is_context: bool) -> str:
    """Return where a COPY puts a path; empty if it does not copy it."""
    held = posixpath.normpath("/" + path) if is_context else path
    plain = posixpath.normpath("/" + source if is_context else posixpath.join("/", source))
    name = posixpath.basename(held)
    if held == plain or (re.search(r"[*?\[]", plain) and fnmatch.fnmatchcase(held, plain)):
        if held.count("/") != plain.count("/"):
            return ""
        return posixpath.join(target, name) if is_folder else target
    prefix = plain.rstrip("/") + "/"
    return posixpath.join(target, held[len(prefix) :]) if held.startswith(prefix) else ""


def _user(step: Instruction) -> str:
    return step.rest.strip("\"'").partition(":")[0]


def _words(text: str) -> list[str]:
    try:
        listed = json.loads(text)
        if isinstance(listed, list):
            return [str(word) for word in listed]
    except (ValueError, RecursionError):
        pass
    try:
        return shlex.split(text)
    except ValueError:  # a quote is not closed
        return text.split()


def _assigned(text: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `ENV A=1 B=2`, or of the old form `ENV A all the rest`."""
    words = _words(text)
    if words and "=" not in words[0]:
        return {words[0]: _expanded(text[len(words[0]) :].strip(), variables)}
    pairs = (word.partition("=") for word in words)
    return {name: _expanded(value, variables) for name, _, value in pairs}


def _named(text: str) -> list[str]:
    """Return the names of the variables in a text."""
    return [found[1] or found[3] for found in _VARIABLE.finditer(text)]


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: variables.get(found[1] or found[3]) or found[2] or "", text)
