"""The handlers by which CloudFormation creates, updates and deletes a resource of each type."""

from __future__ import annotations

import copy
import json
import secrets
import string
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from moto.cloudformation.exceptions import UnformattedGetAttTemplateException
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.core import TaggedEC2Resource
from moto.iam.models import iam_backends

from .errors import ResourceFailed, handler_failed
from .trust import trust_problem

ACCOUNT: str = DEFAULT_ACCOUNT_ID
REGION = "us-east-1"

# A check that is called without the lock until the resource is stable. Returns (state, reason).
Settling = Callable[[], tuple[str, str]]


def after(seconds: float) -> Settling:
    """Return a check that is complete after so many seconds."""
    end = time.monotonic() + seconds
    return lambda: ("COMPLETED" if time.monotonic() >= end else "IN_PROGRESS", "")


@dataclass(frozen=True)
class ResourceSpec:
    """A resource as the template describes it, with resolved values."""

    stack_id: str
    stack_name: str
    stack_tags: Mapping[str, str]
    logical_id: str
    type: str
    properties: dict[str, Any]

    def name(self, limit: int = 64) -> str:
        """Return a physical name as CloudFormation's: stack, logical id, twelve random characters."""
        suffix = "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(12))
        return f"{self.stack_name}-{self.logical_id}"[: limit - 13].rstrip("-") + f"-{suffix}"

    def tags(self) -> dict[str, str]:
        """Return the stack's tags, overridden by the resource's own, and CloudFormation's three."""
        own = self.properties.get("Tags") or []
        return {
            **self.stack_tags,
            **{str(tag["Key"]): str(tag["Value"]) for tag in own if isinstance(tag, dict)},
            "aws:cloudformation:stack-name": self.stack_name,
            "aws:cloudformation:stack-id": self.stack_id,
            "aws:cloudformation:logical-id": self.logical_id,
        }


@dataclass
class CreatedResource:
    """An existing resource. Only its handler uses `model`."""

    physical_id: str
    attributes: dict[str, Any] = field(default_factory=dict)
    model: Any = None


class Handler:
    """Creates a placeholder with an id and common attributes. The base class of the other handlers."""

    takes_tags = False  # a changed tag of the stack is a change of the resource
    always_replaced = False  # any change creates a new one (for example a task definition's revision)

    def create(self, spec: ResourceSpec) -> CreatedResource:
        physical = spec.name()
        service = spec.type.split("::")[1].lower() if "::" in spec.type else "custom"
        arn = f"arn:aws:{service}:{REGION}:{ACCOUNT}:{spec.type.rsplit('::', 1)[-1].lower()}/{physical}"
        return CreatedResource(physical, {"Arn": arn, "Id": physical, "Name": physical})

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        """Update the resource in place; None requests a replacement."""
        del old, spec
        return created

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        """Delete the resource. Raises ResourceFailed if AWS would refuse."""

    def attribute(self, created: CreatedResource, name: str) -> Any:
        try:
            return created.attributes[name]
        except KeyError:
            raise ResourceFailed(
                f"Requested attribute {name} must be a readonly property in schema"
            ) from None

    def settling(self, created: CreatedResource) -> Settling | None:
        """Return a check that tells whether the created or updated resource is stable; None: it is."""
        del created
        return None

    def draining(self, created: CreatedResource) -> Settling | None:
        """Return a check that tells whether the deleted resource is gone; None: it is."""
        del created
        return None


class EdgeHandler(Handler):
    """The kinds of CloudFront that a template reads attributes of. Nothing is served from an edge here.

    Source: "Return values" of AWS::CloudFront::Distribution and AWS::CloudFront::Function,
    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_CloudFront.html
    """

    def create(self, spec: ResourceSpec) -> CreatedResource:
        created = super().create(spec)
        if spec.type.endswith("::Distribution"):
            identity = created.physical_id[-12:]
            return CreatedResource(
                f"E{identity}",
                {"Id": f"E{identity}", "DomainName": f"d{identity.lower()}.cloudfront.net"},
            )
        name = spec.properties.get("Name") or created.physical_id
        arn = f"arn:aws:cloudfront::{ACCOUNT}:function/{name}"
        return CreatedResource(arn, {"FunctionARN": arn, "FunctionMetadata.FunctionARN": arn})


# The attributes that moto's classes do not tell CloudFormation, and their fields that have them.
_FIELDS = {
    "AWS::EC2::InternetGateway": {"InternetGatewayId": "id"},
    "AWS::EC2::RouteTable": {"RouteTableId": "id"},
    "AWS::EC2::VPCEndpoint": {"Id": "id"},
    "AWS::EFS::AccessPoint": {"AccessPointId": "access_point_id", "Arn": "access_point_arn"},
    "AWS::EFS::FileSystem": {"Arn": "file_system_arn", "FileSystemId": "file_system_id"},
    "AWS::IAM::ManagedPolicy": {"PolicyArn": "arn", "PolicyId": "id"},
    "AWS::SSM::Parameter": {"Type": "parameter_type", "Value": "value"},
    "AWS::StepFunctions::StateMachine": {"Arn": "arn"},
}


class MotoHandler(Handler):
    """Uses moto's own class for the resource.

    An update only stores the new properties: types whose updates have readers get handlers of their own.
    """

    # Types whose moto class reads Tags as a list of {Key, Value}.
    _TAGGED = frozenset({"AWS::ECR::Repository", "AWS::IAM::Role", "AWS::S3::Bucket"})

    def __init__(self, model: type[Any]) -> None:
        self._model = model

    def create(self, spec: ResourceSpec) -> CreatedResource:
        properties = copy.deepcopy(spec.properties)
        if spec.type in self._TAGGED:
            properties["Tags"] = [
                {"Key": key, "Value": value}
                for key, value in spec.tags().items()
                if not key.startswith("aws:")
            ]
        name = self._name(spec)
        if key := self._model.cloudformation_name_type():
            properties.setdefault(key, name)
        model = self._model.create_from_cloudformation_json(
            name,
            {"Type": spec.type, "Properties": properties},
            ACCOUNT,
            REGION,
            LogicalId=spec.logical_id,
            StackId=spec.stack_id,
            ResourceType=spec.type,
        )
        # A few of moto's classes (AWS::EC2::SecurityGroupIngress) have no id.
        identity = getattr(model, "physical_resource_id", None) or getattr(model, "access_point_id", None)
        physical = str(identity or spec.name())
        if isinstance(model, TaggedEC2Resource):
            ec2_backends[ACCOUNT][REGION].create_tags([physical], spec.tags())
        return CreatedResource(physical, model=model)

    def _name(self, spec: ResourceSpec) -> str:
        key = self._model.cloudformation_name_type()
        if key and key in spec.properties:
            return str(spec.properties[key])
        if any(str(spec.properties.get(kind)).lower() == "true" for kind in ("FifoQueue", "FifoTopic")):
            return f"{spec.name(75)}.fifo"  # a longer name of a queue is refused
        return spec.name(63).lower() if spec.type == "AWS::S3::Bucket" else spec.name()

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        try:
            created.model.delete(ACCOUNT, REGION)
        except (AttributeError, TypeError):  # moto has no such method, or not CloudFormation's
            described = {"Type": spec.type, "Properties": spec.properties}
            self._model.delete_from_cloudformation_json(created.physical_id, described, ACCOUNT, REGION)

    def attribute(self, created: CreatedResource, name: str) -> Any:
        if held := _FIELDS.get(self._model.cloudformation_type(), {}).get(name):
            return getattr(created.model, held)
        if not hasattr(created.model, "get_cfn_attribute"):
            return super().attribute(created, name)
        try:
            return created.model.get_cfn_attribute(name)
        except (NotImplementedError, UnformattedGetAttTemplateException):
            return super().attribute(created, name)


class RoleHandler(MotoHandler):
    """AWS::IAM::Role. An update of its policies keeps its name and ARN."""

    takes_tags = True

    def create(self, spec: ResourceSpec) -> CreatedResource:
        _check_trust(spec)
        created = super().create(spec)
        _attach(created.model, spec)
        return created

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        if any(old.get(key) != spec.properties.get(key) for key in ("RoleName", "Path")):
            return None
        _check_trust(spec)
        document = spec.properties["AssumeRolePolicyDocument"]
        role = created.model
        role.assume_role_policy_document = document if isinstance(document, str) else json.dumps(document)
        role.policies = {
            policy["PolicyName"]: policy["PolicyDocument"] for policy in spec.properties.get("Policies", [])
        }
        role.tags = [
            {"Key": key, "Value": value} for key, value in spec.tags().items() if not key.startswith("aws:")
        ]
        _attach(role, spec)
        return created

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        _attach(created.model, replace(spec, properties={}))
        super().delete(created, spec)


def _attach(role: Any, spec: ResourceSpec) -> None:
    """Attach the managed policies that the template names, and no others: moto's class does not read them.

    AWS's own policies are unknown to moto, so they grant nothing here.
    """
    for policy in list(role.managed_policies.values()):
        policy.detach_from(role)
    known = iam_backends[ACCOUNT]["aws"].managed_policies
    for arn in spec.properties.get("ManagedPolicyArns") or []:
        if arn in known:
            known[arn].attach_to(role)


class ManagedPolicyHandler(MotoHandler):
    """AWS::IAM::ManagedPolicy. An update of its document keeps its ARN, and the roles that have it."""

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        fixed = ("ManagedPolicyName", "Path", "Description")
        if any(old.get(key) != spec.properties.get(key) for key in fixed):
            return None
        for version in created.model.versions:
            if version.is_default:
                version.document = json.dumps(spec.properties["PolicyDocument"])
        return created


def _check_trust(spec: ResourceSpec) -> None:
    """Raise ResourceFailed if IAM refuses a role's trust policy, which moto's class does not read."""
    if problem := trust_problem(spec.properties.get("AssumeRolePolicyDocument")):
        raise handler_failed(f"{problem} (Service: Iam, Status Code: 400)")


class LogGroupHandler(MotoHandler):
    """AWS::Logs::LogGroup. An update may change its retention, which a parameter gives as text."""

    def create(self, spec: ResourceSpec) -> CreatedResource:
        created = super().create(spec)
        created.model.retention_in_days = _retention(spec)
        return created

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        if old.get("LogGroupName") != spec.properties.get("LogGroupName"):
            return None
        created.model.retention_in_days = _retention(spec)
        return created


def _retention(spec: ResourceSpec) -> int | None:
    days = spec.properties.get("RetentionInDays")
    return None if days is None else int(days)


class BucketHandler(MotoHandler):
    """AWS::S3::Bucket. moto's class does not read that the bucket keeps versions, as Copilot's own does."""

    def create(self, spec: ResourceSpec) -> CreatedResource:
        created = super().create(spec)
        _keep_versions(created, spec)
        return created

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        if old.get("BucketName") != spec.properties.get("BucketName"):
            return None
        _keep_versions(created, spec)
        return created


def _keep_versions(created: CreatedResource, spec: ResourceSpec) -> None:
    wanted = spec.properties.get("VersioningConfiguration")
    if isinstance(wanted, dict):
        created.model.versioning_status = str(wanted.get("Status"))


class RouteTableHandler(MotoHandler):
    """AWS::EC2::RouteTable. moto does not delete it, and then refuses to delete its VPC."""

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del spec
        ec2 = ec2_backends[ACCOUNT][REGION]
        for association in list(created.model.all_associations_ids):
            ec2.disassociate_route_table(association)
        ec2.delete_route_table(created.physical_id)
