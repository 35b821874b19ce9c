"""The documents of these tasks: the folder docs/ of a clone, which the wheel carries too."""

from __future__ import annotations

import re
from pathlib import Path

from copilot_testenv.core.errors import UsageError

_PACKAGE = Path(__file__).parents[1]
_IN_CLONE, _INSTALLED = _PACKAGE.parents[1] / "docs", _PACKAGE / "docs"
_HEADING = re.compile(r"(#+) +(.+?) *$")


def page(name: str) -> str:
    """Return what a message says of a document, `stack.md#anchor`: its path in a clone, else a command."""
    return f"docs/{name}" if _IN_CLONE.is_dir() else command(name)


def command(name: str) -> str:
    """Return what a file that is written into a project says of a document."""
    return f"`copilot-testenv docs {name}`"


def text(name: str) -> str:
    """Return a document, or the section of an anchor; without a name, the names of all. Raises UsageError."""
    folder = _IN_CLONE if _IN_CLONE.is_dir() else _INSTALLED
    found = {
        str(file.relative_to(folder)): file
        for file in sorted(folder.rglob("*"))
        if file.suffix in {".md", ".json"}
    }
    if not name:
        return "\n".join(found)
    title, _, anchor = name.partition("#")
    file = found.get(title) or found.get(f"{title}.md")
    if not file:
        raise UsageError(f"There is no document {title!r}: `copilot-testenv docs` lists them.")
    whole = file.read_text(encoding="utf-8").rstrip("\n")
    return _section(whole, anchor) if anchor else whole


def _section(whole: str, anchor: str) -> str:
    """Return the section whose heading has the anchor; the whole text where no heading has it."""
    lines = whole.split("\n")
    begin, level = next(
        (
            (number, len(found[1]))
            for number, line in enumerate(lines)
            if (found := _HEADING.match(line)) and _anchor(found[2]) == anchor
        ),
        (0, 0),
    )
    end = next(
        (
            number
            for number, line in enumerate(lines)
            if number > begin and (found := _HEADING.match(line)) and len(found[1]) <= level
        ),
        len(lines),
    )
    return "\n".join(lines[begin:end]).rstrip("\n")


def _anchor(heading: str) -> str:
    """Return a heading's anchor as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
