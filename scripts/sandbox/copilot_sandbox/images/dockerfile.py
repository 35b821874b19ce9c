"""Parses Dockerfiles: instructions, stages, words and variables. Nothing is run here.

Source: https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from copilot_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEYWORD = re.compile(
    "ADD|ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|RUN|SHELL|STOPSIGNAL|USER"
    "|VOLUME|WORKDIR",
    re.IGNORECASE,
)
_HEREDOC = re.compile(r"<<(-?)(['\"]?)([A-Za-z_][A-Za-z0-9_.]*)\2(?=\s|$)")
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(.*?)\s*")
_MAX_NESTING = 100  # `${` in one word: more than in any real file, far fewer than Python can nest
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class DockerfileError(SandboxError):
    """A Dockerfile is invalid; the message names the line."""


@dataclass(frozen=True)
class Heredoc:
    name: str
    text: str
    expand: bool  # True if variables are substituted; False if the name is in quotes


@dataclass(frozen=True)
class Instruction:
    keyword: str  # in upper case
    flags: tuple[tuple[str, str], ...]  # ("from", "builder")
    text: str  # the text after the flags, with continuation lines joined
    line: int
    escape: str = "\\"
    heredocs: tuple[Heredoc, ...] = ()

    def flag(self, name: str) -> str | None:
        return dict(self.flags).get(name)

    def json(self) -> list[str] | None:
        """Return the words of the exec form, `["a", "b"]`; None for the shell form."""
        if not self.text.startswith("["):
            return None
        try:
            words = json.loads(self.text)
        except (ValueError, RecursionError):
            return None
        return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None

    def words(self, variables: Mapping[str, str]) -> list[str]:
        """Return the words with variables substituted and quotes removed."""
        listed = self.json()
        parts = split_words(self.text, self.escape) if listed is None else listed
        return [expand(part, variables, self.escape, self.line) for part in parts]

    def error(self, reason: str) -> DockerfileError:
        return DockerfileError(f"Dockerfile line {self.line}: {self.keyword}: {reason}")


@dataclass
class Stage:
    base: str  # as written, with variables not yet substituted
    name: str
    line: int
    escape: str = "\\"
    instructions: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True)
class Dockerfile:
    arguments: tuple[Instruction, ...]  # ARG before the first FROM
    stages: tuple[Stage, ...]


def parse(text: str) -> Dockerfile:
    """Parse a Dockerfile. Raises DockerfileError with the line where docker would refuse it."""
    arguments: list[Instruction] = []
    stages: list[Stage] = []
    for instruction in instructions(text):
        if instruction.keyword == "FROM":
            stages.append(_stage(instruction, len(stages)))
        elif stages:
            stages[-1].instructions.append(instruction)
        elif instruction.keyword == "ARG":
            arguments.append(instruction)
        else:
            raise instruction.error("no build stage in current context: start with FROM.")
    if not stages:
        raise DockerfileError(
            "The Dockerfile has no FROM: name the base image, such as `FROM python:3.12-slim`."
        )
    return Dockerfile(tuple(arguments), tuple(stages))


def instructions(text: str) -> list[Instruction]:
    """Split a Dockerfile into instructions: drop comments, join continuation lines, attach heredocs."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    escape = _escape(lines)
    found = []
    at = 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].lstrip().startswith("#"):
            at += 1
            continue
        start = at
        parts: list[str] = []
        continues = True
        while continues and at < len(lines):
            line = lines[at]
            at += 1
            if parts and (not line.strip() or line.lstrip().startswith("#")):
                continue
            continues = line.rstrip().endswith(escape)
            parts.append(line.rstrip()[:-1] if continues else line)
        instruction = _instruction("".join(parts).strip(), start + 1, escape)
        if instruction.keyword in ("RUN", "COPY", "ADD") and instruction.json() is None:
            heredocs, at = _heredocs(instruction, lines, at)
            instruction = Instruction(
                instruction.keyword, instruction.flags, instruction.text, instruction.line, escape, heredocs
            )
        found.append(instruction)
    return found


def _escape(lines: list[str]) -> str:
    """Return the escape character of the parser directives at the top, by default the backslash."""
    for line in lines:
        directive = _DIRECTIVE.fullmatch(line.strip())
        if directive is None:
            break
        if directive[1].lower() == "escape":
            if directive[2] not in ("\\", "`"):
                raise DockerfileError(
                    f"Dockerfile line 1: invalid escape token '{directive[2]}': must be ` or \\."
                )
            return directive[2]
    return "\\"


def _instruction(text: str, line: int, escape: str) -> Instruction:
    keyword, rest = [*text.split(maxsplit=1), "", ""][:2]
    if not _KEYWORD.fullmatch(keyword):
        raise DockerfileError(f"Dockerfile line {line}: unknown instruction: {keyword[:40]}")
    flags = []
    rest = rest.strip()
    while match := re.match(r"--([a-z][a-z-]*)(?:=(\S*))?(?:\s+|$)", rest):
        if keyword.upper() not in ("ADD", "COPY", "FROM", "HEALTHCHECK", "RUN"):
            break
        flags.append((match[1], match[2] or ""))
        rest = rest[match.end() :]
    if not rest:
        raise DockerfileError(f"Dockerfile line {line}: {keyword.upper()} requires at least one argument")
    return Instruction(keyword.upper(), tuple(flags), rest, line, escape)


def _heredocs(instruction: Instruction, lines: list[str], at: int) -> tuple[tuple[Heredoc, ...], int]:
    heredocs = []
    for dash, quote, name in _HEREDOC.findall(instruction.text):
        body = []
        while True:
            if at >= len(lines):
                raise instruction.error(f"unterminated heredoc: no line `{name}` follows.")
            line = lines[at].lstrip("\t") if dash else lines[at]
            at += 1
            if line == name:
                break
            body.append(line + "\n")
        heredocs.append(Heredoc(name, "".join(body), expand=not quote))
    return tuple(heredocs), at


def _stage(instruction: Instruction, number: int) -> Stage:
    words = instruction.text.split()
    if len(words) == 1:
        return Stage(words[0], str(number), instruction.line, instruction.escape)
    if len(words) == 3 and words[1].upper() == "AS":  # noqa: PLR2004 - `image AS name` are three words
        return Stage(words[0], words[2].lower(), instruction.line, instruction.escape)
    raise instruction.error("write `FROM image` or `FROM image AS name`.")


def split_words(text: str, escape: str = "\\") -> list[str]:
    """Split at whitespace outside quotes. Quotes and escapes remain; `expand` removes them."""
    words: list[str] = []
    word = ""
    quote = ""
    at = 0
    while at < len(text):
        char = text[at]
        if char == escape and quote != "'" and at + 1 < len(text):
            word += text[at : at + 2]
            at += 2
            continue
        if quote:
            quote = "" if char == quote else quote
            word += char
        elif char in "'\"":
            quote = char
            word += char
        elif char.isspace():
            if word:
                words.append(word)
            word = ""
        else:
            word += char
        at += 1
    return [*words, word] if word else words


def expand(word: str, variables: Mapping[str, str], escape: str = "\\", line: int = 0) -> str:
    """Substitute `$name`, `${name}`, `${name:-default}`, `${name:+instead}`; remove quotes and escapes.

    Raises DockerfileError for an unclosed `${`, or a modifier that docker does not know.
    """
    out = []
    quote = ""
    at = 0
    while at < len(word):
        char = word[at]
        if char == escape and quote != "'" and at + 1 < len(word):
            following = word[at + 1]
            # Inside double quotes an escape only counts before a character with a special meaning.
            out.append(following if not quote or following in f'"${escape}' else char + following)
            at += 2
        elif char in "'\"" and quote in ("", char):
            quote = "" if quote else char
            at += 1
        elif char == "$" and quote != "'":
            value, at = _variable(word, at + 1, variables, escape, line)
            out.append(value)
        else:
            out.append(char)
            at += 1
    return "".join(out)


def _variable(word: str, at: int, variables: Mapping[str, str], escape: str, line: int) -> tuple[str, int]:
    """Return the value of the variable after a `$` at `at`, and its end."""
    plain = _NAME.match(word, at)
    if plain:
        return variables.get(plain[0], ""), plain.end()
    if not word.startswith("{", at):
        return "$", at
    if word.count("${") > _MAX_NESTING:
        raise DockerfileError(f"Dockerfile line {line}: too many variables within one word")
    end = _closing_brace(word, at)
    name = _NAME.match(word, at + 1)
    if end < 0 or name is None or name.end() > end:
        raise DockerfileError(f"Dockerfile line {line}: bad substitution in `{word[:60]}`")
    modifier = re.match(r"(:?)([-+?])", word[name.end() : end])
    if name.end() == end:
        return variables.get(name[0], ""), end + 1
    if modifier is None:
        raise DockerfileError(f"Dockerfile line {line}: unsupported modifier in substitution `{word[:60]}`")
    value = variables.get(name[0])
    given = value is not None and (value != "" or not modifier[1])
    alternative = word[name.end() + modifier.end() : end]
    if modifier[2] == "?" and not given:
        raise DockerfileError(
            f"Dockerfile line {line}: {name[0]}: {alternative or 'is not allowed to be unset'}"
        )
    if (modifier[2] == "+") == given:
        return expand(alternative, variables, escape, line), end + 1
    return (value or "") if given else "", end + 1


def _closing_brace(word: str, at: int) -> int:
    depth = 0
    for position in range(at, len(word)):
        depth += {"{": 1, "}": -1}.get(word[position], 0)
        if depth == 0:
            return position
    return -1


def assignments(instruction: Instruction, variables: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the names and values of an ENV: `ENV A=1 B="two words"`, or the old form `ENV A all the rest`.

    Raises DockerfileError where a name has no value.
    """

    def expanded(text: str) -> str:
        return expand(text, variables, instruction.escape, instruction.line)

    parts = split_words(instruction.text, instruction.escape)
    if "=" not in parts[0]:
        if len(parts) == 1:
            raise instruction.error(f"{parts[0]} has no value: write {parts[0]}=value.")
        return [(parts[0], expanded(instruction.text[len(parts[0]) :].strip()))]
    pairs = []
    for part in parts:
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise instruction.error(f"syntax error: can't find = in `{part[:60]}`.")
        pairs.append((expanded(name), expanded(value)))
    return pairs
