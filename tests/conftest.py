from __future__ import annotations

import os
from pathlib import Path

import pytest

from copilot_testenv.core.settings import Settings, load
from tests.sources import sources

os.environ["PYTHONPATH"] = sources()  # for the processes that tests start; a clone's tasks use their own
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each of them would compile every source anew


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The end-to-end tests first: they take longest, and several files run at once."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.fixture(autouse=True)
def environment_of_a_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the person, or of the CI, that runs it."""
    for name in ("CI", "DEPLOY_TARGET", "TEST_ENV", "COPILOT_APP", "COPILOT_SERVICE", "PROTECTED_ENVS"):
        monkeypatch.delenv(name, raising=False)


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
    return load(workspace, {})
