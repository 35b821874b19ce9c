"""Render with Copilot against stand-ins: no sandbox runs, and no account is asked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from copilot_testenv.branch_guard import branch_files
from copilot_testenv.check import stand_ins
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core import scratch
from copilot_testenv.core.process import Variables
from copilot_testenv.core.settings import names_application
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session

if TYPE_CHECKING:
    from copilot_testenv.check.project import Project


@dataclass(frozen=True)
class StandInRenderer(Renderer):
    """Render for Copilot's belief that all that the manifests need is deployed."""

    deployed: Callable[..., Variables]
    project: Project
    given: Mapping[str, str]  # a stand-in for each variable of CI
    copy: Path | None = None  # a copy of the workspace's copilot/ that has no CDK overrides

    def variables_of(self, environment: str, service: str = "") -> Variables:
        """Return the variables with which Copilot finds what this stack needs."""
        found = stand_ins.found(
            self.project.services.get(service),
            environment,
            self.project.environments.get(environment),
            self.given,
            self.settings,
        )
        application = {"application": self.settings.app, "environment": environment}
        return {**self.given, **self.deployed(**application, **found.fields())}

    def _type_of(self, workspace: Path, service: str) -> object:
        del workspace
        return self.project.services[service].get("type")

    def _require(self, workspace: Path, scope: branch_files.Scope) -> None:
        branch_files.require(workspace, self.settings, os.environ, replace(scope, values=False))

    def service(self, workspace: Path, service: str, environment: str) -> Template | Refusal:
        """Render the stack of a service; without its overrides where they are code (CDK)."""
        return super().service(self._place(workspace), service, environment)

    def environment(self, workspace: Path, environment: str) -> Template | Refusal:
        """Render the stack of an environment; without its overrides where they are code (CDK)."""
        return super().environment(self._place(workspace), environment)

    def _place(self, workspace: Path) -> Path:
        return self.copy if self.copy and workspace == self.project.root else workspace


@contextmanager
def opened(session: Session, project: Project) -> Iterator[StandInRenderer]:
    """Yield a renderer for this project. Raises SettingsError where the sandbox is not installed."""
    documents = [*project.services.values(), *project.environments.values()]
    given = stand_ins.variables(documents, project.settings)
    if given:
        names = ", ".join(f"${{{name}}}" for name in sorted(given))
        project.notes.append(f"Variables that are set where you deploy got a stand-in: {names}.")
    with session.stand_in() as deployed, _copied(project) as copy:
        yield StandInRenderer(project.settings, session.shell, {}, {}, deployed, project, given, copy)


@contextmanager
def _copied(project: Project) -> Iterator[Path | None]:
    """Yield a copy of the workspace that Copilot can read; None where it can read the workspace itself.

    The copy has no CDK overrides, which are code, and names the application, which Copilot wants to know.
    """
    code = sorted({fault.path for fault in project.unsafe if fault.change == "cdk"})
    named = names_application(project.root, project.settings.app)
    if named and not code:
        yield None
        return
    if code:
        project.notes.append(
            f"Overrides by the CDK are code and were not run ({', '.join(code)}): what they change was not "
            "looked at."
        )
    left_out = [project.root / path for path in code]
    with scratch.temporary("workspace-") as folder:
        shutil.copytree(
            project.root / "copilot",
            folder / "copilot",
            ignore=lambda at, names: [name for name in names if Path(at, name) in left_out],
            ignore_dangling_symlinks=True,
        )
        text = f"application: {project.settings.app}\n"
        (folder / "copilot/.workspace").write_text(text, encoding="utf-8")
        yield folder
