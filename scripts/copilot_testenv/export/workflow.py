"""The workflow: render, free from the account, mend, write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copilot_testenv import rendering
from copilot_testenv.aws import Aws
from copilot_testenv.copilot import manifest
from copilot_testenv.copilot.template_lint import LintFinding, lint
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core.errors import Failed, SettingsError, UsageError
from copilot_testenv.core.settings import check_domain
from copilot_testenv.core.terminal import confirm
from copilot_testenv.export import assets, guide
from copilot_testenv.export.folder import Folder, State
from copilot_testenv.export.plain import Origin, Stack, addons_key, freed
from copilot_testenv.export.tidy import excuse, tidy
from copilot_testenv.export.tree import dumped, loaded
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session

ENVIRONMENTS = "environments"  # what Copilot calls the folder of their addons


@dataclass(frozen=True)
class Options:
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


def package(session: Session, options: Options) -> None:
    """Write an environment and its services as CloudFormation without Copilot.

    Raises UsageError, SettingsError where Copilot would not deploy it, Refused, Failed.
    """
    chosen = _chosen(session, options)
    root = session.settings.root
    folder = Folder(root / (options.output or f"cloudformation/{options.environment}"), root)
    made = _made(session, options, chosen)
    try:
        _write(session, folder, made, options)
    except OSError as error:
        raise Failed(f"{folder.path} cannot be written: {error}. Choose another with --output.") from error


def _write(session: Session, folder: Folder, made: Package, options: Options) -> None:
    states = folder.states(made.files)
    _tell(session, folder, states, made.findings)
    if options.plan:
        return
    foreign = sorted(name for name, state in states.items() if state == "foreign")
    if foreign:
        confirm(
            session.report,
            f"Overwrite what was not written by this task, or edited since: {', '.join(foreign)}?",
            yes=options.yes,
        )
    folder.write(made.files)
    session.report.say(f"{folder.path} is written: its README.md has the commands.")


def _chosen(session: Session, options: Options) -> dict[str, dict[str, Any]]:
    """Return the manifests of the services to package, workers last: they subscribe to others' topics."""
    if not options.environment:
        raise UsageError("Which environment is not said: --env production, for example.")
    check_domain("--domain", options.domain)
    root = session.settings.root
    found = {name: manifest.read(file) for name, file in rendering.services_of(root).items()}
    environments = rendering.environments_of(root, list(found.values()))
    if options.environment not in environments:
        raise SettingsError(
            f"copilot/ has no environment {options.environment!r} ({', '.join(environments) or 'none'})."
        )
    if options.service:
        if options.service not in found:
            raise SettingsError(
                f"copilot/ has no service {options.service!r} ({', '.join(found) or 'none'})."
            )
        found = {options.service: found[options.service]}
    for name, content in found.items():
        if content.get("type") not in assets.TYPES:
            raise SettingsError(
                f"{name} is a {content.get('type')!r}, which cannot be packaged: name another with --service "
                f"({', '.join(assets.TYPES)} can be)."
            )
    return dict(sorted(found.items(), key=lambda item: (item[1]["type"] == "Worker Service", item[0])))


def _made(session: Session, options: Options, chosen: Mapping[str, Mapping[str, Any]]) -> Package:
    with rendering.open_renderer(session, domain=options.domain) as renderer:
        stacks = _stacks(renderer, options, chosen)
        keys = [key for _, stack in stacks for key in stack.functions]
        types = [str(content["type"]) for content in chosen.values()]
        code = assets.fetch(renderer, options.environment, types, keys)
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
    if not options.service:
        app = session.settings.app
        artifacts = f"{app}-infrastructure-artifacts"
        files[f"{artifacts}.yml"] = _artifacts(chosen)
        files["README.md"] = guide.readme(app, options.environment, artifacts, stacks).encode()
    return Package(dict(sorted(files.items())), findings)


def _stacks(renderer: Renderer, options: Options, chosen: Mapping[str, object]) -> list[tuple[str, Stack]]:
    """Return each service with its stack, in the order of deployment.

    The environment's comes first, without a service.
    """
    settings, aws = renderer.settings, Aws(renderer.variables)
    origin = Origin(aws.account(), aws.region, assets.origin_bucket(aws, settings))
    name = f"{settings.app}-{options.environment}"
    found = []
    if not options.service:
        template = _accepted(renderer.environment(settings.root, options.environment), options.environment)
        found.append(("", freed(name, ENVIRONMENTS, template, origin)))
    for service in chosen:
        template = _accepted(renderer.service(settings.root, service, options.environment), service)
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
    """Return the stack that stands in for Copilot's stack set.

    It has the bucket, the key, and a repository for each service.
    """
    body = loaded(Path(__file__).with_name("artifacts.yml").read_text(encoding="utf-8"))
    for service in sorted(services):
        body["Resources"][f"ECRRepo{service.replace('-', 'DASH')}"] = {
            "Type": "AWS::ECR::Repository",
            "Properties": {"RepositoryName": {"Fn::Sub": f"${{AppName}}/{service}"}},
        }
    return dumped(body).encode()


def _tell(session: Session, folder: Folder, states: Mapping[str, State], findings: list[LintFinding]) -> None:
    for name, state in states.items():
        session.report.data(f"{state:9} {folder.path / name}")
    for finding in findings:
        session.report.say(f"{finding.template}:{finding.line}: {finding.rule}: {finding.message}")
    if findings:
        session.report.say("These are not of Copilot's own: `invoke check` says what to write instead.")
