"""The policies of docs/iam, filled in for an embedded AWS."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.clone import ROOT

FOLDER = ROOT / "docs/iam"
# ACCOUNT, REGION and so on: what docs/iam.md says to put in.
PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b")


def filled(values: dict[str, str], name: str = "ci-role.json") -> dict[str, Any]:
    text = PLACEHOLDER.sub(lambda found: values[found[0]], (FOLDER / name).read_text())
    policy: dict[str, Any] = json.loads(text)
    return policy


def policy(cloudformation: Any, name: str = "ci-role.json") -> dict[str, Any]:
    """For the environment `test` of the application `demo`, by what Copilot has made for it."""
    instances = cloudformation.list_stack_instances(StackSetName="demo-infrastructure")["Summaries"]
    stack = cloudformation.describe_stacks(StackName=instances[0]["StackId"])["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    return filled(
        {
            "ACCOUNT": "123456789012",
            "REGION": "us-east-1",
            "APP": "demo",
            "ENV": "test",
            "SERVICE": "web",
            "BUCKET": outputs["PipelineBucket"],
            "KMSKEY": outputs["KMSKeyARN"],
            "PAGE": "acme-status",
        },
        name,
    )


def switch(*policies: dict[str, Any]) -> str:
    """What the file `iam.json` says in the sandbox's folder, for the sandbox's key to be the CI role's."""
    return json.dumps({"enforce": True, "principal": {"policies": policies}})
