"""Walks through a RUN step's shell text: decides its conditions, and hands on the commands that would run.

No program is run. A condition that depends on the machine (a file of the base image, a program's output) is
not decided: its commands are handed on as not certain. Each other command is taken to succeed, as in a build
that works.
"""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from copilot_sandbox.images import shell
from copilot_sandbox.images.dockerfile import DockerfileError, expand
from copilot_sandbox.images.shell_files import StepFiles
from copilot_sandbox.images.tree import CopyError, Tree, file_of

if TYPE_CHECKING:
    from collections.abc import Callable

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_SUBSTITUTION = re.compile(r"\$\(([^()`]+)\)")
_FOUND_WHEELS = re.compile(
    r"""\s*(?:find\s+([\w./-]+)(?:\s+-type\s+f)?\s+-name\s+["']?[\w*.-]*|ls\s+([\w./-]+)/[\w*.-]*)\.whl["']?\s*"""
)
_PLAIN = re.compile(r"[\w./=:,@+\s-]*")  # text that needs no quotes
_MAX_COMMANDS = 5000  # that one step may hand on: loops in loops end here
# Commands whose exit code depends on the machine. They change nothing.
_QUERIES = frozenset({"[[", "which", "type", "hash", "grep", "id", "getent", "ls", "cmp", "diff"})
_WITHOUT_EFFECT = frozenset(
    {"set", "true", ":", "umask", "shopt", "ulimit", "sync", "unset", "wait", "shift"}
)


class Outcome(NamedTuple):
    """The result of a command: its success and its output. None means unknown."""

    status: bool | None = True
    output: str | None = None
    assumed: bool = False  # the command was not run, and is taken to succeed


@dataclass(frozen=True)
class Command:
    words: tuple[str, ...]  # expanded; empty if that is not possible here
    text: str  # as written
    folder: str
    variables: dict[str, str]
    stdin: str | None  # the text that is piped into it
    certain: bool  # False below a condition that is not decided here
    may_fail: bool = False  # it stands before `||`


@dataclass
class Interpreter:
    """Walks through one step. `trees` are the files it sees first, then others that get its files too."""

    folder: str
    trees: tuple[Tree, ...]
    variables: dict[str, str]
    execute: Callable[[Command], Outcome]
    unknown: set[str] = field(default_factory=set)  # variables that were set to what is not known here
    commands: int = 0
    assumed: bool = False  # a command that was not run was taken to succeed, since the last condition
    alternatives: int = 0  # left sides of `||` around the present command

    @property
    def _files(self) -> StepFiles:
        return StepFiles(self.folder, self.trees)

    def run(  # noqa: C901, PLR0911 - a case for each kind of node
        self, node: shell.Node, *, certain: bool = True, stdin: str | None = None
    ) -> Outcome:
        """Walk through a part of the step; return its outcome."""
        match node:
            case shell.Simple():
                return self._simple(node, certain, stdin)
            case shell.Sequence():
                outcomes = [self.run(each, certain=certain) for each in node.nodes]
                return Outcome(outcomes[-1].status if outcomes else True, _joined(outcomes))
            case shell.Both():
                return self._both(node, certain)
            case shell.Not():
                status = self.run(node.node, certain=certain).status
                return Outcome(None if status is None else not status)
            case shell.Pipe():
                outcome = Outcome(output=stdin)
                for part in node.parts:
                    outcome = self.run(part, certain=certain, stdin=outcome.output)
                return outcome
            case shell.Group():
                return self._group(node, certain, stdin)
            case shell.If():
                return self._if(node, certain)
            case shell.For():
                return self._for(node, certain)
            case shell.Case():
                return self._case(node, certain)

    def _both(self, node: shell.Both, certain: bool) -> Outcome:  # noqa: FBT001
        before, self.assumed = self.assumed, False
        self.alternatives += node.alternative
        left = self.run(node.left, certain=certain)
        self.alternatives -= node.alternative
        is_assumed, self.assumed = self.assumed, self.assumed or before
        if left.status is None or (node.alternative and left.status and is_assumed):
            self.run(node.right, certain=False)
            return Outcome(left.status)
        if left.status == node.alternative:
            return left
        right = self.run(node.right, certain=certain)
        return Outcome(right.status, _joined([left, right]))

    def _group(self, node: shell.Group, certain: bool, stdin: str | None) -> Outcome:  # noqa: FBT001
        before = (self.folder, dict(self.variables), set(self.unknown))
        outcome = self.run(node.node, certain=certain, stdin=stdin)
        if node.subshell:
            self.folder, self.variables, self.unknown = before
        return outcome

    def _if(self, node: shell.If, certain: bool) -> Outcome:  # noqa: FBT001
        for condition, body in node.branches:
            self.assumed = False
            status = self.run(condition, certain=certain).status
            status = None if self.assumed else status
            if status:
                return self.run(body, certain=certain)
            if status is None:
                for _, other in node.branches[node.branches.index((condition, body)) :]:
                    self.run(other, certain=False)
                if node.otherwise is not None:
                    self.run(node.otherwise, certain=False)
                return Outcome(None)
        return Outcome(output="") if node.otherwise is None else self.run(node.otherwise, certain=certain)

    def _for(self, node: shell.For, certain: bool) -> Outcome:  # noqa: FBT001
        values = []
        for word in node.words:
            expanded = self.words(word)
            if expanded is None:
                self.unknown.add(node.name)
                self.run(node.body, certain=False)
                return Outcome(None)
            values += [match for each in expanded for match in self._glob(each)]
        outcomes = []
        for value in values:
            self._set(node.name, value)
            outcomes.append(self.run(node.body, certain=certain))
        return Outcome(output=_joined(outcomes))

    def _case(self, node: shell.Case, certain: bool) -> Outcome:  # noqa: FBT001
        value = self.words(node.word)
        for patterns, body in node.branches:
            expanded = [self.words(pattern) for pattern in patterns]
            if value is None or None in expanded:
                for _, other in node.branches:
                    self.run(other, certain=False)
                return Outcome(None)
            if any(fnmatch.fnmatchcase("".join(value), "".join(each or [])) for each in expanded):
                return self.run(body, certain=certain)
        return Outcome(output="")

    def _simple(self, node: shell.Simple, certain: bool, stdin: str | None) -> Outcome:  # noqa: FBT001
        self.commands += 1
        if self.commands > _MAX_COMMANDS:
            raise shell.ShellError("it has too many commands")
        words = list(node.words)
        before = {}
        while words and (assignment := _ASSIGNMENT.fullmatch(words[0])):
            before[assignment[1]] = self.words(assignment[2], split=False)
            words.pop(0)
        if not words:
            for name, value in before.items():
                self._set(name, None if value is None or not certain else "".join(value))
            return Outcome()
        expanded = [self.words(word) for word in words]
        known = [] if None in expanded else [word for each in expanded for word in each or []]
        if node.text and any(each.operator == "<" for each in node.redirections):
            stdin = self._read(next(each.word for each in node.redirections if each.operator == "<"))
        given = {name: "".join(value) for name, value in before.items() if value is not None}
        variables = {**self.variables, **given}
        may_fail = self.alternatives > 0
        command = Command(tuple(known), node.text, self.folder, variables, stdin, certain, may_fail)
        outcome = self._builtin(command) if known else None
        if (
            outcome is not None
            and outcome.output is None
            and outcome.status is not None
            and known[0] != "cat"
        ):
            outcome = Outcome(outcome.status, "")
        if not known and words[0] in ("[", "test", *_QUERIES):
            outcome = Outcome(None)
        if outcome is None:
            outcome = self.execute(command)
            self.assumed |= outcome.assumed
        return self._redirected(node, outcome, certain)

    def _redirected(self, node: shell.Simple, outcome: Outcome, certain: bool) -> Outcome:  # noqa: FBT001
        for each in node.redirections:
            if each.operator not in (">", ">>", ">|", "1>", "1>>"):
                continue
            target = self.words(each.word)
            if outcome.output is not None and target and certain and not target[0].startswith("/dev/"):
                add = self._files.text(target[0]) or "" if each.operator.endswith(">>") else ""
                with suppress(CopyError):
                    self._files.put(target[0], file_of((add + outcome.output).encode()))
            return Outcome(outcome.status, "" if outcome.output is not None else None)
        return outcome

    def _builtin(self, command: Command) -> Outcome | None:  # noqa: C901, PLR0911, PLR0912 - a case for each
        """Do a command that only changes the shell, tests something or writes text; None for another."""
        name, *rest = command.words
        match posixpath.basename(name):
            case "cd":
                if len(rest) == 1 and command.certain:
                    self.folder = posixpath.normpath(posixpath.join(self.folder, rest[0]))
                return Outcome()
            case "export":
                for word in rest:
                    if command.certain and (assignment := _ASSIGNMENT.fullmatch(word)):
                        self._set(assignment[1], assignment[2])
                return Outcome()
            case "false":
                return Outcome(status=False)
            case "test":
                return Outcome(self._test(rest))
            case "[" | "[[" as bracket if rest and rest[-1] == {"[": "]", "[[": "]]"}[bracket]:
                return Outcome(self._test(rest[:-1], patterns=bracket == "[["))
            case "echo":
                return Outcome(output=" ".join(rest[1:] if rest[:1] == ["-n"] else rest) + "\n")
            case "cat":
                texts = [self._files.text(each) for each in rest]
                return Outcome(output=None if None in texts or not texts else "".join(map(str, texts)))
            case "mkdir" | "touch" | "cp" | "mv" | "chmod" | "sed" as program if command.certain:
                words = [match for word in rest for match in self._glob(word)]
                return Outcome() if self._files.change(program, words) else None
            case name if name in _WITHOUT_EFFECT:
                return Outcome()
            case name if name in _QUERIES or (name == "command" and rest[:1] in (["-v"], ["-V"])):
                return Outcome(status=None)
        return None

    def _test(  # noqa: PLR0911 - a case for each form
        self, words: list[str], *, patterns: bool = False
    ) -> bool | None:
        """Decide the words of `test`. Return None for what depends on the machine, or is not known here."""
        match words:
            case ["!", *rest]:
                status = self._test(rest, patterns=patterns)
                return None if status is None else not status
            case ["-z", text]:
                return not text
            case ["-n", text] | [text]:
                return bool(text)
            case [("-e" | "-f" | "-d" | "-s" | "-r") as kind, path]:
                return self._files.exists(path, kind)
            case [left, "=" | "==", right]:
                return fnmatch.fnmatchcase(left, right) if patterns else left == right
            case [left, "!=", right]:
                return not (fnmatch.fnmatchcase(left, right) if patterns else left == right)
            case [left, ("-eq" | "-ne" | "-gt" | "-ge" | "-lt" | "-le") as kind, right]:
                return _compared(left, kind, right)
        return None

    def words(self, word: str, *, split: bool = True) -> list[str] | None:
        """Expand a word as the shell does. Return None if that is not possible here."""
        whole = _SUBSTITUTION.fullmatch(word)
        word = _SUBSTITUTION.sub(self._substituted, word)
        if whole and "$(" not in word:
            return word.split() if split else [word]
        plain = re.sub(r"'[^']*'", "", word)
        if re.search(r"`|\$\(|\$[^A-Za-z_{\"'\s/.:,]|\$\{[^}A-Za-z_]", plain):
            return None
        if any(name in self.unknown for name in re.findall(r"\$\{?(\w+)", plain)):
            return None
        try:
            text = expand(word, self.variables)
        except DockerfileError:
            return None
        if word.startswith("~/"):
            text = self.variables.get("HOME", "/root") + text[1:]
        if split and "$" in word and not re.search(r"['\"]", word):
            return text.split()
        return [text]

    def _substituted(self, match: re.Match[str]) -> str:
        """Return the output of `$(…)` if it is known, else the text as it is.

        Wheels are not built in a step of their own here, so those that `find` looks for are a pattern.
        """
        if wheels := _FOUND_WHEELS.fullmatch(match[1]):
            return f"{(wheels[1] or wheels[2]).rstrip('/')}/*.whl"
        child = Interpreter(self.folder, self.trees, dict(self.variables), _known_output, set(self.unknown))
        try:
            output = child.run(shell.parse(match[1])).output
        except shell.ShellError:
            return match[0]
        return match[0] if output is None or not _PLAIN.fullmatch(output) else output.rstrip("\n")

    def _set(self, name: str, value: str | None) -> None:
        self.unknown.discard(name)
        if value is None:
            self.unknown.add(name)
        else:
            self.variables[name] = value

    def _glob(self, word: str) -> list[str]:
        if not re.search(r"[*?\[]", word):
            return [word]
        path = posixpath.join(self.folder, word)
        matches = self.trees[0].glob(path)
        if word.startswith("/"):
            return matches or [word]
        return [posixpath.relpath(match, self.folder) for match in matches] or [word]

    def _read(self, word: str) -> str | None:
        expanded = self.words(word)
        return self._files.text(expanded[0]) if expanded else None


def _known_output(command: Command) -> Outcome:
    """Return what the few programs print that depend on the kind of machine alone."""
    machine = os.uname().machine
    outputs: dict[tuple[str, ...], str | None] = {
        ("uname", "-m"): machine,
        ("dpkg", "--print-architecture"): {"x86_64": "amd64", "aarch64": "arm64"}.get(machine),
    }
    return Outcome(output=outputs.get(command.words))


def _joined(outcomes: list[Outcome]) -> str | None:
    outputs = [each.output for each in outcomes]
    return None if None in outputs else "".join(map(str, outputs))


def _compared(left: str, kind: str, right: str) -> bool | None:
    try:
        one, two = int(left), int(right)
    except ValueError:
        return None
    return {
        "-eq": one == two,
        "-ne": one != two,
        "-gt": one > two,
        "-ge": one >= two,
        "-lt": one < two,
        "-le": one <= two,
    }[kind]
