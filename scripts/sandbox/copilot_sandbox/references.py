"""Finds the variables, secrets and imported values that a workspace's manifests and addons name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from copilot_sandbox.control_plane.errors import TemplateError
from copilot_sandbox.control_plane.templates import read_template
from copilot_sandbox.env_files import parse_env_file

_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Kind = Literal["plain", "ssm", "secretsmanager", "import", "secret import", "addon"]
_INTERPOLATED = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HELD = ("variables", "secrets", "env_file")


@dataclass(frozen=True)
class Reference:
    """A variable of a container. `name` is its value, or the name by which the value is looked up."""

    workload: str
    container: str
    variable: str
    kind: Kind
    name: str


def of_environment(
    root: Path, application: str, environment: str, user: Mapping[str, str]
) -> list[Reference]:
    """Return what each workload's containers name in an environment, overrides included.

    `user` has the variables of the user that manifests may name. Manifests that cannot be read are skipped,
    because Copilot reports them itself.
    """
    found: list[Reference] = []
    for file in sorted(root.glob("copilot/*/manifest.yml")):
        workload = file.parent.name
        values = {
            **user,
            "COPILOT_APPLICATION_NAME": application,
            "COPILOT_ENVIRONMENT_NAME": environment,
        }
        with suppress(OSError, ValueError, RecursionError, yaml.YAMLError):
            content = yaml.load(file.read_text(encoding="utf-8"), Loader=_SAFE)  # noqa: S506 - both are safe
            if isinstance(content, dict):
                found += _of_workload(content, workload, environment, values)
        found += _of_addons(file.parent / "addons", workload)
    return found


def env_files(root: Path, workload: str, environment: str) -> dict[str, str]:
    """Return the variables of the files that the main container's `env_file` names, as ECS reads them.

    A path outside the workspace is skipped.
    """
    with suppress(OSError, ValueError, RecursionError, yaml.YAMLError):
        text = (root / "copilot" / workload / "manifest.yml").read_text(encoding="utf-8")
        name = _merged(yaml.load(text, Loader=_SAFE), environment).get("env_file")  # noqa: S506 - both are safe
        file = (root / str(name)).resolve()
        if isinstance(name, str) and file.is_relative_to(root.resolve()) and file.is_file():
            return parse_env_file(file.read_text(encoding="utf-8"))
    return {}


def _of_workload(
    manifest: Mapping[str, Any], workload: str, environment: str, values: Mapping[str, str]
) -> Iterator[Reference]:
    merged = _merged(manifest, environment)
    sidecars = _mapping(merged.get("sidecars"))
    for container, holder in {workload: merged, **sidecars}.items():
        for variable, value in _mapping(_mapping(holder).get("variables")).items():
            if isinstance(value, dict):
                if isinstance(name := value.get("from_cfn"), str):
                    yield Reference(workload, container, variable, "import", _fill(name, values))
            else:
                yield Reference(workload, container, variable, "plain", _fill(_text(value), values))
        for variable, value in _mapping(_mapping(holder).get("secrets")).items():
            yield from _secret(workload, container, variable, value, values)


def _secret(
    workload: str, container: str, variable: str, value: Any, values: Mapping[str, str]
) -> Iterator[Reference]:
    if isinstance(value, str):
        yield Reference(workload, container, variable, "ssm", _fill(value, values))
    elif isinstance(value, dict):
        if isinstance(name := value.get("secretsmanager"), str):
            yield Reference(workload, container, variable, "secretsmanager", _fill(name, values))
        if isinstance(name := value.get("from_cfn"), str):
            yield Reference(workload, container, variable, "secret import", _fill(name, values))


def _of_addons(folder: Path, workload: str) -> Iterator[Reference]:
    """Yield the outputs of addons, which Copilot gives the main container as variables in capitals.

    A managed policy and a security group are not given.
    Source: internal/pkg/addon/output.go of aws/copilot-cli 1.34.
    """
    for file in sorted(folder.glob("*.y*ml")):
        with suppress(OSError, ValueError, RecursionError, TemplateError):
            template = read_template(file.read_text(encoding="utf-8"))
            resources = _mapping(_mapping(template).get("Resources"))
            for name, output in _mapping(_mapping(template).get("Outputs")).items():
                target = _mapping(_mapping(output).get("Value")).get("Ref")
                kind = _mapping(resources.get(str(target))).get("Type")
                if kind not in {"AWS::IAM::ManagedPolicy", "AWS::EC2::SecurityGroup"}:
                    yield Reference(workload, workload, _as_variable(str(name)), "addon", str(name))


_SECRETS = ("AWS::SecretsManager::Secret", "AWS::SSM::Parameter")


class AddonSecrets(NamedTuple):
    """The names of secrets and parameters that addons make.

    `databases` has those that a database writes its address into, each with its name in Secrets Manager, its
    export's, and the variable that Copilot makes of an output. `named` has all names in Secrets Manager and
    in Parameter Store.
    """

    databases: set[str]
    named: set[str]


def addon_secrets(root: Path, application: str, environment: str) -> AddonSecrets:
    """Return the names of the secrets that the addons of services and environments make."""
    found = AddonSecrets(set(), set())
    for file in sorted(root.glob("copilot/*/addons/*.y*ml")):
        workload = file.parents[1].name
        values = {"App": application, "Env": environment, "Name": workload}
        with suppress(OSError, ValueError, RecursionError, TemplateError):
            template = _mapping(read_template(file.read_text(encoding="utf-8")))
            resources, outputs = _mapping(template.get("Resources")), _mapping(template.get("Outputs"))
            attached = _attached(resources)
            for key, resource in resources.items():
                if _mapping(resource).get("Type") in _SECRETS:
                    name = _name(_mapping(resource).get("Properties"), values)
                    found.named.update(name)
                    found.databases.update(name if key in attached else ())
            for key, output in outputs.items():
                if _mapping(_mapping(output).get("Value")).get("Ref") in attached:
                    found.databases.update(_name(_mapping(output).get("Export"), values))
                    found.databases.update([_as_variable(str(key))] if workload != "environments" else [])
    return found


def _name(holder: Any, values: Mapping[str, str]) -> list[str]:
    """Return the `Name` of a secret or an export, which may be a `Fn::Sub`; empty if it is no text."""
    name = _mapping(holder).get("Name")
    name = _mapping(name).get("Fn::Sub", name)
    return [_fill(name, values)] if isinstance(name, str) else []


def _attached(resources: Mapping[str, Any]) -> set[str]:
    """Return the secrets to which a database's address is attached, and the attachments: both are its ARN."""
    found = set()
    for name, resource in resources.items():
        if _mapping(resource).get("Type") == "AWS::SecretsManager::SecretTargetAttachment":
            secret = _mapping(_mapping(resource.get("Properties")).get("SecretId")).get("Ref")
            found |= {str(name), str(secret)}
    return found


def _as_variable(output: str) -> str:
    """Return an output's name as Copilot writes it as a variable: `mydbSecret` is MYDB_SECRET."""
    apart = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", output)
    return re.sub(r"([A-Z])([A-Z][a-z])", r"\1_\2", apart).upper()


def _merged(manifest: Any, environment: str) -> dict[str, Any]:
    """Return the parts with variables and secrets, the environment's over the base's, key by key."""
    content = _mapping(manifest)
    block = _mapping(_mapping(content.get("environments")).get(environment))
    merged = _over(content, block)
    sidecars, own = _mapping(content.get("sidecars")), _mapping(block.get("sidecars"))
    merged["sidecars"] = {
        name: _over(_mapping(sidecars.get(name)), _mapping(own.get(name))) for name in {**sidecars, **own}
    }
    return merged


def _over(base: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    held: dict[str, Any] = {
        name: {**_mapping(base.get(name)), **_mapping(block.get(name))} for name in _HELD[:2]
    }
    return {**held, "env_file": block.get("env_file") or base.get("env_file")}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _fill(text: str, values: Mapping[str, str]) -> str:
    """Replace `${NAME}` by a value. An unknown name stays, and Copilot refuses it."""
    return _INTERPOLATED.sub(lambda match: values.get(match[1], match[0]), text)
