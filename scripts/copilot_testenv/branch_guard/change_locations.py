"""Find the file and line of a branch that cause a change of the rendered template."""

from __future__ import annotations

import re
from pathlib import Path

from copilot_testenv.branch_guard.template_changes import Change
from copilot_testenv.copilot import patches

_SUFFIXES = (".yml", ".yaml", ".json")
_PATH = re.compile(r"""["']?\bpath["']?\s*:\s*["']?(/[^"',}\s]*)""")  # of a patch
_PROPERTY = 4  # /Resources/NAME/Properties/KEY


def place(change: Change, folder: Path, service: str) -> str:
    """Return the place of a change: `copilot/web/manifest.yml:12`, else its place in the rendered template.

    `folder` is the branch's worktree, and `service` the service's folder in the branch's own copilot/.
    """
    own = Path("copilot") / service
    if change.addons:
        files = _texts(folder, own / "addons")
        return _first_line(files, change.search_texts) or _in_template(change, "addons")
    overrides = folder / own / patches.FILE
    if _is_regular(overrides, folder):
        line = _patch(overrides, change) if change.path else 1
        if line:
            return f"{(own / patches.FILE).as_posix()}:{line}"
    manifests = _texts(folder, own, "manifest")
    return (
        _first_line(manifests, change.search_texts)
        or _first_line(_texts(folder, own / "overrides"), change.search_texts)
        or _in_template(change, "rendered template")
    )


def _patch(file: Path, change: Change) -> int:
    """Return the line of the patch whose path shares most keys with the change's; 0 where no patch fits.

    The file is searched by lines, because values may have CloudFormation's own tags.
    """
    wanted = "/" + "/".join(change.path)
    best, best_line = 0, 0
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    paths = [(number, match[1]) for number, line in enumerate(lines) if (match := _PATH.search(line))]
    for place, (number, path) in enumerate(paths):
        end = paths[place + 1][0] if place + 1 < len(paths) else len(lines)
        value = "\n".join(lines[number:end])
        shared = _shared(wanted, path)
        mentioned = any(text in value for text in change.search_texts)
        # The patch fits if it is for the same property, or for the same resource and contains a search text.
        near = shared >= min(_PROPERTY, len(change.path)) or (shared > 1 and mentioned)
        if near and shared + mentioned > best:
            best, best_line = shared + mentioned, number + 1
    return best_line


def _shared(one: str, other: str) -> int:
    pairs = zip(one.split("/")[1:], other.split("/")[1:], strict=False)
    count = 0
    for left, right in pairs:
        if left != right:
            break
        count += 1
    return count


def _texts(folder: Path, below: Path, stem: str = "") -> dict[str, list[str]]:
    lines_by_name = {}
    for file in sorted((folder / below).glob("*")):
        if file.suffix in _SUFFIXES and (not stem or file.stem == stem) and _is_regular(file, folder):
            text = file.read_text(encoding="utf-8", errors="replace")
            lines_by_name[file.relative_to(folder).as_posix()] = text.splitlines()
    return lines_by_name


def _first_line(files: dict[str, list[str]], search_texts: tuple[str, ...]) -> str:
    """Return `file:line` of the first search text that occurs as a word; empty where none does."""
    for text in search_texts:
        if not text or text.startswith("/Resources/"):
            continue
        word = re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")
        for name, lines in files.items():
            for number, line in enumerate(lines, 1):
                if word.search(line.partition(" #")[0]):
                    return f"{name}:{number}"
    return ""


def _in_template(change: Change, what: str) -> str:
    return f"the {what}, {'.'.join(change.path)}"


def _is_regular(file: Path, folder: Path) -> bool:
    return file.is_file() and file.resolve().is_relative_to(folder.resolve())
