"""What a deploy replaces is said; what somebody keeps is not replaced without a yes."""

from __future__ import annotations

from typing import Any

import pytest

from copilot_testenv.core.errors import Held, Refused
from copilot_testenv.core.settings import Settings
from copilot_testenv.core.terminal import Report
from copilot_testenv.deploys.replacing import require_replaceable
from copilot_testenv.session import Session
from tests.deploys.teardowns import shared
from tests.fakes import FakeReport, FakeShell

KEPT = {"expires_at": "never"}


def judged(settings: Settings, report: Report, by: str = "ada", **more: Any) -> Any:
    tags = {"deployed_by": "ada", "commit": "c0ffee", **more.pop("tags", {})}
    flags = {"take_over": False, "yes": False, "plan": False, **more}
    session = Session(settings, FakeShell(), report, {})
    return require_replaceable(session, shared("feature/a", **tags), "feature/b", by, **flags)


def test_a_branch_of_ones_own_is_replaced_and_that_is_said(settings: Settings) -> None:
    report = FakeReport()
    assert judged(settings, report) is None
    (said,) = report.said
    assert said.startswith("feature/b will replace feature/a, ")
    assert report.asked == []


def test_a_kept_branch_of_ones_own_stays_unless_the_answer_is_yes(settings: Settings) -> None:
    report = FakeReport()
    with pytest.raises(Refused, match="Nothing was changed"):
        judged(settings, report, tags=KEPT)
    assert report.asked == [
        "feature/a has no expiry (--keep): its URL would be gone, and what testers entered. Replace it?"
    ]
    assert judged(settings, FakeReport(answer=True), tags=KEPT) is None
    assert judged(settings, FakeReport(), tags=KEPT, yes=True) is None


def test_a_plan_says_it_and_asks_nothing(settings: Settings) -> None:
    report = FakeReport()
    assert judged(settings, report, tags=KEPT, plan=True) is None
    assert "would replace feature/a" in report.said[0]
    assert report.asked == []


def test_another_persons_branch_stays_and_take_over_tells_its_pull_request(settings: Settings) -> None:
    with pytest.raises(Held, match="ada has feature/a live in test for as long as it is not torn down"):
        judged(settings, FakeReport(), by="bob", tags=KEPT)
    report = FakeReport()
    assert judged(settings, report, by="bob", take_over=True).branch == "feature/a"
    assert "ada has feature/a live in test, and it is replaced" in report.said[0]
