"""What the real Copilot renders on, for all tests of a process: an embedded AWS, or a stand-in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from copilot_testenv import rendering
from copilot_testenv.aws import Aws
from copilot_testenv.check import project as projects
from copilot_testenv.check import stand_ins
from copilot_testenv.check.renderer import StandInRenderer
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core.process import RealShell, Variables
from copilot_testenv.core.settings import load
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session
from tests.clone import ROOT
from tests.fakes import FakeReport

_MARK = "/tests/renderer"  # a parameter that is there for as long as nobody has wiped that AWS


@dataclass(frozen=True)
class _Remembering(Renderer):
    """Does not ask Copilot twice about the same files."""

    answers: dict[object, Template | Refusal] = field(default_factory=dict)

    def service(self, workspace: Path, service: str, environment: str) -> Template | Refusal:
        asked = (service, environment, tuple(self.failed.items()), _files(workspace, "."))
        if asked not in self.answers:
            self.answers[asked] = super().service(workspace, service, environment)
        return self.answers[asked]

    def environment(self, workspace: Path, environment: str) -> Template | Refusal:
        asked = (environment, _files(workspace, "copilot/environments"))
        if asked not in self.answers:
            self.answers[asked] = super().environment(workspace, environment)
        return self.answers[asked]


def _files(workspace: Path, folder: str) -> tuple[tuple[object, ...], ...]:
    """All that Copilot may read there: paths, where links lead, and contents."""
    return tuple(
        (
            path.relative_to(workspace),
            path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None,
        )
        for path in sorted((workspace / folder).rglob("*"))
    )


@dataclass(frozen=True)
class StandIns(_Remembering):
    """Renders each workspace as `check` does, on a server that `deployed` tells what Copilot is to find."""

    deployed: Callable[..., Variables] = dict

    def service(self, workspace: Path, service: str, environment: str) -> Template | Refusal:
        asked = (service, environment, _files(workspace, "."))
        if asked not in self.answers:
            self.answers[asked] = self._of(workspace).service(workspace, service, environment)
        return self.answers[asked]

    def environment(self, workspace: Path, environment: str) -> Template | Refusal:
        return self._of(workspace).environment(workspace, environment)

    def _of(self, workspace: Path) -> Renderer:
        project = projects.read(load(workspace, {"TEST_ENV": "test"}))
        documents = [*project.services.values(), *project.environments.values()]
        given = stand_ins.variables(documents, project.settings)
        return StandInRenderer(project.settings, self.shell, {}, {}, self.deployed, project, given)


class SharedRenderer(ExitStack):
    """It is opened on a copy of this workspace, and again where another test has wiped its AWS."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._opened: Renderer | None = None

    def get(self) -> Renderer:
        if self._opened is None or not Aws(self._opened.variables).parameter_values([_MARK]):
            self.close()
            self._opened = self._open()
        return self._opened

    def _open(self) -> Renderer:
        shutil.copytree(ROOT / "copilot", self._folder / "copilot", dirs_exist_ok=True)
        shutil.copy(ROOT / "Dockerfile", self._folder)
        session = Session(load(self._folder, {}), RealShell(), FakeReport(), {})
        opened = self.enter_context(rendering.open_renderer(session))
        ssm = Aws(opened.variables).client("ssm")
        ssm.put_parameter(Name=_MARK, Value="there", Type="String", Overwrite=True)
        return _Remembering(opened.settings, opened.shell, opened.variables, opened.failed)
