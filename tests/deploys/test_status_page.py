"""The page of `status --html s3://…`, written to the S3 of an embedded AWS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from copilot_sandbox.control_plane import ControlPlaneServer
from copilot_testenv.aws import Aws
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core.errors import Failed, Refused, UsageError
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import status
from copilot_testenv.session import Session, Target
from copilot_testenv.state import bucket
from copilot_testenv.state.registry import Registry
from tests.fakes import FakeReport, FakeShell, Memory
from tests.sandbox.cloud import Agent, Cloud

PAGE = "s3://acme-status/team/index.html"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    plane = ControlPlaneServer(0, tmp_path / "state", Agent(), lambda environment: 8000 + len(environment))
    plane.start()
    try:
        yield Cloud(plane, Agent())
    finally:
        plane.stop()


@pytest.fixture
def session(settings: Settings, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Session:
    cloud.client("s3").create_bucket(Bucket="acme-status")
    target = Target({}, Copilot(settings, {}, settings.root), Aws(dict(cloud.aws)))
    monkeypatch.setattr(Session, "enter", lambda *_, **__: target)
    monkeypatch.setattr(bucket, "registry", lambda *_: Registry(Memory()))
    return Session(settings, FakeShell(), FakeReport(), {})


def stored(cloud: Cloud, key: str = "team/index.html") -> Any:
    return cloud.client("s3").get_object(Bucket="acme-status", Key=key)


def test_the_page_is_an_object_that_browsers_read_and_a_second_run_replaces(
    session: Session, cloud: Cloud
) -> None:
    for _ in range(2):
        status.status(session, html=PAGE, json=False)
        found = stored(cloud)
        assert found["ContentType"] == "text/html; charset=utf-8"
        assert found["CacheControl"] == "no-cache"
        assert found["Body"].read().startswith(b"<!doctype html>")
    assert isinstance(session.report, FakeReport)
    assert f"{PAGE} shows 0 deployments." in "\n".join(session.report.said)


def test_an_object_that_is_no_such_page_stays(session: Session, cloud: Cloud) -> None:
    cloud.client("s3").put_object(Bucket="acme-status", Key="team/index.html", Body=b"the company's own")
    with pytest.raises(Refused, match="it stays"):
        status.status(session, html=PAGE, json=False)
    assert stored(cloud)["Body"].read() == b"the company's own"


def test_a_bucket_that_does_not_exist_and_a_sandbox_that_does_not_run_are_one_line(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Failed, match="NoSuchBucket"):
        status.status(session, html="s3://no-such-bucket/index.html", json=False)
    monkeypatch.setattr(Session, "enter", lambda *_, **__: None)
    with pytest.raises(Failed, match="The sandbox does not run"):
        status.status(session, html=PAGE, json=False)


@pytest.mark.parametrize(
    "place", ["s3://", "s3://acme-status", "s3://acme-status/", "s3://A_b/x", "s3://acme-status/a b"]
)
def test_an_address_that_names_no_object_is_a_usage_error(session: Session, place: str) -> None:
    with pytest.raises(UsageError, match="s3://BUCKET/KEY"):
        status.status(session, html=place, json=False)
