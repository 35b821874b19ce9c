# ruff: noqa: E501 - a manifest a line reads as a table
from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check import foreign
from copilot_testenv.core.settings import Settings
from copilot_testenv.rendering import Renderer
from tests.check.projects import with_manifest
from tests.check.rendered import marked, places, rendered

WEB = "name: web\ntype: Load Balanced Web Service\n"
TOP = "http: {path: /}\nimage: {build: Dockerfile, port: 8000}\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("http: {path: /, alias: www.example.com}\nenvironments: {test: {}, production: {}}\n", [3]),
        ("http:\n  path: /\n  alias: a.example.com\nenvironments: {test: {cpu: 256}}\n", [5]),
        ("environments:\n  test:\n    http: {alias: w.example.com}\n  production:\n    http: {alias: w.example.com}\n", [5]),
        ("environments:\n  test:\n    http: {alias: w.example.com}\n  stage:\n    http: {alias: '*.example.com'}\n", [5]),
        ("environments:\n  test:\n    http: {alias: t.example.com}\n  production:\n    http: {alias: w.example.com}\n", []),
        ("http: {path: /}\nenvironments: {test: {}, production: {http: {alias: w.example.com}}}\n", []),
        ("http: {path: /, alias: www.example.com}\nenvironments: {production: {}}\n", []),
    ],
)  # fmt: skip
def test_test_has_no_host_name_of_others(workspace: Path, text: str, lines: list[int]) -> None:
    found = list(foreign.host_names(with_manifest(workspace, WEB + text)))
    assert [(one.rule, one.severity, one.line) for one in found] == [
        ("alias", "error", line) for line in lines
    ]


def test_what_another_environment_exports_is_told_with_its_line(
    renderer: Renderer, settings: Settings
) -> None:
    manifest = f"""{TOP}
sidecars:
  worker:
    image: {{build: Dockerfile}}
    secrets:
      KEY: {{from_cfn: demo-stage-Key}}  # HERE
environments:
  test:
    variables:
      URL:  # HERE
        from_cfn: ${{COPILOT_APPLICATION_NAME}}-production-DatabaseURL
      OWN:
        from_cfn: ${{COPILOT_APPLICATION_NAME}}-${{COPILOT_ENVIRONMENT_NAME}}-DatabaseURL
      OF_ALL: {{from_cfn: company-SharedBucket}}
  production:
    variables:
      URL: {{from_cfn: demo-stage-DatabaseURL}}
"""
    project = rendered(renderer, settings, manifest, environments=("test", "production"))
    found = list(foreign.exports(project))
    assert sorted(places(found)) == marked(project.root)
    assert all(
        "from_cfn: ${COPILOT_APPLICATION_NAME}-${COPILOT_ENVIRONMENT_NAME}-" in one.instead for one in found
    )
