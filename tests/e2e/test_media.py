"""A project with pictures in S3, adopted with `--media`: branches show staging's, and change their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from copilot_testenv.aws import Aws
from tests.adopt.project import install, start_project
from tests.clone import ROOT, get, get_json
from tests.e2e.looks import deployed
from tests.e2e.test_adopt import Adopted

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

STAGE, OWN = "gallery-media", "mysite-test-media-123456789012"
# The shape of ICIJ/prophecies: a class of the project in STORAGES with its keys, and one in a field.
SETTINGS = f"""
import os
INSTALLED_APPS += ["gallery"]
AWS_STORAGE_BUCKET_NAME = "{STAGE}"
AWS_S3_CUSTOM_DOMAIN = f"{{AWS_STORAGE_BUCKET_NAME}}.s3.amazonaws.com"
MEDIA_URL = f"https://{{AWS_S3_CUSTOM_DOMAIN}}/"
STORAGES = {{
    "default": {{
        "BACKEND": "gallery.storages.MediaStorage",
        "OPTIONS": {{"bucket_name": AWS_STORAGE_BUCKET_NAME, "region_name": "us-east-1"}},
    }},
    "staticfiles": {{"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}},
}}
"""
FILES = {
    "requirements.txt": "Django>=5.2,<5.3\ngunicorn\npsycopg[binary]>=3.2,<4\ndjango-storages[s3]\nPillow\n",
    "gallery/__init__.py": "",
    "gallery/migrations/__init__.py": "",
    "gallery/storages.py": """
from storages.backends.s3boto3 import S3Boto3Storage


class MediaStorage(S3Boto3Storage):
    location = "private"
    default_acl = "private"
    file_overwrite = False


class Contracts(S3Boto3Storage):
    location = "contracts"
    custom_domain = False
""",
    "gallery/models.py": """
from django.db import models

from .storages import Contracts


class Picture(models.Model):
    image = models.ImageField(upload_to="pictures")
    contract = models.FileField(storage=Contracts(), blank=True)
""",
    "gallery/migrations/0001_initial.py": """
from django.db import migrations, models
import gallery.storages


class Migration(migrations.Migration):
    initial = True
    operations = [migrations.CreateModel("Picture", [
        ("id", models.BigAutoField(primary_key=True)),
        ("image", models.ImageField(upload_to="pictures")),
        ("contract", models.FileField(blank=True, storage=gallery.storages.Contracts(), upload_to="")),
    ])]


""",
    "gallery/management/__init__.py": "",
    "gallery/management/commands/__init__.py": "",
    "gallery/management/commands/fill_stage.py": """
from django.core.management.base import BaseCommand
from gallery.models import Picture


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("--megabytes")

    def handle(self, **_):
        for name in ("one", "two"):
            Picture.objects.create(image=f"pictures/{name}.gif", contract=f"{name}.txt")
""",
    "mysite/urls.py": """
import base64

import boto3
from django.core.files.base import ContentFile
from django.http import JsonResponse
from django.urls import path
from gallery.models import Picture

DOT = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


def shown(request):
    return JsonResponse({each.image.name: [each.image.url, each.contract.url]
                         for each in Picture.objects.order_by("image")})


def add(request):
    picture = Picture()
    picture.image.save("new.gif", ContentFile(DOT))
    picture.contract.save("new.txt", ContentFile(b"new"))
    return JsonResponse({"width": picture.image.width})


def remove(request):
    picture = Picture.objects.get(image="pictures/one.gif")
    picture.image.delete()
    picture.contract.delete()
    picture.delete()
    storage = Picture._meta.get_field("image").storage
    return JsonResponse({"exists": storage.exists("pictures/one.gif")})


def attack(request):
    try:
        boto3.client("s3").delete_object(Bucket="gallery-media", Key="private/pictures/two.gif")
    except Exception as error:
        return JsonResponse({"refused": str(error)})
    return JsonResponse({"refused": ""})


urlpatterns = [path("", shown), path("add", add), path("remove", remove), path("attack", attack)]
""",
}


class Gallery(Adopted):
    def adopt(self) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "invoke", "adopt", "--into", str(self.folder), "--yes", "--media", STAGE],
            cwd=ROOT, env=super(Adopted, self).environ(), check=True, capture_output=True, text=True,
        )  # fmt: skip
        install(self.folder, self.installed)
        return done.stderr


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    folder = start_project(tmp_path_factory.mktemp("gallery"), FILES, more_settings=SETTINGS)
    project = Gallery(folder, tmp_path_factory.mktemp("installed"))
    project.adopt()
    project.commit("Adopted")
    project.git("branch", "feature/x")
    yield project
    project.stop()


def objects(storage: Any, bucket: str) -> dict[str, bytes]:
    keys = [item["Key"] for item in storage.list_objects_v2(Bucket=bucket).get("Contents", ())]
    return {key: storage.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


@pytest.fixture(scope="module")
def stage(gallery: Gallery) -> dict[str, bytes]:
    """Staging's objects; the sandbox of the gallery runs."""
    gallery.do("sandbox")
    storage = Aws(gallery.variables()).client("s3")
    for name in ("one", "two"):
        for key in (f"private/pictures/{name}.gif", f"contracts/{name}.txt"):
            storage.put_object(Bucket=STAGE, Key=key, Body=f"staging's {name}".encode())
    return objects(storage, STAGE)


@pytest.fixture(scope="module")
def shared(gallery: Gallery, stage: dict[str, bytes]) -> str:
    """The address of the shared slot."""
    assert len(stage) == 4
    return deployed(gallery.invoke("deploy-test", "--branch", "main"))


def test_the_shared_slot_shows_stagings_pictures(shared: str) -> None:
    pictures = get_json(shared)
    assert list(pictures) == ["pictures/one.gif", "pictures/two.gif"]
    for address in pictures["pictures/one.gif"]:
        assert get(f"{shared}{address}") == (200, "staging's one")


def test_a_branch_changes_a_place_of_its_own_alone_which_teardown_clears(
    gallery: Gallery, stage: dict[str, bytes], shared: str
) -> None:
    own = deployed(gallery.invoke("deploy-test", "--branch", "feature/x", "--isolated"))
    storage = Aws(gallery.variables()).client("s3")
    assert get_json(f"{own}/add") == {"width": 1}
    assert get_json(f"{own}/remove") == {"exists": False}
    added = next(value for name, value in get_json(own).items() if "new" in name)
    assert get(f"{own}{added[0]}")[1].startswith("GIF89a")
    assert get(f"{shared}{get_json(shared)['pictures/one.gif'][0]}") == (200, "staging's one")
    assert "not authorized" in str(get_json(f"{own}/attack")["refused"])
    assert objects(storage, STAGE) == stage
    changed = objects(storage, OWN)

    receipt = json.loads(gallery.do("teardown", "--branch", "feature/x", "--yes", "--json").out)[0]
    assert {key.partition("/")[0] for key in changed} == {receipt["service"]}
    assert {"kind": "media", "name": f"s3://{OWN}/{receipt['service']}/"} in receipt["gone"]
    assert objects(storage, OWN) == {}
    assert objects(storage, STAGE) == stage
