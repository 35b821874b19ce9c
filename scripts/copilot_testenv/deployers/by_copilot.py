"""Deploy with the Copilot CLI: run its commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from copilot_testenv.copilot import commands
from copilot_testenv.copilot.commands import Copilot, Environment, OneOff
from copilot_testenv.core.process import Result, Shell, output_of
from copilot_testenv.deployers.deployer import Hear, SignalDue
from copilot_testenv.deployers.renderer import Renderer, require_version


@dataclass(frozen=True)
class ByCopilot:
    """Run Copilot's commands for the slot of the settings; see Deployer."""

    shell: Shell
    copilot: Copilot

    @cached_property
    def templates(self) -> Renderer:
        return Renderer(self.copilot.settings, self.shell, self.copilot.env, {})

    def environments(self) -> tuple[Environment, ...]:
        command = self.copilot.environments()
        return commands.environments(output_of(self.shell, command, "Asking Copilot for the environments"))

    def require_programs(self) -> None:
        require_version(self.shell, self.copilot)

    def plan(self, tag: str, tags: Mapping[str, str]) -> str:
        return str(self.copilot.deploy(tag, tags))

    def deploy(
        self, workspace: Path, tag: str, tags: Mapping[str, str], hear: Hear, signal_due: SignalDue
    ) -> Result:
        copilot = replace(self.copilot, workspace=workspace)
        # The watcher of the stack says what goes on while Copilot is silent.
        return self.shell.stream(replace(copilot.deploy(tag, tags), quiet=True), hear, signal_due)

    def delete_service(self, signal_due: SignalDue) -> Result:
        return self.shell.stream(self.copilot.service_delete(), lambda _: None, signal_due)

    def delete_task(self, group: str, signal_due: SignalDue) -> Result:
        return self.shell.stream(self.copilot.task_delete(group), lambda _: None, signal_due)

    def run_task(self, group: str, task: OneOff, cluster: str, hear: Hear, signal_due: SignalDue) -> Result:
        del cluster  # Copilot finds the environment's own
        return self.shell.stream(self.copilot.task_run(group, task), hear, signal_due)

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
        command = self.copilot.service_logs(container, limit, tasks, follow=follow)
        return self.shell.stream(command, hear, signal_due)

    def url(self) -> str | None:
        """Ask Copilot: it queries every environment, which is slow, and a role may not do it."""
        shown = self.shell.run(self.copilot.service_show())
        return commands.url(shown.stdout, self.copilot.settings.test_env) if shown.ok else None
