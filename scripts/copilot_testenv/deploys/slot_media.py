"""Clear a slot's media: the objects below its prefix in the test environment's bucket, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot_testenv.copilot import media
from copilot_testenv.core.errors import Refused

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.core.settings import Settings

_MOST = 1000  # bytes of a mark


def address(settings: Settings, aws: Aws) -> str:
    """Return the address of the slot's media; empty where it has none."""
    return _address(settings, aws) if _keys(settings, aws, media.prefix(settings)) else ""


def clear(settings: Settings, aws: Aws) -> str:
    """Delete the slot's media and return their address; empty where it had none.

    Raises Refused where the prefix does not carry this slot's mark, Failed. The mark goes last, so that a
    second run finishes what was interrupted.
    """
    keys = _keys(settings, aws, media.prefix(settings))
    if not keys:
        return ""
    bucket, mark = media.bucket(settings, aws.account()), media.mark_key(settings)
    if not media.is_marked(settings, aws.object_content(bucket, mark, _MOST) or b""):
        raise Refused(
            f"{_address(settings, aws)} does not carry the mark of this slot ({mark}), so somebody else may "
            "have written there: look at the objects, and delete them yourself if they can go"
        )
    aws.delete_objects(bucket, [key for key in keys if key != mark])
    aws.delete_objects(bucket, [mark])
    return _address(settings, aws)


def services(settings: Settings, aws: Aws) -> list[str]:
    """Return the services, this one and branches' own ones, that have media, sorted."""
    found = {key.partition("/")[0] for key in _keys(settings, aws, settings.base)}
    own = {settings.base, *(name for name in found if name.startswith(f"{settings.base}-"))}
    return sorted(found & own)


def of_service(settings: Settings, service: str) -> Settings:
    """Return the settings of the slot that this service is."""
    slug = service.removeprefix(f"{settings.base}-")
    return settings.shared if slug == service else settings.shared.isolated_for(slug)


def _address(settings: Settings, aws: Aws) -> str:
    return f"s3://{media.bucket(settings, aws.account())}/{media.prefix(settings)}"


def _keys(settings: Settings, aws: Aws, prefix: str) -> list[str]:
    """Return the keys with this prefix; empty where the workspace or the account has no bucket for media."""
    if not media.is_used(settings):
        return []
    bucket = media.bucket(settings, aws.account())
    return aws.object_keys(bucket, prefix) if aws.has_bucket(bucket) else []
