"""Upload what a service's stack needs in the application's bucket, as Copilot does.

Source: internal/pkg/cli/deploy/workload.go and internal/pkg/template/artifactpath of aws/copilot-cli 1.34.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from copilot_testenv.aws import Aws
from copilot_testenv.copilot import commands, manifest
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core import scratch
from copilot_testenv.core.errors import Failed, SettingsError
from copilot_testenv.core.process import Shell
from copilot_testenv.core.settings import SERVICE_TYPE
from copilot_testenv.deployers import packaged
from copilot_testenv.deployers.renderer import TAG

_FUNCTION = re.compile(r"manual/scripts/custom-resources/[a-z0-9]+/[0-9a-f]{64}\.zip")
_LARGEST = 1 << 20  # bytes of an env_file


@dataclass(frozen=True)
class Bucket:
    """The application's bucket, where the environment's role may write."""

    name: str
    aws: Aws

    def url(self, key: str) -> str:
        suffix = "amazonaws.com.cn" if self.aws.region.startswith("cn-") else "amazonaws.com"
        return f"https://{self.name}.s3.{self.aws.region}.{suffix}/{key}"

    def put(self, key: str, body: bytes) -> str:
        """Write an object whose key has the digest of its content; return its URL."""
        if not self.aws.has_object(self.name, key):
            self.aws.put_object(self.name, key, body)
        return self.url(key)

    def put_template(self, stack: str, text: str) -> str:
        body = text.encode()
        return self.put(f"manual/templates/{stack}/{hashlib.sha256(body).hexdigest()}.yml", body)

    def put_addons(self, service: str, text: str) -> str:
        body = text.encode()
        return self.put(f"manual/addons/{service}/{hashlib.sha256(body).hexdigest()}.yml", body)

    def put_env_files(self, workspace: Path, parts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """Return the ARN of each container's `env_file`, by the container's name. Raises SettingsError."""
        found = {}
        for name, part in parts.items():
            path = part.get("env_file")
            if not path:
                continue
            file = manifest.inside(workspace / str(path), workspace)
            if not file.is_file() or file.stat().st_size > _LARGEST:
                raise SettingsError(
                    f"The env_file {path} of {name} is not a file of at most {_LARGEST} bytes."
                )
            body = file.read_bytes()
            key = f"manual/env-files/{file.name}/{hashlib.sha256(body).hexdigest()}.env"
            self.put(key, body)
            partition = "aws-cn" if self.aws.region.startswith("cn-") else "aws"
            found[name] = f"arn:{partition}:s3:::{self.name}/{key}"
        return found

    def require_functions(self, text: str, workspace: Path, shell: Shell, copilot: Copilot) -> None:
        """Upload the code of the custom resources that a template names, where the bucket lacks it.

        It comes from what `package` wrote, else from Copilot. Raises SettingsError without both.
        """
        missing = [
            key for key in sorted(set(_FUNCTION.findall(text))) if not self.aws.has_object(self.name, key)
        ]
        for key in list(missing):
            if body := packaged.asset(workspace, copilot.settings.test_env, key):
                self.aws.put_object(self.name, key, body)
                missing.remove(key)
        if missing and commands.is_installed():
            _upload_with_copilot(shell, copilot)
            missing = [key for key in missing if not self.aws.has_object(self.name, key)]
        if missing:
            raise SettingsError(
                f"The bucket {self.name} lacks {missing[0]}, which the template needs: where Copilot runs, "
                f"`invoke package --env {copilot.settings.test_env}`, and commit what it writes."
            )


def _upload_with_copilot(shell: Shell, copilot: Copilot) -> None:
    """Let Copilot upload the code of a service's custom resources, with a manifest that builds nothing."""
    name = "assets"
    with scratch.temporary("packaging-") as workspace:
        folder = workspace / "copilot" / name
        folder.mkdir(parents=True)
        (workspace / "copilot/.workspace").write_text(f"application: {copilot.settings.app}\n")
        smallest = {
            "name": name,
            "type": SERVICE_TYPE,
            "image": {"location": "scratch", "port": 80},
            "http": {"path": "/"},
        }
        (folder / "manifest.yml").write_text(yaml.safe_dump(smallest))
        own = Copilot(copilot.settings, copilot.env, workspace)
        environment, out = copilot.settings.test_env, workspace / "out"
        result = shell.run(own.service_package(name, environment, TAG, out, job=False, assets=True))
    if not result.ok:
        why = " ".join((result.stderr or result.stdout).split())
        raise Failed(f"Copilot could not upload the code of its functions: {why[-500:]}")
