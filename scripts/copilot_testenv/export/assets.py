"""Fetch the code of Copilot's Lambda functions from its bucket: a stack needs these files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import yaml

from copilot_testenv.aws import Aws
from copilot_testenv.branch_guard import branch_files
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core import scratch
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.settings import Settings
from copilot_testenv.rendering import TAG, Renderer

# The smallest manifest of each type that Copilot packages. The user's manifest would make it build images.
_SMALLEST = {
    "Backend Service": {},
    "Load Balanced Web Service": {"http": {"path": "/"}},
    "Scheduled Job": {"on": {"schedule": "@daily"}},
    "Worker Service": {},
}
TYPES = tuple(_SMALLEST)


def origin_bucket(aws: Aws, settings: Settings) -> str:
    """Return the bucket of the application on the embedded AWS. Raises Failed if Copilot made none."""
    pages = aws.client("cloudformation").get_paginator("describe_stacks").paginate()
    for stack in (stack for page in pages for stack in page["Stacks"]):
        if stack["StackName"].startswith(f"StackSet-{settings.app}-infrastructure-"):
            for output in stack.get("Outputs", ()):
                if output["OutputKey"] == "PipelineBucket":
                    return str(output["OutputValue"])
    raise Failed(f"Copilot made no bucket for the application {settings.app} on the embedded AWS.")


def fetch(
    renderer: Renderer, environment: str, types: Iterable[str], keys: Iterable[str]
) -> Mapping[str, bytes]:
    """Return the files with these keys that Copilot uploads for an environment and services of these types.

    Raises Refused if Copilot would read files outside the repository, Failed if it did not upload a key.
    """
    wanted = sorted(set(keys))
    root, settings = renderer.settings.root, renderer.settings
    scope = branch_files.Scope((), listed=branch_files.listed(root, renderer.shell))
    branch_files.require(root, settings, os.environ, scope)  # Copilot reads files here that addons name
    aws = Aws(renderer.variables)
    with scratch.temporary("packaging-") as workspace:
        (workspace / "copilot").mkdir()
        (workspace / "copilot/.workspace").write_text(f"application: {renderer.settings.app}\n")
        copilot = Copilot(renderer.settings, renderer.variables, workspace)
        written = Copilot(renderer.settings, renderer.variables, renderer.settings.root)
        commands = [written.environment_package(environment, workspace / "out", assets=True)]
        for number, kind in enumerate(sorted(set(types))):
            service = f"assets{number}"
            folder = workspace / "copilot" / service
            folder.mkdir()
            image = {"location": "scratch", **({"port": 80} if kind == "Load Balanced Web Service" else {})}
            manifest = {"name": service, "type": kind, "image": image, **_SMALLEST[kind]}
            (folder / "manifest.yml").write_text(yaml.safe_dump(manifest))
            commands.append(
                copilot.service_package(
                    service, environment, TAG, workspace / "out", job=kind == "Scheduled Job", assets=True
                )
            )
        errors = [renderer.shell.run(command).stderr for command in commands]
    bucket, s3 = origin_bucket(aws, renderer.settings), aws.client("s3")
    files = {}
    for key in wanted:
        try:
            files[key] = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey as error:
            why = " ".join(" ".join(errors).split()) or "it printed no error"
            raise Failed(f"Copilot did not upload {key}, which a template needs: {why}.") from error
    return files
