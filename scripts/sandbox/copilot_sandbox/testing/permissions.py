"""What a request asks of IAM: which actions on which resources. It changes nothing and looks nothing up.

The resources are right for what Copilot 1.34 and the tasks call; for any other operation it is `*`, which
only a statement for every resource allows.
Source: https://docs.aws.amazon.com/service-authorization/latest/reference/, one page a service.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from moto.core.request import Request

from copilot_sandbox.control_plane.resources import ACCOUNT, REGION
from copilot_sandbox.testing.policies import Asked

# Signing names that are not IAM's prefixes.
_PREFIXES = {"tagging": "tag", "monitoring": "cloudwatch"}
_SIGNED = re.compile(r"Credential=(?P<key>[^/]+)/[^/]+/[^/]+/(?P<service>[^/]+)/aws4_request")


@dataclass(frozen=True)
class Call:
    """An operation of AWS's, and who asks for it."""

    key: str  # the access key's id; empty where the request is not signed
    service: str  # IAM's prefix
    operation: str
    parameters: Mapping[str, Any]
    protocol: Literal["ec2", "json", "query", "rest", "s3"]


def read_call(request: Request) -> Call:
    signed = _SIGNED.search(request.headers.get("Authorization", ""))
    key, name = (signed["key"], signed["service"]) if signed else ("", request.host.split(".")[0])
    service = _PREFIXES.get(name, name)
    target = request.headers.get("X-Amz-Target", "")
    if target:
        return Call(key, service, target.rsplit(".", 1)[-1], json.loads(request.get_data() or b"{}"), "json")
    if service == "s3":
        return Call(key, service, *_s3(request), "s3")
    form = dict(parse_qsl(request.get_data().decode("utf-8", "replace"))) | dict(request.args)
    if "Action" in form:
        return Call(key, service, form["Action"], form, "ec2" if service == "ec2" else "query")
    return Call(key, service, f"{request.method} {request.path}", {}, "rest")


def _s3(request: Request) -> tuple[str, dict[str, Any]]:
    """S3's action, with its bucket and key: the host or the path names the bucket."""
    path = unquote(request.raw_path.split("?", 1)[0]).lstrip("/")
    in_host = re.match(r"(.+)\.s3[.-]", request.host)
    bucket, _, key = (in_host[1], "/", path) if in_host else path.partition("/")
    found = {"Bucket": bucket, "Key": key, "ACL": request.headers.get("x-amz-acl", "")}
    if not bucket:
        return "ListAllMyBuckets", found
    if key:
        verb = {"HEAD": "Get", "POST": "Put"}.get(request.method, request.method.capitalize())
        about = next((part for part in ("acl", "tagging") if part in request.args), "")
        return f"{verb}Object{about.capitalize()}", found
    if "delete" in request.args:
        return "DeleteObject", found | {"Key": "*"}
    if request.method in {"GET", "HEAD"}:
        named = {"location": "GetBucketLocation", "versions": "ListBucketVersions"}
        return next((named[part] for part in request.args if part in named), "ListBucket"), found
    return {"PUT": "CreateBucket", "DELETE": "DeleteBucket"}.get(request.method, "PutBucket"), found


def needed(call: Call) -> list[Asked]:
    """Return all that must be allowed for the call to be answered."""
    found = _RESOURCES.get(call.service, _any)(call)
    action = f"{call.service}:{call.operation}"
    return [each if isinstance(each, Asked) else Asked(action, each) for each in found]


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def _any(_: Call) -> Iterable[str | Asked]:
    return ["*"]


def _listed(value: Any) -> list[str]:
    return [] if value is None else value if isinstance(value, list) else [value]


def passing(role: str, service: str) -> Asked:
    """Return the call by which a service may act as the role."""
    return Asked("iam:PassRole", role, {"iam:passedtoservice": service})


def _cloudformation(call: Call) -> Iterable[str | Asked]:
    parameters = call.parameters
    for name in ("RoleARN", "AdministrationRoleARN"):
        if name in parameters:
            yield passing(parameters[name], "cloudformation.amazonaws.com")
    if stack := parameters.get("StackName"):
        yield stack if stack.startswith("arn:") else _arn("cloudformation", f"stack/{stack}/*")
    elif stack_set := parameters.get("StackSetName"):
        yield _arn("cloudformation", f"stackset/{stack_set.split(':', 1)[0]}:*")
    else:
        yield "*"
        if call.operation == "DescribeStacks":  # of all stacks
            yield Asked("cloudformation:ListStacks", "*")


def _containers(call: Call) -> Iterable[str | Asked]:
    parameters, action = call.parameters, f"ecs:{call.operation}"
    cluster = str(parameters.get("cluster") or "default").rsplit("/", 1)[-1]
    context = {"ecs:cluster": _arn("ecs", f"cluster/{cluster}")}

    def full(kind: str, name: str) -> str:
        return name if name.startswith("arn:") else _arn("ecs", f"{kind}/{cluster}/{name}")

    resources = {
        "DescribeClusters": lambda: [
            _arn("ecs", f"cluster/{name.rsplit('/', 1)[-1]}") for name in _listed(parameters.get("clusters"))
        ],
        "DescribeServices": lambda: [full("service", name) for name in _listed(parameters.get("services"))],
        "DescribeTasks": lambda: [full("task", name) for name in _listed(parameters.get("tasks"))],
        "ExecuteCommand": lambda: [context["ecs:cluster"], full("task", str(parameters.get("task")))],
        "ListTasks": lambda: [_arn("ecs", f"container-instance/{cluster}/*")],
        "RunTask": lambda: [_definition(str(parameters.get("taskDefinition")))],
        "StopTask": lambda: [full("task", str(parameters.get("task")))],
        "UpdateService": lambda: [full("service", str(parameters.get("service")))],
    }.get(call.operation, lambda: ["*"])()
    return [Asked(action, resource, context) for resource in resources]


def _definition(name: str) -> str:
    if name.startswith("arn:"):
        return name
    return _arn("ecs", f"task-definition/{name if ':' in name else f'{name}:*'}")


def _parameters(call: Call) -> Iterable[str | Asked]:
    parameters = call.parameters
    names = _listed(parameters.get("Names") or parameters.get("Name") or parameters.get("Path"))
    if not names and parameters.get("ResourceType") == "Parameter":
        names = _listed(parameters.get("ResourceId"))
    return [
        name if name.startswith("arn:") else _arn("ssm", f"parameter/{name.removeprefix('/')}")
        for name in names
    ] or ["*"]


def _repositories(call: Call) -> Iterable[str | Asked]:
    parameters = call.parameters
    names = _listed(parameters.get("repositoryName") or parameters.get("repositoryNames"))
    return [_arn("ecr", f"repository/{name}") for name in names] or ["*"]


def _logs(call: Call) -> Iterable[str | Asked]:
    parameters = call.parameters
    if not (group := parameters.get("logGroupName")):
        return ["*"]
    stream = parameters.get("logStreamName")
    return [_arn("logs", f"log-group:{group}:{f'log-stream:{stream}' if stream else '*'}")]


def _objects(call: Call) -> Iterable[str | Asked]:
    parameters = call.parameters
    bucket, key = parameters["Bucket"], parameters["Key"]
    resource = f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}" if bucket else "*"
    yield resource
    if parameters["ACL"]:
        yield Asked("s3:PutObjectAcl", resource)


def _roles(call: Call) -> Iterable[str | Asked]:
    name = call.parameters.get("RoleName")
    return [f"arn:aws:iam::{ACCOUNT}:role/{name}" if name else "*"]


def _sessions(call: Call) -> Iterable[str | Asked]:
    # Who one is may be asked by everybody, whatever the policies say.
    return [] if call.operation == "GetCallerIdentity" else [call.parameters.get("RoleArn", "*")]


def _keys(call: Call) -> Iterable[str | Asked]:
    key = call.parameters.get("KeyId")
    return ["*" if not key else key if key.startswith("arn:") else _arn("kms", f"key/{key}")]


_RESOURCES: dict[str, Callable[[Call], Iterable[str | Asked]]] = {
    "cloudformation": _cloudformation,
    "ecr": _repositories,
    "ecs": _containers,
    "iam": _roles,
    "kms": _keys,
    "logs": _logs,
    "s3": _objects,
    "ssm": _parameters,
    "sts": _sessions,
}
