"""What AWS answers to Copilot while it packages: the forms are AWS's, the values are made up.

The calls were seen on Copilot 1.34.1, and its source says what it reads of each answer:
internal/pkg/cli/deploy/*.go, internal/pkg/describe/*.go and internal/pkg/aws/*/*.go of aws/copilot-cli 1.34.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

ACCOUNT = "123456789012"
REGION = "us-east-1"
VERSION = "v1.34.1"  # of the templates with which Copilot finds the application and the environment made
LACKING = "StandInLacks"
"""The code of the error for a call that has no answer here: it says nothing about the manifests."""

_EXPIRY = "2099-01-01T00:00:00Z"
# Copilot takes the parameters of an environment's stack for the features that it has.
# Source: internal/pkg/template/env.go of aws/copilot-cli 1.34.
_FEATURES = (
    "ALBWorkloads",
    "InternalALBWorkloads",
    "EFSWorkloads",
    "NATWorkloads",
    "AppRunnerPrivateWorkloads",
    "Aliases",
)


@dataclass(frozen=True)
class Deployment:
    """What Copilot finds: an application, and an environment that was deployed with this manifest.

    `domain` is the application's, empty where it has none. Every certificate is for all of `names`. `topics`
    are (service, topic) of those that are published in the environment.
    """

    application: str
    environment: str
    manifest: str
    domain: str = ""
    names: tuple[str, ...] = ()
    topics: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Call:
    """A request: the service's part of the host name, the operation, and its parameters."""

    service: str
    operation: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    status: int
    type: str
    body: str


def answer(call: Call, deployment: Deployment) -> Answer:
    """Return AWS's answer; an error with the code LACKING for a call that no answer is known for."""
    known = _ANSWERS.get((call.service, call.operation))
    if known is None:
        return error(call, 400, LACKING, f"there is no answer to {call.service}:{call.operation} here")
    return known(call, deployment)


def error(call: Call, status: int, code: str, message: str) -> Answer:
    """Return an error in the form of the service's protocol."""
    if call.service in _JSON:
        body = json.dumps({"__type": code, "message": message})
        return Answer(status, "application/x-amz-json-1.1", body)
    if call.service == "ec2":
        errors = f"<Errors><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></Errors>"
        return Answer(status, "text/xml", f"<Response>{errors}<RequestID>0</RequestID></Response>")
    text = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Answer(status, "text/xml", f"<ErrorResponse>{text}<RequestId>0</RequestId></ErrorResponse>")


def _json(content: object) -> Answer:
    return Answer(200, "application/x-amz-json-1.1", json.dumps(content))


def _xml(call: Call, content: str) -> Answer:
    result = f"<{call.operation}Result>{content}</{call.operation}Result>"
    request = "<ResponseMetadata><RequestId>0</RequestId></ResponseMetadata>"
    return Answer(200, "text/xml", f"<{call.operation}Response>{result}{request}</{call.operation}Response>")


def _element(name: str, value: str) -> str:
    return f"<{name}>{escape(value)}</{name}>"


def _members(items: Iterable[Mapping[str, str]]) -> str:
    return "".join(
        f"<member>{''.join(_element(name, value) for name, value in item.items())}</member>" for item in items
    )


def _pairs(key: str, value: str, pairs: Mapping[str, str]) -> str:
    return _members({key: name, value: text} for name, text in pairs.items())


def _parameter(call: Call, deployment: Deployment) -> Answer:
    """Answer for Copilot's own records of the application and the environment."""
    name = call.parameters.get("Name", "")
    application = f"/copilot/applications/{deployment.application}"
    roles = f"arn:aws:iam::{ACCOUNT}:role/{deployment.application}-{deployment.environment}"
    records: dict[str, dict[str, str]] = {
        application: {
            "name": deployment.application,
            "account": ACCOUNT,
            "domain": deployment.domain,
            "domainHostedZoneID": "Z0000000000000000000" if deployment.domain else "",
            "version": "1.0",
        },
        f"{application}/environments/{deployment.environment}": {
            "app": deployment.application,
            "name": deployment.environment,
            "region": REGION,
            "accountID": ACCOUNT,
            "registryURL": "",
            "executionRoleARN": f"{roles}-CFNExecutionRole",
            "managerRoleARN": f"{roles}-EnvManagerRole",
        },
    }
    if name not in records:
        return error(call, 400, "ParameterNotFound", f"{name} does not exist")
    return _json({"Parameter": {"Name": name, "Type": "String", "Value": json.dumps(records[name])}})


def _identity(call: Call, _: Deployment) -> Answer:
    content = {"UserId": "STANDIN", "Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/stand-in"}
    return _xml(call, "".join(_element(name, value) for name, value in content.items()))


def _role(call: Call, _: Deployment) -> Answer:
    """Return the caller's own key: it names the deployment, and no signature is compared."""
    key = call.parameters[KEY]
    values = {
        "AccessKeyId": key,
        "SecretAccessKey": key,
        "SessionToken": key,
        "Expiration": _EXPIRY,
    }
    credentials = "".join(_element(name, value) for name, value in values.items())
    role = call.parameters.get("RoleArn", "")
    user = f"{_element('Arn', role)}{_element('AssumedRoleId', 'STANDIN:copilot')}"
    return _xml(call, f"<Credentials>{credentials}</Credentials><AssumedRoleUser>{user}</AssumedRoleUser>")


KEY = "stand-in:key"
"""The name under which `Call.parameters` has the caller's key; no parameter of AWS has a colon."""


def _summary(call: Call, deployment: Deployment) -> Answer:
    """Answer with the metadata of a stack, or of the application's stack set. Services are not deployed."""
    stack = call.parameters.get("StackName") or call.parameters.get("StackSetName", "")
    if stack == f"{deployment.application}-{deployment.environment}":
        metadata = {"Version": VERSION, "Manifest": deployment.manifest}
        return _xml(call, _element("Metadata", json.dumps(metadata)))
    if stack.startswith(f"{deployment.application}-infrastructure"):
        return _xml(call, _element("Metadata", json.dumps({"TemplateVersion": VERSION, "Version": "1"})))
    return error(call, 400, "ValidationError", f"Stack with id {stack} does not exist")


def _stacks(call: Call, deployment: Deployment) -> Answer:
    stack = call.parameters.get("StackName", "")
    if stack == f"{deployment.application}-{deployment.environment}":
        return _xml(call, _environment(deployment))
    if "/StackSet-" in stack:
        outputs = {
            "KMSKeyARN": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-4000-8000-000000000000",
            "PipelineBucket": f"stackset-{deployment.application}-infrastruc-artifacts-stand-in",
            "TemplateVersion": VERSION,
            "StackSetOpId": "1",
        }
        return _xml(call, _stack(stack, {}, outputs))
    return error(call, 400, "ValidationError", f"Stack with id {stack} does not exist")


def _environment(deployment: Deployment) -> str:
    application, name = deployment.application, deployment.environment
    role = f"arn:aws:iam::{ACCOUNT}:role/{application}-DNSDelegationRole"
    parameters = {
        "AppName": application,
        "EnvironmentName": name,
        **dict.fromkeys(_FEATURES, ""),
        "ToolsAccountPrincipalARN": f"arn:aws:iam::{ACCOUNT}:root",
        "AppDNSName": deployment.domain,
        "AppDNSDelegationRole": role if deployment.domain else "",
        "CreateHTTPSListener": "true" if deployment.domain else "false",
        "CreateInternalHTTPSListener": "false",
        "ServiceDiscoveryEndpoint": f"{name}.{application}.local",
    }
    outputs = {
        "VpcId": "vpc-00000000000000000",
        "PublicSubnets": "subnet-00000000000000000,subnet-00000000000000001",
        "PrivateSubnets": "subnet-00000000000000002,subnet-00000000000000003",
        "EnvironmentSecurityGroup": "sg-00000000000000000",
        "ClusterId": f"{application}-{name}-Cluster",
        "EnvironmentManagerRoleARN": f"arn:aws:iam::{ACCOUNT}:role/{application}-{name}-EnvManagerRole",
        "CFNExecutionRoleARN": f"arn:aws:iam::{ACCOUNT}:role/{application}-{name}-CFNExecutionRole",
        "EnabledFeatures": ",,,,,",
        "LastForceDeployID": "",
    }
    if deployment.domain:
        outputs["EnvironmentSubdomain"] = f"{name}.{application}.{deployment.domain}"
    arn = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{application}-{name}/0"
    return _stack(arn, parameters, outputs)


def _stack(arn: str, parameters: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    inner = (
        _element("StackId", arn)
        + _element("StackName", arn.split("/")[1])
        + f"<Parameters>{_pairs('ParameterKey', 'ParameterValue', parameters)}</Parameters>"
        + "<CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>UPDATE_COMPLETE</StackStatus>"
        + f"<Outputs>{_pairs('OutputKey', 'OutputValue', outputs)}</Outputs>"
    )
    return f"<Stacks><member>{inner}</member></Stacks>"


def _instances(call: Call, _: Deployment) -> Answer:
    """Name the regional stack of the application's stack set."""
    name = call.parameters.get("StackSetName", "")
    instance = {
        "StackSetId": f"{name}:0",
        "Region": REGION,
        "Account": ACCOUNT,
        "StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/StackSet-{name}-0/0",
        "Status": "CURRENT",
    }
    return _xml(call, f"<Summaries>{_members([instance])}</Summaries>")


def _certificate(call: Call, deployment: Deployment) -> Answer:
    arn = call.parameters.get("CertificateArn", "")
    names = list(deployment.names)
    certificate = {"CertificateArn": arn, "Status": "ISSUED", "SubjectAlternativeNames": names}
    return _json({"Certificate": certificate})


def _tagged(_: Call, deployment: Deployment) -> Answer:
    """Name the topics of the environment, which Copilot finds by their tags."""
    found = []
    for service, topic in deployment.topics:
        name = f"{deployment.application}-{deployment.environment}-{service}-{topic}"
        tags = {
            "copilot-application": deployment.application,
            "copilot-environment": deployment.environment,
            "copilot-service": service,
        }
        found.append(
            {
                "ResourceARN": f"arn:aws:sns:{REGION}:{ACCOUNT}:{name}",
                "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
            }
        )
    return _json({"ResourceTagMappingList": found, "PaginationToken": ""})


def _balancers(call: Call, _: Deployment) -> Answer:
    """Describe a load balancer of the user's own, which a manifest names by `http.alb`."""
    given = call.parameters.get("Names.member.1") or call.parameters.get("LoadBalancerArns.member.1", "")
    name = given.split("/")[2] if given.startswith("arn:") and given.count("/") > 1 else given
    values = {
        "LoadBalancerArn": f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/{name}/0",
        "LoadBalancerName": name,
        "DNSName": f"{name}.{REGION}.elb.amazonaws.com",
        "Scheme": "internet-facing",
        "CanonicalHostedZoneId": "Z35SXDOTRQ7X7K",
    }
    inner = "".join(_element(key, value) for key, value in values.items())
    groups = "<SecurityGroups><member>sg-00000000000000001</member></SecurityGroups>"
    return _xml(call, f"<LoadBalancers><member>{inner}{groups}</member></LoadBalancers>")


def _listeners(call: Call, _: Deployment) -> Answer:
    arn = call.parameters.get("LoadBalancerArn", "").replace(":loadbalancer/", ":listener/")
    listeners = [
        {"ListenerArn": f"{arn}/1", "Port": "80", "Protocol": "HTTP"},
        {"ListenerArn": f"{arn}/2", "Port": "443", "Protocol": "HTTPS"},
    ]
    return _xml(call, f"<Listeners>{_members(listeners)}</Listeners>")


def _prefix_lists(call: Call, _: Deployment) -> Answer:
    """Name CloudFront's own list of addresses, which a load balancer behind it lets in."""
    name = "com.amazonaws.global.cloudfront.origin-facing"
    values = {"prefixListId": "pl-00000000", "prefixListName": name}
    item = "".join(_element(key, value) for key, value in values.items())
    listed = f"<prefixListSet><item>{item}</item></prefixListSet>"
    return Answer(200, "text/xml", f"<{call.operation}Response>{listed}</{call.operation}Response>")


_JSON = frozenset({"ssm", "acm", "tagging"})
_ANSWERS: Mapping[tuple[str, str], Callable[[Call, Deployment], Answer]] = {
    ("ssm", "GetParameter"): _parameter,
    ("sts", "GetCallerIdentity"): _identity,
    ("sts", "AssumeRole"): _role,
    ("cloudformation", "GetTemplateSummary"): _summary,
    ("cloudformation", "DescribeStacks"): _stacks,
    ("cloudformation", "ListStackInstances"): _instances,
    ("acm", "DescribeCertificate"): _certificate,
    ("tagging", "GetResources"): _tagged,
    ("ec2", "DescribeManagedPrefixLists"): _prefix_lists,
    ("elasticloadbalancing", "DescribeLoadBalancers"): _balancers,
    ("elasticloadbalancing", "DescribeListeners"): _listeners,
}
