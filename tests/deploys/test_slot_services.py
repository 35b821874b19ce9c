"""The other services of a slot: which they are, in which order they are deployed, and what goes with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from copilot_testenv.aws.stack import Stack
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core import git
from copilot_testenv.core.errors import Failed, Refused, SettingsError
from copilot_testenv.core.git import Branch
from copilot_testenv.core.settings import Settings, load
from copilot_testenv.deploys import slot_services
from copilot_testenv.deploys.stack_tags import StackTags
from copilot_testenv.session import Target
from copilot_testenv.state.registry import DeploymentRecord
from tests.deploys.teardowns import NOW, PAST, Played, Scene, gone, isolated, shared, stack

SLUG = git.slug("feature/x")


def with_worker(settings: Settings, *names: str) -> Settings:
    return replace(settings, own_services=names or ("worker",))


def target(settings: Settings, *stacks: Stack) -> Target:
    return Target({}, Copilot(settings, {}, settings.root), Played({each.name: each for each in stacks}))


def worker(service: str = "worker", slot: str = "web", **tags: str) -> Stack:
    return stack(service, "main", slot=slot, **tags)


def test_each_service_of_an_isolated_slot_has_its_slug_and_names_the_slot(settings: Settings) -> None:
    (own,) = with_worker(settings).isolated_for(SLUG).others
    assert (own.service, own.base, own.slot) == (f"worker-{SLUG}", "worker", f"web-{SLUG}")
    assert own.database_suffix == settings.isolated_for(SLUG).database_suffix
    assert own.manifest.parent.name == "worker"
    assert own.peers == ("web", "worker")
    assert own.shared.service == "worker"


def test_what_is_a_service_of_its_own_is_no_sidecar(settings: Settings) -> None:
    own = replace(settings, services=("web", "worker", "beat"), own_services=("web", "worker"))
    assert own.companions == ("beat",)
    assert [other.service for other in own.others] == ["worker"]
    assert own.others[0].companions == ()


def test_the_committed_settings_name_them_and_a_name_that_cannot_be_one_is_refused(workspace: Path) -> None:
    (workspace / "copilot-testenv.toml").write_text('own_services = ["worker"]\n')
    assert load(workspace, {}).own_services == ("worker",)
    with pytest.raises(SettingsError, match=r"COPILOT_OWN_SERVICES='\.\./web'"):
        load(workspace, {"COPILOT_OWN_SERVICES": "../web"})


def test_a_name_that_the_workspace_does_not_have_is_one_line(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="names wroker, and copilot/ has no such service") as refused:
        slot_services.require_known(with_worker(settings, "wroker"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["Scheduled Job", "Static Site", None])
def test_another_kind_of_service_cannot_be_deployed_beside_the_page(
    settings: Settings, kind: str | None
) -> None:
    (own,) = with_worker(settings).others
    with pytest.raises(SettingsError, match="own_services can name a Worker Service or a Backend Service"):
        slot_services.require_kind(own, {"type": kind}, "copilot/worker/manifest.yml")


def manifests(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / "copilot" / name).mkdir(parents=True)
        (folder / "copilot" / name / "manifest.yml").write_text(text)
    return folder


def order(settings: Settings, folder: Path, *names: str) -> list[str]:
    return [own.base for own in slot_services.ordered(with_worker(settings, *names).others, folder)]


def test_a_service_follows_those_whose_topics_or_addresses_it_names_and_else_the_settings_order(
    settings: Settings, tmp_path: Path
) -> None:
    subscribes = "subscribe:\n  topics: [{name: orders, service: shop}]\n"
    calls = "variables:\n  API: http://api.${COPILOT_ENVIRONMENT_NAME}.${COPILOT_APPLICATION_NAME}.local:80\n"
    folder = manifests(
        tmp_path, mail=subscribes, shop=calls, api="type: Backend Service\n", beat="name: beat\n"
    )
    assert order(settings, folder, "beat", "mail", "shop", "api") == ["beat", "api", "shop", "mail"]
    assert order(settings, folder, "api", "shop", "mail", "beat") == ["api", "shop", "mail", "beat"]


def test_two_services_that_name_each_other_stay_in_their_order(settings: Settings, tmp_path: Path) -> None:
    folder = manifests(tmp_path, a="command: call b.test.demo.local\n", b="command: call a.test.demo.local\n")
    assert sorted(order(settings, folder, "a", "b")) == ["a", "b"]


def test_a_stack_that_these_tasks_did_not_deploy_is_refused(settings: Settings) -> None:
    (own,) = with_worker(settings).others
    foreign = replace(worker(), tags={"copilot-application": "demo", "copilot-environment": "test"})
    for found, why in ((foreign, "was not deployed by these tasks"), (worker(slot="api"), "belongs to api")):
        with pytest.raises(Refused, match=why):
            slot_services.before(target(settings, found), own)
    assert slot_services.before(target(settings, worker()), own) == worker()
    assert slot_services.before(target(settings), own) is None


def existing(
    settings: Settings, slot: Stack | None, record: DeploymentRecord | None, *stacks: Stack
) -> list[str]:
    found = slot_services.existing(settings, target(settings, *stacks).aws.stack, slot, record)
    return [own.service for own, _ in found]


def test_the_tag_the_registry_and_the_settings_name_them_and_their_own_tags_decide(
    settings: Settings,
) -> None:
    tagged, recorded = shared(services="worker"), DeploymentRecord("main", isolated=False, services=("beat",))
    both = (worker(), worker("beat"))
    assert existing(settings, tagged, recorded, *both) == ["worker", "beat"]
    assert existing(with_worker(settings), shared(), None, *both) == ["worker"]
    assert existing(settings, tagged, None, worker(slot="api")) == []
    assert existing(settings, tagged, None, stack("worker", "main")) == []
    assert existing(settings, shared(services="web ../x worker-x"), None, *both) == []


def test_a_branchs_service_that_has_no_stack_is_told_because_the_application_may_know_it(
    settings: Settings,
) -> None:
    own = settings.isolated_for(SLUG)
    record = DeploymentRecord(
        "feature/x", isolated=True, services=(f"worker-{SLUG}", "worker", f"web-{SLUG}")
    )
    assert existing(own, None, record, worker()) == [f"worker-{SLUG}"]


def test_the_slots_stack_names_its_services_and_theirs_names_the_slot(settings: Settings) -> None:
    own = with_worker(settings)
    made = StackTags(own, Branch("main", "c" * 40), NOW, "", is_forced=False)
    tags = made.of(shared(services="beat"), "ada")
    assert tags["services"] == "worker beat"
    others = made.of_other(own.others[0], tags)
    assert others["slot"] == "web"
    assert "services" not in others
    assert "expires_at" not in others


def test_a_deploy_is_unchanged_only_if_each_service_has_the_commit(settings: Settings) -> None:
    own, tags = with_worker(settings), shared().tags
    assert slot_services.have(own, target(own, worker()), tags)
    assert not slot_services.have(own, target(own), tags)
    assert not slot_services.have(own, target(own, worker(commit="d" * 40)), tags)
    assert not slot_services.have(
        own, target(own, replace(worker(), status="UPDATE_ROLLBACK_COMPLETE")), tags
    )


def test_a_teardown_deletes_the_other_services_first_and_names_them(scene: Callable[..., Scene]) -> None:
    own = f"worker-{SLUG}"
    slot = isolated("feature/x", services=own)
    here = scene(shared(), slot, stack(own, "feature/x", isolated="yes", slot=f"web-{SLUG}"))
    here.teardown(branch="feature/x")
    assert here.receipts[0]["services"] == [f"web-{SLUG}", own]
    assert [line.split("--name=")[1].split()[0] for line in here.deletes][:2] == [own, f"web-{SLUG}"]
    assert f"repository demo/{own}" in gone(here)
    assert sum(part.startswith("database ") for part in gone(here)) == 1
    assert list(here.aws.stacks) == ["demo-test-web"]


def test_a_slot_of_which_a_service_stays_is_given_back_before_its_web_service_goes(
    scene: Callable[..., Scene],
) -> None:
    own = f"worker-{SLUG}"
    slot = isolated("feature/x", services=own, expires_at=PAST)
    other = stack(own, "feature/x", isolated="yes", slot=f"web-{SLUG}", expires_at=PAST)
    here = scene(shared(), slot, other, isolated("feature/y", expires_at=PAST))
    here.aws.stuck.add(other.name)
    with pytest.raises(Failed, match=f"stack {other.name}"):
        here.teardown(expired=True)
    assert here.aws.deletions == [other.name, f"demo-test-web-{git.slug('feature/y')}"]
    assert f"web-{SLUG} is not deleted with the others: the stack {other.name} is left." in here.said


def test_a_service_that_stays_keeps_the_slot_in_the_registry(scene: Callable[..., Scene]) -> None:
    own = f"worker-{SLUG}"
    slot = isolated("feature/x", services=own)
    other = stack(own, "feature/x", isolated="yes", slot=f"web-{SLUG}")
    here = scene(shared(), slot, other)
    here.aws.stuck.add(other.name)
    with pytest.raises(Failed, match=f"stack {other.name}"):
        here.teardown(branch="feature/x")
    assert f"web-{SLUG}" in here.registry.read().deployments
