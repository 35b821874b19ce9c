"""The workflow: render, free from the account, mend, write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts import manifest, rendering
from scripts.aws import Aws
from scripts.environment import Bench
from scripts.errors import Failed, SettingsError, UsageError
from scripts.packaging import assets, guide
from scripts.packaging.folder import Folder, State
from scripts.packaging.plain import Origin, Stack, addons_key, freed
from scripts.packaging.tidy import excuse, tidy
from scripts.packaging.tree import dumped, loaded
from scripts.rendering import Refusal, Renderer, Template
from scripts.report import confirm
from scripts.settings import check_domain
from scripts.template_lint import LintFinding, lint

ENVIRONMENTS = "environments"  # what Copilot calls the folder of their addons


@dataclass(frozen=True)
class Asked:
    """The flags."""

    environment: str
    service: str
    output: str
    domain: str
    yes: bool
    plan: bool


@dataclass(frozen=True)
class Package:
    """What is to be written, by its place in the folder, and what cfn-lint says of the user's own part."""

    files: Mapping[str, bytes]
    findings: list[LintFinding]


def package(bench: Bench, asked: Asked) -> None:
    """Write an environment and its services as CloudFormation without Copilot.

    Raises UsageError, SettingsError where Copilot would not deploy it, Refused, Failed.
    """
    chosen = _chosen(bench, asked)
    root = bench.settings.root
    folder = Folder(root / (asked.output or f"cloudformation/{asked.environment}"), root)
    made = _made(bench, asked, chosen)
    try:
        _write(bench, folder, made, asked)
    except OSError as error:
        raise Failed(f"{folder.path} cannot be written: {error}. Choose another with --output.") from error


def _write(bench: Bench, folder: Folder, made: Package, asked: Asked) -> None:
    states = folder.states(made.files)
    _tell(bench, folder, states, made.findings)
    if asked.plan:
        return
    foreign = sorted(name for name, state in states.items() if state == "foreign")
    if foreign:
        confirm(
            bench.report,
            f"Overwrite what was not written by this task, or edited since: {', '.join(foreign)}?",
            yes=asked.yes,
        )
    folder.write(made.files)
    bench.report.say(f"{folder.path} is written: its README.md has the commands.")


def _chosen(bench: Bench, asked: Asked) -> dict[str, dict[str, Any]]:
    """The manifests of the services to package, workers last: they subscribe to others' topics."""
    if not asked.environment:
        raise UsageError("Which environment is not said: --env production, for example.")
    check_domain("--domain", asked.domain)
    root = bench.settings.root
    found = {name: manifest.read(file) for name, file in rendering.services_of(root).items()}
    environments = rendering.environments_of(root, list(found.values()))
    if asked.environment not in environments:
        raise SettingsError(
            f"copilot/ has no environment {asked.environment!r} ({', '.join(environments) or 'none'})."
        )
    if asked.service:
        if asked.service not in found:
            raise SettingsError(f"copilot/ has no service {asked.service!r} ({', '.join(found) or 'none'}).")
        found = {asked.service: found[asked.service]}
    for name, content in found.items():
        if content.get("type") not in assets.TYPES:
            raise SettingsError(
                f"{name} is a {content.get('type')!r}, which cannot be packaged: name another with --service "
                f"({', '.join(assets.TYPES)} can be)."
            )
    return dict(sorted(found.items(), key=lambda item: (item[1]["type"] == "Worker Service", item[0])))


def _made(bench: Bench, asked: Asked, chosen: Mapping[str, Mapping[str, Any]]) -> Package:
    with rendering.open_renderer(bench, domain=asked.domain) as renderer:
        stacks = _stacks(renderer, asked, chosen)
        keys = [key for _, stack in stacks for key in stack.functions]
        types = [str(content["type"]) for content in chosen.values()]
        code = assets.fetch(renderer, asked.environment, types, keys)
    for _, stack in stacks:
        tidy(stack.body)
    addons = {
        f"assets/{addons_key(service or ENVIRONMENTS, stack.addons)}": stack.addons
        for service, stack in stacks
        if stack.addons is not None
    }
    said = lint({**{f"{stack.name}.yml": stack.text for _, stack in stacks}, **addons})
    findings = [finding for finding in said if finding.template in addons and not finding.copilots_own]
    for _, stack in stacks:
        findings += excuse(stack.body, [each for each in said if each.template == f"{stack.name}.yml"])
    files = {f"assets/{key}": body for key, body in code.items()}
    files |= {name: text.encode() for name, text in addons.items()}
    for _, stack in stacks:
        files[f"{stack.name}.yml"] = stack.text.encode()
        files[f"{stack.name}.parameters.json"] = _parameters(stack)
    if not asked.service:
        app = bench.settings.app
        artifacts = f"{app}-infrastructure-artifacts"
        files[f"{artifacts}.yml"] = _artifacts(chosen)
        files["README.md"] = guide.readme(app, asked.environment, artifacts, stacks).encode()
    return Package(dict(sorted(files.items())), findings)


def _stacks(renderer: Renderer, asked: Asked, chosen: Mapping[str, object]) -> list[tuple[str, Stack]]:
    """Each service with its stack, in the order of deployment; the environment's first, without a service."""
    settings, aws = renderer.settings, Aws(renderer.variables)
    origin = Origin(aws.account(), aws.region, assets.origin_bucket(aws, settings))
    name = f"{settings.app}-{asked.environment}"
    found = []
    if not asked.service:
        template = _accepted(renderer.environment(settings.root, asked.environment), asked.environment)
        found.append(("", freed(name, ENVIRONMENTS, template, origin)))
    for service in chosen:
        template = _accepted(renderer.service(settings.root, service, asked.environment), service)
        found.append((service, freed(f"{name}-{service}", service, template, origin)))
    return found


def _accepted(found: Template | Refusal, name: str) -> Template:
    if isinstance(found, Refusal):
        raise SettingsError(f"Copilot does not deploy {name}: {found.why}")
    return found


def _parameters(stack: Stack) -> bytes:
    """In the form that `create-stack`, `create-change-set` and `deploy` of the AWS CLI read."""
    declared = stack.body.get("Parameters", {})
    values = [
        {"ParameterKey": name, "ParameterValue": value}
        for name, value in sorted(stack.values.items())
        if name in declared
    ]
    return (json.dumps(values, indent=2) + "\n").encode()


def _artifacts(services: Mapping[str, object]) -> bytes:
    """The stack that stands in for Copilot's stack set: bucket, key, and a repository for each service."""
    body = loaded(Path(__file__).with_name("artifacts.yml").read_text(encoding="utf-8"))
    for service in sorted(services):
        body["Resources"][f"ECRRepo{service.replace('-', 'DASH')}"] = {
            "Type": "AWS::ECR::Repository",
            "Properties": {"RepositoryName": {"Fn::Sub": f"${{AppName}}/{service}"}},
        }
    return dumped(body).encode()


def _tell(bench: Bench, folder: Folder, states: Mapping[str, State], findings: list[LintFinding]) -> None:
    for name, state in states.items():
        bench.report.data(f"{state:9} {folder.path / name}")
    for finding in findings:
        bench.report.say(f"{finding.template}:{finding.line}: {finding.rule}: {finding.message}")
    if findings:
        bench.report.say("These are not of Copilot's own: `invoke check` says what to write instead.")
