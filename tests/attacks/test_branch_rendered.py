"""Hostile branches are refused by what Copilot renders of them, and ordinary ones pass without a word."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from copilot_testenv.branch_guard.template_changes import Change
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core.errors import Refused
from copilot_testenv.deploys import rendered_guard
from copilot_testenv.rendering import Renderer
from tests.attacks.branches import HOSTILE, ORDINARY, Attack
from tests.clone import ROOT

# Further ways to what another attack of the list does too.
FURTHER = frozenset(
    {
        "secret-path-of-a-sidecar", "secret-in-the-base", "secret-of-another-app",
        "secret-without-a-path", "secret-arn", "secret-arn-of-another-region",
        "secret-from-cfn-of-an-unknown-stack", "secret-secretsmanager-arn", "variable-from-cfn",
        "variable-dynamic-reference", "sidecar-with-a-secret", "logging-secret", "efs-imported",
        "efs-managed", "security-group", "taskdef-execution-role-by-name", "taskdef-secret",
        "taskdef-import", "patch-secret-sub", "patch-secret-replaced", "patch-log-group",
        "patch-task-definition-of-another", "user", "task-role-managed", "deployment-hook",
        "lambda-role", "custom-resource", "nested-stack-replaced", "addons-bucket",
        "addons-function", "line-break-in-a-command", "line-break-in-a-name",
        "priority-of-a-path-that-it-has-not", "actions-other-target-group", "rule-moved",
        "controller-workload", "controller-stack", "load-balancers-with-a-rule",
        "source-ips-widened", "source-ips-other", "condition-replaced",
    }
)  # fmt: skip
OTHERS = frozenset({"production", "prod", "live", "stage", "staging"})


@pytest.fixture(scope="module")
def base(renderer: Renderer) -> Template:
    return rendered(renderer, renderer.settings.root)


def workspace_in(folder: Path) -> Path:
    shutil.copytree(ROOT / "copilot", folder / "copilot")
    shutil.copy(ROOT / "Dockerfile", folder)
    return folder


def rendered(renderer: Renderer, workspace: Path) -> Template:
    found = renderer.service(workspace, "web", "test")
    assert isinstance(found, Template), found
    return found


def changes(renderer: Renderer, base: Template, folder: Path) -> list[Change]:
    """What the guard finds in a branch's workspace; nothing where Copilot does not deploy it at all."""
    here = replace(renderer.settings, root=folder)
    broken = list(rendered_guard.pasted(folder, here))
    found = renderer.service(folder, "web", "test")
    if isinstance(found, Refusal):
        assert broken, found.why
        return broken
    plain = plain_of(renderer, folder)
    return [*broken, *rendered_guard.changes(here, found, base, plain, OTHERS)]


def plain_of(renderer: Renderer, folder: Path, known: dict[tuple[str, ...], Template] = {}) -> Template:  # noqa: B006 - kept, since many have the same manifest
    files = [folder / "copilot/web/manifest.yml", *sorted((folder / "copilot/web/addons").glob("*"))]
    key = tuple(file.read_text() for file in files)
    if key not in known:
        known[key] = rendered(renderer, rendered_guard.without_overrides(folder, folder / "plain", "web"))
    return known[key]


@pytest.mark.nightly_from(40)
@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(each, id=each.id, marks=[pytest.mark.nightly] if each.id in FURTHER else [])
        for each in HOSTILE
    ],
)
def test_a_hostile_branch_is_refused_with_file_and_line(
    attack: Attack, renderer: Renderer, base: Template, tmp_path: Path
) -> None:
    folder = workspace_in(tmp_path)
    attack.apply(folder)
    found = changes(renderer, base, folder)
    assert {change.name for change in found} & attack.names, found
    with pytest.raises(Refused, match=r"--trust ") as refused:
        rendered_guard.refuse(found, replace(renderer.settings, root=folder), folder)
    lines = str(refused.value).splitlines()[1:-1]
    assert any(line.startswith("  copilot/web/") for line in lines), lines


def test_a_branch_with_all_ordinary_changes_at_once_passes_without_a_word(
    renderer: Renderer, base: Template, tmp_path: Path
) -> None:
    folder = workspace_in(tmp_path)
    for _, apply in ORDINARY:
        apply(folder)
    assert isinstance(renderer.service(folder, "web", "test"), Template)
    assert changes(renderer, base, folder) == []


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "apply"), ORDINARY, ids=[name for name, _ in ORDINARY])
def test_an_ordinary_branch_passes_without_a_word(
    name: str, apply: Callable[[Path], None], renderer: Renderer, base: Template, tmp_path: Path
) -> None:
    folder = workspace_in(tmp_path)
    apply(folder)
    assert changes(renderer, base, folder) == [], name


def test_there_are_enough_of_either() -> None:
    assert len(HOSTILE) >= 45
    assert len({attack.id for attack in HOSTILE}) == len(HOSTILE)
    assert {attack.id for attack in HOSTILE} > FURTHER
    assert len(ORDINARY) >= 15
