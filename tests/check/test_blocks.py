from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check.blocks import missing, stray
from copilot_testenv.check.finding import Finding
from tests.check.projects import with_manifest

ALL = "environments:\n  stage: {}\n  production: {}\n"


def told(found: list[Finding]) -> list[tuple[int, str, str]]:
    return [(one.line, one.severity, one.what.partition(" ha")[0]) for one in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: web\n", [(1, "error", "test")]),
        (f"name: web\n{ALL}", [(2, "error", "test")]),
        (f"name: web\n{ALL}  test:\n", [(5, "error", "test")]),
        (f"name: web\n{ALL}  test: {{cpu: 256}}\n", []),
        ("name: web\nenvironments: {test: {}}\n", [(2, "warning", "production and stage")]),
        ("name: web\nenvironments: {test: {}, stage: [], production: {}}\n", [(2, "warning", "stage")]),
        ("name: web\nenvironments: [test]\n", [(2, "error", "test")]),
    ],
)
def test_an_environment_that_silently_gets_the_base_is_told(
    workspace: Path, text: str, expected: list[tuple[int, str, str]]
) -> None:
    assert told(list(missing(with_manifest(workspace, text)))) == expected


def test_another_service_that_overrides_nothing_means_its_base(workspace: Path) -> None:
    (workspace / "copilot/worker").mkdir()
    file = workspace / "copilot/worker/manifest.yml"
    web = f"name: web\n{ALL}  test: {{}}\n"
    file.write_text("name: worker\ntype: Worker Service\n")
    assert not list(missing(with_manifest(workspace, web)))
    file.write_text("name: worker\ntype: Worker Service\nenvironments:\n  production: {}\n  stage: {}\n")
    (one,) = missing(with_manifest(workspace, web))
    assert str(one) == (
        "copilot/worker/manifest.yml:3: missing-block: test has no block under `environments`, so Copilot "
        "deploys the base there: write `test:` with what differs, or `test: {}` where the base is meant"
    )


def test_a_block_that_no_environment_reads_is_an_error_where_it_is_a_slip(workspace: Path) -> None:
    project = with_manifest(workspace, f"name: web\n{ALL}  tset: {{}}\n")
    (one,) = stray(project)
    assert (one.line, one.severity, one.instead) == (5, "error", "write `test`")
    assert not list(missing(project))  # one fault is told once


def test_a_block_of_an_environment_that_went_is_a_warning(workspace: Path) -> None:
    project = with_manifest(workspace, f"name: web\n{ALL}  test: {{}}\n  tests: {{}}\n")
    (one,) = stray(project)
    assert (one.line, one.severity) == (6, "warning")
    assert one.what == "there is no environment tests in copilot/environments, so nothing reads this block"


def test_names_that_are_environments_or_hold_anchors_are_no_strays(workspace: Path) -> None:
    text = f"name: web\n{ALL}  test: {{}}\n  x-common: {{}}\n  1: {{}}\n  null: {{}}\n"
    assert not list(stray(with_manifest(workspace, text)))


def test_a_service_that_is_a_sidecar_in_test_needs_no_block_there(workspace: Path) -> None:
    (workspace / "copilot/worker").mkdir()
    (workspace / "copilot/worker/manifest.yml").write_text(f"name: worker\ntype: Worker Service\n{ALL}")
    web = f"name: web\n{ALL}  test: {{}}\n"
    assert told(list(missing(with_manifest(workspace, web)))) == [(3, "error", "test")]
    (workspace / "copilot-testenv.toml").write_text('services = ["web", "worker"]\n')
    assert told(list(missing(with_manifest(workspace, web)))) == []
