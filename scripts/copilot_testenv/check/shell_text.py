"""Parse shell text into commands, as far as the text alone shows which programs will run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\f\v]+|\\\r?\n)
    | (?P<comment>(?<![^\s;&|()])\#[^\n]*)
    | (?P<stop>[;&|()\n]+)
    | (?P<word>(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^\s;&|()\\]|\\$)+)
    """,
    re.VERBOSE | re.DOTALL,
)
_QUOTED = re.compile(r"""'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)""", re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
# Words that run the program after them, or that begin a clause: the next word is the program.
_BEFORE = frozenset(
    [
        "exec",
        "env",
        "sudo",
        "time",
        "nice",
        "nohup",
        "command",
        "then",
        "do",
        "else",
        "if",
        "while",
        "until",
        "!",
        "{",
        "@",
        "-",
    ]
)
# Programs, functions of make and usual names of a script's functions that only print or search their words.
_PRINTING = frozenset(
    [
        "echo",
        "printf",
        ":",
        "logger",
        "grep",
        "egrep",
        "fgrep",
        "rg",
        "cat",
        "which",
        "man",
        "info",
        "warning",
        "error",
        "warn",
        "die",
        "log",
        "print",
    ]
)
_DEEPEST = 5  # `sh -c` within `sh -c`


@dataclass(frozen=True)
class Simple:
    """One command: its words without quotes, and the line, from 1, where it begins.

    `piped` is True where the command reads the output of the command before it.
    """

    words: tuple[str, ...]
    line: int = 1
    piped: bool = False

    @property
    def own(self) -> tuple[str, ...]:
        """Return the words from the program on, without assignments and words such as `exec` before it."""
        words = list(self.words)
        while words and (name_of(words[0].lstrip("@")) in _BEFORE or _ASSIGNMENT.match(words[0])):
            words.pop(0)
        return tuple(words)

    @property
    def program(self) -> str:
        """Return the name of the program or Python module, without its folder; empty if there is none."""
        own = self.own
        if own[1:2] == ("-m",) and name_of(own[0]).startswith("python"):
            own = own[2:]
        return name_of(own[0].lstrip("@-")) if own else ""

    @property
    def only_prints(self) -> bool:
        """Return True if the command only prints or searches its words, and does not run them."""
        return self.program in _PRINTING


def name_of(word: str) -> str:
    """Return the last part of a path."""
    return PurePosixPath(word).name


def commands(text: str, line: int = 1, depth: int = 0) -> list[Simple]:
    """Return the commands of a script's text, which begins at `line`.

    A call of `sh -c` is replaced by the commands in its argument.
    """
    simples: list[Simple] = []
    words: list[str] = []
    begun, piped = line, False

    def close() -> None:
        if words:
            simples.extend(expanded(Simple(tuple(words), begun, piped), depth))
            words.clear()

    for token in _TOKEN.finditer(text):
        if token["word"] is not None:
            begun = begun if words else line
            words.append(_plain(token["word"]))
        elif token["stop"] is not None:
            close()
            piped = token["stop"].strip() == "|"
        line += token[0].count("\n")
    close()
    return simples


def expanded(simple: Simple, depth: int = 0) -> Iterator[Simple]:
    """Yield the command, or the commands in its text for a shell (`sh -c`, `su app -c`, `eval`)."""
    texts = []
    if depth < _DEEPEST and not simple.only_prints:
        texts = [
            word
            for before, word in zip(simple.words, simple.words[1:], strict=False)
            if re.fullmatch(r"-[a-z]*c|eval", before) and re.search(r"[\s;&|]", word)
        ]
    if not texts:
        yield simple
    for text in texts:
        for inner in commands(text, 1, depth + 1):
            yield replace(inner, line=simple.line + inner.line - 1)


def of_words(words: Sequence[str]) -> list[Simple]:
    """Return the commands of a list of words in Docker's exec form, which no shell reads."""
    return list(expanded(Simple(tuple(words)))) if words else []


def _plain(word: str) -> str:
    def inner(found: re.Match[str]) -> str:
        if found[1] is not None:
            return found[1]
        if found[2] is not None:
            return re.sub(r'\\(["\\$`])', r"\1", found[2])
        return "" if found[3] == "\n" else found[3]

    return _QUOTED.sub(inner, word)
