"""All or nothing: where one service of a slot fails, the others get their previous release again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from copilot_testenv.core.errors import Failed, Held
from copilot_testenv.core.git import Branch
from copilot_testenv.deployers import previous_release
from copilot_testenv.deployers.previous_release import Release
from copilot_testenv.deploys import bring_back
from copilot_testenv.deploys.delete_slot import Receipt, Slot
from copilot_testenv.deploys.settling import NotDeployed
from copilot_testenv.session import Target
from tests.deploys.teardowns import Scene, shared, stack

BRANCH = Branch("feature/x", "d" * 40)


@dataclass
class Backs:
    """Note what was brought back and what was deleted, in order."""

    done: list[str] = field(default_factory=list)
    stuck: str = ""

    def restore(self, _: Target, own: Any, release: Release) -> None:
        if own.service == self.stuck:
            raise Failed("it is in use")
        self.done.append(f"{own.service} to {release.template}")

    def delete(self, slot: Slot) -> Receipt:
        self.done.append(f"{slot.session.settings.service} deleted")
        return Receipt(slot.snapshot)


@pytest.fixture
def backs(monkeypatch: pytest.MonkeyPatch) -> Backs:
    made = Backs()
    monkeypatch.setattr(previous_release, "of", lambda _, own: Release(own.stack_name, "before", {}, {}))
    monkeypatch.setattr(previous_release, "bring_back", made.restore)
    monkeypatch.setattr(Slot, "delete", lambda slot, *_: made.delete(slot))
    monkeypatch.setattr(bring_back, "what_serves", lambda *_: "main serves again.")
    return made


def failing(here: Scene, error: Exception, *changed: str, lost: bool = False) -> None:
    settings = replace(here.session.settings, own_services=("worker", "beat"))
    session = replace(here.session, settings=settings)
    target = session.enter()
    assert target
    lease: Any = SimpleNamespace(lost=lost, require_held=lambda: None)
    services = {own.service: own for own in (settings, *settings.others)}
    with bring_back.all_or_nothing(session, target, BRANCH, lease, list(services.values())) as begun:
        begun += [services[name] for name in changed]
        raise error


def test_what_is_new_is_deleted_and_what_was_changed_is_brought_back_the_page_first(
    scene: Callable[..., Scene], backs: Backs
) -> None:
    here = scene(shared(), stack("worker", "main", slot="web"))
    with pytest.raises(NotDeployed, match=r"(?s)no broker.*main serves again"):
        failing(here, NotDeployed("no broker"), "web", "worker", "beat")
    assert backs.done == ["beat deleted", "web to before", "worker to before"]


def test_a_service_that_was_not_begun_stays_as_it_is(scene: Callable[..., Scene], backs: Backs) -> None:
    with pytest.raises(NotDeployed):
        failing(scene(shared()), NotDeployed("no broker"), "web")
    assert backs.done == ["web to before"]
    with pytest.raises(NotDeployed, match=r"^no page$"):
        failing(scene(shared()), NotDeployed("no page"))


def test_a_new_slot_is_deleted_with_its_database(scene: Callable[..., Scene], backs: Backs) -> None:
    with pytest.raises(NotDeployed):
        failing(scene(), NotDeployed("no broker"), "web", "worker")
    assert backs.done == ["worker deleted", "web deleted"]


def test_one_that_cannot_be_brought_back_is_named_and_the_others_are(
    scene: Callable[..., Scene], backs: Backs
) -> None:
    backs.stuck = "worker"
    here = scene(shared(), stack("worker", "main", slot="web"))
    with pytest.raises(NotDeployed, match=r"worker was not brought back: it is in use\. Deploy again"):
        failing(here, NotDeployed("no broker"), "web", "worker")
    assert backs.done == ["web to before"]


@pytest.mark.parametrize(("error", "lost"), [(Held("lost"), False), (NotDeployed("no broker"), True)])
def test_a_slot_that_another_run_may_have_is_not_touched(
    scene: Callable[..., Scene], backs: Backs, error: Exception, *, lost: bool
) -> None:
    with pytest.raises(type(error)):
        failing(scene(shared()), error, "web", lost=lost)
    assert backs.done == []
