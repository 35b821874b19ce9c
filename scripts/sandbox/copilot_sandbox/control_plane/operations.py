"""What happens to a stack: it is made, changed, rolled back, deleted, resource by resource."""

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
"""After a change, what cannot be deleted in so many tries stays, and is no longer in the stack.

Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/troubleshooting.html, "Resource removed
from stack but not deleted".
"""
# Source of the words: https://github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/744
_LEFT_BEHIND = "Update successful. One or more resources could not be deleted."

_NOUNS = {"create": "creation", "update": "update"}
_T = TypeVar("_T")


class Operations:
    """Makes the operations that the driver carries on."""

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
            yield from self._bring(stack, target, {}, failed, "create")
        except OperationCancelled:
            yield from self.delete(stack)
            return
        except (ResourceFailed, TemplateError) as error:
            reason = _failed_resources(failed, "create") or _words(error)
            if stack.keeps_failures or stack.on_failure == "DO_NOTHING":
                stack.set_status("CREATE_FAILED", reason)
                return
            if stack.on_failure == "DELETE":
                stack.set_status("DELETE_IN_PROGRESS", f"{reason} Delete requested by user.".strip())
                yield from self.delete(stack)
                return
            stack.set_status("ROLLBACK_IN_PROGRESS", f"{reason} Rollback requested by user.".strip())
            left = yield from self._remove(stack, stack.newest_first())
            if left:
                stack.set_status("ROLLBACK_FAILED", _failed_resources(left, "delete"))
            else:
                stack.set_status("ROLLBACK_COMPLETE")
            return
        stack.set_status("CREATE_COMPLETE")

    def update(self, stack: Stack, target: Target) -> Operation:
        before = cast("Target", stack.target)
        imported = set(stack.imported)
        again = stack.status.endswith("_FAILED")
        stack.target = target
        stack.updated_at = now()
        stack.set_status("UPDATE_IN_PROGRESS", "User Initiated")
        journal: dict[str, Resource | None] = {}
        failed: list[str] = []
        try:
            names = yield from self._bring(stack, target, journal, failed, "update", again=again)
        except (ResourceFailed, TemplateError, OperationCancelled) as error:
            cancelled = isinstance(error, OperationCancelled)
            reason = _failed_resources(failed, "update") or _words(error)
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
        gone = [resource for resource in stack.newest_first() if resource.wanted.logical_id not in names]
        replaced = [*_replaced(stack, journal), *stack.leftovers]
        left = yield from self._remove(stack, [*gone, *replaced], tries=_CLEAN_UP_TRIES)
        stack.leftovers = []
        stack.set_status("UPDATE_COMPLETE", _LEFT_BEHIND if left else None)

    def delete(self, stack: Stack) -> Operation:
        """Take everything away; the stack is in DELETE_IN_PROGRESS already."""
        exports = {output.export for output in stack.outputs.values() if output.export}
        for other in self._stacks.live():
            if other is not stack and (used := exports & other.imported):
                stack.set_status(
                    "DELETE_FAILED",
                    f"Export {min(used)} cannot be deleted as it is in use by {other.name}",
                )
                return
        left = yield from self._remove(stack, [*stack.newest_first(), *stack.leftovers])
        stack.leftovers = [resource for resource in stack.leftovers if resource.wanted.logical_id in left]
        if left:
            stack.set_status("DELETE_FAILED", _failed_resources(left, "delete"))
            return
        stack.outputs, stack.imported = {}, set()
        stack.set_status("DELETE_COMPLETE")

    def _bring(
        self,
        stack: Stack,
        target: Target,
        journal: dict[str, Resource | None],
        failed: list[str],
        verb: Literal["create", "update"],
        *,
        again: bool = False,
    ) -> Generator[Settling, Outcome, list[str]]:
        """Make and change resources until the stack is as the target says, then its outputs.

        `journal` gets what there was before each change (None: nothing), `failed` the name that failed.
        Nothing is taken away here: that waits until the rest has succeeded. `again`: what had failed before
        is tried again, changed or not.
        """
        scope = self._resolver.scope(stack, target)
        names = self._resolver.names(target, scope)
        for name in names:
            try:
                wanted = self._resolver.wanted(stack, target, scope, name)
                have = stack.resources.get(name)
                if have is None:
                    yield from self._make(stack, target, wanted, journal)
                elif differs(self._catalogue[wanted.type], have.wanted, wanted) or (
                    again and have.status.endswith("_FAILED")
                ):
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
        outputs = self._resolver.outputs(stack, target, scope)
        if verb == "update":
            self._resolver.refuse_lost_exports(stack, outputs)
        stack.outputs = outputs
        stack.imported = set(scope.imported)
        return names

    def _make(
        self, stack: Stack, target: Target, wanted: Wanted, journal: dict[str, Resource | None]
    ) -> Operation:
        handler = self._catalogue[wanted.type]
        stack.add_event(wanted, "", "CREATE_IN_PROGRESS")
        made = self._attempt("create", wanted, lambda: handler.create(_ready(wanted)))
        journal.setdefault(wanted.logical_id, None)
        stack.resources[wanted.logical_id] = Resource(wanted, made, target.retains(wanted.logical_id))
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
        handler = self._catalogue[wanted.type]
        name = wanted.logical_id
        before = Resource(have.wanted, have.made, have.retained, have.status, have.reason)
        in_place = (
            have.wanted.type == wanted.type
            and not handler.always_replaced
            and have.status != "CREATE_FAILED"  # it never got to a state that could be changed
        )
        stack.add_event(wanted, have.made.physical_id, "UPDATE_IN_PROGRESS")
        journal[name] = before
        made = (
            self._attempt(
                "update", wanted, lambda: handler.update(have.made, have.wanted.properties, _ready(wanted))
            )
            if in_place
            else None
        )
        if made is None:
            stack.add_event(
                wanted,
                have.made.physical_id,
                "UPDATE_IN_PROGRESS",
                "Requested update requires the creation of a new physical resource; hence creating one.",
            )
            made = self._attempt("create", wanted, lambda: handler.create(_ready(wanted)))
            stack.resources[name] = Resource(wanted, made, target.retains(name))
            stack.add_event(wanted, made.physical_id, "UPDATE_IN_PROGRESS", "Resource creation Initiated")
        else:
            have.wanted, have.made = wanted, made
        yield from self._settle(handler.settling(made))
        stack.add_event(wanted, made.physical_id, "UPDATE_COMPLETE")

    def roll_back(self, stack: Stack, skipped: Collection[str] = ()) -> Operation:
        """Give every changed resource its old properties back, then take away what was made.

        Those that cannot have them stay in `stack.rollback`, for another try; the `skipped` are taken for
        rolled back without one.
        """
        rollback = cast("Rollback", stack.rollback)
        for name, before in list(rollback.before.items()):
            now = stack.resources.get(name)
            if now is not None and now.made.physical_id != before.made.physical_id:
                rollback.made.append(now)
                stack.resources[name] = before
                stack.add_event(before.wanted, before.made.physical_id, "UPDATE_COMPLETE")
            elif now is not None and name in skipped:
                now.wanted = before.wanted
                stack.add_event(before.wanted, now.made.physical_id, "UPDATE_COMPLETE")
            elif now is not None and not (yield from self._restore(stack, now, before)):
                continue
            del rollback.before[name]
        if rollback.before:
            stack.set_status("UPDATE_ROLLBACK_FAILED", _failed_resources(list(rollback.before), "update"))
            return
        stack.set_status("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
        yield from self._remove(stack, rollback.made, tries=_CLEAN_UP_TRIES)
        stack.rollback = None
        stack.set_status("UPDATE_ROLLBACK_COMPLETE")

    def _restore(self, stack: Stack, now: Resource, before: Resource) -> Generator[Settling, Outcome, bool]:
        handler = self._catalogue[before.wanted.type]
        stack.add_event(before.wanted, now.made.physical_id, "UPDATE_IN_PROGRESS")
        try:
            made = self._attempt(
                "update",
                before.wanted,
                lambda: handler.update(now.made, now.wanted.properties, _ready(before.wanted)),
            )
            now.wanted, now.made = before.wanted, made or now.made
            yield from self._settle(handler.settling(now.made))
        except (ResourceFailed, TemplateError) as error:
            stack.add_event(before.wanted, now.made.physical_id, "UPDATE_FAILED", _words(error))
            return False
        stack.add_event(before.wanted, now.made.physical_id, "UPDATE_COMPLETE")
        return True

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
        handler = self._catalogue[wanted.type]
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

    def _attempt(self, verb: Verb, wanted: Wanted, function: Callable[[], _T]) -> _T:
        """Call a handler and turn whatever goes wrong into the resource's failure."""
        faults = self._for_tests.faults()
        if faults and (reason := faults.of_resource(wanted.stack_name, wanted.logical_id, verb)):
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

    def _settle(self, settling: Settling | None) -> Operation:
        if settling is None:
            return
        state, reason = yield settling
        if state == "CANCELLED":
            raise OperationCancelled
        if state == "FAILED":
            raise handler_failed(reason)

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


def _ready(wanted: Wanted) -> Wanted:
    """Resolve dynamic references for the handler alone: what a stack keeps of a resource holds no secret."""
    return replace(wanted, properties=with_secrets(wanted.properties))


def _replaced(stack: Stack, journal: Mapping[str, Resource | None]) -> list[Resource]:
    """Return what the journal's changes have put another in the place of, the newest first."""
    return [
        old
        for name, old in reversed(list(journal.items()))
        if old is not None and old.made.physical_id != stack.resources[name].made.physical_id
    ]


def _words(error: BaseException) -> str:
    return str(error.message) if isinstance(error, ServiceException) else str(error)


def _failed_resources(names: list[str], verb: str) -> str:
    return f"The following resource(s) failed to {verb}: [{', '.join(names)}]." if names else ""
