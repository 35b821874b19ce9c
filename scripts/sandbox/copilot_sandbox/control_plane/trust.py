"""The form of a role's trust policy."""

from __future__ import annotations

import json
from typing import Any

from moto.iam.exceptions import MalformedPolicyDocument
from moto.iam.policy_validation import IAMTrustPolicyDocumentValidator

_OLD = "2008-10-17"  # the version of a policy that names none


def trust_problem(document: Any) -> str | None:
    """Return IAM's message for a trust policy, text or parsed, that it refuses; None for one that it takes.

    moto's check knows the newer version alone; IAM takes both.
    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_version.html
    """
    try:
        policy = json.loads(document) if isinstance(document, str) else document
    except ValueError:
        return "This policy contains invalid Json"
    if isinstance(policy, dict) and policy.get("Version", _OLD) == _OLD:
        policy = {**policy, "Version": "2012-10-17"}
    try:
        IAMTrustPolicyDocumentValidator(json.dumps(policy)).validate()
    except MalformedPolicyDocument as error:
        return str(error.message)
    return None
