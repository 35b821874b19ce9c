"""Read the workspace's manifests, and the templates that Copilot renders from them, for the rules."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

from copilot_testenv import rendering
from copilot_testenv.branch_guard import branch_files
from copilot_testenv.branch_guard.branch_paths import Wrong
from copilot_testenv.check import document, location
from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding
from copilot_testenv.copilot import patches
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core import workspace_files
from copilot_testenv.core.errors import SettingsError
from copilot_testenv.core.process import RealShell, Shell
from copilot_testenv.core.settings import Settings
from copilot_testenv.rendering import Renderer

_COPY = "copy_stage_db"  # the command of a test environment that these tasks deploy


@dataclass(frozen=True)
class Project:
    """A workspace, read and rendered once.

    `unreadable` has a finding for each manifest that is not YAML, or whose name Copilot does not read.
    `notes` tell people what the rules could not examine. A note is not an error in the workspace.
    """

    settings: Settings
    services: dict[str, Document]
    environments: dict[str, Document]
    names: tuple[str, ...]  # of all environments, also of those without a manifest of their own
    today: date
    unreadable: tuple[Finding, ...] = ()
    rendered: dict[tuple[str, str], Template | Refusal] = field(default_factory=dict)
    rendered_environments: dict[str, Template | Refusal] = field(default_factory=dict)
    shell: Shell = field(default_factory=RealShell)
    notes: list[str] = field(default_factory=list)
    unsafe: tuple[Wrong, ...] = ()  # what deploy-test refuses
    blocking: tuple[Wrong, ...] = ()  # the reasons for which Copilot is not started
    pipelines: dict[str, Document] = field(default_factory=dict)

    @property
    def misnamed(self) -> frozenset[str]:
        """The folders that do not have their manifest's name; Copilot then reads no service at all."""
        return frozenset(
            folder
            for folder, document in self.services.items()
            if isinstance(document.get("name"), str) and document.get("name") != folder
        )

    @property
    def has_test_profile(self) -> bool:
        """True where the rules on test environments apply: they are settings' or the manifests' choice."""
        if self.settings.configured:
            return True
        copied = any(_COPY in each.text for each in self.services.values())
        return copied and self.settings.test_env in self.names

    def is_unsafe(self, *owners: str) -> bool:
        """Return True if Copilot must not be started for any of these folders of copilot/."""
        return any(each.owner in {"", *owners} for each in self.blocking)

    @property
    def root(self) -> Path:
        return self.settings.root

    def stacks(self) -> Iterator[tuple[str, str, Template | Refusal]]:
        """Yield (folder of copilot/, environment, rendered stack or refusal).

        The folder is that of a service, or `environments` for the environment's own stack.
        """
        for (service, environment), found in self.rendered.items():
            yield service, environment, found
        for environment, found in self.rendered_environments.items():
            yield patches.ENVIRONMENTS, environment, found

    def source(self, owner: str) -> str:
        """Return the file in which to correct a folder's stack: its override patches, else its manifest."""
        file = Path("copilot") / owner / patches.FILE
        manifest = self.services.get(owner)
        if (self.root / file).is_file():
            return file.as_posix()
        return manifest.path if manifest else f"copilot/{patches.ENVIRONMENTS}"

    def templates(self) -> Iterator[tuple[Document, str, Template]]:
        """Yield (service's manifest, environment, rendered template) for each stack that Copilot accepts."""
        for (service, environment), found in self.rendered.items():
            if isinstance(found, Template):
                yield self.services[service], environment, found

    def refused(self) -> list[tuple[str, str]]:
        """Return (service, environment) for each stack that Copilot does not accept."""
        return [pair for pair, found in self.rendered.items() if not isinstance(found, Template)]


def read(settings: Settings, today: date | None = None, shell: Shell | None = None) -> Project:
    """Read the workspace's manifests, but do not render them yet. `today` is compared with runtimes' ends."""
    unreadable: list[Finding] = []

    def documents(files: dict[str, Path]) -> dict[str, Document]:
        readable = {}
        for name, file in files.items():
            try:
                readable[name] = document.read(file, settings.root)
            except SettingsError as error:
                shown = file.relative_to(settings.root).as_posix()
                why = " ".join(str(error).rstrip(".").split())
                line = location.of_yaml(file, why)
                cure = (
                    "indent it with spaces, because YAML allows no tab there"
                    if location.begins_with_tab(file, line)
                    else "look at the indentation there"
                )
                unreadable.append(Finding(shown, line, "yaml", "error", why, cure))
        return readable

    services = documents(workspace_files.services(settings.root))
    names = rendering.environments_of(settings.root, [found.data for found in services.values()])
    names = names or [settings.test_env]  # the base is judged as if it were deployed there
    environments = documents(
        {name: file for name, file in workspace_files.environments(settings.root).items() if name in names}
    )
    pipelines = documents(workspace_files.pipelines(settings.root))
    for file in workspace_files.similar_files(settings.root):
        if file.name != workspace_files.NAME:
            shown = file.relative_to(settings.root).as_posix()
            what = f"Copilot ignores this file, because it reads only files called {workspace_files.NAME}"
            unreadable.append(
                Finding(shown, 1, "yaml", "error", what, f"rename it to {workspace_files.NAME}")
            )
    today, shell = today or datetime.now(UTC).date(), shell or RealShell()
    listed = branch_files.listed(settings.root, shell)
    scope = branch_files.Scope(listed=listed, without_git=settings.root.parent)
    unsafe = branch_files.wrong(settings.root, settings, os.environ, scope)
    rendering_alone = replace(scope, values=False, paths=False)  # packaging builds and uploads nothing
    trusting = replace(settings, trusted=settings.trusted | {"paths", "cdk"})  # the second is not run
    blocking = branch_files.wrong(settings.root, trusting, os.environ, rendering_alone)
    return Project(
        settings,
        services,
        environments,
        tuple(names),
        today,
        tuple(unreadable),
        shell=shell,
        unsafe=tuple(unsafe),
        blocking=tuple(blocking),
        pipelines=pipelines,
    )


def render(project: Project, renderer: Renderer) -> None:
    """Package every environment, and every service for every environment, with Copilot; skip unsafe services.

    Raises Failed where Copilot cannot run.
    """
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        services = [
            service
            for service in project.services
            if not project.is_unsafe(service) and service not in project.misnamed
        ]
        written = [] if project.is_unsafe(patches.ENVIRONMENTS) else list(project.environments)
        of_environments = pool.map(lambda name: renderer.environment(project.root, name), written)
        project.rendered_environments.update(zip(written, of_environments, strict=True))
        pairs = [(service, name) for service in services for name in project.names]
        of_services = pool.map(lambda pair: renderer.service(project.root, *pair), pairs)
        project.rendered.update(zip(pairs, of_services, strict=True))
