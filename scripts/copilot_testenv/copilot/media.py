"""The bucket for the media of branches: its name, and whose prefix in it is whose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from copilot_testenv.core.settings import Settings

ADDON = Path("copilot/environments/addons/media.yml")  # `adopt --media` writes it


def is_used(settings: Settings) -> bool:
    """Return True if the workspace has the addon with the bucket."""
    return (settings.root / ADDON).is_file()


def bucket(settings: Settings, account: str) -> str:
    """Return the name of the bucket, as the addon gives it."""
    return f"{settings.app}-{settings.test_env}-media-{account}"


def prefix(settings: Settings) -> str:
    """Return what all keys of the slot begin with."""
    return f"{settings.service}/"


def mark_key(settings: Settings) -> str:
    """Return the key of the object by which a branch has marked the prefix: `django_testenv.media.places`."""
    return f"{prefix(settings)}copilot-testenv.json"


def is_marked(settings: Settings, content: bytes) -> bool:
    """Return True if the mark is this slot's."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return False
    wanted = {"application": settings.app, "environment": settings.test_env, "service": settings.service}
    return bool(found == wanted)
