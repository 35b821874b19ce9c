"""The other services of a slot: those of the setting `own_services`, deployed beside its web service."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from copilot_testenv.copilot import branch_service, manifest, ownership
from copilot_testenv.copilot.manifest import mapping
from copilot_testenv.copilot.service_sidecar import OWN_KINDS
from copilot_testenv.core import workspace_files
from copilot_testenv.core.errors import Failed, Refused, SettingsError, UsageError
from copilot_testenv.core.settings import NAME
from copilot_testenv.deploys.settling import COMPLETE
from copilot_testenv.deploys.stack_tags import SLOT
from copilot_testenv.state import live

if TYPE_CHECKING:
    from pathlib import Path

    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.registry import DeploymentRecord


def require_known(settings: Settings) -> None:
    """Raise SettingsError where `own_services` names a service that the workspace does not have."""
    known = workspace_files.services(settings.root)
    for own in settings.others:
        if own.base not in known:
            raise SettingsError(
                f"own_services (COPILOT_OWN_SERVICES) names {own.base}, and copilot/ has no such service: "
                f"write some of {', '.join(name for name in known if name != settings.base) or 'none'}."
            )


def require_kind(settings: Settings, found: Mapping[str, Any], path: str) -> None:
    """Raise SettingsError where the manifest's service cannot be deployed beside the web service."""
    if found.get("type") not in OWN_KINDS:
        raise SettingsError(
            f"{path} is a {found.get('type')!r}: own_services can name a {' or a '.join(OWN_KINDS)}. "
            f"Take {settings.base} out of own_services."
        )


def ordered(services: Sequence[Settings], folder: Path) -> list[Settings]:
    """Return the services, each after those whose topics or addresses its manifest in the worktree names.

    Else they stay in their order, and so do two that name each other.
    """
    texts = {own.base: _text(folder, own) for own in services}
    first: list[Settings] = []

    def add(own: Settings, asking: tuple[str, ...]) -> None:
        for other in services:
            if other.base not in (*asking, own.base) and other.base in _named(own, texts[own.base]):
                add(other, (*asking, own.base))
        if own not in first:
            first.append(own)

    for own in services:
        add(own, ())
    return first


def _text(folder: Path, own: Settings) -> str:
    file = manifest.inside(folder / "copilot" / own.base / workspace_files.NAME, folder)
    return file.read_text(encoding="utf-8-sig") if file.is_file() else ""


def _named(own: Settings, text: str) -> set[str]:
    """Return the slot's services that a manifest's text names: by addresses, and by topics."""
    return {*re.findall(branch_service.address(own), text), *publishers(own, text)}


def publishers(own: Settings, text: str) -> set[str]:
    """Return the slot's services to whose topics a manifest's service subscribes."""
    found = manifest.parse(text, f"copilot/{own.base}/{workspace_files.NAME}") if text else {}
    names = set()
    for holder in (found, mapping(found, "environments", own.test_env)):
        topics = mapping(holder, "subscribe").get("topics")
        names |= {
            str(topic.get("service"))
            for topic in (topics if isinstance(topics, list) else ())
            if isinstance(topic, dict)
        }
    return names & set(own.peers)


def before(target: Target, own: Settings) -> Stack | None:
    """Return the service's stack. Raises Refused where it is not this slot's."""
    stack = target.aws.stack(own.stack_name)
    ownership.require_ours(stack, own)
    if stack and not stack.in_review and stack.tags.get(SLOT) != own.slot:
        raise Refused(
            f"The stack {stack.name} belongs to {stack.tags.get(SLOT) or 'a slot of its own'}, not to "
            f"{own.slot}: it is neither replaced nor deleted. Tear that deployment down first."
        )
    return stack


def existing(
    settings: Settings,
    look: Callable[[str], Stack | None],
    stack: Stack | None,
    record: DeploymentRecord | None,
) -> Iterator[tuple[Settings, Stack | None]]:
    """Yield the slot's other services with their stacks; `look` returns the stack of a name.

    The tag of the slot's stack, the registry and the settings name them; the stack's own tags decide. A
    branch's service without a stack is among them where the application may know it.
    """
    named = [*(live.services_of(stack.tags) if stack else ()), *(record.services if record else ())]
    for name in dict.fromkeys((*named, *(own.service for own in settings.others))):
        own = _of_name(settings, name)
        if own is None:
            continue
        found = look(own.stack_name)
        if found is None:
            if settings.slug and name in named:
                yield own, None
        elif ownership.is_ours(found, own) and (found.in_review or found.tags.get(SLOT) == settings.service):
            yield own, found


def _of_name(settings: Settings, name: str) -> Settings | None:
    """Return the settings of a service of the slot; None where the name cannot be one of the slot's."""
    base = name.removesuffix(f"-{settings.slug}") if settings.slug else name
    if not NAME.fullmatch(name) or base == settings.base or (settings.slug and base == name):
        return None
    return settings.other(base)


def stacks(settings: Settings, target: Target, stack: Stack) -> list[tuple[Settings, Stack]]:
    """Return the slot's other services that have a stack."""
    return [(own, found) for own, found in existing(settings, target.aws.stack, stack, None) if found]


def have(settings: Settings, target: Target, tags: Mapping[str, str]) -> bool:
    """Return True if each other service of the settings is complete and has the commit of these tags."""
    for own in settings.others:
        stack = before(target, own)
        if not stack or stack.status not in COMPLETE:
            return False
        if any(stack.tags.get(name) != tags.get(name) for name in ("branch", "commit")):
            return False
    return True


def sessions(session: Session, target: Target, slots: Iterable[Settings]) -> Iterator[tuple[Session, Target]]:
    """Yield the session and target of each service."""
    for own in slots:
        yield replace(session, settings=own), target.for_slot(own)


def chosen(session: Session, target: Target, name: str) -> tuple[Session, Target]:
    """Return the session and target of a service of the slot, by its name in the workspace.

    Without a name it is the web service. Raises UsageError for a name that the slot does not have.
    """
    settings = session.settings
    if name in {"", settings.base, settings.service}:
        return session, target
    stack = target.aws.stack(settings.stack_name)
    if stack is None:
        raise Failed("Nothing is deployed: `invoke deploy-test --branch B`.")
    there = [own for own, _ in stacks(settings, target, stack)]
    for own, there_too in sessions(session, target, there):
        if name in {own.settings.base, own.settings.service}:
            return own, there_too
    names = ", ".join((settings.base, *(own.base for own in there)))
    raise UsageError(f"--service {name} is not a service of this deployment: it has {names}.")
