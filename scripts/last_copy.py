"""How long the last copy of staging's data took, kept on this machine for `check`, which asks no AWS.

It lies in Git's own folder: never committed, and the same for every worktree.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from scripts import branch
from scripts.command import Shell
from scripts.errors import UserError
from scripts.settings import Settings

_FILE = "copilot-test-environments/last-copy.json"


def keep(shell: Shell, settings: Settings, of: str, seconds: float, say: Callable[[str], None]) -> None:
    """Note how long the copy of that moment (ISO 8601, UTC) took, unless a later one is known.

    A note that cannot be written is only said: the copy itself is done.
    """
    file = _file(shell, settings)
    if file is None:
        return
    notes = _read(file)
    key = _key(settings)
    if str(_entry(notes.get(key)).get("of", "")) >= of:
        return
    notes[key] = {"of": of, "seconds": seconds}
    try:
        file.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as draft:
            json.dump(notes, draft)
        Path(draft.name).replace(file)
    except OSError as error:
        say(f"(How long the copy took could not be noted for `check`: {error})")


def seconds(shell: Shell, settings: Settings) -> float | None:
    """How long the last copy of the service's data took; None where none is known.

    Of the sandbox's and AWS's the longer one.
    """
    file = _file(shell, settings)
    notes = _read(file) if file else {}
    found = [
        entry["seconds"]
        for target in ("sandbox", "aws")
        if isinstance((entry := _entry(notes.get(_key(settings, target)))).get("seconds"), int | float)
    ]
    return max(found, default=None)


def _key(settings: Settings, target: str = "") -> str:
    return f"{settings.base} {settings.test_env} {target or settings.target}"


def _entry(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _read(file: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _file(shell: Shell, settings: Settings) -> Path | None:
    """Where it lies; None outside of a repository."""
    try:
        asked = shell.run(
            branch.git(settings.root, "rev-parse", "--path-format=absolute", "--git-common-dir")
        )
    except UserError:  # no Git
        return None
    folder = asked.stdout.strip()
    return Path(folder) / _FILE if asked.ok and folder else None
