"""Branches that change manifests, patches and addons: hostile ones, and ordinary ones."""

# ruff: noqa: E501 - a branch a line reads as a table
from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MANIFEST = "copilot/web/manifest.yml"
PATCHES = "copilot/web/overrides/cfn.patches.yml"
ADDONS = "copilot/web/addons"
TASK = "/Resources/TaskDefinition/Properties/ContainerDefinitions"
RULE = "/Resources/HTTPListenerRule/Properties"


@dataclass(frozen=True)
class Attack:
    """What a branch does to a workspace, and the changes (of copilot_testenv.core.trust) that must be refused."""

    id: str
    names: frozenset[str]
    apply: Callable[[Path], None]


def in_test(**more: Any) -> Callable[[Path], None]:
    """Merge this into the manifest's block of the environment `test`."""
    return edited(lambda found: merge(found["environments"]["test"], more))


def in_base(**more: Any) -> Callable[[Path], None]:
    return edited(lambda found: merge(found, more))


def edited(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(workspace: Path) -> None:
        file = workspace / MANIFEST
        found = yaml.safe_load(file.read_text())
        change(found)
        file.write_text(yaml.safe_dump(found, sort_keys=False, width=1000))

    return apply


def merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            into[key] = copy.deepcopy(into[key])
            merge(into[key], value)
        else:
            into[key] = value


def replaced(old: str, new: str, path: str = MANIFEST) -> Callable[[Path], None]:
    """Change the text of a file; it must hold the old one."""

    def apply(workspace: Path) -> None:
        text = (workspace / path).read_text()
        assert old in text
        (workspace / path).write_text(text.replace(old, new))

    return apply


def patch(text: str) -> Callable[[Path], None]:
    """Append override patches."""

    def apply(workspace: Path) -> None:
        file = workspace / PATCHES
        file.write_text(file.read_text() + text)

    return apply


def written(path: str, text: str) -> Callable[[Path], None]:
    def apply(workspace: Path) -> None:
        file = workspace / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return apply


def both(*steps: Callable[[Path], None]) -> Callable[[Path], None]:
    def apply(workspace: Path) -> None:
        for step in steps:
            step(workspace)

    return apply


def attack(id_: str, names: str, *steps: Callable[[Path], None]) -> Attack:
    return Attack(id_, frozenset(names.split()), both(*steps))


def secret(value: Any) -> Callable[[Path], None]:
    return in_test(secrets={"SECRET_KEY": value})


def op(operation: str, path: str, value: str = "", more: str = "") -> Callable[[Path], None]:
    """One patch; `value` is YAML on one line."""
    tail = f"  value: {value}\n" if value else ""
    return patch(f"- op: {operation}\n  path: {path}\n{tail}{more}")


BUCKET = "Parameters: {App: {Type: String}, Env: {Type: String}, Name: {Type: String}}\nResources:\n  Files:\n    Type: AWS::S3::Bucket\n"
PRODUCTION = "/copilot/demo/production/secrets/SECRET_KEY"

REFERENCES = [
    attack("secret-path", "references", secret(PRODUCTION)),
    attack("secret-path-of-a-sidecar", "references",
           in_test(sidecars={"startup": {"secrets": {"SECRET_KEY": PRODUCTION}}})),
    attack("secret-in-the-base", "references", in_base(secrets={"OTHER": PRODUCTION})),
    attack("secret-by-anchor", "references",
           replaced("variables:\n      REDIS_HOST: localhost\n      EMAIL",
                    f"labels: {{x: &p '{PRODUCTION}'}}\n    entrypoint: [env]\n    variables:\n      REDIS_HOST: localhost\n      EMAIL"),
           replaced("STAGE_DATABASE_URL: /copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/STAGE_DATABASE_URL\n    sidecars",
                    "STAGE_DATABASE_URL: *p\n    sidecars")),
    attack("secret-of-another-app", "references", secret("/copilot/other/test/secrets/SECRET_KEY")),
    attack("secret-upper-case", "references", secret("/copilot/demo/Production/secrets/SECRET_KEY")),
    attack("secret-out-of-the-path", "references", secret("/copilot/demo/test/secrets/../../production/secrets/K")),
    attack("secret-without-a-path", "references", secret("PRODUCTION_KEY")),
    attack("secret-arn", "references", secret(f"arn:aws:ssm:us-east-1:123456789012:parameter{PRODUCTION}")),
    attack("secret-arn-of-another-account", "references",
           secret("arn:aws:ssm:us-east-1:999999999999:parameter/copilot/demo/test/secrets/SECRET_KEY")),
    attack("secret-arn-of-another-region", "references",
           secret("arn:aws:ssm:eu-west-1:123456789012:parameter/copilot/demo/test/secrets/SECRET_KEY")),
    attack("secret-from-cfn", "references", secret({"from_cfn": "demo-production-DatabaseURL"})),
    attack("secret-from-cfn-of-an-unknown-stack", "references", secret({"from_cfn": "payments-ApiKey"})),
    attack("secret-secretsmanager", "references", secret({"secretsmanager": "demo/production/db"})),
    attack("secret-secretsmanager-arn", "references",
           secret("arn:aws:secretsmanager:us-east-1:123456789012:secret:prod-db-AbCdEf")),
    attack("variable-from-cfn", "references",
           in_test(variables={"URL": {"from_cfn": "demo-production-DatabaseURL"}})),
    attack("variable-from-cfn-interpolated", "references",
           in_test(variables={"URL": {"from_cfn": "${COPILOT_APPLICATION_NAME}-production-DatabaseURL"}})),
    attack("variable-dynamic-reference", "references",
           in_test(variables={"URL": "{{resolve:ssm-secure:/copilot/demo/production/secrets/X}}"})),
    attack("variable-dynamic-reference-mixed-case", "references",
           in_test(variables={"URL": "a{{Resolve:secretsmanager:prod:SecretString:password}}"})),
    attack("variable-arn", "references", in_test(variables={"ROLE": "arn:aws:iam::123456789012:role/admin"})),
    attack("sidecar-with-a-secret", "references",
           in_test(sidecars={"spy": {"image": "busybox", "secrets": {"A": {"from_cfn": "demo-stage-DatabaseURL"}}}})),
    attack("image-credentials", "references",
           in_test(sidecars={"spy": {"image": "busybox", "credentialsParameter": "arn:aws:secretsmanager:us-east-1:123456789012:secret:hub-AbCdEf"}})),
    attack("logging-secret", "references",
           in_test(logging={"destination": {"Name": "http"}, "secretOptions": {"apikey": PRODUCTION}})),
    attack("logging-elsewhere", "references",
           in_test(logging={"destination": {"Name": "cloudwatch", "log_group_name": "/copilot/demo-production-web"}})),
    attack("efs", "references",
           in_base(storage={"volumes": {"data": {"path": "/data", "efs": {"id": "fs-12345678"}}}})),
    attack("efs-imported", "references",
           in_base(storage={"volumes": {"data": {"path": "/data", "efs": {"id": {"from_cfn": "demo-production-Files"}}}}})),
    attack("efs-managed", "references", in_base(storage={"volumes": {"data": {"path": "/data", "efs": True}}})),
    attack("security-group", "references",
           in_test(network={"vpc": {"security_groups": ["sg-0123456789abcdef0"]}})),
    attack("security-group-imported", "references",
           in_test(network={"vpc": {"security_groups": [{"from_cfn": "demo-production-DbGroup"}]}})),
    attack("subnets", "references",
           in_test(network={"vpc": {"placement": {"subnets": ["subnet-0123456789abcdef0"]}}})),
    attack("taskdef-task-role", "references",
           in_test(taskdef_overrides=[{"path": "TaskRoleArn", "value": "arn:aws:iam::123456789012:role/demo-production-CFNExecutionRole"}])),
    attack("taskdef-execution-role-by-name", "references",
           in_test(taskdef_overrides=[{"path": "ExecutionRoleArn", "value": "admin"}])),
    attack("taskdef-secret", "references",
           in_test(taskdef_overrides=[{"path": "ContainerDefinitions[0].Secrets[-]", "value": {"Name": "X", "ValueFrom": PRODUCTION}}])),
    attack("taskdef-import", "references",
           in_test(taskdef_overrides=[{"path": "ContainerDefinitions[0].Environment[-]",
                      "value": {"Name": "X", "Value": {"Fn::ImportValue": "demo-production-X"}}}])),
    attack("taskdef-volume", "references",
           in_test(taskdef_overrides=[{"path": "Volumes[0].EFSVolumeConfiguration", "value": {"FilesystemId": "fs-1"}}])),
    attack("taskdef-env-file", "references",
           in_test(taskdef_overrides=[{"path": "ContainerDefinitions[0].EnvironmentFiles[0]",
                      "value": {"Type": "s3", "Value": "arn:aws:s3:::production-settings/all.env"}}])),
    attack("patch-secret-sub", "references",
           op("add", f"{TASK}/0/Secrets/-", "{Name: X, ValueFrom: !Sub '/copilot/${AppName}/production/secrets/K'}")),
    attack("patch-secret-join", "references",
           op("add", f"{TASK}/0/Secrets/-", "{Name: X, ValueFrom: {'Fn::Join': ['/', ['/copilot', demo, prod, K]]}}")),
    attack("patch-import-in-pieces", "references",
           op("add", f"{TASK}/0/Environment/-", "{Name: X, Value: {'Fn::ImportValue': !Join ['-', [!Ref AppName, produ, '']]}}")),
    attack("patch-import-selected", "references",
           op("add", f"{TASK}/0/Environment/-",
              "{Name: X, Value: {'Fn::ImportValue': {'Fn::Select': [0, {'Fn::Split': [',', 'demo-production-X,y']}]}}}")),
    attack("patch-import-under-a-condition", "references",
           op("add", f"{TASK}/0/Environment/-",
              "{Name: X, Value: !If [HasEnvFile, {'Fn::ImportValue': demo-production-X}, y]}")),
    attack("patch-resolve-joined", "references",
           op("add", f"{TASK}/0/Environment/-", "{Name: X, Value: !Join ['', ['{{res', 'olve:ssm:/production/key}}']]}")),
    attack("patch-secret-replaced", "references", op("replace", f"{TASK}/0/Secrets/0/ValueFrom", PRODUCTION)),
    attack("patch-log-group", "references",
           op("replace", f"{TASK}/0/LogConfiguration/Options/awslogs-group", "/copilot/demo-production-web")),
    attack("patch-cluster", "references",
           op("replace", "/Resources/Service/Properties/Cluster", "demo-production-Cluster")),
    attack("patch-task-definition-of-another", "references",
           op("replace", "/Resources/Service/Properties/TaskDefinition", "demo-production-web")),
    attack("patch-vpc", "references", op("replace", "/Resources/TargetGroup/Properties/VpcId", "vpc-0123")),
    attack("patch-ssm-parameter", "resources",
           op("add", "/Parameters/Key", "{Type: 'AWS::SSM::Parameter::Value<String>', Default: /copilot/demo/production/secrets/K}"),
           op("add", f"{TASK}/0/Environment/-", "{Name: X, Value: !Ref Key}")),
]  # fmt: skip
RULES = [
    attack("priority", "rules", op("replace", f"{RULE}/Priority", "1")),
    attack("priority-as-text", "rules", op("replace", f"{RULE}/Priority", "!Sub '1'")),
    attack("priority-of-another-path", "rules",
           op("replace", "/Resources/HTTPRulePriorityAction/Properties/RulePath", '["/x"]')),
    attack("priority-of-a-path-that-it-has-not", "rules", in_test(http={"path": "/x"}),
           op("replace", f"{RULE}/Conditions/1/PathPatternConfig/Values", '["/*"]')),
    attack("another-path", "rules", in_test(http={"path": "/api"})),
    attack("additional-rule", "rules", in_test(http={"additional_rules": [{"path": "/api"}]})),
    attack("host", "rules",
           op("add", f"{RULE}/Conditions/-", "{Field: host-header, HostHeaderConfig: {Values: [other.localhost]}}")),
    attack("host-old-spelling", "rules", op("add", f"{RULE}/Conditions/-", "{Field: host-header, Values: ['*']}")),
    attack("host-under-a-condition", "rules",
           op("add", f"{RULE}/Conditions/-",
              "!If [HasEnvFile, {Field: host-header, Values: ['*']}, !Ref 'AWS::NoValue']")),
    attack("actions", "rules",
           op("replace", f"{RULE}/Actions/0",
              "{Type: redirect, RedirectConfig: {Host: evil.example, StatusCode: HTTP_301}}")),
    attack("actions-other-target-group", "rules",
           op("replace", f"{RULE}/Actions/0/TargetGroupArn",
              "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/x/1")),
    attack("listener", "rules",
           op("replace", f"{RULE}/ListenerArn",
              "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener/app/x/1/2")),
    attack("rule-resource", "rules",
           op("add", "/Resources/Mine",
              "{Type: 'AWS::ElasticLoadBalancingV2::ListenerRule', Properties: {Priority: 1, Actions: [], "
              "Conditions: [], ListenerArn: !GetAtt EnvControllerAction.HTTPListenerArn}}")),
    attack("rule-moved", "rules",
           op("add", "/Resources/HTTPListenerRule7",
              "{Type: 'AWS::ElasticLoadBalancingV2::ListenerRule', Properties: {Priority: 2, "
              "Conditions: [{Field: path-pattern, Values: ['/*']}], Actions: [{Type: forward, TargetGroupArn: !Ref TargetGroup}], "
              "ListenerArn: !GetAtt EnvControllerAction.HTTPListenerArn}}")),
    attack("targets", "rules",
           op("add", "/Resources/TargetGroup/Properties/Targets", "[{Id: 10.0.0.9, Port: 80}]")),
    attack("controller-alias", "rules",
           op("add", "/Resources/EnvControllerAction/Properties/Aliases", "['www.example.com']")),
    attack("controller-workload", "rules",
           op("replace", "/Resources/EnvControllerAction/Properties/Workload", "api")),
    attack("controller-stack", "rules",
           op("replace", "/Resources/EnvControllerAction/Properties/EnvStack", "demo-production")),
    attack("connect-alias", "rules", in_test(network={"connect": {"alias": "api"}})),
    attack("load-balancers-with-a-rule", "rules",
           op("add", "/Resources/Service/Properties/LoadBalancers/0/AdvancedConfiguration", "{RoleArn: !GetAtt TaskRole.Arn}")),
    attack("discovery-name", "rules resources",
           op("replace", "/Resources/DiscoveryService/Properties/Name", "api")),
    attack("record", "rules",
           op("add", "/Resources/Www",
              "{Type: 'AWS::Route53::RecordSet', Properties: {HostedZoneName: example.com., Name: www.example.com., Type: A, "
              "TTL: 1, ResourceRecords: [192.0.2.1]}}")),
    attack("load-balancers", "rules",
           op("add", "/Resources/Service/Properties/LoadBalancers/-",
              "{ContainerName: web, ContainerPort: 8000, TargetGroupArn: 'arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/p/1'}")),
]  # fmt: skip
ACCESS = [
    attack("source-ips-dropped", "access", edited(lambda found: found["environments"]["test"]["http"].pop("allowed_source_ips"))),
    attack("source-ips-widened", "access", in_test(http={"allowed_source_ips": ["127.0.0.0/8", "0.0.0.0/0"]})),
    attack("source-ips-in-halves", "access", in_test(http={"allowed_source_ips": ["0.0.0.0/1", "128.0.0.0/1"]})),
    attack("source-ips-other", "access", in_test(http={"allowed_source_ips": ["10.0.0.0/8"]})),
    attack("condition-removed", "access", op("remove", f"{RULE}/Conditions/0")),
    attack("condition-replaced", "access", op("replace", f"{RULE}/Conditions/0/SourceIpConfig/Values/0", "0.0.0.0/0")),
    attack("condition-nested", "access rules",
           op("replace", f"{RULE}/Conditions/0/SourceIpConfig/Values", "!Split [',', '0.0.0.0/1,128.0.0.0/1']")),
    attack("nlb", "access", in_test(nlb={"port": "443/tcp", "target_port": 8000})),
    attack("ingress", "access",
           op("add", "/Resources/Open",
              "{Type: 'AWS::EC2::SecurityGroupIngress', Properties: {GroupId: {'Fn::ImportValue': !Sub '${AppName}-${EnvName}-EnvironmentSecurityGroup'}, "
              "IpProtocol: '-1', CidrIp: 0.0.0.0/0}}")),
    attack("load-balancer", "access",
           op("add", "/Resources/Mine", "{Type: 'AWS::ElasticLoadBalancingV2::LoadBalancer', Properties: {Scheme: internet-facing}}")),
]  # fmt: skip
RESOURCES = [
    attack("bucket", "resources", op("add", "/Resources/Mine", "{Type: 'AWS::S3::Bucket'}")),
    attack("user", "resources", op("add", "/Resources/Mine", "{Type: 'AWS::IAM::User', Properties: {ManagedPolicyArns: ['arn:aws:iam::aws:policy/AdministratorAccess']}}")),
    attack("json-patch", "resources",
           patch('- {"op": "add", "path": "/Resources/Mine", "value": {"Type": "AWS::SNS::Topic"}}\n')),
    attack("named-like-copilots", "resources",
           op("add", "/Resources/AutoScalingRole", "{Type: 'AWS::IAM::Role', Properties: {AssumeRolePolicyDocument: {}}}")),
    attack("task-role-policy", "resources",
           op("add", "/Resources/TaskRole/Properties/Policies/-",
              "{PolicyName: Publish2SNS, PolicyDocument: {Statement: [{Effect: Allow, Action: '*', Resource: '*'}]}}")),
    attack("task-role-managed", "resources",
           op("add", "/Resources/TaskRole/Properties/ManagedPolicyArns", "['arn:aws:iam::aws:policy/AdministratorAccess']")),
    attack("deny-iam-removed", "resources", op("remove", "/Resources/TaskRole/Properties/Policies/0")),
    attack("trust", "resources",
           op("replace", "/Resources/TaskRole/Properties/AssumeRolePolicyDocument/Statement/0/Principal", "{AWS: '*'}")),
    attack("condition-of-a-policy", "resources",
           op("remove", "/Resources/ExecutionRole/Properties/Policies/0/PolicyDocument/Statement/0/Condition")),
    attack("lambda-code", "resources",
           op("replace", "/Resources/EnvControllerFunction/Properties/Code", "{ZipFile: 'exports.handler = () => 0'}")),
    attack("deployment-hook", "resources",
           op("add", "/Resources/Service/Properties/DeploymentConfiguration/LifecycleHooks",
              "[{HookTargetArn: !GetAtt EnvControllerFunction.Arn, RoleArn: !GetAtt EnvControllerRole.Arn}]")),
    attack("lambda-role", "resources",
           op("replace", "/Resources/RulePriorityFunction/Properties/Role", "!GetAtt EnvControllerRole.Arn")),
    attack("custom-resource", "resources",
           op("add", "/Resources/Mine", "{Type: 'Custom::Anything', Properties: {ServiceToken: !GetAtt EnvControllerFunction.Arn}}")),
    attack("nested-stack", "resources",
           op("add", "/Resources/Mine", "{Type: 'AWS::CloudFormation::Stack', Properties: {TemplateURL: 'https://s3.amazonaws.com/b/t.yml'}}")),
    attack("nested-stack-replaced", "resources",
           op("replace", "/Resources/AddonsStack/Properties/TemplateURL", "https://s3.amazonaws.com/b/t.yml")),
    attack("transform", "resources", op("add", "/Transform", "'AWS::LanguageExtensions'")),
    attack("transform-inside", "resources",
           op("add", "/Resources/LogGroup/Properties/Fn::Transform", "{Name: 'AWS::Include', Parameters: {Location: 's3://b/x.yml'}}")),
    attack("export", "resources",
           op("add", "/Outputs/Mine", "{Value: x, Export: {Name: demo-test-DatabaseURL}}")),
    attack("output-renamed", "resources",
           op("replace", "/Outputs/DiscoveryServiceARN/Export/Name", "demo-test-PublicSubnets")),
    attack("mapping", "resources", op("add", "/Mappings", "{M: {a: {b: x}}}")),
    attack("condition-changed", "resources",
           op("replace", "/Conditions/HasAddons", "!Equals ['a', 'a']")),
    attack("retained", "resources", op("add", "/Resources/LogGroup/DeletionPolicy", "Retain")),
    attack("type-changed", "resources", op("replace", "/Resources/DiscoveryService/Type", "'AWS::SNS::Topic'")),
    attack("addons-bucket", "resources", written(f"{ADDONS}/files.yml", BUCKET)),
    attack("addons-policy", "resources",
           written(f"{ADDONS}/more.yml", BUCKET.replace("Files:\n    Type: AWS::S3::Bucket", "More:\n    Type: AWS::IAM::ManagedPolicy\n    Properties:\n      PolicyDocument: {Statement: [{Effect: Allow, Action: '*', Resource: '*'}]}")
                   + "Outputs: {MorePolicy: {Value: !Ref More}}\n")),
    attack("addons-function", "resources",
           written(f"{ADDONS}/code.yml", BUCKET.replace("Files:\n    Type: AWS::S3::Bucket", "Code:\n    Type: Custom::Code\n    Properties: {ServiceToken: 'arn:aws:lambda:us-east-1:1:function:x'}"))),
    attack("addons-output-of-a-secret", "resources",
           written(f"{ADDONS}/out.yml", BUCKET + "Outputs: {DbSecret: {Value: !ImportValue demo-production-DatabaseURL}}\n")),
    attack("line-break-in-a-path", "resources", in_base(http={"healthcheck": {"path": "/x\n  Evil:\n    Type: AWS::SNS::Topic"}})),
    attack("line-break-in-a-command", "resources", in_base(entrypoint=["sh\n  Evil: x"])),
    attack("line-break-in-a-name", "resources", in_test(variables={"A\n  Evil": "x"})),
    attack("container-key", "resources",
           in_test(taskdef_overrides=[{"path": "ContainerDefinitions[0].CredentialSpecs", "value": ["x"]}])),
    attack("binary-value", "resources", op("add", f"{TASK}/0/Environment/-", "{Name: X, Value: !!binary e3tyZXNvbHZlOnNzbTovcHJvZH19}")),
    attack("merge-key", "resources", written(PATCHES, "- op: add\n  path: /Resources/LogGroup/Properties/<<\n  value: {LogGroupName: x}\n")),
]  # fmt: skip
HOSTILE = [*REFERENCES, *RULES, *ACCESS, *RESOURCES]

ORDINARY: list[tuple[str, Callable[[Path], None]]] = [
    ("nothing", lambda _: None),
    ("variables", in_test(variables={"FLAG": "1", "TEXT": "a\nb: 'c'\n", "DOLLAR": "$HOME {{ x }}"})),
    ("a-variable-taken-away", edited(lambda found: found["environments"]["test"]["variables"].pop("EMAIL_BACKEND"))),
    ("command", in_test(command=["gunicorn", "-w", "3", "demo.wsgi"])),
    ("entrypoint", in_test(entrypoint="sh -c 'exec gunicorn demo.wsgi'")),
    ("cpu-memory-count", in_test(cpu=512, memory=2048, count=2)),
    ("spot-and-on-demand", edited(lambda found: found["environments"]["test"].update(count={"range": {"min": 1, "max": 3, "spot_from": 2}, "cpu_percentage": 70}))),
    ("auto-scaling", edited(lambda found: found["environments"]["test"].update(count={"range": "1-4", "cpu_percentage": 60, "memory_percentage": 70, "requests": 1000, "response_time": "2s"}))),
    ("port", in_base(image={"port": 9000})),
    ("health-check", in_test(http={"healthcheck": {"path": "/alive", "interval": "20s", "timeout": "10s", "grace_period": "60s"}})),
    ("sidecar", in_test(sidecars={"mail": {"image": "axllent/mailpit:v1.20", "port": 1025, "variables": {"MP_X": "1"}, "env_file": "mail.env"}})),
    ("sidecar-taken-away", edited(lambda found: found["environments"]["test"]["sidecars"].pop("redis") and found["environments"]["test"]["image"]["depends_on"].pop("redis"))),
    ("secret-of-its-own", in_test(secrets={"API_KEY": "/copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/API_KEY"})),
    ("secret-of-its-own-by-arn", in_test(secrets={"API_KEY": "arn:aws:ssm:us-east-1:123456789012:parameter/copilot/demo/test/secrets/API_KEY"})),
    ("export-of-its-own", in_test(secrets={"DATABASE_URL": {"from_cfn": "${COPILOT_APPLICATION_NAME}-${COPILOT_ENVIRONMENT_NAME}-DatabaseURL"}},
                                     variables={"REDIS_HOST": {"from_cfn": "demo-test-RedisHost"}})),
    ("secret-taken-away", edited(lambda found: found["secrets"].pop("SECRET_KEY"))),
    ("production-only", edited(lambda found: merge(found["environments"], {"production": {"secrets": {"X": PRODUCTION}, "http": {"alias": "www.example.com"}}}))),
    ("topic", in_base(publish={"topics": [{"name": "orders"}, {"name": "in-order", "fifo": True}]})),
    ("volume", in_base(storage={"ephemeral": 30, "volumes": {"cache": {"path": "/cache", "read_only": False}}})),
    ("limits", in_test(taskdef_overrides=[{"path": "ContainerDefinitions[0].Ulimits[-]", "value": {"Name": "nofile", "SoftLimit": 1024, "HardLimit": 4096}},
                                            {"path": "ContainerDefinitions[0].LinuxParameters.InitProcessEnabled", "value": True}])),
    ("no-shell", in_base(exec=False)),
    ("narrower-access", in_test(http={"allowed_source_ips": ["127.0.0.1/32", "127.1.0.0/16"]})),
    ("private", in_test(network={"vpc": {"placement": "private"}})),
    ("rolling", in_test(deployment={"rolling": "default", "rollback_alarms": {"cpu_utilization": 80, "memory_utilization": 90}})),
    ("platform", in_base(platform="linux/arm64")),
    ("stickiness", in_test(http={"stickiness": True, "deregistration_delay": "20s", "version": "http2"})),
    ("env-file", in_base(env_file="web.env")),
    ("labels", in_base(image={"labels": {"team": "shop\nx"}})),
    ("tracing", in_base(observability={"tracing": "awsxray"})),
    ("runtime-patches", replaced("nodejs24.x", "nodejs22.x", PATCHES)),
    ("a-patch-of-its-own-task", op("add", f"{TASK}/0/StopTimeout", "60")),
    ("comments", patch("# nothing else\n")),
]  # fmt: skip
