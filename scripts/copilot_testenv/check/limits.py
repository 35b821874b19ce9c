"""Find single values that AWS refuses at a deploy, although Copilot packages them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import yaml

from copilot_testenv.check import forms, schema
from copilot_testenv.check.document import Document, line_of
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project
from copilot_testenv.check.schema import Place

# Source: RetentionInDays in
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
RETENTION = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827),
    *(2192, 2557, 2922, 3288, 3653),
)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
_LEAST_CODE, _MOST_CODE = 200, 499  # of HTTP, for a healthy answer
_CODES = re.compile(r"\d{3}(-\d{3})?(,\d{3}(-\d{3})?)*")


@dataclass(frozen=True)
class Limit:
    """The values that AWS takes: `fits` judges one's text; `takes` names them, as the end of a sentence."""

    fits: Callable[[str], bool]
    takes: str
    instead: Callable[[str], str]


def seconds(text: str) -> float | None:
    """Return a duration of Copilot (Go) in seconds; None where it is none."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _duration(least: int, most: int) -> Limit:
    def fits(text: str) -> bool:
        value = seconds(text)
        return value is None or least <= value <= most

    def instead(text: str) -> str:
        return f"write `{least if (seconds(text) or 0) < least else most}s`"

    return Limit(fits, f"{least}s to {most}s", instead)


def _number(least: int, most: int) -> Limit:
    def fits(text: str) -> bool:
        return not text.lstrip("-").isdigit() or least <= int(text) <= most

    def instead(text: str) -> str:
        return f"write `{least if int(text) < least else most}`"

    return Limit(fits, f"{least} to {most}", instead)


def _form(pattern: str, takes: str, instead: str) -> Limit:
    form = re.compile(pattern)
    return Limit(lambda text: bool(form.fullmatch(text)), takes, lambda _: instead)


def _nearest_retention(text: str) -> str:
    return f"write `{min(RETENTION, key=lambda days: (abs(days - int(text)), days))}`"


_RETENTION = Limit(
    lambda text: not text.lstrip("-").isdigit() or int(text) in RETENTION,
    f"one of {', '.join(map(str, RETENTION))}",
    _nearest_retention,
)
_PORT = replace(_number(1, 65535), instead=lambda _: "write the port on which the container listens")
_CHECKED_PATH = _form(r"/.{0,1023}", "a path that begins with `/`", "write it with a `/` at the beginning")
_COMMAND = _form(
    "CMD|CMD-SHELL|NONE",
    "`CMD`, `CMD-SHELL` or `NONE` as the first word",
    "write `CMD-SHELL` before a line for the shell, or `CMD` before words",
)
_CODE = Limit(
    lambda text: (
        bool(_CODES.fullmatch(text))
        and all(_LEAST_CODE <= int(code) <= _MOST_CODE for code in re.findall(r"\d+", text))
    ),
    "codes from 200 to 499, such as `200,301` or `200-399`",
    lambda _: "write `200`, or the codes of your page",
)
_HTTP_CHECK: Mapping[str, Limit] = {
    # Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
    "interval": _duration(5, 300),
    "timeout": _duration(2, 120),
    "healthy_threshold": _number(2, 10),
    "unhealthy_threshold": _number(2, 10),
    "path": _CHECKED_PATH,
    "success_codes": _CODE,
    "port": _PORT,
}
_APP_RUNNER_CHECK: Mapping[str, Limit] = {
    # Source: https://docs.aws.amazon.com/apprunner/latest/api/API_HealthCheckConfiguration.html
    "interval": _duration(1, 20),
    "timeout": _duration(1, 20),
    "healthy_threshold": _number(1, 20),
    "unhealthy_threshold": _number(1, 20),
    "path": _CHECKED_PATH,
}
_CONTAINER_CHECK: Mapping[str, Limit] = {
    # Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
    "interval": _duration(5, 300),
    "timeout": _duration(2, 120),
    "retries": _number(1, 10),
    "start_period": _duration(0, 300),
}
_QUEUE: Mapping[str, Limit] = {
    # Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
    "retention": _duration(60, 1_209_600),
    "delay": _duration(0, 900),
    "timeout": _duration(0, 43_200),
    "tries": _number(1, 1000),
}
_IDS: Mapping[str, Limit] = {
    "groups": _form(r"sg-[0-9a-f]+", "the id of a security group, `sg-…`", "write its id"),
    "subnets": _form(r"subnet-[0-9a-f]+", "the id of a subnet, `subnet-…`", "write its id"),
    "efs": _form(r"fs-[0-9a-f]+", "the id of a file system, `fs-…`", "write its id"),
    "vpc": _form(r"vpc-[0-9a-f]+", "the id of a VPC, `vpc-…`", "write its id"),
}
_SECRET = _form(
    r"arn:[^ ]+|/?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*",
    "a parameter's name: letters, digits, `_`, `.`, `-` and `/`",
    "write the name of the parameter in SSM, such as `/copilot/app/env/secrets/NAME`",
)
_OF_CLOUDFRONT = _form(
    r"arn:aws[\w-]*:acm:us-east-1:\d+:certificate/.+",
    "a certificate of us-east-1 for CloudFront",
    "import the certificate in us-east-1 and write its ARN",
)


# `count` is the name of a configuration. Copilot 1.34 means to take two platforms, but its condition
# refuses each.
# Sources: https://docs.aws.amazon.com/apprunner/latest/api/API_CreateAutoScalingConfiguration.html
# and AppRunnerInstanceConfig in internal/pkg/manifest/validate.go of aws/copilot-cli
_OF_APP_RUNNER: Mapping[str, forms.Form] = {
    "count": forms.matching(
        r"arn:.+|[A-Za-z0-9][\w-]{3,31}(/\d+)?",
        "the name of an autoscaling configuration",
        "high-availability/3",
    ),
    "platform": forms.Form(
        lambda _: False, "none for App Runner, which runs on x86_64", lambda _: "remove `platform`"
    ),
}


def values(project: Project) -> Iterator[Finding]:
    """Find single values that Copilot or AWS refuses, or that Copilot ignores."""
    for document, top in schema.documents(project):
        kind = document.get("type")
        for entry in schema.written(document, top):
            name = str(entry.key.value)
            for node, form in misfits(entry, str(kind)):
                what = f"Copilot or AWS takes no `{node.value}` for `{entry.name}`: it takes {form.takes}"
                yield _finding(document, node, what, form.instead(str(node.value)))
            for number, node in enumerate(_scalars(entry.value)):
                limit = _limit(entry.place, name, is_first=number == 0)
                if kind == "Request-Driven Web Service" and "healthcheck" in entry.place:
                    limit = _APP_RUNNER_CHECK.get(name)
                text = str(node.value)
                if limit is None or "${" in text or limit.fits(text):
                    continue
                what = f"AWS takes no `{text}` for `{entry.name}`: it takes {limit.takes}"
                yield _finding(document, node, what, limit.instead(text))


def misfits(entry: schema.Entry, kind: str) -> Iterator[tuple[yaml.ScalarNode, forms.Form]]:
    """Yield each value at this key that has not the key's form, with that form; `kind` is the manifest's."""
    place = (*entry.place, str(entry.key.value))
    if (place == ("timeout",) and kind != "Scheduled Job") or kind == "Static Site":
        return
    form = forms.of(place, environment=kind == "Environment")
    if kind == "Request-Driven Web Service" and place[-1] in _OF_APP_RUNNER:
        form = _OF_APP_RUNNER[place[-1]]
    for node in _scalars(entry.value) if form else ():
        text = str(node.value)
        if form and "${" not in text and node.tag not in {"!Ref", "!Sub"} and not form.fits(text):
            yield node, form


def _scalars(value: yaml.Node) -> list[yaml.ScalarNode]:
    nodes = value.value if isinstance(value, yaml.SequenceNode) else [value]
    return [
        node for node in nodes if isinstance(node, yaml.ScalarNode) and node.tag != "tag:yaml.org,2002:null"
    ]


def _limit(place: Place, name: str, *, is_first: bool) -> Limit | None:  # noqa: PLR0911 - one for each holder
    inner = place[2:] if place[:1] == ("environments",) else place
    holder = inner[-1] if inner else ""
    if holder in {"variables", "labels", "args", "destination"}:
        return None
    if holder == "secrets" or (name == "secretsmanager" and "secrets" in inner):
        return _SECRET if holder == "secrets" else None
    if name == "healthcheck":
        return _CHECKED_PATH
    if holder == "healthcheck":
        in_container = inner[-2:-1] == ("image",) or inner[:1] == ("sidecars",)
        if name == "command":
            return _COMMAND if in_container and is_first else None
        return (_CONTAINER_CHECK if in_container else _HTTP_CHECK).get(name)
    if name == "retention":
        return _QUEUE[name] if holder == "queue" else _RETENTION
    if holder in {"queue", "dead_letter"}:
        return _QUEUE.get(name)
    if name == "deregistration_delay":
        return _duration(0, 3600)
    if name in {"port", "target_port"}:
        return _PORT
    return _id(inner, holder, name)


def _id(inner: Place, holder: str, name: str) -> Limit | None:
    if name in {"security_groups", "groups"} and "vpc" in inner:
        return _IDS["groups"]
    if name == "subnets" and holder == "placement":
        return _IDS["subnets"]
    if name in {"efs", "id"} and "efs" in {name, holder} and "volumes" in inner:
        return None if name == "efs" else _IDS["efs"]
    if name == "id" and inner == ("network", "vpc"):
        return _IDS["vpc"]
    if name == "certificate" and inner[:1] in {("cdn",), ("http",)}:
        return _OF_CLOUDFRONT
    return None


def _finding(document: Document, node: yaml.Node, what: str, instead: str) -> Finding:
    return Finding(document.path, line_of(node), "limit", "error", what, instead)


RULES = (values,)
