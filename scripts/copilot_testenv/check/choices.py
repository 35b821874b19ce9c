"""Apply what a team chose: the severities in its committed settings, and the findings of its baseline.

A baseline lists the findings that an old project had when it began to use `check`: they are not shown again,
at whatever line they stand, and new ones are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from copilot_testenv.check.finding import Finding
from copilot_testenv.core import committed
from copilot_testenv.core.errors import SettingsError
from copilot_testenv.core.files import write

BASELINE = "copilot-check-baseline.json"  # beside copilot/
_LARGEST = 10 << 20  # bytes
Known = tuple[str, str, str]


def apply(root: Path, found: Iterable[Finding]) -> tuple[list[Finding], str]:
    """Return the findings that are left, and a note on those that the baseline holds back, if any.

    Raises SettingsError where the settings or the baseline cannot be read.
    """
    severities = committed.severities(root)
    chosen = [_chosen(one, severities[one.rule]) if one.rule in severities else one for one in found]
    kept = [one for one in chosen if one]
    known = _read(root / BASELINE)
    if known is None:
        return kept, ""
    left, held = [], 0
    for one in kept:
        if known[_known(one)] > 0:
            known[_known(one)] -= 1
            held += 1
        else:
            left.append(one)
    gone = sum(known.values())
    note = f"{BASELINE} holds {held} finding{'' if held == 1 else 's'} back"
    more = f"; {gone} of it {'is' if gone == 1 else 'are'} mended: `invoke check --baseline` writes it anew"
    return left, f"{note}{more if gone else ''}."


def write_baseline(root: Path, found: Iterable[Finding]) -> int:
    """Write the baseline with these findings, and return their number. Raises Failed, Refused."""
    names = ("path", "rule", "what")
    items = sorted(_known(one) for one in found)
    text = json.dumps([dict(zip(names, item, strict=True)) for item in items], indent=1) + "\n"
    write(root / BASELINE, text, root)
    return len(items)


def _chosen(one: Finding, severity: str) -> Finding | None:
    if severity == "off":
        return None
    return replace(one, severity="error" if severity == "error" else "warning")


def _known(one: Finding) -> Known:
    return one.path, one.rule, one.what


def _read(file: Path) -> Counter[Known] | None:
    """Return how often each finding is in the baseline; None where there is none."""
    if not file.is_file() or file.is_symlink():
        return None
    try:
        if file.stat().st_size > _LARGEST:
            raise ValueError("it is too large")  # noqa: TRY301 - it is told as any other fault
        items = json.loads(file.read_text(encoding="utf-8"))
        return Counter((str(item["path"]), str(item["rule"]), str(item["what"])) for item in items)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SettingsError(
            f"{file.name} cannot be read: {error}. `invoke check --baseline` writes it anew."
        ) from error
