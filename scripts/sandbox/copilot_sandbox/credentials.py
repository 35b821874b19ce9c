"""Writes the emulated AWS's credentials to a file, for Copilot where it asks for a profile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from copilot_sandbox.private import write_private

PROFILE = "sandbox"  # the profile to choose when Copilot asks


def write_profile(file: Path, aws: Mapping[str, str | None]) -> None:
    """Write a credentials file with the profile PROFILE. Only this user may read it."""
    write_private(
        file,
        f"[{PROFILE}]\n"
        f"aws_access_key_id = {aws['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {aws['AWS_SECRET_ACCESS_KEY']}\n",
    )
