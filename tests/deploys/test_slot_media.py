"""A teardown clears the slot's own media, where they carry its mark."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from copilot_sandbox.testing.policies import Decision, Permission, decide
from copilot_testenv.copilot import media
from copilot_testenv.core.errors import Failed
from copilot_testenv.deploys import copy_db
from django_testenv.media.places import Places
from tests.deploys.teardowns import MEDIA, Scene, gone, isolated, shared


def mark(service: str, **other: str) -> bytes:
    return json.dumps({"application": "demo", "environment": "test", "service": service, **other}).encode()


def of_slot(service: str, **other: str) -> dict[str, bytes]:
    files = {f"{service}/{name}": b"x" for name in ("files/stage/a.txt", "deleted/0123")}
    return {**files, f"{service}/copilot-testenv.json": mark(service, **other)}


@pytest.fixture
def place(scene: Callable[..., Scene], tmp_path: Path) -> Callable[..., Scene]:
    """A scene in a workspace with the addon, and these objects in the bucket."""
    addon = tmp_path / media.ADDON
    addon.parent.mkdir(parents=True)
    addon.write_text("Resources: {}\n")

    def make(objects: Mapping[str, bytes], *stacks: object) -> Scene:
        made = scene(*stacks)
        made.session = replace(made.session, settings=replace(made.session.settings, root=tmp_path))
        made.aws.media = dict(objects)
        return made

    return make


def test_a_teardown_clears_the_prefix_of_its_slot_alone_and_says_so(place: Callable[..., Scene]) -> None:
    others = {**of_slot("web-b"), **of_slot("webb"), "web": b"a file of that name"}
    here = place({**of_slot("web"), **others}, shared())
    here.teardown(plan=True)
    assert {"kind": "media", "name": f"s3://{MEDIA}/web/"} in here.receipts[0]["would_go"]
    assert len(here.aws.media) == 3 + len(others)
    here.teardown()
    assert f"media s3://{MEDIA}/web/" in gone(here)
    assert here.aws.media == others


def test_without_media_nothing_is_said_of_them(place: Callable[..., Scene]) -> None:
    here = place(of_slot("web-b"), shared())
    here.teardown()
    assert not any(each.startswith("media") for each in gone(here))


@pytest.mark.parametrize(
    "spoilt",
    [b"", b"{", b"[]", mark("web-b"), mark("web", environment="stage"), mark("web", more="x"), b"x" * 2000],
)
def test_a_prefix_without_the_slots_mark_stays_and_the_teardown_fails(
    place: Callable[..., Scene], spoilt: bytes
) -> None:
    objects = {**of_slot("web"), "web/copilot-testenv.json": spoilt}
    if not spoilt:
        del objects["web/copilot-testenv.json"]
    here = place(objects, shared())
    with pytest.raises(Failed, match="does not carry the mark of this slot"):
        here.teardown()
    assert here.aws.media == objects
    assert not here.aws.stacks  # the rest has gone


def test_media_of_no_deployment_are_orphans_and_those_of_a_living_one_are_not(
    place: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_db, "databases", lambda *_: [])
    foreign = {"webb/x": b"x", "other/x": b"x"}
    here = place(
        {**of_slot("web"), **of_slot("web-lost"), **of_slot("web-alive"), **foreign},
        shared(commit="c" * 40), isolated("alive"),
    )  # fmt: skip
    alive = {key for key in here.aws.media if key.startswith(f"{isolated('alive').tags['copilot-service']}/")}
    here.teardown(orphans=True)
    assert "the media of web-lost" in here.said
    assert {key.partition("/")[0] for key in here.aws.media} == {"web", "web-alive", "webb", "other"}
    assert alive <= set(here.aws.media)


def test_a_workspace_without_the_addon_asks_aws_for_nothing(scene: Callable[..., Scene]) -> None:
    here = scene(shared())
    here.aws.media = of_slot("web")
    here.teardown()
    assert here.aws.media == of_slot("web")


def test_the_runtime_and_the_tasks_agree_on_prefix_and_mark(scene: Callable[..., Scene]) -> None:
    settings = scene(shared()).session.settings.isolated_for("b")
    names = {"application": "demo", "environment": "test", "service": settings.service}
    places = Places((), None, MEDIA, Path("/"), names, in_sandbox=False)
    assert (places.prefix, places.mark_key) == (media.prefix(settings), media.mark_key(settings))
    assert media.is_marked(settings, json.dumps(names).encode())


@pytest.mark.parametrize(
    ("action", "key", "allowed"),
    [
        ("s3:DeleteObject", "web/files/a", True),
        ("s3:DeleteObject", "web-b/files/a", True),
        ("s3:DeleteObject", "website/a", False),
        ("s3:GetObject", "web/copilot-testenv.json", True),
        ("s3:GetObject", "web/files/a", False),
        ("s3:PutObject", "web/files/a", False),
    ],
)
def test_the_policy_for_ci_lets_it_clear_and_read_nothing_but_marks(
    action: str, key: str, *, allowed: bool
) -> None:
    text = (Path(__file__).parents[2] / "docs/iam/ci-media.json").read_text()
    for name, value in (("ACCOUNT", "123456789012"), ("APP", "demo"), ("ENV", "test"), ("SERVICE", "web")):
        text = text.replace(name, value)
    decision = decide([json.loads(text)], Permission(action, f"arn:aws:s3:::{MEDIA}/{key}"))
    assert (decision is Decision.ALLOWED) is allowed
