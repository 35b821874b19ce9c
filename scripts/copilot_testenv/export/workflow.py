"""Render the stacks, remove the account from them, correct cfn-lint's findings, write the files."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copilot_testenv import rendering
from copilot_testenv.aws import Aws
from copilot_testenv.copilot import manifest
from copilot_testenv.copilot.template_lint import LintFinding, lint
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core import workspace_files
from copilot_testenv.core.errors import Failed, SettingsError, UsageError
from copilot_testenv.core.settings import check_domain
from copilot_testenv.core.terminal import confirm
from copilot_testenv.export import assets, guide, isolated
from copilot_testenv.export.folder import Folder, State
from copilot_testenv.export.plain import Origin, Stack, addons_key, freed
from copilot_testenv.export.tidy import excuse, tidy
from copilot_testenv.export.tree import dumped, loaded
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session

ENVIRONMENTS = "environments"  # Copilot's name for the folder of the environments' addons


@dataclass(frozen=True)
class Options:
    """The flags of `package`."""

    environment: str
    service: str
    output: str
    domain: str
    yes: bool
    plan: bool


@dataclass(frozen=True)
class Package:
    """The files to write, by path in the folder, and cfn-lint's findings in the user's own part."""

    files: Mapping[str, bytes]
    findings: list[LintFinding]


def package(session: Session, options: Options) -> None:
    """Write an environment and its services as CloudFormation that needs no Copilot.

    Raises UsageError, SettingsError if Copilot would not deploy it, Refused, Failed.
    """
    manifests = _manifests(session, options)
    root = session.settings.root
    folder = Folder(root / (options.output or f"cloudformation/{options.environment}"), root)
    rendered = _render(session, options, manifests)
    try:
        _write(session, folder, rendered, options)
    except OSError as error:
        raise Failed(f"{folder.path} cannot be written: {error}. Choose another with --output.") from error


def _write(session: Session, folder: Folder, rendered: Package, options: Options) -> None:
    states = folder.states(rendered.files)
    _report(session, folder, states, rendered.findings)
    if options.plan:
        return
    foreign = sorted(name for name, state in states.items() if state == "foreign")
    if foreign:
        confirm(
            session.report,
            f"Overwrite files that this task did not write, or that were edited since: {', '.join(foreign)}?",
            yes=options.yes,
        )
    folder.write(rendered.files)
    session.report.say(f"{folder.path} is written: its README.md has the commands.")


def _manifests(session: Session, options: Options) -> dict[str, dict[str, Any]]:
    """Return the manifests of the services to package, by name; workers last: they use others' topics."""
    if not options.environment:
        raise UsageError("No environment is named: write --env production, for example.")
    check_domain("--domain", options.domain)
    root = session.settings.root
    found = {name: manifest.read(file) for name, file in workspace_files.services(root).items()}
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


def _render(session: Session, options: Options, manifests: Mapping[str, Mapping[str, Any]]) -> Package:
    with rendering.open_renderer(session, domain=options.domain, only=[options.environment]) as renderer:
        origin = _origin(renderer)
        stacks = _stacks(renderer, options, manifests, origin)
        listed = list(stacks)  # in the README; a branch's own service is for these tasks
        if _has_slots(session, options, manifests):
            for service in (name for name in session.settings.peers if name in manifests):
                own = isolated.stack(renderer, service, options.environment, origin)
                if isinstance(own, Refusal):
                    why = own.why.rstrip(".")
                    session.report.say(f"No template of {service} for isolated branches is written: {why}.")
                else:
                    stacks.append((service, own))
        keys = [key for _, stack in stacks for key in stack.functions]
        types = [str(content["type"]) for content in manifests.values()]
        code = assets.fetch(renderer, options.environment, types, keys)
    for _, stack in stacks:
        tidy(stack.body)
    addons = {
        f"assets/{addons_key(service or ENVIRONMENTS, stack.addons)}": stack.addons
        for service, stack in stacks
        if stack.addons is not None
    }
    linted = lint({**{f"{stack.name}.yml": stack.text for _, stack in stacks}, **addons})
    findings = [finding for finding in linted if finding.template in addons and not finding.copilots_own]
    for _, stack in stacks:
        findings += excuse(stack.body, [each for each in linted if each.template == f"{stack.name}.yml"])
    files = {f"assets/{key}": body for key, body in code.items()}
    files |= {name: text.encode() for name, text in addons.items()}
    for _, stack in stacks:
        files[f"{stack.name}.yml"] = stack.text.encode()
        files[f"{stack.name}.parameters.json"] = _parameters(stack)
    if not options.service:
        app = session.settings.app
        artifacts = f"{app}-infrastructure-artifacts"
        files[f"{artifacts}.yml"] = _artifacts(manifests)
        files["README.md"] = guide.readme(app, options.environment, artifacts, listed).encode()
    return Package(dict(sorted(files.items())), findings)


def _has_slots(session: Session, options: Options, services: Container[str]) -> bool:
    """Return True if these tasks deploy branches of one of the services to the environment."""
    return options.environment == session.settings.test_env and session.settings.base in services


def _origin(renderer: Renderer) -> Origin:
    aws = Aws(renderer.variables)
    return Origin(aws.account(), aws.region, assets.origin_bucket(aws, renderer.settings))


def _stacks(
    renderer: Renderer, options: Options, services: Iterable[str], origin: Origin
) -> list[tuple[str, Stack]]:
    """Return (service, stack) in the order of deployment; the environment's stack is first, with ""."""
    settings = renderer.settings
    name = f"{settings.app}-{options.environment}"
    stacks = []
    if not options.service:
        template = _accepted(renderer.environment(settings.root, options.environment), options.environment)
        stacks.append(("", freed(name, ENVIRONMENTS, template, origin)))
    for service in services:
        template = _accepted(renderer.service(settings.root, service, options.environment), service)
        stacks.append((service, freed(f"{name}-{service}", service, template, origin)))
    return stacks


def _accepted(found: Template | Refusal, name: str) -> Template:
    if isinstance(found, Refusal):
        raise SettingsError(f"Copilot does not deploy {name}: {found.why}")
    return found


def _parameters(stack: Stack) -> bytes:
    """Return the values as JSON for the AWS CLI's `create-stack`, `create-change-set` and `deploy`."""
    declared = stack.body.get("Parameters", {})
    values = [
        {"ParameterKey": name, "ParameterValue": value}
        for name, value in sorted(stack.values.items())
        if name in declared
    ]
    return (json.dumps(values, indent=2) + "\n").encode()


def _artifacts(services: Mapping[str, object]) -> bytes:
    """Return the stack that replaces Copilot's stack set: bucket, key, and a repository for each service."""
    body = loaded(Path(__file__).with_name("artifacts.yml").read_text(encoding="utf-8"))
    for service in sorted(services):
        body["Resources"][f"ECRRepo{service.replace('-', 'DASH')}"] = {
            "Type": "AWS::ECR::Repository",
            "Properties": {"RepositoryName": {"Fn::Sub": f"${{AppName}}/{service}"}},
        }
    return dumped(body).encode()


def _report(
    session: Session, folder: Folder, states: Mapping[str, State], findings: list[LintFinding]
) -> None:
    for name, state in states.items():
        session.report.data(f"{state:9} {folder.path / name}")
    for finding in findings:
        session.report.say(f"{finding.template}:{finding.line}: {finding.rule}: {finding.message}")
    if findings:
        session.report.say(
            "These findings are not in Copilot's own part: `invoke check` says how to fix them."
        )
