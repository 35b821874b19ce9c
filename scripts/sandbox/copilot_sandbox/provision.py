"""Provides what the manifests of a workspace name: secrets, buckets, and the variables of its image."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from copilot_sandbox import given, references
from copilot_sandbox.databases import Databases
from copilot_sandbox.references import Reference
from copilot_sandbox.state import OWNER, State
from copilot_sandbox.supply import Stored, Supply, line_of
from copilot_sandbox.workspace import Stage, Workspace


def proxy_variables(host: str, port: int) -> dict[str, str]:
    """Return the variables by which a program reaches the embedded AWS as a proxy, at this address of a task.

    boto3 of any version does what they say. Other hosts than AWS's are refused by the embedded AWS, and a
    task reaches none anyway.
    """
    proxy, direct = f"http://{host}:{port}", "localhost,127.0.0.1"
    return {
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "NO_PROXY": direct,
        "no_proxy": direct,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class Provision:
    """Reads the manifests of the image that fills staging, or else the workspace's."""

    def __init__(
        self,
        workspace: Workspace,
        supply: Supply,
        databases: Databases,
        say: Callable[[str], None],
        aws: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """Keep what it reads. `aws` returns the variables by which the image reaches the embedded AWS."""
        self._workspace = workspace
        self._supply = supply
        self._databases = databases
        self._say = say
        self._aws = aws

    def secrets(self, environments: Sequence[str], ensure_bucket: Callable[[str], None]) -> list[Stored]:
        """Return the secrets that the environments' containers name. Say once which values are made up.

        Call `ensure_bucket` for each bucket that a variable names.
        """
        _, warning = given.read(self._workspace.root)
        if warning:
            self._say(warning)
        stored: list[Stored] = []
        invented: set[str] = set()
        for environment in environments:
            named = self._named(environment)
            stored += self._supply.stored(named, environment)
            self._supply.secret_exports |= {each.name for each in named if each.kind == "secret import"}
            for name in self._supply.buckets(named, environment):
                ensure_bucket(name)
            if environment in (self._workspace.needed or environments):
                invented |= self._supply.invented(named, self._workspace.application, environment)
        if new := self._supply.announce(invented):
            self._say(line_of(new))
        return stored

    def stage_variables(self, stage: Stage, database: str) -> dict[str, str]:
        """Return the variables of a command in the image: those of the service's main container.

        Addresses of databases lead to that of the environment `database`.
        """
        service, environment = self._workspace.service or "", stage.environment
        return {
            **self._aws(),
            "COPILOT_APPLICATION_NAME": self._workspace.application,
            "COPILOT_SERVICE_NAME": service,
            "COPILOT_LB_DNS": "localhost",
            "COPILOT_SERVICE_DISCOVERY_ENDPOINT": f"{environment}.{self._workspace.application}.local",
            **references.env_files(Path(stage.root), service, environment),
            **self._supply.environment(self._named(environment), service, environment, database),
            **self._databases.secrets()[database],
            **stage.variables,
            OWNER: str(State(self._workspace.root).folder),
        }

    def _named(self, environment: str) -> list[Reference]:
        workspace = self._workspace
        root = Path(workspace.stage.root or workspace.root) if workspace.stage else workspace.root
        user = {name: os.environ[name] for name in workspace.variables if name in os.environ}
        made = references.addon_secrets(root, workspace.application, environment)
        self._supply.database_secrets |= made.databases
        self._supply.addon_secrets |= made.named
        return references.of_environment(root, workspace.application, environment, user)
