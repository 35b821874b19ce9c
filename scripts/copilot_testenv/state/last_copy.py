"""How long the last copy of staging's data took, kept on this machine for `check`, which asks no AWS."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from copilot_testenv.core import files
from copilot_testenv.core.errors import UserError
from copilot_testenv.core.settings import Settings

_NOTE = "last-copy.json"
_FILE = f".sandbox/{_NOTE}"  # of deploys to AWS too: it is the tasks' folder that Git ignores


def keep(settings: Settings, of: str, seconds: float, say: Callable[[str], None]) -> None:
    """Note how long the copy of that moment (ISO 8601, UTC) took, unless a later one is known.

    A note that cannot be written is only said: the copy itself is done.
    """
    notes = _read(settings.root / _FILE)
    key = _key(settings, settings.target)
    if str(_entry(notes.get(key)).get("of", "")) >= of:
        return
    notes[key] = {"of": of, "seconds": seconds}
    try:
        files.note(_NOTE, json.dumps(notes), settings.root)
    except UserError as error:
        say(f"(How long the copy took could not be noted for `check`: {error})")


def seconds(settings: Settings) -> float | None:
    """Return how long the last copy of the service's data took; None where none is known.

    Of the sandbox's and AWS's the longer one.
    """
    notes = _read(settings.root / _FILE)
    found = [
        entry["seconds"]
        for target in ("sandbox", "aws")
        if isinstance((entry := _entry(notes.get(_key(settings, target)))).get("seconds"), int | float)
    ]
    return max(found, default=None)


def _key(settings: Settings, target: str) -> str:
    return f"{settings.base} {settings.test_env} {target}"


def _entry(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _read(file: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        return _entry(json.loads(file.read_text(encoding="utf-8")))
    return {}
