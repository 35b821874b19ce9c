"""Parses the shell text of a RUN step into commands, lists and conditions. Nothing is run here.

Only what Dockerfiles use is parsed: lists, pipes, redirections, `if`, `for`, `case`, `{ … }` and `( … )`.
What is not (functions, `while`, here-documents) raises ShellError.
Source: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from copilot_sandbox.errors import SandboxError

_MAX_DEPTH = 40  # nested compounds; more than in any real file, far fewer than Python can nest
_OPERATOR = re.compile(r"\n|&&|\|\||;;|\|&|&>>|&>|<<<|<<-?|<&|>&|>>|>\||[;&|()<>]")
_CONTINUED = re.compile(r"(\"(?:[^\"\\]|\\.)*\")|('[^']*')|\\\n", re.DOTALL)
_REDIRECTION = re.compile(r"<<<|<<-?|<&|>&|>>|>\||[<>]")
_REDIRECTIONS = ("<", ">", ">>", ">|", "&>", "&>>", ">&", "<&")
_RESERVED = frozenset(
    {"if", "then", "elif", "else", "fi", "for", "do", "done", "case", "esac", "{", "}", "!"}
)
_UNSUPPORTED = frozenset({"while", "until", "function", "select"})


class ShellError(SandboxError):
    """The text has a part of the shell's language that is not parsed here, or is no shell text."""


@dataclass(frozen=True)
class Redirection:
    operator: str
    word: str  # not expanded


@dataclass(frozen=True)
class Simple:
    words: tuple[str, ...]  # as written: with quotes and `$name`
    redirections: tuple[Redirection, ...] = ()

    @property
    def text(self) -> str:
        after = [f"{each.operator} {each.word}" for each in self.redirections]
        return " ".join([*self.words, *after])


@dataclass(frozen=True)
class Pipe:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Not:
    node: Node


@dataclass(frozen=True)
class Both:
    """`a && b`, or `a || b` if `alternative`."""

    left: Node
    right: Node
    alternative: bool


@dataclass(frozen=True)
class Sequence:
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Group:
    """`( … )`, which runs in a shell of its own, or `{ …; }`."""

    node: Node
    subshell: bool


@dataclass(frozen=True)
class If:
    branches: tuple[tuple[Node, Node], ...]
    otherwise: Node | None


@dataclass(frozen=True)
class For:
    name: str
    words: tuple[str, ...]
    body: Node


@dataclass(frozen=True)
class Case:
    word: str
    branches: tuple[tuple[tuple[str, ...], Node], ...]


Node: TypeAlias = Simple | Pipe | Not | Both | Sequence | Group | If | For | Case


@dataclass(frozen=True)
class _Token:
    text: str
    operator: bool


def parse(text: str) -> Node:
    """Parse shell text. Raises ShellError."""
    parser = _Parser(_tokens(text))
    node = parser.sequence(())
    if parser.token is not None:
        raise ShellError(f"`{parser.token.text.strip() or 'a new line'}` is not expected")
    return node


def _tokens(text: str) -> list[_Token]:
    tokens = []
    at = 0
    while at < len(text):
        char = text[at]
        if char in " \t\r":
            at += 1
        elif text.startswith("\\\n", at):
            at += 2
        elif char == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        elif match := re.compile(r"\d*(?=[<>])").match(text, at):
            # The number of a file before a redirection, as in `2>`, belongs to it.
            number = match[0]
            operator = _REDIRECTION.match(text, match.end())
            tokens.append(_Token(number + (operator[0] if operator else ""), operator=True))
            at = operator.end() if operator else match.end() + 1
        elif operator := _OPERATOR.match(text, at):
            tokens.append(_Token(operator[0], operator=True))
            at = operator.end()
        else:
            end = _word_end(text, at)
            tokens.append(_Token(_CONTINUED.sub(_joined, text[at:end]), operator=False))
            at = end
    return tokens


def _joined(match: re.Match[str]) -> str:
    """Remove a line's continuation, which is none within single quotes."""
    return (match[1] or "").replace("\\\n", "") + (match[2] or "")


def _word_end(text: str, at: int) -> int:  # noqa: C901 - a case for each character
    quote = ""
    closing: list[str] = []  # of `$(`, `${` and backquotes
    while at < len(text):
        char = text[at]
        if char == "\\" and quote != "'":
            at += 2
            continue
        if quote == "'":
            quote = "" if char == "'" else quote
        elif char == "'" and not quote:
            quote = char
        elif char == '"':
            quote = "" if quote else char
        elif text.startswith(("$(", "${"), at):
            closing.append(")" if text[at + 1] == "(" else "}")
            at += 1
        elif closing and char == "(" and closing[-1] == ")":
            closing.append(")")
        elif closing and char == closing[-1]:
            closing.pop()
        elif char == "`":
            closing.append("`")
        elif not quote and not closing and (char in " \t\r" or _OPERATOR.match(text, at)):
            return at
        at += 1
    if quote or closing:
        raise ShellError(f"`{quote or closing[-1]}` is not closed")
    return len(text)


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    @property
    def token(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _is(self, *texts: str) -> bool:
        """Return True if an operator or a reserved word of these comes next."""
        token = self.token
        return token is not None and token.text in texts and (token.operator or token.text in _RESERVED)

    def _skip(self, *texts: str) -> bool:
        if self._is(*texts):
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._skip(text):
            raise ShellError(f"`{text}` is missing")

    def _word(self) -> str:
        token = self.token
        if token is None or token.operator:
            raise ShellError("a word is missing")
        self._at += 1
        return token.text

    def _lines(self) -> None:
        while self._skip("\n"):
            pass

    def sequence(self, ends: tuple[str, ...]) -> Node:
        """Parse commands up to one of `ends`, which is not consumed."""
        nodes: list[Node] = []
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ShellError("it is nested too deeply")
        while True:
            while self._skip("\n", ";"):
                pass
            if self.token is None or self._is(*ends):
                break
            nodes.append(self._and_or())
            if self._skip("&"):
                raise ShellError("a command runs in the background")
            if not self._is("\n", ";", *ends) and self.token is not None:
                break
        self._depth -= 1
        return nodes[0] if len(nodes) == 1 else Sequence(tuple(nodes))

    def _and_or(self) -> Node:
        node = self._pipe()
        while self._is("&&", "||"):
            alternative = self._is("||")
            self._at += 1
            self._lines()
            node = Both(node, self._pipe(), alternative)
        return node

    def _pipe(self) -> Node:
        if self._skip("!"):
            return Not(self._pipe_parts())
        return self._pipe_parts()

    def _pipe_parts(self) -> Node:
        parts = [self._command()]
        while self._skip("|", "|&"):
            self._lines()
            parts.append(self._command())
        return parts[0] if len(parts) == 1 else Pipe(tuple(parts))

    def _command(self) -> Node:
        compounds = {
            "if": self._if,
            "for": self._for,
            "case": self._case,
            "{": self._braces,
            "(": self._subshell,
        }
        token = self.token
        if token is not None and (token.operator or token.text in _RESERVED) and token.text in compounds:
            self._at += 1
            node = compounds[token.text]()
            if self._redirections():
                raise ShellError("a compound command is redirected")
            return node
        return self._simple()

    def _simple(self) -> Simple:
        words: list[str] = []
        redirections = self._redirections()
        while self.token is not None and not self.token.operator:
            if not words and (self.token.text in _RESERVED or self.token.text in _UNSUPPORTED):
                raise ShellError(f"`{self.token.text}` is not expected")
            words.append(self._word())
            redirections += self._redirections()
        if self._is("(") or not (words or redirections):
            raise ShellError("a command is missing, or a function is defined")
        return Simple(tuple(words), tuple(redirections))

    def _redirections(self) -> list[Redirection]:
        found = []
        while (
            self.token is not None
            and self.token.operator
            and self.token.text.lstrip("0123456789") in _REDIRECTIONS
        ):
            operator = self.token.text
            self._at += 1
            found.append(Redirection(operator, self._word()))
        return found

    def _if(self) -> Node:
        branches = []
        otherwise = None
        while True:
            condition = self.sequence(("then",))
            self._expect("then")
            branches.append((condition, self.sequence(("elif", "else", "fi"))))
            if not self._skip("elif"):
                break
        if self._skip("else"):
            otherwise = self.sequence(("fi",))
        self._expect("fi")
        return If(tuple(branches), otherwise)

    def _for(self) -> Node:
        name = self._word()
        self._lines()
        if self._word() != "in":
            raise ShellError("`in` is missing")
        words = []
        while self.token is not None and not self.token.operator:
            words.append(self._word())
        while self._skip(";", "\n"):
            pass
        self._expect("do")
        body = self.sequence(("done",))
        self._expect("done")
        return For(name, tuple(words), body)

    def _case(self) -> Node:
        word = self._word()
        self._lines()
        if self._word() != "in":
            raise ShellError("`in` is missing")
        branches = []
        self._lines()
        while not self._is("esac"):
            self._skip("(")
            patterns = [self._word()]
            while self._skip("|"):
                patterns.append(self._word())
            self._expect(")")
            branches.append((tuple(patterns), self.sequence((";;", "esac"))))
            self._skip(";;")
            self._lines()
        self._expect("esac")
        return Case(word, tuple(branches))

    def _braces(self) -> Node:
        node = self.sequence(("}",))
        self._expect("}")
        return Group(node, subshell=False)

    def _subshell(self) -> Node:
        node = self.sequence((")",))
        self._expect(")")
        return Group(node, subshell=True)
