"""A stack that was rolled back has the tags of the deploy before: it does not count as deployed already."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import Stack
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core.git import Branch
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import deploy
from copilot_testenv.deploys.deploy import Options
from copilot_testenv.deploys.probe import Page
from copilot_testenv.session import Session, Target
from copilot_testenv.state import live
from tests.fakes import FakeReport, FakeShell


@pytest.mark.parametrize(
    ("status", "counts"), [("UPDATE_COMPLETE", True), ("UPDATE_ROLLBACK_COMPLETE", False)]
)
def test_a_stack_that_was_rolled_back_is_deployed_anew_with_a_new_image_tag(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, status: str, *, counts: bool
) -> None:
    expires = datetime(2030, 1, 1, tzinfo=UTC)
    tags = {"branch": "main", "commit": "c0ffee", "expires_at": live.iso(expires)}
    before = Stack(settings.stack_name, status, tags, datetime.now(UTC))
    served = replace(live.deployment_of(settings, tags), url="http://x.example")
    monkeypatch.setattr(live, "running", lambda *_: ["a task"])
    monkeypatch.setattr(live, "alive", lambda *_: True)
    monkeypatch.setattr(live, "describe", lambda *_: served)
    monkeypatch.setattr(deploy, "open_page", lambda url: Page(url, 200, None, ""))
    target = Target({}, Copilot(settings, {}, settings.root), Aws({}))
    session = Session(settings, FakeShell({}), FakeReport(), {})
    run = deploy._Deploy(session, target, Branch("main", "c0ffee"), expires, Options())
    assert (run._served_already(before) is not None) is counts
    assert (run.tags.image(run.target, before) == run.tags.image(run.target, None)) is counts
