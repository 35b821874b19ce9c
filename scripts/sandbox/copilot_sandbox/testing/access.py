"""Access control of the embedded AWS. For most keys it is off until a file of the sandbox turns it on.

The keys of programs in tasks (`control_plane.applications`) are always under it.

That file, `iam.json`, is `{"enforce": true, "principal": {"arn": …, "policies": [documents]}}`. From then on
the sandbox's own key belongs to that principal, and a key that AssumeRole issued belongs to its role, with
the policies that CloudFormation gave it, and those of a queue that name the role. Not evaluated are other
resources' own policies, roles' trust, permissions boundaries and session policies. The actions of
CloudFormation for a stack are not checked.
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

from copilot_sandbox.control_plane.applications import USER_ARN, USER_POLICIES, Applications
from copilot_sandbox.control_plane.failures import CallFailed, Failure
from copilot_sandbox.control_plane.messages import queue_named
from copilot_sandbox.control_plane.resources import ACCOUNT, REGION
from copilot_sandbox.testing.permissions import Call, pass_role, read_call, required_permissions
from copilot_sandbox.testing.policies import Decision, Permission, decide

_OWN_ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/ci/sandbox"

_GIVES_KEYS = frozenset(
    ("sts", operation)
    for operation in (
        *("AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "AssumeRoot"),
        *("GetFederationToken", "GetSessionToken"),
    )
)


@dataclass(frozen=True)
class Principal:
    """The user or role of a request, with its policies."""

    arn: str
    policies: tuple[Mapping[str, Any], ...]
    role: str = ""  # the ARN of an assumed role


def _denied(call: Call, code: str, message: str) -> CallFailed:
    """Return AWS's refusal, with the code and status of the request's protocol."""
    if call.protocol in {"json", "rest"}:
        code += "Exception"
    elif call.protocol == "ec2" and code == "AccessDenied":
        code = "UnauthorizedOperation"
    return CallFailed(Failure(400 if call.protocol == "json" else 403, code, message))


class Access:
    """Decides whether a request is allowed. The caller holds the control plane's lock."""

    def __init__(
        self,
        switch: Path,
        own_key: str,
        tagged: Callable[[], Iterator[TaggedResource]],
        applications: Applications,
    ) -> None:
        """`own_key` is the id of the sandbox's key.

        `tagged` returns the resources whose tags a policy's condition may use. The keys of `applications`
        are checked even if access control is off.
        """
        self._applications = applications
        self._switch = switch
        self._own_key = own_key
        self._tagged = tagged
        self._read: tuple[str, Principal | None] = ("", None)

    def check(self, request: Request) -> None:
        """Raise CallFailed if access control is on and does not allow the request."""
        own = self._own_principal()
        call = read_call(request)
        if own is None and not self._applications.is_ours(call.key):
            return
        if self._applications.is_ours(call.key) and (call.service, call.operation) in _GIVES_KEYS:
            # Copilot lets a task assume its environment's roles. Here their keys would be under no control.
            raise _denied(call, "AccessDenied", "In the sandbox, a program in a task assumes no role.")
        principal = own if call.key == self._own_key else self._principal(call.key)
        if principal is None:
            raise _denied(
                call, "InvalidClientTokenId", "The security token included in the request is invalid."
            )
        for need in [*required_permissions(call), *_implied_permissions(call)]:
            tagged = Permission(need.action, need.resource, {**self._tags(need), **need.context})
            decision = decide((*principal.policies, *_of_queue(principal, need)), tagged)
            if decision is not Decision.ALLOWED:
                raise _denied(call, "AccessDenied", _denial(principal, need, decision))

    def _principal(self, key: str) -> Principal | None:
        if key == self._applications.user.id:
            return Principal(USER_ARN, USER_POLICIES)
        return _assumed_role(key)

    def _own_principal(self) -> Principal | None:
        """Return the principal of the sandbox's own key; None if access control is off."""
        try:
            text = self._switch.read_text()
        except FileNotFoundError:
            return None
        if text != self._read[0]:
            document = json.loads(text)
            who = document["principal"]
            own = Principal(who.get("arn", _OWN_ARN), tuple(who["policies"])) if document["enforce"] else None
            self._read = text, own
        return self._read[1]

    def _tags(self, need: Permission) -> dict[str, str]:
        """Return the condition keys from the resource's tags."""
        if need.resource.startswith("arn:aws:iam:"):
            role = _role(need.resource.rsplit("/", 1)[-1])
            tags = {tag["Key"]: tag["Value"] for tag in (role.tags if role else None) or []}
            keys: tuple[str, ...] = ("iam:resourcetag", "aws:resourcetag")
        else:
            tags = next((each.tags for each in self._tagged() if each.arn == need.resource), {})
            keys = ("aws:resourcetag",)
        return {f"{key}/{tag.lower()}": value for key in keys for tag, value in tags.items()}


def _denial(principal: Principal, need: Permission, decision: Decision) -> str:
    """Return AWS's message for the denial.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """
    reason = (
        "with an explicit deny in an identity-based policy"
        if decision is Decision.DENIED
        else f"because no identity-based policy allows the {need.action} action"
    )
    request = f"to perform: {need.action} on resource: {need.resource}"
    return f"User: {principal.arn} is not authorized {request} {reason}"


def _assumed_role(key: str) -> Principal | None:
    """Return the principal of a key that AssumeRole issued; None if there is none."""
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
    policies = tuple(_document(policy) for policy in [*role.policies.values(), *managed])
    return Principal(session.arn, policies, role.arn)


def _of_queue(principal: Principal, need: Permission) -> Iterator[Mapping[str, Any]]:
    """Yield the statements of a queue's own policy that name the principal, as a policy of it.

    In one account it is enough that one of the two allows.
    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
    """
    queue = (
        queue_named(need.resource.rsplit(":", 1)[-1]) if need.resource.startswith("arn:aws:sqs:") else None
    )
    policy = json.loads((queue and queue.policy) or "{}")
    statements = policy.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        named = statement.get("Principal")
        names = named.get("AWS", []) if isinstance(named, dict) else named
        if {"*", principal.arn, principal.role} & set(names if isinstance(names, list) else [names]):
            yield {"Statement": [statement]}


def _document(policy: Any) -> Mapping[str, Any]:
    """Return a policy as a mapping. CloudFormation's already is one; IAM's API stores text."""
    if isinstance(policy, str):
        policy = json.loads(unquote(policy) if policy.startswith("%") else policy)
    document: Mapping[str, Any] = policy
    return document


def _role(name: str) -> Any:
    roles = iam_backends[ACCOUNT]["aws"].roles.values()
    return next((role for role in roles if role.name == name), None)


def _implied_permissions(call: Call) -> Iterable[Permission]:
    """Return the permissions that a service requires besides the call's own action."""
    if call.service == "ecs" and call.operation == "RunTask":
        try:
            definition = ecs_backends[ACCOUNT][REGION].describe_task_definition(
                call.parameters["taskDefinition"]
            )
        except TaskDefinitionNotFoundException:  # ECS itself reports the error
            return []
        given = ("task_role_arn", "execution_role_arn")  # moto's has one only if it was given
        roles = {str(getattr(definition, name, None) or "") for name in given} - {""}
        return [pass_role(role, "ecs-tasks.amazonaws.com") for role in sorted(roles)]
    if call.service == "s3" and call.operation in {"GetObject", "PutObject"}:
        return _object_permissions(call)
    return []


def _object_permissions(call: Call) -> Iterable[Permission]:
    """Yield the permissions for the bucket's key, or for listing, without which S3 hides missing objects.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    bucket = s3_backends[ACCOUNT]["aws"].buckets.get(call.parameters["Bucket"])
    if bucket is None:
        return
    reads = call.operation == "GetObject"
    if reads and call.parameters["Key"] not in bucket.keys:
        yield Permission("s3:ListBucket", bucket.arn)
        return
    rule = (bucket.encryption or {}).get("Rule", {})
    if key := rule.get("ApplyServerSideEncryptionByDefault", {}).get("KMSMasterKeyID"):
        through = {"kms:viaservice": f"s3.{REGION}.amazonaws.com"}
        yield Permission("kms:Decrypt" if reads else "kms:GenerateDataKey", key, through)
