from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check import keys, policies, relations
from copilot_testenv.check import project as projects
from copilot_testenv.core.settings import load

POLICY = """\
Resources:
  AccessPolicy:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      PolicyDocument:
        Statement:
          - Effect: Allow
            Action: ACTION
            Resource: '*'
"""
WORKER = """\
name: web
type: Worker Service
image: {location: nginx:1.29}
subscribe:
  topics:
    - name: orders
      service: shop
      filter_policy:
        kind: VALUE
"""


@pytest.mark.parametrize(
    ("action", "wrong"),
    [
        ("GetObject", ["GetObject"]),
        ("[s3:GetObject, PutObject]", ["PutObject"]),
        ("s3:*", []),
        ("'*'", []),
        ("!Ref Action", []),
        ("!If [IsTest, s3:GetObject, s3:PutObject]", []),
    ],
)
def test_an_action_of_addons_without_its_service_is_a_finding(
    workspace: Path, action: str, wrong: list[str]
) -> None:
    (workspace / "copilot/web/addons").mkdir()
    (workspace / "copilot/web/addons/a.yml").write_text(POLICY.replace("ACTION", action))
    found = list(policies.actions(projects.read(load(workspace, {}))))
    assert [(one.path, one.line) for one in found] == [("copilot/web/addons/a.yml", 8) for _ in wrong]
    assert all(f"`SERVICE:{name}`" in one.instead for name, one in zip(wrong, found, strict=True))


def test_a_filter_by_one_value_is_a_finding(workspace: Path) -> None:
    def lines(value: str) -> list[int]:
        (workspace / "copilot/web/manifest.yml").write_text(WORKER.replace("VALUE", value))
        return [one.line for one in relations.topics(projects.read(load(workspace, {})))]

    assert lines("new") == [9]
    assert lines("3") == [9]
    assert lines("[new, {prefix: o}]") == []
    assert lines("'${KIND}'") == []


def test_a_repeated_key_of_addons_is_a_finding(workspace: Path) -> None:
    (workspace / "copilot/web/addons").mkdir()
    (workspace / "copilot/web/addons/a.yml").write_text(POLICY + POLICY.partition("\n")[2])
    found = list(keys.repeated(projects.read(load(workspace, {}))))
    assert [(one.path, one.line, one.rule) for one in found] == [
        ("copilot/web/addons/a.yml", 10, "repeated-key")
    ]
