"""`open`: the URL on standard output, and a browser where a person sits at a screen."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from copilot_testenv.core.errors import Failed
from copilot_testenv.core.process import Result
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys.open_url import has_screen, open_url
from copilot_testenv.state import live
from tests.deploys.test_copy_db import STACK, Played, on
from tests.fakes import FakeReport

SCREEN = {"DISPLAY": ":0"}


@pytest.mark.parametrize(
    ("environ", "terminal", "url", "opened"),
    [
        (SCREEN, True, "http://x.localhost:1", ["http://x.localhost:1"]),
        ({**SCREEN, "CI": "true"}, True, "http://x.localhost:1", []),
        (SCREEN, False, "http://x.localhost:1", []),
        ({}, True, "http://x.localhost:1", []),
        (SCREEN, True, "file:///etc/passwd", []),
    ],
    ids=["a person", "CI", "a pipe", "no screen", "no web page"],
)
def test_the_url_is_printed_and_opened_only_for_a_person(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    url: str,
    opened: list[str],
    *,
    terminal: bool,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setattr(live, "url_of", lambda *_: url)
    monkeypatch.setattr(sys, "platform", "linux")
    here = replace(on(settings, Played(), monkeypatch), environ=environ)
    browsed: list[str] = []
    open_url(here, "", browse=browsed.append)
    assert isinstance(here.report, FakeReport)
    assert here.report.printed == [url]
    assert browsed == opened


def test_a_screen_needs_no_variable_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert has_screen({}, platform="darwin")


@pytest.mark.parametrize(
    ("stack", "why"), [(None, "Nothing is deployed"), (STACK, "The URL of web is not known")]
)
def test_without_a_url_the_task_says_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, stack: object, why: str
) -> None:
    aws = Played(found=stack)  # type: ignore[arg-type]
    with pytest.raises(Failed, match=why):
        open_url(on(settings, aws, monkeypatch, svc_show=Result(1)), "")
