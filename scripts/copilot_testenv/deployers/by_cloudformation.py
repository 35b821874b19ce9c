"""Deploy without Copilot: by CloudFormation's change sets, Docker, and ECS itself.

It works in the environment with the role that Copilot uses there, so the same rights hold.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import Stack
from copilot_testenv.copilot import addition, application, commands, disposable, manifest
from copilot_testenv.copilot.commands import Copilot, Environment, OneOff
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core import workspace_files
from copilot_testenv.core.errors import Failed, SettingsError, UserError
from copilot_testenv.core.process import Result, Shell
from copilot_testenv.core.settings import Settings
from copilot_testenv.deployers import one_off_stack, service_log, templates
from copilot_testenv.deployers.container_images import Builder, Ended, containers
from copilot_testenv.deployers.deployer import Hear, SignalDue, Templates, never
from copilot_testenv.deployers.packaged import Packaged
from copilot_testenv.deployers.renderer import Renderer, require_version
from copilot_testenv.deployers.stack_changes import StackChanges
from copilot_testenv.deployers.stack_files import Bucket

# The first deploy of these failed or was never begun: a stack of that name can only be made anew.
_DEAD = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")


@dataclass(frozen=True)
class _Remembering:
    """Templates of which each is made once: a deploy needs the one that was compared before."""

    made: Templates
    kept: dict[tuple[object, ...], Template | Refusal]

    @property
    def paths(self) -> tuple[str, ...]:
        return self.made.paths

    @property
    def has_overrides(self) -> bool:
        return self.made.has_overrides

    def note(self, workspace: Path) -> str:
        return self.made.note(workspace)

    def service(self, workspace: Path, service: str, environment: str) -> Template | Refusal:
        file = workspace / "copilot" / service / workspace_files.NAME  # a retry on demand changes it
        key = (workspace, service, environment, file.read_bytes() if file.is_file() else b"")
        if key not in self.kept:
            self.kept[key] = self.made.service(workspace, service, environment)
        return self.kept[key]


@dataclass(frozen=True)
class ByCloudFormation:
    """Work in the slot of the settings with AWS's own calls; see Deployer."""

    shell: Shell
    copilot: Copilot  # the slot, its mark, and the binary where there is one
    aws: Aws

    @property
    def settings(self) -> Settings:
        return self.copilot.settings

    @cached_property
    def templates(self) -> Templates:
        """Copilot's renderings while it is installed, else what `package` wrote."""
        if commands.is_installed():
            return _Remembering(Renderer(self.settings, self.shell, self.copilot.env, {}), {})
        return _Remembering(Packaged(self.settings), {})

    @cached_property
    def _environment(self) -> Environment:
        found = next((each for each in self.environments() if each.name == self.settings.test_env), None)
        if found is None:
            raise SettingsError(
                f"There is no environment {self.settings.test_env!r} in the application "
                f"{self.settings.app!r}: `invoke create-env` makes one, with Copilot."
            )
        return found

    @cached_property
    def _in_environment(self) -> Aws:
        """AWS with the rights of the environment's manager role."""
        role = self._environment.manager_role
        return self.aws.in_role(role) if role else self.aws

    @property
    def _pause(self) -> float:
        return 0.2 if self.settings.target == "sandbox" else 2.0  # seconds between looks

    @property
    def _changes(self) -> StackChanges:
        return StackChanges(self._in_environment, self._environment.execution_role, self._pause)

    def environments(self) -> tuple[Environment, ...]:
        """Read Copilot's records. Source: internal/pkg/config/env.go of aws/copilot-cli 1.34."""
        path = disposable.parameter(self.settings.app, "")
        try:
            records = [json.loads(text) for text in self.aws.home.parameters_below(path).values()]
            found = [
                Environment(
                    str(record["name"]),
                    str(record.get("region", "")),
                    str(record.get("accountID", "")),
                    str(record.get("managerRoleARN", "")),
                    str(record.get("executionRoleARN", "")),
                )
                for record in records
            ]
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise Failed(f"The records below {path} in SSM cannot be read: {error}.") from error
        return tuple(sorted(found, key=lambda each: each.name))

    def require_programs(self) -> None:
        """Check Copilot's version where it is installed, because it renders then."""
        if commands.is_installed():
            require_version(self.shell, self.copilot)

    def plan(self, tag: str, tags: Mapping[str, str]) -> str:
        del tags
        return (
            f"docker build and push of {self.settings.app}/{self.settings.service}:{tag}, then a change set "
            f"of the stack {self.settings.stack_name}"
        )

    def deploy(
        self, workspace: Path, tag: str, tags: Mapping[str, str], hear: Hear, signal_due: SignalDue
    ) -> Result:
        """Deploy as `copilot deploy` does; an error of AWS is in the result, as Copilot's would be."""
        self.copilot.require_marked()
        try:
            return self._deploy(workspace, tag, tags, hear, signal_due)
        except Ended as ended:
            return ended.result
        except SettingsError:
            raise
        except UserError as error:
            hear(str(error))
            return Result(1, str(error))

    def _deploy(
        self, workspace: Path, tag: str, tags: Mapping[str, str], hear: Hear, signal_due: SignalDue
    ) -> Result:
        settings, stack = self.settings, self.settings.stack_name
        template = self.templates.service(workspace, settings.service, settings.test_env)
        if isinstance(template, Refusal):
            raise SettingsError(f"{settings.service} cannot be deployed: {template.why}.")
        if not application.knows(settings, self.aws):
            addition.add(settings, self.aws, lambda: time.sleep(self._pause))
        found = manifest.read(workspace / "copilot" / settings.service / workspace_files.NAME)
        parts = containers(found, settings.service, settings.test_env)
        builder = Builder(self.shell, settings, self.copilot.env, self.aws)
        images = builder.build(workspace, parts, tag, hear, signal_due)
        outputs = self.aws.application_outputs(settings.app)
        bucket = Bucket(outputs["PipelineBucket"], self._in_environment)
        bucket.require_functions(template.text, workspace, self.shell, self.copilot)
        values = {
            "ArtifactBucket": bucket.name,
            "ArtifactKeyARN": outputs["KMSKeyARN"],
            "DeployID": str(time.time_ns()),
        }
        if template.addons:
            values["AddonsTemplateURL"] = bucket.put_addons(settings.base, template.addons)
        env_files = bucket.put_env_files(workspace, parts)
        body, parameters = templates.filled(template, settings.service, images, env_files, values)
        before = self.aws.stack(stack)
        if before and before.status in _DEAD:
            self._changes.delete(stack, signal_due)
            before = None
        if signal_due():
            return Result(-signal.SIGINT)
        url = bucket.put_template(stack, json.dumps(body))
        hear(f"infrastructure changes for stack {stack}")
        return self._changes.apply(stack, url, parameters, self._tags(tags), before, signal_due)

    def _tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Return the tags of a stack of this environment; those of the application come first."""
        settings = self.settings
        record = self.aws.home.parameter(f"/copilot/applications/{settings.app}")
        of_application = (json.loads(record) if record else {}).get("tags") or {}
        place = {
            "copilot-application": settings.app,
            "copilot-environment": settings.test_env,
            "copilot-service": settings.service,
        }
        return {**of_application, **tags, **place}

    def delete_service(self, signal_due: SignalDue) -> Result:
        self.copilot.require_marked()
        return self._changes.delete(self.settings.stack_name, signal_due)

    def delete_task(self, group: str, signal_due: SignalDue) -> Result:
        self.copilot.require_task(group)
        family, cluster = f"copilot-{group}", self._cluster()
        for task in self.aws.tasks_of_family(cluster, family) if cluster else ():
            if task.status != "STOPPED":
                self._in_environment.stop_task(cluster, task.id)
        self.aws.empty_repository(family)  # where Copilot made the stack
        return self._changes.delete(f"task-{group}", signal_due)

    def _cluster(self) -> str:
        return self.aws.outputs(f"{self.settings.app}-{self.settings.test_env}").get("ClusterId", "")

    def run_task(self, group: str, task: OneOff, cluster: str, hear: Hear, signal_due: SignalDue) -> Result:
        self.copilot.require_marked()
        stack = f"task-{group}"
        body = json.dumps(one_off_stack.template(group, task, self.aws.region))
        tags = {**self._tags({}), "copilot-task": group}
        del tags["copilot-service"]
        before: Stack | None = self.aws.stack(stack)
        if before and before.status in _DEAD:
            self._changes.delete(stack, never)
            before = None
        outputs = self.aws.application_outputs(self.settings.app)
        bucket = Bucket(outputs["PipelineBucket"], self._in_environment)
        url = bucket.put_template(stack, body)
        changed = self._changes.apply(stack, url, {}, tags, before, signal_due)
        if not changed.ok:
            return changed
        network = self.aws.outputs(f"{self.settings.app}-{self.settings.test_env}")
        arn = self._in_environment.run_task(
            cluster,
            f"copilot-{group}",
            network["PublicSubnets"].split(","),
            [network["EnvironmentSecurityGroup"]],
        )
        return one_off_stack.follow(self.aws, group, cluster, arn, hear, signal_due, pause=self._pause)

    def logs(
        self,
        container: str,
        limit: int,
        tasks: Sequence[str],
        hear: Hear,
        signal_due: SignalDue,
        *,
        follow: bool,
    ) -> Result:
        log = service_log.Log(self.aws, f"/copilot/{self.settings.stack_name}", container, tuple(tasks))
        if follow:
            return log.follow(hear, signal_due, pause=self._pause)
        return log.last(limit, hear)

    def url(self) -> str | None:
        """Return None: there is no URL but that of the load balancer's rules."""
        return None
