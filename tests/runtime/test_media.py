"""A branch's media under the rights that `adopt --media` writes, which the embedded AWS enforces."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import boto3
import django
import pytest
from botocore.exceptions import ClientError
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.test import Client, override_settings

from copilot_sandbox.control_plane import ControlPlaneServer
from copilot_testenv.adopt import media as adopted
from copilot_testenv.copilot import cloudformation
from django_testenv.access import access
from django_testenv.media import own, places
from django_testenv.media.storages import MediaStorage, overlay
from tests.sandbox.cloud import TRUST, Agent, Cloud

if TYPE_CHECKING:
    from pathlib import Path

S3Storage: Any = pytest.importorskip("storages.backends.s3boto3").S3Boto3Storage
STAGE, OWN = "shop-stage-media", "shop-test-media-123456789012"
CONSOLE = "django.core.mail.backends.console.EmailBackend"
URLS: tuple[Any, ...] = ()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """An embedded AWS with both addons in stacks of their own, and the task roles of web and web-b."""
    plane = ControlPlaneServer(0, tmp_path_factory.mktemp("state"), Agent(), lambda _: 8100)
    plane.start()
    try:
        found = Cloud(plane, plane.agent)  # type: ignore[arg-type]  # the Agent above
        plane.ensure_bucket(STAGE)
        of_app = {"App": "shop", "Env": "test"}
        bucket = cloudformation.parse(adopted.bucket("test"))
        assert found.create(bucket, "addons", **of_app) == "CREATE_COMPLETE"
        for name in ("web", "web-b"):
            rights = cloudformation.parse(adopted.rights("test", (STAGE,)))
            role = {
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "RoleName": name,
                    "AssumeRolePolicyDocument": TRUST,
                    "ManagedPolicyArns": [{"Ref": "TestMediaPolicy"}],
                },
            }
            whole = {**rights, "Resources": {**rights["Resources"], "TaskRole": role}}
            assert found.create(whole, name, **of_app, Name=name) == "CREATE_COMPLETE"
        yield found
    finally:
        plane.stop()


def fill(cloud: Cloud) -> dict[str, bytes]:
    """Give staging's bucket the files that it has before each test, and the branches' none."""
    objects = cloud.client("s3")
    for item in objects.list_objects_v2(Bucket=OWN).get("Contents", ()):
        objects.delete_object(Bucket=OWN, Key=item["Key"])
    for key in ("media/a.txt", "media/photos/b c.png", "private/contract.pdf"):
        objects.put_object(Bucket=STAGE, Key=key, Body=f"staging's {key}".encode())
    return contents(cloud, STAGE)


def contents(cloud: Cloud, bucket: str) -> dict[str, bytes]:
    objects = cloud.client("s3")
    keys = [item["Key"] for item in objects.list_objects_v2(Bucket=bucket).get("Contents", ())]
    return {key: objects.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


@pytest.fixture
def stage(cloud: Cloud) -> Iterator[dict[str, bytes]]:
    """Staging's objects, which are the same after the test."""
    before = fill(cloud)
    yield before
    assert contents(cloud, STAGE) == before


@pytest.fixture
def enter(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What gives this process the variables of a branch's container, with the key of its task role."""

    def give(service: str = "web", **more: str) -> None:
        role = cloud.plane.task_variables(f"arn:aws:iam::123456789012:role/{service}")
        network = {name: cloud.aws[name] for name in ("HTTPS_PROXY", "AWS_CA_BUNDLE")}
        variables = {
            **role, **network, "COPILOT_APPLICATION_NAME": "shop", "COPILOT_SERVICE_NAME": service,
            "COPILOT_ENVIRONMENT_NAME": "test", "COPILOT_LB_DNS": "shop.elb.amazonaws.com",
            "STAGE_MEDIA_BUCKET": STAGE, "TEST_MEDIA_BUCKET": OWN,
            "TEST_MEDIA_ROOT": str(tmp_path / service / "own"), **more,
        }  # fmt: skip
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    for name in ("STAGE_MEDIA_ROOT", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return give


@pytest.fixture(autouse=True)
def _project(tmp_path: Path) -> Iterator[None]:
    if not settings.configured:
        settings.configure(SECRET_KEY="a test's", ALLOWED_HOSTS=["testserver"])
        django.setup()
    with override_settings(
        ROOT_URLCONF=URLS,
        MIDDLEWARE=[access.MIDDLEWARE, places.MIDDLEWARE],
        TEST_ACCESS={},
        EMAIL_BACKEND=CONSOLE,
        MEDIA_ROOT=str(tmp_path / "media"),
        MEDIA_URL="/media/",
        AWS_STORAGE_BUCKET_NAME=STAGE,
        AWS_S3_CUSTOM_DOMAIN="cdn.shop.example",
        AWS_DEFAULT_ACL="public-read",
    ):
        yield


def s3(**options: Any) -> Any:
    return MediaStorage("storages.backends.s3boto3.S3Boto3Storage", {"location": "media", **options})


def read(storage: Any, name: str) -> Any:
    with storage.open(name) as file:
        return file.read()


def get(address: str) -> tuple[int, bytes, str]:
    """The status of an answer of the project, its content, and its policy for browsers."""
    answer = Client().get(address)
    try:
        content = b"".join(answer.streaming_content) if answer.streaming else answer.content
        return answer.status_code, content, answer.get("Content-Security-Policy", "")
    finally:
        answer.close()


def test_a_branch_reads_stagings_files_and_keeps_its_changes_in_its_own_prefix(
    cloud: Cloud, stage: Mapping[str, bytes], enter: Callable[..., None]
) -> None:
    enter()
    storage = s3()
    assert read(storage, "a.txt") == stage["media/a.txt"]
    assert storage.exists("photos/b c.png")
    assert storage.size("a.txt") == len(stage["media/a.txt"])
    assert storage.get_modified_time("a.txt")
    assert storage.listdir("") == ([], [])  # staging's are not listed
    assert not contents(cloud, OWN)  # reading has written nothing

    assert storage.save("a.txt", ContentFile(b"the branch's")) == "a.txt"
    assert storage.save("photos/new.txt", ContentFile(b"new")) == "photos/new.txt"
    assert read(storage, "a.txt") == b"the branch's"
    assert storage.size("a.txt") == len(b"the branch's")
    assert storage.listdir("") == (["photos"], ["a.txt"])
    with storage.open("written.txt", "wb") as file:
        file.write(b"in parts")
    kept = contents(cloud, OWN)
    assert set(kept) == {
        "web/copilot-testenv.json",
        *(f"web/files/{STAGE}/media/{name}" for name in ("a.txt", "photos/new.txt", "written.txt")),
    }
    assert json.loads(kept["web/copilot-testenv.json"]) == {
        "application": "shop", "environment": "test", "service": "web"
    }  # fmt: skip


def test_a_deleted_file_of_staging_stays_deleted_for_this_branch_alone(
    stage: Mapping[str, bytes], enter: Callable[..., None]
) -> None:
    assert stage
    enter()
    storage = s3()
    storage.delete("a.txt")
    storage.delete("never there.txt")
    assert not storage.exists("a.txt")
    with pytest.raises(FileNotFoundError):
        storage.open("a.txt")
    assert f"{OWN}.s3" in storage.url("a.txt")  # there it is missing
    again = s3()  # another process
    assert not again.exists("a.txt")
    assert not again.exists("photos/../a.txt")
    assert not s3(location="").exists("media/a.txt")  # another storage of the same files
    again.save("a.txt", ContentFile(b"back"))
    assert read(again, "a.txt") == b"back"
    again.delete("a.txt")
    assert not again.exists("a.txt")
    enter("web-b")
    assert s3().exists("a.txt")


def test_addresses_are_signed_and_lead_to_the_bucket_that_has_the_file(
    stage: Mapping[str, bytes], enter: Callable[..., None]
) -> None:
    assert stage
    enter()
    storage = s3(querystring_auth=False)
    storage.save("own.txt", ContentFile(b"own"))
    for name, bucket, key in (
        ("photos/b c.png", STAGE, "/media/photos/b c.png"),
        ("own.txt", OWN, f"/web/files/{STAGE}/media/own.txt"),
    ):
        found = urllib.parse.urlsplit(storage.url(name))
        assert found.hostname in {f"{bucket}.s3.amazonaws.com", f"{bucket}.s3.us-east-1.amazonaws.com"}
        assert urllib.parse.unquote(found.path) == key
        assert "Signature" in found.query


def test_the_role_can_write_nothing_of_staging_and_nothing_of_another_branch(
    cloud: Cloud, stage: Mapping[str, bytes], enter: Callable[..., None]
) -> None:
    assert stage
    enter()
    objects = boto3.client("s3")
    refused: list[Callable[[], object]] = [
        lambda: objects.put_object(Bucket=STAGE, Key="media/a.txt", Body=b""),
        lambda: objects.delete_object(Bucket=STAGE, Key="media/a.txt"),
        lambda: objects.put_object_tagging(Bucket=STAGE, Key="media/a.txt", Tagging={"TagSet": []}),
        lambda: objects.delete_objects(Bucket=STAGE, Delete={"Objects": [{"Key": "media/a.txt"}]}),
        lambda: objects.copy_object(Bucket=STAGE, Key="b", CopySource=f"{STAGE}/media/a.txt"),
        lambda: objects.put_object(Bucket=OWN, Key="web-b/files/x", Body=b""),
        lambda: objects.get_object(Bucket=OWN, Key="web-b/copilot-testenv.json"),
        lambda: objects.put_bucket_acl(Bucket=STAGE, ACL="public-read"),
        lambda: objects.delete_bucket(Bucket=STAGE),
    ]
    cloud.client("s3").put_object(Bucket=OWN, Key="web-b/copilot-testenv.json", Body=b"{}")
    for call in refused:
        with pytest.raises(ClientError, match=r"AccessDenied|not authorized|Forbidden"):
            call()


def test_a_storage_whose_class_holds_on_to_stagings_bucket_is_refused_before_it_writes(
    stage: Mapping[str, bytes], enter: Callable[..., None]
) -> None:
    class Fixed(S3Storage):  # type: ignore[misc]
        bucket_name = property(lambda _: STAGE)

    class Late(S3Storage):  # type: ignore[misc]
        location = "media"

    assert stage
    enter()
    with pytest.raises(ImproperlyConfigured, match="Fixed cannot be led to another place: its class sets"):
        overlay(Fixed())
    late = overlay(Late())
    assert isinstance(late, Late)
    late.bucket_name = STAGE  # somebody's code at run time
    changes: list[Callable[[], object]] = [
        lambda: late.save("x", ContentFile(b"")),
        lambda: late.delete("a.txt"),
    ]
    for change in changes:
        with pytest.raises(ImproperlyConfigured, match="outside of the branch's own place"):
            change()


def test_without_a_bucket_of_its_own_a_branch_keeps_its_files_on_the_disk_and_serves_them(
    stage: Mapping[str, bytes], enter: Callable[..., None], tmp_path: Path
) -> None:
    enter(TEST_MEDIA_BUCKET="")
    storage = s3()
    assert read(storage, "a.txt") == stage["media/a.txt"]
    storage.delete("a.txt")
    storage.save("own.html", ContentFile(b"<script>"))
    again = s3()
    assert (again.exists("a.txt"), again.exists("own.html")) == (False, True)
    assert again.listdir("") == ([], ["own.html"])
    assert (tmp_path / f"web/own/files/{STAGE}/media/own.html").read_bytes() == b"<script>"
    for name, content in (("own.html", b"<script>"), ("photos/b c.png", stage["media/photos/b c.png"])):
        address = again.url(name)
        assert get(address)[:2] == (200, content)
        assert get(address)[2].startswith("sandbox;")
        assert get(address.replace("/.testenv-media/", "/.testenv-media/x"))[0] == 404
    assert get(again.url("a.txt"))[0] == 404


def test_in_the_sandbox_where_no_browser_reaches_a_bucket_the_project_serves_its_files(
    stage: Mapping[str, bytes], enter: Callable[..., None]
) -> None:
    enter(COPILOT_LB_DNS="localhost:8080")
    storage = s3()
    storage.save("own.txt", ContentFile(b"own"))
    for name, content in (("own.txt", b"own"), ("a.txt", stage["media/a.txt"])):
        assert get(storage.url(name))[:2] == (200, content)


def test_a_project_with_files_on_a_disk_reads_a_folder_of_stagings(
    enter: Callable[..., None], tmp_path: Path
) -> None:
    staging = tmp_path / "stage"
    (staging / "docs").mkdir(parents=True)
    (staging / "docs/a.txt").write_text("staging's")
    enter(STAGE_MEDIA_BUCKET="", TEST_MEDIA_BUCKET="", STAGE_MEDIA_ROOT=str(staging))
    storage = MediaStorage()
    assert read(storage, "docs/a.txt") == b"staging's"
    assert storage.listdir("docs") == ([], [])
    name = storage.save("docs/a.txt", ContentFile(b"the branch's"))
    assert name != "docs/a.txt"  # it is taken, as it would be on staging
    assert storage.url(name) == f"/media/{name}"
    assert get(storage.url("docs/a.txt"))[:2] == (200, b"staging's")
    with storage.open("docs/a.txt", "ab") as file:
        file.write(b", and more")
    assert read(storage, "docs/a.txt") == b"staging's, and more"
    storage.delete("docs/a.txt")
    assert not storage.exists("docs/a.txt")
    with pytest.raises(FileNotFoundError):
        storage.open("docs/a.txt")
    assert (staging / "docs/a.txt").read_text() == "staging's"
    assert [file.name for file in staging.rglob("*")] == ["docs", "a.txt"]


def test_a_copy_of_stagings_file_is_made_for_who_asks_for_its_path(
    enter: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "stage").mkdir()
    (tmp_path / "stage/a.txt").write_text("staging's")
    enter(STAGE_MEDIA_BUCKET="", TEST_MEDIA_BUCKET="", STAGE_MEDIA_ROOT=str(tmp_path / "stage"))
    path = MediaStorage().path("a.txt")
    assert path == str(tmp_path / "media/a.txt")
    assert (tmp_path / "media/a.txt").read_text() == "staging's"


@pytest.mark.parametrize("inside", ["media", "media/below"])
def test_a_disk_that_is_stagings_is_refused(enter: Callable[..., None], tmp_path: Path, inside: str) -> None:
    enter(STAGE_MEDIA_BUCKET="", TEST_MEDIA_BUCKET="", STAGE_MEDIA_ROOT=str(tmp_path / inside))
    with pytest.raises(ImproperlyConfigured, match="outside of the branch's own place"):
        MediaStorage()


def test_a_fresh_copy_of_stagings_data_clears_the_branchs_prefix_and_no_other(
    cloud: Cloud, stage: Mapping[str, bytes], enter: Callable[..., None]
) -> None:
    assert stage
    for service in ("web", "web-b"):
        enter(service)
        storage = s3()
        storage.save("own.txt", ContentFile(b"own"))
        storage.delete("a.txt")
    enter("web")
    found = places.read()
    assert found
    assert own.clear(found) == 3
    assert {key.partition("/")[0] for key in contents(cloud, OWN)} == {"web-b"}
    assert s3().exists("a.txt")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TEST_MEDIA_BUCKET": STAGE}, "which is staging's"),
        ({"STAGE_MEDIA_BUCKET": "../x"}, "is not the name of a bucket"),
        ({"STAGE_MEDIA_ROOT": "/mnt"}, "are both set"),
        ({"COPILOT_SERVICE_NAME": "../web"}, "COPILOT_SERVICE_NAME"),
        ({"TEST_MEDIA_ROOT": "own"}, "must be absolute"),
        ({"TEST_MEDIA_ROOT": "/mnt", "STAGE_MEDIA_BUCKET": "", "STAGE_MEDIA_ROOT": "/mnt/x"}, "contain"),
    ],
)
def test_a_wrong_variable_is_named(
    enter: Callable[..., None], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    enter()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=message):
        places.read()


@pytest.mark.parametrize("environment", ["stage", "production", ""])
def test_outside_the_test_environment_a_storage_is_the_projects_own(
    enter: Callable[..., None], environment: str
) -> None:
    enter(COPILOT_ENVIRONMENT_NAME=environment)
    assert type(s3()).__module__.startswith("storages.")
    assert s3().bucket_name == STAGE
