"""Finds the files of a build context that a .dockerignore excludes.

This is the project's own code, because docker-py's matcher ignores case and refuses no invalid pattern, Git's
rules (pathspec) differ, and e2b-dockerfile-utils, a port of Docker's code, is at 0.1 of October 2026.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from copilot_sandbox.errors import SandboxError
from copilot_sandbox.private import FILE_OF_SECRETS as FILE

if TYPE_CHECKING:
    from pathlib import Path


class IgnoreError(SandboxError):
    """A .dockerignore has a pattern that docker refuses, too."""


@dataclass(frozen=True)
class Pattern:
    """One line. Matching paths are excluded, or with `!` included again."""

    regex: re.Pattern[str]
    keep: bool
    literal: str  # the beginning that all matching paths have


class Ignore:
    """Docker's rules: patterns are anchored at the context's root, and the last matching one decides.

    A pattern also matches all paths below a matching one.
    Source: https://docs.docker.com/build/concepts/context/#dockerignore-files
    """

    def __init__(self, text: str) -> None:
        self.patterns = tuple(_patterns(text))

    def __call__(self, path: str) -> bool:
        """Return True if `path` (relative to the context, with slashes) is excluded."""
        names = path.split("/")
        paths = ["/".join(names[:count]) for count in range(1, len(names) + 1)]
        ignored = False
        for pattern in self.patterns:
            if pattern.keep == ignored and any(pattern.regex.fullmatch(each) for each in paths):
                ignored = not pattern.keep
        return ignored

    def keeps_below(self, folder: str) -> bool:
        """Return True if a part of an excluded folder may be included again."""
        inside = folder + "/"
        return any(
            pattern.keep and (pattern.literal.startswith(inside) or inside.startswith(pattern.literal))
            for pattern in self.patterns
        )


def read_ignore(context: Path, dockerfile: Path) -> Ignore:
    """Return the files that are not part of the context. Raises IgnoreError for an invalid pattern."""
    return Ignore(ignored_text(context, dockerfile))


def ignored_text(context: Path, dockerfile: Path) -> str:
    """Return the text of `<Dockerfile>.dockerignore` beside the Dockerfile, or else of `.dockerignore`.

    The user's file of secrets is excluded in any case.
    """
    for file in (dockerfile.with_name(dockerfile.name + ".dockerignore"), context / ".dockerignore"):
        if file.is_file():
            text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
            return f"{text}\n**/{FILE}\n"
    return f"**/{FILE}\n"


def _patterns(text: str) -> list[Pattern]:
    patterns = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("#"):
            continue
        words = line.strip()
        keep = words.startswith("!")
        words = words.removeprefix("!").strip()
        if keep and not words:
            raise IgnoreError(
                f'.dockerignore line {number}: illegal exclusion pattern: "!": add a pattern after it.'
            )
        if not words:
            continue
        cleaned = posixpath.normpath(words)
        cleaned = cleaned.lstrip("/") or "/"
        try:
            literal = re.split(r"[*?\[\\]", cleaned)[0]
            patterns.append(Pattern(re.compile(translate(cleaned), re.DOTALL), keep, literal))
        except re.error as error:
            raise IgnoreError(
                f".dockerignore line {number}: `{words}` is not a valid pattern: {error}."
            ) from error
    return patterns


def translate(pattern: str) -> str:
    """Convert a pattern of Go's filepath.Match, with docker's `**`, to a regular expression."""
    regex = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*" and pattern.startswith("*", at):
            while pattern.startswith("*", at):
                at += 1
            if pattern.startswith("/", at):
                at += 1
                regex.append("(?:.*/)?")
            else:
                regex.append(".*")
        elif char == "*":
            regex.append("[^/]*")
        elif char == "?":
            regex.append("[^/]")
        elif char == "[":
            chosen, at = _character_class(pattern, at)
            regex.append(chosen)
        elif char == "\\" and at < len(pattern):
            regex.append(re.escape(pattern[at]))
            at += 1
        else:
            regex.append(re.escape(char))
    return "".join(regex)


_ONE = r"(?:\\.|[^\]\\-])"  # a character in brackets, as Go's filepath.Match reads it


def _character_class(pattern: str, at: int) -> tuple[str, int]:
    """Return the regular expression of the `[a-z]` or `[^a-z]` that starts before `at`, and its end."""
    match = re.compile(rf"(\^?)((?:{_ONE}(?:-{_ONE})?)+)\]").match(pattern, at)
    if match is None:
        raise re.error("a bracket is not closed, or a range lacks an end")
    # Each character is escaped, because Python has set operations (`&&`, `||`, `~~`) that Go does not have.
    parts = [
        "-".join(re.escape(end.removeprefix("\\") or end) for end in ends if end)
        for ends in re.findall(rf"({_ONE})(?:-({_ONE}))?", match[2])
    ]
    return f"(?!/)[{match[1]}{''.join(parts)}]", match.end()
