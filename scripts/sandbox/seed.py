"""Fills a fresh embedded AWS through Copilot itself: application, environments, service, secrets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from botocore.exceptions import ClientError

from scripts import copilot as copilot_words
from scripts import disposable, scratch
from scripts.aws import Aws
from scripts.command import Shell, Variables, output_of
from scripts.errors import Failed
from scripts.sandbox.private import write_private
from scripts.settings import SERVICE_TYPE

_PROFILE = "sandbox"
# The user's own AWS settings, which must not reach the sandbox's Copilot.
_NOT_THE_USERS = (
    "AWS_CONFIG_FILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "AWS_SDK_LOAD_CONFIG",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
)


def seed(
    shell: Shell,
    copilot: str,
    workspace: Path,
    aws: Variables,
    *,
    application: str,
    service: str | None,
    environments: Sequence[str],
    secrets: Mapping[str, Mapping[str, str]],
    domain: str = "",
    bare: bool = False,
    variables: tuple[str, ...] = (),
) -> dict[str, str]:
    """Create what is missing; run again, it changes nothing but the secrets' values.

    The environment `test` is marked as disposable; another one by `invoke create-env`, as on AWS.

    `bare` environments are made without their addons and patches, which services are not rendered from.
    Returns the environments that Copilot could not make, each with the reason.

    `workspace` holds `copilot/`; Copilot works on a scratch copy of it, for its `init` commands write
    manifests. `aws` are the child's variables (`ControlPlaneServer.environment()`, and a PATH with the
    sandbox's `docker`). `secrets` maps an environment to {name: value}; each becomes
    /copilot/<application>/<environment>/secrets/<name>. `variables` are those that manifests may name.
    Raises Failed with Copilot's own words where it makes no application or service.
    """
    clients = _Clients(aws)
    with (
        _scratch(workspace, bare=bare) as folder,
        ThreadPoolExecutor(max_workers=len(environments) + 1) as pool,
    ):
        copilot_runs = _Copilot(shell, copilot, folder, aws, variables)
        known = clients.names(f"/copilot/applications/{application}")
        writing = pool.submit(clients.put_secrets, application, secrets)
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
            clients.mark_disposable(application, name)
            if not clients.has_network(f"{application}-{name}"):
                deploying[name] = pool.submit(copilot_runs.run, "env", "deploy", "--name", name)
        if service and f"components/{service}" not in known:
            copilot_runs.run("svc", "init", "--name", service, "--svc-type", SERVICE_TYPE)
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

    def __init__(
        self, shell: Shell, program: str, folder: Path, aws: Variables, variables: tuple[str, ...]
    ) -> None:
        self._shell = shell
        self._program = program
        self._folder = folder
        self._aws = aws
        self._variables = variables
        self._env = {**dict.fromkeys(_NOT_THE_USERS), **aws}

    def run(self, *words: str, **variables: str) -> None:
        env = {**self._env, **variables}
        command = copilot_words.command((self._program, *words), env, self._folder, self._variables)
        command = replace(command, timeout=240)
        output_of(self._shell, command, f"seeding the sandbox (`copilot {' '.join(words[:2])}`)")

    def init_environment(self, name: str) -> None:
        # It asks for credentials unless it is told a profile; a command line is everybody's to read.
        profile = self._folder / ".profile"
        write_private(
            profile,
            f"[{_PROFILE}]\n"
            f"aws_access_key_id = {self._aws['AWS_ACCESS_KEY_ID']}\n"
            f"aws_secret_access_key = {self._aws['AWS_SECRET_ACCESS_KEY']}\n",
        )
        self.run(
            "env",
            "init",
            *("--name", name, "--default-config", "--region", str(self._aws["AWS_REGION"])),
            *("--profile", _PROFILE),
            AWS_SHARED_CREDENTIALS_FILE=str(profile),
        )


class _Clients:
    """The embedded AWS by boto3, without a look at the user's own AWS settings."""

    def __init__(self, aws: Variables) -> None:
        here = Aws(aws)
        self._route53 = here.client("route53")
        self._ssm = here.client("ssm")
        self._cloudformation = here.client("cloudformation")

    def names(self, root: str) -> set[str]:
        """Return the parameters under `root`, without it, and the application's own name."""
        pages = self._ssm.get_paginator("get_parameters_by_path").paginate(Path=root, Recursive=True)
        found = {item["Name"].removeprefix(f"{root}/") for page in pages for item in page["Parameters"]}
        if self._ssm.get_parameters(Names=[root])["Parameters"]:
            found.add(root.rsplit("/", 1)[-1])
        return found

    def has_network(self, stack: str) -> bool:
        """Say whether `env deploy` has been through: `env init` alone makes no network."""
        try:
            described = self._cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        except ClientError:  # there is no such stack
            return False
        return any(output["OutputKey"] == "VpcId" for output in described.get("Outputs", []))

    def own_domain(self, domain: str) -> None:
        """Own the domain's hosted zone, without which Copilot takes no domain."""
        self._route53.create_hosted_zone(Name=domain, CallerReference=domain)

    def mark_disposable(self, application: str, environment: str) -> None:
        """Mark the environment, if it is `test`."""
        if environment != disposable.IN_SANDBOX:
            return
        self._ssm.add_tags_to_resource(
            ResourceType="Parameter",
            ResourceId=disposable.parameter(application, environment),
            Tags=[{"Key": disposable.TAG, "Value": disposable.value(application, environment)}],
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
