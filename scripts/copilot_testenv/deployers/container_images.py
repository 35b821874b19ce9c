"""Build a service's images with Docker and push them to the service's repository."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from copilot_testenv.aws import Aws
from copilot_testenv.copilot import images, manifest
from copilot_testenv.core import child_variables
from copilot_testenv.core.process import LIFELINE, Command, Result, Shell, Variables, output_of
from copilot_testenv.core.settings import Settings
from copilot_testenv.deployers.deployer import Hear, SignalDue

_LOGIN_SECONDS = 60.0
_SETTLES = 10.0  # seconds for Docker to end after a signal
_HELPER = "ecr-login"
_FARGATE = "linux/amd64"  # where the manifest names no platform


class Ended(Exception):
    """A program failed, or was ended by a signal; the deploy ends with its result."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.returncode)
        self.result = result


def containers(found: Mapping[str, Any], service: str, environment: str) -> dict[str, dict[str, Any]]:
    """Return the parts of a manifest by container, in an environment: the service's own, its sidecars'."""
    block = manifest.mapping(found, "environments", environment)
    base = {key: value for key, value in found.items() if key != "environments"}
    merged = manifest.over(base, block)
    for holder, own in ((merged, block), *_pairs(merged, block)):
        _choose_image(holder, own)
    sidecars = manifest.mapping(merged, "sidecars")
    return {service: merged} | {name: part for name, part in sidecars.items() if isinstance(part, dict)}


def _pairs(merged: Any, block: Any) -> list[tuple[Any, Any]]:
    return [
        (part, manifest.mapping(block, "sidecars", name))
        for name, part in manifest.mapping(merged, "sidecars").items()
    ]


def _choose_image(holder: Any, own: Any) -> None:
    """Let the environment's `build` or `location` replace the base's other one, as Copilot does.

    Source: internal/pkg/manifest/transform.go of aws/copilot-cli 1.34.
    """
    image, given = manifest.mapping(holder, "image"), manifest.mapping(own, "image")
    if "location" in given:
        image.pop("build", None)
    elif "build" in given:
        image.pop("location", None)


@dataclass(frozen=True)
class Builder:
    """Build in a worktree, and push with a tag. `variables` lead Docker to the registry of this run."""

    shell: Shell
    settings: Settings
    variables: Variables
    aws: Aws

    def build(
        self,
        workspace: Path,
        parts: Mapping[str, Mapping[str, Any]],
        tag: str,
        hear: Hear,
        signal_due: SignalDue,
    ) -> dict[str, str]:
        """Return the image of each container that the manifest builds, by digest. Raises Ended, Failed.

        Containers that are built from the same have the same image.
        """
        host, password = self.aws.registry()
        repository = images.repository(self.settings)
        if not _logs_in_by_itself(host):
            words = ("login", "--username", "AWS", "--password-stdin", host)
            login = replace(self._docker(workspace, *words), stdin=password, timeout=_LOGIN_SECONDS)
            output_of(self.shell, login, "Logging in to the image registry")
        made: dict[tuple[object, ...], str] = {}
        found = {}
        for name, part in parts.items():
            built = manifest.build(manifest.mapping(part, "image").get("build"))
            if built is None:
                continue
            key = (built, built.args)
            if key not in made:
                own_tag = tag if name == self.settings.service else f"{name}-{tag}"
                reference = f"{host}/{repository}:{own_tag}"
                hear(f"Building your container image {own_tag}")
                flags = self._flags(built, parts[self.settings.service].get("platform"))
                context, file = str(workspace / built.context), str(workspace / built.dockerfile)
                for step in (("build", "-t", reference, *flags, context, "-f", file), ("push", reference)):
                    result = self.shell.stream(self._docker(workspace, *step), hear, signal_due)
                    if not result.ok:
                        raise Ended(result)
                made[key] = f"{host}/{repository}@{self.aws.image_digest(repository, own_tag)}"
            found[name] = made[key]
        return found

    def _flags(self, built: manifest.Build, platform: object) -> list[str]:
        """Return the flags of `docker build`, as Copilot gives them.

        Source: internal/pkg/docker/dockerengine/dockerengine.go of aws/copilot-cli 1.34.
        """
        flags = ["--target", built.target] if built.target else []
        if isinstance(platform, dict):
            platform = f"{platform.get('osfamily')}/{platform.get('architecture')}"
        if platform:
            flags += ["--platform", str(platform)]
        for name, value in sorted(built.args):
            flags += ["--build-arg", f"{name}={self.settings.filled(value)}"]
        return flags

    def _docker(self, workspace: Path, *words: str) -> Command:
        lifeline = self.variables.get(LIFELINE)
        platform = {"DOCKER_DEFAULT_PLATFORM": _FARGATE} if self.settings.target == "aws" else {}
        return Command(
            ("docker", *words),
            env={**self.variables, **platform},
            cwd=workspace,
            settle=_SETTLES,
            lifeline=Path(lifeline) if lifeline else None,
            inherits=child_variables.COPILOT,  # a credential helper of the user's needs AWS_*
            quiet=True,
        )


def _logs_in_by_itself(host: str) -> bool:
    """Return True if Docker's credential helper for ECR is configured for a registry: no other login works.

    Source: internal/pkg/docker/dockerengine/dockerengine.go of aws/copilot-cli 1.34.
    """
    folder = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
    try:
        found = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        return _HELPER in (found.get("credsStore"), (found.get("credHelpers") or {}).get(host))
    except (OSError, RuntimeError, ValueError, AttributeError):
        return False
