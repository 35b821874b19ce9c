from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check import keys, pipelines
from copilot_testenv.check import project as projects
from copilot_testenv.core.settings import load

PIPELINE = """\
name: main
version: 1
source:
  provider: GitHub
  properties:
    branch: main
    repository: https://github.com/owner/demo
build:
  buildspec: buildspec.yml
stages:
  - name: test
    test_commands: [make test]
    deployments:
      api:
      web:
        depends_on: [api]
  - name: prod
    requires_approval: true
    pre_deployments:
      migrate:
        buildspec: buildspec.yml
"""


def findings(root: Path, text: str) -> list[tuple[int, str]]:
    for name in ("api", "web", "environments/test", "environments/prod", "pipelines/main"):
        (root / "copilot" / name).mkdir(parents=True)
        (root / "copilot" / name / "manifest.yml").write_text(f"name: {Path(name).name}\n")
    (root / "copilot/pipelines/main/manifest.yml").write_text(text)
    (root / "buildspec.yml").write_text("version: 0.2\n")
    project = projects.read(load(root, {}, checking=True))
    rules = (*pipelines.RULES, *keys.RULES)
    return [(one.line, one.instead) for rule in rules for one in rule(project) if "pipelines" in one.path]


def test_a_pipeline_as_documented_has_no_finding(tmp_path: Path) -> None:
    assert findings(tmp_path, PIPELINE) == []


@pytest.mark.parametrize(
    ("before", "after", "line", "instead"),
    [
        ("provider: GitHub", "provider: Github", 4, "write `GitHub`"),
        ("repository:", "repositry:", 7, "write `repository`"),
        ("https://github.com", "https://bitbucket.org", 7, "https://github.com/owner/repository"),
        ("buildspec: buildspec.yml\nst", "buildspec: build.yml\nst", 9, "write the path"),
        ("name: prod", "name: prdo", 17, "write `prod`"),
        ("api:\n", "api: [template]\n", 14, "write keys below it"),
        ("[api]", "[appi]", 16, "write `api`"),
        ("requires_approval", "require_approval", 18, "write `requires_approval`"),
        ("      api:\n", "      apy:\n", 14, "write `api`"),
        ("      api:\n", "      api: {depends_on: [web]}\n", 14, "remove one of their `depends_on`"),
        ("https://github.com/", "git@github.com:", 7, "https://github.com/owner/repository"),
        ("version: 1\n", "", 1, "write `version: 1`"),
    ],
)
def test_what_a_pipeline_deploy_refuses_has_its_line(
    tmp_path: Path, before: str, after: str, line: int, instead: str
) -> None:
    assert before in PIPELINE
    found = findings(tmp_path, PIPELINE.replace(before, after, 1))
    assert any(one[0] == line and instead in one[1] for one in found), found
