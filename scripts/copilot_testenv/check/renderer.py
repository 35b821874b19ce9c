"""Render with Copilot against stand-ins: no sandbox runs, and no account is asked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copilot_testenv.branch_guard import branch_files
from copilot_testenv.check import stand_ins
from copilot_testenv.copilot import commands, patches
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core import cache, scratch, workspace_files
from copilot_testenv.core.errors import UserError
from copilot_testenv.core.files import write
from copilot_testenv.core.process import Variables
from copilot_testenv.core.settings import names_application
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session

if TYPE_CHECKING:
    from copilot_testenv.check.project import Project


_FORM = "4"  # of what is kept; another number where the stand-ins or their answers change
# Copilot ends within a tenth of a second, so collecting garbage is a fifth of its work.
# Source: https://pkg.go.dev/runtime#hdr-Environment_Variables
_BRIEF = {"GOGC": "off", "GOMEMLIMIT": "512MiB"}


@dataclass(frozen=True)
class StandInRenderer(Renderer):
    """Render for Copilot's belief that all that the manifests need is deployed."""

    deployed: Callable[..., Variables]
    project: Project
    given: Mapping[str, str]  # a stand-in for each variable of CI
    copy: Path | None = None  # a copy of the workspace's copilot/ that has no CDK overrides
    cache: Path | None = None  # the folder of earlier renderings

    def variables_of(self, environment: str, service: str = "") -> Variables:
        """Return the variables with which Copilot finds what this stack needs."""
        found = self._found(environment, service)
        application = {"application": self.settings.app, "environment": environment}
        return {**_BRIEF, **self.given, **self.deployed(**application, **found.fields())}

    def _found(self, environment: str, service: str) -> stand_ins.Found:
        written = self.project.environments.get(environment)
        if service and isinstance(self.project.rendered_environments.get(environment), Refusal):
            written = None  # Copilot would refuse each service for the environment's mistake
        return stand_ins.found(
            self.project.services.get(service),
            environment,
            written,
            self.given,
            self.settings,
        )

    def _type_of(self, workspace: Path, service: str) -> object:
        del workspace
        return self.project.services[service].get("type")

    def _require(self, workspace: Path, scope: branch_files.Scope) -> None:
        owners = [*(scope.services or ()), *([patches.ENVIRONMENTS] if scope.environments else [])]
        if workspace in {self.project.root, self.copy} and not self.project.is_unsafe(*owners):
            return  # the project was judged as a whole when it was read
        branch_files.require(workspace, self.settings, os.environ, replace(scope, values=False))

    def service(self, workspace: Path, service: str, environment: str) -> Template | Refusal:
        """Render the stack of a service, or return what is kept of an earlier run."""
        place = self._place(workspace)
        return self._kept(
            self._digest(place, service, environment),
            lambda: super(StandInRenderer, self).service(place, service, environment),
        )

    def environment(self, workspace: Path, environment: str) -> Template | Refusal:
        """Render the stack of an environment, or return what is kept of an earlier run."""
        place = self._place(workspace)
        return self._kept(
            self._digest(place, patches.ENVIRONMENTS, environment),
            lambda: super(StandInRenderer, self).environment(place, environment),
        )

    def _digest(self, place: Path, owner: str, environment: str) -> str:
        """Return a digest of all that a rendering depends on."""
        service = "" if owner == patches.ENVIRONMENTS else owner
        asked = [
            commands.VERSION,
            _FORM,
            self.settings.app,
            owner,
            environment,
            repr(self._found(environment, service)),
            repr(sorted(self.given.items())),
        ]
        digest = hashlib.sha256("\0".join(asked).encode())
        for file in sorted((place / "copilot" / owner).rglob("*")):
            if file.is_file():
                digest.update(f"\0{file.relative_to(place)}\0".encode() + file.read_bytes())
        return digest.hexdigest()

    def _kept(self, digest: str, render: Callable[[], Template | Refusal]) -> Template | Refusal:
        """Return the rendering of this digest from the user's cache, else render and keep it.

        Where real variables are filled in, nothing is kept: they may be secret.
        """
        if self.settings.manifest_variables or self.cache is None:
            return render()
        file = self.cache / f"{digest}.json"
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            if cache.use(file):
                return _read(file)
        found = render()
        with suppress(UserError, ValueError, TypeError, RecursionError):  # the next run renders again then
            write(file, json.dumps(_written(found)), self.cache)
        return found

    def _place(self, workspace: Path) -> Path:
        return self.copy if self.copy and workspace == self.project.root else workspace


def _written(found: Template | Refusal) -> dict[str, Any]:
    if isinstance(found, Refusal):
        return {"why": found.why}
    known = {"text": found.text, "parameters": dict(found.parameters), "addons": found.addons}
    return {**known, "parsed": found.body}


def _read(file: Path) -> Template | Refusal:
    """Return a kept rendering. Raises OSError, ValueError, KeyError, TypeError where it is spoilt."""
    content = json.loads(file.read_text(encoding="utf-8"))
    if "why" in content:
        return Refusal(content["why"])
    return Template(content["text"], content["parameters"], content["addons"], content["parsed"])


@contextmanager
def opened(session: Session, project: Project) -> Iterator[StandInRenderer]:
    """Yield a renderer for this project. Raises SettingsError where the sandbox is not installed."""
    documents = [*project.services.values(), *project.environments.values()]
    given = stand_ins.variables(documents, project.settings)
    if given:
        names = ", ".join(f"${{{name}}}" for name in sorted(given))
        project.notes.append(f"Variables that are set where you deploy got a stand-in: {names}.")
    with ExitStack() as entered, _copied(project) as copy:
        deployed = _OnDemand(session, entered)
        kept = None
        with suppress(OSError):  # there is no cache then
            kept = cache.folder("rendered")
        yield StandInRenderer(project.settings, session.shell, {}, {}, deployed, project, given, copy, kept)


class _OnDemand:
    """The stand-in, which starts when Copilot is started for the first time."""

    def __init__(self, session: Session, entered: ExitStack) -> None:
        self._session, self._entered = session, entered
        self._lock = threading.Lock()
        self._deployed: Callable[..., Variables] | None = None

    def __call__(self, **fields: Any) -> Variables:
        with self._lock:
            if self._deployed is None:
                self._deployed = self._entered.enter_context(self._session.stand_in())
        return self._deployed(**fields)


@contextmanager
def _copied(project: Project) -> Iterator[Path | None]:
    """Yield a copy of the workspace that Copilot can read; None where it can read the workspace itself.

    The copy has no CDK overrides, which are code, and no manifests that are not YAML, for which Copilot would
    refuse every service. It names the application, which Copilot wants to know.
    """
    code = sorted({fault.path for fault in project.unsafe if fault.change == "cdk"})
    broken = [
        file.parent
        for name, file in workspace_files.services(project.root).items()
        if name not in project.services or name in project.misnamed
    ]
    named = names_application(project.root, project.settings.app)
    if named and not code and not broken:
        yield None
        return
    if code:
        project.notes.append(
            f"Overrides by the CDK are code and were not run ({', '.join(code)}): what they change was not "
            "looked at."
        )
    left_out = [*broken, *(project.root / path for path in code)]
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
