"""The operations on a stack: creates, updates, rolls back and deletes it, resource by resource."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from moto.core.exceptions import ServiceException
from werkzeug.exceptions import HTTPException

from .catalogue import Catalogue
from .driver import Operation, Outcome
from .errors import OperationCancelled, ResourceFailed, TemplateError, handler_failed
from .for_tests import ForTests
from .resolution import Resolver, differs
from .resources import ResourceSpec, Settling, after
from .stacks import DesiredState, Resource, Rollback, Stack, Stacks, now
from .stores import with_secrets

if TYPE_CHECKING:
    from copilot_sandbox.testing.faults import Verb

log = logging.getLogger(__name__)

_CLEAN_UP_TRIES = 3
"""After an update, a resource that cannot be deleted in this many tries remains, but leaves the stack.

Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/troubleshooting.html, "Resource removed
from stack but not deleted".
"""
# Source of the text: https://github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/744
_LEFT_BEHIND = "Update successful. One or more resources could not be deleted."

_NOUNS = {"create": "creation", "update": "update"}
_T = TypeVar("_T")


class Operations:
    """Creates the operations that the driver runs."""

    def __init__(self, stacks: Stacks, catalogue: Catalogue, resolver: Resolver, for_tests: ForTests) -> None:
        self._stacks = stacks
        self._catalogue = catalogue
        self._resolver = resolver
        self._for_tests = for_tests

    def create(self, stack: Stack) -> Operation:
        desired = cast("DesiredState", stack.desired)
        stack.set_status("CREATE_IN_PROGRESS", "User Initiated")
        failed: list[str] = []
        try:
            yield from self._apply(stack, desired, {}, failed, "create")
        except OperationCancelled:
            yield from self.delete(stack)
            return
        except (ResourceFailed, TemplateError) as error:
            reason = _failed_resources(failed, "create") or _message(error)
            if stack.keeps_failures or stack.on_failure == "DO_NOTHING":
                stack.set_status("CREATE_FAILED", reason)
                return
            if stack.on_failure == "DELETE":
                stack.set_status("DELETE_IN_PROGRESS", f"{reason} Delete requested by user.".strip())
                yield from self.delete(stack)
                return
            stack.set_status("ROLLBACK_IN_PROGRESS", f"{reason} Rollback requested by user.".strip())
            kept = yield from self._remove(stack, stack.newest_first())
            if kept:
                stack.set_status("ROLLBACK_FAILED", _failed_resources(kept, "delete"))
            else:
                stack.set_status("ROLLBACK_COMPLETE")
            return
        stack.set_status("CREATE_COMPLETE")

    def update(self, stack: Stack, desired: DesiredState) -> Operation:
        before = cast("DesiredState", stack.desired)
        imported = set(stack.imported)
        retry = stack.status.endswith("_FAILED")
        stack.desired = desired
        stack.updated_at = now()
        stack.set_status("UPDATE_IN_PROGRESS", "User Initiated")
        journal: dict[str, Resource | None] = {}
        failed: list[str] = []
        try:
            yield from self._pass(desired, "environment")
            names = yield from self._apply(stack, desired, journal, failed, "update", retry=retry)
        except (ResourceFailed, TemplateError, OperationCancelled) as error:
            cancelled = isinstance(error, OperationCancelled)
            reason = _failed_resources(failed, "update") or _message(error)
            if stack.keeps_failures and not cancelled:
                stack.leftovers += _replaced(stack, journal)
                stack.set_status("UPDATE_FAILED", reason)
                return
            if not cancelled:
                stack.set_status("UPDATE_ROLLBACK_IN_PROGRESS", reason)
            stack.desired, stack.imported = before, imported
            created = [
                stack.resources[name]
                for name, old in reversed(list(journal.items()))
                if old is None and name in stack.resources
            ]
            old = {name: old for name, old in journal.items() if old is not None}
            stack.rollback = Rollback(old, created)
            yield from self.roll_back(stack)
            return
        stack.set_status("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
        yield from self._pass(desired, "clean-up")
        removed = [resource for resource in stack.newest_first() if resource.spec.logical_id not in names]
        replaced = [*_replaced(stack, journal), *stack.leftovers]
        kept = yield from self._remove(stack, [*removed, *replaced], tries=_CLEAN_UP_TRIES)
        stack.leftovers = []
        stack.set_status("UPDATE_COMPLETE", _LEFT_BEHIND if kept else None)

    def delete(self, stack: Stack) -> Operation:
        """Delete all resources. The stack is already in DELETE_IN_PROGRESS."""
        exports = {output.export for output in stack.outputs.values() if output.export}
        for other in self._stacks.live():
            if other is not stack and (used := exports & other.imported):
                stack.set_status(
                    "DELETE_FAILED",
                    f"Export {min(used)} cannot be deleted as it is in use by {other.name}",
                )
                return
        kept = yield from self._remove(stack, [*stack.newest_first(), *stack.leftovers])
        stack.leftovers = [resource for resource in stack.leftovers if resource.spec.logical_id in kept]
        if kept:
            stack.set_status("DELETE_FAILED", _failed_resources(kept, "delete"))
            return
        stack.outputs, stack.imported = {}, set()
        stack.deleted_at = now()
        stack.set_status("DELETE_COMPLETE")

    def _apply(
        self,
        stack: Stack,
        desired: DesiredState,
        journal: dict[str, Resource | None],
        failed: list[str],
        verb: Literal["create", "update"],
        *,
        retry: bool = False,
    ) -> Generator[Settling, Outcome, list[str]]:
        """Create and update resources until the stack matches the desired state; then set its outputs.

        `journal` gets each changed resource's earlier state (None: there was none), `failed` the name that
        failed. Nothing is deleted here, because that waits until the rest has succeeded. With `retry`,
        resources that failed before are tried again even if they did not change.
        """
        scope = self._resolver.scope(stack, desired)
        names = self._resolver.names(desired, scope)
        for name in names:
            try:
                spec = self._resolver.spec(stack, desired, scope, name)
                held = stack.resources.get(name)
                if held is None:
                    yield from self._create_resource(stack, desired, spec, journal)
                elif differs(self._catalogue[spec.type], held.spec, spec) or (
                    retry and held.status.endswith("_FAILED")
                ):
                    yield from self._update_resource(stack, desired, held, spec, journal)
                else:
                    held.spec = spec
            except (ResourceFailed, TemplateError) as error:
                failed.append(name)
                self._add_failure_event(stack, desired, name, verb, _message(error))
                raise
            except OperationCancelled:
                self._add_failure_event(stack, desired, name, verb, f"Resource {_NOUNS[verb]} cancelled")
                raise
        outputs = self._resolver.outputs(stack, desired, scope)
        if verb == "update":
            self._resolver.refuse_lost_exports(stack, outputs)
        stack.outputs = outputs
        stack.imported = set(scope.imported)
        return names

    def _create_resource(
        self, stack: Stack, desired: DesiredState, spec: ResourceSpec, journal: dict[str, Resource | None]
    ) -> Operation:
        handler = self._catalogue[spec.type]
        stack.add_event(spec, "", "CREATE_IN_PROGRESS")
        created = self._attempt("create", spec, lambda: handler.create(_resolved(spec)))
        journal.setdefault(spec.logical_id, None)
        stack.resources[spec.logical_id] = Resource(spec, created, desired.retains(spec.logical_id))
        stack.add_event(spec, created.physical_id, "CREATE_IN_PROGRESS", "Resource creation Initiated")
        yield from self._wait(handler.settling(created))
        stack.add_event(spec, created.physical_id, "CREATE_COMPLETE")

    def _update_resource(
        self,
        stack: Stack,
        desired: DesiredState,
        held: Resource,
        spec: ResourceSpec,
        journal: dict[str, Resource | None],
    ) -> Operation:
        handler = self._catalogue[spec.type]
        name = spec.logical_id
        before = Resource(held.spec, held.created, held.retained, held.status, held.reason)
        in_place = (
            held.spec.type == spec.type
            and not handler.always_replaced
            and held.status != "CREATE_FAILED"  # it never reached a state that could be updated
        )
        stack.add_event(spec, held.created.physical_id, "UPDATE_IN_PROGRESS")
        journal[name] = before
        created = (
            self._attempt(
                "update", spec, lambda: handler.update(held.created, held.spec.properties, _resolved(spec))
            )
            if in_place
            else None
        )
        if created is None:
            stack.add_event(
                spec,
                held.created.physical_id,
                "UPDATE_IN_PROGRESS",
                "Requested update requires the creation of a new physical resource; hence creating one.",
            )
            created = self._attempt("create", spec, lambda: handler.create(_resolved(spec)))
            stack.resources[name] = Resource(spec, created, desired.retains(name))
            stack.add_event(spec, created.physical_id, "UPDATE_IN_PROGRESS", "Resource creation Initiated")
        else:
            held.spec, held.created = spec, created
        yield from self._wait(handler.settling(created))
        stack.add_event(spec, created.physical_id, "UPDATE_COMPLETE")

    def roll_back(self, stack: Stack, skipped: Collection[str] = ()) -> Operation:
        """Restore the old properties of every changed resource, then delete the created ones.

        Resources that cannot be restored stay in `stack.rollback` for another try. The `skipped` count as
        restored.
        """
        rollback = cast("Rollback", stack.rollback)
        for name, before in list(rollback.before.items()):
            current = stack.resources.get(name)
            if current is not None and current.created.physical_id != before.created.physical_id:
                rollback.created.append(current)
                stack.resources[name] = before
                stack.add_event(before.spec, before.created.physical_id, "UPDATE_COMPLETE")
            elif current is not None and name in skipped:
                current.spec = before.spec
                stack.add_event(before.spec, current.created.physical_id, "UPDATE_COMPLETE")
            elif current is not None and not (yield from self._restore(stack, current, before)):
                continue
            del rollback.before[name]
        if rollback.before:
            stack.set_status("UPDATE_ROLLBACK_FAILED", _failed_resources(list(rollback.before), "update"))
            return
        stack.set_status("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
        yield from self._pass(cast("DesiredState", stack.desired), "clean-up")
        yield from self._remove(stack, rollback.created, tries=_CLEAN_UP_TRIES)
        stack.rollback = None
        stack.set_status("UPDATE_ROLLBACK_COMPLETE")

    def _restore(
        self, stack: Stack, current: Resource, before: Resource
    ) -> Generator[Settling, Outcome, bool]:
        handler = self._catalogue[before.spec.type]
        stack.add_event(before.spec, current.created.physical_id, "UPDATE_IN_PROGRESS")
        try:
            created = self._attempt(
                "update",
                before.spec,
                lambda: handler.update(current.created, current.spec.properties, _resolved(before.spec)),
            )
            current.spec, current.created = before.spec, created or current.created
            yield from self._wait(handler.settling(current.created))
        except (ResourceFailed, TemplateError) as error:
            stack.add_event(before.spec, current.created.physical_id, "UPDATE_FAILED", _message(error))
            return False
        stack.add_event(before.spec, current.created.physical_id, "UPDATE_COMPLETE")
        return True

    def _remove(
        self, stack: Stack, resources: list[Resource], tries: int = 1
    ) -> Generator[Settling, Outcome, list[str]]:
        """Delete resources in this order. Return the names of those that could not be deleted.

        With more than one try this is a clean-up: a resource that remains then leaves the stack.
        """
        kept: list[str] = []
        for resource in resources:
            spec, physical = resource.spec, resource.created.physical_id
            current = stack.resources.get(spec.logical_id)
            is_current = current is not None and current.created.physical_id == physical
            if resource.retained:
                stack.add_event(spec, physical, "DELETE_SKIPPED")
            elif not (yield from self._delete(stack, resource, tries)):
                kept.append(spec.logical_id)
                if tries == 1:
                    continue
            if is_current:
                del stack.resources[spec.logical_id]
            elif current is not None:
                current.status, current.reason = "UPDATE_COMPLETE", None
        return kept

    def _delete(self, stack: Stack, resource: Resource, tries: int) -> Generator[Settling, Outcome, bool]:
        spec, physical = resource.spec, resource.created.physical_id
        handler = self._catalogue[spec.type]
        for _ in range(tries):
            stack.add_event(spec, physical, "DELETE_IN_PROGRESS")
            try:
                self._attempt("delete", spec, lambda: handler.delete(resource.created, spec))
                yield from self._wait(handler.draining(resource.created))
            except ResourceFailed as error:
                stack.add_event(spec, physical, "DELETE_FAILED", _message(error))
            else:
                stack.add_event(spec, physical, "DELETE_COMPLETE")
                return True
        return False

    def _attempt(self, verb: Verb, spec: ResourceSpec, function: Callable[[], _T]) -> _T:
        """Call a handler and turn every error into the resource's failure."""
        faults = self._for_tests.faults()
        if faults and (reason := faults.take_resource_fault(spec.stack_name, spec.logical_id, verb)):
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
            log.exception("a resource handler failed unexpectedly")
            raise ResourceFailed(f"The sandbox's CloudFormation failed: {error!r}; see its log") from error

    def _pass(self, desired: DesiredState, step: str) -> Operation:
        """Let the time of an environment's step pass; other stacks take the time of their resources."""
        is_environment = "ALBWorkloads" in (desired.template.get("Parameters") or {})
        if is_environment and (seconds := self._for_tests.seconds(step)):
            yield from self._wait(after(seconds))

    def _wait(self, settling: Settling | None) -> Operation:
        if settling is None:
            return
        state, reason = yield settling
        if state == "CANCELLED":
            raise OperationCancelled
        if state == "FAILED":
            raise handler_failed(reason)

    def _add_failure_event(
        self, stack: Stack, desired: DesiredState, name: str, verb: Literal["create", "update"], reason: str
    ) -> None:
        held = stack.resources.get(name)
        declared = desired.template["Resources"][name]
        spec = (
            held.spec
            if held
            else ResourceSpec(stack.id, stack.name, desired.tags, name, declared["Type"], {})
        )
        changing = verb == "update" and held is not None and not held.status.startswith("CREATE")
        status = "UPDATE_FAILED" if changing else "CREATE_FAILED"
        stack.add_event(spec, held.created.physical_id if held else "", status, reason)


def _resolved(spec: ResourceSpec) -> ResourceSpec:
    """Resolve dynamic references for the handler only, because a stack's record must not contain secrets."""
    return replace(spec, properties=with_secrets(spec.properties))


def _replaced(stack: Stack, journal: Mapping[str, Resource | None]) -> list[Resource]:
    """Return the resources that the journal's changes replaced, newest first."""
    return [
        old
        for name, old in reversed(list(journal.items()))
        if old is not None and old.created.physical_id != stack.resources[name].created.physical_id
    ]


def _message(error: BaseException) -> str:
    return str(error.message) if isinstance(error, ServiceException) else str(error)


def _failed_resources(names: list[str], verb: str) -> str:
    return f"The following resource(s) failed to {verb}: [{', '.join(names)}]." if names else ""
