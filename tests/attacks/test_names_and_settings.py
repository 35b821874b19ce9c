"""Wrong and hostile names and settings: nothing is changed, and each refusal tells what to do.

A harm is any call of AWS's that does not read, and any command of Copilot's that changes something.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from invoke import Context
from invoke.exceptions import Exit

from copilot_testenv.aws import Aws
from copilot_testenv.aws.calls import Answered
from copilot_testenv.copilot import disposable
from copilot_testenv.copilot.commands import VERSION, Copilot
from copilot_testenv.core.errors import Refused, SettingsError, UserError
from copilot_testenv.core.process import Result
from copilot_testenv.core.settings import NAME, Settings, load
from copilot_testenv.session import Session, Target
from copilot_testenv.state import bucket
from copilot_testenv.state.lease import Lease
from copilot_testenv.state.registry import DeploymentRecord, Registry
from django_testenv.stage_copy import disposable_registry, guards
from django_testenv.stage_copy.problems import Refused as CopyRefused
from tests.fakes import FakeReport, FakeShell, Memory, made
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
}
# What only reads, or is about no slot; `create-env` asks for the name twice.
OTHERS = {
    "adopt", "check", "cost", "create-env", "logs", "package", "sandbox", "sidecar-config", "status",
}  # fmt: skip

# Names of environments that stand, with manifest and block, in the workspace.
PROTECTED_NAMES = [
    "production", "prod", "live", "stage", "staging", "Production", "PROD", "pRoD", " production", "stage ",
    "s t a g e", "production\t", "production-eu", "prod-eu", "prod2", "live2", "staging2", "stage-1", "uat",
    "uat-2", "prd", "preprod", "pre-prod", "pre_prod", "stg", "stg-us", "eu-prod", "my-live",
    "shop-production", "euprod", "eu1prod", "nonprod", "main", "master", "pr0d", "l1ve", "st4ging",
    "pr0duction-2", "p-r-o-d", "pro-duction", "products", "livestream-test", "prod_test", "_prod", "prod.eu",
    "\u0440rod",  # a Cyrillic er
    "pr\u043eduction",
    "\u0455t\u0430g\u0435",
    "\u03c1rod",  # a Greek rho
    "\uff50\uff52\uff4f\uff44",  # full-width
    "\U0001d429\U0001d42b\U0001d428\U0001d41d",  # mathematical letters
    "pro\u200bduction", "\ufeffprod", "pro\u00adduction", "prod\u2060", "li\u0301ve", "pr\u00f8d",
]  # fmt: skip
IMPOSSIBLE_NAMES = [
    "", " ", "\t", "tset", "test\n", "test;production", "test,stage", "-test", "test-", "te--st", "1test",
    "../stage", "test/../../production", "$(id)", "*", "te\u200bst", "te\u0455t", "TEST", "test --env x",
    "test\x00", "--env=x", "te" + "s" * 300 + "t",
]  # fmt: skip
HARMLESS_NAMES = [
    "test", "qa", "review", "dev", "sandbox", "preview", "demo", "test2", "qa-eu", "feature-x", "try", "ci",
    "ephemeral", "pr-12", "acceptance", "integration", "throw-away", "e2e", "plan", "delivery",
    "stack", "usual",
]  # fmt: skip

# What PROTECTED_ENVS says while TEST_ENV is an environment of the name, and how that must end.
PROTECTED_ENVS = [
    ("production;prod;stage", "production", 2), ("production prod", "production", 2),
    ("'production'", "production", 2), ('"production,prod"', "production", 2), ("production|prod", "live", 2),
    ("production\nprod", "prod", 2), ("production:prod", "prod", 2), ("production\uff0cprod", "prod", 2),
    ("[production]", "production", 2), ("prod*", "production", 2), (",", "production", 2),
    ("production,", "production", 2), ("production,,prod", "prod", 2), ("-", "production", 2),
    ("1", "production", 2), ("pro\u200bd", "prod", 2), ("", "production", 3), (" ", "production", 3),
    ("none", "production", 3), ("false", "production", 3), ("test2", "prod", 3), ("qa", "staging", 3),
    ("customer", "customer", 3), ("Customer", "customer", 3), (" customer ,qa", "customer", 3),
    ("customer", "customer-eu", 3), ("cust\u043emer", "customer", 3), ("customer", "cust0mer", 3),
    ("test", "test", 3), ("te", "test", 3), ("test-eu", "test", 3),
]  # fmt: skip
OTHER_SETTINGS = [
    ("COPILOT_APP", value)
    for value in ("", "Demo", "demo production", "demo/../other", "demo\n", "-demo", "demo;id", "dem\u043e")
] + [
    ("COPILOT_SERVICE", value)
    for value in ("", "web;id", "../web", "web --env=production", "Web", "web\n", "*", "w\u0435b", "web/")
]

# What the environment's record says, where it says anything, instead of `demo/test`.
MARKS = {
    "no tag": {},
    "an empty tag": {disposable.TAG: ""},
    "yes": {disposable.TAG: "true"},
    "of stage": {disposable.TAG: "demo/stage"},
    "of another application": {disposable.TAG: "other/test"},
    "of an application that begins alike": {disposable.TAG: "demo/test2"},
    "in capitals": {disposable.TAG: "Demo/Test"},
    "with spaces": {disposable.TAG: " demo/test "},
    "half made": {disposable.TAG: "creating demo/test"},
    "another key": {"copilot-testenv-Disposable": "demo/test"},
    "Copilot's own tags": {"copilot-application": "demo", "copilot-environment": "test"},
    "a look-alike": {disposable.TAG: "dem\u043e/test"},
}

COPILOTS = {"copilot-application": "demo", "copilot-environment": "test", "copilot-service": "web"}
OURS = made("web", "main") | {"expires_at": "2026-01-01T00:00:00Z"}


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in OURS.items() if name not in names}


# The tags and status of a stack that has the slot's name and that these tasks have not deployed.
FOREIGN = {
    "plain Copilot's": (COPILOTS, "CREATE_COMPLETE"),
    "plain Copilot's, updated": (COPILOTS, "UPDATE_COMPLETE"),
    "plain Copilot's, rolled back": (COPILOTS, "ROLLBACK_COMPLETE"),
    "plain Copilot's, not deleted": (COPILOTS, "DELETE_FAILED"),
    "plain Copilot's, not made": (COPILOTS, "CREATE_FAILED"),
    "plain Copilot's, stuck": (COPILOTS, "UPDATE_ROLLBACK_FAILED"),
    "plain Copilot's, under way": (COPILOTS, "UPDATE_IN_PROGRESS"),
    "by nobody": (without("deployed_by"), "UPDATE_COMPLETE"),
    "of no moment": (without("deployed_at"), "UPDATE_COMPLETE"),
    "of no commit": (without("commit"), "UPDATE_COMPLETE"),
    "of no branch": (without("branch"), "UPDATE_COMPLETE"),
    "with empty tags": (OURS | {"deployed_by": "", "commit": ""}, "UPDATE_COMPLETE"),
    "of another application": (OURS | {"copilot-application": "demo-test"}, "UPDATE_COMPLETE"),
    "of another environment": (OURS | {"copilot-environment": "test-web"}, "UPDATE_COMPLETE"),
    "of another service": (OURS | {"copilot-service": "api"}, "UPDATE_COMPLETE"),
    "an environment itself": (
        {"copilot-application": "demo", "copilot-environment": "test-web"}, "UPDATE_COMPLETE",
    ),
    "made by hand": ({}, "CREATE_COMPLETE"),
    "of somebody else, in review": (
        {"copilot-application": "other", "copilot-environment": "test"}, "REVIEW_IN_PROGRESS",
    ),
}  # fmt: skip

# COPILOT_ENVIRONMENT_NAME, and what the image's deployment.json says of the environment.
CONTAINERS = [
    ("production", "test"), ("production", "production"), ("Prod", "Prod"), ("stage", None),
    ("live-eu", "live-eu"), ("pr\u043ed", "pr\u043ed"), ("uat", "uat"), ("test", "stage"), ("test", None),
    ("test", ""), ("", "test"), ("", None), ("test2", "test"),
    ("Test", "test"), (" test", "test"), ("qa", "test"), (None, "production"),
]  # fmt: skip
DATABASES = [
    "production", "Prod", "PRODUCTION", "proddb", "prod_db", "shop_production", "shop-prod", "shopprod",
    "live", "livedb", "shop_live", "prd_main", "stage", "staging", "my_staging_2", "stg", "uat_1", "preprod",
    "main", "master", "pr0d", "l1ve_shop", "pr\u043eddb", "\u0440rod", "\uff50rod", "prod\u200bdb",
    "pro\u00adduction",
    "PRODUKTION", "postgres", "Template1", "shop.prod", "shop prod",
]  # fmt: skip
HARMLESS_DATABASES = [
    "test", "products", "test_products", "product_test", "shop_test", "main_test", "backstage_test", "t12x",
    "qa", "dev", "preview", "producer_test", "review_app", "delivery", "test_1",
]  # fmt: skip

CASES = [
    *(("TEST_ENV", name) for name in (*PROTECTED_NAMES, *IMPOSSIBLE_NAMES)),
    *(("PROTECTED_ENVS", case) for case in PROTECTED_ENVS),
    *OTHER_SETTINGS,
    *(("mark", name) for name in MARKS),
    *(("stack", name) for name in FOREIGN),
    *(("container", case) for case in CONTAINERS),
    *(("database", name) for name in DATABASES),
]


def test_there_are_as_many_cases_as_promised() -> None:
    assert len(CASES) == len(set(map(repr, CASES)))
    assert len(CASES) >= 80


# Settings.


def has(workspace: Path, name: str) -> None:
    """The environment stands in the workspace, if a folder can have that name."""
    with suppress(OSError, ValueError):
        folder = workspace / "copilot/environments" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.yml").write_text(f"name: {name}\ntype: Environment\n")


@pytest.mark.parametrize("name", PROTECTED_NAMES)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_environment_that_reads_like_production_is_refused(
    workspace: Path,
    name: str,
    elsewhere: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    has(workspace, name)
    with pytest.raises(Refused, match=r"protected environment.*set TEST_ENV"):
        load(workspace, {"TEST_ENV": name}, elsewhere=elsewhere)
    with pytest.raises(Refused, match="protected environment"):
        load(workspace, {"TEST_ENV": name, "PROTECTED_ENVS": ""}, elsewhere=elsewhere)


@pytest.mark.parametrize("name", IMPOSSIBLE_NAMES)
def test_an_environment_that_cannot_be_is_refused(workspace: Path, name: str) -> None:
    with pytest.raises((SettingsError, Refused), match="TEST_ENV"):
        load(workspace, {"TEST_ENV": name})


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_the_usual_names_of_throw_away_environments_pass(workspace: Path, name: str) -> None:
    has(workspace, name)
    assert load(workspace, {"TEST_ENV": name}).test_env == name


@pytest.mark.parametrize(("setting", "name", "code"), PROTECTED_ENVS)
def test_the_setting_of_protected_environments_only_ever_adds(
    workspace: Path, setting: str, name: str, code: int
) -> None:
    has(workspace, name)
    with pytest.raises(UserError) as caught:
        load(workspace, {"TEST_ENV": name, "PROTECTED_ENVS": setting})
    assert caught.value.exit_code == code
    assert ("with commas between them" if code == 2 else "TEST_ENV") in str(caught.value)


@pytest.mark.parametrize(("setting", "value"), OTHER_SETTINGS)
def test_an_application_or_service_that_cannot_be_is_refused(
    workspace: Path, setting: str, value: str
) -> None:
    (workspace / "copilot/.workspace").write_text("application: ''\n")
    given = {"COPILOT_APP": "demo", setting: value}
    with pytest.raises(SettingsError, match=setting):
        load(workspace, given)


def test_a_protected_name_beside_others_leaves_the_usual_ones_alone(workspace: Path) -> None:
    found = load(workspace, {"PROTECTED_ENVS": "customer, Demo-EU,pre_view"})
    assert found.test_env == "test"
    assert set(found.protected_envs) >= {"production", "stage", "customer", "demo-eu", "pre-view"}


# Tasks, on an account of which every call is known.


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

    def _list_stacks(self, **_: Any) -> dict[str, Any]:
        return {"StackSummaries": []}


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
        """How the task ended; None where it was done."""
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


# The command in the image.


@pytest.mark.parametrize(("name", "stated"), CONTAINERS)
def test_copy_stage_db_works_in_no_environment_but_the_one_of_its_image(
    name: str | None, stated: str | None
) -> None:
    environ = {} if name is None else {guards.ENVIRONMENT: name}
    deployed = {} if stated is None else {"environment": stated, "deploy": "1"}
    with pytest.raises(CopyRefused, match=r"deploy-test|run it in the throw-away environment"):
        guards.require_environment(environ, deployed, "deployment.json")


@pytest.mark.parametrize(("name", "stated"), [("test", "test"), ("qa", "qa"), (None, "test"), (None, None)])
def test_copy_stage_db_works_where_its_image_was_deployed_to_and_outside_of_copilot(
    name: str | None, stated: str | None
) -> None:
    environ = {} if name is None else {guards.ENVIRONMENT: name}
    guards.require_environment(environ, {"environment": stated} if stated else {}, "deployment.json")


@pytest.mark.parametrize("name", DATABASES)
@pytest.mark.parametrize("suffix", ["", "_x"])
def test_a_database_that_reads_like_production_is_never_thrown_away(name: str, suffix: str) -> None:
    with pytest.raises(CopyRefused, match=r"never thrown away: point the default database"):
        disposable_registry.require_name(name + suffix, name, "marked")


@pytest.mark.parametrize("name", HARMLESS_DATABASES)
def test_the_usual_names_of_test_databases_pass(name: str) -> None:
    disposable_registry.require_name(name, name, "marked")
    disposable_registry.require_name(
        f"{name}_fix_staging", name, "marked"
    )  # a branch may well be about staging


def test_the_harmless_names_are_names_of_copilots() -> None:
    assert all(NAME.fullmatch(name) for name in HARMLESS_NAMES)
