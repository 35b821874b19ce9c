"""What a Dockerfile starts, and which one a manifest means."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from copilot_testenv.check import shell_text
from copilot_testenv.check.document import Document
from copilot_testenv.check.shell_text import Simple
from copilot_testenv.check.task import Container, value
from copilot_testenv.copilot import manifest

LARGEST = 256 << 10  # bytes of a file that is looked into
_INSTRUCTION = re.compile(r"\s*(FROM|CMD|ENTRYPOINT)\s+(.*)", re.IGNORECASE | re.DOTALL)
_FROM = re.compile(r"(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)


@dataclass(frozen=True)
class Start:
    """An instruction's command. `of_shell` is set where a shell reads it."""

    simples: tuple[Simple, ...]
    words: tuple[str, ...]
    line: int
    of_shell: bool


@dataclass(frozen=True)
class Starts:
    entry_point: Start | None = None
    command: Start | None = None


def build_of(document: Document, environment: str, container: Container) -> manifest.Build | None:
    """Return what the container's image is built from; None where it is not built."""
    if container.image:
        return None
    return manifest.build(value(document, environment, *container.keys, "image", "build"))


def inside(root: Path, path: str) -> Path | None:
    """Return the repository's file of that path, if it is one of modest size and no link leads out of it."""
    try:
        file = (root / path).resolve()
        file.relative_to(root.resolve())
        return file if file.is_file() and file.stat().st_size <= LARGEST else None
    except (OSError, ValueError):  # ValueError: not in it, or a NUL in the name
        return None


def text_of(root: Path, path: str) -> str | None:
    """Return its text; None where it cannot be read or is not text."""
    file = inside(root, path)
    try:
        found = file.read_text(encoding="utf-8-sig") if file else None
    except (OSError, UnicodeDecodeError):
        return None
    return None if found is None or "\0" in found else found


def starts(text: str, target: str = "") -> Starts:
    """Return the command and entry point of the last stage, or of `target`, its own or an earlier stage's."""
    stages: dict[str, Starts] = {}
    name, now, own_command = "", Starts(), False
    for line, instruction in _instructions(text):
        found = _INSTRUCTION.fullmatch(instruction)
        if not found:
            continue
        word, rest = found[1].upper(), found[2].strip()
        if word == "FROM":
            if target and name == target.lower():
                break
            origin = _FROM.match(rest)
            now = stages.get(origin[1].lower(), Starts()) if origin else Starts()
            name, own_command = (origin[2] or "").lower() if origin else "", False
        elif word == "CMD":
            now, own_command = Starts(now.entry_point, _start(rest, line)), True
        else:  # a new entry point takes an inherited command away
            now = Starts(_start(rest, line), now.command if own_command else None)
        stages[name] = now
    return now


def _instructions(text: str) -> list[tuple[int, str]]:
    """Return each instruction on one line, its continuations joined, with the line where it begins."""
    found: list[tuple[int, str]] = []
    parts: list[str] = []
    begun = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#"):
            continue
        begun = begun if parts else number
        if line.rstrip().endswith("\\"):
            parts.append(line.rstrip()[:-1])
            continue
        found.append((begun, " ".join((*parts, line))))
        parts = []
    return [*found, (begun, " ".join(parts))] if parts else found


def _start(rest: str, line: int) -> Start:
    try:
        words = json.loads(rest)
    except (ValueError, RecursionError):
        words = None
    if isinstance(words, list):
        argv = tuple(str(word) for word in words)
        return Start(tuple(shell_text.of_words(argv)), argv, line, of_shell=False)
    return Start(tuple(shell_text.commands(rest)), (), line, of_shell=True)
