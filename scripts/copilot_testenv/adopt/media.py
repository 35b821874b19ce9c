"""Plan the addons for media: the test environment's bucket, and what its branches may do (docs/media.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from copilot_testenv.adopt.changes import Change, NotChanged
from copilot_testenv.adopt.renewal import Renewal
from copilot_testenv.copilot import media
from copilot_testenv.core.errors import UsageError

_STAGE = "STAGE_MEDIA_BUCKET"
_OWN = {"from_cfn": "${COPILOT_APPLICATION_NAME}-${COPILOT_ENVIRONMENT_NAME}-TestMediaBucket"}
# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def buckets(flag: str, block: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return staging's buckets: of the flag `--media`, else those that the test environment's block names.

    Raises UsageError where the flag has something else.
    """
    there = (block or {}).get("variables")
    named = there.get(_STAGE) if isinstance(there, Mapping) else None
    found = tuple(filter(None, map(str.strip, (flag or str(named or "")).split(","))))
    for name in found:
        if not _BUCKET.fullmatch(name):
            raise UsageError(f"--media {name!r} is not the name of a bucket: write staging's, with commas.")
    return found


def variables(names: tuple[str, ...]) -> dict[str, Any]:
    """Return the variables of the containers; empty without buckets."""
    return {_STAGE: ",".join(names), "TEST_MEDIA_BUCKET": dict(_OWN)} if names else {}


def plan(renewal: Renewal) -> Iterator[Change | NotChanged | None]:
    """Yield the two addons, where the project wants them."""
    project = renewal.project
    if not project.media:
        return
    yield renewal.plan_file(str(media.ADDON), bucket(project.test_env))
    path = f"copilot/{project.service}/addons/{media.ADDON.name}"
    yield renewal.plan_file(path, rights(project.test_env, project.media))


def bucket(environment: str) -> str:
    """Return the template with the bucket of the branches."""
    return _text("bucket.yml", environment=environment)


def rights(environment: str, names: tuple[str, ...]) -> str:
    """Return the template with the rights of branches: to read these buckets, and to change their own."""
    arns = [f"{' ' * 16}- !Sub arn:${{AWS::Partition}}:s3:::{name}" for name in names]
    objects = "\n".join(f"{arn}/*" for arn in arns)
    return _text("rights.yml", environment=environment, buckets="\n".join(arns), objects=objects)


def _text(name: str, **values: str) -> str:
    return (
        (files("copilot_testenv.adopt") / "templates/media" / name)
        .read_text(encoding="utf-8")
        .format(**values)
    )
