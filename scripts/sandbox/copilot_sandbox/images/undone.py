"""Says what an image lacks because a step of its Dockerfile was not carried out.

What only serves a build is left out. Each note begins with `sandbox: line N`: the deploy and the start of the
sandbox show it at once.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from copilot_sandbox.images.dockerfile import Instruction
    from copilot_sandbox.model import StartCommand

_LENGTH = 110  # characters of a step
_SYSTEM = re.compile(r"/(?:usr/)?(?:bin|etc|include|lib(?:32|64)?|sbin)(?:/|$)")
_NODE = frozenset({"bun", "npm", "pnpm", "yarn"})
_PREPARES = frozenset(
    {"add", "cache", "ci", "clean-install", "config", "i", "install", "set"}
)  # for `npm run build`
_WITH_VALUE = frozenset({"--cwd", "--dir", "--prefix", "--workspace", "-C", "-w"})
_MAKERS = frozenset(
    {"bunx", "cargo", "esbuild", "go", "grunt", "gulp", "make", "node", "npx", "parcel", "rollup", "sass"}
    | {"tailwindcss", "tsc", "vite", "webpack"}
)
_OF_DJANGO = frozenset({"collectstatic", "compilemessages", "compilescss", "compress", "tailwind"})
_OF_PACKAGES = re.compile(r"\.(?:asc|deb|gpg|key|rpm)\b|/apt/|/tmp/")


def short(what: str) -> str:
    """Return a step in one line, cut where it is long."""
    text = " ".join(what.split())
    return text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…"


def _makes(text: str) -> bool:
    """Return True if a command makes files for pages, so that an image without them behaves otherwise."""
    words = text.split()
    while words and "=" in words[0]:
        del words[0]
    name, rest = posixpath.basename(words[0]) if words else "", words[1:]
    if name in _NODE:
        while rest and rest[0].startswith("-"):
            del rest[: 2 if rest[0] in _WITH_VALUE else 1]
        return bool(rest) and rest[0] not in _PREPARES
    return name in _MAKERS or not _OF_DJANGO.isdisjoint(rest)


def _fetches(text: str) -> bool:
    """Return True if a command downloads a file, and not one for the system's package manager."""
    name, *rest = text.split() or [""]
    to_output = {"-O", "-"} <= set(rest) or any(re.fullmatch(r"-\w*O-", word) for word in rest)
    is_kept = {"--output", "--remote-name"} & set(rest) or any(re.match(r"-\w*[oO]", word) for word in rest)
    saves = not to_output if name == "wget" else bool(is_kept)
    return name in ("curl", "wget") and saves and not _OF_PACKAGES.search(text)


def of_run(line: int, left: Sequence[str]) -> list[str]:
    """Return a note for the commands of a RUN step that are not run and whose files the image needs."""
    notes = []
    if made := [text for text in left if _makes(text)]:
        notes.append(
            f"sandbox: line {line} made no files here: `{short(' && '.join(made))}`: without an engine "
            "only Python packages are installed; the image lacks what it makes, unless a container's command "
            "makes it too"
        )
    if fetched := [text for text in left if _fetches(text)]:
        notes.append(
            f"sandbox: line {line} fetched nothing here: `{short(' && '.join(fetched))}`: nothing is "
            "downloaded without an engine; what uses the file does not find it"
        )
    return notes


def at_start(command: StartCommand) -> str:
    """Return a note on a command that no build here runs, and that each container carries out."""
    what = short(shlex.join(command.words))
    return f"sandbox: line {command.line} runs when a container starts: `{what}`"


def of_copy(step: Instruction, source: str, to: str, reason: str) -> str:
    """Return a note on a path of COPY or ADD of which nothing was copied."""
    origin = f"--from={step.flag('from')} " if step.flag("from") else ""
    what = short(f"{step.keyword} {origin}{source} {to}")
    if _SYSTEM.match(posixpath.normpath(source)):  # this machine's own files are used instead
        return f"sandbox: not done here: {what} (line {step.line})"
    return f"sandbox: line {step.line} copied nothing here: `{what}`: {reason}; what uses it does not find it"
