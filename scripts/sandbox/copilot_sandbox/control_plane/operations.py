"""The operations on a stack: creates, updates, rolls back and deletes it, resource by resource."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from moto.core.exceptions import ServiceException
from werkzeug.exceptions import HTTPException

from .driver import Operation, Outcome
from .errors import OperationCancelled, ResourceFailed, TemplateError, handler_failed
from .for_tests import ForTests
from .resolution import Resolver, differs
from .resources import Catalogue, Settling, Wanted
from .stacks import Resource, Rollback, Stack, Stacks, Target, now
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
        target = cast("Target", stack.target)
        stack.set_status("CREATE_IN_PROGRESS", "User Initiated")
        failed: list[str] = []
        try:
            yield from self._apply_target(stack, target, {}, failed, "create")
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

    def update(self, stack: Stack, target: Target) -> Operation:
        before = cast("Target", stack.target)
        imported = set(stack.imported)
        retry = stack.status.endswith("_FAILED")
        stack.target = target
        stack.updated_at = now()
        stack.set_status("UPDATE_IN_PROGRESS", "User Initiated")
        journal: dict[str, Resource | None] = {}
        failed: list[str] = []
        try:
            names = yield from self._apply_target(stack, target, journal, failed, "update", retry=retry)
        except (ResourceFailed, TemplateError, OperationCancelled) as error:
            cancelled = isinstance(error, OperationCancelled)
            reason = _failed_resources(failed, "update") or _message(error)
            if stack.keeps_failures and not cancelled:
                stack.leftovers += _replaced(stack, journal)
                stack.set_status("UPDATE_FAILED", reason)
                return
            if not cancelled:
                stack.set_status("UPDATE_ROLLBACK_IN_PROGRESS", reason)
            stack.target, stack.imported = before, imported
            made = [
                stack.resources[name]
                for name, old in reversed(list(journal.items()))
                if old is None and name in stack.resources
            ]
            old = {name: old for name, old in journal.items() if old is not None}
            stack.rollback = Rollback(old, made)
            yield from self.roll_back(stack)
            return
        stack.set_status("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
        removed = [resource for resource in stack.newest_first() if resource.wanted.logical_id not in names]
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
        stack.leftovers = [resource for resource in stack.leftovers if resource.wanted.logical_id in kept]
        if kept:
            stack.set_status("DELETE_FAILED", _failed_resources(kept, "delete"))
            return
        stack.outputs, stack.imported = {}, set()
        stack.set_status("DELETE_COMPLETE")

    def _apply_target(
        self,
        stack: Stack,
        target: Target,
        journal: dict[str, Resource | None],
        failed: list[str],
        verb: Literal["create", "update"],
        *,
        retry: bool = False,
    ) -> Generator[Settling, Outcome, list[str]]:
        """Create and update resources until the stack matches the target; then set its outputs.

        `journal` gets each changed resource's earlier state (None: there was none), `failed` the name that
        failed. Nothing is deleted here, because that waits until the rest has succeeded. With `retry`,
        resources that failed before are tried again even if they did not change.
        """
        scope = self._resolver.scope(stack, target)
        names = self._resolver.names(target, scope)
        for name in names:
            try:
                wanted = self._resolver.wanted(stack, target, scope, name)
                held = stack.resources.get(name)
                if held is None:
                    yield from self._create_resource(stack, target, wanted, journal)
                elif differs(self._catalogue[wanted.type], held.wanted, wanted) or (
                    retry and held.status.endswith("_FAILED")
                ):
                    yield from self._update_resource(stack, target, held, wanted, journal)
                else:
                    held.wanted = wanted
            except (ResourceFailed, TemplateError) as error:
                failed.append(name)
                self._add_failure_event(stack, target, name, verb, _message(error))
                raise
            except OperationCancelled:
                self._add_failure_event(stack, target, name, verb, f"Resource {_NOUNS[verb]} cancelled")
                raise
        outputs = self._resolver.outputs(stack, target, scope)
        if verb == "update":
            self._resolver.refuse_lost_exports(stack, outputs)
        stack.outputs = outputs
        stack.imported = set(scope.imported)
        return names

    def _create_resource(
        self, stack: Stack, target: Target, wanted: Wanted, journal: dict[str, Resource | None]
    ) -> Operation:
        handler = self._catalogue[wanted.type]
        stack.add_event(wanted, "", "CREATE_IN_PROGRESS")
        made = self._attempt("create", wanted, lambda: handler.create(_resolved(wanted)))
        journal.setdefault(wanted.logical_id, None)
        stack.resources[wanted.logical_id] = Resource(wanted, made, target.retains(wanted.logical_id))
        stack.add_event(wanted, made.physical_id, "CREATE_IN_PROGRESS", "Resource creation Initiated")
        yield from self._wait(handler.settling(made))
        stack.add_event(wanted, made.physical_id, "CREATE_COMPLETE")

    def _update_resource(
        self,
        stack: Stack,
        target: Target,
        held: Resource,
        wanted: Wanted,
        journal: dict[str, Resource | None],
    ) -> Operation:
        handler = self._catalogue[wanted.type]
        name = wanted.logical_id
        before = Resource(held.wanted, held.made, held.retained, held.status, held.reason)
        in_place = (
            held.wanted.type == wanted.type
            and not handler.always_replaced
            and held.status != "CREATE_FAILED"  # it never reached a state that could be updated
        )
        stack.add_event(wanted, held.made.physical_id, "UPDATE_IN_PROGRESS")
        journal[name] = before
        made = (
            self._attempt(
                "update", wanted, lambda: handler.update(held.made, held.wanted.properties, _resolved(wanted))
            )
            if in_place
            else None
        )
        if made is None:
            stack.add_event(
                wanted,
                held.made.physical_id,
                "UPDATE_IN_PROGRESS",
                "Requested update requires the creation of a new physical resource; hence creating one.",
            )
            made = self._attempt("create", wanted, lambda: handler.create(_resolved(wanted)))
            stack.resources[name] = Resource(wanted, made, target.retains(name))
            stack.add_event(wanted, made.physical_id, "UPDATE_IN_PROGRESS", "Resource creation Initiated")
        else:
            held.wanted, held.made = wanted, made
        yield from self._wait(handler.settling(made))
        stack.add_event(wanted, made.physical_id, "UPDATE_COMPLETE")

    def roll_back(self, stack: Stack, skipped: Collection[str] = ()) -> Operation:
        """Restore the old properties of every changed resource, then delete the created ones.

        Resources that cannot be restored stay in `stack.rollback` for another try. The `skipped` count as
        restored.
        """
        rollback = cast("Rollback", stack.rollback)
        for name, before in list(rollback.before.items()):
            current = stack.resources.get(name)
            if current is not None and current.made.physical_id != before.made.physical_id:
                rollback.made.append(current)
                stack.resources[name] = before
                stack.add_event(before.wanted, before.made.physical_id, "UPDATE_COMPLETE")
            elif current is not None and name in skipped:
                current.wanted = before.wanted
                stack.add_event(before.wanted, current.made.physical_id, "UPDATE_COMPLETE")
            elif current is not None and not (yield from self._restore(stack, current, before)):
                continue
            del rollback.before[name]
        if rollback.before:
            stack.set_status("UPDATE_ROLLBACK_FAILED", _failed_resources(list(rollback.before), "update"))
            return
        stack.set_status("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
        yield from self._remove(stack, rollback.made, tries=_CLEAN_UP_TRIES)
        stack.rollback = None
        stack.set_status("UPDATE_ROLLBACK_COMPLETE")

    def _restore(
        self, stack: Stack, current: Resource, before: Resource
    ) -> Generator[Settling, Outcome, bool]:
        handler = self._catalogue[before.wanted.type]
        stack.add_event(before.wanted, current.made.physical_id, "UPDATE_IN_PROGRESS")
        try:
            made = self._attempt(
                "update",
                before.wanted,
                lambda: handler.update(current.made, current.wanted.properties, _resolved(before.wanted)),
            )
            current.wanted, current.made = before.wanted, made or current.made
            yield from self._wait(handler.settling(current.made))
        except (ResourceFailed, TemplateError) as error:
            stack.add_event(before.wanted, current.made.physical_id, "UPDATE_FAILED", _message(error))
            return False
        stack.add_event(before.wanted, current.made.physical_id, "UPDATE_COMPLETE")
        return True

    def _remove(
        self, stack: Stack, resources: list[Resource], tries: int = 1
    ) -> Generator[Settling, Outcome, list[str]]:
        """Delete resources in this order. Return the names of those that could not be deleted.

        With more than one try this is a clean-up: a resource that remains then leaves the stack.
        """
        kept: list[str] = []
        for resource in resources:
            wanted, physical = resource.wanted, resource.made.physical_id
            current = stack.resources.get(wanted.logical_id)
            is_current = current is not None and current.made.physical_id == physical
            if resource.retained:
                stack.add_event(wanted, physical, "DELETE_SKIPPED")
            elif not (yield from self._delete(stack, resource, tries)):
                kept.append(wanted.logical_id)
                if tries == 1:
                    continue
            if is_current:
                del stack.resources[wanted.logical_id]
            elif current is not None:
                current.status, current.reason = "UPDATE_COMPLETE", None
        return kept

    def _delete(self, stack: Stack, resource: Resource, tries: int) -> Generator[Settling, Outcome, bool]:
        wanted, physical = resource.wanted, resource.made.physical_id
        handler = self._catalogue[wanted.type]
        for _ in range(tries):
            stack.add_event(wanted, physical, "DELETE_IN_PROGRESS")
            try:
                self._attempt("delete", wanted, lambda: handler.delete(resource.made, wanted))
                yield from self._wait(handler.draining(resource.made))
            except ResourceFailed as error:
                stack.add_event(wanted, physical, "DELETE_FAILED", _message(error))
            else:
                stack.add_event(wanted, physical, "DELETE_COMPLETE")
                return True
        return False

    def _attempt(self, verb: Verb, wanted: Wanted, function: Callable[[], _T]) -> _T:
        """Call a handler and turn every error into the resource's failure."""
        faults = self._for_tests.faults()
        if faults and (reason := faults.take_resource_fault(wanted.stack_name, wanted.logical_id, verb)):
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

    def _wait(self, settling: Settling | None) -> Operation:
        if settling is None:
            return
        state, reason = yield settling
        if state == "CANCELLED":
            raise OperationCancelled
        if state == "FAILED":
            raise handler_failed(reason)

    def _add_failure_event(
        self, stack: Stack, target: Target, name: str, verb: Literal["create", "update"], reason: str
    ) -> None:
        held = stack.resources.get(name)
        declared = target.template["Resources"][name]
        wanted = (
            held.wanted if held else Wanted(stack.id, stack.name, target.tags, name, declared["Type"], {})
        )
        changing = verb == "update" and held is not None and not held.status.startswith("CREATE")
        status = "UPDATE_FAILED" if changing else "CREATE_FAILED"
        stack.add_event(wanted, held.made.physical_id if held else "", status, reason)


def _resolved(wanted: Wanted) -> Wanted:
    """Resolve dynamic references for the handler only, because a stack's record must not contain secrets."""
    return replace(wanted, properties=with_secrets(wanted.properties))


def _replaced(stack: Stack, journal: Mapping[str, Resource | None]) -> list[Resource]:
    """Return the resources that the journal's changes replaced, newest first."""
    return [
        old
        for name, old in reversed(list(journal.items()))
        if old is not None and old.made.physical_id != stack.resources[name].made.physical_id
    ]


def _message(error: BaseException) -> str:
    return str(error.message) if isinstance(error, ServiceException) else str(error)


def _failed_resources(names: list[str], verb: str) -> str:
    return f"The following resource(s) failed to {verb}: [{', '.join(names)}]." if names else ""
