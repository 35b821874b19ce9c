"""The branch's own place, in a bucket or on the task's disk: its mark, its deleted files, and its end."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from django_testenv.media.places import Places, holds

_ESCAPES = "{} would change files outside of the branch's own place, {}: its class sets {} itself."


def _digest(place: str, name: str) -> str:
    """Return a name for the record of a deleted file: any name fits into a key and a file name then.

    Two storages of one place, or two ways to write a name, mean the same file.
    """
    path = posixpath.normpath(f"{place}/{name}".replace("\\", "/"))
    return hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass
class InBucket:
    """The place `prefix` in the branch's bucket; `of` is staging's bucket, `location` its storage's."""

    places: Places
    of: str
    location: str
    client: Any
    is_marked: bool = field(default=False, init=False)

    @property
    def own_location(self) -> str:
        """The location of the branch's storage, with its files alone."""
        return f"{self.places.prefix}files/{self.of}/{self.location}".rstrip("/")

    def check(self, storage: Any) -> None:
        if (storage.bucket_name, storage.location) != (self.places.bucket, self.own_location):
            raise ImproperlyConfigured(
                _ESCAPES.format(
                    type(storage.testenv_original).__name__,
                    f"s3://{self.places.bucket}/{self.places.prefix}",
                    "bucket_name or location",
                )
            )

    def require(self, storage: Any) -> None:
        self.check(storage)
        if not self.is_marked:
            body = json.dumps(dict(self.places.mark)).encode()
            self.client().put_object(Bucket=self.places.bucket, Key=self.places.mark_key, Body=body)
            self.is_marked = True

    def _record(self, name: str) -> dict[str, str]:
        key = f"{self.places.prefix}deleted/{_digest(f'{self.of}/{self.location}', name)}"
        return {"Bucket": self.places.bucket, "Key": key}

    def is_deleted(self, name: str) -> bool:
        from botocore.exceptions import ClientError  # noqa: PLC0415 - only who uses S3 has it

        try:
            self.client().head_object(**self._record(name))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:  # noqa: PLR2004
                return False
            raise
        return True

    def set_deleted(self, name: str) -> None:
        self.client().put_object(**self._record(name), Body=b"")


@dataclass
class OnTasksDisk:
    """A folder on the task's disk; `stage` is the place of staging's files, as a text."""

    places: Places
    stage: str
    own_location: Path

    def check(self, storage: Any) -> None:
        found, stage_root = Path(storage.location), self.places.stage_root
        leads_there = os.path.realpath(found) == os.path.realpath(self.own_location)
        if not leads_there or (stage_root and (holds(stage_root, found) or holds(found, stage_root))):
            raise ImproperlyConfigured(
                _ESCAPES.format(type(storage.testenv_original).__name__, self.own_location, "location")
            )

    def require(self, storage: Any) -> None:
        self.check(storage)

    def _record(self, name: str) -> Path:
        return self.places.root / "deleted" / _digest(self.stage, name)

    def is_deleted(self, name: str) -> bool:
        return self._record(name).exists()

    def set_deleted(self, name: str) -> None:
        self._record(name).parent.mkdir(parents=True, exist_ok=True)
        self._record(name).touch()


def clear(places: Places) -> int:
    """Delete everything in the branch's own place, and return how many objects of its bucket that were.

    On the disk the files of a bucket's storage go, and the records of deleted files.
    """
    for name in ("files", "deleted"):
        shutil.rmtree(places.root / name, ignore_errors=True)
    if not places.bucket:
        return 0
    import boto3  # noqa: PLC0415 - only who uses S3 has it

    found = boto3.resource("s3").Bucket(places.bucket).objects.filter(Prefix=places.prefix)
    answers = found.delete()
    if errors := [error for answer in answers for error in answer.get("Errors", ())]:
        raise OSError(f"s3://{places.bucket}/{errors[0].get('Key')}: {errors[0].get('Message')}")
    return sum(len(answer.get("Deleted", ())) for answer in answers)
