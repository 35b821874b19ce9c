"""The images that these tasks have pushed for the shared slot, told from others' by their tags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.core.settings import Settings


def tag(environment: str, commit: str, more: str = "") -> str:
    """Return the tag of a deploy.

    Whatever else deploys this commit, to production say, has tags of its own.
    """
    return f"{commit}-{environment}{more}"


def repository(settings: Settings) -> str:
    """Return the name of the repository that Copilot makes for the service's images."""
    return f"{settings.app}/{settings.service}"


def not_ours(settings: Settings, aws: Aws) -> list[str]:
    """Return the tags in the service's repository that neither `tag` nor Copilot's `latest` has made."""
    known = set(ours(settings, aws))
    return [
        name
        for name in aws.image_tags(repository(settings))
        if name not in known and name != "latest" and not name.endswith("-latest")
    ]


def ours(settings: Settings, aws: Aws) -> list[str]:
    """Return the tags in the shared slot's repository that `tag` has made.

    Copilot puts a sidecar's name before.
    """
    pattern = re.compile(rf"(?:.+-)?[0-9a-f]{{40}}-{re.escape(settings.test_env)}(?:-\d{{14}})?")
    return sorted(name for name in aws.image_tags(repository(settings)) if pattern.fullmatch(name))
