"""The operations on AWS for which Copilot's binary is one of two ways; nothing else asks which it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import Signals
from typing import Protocol

from copilot_testenv.copilot.commands import Environment, OneOff
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.process import Result

Hear = Callable[[str], None]  # gets each line as it comes
SignalDue = Callable[[], Signals | None]  # see Shell.stream


class Templates(Protocol):
    """The templates of services."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The folders of the workspace that a template is made of."""

    @property
    def has_overrides(self) -> bool:
        """True if a template can be made without the overrides of the workspace, too."""

    def service(self, workspace: Path, service: str, environment: str) -> Template | Refusal:
        """Return the template of a service's stack in an environment. Raises Refused, Failed."""

    def note(self, workspace: Path) -> str:
        """Return what a person should know of the templates in a workspace; empty where there is nothing."""


class Deployer(Protocol):
    """Deploy, delete and run in the slot of the settings; every change requires the mark.

    Functions with a SignalDue end early at SIGTERM, and roll back at SIGINT, as `copilot deploy` does.
    """

    @property
    def templates(self) -> Templates: ...

    def environments(self) -> tuple[Environment, ...]:
        """Return the application's environments. Raises Failed."""

    def require_programs(self) -> None:
        """Raise SettingsError where a program is missing, or has another version than is needed."""

    def plan(self, tag: str, tags: Mapping[str, str]) -> str:
        """Return in one line what `deploy` would run."""

    def deploy(
        self, workspace: Path, tag: str, tags: Mapping[str, str], hear: Hear, signal_due: SignalDue
    ) -> Result:
        """Build the images of a worktree, and deploy its service's stack with these tags."""

    def delete_service(self, signal_due: SignalDue) -> Result:
        """Delete the service's stack."""

    def delete_task(self, group: str, signal_due: SignalDue) -> Result:
        """Delete the stack of a group of one-off tasks."""

    def run_task(self, group: str, task: OneOff, cluster: str, hear: Hear, signal_due: SignalDue) -> Result:
        """Run a task once and follow its log; `hear` gets `copilot-task/…`, a space and the line."""

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
        """Give `hear` the log's last lines, each event as `copilot svc logs --json` writes it."""

    def url(self) -> str | None:
        """Return the service's URL where its load balancer's rules do not tell it."""


def never() -> None:
    """Return no signal: for an operation that nothing ends early."""
    return


def require_done(result: Result, doing: str) -> None:
    """Raise Failed, with the last lines, where an operation has failed."""
    if not result.ok:
        last_lines = (result.stderr.strip() or result.stdout.strip()).splitlines()[-8:]
        raise Failed(f"{doing} failed:" + "".join(f"\n  {line}" for line in last_lines))
