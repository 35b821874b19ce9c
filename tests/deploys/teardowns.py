"""An AWS, a registry and leases that a test fills, and what a teardown made of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from copilot_testenv.aws.stack import Event, Stack
from copilot_testenv.copilot.commands import VERSION
from copilot_testenv.core import git
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.process import Command, Result
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import teardown
from copilot_testenv.deploys.teardown import Options
from copilot_testenv.session import Session
from copilot_testenv.state.lease import Lease
from copilot_testenv.state.registry import Registry
from tests.fakes import DisposableAws, FakeReport, FakeShell, Memory, made

MEDIA = "demo-test-media-123456789012"
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
    groups: set[str] = field(default_factory=set)
    keys: list[str] = field(default_factory=list)
    media: dict[str, bytes] = field(default_factory=dict)  # objects of the bucket for media
    forbidden: bool = False
    undeletable: set[str] = field(default_factory=set)
    on_look: Callable[[Played], None] = lambda _: None
    environment: list[dict[str, str]] = field(default_factory=list)  # changes of its parameters
    refused: bool = False  # the environment cannot be changed
    deletions: list[str] = field(default_factory=list)  # of stacks, without Copilot

    def __post_init__(self) -> None:
        super().__init__({})

    def stack(self, name: str) -> Stack | None:
        if name == "demo-test" and self.environment:
            return Stack(name, "UPDATE_ROLLBACK_COMPLETE" if self.refused else "UPDATE_COMPLETE", {}, NOW)
        return self.stacks.get(name)

    def in_role(self, role: str) -> Played:
        assert role == "manager"
        return self

    def stack_parameters(self, stack: str) -> dict[str, str]:
        assert stack == "demo-test"
        services = [each.removeprefix("demo-test-") for each in self.stacks]
        return {"ALBWorkloads": ",".join(services), "Aliases": ""}

    def outputs(self, stack: str) -> dict[str, str]:
        assert stack == "demo-test"
        return {"EnvironmentManagerRoleARN": "manager", "CFNExecutionRoleARN": "execution"}

    def change_parameters(self, name: str, keys: Any, changes: Any, role: str) -> None:
        assert (name, role) == ("demo-test", "execution")
        assert set(keys) == {"ALBWorkloads", "Aliases"}
        self.environment.append(dict(changes))

    def delete_stack(self, name: str, role: str) -> None:
        assert role == "execution"
        self.deletions.append(name)
        found = self.stacks.pop(name)
        if name in self.stuck:
            self.stacks[name] = replace(found, status="DELETE_FAILED")

    def every_stack(self) -> dict[str, Stack]:
        return dict(self.stacks)

    def environment_stacks(self, app: str, environment: str) -> dict[str, Stack]:
        assert (app, environment) == ("demo", "test")
        return dict(self.stacks)

    def functions_of(self, app: str, environment: str) -> dict[str, list[str]]:
        assert (app, environment) == ("demo", "test")
        return {name.removeprefix("demo-test-"): self.functions(name) for name in list(self.stacks)[:2]}

    def deployments(self, app: str, environment: str) -> list[Stack]:
        assert (app, environment) == ("demo", "test")
        return list(self.stacks.values())

    def application_bucket(self, app: str) -> str:  # type: ignore[override]  # there it is cached
        return f"bucket-of-{app}"

    def account(self) -> str:
        return "123456789012"

    def has_bucket(self, bucket: str) -> bool:
        return bucket == MEDIA

    def object_content(self, bucket: str, key: str, most: int) -> bytes | None:
        assert bucket == MEDIA
        return self.media[key][:most] if key in self.media else None

    def object_keys(self, bucket: str, prefix: str) -> list[str]:
        if bucket == MEDIA:
            return [key for key in self.media if key.startswith(prefix)]
        assert bucket == "bucket-of-demo"
        return [key for key in self.keys if key.startswith(prefix)]

    def delete_objects(self, bucket: str, keys: Any) -> None:
        if bucket == MEDIA:
            self.media = {key: content for key, content in self.media.items() if key not in keys}
            return
        assert bucket == "bucket-of-demo"
        if self.forbidden:
            raise Failed("s3://bucket-of-demo/… was not deleted: Access Denied.")
        self.keys = [key for key in self.keys if key not in keys]

    def log_groups(self, prefix: str) -> dict[str, int]:
        return {name: 0 for name in self.groups if name.startswith(prefix)}

    def has_log_group(self, group: str) -> bool:
        return group in self.groups

    def functions(self, stack: str) -> list[str]:
        return [f"{stack}-EnvControllerFunction-AB12", f"{stack}-RulePriorityFunction-CD34"]

    def delete_log_group(self, group: str) -> bool:
        if self.forbidden:
            raise Failed("logs:DeleteLogGroup was refused: AccessDenied.")
        found = group in self.groups
        self.groups.discard(group)
        return found

    def events(self, stack: str, since: datetime) -> list[Event]:
        assert since < NOW
        return [
            Event(NOW, "Service", "DELETE_FAILED", "it is in use"),
            Event(NOW, stack, "DELETE_FAILED", ""),
        ]

    def image_tags(self, repository: str) -> list[str]:
        return self.tags if repository == "demo/web" else []

    def delete_image_tags(self, repository: str, tags: Any) -> None:
        if repository != "demo/web":
            assert not tags
            return
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
    withdrawals: list[list[str]] = field(default_factory=list)  # each is one change of the stack set
    leases: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    together: list[list[str]] = field(default_factory=list)  # services whose databases one task drops
    stores: dict[str, Memory] = field(default_factory=dict)  # the objects of leases, by service

    def lease(self, session: Session, _: Any, doing: str) -> Lease:
        own = session.settings.service
        self.aws.on_look(self.aws)
        sweep = Lease(self.stores.setdefault("", Memory()), own, "ada", "looking")
        store = self.stores.setdefault(own, Memory())
        return Lease(store, own, "ada", doing, service=own, sweep=sweep)

    def sweep_lease(self, _: Any, __: Any, doing: str, services: Sequence[str]) -> Lease:
        store = self.stores.setdefault("", Memory())
        return Lease(store, "the slots", "ada", doing, slots=tuple(services))

    def held_slots(self, session: Session, target: Any, slots: Sequence[Settings]) -> set[str]:
        each = [replace(session, settings=slot) for slot in slots]
        return {own.settings.service for own in each if self.lease(own, target, "looking").holder()}

    def discard_leases(self, _: Any, __: Any, services: Sequence[str]) -> None:
        self.leases = [name for name in self.leases if name not in services]

    def host(self, _: Any, __: Any, going: Collection[str] = ()) -> Any:
        """Return the slot whose container drops databases: one that is not going before the others."""
        own = [each.tags.get("copilot-service", "") for each in self.aws.stacks.values() if each.live]
        services = sorted(own, key=lambda name: (name not in going, name == "web", name))
        return SimpleNamespace(service=services[-1] if services else "another")

    def others(self, service: str) -> Lease:
        """Return another person's lease, who has an earlier version of the tasks: it looks at no sweep."""
        return Lease(self.stores.setdefault(service, Memory()), service, "grace", "deploying")

    def withdraw_several(self, slots: Sequence[tuple[Settings, Any]], *_: Any) -> dict[str, list[str]]:
        self.withdrawals.append([own.service for own, _ in slots])
        self.withdrawn += self.withdrawals[-1]
        names = {each: [f"service {each}", f"repository demo/{each}"] for each in self.withdrawals[-1]}
        return {service: names[service][::-1] for service in names}

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


def gone(scene: Scene) -> list[str]:
    return [f"{thing['kind']} {thing['name']}" for each in scene.receipts for thing in each["gone"]]
