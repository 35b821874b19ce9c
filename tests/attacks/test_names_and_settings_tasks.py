"""No task changes what is not marked as disposable, or what these tasks did not deploy.

A harm is any call of AWS's that does not read, and any command of Copilot's that changes something.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from invoke import Context
from invoke.exceptions import Exit

from copilot_testenv.aws import Aws
from copilot_testenv.aws.calls import Answered
from copilot_testenv.copilot import disposable
from copilot_testenv.copilot.commands import VERSION, Copilot
from copilot_testenv.core.process import Result
from copilot_testenv.core.settings import Settings
from copilot_testenv.session import Session, Target
from copilot_testenv.state import bucket
from copilot_testenv.state.lease import Lease
from copilot_testenv.state.registry import DeploymentRecord, Registry
from tests.attacks.hostile_names import COPILOTS, FOREIGN, MARKS, OURS
from tests.fakes import FakeReport, FakeShell, Memory
from tests.test_tasks import collection

# Each task that changes a slot, with the ways to call it. A new task must be put here or below.
CHANGING: dict[str, list[dict[str, Any]]] = {
    "deploy-test": [{}, {"isolated": True}, {"force": True}, {"take_over": True, "wait": True}],
    "teardown": [
        {"branch": ""},
        {},
        {"branch": "", "expired": True},
        {"branch": "", "all": True},
        {"branch": "", "orphans": True},
    ],
    "copy-db": [{"branch": ""}, {}],
    "extend": [{"keep": True}, {"until": "5d"}],
    "exec": [{"manage": "migrate", "branch": ""}, {"command": "true"}],
    "sleep": [{"branch": ""}, {}],
    "wake": [{"branch": ""}, {}],
}
# What only reads, or is about no slot; `create-env` asks for the name twice.
OTHERS = {
    "adopt", "check", "cost", "create-env", "logs", "open", "package", "sandbox", "sidecar-config", "status",
}  # fmt: skip


def answered(code: str, text: str = "") -> Answered:
    return Answered(
        "service", "operation", ClientError({"Error": {"Code": code, "Message": text}}, "Operation")
    )


@dataclass
class Account(Aws):
    """An account by its stacks and the tags of the environment's record; what does not read is a harm."""

    tags: dict[str, str] | None = field(default_factory=lambda: {disposable.TAG: "demo/test"})
    stacks: dict[str, tuple[dict[str, str], str]] = field(default_factory=dict)
    harms: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    denied: str = ""

    def __post_init__(self) -> None:
        super().__init__({}, "eu-west-1")

    @property
    def home(self) -> Aws:
        return self

    @property
    def region(self) -> str:
        return "eu-west-1"

    def _pages(self, service: str, operation: str, /, **arguments: Any) -> Iterator[dict[str, Any]]:
        yield self._ask(service, operation, **arguments)

    def _ask(self, service: str, operation: str, /, **arguments: Any) -> dict[str, Any]:
        self.calls.append(operation)
        if operation == self.denied:
            raise answered("AccessDenied", f"{service}:{operation}")
        if not operation.startswith(("describe_", "get_", "list_")):
            self.harms.append(f"{service}:{operation} {arguments}")
        answer: dict[str, Any] = getattr(self, f"_{operation}", lambda **_: {})(**arguments)
        return answer

    def _list_tags_for_resource(self, ResourceId: str, **_: str) -> dict[str, Any]:  # noqa: N803 - AWS's name
        if self.tags is None:
            raise answered("InvalidResourceId")
        assert ResourceId == "/copilot/applications/demo/environments/test"
        return {"TagList": listed(self.tags)}

    def _describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - AWS's name
        if StackName not in self.stacks:
            raise answered("ValidationError", f"Stack with id {StackName} does not exist")
        tags, status = self.stacks[StackName]
        at = datetime(2026, 1, 1, tzinfo=UTC)
        return {"Stacks": [{"StackStatus": status, "Tags": listed(tags), "CreationTime": at}]}

    def _get_resources(self, TagFilters: list[dict[str, Any]], **_: Any) -> dict[str, Any]:  # noqa: N803
        wanted = {each["Key"]: each.get("Values") for each in TagFilters}
        found = [
            {"ResourceARN": f"arn:aws:cloudformation:x:y:stack/{name}/z", "Tags": listed(tags)}
            for name, (tags, _) in self.stacks.items()
            if all(key in tags and (not values or tags[key] in values) for key, values in wanted.items())
        ]
        return {"ResourceTagMappingList": found}

    def _get_parameter(self, **_: str) -> dict[str, Any]:
        return {"Parameter": {"Value": "{}"}}

    def _list_images(self, **_: Any) -> dict[str, Any]:
        return {"imageIds": [{"imageTag": f"{'d' * 40}-test"}]}

    def _list_stacks(self, StackStatusFilter: list[str]) -> dict[str, Any]:  # noqa: N803 - AWS's name
        at = datetime(2026, 1, 1, tzinfo=UTC)
        summaries = [
            {"StackName": name, "StackStatus": status, "CreationTime": at}
            for name, (_, status) in self.stacks.items()
            if status in StackStatusFilter
        ]
        return {"StackSummaries": summaries}


def listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


READS = re.compile(r"/copilot (--version|env ls|svc show)\b|^git\b|/git\b")


@dataclass
class World:
    """The menu's tasks on such an account."""

    session: Session
    account: Account
    tasks: Any

    def run(self, task: str, **flags: Any) -> Exit | None:
        """Return the error that ended the task; None if it succeeded."""
        try:
            self.tasks[task](Context(), **flags)
        except Exit as end:
            return end
        return None

    @property
    def harms(self) -> list[str]:
        assert isinstance(self.session.shell, FakeShell)
        return self.account.harms + [line for line in self.session.shell.lines if not READS.search(line)]

    @property
    def said(self) -> str:
        assert isinstance(self.session.report, FakeReport)
        return "\n".join(self.session.report.said)


def called(task: str, more: dict[str, Any], *, plan: bool) -> dict[str, Any]:
    """The flags of a call; those that ask are answered."""
    yes = {"yes": True} if task in {"teardown", "copy-db"} else {}
    return {"branch": "main", "plan": plan, **yes, **more}


CALLS = [
    pytest.param(task, called(task, more, plan=plan), id=f"{task} {' '.join(more)}{' plan' if plan else ''}")
    for task, ways in CHANGING.items()
    for more in ways
    for plan in (False, True)
]


@pytest.fixture
def world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    def make(**account: Any) -> World:
        known = '{"environments": [{"name": "test", "region": "eu-west-1", "accountID": "1"}]}'
        answers = {
            "--version": Result(0, f"copilot version: {VERSION}"),
            "env ls": Result(0, known),
            "rev-parse": Result(0, "c" * 40),
            "config user.email": Result(0, "ada"),
        }
        aws = Account(**account)
        here = Target({}, Copilot(settings, {}, settings.root), aws)
        session = Session(settings, FakeShell(answers), FakeReport(), {})
        stores: dict[str, Memory] = {}

        def lease(at: Session, target: Target, doing: str) -> Lease:
            target.copilot.require_marked()
            return Lease(stores.setdefault(at.settings.service, Memory()), "slot", "ada", doing)

        registry = Registry(Memory())
        registry.record("web-main", DeploymentRecord("main", isolated=True))
        monkeypatch.setattr(Session, "enter", lambda *_, **__: here)
        monkeypatch.setattr(bucket, "lease", lease)
        whole = Lease(Memory(), "the environment", "ada", "deleting")
        monkeypatch.setattr(bucket, "environment_lease", lambda *_: whole)
        monkeypatch.setattr(bucket, "registry", lambda *_: registry)
        monkeypatch.setattr("copilot_testenv.menu.session", lambda **_: session)
        return World(session, aws, collection())

    return make


def test_every_task_is_known_to_change_a_slot_or_not_to() -> None:
    assert CHANGING.keys() | OTHERS == set(collection().task_names)
    assert not CHANGING.keys() & OTHERS


@pytest.mark.parametrize(("task", "flags"), CALLS)
def test_no_task_changes_an_environment_that_does_not_say_that_it_is_disposable(
    world: Callable[..., World], task: str, flags: dict[str, Any]
) -> None:
    here = world(tags={}, stacks={"demo-test-web": (OURS, "UPDATE_COMPLETE")})
    ended = here.run(task, **flags)
    assert ended
    assert ended.code == 3
    assert "invoke create-env --mark-disposable test --confirm test" in str(ended)
    assert here.harms == []
    assert here.account.calls == ["list_tags_for_resource"]  # and nothing was asked before
    assert isinstance(here.session.report, FakeReport)
    assert here.session.report.asked == []


@pytest.mark.parametrize("tags", MARKS.values(), ids=MARKS)
def test_nothing_else_is_taken_for_the_mark(world: Callable[..., World], tags: dict[str, str]) -> None:
    for task, ways in CHANGING.items():
        here = world(tags=tags, stacks={"demo-test-web": (OURS, "UPDATE_COMPLETE")})
        ended = here.run(task, **called(task, ways[0], plan=False))
        assert ended
        assert ended.code == 3
        assert "--mark-disposable test" in str(ended)
        assert here.harms == []


def test_a_mark_that_cannot_be_read_is_no_mark(world: Callable[..., World]) -> None:
    for task, ways in CHANGING.items():
        here = world(denied="list_tags_for_resource")
        ended = here.run(task, **called(task, ways[0], plan=False))
        assert ended
        assert ended.code == 4
        assert "ssm:ListTagsForResource on the parameter /copilot/applications/demo/environments/test" in str(
            ended
        )
        assert here.harms == []


def test_an_environment_that_copilot_does_not_know_is_none_to_change(world: Callable[..., World]) -> None:
    for task, ways in CHANGING.items():
        here = world(tags=None)
        ended = here.run(task, **called(task, ways[0], plan=False))
        assert ended
        assert ended.code == 2
        assert "create it once with `invoke create-env`" in str(ended)
        assert here.harms == []


def test_what_these_tasks_deployed_to_a_marked_environment_goes(world: Callable[..., World]) -> None:
    """The near miss: the guards are not what keeps everything from happening."""
    here = world(stacks={"demo-test-web": (OURS, "UPDATE_COMPLETE")})
    here.run("teardown", yes=True)
    assert any("svc delete --app=demo --name=web --env=test --yes" in harm for harm in here.harms)
    here = world(stacks={"demo-test-web": (OURS, "UPDATE_COMPLETE")})
    here.run("extend", branch="main", keep=True)
    assert any("update_stack" in harm for harm in here.harms)


@pytest.mark.parametrize(("tags", "status"), FOREIGN.values(), ids=FOREIGN)
def test_no_task_touches_a_stack_that_these_tasks_did_not_deploy(
    world: Callable[..., World], tags: dict[str, str], status: str
) -> None:
    for task, ways in CHANGING.items():
        for more in ways:
            here = world(stacks={"demo-test-web": (tags, status)})
            ended = here.run(task, **called(task, {"branch": "main", **more}, plan=False))
            assert [harm for harm in here.harms if "demo-test-web'" in harm or "--name=web " in harm] == []
            assert "batch_delete_image" not in str(here.harms)
            if task == "teardown" and more != {"branch": ""}:
                assert "demo-test-web was not deployed by these tasks" in here.said
            elif not more.get("isolated"):
                assert ended
                assert re.search("copilot svc delete|CloudFormation console|main is not deployed", str(ended))
                assert ended.code == (4 if "main is not deployed" in str(ended) else 3)


@pytest.mark.parametrize(("tags", "status"), FOREIGN.values(), ids=FOREIGN)
def test_no_task_touches_a_service_that_only_is_called_like_a_branchs_own(
    world: Callable[..., World], tags: dict[str, str], status: str
) -> None:
    renamed = {key: "web-main" if value == "web" else value for key, value in tags.items()}
    for task, ways in CHANGING.items():
        for more in [*ways, {"isolated": True}] if task == "deploy-test" else ways:
            here = world(stacks={"demo-test-web-main": (renamed, status)})
            here.run(task, **called(task, {"branch": "main", **more}, plan=False))
            touched = [harm for harm in here.harms if "web-main" in harm]
            assert touched == []


@pytest.mark.parametrize(
    ("named", "confirmed"),
    [("test", ""), ("", "test"), ("test", "tset"), ("stage", "stage"), ("production", "production"),
     ("Test", "Test"), (" test", " test"), ("test", "test "), ("*", "*")],
)  # fmt: skip
def test_an_environment_is_marked_only_where_its_name_is_said_twice(
    world: Callable[..., World], named: str, confirmed: str
) -> None:
    here = world(tags={})
    ended = here.run("create-env", mark_disposable=named, confirm=confirmed, yes=True)
    assert ended
    assert ended.code == 3
    assert "must both name the test environment" in str(ended)
    assert here.harms == []


def test_the_mark_is_set_after_a_yes_and_twice_is_fine(world: Callable[..., World]) -> None:
    twice = {"mark_disposable": "test", "confirm": "test"}
    api = (COPILOTS | {"copilot-service": "api"}, "CREATE_COMPLETE")
    here = world(tags={}, stacks={"demo-test-api": api})
    ended = here.run("create-env", **twice)
    assert ended
    assert ended.code == 3
    assert here.run("create-env", plan=True, **twice) is None
    assert here.harms == []
    assert "Deployed there by others: api (demo-test-api)" in here.said
    assert here.run("create-env", yes=True, **twice) is None
    (harm,) = here.harms
    assert harm.startswith("ssm:add_tags_to_resource")
    assert "'Value': 'demo/test'" in harm
    here = world()
    assert here.run("create-env", yes=True, **twice) is None
    assert "already" in here.said
    assert here.harms == []


def test_an_environment_that_is_there_is_not_marked_by_the_way(world: Callable[..., World]) -> None:
    here = world(tags={})
    here.run("create-env", yes=True)
    assert here.harms == []
    assert "invoke create-env --mark-disposable test --confirm test" in here.said
