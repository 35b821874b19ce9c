"""Find keys that Copilot wants and a block lacks, and keys that Copilot refuses together.

Copilot stops at the first of these. Here each is found, without rendering.
Source: internal/pkg/manifest/validate.go of aws/copilot-cli 1.34
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding, Severity, in_environments
from copilot_testenv.check.project import Project
from copilot_testenv.check.registration import containers, each, merged
from copilot_testenv.check.task import where

Keys = tuple[str | int, ...]
_PUBLIC, _INSIDE, _WORKER = "Load Balanced Web Service", "Backend Service", "Worker Service"
_JOB, _SITE, _APP_RUNNER = "Scheduled Job", "Static Site", "Request-Driven Web Service"
_ALL = frozenset({_PUBLIC, _INSIDE, _WORKER, _JOB, _APP_RUNNER})
_TASKS = _ALL - {_APP_RUNNER}
_BALANCED = frozenset({_PUBLIC, _INSIDE})
_SCALED = ("cpu_percentage", "memory_percentage", "requests", "response_time", "queue_delay")
_FILE_SYSTEM = ("id", "root_dir", "auth")


@dataclass(frozen=True)
class _Needs:
    """A block at `holder` needs one of `keys`; with `given`, only where it has one of those."""

    holder: str
    keys: tuple[str, ...]
    instead: str
    kinds: frozenset[str] = _ALL
    given: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Excludes:
    """A block at `holder` cannot have one of `first` and one of `second`."""

    holder: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    kinds: frozenset[str] = _ALL


# `*` is each name of a mapping, or each item of a list.
_NEEDS = (
    _Needs("", ("image",), "add `image` with `build` or `location`"),
    _Needs("", ("http",), "add `http`, or write `http: false` beside `nlb`", frozenset({_PUBLIC})),
    _Needs("", ("on",), 'add `on` with `schedule: "@daily"`, for example', frozenset({_JOB})),
    _Needs("", ("files",), "add `files` with a `source`", frozenset({_SITE})),
    _Needs("image", ("build", "location"), "add `build` or `location`"),
    _Needs(
        "image", ("port",), "add the port that the container listens on", frozenset({_PUBLIC, _APP_RUNNER})
    ),
    _Needs("sidecars.*", ("image",), "add the name of an image, or `image` with `build`", _TASKS),
    _Needs("sidecars.*.image", ("build", "location"), "add `build` or `location`", _TASKS),
    _Needs("sidecars.*.mount_points.*", ("source_volume",), "name a volume of `storage.volumes`", _TASKS),
    _Needs("sidecars.*.mount_points.*", ("path",), "add the path in the container", _TASKS),
    _Needs("http", ("path",), "add `path: '/'`, for example", _BALANCED),
    _Needs("http.additional_rules.*", ("path",), "add the path of the rule", _BALANCED),
    _Needs("http", ("alias",), "add `alias`, or remove `hosted_zone`", _BALANCED, ("hosted_zone",)),
    _Needs("http.alias.*", ("name",), "add the host name", _BALANCED),
    _Needs("http", ("alias",), "add `alias`, or remove `certificate`", frozenset({_SITE}), ("certificate",)),
    _Needs("files.*", ("source",), "add the folder or file", frozenset({_SITE})),
    _Needs("nlb", ("port",), "add the port of the listener", frozenset({_PUBLIC})),
    _Needs("nlb.additional_listeners.*", ("port",), "add the port of the listener", frozenset({_PUBLIC})),
    _Needs("count", ("range",), "add `range: 1-4`, for example", _TASKS - {_JOB}, (*_SCALED, "cooldown")),
    _Needs("count", _SCALED, "add `cpu_percentage: 70`, for example", _TASKS - {_JOB}, ("range", "cooldown")),
    _Needs("count.range", ("min",), "add the least number of tasks", _TASKS - {_JOB}),
    _Needs("count.range", ("max",), "add the most tasks", _TASKS - {_JOB}),
    _Needs(
        "count.queue_delay", ("acceptable_latency",), "add `acceptable_latency: 10m`", frozenset({_WORKER})
    ),
    _Needs(
        "count.queue_delay",
        ("msg_processing_time",),
        "add `msg_processing_time: 250ms`",
        frozenset({_WORKER}),
    ),
    _Needs("platform", ("osfamily",), "add `osfamily: linux`", _TASKS),
    _Needs("platform", ("architecture",), "add `architecture: x86_64`", _TASKS),
    _Needs("storage.volumes.*", ("path",), "add the path in the container", _TASKS),
    _Needs("storage.volumes.*.efs", ("gid",), "add `gid`", _TASKS, ("uid",)),
    _Needs("storage.volumes.*.efs", ("uid",), "add `uid`", _TASKS, ("gid",)),
    _Needs("storage.volumes.*.efs", ("id",), "add the file system's `id`", _TASKS, ("root_dir", "auth")),
    _Needs("publish.topics.*", ("name",), "add the topic's name"),
    _Needs("subscribe.topics.*", ("name",), "add the topic's name", frozenset({_WORKER})),
    _Needs("subscribe.topics.*", ("service",), "add the service that publishes it", frozenset({_WORKER})),
    _Needs("on", ("schedule",), 'add `schedule: "@daily"`, for example', frozenset({_JOB})),
)
_EXCLUDES = (
    _Excludes("image", ("build",), ("location",)),
    _Excludes("sidecars.*.image", ("build",), ("location",), _TASKS),
    _Excludes("count", ("spot",), ("range", *_SCALED), _TASKS - {_JOB}),
    _Excludes("storage.volumes.*.efs", ("uid", "gid"), _FILE_SYSTEM, _TASKS),
    _Excludes("http", ("target_container",), ("targetContainer",), _BALANCED),
    _Excludes("secrets.*", ("secretsmanager",), ("from_cfn",)),
    _Excludes("sidecars.*.secrets.*", ("secretsmanager",), ("from_cfn",), _TASKS),
    _Excludes(
        "subscribe.queue.fifo",
        ("high_throughput",),
        ("throughput_limit", "deduplication_scope"),
        frozenset({_WORKER}),
    ),
)


def required(project: Project) -> Iterator[Finding]:
    """Find blocks that lack a key without which Copilot deploys nothing."""
    yield from in_environments(each(project, _missing))
    yield from in_environments(each(project, _unreached))


def exclusive(project: Project) -> Iterator[Finding]:
    """Find keys of one block of which Copilot takes one alone."""
    yield from in_environments(each(project, _clashes))


def targets(project: Project) -> Iterator[Finding]:
    """Find target containers that are not there or have no port, and ports that two containers have."""
    yield from in_environments(each(project, _targets))
    yield from in_environments(each(project, _ports))
    yield from in_environments(each(project, _mounted))


def _blocks(value: Any, pattern: str) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """Yield each mapping at the pattern with its keys."""
    first, _, rest = pattern.partition(".")
    if not pattern:
        if isinstance(value, dict):
            yield (), value
        return
    if first != "*":
        items: list[tuple[str | int, Any]] = [(first, value.get(first))] if isinstance(value, dict) else []
    else:
        items = list(
            value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
        )
    for key, inner in items:
        for keys, block in _blocks(inner, rest):
            yield (key, *keys), block


def _missing(document: Document, environment: str) -> Iterator[Finding]:
    whole = merged(document, environment)
    for rule in _NEEDS:
        if document.get("type") not in rule.kinds:
            continue
        for keys, block in _blocks(whole, rule.holder):
            is_given = not rule.given or any(block.get(key) is not None for key in rule.given)
            if not is_given or any(_is_given(block.get(key), rule.holder) for key in rule.keys):
                continue
            if keys and (not block or block.get("enabled") is False):
                continue  # Copilot takes an empty block for none
            wanted = " or ".join(f"`{key}`" for key in rule.keys)
            condition = next((f" beside `{key}`" for key in rule.given if block.get(key) is not None), "")
            holder = f"`{'.'.join(map(str, keys))}`" if keys else f"the {document.get('type')}"
            what = f"{holder} lacks {wanted}{condition}"
            written = [key for key in (*rule.given, *rule.keys) if key in block]
            line = where(document, environment, *(keys or (() if written else ("type",))), *written[:1])
            severity: Severity = "warning" if rule.keys == ("files",) else "error"  # Copilot deploys no file
            yield Finding(document.path, line, "required", severity, what, rule.instead)


def _is_given(value: Any, holder: str) -> bool:
    """Return True unless Copilot takes this value for none; it takes an empty text for a path of rules."""
    return value is not None and value != [] and (value != "" or holder.startswith("http"))


def _unreached(document: Document, environment: str) -> Iterator[Finding]:
    """Find load balancing without a rule or a port: Copilot packages both, and no request arrives."""
    http = merged(document, environment, "http")
    if document.get("type") == _PUBLIC and http is True and not isinstance(document.get("http"), dict):
        what, instead = "`http: true` makes no rule, so no request arrives", "write `path: '/'` below `http`"
        line = where(document, environment, "http")
        yield Finding(document.path, line, "required", "error", what, instead)
    image = merged(document, environment, "image")
    if document.get("type") != _INSIDE or not isinstance(http, dict) or not isinstance(image, dict):
        return
    names = ("target_port", "target_container", "targetContainer")
    if http.get("path") and image.get("port") is None and not any(http.get(name) for name in names):
        what = "`http` has no port to which requests go, so AWS makes no target group"
        line = where(document, environment, "image")
        yield Finding(document.path, line, "required", "error", what, "add `port` below `image`")


def _clashes(document: Document, environment: str) -> Iterator[Finding]:
    """Find clashes in one block: Copilot drops those of the base where an environment's block has others."""
    own: Keys = ("environments", environment)
    for rule in _EXCLUDES:
        if document.get("type") not in rule.kinds:
            continue
        laid = {keys for keys, _ in _blocks(document.get(*own), rule.holder)}
        for begin in (own, ()):
            for keys, block in _blocks(document.get(*begin), rule.holder):
                if not begin and keys in laid:
                    continue
                first = next((key for key in rule.first if block.get(key) is not None), None)
                second = next((key for key in rule.second if block.get(key) is not None), None)
                if first is None or second is None or not _stands(document, environment, keys):
                    continue
                what = f"Copilot takes no `{second}` beside `{first}` in `{'.'.join(map(str, keys))}`"
                line = max(document.line(*begin, *keys, key) for key in (first, second))
                yield Finding(document.path, line, "exclusive", "error", what, "keep one of the two")


def _stands(document: Document, environment: str, keys: Keys) -> bool:
    """Return True unless the environment has another form in place of this block, such as a number."""
    value: Any = merged(document, environment)
    for key in keys:
        if isinstance(value, list) and isinstance(key, int):
            value = value[key] if key < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return isinstance(value, dict)


def _targets(document: Document, environment: str) -> Iterator[Finding]:
    if document.get("type") not in _BALANCED:
        return
    whole = merged(document, environment)
    found = {
        (str(keys[-1]) if keys else str(document.get("name"))): each
        for keys, each in containers(document, environment).items()
    }
    for holder in ("http", "http.additional_rules.*", "nlb", "nlb.additional_listeners.*"):
        for keys, block in _blocks(whole, holder):
            name = block.get("target_container")
            if not isinstance(name, str) or "${" in name:
                continue
            container = found.get(name)
            image = container.get("image") if container else None
            is_main = name == str(document.get("name"))
            what = ""
            if container is None:
                what, instead = f"there is no container {name}", f"write one of {', '.join(sorted(found))}"
            elif (
                image.get("port") if is_main and isinstance(image, dict) else container.get("port")
            ) is None:
                what, instead = f"the container {name} has no port", "add its port, or name another container"
            if what:
                line = where(document, environment, *keys, "target_container")
                yield Finding(document.path, line, "required", "error", what, instead)


def _ports(document: Document, environment: str) -> Iterator[Finding]:
    """Find a sidecar's port that the service or another sidecar has: the containers of a task share them."""
    taken: dict[str, str] = {}
    for keys, container in containers(document, environment).items():
        image = container.get("image")
        port = container.get("port") if keys else None
        if not keys and document.get("type") in _BALANCED and isinstance(image, dict):
            port = image.get("port")
        number = str(port).partition("/")[0]
        if not number.isdigit() or isinstance(port, bool):
            continue
        name = str(keys[-1]) if keys else str(document.get("name"))
        owner = taken.setdefault(number, name)
        if owner != name:
            what = f"{owner} has port {number} already, and the containers of a task share their ports"
            line = where(document, environment, *keys, "port")
            yield Finding(document.path, line, "exclusive", "error", what, "write another port")


def _mounted(document: Document, environment: str) -> Iterator[Finding]:
    """Find a second volume at a path of a container: no container starts with two mounts at one path."""
    if document.get("type") not in _TASKS:
        return
    whole = merged(document, environment)
    for holders in ("storage.volumes.*", "sidecars.*.mount_points.*"):
        taken: dict[tuple[Keys, str], object] = {}
        for keys, block in _blocks(whole, holders):
            path = block.get("path")
            if not isinstance(path, str) or not path or "${" in path:
                continue
            place = (keys[:-1], path.rstrip("/"))
            if place in taken:
                what = f"`{path}` is the path of {taken[place]} already"
                line = where(document, environment, *keys, "path")
                yield Finding(document.path, line, "volume", "error", what, "write another path")
            taken.setdefault(place, block.get("source_volume") or keys[-1])


RULES = (required, exclusive, targets)
