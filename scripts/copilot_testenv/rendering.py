"""Render with Copilot (`svc package`, `env package`) what it would deploy, on the embedded AWS.

Nothing is sent to an account, whatever DEPLOY_TARGET says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from copilot_testenv.copilot import manifest
from copilot_testenv.core import workspace_files
from copilot_testenv.core.process import Variables
from copilot_testenv.core.settings import NAME
from copilot_testenv.deployers.renderer import TAG, Renderer
from copilot_testenv.session import Session

__all__ = ["TAG", "Renderer", "domain_of", "environments_of", "open_renderer"]
_TOPIC = re.compile(r"[a-zA-Z0-9_-]{1,80}")


@contextmanager
def open_renderer(
    session: Session,
    manifests: Sequence[Mapping[str, Any]] | None = None,
    domain: str = "",
    only: Sequence[str] = (),
) -> Iterator[Renderer]:
    """Yield a Renderer on the running sandbox if its environments fit the workspace, else on a temporary one.

    `manifests` are the services', where the caller has read them already. `only` names the environments to
    render, where those are not all. `domain` is the application's;
    without it the domain is derived from the aliases. Raises SettingsError where a manifest cannot be read or
    the sandbox is not installed, Failed where Copilot cannot create an application.
    """
    root = session.settings.root
    if manifests is None:
        manifests = [manifest.read(file) for file in workspace_files.services(root).values()]
    environments = list(only) or environments_of(root, manifests)
    domain = domain or domain_of(manifests, session.settings.test_domain)
    subscribed = any("subscribe" in found for found in manifests)
    alone = bool(domain) or subscribed  # the running sandbox has no domain, and must get no topics
    with session.rendering_environment(environments, domain, alone=alone) as (variables, failed):
        if subscribed:
            _announce_topics(variables, session.settings.app, environments, manifests)
        reasons = {name: " ".join(why.split()) for name, why in failed.items()}
        yield Renderer(session.settings, session.shell, variables, reasons)


def environments_of(root: Path, manifests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the environments that have a manifest.

    If none has one, the environments in the services' manifests.
    """
    written = list(workspace_files.environments(root))
    if written:
        return written
    named = {
        name
        for found in manifests
        if isinstance(found.get("environments"), dict)
        for name in found["environments"]
        if isinstance(name, str)
    }
    return sorted(named)


def domain_of(manifests: Sequence[Mapping[str, Any]], given: str = "") -> str:
    """Return the application's domain: `given`, else the longest above all aliases; empty without aliases.

    Copilot accepts an alias only below the application's domain, which is not written in the workspace.
    """
    names = [alias.split(".")[::-1] for found in manifests for alias in _aliases(found)]
    if given or not names:
        return given if names else ""
    shared: list[str] = []
    for parts in zip(*names, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(reversed(shared)) if len(shared) > 1 else ""


def _aliases(found: object) -> Iterator[str]:
    """Yield each alias in a manifest, at any depth: a text, a list of texts, or a list of {name: …}."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key == "alias":
                for item in value if isinstance(value, list) else [value]:
                    name = item.get("name") if isinstance(item, dict) else item
                    if isinstance(name, str) and "$" not in name:
                        yield name
            else:
                yield from _aliases(value)
    elif isinstance(found, list):
        for item in found:
            yield from _aliases(item)


def _announce_topics(
    variables: Variables, app: str, environments: Sequence[str], manifests: Sequence[Mapping[str, Any]]
) -> None:
    """Create the services' topics, because Copilot packages a worker only if its topics are deployed.

    It finds them by their tags. Source: internal/pkg/deploy/deploy.go of aws/copilot-cli 1.34.
    """
    from copilot_testenv.aws import Aws  # noqa: PLC0415 - importing boto3 is slow, and rarely needed here

    aws = Aws(variables)
    for environment, (service, topic) in product(filter(NAME.fullmatch, environments), _topics(manifests)):
        aws.client("sns").create_topic(
            Name=f"{app}-{environment}-{service}-{topic}",
            Attributes={"FifoTopic": "true"} if topic.endswith(".fifo") else {},
            Tags=[
                {"Key": "copilot-application", "Value": app},
                {"Key": "copilot-environment", "Value": environment},
                {"Key": "copilot-service", "Value": service},
            ],
        )


def _topics(manifests: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return each service with each topic that it publishes to.

    Copilot itself reports names that are not valid.
    """
    found = []
    for service in manifests:
        publish = service.get("publish")
        topics = publish.get("topics") if isinstance(publish, dict) else None
        for topic in topics if isinstance(topics, list) else ():
            names = (service.get("name"), topic.get("name") if isinstance(topic, dict) else None)
            if all(isinstance(name, str) and _TOPIC.fullmatch(name) for name in names):
                found.append((str(names[0]), f"{names[1]}{'.fifo' if topic.get('fifo') else ''}"))
    return found
