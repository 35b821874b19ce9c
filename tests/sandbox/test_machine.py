from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from copilot_sandbox import machine
from copilot_sandbox.images.engine_build import innermost
from copilot_sandbox.workspace import Workspace

LINUX: dict[str, Any] = {
    "engine": "Podman is not installed",
    "no_network": None,
    "unconfined": None,
    "lacks_nginx": False,
}
NO_NAMESPACES = {"no_network": "Operation not permitted", "unconfined": "Operation not permitted"}


@pytest.mark.parametrize(
    ("missing", "beginnings"),
    [
        ({}, ["containers run as processes", "a branch that"]),
        ({"lacks_nginx": True}, ["containers run as processes", "a branch that", "there is no nginx"]),
        (NO_NAMESPACES, ["containers run as processes", "a branch that", "tasks have no network"]),
        (
            {**NO_NAMESPACES, "lacks_nginx": True},  # a relay stands in for it in any case
            ["containers run as processes", "a branch that", "tasks have no network"],
        ),
    ],
)
def test_each_thing_that_a_machine_lacks_is_a_line(missing: dict[str, Any], beginnings: list[str]) -> None:
    lines = list(machine.lacks(**{**LINUX, **missing}))
    assert len(lines) == len(beginnings)
    assert all(line.startswith(begins) for line, begins in zip(lines, beginnings, strict=True)), lines


def test_the_lines_name_the_cause_and_the_cost() -> None:
    lines = list(machine.lacks(**{**LINUX, **NO_NAMESPACES}))
    for line, cause, cost in zip(
        lines,
        ("Podman is not installed", "Operation not permitted", "Operation not permitted"),
        ("CPU and memory are not limited", "with your rights, on your files", "reaches no embedded AWS"),
        strict=True,
    ):
        assert cause in line
        assert cost in line


def test_nginx_is_wanted_where_a_manifest_names_it(tmp_path: Path) -> None:
    file = tmp_path / "copilot/web/manifest.yml"
    file.parent.mkdir(parents=True)
    file.write_text("sidecars:\n  proxy: {image: redis:7}\n")
    assert not Workspace(tmp_path, "demo").names("nginx")
    file.write_text("sidecars:\n  proxy: {image: nginx:1.27}\n")
    assert Workspace(tmp_path, "demo").names("nginx")


def test_of_an_engines_chain_of_errors_the_innermost_is_told() -> None:
    chain = (
        "Error: initializing source docker://x: pinging: dial tcp: lookup r.io on 10.0.0.2:53: no such host"
    )
    assert innermost(chain) == "lookup r.io on 10.0.0.2:53: no such host"
    assert innermost("no space left on device") == "no space left on device"
