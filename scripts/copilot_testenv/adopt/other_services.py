"""Find services beside the web service that no branch would have: workers and schedulers."""

from __future__ import annotations

from collections.abc import Iterator

from copilot_testenv.adopt.changes import NotChanged
from copilot_testenv.adopt.project import Project, workloads
from copilot_testenv.copilot import manifest
from copilot_testenv.copilot.service_sidecar import KINDS
from copilot_testenv.core import committed, documents
from copilot_testenv.core.errors import SettingsError


def without_branch(project: Project) -> Iterator[NotChanged]:
    """Yield each Worker or Backend Service that is no sidecar in test, when `adopt` is new to the project."""
    if committed.read(project.root):
        return
    there = {*manifest.mapping(project.manifest, "sidecars")}
    there |= {*manifest.mapping(project.manifest, "environments", project.test_env, "sidecars")}
    for name in workloads(project):
        path = f"copilot/{name}/manifest.yml"
        try:
            found = manifest.parse(project.text(path) or "", path)
        except SettingsError:
            continue  # `check` says what is wrong with it
        if name != project.service and found.get("type") in KINDS and name not in there:
            yield NotChanged(
                path,
                f"no branch has {name} in {project.test_env}. After this, `invoke sidecar-config "
                f"--from-service {name} --env {project.test_env}` makes a sidecar of it, and "
                f'`services = ["{project.service}", "{name}"]` in {committed.FILE} lets `check` keep it in '
                f"step ({documents.page('services.md')}).",
            )
