"""Fill a fresh embedded AWS through Copilot itself: application, environments, service, secrets."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from copilot_sandbox import child_variables, scratch
from copilot_sandbox.credentials import PROFILE, write_profile
from copilot_sandbox.errors import Failed
from copilot_sandbox.workspace import Workspace, copilot

_SERVICE_TYPE = "Load Balanced Web Service"
_JOB_TYPE = "Scheduled Job"
_COPILOT_SECONDS = 240.0  # for one of its commands


def seed(
    workspace: Workspace,
    aws: Mapping[str, str],
    environments: Sequence[str],
    *,
    secrets: Mapping[str, Mapping[str, str]] | None = None,
    domain: str = "",
    bare: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, str]:
    """Create what is missing; run again, it changes nothing but the secrets' values.

    `bare` environments are made without their addons and patches, which services are not rendered from.
    Returns the environments that Copilot could not make, each with the reason.

    Copilot works on a scratch copy of the workspace, for its `init` commands write manifests. `aws` are the
    child's variables (`ControlPlaneServer.environment()`, and a PATH with the sandbox's `docker`). `secrets`
    maps an environment to {name: value}; each becomes /copilot/<application>/<environment>/secrets/<name>.
    `say` is told which of `workspace.workloads` Copilot could not register. Raises Failed with Copilot's own
    words where it makes no application or service.
    """
    clients = _Clients(aws)
    application = workspace.application
    with (
        _scratch(workspace.root, bare=bare) as folder,
        ThreadPoolExecutor(max_workers=len(environments) + 1) as pool,
    ):
        copilot_runs = _Copilot(folder, aws, workspace.variables)
        known = clients.names(f"/copilot/applications/{application}")
        writing = pool.submit(clients.put_secrets, application, secrets or {})
        if application not in known:
            if domain:
                clients.own_domain(domain)
            copilot_runs.run("app", "init", application, *(("--domain", domain) if domain else ()))
        deploying = {}
        failed = {}
        for name in environments:
            # One after the other: each changes the application's stack set, and Copilot does not wait.
            try:
                if f"environments/{name}" not in known:
                    copilot_runs.init_environment(name)
            except Failed as error:
                failed[name] = str(error)
                continue
            clients.tag_record(
                f"/copilot/applications/{application}/environments/{name}", workspace.tags.get(name, {})
            )
            if not clients.has_network(f"{application}-{name}"):
                deploying[name] = pool.submit(copilot_runs.run, "env", "deploy", "--name", name)
        if workspace.service and f"components/{workspace.service}" not in known:
            copilot_runs.run("svc", "init", "--name", workspace.service, "--svc-type", _SERVICE_TYPE)
        new = {name: kind for name, kind in workspace.workloads.items() if f"components/{name}" not in known}
        copilot_runs.init_workloads(new, say)
        for name, done in deploying.items():
            try:
                done.result()
            except Failed as error:
                failed[name] = str(error)
        writing.result()
    return failed


@contextmanager
def _scratch(workspace: Path, *, bare: bool) -> Iterator[Path]:
    with scratch.temporary("sandbox-seed-") as folder:
        shutil.copytree(workspace / "copilot", folder / "copilot")
        for part in ("addons", "overrides") if bare else ():
            shutil.rmtree(folder / "copilot/environments" / part, ignore_errors=True)
        dockerfile = workspace / "Dockerfile"
        if dockerfile.is_file():
            shutil.copy(dockerfile, folder / "Dockerfile")
        yield folder


class _Copilot:
    """Copilot's commands in the scratch copy."""

    def __init__(self, folder: Path, aws: Mapping[str, str], variables: tuple[str, ...]) -> None:
        self._program = copilot()
        self._folder = folder
        self._aws = aws
        # It asks Git for a commit, which is not needed here: in a folder that is no repository Git starts
        # nothing that the repository's configuration names.
        self._env = {**child_variables.inherited(*variables), "GIT_DIR": os.devnull, **aws}

    def run(self, *words: str, **variables: str) -> None:
        shown = f"Seeding the sandbox (`copilot {' '.join(words[:2])}`) failed"
        try:
            done = subprocess.run(
                [self._program, *words],
                check=False,
                cwd=self._folder,
                env={**self._env, **variables},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_COPILOT_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{shown}: it did not end within {_COPILOT_SECONDS:.0f} s.") from error
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]
            raise Failed(
                f"{shown}: it ended with exit code {done.returncode}."
                + "".join(f"\n  {line}" for line in last)
            )

    def init_workloads(self, workloads: Mapping[str, str], say: Callable[[str], None]) -> None:
        """Register services and jobs whose manifests are there, by their types; `say` which could not be."""
        for name, kind in workloads.items():
            word = "job" if kind == _JOB_TYPE else "svc"
            try:
                self.run(word, "init", "--name", name, f"--{word}-type", kind)
            except Failed as error:  # it can be registered once its manifest is right
                say(f"{name} is not registered: {' '.join(str(error).split())}")

    def init_environment(self, name: str) -> None:
        # It asks for credentials unless it is told a profile; a command line is everybody's to read.
        file = self._folder / ".profile"
        write_profile(file, self._aws)
        self.run(
            "env",
            "init",
            *("--name", name, "--default-config", "--region", str(self._aws["AWS_REGION"])),
            *("--profile", PROFILE),
            AWS_SHARED_CREDENTIALS_FILE=str(file),
        )


class _Clients:
    """The embedded AWS by boto3, without a look at the user's own AWS settings."""

    def __init__(self, aws: Mapping[str, str]) -> None:
        unset, nowhere = (None, None, None, None), (None, None, os.devnull, None)
        session = botocore.session.Session(
            {"profile": unset, "config_file": nowhere, "credentials_file": nowhere}
        )

        def client(service: str) -> Any:
            return session.create_client(
                service,
                region_name=aws["AWS_REGION"],
                aws_access_key_id=aws["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=aws["AWS_SECRET_ACCESS_KEY"],
                verify=aws.get("AWS_CA_BUNDLE"),
                config=Config(proxies={"https": aws["HTTPS_PROXY"]}, ignore_configured_endpoint_urls=True),
            )

        self._route53, self._ssm = client("route53"), client("ssm")
        self._cloudformation = client("cloudformation")

    def names(self, root: str) -> set[str]:
        """Return the parameters under `root`, without it, and the application's own name."""
        pages = self._ssm.get_paginator("get_parameters_by_path").paginate(Path=root, Recursive=True)
        found = {item["Name"].removeprefix(f"{root}/") for page in pages for item in page["Parameters"]}
        if self._ssm.get_parameters(Names=[root])["Parameters"]:
            found.add(root.rsplit("/", 1)[-1])
        return found

    def has_network(self, stack: str) -> bool:
        """Return True once `env deploy` has been through: `env init` alone makes no network."""
        try:
            described = self._cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        except ClientError:  # there is no such stack
            return False
        return any(output["OutputKey"] == "VpcId" for output in described.get("Outputs", []))

    def own_domain(self, domain: str) -> None:
        """Own the domain's hosted zone, without which Copilot takes no domain."""
        self._route53.create_hosted_zone(Name=domain, CallerReference=domain)

    def tag_record(self, parameter: str, tags: Mapping[str, str]) -> None:
        """Put tags on Copilot's record of an environment, which is a parameter of SSM."""
        if tags:
            self._ssm.add_tags_to_resource(
                ResourceType="Parameter",
                ResourceId=parameter,
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            )

    def put_secrets(self, application: str, secrets: Mapping[str, Mapping[str, str]]) -> None:
        for environment, values in secrets.items():
            for name, value in values.items():
                path = f"/copilot/{application}/{environment}/secrets/{name}"
                if self._ssm.get_parameters(Names=[path])["Parameters"]:
                    self._ssm.put_parameter(Name=path, Value=value, Type="SecureString", Overwrite=True)
                else:
                    self._ssm.put_parameter(
                        Name=path,
                        Value=value,
                        Type="SecureString",
                        # Without both, the task may not read it.
                        Tags=[
                            {"Key": "copilot-application", "Value": application},
                            {"Key": "copilot-environment", "Value": environment},
                        ],
                    )
