"""Kinds of mistakes that people make in manifests: each is made in every file of `seeded/` that it fits.

A kind has a pattern, which is searched in a file line by line, and what stands there instead. The first line
that changes is the one that a finding has to name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.check.combined_seeds import COMBINED
from tests.check.further_seeds import ADDON, ENVIRONMENT, FURTHER, PATCH, PIPELINE, SERVICE
from tests.check.related_seeds import RELATED
from tests.check.users_seeds import USERS

FOLDER = Path(__file__).with_name("seeded")


@dataclass(frozen=True)
class Seed:
    """A mistake in one file: `line`, from 1, is the first that differs from the original."""

    kind: str
    path: str
    text: str
    line: int

    @property
    def owner(self) -> str:
        """The folder below `copilot/` whose stacks show the mistake."""
        return self.path.split("/")[1] if "/" in self.path else "web"

    @property
    def lines(self) -> range:
        """The lines at which a finding is right: where a key is gone, also its holder's; each new one."""
        before = (FOLDER / self.path).read_text(encoding="utf-8").splitlines()
        after = self.text.splitlines()
        if len(after) < len(before):
            return range(self.line - 3, self.line + 1)
        same = 0  # lines at the end, after the mistake
        while same < len(before) - self.line + 1 and before[-1 - same] == after[-1 - same]:
            same += 1
        return range(self.line, max(self.line, len(after) - same) + 1)


# Kind, pattern, replacement, files.
KINDS: tuple[tuple[str, str, str, str], ...] = (
    # Keys
    ("a letter is missing in a key", r"^(\s*)image:", r"\1imge:", SERVICE),
    ("two letters are swapped in a key", r"^(\s*)healthcheck:", r"\1healthcehck:", SERVICE),
    ("a key in the plural", r"^(\s*)command:", r"\1commands:", SERVICE),
    ("a key in the singular", r"^variables:", "variable:", SERVICE),
    ("a key with capitals", r"^cpu:", "CPU:", SERVICE),
    ("a key in camel case", r"^(\s*)depends_on:", r"\1dependsOn:", SERVICE),
    ("a key with a dash", r"^(\s*)target_port:", r"\1target-port:", SERVICE),
    ("a key of Docker Compose", r"^secrets:", "environment:", SERVICE),
    ("a key of ECS", r"^(\s*)mount_points:", r"\1mountPoints:", SERVICE),
    ("a word of Kubernetes", r"^count:", "replicas:", SERVICE),
    ("a key without its underscore", r"^(\s*)success_codes:", r"\1successcodes:", SERVICE),
    ("a key one level too high", r"^  port: 8000", "port: 8000", SERVICE),
    ("a key one level too deep", r"^memory:", "  memory:", SERVICE),
    ("a block in the wrong block", r"^(\s+)dead_letter:", r"\1dead_letters:", SERVICE),
    ("a misspelt block of environments", r"^environments:", "enviroments:", SERVICE),
    ("a misspelt environment", r"^  prod:", "  prd:", SERVICE),
    ("a key without a space after the colon", r"^memory: ", "memory:", SERVICE),
    ("a repeated key", r"^(cpu: \d+)$", r"\1\n\1", SERVICE),
    ("a tab for indentation", r"^  (\w+):", "\t\\1:", SERVICE),
    ("a bracket that is not closed", r"^(\s*command: \[.*)\]", r"\1", SERVICE),
    ("a quote that is not closed", r"^(\s*\w+: \")([^\"]*)\"$", r"\1\2", SERVICE),
    ("a misspelt type", r"^type: (\w+) (\w+)", r"type: \1\2", SERVICE),
    (
        "another name than the folder's",
        r"^name: (\w+)",
        r"name: \1s",
        r"copilot/(web|api|job|site|environments/test)/",
    ),
    # Values
    ("a word for a number", r"^memory: .*", "memory: 512MB", SERVICE),
    ("a part of a CPU", r"^cpu: .*", "cpu: 0.25", SERVICE),
    ("memory in gibibytes", r"^memory: .*", "memory: 2", SERVICE),
    ("memory that does not go with the CPU", r"^memory: .*", "memory: 65536", SERVICE),
    ("a CPU that does not exist", r"^cpu: .*", "cpu: 300", SERVICE),
    ("a negative count", r"^count: .*", "count: -1", SERVICE),
    ("a count that is a word", r"^count: .*", "count: two", SERVICE),
    ("a range the wrong way round", r"^(\s*)range: \d+-\d+", r"\1range: 9-2", SERVICE),
    ("a range of one number", r"^(\s*)range: \d+-\d+", r"\1range: 3", SERVICE),
    ("a minimum above the maximum", r"^(\s*)min: .*", r"\1min: 10", SERVICE),
    ("a percentage above 100", r"^(\s*)(cpu|memory)_percentage: \d+", r"\1\2_percentage: 700", SERVICE),
    ("a percentage with its sign", r"^(\s*)(cpu|memory)_percentage: (\d+)", r"\1\2_percentage: \3%", SERVICE),
    ("a duration without a unit", r"^(\s*)(interval|timeout|retention): (\d+)[sh]$", r"\1\2: \3", SERVICE),
    ("a duration with a space", r"^(\s*)(interval|timeout): (\d+)s", r"\1\2: \3 s", SERVICE),
    ("a duration in words", r"^(\s*)(interval|timeout|acceptable_latency): .*", r"\1\2: 1 minute", SERVICE),
    ("a duration in days", r"^(\s*)retention: 96h", r"\1retention: 4d", SERVICE),
    (
        "a timeout above the interval",
        r"^(\s*)timeout: (5|10)s",
        r"\1timeout: 100s",
        r"copilot/(web|shop|inner)/",
    ),
    ("too many retries", r"^    retries: \d", "    retries: 50", SERVICE),
    ("a port out of range", r"^(\s*)port: 8000", r"\1port: 80000", SERVICE),
    ("a port and a protocol in one", r"^(\s*)port: 8000", r"\1port: 8000/tpc", SERVICE),
    ("two ports", r"^(\s*)port: 8000", r'\1port: "8000:8000"', SERVICE),
    ("a platform that does not exist", r"^platform: .*", "platform: linux/sparc", SERVICE),
    ("an unquoted percent", r"^(\s*)REPORT: .*", r"\1REPORT: %weekly", SERVICE),
    (
        "a switch that is a word",
        r"^(\s*)(exec|stickiness|recursive|readonly_fs): .*",
        r"\1\2: enabled",
        SERVICE,
    ),
    ("a list for one text", r"^(\s*)(LOG_LEVEL|MODE|DEBUG|REPORT): .*", r"\1\2: [a, b]", SERVICE),
    ("a text for a list", r"allowed_source_ips: .*", "allowed_source_ips: 10.24.34.0/23", SERVICE),
    ("a range of addresses too long", r"10\.24\.34\.0/23", "10.24.34.0/33", SERVICE),
    ("an address that is none", r"10\.24\.34\.0/23", "10.24.340.0/23", SERVICE),
    ("a version of HTTP that does not exist", r"version: http1", "version: http3", SERVICE),
    ("a rolling strategy that does not exist", r"rolling: .*", "rolling: blue-green", SERVICE),
    ("a placement that does not exist", r"placement: .*", "placement: isolated", SERVICE),
    ("a tracing vendor that does not exist", r"tracing: .*", "tracing: xray", SERVICE),
    ("a retention that CloudWatch lacks", r"^(\s*)retention: (30|14|7)$", r"\1retention: 31", ""),
    ("ephemeral storage too small", r"ephemeral: .*", "ephemeral: 10", SERVICE),
    ("ephemeral storage too large", r"ephemeral: .*", "ephemeral: 500", SERVICE),
    ("an id of a file system that is none", r"id: fs-\w+", "id: files", SERVICE),
    ("a security group that is a name", r"security_groups: .*", "security_groups: [default]", SERVICE),
    ("a code that is none", r"^(\s*)success_codes: .*", r"\1success_codes: ok", SERVICE),
    ("a threshold out of range", r"^(\s*)healthy_threshold: .*", r"\1healthy_threshold: 50", SERVICE),
    ("a grace period without a unit", r"grace_period: .*", "grace_period: 60", SERVICE),
    ("a delay too long", r"^    delay: 30s", "    delay: 1h", SERVICE),
    ("too many tries", r"^      tries: .*", "      tries: 5000", SERVICE),
    ("a queue that waits too long", r"timeout: (300|60)s$", "timeout: 24h", r"copilot/(worker|fifo)/"),
    ("a throughput limit that does not exist", r"throughput_limit: .*", "throughput_limit: perQueu", SERVICE),
    ("a scope that does not exist", r"deduplication_scope: .*", "deduplication_scope: group", SERVICE),
    ("a topic with a space", r"- name: (orders|done)", r"- name: new \1", SERVICE),
    ("a schedule that is misspelt", r"schedule: \"@daily\"", 'schedule: "@dialy"', SERVICE),
    ("a schedule of too few fields", r"schedule: \"0 6.*", 'schedule: "0 6 *"', SERVICE),
    ("an hour that does not exist", r"schedule: \"0 6.*", 'schedule: "0 25 * * *"', SERVICE),
    ("a timeout of a job without a unit", r"timeout: 1h30m", "timeout: 90", SERVICE),
    ("a path without a slash", r"path: /healthz", "path: healthz", SERVICE),
    ("a mount that is not absolute", r"^(\s*)path: /files", r"\1path: files", SERVICE),
    ("a name that no variable may have", r"^(\s*)LOG_LEVEL: ", r"\1LOG LEVEL: ", SERVICE),
    ("a secret with a space", r"^(\s*)(SECRET_KEY|PASSWORD): .*", r"\1\2: my secret", SERVICE),
    (
        "an ARN that is cut off",
        r"^(\s*)(SECRET_KEY|PASSWORD): .*",
        r"\1\2: 'arn:aws:ssm:parameter/x'",
        SERVICE,
    ),
    ("an SSL policy that does not exist", r"ssl_policy: .*", "ssl_policy: TLS-1-2", ""),
    # Relations
    ("a Dockerfile that is not there", r"(build|dockerfile): Dockerfile", r"\1: Dockerfil", SERVICE),
    ("a context that is not there", r"context: \.", "context: app", SERVICE),
    ("a stage that is not there", r"target: run", "target: rnu", SERVICE),
    (
        "another port than the server's",
        r"^(\s*)port: 8000",
        r"\1port: 8001",
        r"copilot/(web|api|inner|runner)/",
    ),
    ("an env file that is not there", r"env_file: .*", "env_file: prod.env", SERVICE),
    ("a source that is not there", r"source: site", "source: sites", SERVICE),
    ("a volume that is not there", r"source_volume: files", "source_volume: file", SERVICE),
    ("a container that is not there", r"target_container: nginx", "target_container: ngnix", SERVICE),
    ("a dependency that is not there", r"^      web: start", "      wbe: start", SERVICE),
    ("a condition that does not exist", r"^(\s+)(web|startup): (start|success)", r"\1\2: ready", SERVICE),
    ("a topic that nobody publishes", r"- name: orders\n", "- name: order\n", r"copilot/worker/"),
    ("build and location both", r"^(\s+)(location: .*)", r"\1build: Dockerfile\n\1\2", SERVICE),
    ("an empty image", r"^image:\n(\s+.*\n)+", "image:\n\n", SERVICE),
    ("a variable that is a secret too", r"^secrets:\n", "secrets:\n  LOG_LEVEL: /x\n", r"copilot/web/"),
    ("a password in the open", r"^variables:\n", "variables:\n  DB_PASSWORD: hunter2hunter2\n", SERVICE),
    (
        "a source of imports that does not exist",
        r"^variables:\n",
        "variables:\n  X:\n    from_cf: y\n",
        SERVICE,
    ),
    ("a secret's source that does not exist", r"secretsmanager:", "secretmanager:", SERVICE),
    ("an essential sidecar that ends", r"essential: false", "essential: true", SERVICE),
    ("a wrong path of taskdef_overrides", r"Ulimits\[-\]\.Name", "Ulimit[-].Name", SERVICE),
    ("no path for the load balancer", r"^  path: (/|shop|inner)\n", "", SERVICE),
    ("no port", r"^  port: 8000\n", "", r"copilot/(web|shop|runner)/"),
    ("no type", r"^type: .*\n", "", SERVICE),
    ("a rule of the network balancer that does not exist", r"port: 8443/tcp", "port: 8443/http", SERVICE),
    ("an operator in a size", r"^cpu: (\d+)", r"cpu: \1m", SERVICE),
    # Lists, texts and names
    ("secrets in a list", r"^secrets:\n  (\w+): .*", r"secrets:\n  - \1", r"copilot/(web|fifo)/manifest"),
    ("variables in a list", r"^variables:\n  (\w+): .*", r"variables:\n  - \1=x", SERVICE),
    ("sidecars in a list", r"^  nginx:\n", "  - nginx:\n", r"copilot/web/manifest"),
    ("a list of dependencies", r"depends_on:\n      web: start", "depends_on: [web]", SERVICE),
    ("codes in a list", r"success_codes: '200'", "success_codes: [200, 301]", SERVICE),
    ("a deployment that is one word", r"deployment:\n  rolling: recreate", "deployment: recreate", SERVICE),
    ("a secret of nothing", r"^  SECRET_KEY: .*", "  SECRET_KEY:", SERVICE),
    ("a host name without a dot", r"- name: shop.*", "- name: shop", SERVICE),
    ("a host name with its scheme", r"- name: shop.*", "- name: https://shop.example.com", SERVICE),
    ("a path with a blank", r"path: (shop|inner)$", r"path: my \1", SERVICE),
    ("an image with its scheme", r"location: public.*", "location: https://public.ecr.aws/x/y:1", SERVICE),
    ("an image in capitals", r"location: public.*", "location: Python:3.12", SERVICE),
    ("an env file of another name", r"env_file: web\.env", "env_file: Dockerfile", SERVICE),
    ("a publisher that is not there", r"service: web", "service: wbe", SERVICE),
    ("an override without its path", r"  - path: Cont\S+HardLimit\n    value", "  - value", SERVICE),
    ("an override of the family", r"ContainerDefinitions\S+HardLimit", "Family", SERVICE),
    ("a share of Spot above the most", r"spot_from: 3", "spot_from: 30", SERVICE),
    ("a threshold of an alarm above 100", r"^    cpu_utilization: 70", "    cpu_utilization: 170", SERVICE),
    ("a stage that is one word", r"- name: prod\n(    .*\n)+", "- prod\n", PIPELINE),
    ("a zone that stands twice", r"az: us-east-1b", "az: us-east-1a", ENVIRONMENT),
    ("a VPC that is too large", r"cidr: 10\.0\.0\.0/16", "cidr: 10.0.0.0/8", ENVIRONMENT),
    ("a subnet that stands twice", r"subnet-0123456789abcdef1", "subnet-0123456789abcdef0", ENVIRONMENT),
    ("a value of another type, by a patch", r"^  value: 60", "  value: sixty", PATCH),
    ("a patch without its operation", r"^- op: replace\n  path", "- path", PATCH),
    # Environments
    ("a range of the VPC that is none", r"cidr: 10\.0\.0\.0/16", "cidr: 10.0.0.0/36", ENVIRONMENT),
    ("a subnet outside of the VPC", r"cidr: 10\.0\.1\.0/24", "cidr: 10.9.1.0/24", ENVIRONMENT),
    ("subnets that overlap", r"cidr: 10\.0\.1\.0/24", "cidr: 10.0.0.128/25", ENVIRONMENT),
    ("a zone that is another region's", r"az: us-east-1b", "az: eu-west-1b", ENVIRONMENT),
    ("one subnet alone", r"^ +- id: subnet-0123456789abcdef1\n", "", ENVIRONMENT),
    ("an id of a VPC that is none", r"id: vpc-\w+", "id: main", ENVIRONMENT),
    ("an id of a subnet that is none", r"id: subnet-0123456789abcdef0", "id: public-a", ENVIRONMENT),
    ("a misspelt key of the network", r"flow_logs:", "flow_log:", ENVIRONMENT),
    ("ports the wrong way round", r"ports: 80-90", "ports: 90-80", ENVIRONMENT),
    ("a protocol that does not exist", r"ip_protocol: tcp", "ip_protocol: http", ENVIRONMENT),
    ("a switch of the environment", r"container_insights: \w+", "container_insights: enhanced", ENVIRONMENT),
    ("certificates that are none", r"^(\s+)access_logs: true", r"\1certificates: [example.com]", ENVIRONMENT),
    ("a misspelt environment's type", r"type: Environment", "type: Enviroment", ENVIRONMENT),
    ("addresses that are no list", r"source_ips: .*", "source_ips: 192.0.2.0/24", ENVIRONMENT),
    # Addons and patches
    ("a reference to nothing", r"!Ref Bucket", "!Ref Buckett", ADDON),
    ("an attribute that does not exist", r"Bucket\.Arn", "Bucket.ARN", ADDON),
    ("a type that AWS lacks", r"AWS::S3::Bucket", "AWS::S3::Buckets", ADDON),
    ("a property that AWS lacks", r"VersioningConfiguration:", "VersionConfiguration:", ADDON),
    ("a value that AWS lacks", r"Status: Enabled", "Status: On", ADDON),
    (
        "a parameter that Copilot does not give",
        r"^  Name:\n    Type: String\n",
        "  Names:\n    Type: String\n",
        ADDON,
    ),
    ("a missing property", r"^      PolicyDocument:", "      PolicyDocuments:", ADDON),
    ("an operation that does not exist", r"op: replace", "op: update", PATCH),
    ("a path that is not there", r"/Resources/LogGroup/", "/Resources/LogGroups/", PATCH),
    ("a property that AWS lacks, by a patch", r"RetentionInDays", "RetentionDays", PATCH),
    ("no path of a patch", r"^  path: /Resources/LogGroup.*\n", "", PATCH),
    # Pipelines
    ("a provider that does not exist", r"provider: GitHub", "provider: Github", PIPELINE),
    ("a misspelt property", r"repository:", "repositry:", PIPELINE),
    ("another provider's repository", r"https://github\.com", "https://gitlab.com", PIPELINE),
    ("a stage that is no environment", r"- name: prod", "- name: prdo", PIPELINE),
    ("a service that is not there", r"^      api:", "      apii:", PIPELINE),
    ("a deployment that is not there", r"depends_on: \[api\]", "depends_on: [appi]", PIPELINE),
    ("a misspelt approval", r"requires_approval", "require_approval", PIPELINE),
    ("a buildspec that is not there", r"buildspec: buildspec\.yml", "buildspec: build.yml", PIPELINE),
    ("commands that are no list", r"test_commands: .*", "test_commands: make test", PIPELINE),
    ("a version that does not exist", r"version: 1", "version: 2", PIPELINE),
    *FURTHER,
    *RELATED,
    *USERS,
    *COMBINED,
)


def files() -> list[str]:
    """Return the files in which mistakes are made, below the workspace's top."""
    found = [file.relative_to(FOLDER).as_posix() for file in FOLDER.rglob("*.yml") if file.is_file()]
    return sorted([*(path for path in found if path.startswith("copilot/")), "Dockerfile"])


def seeds() -> Iterator[Seed]:
    """Yield each kind in each file that it fits."""
    for kind, pattern, instead, where in KINDS:
        for path in files():
            if not re.search(where, path):
                continue
            before = (FOLDER / path).read_text(encoding="utf-8")
            after = re.sub(pattern, instead, before, count=1, flags=re.MULTILINE)
            if after != before:
                pairs = zip([*before.splitlines(), ""], [*after.splitlines(), "", ""], strict=False)
                line = next(number for number, (old, new) in enumerate(pairs, 1) if old != new)
                yield Seed(kind, path, after, line)
