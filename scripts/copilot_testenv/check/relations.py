"""Find what several services or environments take from each other: host names, paths, topics, names."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding, Severity
from copilot_testenv.check.project import Project
from copilot_testenv.check.registration import merged
from copilot_testenv.check.task import where
from copilot_testenv.copilot import aliases

Keys = tuple[str | int, ...]
_PUBLIC, _INSIDE = "Load Balanced Web Service", "Backend Service"


def host_names(project: Project) -> Iterator[Finding]:
    """Find host names that two environments have: only one of them gets the requests.

    Those of the test environment are the rule's on test environments, where that applies. It is an error
    where the manifests have a block for both environments: else a service may not be deployed to both.
    """
    test = project.settings.test_env if project.has_test_profile else ""
    taken: dict[str, tuple[str, str]] = {}
    reported: set[tuple[str, str]] = set()
    for service, document in project.services.items():
        if "COPILOT_ENVIRONMENT_NAME" in document.text:
            continue  # the name may differ in each environment
        for environment in project.names:
            for alias in aliases.of(document.data, environment):
                name = alias.name.lower().rstrip(".")
                owner, other = taken.setdefault(name, (service, environment))
                if other == environment or test in {other, environment} or (service, name) in reported:
                    continue
                reported.add((service, name))
                is_sure = _has_block(document, environment) and _has_block(project.services[owner], other)
                what = f"{environment} has the host name {alias.name}, which {owner} has in {other} too"
                instead = f"give each environment its own, under `environments.{environment}.http.alias`"
                line = document.line(*alias.keys)
                yield Finding(document.path, line, "alias", _severity(is_sure=is_sure), what, instead)


def _has_block(document: Document, environment: str) -> bool:
    blocks = document.get("environments")
    return isinstance(blocks, dict) and environment in blocks


def _severity(*, is_sure: bool) -> Severity:
    return "error" if is_sure else "warning"


def paths(project: Project) -> Iterator[Finding]:
    """Find rules of one load balancer with the same host name and path: the later gets no request.

    It is a warning where a service has blocks for other environments alone: it may not be deployed here.
    """
    reported: set[tuple[str, int]] = set()
    for environment in project.names:
        taken: dict[tuple[object, ...], tuple[str, Keys]] = {}
        for service, document in project.services.items():
            for keys, rule in _rules(document, environment):
                balancer = (document.get("type"), str(merged(document, environment, "http").get("alb")))
                for host in _hosts(rule):
                    path, sources = str(rule.get("path")), str(rule.get("allowed_source_ips"))
                    answers = (*balancer, host, path.strip("/"), sources)
                    owner, first = taken.setdefault(answers, (service, keys))
                    line = where(document, environment, *keys, "path")
                    if (owner, first) == (service, keys) or (document.path, line) in reported:
                        continue
                    reported.add((document.path, line))
                    is_sure = all(
                        _has_block(each, environment) or not each.get("environments")
                        for each in (document, project.services[owner])
                    )
                    at = f" of {host}" if host else ""
                    what = f"`{path}`{at} is also {owner}'s in {environment}, behind the same load balancer"
                    instead = "write another path, or a host name of its own (`alias`)"
                    yield Finding(document.path, line, "path", _severity(is_sure=is_sure), what, instead)


def _rules(document: Document, environment: str) -> Iterator[tuple[Keys, dict[str, Any]]]:
    http = merged(document, environment, "http")
    if document.get("type") not in {_PUBLIC, _INSIDE} or not isinstance(http, dict) or not http.get("path"):
        return
    yield ("http",), http
    more = http.get("additional_rules")
    for number, rule in enumerate(more if isinstance(more, list) else ()):
        if isinstance(rule, dict) and rule.get("path"):
            yield ("http", "additional_rules", number), {"alias": http.get("alias"), **rule}


def _hosts(rule: dict[str, Any]) -> list[str]:
    alias = rule.get("alias")
    found = [
        str(item.get("name") if isinstance(item, dict) else item).lower()
        for item in (alias if isinstance(alias, list) else [alias])
        if item
    ]
    return found or [""]


def topics(project: Project) -> Iterator[Finding]:
    """Find subscriptions to topics that nobody here publishes, and filters that SNS refuses."""
    for document in project.services.values():
        blocks = document.get("environments")
        holders: list[tuple[str, ...]] = [()]
        holders += [("environments", str(name)) for name in (blocks if isinstance(blocks, dict) else ())]
        for holder in holders:
            listed = document.get(*holder, "subscribe", "topics")
            for number, topic in enumerate(listed if isinstance(listed, list) else ()):
                if not isinstance(topic, dict):
                    continue
                yield from _filters(document, (*holder, "subscribe", "topics", number, "filter_policy"))
                publisher, name = project.services.get(str(topic.get("service"))), topic.get("name")
                if publisher is None and isinstance(topic.get("service"), str):
                    yield from _similar(
                        document, (*holder, "subscribe", "topics", number), topic["service"], project
                    )
                if publisher is None or not isinstance(name, str) or "${" in name:
                    continue
                known = _published(publisher)
                if name in known:
                    yield from _of_other_kind(document, holder, number, known[name])
                    continue
                near = difflib.get_close_matches(name, known, 1)
                line = document.line(*holder, "subscribe", "topics", number, "name")
                what = f"{topic['service']} publishes no topic {name}"
                instead = (
                    f"write `{near[0]}`" if near else f"add it under `publish.topics` of {topic['service']}"
                )
                yield Finding(document.path, line, "topic", "error", what, instead)


def _filters(document: Document, keys: Keys) -> Iterator[Finding]:
    """Find filters by one value: SNS takes lists of them.

    Source: https://docs.aws.amazon.com/sns/latest/dg/subscription-filter-policy-constraints.html
    """
    policy = document.get(*keys)
    for attribute, value in (policy if isinstance(policy, dict) else {}).items():
        if isinstance(value, str | int | float) and "${" not in str(value):
            what = f"SNS refuses the filter policy: `{attribute}` is no list"
            line = document.line(*keys, str(attribute))
            yield Finding(document.path, line, "topic", "error", what, "write its values in brackets: `[…]`")


def _similar(document: Document, keys: Keys, service: str, project: Project) -> Iterator[Finding]:
    """Find a publisher that is not in the workspace, and is called almost like one that is."""
    for near in difflib.get_close_matches(service, project.services, 1):
        what = f"{service} is no service of this workspace"
        line = document.line(*keys, "service")
        yield Finding(document.path, line, "topic", "warning", what, f"write `{near}` if that is meant")


def _of_other_kind(
    document: Document, holder: tuple[str, ...], number: int, kinds: set[bool]
) -> Iterator[Finding]:
    """Find a standard topic for a FIFO queue, or a FIFO topic for a standard one: there is no such topic.

    Source: Subscriptions in internal/pkg/manifest/worker_svc.go of aws/copilot-cli 1.34
    """
    at: Keys = (*holder, "subscribe", "topics", number)
    own = document.get(*at, "queue")
    queue = own or document.get(*holder, "subscribe", "queue") or document.get("subscribe", "queue")
    is_fifo = bool(isinstance(queue, dict) and queue.get("fifo"))
    if is_fifo in kinds:
        return
    words = ("FIFO", "standard") if is_fifo else ("standard", "FIFO")
    what = f"the queue is a {words[0]} one, and the topic is a {words[1]} one, so Copilot finds no such topic"
    instead = f"write `queue: {{fifo: {'false' if is_fifo else 'true'}}}` at the topic, or change the topic"
    yield Finding(document.path, document.line(*at, "name"), "topic", "error", what, instead)


def _published(document: Document) -> dict[str, set[bool]]:
    """Return the topics of a service in any environment, and if they are FIFO topics."""
    found: dict[str, set[bool]] = {}
    blocks = document.get("environments")
    for holder in (document.data, *(blocks.values() if isinstance(blocks, dict) else ())):
        publish = holder.get("publish") if isinstance(holder, dict) else None
        listed = publish.get("topics") if isinstance(publish, dict) else None
        for topic in listed if isinstance(listed, list) else ():
            if isinstance(topic, dict) and topic.get("name"):
                found.setdefault(str(topic["name"]), set()).add(bool(topic.get("fifo")))
    return found


def names(project: Project) -> Iterator[Finding]:
    """Find manifests whose name is not that of their folder, by which Copilot finds them."""
    for folder, document in (*project.services.items(), *project.environments.items()):
        name = document.get("name")
        if isinstance(name, str) and name != folder and "${" not in name:
            what = f"the name {name} is not that of the folder, {folder}, by which Copilot finds the manifest"
            yield Finding(
                document.path, document.line("name"), "name", "error", what, f"write `name: {folder}`"
            )


RULES = (host_names, paths, topics, names)
