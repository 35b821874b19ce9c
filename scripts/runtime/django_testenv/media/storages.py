"""Lead a project's storage to the branch's own place, with staging's files behind it.

`overlay(storage)` does it for one object. `settings.apply()` does it for the storages of the settings, and
this app for those of the models' fields.
"""

from __future__ import annotations

import copy
import os
import posixpath
from functools import partial
from pathlib import Path
from typing import Any, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, Storage
from django.utils.module_loading import import_string

from django_testenv.media import places as the_places
from django_testenv.media import serving
from django_testenv.media.overlay import OnDisk, Overlay
from django_testenv.media.own import InBucket, OnTasksDisk
from django_testenv.media.places import Places

_S3 = ("storages.backends.s3", "storages.backends.s3boto3")  # django-storages from 1.14, and before
# What makes an object public, or names a key of staging's, is not for the branch's bucket.
_NOT_OURS = ("ACL", "Grant", "SSE", "ServerSideEncryption", "BucketKeyEnabled")


class MediaStorage(Storage):
    """Make the project's own storage, and return its overlay; the settings name this class."""

    def __new__(cls, backend: str = "", options: dict[str, Any] | None = None) -> Any:
        """Return the overlay of this backend; without one, of the one that apply() has replaced."""
        name = backend or getattr(settings, "TEST_MEDIA", {}).get("backend") or the_places.FILE_SYSTEM
        return overlay(import_string(name)(**(options or {})))


def overlay(storage: Any) -> Any:
    """Return the storage, led to the branch's own place where staging's files are behind it.

    A storage that is neither django-storages' S3Storage nor FileSystemStorage is returned as it is, and so is
    one that has no files of staging. So is every storage outside a test environment. Raise
    ImproperlyConfigured if it cannot be led elsewhere.
    """
    found = the_places.read()
    if found is None or isinstance(storage, Overlay):
        return storage
    if any(each.__module__ in _S3 for each in type(storage).__mro__):
        return _of_bucket(storage, found) if found.buckets else storage
    if isinstance(storage, FileSystemStorage):
        return _of_folder(storage, found)
    return storage


def _of_bucket(storage: Any, places: Places) -> Any:
    """Return the overlay of an S3Storage."""
    name = str(storage.bucket_name or "")
    if name not in places.buckets and len(places.buckets) > 1:
        raise ImproperlyConfigured(
            f"{type(storage).__name__} has the bucket {name!r}: {the_places.STAGE_BUCKET} does not name it."
        )
    bucket = name if name in places.buckets else places.buckets[0]
    private = {"custom_domain": None, "querystring_auth": True, "cloudfront_signer": None}
    stage = _lead(copy.copy(storage), {"bucket_name": bucket, **private})
    location = str(storage.location or "").strip("/")
    if not places.bucket:
        folder = places.root / "files" / bucket / location
        disk = FileSystemStorage(location=folder, base_url="/")
        return _finished(disk, storage, stage, OnTasksDisk(places, f"{bucket}/{location}", folder), places)
    led = copy.copy(storage)
    own = InBucket(places, bucket, location, client=lambda: led.connection.meta.client)
    parameters = {
        key: value for key, value in storage.object_parameters.items() if not key.startswith(_NOT_OURS)
    }
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or storage.region_name
    changed = {
        **private,
        "bucket_name": places.bucket,
        "location": own.own_location,
        "default_acl": None,
        "object_parameters": parameters,
        "region_name": region,
    }
    _lead(led, changed)
    return _finished(led, storage, stage, own, places)


def _of_folder(storage: FileSystemStorage, places: Places) -> Any:
    """Return the overlay of a FileSystemStorage; one outside MEDIA_ROOT has nothing of staging's."""
    own, media = Path(storage.location), Path(settings.MEDIA_ROOT or ".").absolute()
    if not the_places.holds(media, own):
        return storage
    below = os.path.relpath(os.path.realpath(own), os.path.realpath(media))
    if places.stage_root:
        stage: Any = FileSystemStorage(location=places.stage_root / below, base_url="/")
        place = str(stage.location)
    else:
        stage = _bucket_storage(places, "" if below == "." else below)
        place = f"{stage.bucket_name}/{stage.location}"
    return _finished(copy.copy(storage), storage, stage, OnTasksDisk(places, place, own), places)


def _bucket_storage(places: Places, location: str) -> Any:
    """Return a storage of staging's bucket for a project that has files on a disk itself."""
    try:
        made = import_string(f"{_S3[1]}.S3Boto3Storage")
    except ImportError as error:
        raise ImproperlyConfigured(
            f"{the_places.STAGE_BUCKET} names staging's bucket, and django-storages is not installed: add "
            f"`django-storages[s3]` to the project, or set {the_places.STAGE_ROOT} to a folder."
        ) from error
    if len(places.buckets) > 1:
        raise ImproperlyConfigured(f"{the_places.STAGE_BUCKET} names several buckets for one MEDIA_ROOT.")
    return made(
        bucket_name=places.buckets[0], location=posixpath.join(*Path(location).parts, ""), custom_domain=None
    )


def _lead(storage: Any, changed: dict[str, Any]) -> Any:
    """Give a storage other attributes, and return it. Raise ImproperlyConfigured if it keeps its own."""
    for name, value in changed.items():
        try:
            setattr(storage, name, value)
        except AttributeError:  # a property of the class
            if getattr(storage, name) != value:
                raise ImproperlyConfigured(
                    f"{type(storage).__name__} cannot be led to another place: its class sets {name} itself."
                ) from None
    return storage


def _finished(led: Any, original: Any, stage: Any, own: Any, places: Places) -> Any:
    """Make the led storage an overlay, and require that it leads to the branch's own place."""
    kind = type(led)
    base = OnDisk if isinstance(own, OnTasksDisk) else Overlay
    members: dict[str, Any] = {"__module__": kind.__module__}
    if hasattr(original, "deconstruct"):  # a migration names the project's own storage
        members["deconstruct"] = lambda self: self.testenv_original.deconstruct()
    led.__class__ = type(kind.__name__, (base, kind), members)
    result = cast("Overlay", led)
    result.testenv_original, result.testenv_stage, result.testenv_own = original, stage, own
    own.check(led)
    is_s3_on_disk = base is OnDisk and not isinstance(original, FileSystemStorage)
    result.testenv_serves_own = is_s3_on_disk or (base is Overlay and places.in_sandbox)
    result.testenv_served = None
    if base is OnDisk or places.in_sandbox:
        result.testenv_served = partial(serving.address, serving.register(result))
    return led
