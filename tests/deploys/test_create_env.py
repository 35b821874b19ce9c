from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.copilot import disposable
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core.errors import Failed, Interrupted, Refused, SettingsError
from copilot_testenv.core.process import Command, Result
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import create_env, preflight
from copilot_testenv.deploys.create_env import Options
from copilot_testenv.session import Session, Target
from tests.fakes import FakeReport, FakeShell

RECORD = "/copilot/applications/demo/environments/test"


@dataclass
class Records(Aws):
    """Copilot's records of environments, by name, each with its tags."""

    records: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__({}, "eu-west-1")

    @property
    def home(self) -> Aws:
        return self

    @property
    def region(self) -> str:
        return "eu-west-1"

    def parameter_tags(self, name: str) -> dict[str, str] | None:
        return self.records.get(name)

    def tag_parameter(self, name: str, tags: object) -> None:
        assert isinstance(tags, dict)
        self.records[name] |= tags

    def missing_parameters(self, names: list[str]) -> list[str]:
        return names


class Making(FakeShell):
    """Copilot, which makes the environment's record at the end of `env init`."""

    aws: Records
    fails: str = ""

    def run(self, command: Command) -> Result:
        line = str(command)
        if self.fails and self.fails in line:
            self.ran.append(command)
            return Result(1)
        if "env init" in line:
            self.aws.records[RECORD] = {"copilot-application": "demo"}
        result = super().run(command)
        if "env ls" in line:
            listed = '{"name": "test"}' if RECORD in self.aws.records else ""
            return Result(0, f'{{"environments": [{listed}]}}')
        return result

    @property
    def changes(self) -> list[str]:
        return [line.split("copilot ")[1].split(" --")[0] for line in self.lines if "env ls" not in line]


@dataclass
class Scene:
    session: Session
    aws: Records
    shell: Making

    def create(self, **options: object) -> None:
        create_env.create_env(self.session, replace(Options(yes=True), **options))  # type: ignore[arg-type]  # its fields

    @property
    def mark(self) -> str | None:
        return self.aws.records.get(RECORD, {}).get(disposable.TAG)

    @property
    def said(self) -> str:
        assert isinstance(self.session.report, FakeReport)
        return "\n".join(self.session.report.said)


@pytest.fixture
def scene(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scene]:
    def make(records: dict[str, dict[str, str]] | None = None) -> Scene:
        aws, shell = Records(records or {}), Making()
        shell.aws = aws
        here = Target({}, Copilot(settings, {}, settings.root), aws)
        monkeypatch.setattr(Session, "enter", lambda *_, **__: here)
        return Scene(Session(settings, shell, FakeReport(), {}), aws, shell)

    return make


def test_what_is_created_is_marked_when_it_is_whole(scene: Callable[..., Scene]) -> None:
    here = scene()
    here.create()
    assert here.shell.changes == ["env init", "env deploy"]
    assert here.mark == "demo/test"


def test_half_an_environment_is_not_marked_and_the_next_run_finishes_it(scene: Callable[..., Scene]) -> None:
    here = scene()
    here.shell.fails = "env deploy"
    with pytest.raises(Failed, match="run it again"):
        here.create()
    assert here.mark == "creating demo/test"
    with pytest.raises(Refused, match="did not finish: run it again"):
        here.session.enter_to_change()
    here.shell.fails = ""
    here.create()
    assert here.shell.changes == ["env init", "env deploy", "env deploy"]
    assert here.mark == "demo/test"


def test_an_interrupted_start_is_gone_on_with(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene()
    with monkeypatch.context() as patched:
        patched.setattr(create_env, "catching_signals", stopped)
        with pytest.raises(Interrupted):
            here.create()
    assert here.mark == "creating demo/test"
    here.create()
    assert here.mark == "demo/test"


@contextmanager
def stopped(*_: object) -> Iterator[SimpleNamespace]:
    """A Ctrl-C that Copilot did not hear of before it was through."""
    yield SimpleNamespace(interrupted=True, signal_due=lambda: None)


def test_somebody_elses_environment_is_neither_deployed_nor_marked(scene: Callable[..., Scene]) -> None:
    here = scene({RECORD: {}})
    here.create()
    assert here.shell.changes == []
    assert here.mark is None
    assert "invoke create-env --mark-disposable test --confirm test" in here.said


def test_a_plan_and_a_no_change_nothing(scene: Callable[..., Scene]) -> None:
    here = scene()
    here.create(plan=True)
    with pytest.raises(Refused):
        here.create(yes=False)
    assert here.shell.changes == []
    assert here.mark is None
    assert "Would mark test" in here.said


def test_an_environment_that_is_not_there_cannot_be_marked(scene: Callable[..., Scene]) -> None:
    with pytest.raises(SettingsError, match="invoke create-env"):
        scene().create(mark_disposable="test", confirm="test")


def test_the_secrets_that_are_missing_are_named(scene: Callable[..., Scene], workspace: Path) -> None:
    manifest = workspace / "copilot/web/manifest.yml"
    manifest.write_text(manifest.read_text() + "secrets: {KEY: /copilot/demo/test/secrets/KEY}\n")
    here = scene()
    here.create()
    assert "  /copilot/demo/test/secrets/KEY" in here.said


def test_the_record_is_read_where_copilot_keeps_it_whatever_the_environments_region(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert Aws({}, "eu-west-1").home.region == "us-east-1"
    here = Aws({}, "us-east-1")
    assert here.home is here
    assert Aws({}).home.region == "us-east-1"


def test_what_is_missing_on_the_way_to_staging_is_said_on_aws(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene()
    here.session = replace(here.session, settings=replace(here.session.settings, target="aws"))
    exports = {"demo-test-VpcId": "vpc-1", "demo-stage-VpcId": "vpc-2", "demo-production-VpcId": "vpc-3"}
    monkeypatch.setattr(Records, "exports", lambda _: exports)
    monkeypatch.setattr(Records, "missing_between", lambda _, one, other: [f"a way from {one} to {other}"])
    monkeypatch.setattr(preflight, "known", lambda *_: ["test", "stage", "production"])
    settings = here.session.settings
    there = Target({}, Copilot(settings, {}, settings.root), here.aws)
    create_env._tell_missing_network(here.session, there)
    assert "Copies of stage's database cannot reach it yet. Missing: a way from vpc-1 to vpc-2." in here.said
    assert "production" not in here.said
