"""`check` from end to end: the real Copilot, on an embedded AWS of its own."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from copilot_testenv.check import renderer as check_renderer
from copilot_testenv.check import workflow
from copilot_testenv.check.finding import Finding
from copilot_testenv.core.errors import SettingsError, UsageError
from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import load
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session
from tests.fakes import FakeReport


def session(root: Path) -> tuple[Session, FakeReport]:
    report = FakeReport()
    return Session(load(root, {}), RealShell(), report, {}), report


@pytest.fixture
def shared(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `check` use the tests' embedded AWS instead of one of its own."""
    monkeypatch.setattr(check_renderer, "opened", lambda *_: nullcontext(renderer))


def test_one_document_tells_all_that_is_wrong_and_the_end_is_2(shipped: Path) -> None:
    for name in ("stage", "production"):  # one environment is enough here
        shutil.rmtree(shipped / "copilot/environments" / name)
    (shipped / "copilot/api").mkdir()
    (shipped / "copilot/api/manifest.yml").write_text("name: api\na: [")
    here, report = session(shipped)
    with pytest.raises(SettingsError, match=r"\d errors?, \d+ warning"):
        workflow.check(here, json=True, style="text")
    (document,) = report.printed
    told: list[dict[str, Any]] = json.loads(document)
    assert set(told[0]) == {"path", "line", "column", "rule", "severity", "what", "instead"}
    assert [(one["path"], one["rule"]) for one in told] == [
        ("copilot/api/manifest.yml", "yaml"),
        ("copilot/web/manifest.yml", "stray-block"),
        ("copilot/web/manifest.yml", "stray-block"),
    ]


@pytest.mark.parametrize(
    ("style", "begins"), [("text", "a.yml:2: "), ("github", "::warning "), ("gitlab", "["), ("sarif", "{")]
)
def test_a_warning_is_told_in_the_form_asked_for_and_is_no_failure(style: str, begins: str) -> None:
    report = FakeReport()
    workflow.show(report, [Finding("a.yml", 2, "r", "warning", "what", "instead")], json=False, style=style)
    (line,) = report.printed
    assert line.startswith(begins)
    assert report.said == ["No error, 1 warning."]


@pytest.mark.usefixtures("shared")
def test_fix_with_plan_shows_the_difference_and_changes_nothing(shipped: Path) -> None:
    patches = shipped / "copilot/web/overrides/cfn.patches.yml"
    patches.write_text(patches.read_text().replace("nodejs24.x", "nodejs20.x"))
    before = patches.read_text()
    here, report = session(shipped)
    workflow.check(here, json=False, style="text", fix=True, plan=True)
    assert "-  value: nodejs20.x" in report.printed
    assert "+  value: nodejs24.x" in report.printed
    assert report.said[-1].startswith("1 file would change; nothing was changed. What has several")
    assert patches.read_text() == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"json": False, "style": "xml"}, "--format takes text, github, gitlab, sarif"),
        ({"json": True, "style": "github"}, "--json and --format exclude"),
        ({"json": False, "style": "text", "plan": True}, "--plan goes with --fix"),
        ({"json": True, "style": "text", "fix": True, "plan": True}, "--plan excludes --json and --format"),
        ({"json": False, "style": "gitlab", "fix": True, "plan": True}, "excludes --json and --format"),
    ],
)
def test_flags_that_do_not_go_together_are_refused_before_anything_runs(
    workspace: Path, flags: dict[str, Any], said: str
) -> None:
    here, _ = session(workspace)
    with pytest.raises(UsageError, match=said):
        workflow.check(here, **flags)


def test_this_repository_passes_without_a_warning_on_the_day_its_lists_were_made() -> None:
    """Everything that is shipped, Dockerfile and CI files too: rules look at the whole repository."""
    here, _ = session(Path(__file__).parent.parent.parent)
    assert workflow.findings(here, date(2026, 11, 24)) == []
