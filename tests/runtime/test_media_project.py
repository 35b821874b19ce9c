"""A real Django with storages of its own in its settings and in a field, S3 being a dictionary in them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.sources import sources

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("storages")
FILES = {
    "settings.py": """
SECRET_KEY = "x" * 50
INSTALLED_APPS = ["gallery"]
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
STORAGES = {"default": {"BACKEND": "gallery.storages.Media", "OPTIONS": {"bucket_name": "stage-media"}}}
AWS_STORAGE_BUCKET_NAME = "stage-media"
AWS_S3_CUSTOM_DOMAIN = "cdn.shop.example"
if __import__("os").environ.get("COPILOT_ENVIRONMENT_NAME") == "test":
    __import__("django_testenv.settings").settings.apply(globals())
""",
    "gallery/__init__.py": "",
    "gallery/storages.py": """
import io

from botocore.exceptions import ClientError
from django.core.files.base import File
from storages.backends.s3boto3 import S3Boto3Storage

STORE = {("stage-media", "media/a.txt"): b"staging's", ("stage-media", "contracts/c.txt"): b"staging's"}


class Client:
    def put_object(self, Bucket, Key, Body):
        STORE[Bucket, Key] = Body

    def head_object(self, Bucket, Key, **_):
        if (Bucket, Key) not in STORE:
            raise ClientError({"ResponseMetadata": {"HTTPStatusCode": 404}}, "HeadObject")


class Connection:
    class meta:
        client = Client()


class Media(S3Boto3Storage):
    location = "media"
    connection = Connection()

    def _key(self, name):
        return self.bucket_name, self._normalize_name(name)

    def _open(self, name, mode="rb"):
        return File(io.BytesIO(STORE[self._key(name)]))

    def _save(self, name, content):
        STORE[self._key(name)] = content.read()
        return name

    def delete(self, name):
        del STORE[self._key(name)]


class Contracts(Media):
    location = "contracts"
""",
    "gallery/models.py": """
from django.db import models

from .storages import Contracts


class Picture(models.Model):
    id = models.AutoField(primary_key=True)
    contract = models.FileField(storage=Contracts())
""",
    "look.py": """
import pickle

import django

django.setup()
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from gallery.models import Picture
from gallery.storages import STORE, Contracts, Media

before = dict(STORE)
field = Picture._meta.get_field("contract").storage
default_storage.save("b.txt", ContentFile(b"own"))
for storage, kind, name in ((default_storage, Media, "a.txt"), (field, Contracts, "c.txt")):
    assert isinstance(storage, kind)
    assert storage.open(name).read() == b"staging's"
    storage.delete(name)
    assert not storage.exists(name)
assert field.deconstruct() == Contracts().deconstruct()  # a migration stays as it is
assert not pickle.loads(pickle.dumps(field)).exists("c.txt")
assert {key: STORE.get(key) for key in before} == before
print(*sorted({key[0] for key in STORE if key not in before}))
""",
}


def test_storages_of_settings_and_of_fields_are_led_to_the_branchs_place(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "look.py"], cwd=tmp_path, check=False, capture_output=True, text=True,
        env={
            "PATH": os.environ["PATH"], "PYTHONPATH": sources(), "DJANGO_SETTINGS_MODULE": "settings",
            "COPILOT_APPLICATION_NAME": "shop", "COPILOT_ENVIRONMENT_NAME": "test",
            "COPILOT_SERVICE_NAME": "web", "STAGE_MEDIA_BUCKET": "stage-media",
            "TEST_MEDIA_BUCKET": "own-media",
        },
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "own-media\n"), done.stderr
