"""Read the comments that silence a finding, put findings of one cause together, and add their columns.

`# check: ignore[rule] reason` silences a rule in its line; alone in a line, in the next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from copilot_testenv.check import dockerfile, location
from copilot_testenv.check.finding import Finding

_COMMENT = re.compile(r"#\s*check:\s*ignore\[([\w\s,-]*)\]\s*(.*)")
_NAMES = re.compile(r"\b[A-Z][A-Z0-9_]{2,}\b|(?<!\w)/[\w/.-]+|\bResources/[\w/.-]+|'\w+'")
# Rules on causes for which Copilot refuses the whole manifest.
_CAUSES = frozenset(
    [
        "unknown-key",
        "repeated-key",
        "unread-value",
        "limit",
        "type",
        "name",
        "dependency",
        "startup",
        "network",
        "required",
        "exclusive",
    ]
)
_KEY = re.compile(r"`(?:[\w.-]+\.)?(\w+)`(?=: it takes| and ignores it|: it refuses it)")
_VERDICT = "Copilot does not deploy"  # the first words of its own verdict
_SEVERAL = 3  # findings that are still told one by one


def finish(root: Path, found: Iterable[Finding]) -> list[Finding]:
    """Return the findings that remain, sorted, with their columns.

    A comment without a reason silences nothing and is a finding itself.
    """
    texts: dict[str, list[str]] = {}
    remaining = []
    for finding in _once(root, found):
        lines = texts.setdefault(finding.path, _lines(root, finding.path))
        line = lines[finding.line - 1] if finding.line <= len(lines) else ""
        if not _is_silenced(lines, finding):
            remaining.append(replace(finding, column=location.column(line, finding.what)))
    for path, lines in texts.items():
        remaining += _without_reason(path, lines)
    return sorted(_together(remaining))


def _lines(root: Path, path: str) -> list[str]:
    return (dockerfile.text_of(root, path) or "").splitlines()


def _ignored(line: str) -> tuple[set[str], str]:
    """Return the rules of a comment, and its reason."""
    found = _COMMENT.search(line) if "ignore[" in line else None
    return ({rule.strip() for rule in found[1].split(",")}, found[2].strip()) if found else (set(), "")


def _is_silenced(lines: list[str], finding: Finding) -> bool:
    here = lines[finding.line - 1] if finding.line <= len(lines) else ""
    above = lines[finding.line - 2] if 2 <= finding.line <= len(lines) + 1 else ""  # noqa: PLR2004 - the second line
    candidates = [here, above] if above.lstrip().startswith("#") else [here]
    return any(finding.rule in rules and reason for rules, reason in map(_ignored, candidates))


def _without_reason(path: str, lines: list[str]) -> list[Finding]:
    return [
        Finding(
            path,
            number,
            "ignore",
            "warning",
            "a finding is ignored without a reason",
            "write the reason behind `]`",
        )
        for number, line in enumerate(lines, 1)
        if _ignored(line)[0] and not _ignored(line)[1]
    ]


def _once(root: Path, found: Iterable[Finding]) -> list[Finding]:
    """Leave out Copilot's verdict where a rule reports the cause, in its line or in the block below it."""
    known = list(found)
    told: dict[str, set[int]] = {}
    keys: dict[str, set[str]] = {}
    for one in known:
        if one.rule in _CAUSES and one.severity == "error":
            told.setdefault(one.path, set()).add(one.line)
            keys.setdefault(one.path, set()).update(_KEY.findall(one.what))
    patched = {one.path for one in known if one.rule == "patch" and not one.what.startswith(_VERDICT)}
    return [
        one
        for one in known
        if not (one.rule == "patch" and one.what.startswith(_VERDICT) and one.path in patched)
        and (
            one.rule != "copilot"
            or (
                told.get(one.path, set()).isdisjoint(_block(_lines(root, one.path), one.line))
                and keys.get(one.path, set()).isdisjoint(re.findall(r'"(\w+)"', one.instead))
            )
        )
    ]


def _block(lines: list[str], first: int) -> range:
    """Return the lines of the block that begins in a line; the whole file where it begins in the first."""
    if first <= 1:
        return range(1, len(lines) + 1)
    depth = _depth(lines[first - 1]) if first <= len(lines) else 0
    end = first
    while end < len(lines) and (not lines[end].strip() or _depth(lines[end]) > depth):
        end += 1
    return range(first, end + 1)


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" -"))


def _together(found: list[Finding]) -> list[Finding]:
    """Put findings together that differ in a name alone, such as one for each secret of a block."""
    groups: dict[tuple[str, str, str, str], list[Finding]] = {}
    for one in sorted(found):
        key = (one.path, one.rule, one.severity, _NAMES.sub("…", f"{one.what}: {one.instead}"))
        groups.setdefault(key, []).append(one)
    remaining = []
    for members in groups.values():
        first, last = members[0], members[-1]
        if len(members) > _SEVERAL:
            more = f" (and {len(members) - 1} more like it, to line {last.line})"
            remaining.append(replace(first, what=first.what + more))
        else:
            remaining += members
    return remaining
