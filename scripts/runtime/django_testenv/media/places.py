"""Read where staging's files are, and where the branch's own are: docs/media.md has the variables."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

from django_testenv.access import access

if TYPE_CHECKING:
    from collections.abc import Mapping

APP = "django_testenv.media"
MIDDLEWARE = f"{APP}.serving.MediaMiddleware"
STORAGE = f"{APP}.storages.MediaStorage"
FILE_SYSTEM = "django.core.files.storage.FileSystemStorage"
STAGE_BUCKET, STAGE_ROOT = "STAGE_MEDIA_BUCKET", "STAGE_MEDIA_ROOT"
OWN_BUCKET, OWN_ROOT = "TEST_MEDIA_BUCKET", "TEST_MEDIA_ROOT"
# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SERVICE = re.compile(r"[a-z][a-z0-9-]{0,254}")


@dataclass(frozen=True)
class Places:
    """The places of files. `buckets` or `stage_root` are staging's; the others are the branch's own."""

    buckets: tuple[str, ...]
    stage_root: Path | None
    bucket: str  # empty: the branch's files are on the task's disk
    root: Path
    mark: Mapping[str, str]  # application, environment and service: the branch's slot
    in_sandbox: bool

    @property
    def prefix(self) -> str:
        """The prefix of all keys of the branch in its bucket."""
        return f"{self.mark['service']}/"

    @property
    def mark_key(self) -> str:
        """The object that says whose prefix it is: `invoke teardown` deletes nothing without it."""
        return f"{self.prefix}copilot-testenv.json"


def is_wanted() -> bool:
    """Return True if a variable names staging's files."""
    return bool(os.environ.get(STAGE_BUCKET) or os.environ.get(STAGE_ROOT))


def read() -> Places | None:
    """Return the places; None outside a test environment, or if no variable names staging's files.

    Raise ImproperlyConfigured if a variable is wrong.
    """
    if not is_wanted() or access.read() is None:
        return None
    buckets = tuple(filter(None, (name.strip() for name in os.environ.get(STAGE_BUCKET, "").split(","))))
    folder, bucket = os.environ.get(STAGE_ROOT, ""), os.environ.get(OWN_BUCKET, "").strip()
    if buckets and folder:
        raise ImproperlyConfigured(f"{STAGE_BUCKET} and {STAGE_ROOT} are both set: keep one of them.")
    for name in (*buckets, *([bucket] if bucket else [])):
        if not _BUCKET.fullmatch(name):
            raise ImproperlyConfigured(f"{name!r} is not the name of a bucket: see {STAGE_BUCKET}.")
    if bucket in buckets:
        raise ImproperlyConfigured(
            f"{OWN_BUCKET} is {bucket}, which is staging's: name a bucket of the test environment, or none."
        )
    root = Path(os.environ.get(OWN_ROOT) or Path(tempfile.gettempdir(), "django-testenv-media"))
    if not root.is_absolute() or (folder and not Path(folder).is_absolute()):
        raise ImproperlyConfigured(f"{OWN_ROOT} and {STAGE_ROOT} must be absolute paths.")
    if folder and (holds(root, Path(folder)) or holds(Path(folder), root)):
        raise ImproperlyConfigured(
            f"{OWN_ROOT} is {root}, and {STAGE_ROOT} is {folder}: none of them may contain the other."
        )
    names = ("application", "environment", "service")
    mark = {name: os.environ.get(f"COPILOT_{name.upper()}_NAME", "") for name in names}
    if bucket and not all(_SERVICE.fullmatch(text) for text in mark.values()):
        raise ImproperlyConfigured(
            f"{OWN_BUCKET} is set, but not the variables of Copilot that name the branch's prefix in it: "
            "COPILOT_APPLICATION_NAME, COPILOT_ENVIRONMENT_NAME and COPILOT_SERVICE_NAME."
        )
    balancer = os.environ.get("COPILOT_LB_DNS", "").partition(":")[0]
    return Places(
        buckets, Path(folder) if folder else None, bucket, root, mark, in_sandbox=balancer == "localhost"
    )


def holds(folder: Path, path: Path) -> bool:
    """Return True if a path is this folder or inside it, also through links."""
    inner, outer = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([inner, outer]) == outer
