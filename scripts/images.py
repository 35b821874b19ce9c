"""The images that these tasks have pushed for the shared slot, told from others' by their tags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scripts import application

if TYPE_CHECKING:
    from scripts.aws import Aws
    from scripts.settings import Settings


def tag(environment: str, commit: str, more: str = "") -> str:
    """The tag of a deploy: whatever else deploys this commit, to production say, has tags of its own."""
    return f"{commit}-{environment}{more}"


def ours(settings: Settings, aws: Aws) -> list[str]:
    """The tags in the shared slot's repository that `tag` has made; Copilot puts a sidecar's name before."""
    pattern = re.compile(rf"(?:.+-)?[0-9a-f]{{40}}-{re.escape(settings.test_env)}(?:-\d{{14}})?")
    return sorted(
        name for name in aws.image_tags(application.repository(settings)) if pattern.fullmatch(name)
    )
