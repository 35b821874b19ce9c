"""Render with Copilot (`svc package`, `env package`) what it would deploy, on the embedded AWS.

Nothing is sent to an account, whatever DEPLOY_TARGET says.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from copilot_testenv.branch_guard import branch_files
from copilot_testenv.copilot import commands, manifest
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core import scratch, workspace_files
from copilot_testenv.core.errors import Failed, SettingsError
from copilot_testenv.core.process import Shell, Variables
from copilot_testenv.core.settings import NAME, Settings
from copilot_testenv.session import Session

TAG = "rendered"  # of the images; without a tag Copilot uses Git's commit
_JOB = "Scheduled Job"
_TOPIC = re.compile(r"[a-zA-Z0-9_-]{1,80}")


@dataclass(frozen=True)
class Renderer:
    """Render with Copilot on the embedded AWS; `failed` has the reasons of environments that it lacks."""

    settings: Settings
    shell: Shell
    variables: Variables
    failed: Mapping[str, str]

    def service(self, workspace: Path, service: str, environment: str) -> Template | Refusal:
        """Render the stack of a service in an environment.

        Raises Refused where Copilot must not be started, Failed where it cannot be started.
        """
        if environment in self.failed:
            return Refusal(
                f"the environment {environment} cannot be deployed, so no service can be: "
                f"{self.failed[environment]}"
            )
        self._require(workspace, branch_files.Scope((service,), environments=False, paths=False))
        copilot = commands.Copilot(self.settings, self.variables_of(environment, service), workspace)
        with scratch.temporary("rendering-") as folder:
            job = self._type_of(workspace, service) == _JOB
            command = copilot.service_package(service, environment, TAG, folder, job=job)
            done = self.shell.run(command)
            if not done.ok:
                return Refusal(_reason(done.stderr or done.stdout))
            return _template(folder, f"{service}-{environment}", ".stack.yml")

    def environment(self, workspace: Path, environment: str) -> Template | Refusal:
        """Render the stack of an environment. Raises Refused, Failed as `service` does."""
        self._require(workspace, branch_files.Scope((), paths=False))
        copilot = commands.Copilot(self.settings, self.variables_of(environment), workspace)
        with scratch.temporary("rendering-") as folder:
            done = self.shell.run(copilot.environment_package(environment, folder))
            if not done.ok:
                return Refusal(_reason(done.stderr or done.stdout))
            return _template(folder, f"{environment}.env", ".yml")

    def variables_of(self, environment: str, service: str = "") -> Variables:
        """Return Copilot's variables for a service's stack in an environment, or for the environment's."""
        del environment, service
        return self.variables

    def _type_of(self, workspace: Path, service: str) -> object:
        try:
            return manifest.read(workspace_files.services(workspace)[service]).get("type")
        except (KeyError, SettingsError):
            return None  # Copilot reports the error

    def _require(self, workspace: Path, scope: branch_files.Scope) -> None:
        """Raise Refused where a file that Copilot would read is unsafe; `package` builds nothing."""
        branch_files.require(workspace, self.settings, os.environ, scope)


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


def _template(folder: Path, name: str, suffix: str) -> Template:
    try:
        text = (folder / f"{name}{suffix}").read_text(encoding="utf-8")
        parameters = json.loads((folder / f"{name}.params.json").read_text(encoding="utf-8"))["Parameters"]
    except (OSError, ValueError, KeyError) as error:
        raise Failed(f"Copilot packaged {name}, but left no template in the usual file: {error}.") from error
    # `web.addons.stack.yml` of a service, `env.addons.yml` of an environment.
    addons = [file.read_text(encoding="utf-8") for file in folder.glob("*.addons.*")]
    return Template(text, parameters, addons[0] if addons else None)


def _reason(output: str) -> str:
    """Return the reason in Copilot's output, on one line, without its sign ✘, colours and a panic's stack."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output).split("\ngoroutine ")[0]
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    marked = next((number for number, line in enumerate(lines) if line.startswith("✘")), 0)
    return " ".join(lines[marked:]).removeprefix("✘").strip() or "Copilot gave no reason"
