from __future__ import annotations

from typing import Any

import pytest

from copilot_sandbox import machine

LINUX: dict[str, Any] = {
    "engine": "Podman is not installed",
    "no_network": None,
    "unconfined": None,
    "has_nginx": True,
}
NO_NAMESPACES = {"no_network": "Operation not permitted", "unconfined": "Operation not permitted"}


@pytest.mark.parametrize(
    ("missing", "beginnings"),
    [
        ({}, ["containers run as processes", "a branch that"]),
        ({"has_nginx": False}, ["containers run as processes", "a branch that", "there is no nginx"]),
        (NO_NAMESPACES, ["containers run as processes", "a branch that", "tasks have no network"]),
        (
            {**NO_NAMESPACES, "has_nginx": False},  # a relay stands in for it in any case
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
