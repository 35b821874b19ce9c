"""Fills a new embedded AWS through Copilot itself: application, environments, service, secrets."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from copilot_sandbox import child_variables, scratch
from copilot_sandbox.credentials import PROFILE, write_profile
from copilot_sandbox.errors import Failed
from copilot_sandbox.supply import Stored
from copilot_sandbox.workspace import Workspace, copilot

_SERVICE_TYPE = "Load Balanced Web Service"
_JOB_TYPE = "Scheduled Job"
_COPILOT_SECONDS = 240.0  # for one command of Copilot
_TWO_STEPS = (
    "the addons of {environment} import what the environment itself exports, which is there only once it is "
    "deployed: it was made without them, then with them. Do the same on AWS"
)


def seed(
    workspace: Workspace,
    aws: Mapping[str, str],
    environments: Sequence[str],
    *,
    secrets: Mapping[str, Mapping[str, str]] | None = None,
    stored: Sequence[Stored] = (),
    domain: str = "",
    bare: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, str]:
    """Create missing resources. A second run changes nothing except the secrets' values.

    `bare` environments are created without their addons and patches, which no service's template uses.
    Returns the environments that Copilot could not create, each with the reason.

    Copilot works on a temporary copy of the workspace, because its `init` commands write manifests. `aws` are
    the child's variables (`ControlPlaneServer.environment()`, and a PATH with the sandbox's `docker`).
    `secrets` maps an environment to {name: value}; each becomes the SSM parameter
    /copilot/<application>/<environment>/secrets/<name>. `stored` are more, each with its full name. `say`
    gets a line for each of `workspace.workloads` that Copilot could not register. Raises Failed with
    Copilot's message if it creates no application or service.
    """
    clients = _Clients(aws)
    application = workspace.application
    with (
        _scratch(workspace.root, bare=bare) as folder,
        ThreadPoolExecutor(max_workers=len(environments) + 1) as pool,
    ):
        copilot_cli = _Copilot(folder, aws, workspace.variables)
        known = clients.names(f"/copilot/applications/{application}")
        own = [
            Stored(
                f"/copilot/{application}/{environment}/secrets/{name}", value, environment, is_parameter=True
            )
            for environment, values in (secrets or {}).items()
            for name, value in values.items()
        ]
        secrets_written = pool.submit(clients.put_secrets, application, [*stored, *own])
        if application not in known:
            if domain:
                clients.own_domain(domain)
            copilot_cli.run("app", "init", application, *(("--domain", domain) if domain else ()))
        deployments = {}
        failed = {}
        for name in environments:
            # One after the other, because each changes the application's stack set and Copilot does not wait.
            try:
                if f"environments/{name}" not in known:
                    copilot_cli.init_environment(name)
            except Failed as error:
                failed[name] = str(error)
                continue
            clients.tag_record(
                f"/copilot/applications/{application}/environments/{name}", workspace.tags.get(name, {})
            )
            if not clients.has_network(f"{application}-{name}"):
                deployments[name] = pool.submit(copilot_cli.run, "env", "deploy", "--name", name)
        if workspace.service and f"components/{workspace.service}" not in known:
            copilot_cli.run("svc", "init", "--name", workspace.service, "--svc-type", _SERVICE_TYPE)
        new = {name: kind for name, kind in workspace.workloads.items() if f"components/{name}" not in known}
        copilot_cli.init_workloads(new, say)
        failed |= _end(application, deployments, clients, copilot_cli, say)
        secrets_written.result()
    return failed


def _end(
    application: str,
    deployments: Mapping[str, Future[None]],
    clients: _Clients,
    copilot_cli: _Copilot,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Wait for the deployments of environments. Return those that failed, each with the reason."""

    def reason_of(error: Failed, name: str) -> str:
        reason = clients.first_failure(f"{application}-{name}")
        return f"{str(error).splitlines()[0]} {reason}" if reason else str(error)

    failed = {}
    for name, deployment in deployments.items():
        try:
            deployment.result()
        except Failed as error:
            failed[name] = reason_of(error, name)
    # Afterwards, because it changes the folder in which the others are deployed.
    for name in [
        name for name, reason in failed.items() if f"No export named {application}-{name}-" in reason
    ]:
        try:
            copilot_cli.deploy_in_two_steps(name)
        except Failed as error:
            failed[name] = reason_of(error, name)
        else:
            del failed[name]
            say(_TWO_STEPS.format(environment=name))
    return failed


def first_failure(cloudformation: Any, stack: str) -> str:
    """Return the resource that failed first in a stack's last change, with its reason; else an empty text."""
    pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack)
    found = ""
    for event in (each for page in pages for each in page["StackEvents"]):  # the newest one comes first
        resource, status = event["LogicalResourceId"], event["ResourceStatus"]
        if resource == stack and status in {"CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS"}:
            break
        if status.endswith("_FAILED") and event.get("ResourceStatusReason"):
            found = f"{resource} {status}: {event['ResourceStatusReason']}"
    return found


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
    """Runs Copilot's commands in the temporary copy."""

    def __init__(self, folder: Path, aws: Mapping[str, str], variables: tuple[str, ...]) -> None:
        self._program = copilot()
        self._folder = folder
        self._aws = aws
        # Copilot asks Git for a commit, which is not needed here. Outside a repository, Git runs none of the
        # programs that a repository's configuration names.
        self._env = {**child_variables.inherited(*variables), "GIT_DIR": os.devnull, **aws}

    def run(self, *words: str, **variables: str) -> None:
        prefix = f"Seeding the sandbox (`copilot {' '.join(words[:2])}`) failed"
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
            raise Failed(f"{prefix}: it did not end within {_COPILOT_SECONDS:.0f} s.") from error
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]
            raise Failed(
                f"{prefix}: it ended with exit code {done.returncode}."
                + "".join(f"\n  {line}" for line in last)
            )

    def init_workloads(self, workloads: Mapping[str, str], say: Callable[[str], None]) -> None:
        """Register the services and jobs that have a manifest. Call `say` for each that fails."""
        for name, kind in workloads.items():
            noun = "job" if kind == _JOB_TYPE else "svc"
            try:
                self.run(noun, "init", "--name", name, f"--{noun}-type", kind)
            except Failed as error:  # the workload can be registered once its manifest is correct
                say(f"{name} is not registered: {' '.join(str(error).split())}")

    def deploy_in_two_steps(self, environment: str) -> None:
        """Deploy an environment without the addons of environments, then with them. Raises Failed."""
        addons = self._folder / "copilot/environments/addons"
        aside = addons.rename(self._folder / "addons")
        try:
            self.run("env", "deploy", "--name", environment)
        finally:
            aside.rename(addons)
        self.run("env", "deploy", "--name", environment)

    def init_environment(self, name: str) -> None:
        # Without a profile, Copilot asks for credentials. On the command line, every user could read them.
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
    """Clients of the embedded AWS, independent of the user's own AWS settings."""

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

        self._client = client
        self._route53, self._ssm = client("route53"), client("ssm")
        self._cloudformation = client("cloudformation")

    def names(self, root: str) -> set[str]:
        """Return the names of the parameters below `root`, without this prefix, and the application."""
        pages = self._ssm.get_paginator("get_parameters_by_path").paginate(Path=root, Recursive=True)
        names = {item["Name"].removeprefix(f"{root}/") for page in pages for item in page["Parameters"]}
        if self._ssm.get_parameters(Names=[root])["Parameters"]:
            names.add(root.rsplit("/", 1)[-1])
        return names

    def has_network(self, stack: str) -> bool:
        """Return True once `env deploy` has run: `env init` alone creates no network."""
        try:
            described = self._cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        except ClientError:  # the stack does not exist
            return False
        return any(output["OutputKey"] == "VpcId" for output in described.get("Outputs", []))

    def first_failure(self, stack: str) -> str:
        return first_failure(self._cloudformation, stack)

    def own_domain(self, domain: str) -> None:
        """Create the domain's hosted zone, without which Copilot accepts no domain."""
        self._route53.create_hosted_zone(Name=domain, CallerReference=domain)

    def tag_record(self, parameter: str, tags: Mapping[str, str]) -> None:
        """Put tags on Copilot's record of an environment, which is an SSM parameter."""
        if tags:
            self._ssm.add_tags_to_resource(
                ResourceType="Parameter",
                ResourceId=parameter,
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            )

    def put_secrets(self, application: str, secrets: Iterable[Stored]) -> None:
        """Create each secret, or set its value."""
        for secret in secrets:
            # Without both tags, the task may not read the secret.
            tags = [
                {"Key": "copilot-application", "Value": application},
                {"Key": "copilot-environment", "Value": secret.environment},
            ]
            (self._put_parameter if secret.is_parameter else self._put_secret)(secret, tags)

    def _put_parameter(self, secret: Stored, tags: list[dict[str, str]]) -> None:
        words = {"Name": secret.name, "Value": secret.value, "Type": "SecureString"}
        if self._ssm.get_parameters(Names=[secret.name])["Parameters"]:
            self._ssm.put_parameter(**words, Overwrite=True)
        else:
            self._ssm.put_parameter(**words, Tags=tags)

    def _put_secret(self, secret: Stored, tags: list[dict[str, str]]) -> None:
        manager = self._client("secretsmanager")
        try:
            manager.create_secret(Name=secret.name, SecretString=secret.value, Tags=tags)
        except manager.exceptions.ResourceExistsException:
            manager.put_secret_value(SecretId=secret.name, SecretString=secret.value)
