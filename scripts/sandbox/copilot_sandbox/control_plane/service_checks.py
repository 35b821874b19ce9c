"""Refuse calls that AWS refuses at once and moto accepts, and use AWS's words where moto has others.

Sources: localstack/localstack, tests/aws/services/*/*.snapshot.json, recorded from AWS, and AWS's API
references; tests/recorded/facts has each answer with its source.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from moto.core.request import Request
from moto.elbv2.models import elbv2_backends
from moto.iam.models import iam_backends
from moto.logs.models import logs_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.ssm.models import ssm_backends

from .constraints import require_constraints
from .failures import CallFailed, Failure
from .resources import ACCOUNT, REGION
from .storage_checks import check_storage
from .trust import trust_problem

_LATE = 3600.0  # seconds after which the time of a log stream's last line is known
_Parameters = Mapping[str, Any]
_Check = Callable[[_Parameters], None]


def require_valid(service: str, request: Request) -> None:
    """Raise CallFailed where AWS refuses a request that moto accepts. `service` is moto's name."""
    if service == "s3":
        check_storage(request)
        return
    name, given = _operation(request)
    if not name:
        return
    require_constraints(service, name, given)
    if check := _CHECKS.get((service, name)) or _CHECKS.get((service, "*")):
        check(given)


def _operation(request: Request) -> tuple[str, _Parameters]:
    """Return the operation's name and its top-level parameters: of a JSON target, or of a query."""
    if target := request.headers.get("X-Amz-Target"):
        try:
            body = json.loads(request.get_data() or b"{}")
        except ValueError:
            body = {}
        return target.rsplit(".", 1)[-1], body if isinstance(body, dict) else {}
    if "x-www-form-urlencoded" in request.headers.get("Content-Type", ""):
        form = dict(request.form.items())
        return form.pop("Action", ""), form
    return "", {}


def corrected(service: str, request: Request, status: int, body: bytes) -> tuple[int, bytes]:
    """Return the status and the body of an answer as AWS has them: a JSON service refuses with 400 alone.

    Source: https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html, and the services' API references.
    """
    if service == "logs" and request.headers.get("X-Amz-Target", "").endswith(".DescribeLogStreams"):
        body = _without_late_times(body)
    if not 400 <= status < 500:  # noqa: PLR2004 - the client's errors
        return status, body
    if request.headers.get("X-Amz-Target"):
        status = 400
    for pattern, words in _WORDS.get(service, ()):
        body = pattern.sub(words, body)
    return status, body


def _without_late_times(body: bytes) -> bytes:
    """Return the description of log streams without the times of lines that AWS does not know yet.

    Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_LogStream.html
    """
    answer = json.loads(body)
    known = (time.time() - _LATE) * 1000
    for stream in answer.get("logStreams", ()):
        if (stream.get("lastEventTimestamp") or 0) > known:
            del stream["lastEventTimestamp"]
    return json.dumps(answer).encode()


def _words(pattern: str, words: str) -> tuple[re.Pattern[bytes], bytes]:
    return re.compile(pattern.encode()), words.encode()


_WORDS: Mapping[str, tuple[tuple[re.Pattern[bytes], bytes], ...]] = {
    "elb": (_words(r"The specified listener does not exist\.", "One or more listeners not found"),),
    "iam": (
        _words(r"Role ([\w+=,.@-]+) not found", r"The role with name \1 cannot be found."),
        _words(r"(Policy [^ <]+) not found", r"\1 was not found."),
    ),
    "ssm": (_words(r'("__type": "ParameterNotFound", "message": )"[^"]*"', r'\1""'),),
}


def _refuse(code: str, message: str, status: int = 400) -> CallFailed:
    return CallFailed(Failure(status, code, message))


# Secrets Manager

_SECRET_NAME = re.compile(r"[\w/+=.@!-]+", re.ASCII)


def _check_secret(given: _Parameters) -> None:
    name = str(given.get("Name") or given.get("SecretId") or "")
    if name and not name.startswith("arn:") and not _SECRET_NAME.fullmatch(name):
        raise _refuse(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following:"
            " -/_+=.@!",
        )


def _secret(given: _Parameters) -> Any:
    """Return a secret; None for one that moto will say is missing."""
    _check_secret(given)
    secrets = secretsmanager_backends[ACCOUNT][REGION].secrets
    name = str(given.get("Name") or given.get("SecretId"))
    return secrets[name] if name in secrets else None  # noqa: SIM401 - its `get` knows no ARN


def _check_new_secret(given: _Parameters) -> None:
    secret = _secret(given)
    if secret and secret.is_deleted():
        raise _refuse(
            "InvalidRequestException",
            "You can't create this secret because a secret with this name is already scheduled for deletion.",
        )


def _check_change(given: _Parameters) -> None:
    secret = _secret(given)
    if secret and secret.is_deleted():
        raise _refuse(
            "InvalidRequestException",
            "You can't perform this operation on the secret because it was marked for deletion.",
        )


def _check_versions(given: _Parameters) -> None:
    if _secret(given) is None:
        raise _refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")


def _check_rotation(given: _Parameters) -> None:
    secret = _secret(given)
    if secret and not given.get("RotationLambdaARN") and not getattr(secret, "rotation_lambda_arn", ""):
        raise _refuse(
            "InvalidRequestException", "No Lambda rotation function ARN is associated with this secret."
        )


def _check_stage(given: _Parameters) -> None:
    secret, stage = _secret(given), given.get("VersionStage")
    if not secret or secret.is_deleted() or not stage or given.get("VersionId"):
        return
    stages = {each for version in (secret.versions or {}).values() for each in version["version_stages"]}
    if stage not in stages:
        raise _refuse(
            "ResourceNotFoundException",
            f"Secrets Manager can't find the specified secret value for staging label: {stage}",
        )


# KMS

_KEY_ID = re.compile(r"arn:.*|alias/.*|mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _check_key(given: _Parameters) -> None:
    if (key := str(given.get("KeyId") or "")) and not _KEY_ID.fullmatch(key):
        raise _refuse("NotFoundException", f"Invalid keyId '{key}'")


def _check_alias(given: _Parameters) -> None:
    if not str(given.get("AliasName")).startswith("alias/"):
        raise _refuse(
            "ValidationException",
            'Alias must start with the prefix "alias/". Please see'
            " https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html",
        )


def _check_key_tags(given: _Parameters) -> None:
    _check_key(given)
    keys = [str(tag.get("TagKey")) for tag in given.get("Tags") or ()]
    if any(key.lower().startswith("aws:") for key in keys):
        raise _refuse("TagException", "Tags beginning with aws: are reserved")
    if len(set(keys)) < len(keys):
        raise _refuse("TagException", "Duplicate tag keys")


# Logs


def _check_groups(given: _Parameters) -> None:
    if given.get("logGroupNamePrefix") and given.get("logGroupNamePattern"):
        raise _refuse(
            "InvalidParameterException",
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        )


def _check_stream(given: _Parameters) -> None:
    group = logs_backends[ACCOUNT][REGION].groups.get(str(given.get("logGroupName")))
    if group and given.get("logStreamName") not in group.streams:
        raise _refuse("ResourceNotFoundException", "The specified log stream does not exist.")


def _check_new_stream(given: _Parameters) -> None:
    group = logs_backends[ACCOUNT][REGION].groups.get(str(given.get("logGroupName")))
    if group and given.get("logStreamName") in group.streams:
        raise _refuse("ResourceAlreadyExistsException", "The specified log stream already exists")


def _check_order(given: _Parameters) -> None:
    _check_stream(given)
    times = [event.get("timestamp", 0) for event in given.get("logEvents") or ()]
    if times != sorted(times):
        raise _refuse(
            "InvalidParameterException",
            "Log events in a single PutLogEvents request must be in chronological order.",
        )


def _token_check(pattern: str, before: _Check = lambda _: None) -> _Check:
    """Return a check that the nextToken has the form of moto's, made after the check `before`."""
    form = re.compile(pattern)

    def check(given: _Parameters) -> None:
        before(given)
        if (token := given.get("nextToken")) and not form.fullmatch(str(token)):
            raise _refuse("InvalidParameterException", "The specified nextToken is invalid.")

    return check


# ELB


def _check_balancers(given: _Parameters) -> None:
    names = [value for key, value in given.items() if key.startswith("Names.member.")]
    known = {balancer.name for balancer in elbv2_backends[ACCOUNT][REGION].load_balancers.values()}
    if missing := [name for name in names if name not in known]:
        raise _refuse("LoadBalancerNotFound", f"Load balancers '[{', '.join(missing)}]' not found")


def _check_listeners(given: _Parameters) -> None:
    arns = [value for key, value in given.items() if key.startswith("ListenerArns.member.")]
    balancers = elbv2_backends[ACCOUNT][REGION].load_balancers.values()
    if set(arns) - {arn for balancer in balancers for arn in balancer.listeners}:
        raise _refuse("ListenerNotFound", "One or more listeners not found")


# IAM and STS


def _check_trust(given: _Parameters) -> None:
    if problem := trust_problem(str(given.get("AssumeRolePolicyDocument") or given.get("PolicyDocument"))):
        raise _refuse("MalformedPolicyDocument", problem)


def _check_policy(given: _Parameters) -> None:
    try:
        json.loads(str(given.get("PolicyDocument")))
    except ValueError:
        raise _refuse("MalformedPolicyDocument", "This policy contains invalid Json") from None


def _check_attached(given: _Parameters) -> None:
    if not str(given.get("PolicyArn")).startswith("arn:"):
        raise _refuse("ValidationError", "Invalid ARN:  Could not be parsed!")


def _check_role_arn(given: _Parameters) -> None:
    arn = str(given.get("RoleArn"))
    parts = arn.split(":", 5)
    if len(parts) < 6 or parts[0] != "arn" or not all((parts[1], parts[2], parts[5])):  # noqa: PLR2004
        raise _refuse("ValidationError", f"{arn} is invalid")
    if parts[2] == "iam" and arn.rpartition("/")[2] not in {
        role.name for role in iam_backends[parts[4]]["global"].roles.values()
    }:
        # Source: https://repost.aws/knowledge-center/iam-assume-role-error; `caller` stays unnamed here.
        raise _refuse(
            "AccessDenied", f"User is not authorized to perform: sts:AssumeRole on resource: {arn}", 403
        )


# SSM


def _check_parameter(given: _Parameters) -> None:
    if ssm_backends[ACCOUNT][REGION].get_parameter(str(given.get("Name"))) is None:
        raise _refuse("ParameterNotFound", "")


_CHECKS: Mapping[tuple[str, str], _Check] = {
    ("elb", "DescribeListeners"): _check_listeners,
    ("elb", "DescribeLoadBalancers"): _check_balancers,
    ("iam", "AttachRolePolicy"): _check_attached,
    ("iam", "AttachUserPolicy"): _check_attached,
    ("iam", "CreatePolicy"): _check_policy,
    ("iam", "CreateRole"): _check_trust,
    ("iam", "PutRolePolicy"): _check_policy,
    ("iam", "UpdateAssumeRolePolicy"): _check_trust,
    ("kms", "CreateAlias"): _check_alias,
    ("kms", "CreateKey"): _check_key_tags,
    ("kms", "TagResource"): _check_key_tags,
    ("kms", "*"): _check_key,
    ("logs", "CreateLogStream"): _check_new_stream,
    ("logs", "DescribeLogGroups"): _check_groups,
    ("logs", "FilterLogEvents"): _token_check("[^@]+@[^@]+@[^@]+"),
    ("logs", "GetLogEvents"): _token_check("[bf]/[0-9]+", _check_stream),
    ("logs", "PutLogEvents"): _check_order,
    ("secretsmanager", "CreateSecret"): _check_new_secret,
    ("secretsmanager", "GetSecretValue"): _check_stage,
    ("secretsmanager", "ListSecretVersionIds"): _check_versions,
    ("secretsmanager", "RotateSecret"): _check_rotation,
    ("secretsmanager", "TagResource"): _check_change,
    ("secretsmanager", "UntagResource"): _check_change,
    ("secretsmanager", "*"): _check_secret,
    ("ssm", "DeleteParameter"): _check_parameter,
    ("sts", "AssumeRole"): _check_role_arn,
}
