"""An account in which nothing is wrong; a test changes one thing of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from copilot_testenv.aws import Aws
from copilot_testenv.aws.inventory import Amount, Certificate
from copilot_testenv.aws.network import Server, Subnet
from copilot_testenv.aws.stack import Stack
from copilot_testenv.copilot import disposable
from copilot_testenv.core.errors import Failed

MANIFEST = """name: web
type: Load Balanced Web Service
cpu: 512
memory: 1024
image: {build: Dockerfile, port: 8000}
secrets:
  DATABASE_URL: /copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/DATABASE_URL
environments:
  test:
    count: {spot: 1}
    cpu: 256
    secrets:
      STAGE_DATABASE_URL: /copilot/demo/test/secrets/STAGE_DATABASE_URL
"""
HOST = "stage.abc.eu-west-1.rds.amazonaws.com"
SERVER = Server("stage-db", (HOST,), 5432, "vpc-stage", ("sg-db",), "stageadmin", "available", public=False)
URL = "postgres://reader:hidden-pw@{host}/{name}"
SECRET, SOURCE = "/copilot/demo/test/secrets/DATABASE_URL", "/copilot/demo/test/secrets/STAGE_DATABASE_URL"
TAGS = {"copilot-application": "demo", "copilot-environment": "test"}
KNOWN = json.dumps({"environments": [{"name": name} for name in ("production", "stage", "test")]})
NOW = datetime.now(UTC)


@dataclass
class World(Aws):
    """An account in which nothing is wrong; a test changes one thing of it."""

    statuses: dict[str, str] = field(default_factory=lambda: {"demo-test": "UPDATE_COMPLETE"})
    marked: bool = True
    tags: dict[str, dict[str, str]] = field(default_factory=lambda: {SECRET: TAGS, SOURCE: TAGS})
    values: dict[str, str] = field(
        default_factory=lambda: {
            SECRET: URL.format(host=HOST, name="test"),
            SOURCE: URL.format(host=HOST, name="stage"),
        }
    )
    servers: list[Server] = field(default_factory=lambda: [SERVER])
    missing: list[str] = field(default_factory=list)
    dns: bool = True
    resolving: bool = True
    admitting: bool = True
    leaving: bool = True
    quotas: dict[str, float] = field(default_factory=lambda: {"L-36FBB829": 100.0, "L-DF5E4CA3": 5000.0})
    used: float | None = 2.0
    many_rules: tuple[int, int] = (4, 3)
    free: int = 200
    template: str = "x" * 9000
    runtimes: dict[str, str] = field(default_factory=lambda: {"demo-test-web-Env-AB12": "nodejs24.x"})
    deployed: list[Stack] = field(default_factory=list)
    one_off: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    untagged: Amount = field(default_factory=Amount)
    versions: Amount = field(default_factory=Amount)
    known_certificate: Certificate | None = None
    zone_name: str | None = None
    application_domain: str = "example.com"
    denied: bool = False

    def __post_init__(self) -> None:
        super().__init__({}, "eu-west-1")

    @property
    def home(self) -> Aws:
        return self

    def stack(self, name: str) -> Stack | None:
        return Stack(name, self.statuses[name], {}, NOW) if name in self.statuses else None

    def parameter_tags(self, name: str) -> dict[str, str] | None:
        if name == disposable.parameter("demo", "test"):
            return {disposable.TAG: "demo/test"} if self.marked else {}
        return self.tags.get(name)

    def parameter(self, name: str) -> str | None:
        assert name == "/copilot/applications/demo"
        return json.dumps({"domain": self.application_domain})

    def missing_parameters(self, names: list[str]) -> list[str]:
        return [name for name in names if name not in self.tags]

    def parameter_values(self, names: Sequence[str]) -> dict[str, str]:
        if self.denied:
            raise Failed("The AWS call ssm:get-parameters failed: AccessDenied.")
        return {name: self.values[name] for name in names if name in self.values}

    def exports(self) -> dict[str, str]:
        network = {f"demo-{name}-VpcId": f"vpc-{name}" for name in ("test", "stage", "production")}
        return {**network, "demo-test-PublicSubnets": "subnet-a,subnet-b"}

    def resource(self, stack: str, logical_id: str) -> str | None:
        assert stack == "demo-test"
        made = {"EnvironmentSecurityGroup": "sg-test", "PublicLoadBalancer": "arn:lb"}
        return made.get(logical_id)

    def database_servers(self) -> list[Server]:
        return self.servers

    def missing_between(self, here: str, there: str) -> list[str]:
        assert (here, there) == ("vpc-test", "vpc-stage")
        return self.missing

    def addresses(self, vpc: str) -> str:
        return {"vpc-test": "10.1.0.0/16", "vpc-stage": "10.0.0.0/16"}[vpc]

    def has_dns(self, vpc: str) -> bool:
        assert vpc == "vpc-test"
        return self.dns

    def resolves(self, here: str, there: str) -> bool:
        assert (here, there) == ("vpc-test", "vpc-stage")
        return self.resolving

    def admits(self, groups: Sequence[str], port: int, source: str, addresses: str) -> bool:
        assert (tuple(groups), port, source, addresses) == (("sg-db",), 5432, "sg-test", "10.1.0.0/16")
        return self.admitting

    def lets_out(self, group: str, port: int, groups: Sequence[str], addresses: str) -> bool:
        assert (group, port, tuple(groups), addresses) == ("sg-test", 5432, ("sg-db",), "10.0.0.0/16")
        return self.leaving

    def quota(self, service: str, code: str) -> float | None:
        assert service in {"fargate", "vpc"}
        return self.quotas.get(code)

    def vcpus_in_use(self, capacity: str) -> float | None:
        assert capacity == "Standard/Spot"
        return self.used

    def interfaces(self) -> int:
        return 40

    def balancer_limits(self) -> dict[str, int]:
        return {"rules-per-application-load-balancer": 100}

    def rules(self, balancer: str) -> tuple[int, int]:
        assert balancer == "arn:lb"
        return self.many_rules

    def subnets(self, ids: Sequence[str]) -> list[Subnet]:
        return [Subnet(each, self.free) for each in ids]

    def stack_set(self, name: str) -> dict[str, Any]:
        assert name == "demo-infrastructure"
        return {"TemplateBody": self.template}

    def function_runtimes(self, prefix: str) -> dict[str, str]:
        assert prefix == "demo-"
        return self.runtimes

    def deployments(self, app: str, environment: str) -> list[Stack]:
        assert (app, environment) == ("demo", "test")
        return self.deployed

    def service_stacks(self, app: str, environment: str) -> list[Stack]:
        return self.deployments(app, environment)

    def task_stacks(self, app: str, environment: str) -> list[str]:
        assert (app, environment) == ("demo", "test")
        return self.one_off

    def unsettled(self) -> dict[str, str]:
        return self.failed

    def log_groups(self, prefix: str) -> dict[str, int]:
        return {name: size for name, size in self.groups.items() if name.startswith(prefix)}

    def untagged_images(self, repository: str) -> Amount:
        assert repository == "demo/web"
        return self.untagged

    def application_bucket(self, app: str) -> str:  # type: ignore[override]  # there it is cached
        return f"bucket-of-{app}"

    def old_versions(self, bucket: str, prefix: str) -> Amount:
        assert (bucket, prefix) == ("bucket-of-demo", "test-environments/")
        return self.versions

    def certificate(self, arn: str) -> Certificate | None:
        assert arn == "arn:cert"
        return self.known_certificate

    def zone(self, identity: str) -> str | None:
        assert identity == "Z1"
        return self.zone_name
