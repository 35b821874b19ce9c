"""Check the values of single settings."""

from __future__ import annotations

import re

from copilot_testenv.core.errors import SettingsError


def hosted_zone(value: str) -> str:
    """Return the value: the id of a hosted zone, or empty. Raises SettingsError.

    Source: https://docs.aws.amazon.com/Route53/latest/APIReference/API_HostedZone.html
    """
    if value and not re.fullmatch(r"[A-Z0-9]{1,32}", value):
        raise SettingsError(
            f"TEST_HOSTED_ZONE={value!r} is not the id of a hosted zone: write for example "
            "Z0873220N255IR3MTNR4."
        )
    return value


def manifest_variables(value: str) -> tuple[str, ...]:
    """Return the names, sorted. Raises SettingsError where a branch's manifest must not get a variable."""
    names = sorted({part.strip() for part in value.split(",") if part.strip()})
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise SettingsError(
                f"MANIFEST_VARIABLES={value!r}: {name!r} cannot be a variable's name: write names, with "
                "commas between them."
            )
        if name.upper().startswith(("AWS_", "COPILOT_")):
            raise SettingsError(
                f"MANIFEST_VARIABLES={value!r}: {name} is never given to a manifest, because every branch "
                "could read it. Remove it from the list."
            )
    return tuple(names)


def megabytes(value: str) -> int:
    """Return the number of megabytes. Raises SettingsError."""
    if not re.fullmatch(r"[1-9]\d{0,4}", value):
        raise SettingsError(f"SANDBOX_STAGE_MB={value!r} is not a whole number of megabytes from 1 to 99999.")
    return int(value)
