"""Make a rendered or packaged template one that CloudFormation takes, with the values of its parameters."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from copilot_testenv.branch_guard.template_values import LATE
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core.errors import SettingsError

_TASK = "AWS::ECS::TaskDefinition"


def filled(
    template: Template,
    service: str,
    images: Mapping[str, str],
    env_files: Mapping[str, str],
    values: Mapping[str, str],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the template's content, and the values of all its parameters.

    `images` and the ARNs of `env_files` are by the names of containers; `values` are those that only this
    deploy knows. A parameter without a value gets its default. Raises SettingsError where it has none, or the
    manifest does not say how an image is built.
    """
    body = copy.deepcopy(template.body)
    for resource in body["Resources"].values():
        if resource.get("Type") == _TASK:
            for container in resource["Properties"]["ContainerDefinitions"]:
                if "Image" in container and container["Image"] is None:  # Copilot builds a sidecar's later
                    if container["Name"] not in images:
                        raise SettingsError(f"The manifest builds no image for {container['Name']}.")
                    container["Image"] = images[container["Name"]]
    late = {**values}
    if service in images:
        late["ContainerImage"] = images[service]
    late |= {f"ContainerImageFor{_id(name)}": image for name, image in images.items()}
    late |= {
        ("EnvFileARN" if name == service else f"EnvFileARNFor{_id(name)}"): arn
        for name, arn in env_files.items()
    }
    given = {**template.parameters, **late}
    declared: dict[str, Any] = body.get("Parameters") or {}
    for name, parameter in declared.items():
        if name not in given and LATE.fullmatch(name) and not name.startswith("ContainerImage"):
            given[name] = ""  # nothing is uploaded for it; the branch before may have had something
        if name not in given and "Default" not in parameter:
            raise SettingsError(f"The template of {service} has a parameter without a value: {name}.")
    return body, {name: given[name] for name in declared if name in given}


def _id(name: str) -> str:
    """Return a container's name as a part of a logical id, as Copilot writes it."""
    return re.sub("[^A-Za-z0-9]", "", name.replace("-", "DASH"))
