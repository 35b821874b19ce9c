"""Patches and runtimes, on what the real Copilot renders."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from copilot_testenv.check import overrides, project, verdict
from copilot_testenv.check.finding import Finding
from copilot_testenv.copilot import patches, runtimes
from copilot_testenv.core.errors import Refused, SettingsError
from copilot_testenv.core.settings import load
from copilot_testenv.rendering import Renderer

TODAY = date(2026, 11, 24)
OF_WEB = Path("copilot/web/overrides/cfn.patches.yml")
OF_ENVIRONMENTS = Path("copilot/environments/overrides/cfn.patches.yml")


def found(root: Path, renderer: Renderer) -> list[Finding]:
    read = project.read(load(root, {}), TODAY)
    for name in read.names:
        read.rendered["web", name] = renderer.service(root, "web", name)
        read.rendered_environments[name] = renderer.environment(root, name)
    return sorted({one for rule in (*verdict.RULES, *overrides.RULES) for one in rule(read)})


def fixed(root: Path, renderer: Renderer, *owners: str) -> list[patches.Change]:
    read = project.read(load(root, {}), TODAY)
    return list(patches.changes(root, owners or ("web", "environments"), read.names, renderer, TODAY))


def append(file: Path, text: str) -> int:
    """Returns the line on which the appended text begins."""
    before = file.read_text()
    file.write_text(before + text)
    return before.count("\n") + 1


def test_the_shipped_patches_are_exact(shipped: Path, renderer: Renderer) -> None:
    assert found(shipped, renderer) == []
    assert fixed(shipped, renderer) == []


def test_a_project_without_patches_is_told_each_function_and_fixed(shipped: Path, renderer: Renderer) -> None:
    shutil.rmtree((shipped / OF_WEB).parent)
    told = found(shipped, renderer)
    assert [(one.path, one.line, one.rule, one.severity) for one in told] == [
        ("copilot/web/manifest.yml", 1, "runtime", "warning")
    ]
    assert "2 Lambda functions of Copilot's own (in web) run on nodejs20.x" in told[0].what
    (change,) = fixed(shipped, renderer)
    patches.write(change, shipped)
    assert found(shipped, renderer) == []
    assert fixed(shipped, renderer) == []


def test_an_empty_folder_of_overrides_is_filled(shipped: Path, renderer: Renderer) -> None:
    (shipped / OF_WEB).unlink()
    assert [one.rule for one in found(shipped, renderer)] == ["patch"]
    (change,) = fixed(shipped, renderer, "web")
    patches.write(change, shipped)
    assert found(shipped, renderer) == []


def test_a_runtime_patch_that_misses_is_told_with_its_line_and_taken_away(
    shipped: Path, renderer: Renderer
) -> None:
    line = append(
        shipped / OF_ENVIRONMENTS,
        f"- op: replace\n  path: /Resources/Nope/Properties/Runtime\n  value: {runtimes.target()}\n",
    )
    (told,) = found(shipped, renderer)
    assert (told.path, told.line, told.rule) == (OF_ENVIRONMENTS.as_posix(), line + 1, "patch")
    assert "misses in production, stage, test" in told.what
    assert "check --fix" in told.instead
    (change,) = fixed(shipped, renderer)
    patches.write(change, shipped)
    assert found(shipped, renderer) == []


def test_another_patch_that_misses_is_told_and_left_to_its_owner(shipped: Path, renderer: Renderer) -> None:
    line = append(shipped / OF_WEB, "- op: replace\n  path: /Resources/Nope/Properties/Name\n  value: x\n")
    (told,) = found(shipped, renderer)
    assert (told.path, told.line) == (OF_WEB.as_posix(), line + 1)
    assert "correct its path" in told.instead
    with pytest.raises(SettingsError, match="Nope"):
        fixed(shipped, renderer, "web")


def test_a_file_of_patches_that_is_none_is_copilots_verdict_on_that_file(
    shipped: Path, renderer: Renderer
) -> None:
    (shipped / OF_WEB).write_text("op: add\n")
    (told,) = found(shipped, renderer)
    assert (told.path, told.rule) == (OF_WEB.as_posix(), "patch")
    assert str(shipped) not in told.instead


def test_a_place_that_is_another_container_in_each_environment_is_told(
    shipped: Path, renderer: Renderer
) -> None:
    line = append(
        shipped / OF_WEB,
        "- op: add\n  path: /Resources/TaskDefinition/Properties/ContainerDefinitions/1/Privileged\n"
        "  value: false\n",
    )
    (told,) = found(shipped, renderer)
    assert (told.path, told.line, told.rule) == (OF_WEB.as_posix(), line, "position")
    assert "redis in test" in told.what
    assert "startup in stage" in told.what


def test_a_place_that_is_the_same_container_everywhere_is_not(shipped: Path, renderer: Renderer) -> None:
    append(
        shipped / OF_WEB,
        "- op: add\n  path: /Resources/TaskDefinition/Properties/ContainerDefinitions/0/Privileged\n"
        "  value: false\n",
    )
    assert found(shipped, renderer) == []


def test_of_functions_that_differ_those_of_all_are_raised_and_the_others_told_with_a_cure_that_holds(
    shipped: Path, renderer: Renderer
) -> None:
    manifest = shipped / "copilot/web/manifest.yml"
    (shipped / OF_WEB).write_text("")
    text = manifest.read_text().replace("count: 2\n", "count: 1\n")
    count = "    count:\n      spot: 1                   # one small task on Spot\n"
    manifest.write_text(text.replace(count, "    count: {range: 1-2, cpu_percentage: 70}\n"))
    (change,) = fixed(shipped, renderer, "web")
    assert "RulePriorityFunction" in change.after
    assert "DynamicDesiredCountFunction" not in change.after
    (shipped / OF_WEB).write_text(change.after)
    (told,) = found(shipped, renderer)
    assert (told.rule, told.severity) == ("runtime", "warning")
    cure = "count: {range: 1-1, cpu_percentage: 70}"
    assert cure in told.instead
    manifest.write_text(manifest.read_text().replace("count: 1\n", f"{cure}\n"))
    (change,) = fixed(shipped, renderer, "web")
    (shipped / OF_WEB).write_text(change.after)
    assert "DynamicDesiredCountFunction" in change.after
    assert found(shipped, renderer) == []


def test_a_link_and_a_cdk_override_are_not_written(
    shipped: Path, renderer: Renderer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "patches.yml"
    outside.write_text("")
    (shipped / OF_WEB).unlink()
    (shipped / OF_WEB).symlink_to(outside)
    with pytest.raises(Refused, match="leads elsewhere"):
        fixed(shipped, renderer, "web")
    (shipped / OF_WEB).unlink()
    (shipped / OF_WEB).with_name("cdk.json").write_text("{}")
    with pytest.raises(Refused, match="CDK override"):
        fixed(shipped, renderer, "web")
    assert outside.read_text() == ""


def test_addons_with_an_old_function_are_told_to_write_another(shipped: Path, renderer: Renderer) -> None:
    addons = shipped / "copilot/web/addons"
    addons.mkdir()
    (addons / "f.yml").write_text(
        "Parameters: {App: {Type: String}, Env: {Type: String}, Name: {Type: String}}\n"
        "Resources:\n  Old:\n    Type: AWS::Lambda::Function\n    Properties:\n      Runtime: nodejs16.x\n"
        "      Role: arn:aws:iam::123456789012:role/r\n      Handler: index.handler\n"
        "      Code: {ZipFile: ''}\n"
    )
    (told,) = found(shipped, renderer)
    assert (told.path, told.rule) == ("copilot/web/addons/f.yml", "runtime")
    assert "Old runs on nodejs16.x" in told.what


@pytest.mark.parametrize(
    ("patch", "line", "what"),
    [
        ("- op: Replace\n  path: /a\n  value: 1\n", 1, "Copilot takes no operation `Replace`"),
        ("- op: add\n  Path: /a\n  value: 1\n", 2, "the patch lacks `path`"),
        ("- path: /a\n  value: 1\n", 1, "the patch lacks `op`"),
        ("- op: add\n  path: /a\n  valeu: 1\n", 3, "the patch lacks `value`"),
        ("- op: add\n  path: a.b\n  value: 1\n", 2, "the path `a.b` does not begin with `/`"),
    ],
)
def test_a_patch_that_is_none_is_found_without_copilot(
    workspace: Path, patch: str, line: int, what: str
) -> None:
    file = workspace / OF_WEB
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("# The patches.\n")
    begin = append(file, patch)
    (one,) = overrides.forms(project.read(load(workspace, {}), TODAY))
    assert (one.path, one.line) == (OF_WEB.as_posix(), begin + line - 1)
    assert one.what.startswith(what)
