"""CloudFormation's engine: stacks, change sets, stack sets; creating, updating, rolling back, deleting.

An operation is a generator that runs under the control plane's lock and yields where it has to wait for the
task agent. One that never waits is through when the call that began it returns; another goes on in a thread
that takes the lock only between waits.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast
from urllib.parse import urlparse

from moto.core.exceptions import ServiceException
from moto.s3.models import s3_backends
from moto.ssm.models import ssm_backends
from werkzeug.exceptions import HTTPException

from .errors import (
    OperationCancelled,
    Refusal,
    ResourceFailed,
    StackMissing,
    TemplateError,
    handler_failed,
)
from .faults import Faults, Verb
from .resources import ACCOUNT, REGION, Catalogue, Handler, Made, Settling, Wanted
from .templates import (
    ABSENT,
    Scope,
    Unknown,
    in_order,
    read_template,
    resolve_parameters,
)

log = logging.getLogger(__name__)

_POLL = 0.05  # seconds between two questions to the agent
_PATIENCE = 3 * 3600.0
"""Seconds until an ECS service that does not settle fails its stack, as CloudFormation gives up on one.

Source: https://repost.aws/knowledge-center/cloudformation-ecs-service-stabilize
"""

_CLEAN_UP_TRIES = 3
"""After a change, what cannot be deleted in so many tries stays, and is no longer in the stack.

Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/troubleshooting.html, "Resource removed
from stack but not deleted".
"""
# Source of the words: https://github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/744
_LEFT_BEHIND = "Update successful. One or more resources could not be deleted."

NO_CHANGES = (
    "The submitted information didn't contain changes. Submit different information to create a change set."
)

# What the driver tells an operation that waited: it has settled, it has failed, the user cancelled.
Outcome = tuple[Literal["COMPLETED", "FAILED", "CANCELLED"], str]
Operation = Generator[Settling, Outcome, None]
_T = TypeVar("_T")


def _now() -> dt.datetime:
    # To the millisecond, as AWS tells times: Copilot waits for a service whose deployment changed after the
    # event that announced the change, and would wait for ever where the one is cut off and the other is not.
    now = dt.datetime.now(dt.UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


@dataclass(frozen=True)
class Target:
    """What a stack should be: a template, its parameters as they were given, tags."""

    text: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    template: Mapping[str, Any]

    @classmethod
    def read(cls, text: str, parameters: Mapping[str, str], tags: Mapping[str, str]) -> Target:
        return cls(text, dict(parameters), dict(tags), read_template(text))

    def same_as(self, other: Target) -> bool:
        """Say whether CloudFormation would find no change; Metadata and Description alone are none.

        Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/metadata-section-structure.html
        """

        def told(target: Target) -> Any:
            kept = {k: v for k, v in target.template.items() if k not in ("Metadata", "Description")}
            return kept, dict(target.parameters), dict(target.tags)

        return bool(told(self) == told(other))


@dataclass
class Resource:
    """A resource of a stack that exists or is being made."""

    wanted: Wanted
    made: Made
    retained: bool  # DeletionPolicy: Retain
    status: str = ""
    reason: str | None = None
    changed_at: dt.datetime = field(default_factory=_now)


@dataclass
class Output:
    value: str
    description: str | None
    export: str | None


@dataclass
class Stack:
    id: str
    name: str
    target: Target | None  # None while a first change set waits to be executed
    status: str
    created_at: dt.datetime = field(default_factory=_now)
    updated_at: dt.datetime | None = None
    reason: str | None = None
    role: str | None = None
    change_set: str | None = None
    keeps_failures: bool = False  # DisableRollback
    protected: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)  # the oldest first
    resources: dict[str, Resource] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)
    cancelled: bool = False

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.target.tags) if self.target else {}

    @property
    def busy(self) -> bool:
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"

    def set_status(self, status: str, reason: str | None = None) -> None:
        self.status, self.reason = status, reason
        self._add_event((self.name, self.id, "AWS::CloudFormation::Stack"), status, reason, None)

    def add_event(self, wanted: Wanted, physical_id: str, status: str, reason: str | None = None) -> None:
        properties = json.dumps(wanted.properties, default=str)
        self._add_event((wanted.logical_id, physical_id, wanted.type), status, reason, properties)
        if resource := self.resources.get(wanted.logical_id):
            resource.status, resource.reason, resource.changed_at = status, reason, _now()

    def _add_event(
        self, about: tuple[str, str, str], status: str, reason: str | None, properties: str | None
    ) -> None:
        logical_id, physical_id, type_ = about
        self.events.append(
            {
                "StackId": self.id,
                "EventId": f"{logical_id}-{uuid.uuid4()}",
                "StackName": self.name,
                "LogicalResourceId": logical_id,
                "PhysicalResourceId": physical_id,
                "ResourceType": type_,
                "Timestamp": _now(),
                "ResourceStatus": status,
                "ResourceStatusReason": reason,
                "ResourceProperties": properties,
            }
        )


@dataclass
class ChangeSet:
    id: str
    name: str
    stack: Stack
    target: Target
    kind: Literal["CREATE", "UPDATE"]
    changes: list[dict[str, Any]]
    status: str = "CREATE_COMPLETE"
    execution: str = "AVAILABLE"
    reason: str | None = None
    created_at: dt.datetime = field(default_factory=_now)


@dataclass
class StackSet:
    id: str
    name: str
    target: Target
    description: str | None
    administration_role: str | None
    execution_role: str | None
    instances: dict[tuple[str, str], Stack] = field(default_factory=dict)  # by account and region
    operations: list[dict[str, Any]] = field(default_factory=list)  # the newest first


class Engine:
    """All stacks of the account. Whoever calls a method holds `lock`."""

    def __init__(self, lock: threading.RLock, wake: Callable[[], None], faults: Faults) -> None:
        self._lock = lock
        self._wake = wake
        self._faults = faults
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.stacks: dict[str, Stack] = {}  # by id, deleted ones included
        self.change_sets: dict[str, ChangeSet] = {}
        self.stack_sets: dict[str, StackSet] = {}
        self.catalogue = Catalogue({}, Handler())

    def stop(self) -> None:
        """End the threads; stacks stay as they are. Called without the lock."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    # Looking up

    def live(self) -> list[Stack]:
        return [stack for stack in self.stacks.values() if stack.status != "DELETE_COMPLETE"]

    def find(self, name_or_id: str) -> Stack:
        """Return a stack by name, or by id even when it is deleted. Raises StackMissing."""
        if name_or_id in self.stacks:
            return self.stacks[name_or_id]
        for stack in self.live():
            if stack.name == name_or_id:
                return stack
        raise StackMissing(name_or_id)

    def find_change_set(self, name_or_id: str, stack_name: str | None) -> ChangeSet:
        if name_or_id in self.change_sets:
            return self.change_sets[name_or_id]
        for change_set in self.change_sets.values():
            named = stack_name in (change_set.stack.name, change_set.stack.id)
            if change_set.name == name_or_id and named:
                return change_set
        raise _ChangeSetMissing(f"ChangeSet [{name_or_id}] does not exist")

    def exports(self) -> dict[str, tuple[Stack, str]]:
        return {
            output.export: (stack, output.value)
            for stack in self.live()
            for output in stack.outputs.values()
            if output.export
        }

    # What a template means

    def values_of(self, stack: Stack, target: Target) -> dict[str, Any]:
        return {
            "AWS::AccountId": ACCOUNT,
            "AWS::Region": REGION,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackId": stack.id,
            "AWS::StackName": stack.name,
            "AWS::NotificationARNs": [],
            **resolve_parameters(target.template, target.parameters, _ssm_value),
        }

    def _scope(self, stack: Stack, target: Target, unknown: set[str] | None = None) -> Scope:
        """Resolve names against what the stack has now; what is `unknown` gets an Unknown."""
        hidden = unknown or set()

        def resource(name: str) -> str:
            if name in hidden:
                return Unknown(f"unknown:{name}")
            if name not in stack.resources:
                raise TemplateError(
                    f"Template format error: Unresolved resource dependencies [{name}] in the Resources block"
                    " of the template"
                )
            return stack.resources[name].made.physical_id

        def attribute(name: str, key: str) -> Any:
            if name in hidden:
                return Unknown(f"unknown:{name}.{key}")
            resource(name)
            found = stack.resources[name]
            return self.catalogue[found.wanted.type].attribute(found.made, key)

        def export(name: str) -> str:
            exports = self.exports()
            if name not in exports:
                raise TemplateError(f"No export named {name} found.")
            return exports[name][1]

        return Scope(target.template, self.values_of(stack, target), resource, attribute, export)

    def _wanted(self, stack: Stack, target: Target, scope: Scope, name: str) -> Wanted:
        declared = target.template["Resources"][name]
        properties = scope.resolve(declared.get("Properties") or {})
        return Wanted(
            stack.id,
            stack.name,
            target.tags,
            name,
            declared["Type"],
            {} if properties is ABSENT else properties,
        )

    def _names(self, target: Target, scope: Scope) -> list[str]:
        """Return the resources whose condition holds, in the order of their dependencies."""
        declared = target.template["Resources"]
        return [
            name
            for name in in_order(declared)
            if "Condition" not in declared[name] or scope.condition(declared[name]["Condition"])
        ]

    def changes(self, stack: Stack, target: Target) -> list[dict[str, Any]]:
        """Compare what a stack has with what a target wants, resource by resource."""
        unknown: set[str] = set(target.template["Resources"]) - set(stack.resources)
        scope = self._scope(stack, target, unknown)
        names = self._names(target, scope)
        found: list[dict[str, Any]] = []
        for name in names:
            type_ = target.template["Resources"][name]["Type"]
            have = stack.resources.get(name)
            if have is None:
                found.append(_change("Add", name, type_, None))
                continue
            wanted = self._wanted(stack, target, scope, name)
            handler = self.catalogue[type_]
            if not _differs(handler, have.wanted, wanted):
                continue
            if handler.always_replaced or type_.startswith("Custom::"):
                unknown.add(name)
            found.append(_change("Modify", name, type_, have.made.physical_id))
        found += [
            _change("Remove", name, have.wanted.type, have.made.physical_id)
            for name, have in stack.resources.items()
            if name not in names
        ]
        return found

    # What users begin

    def refuse_if_busy(self, stack: Stack) -> None:
        """Raise CloudFormation's refusal of a change to a stack that cannot be changed now."""
        if stack.busy or stack.status in (
            "ROLLBACK_COMPLETE",
            "CREATE_FAILED",
            "DELETE_FAILED",
            "ROLLBACK_FAILED",
            "UPDATE_ROLLBACK_FAILED",
        ):
            raise Refusal(f"Stack:{stack.id} is in {stack.status} state and can not be updated.")

    def _new_stack(self, name: str, target: Target | None, status: str) -> Stack:
        identity = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/{uuid.uuid4()}"
        stack = Stack(identity, name, target, status)
        self.stacks[identity] = stack
        return stack

    def _named(self, name: str) -> Stack | None:
        return next((stack for stack in self.live() if stack.name == name), None)

    def create_stack(self, name: str, target: Target, *, keep_failures: bool = False) -> Stack:
        if self._named(name):
            raise _StackExists(f"Stack [{name}] already exists")
        resolve_parameters(target.template, target.parameters, _ssm_value)
        stack = self._new_stack(name, target, "CREATE_IN_PROGRESS")
        stack.keeps_failures = keep_failures
        self._begin(stack, self._create(stack))
        return stack

    def update_stack(self, stack: Stack, target: Target) -> None:
        """Begin an update. Raises Refusal: the stack is busy, or nothing would change."""
        self.refuse_if_busy(stack)
        if stack.target is not None and target.same_as(stack.target):
            raise Refusal("No updates are to be performed.")
        resolve_parameters(target.template, target.parameters, _ssm_value)
        self._begin(stack, self._update(stack, target))

    def create_change_set(
        self, stack_name: str, name: str, kind: Literal["CREATE", "UPDATE"], target: Target
    ) -> ChangeSet:
        stack = self._named(stack_name) or self.stacks.get(stack_name)
        if kind == "CREATE":
            if stack is not None and stack.status != "REVIEW_IN_PROGRESS":
                raise Refusal(
                    f"Stack [{stack_name}] already exists and cannot be created again with the changeSet"
                    f" [{name}]."
                )
            resolve_parameters(target.template, target.parameters, _ssm_value)
            if stack is None:
                stack = self._new_stack(stack_name, None, "")
                stack.set_status("REVIEW_IN_PROGRESS", "User Initiated")
        elif stack is None or stack.status == "REVIEW_IN_PROGRESS":
            raise Refusal(f"Stack [{stack_name}] does not exist")
        else:
            self.refuse_if_busy(stack)
        identity = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/{name}/{uuid.uuid4()}"
        if stack.target is not None and target.same_as(stack.target):
            change_set = ChangeSet(
                identity, name, stack, target, kind, [], "FAILED", "UNAVAILABLE", NO_CHANGES
            )
        else:
            change_set = ChangeSet(identity, name, stack, target, kind, self.changes(stack, target))
        self.change_sets[identity] = change_set
        return change_set

    def execute(self, change_set: ChangeSet, *, keep_failures: bool) -> None:
        if change_set.execution != "AVAILABLE":
            raise _ChangeSetNotReady(
                f"ChangeSet [{change_set.id}] cannot be executed in its current status of"
                f" [{change_set.status}]"
            )
        stack = change_set.stack
        self.refuse_if_busy(stack)
        stack.keeps_failures = keep_failures
        stack.change_set = change_set.id
        change_set.execution = "EXECUTE_COMPLETE"
        for other in self.change_sets.values():
            if other.stack is stack and other.execution == "AVAILABLE":
                other.execution = "OBSOLETE"
        if change_set.kind == "CREATE":
            stack.target = change_set.target
            self._begin(stack, self._create(stack))
        else:
            self._begin(stack, self._update(stack, change_set.target))

    def cancel_update(self, stack: Stack) -> None:
        if stack.status != "UPDATE_IN_PROGRESS":
            raise Refusal("CancelUpdateStack cannot be called from current stack status")
        stack.cancelled = True
        stack.set_status("UPDATE_ROLLBACK_IN_PROGRESS", "User Initiated")

    def delete_stack(self, name_or_id: str) -> None:
        """Begin to delete; a stack that does not exist is no error, as on AWS."""
        try:
            stack = self.find(name_or_id)
        except StackMissing:
            return
        if stack.protected:
            raise Refusal(f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled")
        if stack.status in ("DELETE_COMPLETE", "DELETE_IN_PROGRESS"):
            return
        if stack.status == "CREATE_IN_PROGRESS":
            # Its creation is waiting for the agent: let that thread go on to delete.
            stack.cancelled = True
            stack.set_status("DELETE_IN_PROGRESS", "User Initiated")
            return
        if stack.busy:
            raise Refusal(f"Stack [{stack.id}] cannot be deleted while in status {stack.status}")
        stack.set_status("DELETE_IN_PROGRESS", "User Initiated")
        self._begin(stack, self._delete(stack))

    # For the environment controller and nested stacks: to the end, or ResourceFailed

    def parameters_of(self, stack_name: str) -> dict[str, str]:
        stack = self._existing(stack_name)
        declared = cast("Target", stack.target).template.get("Parameters") or {}
        values = self.values_of(stack, cast("Target", stack.target))
        return {name: ",".join(v) if isinstance(v := values[name], list) else v for name in declared}

    def outputs_of(self, stack_name: str) -> dict[str, str]:
        return {key: output.value for key, output in self._existing(stack_name).outputs.items()}

    def change_parameters(self, stack_name: str, parameters: dict[str, str]) -> None:
        stack = self._existing(stack_name)
        before = cast("Target", stack.target)
        self.finish(stack, lambda: self.update_stack(stack, _with_parameters(before, parameters)))

    def finish(self, stack: Stack | None, begin: Callable[[], Stack | None]) -> Stack:
        """Begin something that must be through at once. Raises ResourceFailed with the first failure."""
        seen = len(stack.events) if stack else 0
        try:
            stack = begin() or stack
        except Refusal as error:
            raise ResourceFailed(str(error.message)) from error
        done = cast("Stack", stack)
        if done.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"):
            failures = [
                event["ResourceStatusReason"]
                for event in done.events[seen:]
                if event["ResourceStatus"].endswith("_FAILED")
            ]
            because = failures[0] if failures else done.status
            raise ResourceFailed(f"Stack {done.name} did not reach its end: {because}")
        return done

    def _existing(self, name: str) -> Stack:
        try:
            stack = self.find(name)
        except StackMissing as error:
            raise ResourceFailed(str(error.message)) from error
        if stack.target is None:
            raise ResourceFailed(f"Stack {name} is in {stack.status}")
        return stack

    # Driving operations

    def _begin(self, stack: Stack, operation: Operation) -> None:
        stack.cancelled = False
        waiting = self._advance(stack, operation, None)
        if waiting is not None:
            thread = threading.Thread(
                target=self._attend, args=(stack, operation, waiting), name=f"stack {stack.name}", daemon=True
            )
            self._threads = [other for other in self._threads if other.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _advance(self, stack: Stack, operation: Operation, told: Outcome | None) -> Settling | None:
        try:
            return next(operation) if told is None else operation.send(told)
        except StopIteration:
            return None
        except Exception as error:
            # A mistake of ours must leave a stack that says so, not one that is in progress for ever.
            log.exception("the operation on stack %s broke", stack.name)
            failed = stack.status.removesuffix("_IN_PROGRESS") + "_FAILED"
            stack.set_status(failed, f"The sandbox's CloudFormation broke: {error!r}; see its log")
            return None

    def _attend(self, stack: Stack, operation: Operation, waiting: Settling | None) -> None:
        while waiting is not None:
            told = self._await(stack, waiting)
            if told is None:
                return
            with self._lock:
                if stack.cancelled:  # while it was settling
                    stack.cancelled, told = False, ("CANCELLED", "")
                waiting = self._advance(stack, operation, told)

    def _await(self, stack: Stack, settling: Settling) -> Outcome | None:
        """Ask until it has settled; the lock is not held, for the agent may need it. None: stopping."""
        end = time.monotonic() + _PATIENCE
        self._wake()
        while not self._stopping.wait(_POLL):
            if stack.cancelled:
                return "CANCELLED", ""
            try:
                state, reason = settling()
            except Exception as error:
                log.exception("the task agent broke")
                return "FAILED", f"The sandbox's task agent broke: {error!r}; see its log"
            if state in ("COMPLETED", "FAILED"):
                return cast("Outcome", (state, reason))
            if time.monotonic() > end:
                return "FAILED", "Exceeded attempts to wait"
        return None

    # The operations themselves

    def _settle(self, settling: Settling | None) -> Operation:
        if settling is None:
            return
        state, reason = yield settling
        if state == "CANCELLED":
            raise OperationCancelled
        if state == "FAILED":
            raise handler_failed(reason)

    def _create(self, stack: Stack) -> Operation:
        target = cast("Target", stack.target)
        stack.set_status("CREATE_IN_PROGRESS", "User Initiated")
        failed: list[str] = []
        try:
            yield from self._bring(stack, target, {}, failed, "create")
        except OperationCancelled:
            yield from self._delete(stack)
            return
        except (ResourceFailed, TemplateError) as error:
            reason = _failed_resources(failed, "create") or _words(error)
            if stack.keeps_failures:
                stack.set_status("CREATE_FAILED", reason)
                return
            stack.set_status("ROLLBACK_IN_PROGRESS", f"{reason} Rollback requested by user.".strip())
            left = yield from self._remove(stack, _newest_first(stack))
            if left:
                stack.set_status("ROLLBACK_FAILED", _failed_resources(left, "delete"))
            else:
                stack.set_status("ROLLBACK_COMPLETE")
            return
        stack.set_status("CREATE_COMPLETE")

    def _update(self, stack: Stack, target: Target) -> Operation:
        before = cast("Target", stack.target)
        imported = set(stack.imported)
        stack.target = target
        stack.updated_at = _now()
        stack.set_status("UPDATE_IN_PROGRESS", "User Initiated")
        journal: dict[str, Resource | None] = {}
        failed: list[str] = []
        try:
            names = yield from self._bring(stack, target, journal, failed, "update")
        except (ResourceFailed, TemplateError, OperationCancelled) as error:
            cancelled = isinstance(error, OperationCancelled)
            reason = _failed_resources(failed, "update") or _words(error)
            if stack.keeps_failures and not cancelled:
                stack.set_status("UPDATE_FAILED", reason)
                return
            if not cancelled:
                stack.set_status("UPDATE_ROLLBACK_IN_PROGRESS", reason)
            stack.target, stack.imported = before, imported
            yield from self._roll_back(stack, journal)
            return
        stack.set_status("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
        replaced = [
            old
            for name, old in journal.items()
            if old is not None and old.made.physical_id != stack.resources[name].made.physical_id
        ]
        gone = [resource for resource in _newest_first(stack) if resource.wanted.logical_id not in names]
        left = yield from self._remove(stack, [*gone, *reversed(replaced)], tries=_CLEAN_UP_TRIES)
        stack.set_status("UPDATE_COMPLETE", _LEFT_BEHIND if left else None)

    def _bring(
        self,
        stack: Stack,
        target: Target,
        journal: dict[str, Resource | None],
        failed: list[str],
        verb: Literal["create", "update"],
    ) -> Generator[Settling, Outcome, list[str]]:
        """Make and change resources until the stack is as the target says, then its outputs.

        `journal` gets what there was before each change (None: nothing), `failed` the name that failed.
        Nothing is taken away here: that waits until the rest has succeeded.
        """
        scope = self._scope(stack, target)
        names = self._names(target, scope)
        for name in names:
            try:
                wanted = self._wanted(stack, target, scope, name)
                have = stack.resources.get(name)
                if have is None:
                    yield from self._make(stack, target, wanted, journal)
                elif _differs(self.catalogue[wanted.type], have.wanted, wanted):
                    yield from self._modify(stack, target, have, wanted, journal)
                else:
                    have.wanted = wanted
            except (ResourceFailed, TemplateError) as error:
                failed.append(name)
                self._tell_failure(stack, target, name, verb, _words(error))
                raise
            except OperationCancelled:
                self._tell_failure(stack, target, name, verb, f"Resource {_NOUNS[verb]} cancelled")
                raise
        outputs = self._outputs(stack, target, scope)
        if verb == "update":
            self._refuse_lost_exports(stack, outputs)
        stack.outputs = outputs
        stack.imported = set(scope.imported)
        return names

    def _attempt(self, verb: Verb, wanted: Wanted, function: Callable[[], _T]) -> _T:
        """Call a handler and turn whatever goes wrong into the resource's failure."""
        if reason := self._faults.of_resource(wanted.stack_name, wanted.logical_id, verb):
            raise ResourceFailed(reason)
        try:
            return function()
        except (ResourceFailed, TemplateError):
            raise
        except ServiceException as error:
            raise handler_failed(f"{error.message} (Status Code: 400)") from error
        except HTTPException as error:
            raise handler_failed(f"{getattr(error, 'message', error)} (Status Code: {error.code})") from error
        except Exception as error:
            log.exception("a resource handler broke")
            raise ResourceFailed(f"The sandbox's CloudFormation broke: {error!r}; see its log") from error

    def _tell_failure(
        self, stack: Stack, target: Target, name: str, verb: Literal["create", "update"], reason: str
    ) -> None:
        have = stack.resources.get(name)
        declared = target.template["Resources"][name]
        wanted = (
            have.wanted if have else Wanted(stack.id, stack.name, target.tags, name, declared["Type"], {})
        )
        changing = verb == "update" and have is not None and not have.status.startswith("CREATE")
        status = "UPDATE_FAILED" if changing else "CREATE_FAILED"
        stack.add_event(wanted, have.made.physical_id if have else "", status, reason)

    def _make(
        self, stack: Stack, target: Target, wanted: Wanted, journal: dict[str, Resource | None]
    ) -> Operation:
        handler = self.catalogue[wanted.type]
        stack.add_event(wanted, "", "CREATE_IN_PROGRESS")
        made = self._attempt("create", wanted, lambda: handler.create(wanted))
        journal.setdefault(wanted.logical_id, None)
        stack.resources[wanted.logical_id] = Resource(wanted, made, _retained(target, wanted.logical_id))
        stack.add_event(wanted, made.physical_id, "CREATE_IN_PROGRESS", "Resource creation Initiated")
        yield from self._settle(handler.settling(made))
        stack.add_event(wanted, made.physical_id, "CREATE_COMPLETE")

    def _modify(
        self,
        stack: Stack,
        target: Target,
        have: Resource,
        wanted: Wanted,
        journal: dict[str, Resource | None],
    ) -> Operation:
        handler = self.catalogue[wanted.type]
        name = wanted.logical_id
        before = Resource(have.wanted, have.made, have.retained, have.status, have.reason)
        same_type = have.wanted.type == wanted.type
        stack.add_event(wanted, have.made.physical_id, "UPDATE_IN_PROGRESS")
        journal[name] = before
        made = (
            self._attempt("update", wanted, lambda: handler.update(have.made, have.wanted.properties, wanted))
            if same_type and not handler.always_replaced
            else None
        )
        if made is None:
            stack.add_event(
                wanted,
                have.made.physical_id,
                "UPDATE_IN_PROGRESS",
                "Requested update requires the creation of a new physical resource; hence creating one.",
            )
            made = self._attempt("create", wanted, lambda: handler.create(wanted))
            stack.resources[name] = Resource(wanted, made, _retained(target, name))
            stack.add_event(wanted, made.physical_id, "UPDATE_IN_PROGRESS", "Resource creation Initiated")
        else:
            have.wanted, have.made = wanted, made
        yield from self._settle(handler.settling(made))
        stack.add_event(wanted, made.physical_id, "UPDATE_COMPLETE")

    def _roll_back(self, stack: Stack, journal: Mapping[str, Resource | None]) -> Operation:
        """Give every changed resource its old properties back, then take away what was made."""
        replacements: list[Resource] = []
        stuck: list[str] = []
        for name, before in journal.items():
            now = stack.resources.get(name)
            if before is None or now is None:
                continue
            if now.made.physical_id != before.made.physical_id:
                replacements.append(now)
                stack.resources[name] = before
                stack.add_event(before.wanted, before.made.physical_id, "UPDATE_COMPLETE")
                continue
            handler = self.catalogue[before.wanted.type]
            stack.add_event(before.wanted, now.made.physical_id, "UPDATE_IN_PROGRESS")
            try:
                made = self._attempt(
                    "update",
                    before.wanted,
                    lambda: handler.update(now.made, now.wanted.properties, before.wanted),  # noqa: B023  # called at once
                )
                now.wanted, now.made = before.wanted, made or now.made
                yield from self._settle(handler.settling(now.made))
            except ResourceFailed as error:
                stuck.append(name)
                stack.add_event(before.wanted, now.made.physical_id, "UPDATE_FAILED", _words(error))
            else:
                stack.add_event(before.wanted, now.made.physical_id, "UPDATE_COMPLETE")
        if stuck:
            stack.set_status("UPDATE_ROLLBACK_FAILED", _failed_resources(stuck, "update"))
            return
        stack.set_status("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
        created = [
            stack.resources[name]
            for name, before in reversed(list(journal.items()))
            if before is None and name in stack.resources
        ]
        yield from self._remove(stack, [*created, *replacements], tries=_CLEAN_UP_TRIES)
        stack.set_status("UPDATE_ROLLBACK_COMPLETE")

    def _delete(self, stack: Stack) -> Operation:
        """Take everything away; the stack is in DELETE_IN_PROGRESS already."""
        exports = {output.export for output in stack.outputs.values() if output.export}
        for other in self.live():
            if other is not stack and (used := exports & other.imported):
                stack.set_status(
                    "DELETE_FAILED",
                    f"Export {min(used)} cannot be deleted as it is in use by {other.name}",
                )
                return
        left = yield from self._remove(stack, _newest_first(stack))
        if left:
            stack.set_status("DELETE_FAILED", _failed_resources(left, "delete"))
            return
        stack.outputs, stack.imported = {}, set()
        stack.set_status("DELETE_COMPLETE")

    def _remove(
        self, stack: Stack, resources: list[Resource], tries: int = 1
    ) -> Generator[Settling, Outcome, list[str]]:
        """Delete resources in the order given and return the names of those that could not be.

        With several tries it is a clean-up: what is left after the last is no longer the stack's.
        """
        left: list[str] = []
        for resource in resources:
            wanted, physical = resource.wanted, resource.made.physical_id
            current = stack.resources.get(wanted.logical_id)
            mine = current is not None and current.made.physical_id == physical
            if resource.retained:
                stack.add_event(wanted, physical, "DELETE_SKIPPED")
            elif not (yield from self._take_away(stack, resource, tries)):
                left.append(wanted.logical_id)
                if tries == 1:
                    continue
            if mine:
                del stack.resources[wanted.logical_id]
            elif current is not None:
                current.status, current.reason = "UPDATE_COMPLETE", None
        return left

    def _take_away(self, stack: Stack, resource: Resource, tries: int) -> Generator[Settling, Outcome, bool]:
        wanted, physical = resource.wanted, resource.made.physical_id
        handler = self.catalogue[wanted.type]
        for _ in range(tries):
            stack.add_event(wanted, physical, "DELETE_IN_PROGRESS")
            try:
                self._attempt("delete", wanted, lambda: handler.delete(resource.made, wanted))
                yield from self._settle(handler.draining(resource.made))
            except ResourceFailed as error:
                stack.add_event(wanted, physical, "DELETE_FAILED", _words(error))
            else:
                stack.add_event(wanted, physical, "DELETE_COMPLETE")
                return True
        return False

    def _outputs(self, stack: Stack, target: Target, scope: Scope) -> dict[str, Output]:
        outputs: dict[str, Output] = {}
        exports = self.exports()
        for key, declared in (target.template.get("Outputs") or {}).items():
            if "Condition" in declared and not scope.condition(declared["Condition"]):
                continue
            value = scope.resolve(declared["Value"])
            if value is ABSENT:
                continue
            name = scope.resolve(declared["Export"]["Name"]) if "Export" in declared else None
            if name in exports and exports[name][0] is not stack:
                raise TemplateError(
                    f"Export with name {name} is already exported by stack {exports[name][0].name}."
                )
            text = ",".join(value) if isinstance(value, list) else _output_text(value)
            outputs[key] = Output(text, declared.get("Description"), name)
        return outputs

    def _refuse_lost_exports(self, stack: Stack, outputs: Mapping[str, Output]) -> None:
        kept = {output.export for output in outputs.values()}
        lost = {output.export for output in stack.outputs.values() if output.export} - kept
        for other in self.live():
            if other is not stack and (used := lost & other.imported):
                raise ResourceFailed(
                    f"Export {min(name for name in used if name)} cannot be deleted as it is in use by"
                    f" {other.name}"
                )

    # Stack sets

    def find_stack_set(self, name: str) -> StackSet:
        for stack_set in self.stack_sets.values():
            if name in (stack_set.name, stack_set.id):
                return stack_set
        raise _StackSetMissing(f"StackSet {name} not found")

    def add_instance(self, stack_set: StackSet, account: str, region: str) -> None:
        if (account, region) in stack_set.instances:
            return
        if region != REGION:
            raise Refusal(f"The sandbox has one region, {REGION}; {region} was asked for.")
        name = f"StackSet-{stack_set.name}-{uuid.uuid4()}"
        stack_set.instances[account, region] = self.create_stack(name, stack_set.target)

    def update_instances(self, stack_set: StackSet) -> bool:
        """Bring each instance to the stack set's target; return whether all got there."""
        good = True
        for stack in stack_set.instances.values():
            if stack.target is not None and stack_set.target.same_as(stack.target):
                stack.target = stack_set.target
                continue
            self.update_stack(stack, stack_set.target)
            good = good and stack.status == "UPDATE_COMPLETE"
        return good


class NestedStacks(Handler):
    """AWS::CloudFormation::Stack: Copilot's addons."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _target(self, wanted: Wanted) -> Target:
        parameters = {
            key: ",".join(value) if isinstance(value, list) else str(value)
            for key, value in wanted.properties.get("Parameters", {}).items()
        }
        return Target.read(fetch_template(wanted.properties["TemplateURL"]), parameters, wanted.stack_tags)

    def create(self, wanted: Wanted) -> Made:
        target = self._target(wanted)
        stack = self._engine.finish(None, lambda: self._engine.create_stack(wanted.name(128), target))
        return Made(stack.id, model=stack)

    def update(self, made: Made, old: dict[str, Any], wanted: Wanted) -> Made | None:
        del old
        target, stack = self._target(wanted), made.model
        if not target.same_as(stack.target):
            self._engine.finish(stack, lambda: self._engine.update_stack(stack, target))
        return made

    def delete(self, made: Made, wanted: Wanted) -> None:
        del wanted
        self._engine.finish(made.model, lambda: self._engine.delete_stack(made.physical_id))

    def attribute(self, made: Made, name: str) -> Any:
        outputs = {f"Outputs.{key}": output.value for key, output in made.model.outputs.items()}
        if name not in outputs:
            raise ResourceFailed(f"Output '{name}' not found in stack '{made.physical_id}'")
        return outputs[name]


class _StackExists(Refusal):
    code = "AlreadyExistsException"


class _ChangeSetMissing(Refusal):
    code = "ChangeSetNotFoundException"


class _ChangeSetNotReady(Refusal):
    code = "InvalidChangeSetStatusException"


class _StackSetMissing(Refusal):
    code = "StackSetNotFoundException"


_NOUNS = {"create": "creation", "update": "update"}


def _words(error: BaseException) -> str:
    return str(error.message) if isinstance(error, ServiceException) else str(error)


def _failed_resources(names: list[str], verb: str) -> str:
    return f"The following resource(s) failed to {verb}: [{', '.join(names)}]." if names else ""


def _differs(handler: Handler, old: Wanted, new: Wanted) -> bool:
    if old.type != new.type or old.properties != new.properties:
        return True
    return handler.takes_tags and dict(old.stack_tags) != dict(new.stack_tags)


def _change(action: str, name: str, type_: str, physical_id: str | None) -> dict[str, Any]:
    return {
        "Type": "Resource",
        "ResourceChange": {
            "Action": action,
            "LogicalResourceId": name,
            "PhysicalResourceId": physical_id,
            "ResourceType": type_,
            "Replacement": "False" if action == "Modify" else None,
            "Scope": ["Properties"] if action == "Modify" else [],
            "Details": [],
        },
    }


def _newest_first(stack: Stack) -> list[Resource]:
    """Return the stack's resources so that each comes before what it depends on."""
    declared = {
        name: cast("Target", stack.target).template["Resources"].get(name, {}) for name in stack.resources
    }
    ordered = [name for name in in_order(declared) if name in stack.resources]
    return [stack.resources[name] for name in reversed(ordered)]


def _retained(target: Target, name: str) -> bool:
    return str(target.template["Resources"][name].get("DeletionPolicy", "")).startswith("Retain")


def _with_parameters(target: Target, parameters: Mapping[str, str]) -> Target:
    return Target(target.text, dict(parameters), target.tags, target.template)


def _output_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _ssm_value(name: str) -> str:
    parameter = ssm_backends[ACCOUNT][REGION].get_parameter(name)
    if parameter is None:
        raise TemplateError(f"Unable to fetch parameters [{name}] from parameter store for this account.")
    return str(parameter.value)


def fetch_template(url: str) -> str:
    """Read a template from the embedded S3, by either form of S3's addresses."""
    parsed = urlparse(url)
    host, path = parsed.netloc, parsed.path.lstrip("/")
    bucket = host.split(".", 1)[0]
    if bucket == "s3" or bucket.startswith("s3-"):
        bucket, _, path = path.partition("/")
    key = s3_backends[ACCOUNT]["aws"].get_object(bucket, path) if bucket else None
    if key is None:
        raise TemplateError(f"S3 error: The specified key does not exist: {url}")
    return str(key.value.decode())
