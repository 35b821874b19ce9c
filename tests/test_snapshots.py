"""What a person reads on a terminal of 80 columns, as files in tests/snapshots/ that a person has read.

After a change of words: `WRITE_SNAPSHOTS=1 python -m pytest tests/test_snapshots.py`, then read what changed.
"""

from __future__ import annotations

import io
import os
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from copilot_testenv.account import workflow as account
from copilot_testenv.core import moments
from copilot_testenv.core.errors import Refused, SettingsError
from copilot_testenv.core.git import Branch
from copilot_testenv.core.settings import Settings
from copilot_testenv.core.terminal import Terminal
from copilot_testenv.costs import report
from copilot_testenv.deploys import logs, outcome, page_state, status
from copilot_testenv.deploys.delete_slot import SlotPart, listed
from copilot_testenv.deploys.outcome import Served
from copilot_testenv.deploys.phases import Phases
from copilot_testenv.deploys.probe import Page
from copilot_testenv.deploys.watch import Watcher
from copilot_testenv.session import Session
from copilot_testenv.state import live
from copilot_testenv.state.registry import DeploymentRecord, Registry
from tests import test_session
from tests.account import test_account, world
from tests.deploys import test_phases, test_replacing, test_rolled_back, test_status, test_watch
from tests.deploys.test_container_log import ERROR, FRAMES
from tests.deploys.test_phases import DATA
from tests.fakes import FakeShell, Memory
from tests.test_tasks import Ran

FOLDER = Path(__file__).parent / "snapshots"
COLUMNS = 80


def check(name: str, text: str) -> None:
    """Compare what a terminal shows with the file: lines that are too long go on in the next row."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)  # bold letters
    rows = [
        line[start : start + COLUMNS]
        for line in text.splitlines()
        for start in range(0, max(len(line), 1), COLUMNS)
    ]
    shown = "\n".join(rows) + "\n"
    file = FOLDER / f"{name}.txt"
    if os.environ.get("WRITE_SNAPSHOTS"):
        file.write_text(shown)
    assert shown == file.read_text()


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Standard output and error together, as a person sees them from now on."""
    made = Screen()
    for name, value in {"COLUMNS": str(COLUMNS), "TERM": "xterm", "TZ": "UTC"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", made)
    monkeypatch.setattr("sys.stderr", made)
    return made


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--list",),
        ("exec", "-h"),
        ("deply-test",),
        ("deploy-test", "--brnch", "x"),
        ("deploy-test", "--branch=-x"),
    ],
    ids=["no-task", "tasks", "exec-help", "unknown-task", "unknown-flag", "impossible-branch"],
)
def test_the_menu(
    words: tuple[str, ...], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.setattr(io, "StringIO", Screen)
    ran = Ran(*words)
    check(request.node.callspec.id, ran.out + ran.err)


def test_deployments(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    branch = "feature/a-long-name-for-the-checkout"
    own = test_status.isolated(branch, why="for Grace to look at")
    aws = test_status.Played([test_status.tagged("web", "main", expires_at="never"), own])
    session, registry = test_status.on(
        settings,
        aws,
        monkeypatch,
        web=DeploymentRecord("main", isolated=False, url="http://localhost:36517", database="test"),
        **{
            own.tags["copilot-service"].replace("-", "_"): DeploymentRecord(
                branch, isolated=True, url="http://feature-a-long-name-97cc63d.test.demo.example.com:36517"
            )
        },
    )
    now = datetime.now(UTC)
    migration = 'The container `startup` ended with exit code 1: relation "x" does not exist (shop.0002_x)'
    registry.record_failed("web", replace(test_status.FAILED, at=now.isoformat(), reason=migration), now)
    pages = iter([Page("", 500, "server_error", "it answers 500"), Page("", 200)])
    monkeypatch.setattr(page_state, "ask", lambda urls, _: [next(pages) for _ in urls])
    monkeypatch.setattr(moments, "shown", lambda moment, _: moment)  # it depends on the clock and its zone
    monkeypatch.setattr(moments, "told", lambda _: "Tue 11:00, 3 h ago")
    shown = screen(monkeypatch)
    status.status(replace(session, report=Terminal()), html="", json=False)
    check("status", shown.getvalue())


def test_a_failed_deploy_in_phases(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, terminal, clock = screen(monkeypatch), Terminal(), [0.0]
    monkeypatch.setattr(moments, "told", lambda moment: moment)  # it depends on the clock and its zone
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    aws = test_phases.Played()
    phases = Phases(Session(settings, FakeShell(), terminal, {}), aws, terminal.say, _begun=0.0)
    phases.tell("building the image")
    for clock[0], startup, lines in (
        (38.0, "PENDING", []),
        (40.0, "RUNNING", []),
        (104.0, "RUNNING", [DATA]),
    ):
        aws.lines = lines
        phases.look(None, [test_phases.task("PENDING", startup)])
    terminal.say("  startup: ended with exit code 1")
    phases.look(replace(test_rolled_back.STACK, status="UPDATE_ROLLBACK_IN_PROGRESS"), [])
    kept = 'copy_stage_db: data of 2026-11-21T10:00:00+00:00 in "test", kept'
    registry = Registry(Memory())
    serves = test_rolled_back.says(settings, test_rolled_back.Played(kept), registry, monkeypatch)
    terminal.say(
        f"feature/weight at a5bac49295ce was not deployed; the stack demo-test-web is "
        f"UPDATE_ROLLBACK_COMPLETE. {serves}{_failed_migration(settings).why()}"
    )
    check("failed-deploy", shown.getvalue())


def _failed_migration(settings: Settings) -> Watcher:
    """A deploy whose migration has ended the container `startup`."""

    class Failed(test_watch.Played):
        def last_lines(self, *_: object) -> list[str]:
            return ["  Applying shop.0002_weight...", *FRAMES, ERROR]

    aws = Failed(test_watch.OLD)
    made = test_watch.watcher(settings, aws)
    ends = test_watch.end("startup", 1), test_watch.end("web")
    aws.ran = [test_watch.stopped("Essential container in task exited", *ends)]
    return made


def test_the_receipt_of_a_teardown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = screen(monkeypatch)
    images = [SlotPart("image tag", f"demo/web:{letter * 40}-test") for letter in "abc"]
    logs = "/copilot/demo-test-web", "/aws/lambda/demo-test-web-EnvControllerFunction-MLASRSL1VJT9"
    parts = [
        SlotPart("service", "web"),
        *(SlotPart("stack", name) for name in ("demo-test-web", "task-demo-test-web-copy-db")),
        *(SlotPart("log group", name) for name in logs),
        *images,
        SlotPart("lease", "web"),
    ]
    Terminal().say(f"Gone: web (feature/weight):{listed(parts)}")
    check("teardown", shown.getvalue())


def test_the_costs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, _: object = None) -> Clock:
            return cls(2026, 11, 23, 9, tzinfo=UTC)

    shown = screen(monkeypatch)
    monkeypatch.setattr(moments, "told", lambda _: "Fri 18:00, in 4 days")
    monkeypatch.setattr(report, "datetime", Clock)
    report.cost(Session(settings, FakeShell(), Terminal(), {}), json=False, region="us-east-1", node="")
    check("cost", "\n".join(row.rstrip() for row in shown.getvalue().splitlines()))


def test_a_deploy_that_has_succeeded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = screen(monkeypatch)
    monkeypatch.setattr(moments, "told", lambda _: "Fri 18:00, in 6 days")
    tags = {"branch": "feature/checkout", "commit": "c" * 40, "expires_at": "2026-11-27T18:00:00Z"}
    url = "http://feature-a-long-name-for-the-checkout-97cc63d.test.demo.example.com:36517/shop"
    served = Served(replace(live.deployment_of(settings, tags), url=url), Page(url, 200))
    session = Session(settings, FakeShell(), Terminal(), {})
    outcome.tell(session, Branch("feature/checkout", "c" * 40), served, None, seconds=8.3, json=False)
    check("served", shown.getvalue())


def test_a_kept_branch_that_is_not_replaced(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "told", lambda _: "Tue 11:00, 3 h ago")
    monkeypatch.setattr("sys.stdin", Answer("n\n"))
    shown = screen(monkeypatch)
    with pytest.raises(Refused) as refused:
        test_replacing.judged(settings, Terminal(), tags=test_replacing.KEPT)
    Terminal().say(str(refused.value))
    check("kept-branch", shown.getvalue())


class Answer(Screen):
    """A person at the keyboard."""


def test_what_the_account_lacks(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = settings.root / "copilot/web/manifest.yml"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(world.MANIFEST)
    session, target = test_account.look(
        replace(settings, target="aws"), world.World(admitting=False, application_domain="")
    )
    monkeypatch.setattr(Session, "enter", lambda _: target)
    shown = screen(monkeypatch)
    with pytest.raises(SettingsError) as found:
        account.check(replace(session, report=Terminal()), json=False)
    Terminal().say(str(found.value))
    check("account", shown.getvalue())


def test_the_last_lines_of_the_containers(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        ("startup", "  Applying shop.0002_weight... OK"),
        ("web", "[INFO] Listening at: http://0.0.0.0:8000"),
    ]
    events = "\n".join(test_session.event(container, message) for container, message in lines)
    here = replace(test_session.deployed(settings, monkeypatch, events), report=Terminal())
    shown = screen(monkeypatch)
    time.tzset()
    logs.logs(here, logs.Options())
    check("logs", shown.getvalue())
