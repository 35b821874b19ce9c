"""Keep the duration of the last copy of staging's data on this machine: `check` does not ask AWS for it."""

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
_FILE = f".sandbox/{_NOTE}"  # also for deploys to AWS: `.sandbox` is the tasks' folder that Git ignores


def keep(settings: Settings, of: str, seconds: float, say: Callable[[str], None]) -> None:
    """Write down how long the copy of that time (ISO 8601, UTC) took, unless a newer one is known.

    An error is only reported to the user, because the copy itself has succeeded.
    """
    notes = _read(settings.root / _FILE)
    key = _key(settings, settings.target)
    if str(_entry(notes.get(key)).get("of", "")) >= of:
        return
    notes[key] = {"of": of, "seconds": seconds}
    try:
        files.note(_NOTE, json.dumps(notes), settings.root)
    except UserError as error:
        say(f"(The duration of the copy could not be saved for `check`: {error})")


def seconds(settings: Settings) -> float | None:
    """Return how long the last copy of the service's data took; None where no copy is known.

    It is the longer one of the last copies in the sandbox and in AWS.
    """
    notes = _read(settings.root / _FILE)
    durations = [
        entry["seconds"]
        for target in ("sandbox", "aws")
        if isinstance((entry := _entry(notes.get(_key(settings, target)))).get("seconds"), int | float)
    ]
    return max(durations, default=None)


def _key(settings: Settings, target: str) -> str:
    return f"{settings.base} {settings.test_env} {target}"


def _entry(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read(file: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        return _entry(json.loads(file.read_text(encoding="utf-8")))
    return {}
