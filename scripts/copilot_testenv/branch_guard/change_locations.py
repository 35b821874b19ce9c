"""Where in a branch's files a change of the rendered template comes from: file and line."""

from __future__ import annotations

import re
from pathlib import Path

from copilot_testenv.branch_guard.template_changes import Change
from copilot_testenv.copilot import patches

_SUFFIXES = (".yml", ".yaml", ".json")
_PATH = re.compile(r"""["']?\bpath["']?\s*:\s*["']?(/[^"',}\s]*)""")  # of a patch
_PROPERTY = 4  # /Resources/NAME/Properties/KEY


def place(change: Change, folder: Path, service: str) -> str:
    """Return `copilot/web/manifest.yml:12`, else where it stands in the rendered template.

    `folder` is the branch's worktree, and `service` the name of the folder that the branch itself has.
    """
    own = Path("copilot") / service
    if change.addons:
        files = _texts(folder, own / "addons")
        return _found(files, change.needles) or _in_template(change, "addons")
    overrides = folder / own / patches.FILE
    if _is_regular(overrides, folder):
        line = _patch(overrides, change) if change.path else 1
        if line:
            return f"{(own / patches.FILE).as_posix()}:{line}"
    manifests = _texts(folder, own, "manifest")
    return (
        _found(manifests, change.needles)
        or _found(_texts(folder, own / "overrides"), change.needles)
        or _in_template(change, "rendered template")
    )


def _patch(file: Path, change: Change) -> int:
    """Return the line of the patch whose path shares most with the change's; 0 where none is there.

    By lines, since the values may have CloudFormation's own tags.
    """
    wanted = "/" + "/".join(change.path)
    best, found = 0, 0
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    paths = [(number, match[1]) for number, line in enumerate(lines) if (match := _PATH.search(line))]
    for place, (number, path) in enumerate(paths):
        end = paths[place + 1][0] if place + 1 < len(paths) else len(lines)
        value = "\n".join(lines[number:end])
        shared = _shared(wanted, path)
        mentioned = any(needle in value for needle in change.needles)
        # Within the same property, or within the same resource and it says what was found.
        near = shared >= min(_PROPERTY, len(change.path)) or (shared > 1 and mentioned)
        if near and shared + mentioned > best:
            best, found = shared + mentioned, number + 1
    return found


def _shared(one: str, other: str) -> int:
    pairs = zip(one.split("/")[1:], other.split("/")[1:], strict=False)
    count = 0
    for left, right in pairs:
        if left != right:
            break
        count += 1
    return count


def _texts(folder: Path, below: Path, stem: str = "") -> dict[str, list[str]]:
    found = {}
    for file in sorted((folder / below).glob("*")):
        if file.suffix in _SUFFIXES and (not stem or file.stem == stem) and _is_regular(file, folder):
            text = file.read_text(encoding="utf-8", errors="replace")
            found[file.relative_to(folder).as_posix()] = text.splitlines()
    return found


def _found(files: dict[str, list[str]], needles: tuple[str, ...]) -> str:
    """Return the first line that has the first needle, as a word; else the next needle's."""
    for needle in needles:
        if not needle or needle.startswith("/Resources/"):
            continue
        word = re.compile(rf"(?<!\w){re.escape(needle)}(?!\w)")
        for name, lines in files.items():
            for number, line in enumerate(lines, 1):
                if word.search(line.partition(" #")[0]):
                    return f"{name}:{number}"
    return ""


def _in_template(change: Change, what: str) -> str:
    return f"the {what}, {'.'.join(change.path)}"


def _is_regular(file: Path, folder: Path) -> bool:
    return file.is_file() and file.resolve().is_relative_to(folder.resolve())
