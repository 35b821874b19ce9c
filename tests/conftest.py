from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from copilot_testenv.core.settings import Settings, load
from copilot_testenv.rendering import Renderer
from tests.renderer import SharedRenderer
from tests.sources import sources

os.environ["PYTHONPATH"] = sources()  # for the processes that tests start; a clone's tasks use their own
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each of them would compile every source anew

# Examples that somebody may see fail again; `nox -s nightly` draws many new ones.
hypothesis.settings.register_profile(
    "tests", max_examples=30, deadline=None, derandomize=True, database=None, print_blob=True
)
hypothesis.settings.register_profile("nightly", max_examples=300, deadline=None, print_blob=True)
hypothesis.settings.load_profile("tests")


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `nightly_from` leaves to the night. The end-to-end tests first, since they take longest."""
    cases: Counter[str] = Counter()
    for item in items:
        if (mark := item.get_closest_marker("nightly_from")) is not None:
            test = item.nodeid.partition("[")[0]
            if cases[test] >= mark.args[0]:
                item.add_marker("nightly")
            cases[test] += 1
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.fixture(autouse=True)
def environment_of_a_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the person, or of the CI, that runs it."""
    for name in ("CI", "DEPLOY_TARGET", "TEST_ENV", "COPILOT_APP", "COPILOT_SERVICE", "PROTECTED_ENVS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def shared_renderer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedRenderer]:
    with SharedRenderer(tmp_path_factory.mktemp("rendering")) as shared:
        yield shared


@pytest.fixture(scope="module")
def renderer(shared_renderer: SharedRenderer) -> Renderer:
    """The real Copilot on an embedded AWS that has this repository's three environments."""
    return shared_renderer.get()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder with the least that the tasks need of a Copilot workspace."""
    copilot = tmp_path / "copilot"
    for name in ("stage", "production", "test"):
        (copilot / "environments" / name).mkdir(parents=True)
        (copilot / "environments" / name / "manifest.yml").write_text(f"name: {name}\ntype: Environment\n")
    (copilot / ".workspace").write_text("application: demo\n")
    (copilot / "web").mkdir()
    (copilot / "web" / "manifest.yml").write_text(
        "name: web\ntype: Load Balanced Web Service\nhttp: {path: /, healthcheck: /base}\n"
        "environments:\n  test:\n    http: {healthcheck: {path: /healthz}}\n"
    )
    return tmp_path


@pytest.fixture
def settings(workspace: Path) -> Settings:
    return load(workspace, {"TEST_ENV": "test"})
