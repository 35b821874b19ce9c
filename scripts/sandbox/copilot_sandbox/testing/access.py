"""Access control of the embedded AWS: off, until a file in the sandbox's folder turns it on.

`iam.json` there says `{"enforce": true, "principal": {"arn": …, "policies": [documents]}}`. From then on the
sandbox's own key is that principal's, and a key that AssumeRole gave is the role's, with the policies that
CloudFormation gave it. Not looked at: resources' own policies, roles' trust, permissions
boundaries and session policies. What CloudFormation does for a stack is asked of nobody.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from moto.core.request import Request
from moto.core.resource_tagging import TaggedResource
from moto.ecs.exceptions import TaskDefinitionNotFoundException
from moto.ecs.models import ecs_backends
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends
from moto.sts.models import sts_backends

from copilot_sandbox.control_plane.failures import CallFailed, Failure
from copilot_sandbox.control_plane.resources import ACCOUNT, REGION
from copilot_sandbox.testing.permissions import Call, needed, passing, read_call
from copilot_sandbox.testing.policies import Asked, Decision, decide

_OWN_ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/ci/sandbox"


@dataclass(frozen=True)
class Principal:
    """Who asks."""

    arn: str
    policies: tuple[Mapping[str, Any], ...]


def _denied(call: Call, code: str, message: str) -> CallFailed:
    """Return AWS's no, with the code and status of the protocol that was spoken."""
    if call.protocol in {"json", "rest"}:
        code += "Exception"
    elif call.protocol == "ec2" and code == "AccessDenied":
        code = "UnauthorizedOperation"
    return CallFailed(Failure(400 if call.protocol == "json" else 403, code, message))


class Access:
    """Answers whether a request may be made. Its caller holds the control plane's lock."""

    def __init__(self, switch: Path, own_key: str, tagged: Callable[[], Iterator[TaggedResource]]) -> None:
        """`own_key` is the id of the sandbox's key.

        `tagged` gives the resources whose tags a policy's condition may ask for.
        """
        self._switch = switch
        self._own_key = own_key
        self._tagged = tagged
        self._read: tuple[str, Principal | None] = ("", None)

    def check(self, request: Request) -> None:
        """Raise CallFailed where access control is on and does not allow the request."""
        own = self._own()
        if own is None:
            return
        call = read_call(request)
        principal = own if call.key == self._own_key else _assumed(call.key)
        if principal is None:
            raise _denied(
                call, "InvalidClientTokenId", "The security token included in the request is invalid."
            )
        for asked in [*needed(call), *_implied(call)]:
            known = Asked(asked.action, asked.resource, {**self._tags(asked), **asked.context})
            decision = decide(principal.policies, known)
            if decision is not Decision.ALLOWED:
                raise _denied(call, "AccessDenied", _words(principal, asked, decision))

    def _own(self) -> Principal | None:
        """Return whose the sandbox's own key is; None where access control is off."""
        try:
            text = self._switch.read_text()
        except FileNotFoundError:
            return None
        if text != self._read[0]:
            found = json.loads(text)
            who = found["principal"]
            own = Principal(who.get("arn", _OWN_ARN), tuple(who["policies"])) if found["enforce"] else None
            self._read = text, own
        return self._read[1]

    def _tags(self, asked: Asked) -> dict[str, str]:
        """Return the condition keys that a resource's tags make."""
        if asked.resource.startswith("arn:aws:iam:"):
            role = _role(asked.resource.rsplit("/", 1)[-1])
            tags = {tag["Key"]: tag["Value"] for tag in (role.tags if role else None) or []}
            keys: tuple[str, ...] = ("iam:resourcetag", "aws:resourcetag")
        else:
            tags = next((each.tags for each in self._tagged() if each.arn == asked.resource), {})
            keys = ("aws:resourcetag",)
        return {f"{key}/{tag.lower()}": value for key in keys for tag, value in tags.items()}


def _words(principal: Principal, asked: Asked, decision: Decision) -> str:
    """AWS's own.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """
    reason = (
        "with an explicit deny in an identity-based policy"
        if decision is Decision.DENIED
        else f"because no identity-based policy allows the {asked.action} action"
    )
    what = f"to perform: {asked.action} on resource: {asked.resource}"
    return f"User: {principal.arn} is not authorized {what} {reason}"


def _assumed(key: str) -> Principal | None:
    """Return whose a key is that AssumeRole gave."""
    session = sts_backends[ACCOUNT]["aws"].get_assumed_role_from_access_key(key)
    role = _role(session.role_arn.rsplit("/", 1)[-1]) if session else None
    if session is None or role is None:
        return None
    managed = [
        version.document
        for policy in role.managed_policies.values()
        for version in policy.versions
        if version.is_default
    ]
    return Principal(session.arn, tuple(_document(each) for each in [*role.policies.values(), *managed]))


def _document(policy: Any) -> Mapping[str, Any]:
    """CloudFormation's are read already; what came through IAM's API is text."""
    if isinstance(policy, str):
        policy = json.loads(unquote(policy) if policy.startswith("%") else policy)
    document: Mapping[str, Any] = policy
    return document


def _role(name: str) -> Any:
    roles = iam_backends[ACCOUNT]["aws"].roles.values()
    return next((role for role in roles if role.name == name), None)


def _implied(call: Call) -> Iterable[Asked]:
    """Return what a service asks for beside the call's own action."""
    if call.service == "ecs" and call.operation == "RunTask":
        try:
            named = ecs_backends[ACCOUNT][REGION].describe_task_definition(call.parameters["taskDefinition"])
        except TaskDefinitionNotFoundException:  # ECS says so itself
            return []
        roles = {named.task_role_arn, named.execution_role_arn} - {None, ""}
        return [passing(role, "ecs-tasks.amazonaws.com") for role in sorted(roles)]
    if call.service == "s3" and call.operation in {"GetObject", "PutObject"}:
        return _around_an_object(call)
    return []


def _around_an_object(call: Call) -> Iterable[Asked]:
    """The bucket's key; and who may not list a bucket is not told that an object is missing.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    bucket = s3_backends[ACCOUNT]["aws"].buckets.get(call.parameters["Bucket"])
    if bucket is None:
        return
    reads = call.operation == "GetObject"
    if reads and call.parameters["Key"] not in bucket.keys:
        yield Asked("s3:ListBucket", bucket.arn)
        return
    rule = (bucket.encryption or {}).get("Rule", {})
    if key := rule.get("ApplyServerSideEncryptionByDefault", {}).get("KMSMasterKeyID"):
        through = {"kms:viaservice": f"s3.{REGION}.amazonaws.com"}
        yield Asked("kms:Decrypt" if reads else "kms:GenerateDataKey", key, through)
