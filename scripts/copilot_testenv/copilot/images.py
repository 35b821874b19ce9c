"""Name the tags of images, and recognize by them the images that these tasks pushed for the shared slot."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from copilot_testenv.aws import Aws
    from copilot_testenv.core.settings import Settings


def tag(environment: str, commit: str, more: str = "") -> str:
    """Return the image tag of a deploy. It differs from other tags of the commit, such as production's."""
    return f"{commit}-{environment}{more}"


def repository(settings: Settings) -> str:
    """Return the name of the repository that Copilot creates for the service's images."""
    return f"{settings.app}/{settings.service}"


def foreign(settings: Settings, tags: Collection[str]) -> list[str]:
    """Return the tags in the service's repository that neither these tasks nor Copilot (`latest`) made."""
    known = set(_ours(settings, tags))
    return [name for name in tags if name not in known and name != "latest" and not name.endswith("-latest")]


def ours(settings: Settings, aws: Aws) -> list[str]:
    """Return the tags in the service's repository that have the form of `tag`."""
    return _ours(settings, aws.image_tags(repository(settings)))


def _ours(settings: Settings, tags: Collection[str]) -> list[str]:
    """Return those of these tags that have the form of `tag`. Copilot adds a sidecar's name in front."""
    pattern = re.compile(rf"(?:.+-)?[0-9a-f]{{40}}-{re.escape(settings.test_env)}(?:-\d{{14}})?")
    return sorted(name for name in tags if pattern.fullmatch(name))
