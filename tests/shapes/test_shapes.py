"""Each shape is adopted, and `check` finds nothing then that `adopt` could have known."""

from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.adopt.origin import Origin
from copilot_testenv.check import workflow as checking
from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import load
from copilot_testenv.deploys.sidecar_config import Options, sidecar_config
from copilot_testenv.session import Session
from tests.adopt.project import WHEELS, adopt, commit, files
from tests.fakes import FakeReport
from tests.shapes.repositories import SHAPES, Shape


@pytest.fixture(autouse=True)
def wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Origin, "wheels", lambda _: dict(WHEELS))


@pytest.mark.nightly_from(4)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_shape_is_adopted_and_check_agrees(shape: Shape, tmp_path: Path) -> None:
    into = shape.write(tmp_path)
    first = adopt(into)
    steps = [line.removeprefix("Left as it is: ") for line in first.said if line.startswith("Left as it is")]
    assert [each.partition(": ")[0] for each in steps] == list(shape.steps)
    commit(tmp_path)
    workspace = tmp_path / shape.workspace
    report = FakeReport()
    session = Session(load(workspace, {}), RealShell(), report, {})
    found = checking.findings(session)
    left = {path.partition(":")[0] for path in shape.steps}  # adopt has named these as steps to do by hand
    assert [each for each in found if each.severity == "error" and each.path not in left] == []
    before = files(tmp_path)
    second = adopt(into)
    assert second.said[1:] == ["Nothing to do: all that can be added is there."]
    assert files(tmp_path) == before


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ("web and worker of two Dockerfiles", ("worker", "mailer")),
        ("a worker of queues and a job", ("mails",)),
        ("a worker and a scheduler as stage has them", ("worker", "beat")),
    ],
)
def test_its_workers_become_sidecars_that_check_accepts(
    shape: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    into = SHAPES[shape].write(tmp_path)
    adopt(into)
    settings = into / "copilot-testenv.toml"
    listed = ", ".join(f'"{name}"' for name in ("web", *names))
    settings.write_text(settings.read_text() + f"services = [{listed}]\n")
    session = Session(load(into, {}), RealShell(), FakeReport(), {})
    for name in names:
        sidecar_config(session, Options(from_service=name, environment="test"))
    commit(tmp_path)
    found = checking.findings(session)
    assert [str(each) for each in found if each.severity == "error" or each.rule == "lacks"] == []
    for name in names:
        sidecar_config(session, Options(remove=name, environment="test"))
    assert {each.rule for each in checking.findings(session) if each.severity == "error"} == {"services"}
