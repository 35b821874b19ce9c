"""The forms of values that Copilot or AWS takes at a key: words of a list, ranges, addresses, ids, schedules.

The keys are those of a manifest, or of one of its blocks for an environment. `*` is any name, and `**.` at
the beginning any keys.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

Place = tuple[str, ...]


@dataclass(frozen=True)
class Form:
    """`fits` judges a value's text; `takes` ends a sentence that names what is taken, `instead` is the cure.

    A mapping in its place is another form of the key, of which its own keys are judged; of a list, each item.
    """

    fits: Callable[[str], bool]
    takes: str
    instead: Callable[[str], str]
    known: tuple[str, ...] = ()  # the words, where it is one of some


def words(*known: str, any_case: bool = True) -> Form:
    """Return the form of a value that is one of these words."""
    folded = {word.casefold() if any_case else word: word for word in known}

    def instead(text: str) -> str:
        near = difflib.get_close_matches(text.casefold(), [word.casefold() for word in known], 1, 0.4)
        found = next((word for word in known if near and word.casefold() == near[0]), "")
        return f"write `{found}`" if found else f"write one of {', '.join(known)}"

    def fits(text: str) -> bool:
        return (text.casefold() if any_case else text) in folded

    return Form(fits, " or ".join(known), instead, known)


def numbers(least: int, most: int | None = None) -> Form:
    """Return the form of a whole number in a range."""
    takes = f"a whole number from {least} to {most}" if most else f"a whole number from {least} on"

    def fits(text: str) -> bool:
        return bool(re.fullmatch(r"-?\d+", text)) and least <= int(text) <= (
            int(text) if most is None else most
        )

    def instead(text: str) -> str:
        digits = re.sub(r"\D", "", text)
        return f"write `{digits}`" if digits and fits(digits) else f"write {takes}"

    return Form(fits, takes, instead)


def matching(pattern: str, takes: str, example: str) -> Form:
    """Return the form of a text that a regular expression matches as a whole."""
    form = re.compile(pattern)
    return Form(lambda text: bool(form.fullmatch(text)), takes, lambda _: f"write it as in `{example}`")


_LAST_PORT = 65535


def _is_span(text: str) -> bool:
    ends = text.split("-")
    return all(end.isdigit() for end in ends) and int(ends[0]) <= int(ends[-1]) and len(ends) <= 2  # noqa: PLR2004 - ends


def _is_ports(text: str) -> bool:
    return text == "-1" or (_is_span(text) and int(text.rpartition("-")[2]) <= _LAST_PORT)


def _is_range(text: str) -> bool:
    return "-" in text and _is_span(text)


def _turned(example: str) -> Callable[[str], str]:
    def instead(text: str) -> str:
        ends = text.split("-")
        turned = "-".join(reversed(ends))
        return f"write `{turned}`" if len(ends) == 2 and _is_span(turned) else f"write it as in `{example}`"  # noqa: PLR2004 - ends

    return instead


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


# Source: ParseStandard in https://pkg.go.dev/github.com/robfig/cron/v3, which Copilot uses
_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_NAMES = {
    **{name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])},
    **{
        name: number + 1
        for number, name in enumerate(
            ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
        )
    },
}
# Source: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html
_RATE = re.compile(r"1 (minute|hour|day)|(?!0*[01] )\d+ (minutes|hours|days)")
_OF_AWS = 6  # fields of a cron of EventBridge
_PRESETS = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
_PART = re.compile(r"(\*|\?|\w+(?:-\w+)?)(?:/(\d+))?")


def is_schedule(text: str) -> bool:
    """Return True if Copilot can read a job's schedule, or EventBridge its rate or its cron of six fields."""
    if of_aws := re.fullmatch(r"(rate|cron)\((.*)\)", text):
        return bool(_RATE.fullmatch(of_aws[2])) if of_aws[1] == "rate" else _is_cron_of_aws(of_aws[2].split())
    if re.search(r"(rate|cron)\(.*\)|none", text) or text in _PRESETS or "TZ=" in text:
        return True
    if text.startswith("@every "):
        return bool(re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h))+", text.removeprefix("@every ")))
    fields = text.split()
    return len(fields) == len(_FIELDS) and all(map(_is_field, fields, _FIELDS))


def _is_cron_of_aws(fields: list[str]) -> bool:
    """Return True for six fields, of which the day of the month or that of the week is `?`."""
    return len(fields) == _OF_AWS and "?" in {fields[2], fields[4]}


def _is_field(text: str, limits: tuple[int, int]) -> bool:
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if not found or found[2] == "0":
            return False
        ends = [] if found[1] in {"*", "?"} else found[1].split("-")
        values = [int(end) if end.isdigit() else _NAMES.get(end.lower(), -1) for end in ends]
        if values != sorted(values) or not all(limits[0] <= value <= limits[1] for value in values):
            return False
    return True


def _schedule(text: str) -> str:
    near = difflib.get_close_matches(text, _PRESETS, 1)
    return f"write `{near[0]}`" if near else 'write `@daily`, `@every 1h` or five fields, as `"0 6 * * *"`'


# Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ecs-taskdefinition.html
_OF_TASK = [
    "ContainerDefinitions",
    "Cpu",
    "EnableFaultInjection",
    "EphemeralStorage",
    "ExecutionRoleArn",
    "IpcMode",
    "Memory",
    "InferenceAccelerators",
    "NetworkMode",
    "PidMode",
    "PlacementConstraints",
    "ProxyConfiguration",
    "RuntimePlatform",
    "Tags",
    "RequiresCompatibilities",
    "TaskRoleArn",
    "Volumes",
]
_OF_CONTAINER = [
    "Command",
    "Cpu",
    "CredentialSpecs",
    "DependsOn",
    "DisableNetworking",
    "DnsSearchDomains",
    "DnsServers",
    "DockerLabels",
    "Image",
    "DockerSecurityOptions",
    "EntryPoint",
    "Environment",
    "EnvironmentFiles",
    "Essential",
    "ExtraHosts",
    "HealthCheck",
    "Hostname",
    "FirelensConfiguration",
    "Interactive",
    "Links",
    "LinuxParameters",
    "LogConfiguration",
    "Memory",
    "MemoryReservation",
    "Name",
    "MountPoints",
    "PortMappings",
    "Privileged",
    "PseudoTerminal",
    "ReadonlyRootFilesystem",
    "RepositoryCredentials",
    "Secrets",
    "ResourceRequirements",
    "RestartPolicy",
    "StartTimeout",
    "StopTimeout",
    "SystemControls",
    "Ulimits",
    "User",
    "VolumesFrom",
    "VersionConsistency",
    "WorkingDirectory",
]


def _strange(text: str) -> tuple[str, list[str]]:
    """Return the first part of a path in a task definition that AWS lacks, and those that it has."""
    for part, known in zip(
        re.sub(r"\[[^\]]*\]", "", text).split("."), (_OF_TASK, _OF_CONTAINER), strict=False
    ):
        if part not in known:
            return part, known
        if part != "ContainerDefinitions":
            break
    return "", []


def _is_of_task(text: str) -> bool:
    return not _strange(text)[0]


def _property(text: str) -> str:
    part, known = _strange(text)
    near = difflib.get_close_matches(part, known, 1)
    return f"write `{near[0]}` for `{part}`" if near else "write the path as CloudFormation has it"


# Text in YAML 1.2, but Copilot reads y, n and the like as true or false.
_SWITCH = words("true", "false", "yes", "no", "on", "off", "y", "n")
_PERCENTAGE = numbers(1, 100)
_RANGE = Form(_is_range, "the least and the most, as in `1-4`", _turned("1-4"))
_NETWORK = Form(
    _is_network, "a range of addresses, such as `10.0.0.0/16`", lambda _: "write it as in `10.0.0.0/16`"
)
_PATH = matching(r"/[a-zA-Z0-9\-._/]*", "an absolute path of letters, digits and `-._/`", "/files")
_DURATION = matching(r"([\d.]+(ns|us|µs|ms|s|m|h))+", "a duration with its unit", "1m30s")
_IMAGE = matching(
    r"(?!\w+://)([\w.-]+(:\d+)?/)?[a-z0-9._/-]+(:[\w.-]+)?(@sha256:[0-9a-f]+)?",
    "the name of an image, in small letters and without `https://`",
    "nginx:1.29",
)
_HOST = matching(
    r"(?i:(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9])?\.)+[a-z][a-z0-9-]+)\.?", "a host name", "shop.example.com"
)
# Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
_RULE_PATH = matching(r"[\w.$/~\"'@:+&*?-]{0,128}", "letters, digits and `_-.$/~\"'@:+&*?`", "shop/*")
_ENV_FILE = matching(r".*\.env|", "a file whose name ends with `.env`", "web.env")
_PERCENTAGE_OF_ALARM = Form(
    lambda text: bool(re.fullmatch(r"\d+(\.\d+)?", text)) and 0 < float(text) <= 100,  # noqa: PLR2004 - per cent
    "a number up to 100",
    lambda _: "write `70`, for example",
)
_POLICY = matching(
    r"ELBSecurityPolicy-[\w-]+", "the name of a policy of AWS", "ELBSecurityPolicy-TLS13-1-2-2021-06"
)
_CERTIFICATE = matching(
    r"arn:aws[\w-]*:(acm:[\w-]+:\d{12}:certificate/.+|iam::\d{12}:server-certificate/.+)",
    "the ARN of a certificate",
    "arn:aws:acm:us-east-1:123456789012:certificate/…",
)
_SUBNET = matching(r"subnet-[0-9a-f]+", "the id of a subnet", "subnet-0123456789abcdef0")
_ZONE = matching(r"[a-z]{2}(-[a-z]+)+-\d[a-z]?(-[a-z]+-\d[a-z])?|[a-z]", "an availability zone", "us-east-1a")
# Sources: internal/pkg/manifest/validate.go of aws/copilot-cli 1.34, which the notes do not repeat;
# https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-ecs-taskdefinition-ephemeralstorage.html
FORMS: Mapping[str, Form] = {
    "http.alias": _HOST,
    "http.alias.name": _HOST,
    "http.additional_rules.alias": _HOST,
    "http.additional_rules.alias.name": _HOST,
    "nlb.alias": _HOST,
    "nlb.alias.name": _HOST,
    "http.path": _RULE_PATH,
    "http.additional_rules.path": _RULE_PATH,
    "env_file": _ENV_FILE,
    "sidecars.*.env_file": _ENV_FILE,
    "logging.env_file": _ENV_FILE,
    "network.connect.alias": matching(
        r"[a-z0-9._-]{1,127}", "small letters, digits, `.`, `_` and `-`", "api"
    ),
    "deployment.rollback_alarms.cpu_utilization": _PERCENTAGE_OF_ALARM,
    "deployment.rollback_alarms.memory_utilization": _PERCENTAGE_OF_ALARM,
    "deployment.rollback_alarms.messages_delayed": numbers(1),
    "count": numbers(0),
    "count.spot": numbers(0),
    "count.range": _RANGE,
    "count.range.min": numbers(0),
    "count.range.max": numbers(0),
    "count.range.spot_from": numbers(1),
    "count.cpu_percentage": _PERCENTAGE,
    "count.cpu_percentage.value": _PERCENTAGE,
    "count.memory_percentage": _PERCENTAGE,
    "count.memory_percentage.value": _PERCENTAGE,
    "count.requests": numbers(1),
    "count.requests.value": numbers(1),
    "count.response_time": _DURATION,
    "count.response_time.value": _DURATION,
    "platform": words(
        *("linux/x86_64", "linux/amd64", "linux/arm64", "linux/arm", "windows/x86_64", "windows/amd64"),
    ),
    "exec": _SWITCH,
    "network.connect": _SWITCH,
    "publish.topics.fifo": _SWITCH,
    "subscribe.queue.fifo": _SWITCH,
    "subscribe.topics.queue": _SWITCH,
    "subscribe.topics.queue.fifo": _SWITCH,
    "deployment.rolling": words("default", "recreate"),
    "network.vpc.placement": words("public", "private"),
    "observability.tracing": words("awsxray"),
    "http.version": words("http1", "http2", "grpc"),
    "http.additional_rules.version": words("http1", "http2", "grpc"),
    "http.allowed_source_ips": _NETWORK,
    "http.additional_rules.allowed_source_ips": _NETWORK,
    "nlb.port": matching(r"\d{1,5}(/(?i:tcp|udp|tls))?", "a port and `tcp`, `udp` or `tls`", "443/tls"),
    "nlb.additional_listeners.port": matching(
        r"\d{1,5}(/(?i:tcp|udp|tls))?", "a port and `tcp`, `udp` or `tls`", "443/tls"
    ),
    "nlb.ssl_policy": _POLICY,
    "sidecars.*.port": matching(r"\d{1,5}(/(?i:tcp|udp))?", "a port and `tcp` or `udp`", "8080/tcp"),
    "sidecars.*.image": _IMAGE,
    "sidecars.*.depends_on.*": words("start", "complete", "success", "healthy"),
    "sidecars.*.mount_points.path": _PATH,
    "image.depends_on.*": words("start", "complete", "success", "healthy"),
    "image.location": _IMAGE,
    "storage.ephemeral": numbers(20, 200),
    "storage.volumes.*.path": _PATH,
    "storage.volumes.*.efs.auth.access_point_id": matching(
        r"fsap-[0-9a-f]+", "the id of an access point", "fsap-0123"
    ),
    "publish.topics.name": matching(r"[A-Za-z0-9_-]{1,251}", "letters, digits, `_` and `-`", "orders"),
    "subscribe.topics.name": matching(r"[A-Za-z0-9_-]{1,256}", "letters, digits, `_` and `-`", "orders"),
    "**.fifo.throughput_limit": words("perQueue", "perMessageGroupId", any_case=False),
    "**.fifo.deduplication_scope": words("queue", "messageGroup", any_case=False),
    "on.schedule": Form(is_schedule, "a preset, `@every`, or five fields of cron", _schedule),
    "timeout": _DURATION,
    "retries": numbers(0),
    "taskdef_overrides.path": Form(_is_of_task, "properties of `AWS::ECS::TaskDefinition`", _property),
    "secrets.*": matching(
        r"(?!arn:).*|arn:aws[\w-]*:(ssm:[\w-]+:\d{12}:parameter/.+|secretsmanager:[\w-]+:\d{12}:secret:.+)",
        "the ARN of a parameter of SSM, or of a secret",
        "arn:aws:ssm:us-east-1:123456789012:parameter/NAME",
    ),
}
ENVIRONMENT_FORMS: Mapping[str, Form] = {
    "cdn": _SWITCH,
    "http.public.access_logs": _SWITCH,
    "network.vpc.flow_logs": _SWITCH,
    "network.vpc.subnets.*.cidr": _NETWORK,
    "network.vpc.subnets.*.az": _ZONE,
    "network.vpc.subnets.*.id": _SUBNET,
    "network.vpc.security_group.*.cidr": _NETWORK,
    "network.vpc.security_group.*.ports": Form(
        _is_ports, "a port, or the least and the most", _turned("80-90")
    ),
    # Source: IpProtocol in
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html
    "network.vpc.security_group.*.ip_protocol": matching(
        r"tcp|udp|icmp|icmpv6|-1|\d{1,3}", "`tcp`, `udp`, `icmp`, `icmpv6`, a number, or `-1` for all", "tcp"
    ),
    "http.*.certificates": _CERTIFICATE,
    "http.*.ssl_policy": _POLICY,
    "http.public.ingress.source_ips": _NETWORK,
    "http.public.security_groups.ingress.restrict_to.source_ips": _NETWORK,
    "http.private.subnets": _SUBNET,
}


def of(place: Place, *, environment: bool) -> Form | None:
    """Return the form of the value at a key; None where there is none, or other rules have it."""
    if place[:1] == ("environments",):
        place = place[2:]
    name = ".".join(part.replace(".", "_") for part in place)
    known = ENVIRONMENT_FORMS if environment else FORMS
    if name in known:
        return known[name]
    for pattern, form in known.items():
        if "*" not in pattern:
            continue
        parts = pattern.split(".")
        if parts[0] == "**" and place[-len(parts) + 1 :] == tuple(parts[1:]):
            return form
        if len(parts) == len(place) and all(map(fnmatchcase, name.split("."), parts)):
            return form
    return None
