"""The IAM permissions that a request requires: actions and resources. It changes and looks up nothing.

The resources are correct for the calls of Copilot 1.34 and of the tasks. For any other operation the resource
is `*`, which only a statement for all resources allows.
Source: https://docs.aws.amazon.com/service-authorization/latest/reference/, one page a service.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from botocore.exceptions import UnknownServiceError
from moto.core.request import Request
from moto.core.routing import get_service_router
from werkzeug.exceptions import NotFound

from copilot_sandbox.control_plane.resources import ACCOUNT, REGION
from copilot_sandbox.control_plane.scheduled_scaling import target_arn
from copilot_sandbox.testing.policies import Permission

# Services whose name in a signature differs from IAM's prefix.
_PREFIXES = {"tagging": "tag", "monitoring": "cloudwatch"}
_SIGNED = re.compile(r"Credential=(?P<key>[^/]+)/[^/]+/[^/]+/(?P<service>[^/]+)/aws4_request")


@dataclass(frozen=True)
class Call:
    """An operation of AWS, and the key that signed it."""

    key: str  # the access key's id; empty if the request is not signed
    service: str  # IAM's prefix
    operation: str
    parameters: Mapping[str, Any]
    protocol: Literal["ec2", "json", "query", "rest", "s3"]


def read_call(request: Request) -> Call:
    """Return the operation, its parameters and its protocol, as the request's headers and body show them."""
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
    return Call(key, service, _by_path(service, request), {}, "rest")


def _by_path(service: str, request: Request) -> str:
    """Return the operation that a request's path names; method and path for an unknown service."""
    try:
        operation, _ = get_service_router(service).match(request)
    except (NotFound, NotImplementedError, UnknownServiceError):
        return f"{request.method} {request.path}"
    return str(operation.name)


def _s3(request: Request) -> tuple[str, dict[str, Any]]:
    """Return S3's action, with its bucket and key. The host or the path contains the bucket."""
    path = unquote(request.raw_path.split("?", 1)[0]).lstrip("/")
    in_host = re.match(r"(.+)\.s3[.-]", request.host)
    bucket, _, key = (in_host[1], "/", path) if in_host else path.partition("/")
    parameters = {"Bucket": bucket, "Key": key, "ACL": request.headers.get("x-amz-acl", "")}
    parameters["Source"] = unquote(request.headers.get("x-amz-copy-source", "")).lstrip("/").split("?", 1)[0]
    if not bucket:
        return "ListAllMyBuckets", parameters
    if key:
        verb = {"HEAD": "Get", "POST": "Put"}.get(request.method, request.method.capitalize())
        part_name = next((part for part in ("acl", "tagging") if part in request.args), "")
        return f"{verb}Object{part_name.capitalize()}", parameters
    if "delete" in request.args:
        # S3 asks for the right for each key. Source: API_DeleteObjects.html in its API reference.
        text = request.get_data().decode("utf-8", "replace")
        keys = [html.unescape(key) for key in re.findall(r"<Key>([^<]*)</Key>", text)]
        return "DeleteObject", parameters | {"Key": "*", "Keys": keys}
    if request.method in {"GET", "HEAD"}:
        actions = {"location": "GetBucketLocation", "versions": "ListBucketVersions"}
        return next((actions[part] for part in request.args if part in actions), "ListBucket"), parameters
    return {"PUT": "CreateBucket", "DELETE": "DeleteBucket"}.get(request.method, "PutBucket"), parameters


def required_permissions(call: Call) -> list[Permission]:
    """Return all permissions that the call requires."""
    resources = _RESOURCES.get(call.service, _any_resource)(call)
    action = f"{call.service}:{call.operation}"
    return [item if isinstance(item, Permission) else Permission(action, item) for item in resources]


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def _any_resource(_: Call) -> Iterable[str | Permission]:
    return ["*"]


def _as_list(value: Any) -> list[str]:
    return [] if value is None else value if isinstance(value, list) else [value]


def pass_role(role: str, service: str) -> Permission:
    """Return the permission to let a service act as the role."""
    return Permission("iam:PassRole", role, {"iam:passedtoservice": service})


def _cloudformation(call: Call) -> Iterable[str | Permission]:
    parameters = call.parameters
    for name in ("RoleARN", "AdministrationRoleARN"):
        if name in parameters:
            yield pass_role(parameters[name], "cloudformation.amazonaws.com")
    if stack := parameters.get("StackName"):
        yield stack if stack.startswith("arn:") else _arn("cloudformation", f"stack/{stack}/*")
    elif stack_set := parameters.get("StackSetName"):
        yield _arn("cloudformation", f"stackset/{stack_set.split(':', 1)[0]}:*")
    else:
        yield "*"
        if call.operation == "DescribeStacks":  # for all stacks
            yield Permission("cloudformation:ListStacks", "*")


def _containers(call: Call) -> Iterable[str | Permission]:
    parameters, action = call.parameters, f"ecs:{call.operation}"
    cluster = str(parameters.get("cluster") or "default").rsplit("/", 1)[-1]
    context = {"ecs:cluster": _arn("ecs", f"cluster/{cluster}")}

    def full(kind: str, name: str) -> str:
        return name if name.startswith("arn:") else _arn("ecs", f"{kind}/{cluster}/{name}")

    resources = {
        "DescribeClusters": lambda: [
            _arn("ecs", f"cluster/{name.rsplit('/', 1)[-1]}") for name in _as_list(parameters.get("clusters"))
        ],
        "DescribeServices": lambda: [full("service", name) for name in _as_list(parameters.get("services"))],
        "DescribeTasks": lambda: [full("task", name) for name in _as_list(parameters.get("tasks"))],
        "ExecuteCommand": lambda: [context["ecs:cluster"], full("task", str(parameters.get("task")))],
        "ListTasks": lambda: [_arn("ecs", f"container-instance/{cluster}/*")],
        "RunTask": lambda: [_definition(str(parameters.get("taskDefinition")))],
        "StopTask": lambda: [full("task", str(parameters.get("task")))],
        "UpdateService": lambda: [full("service", str(parameters.get("service")))],
    }.get(call.operation, lambda: ["*"])()
    return [Permission(action, resource, context) for resource in resources]


def _definition(name: str) -> str:
    if name.startswith("arn:"):
        return name
    return _arn("ecs", f"task-definition/{name if ':' in name else f'{name}:*'}")


def _parameters(call: Call) -> Iterable[str | Permission]:
    parameters = call.parameters
    names = _as_list(parameters.get("Names") or parameters.get("Name") or parameters.get("Path"))
    if not names and parameters.get("ResourceType") == "Parameter":
        names = _as_list(parameters.get("ResourceId"))
    return [
        name if name.startswith("arn:") else _arn("ssm", f"parameter/{name.removeprefix('/')}")
        for name in names
    ] or ["*"]


def _repositories(call: Call) -> Iterable[str | Permission]:
    parameters = call.parameters
    names = _as_list(parameters.get("repositoryName") or parameters.get("repositoryNames"))
    return [_arn("ecr", f"repository/{name}") for name in names] or ["*"]


def _logs(call: Call) -> Iterable[str | Permission]:
    parameters = call.parameters
    if not (group := parameters.get("logGroupName")):
        return ["*"]
    stream = parameters.get("logStreamName")
    return [_arn("logs", f"log-group:{group}:{f'log-stream:{stream}' if stream else '*'}")]


def _objects(call: Call) -> Iterable[str | Permission]:
    parameters = call.parameters
    bucket, key = parameters["Bucket"], parameters["Key"]
    resource = f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}" if bucket else "*"
    yield from [f"arn:aws:s3:::{bucket}/{each}" for each in parameters.get("Keys", ())] or [resource]
    if parameters["Source"]:
        yield Permission("s3:GetObject", f"arn:aws:s3:::{parameters['Source']}")
    if parameters["ACL"]:
        yield Permission("s3:PutObjectAcl", resource)


def _roles(call: Call) -> Iterable[str | Permission]:
    name = call.parameters.get("RoleName")
    return [f"arn:aws:iam::{ACCOUNT}:role/{name}" if name else "*"]


def _sessions(call: Call) -> Iterable[str | Permission]:
    # Everyone may ask for their own identity, whatever the policies contain.
    return [] if call.operation == "GetCallerIdentity" else [call.parameters.get("RoleArn", "*")]


def _keys(call: Call) -> Iterable[str | Permission]:
    key = call.parameters.get("KeyId")
    return ["*" if not key else key if key.startswith("arn:") else _arn("kms", f"key/{key}")]


def _queues(call: Call) -> Iterable[str | Permission]:
    name = str(call.parameters.get("QueueUrl") or call.parameters.get("QueueName") or "").rsplit("/", 1)[-1]
    return [_arn("sqs", name) if name else "*"]


def _topics(call: Call) -> Iterable[str | Permission]:
    return [str(call.parameters.get("TopicArn") or "*")]


def _tables(call: Call) -> Iterable[str | Permission]:
    name = str(call.parameters.get("TableName") or "")
    index = f"/index/{call.parameters['IndexName']}" if call.parameters.get("IndexName") else ""
    return [name if name.startswith("arn:") else _arn("dynamodb", f"table/{name}{index}") if name else "*"]


def _scaling(call: Call) -> Iterable[str | Permission]:
    """Yield the scalable target, with the keys of a condition, and the right to give it tags."""
    parameters = call.parameters
    resource = parameters.get("ResourceId")  # without one, it describes several, or is about an ARN's tags
    arn = target_arn(str(resource)) if resource else str(parameters.get("ResourceARN") or "*")
    tags = parameters.get("Tags") or {}
    context = {f"aws:requesttag/{name.lower()}": str(value) for name, value in tags.items()}
    if dimension := parameters.get("ScalableDimension"):
        context["application-autoscaling:scalable-dimension"] = str(dimension)
    for operation in (call.operation, *(("TagResource",) if tags and resource else ())):
        yield Permission(f"application-autoscaling:{operation}", arn, context)


_RESOURCES: dict[str, Callable[[Call], Iterable[str | Permission]]] = {
    "application-autoscaling": _scaling,
    "cloudformation": _cloudformation,
    "dynamodb": _tables,
    "ecr": _repositories,
    "ecs": _containers,
    "iam": _roles,
    "kms": _keys,
    "logs": _logs,
    "s3": _objects,
    "sns": _topics,
    "sqs": _queues,
    "ssm": _parameters,
    "sts": _sessions,
}
