"""Read a Dockerfile's command and entry point, and find the Dockerfile that a manifest names."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from copilot_testenv.branch_guard.branch_paths import Repository
from copilot_testenv.check import shell_text
from copilot_testenv.check.document import Document
from copilot_testenv.check.shell_text import Simple
from copilot_testenv.check.task import Container, value
from copilot_testenv.copilot import manifest

LARGEST = 256 << 10  # bytes; larger files are not read
_INSTRUCTION = re.compile(r"\s*(FROM|CMD|ENTRYPOINT)\s+(.*)", re.IGNORECASE | re.DOTALL)
_WITH_HERE = re.compile(r"\s*(RUN|COPY|ADD)\s", re.IGNORECASE)
_HERE = re.compile(r"""<<-?(?:(?=\w)|['"])(\w+)""")
_FROM = re.compile(r"(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)


@dataclass(frozen=True)
class Start:
    """The command of a CMD or ENTRYPOINT. `of_shell` is True where a shell reads it."""

    simples: tuple[Simple, ...]
    words: tuple[str, ...]
    line: int
    of_shell: bool


@dataclass(frozen=True)
class Starts:
    entry_point: Start | None = None
    command: Start | None = None


def build_of(document: Document, environment: str, container: Container) -> manifest.Build | None:
    """Return the build of the container's image; None where the image is not built."""
    if container.image:
        return None
    return manifest.build(value(document, environment, *container.keys, "image", "build"))


def top_of(root: Path) -> Path:
    """Return the repository's top folder; where there is no Git, the folder above the workspace."""
    return Repository(root, without_git=root.parent).top


def inside(root: Path, path: str) -> Path | None:
    """Return the file at that path; None if it is missing, too large, or outside the repository."""
    try:
        file = (root / path).resolve()
        file.relative_to(Repository(root).top)
        return file if file.is_file() and file.stat().st_size <= LARGEST else None
    except (OSError, ValueError):  # ValueError: outside the repository, or a NUL in the name
        return None


def text_of(root: Path, path: str) -> str | None:
    """Return the text of the repository's file; None where it cannot be read or is not text."""
    file = inside(root, path)
    try:
        text = file.read_text(encoding="utf-8-sig") if file else None
    except (OSError, UnicodeDecodeError):
        return None
    return None if text is None or "\0" in text else text


def starts(text: str, target: str = "") -> Starts:
    """Return the command and entry point of the last stage or of `target`, also if inherited from a stage."""
    stages: dict[str, Starts] = {}
    name, now, own_command = "", Starts(), False
    for line, instruction in instructions(text):
        match = _INSTRUCTION.fullmatch(instruction)
        if not match:
            continue
        word, rest = match[1].upper(), match[2].strip()
        if word == "FROM":
            if target and name == target.lower():
                break
            origin = _FROM.match(rest)
            now = stages.get(origin[1].lower(), Starts()) if origin else Starts()
            name, own_command = (origin[2] or "").lower() if origin else "", False
        elif word == "CMD":
            now, own_command = Starts(now.entry_point, _start(rest, line)), True
        else:  # a new entry point removes an inherited command
            now = Starts(_start(rest, line), now.command if own_command else None)
        stages[name] = now
    return now


def stages(text: str) -> list[str]:
    """Return the stages' names in order, in lower case; empty for one without a name."""
    found = []
    for _, instruction in instructions(text):
        match = _INSTRUCTION.fullmatch(instruction)
        if match and match[1].upper() == "FROM":
            origin = _FROM.match(match[2].strip())
            found.append((origin[2] or "").lower() if origin else "")
    return found


def exposed(text: str, target: str = "") -> list[str]:
    """Return the ports that the last stage, or `target`, exposes; empty where one is a variable."""
    ports: list[str] = []
    name = ""
    for _, instruction in instructions(text):
        words = instruction.split()
        if words and words[0].upper() == "FROM":
            if target and name == target.lower():
                break
            origin = _FROM.match(" ".join(words[1:]))
            name, ports = (origin[2] or "").lower() if origin else "", []
        elif words and words[0].upper() == "EXPOSE":
            ports += [word.partition("/")[0] for word in words[1:]]
    return ports if all(port.isdigit() for port in ports) else []


def instructions(text: str) -> list[tuple[int, str]]:
    """Return (first line, instruction on one line) for each instruction; continuation lines are joined.

    The lines of a here-document belong to no instruction, and are left out.
    """
    found: list[tuple[int, str]] = []
    parts: list[str] = []
    begun = 0
    ends: list[str] = []  # of the here-documents that are open
    for number, line in enumerate(text.splitlines(), 1):
        if ends:
            ends = ends[line.strip() == ends[0] :]
            continue
        if line.lstrip().startswith("#"):
            continue
        begun = begun if parts else number
        if line.rstrip().endswith("\\"):
            parts.append(line.rstrip()[:-1])
            continue
        found.append((begun, " ".join((*parts, line))))
        ends = _HERE.findall(found[-1][1]) if _WITH_HERE.match(found[-1][1]) else []
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
