from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check.values import overrides, types, unread
from tests.check.projects import with_manifest
from tests.check.test_keys import DOCUMENTED, ENVIRONMENT

WEB = "name: web\ntype: Load Balanced Web Service\n"


def found(workspace: Path, text: str) -> list[tuple[int, str, str]]:
    return [(one.line, one.what.split("`")[1], one.instead) for one in unread(with_manifest(workspace, text))]


@pytest.mark.parametrize("kind", DOCUMENTED)
def test_what_copilot_documents_is_read(workspace: Path, kind: str) -> None:
    assert not found(workspace, f"name: web\ntype: {kind}\n{DOCUMENTED[kind]}")


def test_what_copilot_documents_of_an_environment_is_read(workspace: Path) -> None:
    (workspace / "copilot/environments/test/manifest.yml").write_text(ENVIRONMENT)
    assert not found(workspace, WEB)


@pytest.mark.parametrize(
    ("wrong", "name", "instead"),
    [
        (
            "http: {allowed_source_ips: 10.0.0.0/8}",
            "http.allowed_source_ips",
            "write a list: `[10.0.0.0/8]`",
        ),
        ("http: {additional_rules: {path: /x}}", "http.additional_rules", "write a list"),
        ("http: {deregistration_delay: 60}", "http.deregistration_delay", "write its unit: `60s`"),
        ("http: {deregistration_delay: 0}", "http.deregistration_delay", "write its unit: `0s`"),
        (
            "http: {deregistration_delay: 1 m}",
            "http.deregistration_delay",
            "write a duration, such as `90s` or `1m30s`",
        ),
        (
            "count: {cooldown: {in: 1:30}}",
            "count.cooldown.in",
            "write a duration, such as `90s` or `1m30s`",
        ),
        ("http: {stickiness: 'true'}", "http.stickiness", "write true or false, without quotes"),
        ("http: {stickiness: 1}", "http.stickiness", "write true or false, without quotes"),
        ("http: {target_port: '80'}", "http.target_port", "write a number, without quotes"),
        ("cpu: 0.5", "cpu", "write a whole number"),
        ("cpu: [256]", "cpu", "write a number, without quotes"),
        ("http: {path: [/]}", "http.path", "write one text there"),
    ],
)
def test_a_value_that_copilot_drops_or_refuses_is_told(
    workspace: Path, wrong: str, name: str, instead: str
) -> None:
    assert found(workspace, f"{WEB}{wrong}\n") == [(3, name, instead)]


@pytest.mark.parametrize(
    "right",
    [
        "http: {allowed_source_ips: [10.0.0.0/8]}",
        """http: {allowed_source_ips: '["10.0.0.0/8"]'}""",
        "http: {allowed_source_ips: '${OFFICE}', target_port: '${PORT}', stickiness: ${STICKY}}",
        "http: {allowed_source_ips: null, deregistration_delay: }",
        "http: {stickiness: on, redirect_to_https: 'no'}",
        "storage: {readonly_fs: y}",
        "nlb: {port: '443/tcp', deregistration_delay: '0'}",
        "http: {deregistration_delay: 1m30s, healthcheck: /x}",
        "cpu: 0x100",
        "memory: 512.0",
        "count: 2",
        "exec: true",
    ],
)
def test_a_value_in_any_form_that_copilot_reads_is_none(workspace: Path, right: str) -> None:
    assert not found(workspace, f"{WEB}{right}\n")


def test_a_type_that_copilot_does_not_have_is_told_with_the_nearest(workspace: Path) -> None:
    project = with_manifest(workspace, "name: web\ntype: Load Balanced Web Servic\n")
    (told,) = types(project)
    assert (told.line, told.rule, told.instead) == (2, "type", "write `type: Load Balanced Web Service`")


def test_an_override_without_its_value_is_told(workspace: Path) -> None:
    text = f"{WEB}taskdef_overrides:\n  - path: Cpu\n    value: 256\n  - path: Memory\n"
    text += "  - path: Tags\n    value: null\n"
    assert [one.line for one in overrides(with_manifest(workspace, text))] == [6]
