from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from copilot_testenv.aws.stack import Event, Stack
from copilot_testenv.ci import pull_request
from copilot_testenv.ci.pull_request import Message
from copilot_testenv.copilot import application
from copilot_testenv.copilot.commands import VERSION, Copilot
from copilot_testenv.core import git
from copilot_testenv.core.errors import Failed, Held, Interrupted, Refused, UsageError
from copilot_testenv.core.process import Command, Result
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import copy_db, teardown
from copilot_testenv.deploys.teardown import Options
from copilot_testenv.session import Session, Target
from copilot_testenv.state import bucket, live
from copilot_testenv.state.lease import Lease
from copilot_testenv.state.registry import DeploymentRecord, Registry
from tests.fakes import DisposableAws, FakeReport, FakeShell, Memory, made

NOW = datetime(2026, 11, 24, tzinfo=UTC)
PAST, FUTURE = "2026-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
KNOWN = {
    "--version": Result(0, f"copilot version: {VERSION}"),
    "env ls": Result(0, '{"environments": [{"name": "test"}]}'),
}


def stack(service: str, name: str, **tags: str) -> Stack:
    found = {**made(service, name), "expires_at": FUTURE, **tags}
    return Stack(f"demo-test-{service}", "UPDATE_COMPLETE", found, NOW)


def shared(name: str = "main", **tags: str) -> Stack:
    return stack("web", name, **tags)


def isolated(name: str, **tags: str) -> Stack:
    return stack(f"web-{git.slug(name)}", name, isolated="yes", **tags)


@dataclass
class Played(DisposableAws):
    """An AWS with these stacks; `svc delete` takes one away, unless it is stuck."""

    stacks: dict[str, Stack] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    tags: list[str] = field(default_factory=list)
    tasks_left: list[str] = field(default_factory=list)
    groups: set[str] = field(default_factory=set)
    keys: list[str] = field(default_factory=list)
    forbidden: bool = False
    undeletable: set[str] = field(default_factory=set)
    on_look: Callable[[Played], None] = lambda _: None

    def __post_init__(self) -> None:
        super().__init__({})

    def stack(self, name: str) -> Stack | None:
        return self.stacks.get(name)

    def deployments(self, app: str, environment: str) -> list[Stack]:
        assert (app, environment) == ("demo", "test")
        return list(self.stacks.values())

    def task_stacks(self, app: str, environment: str) -> list[str]:
        assert (app, environment) == ("demo", "test")
        return self.tasks_left

    def application_bucket(self, app: str) -> str:  # type: ignore[override]  # there it is cached
        return f"bucket-of-{app}"

    def object_keys(self, bucket: str, prefix: str) -> list[str]:
        assert bucket == "bucket-of-demo"
        return [key for key in self.keys if key.startswith(prefix)]

    def delete_objects(self, bucket: str, keys: Any) -> None:
        assert bucket == "bucket-of-demo"
        if self.forbidden:
            raise Failed("s3://bucket-of-demo/… was not deleted: Access Denied.")
        self.keys = [key for key in self.keys if key not in keys]

    def has_log_group(self, group: str) -> bool:
        return group in self.groups

    def events(self, stack: str, since: datetime) -> list[Event]:
        assert since < NOW
        return [
            Event(NOW, "Service", "DELETE_FAILED", "it is in use"),
            Event(NOW, stack, "DELETE_FAILED", ""),
        ]

    def image_tags(self, repository: str) -> list[str]:
        assert repository == "demo/web"
        return self.tags

    def delete_image_tags(self, repository: str, tags: Any) -> None:
        assert repository == "demo/web"
        self.tags = [tag for tag in self.tags if tag not in tags or tag in self.undeletable]
        if self.undeletable:
            raise Failed("1 images of the repository demo/web could not be deleted: in use.")


class Deleting(FakeShell):
    """Copilot's `svc delete` and `task delete` on that AWS."""

    aws: Played

    def run(self, command: Command) -> Result:
        words = command.argv
        if words[1:3] in {("svc", "delete"), ("task", "delete")}:
            assert "--env=test" in words
            name = next(word for word in words if word.startswith("--name=")).removeprefix("--name=")
            full = f"demo-test-{name}" if words[1] == "svc" else f"task-{name}"
            found = self.aws.stacks.pop(full)
            if full in self.aws.stuck:
                self.aws.stacks[full] = replace(found, status="DELETE_FAILED")
        return super().run(command)


@dataclass
class Scene:
    session: Session
    aws: Played
    registry: Registry
    withdrawn: list[str]
    dropped: list[str]
    leases: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)

    def teardown(self, **options: Any) -> None:
        teardown.teardown(self.session, Options(**{"yes": True, "json": True, **options}))

    @property
    def receipts(self) -> Any:
        assert isinstance(self.session.report, FakeReport)
        return json.loads(self.session.report.printed[-1])

    @property
    def said(self) -> str:
        assert isinstance(self.session.report, FakeReport)
        return "\n".join(self.session.report.said)

    @property
    def deletes(self) -> list[str]:
        assert isinstance(self.session.shell, FakeShell)
        return [line for line in self.session.shell.lines if " delete " in line]


@pytest.fixture
def scene(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scene]:
    def make(*stacks: Stack, **more: Any) -> Scene:
        aws = Played({each.name: each for each in stacks}, **more)
        shell = Deleting(KNOWN)
        shell.aws = aws
        registry = Registry(Memory())
        for each in stacks:
            if each.tags.get("isolated"):
                registry.record(
                    each.tags["copilot-service"], DeploymentRecord(each.tags["branch"], isolated=True)
                )
        leases: dict[str, Memory] = {}
        made = Scene(Session(settings, shell, FakeReport(), {}), aws, registry, [], [])

        def lease(session: Session, _place: Target, doing: str) -> Lease:
            store = leases.setdefault(session.settings.service, Memory())
            made.aws.on_look(made.aws)
            return Lease(store, session.settings.service, "ada", doing)

        def discard(session: Session, *_: Any) -> bool:
            if session.settings.service in made.leases:
                made.leases.remove(session.settings.service)
            return session.settings.service not in made.held

        def withdraw(own: Settings, *_: Any) -> list[str]:
            made.withdrawn.append(own.service)
            return [f"repository demo/{own.service}"]

        def drop_own(session: Session, *_: Any) -> list[str]:
            made.dropped.append(session.settings.service)
            return [f"test{session.settings.database_suffix}"]

        here = Target({}, Copilot(settings, {}, settings.root), aws)
        monkeypatch.setattr(Session, "enter", lambda *_, **__: here)
        monkeypatch.setattr(bucket, "registry", lambda *_: registry)
        monkeypatch.setattr(bucket, "lease", lease)
        monkeypatch.setattr(bucket, "leases", lambda *_: made.leases)
        monkeypatch.setattr(bucket, "discard_lease", discard)
        monkeypatch.setattr(
            bucket, "application_lease", lambda *_: Lease(Memory(), "the application", "ada", "taking out")
        )
        monkeypatch.setattr(application, "withdraw", withdraw)
        monkeypatch.setattr(copy_db, "host", lambda *_: "a host")
        monkeypatch.setattr(copy_db, "drop_own", drop_own)
        monkeypatch.setattr(copy_db, "databases", lambda *_: [])
        monkeypatch.setattr(Played, "stop_service", lambda *_: None)
        monkeypatch.setattr(live, "alive", lambda *_: False)
        return made

    return make


def gone(scene: Scene) -> list[str]:
    return [f"{thing['kind']} {thing['name']}" for each in scene.receipts for thing in each["gone"]]


def test_the_shared_slot_goes_with_its_image_tags_and_nothing_else_does(scene: Callable[..., Scene]) -> None:
    ours, theirs = f"{'c' * 40}-test", f"{'c' * 40}-production"
    here = scene(shared(), isolated("feature/x"), tags=[ours, f"startup-{ours}", theirs, "c" * 40, "latest"])
    here.teardown()
    assert gone(here) == [
        "service web", "stack demo-test-web", "log group /copilot/demo-test-web",
        f"image tag demo/web:{ours}", f"image tag demo/web:startup-{ours}", "lease web",
    ]  # fmt: skip
    assert here.aws.tags == [theirs, "c" * 40, "latest"]
    assert here.withdrawn == here.dropped == []
    assert list(here.aws.stacks) == [isolated("feature/x").name]


def test_a_branchs_own_goes_with_database_repository_and_name(scene: Callable[..., Scene]) -> None:
    here = scene(shared(), isolated("feature/x"))
    here.teardown(branch="feature/x")
    slug = git.slug("feature/x")
    assert f"database test_{slug.replace('-', '_')}" in gone(here)
    assert f"repository demo/web-{slug}" in gone(here)
    assert here.registry.read().deployments == {}
    assert list(here.aws.stacks) == ["demo-test-web"]
    assert "The shared slot carries main, not feature/x: the slot stays." in here.said


def test_the_branch_in_the_shared_slot_goes_from_there(scene: Callable[..., Scene]) -> None:
    here = scene(shared("feature/x"), isolated("feature/y"))
    here.teardown(branch="feature/x")
    assert list(here.aws.stacks) == [isolated("feature/y").name]


def test_all_is_all_of_this_service_and_of_no_other(scene: Callable[..., Scene]) -> None:
    others = [stack("web-admin", "admin"), stack("api", "main"), Stack("other", "CREATE_COMPLETE", {}, NOW)]
    here = scene(shared(), isolated("feature/x"), isolated("feature/y"), *others)
    here.teardown(every=True)
    assert sorted(here.aws.stacks) == sorted(each.name for each in others)


def test_only_what_has_come_to_its_end_expires_and_the_run_is_noted(scene: Callable[..., Scene]) -> None:
    here = scene(shared(expires_at="never"), isolated("a", expires_at=PAST), isolated("b"))
    here.teardown(expired=True)
    assert [receipt["branch"] for receipt in here.receipts] == ["a"]
    assert here.said.count("it stays") == 2
    assert here.registry.read().swept is not None


def test_a_plan_changes_nothing_and_notes_nothing(scene: Callable[..., Scene]) -> None:
    here = scene(shared(), isolated("a", expires_at=PAST))
    here.teardown(expired=True, plan=True, yes=False)
    (receipt,) = here.receipts
    assert receipt["gone"] == []
    assert {"kind": "stack", "name": "demo-test-web-a"} in receipt["would_go"]
    assert here.deletes == []
    assert here.registry.read().swept is None


def test_nothing_goes_without_a_yes(scene: Callable[..., Scene]) -> None:
    here = scene(shared())
    with pytest.raises(Refused):
        here.teardown(yes=False)
    assert here.deletes == []


def test_only_one_flag_says_what_is_to_go(scene: Callable[..., Scene]) -> None:
    here = scene(shared())
    with pytest.raises(UsageError):
        here.teardown(every=True, expired=True)
    with pytest.raises(UsageError):
        here.teardown(branch="main", orphans=True)
    assert here.deletes == []


def test_a_service_that_is_not_of_these_tasks_making_stays(scene: Callable[..., Scene]) -> None:
    here = scene(shared(), stack("web-admin", "admin"))
    here.teardown(branch="admin")
    assert here.deletes == []
    assert "was not made by these tasks" in here.said


@pytest.mark.parametrize(
    "changed", [{"deployed_at": "2"}, {"expires_at": FUTURE}], ids=["deployed anew", "extended"]
)
def test_what_was_changed_after_the_question_stays(
    scene: Callable[..., Scene], changed: dict[str, str]
) -> None:
    before = isolated("a", expires_at=PAST)
    here = scene(before, isolated("b", expires_at=PAST))

    def meanwhile(aws: Played) -> None:
        if before.name in aws.stacks:
            aws.stacks[before.name] = replace(before, tags={**before.tags, **changed})

    here.aws.on_look = meanwhile
    with pytest.raises(Held, match="changed meanwhile"):
        here.teardown(expired=True)
    assert list(here.aws.stacks) == [before.name]  # the other one had its turn
    assert [receipt["branch"] for receipt in here.receipts] == ["b"]


def test_what_would_not_go_is_left_in_the_receipt_with_the_reason(scene: Callable[..., Scene]) -> None:
    one, other = isolated("a"), isolated("b")
    here = scene(one, other, stuck={one.name})
    with pytest.raises(
        Failed,
        match=r"Not everything of web-a \(a\) was deleted: stack demo-test-web-a.*Service: it is in use",
    ):
        here.teardown(every=True)
    assert list(here.aws.stacks) == [one.name]
    assert here.withdrawn == ["web-b"]
    assert list(here.registry.read().deployments) == ["web-a"]


def test_a_database_that_cannot_be_dropped_keeps_nothing_that_costs(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(isolated("a"))

    def drop(*_: object) -> list[str]:
        raise Failed("the server does not answer")

    monkeypatch.setattr(copy_db, "drop_own", drop)
    with pytest.raises(Failed, match=r"database …_a: the server does not answer.*--orphans"):
        here.teardown(branch="a")
    assert here.aws.stacks == {}
    assert here.withdrawn == ["web-a"]
    assert here.registry.read().deployments == {}
    dropped: list[str] = []
    monkeypatch.setattr(copy_db, "databases", lambda *_: ["test_a"])
    monkeypatch.setattr(copy_db, "drop_named", lambda *words: dropped.append(words[-1]))
    here.teardown(orphans=True)
    assert dropped == ["test_a"]


def test_orphans_are_what_serves_nothing_and_what_living_ones_are_not(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = replace(isolated("dead"), status="ROLLBACK_COMPLETE")
    tag = f"{'d' * 40}-test"
    here = scene(shared(commit="c" * 40), isolated("alive"), dead, tags=[f"{'c' * 40}-test", tag])
    here.aws.tasks_left = ["task-demo-test-web-lost-copy-db", "task-demo-stage-web-copy-db"]
    here.aws.stacks["task-demo-test-web-lost-copy-db"] = Stack(
        "task-demo-test-web-lost-copy-db", "CREATE_COMPLETE", made("", ""), NOW
    )
    monkeypatch.setattr(copy_db, "databases", lambda *_: ["test_alive", "test_forgotten"])
    named: list[str] = []
    monkeypatch.setattr(copy_db, "drop_named", lambda *words: named.append(words[-1]))
    here.teardown(orphans=True)
    assert sorted(here.aws.stacks) == ["demo-test-web", "demo-test-web-alive"]
    assert here.aws.tags == [f"{'c' * 40}-test"]
    assert named == ["test_forgotten"]
    assert here.withdrawn == ["web-dead"]  # a task's stack alone does not make a service a branch's


def test_a_database_of_a_deployment_that_has_begun_since_the_question_stays(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(shared(commit="c" * 40))

    def look(*_: object) -> list[str]:
        here.registry.record("web-young", DeploymentRecord("young", isolated=True))
        return ["test_young", "test_forgotten"]

    monkeypatch.setattr(copy_db, "databases", look)
    named: list[str] = []
    monkeypatch.setattr(copy_db, "drop_named", lambda *words: named.append(words[-1]))
    with pytest.raises(Held, match="test_young belongs to a deployment that has just begun"):
        here.teardown(orphans=True)
    assert named == ["test_forgotten"]


def test_what_is_being_deployed_just_now_is_no_orphan(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(replace(isolated("young"), status="REVIEW_IN_PROGRESS"))
    with monkeypatch.context() as patched:
        patched.setattr(Lease, "holder", lambda _: "somebody")
        here.teardown(orphans=True)
    assert here.deletes == []
    here.teardown(orphans=True)
    assert here.aws.stacks == {}


@pytest.mark.parametrize(
    "options", [{"branch": "admin"}, {"every": True}, {"expired": True}, {"orphans": True}]
)
def test_a_service_of_the_projects_own_is_never_taken_for_what_a_branch_left(
    scene: Callable[..., Scene], options: dict[str, Any]
) -> None:
    """Its one-off task's stack is still here, and the registry has it as no branch's."""
    here = scene()
    here.registry.record("web-admin", DeploymentRecord("main", isolated=False))
    here.registry.record(
        "web-other", DeploymentRecord("another", isolated=True)
    )  # the name of no such branch
    left = "task-demo-test-web-admin-copy-db"
    here.aws.tasks_left = [left]
    here.aws.stacks[left] = Stack(left, "CREATE_COMPLETE", made("", ""), NOW)
    here.teardown(**options)
    assert here.withdrawn == here.dropped == []
    assert "svc delete" not in " ".join(here.deletes)


def test_a_slot_whose_lease_was_lost_is_touched_no_further(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(isolated("a"))

    def drop_and_sleep(*_: object) -> list[str]:
        held.lost = True
        return []

    held = Lease(Memory(), "web-a", "ada", "deleting")
    monkeypatch.setattr(bucket, "lease", lambda *_: held)
    monkeypatch.setattr(copy_db, "drop_own", drop_and_sleep)
    with pytest.raises(Held, match="another run has taken web-a"):
        here.teardown(branch="a")
    assert here.deletes == []
    assert here.withdrawn == []


def test_image_tags_stay_where_the_stack_did(scene: Callable[..., Scene]) -> None:
    tag = f"{'c' * 40}-test"
    here = scene(shared(), tags=[tag], stuck={"demo-test-web"})
    with pytest.raises(Failed):
        here.teardown()
    assert here.aws.tags == [tag]


def test_an_interrupted_one_off_task_ends_the_run_before_the_next_slot(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(isolated("a"), isolated("b"))

    def interrupted(*_: object) -> list[str]:
        raise Interrupted("Interrupted; the one-off task goes on.")

    monkeypatch.setattr(copy_db, "drop_own", interrupted)
    with pytest.raises(Interrupted):
        here.teardown(every=True)
    assert here.deletes == []


def test_who_is_asked_sees_whose_it_is(scene: Callable[..., Scene]) -> None:
    here = scene(shared(deployed_by="grace", why="a demo"))
    with pytest.raises(Refused):
        here.teardown(yes=False)
    assert f"To be deleted: web (main), of grace, wanted until {FUTURE}: a demo" in here.said


def test_twice_is_fine(scene: Callable[..., Scene]) -> None:
    here = scene(shared(), isolated("a"))
    here.teardown(every=True)
    for options in ({}, {"branch": "a"}, {"expired": True}, {"every": True}, {"orphans": True}):
        here.teardown(**options)
        assert here.receipts == []
    assert here.said.count("nothing to tear down") == 5


def test_the_receipt_tells_what_it_has_cost_and_the_pull_request_that_it_is_gone(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Message] = []
    monkeypatch.setattr(Played, "region", "eu-west-1")
    monkeypatch.setattr(pull_request, "tell", lambda _, message, __: told.append(message))
    here = scene(shared(deployed_at="2026-11-24T10:00:00Z"))
    here.teardown()
    (receipt,) = here.receipts
    assert "list prices of eu-west-1" in receipt["cost"]
    assert receipt["cost"] in here.said
    assert [(message.branch, message.url, message.service) for message in told] == [("main", None, "web")]


def test_the_receipt_says_only_what_went(scene: Callable[..., Scene]) -> None:
    one, other = f"{'c' * 40}-test", f"{'d' * 40}-test"
    here = scene(shared(), tags=[one, other], undeletable={other}, groups={"/copilot/demo-test-web"})
    here.held.add("web")
    with pytest.raises(Failed, match=r"log group /copilot/demo-test-web.*image tags of demo/web: 1 images"):
        here.teardown()
    assert gone(here) == ["service web", "stack demo-test-web", f"image tag demo/web:{one}"]


def test_a_service_that_stays_in_the_application_is_not_said_to_be_gone_and_is_found_again(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(isolated("a"))

    def withdraw(*_: object) -> list[str]:
        raise Failed("another change came first each time")

    with monkeypatch.context() as patched:
        patched.setattr(application, "withdraw", withdraw)
        with pytest.raises(
            Failed, match=r"Not everything of web-a .*service web-a: another change came first"
        ):
            here.teardown(branch="a")
    assert gone(here) == ["stack demo-test-web-a", "database test_a", "log group /copilot/demo-test-web-a"]
    assert list(here.registry.read().deployments) == ["web-a"]
    here.teardown(orphans=True)
    assert here.withdrawn == ["web-a"]
    assert here.registry.read().deployments == {}


def test_leases_of_slots_that_are_gone_are_orphans_and_others_are_not(scene: Callable[..., Scene]) -> None:
    here = scene(isolated("alive"))
    here.leases += ["web", "web-alive", "web-gone", "other"]
    here.teardown(orphans=True)
    assert here.leases == ["web", "web-alive", "other"]
    assert "Gone: the lease of web-gone." in here.said


@pytest.mark.parametrize("forbidden", [False, True])
def test_the_slots_own_templates_go_and_no_others(scene: Callable[..., Scene], forbidden: bool) -> None:  # noqa: FBT001 - a parameter
    own = "manual/templates/demo-test-web/1.yml"
    others = ["manual/templates/demo-test-web-a/1.yml", "manual/templates/demo-test/1.yml"]
    here = scene(shared(), keys=[own, *others], forbidden=forbidden)
    here.teardown()
    assert here.aws.keys == ([own, *others] if forbidden else others)
    assert ("templates s3://bucket-of-demo/manual/templates/demo-test-web/" in gone(here)) is not forbidden
    assert ("templates of web were not deleted" in here.said) is forbidden
