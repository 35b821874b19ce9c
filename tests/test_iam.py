"""The policies of docs/iam: filled in as docs/iam.md says, lawful, and explained there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.ci_role import FOLDER, PLACEHOLDER, filled

DOCUMENT = FOLDER.with_suffix(".md").read_text()
EXAMPLE = {
    "ACCOUNT": "123456789012",
    "REGION": "eu-west-1",
    "APP": "demo",
    "ENV": "test",
    "SERVICE": "web",
    "BUCKET": "stackset-demo-infrastruc-pipelinebuiltartifactbuc-1ab2cd3ef4gh",
    "KMSKEY": "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555",
}


def run_as_written(name: str, folder: Path) -> Any:
    """What the document's own line makes of a file."""
    (line,) = re.findall(rf"^ *\$ (sed .* docs/iam/{re.escape(name)}) > \S+$", DOCUMENT, re.MULTILINE)
    (folder / "docs").mkdir()
    (folder / "docs/iam").symlink_to(FOLDER)
    done = subprocess.run(["sh", "-c", line], cwd=folder, check=True, capture_output=True, text=True)
    assert not PLACEHOLDER.search(done.stdout)
    return json.loads(done.stdout)


def test_the_documents_line_fills_in_the_policy(tmp_path: Path) -> None:
    assert run_as_written("ci-role.json", tmp_path) == filled(EXAMPLE)


def test_the_documents_line_fills_in_the_policy_of_office_hours(tmp_path: Path) -> None:
    policy = run_as_written("ci-office-hours.json", tmp_path)
    assert policy == filled(EXAMPLE, "ci-office-hours.json")
    for statement in policy["Statement"]:
        assert f"`{statement['Sid']}`" in DOCUMENT
        assert statement["Resource"] != "*" or statement["Action"].split(":")[1].startswith("Describe")


def test_the_documents_line_fills_in_a_trust_that_names_one_repository(tmp_path: Path) -> None:
    (statement,) = run_as_written("trust-github.json", tmp_path)["Statement"]
    provider = "token.actions.githubusercontent.com"
    assert statement["Principal"] == {"Federated": f"arn:aws:iam::123456789012:oidc-provider/{provider}"}
    subjects = statement["Condition"]["StringEquals"][f"{provider}:sub"]
    assert subjects == ["repo:octo-org/shop:ref:refs/heads/main", "repo:octo-org/shop:pull_request"]


def test_the_documents_line_lets_the_page_be_written_and_nothing_else(tmp_path: Path) -> None:
    write, see = run_as_written("ci-page.json", tmp_path)["Statement"]
    assert write["Resource"] == "arn:aws:s3:::acme-status/index.html"
    assert write["Action"] == ["s3:GetObject", "s3:PutObject"]
    assert (see["Action"], see["Resource"]) == ("s3:ListBucket", "arn:aws:s3:::acme-status")


@pytest.mark.parametrize("name", ["github", "gitlab", "bitbucket"])
def test_a_trust_asks_for_the_audience_and_a_subject_of_one_repository(name: str) -> None:
    (statement,) = json.loads((FOLDER / f"trust-{name}.json").read_text())["Statement"]
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    issuer = statement["Principal"]["Federated"].split(":oidc-provider/")[1]
    asked = {key: value for keys in statement["Condition"].values() for key, value in keys.items()}
    assert set(asked) == {f"{issuer}:aud", f"{issuer}:sub"}
    assert "*" not in asked[f"{issuer}:aud"]
    subjects = asked[f"{issuer}:sub"]
    for subject in [subjects] if isinstance(subjects, str) else subjects:
        assert re.match(r"(repo:|project_path:)?REPOSITORY:", subject)


def test_every_placeholder_and_every_statement_is_explained() -> None:
    policy = (FOLDER / "ci-role.json").read_text()
    used = {name for file in FOLDER.iterdir() for name in PLACEHOLDER.findall(file.read_text())}
    assert set(PLACEHOLDER.findall(policy)) == set(EXAMPLE)
    statements = {statement["Sid"] for statement in json.loads(policy)["Statement"]}
    told = set(re.findall(r"`(\w+)`", DOCUMENT))
    assert used | statements <= told


def test_the_policy_is_short_enough_for_iam_and_what_it_allows_everywhere_only_reads() -> None:
    longest = filled(EXAMPLE | {"APP": "a" * 20, "ENV": "b" * 12, "SERVICE": "c" * 12})
    # Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    assert len(re.sub(r"\s", "", json.dumps(filled(EXAMPLE)))) <= 6_144
    assert len(re.sub(r"\s", "", json.dumps(longest))) <= 10_240  # a role's own
    for statement in longest["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if statement["Effect"] == "Allow":
            assert not any("*" in action for action in actions)
            if statement["Resource"] == "*" and "Condition" not in statement:
                assert all(re.match("[a-z]+:(Get|List|Describe)", action) for action in actions)
