from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import Stack
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core import git
from copilot_testenv.core.settings import DeployTarget, Settings
from copilot_testenv.deploys import page_state, status
from copilot_testenv.deploys.probe import CLOSED, Fault, Page
from copilot_testenv.deploys.status import Row
from copilot_testenv.session import Session, Target
from copilot_testenv.state import bucket, live
from copilot_testenv.state.live import Deployment
from copilot_testenv.state.registry import DeploymentRecord, FailedDeploy, Registry, Sweep
from tests.fakes import FakeReport, FakeShell, Memory

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LONG_AGO = datetime.min.replace(tzinfo=UTC)


def tagged(service: str, name: str, **more: str) -> Stack:
    tags = {
        "copilot-service": service, "branch": name, "commit": "c" * 40, "deployed_by": "ada",
        "deployed_at": "2026-11-24T10:00:00Z", "expires_at": "2026-11-27T18:00:00Z", **more,
    }  # fmt: skip
    return Stack(f"demo-test-{service}", "", tags, LONG_AGO)


def isolated(name: str, **more: str) -> Stack:
    return tagged(f"web-{git.slug(name)}", name, isolated="yes", **more)


@dataclass
class Played(Aws):
    """An AWS with these stacks, some of them in these states; `found` are those that are asked for alone."""

    stacks: list[Stack] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    found: dict[str, Stack] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    asleep: frozenset[str] | None = frozenset()

    def __post_init__(self) -> None:
        super().__init__({})

    def deployments(self, app: str, environment: str) -> list[Stack]:
        assert (app, environment) == ("demo", "test")
        return self.stacks

    def unsettled(self) -> dict[str, str]:
        return self.states

    def sleeping(self, app: str, environment: str) -> frozenset[str] | None:
        assert (app, environment) == ("demo", "test")
        return self.asleep

    def stack(self, name: str) -> Stack | None:
        self.asked.append(name)
        return self.found.get(name)


def on(
    settings: Settings, aws: Played, monkeypatch: pytest.MonkeyPatch, **entries: DeploymentRecord
) -> tuple[Session, Registry]:
    registry = Registry(Memory())
    for service, entry in entries.items():
        registry.record(service.replace("_", "-"), entry)
    monkeypatch.setattr(bucket, "registry", lambda *_: registry)
    here = Target({}, Copilot(settings, {}, settings.root), aws)
    monkeypatch.setattr(Session, "enter", lambda *_, **__: here)
    return Session(settings, FakeShell(), FakeReport(), {}), registry


def test_each_deployment_is_told_by_its_tags_and_the_registry(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = Played([isolated("feature-x", why="demo"), tagged("web", "main", expires_at="never")])
    session, _ = on(
        settings, aws, monkeypatch,
        web=DeploymentRecord("main", isolated=False, url="http://localhost:1", database="test"),
        web_feature_x=DeploymentRecord("feature-x", isolated=True, data_copied_at="2026-11-24T09:00:00Z"),
    )  # fmt: skip
    status.status(session, html="", json=True)
    assert isinstance(session.report, FakeReport)
    main, own = json.loads(session.report.printed[0])
    assert (main["service"], main["isolated"], main["expires_at"]) == ("web", False, None)
    assert (main["url"], main["database"]) == ("http://localhost:1", "test")
    assert (own["service"], own["isolated"], own["slug"]) == ("web-feature-x", True, "feature-x")
    assert own["data_copied_at"] == "2026-11-24T09:00:00Z"
    assert aws.asked == []
    status.status(session, html="", json=False)
    assert "feature-x (demo)" in session.report.printed[1]


def test_a_slot_with_two_web_services_shows_both_addresses_and_tells_the_page_that_does_not_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    urls = {"web": "http://localhost:1", "api": "http://localhost:1/api"}
    record = DeploymentRecord("main", isolated=False, url=urls["web"], urls=urls)
    session, _ = on(settings, Played([tagged("web", "main", services="api")]), monkeypatch, web=record)
    broken = Page(urls["api"], 502, "gateway", "it answers 502")
    pages = {urls["web"]: Page(urls["web"], 200), urls["api"]: broken}
    monkeypatch.setattr(page_state, "open_page", lambda url, _: pages[url])
    for html, json_too in (("", True), ("", False), (str(tmp_path / "status.html"), False)):
        status.status(session, html=html, json=json_too)
    assert isinstance(session.report, FakeReport)
    (found,) = json.loads(session.report.printed[0])
    assert found["urls"] == urls
    assert found["other_pages"] == {"api": {"url": urls["api"], "status": 502, "fault": "gateway"}}
    shown = " ".join(session.report.printed[1].split())
    assert "http://localhost:1, http://localhost:1/api" in shown
    assert "api: its page answers 502" in shown
    text = (tmp_path / "status.html").read_text()
    assert 'class="failed"' in text
    assert f'<a href="{urls["api"]}">' in text


FAILED = FailedDeploy(
    "feature/broken",
    "d" * 40,
    "grace",
    "2026-11-24T11:00:00Z",
    "The container `startup` ended with code 1",
)


def answering(
    monkeypatch: pytest.MonkeyPatch, status_code: int | None, fault: Fault | None = None, reason: str = ""
) -> None:
    page = Page("http://localhost:1/", status_code, fault, reason or f"it answers {status_code}")
    monkeypatch.setattr(page_state, "open_page", lambda *_: page)


def test_a_live_deployment_is_told_with_the_answer_of_its_page_and_the_deploy_that_failed_after_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record = DeploymentRecord("main", isolated=False, url="http://localhost:1")
    session, registry = on(settings, Played([tagged("web", "main")]), monkeypatch, web=record)
    registry.record_failed("web", FAILED, NOW)
    answering(monkeypatch, 500, "server_error")
    status.status(session, html="", json=False)
    status.status(session, html="", json=True)
    status.status(session, html=str(tmp_path / "status.html"), json=False)
    assert isinstance(session.report, FakeReport)
    assert "its page answers 500" in session.report.printed[0]
    said = "\n".join(session.report.said)
    assert "The last deploy to web failed: feature/broken at dddddddddddd, by grace, 2026-11-24T11" in said
    assert FAILED.reason in said
    (found,) = json.loads(session.report.printed[1])
    assert found["page"] == {"url": "http://localhost:1/", "status": 500, "fault": "server_error"}
    assert (found["state"], found["failed_deploy"]) == ("live", asdict(FAILED))
    text = (tmp_path / "status.html").read_text()
    assert 'class="failed"' in text
    assert "Its page answers 500" in text
    assert "A later deploy, of feature/broken by grace, has failed." in text


def test_a_first_deploy_that_failed_is_told_where_nothing_is_deployed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, registry = on(settings, Played([]), monkeypatch)
    registry.record_failed("web", FAILED, NOW)
    status.status(session, html="", json=False)
    assert isinstance(session.report, FakeReport)
    assert session.report.said[-2].startswith("Nothing is deployed")
    assert session.report.said[-1].startswith("The last deploy to web failed: feature/broken")


@pytest.mark.parametrize(
    ("target", "page", "told", "usable"),
    [
        ("sandbox", None, "live", True),
        ("sandbox", Page("", 200), "live; its page answers 200", True),
        ("aws", Page("", 401, None, "it answers 401: closed"), "live; its page answers 401", True),
        ("aws", Page("", 503, "closed", CLOSED), "live; its page lets this machine not in", True),
        ("aws", Page("", None, "unreachable", "timed out"), "live; its page lets this machine not in", True),
        ("sandbox", Page("", None, "unreachable", "refused"), "its page does not answer: refused", False),
        ("aws", Page("", 502, "gateway", "it answers 502"), "its page answers 502", False),
        ("aws", Page("", 302, "redirect_loop", "it still redirects"), "its page still redirects", False),
    ],
)
def test_the_answer_of_a_page_is_told_in_words(
    target: DeployTarget, page: Page | None, told: str, *, usable: bool
) -> None:
    assert page_state.told(page, target) == told
    assert page_state.is_usable(page, target) is usable


@pytest.mark.parametrize(
    ("target", "url", "asked"),
    [
        ("aws", "https://x.test.example.com", True),
        ("aws", "http://169.254.169.254/latest/meta-data", False),
        ("aws", "http://[fd00:ec2::254]/", False),
        ("aws", "http://2852039166/", False),
        ("aws", "http://127.1/", False),
        ("aws", "http://localhost:9000/", False),
        ("aws", "http://[", False),
        ("aws", None, False),
        ("sandbox", "http://feature-x.localhost:1/", True),
        ("sandbox", "http://internal.example.com/", False),
    ],
)
def test_only_an_address_that_a_deployment_can_have_is_asked(
    target: DeployTarget, url: str | None, monkeypatch: pytest.MonkeyPatch, *, asked: bool
) -> None:
    answering(monkeypatch, 200)
    (page,) = page_state.ask([url], target)
    assert (page is not None) is asked


def test_what_is_being_changed_or_has_failed_is_told_with_its_state(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = isolated("feature-x")
    aws = Played([stack], {stack.name: "ROLLBACK_COMPLETE", "somebody-elses": "DELETE_FAILED"})
    session, _ = on(settings, aws, monkeypatch, web_feature_x=DeploymentRecord("feature-x", isolated=True))
    status.status(session, html="", json=False)
    assert isinstance(session.report, FakeReport)
    assert "ROLLBACK_COMPLETE" in session.report.printed[0]
    assert "somebody" not in session.report.printed[0]


def test_a_stack_that_the_registry_does_not_know_is_looked_at_and_left_out_where_it_is_gone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, failed = isolated("feature-x"), isolated("feature-y")
    aws = Played([gone, failed], {}, {failed.name: replace(failed, status="CREATE_IN_PROGRESS")})
    session, registry = on(settings, aws, monkeypatch)
    found = status.rows(session, session.enter(), registry.read())  # type: ignore[arg-type]  # patched
    assert [(row.deployment.branch, row.state) for row in found] == [("feature-y", "CREATE_IN_PROGRESS")]
    assert sorted(aws.asked) == sorted([gone.name, failed.name])


@pytest.mark.parametrize("known", [True, False], ids=["known", "not allowed"])
def test_a_deployment_that_sleeps_is_told_with_its_hours(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    known: bool,
) -> None:
    hours = "mon-fri 08:00-19:00 Europe/London"
    stack, other = isolated("feature-x", hours=hours), isolated("feature-y")
    sleeping = frozenset({stack.name, other.name}) if known else None
    aws = Played([stack, other], {other.name: "UPDATE_IN_PROGRESS"}, asleep=sleeping)
    session, _ = on(
        settings, aws, monkeypatch,
        web_feature_x=DeploymentRecord("feature-x", isolated=True),
        web_feature_y=DeploymentRecord("feature-y", isolated=True),
    )  # fmt: skip
    status.status(session, html=str(tmp_path / "page.html"), json=True)
    status.status(session, html="", json=False)
    assert isinstance(session.report, FakeReport)
    found, changing = json.loads(session.report.printed[0])
    assert (found["hours"], found["asleep"]) == (hours, True if known else None)
    assert (changing["hours"], changing["asleep"]) == (None, False if known else None)
    assert (re.search(r"asleep until 20\d\d-", session.report.printed[1]) is not None) is known
    page = (tmp_path / "page.html").read_text()
    assert ('<article class="asleep">' in page) is known
    assert ("Its address answers 503. It wakes at" in page) is known
    assert ("invoke wake --branch feature-x" in page) is known


@pytest.mark.parametrize(
    "stack",
    [
        tagged("web-admin", "admin"),  # a service of the project's own beside `web`
        tagged("api", "main"),  # another workspace's shared slot
        replace(isolated("feature-x"), name="demo-production-web"),
        replace(tagged("web", "main"), name="demo-stage-web"),
        tagged("web-feature-y", "feature-x", isolated="yes"),
        tagged("web-", "feature-x", isolated="yes"),
    ],
    ids=lambda stack: f"{stack.name} as {stack.tags['copilot-service']}",
)
def test_a_stack_whose_name_tags_and_branch_do_not_agree_is_no_slot_of_ours(
    settings: Settings, stack: Stack
) -> None:
    assert status.slot(settings, stack) is None


def test_the_shared_slot_and_a_branchs_own_are_told_apart(settings: Settings) -> None:
    assert status.slot(settings, tagged("web", "main")) == settings
    assert status.slot(settings, isolated("feature/x")) == settings.isolated_for(git.slug("feature/x"))


def a_row(expires_at: str) -> Row:
    end = Deployment("b", "c", "b", "test", "web", None, None, "a", None, expires_at, None, False, "aws")  # noqa: FBT003 - as it stands in the class
    return Row(end, "", "")


@pytest.mark.parametrize(
    ("swept", "ends", "said"),
    [
        (None, None, "never run here"),
        (None, "2026-11-27T18:00:00Z", "never run here.*docs/ci.md"),
        (timedelta(days=1), "2026-11-27T18:00:00Z", r"last ran at .*, by ci\.$"),
        (timedelta(days=9), "2026-11-27T18:00:00Z", "looks dead"),
        (timedelta(days=1), "2026-11-20T18:00:00Z", "1 deployment should have been removed.*docs/ci.md"),
    ],
)
def test_a_schedule_that_looks_dead_is_warned_of(
    swept: timedelta | None, ends: str | None, said: str
) -> None:
    last = Sweep(live.iso(NOW - swept), "ci") if swept else None
    assert re.search(said, status.sweep_told(last, [a_row(ends)] if ends else [], NOW))


def test_a_registry_that_somebody_wrote_by_hand_makes_the_schedule_look_dead() -> None:
    assert "looks dead" in status.sweep_told(Sweep("last friday", "me"), [], NOW)


def test_without_a_sandbox_nothing_is_deployed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = on(settings, Played(), monkeypatch)
    status.status(session, html="", json=False)
    monkeypatch.setattr(Session, "enter", lambda *_, **__: None)
    status.status(session, html="", json=False)
    status.status(session, html="", json=True)
    assert isinstance(session.report, FakeReport)
    assert any("Nothing is deployed" in line for line in session.report.said)
    assert any("does not run" in line for line in session.report.said)
    assert session.report.printed == ["[]"]


@pytest.mark.parametrize(
    ("at", "note"),
    [
        (None, "Automatic removal is not set up: "),
        ("2026-11-01T10:00:00Z", "Automatic removal has stopped: "),
        ("soon", "Automatic removal has stopped: "),
        ("2026-11-24T11:00:00Z", ""),
    ],
    ids=["never", "long ago", "not a time", "lately"],
)
def test_the_page_says_in_plain_words_whether_expired_deployments_are_removed(
    at: str | None, note: str
) -> None:
    stays = "what has expired stays until somebody removes it."
    assert status.page_note(Sweep(at, "ci") if at else None, NOW) == (note + stays if note else "")
